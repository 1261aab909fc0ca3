/* tests.h -- what the tests of data/ share. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "data/data.h"
#include "support/bytes.h"

/* cmocka's state is an Arena, new for each test. */
int arena_setup(void **state);
int arena_teardown(void **state);
#define ARENA_TEST(fn) cmocka_unit_test_setup_teardown(fn, arena_setup, arena_teardown)

/* A number below n; each call another, the same in every run. */
int64_t dice(int64_t n);
void file_write(Arena *a, const char *path, Str bytes);

int shard_tests(void), loader_tests(void), texts_tests(void), made_tests(void);
int conversation_tests(void);
