/* balance.c -- the balance of experts really acts: a router that sends all rows to the same experts
 * is brought back by its bias, or by the sequence-wise loss, and stays as it is without them; what
 * the log says of it is what happened. */
#include "tests.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "model/layer.h"
#include "train/trainer.h"

static Trainer *open_trainer(const Recipe *r, int64_t threads) {
    Trainer *t = NULL;
    Err err = {0};
    if (!trainer_open(&t, r, threads, &err)) fail_msg("%s", err.msg);
    return t;
}

static StepStats step(Trainer *t) {
    StepStats s;
    Err err = {0};
    if (!trainer_step(t, &s, &err)) fail_msg("%s", err.msg);
    return s;
}

static const char *const plain[] = {"model.n_group=1", "model.topk_group=1", "optim.steps=1000",
                                    "balance.rate=0", "balance.sequence_loss=0"};

static Recipe recipe(Arena *a, const char *more) {
    const char *set[COUNT(plain) + 1];
    memcpy(set, plain, sizeof plain);
    set[COUNT(plain)] = more;
    return tiny_recipe(a, "deepseek_v3", set, COUNT(set));
}

/* Sums of the loads of a layer are all slots of the step, a mean load is mean. */
static void check_loads(const Trainer *t, const StepStats *s) {
    const Routing *r = &t->routing;
    double most = 0, entropy = 0;
    for (int64_t i = 0; i < r->layers; i++) {
        int64_t sum = 0, top = 0;
        for (int64_t e = 0; e < r->E; e++)
            sum += r->load[i * r->E + e], top = MAX(top, r->load[i * r->E + e]);
        assert_int_equal(sum, s->targets * 2);
        assert_int_equal(r->rows[i], s->targets);
        most = fmax(most, (double)top / ((double)sum / (double)r->E) - 1);
        entropy += r->entropy[i] / (double)r->looked[i] / (double)r->layers;
    }
    assert_true(fabs(s->max_vio - most) < 1e-12);
    assert_true(entropy == s->router_entropy && entropy > 0 && entropy < log(8) + 1e-6);
}

/* Mean MaxVio of the last 10 of n steps, from biases that always choose experts 0 and 1. */
static double biased_run(Arena *a, const char *more, int64_t n) {
    const Recipe r = recipe(a, more);
    Trainer *t = open_trainer(&r, 2);
    const Model *m = trainer_model(t);
    double last = 0;
    for (int64_t i = 0; i < m->n_layers; i++)
        for (int64_t e = 0; m->layer[i].bias && e < 2; e++) m->layer[i].bias->master[e] = 0.5f;
    for (int64_t i = 0; i < n; i++) {
        const StepStats s = step(t);
        check_loads(t, &s);
        if (i == 0) assert_true(s.max_vio == 3); /* 8 experts, all rows to the same 2 */
        if (i >= n - 10) last += s.max_vio / 10;
        if (i + 1 < DEAD_STEPS) assert_int_equal(s.dead_experts, 0);
        if (i + 1 == DEAD_STEPS) assert_int_equal(s.dead_experts, 12); /* of two layers */
        if (i + 1 == n && r.balance.rate > 0) assert_int_equal(s.dead_experts, 0);
    }
    trainer_close(t);
    return last;
}

static void test_bias(void **state) {
    need_own_speed();
    const double with = biased_run(*state, "balance.rate=0.01", 60),
                 without = biased_run(*state, "balance.rate=0", 60);
    print_message("MaxVio %.2f with the bias moved, %.2f without\n", with, without);
    assert_true(without > 2.5 && with < 1);
}

/* The sign rule itself, on loads that are given: below the mean up, above down, at the mean not. */
static void test_signs(void **state) {
    const Recipe r = recipe(*state, "balance.rate=0.01");
    Trainer *t = open_trainer(&r, 1);
    Model *m = trainer_model(t);
    Routing *x = &t->routing;
    routing_clear(x);
    static const int64_t load[8] = {0, 4, 8, 4, 3, 5, 4, 4};
    memcpy(x->load, load, sizeof load);
    routing_balance((Thread){0, 1, NULL}, m, x, 0.01f);
    const float *bias = m->layer[1].bias->master, *other = m->layer[2].bias->master;
    for (int64_t e = 0; e < 8; e++) {
        assert_true(bias[e] == (load[e] < 4 ? 0.01f : load[e] > 4 ? -0.01f : 0));
        assert_true(other[e] == 0);
    }
    trainer_close(t);
}

/* The rate ends at 0: 1000 steps, of which the last tenth. */
static void test_rate(void **state) {
    const Recipe r = recipe(*state, "balance.rate=0.5");
    assert_true(balance_rate_at(&r, 1) == 0.5 && balance_rate_at(&r, 900) == 0.5);
    assert_true(fabs(balance_rate_at(&r, 950) - 0.25) < 1e-15);
    assert_true(balance_rate_at(&r, 1000) == 0 && balance_rate_at(&r, 1001) == 0);
}

/* Embeddings that share a direction and a router whose rows 0 and 1 like it: no bias, so what moves
 * is the router. */
static double skewed_run(Arena *a, const char *more, int64_t n) {
    const Recipe r = recipe(a, more);
    Trainer *t = open_trainer(&r, 2);
    const Model *m = trainer_model(t);
    double last = 0;
    for (int64_t i = 0; i < m->cfg.V; i++) m->embed->master[i * m->cfg.C] = 0.1f;
    for (int64_t i = 0; i < m->n_layers; i++)
        for (int64_t e = 0; m->layer[i].router && e < 2; e++)
            m->layer[i].router->master[e * m->cfg.C] = 0.1f;
    panels_repack((Thread){0, 1, NULL}, trainer_plan(t)->panels);
    for (int64_t i = 0; i < n; i++) {
        const StepStats s = step(t);
        if (i == 0) {
            assert_true(s.max_vio > 2);
            /* Two layers, each between 1 (even) and 4 (all rows at the same two of eight). */
            const double each = s.balance_loss / r.balance.sequence_loss / 2;
            if (r.balance.sequence_loss > 0) assert_true(each > 1 && each < 4);
        }
        if (i >= n - 10) last += s.max_vio / 10;
    }
    trainer_close(t);
    return last;
}

static void test_sequence_loss(void **state) {
    need_own_speed();
    const double with = skewed_run(*state, "balance.sequence_loss=0.3", 40),
                 without = skewed_run(*state, "balance.sequence_loss=0", 40);
    print_message("MaxVio %.2f with the sequence-wise loss, %.2f without\n", with, without);
    assert_true(with < 0.7 * without);
}

/* Its gradient reaches the routers alone where the experts' layers are the last: the norm moves in
 * proportion to its weight. */
static void test_sequence_gradient(void **state) {
    double norm[3];
    static const char *const set[] = {"balance.sequence_loss=0", "balance.sequence_loss=10",
                                      "balance.sequence_loss=20"};
    for (int i = 0; i < 3; i++) {
        const Recipe r = recipe(*state, set[i]);
        Trainer *t = open_trainer(&r, 1);
        step(t);
        norm[i] = 0;
        for (int64_t p = 0; p < t->model->n_params; p++)
            if (strstr(t->model->param[p].name, "mlp.gate.weight")) norm[i] += t->square[p];
        norm[i] = sqrt(norm[i]);
        trainer_close(t);
    }
    assert_true(norm[1] > 2 * norm[0]);
    assert_true(fabs(norm[2] / norm[1] - 2) < 0.2);
}

/* What stands in the log is what the reports are drawn from. */
static void test_log(void **state) {
    Arena *a = *state;
    static const char *const set[] = {"optim.steps=4", "log.load_every=2"};
    const Recipe r = tiny_recipe(a, "deepseek_v3", set, 2);
    Str log;
    Err err = {0};
    if (!train_run(&r, 2, &err)) fail_msg("%s", err.msg);
    assert_true(
        os_read(a, &log, str_fmt(a, "%s/metrics.jsonl", r.checkpoint.folder).p, 1 << 20, &err));
    int lines = 0, loads = 0;
    for (const char *p = log.p; (p = strstr(p, "\"max_vio\": [")); p++) lines++;
    for (const char *p = log.p; (p = strstr(p, "\"expert_load\": [[")); p++) {
        int64_t sum = 0, numbers = 0;
        for (char *q = (char *)(uintptr_t)p + 17; *q != '\n' && strncmp(q, "]]", 2);) {
            const bool digit = *q >= '0' && *q <= '9';
            if (digit) sum += strtoll(q, &q, 10), numbers++;
            q += !digit;
        }
        assert_int_equal(numbers, 16);
        assert_true(sum % 4 == 0 && sum > 192); /* two layers, two slots a row */
        loads++;
    }
    assert_int_equal(lines, 4);
    assert_int_equal(loads, 2);
    assert_non_null(strstr(log.p, "\"router_entropy\": ["));
    assert_non_null(strstr(log.p, "\"dead_experts\": 0, \"balance_loss\": "));
}

int balance_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(test_bias),
                                       ARENA_TEST(test_signs),
                                       ARENA_TEST(test_rate),
                                       ARENA_TEST(test_sequence_loss),
                                       ARENA_TEST(test_sequence_gradient),
                                       ARENA_TEST(test_log)};
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
