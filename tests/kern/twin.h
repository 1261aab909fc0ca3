/* twin.h -- the operations once more, in f64, by the formulas of the books: no blocks, no chunks,
 * no roundings. The forward is held against them within its rounding error, each backward against
 * their central differences. */
#pragma once
#include "kern/kern.h"

/* y (n, rows) = x (n, cols) w^T (rows, cols). */
void twin_linear(double *y, const double *x, const double *w, int64_t n, int64_t rows,
                 int64_t cols);
void twin_rmsnorm(double *y, const double *x, const double *w, int64_t n, int64_t C,
                  double eps); /* w or NULL */
void twin_rope(double *x, int64_t half, bool pairs, const double *cos,
               const double *sin); /* one head */
double twin_silu(double x);
/* One document: o (T, heads*dv) from q (T, heads*dk), k (T, kv*dk), v (T, kv*dv). */
typedef struct TwinShape {
    int64_t T, heads, kv, dk, dv;
    double scale;
} TwinShape;
void twin_attention(double *o, const double *q, const double *k, const double *v,
                    const TwinShape *s);
/* One row: score (E); chosen ids by decreasing choice; weights of given ids. */
void twin_scores(double *score, const double *z, const Router *r);
void twin_choose(int32_t *id, const double *score, const Router *r);
void twin_weights(double *weight, const double *score, const int32_t *id, const Router *r);
double twin_lse(const double *x, int64_t n);
