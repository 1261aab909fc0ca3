/* quant_k.c -- the products with panels of K types. VPMADDUBSW sums pairs of products of unsigned
 * by signed bytes in 16 bits; how many of these may be added there before VPMADDWD multiplies them
 * by the sub-scale and widens them depends on the bits of a code: with 4 bits all 8 dwords of a
 * chunk, if its halves share a sub-scale; with up to 5 the 4 of a half; with 6 bits 2
 * (63 * 127 * 4 < 2^15); with 8, split as bytes_split says, 1.
 *
 * Vector instructions for one row, one block of 256 of k, 16 outputs, over 8, to be compared with
 * the 40 of Q4_1 (quant.c):
 *
 *                  multiplies   conversions   adds, xors   all   cycles on Zen 4
 *   Q4_K           19.75        0.5           16.75        37     9.9
 *   Q6_K           26.5         0.25          18.25        45    13.3 */
#include "kern/avx2/bytes.h"
#include "kern/wide/unpack.h"

typedef struct Chunk {
    Bytes q[8], sign[8];
    Words scale[2]; /* of each half, twice in every dword */
    Ints below;     /* 8 bits: scaled sum of a over w < 0 */
} Chunk;

INLINE void chunk_scales(Chunk *u, const uint8_t *p, const uint8_t *q, int mask) {
    u->scale[0] = words_pair(p, p, 0, mask);
    u->scale[1] = words_pair(q, q, 0, mask);
}

INLINE void chunk_ready(const Quant *t, Chunk *u) {
    if (unpacked_bits(t) < 8) return;
    EACH (half, 2) {
        Words pairs = bytes_split(4, u->q + 4 * half, u->sign + 4 * half);
        EACH (h, 2) {
            __m256i s = _mm256_madd_epi16(pairs.h[h], u->scale[half].h[h]);
            u->below.h[h] = half ? _mm256_add_epi32(u->below.h[h], s) : s;
        }
    }
}

/* Up to 5 bits: `span` dwords at a time are summed in 16 bits. */
INLINE void chunk_narrow(int R, int span, int32_t to[][PANEL], const Chunk *u, const int8_t *q,
                         int64_t step) {
    EACH_BY (g0, 0, 8, span) {
        Words pairs[4];
        pairs_sum(R, span, pairs, u->q + g0, q + 4 * g0, step);
        EACH (r, R) {
            Ints s = {{_mm256_madd_epi16(pairs[r].h[0], u->scale[g0 / 4].h[0]),
                       _mm256_madd_epi16(pairs[r].h[1], u->scale[g0 / 4].h[1])}};
            ints_store(to[r], ints_add(ints_load(to[r]), s));
        }
    }
}

/* 6 and 8 bits: the sums of four rows stay in registers. */
INLINE void chunk_wide(int R, int span, int32_t to[][PANEL], const Chunk *u, const int8_t *q,
                       int64_t step) {
    Ints sum[4];
    EACH (r, R) {
        sum[r] = ints_load(to[r]);
        if (span == 1) sum[r] = ints_add(sum[r], u->below);
    }
    EACH_BY (g0, 0, 8, span)
        EACH (r, R)
            EACH (h, 2) {
                __m256i pairs = _mm256_setzero_si256();
                EACH_BY (g, g0, g0 + span, 1) {
                    __m256i x = row_dword(q + r * step + 4 * g);
                    if (span == 1) x = _mm256_xor_si256(x, u->sign[g].h[h]);
                    __m256i p = _mm256_maddubs_epi16(u->q[g].h[h], x);
                    pairs = g == g0 ? p : _mm256_add_epi16(pairs, p);
                }
                sum[r].h[h] =
                    sum_dwords(sum[r].h[h], _mm256_madd_epi16(pairs, u->scale[g0 / 4].h[h]));
            }
    EACH (r, R) ints_store(to[r], sum[r]);
}

INLINE void chunk_add(int R, const Quant *t, int32_t to[][PANEL], const Chunk *u, const int8_t *q,
                      int64_t step) {
    const int bits = unpacked_bits(t);
    /* u stays in memory while many rows pass: the sums need the registers. */
    if (R == 4) __asm__("" : "+m"(*(Chunk *)u));
    if (bits <= 5)
        chunk_narrow(R, bits <= 4 && t->sub == 32 ? 8 : 4, to, u, q, step);
    else
        chunk_wide(R, bits == 6 ? 2 : 1, to, u, q, step);
}

#include "kern/wide/quant_k.h"
