/* infer.h -- the public header of infer/: many sequences through one model; token ids only, no
 * text.
 *
 * Promises: a sequence's tokens and log-probabilities depend on its own request, the model and the
 * plan's fingerprint, and on nothing else: not on who else is in the batch, how the prompt was
 * chunked, what came from the prefix cache, or what was drafted.
 * Ownership: the Engine lives in the arena given to engine_new and owns the KV pages; a request's
 * prompt is copied.
 * Threads: one thread owns an Engine and calls everything; engine_step runs the team's threads
 * inside. Callbacks are made from engine_step, on the calling thread, between forwards; they may
 * call engine_add and engine_cancel.
 *
 * One step: cancel -> admit -> schedule rows (decode rows first, then prefill chunks, then drafts,
 * up to the budget) -> model_forward -> sample -> accept -> callbacks -> release. No allocation in
 * a step after the first.
 *
 * Speculation: a draft is a token that is put behind a sequence before it is drawn, so that one
 * step gives the logits behind it too. Drafters propose them, or the model's own MTP layer, which
 * is computed before the step (mtp.c). A draft stays exactly where the sampler's own draw at its
 * position is that token; the others are taken back out of the KV pages. So no draft changes a bit.
 * What a constraint forces is put there in the same way and is not drawn. */
#pragma once
#include "base/base.h"
#include "model/model.h"

/* ---- sampling -------------------------------------------------------------------------------- */

typedef struct Sampling {
    float temperature; /* 0: greedy */
    int64_t top_k;     /* 0: off */
    float top_p;       /* 1: off */
    uint64_t seed;
    float min_p;                               /* 0: off */
    float repetition_penalty;                  /* 0 and 1: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    float dry_multiplier;                      /* 0: off, and the other three do not count */
    float dry_base;                            /* 1.75 is usual; */
    int64_t dry_allowed_length;                /* 2 is */
    int64_t dry_penalty_last_n;                /* tokens that are looked at; -1: all */
} Sampling;
typedef struct Bias {
    int32_t id;
    float value;
} Bias;
/* Where a draw stands, and what its sequence has to say. */
typedef struct Draw {
    int64_t n;            /* tokens before the drawn one: its position */
    const int32_t *token; /* (n) these; may be NULL where no penalty looks at them */
    int64_t n_prompt;     /* so many of them were given and not generated */
    const uint64_t *mask; /* bit id % 64 of word id / 64: id may be drawn; NULL: all may */
    const Bias *bias;     /* (n_bias) values to add to the logits of ids */
    int64_t n_bias;
    const uint64_t *dry_breaks; /* bits as in mask: no repetition reaches across this token */
} Draw;
/* logprob: raw logit - log-sum-exp, natural log. */
typedef struct Token {
    int32_t id;
    float logprob;
} Token;
/* One draw (contract 5): the same logits, sampling and draw give the same token. Bias and mask
 * decide what is drawn and do not change the logprob that is reported. Logits may be -inf. Where
 * their log-sum-exp is not a number (a NaN, an infinity on top, all -inf), or all that is not -inf
 * is masked: id -1, logprob NaN. work: sampler_bytes(V), 8-byte aligned. */
int64_t sampler_bytes(int64_t V);
Token sampler_pick(const float *logits, int64_t V, const Sampling *s, const Draw *d, void *work);
/* The n likeliest tokens, by (logit descending, id ascending), and their logprobs; returns how many
 * there are: MIN(n, V), or 0 where the draw's id would be -1. */
int64_t sampler_top(const float *logits, int64_t V, int64_t n, Token *top);
/* A token that was not drawn, with its logprob; id -1 where the draw's would be. */
Token sampler_given(const float *logits, int64_t V, int32_t id);

/* ---- requests -------------------------------------------------------------------------------- */

typedef enum Finish {
    FINISH_NONE,
    FINISH_STOP,   /* an end token came, or the constraint lets nothing follow */
    FINISH_LENGTH, /* max_tokens were */
    FINISH_CANCEL,
    FINISH_ERROR /* the model's numbers for this sequence are not numbers, or none is allowed */
} Finish;
enum { BIAS_MAX = 1024 };
typedef struct SeqReq {
    const int32_t *prompt;
    int64_t n_prompt;   /* 1.. tokens, each < V; copied by engine_add */
    int64_t max_tokens; /* 1..: generated, the end token included */
    Sampling sampling;
    const Bias *bias; /* (n_bias), at most BIAS_MAX: not copied, kept until the last on_token */
    int64_t n_bias;
    const uint64_t *dry_breaks; /* (V bits) or NULL, kept likewise */
    const int32_t *stop;
    int64_t n_stop;   /* end tokens (at most 8), copied */
    int64_t given;    /* so many of the first tokens are no end: the constraint forces them */
    int64_t tenant;   /* prefix pages are shared within a tenant only */
    int64_t account;  /* has a share of what runs, for all its tenants; 0: the tenant is its own */
    double weight;    /* of the account, 0: 1; twice the weight, twice the share */
    int64_t priority; /* higher first; equal: of the account that has the least of its share
                       * running, of its tenants who has the least, then in order of arrival */
    int64_t like; /* number of an earlier request with the same prompt, whose computed prompt this
                   * one begins with a copy of, if it is still there; it waits for that. 0: none */
    const Constraint *constraint; /* may be NULL; these two (base/sequence.h) belong to this */
    const Drafter *drafter;       /* sequence alone, and to the caller, until its last on_token */
    int32_t inside; /* WANT_HIDDEN, WANT_EXPERTS: what engine_inside shall have of each token's row;
                     * needs EngineSpec.inside */
    /* Once for each token, the last one with finish != FINISH_NONE. A sequence that ends without a
     * new token (cancelled, error) gets one more call, with id -1 and logits NULL. logits (V): of
     * this draw, valid during the call. */
    void (*on_token)(void *arg, int64_t seq, Token t, Finish finish, const float *logits);
    void *arg;
} SeqReq;

/* ---- engine ---------------------------------------------------------------------------------- */

typedef struct EngineSpec {
    int64_t seqs;   /* most sequences at once; further ones wait in the queue */
    int64_t queue;  /* most requests that wait; one more is refused */
    int64_t rows;   /* token budget of a step */
    int64_t chunk;  /* most prompt rows of one sequence in a step; 0: the budget */
    int64_t drafts; /* most rows of a step for tokens that drafters propose and constraints force */
    int64_t pages;  /* KV pages of 128 positions of one sequence, all layers. 0: enough for all
                     * sequences at full length. With fewer, sequences wait for pages; with more,
                     * the prefix cache keeps more */
    /* Most prompt tokens of all requests that wait, at least those of one prompt of full length; a
     * request that would bring more is refused. 0: QUEUE_PROMPT for each place of the queue. */
    int64_t queue_tokens;
    /* Tokens that the model's MTP layer (model/mtp.h) drafts for a sequence in a step, where they
     * pay and its drafter has none: MTP_MOST at most. 0: none. Needs a plan for inference of a
     * model that was opened with the layer. */
    int64_t mtp;
    bool mtp_always; /* whether they pay or not, for tests and measurements */
    bool no_prefix;  /* leave the prefix cache off */
    bool inside;     /* requests may ask for hidden states and experts */
} EngineSpec;
enum { QUEUE_PROMPT = 1024, MTP_MOST = 4 };
typedef struct EngineStats {
    int64_t steps;
    int64_t prompt_rows, decode_rows;        /* computed so far */
    int64_t cached_rows;                     /* of prompts, not computed: found in the cache */
    int64_t drafted, accepted;               /* tokens that drafters proposed; that were right */
    int64_t mtp_drafted, mtp_accepted;       /* of these, by the MTP layer */
    int64_t forced;                          /* tokens that constraints forced */
    int64_t active, waiting;                 /* sequences, now */
    int64_t pages, pages_free, pages_cached; /* cached: in the prefix tree, in use or not */
    int64_t evicted;                         /* pages that the tree had to give back */
    int64_t stored, loaded;                  /* pages written to disk; read from there */
} EngineStats;

typedef struct Engine Engine;
/* Sets the members of a PlanSpec that an engine decides, for sequences of `positions`: rows,
 * logit_rows, spans, positions, pages, and in `engine` the bytes of everything else that engine_new
 * will allocate for this team. act, mla and kv are set before. */
void engine_plan(PlanSpec *p, const Model *m, const EngineSpec *e, int64_t positions,
                 const Team *team);
/* Allocates in `a` what engine_plan counted. ERR_LIMIT when the plan is too small for the spec. */
bool engine_new(Engine **e, Arena *a, Plan *plan, const EngineSpec *spec, Team *team,
                Err *err) CHECKED;
/* A sequence's number (> 0), or 0: ERR_LIMIT when it can never fit or the queue is full, with
 * numbers; ERR_USAGE for token ids, counts or sampling out of range. Then nothing was done. */
int64_t engine_add(Engine *e, const SeqReq *r, Err *err);
/* Takes effect when the next step begins; unknown numbers are ignored. */
void engine_cancel(Engine *e, int64_t seq);
bool engine_step(Engine *e); /* false: nothing to do; not from a callback */
EngineStats engine_stats(const Engine *e);
/* In on_token, of a token that was computed: what its request asked for (SeqReq.inside) of the row
 * that it was drawn from, the one of the token before; else NULL. As in Out (model/model.h): hidden
 * (C), expert and weight (L, K), of which dense layers are undefined. */
typedef struct Inside {
    const float *hidden;
    const int32_t *expert;
    const float *weight;
} Inside;
Inside engine_inside(const Engine *e);
/* Prompt tokens of a sequence that runs, on_token included, that were found and not computed. */
int64_t engine_cached(Engine *e, int64_t seq);
/* Drops the prefix cache, and keeps what the sequences now running have computed out of it: weights
 * changed. */
void engine_forget(Engine *e);
/* Keeps full pages of the prefix cache in files of `folder`, `bytes` of them at most: those that
 * memory has no room for, and with engine_keep all that are there; and finds them again, in a later
 * process, too. plan_fingerprint comes first: files are named after it, the tenant and the tokens.
 * What stands in a prompt can be learned from them, so no other user may open the folder from then
 * on. What cannot be written or read is a warning, and computed anew. Until engine_forget. */
bool engine_store(Engine *e, Arena *a, const char *folder, int64_t bytes, Err *err) CHECKED;
void engine_keep(Engine *e);
void engine_store_close(Engine *e);

/* A drafter for one sequence that guesses from what the sequence has said before; in `a`. */
void lookup_drafter(Drafter *out, Arena *a);

/* ---- pages (for the engine, tests, and later speculation) ------------------------------------ */

/* A sequence's KV: its length and pages, page[i] holding positions 128i..128i+127. Pages are
 * reference-counted; a shared page is never written: a fork or a truncated sequence copies the page
 * it goes on in. A page that may be written (after kv_reserve) is zero from the sequence's length
 * on. */
typedef struct Pages Pages;
typedef struct KvSeq {
    int64_t length; /* the owner adds what it stored */
    void **page;
    int64_t n_pages;
    int64_t dirty; /* something may stand at positions length..dirty-1 of the last page */
} KvSeq;
static inline bool kv_cut(const KvSeq *s) { return s->dirty > s->length; }
/* `count` pages and tables for `seqs` sequences of `positions`. */
Pages *pages_new(Arena *a, const KvLayout *kv, int64_t count, int64_t seqs, int64_t positions);
int64_t pages_free(const Pages *p);
bool kv_open(Pages *p, KvSeq *s); /* an empty sequence; false when all tables are taken */
void kv_close(Pages *p, KvSeq *s);
/* Room to write positions below `length`. false: pages are out; those it got stay with s. */
bool kv_reserve(Pages *p, KvSeq *s, int64_t length);
/* Opens `to` on the pages of from's first `length` positions; false when all tables are taken. */
bool kv_fork(Pages *p, KvSeq *to, const KvSeq *from, int64_t length);
void kv_truncate(Pages *p, KvSeq *s, int64_t length);
