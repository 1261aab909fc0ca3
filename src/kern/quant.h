/* quant.h -- private to kern/: the quantised types, and where a panel holds what a block says.
 *
 * A block is `block` numbers of k of one row. Every type is codes and scales: number k is
 *     value of code[k] * sub-scale * d, less the minimum where there is one,
 * so a type is a row of constants here, a function that takes a file's block apart (quant.c), and
 * nothing else: widening, panels, reference and fast products are made from the constants. Fast
 * kernels see them at compile time. docs/formats.md has the blocks of files, docs/contract.md 3
 * what is computed.
 *
 * A block of a panel is `block` numbers of k by 16 rows, without padding; byte r*4+i of 64 belongs
 * to row r:
 *     low plane    u8 [..][16][4]: the low bits of 4 numbers k = 4G..4G+3. Stripes of 16 numbers
 *                  (4 G) share bytes: those of stripe S stand in words S / per * 4 + G % 4, `low` *
 *                  (S % per) bits up, per = 8 / low
 *     high plane   the same for the `high` bits above them: in word G / per, `high` * (G % per)
 *                  bits up, per = 8 / high
 *     d            f16 [16] (MXFP4: the upper half of an f32)
 *     m            f16 [16], where there are minima
 *     sub-scales   i8 [block / sub][16]; of Q2_K the low half is the scale, the high half the
 *                  minimum
 *     sub-minima   u8 [block / sub][16], of the other types that have them */
#pragma once
#include "base/base.h"

enum { QUANT_BLOCK = 256, QUANT_SUBS = 16 }; /* the most that a block holds */

typedef struct Quant {
    int64_t block;
    int low, high; /* bits of a code in the low plane (2, 4, 8) and in the high one (0, 1, 2) */
    int offset;    /* a code stands for code - offset, */
    const int8_t *value; /* or for value[code] */
    int64_t sub;         /* numbers of k that share a sub-scale; 0: there are none */
    bool min;            /* there is a minimum, with sub-scales one for each of them */
    bool halves;         /* sub-scale and sub-minimum are 4 bits and share a byte */
    bool exponent;       /* d is a power of two beyond f16 */
} Quant;

static const int8_t quant_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t quant_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static const Quant quant_q4_0 = {.block = 32, .low = 4, .offset = 8};
static const Quant quant_q4_1 = {.block = 32, .low = 4, .min = true};
static const Quant quant_q5_0 = {.block = 32, .low = 4, .high = 1, .offset = 16};
static const Quant quant_q5_1 = {.block = 32, .low = 4, .high = 1, .min = true};
static const Quant quant_q8_0 = {.block = 32, .low = 8, .offset = 128};
static const Quant quant_iq4_nl = {.block = 32, .low = 4, .value = quant_iq4};
static const Quant quant_mxfp4 = {.block = 32, .low = 4, .value = quant_fp4, .exponent = true};
static const Quant quant_q2_k = {.block = 256, .low = 2, .sub = 16, .min = true, .halves = true};
static const Quant quant_q3_k = {.block = 256, .low = 2, .high = 1, .offset = 4, .sub = 16};
static const Quant quant_q4_k = {.block = 256, .low = 4, .sub = 32, .min = true};
static const Quant quant_q5_k = {.block = 256, .low = 4, .high = 1, .sub = 32, .min = true};
static const Quant quant_q6_k = {.block = 256, .low = 4, .high = 2, .offset = 32, .sub = 16};
static const Quant quant_iq4_xs = {.block = 256, .low = 4, .value = quant_iq4, .sub = 32};

/* Every quantised type, in the order of their DTypes and Layouts: Q(name, NAME, numbers of a block,
 * bytes of 16 rows of it in a panel: quant_bytes). */
#define QUANT_LIST(Q)                                                                              \
    Q(q4_0, Q4_0, 32, 288)                                                                         \
    Q(q4_1, Q4_1, 32, 320)                                                                         \
    Q(q5_0, Q5_0, 32, 352)                                                                         \
    Q(q5_1, Q5_1, 32, 384)                                                                         \
    Q(q8_0, Q8_0, 32, 544)                                                                         \
    Q(iq4_nl, IQ4_NL, 32, 288)                                                                     \
    Q(mxfp4, MXFP4, 32, 288)                                                                       \
    Q(q2_k, Q2_K, 256, 1344)                                                                       \
    Q(q3_k, Q3_K, 256, 1824)                                                                       \
    Q(q4_k, Q4_K, 256, 2368)                                                                       \
    Q(q5_k, Q5_K, 256, 2880)                                                                       \
    Q(q6_k, Q6_K, 256, 3360)                                                                       \
    Q(iq4_xs, IQ4_XS, 256, 2208)

/* ---- places in a block of a panel ------------------------------------------------------------ */

static inline int64_t quant_subs(const Quant *t) { return t->sub ? t->block / t->sub : 0; }
static inline int64_t quant_at_high(const Quant *t) { return t->block * t->low * 2; }
static inline int64_t quant_at_d(const Quant *t) {
    return quant_at_high(t) + t->block * t->high * 2;
}
static inline int64_t quant_at_m(const Quant *t) { return quant_at_d(t) + 32; }
static inline int64_t quant_at_scale(const Quant *t) { return quant_at_m(t) + (t->min ? 32 : 0); }
static inline int64_t quant_at_min(const Quant *t) {
    return quant_at_scale(t) + quant_subs(t) * 16;
}
static inline int64_t quant_bytes(const Quant *t) {
    return quant_at_min(t) + (t->min && !t->halves ? quant_subs(t) * 16 : 0);
}

/* ---- blocks (quant.c) ------------------------------------------------------------------------ */

/* One row's block, taken apart. */
typedef struct QuantBlock {
    uint8_t code[QUANT_BLOCK];
    int8_t scale[QUANT_SUBS];
    uint8_t min[QUANT_SUBS];
    uint16_t d, m; /* as the panel holds them */
} QuantBlock;

/* A file's block as row r of a block of a panel; the numbers of a file's block. */
#define Q(name, NAME, n_block, n_bytes)                                                            \
    void quant_put_##name(uint8_t *panel, const uint8_t *block, int64_t r);                        \
    void quant_widen_##name(float *out, const uint8_t *block);
QUANT_LIST(Q)
#undef Q

static inline int quant_value(const Quant *t, int code) {
    return t->value ? t->value[code] : code - t->offset;
}
float quant_d(const Quant *t, uint16_t d); /* d of a block as f32 */
/* Row r of a block of a panel, taken apart. */
void quant_get(const Quant *t, QuantBlock *b, const uint8_t *panel, int64_t r);
