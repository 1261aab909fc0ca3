/* cmd_tokenizer.c -- `lisao tokenizer train`: a tokenizer learnt from texts. */
#include "cli/cli.h"
#include "data/data.h"

#include <stdio.h>

enum { WAVE_BYTES = 8 << 20, WAVE_UNITS = 1 << 14, SAMPLE_BYTES = 1 << 20 };

typedef struct Options {
    const char *out, *separator, *field;
    int64_t vocab, digits, threads;
} Options;

typedef struct Job {
    const Options *o;
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

static bool files_put(Job *j, const Tokenizer *tok, Arena *scratch, Err *err) {
    Arena *a = j->arena;
    Buf json = {.a = a};
    return tokenizer_json(&json, tok, -1, scratch, err) && os_mkdir(j->o->out, err)
           && os_put(a, str_fmt(a, "%s/tokenizer_config.json", j->o->out).p, bpe_chat_config(a),
                     err)
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

static bool train(const Options *o, char **name, int n, Err *err) {
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
    for (int i = 0; i < n && ok; i++) ok = texts_add(&j, name[i], err);
    ok = ok && learn(&j, err);
    bpe_trainer_close(j.trainer);
    team_close(j.team);
    arena_close(j.sample.a);
    arena_close(a);
    return ok;
}

static bool choice_check(const Options *o, int argc, char **argv, Err *err) {
    if (argc < 2 || strcmp(argv[1], "train") != 0)
        return err_set(err, ERR_USAGE,
                       "expected `lisao tokenizer train FILES... --vocab N -o DIR`");
    if (argc < 3) return err_set(err, ERR_USAGE, "name the files to learn from");
    if (!o->vocab) return err_set(err, ERR_USAGE, "give --vocab N, the number of tokens");
    if (o->digits != 1 && o->digits != 3)
        return err_set(err, ERR_USAGE, "--digits is 1 or 3: how many digits a token has at most");
    return o->out || err_set(err, ERR_USAGE, "give -o DIR, the folder of the new tokenizer");
}

int cmd_tokenizer(int argc, char **argv) {
    Options o = {.separator = "<|endoftext|>", .field = "text", .digits = 3};
    const Opt opts[] = {
        NUMBER_OPT(OPT_I64, "vocab", "N", &o.vocab,
                   "How many tokens it has, the special ones and the 256 bytes included.", 1,
                   BPE_VOCAB_MAX),
        NUMBER_OPT(OPT_I64, "digits", "N", &o.digits,
                   "Most digits in a token: 3, as in DeepSeek-V3, or 1, which makes arithmetic "
                   "easier to learn.",
                   1, 3),
        TEXT_OPT("o", "DIR", &o.out, "The folder that tokenizer.json goes into."),
        TEXT_OPT("separator", "LINE", &o.separator, "The line between documents of a text."),
        TEXT_OPT("field", "NAME", &o.field, "The member of a .jsonl's lines that has the text."),
        THREADS_OPT(&o.threads),
    };
    const Command c = {
        "tokenizer",
        "train FILES...",
        "learn a tokenizer from texts",
        "Learns a byte-level BPE. FILES are texts (.txt) or lines of JSON (.jsonl), also packed by "
        "gzip, xz or zstd; folders of them; patterns with * ? [. The tokenizer has tokens for "
        "conversations, thoughts and tool calls, and a chat template, so that a model trained with "
        "it can be talked with. The same texts give the same file, on any number of threads.",
        "lisao tokenizer train text.txt --vocab 8192 --digits 1 -o tokenizer\n"
        "lisao tokenizer train corpus 'more/*.jsonl.gz' --vocab 16384 -o tokenizer-16k\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    if (choice_check(&o, argc, argv, &err) && train(&o, argv + 2, argc - 2, &err)) return 0;
    return command_failed(&c, &err);
}
