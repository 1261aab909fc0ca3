/* answer.h -- the public header of answer/: from what is asked of a model, in token ids, to its
 * answer in text: thoughts, answer and tool calls apart, stop strings, likeliest tokens.
 *
 * Promises: text is handed on as whole characters, in the call in which its last byte comes; what
 * may be the beginning of a stop string or a tag is held back.
 * Ownership: all that grows does so in the arena given to generation_start.
 * Threads: a Generation belongs to the thread of its engine. */
#pragma once
#include "answer/guard.h"
#include "bundle/bundle.h"
#include "infer/infer.h"

/* What is asked. All it points to stays until the generation's end, except the prompt. */
typedef struct Ask {
    const int32_t *prompt; /* (n_prompt), copied */
    int64_t n_prompt, max_tokens;
    Sampling sampling;
    const Bias *bias; /* (n_bias) */
    int64_t n_bias;
    const uint64_t *dry_breaks;
    const Constraint *limit; /* NULL: none */
    int64_t given;           /* so many of the first tokens it forces: none of them is an end */
    const Drafter *drafter;  /* NULL: none */
    double weight;           /* as in SeqReq, as these */
    int64_t tenant, account, priority, like;
    const Str *stop; /* (n_stop) strings that end the answer */
    int64_t n_stop;
    bool ignore_end;  /* the model's end tokens do not end it */
    bool plain;       /* no chat format: text is not looked through for reasoning */
    bool in_thought;  /* the prompt has opened a thought */
    ToolSyntax tools; /* of the calls that are looked for in the answer */
    int64_t n_top;    /* likeliest tokens that are kept for each place */
    int32_t inside;   /* as in SeqReq; token_shown may call engine_inside */
} Ask;

/* What is generated becomes text in the moment it comes. */
typedef struct Generation {
    const Bundle *bundle;
    Engine *engine;
    /* Text for the reader as it comes, thoughts and answer apart; NULL: nobody looks on. */
    void (*show)(void *arg, Str text, bool thought);
    /* After each token, when its text has been shown; t.id -1: the end came without one. NULL: not
     * wanted. */
    void (*token_shown)(void *arg, Token t, Finish finish);
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
    int64_t seq, n_prompt, n_top, given;
    int64_t n_cached; /* of the prompt, found in the cache; known from the first token on */
    Finish finish;    /* FINISH_NONE while it runs */
    double start, first, last; /* seconds: asked, first token, last token */
} Generation;
/* Adds what is asked to the engine; p and what r points to stay until finish is set. p->show,
 * p->token_shown, p->arg and p->guard are the caller's, set before. */
bool generation_start(Generation *p, Arena *a, const Bundle *b, Engine *e, const Ask *r,
                      Err *err) CHECKED;
/* Fails where it has no answer: numbers that are none, or lists that had no room. */
bool generation_fine(const Generation *p, Err *err) CHECKED;
/* Bytes that the lists of so many tokens may take, the growing included. */
int64_t generation_bytes(int64_t tokens, int64_t n_top);
bool generation_void(Err *err);    /* the error of FINISH_ERROR */
const char *finish_name(Finish f); /* "stop", "length", ... */
