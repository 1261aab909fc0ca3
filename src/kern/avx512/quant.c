/* quant.c -- the products of int8 rows with Q4_1 and Q8_0 panels, and the rounding of rows to int8.
 *
 * A block of 32 k is 8 dwords: VPDPBUSD sums its 4 byte products exactly in every 32-bit lane. Two panels are unpacked
 * once a block and held in registers while up to TILE_N rows pass by; their sums wait in L1. */
#include "kern/avx512/avx512.h"

enum { TILE_N = 32, Q4_1_BYTES = 320, Q8_0_BYTES = 544 };

/* One block of one panel, unpacked: the unsigned weights of 8 dwords of k, scale and minimum. */
typedef struct Unpacked { __m512i q[8]; __m512 d, m; } Unpacked;

INLINE __m512 load_f16(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }

INLINE Unpacked unpack_q4_1(const uint8_t *w) {
    const __m512i low = _mm512_set1_epi8(15);
    Unpacked u;
    UNROLL for (int g = 0; g < 4; g++) {
        __m512i v = _mm512_load_si512(w + 64 * g);
        u.q[g] = _mm512_and_si512(v, low);
        u.q[g + 4] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    }
    u.d = load_f16(w + 256);
    u.m = load_f16(w + 288);
    return u;
}

INLINE Unpacked unpack_q8_0(const uint8_t *w) {
    Unpacked u;
    UNROLL for (int g = 0; g < 8; g++) u.q[g] = _mm512_loadu_si512(w + 64 * g);
    u.d = load_f16(w + 512);
    u.m = _mm512_setzero_ps();
    return u;
}

/* The intrinsic makes gcc 12 copy the accumulator before every instruction, at half the rate. */
INLINE __m512i dot_bytes(__m512i sum, __m512i w, __m512i x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
}

/* One row and block with P panels: c (P x 16) takes d_w d_x isum, then m s. A Q8_0 weight is held 128 too large, so
 * its sum starts at -128 times the sum of the row's numbers. */
INLINE void row_block(int P, bool q4, float *c, const Unpacked *u, const A8 *x, int64_t at) {
    __m512i isum[2];
    __m512i start = q4 ? _mm512_setzero_si512()
                       : _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(_mm512_set1_epi32(x->sum[at]), 7));
    UNROLL for (int p = 0; p < P; p++) isum[p] = start;
    UNROLL for (int g = 0; g < 8; g++) {
        int32_t four;
        memcpy(&four, x->q + at * 32 + 4 * g, 4);
        __m512i xv = _mm512_set1_epi32(four);
        UNROLL for (int p = 0; p < P; p++) isum[p] = dot_bytes(isum[p], u[p].q[g], xv);
    }
    __m512 d = _mm512_set1_ps(x->d[at]);
    UNROLL for (int p = 0; p < P; p++) {
        __m512 acc = _mm512_load_ps(c + 16 * p);
        acc = _mm512_fmadd_ps(_mm512_mul_ps(u[p].d, d), _mm512_cvtepi32_ps(isum[p]), acc);
        if (q4) acc = _mm512_fmadd_ps(u[p].m, _mm512_set1_ps(x->s[at]), acc);
        _mm512_store_ps(c + 16 * p, acc);
    }
}

/* Rows i.. (n <= TILE_N) times P panels, `step` bytes apart. */
INLINE void tile_a8(int P, bool q4, float c[TILE_N][32], const A8 *x, int64_t i, int64_t n, const uint8_t *w, int64_t blocks) {
    const int64_t bytes = q4 ? Q4_1_BYTES : Q8_0_BYTES;
    memset(c, 0, sizeof(float) * 32 * (size_t)n);
    for (int64_t b = 0; b < blocks; b++, w += bytes) {
        Unpacked u[2];
        UNROLL for (int p = 0; p < P; p++)
            u[p] = q4 ? unpack_q4_1(w + p * blocks * bytes) : unpack_q8_0(w + p * blocks * bytes);
        for (int64_t r = 0; r < n; r++) row_block(P, q4, c[r], u, x, (i + r) * blocks + b);
    }
}

static void tile_store(float *y, int64_t ldy, float c[TILE_N][32], int64_t n, int64_t m, StoreMode mode) {
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < m; j += 16) {
            float *to = y + r * ldy + j;
            __mmask16 in = mask16(m - j);
            __m512 v = _mm512_load_ps(c[r] + j);
            if (mode == STORE_ADD) v = _mm512_add_ps(_mm512_maskz_loadu_ps(in, to), v);
            _mm512_mask_storeu_ps(to, in, v);
        }
}

INLINE void gemm_a8(bool q4, float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w, int64_t m, int64_t k,
                    StoreMode mode) {
    _Alignas(64) float c[TILE_N][32];
    int64_t blocks = k / 32, panel = blocks * (q4 ? Q4_1_BYTES : Q8_0_BYTES);
    for (int64_t j = 0; j < m; j += 32)
        for (int64_t i = 0, rows; i < n; i += rows) {
            rows = MIN(n - i, TILE_N);
            if (m - j > 16) tile_a8(2, q4, c, x, i, rows, w + j / 16 * panel, blocks);
            else tile_a8(1, q4, c, x, i, rows, w + j / 16 * panel, blocks);
            tile_store(y + i * ldy + j, ldy, c, rows, MIN(m - j, 32), mode);
        }
}

void gemm_q4_1_avx512(float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w, int64_t m, int64_t k, StoreMode mode) {
    gemm_a8(true, y, ldy, x, n, w, m, k, mode);
}

void gemm_q8_0_avx512(float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w, int64_t m, int64_t k, StoreMode mode) {
    gemm_a8(false, y, ldy, x, n, w, m, k, mode);
}
