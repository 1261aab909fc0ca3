/* kern_test.h -- shared by the tests of kern/: guarded memory, random numbers of several kinds,
 * threads, comparing. */
#pragma once
#include "kern/pack.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "support/level.h"
#include "support/need.h"

/* ---- memory between two pages that must not be touched --------------------------------------- */

typedef enum Side { AT_START, AT_END } Side; /* which end lies flush against its guard page */
/* Zeroed; freed all at once by guard_reset. AT_END: the last byte is the last of the page, as far
 * as `align` lets it. */
void *guard_new(int64_t bytes, int64_t align, Side side);
void guard_reset(void);
#define NEW(T, n) ((T *)guard_new((int64_t)sizeof(T) * (n), 64, AT_START))

/* ---- numbers --------------------------------------------------------------------------------- */

/* MILD: within +-1. SPREAD: exponents -30..30. EDGE: extremes, subnormals, zeros of both signs,
 * powers of two. WILD: EDGE, infinities and NaN. */
typedef enum Fill { MILD, SPREAD, EDGE, WILD } Fill;
extern uint64_t test_seed; /* LISAO_TEST_SEED, else fixed; printed when a test fails */
uint32_t draw(void);
int64_t draw_to(int64_t lo, int64_t hi); /* lo..hi */
float draw_float(Fill f);
void fill_floats(float *x, int64_t n, Fill f);
float *new_floats(int64_t n, Fill f);
float round_bf16(float x); /* an independent rounding: by the arithmetic of f64 */

/* ---- threads --------------------------------------------------------------------------------- */

extern const int64_t thread_counts[4]; /* 1, 2, 3, 5 */
void on_threads(int64_t threads, void (*fn)(Thread th, void *arg), void *arg);
void teams_close(void);

/* ---- comparing ------------------------------------------------------------------------------- */

/* Equal bits; a NaN equals any NaN. Fails naming the first difference. */
void same_floats(const float *got, const float *want, int64_t n, const char *what, ...)
    FORMAT(4, 5);
void same_bytes(const void *got, const void *want, int64_t n, const char *what, ...) FORMAT(4, 5);
/* |got - want| <= tol * sum, where sum is the sum of the magnitudes that went into want. */
void near_double(double got, double want, double sum, double tol, const char *what, ...)
    FORMAT(5, 6);

/* ---- the groups ------------------------------------------------------------------------------ */

void kern_fill_contract(Kern *k); /* the contract once more: contract.c */
int test_math(void);
int test_levels(void);
int test_order(void);
int test_forward(void);
int test_sets(void);
int test_threads(void);
int test_back(void);
int test_quantise(void);
