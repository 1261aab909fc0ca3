/* budget.h -- private to model/: memory that is added up before any of it is taken.
 *
 * What builds something pushes all of it through a Budget, and is called twice: first with a Budget
 * that only counts, then, if the sum may be had, with one that allocates. So the sum cannot forget
 * what is allocated. */
#pragma once
#include "model/model.h"

typedef struct Budget {
    Arena *big;     /* for what is counted; NULL: only counting */
    Arena *small;   /* for the structs themselves, which are not counted */
    Plan *p;        /* what is built; NULL while panels are built for themselves */
    int64_t taken;  /* bytes since the last item */
    int64_t pushed; /* of all items, those that stand in `big` in the end */
    BudgetItem item[BUDGET_ITEMS];
    int64_t n_items, bytes; /* the items and their sum */
    bool whole;             /* program and model are among them: the sum is the process's peak */
} Budget;

void *budget_take(Budget *r, int64_t bytes);
/* For memory that the first step reads or writes anyway: a machine that cannot give it says so now
 * and not in the middle of an answer. */
void *budget_touched(Budget *r, int64_t bytes);
static inline float *budget_f32(Budget *r, int64_t n, int64_t k) {
    return budget_touched(r, n * k * 4);
}
static inline int32_t *budget_i32(Budget *r, int64_t n, int64_t k) {
    return budget_touched(r, n * k * 4);
}
void budget_item(Budget *r, const char *what); /* what was taken since the last item */
void budget_put(Budget *r, const char *what, int64_t bytes); /* held elsewhere, or only at times */
/* The caller will push it, beside what is built. */
void budget_later(Budget *r, const char *what, int64_t bytes);
/* Takes the memory that was counted from the system, in `a`, so that no push of it can fail;
 * false, with numbers, where the system has not got it although it looked so. */
bool budget_reserve(const Budget *r, Arena *a, Err *err) CHECKED;
/* The program and the model: the first items of whoever makes panels. */
void budget_model(Budget *r, const Model *m);
/* false, naming the three largest items, when the sum exceeds `limit`; 0: what the machine has
 * free. */
bool budget_check(const Budget *r, int64_t limit, Err *err) CHECKED;
