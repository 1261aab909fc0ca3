/* embed.c -- tokens to rows of the embedding: copied for f32, widened or dequantised otherwise,
 * never rounded.
 *
 * A mapped row comes with its neighbours, 64 KB at a time. The pages leave memory again, so that a
 * long prompt or answer does not bring the whole table in beside the head's panels. That costs tens
 * of microseconds, and interrupts the other threads, so DROP_ROWS of them go at a time, over the
 * steps where these are short, and a table that is no larger than what so many rows bring stays. */
#include "model/layer.h"

enum { DROP_ROWS = 16, ROW_BRINGS = 64 << 10 };

static bool table_stays(const Param *e) {
    return e->w.rows * param_row_bytes(e) <= DROP_ROWS * ROW_BRINGS;
}

void embed(Thread th, Plan *p, const Batch *b, float *x) {
    const Param *e = p->model->embed;
    const Weight *w = &e->w;
    const bool stays = table_stays(e);
    Range r = thread_range(th, b->n);
    for (int64_t i = r.lo; i < r.hi; i++) {
        CHECK(b->token[i] >= 0 && b->token[i] < w->rows);
        weight_row(x + i * w->cols, w, 0, b->token[i]);
        if (!stays && (i - r.lo) % DROP_ROWS == DROP_ROWS - 1) param_drop(e);
    }
    thread_sync(th);
    if (stays || th.i > 0 || (p->state->embedded += b->n) < DROP_ROWS) return;
    param_drop(e);
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
