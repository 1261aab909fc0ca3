/* tasks.c -- problems of tasks to learn from: what is learned, what is held out, what goes on after
 * a checkpoint, and what is refused. */
#include "tests.h"

/* The text of a source's first documents, questions and answers. */
static Str documents_of(Arena *a, const char *name, bool held_out) {
    Source s;
    Err err = {0};
    Buf b = {.a = arena_open("documents", ARENA_NO_LIMIT)};
    if (!task_source(&s, a, name, 1, held_out, &err)) fail_msg("%s", err.msg);
    for (int64_t i = 0; i < 40; i++) {
        Document d = {0};
        assert_true(s.document(s.self, i, &d, a, &err));
        assert_int_equal(d.n, 2);
        assert_int_equal(d.message[1].role, ROLE_ASSISTANT);
        buf_fmt(&b, "%.*s %.*s %.*s\n", STRF(d.message[0].content), STRF(d.message[1].reasoning),
                STRF(d.message[1].content));
    }
    const Str all = str_copy(a, buf_str(&b));
    arena_close(b.a);
    return all;
}

static void tasks_take_turns(void **state) {
    Arena *a = *state;
    const char *name = "task:addition:2:canonical+subtraction:1-3:canonical+multiplication";
    const Str all = documents_of(a, name, false);
    const char *first = strchr(all.p, '+'), *second = strchr(all.p, '\n');
    assert_true(first && first < second); /* a sum of two digits */
    assert_true(first - all.p == 2 || first - all.p == 1);
    assert_non_null(strstr(second, "="));
    assert_false(str_eq(all, documents_of(a, name, true))); /* held-out ones are others */
    assert_true(names_tasks(name) && !names_tasks("tasks.txt"));
}

/* With ":direct" the same problems have no thoughts. */
static void thoughts_can_be_left_out(void **state) {
    Arena *a = *state;
    static const char *const direct[] = {
        "task:countdown:3:direct", "task:countdown:3:direct:canonical", "task:countdown:direct",
        "task:countdown:canonical:direct"};
    assert_non_null(strchr(documents_of(a, "task:countdown:3", false).p, '&'));
    for (int64_t i = 0; i < COUNT(direct); i++) {
        const Str all = documents_of(a, direct[i], false);
        assert_null(strchr(all.p, '&'));
        assert_int_equal(strstr(all.p, "用") == NULL, i % 2);
    }
}

/* A file's problems beside those that are made; its path may have colons. */
static void files_are_tasks(void **state) {
    Arena *a = *state;
    Err err = {0};
    const char *path = str_fmt(a, "%s/three:4.jsonl", folder).p;
    const Str some = STR("{\"question\": \"Why?\", \"answer\": \"So.\\n#### 7\"}\n"
                         "{\"question\": \"Who?\", \"answer\": 8}\n");
    assert_true(os_put(a, path, some, &err));
    const Str all = documents_of(a, str_fmt(a, "task:addition:2+file:%s+addition", path).p, true);
    assert_non_null(strstr(all.p, "\nWhy? So. 7\n"));
    assert_non_null(strstr(all.p, "\nWho?  8\n"));
    assert_true(os_put(a, path, STR("{}\n"), &err));
    Source s;
    assert_false(task_source(&s, a, str_fmt(a, "task:file:%s", path).p, 1, false, &err));
    assert_non_null(strstr(err.msg, "three:4.jsonl, line 1: there is no"));
}

static void wrong_names_are_refused(void **state) {
    static const struct {
        const char *name, *says;
    } wrong[] = {{"task:", "there is no task"},
                 {"task:adition", "did you mean \"addition\"?"},
                 {"task:addition:0", "within 1-12"},
                 {"task:addition:3-2", "within 1-12"},
                 {"task:addition:1-13", "within 1-12"},
                 {"task:addition:x", "expected a range of digits"},
                 {"task:addition:1:canonic", ":canonical"},
                 {"task:addition:canonical:1", ":canonical"},
                 {"task:addition:direct:direct", ":direct"},
                 {"task:countdown:2", "numbers within 3-5"},
                 {"task:addition+", "there is no task"},
                 {"task:file", "there is no task"},
                 {"task:file:none.jsonl", "none.jsonl"}};
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        Source s;
        Err err = {0};
        if (task_source(&s, a, wrong[i].name, 1, false, &err)) fail_msg("taken: %s", wrong[i].name);
        if (!strstr(err.msg, wrong[i].says)) fail_msg("%s: %s", wrong[i].name, err.msg);
    }
}

static Recipe task_recipe(Arena *a, const char *const *set, int64_t n) {
    const char *all[8] = {"data.train=task:addition:1-2", "tokenizer=bytes", "data.documents=200",
                          "data.valid=task:addition:1-2", "checkpoint.every=0"};
    CHECK(n <= 3);
    for (int64_t i = 0; i < n; i++) all[5 + i] = set[i];
    return tiny_recipe(a, "deepseek_v3", all, 5 + n);
}

/* Six steps in one go and in two legs end in the same weights; the loss falls on problems that are
 * held out, and counts the answers alone. */
static void runs_on_tasks_go_on(void **state) {
    need_native();
    Arena *a = *state;
    Hex hash[2];
    for (int legs = 1; legs <= 2; legs++) {
        const char *set[] = {str_fmt(a, "checkpoint.folder=%s/legs%d", folder, legs).p};
        const Recipe r = task_recipe(a, set, 1);
        double before = 0, after = 0;
        for (int64_t step = 0; step < 6;) {
            Trainer *t;
            Err err = {0};
            StepStats s;
            if (!trainer_open(&t, &r, legs, &err)) fail_msg("%s", err.msg);
            assert_int_equal(trainer_steps(t), step);
            if (step == 0) assert_true(trainer_eval(t, &before, &err));
            for (const int64_t end = legs == 1 ? 6 : step + 3; step < end; step++) {
                if (!trainer_step(t, &s, &err)) fail_msg("%s", err.msg);
                assert_in_range(s.targets, 1, 191); /* questions are not counted */
            }
            assert_true(trainer_eval(t, &after, &err));
            if (!trainer_save(t, &err)) fail_msg("%s", err.msg);
            hash[legs - 1] = model_hash(trainer_model(t));
            trainer_close(t);
        }
        assert_true(after < before);
    }
    assert_string_equal(hash[0].z, hash[1].z);
    /* Other problems are another run. */
    const char *set[] = {str_fmt(a, "checkpoint.folder=%s/legs1", folder).p,
                         "data.train=task:addition:1-3"};
    const Recipe r = task_recipe(a, set, 2);
    Trainer *t;
    Err err = {0};
    assert_false(trainer_open(&t, &r, 1, &err));
    assert_non_null(strstr(err.msg, "data.train or the tokenizer has changed"));
}

/* A row whose target is -1 has no gradient and a log-probability of 0; the others are as ever. */
static void one_row(Thread th, void *arg) {
    float(*z)[8] = arg;
    static float logprob[2];
    static const int32_t target[] = {-1, 3};
    const Rows dz = rows_in(FORM_F32, 2, 8, z[0]);
    for (int i = 0; i < 2; i++) logprob[i] = loss_back(&dz, i, z[i], target[i], 0.5f);
    assert_true(logprob[0] == 0 && logprob[1] < 0);
    token_logprobs(th, logprob, z[2], target, 2, 8);
    assert_true(logprob[0] == 0 && logprob[1] < 0);
}

static void read_rows_have_no_gradient(void **state) {
    (void)state;
    float z[4][8];
    float sum = 0;
    for (int i = 0; i < 32; i++) z[i / 8][i % 8] = (float)(i % 5) - 1;
    Team *team = team_open(1);
    team_run(team, one_row, z);
    team_close(team);
    for (int i = 0; i < 8; i++) {
        assert_true(z[0][i] == 0);
        sum += z[1][i];
    }
    assert_true(z[1][3] < 0 && sum < 1e-6f && sum > -1e-6f);
}

int task_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(tasks_take_turns),    ARENA_TEST(thoughts_can_be_left_out),
        ARENA_TEST(files_are_tasks),     ARENA_TEST(wrong_names_are_refused),
        ARENA_TEST(runs_on_tasks_go_on), ARENA_TEST(read_rows_have_no_gradient),
    };
    return cmocka_run_group_tests_name("tasks", tests, NULL, NULL);
}
