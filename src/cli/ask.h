/* ask.h -- private to cli/: problems of a task put to a model, all in one running batch of an
 * engine, and its answers taken apart and checked. */
#pragma once
#include "bundle/bundle.h"
#include "infer/infer.h"
#include "tasks/tasks.h"

/* A problem as the model is asked it: as a user asks where the bundle has a chat encoding, else as
 * a plain text. */
typedef struct Question {
    Problem problem;
    int64_t index; /* in its row */
    Ids ids;
    bool in_thought; /* the prompt has opened one */
} Question;
bool question_make(Question *q, Arena *a, const Bundle *b, const TaskStream *s, int64_t index,
                   Err *err) CHECKED;

typedef struct Reply {
    Str thought, answer; /* thought.p NULL: there is none */
    Finish finish;       /* FINISH_STOP or FINISH_LENGTH */
    int64_t tokens;      /* generated, the end token included */
    bool right;          /* finished, and the task's check takes the answer */
    bool formed; /* finished, the thought closed where the model has thoughts, with an answer */
} Reply;

typedef struct Asker {
    Engine *engine;
    int64_t together, positions; /* of its sequences: how many, how long */
    const Bundle *text;          /* tokenizer, chat encoding */
    int64_t V;
    const Task *task;
    const int32_t *stop; /* (n_stop) end tokens */
    int64_t n_stop;
    int64_t max_tokens, budget; /* of an answer; of its thought: -1: none */
    float temperature;
    uint64_t seed; /* each answer draws by this, its problem and its sample, and nothing else */
    /* Once for each answer, as they end: sample number `sample` of q. Texts are valid meanwhile. */
    void (*take)(void *arg, const Question *q, int64_t sample, const Reply *r);
    void *arg;
    Progress *bar; /* NULL: none */
} Asker;
/* `samples` answers to each of n questions. Samples of a question follow each other closely, so
 * that all but the first find its prompt in the engine's cache. Ctrl-C is an ERR_INTERRUPTED; the
 * engine is empty again in any case. */
bool questions_ask(const Asker *k, const Question *q, int64_t n, int64_t samples, Err *err) CHECKED;
