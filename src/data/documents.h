/* documents.h -- private to data/: a text as documents, and documents as units that are encoded one
 * by one. */
#pragma once
#include "base/base.h"

/* The text without a byte order mark at its beginning. */
Str text_begin(Str text);
/* The first line of s (s.n > 0), including its line break. */
Str line_of(Str s);
/* s without the line breaks at both ends. */
Str breaks_trimmed(Str s);
/* Whether the line is the separator and its line break. */
bool is_separator(Str line, Str separator);

/* One document, or a part of a long one; where a document is cut depends on its bytes alone. */
typedef struct Unit {
    Str text;
    bool ends; /* it is the last part of its document */
} Unit;
enum { UNIT_BYTES = 1 << 20 };

/* A position in a text: `rest` is what follows, `doc` what is left of a long document. It begins as
 * {text_begin(text), {0}, separator}. */
typedef struct Walk {
    Str rest, doc, separator;
} Walk;
/* false at the end of the text. Empty documents are left out. */
bool next_unit(Walk *w, Unit *u);
