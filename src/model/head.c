/* head.c -- the rows that want logits: final norm, then the product with the head, which is the embedding when tied. */
#include "model/layer.h"

void head(Lane l, Plan *p, const Batch *b, Acts *acts, float *logits) {
    const Model *m = p->model;
    int64_t C = m->cfg.C, n = b->n_want;
    Range r = lane_range(l, n);
    for (int64_t i = r.lo; i < r.hi; i++)
        memcpy(acts->wx + i * C, acts->last + b->want[i] * C, (size_t)C * sizeof(float));
    rmsnorm(l, acts->wn, C, acts->wr, acts->wx, C, m->norm->w.row, n, C, m->cfg.eps);
    Input in = input_of(l, p, acts->wn, n, C, C);
    project(l, logits, m->cfg.V, m->head, &in, STORE_SET);
}
