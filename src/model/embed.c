/* embed.c -- tokens to rows of the embedding: copied for f32, widened or dequantised otherwise, never rounded. */
#include "model/layer.h"

void embed(Lane l, Plan *p, const Batch *b, float *x) {
    const Weight *w = &p->model->embed->w;
    Range r = lane_range(l, b->n);
    for (int64_t i = r.lo; i < r.hi; i++) {
        CHECK(b->token[i] >= 0 && b->token[i] < w->rows);
        weight_row(x + i * w->cols, w, 0, b->token[i]);
    }
    lane_sync(l);
}
