/* types.c -- what the numbers of every type are, against other programs' (numbers/ of the reference
 * data), and whole models of mixed types that llama.cpp's quantiser wrote. */
#include "tests.h"
#include <math.h>

/* ---- numbers --------------------------------------------------------------------------------- */

static Store *reference(Arena *a, const char *name) {
    Err err = {0};
    Store *s;
    must(store_open(&s, a, need_reference(a, name), &err), &err);
    return s;
}

static const Tensor *tensor_of(Arena *a, const Store *s, DType t, const char *what) {
    return store_find(s, str_fmt(a, "%s.%s", dtype_name(t), what));
}

/* Equal but for the sign of zero. */
static void same_numbers(const float *got, const float *want, int64_t n, DType t) {
    for (int64_t i = 0; i < n; i++)
        if (!(got[i] == want[i]))
            fail_msg("%s: number %lld is %a, want %a", dtype_name(t), (long long)i, (double)got[i],
                     (double)want[i]);
}

static void test_dequantised(void **state) {
    (void)state;
    Arena *a = arena_open("types", 1 << 26);
    Store *s = reference(a, "numbers/quants.safetensors");
    for (DType t = DTYPE_F16; t <= DTYPE_IQ4_XS; t++) {
        const Tensor *bytes = tensor_of(a, s, t, "bytes"), *want = tensor_of(a, s, t, "f32");
        assert_true(bytes && want && want->type == DTYPE_F32);
        int64_t rows = want->dim[0], cols = want->dim[1];
        assert_int_equal(bytes->dim[1], dtype_bytes(t, cols));
        Weight w = {.type = t, .n = 1, .rows = rows, .cols = cols, .row = bytes->data};
        float *x = PUSH(a, float, cols);
        for (int64_t r = 0; r < rows; r++) {
            weight_row(x, &w, 0, r);
            same_numbers(x, (const float *)want->data + r * cols, cols, t);
        }
    }
    store_close(s);
    arena_close(a);
}

static void test_eight_bit_floats(void **state) {
    (void)state;
    static const struct {
        DType type;
        const char *name;
    } types[] = {{DTYPE_F8_E4M3, "e4m3fn"}, {DTYPE_F8_E5M2, "e5m2"}};
    Arena *a = arena_open("types", 1 << 26);
    Store *s = reference(a, "numbers/lowp.safetensors");
    for (int64_t i = 0; i < COUNT(types); i++) {
        const Tensor *want = store_find(s, str_of(types[i].name));
        uint8_t code[256];
        float x[256];
        for (int c = 0; c < 256; c++) code[c] = (uint8_t)c;
        weight_row(x, &(Weight){.type = types[i].type, .n = 1, .rows = 1, .cols = 256, .row = code},
                   0, 0);
        assert_true(want && want->bytes == sizeof x);
        const float *y = want->data;
        for (int c = 0; c < 256; c++)
            if (x[c] != y[c] && !(isnan(x[c]) && isnan(y[c])))
                fail_msg("%s %02x is %a, want %a", types[i].name, c, (double)x[c], (double)y[c]);
    }
    store_close(s);
    arena_close(a);
}

/* f64 is rounded to f32 once. */
static void test_doubles(void **state) {
    (void)state;
    const double x[3] = {1 + 0x1p-24, 1 + 0x1.000001p-24, -0.1};
    float y[3];
    weight_row(y, &(Weight){.type = DTYPE_F64, .n = 1, .rows = 1, .cols = 3, .row = x}, 0, 0);
    assert_true(y[0] == 1 && y[1] == 1 + 0x1p-23f && y[2] == -0.1f);
}

/* ---- models ---------------------------------------------------------------------------------- */

enum { T = 80 };

/* The root of the mean square of x - want, in standard deviations of want. */
static double error_of(const float *x, const float *want, int64_t n) {
    double off = 0, sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)want[i], w = (double)want[i];
        off += d * d, sum += w, squares += w * w;
    }
    return sqrt(off / (squares - sum * sum / (double)n));
}

/* f32 to ten times the noise of the reference (1e-5); a16 and a8 by what their roundings make: of
 * these models with random weights 0.012 and, with blocks of 32 and of 256, 0.027 and 0.043. */
static void test_file(void **state) {
    static const struct {
        Act act;
        DType kv;
        double most;
    } plans[] = {
        {ACT_F32, DTYPE_F32, 1e-4}, {ACT_A16, DTYPE_BF16, 0.02}, {ACT_A8, DTYPE_BF16, 0.06}};
    const char *name = *state;
    Opened o;
    Arena *a = arena_open("types", 1 << 26);
    opened(&o, need_reference(a, str_fmt(a, "gguf-types/%s.gguf", name).p), 2);
    Store *s = reference(a, str_fmt(a, "gguf-types/%s.expected.safetensors", name).p);
    const Tensor *ids = store_find(s, STR("ids")), *want = store_find(s, STR("logits"));
    assert_true(ids && want && ids->dim[0] == T && want->dim[1] == o.model->cfg.V);
    int32_t token[T];
    for (int64_t i = 0; i < T; i++)
        token[i] = ids->type == DTYPE_I64 ? (int32_t)((const int64_t *)ids->data)[i]
                                          : ((const int32_t *)ids->data)[i];
    for (int64_t i = 0; i < COUNT(plans); i++) {
        planned(&o, (PlanSpec){.act = plans[i].act, .kv = plans[i].kv});
        Result r = ran(&o, token, T, 7, false);
        int64_t n = T * o.model->cfg.V;
        double most = largest_difference(r.logits, want->data, n),
               e = error_of(r.logits, want->data, n);
        print_message("# %s %s: largest difference %.3g, error %.3g\n", name,
                      act_name(plans[i].act), most, e);
        if (!((plans[i].act == ACT_F32 ? most : e) <= plans[i].most))
            fail_msg("%s %s: off by %g, error %g, allowed %g", name, act_name(plans[i].act), most,
                     e, plans[i].most);
    }
    store_close(s);
    arena_close(a);
    closed(&o);
}

int test_types(void) {
#define FILE_OF(name)                                                                              \
    { name, test_file, NULL, NULL, (void *)(uintptr_t)name }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequantised),
        cmocka_unit_test(test_eight_bit_floats),
        cmocka_unit_test(test_doubles),
        FILE_OF("Q4_0"),
        FILE_OF("Q8_0"),
        FILE_OF("Q4_K_M"),
        FILE_OF("IQ4_XS"),
    };
    return cmocka_run_group_tests_name("model types", tests, NULL, NULL);
}
