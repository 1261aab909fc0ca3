/* math.c -- errors of the elementary functions, in units of the last place of the true value,
 * against libm's long double functions (64 bits of mantissa or more), and rope angles against
 * correctly rounded tables. `LISAO_TEST_SHOW=1` prints the worst errors. */
#include "kern_test.h"
#include "support/child.h"
#include <float.h>
#include <jansson.h>
#include <math.h>

typedef struct Worst {
    double ulp, at;
} Worst;

/* |got - want| in ulps of a format with `bits` of mantissa. */
static void worst_take(Worst *w, double at, double got, long double want, int bits) {
    int e;
    frexpl(want, &e);
    double ulp = (double)(fabsl((long double)got - want) / ldexpl(1, e - bits));
    if (ulp > w->ulp || isnan(ulp)) *w = (Worst){ulp, at};
}

static void worst_check(const char *name, Worst w, double limit) {
    if (os_env("LISAO_TEST_SHOW")) fprintf(stderr, "%-8s %.4f ulp at %a\n", name, w.ulp, w.at);
    if (!(w.ulp < limit)) fail_msg("%s: %.4f ulp at %a", name, w.ulp, w.at);
}

static void test_exp_f32(void **state) {
    (void)state;
    Worst w = {0, 0};
    uint32_t step = full_run() ? 1 : 1009;
    for (uint32_t sign = 0; sign < 2; sign++)
        for (uint32_t u = 0; u <= 0x7f800000u - step; u += step) {
            float x = f32_of_bits(u | sign << 31), y = exp_f32(x);
            if (x < -87 || x > 88.37f)
                assert_true(y == (sign ? 0 : INFINITY));
            else if (fabsf(x) < 0x1p-30f)
                assert_true(y == 1);
            else
                worst_take(&w, (double)x, (double)y, (long double)exp((double)x), 24);
        }
    worst_check("exp_f32", w, 0.9);
    assert_true(exp_f32(0.0f) == 1 && exp_f32(-0.0f) == 1);
    assert_true(exp_f32(-INFINITY) == 0 && exp_f32(INFINITY) == INFINITY && isnan(exp_f32(NAN)));
    assert_true(exp_f32(-87.0f) > 0 && exp_f32(nextafterf(-87.0f, -100)) == 0);
    assert_true(exp_f32(88.37f) < INFINITY && exp_f32(nextafterf(88.37f, 100)) == INFINITY);
}

static void test_log_f32(void **state) {
    (void)state;
    Worst w = {0, 0};
    for (uint32_t u = 0x00800000u, step = full_run() ? 61 : 10007; u < 0x7f800000u; u += step) {
        float x = f32_of_bits(u);
        worst_take(&w, (double)x, (double)log_f32(x), logl((long double)x), 24);
    }
    worst_check("log_f32", w, 0.501);
    assert_true(log_f32(1.0f) == 0);
    assert_true(log_f32(0.0f) == -INFINITY && log_f32(INFINITY) == INFINITY);
    assert_true(isnan(log_f32(-1.0f)) && isnan(log_f32(NAN)));
}

/* Numbers that cover [lo, hi] evenly, from Philox. */
static double number_in(uint64_t i, double lo, double hi) {
    Philox p = philox(7, i, 0);
    uint64_t u = (uint64_t)p.w[0] << 21 ^ p.w[1];
    return lo + (hi - lo) * (double)u * 0x1p-53;
}

static uint64_t draws(void) { return full_run() ? 4000000 : 100000; }

static void test_exp_f64(void **state) {
    (void)state;
    Worst w = {0, 0};
    for (uint64_t i = 0; i < draws(); i++) {
        double x = i % 2 ? number_in(i, -708, 709.7) : number_in(i, -1, 1);
        worst_take(&w, x, exp_f64(x), expl((long double)x), 53);
    }
    worst_check("exp_f64", w, 0.7);
    assert_true(exp_f64(0) == 1 && exp_f64(-0.0) == 1 && exp_f64(-1000) == 0);
    assert_true(exp_f64(1000) == INFINITY && isnan(exp_f64(NAN)));
    assert_true(isfinite(exp_f64(709.78)));
}

static void test_log_f64(void **state) {
    (void)state;
    Worst w = {0, 0};
    for (uint64_t i = 0; i < draws(); i++) {
        double x = i % 2 ? number_in(i, 0.5, 2) : ldexp(number_in(i, 1, 2), (int)(i % 2040) - 1020);
        worst_take(&w, x, log_f64(x), logl((long double)x), 53);
    }
    for (double x = 0.5; x < 1.999; x += 0x1.001p-18)
        worst_take(&w, x, log_f64(x), logl((long double)x), 53);
    for (int i = 1; i < 60; i++) /* close to the zero of log */
        for (int s = -1; s <= 1; s += 2) {
            double x = 1 + s * ldexp(1.3, -i);
            if (x > 0 && x != 1) worst_take(&w, x, log_f64(x), logl((long double)x), 53);
        }
    worst_check("log_f64", w, 0.6);
    assert_true(log_f64(1) == 0 && log_f64(0) == -INFINITY && isnan(log_f64(-2)));
}

static void test_pow_f64(void **state) {
    (void)state;
    Worst w = {0, 0};
    static const double thetas[] = {2, 500, 1e4, 1e5, 5e5, 1e6, 1e7};
    for (uint64_t i = 0; i < draws() / 4; i++) {
        double x = thetas[i % 7], y = number_in(i, -1.5, 1.5);
        worst_take(&w, y, pow_f64(x, y), powl((long double)x, (long double)y), 53);
    }
    worst_check("pow_f64", w, 0.8);
    assert_true(pow_f64(1e4, 0) == 1 && pow_f64(2, 10) == 1024 && pow_f64(1, 1e9) == 1);
    assert_true(isnan(pow_f64(-1, 2)));
}

static void test_sincos(void **state) {
    (void)state;
    Worst ws = {0, 0}, wc = {0, 0};
    for (uint64_t i = 0; i < draws(); i++) {
        double x = i % 3 == 0   ? number_in(i, -0x1p30, 0x1p30)
                   : i % 3 == 1 ? number_in(i, -8, 8)
                                : number_in(i, -2e5, 2e5);
        if (i % 7 == 0) x = rint(x);
        if (i % 11 == 0) x = rint(x) * 1.5707963267948966; /* next to the zeros */
        if (fabs(x) >= 0x1p30) continue;
        double s, c;
        sincos_f64(x, &s, &c);
        worst_take(&ws, x, s, sinl((long double)x), 53);
        worst_take(&wc, x, c, cosl((long double)x), 53);
    }
    worst_check("sin_f64", ws, 0.8);
    worst_check("cos_f64", wc, 0.8);
    double s, c;
    sincos_f64(0, &s, &c);
    assert_true(s == 0 && c == 1);
    sincos_f64(1e-300, &s, &c);
    assert_true(s == 1e-300 && c == 1);
}

static void sincos_too_far(void *arg) {
    double s;
    (void)arg;
    sincos_f64(0x1p30, &s, &s);
}

static void test_sincos_range(void **state) {
    (void)state;
    assert_aborts(sincos_too_far, NULL, "CHECK(fabs(x) < 0x1p30)");
}

/* ---- rope: the tables of rope.json ----------------------------------------------------------- */

/* Correctly rounded in the file, from inv_freq * position with 40 digits. */
static void check_angles(const json_t *table, int64_t *count) {
    const json_t *freq = json_object_get(table, "inv_freq"),
                 *pos = json_object_get(table, "positions");
    const json_t *sins = json_object_get(table, "sin"), *coss = json_object_get(table, "cos");
    double factor = json_number_value(json_object_get(table, "attention_factor"));
    for (size_t i = 0; i < json_array_size(pos); i++)
        for (size_t j = 0; j < json_array_size(freq); j++) {
            double p = (double)json_integer_value(json_array_get(pos, i)), s, c;
            sincos_f64(p * json_number_value(json_array_get(freq, j)), &s, &c);
            float want_s = (float)json_number_value(json_array_get(json_array_get(sins, i), j));
            float want_c = (float)json_number_value(json_array_get(json_array_get(coss, i), j));
            if ((float)(s * factor) != want_s || (float)(c * factor) != want_c)
                fail_msg("position %.0f, pair %d", p, (int)j);
            *count += 2;
        }
}

/* The fastest frequencies are not scaled: inv_freq[j] = 1 / theta^(2j/dim) there, within one
 * ulp. */
static void check_frequencies(const json_t *table) {
    const json_t *freq = json_object_get(table, "inv_freq");
    double theta =
        json_number_value(json_object_get(json_object_get(table, "config"), "rope_theta"));
    double dim = json_number_value(json_object_get(table, "dim"));
    for (int j = 0; j < 2; j++) {
        double want = json_number_value(json_array_get(freq, (size_t)j));
        double got = 1 / pow_f64(theta, 2.0 * j / dim);
        if (fabs(got - want) > 1.01 * DBL_EPSILON * want)
            fail_msg("pair %d: %.17g, not %.17g", j, got, want);
    }
}

static void test_rope(void **state) {
    (void)state;
    Arena *a = arena_open("rope", 1 << 16);
    json_t *root = json_load_file(need_reference(a, "numbers/rope.json"), 0, NULL), *table;
    arena_close(a);
    assert_non_null(root);
    const char *name;
    int64_t count = 0;
    json_object_foreach(json_object_get(root, "tables"), name, table) {
        check_angles(table, &count);
        check_frequencies(table);
    }
    json_decref(root);
    assert_true(count > 2000);
}

int test_math(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_f32),      cmocka_unit_test(test_log_f32),
        cmocka_unit_test(test_exp_f64),      cmocka_unit_test(test_log_f64),
        cmocka_unit_test(test_pow_f64),      cmocka_unit_test(test_sincos),
        cmocka_unit_test(test_sincos_range), cmocka_unit_test(test_rope),
    };
    return cmocka_run_group_tests_name("math", tests, NULL, NULL);
}
