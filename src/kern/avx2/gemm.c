/* gemm.c -- the float products: register blocks of up to 4 rows by one panel for
 * kern/wide/blocks.h. 8 chains hide the 4 cycles of an fma at two a cycle. */
#include "kern/avx2/avx2.h"
#include "kern/wide/blocks.h"

INLINE __m256 load8(const uint8_t *p) { return _mm256_load_ps((const float *)(const void *)p); }

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

/* The upper bf16 of every dword, and the lower one, as f32. */
INLINE __m256 upper(__m256 v) {
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000)));
}
INLINE __m256 lower(__m256 v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16));
}

/* One chain of 32 k: dwords `odd`, odd + 2, .., the upper word of each first. Products of bf16 are
 * exact, so fma gives the bits of VDPBF16PS. */
INLINE void chain_bf16(int R, __m256 sum[BLOCK_ROWS][2], const uint8_t *x, int64_t ldx,
                       const uint8_t *w, int odd) {
    EACH (r, R) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    EACH_BY (d, odd, 16, 2) {
        __m256 w0 = load8(w + 64 * d), w1 = load8(w + 64 * d + 32);
        __m256 u0 = upper(w0), u1 = upper(w1), l0 = lower(w0), l1 = lower(w1);
        EACH (r, R) {
            __m256 xv = _mm256_broadcast_ss((const float *)(const void *)(x + r * ldx + 4 * d));
            __m256 xu = upper(xv), xl = lower(xv);
            sum[r][0] = _mm256_fmadd_ps(xl, l0, _mm256_fmadd_ps(xu, u0, sum[r][0]));
            sum[r][1] = _mm256_fmadd_ps(xl, l1, _mm256_fmadd_ps(xu, u1, sum[r][1]));
        }
    }
}

/* Both chains at once would need twice the registers, so the even one is stored meanwhile. */
INLINE void block_bf16(int R, float *c, int64_t ldc, const uint8_t *x, int64_t ldx,
                       const uint8_t *w, int64_t k, bool first) {
    for (; k > 0; k -= TILE_K, x += 64, w += 1024, first = false) {
        _Alignas(32) float even[BLOCK_ROWS][PANEL];
        __m256 sum[BLOCK_ROWS][2];
        chain_bf16(R, sum, x, ldx, w, 0);
        EACH (r, R)
            EACH (h, 2) _mm256_store_ps(even[r] + 8 * h, sum[r][h]);
        chain_bf16(R, sum, x, ldx, w, 1);
        EACH (r, R)
            EACH (h, 2) {
                float *to = c + r * ldc + 8 * h;
                __m256 both = _mm256_add_ps(_mm256_load_ps(even[r] + 8 * h), sum[r][h]);
                __m256 sofar = first ? _mm256_setzero_ps() : _mm256_loadu_ps(to);
                _mm256_storeu_ps(to, _mm256_add_ps(sofar, both));
            }
    }
}

#define BLOCK(type, R)                                                                             \
    static void type##_##R(float *c, int64_t ldc, const uint8_t *x, int64_t ldx, const uint8_t *w, \
                           int64_t ldw, int64_t k, bool first) {                                   \
        (void)ldw;                                                                                 \
        block_##type(R, c, ldc, x, ldx, w, k, first);                                              \
    }
BLOCK(bf16, 1)
BLOCK(bf16, 2)
BLOCK(bf16, 3)
BLOCK(bf16, 4)
BLOCK(f32, 1)
BLOCK(f32, 2)
BLOCK(f32, 3)
BLOCK(f32, 4)

static const Blocks blocks_bf16 = {
    {{bf16_1}, {bf16_2}, {bf16_3}, {bf16_4}}, .x_bytes = 2, .w_bytes = 32, .depth = 384};
static const Blocks blocks_f32 = {
    {{f32_1}, {f32_2}, {f32_3}, {f32_4}}, .x_bytes = 4, .w_bytes = 64, .depth = 256};

void NAME(gemm_bf16)(float *y, int64_t ldy, const uint16_t *x, int64_t n, const uint16_t *w,
                     int64_t m, int64_t k, StoreMode mode) {
    gemm_bf16_blocks(&blocks_bf16, y, ldy, x, n, w, m, k, mode);
}

void NAME(gemm_f32)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, const float *w,
                    int64_t m, int64_t k, StoreMode mode) {
    gemm_f32_blocks(&blocks_f32, y, ldy, x, ldx, n, w, m, k, mode);
}
