/* str.c -- strings as pointer and length, growing buffers, strict numbers, UTF-8. */
#include "base/base.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool str_starts(Str s, Str prefix) {
    return s.n >= prefix.n && str_eq((Str){s.p, prefix.n}, prefix);
}

bool str_ends(Str s, Str suffix) {
    return s.n >= suffix.n && str_eq((Str){s.p + (s.n - suffix.n), suffix.n}, suffix);
}

Str str_trim(Str s, const char *set) {
    while (s.n > 0 && char_in(s.p[0], set)) s.p++, s.n--;
    while (s.n > 0 && char_in(s.p[s.n - 1], set)) s.n--;
    return s;
}

Str str_cut(Str *s, char c) {
    const char *at = s->n ? memchr(s->p, c, (size_t)s->n) : NULL;
    const Str first = {s->p, at ? at - s->p : s->n};
    *s = at ? (Str){at + 1, s->p + s->n - at - 1} : (Str){0};
    return first;
}

Str str_copy(Arena *a, Str s) {
    char *p = PUSH(a, char, s.n + 1);
    if (s.n) memcpy(p, s.p, (size_t)s.n);
    return (Str){p, s.n};
}

/* Formats behind b->p + b->n, growing first; the terminating NUL is not counted. */
static void buf_vfmt(Buf *b, const char *fmt, va_list args);

Str str_fmt(Arena *a, const char *fmt, ...) {
    Buf b = {.a = a};
    va_list args;
    va_start(args, fmt);
    buf_vfmt(&b, fmt, args);
    va_end(args);
    return buf_str(&b);
}

/* ---- buffers --------------------------------------------------------------------------------- */

/* Room for `more` bytes and a NUL. Doubling: what is left behind in the arena is less than what
 * is used. */
static void buf_grow(Buf *b, int64_t more) {
    if (b->n + more < b->cap) return;
    int64_t cap = MAX(64, MAX(2 * b->cap, b->n + more + 1));
    char *p = PUSH(b->a, char, cap);
    if (b->n) memcpy(p, b->p, (size_t)b->n);
    b->p = p;
    b->cap = cap;
}

void buf_add(Buf *b, Str s) {
    buf_grow(b, s.n);
    if (s.n) memcpy(b->p + b->n, s.p, (size_t)s.n);
    b->n += s.n;
    b->p[b->n] = 0;
}

static void buf_vfmt(Buf *b, const char *fmt, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    CHECK(n >= 0);
    buf_grow(b, n);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
    va_end(again);
    b->n += n;
}

void buf_fmt(Buf *b, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    buf_vfmt(b, fmt, args);
    va_end(args);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int64_t digits(Str s, int64_t i) {
    while (i < s.n && is_digit(s.p[i])) i++;
    return i;
}

bool str_i64(Str s, int64_t *out) {
    bool minus = s.n > 0 && s.p[0] == '-';
    if (s.n == minus || digits(s, minus) != s.n) return false;
    int64_t v = 0; /* built downwards, because -INT64_MIN does not exist */
    for (int64_t i = minus; i < s.n; i++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, s.p[i] - '0', &v))
            return false;
    if (!minus && __builtin_sub_overflow(0, v, &v)) return false;
    *out = v;
    return true;
}

/* -digits[.digits][e[+-]digits], as JSON has it except that leading zeros are allowed. */
static bool is_decimal(Str s) {
    int64_t i = s.n > 0 && s.p[0] == '-';
    int64_t j = digits(s, i);
    if (j == i) return false;
    if (j < s.n && s.p[j] == '.') {
        i = j + 1;
        j = digits(s, i);
        if (j == i) return false;
    }
    if (j < s.n && (s.p[j] == 'e' || s.p[j] == 'E')) {
        i = j + 1;
        if (i < s.n && (s.p[i] == '+' || s.p[i] == '-')) i++;
        j = digits(s, i);
        if (j == i) return false;
    }
    return j == s.n;
}

bool str_f64(Str s, double *out) {
    char z[400]; /* more than any number in a config needs */
    if (s.n >= COUNT(z) || !is_decimal(s)) return false;
    memcpy(z, s.p, (size_t)s.n);
    z[s.n] = 0;
    double v = strtod(z, NULL); /* correctly rounded; the locale is always "C" */
    if (!isfinite(v)) return false;
    *out = v;
    return true;
}

/* ---- names and UTF-8 ------------------------------------------------------------------------- */

/* Levenshtein distance, one row of the table at a time; names longer than 63 are far from
 * anything. */
static int64_t distance(Str a, Str b) {
    int64_t row[64];
    if (a.n >= COUNT(row) || b.n >= COUNT(row)) return INT64_MAX;
    for (int64_t j = 0; j <= b.n; j++) row[j] = j;
    for (int64_t i = 1; i <= a.n; i++) {
        int64_t diagonal = row[0];
        row[0] = i;
        for (int64_t j = 1; j <= b.n; j++) {
            int64_t swap = diagonal + (a.p[i - 1] != b.p[j - 1]);
            diagonal = row[j];
            row[j] = MIN(swap, 1 + MIN(row[j], row[j - 1]));
        }
    }
    return row[b.n];
}

const char *str_nearest(Str s, const char *const *names, int64_t n) {
    int64_t best = 2 + s.n / 4; /* farther than this is no misspelling */
    const char *found = NULL;
    for (int64_t i = 0; i < n; i++) {
        int64_t d = distance(s, str_of(names[i]));
        if (d < best) best = d, found = names[i];
    }
    return found;
}

/* RFC 3629: the second byte's range excludes overlong forms, surrogates and what is beyond
 * U+10FFFF. */
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool str_eq_caseless(Str a, Str b) {
    bool same = a.n == b.n;
    for (int64_t i = 0; same && i < a.n; i++) same = lower(a.p[i]) == lower(b.p[i]);
    return same;
}

bool utf8_control(Str s) {
    const unsigned char c = s.n > 0 ? (unsigned char)*s.p : ' ';
    return c < ' ' || c == 0x7f || (c == 0xc2 && s.n > 1 && (unsigned char)s.p[1] < 0xa0);
}

bool utf8_valid(Str s) {
    for (int n; s.n > 0; s.p += n, s.n -= n)
        if ((n = utf8_length(s)) == 0) return false;
    return true;
}

int utf8_length(Str s) {
    if (s.n < 1) return 0;
    const uint8_t *p = (const uint8_t *)s.p;
    if (p[0] < 0x80) return 1;
    int len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || s.n < len) return 0;
    uint8_t lo = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t hi = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < lo || p[1] > hi) return 0;
    for (int i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return len;
}

int utf8_put(char *to, int32_t c) {
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = n - 1; i > 0; i--, c >>= 6) to[i] = (char)(0x80 | (c & 63));
    to[0] = (char)(lead[n] | c);
    return n;
}

static int hex4(const char *p) {
    static const char digits[] = "0123456789abcdefABCDEF";
    int v = 0;
    for (int i = 0; i < 4; i++) {
        const char *d = p[i] ? strchr(digits, p[i]) : NULL;
        if (d == NULL) return -1;
        v = v << 4 | (int)(d - digits - (d - digits > 15 ? 6 : 0));
    }
    return v;
}

int32_t json_escape(Str *s) {
    if (s->n < 2) return -1;
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *known = s->p[1] ? strchr(from, s->p[1]) : NULL;
    int64_t n = known ? 2 : 6;
    if (!known && (s->p[1] != 'u' || s->n < 6)) return -1;
    int32_t c = known ? to[known - from] : hex4(s->p + 2);
    if (c >= 0xd800 && c < 0xdc00 && s->n >= 12 && s->p[6] == '\\' && s->p[7] == 'u') {
        int low = hex4(s->p + 8);
        if (low < 0xdc00 || low > 0xdfff) return -1;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        n = 12;
    } else if (c >= 0xd800 && c < 0xe000) {
        return -1;
    }
    s->p += n, s->n -= n;
    return c;
}
