/* speculate.c -- drafters and constraints, scripted: whatever is proposed, forced or forbidden, an
 * answer's tokens, log-probabilities and logits are those of the plain engine that draws one token
 * after another, alone and in company, in any chunks, over the borders of pages. */
#include "tests.h"
#include "support/rig.h"

#include <malloc.h>
#include <math.h>

enum { POSITIONS = 512, ASKS = 10, LONGEST = 40 };
static const char *const MODELS[] = {"llama-tiny", "deepseek-v3-tiny"};
static const EngineSpec SINGLE = {.seqs = 1, .queue = 1, .rows = POSITIONS, .no_prefix = true};
static Team *team;

/* Prompts that end before, at and behind the border of a page, and answers that cross it. */
static Ask ask_of(int64_t i) {
    static const int64_t length[ASKS] = {1, 5, 63, 100, 120, 127, 128, 129, 250, 256};
    return (Ask){
        .text = 900 + i, .n = length[i], .max_tokens = LONGEST - i % 3, .sampling = sampling_of(i)};
}

/* ---- scripts --------------------------------------------------------------------------------- */

/* RIGHT: what the plain engine drew. WRONG: anything else. PARTLY: three right ones, then a wrong
 * one, then right ones again. GREEDY: more than is asked for would be welcome. */
typedef enum Script { NO_SCRIPT, RIGHT, WRONG, PARTLY, MOODY, SCRIPTS } Script;

typedef struct Drafting {
    Script script;
    int64_t n_prompt, V, proposed, right, told_proposed, told_right, n_told;
    const Answer *known;
    Dice dice;
    Drafter drafter;
} Drafting;

static int64_t draft_propose(void *self, const int32_t *token, int64_t n, int32_t *draft,
                             int64_t most) {
    Drafting *d = self;
    int64_t at = n - d->n_prompt, count = d->script == MOODY ? dice(&d->dice, most + 1) : most;
    assert_true(most > 0 && at >= 0);
    for (int64_t i = 0; i < MIN(at, d->known->n); i++)
        assert_int_equal(token[d->n_prompt + i], d->known->token[i].id);
    for (int64_t i = 0; i < count; i++) {
        int64_t place = at + i;
        int32_t right = place < d->known->n ? d->known->token[place].id : 0;
        bool wrong = d->script == WRONG || (d->script == PARTLY && place % 4 == 3)
                     || (d->script == MOODY && dice(&d->dice, 5) == 0);
        draft[i] = wrong ? (int32_t)((right + 1) % d->V) : right;
    }
    d->proposed += count;
    return count;
}

static void draft_learn(void *self, const int32_t *token, int64_t n, int64_t proposed,
                        int64_t accepted) {
    Drafting *d = self;
    int64_t at = n - d->n_prompt;
    assert_true(at > d->n_told && accepted >= 0 && accepted <= proposed);
    assert_true(at - d->n_told >= accepted); /* what was accepted is in the sequence */
    assert_int_equal(token[n - 1], d->known->token[at - 1].id);
    d->n_told = at;
    d->told_proposed += proposed, d->told_right += accepted;
}

/* A constraint whose mask is: id % modulus == the number of tokens so far % modulus, with runs of
 * forced tokens: of every `run` + 3 tokens the first `run` can only be one. Ends the sequence with
 * token number `end`. */
typedef struct Rule {
    int64_t modulus, run, end, V;
    bool tells; /* of what is forced */
    int64_t n, most_back;
    int32_t taken[4 * LONGEST];
    Constraint constraint;
} Rule;

static bool rule_forced(const Rule *r, int64_t at, int32_t *id) {
    if (r->run == 0 || at % (r->run + 3) >= r->run) return false;
    return *id = (int32_t)((at * 7 + 3) % r->V), true;
}

static bool rule_allows(const Rule *r, int64_t at, int32_t id) {
    int32_t only;
    return rule_forced(r, at, &only) ? id == only : id % r->modulus == at % r->modulus;
}

static bool rule_mask(void *self, uint64_t *bits, int64_t V) {
    const Rule *r = self;
    for (int32_t i = 0; i < V; i++) {
        assert_false(bits[i / 64] >> i % 64 & 1);
        if (rule_allows(r, r->n, i)) bits[i / 64] |= (uint64_t)1 << i % 64;
    }
    int32_t only;
    return r->modulus > 1 || rule_forced(r, r->n, &only); /* else all may come */
}

static int64_t rule_tell(void *self, int32_t *token, int64_t most) {
    const Rule *r = self;
    int64_t n = 0;
    while (r->tells && n < most && rule_forced(r, r->n + n, &token[n])) n++;
    return n;
}

static bool rule_accept(void *self, int32_t token) {
    Rule *r = self;
    assert_true(rule_allows(r, r->n, token));
    assert_true(r->end == 0 || r->n < r->end);
    r->taken[r->n++] = token;
    return r->n != r->end;
}

static void rule_rollback(void *self, int64_t n) {
    Rule *r = self;
    assert_true(n > 0 && n <= r->n);
    r->n -= n;
    r->most_back = MAX(r->most_back, n);
}

/* ---- the same answer ------------------------------------------------------------------------- */

static Rig rig_of(Arena *a, const char *name, EngineSpec spec) {
    const char *path = rig_path(a, name);
    if (!path) skip();
    Rig r;
    rig_open(&r, a, team, path);
    rig_plan(&r, plan_defaults(r.model), &spec, POSITIONS);
    return r;
}

static void must_ask(Rig *r, Ask q, Answer *to) {
    Err err = {0};
    if (!ask(r, &q, to, &err)) fail_msg("%s", err.msg);
}

static void drafting_start(Drafting *d, Ask *q, Script script, const Answer *known, int64_t V) {
    *d = (Drafting){.script = script, .n_prompt = q->n, .V = V, .known = known};
    d->dice.seed = (uint64_t)q->text;
    d->drafter = (Drafter){d, draft_propose, draft_learn};
    if (script) q->drafter = &d->drafter;
}

/* rule 0: none. */
static void rule_start(Rule *r, Ask *q, int64_t rule, bool tells, int64_t V) {
    static const Rule rules[] = {{.modulus = 1},
                                 {.modulus = 2},
                                 {.modulus = 3, .run = 4},
                                 {.modulus = 1, .run = 9, .end = 27},
                                 {.modulus = 5, .end = 1}};
    *r = rules[rule];
    r->V = V, r->tells = tells;
    r->constraint = (Constraint){r, rule_mask, rule_tell, rule_accept, rule_rollback};
    if (rule) q->constraint = &r->constraint;
}
enum { RULES = 5 };

/* Under each rule: one by one, nothing drafted, nothing told to be forced. */
static Answer *references(Arena *a, const char *name) {
    Rig r = rig_of(a, name, SINGLE);
    Answer *to = PUSH(a, Answer, RULES * ASKS);
    for (int64_t i = 0; i < RULES * ASKS; i++) {
        Ask q = ask_of(i % ASKS);
        Rule rule;
        rule_start(&rule, &q, i / ASKS, false, r.model->cfg.V);
        must_ask(&r, q, &to[i]);
        rig_run(&r);
        assert_int_equal(rule.end ? FINISH_STOP : FINISH_LENGTH, to[i].finish);
        if (rule.end) assert_int_equal(to[i].n, rule.end);
    }
    EngineStats s = engine_stats(r.engine);
    assert_int_equal(s.drafted + s.forced + s.accepted, 0);
    rig_close(&r);
    return to;
}

typedef struct Round {
    EngineSpec spec;
    Script script; /* SCRIPTS: each ask has another */
    int64_t rule;  /* RULES: each ask has another */
    bool tells;
} Round;

/* All asks together; the steps they took. */
static EngineStats round_run(Arena *a, const char *name, const Round *w, const Answer *known) {
    Rig r = rig_of(a, name, w->spec);
    Answer *got = PUSH(a, Answer, ASKS);
    Drafting *d = PUSH(a, Drafting, ASKS);
    Rule *rule = PUSH(a, Rule, ASKS);
    for (int64_t i = 0; i < ASKS; i++) {
        Ask q = ask_of(i);
        int64_t number = w->rule < RULES ? w->rule : i % RULES;
        const Answer *want = &known[number * ASKS + i];
        rule_start(&rule[i], &q, number, w->tells, r.model->cfg.V);
        drafting_start(&d[i], &q, w->script < SCRIPTS ? w->script : (Script)(i % SCRIPTS), want,
                       r.model->cfg.V);
        must_ask(&r, q, &got[i]);
    }
    int64_t used = 0, heap = 0;
    while (engine_step(r.engine))
        if (engine_stats(r.engine).steps == 1)
            used = arena_used(a), heap = (int64_t)mallinfo2().uordblks;
    assert_int_equal(arena_used(a), used); /* nothing was allocated after the first step */
    assert_int_equal(mallinfo2().uordblks, heap);
    EngineStats s = engine_stats(r.engine);
    int64_t right = 0;
    for (int64_t i = 0; i < ASKS; i++) {
        int64_t number = w->rule < RULES ? w->rule : i % RULES;
        if (!answer_same(&known[number * ASKS + i], &got[i]))
            fail_msg("%s, script %d, rule %d, ask %d: %d tokens of %d", name, (int)d[i].script,
                     (int)number, (int)i, (int)got[i].n, (int)known[number * ASKS + i].n);
        assert_int_equal(rule[i].n, number ? got[i].n : 0); /* accepted: the answer */
        for (int64_t j = 0; j < rule[i].n; j++)
            assert_int_equal(rule[i].taken[j], got[i].token[j].id);
        if (d[i].script == RIGHT) assert_int_equal(d[i].told_right, d[i].told_proposed);
        if (d[i].script == WRONG) assert_int_equal(d[i].told_right, 0);
        right += d[i].told_right;
    }
    assert_true(s.accepted >= right && s.accepted <= s.drafted);
    assert_int_equal(s.active + s.waiting, 0);
    assert_int_equal(s.pages_free + s.pages_cached, s.pages);
    engine_forget(r.engine);
    assert_int_equal(engine_stats(r.engine).pages_free, s.pages);
    rig_close(&r);
    return s;
}

/* Each of two models alone and in a crowd; in a quick run each of them one way. */
static bool wanted(int model, bool crowd) { return full_run() || crowd == (model == 1); }

static void drafts_change_nothing(void **state) {
    need_native();
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        const Answer *known = references(a, MODELS[m]);
        int64_t plain = 0;
        for (int script = NO_SCRIPT; script <= SCRIPTS; script++) {
            Round alone = {{.seqs = 1, .queue = ASKS, .rows = 300, .drafts = 7}, script, 0, false};
            Round crowd = {{.seqs = 6, .queue = ASKS, .rows = 70, .chunk = 33, .drafts = 20},
                           script,
                           0,
                           false};
            if (wanted(m, true)) round_run(a, MODELS[m], &crowd, known);
            if (!wanted(m, false)) continue;
            EngineStats s = round_run(a, MODELS[m], &alone, known);
            if (script == NO_SCRIPT) plain = s.steps;
            if (script == RIGHT) assert_true(s.steps < plain / 4 && s.accepted == s.drafted);
            if (script == WRONG)
                assert_true(s.accepted == 0 && s.drafted > 100 && s.steps == plain);
            if (script == PARTLY) assert_true(s.steps < plain / 2 && s.accepted > 100);
        }
    }
}

static void constraints_hold(void **state) {
    need_native();
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        const Answer *known = references(a, MODELS[m]);
        for (int64_t rule = 1; rule <= RULES; rule++)
            for (int tells = 0; tells < 2; tells++) {
                Round alone = {{.seqs = 1, .queue = ASKS, .rows = 300, .drafts = 6 * tells},
                               NO_SCRIPT,
                               rule,
                               tells};
                Round both = {{.seqs = 5, .queue = ASKS, .rows = 90, .chunk = 50, .drafts = 30},
                              SCRIPTS,
                              rule,
                              tells};
                if (wanted(m, true)) round_run(a, MODELS[m], &both, known);
                if (!wanted(m, false)) continue;
                EngineStats s = round_run(a, MODELS[m], &alone, known);
                if (rule == 2 || rule == 3) assert_true((s.forced > 100) == (tells == 1));
            }
    }
}

/* ---- order ----------------------------------------------------------------------------------- */

/* Eager drafters never cost another sequence its token of a step, nor a prompt its rows. */
static void drafts_delay_nobody(void **state) {
    Arena *a = *state;
    const Answer *known = references(a, MODELS[0]);
    EngineSpec spec = {.seqs = 4, .queue = 8, .rows = 20, .chunk = 16, .drafts = 20};
    int64_t steps[2];
    for (int eager = 0; eager < 2; eager++) {
        Rig r = rig_of(a, MODELS[0], spec);
        Answer fast, prompt, speaker;
        Drafting d;
        Ask q = ask_of(1);
        drafting_start(&d, &q, eager ? WRONG : NO_SCRIPT, &known[1], r.model->cfg.V);
        must_ask(&r, q, &fast);
        must_ask(&r,
                 (Ask){.text = 3,
                       .n = 3,
                       .max_tokens = 30,
                       .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 2}},
                 &speaker);
        while (speaker.n == 0) assert_true(engine_step(r.engine));
        must_ask(&r,
                 (Ask){.text = 9,
                       .n = 400,
                       .max_tokens = 1,
                       .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 2}},
                 &prompt);
        for (int64_t rows = 0, before = 0; engine_step(r.engine); before = rows) {
            EngineStats s = engine_stats(r.engine);
            rows = s.prompt_rows + s.decode_rows;
            assert_true(before == 0 || rows - before <= spec.rows);
        }
        assert_int_equal(speaker.last - speaker.first, 29);
        steps[eager] = prompt.first;
        rig_close(&r);
    }
    assert_int_equal(steps[0], steps[1]);
}

/* ---- trouble --------------------------------------------------------------------------------- */

/* Token 7's embedding is NaN, and is drafted again and again: in llama-tiny it spoils its chunk, in
 * deepseek-v3-tiny the whole step. Nobody's answer notices. */
static int64_t poison_propose(void *self, const int32_t *token, int64_t n, int32_t *draft,
                              int64_t most) {
    (void)token, (void)n, (void)most;
    draft[0] = 7;
    ++*(int64_t *)self;
    return 1;
}
static void poison_learn(void *self, const int32_t *token, int64_t n, int64_t proposed,
                         int64_t accepted) {
    (void)self, (void)token, (void)n, (void)proposed, (void)accepted;
}

static void a_poisoned_draft_harms_nobody(void **state) {
    enum { N = 6 };
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        Answer known[N], got[N];
        for (int pass = 0; pass < 2; pass++) {
            const char *path = rig_path(a, MODELS[m]);
            if (!path) skip();
            Rig r;
            rig_open(&r, a, team, path);
            PlanSpec plan = plan_defaults(r.model);
            model_train(r.model, a);
            const Param *embed = r.model->param;
            while (strcmp(embed->name, "model.embed_tokens.weight") != 0) embed++;
            embed->master[7 * r.model->cfg.C] = NAN;
            EngineSpec spec = {.seqs = N, .queue = N, .rows = 200, .drafts = 12 * pass};
            rig_plan(&r, plan, &spec, POSITIONS);
            int64_t proposed = 0;
            Drafter poison = {&proposed, poison_propose, poison_learn};
            for (int64_t i = 0; i < N; i++) {
                Ask q = {.text = 2000 + i, .n = 3 + 4 * i, .max_tokens = 12};
                q.sampling =
                    (Sampling){.temperature = 1, .top_k = 0, .top_p = 1, .seed = (uint64_t)i};
                if (pass && i % 2) q.drafter = &poison;
                must_ask(&r, q, pass ? &got[i] : &known[i]);
            }
            rig_run(&r);
            assert_true(!pass || proposed > 5);
            rig_close(&r);
        }
        for (int64_t i = 0; i < N; i++) assert_true(answer_same(&known[i], &got[i]));
    }
}

/* The listener cancels in the middle of an accepted run: it hears no further token. */
typedef struct Quitter {
    Engine *engine;
    int64_t tokens;
    Finish finish;
} Quitter;

static void quit_after_three(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Quitter *q = arg;
    (void)logits;
    q->finish = finish;
    q->tokens += t.id >= 0;
    if (q->tokens == 3) engine_cancel(q->engine, seq);
}

static void a_cancel_ends_an_accepted_run(void **state) {
    Arena *a = *state;
    const Answer *known = references(a, MODELS[0]);
    Rig r = rig_of(a, MODELS[0], (EngineSpec){.seqs = 1, .queue = 1, .rows = 64, .drafts = 10});
    Quitter quitter = {.engine = r.engine};
    Drafting d;
    Ask q = ask_of(1);
    int32_t prompt[5];
    Err err = {0};
    ask_prompt(prompt, q.text, q.n, r.model->cfg.V);
    drafting_start(&d, &q, RIGHT, &known[1], r.model->cfg.V);
    SeqReq req = {.prompt = prompt,
                  .n_prompt = q.n,
                  .max_tokens = q.max_tokens,
                  .sampling = q.sampling,
                  .drafter = q.drafter,
                  .on_token = quit_after_three,
                  .arg = &quitter};
    assert_true(engine_add(r.engine, &req, &err) > 0);
    rig_run(&r);
    assert_int_equal(quitter.tokens, 3);
    assert_int_equal(quitter.finish, FINISH_CANCEL);
    EngineStats s = engine_stats(r.engine);
    assert_int_equal(s.pages_free + s.pages_cached, s.pages);
    rig_close(&r);
}

static void biases_reach_the_draw(void **state) {
    Rig r = rig_of(*state, MODELS[0], SINGLE);
    Bias bias[] = {{5, 100}, {6, 30}};
    Answer got;
    Ask q = {.text = 1, .n = 4, .max_tokens = 6, .bias = bias, .n_bias = 2};
    must_ask(&r, q, &got);
    rig_run(&r);
    for (int64_t i = 0; i < got.n; i++) assert_int_equal(got.token[i].id, 5);
    Err err = {0};
    bias[1].id = (int32_t)r.model->cfg.V;
    assert_int_equal(ask(&r, &q, &got, &err), 0);
    assert_non_null(strstr(err.msg, "bias 1"));
    err = (Err){0}, bias[1] = (Bias){3, NAN};
    assert_int_equal(ask(&r, &q, &got, &err), 0);
    assert_int_equal(err.code, ERR_USAGE);
    err = (Err){0}, q.n_bias = BIAS_MAX + 1;
    assert_int_equal(ask(&r, &q, &got, &err), 0);
    rig_close(&r);
}

/* What followed the last three tokens before is guessed: longer while that is right, with pauses
 * while it is wrong. */
static void lookups_guess_what_followed(void **state) {
    static const int32_t said[] = {5, 1, 2, 3, 7, 8, 9, 10, 1, 2, 3};
    int32_t draft[16];
    Drafter d;
    lookup_drafter(&d, *state);
    assert_int_equal(d.propose(d.self, said, 3, draft, 16), 0);
    assert_int_equal(d.propose(d.self, said, COUNT(said) - 1, draft, 16), 0);
    assert_int_equal(d.propose(d.self, said, COUNT(said), draft, 16), 2);
    assert_true(draft[0] == 7 && draft[1] == 8);
    d.learn(d.self, said, COUNT(said), 2, 2);
    assert_int_equal(d.propose(d.self, said, COUNT(said), draft, 16), 4);
    assert_int_equal(d.propose(d.self, said, COUNT(said), draft, 3), 3);
    int64_t tried = 0;
    for (int i = 0; i < 100; i++) {
        const int64_t n = d.propose(d.self, said, COUNT(said), draft, 16);
        d.learn(d.self, said, COUNT(said), n, 0);
        tried += n > 0;
    }
    assert_in_range(tried, 5, 12);
}

int speculate_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(drafts_change_nothing),         ARENA_TEST(constraints_hold),
        ARENA_TEST(drafts_delay_nobody),           ARENA_TEST(a_poisoned_draft_harms_nobody),
        ARENA_TEST(a_cancel_ends_an_accepted_run), ARENA_TEST(biases_reach_the_draw),
        ARENA_TEST(lookups_guess_what_followed),
    };
    team = team_open(2);
    int failed = cmocka_run_group_tests_name("speculate", tests, NULL, NULL);
    team_close(team);
    return failed;
}
