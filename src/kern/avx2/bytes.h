/* bytes.h -- private to kern/avx2: the bytes and integers of quantised panels, which hold 16
 * outputs side by side, in two registers: outputs 0..7 and 8..15 (kern/wide/unpack.h says what is
 * what). */
#pragma once
#include "kern/avx2/avx2.h"

typedef struct Bytes {
    __m256i h[2];
} Bytes;
typedef Bytes Ints, Words;

INLINE Bytes bytes_load(const uint8_t *p) {
    return (Bytes){{_mm256_load_si256((const void *)p), _mm256_load_si256((const void *)(p + 32))}};
}
INLINE Bytes bytes_and(Bytes v, int mask) {
    const __m256i all = _mm256_set1_epi8((char)mask);
    return (Bytes){{_mm256_and_si256(v.h[0], all), _mm256_and_si256(v.h[1], all)}};
}
INLINE Bytes bytes_or(Bytes v, Bytes w) {
    return (Bytes){{_mm256_or_si256(v.h[0], w.h[0]), _mm256_or_si256(v.h[1], w.h[1])}};
}
/* Shifts of 16-bit words: the bits that cross into the neighbouring byte are masked away after. */
INLINE Bytes bytes_right(Bytes v, int n) {
    return (Bytes){{_mm256_srli_epi16(v.h[0], n), _mm256_srli_epi16(v.h[1], n)}};
}
INLINE Bytes bytes_left(Bytes v, int n) {
    return (Bytes){{_mm256_slli_epi16(v.h[0], n), _mm256_slli_epi16(v.h[1], n)}};
}
/* Codes that stand for the numbers of a table (IQ4, MXFP4), `add` above them. */
INLINE Bytes bytes_lookup(Bytes v, const int8_t table[16], int add) {
    __m128i t = _mm_add_epi8(_mm_loadu_si128((const void *)table), _mm_set1_epi8((char)add));
    __m256i both = _mm256_broadcastsi128_si256(t);
    return (Bytes){{_mm256_shuffle_epi8(both, v.h[0]), _mm256_shuffle_epi8(both, v.h[1])}};
}

INLINE Vec ints_vec(Ints v) {
    return (Vec){_mm256_cvtepi32_ps(v.h[0]), _mm256_cvtepi32_ps(v.h[1])};
}
INLINE Ints ints_load(const int32_t *p) {
    return (Ints){{_mm256_load_si256((const void *)p), _mm256_load_si256((const void *)(p + 8))}};
}
INLINE void ints_store(int32_t *p, Ints v) {
    _mm256_store_si256((void *)p, v.h[0]);
    _mm256_store_si256((void *)(p + 8), v.h[1]);
}
INLINE Ints ints_add(Ints v, Ints w) {
    return (Ints){{_mm256_add_epi32(v.h[0], w.h[0]), _mm256_add_epi32(v.h[1], w.h[1])}};
}
INLINE Ints ints_sub(Ints v, Ints w) {
    return (Ints){{_mm256_sub_epi32(v.h[0], w.h[0]), _mm256_sub_epi32(v.h[1], w.h[1])}};
}

/* Bytes of two rows of sub-scales, interleaved as words, for a product by vpmaddwd. */
INLINE Words words_pair(const uint8_t *p, const uint8_t *q, int up, int mask) {
    const __m128i all = _mm_set1_epi8((char)mask);
    __m128i a = _mm_and_si128(_mm_srli_epi16(_mm_load_si128((const void *)p), up), all);
    __m128i b = _mm_and_si128(_mm_srli_epi16(_mm_load_si128((const void *)q), up), all);
    return (Words){{_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)),
                    _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b))}};
}
INLINE Words words_left(Words v, int n) { return bytes_left(v, n); }
INLINE Ints words_dot(Words v, int32_t pair) {
    const __m256i x = _mm256_set1_epi32(pair);
    return (Ints){{_mm256_madd_epi16(v.h[0], x), _mm256_madd_epi16(v.h[1], x)}};
}

INLINE Vec vec_f16(const uint8_t *p) {
    return (Vec){_mm256_cvtph_ps(_mm_loadu_si128((const void *)p)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 16)))};
}
INLINE Vec vec_bf16(const uint8_t *p) {
    __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)),
            b = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(p + 16)));
    return (Vec){_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
                 _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
}

/* Four numbers of a row for every output. */
INLINE __m256i row_dword(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return _mm256_set1_epi32(four);
}

/* a + b, added here and now: gcc 12 would make all products first and add them up at last, for
 * which there are no registers. */
INLINE __m256i sum_words(__m256i a, __m256i b) {
    a = _mm256_add_epi16(a, b);
    __asm__("" : "+x"(a));
    return a;
}
INLINE __m256i sum_dwords(__m256i a, __m256i b) {
    a = _mm256_add_epi32(a, b);
    __asm__("" : "+x"(a));
    return a;
}

/* pairs[r] = the sums in 16 bits of `span` dwords of unsigned codes by the numbers of row r at
 * x + r step. */
INLINE void pairs_sum(int R, int span, Words pairs[], const Bytes *code, const int8_t *x,
                      int64_t step) {
    EACH (g, span)
        EACH (r, R) {
            __m256i dword = row_dword(x + r * step + 4 * g);
            EACH (h, 2) {
                __m256i p = _mm256_maddubs_epi16(code[g].h[h], dword);
                pairs[r].h[h] = g ? sum_words(pairs[r].h[h], p) : p;
            }
        }
}

/* Codes of 8 bits: the value w = code - 128 becomes a = |w|, in place of the code, and s = -1 where
 * w < 0, else 0. With x^s = -x - 1 where w < 0,  sum w x = sum a (x^s) + sum of a over w < 0,  and
 * the last term, which is returned in 16 bits, does not know the row. */
INLINE Words bytes_split(int n, Bytes *code, Bytes *sign) {
    const __m256i zero = _mm256_setzero_si256();
    Words below = {{zero, zero}};
    EACH (g, n)
        EACH (h, 2) {
            __m256i w = _mm256_xor_si256(code[g].h[h], _mm256_set1_epi8((char)0x80));
            code[g].h[h] = _mm256_abs_epi8(w);
            sign[g].h[h] = _mm256_cmpgt_epi8(zero, w);
            below.h[h] =
                _mm256_sub_epi16(below.h[h], _mm256_maddubs_epi16(code[g].h[h], sign[g].h[h]));
        }
    return below;
}
