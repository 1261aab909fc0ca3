/* norm.c -- sums on the 16-lane tree, RMSNorm and its backward (docs/math/norm.md), rope
 * (docs/math/rope.md), and the adds. */
#include "kern/ref/ref.h"

/* The 16-lane tree (contract 2.2): lane i % 16 takes number i, then the lanes are added pairwise.
 * 16 is a register of AVX-512, two of AVX2, four of NEON: all add in the same order. */
float dot_ref(const float *x, const float *y, int64_t n) {
    float lane[16] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 16] = fmaf(x[i], y[i], lane[i % 16]);
    return tree_end(lane);
}

float sum_exp_ref(const float *x, float m, int64_t n) {
    float lane[16] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 16] = lane[i % 16] + exp_f32(x[i] - m);
    return tree_end(lane);
}

/* The square of a widened f32 is exact, so that fma and product with add are the same. */
double tree_f64_ref(const float *x, int64_t n, bool square) {
    double lane[16] = {0};
    for (int64_t i = 0; i < n; i++) {
        const double v = (double)x[i];
        lane[i % 16] = lane[i % 16] + (square ? v * v : v);
    }
    for (int w = 8; w > 0; w /= 2)
        for (int j = 0; j < w; j++) lane[j] = lane[j] + lane[j + w];
    return lane[0];
}

float max_ref(const float *x, int64_t n) {
    float m = x[0];
    for (int64_t i = 1; i < n; i++) m = MAX(m, x[i]);
    return m;
}

void add_ref(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = y[i] + x[i];
}

void columns_sum_ref(float *dw, const float *dy, int64_t lddy, const float *x, int64_t ldx,
                     const float *r, int64_t n, int64_t m) {
    for (int64_t j = 0; j < m; j++) {
        float sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum = sum + (x ? dy[i * lddy + j] * (x[i * ldx + j] * r[i]) : dy[i * lddy + j]);
        dw[j] = dw[j] + sum;
    }
}

void combine_ref(float *y, const float *to, const float *base, const float *const *row,
                 const float *weight, int64_t K, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float s = base ? base[i] : 0;
        for (int64_t k = 0; k < K; k++) s = fmaf(weight[k], row[k][i], s);
        y[i] = to ? to[i] + s : s;
    }
}

void scale_ref(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i];
}

void round_ref(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = f32_of_bf16(bf16_of_f32(x[i]));
}

void div_ref(float *y, float d, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = y[i] / d;
}

float rmsnorm_ref(float *y, const float *x, const float *w, int64_t C, float eps) {
    float r = 1.0f / sqrtf(dot_ref(x, x, C) / (float)C + eps);
    for (int64_t i = 0; i < C; i++) y[i] = w ? (x[i] * r) * w[i] : x[i] * r;
    return r;
}

/* With t = dy w:  dx_k = r t_k - x_k (r^3 / C) sum(t x). */
void rmsnorm_back_ref(float *dx, const float *dy, const float *x, const float *w, float r,
                      int64_t C, StoreMode mode) {
    float lane[16] = {0};
    for (int64_t i = 0; i < C; i++)
        lane[i % 16] = fmaf(w ? dy[i] * w[i] : dy[i], x[i], lane[i % 16]);
    float c = (((r * r) * r) * tree_end(lane)) / (float)C;
    for (int64_t i = 0; i < C; i++)
        dx[i] = store(dx[i], fmaf(-x[i], c, r * (w ? dy[i] * w[i] : dy[i])), mode);
}

/* back: by the opposite angle. */
void rope_ref(float *x, int64_t half, bool pairs, bool back, const float *cos, const float *sin) {
    for (int64_t j = 0; j < half; j++) {
        float *a = x + (pairs ? 2 * j : j), *b = a + (pairs ? 1 : half);
        float x0 = *a, x1 = *b, s = back ? -sin[j] : sin[j];
        *a = fmaf(x0, cos[j], -(x1 * s));
        *b = fmaf(x0, s, x1 * cos[j]);
    }
}
