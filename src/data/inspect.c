/* inspect.c -- checks whether a file is the intended text, before anything is tokenised.
 *
 * What cannot be UTF-8 text is refused and named as what it is. What is unusual but possible is
 * counted, and causes a warning each time its shard is opened. Nothing is corrected silently: the
 * model is trained on exactly what the file contains. */
#include "data/inspect.h"
#include "data/documents.h"

#include <stdio.h>

enum { HEAD_BYTES = 1 << 16, ONE_DOCUMENT_BYTES = 1 << 16 };

/* A large text may contain a few broken characters; more than these are no accident. */
static bool too_many(int64_t n, int64_t bytes) { return n > 1 + bytes / 10000; }

/* ---- bytes ----------------------------------------------------------------------------------- */

/* \b \t \n \v \f \r and the escape of terminals occur in texts; other control characters do not. */
static bool is_control(uint8_t c) {
    return c == 0x7f || (c < 0x20 && (c < '\b' || c > '\r') && c != 0x1b);
}

/* Counts the bytes of the line under way, the places that are not UTF-8, and its control
 * characters. */
static void bytes_count(TextCounts *c, Str s) {
    const int64_t before = c->not_utf8 + c->control;
    c->bytes += s.n;
    for (int64_t i = 0; i < s.n;) {
        const uint8_t b = (uint8_t)s.p[i];
        int64_t n = 1;
        if (b >= 0x80) {
            n = utf8_length((Str){s.p + i, s.n - i});
            for (c->not_utf8 += n == 0; n == 0 || (i + n < s.n && (s.p[i + n] & 0xc0) == 0x80);)
                n++;
        } else
            c->control += is_control(b);
        i += n;
    }
    if (before == 0 && c->not_utf8 + c->control > 0) c->strange_line = c->lines;
}

/* ---- kinds of file --------------------------------------------------------------------------- */

typedef struct FileKind {
    const char *magic;
    int64_t n, at;
    const char *name, *help;
} FileKind;
#define KIND(magic, at, name, help)                                                                \
    { magic, (int64_t)sizeof magic - 1, at, name, help }

static const FileKind kinds[] = {
    KIND("\x1f\x8b", 0, "a gzip file inside another", "unpack it first (gunzip -k FILE)"),
    KIND("BZh", 0, "a bzip2 file", "unpack it first (bunzip2 -k FILE)"),
    KIND("\x04\x22\x4d\x18", 0, "an lz4 file", "unpack it first (lz4 -d FILE)"),
    KIND("PK\x03\x04", 0, "a zip file, or a document that is one inside",
         "take its text out first (unzip FILE)"),
    KIND("7z\xbc\xaf\x27\x1c", 0, "a 7-Zip file", "unpack it first (7z x FILE)"),
    KIND("ustar", 257, "a tar archive", "unpack it first (tar -xf FILE)"),
    KIND("%PDF-", 0, "a PDF document", "take its text out first (pdftotext FILE)"),
    KIND("PAR1", 0, "a Parquet table", "write its column of text to a file first"),
    KIND("ARROW1", 0, "an Arrow table", "write its column of text to a file first"),
    KIND("SQLite format 3", 0, "an SQLite database", "write its texts to a file first"),
    KIND("GGUF", 0, "a GGUF model", "name a text"),
    KIND("LISAOTOK", 0, "a shard of tokens", "name the text that it was made of"),
};

static bool refused(const char *path, const char *name, const char *help, Err *err) {
    return err_set(err, ERR_FORMAT, "%s is %s, and a text in UTF-8 is wanted: %s", path, name,
                   help);
}

/* UTF-16 and UTF-32 have a byte order mark, or zeros where the high bytes of plain letters are. */
static const char *wide_encoding(Str head) {
    static const struct {
        const char *mark, *name, *unmarked;
        int64_t n, step; /* of the mark; bytes a unit */
        int zeros;       /* bit i: byte i of a plain letter is zero */
    } wide[] = {
        {"\xff\xfe\0\0", "UTF-32", "UTF-32LE", 4, 4, 0xe},
        {"\0\0\xfe\xff", "UTF-32", "UTF-32BE", 4, 4, 0x7},
        {"\xff\xfe", "UTF-16", "UTF-16LE", 2, 2, 0x2},
        {"\xfe\xff", "UTF-16", "UTF-16BE", 2, 2, 0x1},
    };
    for (int64_t k = 0; k < COUNT(wide); k++)
        if (str_starts(head, (Str){wide[k].mark, wide[k].n})) return wide[k].name;
    for (int64_t k = 0; k < COUNT(wide); k++) {
        int64_t units = 0, plain = 0;
        for (int64_t i = 0; i + wide[k].step <= head.n; i += wide[k].step, units++) {
            int zeros = 0;
            for (int64_t j = 0; j < wide[k].step; j++) zeros |= (head.p[i + j] == 0) << j;
            plain += zeros == wide[k].zeros;
        }
        if (units >= 2 && 2 * plain > units) return wide[k].unmarked;
    }
    return NULL;
}

static bool bytes_check(const TextCounts *c, const char *path, Err *err) {
    if (too_many(c->control, c->bytes))
        return err_set(
            err, ERR_FORMAT,
            "%s is not a text: %lld of %lld bytes are control characters. Is it the right "
            "file?",
            path, (long long)c->control, (long long)c->bytes);
    if (too_many(c->not_utf8, c->bytes))
        return err_set(
            err, ERR_FORMAT,
            "%s is not in UTF-8: %lld places in %lld bytes are none, the first in line "
            "%lld. Convert it from what it is, as in iconv -f WINDOWS-1252 -t UTF-8 FILE",
            path, (long long)c->not_utf8, (long long)c->bytes, (long long)c->strange_line);
    return true;
}

bool text_kind_check(const char *path, Str text, Err *err) {
    if (text.n == 0)
        return err_set(err, ERR_FORMAT, "%s is empty: there is no text to train on", path);
    const Str head = {text.p, MIN(text.n, HEAD_BYTES)};
    TextCounts c = {0};
    for (Str rest = head, line; rest.n; rest = (Str){rest.p + line.n, rest.n - line.n})
        c.lines++, bytes_count(&c, line = line_of(rest));
    for (int64_t i = 0; i < COUNT(kinds) && too_many(c.control + c.not_utf8, c.bytes); i++) {
        const FileKind *k = &kinds[i];
        if (head.n >= k->at + k->n && !memcmp(head.p + k->at, k->magic, (size_t)k->n))
            return refused(path, k->name, k->help, err);
    }
    const char *wide = wide_encoding(head);
    if (!wide) return bytes_check(&c, path, err);
    char help[64];
    snprintf(help, sizeof help, "convert it (iconv -f %s -t UTF-8 FILE)", wide);
    return refused(path, wide, help, err);
}

/* ---- documents ------------------------------------------------------------------------------- */

Inspector inspector_new(const ShardSpec *spec) {
    const Str separator = str_of(spec->separator);
    return (Inspector){.separator = separator,
                       .special = token_named(spec->tok, separator) >= 0,
                       .doc_empty = true};
}

/* How often s contains `part`, which is not empty. */
static int64_t occurrences(Str s, Str part) {
    int64_t n = 0;
    while (s.n >= part.n) {
        const char *p = memchr(s.p, part.p[0], (size_t)(s.n - part.n + 1));
        if (!p) break;
        const bool here = !memcmp(p, part.p, (size_t)part.n);
        n += here;
        p += here ? part.n : 1;
        s = (Str){p, s.p + s.n - p};
    }
    return n;
}

static bool is_json_object(Str line) {
    const Str s = str_trim(line, " \t\r\n");
    return s.n > 2 && s.p[0] == '{' && s.p[s.n - 1] == '}';
}

void inspect_line(Inspector *i, Str line) {
    TextCounts *c = &i->counts;
    const bool begins = !i->within;
    c->lines += begins;
    bytes_count(c, line);
    i->within = line.p[line.n - 1] != '\n';
    if (begins && is_separator(line, i->separator)) {
        c->empty += i->doc_empty && c->separators > 0;
        c->separators++;
        i->doc_empty = true;
        return;
    }
    i->doc_empty &= breaks_trimmed(line).n == 0;
    c->json += begins && is_json_object(line);
    if (begins && str_eq(str_trim(line, " \t\r\n"), str_trim(i->separator, " \t\r\n")))
        c->near++;
    else if (i->special)
        c->inner += occurrences(line, i->separator);
}

void inspect_json(Inspector *i, Str line, Str text) {
    TextCounts *c = &i->counts;
    c->lines++;
    if (str_trim(line, " \t\r\n").n == 0) {
        c->bytes += line.n;
        return;
    }
    bytes_count(c, text);
    c->separators++; /* each line is a document */
    c->empty += breaks_trimmed(text).n == 0;
    if (i->special) c->inner += occurrences(text, i->separator);
}

bool inspect_end(const Inspector *i, const char *path, Err *err) {
    const TextCounts *c = &i->counts;
    if (!bytes_check(c, path, err)) return false;
    if (c->separators > 0 || c->near + c->inner == 0) return true;
    counts_warn(c, 1, path, i->separator.p);
    return err_set(err, ERR_FORMAT,
                   "%s would be one document: no line of it is \"%.*s\". Put each on a line of its "
                   "own without blanks, or name the line between documents in data.separator",
                   path, STRF(i->separator));
}

void counts_warn(const TextCounts *c, int64_t docs, const char *path, const char *separator) {
    if (c->near)
        log_at(LOG_WARN,
               "%s: %lld lines are \"%s\" but for blanks around it; they separate nothing and are "
               "trained as text (%lld lines are the separator as it should be)",
               path, (long long)c->near, separator, (long long)c->separators);
    if (c->inner)
        log_at(LOG_WARN,
               "%s: \"%s\" stands %lld time%s inside a line, where it separates nothing and its "
               "letters are trained as text",
               path, separator, (long long)c->inner, plural(c->inner));
    if (c->empty)
        log_at(LOG_WARN, "%s: %lld documents are empty and left out", path, (long long)c->empty);
    if (c->not_utf8 + c->control)
        log_at(
            LOG_WARN,
            "%s: %lld places are not UTF-8 and %lld characters are control characters, the first "
            "in line %lld; they are trained as they are",
            path, (long long)c->not_utf8, (long long)c->control, (long long)c->strange_line);
    if (docs == 1 && c->bytes >= ONE_DOCUMENT_BYTES && c->near + c->inner == 0)
        log_at(LOG_WARN,
               "%s is one document of %.1f MB: no line of it is \"%s\". If it holds many, put that "
               "line between them, or name the line that stands there in data.separator",
               path, 1e-6 * (double)c->bytes, separator);
    if (c->lines >= 10 && c->json >= c->lines - c->lines / 10)
        log_at(
            LOG_WARN,
            "%s: %lld of %lld lines are JSON objects, which are trained as they stand, names and "
            "braces included; write the text in them to a file of its own if that is not meant",
            path, (long long)c->json, (long long)c->lines);
}
