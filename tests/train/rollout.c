/* rollout.c -- rollout is training: what the engine sampled with, the trainer computes again, to
 * the last bit.
 *
 * 64 sequences of 128 tokens at temperature 1, and more that are cancelled on the way, come and go
 * at random; prompts are prefilled in small chunks beside decoding ones, and prefixes are shared.
 * The trainer then packs them in another order, several to a batch. The largest difference of
 * log-probabilities is 0. That this could be otherwise is shown by a weight of which the engine has
 * a wrong copy. */
#include "tests.h"

#include <math.h>
#include "infer/infer.h"

enum { LENGTH = 128, KEPT = 64, CANCELLED = 16, ALL = KEPT + CANCELLED, ROWS = 512 };

typedef struct Roll {
    int32_t token[LENGTH];
    float logprob[LENGTH];        /* of token i, from `prompt` on */
    int64_t prompt, n, cancel_at; /* cancel_at: at that length; beyond LENGTH: never */
    Finish finish;
    Engine *engine;
} Roll;

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Roll *r = arg;
    assert_int_equal(r->finish, FINISH_NONE);
    (void)logits;
    if (t.id >= 0) {
        r->token[r->n] = t.id;
        r->logprob[r->n++] = t.logprob;
    }
    r->finish = finish;
    if (r->n == r->cancel_at && finish == FINISH_NONE) engine_cancel(r->engine, seq);
}

static void rolls_fill(Roll *roll, int64_t V) {
    for (int64_t i = 0; i < ALL; i++) {
        Roll *r = &roll[i];
        *r = (Roll){.prompt = 1 + dice(40), .cancel_at = i < KEPT ? LENGTH + 1 : 50 + dice(60)};
        const bool shared = i && dice(3) == 0; /* begins as another one does */
        for (r->n = 0; r->n < r->prompt; r->n++)
            r->token[r->n] =
                shared && r->n < roll[i - 1].prompt ? roll[i - 1].token[r->n] : (int32_t)dice(V);
    }
}

static void engine_run(Engine *e, Roll *roll) {
    int64_t next = 0;
    bool busy = true;
    while (busy || next < ALL) {
        while (next < ALL && (!busy || dice(4) == 0)) {
            Roll *r = &roll[next++];
            Err err = {0};
            r->engine = e;
            const SeqReq q = {.prompt = r->token,
                              .n_prompt = r->prompt,
                              .max_tokens = LENGTH - r->prompt,
                              .sampling = {.temperature = 1, .top_p = 1, .seed = (uint64_t)next},
                              .on_token = on_token,
                              .arg = r};
            if (!engine_add(e, &q, &err)) fail_msg("%s", err.msg);
            busy = true;
        }
        busy = engine_step(e);
    }
}

/* An engine over the trainer's model, on these panels, or with panels of its own (NULL). */
static Engine *engine_over(Arena *a, Trainer *t, Act act, Panels *panels, Team *team) {
    const EngineSpec spec = {.seqs = 12, .queue = ALL, .rows = 48, .chunk = 9};
    Err err = {0};
    Plan *plan;
    Engine *e = NULL;
    PlanSpec p = {.act = act,
                  .mla = MLA_EXPANDED,
                  .kv = act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16,
                  .panels = panels};
    engine_plan(&p, trainer_model(t), &spec, LENGTH, team);
    if (!plan_new(&plan, a, trainer_model(t), &p, 0, team, &err)
        || !engine_new(&e, a, plan, &spec, team, &err))
        fail_msg("%s", err.msg);
    return e;
}

static void rollouts(Engine *e, Roll *roll) {
    engine_run(e, roll);
    for (int64_t i = 0; i < KEPT; i++) assert_int_equal(roll[i].n, LENGTH);
    for (int64_t i = KEPT; i < ALL; i++) assert_int_equal(roll[i].finish, FINISH_CANCEL);
}

/* ---- the trainer's side ---------------------------------------------------------------------- */

typedef struct Score {
    Plan *plan;
    const Roll *roll[ROWS]; /* of each span */
    Span span[ROWS];
    int64_t n_spans, n;
    int32_t token[ROWS], target[ROWS];
    Want want[ROWS];
    float *logits, logprob[ROWS];
    Out out;
} Score;

static void score_thread(Thread th, void *arg) {
    Score *s = arg;
    plan_pages(th, s->plan, s->span, s->n_spans);
    const Batch b = {.n = s->n,
                     .token = s->token,
                     .span = s->span,
                     .n_spans = s->n_spans,
                     .want = s->want,
                     .n_want = s->n};
    CHECK(model_forward(th, s->plan, &b, &s->out, plan_acts(s->plan)));
    token_logprobs(th, s->logprob, s->logits, s->target, s->n, s->plan->model->cfg.V);
}

static void score_add(Score *s, const Roll *r) {
    const int64_t k = s->n_spans++;
    s->roll[k] = r;
    s->span[k] = (Span){.row = s->n, .n = r->n - 1, .seq = k};
    for (int64_t i = 0; i + 1 < r->n; i++, s->n++)
        s->token[s->n] = r->token[i], s->target[s->n] = r->token[i + 1],
        s->want[s->n] = (Want){(int32_t)s->n, WANT_LOGITS};
}

/* Raises *most to the largest difference within the batch; bits that differ without a difference (0
 * and -0) count as 1. */
static void score_run(Score *s, Team *team, double *most) {
    if (s->n_spans) team_run(team, score_thread, s);
    for (int64_t k = 0; k < s->n_spans; k++)
        for (int64_t i = s->roll[k]->prompt; i < s->roll[k]->n; i++) {
            const float here = s->logprob[s->span[k].row + i - 1], there = s->roll[k]->logprob[i];
            if (bits_of_f32(here) == bits_of_f32(there)) continue;
            *most = MAX(*most, here == there ? 1 : fabs((double)here - there));
        }
    s->n = s->n_spans = 0;
}

/* All sequences, in a random order, as many to a batch as go in. */
static double difference(Arena *a, Trainer *t, const Roll *roll, int64_t threads) {
    Score *s = PUSH(a, Score, 1);
    int64_t order[ALL];
    double most = 0;
    Team *team = team_open(threads);
    s->plan = trainer_plan(t);
    s->logits = s->out.logits = PUSH(a, float, ROWS *trainer_model(t)->cfg.V);
    for (int64_t i = 0; i < ALL; i++) {
        const int64_t j = dice(i + 1);
        order[i] = order[j], order[j] = i;
    }
    for (int64_t i = 0; i < ALL; i++) {
        if (s->n + roll[order[i]].n - 1 > ROWS) score_run(s, team, &most);
        score_add(s, &roll[order[i]]);
    }
    score_run(s, team, &most);
    team_close(team);
    return most;
}

/* One engine on the trainer's own panels, before and after a step of the optimiser. */
static void shared_panels(Arena *a, Trainer *t, Act act, Team *team) {
    static Roll before[ALL], after[ALL];
    Err err = {0};
    StepStats stats;
    Engine *e = engine_over(a, t, act, trainer_plan(t)->panels, team);
    rolls_fill(before, trainer_model(t)->cfg.V);
    memcpy(after, before, sizeof before);
    rollouts(e, before);
    assert_true(difference(a, t, before, 2) == 0);
    assert_true(trainer_step(t, &stats, &err));
    assert_true(difference(a, t, before, 1) > 0); /* the weights are others now */
    engine_forget(e);
    rollouts(e, after);
    assert_true(difference(a, t, after, 2) == 0);
}

static void check(Arena *a, const char *family, const char *act) {
    need_native();
    const char *set[] = {str_fmt(a, "act=%s", act).p, "batch.sequence=128", "batch.tokens=512",
                         "batch.micro=512", "optim.steps=40"};
    const Recipe r = tiny_recipe(a, family, set, COUNT(set));
    Trainer *t;
    Err err = {0};
    StepStats stats;
    assert_true(trainer_open(&t, &r, 2, &err));
    for (int i = 0; i < 20; i++) assert_true(trainer_step(t, &stats, &err));

    /* On one thread in a quick run: at this size two spend half of their time waiting. */
    Team *team = team_open(full_run() ? 2 : 1);
    static Roll roll[ALL], spoiled[ALL];
    rolls_fill(roll, trainer_model(t)->cfg.V);
    memcpy(spoiled, roll, sizeof roll);
    rollouts(engine_over(a, t, r.act, NULL, team), roll);
    const double same = difference(a, t, roll, 2);

    /* The engine's panels get a weight that the trainer's do not have. */
    Model *m = trainer_model(t);
    Param *p = m->param;
    while (!strstr(p->name, "layers.1.self_attn.o_proj")) p++;
    const float good = p->master[5];
    p->master[5] = f32_of_bits(bits_of_f32(good) ^ 0x20000000u);
    rollouts(engine_over(a, t, r.act, NULL, team), spoiled);
    p->master[5] = good;
    const double wrong = difference(a, t, spoiled, 1);
    print_message(
        "%s %s: largest difference of %d log-probabilities %g; with one exponent bit flipped %g\n",
        family, act, KEPT * LENGTH, same, wrong);
    assert_true(same == 0);
    assert_true(wrong > 0);
    shared_panels(a, t, r.act, team);
    team_close(team);
    trainer_close(t);
}

static void test_llama_f32(void **state) { check(*state, "llama", "f32"); }
static void test_llama_a16(void **state) { check(*state, "llama", "a16"); }
static void test_deepseek_f32(void **state) { check(*state, "deepseek_v3", "f32"); }
static void test_deepseek_a16(void **state) { check(*state, "deepseek_v3", "a16"); }

int rollout_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(test_llama_f32), ARENA_TEST(test_llama_a16),
                                       ARENA_TEST(test_deepseek_f32),
                                       ARENA_TEST(test_deepseek_a16)};
    return cmocka_run_group_tests_name("rollout", tests, NULL, NULL);
}
