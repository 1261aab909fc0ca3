/* source.h -- part of data.h: documents that are made instead of read, one for each number. Who
 * makes them (tasks) and who gives them out (the loader) do not see each other. */
#pragma once
#include "text/text.h"

/* A text; or, where n > 0, a conversation, written as the model's chat template writes it. What the
 * assistant says is learned, its reasoning and its end included; all else is read only. */
typedef struct Document {
    Str text;
    const Message *message; /* (n) */
    int64_t n;
} Document;

/* Documents 0, 1, 2, ... without end. A document depends on its number and on what `self` was made
 * with, and on nothing else: so a position in a source is a number, and a run that was stopped goes
 * on at the very token. */
typedef struct Source {
    const char
        *name; /* "task:addition": in messages; a checkpoint goes on with the same name only */
    void *self;
    /* What *d points to lies in `a` or lives as long as self. Any one thread calls it. */
    bool (*document)(void *self, int64_t number, Document *d, Arena *a, Err *err);
} Source;
