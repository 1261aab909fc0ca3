/* plan.c -- plans: the budget and its refusal, and rows that know nothing of each other: logits are
 * the same bits for any number of threads, any chunking and any other sequences in the batch. */
#include "tests.h"
#include "model/layer.h"
#include <stdio.h>

static const PlanSpec f32 = {.act = ACT_F32, .mla = MLA_ABSORBED, .kv = DTYPE_F32};

static void opened_golden(Opened *o, const char *model, int64_t threads) {
    Arena *a = arena_open("path", 1 << 16);
    const char *path = need_reference(a, str_fmt(a, "models/%s", model).p);
    assert_non_null(path);
    opened(o, path, threads);
    arena_close(a);
}

static void budget(void **state) {
    (void)state;
    Opened o;
    Err err = {0};
    opened_golden(&o, "deepseek-v3-tiny", 2);
    PlanSpec s = f32;
    s.rows = 64, s.logit_rows = 64, s.spans = 4, s.positions = 64, s.pages = 3;
    int64_t used = arena_used(o.a), sum = 0, outside = 0;
    must(plan_new(&o.plan, o.a, o.model, &s, 0, o.team, &err), &err);
    for (int64_t i = 0; i < o.plan->n_items; i++) {
        const char *what = o.plan->item[i].what;
        sum += o.plan->item[i].bytes;
        if (!strcmp(what, "KV pages") || !strcmp(what, "logits") || !strcmp(what, "program")
            || !strcmp(what, "names and vectors of the model")
            || !strcmp(what, "a tensor while it is packed"))
            outside += o.plan->item[i].bytes;
    }
    assert_int_equal(sum, o.plan->bytes);
    assert_null(weight_of(o.plan, o.model->embed)->tile); /* untied: only looked up */
    /* All that the plan took from the arena is in its items; structs are the little above. */
    int64_t took = arena_used(o.a) - used, said = sum - outside;
    assert_true(took >= said && took < said + 64 * 1024);
    assert_int_equal(o.plan->kv.n_layers, o.model->cfg.L);

    used = arena_used(o.a);
    Plan *none = NULL;
    assert_false(plan_new(&none, o.a, o.model, &s, o.plan->bytes - 1, o.team, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "program")); /* the largest item of so small a model */
    assert_null(none);
    assert_int_equal(arena_used(o.a), used);
    closed(&o);
}

static void refused(void **state) {
    (void)state;
    Opened o;
    opened_golden(&o, "deepseek-v3-tiny", 1);
    model_train(o.model, o.a);
    struct {
        PlanSpec s;
        ErrCode code;
    } wrong[] = {
        {{.act = ACT_A8, .kv = DTYPE_BF16}, ERR_USAGE},
        {{.act = ACT_F32, .kv = DTYPE_F16}, ERR_USAGE},
        {{.act = ACT_F32, .kv = DTYPE_F32, .mla = MLA_ABSORBED, .training = true}, ERR_USAGE},
    };
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        PlanSpec s = wrong[i].s;
        s.rows = s.spans = 1, s.positions = 64;
        Err err = {0};
        assert_false(plan_new(&o.plan, o.a, o.model, &s, 0, o.team, &err));
        assert_int_equal(err.code, wrong[i].code);
    }
    closed(&o);
}

/* ---- rows that know nothing of each other ---------------------------------------------------- */

enum { T = 60, PARTS = 3 };

typedef struct Step {
    Plan *plan;
    Batch batch;
    Out out;
    bool valid[5]; /* of each thread */
} Step;
static void forward(Thread th, void *arg) {
    Step *s = arg;
    s->valid[th.i] = model_forward(th, s->plan, &s->batch, &s->out, NULL);
}

/* Three sequences in the same steps, in chunks of 5, 7 and 11 rows; the first is `ids`. Only its
 * logits are wanted. */
static void with_neighbours(Opened *o, const int32_t *ids, float *logits) {
    static const int64_t chunk[PARTS] = {5, 7, 11};
    void *page[PARTS][1];
    int64_t at[PARTS] = {0}, V = o->model->cfg.V;
    for (int64_t i = 0; i < PARTS; i++) page[i][0] = arena_push(o->a, o->plan->kv.page_bytes);
    while (at[0] < T) {
        int32_t token[32];
        Want want[8];
        Span span[PARTS];
        int64_t n = 0, n_spans = 0, n_want = MIN(chunk[0], T - at[0]);
        /* the first sequence stands last, so that its rows are not where they were */
        for (int64_t i = PARTS - 1; i >= 0; i--) {
            int64_t rows = MIN(chunk[i], T - at[i]);
            if (rows == 0) continue;
            for (int64_t j = 0; i == 0 && j < rows; j++)
                want[j] = (Want){(int32_t)(n + j), WANT_LOGITS};
            for (int64_t j = 0; j < rows; j++)
                token[n + j] = (int32_t)((ids[at[i] + j] + i * 37) % V);
            span[n_spans++] = (Span){n, rows, at[i], page[i], i};
            n += rows;
        }
        Step s = {o->plan,
                  {n, token, span, n_spans, want, n_want, 0},
                  {.logits = logits + at[0] * V},
                  {false}};
        team_run(o->team, forward, &s);
        assert_true(s.valid[0]);
        for (int64_t i = 0; i < PARTS; i++) at[i] += MIN(chunk[i], T - at[i]);
    }
}

static void same_bits(void **state) {
    const char *model = *state;
    int32_t ids[T];
    float *first = NULL;
    Arena *a = arena_open("first", 1 << 24);
    for (int64_t k = 0; k < 8; k++) {
        Opened o;
        opened_golden(&o, model, k % 4 == 3 ? 5 : k % 4 + 1);
        PlanSpec s = f32;
        if (k >= 4) s.act = ACT_A16, s.kv = DTYPE_BF16;
        planned(&o, s);
        size_t bytes = (size_t)(T * o.model->cfg.V) * sizeof(float);
        for (int32_t i = 0; i < T; i++) ids[i] = i * 41 % 320;
        if (k % 4 == 0) {
            first = arena_push(a, (int64_t)bytes);
            memcpy(first, ran(&o, ids, T, 0, false).logits, bytes);
        }
        assert_memory_equal(ran(&o, ids, T, k % 4 * 3 + 1, false).logits, first, bytes);
        float *logits = arena_push(o.a, (int64_t)bytes);
        with_neighbours(&o, ids, logits);
        assert_memory_equal(logits, first, bytes);
        closed(&o);
    }
    arena_close(a);
}

/* Each row gets what it wants, several rows of a sequence too, and the bits of a run in which every
 * row wants everything. */
static void wants(void **state) {
    const char *name = *state;
    Opened o;
    opened_golden(&o, name, 3);
    planned(&o, f32);
    const Config *c = &o.model->cfg;
    int64_t V = c->V, C = c->C, choices = c->L * c->K;
    int32_t ids[T];
    for (int32_t i = 0; i < T; i++) ids[i] = i * 29 % 320;
    Result all = ran(&o, ids, T, 0, true);
    const float *last = all.hidden + (c->L + 1) * T * C;
    for (uint64_t round = 0; round < 40; round++) {
        Want want[T];
        int64_t n = 0, n_logits = 0, n_hidden = 0, n_experts = 0;
        void *page[1] = {arena_push(o.a, o.plan->kv.page_bytes)};
        for (int64_t i = 0; i < T; i++) {
            int32_t what = (int32_t)(philox(round, (uint64_t)i, 0).w[0] % 16);
            if (!c->E) what &= ~WANT_EXPERTS;
            if (what < 8 && what) want[n++] = (Want){(int32_t)i, what};
        }
        Span span = {0, T, 0, page, 0};
        Step s = {o.plan,
                  {T, ids, &span, 1, want, n, 0},
                  {.logits = PUSH(o.a, float, T *V),
                   .hidden = PUSH(o.a, float, T *C),
                   .expert = PUSH(o.a, int32_t, T * choices + 1),
                   .expert_weight = PUSH(o.a, float, T *choices + 1)},
                  {false}};
        team_run(o.team, forward, &s);
        for (int64_t i = 0; i < n; i++) {
            int64_t row = want[i].row;
            if (want[i].what & WANT_LOGITS)
                assert_memory_equal(s.out.logits + n_logits++ * V, all.logits + row * V,
                                    (size_t)V * 4);
            if (want[i].what & WANT_HIDDEN)
                assert_memory_equal(s.out.hidden + n_hidden++ * C, last + row * C, (size_t)C * 4);
            if (!(want[i].what & WANT_EXPERTS)) continue;
            assert_memory_equal(s.out.expert + n_experts * choices, all.expert + row * choices,
                                (size_t)choices * 4);
            assert_memory_equal(s.out.expert_weight + n_experts++ * choices,
                                all.expert_weight + row * choices, (size_t)choices * 4);
        }
        assert_int_equal(batch_wants(&s.batch, WANT_LOGITS), n_logits);
        assert_int_equal(batch_wants(&s.batch, WANT_HIDDEN), n_hidden);
        assert_int_equal(batch_wants(&s.batch, WANT_EXPERTS), n_experts);
    }
    closed(&o);
}

/* A NaN that reaches a router ends the step and says so, to every thread. */
static void nan_says_so(void **state) {
    (void)state;
    Opened o;
    opened_golden(&o, "deepseek-v3-tiny", 2);
    model_train(o.model, o.a);
    o.model->layer[1].router->master[3] = f32_of_bits(0x7fc00000);
    planned(&o, f32);
    void *page[1] = {arena_push(o.a, o.plan->kv.page_bytes)};
    int32_t token[2] = {1, 2};
    Span span = {0, 2, 0, page, 0};
    Step s = {o.plan, {2, token, &span, 1, NULL, 0, 0}, {0}, {true, true}};
    team_run(o.team, forward, &s);
    assert_false(s.valid[0] || s.valid[1]);
    closed(&o);
}

int test_plan(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budget),
        cmocka_unit_test(refused),
        {"same bits, llama-tiny", same_bits, NULL, NULL, (void *)(uintptr_t) "llama-tiny"},
        {"same bits, deepseek-v3-tiny", same_bits, NULL, NULL,
         (void *)(uintptr_t) "deepseek-v3-tiny"},
        {"wants, llama-tiny", wants, NULL, NULL, (void *)(uintptr_t) "llama-tiny"},
        {"wants, deepseek-v3-tiny", wants, NULL, NULL, (void *)(uintptr_t) "deepseek-v3-tiny"},
        cmocka_unit_test(nan_says_so),
    };
    return cmocka_run_group_tests_name("model plan", tests, NULL, NULL);
}
