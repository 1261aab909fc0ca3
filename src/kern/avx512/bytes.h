/* bytes.h -- private to kern/avx512: the bytes and integers of quantised panels, 16 outputs side by
 * side in one register (kern/wide/unpack.h says what is what). */
#pragma once
#include "kern/avx512/avx512.h"

typedef __m512i Bytes, Ints, Words;

INLINE Bytes bytes_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE Bytes bytes_and(Bytes v, int mask) {
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}
INLINE Bytes bytes_or(Bytes v, Bytes w) { return _mm512_or_si512(v, w); }
/* Shifts of 16-bit words: the bits that cross into the neighbouring byte are masked away after. */
INLINE Bytes bytes_right(Bytes v, int n) { return _mm512_srli_epi16(v, (unsigned)n); }
INLINE Bytes bytes_left(Bytes v, int n) { return _mm512_slli_epi16(v, (unsigned)n); }
/* Codes that stand for the numbers of a table (IQ4, MXFP4), `add` above them. */
INLINE Bytes bytes_lookup(Bytes v, const int8_t table[16], int add) {
    __m128i t = _mm_add_epi8(_mm_loadu_si128((const void *)table), _mm_set1_epi8((char)add));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), v);
}

INLINE Vec ints_vec(Ints v) { return _mm512_cvtepi32_ps(v); }
INLINE Ints ints_load(const int32_t *p) { return _mm512_load_si512(p); }
INLINE void ints_store(int32_t *p, Ints v) { _mm512_store_si512(p, v); }
INLINE Ints ints_add(Ints v, Ints w) { return _mm512_add_epi32(v, w); }
INLINE Ints ints_sub(Ints v, Ints w) { return _mm512_sub_epi32(v, w); }

/* Bytes of two rows of sub-scales, interleaved as words, for a product by vpmaddwd. */
INLINE Words words_pair(const uint8_t *p, const uint8_t *q, int up, int mask) {
    const __m128i all = _mm_set1_epi8((char)mask);
    __m128i a = _mm_and_si128(_mm_srli_epi16(_mm_load_si128((const void *)p), up), all);
    __m128i b = _mm_and_si128(_mm_srli_epi16(_mm_load_si128((const void *)q), up), all);
    __m256i both = _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b));
    return _mm512_cvtepi8_epi16(both);
}
INLINE Words words_left(Words v, int n) { return _mm512_slli_epi16(v, (unsigned)n); }
INLINE Ints words_dot(Words v, int32_t pair) {
    return _mm512_madd_epi16(v, _mm512_set1_epi32(pair));
}

INLINE Vec vec_f16(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}
INLINE Vec vec_bf16(const uint8_t *p) {
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

/* The intrinsic makes gcc 12 copy the accumulator before every instruction, at half the rate. */
INLINE __m512i dot_bytes(__m512i sum, __m512i w, __m512i x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
}
