/* learn.c -- trains a tokenizer: texts are cut into words on all threads, the words are counted,
 * merges are learnt from them, and the result is a Tokenizer like any other. */
#include "text/learn.h"

enum { THREADS_MAX = 64, SET_BYTES = 256 << 20, SET_WORDS = 16 << 20, NOTES_MOST = 64 << 20 };

/* What cuts words, in the file and here. Digits stand alone by --digits 1: no merge then has two of
 * them, so a file that cuts rows of three gives one token for each all the same, and GGUF has a
 * name for it. */
#define PRE "deepseek-v3"

typedef struct Cutter {
    Arena *scratch;
    WordList list;
    Err err;
} Cutter;

struct BpeTrainer {
    BpeSpec spec;
    Team *team;
    Arena *arena;
    Tokenizer *cut; /* its stages only */
    WordSet words;
    Cutter thread[THREADS_MAX];
    const Str *text; /* (n) of the wave */
    int64_t n, bytes;
};

/* ---- counting -------------------------------------------------------------------------------- */

static bool word_found(void *list, Str word) {
    word_list_add(list, word);
    return true;
}

static bool text_cut(Cutter *c, Pretok *p, Str text) {
    for (bool valid = true; text.n > 0; valid = !valid) {
        const Str run = {text.p, utf8_run(text, valid)};
        p->first = true;
        if (run.n > 0 && !valid) word_list_add(&c->list, run);
        if (run.n > 0 && valid && !pretok_run(p, run)) return false;
        text = (Str){text.p + run.n, text.n - run.n};
    }
    return true;
}

/* The texts that begin in this thread's share of the wave's bytes. */
static void texts_cut(Thread th, void *arg) {
    BpeTrainer *t = arg;
    Cutter *c = &t->thread[th.i];
    const Range r = thread_range(th, t->bytes);
    const Mark mark = arena_mark(c->scratch);
    Pretok p = {.word = word_found, .arg = &c->list};
    bool ok = pretok_init(&p, t->cut, c->scratch, &c->err);
    int64_t at = 0;
    for (int64_t i = 0; i < t->n && ok; at += t->text[i++].n)
        if (at >= r.lo && at < r.hi) ok = text_cut(c, &p, t->text[i]);
    word_list_end(&c->list);
    arena_pop(c->scratch, mark);
    thread_sync(th);
    const Range parts = thread_range(th, WORD_PARTS);
    for (int64_t part = parts.lo; part < parts.hi; part++) {
        for (int64_t i = 0; i < th.n; i++) words_add(&t->words, part, &t->thread[i].list);
        words_prune(&t->words, part);
    }
    thread_sync(th);
    word_list_clear(&c->list);
}

bool bpe_trainer_add(BpeTrainer *t, const Str *text, int64_t n, Err *err) {
    t->text = text, t->n = n, t->bytes = 0;
    for (int64_t i = 0; i < n; i++) t->bytes += text[i].n;
    team_run(t->team, texts_cut, t);
    for (int64_t i = 0; i < team_threads(t->team); i++)
        if (t->thread[i].err.code != ERR_NONE)
            return err_set(err, t->thread[i].err.code, "counting words: %s", t->thread[i].err.msg);
    return true;
}

static bool stages_add(BpeTrainer *t, Err *err) {
    Stage s = {.where = "the pattern of words"};
    for (int i = 0; pre_pattern(PRE, i); i++) {
        const char *pattern = i == 0 && t->spec.single_digits ? "\\p{N}" : pre_pattern(PRE, i);
        if (!stage_add(t->cut, t->arena, str_of(pattern), &s, err)) return false;
    }
    return true;
}

bool bpe_trainer_open(BpeTrainer **out, const BpeSpec *spec, Team *team, Err *err) {
    const int64_t least = bpe_vocab_least();
    if (spec->vocab < least || spec->vocab > BPE_VOCAB_MAX)
        return err_set(err, ERR_USAGE,
                       "a vocabulary of %lld tokens: expected %lld (the bytes and the special "
                       "tokens) to %d",
                       (long long)spec->vocab, (long long)least, BPE_VOCAB_MAX);
    Arena *a = arena_open("training a tokenizer", ARENA_NO_LIMIT);
    BpeTrainer *t = *out = PUSH(a, BpeTrainer, 1);
    *t = (BpeTrainer){.spec = *spec, .team = team, .arena = a};
    t->cut = tokenizer_new(a, "training a tokenizer");
    words_init(&t->words, (spec->most_bytes ? spec->most_bytes : SET_BYTES) / WORD_PARTS,
               SET_WORDS / WORD_PARTS);
    for (int64_t i = 0; i < team_threads(team); i++) {
        t->thread[i].scratch = arena_open("cutting words", ARENA_NO_LIMIT);
        word_list_init(&t->thread[i].list, a);
    }
    if (stages_add(t, err)) return true;
    bpe_trainer_close(t);
    return false;
}

void bpe_trainer_close(BpeTrainer *t) {
    if (!t) return;
    tokenizer_close(t->cut);
    words_close(&t->words);
    for (int64_t i = 0; i < team_threads(t->team); i++) {
        arena_close(t->thread[i].scratch);
        if (t->thread[i].list.arena) arena_close(t->thread[i].list.arena);
    }
    arena_close(t->arena);
}

/* ---- from merges to a tokenizer -------------------------------------------------------------- */

/* Ids: the special tokens, the bytes in the order of their characters, then what merges make. */
static void tokens_first(MergeJob *j, int32_t first[256], Arena *a) {
    int32_t id = (int32_t)learnt_special_n;
    for (int round = 0; round < 2; round++) /* bytes that stand for themselves come first */
        for (int b = 0; b < 256; b++) {
            if ((byte_char(b) >= 0x100) != round) continue;
            char *p = PUSH(a, char, 1);
            *p = (char)b;
            j->bytes[id] = (Str){p, 1};
            first[b] = id++;
        }
    j->tokens = id;
}

static Str form_of(Arena *a, Str bytes) {
    char *p = PUSH(a, char, 2 * bytes.n);
    int64_t n = 0;
    for (int64_t i = 0; i < bytes.n; i++) n += utf8_put(p + n, byte_char((uint8_t)bytes.p[i]));
    return (Str){p, n};
}

static bool tokenizer_make(Tokenizer **out, Arena *a, const MergeJob *j, Arena *scratch, Err *err) {
    Str *token = PUSH(scratch, Str, j->tokens), *merge = PUSH(scratch, Str, j->n_merges + 1);
    int32_t *type = PUSH(scratch, int32_t, j->tokens);
    for (int64_t i = 0; i < j->tokens; i++) {
        const bool special = i < learnt_special_n;
        token[i] = special ? str_of(learnt_special[i].text) : form_of(scratch, j->bytes[i]);
        type[i] = !special                    ? TYPE_NORMAL
                  : learnt_special[i].visible ? TYPE_USER_DEFINED
                                              : TYPE_CONTROL;
    }
    for (int64_t i = 0; i < j->n_merges; i++)
        merge[i] = str_fmt(scratch, "%.*s %.*s", STRF(token[j->merge[i].left]),
                           STRF(token[j->merge[i].right]));
    const TokenizerParts p = {.name = "the new tokenizer",
                              .pre = STR(PRE),
                              .tokens = token,
                              .n_tokens = j->tokens,
                              .types = type,
                              .n_types = j->tokens,
                              .merges = merge,
                              .n_merges = j->n_merges};
    return tokenizer_open_parts(out, a, &p, err);
}

bool bpe_trainer_learn(BpeTrainer *t, Tokenizer **out, Arena *a, Err *err) {
    int32_t first[256];
    Arena *scratch = arena_open("a new tokenizer", ARENA_NO_LIMIT);
    MergeJob j = {.team = t->team,
                  .words = &t->words,
                  .vocab = t->spec.vocab,
                  .first = first,
                  .bytes = PUSH(scratch, Str, t->spec.vocab + 1),
                  .merge = PUSH(scratch, Learnt, 2 * t->spec.vocab),
                  .most_merges = 2 * t->spec.vocab,
                  .most_notes = t->spec.most_notes ? t->spec.most_notes : NOTES_MOST,
                  .arena = scratch};
    tokens_first(&j, first, scratch);
    const bool ok = merges_learn(&j, err) && tokenizer_make(out, a, &j, scratch, err);
    arena_close(scratch);
    return ok;
}

int64_t bpe_trainer_forgotten(const BpeTrainer *t) {
    int64_t n = 0;
    for (int64_t i = 0; i < WORD_PARTS; i++) n += t->words.part[i].forgotten;
    return n;
}
