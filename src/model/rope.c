/* rope.c -- rotary positions: frequencies with their scalings, and the scale of attention scores.
 *
 * All of it is f64 by base's own functions and is rounded to f32 last (cos and sin in the table
 * that a step makes, the score scale here), so tables are the same bits everywhere. The rotation
 * itself is kern's `rope`; its backward is the inverse rotation, called from gqa.c and mla.c.
 * Formulas: docs/math/rope.md. */
#include "model/layer.h"
#include <math.h>

/* floor and ceil of the small numbers below, by rint, which the contract allows. */
static double floor_f64(double x) { return rint(x) > x ? rint(x) - 1 : rint(x); }
static double ceil_f64(double x) { return rint(x) < x ? rint(x) + 1 : rint(x); }

enum { ROPE_DIM_MAX = 1024 }; /* numbers of a head (config.c) */
static const double PI = 3.14159265358979323846;

/* YaRN (Peng et al. 2023, arXiv 2309.00071, 3.2): the dimension whose wave makes `beta` turns
 * within the original length. */
static double yarn_dim(const RopeConfig *r, double beta) {
    return (double)r->dim * log_f64(r->original / (beta * 2 * PI)) / (2 * log_f64(r->theta));
}

static double yarn_mscale(double factor, double m) {
    return factor <= 1 || m == 0 ? 1 : 0.1 * m * log_f64(factor) + 1;
}

/* Fast waves stay as they are, slow ones are stretched by the factor, those between are mixed
 * linearly by dimension. */
static void yarn(double *f, const RopeConfig *r) {
    double lo = MAX(floor_f64(yarn_dim(r, r->beta_fast)), 0);
    double hi = MIN(ceil_f64(yarn_dim(r, r->beta_slow)), (double)r->dim - 1);
    if (lo == hi) hi += 0.001;
    for (int64_t j = 0; j < r->dim / 2; j++) {
        double ramp = MIN(MAX(((double)j - lo) / (hi - lo), 0), 1);
        f[j] = f[j] / r->factor * ramp + f[j] * (1 - ramp);
    }
}

/* Llama 3.1: the same idea by wavelength, with a smooth part between original/high and
 * original/low. */
static void llama3(double *f, const RopeConfig *r) {
    for (int64_t j = 0; j < r->dim / 2; j++) {
        double wave = 2 * PI / f[j];
        if (wave < r->original / r->high_freq) continue;
        double smooth = (r->original / wave - r->low_freq) / (r->high_freq - r->low_freq);
        if (wave > r->original / r->low_freq) smooth = 0;
        f[j] = (1 - smooth) * f[j] / r->factor + smooth * f[j];
    }
}

void rope_inv_freq(double *inv_freq, double *attention_factor, const RopeConfig *r) {
    for (int64_t j = 0; j < r->dim / 2; j++)
        inv_freq[j] = 1 / pow_f64(r->theta, (double)(2 * j) / (double)r->dim);
    for (int64_t j = 0; r->factors && j < r->dim / 2; j++)
        inv_freq[j] = inv_freq[j] / (double)r->factors[j];
    *attention_factor = 1;
    if (r->scaling == ROPE_LLAMA3) llama3(inv_freq, r);
    if (r->scaling != ROPE_YARN) return;
    yarn(inv_freq, r);
    *attention_factor =
        yarn_mscale(r->factor, r->mscale) / yarn_mscale(r->factor, r->mscale_all_dim);
}

static bool factors_fit(const RopeConfig *r, const float *factors) {
    double plain[ROPE_DIM_MAX / 2], scaled[ROPE_DIM_MAX / 2], one;
    RopeConfig without = *r;
    without.scaling = ROPE_PLAIN;
    rope_inv_freq(plain, &one, &without);
    rope_inv_freq(scaled, &one, r);
    for (int64_t j = 0; j < r->dim / 2; j++) {
        double want = plain[j] / scaled[j], got = (double)factors[j];
        if (want - got > 1e-6 * got || got - want > 1e-6 * got) return false;
    }
    return true;
}

/* llama.cpp's converter makes the factors of llama3's four numbers. The largest is the first of
 * them, two are 1 and 4 in every model, and the original length is a power of two. */
void rope_recognise(RopeConfig *r) {
    RopeConfig found = *r;
    if (!r->factors || r->scaling != ROPE_PLAIN || r->dim > ROPE_DIM_MAX) return;
    found.scaling = ROPE_LLAMA3, found.factors = NULL;
    found.low_freq = 1, found.high_freq = 4, found.factor = 1;
    for (int64_t j = 0; j < r->dim / 2; j++)
        found.factor = MAX(found.factor, (double)r->factors[j]);
    for (found.original = 16; found.original <= 1 << 24; found.original *= 2)
        if (found.factor > 1 && factors_fit(&found, r->factors)) {
            *r = found;
            return;
        }
}

float attention_scale(const Config *c) {
    double scale = 1 / sqrt((double)c->D);
    if (!c->mla || c->rope.scaling != ROPE_YARN) return (float)scale;
    double m = yarn_mscale(c->rope.factor, c->rope.mscale_all_dim);
    return (float)(scale * (m * m));
}
