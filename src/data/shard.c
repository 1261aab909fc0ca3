/* shard.c -- reads a shard file, and checks all of it before anything in it is used.
 *
 * Invariant: a Shard that shard_read returns has sizes that fit the mapping exactly, the right
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

/* ---- reading --------------------------------------------------------------------------------- */

static bool bad(const char *path, const char *what, Err *err) {
    return err_set(err, ERR_FORMAT, "%s is not a usable token shard: %s", path, what);
}

/* So much of a shard is in memory at once while it is checked. */
enum { PIECE_BYTES = 8 << 20 };

static bool tokens_fit(const Shard *s) {
    for (int64_t i = 0; i < s->tokens; i++) {
        if (shard_token(s, i) < 0 || shard_token(s, i) >= s->vocab) return false;
        if ((i + 1) * s->width % PIECE_BYTES == 0) os_drop(&s->map, 0, (i + 1) * s->width);
    }
    return true;
}

static bool borders_fit(const Shard *s) {
    if (s->border[0] != 0 || s->border[s->docs] != s->tokens) return false;
    for (int64_t d = 0; d < s->docs; d++)
        if (s->border[d + 1] < s->border[d] + 2 || s->border[d + 1] > s->tokens) return false;
    return true;
}

static bool checksum_fits(const Shard *s, const ShardTrailer *t) {
    char is[65], should[65];
    Sha256 h;
    sha256_init(&h);
    for (int64_t at = 0, n, end = s->map.n - (int64_t)sizeof t->sum; at < end; at += n) {
        n = MIN(end - at, PIECE_BYTES);
        sha256_add(&h, s->map.p + at, n);
        os_drop(&s->map, 0, at);
    }
    sha256_hex(&h, is);
    bytes_to_hex(should, t->sum);
    return !strcmp(is, should);
}

/* The sizes are checked first: nothing is read before it is known to lie inside the file. */
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
    const int64_t learned = h.talks ? round_up((t.tokens + 7) / 8, 8) : 0;
    if (h.talks > 1 || frame + token_bytes + (t.docs + 1) * 8 + learned != n)
        return bad(path, "its length is not what its counts say", err);
    s->tokens = t.tokens, s->docs = t.docs, s->vocab = t.vocab, s->width = h.width;
    s->text = t.text;
    s->token = s->map.p + sizeof h;
    s->border = (const int64_t *)(s->map.p + sizeof h + token_bytes);
    if (learned) s->learned = s->map.p + n - (int64_t)sizeof t - learned;
    s->whole = learned > 0;
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
