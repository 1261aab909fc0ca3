/* attacks.c -- every task's check against what has fooled others: forms that an evaluator would
 * compute, second answers, answers inside of thoughts, digits of other scripts, numbers that wrap
 * around, a megabyte of anything, and right answers to other problems. countdown.c, liars.c and
 * file.c have those of one task alone. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>

enum { PROBLEMS = 60, MEGABYTE = 1 << 20 };

static void refused(const Task *t, const Problem *p, Str answer) {
    if (task_check(t, p, answer))
        fail_msg("%s: %.*s: taken: %.*s", t->name, STRF(p->prompt), (int)MIN(answer.n, 200),
                 answer.p);
}

/* What is no answer, whatever the right one (%.*s) is. */
static const char *const around[] = {"%.*s**1",
                                     "%.*s ** 1",
                                     "%.*s//1",
                                     "%.*s // 1",
                                     "%.*s/1",
                                     "%.*s * 1",
                                     "%.*s + 0",
                                     "%.*s-0",
                                     "-%.*s",
                                     "- %.*s",
                                     "--%.*s",
                                     "+%.*s",
                                     "-(-%.*s)",
                                     "~%.*s",
                                     "0%.*s",
                                     "00%.*s",
                                     "%.*s.0",
                                     "%.*s.",
                                     "%.*se0",
                                     "%.*s%%",
                                     "%.*s;",
                                     "%.*s,",
                                     "%.*s!",
                                     "%.*s。",
                                     "%.*s\xff",
                                     "\xef\xbb\xbf%.*s",
                                     "\xc2\xa0%.*s",
                                     "%.*s\xe2\x80\x8b",
                                     "%.*s\t",
                                     "%.*s\r",
                                     "\"%.*s\"",
                                     "'%.*s'",
                                     "[%.*s]",
                                     "{%.*s}",
                                     "$%.*s$",
                                     "\\boxed{%.*s}",
                                     "`%.*s`",
                                     "**%.*s**",
                                     "= %.*s",
                                     "x = %.*s",
                                     "%.*s = x",
                                     "#### %.*s",
                                     "The answer is %.*s",
                                     "%.*s is the answer",
                                     "Answer: %.*s",
                                     "答案是%.*s",
                                     "%.*s # right",
                                     "%.*s /* right */",
                                     "%.*s or not",
                                     "not %.*s",
                                     "%.*s; import os",
                                     "int(%.*s)",
                                     "(%.*s",
                                     "%.*s)",
                                     "<think>%.*s</think>",
                                     "<think>%.*s",
                                     "%.*s</think>",
                                     "<think></think>%.*s",
                                     "<answer>%.*s</answer>",
                                     "1/0 %.*s",
                                     "%.*s/0",
                                     "nan %.*s",
                                     "%.*s\n\n1/0"};

static void forms_are_refused(const Task *t, const Problem *p, Arena *a) {
    const Str right = p->answer;
    for (int64_t i = 0; i < COUNT(around); i++) {
        char form[1024];
        snprintf(form, sizeof form, around[i], STRF(right));
        refused(t, p, str_of(form));
    }
    static const char *const joint[] = {"",    " ", "\n",   "\n\n", ", ",       "; ",
                                        " = ", "|", " or ", "、",   "</think>", "\n#### "};
    for (int64_t i = 0; i < COUNT(joint); i++) {
        refused(t, p, str_fmt(a, "%.*s%s%.*s", STRF(right), joint[i], STRF(right)));
        refused(t, p, str_fmt(a, "%.*s%s1", STRF(right), joint[i]));
        refused(t, p, str_fmt(a, "1%s%.*s", joint[i], STRF(right)));
    }
    const Str thought = p->thought;
    refused(t, p, (Str){0});
    refused(t, p, thought);
    refused(t, p, p->prompt);
    refused(t, p, p->canonical);
    refused(t, p, str_fmt(a, "%.*s %.*s", STRF(thought), STRF(right)));
    refused(t, p, str_fmt(a, "%.*s\n%.*s", STRF(thought), STRF(right)));
    refused(t, p, str_fmt(a, "<think>%.*s</think>%.*s", STRF(thought), STRF(right)));
    refused(t, p, str_fmt(a, "<think>%.*s</think>\n\n%.*s", STRF(thought), STRF(right)));
    Str zero = str_copy(a, str_fmt(a, "%.*s0/ 0", STRF(right)));
    ((char *)(uintptr_t)zero.p)[right.n] = 0; /* behind a byte 0 */
    refused(t, p, zero);
    refused(t, p, (Str){zero.p, right.n + 1});
}

/* The digits of the answer in other scripts: full-width, Arabic, mathematical, Hindi, subscript. */
static void scripts_are_refused(const Task *t, const Problem *p, Arena *a) {
    static const int32_t digit_0[] = {0xff10, 0x0660, 0x1d7ce, 0x0966, 0x2080};
    for (int64_t i = 0; i < COUNT(digit_0); i++) {
        Buf b = {.a = a};
        for (int64_t k = 0; k < p->answer.n; k++) {
            const char c = p->answer.p[k];
            char to[4];
            const bool digit = c >= '0' && c <= '9';
            buf_add(&b, (Str){to, utf8_put(to, digit ? digit_0[i] + c - '0' : (uint8_t)c)});
        }
        if (!str_eq(buf_str(&b), p->answer)) refused(t, p, buf_str(&b));
    }
}

/* A number that is the answer modulo 2^32 or 2^64, and one next to it. */
static void overflow_is_refused(const Task *t, const Problem *p, Arena *a) {
    int64_t x;
    if (!str_i64(p->answer, &x)) return;
    refused(t, p, str_fmt(a, "%lld", (long long)x + (1LL << 32)));
    refused(t, p, str_fmt(a, "%lld", (long long)x - (1LL << 32)));
    if (x >= 0 && x < 1000000) /* 2^64 and the answer */
        refused(t, p, str_fmt(a, "18446744073%lld", 709551616 + (long long)x));
    refused(t, p, str_fmt(a, "%lld", (long long)x + 1));
    refused(t, p, str_fmt(a, "%lld", (long long)x - 1));
    if (x) refused(t, p, str_fmt(a, "%lld", -(long long)x));
    refused(t, p, STR("99999999999999999999999999999999999999"));
    refused(t, p, STR("-9223372036854775808"));
}

static void forms(void **state) {
    Arena *a = *state;
    for (int64_t i = 0; i < tasks_n; i++) {
        TaskStream s = task_stream(tasks[i], 21, false);
        if (tasks[i] == task_of("countdown")) s.hardest = 3;
        for (int64_t k = 0; k < PROBLEMS; k++) {
            Problem p;
            const Mark mark = arena_mark(a);
            task_problem(&p, a, &s, k);
            assert_true(task_check(tasks[i], &p, p.answer));
            forms_are_refused(tasks[i], &p, a);
            scripts_are_refused(tasks[i], &p, a);
            overflow_is_refused(tasks[i], &p, a);
            arena_pop(a, mark);
        }
    }
}

/* Long answers: of one character, of several in turn, and the right one with much before or behind
 * it. Only blanks and line breaks around it do not count. */
static void megabytes(void **state) {
    Arena *a = *state;
    char *text = PUSH(a, char, MEGABYTE);
    for (int64_t i = 0; i < tasks_n; i++) {
        const TaskStream s = task_stream(tasks[i], 22, false);
        Problem p;
        task_problem(&p, a, &s, 0);
        const Str all = {text, MEGABYTE};
        char *tail = text + MEGABYTE - p.answer.n;
        for (const char *c = "0159(-+*/,.A \n\xe5\xff";; c++) { /* and the byte 0 */
            memset(text, *c, MEGABYTE);
            refused(tasks[i], &p, all);
            memcpy(tail, p.answer.p, (size_t)p.answer.n);
            if (*c != ' ' && *c != '\n') refused(tasks[i], &p, all);
            assert_int_equal(task_check(tasks[i], &p, all), *c == ' ' || *c == '\n');
            memset(tail, *c, (size_t)p.answer.n);
            memcpy(text, p.answer.p, (size_t)p.answer.n);
            assert_int_equal(task_check(tasks[i], &p, all), *c == ' ' || *c == '\n');
            if (!*c) break;
        }
        for (int64_t k = 0; k < MEGABYTE; k++) text[k] = p.answer.p[k % p.answer.n];
        refused(tasks[i], &p, all);
        for (int64_t k = 0; k < MEGABYTE; k++) text[k] = "(1+"[k % 3];
        refused(tasks[i], &p, all);
    }
}

/* The right answers to other problems, of this task and of all others. */
static void answers_of_others(void **state) {
    Arena *a = *state;
    for (int64_t i = 0; i < tasks_n; i++)
        for (int64_t j = 0; j < tasks_n; j++) {
            TaskStream s = task_stream(tasks[i], 23, false),
                       other = task_stream(tasks[j], 24, true);
            if (tasks[i] == task_of("countdown")) s.hardest = 3;
            if (tasks[j] == task_of("countdown")) other.hardest = 3;
            for (int64_t k = 0; k < 20; k++) {
                Problem p, o;
                const Mark mark = arena_mark(a);
                task_problem(&p, a, &s, k);
                task_problem(&o, a, &other, k);
                if (!str_eq(p.answer, o.answer)) refused(tasks[i], &p, o.answer);
                arena_pop(a, mark);
            }
        }
}

int attack_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(forms),
        ARENA_TEST(megabytes),
        ARENA_TEST(answers_of_others),
    };
    return cmocka_run_group_tests_name("attacks", tests, NULL, NULL);
}
