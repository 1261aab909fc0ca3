/* model.c -- the straight line: what a newcomer holds against the paper. Prefill, decode and
 * training run it; Acts says where its values are kept (model/acts.h). */
#include "model/layer.h"

static void batch_check(const Plan *p, const Batch *b) {
    const PlanSpec *s = &p->spec;
    CHECK(b->n >= 1 && b->n <= s->rows && b->n_want <= s->logit_rows && b->n_spans <= s->spans);
    int64_t row = 0;
    for (int64_t i = 0; i < b->n_spans; i++) {
        CHECK(b->span[i].row == row && b->span[i].pos + b->span[i].n <= s->positions);
        row += b->span[i].n;
    }
    CHECK(row == b->n);
}

/* What all layers share: positions, their rope table, and absorbed MLA's order of rows by head. */
static void step_begin(Thread th, Plan *p, const Batch *b) {
    PlanState *s = p->state;
    const Config *c = &p->model->cfg;
    CHECK(th.n <= s->threads);
    if (th.i == 0) {
        batch_check(p, b);
        for (int64_t i = 0; i < b->n_spans; i++)
            for (int64_t j = 0; j < b->span[i].n; j++)
                s->pos[b->span[i].row + j] = b->span[i].pos + j;
    }
    Range r = thread_range(th, s->heads ? c->H : 0);
    for (int64_t h = r.lo; h < r.hi; h++) {
        s->heads[h] = (Group){h, h * b->n, b->n};
        for (int64_t i = 0; i < b->n; i++) s->by_head[h * b->n + i] = (int32_t)(i * c->H + h);
    }
    thread_sync(th);
    rope_table(th, s->cos, s->sin, s->pos, b->n, s->inv_freq, c->rope.dim / 2, s->rope_factor);
}

/* Hidden state number i, if they are wanted. */
static void hidden_keep(Thread th, const Plan *p, const Batch *b, Out *out, int64_t i,
                        const float *x) {
    int64_t C = p->model->cfg.C;
    if (out->hidden) rows_copy(th, out->hidden + i * b->n * C, C, x, C, b->n, C);
}

static void experts_keep(Thread th, const Plan *p, const Batch *b, Out *out, int64_t layer,
                         const LayerActs *a) {
    if (!out->expert && !out->expert_weight) return;
    int64_t K = p->model->cfg.K, at = layer * b->n * K;
    Range r = thread_range(th, b->n * K);
    for (int64_t i = r.lo; i < r.hi; i++) {
        if (out->expert) out->expert[at + i] = a->id[i];
        if (out->expert_weight) out->expert_weight[at + i] = a->weight[i];
    }
    thread_sync(th);
}

bool model_forward(Thread th, Plan *p, const Batch *b, Out *out, Acts *acts) {
    const Model *m = p->model;
    const Config *c = &m->cfg;
    int64_t n = b->n, C = c->C;
    if (!acts) acts = p->state->acts;
    step_begin(th, p, b);
    embed(th, p, b, acts->layer[0].x);
    hidden_keep(th, p, b, out, 0, acts->layer[0].x);

    for (int64_t i = 0; i < c->L; i++) {
        const Layer *w = &m->layer[i];
        LayerActs *a = &acts->layer[i];
        float *y = i + 1 < c->L ? acts->layer[i + 1].x : acts->last;
        /* Rows are packed by the thread that normed them, so the packing's sync is enough; f32 rows
         * are not packed. */
        Thread norm = p->spec.act == ACT_F32 ? th : thread_nosync(th);

        rmsnorm(norm, a->xn, C, a->xr, a->x, C, w->attn_norm->w.row, n, C, c->eps);
        if (c->mla)
            mla(th, p, b, i, a);
        else
            gqa(th, p, b, i, a);

        rmsnorm(w->router ? th : norm, a->fn, C, a->fr, a->mid, C, w->ffn_norm->w.row, n, C,
                c->eps);
        rows_copy(th, y, C, a->mid, C, n, C);
        if (!w->router) {
            ffn(th, p, b, i, a, y, STORE_ADD);
        } else if (moe(th, p, b, i, a, y)) {
            experts_keep(th, p, b, out, i, a);
        } else {
            return false;
        }
        hidden_keep(th, p, b, out, i + 1, y);
    }
    if (out->hidden)
        rmsnorm(th, out->hidden + (c->L + 1) * n * C, C, NULL, acts->last, C, m->norm->w.row, n, C,
                c->eps);
    if (b->n_want) head(th, p, b, acts, out->logits);
    return true;
}

/* The same line backwards. g->dx is the gradient of the residual stream all the way; a layer puts
 * that of its normed input into g->dn, and the norm adds its share. */
void model_back(Thread th, Plan *p, const Batch *b, float *dlogits, Acts *acts) {
    const Model *m = p->model;
    const Config *c = &m->cfg;
    Back *g = p->state->back;
    int64_t n = b->n, C = c->C;
    head_back(th, p, b, acts, dlogits, g);
    for (int64_t i = c->L - 1; i >= 0; i--) {
        const Layer *w = &m->layer[i];
        const LayerActs *a = &acts->layer[i];

        if (w->router)
            moe_back(th, p, b, i, a, g);
        else
            ffn_back(th, p, b, i, a, g);
        rmsnorm_back(th, g->dx, C, STORE_ADD, w->ffn_norm->grad, g->dn, C, a->mid, C, a->fr,
                     w->ffn_norm->w.row, n, C);

        if (c->mla)
            mla_back(th, p, b, i, a, g);
        else
            gqa_back(th, p, b, i, a, g);
        rmsnorm_back(th, g->dx, C, STORE_ADD, w->attn_norm->grad, g->dn, C, a->x, C, a->xr,
                     w->attn_norm->w.row, n, C);
    }
    embed_back(th, p, b, g->dx);
}

void model_zero_grad(Thread th, Model *m) {
    for (int64_t i = 0; i < m->n_params; i++) {
        Range r = thread_range(th, m->param[i].count);
        memset(m->param[i].grad + r.lo, 0, (size_t)(r.hi - r.lo) * sizeof(float));
    }
    thread_sync(th);
}
