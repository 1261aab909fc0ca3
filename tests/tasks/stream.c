/* stream.c -- what every task must keep: the same problems each time, answers that its own check
 * takes, and a held-out range that no training problem reaches. */
#include "tests.h"

enum { PROBLEMS = 300 };

static void problems_are_functions_of_their_index(void **state) {
    Arena *a = *state;
    for (int64_t i = 0; i < tasks_n; i++) {
        const TaskStream s = task_stream(tasks[i], 7, false),
                         other = task_stream(tasks[i], 8, false);
        int64_t differ = 0;
        for (int64_t k = 0; k < 20; k++) {
            Problem p, again, o;
            task_problem(&p, a, &s, k);
            task_problem(&o, a, &other, k);
            task_problem(&again, a, &s, k);
            assert_true(str_eq(p.prompt, again.prompt) && str_eq(p.thought, again.thought));
            assert_true(str_eq(p.answer, again.answer) && str_eq(p.canonical, again.canonical));
            assert_ptr_equal(p.stratum, again.stratum);
            differ += !str_eq(p.canonical, o.canonical);
        }
        assert_true(differ > 10); /* another seed is another row */
    }
}

/* The answer of each problem, and those of the problem before it, which are of another one. */
static void answers_are_taken_and_others_are_not(void **state) {
    Arena *a = *state;
    for (int64_t i = 0; i < tasks_n; i++) {
        const Task *t = tasks[i];
        for (int level = t->easiest; level <= t->hardest; level++) {
            TaskStream s = task_stream(t, 3, level % 2);
            s.easiest = s.hardest = level;
            for (int64_t k = 0; k < PROBLEMS / 10; k++) {
                Problem p;
                task_problem(&p, a, &s, k);
                assert_true(task_check(t, &p, p.answer));
                assert_true(task_check(t, &p, str_fmt(a, " %.*s\n", STRF(p.answer))));
                assert_false(
                    task_check(t, &p, str_fmt(a, "%.*s %.*s", STRF(p.answer), STRF(p.answer))));
                assert_false(task_check(t, &p, str_fmt(a, "%.*s.", STRF(p.answer))));
                assert_false(task_check(t, &p, str_fmt(a, "0%.*s", STRF(p.answer))));
                assert_false(takes(t, &p, "") || takes(t, &p, " "));
                assert_null(memchr(p.thought.p, '\n', (size_t)p.thought.n));
            }
        }
    }
}

/* Every problem of a training stream is outside, every one of a held-out stream inside; and the
 * range is decided by the problem alone, so the two cannot meet under another wording or order. */
static void held_out_is_never_trained(void **state) {
    Arena *a = *state;
    for (int64_t i = 0; i < tasks_n; i++)
        for (int held = 0; held < 2; held++) {
            const TaskStream s = task_stream(tasks[i], 11, held);
            for (int64_t k = 0; k < PROBLEMS; k++) {
                Problem p;
                const Mark mark = arena_mark(a);
                task_problem(&p, a, &s, k);
                assert_int_equal(task_held_out(p.canonical), held);
                assert_true(str_starts(p.canonical, str_of(tasks[i]->name)));
                arena_pop(a, mark);
            }
        }
    int64_t held = 0;
    for (int k = 0; k < 8000; k++)
        held += task_held_out(str_fmt(a, "addition %d %d", k, 3 * k + 1));
    assert_true(held > 850 && held < 1150); /* one of eight */
}

static void unknown_tasks_are_named(void **state) {
    (void)state;
    const Task *t;
    Err err = {0};
    assert_false(task_find(&t, STR("aditon"), &err));
    assert_non_null(strstr(err.msg, "did you mean \"addition\"?"));
    assert_non_null(strstr(err.msg, "subtraction"));
    assert_int_equal(err.code, ERR_USAGE);
}

/* A name as recipes and commands write it. */
static void rows_have_names(void **state) {
    static const struct {
        const char *name;
        int easiest, hardest;
        bool canonical;
    } fine[] = {{"addition", 1, 12, false},
                {"addition:3", 3, 3, false},
                {"addition:1-5", 1, 5, false},
                {"addition:1-5:canonical", 1, 5, true},
                {"addition:canonical", 1, 12, true}};
    static const char *const wrong[] = {"addition:0",   "addition:3-2", "addition:1-13",
                                        "addition:1-",  "addition:-1",  "addition:x",
                                        "addition:1:x", "adition",      ""};
    (void)state;
    for (int64_t i = 0; i < COUNT(fine); i++) {
        TaskStream s;
        Err err = {0};
        if (!task_named(&s, str_of(fine[i].name), 5, true, &err)) fail_msg("%s", err.msg);
        assert_int_equal(s.easiest, fine[i].easiest);
        assert_int_equal(s.hardest, fine[i].hardest);
        assert_true(s.canonical == fine[i].canonical && s.held_out && s.seed == 5);
    }
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        TaskStream s;
        Err err = {0};
        if (task_named(&s, str_of(wrong[i]), 5, true, &err)) fail_msg("taken: %s", wrong[i]);
        assert_int_equal(err.code, ERR_USAGE);
    }
}

int stream_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(problems_are_functions_of_their_index),
        ARENA_TEST(answers_are_taken_and_others_are_not),
        ARENA_TEST(held_out_is_never_trained),
        ARENA_TEST(unknown_tasks_are_named),
        ARENA_TEST(rows_have_names),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
