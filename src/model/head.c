/* head.c -- for the rows that want logits: the final norm, then the product with the head, which is
 * the embedding when tied (docs/math/head.md):
 *
 *     hidden = norm(x);   logits = hidden W_head^T
 *
 * Only rows that are wanted are computed: a prefill of 512 tokens wants one. */
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

void head(Thread th, Plan *p, const Batch *b, const HeadActs *a, const Param *norm, Out *out) {
    const Model *m = p->model;
    int64_t C = m->cfg.C, n = batch_wants(b, WANT_HEAD), n_logits = batch_wants(b, WANT_LOGITS);
    size_t row = (size_t)C * sizeof(float);
    Range mine = thread_range(th, n);
    for (Walk w = walk_first(b); walk_next(&w);)
        if (w.place >= mine.lo && w.place < mine.hi)
            memcpy(a->wx + w.place * C, a->x + b->want[w.i - 1].row * C, row);
    rmsnorm(th, a->wn, C, a->wr, a->wx, C, norm->w.row, n, C, m->cfg.eps);
    for (Walk w = walk_first(b); walk_next(&w);)
        if (w.hidden >= 0 && w.place >= mine.lo && w.place < mine.hi)
            memcpy(out->hidden + w.hidden * C, a->wn + w.place * C, row);
    if (n_logits == 0) {
        thread_sync(th);
        return;
    }
    Input in = input_of(th, p, a->wn, n_logits, C, C);
    project(th, out->logits, m->cfg.V, m->head, &in, STORE_SET);
}

/* g->dx (N, C) from dhidden; rows whose hidden state was not wanted have none. */
void hidden_back(Thread th, Plan *p, const Batch *b, const HeadActs *a, const Param *norm,
                 const float *dhidden, Back *g) {
    int64_t C = p->model->cfg.C, n = batch_wants(b, WANT_HIDDEN);
    CHECK(batch_wants(b, WANT_LOGITS) == 0);
    rmsnorm_back(th, g->dn, C, STORE_SET, norm->grad, dhidden, C, a->wx, C, a->wr, norm->w.row, n,
                 C);
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

/* ---- the head by itself, some rows at a time ------------------------------------------------- */

/* Each piece reads the head twice and its gradient once. Measured (docs/log.md): from 128 rows on,
 * time does not depend on their number. */
enum { LOGITS_BYTES = 8 << 20, LEAST_ROWS = 128 };

int64_t head_rows(const Plan *p) {
    int64_t rows = CUT_K, row = p->model->cfg.V * (int64_t)sizeof(float);
    while (rows > LEAST_ROWS && rows * row > LOGITS_BYTES) rows /= 2;
    return rows;
}

/* Training computes logits of head_rows at a time, has their gradient packed and goes on, so
 * that N x V numbers never stand in memory. */
void head_logits(Thread th, Plan *p, float *logits, const float *hidden, int64_t n) {
    const Config *c = &p->model->cfg;
    Input in = input_of(th, p, hidden, n, c->C, c->C);
    project(th, logits, c->V, p->model->head, &in, STORE_SET);
}

Rows head_gradient(const Plan *p, float *logits, int64_t n) {
    const ActForm form = layout_form(weight_of(p, p->model->head)->layout_t);
    void *mem = form == FORM_F32 ? (void *)logits : p->state->back->rows;
    return rows_in(form, n, p->model->cfg.V, mem);
}

/* The head's gradient is a sum over all rows, cut at every CUT_K of them (contract 2.1), and one
 * add (contract 6). head_sum collects the parts, head_part the one that is under way when it is not
 * the first. */
void head_back(Thread th, Plan *p, float *dhidden, const Rows *dlogits, const float *hidden,
               int64_t row, int64_t n) {
    const Back *g = p->state->back;
    const Weight *panel = weight_of(p, p->model->head), t = weight_t(panel);
    const int64_t V = p->model->cfg.V, C = p->model->cfg.C, part = row / CUT_K;
    const bool first = row % CUT_K == 0;
    CHECK(row % head_rows(p) == 0 && n >= 1 && n <= head_rows(p) && row + n <= p->spec.logit_rows);
    if (first && part > 1) add(th, g->head_sum, g->head_part, V * C);
    const ActForm form = layout_form(panel->layout_t);
    Rows x = {0};
    rows_pack(th, &x, form, hidden, n, C, C, p->state->rows);
    linear_dw_piece(th, part ? g->head_part : g->head_sum, first, dlogits, &x, g->dw_work);
    linear(th, dhidden, C, &t, 0, dlogits, STORE_SET);
}

void head_back_end(Thread th, Plan *p, int64_t rows) {
    const Back *g = p->state->back;
    const Param *w = p->model->head;
    if (rows > CUT_K) add(th, g->head_sum, g->head_part, w->count);
    add(th, w->grad, g->head_sum, w->count);
}
