/* plan.c -- what runs over panels: work memory, activations, KV pages, in training gradients and
 * moments too.
 *
 * plan_build pushes everything a plan has through a Budget (budget.h), so it runs twice: first
 * counting only, then for good. The sum of a plan that makes its own panels is the process's peak;
 * a plan on panels that are there counts what it adds. */
#include "model/layer.h"

/* Every buffer is taken at the size of the largest batch, so a step allocates nothing. Buffers that
 * are dead when others are born share memory only where a name in acts.h says so; what is shared is
 * decided here, once, by giving two names the same pointer. */

/* ---- work memory ----------------------------------------------------------------------------- */

/* Packed inputs of products, n rows of k, where they are kept (acts.h). */
static bool rows_kept(const Budget *r) { return r->p->spec.training && r->p->spec.act != ACT_F32; }

static void *budget_rows(Budget *r, int64_t n, int64_t k) {
    return rows_kept(r) ? budget_touched(r, rows_bytes(FORM_BF16, n, k)) : NULL;
}

/* Buffers of one layer for N rows. In training (keep) each value that the backward reads has its
 * own. */
static void attention_acts(Budget *r, LayerActs *a, bool keep) {
    const Config *c = &r->p->model->cfg;
    int64_t N = r->p->spec.rows, dq = c->d_nope + c->d_rope;
    if (!c->mla) {
        const bool norms = keep && r->p->model->layer[0].q_norm;
        a->qkv = budget_f32(r, N, (c->H + 2 * c->G) * c->D);
        a->att = budget_f32(r, N, c->H * c->D);
        a->att_rows = budget_rows(r, N, c->H * c->D);
        a->qx = norms ? budget_f32(r, N, c->H * c->D) : NULL;
        a->kx = norms ? budget_f32(r, N, c->G * c->D) : NULL;
        a->qxr = norms ? budget_f32(r, N, c->H) : NULL;
        a->kxr = norms ? budget_f32(r, N, c->G) : NULL;
        return;
    }
    if (c->Q) {
        a->qa = budget_f32(r, N, c->Q);
        a->qn = keep ? budget_f32(r, N, c->Q) : a->qa;
        a->qn_rows = budget_rows(r, N, c->Q);
        a->qr = keep ? budget_f32(r, N, 1) : NULL;
    }
    a->q = budget_f32(r, N, c->H * dq);
    a->ck = budget_f32(r, N, c->R + c->d_rope);
    a->kva = keep ? budget_f32(r, N, c->R + c->d_rope) : a->ck;
    a->cr = keep ? budget_f32(r, N, 1) : NULL;
    a->ck_rows = budget_rows(r, N, c->R);
    a->att = budget_f32(r, N, c->H * c->d_v);
    a->att_rows = budget_rows(r, N, c->H * c->d_v);
    /* The expanded form holds keys and values of all heads for the batch's own rows; the absorbed
     * one its queries over the latent instead, R + r numbers a head (DeepSeek-V2, 2.1.2). */
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

/* One buffer serves the dense FFN and the shared experts, of which no layer has both: F is the
 * wider. */
static void ffn_acts(Budget *r, LayerActs *a, bool keep, int64_t F) {
    int64_t N = r->p->spec.rows;
    a->g = budget_f32(r, N, F);
    a->u = budget_f32(r, N, F);
    a->h_rows = budget_rows(r, N, F);
    a->h = !keep ? a->g : a->h_rows ? NULL : budget_f32(r, N, F);
}

/* S = N K slots: each row goes to K experts, and no expert is given more or fewer rows than chose
 * it. So the buffers of the experts are exact, there is no capacity factor and no row is
 * dropped. */
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
    a->hx_rows = budget_rows(r, S, c->F_moe);
    a->hx = !keep ? a->gx : a->hx_rows ? NULL : budget_f32(r, S, c->F_moe);
    a->yx = budget_f32(r, S, c->C);
    a->y = budget_f32(r, N, c->C);
}

/* In inference the residual stream stays in one place through the layer (mid is x, and the next
 * layer's x too), so a layer costs no copy of it. */
static void layer_acts(Budget *r, LayerActs *a, bool keep, bool dense, bool moe) {
    const Config *c = &r->p->model->cfg;
    int64_t N = r->p->spec.rows, shared = moe ? c->shared * c->F_moe : 0;
    a->x = budget_f32(r, N, c->C);
    a->xn_rows = budget_rows(r, N, c->C);
    a->fn_rows = budget_rows(r, N, c->C);
    a->xn = a->xn_rows ? NULL : budget_f32(r, N, c->C);
    a->mid = keep ? budget_f32(r, N, c->C) : a->x;
    a->fn = !keep ? a->xn : a->fn_rows && !moe ? NULL : budget_f32(r, N, c->C);
    a->xr = keep ? budget_f32(r, N, 1) : NULL;
    a->fr = keep ? budget_f32(r, N, 1) : NULL;
    attention_acts(r, a, keep);
    a->lse = keep ? budget_f32(r, N, c->H) : NULL;
    ffn_acts(r, a, keep, MAX(dense ? c->F : 0, shared));
    if (moe) moe_acts(r, a, keep);
}

static void head_acts(Budget *r, HeadActs *h, float *x) {
    const int64_t C = r->p->model->cfg.C, rows = r->p->spec.logit_rows;
    h->x = x;
    h->wx = budget_f32(r, rows, C);
    h->wn = budget_f32(r, rows, C);
    h->wr = budget_f32(r, rows, 1);
}

/* Layers that predict further tokens, where the model has any. */
static void further_acts(Budget *r, Acts *s, int64_t n, bool keep) {
    const int64_t N = r->p->spec.rows, C = r->p->model->cfg.C, L = r->p->model->cfg.L;
    s->further = PUSH(r->small, FurtherActs, n);
    for (int64_t i = 0; i < n; i++) {
        FurtherActs *f = &s->further[i];
        f->pair_rows = budget_rows(r, N, 2 * C);
        f->pair = keep || i == 0 ? budget_f32(r, N, 2 * C) : s->further[0].pair;
        f->e = keep ? budget_f32(r, N, C) : s->layer[L + i].x;
        f->head = s->head;
        if (!keep) continue;
        f->er = budget_f32(r, N, 1);
        f->hr = budget_f32(r, N, 1);
        head_acts(r, &f->head, budget_f32(r, N, C));
    }
}

/* Inference: the buffers of layer 0, sized for the most that any layer asks for, serve all layers
 * one after another. */
static Acts *acts_build(Budget *r) {
    const Config *c = &r->p->model->cfg;
    const PlanSpec *spec = &r->p->spec;
    const int64_t layers = r->p->model->n_layers;
    Acts *s = PUSH(r->small, Acts, 1);
    s->layer = PUSH(r->small, LayerActs, layers);
    bool keep = spec->training;
    for (int64_t i = 0; i < layers; i++) {
        bool moe = c->E && i >= c->first_dense;
        if (keep)
            layer_acts(r, &s->layer[i], true, !moe, moe);
        else if (i == 0)
            layer_acts(r, &s->layer[0], false, c->first_dense > 0, c->E && c->first_dense < layers);
        else
            s->layer[i] = s->layer[0];
    }
    head_acts(r, &s->head, keep ? budget_f32(r, spec->rows, c->C) : s->layer[0].x);
    further_acts(r, s, layers - c->L, keep);
    budget_item(r, keep ? "activations kept for the backward" : "activations");
    return s;
}

/* The largest packed input of any product of a batch of N rows. */
static int64_t rows_most(const Plan *p, int64_t N) {
    const Config *c = &p->model->cfg;
    int64_t most = 0;
    for (int64_t i = 0; i < p->model->n_params; i++) {
        const Param *w = &p->model->param[i];
        if (panels_has(p->model, p->spec.mla, w))
            most = MAX(most, rows_bytes(layout_form(panels_layout(p->model, p->spec.act, w)),
                                        w->w.n > 1 ? N * c->K : N, w->w.cols));
    }
    /* Absorbed MLA also packs rows by head: q's part of n numbers, then attention's of R. */
    for (int64_t i = 0; c->mla && i < 2; i++)
        most = MAX(most, rows_bytes(p->spec.act == ACT_F32 ? FORM_F32 : FORM_BF16, N * c->H,
                                    i ? c->R : c->d_nope));
    return most;
}

/* What attention needs for the layer that needs most. */
static int64_t attend_most(const Plan *p, int64_t (*bytes)(const Attend *, int64_t), int64_t rows) {
    int64_t most = 0;
    for (int64_t i = 0; i < p->model->cfg.L; i++) {
        const Attend t = attend_of(p, i);
        most = MAX(most, bytes(&t, rows));
    }
    return most;
}

/* What every layer uses in turn and nothing reads after it: rope's table of the batch's positions,
 * the packed input of the product at hand, and the scratch of attention. */
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
    s->rows = budget_touched(r, rows_most(r->p, N));
    s->own_norm = round_up(rows_most(r->p, 1), 64);
    s->own_bytes = round_up(s->own_norm + c->C * (int64_t)sizeof(float), 64);
    s->own = budget_touched(r, threads * s->own_bytes);
    s->attend_scale = attention_scale(c);
    s->attend_work = budget_touched(r, threads * attend_most(r->p, attend_bytes, N));
    budget_item(r, "work memory of a step");
}

/* ---- training -------------------------------------------------------------------------------- */

/* A training step attends within its own batch only: whole sequences, each of which may leave a
 * page half full. */
static int64_t own_pages(const PlanSpec *s) { return s->training ? s->rows / PAGE + s->spans : 0; }

/* The widest packed gradient of a product's output, and the most that a weight gradient needs. The
 * head has some rows at a time. */
static void back_products(Budget *r, Back *g, int64_t threads) {
    const Plan *p = r->p;
    int64_t rows = 0, work = 0;
    for (int64_t i = 0; i < p->model->n_params; i++) {
        const Param *w = &p->model->param[i];
        if (!panels_has(p->model, p->spec.mla, w)) continue;
        const ActForm form = layout_form(panels_layout(p->model, p->spec.act, w));
        int64_t N = w == p->model->head ? MIN(p->spec.rows, head_rows(p)) : p->spec.rows;
        rows = MAX(rows, rows_bytes(form, w->w.n > 1 ? N * p->model->cfg.K : N, w->w.rows));
        work =
            MAX(work, w->w.n > 1 ? threads * linear_dw_groups_bytes(form, N, w->w.rows, w->w.cols)
                                 : linear_dw_bytes(form, N, w->w.rows, w->w.cols));
    }
    g->rows = budget_touched(r, rows);
    g->dw_work = budget_touched(r, work);
    const int64_t head = p->model->head->count;
    g->head_sum = budget_f32(r, 1, head);
    g->head_part = p->spec.logit_rows > CUT_K ? budget_f32(r, 1, head) : NULL;
}

/* Gradients of the slots' rows. g->one is constant: it is filled when the memory is there. */
static void back_experts(Budget *r, Back *g) {
    const Config *c = &r->p->model->cfg;
    int64_t N = r->p->spec.rows, S = N * c->K;
    g->dyx = budget_f32(r, S, c->C);
    g->dweight = budget_f32(r, N, c->K);
    g->one = budget_f32(r, N, c->K);
    g->dz = budget_f32(r, N, c->E);
    for (int64_t i = 0; r->big && i < S; i++) g->one[i] = 1;
}

static void back_build(Budget *r, PlanState *s, int64_t threads) {
    const Config *c = &r->p->model->cfg;
    const Attend kv = attend_of(r->p, 0); /* of all layers: one buffer serves them */
    int64_t N = r->p->spec.rows, F = MAX(c->first_dense ? c->F : 0, c->shared * c->F_moe);
    Back *g = s->back = PUSH(r->small, Back, 1);
    g->dx = budget_f32(r, N, c->C);
    g->dn = budget_f32(r, N, c->C);
    if (r->p->model->n_layers > c->L) g->dpair = budget_f32(r, N, 2 * c->C);
    g->datt = budget_f32(r, N, c->H * kv.v.width);
    g->q = c->mla ? NULL : budget_f32(r, N, c->H * kv.k.width);
    g->dq = budget_f32(r, N, c->H * kv.k.width);
    g->dk = budget_f32(r, N, kv.k.heads * kv.k.width);
    g->dv = budget_f32(r, N, kv.v.heads * kv.v.width);
    if (c->mla) {
        g->dkvb = budget_f32(r, N, c->H * (c->d_nope + c->d_v));
        g->dkva = budget_f32(r, N, c->R + c->d_rope);
        g->dqa = budget_f32(r, N, c->Q);
    }
    /* Of narrow experts padded bf16 rows are the larger. */
    const int64_t gates = MAX(
        MAX(rows_bytes(FORM_F32, N, F), rows_bytes(FORM_BF16, N, F)),
        MAX(rows_bytes(FORM_F32, N * c->K, c->F_moe), rows_bytes(FORM_BF16, N * c->K, c->F_moe)));
    g->dg = budget_touched(r, gates);
    g->du = budget_touched(r, gates);
    g->dh = budget_f32(r, N, MAX(F, c->K * c->F_moe));
    if (c->E) back_experts(r, g);
    back_products(r, g, threads);
    /* attend_back walks one sequence at a time, so its scratch need not hold the whole batch. */
    int64_t document = MIN(N, r->p->spec.positions);
    g->attend_work = budget_touched(r, threads * attend_most(r->p, attend_back_bytes, document));
    budget_item(r, "work memory of the backward");
}

/* Gradients are f32 like the masters, moments too unless the model was given bf16 ones (contract
 * 7); all have their rows in canonical order, so that a checkpoint is the arrays as they stand. */
static void training_build(Budget *r, PlanState *s, int64_t threads) {
    const Plan *p = r->p;
    int64_t pages = own_pages(&p->spec);
    for (int64_t i = 0; i < p->model->n_params; i++) {
        Param *w = &p->model->param[i];
        if (!param_learns(w)) continue;
        float *grad = budget_f32(r, 1, w->count);
        if (r->big) w->grad = grad;
    }
    budget_item(r, "gradients");
    for (int64_t i = 0; i < p->model->n_params; i++) {
        Param *w = &p->model->param[i];
        for (int64_t k = 0; k < moment_count(w->optimiser); k++) {
            void *moment = budget_touched(r, dtype_bytes(w->moment_type, w->count));
            if (r->big) w->moment[k] = moment;
        }
    }
    budget_item(r, "moments");
    s->page = budget_touched(r, pages * (int64_t)sizeof *s->page);
    s->page_memory = budget_touched(r, pages * p->kv.page_bytes);
    budget_item(r, "KV pages of a step");
    back_build(r, s, threads);
}

/* Pages are zeroed because the kernels read whole ones: what lies past a sequence's end is masked,
 * but it must be a number. */
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

Acts *plan_acts(Plan *p) { return p->spec.training ? p->state->acts : NULL; }

/* ---- the whole ------------------------------------------------------------------------------- */

static PanelsSpec panels_of_plan(const PlanSpec *s) {
    return (PanelsSpec){.act = s->act, .mla = s->mla, .transposed = s->training};
}

/* The order is that of the memory's life: panels first, since packing needs the most beside them.
 * What others allocate later on the plan's account (pages, logits, the engine's tables) is counted
 * too, or a run would be let in that cannot go on. */
static void plan_build(Budget *r, int64_t threads) {
    Plan *p = r->p;
    const PlanSpec *spec = &p->spec;
    PanelsSpec panels = panels_of_plan(spec);
    PlanState *s = p->state = PUSH(r->small, PlanState, 1);
    p->panels = spec->panels ? spec->panels : panels_build(r, p->model, &panels, threads);
    s->acts = acts_build(r);
    work_build(r, s, threads);
    if (spec->training) training_build(r, s, threads);
    budget_later(r, "KV pages", spec->pages * p->kv.page_bytes);
    int64_t logit_rows = spec->training ? MIN(spec->logit_rows, head_rows(p)) : spec->logit_rows;
    budget_later(r, "logits", logit_rows * p->model->cfg.V * 4);
    budget_later(r, "tables of the engine", spec->engine);
    budget_later(r, "results", spec->results);
}

static bool spec_check(const Model *m, const PlanSpec *s, Err *err) {
    PanelsSpec own = panels_of_plan(s);
    CHECK(s->rows >= 1 && s->spans >= 1 && s->positions >= 1 && s->logit_rows >= 0
          && s->pages >= 0);
    if (s->panels) {
        const PanelsSpec *has = &s->panels->spec;
        CHECK(s->panels->model == m && has->act == s->act && (has->transposed || !s->training)
              && (!m->cfg.mla || has->mla == s->mla));
    }
    if (s->kv != DTYPE_F32 && s->kv != DTYPE_BF16)
        return err_set(err, ERR_USAGE, "the KV type is F32 or BF16");
    CHECK(!s->training || m->shape || m->param[0].master);
    return panels_check(m, &own, err);
}

/* Counts on a draft, compares with the memory there is, and only then builds: a run that does not
 * fit is refused before it has taken anything. */
bool plan_new(Plan **out, Arena *a, Model *m, const PlanSpec *spec, int64_t limit, Team *team,
              Err *err) {
    CHECK(!m->shape);
    if (!spec_check(m, spec, err)) return false;
    Arena *scratch = arena_open("plan", ARENA_NO_LIMIT);
    Plan draft = {.spec = *spec,
                  .model = m,
                  .kv = kv_layout_of(scratch, m, spec),
                  .kv_mtp = kv_layout_mtp(scratch, m, spec)};
    Budget count = {.small = scratch, .p = &draft};
    plan_build(&count, team_threads(team));
    bool ok = budget_check(&count, limit, err) && budget_reserve(&count, a, err);
    if (ok) {
        Plan *p = *out = PUSH(a, Plan, 1);
        *p = draft;
        p->kv = kv_layout_of(a, m, spec), p->kv_mtp = kv_layout_mtp(a, m, spec);
        plan_build(&(Budget){.big = a, .small = a, .p = p}, team_threads(team));
        p->n_items = count.n_items, p->bytes = count.bytes;
        memcpy(p->item, count.item, sizeof p->item);
        rope_inv_freq(p->state->inv_freq, &p->state->rope_factor, &m->cfg.rope);
        if (!spec->panels) panels_pack(p->panels, team);
        plan_fingerprint(p, team);
    }
    arena_close(scratch);
    return ok;
}

bool plan_count(Plan **out, Arena *a, Model *m, const PlanSpec *spec, int64_t threads, Err *err) {
    if (!spec_check(m, spec, err)) return false;
    Arena *scratch = arena_open("plan", ARENA_NO_LIMIT);
    Plan *p = *out = PUSH(a, Plan, 1);
    *p = (Plan){.spec = *spec,
                .model = m,
                .kv = kv_layout_of(a, m, spec),
                .kv_mtp = kv_layout_mtp(a, m, spec)};
    Budget count = {.small = scratch, .p = p};
    plan_build(&count, threads);
    p->n_items = count.n_items, p->bytes = count.bytes;
    memcpy(p->item, count.item, sizeof p->item);
    p->state = NULL, p->panels = spec->panels; /* what the count made goes with its arena */
    arena_close(scratch);
    return true;
}

/* What a file was made for: blocks of quantised numbers with int8 activations, 16-bit files with
 * bf16 ones, f32 files with f32. The cache of keys and values has the activations' precision at
 * best. */
PlanSpec plan_defaults(const Model *m) {
    DType t = m->file_type;
    const char *form = m->cfg.recorded_mla;
    PlanSpec s = {.act = t == DTYPE_F32 || t == DTYPE_F64 ? ACT_F32
                         : dtype_block(t) > 1             ? ACT_A8
                                                          : ACT_A16};
    s.kv = s.act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16;
    s.mla = form && !strcmp(form, "expanded") ? MLA_EXPANDED : MLA_ABSORBED;
    return s;
}

void plan_print(const Plan *p, Buf *out) {
    for (int64_t i = 0; i < p->n_items; i++)
        buf_fmt(out, "%10.1f MB  %s\n", (double)p->item[i].bytes / 1e6, p->item[i].what);
    buf_fmt(out, "%10.1f MB  in all\n", (double)p->bytes / 1e6);
}
