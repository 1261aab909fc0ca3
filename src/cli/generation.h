/* generation.h -- private to cli/: one request under way in an engine. */
#pragma once
#include "cli/guard.h"
#include "cli/request.h"

/* What is generated becomes text in the moment it comes. */
typedef struct Generation {
    const Bundle *bundle;
    Engine *engine;
    /* Text for the reader as it comes, thoughts and answer apart; NULL: nobody looks on. */
    void (*show)(void *arg, Str text, bool thought);
    void *arg;
    Guard *guard; /* the caller's: ends an answer that repeats itself; NULL: none */
    bool looped;  /* it did */
    Decoder decoder;
    Stops stops;
    Splitter splitter;
    bool plain;
    Buf text, reasoning, calls; /* answer, thoughts and tool calls so far */
    Buf piece, passed;          /* of this token; of that, what stands before a stop string */
    Token *token, *top;         /* top: the n_top likeliest at each place */
    int64_t n, room;            /* generated, the end token included; the lists take so many */
    bool full;                  /* there was no memory for longer lists, and it was ended */
    int64_t seq, n_prompt, n_top;
    Finish finish;             /* FINISH_NONE while it runs */
    double start, first, last; /* seconds: asked, first token, last token */
} Generation;
/* Adds the request, encoded, to the engine; p and r stay until finish is set. Everything grows in
 * `a`. p->show, p->arg and p->guard are the caller's, set before. */
bool generation_start(Generation *p, Arena *a, const Bundle *b, Engine *e, const Request *r,
                      Err *err) CHECKED;
/* Fails where it has no answer: numbers that are none, or lists that had no room. */
bool generation_fine(const Generation *p, Err *err) CHECKED;
/* Bytes that the lists of so many tokens may take, the growing included. */
int64_t generation_bytes(int64_t tokens, int64_t n_top);
/* Steps until the end of all that is in the engine; Ctrl-C and a stdout that takes nothing cancel
 * p. */
bool generation_run(Generation *p, Err *err) CHECKED;
const char *finish_name(Finish f);                            /* "stop", "length", ... */
json_t *generation_json(const Generation *p, double load_ms); /* one object of `run --json` */
