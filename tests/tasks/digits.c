/* digits.c -- sums, differences and products: operands of every length and order, and each step of
 * each thought computed again by another way. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>

/* Reads one step, "8+6+1=15" or "14-6-1=7" or "7*6+4=46", and computes its left side. */
static long step_value(const char *z, long *said, const char **end) {
    char *at;
    long value = strtol(z, &at, 10);
    while (*at != '=') {
        const char sign = *at++;
        const long x = strtol(at, &at, 10);
        value = sign == '+' ? value + x : sign == '-' ? value - x : value * x;
    }
    *said = strtol(at + 1, &at, 10);
    *end = at;
    return value;
}

/* Reads comparisons, "3=3 7<8 ", as far as there are any: -1 where the first number is smaller. */
static int order_said(const char **z) {
    int sign = 1;
    for (const char *at = *z; at[1] && strchr("<=>", at[1]); *z = at += 4) {
        assert_int_equal(at[1], at[0] < at[2] ? '<' : at[0] > at[2] ? '>' : '=');
        if (at[1] == '<') sign = -1;
    }
    return sign;
}

/* The digits of a thought's steps, joined, are the answer's. The last step of a sum is written
 * whole; that of a difference has its lent ten left. */
static long long thought_value(const char *z, bool difference) {
    long long value = 0, place = 1;
    const int sign = order_said(&z);
    for (;; z++, place *= 10) {
        long said;
        assert_true(!difference || (z[0] == '1' && z[1] >= '0' && z[1] <= '9'));
        const long step = step_value(z, &said, &z);
        assert_int_equal(step, said);
        value += (*z || difference ? said % 10 : said) * place;
        if (*z == ' ') continue;
        assert_true(!*z && (!difference || said >= 10));
        return sign * value;
    }
}

static void thoughts_lead_to_their_answers(void **state) {
    Arena *a = *state;
    static const char *const names[] = {"addition", "subtraction"};
    for (int64_t i = 0; i < COUNT(names); i++) {
        const TaskStream s = task_stream(task_of(names[i]), 5, false);
        for (int64_t k = 0; k < 2000; k++) {
            Problem p;
            const Mark mark = arena_mark(a);
            task_problem(&p, a, &s, k);
            assert_true(strtoll(p.answer.p, NULL, 10) == thought_value(p.thought.p, i == 1));
            arena_pop(a, mark);
        }
    }
}

/* What a difference's thought begins with: the digits of both numbers, written with the same width,
 * from the first one to the first that differ. */
static void order_is_compared(const char *thought, long long x, long long y) {
    char a[8], b[8], expected[32] = "";
    const int width = snprintf(a, sizeof a, "%lld", MAX(x, y));
    snprintf(a, sizeof a, "%0*lld", width, x);
    snprintf(b, sizeof b, "%0*lld", width, y);
    for (int i = 0, n = 0, same = 1; i < width && same; i++) {
        same = a[i] == b[i];
        const char sign = same ? '=' : strcmp(a, b) < 0 ? '<' : '>';
        n += snprintf(expected + n, sizeof expected - (size_t)n, "%c%c%c ", a[i], sign, b[i]);
    }
    assert_int_equal(strncmp(thought, expected, strlen(expected)), 0);
    assert_null(strpbrk(thought + strlen(expected), "<>"));
}

/* Both signs, both orders, carries and borrows, equal operands and zero occur; the canonical form
 * has the smaller operand first. */
static void operands_are_of_all_kinds(void **state) {
    Arena *a = *state;
    TaskStream s = task_stream(task_of("subtraction"), 1, false);
    s.easiest = s.hardest = 3, s.canonical = true;
    int64_t below = 0, above = 0, shorter = 0, borrows = 0;
    for (int64_t k = 0; k < 2000; k++) {
        Problem p;
        long long x, y, lo, hi;
        task_problem(&p, a, &s, k);
        assert_int_equal(sscanf(p.prompt.p, "%lld-%lld=", &x, &y), 2);
        assert_int_equal(sscanf(p.canonical.p, "subtraction %lld %lld", &lo, &hi), 2);
        assert_true(lo == MIN(x, y) && hi == MAX(x, y) && hi >= 100 && hi <= 999);
        assert_true(strtoll(p.answer.p, NULL, 10) == x - y);
        order_is_compared(p.thought.p, x, y);
        below += x<y, above += x> y, shorter += lo < 100;
        borrows += strstr(p.thought.p, "-1=") != NULL;
    }
    assert_true(below > 700 && above > 700 && shorter > 400 && borrows > 300);
}

/* Every step and every line of a product's thought, and that its last line is the answer. */
static void products_are_worked_out(void **state) {
    Arena *a = *state;
    const TaskStream s = task_stream(task_of("multiplication"), 5, false);
    for (int64_t k = 0; k < 500; k++) {
        Problem p;
        task_problem(&p, a, &s, k);
        const char *z = p.thought.p;
        for (;;) {
            char *at;
            long long x = strtoll(z, &at, 10), digit = 0, place = 1, line = 0, said;
            const char op = *at++;
            const long long y = strtoll(at, &at, 10);
            const long long value = op == '*' ? x * y : x + y;
            assert_true(*at == ':' && (op == '*' || op == '+'));
            for (z = at + 2; strcspn(z, "=") < strcspn(z, ";"); z++, place *= 10) {
                long step_said;
                digit = step_value(z, &step_said, &z);
                assert_int_equal(digit, step_said);
                line += (strcspn(z + 1, "=") < strcspn(z + 1, ";") ? digit % 10 : digit) * place;
            }
            said = strtoll(z, &at, 10);
            assert_true(said == value);
            while (op == '*' && line < value) line *= 10; /* the zeros of the digit's place */
            assert_true(line == value);
            if (!*at) {
                assert_true(said == strtoll(p.answer.p, NULL, 10));
                break;
            }
            z = at + 2;
        }
    }
}

/* Every step of a division: the number that is divided, its multiple of the divisor, what is left,
 * and that nothing is at the end; the quotient's digits are the answer's. */
static void quotients_are_worked_out(void **state) {
    Arena *a = *state;
    int64_t two = 0, zeros = 0;
    for (int level = 1; level <= 6; level++)
        for (int64_t k = 0; k < 500; k++) {
            TaskStream s = task_stream(task_of("division"), 6, k % 2);
            s.easiest = s.hardest = level;
            Problem p;
            const Mark mark = arena_mark(a);
            task_problem(&p, a, &s, k);
            long x, y, quotient = 0, left = 0, digits = 0;
            char number[16];
            assert_int_equal(sscanf(p.canonical.p, "division %ld %ld", &x, &y), 2);
            assert_int_equal(snprintf(number, sizeof number, "%ld", x), level);
            assert_true(y >= 2 && y <= (level > 3 ? 99 : 9));
            const char *z = p.thought.p;
            char *at;
            for (long i = 1; i <= 9 && y > 9; i++, z = at + 1) {
                assert_int_equal(strtol(z, &at, 10), i);
                assert_true(*at == ':' && strtol(at + 1, &at, 10) == i * y && *at == ' ');
            }
            for (long taken = y > 9 ? 2 : 1; digits < level; taken = 1, z = at + 1) {
                for (; taken; taken--) left = 10 * left + (number[digits++] - '0');
                const long now = strtol(z, &at, 10), of = strtol(at + 1, &at, 10);
                assert_int_equal(now, left);
                left = strtol(at + 1, &at, 10);
                assert_int_equal(now - of, left);
                assert_true(left >= 0 && left < y && *at == ':');
                const long digit = strtol(at + 1, &at, 10);
                assert_int_equal(digit * y, of);
                assert_true(digit <= 9);
                zeros += digit == 0 && quotient;
                quotient = 10 * quotient + digit;
                assert_int_equal(*at, digits < level ? ' ' : 0);
            }
            assert_true(left == 0 && quotient * y == x);
            assert_int_equal(quotient, strtol(p.answer.p, NULL, 10));
            two += y > 9;
            arena_pop(a, mark);
        }
    assert_true(two > 600 && two < 900 && zeros > 100);
}

static void numbers_are_exact(void **state) {
    (void)state;
    const Task *t = task_of("addition");
    const Problem p = {.answer = STR("834"), .canonical = STR("addition 356 478"), .stratum = ""};
    static const char *const wrong[] = {"834.0",  "+834",  "0834",    "8 34",    "834=834",
                                        "833",    "8340",  "834 834", "478+356", "0x342",
                                        "８３４", "834\t", "eight"};
    assert_true(takes(t, &p, "834") && takes(t, &p, "\n 834 \n"));
    for (int64_t i = 0; i < COUNT(wrong); i++) assert_false(takes(t, &p, wrong[i]));
}

int digits_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(thoughts_lead_to_their_answers),
        ARENA_TEST(operands_are_of_all_kinds),
        ARENA_TEST(products_are_worked_out),
        ARENA_TEST(quotients_are_worked_out),
        ARENA_TEST(numbers_are_exact),
    };
    return cmocka_run_group_tests_name("digits", tests, NULL, NULL);
}
