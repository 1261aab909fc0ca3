/* gemm.c -- the float products: register blocks for kern/wide/blocks.h. The bf16 product is there
 * twice, on VDPBF16PS and on fma: fill.c chooses. */
#include "kern/avx512/avx512.h"
#include "kern/wide/bf16.h"

/* sum + x0 w0 + x1 w1, the upper words first (the self-test in fill.c). */
INLINE __m512 dot_pair(__m512 sum, __m512i x, __m512i w) {
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w);
}

/* Dword d of 32 k for R rows and P panels: chain[r][p] takes one pair. */
INLINE void step_bf16(int R, int P, __m512 chain[4][4], const uint8_t *x, int64_t ldx,
                      const uint8_t *w, int64_t ldw, int d) {
    __m512i wv[4];
    EACH (p, P) wv[p] = _mm512_load_si512(w + p * ldw + d * 64);
    EACH (r, R) {
        int32_t pair;
        memcpy(&pair, x + r * ldx + 4 * d, 4);
        EACH (p, P) chain[r][p] = dot_pair(chain[r][p], _mm512_set1_epi32(pair), wv[p]);
    }
}

/* TILE order: the even chain takes the dwords 0, 2, .. of every 32 of k, the odd chain the others.
 * With 4 x 2 both chains and c are 24 registers, and 0.75 loads go with one VDPBF16PS. */
INLINE void block_bf16(int R, int P, float *c, int64_t ldc, const uint8_t *x, int64_t ldx,
                       const uint8_t *w, int64_t ldw, int64_t k, bool first) {
    __m512 sum[4][4], even[4][4], odd[4][4];
    EACH (r, R)
        EACH (p, P)
            sum[r][p] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * ldc + p * PANEL);
    for (; k > 0; k -= TILE_K, x += 64, w += 1024) {
        EACH (r, R)
            EACH (p, P) even[r][p] = odd[r][p] = _mm512_setzero_ps();
        EACH_BY (d, 0, 16, 2) {
            step_bf16(R, P, even, x, ldx, w, ldw, d);
            step_bf16(R, P, odd, x, ldx, w, ldw, d + 1);
        }
        EACH (r, R)
            EACH (p, P) sum[r][p] = _mm512_add_ps(sum[r][p], _mm512_add_ps(even[r][p], odd[r][p]));
    }
    EACH (r, R)
        EACH (p, P) _mm512_storeu_ps(c + r * ldc + p * PANEL, sum[r][p]);
}

/* One chain an output; 4 x 4 hide the latency of 4 cycles at two a cycle. */
INLINE void block_f32(int R, int P, float *c, int64_t ldc, const uint8_t *x, int64_t ldx,
                      const uint8_t *w, int64_t ldw, int64_t k, bool first) {
    __m512 sum[4][4], wv[4];
    EACH (r, R)
        EACH (p, P)
            sum[r][p] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * ldc + p * PANEL);
    for (; k > 0; k--, x += 4, w += 64) {
        EACH (p, P) wv[p] = _mm512_load_ps((const float *)(const void *)(w + p * ldw));
        EACH (r, R) {
            float xv;
            memcpy(&xv, x + r * ldx, 4);
            EACH (p, P) sum[r][p] = _mm512_fmadd_ps(_mm512_set1_ps(xv), wv[p], sum[r][p]);
        }
    }
    EACH (r, R)
        EACH (p, P) _mm512_storeu_ps(c + r * ldc + p * PANEL, sum[r][p]);
}

/* A block for each number of rows and panels, so that all loops above are unrolled and sums stay in
 * registers. 3 panels are taken as 2 and 1. */
#define BLOCK(type, R, P)                                                                          \
    static void type##_##R##x##P(float *c, int64_t ldc, const uint8_t *x, int64_t ldx,             \
                                 const uint8_t *w, int64_t ldw, int64_t k, bool first) {           \
        block_##type(R, P, c, ldc, x, ldx, w, ldw, k, first);                                      \
    }
BLOCK(bf16, 1, 1)
BLOCK(bf16, 2, 1)
BLOCK(bf16, 3, 1)
BLOCK(bf16, 4, 1)
BLOCK(bf16, 1, 2)
BLOCK(bf16, 2, 2)
BLOCK(bf16, 3, 2)
BLOCK(bf16, 4, 2)
BLOCK(bf16, 1, 4)
BLOCK(bf16, 2, 4)
BLOCK(f32, 1, 1)
BLOCK(f32, 2, 1)
BLOCK(f32, 3, 1)
BLOCK(f32, 4, 1)
BLOCK(f32, 1, 2)
BLOCK(f32, 2, 2)
BLOCK(f32, 3, 2)
BLOCK(f32, 4, 2)
BLOCK(f32, 1, 4)
BLOCK(f32, 2, 4)
BLOCK(f32, 3, 4)
BLOCK(f32, 4, 4)

BLOCK_FMA(1, 1)
BLOCK_FMA(2, 1)
BLOCK_FMA(3, 1)
BLOCK_FMA(4, 1)
BLOCK_FMA(5, 1)
BLOCK_FMA(6, 1)
BLOCK_FMA(7, 1)
BLOCK_FMA(8, 1)
BLOCK_FMA(1, 2)
BLOCK_FMA(2, 2)
BLOCK_FMA(3, 2)
BLOCK_FMA(4, 2)
BLOCK_FMA(5, 2)
BLOCK_FMA(6, 2)
BLOCK_FMA(7, 2)
BLOCK_FMA(8, 2)

/* The largest block of each table is the one that hides the latency of its instruction; the smaller
 * ones are for what is left over. depth: of k in one go, so that a block's panels stay in L1. */
static const Blocks blocks_bf16 = {{{bf16_1x1, bf16_1x2, NULL, bf16_1x4},
                                    {bf16_2x1, bf16_2x2, NULL, bf16_2x4},
                                    {bf16_3x1, bf16_3x2},
                                    {bf16_4x1, bf16_4x2}},
                                   .rows = 4,
                                   .x_bytes = 2,
                                   .w_bytes = 32,
                                   .depth = 384};
static const Blocks blocks_fma = {{{fma_1x1, fma_1x2},
                                   {fma_2x1, fma_2x2},
                                   {fma_3x1, fma_3x2},
                                   {fma_4x1, fma_4x2},
                                   {fma_5x1, fma_5x2},
                                   {fma_6x1, fma_6x2},
                                   {fma_7x1, fma_7x2},
                                   {fma_8x1, fma_8x2}},
                                  .rows = 8,
                                  .x_bytes = 2,
                                  .w_bytes = 32,
                                  .depth = WIDEN_DEPTH,
                                  .widen = rows_widen};
static const Blocks blocks_f32 = {{{f32_1x1, f32_1x2, NULL, f32_1x4},
                                   {f32_2x1, f32_2x2, NULL, f32_2x4},
                                   {f32_3x1, f32_3x2, NULL, f32_3x4},
                                   {f32_4x1, f32_4x2, NULL, f32_4x4}},
                                  .rows = 4,
                                  .x_bytes = 4,
                                  .w_bytes = 64,
                                  .depth = 96};

void NAME(gemm_bf16)(float *y, int64_t ldy, const uint16_t *x, int64_t n, const uint16_t *w,
                     int64_t m, int64_t k, StoreMode mode) {
    gemm_bf16_blocks(&blocks_bf16, y, ldy, x, n, w, m, k, mode);
}

void NAME(gemm_bf16_fma)(float *y, int64_t ldy, const uint16_t *x, int64_t n, const uint16_t *w,
                         int64_t m, int64_t k, StoreMode mode) {
    gemm_bf16_blocks(&blocks_fma, y, ldy, x, n, w, m, k, mode);
}

void NAME(gemm_f32)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, const float *w,
                    int64_t m, int64_t k, StoreMode mode) {
    gemm_f32_blocks(&blocks_f32, y, ldy, x, ldx, n, w, m, k, mode);
}
