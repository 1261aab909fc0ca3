/* norm.c -- what is done to a text before it is cut into words: the steps of tokenizer.json's
 * normalizer, and those that a GGUF file implies. A text is a gap between added tokens. */
#include "text/tokenizer.h"
#include <utf8proc.h>

bool norm_add(Tokenizer *t, const Norm *n, Err *err) {
    if (t->n_norms == NORMS_MAX)
        return err_set(err, ERR_LIMIT, "%s: normalizer: more than %d steps", t->name, NORMS_MAX);
    t->norms[t->n_norms++] = *n;
    return true;
}

static bool memory_out(Str text, Err *err) {
    return err_set(err, ERR_LIMIT, "normalising a text of %lld bytes: no memory left for it",
                   (long long)text.n);
}

static int64_t find(Str s, Str part, int64_t from) {
    for (int64_t i = from; i + part.n <= s.n; i++) {
        const char *hit = memchr(s.p + i, part.p[0], (size_t)(s.n - part.n - i + 1));
        if (!hit) return -1;
        i = hit - s.p;
        if (!memcmp(hit, part.p, (size_t)part.n)) return i;
    }
    return -1;
}

static bool replace(Str *out, Str s, const Norm *n, Arena *a, Err *err) {
    int64_t hits = 0, at = 0;
    for (int64_t i = 0; (i = find(s, n->from, i)) >= 0; i += n->from.n) hits++;
    *out = s;
    if (hits == 0) return true;
    Buf b = {.a = a, .p = arena_try(a, s.n + hits * n->to.n + 1), .cap = s.n + hits * n->to.n + 1};
    if (!b.p) return memory_out(s, err);
    for (int64_t i; (i = find(s, n->from, at)) >= 0; at = i + n->from.n) {
        buf_add(&b, (Str){s.p + at, i - at});
        buf_add(&b, n->to);
    }
    buf_add(&b, (Str){s.p + at, s.n - at});
    *out = buf_str(&b);
    return true;
}

static bool prepend(Str *out, Str s, Str prefix, Arena *a, Err *err) {
    char *p = arena_try(a, s.n + prefix.n);
    if (!p) return memory_out(s, err);
    memcpy(p, prefix.p, (size_t)prefix.n);
    memcpy(p + prefix.n, s.p, (size_t)s.n);
    *out = (Str){p, prefix.n + s.n};
    return true;
}

static Str strip(Str s, const Norm *n) {
    for (int64_t k; n->left && (k = blank_first(s)) > 0;) s.p += k, s.n -= k;
    for (int64_t k; n->right && (k = blank_last(s)) > 0;) s.n -= k;
    return s;
}

/* ---- kinds of characters --------------------------------------------------------------------- */

/* The character that s begins with, 0 where it begins with none. */
static int32_t char_first(Str s) {
    int32_t c = 0;
    return s.n > 0 && utf8proc_iterate((const uint8_t *)s.p, s.n, &c) > 0 ? c : 0;
}

/* From the last byte back to the first of its character. */
static Str last_of(Str s) {
    int64_t at = MAX(s.n - 1, 0);
    while (at > 0 && at > s.n - 4 && ((uint8_t)s.p[at] & 0xc0) == 0x80) at--;
    return (Str){s.p + at, s.n - at};
}

static bool is_blank(int32_t c) {
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680
           || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f
           || c == 0x205f || c == 0x3000;
}

/* Letters (symbols that are "alphabetic" are letters in circles and squares), marks, decimal and
 * letter numbers, connectors and joiners (UTS 18, annex C). */
static bool is_word(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default:
        return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9)
               || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169)
               || (c >= 0x1f170 && c <= 0x1f189);
    }
}

int64_t blank_first(Str s) { return is_blank(char_first(s)) ? utf8_length(s) : 0; }

int64_t blank_last(Str s) { return is_blank(char_first(last_of(s))) ? last_of(s).n : 0; }

bool word_first(Str s) { return is_word(char_first(s)); }
bool word_last(Str s) { return is_word(char_first(last_of(s))); }

/* ---- all steps ------------------------------------------------------------------------------- */

bool normalise(Str *out, const Tokenizer *t, Str text, bool first, Arena *scratch, Err *err) {
    bool ok = true;
    for (int i = 0; ok && i < t->n_norms && text.n > 0; i++) {
        const Norm *n = &t->norms[i];
        switch (n->kind) {
        case NORM_NFC:
        case NORM_NFKC: ok = nfc(&text, text, n->kind == NORM_NFKC, scratch, err); break;
        case NORM_PREPEND: ok = !first || prepend(&text, text, n->to, scratch, err); break;
        case NORM_REPLACE: ok = replace(&text, text, n, scratch, err); break;
        case NORM_STRIP: text = strip(text, n); break;
        }
    }
    *out = text;
    return ok;
}
