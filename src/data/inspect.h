/* inspect.h -- private to data/: is a file the text that was meant? */
#pragma once
#include "data/data.h"

typedef struct Inspector {
    TextCounts counts;
    Str separator;
    bool special;   /* the separator names a token: nobody writes it by chance */
    bool doc_empty; /* nothing but line breaks since the last separator */
} Inspector;
Inspector inspector_new(const ShardSpec *spec);
/* Looks at the beginning only: false for what is no text in UTF-8, named as what it is. */
bool text_kind_check(const char *path, Str text, Err *err) CHECKED;
/* One line after the other, breaks included. */
void inspect_line(Inspector *i, Str line);
/* Behind the last line: false where the text is plainly not what was meant. */
bool inspect_end(const Inspector *i, const char *path, Err *err) CHECKED;
/* What is strange about the text but may be meant, a warning each. */
void counts_warn(const TextCounts *c, int64_t docs, const char *path, const char *separator);
