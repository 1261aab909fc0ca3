/* prop.h -- what the files of tests/prop share. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "support/level.h"
#include "support/rig.h"

/* ---- covering tables (cover.c) --------------------------------------------------------------- */

enum { COVER_AXES = 9, COVER_VALUES = 8 };
typedef struct Cell {
    int64_t at[COVER_AXES];
} Cell; /* which value on each axis */
/* Cells in which each pair of values of two axes meets at least once; sizes: values on each axis.
 * Returns how many. */
int64_t cover_pairs(Cell *cell, int64_t most, const int64_t sizes[COVER_AXES], uint64_t seed);
/* Looks for each pair. */
bool cover_whole(const Cell *cell, int64_t n, const int64_t sizes[COVER_AXES]);
Cell cover_random(const int64_t sizes[COVER_AXES], uint64_t seed, int64_t i);

/* ---- golden hashes (golden.c) ---------------------------------------------------------------- */

/* tests/golden/hashes.txt: one "key hash" a line; keys have no blanks. */
typedef struct Golden {
    int64_t n;
    struct {
        char key[96], hex[65];
    } line[1024];
} Golden;
void golden_load(Golden *g);                               /* empty when there is no file */
const char *golden_find(const Golden *g, const char *key); /* NULL: unknown */
void golden_put(Golden *g, const char *key, const char *hex);
bool golden_save(const Golden *g, Err *err);

/* ---- groups ---------------------------------------------------------------------------------- */

int samebits_tests(void), training_tests(void), thought_tests(void); /* the number of failures */
/* Golden hashes anew, where the models are there and their names hold `only`. */
int samebits_write(const char *only);
