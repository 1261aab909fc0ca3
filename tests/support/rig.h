/* rig.h -- a model in an engine, and requests whose answers can be compared bit for bit. */
#pragma once
#include "infer/infer.h"
#include "support/need.h"

/* models/NAME of the reference data, gguf/NAME where that ends in ".gguf", or RIG_SMOLLM2: the
 * default model. The test is skipped where it is not there (need.h). */
#define RIG_SMOLLM2 "SmolLM2-135M-Instruct.Q4_1"
const char *rig_path(Arena *a, const char *name);

/* Everything lives in `a`, the caller's; the team too is the caller's. The oracle models are made
 * for 64 or 128 positions; here they run longer sequences, so that they cross the borders of pages.
 */
enum { RIG_POSITIONS = 1280 };
typedef struct Rig {
    Arena *a;
    Team *team;
    Store *store;
    Model *model;
    Plan *plan;
    Engine *engine;
} Rig;
/* What decides bits comes in `plan` (act, mla, kv; plan_defaults otherwise). */
void rig_open(Rig *r, Arena *a, Team *team, const char *path);
/* With `mtp` of the model's layers that predict further tokens. */
void rig_open_mtp(Rig *r, Arena *a, Team *team, const char *path, int64_t mtp);
void rig_plan(Rig *r, PlanSpec plan, const EngineSpec *spec, int64_t positions);
/* Another engine on the same plan; rig_plan makes the first. */
void rig_engine(Rig *r, const EngineSpec *spec);
void rig_close(Rig *r);

/* A request told by few numbers: the prompt is the first n of the endless random tokens number
 * `text`. */
typedef struct Ask {
    int64_t text, n, max_tokens;
    Sampling sampling;
    int64_t tenant, account, priority, like;
    const int32_t *stop;
    int64_t n_stop, given;
    const Bias *bias;
    int64_t n_bias;
    const Constraint *constraint;
    const Drafter *drafter;
} Ask;
enum { ANSWER_MAX = 64, PROMPT_MAX = 1280 };
typedef struct Answer {
    int64_t seq;
    int64_t n;
    Token token[ANSWER_MAX];
    Finish finish;       /* FINISH_NONE while it runs */
    int64_t first, last; /* engine steps: first token, last call */
    Sha256 sha;          /* logits, id and logprob of each draw */
    const Engine *engine;
    int64_t V;
} Answer;
void ask_prompt(int32_t *token, int64_t text, int64_t n, int64_t V);
/* engine_add; CHECKs in the callback that nothing comes after the end and that log-probabilities
 * are raw logit less row_lse. */
int64_t ask(Rig *r, const Ask *q, Answer *to, Err *err);
bool answer_same(const Answer *a, const Answer *b); /* tokens, log-probabilities, logits, end */
void rig_run(Rig *r);                               /* steps until there is nothing to do */
