/* gemm.c -- the four products, one panel of 16 outputs and one row at a time. The inner loops run
 * over the outputs; the summed index is walked as docs/contract.md 2.1 and 3 say. Layouts:
 * kern/table.h. */
#include "kern/ref/ref.h"

/* One part of a chain: k ascending. */
static void chain_f32(float acc[PANEL], const float *x, const float *w, int64_t k) {
    for (int64_t i = 0; i < k; i++)
        for (int j = 0; j < PANEL; j++) acc[j] = fmaf(x[i], w[i * PANEL + j], acc[j]);
}

/* fma(a, b, c) for bf16 a and b and f32 c, by way of f64. The product has 16 bits and is exact.
 * Where the sum needs more than the 53 bits of f64, one of product and c lies so far below the
 * other that the exact sum is within 1/8 ulp of the other, which is an f32: both roundings go
 * there. Else the f64 sum is exact and is rounded once. Subnormal c and results are zero in both
 * readings (DAZ, FTZ). */
static inline float fma_bf16(float a, float b, float c) {
    return (float)((double)a * (double)b + (double)c);
}

static inline float low(uint32_t dword) { return f32_of_bits(dword << 16); }
static inline float high(uint32_t dword) { return f32_of_bits(dword & 0xffff0000u); }

/* A dword of the crossed order: the high word's k comes first, then the low word's. */
static void chain_pair(float acc[PANEL], uint32_t x, const uint32_t *w) {
    float x0 = high(x), x1 = low(x);
    for (int j = 0; j < PANEL; j++) acc[j] = fma_bf16(x0, high(w[j]), acc[j]);
    for (int j = 0; j < PANEL; j++) acc[j] = fma_bf16(x1, low(w[j]), acc[j]);
}

/* TILE order: every 32 of k an even and an odd chain (dwords of even and odd number), then c = c +
 * (e + o). */
static void tile_bf16(float c[PANEL], const uint32_t *x, const uint32_t *w, int64_t k) {
    for (int64_t d = 0; d < k / 2; d += TILE_K / 2) {
        float e[PANEL] = {0}, o[PANEL] = {0};
        for (int64_t i = d; i < d + TILE_K / 2; i += 2) {
            chain_pair(e, x[i], w + i * PANEL);
            chain_pair(o, x[i + 1], w + (i + 1) * PANEL);
        }
        for (int j = 0; j < PANEL; j++) c[j] = c[j] + (e[j] + o[j]);
    }
}

static void store_panel(float *y, const float *total, int64_t m, StoreMode mode) {
    for (int64_t j = 0; j < m; j++) y[j] = store(y[j], total[j], mode);
}

/* A part starts from +0, or goes on with the sum in `total`; parts are added up left to right. */
static void part_start(float acc[PANEL], const float total[PANEL], bool on) {
    for (int j = 0; j < PANEL; j++) acc[j] = on ? total[j] : 0;
}

static void part_end(float total[PANEL], const float acc[PANEL], bool first) {
    for (int j = 0; j < PANEL; j++) total[j] = first ? acc[j] : total[j] + acc[j];
}

static void sum_f32(float total[PANEL], const float *x, const float *w, int64_t k, bool on) {
    for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += CUT_K) {
        float acc[PANEL];
        part_start(acc, total, on);
        chain_f32(acc, x + k0, w + k0 * PANEL, MIN(k - k0, CUT_K));
        part_end(total, acc, k0 == 0);
    }
}

static void sum_bf16(float total[PANEL], const uint16_t *x, const uint16_t *w, int64_t k, bool on) {
    const uint32_t *xd = (const uint32_t *)(const void *)x, *wd = (const uint32_t *)(const void *)w;
    for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += CUT_K) {
        float acc[PANEL];
        part_start(acc, total, on);
        tile_bf16(acc, xd + k0 / 2, wd + k0 / 2 * PANEL, MIN(k - k0, CUT_K));
        part_end(total, acc, k0 == 0);
    }
}

void gemm_f32_ref(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, const float *w,
                  int64_t m, int64_t k, StoreMode mode) {
    for (int64_t j = 0; j < m; j += PANEL)
        for (int64_t i = 0; i < n; i++) {
            float total[PANEL] = {0}, *out = y + i * ldy + j;
            int64_t wide = MIN(m - j, PANEL);
            if (mode == STORE_CONTINUE) memcpy(total, out, sizeof(float) * (size_t)wide);
            sum_f32(total, x + i * ldx, w + j * k, k, mode == STORE_CONTINUE);
            store_panel(out, total, wide, mode);
        }
}

void gemm_bf16_ref(float *y, int64_t ldy, const uint16_t *x, int64_t n, const uint16_t *w,
                   int64_t m, int64_t k, StoreMode mode) {
    int64_t kp = round_up(k, TILE_K);
    for (int64_t j = 0; j < m; j += PANEL)
        for (int64_t i = 0; i < n; i++) {
            float total[PANEL] = {0}, *out = y + i * ldy + j;
            int64_t wide = MIN(m - j, PANEL);
            if (mode == STORE_CONTINUE) memcpy(total, out, sizeof(float) * (size_t)wide);
            sum_bf16(total, x + i * kp, w + j * kp, kp, mode == STORE_CONTINUE);
            store_panel(out, total, wide, mode);
        }
}

static float f16_at(const uint8_t *p, int j) {
    uint16_t h;
    memcpy(&h, p + 2 * j, 2);
    return f32_of_f16(h);
}

/* One block of 32 for the 16 rows of a panel: exact integer sums, then one fma (Q4_1: two). */
static void block_q4_1(float acc[PANEL], const uint8_t *w, const int8_t *q, float d, float s) {
    const uint8_t *scale = w + 256, *min = w + 288;
    for (int r = 0; r < PANEL; r++) {
        int32_t isum = 0;
        for (int k = 0; k < 16; k++) {
            int byte = w[k / 4 * 64 + r * 4 + k % 4];
            isum += (byte & 15) * q[k] + (byte >> 4) * q[16 + k];
        }
        acc[r] = fmaf(f16_at(scale, r) * d, (float)isum, acc[r]);
        acc[r] = fmaf(f16_at(min, r), s, acc[r]);
    }
}

static void block_q8_0(float acc[PANEL], const uint8_t *w, const int8_t *q, float d) {
    const uint8_t *scale = w + 512;
    for (int r = 0; r < PANEL; r++) {
        int32_t isum = 0;
        for (int k = 0; k < 32; k++) isum += (w[k / 4 * 64 + r * 4 + k % 4] - 128) * q[k];
        acc[r] = fmaf(f16_at(scale, r) * d, (float)isum, acc[r]);
    }
}

void gemm_q4_1_ref(float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w, int64_t m,
                   int64_t k, StoreMode mode) {
    int64_t blocks = k / 32;
    for (int64_t j = 0; j < m; j += PANEL, w += blocks * 320)
        for (int64_t i = 0; i < n; i++) {
            float acc[PANEL] = {0};
            for (int64_t b = 0; b < blocks; b++) {
                int64_t at = i * blocks + b;
                block_q4_1(acc, w + b * 320, x->q + at * 32, x->d[at], x->s[at]);
            }
            store_panel(y + i * ldy + j, acc, MIN(m - j, PANEL), mode);
        }
}

void gemm_q8_0_ref(float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w, int64_t m,
                   int64_t k, StoreMode mode) {
    int64_t blocks = k / 32;
    for (int64_t j = 0; j < m; j += PANEL, w += blocks * 544)
        for (int64_t i = 0; i < n; i++) {
            float acc[PANEL] = {0};
            for (int64_t b = 0; b < blocks; b++) {
                int64_t at = i * blocks + b;
                block_q8_0(acc, w + b * 544, x->q + at * 32, x->d[at]);
            }
            store_panel(y + i * ldy + j, acc, MIN(m - j, PANEL), mode);
        }
}
