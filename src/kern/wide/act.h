/* act.h -- everything that takes exponentials: silu, softmax over a chunk of keys, log-sum-exp, and
 * their backwards. Included once by each level (wide.h). kern/ref has the formulas, exp.h the
 * exponential, which is the same polynomial at every level. */
#include "kern/wide/wide.h"

/* 1 + exp(-g), the denominator of sigmoid and silu. */
INLINE Vec one_plus_exp(Vec g) { return vec_add(vec_set(1.0f), vec_exp(vec_negate(g))); }

void NAME(sigmoid)(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        vec_store(y + i, in, vec_div(vec_set(1.0f), one_plus_exp(vec_load(in, x + i))));
    }
}

void NAME(silu_mul)(float *h, const float *g, const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        Vec gv = vec_load(in, g + i);
        vec_store(h + i, in, vec_mul(vec_div(gv, one_plus_exp(gv)), vec_load(in, u + i)));
    }
}

void NAME(silu_mul_back)(float *dg, float *du, const float *dh, const float *g, const float *u,
                         int64_t n) {
    const Vec one = vec_set(1.0f);
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        Vec d = vec_load(in, dh + i), gv = vec_load(in, g + i), uv = vec_load(in, u + i);
        Vec e = one_plus_exp(gv), s = vec_div(one, e), f = vec_div(gv, e);
        vec_store(dg + i, in, vec_mul(vec_mul(d, uv), vec_fma(f, vec_sub(one, s), s)));
        vec_store(du + i, in, vec_mul(d, f));
    }
}

void NAME(cross_entropy_back)(float *dz, const float *z, float lse, float scale, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        Vec p = vec_exp(vec_sub(vec_load(in, z + i), vec_set(lse)));
        vec_store(dz + i, in, vec_mul(p, vec_set(scale)));
    }
}

float NAME(sum_exp)(const float *x, float m, int64_t n) {
    Vec lane = vec_set(0.0f);
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        Vec e = vec_exp(vec_sub(vec_load(in, x + i), vec_set(m)));
        lane = vec_keep(in, vec_add(lane, e), lane);
    }
    return vec_tree(lane);
}

/* The 64 scores of a chunk are four Vecs that never leave the registers. */
INLINE float softmax_row(float *p, float *m, const float *s, int64_t visible, float scale,
                         bool round) {
    Vec z[4], top = vec_set(-__builtin_inff()), lane = vec_set(0.0f);
    EACH (i, 4) {
        In in = in_first(visible - 16 * i);
        z[i] = vec_mul(vec_load(in, s + 16 * i), vec_set(scale));
        top = vec_keep(in, vec_max(z[i], top), top);
    }
    *m = vec_top(top);
    top = vec_set(*m);
    EACH (i, 4) {
        Vec e = vec_exp(vec_sub(z[i], top));
        if (round) e = vec_round(e);
        e = vec_keep(in_first(visible - 16 * i), e, vec_set(0.0f));
        lane = vec_add(lane, e);
        vec_store(p + 16 * i, in_first(16), e);
    }
    return vec_tree(lane);
}

/* Nearly all chunks are wholly visible: that case has no masks. */
float NAME(chunk_softmax)(float *p, float *m, const float *s, int64_t visible, float scale,
                          bool round) {
    if (visible < CHUNK) return softmax_row(p, m, s, visible, scale, round);
    if (round) return softmax_row(p, m, s, CHUNK, scale, true);
    return softmax_row(p, m, s, CHUNK, scale, false);
}

void NAME(softmax_back)(float *p, float *ds, const float *s, const float *dp, const float *lse,
                        const float *D, float scale, int64_t n) {
    const Vec by = vec_set(scale);
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        Vec e = vec_exp(vec_sub(vec_mul(vec_load(in, s + i), by), vec_load(in, lse + i)));
        Vec d = vec_sub(vec_load(in, dp + i), vec_load(in, D + i));
        vec_store(ds + i, in, vec_mul(vec_mul(e, d), by));
        vec_store(p + i, in, e);
    }
}

/* For n rows at once, a lane each: decoding merges one chunk of many heads. */
void NAME(rescale)(float *m, float *l, float *a, float *b, const float *mc, const float *lc,
                   int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        Vec old = vec_load(in, m + i), new = vec_load(in, mc + i), top = vec_max(old, new);
        Vec av = vec_exp(vec_sub(old, top)), bv = vec_exp(vec_sub(new, top));
        Vec sum = vec_fma(vec_load(in, l + i), av, vec_mul(vec_load(in, lc + i), bv));
        vec_store(m + i, in, top);
        vec_store(l + i, in, sum);
        vec_store(a + i, in, av);
        vec_store(b + i, in, bv);
    }
}
