/* documents.h -- private to data/: a text as documents, and documents as units that are encoded one
 * by one. */
#pragma once
#include "base/base.h"

/* A byte order mark at the beginning of a file is no text. */
Str text_begin(Str text);
/* The line at the beginning of s (s.n > 0), its break included. */
Str line_of(Str s);
/* Line breaks at both ends taken off. */
Str breaks_trimmed(Str s);
/* The line is the separator and its break. */
bool is_separator(Str line, Str separator);

/* One document, or a part of a long one; where a document is cut depends on its bytes alone. */
typedef struct Unit {
    Str text;
    bool ends; /* its document ends with it */
} Unit;
enum { UNIT_BYTES = 1 << 20 };

/* Where the walk through a text is: `rest` is still to come, `doc` is what is left of a long
 * document. It begins as {text_begin(text), {0}, separator}. */
typedef struct Walk {
    Str rest, doc, separator;
} Walk;
/* false at the end of the text. Empty documents are left out. */
bool next_unit(Walk *w, Unit *u);
