/* tests.h -- what the tests of infer/ share: random numbers, an arena a test, tiny models in an
 * engine. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "infer/parts.h"
#include "support/need.h"

/* A number below n; each call another, the same in every run. */
typedef struct Dice {
    uint64_t seed, n;
} Dice;
int64_t dice(Dice *d, int64_t n);
float dice_unit(Dice *d);
float dice_normal(Dice *d); /* about: the sum of twelve units less six */

/* cmocka's state is an Arena, new for each test. */
int arena_setup(void **state);
int arena_teardown(void **state);
#define ARENA_TEST(fn) cmocka_unit_test_setup_teardown(fn, arena_setup, arena_teardown)

/* Number i of some that use every setting: greedy, drawn, cut, and with all penalties. */
Sampling sampling_of(int64_t i);

/* Groups; each returns the number of failed tests. */
int sampler_tests(void), page_tests(void), prefix_tests(void), engine_tests(void),
    speculate_tests(void), training_tests(void), memory_tests(void), disk_tests(void),
    mtp_tests(void);
/* What a test of memory runs in a process of its own. */
int peak_measure(const char *model);
