/* avx512.h -- private to kern/avx512: the names of its kernels, and the 16 lanes of kern/wide in
 * one register. Every kernel gives the bits of kern/ref, which explains what is computed; comments
 * here explain only how. */
#pragma once
#include <immintrin.h>
#include "kern/table.h"
#include "kern/wide/each.h"

#define NAME(f)               f##_avx512
#define X(field, ret, params) ret NAME(field) params;
KERN_LIST(X)
#undef X
gemm_bf16_fn NAME(gemm_bf16_fma); /* gemm_bf16 without VDPBF16PS */

enum { SWEEP = 8 }; /* Vecs of sums that leave room for operands */

typedef __m512 Vec;
typedef __mmask16 In;

INLINE In in_first(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (In)((1u << n) - 1u); }
INLINE Vec vec_load(In in, const float *p) { return _mm512_maskz_loadu_ps(in, p); }
INLINE void vec_store(float *p, In in, Vec v) { _mm512_mask_storeu_ps(p, in, v); }
INLINE Vec vec_keep(In in, Vec v, Vec old) { return _mm512_mask_mov_ps(old, in, v); }

INLINE Vec vec_set(float x) { return _mm512_set1_ps(x); }
INLINE Vec vec_add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
INLINE Vec vec_sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
INLINE Vec vec_mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
INLINE Vec vec_div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
INLINE Vec vec_max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
INLINE Vec vec_sqrt(Vec a) { return _mm512_sqrt_ps(a); }
INLINE Vec vec_negate(Vec a) { return -a; }
INLINE Vec vec_fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE Vec vec_rint(Vec a) { return _mm512_roundscale_ps(a, 8); }

/* v where x < limit, else w. */
INLINE Vec vec_below(Vec x, Vec limit, Vec v, Vec w) {
    return _mm512_mask_mov_ps(w, _mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), v);
}
/* p 2^n by adding n to the exponent: exact, and for results that are normal numbers only
 * (exp.h). */
INLINE Vec vec_scale(Vec p, Vec n) {
    __m512i up = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), up));
}
/* Through bf16 and back. */
INLINE Vec vec_round(Vec x) {
    __m512i word = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(word, 16));
}

/* The bf16 words of dwords, widened: those in the upper halves, those in the lower. */
INLINE Vec vec_upper(Vec v) {
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), upper));
}
INLINE Vec vec_lower(Vec v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 16));
}

/* Lanes of even and odd number of 32, and back: neighbours that rope rotates. */
INLINE Vec vec_even(Vec a, Vec b) {
    const __m512i at = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, at, b);
}
INLINE Vec vec_odd(Vec a, Vec b) {
    const __m512i at = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, at, b);
}
INLINE Vec vec_low(Vec even, Vec odd) {
    const __m512i at = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(even, at, odd);
}
INLINE Vec vec_high(Vec even, Vec odd) {
    const __m512i at =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return _mm512_permutex2var_ps(even, at, odd);
}

INLINE float vec_top(Vec v) { return _mm512_reduce_max_ps(v); }
/* The end of the tree: lanes 8 apart, 4, 2, 1. reduce_add would leave the order to the compiler. */
INLINE float vec_tree(Vec v) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
