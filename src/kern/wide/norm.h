/* norm.h -- sums on the tree, RMSNorm, rope, the adds and AdamW. Included once by each level
 * (wide.h). kern/ref has the formulas.
 *
 * A Vec is the 16 lanes of the tree, in as many registers as the level needs, and `in` says which
 * of them a tail uses: lanes that are out keep what they had, so a tail adds nothing, not even a
 * zero (-0 + 0 is +0). */
#include "kern/wide/wide.h"
#include <math.h>

float NAME(dot)(const float *x, const float *y, int64_t n) {
    Vec lane = vec_set(0.0f);
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        lane = vec_keep(in, vec_fma(vec_load(in, x + i), vec_load(in, y + i), lane), lane);
    }
    return vec_tree(lane);
}

float NAME(max)(const float *x, int64_t n) {
    Vec top = vec_set(x[0]);
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        top = vec_keep(in, vec_max(vec_load(in, x + i), top), top);
    }
    return vec_top(top);
}

void NAME(add)(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        vec_store(y + i, in, vec_add(vec_load(in, y + i), vec_load(in, x + i)));
    }
}

/* 16 SWEEP columns at a time: their sums stay in registers while all rows go by. */
INLINE void columns_sweep(float *dw, const float *dy, int64_t lddy, const float *x, int64_t ldx,
                          const float *r, int64_t n, int64_t m) {
    Vec sum[SWEEP];
    In in[SWEEP];
    EACH (v, SWEEP) sum[v] = vec_set(0.0f), in[v] = in_first(m - 16 * v);
    for (int64_t i = 0; i < n; i++, dy += lddy, x += x ? ldx : 0)
        EACH (v, SWEEP) {
            Vec d = vec_load(in[v], dy + 16 * v);
            if (x) d = vec_mul(d, vec_mul(vec_load(in[v], x + 16 * v), vec_set(r[i])));
            sum[v] = vec_add(sum[v], d);
        }
    EACH (v, SWEEP) vec_store(dw + 16 * v, in[v], vec_add(vec_load(in[v], dw + 16 * v), sum[v]));
}

void NAME(columns_sum)(float *dw, const float *dy, int64_t lddy, const float *x, int64_t ldx,
                       const float *r, int64_t n, int64_t m) {
    int64_t j = 0;
    for (; j + 16 * SWEEP <= m; j += 16 * SWEEP)
        columns_sweep(dw + j, dy + j, lddy, x ? x + j : NULL, ldx, r, n, 16 * SWEEP);
    if (j < m) columns_sweep(dw + j, dy + j, lddy, x ? x + j : NULL, ldx, r, n, m - j);
}

void NAME(combine)(float *y, const float *to, const float *base, const float *const *row,
                   const float *weight, int64_t K, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        Vec s = base ? vec_load(in, base + i) : vec_set(0.0f);
        for (int64_t k = 0; k < K; k++)
            s = vec_fma(vec_set(weight[k]), vec_load(in, row[k] + i), s);
        vec_store(y + i, in, to ? vec_add(vec_load(in, to + i), s) : s);
    }
}

void NAME(scale)(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        vec_store(y + i, in, vec_mul(vec_set(a), vec_load(in, x + i)));
    }
}

void NAME(round)(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        vec_store(x + i, in, vec_round(vec_load(in, x + i)));
    }
}

void NAME(merge)(float *o, float a, const float *oc, float b, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        Vec new = vec_mul(vec_load(in, oc + i), vec_set(b));
        vec_store(o + i, in, vec_fma(vec_load(in, o + i), vec_set(a), new));
    }
}

void NAME(div)(float *y, float d, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        vec_store(y + i, in, vec_div(vec_load(in, y + i), vec_set(d)));
    }
}

/* w NULL: the norm without weights. */
float NAME(rmsnorm)(float *y, const float *x, const float *w, int64_t C, float eps) {
    float r = 1.0f / sqrtf(NAME(dot)(x, x, C) / (float)C + eps);
    for (int64_t i = 0; i < C; i += 16) {
        In in = in_first(C - i);
        Vec v = vec_mul(vec_load(in, x + i), vec_set(r));
        vec_store(y + i, in, w ? vec_mul(v, vec_load(in, w + i)) : v);
    }
    return r;
}

/* t = dy w, which both sweeps need; computing it twice is cheaper than keeping it. */
INLINE Vec times_weight(In in, const float *dy, const float *w, int64_t i) {
    Vec t = vec_load(in, dy + i);
    return w ? vec_mul(t, vec_load(in, w + i)) : t;
}

void NAME(rmsnorm_back)(float *dx, const float *dy, const float *x, const float *w, float r,
                        int64_t C, StoreMode mode) {
    Vec lane = vec_set(0.0f);
    for (int64_t i = 0; i < C; i += 16) {
        In in = in_first(C - i);
        Vec sum = vec_fma(times_weight(in, dy, w, i), vec_load(in, x + i), lane);
        lane = vec_keep(in, sum, lane);
    }
    float c = (((r * r) * r) * vec_tree(lane)) / (float)C;
    for (int64_t i = 0; i < C; i += 16) {
        In in = in_first(C - i);
        Vec t = vec_mul(vec_set(r), times_weight(in, dy, w, i));
        Vec v = vec_fma(vec_negate(vec_load(in, x + i)), vec_set(c), t);
        vec_store(dx + i, in, mode == STORE_ADD ? vec_add(vec_load(in, dx + i), v) : v);
    }
}

/* (x0, x1) rotated by the angle whose cosine is c and whose sine is s. */
INLINE void rotate(Vec *x0, Vec *x1, Vec c, Vec s) {
    Vec y0 = vec_fma(*x0, c, vec_negate(vec_mul(*x1, s)));
    *x1 = vec_fma(*x0, s, vec_mul(*x1, c));
    *x0 = y0;
}

/* `n` pairs of neighbours: 2n numbers, at most 32. */
INLINE void rotate_pairs(float *x, int64_t n, Vec c, Vec s) {
    In in0 = in_first(2 * n), in1 = in_first(2 * n - 16);
    Vec a = vec_load(in0, x), b = vec_load(in1, x + 16);
    Vec x0 = vec_even(a, b), x1 = vec_odd(a, b);
    rotate(&x0, &x1, c, s);
    vec_store(x, in0, vec_low(x0, x1));
    vec_store(x + 16, in1, vec_high(x0, x1));
}

void NAME(rope)(float *x, int64_t half, bool pairs, bool back, const float *cos, const float *sin) {
    for (int64_t j = 0; j < half; j += 16) {
        In in = in_first(half - j);
        Vec c = vec_load(in, cos + j), s = vec_load(in, sin + j);
        if (back) s = vec_negate(s);
        if (pairs) {
            rotate_pairs(x + 2 * j, half - j, c, s);
        } else {
            Vec x0 = vec_load(in, x + j), x1 = vec_load(in, x + half + j);
            rotate(&x0, &x1, c, s);
            vec_store(x + j, in, x0);
            vec_store(x + half + j, in, x1);
        }
    }
}

/* Memory bound: 4 streams in, 3 out. The divisions hide behind them. */
void NAME(adamw)(float *w, const float *g, float *m, float *v, int64_t n, const AdamW *p) {
    const Vec b1 = vec_set(p->b1), a1 = vec_set(1.0f - p->b1), c1 = vec_set(p->c1);
    const Vec b2 = vec_set(p->b2), a2 = vec_set(1.0f - p->b2), c2 = vec_set(p->c2);
    const Vec scale = vec_set(p->scale);
    const Vec eps = vec_set(p->eps), back = vec_set(-p->lr), keep = vec_set(1.0f - p->lr * p->wd);
    for (int64_t i = 0; i < n; i += 16) {
        In in = in_first(n - i);
        Vec gv = vec_mul(scale, vec_load(in, g + i));
        Vec mv = vec_fma(b1, vec_load(in, m + i), vec_mul(a1, gv));
        Vec vv = vec_fma(b2, vec_load(in, v + i), vec_mul(vec_mul(a2, gv), gv));
        Vec root = vec_add(vec_sqrt(vec_div(vv, c2)), eps);
        Vec step = vec_div(vec_div(mv, c1), root);
        vec_store(m + i, in, mv);
        vec_store(v + i, in, vv);
        vec_store(w + i, in, vec_fma(back, step, vec_mul(vec_load(in, w + i), keep)));
    }
}
