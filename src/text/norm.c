/* norm.c -- what is done to a text before it is cut into words: the steps of tokenizer.json's
 * normalizer, and those that a GGUF file implies. A text is a gap between added tokens. */
#include "text/tokenizer.h"

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

static bool is_blank(char c) { return c == ' ' || (c >= 9 && c <= 13); }

static Str strip(Str s, const Norm *n) {
    while (n->left && s.n && is_blank(s.p[0])) s.p++, s.n--;
    while (n->right && s.n && is_blank(s.p[s.n - 1])) s.n--;
    return s;
}

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
