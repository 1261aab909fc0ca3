/* trainer.h -- private to train/: what a Trainer holds.
 *
 * setup.c builds it, step.c makes a step or a validation with it, resume.c writes it to disk and
 * reads it back, loop.c is the run. */
#pragma once
#include "bundle/bundle.h"
#include "train/recipe.h"

/* The tokenizer; its files travel with every checkpoint. */
typedef struct TextSetup {
    const char *name; /* what names it: tokenizer, or init_from, or the run's folder */
    Bundle bundle;    /* the tokenizer and its bytes */
    Str chat;         /* its chat template; empty: none */
    char id[65];      /* SHA-256 of tokenizer.json */
    char chat_id[65]; /* of what the chat encoding is made of */
    int32_t end;      /* the token behind each document */
} TextSetup;

typedef struct Sampler Sampler;   /* sample.c */
typedef struct Rollouts Rollouts; /* rollout.c: what objective grpo learns from */
typedef struct Soft Soft;         /* soft.c: what distill.logits learns from */

/* The step whose validation had the lowest loss so far; 0: there was none yet. A loss compares with
 * those on the same text only. */
typedef struct Best {
    int64_t step;
    double loss;
    char valid[65]; /* the text: its shard's key */
} Best;
/* A layer that predicts a further token (further.c): the rows of the micro-batch under way that
 * have such a target, one less of each piece than the layer before. */
typedef struct Further {
    int64_t n, n_spans;
    int32_t *token, *target; /* (N) */
    int32_t *before;         /* (N) each row's row in the layer before, or in the model's */
    Span *span;
    Batch batch;
    Out out;
    float *from, *hidden; /* (N, C) hidden states of the layer before; its own, then their
                             gradients */
    int64_t targets;      /* in the step */
    double loss;          /* their sum */
} Further;

struct Trainer {
    const Recipe *recipe;
    int lock;           /* of checkpoint.folder; -1: not held */
    bool folder_made;   /* it was not there before */
    Arena *arena;       /* text, rows, tokenizer, and this struct */
    Arena *model_arena; /* model, plan, logits */
    Arena *scratch;     /* emptied after each use */
    Team *team;
    TextSetup text;
    Shard train[MIX_MOST], valid; /* train of each part of data.train; valid.tokens 0: none */
    Bundle source;                /* where the first weights come from; store NULL: fresh */
    Model *model;
    Plan *plan;
    Optim *optim;
    Mix *mix; /* of train */
    Loader *valid_loader;
    MixState start;      /* of the mixture when the run was opened */
    Str fingerprint;     /* the plan's, as a checkpoint has it */
    Str shard[MIX_MOST]; /* those of train, as a checkpoint has them */
    int64_t n_shards;
    Sampler *sampler; /* NULL: no samples are written */
    Rollouts *rolls;  /* NULL: the objective is another one */
    Soft *soft;       /* NULL: targets are the tokens of the text */

    /* One step's rows, and one micro-batch's work. N = batch.micro places at most. */
    Packed *micro;
    int64_t n_micro;
    Span *span;              /* (micro / sequence * row_pieces) */
    Want *want;              /* (N) rows 0, 1, 2, ...: hidden states are wanted everywhere */
    float *hidden;           /* (N, C), then their gradients */
    float *logits, *logprob; /* (head_rows, V), (N) */
    double *square;          /* (n_params) */
    Routing routing;         /* of the step under way */
    int64_t *idle;           /* (routing.layers, E) steps since the expert had a token */
    Further *further;        /* (n_further) */
    int64_t n_further;
    float *dfrom; /* (N, C) gradients of a layer's `from` */
    Batch batch;
    Out out;         /* of the micro-batch under way, for all threads */
    bool step_valid; /* no router met NaN in it */
    bool moved;      /* the optimiser has made its step */

    int64_t step, saved; /* steps done; step of the newest checkpoint */
    int64_t logged;      /* step of the newest line of metrics.jsonl */
    int64_t targets;     /* tokens predicted so far in the run */
    double valid_bits;   /* bits per byte of the last validation */
    Best best;           /* of all validations so far */
    StepStats stats;     /* of the step under way, written by thread 0 */
};

/* Whether the run learns from answers of its own (grpo.h). */
static inline bool is_grpo(const Recipe *r) { return r->objective == OBJECTIVE_GRPO; }

/* sample.c: an engine on the trainer's panels, where the recipe wants samples; and one of them, to
 * the log and to metrics.jsonl. */
bool sampler_open(Trainer *t, Err *err) CHECKED;
/* The sampler without its engine, and the plan that this needs: `p` has the formats. */
bool sampler_spec(PlanSpec *p, Trainer *t, Err *err) CHECKED;
int64_t sampler_bytes_held(const Sampler *s); /* what its plan adds to the trainer's; NULL: 0 */
bool sample_write(Trainer *t, Err *err) CHECKED;

/* peak.c: operations a second that the threads reach in a product in the caches, which takes some
 * ten milliseconds to measure; operations that a token is counted with. */
double machine_flops(Team *team, Act act);
double token_flops(const Config *c);

/* buffers.c: those of rows, and those of loss and optimiser, pushed on t->arena for t->model; the
 * plan of a step on model m, with `results` bytes that the caller holds beside its logits. What
 * rows_new takes is at most rows_most. */
void rows_new(Trainer *t);
int64_t rows_most(const Recipe *r);
int64_t most_spans(const Recipe *r); /* pieces of documents in a micro-batch */
void work_new(Trainer *t);
PlanSpec step_spec(const Trainer *t, const Model *m, int64_t results);

/* plan.c: the memory of a run on a model of this shape with `further` layers for further tokens;
 * while the text is not open, its index does not count. run_fits refuses what does not fit.
 * run_time adds what the run will take of time. */
bool run_count(TrainPlan *p, const Trainer *t, const Config *c, int64_t further, Err *err) CHECKED;
bool run_fits(const Trainer *t, const Config *c, int64_t further, Err *err) CHECKED;
void run_time(TrainPlan *p, const Trainer *t, const Config *c);

/* resume.c: the newest checkpoint of the folder, when there is one. Its store and state first
 * (step, start, targets); whether the text is its text, when that has been read; moments when the
 * plan has their memory. */
bool resume_find(bool *found, const Trainer *t, Err *err) CHECKED;
bool resume_state(Trainer *t, Err *err) CHECKED;
bool resume_fits(const Trainer *t, Err *err) CHECKED;
bool resume_moments(Trainer *t, Err *err) CHECKED;
/* Without a best validation, where it was one of another text. */
void resume_best(Trainer *t);

/* Whether both have the same tokens by the same ids. */
static inline bool tokens_same(const Tokenizer *x, const Tokenizer *y) {
    bool same = tokenizer_size(x) == tokenizer_size(y);
    for (int32_t id = 0; same && id < tokenizer_size(x); id++)
        same = str_eq(token_bytes(x, id), token_bytes(y, id));
    return same;
}

/* soft.c: a teacher's probabilities for the places of data.train, read, or made first where they
 * are not there yet; they need the loaders. soft_back is hidden_loss_back with them as targets:
 * t->logprob becomes minus the divergence KL(teacher || model) of each row. */
bool soft_open(Trainer *t, Err *err) CHECKED;
void soft_close(Soft *s); /* NULL is fine */
void soft_back(Thread th, Trainer *t, const Packed *b, float scale);

/* further.c: what a step predicts beyond the next token. Called for each of the threads but
 * further_new and further_count (of the step's rows). further_forward follows the model's forward
 * and is false where a router met NaN; further_back adds to t->hidden, which holds gradients. */
void further_new(Trainer *t);
void further_count(Trainer *t);
bool further_forward(Thread th, Trainer *t, const Packed *b) CHECKED;
void further_back(Thread th, Trainer *t);
double further_loss(const Trainer *t); /* mean over the step's targets, then over the layers */

/* metrics.c: <folder>/metrics.jsonl, one line a logged step. On opening, lines behind the step that
 * the run goes on from are taken out. metrics_sync makes all lines durable: before a checkpoint. */
bool metrics_open(const Trainer *t, Err *err) CHECKED;
/* routing.c: what the routers did in a step whose gradient is whole becomes numbers of its stats,
 * and moves their biases. */
void routing_step(Thread th, Trainer *t);
bool metrics_step(Trainer *t, const StepStats *s, double seconds, Err *err) CHECKED;
bool metrics_valid(Trainer *t, double loss, Err *err) CHECKED;
bool metrics_sample(Trainer *t, Str text, bool ended, Err *err) CHECKED;
bool metrics_sync(const Trainer *t, Err *err) CHECKED;
