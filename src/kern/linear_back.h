/* linear_back.h -- part of kern.h: gradients of weights, and those that only products read. */
#pragma once

/* dw (dy->k, x->k) += dy^T x over n rows of both, rows ascending, cut at CUT_K rows, one add at the
 * end; no rows, no add. dy and x are packed in one form, F32 or BF16. `work`: linear_dw_bytes of
 * this form, shared by the threads. */
int64_t linear_dw_bytes(ActForm form, int64_t n, int64_t rows, int64_t cols);
void linear_dw(Thread th, float *dw, const Rows *dy, const Rows *x, void *work);
/* The same for experts: matrix g.matrix of each dw[i], i < n_dw, gets dy[i]^T x over the rows of
 * group g; products of the same input have it packed once. A thread does whole groups, as far as
 * they can be dealt evenly. */
typedef struct GroupsDw {
    float *const *dw; /* (n_dw) matrices of (dy->k, x->k) */
    const Rows *dy;   /* (n_dw) of (slots), all of one width */
    int64_t n_dw;
    const Rows *x;        /* (slots); or the rows that index (slots) names */
    const int32_t *index; /* or NULL */
    int64_t most;         /* rows of a group at most: what `work` was taken for */
} GroupsDw;
/* work: linear_dw_groups_bytes(form, most, dy->k, x->k) for each thread. */
int64_t linear_dw_groups_bytes(ActForm form, int64_t most, int64_t rows, int64_t cols);
void linear_dw_groups(Thread th, const GroupsDw *t, const Group *g, int64_t n_groups, void *work);
/* One part of that sum, CUT_K rows or the last ones, whose rows come in pieces: the first piece
 * sets `sum` (dy->k, x->k), each further one continues it. All pieces but the last have a multiple
 * of TILE_K rows. */
void linear_dw_piece(Thread th, float *sum, bool first, const Rows *dy, const Rows *x, void *work);
/* The gradients of h = silu(g) * u for n rows of k, dh, g and u, as rows for products: dg and du in
 * the memory dg_mem and du_mem, rows_bytes(form, n, k) each. */
void silu_mul_back(Thread th, Rows *dg, Rows *du, ActForm form, const float *dh, const float *g,
                   const float *u, int64_t n, int64_t k, void *dg_mem, void *du_mem);
