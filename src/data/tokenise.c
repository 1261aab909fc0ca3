/* tokenise.c -- makes a shard: text to documents, to tokens on all threads, to one file.
 *
 * The text is read once, in batches of units, called waves. A unit is a document or, of a long
 * document, a part of it. The threads encode contiguous shares of a wave, and thread 0 then writes
 * all of them in order. Where a document is cut into parts depends on its bytes alone, so tokens do
 * not depend on the threads. Memory is that of one wave, whatever the length of the text. */
#include "data/conversation.h"
#include "data/documents.h"
#include "data/shard.h"

enum { WAVE_BYTES = 8 << 20, WAVE_UNITS = 1 << 14, THREADS_MAX = 64 };

/* ---- a wave on the threads ------------------------------------------------------------------- */

typedef struct ThreadWork {
    Arena *ids_arena, *scratch, *talk;
    Ids ids;       /* of this thread's units, one after the other */
    Tokens tokens; /* the same of conversations */
    Err err;
} ThreadWork;

typedef struct Maker {
    const ShardSpec *spec;
    Arena *arena;
    ThreadWork thread[THREADS_MAX];
    int64_t threads;
    TextUnit *unit;
    int64_t n_units; /* of the wave */
    int64_t *count;  /* (WAVE_UNITS) tokens of each unit */
    OutFile *out;
    Sha256 sum;
    int64_t width, tokens, doc_tokens; /* doc_tokens: of the document that is not ended yet */
    Buf border;                        /* int64 each */
    Buf learned;                       /* of conversations: a bit a token */
    uint8_t bits;                      /* of tokens since the last whole byte of these */
} Maker;

static void encode_units(Thread th, void *arg) {
    Maker *m = arg;
    ThreadWork *w = &m->thread[th.i];
    Range r = thread_range(th, m->n_units);
    for (int64_t i = r.lo; i < r.hi && w->err.code == ERR_NONE; i++) {
        int64_t before = w->ids.n;
        if (!text_encode(&w->ids, m->spec->tok, m->unit[i].text, TEXT_PLAIN, w->scratch, &w->err))
            break;
        m->count[i] = w->ids.n - before;
    }
    thread_sync(th);
}

/* A unit is a line with a conversation. */
static void encode_conversations(Thread th, void *arg) {
    Maker *m = arg;
    ThreadWork *w = &m->thread[th.i];
    const Range r = thread_range(th, m->n_units);
    for (int64_t i = r.lo; i < r.hi && w->err.code == ERR_NONE; i++) {
        const TextUnit *u = &m->unit[i];
        const Mark mark = arena_mark(w->talk);
        Conversation c;
        Err why = {0};
        if (!conversation_read(&c, w->talk, u->text, u->path, u->line, &w->err)) break;
        if (!conversation_put(&w->tokens, &c, m->spec->chat, w->talk, w->scratch, &why))
            err_set(&w->err, why.code, "%s, line %lld: %s", u->path, (long long)u->line, why.msg);
        json_decref(c.json);
        arena_pop(w->talk, mark);
    }
    thread_sync(th);
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool put(Maker *m, const void *p, int64_t n, Err *err) {
    sha256_add(&m->sum, p, n);
    return os_write(m->out, p, n, err);
}

static bool put_tokens(Maker *m, const int32_t *id, int64_t n, Err *err) {
    uint16_t small[4096];
    m->tokens += n;
    m->doc_tokens += n;
    if (m->width == 4) return put(m, id, n * 4, err);
    for (int64_t i = 0; i < n; i += COUNT(small)) {
        int64_t part = MIN(n - i, COUNT(small));
        for (int64_t j = 0; j < part; j++) small[j] = (uint16_t)id[i + j];
        if (!put(m, small, part * 2, err)) return false;
    }
    return true;
}

static void add_border(Maker *m) { buf_add(&m->border, (Str){(const char *)&m->tokens, 8}); }

/* A document none of whose bytes has a token leaves nothing behind, not even an end token. */
static bool end_document(Maker *m, Err *err) {
    if (m->doc_tokens == 0) return true;
    if (!put_tokens(m, &m->spec->end, 1, err)) return false;
    m->doc_tokens = 0;
    add_border(m);
    return true;
}

static void put_learned(Maker *m, const char *mark, int64_t n) {
    for (int64_t i = 0, at = m->tokens; i < n; i++, at++) {
        m->bits |= (uint8_t)(mark[i] << at % 8);
        if (at % 8 < 7) continue;
        buf_add(&m->learned, (Str){(const char *)&m->bits, 1});
        m->bits = 0;
    }
}

static bool write_conversations(Maker *m, Err *err) {
    for (int64_t i = 0; i < m->threads; i++) {
        const ThreadWork *w = &m->thread[i];
        const Tokens *t = &w->tokens;
        if (w->err.code != ERR_NONE) return *err = w->err, false;
        for (int64_t d = 0, from = 0, end; d < t->end.n / 8; d++, from = end) {
            memcpy(&end, t->end.p + d * 8, 8);
            put_learned(m, t->learned.p + from, end - from);
            if (!put_tokens(m, t->id.v + from, end - from, err)) return false;
            add_border(m);
        }
    }
    return true;
}

static bool write_wave(Maker *m, Team *team, Err *err) {
    if (m->spec->chat) return write_conversations(m, err);
    for (int64_t i = 0; i < m->threads; i++) {
        const ThreadWork *w = &m->thread[i];
        if (w->err.code != ERR_NONE)
            return err_set(err, w->err.code, "tokenising %s: %s", m->spec->text, w->err.msg);
        const int32_t *id = w->ids.v;
        Range r = thread_range((Thread){i, m->threads, team}, m->n_units);
        for (int64_t u = r.lo; u < r.hi; id += m->count[u++])
            if (!put_tokens(m, id, m->count[u], err) || (m->unit[u].ends && !end_document(m, err)))
                return false;
    }
    return true;
}

static bool write_waves(Maker *m, Texts *texts, Team *team, Err *err) {
    Progress bar;
    progress_start(&bar, "tokenising", "B", texts_total(texts));
    bool ok = true;
    while (ok && (m->n_units = texts_next(texts, m->unit, WAVE_UNITS, WAVE_BYTES, err)) > 0) {
        Mark mark[THREADS_MAX];
        for (int64_t i = 0; i < m->threads; i++) {
            mark[i] = arena_mark(m->thread[i].ids_arena);
            m->thread[i].ids = (Ids){.a = m->thread[i].ids_arena};
            m->thread[i].tokens = tokens_in(m->thread[i].ids_arena);
        }
        team_run(team, m->spec->chat ? encode_conversations : encode_units, m);
        ok = write_wave(m, team, err);
        for (int64_t i = 0; i < m->threads; i++) arena_pop(m->thread[i].ids_arena, mark[i]);
        progress_at(&bar, texts_at(texts), NULL);
        if (ok && os_interrupted())
            ok = err_set(err, ERR_INTERRUPTED, "interrupted while tokenising %s; nothing was kept",
                         m->spec->text);
    }
    progress_end(&bar);
    return ok && m->n_units == 0;
}

static bool write_header(Maker *m, const char *key, Err *err) {
    ShardHeader h = {.magic = SHARD_MAGIC, .version = SHARD_VERSION, .width = (uint32_t)m->width};
    h.talks = m->spec->chat != NULL;
    hex_to_bytes(h.key, key);
    return put(m, &h, sizeof h, err);
}

static bool write_learned(Maker *m, Err *err) {
    if (!m->spec->chat) return true;
    buf_add(&m->learned, (Str){(const char *)&m->bits, 1});
    while (m->learned.n % 8) buf_add(&m->learned, (Str){"", 1});
    return put(m, m->learned.p, round_up((m->tokens + 7) / 8, 8), err);
}

static bool write_trailer(Maker *m, const TextCounts *counts, Err *err) {
    const uint64_t zero = 0;
    int64_t bytes = m->tokens * m->width, docs = m->border.n / 8 - 1;
    if (docs == 0 && m->spec->chat)
        return err_set(err, ERR_FORMAT, "%s holds no conversation", m->spec->text);
    if (docs == 0)
        return err_set(
            err, ERR_FORMAT,
            "%s holds no text to train on: between lines \"%s\" there is nothing that has tokens",
            m->spec->text, m->spec->separator);
    if (!put(m, &zero, round_up(bytes, 8) - bytes, err) || !put(m, m->border.p, m->border.n, err)
        || !write_learned(m, err))
        return false;
    ShardTrailer t = {
        .tokens = m->tokens, .docs = docs, .vocab = tokenizer_size(m->spec->tok), .text = *counts};
    if (!put(m, &t, offsetof(ShardTrailer, sum), err)) return false;
    char hex[65];
    sha256_hex(&m->sum, hex);
    hex_to_bytes(t.sum, hex);
    return os_write(m->out, t.sum, sizeof t.sum, err);
}

static bool write_shard(Maker *m, const char *path, const char *key, const TextCounts *counts,
                        Team *team, Err *err) {
    Texts *texts = NULL;
    m->out = os_create(m->arena, path, err);
    if (!m->out) return false;
    const bool ok =
        texts_open(&texts, m->arena, m->spec->text, m->spec->separator, field_of(m->spec), err)
        && write_header(m, key, err) && write_waves(m, texts, team, err)
        && write_trailer(m, counts, err);
    texts_close(texts);
    if (ok) return os_commit(m->out, err);
    os_abandon(m->out);
    return false;
}

bool shard_make(const char *path, const char *key, const TextCounts *counts, const ShardSpec *spec,
                Team *team, Err *err) {
    CHECK(spec->end >= 0 && spec->end < tokenizer_size(spec->tok));
    Arena *a = arena_open("tokenising", ARENA_NO_LIMIT);
    Maker *m = PUSH(a, Maker, 1);
    *m = (Maker){.spec = spec,
                 .arena = a,
                 .threads = team_threads(team),
                 .unit = PUSH(a, TextUnit, WAVE_UNITS),
                 .count = PUSH(a, int64_t, WAVE_UNITS),
                 .width = tokenizer_size(spec->tok) <= 65536 ? 2 : 4,
                 .border = {.a = arena_open("shard borders", ARENA_NO_LIMIT)},
                 .learned = {.a = arena_open("what is learned", ARENA_NO_LIMIT)}};
    CHECK(m->threads <= THREADS_MAX);
    sha256_init(&m->sum);
    add_border(m);
    for (int64_t i = 0; i < m->threads; i++) {
        m->thread[i].ids_arena = arena_open("tokens of a wave", ARENA_NO_LIMIT);
        m->thread[i].scratch = arena_open("tokeniser's scratch", ARENA_NO_LIMIT);
        m->thread[i].talk = arena_open("a conversation", ARENA_NO_LIMIT);
    }
    bool ok = write_shard(m, path, key, counts, team, err);
    for (int64_t i = 0; i < m->threads; i++) {
        arena_close(m->thread[i].ids_arena);
        arena_close(m->thread[i].scratch);
        arena_close(m->thread[i].talk);
    }
    arena_close(m->border.a);
    arena_close(m->learned.a);
    arena_close(a);
    return ok;
}
