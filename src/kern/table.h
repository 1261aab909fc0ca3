/* table.h -- private to kern/: the table of kernels. kern_init fills it with ref, then each level
 * replaces the kernels that it has; tests/kern compares every level over the same list. Adding a
 * kernel: a line here, the ref version, its test, then the fast ones. A kernel is one thread's work
 * on memory that the drivers laid out: packed forms are 64-byte aligned, f32 rows are 4-byte
 * aligned, nothing outside the stated elements is read or written. */
#pragma once
#include "kern/exp.h"
#include "kern/kern.h"
#include "kern/quant.h"

/* Rows of int8, in blocks of B numbers of k, 32 or for K types 256: x = d * q. A block that holds
 * an infinity or a NaN has q = 0, d = s = NaN, sum = 0. */
typedef struct A8 {
    int8_t *q;    /* (n, k), k a multiple of B */
    float *d;     /* (n, k/B) scale dx */
    float *s;     /* (n, k/B) rn(dx * (float)sum q); not set where B is 256 */
    int32_t *sum; /* (n, k/32) sums of q; where B is 256 (n, k/256, 16): a8_sums makes them */
} A8;

/* The sums that K types meet, from those of each 16 numbers of a block of 256, two int16 in a word
 * as a product of words takes them: 8 words with the sums of each 16, then 4 with those of each 32,
 * then zeros. */
static inline void a8_sums(int32_t word[16], const int32_t sixteen[16]) {
    const uint32_t low = 0xffff;
    memset(word, 0, sizeof(int32_t[16]));
    for (int j = 0; j < 8; j++) {
        uint32_t a = (uint32_t)sixteen[2 * j], b = (uint32_t)sixteen[2 * j + 1];
        word[j] = (int32_t)((a & low) | b << 16);
        word[8 + j / 2] |= (int32_t)(((a + b) & low) << 16 * (j % 2));
    }
}

/* The products, on `m` outputs (panels of 16; the tail of the last panel is packed as zeros
 * and not stored):
 *   y[i*ldy + j] = or += sum_k x[i][k] w[j][k],  i < n, j < m;  n, m, k >= 1.
 * STORE_SET and STORE_ADD cut k at CUT_K inside the kernel. STORE_CONTINUE (f32 and bf16, k <=
 * CUT_K, and a multiple of 32 but for the last call) goes on with the sum that stands in y: the
 * chain's acc, TILE's c, start from y instead of +0. Layouts, kp = round_up(k, 32) except f32:
 *   f32   x: f32 (n, ldx).   w: [panel][k][16] f32.
 *   bf16  x: u16 (n, kp), each 32 of k in "pair order".  w: [panel][kp/2][16][2] u16, the two words
 *         of a dword being a pair of k in the same order. Pair order is the level's: crossed
 *         (dwords (lo,hi) = (k2,k0),(k3,k1) of every 4 of k, what VDPBF16PS needs) or in order
 *         ((k0,k1),(k2,k3), what TDPBF16PS needs). kern.pairs_in_order says which.
 *   quantised types   x: A8.  w: [panel][k/block] blocks of a panel as kern/quant.h says.
 *
 * What the others do, where the name does not say it all:
 *   rows_bf16      one row, pair order, padded to kp
 *   panel_bf16     one panel of m <= 16 outputs from k rows of m numbers: w[j][k] = x[k*ld + j]
 *   pair_panels    panels, ldo words apart, whose outputs are the columns of n packed rows, ldx
 *                  words apart, the rows summed: words in pair order of the rows, padded to whole
 *                  tiles
 *   transpose      dwords: y[j*ldy + i] = x[i*ldx + j]; any 4-byte alignment
 *   v_of_k         4 bf16 panels of 16 keys -> ceil(dv/16) panels over the 64 keys of k's first dv
 *   rmsnorm        one row; returns r; w may be NULL, y may be x
 *   rope           one head of 2*half numbers
 *   columns_sum    dw += for each of m columns the sum over n rows, ascending from +0, of dy (x r),
 *                  or of dy where x is NULL
 *   combine        one row: s = base, or +0 where it is NULL; s = fma(weight[k], row[k], s) for k
 *                  ascending; y = to + s, or s where `to` is NULL; y may be `to` or base
 *   scale          y = a x; y may be x
 *   sigmoid        y = 1 / (1 + exp(-x))
 *   round          x through bf16 and back
 *   dot, sum_exp   16-lane trees: of fma(x, y); of exp(x - m)
 *   tree_f64       the tree in f64, of x or of its squares
 *   chunk_softmax  64 scores of one row: s*scale, max m over the `visible` (1..64), p = exp(. - m),
 *                  rounded if `round`, p[visible..63] = 0; p may be s; returns l, the tree over p
 *   softmax_back   p = exp(s*scale - lse), ds = (p*(dp - D))*scale; p may be s, ds may be dp
 *   rescale        M = max(m, mc), a = exp(m - M), b = exp(mc - M), l = fma(l, a, lc*b), m = M
 *   merge          o = fma(o, a, oc*b)
 *   div            y = y / d
 *   cross_entropy_back   dz = exp(z - lse) * scale, the target left to the driver; dz may be z */
#define GEMM_INT8(X, name)                                                                         \
    X(gemm_##name, void,                                                                           \
      (float *y, int64_t ldy, const A8 *x, int64_t n, const uint8_t *w, int64_t m, int64_t k,      \
       StoreMode mode))
#define KERN_LIST(X)                                                                               \
    X(gemm_f32, void,                                                                              \
      (float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, const float *w, int64_t m,   \
       int64_t k, StoreMode mode))                                                                 \
    X(gemm_bf16, void,                                                                             \
      (float *y, int64_t ldy, const uint16_t *x, int64_t n, const uint16_t *w, int64_t m,          \
       int64_t k, StoreMode mode))                                                                 \
    GEMM_INT8(X, q4_0)                                                                             \
    GEMM_INT8(X, q4_1)                                                                             \
    GEMM_INT8(X, q5_0)                                                                             \
    GEMM_INT8(X, q5_1)                                                                             \
    GEMM_INT8(X, q8_0)                                                                             \
    GEMM_INT8(X, iq4_nl)                                                                           \
    GEMM_INT8(X, mxfp4)                                                                            \
    GEMM_INT8(X, q2_k)                                                                             \
    GEMM_INT8(X, q3_k)                                                                             \
    GEMM_INT8(X, q4_k)                                                                             \
    GEMM_INT8(X, q5_k)                                                                             \
    GEMM_INT8(X, q6_k)                                                                             \
    GEMM_INT8(X, iq4_xs)                                                                           \
    X(rows_bf16, void, (uint16_t * out, const float *x, int64_t k))                                \
    X(rows_a8, void, (int8_t * q, float *d, float *s, int32_t *sum, const float *x, int64_t k))    \
    X(rows_a8_256, void, (int8_t * q, float *d, int32_t *sum, const float *x, int64_t k))          \
    X(panel_bf16, void, (uint16_t * out, const float *x, int64_t ld, int64_t m, int64_t k))        \
    X(pair_panels, void,                                                                           \
      (uint16_t * out, int64_t ldo, int64_t panels, const uint16_t *x, int64_t ldx, int64_t n))    \
    X(transpose, void,                                                                             \
      (uint32_t * y, int64_t ldy, const uint32_t *x, int64_t ldx, int64_t rows, int64_t cols))     \
    X(v_of_k, void, (uint16_t * v, const uint16_t *k, int64_t dk, int64_t dv))                     \
    X(rmsnorm, float, (float *y, const float *x, const float *w, int64_t C, float eps))            \
    X(rmsnorm_back, void,                                                                          \
      (float *dx, const float *dy, const float *x, const float *w, float r, int64_t C,             \
       StoreMode mode))                                                                            \
    X(silu_mul, void, (float *h, const float *g, const float *u, int64_t n))                       \
    X(silu_mul_back, void,                                                                         \
      (float *dg, float *du, const float *dh, const float *g, const float *u, int64_t n))          \
    X(rope, void,                                                                                  \
      (float *x, int64_t half, bool pairs, bool back, const float *cos, const float *sin))         \
    X(add, void, (float *y, const float *x, int64_t n))                                            \
    X(columns_sum, void,                                                                           \
      (float *dw, const float *dy, int64_t lddy, const float *x, int64_t ldx, const float *r,      \
       int64_t n, int64_t m))                                                                      \
    X(combine, void,                                                                               \
      (float *y, const float *to, const float *base, const float *const *row, const float *weight, \
       int64_t K, int64_t n))                                                                      \
    X(scale, void, (float *y, float a, const float *x, int64_t n))                                 \
    X(sigmoid, void, (float *y, const float *x, int64_t n))                                        \
    X(round, void, (float *x, int64_t n))                                                          \
    X(dot, float, (const float *x, const float *y, int64_t n))                                     \
    X(max, float, (const float *x, int64_t n))                                                     \
    X(sum_exp, float, (const float *x, float m, int64_t n))                                        \
    X(tree_f64, double, (const float *x, int64_t n, bool square))                                  \
    X(chunk_softmax, float,                                                                        \
      (float *p, float *m, const float *s, int64_t visible, float scale, bool round))              \
    X(softmax_back, void,                                                                          \
      (float *p, float *ds, const float *s, const float *dp, const float *lse, const float *D,     \
       float scale, int64_t n))                                                                    \
    X(rescale, void,                                                                               \
      (float *m, float *l, float *a, float *b, const float *mc, const float *lc, int64_t n))       \
    X(merge, void, (float *o, float a, const float *oc, float b, int64_t n))                       \
    X(div, void, (float *y, float d, int64_t n))                                                   \
    X(cross_entropy_back, void, (float *dz, const float *z, float lse, float scale, int64_t n))    \
    X(adamw, void, (float *w, const float *g, float *m, float *v, int64_t n, const AdamW *p))

#define X(field, ret, params) typedef ret field##_fn params;
KERN_LIST(X)
#undef X

typedef struct Kern {
#define X(field, ret, params) field##_fn *field;
    KERN_LIST(X)
#undef X
    bool pairs_in_order; /* pair order of bf16 panels and rows */
} Kern;

/* Where word i of k stands in a row or in a panel's column: i, or in crossed order
 * (k2,k0),(k3,k1) of every four. */
static inline int64_t pair_at(bool in_order, int64_t i) {
    return in_order ? i : (i & ~3) | (0x2031 >> 4 * (i & 3) & 3);
}

/* router.c: the K largest of n by (value descending, index ascending), of those that are open or,
 * NULL, of all. */
void router_best(int32_t *best, int64_t K, const float *v, const bool *open, int64_t n);

extern Kern kern; /* read-only after kern_init */
void kern_fill_ref(Kern *k);
void kern_fill_avx2(Kern *k);
void kern_fill_avx512(Kern *k);
void kern_fill_amx_emu(Kern *k);
void kern_fill_amx(Kern *k);
/* Level avx512 makes its bf16 product of VDPBF16PS or of fma; the bits are the same.
 * kern_fill_avx512 takes what a measurement of about a millisecond found to be faster on this CPU,
 * and kern_note_avx512 says so. */
typedef enum Bf16Way { BF16_DOT, BF16_FMA } Bf16Way;
void kern_fill_avx512_way(Kern *k, Bf16Way way);
const char *kern_note_avx512(void);
/* VDPBF16PS and TDPBF16PS round as the contract's model does, on this CPU. */
bool kern_test_avx512(void);
bool kern_test_amx(void);
