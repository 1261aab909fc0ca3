/* report.h -- private to cli/: the metrics of runs, read for `lisao report`. */
#pragma once
#include "base/base.h"
#include "runs/runs.h"

#include <jansson.h>

/* One object a step, ascending: what all lines of metrics.jsonl say of it, and "elapsed", the
 * seconds of training until then. */
typedef struct RunMetrics {
    const char *name, *path; /* for people; of metrics.jsonl */
    json_t *row;             /* array; the caller's to end */
    json_t *answers;         /* the lines of rollouts.jsonl, likewise; NULL: there are none */
    int64_t unreadable;      /* lines that were none */
} RunMetrics;
/* `run`: the folder of a run, or a metrics.jsonl. */
bool run_metrics(RunMetrics *m, Arena *a, const char *run, Err *err) CHECKED;

/* The page with everything in it (report_page.c), and a table with a line for each run and step.
 * measured: NULL, or what models_measure found of models and budgets. */
bool report_html(Buf *out, const RunMetrics *run, int64_t n, const json_t *measured,
                 Err *err) CHECKED;
void report_csv(Buf *out, const RunMetrics *run, int64_t n);
