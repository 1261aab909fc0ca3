/* grpo.c -- learning from own answers: the gradient and its weights against plain formulas, the
 * same bits for any threads, sequences at once and legs, log-probabilities of which the difference
 * is 0, a reward that rises, and settings that are refused. */
#include "tests.h"
#include "train/grpo.h"

#include <math.h>
#include <stdlib.h>

static Trainer *opened(const Recipe *r, int64_t threads) {
    Trainer *t;
    Err err = {0};
    if (!trainer_open(&t, r, threads, &err)) fail_msg("%s", err.msg);
    return t;
}

static StepStats stepped(Trainer *t) {
    StepStats s;
    Err err = {0};
    if (!trainer_step(t, &s, &err)) fail_msg("%s", err.msg);
    return s;
}

/* Twelve steps in one go and in two legs, on one to three threads, three or all answers at once. */
static void bits_stay(void **state) {
    need_native();
    Arena *a = *state;
    static const char *const at_once[] = {"grpo.sequences=512", "grpo.sequences=3",
                                          "grpo.sequences=7"};
    Hex hash[3];
    for (int run = 0; run < 3; run++) {
        const char *set[] = {str_fmt(a, "checkpoint.folder=%s/run%d", folder, run).p, at_once[run]};
        const Recipe r = grpo_recipe(a, set, 2);
        for (int64_t step = 0; step < 12;) {
            Err err = {0};
            Trainer *t = opened(&r, 1 + (run + step) % 3);
            assert_int_equal(trainer_steps(t), step);
            for (const int64_t end = run == 0 ? 12 : step + 4; step < end; step++) {
                const StepStats s = stepped(t);
                assert_true(s.answers.difference == 0);
                assert_true(s.answers.clipped == 0 && s.answers.entropy > 0);
                assert_true(s.answers.taught <= 3 && s.answers.groups >= s.answers.taught);
            }
            if (!trainer_save(t, &err)) fail_msg("%s", err.msg);
            hash[run] = model_hash(trainer_model(t));
            trainer_close(t);
        }
    }
    assert_string_equal(hash[0].z, hash[1].z);
    assert_string_equal(hash[0].z, hash[2].z);
    /* Other problems are another run. */
    const char *set[] = {str_fmt(a, "checkpoint.folder=%s/run0", folder).p,
                         "data.train=task:addition:2"};
    const Recipe r = grpo_recipe(a, set, 2);
    Trainer *t;
    Err err = {0};
    assert_false(trainer_open(&t, &r, 1, &err));
    assert_non_null(strstr(err.msg, "data.train or the tokenizer has changed"));
}

/* What is rewarded becomes more frequent, among problems that were drawn at random, too. */
static void reward_rises(void **state) {
    need_own_speed();
    Arena *a = *state;
    const char *set[] = {"grpo.prompts=16", "optim.steps=60", "optim.optimiser=muon"};
    const Recipe r = grpo_recipe(a, set, 3);
    Trainer *t = opened(&r, 2);
    double first = 0, last = 0;
    for (int64_t step = 0; step < 60; step++) {
        const StepStats s = stepped(t);
        assert_true(s.answers.difference == 0);
        if (step < 10) first += s.answers.right / 10;
        if (step >= 50) last += s.answers.right / 10;
    }
    print_message("right: %.3f, then %.3f\n", first, last);
    assert_true(last > 1.3 * first);
    trainer_close(t);
}

/* The second half of a draw meets a model that has moved: ratios leave 1, and some are cut. */
static void later_updates_clip(void **state) {
    need_native();
    Arena *a = *state;
    const char *set[] = {"grpo.updates=2", "optim.lr=2e-2", "grpo.prompts=6", "grpo.clip_high=0.01",
                         "grpo.clip_low=0.01"};
    const Recipe r = grpo_recipe(a, set, 5);
    Trainer *t = opened(&r, 2);
    double clipped = 0;
    for (int64_t step = 0; step < 8; step++) {
        const StepStats s = stepped(t);
        assert_true(s.answers.difference == 0);
        if (step % 2 == 0) assert_true(s.answers.clipped == 0 && s.answers.tokens > 0);
        if (step % 2) assert_true(s.answers.tokens == 0), clipped += s.answers.clipped;
    }
    assert_true(clipped > 0);
    trainer_close(t);
}

/* ---- weights and gradient -------------------------------------------------------------------- */

/* After grpo_begin: what each answer's tokens weigh, beside the formulas. */
static void check_weights(const Trainer *t, const char *variant) {
    const Rollouts *r = t->rolls;
    const int64_t samples = t->recipe->grpo.samples;
    int64_t tokens = 0, answers = 0;
    for (int64_t i = 0; i < r->n_groups * samples; i++) {
        const Answer *a = &r->group[i / samples].answer[i % samples];
        if (a->finish != FINISH_STOP) continue;
        tokens += a->n - a->n_prompt, answers++;
    }
    assert_int_equal(tokens, r->tokens);
    for (int64_t i = 0; i < r->n_groups * samples; i++) {
        const Question *q = &r->group[i / samples];
        const Answer *a = &q->answer[i % samples];
        double mean = 0, square = 0, norm = (double)tokens;
        for (int64_t k = 0; k < samples; k++) mean += q->answer[k].reward / (double)samples;
        for (int64_t k = 0; k < samples; k++)
            square += (q->answer[k].reward - mean) * (q->answer[k].reward - mean) / (double)samples;
        assert_true(square > 0);
        if (!strcmp(variant, "grpo")) norm = (double)((a->n - a->n_prompt) * answers);
        if (!strcmp(variant, "dr_grpo")) norm = (double)(t->recipe->grpo.max_tokens * answers);
        const bool deviation = !strcmp(variant, "grpo") || !strcmp(variant, "dapo");
        const double by = deviation ? sqrt(square) : 1;
        const double want = a->finish == FINISH_STOP ? (a->reward - mean) / by / norm : 0;
        assert_true(fabs(want - (double)a->weight) <= 1e-6 * fabs(want));
    }
}

static void variants_weigh(void **state) {
    need_native();
    Arena *a = *state;
    static const char *const variant[] = {"lisao", "grpo", "dr_grpo", "dapo"};
    for (int64_t i = 0; i < COUNT(variant); i++) {
        const char *set[] = {str_fmt(a, "grpo.variant=%s", variant[i]).p,
                             str_fmt(a, "checkpoint.folder=%s/%s", folder, variant[i]).p};
        const Recipe r = grpo_recipe(a, set, 2);
        Err err = {0};
        Trainer *t = opened(&r, 1);
        t->stats = (StepStats){.step = 1};
        if (!grpo_begin(t, &err)) fail_msg("%s", err.msg);
        check_weights(t, variant[i]);
        trainer_close(t);
    }
}

/* A batch whose rows have random weights and random log-probabilities of before. */
enum { ROWS = 40 };
typedef struct Case {
    Trainer *t;
    Packed b;
    float hidden[ROWS * 32], first[ROWS * 32], want[ROWS * 32], logits[ROWS * 272];
    float logprob[ROWS];
} Case;

static void back_thread(Thread th, void *arg) {
    Case *c = arg;
    model_zero_grad(th, c->t->model);
    grpo_back(th, c->t, &c->b);
}

static double surrogate(const Rollouts *r, const Recipe *recipe, int64_t i, double logprob) {
    const double rho = exp(logprob - (double)r->old[i]), w = (double)r->weight[i],
                 cut = MIN(MAX(rho, 1 - recipe->grpo.clip_low), 1 + recipe->grpo.clip_high);
    const double d = (double)r->first_logprob[i] - logprob;
    return recipe->grpo.kl * (exp(d) - d - 1) / (double)r->tokens - MIN(w * rho, w * cut);
}

static void log_thread(Thread th, void *arg) {
    Case *c = arg;
    hidden_logprobs(th, c->t->plan, c->logprob, c->hidden, c->b.target, ROWS, c->logits);
}

static double total(Case *c) {
    double sum = 0;
    team_run(trainer_team(c->t), log_thread, c);
    for (int64_t i = 0; i < ROWS; i++)
        if (c->b.target[i] >= 0)
            sum += surrogate(c->t->rolls, c->t->recipe, i, (double)c->logprob[i]);
    return sum;
}

/* The gradient of the hidden states beside differences of the loss, computed in f64 from f32
 * log-probabilities: the bound is what those leave. */
static void gradient_is_that_of_the_loss(void **state) {
    need_native();
    Arena *a = *state;
    const char *set[] = {"act=f32", "grpo.kl=0.5"};
    const Recipe r = grpo_recipe(a, set, 2);
    Case *c = PUSH(a, Case, 1);
    Trainer *t = c->t = opened(&r, 2);
    const int64_t C = t->model->cfg.C;
    assert_int_equal(C, 32);
    c->b = packed_new(a, ROWS);
    c->b.n = ROWS;
    for (int64_t i = 0; i < ROWS * C; i++)
        c->first[i] = c->hidden[i] = t->hidden[i] = 0.01f * (float)(dice(401) - 200);
    for (int64_t i = 0; i < ROWS; i++) c->b.target[i] = i % 7 ? (int32_t)dice(272) : -1;
    team_run(trainer_team(t), log_thread, c);
    for (int64_t i = 0; i < ROWS; i++) {
        t->rolls->weight[i] = 0.1f * (float)(dice(21) - 10);
        t->rolls->old[i] = c->logprob[i] + 0.1f * (float)(dice(9) - 4);
        t->rolls->first_logprob[i] = c->logprob[i] + 0.1f * (float)(dice(21) - 10);
    }
    t->rolls->tokens = 7;
    team_run(trainer_team(t), back_thread, c);
    double worst = 0, largest = 0;
    for (int64_t k = 0; k < 60; k++) {
        const int64_t at = dice(ROWS * C);
        const float step = 0.02f;
        memcpy(c->hidden, c->first, sizeof c->hidden);
        c->hidden[at] += step;
        const double above = total(c);
        c->hidden[at] -= 2 * step;
        const double slope = (above - total(c)) / (2 * (double)step);
        worst = MAX(worst, fabs(slope - (double)t->hidden[at]));
        largest = MAX(largest, fabs(slope));
    }
    print_message("gradient: differs by %.2g of %.2g\n", worst, largest);
    assert_true(largest > 0.01 && worst < 1e-3 * largest);
    trainer_close(t);
}

/* A program of one's own rewards answers; what it says counts instead of the check. */
static void a_command_rewards(void **state) {
    need_native();
    Arena *a = *state;
    static const struct {
        const char *command, *says; /* NULL: it works */
    } cases[] = {
        {"sed -u 's/.*\"tokens\": *\\([0-9]*\\).*/{\"reward\": 0.\\1}/'", NULL},
        {"read x; echo out of luck >&2; exit 4", "its last words: \"out of luck\""},
        {"while read -r x; do echo '{\"reward\": \"much\"}'; done",
         "expected {\"reward\": NUMBER}"},
        {"while read -r x; do echo '{\"reward\": 1e300}'; done", "from -1e+06 to 1e+06"},
        {"sleep 9", "did not answer within"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const char *set[] = {str_fmt(a, "reward.command=%s", cases[i].command).p,
                             "reward.timeout=2",
                             str_fmt(a, "checkpoint.folder=%s/c%d", folder, (int)i).p};
        const Recipe r = grpo_recipe(a, set, 3);
        StepStats s;
        Err err = {0};
        Trainer *t = opened(&r, 1);
        const bool ok = trainer_step(t, &s, &err);
        if (ok != !cases[i].says || (!ok && !strstr(err.msg, cases[i].says)))
            fail_msg("%s: %s", cases[i].command, err.msg);
        if (ok) {
            const Answer *x = t->rolls->group[0].answer;
            assert_true(
                fabs(x->reward - strtod(str_fmt(a, "0.%d", (int)(x->n - x->n_prompt)).p, NULL))
                < 1e-9);
        }
        trainer_close(t);
    }
}

/* What looks bad is told, once. */
static void alarms_ring_once(void **state) {
    need_native();
    const Recipe r = grpo_recipe(*state, NULL, 0);
    Trainer *t = opened(&r, 1);
    Rollouts *x = t->rolls;
    x->tokens = 1;
    t->stats.answers.entropy = 1, t->stats.answers.length = 10;
    grpo_alarms(t);
    for (int i = 0; i < ALARMS; i++) assert_false(x->alarmed[i]);
    t->stats.answers.entropy = 0.09;
    grpo_alarms(t);
    assert_true(x->alarmed[ALARM_COLLAPSE] && !x->alarmed[ALARM_EXPLOSION]);
    t->stats.answers.entropy = 5.1, t->stats.answers.length = 2.9, t->stats.max_vio = 4.1;
    grpo_alarms(t);
    assert_true(x->alarmed[ALARM_EXPLOSION] && x->alarmed[ALARM_SHORT]
                && x->alarmed[ALARM_BALANCE]);
    t->stats.answers.length = 23;
    grpo_alarms(t);
    assert_true(x->alarmed[ALARM_LONG] && x->first_length == 10);
    trainer_close(t);
}

/* The first model stands where it stood: no divergence in the first step, some in later ones, and a
 * weight on it that is large holds the model there. */
static void divergence_holds(void **state) {
    need_own_speed();
    Arena *a = *state;
    double moved[2];
    for (int i = 0; i < 2; i++) {
        const char *set[] = {i ? "grpo.kl=10" : "grpo.kl=1e-9",
                             str_fmt(a, "checkpoint.folder=%s/kl%d", folder, i).p};
        const Recipe r = grpo_recipe(a, set, 2);
        Trainer *t = opened(&r, 2);
        for (int64_t step = 0; step < 30; step++) {
            const StepStats s = stepped(t);
            assert_true(s.answers.difference == 0 && isfinite(s.loss));
            assert_true(step == 0 ? s.answers.divergence == 0 : s.answers.divergence > 0);
            moved[i] = s.answers.divergence;
        }
        trainer_close(t);
    }
    print_message("divergence: %.2g free, %.2g held\n", moved[0], moved[1]);
    assert_true(moved[1] < 0.8 * moved[0]);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void settings_are_refused(void **state) {
    need_native();
    Arena *a = *state;
    static const struct {
        const char *set, *says;
    } wrong[] = {{"grpo.samples=1", "there must be 2 at least"},
                 {"optim.lr=0", "nothing is learned"},
                 {"data.train=text.txt", "answers that can be checked"},
                 {"grpo.updates=3", "must be multiples"},
                 {"grpo.updates=4", "eval.every (3) must be multiples"},
                 {"grpo.max_tokens=2", "was cut at 2 tokens"},
                 {"data.train=task:addition:12:canonical", "easier problems"},
                 {"batch.sequence=4", "leaves no room"}};
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        const char *set[] = {wrong[i].set,
                             i == COUNT(wrong) - 1 ? "batch.tokens=192" : "grpo.rounds=8",
                             "eval.every=3"};
        const Recipe r = grpo_recipe(a, set, 3);
        Trainer *t = NULL;
        StepStats s;
        Err err = {0};
        const bool ok = trainer_open(&t, &r, 1, &err) && trainer_step(t, &s, &err);
        if (ok || !strstr(err.msg, wrong[i].says)) fail_msg("%s: %s", wrong[i].set, err.msg);
        trainer_close(t);
    }
}

int grpo_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(bits_stay),
        ARENA_TEST(reward_rises),
        ARENA_TEST(later_updates_clip),
        ARENA_TEST(variants_weigh),
        ARENA_TEST(gradient_is_that_of_the_loss),
        ARENA_TEST(divergence_holds),
        ARENA_TEST(alarms_ring_once),
        ARENA_TEST(a_command_rewards),
        ARENA_TEST(settings_are_refused),
    };
    return cmocka_run_group_tests_name("train/grpo", tests, NULL, NULL);
}
