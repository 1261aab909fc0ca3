/* act.c -- silu(g) u and its backward (docs/math/ffn.md), and the backward of cross-entropy
 * (docs/math/head.md). */
#include "kern/ref/ref.h"

void sigmoid_ref(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 1.0f / (1.0f + exp_f32(-x[i]));
}

void silu_mul_ref(float *h, const float *g, const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i++) h[i] = (g[i] / (1.0f + exp_f32(-g[i]))) * u[i];
}

/* f = silu(g) = g s with s = sigmoid(g):  f' = s + f (1 - s). */
void silu_mul_back_ref(float *dg, float *du, const float *dh, const float *g, const float *u,
                       int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float d = dh[i], e = exp_f32(-g[i]), s = 1.0f / (1.0f + e), f = g[i] / (1.0f + e);
        dg[i] = (d * u[i]) * fmaf(f, 1.0f - s, s);
        du[i] = d * f;
    }
}

void cross_entropy_back_ref(float *dz, const float *z, float lse, float scale, int64_t n) {
    for (int64_t i = 0; i < n; i++) dz[i] = exp_f32(z[i] - lse) * scale;
}
