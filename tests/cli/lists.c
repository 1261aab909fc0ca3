/* lists.c -- what is kept of each token of an answer: as much memory as is planned for it, and an
 * Err where there is none. */
#include "tests.h"
#include "cli/generation.h"

enum { ANSWER = 100, TOP = 20 };

/* ANSWER tokens of a small model, with the TOP likeliest at each place, their lists in `a`. */
static void answer(Generation *g, Arena *a, Err *err) {
    const ModelOpts o = {.threads = 1};
    const EngineSpec e = {.seqs = 1, .queue = 1, .rows = 8, .no_prefix = true};
    Session s = {0};
    PlanSpec spec;
    Engine *engine;
    int32_t ids[] = {1, 2, 3};
    Request r = {.opts = {.top_logprobs = TOP, .ignore_end = true, .max_tokens = ANSWER},
                 .ids = {.v = ids, .n = COUNT(ids)},
                 .plain = true};
    bool ok = session_open(&s, "tests/golden/models/llama-tiny", BUNDLE_MODEL, &o, &spec, err);
    if (ok) engine_plan(&spec, s.bundle.model, &e, COUNT(ids) + ANSWER, s.team);
    ok = ok && session_plan(&s, &spec, err) && engine_new(&engine, s.arena, s.plan, &e, s.team, err)
         && request_start(g, a, &s.bundle, engine, &r, err) && generation_run(g, err);
    if (!ok) fail_msg("%s", err->msg);
    session_close(&s);
}

static void lists_planned(void **state) {
    (void)state;
    Generation g = {0};
    Err err = {0};
    Arena *a = arena_open("lists", ARENA_NO_LIMIT);
    answer(&g, a, &err);
    assert_true(generation_fine(&g, &err) && g.n == ANSWER);
    for (int64_t i = 0; i < ANSWER; i++) assert_int_equal(g.top[i * TOP].id, g.token[i].id);
    assert_true(arena_used(a) <= generation_bytes(ANSWER, TOP) + 1024);
    arena_close(a);
}

static void lists_full(void **state) {
    (void)state;
    Generation g = {0};
    Err err = {0};
    Arena *a = arena_open("lists", generation_bytes(ANSWER, TOP) / 2);
    answer(&g, a, &err);
    assert_int_equal(g.finish, FINISH_ERROR);
    assert_true(!generation_fine(&g, &err) && err.code == ERR_LIMIT && g.n > 0 && g.n < ANSWER);
    assert_non_null(strstr(err.msg, "ask for fewer"));
    arena_close(a);
}

int test_lists(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lists_planned),
                                       cmocka_unit_test(lists_full)};
    return cmocka_run_group_tests_name("lists", tests, NULL, NULL);
}
