/* hosted.h -- private to serve/: the models that are served, which of them are loaded, and the
 * thread that loads and unloads.
 *
 * The engine thread decides (hosts_next) and orders; the loader does one thing at a time. A model
 * that is loading or leaving is the loader's, any other the engine thread's.
 *
 * Behind the spec's models there are places for guests: models that are opened while it serves
 * (ServeSpec.open). A guest that is not loaded and that nobody uses makes room for another one. */
#pragma once
#include "serve/serve.h"

enum { GUESTS = 8 };
typedef enum HostState { HOST_OUT, HOST_LOADING, HOST_IN, HOST_LEAVING } HostState;

struct Api;
typedef struct Hosted {
    /* Stay what they are while there are users. */
    const ServeModel *spec; /* NULL: the place of a guest, and there is none */
    Bundle *bundle;
    Lexicon *lexicon; /* of the model's tokens; NULL: it has no end tokens */
    Arena *guest;     /* of a guest: spec and lexicon */
    /* The API's lock guards these. */
    int64_t users; /* calls, jobs and orders that have it */
    HostState state;
    bool failed;          /* to load, the last time; the engine thread takes it back */
    double invited;       /* a guest: when it came */
    bool unwanted;        /* a guest: another one wants its place */
    char fingerprint[65]; /* of its plan, hexadecimal; empty until it was loaded once */
    Engine *engine;       /* NULL unless it is in */
    int64_t limit;        /* what loading may take */
    /* The engine thread's. */
    int64_t jobs, held; /* in its engine; that wait for it */
    double since, used; /* when the first of those came; when it last had a job */
    bool watched;       /* its files, in this step */
    bool stale;         /* one was written to: it answers no more; set under the lock */
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

/* api->host of the spec's models and guests' places, in `a`. */
bool hosts_open(struct Api *api, Arena *a, Err *err) CHECKED;
/* Loads a model, on this thread; for the start, before the loader's thread is there. */
bool host_load(struct Api *api, Hosted *m, Err *err) CHECKED;
bool loader_open(struct Api *api, Arena *a, Err *err) CHECKED; /* its thread */
void hosts_close(struct Api *api); /* ends the thread and unloads all; hosts_open may have failed */

/* Gives the loader an order; m->state is LOADING or LEAVING from then on. */
void host_order(struct Api *api, const HostOrder *order);
HostState host_state(struct Api *api, const Hosted *m);
/* The model of this name, taken; NULL: there is none. One that is served alone has any name but a
 * guest's, and the first is "lisao", too, as the page calls whom it talks to. */
Hosted *host_find(struct Api *api, Str name);
Hosted *host_at(struct Api *api, int64_t i); /* the same, by its place; NULL: it is empty */
void host_take(struct Api *api, Hosted *m);  /* who has it already gives it to another one */
void host_leave(struct Api *api, Hosted *m);
/* Opens the model of a folder as a guest of this name; one that is there already is taken as it is.
 * By one thread at a time. ERR_LIMIT: all places are taken; where a guest is there that nobody uses
 * it is unloaded now, and the same may be tried again. */
bool host_invite(struct Api *api, const char *path, const char *name, Err *err) CHECKED;
