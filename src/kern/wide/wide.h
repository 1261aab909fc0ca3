/* wide.h -- private to kern/: kernels written once for every level that has 16 lanes of f32, in one
 * register or in several. The level's own header comes first and brings the lanes:
 *
 *   NAME(f)            the name of kernel f at this level
 *   Vec                16 f32, with vec_set, vec_add, vec_sub, vec_mul, vec_div, vec_sqrt,
 *                      vec_negate, vec_rint, vec_max (the second operand where one is NaN), and
 *                      vec_fma(a, b, c), which is a b + c rounded once
 *   In, in_first(n)    the first n of 16 lanes: all for n >= 16, none for n <= 0
 *   vec_load(in, p)    0 outside `in`, and nothing is read there
 *   vec_store(p, in, v), vec_keep(in, v, old)         nothing is written there; old stays there
 *   vec_below(x, limit, v, w)                         v where x < limit, else w
 *   vec_scale(p, n)    p 2^n for integral n, by adding n to the exponent's bits
 *   vec_round(x)       through bf16
 *   vec_upper(v), vec_lower(v)                        the upper, the lower bf16 of every dword
 *   vec_even(a, b), vec_odd(a, b)                     lanes 0, 2, .. and 1, 3, .. of the 32
 *   vec_low(even, odd), vec_high(even, odd)           and back
 *   vec_tree(v), vec_top(v)                           the end of the 16-lane tree; the largest lane
 *
 * A Vec is the 16 lanes of the tree, so sums fall into the contract's order by themselves. */
#pragma once
#include "kern/table.h"

/* How many of `left` to take at a time, at most `most`, so that no share is much smaller. */
INLINE int64_t even_share(int64_t left, int64_t most) {
    int64_t shares = (left + most - 1) / most;
    return (left + shares - 1) / shares;
}

/* n rows of m floats to their place, added to what stands there or not. */
INLINE void rows_move(float *to, int64_t ldt, const float *from, int64_t ldf, int64_t n, int64_t m,
                      bool sum) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j += PANEL) {
            In in = in_first(m - j);
            Vec v = vec_load(in, from + i * ldf + j);
            if (sum) v = vec_add(vec_load(in, to + i * ldt + j), v);
            vec_store(to + i * ldt + j, in, v);
        }
}

/* exp_f32 of base. A NaN comes out of the polynomial as one. */
INLINE Vec vec_exp(Vec x) {
    Vec n = vec_rint(vec_mul(x, vec_set(EXP_LOG2E)));
    Vec r = vec_fma(n, vec_set(-EXP_LN2_HI), x);
    r = vec_fma(n, vec_set(-EXP_LN2_LO), r);
    Vec p = vec_set(EXP_C6);
    p = vec_fma(p, r, vec_set(EXP_C5));
    p = vec_fma(p, r, vec_set(EXP_C4));
    p = vec_fma(p, r, vec_set(EXP_C3));
    p = vec_fma(p, r, vec_set(EXP_C2));
    p = vec_fma(p, r, vec_set(1.0f));
    p = vec_fma(p, r, vec_set(1.0f));
    Vec y = vec_below(vec_set(EXP_HI), x, vec_set(__builtin_inff()), vec_scale(p, n));
    return vec_below(x, vec_set(EXP_LO), vec_set(0.0f), y);
}

/* ---- reading panels -------------------------------------------------------------------------- */

/* A single row is bound by reading the panels, so what is wanted AHEAD bytes later is brought into
 * L2: far enough for the memory to answer in time. Not into L1, which waits for fewer lines at a
 * time than memory can deliver: a row of Q8_0 read half as fast (docs/log.md). */
enum { AHEAD = 16 << 10 };
INLINE void prefetch(const uint8_t *now, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(now + AHEAD + at, 0, 2);
}
