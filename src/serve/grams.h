/* grams.h -- private to serve/: what texts are indexed by, in languages with and without blanks. */
#pragma once
#include "base/base.h"

/* The text with its Chinese, Japanese and Korean characters as overlapping pairs, each a word, and
 * the last one alone: "ab路漫c" gives "ab 路漫 漫 c". A tokenizer that knows blanks and letters
 * indexes it. */
void grams_add(Buf *out, Str text);
/* The words as a query of FTS5: each a phrase that may end within its last word. */
void grams_query(Buf *out, const Str *word, int64_t n);
/* The words of a question as a query of FTS5: any of them, at most `most`. */
void grams_query_any(Buf *out, Str question, int64_t most);
/* Of the text what stands around the word, on one line, as a JSON string. */
void grams_excerpt(Buf *out, Str text, Str word);
