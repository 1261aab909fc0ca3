/* scan.h -- private to text/: a cursor over JSON text for the two large tables of a tokenizer.json.
 *
 * A tree of the 300,000 strings of vocab and merges would take several times the file and most of the
 * loading time; these functions read them where they stand. They check what they read; the rest of the
 * file is jansson's. Each skips white space first, and leaves the cursor where it was when it fails. */
#pragma once
#include "base/base.h"

typedef struct Scan { const char *start, *p, *end; } Scan;

bool scan_char(Scan *s, char c);                    /* takes c if it comes next */
bool scan_peek(Scan *s, char c);                    /* whether c comes next */
bool scan_string(Scan *s, Str *inside);             /* between the quotes, escapes still there */
bool scan_int(Scan *s, int64_t *v);                 /* an integer below 2^53 in size */
/* Any one value; brackets are matched by number only. Adds the values in it, keys and itself to *count. */
bool scan_skip(Scan *s, int64_t *count);
int64_t scan_at(const Scan *s);                     /* byte offset, for messages */
