/* math.c -- exp, log, pow, sin, cos from basic operations and fma: the same bits on every CPU and
 * compiler, which no libm promises. Correct with FTZ and DAZ set.
 *
 * Polynomials are minimax (Remez exchange, weighted for relative error), their errors stated
 * beside them. "Exact" below is meant literally; each such claim carries its reason.
 * tests/kern/math.c measures the errors against long double and, for rope angles, against
 * correctly rounded tables. */
#include "kern/exp.h"
#include "kern/kern.h"
#include <math.h>

float exp_f32(float x) {
    if (x < EXP_LO) return 0;
    if (x > EXP_HI) return INFINITY;
    if (x != x) return x;
    /* The first fma is exact: the bits of x and of n * LN2_HI reach down to 2^-25 at most (for n
     * != 0), and |r| < 1/2. x >= EXP_LO keeps p * 2^n normal: n = -126 only comes with r > 0,
     * that is p > 1. */
    float n = rintf(x * EXP_LOG2E);
    float r = fmaf(n, -EXP_LN2_HI, x);
    r = fmaf(n, -EXP_LN2_LO, r);
    float p = EXP_C6;
    p = fmaf(p, r, EXP_C5);
    p = fmaf(p, r, EXP_C4);
    p = fmaf(p, r, EXP_C3);
    p = fmaf(p, r, EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return f32_of_bits(bits_of_f32(p) + ((uint32_t)(int32_t)n << 23));
}

/* log_f64 errs by 2^-53 relative, so the rounding to f32 is the correct one but for one case in
 * 2^28. */
float log_f32(float x) { return (float)log_f64((double)x); }

/* ---- f64 ------------------------------------------------------------------------------------- */

/* A number as the unevaluated sum hi + lo, |lo| <= ulp(hi)/2 or little more. */
typedef struct Pair {
    double hi, lo;
} Pair;

/* a + b exactly for |a| >= |b| or a = 0 (Dekker); otherwise the error is 2^-53 of |b|'s 2^-53. */
static Pair pair_sum(double a, double b) {
    double s = a + b;
    return (Pair){s, b - (s - a)};
}

/* c[0] + c[1] x + ... + c[n-1] x^(n-1), Horner. */
static double polynomial(const double *c, int n, double x) {
    double p = c[n - 1];
    for (int i = n - 2; i >= 0; i--) p = fma(p, x, c[i]);
    return p;
}

static double f64_of_bits(uint64_t u) {
    double d;
    memcpy(&d, &u, 8);
    return d;
}
static uint64_t bits_of_f64(double d) {
    uint64_t u;
    memcpy(&u, &d, 8);
    return u;
}
static double power_of_two(int64_t n) { return f64_of_bits((uint64_t)(n + 1023) << 52); }

/* exp(x.hi + x.lo), |x.lo| <= 2^-40. */
static double exp_pair(Pair x) {
    /* (e^y - 1 - y) / y^2 on |y| <= ln2/2: relative error of e^y 2^-57.9 */
    static const double Q[] = {0x1.000000000000ap-1,  0x1.55555555554fap-3,  0x1.555555555087cp-5,
                               0x1.1111111127be5p-7,  0x1.6c16c1842a126p-10, 0x1.a01a012a57b5ep-13,
                               0x1.a0199a0c66195p-16, 0x1.71df255235e0bp-19, 0x1.28ad72cd4ab37p-22,
                               0x1.ad7f6f0e24922p-26};
    if (x.hi < -708) return 0; /* near 2^-1022, where FTZ begins */
    if (x.hi > 709.78) return INFINITY;
    if (x.hi != x.hi) return x.hi;
    /* y + z = x - n ln2. The first fma is exact: for n != 0 the bits of x reach down to 2^-54 at
     * most (|x| > 0.34), those of n * LN2 to 2^-53, and |y| < 1/2. Then n * LN2_LO < 2^-45 is
     * taken off. */
    double n = rint(x.hi * 0x1.71547652b82fep+0);
    double exact = fma(n, -0x1.62e42fefa39efp-1, x.hi);
    Pair y = pair_sum(exact, fma(n, -0x1.abc9e3b39803fp-56, x.lo));
    /* e^(y.hi + y.lo) = 1 + y.hi + (y.hi^2 Q(y.hi) + y.lo e^y): 1 + y.hi is exact as a pair, and
     * the bracket is below 0.07, so its roundings are below 2^-56: the last addition is nearly
     * all the error. */
    double t = fma(y.hi * y.hi, polynomial(Q, COUNT(Q), y.hi), y.lo * (1 + y.hi));
    Pair one = pair_sum(1, y.hi);
    double p = one.hi + (one.lo + t);
    int64_t half = (int64_t)n / 2; /* twice, since 2^1024 is no number but p * 2^1024 may be */
    return p * power_of_two(half) * power_of_two((int64_t)n - half);
}

/* log(x) to about 2^-60 relative, for positive normal x.
 * x = 2^e m, sqrt(1/2) <= m < sqrt(2); s = f/(2+f) with f = m - 1, so log m = 2 atanh(s)
 * = 2s + 2s s^2 P(s^2). */
static Pair log_pair(double x) {
    /* (atanh(s)/s - 1)/s^2 as a polynomial in s^2, |s| <= 0.1716: relative error of atanh
     * 2^-66.7 */
    static const double P[] = {0x1.5555555555555p-2, 0x1.9999999999dffp-3, 0x1.249249242b410p-3,
                               0x1.c71c7258fdeaap-4, 0x1.745cde358dcdep-4, 0x1.3b20ab92520c2p-4,
                               0x1.0f5cc8c86c9ccp-4, 0x1.0f6314057d66bp-4};
    uint64_t u = bits_of_f64(x);
    /* Subtracting the bits of sqrt(1/2) makes the exponent field floor(log2(x / sqrt(1/2))). */
    int64_t e = ((int64_t)u - (int64_t)0x3fe6a09e667f3bcd) >> 52;
    /* exact: within a factor of 2 (Sterbenz) */
    double f = f64_of_bits(u - ((uint64_t)e << 52)) - 1;
    Pair t = pair_sum(2, f);
    Pair s = {f / t.hi, 0};
    /* the remainder of the division is exact */
    s.lo = fma(-s.hi, t.lo, fma(-s.hi, t.hi, f)) / t.hi;
    double z = s.hi * s.hi;
    double tail = 2 * fma(s.hi * z, polynomial(P, COUNT(P), z), s.lo);
    /* e * LN2_HI is exact: 41 bits times 11. It is at least 0.69 or 0, and |2s| < 0.35. */
    Pair sum = pair_sum((double)e * 0x1.62e42fefa3000p-1, 2 * s.hi);
    sum.lo += fma((double)e, 0x1.3de6af278ece6p-42, tail);
    return pair_sum(sum.hi, sum.lo);
}

double exp_f64(double x) { return exp_pair((Pair){x, 0}); }

static bool is_positive(double x) { return x >= 0x1p-1022 && x < INFINITY; }

double log_f64(double x) {
    if (is_positive(x)) return log_pair(x).hi;
    return x < 0 ? NAN : x < 1 ? -INFINITY : x; /* subnormals count as 0; inf and NaN stay */
}

double pow_f64(double x, double y) {
    if (!is_positive(x)) return NAN;
    Pair l = log_pair(x);
    double p = l.hi * y;
    return exp_pair((Pair){p, fma(l.lo, y, fma(l.hi, y, -p))});
}

/* Cody and Waite with three parts of pi/2 = P1 + P2 + P3 + O(2^-163) and fma; |x| < 2^30, so |n| <
 * 2^30.
 *   1. r = x - n P1 is exact: for n != 0 the bits of x reach down to 2^-53 at most (|x| > 0.78),
 *      those of n P1 to 2^-52, and |r| < 0.8.
 *   2. w = n P2 < 2^-23 with its rounding error by fma; r - w exactly as a pair, in either order of
 *      size.
 *   3. What is lost is the rounding of the low parts, about 2^-53 of 2^-76, and n times the rest
 *      of pi/2, 2^-133. The nearest a double comes to a multiple of pi/2 is about 2^-61: 2^-68
 *      relative at worst. */
static Pair reduce(double x, int64_t *quadrant) {
    CHECK(fabs(x) < 0x1p30);
    double n = rint(x * 0x1.45f306dc9c883p-1);
    double r = fma(-n, 0x1.921fb54442d18p+0, x);
    double w = n * 0x1.1a62633145c07p-54;
    double w_lo = fma(n, 0x1.1a62633145c07p-54, -w);
    double hi = r - w, back = r - hi; /* TwoSum (Knuth): no order of size is known */
    double lo = (back - w) + (r - (hi + back));
    lo -= fma(n, -0x1.f1976b7ed8fbcp-110, w_lo);
    *quadrant = (int64_t)n & 3;
    return pair_sum(hi, lo);
}

/* sin and cos of y.hi + y.lo on |y| <= pi/4, z = y^2:
 *   sin = y + (y z S(z) + y.lo cos y),   cos = 1 - z/2 + (z^2 C(z) - y.lo y). */
static double sin_pair(Pair y, double z) {
    /* (sin(y) - y)/y^3 in z: relative error of sin 2^-57.9 */
    static const double S[] = {-0x1.5555555555548p-3,  0x1.111111110f7cap-7,
                               -0x1.a01a019bfd382p-13, 0x1.71de356739353p-19,
                               -0x1.ae5e5a1c40cb6p-26, 0x1.5d8fb09a4b96cp-33};
    return y.hi + fma(y.hi * z, polynomial(S, COUNT(S), z), y.lo * fma(-0.5, z, 1));
}

static double cos_pair(Pair y, double z) {
    /* (cos(y) - 1 + z/2)/z^2 in z: relative error of cos 2^-64.0 */
    static const double C[] = {0x1.555555555554bp-5,  -0x1.6c16c16c14f91p-10,
                               0x1.a01a019c843c2p-16, -0x1.27e4f7eab6811p-22,
                               0x1.1ee9d7aafb806p-29, -0x1.8fa494c8efba9p-37};
    double z_lo = fma(y.hi, y.hi, -z); /* z is rounded; half of its error would be felt */
    Pair one = pair_sum(1, -0.5 * z);
    return one.hi + (one.lo + fma(z * z, polynomial(C, COUNT(C), z), -fma(0.5, z_lo, y.hi * y.lo)));
}

void sincos_f64(double x, double *sin, double *cos) {
    int64_t quadrant;
    Pair y = reduce(x, &quadrant);
    double z = y.hi * y.hi, s = sin_pair(y, z), c = cos_pair(y, z);
    *sin = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
    *cos = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}
