/* quant.c -- the products with Q4_1 and Q8_0 panels. VPDPBUSD sums 4 byte products exactly in every
 * 32-bit lane, so a block of 32 k is 8 of them. Two panels, unpacked, are 20 registers; a row needs
 * 8 broadcasts for 16 products. */
#include "kern/avx512/avx512.h"

enum { ROW_PANELS = 2 };

/* The unsigned weights of 8 dwords of k; scale and minimum. */
typedef struct Unpacked {
    __m512i q[8];
    Vec d, m;
} Unpacked;

INLINE Vec load_f16(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

INLINE Unpacked unpack_q4_1(const uint8_t *w) {
    const __m512i low = _mm512_set1_epi8(15);
    Unpacked u;
    EACH (g, 4) {
        __m512i v = _mm512_load_si512(w + 64 * g);
        u.q[g] = _mm512_and_si512(v, low);
        u.q[g + 4] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    }
    u.d = load_f16(w + 256);
    u.m = load_f16(w + 288);
    return u;
}

INLINE Unpacked unpack_q8_0(const uint8_t *w) {
    Unpacked u;
    EACH (g, 8) u.q[g] = _mm512_loadu_si512(w + 64 * g);
    u.d = load_f16(w + 512);
    u.m = vec_set(0.0f);
    return u;
}

/* The intrinsic makes gcc 12 copy the accumulator before every instruction, at half the rate. */
INLINE __m512i dot_bytes(__m512i sum, __m512i w, __m512i x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
}

/* Q8_0 weights are held 128 too large: their sum starts at -128 times the sum of the row. */
INLINE __m512i sum_start(bool q4, const A8 *x, int64_t at) {
    if (q4) return _mm512_setzero_si512();
    return _mm512_slli_epi32(_mm512_set1_epi32(-x->sum[at]), 7);
}

INLINE void row_block(int P, bool q4, float *c, const Unpacked *u, const A8 *x, int64_t at) {
    __m512i isum[ROW_PANELS], start = sum_start(q4, x, at);
    EACH (p, P) isum[p] = start;
    EACH (g, 8) {
        int32_t four;
        memcpy(&four, x->q + at * 32 + 4 * g, 4);
        __m512i xv = _mm512_set1_epi32(four);
        EACH (p, P) isum[p] = dot_bytes(isum[p], u[p].q[g], xv);
    }
    EACH (p, P) {
        Vec d = vec_mul(u[p].d, vec_set(x->d[at]));
        Vec acc = vec_fma(d, _mm512_cvtepi32_ps(isum[p]), _mm512_load_ps(c + 16 * p));
        if (q4) acc = vec_fma(u[p].m, vec_set(x->s[at]), acc);
        _mm512_store_ps(c + 16 * p, acc);
    }
}

#include "kern/wide/quant.h"
