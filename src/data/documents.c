/* documents.c -- where documents begin and end, and where long ones are cut. */
#include "data/documents.h"

static bool is_break(char c) { return c == '\n' || c == '\r'; }

Str text_begin(Str text) {
    const Str mark = STR("\xef\xbb\xbf");
    return str_starts(text, mark) ? (Str){text.p + mark.n, text.n - mark.n} : text;
}

Str line_of(Str s) {
    const char *nl = memchr(s.p, '\n', (size_t)s.n);
    return (Str){s.p, nl ? nl + 1 - s.p : s.n};
}

Str breaks_trimmed(Str s) {
    while (s.n && is_break(s.p[0])) s.p++, s.n--;
    while (s.n && is_break(s.p[s.n - 1])) s.n--;
    return s;
}

bool is_separator(Str line, Str separator) {
    while (line.n && is_break(line.p[line.n - 1])) line.n--;
    return str_eq(line, separator);
}

/* The next document that is not empty; n = 0 at the end of the text. */
static Str next_document(Walk *w) {
    while (w->rest.n) {
        Str doc = {w->rest.p, 0};
        bool ended = false;
        while (w->rest.n && !ended) {
            Str line = line_of(w->rest);
            w->rest = (Str){w->rest.p + line.n, w->rest.n - line.n};
            ended = is_separator(line, w->separator);
            if (!ended) doc.n += line.n;
        }
        doc = breaks_trimmed(doc);
        if (doc.n) return doc;
    }
    return (Str){0};
}

/* The length of the first part of a document longer than a unit: it ends after a line break, else
 * between characters. */
static int64_t cut_at(Str doc) {
    for (int64_t i = UNIT_BYTES; i > UNIT_BYTES / 2; i--)
        if (doc.p[i - 1] == '\n') return i;
    int64_t i = UNIT_BYTES;
    while (i > UNIT_BYTES - 4 && ((uint8_t)doc.p[i] & 0xc0) == 0x80) i--;
    return i;
}

bool next_unit(Walk *w, Unit *u) {
    if (!w->doc.n) w->doc = next_document(w);
    if (!w->doc.n) return false;
    int64_t n = w->doc.n <= UNIT_BYTES ? w->doc.n : cut_at(w->doc);
    *u = (Unit){.text = {w->doc.p, n}, .ends = n == w->doc.n};
    w->doc = (Str){w->doc.p + n, w->doc.n - n};
    return true;
}
