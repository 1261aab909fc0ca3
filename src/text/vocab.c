/* vocab.c -- the tokens of a tokenizer: the bytes of an id, the id of bytes, and the alphabet
 * between spelling and bytes. One block holds all bytes; there is no allocation per token. */
#include "text/tokenizer.h"

bool vocab_init(Vocab *v, Arena *a, int64_t n_ids, int64_t n_tokens, int64_t bytes) {
    *v = (Vocab){.n_ids = n_ids, .cap_bytes = bytes};
    v->bytes = arena_try(a, MAX(bytes, 1));
    v->tokens = arena_try(a, n_ids * (int64_t)sizeof *v->tokens);
    return v->bytes && v->tokens && table_init(&v->table, a, n_tokens);
}

Str vocab_bytes(const Vocab *v, int32_t id) {
    return (Str){v->bytes + v->tokens[id].at, v->tokens[id].len};
}

typedef struct Wanted {
    const Vocab *vocab;
    bool literal;
} Wanted;

static bool same_token(const void *of, int64_t id, Str bytes) {
    const Wanted *w = of;
    bool literal = (w->vocab->tokens[id].flags & TOKEN_LITERAL) != 0;
    return literal == w->literal && str_eq(vocab_bytes(w->vocab, (int32_t)id), bytes);
}

const char *vocab_put(Vocab *v, int64_t id, Str bytes, int flags) {
    CHECK(id >= 0 && id < v->n_ids && bytes.n <= v->cap_bytes - v->n_bytes);
    if (bytes.n >= TOKEN_BYTES_MAX) return "longer than 32 MiB";
    if (v->tokens[id].flags & TOKEN_THERE) return "this id has another token already";
    Wanted like = {v, flags & TOKEN_LITERAL};
    if (table_put(&v->table, bytes, id, same_token, &like) != id && !(flags & TOKEN_DOUBLE))
        return "this token has another id already";
    if (bytes.n > 0) memcpy(v->bytes + v->n_bytes, bytes.p, (size_t)bytes.n);
    v->tokens[id].at = (uint32_t)v->n_bytes;
    v->tokens[id].len = (uint32_t)bytes.n & (TOKEN_BYTES_MAX - 1);
    v->tokens[id].flags = (TOKEN_THERE | flags) & 127;
    v->n_bytes += bytes.n;
    return NULL;
}

int32_t vocab_find(const Vocab *v, Str bytes, bool literal) {
    return (int32_t)table_find(&v->table, bytes, same_token, &(Wanted){v, literal});
}

/* ---- spellings ------------------------------------------------------------------------------- */

static bool is_own(int c) { return (c >= 33 && c <= 126) || (c >= 161 && c <= 255 && c != 173); }

/* The byte that a character of the alphabet stands for, or -1. The 68 bytes without a character of
 * their own are 0..32, 127..160 and 173, spelled U+0100, U+0101, ... in this order. */
static int alphabet_byte(int32_t c) {
    if (c < 0x100) return is_own(c) ? c : -1;
    int n = c - 0x100;
    return n <= 32 ? n : n <= 66 ? n - 33 + 127 : n == 67 ? 173 : -1;
}

int32_t byte_char(int b) {
    if (b <= 32) return 0x100 + b;
    if (b >= 127 && b <= 160) return 0x100 + 33 + b - 127;
    return b == 173 ? 0x100 + 67 : b;
}

static int32_t char_next(Str *s, bool escaped) {
    const uint8_t *p = (const uint8_t *)s->p;
    if (escaped && (*p == '\\' || *p < 32)) return *p == '\\' ? json_escape(s) : -1;
    int n = *p < 0x80 ? 1 : utf8_length(*s);
    if (n == 0) return -1;
    s->p += n, s->n -= n;
    if (n == 1) return p[0];
    if (n == 2) return (p[0] & 31) << 6 | (p[1] & 63);
    if (n == 3) return (p[0] & 15) << 12 | (p[1] & 63) << 6 | (p[2] & 63);
    return (p[0] & 7) << 18 | (p[1] & 63) << 12 | (p[2] & 63) << 6 | (p[3] & 63);
}

/* The text of a spelling, U+2581 being a space. */
static int64_t plain_bytes(char *dst, Str *s, bool escaped, bool until_space) {
    int64_t n = 0;
    while (s->n > 0) {
        int32_t c = char_next(s, escaped);
        if (c < 0) return -1;
        if (c == ' ' && until_space) break;
        n += utf8_put(dst + n, c == 0x2581 ? ' ' : c);
    }
    return n;
}

int64_t form_bytes(char *dst, Str *s, bool escaped, bool until_space, bool plain, bool *literal) {
    Str all = *s;
    int64_t n = 0;
    *literal = false;
    if (plain) return plain_bytes(dst, s, escaped, until_space);
    while (s->n > 0) {
        int32_t c = char_next(s, escaped);
        if (c < 0) return -1;
        if (c == ' ' && until_space) break;
        int byte = alphabet_byte(c);
        *literal |= byte < 0;
        dst[n++] = (char)byte;
    }
    if (!*literal) return n;
    n = 0;
    for (*s = all; s->n > 0;) {
        int32_t c = char_next(s, escaped);
        if (c == ' ' && until_space) break;
        n += utf8_put(dst + n, c);
    }
    return n;
}
