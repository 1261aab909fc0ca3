/* quantise.c -- numbers into the types of files: bounds on the error, blocks at the edges, what is
 * refused. */
#include "kern_test.h"
#include <math.h>

enum { N = 512 };

/* What the numbers have become. */
static void read_back(float *out, DType type, const void *bytes, int64_t n) {
    Weight w = {.type = type, .n = 1, .rows = 1, .cols = n, .row = bytes};
    weight_row(out, &w, 0, 0);
}

static const DType types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q8_0,
                              DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1,
                              DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};

static void made(float *out, DType type, const float *x) {
    uint8_t bytes[N * 4];
    assert_true(type_written(type));
    assert_true(numbers_write(bytes, type, x, N));
    read_back(out, type, bytes, N);
}

static double error_of(DType type, const float *x) {
    float y[N];
    double e = 0, s = 0;
    made(y, type, x);
    for (int i = 0; i < N; i++) {
        e += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
        s += (double)x[i] * (double)x[i];
    }
    return e / s;
}

/* Normal numbers: the squared error of each type, which docs/log.md compares with llama.cpp's. */
static void errors(void **state) {
    (void)state;
    static const struct {
        DType type;
        double most;
    } bound[] = {{DTYPE_F16, 1e-7},    {DTYPE_BF16, 4e-6},   {DTYPE_Q8_0, 3.2e-5},
                 {DTYPE_Q4_0, 7.2e-3}, {DTYPE_Q4_1, 5.4e-3}, {DTYPE_Q5_0, 1.8e-3},
                 {DTYPE_Q5_1, 1.3e-3}, {DTYPE_Q4_K, 5.4e-3}, {DTYPE_Q5_K, 1.35e-3},
                 {DTYPE_Q6_K, 3.3e-4}};
    for (int64_t k = 0; k < COUNT(bound); k++) {
        DType type = bound[k].type;
        double sum = 0;
        for (int64_t round = 0; round < 16; round++) {
            float x[N];
            for (int i = 0; i < N; i++) {
                x[i] = 0;
                for (int j = 0; j < 12; j++) x[i] += 0.01f * draw_float(MILD);
            }
            sum += error_of(type, x) / 16;
        }
        if (!(sum <= bound[k].most)) fail_msg("%s: %g", dtype_name(type), sum);
        assert_true(sum > bound[k].most / 100);
    }
}

static void edges(void **state) {
    (void)state;
    for (int64_t k = 0; k < COUNT(types); k++) {
        DType type = types[k];
        float x[N] = {0}, y[N];
        made(y, type, x);
        for (int i = 0; i < N; i++) assert_true(y[i] == 0);
        for (int i = 0; i < N; i++) x[i] = 0x1p-140f; /* subnormal: nothing, or itself in f32 */
        made(y, type, x);
        for (int i = 0; i < N; i++)
            assert_true(type == DTYPE_F32 ? bits_of_f32(y[i]) == bits_of_f32(x[i])
                                          : (bits_of_f32(y[i]) & 0x7fffffff) == 0);
        for (int i = 0; i < N; i++) x[i] = 0;
        x[77] = 1000; /* one large among zeros */
        made(y, type, x);
        for (int i = 0; i < N; i++) assert_true(fabsf(y[i] - x[i]) <= 0.6f);
        for (int i = 0; i < N; i++) x[i] = -1 - (float)(i % 7) / 8; /* all below zero */
        assert_true(error_of(type, x) < 3e-3);
        for (int i = 0; i < N; i++) x[i] = 1 + (float)(i % 5) / 8; /* all above */
        assert_true(error_of(type, x) < 3e-3);
    }
}

static void refused(void **state) {
    (void)state;
    uint8_t bytes[N * 4];
    const float wrong[] = {NAN, INFINITY, -INFINITY, 3e38f};
    for (int64_t k = 0; k < COUNT(types); k++)
        for (int64_t i = 0; i < COUNT(wrong); i++) {
            float x[N] = {0};
            x[200] = wrong[i];
            bool holds = i == 3 && (types[k] == DTYPE_F32 || types[k] == DTYPE_BF16);
            assert_int_equal(numbers_write(bytes, types[k], x, N), holds);
        }
    float x[N] = {0};
    x[3] = 65520; /* the first that f16 rounds to infinity */
    assert_false(numbers_write(bytes, DTYPE_F16, x, N));
    x[3] = 65519;
    assert_true(numbers_write(bytes, DTYPE_F16, x, N));
}

/* Every f16 is itself; half-way between two goes to the even one, and its neighbours do not. */
static void halves(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float x = f32_of_f16((uint16_t)h), next = f32_of_f16((uint16_t)(h + 1));
        assert_int_equal(f16_of_f32(x), h);
        assert_int_equal(f16_of_f32(-x), h | 0x8000u);
        if (h == 0x7bff) break;
        float half = (float)(((double)x + (double)next) / 2);
        assert_int_equal(f16_of_f32(half), h + (h & 1));
        assert_int_equal(f16_of_f32(f32_of_bits(bits_of_f32(half) - 1)), h);
        assert_int_equal(f16_of_f32(f32_of_bits(bits_of_f32(half) + 1)), h + 1);
    }
    assert_int_equal(f16_of_f32(65520), 0x7c00);
    assert_int_equal(f16_of_f32(NAN) & 0x7c00, 0x7c00);
}

/* The caller's float mode does not matter. */
static void float_modes(void **state) {
    (void)state;
    float x[N];
    uint8_t here[N * 4], there[N * 4];
    for (int64_t k = 0; k < COUNT(types); k++) {
        fill_floats(x, N, SPREAD);
        for (int i = 0; i < N; i++) x[i] = ldexpf(x[i], -20);
        bool a = numbers_write(here, types[k], x, N);
        float_mode_leave(0x1f80); /* the default: no FTZ, no DAZ */
        bool b = numbers_write(there, types[k], x, N);
        float_mode_enter();
        assert_int_equal(a, b);
        if (a) assert_memory_equal(here, there, (size_t)dtype_bytes(types[k], N));
    }
}

int test_quantise(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(errors), cmocka_unit_test(edges),
                                       cmocka_unit_test(refused), cmocka_unit_test(halves),
                                       cmocka_unit_test(float_modes)};
    return cmocka_run_group_tests_name("kern quantise", tests, NULL, NULL);
}
