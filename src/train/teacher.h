/* teacher.h -- private to train/: a model that is asked many things, for distill.c: one of this
 * machine, all at once (teacher.c), or one at an address, one after the other (remote.c). */
#pragma once
#include "infer/infer.h"
#include "train/train.h"

enum { ASKED_MOST = 64 }; /* answers under way at once */

typedef struct Answer {
    Buf reasoning, text;
    bool thought; /* the reasoning is not NULL */
    Finish finish;
    /* private: */
    struct Teacher *teacher;
    int64_t seq;
    Str conversation; /* for an address: it waits for its turn */
    uint64_t seed;
    Decoder decoder;
    Splitter splitter;
    Buf piece;
} Answer;

typedef struct Teacher Teacher;
bool teacher_open(Teacher **t, const Recipe *r, int64_t threads, Err *err) CHECKED;
/* What its answers depend on, beside the question and the recipe. */
const char *teacher_id(const Teacher *t);
/* Begins an answer to a conversation (JSON, {"messages": [...]}), which has come when its finish is
 * set. Its texts lie in `a`. */
bool teacher_ask(Teacher *t, Answer *to, Arena *a, Str conversation, uint64_t seed,
                 Err *err) CHECKED;
bool teacher_step(Teacher *t, Err *err) CHECKED;
void teacher_close(Teacher *t); /* NULL is fine; what is under way is forgotten */

/* An OpenAI-compatible address. */
typedef struct Remote Remote;
bool remote_open(Remote **m, Arena *a, const Recipe *r, Err *err) CHECKED;
/* The answer to a conversation, whole. */
bool remote_ask(Remote *m, Answer *to, Str conversation, uint64_t seed, Err *err) CHECKED;
void remote_close(Remote *m); /* NULL is fine */
