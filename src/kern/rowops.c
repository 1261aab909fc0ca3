/* rowops.c -- what is done row by row or number by number: norms, rope, gates, adds, log-sum-exp. A
 * kernel does one row; the functions here give rows, or columns for sums over rows, to the
 * threads. */
#include "kern/layout.h"

enum { LINE = 16 }; /* floats of a cache line: borders between threads */

/* ---- norms ----------------------------------------------------------------------------------- */

/* y = w x r with r = 1 / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019, arXiv 1910.07467). The
 * backward wants r, so training keeps it. */
void rmsnorm_packed(Thread th, float *y, int64_t ldy, float *r, const float *x, int64_t ldx,
                    const float *w, int64_t n, int64_t C, float eps, void *rows) {
    const Rows packed = rows_in(FORM_BF16, n, C, rows);
    Range range = thread_range(th, n);
    for (int64_t i = range.lo; i < range.hi; i++) {
        float ri = kern.rmsnorm(y + i * ldy, x + i * ldx, w, C, eps);
        if (r) r[i] = ri;
        if (rows) row_piece_put(&packed, i, 0, y + i * ldy, C);
    }
    thread_sync(th);
}

void rmsnorm(Thread th, float *y, int64_t ldy, float *r, const float *x, int64_t ldx,
             const float *w, int64_t n, int64_t C, float eps) {
    rmsnorm_packed(th, y, ldy, r, x, ldx, w, n, C, eps, NULL);
}

/* dw_k += sum over rows of dy_k (x_k r); without x and r the plain sum of dy. Columns are dealt to
 * the threads. */
static void columns_sum(Thread th, float *dw, const float *dy, int64_t lddy, const float *x,
                        int64_t ldx, const float *r, int64_t n, int64_t C) {
    const Range c = thread_range_by(th, C, LINE);
    kern.columns_sum(dw + c.lo, dy + c.lo, lddy, x ? x + c.lo : NULL, ldx, r, n, c.hi - c.lo);
}

/* The gradient of w sums over rows and is dealt by columns, that of x by rows: so no sum is shared
 * by two threads, and none depends on how many there are. */
void rmsnorm_back(Thread th, float *dx, int64_t lddx, StoreMode mode, float *dw, const float *dy,
                  int64_t lddy, const float *x, int64_t ldx, const float *r, const float *w,
                  int64_t n, int64_t C) {
    if (dw) columns_sum(th, dw, dy, lddy, x, ldx, r, n, C);
    thread_sync(th); /* dx may overwrite dy, which other threads have summed by columns */
    Range rows = thread_range(th, n);
    for (int64_t i = rows.lo; i < rows.hi; i++)
        kern.rmsnorm_back(dx + i * lddx, dy + i * lddy, x + i * ldx, w, r[i], C, mode);
    thread_sync(th);
}

/* ---- rope ------------------------------------------------------------------------------------ */

/* cos and sin of position times frequency (Su et al. 2021, arXiv 2104.09864), in f64 and rounded
 * once: the angle of position 100,000 has no correct f32 sine if it is an f32 itself. */
void rope_table(Thread th, float *cos, float *sin, const int64_t *pos, int64_t n,
                const double *inv_freq, int64_t half, double factor) {
    Range rows = thread_range(th, n);
    for (int64_t i = rows.lo; i < rows.hi; i++)
        for (int64_t j = 0; j < half; j++) {
            double s, c;
            sincos_f64((double)pos[i] * inv_freq[j], &s, &c);
            cos[i * half + j] = (float)(c * factor);
            sin[i * half + j] = (float)(s * factor);
        }
    thread_sync(th);
}

/* pairs: neighbours are rotated together (2j, 2j + 1), as DeepSeek's files have them; else the
 * halves (j, j + half), as Hugging Face's have them. */
void rope(Thread th, float *x, int64_t ld, int64_t stride, int64_t n, int64_t heads, int64_t half,
          bool pairs, bool back, const float *cos, const float *sin) {
    Range range = thread_range(th, n * heads);
    for (int64_t at = range.lo; at < range.hi; at++) {
        int64_t i = at / heads, h = at % heads;
        kern.rope(x + i * ld + h * stride, half, pairs, back, cos + i * half, sin + i * half);
    }
    thread_sync(th);
}

/* ---- by element ------------------------------------------------------------------------------ */

/* These see rows as one long array and cut it at cache lines, so that no two threads write one
 * line. */

void silu_mul(Thread th, float *h, const float *g, const float *u, int64_t n) {
    Range r = thread_range_by(th, n, LINE);
    kern.silu_mul(h + r.lo, g + r.lo, u + r.lo, r.hi - r.lo);
    thread_sync(th);
}

/* The gradients are only multiplied, so they are rounded and packed as they come. */
void silu_mul_back(Thread th, Rows *dg, Rows *du, ActForm form, const float *dh, const float *g,
                   const float *u, int64_t n, int64_t k, void *dg_mem, void *du_mem) {
    *dg = rows_in(form, n, k, dg_mem);
    *du = rows_in(form, n, k, du_mem);
    const Range r = thread_range(th, n);
    for (int64_t i = r.lo; i < r.hi; i++)
        for (int64_t j = 0; j < k; j += ROW_PIECE) {
            float a[ROW_PIECE], b[ROW_PIECE];
            const int64_t at = i * k + j, m = MIN(k - j, ROW_PIECE);
            kern.silu_mul_back(a, b, dh + at, g + at, u + at, m);
            row_piece_put(dg, i, j, a, m);
            row_piece_put(du, i, j, b, m);
        }
    thread_sync(th);
}

void add(Thread th, float *y, const float *x, int64_t n) {
    Range r = thread_range_by(th, n, LINE);
    kern.add(y + r.lo, x + r.lo, r.hi - r.lo);
    thread_sync(th);
}

void adamw(Thread th, float *w, const float *g, float *m, float *v, int64_t n, const AdamW *p) {
    Range r = thread_range_by(th, n, LINE);
    kern.adamw(w + r.lo, g + r.lo, m + r.lo, v + r.lo, r.hi - r.lo, p);
    thread_sync(th);
}

/* Pieces that stay in L1 are widened for the same kernel and rounded back. */
void adamw_bf16(Thread th, float *w, const float *g, uint16_t *m, uint16_t *v, int64_t n,
                const AdamW *p) {
    enum { PIECE = 512 };
    const Range r = thread_range_by(th, n, 2 * LINE);
    for (int64_t i = r.lo; i < r.hi; i += PIECE) {
        _Alignas(64) float wide[2][PIECE];
        const int64_t k = MIN(r.hi - i, PIECE);
        for (int64_t j = 0; j < k; j++) wide[0][j] = f32_of_bf16(m[i + j]);
        for (int64_t j = 0; j < k; j++) wide[1][j] = f32_of_bf16(v[i + j]);
        kern.adamw(w + i, g + i, wide[0], wide[1], k, p);
        for (int64_t j = 0; j < k; j++) m[i + j] = bf16_of_f32(wide[0][j]);
        for (int64_t j = 0; j < k; j++) v[i + j] = bf16_of_f32(wide[1][j]);
    }
    thread_sync(th);
}

/* Linear layers of Qwen2 have a bias: y = x W^T + b, added after the product in f32. */
void bias_add(Thread th, float *y, int64_t ldy, const float *b, int64_t n, int64_t m) {
    Range rows = thread_range(th, n);
    for (int64_t i = rows.lo; i < rows.hi; i++) kern.add(y + i * ldy, b, m);
    thread_sync(th);
}

void bias_back(Thread th, float *db, const float *dy, int64_t lddy, int64_t n, int64_t m) {
    columns_sum(th, db, dy, lddy, NULL, 0, NULL, n, m);
    thread_sync(th);
}

/* ---- rows of logits -------------------------------------------------------------------------- */

float row_max(const float *x, int64_t n) { return kern.max(x, n); }

/* log sum exp, with the largest taken out so that no exponential overflows. */
float row_lse(const float *x, int64_t n) {
    float m = kern.max(x, n);
    return m + log_f32(kern.sum_exp(x, m, n));
}

/* exp(x - m): the gradient's kernel computes just that. */
void row_exp(float *y, const float *x, float m, int64_t n) {
    kern.cross_entropy_back(y, x, m, 1.0f, n);
}

/* The loss is lse - sum of q z, so dz = (softmax(z) - q) scale. dz may stand where z does: what is
 * left of z for a target is read before its piece is written. */
void soft_cross_entropy_back(const Rows *dz, int64_t i, const float *z, float lse,
                             const int32_t *target, const float *q, int64_t n, float scale) {
    CHECK(n == 0 || target[n - 1] < dz->k);
    for (int64_t j = 0, t = 0; j < dz->k; j += ROW_PIECE) {
        float x[ROW_PIECE] = {0};
        const int64_t m = MIN(dz->k - j, ROW_PIECE);
        if (n > 0) kern.cross_entropy_back(x, z + j, lse, scale, m);
        for (; t < n && target[t] < j + m; t++)
            x[target[t] - j] = (exp_f32(z[target[t]] - lse) - q[t]) * scale;
        row_piece_put(dz, i, j, x, m);
    }
}

void cross_entropy_back(const Rows *dz, int64_t i, const float *z, float lse, int64_t target,
                        float scale) {
    const int32_t only = (int32_t)target;
    soft_cross_entropy_back(dz, i, z, lse, &only, &(float){1}, target >= 0, scale);
}

/* ---- sums in f64 ----------------------------------------------------------------------------- */

double tree_f64(const float *x, int64_t n) { return kern.tree_f64(x, n, false); }
double tree_sq_f64(const float *x, int64_t n) { return kern.tree_f64(x, n, true); }
