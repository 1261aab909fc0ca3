/* tests.h -- what the tests of model/ share: a model opened from a folder, and a sequence run
 * through it. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include "model/model.h"
#include "support/must.h"
#include "support/need.h"

int test_config(void);
int test_config_gguf(void);
int test_rope(void);
int test_table(void);
int test_oracles(void);
int test_quantised(void);
int test_types(void);
int test_folders(void);
int test_mtp(void);
int test_gguf(void);
int test_plan(void);
int test_back(void);
int test_packed(void);
int test_head(void);
int test_smollm2(void);
/* What no model has as a size, and sums of which overflow. */
static inline bool extreme_refused(const Err *err, const char *key) {
    return strstr(err->msg, key) || strstr(err->msg, "do not fit together");
}
static const int64_t EXTREMES[] = {INT64_MIN,        INT64_MIN + 1, INT32_MIN, -1,
                                   (int64_t)1 << 40, INT64_MAX - 1, INT64_MAX};
int test_peak(void);
int test_shifted(void);
int test_fingerprint(void);

/* What the test of peaks runs in a process of its own. */
int peak_measure(const char *file, const char *act);
/* The parsed file; the test fails when it cannot be read. */
json_t *json_of(Arena *a, const char *path);

typedef struct Opened {
    Arena *a;
    Team *team;
    Store *store;
    Model *model;
    Plan *plan;
} Opened;
void opened(Opened *o, const char *path, int64_t threads);
void opened_mtp(Opened *o, const char *path, int64_t threads, int64_t mtp);
void planned(Opened *o, PlanSpec spec); /* sizes that are 0 are set to fit one sequence of 256 */
void closed(Opened *o);

typedef struct Result {
    float *logits; /* (T, V) */
    float *hidden; /* (L+2, T, C) */
    int32_t *expert;
    float *expert_weight; /* (T, L, K) */
} Result;
/* One sequence in chunks of `chunk` rows (0: all at once), all logits and experts wanted; with
 * `hidden` every hidden state too. */
Result ran(Opened *o, const int32_t *ids, int64_t T, int64_t chunk, bool hidden);

double largest_difference(const float *x, const float *y, int64_t n);
