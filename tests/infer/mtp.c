/* mtp.c -- drafts by the model's own layer that predicts further tokens: with and without them an
 * answer's tokens, log-probabilities and logits are the same, in any company; pages and fingerprint
 * are those of the model without the layer; and whether the drafts pay is found out. */
#include "tests.h"
#include "support/rig.h"

#include <math.h>

enum { POSITIONS = 512, ASKS = 12, LONGEST = 40 };
static const char MODEL[] = "deepseek-v3-mtp-tiny";
static const EngineSpec SINGLE = {.seqs = 1, .queue = 1, .rows = POSITIONS, .no_prefix = true};
static Team *team;

/* A random model's layer is never right by itself. Biases that leave few tokens make it right about
 * as often as not, a single one makes it right always. Of every four asks one has none. */
static const Bias FEW[] = {{5, 60}, {6, 60}, {9, 60}}, ONE[] = {{11, 200}};

static Ask ask_of(int64_t i) {
    static const int64_t length[ASKS] = {1, 5, 63, 100, 120, 127, 128, 129, 250, 256, 30, 30};
    Ask q = {
        .text = 900 + i, .n = length[i], .max_tokens = LONGEST - i % 3, .sampling = sampling_of(i)};
    if (i % 4 == 3) q.bias = ONE, q.n_bias = 1;
    if (i % 4 == 1 || i % 4 == 2) q.bias = FEW, q.n_bias = COUNT(FEW);
    if (i >= 10) q.text = 911;
    return q;
}

/* Every other token is even; the third of three is forced. */
typedef struct Rule {
    int64_t n;
    Constraint constraint;
} Rule;
static bool rule_mask(void *self, uint64_t *bits, int64_t V) {
    const Rule *r = self;
    for (int32_t i = 0; i < V; i++)
        if (r->n % 3 == 2 ? i == 7 : i % 2 == r->n % 2) bits[i / 64] |= (uint64_t)1 << i % 64;
    return true;
}
static int64_t rule_forced(void *self, int32_t *token, int64_t most) {
    const Rule *r = self;
    if (r->n % 3 != 2 || most < 1) return 0;
    return token[0] = 7, 1;
}
static bool rule_accept(void *self, int32_t token) {
    return (void)token, ((Rule *)self)->n++, true;
}
static void rule_rollback(void *self, int64_t n) { ((Rule *)self)->n -= n; }

static void rule_start(Rule *r, Ask *q) {
    *r = (Rule){.constraint = {r, rule_mask, rule_forced, rule_accept, rule_rollback}};
    q->constraint = &r->constraint;
}

static Rig rig_with(Arena *a, Team *t, EngineSpec spec) {
    Rig r;
    const char *path = rig_path(a, MODEL);
    if (!path) skip();
    rig_open_mtp(&r, a, t, path, spec.mtp > 0);
    rig_plan(&r, plan_defaults(r.model), &spec, POSITIONS);
    return r;
}

static void must_ask(Rig *r, Ask q, Answer *to) {
    Err err = {0};
    if (!ask(r, &q, to, &err)) fail_msg("%s", err.msg);
}

/* ---- the same answer ------------------------------------------------------------------------- */

/* All asks, each fourth under the rule where `rules`; some with a lookup beside. */
static EngineStats asks_run(Arena *a, Rig *r, Answer *to, bool rules, bool one_by_one) {
    Rule rule[ASKS];
    Drafter lookup[ASKS];
    for (int64_t i = 0; i < ASKS; i++) {
        Ask q = ask_of(i);
        if (rules && i % 4 == 0) rule_start(&rule[i], &q);
        lookup_drafter(&lookup[i], a);
        if (i % 3 == 0 && r->engine->spec.mtp) q.drafter = &lookup[i];
        if (i == 11 && !one_by_one) q.like = to[10].seq;
        must_ask(r, q, &to[i]);
        if (one_by_one) rig_run(r);
    }
    rig_run(r);
    const EngineStats s = engine_stats(r->engine);
    assert_int_equal(s.active + s.waiting, 0);
    assert_int_equal(s.pages_free + s.pages_cached, s.pages);
    if (r->engine->mtp.pages) assert_int_equal(pages_free(r->engine->mtp.pages), s.pages);
    return s;
}

static void same_answers(const Answer *want, const Answer *got, const char *what) {
    for (int64_t i = 0; i < ASKS; i++)
        if (!answer_same(&want[i], &got[i])) fail_msg("%s: ask %d differs", what, (int)i);
}

static void mtp_changes_nothing(void **state) {
    static const EngineSpec specs[] = {
        {.seqs = 1, .queue = ASKS, .rows = 300, .drafts = 7, .mtp = 1},
        {.seqs = 1, .queue = ASKS, .rows = 300, .drafts = 7, .mtp = 4, .no_prefix = true},
        {.seqs = 6, .queue = ASKS, .rows = 70, .chunk = 33, .drafts = 20, .mtp = 2},
        {.seqs = 12, .queue = ASKS, .rows = 40, .chunk = 5, .drafts = 5, .mtp = 3},
        {.seqs = 5, .queue = ASKS, .rows = 64, .drafts = 64, .mtp = 1, .pages = 9},
    };
    need_native();
    Arena *a = *state;
    for (int rules = 0; rules < 2; rules++) {
        Answer known[ASKS], got[ASKS];
        Rig plain = rig_with(a, team, SINGLE);
        const int64_t steps = asks_run(a, &plain, known, rules, true).steps;
        rig_close(&plain);
        for (int64_t i = 0; i < COUNT(specs); i++) {
            EngineSpec spec = specs[i];
            Team *t = team_open(1 + i % 3);
            spec.mtp_always = true;
            Rig r = rig_with(a, t, spec);
            for (int again = 0; again < 2; again++) { /* the second time with prefixes found */
                const EngineStats s = asks_run(a, &r, got, rules, i == 1);
                same_answers(known, got, i == 1 ? "one by one" : "together");
                assert_true(s.mtp_drafted > 100 && s.mtp_accepted > 50);
                assert_true(s.mtp_accepted < s.mtp_drafted);
                assert_true(s.mtp_drafted <= s.drafted && s.mtp_accepted <= s.accepted);
                if (spec.seqs == 1 && !again) assert_true(s.steps < steps * 9 / 10);
            }
            rig_close(&r);
            team_close(t);
        }
    }
}

/* What is kept of prompts, and the name of what decides bits, do not know of the layer. */
static void the_layer_leaves_no_trace(void **state) {
    Arena *a = *state;
    EngineSpec spec = {.seqs = 2, .queue = 2, .rows = 64, .drafts = 4};
    Rig without = rig_with(a, team, spec);
    spec.mtp = 1;
    Rig with = rig_with(a, team, spec);
    assert_string_equal(with.plan->fingerprint, without.plan->fingerprint);
    assert_int_equal(with.plan->kv.page_bytes, without.plan->kv.page_bytes);
    assert_int_equal(with.plan->kv_mtp.n_layers, 1);
    assert_int_equal(without.plan->kv_mtp.n_layers, 0);
    assert_int_equal(with.model->file_type, without.model->file_type);
    rig_close(&without);
    rig_close(&with);
}

/* ---- the guesses themselves ------------------------------------------------------------------ */

enum { TEXT = 90, BEGIN = 40 };
typedef struct Direct {
    Plan *plan;
    Batch model, layer;
    Out hidden, guess;
} Direct;

static void direct_thread(Thread th, void *arg) {
    Direct *d = arg;
    CHECK(model_forward(th, d->plan, &d->model, &d->hidden, NULL));
    CHECK(model_mtp(th, d->plan, 0, &d->layer,
                    d->hidden.hidden + (BEGIN - 1) * d->plan->model->cfg.C, &d->guess));
}

/* Logits (TEXT - BEGIN, V) of the layer over the whole answer at once: row i guesses at token
 * BEGIN + i + 1 from the tokens up to BEGIN + i. */
static const float *direct_guesses(Arena *a, Plan *plan, const int32_t *token) {
    const Config *c = &plan->model->cfg;
    enum { ROWS = TEXT - BEGIN };
    void *page[] = {arena_push(a, plan->kv.page_bytes)},
         *own[] = {arena_push(a, plan->kv_mtp.page_bytes)};
    const Span all = {.n = TEXT - 1, .pages = page}, behind = {.n = ROWS, .pages = own};
    Want want[TEXT];
    for (int32_t i = 0; i < TEXT; i++) want[i] = (Want){i, WANT_HIDDEN};
    Want guess[ROWS];
    for (int32_t i = 0; i < ROWS; i++) guess[i] = (Want){i, WANT_LOGITS};
    Direct d = {.plan = plan,
                .model = {TEXT - 1, token, &all, 1, want, TEXT - 1, 0},
                .layer = {ROWS, token + BEGIN, &behind, 1, guess, ROWS, 0},
                .hidden = {.hidden = PUSH(a, float, TEXT * c->C)},
                .guess = {.logits = PUSH(a, float, ROWS * c->V)}};
    team_run(team, direct_thread, &d);
    return d.guess.logits;
}

/* Whatever was accepted, taken back and drafted in between, the engine's guesses are the draws from
 * what the layer says of the whole answer. */
static void guesses_are_the_layers(void **state) {
    Arena *a = *state;
    for (int64_t mtp = 1; mtp <= 3; mtp += 2) {
        const EngineSpec spec = {.seqs = 1,
                                 .queue = 1,
                                 .rows = 2 * TEXT,
                                 .drafts = TEXT,
                                 .mtp = mtp,
                                 .mtp_always = true};
        Rig r = rig_with(a, team, spec);
        Answer got;
        int32_t token[TEXT], said[TEXT] = {0};
        const Sampling how = {.temperature = 1, .top_p = 1, .seed = 8};
        must_ask(&r,
                 (Ask){.text = 5,
                       .n = BEGIN,
                       .max_tokens = TEXT - BEGIN,
                       .sampling = how,
                       .bias = FEW,
                       .n_bias = COUNT(FEW)},
                 &got);
        engine_step(r.engine);
        while (r.engine->active.n) {
            const Seq *s = r.engine->active.v[0];
            const int64_t at = s->n;
            engine_step(r.engine);
            if (s->guesses) said[at] = s->guess[0] + 1;
        }
        ask_prompt(token, 5, BEGIN, r.model->cfg.V);
        for (int64_t i = BEGIN; i < TEXT; i++) token[i] = got.token[i - BEGIN].id;
        const float *logits = direct_guesses(a, r.plan, token);
        void *work = arena_push(a, sampler_bytes(r.model->cfg.V));
        int64_t seen = 0;
        for (int64_t n = BEGIN + 1; n < TEXT; n++) {
            const Draw d = {.n = n, .bias = FEW, .n_bias = COUNT(FEW)};
            const float *row = logits + (n - BEGIN - 1) * r.model->cfg.V;
            if (said[n] == 0) continue;
            assert_int_equal(said[n] - 1, sampler_pick(row, r.model->cfg.V, &how, &d, work).id);
            seen++;
        }
        assert_true(seen > 15);
        const EngineStats st = engine_stats(r.engine);
        assert_true(st.mtp_accepted > 5 && st.mtp_accepted < st.mtp_drafted);
        rig_close(&r);
    }
}

/* Drafts that are always right: a step gives two tokens, or with two more passes four. */
static void right_drafts_save_steps(void **state) {
    Arena *a = *state;
    for (int64_t mtp = 1; mtp <= 3; mtp += 2) {
        Rig r = rig_with(
            a, team,
            (EngineSpec){
                .seqs = 1, .queue = 1, .rows = 64, .drafts = 8, .mtp = mtp, .mtp_always = true});
        Answer got;
        must_ask(&r, (Ask){.text = 1, .n = 7, .max_tokens = 41, .bias = ONE, .n_bias = 1}, &got);
        rig_run(&r);
        const EngineStats s = engine_stats(r.engine);
        assert_int_equal(s.steps, 1 + 40 / (mtp + 1));
        assert_int_equal(s.mtp_accepted, s.mtp_drafted);
        assert_int_equal(got.n, 41);
        rig_close(&r);
    }
}

/* ---- trouble --------------------------------------------------------------------------------- */

/* A layer that gives no numbers: its router's input, or only its logits. */
static void a_broken_layer_harms_nobody(void **state) {
    static const char *const broken[] = {".hnorm.weight", ".shared_head.norm.weight"};
    Arena *a = *state;
    Answer known[ASKS], got[ASKS];
    Rig plain = rig_with(a, team, SINGLE);
    asks_run(a, &plain, known, false, true);
    rig_close(&plain);
    for (int k = 0; k < COUNT(broken); k++) {
        const EngineSpec spec = {
            .seqs = 4, .queue = ASKS, .rows = 64, .drafts = 8, .mtp = 2, .mtp_always = true};
        Rig r;
        int64_t found = 0;
        rig_open_mtp(&r, a, team, rig_path(a, MODEL), 1);
        for (int64_t i = 0; i < r.model->n_params; i++) {
            Param *p = &r.model->param[i];
            if (!str_ends(str_of(p->name), str_of(broken[k]))) continue;
            float *x = PUSH(a, float, p->w.cols);
            for (int64_t j = 0; j < p->w.cols; j++) x[j] = NAN;
            p->w.row = x, found++;
        }
        assert_int_equal(found, 1);
        rig_plan(&r, plan_defaults(r.model), &spec, POSITIONS);
        const EngineStats s = asks_run(a, &r, got, false, false);
        same_answers(known, got, broken[k]);
        assert_int_equal(s.mtp_drafted, 0);
        rig_close(&r);
    }
}

typedef struct Long {
    int32_t token[400];
    int64_t n, accepted_at_end;
    Engine *engine;
} Long;

static void long_hear(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Long *l = arg;
    (void)seq, (void)logits;
    assert_true(t.id >= 0 && l->n < COUNT(l->token));
    l->token[l->n++] = t.id;
    if (finish) l->accepted_at_end = engine_stats(l->engine).mtp_accepted;
}

static void long_ask(Rig *r, Long *l, int32_t prompt, int64_t max_tokens) {
    Err err = {0};
    *l = (Long){.engine = r->engine};
    const SeqReq q = {.prompt = &prompt,
                      .n_prompt = 1,
                      .max_tokens = max_tokens,
                      .sampling = {.temperature = 1, .top_p = 1, .seed = 4},
                      .bias = FEW,
                      .n_bias = COUNT(FEW),
                      .on_token = long_hear,
                      .arg = l};
    if (!engine_add(r->engine, &q, &err)) fail_msg("%s", err.msg);
}

/* Two answers that are the same share their pages, so a third comes in; of the layer's pages each
 * of the two has its own, and there is none left. The third goes without drafts until they end. */
static void pages_of_the_layer_run_out(void **state) {
    Arena *a = *state;
    Long known[2], got[3];
    Rig plain = rig_with(a, team, SINGLE);
    long_ask(&plain, &known[0], 3, 300);
    rig_run(&plain);
    long_ask(&plain, &known[1], 8, 200);
    rig_run(&plain);
    rig_close(&plain);
    Rig r = rig_with(a, team,
                     (EngineSpec){.seqs = 3,
                                  .queue = 3,
                                  .rows = 64,
                                  .drafts = 6,
                                  .pages = 6,
                                  .mtp = 1,
                                  .mtp_always = true});
    int64_t least = 6;
    for (int i = 0; i < 3; i++) long_ask(&r, &got[i], i < 2 ? 3 : 8, i < 2 ? 300 : 200);
    while (engine_step(r.engine)) { least = MIN(least, pages_free(r.engine->mtp.pages)); }
    assert_int_equal(least, 0);
    assert_true(got[2].accepted_at_end > got[0].accepted_at_end);
    for (int i = 0; i < 3; i++) {
        const Long *want = &known[i / 2];
        assert_int_equal(got[i].n, want->n);
        assert_memory_equal(got[i].token, want->token, (size_t)want->n * sizeof *want->token);
    }
    rig_close(&r);
}

static void memory_is_counted(void **state) {
    Arena *a = *state;
    const EngineSpec spec = {
        .seqs = 5, .queue = 9, .rows = 64, .drafts = 9, .pages = 30, .mtp = 2, .inside = true};
    Rig r = rig_with(a, team, spec);
    int64_t planned = 0;
    for (int64_t i = 0; i < r.plan->n_items; i++) {
        const char *what = r.plan->item[i].what;
        if (!strcmp(what, "tables of the engine") || !strcmp(what, "KV pages")
            || !strcmp(what, "logits"))
            planned += r.plan->item[i].bytes;
    }
    const int64_t before = arena_used(a);
    rig_engine(&r, &spec);
    const int64_t taken = arena_used(a) - before;
    assert_in_range(taken, planned - 8192, planned + 8192);
    rig_close(&r);
}

/* ---- whether it pays ------------------------------------------------------------------------- */

/* Steps with drafts among n, in a world of these costs; `gain` tokens a drafted step. */
static int64_t drafted_steps(Pays *p, int64_t n, double plain, double pass, double drafted,
                             double gain) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        const bool drafts = p->doing == PAYS_DRAFTS;
        count += drafts;
        pays_learn(p, p->doing == PAYS_PLAIN ? 0 : pass, drafts ? drafted : plain,
                   drafts ? gain : 1);
    }
    return count;
}

static void it_is_found_out_what_pays(void **state) {
    (void)state;
    Pays p;
    pays_begin(&p);
    assert_true(drafted_steps(&p, 1000, 1.0, 0.2, 1.1, 1.6) > 900);
    assert_true(drafted_steps(&p, 20000, 1.0, 0.2, 1.1, 1.2) < 6000); /* the text has changed */
    assert_true(drafted_steps(&p, 20000, 1.0, 0.2, 1.1, 1.2) < 400);
    assert_true(drafted_steps(&p, 20000, 1.0, 0.2, 1.1, 1.6) > 10000); /* and again */
    assert_true(drafted_steps(&p, 20000, 1.0, 0.2, 1.1, 1.6) > 19000);
    pays_begin(&p);
    assert_true(drafted_steps(&p, 1000, 1.0, 0.2, 1.5, 1.6) < 100);
    pays_begin(&p); /* a step that was held up decides nothing */
    drafted_steps(&p, 9, 1.0, 0.2, 1.1, 1.6);
    assert_int_equal(p.doing, PAYS_DRAFTS);
    drafted_steps(&p, 1, 1.0, 0.2, 1000, 1.6);
    drafted_steps(&p, 400, 1.0, 0.2, 1.1, 1.6);
    assert_true(p.on);
}

/* In an engine that decides by itself bits stay, and plain steps are measured first. */
static void an_engine_decides_by_itself(void **state) {
    Arena *a = *state;
    Answer known[ASKS], got[ASKS];
    Rig plain = rig_with(a, team, SINGLE);
    asks_run(a, &plain, known, false, true);
    rig_close(&plain);
    Rig r = rig_with(a, team,
                     (EngineSpec){.seqs = 1, .queue = ASKS, .rows = 64, .drafts = 8, .mtp = 1});
    for (int again = 0; again < 8; again++) {
        const EngineStats s = asks_run(a, &r, got, false, false);
        same_answers(known, got, "by itself");
        assert_true(s.mtp_drafted > 0);
    }
    assert_true(r.engine->mtp.pays[0].period > 0);
    rig_close(&r);
}

int mtp_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(mtp_changes_nothing),         ARENA_TEST(the_layer_leaves_no_trace),
        ARENA_TEST(guesses_are_the_layers),      ARENA_TEST(right_drafts_save_steps),
        ARENA_TEST(a_broken_layer_harms_nobody), ARENA_TEST(pages_of_the_layer_run_out),
        ARENA_TEST(memory_is_counted),           ARENA_TEST(it_is_found_out_what_pays),
        ARENA_TEST(an_engine_decides_by_itself),
    };
    team = team_open(2);
    int failed = cmocka_run_group_tests_name("mtp", tests, NULL, NULL);
    team_close(team);
    return failed;
}
