/* gemm.c -- the float products: register blocks of up to 6 rows by one panel for
 * kern/wide/blocks.h. 8 chains would do to hide the 4 cycles of an fma at two a cycle, if nothing
 * ever came late; 12 leave four registers for the operands. */
#include "kern/avx2/avx2.h"
#include "kern/wide/bf16.h"

INLINE __m256 load8(const uint8_t *p) { return _mm256_load_ps((const float *)(const void *)p); }

/* One chain an output, k ascending; the first part starts from zero, later ones from what c
 * holds. */
INLINE void block_f32(int R, float *c, int64_t ldc, const uint8_t *x, int64_t ldx, const uint8_t *w,
                      int64_t k, bool first) {
    __m256 sum[BLOCK_ROWS][2];
    EACH (r, R)
        EACH (h, 2) sum[r][h] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(c + r * ldc + 8 * h);
    for (; k > 0; k--, x += 4, w += 64) {
        __m256 w0 = load8(w), w1 = load8(w + 32);
        EACH (r, R) {
            __m256 xv = _mm256_broadcast_ss((const float *)(const void *)(x + r * ldx));
            sum[r][0] = _mm256_fmadd_ps(xv, w0, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(xv, w1, sum[r][1]);
        }
    }
    EACH (r, R)
        EACH (h, 2) _mm256_storeu_ps(c + r * ldc + 8 * h, sum[r][h]);
}

#define BLOCK_F32(R)                                                                               \
    static void f32_##R(float *c, int64_t ldc, const uint8_t *x, int64_t ldx, const uint8_t *w,    \
                        int64_t ldw, int64_t k, bool first) {                                      \
        (void)ldw;                                                                                 \
        block_f32(R, c, ldc, x, ldx, w, k, first);                                                 \
    }
BLOCK_F32(1)
BLOCK_F32(2)
BLOCK_F32(3)
BLOCK_F32(4)
BLOCK_F32(5)
BLOCK_F32(6)
BLOCK_FMA(1, 1)
BLOCK_FMA(2, 1)
BLOCK_FMA(3, 1)
BLOCK_FMA(4, 1)
BLOCK_FMA(5, 1)
BLOCK_FMA(6, 1)
BLOCK_WIDE(1)
BLOCK_WIDE(2)
BLOCK_WIDE(3)
BLOCK_WIDE(4)
BLOCK_WIDE(5)
BLOCK_WIDE(6)

static const Blocks blocks_bf16 = {
    {{fma_1x1}, {fma_2x1}, {fma_3x1}, {fma_4x1}, {fma_5x1}, {fma_6x1}},
    .rows = 6,
    .x_bytes = 2,
    .w_bytes = 32,
    .depth = WIDEN_DEPTH,
    .widen = rows_widen,
    .wide = {wide_1, wide_2, wide_3, wide_4, wide_5, wide_6}};
static const Blocks blocks_f32 = {{{f32_1}, {f32_2}, {f32_3}, {f32_4}, {f32_5}, {f32_6}},
                                  .rows = 6,
                                  .x_bytes = 4,
                                  .w_bytes = 64,
                                  .depth = 256};

void NAME(gemm_bf16)(float *y, int64_t ldy, const uint16_t *x, int64_t n, const uint16_t *w,
                     int64_t m, int64_t k, StoreMode mode) {
    gemm_bf16_blocks(&blocks_bf16, y, ldy, x, n, w, m, k, mode);
}

void NAME(gemm_f32)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, const float *w,
                    int64_t m, int64_t k, StoreMode mode) {
    gemm_f32_blocks(&blocks_f32, y, ldy, x, ldx, n, w, m, k, mode);
}
