/* cmd_tokenizer.c -- `lisao tokenizer train`. */
#include "cli/learn.h"

static bool choice_check(const LearnSpec *o, int argc, char **argv, Err *err) {
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
    LearnSpec o = {
        .separator = "<|endoftext|>", .field = "text", .digits = 3, .documents = 20000, .seed = 1};
    const Opt opts[] = {
        NUMBER_OPT(OPT_I64, "vocab", "N", &o.vocab,
                   "How many tokens it has, the special ones and the 256 bytes included.", 1,
                   BPE_VOCAB_MAX),
        NUMBER_OPT(OPT_I64, "digits", "N", &o.digits,
                   "Most digits in a token: 3, as in DeepSeek-V3, or 1, which makes arithmetic "
                   "easier to learn.",
                   1, 3),
        NUMBER_OPT(OPT_I64, "turns", "N", &o.turns,
                   "How many questions of a conversation its chat template writes; 0: all, 1: the "
                   "last one alone, for models that learn single problems.",
                   0, 1),
        TEXT_OPT("o", "DIR", &o.out, "The folder that tokenizer.json goes into."),
        TEXT_OPT("separator", "LINE", &o.separator, "The line between documents of a text."),
        TEXT_OPT("field", "NAME", &o.field, "The member of a .jsonl's lines that has the text."),
        NUMBER_OPT(OPT_I64, "documents", "N", &o.documents,
                   "How many problems are made of each task:... among FILES.", 1, 1 << 28),
        THREADS_OPT(&o.threads),
    };
    const Command c = {
        "tokenizer",
        "train FILES...",
        "learn a tokenizer from texts",
        "Learns a byte-level BPE. FILES are texts (.txt) or lines of JSON (.jsonl), also packed by "
        "gzip, xz or zstd; folders of them; patterns with * ? [; or task:... for problems of "
        "tasks. The tokenizer has tokens for "
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
    if (choice_check(&o, argc, argv, &err)
        && tokenizer_learn(&o, (const char *const *)argv + 2, argc - 2, &err))
        return 0;
    return command_failed(&c, &err);
}
