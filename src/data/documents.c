/* documents.c -- where documents begin and end, and where long ones are cut. */
#include "data/documents.h"

#include <jansson.h>

static bool is_break(char c) { return c == '\n' || c == '\r'; }

Str text_begin(Str text) {
    const Str mark = STR("\xef\xbb\xbf");
    return str_starts(text, mark) ? (Str){text.p + mark.n, text.n - mark.n} : text;
}

Str line_of(Str s) {
    const char *nl = memchr(s.p, '\n', (size_t)s.n);
    return (Str){s.p, nl ? nl + 1 - s.p : s.n};
}

Str line_part(Str s, int64_t most) {
    const Str part = line_of((Str){s.p, MIN(s.n, most)});
    int64_t n = part.n;
    if (n == s.n || part.p[n - 1] == '\n') return part;
    while (n > most - 3 && ((uint8_t)s.p[n] & 0xc0) == 0x80) n--;
    return (Str){s.p, n};
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

/* Takes the next document of a text, which may be empty; false where its end is not in sight. What
 * was looked through of a mapped file leaves memory again. */
static bool take_text(Str *doc, Walk *w) {
    Str rest = w->rest;
    *doc = (Str){rest.p, 0};
    for (bool begins = true, ends; rest.n; begins = ends) { /* of a line */
        const Str part = line_part(rest, PART_BYTES);
        ends = part.p[part.n - 1] == '\n';
        if (!ends && part.n == rest.n && !w->end) return false;
        rest = (Str){rest.p + part.n, rest.n - part.n};
        if (begins && is_separator(part, w->separator)) {
            w->rest = rest;
            return true;
        }
        doc->n += part.n;
        if (w->map && doc->n / PART_BYTES > (doc->n - part.n) / PART_BYTES)
            os_drop(w->map, 0, w->map->n - rest.n);
    }
    if (w->end) w->rest = rest;
    return w->end;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static bool line_failed(const char *path, int64_t number, const char *what, Err *err) {
    return err_set(err, ERR_FORMAT, "%s, line %lld: %s", path, (long long)number, what);
}

Str json_line(Str s) { return line_of((Str){s.p, MIN(s.n, LINE_MOST + 1)}); }

bool json_text(Str *text, Arena *a, Str line, const char *field, const char *path, int64_t number,
               Err *err) {
    json_error_t e;
    *text = (Str){0};
    if (line.n > LINE_MOST)
        return line_failed(path, number, "a line of more than 64 MB is no document", err);
    if (str_trim(line, " \t\r\n").n == 0) return true;
    if (!field[0]) return *text = str_copy(a, str_trim(line, " \t\r\n")), true;
    json_t *o = json_loadb(line.p, (size_t)line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!o) return line_failed(path, number, e.text, err);
    const json_t *v = json_object_get(o, field);
    const bool ok = json_is_string(v);
    if (ok) *text = str_copy(a, (Str){json_string_value(v), (int64_t)json_string_length(v)});
    json_decref(o);
    return ok
           || err_set(
               err, ERR_FORMAT,
               "%s, line %lld: there is no string \"%s\" in it. Name the member that has the "
               "text in data.field",
               path, (long long)number, field);
}

static Next take_json(Str *doc, Walk *w, Err *err) {
    if (!w->rest.n) return NEXT_MORE;
    const Str line = json_line(w->rest);
    if (!w->end && line.n <= LINE_MOST && line.p[line.n - 1] != '\n') return NEXT_MORE;
    w->rest = (Str){w->rest.p + line.n, w->rest.n - line.n};
    return json_text(doc, w->copies, line, w->field, w->path, ++w->line, err) ? NEXT_UNIT
                                                                              : NEXT_FAILED;
}

/* ---- units ----------------------------------------------------------------------------------- */

/* The length of the first part of a document longer than a unit: it ends after a line break, else
 * between characters. */
static int64_t cut_at(Str doc) {
    for (int64_t i = UNIT_BYTES; i > UNIT_BYTES / 2; i--)
        if (doc.p[i - 1] == '\n') return i;
    int64_t i = UNIT_BYTES;
    while (i > UNIT_BYTES - 4 && ((uint8_t)doc.p[i] & 0xc0) == 0x80) i--;
    return i;
}

/* The next document that is not empty. */
static Next next_document(Walk *w, Err *err) {
    while (!w->doc.n) {
        if (w->end && !w->rest.n) return NEXT_MORE;
        Str doc;
        const Next next = w->field             ? take_json(&doc, w, err)
                          : take_text(&doc, w) ? NEXT_UNIT
                                               : NEXT_MORE;
        if (next != NEXT_UNIT) return next;
        w->doc = breaks_trimmed(doc);
    }
    return NEXT_UNIT;
}

Next next_unit(Walk *w, TextUnit *u, Err *err) {
    const Next next = next_document(w, err);
    if (next != NEXT_UNIT) return next;
    const bool one = w->doc.n <= UNIT_BYTES || (w->field && !w->field[0]);
    const int64_t n = one ? w->doc.n : cut_at(w->doc);
    *u = (TextUnit){{w->doc.p, n}, n == w->doc.n, w->path, w->line};
    w->doc = (Str){w->doc.p + n, w->doc.n - n};
    return NEXT_UNIT;
}
