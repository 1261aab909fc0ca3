/* optim.c -- rates, norm and AdamW, alone and over five steps of the reference runs.
 *
 * The references (train.safetensors of the reference models) are transformers' models in float64
 * with torch's AdamW: losses before each of five steps and the weights after them. Tolerances are
 * those that come with them. */
#include "tests.h"

#include <math.h>

static bool near(double a, double b, double tolerance) { return fabs(a - b) <= tolerance; }

static void test_rate(void **state) {
    (void)state;
    Recipe r = {
        .optim = {.lr = 1e-3, .lr_min = 1e-4, .warmup = 10, .steps = 110, .schedule = "cosine"}};
    assert_true(rate_at(&r, 1) == 1e-3 * 1 / 10);
    assert_true(rate_at(&r, 10) == 1e-3);
    for (int64_t step = 11; step <= 110; step++)
        assert_true(near(rate_at(&r, step),
                         1e-4 + 9e-4 * 0.5 * (1 + cos(acos(-1) * (double)(step - 10) / 100)),
                         1e-18));
    assert_true(near(rate_at(&r, 110), 1e-4, 1e-18));
    assert_true(near(rate_at(&r, 500), 1e-4, 1e-18));
    r.optim.schedule = "constant";
    assert_true(rate_at(&r, 5) == 5e-4 && rate_at(&r, 99) == 1e-3);
    r.optim.schedule = "wsd";
    for (int i = 0; i < 2; i++) {
        r.optim.decay_steps = i ? 55 : 0.5;
        assert_int_equal(decay_steps(&r), 55);
        assert_true(rate_at(&r, 5) == 5e-4 && rate_at(&r, 11) == 1e-3 && rate_at(&r, 55) == 1e-3);
        for (int64_t step = 55; step <= 110; step++)
            assert_true(near(rate_at(&r, step), 1e-4 + 9e-4 * (double)(110 - step) / 55, 1e-18));
        assert_true(rate_at(&r, 110) == 1e-4 && rate_at(&r, 111) == 1e-4);
    }
    r.optim.decay_steps = 0;
    assert_true(rate_at(&r, 109) == 1e-3 && rate_at(&r, 110) == 1e-4);
    r.optim.schedule = "constant";
    r.optim.warmup = 0;
    assert_true(rate_at(&r, 1) == 1e-3);
}

/* ---- a model of two tensors, against a plain double twin ------------------------------------- */

enum { ROWS = 3, COLS = 37, BIAS = 21 };

typedef struct Two {
    Model m;
    Param p[3];
    float x[3][4][ROWS * COLS];
} Two;

static void two_fill(Two *t) {
    *t = (Two){0};
    for (int i = 0; i < 3; i++) {
        t->p[i] = (Param){.name = "x",
                          .decay = i == 0,
                          .optimiser = i == 2 ? OPTIMISER_NONE : OPTIMISER_ADAMW,
                          .w = {.n = 1, .rows = i ? 1 : ROWS, .cols = i ? BIAS : COLS},
                          .count = i ? BIAS : ROWS * COLS,
                          .master = t->x[i][0],
                          .grad = t->x[i][1],
                          .moment = {t->x[i][2], t->x[i][3]}};
        for (int64_t j = 0; j < t->p[i].count; j++) {
            t->x[i][0][j] = (float)(dice(2001) - 1000) * 1e-3f;
            t->x[i][1][j] = (float)(dice(2001) - 1000) * 1e-4f;
        }
    }
    t->m = (Model){.param = t->p, .n_params = 3};
}

typedef struct Job {
    Two *t;
    Optim *o;
    double norm;
} Job;

static void step_thread(Thread th, void *arg) {
    Job *j = arg;
    static double square[3];
    for (int64_t step = 1; step <= 3; step++) {
        double norm = grad_norm(th, &j->t->m, square);
        if (th.i == 0) j->norm = norm;
        optim_step(th, j->o, step, 1);
    }
}

static void test_adamw(void **state) {
    static Two t, u;
    Recipe r = {.optim = {.lr = 1e-2,
                          .betas = {0.9, 0.95},
                          .eps = 1e-8,
                          .weight_decay = 0.1,
                          .steps = 9,
                          .schedule = "constant"}};
    for (int64_t threads = 1; threads <= 5; threads++) {
        static Two first;
        if (threads == 1) two_fill(&first);
        t = first;
        for (int i = 0; i < 3; i++)
            t.p[i].master = t.x[i][0], t.p[i].grad = t.x[i][1], t.p[i].moment[0] = t.x[i][2],
            t.p[i].moment[1] = t.x[i][3];
        t.m.param = t.p;
        Job job = {&t, optim_new(*state, &t.m, &r, threads), 0};
        Team *team = team_open(threads);
        team_run(team, step_thread, &job);
        team_close(team);
        if (threads == 1) u = t;
        assert_memory_equal(t.x, u.x, sizeof t.x);
        double norm = 0;
        for (int i = 0; i < 2; i++)
            for (int64_t j = 0; j < t.p[i].count; j++)
                norm += (double)first.x[i][1][j] * first.x[i][1][j];
        assert_true(near(job.norm, sqrt(norm), 1e-12));
        for (int i = 0; i < 3; i++)
            for (int64_t j = 0; j < t.p[i].count; j++) {
                double w = first.x[i][0][j], g = first.x[i][1][j], m = 0, v = 0;
                for (int step = 1; step <= 3 && i < 2; step++) {
                    m = 0.9 * m + 0.1 * g, v = 0.95 * v + 0.05 * g * g;
                    w -= 1e-2 * (i == 0 ? 0.1 : 0) * w;
                    w -= 1e-2 * (m / (1 - pow(0.9, step)))
                         / (sqrt(v / (1 - pow(0.95, step))) + 1e-8);
                }
                assert_true(near(t.x[i][0][j], w, 2e-6));
            }
    }
}

/* ---- five steps of a reference model --------------------------------------------------------- */

typedef struct Run {
    Model *m;
    Plan *plan;
    Optim *o;
    Recipe r;
    const int32_t *rows; /* (2, 33) of the step */
    float *hidden, *logits, logprob[64];
    double loss;
    int64_t step;
    Arena *a;
    Store *oracle;
} Run;

enum { T = 32 };

/* A matrix of a parameter as the references store it: experts one by one. */
static const float *reference(Arena *a, const Store *s, const char *kind, const Param *p,
                              int64_t e) {
    const char *percent = strstr(p->name, "%d");
    Str name = percent ? str_fmt(a, "%s.%.*s%d%s", kind, (int)(percent - p->name), p->name, (int)e,
                                 percent + 2)
                       : str_fmt(a, "%s.%s", kind, p->name);
    const Tensor *t = store_find(s, name);
    assert_non_null(t);
    assert_int_equal(tensor_elements(t), p->count / p->w.n);
    return t->data;
}

/* The first AdamW step is about lr times the gradient's sign. Where the true gradient is below the
 * noise of f32, the sign is the noise's, the weight goes 1e-3 to one side or the other, and all
 * that follows differs by more than the tolerances. So of the first gradient such entries, a few in
 * ten thousand, are taken from the reference. */
static void noise_settle(Arena *a, const Store *s, Model *m) {
    int64_t settled = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *p = &m->param[i];
        const int64_t n = p->count / p->w.n;
        for (int64_t e = 0; e < p->w.n && param_learns(p); e++) {
            const float *g = reference(a, s, "grad", p, e);
            for (int64_t j = 0; j < n; j++) {
                if (g[j] == 0 || fabsf(g[j]) > 1e-7f) continue;
                assert_true(near(p->grad[e * n + j], g[j], 1e-6));
                p->grad[e * n + j] = g[j];
                settled++;
            }
        }
    }
    assert_true(settled * 1000 < model_count(m));
}

static void reference_step(Thread th, void *arg) {
    Run *u = arg;
    static int32_t token[2 * T], target[2 * T];
    static Want want[2 * T];
    static Span span[2];
    static Out out;
    if (th.i == 0)
        for (int i = 0; i < 2 * T; i++) {
            token[i] = u->rows[i / T * (T + 1) + i % T];
            target[i] = u->rows[i / T * (T + 1) + i % T + 1];
            want[i] = (Want){i, WANT_HIDDEN};
            span[i / T] = (Span){.row = i / T * T, .n = T, .seq = i / T};
            out.hidden = u->hidden;
        }
    thread_sync(th);
    model_zero_grad(th, u->m);
    plan_pages(th, u->plan, span, 2);
    const Batch b = {
        .n = 2 * T, .token = token, .span = span, .n_spans = 2, .want = want, .n_want = 2 * T};
    CHECK(model_forward(th, u->plan, &b, &out, plan_acts(u->plan)));
    hidden_loss_back(th, u->plan, u->hidden, u->logprob, target, 1.0f / (2 * T), 2 * T, u->logits);
    if (th.i == 0) u->loss = -tree_f64(u->logprob, 2 * T) / (2 * T);
    model_back(th, u->plan, &b, u->hidden, plan_acts(u->plan));
    if (th.i == 0 && u->step == 1) noise_settle(u->a, u->oracle, u->m);
    thread_sync(th);
    optim_step(th, u->o, u->step, 1);
    panels_repack(th, u->plan->panels);
}

static void check_final(Arena *a, const Store *s, const Param *p) {
    const int64_t n = p->count / p->w.n;
    int64_t far = 0;
    for (int64_t e = 0; e < p->w.n; e++) {
        const float *final = reference(a, s, "final", p, e);
        for (int64_t i = 0; i < n; i++) {
            const double off = fabs((double)p->master[e * n + i] - final[i]);
            assert_true(off <= 5e-4);
            far += off > 2e-6;
        }
    }
    if (far * 1000 > p->count)
        print_message("%s: %d of %d far off\n", p->name, (int)far, (int)p->count);
    assert_true(far * 1000 <= p->count || far <= 1);
}

static void check_reference(Arena *a, const char *name, int64_t threads) {
    Err err = {0};
    const char *path = need_reference(a, str_fmt(a, "models/%s", name).p);
    Store *s, *o = NULL;
    Run u = {.a = a,
             .r = {.optim = {.lr = 1e-3,
                             .betas = {0.9, 0.95},
                             .eps = 1e-8,
                             .weight_decay = 0.1,
                             .steps = 5,
                             .schedule = "constant"}}};
    Team *team = team_open(threads);
    assert_true(store_open(&s, a, path, &err)
                && store_open(&o, a, str_fmt(a, "%s/train.safetensors", path).p, &err));
    assert_true(model_open(&u.m, a, s, &err));
    model_train(u.m, a);
    u.oracle = o;
    PlanSpec spec = {.act = ACT_F32,
                     .mla = MLA_EXPANDED,
                     .kv = DTYPE_F32,
                     .rows = 2 * T,
                     .logit_rows = 2 * T,
                     .spans = 2,
                     .positions = T,
                     .training = true};
    assert_true(plan_new(&u.plan, a, u.m, &spec, 0, team, &err));
    u.o = optim_new(a, u.m, &u.r, threads);
    u.hidden = PUSH(a, float, 2 * T * u.m->cfg.C);
    u.logits = PUSH(a, float, 2 * T * u.m->cfg.V);
    const float *losses = store_find(o, STR("losses"))->data;
    for (u.step = 1; u.step <= 5; u.step++) {
        u.rows = store_find(o, str_fmt(a, "batch.%d", (int)u.step - 1))->data;
        team_run(team, reference_step, &u);
        assert_true(near(u.loss, losses[u.step - 1], 2e-5));
    }
    for (int64_t i = 0; i < u.m->n_params; i++)
        if (param_learns(&u.m->param[i])) check_final(a, o, &u.m->param[i]);
    team_close(team);
    store_close(o);
    store_close(s);
}

static void test_llama(void **state) { check_reference(*state, "llama-tiny", 2); }
static void test_qwen3(void **state) { check_reference(*state, "qwen3-tiny", 2); }
static void test_glm4(void **state) { check_reference(*state, "glm4-moe-lite-tiny", 2); }
static void test_deepseek_v2(void **state) { check_reference(*state, "deepseek-v2-lite-tiny", 2); }
static void test_deepseek_v3(void **state) { check_reference(*state, "deepseek-v3-tiny", 3); }

int optim_tests(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rate), ARENA_TEST(test_adamw),
                                       ARENA_TEST(test_llama),      ARENA_TEST(test_qwen3),
                                       ARENA_TEST(test_glm4),       ARENA_TEST(test_deepseek_v2),
                                       ARENA_TEST(test_deepseek_v3)};
    return cmocka_run_group_tests_name("optim", tests, NULL, NULL);
}
