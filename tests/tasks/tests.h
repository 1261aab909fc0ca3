/* tests.h -- what the tests of tasks/ share. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tasks/tasks.h"

/* cmocka's state is an Arena, new for each test. */
int arena_setup(void **state);
int arena_teardown(void **state);
#define ARENA_TEST(fn) cmocka_unit_test_setup_teardown(fn, arena_setup, arena_teardown)

/* Whether the task's check takes the text as the problem's answer. */
bool takes(const Task *t, const Problem *p, const char *answer);
const Task *task_of(const char *name);

/* What a problem says, told by the test, beside its canonical form. */
typedef struct Pair {
    const char *form, *canonical;
    bool zh;
} Pair;
/* One is the same exactly where the other is; that occurs among more than `same` neighbours, and in
 * more than `across` of them in two languages. Sorts them. */
void pairs_agree(Pair *pair, int64_t n, int64_t same, int64_t across);

int stream_tests(void), about_tests(void), digits_tests(void), countdown_tests(void),
    word_problem_tests(void), liars_tests(void), file_tests(void), attack_tests(void);
