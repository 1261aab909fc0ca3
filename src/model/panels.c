/* panels.c -- the weights of a model laid out for products: which parameters have panels, how large
 * they are, and the way of a file's rows into them.
 *
 * A panel is PANEL rows of a matrix side by side (kern/layout.c), so that one load brings the same
 * column of many outputs. The file is read once, in order, while it is packed; its pages are given
 * back behind, so a model never stands in memory twice. */
#include "model/layer.h"

enum { PIECE_BYTES = 256 << 10 }; /* of a file's rows that a thread packs at a time */

/* ---- what there is --------------------------------------------------------------------------- */

static bool is_kv_b(const Model *m, const Param *w) {
    return w->layer >= 0 && w == m->layer[w->layer].kv_b;
}

bool panels_has(const Model *m, MlaForm mla, const Param *w) {
    if (!w->decay) return false; /* a vector; a matrix may have one row */
    bool absorbed = is_kv_b(m, w) && mla == MLA_ABSORBED;
    return !absorbed && (w != m->embed || w == m->head);
}

/* kv_b is contracted over its other index by absorption, so it is never in blocks: contract 3. */
Layout panels_layout(const Model *m, Act act, const Param *w) {
    if (w->f32) return LAYOUT_F32;
    return layout_of(is_kv_b(m, w) && act == ACT_A8 ? ACT_A16 : act, w->w.type);
}

/* Memory for n matrices, in training also for their transposes, which dx = dy W is multiplied
 * with. */
static Weight weight_take(Budget *r, const PanelsSpec *spec, Layout layout, int64_t n, int64_t rows,
                          int64_t cols) {
    Weight w = {.type = DTYPE_F32, .n = n, .rows = rows, .cols = cols, .layout = layout};
    w.tile = budget_take(r, n * panel_bytes(layout, rows, cols));
    if (!spec->transposed) return w;
    w.layout_t = layout;
    w.tile_t = budget_take(r, n * panel_bytes(layout, cols, rows));
    return w;
}

/* A parameter has its own panels, but for kv_b in absorbed MLA: there W_UK and W_UV are H matrices
 * each, one a head, and W_UK stands transposed since it moves to the query's side. */
static void weights_take(Budget *r, Panels *p) {
    const Model *m = p->model;
    const Config *c = &m->cfg;
    p->weight = PUSH(r->small, Weight, m->n_params);
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *w = &m->param[i];
        if (panels_has(m, p->spec.mla, w))
            p->weight[i] = weight_take(r, &p->spec, panels_layout(m, p->spec.act, w), w->w.n,
                                       w->w.rows, w->w.cols);
    }
    if (!c->mla || p->spec.mla != MLA_ABSORBED) return;
    p->uk = PUSH(r->small, Weight, m->n_layers);
    p->uv = PUSH(r->small, Weight, m->n_layers);
    for (int64_t i = 0; i < m->n_layers; i++) {
        Layout layout = panels_layout(m, p->spec.act, m->layer[i].kv_b);
        p->uk[i] = weight_take(r, &p->spec, layout, c->H, c->R, c->d_nope);
        p->uv[i] = weight_take(r, &p->spec, layout, c->H, c->d_v, c->R);
    }
}

/* ---- packing --------------------------------------------------------------------------------- */

/* One parameter's way into panels: `rows` rows from row `first` of every `per` rows, a matrix of
 * `to` each. */
typedef struct Packing {
    Param *from;
    const Weight *to;
    void *tile;
    Layout layout;
    int64_t per, first, rows;
    bool transposed; /* panels of the transpose */
    bool sums;       /* its rows are summed up on the way (fingerprint.c) */
} Packing;

/* Work is dealt out in pieces counted by `*piece` over the whole model, so that every thread has
 * its share of small matrices too. A piece begins at a panel's border; a transpose is cut by
 * matrices only, since each panel of it needs all rows. */
static void packing_run(Thread th, const Packing *q, int64_t *piece, uint8_t *scratch) {
    int64_t bytes = param_row_bytes(q->from), cols = q->from->w.cols;
    int64_t step = q->transposed ? q->rows : MAX(PIECE_BYTES / bytes / PANEL, 1) * PANEL;
    int64_t panel = panel_bytes(q->layout, PANEL, cols);
    int64_t size =
        panel_bytes(q->layout, q->transposed ? cols : q->rows, q->transposed ? q->rows : cols);
    Thread alone = thread_alone(th);
    for (int64_t i = 0; i < q->to->n; i++)
        for (int64_t row = 0; row < q->rows; row += step) {
            if ((*piece)++ % th.n != th.i) continue;
            Weight w = {.type = q->from->w.type, .n = 1, .cols = cols};
            w.rows = MIN(step, q->rows - row);
            int64_t at = i * q->per + q->first + row;
            w.row = param_rows(q->from, at, w.rows, scratch);
            if (q->sums) rows_sum(q->from, w.row, at, w.rows);
            uint8_t *to = (uint8_t *)q->tile + i * size;
            if (q->transposed)
                weight_pack_t(alone, to, q->layout, &w, 0, 1);
            else
                weight_pack(alone, to + row / PANEL * panel, q->layout, &w, 0, 1);
        }
}

/* All packings of parameter i: at most two. */
static int64_t packings_of(Packing q[2], const Panels *p, int64_t i) {
    const Model *m = p->model;
    Param *w = &m->param[i];
    const Config *c = &m->cfg;
    int64_t n = 0, rows = w->w.rows, head = c->d_nope + c->d_v;
    bool sums = !w->master && !w->summed;
    if (panels_has(m, p->spec.mla, w)) {
        const Weight *to = &p->weight[i];
        q[n++] = (Packing){w, to, to->tile, to->layout, rows, 0, rows, false, sums};
        if (to->layout_t)
            q[n++] = (Packing){w, to, to->tile_t, to->layout_t, rows, 0, rows, true, false};
    } else if (is_kv_b(m, w)) {
        const Weight *uk = &p->uk[w->layer], *uv = &p->uv[w->layer];
        q[n++] = (Packing){w, uk, uk->tile, uk->layout, head, 0, c->d_nope, true, sums};
        q[n++] = (Packing){w, uv, uv->tile, uv->layout, head, c->d_nope, c->d_v, false, sums};
    }
    return n;
}

/* The rows of a parameter that has no panels (the embedding, vectors) are read for their sum only.
 */
static void sum_run(Thread th, Param *w, int64_t *piece, uint8_t *scratch) {
    int64_t bytes = param_row_bytes(w), step = MAX(PIECE_BYTES / bytes, 1);
    for (int64_t i = 0; i < w->w.n; i++)
        for (int64_t row = 0, n; row < w->w.rows; row += n) {
            n = MIN(step, w->w.rows - row);
            if ((*piece)++ % th.n != th.i) continue;
            const void *rows = param_rows(w, i * w->w.rows + row, n, scratch);
            rows_sum(w, rows, i * w->w.rows + row, n);
            if (w->store) store_drop(w->store, rows, n * bytes);
        }
}

/* The head first: it is the largest, and its pages are gone before the others' panels are there. */
static int64_t nth_packed(const Model *m, int64_t i) {
    int64_t head = m->head - m->param;
    return i == 0 ? head : i <= head ? i - 1 : i;
}

/* scratch: scratch_bytes for each thread, or NULL when all rows stand in order (masters). */
static void pack_all(Thread th, const Panels *p, uint8_t *scratch) {
    int64_t piece = 0;
    for (int64_t i = 0; i < p->model->n_params; i++) {
        int64_t at = nth_packed(p->model, i);
        Param *w = &p->model->param[at];
        Packing q[2];
        int64_t n = packings_of(q, p, at);
        for (int64_t j = 0; j < n; j++) packing_run(th, &q[j], &piece, scratch);
        if (n == 0 && !w->master && !w->summed) sum_run(th, w, &piece, scratch);
        if (n == 0) continue;
        thread_sync(th);
        if (th.i == 0) param_drop(w);
    }
    thread_sync(th);
}

/* Bytes that a thread gathers rows into, for the parameters whose rows do not stand in order. */
static int64_t scratch_bytes(const Model *m) {
    int64_t most = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *w = &m->param[i];
        if (!m->shape && !w->w.row && w->source->transform != SAME)
            most = MAX(most, MAX(PIECE_BYTES, m->cfg.d_nope * param_row_bytes(w))
                                 + PANEL * param_row_bytes(w));
    }
    return round_up(most, 64);
}

/* While a tensor is packed its file's pages are there beside the panels made so far: by how much
 * that ever exceeds all panels. */
static int64_t packing_excess(const Panels *p) {
    const Model *m = p->model;
    int64_t later = 0, most = 0;
    for (int64_t i = m->n_params - 1; i >= 0; i--) {
        const Param *w = &m->param[nth_packed(m, i)];
        Packing q[2];
        if (packings_of(q, p, w - m->param) == 0 || w->master || m->shape) continue;
        most = MAX(most, param_file_bytes(w) - later);
        later += w->w.n * panel_bytes(panels_layout(m, p->spec.act, w), w->w.rows, w->w.cols);
    }
    return most;
}

/* ---- the whole ------------------------------------------------------------------------------- */

Panels *panels_build(Budget *r, Model *m, const PanelsSpec *spec, int64_t threads) {
    Panels *p = PUSH(r->small, Panels, 1);
    *p = (Panels){.spec = *spec, .model = m};
    budget_model(r, m);
    Mark mark = r->big ? arena_mark(r->big) : (Mark){0};
    weights_take(r, p);
    if (r->big) arena_large_pages(r->big, mark);
    p->bytes = r->taken;
    budget_item(r, "weight panels");
    budget_put(r, "a tensor while it is packed", packing_excess(p) + threads * scratch_bytes(m));
    return p;
}

bool panels_check(const Model *m, const PanelsSpec *s, Err *err) {
    if (s->act == ACT_A8 && dtype_block(m->file_type) == 1)
        return err_set(err, ERR_USAGE,
                       "activations a8 need a quantised file; this one is %s: use a16 or f32",
                       dtype_name(m->file_type));
    if (s->transposed && s->act == ACT_A8)
        return err_set(err, ERR_USAGE, "training runs with activations f32 or a16, not a8");
    if (s->transposed && m->cfg.mla && s->mla != MLA_EXPANDED)
        return err_set(err, ERR_USAGE, "training runs with the expanded form of MLA");
    return true;
}

typedef struct PackJob {
    const Panels *p;
    uint8_t *scratch;
    int64_t each;
} PackJob;

static void pack_thread(Thread th, void *arg) {
    PackJob *j = arg;
    pack_all(th, j->p, j->scratch + th.i * j->each);
}

void panels_pack(Panels *p, Team *team) {
    int64_t each = scratch_bytes(p->model);
    Arena *scratch = arena_open("packing", ARENA_NO_LIMIT);
    PackJob job = {p, arena_push(scratch, each * team_threads(team) + 1), each};
    team_run(team, pack_thread, &job);
    for (int64_t i = 0; i < p->model->n_params; i++)
        p->model->param[i].summed = !p->model->param[i].master;
    arena_close(scratch);
}

bool panels_new(Panels **out, Arena *a, Model *m, const PanelsSpec *spec, int64_t limit, Team *team,
                Err *err) {
    if (!panels_check(m, spec, err)) return false;
    Arena *scratch = arena_open("panels", ARENA_NO_LIMIT);
    Budget count = {.small = scratch}, budget = {.big = a, .small = a};
    panels_build(&count, m, spec, team_threads(team));
    arena_close(scratch);
    if (!budget_check(&count, limit, err)) return false;
    *out = panels_build(&budget, m, spec, team_threads(team));
    panels_pack(*out, team);
    return true;
}

/* After an optimiser step: masters stand in memory and in order, so nothing is gathered. */
void panels_repack(Thread th, Panels *p) {
    CHECK(p->model->param[0].master);
    pack_all(th, p, NULL);
}

void panels_put(const Panels *p, const Param *w, int64_t i, int64_t row, int64_t n) {
    Weight to = p->weight[w - p->model->param];
    CHECK(!p->uk);
    to.row = w->master;
    if (to.tile) weight_pack_rows(&to, i, row, n);
}

int64_t panels_bytes(const Panels *p) { return p->bytes; }
PanelsSpec panels_spec(const Panels *p) { return p->spec; }
