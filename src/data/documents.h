/* documents.h -- private to data/: a text as documents, and documents as units that are encoded one
 * by one. */
#pragma once
#include "data/data.h"
#include "data/reader.h"

/* The text without a byte order mark at its beginning. */
Str text_begin(Str text);
/* The first line of s (s.n > 0), including its line break. */
Str line_of(Str s);
/* The same, of a line longer than `most` bytes a part of that many, cut between characters: so a
 * file that is one line is never in memory whole. */
Str line_part(Str s, int64_t most);
/* s without the line breaks at both ends. */
Str breaks_trimmed(Str s);
/* Whether the line is the separator and its line break. */
bool is_separator(Str line, Str separator);

/* Where a document is cut into units depends on its bytes alone. */
enum { UNIT_BYTES = 1 << 20 };
/* Parts of long lines, and of a mapped file what is read before its pages leave memory again. */
enum { PART_BYTES = 8 << 20 };
/* Of a packed file: what is in memory at once of one document, of one line of JSON. */
#define DOCUMENT_MOST ((int64_t)1 << 30)
#define LINE_MOST     ((int64_t)64 << 20)

/* A line of JSON, or as much of it as shows that it is too long. */
Str json_line(Str s);
/* The text in a line of JSON: that of its member `field`, with "" the line as it is, into `a`;
 * empty for a blank line. */
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
    const Map *map; /* the file, where the window is all of it; NULL: it is unpacked */
    int64_t line;   /* lines of JSON so far */
    bool end;       /* nothing follows the window */
} Walk;
typedef enum Next { NEXT_UNIT, NEXT_MORE, NEXT_FAILED } Next;
/* NEXT_MORE: the window has no further whole document. Empty documents are left out. */
Next next_unit(Walk *w, TextUnit *u, Err *err) CHECKED;
