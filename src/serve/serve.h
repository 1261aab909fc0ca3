/* serve.h -- the public header of serve/: a model as a service, by the APIs of OpenAI, DeepSeek and
 * Anthropic.
 *
 * Promises: an answer depends on its own request only, not on who else is served, and names what it
 * can be computed again by. Nothing in a request is trusted. Without a key nobody is let in, unless
 * that was asked for, and then from this machine only.
 * Threads: the calling thread becomes that of all engines; HTTP has threads of its own, which see
 * no more of a model than its tokenizer and template; another one loads and unloads.
 * Ownership: models stay the caller's.
 *
 * docs/api.md describes the routes. */
#pragma once
#include "answer/answer.h"
#include "serve/backup.h"
#include "serve/documents.h"
#include "serve/keys.h"

/* A model that is served. Its bundle is open all the while, so that requests are read and refused
 * at once; its engine, with the weights as they are computed with, is there from load to unload. */
typedef struct ServeModel {
    const char *name; /* that requests and answers give it */
    Bundle *bundle;
    int64_t context; /* most tokens of a prompt and its answer */
    int64_t created; /* of the model's file; seconds since 1970 */
    int64_t bytes;   /* what loading takes, by its plan */
    double idle;     /* seconds without a request after which it is unloaded; 0: it stays */
    /* At the start, or on the loader's thread, never both at a time. limit: bytes that it may take;
     * 0: what is free. fingerprint: of the plan; copied. */
    bool (*load)(void *arg, int64_t limit, Engine **engine, const char **fingerprint, Err *err);
    void (*unload)(void *arg);
    /* A file of its weights that was written to since it was opened; NULL: none. Weights that are
     * not packed are read from there in every step. From any thread. NULL: it has no files. */
    const char *(*changed)(void *arg);
    void *arg;
} ServeModel;

typedef struct ServeSpec {
    const char *host; /* an address; "localhost" */
    int64_t port;     /* 0: any that is free */
    const char *unix_path, *tls_cert, *tls_key;
    const char *api_key;  /* the only key; NULL: those of keys.h in `data` */
    const char *data;     /* NULL: data_folder */
    bool no_keys;         /* none is asked for; refused on a public address */
    bool no_first_key;    /* where there are no keys, none is made */
    const char *log;      /* "text", "json" or "none": lines on standard error for requests */
    int64_t socket;       /* that systemd handed over; 0: none */
    bool no_sandbox;      /* what the process may do is not narrowed once it serves */
    bool history;         /* conversations of the page are kept in `data` */
    int64_t history_days; /* since they were written to; 0: for good */
    bool documents;       /* answers may be taken from the documents of `data` (lisao index) */
    const char *runs;     /* folder of training runs that are shown; NULL: none are */
    /* Has a search engine answer a query: bytes of anybody, in JSON (SearXNG). ERR_LIMIT: as many
     * searches go on as may, which is `web_most`. From any thread. NULL: there is no engine. */
    bool (*web)(void *arg, Arena *a, Str query, Str *answer, Err *err);
    void *web_arg;
    int64_t web_most;
    Helpers *readers; /* of readers_open; the caller's; NULL: attached files are not read */
    bool writes;      /* the caller's engines do, beneath `data`, keys or not */
    /* On SIGHUP, from another thread: the settings as they are now, of which a key may change while
     * the service runs. said: a line for each other change. */
    bool (*reload)(void *arg, Arena *a, const char **api_key, Buf *said, Err *err);
    void *reload_arg;
    const ServeModel *model; /* (n_models) the first is who answers where none is named */
    int64_t n_models;        /* one is loaded at the start and has any name; more on demand */
    /* Opens the model of a folder under a name, as one more: a checkpoint of `runs`. Its functions
     * are called until `shut`. From any thread, one at a time; `shut` from any. NULL: none is. */
    bool (*open)(void *arg, const char *path, const char *name, ServeModel *m, Err *err);
    void (*shut)(void *arg, const ServeModel *m);
    void *open_arg;
    int64_t memory; /* bytes for all that are loaded; 0: what the machine has */
    int64_t connections, queue;
    double alive; /* seconds without a word until a stream shows that it lives; an answer that is
                   * no stream waits three times as long at first; 0: never */
    const char *const *names; /* (n_names) Host names that are let in */
    int64_t n_names;
    const char *version; /* of the program */
} ServeSpec;

/* Processes that read the PDF and HTML files that somebody attaches to a question (POST /extract):
 * to be opened while this process has one thread, and closed by helpers_close. */
enum { FILE_READERS = 2, EXTRACT_MOST = 16 << 20 }; /* so many at a time; most bytes of a file */
bool readers_open(Helpers **readers, Arena *a, Err *err) CHECKED;
/* Serves until it is interrupted (os_interrupted): then no new request is let in, and those under
 * way are answered, for up to 30 seconds or until a second interrupt. `ready` is called once
 * requests are answered, with the address and, where this start made one, the first key. */
bool serve_run(const ServeSpec *spec,
               void (*ready)(void *arg, const char *address, const char *key), void *arg,
               Err *err) CHECKED;
/* Bytes for all models that are loaded at a time, of ServeSpec.memory. */
int64_t serve_memory(int64_t memory);
/* The routes and what their requests may say, as tables in Markdown: docs/api.md has them. */
void serve_describe(Buf *out);
