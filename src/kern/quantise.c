/* quantise.c -- f32 numbers into blocks of the quantised types.
 *
 * A block is a few numbers that share a scale d (and a minimum m): x = d q, or d q + m, with q a
 * small integer. Given the q, the best d and m are those of least squares; given d and m, the best
 * q is the nearest. Neither knows the other, so a fit tries some twenty first guesses of d around
 * the one that just holds the largest number, takes for each the nearest q and then the least
 * squares, and keeps what leaves the smallest error. The K types store the scales of their small
 * blocks as integers too; there the neighbours of the nearest integer are tried as well.
 *
 * Sums are over at most 32 numbers, in order, in f32. Four groups of numbers are fitted side by
 * side, one in each lane of a vector, which leaves the order of each sum as it is: Four x[i] are
 * the i-th numbers of four groups. Vectors of 16 bytes are what every CPU has, and gcc and clang
 * write them as operators. */
#include "kern/kern.h"
#include <math.h>

enum { GROUP = 32, SUPER = 256, LANES = 4 };

typedef float Four __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));

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

static inline Four four(float v) { return (Four){v, v, v, v}; }

/* v in the lanes where `where` is set, else w. */
static inline Four chosen(FourInts where, Four v, Four w) {
    return (Four)(((FourInts)v & where) | ((FourInts)w & ~where));
}

static inline Four magnitude(Four v) {
    const int32_t all = 0x7fffffff;
    return (Four)((FourInts)v & (FourInts){all, all, all, all});
}

/* To nearest even; |v| < 2^22. */
static inline Four nearest(Four v) { return (v + four(0x1.8p23f)) - four(0x1.8p23f); }

static inline Four limited(Four v, float lo, float hi) {
    v = chosen(v < four(lo), four(lo), v);
    return chosen(v > four(hi), four(hi), v);
}

/* 1 / v, and 0 for 0. */
static inline Four inverse_of(Four v) { return chosen(v != four(0), four(1) / v, four(0)); }

/* The f16 nearest to each, for four blocks `stride` bytes apart, as f32. false: one is infinite. */
static bool stored_four(Four *v, uint8_t *to, int64_t stride) {
    bool finite = true;
    for (int g = 0; g < LANES; g++) {
        (*v)[g] = stored((*v)[g], to + g * stride);
        finite &= isfinite((*v)[g]) != 0;
    }
    return finite;
}

/* Four groups of n numbers that follow each other, side by side. */
static void side_by_side(Four *to, const float *x, int n) {
    for (int i = 0; i < n; i++) to[i] = (Four){x[i], x[n + i], x[2 * n + i], x[3 * n + i]};
}

/* Smaller numbers are nothing in any type, since f16 ends at 2^-25; larger ones are in none. */
#define NOTHING 0x1p-40f
#define MOST    0x1p30f

static Four largest(const Four *x, int n) {
    Four most = four(0);
    for (int i = 0; i < n; i++) most = chosen(magnitude(x[i]) > magnitude(most), x[i], most);
    return most;
}

/* ---- fits ------------------------------------------------------------------------------------ */

enum { GUESSES = 20 };

/* d of x = d q with lo <= q <= -lo - 1. The largest number goes to lo, which reaches one further
 * than the other end; or to that end, with the other sign. */
static Four fit_scale(const Four *x, int n, float lo) {
    Four most = largest(x, n), best = four(0), best_d = four(0);
    for (int k = 0; k <= GUESSES; k++) {
        float end = k < GUESSES ? lo + 0.1f * (float)(k - 8) : -lo - 1;
        Four inverse = four(end) / most, xq = four(0), qq = four(0);
        for (int i = 0; i < n; i++) {
            Four q = limited(nearest(x[i] * inverse), lo, -lo - 1);
            xq += x[i] * q;
            qq += q * q;
        }
        /* The error is the sum of x^2 less this. */
        Four gain = xq * xq / qq;
        FourInts better = (qq > four(0)) & (gain > best);
        best = chosen(better, gain, best);
        best_d = chosen(better, xq / qq, best_d);
    }
    return chosen(magnitude(most) < four(NOTHING), four(0), best_d);
}

typedef struct Affine {
    Four d, m;
} Affine;

/* Least squares for one guess of d, and the squared error that it leaves. below: m <= 0. */
static Affine affine_of(const Four *x, Four lo, Four inverse, Four sum, float top, bool below,
                        Four *error, FourInts *valid) {
    Four q[GROUP], s = four(0), xq = s, qq = s;
    for (int i = 0; i < GROUP; i++) {
        q[i] = limited(nearest((x[i] - lo) * inverse), 0, top);
        s += q[i];
        xq += x[i] * q[i];
        qq += q[i] * q[i];
    }
    const Four n = four(GROUP), det = n * qq - s * s;
    Affine f = {(n * xq - sum * s) / det, (qq * sum - s * xq) / det};
    if (below) {
        FourInts above = f.m > four(0);
        f = (Affine){chosen(above, xq / qq, f.d), chosen(above, four(0), f.m)};
    }
    *error = four(0);
    for (int i = 0; i < GROUP; i++) {
        Four e = f.d * q[i] + f.m - x[i];
        *error += e * e;
    }
    *valid = (det > four(0)) & (f.d > four(0));
    return f;
}

/* d and m of x = d q + m with 0 <= q <= top; below: m <= 0. */
static Affine fit_affine(const Four *x, float top, bool below) {
    Four lo = x[0], hi = x[0], sum = four(0), least = four(INFINITY);
    for (int i = 0; i < GROUP; i++) {
        lo = chosen(x[i] < lo, x[i], lo);
        hi = chosen(x[i] > hi, x[i], hi);
        sum += x[i];
    }
    if (below) lo = chosen(lo > four(0), four(0), lo);
    Affine best = {four(0), lo};
    const FourInts fits = ~(hi - lo < four(NOTHING));
    for (int k = 0; k <= GUESSES; k++) {
        FourInts valid;
        Four error, inverse = four(top - 1 + 0.1f * (float)k) / (hi - lo);
        Affine f = affine_of(x, lo, inverse, sum, top, below, &error, &valid);
        FourInts better = fits & valid & (error < least);
        least = chosen(better, error, least);
        best = (Affine){chosen(better, f.d, best.d), chosen(better, f.m, best.m)};
    }
    return best;
}

/* The nearest q of a number, inverse being 1 / d. */
static inline Four code_of(Four x, Four m, Four inverse, float lo, float hi) {
    return limited(nearest(limited((x - m) * inverse, -4096, 4096)), lo, hi);
}

/* The squared error that the nearest q of n numbers leave. */
static Four error_of(const Four *x, int n, Four d, Four m, float lo, float hi) {
    Four inverse = inverse_of(d), error = four(0);
    for (int i = 0; i < n; i++) {
        Four e = d * code_of(x[i], m, inverse, lo, hi) + m - x[i];
        error += e * e;
    }
    return error;
}

/* The nearest q as bytes above `zero`, group after group. */
static void fill(uint8_t *q, const Four *x, int n, Four d, Four m, float lo, float hi, int zero) {
    Four inverse = inverse_of(d);
    for (int i = 0; i < n; i++) {
        Four v = code_of(x[i], m, inverse, lo, hi);
        for (int g = 0; g < LANES; g++) q[g * n + i] = (uint8_t)((int)v[g] + zero);
    }
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
static bool put_q8_0(uint8_t *to, const Four *x) {
    uint8_t q[LANES][GROUP];
    Four d = magnitude(largest(x, GROUP)) / four(127);
    bool finite = stored_four(&d, to, 34);
    fill(q[0], x, GROUP, d, four(0), -127, 127, 0);
    for (int g = 0; g < LANES; g++) memcpy(to + 34 * g + 2, q[g], GROUP);
    return finite;
}

static bool put_q4_0(uint8_t *to, const Four *x) {
    uint8_t q[LANES][GROUP];
    Four d = fit_scale(x, GROUP, -8);
    bool finite = stored_four(&d, to, 18);
    fill(q[0], x, GROUP, d, four(0), -8, 7, 8);
    for (int g = 0; g < LANES; g++) put_nibbles(to + 18 * g + 2, q[g]);
    return finite;
}

static bool put_q5_0(uint8_t *to, const Four *x) {
    uint8_t q[LANES][GROUP];
    Four d = fit_scale(x, GROUP, -16);
    bool finite = stored_four(&d, to, 22);
    fill(q[0], x, GROUP, d, four(0), -16, 15, 16);
    for (int g = 0; g < LANES; g++) {
        put_fifths(to + 22 * g + 2, q[g]);
        put_nibbles(to + 22 * g + 6, q[g]);
    }
    return finite;
}

/* The stored d and m are rounded, so the codes are chosen by them and not by the fit's. */
static bool put_affine(uint8_t *to, int64_t bytes, const Four *x, float top, uint8_t *q) {
    Affine f = fit_affine(x, top, false);
    bool finite = stored_four(&f.d, to, bytes);
    finite &= stored_four(&f.m, to + 2, bytes);
    fill(q, x, GROUP, f.d, f.m, 0, top, 0);
    return finite;
}

static bool put_q4_1(uint8_t *to, const Four *x) {
    uint8_t q[LANES][GROUP];
    bool finite = put_affine(to, 20, x, 15, q[0]);
    for (int g = 0; g < LANES; g++) put_nibbles(to + 20 * g + 4, q[g]);
    return finite;
}

static bool put_q5_1(uint8_t *to, const Four *x) {
    uint8_t q[LANES][GROUP];
    bool finite = put_affine(to, 24, x, 31, q[0]);
    for (int g = 0; g < LANES; g++) {
        put_fifths(to + 24 * g + 4, q[g]);
        put_nibbles(to + 24 * g + 8, q[g]);
    }
    return finite;
}

/* ---- blocks of 256 --------------------------------------------------------------------------- */

/* Q4_K and Q5_K: 8 groups of 32, x = (d s) q - (dmin t), s and t of 6 bits. */
typedef struct Grid {
    float d, dmin;
    uint8_t s[8], t[8], q[SUPER];
} Grid;

/* The whole number nearest to f / unit. */
static Four units(Four f, float unit, float lo, float hi) {
    return unit != 0 ? limited(nearest(f / four(unit)), lo, hi) : four(0);
}

/* The best s and t of groups g..g+3: those next to what the fit asks for. */
static void grid_groups(Grid *r, const Four *x, int g, Affine f, float top) {
    const Four s0 = units(f.d, r->d, 0, 63), t0 = units(-f.m, r->dmin, 0, 63);
    Four least = four(INFINITY), best_s = s0, best_t = t0;
    for (float i = -1; i <= 1; i++)
        for (float j = -1; j <= 1; j++) {
            Four s = s0 + four(i), t = t0 + four(j);
            Four error = error_of(x, GROUP, four(r->d) * s, four(-r->dmin) * t, 0, top);
            FourInts better = (s >= four(0)) & (s <= four(63)) & (t >= four(0)) & (t <= four(63))
                              & (error < least);
            least = chosen(better, error, least);
            best_s = chosen(better, s, best_s);
            best_t = chosen(better, t, best_t);
        }
    fill(r->q + GROUP * g, x, GROUP, four(r->d) * best_s, four(-r->dmin) * best_t, 0, top, 0);
    for (int l = 0; l < LANES; l++)
        r->s[g + l] = (uint8_t)best_s[l], r->t[g + l] = (uint8_t)best_t[l];
}

/* d and dmin hold the largest scale and minimum at 63; then each group takes its best whole
 * numbers. */
static bool grid_fit(Grid *r, uint8_t *to, const float *x, float top) {
    Four side[2][GROUP];
    Affine f[2];
    float scale = 0, below = 0;
    for (int h = 0; h < 2; h++) {
        side_by_side(side[h], x + LANES * GROUP * h, GROUP);
        f[h] = fit_affine(side[h], top, true);
        for (int l = 0; l < LANES; l++) {
            scale = f[h].d[l] > scale ? f[h].d[l] : scale;
            below = -f[h].m[l] > below ? -f[h].m[l] : below;
        }
    }
    r->d = stored(scale / 63, to), r->dmin = stored(below / 63, to + 2);
    if (!isfinite(r->d) || !isfinite(r->dmin)) return false;
    for (int h = 0; h < 2; h++) grid_groups(r, side[h], LANES * h, f[h], top);
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

/* The best s of four groups: those next to what the fit asks for. */
static Four scale_near(const Four *x, Four f, float d) {
    const Four s0 = units(f, d, -128, 127);
    Four least = four(INFINITY), best = s0;
    for (float i = -1; i <= 1; i++) {
        Four s = s0 + four(i), error = error_of(x, 16, four(d) * s, four(0), -32, 31);
        FourInts better = (s >= four(-128)) & (s <= four(127)) & (error < least);
        least = chosen(better, error, least);
        best = chosen(better, s, best);
    }
    return best;
}

/* Q6_K: 16 groups of 16, x = (d s) q, s an int8, q of 6 bits above 32. */
static bool put_q6_k(uint8_t *to, const float *x) {
    Four side[4][16], f[4];
    uint8_t q[SUPER];
    int8_t s[16];
    float most = 0;
    for (int h = 0; h < 4; h++) {
        side_by_side(side[h], x + 64 * h, 16);
        f[h] = fit_scale(side[h], 16, -32);
        for (int l = 0; l < LANES; l++) most = fabsf(f[h][l]) > fabsf(most) ? f[h][l] : most;
    }
    float d = stored(most / -128, to + 208);
    if (!isfinite(d)) return false;
    for (int h = 0; h < 4; h++) {
        Four best = scale_near(side[h], f[h], d);
        fill(q + 64 * h, side[h], 16, four(d) * best, four(0), -32, 31, 32);
        for (int l = 0; l < LANES; l++) s[4 * h + l] = (int8_t)best[l];
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

/* Four blocks of 32 that follow each other, or one of 256. */
static const struct {
    DType type;
    bool (*put_four)(uint8_t *to, const Four *x);
    bool (*put)(uint8_t *to, const float *x);
} quantisers[] = {
    {DTYPE_Q8_0, put_q8_0, NULL}, {DTYPE_Q4_0, put_q4_0, NULL}, {DTYPE_Q4_1, put_q4_1, NULL},
    {DTYPE_Q5_0, put_q5_0, NULL}, {DTYPE_Q5_1, put_q5_1, NULL}, {DTYPE_Q4_K, NULL, put_q4_k},
    {DTYPE_Q5_K, NULL, put_q5_k}, {DTYPE_Q6_K, NULL, put_q6_k},
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

/* n <= 4 blocks; zeros stand in for those that are missing. */
static bool four_write(uint8_t *to, int i, const float *x, int64_t n) {
    float all[LANES * GROUP] = {0};
    uint8_t out[LANES * GROUP * 2];
    Four side[GROUP];
    memcpy(all, x, (size_t)(n * GROUP) * sizeof *x);
    side_by_side(side, all, GROUP);
    bool fits = quantisers[i].put_four(out, side);
    memcpy(to, out, (size_t)dtype_bytes(quantisers[i].type, n * GROUP));
    return fits;
}

static bool blocks_write(uint8_t *to, DType type, const float *x, int64_t n) {
    const int q = quantiser_of(type);
    const int64_t step = quantisers[q].put ? SUPER : LANES * GROUP;
    bool fits = true;
    uint32_t before = float_mode_enter(); /* the same bits whoever calls */
    for (int64_t i = 0; i < n; i++) fits &= fabsf(x[i]) <= MOST;
    for (int64_t i = 0; i < n && fits; i += step) {
        uint8_t *out = to + dtype_bytes(type, i);
        fits = quantisers[q].put ? quantisers[q].put(out, x + i)
                                 : four_write(out, q, x + i, MIN(step, n - i) / GROUP);
    }
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
