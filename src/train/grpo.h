/* grpo.h -- private to train/: reinforcement learning from answers that are checked (objective
 * grpo; DeepSeekMath, arXiv 2402.03300, 4.1, and what came after it).
 *
 * rollout.c draws problems and has the model in training answer them; grpo.c turns rewards into
 * weights, and answers into rows and gradients. One draw serves grpo.updates steps of the
 * optimiser. */
#pragma once
#include "infer/infer.h"
#include "train/streams.h"
#include "train/trainer.h"

enum { KINDS_MAX = 2 * TASKS_MOST };

/* What may go wrong without an error; each is told once. */
enum { ALARM_COLLAPSE, ALARM_EXPLOSION, ALARM_SHORT, ALARM_LONG, ALARM_BALANCE, ALARMS };

/* Problems of a stream that belong together, a stratum or all: what is drawn of them next, and how
 * often of late a group of answers had some that were better than others. */
typedef struct Kind {
    int64_t stream, stratum;
    int64_t next;                   /* problems drawn so far */
    double signal;                  /* 0 .. 1, a moving mean over groups */
    int64_t groups, answers, right; /* of the draw under way */
} Kind;

/* One answer: tokens, of which the first n_prompt are the prompt's; logprob[i] of token i, from
 * n_prompt on, as the sampler reported it. */
typedef struct Answer {
    int32_t *token;           /* (sequence + 1) */
    float *logprob;           /* (sequence + 1) */
    int64_t n_prompt, n, seq; /* seq: its number in the engine */
    Finish finish;
    Str reasoning, text; /* thought and answer */
    bool right;
    double reward;
    float weight; /* of each of its tokens in the loss; 0: not learned from */
} Answer;

/* A problem and the answers to it. */
typedef struct Question {
    Problem problem;
    int64_t kind, number;
    int32_t *prompt;
    int64_t n_prompt;
    bool in_thought; /* the prompt opens the thought */
    Answer *answer;  /* (samples) */
} Question;

/* What became of the problems of a draw, those that taught nothing included, and of the rows that
 * were learned from. */
typedef struct Drawn {
    int64_t groups, answers, right, closed, cut,
        tokens;               /* closed: a thought ended, an answer came */
    int64_t solved, hopeless; /* groups: all right; all wrong */
    double reward, seconds;
} Drawn;

struct Rollouts {
    Arena *arena; /* problems, prompts and texts of the draw under way */
    Mark empty;
    TaskStream stream[TASKS_MOST], valid[TASKS_MOST];
    int64_t n_streams, n_valid;
    Kind kind[KINDS_MAX];
    int64_t n_kinds, problems; /* drawn so far */
    Plan *plan;
    Engine *engine;
    Child *judge;             /* reward.command; NULL: the tasks' checks are all */
    int32_t end[BUNDLE_ENDS]; /* tokens that end an answer */
    int64_t n_end;
    Question *group; /* (prompts), of which n_groups have answers that differ in reward */
    int64_t n_groups;
    Drawn drawn;
    /* The part of the groups that the step learns from, and what of it is rows already. */
    int64_t answer_at, answer_end; /* numbers of answers, group after group */
    int64_t tokens;                /* that are learned */
    bool more;
    /* (N) each row's weight and the sampler's log-probability; what its own gave. */
    float *weight, *old, *entropy, *clipped;
    float *work; /* (threads, V) */
    /* With grpo.kl: the model that the run began with, and its log-probabilities (N). */
    Bundle first;
    Plan *first_plan; /* NULL: it plays no part */
    float *first_logprob;
    double divergence;  /* sum over the step's tokens */
    double difference;  /* largest between sampler and trainer, of a fresh draw */
    double entropy_sum; /* of the step's tokens; */
    double clipped_sum; /* tokens whose ratio was cut */
    int64_t rows;       /* tokens of these sums */
    /* Of the run's first step, which alarms compare with: nats and tokens; 0: it is to come. */
    double first_entropy, first_length;
    bool alarmed[ALARMS];
};

/* Whether the answers of a draw are used up, or there are none: what is saved then is all. */
static inline bool draw_is_over(const Trainer *t) {
    return !t->rolls || t->step % t->recipe->grpo.updates == 0;
}

/* rollout.c: opens tasks, and counts the memory of rows and answers on t->arena. The engine comes
 * when the model is there; `p` has the formats of its plan. */
bool rollouts_open(Trainer *t, Err *err) CHECKED;
void rollouts_spec(PlanSpec *p, const Trainer *t);
/* The same for the first model, of the shape of `m`, whose micro-batches are the step's. */
void first_spec(PlanSpec *p, const Trainer *t);
bool rollouts_start(Trainer *t, Err *err) CHECKED;
void rollouts_close(Rollouts *r); /* NULL is fine */
/* New groups, their answers checked. false: the model's numbers are none. */
bool rollouts_draw(Trainer *t, Err *err) CHECKED;
/* The share of held-out problems that are solved at temperature 0. */
bool rollouts_valid(Trainer *t, double *rate, Err *err) CHECKED;
/* Answers of the draw to rollouts.jsonl (its path: metrics.c). */
Str rollouts_path(const Trainer *t);
bool rollouts_write(const Trainer *t, Err *err) CHECKED;

/* grpo.c: draws where that is due, and weighs; the step has no rows where t->rolls->tokens is 0. */
bool grpo_begin(Trainer *t, Err *err) CHECKED;
/* What the step's rows gave, into its numbers; and warnings where those look bad. */
void grpo_end(Trainer *t);
void grpo_alarms(Trainer *t);
/* The next rows into `b`, for all threads; false: there are none. */
bool grpo_rows(Thread th, Trainer *t, Packed *b);
/* What the first model says of the rows, before the model's own forward. False: it met NaN. */
bool grpo_first(Thread th, Trainer *t, const Packed *b) CHECKED;
/* The gradient of t->hidden, as hidden_loss_back has it, of the clipped ratios. */
void grpo_back(Thread th, Trainer *t, const Packed *b);
