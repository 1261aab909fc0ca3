/* engine.c -- the engine on tiny models: what is answered must not depend on the other sequences,
 * chunks, cache or cancels; pages come back; a step allocates nothing; the queue is fair; one
 * poisoned sequence harms no other. */
#include "tests.h"
#include "support/rig.h"

#include <malloc.h>
#include <math.h>

enum { POSITIONS = 512, ASKS = 12, BATCH_WITH = 31 };
static const char *const MODELS[] = {"llama-tiny", "deepseek-v3-tiny"};
static const EngineSpec SINGLE = {.seqs = 1, .queue = 1, .rows = POSITIONS, .no_prefix = true};
static Team *team;

/* Ask number i: lengths around the borders of chunks and pages, greedy and drawn in turn. */
static Ask ask_of(int64_t i) {
    static const int64_t length[ASKS] = {1, 5, 63, 64, 65, 127, 128, 129, 200, 255, 256, 300};
    return (Ask){
        .text = 100 + i / 3, .n = length[i], .max_tokens = 3 + i % 4, .sampling = sampling_of(i)};
}

static Ask neighbour_of(int64_t i) {
    Dice d = {51, (uint64_t)i * 8};
    return (Ask){.text = 500 + dice(&d, 9),
                 .n = 1 + dice(&d, 150),
                 .max_tokens = 1 + dice(&d, 12),
                 .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = (uint64_t)i},
                 .priority = dice(&d, 3) - 1};
}

static Rig rig_of(Arena *a, const char *name, EngineSpec spec, int64_t pages) {
    const char *path = rig_path(a, name);
    Rig r;
    rig_open(&r, a, team, path);
    spec.pages = pages;
    rig_plan(&r, plan_defaults(r.model), &spec, POSITIONS);
    return r;
}

static void must_ask(Rig *r, Ask q, Answer *to) {
    Err err = {0};
    if (!ask(r, &q, to, &err)) fail_msg("%s", err.msg);
}

static void alone(Rig *r, Ask q, Answer *to) {
    must_ask(r, q, to);
    rig_run(r);
    assert_true(to->finish == FINISH_STOP || to->finish == FINISH_LENGTH
                || to->finish == FINISH_ERROR);
}

/* The answers that all others are compared with: cold, alone, the prompt in one piece. */
static Answer *references(Arena *a, const char *name) {
    Rig r = rig_of(a, name, SINGLE, 0);
    Answer *to = PUSH(a, Answer, ASKS);
    for (int64_t i = 0; i < ASKS; i++) alone(&r, ask_of(i), &to[i]);
    assert_int_equal(engine_stats(r.engine).cached_rows, 0);
    rig_close(&r);
    return to;
}

static void pages_are_back(Rig *r) {
    EngineStats s = engine_stats(r->engine);
    assert_int_equal(s.active + s.waiting, 0);
    assert_int_equal(s.pages_free + s.pages_cached, s.pages);
    engine_forget(r->engine);
    assert_int_equal(engine_stats(r->engine).pages_free, s.pages);
}

/* ---- what the model computed inside ---------------------------------------------------------- */

typedef struct Look {
    const Rig *r;
    int32_t what;
    int64_t n;
    bool over;
    Sha256 sha;
    char hex[65];
} Look;

static void look_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Look *l = arg;
    const Config *c = &l->r->model->cfg;
    const Inside in = engine_inside(l->r->engine);
    (void)seq, (void)logits;
    CHECK(t.id >= 0);
    CHECK((in.hidden != NULL) == ((l->what & WANT_HIDDEN) != 0));
    CHECK((in.expert != NULL) == ((l->what & WANT_EXPERTS) != 0));
    if (in.hidden) sha256_add(&l->sha, in.hidden, c->C * (int64_t)sizeof(float));
    for (int64_t i = c->first_dense * c->K; in.expert && i < c->L * c->K; i++) {
        CHECK(in.expert[i] >= 0 && in.expert[i] < c->E);
        sha256_add(&l->sha, &in.expert[i], sizeof in.expert[i]);
        sha256_add(&l->sha, &in.weight[i], sizeof in.weight[i]);
    }
    l->n++;
    l->over = finish != FINISH_NONE;
    if (l->over) sha256_hex(&l->sha, l->hex);
}

static void look_add(Rig *r, Look *l, int64_t i, const Drafter *drafter) {
    static int32_t prompt[PROMPT_MAX];
    const Ask q = ask_of(i);
    Err err = {0};
    *l = (Look){.r = r,
                .what =
                    (int32_t[]){WANT_HIDDEN | WANT_EXPERTS, 0, WANT_EXPERTS, WANT_HIDDEN}[i % 4]};
    if (!r->model->cfg.E) l->what &= ~WANT_EXPERTS;
    sha256_init(&l->sha);
    ask_prompt(prompt, q.text, q.n, r->model->cfg.V);
    const SeqReq req = {.prompt = prompt,
                        .n_prompt = q.n,
                        .max_tokens = 12,
                        .sampling = q.sampling,
                        .drafter = drafter,
                        .inside = l->what,
                        .on_token = look_token,
                        .arg = l};
    if (!engine_add(r->engine, &req, &err)) fail_msg("%s", err.msg);
}

/* Alone, and in a crowd of which some want one thing and some another, with drafts that fail. */
static void inside_is_each_sequences_own(void **state) {
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        Look alone_look[ASKS], look[ASKS];
        EngineSpec spec = SINGLE;
        spec.inside = true;
        Rig r = rig_of(a, MODELS[m], spec, 0);
        for (int64_t i = 0; i < ASKS; i++) {
            look_add(&r, &alone_look[i], i, NULL);
            rig_run(&r);
        }
        rig_close(&r);
        spec = (EngineSpec){
            .seqs = 9, .queue = ASKS, .rows = 90, .chunk = 13, .drafts = 16, .inside = true};
        r = rig_of(a, MODELS[m], spec, 0);
        for (int64_t i = 0; i < ASKS; i++) {
            Drafter *d = PUSH(a, Drafter, 1);
            lookup_drafter(d, a);
            look_add(&r, &look[i], i, i % 3 ? d : NULL);
        }
        rig_run(&r);
        for (int64_t i = 0; i < ASKS; i++) {
            assert_true(look[i].over && look[i].n == alone_look[i].n);
            assert_string_equal(look[i].hex, alone_look[i].hex);
        }
        assert_string_not_equal(look[0].hex, look[4].hex);
        rig_close(&r);
    }
}

/* ---- the same answer ------------------------------------------------------------------------- */

static void neighbour_and_chunks_change_nothing(void **state) {
    static const int64_t chunks[] = {1, 7, 64, 0};
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        const Answer *want = references(a, MODELS[m]);
        for (int64_t c = 0; c < COUNT(chunks); c++) {
            EngineSpec spec = {.seqs = 8 + 12 * (c % 3),
                               .queue = ASKS + BATCH_WITH,
                               .rows = 200 + 7 * c,
                               .chunk = chunks[c]};
            Rig r = rig_of(a, MODELS[m], spec, 0);
            Answer *got = PUSH(a, Answer, ASKS + BATCH_WITH);
            for (int64_t i = 0; i < ASKS + BATCH_WITH; i++)
                must_ask(&r, i % 3 == 1 && i / 3 < ASKS ? ask_of(i / 3) : neighbour_of(i), &got[i]);
            rig_run(&r);
            for (int64_t i = 0; i < ASKS; i++)
                if (!answer_same(&want[i], &got[3 * i + 1]))
                    fail_msg("%s, chunk %d, ask %d", MODELS[m], (int)chunks[c], (int)i);
            pages_are_back(&r);
            rig_close(&r);
        }
    }
}

static void prefix_hits_change_nothing(void **state) {
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        const Answer *want = references(a, MODELS[m]);
        Rig r = rig_of(a, MODELS[m], (EngineSpec){.seqs = 4, .queue = ASKS, .rows = 300}, 100);
        Answer *got = PUSH(a, Answer, ASKS);
        int64_t cached[4];
        for (int64_t round = 0; round < 4; round++) { /* cold, hits, another tenant, hits again */
            int64_t before = engine_stats(r.engine).cached_rows;
            for (int64_t i = 0; i < ASKS; i++) {
                Ask q = ask_of(i);
                q.tenant = round == 2;
                alone(&r, q, &got[i]);
                if (!answer_same(&want[i], &got[i]))
                    fail_msg("%s, round %d, ask %d", MODELS[m], (int)round, (int)i);
            }
            cached[round] = engine_stats(r.engine).cached_rows - before;
        }
        int64_t most = 0;
        for (int64_t i = 0; i < ASKS; i++) most += ask_of(i).n - 1;
        assert_int_equal(cached[1], most);
        assert_int_equal(cached[3], most);
        assert_int_equal(cached[2], cached[0]);
        assert_true(cached[0] < most);
        assert_int_equal(engine_stats(r.engine).evicted, 0);
        pages_are_back(&r);
        rig_close(&r);
    }
}

static void evicted_and_again_changes_nothing(void **state) {
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        const Answer *want = references(a, MODELS[m]);
        Rig r = rig_of(a, MODELS[m],
                       (EngineSpec){.seqs = 2, .queue = ASKS, .rows = 64, .chunk = 50}, 4);
        Answer *got = PUSH(a, Answer, ASKS);
        for (int64_t round = 0; round < 3; round++) {
            for (int64_t i = 0; i < ASKS; i++)
                must_ask(&r, ask_of(round == 1 ? ASKS - 1 - i : i), &got[i]);
            rig_run(&r);
            for (int64_t i = 0; i < ASKS; i++)
                if (!answer_same(&want[round == 1 ? ASKS - 1 - i : i], &got[i]))
                    fail_msg("%s, ask %d", MODELS[m], (int)i);
        }
        assert_true(engine_stats(r.engine).evicted > 10 && engine_stats(r.engine).cached_rows > 50);
        pages_are_back(&r);
        rig_close(&r);
    }
}

/* A sequence that still runs serves others; a finished one does to the last token it computed. */
static void live_and_finished_sequences_share(void **state) {
    Rig r = rig_of(*state, MODELS[0], (EngineSpec){.seqs = 2, .queue = 2, .rows = 400}, 0);
    Answer a, b;
    must_ask(&r,
             (Ask){.text = 1,
                   .n = 300,
                   .max_tokens = 20,
                   .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 1}},
             &a);
    while (a.n < 2) assert_true(engine_step(r.engine));
    must_ask(&r,
             (Ask){.text = 1,
                   .n = 280,
                   .max_tokens = 2,
                   .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 1}},
             &b);
    while (!b.finish) assert_true(engine_step(r.engine));
    assert_int_equal(a.finish, FINISH_NONE);
    assert_int_equal(engine_stats(r.engine).cached_rows, 2 * PAGE);
    rig_run(&r);
    must_ask(&r,
             (Ask){.text = 1,
                   .n = 300,
                   .max_tokens = 2,
                   .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 1}},
             &b);
    rig_run(&r);
    assert_int_equal(engine_stats(r.engine).cached_rows, 2 * PAGE + 299);
    assert_int_equal(engine_stats(r.engine).prompt_rows, 300 + 24 + 1);
    rig_close(&r);
}

/* Three more answers to each prompt begin with a copy of what the first one computed of it,
 * whatever the chunks, also with few pages, and without a prefix cache. */
static void requests_like_others_copy_their_prompt(void **state) {
    Arena *a = *state;
    enum { COPIES = 3 };
    for (int m = 0; m < 2; m++) {
        const Answer *want = references(a, MODELS[m]);
        for (int few = 0; few < 2; few++) {
            Rig r = rig_of(a, MODELS[m],
                           (EngineSpec){.seqs = 9,
                                        .queue = ASKS * (1 + COPIES),
                                        .rows = 64,
                                        .chunk = few ? 63 : 0,
                                        .no_prefix = !few},
                           few ? 5 : 0);
            Answer *got = PUSH(a, Answer, ASKS * (1 + COPIES));
            int64_t most = 0;
            for (int64_t i = 0; i < ASKS * (1 + COPIES); i++) {
                const int64_t first = i - i % (1 + COPIES);
                Ask q = ask_of(i / (1 + COPIES));
                q.like = i == first ? 0 : got[first].seq;
                must_ask(&r, q, &got[i]);
                most += i == first ? 0 : q.n - 1;
            }
            rig_run(&r);
            for (int64_t i = 0; i < ASKS * (1 + COPIES); i++)
                if (!answer_same(&want[i / (1 + COPIES)], &got[i]))
                    fail_msg("%s, ask %d, few %d", MODELS[m], (int)i, few);
            const int64_t cached = engine_stats(r.engine).cached_rows;
            if (!few) assert_in_range(cached, 1, most);
            pages_are_back(&r);
            rig_close(&r);
        }
    }
}

/* While the first still writes, all of its prompt but the last token is copied. */
static void a_live_prompt_is_copied_whole(void **state) {
    Rig r = rig_of(*state, MODELS[1],
                   (EngineSpec){.seqs = 6, .queue = 6, .rows = 100, .no_prefix = true}, 0);
    Ask q = {.text = 3,
             .n = 150,
             .max_tokens = 30,
             .sampling = {.temperature = 1, .top_p = 1, .seed = 1}};
    Answer got[6];
    must_ask(&r, q, &got[0]);
    q.like = got[0].seq;
    for (int i = 1; i < 6; i++) {
        q.sampling.seed = (uint64_t)i + 1;
        must_ask(&r, q, &got[i]);
    }
    rig_run(&r);
    assert_int_equal(engine_stats(r.engine).cached_rows, 5 * 149);
    assert_int_equal(engine_stats(r.engine).prompt_rows, 150 + 5);
    for (int i = 1; i < 6; i++) {
        Answer lone;
        q.sampling.seed = (uint64_t)i + 1;
        q.like = 0;
        alone(&r, q, &lone);
        assert_true(answer_same(&lone, &got[i]));
    }
    pages_are_back(&r);
    rig_close(&r);
}

/* ---- forks ----------------------------------------------------------------------------------- */

typedef struct Forward {
    Plan *plan;
    Batch batch;
    Out out;
} Forward;
static void forward_threads(Thread th, void *arg) {
    Forward *f = arg;
    CHECK(model_forward(th, f->plan, &f->batch, &f->out, NULL));
}

/* Runs token[s->length..n-1] on s; the logits of the last row. */
static void forward(const Rig *r, Pages *pages, KvSeq *s, const int32_t *token, int64_t n,
                    float *logits) {
    assert_true(kv_reserve(pages, s, n));
    int64_t rows = n - s->length;
    Span span = {.n = rows, .pos = s->length, .pages = s->page};
    Want want = {(int32_t)rows - 1, WANT_LOGITS};
    Forward f = {r->plan, {rows, token + s->length, &span, 1, &want, 1, 0}, {.logits = logits}};
    team_run(r->team, forward_threads, &f);
    s->length = n;
}

static void forks_go_their_own_way(void **state) {
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        Rig r = rig_of(a, MODELS[m], SINGLE, 0);
        int64_t V = r.model->cfg.V, bytes = V * (int64_t)sizeof(float);
        Pages *pages = pages_new(a, &r.plan->kv, 24, 3, POSITIONS);
        float *got = PUSH(a, float, V), *want = PUSH(a, float, V);
        int32_t trunk[300], branch[300];
        /* A fork behind `at` tokens of 200; both go on; the fork is cut and goes on once more. */
        for (int64_t at = 60; at < 260; at += 17) {
            KvSeq s, f, cold;
            ask_prompt(trunk, 7, 300, V);
            ask_prompt(branch, 8, 300, V);
            int64_t length = MAX(at, 200);
            memcpy(branch, trunk, (size_t)at * sizeof *branch);
            assert_true(kv_open(pages, &s));
            forward(&r, pages, &s, trunk, length, got);
            assert_true(kv_fork(pages, &f, &s, at));
            forward(&r, pages, &f, branch, at + 30, got);
            assert_true(kv_open(pages, &cold));
            forward(&r, pages, &cold, branch, at + 30, want);
            assert_memory_equal(got, want, (size_t)bytes);
            kv_truncate(pages, &f, at + 3);
            kv_close(pages, &cold);
            forward(&r, pages, &s, trunk, length + 20, got);
            assert_true(kv_open(pages, &cold));
            forward(&r, pages, &cold, trunk, length + 20, want);
            assert_memory_equal(got, want, (size_t)bytes);
            forward(&r, pages, &f, branch, at + 40, got);
            kv_truncate(pages, &cold, 0);
            forward(&r, pages, &cold, branch, at + 40, want);
            assert_memory_equal(got, want, (size_t)bytes);
            kv_close(pages, &s);
            kv_close(pages, &f);
            kv_close(pages, &cold);
        }
        assert_int_equal(pages_free(pages), 24);
        rig_close(&r);
    }
}

/* ---- load ------------------------------------------------------------------------------------ */

enum { KINDS = 40, SLOTS = 60 };

static Ask kind_of(int64_t i) {
    Dice d = {61, (uint64_t)i * 8};
    return (Ask){.text = 700 + dice(&d, 4),
                 .n = 1 + dice(&d, i % 8 ? 24 : 200),
                 .max_tokens = 1 + dice(&d, 7),
                 .sampling = {.temperature = (float)(i % 3),
                              .top_k = i % 5 * 10,
                              .top_p = 0.9f,
                              .seed = (uint64_t)i}};
}

/* Whole, or, where it was cancelled, a beginning of the known answer. */
static void answer_check(const Answer *got, const Answer *known) {
    assert_int_not_equal(got->finish, FINISH_NONE);
    if (got->finish != FINISH_CANCEL) assert_true(answer_same(got, known));
    assert_true(got->n <= known->n);
    for (int64_t i = 0; i < got->n; i++) {
        assert_int_equal(got->token[i].id, known->token[i].id);
        assert_true(bits_of_f32(got->token[i].logprob) == bits_of_f32(known->token[i].logprob));
    }
}

typedef struct Load {
    int64_t asked, cancelled, kind[SLOTS];
    bool busy[SLOTS];
    Answer slot[SLOTS];
} Load;

/* Collects what has ended; new requests into free slots; now and then a cancel. */
static void load_stir(Rig *r, Load *w, const Answer *known, int64_t total, Dice *d) {
    for (int64_t i = 0; i < SLOTS; i++) {
        if (w->busy[i] && w->slot[i].finish) answer_check(&w->slot[i], &known[w->kind[i]]);
        if (w->slot[i].finish) w->busy[i] = false;
        Err err = {0};
        EngineStats s = engine_stats(r->engine);
        if (!w->busy[i] && w->asked < total && s.waiting < 40 && dice(d, 4) == 0) {
            Ask q = kind_of(w->kind[i] = dice(d, KINDS));
            q.priority = dice(d, 3), q.tenant = dice(d, 2);
            q.like = w->slot[dice(d, SLOTS)].seq; /* often of another prompt, or gone */
            w->busy[i] = ask(r, &q, &w->slot[i], &err) > 0;
            assert_true(w->busy[i]);
            w->asked++;
        } else if (w->busy[i] && dice(d, 60) == 0) {
            engine_cancel(r->engine, w->slot[i].seq);
            w->cancelled++;
        }
    }
}

static void thousands_of_requests_with_cancels(void **state) {
    need_native();
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        int64_t total = m ? 1000 : full_run() ? 10000 : 2000;
        Rig one = rig_of(a, MODELS[m], SINGLE, 0);
        Answer *known = PUSH(a, Answer, KINDS);
        for (int64_t i = 0; i < KINDS; i++) alone(&one, kind_of(i), &known[i]);
        rig_close(&one);
        Rig r = rig_of(a, MODELS[m], (EngineSpec){.seqs = 12, .queue = 40, .rows = 48, .chunk = 20},
                       14);
        Load *w = PUSH(a, Load, 1);
        Dice d = {71, 0};
        int64_t used = 0, heap = 0;
        do {
            load_stir(&r, w, known, total, &d);
            if (engine_stats(r.engine).steps == 1)
                used = arena_used(a), heap = (int64_t)mallinfo2().uordblks;
        } while (engine_step(r.engine) || w->asked < total);
        load_stir(&r, w, known, total, &d);
        assert_int_equal(arena_used(a), used); /* nothing was allocated after the first step */
        assert_int_equal(arena_peak(a), used);
        assert_int_equal(mallinfo2().uordblks, heap);
        assert_true(w->cancelled > total / 10 && engine_stats(r.engine).evicted > total / 100);
        pages_are_back(&r);
        print_message("# %s: %d requests, %d cancels, %d evictions; all pages are back\n",
                      MODELS[m], (int)w->asked, (int)w->cancelled,
                      (int)engine_stats(r.engine).evicted);
        rig_close(&r);
    }
}

/* ---- order ----------------------------------------------------------------------------------- */

static void the_queue_goes_by_priority_then_arrival(void **state) {
    static const int64_t priority[] = {0, 0, 5, -1, 5}, order[] = {0, 2, 4, 1, 3};
    Rig r = rig_of(*state, MODELS[0], (EngineSpec){.seqs = 1, .queue = 4, .rows = 64}, 0);
    Answer got[5], more;
    for (int64_t i = 0; i < 5; i++) {
        must_ask(&r,
                 (Ask){.text = i,
                       .n = 4,
                       .max_tokens = 2,
                       .sampling = {.temperature = 0, .top_k = 0, .top_p = 1, .seed = 0},
                       .priority = priority[i]},
                 &got[i]);
        if (i == 0) assert_true(engine_step(r.engine));
    }
    Err err = {0};
    assert_int_equal(ask(&r, &(Ask){.n = 4, .max_tokens = 2}, &more, &err), 0);
    assert_int_equal(err.code, ERR_LIMIT);
    rig_run(&r);
    for (int i = 1; i < 5; i++) assert_true(got[order[i]].first > got[order[i - 1]].last);
    rig_close(&r);
}

/* Six requests, two of which run at a time, and then one of another account. */
static void other_account_is_next(Rig *r, bool many_tenants) {
    enum { MANY = 6 };
    Answer got[MANY + 1];
    for (int64_t i = 0; i <= MANY; i++) {
        must_ask(r,
                 (Ask){.text = i,
                       .n = 4,
                       .max_tokens = 3 + i,
                       .sampling = {.temperature = 0, .top_k = 0, .top_p = 1, .seed = 0},
                       .tenant = many_tenants ? 10 + i : i == MANY,
                       .account = many_tenants ? 7 + (i == MANY) : 0},
                 &got[i]);
        if (i == MANY - 1) assert_true(engine_step(r->engine));
    }
    rig_run(r);
    for (int i = 2; i < MANY; i++) assert_true(got[MANY].first < got[i].first);
}

/* A tenant with many requests delays another's by no more than the end of one of its own; so does
 * an account that gives each request a tenant of its own. */
static void no_tenant_starves_another(void **state) {
    Rig r = rig_of(*state, MODELS[0], (EngineSpec){.seqs = 2, .queue = 8, .rows = 64}, 0);
    other_account_is_next(&r, false);
    other_account_is_next(&r, true);
    rig_close(&r);
}

/* Of one account: who has nothing running is before who has. */
static void tenants_of_an_account_take_turns(void **state) {
    Rig r = rig_of(*state, MODELS[0], (EngineSpec){.seqs = 2, .queue = 8, .rows = 64}, 0);
    Answer got[4];
    for (int64_t i = 0; i < 4; i++)
        must_ask(&r,
                 (Ask){.text = i,
                       .n = 4,
                       .max_tokens = 4,
                       .sampling = {.temperature = 0, .top_k = 0, .top_p = 1, .seed = 0},
                       .tenant = 1 + i / 3,
                       .account = 7},
                 &got[i]);
    rig_run(&r);
    assert_true(got[3].first < got[1].first);
    rig_close(&r);
}

/* A long prompt does not stall who is speaking: a token each step, and a step is never above its
 * budget. */
static void the_gap_between_tokens_is_one_step(void **state) {
    Rig r =
        rig_of(*state, MODELS[0], (EngineSpec){.seqs = 4, .queue = 8, .rows = 20, .chunk = 16}, 0);
    Answer speaker[2], listener[3];
    for (int i = 0; i < 2; i++)
        must_ask(&r,
                 (Ask){.text = i,
                       .n = 3,
                       .max_tokens = 40,
                       .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 2}},
                 &speaker[i]);
    assert_true(engine_step(r.engine));
    for (int i = 0; i < 3; i++)
        must_ask(&r,
                 (Ask){.text = 9 + i,
                       .n = 400,
                       .max_tokens = 1,
                       .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 2},
                       .priority = 7},
                 &listener[i]);
    for (int64_t rows = 0, before = 0; engine_step(r.engine); before = rows) {
        EngineStats s = engine_stats(r.engine);
        rows = s.prompt_rows + s.decode_rows;
        assert_true(before == 0 || rows - before <= 20);
    }
    for (int i = 0; i < 2; i++) assert_int_equal(speaker[i].last - speaker[i].first, 39);
    for (int i = 0; i < 3; i++) assert_int_equal(listener[i].finish, FINISH_LENGTH);
    rig_close(&r);
}

/* Pages for one long sequence only: it waits for the short ones that came first, and no later one
 * passes it. */
static void who_waits_for_pages_is_not_overtaken(void **state) {
    Rig r = rig_of(*state, MODELS[0], (EngineSpec){.seqs = 4, .queue = 8, .rows = 64}, 4);
    Answer small[3], large;
    for (int i = 0; i < 3; i++) {
        must_ask(&r,
                 (Ask){.text = i,
                       .n = 5,
                       .max_tokens = 10 + 20 * i,
                       .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 2}},
                 &small[i]);
        if (i == 1)
            must_ask(&r,
                     (Ask){.text = 9,
                           .n = 500,
                           .max_tokens = 12,
                           .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 2}},
                     &large);
    }
    rig_run(&r);
    assert_true(large.first > small[1].last && small[2].first > large.last);
    assert_true(small[2].finish == FINISH_LENGTH && large.finish == FINISH_LENGTH);
    pages_are_back(&r);
    rig_close(&r);
}

/* All pages are needed, and one holds a beginning that could be copied: it is given up instead. */
static void a_full_house_goes_without_the_copy(void **state) {
    Rig r = rig_of(*state, MODELS[0], (EngineSpec){.seqs = 1, .queue = 1, .rows = 64}, 2);
    Answer first, second;
    alone(&r, (Ask){.text = 1, .n = 20, .max_tokens = 1}, &first);
    assert_int_equal(engine_stats(r.engine).pages_cached, 1);
    alone(&r, (Ask){.text = 1, .n = 2 * PAGE - 2, .max_tokens = 3}, &second);
    EngineStats s = engine_stats(r.engine);
    assert_true(second.n == 3 && s.cached_rows == 0 && s.pages_cached == 2);
    rig_close(&r);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void end_tokens_end(void **state) {
    Rig r = rig_of(*state, MODELS[0], (EngineSpec){.seqs = 1, .queue = 1, .rows = 64}, 0);
    Answer whole, cut;
    Ask q = {.text = 3,
             .n = 10,
             .max_tokens = 20,
             .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 1}};
    alone(&r, q, &whole);
    assert_int_equal(whole.finish, FINISH_LENGTH);
    int64_t at = 0; /* the first place of the token drawn seventh */
    while (whole.token[at].id != whole.token[7].id) at++;
    int32_t stop[] = {-1, whole.token[7].id};
    for (stop[0] = 0;; stop[0]++) { /* and one that does not come */
        int64_t i = 0;
        while (i < whole.n && whole.token[i].id != stop[0]) i++;
        if (i == whole.n) break;
    }
    q.stop = stop, q.n_stop = 2;
    alone(&r, q, &cut);
    assert_int_equal(cut.finish, FINISH_STOP);
    assert_int_equal(cut.n, at + 1);
    q.given = at; /* those before it */
    alone(&r, q, &cut);
    assert_int_equal(cut.n, at + 1);
    q.given = at + 1;
    alone(&r, q, &cut);
    assert_true(cut.n > at + 1);
    for (int64_t i = 0; i < cut.n; i++) assert_int_equal(cut.token[i].id, whole.token[i].id);
    q.given = q.max_tokens;
    alone(&r, q, &cut);
    assert_int_equal(cut.finish, FINISH_LENGTH);
    rig_close(&r);
}

typedef struct Chain {
    Engine *engine;
    int64_t left, calls, victim;
    Finish victim_finish;
} Chain;

static void chain_victim(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    (void)seq, (void)t, (void)logits;
    ((Chain *)arg)->victim_finish = finish;
}

/* Each end asks for the next; the third cancels someone else, who is in the same step, and itself,
 * which is over. */
static void chain_link(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Chain *c = arg;
    Err err = {0};
    (void)t, (void)logits;
    c->calls++;
    if (finish == FINISH_NONE) return;
    if (c->left == 3) engine_cancel(c->engine, c->victim), engine_cancel(c->engine, seq);
    SeqReq r = {.prompt = (int32_t[]){1, 2},
                .n_prompt = 2,
                .max_tokens = 2,
                .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 1},
                .on_token = chain_link,
                .arg = c};
    if (c->left-- > 0) assert_true(engine_add(c->engine, &r, &err) > 0);
}

static void callbacks_may_add_and_cancel(void **state) {
    Rig r = rig_of(*state, MODELS[0], (EngineSpec){.seqs = 2, .queue = 1, .rows = 64}, 0);
    Chain c = {.engine = r.engine, .left = 5};
    Err err = {0};
    SeqReq victim = {.prompt = (int32_t[]){3},
                     .n_prompt = 1,
                     .max_tokens = 100,
                     .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 1},
                     .on_token = chain_victim,
                     .arg = &c};
    assert_true((c.victim = engine_add(r.engine, &victim, &err)) > 0);
    assert_true(engine_step(r.engine));
    chain_link(&c, 0, (Token){0}, FINISH_LENGTH, NULL);
    rig_run(&r);
    assert_int_equal(c.victim_finish, FINISH_CANCEL);
    assert_int_equal(c.calls, 1 + 5 * 2);
    engine_cancel(r.engine, 12345);
    assert_false(engine_step(r.engine));
    pages_are_back(&r);
    rig_close(&r);
}

static void refused(Rig *r, SeqReq q, ErrCode code, const char *piece) {
    Err err = {0};
    q.on_token = chain_victim;
    assert_int_equal(engine_add(r->engine, &q, &err), 0);
    if (err.code != code || !strstr(err.msg, piece)) fail_msg("%d: %s", err.code, err.msg);
    assert_int_equal(engine_stats(r->engine).waiting, 0);
}

static void what_cannot_be_is_refused(void **state) {
    Rig r = rig_of(*state, MODELS[0], (EngineSpec){.seqs = 1, .queue = 1, .rows = 64}, 2);
    int32_t p[3] = {1, 2, 3}, high[2] = {1, 320}, low[2] = {1, -1}, many[9] = {0};
    const SeqReq fine = {.prompt = p,
                         .n_prompt = 3,
                         .max_tokens = 5,
                         .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 0}};
    SeqReq q = fine;
#define REFUSED(code, piece, ...) (q = fine, __VA_ARGS__, refused(&r, q, code, piece))
    REFUSED(ERR_USAGE, "prompt token 1 is 320", q.prompt = high, q.n_prompt = 2);
    REFUSED(ERR_USAGE, "prompt token 1 is -1", q.prompt = low, q.n_prompt = 2);
    REFUSED(ERR_USAGE, "end token 1 is 320", q.stop = high, q.n_stop = 2);
    REFUSED(ERR_USAGE, "9 end tokens", q.stop = many, q.n_stop = 9);
    REFUSED(ERR_USAGE, "0 prompt tokens", q.n_prompt = 0);
    REFUSED(ERR_USAGE, "0 tokens to generate", q.max_tokens = 0);
    REFUSED(ERR_USAGE, "temperature -1", q.sampling.temperature = -1);
    REFUSED(ERR_USAGE, "temperature nan", q.sampling.temperature = NAN);
    REFUSED(ERR_USAGE, "temperature 1e-20", q.sampling.temperature = 1e-20f);
    REFUSED(ERR_USAGE, "top_p 1.5", q.sampling.top_p = 1.5f);
    REFUSED(ERR_USAGE, "top_k -1", q.sampling.top_k = -1);
    REFUSED(ERR_LIMIT, "512 positions", q.max_tokens = POSITIONS - 1);
    REFUSED(ERR_LIMIT, "512 positions", q.max_tokens = INT64_MAX);
    REFUSED(ERR_LIMIT, "3 KV pages and there are 2", q.max_tokens = 2 * PAGE - 1);
#undef REFUSED
    Err err = {0};
    Engine *e;
    assert_false(engine_new(&e, *state, r.plan, &(EngineSpec){.seqs = 4, .queue = 1, .rows = 3},
                            team, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    rig_close(&r);
}

/* Token 7's embedding is NaN. In llama-tiny its logits are, in deepseek-v3-tiny a router meets it
 * and the step is void. */
static void a_poisoned_sequence_falls_alone(void **state) {
    enum { N = 24 };
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        Answer known[N], got[N];
        int64_t errors = 0;
        for (int pass = 0; pass < 2; pass++) {
            const char *path = rig_path(a, MODELS[m]);
            Rig r;
            rig_open(&r, a, team, path);
            PlanSpec plan = plan_defaults(r.model);
            model_train(r.model, a);
            const Param *embed = r.model->param;
            while (strcmp(embed->name, "model.embed_tokens.weight") != 0) embed++;
            embed->master[7 * r.model->cfg.C] = NAN;
            rig_plan(&r, plan,
                     &(EngineSpec){.seqs = pass ? 8 : 1, .queue = N, .rows = 100, .chunk = 40},
                     POSITIONS);
            for (int64_t i = 0; i < N; i++) {
                Ask q = {
                    .text = 300 + i,
                    .n = 10 + 7 * i,
                    .max_tokens = 12,
                    .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = (uint64_t)i}};
                must_ask(&r, q, pass ? &got[i] : &known[i]);
                if (!pass) rig_run(&r);
            }
            rig_run(&r);
            pages_are_back(&r);
            rig_close(&r);
        }
        for (int64_t i = 0; i < N; i++) {
            assert_true(answer_same(&known[i], &got[i]));
            errors += got[i].finish == FINISH_ERROR;
        }
        assert_true(errors > 2 && errors < N - 6);
    }
}

int engine_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(inside_is_each_sequences_own),
        ARENA_TEST(neighbour_and_chunks_change_nothing),
        ARENA_TEST(requests_like_others_copy_their_prompt),
        ARENA_TEST(a_live_prompt_is_copied_whole),
        ARENA_TEST(prefix_hits_change_nothing),
        ARENA_TEST(evicted_and_again_changes_nothing),
        ARENA_TEST(live_and_finished_sequences_share),
        ARENA_TEST(forks_go_their_own_way),
        ARENA_TEST(thousands_of_requests_with_cancels),
        ARENA_TEST(the_queue_goes_by_priority_then_arrival),
        ARENA_TEST(no_tenant_starves_another),
        ARENA_TEST(tenants_of_an_account_take_turns),
        ARENA_TEST(the_gap_between_tokens_is_one_step),
        ARENA_TEST(who_waits_for_pages_is_not_overtaken),
        ARENA_TEST(a_full_house_goes_without_the_copy),
        ARENA_TEST(end_tokens_end),
        ARENA_TEST(callbacks_may_add_and_cancel),
        ARENA_TEST(what_cannot_be_is_refused),
        ARENA_TEST(a_poisoned_sequence_falls_alone),
    };
    team = team_open(2);
    int failed = cmocka_run_group_tests_name("engine", tests, NULL, NULL);
    team_close(team);
    return failed;
}
