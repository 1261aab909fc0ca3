/* linear_back.h -- part of kern.h: gradients of weights. */
#pragma once

/* dw (rows, cols) += dy^T x over n rows, rows ascending, cut at CUT_K rows, one add at the end; no
 * rows, no add. dy (n, rows; lddy), x (n, cols; ldx) are f32 and are rounded as `layout` (F32
 * or BF16) has them. `work`: linear_dw_bytes, shared by the threads. */
int64_t linear_dw_bytes(Layout layout, int64_t n, int64_t rows, int64_t cols);
void linear_dw(Thread th, float *dw, const float *dy, int64_t lddy, const float *x, int64_t ldx,
               int64_t n, int64_t rows, int64_t cols, Layout layout, void *work);
/* The same for experts: matrix g.matrix of each dw[i], i < n_dw, gets dy[i]^T x over the rows of
 * group g; products of the same input have it packed once. A thread does whole groups, as far as
 * they can be dealt evenly. */
typedef struct GroupsDw {
    float *const *dw;       /* (n_dw) matrices of (rows, cols) */
    const float *const *dy; /* (n_dw) (slots, rows) */
    int64_t n_dw, rows, cols;
    const float *x; /* (slots, ldx); or the rows that index (slots) names */
    const int32_t *index;
    int64_t ldx;
    Layout layout;
    int64_t most; /* rows of a group at most: what `work` was taken for */
} GroupsDw;
/* work: linear_dw_groups_bytes(layout, most, ...) for each thread. */
int64_t linear_dw_groups_bytes(Layout layout, int64_t most, int64_t rows, int64_t cols);
void linear_dw_groups(Thread th, const GroupsDw *t, const Group *g, int64_t n_groups, void *work);
/* One part of that sum, CUT_K rows or the last ones, whose rows come in pieces: the first piece
 * sets `sum` (rows, cols), each further one continues it. All pieces but the last have a multiple
 * of TILE_K rows. */
void linear_dw_piece(Thread th, float *sum, bool first, const float *dy, int64_t lddy,
                     const float *x, int64_t ldx, int64_t n, int64_t rows, int64_t cols,
                     Layout layout, void *work);
