/* peak.c -- the budget against the truth: the memory that a process has held at its peak, while it
 * ran SmolLM2 as `lisao run` does, tokenizer and chat template included, is what its plan said,
 * within 5 %. The process is this program again, called with a word. */
#define _DEFAULT_SOURCE
#include "tests.h"
#include "cli/generation.h"
#include "support/need.h"

#include <unistd.h>

/* The prompt fills its positions, so that no planned page stays untouched. */
enum { PROMPT = 500, ANSWER = 12 };

static bool request_make(Request *r, Session *s, Err *err) {
    Buf text = {.a = s->arena};
    for (int i = 0; i < 150; i++) buf_fmt(&text, "%d rivers run to sea number %d. ", i, i + 1);
    *r = (Request){.opts = {.temperature = 1, .top_p = 1, .seed = 1}, .prompt = buf_str(&text)};
    r->opts.max_tokens = ANSWER;
    r->opts.ignore_end = true;
    bool ok = request_encode(r, s->arena, &s->bundle, 1 << 20, err);
    CHECK(!ok || r->ids.n >= PROMPT);
    r->ids.n = PROMPT;
    return ok;
}

int peak_measure(const char *model, const char *act) {
    const ModelOpts o = {.act = act, .threads = 2};
    const EngineSpec e = {.seqs = 1, .queue = 1, .rows = RUN_ROWS, .no_prefix = true};
    Session s = {0};
    PlanSpec spec;
    Engine *engine;
    Request r;
    Generation p = {0};
    Err err = {0};
    bool ok = session_open(&s, model, BUNDLE_ALL, &o, &spec, &err);
    ok = ok && request_make(&r, &s, &err);
    if (ok) engine_plan(&spec, s.bundle.model, &e, PROMPT + ANSWER, s.team);
    ok = ok && session_plan(&s, &spec, &err)
         && engine_new(&engine, s.arena, s.plan, &e, s.team, &err)
         && request_start(&p, s.arena, &s.bundle, engine, &r, &err) && generation_run(&p, &err);
    if (ok)
        printf("%lld %lld %lld\n", (long long)s.plan->bytes, (long long)os_memory_peak(),
               (long long)p.n);
    else
        fprintf(stderr, "%s\n", err.msg);
    session_close(&s);
    return !ok;
}

static void peak(void **state) {
    need_full();
    need_own_memory();
    Arena *a = arena_open("peak", 1 << 20);
    const char *model = need_smollm2(a), *act = *state;
    char self[1024] = {0}, line[96];
    long long planned = 0, held = 0, drawn = 0;
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    FILE *f = popen(str_fmt(a, "'%s' --peak '%s' %s", self, model, act).p, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "%lld %lld %lld", &planned, &held, &drawn), 3);
    assert_int_equal(pclose(f), 0);
    print_message("# run %s: planned %.1f MB, held %.1f MB\n", act, 1e-6 * (double)planned,
                  1e-6 * (double)held);
    assert_int_equal(drawn, ANSWER);
    assert_true(held > planned * 95 / 100 && held < planned * 105 / 100);
    arena_close(a);
}

int test_peak(void) {
    const struct CMUnitTest tests[] = {
        {"peak memory of a run, a8", peak, NULL, NULL, (void *)(uintptr_t) "a8"},
        {"peak memory of a run, a16", peak, NULL, NULL, (void *)(uintptr_t) "a16"},
    };
    return cmocka_run_group_tests_name("peak", tests, NULL, NULL);
}
