/* layout.c -- the two tables on which products stand: weight layouts and activation forms. What a
 * number becomes is written in docs/contract.md 3, where it is put in kern/table.h.
 *
 * A layout says which form of the input its product reads. So a quantised type costs one line in
 * QUANT_LIST (quant.h), and whoever multiplies asks for layout_form and never for a type. */
#include "kern/layout.h"
#include <math.h>

/* ---- activation forms ------------------------------------------------------------------------ */

static int64_t bytes_f32(int64_t n, int64_t k) { return n * k * 4; }

static void pack_f32(const Rows *r, int64_t i, const float *x) {
    memcpy((float *)r->p + i * r->k, x, (size_t)r->k * 4);
}

/* k is padded to whole tiles with zeros, in the order of words that the level's product reads. */
static uint16_t *row_bf16(const Rows *r, int64_t i) {
    return (uint16_t *)r->p + i * round_up(r->k, TILE_K);
}

static int64_t bytes_bf16(int64_t n, int64_t k) { return n * round_up(k, TILE_K) * 2; }

static void pack_bf16(const Rows *r, int64_t i, const float *x) {
    kern.rows_bf16(row_bf16(r, i), x, r->k);
}

/* q (n, k), then d and s (n, k/block), then sum (n, k/sub). k is a multiple of the block, so all
 * are 4-byte aligned. */
static A8 row_int8(const Rows *r, int64_t i) {
    const FormRow *f = &forms[r->form];
    int64_t blocks = r->k / f->block, subs = r->k / f->sub;
    int8_t *q = r->p;
    float *d = (float *)(void *)(q + r->n * r->k), *s = d + r->n * blocks;
    int32_t *sum = (int32_t *)(void *)(s + r->n * blocks);
    return (A8){q + i * r->k, d + i * blocks, s + i * blocks, sum + i * subs};
}

static int64_t bytes_blocks(const FormRow *f, int64_t n, int64_t k) {
    return n * k + n * (k / f->block) * 8 + n * (k / f->sub) * 4;
}

static int64_t bytes_int8(int64_t n, int64_t k) { return bytes_blocks(&forms[FORM_INT8], n, k); }
static int64_t bytes_int8_256(int64_t n, int64_t k) {
    return bytes_blocks(&forms[FORM_INT8_256], n, k);
}

static void pack_int8(const Rows *r, int64_t i, const float *x) {
    A8 a = row_int8(r, i);
    kern.rows_a8(a.q, a.d, a.s, a.sum, x, r->k);
}

static void pack_int8_256(const Rows *r, int64_t i, const float *x) {
    A8 a = row_int8(r, i);
    kern.rows_a8_256(a.q, a.d, a.sum, x, r->k);
}

const FormRow forms[FORM_N] = {
    [FORM_F32] = {"f32", 0, 0, bytes_f32, pack_f32},
    [FORM_BF16] = {"bf16", 0, 0, bytes_bf16, pack_bf16},
    [FORM_INT8] = {"int8", 32, 32, bytes_int8, pack_int8},
    [FORM_INT8_256] = {"int8_256", 256, 16, bytes_int8_256, pack_int8_256},
};

Rows rows_in(ActForm form, int64_t n, int64_t k, void *mem) {
    CHECK(form == FORM_F32 || form == FORM_BF16);
    return (Rows){form, n, k, k, mem, mem};
}

void row_piece_put(const Rows *r, int64_t i, int64_t j0, const float *x, int64_t m) {
    if (r->form == FORM_BF16)
        kern.rows_bf16(row_bf16(r, i) + j0, x, m);
    else
        memcpy((float *)r->p + i * r->k + j0, x, (size_t)m * 4);
}

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

#define Q(name, NAME, n_block, n_bytes)                                                            \
    static void product_##name(float *y, int64_t ldy, const Rows *x, int64_t row, int64_t n,       \
                               const void *w, int64_t m, StoreMode mode) {                         \
        A8 a = row_int8(x, row);                                                                   \
        kern.gemm_##name(y, ldy, &a, n, w, m, x->k, mode);                                         \
    }
QUANT_LIST(Q)
#undef Q

/* ---- weight layouts -------------------------------------------------------------------------- */

#define FORM_OF(n_block) ((n_block) == 32 ? FORM_INT8 : FORM_INT8_256)

const LayoutRow layouts[LAYOUT_N] = {
    [LAYOUT_F32] = {"f32", FORM_F32, 1, PANEL * 4, product_f32, DTYPE_N, NULL, NULL, NULL},
    [LAYOUT_BF16] = {"bf16", FORM_BF16, TILE_K, TILE_K *PANEL * 2, product_bf16, DTYPE_N, NULL,
                     NULL, NULL},
#define Q(name, NAME, n_block, n_bytes)                                                            \
    [LAYOUT_##NAME] = {#name,         FORM_OF(n_block),   n_block,                                 \
                       n_bytes,       product_##name,     DTYPE_##NAME,                            \
                       &quant_##name, quant_widen_##name, quant_put_##name},
    QUANT_LIST(Q)
#undef Q
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

/* Int8 activations go with quantised weights only: what a mixed file has in f32 or bf16 is
 * multiplied as under a16. */
Layout layout_of(Act act, DType type) {
    Layout own = act == ACT_A8 ? layout_of_type(type) : LAYOUT_NONE;
    return own ? own : act == ACT_F32 ? LAYOUT_F32 : LAYOUT_BF16;
}
