/* teacher.h -- private to train/: a model that is asked many things at once (teacher.c), for
 * distill.c. */
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
void teacher_step(Teacher *t);
void teacher_close(Teacher *t); /* NULL is fine; what is under way is forgotten */
