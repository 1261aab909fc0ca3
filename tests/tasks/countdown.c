/* countdown.c -- problems as they are defined, thoughts that search honestly, and a verifier under
 * attack. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>

static TaskStream three(Arena *a) {
    (void)a;
    TaskStream s = task_stream(task_of("countdown"), 1, false);
    s.hardest = 3, s.canonical = true;
    return s;
}

static const Problem problem = {
    .answer = STR("25 + 3 * 7"), .canonical = STR("countdown 46 3 7 25"), .stratum = "hard"};

static void right_answers_are_taken(void **state) {
    (void)state;
    static const char *const right[] = {"25 + 3 * 7", "3*7+25",         "(7 * 3) + 25",
                                        "25+(3*7)",   "((25)) + 7 * 3", "\n25 + 3 * 7 "};
    for (int64_t i = 0; i < COUNT(right); i++)
        if (!takes(task_of("countdown"), &problem, right[i])) fail_msg("refused: %s", right[i]);
    const Problem eight = {.canonical = STR("countdown 24 3 3 8 8"), .stratum = "hard"};
    assert_true(takes(task_of("countdown"), &eight, "8 / (3 - 8 / 3)")); /* exact fractions */
}

/* What has fooled verifiers: each of these is a rule that some reader of expressions has. */
static void attacks_are_refused(void **state) {
    Arena *a = *state;
    static const char *const attack[] = {"46",
                                         "25 + 21",
                                         "25 + 3 * 7 + 0",
                                         "25 + 3 * 7 = 46",
                                         "46 = 25 + 3 * 7",
                                         "25 + 3 * 7\n25 + 3 * 7",
                                         "25 + 3 * 7, 25 + 3 * 7",
                                         "The answer is 25 + 3 * 7",
                                         "25 + 3 * 7 # right",
                                         "<think>25 + 3 * 7</think>25 + 3 * 7",
                                         "{25 + 3 * 7}",
                                         "25 + 3 * 7 * 1",
                                         "25 + 3 + 3 * 6",
                                         "25 + 7 * 3 - 3 + 3",
                                         "7 + 3 * 25",
                                         "3 ** 7 + 25",
                                         "25 + 7 // 3",
                                         "25 + 3 * +7",
                                         "25 - -3 * 7",
                                         "-3 * -7 + 25",
                                         "+25 + 3 * 7",
                                         "25 + 37",
                                         "2 5 + 3 * 7",
                                         "25 + 3 . 7",
                                         "25.0 + 3 * 7",
                                         "25 + 3 * 07",
                                         "025 + 3 * 7",
                                         "25 + 3 * 7.",
                                         "25 + 3 * 7e0",
                                         "0x19 + 3 * 7",
                                         "25 + 3 * 7L",
                                         "25 + 3 * ７",
                                         "２５ + 3 * 7",
                                         "25 + 3 × 7",
                                         "25 + 3 \xc3\x97 7",
                                         "25 + 3 * 7 / (3 - 3)",
                                         "25 / (7 - 7)",
                                         "25 + 3(7)",
                                         "(25 + 3 * 7",
                                         "25 + 3 * 7)",
                                         "()25 + 3 * 7",
                                         "25 + * 3 7",
                                         "25 3 7 * +",
                                         "25 + 3 * 7 +",
                                         "25 % 3 + 7",
                                         "25 ^ 3 + 7",
                                         "25 + 3 * 7; import os",
                                         "25\t+ 3 * 7",
                                         "25 + 3 * 7\r",
                                         "99999999999999999999 + 3 * 7",
                                         "3 * 7 * 25",
                                         "25 + 3 * 7 and 1",
                                         "478+356",
                                         "834",
                                         "(",
                                         ")",
                                         "*",
                                         "25 + 3 * seven",
                                         "25\xff + 3 * 7"};
    const Task *t = task_of("countdown");
    for (int64_t i = 0; i < COUNT(attack); i++)
        if (takes(t, &problem, attack[i])) fail_msg("taken: %s", attack[i]);
    const Str hidden = {"25 + 3 * 7\0 / 0", 15};
    assert_false(task_check(t, &problem, hidden));
    /* Deep, long, and long but for what is trimmed. */
    const int64_t n = 1 << 20;
    char *long_one = PUSH(a, char, n);
    for (const char *c = "(1-*x "; *c; c++) {
        memset(long_one, *c, (size_t)n);
        assert_false(task_check(t, &problem, (Str){long_one, n}));
    }
    memcpy(long_one + n - 10, "25 + 3 * 7", 10); /* behind blanks it is the answer */
    assert_true(task_check(t, &problem, (Str){long_one, n}));
    const Problem large = {.canonical = STR("countdown 10 97 98 99 99"), .stratum = "hard"};
    assert_false(takes(t, &large, "97 * 98 * 99 * 99 * 99 * 99 * 99 * 99 * 99 * 99 * 99"));
}

/* Numbers and target in their ranges, every second problem hard, which no signs solve. */
static void problems_are_as_defined(void **state) {
    Arena *a = *state;
    const TaskStream s = three(a);
    for (int64_t k = 0; k < 200; k++) {
        Problem p;
        int x, y, z, target;
        const Mark mark = arena_mark(a);
        task_problem(&p, a, &s, k);
        assert_int_equal(sscanf(p.prompt.p,
                                "Use %d, %d and %d with + - * / to make %d. Use each number "
                                "exactly once.",
                                &x, &y, &z, &target),
                         4);
        assert_true(MIN(MIN(x, y), z) >= 1 && MAX(MAX(x, y), z) <= 99);
        assert_true(target >= 10 && target <= 100);
        bool plain = false;
        for (int i = 0; i < 8; i++)
            plain |= (i & 1 ? x : -x) + (i & 2 ? y : -y) + (i & 4 ? z : -z) == target;
        assert_string_equal(p.stratum, plain ? "plain" : "hard");
        assert_int_equal(plain, k % 2 == 0);
        arena_pop(a, mark);
    }
}

/* Each step "x op y=r|" is true, whole, and of numbers that are there; the target ends the line. */
static void searches_are_true(void **state) {
    Arena *a = *state;
    const TaskStream s = three(a);
    int64_t longest = 0;
    for (int64_t k = 0; k < 500; k++) {
        Problem p;
        int target;
        const Mark mark = arena_mark(a);
        task_problem(&p, a, &s, k);
        assert_int_equal(sscanf(p.canonical.p, "countdown %d", &target), 1);
        for (const char *z = p.thought.p; *z;) {
            char *at;
            const long x = strtol(z, &at, 10);
            const char op = *at;
            const long y = strtol(at + 1, &at, 10), r = strtol(at + 1, &at, 10);
            assert_true(x >= y && *at == '|');
            assert_true(op == '+'   ? x + y == r
                        : op == '-' ? x - y == r
                        : op == '*' ? x * y == r
                                    : y * r == x);
            z = at + 1 + strcspn(at + 1, " ");
            const char *last = z;
            while (last > at && last[-1] >= '0' && last[-1] <= '9') last--;
            assert_int_equal(!*z, strtol(last, NULL, 10) == target && last < z);
            z += *z == ' ';
        }
        longest = MAX(longest, p.thought.n);
        arena_pop(a, mark);
    }
    assert_true(longest > 100 && longest < 300);
}

/* Four numbers: signs first, which solve all plain problems; the answer comes from the last branch,
 * and some have failures before it. */
static void searches_of_four_branch(void **state) {
    Arena *a = *state;
    TaskStream s = task_stream(task_of("countdown"), 2, true);
    s.easiest = s.hardest = 4;
    int64_t with_failures = 0;
    for (int64_t k = 0; k < 60; k++) {
        Problem p;
        const Mark mark = arena_mark(a);
        task_problem(&p, a, &s, k);
        int64_t branches = 0, lines = 0;
        for (int64_t i = 0; i < p.thought.n; i++) {
            branches += p.thought.p[i] == '[';
            lines += p.thought.p[i] == '|';
        }
        assert_true(k % 2 == 0 ? branches <= 2 && lines <= 4 : branches <= 6);
        with_failures += branches > 3;
        assert_true(task_check(s.task, &p, p.answer));
        arena_pop(a, mark);
    }
    assert_true(with_failures > 10 && with_failures < 30);
}

int countdown_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(right_answers_are_taken), ARENA_TEST(attacks_are_refused),
        ARENA_TEST(problems_are_as_defined), ARENA_TEST(searches_are_true),
        ARENA_TEST(searches_of_four_branch),
    };
    return cmocka_run_group_tests_name("countdown", tests, NULL, NULL);
}
