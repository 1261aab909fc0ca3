/* ckpt.c -- checkpoints: written, read again, interrupted in every way. Each test checkpoint
 * carries its step in every byte group, so a mixture of two would show. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "files.h"

enum { ROWS = 40, COLS = 100 };

/* Tensors and state of one step. */
static bool step_put(CkptWriter *w, Arena *a, int64_t step, Err *err) {
    float *x = PUSH(a, float, ROWS *COLS);
    for (int i = 0; i < ROWS * COLS; i++) x[i] = (float)step;
    int64_t *count = PUSH(a, int64_t, 1);
    *count = step;
    Tensor model[] = {{.name = STR("model.embed_tokens.weight"),
                       .type = DTYPE_F32,
                       .n_dims = 2,
                       .dim = {ROWS, COLS},
                       .data = x},
                      {.name = STR("model.norm.weight"),
                       .type = DTYPE_F32,
                       .n_dims = 1,
                       .dim = {COLS},
                       .data = x}};
    Tensor state[] = {{.name = STR("m"), .type = DTYPE_F32, .n_dims = 1, .dim = {COLS}, .data = x},
                      {.name = STR("steps"), .type = DTYPE_I64, .data = count}};
    return ckpt_put_json(w, "config.json", str_fmt(a, "{\"step\":%lld}", (long long)step), err)
           && ckpt_put_tensors(w, "model.safetensors", model, COUNT(model), err)
           && ckpt_put_tensors(w, "optimizer.safetensors", state, COUNT(state), err);
}

static int64_t stays = -1; /* of every write that follows */

static bool step_write(Arena *a, const char *folder, int64_t step, int64_t keep, Err *err) {
    Mark mark = arena_mark(a);
    CkptWriter *w = ckpt_create(a, folder, step, err);
    if (w) ckpt_keep(w, stays);
    bool ok = w && step_put(w, a, step, err) && ckpt_commit(w, keep, err);
    if (!ok) ckpt_abandon(w);
    arena_pop(a, mark);
    return ok;
}

static void all_equal(const Store *st, const char *name, int64_t step) {
    const Tensor *t = store_find(st, str_of(name));
    assert_non_null(t);
    for (int64_t i = 0; i < tensor_elements(t); i++)
        assert_true(((const float *)t->data)[i] == (float)step);
}

/* The folder opens as one whole checkpoint; returns its step. */
static int64_t whole_step(Scratch *s, const char *folder) {
    Mark mark = arena_mark(s->a);
    Err err = {0};
    Str text;
    Store *st = open_fine(s, folder);
    int64_t step = store_step(st);
    assert_int_equal(store_kind(st), STORE_CHECKPOINT);
    assert_int_equal(store_count(st), 2);
    all_equal(st, "model.embed_tokens.weight", step);
    all_equal(st, "model.norm.weight", step);
    Store *more = open_fine(s, path_join(s->a, store_path(st), "optimizer.safetensors"));
    all_equal(more, "m", step);
    assert_int_equal(*(const int64_t *)store_find(more, STR("steps"))->data, step);
    assert_true(store_json(st, s->a, "config.json", &text, &err));
    assert_true(str_eq(text, str_fmt(s->a, "{\"step\":%lld}", (long long)step)));
    store_close(more);
    store_close(st);
    arena_pop(s->a, mark);
    return step;
}

static void step_fine(Scratch *s, const char *folder, int64_t step, int64_t keep) {
    Err err = {0};
    if (!step_write(s->a, folder, step, keep, &err)) fail_msg("%s", err.msg);
}

/* The names in the folder, joined with blanks. */
static const char *listing(Scratch *s, const char *folder) {
    Err err = {0};
    Buf b = {.a = s->a};
    Str *name;
    int64_t n;
    assert_true(os_list(s->a, &name, &n, folder, &err));
    for (int64_t i = 0; i < n; i++) buf_fmt(&b, "%s%.*s", i ? " " : "", STRF(name[i]));
    return b.n ? b.p : "";
}

static void test_write_and_read(void **state) {
    Scratch *s = *state;
    const char *run = scratch_path(s, "runs/tiny");
    step_fine(s, run, 0, 1);
    assert_int_equal(whole_step(s, run), 0);
    step_fine(s, run, 120, 2);
    assert_int_equal(whole_step(s, run), 120);
    assert_string_equal(listing(s, run), "step-000000000 step-000000120");
    assert_int_equal(whole_step(s, path_join(s->a, run, "step-000000000")), 0);
    step_fine(s, run, 121, 2);
    assert_string_equal(listing(s, run), "step-000000120 step-000000121");
    step_fine(s, run, 999999999, 1);
    assert_string_equal(listing(s, run), "step-999999999");
    assert_string_equal(listing(s, path_join(s->a, run, "step-999999999")),
                        "checkpoint.json config.json model.safetensors optimizer.safetensors");
}

/* One that is named stays beside the newest, and counts when it is among these. */
static void test_one_stays(void **state) {
    Scratch *s = *state;
    const char *run = scratch_path(s, "runs/best");
    step_fine(s, run, 1, 2);
    stays = 2;
    for (int64_t step = 2; step <= 3; step++) step_fine(s, run, step, 2);
    assert_string_equal(listing(s, run), "step-000000002 step-000000003");
    for (int64_t step = 4; step <= 6; step++) step_fine(s, run, step, 2);
    assert_string_equal(listing(s, run), "step-000000002 step-000000005 step-000000006");
    stays = 6;
    step_fine(s, run, 7, 1);
    assert_string_equal(listing(s, run), "step-000000006 step-000000007");
    stays = -1;
    step_fine(s, run, 8, 1);
    assert_string_equal(listing(s, run), "step-000000008");
}

static void test_steps_go_up(void **state) {
    Scratch *s = *state;
    const char *run = scratch_path(s, "run");
    step_fine(s, run, 7, 1);
    for (int64_t step = 6; step <= 7; step++) {
        Err err = {0};
        assert_false(step_write(s->a, run, step, 1, &err));
        assert_int_equal(err.code, ERR_USAGE);
        assert_non_null(strstr(err.msg, "already holds step 7"));
    }
    assert_int_equal(whole_step(s, run), 7);
}

/* What a writer left that died: never opened, gone with the next write. Other names stay. */
static void test_leftovers(void **state) {
    Scratch *s = *state;
    Err err = {0};
    const char *run = scratch_path(s, "run");
    CkptWriter *w = ckpt_create(s->a, run, 5, &err);
    assert_true(w && step_put(w, s->a, 5, &err));
    assert_string_equal(listing(s, run), ".tmp-5");
    open_fails(s, run, ERR_IO, "no model here");
    assert_true(os_mkdir(path_join(s->a, run, "step-12"), &err));
    assert_true(os_mkdir(path_join(s->a, run, "step-00000001x"), &err));
    step_fine(s, run, 4, 1);
    assert_string_equal(listing(s, run), "step-000000004 step-00000001x step-12");
    assert_int_equal(whole_step(s, run), 4);
    w = ckpt_create(s->a, run, 5, &err);
    assert_true(w && step_put(w, s->a, 5, &err));
    ckpt_abandon(w);
    assert_string_equal(listing(s, run), "step-000000004 step-00000001x step-12");
}

static void test_damaged(void **state) {
    Scratch *s = *state;
    Err err = {0};
    const char *run = scratch_path(s, "run");
    static const struct {
        const char *list;
        ErrCode code;
        const char *piece;
    } cases[] = {
        {"", ERR_FORMAT, "checkpoint.json: JSON at byte 0"},
        {"{\"version\":2,\"step\":3,\"files\":{}}", ERR_UNSUPPORTED, "has version 2"},
        {"{\"step\":3,\"files\":{}}", ERR_UNSUPPORTED, "has version -1"},
        {"{\"version\":1,\"files\":{}}", ERR_UNSUPPORTED, "step -1"},
        {"{\"version\":1,\"step\":3,\"files\":{\"../x\":1}}", ERR_FORMAT, "the name of a file in"},
        {"{\"version\":1,\"step\":3,\"files\":{\"gone.json\":1}}", ERR_IO, "gone.json"},
        {"{\"version\":1,\"step\":3,\"files\":{\"config.json\":1}}", ERR_FORMAT,
         "lists it with 1 bytes, it has 10"},
        {"{\"version\":1,\"step\":3,\"files\":{},\"x\":1}", ERR_FORMAT, "version, step or files"},
    };
    step_fine(s, run, 3, 1);
    const char *list = scratch_path(s, "run/step-000000003/checkpoint.json");
    assert_int_equal(whole_step(s, run), 3);
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Store *st;
        err = (Err){0};
        scratch_file(s, "run/step-000000003/checkpoint.json", str_of(cases[i].list));
        if (store_open(&st, s->a, run, &err)) fail_msg("%s was opened", cases[i].list);
        if (!strstr(err.msg, cases[i].piece)) fail_msg("%s\n  gave %s", cases[i].list, err.msg);
        assert_int_equal(err.code, cases[i].code);
    }
    assert_int_equal(unlink(list), 0); /* without its list it is a Hugging Face folder */
    Store *st = open_fine(s, scratch_path(s, "run/step-000000003"));
    assert_int_equal(store_kind(st), STORE_FOLDER);
    store_close(st);
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* The n-th system call of a checkpoint fails, for every n: what opens then is the old one, or the
 * new one if its rename had happened, and the next write succeeds and leaves nothing behind. */
static void test_each_call_fails(void **state) {
    Scratch *s = *state;
    int64_t failed = 0, n = 1;
    bool clean = false;
    for (; !clean; n++) {
        assert_true(n < 200);
        const char *run = scratch_path(s, str_fmt(s->a, "run%lld", (long long)n).p);
        Err err = {0};
        step_fine(s, run, 1, 1);
        os_fail_after(n);
        bool ok = step_write(s->a, run, 2, 1, &err);
        os_fail_after(0);
        failed += !ok;
        int64_t step = whole_step(s, run);
        assert_true(step == 2 || (step == 1 && !ok));
        if (!ok) assert_int_equal(err.code, ERR_IO);
        clean = ok && !strcmp(listing(s, run), "step-000000002");
        step_fine(s, run, 3, 1);
        assert_string_equal(listing(s, run), "step-000000003");
        assert_int_equal(whole_step(s, run), 3);
    }
    assert_true(failed > 10); /* four files, each written, synced, renamed */
}

static void pause_us(int64_t us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR) {}
}

/* A child that writes checkpoint after checkpoint until it is killed. */
static pid_t writer_start(Scratch *s, const char *run, int64_t step, int64_t keep) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) return child;
    Err err = {0};
    while (step_write(s->a, run, step, keep, &err)) step++;
    _exit(1);
}

static void writer_kill(pid_t child) {
    int status;
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The moments lie anywhere in the time that three writes take, as measured here and now. */
static void test_kill(void **state) {
    Scratch *s = *state;
    const char *run = scratch_path(s, "run");
    int64_t step = 1, seen = 0;
    double start = os_now();
    step_fine(s, run, step, 1);
    uint32_t window_us = 1000 + (uint32_t)((os_now() - start) * 3e6);
    for (int i = 0; i < 20 || (seen == 0 && i < 500); i++) {
        pid_t child = writer_start(s, run, step + 1, 1 + i % 2);
        pause_us(draw((uint64_t)(getpid() * 1000 + i), window_us));
        writer_kill(child);
        int64_t now = whole_step(s, run);
        assert_true(now >= step);
        seen += now > step;
        step = now;
    }
    assert_true(seen > 0); /* some were killed late enough to have written one */
    step_fine(s, run, step + 1, 1);
    assert_int_equal(whole_step(s, run), step + 1);
    assert_string_equal(listing(s, run), str_fmt(s->a, "step-%09lld", (long long)(step + 1)).p);
}

/* Again and again: the folder opens, as a step that is not below the one before. */
static void read_beside(Scratch *s, const char *run, pid_t writer, int times) {
    int64_t step = 0;
    for (int i = 0; i < times; i++) {
        Err err = {0};
        Store *st;
        Mark mark = arena_mark(s->a);
        bool ok = store_open(&st, s->a, run, &err);
        if (!ok) writer_kill(writer);
        if (!ok) fail_msg("at %d: %s", i, err.msg);
        assert_true(store_step(st) >= step);
        step = store_step(st);
        assert_int_equal(store_count(st), 2);
        store_close(st);
        arena_pop(s->a, mark);
    }
    writer_kill(writer);
}

/* A reader at any time sees one whole checkpoint, though the one it found may soon be gone. */
static void test_reader_beside_writer(void **state) {
    Scratch *s = *state;
    const char *run = scratch_path(s, "run");
    step_fine(s, run, 1, 1);
    read_beside(s, run, writer_start(s, run, 2, 1), 200);
    whole_step(s, run);
}

/* Replaces step after step by the same renames, with links and without syncing: faster than any
 * real writer, so that many readers find their checkpoint gone while they open it. */
static void replace_forever(Scratch *s, const char *run) {
    for (int64_t step = 2;; step++) {
        Mark mark = arena_mark(s->a);
        const char *tmp = path_join(s->a, run, ".tmp-x"), *gone = path_join(s->a, run, ".tmp-y");
        const char *old = ckpt_path(s->a, run, step - 1).p, *new = ckpt_path(s->a, run, step).p;
        mkdir(tmp, 0777);
        FILE *f = fopen(path_join(s->a, tmp, CKPT_LIST), "w");
        if (!f) _exit(1);
        fprintf(f, "{\"version\":1,\"step\":%lld,\"files\":{}}", (long long)step);
        fclose(f);
        if (link(path_join(s->a, old, "model.safetensors"),
                 path_join(s->a, tmp, "model.safetensors"))
            != 0)
            _exit(1);
        if (rename(tmp, new) != 0 || rename(old, gone) != 0) _exit(1);
        Err err = {0};
        if (!os_remove(gone, &err)) _exit(1);
        arena_pop(s->a, mark);
    }
}

static void test_reader_beside_fast_writer(void **state) {
    Scratch *s = *state;
    const char *run = scratch_path(s, "run");
    step_fine(s, run, 1, 1);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) replace_forever(s, run);
    read_beside(s, run, child, 1000);
}

int ckpt_tests(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_write_and_read),
        FILE_TEST(test_one_stays),
        FILE_TEST(test_steps_go_up),
        FILE_TEST(test_leftovers),
        FILE_TEST(test_damaged),
        FILE_TEST(test_each_call_fails),
        FILE_TEST(test_kill),
        FILE_TEST(test_reader_beside_writer),
        FILE_TEST(test_reader_beside_fast_writer),
    };
    return cmocka_run_group_tests_name("file: checkpoints", tests, NULL, NULL);
}
