/* made.c -- documents of a source, as a shard in memory.
 *
 * A conversation is encoded twice: up to the last answer, with the beginning of the assistant's
 * turn, as the model will read it, and whole. What the second has further is what is learned. */
#include "data/shard.h"

typedef struct Maker {
    const MadeSpec *spec;
    Arena *made, *scratch; /* of one document; emptied after each */
    Ids all, begin, whole;
    int64_t *border;
    int32_t *read;
} Maker;

static bool text_put(Maker *m, Str text, Err *err) {
    return text_encode(&m->whole, m->spec->tok, text, TEXT_PLAIN, m->scratch, err)
           && (ids_add(&m->whole, m->spec->end)
               || err_set(err, ERR_LIMIT, "the document does not fit into memory"));
}

static bool conversation_put(Maker *m, const Document *d, Err *err) {
    const Chat *c = m->spec->chat;
    CHECK(c && d->message[d->n - 1].role == ROLE_ASSISTANT);
    if (!chat_encode(&m->begin, NULL, c, d->message, d->n - 1, (ChatOptions){.generate = true},
                     m->scratch, err)
        || !chat_encode(&m->whole, NULL, c, d->message, d->n, (ChatOptions){0}, m->scratch, err))
        return false;
    const int64_t n = m->begin.n;
    return (n < m->whole.n && !memcmp(m->begin.v, m->whole.v, (size_t)n * sizeof *m->begin.v))
           || err_set(err, ERR_UNSUPPORTED,
                      "the chat template does not begin a finished answer as it begins one that is "
                      "generated, so it is not known what to learn");
}

static bool document_put(Maker *m, int64_t number, Err *err) {
    const Source *s = m->spec->source;
    Document d = {0};
    Err why = {0};
    m->begin = m->whole = (Ids){.a = m->made};
    const bool ok = s->document(s->self, number, &d, m->made, &why)
                    && (d.n ? conversation_put(m, &d, &why) : text_put(m, d.text, &why))
                    && (m->whole.n >= 2 || err_set(&why, ERR_FORMAT, "it has no tokens"));
    for (int64_t i = 0; ok && i < m->whole.n; i++)
        if (!ids_add(&m->all, m->whole.v[i]))
            return err_set(err, ERR_LIMIT, "%s: %lld documents do not fit into memory", s->name,
                           (long long)m->spec->docs);
    m->read[number] = (int32_t)m->begin.n;
    m->border[number + 1] = m->all.n;
    return ok
           || err_set(err, why.code, "%s, document %lld: %s", s->name, (long long)number, why.msg);
}

static void key_of(char key[65], const Shard *s, int64_t docs) {
    Sha256 h;
    sha256_init(&h);
    sha256_add(&h, s->path.p, s->path.n);
    sha256_add(&h, s->token, s->tokens * (int64_t)sizeof(int32_t));
    sha256_add(&h, s->border, (docs + 1) * (int64_t)sizeof *s->border);
    sha256_add(&h, s->read, docs * (int64_t)sizeof *s->read);
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

bool shard_of_source(Shard *s, Arena *a, const MadeSpec *spec, Err *err) {
    CHECK(spec->docs > 0);
    Maker m = {.spec = spec,
               .made = arena_open("a document", ARENA_NO_LIMIT),
               .scratch = arena_open("a document's encoding", ARENA_NO_LIMIT),
               .all = {.a = a},
               .border = PUSH(a, int64_t, spec->docs + 1),
               .read = PUSH(a, int32_t, spec->docs)};
    const bool ok = documents_put(&m, err);
    arena_close(m.made);
    arena_close(m.scratch);
    *s = (Shard){0};
    if (!ok) return false;
    *s = (Shard){.path = str_copy(a, str_of(spec->source->name)),
                 .tokens = m.all.n,
                 .docs = spec->docs,
                 .vocab = tokenizer_size(spec->tok),
                 .border = m.border,
                 .token = m.all.v,
                 .width = 4,
                 .read = m.read};
    key_of(s->key, s, spec->docs);
    return true;
}
