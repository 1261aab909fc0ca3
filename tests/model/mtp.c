/* mtp.c -- layers that predict further tokens, against transformers in float64 (the variant of
 * released checkpoints: the hidden state behind the final norm), in both forms of MLA, in chunks
 * and on several threads; and what is counted, left out and refused. */
#include "tests.h"
#include <math.h>
#include <stdio.h>

static const char *const TINY = "models/deepseek-v3-mtp-tiny";

/* A model with its one further layer, and a sequence. */
typedef struct Case {
    Opened o;
    Store *want;
    json_t *about;
    const int32_t *ids;
    int64_t T, s;
} Case;

static void case_open(Case *c, int64_t threads) {
    Err err = {0};
    Arena *a = arena_open("path", 1 << 16);
    const char *path = need_reference(a, TINY);
    opened_mtp(&c->o, path, threads, 1);
    must(store_open(&c->want, c->o.a, str_fmt(c->o.a, "%s/expected.safetensors", path).p, &err),
         &err);
    c->about = json_of(c->o.a, str_fmt(c->o.a, "%s/expected.json", path).p);
    arena_close(a);
}

static void case_sequence(Case *c, int64_t s) {
    const json_t *ids = json_array_get(json_object_get(c->about, "ids"), (size_t)s);
    c->s = s, c->T = (int64_t)json_array_size(ids);
    int32_t *id = PUSH(c->o.a, int32_t, c->T);
    for (int64_t i = 0; i < c->T; i++)
        id[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    c->ids = id;
}

static void case_close(Case *c) {
    json_decref(c->about);
    store_close(c->want);
    closed(&c->o);
}

typedef struct Pass {
    Plan *plan;
    Batch batch, shifted; /* the same rows, the further layer's in pages of its own */
    Out main, further;
    bool valid;
} Pass;

static void both(Thread th, void *arg) {
    Pass *s = arg;
    bool valid = model_forward(th, s->plan, &s->batch, &s->main, NULL)
                 && model_mtp(th, s->plan, 0, &s->shifted, s->main.hidden, &s->further);
    if (th.i == 0) s->valid = valid;
}

/* The further layer's logits (T-1, V), and its experts, in chunks of `chunk` rows. */
static Out further(Case *c, int64_t chunk) {
    const Config *cfg = &c->o.model->cfg;
    Arena *a = c->o.a;
    int64_t T = c->T - 1;
    Out all = {.logits = PUSH(a, float, T * cfg->V),
               .hidden = PUSH(a, float, T * cfg->C),
               .expert = PUSH(a, int32_t, T * cfg->K),
               .expert_weight = PUSH(a, float, T * cfg->K)};
    float *hidden = PUSH(a, float, T * cfg->C), *logits = PUSH(a, float, T * cfg->V);
    Want *want = PUSH(a, Want, T), *more = PUSH(a, Want, T);
    void *page[] = {arena_push(a, c->o.plan->kv.page_bytes)},
         *own[] = {arena_push(a, c->o.plan->kv_mtp.page_bytes)};
    for (int64_t i = 0; i < T; i++) {
        want[i] = (Want){(int32_t)i, WANT_HIDDEN | WANT_LOGITS};
        more[i] = (Want){(int32_t)i, WANT_HIDDEN | WANT_LOGITS | WANT_EXPERTS};
    }
    for (int64_t at = 0, n; at < T; at += n) {
        n = MIN(chunk, T - at);
        Span span = {0, n, at, page, 1}, further = {0, n, at, own, 1};
        Pass s = {.plan = c->o.plan,
                  .batch = {n, c->ids + at, &span, 1, want, n, 0},
                  .shifted = {n, c->ids + at + 1, &further, 1, more, n, 0},
                  .main = {.logits = logits, .hidden = hidden},
                  .further = {.logits = all.logits + at * cfg->V,
                              .hidden = all.hidden + at * cfg->C,
                              .expert = all.expert + at * cfg->K,
                              .expert_weight = all.expert_weight + at * cfg->K}};
        team_run(c->o.team, both, &s);
        assert_true(s.valid);
    }
    return all;
}

static const void *expected(Case *c, const char *name, int64_t elements) {
    const Tensor *t = store_find(c->want, str_of(name));
    assert_non_null(t);
    assert_int_equal(tensor_elements(t), elements);
    return t->data;
}

static void experts_compare(Case *c, const Out *out) {
    int64_t K = c->o.model->cfg.K, n = (c->T - 1) * K;
    const int32_t *id = expected(c, "mtp.postnorm.router.0.topk_idx", n);
    const float *weight = expected(c, "mtp.postnorm.router.0.topk_weight", n);
    for (int64_t i = 0; i < n; i++) {
        int64_t k = i / K * K;
        while (k < i / K * K + K && out->expert[k] != id[i]) k++;
        assert_true(k < i / K * K + K);
        assert_true(fabsf(out->expert_weight[k] - weight[i]) <= 1e-5f);
    }
}

static void reference(void **state) {
    MlaForm form = *(const MlaForm *)*state;
    Case c;
    case_open(&c, 2);
    planned(&c.o, (PlanSpec){.act = ACT_F32, .mla = form, .kv = DTYPE_F32});
    const json_t *noise = json_object_get(c.about, "noise_fp32_vs_fp64");
    double most = 10 * json_number_value(json_object_get(noise, "logits"));
    for (int64_t s = 0; s < 2; s++) {
        char name[64];
        case_sequence(&c, s);
        Out out = further(&c, c.T);
        int64_t n = (c.T - 1) * c.o.model->cfg.V;
        snprintf(name, sizeof name, "mtp.postnorm.logits.%d", (int)s);
        double d = largest_difference(out.logits, expected(&c, name, n), n);
        if (!(d <= most)) fail_msg("%s: off by %g, allowed %g", name, d, most);
        if (s == 0) experts_compare(&c, &out);
    }
    case_close(&c);
}

/* The same bits in any chunks, on any number of threads. */
static void same_bits(void **state) {
    (void)state;
    static const PlanSpec specs[] = {
        {.act = ACT_F32, .mla = MLA_EXPANDED, .kv = DTYPE_F32},
        {.act = ACT_A16, .mla = MLA_ABSORBED, .kv = DTYPE_BF16},
    };
    for (int64_t i = 0; i < COUNT(specs); i++) {
        float *first = NULL;
        Case c[3];
        for (int64_t threads = 1; threads <= 3; threads++) {
            Case *t = &c[threads - 1];
            case_open(t, threads);
            case_sequence(t, 0);
            planned(&t->o, specs[i]);
            for (int64_t chunk = 1; chunk <= t->T; chunk = chunk * 5 + 2) {
                Out out = further(t, chunk);
                if (!first) first = out.logits;
                assert_memory_equal(out.logits, first,
                                    (size_t)((t->T - 1) * t->o.model->cfg.V) * sizeof(float));
            }
        }
        for (int64_t k = 0; k < 3; k++) case_close(&c[k]);
    }
}

/* The main model is the same with the further layer and without, and has the same name; the layer's
 * numbers are those of the file but for its copies of embedding and head. */
static void main_model(void **state) {
    (void)state;
    Case c;
    Opened plain;
    case_open(&c, 2);
    case_sequence(&c, 0);
    const Config *cfg = &c.o.model->cfg;
    opened(&plain, need_reference(c.o.a, TINY), 2);
    PlanSpec spec = {.act = ACT_F32, .mla = MLA_EXPANDED, .kv = DTYPE_F32};
    planned(&c.o, spec);
    planned(&plain, spec);
    Result x = ran(&c.o, c.ids, c.T, 7, false), y = ran(&plain, c.ids, c.T, 7, false);
    assert_memory_equal(x.logits, y.logits, (size_t)(c.T * cfg->V) * sizeof(float));
    int64_t count = 0;
    for (int64_t i = 0; i < c.o.model->n_params; i++) count += c.o.model->param[i].count;
    assert_int_equal(count + 2 * cfg->V * cfg->C, 217348);
    assert_true(model_count(c.o.model) > model_count(plain.model));
    assert_string_equal(c.o.plan->fingerprint, plain.plan->fingerprint);
    assert_int_equal(c.o.plan->kv.page_bytes, plain.plan->kv.page_bytes);
    assert_int_equal(plan_defaults(c.o.model).act, plan_defaults(plain.model).act);
    closed(&plain);
    case_close(&c);
}

static void refused(void **state) {
    (void)state;
    Err err = {0};
    Case c;
    Model *m;
    case_open(&c, 1);
    assert_false(model_open_mtp(&m, c.o.a, c.o.store, 2, &err));
    assert_non_null(strstr(err.msg, "asked for 2"));
    case_close(&c);
}

int test_mtp(void) {
    static MlaForm expanded = MLA_EXPANDED, absorbed = MLA_ABSORBED;
    const struct CMUnitTest tests[] = {
        {"reference, expanded", reference, NULL, NULL, &expanded},
        {"reference, absorbed", reference, NULL, NULL, &absorbed},
        cmocka_unit_test(same_bits),
        cmocka_unit_test(main_model),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("model mtp", tests, NULL, NULL);
}
