/* model.c -- the forward and the backward pass as two straight lists of calls, to be compared with
 * the papers (docs/math/). Prefill, decode and training run the same; Acts says where values are
 * kept (model/acts.h). */
#include "model/layer.h"

/* Spans cover the rows without gaps and in order; wants are sorted by row. These are promises of
 * the caller (model.h), so breaking one is a programmer's error. */
static void batch_check(const Plan *p, const Batch *b, const Out *out) {
    const PlanSpec *s = &p->spec;
    CHECK(b->n >= 1 && b->n <= s->rows && b->n_spans <= s->spans);
    int64_t row = 0;
    for (int64_t i = 0; i < b->n_spans; i++) {
        CHECK(b->span[i].row == row && b->span[i].pos + b->span[i].n <= s->positions);
        row += b->span[i].n;
    }
    CHECK(row == b->n);
    for (int64_t i = 0; i < b->n_want; i++)
        CHECK(b->want[i].row >= (i ? b->want[i - 1].row + 1 : 0) && b->want[i].row < b->n);
    CHECK(batch_wants(b, WANT_LOGITS | WANT_HIDDEN) <= s->logit_rows);
    CHECK(out->logits || batch_wants(b, WANT_LOGITS) == 0);
    CHECK(out->hidden || batch_wants(b, WANT_HIDDEN) == 0);
    CHECK((out->expert && out->expert_weight) || batch_wants(b, WANT_EXPERTS) == 0);
}

/* Positions of the rows, and their rope table. */
static void positions_begin(Thread th, Plan *p, const Batch *b, int64_t begun) {
    PlanState *s = p->state;
    if (th.i == 0) {
        s->begun = begun;
        for (int64_t i = 0; i < b->n_spans; i++)
            for (int64_t j = 0; j < b->span[i].n; j++)
                s->pos[b->span[i].row + j] = b->span[i].pos + j;
    }
    thread_sync(th);
    rope_table(th, s->cos, s->sin, s->pos, b->n, s->inv_freq, p->model->cfg.rope.dim / 2,
               s->rope_factor);
}

void back_begin(Thread th, Plan *p, const Batch *b, int64_t begun) {
    const bool other = p->state->begun != begun;
    thread_sync(th); /* all have seen it before it changes */
    if (other) positions_begin(th, p, b, begun);
}

/* What all layers share: positions, their rope table, and absorbed MLA's order of rows by head. */
void step_begin(Thread th, Plan *p, const Batch *b, const Out *out, int64_t begun) {
    PlanState *s = p->state;
    const Config *c = &p->model->cfg;
    CHECK(th.n <= s->threads);
    if (th.i == 0) batch_check(p, b, out);
    Range r = thread_range(th, s->heads ? c->H : 0);
    for (int64_t h = r.lo; h < r.hi; h++) {
        s->heads[h] = (Group){h, h * b->n, b->n};
        for (int64_t i = 0; i < b->n; i++) s->by_head[h * b->n + i] = (int32_t)(i * c->H + h);
    }
    positions_begin(th, p, b, begun);
}

static void every_hidden_keep(Thread th, const Plan *p, const Batch *b, Out *out, int64_t i,
                              const float *x) {
    int64_t C = p->model->cfg.C;
    if (out->every_hidden) rows_copy(th, out->every_hidden + i * b->n * C, C, x, C, b->n, C);
}

void experts_keep(const Batch *b, Out *out, int64_t layer, int64_t layers, int64_t K,
                  const LayerActs *a) {
    int64_t to = layer * K, step = layers * K;
    for (int64_t i = 0; i < b->n_want; i++) {
        if (!(b->want[i].what & WANT_EXPERTS)) continue;
        int64_t from = b->want[i].row * K;
        memcpy(out->expert + to, a->id + from, (size_t)K * sizeof *a->id);
        memcpy(out->expert_weight + to, a->weight + from, (size_t)K * sizeof *a->weight);
        to += step;
    }
}

/* A pre-norm transformer layer (Xiong et al. 2020, arXiv 2002.04745) with RMSNorm (Zhang and
 * Sennrich 2019, arXiv 1910.07467):
 *
 *     mid = x + attention(norm(x));   y = mid + FFN(norm(mid))
 *
 * The FFN is a dense one or a mixture of experts, as the layer's parameters say. */
bool layer_forward(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, float *y) {
    const Config *c = &p->model->cfg;
    const Layer *w = &p->model->layer[layer];
    int64_t n = b->n, C = c->C;
    phase("norms");
    const float *xn = norm_rows(th, p, a->xn, a->xr, a->x, w->attn_norm, n, false, a->xn_rows);
    phase("attention projections, forward");
    if (c->mla)
        mla(th, p, b, layer, a, xn);
    else
        gqa(th, p, b, layer, a, xn);

    phase("norms");
    const float *fn = norm_rows(th, p, a->fn, a->fr, a->mid, w->ffn_norm, n, w->router, a->fn_rows);
    phase("dense and shared FFN, forward");
    if (w->router) return moe(th, p, b, layer, a, fn, y);
    rows_copy(th, y, C, a->mid, C, n, C);
    ffn(th, p, b, layer, a, fn, y, STORE_ADD);
    return true;
}

/* Layer i reads acts->layer[i].x and writes the next one's. every_hidden (`logits --hidden`)
 * gets the embedding, each layer's output, and last the normed output. */
bool model_forward(Thread th, Plan *p, const Batch *b, Out *out, Acts *acts) {
    const Model *m = p->model;
    const Config *c = &m->cfg;
    int64_t n = b->n, C = c->C;
    if (!acts) acts = p->state->acts;
    phase("embedding");
    step_begin(th, p, b, out, 0);
    embed(th, p, b, acts->layer[0].x);
    every_hidden_keep(th, p, b, out, 0, acts->layer[0].x);

    for (int64_t i = 0; i < c->L; i++) {
        LayerActs *a = &acts->layer[i];
        float *y = i + 1 < c->L ? acts->layer[i + 1].x : acts->head.x;
        if (!layer_forward(th, p, b, i, a, y)) return false;
        if (m->layer[i].router && th.i == 0) experts_keep(b, out, i, c->L, c->K, a);
        every_hidden_keep(th, p, b, out, i + 1, y);
    }
    if (out->every_hidden)
        rmsnorm(th, out->every_hidden + (c->L + 1) * n * C, C, NULL, acts->head.x, C,
                m->norm->w.row, n, C, c->eps);
    phase("head and loss");
    if (batch_wants(b, WANT_LOGITS | WANT_HIDDEN)) head(th, p, b, &acts->head, m->norm, out);
    return true;
}

/* The same list in reverse. g->dx is the gradient of the residual stream throughout; each half puts
 * the gradient of its normed input into g->dn, and the norm adds its share to g->dx. */
void layer_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g) {
    const Layer *w = &p->model->layer[layer];
    int64_t n = b->n, C = p->model->cfg.C;
    phase("dense and shared FFN, backward");
    if (w->router)
        moe_back(th, p, b, layer, a, g);
    else
        ffn_back(th, p, b, layer, a, g);
    phase("norms");
    rmsnorm_back(th, g->dx, C, STORE_ADD, w->ffn_norm->grad, g->dn, C, a->mid, C, a->fr,
                 w->ffn_norm->w.row, n, C);

    phase("attention projections, backward");
    if (p->model->cfg.mla)
        mla_back(th, p, b, layer, a, g);
    else
        gqa_back(th, p, b, layer, a, g);
    phase("norms");
    rmsnorm_back(th, g->dx, C, STORE_ADD, w->attn_norm->grad, g->dn, C, a->x, C, a->xr,
                 w->attn_norm->w.row, n, C);
}

void model_back(Thread th, Plan *p, const Batch *b, const float *dhidden, Acts *acts) {
    const Model *m = p->model;
    Back *g = p->state->back;
    back_begin(th, p, b, 0);
    hidden_back(th, p, b, &acts->head, m->norm, dhidden, g);
    for (int64_t i = m->cfg.L - 1; i >= 0; i--) layer_back(th, p, b, i, &acts->layer[i], g);
    embed_back(th, p, b, g->dx);
}

/* Gradients are added to over the micro-batches of a step, so a step begins with zeros. */
void model_zero_grad(Thread th, Model *m) {
    for (int64_t i = 0; i < m->n_params; i++) {
        if (!param_learns(&m->param[i])) continue;
        Range r = thread_range(th, m->param[i].count);
        memset(m->param[i].grad + r.lo, 0, (size_t)(r.hi - r.lo) * sizeof(float));
    }
    thread_sync(th);
}
