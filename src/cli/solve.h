/* solve.h -- private to cli/: how many problems of a task a model solves. */
#pragma once
#include "cli/cli.h"
#include "tasks/tasks.h"

enum { SOLVE_KS = 8, SOLVE_BUDGETS = 16 };
typedef struct SolveOpts {
    const char *k_list, *budget_list, *transcripts; /* NULL: not given */
    int64_t problems, samples;                      /* samples 0: as many as the largest k */
    int64_t seed, max_tokens, together;
    double temperature; /* below 0: 0 with one sample, else 1 */
    /* By solve_read: */
    int64_t k[SOLVE_KS], n_k;
    int64_t budget[SOLVE_BUDGETS], n_budget; /* of thoughts; -1: none */
} SolveOpts;
#define SOLVE_OPTS(o)                                                                              \
    TEXT_OPT("k", "LIST", &(o).k_list,                                                             \
             "Measure pass@k for each of these: 1,8 (default: 1). It is estimated without bias "   \
             "from all samples of a problem."),                                                    \
        NUMBER_OPT(OPT_I64, "n", "N", &(o).problems, "Problems of each task.", 1, 1000000),        \
        NUMBER_OPT(OPT_I64, "samples", "N", &(o).samples,                                          \
                   "Answers to each problem; 0: as many as the largest k.", 0, 1024),              \
        NUMBER_OPT(OPT_F64, "temperature", "T", &(o).temperature,                                  \
                   "Randomness of the answers (default: 0 with one sample, else 1).", 0, 100),     \
        NUMBER_OPT(OPT_I64, "seed", "S", &(o).seed, "Of the problems and of the answers.", 0, 0),  \
        NUMBER_OPT(OPT_I64, "max-tokens", "N", &(o).max_tokens,                                    \
                   "Longest answer, thought included; a longer one is wrong.", 1, 1 << 20),        \
        TEXT_OPT("think-budget", "LIST", &(o).budget_list,                                         \
                 "Measure with thoughts that end after so many tokens: 0,16,64 or an "             \
                 "effort, " THOUGHT_EFFORTS "; none: without a budget."),                          \
        NUMBER_OPT(OPT_I64, "together", "N", &(o).together,                                        \
                   "Most answers at once, fewer where memory does not hold them; 0: 32 for each "  \
                   "thread, up to 512. Results are the same bits.",                                \
                   0, 512),                                                                        \
        TEXT_OPT("transcripts", "FILE", &(o).transcripts,                                          \
                 "Write every answer there, a JSON object a line: task, stratum, problem, "        \
                 "prompt, reasoning, answer, right, finish, tokens.")

/* Reads the lists, and fills in what they decide. */
bool solve_read(SolveOpts *o, Err *err) CHECKED;

/* A share of the problems with its 95 % interval (Wilson 1927). */
typedef struct Rate {
    double rate, low, high;
} Rate;
/* Of `n` problems, each right by a share between 0 and 1, `right` being their sum. */
Rate rate_of(double right, int64_t n);
/* The share of choices of k answers out of n of which one at least is among the c right ones: of
 * pass@k what n samples say without bias (Chen et al. 2021). */
double pass_at(int64_t n, int64_t c, int64_t k);

/* What was measured of a task, or of one of its strata. */
typedef struct Tally {
    const char *stratum; /* NULL: the whole */
    int64_t problems, answers;
    double right[SOLVE_KS]; /* sums of pass@k over the problems */
    int64_t formed, unfinished, tokens;
} Tally;
typedef struct Solved {
    Tally of[1 + STRATA_MAX]; /* the whole, then the strata */
    int64_t n;
} Solved;

/* A model that is asked, for as long as its session is open. */
typedef struct Solver Solver;
/* On the panels that the session has already; spec is a fresh one. ERR_USAGE for a task that is
 * none. */
bool solver_open(Solver **v, Session *s, PlanSpec spec, const OptList *task, const SolveOpts *o,
                 Err *err) CHECKED;
/* Held-out problems of task number `task`, under one budget. transcripts: NULL or a file; `model`
 * stands in it. */
bool task_solve(Solved *out, Solver *v, int64_t task, int64_t budget, OutFile *transcripts,
                const char *model, Err *err) CHECKED;
/* ERR_USAGE for the first that is none. */
bool tasks_known(const OptList *task, Err *err) CHECKED;
