/* documents.h -- private to data/: a text as documents, and documents as units that are encoded one
 * by one. */
#pragma once
#include "data/data.h"
#include "data/reader.h"

/* The text without a byte order mark at its beginning. */
Str text_begin(Str text);
/* The first line of s (s.n > 0), including its line break. */
Str line_of(Str s);
/* s without the line breaks at both ends. */
Str breaks_trimmed(Str s);
/* Whether the line is the separator and its line break. */
bool is_separator(Str line, Str separator);

/* Where a document is cut into units depends on its bytes alone. */
enum { UNIT_BYTES = 1 << 20 };
/* Of a packed file: what is in memory at once of one document, of one line of JSON. */
#define DOCUMENT_MOST ((int64_t)1 << 30)
#define LINE_MOST     ((int64_t)64 << 20)

/* The text in a line of JSON: that of its member `field`, into `a`; empty for a blank line. */
bool json_text(Str *text, Arena *a, Str line, const char *field, const char *path, int64_t number,
               Err *err) CHECKED;

/* A position in a window: `rest` is what follows, `doc` what is left of a long document. It begins
 * as {.rest = text_begin(window)}. */
typedef struct Walk {
    Str rest, doc;
    Str separator;     /* of text; of JSON: */
    const char *field; /* NULL: it is no JSON */
    Arena *copies;     /* of texts that stand in JSON */
    const char *path;
    int64_t line; /* lines of JSON so far */
    bool end;     /* nothing follows the window */
} Walk;
typedef enum Next { NEXT_UNIT, NEXT_MORE, NEXT_FAILED } Next;
/* NEXT_MORE: the window has no further whole document. Empty documents are left out. */
Next next_unit(Walk *w, TextUnit *u, Err *err) CHECKED;
