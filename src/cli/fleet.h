/* fleet.h -- private to cli/: the models of `lisao serve`: opened at the start, their memory
 * counted, loaded and unloaded when the service says so. */
#pragma once
#include "cli/cli.h"
#include "serve/serve.h"

enum { FLEET_MOST = 64 };

/* What may be said of each model; options of the command line are all models' defaults. */
typedef struct ModelSettings {
    const char *path; /* or its name in the cache */
    const char *name; /* NULL: its file's */
    const char *idle; /* "10m"; NULL: it stays */
    int64_t context, parallel;
    ModelOpts opts;
} ModelSettings;

typedef struct FleetSpec {
    const ModelSettings *model; /* (n) */
    int64_t n;
    int64_t queue, memory; /* bytes for all that are loaded; 0: what the machine has */
    const char *prompts;   /* folder; NULL: none are kept on disk */
    int64_t prompt_bytes;  /* for each model */
    bool guests;           /* fleet_invite will be called */
} FleetSpec;

typedef struct Fleet Fleet;
/* Opens all of them, in `a`; one that would not fit even alone is an error. fleet_close also after
 * a failure. */
bool fleet_open(Fleet **f, Arena *a, const FleetSpec *spec, Err *err) CHECKED;
const ServeModel *fleet_models(const Fleet *f); /* (n) */
/* ServeSpec.open and shut, with the fleet as arg: one more, with the settings of the first,
 * unloaded when nobody has asked it for five minutes. */
bool fleet_invite(void *fleet, const char *path, const char *name, ServeModel *m, Err *err) CHECKED;
void fleet_dismiss(void *fleet, const ServeModel *m);
void fleet_close(Fleet *f); /* NULL is fine */
/* "10m", "30s", "2h", "90": seconds. */
bool duration_read(double *seconds, const char *text, Err *err) CHECKED;
