/* disk.c -- pages of prompts on disk: a later engine reads what an earlier one computed and answers
 * the same; what is damaged, another tenant's or another model's is not read; files are bounded. */
#define _GNU_SOURCE
#include "tests.h"
#include "support/rig.h"

#include <stdlib.h>
#include <sys/stat.h>

enum { POSITIONS = 512, ASKS = 6, BIG = 1 << 28 };
static Team *team;

static Ask long_ask(int64_t i) {
    static const int64_t length[ASKS] = {100, 129, 257, 300, 385, 400};
    return (Ask){.text = 700 + i / 2, .n = length[i], .max_tokens = 4, .sampling = sampling_of(i)};
}

static Rig rig_with(Arena *a, const char *name, int64_t pages, const char *folder, int64_t bytes) {
    Rig r;
    Err err = {0};
    const EngineSpec spec = {.seqs = 2, .queue = ASKS, .rows = 300, .pages = pages};
    rig_open(&r, a, team, rig_path(a, name));
    rig_plan(&r, plan_defaults(r.model), &spec, POSITIONS);
    plan_fingerprint(r.plan, team);
    if (folder && !engine_store(r.engine, a, folder, bytes, &err)) fail_msg("%s", err.msg);
    return r;
}

/* One after the other; the engine's figures at the end. */
static EngineStats all_asked(Rig *r, Answer *to, int64_t tenant, bool keep) {
    for (int64_t i = 0; i < ASKS; i++) {
        Err err = {0};
        Ask q = long_ask(i);
        q.tenant = tenant;
        if (!ask(r, &q, &to[i], &err)) fail_msg("%s", err.msg);
        rig_run(r);
    }
    if (keep) engine_keep(r->engine);
    const EngineStats s = engine_stats(r->engine);
    assert_true(prefix_sound(r->engine->prefix));
    engine_store_close(r->engine);
    rig_close(r);
    return s;
}

static const char *folder_new(Arena *a) {
    char z[] = "/tmp/lisao-disk-XXXXXX";
    assert_non_null(mkdtemp(z));
    assert_int_equal(chmod(z, 0755), 0);
    return str_copy(a, str_of(z)).p;
}

static int64_t files_in(Arena *a, const char *folder, Str **name) {
    int64_t n = 0;
    Err err = {0};
    if (!os_list(a, name, &n, folder, &err)) fail_msg("%s", err.msg);
    return n;
}

static void folder_remove(Arena *a, const char *folder) {
    Str *name;
    Err err = {0};
    const int64_t n = files_in(a, folder, &name);
    for (int64_t i = 0; i < n; i++)
        assert_true(os_remove(str_fmt(a, "%s/%.*s", folder, STRF(name[i])).p, &err));
    assert_true(os_remove(folder, &err));
}

static void same_answers(const Answer *want, const Answer *got) {
    for (int64_t i = 0; i < ASKS; i++)
        if (!answer_same(&want[i], &got[i])) fail_msg("ask %d", (int)i);
}

static void a_later_engine_reads_them(void **state) {
    static const char *const models[] = {"llama-tiny", "deepseek-v3-tiny"};
    Arena *a = *state;
    for (int m = 0; m < 2; m++) {
        Answer *want = PUSH(a, Answer, ASKS), *got = PUSH(a, Answer, ASKS);
        const char *folder = folder_new(a);
        Rig r = rig_with(a, models[m], 60, NULL, 0);
        all_asked(&r, want, 0, false);
        r = rig_with(a, models[m], 60, folder, BIG);
        EngineStats s = all_asked(&r, got, 0, true);
        same_answers(want, got);
        assert_true(s.stored >= 6 && s.loaded == 0);
        const int64_t pages = s.stored;
        struct stat st;
        assert_true(stat(folder, &st) == 0 && (st.st_mode & 077) == 0);
        r = rig_with(a, models[m], 60, folder, BIG); /* all that is there is read, once */
        s = all_asked(&r, got, 0, true);
        same_answers(want, got);
        assert_int_equal(s.loaded, pages);
        assert_int_equal(s.stored, 0);
        r = rig_with(a, models[m], 60, folder, BIG);
        s = all_asked(&r, got, 1, false); /* another tenant's */
        same_answers(want, got);
        assert_int_equal(s.loaded, 0);
        r = rig_with(a, models[1 - m], 60, folder, BIG); /* another model's */
        assert_int_equal(all_asked(&r, got, 0, false).loaded, 0);
        folder_remove(a, folder);
    }
}

/* What memory has no room for is written as it goes, and read again by the same engine. */
static void little_memory_reads_its_own(void **state) {
    Arena *a = *state;
    Answer *want = PUSH(a, Answer, ASKS), *got = PUSH(a, Answer, ASKS);
    const char *folder = folder_new(a);
    Rig r = rig_with(a, "llama-tiny", 60, NULL, 0);
    all_asked(&r, want, 0, false);
    r = rig_with(a, "llama-tiny", 4, folder, BIG);
    for (int round = 0; round < 2; round++)
        for (int64_t i = ASKS; i-- > 0;) {
            Err err = {0};
            const Ask q = long_ask(i);
            if (!ask(&r, &q, &got[i], &err)) fail_msg("%s", err.msg);
            rig_run(&r);
        }
    same_answers(want, got);
    const EngineStats s = all_asked(&r, got, 0, false);
    same_answers(want, got);
    assert_true(s.evicted > 5 && s.stored > 5 && s.loaded > 5);
    folder_remove(a, folder);
}

static void damage_is_computed_anew(void **state) {
    Arena *a = *state;
    Answer *want = PUSH(a, Answer, ASKS), *got = PUSH(a, Answer, ASKS);
    const char *folder = folder_new(a);
    Str *name, bytes;
    Err err = {0};
    Rig r = rig_with(a, "llama-tiny", 60, folder, BIG);
    const int64_t pages = all_asked(&r, want, 0, true).stored, n = files_in(a, folder, &name);
    assert_int_equal(n, pages);
    for (int64_t i = 0; i < n; i++) { /* a bit of the head, of the page, of the sum; cut; empty */
        const char *path = str_fmt(a, "%s/%.*s", folder, STRF(name[i])).p;
        if (!os_read(a, &bytes, path, BIG, &err)) fail_msg("%s", err.msg);
        char *own = arena_push(a, bytes.n);
        memcpy(own, bytes.p, (size_t)bytes.n);
        const int64_t at[] = {20, bytes.n / 2, bytes.n - 3};
        if (i % 5 < 3) own[at[i % 5]] ^= 4;
        const int64_t left = i % 5 == 3 ? bytes.n - 1 : i % 5 == 4 ? 0 : bytes.n;
        if (!os_put(a, path, (Str){own, left}, &err)) fail_msg("%s", err.msg);
    }
    int64_t loaded = 0; /* a page behind a damaged one is looked at when that one is whole again */
    for (int round = 0; round < 5 && loaded < pages; round++) {
        r = rig_with(a, "llama-tiny", 60, folder, BIG);
        const EngineStats s = all_asked(&r, got, 0, true);
        same_answers(want, got);
        assert_true(round || (s.loaded == 0 && s.stored > 0));
        loaded = s.loaded;
    }
    assert_int_equal(loaded, pages);
    folder_remove(a, folder);
}

static void files_are_bounded(void **state) {
    Arena *a = *state;
    Answer *got = PUSH(a, Answer, ASKS);
    const char *folder = folder_new(a);
    Str *name;
    Err err = {0};
    Engine *e;
    Rig r = rig_with(a, "llama-tiny", 60, NULL, 0);
    const int64_t file = r.plan->kv.page_bytes + 200;
    e = r.engine;
    assert_false(engine_store(e, a, folder, 100, &err));
    assert_non_null(strstr(err.msg, "one page of 128 tokens takes"));
    rig_close(&r);
    for (int round = 0; round < 2; round++) {
        r = rig_with(a, "llama-tiny", 4, folder, 3 * file);
        all_asked(&r, got, 0, true);
        assert_true(files_in(a, folder, &name) <= 3);
    }
    assert_true(files_in(a, folder, &name) > 0);
    folder_remove(a, folder);
}

int disk_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(a_later_engine_reads_them),
        ARENA_TEST(little_memory_reads_its_own),
        ARENA_TEST(damage_is_computed_anew),
        ARENA_TEST(files_are_bounded),
    };
    team = team_open(2);
    const int failed = cmocka_run_group_tests_name("disk", tests, NULL, NULL);
    team_close(team);
    return failed;
}
