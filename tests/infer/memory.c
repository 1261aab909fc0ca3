/* memory.c -- what an engine takes is what its plan said: to some bytes where it is counted here,
 * within 5 % where the system counts it, in a process of its own (this program, called with a
 * word); and what waits takes memory for its tokens and no more. */
#define _DEFAULT_SOURCE
#include "tests.h"
#include "support/rig.h"

#include <stdio.h>
#include <unistd.h>

enum { LONG = 131072, WAITING = 1000, PROMPT = 4000, TOKENS = WAITING * PROMPT + LONG };

static int64_t item(const Plan *p, const char *what) {
    for (int64_t i = 0; i < p->n_items; i++)
        if (!strcmp(p->item[i].what, what)) return p->item[i].bytes;
    return 0;
}

/* ---- counted here ---------------------------------------------------------------------------- */

static void an_engine_takes_what_its_plan_says(void **state) {
    static const EngineSpec specs[] = {
        {.seqs = 1, .queue = 1, .rows = 16},
        {.seqs = 7, .queue = 300, .rows = 64, .drafts = 20, .pages = 50},
        {.seqs = 3, .queue = 5, .rows = 9, .chunk = 2, .queue_tokens = 9000, .no_prefix = true}};
    static const char *const models[] = {"llama-tiny", "deepseek-v3-tiny"};
    Arena *a = *state;
    Team *team = team_open(2);
    for (int64_t i = 0; i < 2 * COUNT(specs); i++) {
        const char *path = rig_path(a, models[i % 2]);
        Rig r;
        rig_open(&r, a, team, path);
        rig_plan(&r, plan_defaults(r.model), &specs[i / 2], 1000);
        int64_t before = arena_used(a), planned = item(r.plan, "tables of the engine")
                                                  + item(r.plan, "KV pages")
                                                  + item(r.plan, "logits");
        rig_engine(&r, &specs[i / 2]);
        int64_t taken = arena_used(a) - before;
        assert_true(taken <= planned + 8192 && taken >= planned - 8192); /* red zones, alignment */
        rig_close(&r);
    }
    team_close(team);
}

static void a_plan_without_the_engine_is_refused(void **state) {
    Arena *a = *state;
    Team *team = team_open(1);
    const EngineSpec small = {.seqs = 1, .queue = 1, .rows = 16};
    EngineSpec large = {.seqs = 1, .queue = 100, .rows = 16};
    const char *path = rig_path(a, "llama-tiny");
    Rig r;
    Engine *e;
    Err err = {0};
    rig_open(&r, a, team, path);
    rig_plan(&r, plan_defaults(r.model), &small, 500);
    assert_false(engine_new(&e, a, r.plan, &large, team, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "engine_plan says how many"));
    err = (Err){0};
    large = small, large.queue_tokens = 499;
    assert_false(engine_new(&e, a, r.plan, &large, team, &err));
    assert_non_null(strstr(err.msg, "takes 499 tokens, and one prompt may have 500"));
    rig_close(&r);
    team_close(team);
}

/* ---- what waits ------------------------------------------------------------------------------ */

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    (void)seq, (void)t, (void)logits;
    ((int64_t *)arg)[finish]++;
}

static int64_t request(Engine *e, const int32_t *prompt, int64_t n, int64_t *ends, Err *err) {
    return engine_add(e,
                      &(SeqReq){.prompt = prompt,
                                .n_prompt = n,
                                .max_tokens = 3,
                                .sampling = {.temperature = 1, .top_p = 1},
                                .on_token = on_token,
                                .arg = ends},
                      err);
}

/* A queue of many places is full when its tokens are; what leaves it, by whatever way, makes room
 * for as many; and the prompts in it come out as they went in. */
static void a_queue_is_bounded_in_tokens(void **state) {
    enum { N = 40 };
    Arena *a = *state;
    Prompts *p = prompts_build(&(Space){.a = a}, 3000, N);
    Dice d = {91, 0};
    int32_t token[N][700], read[700];
    int64_t prompt[N], n[N] = {0}, held = 0, refused = 0;
    for (int64_t turn = 0; turn < 20000; turn++) {
        int64_t i = dice(&d, N);
        if (n[i]) {
            prompt_read(p, prompt[i], read, n[i]);
            assert_memory_equal(read, token[i], (size_t)n[i] * sizeof *read);
            prompt_drop(p, prompt[i], n[i]);
            held -= n[i], n[i] = 0;
        } else {
            int64_t length = 1 + dice(&d, dice(&d, 2) ? 9 : 700);
            for (int64_t j = 0; j < length; j++) token[i][j] = (int32_t)dice(&d, 50000);
            if (length > prompts_room(p)) {
                refused++;
            } else {
                prompt[i] = prompt_put(p, token[i], length);
                held += n[i] = length;
            }
        }
        assert_int_equal(prompts_room(p), 3000 - held);
    }
    assert_true(refused > 100);
}

static void a_prompt_too_many_is_refused(void **state) {
    Arena *a = *state;
    Team *team = team_open(1);
    const EngineSpec spec = {.seqs = 1, .queue = 50, .rows = 64, .queue_tokens = 1000};
    const char *path = rig_path(a, "llama-tiny");
    int64_t ends[FINISH_ERROR + 1] = {0}, first, second;
    int32_t prompt[600];
    Rig r;
    Err err = {0};
    ask_prompt(prompt, 5, COUNT(prompt), 300);
    rig_open(&r, a, team, path);
    rig_plan(&r, plan_defaults(r.model), &spec, 700);
    assert_true((first = request(r.engine, prompt, 600, ends, &err)) > 0);
    assert_int_equal(request(r.engine, prompt, 401, ends, &err), 0);
    assert_int_equal(err.code, ERR_LIMIT);
    if (!strstr(err.msg, "401 tokens; the 1 that wait have 600 of the 1000"))
        fail_msg("%s", err.msg);
    assert_true((second = request(r.engine, prompt, 400, ends, &err)) > 0);
    assert_int_equal(request(r.engine, prompt, 1, ends, &err), 0);
    engine_cancel(r.engine, second);
    assert_true(engine_step(r.engine)); /* the first runs now, and waits no longer */
    assert_true(request(r.engine, prompt, 500, ends, &err) > 0);
    assert_true(request(r.engine, prompt, 500, ends, &err) > 0);
    rig_run(&r);
    assert_int_equal(ends[FINISH_CANCEL], 1);
    assert_int_equal(ends[FINISH_LENGTH], 3);
    rig_close(&r);
    team_close(team);
}

/* ---- counted by the system ------------------------------------------------------------------- */

/* A thousand requests of 4,000 tokens wait for an engine that runs one after another; each might
 * have had 131,072 tokens. Prints what was planned and what was held, both without the program
 * itself, and how many requests were refused. */
int peak_measure(const char *model) {
    int64_t program = os_memory_peak();
    Arena *a = arena_open("peak", ARENA_NO_LIMIT);
    Team *team = team_open(2);
    const EngineSpec spec = {.seqs = 1,
                             .queue = WAITING,
                             .rows = 256,
                             .pages = PROMPT / PAGE + 1,
                             .queue_tokens = TOKENS};
    int64_t ends[FINISH_ERROR + 1] = {0}, refused = 0, V;
    Rig r;
    rig_open(&r, a, team, model);
    r.model->cfg.max_positions = LONG;
    V = r.model->cfg.V;
    int32_t *prompt = PUSH(a, int32_t, PROMPT);
    rig_plan(&r, plan_defaults(r.model), &spec, LONG);
    for (int64_t i = 0; i < WAITING + 1; i++) {
        Err err = {0};
        ask_prompt(prompt, i, PROMPT, V);
        refused += request(r.engine, prompt, PROMPT, ends, &err) == 0;
        if (i == 0 && !engine_step(r.engine)) return 1; /* the first does not wait */
    }
    while (engine_stats(r.engine).prompt_rows < PROMPT)
        if (!engine_step(r.engine)) return 1;
    EngineStats s = engine_stats(r.engine);
    printf("%lld %lld %lld %lld\n", (long long)(r.plan->bytes - item(r.plan, "program")),
           (long long)(os_memory_peak() - program), (long long)s.waiting, (long long)refused);
    rig_close(&r);
    team_close(team);
    arena_close(a);
    return 0;
}

static void a_thousand_wait_in_planned_memory(void **state) {
    Arena *a = *state;
    const char *model = rig_path(a, "llama-tiny");
    char self[1024] = {0}, line[96];
    long long planned = 0, held = 0, waiting = 0, refused = 0;
    need_own_memory();
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    FILE *f = popen(str_fmt(a, "'%s' --peak '%s'", self, model).p, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "%lld %lld %lld %lld", &planned, &held, &waiting, &refused), 4);
    assert_int_equal(pclose(f), 0);
    print_message("# %lld wait: planned %.1f MB, held %.1f MB\n", waiting, 1e-6 * (double)planned,
                  1e-6 * (double)held);
    assert_true(waiting == WAITING && refused == 0);
    assert_true(held > planned * 95 / 100 && held < planned * 105 / 100);
    assert_true(planned < 40 << 20); /* a table of each would be 500 MB */
}

int memory_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(an_engine_takes_what_its_plan_says),
        ARENA_TEST(a_plan_without_the_engine_is_refused),
        ARENA_TEST(a_queue_is_bounded_in_tokens),
        ARENA_TEST(a_prompt_too_many_is_refused),
        ARENA_TEST(a_thousand_wait_in_planned_memory),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
