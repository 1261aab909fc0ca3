/* quant.c -- blocks of quantised types: taken apart as files have them, put into panels, widened.
 * quant.h says what a block is; docs/formats.md shows those of files to the byte.
 *
 * Each type has a reader of its own, since files pack their bits in many ways, and one row of
 * constants, from which everything else is derived: panels have one plan for all types. All is
 * whole numbers up to the last step, so nothing here rounds but `widen`. */
#include "kern/quant.h"
#include <math.h>

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

static uint16_t u16_at(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* 2n codes: n in the low halves of n bytes, n in the high halves. */
static void halves(uint8_t *code, const uint8_t *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        code[i] = p[i] & 15;
        code[n + i] = p[i] >> 4;
    }
}

/* Bit k of 32 is the fifth of code k. */
static void fifth_bits(uint8_t *code, const uint8_t *p) {
    for (int k = 0; k < 32; k++) code[k] |= (uint8_t)((p[k / 8] >> k % 8 & 1) << 4);
}

/* x = d (code - 8); the 8 is in the row of constants, as every type's offset or table is. */
static void read_q4_0(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    halves(b->code, p + 2, 16);
}

static void read_q4_1(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    b->m = u16_at(p + 2);
    halves(b->code, p + 4, 16);
}

static void read_q5_0(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    halves(b->code, p + 6, 16);
    fifth_bits(b->code, p + 2);
}

static void read_q5_1(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    b->m = u16_at(p + 2);
    halves(b->code, p + 8, 16);
    fifth_bits(b->code, p + 4);
}

/* Signed bytes become codes from 0 by turning the sign bit round. */
static void read_q8_0(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    for (int k = 0; k < 32; k++) b->code[k] = p[2 + k] ^ 0x80;
}

static void read_iq4_nl(QuantBlock *b, const uint8_t *p) { read_q4_0(b, p); }

/* d = 2^(e - 128), half of what e means: the values are held doubled. 2^-128 and 2^-127 are
 * subnormal, and zero as everywhere. */
static void read_mxfp4(QuantBlock *b, const uint8_t *p) {
    b->d = (uint16_t)(p[0] < 2 ? 0 : (p[0] - 1) << 7);
    halves(b->code, p + 1, 16);
}

/* ---- blocks of 256 --------------------------------------------------------------------------- */

/* 128 codes: their two bits in 32 bytes, the first 32 in the lowest bits, and so on. */
static void crumbs(uint8_t *code, const uint8_t *p, int up) {
    for (int t = 0; t < 4; t++)
        for (int i = 0; i < 32; i++) code[32 * t + i] |= (uint8_t)((p[i] >> 2 * t & 3) << up);
}

/* 256 codes: one bit each in 32 bytes, the first 32 in the lowest bits, and so on. */
static void bits(uint8_t *code, const uint8_t *p, int up) {
    for (int t = 0; t < 8; t++)
        for (int i = 0; i < 32; i++) code[32 * t + i] |= (uint8_t)((p[i] >> t & 1) << up);
}

/* 8 scales and 8 minima of 6 bits in 12 bytes: 0..3 of each have bytes of their own, in whose upper
 * two bits are those of 4..7. */
static void scales_6(QuantBlock *b, const uint8_t *p) {
    for (int j = 0; j < 4; j++) {
        b->scale[j] = p[j] & 63;
        b->min[j] = p[4 + j] & 63;
        b->scale[4 + j] = (int8_t)((p[8 + j] & 15) | (p[j] >> 6) << 4);
        b->min[4 + j] = (uint8_t)(p[8 + j] >> 4 | (p[4 + j] >> 6) << 4);
    }
}

/* x = d scale code - m min, 16 numbers a scale, both of 4 bits. */
static void read_q2_k(QuantBlock *b, const uint8_t *p) {
    for (int j = 0; j < 16; j++) {
        b->scale[j] = p[j] & 15;
        b->min[j] = p[j] >> 4;
    }
    memset(b->code, 0, 256);
    crumbs(b->code, p + 16, 0);
    crumbs(b->code + 128, p + 48, 0);
    b->d = u16_at(p + 80);
    b->m = u16_at(p + 82);
}

/* 16 scales of 6 bits, 32 too large: low halves in 8 bytes, upper two bits in 4. */
static void read_q3_k(QuantBlock *b, const uint8_t *p) {
    const uint8_t *low = p + 96, *top = p + 104;
    for (int j = 0; j < 16; j++) {
        int s = (low[j % 8] >> j / 8 * 4 & 15) | (top[j % 4] >> j / 4 * 2 & 3) << 4;
        b->scale[j] = (int8_t)(s - 32);
    }
    memset(b->code, 0, 256);
    crumbs(b->code, p + 32, 0);
    crumbs(b->code + 128, p + 64, 0);
    bits(b->code, p, 2);
    b->d = u16_at(p + 108);
}

/* x = d scale code - m min, 32 numbers a scale. Every 32 bytes hold 64 numbers. */
static void read_q4_k(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    b->m = u16_at(p + 2);
    scales_6(b, p + 4);
    for (int c = 0; c < 4; c++) halves(b->code + 64 * c, p + 16 + 32 * c, 32);
}

static void read_q5_k(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    b->m = u16_at(p + 2);
    scales_6(b, p + 4);
    for (int c = 0; c < 4; c++) halves(b->code + 64 * c, p + 48 + 32 * c, 32);
    bits(b->code, p + 16, 4);
}

/* x = d scale (code - 32), 16 numbers a scale of 8 bits. */
static void read_q6_k(QuantBlock *b, const uint8_t *p) {
    for (int c = 0; c < 2; c++) {
        halves(b->code + 128 * c, p + 64 * c, 64);
        crumbs(b->code + 128 * c, p + 128 + 32 * c, 4);
    }
    memcpy(b->scale, p + 192, 16);
    b->d = u16_at(p + 208);
}

/* As IQ4_NL's values, 32 numbers a scale of 6 bits, 32 too large. */
static void read_iq4_xs(QuantBlock *b, const uint8_t *p) {
    int top = u16_at(p + 2);
    b->d = u16_at(p);
    for (int j = 0; j < 8; j++) {
        int s = (p[4 + j / 2] >> j % 2 * 4 & 15) | (top >> 2 * j & 3) << 4;
        b->scale[j] = (int8_t)(s - 32);
        halves(b->code + 32 * j, p + 8 + 16 * j, 16);
    }
}

/* ---- panels ---------------------------------------------------------------------------------- */

/* A word of the low plane holds the low bits of numbers 4G..4G+3 for several G, one of the high
 * plane those above them: part i of a word, and how far up in its bytes it stands. */
static inline int64_t low_group(const Quant *t, int64_t word, int64_t i) {
    return 4 * (word / 4 * (8 / t->low) + i) + word % 4;
}
static inline int64_t high_group(const Quant *t, int64_t word, int64_t i) {
    return word * (8 / t->high) + i;
}
static inline uint32_t mask_of(int bits_n) { return 0x01010101u * ((1u << bits_n) - 1); }

static inline uint32_t word_at(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, 4);
    return w;
}

static inline __attribute__((always_inline)) void put(const Quant *t, uint8_t *panel,
                                                      const QuantBlock *b, int64_t r) {
    for (int64_t word = 0; word < t->block * t->low / 32; word++) {
        uint32_t w = 0;
        for (int i = 0; i < 8 / t->low; i++)
            w |= (word_at(b->code + 4 * low_group(t, word, i)) & mask_of(t->low)) << i * t->low;
        memcpy(panel + word * 64 + r * 4, &w, 4);
    }
    for (int64_t word = 0; word < t->block * t->high / 32; word++) {
        uint32_t w = 0;
        for (int i = 0; i < 8 / t->high; i++)
            w |= (word_at(b->code + 4 * high_group(t, word, i)) >> t->low & mask_of(t->high))
                 << i * t->high;
        memcpy(panel + quant_at_high(t) + word * 64 + r * 4, &w, 4);
    }
    memcpy(panel + quant_at_d(t) + 2 * r, &b->d, 2);
    if (t->min) memcpy(panel + quant_at_m(t) + 2 * r, &b->m, 2);
    for (int64_t j = 0; j < quant_subs(t); j++) {
        int half = t->halves ? b->min[j] << 4 : 0;
        panel[quant_at_scale(t) + 16 * j + r] = (uint8_t)(b->scale[j] | half);
        if (t->min && !t->halves) panel[quant_at_min(t) + 16 * j + r] = b->min[j];
    }
}

/* put, backwards: for the reference product and the tests. */
void quant_get(const Quant *t, QuantBlock *b, const uint8_t *panel, int64_t r) {
    memset(b->code, 0, sizeof b->code);
    for (int64_t word = 0; word < t->block * t->low / 32; word++)
        for (int i = 0; i < 8 / t->low; i++) {
            uint32_t w = word_at(panel + word * 64 + r * 4) >> i * t->low & mask_of(t->low);
            memcpy(b->code + 4 * low_group(t, word, i), &w, 4);
        }
    for (int64_t word = 0; word < t->block * t->high / 32; word++)
        for (int i = 0; i < 8 / t->high; i++) {
            uint8_t *code = b->code + 4 * high_group(t, word, i);
            uint32_t w = word_at(panel + quant_at_high(t) + word * 64 + r * 4);
            w = word_at(code) | (w >> i * t->high & mask_of(t->high)) << t->low;
            memcpy(code, &w, 4);
        }
    memcpy(&b->d, panel + quant_at_d(t) + 2 * r, 2);
    if (t->min) memcpy(&b->m, panel + quant_at_m(t) + 2 * r, 2);
    for (int64_t j = 0; j < quant_subs(t); j++) {
        uint8_t s = panel[quant_at_scale(t) + 16 * j + r];
        b->scale[j] = (int8_t)(t->halves ? s & 15 : s);
        if (t->min) b->min[j] = t->halves ? s >> 4 : panel[quant_at_min(t) + 16 * j + r];
    }
}

/* ---- numbers --------------------------------------------------------------------------------- */

float quant_d(const Quant *t, uint16_t d) { return t->exponent ? f32_of_bf16(d) : f32_of_f16(d); }

/* One rounding a number: d times a whole number below 2^24, with a minimum one fma. */
static inline __attribute__((always_inline)) void widen(const Quant *t, float *out,
                                                        const QuantBlock *b) {
    float d = quant_d(t, b->d), m = t->min ? f32_of_f16(b->m) : 0;
    int64_t sub = t->sub ? t->sub : t->block;
    for (int64_t j = 0; j < t->block / sub; j++, out += sub) {
        const uint8_t *code = b->code + j * sub;
        int scale = t->sub ? b->scale[j] : 1;
        float min = t->sub ? -(m * (float)b->min[j]) : m;
        for (int64_t k = 0; k < sub; k++) {
            float q = (float)(quant_value(t, code[k]) * scale);
            out[k] = t->min ? fmaf(d, q, min) : d * q;
        }
    }
}

/* Each type's own, so that its constants are known when they are compiled. */
#define Q(name, NAME, n_block, n_bytes)                                                            \
    void quant_put_##name(uint8_t *panel, const uint8_t *block, int64_t r) {                       \
        QuantBlock b;                                                                              \
        read_##name(&b, block);                                                                    \
        put(&quant_##name, panel, &b, r);                                                          \
    }                                                                                              \
    void quant_widen_##name(float *out, const uint8_t *block) {                                    \
        QuantBlock b;                                                                              \
        read_##name(&b, block);                                                                    \
        widen(&quant_##name, out, &b);                                                             \
    }
QUANT_LIST(Q)
#undef Q
