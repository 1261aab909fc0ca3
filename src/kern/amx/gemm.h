/* gemm.h -- the bf16 product on tiles, and the layouts that go with it; compiled once with the
 * instructions and once with their software model (tile.h). Pairs are in order: a dword holds k and
 * k+1. One tile_dp is one block of 32 of k in TILE order, so the chain over k in a tile is the
 * contract's own.
 *
 * Register block: 32 rows by 32 outputs = tiles 0 1 / 2 3, from rows in tiles 4 5 and panels in
 * tiles 6 7. */
#pragma once
#include "kern/amx/tile.h"
#include "kern/wide/each.h"

enum { BLOCK_SIDE = 32 };

/* A strip of STRIP_ROWS rows goes by 32 outputs with DEPTH of k at a time, whose panels (32 KB)
 * then stay in L1 while the strip's rows come from L2. */
enum { STRIP_ROWS = 128, DEPTH = 512 };

/* A block of at most 32 x 32 outputs: where its rows and panels begin, and how many there are. */
typedef struct Block {
    const uint16_t *x;
    int64_t kp, n; /* rows (n, kp) */
    const uint16_t *w;
    int64_t panels;    /* 1 or 2, kp * 16 words apart */
    const float *from; /* NULL: sums begin with +0; or where they go on from, (n, ldf) */
    int64_t ldf;
    float *to; /* (n, ldt) */
    int64_t ldt;
    const float *call; /* NULL, or where in y the sums will go in the end, (n, ldc) */
    int64_t ldc;
} Block;

/* Sums on their way to y, which lies in no near cache: while the products of a block run, its part
 * of y is called for and the sums of the block before are carried there. So neither the stores nor
 * the reading of what they add to is waited for. */
typedef struct Carry {
    float (*sum)[BLOCK_SIDE * BLOCK_SIDE]; /* 2 */
    float *y;
    const float *from;
    int64_t ldy, row, n, m;
    bool add;
} Carry;

static __mmask16 lanes(int64_t m) { return (__mmask16)(m >= PANEL ? 0xffff : (1 << m) - 1); }

/* Up to 16 numbers of y = or += from. */
INLINE void line_put(float *y, const float *from, int64_t m, bool add) {
    const __mmask16 mask = lanes(m);
    __m512 v = _mm512_maskz_loadu_ps(mask, from);
    if (add) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y), v);
    _mm512_mask_storeu_ps(y, mask, v);
}

INLINE void carry_rows(Carry *c, int64_t rows) {
    const int64_t end = MIN(c->row + rows, c->n);
    for (; c->row < end; c->row++) {
        float *y = c->y + c->row * c->ldy;
        const float *from = c->from + c->row * BLOCK_SIDE;
        line_put(y, from, c->m, c->add);
        if (c->m > PANEL) line_put(y + PANEL, from + PANEL, c->m - PANEL, c->add);
    }
}

static void block_begin(Tiles *t, const Block *b, bool low, bool right) {
    const float *c = b->from, *under = c + TILE_LINES * b->ldf;
    if (!c) {
        tile_zero(t, 0);
        tile_zero(t, 1);
        if (low) tile_zero(t, 2);
        if (low) tile_zero(t, 3);
        return;
    }
    tile_load(t, 0, c, b->ldf * 4);
    if (right) tile_load(t, 1, c + PANEL, b->ldf * 4);
    if (low) tile_load(t, 2, under, b->ldf * 4);
    if (low && right) tile_load(t, 3, under + PANEL, b->ldf * 4);
}

static void block_end(Tiles *t, const Block *b, bool low, bool right) {
    float *c = b->to, *under = c + TILE_LINES * b->ldt;
    tile_store(t, 0, c, b->ldt * 4);
    if (right) tile_store(t, 1, c + PANEL, b->ldt * 4);
    if (low) tile_store(t, 2, under, b->ldt * 4);
    if (low && right) tile_store(t, 3, under + PANEL, b->ldt * 4);
}

/* Rows `row`.. of a block's place in y are called for. */
INLINE void block_call(const Block *b, int64_t row, int64_t rows) {
    for (const int64_t end = MIN(row + rows, b->n); row < end; row++) {
        const float *y = b->call + row * b->ldc;
        __builtin_prefetch(y, 1);
        if (b->panels > 1) __builtin_prefetch(y + PANEL, 1);
    }
}

/* k of a block, inside one part: to = the sum from +0, or going on from `from`. */
INLINE void block_sum(Tiles *t, const Block *b, Range k, bool low, bool right, Carry *c) {
    const int64_t ldx = b->kp * 2, rows = (BLOCK_SIDE * TILE_K + k.hi - k.lo - 1) / (k.hi - k.lo);
    block_begin(t, b, low, right);
    const uint16_t *x = b->x + k.lo, *w = b->w + k.lo * PANEL;
    int64_t row = 0;
    for (int64_t i = k.lo; i < k.hi; i += TILE_K, x += TILE_K, w += TILE_K * PANEL, row += rows) {
        tile_load(t, 4, x, ldx);
        tile_load(t, 6, w, TILE_BYTES);
        tile_dp(t, 0, 4, 6);
        if (right) {
            tile_load(t, 7, w + b->kp * PANEL, TILE_BYTES);
            tile_dp(t, 1, 4, 7);
        }
        if (low) {
            tile_load(t, 5, x + TILE_LINES * b->kp, ldx);
            tile_dp(t, 2, 5, 6);
            if (right) tile_dp(t, 3, 5, 7);
        }
        if (c) carry_rows(c, rows);
        if (b->call) block_call(b, row, rows);
    }
    block_end(t, b, low, right);
}

static void block_run(Tiles *t, const Block *b, Range k, Carry *c) {
    tiles_set(t, b->n);
    if (b->n > TILE_LINES && b->panels > 1)
        if (c)
            block_sum(t, b, k, true, true, c);
        else
            block_sum(t, b, k, true, true, NULL);
    else
        block_sum(t, b, k, b->n > TILE_LINES, b->panels > 1, c);
}

/* The block's sums go to y, rows by m. */
static void block_carry(Tiles *t, Block *b, Range k, Carry *c, float *y, int64_t m) {
    b->to = c->sum[c->from == c->sum[0]], b->ldt = BLOCK_SIDE;
    block_run(t, b, k, c);
    carry_rows(c, BLOCK_SIDE);
    c->y = y, c->from = b->to, c->row = 0, c->n = b->n, c->m = m;
}

/* to (n, m) = or += from; m at most 32. */
static void lines_move(float *to, int64_t ldt, const float *from, int64_t ldf, int64_t n, int64_t m,
                       bool sum) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j += PANEL)
            line_put(to + i * ldt + j, from + i * ldf + j, m - j, sum);
}

/* Blocks of a strip: rows i.. of n. */
static Block block_at(const Block *b, int64_t i, int64_t n) {
    Block at = *b;
    if (b->call) at.call += i + BLOCK_SIDE < n ? (i + BLOCK_SIDE) * b->ldc : BLOCK_SIDE;
    at.x += i * b->kp, at.n = MIN(n - i, BLOCK_SIDE), at.to += i * b->ldt;
    if (b->from) at.from += i * b->ldf;
    return at;
}

/* One part of k for all rows of a strip, into b.to. */
static void strip_part(Tiles *t, Block b, int64_t n, Range k) {
    const int64_t depth = n > BLOCK_SIDE ? DEPTH : CUT_K;
    for (int64_t k0 = k.lo; k0 < k.hi; k0 += depth, b.from = b.to, b.ldf = b.ldt)
        for (int64_t i = 0; i < n; i += BLOCK_SIDE) {
            const Block at = block_at(&b, i, n);
            block_run(t, &at, (Range){k0, MIN(k0 + depth, k.hi)}, NULL);
        }
}

/* One part of k. All but its last slice is summed in a memory of its own, the last one on the way
 * to y. */
static void strip_carry(Tiles *t, Carry *c, float *y, Block b, int64_t n, int64_t m, Range k) {
    _Alignas(64) float total[STRIP_ROWS * BLOCK_SIDE];
    const int64_t last = n > BLOCK_SIDE ? k.lo + (k.hi - k.lo - 1) / DEPTH * DEPTH : k.lo;
    b.to = total, b.ldt = BLOCK_SIDE;
    if (b.from && m % PANEL) { /* tiles are whole */
        lines_move(total, BLOCK_SIDE, b.from, b.ldf, n, m, false);
        b.from = total, b.ldf = BLOCK_SIDE;
    }
    if (last > k.lo) {
        strip_part(t, b, n, (Range){k.lo, last});
        b.from = total, b.ldf = BLOCK_SIDE;
    }
    for (int64_t i = 0; i < n; i += BLOCK_SIDE) {
        Block at = block_at(&b, i, n);
        block_carry(t, &at, (Range){last, k.hi}, c, y + i * c->ldy, m);
    }
}

/* Where something is added to the whole sum, parts beyond the first are summed apart and added
 * first (contract 2.1). */
static void strip_parts(Tiles *t, float *y, int64_t ldy, Block b, int64_t n, int64_t m) {
    _Alignas(64) float total[STRIP_ROWS * BLOCK_SIDE], part[STRIP_ROWS * BLOCK_SIDE];
    b.to = total, b.ldt = BLOCK_SIDE;
    strip_part(t, b, n, (Range){0, CUT_K});
    b.to = part;
    for (int64_t k = CUT_K; k < b.kp; k += CUT_K) {
        strip_part(t, b, n, (Range){k, MIN(b.kp, k + CUT_K)});
        lines_move(total, BLOCK_SIDE, part, BLOCK_SIDE, n, m, true);
    }
    lines_move(y, ldy, total, BLOCK_SIDE, n, m, true);
}

/* Where y is small it is in L1, and takes whole panels as they are. */
enum { SMALL_LDY = 64 };

/* One part of k for all rows and outputs: it stands alone, or is added to y, or goes on from it. */
static void part_run(float *y, int64_t ldy, const uint16_t *x, int64_t n, const uint16_t *w,
                     int64_t m, int64_t kp, Range k, StoreMode mode) {
    Tiles t;
    _Alignas(64) float sum[2][BLOCK_SIDE * BLOCK_SIDE];
    Carry c = {.sum = sum, .ldy = ldy, .add = mode == STORE_ADD};
    for (int64_t i = 0; i < n; i += STRIP_ROWS)
        for (int64_t j = 0; j < m; j += BLOCK_SIDE) {
            const int64_t rows = MIN(n - i, STRIP_ROWS), outputs = MIN(m - j, BLOCK_SIDE);
            float *at = y + i * ldy + j;
            Block b = {.x = x + i * kp, .kp = kp, .w = w + j * kp, .to = at, .ldt = ldy};
            b.panels = (outputs + PANEL - 1) / PANEL;
            if (mode == STORE_CONTINUE) b.from = at, b.ldf = ldy;
            if (c.add && k.lo == 0 && k.hi < kp)
                strip_parts(&t, at, ldy, b, rows, outputs);
            else if (c.add || outputs % PANEL)
                b.call = at, b.ldc = ldy, strip_carry(&t, &c, at, b, rows, outputs, k);
            else if (ldy > SMALL_LDY)
                b.call = at, b.ldc = ldy, strip_part(&t, b, rows, k);
            else
                strip_part(&t, b, rows, k);
        }
    carry_rows(&c, BLOCK_SIDE);
}

/* Where the sum is y, it collects the parts, one for all rows and outputs after another. */
static void gemm_bf16_tiles(float *y, int64_t ldy, const uint16_t *x, int64_t n, const uint16_t *w,
                            int64_t m, int64_t k, StoreMode mode) {
    const int64_t kp = round_up(k, TILE_K);
    part_run(y, ldy, x, n, w, m, kp, (Range){0, MIN(kp, CUT_K)}, mode);
    for (int64_t lo = CUT_K; lo < kp && mode == STORE_SET; lo += CUT_K)
        part_run(y, ldy, x, n, w, m, kp, (Range){lo, MIN(kp, lo + CUT_K)}, STORE_ADD);
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

/* 16 numbers of each key, as columns of pairs of keys, are a square twice to be transposed. */
static void v_of_k_tiles(uint16_t *v, const uint16_t *k, int64_t dk, int64_t dv) {
    const int64_t kp = round_up(dk, TILE_K);
    for (int64_t j = 0; j < dv; j += PANEL, v += PANEL * CHUNK) {
        _Alignas(64) uint16_t column[PANEL][CHUNK];
        for (int64_t c = 0; c < PANEL; c += 2)
            for (int64_t key = 0; key < CHUNK; key += PANEL) {
                const __m512i pair = _mm512_loadu_si512(k + key * kp + (j + c) * PANEL);
                _mm256_store_si256((__m256i *)&column[c][key], _mm512_cvtepi32_epi16(pair));
                _mm256_store_si256((__m256i *)&column[c + 1][key],
                                   _mm512_cvtepi32_epi16(_mm512_srli_epi32(pair, 16)));
            }
        if (dv - j < PANEL) memset(column[dv - j], 0, (size_t)(PANEL - (dv - j)) * CHUNK * 2);
        kern.transpose((uint32_t *)(void *)v, PANEL, (const uint32_t *)(const void *)column,
                       CHUNK / 2, PANEL, CHUNK / 2);
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
