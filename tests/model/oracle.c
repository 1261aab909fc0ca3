/* oracle.c -- the tiny models of tests/golden under f32, held against transformers in float64:
 * every hidden state and logit within ten times the float32 noise of the reference itself, and the
 * same experts. */
#include "tests.h"
#include <math.h>
#include <stdio.h>

static const float *expected(const Store *s, const char *name, int64_t elements) {
    const Tensor *t = store_find(s, str_of(name));
    assert_non_null(t);
    assert_int_equal(tensor_elements(t), elements);
    return t->data;
}

/* Index sets equal in each row, and each expert's weight. The reference sorts by weight, the
 * router by choice. */
static void experts_compare(const Result *r, const Config *c, const Store *want, int64_t T,
                            double tolerance) {
    for (int64_t l = c->first_dense; l < c->L; l++) {
        char name[64];
        snprintf(name, sizeof name, "router.0.%d.topk_idx", (int)l);
        const int32_t *id = (const int32_t *)(const void *)expected(want, name, T * c->K);
        snprintf(name, sizeof name, "router.0.%d.topk_weight", (int)l);
        const float *weight = expected(want, name, T * c->K);
        for (int64_t i = 0; i < T * c->K; i++) {
            const int32_t *mine = r->expert + (i / c->K * c->L + l) * c->K;
            int64_t k = 0;
            while (k < c->K && mine[k] != id[i]) k++;
            assert_true(k < c->K);
            double d = fabs((double)r->expert_weight[(i / c->K * c->L + l) * c->K + k]
                            - (double)weight[i]);
            assert_true(d <= tolerance);
        }
    }
}

static void hidden_compare(const Result *r, const Config *c, const Store *want, int64_t T,
                           double tolerance) {
    for (int64_t i = 0; i < c->L + 2; i++) {
        char name[64];
        if (i == 0)
            snprintf(name, sizeof name, "hidden.0.embed");
        else if (i <= c->L)
            snprintf(name, sizeof name, "hidden.0.%d", (int)i - 1);
        else
            snprintf(name, sizeof name, "hidden.0.norm");
        double d =
            largest_difference(r->hidden + i * T * c->C, expected(want, name, T * c->C), T * c->C);
        if (!(d <= tolerance)) fail_msg("%s: off by %g, allowed %g", name, d, tolerance);
    }
}

static void sequence_compare(Opened *o, const Store *want, const json_t *about, int64_t s,
                             int64_t chunk) {
    const Config *c = &o->model->cfg;
    const json_t *ids = json_array_get(json_object_get(about, "ids"), (size_t)s);
    const json_t *noise = json_object_get(about, "noise_fp32_vs_fp64"),
                 *of_hidden = json_object_get(noise, "hidden");
    double logits = 10 * json_number_value(json_object_get(noise, "logits"));
    double hidden = of_hidden ? 10 * json_number_value(of_hidden) : logits;
    int64_t T = (int64_t)json_array_size(ids);
    int32_t *token = PUSH(o->a, int32_t, T);
    for (int64_t i = 0; i < T; i++)
        token[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    Result r = ran(o, token, T, chunk, true);
    char name[32];
    snprintf(name, sizeof name, "logits.%d", (int)s);
    double d = largest_difference(r.logits, expected(want, name, T * c->V), T * c->V);
    if (!(d <= logits)) fail_msg("%s: off by %g, allowed %g", name, d, logits);
    if (s != 0) return;
    hidden_compare(&r, c, want, T, hidden);
    experts_compare(&r, c, want, T, 1e-5 * (double)c->router.scale);
}

static void model_compare(void **state, MlaForm form) {
    const char *model = *state;
    Opened o;
    Arena *a = arena_open("oracle", 1 << 26);
    const char *path = need_reference(a, str_fmt(a, "models/%s", model).p);
    opened(&o, path, 2);
    PlanSpec spec = plan_defaults(o.model);
    spec.act = ACT_F32, spec.kv = DTYPE_F32, spec.mla = form;
    planned(&o, spec);
    Store *want;
    Err err = {0};
    must(store_open(&want, a, str_fmt(a, "%s/expected.safetensors", path).p, &err), &err);
    json_t *about = json_of(a, str_fmt(a, "%s/expected.json", path).p);
    for (int64_t s = 0; s < 2; s++) {
        sequence_compare(&o, want, about, s, 0);
        sequence_compare(&o, want, about, s, 7);
    }
    json_decref(about);
    store_close(want);
    arena_close(a);
    closed(&o);
}

static void expanded(void **state) { model_compare(state, MLA_EXPANDED); }
static void absorbed(void **state) { model_compare(state, MLA_ABSORBED); }

int test_oracles(void) {
#define ORACLE(name, form)                                                                         \
    { name " " #form, form, NULL, NULL, (void *)(uintptr_t)name }
    const struct CMUnitTest tests[] = {
        ORACLE("llama-tiny", expanded),
        ORACLE("llama3-tiny", expanded),
        ORACLE("deepseek-v2-lite-tiny", expanded),
        ORACLE("deepseek-v2-lite-tiny", absorbed),
        ORACLE("deepseek-v3-tiny", expanded),
        ORACLE("deepseek-v3-tiny", absorbed),
        ORACLE("deepseek-v3-bf16-tiny", expanded),
        ORACLE("deepseek-v3-bf16-tiny", absorbed),
        ORACLE("deepseek-v3-mtp-tiny", expanded),
        ORACLE("deepseek-v3-mtp-tiny", absorbed),
        ORACLE("qwen2-mini", expanded),
        ORACLE("qwen2-yarn-mini", expanded),
        ORACLE("qwen3-mini", expanded),
        ORACLE("qwen3-moe-mini", expanded),
        ORACLE("qwen3-moe-dense-mini", expanded),
        ORACLE("glm4-moe-lite-mini", expanded),
        ORACLE("glm4-moe-lite-mini", absorbed),
        ORACLE("deepseek-v2-groups-mini", expanded),
        ORACLE("deepseek-v2-groups-mini", absorbed),
        ORACLE("deepseek-v3-unshared-mini", expanded),
        ORACLE("deepseek-v3-unshared-mini", absorbed),
        ORACLE("moonlight-mini", expanded),
        ORACLE("moonlight-mini", absorbed),
        ORACLE("qwen3-tiny", expanded),
        ORACLE("qwen3-moe-tiny", expanded),
        ORACLE("glm4-moe-lite-tiny", expanded),
        ORACLE("glm4-moe-lite-tiny", absorbed),
    };
    return cmocka_run_group_tests_name("model oracles", tests, NULL, NULL);
}
