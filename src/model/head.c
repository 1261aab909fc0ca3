/* head.c -- the rows that want logits: final norm, then the product with the head, which is the
 * embedding when tied. */
#include "model/layer.h"

void head(Thread th, Plan *p, const Batch *b, Acts *acts, float *logits) {
    const Model *m = p->model;
    int64_t C = m->cfg.C, n = b->n_want;
    Range r = thread_range(th, n);
    for (int64_t i = r.lo; i < r.hi; i++)
        memcpy(acts->wx + i * C, acts->last + b->want[i] * C, (size_t)C * sizeof(float));
    rmsnorm(th, acts->wn, C, acts->wr, acts->wx, C, m->norm->w.row, n, C, m->cfg.eps);
    Input in = input_of(th, p, acts->wn, n, C, C);
    project(th, logits, m->cfg.V, m->head, &in, STORE_SET);
}

/* g->dx (N, C) from dlogits; rows that wanted no logits have none. */
void head_back(Thread th, Plan *p, const Batch *b, const Acts *acts, const float *dlogits,
               Back *g) {
    const Model *m = p->model;
    int64_t C = m->cfg.C, n = b->n_want;
    project_back(th, p, m->head, g->dn, C, STORE_SET, dlogits, m->cfg.V, acts->wn, C, n);
    rmsnorm_back(th, g->dn, C, STORE_SET, m->norm->grad, g->dn, C, acts->wx, C, acts->wr,
                 m->norm->w.row, n, C);
    Range r = thread_range(th, b->n);
    memset(g->dx + r.lo * C, 0, (size_t)((r.hi - r.lo) * C) * sizeof(float));
    thread_sync(th);
    r = thread_range(th, n);
    for (int64_t i = r.lo; i < r.hi; i++)
        memcpy(g->dx + b->want[i] * C, g->dn + i * C, (size_t)C * sizeof(float));
    thread_sync(th);
}
