/* blocks.h -- private to kern/: the loop nest of the two float products, around a level's register
 * blocks.
 *
 * A tile of the output, TILE_ROWS x TILE_COLS, is summed in a scratch array that stays in L1. k
 * goes by in slices of about `depth`, so that the slices of the panels at work stay in L1 too while
 * rows stream past them. The sums do not see any of this: a block goes on from what stands in the
 * tile (docs/contract.md 2.1), and parts of CUT_K are summed apart and then added. */
#pragma once
#include "kern/wide/wide.h"

enum { TILE_ROWS = 64, TILE_COLS = 64, BLOCK_ROWS = 8, BLOCK_PANELS = 4, WIDEN_DEPTH = 256 };

/* c (R rows, P panels) goes on with the sum over k; `first`: it starts from +0. x: rows ldx bytes
 * apart; w: panels ldw bytes apart. */
typedef void BlockFn(float *c, int64_t ldc, const uint8_t *x, int64_t ldx, const uint8_t *w,
                     int64_t ldw, int64_t k, bool first);

typedef struct Blocks {
    BlockFn *fn[BLOCK_ROWS][BLOCK_PANELS]; /* [R-1][P-1] or NULL; with (R,P) there is every (R-1,P),
                                              and (R,1) */
    int64_t rows;                          /* the most of a block */
    int64_t x_bytes, w_bytes;              /* of one k in a row, in a panel */
    int64_t depth;
    /* NULL, or how n rows of a slice become the (n, k) f32 that the blocks take; depth is then
     * WIDEN_DEPTH at most. */
    void (*widen)(float *out, const uint8_t *x, int64_t ldx, int64_t n, int64_t k);
    BlockFn *wide[BLOCK_ROWS]; /* or NULL: for one panel that is widened as a row of 16 k */
} Blocks;

typedef struct Operands {
    const uint8_t *x, *w;
    int64_t ldx, ldw; /* bytes from row to row, from panel to panel */
} Operands;

/* The most panels that a block of so many rows takes. */
static inline int64_t block_panels(const Blocks *b, int64_t rows, int64_t left) {
    int64_t p = MIN(left, BLOCK_PANELS);
    while (!b->fn[rows - 1][p - 1]) p--;
    return p;
}

/* Panels are widened where they then serve so many blocks. */
enum { WIDE_BLOCKS = 3 };

/* One slice of k: every block of the tile. (Prefetching the next panels or rows by hand was tried
 * and lost 2 to 8 %.) */
static inline void tile_slice(const Blocks *b, float *c, int64_t ldc, Operands a, int64_t n,
                              int64_t panels, int64_t k, bool first) {
    _Alignas(64) float wide[TILE_ROWS * WIDEN_DEPTH], panel[WIDEN_DEPTH * PANEL];
    const bool widened = b->wide[0] && n >= WIDE_BLOCKS * b->rows;
    if (b->widen) {
        b->widen(wide, a.x, a.ldx, n, k);
        a.x = (const uint8_t *)wide;
        a.ldx = k * 4;
    }
    for (int64_t j = 0, p; j < panels; j += p) {
        p = block_panels(b, even_share(n, b->rows), panels - j);
        const uint8_t *w = a.w + j * a.ldw;
        if (widened) {
            b->widen(panel, w, 0, 1, k * PANEL);
            w = (const uint8_t *)panel;
        }
        for (int64_t i = 0, r; i < n; i += r) {
            r = even_share(n - i, b->rows);
            BlockFn *run = widened ? b->wide[r - 1] : b->fn[r - 1][p - 1];
            run(c + i * ldc + j * PANEL, ldc, a.x + i * a.ldx, a.ldx, w, a.ldw, k, first);
        }
    }
}

/* One part of at most CUT_K, in slices of equal depth (multiples of TILE_K). */
static inline void tile_part(const Blocks *b, float *c, Operands a, int64_t n, int64_t panels,
                             int64_t k, bool on) {
    int64_t slices = MAX(1, (k + b->depth - 1) / b->depth);
    int64_t step = round_up((k + slices - 1) / slices, TILE_K);
    for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += step) {
        Operands at = {a.x + k0 * b->x_bytes, a.w + k0 * b->w_bytes, a.ldx, a.ldw};
        tile_slice(b, c, TILE_COLS, at, n, panels, MIN(step, k - k0), k0 == 0 && !on);
    }
}

/* The whole product of one tile, n x m, from first part to store. What needs one slice only, and
 * fills its panels, goes straight to its place. */
static inline void tile_product(const Blocks *b, float *y, int64_t ldy, Operands a, int64_t n,
                                int64_t m, int64_t k, StoreMode mode) {
    _Alignas(64) float total[TILE_ROWS * TILE_COLS], part[TILE_ROWS * TILE_COLS];
    int64_t panels = (m + PANEL - 1) / PANEL;
    if (k <= b->depth && m % PANEL == 0 && mode != STORE_ADD) {
        tile_slice(b, y, ldy, a, n, panels, k, mode == STORE_SET);
        return;
    }
    if (mode == STORE_CONTINUE) rows_move(total, TILE_COLS, y, ldy, n, m, false);
    tile_part(b, total, a, n, panels, MIN(k, CUT_K), mode == STORE_CONTINUE);
    for (int64_t k0 = CUT_K; k0 < k; k0 += CUT_K) {
        Operands at = {a.x + k0 * b->x_bytes, a.w + k0 * b->w_bytes, a.ldx, a.ldw};
        tile_part(b, part, at, n, panels, MIN(k - k0, CUT_K), false);
        rows_move(total, TILE_COLS, part, TILE_COLS, n, m, true);
    }
    rows_move(y, ldy, total, TILE_COLS, n, m, mode == STORE_ADD);
}

/* Rows are dealt to tiles evenly (65 rows are 33 and 32, not 64 and 1), since a tile of few rows
 * loads as many weights as a full one. A tile is whole blocks high. */
static inline void gemm_blocks(const Blocks *b, float *y, int64_t ldy, Operands a, int64_t n,
                               int64_t m, int64_t k, StoreMode mode) {
    const int64_t most = TILE_ROWS / b->rows * b->rows;
    for (int64_t i = 0, rows; i < n; i += rows) {
        rows = MIN(round_up(even_share(n - i, most), b->rows), n - i);
        for (int64_t j = 0; j < m; j += TILE_COLS) {
            Operands at = {a.x + i * a.ldx, a.w + j / PANEL * a.ldw, a.ldx, a.ldw};
            tile_product(b, y + i * ldy + j, ldy, at, rows, MIN(m - j, TILE_COLS), k, mode);
        }
    }
}

static inline void gemm_bf16_blocks(const Blocks *b, float *y, int64_t ldy, const uint16_t *x,
                                    int64_t n, const uint16_t *w, int64_t m, int64_t k,
                                    StoreMode mode) {
    int64_t kp = round_up(k, TILE_K);
    Operands a = {(const uint8_t *)x, (const uint8_t *)w, kp * 2, kp * 2 * PANEL};
    gemm_blocks(b, y, ldy, a, n, m, kp, mode);
}

static inline void gemm_f32_blocks(const Blocks *b, float *y, int64_t ldy, const float *x,
                                   int64_t ldx, int64_t n, const float *w, int64_t m, int64_t k,
                                   StoreMode mode) {
    Operands a = {(const uint8_t *)x, (const uint8_t *)w, ldx * 4, k * 4 * PANEL};
    gemm_blocks(b, y, ldy, a, n, m, k, mode);
}
