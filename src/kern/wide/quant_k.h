/* quant_k.h -- the products of int8 rows with panels of K types, whose blocks of 256 have
 * sub-scales. Included once by each level, after its header, kern/wide/unpack.h and these of its
 * own:
 *
 *   Chunk              32 of k of a panel: { Bytes q[8]; and what else the level keeps }
 *   chunk_scales(u, p, q, mask)   takes the sub-scales p[r] & mask of the first 16 of k and
 *                      q[r] & mask of the others
 *   chunk_ready(t, u)  brings q, as unpack_codes left it, into the level's form
 *   chunk_add(R, t, to, u, q, step)   to[r] += over the two halves, sub-scale times the exact sum
 *                      of the codes by the numbers of row r at q + r step; of values of a table,
 *                      by the values
 *
 * A block goes by in 8 chunks. Each is unpacked once and then used for up to K_ROWS rows, whose
 * integer sums stay in L1 until the block is through; then they are scaled. What the minima take
 * off, or the offset of codes, is a product of sub-scales with the sums of each 16 that rows carry,
 * so it is made once a block. */
#include "kern/wide/unpack.h"

enum { K_ROWS = 48, K_STEP = 4 };

/* Half h of words C of a block's planes: 32 of k with their sub-scales, once for all rows. */
INLINE void chunk_unpack(const Quant *t, Chunk *u, const uint8_t *w, int64_t C, int h) {
    int64_t c = 2 * C + h, j0 = t->sub == 16 ? 2 * c : c, j1 = t->sub == 16 ? j0 + 1 : c;
    const uint8_t *scale = w + quant_at_scale(t);
    unpack_codes(t, u->q, w, C, h);
    chunk_scales(u, scale + 16 * j0, scale + 16 * j1, t->halves ? 15 : 255);
    chunk_ready(t, u);
}

/* n rows by fours, and what is left by two and one. */
INLINE void rows_chunk(const Quant *t, int32_t sum[][PANEL], int64_t n, const Chunk *u,
                       const int8_t *q, int64_t step) {
    int64_t r = 0;
    for (; r + 4 <= n; r += 4) chunk_add(4, t, sum + r, u, q + r * step, step);
    if (n - r >= 2) {
        chunk_add(2, t, sum + r, u, q + r * step, step);
        r += 2;
    }
    if (r < n) chunk_add(1, t, sum + r, u, q + r * step, step);
}

/* What follows the integer sums of a block: its scales, and the sub-scales of offset or minimum
 * that meet the sums of rows, those of 2 j and 2 j + 1 in pair[j]. */
typedef struct Ending {
    Words pair[QUANT_SUBS / 2];
    Vec d, m;
} Ending;

/* Codes are whole numbers from 0; what is subtracted from them (offset) is a power of two, so it
 * goes into the sub-scales by a shift. */
INLINE Words ending_pair(const Quant *t, const uint8_t *w, int j) {
    const uint8_t *scale = w + quant_at_scale(t) + 32 * j, *min = w + quant_at_min(t) + 32 * j;
    if (t->offset)
        return words_left(words_pair(scale, scale + 16, 0, 255),
                          __builtin_ctz((unsigned)t->offset));
    return t->halves ? words_pair(scale, scale + 16, 4, 15) : words_pair(min, min + 16, 0, 255);
}

INLINE void ending_unpack(const Quant *t, Ending *e, const uint8_t *w) {
    e->d = vec_f16(w + quant_at_d(t));
    if (t->min) e->m = vec_f16(w + quant_at_m(t));
    if (t->offset || t->min)
        EACH (j, (int)quant_subs(t) / 2) e->pair[j] = ending_pair(t, w, j);
}

/* c = fma(d dx, sum, c), then fma(-(m dx), sum of minima, c), for block number `at` of the rows. */
INLINE void rows_scale(const Quant *t, float c[][PANEL], int32_t sum[][PANEL], int64_t n,
                       const Ending *e, const A8 *x, int64_t at, int64_t step) {
    In all = in_first(PANEL);
    const int32_t *sums = x->sum + (t->sub == 16 ? 0 : 8); /* a8_sums */
    for (int64_t r = 0; r < n; r++, at += step) {
        Ints q = ints_load(sum[r]), off = q;
        if (t->offset || t->min)
            EACH (j, (int)quant_subs(t) / 2) {
                Ints p = words_dot(e->pair[j], sums[16 * at + j]);
                off = j ? ints_add(off, p) : p;
            }
        if (t->offset) q = ints_sub(q, off);
        Vec dx = vec_set(x->d[at]);
        Vec acc = vec_fma(vec_mul(e->d, dx), ints_vec(q), vec_load(all, c[r]));
        if (t->min) acc = vec_fma(vec_negate(vec_mul(e->m, dx)), ints_vec(off), acc);
        vec_store(c[r], all, acc);
    }
}

/* Rows i.. (n <= K_ROWS) times one panel. */
INLINE void tile_k(const Quant *t, float c[][PANEL], const A8 *x, int64_t i, int64_t n,
                   const uint8_t *w, int64_t blocks) {
    _Alignas(64) int32_t sum[K_ROWS][PANEL];
    const int64_t bytes = quant_bytes(t);
    memset(c, 0, sizeof c[0] * (size_t)n);
    for (int64_t b = 0; b < blocks; b++, w += bytes) {
        const int64_t at = i * blocks + b;
        Ending e;
        memset(sum, 0, sizeof sum[0] * (size_t)n);
        for (int64_t C = 0; C < 4; C++) {
            prefetch(w + C * bytes / 4, bytes / 4);
            EACH (h, 2) {
                Chunk u;
                chunk_unpack(t, &u, w, C, h);
                rows_chunk(t, sum, n, &u, x->q + 256 * at + 64 * C + 32 * h, 256 * blocks);
            }
        }
        ending_unpack(t, &e, w);
        rows_scale(t, c, sum, n, &e, x, at, blocks);
    }
}

INLINE void gemm_k(const Quant *t, float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w,
                   int64_t m, int64_t k, StoreMode mode) {
    _Alignas(64) float c[K_ROWS][PANEL];
    int64_t blocks = k / 256;
    for (int64_t j = 0; j < m; j += PANEL, w += blocks * quant_bytes(t))
        for (int64_t i = 0, rows; i < n; i += rows) {
            rows = MIN(round_up(even_share(n - i, K_ROWS), K_STEP), n - i);
            if (rows == 1) /* decoding: known here, so that what is unpacked stays in registers */
                tile_k(t, c, x, i, 1, w, blocks);
            else
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
