/* quant_k.h -- the products of int8 rows with panels of K types, whose blocks of 256 have
 * sub-scales. Included once by each level, after its header, kern/wide/unpack.h and these of its
 * own:
 *
 *   Chunk              32 of k of a panel: { Bytes q[8]; Words pair, min; and what else the level
 *                      keeps }
 *   chunk_scales(u, p, q, mask)   takes the sub-scales p[r] & mask of the first 16 of k and
 *                      q[r] & mask of the others
 *   chunk_ready(t, u)  brings q, as unpack_codes left it, into the level's form
 *   chunk_sums(R, t, sum, u, q, step)   sum[r] = over the two halves, sub-scale times the exact sum
 *                      of the codes by the numbers of row r at q + r step; of values of a table,
 *                      by the values
 *
 * A block goes by in 8 chunks. Each is unpacked once and then used for up to K_ROWS rows, whose
 * integer sums stay in L1 until the block is through; then they are scaled. Sums over the minima,
 * and over the offset of codes, are products of sub-scales with the sums of each 16 that rows
 * carry: one instruction a chunk. */
#include "kern/wide/unpack.h"

enum { K_ROWS = 48, K_STEP = 4 };

/* The integers of one block so far, for the rows at work. */
typedef struct Sums {
    _Alignas(64) int32_t q[K_ROWS][PANEL], min[K_ROWS][PANEL];
} Sums;

/* Half h of words C of a block's planes: 32 of k with their sub-scales, once for all rows. Codes
 * are whole numbers from 0; what is subtracted from them (offset) is a power of two, so it goes
 * into the sub-scales of `pair` by a shift. */
INLINE void chunk_unpack(const Quant *t, Chunk *u, const uint8_t *w, int64_t C, int h) {
    int64_t c = 2 * C + h, j0 = t->sub == 16 ? 2 * c : c, j1 = t->sub == 16 ? j0 + 1 : c;
    const uint8_t *scale = w + quant_at_scale(t), *min = w + quant_at_min(t);
    const int mask = t->halves ? 15 : 255;
    unpack_codes(t, u->q, w, C, h);
    chunk_scales(u, scale + 16 * j0, scale + 16 * j1, mask);
    if (t->offset) {
        Words pair = words_pair(scale + 16 * j0, scale + 16 * j1, 0, mask);
        u->pair = words_left(pair, __builtin_ctz((unsigned)t->offset));
    }
    if (t->min)
        u->min = t->halves ? words_pair(scale + 16 * j0, scale + 16 * j1, 4, 15)
                           : words_pair(min + 16 * j0, min + 16 * j1, 0, 255);
    chunk_ready(t, u);
}

/* R rows, one chunk: the sums of their block number `at`, + step for the next row, go on. */
INLINE void rows_chunk(int R, const Quant *t, Sums *s, int64_t r0, const Chunk *u, const A8 *x,
                       int64_t at, int64_t step, int64_t c) {
    Ints sum[K_STEP];
    chunk_sums(R, t, sum, u, x->q + 256 * at + 32 * c, 256 * step);
    EACH (r, R) {
        const int32_t *two = x->sum + 16 * (at + r * step) + 2 * c;
        int32_t pair = (int32_t)((uint32_t)two[0] & 0xffff) | (int32_t)((uint32_t)two[1] << 16);
        int32_t *q = s->q[r0 + r], *min = s->min[r0 + r];
        if (t->offset) sum[r] = ints_sub(sum[r], words_dot(u->pair, pair));
        ints_store(q, ints_add(ints_load(q), sum[r]));
        if (t->min) ints_store(min, ints_add(ints_load(min), words_dot(u->min, pair)));
    }
}

/* n rows by fours, and what is left by two and one. */
INLINE void rows_chunks(const Quant *t, Sums *s, int64_t n, const Chunk *u, const A8 *x, int64_t at,
                        int64_t step, int64_t c) {
    int64_t r = 0;
    for (; r + 4 <= n; r += 4) rows_chunk(4, t, s, r, u, x, at + r * step, step, c);
    if (n - r >= 2) {
        rows_chunk(2, t, s, r, u, x, at + r * step, step, c);
        r += 2;
    }
    if (r < n) rows_chunk(1, t, s, r, u, x, at + r * step, step, c);
}

/* c = fma(d dx, sum, c), then fma(-(m dx), sum of minima, c). */
INLINE void rows_scale(const Quant *t, float c[][PANEL], const Sums *s, int64_t n, const uint8_t *w,
                       const A8 *x, int64_t at, int64_t step) {
    In all = in_first(PANEL);
    Vec d = vec_f16(w + quant_at_d(t)), m = d;
    if (t->min) m = vec_f16(w + quant_at_m(t));
    for (int64_t r = 0; r < n; r++) {
        Vec dx = vec_set(x->d[at + r * step]);
        Vec acc = vec_fma(vec_mul(d, dx), ints_vec(ints_load(s->q[r])), vec_load(all, c[r]));
        if (t->min) acc = vec_fma(vec_negate(vec_mul(m, dx)), ints_vec(ints_load(s->min[r])), acc);
        vec_store(c[r], all, acc);
    }
}

/* Rows i.. (n <= K_ROWS) times one panel. */
INLINE void tile_k(const Quant *t, float c[][PANEL], const A8 *x, int64_t i, int64_t n,
                   const uint8_t *w, int64_t blocks) {
    Sums s;
    const int64_t bytes = quant_bytes(t);
    memset(c, 0, sizeof c[0] * (size_t)n);
    for (int64_t b = 0; b < blocks; b++, w += bytes) {
        int64_t at = i * blocks + b;
        memset(s.q, 0, sizeof s.q[0] * (size_t)n);
        if (t->min) memset(s.min, 0, sizeof s.min[0] * (size_t)n);
        for (int64_t C = 0; C < 4; C++) {
            prefetch(w + C * bytes / 4, bytes / 4);
            EACH (h, 2) {
                Chunk u;
                chunk_unpack(t, &u, w, C, h);
                rows_chunks(t, &s, n, &u, x, at, blocks, 2 * C + h);
            }
        }
        rows_scale(t, c, &s, n, w, x, at, blocks);
    }
}

INLINE void gemm_k(const Quant *t, float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w,
                   int64_t m, int64_t k, StoreMode mode) {
    _Alignas(64) float c[K_ROWS][PANEL];
    int64_t blocks = k / 256;
    for (int64_t j = 0; j < m; j += PANEL, w += blocks * quant_bytes(t))
        for (int64_t i = 0, rows; i < n; i += rows) {
            rows = MIN(round_up(even_share(n - i, K_ROWS), K_STEP), n - i);
            tile_k(t, c, x, i, rows, w, blocks);
            rows_move(y + i * ldy + j, ldy, c[0], PANEL, rows, MIN(m - j, PANEL),
                      mode == STORE_ADD);
        }
}

#define GEMM_K(name)                                                                               \
    void NAME(gemm_##name)(float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w,        \
                           int64_t m, int64_t k, StoreMode mode) {                                 \
        gemm_k(&quant_##name, y, ldy, x, n, w, m, k, mode);                                        \
    }
GEMM_K(q2_k)
GEMM_K(q3_k)
GEMM_K(q4_k)
GEMM_K(q5_k)
GEMM_K(q6_k)
GEMM_K(iq4_xs)
