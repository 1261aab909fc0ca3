/* grams.c -- what a text is found by. Pairs of characters rather than three, since most Chinese
 * words are two characters long. */
#include "serve/grams.h"

enum { BEFORE = 24, AFTER = 72 }; /* characters of an excerpt */

static int32_t char_first(Str s, int *n) {
    static const uint8_t mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    *n = utf8_length(s);
    if (*n == 0) return *n = 1, 0xfffd;
    int32_t c = (uint8_t)s.p[0] & mask[*n];
    for (int i = 1; i < *n; i++) c = c << 6 | ((uint8_t)s.p[i] & 0x3f);
    return c;
}

/* Written without blanks: Han, Kana, Hangul. */
static bool is_dense(int32_t c) {
    static const int32_t range[][2] = {
        {0x3005, 0x3007}, {0x3040, 0x30ff}, {0x3100, 0x312f}, {0x3400, 0x4dbf},
        {0x4e00, 0x9fff}, {0xac00, 0xd7af}, {0xf900, 0xfaff}, {0x20000, 0x3ffff},
    };
    for (int64_t i = 0; i < COUNT(range); i++)
        if (c >= range[i][0] && c <= range[i][1]) return true;
    return false;
}

/* open: the text may go on behind its end, so that its last character alone says nothing. */
static void pairs_add(Buf *out, Str s, bool open) {
    bool paired = false;
    for (int n, next; s.n > 0; s.p += n, s.n -= n) {
        const Str rest = (char_first(s, &n), (Str){s.p + n, s.n - n});
        if (!is_dense(char_first(s, &n))) {
            buf_add(out, (Str){s.p, n});
            paired = false;
        } else if (rest.n > 0 && is_dense(char_first(rest, &next))) {
            buf_fmt(out, " %.*s ", n + next, s.p);
            paired = true;
        } else if (!paired || rest.n > 0 || !open) {
            buf_fmt(out, " %.*s ", n, s.p);
            paired = false;
        }
    }
}

void grams_add(Buf *out, Str text) { pairs_add(out, text, false); }

void grams_query(Buf *out, const Str *word, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        buf_add(out, i ? STR(" \"") : STR("\""));
        const int64_t from = out->n;
        pairs_add(out, word[i], true);
        for (int64_t k = from; k < out->n; k++) /* a quote would end the phrase, a NUL the query */
            if (out->p[k] == '"' || out->p[k] == 0) out->p[k] = ' ';
        buf_add(out, STR("\"*"));
    }
}

void grams_query_any(Buf *out, Str question, int64_t most) {
    Buf pairs = {.a = out->a};
    pairs_add(&pairs, question, true);
    for (int64_t k = 0; k < pairs.n; k++)
        if ((uint8_t)pairs.p[k] < ' ' || pairs.p[k] == '"') pairs.p[k] = ' ';
    for (Str rest = buf_str(&pairs); rest.n > 0 && most > 0;) {
        const Str word = str_cut(&rest, ' ');
        if (word.n == 0) continue;
        buf_fmt(out, "%s\"%.*s\"", out->n ? " OR " : "", STRF(word));
        most--;
    }
}

/* ---- excerpts -------------------------------------------------------------------------------- */

static int64_t place_of(Str text, Str word) {
    for (int64_t i = 0; i + word.n <= text.n; i++)
        if (str_eq_caseless((Str){text.p + i, word.n}, word)) return i;
    return 0;
}

static bool is_inside(char c) { return ((uint8_t)c & 0xc0) == 0x80; }

static void char_quote(Buf *out, Str c) {
    if (*c.p == '"' || *c.p == '\\')
        buf_fmt(out, "\\%c", *c.p);
    else if (c.n == 1 && ((uint8_t)*c.p <= ' ' || *c.p == 127))
        buf_add(out, STR(" "));
    else
        buf_add(out, c);
}

void grams_excerpt(Buf *out, Str text, Str word) {
    int64_t from = place_of(text, word);
    for (int left = BEFORE; from > 0 && left > 0; left--)
        for (from--; from > 0 && is_inside(text.p[from]);) from--;
    buf_add(out, from ? STR("\"…") : STR("\""));
    Str rest = {text.p + from, text.n - from};
    for (int n, left = BEFORE + AFTER; rest.n > 0 && left > 0; rest.p += n, rest.n -= n, left--) {
        char_first(rest, &n);
        char_quote(out, (Str){rest.p, n});
    }
    buf_add(out, STR("\""));
}
