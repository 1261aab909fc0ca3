/* quant.h -- the products of int8 rows with panels of types whose blocks hold 32 numbers of k and
 * one scale (K types: quant_k.h). Included once by each level, after its header,
 * kern/wide/unpack.h and these of its own:
 *
 *   Unpacked           one block of one panel: { Bytes q[8]; Vec d, m; and what else the level
 *                      keeps }
 *   block_ready(t, u)  brings q, as unpack_codes left it, into the form that many rows want
 *   block_sums(R, P, t, ready, sum, u, x, at, step)
 *                      sum[r][p] = the exact integer sums of 32 of k: panel u[p], ready or as it
 *                      was unpacked, by block at + r step of the rows x
 *   ROW_PANELS         how many panels a row passes at once, 1 or 2
 *
 * A block of a panel is unpacked once and then used for up to QUANT_ROWS rows, whose sums stay in
 * L1. Rows go by in fours: one load of the weights serves four of them, and enough sums that do not
 * wait for each other are at work.
 *
 * A further type of this kind is its constants in kern/quant.h and a GEMM_32 row below, for all
 * levels at once. */
#include "kern/wide/unpack.h"

enum { QUANT_ROWS = 64, QUANT_STEP = 4, QUANT_COLS = ROW_PANELS * PANEL };

/* R rows by P panels, one block (docs/contract.md 3): c = fma(d dx, isum, c), then fma(m, s, c). */
INLINE void rows_block(int R, int P, const Quant *t, bool ready, float c[][QUANT_COLS],
                       const Unpacked *u, const A8 *x, int64_t at, int64_t step) {
    Ints sum[QUANT_STEP][ROW_PANELS];
    block_sums(R, P, t, ready, sum, u, x, at, step);
    EACH (r, R)
        EACH (p, P) {
            float *to = c[r] + p * PANEL;
            Vec d = vec_mul(u[p].d, vec_set(x->d[at + r * step]));
            Vec acc = vec_fma(d, ints_vec(sum[r][p]), vec_load(in_first(PANEL), to));
            if (t->min) acc = vec_fma(u[p].m, vec_set(x->s[at + r * step]), acc);
            vec_store(to, in_first(PANEL), acc);
        }
}

INLINE void block_unpack(const Quant *t, Unpacked *u, const uint8_t *w) {
    unpack_codes(t, u->q, w, 0, 0);
    u->d = t->exponent ? vec_bf16(w + quant_at_d(t)) : vec_f16(w + quant_at_d(t));
    if (t->min) u->m = vec_f16(w + quant_at_m(t));
}

/* One block of P panels. */
INLINE void panels_unpack(int P, const Quant *t, Unpacked *u, const uint8_t *w, int64_t panel) {
    EACH (p, P) block_unpack(t, &u[p], w + p * panel);
    EACH (p, P) prefetch(w + p * panel, quant_bytes(t));
}

/* 1 or 2 rows: a block is multiplied as it is unpacked, in registers. */
INLINE void tile_few(int R, int P, const Quant *t, float c[][QUANT_COLS], const A8 *x, int64_t at,
                     const uint8_t *w, int64_t blocks) {
    for (int64_t b = 0; b < blocks; b++, w += quant_bytes(t)) {
        Unpacked u[ROW_PANELS];
        panels_unpack(P, t, u, w, blocks * quant_bytes(t));
        rows_block(R, P, t, false, c, u, x, at + b, blocks);
    }
}

/* Any number of rows, in fours; 2 and 1 take what is left over. */
INLINE void tile_many(int P, const Quant *t, float c[][QUANT_COLS], const A8 *x, int64_t at,
                      int64_t n, const uint8_t *w, int64_t blocks) {
    for (int64_t b = 0; b < blocks; b++, at++, w += quant_bytes(t)) {
        Unpacked u[ROW_PANELS];
        int64_t r = 0;
        panels_unpack(P, t, u, w, blocks * quant_bytes(t));
        EACH (p, P) block_ready(t, &u[p]);
        for (; r + 4 <= n; r += 4) rows_block(4, P, t, true, c + r, u, x, at + r * blocks, blocks);
        if (n - r >= 2) {
            rows_block(2, P, t, true, c + r, u, x, at + r * blocks, blocks);
            r += 2;
        }
        if (r < n) rows_block(1, P, t, true, c + r, u, x, at + r * blocks, blocks);
    }
}

/* Rows i.. (n <= QUANT_ROWS) times P panels. */
INLINE void tile_a8(int P, const Quant *t, float c[][QUANT_COLS], const A8 *x, int64_t i, int64_t n,
                    const uint8_t *w, int64_t blocks) {
    memset(c, 0, sizeof c[0] * (size_t)n);
    if (n == 1)
        tile_few(1, P, t, c, x, i * blocks, w, blocks);
    else if (n == 2)
        tile_few(2, P, t, c, x, i * blocks, w, blocks);
    else
        tile_many(P, t, c, x, i * blocks, n, w, blocks);
}

INLINE void gemm_a8(const Quant *t, float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w,
                    int64_t m, int64_t k, StoreMode mode) {
    _Alignas(64) float c[QUANT_ROWS][QUANT_COLS];
    int64_t blocks = k / 32, panel = blocks * quant_bytes(t);
    for (int64_t j = 0; j < m; j += QUANT_COLS, w += ROW_PANELS * panel)
        for (int64_t i = 0, rows; i < n; i += rows) {
            rows = MIN(round_up(even_share(n - i, QUANT_ROWS), QUANT_STEP), n - i);
            if (m - j > PANEL)
                tile_a8(ROW_PANELS, t, c, x, i, rows, w, blocks);
            else
                tile_a8(1, t, c, x, i, rows, w, blocks);
            rows_move(y + i * ldy + j, ldy, c[0], QUANT_COLS, rows, MIN(m - j, QUANT_COLS),
                      mode == STORE_ADD);
        }
}

#define GEMM_32(name)                                                                              \
    void NAME(gemm_##name)(float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w,        \
                           int64_t m, int64_t k, StoreMode mode) {                                 \
        gemm_a8(&quant_##name, y, ldy, x, n, w, m, k, mode);                                       \
    }
GEMM_32(q4_0)
GEMM_32(q4_1)
GEMM_32(q5_0)
GEMM_32(q5_1)
GEMM_32(q8_0)
GEMM_32(iq4_nl)
GEMM_32(mxfp4)
