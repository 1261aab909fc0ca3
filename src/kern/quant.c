/* quant.c -- blocks of quantised types: taken apart as files have them, put into panels, widened.
 * quant.h says what a block is; docs/formats.md shows those of files to the byte. */
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

void quant_read_q4_0(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    halves(b->code, p + 2, 16);
}

void quant_read_q4_1(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    b->m = u16_at(p + 2);
    halves(b->code, p + 4, 16);
}

void quant_read_q5_0(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    halves(b->code, p + 6, 16);
    fifth_bits(b->code, p + 2);
}

void quant_read_q5_1(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    b->m = u16_at(p + 2);
    halves(b->code, p + 8, 16);
    fifth_bits(b->code, p + 4);
}

void quant_read_q8_0(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    for (int k = 0; k < 32; k++) b->code[k] = p[2 + k] ^ 0x80;
}

void quant_read_iq4_nl(QuantBlock *b, const uint8_t *p) { quant_read_q4_0(b, p); }

/* d = 2^(e - 128), half of what e means: the values are held doubled. 2^-128 and 2^-127 are
 * subnormal, and zero as everywhere. */
void quant_read_mxfp4(QuantBlock *b, const uint8_t *p) {
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

void quant_read_q2_k(QuantBlock *b, const uint8_t *p) {
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
void quant_read_q3_k(QuantBlock *b, const uint8_t *p) {
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

void quant_read_q4_k(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    b->m = u16_at(p + 2);
    scales_6(b, p + 4);
    for (int c = 0; c < 4; c++) halves(b->code + 64 * c, p + 16 + 32 * c, 32);
}

void quant_read_q5_k(QuantBlock *b, const uint8_t *p) {
    b->d = u16_at(p);
    b->m = u16_at(p + 2);
    scales_6(b, p + 4);
    for (int c = 0; c < 4; c++) halves(b->code + 64 * c, p + 48 + 32 * c, 32);
    bits(b->code, p + 16, 4);
}

void quant_read_q6_k(QuantBlock *b, const uint8_t *p) {
    for (int c = 0; c < 2; c++) {
        halves(b->code + 128 * c, p + 64 * c, 64);
        crumbs(b->code + 128 * c, p + 128 + 32 * c, 4);
    }
    memcpy(b->scale, p + 192, 16);
    b->d = u16_at(p + 208);
}

void quant_read_iq4_xs(QuantBlock *b, const uint8_t *p) {
    int top = u16_at(p + 2);
    b->d = u16_at(p);
    for (int j = 0; j < 8; j++) {
        int s = (p[4 + j / 2] >> j % 2 * 4 & 15) | (top >> 2 * j & 3) << 4;
        b->scale[j] = (int8_t)(s - 32);
        halves(b->code + 32 * j, p + 8 + 16 * j, 16);
    }
}

/* ---- panels ---------------------------------------------------------------------------------- */

/* Where the low or the high bits of numbers 4G..4G+3 stand: word, and how far up in its bytes. */
typedef struct Place {
    int64_t word;
    int up;
} Place;

static Place low_place(const Quant *t, int64_t G) {
    int64_t S = G / 4, per = 8 / t->low;
    return (Place){S / per * 4 + G % 4, (int)(S % per) * t->low};
}

static Place high_place(const Quant *t, int64_t G) {
    int64_t per = 8 / t->high;
    return (Place){G / per, (int)(G % per) * t->high};
}

static uint32_t mask_of(int bits_n) { return 0x01010101u * ((1u << bits_n) - 1); }

static void word_or(uint8_t *plane, int64_t r, Place at, uint32_t word) {
    uint8_t *p = plane + at.word * 64 + r * 4;
    uint32_t w;
    memcpy(&w, p, 4);
    w |= word << at.up;
    memcpy(p, &w, 4);
}

static uint32_t word_at(const uint8_t *plane, int64_t r, Place at) {
    uint32_t w;
    memcpy(&w, plane + at.word * 64 + r * 4, 4);
    return w >> at.up;
}

void quant_put(const Quant *t, uint8_t *panel, const QuantBlock *b, int64_t r) {
    for (int64_t G = 0; G < t->block / 4; G++) {
        uint32_t w;
        memcpy(&w, b->code + 4 * G, 4);
        word_or(panel, r, low_place(t, G), w & mask_of(t->low));
        if (t->high)
            word_or(panel + quant_at_high(t), r, high_place(t, G), w >> t->low & mask_of(t->high));
    }
    memcpy(panel + quant_at_d(t) + 2 * r, &b->d, 2);
    if (t->min) memcpy(panel + quant_at_m(t) + 2 * r, &b->m, 2);
    for (int64_t j = 0; j < quant_subs(t); j++) {
        int half = t->halves ? b->min[j] << 4 : 0;
        panel[quant_at_scale(t) + 16 * j + r] = (uint8_t)(b->scale[j] | half);
        if (t->min && !t->halves) panel[quant_at_min(t) + 16 * j + r] = b->min[j];
    }
}

void quant_get(const Quant *t, QuantBlock *b, const uint8_t *panel, int64_t r) {
    for (int64_t G = 0; G < t->block / 4; G++) {
        uint32_t w = word_at(panel, r, low_place(t, G)) & mask_of(t->low);
        if (t->high)
            w |= (word_at(panel + quant_at_high(t), r, high_place(t, G)) & mask_of(t->high))
                 << t->low;
        memcpy(b->code + 4 * G, &w, 4);
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

void quant_widen(const Quant *t, float *out, const QuantBlock *b) {
    float d = quant_d(t, b->d), m = t->min ? f32_of_f16(b->m) : 0;
    for (int64_t k = 0; k < t->block; k++) {
        int64_t j = t->sub ? k / t->sub : 0;
        float q = (float)(quant_value(t, b->code[k]) * (t->sub ? b->scale[j] : 1));
        float min = t->sub ? -(m * (float)b->min[j]) : m;
        out[k] = t->min ? fmaf(d, q, min) : d * q;
    }
}
