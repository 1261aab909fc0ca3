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

int stream_tests(void), digits_tests(void), countdown_tests(void), word_problem_tests(void),
    liars_tests(void), file_tests(void), attack_tests(void);
