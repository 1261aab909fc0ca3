/* tests.h -- what the tests of hostile input share: a scratch folder with a model in it, and a
 * child process that tries what may kill it. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "support/need.h"
#include "support/try.h"

/* One arena and one empty folder a test; a cmocka setup and its teardown. */
typedef struct Scratch {
    Arena *a;
    const char *folder;
} Scratch;
int scratch_open(void **state);
int scratch_close(void **state);
#define HOSTILE_TEST(fn) cmocka_unit_test_setup_teardown(fn, scratch_open, scratch_close)

Str bytes_of(Arena *a, const char *path);
/* Writes bytes as `name` of the scratch folder, plainly; returns the path. */
const char *file_put(Scratch *s, const char *name, Str bytes);

/* Calls fn in a child process, which is to end by itself within `seconds`, well. fn says with
 * `note` what it is at; a test fails with what was said last when the child dies or fails. */
typedef void Trial(Scratch *s, void *arg);
void trial_run(Scratch *s, Trial *fn, void *arg, unsigned seconds);
void note(const char *fmt, ...) FORMAT(1, 2);
/* In the child: it failed, for the reason noted and this one. */
_Noreturn void trial_fail(const char *fmt, ...) FORMAT(1, 2);

/* In the child: what `lisao run` does with `path`. Ends it unless the model ran or the error names
 * a file of the folder, and unless little memory was taken beside twice `bytes`. Returns whether it
 * ran. */
bool model_tried(Scratch *s, const char *path, int64_t bytes, Team *team, Err *err);

int damage_tests(void), shape_tests(void);
