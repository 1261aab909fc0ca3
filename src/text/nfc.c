/* nfc.c -- Unicode normalisation form C (UAX 15): decompose, order the combining marks, compose.
 *
 * The tables, the first and the last step are utf8proc's. The ordering in between is our own,
 * because utf8proc's takes quadratic time on a long run of marks, and a text may come from anyone.
 *
 * Hugging Face normalises by Unicode 9, and so does this file, as ids must be the same: marks that
 * were assigned later are treated as ordinary characters, which neither move nor compose. */
#include "text/tokenizer.h"
#include <utf8proc.h>

static int class_of(int32_t c) { return c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class; }

/* Assigned after Unicode 9: marks, one vowel sign with its second half, and what decomposes
 * compatibly (tests/peers/tokenizer.py holds them against Hugging Face's). */
static const int32_t after_unicode_9[][2] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},
    {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},   {0x32ff, 0x32ff},   {0xa7f1, 0xa7f4},
    {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10781, 0x10785}, {0x10787, 0x107b0},
    {0x107b2, 0x107bf}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b},
    {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938},
    {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34},
    {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45},
    {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1ccd6, 0x1ccf9},
    {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
};

static bool is_after_unicode_9(int32_t c) {
    int64_t lo = 0, hi = COUNT(after_unicode_9);
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (after_unicode_9[mid][1] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < COUNT(after_unicode_9) && c >= after_unicode_9[lo][0];
}

/* Nothing below U+0300 decomposes and composes to something else or moves. */
static bool is_inert(Str text) {
    for (int64_t i = 0; i < text.n; i++)
        if ((uint8_t)text.p[i] >= 0xcc) return false;
    return true;
}

static bool is_ascii(Str text) {
    for (int64_t i = 0; i < text.n; i++)
        if ((uint8_t)text.p[i] >= 0x80) return false;
    return true;
}

/* Sorts marks c[0..n) by class, stably: a counting sort by way of temp[0..n). */
static void marks_sort(int32_t *c, int64_t n, int32_t *temp) {
    int64_t start[257] = {0};
    for (int64_t i = 0; i < n; i++) start[class_of(c[i]) + 1]++;
    for (int k = 0; k < 256; k++) start[k + 1] += start[k];
    for (int64_t i = 0; i < n; i++) temp[start[class_of(c[i])]++] = c[i];
    memcpy(c, temp, (size_t)n * sizeof *c);
}

/* Puts every run of characters of a combining class above 0 into order. */
static void marks_order(int32_t *c, int64_t n, int32_t *temp) {
    for (int64_t i = 0; i < n;) {
        int64_t lo = i;
        bool sorted = true;
        for (int last = 0, k; i < n && (k = class_of(c[i])) > 0; last = k, i++) sorted &= k >= last;
        if (!sorted) marks_sort(c + lo, i - lo, temp);
        i += i == lo;
    }
}

/* Composes c[0..n), which is decomposed; returns its new length. */
static int64_t compose(int32_t *c, int64_t n, int32_t *temp) {
    marks_order(c, n, temp);
    return utf8proc_normalize_utf32(c, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
}

/* text in form C as characters at c[0..cap); returns their number. */
static int64_t compose_all(int32_t *c, int64_t cap, int32_t *temp, Str text, bool compatible) {
    int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
    int64_t n = 0, done = 0;
    for (int64_t i = 0; i < text.n;) {
        int32_t one;
        i += utf8proc_iterate((const uint8_t *)text.p + i, text.n - i, &one);
        if (is_after_unicode_9(one)) {
            n = done + compose(c + done, n - done, temp);
            c[n++] = one;
            done = n;
        } else {
            n += utf8proc_decompose_char(one, c + n, cap - n, options, NULL);
        }
        CHECK(n <= cap);
    }
    return done + compose(c + done, n - done, temp);
}

bool nfc(Str *out, Str text, bool compatible, Arena *scratch, Err *err) {
    *out = text;
    if (is_inert(text) && (!compatible || is_ascii(text))) return true;
    /* b bytes decompose to at most 2b characters and come back as at most 3b bytes; compatible ones
     * to at most 6b characters (U+FDFA: 3 bytes, 18 characters) and 11b bytes (33). */
    int64_t cap = (compatible ? 6 : 2) * text.n + 4, n_bytes = 0;
    int64_t most = (compatible ? 11 : 3) * text.n;
    if (most > INT32_MAX)
        return err_set(err, ERR_LIMIT, "normalising a text of %lld bytes: too long",
                       (long long)text.n);
    int32_t *c = arena_try(scratch, cap * (int64_t)sizeof *c);
    int32_t *temp = arena_try(scratch, cap * (int64_t)sizeof *temp);
    uint8_t *bytes = arena_try(scratch, most + 4);
    if (!c || !temp || !bytes)
        return err_set(err, ERR_LIMIT, "normalising a text of %lld bytes: no memory left for it",
                       (long long)text.n);
    int64_t n = compose_all(c, cap, temp, text, compatible);
    for (int64_t i = 0; i < n; i++) n_bytes += utf8proc_encode_char(c[i], bytes + n_bytes);
    CHECK(n_bytes <= most);
    *out = (Str){(char *)bytes, n_bytes};
    return true;
}
