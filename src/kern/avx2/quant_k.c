/* quant_k.c -- the products with panels of K types. VPMADDUBSW sums pairs of products of unsigned
 * by signed bytes in 16 bits; how many of these may be added there before VPMADDWD multiplies them
 * by the sub-scale and widens them depends on the bits of a code: with up to 5 all 4 dwords of a
 * half, with 6 bits 2 (63 * 127 * 4 < 2^15). Values of 8 bits stand as a = |w| and s = -1 where
 * w < 0, else 0: with x^s = -x - 1 where w < 0, sum w x = sum a (x^s) + sum of a over w < 0, and
 * the last term does not know the row. */
#include "kern/avx2/bytes.h"
#include "kern/wide/unpack.h"

typedef struct Chunk {
    Bytes q[8], sign[8];
    Words scale[2]; /* of each half, twice in every dword */
    Words pair, min;
    Ints below; /* scaled sum of a over w < 0 */
} Chunk;

INLINE void chunk_scales(Chunk *u, const uint8_t *p, const uint8_t *q, int mask) {
    u->scale[0] = words_pair(p, p, 0, mask);
    u->scale[1] = words_pair(q, q, 0, mask);
}

INLINE void chunk_ready(const Quant *t, Chunk *u) {
    if (unpacked_bits(t) < 8) return;
    const __m256i zero = _mm256_setzero_si256();
    EACH (h, 2) {
        __m256i below = zero;
        EACH (half, 2) {
            __m256i pairs = zero;
            EACH_BY (g, 4 * half, 4 * half + 4, 1) {
                __m256i w = _mm256_xor_si256(u->q[g].h[h], _mm256_set1_epi8((char)0x80));
                u->q[g].h[h] = _mm256_abs_epi8(w);
                u->sign[g].h[h] = _mm256_cmpgt_epi8(zero, w);
                pairs =
                    _mm256_sub_epi16(pairs, _mm256_maddubs_epi16(u->q[g].h[h], u->sign[g].h[h]));
            }
            below = _mm256_add_epi32(below, _mm256_madd_epi16(pairs, u->scale[half].h[h]));
        }
        u->below.h[h] = below;
    }
}

/* `span` dwords at a time are summed in 16 bits. */
INLINE void chunk_sums(int R, const Quant *t, Ints *sum, const Chunk *u, const int8_t *q,
                       int64_t step) {
    const int bits = unpacked_bits(t), span = bits == 8 ? 1 : bits == 6 ? 2 : 4;
    EACH (r, R)
        EACH (h, 2) sum[r].h[h] = bits == 8 ? u->below.h[h] : _mm256_setzero_si256();
    EACH_BY (g0, 0, 8, span) {
        __m256i pairs[4][2];
        EACH_BY (g, g0, g0 + span, 1)
            EACH (r, R) {
                __m256i x = row_dword(q + r * step + 4 * g);
                EACH (h, 2) {
                    __m256i by = bits == 8 ? _mm256_xor_si256(x, u->sign[g].h[h]) : x;
                    __m256i p = _mm256_maddubs_epi16(u->q[g].h[h], by);
                    pairs[r][h] = g == g0 ? p : sum_words(pairs[r][h], p);
                }
            }
        EACH (r, R)
            EACH (h, 2)
                sum[r].h[h] = _mm256_add_epi32(
                    sum[r].h[h], _mm256_madd_epi16(pairs[r][h], u->scale[g0 / 4].h[h]));
    }
}

#include "kern/wide/quant_k.h"
