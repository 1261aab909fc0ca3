/* quant.h -- the products of int8 rows with Q4_1 and Q8_0 panels. Included once by each level,
 * after its header (wide.h) and these of its own:
 *
 *   Unpacked, unpack_q4_1(w), unpack_q8_0(w)   one block of one panel, ready for the products
 *   ROW_PANELS                                 how many of them a row passes at once, 1 or 2
 *   row_block(P, q4, c, u, x, at)              c (P x 16) += block `at` of rows x with u[0..P-1]
 *
 * A block of a panel is unpacked once and then used for up to QUANT_ROWS rows, whose sums stay in
 * L1. */
#include "kern/wide/wide.h"

enum { QUANT_ROWS = 48, QUANT_COLS = ROW_PANELS * PANEL, Q4_1_BYTES = 320, Q8_0_BYTES = 544 };

INLINE void prefetch(const uint8_t *p, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(p + at);
}

/* Rows i.. (n <= QUANT_ROWS) times P panels. With every block, the same block of the next P panels
 * is prefetched: a single row then reads at the speed of memory (without it, at 60 % of that). */
INLINE void tile_a8(int P, bool q4, float c[][QUANT_COLS], const A8 *x, int64_t i, int64_t n,
                    const uint8_t *w, int64_t blocks) {
    const int64_t bytes = q4 ? Q4_1_BYTES : Q8_0_BYTES;
    memset(c, 0, sizeof c[0] * (size_t)n);
    for (int64_t b = 0; b < blocks; b++, w += bytes) {
        Unpacked u[ROW_PANELS];
        EACH (p, P)
            u[p] = q4 ? unpack_q4_1(w + p * blocks * bytes) : unpack_q8_0(w + p * blocks * bytes);
        EACH (p, P) prefetch(w + (P + p) * blocks * bytes, bytes);
        for (int64_t r = 0; r < n; r++) row_block(P, q4, c[r], u, x, (i + r) * blocks + b);
    }
}

static void tile_store(float *y, int64_t ldy, float c[][QUANT_COLS], int64_t n, int64_t m,
                       StoreMode mode) {
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < m; j += 16) {
            float *to = y + r * ldy + j;
            In in = in_first(m - j);
            Vec v = vec_load(in, c[r] + j);
            vec_store(to, in, mode == STORE_ADD ? vec_add(vec_load(in, to), v) : v);
        }
}

INLINE void gemm_a8(bool q4, float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w,
                    int64_t m, int64_t k, StoreMode mode) {
    _Alignas(64) float c[QUANT_ROWS][QUANT_COLS];
    int64_t blocks = k / 32, panel = blocks * (q4 ? Q4_1_BYTES : Q8_0_BYTES);
    for (int64_t j = 0; j < m; j += QUANT_COLS, w += ROW_PANELS * panel)
        for (int64_t i = 0, rows; i < n; i += rows) {
            rows = even_share(n - i, QUANT_ROWS);
            if (m - j > PANEL)
                tile_a8(ROW_PANELS, q4, c, x, i, rows, w, blocks);
            else
                tile_a8(1, q4, c, x, i, rows, w, blocks);
            tile_store(y + i * ldy + j, ldy, c, rows, MIN(m - j, QUANT_COLS), mode);
        }
}

void NAME(gemm_q4_1)(float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w, int64_t m,
                     int64_t k, StoreMode mode) {
    gemm_a8(true, y, ldy, x, n, w, m, k, mode);
}

void NAME(gemm_q8_0)(float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w, int64_t m,
                     int64_t k, StoreMode mode) {
    gemm_a8(false, y, ldy, x, n, w, m, k, mode);
}
