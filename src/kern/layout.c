/* layout.c -- the two tables on which products stand: weight layouts and activation forms. What a
 * number becomes is written in docs/contract.md 3, where it is put in kern/table.h. */
#include "kern/layout.h"
#include <math.h>

/* ---- activation forms ------------------------------------------------------------------------ */

static int64_t bytes_f32(int64_t n, int64_t k) { return n * k * 4; }

static void pack_f32(const Rows *r, int64_t i, const float *x) {
    memcpy((float *)r->p + i * r->k, x, (size_t)r->k * 4);
}

static uint16_t *row_bf16(const Rows *r, int64_t i) {
    return (uint16_t *)r->p + i * round_up(r->k, TILE_K);
}

static int64_t bytes_bf16(int64_t n, int64_t k) { return n * round_up(k, TILE_K) * 2; }

static void pack_bf16(const Rows *r, int64_t i, const float *x) {
    kern.rows_bf16(row_bf16(r, i), x, r->k);
}

/* q (n, k), then d and s (n, k/block), then sum (n, k/sub). k is a multiple of 32, so all are
 * 4-byte aligned. */
static A8 row_int8(const Rows *r, int64_t i) {
    const FormRow *f = &forms[r->form];
    int64_t blocks = r->k / f->block, subs = r->k / f->sub;
    int8_t *q = r->p;
    float *d = (float *)(void *)(q + r->n * r->k), *s = d + r->n * blocks;
    int32_t *sum = (int32_t *)(void *)(s + r->n * blocks);
    return (A8){q + i * r->k, d + i * blocks, s + i * blocks, sum + i * subs};
}

static int64_t bytes_int8(int64_t n, int64_t k) {
    const FormRow *f = &forms[FORM_INT8];
    return n * k + n * (k / f->block) * 8 + n * (k / f->sub) * 4;
}

static void pack_int8(const Rows *r, int64_t i, const float *x) {
    A8 a = row_int8(r, i);
    kern.rows_a8(a.q, a.d, a.s, a.sum, x, r->k);
}

const FormRow forms[FORM_N] = {
    [FORM_F32] = {"f32", 0, 0, bytes_f32, pack_f32},
    [FORM_BF16] = {"bf16", 0, 0, bytes_bf16, pack_bf16},
    [FORM_INT8] = {"int8", 32, 32, bytes_int8, pack_int8},
};

/* ---- float layouts --------------------------------------------------------------------------- */

static void product_f32(float *y, int64_t ldy, const Rows *x, int64_t row, int64_t n, const void *w,
                        int64_t m, StoreMode mode) {
    kern.gemm_f32(y, ldy, x->x + row * x->ld, x->ld, n, w, m, x->k, mode);
}

static void product_bf16(float *y, int64_t ldy, const Rows *x, int64_t row, int64_t n,
                         const void *w, int64_t m, StoreMode mode) {
    kern.gemm_bf16(y, ldy, row_bf16(x, row), n, w, m, x->k, mode);
}

/* ---- quantised layouts ----------------------------------------------------------------------- */

#define INT8_PRODUCT(name)                                                                         \
    static void product_##name(float *y, int64_t ldy, const Rows *x, int64_t row, int64_t n,       \
                               const void *w, int64_t m, StoreMode mode) {                         \
        A8 a = row_int8(x, row);                                                                   \
        kern.gemm_##name(y, ldy, &a, n, w, m, x->k, mode);                                         \
    }
INT8_PRODUCT(q4_1)
INT8_PRODUCT(q8_0)

static float f16_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return f32_of_f16(h);
}

/* Q4_1: f16 d, f16 m, 16 bytes whose low nibbles are numbers 0..15 and high nibbles 16..31. */
static void widen_q4_1(float *out, const uint8_t *p) {
    float d = f16_at(p), m = f16_at(p + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = fmaf(d, (float)(p[4 + i] & 15), m);
        out[16 + i] = fmaf(d, (float)(p[4 + i] >> 4), m);
    }
}

static void put_q4_1(uint8_t *panel, const uint8_t *p, int64_t r) {
    for (int64_t g = 0; g < 4; g++) memcpy(panel + g * 64 + r * 4, p + 4 + 4 * g, 4);
    memcpy(panel + 256 + 2 * r, p, 2);
    memcpy(panel + 288 + 2 * r, p + 2, 2);
}

/* Q8_0: f16 d, 32 int8. */
static void widen_q8_0(float *out, const uint8_t *p) {
    float d = f16_at(p);
    for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)p[2 + i];
}

static void put_q8_0(uint8_t *panel, const uint8_t *p, int64_t r) {
    for (int64_t k = 0; k < 32; k++) panel[k / 4 * 64 + r * 4 + k % 4] = p[2 + k] ^ 0x80;
    memcpy(panel + 512 + 2 * r, p, 2);
}

/* ---- weight layouts -------------------------------------------------------------------------- */

const LayoutRow layouts[LAYOUT_N] = {
    [LAYOUT_F32] = {"f32", FORM_F32, 1, PANEL * 4, product_f32, DTYPE_N, NULL, NULL},
    [LAYOUT_BF16] = {"bf16", FORM_BF16, TILE_K, TILE_K *PANEL * 2, product_bf16, DTYPE_N, NULL,
                     NULL},
    [LAYOUT_Q4_1] = {"q4_1", FORM_INT8, 32, Q4_1_PANEL, product_q4_1, DTYPE_Q4_1, widen_q4_1,
                     put_q4_1},
    [LAYOUT_Q8_0] = {"q8_0", FORM_INT8, 32, Q8_0_PANEL, product_q8_0, DTYPE_Q8_0, widen_q8_0,
                     put_q8_0},
};

const char *layout_name(Layout l) { return layouts[l].name; }
ActForm layout_form(Layout l) { return layouts[l].form; }

Layout layout_of_type(DType t) {
    for (Layout l = LAYOUT_F32; l < LAYOUT_N; l++)
        if (layout_quantised(l) && layouts[l].type == t) return l;
    return LAYOUT_NONE;
}

const char *act_name(Act a) {
    static const char *const name[] = {"f32", "a16", "a8"};
    return name[a];
}

Layout layout_of(Act act, DType type) {
    Layout own = act == ACT_A8 ? layout_of_type(type) : LAYOUT_NONE;
    return own ? own : act == ACT_F32 ? LAYOUT_F32 : LAYOUT_BF16;
}
