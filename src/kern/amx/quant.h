/* quant.h -- the products of int8 rows with panels of types whose blocks hold 32 numbers of k and
 * one scale, on tiles; compiled once with the instructions and once with their software model
 * (tile.h). One tile_dot is the exact sum of a block for 16 rows and 16 outputs. The scales follow
 * block after block, with the vectors of AVX-512 and its arithmetic (kern/wide/quant.h): while a
 * tile is summed, the one before is taken in. Rows that fill no tile are left to AVX-512. */
#pragma once
#include "kern/amx/tile.h"
#include "kern/avx512/bytes.h"
#include "kern/wide/unpack.h"

/* So many blocks of a panel are unpacked once for so many rows: 10 KB, which stay in L1. */
enum { SLICE_BLOCKS = 16, SLICE_ROWS = 64 };

typedef struct Slice {
    Bytes q[SLICE_BLOCKS][8]; /* signed */
    Vec d[SLICE_BLOCKS], m[SLICE_BLOCKS];
} Slice;

INLINE void slice_unpack(const Quant *t, Slice *s, const uint8_t *w, int64_t n) {
    const __m512i offset = _mm512_set1_epi8((char)unpacked_offset(t));
    for (int64_t b = 0; b < n; b++, w += quant_bytes(t)) {
        unpack_codes(t, s->q[b], w, 0, 0);
        EACH (g, 8) s->q[b][g] = _mm512_sub_epi8(s->q[b][g], offset);
        s->d[b] = t->exponent ? vec_bf16(w + quant_at_d(t)) : vec_f16(w + quant_at_d(t));
        if (t->min) s->m[b] = vec_f16(w + quant_at_m(t));
        prefetch(w, quant_bytes(t));
    }
}

/* The sums of one block; neighbours use different tiles. */
INLINE void block_dot(Tiles *t, int32_t *sum, const int8_t *x, int64_t k, const Bytes *q,
                      bool odd) {
    if (odd) {
        tile_zero(t, 1);
        tile_load(t, 5, x, k);
        tile_load(t, 7, q, TILE_BYTES);
        tile_dot(t, 1, 5, 7);
        tile_store(t, 1, sum, TILE_BYTES);
    } else {
        tile_zero(t, 0);
        tile_load(t, 4, x, k);
        tile_load(t, 6, q, TILE_BYTES);
        tile_dot(t, 0, 4, 6);
        tile_store(t, 0, sum, TILE_BYTES);
    }
}

/* Block `at` of the first of 16 rows, `step` apart: c = fma(d dx, isum, c), then fma(m, s, c). */
INLINE void block_take(const Quant *t, Vec c[TILE_LINES], const int32_t *sum, Vec d, Vec m,
                       const A8 *x, int64_t at, int64_t step) {
    EACH (r, TILE_LINES) {
        const Vec by = vec_mul(d, vec_set(x->d[at + r * step]));
        c[r] = vec_fma(by, ints_vec(ints_load(sum + r * PANEL)), c[r]);
        if (t->min) c[r] = vec_fma(m, vec_set(x->s[at + r * step]), c[r]);
    }
}

/* 16 rows from block `at` on by a slice of a panel. */
INLINE void slice_run(const Quant *t, Tiles *tiles, float *c, const Slice *s, int64_t n,
                      const A8 *x, int64_t at, int64_t step) {
    _Alignas(64) int32_t sum[2][TILE_LINES * PANEL];
    Vec acc[TILE_LINES];
    EACH (r, TILE_LINES) acc[r] = _mm512_load_ps(c + r * PANEL);
    block_dot(tiles, sum[0], x->q + 32 * at, 32 * step, s->q[0], false);
    for (int64_t b = 0; b < n; b++) {
        if (b + 1 < n)
            block_dot(tiles, sum[(b + 1) % 2], x->q + 32 * (at + b + 1), 32 * step, s->q[b + 1],
                      b % 2 == 0);
        block_take(t, acc, sum[b % 2], s->d[b], s->m[b], x, at + b, step);
    }
    EACH (r, TILE_LINES) _mm512_store_ps(c + r * PANEL, acc[r]);
}

/* n rows, a multiple of 16, by one panel. */
INLINE void panel_run(const Quant *t, Tiles *tiles, float *c, const A8 *x, int64_t i, int64_t n,
                      const uint8_t *w, int64_t blocks) {
    Slice s;
    memset(c, 0, (size_t)(n * PANEL) * sizeof *c);
    for (int64_t b = 0; b < blocks; b += SLICE_BLOCKS) {
        const int64_t some = MIN(blocks - b, SLICE_BLOCKS);
        slice_unpack(t, &s, w + b * quant_bytes(t), some);
        for (int64_t r = 0; r < n; r += TILE_LINES)
            slice_run(t, tiles, c + r * PANEL, &s, some, x, (i + r) * blocks + b, blocks);
    }
}

/* All whole tiles of rows; returns how many rows they have. */
INLINE int64_t tiles_a8(const Quant *t, float *y, int64_t ldy, const A8 *x, int64_t n,
                        const uint8_t *w, int64_t m, int64_t k, StoreMode mode) {
    _Alignas(64) float c[SLICE_ROWS * PANEL];
    const int64_t blocks = k / 32, whole = n / TILE_LINES * TILE_LINES;
    Tiles tiles;
    if (whole == 0) return 0;
    tiles_set(&tiles, TILES_INT8);
    for (int64_t j = 0; j < m; j += PANEL, w += blocks * quant_bytes(t))
        for (int64_t i = 0; i < whole; i += SLICE_ROWS) {
            const int64_t rows = MIN(whole - i, SLICE_ROWS);
            panel_run(t, &tiles, c, x, i, rows, w, blocks);
            rows_move(y + i * ldy + j, ldy, c, PANEL, rows, MIN(m - j, PANEL), mode == STORE_ADD);
        }
    return whole;
}

/* Rows i.. of x. */
static A8 a8_from(const A8 *x, int64_t i, int64_t k) {
    return (A8){x->q + i * k, x->d + i * (k / 32), x->s + i * (k / 32), x->sum + i * (k / 32)};
}

#define TYPES_32(X) X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(iq4_nl) X(mxfp4)
#define GEMM_TILES(name)                                                                           \
    static void gemm_##name##_tiles(float *y, int64_t ldy, const A8 *x, int64_t n,                 \
                                    const uint8_t *w, int64_t m, int64_t k, StoreMode mode) {      \
        const int64_t i = tiles_a8(&quant_##name, y, ldy, x, n, w, m, k, mode);                    \
        const A8 rest = a8_from(x, i, k);                                                          \
        if (i < n) gemm_##name##_avx512(y + i * ldy, ldy, &rest, n - i, w, m, k, mode);            \
    }
TYPES_32(GEMM_TILES)

#define GEMM_PUT(name) k->gemm_##name = gemm_##name##_tiles;
static void fill_tiles_int8(Kern *k) { TYPES_32(GEMM_PUT) }
