/* resume.c -- a run that is killed, wherever, and taken up again, on other threads, ends as if it
 * had never been stopped.
 *
 * Legs run in child processes that are killed with SIGKILL: some after a random time, some as soon
 * as a checkpoint is being written. What must be equal at the end: the bytes of the weights, of the
 * moments and of the state, and the log but for its clock. */
#define _GNU_SOURCE
#include "tests.h"
#include "support/child.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A run in a child of its own, on an odd number of threads with older kernels; its exit code is
 * err_exit_code's. */
static pid_t leg(const Recipe *r, int64_t threads) {
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        Err err = {0};
        if (threads % 2 && !kern_init(LEVEL_AVX2, &err)) err = (Err){0};
        if (!train_run(r, threads, &err) && err.code != ERR_INTERRUPTED)
            fprintf(stderr, "%s\n", err.msg);
        _exit(err_exit_code(&err));
    }
    return pid;
}

static int leg_end(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static bool running(pid_t pid) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

/* The folder's last name that begins so; empty when there is none. */
static Str last_of(Arena *a, const char *path, Str prefix) {
    Str *name, last = {0};
    int64_t n = 0;
    if (os_exists(path) && os_list(a, &name, &n, path, &(Err){0}))
        for (int64_t i = 0; i < n; i++)
            if (str_starts(name[i], prefix)) last = name[i];
    return last;
}

static bool holds(Arena *a, const char *path, const char *prefix) {
    Mark mark = arena_mark(a);
    const bool found = last_of(a, path, str_of(prefix)).n > 0;
    arena_pop(a, mark);
    return found;
}

/* Step of the newest checkpoint, 0 without one. */
static int64_t newest(Arena *a, const char *run) {
    Mark mark = arena_mark(a);
    Str name = last_of(a, run, STR("step-"));
    const int64_t step = name.n ? strtoll(str_copy(a, name).p + 5, NULL, 10) : 0;
    arena_pop(a, mark);
    return step;
}

/* metrics.jsonl without the members that tell the time. */
static Str log_of(Arena *a, const char *run) {
    Str log;
    Err err = {0};
    Buf b = {.a = a};
    assert_true(os_read(a, &log, str_fmt(a, "%s/metrics.jsonl", run).p, 1 << 20, &err));
    for (char *line = (char *)(uintptr_t)log.p, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        char *clock = strstr(line, ", \"seconds\"");
        if (clock) *clock = 0;
        buf_fmt(&b, "%s\n", line);
    }
    return buf_str(&b);
}

static void assert_same_end(Arena *a, const char *run, const char *other) {
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors",
                                        "config.json"};
    for (int64_t i = 0; i < COUNT(files); i++) {
        Str x = str_fmt(a, "%s/step-000000090/%s", run, files[i]),
            y = str_fmt(a, "%s/step-000000090/%s", other, files[i]);
        assert_string_equal(file_hash(x.p).z, file_hash(y.p).z);
    }
    assert_string_equal(log_of(a, run).p, log_of(a, other).p);
}

static Recipe run_recipe(Arena *a, const char *family, const char *run) {
    const char *set[] = {str_fmt(a, "checkpoint.folder=%s/%s", folder, run).p,
                         "checkpoint.every=2",
                         "optim.steps=90",
                         "log.every=3",
                         str_fmt(a, "data.valid=%s/text", folder).p,
                         "eval.every=15",
                         "sample.every=10",
                         "sample.tokens=5",
                         "eval.tokens=200",
                         strcmp(family, "llama") ? "optim.optimiser=muon" : "optim.moments=bf16"};
    if (strcmp(family, "grpo")) return tiny_recipe(a, family, set, COUNT(set));
    set[4] = "grpo.updates=2", set[5] = "eval.every=16";
    set[COUNT(set) - 1] = "grpo.prompts=12"; /* so that a run takes longer than its kills */
    return grpo_recipe(a, set, COUNT(set));
}

enum { STEPS = 90, EVERY = 2 };

/* Kills the run some checkpoints further on, such that `left` kills fit into what is left of it: at
 * a random moment, or in the midst of writing one. */
static void leg_kill(Arena *a, const Recipe *r, int64_t threads, bool inside, int64_t left) {
    const int64_t now = newest(a, r->checkpoint.folder), room = (STEPS - now) / EVERY / left,
                  until = now + EVERY * dice(MAX(1, MIN(8, room)));
    const pid_t pid = leg(r, threads);
    while (running(pid) && newest(a, r->checkpoint.folder) < until) usleep(200);
    usleep((useconds_t)dice(8000));
    while (inside && running(pid) && !holds(a, r->checkpoint.folder, ".tmp-")) usleep(20);
    kill(pid, SIGKILL);
    assert_int_equal(leg_end(pid), -SIGKILL);
}

static void check_kills(Arena *a, const char *family, int64_t kills) {
    need_own_speed();
    static const int64_t threads[] = {2, 1, 3, 5};
    Recipe r = run_recipe(a, family, "whole");
    assert_int_equal(leg_end(leg(&r, 2)), 0);
    r = run_recipe(a, family, "killed");
    int64_t inside = 0, last = 0;
    for (int64_t k = 0; k < kills; k++) {
        leg_kill(a, &r, threads[k % COUNT(threads)], k % 2, kills - k);
        inside += holds(a, r.checkpoint.folder, ".tmp-");
        assert_true(newest(a, r.checkpoint.folder) >= last);
        last = newest(a, r.checkpoint.folder);
    }
    print_message("%s: %d kills up to step %d of %d, %d of them inside a checkpoint\n", family,
                  (int)kills, (int)last, STEPS, (int)inside);
    assert_true(inside >= 1);
    assert_int_equal(leg_end(leg(&r, 2)), 0);
    assert_same_end(a, str_fmt(a, "%s/whole", folder).p, r.checkpoint.folder);
}

static void test_killed_deepseek(void **state) {
    check_kills(*state, "deepseek_v3", full_run() ? 10 : 4);
}
static void test_killed_grpo(void **state) { check_kills(*state, "grpo", full_run() ? 10 : 4); }
static void test_killed_llama(void **state) { check_kills(*state, "llama", full_run() ? 10 : 4); }

/* Ctrl-C ends the step, writes a checkpoint and exits with 130; the same command goes on. */
static void test_interrupted(void **state) {
    need_own_speed();
    Arena *a = *state;
    Recipe r = run_recipe(a, "deepseek_v3", "whole");
    assert_int_equal(leg_end(leg(&r, 2)), 0);
    r = run_recipe(a, "deepseek_v3", "stopped");
    for (int i = 0; i < 3; i++) {
        const pid_t pid = leg(&r, 1 + i);
        while (running(pid) && !holds(a, r.checkpoint.folder, "step-")) usleep(500);
        usleep(20000);
        kill(pid, i % 2 ? SIGTERM : SIGINT);
        const int end = leg_end(pid);
        assert_true(end == 130 || (end == 0 && i > 0));
    }
    assert_int_equal(leg_end(leg(&r, 2)), 0);
    assert_same_end(a, str_fmt(a, "%s/whole", folder).p, r.checkpoint.folder);
}

/* In the middle of a mixture, some epochs into its smaller text: the same bits as in one piece, and
 * texts in another order are refused. */
static void test_mixture(void **state) {
    Arena *a = *state;
    Err err = {0};
    Buf other = {.a = a};
    for (int i = 0; i < 30; i++) buf_fmt(&other, "%d times %d\n<|endoftext|>\n", i, i);
    file_write(a, "other", buf_str(&other));
    const char *mix = "data.train=[{source: %s/%s, weight: 3}, {source: %s/%s, weight: 1}]";
    const char *set[] = {str_fmt(a, mix, folder, "text", folder, "other").p,
                         "optim.schedule=constant", "optim.steps=12", ""};
    const struct {
        const char *run, *steps;
    } legs[] = {{"whole", "12"}, {"parts", "5"}, {"parts", "6"}, {"parts", "12"}};
    for (int64_t i = 0; i < COUNT(legs); i++) {
        set[2] = str_fmt(a, "optim.steps=%s", legs[i].steps).p;
        set[3] = str_fmt(a, "checkpoint.folder=%s/%s", folder, legs[i].run).p;
        const Recipe r = tiny_recipe(a, "llama", set, COUNT(set));
        if (!train_run(&r, 1 + i % 2, &err)) fail_msg("%s", err.msg);
    }
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors"};
    for (int64_t i = 0; i < COUNT(files); i++) {
        Str x = str_fmt(a, "%s/whole/step-000000012/%s", folder, files[i]),
            y = str_fmt(a, "%s/parts/step-000000012/%s", folder, files[i]);
        assert_string_equal(file_hash(x.p).z, file_hash(y.p).z);
    }
    assert_string_equal(log_of(a, str_fmt(a, "%s/whole", folder).p).p,
                        log_of(a, str_fmt(a, "%s/parts", folder).p).p);
    set[0] = str_fmt(a, mix, folder, "other", folder, "text").p;
    const Recipe r = tiny_recipe(a, "llama", set, COUNT(set));
    assert_false(train_run(&r, 1, &err));
    assert_non_null(strstr(err.msg, "data.train or the tokenizer has changed"));
}

/* A curriculum, stopped before, between and behind the steps in which its texts change. */
static void test_curriculum(void **state) {
    Arena *a = *state;
    Hex hash[2];
    const char *course = "data.train=[{source: %s/text, weight: 1, to: 0.625}, {source: "
                         "task:addition:1, weight: 2, from: 0.375}, {source: task:subtraction:1, "
                         "weight: 1, from: 0.25, to: 0.5}]";
    for (int64_t every = 1; every <= 8; every += 7) {
        const char *set[] = {str_fmt(a, course, folder).p, "optim.steps=8", "tokenizer=bytes",
                             "data.documents=40",
                             str_fmt(a, "checkpoint.folder=%s/every%d", folder, (int)every).p};
        const Recipe r = tiny_recipe(a, "llama", set, COUNT(set));
        for (int64_t step = 0; step < 8;) {
            Trainer *t;
            Err err = {0};
            StepStats s;
            if (!trainer_open(&t, &r, 1, &err)) fail_msg("%s", err.msg);
            for (const int64_t end = step + every; step < end; step++)
                if (!trainer_step(t, &s, &err)) fail_msg("%s", err.msg);
            if (!trainer_save(t, &err)) fail_msg("%s", err.msg);
            hash[every == 8] = model_hash(trainer_model(t));
            trainer_close(t);
        }
    }
    assert_string_equal(hash[0].z, hash[1].z);
}

/* What of recipe, text or tokenizer does not fit to the checkpoint is named; nothing is touched. */
static void test_unfit(void **state) {
    Arena *a = *state;
    static const struct {
        const char *set, *says;
    } cases[] = {
        {"batch.tokens=384", "batch.tokens was \"192\" and is \"384\" now"},
        {"model.hidden_size=48", "model.hidden_size was"},
        {"act=f32", "act was \"a16\""},
        {"seed=9", "seed was \"1\""},
        {"optim.optimiser=muon", "optim.optimiser was \"adamw\""},
    };
    Err err = {0};
    const char *short_run = "optim.steps=4";
    Recipe r = tiny_recipe(a, "deepseek_v3", &short_run, 1);
    assert_true(train_run(&r, 1, &err));
    const char *state_file = str_fmt(a, "%s/step-000000004/state.json", r.checkpoint.folder).p;
    const Hex before = file_hash(state_file);
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const char *set[] = {cases[i].set, "optim.steps=8"};
        r = tiny_recipe(a, "deepseek_v3", set, 2);
        err = (Err){0};
        assert_false(train_run(&r, 1, &err));
        if (!strstr(err.msg, cases[i].says)) print_message("%s: %s\n", cases[i].set, err.msg);
        assert_non_null(strstr(err.msg, cases[i].says));
    }
    r = tiny_recipe(a, "deepseek_v3", &short_run, 1);
    file_write(a, "text", STR("another text\n<|endoftext|>\n"));
    err = (Err){0};
    assert_false(train_run(&r, 1, &err));
    assert_non_null(strstr(err.msg, "data.train or the tokenizer has changed"));
    assert_string_equal(file_hash(state_file).z, before.z);
    /* More steps are no obstacle. */
    const char *longer = "optim.steps=6";
    r = tiny_recipe(a, "deepseek_v3", &longer, 1);
    err = (Err){0};
    if (!train_run(&r, 1, &err)) fail_msg("%s", err.msg);
    assert_true(os_exists(str_fmt(a, "%s/step-000000006", r.checkpoint.folder).p));
}

/* A state that is cut or changed is refused by name. */
static void test_bad_state(void **state) {
    Arena *a = *state;
    Err err = {0};
    const char *steps = "optim.steps=4";
    Recipe r = tiny_recipe(a, "llama", &steps, 1);
    assert_true(train_run(&r, 1, &err));
    const char *path = "run/step-000000004/state.json";
    Str good;
    assert_true(os_read(a, &good, str_fmt(a, "%s/%s", folder, path).p, 1 << 20, &err));
    static const char *const edits[][2] = {{"\"row\": ", "\"row\": 99"},
                                           {"\"step\": 4", "\"step\": 5"},
                                           {"\"format\": 1", "\"format\": 2"},
                                           {"\"epoch\": ", "\"epoch\": -"},
                                           {"\"shard\": ", "\"chard\": "},
                                           {"\"fingerprint\": \"", "\"fingerprint\": \"0"},
                                           {"\"targets\": ", "\"targets\": -"},
                                           {"\"targets\": ", "\"targets\": 9000000000000000"},
                                           {"{", "["}};
    for (int64_t i = 0; i < COUNT(edits); i++) {
        const char *at = strstr(good.p, edits[i][0]);
        assert_non_null(at);
        file_write(a, path,
                   str_fmt(a, "%.*s%s%s", (int)(at - good.p), good.p, edits[i][1],
                           at + strlen(edits[i][0])));
        err = (Err){0};
        const bool ok = train_run(&r, 1, &err);
        if (ok) print_message("%s -> %s went unnoticed\n", edits[i][0], edits[i][1]);
        assert_false(ok);
        assert_int_equal(err.code, ERR_FORMAT);
    }
    file_write(a, path, good);
    assert_true(train_run(&r, 1, &(Err){0}));
}

/* `name` of the newest checkpoint with the first `from` replaced by `to` (of one length), or one
 * bit of its last byte turned (from NULL), goes on into an error; then it is put back. */
static void change_is_noticed(Arena *a, const Recipe *r, const char *name, const char *from,
                              const char *to) {
    Err err = {0};
    Str good;
    const char *path = str_fmt(a, "run/step-000000004/%s", name).p;
    assert_true(os_read(a, &good, str_fmt(a, "%s/%s", folder, path).p, 1 << 24, &err));
    char *bad = arena_push(a, good.n + 1);
    memcpy(bad, good.p, (size_t)good.n);
    if (from) {
        char *at = strstr(bad, from);
        assert_non_null(at);
        memcpy(at, to, strlen(to));
    } else {
        bad[good.n - 1] ^= 1;
    }
    file_write(a, path, (Str){bad, good.n});
    assert_false(train_run(r, 1, &err));
    if (!strstr(err.msg, "fingerprint names")) fail_msg("%s: %s", name, err.msg);
    file_write(a, path, good);
}

/* A checkpoint whose model is no longer the one that was trained is not gone on with: the
 * fingerprint knows the configuration and every weight. */
static void test_another_model(void **state) {
    Arena *a = *state;
    Err err = {0};
    const char *steps = "optim.steps=4";
    Recipe r = tiny_recipe(a, "llama", &steps, 1);
    assert_true(train_run(&r, 1, &err));
    change_is_noticed(a, &r, "config.json", "\"max_position_embeddings\": 256",
                      "\"max_position_embeddings\": 512");
    change_is_noticed(a, &r, "model.safetensors", NULL, NULL);
    assert_true(train_run(&r, 1, &err));
}

/* ---- the folder and its metrics -------------------------------------------------------------- */

/* From the moment when it looks for a checkpoint to its end a trainer has the folder to itself. */
static void test_one_trainer(void **state) {
    Arena *a = *state;
    Trainer *t, *other = NULL;
    Err err = {0};
    Recipe r = tiny_recipe(a, "llama", NULL, 0);
    assert_true(trainer_open(&t, &r, 1, &err));
    assert_false(trainer_open(&other, &r, 1, &err));
    assert_non_null(strstr(err.msg, "another process is writing into this folder"));
    assert_true(os_is_dir(r.checkpoint.folder)); /* it belongs to the first */
    trainer_close(t);
    err = (Err){0};
    assert_true(trainer_open(&other, &r, 1, &err));
    trainer_close(other);
}

/* Metrics are on the disk before the checkpoint is: where they cannot be, there is none. */
static void test_metrics_durable(void **state) {
    Arena *a = *state;
    Trainer *t;
    StepStats s;
    Err err = {0};
    Recipe r = tiny_recipe(a, "llama", NULL, 0);
    assert_true(trainer_open(&t, &r, 1, &err) && trainer_step(t, &s, &err));
    file_write(a, "run/metrics.jsonl", STR("{\"step\": 1}\n"));
    for (int64_t n = 1; n <= 2; n++) { /* the file, its folder */
        os_fail_after(n);
        err = (Err){0};
        assert_false(trainer_save(t, &err));
        assert_non_null(strstr(err.msg, n == 1 ? "metrics.jsonl" : "sync folder"));
        assert_int_equal(newest(a, r.checkpoint.folder), 0);
    }
    os_fail_after(0);
    err = (Err){0};
    assert_true(trainer_save(t, &err));
    assert_int_equal(newest(a, r.checkpoint.folder), 1);
    trainer_close(t);
}

/* The n-th system call of a checkpoint fails, for every n: the error says which file could not be
 * written, the older checkpoint opens, and the run goes on as if nothing had been. */
static void test_each_save_fails(void **state) {
    Arena *a = *state;
    Trainer *t;
    StepStats s;
    Err err = {0};
    const char *set[] = {"checkpoint.keep=1"};
    Recipe r = tiny_recipe(a, "llama", set, 1);
    assert_true(trainer_open(&t, &r, 1, &err) && trainer_step(t, &s, &err) && trainer_save(t, &err)
                && trainer_step(t, &s, &err));
    file_write(a, "run/metrics.jsonl", STR("{\"step\": 1}\n"));
    int64_t n = 1;
    for (bool ok = false; !ok; n++) {
        Store *store;
        Mark mark = arena_mark(a);
        os_fail_after(n);
        err = (Err){0};
        ok = trainer_save(t, &err);
        os_fail_after(0);
        if (!ok && (err.code != ERR_IO || !strstr(err.msg, r.checkpoint.folder)))
            fail_msg("call %d: %s", (int)n, err.msg);
        if (!store_open(&store, a, r.checkpoint.folder, &err)) fail_msg("%s", err.msg);
        assert_int_equal(store_step(store), newest(a, r.checkpoint.folder));
        assert_true(store_step(store) == 1 || ok || n > 20);
        store_close(store);
        arena_pop(a, mark);
        assert_true(n < 400);
        if (newest(a, r.checkpoint.folder) == 2) break; /* renamed: it is there */
    }
    print_message("%d calls of a checkpoint failed\n", (int)n - 1);
    assert_true(n > 20);
    const Hex trained = model_hash(trainer_model(t));
    trainer_close(t);
    err = (Err){0};
    if (!trainer_open(&t, &r, 2, &err)) fail_msg("%s", err.msg);
    assert_int_equal(trainer_steps(t), 2);
    assert_string_equal(model_hash(trainer_model(t)).z, trained.z);
    trainer_close(t);
}

static void train_said(void *arg) {
    Err err = {0};
    log_set(LOG_WARN);
    if (!train_run(arg, 1, &err)) fprintf(stderr, "%s\n", err.msg);
}

/* Lines that are gone or unreadable are no obstacle: what can be read stays, the rest is named. */
static void test_metrics_lost(void **state) {
    Arena *a = *state;
    static const struct {
        const char *name, *lines, *kept, *says[2];
    } cases[] = {
        {"whole",
         "{\"step\": 2}\n{\"step\": 4}\n{\"step\": 6}\n{\"st",
         "{\"step\": 2}\n{\"step\": 4}\n",
         {NULL}},
        {"cut", "{\"step\": 2}\n{\"st", "{\"step\": 2}\n", {"ends at step 2", "went on to step 4"}},
        {"empty", "", "", {"ends at step 0"}},
        {"hole",
         "{\"step\": 2}\n\001\001\n{\"step\": 4}\n",
         "{\"step\": 2}\n{\"step\": 4}\n",
         {"1 lines could not be read"}},
    };
    const char *set[] = {"optim.steps=4", "log.every=2"};
    Recipe r = tiny_recipe(a, "llama", set, 2);
    assert_true(train_run(&r, 1, &(Err){0}));
    for (int64_t i = 0; i < COUNT(cases); i++) {
        static char said[4096];
        Str log;
        const char *path = file_write(a, "run/metrics.jsonl", str_of(cases[i].lines));
        assert_int_equal(child(train_said, &r, said, sizeof said), 0);
        assert_true(os_read(a, &log, path, 1 << 20, &(Err){0}));
        if (!str_eq(log, str_of(cases[i].kept))) print_message("%s: %s", cases[i].name, log.p);
        assert_string_equal(log.p, cases[i].kept);
        if (!cases[i].says[0]) assert_string_equal(said, "");
        for (int64_t k = 0; k < 2 && cases[i].says[k]; k++)
            if (!strstr(said, cases[i].says[k])) fail_msg("%s: %s", cases[i].name, said);
    }
}

int resume_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(test_killed_deepseek), ARENA_TEST(test_killed_llama),
        ARENA_TEST(test_killed_grpo),     ARENA_TEST(test_interrupted),
        ARENA_TEST(test_mixture),         ARENA_TEST(test_curriculum),
        ARENA_TEST(test_unfit),           ARENA_TEST(test_another_model),
        ARENA_TEST(test_bad_state),       ARENA_TEST(test_one_trainer),
        ARENA_TEST(test_metrics_durable), ARENA_TEST(test_each_save_fails),
        ARENA_TEST(test_metrics_lost)};
    return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
