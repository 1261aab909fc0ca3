/* encode.c -- text to token ids, in the order of Hugging Face: find added tokens in the text as it
 * is; normalise what lies between; find the added tokens marked "normalized" in the result; cut
 * what lies between into words; merge each word.
 *
 * Text need not be UTF-8: each run of bytes that is not valid UTF-8 is one word. */
#include "text/tokenizer.h"

#define TEXT_BYTES_MAX (1 << 29) /* three times as many after nfc still fit an int32_t */

typedef struct Encode {
    const Tokenizer *t;
    TextMode mode;
    const char *start; /* of the text that `by` belongs to */
    const uint8_t *by; /* NULL: added tokens may stand anywhere */
    Ids *out;
    Bpe bpe;
    Pretok pretok;
    Arena *scratch;
    Err *err;
} Encode;

static bool memory_out(Encode *e, int64_t bytes) {
    return err_set(e->err, ERR_LIMIT, "encoding a text: no memory left for a word of %lld bytes",
                   (long long)bytes);
}

static bool word_encode(void *arg, Str word) {
    Encode *e = arg;
    return bpe_encode(e->out, e->t, &e->bpe, word, e->scratch) || memory_out(e, word.n);
}

static bool is_word(char c) {
    return (uint8_t)c >= 0x80 || c == '_' || (c >= '0' && c <= '9')
           || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool is_blank(char c) { return c == ' ' || (c >= 9 && c <= 13); }

/* What the flags of the added token found at [*at, *end) make of its place: white space beside it
 * may belong to it, back to `from`. False: it must be a word by itself and is none. */
static bool place_adjust(const Encode *e, Str text, int64_t from, int64_t *at, int64_t *end,
                         int32_t id) {
    unsigned flags = e->t->vocab.tokens[id].flags;
    bool inside = (*at > 0 && is_word(text.p[*at - 1])) || (*end < text.n && is_word(text.p[*end]));
    if (flags & TOKEN_SINGLE_WORD && inside) return false;
    while (flags & TOKEN_LSTRIP && *at > from && is_blank(text.p[*at - 1])) --*at;
    while (flags & TOKEN_RSTRIP && *end < text.n && is_blank(text.p[*end])) ++*end;
    return true;
}

/* Calls `gap` for each text between the added tokens of a trie, in order, and appends the ids of
 * the tokens. */
static bool added_encode(Encode *e, const Trie *trie, Str text, bool (*gap)(Encode *e, Str text)) {
    int64_t from = 0, search = 0, at = 0, len = 0;
    int32_t id;
    const uint8_t *by = e->by ? e->by + (text.p - e->start) : NULL;
    while (e->mode == TEXT_PARSED && trie_find(trie, text, by, search, &at, &len, &id)) {
        int64_t end = search = at + len;
        if (!place_adjust(e, text, from, &at, &end, id)) continue;
        if (at > from && !gap(e, (Str){text.p + from, at - from})) return false;
        if (!ids_add(e->out, id)) return memory_out(e, len);
        from = search = end;
    }
    return from == text.n || gap(e, (Str){text.p + from, text.n - from});
}

static bool words_encode(Encode *e, Str text) { return pretok_run(&e->pretok, text); }

static bool valid_encode(Encode *e, Str text, bool first) {
    if (!normalise(&text, e->t, text, first, e->scratch, e->err)) return false;
    return added_encode(e, &e->t->normal, text, words_encode);
}

/* The number of bytes at the start of s that are valid UTF-8, or that are not. */
static int64_t run_length(Str s, bool valid) {
    int64_t i = 0;
    while (i < s.n) {
        int n = (uint8_t)s.p[i] < 0x80 ? 1 : utf8_length((Str){s.p + i, s.n - i});
        if ((n > 0) != valid) break;
        i += MAX(n, 1);
    }
    return i;
}

static bool any_encode(Encode *e, Str text) {
    const char *start = text.p;
    for (bool valid = true; text.n > 0; valid = !valid) {
        Str run = {text.p, run_length(text, valid)};
        bool first = run.p == start;
        if (run.n > 0 && !(valid ? valid_encode(e, run, first) : word_encode(e, run))) return false;
        text.p += run.n, text.n -= run.n;
    }
    return true;
}

/* With `by` the tokens that are marked "normalized" are found before normalising, which would move
 * their places; what they are written with is not changed by it. */
static bool unmarked_encode(Encode *e, Str text) {
    TextMode mode = e->mode;
    e->mode = TEXT_PLAIN;
    bool ok = any_encode(e, text);
    e->mode = mode;
    return ok;
}

static bool gap_encode(Encode *e, Str text) {
    return e->by ? added_encode(e, &e->t->normal, text, unmarked_encode) : any_encode(e, text);
}

static bool encode(Encode *e, Str text) {
    CHECK(e->scratch != e->out->a);
    Mark mark = arena_mark(e->scratch);
    int64_t n = e->out->n;
    if (text.n > TEXT_BYTES_MAX)
        return err_set(e->err, ERR_LIMIT, "encoding a text of %lld bytes: the limit is %d",
                       (long long)text.n, TEXT_BYTES_MAX);
    bool ok = pretok_init(&e->pretok, e->t, e->scratch, e->err);
    e->pretok.word = word_encode;
    e->pretok.arg = e;
    ok = ok && added_encode(e, &e->t->raw, text, gap_encode);
    if (!ok) e->out->n = n;
    arena_pop(e->scratch, mark);
    return ok;
}

bool text_encode(Ids *out, const Tokenizer *t, Str text, TextMode mode, Arena *scratch, Err *err) {
    Encode e = {.t = t, .mode = mode, .out = out, .scratch = scratch, .err = err};
    return encode(&e, text);
}

bool text_encode_by(Ids *out, const Tokenizer *t, Str text, const uint8_t *by, Arena *scratch,
                    Err *err) {
    Encode e = {.t = t,
                .mode = TEXT_PARSED,
                .start = text.p,
                .by = by,
                .out = out,
                .scratch = scratch,
                .err = err};
    return encode(&e, text);
}
