/* quantised.c -- small GGUF files of every quantised type against the same formulas in float64
 * (tests/golden/gguf): all of the arithmetic under f32, and how far a16 and a8 go from it. */
#include "tests.h"
#include <math.h>
#include <stdio.h>

enum { T = 40 };

/* The mean of |x - want|, of the standard deviation of want. */
static double distance(const float *x, const float *want, int64_t n) {
    double off = 0, sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        off += fabs((double)x[i] - (double)want[i]);
        sum += (double)want[i];
        squares += (double)want[i] * (double)want[i];
    }
    double mean = sum / (double)n;
    return off / (double)n / sqrt(squares / (double)n - mean * mean);
}

/* The noise that f32 was seen to have is 7e-6 in a logit of size 1; a16 was off by 0.02 in the
 * mean, a8 by 0.04, where a router chose another expert. A scale or an order gone wrong is far
 * beyond. */
static void under(Opened *o, PlanSpec spec, const float *want, double most) {
    int32_t ids[T];
    for (int32_t i = 0; i < T; i++) ids[i] = i * 31 % 320;
    planned(o, spec);
    Result r = ran(o, ids, T, 7, false);
    double d = distance(r.logits, want, T * o->model->cfg.V);
    if (!(d <= most)) fail_msg("%s: off by %g, allowed %g", act_name(spec.act), d, most);
}

static void quantised(void **state) {
    const char *name = *state;
    Err err = {0};
    Opened o;
    Store *expected;
    Arena *a = arena_open("quantised", 1 << 26);
    opened(&o, need_reference(a, str_fmt(a, "gguf/%s.gguf", name).p), 2);
    const char *answers = need_reference(a, "gguf/expected.safetensors");
    must(store_open(&expected, a, answers, &err), &err);
    const Tensor *want = store_find(expected, str_of(name));
    assert_true(want && want->dim[0] == T && want->dim[1] == o.model->cfg.V);
    for (MlaForm form = MLA_EXPANDED; form <= MLA_ABSORBED; form++) {
        under(&o, (PlanSpec){.act = ACT_F32, .kv = DTYPE_F32, .mla = form}, want->data, 1e-5);
        under(&o, (PlanSpec){.act = ACT_A16, .kv = DTYPE_BF16, .mla = form}, want->data, 0.05);
        under(&o, (PlanSpec){.act = ACT_A8, .kv = DTYPE_BF16, .mla = form}, want->data, 0.08);
    }
    store_close(expected);
    arena_close(a);
    closed(&o);
}

int test_quantised(void) {
#define FILE_OF(name)                                                                              \
    { name, quantised, NULL, NULL, (void *)(uintptr_t)name }
    const struct CMUnitTest tests[] = {
        FILE_OF("llama-q4_1"),        FILE_OF("llama-q8_0"), FILE_OF("llama-mixed"),
        FILE_OF("llama-32"),          FILE_OF("llama-k"),    FILE_OF("deepseek-v2-q4_1"),
        FILE_OF("deepseek-v3-mixed"), FILE_OF("qwen2-q4_1"), FILE_OF("qwen3moe-q8_0"),
    };
    return cmocka_run_group_tests_name("model quantised", tests, NULL, NULL);
}
