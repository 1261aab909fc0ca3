/* quiz.h -- private to cli/: problems put to a model while it is trained, through an engine on the
 * trainer's own panels. */
#pragma once
#include "cli/ask.h"
#include "train/train.h"

enum { QUIZ_TOGETHER = 128, QUIZ_POSITIONS = 128, QUIZ_EXPERTS = 64, QUIZ_LAYERS = 16 };

typedef struct Quiz {
    Arena *arena, *asked, *scratch; /* asked: the last questions, until the next call */
    Trainer *trainer;
    Engine *engine;
    TaskStream stream; /* that is asked from */
    /* The last question of quiz_ask, and what the model said. */
    Str prompt, thought, answer;
    bool right;
    int64_t last, n_right; /* its index; right ones of this quiz_ask */
} Quiz;
bool quiz_open(Quiz *q, Trainer *t, Err *err) CHECKED;
void quiz_close(Quiz *q); /* one that is zeroed is fine */
/* How many of problems first .. first+n-1 of q->stream the model, as it is now, gets right. */
bool quiz_ask(Quiz *q, int64_t first, int64_t n, int64_t *right, Err *err) CHECKED;

/* How many tokens of some problems each expert has, layer by layer. */
typedef struct ExpertLoad {
    int64_t layers, experts, tokens;
    int64_t load[QUIZ_LAYERS][QUIZ_EXPERTS];
} ExpertLoad;
bool quiz_experts(Quiz *q, ExpertLoad *load, Err *err) CHECKED;
