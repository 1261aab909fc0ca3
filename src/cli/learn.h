/* learn.h -- private to cli/: a tokenizer learnt from texts. */
#pragma once
#include "cli/cli.h"

typedef struct LearnSpec {
    const char *out;               /* the new tokenizer's folder */
    const char *separator, *field; /* of documents, as texts_open reads them */
    int64_t vocab, digits;
    int64_t turns;   /* 0: a conversation is written as a whole; 1: its last question alone */
    int64_t threads; /* 0: all */
    int64_t documents, seed; /* of each "task:..." */
} LearnSpec;
/* From files and tasks; says on stdout what it has become. ERR_USAGE where one is there already. */
bool tokenizer_learn(const LearnSpec *o, const char *const *name, int64_t n, Err *err) CHECKED;
