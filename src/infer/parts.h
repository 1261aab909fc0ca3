/* parts.h -- private to infer/: memory that is counted before it is taken, prompts that wait, pages
 * by number, the prefix tree, and the engine's insides.
 *
 * Admission rests on one invariant of the prefix tree: a sequence that holds a page of the tree
 * holds all pages above it too. So the tree's pages that no sequence holds can all be taken back,
 * leaf by leaf, and count as free. */
#pragma once
#include "infer/infer.h"

/* ---- memory (space.c) ------------------------------------------------------------------------ */

/* What builds a part of an engine takes all its memory from a Space, and is called twice: with one
 * that only counts, when the plan is made, and with one that allocates. So the plan cannot forget
 * what the engine takes. */
typedef struct Space {
    Arena *a;      /* NULL: nothing is allocated, and what is taken is NULL */
    int64_t bytes; /* taken so far */
} Space;
void *space_take(Space *s, int64_t bytes);
#define TAKE(s, T, n) ((T *)space_take((s), (int64_t)sizeof(T) * (n)))

/* ---- prompts of requests that wait (waiting.c) ----------------------------------------------- */

typedef struct Prompts Prompts;

/* A store for up to `prompts` prompts of `tokens` tokens together. */
Prompts *prompts_build(Space *s, int64_t tokens, int64_t prompts);
int64_t prompts_room(const Prompts *p); /* so many more tokens it can take */
/* Copies n <= room tokens; returns the prompt's number, by which it is read and given up. */
int64_t prompt_put(Prompts *p, const int32_t *token, int64_t n);
void prompt_read(const Prompts *p, int64_t prompt, int32_t *token, int64_t n);
void prompt_drop(Prompts *p, int64_t prompt, int64_t n);

/* ---- penalties (penalty.c) ------------------------------------------------------------------- */

bool penalties_on(const Sampling *s);
/* To the logits z (V), after the biases. work: 2 V. */
void penalties_apply(float *z, int64_t V, const Sampling *s, const Draw *d, int32_t *work);

/* ---- pages by number (page.c) ---------------------------------------------------------------- */

/* pages_new from a Space. The pages themselves are not counted: the plan's budget has them. */
Pages *pages_build(Space *s, const KvLayout *kv, int64_t count, int64_t seqs, int64_t positions);
int64_t pages_count(const Pages *p);
int64_t page_number(const Pages *p, const void *page);
void *page_at(const Pages *p, int64_t i);
int64_t page_refs(const Pages *p, int64_t i);
void page_hold(Pages *p, int64_t i);
void page_drop(Pages *p, int64_t i); /* the last one to drop it frees it */

/* ---- the prefix tree (prefix.c) -------------------------------------------------------------- */

/* A sequence's place in the tree: the node of its last page that is there, and how many of its
 * pages are. `age`: a place from before the tree was emptied is void. */
typedef struct Place {
    int64_t node, depth, age;
} Place;
typedef struct Prefix Prefix;
typedef struct Disk Disk;

/* A tree over `count` pages; pages is NULL where the Space only counts. */
Prefix *prefix_build(Space *s, Pages *pages, int64_t count);
/* From here on full pages that leave the tree go to disk, and are looked for there. */
void prefix_keep(Prefix *t, Disk *d);
void prefix_write(Prefix *t); /* all full pages that are not on disk */
/* The place of a sequence of which no page is in the tree. */
Place prefix_begin(const Prefix *t);
/* Gives the empty sequence s what is known of its first n tokens: whole pages to share, then
 * perhaps the beginning of another (kv_cut: it is copied when s goes on). s->length says how far
 * that reached. */
void prefix_share(Prefix *t, KvSeq *s, Place *at, int64_t tenant, const int32_t *token, int64_t n);
/* Puts the full pages of s that are not in the tree yet there, and at its end (`last`) the page it
 * stopped in. A page whose tokens the tree knows already is exchanged for the tree's. */
void prefix_grow(Prefix *t, KvSeq *s, Place *at, int64_t tenant, const int32_t *token, bool last);
/* Gives back the least recently used page that nobody holds; false: there is none. */
bool prefix_evict(Prefix *t);
int64_t prefix_idle(const Prefix *t);  /* how often that would go well now */
void prefix_forget(Prefix *t);         /* empties the tree; places are void */
int64_t prefix_pages(const Prefix *t); /* pages in the tree */
bool prefix_sound(const Prefix *t);    /* for tests: links, references, the invariant */

/* ---- pages on disk (disk.c) ------------------------------------------------------------------ */

typedef struct DiskStats {
    int64_t written, read; /* pages */
} DiskStats;
/* Files of `folder`, `bytes` of them at most; memory from `a`. */
bool disk_open(Disk **d, Arena *a, const char *folder, int64_t bytes, const Plan *p,
               Err *err) CHECKED;
void disk_close(Disk *d); /* NULL is fine */
DiskStats disk_stats(const Disk *d);
/* The name of a page with these PAGE tokens behind the page `parent` (NULL: it is the first). */
void disk_key(const Disk *d, char key[65], const char *parent, int64_t tenant,
              const int32_t *token);
bool disk_has(Disk *d, const char *key); /* d NULL: no */
/* Writes a page that is not there; where that fails, once, nothing is written any more. */
void disk_put(Disk *d, const char *key, const void *page);
bool disk_get(Disk *d, const char *key, void *page); /* false: it is not there, or damaged */

/* ---- whether drafts of the MTP layer pay (pays.c) -------------------------------------------- */

/* READY: the layer is computed, which keeps its context, and its guesses are not used. */
typedef enum PaysStep { PAYS_PLAIN, PAYS_READY, PAYS_DRAFTS } PaysStep;
typedef struct Mean {
    double value;
    int64_t n;
} Mean;
typedef struct Pays {
    PaysStep doing;                  /* in the next step, and so many more */
    int64_t left, period;            /* of the last choice */
    bool on, trial;                  /* the choice; the other is tried now */
    Mean plain, pass, drafted, gain; /* seconds of a step, of the layer's pass, of a step with
                                       * drafts; tokens that this gave a sequence */
} Pays;
void pays_begin(Pays *p);
/* What a step took in which p->doing was done: the layer's pass, the rest; tokens a sequence. */
void pays_learn(Pays *p, double pass, double step, double gain);

/* ---- the engine (engine.c, step.c, sched.c) -------------------------------------------------- */

enum { STOP_MAX = 8, PAYS = 8 };
typedef enum SeqState { SEQ_FREE, SEQ_WAITING, SEQ_ACTIVE } SeqState;

/* A request and what became of it. While it waits, its n tokens are prompt number `prompt` of the
 * store. While it is active, token[0..n-1] is the prompt and then what was drawn, and kv.length of
 * these are computed. */
typedef struct Seq {
    SeqState state;
    int64_t id;     /* in order of arrival */
    SeqReq req;     /* its prompt and stop are not looked at again: they were copied */
    int64_t prompt; /* waiting */
    int32_t *token; /* active: (positions + 1), one of the engine's tables */
    int32_t stop[STOP_MAX];
    int64_t n, drawn;
    int64_t cached; /* of its prompt, found in the prefix cache or in a like request */
    KvSeq kv;
    Place place;
    int64_t pages; /* the most it can come to hold */
    bool cancelled;
    bool suspect; /* was in a void step: alone and without drafts until one is not */
    /* In the step under way: rows of known tokens, then rows of drafts, which stand in token[n..].
     * What follows the last known row and each draft is wanted, from the batch's want number
     * `want` on; of these outcomes the first n_forced are forced, and stand in token[n..] too. */
    int64_t rows, drafts, n_forced, want;
    int64_t guessed; /* all drafts are the MTP layer's: so many; else 0 */
    /* Drafts by the MTP layer (mtp.c). Of the last step's outcomes, from number `want` on, the
     * first `fresh` are tokens now and have hidden states. mtp_kv holds the layer's context up to
     * position mtp_end (not included), of which mtp_base rows are not guesses. */
    int64_t fresh, mtp_end, mtp_base;
    bool quotes; /* all that its drafter proposed for the last step was right: it will go on */
    KvSeq mtp_kv;
    int64_t guesses;
    int32_t guess[MTP_MOST];
} Seq;

/* Sequences in order: priority descending, then arrival. */
typedef struct SeqList {
    Seq **v;
    int64_t n;
} SeqList;

/* The MTP layer's pass before a step (mtp.c): a batch of rows, whose logits take the memory of the
 * last step's. */
typedef struct Mtp {
    Pages *pages; /* NULL: there are no drafts of this kind */
    Batch batch;
    int32_t *token; /* (wants) */
    float *from;    /* (wants, C) hidden states that the rows go on from */
    float *hidden;  /* (seqs, C) the layer's own, behind the last row of each */
    Span *span;     /* (seqs) */
    Want *want;     /* (seqs) */
    Seq **seq;      /* (seqs) whose want, in batch order */
    uint64_t *mask; /* (seqs, mask_words) */
    bool *masked;   /* (seqs) */
    bool valid;
    PaysStep doing;
    double seconds;  /* that the last pass took */
    Pays pays[PAYS]; /* number i: of up to 2^i sequences */
} Mtp;

struct Engine {
    EngineSpec spec; /* no default left in it */
    Plan *plan;
    Team *team;
    const Config *cfg;
    int64_t V, positions;
    Pages *pages;
    Prefix *prefix;
    Disk *disk; /* NULL: pages are in memory only */
    Prompts *prompts;
    Seq *seq;
    int64_t n_seqs; /* (seqs + queue) slots */
    int32_t **table;
    int64_t n_tables; /* a stack of (seqs) token tables that no active sequence has */
    SeqList waiting, active;
    int64_t next_id;
    bool stepping;
    /* The step under way. */
    Batch batch;
    Out out;
    bool step_valid;                  /* no router met NaN in it */
    int32_t *token;                   /* (rows) */
    Want *want;                       /* (wants): for each sequence, and for each draft */
    Span *span;                       /* (seqs) */
    Seq **row_seq;                    /* (seqs) whose span, in batch order */
    Seq **want_seq;                   /* (wants) whose logits, in batch order */
    uint64_t *mask;                   /* (wants, mask_words) */
    bool *masked;                     /* (wants) */
    int32_t *hidden_row, *expert_row; /* (wants) in Out; -1: not wanted. NULL without spec.inside */
    int32_t n_hidden, n_experts;      /* rows of these in the batch */
    int64_t taking;                   /* the want whose token is taken; -1: none */
    int64_t taken;                    /* tokens so far */
    int64_t mask_words;
    Token *drawn;  /* (wants) */
    uint8_t *work; /* (threads) sampler_bytes */
    Mtp mtp;
    EngineStats stats;
};

Seq *seq_find(Engine *e, int64_t id); /* waiting or active, or NULL */
Seq *seq_slot(Engine *e);             /* a free slot, or NULL */
void seq_list_add(SeqList *l, Seq *s);
void seq_list_remove(SeqList *l, const Seq *s);
/* Moves waiting sequences to active, in order, as long as each can be sure of its pages. */
void sched_admit(Engine *e);
/* Fills e->batch from the active sequences; false when there is nothing to compute. */
bool sched_batch(Engine *e);

/* ---- drafts by the MTP layer (mtp.c) --------------------------------------------------------- */

void mtp_build(Engine *e, Space *s, const KvLayout *kv); /* nothing where spec.mtp is 0 */
/* At the beginning and the end of a sequence's time among the active ones. */
void mtp_open(Engine *e, Seq *s);
void mtp_close(Engine *e, Seq *s);
/* Before a step's rows are chosen: the guesses of each active sequence. */
void mtp_guess(Engine *e);
/* Whether the step under way says what drafts are worth: one row of each sequence, and no drafts
 * but the layer's. Then what it took, and the tokens that it gave, are learnt. */
bool mtp_measures(const Engine *e);
void mtp_learn(Engine *e, double seconds, int64_t tokens);
