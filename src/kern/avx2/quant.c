/* quant.c -- the products with Q4_1 and Q8_0 panels. VPMADDUBSW sums pairs of byte products in 16
 * bits. For Q4_1 all 16 of an output fit there (16 * 15 * 127 < 2^15), for Q8_0 a pair does once
 * both signs stand on the row's side (2 * 128 * 127 < 2^15). */
#include "kern/avx2/avx2.h"

enum { ROW_PANELS = 1 };

/* Signed (Q8_0) or unsigned weights of 8 dwords of k, for outputs 0..7 and 8..15. */
typedef struct Unpacked {
    __m256i q[8][2];
    Vec d, m;
} Unpacked;

INLINE Vec load_f16(const uint8_t *p) {
    return (Vec){_mm256_cvtph_ps(_mm_loadu_si128((const void *)p)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 16)))};
}

INLINE Unpacked unpack_q4_1(const uint8_t *w) {
    const __m256i low = _mm256_set1_epi8(15);
    Unpacked u;
    EACH (g, 4)
        EACH (h, 2) {
            __m256i v = _mm256_load_si256((const void *)(w + 64 * g + 32 * h));
            u.q[g][h] = _mm256_and_si256(v, low);
            u.q[g + 4][h] = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
        }
    u.d = load_f16(w + 256);
    u.m = load_f16(w + 288);
    return u;
}

INLINE Unpacked unpack_q8_0(const uint8_t *w) {
    const __m256i top = _mm256_set1_epi8((char)0x80);
    Unpacked u;
    EACH (g, 8)
        EACH (h, 2)
            u.q[g][h] =
                _mm256_xor_si256(_mm256_load_si256((const void *)(w + 64 * g + 32 * h)), top);
    u.d = load_f16(w + 512);
    u.m = vec_set(0.0f);
    return u;
}

INLINE __m256i row_dword(const int8_t *q, int g) {
    int32_t four;
    memcpy(&four, q + 4 * g, 4);
    return _mm256_set1_epi32(four);
}

INLINE void isum_q4_1(__m256i isum[2], const Unpacked *u, const int8_t *q) {
    __m256i pairs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    EACH (g, 8)
        EACH (h, 2)
            pairs[h] =
                _mm256_add_epi16(pairs[h], _mm256_maddubs_epi16(u->q[g][h], row_dword(q, g)));
    EACH (h, 2) isum[h] = _mm256_madd_epi16(pairs[h], _mm256_set1_epi16(1));
}

INLINE void isum_q8_0(__m256i isum[2], const Unpacked *u, const int8_t *q) {
    isum[0] = isum[1] = _mm256_setzero_si256();
    EACH (g, 8)
        EACH (h, 2) {
            __m256i x = _mm256_sign_epi8(row_dword(q, g), u->q[g][h]);
            __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(u->q[g][h]), x);
            isum[h] = _mm256_add_epi32(isum[h], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
}

INLINE void row_block(int P, bool q4, float *c, const Unpacked *u, const A8 *x, int64_t at) {
    __m256i isum[2];
    (void)P;
    if (q4)
        isum_q4_1(isum, u, x->q + at * 32);
    else
        isum_q8_0(isum, u, x->q + at * 32);
    Vec sum = {_mm256_cvtepi32_ps(isum[0]), _mm256_cvtepi32_ps(isum[1])};
    Vec acc = vec_fma(vec_mul(u->d, vec_set(x->d[at])), sum, vec_load(PANEL, c));
    if (q4) acc = vec_fma(u->m, vec_set(x->s[at]), acc);
    vec_store(c, PANEL, acc);
}

#include "kern/wide/quant.h"
