/* gemm.c -- the products, one panel of 16 outputs and one row at a time. The inner loops run
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

/* The outputs past the end of a matrix are computed from the panel's zeros and not stored. */
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

/* The order of contract 2.1: parts of CUT_K, each a chain. */
static void sum_f32(float total[PANEL], const float *x, const float *w, int64_t k, bool on) {
    for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += CUT_K) {
        float acc[PANEL];
        part_start(acc, total, on);
        chain_f32(acc, x + k0, w + k0 * PANEL, MIN(k - k0, CUT_K));
        part_end(total, acc, k0 == 0);
    }
}

/* The same with TILE order inside a part. */
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

/* ---- int8 rows: docs/contract.md 3, "a8 product" --------------------------------------------- */

/* A block of 32. */
static float block_32(float acc, const Quant *t, const QuantBlock *w, const A8 *x, int64_t at) {
    const int8_t *q = x->q + at * 32;
    int32_t isum = 0;
    for (int k = 0; k < 32; k++) isum += quant_value(t, w->code[k]) * q[k];
    acc = fmaf(quant_d(t, w->d) * x->d[at], (float)isum, acc);
    return t->min ? fmaf(f32_of_f16(w->m), x->s[at], acc) : acc;
}

/* A block of 256: the sub-scales are in the integer sums. */
static float block_256(float acc, const Quant *t, const QuantBlock *w, const A8 *x, int64_t at) {
    const int8_t *q = x->q + at * 256;
    const int32_t *sum = x->sum + at * 16;
    int32_t total = 0, min = 0;
    for (int64_t j = 0; j < quant_subs(t); j++) {
        int32_t isum = 0;
        for (int64_t k = j * t->sub; k < (j + 1) * t->sub; k++)
            isum += quant_value(t, w->code[k]) * q[k];
        total += w->scale[j] * isum;
    }
    for (int64_t j = 0; j < 16 && t->min; j++)
        min += w->min[j * 16 / t->sub] * (int16_t)(sum[j / 2] >> 16 * (j % 2));
    acc = fmaf(quant_d(t, w->d) * x->d[at], (float)total, acc);
    return t->min ? fmaf(-(f32_of_f16(w->m) * x->d[at]), (float)min, acc) : acc;
}

enum { AT_ONCE = 32 }; /* rows for which a block of a panel is taken apart once */

static void panel_int8(float acc[AT_ONCE][PANEL], const Quant *t, const A8 *x, int64_t row,
                       int64_t n, const uint8_t *w, int64_t blocks) {
    QuantBlock b[PANEL];
    memset(acc, 0, sizeof acc[0] * (size_t)n);
    for (int64_t i = 0; i < blocks; i++, w += quant_bytes(t)) {
        for (int64_t j = 0; j < PANEL; j++) quant_get(t, &b[j], w, j);
        for (int64_t r = 0; r < n; r++)
            for (int64_t j = 0; j < PANEL; j++)
                acc[r][j] = (t->block == 32 ? block_32 : block_256)(acc[r][j], t, &b[j], x,
                                                                    (row + r) * blocks + i);
    }
}

static void gemm_int8(const Quant *t, float *y, int64_t ldy, const A8 *x, int64_t n,
                      const uint8_t *w, int64_t m, int64_t k, StoreMode mode) {
    int64_t blocks = k / t->block;
    float acc[AT_ONCE][PANEL];
    for (int64_t j = 0; j < m; j += PANEL, w += blocks * quant_bytes(t))
        for (int64_t i = 0; i < n; i += AT_ONCE) {
            int64_t rows = MIN(n - i, AT_ONCE);
            panel_int8(acc, t, x, i, rows, w, blocks);
            for (int64_t r = 0; r < rows; r++)
                store_panel(y + (i + r) * ldy + j, acc[r], MIN(m - j, PANEL), mode);
        }
}

#define Q(name, NAME, n_block, n_bytes)                                                            \
    void gemm_##name##_ref(float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w,        \
                           int64_t m, int64_t k, StoreMode mode) {                                 \
        gemm_int8(&quant_##name, y, ldy, x, n, w, m, k, mode);                                     \
    }
QUANT_LIST(Q)
#undef Q
