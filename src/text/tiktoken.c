/* tiktoken.c -- a tokenizer from a tiktoken.model, as Kimi and Moonlight have it: each line is a
 * token in base64 and its rank, which is its id. There are no merges: of all neighbours, those
 * merge first that are together the token of the lowest rank. The special tokens stand in
 * tokenizer_config.json, the pattern that cuts words in the publisher's code
 * (tokenization_kimi.py), which is Kimi's. */
#include "text/tokenizer.h"
#include <jansson.h>

typedef struct Lines {
    const char *name;
    Str rest;
    int64_t line;
    Err *err;
} Lines;

static bool line_fail(Lines *l, const char *what) {
    return err_set(l->err, ERR_FORMAT, "%s: line %lld: %s", l->name, (long long)l->line, what);
}

static int base64_digit(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The bytes that s encodes (RFC 4648, with padding), into `to`; -1: it is no base64. */
static int64_t base64_bytes(char *to, Str s) {
    int64_t n = 0, pad = 0;
    if (s.n == 0 || s.n % 4) return -1;
    while (pad < 2 && s.p[s.n - 1 - pad] == '=') pad++;
    for (int64_t i = 0; i < s.n; i += 4) {
        uint32_t bits = 0;
        for (int64_t k = i; k < i + 4; k++) {
            int digit = k >= s.n - pad ? 0 : base64_digit(s.p[k]);
            if (digit < 0) return -1;
            bits = bits << 6 | (uint32_t)digit;
        }
        for (int k = 16; k >= 0; k -= 8) to[n++] = (char)(bits >> k);
    }
    return n - pad;
}

/* The next line that is not empty: 1; 0: no more; -1 with an Err. */
static int line_next(Lines *l, Str *token, int64_t *rank) {
    while (l->rest.n > 0) {
        const char *end = memchr(l->rest.p, '\n', (size_t)l->rest.n);
        Str s = {l->rest.p, end ? end - l->rest.p : l->rest.n};
        l->rest.p += s.n + (end != NULL), l->rest.n -= s.n + (end != NULL);
        l->line++;
        if (s.n > 0 && s.p[s.n - 1] == '\r') s.n--;
        if (s.n == 0) continue;
        const char *space = memchr(s.p, ' ', (size_t)s.n);
        *token = (Str){s.p, space ? space - s.p : 0};
        if (space && str_i64((Str){space + 1, s.p + s.n - space - 1}, rank) && *rank >= 0) return 1;
        return line_fail(l, "expected a token in base64 and its rank"), -1;
    }
    return 0;
}

/* "added_tokens_decoder": {"163584": {"content": "[BOS]", "special": true, ...}, ...} */
static bool added_read(Tokenizer *t, json_t *added, const char *name, Err *err) {
    const char *key;
    json_t *o;
    json_object_foreach(added, key, o) {
        const json_t *content = json_object_get(o, "content");
        Str s = {json_string_value(content),
                 json_is_string(content) ? (int64_t)json_string_length(content) : 0};
        int64_t id;
        const char *wrong = !str_i64(str_of(key), &id) || id < 0 || id >= t->vocab.n_ids
                                ? "the id is out of range"
                            : s.n < 1 || s.n > ADDED_LENGTH_MAX ? "need 1 to 256 bytes of content"
                                                                : NULL;
        int flags =
            TOKEN_LITERAL | (json_is_false(json_object_get(o, "special")) ? 0 : TOKEN_SPECIAL);
        if (!wrong) wrong = vocab_put(&t->vocab, id, s, flags);
        if (wrong)
            return err_set(err, ERR_FORMAT, "%s: added_tokens_decoder.%.40s: %s", name, key, wrong);
        trie_put(&t->raw, s, (int32_t)id);
    }
    return true;
}

/* Counts ids and bytes of both sources, and takes the memory. */
static bool memory_take(Tokenizer *t, Arena *a, Str model, json_t *added, char **form, Err *err) {
    Lines l = {t->name, model, 0, err};
    int64_t n_ids = 0, n = 0, bytes = 0, longest = 4, rank, added_bytes = 0;
    const char *key;
    json_t *o;
    Str token;
    int rc;
    while ((rc = line_next(&l, &token, &rank)) == 1) {
        n++, bytes += token.n, longest = MAX(longest, token.n);
        n_ids = MAX(n_ids, rank + 1);
    }
    if (rc < 0) return false;
    json_object_foreach(added, key, o) {
        int64_t id;
        if (str_i64(str_of(key), &id)) n_ids = MAX(n_ids, id + 1);
        added_bytes +=
            MIN((int64_t)json_string_length(json_object_get(o, "content")), ADDED_LENGTH_MAX);
        n++;
    }
    if (n == 0 || n_ids > MAX(65536, model.n / 4))
        return err_set(err, ERR_FORMAT,
                       "%s: %lld tokens with ids up to %lld in a file of %lld bytes", t->name,
                       (long long)n, (long long)n_ids - 1, (long long)model.n);
    *form = arena_try(a, longest);
    bool ok = *form && vocab_init(&t->vocab, a, n_ids, n, bytes + added_bytes)
              && trie_init(&t->raw, a, added_bytes) && trie_init(&t->normal, a, 0);
    return ok || err_set(err, ERR_LIMIT, "%s: no memory left for its tokens", t->name);
}

static bool model_read(Tokenizer *t, Arena *a, Str model, json_t *added, Err *err) {
    Lines l = {t->name, model, 0, err};
    char *form = NULL;
    int64_t rank;
    Str token;
    int rc;
    t->merge_by = MERGE_ID;
    if (!memory_take(t, a, model, added, &form, err)) return false;
    while ((rc = line_next(&l, &token, &rank)) == 1) {
        int64_t n = base64_bytes(form, token);
        const char *wrong =
            n < 1 ? "the token is not in base64" : vocab_put(&t->vocab, rank, (Str){form, n}, 0);
        if (wrong) return line_fail(&l, wrong);
    }
    tokenizer_bytes(t);
    for (int b = 0; b < 256; b++)
        if (t->byte_id[b] < 0)
            return err_set(err, ERR_FORMAT, "%s: no token for the single byte 0x%02x", t->name,
                           (unsigned)b);
    return rc == 0 && added_read(t, added, t->name, err) && pre_add(t, a, STR("kimi-k2"), err);
}

bool tokenizer_open_tiktoken(Tokenizer **out, Arena *a, Str model, Str config, const char *name,
                             Err *err) {
    Mark mark = arena_mark(a);
    Tokenizer *t = tokenizer_new(a, name);
    json_error_t e = {0};
    json_t *root =
        config.n ? json_loadb(config.p, (size_t)config.n, JSON_REJECT_DUPLICATES, &e) : NULL;
    bool ok = model.n < BYTES_MAX || err_set(err, ERR_LIMIT, "%s: larger than 256 MiB", name);
    if (config.n && !root)
        ok = err_set(err, ERR_FORMAT, "tokenizer_config.json: not valid JSON: %s", e.text);
    ok = ok && model_read(t, a, model, json_object_get(root, "added_tokens_decoder"), err);
    json_decref(root);
    *out = ok ? t : NULL;
    if (ok) return true;
    tokenizer_close(t);
    arena_pop(a, mark);
    return false;
}
