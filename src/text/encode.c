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
    const char *start; /* of the whole text, to which `by` belongs */
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

/* What the flags of the added token found at [*at, *end) make of its place: white space beside it
 * may belong to it, back to `from`. False: it must be a word by itself and is none. */
static bool place_adjust(const Encode *e, Str text, int64_t from, int64_t *at, int64_t *end,
                         int32_t id) {
    unsigned flags = e->t->vocab.tokens[id].flags;
    Str before = {text.p + from, MAX(*at - from, 0)}, after = {text.p + *end, text.n - *end};
    if (flags & TOKEN_SINGLE_WORD && (word_last((Str){text.p, *at}) || word_first(after)))
        return false;
    for (int64_t k; flags & TOKEN_LSTRIP && (k = blank_last(before)) > 0; before.n -= k) *at -= k;
    for (int64_t k; flags & TOKEN_RSTRIP && (k = blank_first(after)) > 0;
         after.p += k, after.n -= k)
        *end += k;
    if (flags & TOKEN_LSTRIP) *at = MAX(*at, from);
    return true;
}

/* Calls `gap` for each text between the added tokens of a trie, in order, and appends the ids of
 * the tokens. As in Hugging Face a token is found even in the white space that the one before it
 * has taken, unless it would take white space on its left and none is left for it. */
static bool added_encode(Encode *e, const Trie *trie, Str text, bool (*gap)(Encode *e, Str text)) {
    int64_t from = 0, search = 0, at = 0, len = 0;
    int32_t id;
    const uint8_t *by = e->by ? e->by + (text.p - e->start) : NULL;
    while (e->mode == TEXT_PARSED && trie_find(trie, text, by, search, &at, &len, &id)) {
        int64_t end = search = at + len;
        if (!place_adjust(e, text, from, &at, &end, id)) continue;
        if (at > from && !gap(e, (Str){text.p + from, at - from})) return false;
        if (at < end && !ids_add(e->out, id)) return memory_out(e, len);
        e->pretok.first = false;
        from = end;
    }
    return from == text.n || gap(e, (Str){text.p + from, text.n - from});
}

static bool words_encode(Encode *e, Str text) { return pretok_run(&e->pretok, text); }

static bool valid_encode(Encode *e, Str text, bool first) {
    if (!normalise(&text, e->t, text, first, e->scratch, e->err)) return false;
    return added_encode(e, &e->t->normal, text, words_encode);
}

int64_t utf8_run(Str s, bool valid) {
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
        Str run = {text.p, utf8_run(text, valid)};
        bool first = run.p == start;
        e->pretok.first = run.p == e->start;
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
    e->start = text.p;
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
    Encode e = {.t = t, .mode = TEXT_PARSED, .by = by, .out = out, .scratch = scratch, .err = err};
    return encode(&e, text);
}
