/* fetch.h -- the public header of fetch/: models from the network, into a folder of this machine;
 * and questions to a model or a search engine that somebody else runs.
 *
 * Promises: a model appears under its name whole and checked, or not at all. What a cut line, an
 * interrupt or a full disk leaves is kept beside the models, and the same call goes on from there;
 * two calls at once, for the same model too, do not harm each other. Names, sizes and addresses
 * that a server gives are data from outside: no file is written elsewhere, and nothing that a
 * server sends is taken without a bound. The token goes to the endpoint and to no other host. Only
 * https, unless the address that the caller gave says http or is this machine.
 * Ownership: results live in the caller's arena. Threads: one at a time.
 *
 * The only user of libcurl (docs/decisions/009-libcurl.md). It knows no model format: what GGUF and
 * Hugging Face call their files is all it goes by. */
#pragma once
#include "base/base.h"

typedef struct FetchSpec {
    /* OWNER/NAME[@REVISION][:FILE or :TYPE] of a model hub, with or without "hf:" before it, or the
     * address of a GGUF file, or of a page of the hub. A type is a quantisation as files are named
     * after it (Q4_K_M), without regard for case. Without either it is the whole folder
     * (safetensors and what belongs to them), else the GGUF file that most machines run well. Of a
     * split file all parts are fetched. */
    const char *source;
    const char *folder;   /* where models stand; made if it is missing */
    const char *endpoint; /* the hub; NULL: https://huggingface.co */
    const char *token;    /* NULL: none */
    const char *sha256;   /* that an address's file must have; NULL: what the server says it has */
    bool cached;          /* what is there from an earlier call is good as it is: no network */
} FetchSpec;

typedef struct Fetched {
    const char *name, *path; /* in the folder; of a split file its first part */
    int64_t files, bytes;    /* of the model */
    int64_t received, kept;  /* bytes from the network now, and from an earlier call */
    const char *sha256;      /* of a single file, as it was checked or found; else NULL */
    bool checked;            /* there was a SHA-256 to hold it against */
} Fetched;

bool fetch_model(Fetched *out, Arena *a, const FetchSpec *spec, Err *err) CHECKED;

/* Questions in JSON to an address, one after the other, over a connection that stays where the
 * server lets it. Where the line is cut or the server is busy a question is asked again. Everything
 * lives in the arena of post_open; answers, of 64 MB at most, in that of post_ask. */
typedef struct Post Post;
bool post_open(Post **p, Arena *a, const char *address, const char *token, Err *err) CHECKED;
bool post_ask(Post *p, Arena *a, Str json, Str *answer, Err *err) CHECKED;
void post_close(Post *p); /* NULL is fine */

/* A search engine with the API of SearXNG, asked by processes of their own (base/helper.h) that are
 * there before this one gives up opening connections. Only its address is ever asked: of a public
 * one https, and its name must lead to a public address each time; http on this machine. No
 * redirect is followed, no proxy used, no page that a result names is fetched. */
typedef struct WebSearch WebSearch;
enum { WEB_SEARCHES = 4 }; /* that go on at once */
/* While this process has one thread. address: where the engine's front page is. */
bool websearch_open(WebSearch **w, Arena *a, const char *address, Err *err) CHECKED;
/* What the engine answers to GET ADDRESS/search?q=QUERY&format=json: at most 1 MB, within 8 s, of
 * anybody. From any thread. ERR_LIMIT: as many searches go on as may. */
bool websearch_ask(WebSearch *w, Arena *a, Str query, Str *answer, Err *err) CHECKED;
void websearch_close(WebSearch *w); /* NULL is fine */

/* What earlier calls began in a folder and did not end: the same call goes on from there. */
typedef struct Unfinished {
    const char *source; /* OWNER/NAME, or "address" */
    const char *file;   /* that was under way */
    int64_t bytes;      /* kept, of all its files */
} Unfinished;
bool fetch_unfinished(Unfinished **out, int64_t *n, Arena *a, const char *folder, Err *err) CHECKED;
