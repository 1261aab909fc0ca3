/* pattern.h -- private to text/: regular expressions, and the characters of JSON texts. */
#pragma once
#include "text/net.h"

typedef struct Pattern Pattern;
/* A regular expression that is to match a whole text, or with `search` a part of it. Everything
 * lives in `a`. */
bool pattern_parse(Pattern **out, Arena *a, Str text, bool search, Err *err) CHECKED;
/* The fewest and the most characters of what it matches; NET_FOREVER: any number. */
void pattern_lengths(const Pattern *p, int64_t *least, int64_t *most);
int32_t pattern_put(Net *n, Pattern *p, Writing w, int32_t next);

/* One that is known to be right. */
int32_t pattern_known(Net *n, const char *text, Writing w, int32_t next);
/* A text of least..most characters, all that JSON allows, escapes included; without its quotes. */
int32_t any_text(Net *n, Writing w, int32_t least, int32_t most, int32_t next);
/* A character that JSON takes as it is and that is none of these. */
int32_t chars_but(Net *n, const int32_t * not, int64_t n_not, Writing w, int32_t next);
/* A known text as it stands inside of quotes. */
Str text_written(Arena *a, Str s, Writing w);
