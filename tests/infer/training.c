/* training.c -- an engine on a plan that is for training: it answers as on any other plan, and the
 * plan still trains. */
#include "tests.h"
#include "support/rig.h"

enum { POSITIONS = 256, ASKS = 4 };
static const EngineSpec SPEC = {.seqs = 3, .queue = ASKS, .rows = 64, .chunk = 20};
static Team *team;

static void answers(Rig *r, Answer *to) {
    Err err = {0};
    for (int64_t i = 0; i < ASKS; i++) {
        const Ask q = {.text = i,
                       .n = 20 + 40 * i,
                       .max_tokens = 6,
                       .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 3}};
        if (!ask(r, &q, &to[i], &err)) fail_msg("%s", err.msg);
    }
    rig_run(r);
}

typedef struct TrainingStep {
    Plan *plan;
    float *logits;
    const int32_t *token;
} TrainingStep;

enum { ROWS = 40 };

static void step_thread(Thread th, void *arg) {
    const TrainingStep *s = arg;
    Span span = {.n = ROWS};
    const Batch b = {.n = ROWS, .token = s->token, .span = &span, .n_spans = 1};
    Out out = {0};
    plan_pages(thread_alone(th), s->plan, &span, 1);
    CHECK(model_forward(thread_alone(th), s->plan, &b, &out, plan_acts(s->plan)));
}

static void engine_on_training(Arena *a, const char *name, Act act) {
    const char *path = rig_path(a, name);
    Rig r;
    Answer on[2][ASKS];
    int32_t token[ROWS];
    for (int i = 0; i < 2; i++) { /* the other plan first: this one's gradients stay the model's */
        rig_open(&r, a, team, path);
        model_train(r.model, a);
        PlanSpec p = {.act = act, .mla = MLA_EXPANDED, .training = i};
        p.kv = act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16;
        rig_plan(&r, p, &SPEC, POSITIONS);
        assert_true(!plan_acts(r.plan) == !i);
        answers(&r, on[i]);
        if (i == 0) rig_close(&r);
    }
    for (int64_t i = 0; i < ASKS; i++) assert_true(answer_same(&on[0][i], &on[1][i]));
    ask_prompt(token, 9, ROWS, r.model->cfg.V);
    Team *one = team_open(1);
    team_run(one, step_thread, &(TrainingStep){r.plan, NULL, token});
    team_close(one);
    rig_close(&r);
}

static void llama_on_training(void **state) { engine_on_training(*state, "llama-tiny", ACT_A16); }
static void deepseek_on_training(void **state) {
    engine_on_training(*state, "deepseek-v3-tiny", ACT_F32);
}

static int open_team(void **state) {
    (void)state;
    team = team_open(2);
    return 0;
}
static int close_team(void **state) {
    (void)state;
    team_close(team);
    return 0;
}

int training_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(llama_on_training),
                                       ARENA_TEST(deepseek_on_training)};
    return cmocka_run_group_tests_name("training", tests, open_team, close_team);
}
