/* inspect.h -- private to data/: checks whether a file is the intended text. */
#pragma once
#include "data/data.h"

typedef struct Inspector {
    TextCounts counts;
    Str separator;
    bool special;   /* the separator names a token, so it does not occur by chance */
    bool doc_empty; /* nothing but line breaks since the last separator */
    bool within;    /* a line has begun and has not ended */
} Inspector;
Inspector inspector_new(const ShardSpec *spec);
/* Looks at the beginning only: false for what is not UTF-8 text, named as what it is. */
bool text_kind_check(const char *path, Str text, Err *err) CHECKED;
/* Takes one line after the other, line breaks included; a long one may come in parts. */
void inspect_line(Inspector *i, Str line);
/* A line of JSON, and the text that was in it. */
void inspect_json(Inspector *i, Str line, Str text);
/* After the last line: false where the text is clearly not the intended one. */
bool inspect_end(const Inspector *i, const char *path, Err *err) CHECKED;
/* A warning for everything that is unusual about the text. */
void counts_warn(const TextCounts *c, int64_t docs, const char *path, const char *separator);
