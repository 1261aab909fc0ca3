/* quant.c -- the products with quantised panels. VPDPBUSD sums 4 products of unsigned by signed
 * bytes exactly in every 32-bit lane, so a block of 32 k is 8 of them, whatever the number of bits.
 * Two panels, unpacked, are 20 registers, the sums of 4 rows 8; a row needs 8 broadcasts for 16
 * VPDPBUSD.
 *
 * Vector instructions for one row, one block of 32 of k, 16 outputs (1,024 operations):
 *   Q4_1   8 VPDPBUSD, conversion, d dx, 2 fma: 12
 *   Q8_0   8 VPDPBUSD, conversion, d dx, 1 fma, and the start of the sum, which two panels share:
 *          11.5
 * The contract orders all of them (the scale is applied to each block), so two blocks can share
 * none. Where a cycle takes two 512-bit instructions of any kind (Golden Cove; Zen 4 takes one
 * VPDPBUSD or fma) the product is bound by 8/12 = 67 % of the VPDPBUSD rate; where conversions and
 * adds have pipes of their own (Zen 4, Zen 5) by 8/11 = 73 %. Loads, two a cycle, for a row and two
 * panels: 8 of x, 2 scales, 2 sums: 6 cycles of 12. bench/kern measures the mix of instructions
 * without the loads. */
#include "kern/avx512/bytes.h"
#include "kern/wide/unpack.h"

enum { ROW_PANELS = 2 };

typedef struct Unpacked {
    Bytes q[8];
    Vec d, m;
} Unpacked;

INLINE void block_ready(const Quant *t, Unpacked *u) { (void)t, (void)u; }

/* Codes are too large by an offset: their sum starts at -offset times the sum of the row. */
INLINE Ints sum_start(const Quant *t, int32_t row) {
    if (!unpacked_offset(t)) return _mm512_setzero_si512();
    return _mm512_set1_epi32(-unpacked_offset(t) * row);
}

INLINE void block_sums(int R, int P, const Quant *t, bool ready, Ints sum[][ROW_PANELS],
                       const Unpacked *u, const A8 *x, int64_t at, int64_t step) {
    (void)ready;
    EACH (r, R) {
        Ints start = sum_start(t, x->sum[at + r * step]);
        EACH (p, P) sum[r][p] = start;
    }
    EACH (g, 8)
        EACH (r, R) {
            int32_t four;
            memcpy(&four, x->q + 32 * (at + r * step) + 4 * g, 4);
            __m512i xv = _mm512_set1_epi32(four);
            EACH (p, P) sum[r][p] = dot_bytes(sum[r][p], u[p].q[g], xv);
        }
}

#include "kern/wide/quant.h"
