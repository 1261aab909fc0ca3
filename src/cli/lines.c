/* lines.c -- standard input line by line, as it comes, and JSON objects one a line. */
#include "cli/lines.h"
#include "cli/cli.h"

enum { READ_BYTES = 1 << 16 };

void lines_init(Lines *l, Arena *a) { *l = (Lines){.held.a = a}; }

/* The first whole line of what is held. */
static bool line_take(Lines *l, Str *line) {
    char *p = l->held.p + l->at, *end = NULL;
    int64_t n = l->held.n - l->at;
    if (n > l->seen) end = memchr(p + l->seen, '\n', (size_t)(n - l->seen));
    l->seen = n;
    if (!end && !(l->ended && n > 0)) return false;
    *line = (Str){p, end ? end - p : n};
    l->at += line->n + (end != NULL);
    l->seen = 0;
    l->number++;
    return true;
}

/* More bytes behind what is held; the lines already given make room first. */
static bool lines_read(Lines *l, Err *err) {
    char bytes[READ_BYTES];
    if (l->at > 0) memmove(l->held.p, l->held.p + l->at, (size_t)(l->held.n - l->at));
    l->held.n -= l->at, l->at = 0;
    if (l->held.n > LINE_BYTES)
        return err_set(err, ERR_LIMIT, "a line of standard input has more than %d bytes",
                       LINE_BYTES);
    int64_t n = os_input_read(bytes, READ_BYTES);
    if (n < 0 && os_interrupted()) return false;
    if (n < 0) return err_set(err, ERR_IO, "reading standard input failed: is it a folder?");
    if (n == 0) l->ended = true;
    buf_add(&l->held, (Str){bytes, n});
    return true;
}

LineResult line_next(Lines *l, bool wait, Str *line, Err *err) {
    while (!os_interrupted()) {
        if (line_take(l, line)) return LINE_GOT;
        if (l->ended) return LINE_END;
        if (!wait && !os_input_wait(0)) return LINE_NONE;
        if (!lines_read(l, err)) return LINE_END;
    }
    return LINE_END;
}

static bool is_blank(Str s) { return str_trim(s, " \t\r").n == 0; }

LineResult object_next(Lines *l, bool wait, json_t **object, Err *bad, Err *err) {
    Str line;
    LineResult r;
    *object = NULL;
    do {
        r = line_next(l, wait, &line, err);
        if (r != LINE_GOT) return r;
        if (l->number == 1 && str_starts(line, STR("\xef\xbb\xbf"))) line.p += 3, line.n -= 3;
    } while (is_blank(line));
    json_error_t at;
    json_t *o = json_loadb(line.p, (size_t)line.n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &at);
    if (json_is_object(o)) return *object = o, LINE_GOT;
    err_set(bad, ERR_FORMAT, "line %lld: not a JSON object%s%s", (long long)l->number,
            o ? "" : ": ", o ? "" : at.text);
    json_decref(o);
    return LINE_GOT;
}

void object_print(json_t *o) {
    CHECK(o);
    json_dumpf(o, stdout, JSON_COMPACT);
    printf("\n");
    fflush(stdout);
    json_decref(o);
}

/* A message may quote bytes that are no UTF-8, or end within a character. */
json_t *message_json(const Err *err) {
    char ascii[sizeof err->msg];
    json_t *s = json_string(err->msg);
    if (s) return s;
    for (size_t i = 0; i < sizeof ascii; i++)
        ascii[i] = (char)((unsigned char)err->msg[i] < 128 ? err->msg[i] : '?');
    return json_string(ascii);
}

void error_print(Lines *l, const Err *bad) {
    if (l->bad++ == 0) l->first = *bad;
    object_print(json_pack("{s:o}", "error", message_json(bad)));
}

bool lines_fine(const Lines *l, Err *err) {
    if (l->bad == 0) return true;
    return err_set(err, ERR_FORMAT,
                   "%lld of %lld lines got an error instead of a result; the first: %s",
                   (long long)l->bad, (long long)l->number, l->first.msg);
}
