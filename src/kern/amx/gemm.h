/* gemm.h -- the bf16 product on tiles, and the layouts that go with it; compiled once with the
 * instructions and once with their software model (tile.h). Pairs are in order: a dword holds k and
 * k+1. One tile_dp is one block of 32 of k in TILE order, so the chain over k in a tile is the
 * contract's own.
 *
 * Register block: 32 rows by 32 outputs = tiles 0 1 / 2 3, from rows in tiles 4 5 and panels in
 * tiles 6 7. */
#pragma once
#include "kern/amx/tile.h"

enum { BLOCK_SIDE = 32 };

/* A block of at most 32 x 32 outputs: where its rows and panels begin, and how many there are. */
typedef struct Block {
    const uint16_t *x;
    int64_t kp, n; /* rows (n, kp) */
    const uint16_t *w;
    int64_t panels; /* 1 or 2, kp * 16 words apart */
    float *c;       /* (32, 32) */
} Block;

/* Rows of the tiles for n rows of x; panels have 16 pairs always. A block of at most 16 rows
 * leaves tiles 2 3 5 out. */
static void block_config(Tiles *t, int64_t n) {
    uint8_t top = (uint8_t)MIN(n, TILE_LINES), low = (uint8_t)MAX(n - TILE_LINES, 0);
    tile_config(t, (const uint8_t[TILE_N]){top, top, low, low, top, low, TILE_LINES, TILE_LINES});
}

/* The stride of c and of x in bytes; both tile rows of a block, one after the other. */
#define C_BYTES       (BLOCK_SIDE * 4)
#define C_AT(b, i, j) ((b)->c + (i)*TILE_LINES * BLOCK_SIDE + (j)*PANEL)

/* on: the tiles go on from what stands in c. */
static void block_begin(Tiles *t, const Block *b, bool on) {
    bool low = b->n > TILE_LINES;
    if (on) {
        tile_load(t, 0, C_AT(b, 0, 0), C_BYTES);
        tile_load(t, 1, C_AT(b, 0, 1), C_BYTES);
        if (low) tile_load(t, 2, C_AT(b, 1, 0), C_BYTES);
        if (low) tile_load(t, 3, C_AT(b, 1, 1), C_BYTES);
    } else {
        tile_zero(t, 0);
        tile_zero(t, 1);
        if (low) tile_zero(t, 2);
        if (low) tile_zero(t, 3);
    }
}

static void block_end(Tiles *t, const Block *b) {
    bool low = b->n > TILE_LINES, right = b->panels > 1;
    tile_store(t, 0, C_AT(b, 0, 0), C_BYTES);
    if (right) tile_store(t, 1, C_AT(b, 0, 1), C_BYTES);
    if (low) tile_store(t, 2, C_AT(b, 1, 0), C_BYTES);
    if (low && right) tile_store(t, 3, C_AT(b, 1, 1), C_BYTES);
}

/* One part, k0..k1-1 (multiples of 32, at most CUT_K): c = the sum from +0, or going on from c. */
static void block_part(Tiles *t, const Block *b, int64_t k0, int64_t k1, bool on) {
    bool low = b->n > TILE_LINES, right = b->panels > 1;
    block_begin(t, b, on);
    for (int64_t k = k0; k < k1; k += TILE_K) {
        const uint16_t *x = b->x + k, *w = b->w + k * PANEL;
        tile_load(t, 4, x, b->kp * 2);
        tile_load(t, 6, w, TILE_BYTES);
        tile_dp(t, 0, 4, 6);
        if (low) {
            tile_load(t, 5, x + TILE_LINES * b->kp, b->kp * 2);
            tile_dp(t, 2, 5, 6);
        }
        if (right) {
            tile_load(t, 7, w + b->kp * PANEL, TILE_BYTES);
            tile_dp(t, 1, 4, 7);
            if (low) tile_dp(t, 3, 5, 7);
        }
    }
    block_end(t, b);
}

/* to (n, m) = or += from. */
static void block_move(float *to, int64_t ldt, const float *from, int64_t ldf, int64_t n, int64_t m,
                       bool sum) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            float *y = to + i * ldt + j;
            *y = sum ? *y + from[i * ldf + j] : from[i * ldf + j];
        }
}

/* A part is summed in tiles; parts beyond the first are summed apart and added (contract 2.1). */
static void block_product(Tiles *t, float *y, int64_t ldy, Block *b, int64_t m, StoreMode mode) {
    _Alignas(64) float total[BLOCK_SIDE * BLOCK_SIDE], part[BLOCK_SIDE * BLOCK_SIDE];
    b->c = total;
    if (mode == STORE_CONTINUE) block_move(total, BLOCK_SIDE, y, ldy, b->n, m, false);
    block_part(t, b, 0, MIN(b->kp, CUT_K), mode == STORE_CONTINUE);
    b->c = part;
    for (int64_t k = CUT_K; k < b->kp; k += CUT_K) {
        block_part(t, b, k, MIN(b->kp, k + CUT_K), false);
        block_move(total, BLOCK_SIDE, part, BLOCK_SIDE, b->n, m, true);
    }
    block_move(y, ldy, total, BLOCK_SIDE, b->n, m, mode == STORE_ADD);
}

/* The tiles are configured anew only where the number of rows changes, at the last block. They are
 * released at the end: a CPU with tiles in use saves 8 KB more at every switch of threads. */
static void gemm_bf16_tiles(float *y, int64_t ldy, const uint16_t *x, int64_t n, const uint16_t *w,
                            int64_t m, int64_t k, StoreMode mode) {
    Tiles t;
    int64_t kp = round_up(k, TILE_K), configured = 0;
    for (int64_t i = 0; i < n; i += BLOCK_SIDE) {
        int64_t rows = MIN(n - i, BLOCK_SIDE);
        if (rows != configured) block_config(&t, configured = rows);
        for (int64_t j = 0; j < m; j += BLOCK_SIDE) {
            int64_t outputs = MIN(m - j, BLOCK_SIDE);
            Block b = {x + i * kp, kp, rows, w + j * kp, (outputs + PANEL - 1) / PANEL, NULL};
            block_product(&t, y + i * ldy + j, ldy, &b, outputs, mode);
        }
    }
    if (configured) tile_release(&t);
}

/* ---- pairs in order: dword d of a row or column is k = 2d, 2d+1 ------------------------------ */

static void rows_bf16_tiles(uint16_t *out, const float *x, int64_t k) {
    int64_t i = 0;
    for (; i + 16 <= k; i += 16)
        _mm256_storeu_si256((__m256i *)(out + i),
                            (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
    for (; i < k; i++) out[i] = bf16_of_f32(x[i]);
    for (; i < round_up(k, TILE_K); i++) out[i] = 0;
}

/* 16 outputs of one k, as words in the lower halves of dwords. */
static __m512i panel_line(const float *x, int64_t m) {
    __m512 v = _mm512_maskz_loadu_ps((__mmask16)((1u << m) - 1), x);
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(v));
}

static void panel_bf16_tiles(uint16_t *out, const float *x, int64_t ld, int64_t m, int64_t k) {
    for (int64_t i = 0; i < round_up(k, TILE_K); i += 2) {
        __m512i even = i < k ? panel_line(x + i * ld, m) : _mm512_setzero_si512();
        __m512i odd = i + 1 < k ? panel_line(x + (i + 1) * ld, m) : _mm512_setzero_si512();
        _mm512_storeu_si512(out + i * PANEL, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
}

static __m512i words_widen(const uint16_t *x) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)x));
}

/* Rows i and i + 1 give one dword to each column. */
static void pair_panels_tiles(uint16_t *out, int64_t ldo, int64_t panels, const uint16_t *x,
                              int64_t ldx, int64_t n) {
    const __m512i zero = _mm512_setzero_si512();
    for (int64_t i = 0; i < round_up(n, TILE_K); i += 2) {
        for (int64_t p = 0; p < panels; p++) {
            const uint16_t *row = x + i * ldx + p * PANEL;
            __m512i even = i < n ? words_widen(row) : zero;
            __m512i odd = i + 1 < n ? words_widen(row + ldx) : zero;
            _mm512_storeu_si512(out + p * ldo + i * PANEL,
                                _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
        }
    }
}

static void v_of_k_tiles(uint16_t *v, const uint16_t *k, int64_t dk, int64_t dv) {
    int64_t kp = round_up(dk, TILE_K);
    for (int64_t j = 0; j < round_up(dv, PANEL); j++)
        for (int64_t key = 0; key < CHUNK; key++) {
            uint16_t x = k[key / PANEL * PANEL * kp + (j / 2 * PANEL + key % PANEL) * 2 + j % 2];
            v[j / PANEL * PANEL * CHUNK + (key / 2 * PANEL + j % PANEL) * 2 + key % 2] =
                j < dv ? x : 0;
        }
}

/* All that depends on the order of pairs goes together. */
static void fill_tiles(Kern *k) {
    k->pairs_in_order = true;
    k->gemm_bf16 = gemm_bf16_tiles;
    k->rows_bf16 = rows_bf16_tiles;
    k->panel_bf16 = panel_bf16_tiles;
    k->pair_panels = pair_panels_tiles;
    k->v_of_k = v_of_k_tiles;
}
