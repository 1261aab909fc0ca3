/* lines.h -- private to cli/: standard input line by line, as it comes, and JSON objects one a
 * line. */
#pragma once
#include "base/base.h"

#include <jansson.h>
#include <stdio.h>

enum { LINE_BYTES = 1 << 28 };
typedef struct Lines {
    Buf held;                 /* what was read; the next line begins at `at` */
    int64_t at, seen, number; /* seen: bytes from there on without a line break; lines given */
    bool ended;
    int64_t bad; /* lines that error_print answered ... */
    Err first;   /* ... with what the first was told */
} Lines;
void lines_init(Lines *l, Arena *a);

typedef enum LineResult { LINE_GOT, LINE_NONE, LINE_END } LineResult;
/* The next line without its end, valid until the next call. LINE_NONE: it has not come yet, and
 * `wait` is false. LINE_END also when interrupted, and with an Err when input cannot be read or has
 * a line longer than LINE_BYTES. */
LineResult line_next(Lines *l, bool wait, Str *line, Err *err);
/* The next line as a JSON object, the caller's; NULL with *bad where it is none. Blank lines and a
 * byte order mark are skipped. */
LineResult object_next(Lines *l, bool wait, json_t **object, Err *bad, Err *err);

void object_print(json_t *o);               /* one line of stdout, at once; takes the reference */
json_t *message_json(const Err *err);       /* its message as a JSON string */
void error_print(Lines *l, const Err *bad); /* the object that answers a bad line */
bool lines_fine(const Lines *l, Err *err);  /* false where one was bad */
