/* quant.c -- the products with quantised panels. VPMADDUBSW multiplies unsigned by signed bytes and
 * sums pairs of products in 16 bits, saturating, so what may be summed there decides everything:
 *
 *   Codes of 4 bits: 8 pairs fit, all 32 of k (16 * 15 * 127 < 2^15); of 5 bits 4 pairs.
 *   Codes of 8 bits, split as bytes_split says: one pair, -2 * 128 * 128 = -2^15. (VPSIGNB would
 *   do without the split, but stands in line for the multipliers on Zen.)
 *
 * Vector instructions for one row, one block of 32 of k, 16 outputs (1,024 operations):
 *
 *                  multiplies   conversions   adds, xors   all   cycles on Zen 4   on Golden Cove
 *   Q4_1           24           2             14           40    12                13.3
 *   Q8_0           36           2             32           70    18                23.3
 *
 * Zen 4 has two pipes that multiply (VPMADDUBSW, VPMADDWD, mul, fma), two that convert, and adds in
 * all four. Golden Cove has three pipes for all, two of which multiply and convert. Loads, two a
 * cycle, for a row of four: Q4_1 8 of x, 4 of weights, 6 of scales and sums: 9 cycles; Q8_0 8 of x,
 * 8 of weights, 5: 10.5. bench/kern measures the mix of instructions without the loads. */
#include "kern/avx2/bytes.h"
#include "kern/wide/unpack.h"

enum { ROW_PANELS = 1 };

/* q becomes a with 8 bits; below is the sum of a over w < 0. */
typedef struct Unpacked {
    Bytes q[8], sign[8];
    Ints below;
    Vec d, m;
} Unpacked;

INLINE void block_ready(const Quant *t, Unpacked *u) {
    if (unpacked_bits(t) < 8) return;
    Words pairs = bytes_split(8, u->q, u->sign);
    EACH (h, 2) u->below.h[h] = _mm256_madd_epi16(pairs.h[h], _mm256_set1_epi16(1));
}

/* `span` dwords at a time are summed in 16 bits. */
INLINE void sums_narrow(int R, int span, Ints sum[][ROW_PANELS], const Unpacked *u, const int8_t *q,
                        int64_t step) {
    EACH_BY (g0, 0, 8, span) {
        Words pairs[4];
        pairs_sum(R, span, pairs, u->q + g0, q + 4 * g0, step);
        EACH (r, R)
            EACH (h, 2) {
                __m256i s = _mm256_madd_epi16(pairs[r].h[h], _mm256_set1_epi16(1)),
                        *to = &sum[r][0].h[h];
                *to = g0 ? _mm256_add_epi32(*to, s) : s;
            }
    }
}

/* 8 bits, ready. */
INLINE void sums_byte(int R, Ints sum[][ROW_PANELS], const Unpacked *u, const int8_t *q,
                      int64_t step) {
    EACH (r, R) sum[r][0] = u->below;
    EACH (g, 8)
        EACH (r, R) {
            __m256i x = row_dword(q + r * step + 4 * g);
            EACH (h, 2) {
                __m256i p =
                    _mm256_maddubs_epi16(u->q[g].h[h], _mm256_xor_si256(x, u->sign[g].h[h]));
                sum[r][0].h[h] =
                    sum_dwords(sum[r][0].h[h], _mm256_madd_epi16(p, _mm256_set1_epi16(1)));
            }
        }
}

/* 8 bits, as unpacked: what block_ready does would not be worth it for one or two rows. */
INLINE void sums_byte_few(int R, Ints sum[][ROW_PANELS], const Unpacked *u, const int8_t *q,
                          int64_t step) {
    EACH (r, R)
        EACH (h, 2) sum[r][0].h[h] = _mm256_setzero_si256();
    EACH (g, 8)
        EACH (h, 2) {
            __m256i w = _mm256_xor_si256(u->q[g].h[h], _mm256_set1_epi8((char)0x80));
            __m256i a = _mm256_abs_epi8(w);
            EACH (r, R) {
                __m256i x = _mm256_sign_epi8(row_dword(q + r * step + 4 * g), w);
                __m256i p = _mm256_madd_epi16(_mm256_maddubs_epi16(a, x), _mm256_set1_epi16(1));
                sum[r][0].h[h] = sum_dwords(sum[r][0].h[h], p);
            }
        }
}

INLINE void block_sums(int R, int P, const Quant *t, bool ready, Ints sum[][ROW_PANELS],
                       const Unpacked *u, const A8 *x, int64_t at, int64_t step) {
    const int8_t *q = x->q + 32 * at;
    (void)P;
    /* u stays in memory while many rows pass: gcc would keep scale and minimum in registers, which
     * the sums need. */
    if (ready) __asm__("" : "+m"(*(Unpacked *)u));
    if (unpacked_bits(t) == 8) {
        if (ready)
            sums_byte(R, sum, u, q, 32 * step);
        else
            sums_byte_few(R, sum, u, q, 32 * step);
        return;
    }
    sums_narrow(R, 128 >> unpacked_bits(t), sum, u, q, 32 * step);
    if (unpacked_offset(t))
        EACH (r, R)
            EACH (h, 2)
                sum[r][0].h[h] = _mm256_sub_epi32(
                    sum[r][0].h[h], _mm256_set1_epi32(unpacked_offset(t) * x->sum[at + r * step]));
}

#include "kern/wide/quant.h"
