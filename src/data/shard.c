/* shard.c -- opening token shards: the cache's name, and the checks before anything in a file is
 * used.
 *
 * Invariant: a Shard that shard_read hands out has sizes that fit the mapping exactly, the right
 * checksum, rising borders with at least two tokens a document, and tokens below its vocabulary. */
#include "data/shard.h"

static int hex_digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

void hex_to_bytes(uint8_t out[32], const char *hex) {
    for (int i = 0; i < 32; i++)
        out[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
}

void bytes_to_hex(char hex[65], const uint8_t *in) {
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = "0123456789abcdef"[in[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[in[i] & 15];
    }
    hex[64] = 0;
}

static void hash_str(Sha256 *h, Str s) {
    sha256_add(h, &s.n, 8);
    sha256_add(h, s.p, s.n);
}

/* What decides every token of the shard, and nothing else. */
static void key_of(char key[65], Str text, const ShardSpec *spec) {
    int64_t numbers[2] = {SHARD_VERSION, spec->end};
    Sha256 h;
    sha256_init(&h);
    sha256_add(&h, numbers, sizeof numbers);
    hash_str(&h, str_of(spec->separator));
    hash_str(&h, str_of(spec->tok_id));
    hash_str(&h, text);
    sha256_hex(&h, key);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool bad(const char *path, const char *what, Err *err) {
    return err_set(err, ERR_FORMAT, "%s is not a usable token shard: %s", path, what);
}

static bool tokens_fit(const Shard *s) {
    for (int64_t i = 0; i < s->tokens; i++)
        if (shard_token(s, i) < 0 || shard_token(s, i) >= s->vocab) return false;
    return true;
}

static bool borders_fit(const Shard *s) {
    if (s->border[0] != 0 || s->border[s->docs] != s->tokens) return false;
    for (int64_t d = 0; d < s->docs; d++)
        if (s->border[d + 1] - s->border[d] < 2 || s->border[d + 1] > s->tokens) return false;
    return true;
}

static bool checksum_fits(const Shard *s, const ShardTrailer *t) {
    char is[65], should[65];
    Sha256 h;
    sha256_init(&h);
    sha256_add(&h, s->map.p, s->map.n - (int64_t)sizeof t->sum);
    sha256_hex(&h, is);
    bytes_to_hex(should, t->sum);
    return !strcmp(is, should);
}

/* The sizes come first: nothing is looked at before they are known to lie inside the file. */
static bool layout_fits(Shard *s, const char *path, Err *err) {
    const int64_t n = s->map.n, frame = sizeof(ShardHeader) + sizeof(ShardTrailer);
    if (n < frame) return bad(path, "it is too short", err);
    ShardHeader h;
    ShardTrailer t;
    memcpy(&h, s->map.p, sizeof h);
    memcpy(&t, s->map.p + n - sizeof t, sizeof t);
    if (memcmp(h.magic, SHARD_MAGIC, 8))
        return bad(path, "it does not begin with " SHARD_MAGIC, err);
    if (h.version != SHARD_VERSION) return bad(path, "another version wrote it", err);
    if (h.width != 2 && h.width != 4)
        return bad(path, "the width of its tokens is neither 2 nor 4", err);
    if (t.tokens < 2 || t.tokens > n || t.docs < 1 || t.docs > n || t.vocab < 1
        || t.vocab > INT32_MAX)
        return bad(path, "its trailer's counts do not fit into it", err);
    int64_t token_bytes = round_up(t.tokens * h.width, 8);
    if (frame + token_bytes + (t.docs + 1) * 8 != n)
        return bad(path, "its length is not what its counts say", err);
    s->tokens = t.tokens, s->docs = t.docs, s->vocab = t.vocab, s->width = h.width;
    s->token = s->map.p + sizeof h;
    s->border = (const int64_t *)(s->map.p + sizeof h + token_bytes);
    bytes_to_hex(s->key, h.key);
    if (!checksum_fits(s, &t))
        return bad(path, "its checksum is wrong, bytes in it have changed", err);
    if (!borders_fit(s)) return bad(path, "its documents' borders do not rise", err);
    return tokens_fit(s) || bad(path, "a token is not in its vocabulary", err);
}

bool shard_read(Shard *s, Arena *a, const char *path, Err *err) {
    *s = (Shard){.path = str_copy(a, str_of(path))};
    if (!os_map(&s->map, path, err)) return false;
    const bool fits = layout_fits(s, path, err);
    os_drop(&s->map, 0, s->map.n); /* all was read for the checks; rows come one by one */
    if (!fits) shard_close(s);
    return fits;
}

void shard_close(Shard *s) {
    if (s->map.p) os_unmap(&s->map);
    *s = (Shard){0};
}

/* ---- the cache ------------------------------------------------------------------------------- */

/* A shard that is there but not fit for use is made again: it is a cache, the text is the truth. */
static bool open_cached(Shard *s, Arena *a, const char *path, const char *key, bool *found) {
    Err err = {0};
    *found = os_exists(path);
    if (!*found) return false;
    if (!shard_read(s, a, path, &err)) {
        log_at(LOG_WARN, "%s; making it again", err.msg);
        return false;
    }
    return !strcmp(s->key, key);
}

static bool open_or_make(Shard *s, Arena *a, Str text, const ShardSpec *spec, Team *team,
                         Err *err) {
    char key[65];
    bool found;
    key_of(key, text, spec);
    Str path = str_fmt(a, "%s/%.32s.tokens", spec->folder, key);
    if (open_cached(s, a, path.p, key, &found)) return true;
    if (found) shard_close(s);
    return os_mkdir(spec->folder, err) && shard_make(path.p, key, text, spec, team, err)
           && shard_read(s, a, path.p, err);
}

bool shard_open(Shard *s, Arena *a, const ShardSpec *spec, Team *team, Err *err) {
    CHECK(strlen(spec->tok_id) == 64);
    *s = (Shard){0};
    Map map;
    if (!os_map(&map, spec->text, err)) return false;
    bool ok = open_or_make(s, a, (Str){(const char *)map.p, map.n}, spec, team, err);
    os_unmap(&map);
    return ok;
}
