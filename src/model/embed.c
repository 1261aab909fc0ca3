/* embed.c -- tokens to rows of the embedding: copied for f32, widened or dequantised otherwise,
 * never rounded.
 *
 * A mapped row comes with its neighbours, 64 KB at a time. The pages leave memory again, so that a
 * long prompt or answer does not bring the whole table in beside the head's panels. That costs tens
 * of microseconds, so DROP_ROWS of them go at a time, over the steps where these are short. */
#include "model/layer.h"

enum { DROP_ROWS = 16 };

void embed(Thread th, Plan *p, const Batch *b, float *x) {
    const Weight *w = &p->model->embed->w;
    Range r = thread_range(th, b->n);
    for (int64_t i = r.lo; i < r.hi; i++) {
        CHECK(b->token[i] >= 0 && b->token[i] < w->rows);
        weight_row(x + i * w->cols, w, 0, b->token[i]);
        if ((i - r.lo) % DROP_ROWS == DROP_ROWS - 1) param_drop(p->model->embed);
    }
    thread_sync(th);
    if (th.i > 0 || (p->state->embedded += b->n) < DROP_ROWS) return;
    param_drop(p->model->embed);
    p->state->embedded = 0;
}

/* A token may occur in many rows, so threads split the columns and each adds all rows,
 * ascending. */
void embed_back(Thread th, Plan *p, const Batch *b, const float *dx) {
    const Param *e = p->model->embed;
    int64_t C = e->w.cols;
    Range r = thread_range_by(th, C, PANEL);
    for (int64_t i = 0; i < b->n; i++) {
        float *to = e->grad + b->token[i] * C;
        for (int64_t j = r.lo; j < r.hi; j++) to[j] = to[j] + dx[i * C + j];
    }
    thread_sync(th);
}
