/* hosted.h -- private to serve/: the models that are served, which of them are loaded, and the
 * thread that loads and unloads.
 *
 * The engine thread decides (hosts_next) and orders; the loader does one thing at a time. A model
 * that is loading or leaving is the loader's, any other the engine thread's. */
#pragma once
#include "serve/serve.h"

typedef enum HostState { HOST_OUT, HOST_LOADING, HOST_IN, HOST_LEAVING } HostState;

struct Api;
typedef struct Hosted {
    const ServeModel *spec;
    Bundle *bundle;
    Lexicon *lexicon; /* of the model's tokens; NULL: it has no end tokens */
    /* The API's lock guards these. */
    HostState state;
    bool failed;          /* to load, the last time; the engine thread takes it back */
    char fingerprint[65]; /* of its plan, hexadecimal; empty until it was loaded once */
    Engine *engine;       /* NULL unless it is in */
    int64_t limit;        /* what loading may take */
    /* The engine thread's. */
    int64_t jobs, held;  /* in its engine; that wait for it */
    double since, used;  /* when the first of those came; when it last had a job */
    bool stale, watched; /* a file of it was written to: it answers no more; looked at this step */
} Hosted;

typedef enum HostAct { HOST_REST, HOST_LOAD, HOST_UNLOAD, HOST_REFUSE } HostAct;
typedef struct HostOrder {
    HostAct act;
    Hosted *m;           /* NULL: HOST_REST */
    int64_t limit, busy; /* for HOST_LOAD; bytes of those that answer now */
} HostOrder;
/* What to do next with n models in so much memory, `now` seconds: load the one for which a job has
 * waited longest, where it fits beside the others; else unload one without jobs for it, that which
 * was used longest ago; where all of those would not do, refuse its jobs. One whose idle time is
 * over is unloaded. Nothing while something is under way. */
HostOrder hosts_next(Hosted *m, int64_t n, int64_t memory, double now);

/* api->host of the spec's models, in `a`. */
bool hosts_open(struct Api *api, Arena *a, Err *err) CHECKED;
/* Loads a model, on this thread; for the start, before the loader's thread is there. */
bool host_load(struct Api *api, Hosted *m, Err *err) CHECKED;
bool loader_open(struct Api *api, Arena *a, Err *err) CHECKED; /* its thread */
void hosts_close(struct Api *api); /* ends the thread and unloads all; hosts_open may have failed */

/* Gives the loader an order; m->state is LOADING or LEAVING from then on. */
void host_order(struct Api *api, const HostOrder *order);
HostState host_state(struct Api *api, const Hosted *m);
/* The model of this name; NULL: there is none. One that is served alone has any name, and the first
 * is "lisao", too, as the page calls whom it talks to. */
Hosted *host_find(struct Api *api, Str name);
