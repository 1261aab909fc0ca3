/* stream.c -- what every task must keep: the same problems each time, answers that its own check
 * takes, and a held-out range that no training problem reaches. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>

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

/* Problems of this level take a hundred times as long to find, or some thousand times. */
static bool is_slow(const Task *t, int level) { return t == task_of("countdown") && level > 3; }

/* The answer of each problem, and those of the problem before it, which are of another one. */
static void answers_are_taken_and_others_are_not(void **state) {
    Arena *a = *state;
    for (int64_t i = 0; i < tasks_n; i++) {
        const Task *t = tasks[i];
        for (int level = t->easiest; level <= t->hardest; level++) {
            TaskStream s = task_stream(t, 3, level % 2);
            s.easiest = s.hardest = level;
            for (int64_t k = 0; k < (is_slow(t, level) ? 5 : PROBLEMS / 10); k++) {
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

/* ---- what is held out ------------------------------------------------------------------------ */

static int by_text(const void *x, const void *y) {
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* The canonical forms of n problems, sorted. */
static const char **forms_of(Arena *a, const TaskStream *s, int64_t n) {
    const char **form = PUSH(a, const char *, n);
    Arena *scratch = arena_open("problems", ARENA_NO_LIMIT);
    const Mark mark = arena_mark(scratch);
    for (int64_t k = 0; k < n; k++) {
        Problem p;
        task_problem(&p, scratch, s, k);
        assert_int_equal(task_held_out(p.canonical), s->held_out);
        assert_true(task_check(s->task, &p, p.answer));
        assert_true(str_starts(p.canonical, str_of(s->task->name)));
        form[k] = str_copy(a, p.canonical).p;
        arena_pop(scratch, mark);
    }
    arena_close(scratch);
    qsort(form, (size_t)n, sizeof *form, by_text);
    return form;
}

/* No canonical form is in both rows, and a row is no handful of problems. */
static void rows_are_disjoint(Arena *a, const TaskStream *s, int64_t n, int64_t least) {
    TaskStream held = *s;
    held.held_out = true, held.seed++;
    const char **x = forms_of(a, s, n), **y = forms_of(a, &held, n);
    int64_t i = 0, j = 0, different = 1;
    while (i < n && j < n) {
        const int order = strcmp(x[i], y[j]);
        if (order == 0) fail_msg("trained and held out: %s", x[i]);
        if (order < 0)
            i++;
        else
            j++;
    }
    for (int64_t k = 1; k < n; k++) different += strcmp(y[k], y[k - 1]) != 0;
    if (different < least) fail_msg("%s: %lld problems", s->task->name, (long long)different);
}

/* Ten thousand problems of each row. The range is decided by the problem alone, so the two cannot
 * meet under another wording or order. Countdown of four numbers takes a hundred times as long. */
static void held_out_is_never_trained(void **state) {
    Arena *a = *state;
    for (int64_t i = 0; i < tasks_n; i++) {
        TaskStream s = task_stream(tasks[i], 11, false);
        const bool countdown = tasks[i] == task_of("countdown");
        if (countdown) s.hardest = 3;
        rows_are_disjoint(a, &s, 10000, tasks[i] == task_of("about") ? 900 : 2000);
        if (countdown) s.easiest = s.hardest = 4;
        if (countdown) rows_are_disjoint(a, &s, 300, 290);
    }
    int64_t held = 0;
    for (int k = 0; k < 8000; k++)
        held += task_held_out(str_fmt(a, "addition %d %d", k, 3 * k + 1));
    assert_true(held > 850 && held < 1150); /* one of eight */
}

/* Both ranges have problems at each difficulty. */
static void every_difficulty_has_both(void **state) {
    Arena *a = *state;
    for (int64_t i = 0; i < tasks_n; i++)
        for (int level = tasks[i]->easiest; level <= tasks[i]->hardest; level++) {
            TaskStream s = task_stream(tasks[i], 13, false);
            s.easiest = s.hardest = level;
            rows_are_disjoint(a, &s, is_slow(tasks[i], level) ? 10 : 500, 2);
        }
}

static int by_value(const void *x, const void *y) {
    const int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

/* The numbers in a text, sorted. */
static int64_t numbers_in(int64_t *number, Str s) {
    int64_t n = 0;
    for (int64_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') continue;
        assert_true(n < 8);
        for (number[n] = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            number[n] = 10 * number[n] + s.p[i] - '0';
        n++;
    }
    qsort(number, (size_t)n, sizeof *number, by_value);
    return n;
}

/* Of tasks in which numbers are all of the problem: the canonical form has those of the prompt,
 * whatever its wording, and of operands that may be exchanged the smaller first. */
static void numbers_are_the_problem(void **state) {
    static const char *const names[] = {"addition", "subtraction", "multiplication", "division",
                                        "countdown"};
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(names); i++) {
        TaskStream s = task_stream(task_of(names[i]), 15, false);
        if (s.task == task_of("countdown")) s.hardest = 3;
        int64_t worded = 0;
        for (int64_t k = 0; k < 2000; k++) {
            Problem p;
            int64_t asked[8], has[8];
            char text[128];
            const Mark mark = arena_mark(a);
            task_problem(&p, a, &s, k);
            const int64_t n = numbers_in(asked, p.prompt);
            assert_int_equal(n, numbers_in(has, p.canonical));
            for (int64_t j = 0; j < n; j++) assert_true(asked[j] == has[j]);
            const long long last = has[n - 1], first = has[0];
            if (i < 3) {
                snprintf(text, sizeof text, "%s %lld %lld", names[i], first, last);
                assert_string_equal(p.canonical.p, text);
            }
            if (i == 4) { /* behind the target: in order */
                long long target, x, y, z;
                assert_int_equal(
                    sscanf(p.canonical.p, "countdown %lld %lld %lld %lld", &target, &x, &y, &z), 4);
                assert_true(x <= y && y <= z);
            }
            worded += p.prompt.p[0] < '0' || p.prompt.p[0] > '9';
            arena_pop(a, mark);
        }
        assert_true(worded > 300);
    }
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
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(fine); i++) {
        TaskStream s;
        Err err = {0};
        if (!task_named(&s, a, str_of(fine[i].name), 5, true, &err)) fail_msg("%s", err.msg);
        assert_int_equal(s.easiest, fine[i].easiest);
        assert_int_equal(s.hardest, fine[i].hardest);
        assert_true(s.canonical == fine[i].canonical && s.held_out && s.seed == 5);
    }
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        TaskStream s;
        Err err = {0};
        if (task_named(&s, a, str_of(wrong[i]), 5, true, &err)) fail_msg("taken: %s", wrong[i]);
        assert_int_equal(err.code, ERR_USAGE);
    }
}

int stream_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(problems_are_functions_of_their_index),
        ARENA_TEST(answers_are_taken_and_others_are_not),
        ARENA_TEST(held_out_is_never_trained),
        ARENA_TEST(every_difficulty_has_both),
        ARENA_TEST(numbers_are_the_problem),
        ARENA_TEST(unknown_tasks_are_named),
        ARENA_TEST(rows_have_names),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
