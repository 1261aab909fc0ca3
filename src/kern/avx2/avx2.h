/* avx2.h -- private to kern/avx2: the names of its kernels, and the 16 lanes of kern/wide in two
 * registers. Every kernel gives the bits of kern/ref, which explains what is computed; comments
 * here explain only how. */
#pragma once
#include <immintrin.h>
#include "kern/table.h"
#include "kern/wide/each.h"

#define NAME(f)               f##_avx2
#define X(field, ret, params) ret NAME(field) params;
KERN_LIST(X)
#undef X

enum { SWEEP = 4 }; /* Vecs of sums that leave room for operands */

typedef struct Vec {
    __m256 a, b;
} Vec;              /* lanes 0..7 and 8..15 */
typedef int64_t In; /* how many lanes are in use; fewer than 16 only at a tail */

INLINE In in_first(int64_t n) { return n; }

/* Tails go through memory: a masked load of this level would cost more than it is used. */
INLINE Vec vec_load(In in, const float *p) {
    if (in >= 16) return (Vec){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
    _Alignas(32) float part[16] = {0};
    for (int64_t i = 0; i < in; i++) part[i] = p[i];
    return (Vec){_mm256_load_ps(part), _mm256_load_ps(part + 8)};
}

INLINE void vec_store(float *p, In in, Vec v) {
    if (in >= 16) {
        _mm256_storeu_ps(p, v.a);
        _mm256_storeu_ps(p + 8, v.b);
        return;
    }
    _Alignas(32) float part[16];
    _mm256_store_ps(part, v.a);
    _mm256_store_ps(part + 8, v.b);
    for (int64_t i = 0; i < in; i++) p[i] = part[i];
}

INLINE Vec vec_keep(In in, Vec v, Vec old) {
    if (in >= 16) return v;
    const __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                  n = _mm256_set1_epi32((int)MAX(in, 0));
    __m256 a = _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, at));
    __m256 b =
        _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, _mm256_add_epi32(at, _mm256_set1_epi32(8))));
    return (Vec){_mm256_blendv_ps(old.a, v.a, a), _mm256_blendv_ps(old.b, v.b, b)};
}

INLINE Vec vec_set(float x) { return (Vec){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE Vec vec_add(Vec x, Vec y) { return (Vec){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
INLINE Vec vec_sub(Vec x, Vec y) { return (Vec){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
INLINE Vec vec_mul(Vec x, Vec y) { return (Vec){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
INLINE Vec vec_div(Vec x, Vec y) { return (Vec){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
INLINE Vec vec_max(Vec x, Vec y) { return (Vec){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
INLINE Vec vec_sqrt(Vec x) { return (Vec){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
INLINE Vec vec_negate(Vec x) { return (Vec){-x.a, -x.b}; }
INLINE Vec vec_fma(Vec x, Vec y, Vec z) {
    return (Vec){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
INLINE Vec vec_rint(Vec x) { return (Vec){_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)}; }

/* half_X is X for 8 lanes. v where x < limit, else w. */
INLINE __m256 half_below(__m256 x, __m256 limit, __m256 v, __m256 w) {
    return _mm256_blendv_ps(w, v, _mm256_cmp_ps(x, limit, _CMP_LT_OQ));
}
INLINE Vec vec_below(Vec x, Vec limit, Vec v, Vec w) {
    return (Vec){half_below(x.a, limit.a, v.a, w.a), half_below(x.b, limit.b, v.b, w.b)};
}
/* p 2^n by adding n to the exponent: exact, and for results that are normal numbers only
 * (exp.h). */
INLINE __m256 half_scale(__m256 p, __m256 n) {
    __m256i up = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), up));
}
INLINE Vec vec_scale(Vec p, Vec n) { return (Vec){half_scale(p.a, n.a), half_scale(p.b, n.b)}; }

/* bf16_of_f32 of base in the upper half of every dword: nearest even, subnormals become zero, NaN
 * stays NaN. */
INLINE __m256i half_bf16(__m256 x) {
    const __m256i inf = _mm256_set1_epi32(0x7f800000), upper = _mm256_set1_epi32((int)0xffff0000);
    __m256i u = _mm256_castps_si256(x), one = _mm256_set1_epi32(1),
            sign = _mm256_set1_epi32((int)0x80000000);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), one);
    __m256i near = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    __m256i nan = _mm256_cmpgt_epi32(_mm256_andnot_si256(sign, u), inf);
    __m256i tiny = _mm256_cmpeq_epi32(_mm256_and_si256(u, inf), _mm256_setzero_si256());
    near = _mm256_blendv_epi8(near, _mm256_or_si256(u, _mm256_set1_epi32(0x400000)), nan);
    near = _mm256_blendv_epi8(near, _mm256_and_si256(u, sign), tiny);
    return _mm256_and_si256(near, upper);
}
INLINE Vec vec_round(Vec x) {
    return (Vec){_mm256_castsi256_ps(half_bf16(x.a)), _mm256_castsi256_ps(half_bf16(x.b))};
}

/* The bf16 words of dwords, widened: those in the upper halves, those in the lower. */
INLINE __m256 half_upper(__m256 v) {
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000)));
}
INLINE __m256 half_lower(__m256 v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16));
}
INLINE Vec vec_upper(Vec v) { return (Vec){half_upper(v.a), half_upper(v.b)}; }
INLINE Vec vec_lower(Vec v) { return (Vec){half_lower(v.a), half_lower(v.b)}; }

/* Swaps the two middle 64-bit words. */
INLINE __m256 middle(__m256 v) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}
/* Lanes of even and odd number of 32, and back: neighbours that rope rotates. */
INLINE Vec vec_even(Vec x, Vec y) {
    return (Vec){middle(_mm256_shuffle_ps(x.a, x.b, 0x88)),
                 middle(_mm256_shuffle_ps(y.a, y.b, 0x88))};
}
INLINE Vec vec_odd(Vec x, Vec y) {
    return (Vec){middle(_mm256_shuffle_ps(x.a, x.b, 0xdd)),
                 middle(_mm256_shuffle_ps(y.a, y.b, 0xdd))};
}
INLINE Vec half_zip(__m256 even, __m256 odd) {
    even = middle(even);
    odd = middle(odd);
    return (Vec){_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd)};
}
INLINE Vec vec_low(Vec even, Vec odd) { return half_zip(even.a, odd.a); }
INLINE Vec vec_high(Vec even, Vec odd) { return half_zip(even.b, odd.b); }

/* The end of the tree: lanes 8 apart, 4, 2, 1. */
INLINE float vec_tree(Vec v) {
    __m256 a = _mm256_add_ps(v.a, v.b);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
INLINE float vec_top(Vec v) {
    __m256 a = _mm256_max_ps(v.a, v.b);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
