/* cursor.c -- see cursor.h. Nothing recurses, so a file cannot choose how deep the stack gets. */
#include "text/cursor.h"

static void skip_space(Cursor *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

int64_t cursor_at(const Cursor *s) { return s->p - s->start; }

bool cursor_peek(Cursor *s, char c) {
    skip_space(s);
    return s->p < s->end && *s->p == c;
}

bool cursor_char(Cursor *s, char c) {
    if (!cursor_peek(s, c)) return false;
    s->p++;
    return true;
}

bool cursor_string(Cursor *s, Str *inside) {
    if (!cursor_peek(s, '"')) return false;
    const char *p = s->p + 1;
    for (; p < s->end && *p != '"'; p++)
        if (*p == '\\' && p + 1 < s->end) p++;
    if (p == s->end) return false;
    *inside = (Str){s->p + 1, p - s->p - 1};
    s->p = p + 1;
    return true;
}

bool cursor_int(Cursor *s, int64_t *v) {
    skip_space(s);
    const char *p = s->p;
    bool minus = p < s->end && *p == '-';
    p += minus;
    const char *digits = p;
    int64_t n = 0;
    for (; p < s->end && *p >= '0' && *p <= '9' && n < (int64_t)1 << 53; p++)
        n = 10 * n + (*p - '0');
    bool plain = p == s->end || !char_in(*p, "0123456789.eE");
    if (p == digits || !plain || (*digits == '0' && p > digits + 1)) return false;
    *v = minus ? -n : n;
    s->p = p;
    return true;
}

bool cursor_skip(Cursor *s, int64_t *count) {
    Cursor was = *s;
    int64_t depth = 0;
    do {
        Str ignored;
        skip_space(s);
        if (s->p == s->end) break;
        char c = *s->p;
        if (c == '"') {
            if (!cursor_string(s, &ignored)) break;
        } else if (c == '{' || c == '[') {
            depth++, s->p++;
        } else if (c == '}' || c == ']') {
            if (--depth < 0) break;
            s->p++;
            continue;
        } else if (c == ',' || c == ':') {
            if (depth == 0) break;
            s->p++;
            continue;
        } else {
            do s->p++;
            while (s->p < s->end && !char_in(*s->p, ",:]}[{\" \n\t\r"));
        }
        ++*count;
    } while (depth > 0);
    bool whole = depth == 0 && s->p > was.p;
    if (!whole) *s = was;
    return whole;
}
