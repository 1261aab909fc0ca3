/* gqa.c -- grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245): H query heads share G
 * heads of keys and values.
 *
 *     q, k, v = x Wq^T, x Wk^T, x Wv^T;  q, k rotated by rope;  mid = x + attention(q, K, V) Wo^T
 *
 * Qwen2 adds a bias to q, k and v; Qwen3 has a norm over each head of q and of k before rope.
 *
 * Sums and roundings: docs/contract.md 5; derivation of the backward: docs/math/gqa.md. */
#include "model/layer.h"

/* Row i's heads, in place; in training they are kept as they were, in x, and 1/rms in r. */
static void heads_norm(Thread th, float *head, float *x, float *r, const Param *w, int64_t i,
                       int64_t heads, int64_t D, float eps) {
    if (x) memcpy(x + i * heads * D, head, (size_t)(heads * D) * sizeof *x);
    rmsnorm(thread_alone(th), head, D, r ? r + i * heads : NULL, head, D, w->w.row, heads, D, eps);
}

/* a->qkv after its products: what stands between them and rope. A thread takes whole rows. */
static void biases_and_norms(Thread th, const Plan *p, const Layer *w, int64_t n, LayerActs *a) {
    const Config *c = &p->model->cfg;
    int64_t D = c->D, ld = (c->H + 2 * c->G) * D;
    float *q = a->qkv, *k = q + c->H * D, *v = k + c->G * D;
    if (w->q_bias) {
        bias_add(thread_nosync(th), q, ld, w->q_bias->w.row, n, c->H * D);
        bias_add(thread_nosync(th), k, ld, w->k_bias->w.row, n, c->G * D);
        bias_add(th, v, ld, w->v_bias->w.row, n, c->G * D);
    }
    if (!w->q_norm) return;
    Range rows = thread_range(th, n);
    for (int64_t i = rows.lo; i < rows.hi; i++) {
        heads_norm(th, q + i * ld, a->qx, a->qxr, w->q_norm, i, c->H, D, c->eps);
        heads_norm(th, k + i * ld, a->kx, a->kxr, w->k_norm, i, c->G, D, c->eps);
    }
    thread_sync(th);
}

/* k and v go into the pages first, then each row attends to all positions up to its own, those of
 * the same batch included: prefill in pieces and decoding read the very same bytes. */
void gqa(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, const float *xn) {
    const Config *c = &p->model->cfg;
    const Layer *w = &p->model->layer[layer];
    const PlanState *s = p->state;
    const Attend t = attend_of(p, layer);
    int64_t n = b->n, ld = (c->H + 2 * c->G) * c->D;
    float *q = a->qkv, *k = q + c->H * c->D, *v = k + c->G * c->D;

    Input in = input_kept(th, p, xn, n, c->C, c->C, a->xn_rows, true);
    project_set(th, (float *[]){q, k, v}, (int64_t[]){ld, ld, ld},
                (const Param *[]){w->q, w->k, w->v}, 3, &in);
    biases_and_norms(th, p, w, n, a);
    kv_store_rope(th, &t, b->span, b->n_spans, a->qkv, ld, c->D / 2, c->rope.pairs, s->cos, s->sin);
    attend(th, a->att, c->H * c->D, a->lse, q, ld, &t, b->span, b->n_spans, s->attend_work);

    in = input_kept(th, p, a->att, n, c->H * c->D, c->H * c->D, a->att_rows, false);
    rows_copy(th, a->mid, c->C, a->x, c->C, n, c->C);
    project(th, a->mid, c->C, w->o, &in, STORE_ADD);
}

/* The gradients of q or k (N, heads D) behind norm and bias become those of their product, in
 * place; to a norm's weight every head of every row is a row. */
static void heads_back(Thread th, float *dy, const float *x, const float *r, const Param *norm,
                       const Param *bias, int64_t n, int64_t heads, int64_t D) {
    if (norm)
        rmsnorm_back(th, dy, D, STORE_SET, norm->grad, dy, D, x, D, r, norm->w.row, n * heads, D);
    if (bias) bias_back(th, bias->grad, dy, heads * D, n, heads * D);
}

/* In reverse. Rope is a rotation, so its backward is the rotation by the opposite angle. */
void gqa_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g) {
    const Config *c = &p->model->cfg;
    const Layer *w = &p->model->layer[layer];
    const PlanState *s = p->state;
    int64_t n = b->n, C = c->C, D = c->D, ldq = c->H * D, ldk = c->G * D;
    const Attend t = attend_of(p, layer);

    project_back(th, p, w->o, g->datt, ldq, STORE_SET, g->dx, C, a->att, ldq, a->att_rows, n);
    rows_copy(th, g->q, ldq, a->qkv, ldq + 2 * ldk, n, ldq);
    attend_back(th, g->dq, g->dk, g->dv, g->datt, a->att, a->lse, g->q, &t, b->span, b->n_spans,
                g->attend_work);
    rope(th, g->dq, ldq, D, n, c->H, D / 2, c->rope.pairs, true, s->cos, s->sin);
    rope(th, g->dk, ldk, D, n, c->G, D / 2, c->rope.pairs, true, s->cos, s->sin);
    heads_back(th, g->dq, a->qx, a->qxr, w->q_norm, w->q_bias, n, c->H, D);
    heads_back(th, g->dk, a->kx, a->kxr, w->k_norm, w->k_bias, n, c->G, D);
    if (w->v_bias) bias_back(th, w->v_bias->grad, g->dv, ldk, n, ldk);
    project_back(th, p, w->q, g->dn, C, STORE_SET, g->dq, ldq, a->xn, C, a->xn_rows, n);
    project_back(th, p, w->k, g->dn, C, STORE_ADD, g->dk, ldk, a->xn, C, a->xn_rows, n);
    project_back(th, p, w->v, g->dn, C, STORE_ADD, g->dv, ldk, a->xn, C, a->xn_rows, n);
}
