/* train.h -- the public header of train/: recipe, loss, optimiser, loop, checkpoint and resume.
 *
 * Promises: weights after n steps are the same bits for a recipe, its text and its tokenizer,
 * whatever the number of threads, the CPU, and however often the run was killed and resumed. The
 * forward pass is the engine's: log-probabilities computed here and in infer/ are the same bits. At
 * any moment checkpoint.folder opens as the last finished checkpoint.
 * Ownership: a Recipe lives in the arena it was read into. A Trainer owns its arenas, its team, the
 * mapped shards and the model, all released by trainer_close; the Recipe must outlive it. Nothing
 * is allocated in a step after the first (checkpoints and messages use an arena of their own that
 * is emptied again).
 * Threads: functions with a Thread run on every thread of a team; the others on one thread, the one
 * that opened the trainer. Only one process trains in a checkpoint folder: from trainer_open to
 * trainer_close it is locked.
 *
 * One step: rows of the loader in micro-batches -> model_forward -> loss -> model_back, gradients
 * add up -> norm, clipping -> AdamW or Muon, which also pack the panels again -> biases of routers.
 * docs/contract.md 6 and 7 give every order. */
#pragma once
#include "base/base.h"
#include "bundle/bundle.h"
#include "data/data.h"
#include "model/model.h"

#include "train/settings.h" /* recipes */

/* ---- training -------------------------------------------------------------------------------- */

/* A whole run, as `lisao train` does it: opens or resumes, prints the plan, trains to optim.steps
 * with live loss, tokens/s and time left on stderr, logs, validates, checkpoints. threads 0: as
 * many as there are CPUs. kern_init comes first. Ctrl-C (os_catch_interrupt is called here) ends
 * the step, writes a checkpoint and returns false with ERR_INTERRUPTED, whose message says how to
 * continue. */
bool train_run(const Recipe *r, int64_t threads, Err *err) CHECKED;

/* Of a recipe with objective distill: <checkpoint.folder>/distilled.jsonl, what the teacher answers
 * and is kept, as conversations. What is there of it is not made again; each answer depends on the
 * recipe, the teacher and its own number alone, so that a call that was killed and repeated makes
 * the bytes of one that was not. train_run begins with it. */
bool distill_make(const Recipe *r, int64_t threads, Err *err) CHECKED;

/* What a run will take, before it begins: `lisao train --plan`. */
typedef enum TrainPart {
    PART_WEIGHTS,
    PART_GRADIENTS,
    PART_MOMENTS,
    PART_ACTIVATIONS,
    PART_DATA,
    PART_PROGRAM,
    TRAIN_PARTS
} TrainPart;
typedef struct TrainItem {
    BudgetItem is;
    TrainPart part;
} TrainItem;
typedef struct TrainPlan {
    int64_t parameters, active; /* numbers that are learnt; those of them that a token needs */
    TrainItem item[BUDGET_ITEMS + 4];
    int64_t n_items, bytes;         /* their sum: the process's peak */
    int64_t limit;                  /* what the process may have in all, now */
    bool text;                      /* data.train was there: its buffers are counted */
    int64_t threads, steps, tokens; /* optimiser steps of so many tokens */
    /* An estimate: `share` of the operations a second that the threads were just measured to do in
     * a product, over the operations that a token takes (peak.c). */
    double share, machine_flops, token_flops, tokens_per_s;
    double seconds; /* 0: not known, since a step takes as many tokens as its answers have */
} TrainPlan;
/* Plans the run as trainer_open would build it, and holds no weight. Turns the text into tokens if
 * they are not in the cache; where the text is not there, that is a warning. */
bool train_plan(TrainPlan *p, const Recipe *r, int64_t threads, Err *err) CHECKED;
const char *train_part_name(TrainPart part);
/* The bytes of one part. */
int64_t train_part_bytes(const TrainPlan *p, TrainPart part);
/* false (ERR_LIMIT) where it needs more than the limit: names the three largest items, and what to
 * change. */
bool train_plan_fits(const TrainPlan *p, const Recipe *r, Err *err) CHECKED;

typedef struct Trainer Trainer;
typedef struct StepStats {
    int64_t step;         /* 1 for the first */
    int64_t targets;      /* tokens that were predicted in it */
    double loss;          /* mean, natural log, before the step; of the next token */
    double mtp_loss;      /* the same of further tokens, the mean over their layers; 0: none */
    double grad_norm, lr; /* norm before clipping */
    /* With experts: the largest MaxVio of a layer, experts that have had no token in DEAD_STEPS
     * steps, the mean entropy of the scores of a token and layer, and what the sequence-wise loss
     * adds to the loss. */
    double max_vio, router_entropy, balance_loss;
    int64_t dead_experts;
    /* With objective grpo: the means over the answers of the draw, those to problems that taught
     * nothing included, and over the tokens that the step learned from. */
    struct {
        double reward, right, length;   /* length: tokens */
        double closed, cut;             /* answers that came to an end; that were cut */
        double entropy, clipped;        /* nats; the share of tokens whose ratio was cut */
        double divergence;              /* from the first model, nats a token; 0 without grpo.kl */
        double difference;              /* the largest of |log p of the trainer - of the sampler| */
        double seconds;                 /* of the draw, in the step that made it */
        int64_t groups, taught, tokens; /* problems asked; those that taught; tokens generated */
    } answers;
} StepStats;
enum { DEAD_STEPS = 20 };

/* Builds everything a run needs. When checkpoint.folder has a checkpoint the run continues from the
 * newest; whatever in the recipe, the text or the tokenizer does not fit it is named, and nothing
 * is changed. */
bool trainer_open(Trainer **t, const Recipe *r, int64_t threads, Err *err) CHECKED;
void trainer_close(Trainer *t); /* NULL is fine */
/* One optimiser step. A weight, router, loss or gradient that is not finite is an error naming step
 * and tensor; weights are then as before the step. After the same error of a momentum the trainer
 * is void and must not be saved. */
bool trainer_step(Trainer *t, StepStats *s, Err *err) CHECKED;
/* Mean loss over eval.tokens of data.valid, rows in their own order. ERR_USAGE without
 * data.valid. */
bool trainer_eval(Trainer *t, double *loss, Err *err) CHECKED;
/* Bits per byte of what the last trainer_eval measured: of the text alone, end tokens left out. */
double trainer_bits(const Trainer *t);
/* Writes the checkpoint of the step just done: weights, config.json, tokenizer and chat template,
 * moments and state.json. The newest checkpoint.keep stay, and that with the best validation. */
bool trainer_save(Trainer *t, Err *err) CHECKED;
int64_t trainer_steps(const Trainer *t); /* steps done, those before a resume included */
Model *trainer_model(Trainer *t);
Plan *trainer_plan(Trainer *t);
/* For a plan beside it on the same panels, to run the model as it is now: sizes are left for the
 * caller. */
PlanSpec trainer_spec(const Trainer *t);
Team *trainer_team(Trainer *t);
const Bundle *trainer_text(const Trainer *t); /* its tokenizer; with tasks its chat encoding, too */

/* The checkpoint of a run with the lowest loss on data.valid. `run`: its checkpoint.folder, or a
 * checkpoint there; *path may be `run` before. */
bool run_best(const char **path, Arena *a, const char *run, Err *err) CHECKED;

/* ---- tasks as text to train on --------------------------------------------------------------- */

/* Problems of tasks that take turns, as conversations: "task:addition:1-3+subtraction:2" (a task
 * without a range has its whole one; "addition:1-3:canonical" has the first wording alone). Held
 * out: those that no training document has. */
bool task_source(Source *s, Arena *a, const char *name, uint64_t seed, bool held_out,
                 Err *err) CHECKED;
/* Whether data.train or data.valid names tasks and no file. */
bool names_tasks(const char *data);

/* ---- loss (also what a rollout is held against) ---------------------------------------------- */

/* logprob[i] = logits[i][target[i]] - log-sum-exp(logits[i]), the sampler's formula; (n, V). Where
 * a target is -1 it is 0, and the row has no gradient. */
void token_logprobs(Thread th, float *logprob, const float *logits, const int32_t *target,
                    int64_t n, int64_t V);
/* The log-probability of one row's target, as above, from its logits z (V). Row i of dlogits, rows
 * for a product, becomes the gradient of scale * -log p(target); in f32 it may stand where z does.
 */
float loss_back(const Rows *dlogits, int64_t i, const float *z, int32_t target, float scale);
/* Log-probabilities from hidden states (n, C), whose logits are there some rows at a time: logits
 * is (head_rows, V). */
void hidden_logprobs(Thread th, Plan *p, float *logprob, const float *hidden, const int32_t *target,
                     int64_t n, float *logits);
/* The same way back: hidden becomes its gradient, the head's is added to its Param.grad. `back`
 * makes row i of dlogits of the logits z (V) of row `row`; threads split the rows. */
typedef void RowBack(void *arg, int64_t thread, int64_t row, const Rows *dlogits, int64_t i,
                     const float *z);
void hidden_rows_back(Thread th, Plan *p, float *hidden, int64_t n, float *logits, RowBack *back,
                      void *arg);
/* ... by loss_back of each row. */
void hidden_loss_back(Thread th, Plan *p, float *hidden, float *logprob, const int32_t *target,
                      float scale, int64_t n, float *logits);

/* ---- optimiser ------------------------------------------------------------------------------- */

/* The rate of step 1, 2, ..: linear warm-up over optim.warmup steps, then constant, or half a
 * cosine down to lr_min, or constant and in the last decay_steps a line down to lr_min (wsd). */
double rate_at(const Recipe *r, int64_t step);
int64_t decay_steps(const Recipe *r);
/* How far a step moves the routers' biases: balance.rate, and in the last part of the steps a line
 * to 0. */
double balance_rate_at(const Recipe *r, int64_t step);
/* The weight of mtp_loss in a step. */
double mtp_weight_at(const Recipe *r, int64_t step);
/* sqrt of the sum of squares of all gradients (frozen tensors have none), the same for any number
 * of threads. square (m->n_params) is shared by the threads and receives each tensor's sum. */
double grad_norm(Thread th, const Model *m, double *square);
/* The optimisers of a model's parameters (Param.optimiser), with the memory that Muon works in. */
typedef struct Optim Optim;
Optim *optim_new(Arena *a, Model *m, const Recipe *r, int64_t threads);
/* From here on a step also packs what it moves into these panels: no panels_repack after it. */
void optim_packs(Optim *o, const Panels *p);
/* Step number `step` on every tensor; gradients are multiplied by `scale` first, and are void after
 * it. Decay on matrices only. */
void optim_step(Thread th, Optim *o, int64_t step, float scale);
/* A matrix whose momentum was not finite in the last step, and which was therefore not moved. */
bool optim_lost(const Optim *o, const Param **p, int64_t *matrix);

#include "train/chain.h" /* runs of several stages */
