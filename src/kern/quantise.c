/* quantise.c -- f32 numbers into blocks of the quantised types.
 *
 * A block is a few numbers that share a scale d (and a minimum m): x = d q, or d q + m, with q a
 * small integer. Given the q, the best d and m are those of least squares; given d and m, the best
 * q is the nearest. Neither knows the other, so a fit tries some twenty first guesses of d around
 * the one that just holds the largest number, takes for each the nearest q and then the least
 * squares, and keeps what leaves the smallest error. The K types store the scales of their small
 * blocks as integers too; there the neighbours of the nearest integer are tried as well.
 *
 * Sums are over at most 32 numbers, in order, in f32. */
#include "kern/kern.h"
#include <math.h>

enum { GROUP_MAX = 32, SUPER = 256 };

/* ---- numbers --------------------------------------------------------------------------------- */

/* To nearest even, with subnormals and infinities, in whole numbers: the same on every CPU. */
uint16_t f16_of_f32(float f) {
    uint32_t u = bits_of_f32(f), sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (magnitude >= 0x38800000u) /* normal: 13 bits go, exponent bias 127 becomes 15 */
        return (uint16_t)(sign
                          | (((magnitude + 0xfffu + (magnitude >> 13 & 1u)) >> 13) - 0x1c000u));
    int shift = 126 - (int)(magnitude >> 23); /* a multiple of 2^-24 */
    if (shift > 24) return (uint16_t)sign;
    uint32_t fraction = (magnitude & 0x7fffffu) | 0x800000u, half = 1u << (shift - 1);
    uint32_t low = fraction & (2 * half - 1), kept = fraction >> shift;
    return (uint16_t)(sign | (kept + (low > half || (low == half && (kept & 1u)))));
}

/* The f16 nearest to v, as f32: what a reader of the block will see. */
static float stored(float v, uint8_t *to) {
    uint16_t h = f16_of_f32(v);
    memcpy(to, &h, 2);
    return f32_of_f16(h);
}

/* To nearest even; |v| < 2^22. */
static inline float nearest(float v) { return (v + 0x1.8p23f) - 0x1.8p23f; }

static inline float limited(float v, float lo, float hi) {
    v = v < lo ? lo : v;
    return v > hi ? hi : v;
}

/* Smaller numbers are nothing in any type, since f16 ends at 2^-25; larger ones are in none. */
#define NOTHING 0x1p-40f
#define MOST    0x1p30f

static float largest(const float *x, int n) {
    float most = 0;
    for (int i = 0; i < n; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

/* ---- fits ------------------------------------------------------------------------------------ */

enum { GUESSES = 20 };

/* d of x = d q with lo <= q <= -lo - 1. The largest number goes to lo, which reaches one further
 * than the other end; or to that end, with the other sign. */
static float fit_scale(const float *x, int n, float lo) {
    float most = 0, best = 0, best_d = 0;
    for (int i = 0; i < n; i++) most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    if (fabsf(most) < NOTHING) return 0;
    for (int k = 0; k <= GUESSES; k++) {
        float end = k < GUESSES ? lo + 0.1f * (float)(k - 8) : -lo - 1, inverse = end / most;
        float xq = 0, qq = 0;
        for (int i = 0; i < n; i++) {
            float q = limited(nearest(x[i] * inverse), lo, -lo - 1);
            xq += x[i] * q;
            qq += q * q;
        }
        /* The error is the sum of x^2 less this. */
        if (qq > 0 && xq * xq / qq > best) best = xq * xq / qq, best_d = xq / qq;
    }
    return best_d;
}

typedef struct Affine {
    float d, m;
} Affine;

/* d and m of x = d q + m with 0 <= q <= top; below: m <= 0. */
static Affine fit_affine(const float *x, int n, float top, bool below) {
    float lo = x[0], hi = x[0], sum = 0, least = INFINITY;
    for (int i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
        sum += x[i];
    }
    if (below && lo > 0) lo = 0;
    Affine best = {0, lo};
    if (hi - lo < NOTHING) return best;
    for (int k = 0; k <= GUESSES; k++) {
        float inverse = (top - 1 + 0.1f * (float)k) / (hi - lo), q[GROUP_MAX];
        float s = 0, xq = 0, qq = 0, error = 0;
        for (int i = 0; i < n; i++) {
            q[i] = limited(nearest((x[i] - lo) * inverse), 0, top);
            s += q[i];
            xq += x[i] * q[i];
            qq += q[i] * q[i];
        }
        float det = (float)n * qq - s * s;
        if (!(det > 0)) continue;
        Affine f = {((float)n * xq - sum * s) / det, (qq * sum - s * xq) / det};
        if (below && f.m > 0) f = (Affine){xq / qq, 0};
        for (int i = 0; i < n; i++) {
            float e = f.d * q[i] + f.m - x[i];
            error += e * e;
        }
        if (error < least && f.d > 0) least = error, best = f;
    }
    return best;
}

/* The nearest q of each number, as bytes above `zero`, and the squared error that they leave. */
static float fill(uint8_t *q, const float *x, int n, float d, float m, float lo, float hi,
                  int zero) {
    float inverse = d != 0 ? 1 / d : 0, error = 0;
    for (int i = 0; i < n; i++) {
        float v = limited(nearest(limited((x[i] - m) * inverse, -4096, 4096)), lo, hi);
        float e = d * v + m - x[i];
        error += e * e;
        q[i] = (uint8_t)((int)v + zero);
    }
    return error;
}

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

/* 32 numbers of 4 bits: i in the low half of byte i, i + 16 in the high half. */
static void put_nibbles(uint8_t *to, const uint8_t *q) {
    for (int i = 0; i < 16; i++) to[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

/* The fifth bits, number i in bit i. */
static void put_fifths(uint8_t *to, const uint8_t *q) {
    uint32_t high = 0;
    for (int i = 0; i < 32; i++) high |= (uint32_t)(q[i] >> 4 & 1) << i;
    memcpy(to, &high, 4);
}

/* Nothing to search: with 255 steps the largest number at the end of the range is as good as
 * any. */
static bool put_q8_0(uint8_t *to, const float *x) {
    uint8_t q[32];
    float d = stored(largest(x, 32) / 127, to);
    fill(q, x, 32, d, 0, -127, 127, 0);
    memcpy(to + 2, q, 32);
    return isfinite(d);
}

static bool put_q4_0(uint8_t *to, const float *x) {
    uint8_t q[32];
    float d = stored(fit_scale(x, 32, -8), to);
    fill(q, x, 32, d, 0, -8, 7, 8);
    put_nibbles(to + 2, q);
    return isfinite(d);
}

static bool put_q5_0(uint8_t *to, const float *x) {
    uint8_t q[32];
    float d = stored(fit_scale(x, 32, -16), to);
    fill(q, x, 32, d, 0, -16, 15, 16);
    put_fifths(to + 2, q);
    put_nibbles(to + 6, q);
    return isfinite(d);
}

/* The stored d and m are rounded, so the codes are chosen by them and not by the fit's. */
static bool put_affine(uint8_t *to, const float *x, float top, uint8_t *q) {
    Affine f = fit_affine(x, 32, top, false);
    float d = stored(f.d, to), m = stored(f.m, to + 2);
    fill(q, x, 32, d, m, 0, top, 0);
    return isfinite(d) && isfinite(m);
}

static bool put_q4_1(uint8_t *to, const float *x) {
    uint8_t q[32];
    bool fits = put_affine(to, x, 15, q);
    put_nibbles(to + 4, q);
    return fits;
}

static bool put_q5_1(uint8_t *to, const float *x) {
    uint8_t q[32];
    bool fits = put_affine(to, x, 31, q);
    put_fifths(to + 4, q);
    put_nibbles(to + 8, q);
    return fits;
}

/* ---- blocks of 256 --------------------------------------------------------------------------- */

/* Q4_K and Q5_K: 8 groups of 32, x = (d s) q - (dmin t), s and t of 6 bits. */
typedef struct Grid {
    float d, dmin;
    uint8_t s[8], t[8], q[SUPER];
} Grid;

/* The best s and t of group g: those next to what the fit asks for. */
static void grid_group(Grid *r, const float *x, int g, Affine f, float top) {
    uint8_t q[GROUP_MAX];
    float least = INFINITY;
    float s0 = r->d > 0 ? limited(nearest(f.d / r->d), 0, 63) : 0;
    float t0 = r->dmin > 0 ? limited(nearest(-f.m / r->dmin), 0, 63) : 0;
    for (float s = s0 - 1; s <= s0 + 1; s++)
        for (float t = t0 - 1; t <= t0 + 1; t++) {
            if (s < 0 || s > 63 || t < 0 || t > 63) continue;
            float error = fill(q, x, 32, r->d * s, -r->dmin * t, 0, top, 0);
            if (!(error < least)) continue;
            least = error;
            r->s[g] = (uint8_t)s, r->t[g] = (uint8_t)t;
            memcpy(r->q + 32 * g, q, 32);
        }
}

/* d and dmin hold the largest scale and minimum at 63; then each group takes its best whole
 * numbers. */
static bool grid_fit(Grid *r, uint8_t *to, const float *x, float top) {
    Affine f[8];
    float scale = 0, below = 0;
    for (int g = 0; g < 8; g++) {
        f[g] = fit_affine(x + 32 * g, 32, top, true);
        scale = f[g].d > scale ? f[g].d : scale;
        below = -f[g].m > below ? -f[g].m : below;
    }
    r->d = stored(scale / 63, to), r->dmin = stored(below / 63, to + 2);
    if (!isfinite(r->d) || !isfinite(r->dmin)) return false;
    for (int g = 0; g < 8; g++) grid_group(r, x + 32 * g, g, f[g], top);
    return true;
}

/* 16 numbers of 6 bits in 12 bytes: those of the first four groups in the low bits of a byte each,
 * the rest as nibbles, with their upper two bits above the former. */
static void put_scales(uint8_t *to, const uint8_t *s, const uint8_t *t) {
    for (int g = 0; g < 4; g++) {
        to[g] = (uint8_t)(s[g] | (s[g + 4] >> 4) << 6);
        to[g + 4] = (uint8_t)(t[g] | (t[g + 4] >> 4) << 6);
        to[g + 8] = (uint8_t)((s[g + 4] & 15) | (t[g + 4] & 15) << 4);
    }
}

/* Groups 2j and 2j+1 are the low and the high halves of 32 bytes. */
static void put_grid(uint8_t *to, const uint8_t *q) {
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 32; i++)
            to[32 * j + i] = (uint8_t)((q[64 * j + i] & 15) | (q[64 * j + 32 + i] & 15) << 4);
}

static bool put_q4_k(uint8_t *to, const float *x) {
    Grid r;
    if (!grid_fit(&r, to, x, 15)) return false;
    put_scales(to + 4, r.s, r.t);
    put_grid(to + 16, r.q);
    return true;
}

static bool put_q5_k(uint8_t *to, const float *x) {
    Grid r;
    if (!grid_fit(&r, to, x, 31)) return false;
    put_scales(to + 4, r.s, r.t);
    for (int i = 0; i < 32; i++) { /* the fifth bit of group g is bit g of byte i */
        to[16 + i] = 0;
        for (int g = 0; g < 8; g++) to[16 + i] |= (uint8_t)((r.q[32 * g + i] >> 4 & 1) << g);
    }
    put_grid(to + 48, r.q);
    return true;
}

/* Q6_K: 16 groups of 16, x = (d s) q, s an int8, q of 6 bits above 32. */
static bool put_q6_k(uint8_t *to, const float *x) {
    uint8_t q[SUPER], tried[16];
    int8_t s[16];
    float f[16], most = 0;
    for (int g = 0; g < 16; g++) {
        f[g] = fit_scale(x + 16 * g, 16, -32);
        most = fabsf(f[g]) > fabsf(most) ? f[g] : most;
    }
    float d = stored(most / -128, to + 208);
    if (!isfinite(d)) return false;
    for (int g = 0; g < 16; g++) {
        float s0 = d != 0 ? limited(nearest(f[g] / d), -128, 127) : 0, least = INFINITY;
        for (float v = s0 - 1; v <= s0 + 1; v++) {
            if (v < -128 || v > 127) continue;
            float error = fill(tried, x + 16 * g, 16, d * v, 0, -32, 31, 32);
            if (!(error < least)) continue;
            least = error;
            s[g] = (int8_t)v;
            memcpy(q + 16 * g, tried, 16);
        }
    }
    for (int h = 0; h < 2; h++) /* halves of 128: 64 bytes of low, 32 of high bits */
        for (int i = 0; i < 32; i++) {
            const uint8_t *p = q + 128 * h + i;
            to[64 * h + i] = (uint8_t)((p[0] & 15) | (p[64] & 15) << 4);
            to[64 * h + 32 + i] = (uint8_t)((p[32] & 15) | (p[96] & 15) << 4);
            to[128 + 32 * h + i] =
                (uint8_t)(p[0] >> 4 | p[32] >> 4 << 2 | p[64] >> 4 << 4 | p[96] >> 4 << 6);
        }
    memcpy(to + 192, s, 16);
    return true;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static const struct {
    DType type;
    bool (*put)(uint8_t *to, const float *x);
} quantisers[] = {
    {DTYPE_Q8_0, put_q8_0}, {DTYPE_Q4_0, put_q4_0}, {DTYPE_Q4_1, put_q4_1}, {DTYPE_Q5_0, put_q5_0},
    {DTYPE_Q5_1, put_q5_1}, {DTYPE_Q4_K, put_q4_k}, {DTYPE_Q5_K, put_q5_k}, {DTYPE_Q6_K, put_q6_k},
};

static int quantiser_of(DType type) {
    for (int i = 0; i < COUNT(quantisers); i++)
        if (quantisers[i].type == type) return i;
    return -1;
}

bool type_written(DType type) {
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16 || quantiser_of(type) >= 0;
}

/* Floats: false for those that are infinite or NaN, before or after. */
static bool floats_write(uint8_t *to, DType type, const float *x, int64_t n) {
    bool fits = true;
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = type == DTYPE_F16 ? f16_of_f32(x[i]) : bf16_of_f32(x[i]);
        uint16_t infinite = type == DTYPE_F16 ? 0x7c00 : 0x7f80;
        memcpy(to + 2 * i, &h, 2);
        fits &= (h & infinite) != infinite;
    }
    return fits;
}

static bool blocks_write(uint8_t *to, DType type, const float *x, int64_t n) {
    bool (*put)(uint8_t *, const float *) = quantisers[quantiser_of(type)].put, fits = true;
    int64_t block = dtype_block(type), bytes = dtype_bytes(type, block);
    uint32_t before = float_mode_enter(); /* the same bits whoever calls */
    for (int64_t i = 0; i < n; i++) fits &= fabsf(x[i]) <= MOST;
    for (int64_t i = 0; i < n / block && fits; i++) fits = put(to + i * bytes, x + i * block);
    float_mode_leave(before);
    return fits;
}

bool numbers_write(void *to, DType type, const float *x, int64_t n) {
    CHECK(type_written(type) && n % dtype_block(type) == 0);
    bool finite = true;
    for (int64_t i = 0; i < n; i++) finite &= (bits_of_f32(x[i]) & 0x7f800000u) != 0x7f800000u;
    if (!finite) return false;
    if (type == DTYPE_F32) return memcpy(to, x, (size_t)n * 4), true;
    if (dtype_block(type) == 1) return floats_write(to, type, x, n);
    return blocks_write(to, type, x, n);
}
