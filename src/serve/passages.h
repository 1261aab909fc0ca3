/* passages.h -- private to serve/: cuts a text into passages. */
#pragma once
#include "serve/documents.h"

/* Calls take(arg, p) for each passage in order until it returns false; path, id and score of p are
 * not set. A passage ends where a heading of Markdown begins, after some paragraphs, and where it
 * would become longer than PASSAGE_MOST: at the end of a line, of a sentence, of a word, of a
 * character, the first of these that there is. Passages of blanks alone are left out. */
bool passages_cut(Arena *a, Str text, DocumentKind kind, bool (*take)(void *arg, const Passage *p),
                  void *arg);
