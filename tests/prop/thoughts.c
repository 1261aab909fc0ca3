/* thoughts.c -- a thought that ends at its budget is the same bits alone and in company, in any
 * chunks, forced in one step or masked token by token, beside drafts that are wrong or right by
 * chance. */
#include "prop.h"
#include "text/text.h"

#include <jansson.h>

enum { ASKS = 8, POSITIONS = 256, TOKENS = 24 };

typedef struct World {
    Arena *a;
    Tokenizer *tok;
    Chat chat;
} World;

static void world_open(World *w) {
    Err err = {0};
    w->a = arena_open("thoughts", ARENA_NO_LIMIT);
    assert_true(kern_init(LEVEL_N, &err));
    json_t *config = json_loads(byte_tokenizer_config(w->a).p, 0, NULL);
    const Str source =
        str_copy(w->a, str_of(json_string_value(json_object_get(config, "chat_template"))));
    json_decref(config);
    assert_true(tokenizer_open_json(&w->tok, w->a, byte_tokenizer_json(w->a), "bytes", &err));
    assert_true(chat_init(&w->chat, w->a, w->tok, source, (Str){0}, STR("<|end|>"), &err));
    w->chat.thought_end = STR("\n</think>\n\n"); /* four tokens */
}

/* Guesses without knowing anything. */
static int64_t guess(void *self, const int32_t *token, int64_t n, int32_t *draft, int64_t most) {
    (void)self;
    for (int64_t i = 0; i < most; i++) draft[i] = token[(n + i) % n];
    return most;
}

static void learn(void *self, const int32_t *token, int64_t n, int64_t proposed, int64_t right) {
    (void)self, (void)token, (void)n, (void)proposed, (void)right;
}

/* Every other prompt has opened its thought; the budget of number i is i. */
static EngineStats run(World *w, Answer *to, const char *name, const EngineSpec *spec, bool drafts,
                       int64_t threads) {
    Rig r;
    Team *team = team_open(threads);
    Constraint limit[ASKS];
    const Drafter drafter = {NULL, guess, learn};
    rig_open(&r, w->a, team, rig_path(w->a, name));
    rig_plan(&r, plan_defaults(r.model), spec, POSITIONS);
    for (int64_t i = 0; i < ASKS; i++) {
        Err err = {0};
        assert_true(thought_budget(&limit[i], w->a, &w->chat, r.model->cfg.V, i, i % 2, &err));
        const Ask q = {.text = 70 + i,
                       .n = 20 * i + 1,
                       .max_tokens = TOKENS,
                       .sampling = {.temperature = 1, .top_p = 1, .seed = (uint64_t)i},
                       .constraint = &limit[i],
                       .drafter = drafts ? &drafter : NULL};
        if (!ask(&r, &q, &to[i], &err)) fail_msg("%s", err.msg);
    }
    rig_run(&r);
    const EngineStats s = engine_stats(r.engine);
    rig_close(&r);
    team_close(team);
    return s;
}

static void budgets_are_the_same_bits(void **state) {
    (void)state;
    static const char *const models[] = {"llama-tiny", "deepseek-v3-tiny"};
    const EngineSpec alone = {.seqs = 1, .queue = ASKS, .rows = POSITIONS, .no_prefix = true},
                     crowd = {.seqs = ASKS, .queue = ASKS, .rows = 60, .chunk = 13},
                     told = {.seqs = 5, .queue = ASKS, .rows = 64, .drafts = 20};
    World w;
    world_open(&w);
    const int32_t close = token_named(w.tok, STR("</think>"));
    for (int m = 0; m < COUNT(models); m++) {
        Answer *want = PUSH(w.a, Answer, 4 * ASKS), *got = want + ASKS;
        const EngineStats none = run(&w, want, models[m], &alone, false, 1),
                          some = run(&w, got, models[m], &told, false, 2);
        assert_int_equal(none.forced, 0);
        assert_true(some.forced > ASKS); /* the others were masked, where rows were out */
        run(&w, got + ASKS, models[m], &crowd, false, 3);
        run(&w, got + 2 * ASKS, models[m], &told, true, 1);
        for (int64_t i = 0; i < 3 * ASKS; i++)
            if (!answer_same(&want[i % ASKS], &got[i])) fail_msg("%s, %d", models[m], (int)i);
        for (int64_t i = 1; i < ASKS; i += 2) { /* chance may end a thought before */
            int64_t at = 0;
            while (at < i + 1 && want[i].token[at].id != close) at++;
            assert_int_equal(want[i].token[at].id, close);
        }
    }
    tokenizer_close(w.tok);
    arena_close(w.a);
}

int thought_tests(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(budgets_are_the_same_bits)};
    return cmocka_run_group_tests_name("thoughts", tests, NULL, NULL);
}
