/* training.h -- private to serve/: the training runs of a folder, for those who watch them. */
#pragma once
#include "runs/runs.h"
#include "serve/api.h"

enum { VIEWS = 8 };
typedef struct Feeds Feeds;

/* Runs that were asked for last stay read as far as they were. */
struct Training {
    Feeds *feeds;
    Monitor *opens; /* a checkpoint */
    Monitor *lock;  /* of what is below */
    RunView *view[VIEWS];
    double used[VIEWS];
};

bool feeds_open(Feeds **f, Arena *a, Api *api, Err *err) CHECKED; /* and its thread */
void feeds_close(Feeds *f);                                       /* ends them all; NULL is fine */
int64_t feeds_count(const Feeds *f); /* that are open or begin; under the API's lock */
/* Whether this server shows runs; else the call's 404. */
bool runs_shown(Call *c);
bool run_missing(Call *c, Str id); /* sets the call's 404 of an id; false */
