/* solve.h -- private to cli/: how many problems of a task a model solves. */
#pragma once
#include "cli/cli.h"

typedef struct SolveOpts {
    int64_t problems, samples; /* answers to each problem */
    int64_t seed, max_tokens;
    int64_t difficulty; /* of every problem; 0: the whole range of the task */
    double temperature; /* below 0: 0 with one sample, else 0.8 */
} SolveOpts;
#define SOLVE_OPTS(o)                                                                              \
    NUMBER_OPT(OPT_I64, "problems", "N", &(o).problems, "Problems of each task.", 1, 1000000),     \
        NUMBER_OPT(OPT_I64, "samples", "K", &(o).samples,                                          \
                   "Answers to each problem, for pass@K: one of them is right.", 1, 1024),         \
        NUMBER_OPT(OPT_I64, "difficulty", "N", &(o).difficulty,                                    \
                   "Difficulty of all problems, like the number of digits; 0: the task's whole "   \
                   "range.",                                                                       \
                   0, 1000),                                                                       \
        NUMBER_OPT(OPT_I64, "max-tokens", "N", &(o).max_tokens,                                    \
                   "Longest answer, thoughts included; a longer one is wrong.", 1, 1 << 20),       \
        NUMBER_OPT(OPT_F64, "temperature", "X", &(o).temperature,                                  \
                   "Randomness of the answers (default: 0 with one sample, else 0.8).", 0, 100),   \
        NUMBER_OPT(OPT_I64, "seed", "N", &(o).seed, "Of the problems and of the answers.", 0, 0)

/* A share of the problems with its 95 % interval (Wilson 1927). */
typedef struct Rate {
    double rate, low, high;
} Rate;
/* Of `n` problems, each right by a share between 0 and 1, `right` being their sum. */
Rate rate_of(double right, int64_t n);

typedef struct Solved {
    int64_t problems, samples;
    int64_t unfinished; /* answers that were cut at max_tokens */
    Rate pass_1;        /* an answer is right */
    Rate pass_k;        /* one of the samples is */
} Solved;
/* ERR_USAGE for the first that is none. */
bool tasks_known(const OptList *task, Err *err) CHECKED;
/* Asks the model of an open session held-out problems of each task, all in one running batch, on
 * the panels that the session has already; spec is a fresh one. A model with a chat template is
 * asked as a user asks it. */
bool tasks_solve(Solved *out, Session *s, PlanSpec spec, const OptList *task, const SolveOpts *o,
                 Err *err) CHECKED;
