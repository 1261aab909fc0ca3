/* formulas.c -- the row formulas of docs/contract.md 5 to 7 written a second time, one number
 * after the other with fmaf. Each kernel must give these bits under every level. */
#include "cases.h"
#include <math.h>

enum { WIDTH = 53, HALF = 21 }; /* neither a multiple of a vector's threads */

/* The 16-lane tree of fma(a, b), contract 2.2. */
static float tree_of(const float *a, const float *b, int64_t n) {
    float lane[16] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 16] = fmaf(a[i], b[i], lane[i % 16]);
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++) lane[i] = lane[i] + lane[i + w];
    return lane[0];
}

static void rope_level(void) {
    for (int form = 0; form < 4; form++) {
        bool pairs = form & 1, back = form & 2;
        float *x = new_floats(2 * HALF, SPREAD), *c = new_floats(HALF, MILD),
              *s = new_floats(HALF, MILD);
        float want[2 * HALF];
        for (int64_t j = 0; j < HALF; j++) {
            int64_t a = pairs ? 2 * j : j, b = pairs ? 2 * j + 1 : j + HALF;
            float sj = back ? -s[j] : s[j];
            want[a] = fmaf(x[a], c[j], -(x[b] * sj));
            want[b] = fmaf(x[a], sj, x[b] * c[j]);
        }
        kern.rope(x, HALF, pairs, back, c, s);
        same_floats(x, want, 2 * HALF, "%s: rope, pairs %d, back %d", level_now, pairs, back);
        guard_reset();
    }
}

static void norm_level(void) {
    float *x = new_floats(WIDTH, SPREAD), *w = new_floats(WIDTH, MILD),
          *dy = new_floats(WIDTH, MILD);
    float *y = NEW(float, WIDTH), *dx = NEW(float, WIDTH), want[WIDTH], t[WIDTH], eps = 1e-6f;
    float r = 1.0f / sqrtf(tree_of(x, x, WIDTH) / (float)WIDTH + eps);
    for (int64_t i = 0; i < WIDTH; i++) want[i] = (x[i] * r) * w[i];
    float got = kern.rmsnorm(y, x, w, WIDTH, eps);
    same_floats(&got, &r, 1, "%s: rmsnorm's r", level_now);
    same_floats(y, want, WIDTH, "%s: rmsnorm", level_now);
    for (int64_t i = 0; i < WIDTH; i++) t[i] = dy[i] * w[i];
    float c = (((r * r) * r) * tree_of(t, x, WIDTH)) / (float)WIDTH;
    for (int64_t i = 0; i < WIDTH; i++) want[i] = fmaf(-x[i], c, r * t[i]);
    kern.rmsnorm_back(dx, dy, x, w, r, WIDTH, STORE_SET);
    same_floats(dx, want, WIDTH, "%s: rmsnorm_back", level_now);
    guard_reset();
}

static void silu_level(void) {
    float *g = new_floats(WIDTH, SPREAD), *u = new_floats(WIDTH, MILD),
          *dh = new_floats(WIDTH, MILD);
    float *h = NEW(float, WIDTH), *dg = NEW(float, WIDTH), *du = NEW(float, WIDTH);
    float want_h[WIDTH], want_g[WIDTH], want_u[WIDTH];
    for (int64_t i = 0; i < WIDTH; i++) {
        float e = exp_f32(-g[i]), s = 1 / (1 + e), f = g[i] / (1 + e);
        want_h[i] = f * u[i];
        want_u[i] = dh[i] * f;
        want_g[i] = (dh[i] * u[i]) * fmaf(f, 1 - s, s);
    }
    kern.silu_mul(h, g, u, WIDTH);
    kern.silu_mul_back(dg, du, dh, g, u, WIDTH);
    same_floats(h, want_h, WIDTH, "%s: silu_mul", level_now);
    same_floats(du, want_u, WIDTH, "%s: du", level_now);
    same_floats(dg, want_g, WIDTH, "%s: dg", level_now);
    guard_reset();
}

static void adamw_level(void) {
    const AdamW p = {
        .lr = 1e-3f, .b1 = 0.9f, .b2 = 0.95f, .eps = 1e-8f, .wd = 0.1f, .c1 = 0.19f, .c2 = 0.0975f};
    float *w = new_floats(WIDTH, MILD), *g = new_floats(WIDTH, SPREAD),
          *m = new_floats(WIDTH, MILD);
    float *v = new_floats(WIDTH, MILD), want[3][WIDTH];
    for (int64_t i = 0; i < WIDTH; i++) {
        v[i] = fabsf(v[i]);
        want[0][i] = fmaf(p.b1, m[i], (1 - p.b1) * g[i]);
        want[1][i] = fmaf(p.b2, v[i], ((1 - p.b2) * g[i]) * g[i]);
        float step = (want[0][i] / p.c1) / (sqrtf(want[1][i] / p.c2) + p.eps);
        want[2][i] = fmaf(-p.lr, step, w[i] * (1 - p.lr * p.wd));
    }
    kern.adamw(w, g, m, v, WIDTH, &p);
    same_floats(m, want[0], WIDTH, "%s: AdamW's m", level_now);
    same_floats(v, want[1], WIDTH, "%s: AdamW's v", level_now);
    same_floats(w, want[2], WIDTH, "%s: AdamW's w", level_now);
    guard_reset();
}

static void rope_is_as_written(void **state) {
    (void)state;
    on_levels(rope_level);
}
static void norm_is_as_written(void **state) {
    (void)state;
    on_levels(norm_level);
}
static void silu_is_as_written(void **state) {
    (void)state;
    on_levels(silu_level);
}
static void adamw_is_as_written(void **state) {
    (void)state;
    on_levels(adamw_level);
}

int test_formulas(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_is_as_written),
        cmocka_unit_test(norm_is_as_written),
        cmocka_unit_test(silu_is_as_written),
        cmocka_unit_test(adamw_is_as_written),
    };
    return cmocka_run_group_tests_name("formulas", tests, NULL, NULL);
}
