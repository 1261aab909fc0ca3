/* plan.c -- what a run needs, added up before it starts: panels, work memory, KV pages, and the
 * name of its bits.
 *
 * plan_build pushes everything a plan has. It runs twice: first counting only, for the budget,
 * then for good. So the budget cannot forget what is allocated. Everything is touched when it is
 * allocated: a machine that cannot give the memory says so here and not in the middle of an
 * answer, and the process's peak is the plan's sum. */
#include "model/layer.h"
#include <stdio.h>

/* Measured: resident memory of the program before a model is opened. */
enum { PROGRAM_BYTES = 6 << 20 };
enum { PIECE_BYTES = 256 << 10 }; /* of a file's rows that a thread packs at a time */

/* ---- budget ---------------------------------------------------------------------------------- */

typedef struct Budget {
    Arena *big;   /* NULL: only counting */
    Arena *small; /* for the structs themselves */
    Plan *p;
    int64_t bytes; /* since the last item */
} Budget;

static void *budget_take(Budget *r, int64_t bytes) {
    r->bytes += round_up(bytes, 64);
    return r->big ? arena_push(r->big, bytes) : NULL;
}

/* For memory that the first step reads or writes anyway. */
static void *budget_touched(Budget *r, int64_t bytes) {
    void *p = budget_take(r, bytes);
    if (p) memset(p, 0, (size_t)bytes);
    return p;
}

static float *budget_f32(Budget *r, int64_t n, int64_t k) { return budget_touched(r, n * k * 4); }
static int32_t *budget_i32(Budget *r, int64_t n, int64_t k) { return budget_touched(r, n * k * 4); }

static void item_put(Plan *p, const char *what, int64_t bytes) {
    CHECK(p->n_items < COUNT(p->item));
    if (bytes == 0) return;
    p->item[p->n_items].what = what;
    p->item[p->n_items++].bytes = bytes;
    p->bytes += bytes;
}

static void budget_item(Budget *r, const char *what) {
    item_put(r->p, what, r->bytes);
    r->bytes = 0;
}

/* ---- panels ---------------------------------------------------------------------------------- */

static bool is_multiplied(const Plan *p, const Param *w) {
    const Model *m = p->model;
    if (!w->decay) return false; /* a vector; a matrix may have one row */
    bool absorbed = w->layer >= 0 && w == m->layer[w->layer].kv_b && p->spec.mla == MLA_ABSORBED;
    return !absorbed && (w != m->embed || w == m->head);
}

/* kv_b is contracted over its other index by absorption, so it is never in blocks: contract 3. */
static Layout layout_for(const Plan *p, const Param *w) {
    bool kv_b = w->layer >= 0 && w == p->model->layer[w->layer].kv_b;
    if (w->f32) return LAYOUT_F32;
    return layout_of(kv_b && p->spec.act == ACT_A8 ? ACT_A16 : p->spec.act, w->w.type);
}

static Weight panels_take(Budget *r, Layout layout, int64_t n, int64_t rows, int64_t cols) {
    Weight w = {.type = DTYPE_F32, .n = n, .rows = rows, .cols = cols, .layout = layout};
    w.tile = budget_take(r, n * panel_bytes(layout, rows, cols));
    if (!r->p->spec.training) return w;
    w.layout_t = layout; /* for the gradients of inputs */
    w.tile_t = budget_take(r, n * panel_bytes(layout, cols, rows));
    return w;
}

static void panels_build(Budget *r, PlanState *s) {
    const Plan *p = r->p;
    const Model *m = p->model;
    const Config *c = &m->cfg;
    s->weight = PUSH(r->small, Weight, m->n_params);
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *w = &m->param[i];
        if (is_multiplied(p, w))
            s->weight[i] = panels_take(r, layout_for(p, w), w->w.n, w->w.rows, w->w.cols);
    }
    if (c->mla && p->spec.mla == MLA_ABSORBED) {
        s->uk = PUSH(r->small, Weight, c->L);
        s->uv = PUSH(r->small, Weight, c->L);
        for (int64_t i = 0; i < c->L; i++) {
            Layout layout = layout_for(p, m->layer[i].kv_b);
            s->uk[i] = panels_take(r, layout, c->H, c->R, c->d_nope);
            s->uv[i] = panels_take(r, layout, c->H, c->d_v, c->R);
        }
    }
    budget_item(r, "weight panels");
}

/* One parameter's way into panels: `rows` rows from row `first` of every `per` rows, a matrix of
 * `to` each. */
typedef struct Packing {
    const Param *from;
    const Weight *to;
    void *tile;
    Layout layout;
    int64_t per, first, rows;
    bool transposed; /* panels of the transpose */
} Packing;

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
            w.row = param_rows(q->from, i * q->per + q->first + row, w.rows, scratch);
            uint8_t *to = (uint8_t *)q->tile + i * size;
            if (q->transposed)
                weight_pack_t(alone, to, q->layout, &w, 0, 1);
            else
                weight_pack(alone, to + row / PANEL * panel, q->layout, &w, 0, 1);
        }
}

/* All packings of parameter i: at most two. */
static int64_t packings_of(Packing q[2], const Plan *p, int64_t i) {
    const Param *w = &p->model->param[i];
    const Config *c = &p->model->cfg;
    const PlanState *s = p->state;
    int64_t n = 0, rows = w->w.rows, head = c->d_nope + c->d_v;
    if (is_multiplied(p, w)) {
        const Weight *to = &s->weight[i];
        q[n++] = (Packing){w, to, to->tile, to->layout, rows, 0, rows, false};
        if (to->tile_t) q[n++] = (Packing){w, to, to->tile_t, to->layout_t, rows, 0, rows, true};
    } else if (w->layer >= 0 && w == p->model->layer[w->layer].kv_b) {
        const Weight *uk = &s->uk[w->layer], *uv = &s->uv[w->layer];
        q[n++] = (Packing){w, uk, uk->tile, uk->layout, head, 0, c->d_nope, true};
        q[n++] = (Packing){w, uv, uv->tile, uv->layout, head, c->d_nope, c->d_v, false};
    }
    return n;
}

/* The head first: it is the largest, and its pages are gone before the others' panels are there. */
static int64_t nth_packed(const Plan *p, int64_t i) {
    int64_t head = p->model->head - p->model->param;
    return i == 0 ? head : i <= head ? i - 1 : i;
}

/* scratch: scratch_bytes for each thread, or NULL when all rows stand in order (masters). */
static void pack_all(Thread th, const Plan *p, uint8_t *scratch) {
    int64_t piece = 0;
    for (int64_t i = 0; i < p->model->n_params; i++) {
        int64_t at = nth_packed(p, i);
        Packing q[2];
        int64_t n = packings_of(q, p, at);
        for (int64_t j = 0; j < n; j++) packing_run(th, &q[j], &piece, scratch);
        if (n == 0) continue;
        thread_sync(th);
        if (th.i == 0) param_drop(&p->model->param[at]);
    }
    thread_sync(th);
}

/* Bytes that a thread gathers rows into, for the parameters whose rows do not stand in order. */
static int64_t scratch_bytes(const Plan *p) {
    int64_t most = 0;
    for (int64_t i = 0; i < p->model->n_params; i++) {
        const Param *w = &p->model->param[i];
        if (!w->w.row && w->source->transform != SAME)
            most = MAX(most, MAX(PIECE_BYTES, p->model->cfg.d_nope * param_row_bytes(w))
                                 + PANEL * param_row_bytes(w));
    }
    return round_up(most, 64);
}

/* While a tensor is packed its file's pages are there beside the panels made so far: by how much
 * that ever exceeds all panels. */
static int64_t packing_excess(const Plan *p) {
    int64_t later = 0, most = 0;
    for (int64_t i = p->model->n_params - 1; i >= 0; i--) {
        const Param *w = &p->model->param[nth_packed(p, i)];
        Packing q[2];
        if (packings_of(q, p, w - p->model->param) == 0 || w->master) continue;
        most = MAX(most, w->w.n * w->w.rows * param_row_bytes(w) - later);
        later += w->w.n * panel_bytes(layout_for(p, w), w->w.rows, w->w.cols);
    }
    return most;
}

/* ---- work memory ----------------------------------------------------------------------------- */

/* Buffers of one layer for N rows. In training (keep) each value that the backward reads has its
 * own. */
static void attention_acts(Budget *r, LayerActs *a, bool keep) {
    const Config *c = &r->p->model->cfg;
    int64_t N = r->p->spec.rows, dq = c->d_nope + c->d_rope;
    if (!c->mla) {
        a->qkv = budget_f32(r, N, (c->H + 2 * c->G) * c->D);
        a->att = budget_f32(r, N, c->H * c->D);
        return;
    }
    if (c->Q) {
        a->qa = budget_f32(r, N, c->Q);
        a->qn = keep ? budget_f32(r, N, c->Q) : a->qa;
        a->qr = keep ? budget_f32(r, N, 1) : NULL;
    }
    a->q = budget_f32(r, N, c->H * dq);
    a->ck = budget_f32(r, N, c->R + c->d_rope);
    a->kva = keep ? budget_f32(r, N, c->R + c->d_rope) : a->ck;
    a->cr = keep ? budget_f32(r, N, 1) : NULL;
    a->att = budget_f32(r, N, c->H * c->d_v);
    if (r->p->spec.mla == MLA_EXPANDED) {
        a->kvb = budget_f32(r, N, c->H * (c->d_nope + c->d_v));
        a->k = budget_f32(r, N, c->H * dq);
        a->v = budget_f32(r, N, c->H * c->d_v);
    } else {
        a->qh = budget_f32(r, N, c->H * MAX(c->R, c->d_v));
        a->qc = budget_f32(r, N, c->H * (c->R + c->d_rope));
        a->oc = budget_f32(r, N, c->H * c->R);
    }
}

static void ffn_acts(Budget *r, LayerActs *a, bool keep, int64_t F) {
    int64_t N = r->p->spec.rows;
    a->g = budget_f32(r, N, F);
    a->u = budget_f32(r, N, F);
    a->h = keep ? budget_f32(r, N, F) : a->g;
}

static void moe_acts(Budget *r, LayerActs *a, bool keep) {
    const Config *c = &r->p->model->cfg;
    int64_t N = r->p->spec.rows, S = N * c->K;
    a->z = budget_f32(r, N, c->E);
    a->score = keep ? budget_f32(r, N, c->E) : NULL;
    a->id = budget_i32(r, N, c->K);
    a->weight = budget_f32(r, N, c->K);
    a->row = budget_i32(r, N, c->K);
    a->at = budget_i32(r, N, c->K);
    a->group = budget_touched(r, c->E * (int64_t)sizeof(Group));
    a->gx = budget_f32(r, S, c->F_moe);
    a->ux = budget_f32(r, S, c->F_moe);
    a->hx = keep ? budget_f32(r, S, c->F_moe) : a->gx;
    a->yx = budget_f32(r, S, c->C);
    a->y = budget_f32(r, N, c->C);
}

static void layer_acts(Budget *r, LayerActs *a, bool keep, bool dense, bool moe) {
    const Config *c = &r->p->model->cfg;
    int64_t N = r->p->spec.rows, shared = moe ? c->shared * c->F_moe : 0;
    a->x = budget_f32(r, N, c->C);
    a->xn = budget_f32(r, N, c->C);
    a->mid = keep ? budget_f32(r, N, c->C) : a->x;
    a->fn = keep ? budget_f32(r, N, c->C) : a->xn;
    a->xr = keep ? budget_f32(r, N, 1) : NULL;
    a->fr = keep ? budget_f32(r, N, 1) : NULL;
    attention_acts(r, a, keep);
    a->lse = keep ? budget_f32(r, N, c->H) : NULL;
    ffn_acts(r, a, keep, MAX(dense ? c->F : 0, shared));
    if (moe) moe_acts(r, a, keep);
}

static Acts *acts_build(Budget *r) {
    const Config *c = &r->p->model->cfg;
    const PlanSpec *spec = &r->p->spec;
    Acts *s = PUSH(r->small, Acts, 1);
    s->layer = PUSH(r->small, LayerActs, c->L);
    bool keep = spec->training;
    for (int64_t i = 0; i < c->L; i++) {
        bool moe = i >= c->first_dense;
        if (keep)
            layer_acts(r, &s->layer[i], true, !moe, moe);
        else if (i == 0)
            layer_acts(r, &s->layer[0], false, c->first_dense > 0, c->first_dense < c->L);
        else
            s->layer[i] = s->layer[0];
    }
    s->last = keep ? budget_f32(r, spec->rows, c->C) : s->layer[0].x;
    s->wx = budget_f32(r, spec->logit_rows, c->C);
    s->wn = budget_f32(r, spec->logit_rows, c->C);
    s->wr = budget_f32(r, spec->logit_rows, 1);
    budget_item(r, keep ? "activations kept for the backward" : "activations");
    return s;
}

/* The largest packed input of any product. */
static int64_t rows_most(const Plan *p) {
    const Config *c = &p->model->cfg;
    int64_t N = p->spec.rows, most = 0;
    for (int64_t i = 0; i < p->model->n_params; i++) {
        const Param *w = &p->model->param[i];
        if (is_multiplied(p, w))
            most = MAX(most, rows_bytes(layout_form(layout_for(p, w)), w->w.n > 1 ? N * c->K : N,
                                        w->w.cols));
    }
    for (int64_t i = 0; c->mla && i < 2; i++)
        most = MAX(most, rows_bytes(p->spec.act == ACT_F32 ? FORM_F32 : FORM_BF16, N * c->H,
                                    i ? c->R : c->d_nope));
    return most;
}

static void work_build(Budget *r, PlanState *s, int64_t threads) {
    const Config *c = &r->p->model->cfg;
    const PlanSpec *spec = &r->p->spec;
    int64_t N = spec->rows, half = c->rope.dim / 2;
    s->threads = threads;
    s->inv_freq = budget_touched(r, half * 8);
    s->pos = budget_touched(r, N * 8);
    s->cos = budget_f32(r, N, half);
    s->sin = budget_f32(r, N, half);
    if (c->mla && spec->mla == MLA_ABSORBED) {
        s->by_head = budget_i32(r, N, c->H);
        s->heads = budget_touched(r, c->H * (int64_t)sizeof(Group));
    }
    s->rows = budget_touched(r, rows_most(r->p));
    s->attend = (Attend){r->p->kv.shape, 0, c->H, attention_scale(c)};
    s->attend_work = budget_touched(r, threads * attend_bytes(&s->attend, N));
    budget_item(r, "work memory of a step");
}

/* ---- training -------------------------------------------------------------------------------- */

static int64_t own_pages(const PlanSpec *s) { return s->training ? s->rows / PAGE + s->spans : 0; }

/* The widest packed gradient of a product's output, and the most that a weight gradient needs. */
static void back_products(Budget *r, Back *g) {
    const Plan *p = r->p;
    int64_t N = p->spec.rows, rows = 0, work = 0;
    for (int64_t i = 0; i < p->model->n_params; i++) {
        const Param *w = &p->model->param[i];
        if (!is_multiplied(p, w)) continue;
        Layout layout = layout_for(p, w);
        rows = MAX(
            rows, rows_bytes(layout_form(layout), w->w.n > 1 ? N * p->model->cfg.K : N, w->w.rows));
        work = MAX(work, linear_dw_bytes(layout, N, w->w.rows, w->w.cols));
    }
    g->rows = budget_touched(r, rows);
    g->dw_work = budget_touched(r, work);
}

static void back_experts(Budget *r, Back *g) {
    const Config *c = &r->p->model->cfg;
    int64_t N = r->p->spec.rows, S = N * c->K;
    g->dyx = budget_f32(r, S, c->C);
    g->dxx = budget_f32(r, S, c->C);
    g->xg = budget_f32(r, S, c->C);
    g->dweight = budget_f32(r, N, c->K);
    g->one = budget_f32(r, N, c->K);
    g->dz = budget_f32(r, N, c->E);
    for (int64_t i = 0; r->big && i < S; i++) g->one[i] = 1;
}

static void back_build(Budget *r, PlanState *s, int64_t threads) {
    const Config *c = &r->p->model->cfg;
    const KvShape *kv = &r->p->kv.shape;
    int64_t N = r->p->spec.rows, F = MAX(c->first_dense ? c->F : 0, c->shared * c->F_moe);
    Back *g = s->back = PUSH(r->small, Back, 1);
    g->dx = budget_f32(r, N, c->C);
    g->dn = budget_f32(r, N, c->C);
    g->datt = budget_f32(r, N, c->H * kv->dv);
    g->q = c->mla ? NULL : budget_f32(r, N, c->H * kv->dk);
    g->dq = budget_f32(r, N, c->H * kv->dk);
    g->dk = budget_f32(r, N, kv->heads * kv->dk);
    g->dv = budget_f32(r, N, kv->heads * kv->dv);
    if (c->mla) {
        g->dkvb = budget_f32(r, N, c->H * (c->d_nope + c->d_v));
        g->dkva = budget_f32(r, N, c->R + c->d_rope);
        g->dqa = budget_f32(r, N, c->Q);
    }
    float **gate[] = {&g->dg, &g->du, &g->dh};
    for (int i = 0; i < 3; i++) *gate[i] = budget_f32(r, N, MAX(F, c->K * c->F_moe));
    if (c->E) back_experts(r, g);
    back_products(r, g);
    g->attend_work =
        budget_touched(r, threads * attend_back_bytes(&s->attend, MIN(N, r->p->spec.positions)));
    budget_item(r, "work memory of the backward");
}

static void training_build(Budget *r, PlanState *s, int64_t threads) {
    const Plan *p = r->p;
    int64_t pages = own_pages(&p->spec);
    for (int64_t i = 0; i < p->model->n_params; i++) {
        Param *w = &p->model->param[i];
        float *grad = budget_touched(r, w->count * 4);
        float *m = w->frozen ? NULL : budget_touched(r, w->count * 4);
        float *v = w->frozen ? NULL : budget_touched(r, w->count * 4);
        if (r->big) w->grad = grad, w->m = m, w->v = v;
    }
    budget_item(r, "gradients and moments");
    s->page = budget_touched(r, pages * (int64_t)sizeof *s->page);
    s->page_memory = budget_touched(r, pages * p->kv.page_bytes);
    budget_item(r, "KV pages");
    back_build(r, s, threads);
}

void plan_pages(Thread th, Plan *p, Span *span, int64_t n_spans) {
    PlanState *s = p->state;
    int64_t pages = own_pages(&p->spec), wanted = 0, used = 0;
    for (int64_t i = 0; i < n_spans; i++) wanted += (span[i].n + PAGE - 1) / PAGE;
    CHECK(wanted <= pages);
    Range r = thread_range(th, wanted);
    memset(s->page_memory + r.lo * p->kv.page_bytes, 0, (size_t)((r.hi - r.lo) * p->kv.page_bytes));
    for (int64_t i = 0; th.i == 0 && i < n_spans; i++) {
        CHECK(span[i].pos == 0);
        span[i].pages = (void *const *)&s->page[used];
        for (int64_t at = 0; at < span[i].n; at += PAGE, used++)
            s->page[used] = s->page_memory + used * p->kv.page_bytes;
    }
    thread_sync(th);
}

void plan_repack(Thread th, Plan *p) { pack_all(th, p, NULL); }

Acts *plan_acts(Plan *p) { return p->state->acts; }

/* ---- the whole ------------------------------------------------------------------------------- */

static KvLayout kv_layout(const Config *c, const PlanSpec *s) {
    KvShape shape = {s->kv, c->G, c->D, c->mla ? c->d_v : c->D, false};
    if (c->mla && s->mla == MLA_ABSORBED) shape = (KvShape){s->kv, 1, c->R + c->d_rope, c->R, true};
    int64_t bytes = round_up(kv_bytes(&shape), 64);
    return (KvLayout){shape, bytes, bytes * c->L};
}

/* Of a model that is or was trained; they stand in its arena. */
static int64_t masters_bytes(const Model *m) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        bytes += m->param[i].master ? m->param[i].count * 4 : 0;
    return bytes;
}

static void plan_build(Budget *r, int64_t threads) {
    Plan *p = r->p;
    const Config *c = &p->model->cfg;
    p->n_items = 0, p->bytes = 0;
    PlanState *s = p->state = PUSH(r->small, PlanState, 1);
    item_put(p, "program", PROGRAM_BYTES);
    int64_t model = arena_used(p->model->arena), masters = masters_bytes(p->model);
    item_put(p, "masters", MIN(masters, model));
    item_put(p, "names and vectors of the model", model - MIN(masters, model));
    panels_build(r, s);
    item_put(p, "a tensor while it is packed", packing_excess(p) + threads * scratch_bytes(p));
    Acts *acts = acts_build(r);
    *(p->spec.training ? &s->acts : &s->own) = acts;
    work_build(r, s, threads);
    if (p->spec.training)
        training_build(r, s, threads);
    else
        item_put(p, "KV pages", p->spec.pages * p->kv.page_bytes);
    item_put(p, "logits", p->spec.logit_rows * c->V * 4);
    item_put(p, "results", p->spec.results);
}

/* SHA-256 of: the configuration, each parameter's name, type and shape with its first and last row
 * (of trained weights, which change, only name and shape), the activation format, the form of MLA,
 * the KV type. */
static void bits_name(Plan *p, Arena *scratch) {
    static const char *const forms[] = {"expanded", "absorbed"};
    const Model *m = p->model;
    Config c = m->cfg;
    c.recorded_mla = NULL;
    Buf b = {.a = scratch};
    buf_add(&b, config_json(scratch, &c));
    buf_fmt(&b, "act %s mla %s kv %s\n", act_name(p->spec.act), c.mla ? forms[p->spec.mla] : "none",
            dtype_name(p->spec.kv));
    Sha256 sha;
    sha256_init(&sha);
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *w = &m->param[i];
        buf_fmt(&b, "%s %s %lld %lld %lld\n", w->name, dtype_name(w->w.type), (long long)w->w.n,
                (long long)w->w.rows, (long long)w->w.cols);
        if (w->master) continue;
        Mark mark = arena_mark(scratch);
        void *row = arena_push(scratch, param_row_bytes(w));
        sha256_add(&sha, param_rows(w, 0, 1, row), param_row_bytes(w));
        sha256_add(&sha, param_rows(w, w->w.n * w->w.rows - 1, 1, row), param_row_bytes(w));
        arena_pop(scratch, mark);
    }
    sha256_add(&sha, b.p, b.n);
    sha256_hex(&sha, p->bits);
}

static bool spec_check(const Model *m, const PlanSpec *s, Err *err) {
    CHECK(s->rows >= 1 && s->spans >= 1 && s->positions >= 1 && s->logit_rows >= 0
          && s->pages >= 0);
    if (s->act == ACT_A8 && dtype_block(m->file_type) == 1)
        return err_set(err, ERR_USAGE,
                       "activations a8 need a quantised file; this one is %s: use a16 or f32",
                       dtype_name(m->file_type));
    if (s->kv != DTYPE_F32 && s->kv != DTYPE_BF16)
        return err_set(err, ERR_USAGE, "the KV type is F32 or BF16");
    if (s->training && s->act == ACT_A8)
        return err_set(err, ERR_USAGE, "training runs with activations f32 or a16, not a8");
    if (s->training && m->cfg.mla && s->mla != MLA_EXPANDED)
        return err_set(err, ERR_USAGE, "training runs with the expanded form of MLA");
    CHECK(!s->training || m->param[0].master);
    return true;
}

static bool budget_check(const Plan *p, int64_t limit, Err *err) {
    if (limit == 0) limit = os_memory_free() + os_memory_peak();
    if (p->bytes <= limit) return true;
    char list[256] = "";
    bool named[COUNT(p->item)] = {false};
    for (int k = 0; k < 3; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < p->n_items; i++)
            if (!named[i] && (best < 0 || p->item[i].bytes > p->item[best].bytes)) best = i;
        if (best < 0) break;
        named[best] = true;
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s %.1f MB", k ? ", " : "", p->item[best].what,
                 (double)p->item[best].bytes / 1e6);
    }
    return err_set(
        err, ERR_LIMIT,
        "this run needs %.1f MB and %.1f MB are free; the largest parts: %s. Ask for fewer rows "
        "or positions, or take a smaller model",
        (double)p->bytes / 1e6, (double)limit / 1e6, list);
}

typedef struct PackJob {
    Plan *p;
    uint8_t *scratch;
    int64_t each;
} PackJob;

static void pack_thread(Thread th, void *arg) {
    PackJob *j = arg;
    pack_all(th, j->p, j->scratch + th.i * j->each);
}

bool plan_new(Plan **out, Arena *a, Model *m, const PlanSpec *spec, int64_t limit, Team *team,
              Err *err) {
    if (!spec_check(m, spec, err)) return false;
    Arena *scratch = arena_open("plan", ARENA_NO_LIMIT);
    Plan draft = {.spec = *spec, .model = m, .kv = kv_layout(&m->cfg, spec)};
    Budget count = {NULL, scratch, &draft, 0};
    plan_build(&count, team_threads(team));
    bool ok = budget_check(&draft, limit, err);
    if (ok) {
        Plan *p = *out = PUSH(a, Plan, 1);
        *p = draft;
        Budget budget = {a, a, p, 0};
        plan_build(&budget, team_threads(team));
        p->n_items = draft.n_items, p->bytes = draft.bytes; /* the arena has filled meanwhile */
        memcpy(p->item, draft.item, sizeof p->item);
        rope_inv_freq(p->state->inv_freq, &p->state->rope_factor, &m->cfg.rope);
        bits_name(p, scratch);
        int64_t each = scratch_bytes(p);
        PackJob job = {p, arena_push(scratch, each * team_threads(team) + 1), each};
        team_run(team, pack_thread, &job);
    }
    arena_close(scratch);
    return ok;
}

PlanSpec plan_defaults(const Model *m) {
    bool blocks = dtype_block(m->file_type) > 1;
    const char *form = m->cfg.recorded_mla;
    PlanSpec s = {.act = m->file_type == DTYPE_F32 ? ACT_F32 : blocks ? ACT_A8 : ACT_A16};
    s.kv = s.act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16;
    s.mla = form && !strcmp(form, "expanded") ? MLA_EXPANDED : MLA_ABSORBED;
    return s;
}

void plan_print(const Plan *p, Buf *out) {
    for (int64_t i = 0; i < p->n_items; i++)
        buf_fmt(out, "%10.1f MB  %s\n", (double)p->item[i].bytes / 1e6, p->item[i].what);
    buf_fmt(out, "%10.1f MB  in all\n", (double)p->bytes / 1e6);
}
