/* cursor.h -- private to text/: a cursor over JSON text, for the two large tables of a
 * tokenizer.json.
 *
 * A parsed tree of the 300,000 strings of vocab and merges would take several times the file and
 * most of the loading time; these functions read them in place and check what they read. jansson
 * reads the rest of the file. Each function skips white space first, and leaves the cursor where it
 * was when it fails. */
#pragma once
#include "base/base.h"

typedef struct Cursor {
    const char *start, *p, *end;
} Cursor;

bool cursor_char(Cursor *s, char c);        /* takes c if it comes next */
bool cursor_peek(Cursor *s, char c);        /* whether c comes next */
bool cursor_string(Cursor *s, Str *inside); /* between the quotes, escapes still there */
bool cursor_int(Cursor *s, int64_t *v);     /* an integer below 2^53 in size */
/* Any one value; brackets are matched by number only. Adds the values in it, keys and itself to
 * *count. */
bool cursor_skip(Cursor *s, int64_t *count);
int64_t cursor_at(const Cursor *s); /* byte offset, for messages */
