/* learn.c -- a tokenizer learnt from texts, and from problems of tasks. */
#include "cli/learn.h"

#include "data/data.h"
#include "train/train.h"

#include <stdio.h>

enum { WAVE_BYTES = 8 << 20, WAVE_UNITS = 1 << 14, SAMPLE_BYTES = 1 << 20 };

typedef struct Job {
    const LearnSpec *o;
    Arena *arena;
    Team *team;
    BpeTrainer *trainer;
    TextUnit *unit; /* (WAVE_UNITS) */
    Str *text;      /* (WAVE_UNITS) */
    Buf sample;     /* the beginning, to say how well it is compressed */
    int64_t bytes, docs;
} Job;

static bool wave_add(Job *j, int64_t n, Err *err) {
    for (int64_t i = 0; i < n; i++) {
        j->text[i] = j->unit[i].text;
        j->bytes += j->unit[i].text.n;
        j->docs += j->unit[i].ends;
        if (j->sample.n < SAMPLE_BYTES) buf_add(&j->sample, j->unit[i].text);
    }
    return bpe_trainer_add(j->trainer, j->text, n, err);
}

static bool texts_add(Job *j, const char *name, Err *err) {
    Texts *texts = NULL;
    Progress bar;
    int64_t n = 0;
    bool ok = texts_open(&texts, j->arena, name, j->o->separator, j->o->field, err);
    if (!ok) return false;
    progress_start(&bar, "counting words", "B", texts_total(texts));
    while (ok && (n = texts_next(texts, j->unit, WAVE_UNITS, WAVE_BYTES, err)) > 0) {
        ok = wave_add(j, n, err);
        progress_at(&bar, texts_at(texts), NULL);
        if (ok && os_interrupted()) ok = err_set(err, ERR_INTERRUPTED, "interrupted");
    }
    progress_end(&bar);
    texts_close(texts);
    return ok && n == 0;
}

/* A problem as text: what is asked, thought and answered, as a conversation has it. */
static Str problem_text(Arena *a, const Document *d) {
    const Message *asked = &d->message[0], *said = &d->message[1];
    return str_fmt(a, "%.*s\n%.*s\n%.*s", STRF(asked->content), STRF(said->reasoning),
                   STRF(said->content));
}

static bool problems_add(Job *j, const char *name, Err *err) {
    enum { WAVE = 256 };
    Source s;
    Arena *a = arena_open("problems", ARENA_NO_LIMIT);
    bool ok = task_source(&s, j->arena, name, j->o->seed, false, err);
    for (int64_t at = 0, n; ok && at < j->o->documents; at += n) {
        const Mark mark = arena_mark(a);
        n = MIN(WAVE, j->o->documents - at);
        for (int64_t i = 0; ok && i < n; i++) {
            Document d = {0};
            ok = s.document(s.self, at + i, &d, a, err);
            if (ok) j->unit[i] = (TextUnit){.text = problem_text(a, &d), .ends = true};
        }
        ok = ok && wave_add(j, n, err);
        arena_pop(a, mark);
    }
    arena_close(a);
    return ok;
}

static bool files_put(Job *j, const Tokenizer *tok, Arena *scratch, Err *err) {
    Arena *a = j->arena;
    Buf json = {.a = a};
    return tokenizer_json(&json, tok, -1, scratch, err) && os_mkdir(j->o->out, err)
           && os_put(a, str_fmt(a, "%s/tokenizer_config.json", j->o->out).p,
                     bpe_chat_config(a, j->o->turns == 1), err)
           && os_put(a, str_fmt(a, "%s/tokenizer.json", j->o->out).p, buf_str(&json), err);
}

static bool result_say(const Job *j, const Tokenizer *tok, Arena *scratch, Err *err) {
    Ids ids = {.a = j->arena};
    if (!text_encode(&ids, tok, buf_str(&j->sample), TEXT_PLAIN, scratch, err)) return false;
    if (tokenizer_size(tok) < j->o->vocab)
        log_at(
            LOG_WARN,
            "the texts have no more pairs to merge: %lld tokens instead of %lld. Take more text, "
            "or a smaller --vocab",
            (long long)tokenizer_size(tok), (long long)j->o->vocab);
    printf(
        "%s: %lld tokens from %.1f MB in %lld documents; a token is %.2f bytes of the first %.1f "
        "MB\n",
        j->o->out, (long long)tokenizer_size(tok), 1e-6 * (double)j->bytes, (long long)j->docs,
        (double)j->sample.n / (double)MAX(ids.n, 1), 1e-6 * (double)j->sample.n);
    return true;
}

static bool learn(Job *j, Err *err) {
    const int64_t forgotten = bpe_trainer_forgotten(j->trainer);
    Tokenizer *tok = NULL;
    if (j->docs == 0)
        return err_set(err, ERR_FORMAT, "the files hold no text: all documents are empty");
    if (forgotten)
        log_at(LOG_WARN,
               "%lld different words of the texts are left out, those that were seen least: so "
               "many do not fit into memory",
               (long long)forgotten);
    Arena *scratch = arena_open("a tokenizer's files", ARENA_NO_LIMIT);
    const bool ok = bpe_trainer_learn(j->trainer, &tok, j->arena, err)
                    && files_put(j, tok, scratch, err) && result_say(j, tok, scratch, err);
    tokenizer_close(tok);
    arena_close(scratch);
    return ok;
}

bool tokenizer_learn(const LearnSpec *o, const char *const *name, int64_t n, Err *err) {
    Arena *a = arena_open("tokenizer", ARENA_NO_LIMIT);
    Job j = {.o = o,
             .arena = a,
             .unit = PUSH(a, TextUnit, WAVE_UNITS),
             .text = PUSH(a, Str, WAVE_UNITS),
             .sample = {.a = arena_open("sample", ARENA_NO_LIMIT)},
             .team = team_open(o->threads ? o->threads : MIN(os_cpus(), 64))};
    const BpeSpec spec = {.vocab = o->vocab, .single_digits = o->digits == 1};
    const char *there = str_fmt(a, "%s/tokenizer.json", o->out).p;
    bool ok = !os_exists(there)
              || err_set(err, ERR_USAGE,
                         "%s is there already: remove it, or name another folder with -o", there);
    ok = ok && bpe_trainer_open(&j.trainer, &spec, j.team, err);
    for (int64_t i = 0; i < n && ok; i++)
        ok = names_tasks(name[i]) ? problems_add(&j, name[i], err) : texts_add(&j, name[i], err);
    ok = ok && learn(&j, err);
    bpe_trainer_close(j.trainer);
    team_close(j.team);
    arena_close(j.sample.a);
    arena_close(a);
    return ok;
}
