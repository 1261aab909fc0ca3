/* smollm2.c -- a real model: SmolLM2-135M-Instruct Q4_1 under f32 against the dequantised weights
 * in float32 by transformers, and what a8 and a16 change, which is printed. Skipped where the file
 * is not there. */
#include "tests.h"
#include <math.h>
#include <stdio.h>

static int64_t ids_of(int32_t *to, const json_t *array) {
    for (size_t i = 0; i < json_array_size(array); i++)
        to[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return (int64_t)json_array_size(array);
}

/* The top ten logits at each greedy position, the log-probability of the chosen token, and the
 * choice itself. */
static void answer_compare(Opened *o, const json_t *line) {
    const json_t *positions = json_object_get(line, "positions");
    int64_t V = o->model->cfg.V;
    int32_t ids[256];
    int64_t prompt = ids_of(ids, json_object_get(line, "prompt_ids"));
    int64_t n = ids_of(ids + prompt, json_object_get(line, "greedy_ids"));
    Mark mark = arena_mark(o->a);
    Result r = ran(o, ids, prompt + n - 1, 0, false);
    for (int64_t i = 0; i < n; i++) {
        const json_t *p = json_array_get(positions, (size_t)i);
        const json_t *id = json_object_get(p, "top_ids"), *logit = json_object_get(p, "top_logits");
        const float *z = r.logits + (prompt - 1 + i) * V;
        for (size_t k = 0; k < 10; k++) {
            double d = fabs((double)z[json_integer_value(json_array_get(id, k))]
                            - json_number_value(json_array_get(logit, k)));
            if (!(d <= 2e-3))
                fail_msg("answer position %d, place %d: off by %g", (int)i, (int)k, d);
        }
        double logprob = (double)(z[ids[prompt + i]] - row_lse(z, V));
        assert_true(fabs(logprob - json_number_value(json_object_get(p, "logprob"))) <= 2e-3);
        assert_true(z[ids[prompt + i]] == row_max(z, V));
    }
    arena_pop(o->a, mark);
}

typedef struct Score {
    double nll;
    int64_t n, same;
    int32_t *top;
} Score;

/* Mean negative log-probability over the windows, held against the reference's when `compare`; the
 * largest logit's token at each place, and how often it is the one of `first`. */
static Score windows_score(Opened *o, const json_t *ppl, const Score *first, bool compare) {
    const json_t *windows = json_object_get(ppl, "windows");
    int64_t V = o->model->cfg.V;
    Score s = {.top = PUSH(o->a, int32_t, (int64_t)json_array_size(windows) * 256)};
    for (size_t w = 0; w < json_array_size(windows); w++) {
        const json_t *window = json_array_get(windows, w), *nll = json_object_get(window, "nll");
        int32_t ids[256];
        int64_t n = ids_of(ids, json_object_get(window, "ids"));
        Mark mark = arena_mark(o->a);
        Result r = ran(o, ids, n - 1, 0, false);
        for (int64_t i = 0; i + 1 < n; i++, s.n++) {
            const float *z = r.logits + i * V;
            double mine = (double)row_lse(z, V) - (double)z[ids[i + 1]];
            double theirs = json_number_value(json_array_get(nll, (size_t)i));
            if (compare) assert_true(fabs(mine - theirs) <= 2e-3);
            s.nll += mine;
            for (float top = row_max(z, V); z[s.top[s.n]] != top;) s.top[s.n]++;
            s.same += first && first->top[s.n] == s.top[s.n];
        }
        arena_pop(o->a, mark);
    }
    s.nll /= (double)s.n;
    return s;
}

static void plan_as(Opened *o, Act act) {
    PlanSpec spec = plan_defaults(o->model);
    spec.act = act, spec.kv = act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16;
    planned(o, spec);
}

static void test_real(void **state) {
    (void)state;
    Arena *a = arena_open("smollm2", 1 << 26);
    const char *file = need_smollm2(a), *greedy = need_reference(a, "smollm2/greedy.jsonl");
    const char *windows = need_reference(a, "smollm2/ppl.json");
    Opened o;
    opened(&o, file, MIN(os_cpus(), 64));
    assert_int_equal(model_count(o.model), 134515008);
    assert_true(plan_defaults(o.model).act == ACT_A8 && plan_defaults(o.model).kv == DTYPE_BF16);
    plan_as(&o, ACT_F32);
    Err err = {0};
    Str lines;
    must(os_read(a, &lines, greedy, 1 << 26, &err), &err);
    for (int64_t at = 0, end; at < lines.n; at = end + 1) {
        for (end = at; end < lines.n && lines.p[end] != '\n';) end++;
        json_t *line = json_loadb(lines.p + at, (size_t)(end - at), 0, NULL);
        answer_compare(&o, line);
        json_decref(line);
    }
    json_t *ppl = json_of(a, windows);
    Score exact = windows_score(&o, ppl, NULL, true);
    double mean = json_number_value(json_object_get(ppl, "mean_nll"));
    assert_true(fabs(exact.nll - mean) <= 1e-4);
    for (Act act = ACT_A16; act <= ACT_A8; act++) {
        plan_as(&o, act);
        Score s = windows_score(&o, ppl, &exact, false);
        print_message("# SmolLM2 %s: perplexity %.4f (f32 %.4f, reference %.4f), same top token as "
                      "f32 %.2f %%\n",
                      act_name(act), exp_f64(s.nll), exp_f64(exact.nll), exp_f64(mean),
                      100 * (double)s.same / (double)s.n);
        assert_true(fabs(s.nll - mean) < 0.03 && s.same > s.n * 9 / 10);
    }
    json_decref(ppl);
    closed(&o);
    arena_close(a);
}

int test_smollm2(void) {
    const struct CMUnitTest tests[] = {
        {"SmolLM2 as transformers runs it", test_real, NULL, NULL, NULL}};
    return cmocka_run_group_tests_name("model SmolLM2", tests, NULL, NULL);
}
