/* scan.c -- a strict JSON scanner (RFC 8259): valid UTF-8, no control characters, no trailing
 * commas, no lone surrogates, one value and then only white space. It keeps no tree; see parts.h
 * for why.
 *
 * Invariant: begin <= p <= end, and after `bad` p does not move. */
#include "file/parts.h"

void scan_init(Scan *s, Arena *a, Str text, const char *file, Err *err) {
    *s = (Scan){text.p, text.p, text.p + text.n, file, {0}, a, err, false};
}

void scan_fail(Scan *s, const char *expected) {
    if (s->bad) return;
    s->bad = true;
    err_set(s->err, ERR_FORMAT, "%s: JSON at byte %lld%s%.*s: expected %s, found %s", s->file,
            (long long)(s->p - s->begin), s->field.n ? ", at " : "", STRF(s->field), expected,
            s->p == s->end ? "the end" : "something else");
}

static char peek(Scan *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
    return s->p < s->end ? *s->p : '\0';
}

void scan_char(Scan *s, char c) {
    char what[] = {'\'', c, '\'', '\0'};
    if (s->bad) return;
    if (peek(s) == c && s->p < s->end)
        s->p++;
    else
        scan_fail(s, what);
}

bool scan_more(Scan *s, char close, int64_t i) {
    if (s->bad) return false;
    if (peek(s) == close) {
        s->p++;
        return false;
    }
    if (i > 0) scan_char(s, ',');
    return !s->bad;
}

/* ---- strings --------------------------------------------------------------------------------- */

/* One escape, p at its backslash: writes its bytes, never more than the escape has. */
static int unescape(Scan *s, char *to) {
    Str rest = {s->p, s->end - s->p};
    int32_t c = json_escape(&rest);
    if (c < 0) {
        scan_fail(s, "a valid escape");
        return 0;
    }
    s->p = rest.p;
    return utf8_put(to, c);
}

/* Moves p over the plain characters of a string, up to a quote or a backslash. */
static void skip_plain(Scan *s) {
    while (s->p < s->end && *s->p != '"' && *s->p != '\\') {
        int n = (unsigned char)*s->p < 0x20 ? 0 : utf8_length((Str){s->p, s->end - s->p});
        if (n == 0) {
            scan_fail(s, "a string of valid UTF-8 without control characters");
            return;
        }
        s->p += n;
    }
    if (s->p == s->end) scan_fail(s, "the end of a string");
}

/* The rest of a string that holds escapes; `start` is its first character. */
static Str decode(Scan *s, const char *start) {
    const char *quote = s->p; /* an upper bound of its length: the closing quote */
    while (quote < s->end && *quote != '"') quote += *quote == '\\' && s->end - quote > 1 ? 2 : 1;
    if (quote == s->end) {
        s->p = s->end;
        scan_fail(s, "the end of a string");
        return (Str){0};
    }
    char *to = arena_try(s->a, quote - start + 1);
    if (!to) {
        s->bad = true;
        err_set(s->err, ERR_LIMIT, "%s: no memory for a string of %lld bytes", s->file,
                (long long)(quote - start));
        return (Str){0};
    }
    int64_t n = s->p - start;
    memcpy(to, start, (size_t)n);
    while (!s->bad && *s->p != '"') {
        if (*s->p == '\\') {
            n += unescape(s, to + n);
        } else {
            const char *from = s->p;
            skip_plain(s);
            memcpy(to + n, from, (size_t)(s->p - from));
            n += s->p - from;
        }
    }
    if (s->bad) return (Str){0};
    s->p++;
    return (Str){to, n};
}

Str scan_string(Scan *s) {
    if (s->bad) return (Str){0};
    if (peek(s) != '"') {
        scan_fail(s, "a string");
        return (Str){0};
    }
    const char *start = ++s->p;
    skip_plain(s);
    if (s->bad) return (Str){0};
    if (*s->p == '\\') return decode(s, start);
    return (Str){start, s->p++ - start};
}

Str scan_key(Scan *s) {
    Str key = scan_string(s);
    scan_char(s, ':');
    return s->bad ? (Str){0} : key;
}

/* ---- everything else ------------------------------------------------------------------------- */

static bool is_digit(const Scan *s) { return s->p < s->end && *s->p >= '0' && *s->p <= '9'; }

int64_t scan_int(Scan *s) {
    if (s->bad) return 0;
    peek(s);
    const char *start = s->p;
    int64_t v = 0;
    while (is_digit(s) && !__builtin_mul_overflow(v, 10, &v)
           && !__builtin_add_overflow(v, *s->p - '0', &v))
        s->p++;
    bool whole = s->p > start && (*start != '0' || s->p == start + 1);
    if (whole && (s->p == s->end || !(is_digit(s) || char_in(*s->p, ".eE")))) return v;
    scan_fail(s, "a whole number from 0 to 9223372036854775807");
    return 0;
}

static void skip_digits(Scan *s) {
    if (!is_digit(s)) scan_fail(s, "a digit");
    while (!s->bad && is_digit(s)) s->p++;
}

static bool take(Scan *s, const char *any) {
    bool is = !s->bad && s->p < s->end && char_in(*s->p, any);
    s->p += is;
    return is;
}

static void skip_number(Scan *s) {
    take(s, "-");
    if (!take(s, "0")) skip_digits(s);
    if (take(s, ".")) skip_digits(s);
    if (take(s, "eE")) {
        take(s, "+-");
        skip_digits(s);
    }
}

static void skip_word(Scan *s, Str word) {
    if (str_starts((Str){s->p, s->end - s->p}, word))
        s->p += word.n;
    else
        scan_fail(s, "a value");
}

static void skip_value(Scan *s, int levels) {
    if (s->bad) return;
    char c = peek(s);
    if (c == '{' || c == '[') {
        char close = c == '{' ? '}' : ']';
        if (levels == 0) scan_fail(s, "at most 32 levels of brackets");
        scan_char(s, c);
        for (int64_t i = 0; scan_more(s, close, i); i++) {
            if (c == '{') scan_key(s);
            skip_value(s, levels - 1);
        }
    } else if (c == '"') {
        scan_string(s);
    } else if (c == 't') {
        skip_word(s, STR("true"));
    } else if (c == 'f') {
        skip_word(s, STR("false"));
    } else if (c == 'n') {
        skip_word(s, STR("null"));
    } else {
        skip_number(s);
    }
}

void scan_skip(Scan *s) { skip_value(s, 32); }

bool scan_end(Scan *s) {
    if (!s->bad) {
        peek(s);
        if (s->p < s->end) scan_fail(s, "nothing after the end of the text");
    }
    return !s->bad;
}
