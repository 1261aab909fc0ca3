/* lexicon.c -- a vocabulary's bytes as a tree, and which tokens are whole characters of a kind. */
#include "text/lexicon.h"

#include <stdlib.h>

#define BIT(c)  ((uint64_t)1 << ((c)&63))
#define VISIBLE (~(uint64_t)0 << 32)
const CharKind char_kinds[KIND_N] = {
    [KIND_JSON] = {{VISIBLE & ~BIT('"'), ~BIT('\\')}, BEYOND_UTF8},
    [KIND_CALL] = {{VISIBLE & ~BIT('"') & ~BIT('<'), ~BIT('\\')}, BEYOND_UTF8},
    [KIND_OPEN] = {{VISIBLE & ~BIT('"') & ~BIT('<') & ~BIT('/'), ~BIT('\\')}, BEYOND_NONE},
    [KIND_FREE] = {{~BIT('<'), ~(uint64_t)0}, BEYOND_BYTES},
};

/* ---- the tree -------------------------------------------------------------------------------- */

typedef struct Spelling {
    Str bytes;
    int32_t id;
} Spelling;

static int spelling_order(const void *a, const void *b) {
    const Spelling *x = a, *y = b;
    const int c = memcmp(x->bytes.p, y->bytes.p, (size_t)MIN(x->bytes.n, y->bytes.n));
    if (c) return c;
    if (x->bytes.n != y->bytes.n) return x->bytes.n < y->bytes.n ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Tokens that spell the tags of thoughts and calls stand for their spelling, special or not; other
 * special tokens are no text. */
static bool is_text(const Tokenizer *t, int32_t id, Str s) {
    if (s.n == 0 || s.n > LEXICON_TOKEN) return false;
    return !token_is_special(t, id) || splitter_knows(&(Splitter){.tools = TOOLS_QWEN}, s)
           || splitter_knows(&(Splitter){.tools = TOOLS_DEEPSEEK}, s);
}

static int64_t spellings(Spelling *to, const Lexicon *l) {
    int64_t n = 0;
    for (int64_t id = 0; id < MIN(l->V, tokenizer_size(l->t)); id++) {
        const Str s = token_bytes(l->t, (int32_t)id);
        bool end = false;
        for (int32_t i = 0; i < l->n_end; i++) end |= l->end[i] == id;
        if (!end && is_text(l->t, (int32_t)id, s)) to[n++] = (Spelling){s, (int32_t)id};
    }
    qsort(to, (size_t)n, sizeof *to, spelling_order);
    return n;
}

static int64_t common(Str a, Str b) {
    int64_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n]) n++;
    return n;
}

/* Of tokens with the same bytes the first counts. */
static void tree_build(Lexicon *l, const Spelling *s, int64_t n) {
    int64_t open[LEXICON_TOKEN + 1];
    Str before = {0};
    for (int64_t i = 0; i <= n; i++) {
        const Str now = i < n ? s[i].bytes : (Str){0};
        const int64_t same = common(before, now);
        for (int64_t d = same; d < before.n; d++) l->node[open[d]].skip = (int32_t)l->n;
        for (int64_t d = same; d < now.n; d++) {
            open[d] = l->n;
            l->node[l->n++] = (TokenNode){-1, 0, (uint8_t)now.p[d], (uint8_t)d};
        }
        if (i < n && now.n > same) l->node[l->n - 1].token = s[i].id;
        before = now;
    }
}

static int64_t nodes_most(const Spelling *s, int64_t n) {
    int64_t nodes = 0;
    for (int64_t i = 0; i < n; i++)
        nodes += s[i].bytes.n - (i ? common(s[i - 1].bytes, s[i].bytes) : 0);
    return nodes;
}

/* ---- characters of a kind -------------------------------------------------------------------- */

/* The characters of s, or 255: it is not whole characters of this kind, or too many. */
static uint8_t kind_length(const CharKind *k, Str s) {
    int64_t n = 0;
    for (int64_t i = 0; i < s.n; n++) {
        const uint8_t c = (uint8_t)s.p[i];
        int bytes = c < 0x80 ? kind_has(k, c) : k->beyond == BEYOND_BYTES;
        if (c >= 0x80 && k->beyond == BEYOND_UTF8) bytes = utf8_length((Str){s.p + i, s.n - i});
        if (bytes == 0) return 255;
        i += bytes;
    }
    return (uint8_t)n;
}

/* From the last node to the first: a subtree is known before its root. */
static void most_count(KindTokens *k, const Lexicon *l, const uint8_t *own) {
    for (int64_t i = l->n - 1; i >= 0; i--) {
        const TokenNode *v = &l->node[i];
        uint8_t most = own[i];
        for (int64_t j = i + 1; j < v->skip; j = l->node[j].skip) most = MAX(most, k->most[j]);
        k->most[i] = most;
    }
}

static void kind_tokens_make(KindTokens *k, Arena *a, const Lexicon *l, CharKind kind) {
    *k = (KindTokens){.kind = kind, .most = PUSH(a, uint8_t, l->n + 1)};
    for (int i = 0; i <= LEXICON_UPTO; i++) k->upto[i] = PUSH(a, uint64_t, l->words);
    Arena *scratch = arena_open("kind", ARENA_NO_LIMIT);
    uint8_t *own = PUSH(scratch, uint8_t, l->n + 1);
    for (int64_t i = 0; i < l->n; i++) {
        const int32_t id = l->node[i].token;
        if (id < 0) continue;
        own[i] = kind_length(&kind, token_bytes(l->t, id));
        if (own[i] == 255) continue;
        k->longest = MAX(k->longest, own[i]);
        k->upto[MIN(own[i], LEXICON_UPTO)][id / 64] |= (uint64_t)1 << id % 64;
    }
    for (int u = 1; u <= LEXICON_UPTO; u++)
        for (int64_t i = 0; i < l->words; i++) k->upto[u][i] |= k->upto[u - 1][i];
    most_count(k, l, own);
    arena_close(scratch);
}

const KindTokens *lexicon_kind(const Lexicon *l, Arena *a, const CharKind *kind) {
    for (int i = 0; i < KIND_N; i++)
        if (!memcmp(&char_kinds[i], kind, sizeof *kind)) return &l->kind[i];
    KindTokens *k = PUSH(a, KindTokens, 1);
    kind_tokens_make(k, a, l, *kind);
    return k;
}

/* ---- making one ------------------------------------------------------------------------------ */

bool lexicon_new(Lexicon **out, Arena *a, const Tokenizer *t, int64_t V, const int32_t *end,
                 int64_t n_end, Err *err) {
    Lexicon *l = PUSH(a, Lexicon, 1);
    *l = (Lexicon){.t = t, .V = V, .words = (V + 63) / 64};
    for (int64_t i = 0; i < n_end && l->n_end < COUNT(l->end); i++)
        if (end[i] >= 0 && end[i] < V) l->end[l->n_end++] = end[i];
    if (l->n_end == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "a bound answer: the model has no token that ends an answer");
    Arena *scratch = arena_open("lexicon", ARENA_NO_LIMIT);
    Spelling *s = PUSH(scratch, Spelling, MIN(V, tokenizer_size(t)) + 1);
    const int64_t n = spellings(s, l);
    l->node = PUSH(a, TokenNode, nodes_most(s, n) + 1);
    tree_build(l, s, n);
    arena_close(scratch);
    for (int i = 0; i < KIND_N; i++) kind_tokens_make(&l->kind[i], a, l, char_kinds[i]);
    *out = l;
    return true;
}
