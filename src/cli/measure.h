/* measure.h -- private to cli/: models side by side. */
#pragma once
#include "cli/score.h"
#include "cli/solve.h"

typedef struct json_t json_t;
typedef struct MeasureOpts {
    ModelOpts model;
    Windows windows;
    const char *text; /* NULL: none */
    OptList task;
    SolveOpts solve; /* as solve_read left it */
    bool json;       /* no table is printed */
} MeasureOpts;
/* Measures each model and prints the table; *out, the caller's to end, has an object for each model
 * and budget, and is NULL only before anything was done. */
bool models_measure(json_t **out, const MeasureOpts *o, Arena *a, const char *const *model,
                    int64_t n, Err *err) CHECKED;
