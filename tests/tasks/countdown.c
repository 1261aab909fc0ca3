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

/* ---- thoughts, read by another way ----------------------------------------------------------- */

typedef struct Reading {
    const char *z; /* what is left of the thought */
    long made[4];  /* what the pair makes */
    int n;
    long most, target;
    bool found;
} Reading;

static void expect(Reading *r, char c) {
    if (*r->z != c) fail_msg("expected %c before %s", c, r->z);
    r->z++;
}

static long number(Reading *r) {
    char *end;
    assert_true(*r->z >= '0' && *r->z <= '9');
    const long n = strtol(r->z, &end, 10);
    r->z = end;
    return n;
}

/* What x and y make, the larger in front; -1: no whole number. */
static long made(long x, char op, long y) {
    const long big = MAX(x, y), small = MIN(x, y);
    return op == '+'                   ? big + small
           : op == '-'                 ? big - small
           : op == '*'                 ? big * small
           : small && big % small == 0 ? big / small
                                       : -1;
}

/* One operation of x and y in its turn, "+10"; false when its result is left out. */
static bool result(Reading *r, long x, char op, long y, long most) {
    const long expected = made(x, op, y);
    if (expected < 0 || expected > most) return false;
    expect(r, op);
    assert_int_equal(number(r), expected);
    return true;
}

static void pair(Reading *r, long largest) {
    const long x = number(r);
    expect(r, '&');
    const long y = number(r);
    expect(r, ':');
    r->n = 0, r->most = 0;
    for (const char *op = "+-*/"; *op; op++)
        if (result(r, x, *op, y, largest)) {
            r->made[r->n] = made(x, *op, y);
            r->most = MAX(r->most, r->made[r->n]);
            r->n++;
        }
}

/* What makes `to` with y; "=" stands behind the first that the pair makes, and nowhere else. */
static void reaching(Reading *r, long to, long y) {
    for (const char *op = "+-*/"; *op && !r->found; op++) {
        if (!result(r, to, *op, y, r->most)) continue;
        for (int i = 0; i < r->n; i++) r->found |= r->made[i] == made(to, *op, y);
        if (r->found) expect(r, '=');
    }
}

static void in_brackets(Reading *r, long to, long y) {
    expect(r, '(');
    reaching(r, to, y);
    if (!r->found) expect(r, ')');
}

/* The part behind "|": the last number, or the other two numbers in one of three ways. */
static void part(Reading *r) {
    const long x = number(r);
    if (*r->z == ':') {
        r->z++;
        reaching(r, r->target, x);
        return;
    }
    const bool both = *r->z++ == '&';
    assert_true(both || r->z[-1] == ',');
    const long y = number(r);
    expect(r, ':');
    for (const char *op = "+-*/"; *op && !r->found; op++) {
        const long one = both ? x : r->target, other = both ? y : x;
        if ((both && made(one, *op, other) == 0) || !result(r, one, *op, other, 999)) continue;
        if (both)
            in_brackets(r, r->target, made(one, *op, other));
        else
            in_brackets(r, made(one, *op, other), y);
    }
}

/* The steps behind "=" or "?"; the last one makes the target. */
static void steps(Reading *r, bool whole) {
    long last = 0;
    while (*r->z) {
        expect(r, ' ');
        if (!whole) { /* with fractions: the check of the answer has to do */
            r->z += strcspn(r->z, " ");
            continue;
        }
        const long x = number(r);
        const char op = *r->z++;
        const long y = number(r);
        expect(r, '=');
        last = number(r);
        assert_true(x >= y && made(x, op, y) == last);
    }
    assert_true(!whole || last == r->target);
}

/* The search of a thought, behind the signs; returns how many pairs it took, 0: it failed. */
static int search_is_true(const char *search, int numbers, long target) {
    Reading r = {.z = search, .target = target};
    int pairs = 0;
    do {
        pair(&r, numbers == 3 ? 9900 : 999);
        pairs++;
        while (*r.z == '|') r.z++, part(&r);
        if (!r.found) expect(&r, ' ');
    } while (!r.found && *r.z != '?');
    if (!r.found) {
        assert_int_equal(pairs, numbers == 3 ? 3 : 6);
        r.z++;
    }
    steps(&r, r.found);
    return r.found ? pairs : 0;
}

static void searches_are_true(void **state) {
    Arena *a = *state;
    const TaskStream s = three(a);
    int64_t longest = 0, pairs[4] = {0};
    for (int64_t k = 0; k < 500; k++) {
        Problem p;
        int target;
        const Mark mark = arena_mark(a);
        task_problem(&p, a, &s, k);
        assert_int_equal(sscanf(p.canonical.p, "countdown %d", &target), 1);
        pairs[search_is_true(p.thought.p, 3, target)]++;
        assert_true(task_check(s.task, &p, p.answer));
        longest = MAX(longest, p.thought.n);
        arena_pop(a, mark);
    }
    assert_true(!pairs[0] && pairs[1] > 50 && pairs[2] > 50 && pairs[3] > 50);
    assert_true(longest > 80 && longest < 160);
}

/* Four numbers: signs first, which solve all plain problems, and of the hard ones nine of ten are
 * found by the search; what is not has its end all the same, and an answer. */
static void searches_of_four_follow_signs(void **state) {
    Arena *a = *state;
    TaskStream s = task_stream(task_of("countdown"), 2, true);
    s.easiest = s.hardest = 4;
    int64_t found = 0, longest = 0;
    for (int64_t k = 0; k < 200; k++) {
        Problem p;
        int target;
        const Mark mark = arena_mark(a);
        task_problem(&p, a, &s, k);
        assert_int_equal(sscanf(p.canonical.p, "countdown %d", &target), 1);
        const char *search = strchr(p.thought.p, '&');
        assert_int_equal(search == NULL, k % 2 == 0);
        if (search) {
            while (search[-1] != ' ') search--;
            found += search_is_true(search, 4, target) > 0;
        }
        assert_true(task_check(s.task, &p, p.answer));
        longest = MAX(longest, p.thought.n);
        arena_pop(a, mark);
    }
    assert_true(found > 80 && found < 100);
    assert_true(longest < 950);
}

int countdown_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(right_answers_are_taken),       ARENA_TEST(attacks_are_refused),
        ARENA_TEST(problems_are_as_defined),       ARENA_TEST(searches_are_true),
        ARENA_TEST(searches_of_four_follow_signs),
    };
    return cmocka_run_group_tests_name("countdown", tests, NULL, NULL);
}
