/* head.c -- for the rows that want logits: the final norm, then the product with the head, which is
 * the embedding when tied (docs/math/head.md). */
#include "model/layer.h"

enum { WANT_HEAD = WANT_LOGITS | WANT_HIDDEN };

int64_t batch_wants(const Batch *b, int32_t what) {
    int64_t n = 0;
    for (int64_t i = 0; i < b->n_want; i++) n += (b->want[i].what & what) != 0;
    return n;
}

/* Walks the list of wants. place: the want's row among those of the head, where rows that want
 * logits come first, so that these are one product; -1: it has none. hidden: its row in
 * Out.hidden. */
typedef struct Walk {
    const Batch *b;
    int64_t i, logits, rest, n_hidden;
    int64_t place, hidden;
} Walk;

static bool walk_next(Walk *w) {
    if (w->i == w->b->n_want) return false;
    int32_t what = w->b->want[w->i++].what;
    w->place = what & WANT_LOGITS ? w->logits++ : what & WANT_HIDDEN ? w->rest++ : -1;
    w->hidden = what & WANT_HIDDEN ? w->n_hidden++ : -1;
    return true;
}

static Walk walk_first(const Batch *b) {
    return (Walk){.b = b, .rest = batch_wants(b, WANT_LOGITS)};
}

void head(Thread th, Plan *p, const Batch *b, Acts *acts, Out *out) {
    const Model *m = p->model;
    int64_t C = m->cfg.C, n = batch_wants(b, WANT_HEAD), n_logits = batch_wants(b, WANT_LOGITS);
    size_t row = (size_t)C * sizeof(float);
    Range mine = thread_range(th, n);
    for (Walk w = walk_first(b); walk_next(&w);)
        if (w.place >= mine.lo && w.place < mine.hi)
            memcpy(acts->wx + w.place * C, acts->last + b->want[w.i - 1].row * C, row);
    rmsnorm(th, acts->wn, C, acts->wr, acts->wx, C, m->norm->w.row, n, C, m->cfg.eps);
    for (Walk w = walk_first(b); walk_next(&w);)
        if (w.hidden >= 0 && w.place >= mine.lo && w.place < mine.hi)
            memcpy(out->hidden + w.hidden * C, acts->wn + w.place * C, row);
    if (n_logits == 0) {
        thread_sync(th);
        return;
    }
    Input in = input_of(th, p, acts->wn, n_logits, C, C);
    project(th, out->logits, m->cfg.V, m->head, &in, STORE_SET);
}

/* g->dx (N, C) from dlogits; rows that wanted no logits have none. */
void head_back(Thread th, Plan *p, const Batch *b, const Acts *acts, const float *dlogits,
               Back *g) {
    const Model *m = p->model;
    int64_t C = m->cfg.C, n = batch_wants(b, WANT_LOGITS);
    project_back(th, p, m->head, g->dn, C, STORE_SET, dlogits, m->cfg.V, acts->wn, C, n);
    rmsnorm_back(th, g->dn, C, STORE_SET, m->norm->grad, g->dn, C, acts->wx, C, acts->wr,
                 m->norm->w.row, n, C);
    Range r = thread_range(th, b->n);
    memset(g->dx + r.lo * C, 0, (size_t)((r.hi - r.lo) * C) * sizeof(float));
    thread_sync(th);
    r = thread_range(th, n);
    for (Walk w = walk_first(b); walk_next(&w);)
        if (w.place >= r.lo && w.place < r.hi)
            memcpy(g->dx + b->want[w.i - 1].row * C, g->dn + w.place * C,
                   (size_t)C * sizeof(float));
    thread_sync(th);
}
