/* made.c -- documents of a source, as a shard in memory. */
#include "data/conversation.h"
#include "data/shard.h"

typedef struct Maker {
    const MadeSpec *spec;
    Arena *made, *scratch; /* of one document; emptied after each */
    Tokens all;
    int64_t docs;
} Maker;

static bool text_put(Maker *m, Str text, Err *err) {
    Ids *id = &m->all.id;
    if (!text_encode(id, m->spec->tok, text, TEXT_PLAIN, m->scratch, err)) return false;
    if (!ids_add(id, m->spec->end))
        return err_set(err, ERR_LIMIT, "the document does not fit into memory");
    while (m->all.learned.n < id->n) buf_add(&m->all.learned, STR("\1"));
    buf_add(&m->all.end, (Str){(const char *)&id->n, 8});
    return true;
}

static bool document_put(Maker *m, int64_t number, Err *err) {
    const Source *s = m->spec->source;
    const int64_t before = m->all.id.n;
    Document d = {0};
    Err why = {0};
    bool ok = s->document(s->self, number, &d, m->made, &why);
    const Conversation c = {.message = d.message, .n = d.n};
    if (ok && d.n)
        ok = conversation_put(&m->all, &c, m->spec->chat, m->made, m->scratch, &why);
    else if (ok)
        ok = text_put(m, d.text, &why)
             && (m->all.id.n >= before + 2 || err_set(&why, ERR_FORMAT, "it has no tokens"));
    return ok
           || err_set(err, why.code, "%s, document %lld: %s", s->name, (long long)number, why.msg);
}

/* Of each document where the first answer begins, and, where others follow it, all that is
 * learned. */
static void hash_learned(Sha256 *h, const Shard *s, const Tokens *all) {
    bool more = false;
    for (int64_t d = 0; d < s->docs; d++) {
        int32_t read = 0;
        const char *mark = all->learned.p + s->border[d];
        const int64_t n = s->border[d + 1] - s->border[d];
        while (read < n && !mark[read]) read++;
        more |= memchr(mark + read, 0, (size_t)(n - read)) != NULL;
        sha256_add(h, &read, sizeof read);
    }
    if (more) sha256_add(h, all->learned.p, all->learned.n);
}

static void key_of(char key[65], const Shard *s, const Tokens *all) {
    Sha256 h;
    sha256_init(&h);
    sha256_add(&h, s->path.p, s->path.n);
    sha256_add(&h, s->token, s->tokens * (int64_t)sizeof(int32_t));
    sha256_add(&h, s->border, (s->docs + 1) * (int64_t)sizeof *s->border);
    hash_learned(&h, s, all);
    sha256_hex(&h, key);
}

static bool documents_put(Maker *m, Err *err) {
    Progress bar;
    bool ok = true;
    progress_start(&bar, "making documents", "document", m->spec->docs);
    for (int64_t i = 0; ok && i < m->spec->docs; i++) {
        const Mark mark = arena_mark(m->made);
        ok = document_put(m, i, err);
        arena_pop(m->made, mark);
        if (i % 256 == 0) progress_at(&bar, i, NULL);
        if (ok && os_interrupted())
            ok = err_set(err, ERR_INTERRUPTED, "interrupted while making documents");
    }
    progress_end(&bar);
    return ok;
}

static const uint8_t *bits_of(Arena *a, const Buf *learned) {
    uint8_t *bits = PUSH(a, uint8_t, learned->n / 8 + 1);
    for (int64_t i = 0; i < learned->n; i++) bits[i / 8] |= (uint8_t)(learned->p[i] << i % 8);
    return bits;
}

bool shard_of_source(Shard *s, Arena *a, const MadeSpec *spec, Err *err) {
    CHECK(spec->docs > 0);
    const int64_t first = 0;
    Maker m = {.spec = spec,
               .made = arena_open("a document", ARENA_NO_LIMIT),
               .scratch = arena_open("a document's encoding", ARENA_NO_LIMIT),
               .all = tokens_in(a)};
    m.all.learned.a = arena_open("what is learned", ARENA_NO_LIMIT);
    buf_add(&m.all.end, (Str){(const char *)&first, 8});
    const bool ok = documents_put(&m, err);
    *s = (Shard){0};
    if (ok) {
        *s = (Shard){.path = str_copy(a, str_of(spec->source->name)),
                     .tokens = m.all.id.n,
                     .docs = m.all.end.n / 8 - 1,
                     .vocab = tokenizer_size(spec->tok),
                     .border = (const int64_t *)(const void *)m.all.end.p,
                     .token = m.all.id.v,
                     .width = 4,
                     .learned = bits_of(a, &m.all.learned)};
        key_of(s->key, s, &m.all);
    }
    arena_close(m.made);
    arena_close(m.scratch);
    arena_close(m.all.learned.a);
    return ok;
}
