/* cmd_convert.c -- `lisao convert` and `lisao synth`: a model as a GGUF file or a Hugging Face
 * folder. bundle/ does the work. */
#include "cli/cli.h"

#include <stdio.h>

typedef struct Options {
    const char *type, *format, *tokenizer;
    OptList rules;
    int64_t threads, seed;
    bool mtp;
} Options;

#define FORMAT_HELP                                                                                \
    "Format of the result (default: a GGUF file where OUT ends with .gguf, else a Hugging Face "   \
    "folder)."
#define RULE_HELP "Type of the tensors whose output name matches REGEX; the last match wins."

static ConvertSpec spec_of(const Options *o) {
    return (ConvertSpec){.type = o->type,
                         .rule = o->rules.v,
                         .n_rules = o->rules.n,
                         .format = o->format,
                         .mtp = o->mtp};
}

/* The kernels, the team and an arena for `work`; what there is to say at the end. */
static int with_team(const Command *c, const Options *o, char **argv,
                     bool (*work)(Arena *a, const Options *o, char **argv, Team *team, Err *err)) {
    Err err = {0};
    Arena *a = arena_open("convert", ARENA_NO_LIMIT);
    Team *team = NULL;
    os_catch_interrupt();
    bool ok = kern_init(LEVEL_N, &err);
    if (ok) team = team_open(o->threads ? o->threads : MIN(os_cpus(), 64));
    ok = ok && work(a, o, argv, team, &err);
    if (team) team_close(team);
    arena_close(a);
    if (!ok) return command_failed(c, &err);
    fprintf(stderr, "wrote %s\n", argv[2]);
    return 0;
}

static int two_needed(const Command *c, int argc, const char *what) {
    Err err = {0};
    err_set(&err, ERR_USAGE, "expected %s, found %d arguments", what, argc - 1);
    return command_failed(c, &err);
}

static bool convert(Arena *a, const Options *o, char **argv, Team *team, Err *err) {
    ConvertSpec s = spec_of(o);
    const char *in;
    return model_pulled(&in, a, argv[1], err) && bundle_convert(a, in, argv[2], &s, team, err);
}

int cmd_convert(int argc, char **argv) {
    Options o = {0};
    const Opt opts[] = {
        TEXT_OPT(
            "type", CONVERT_TYPES, &o.type,
            "Type of the matrices (default: as they are, where the format has it). Vectors and "
            "routers stay f32, the head gets q6_k or q8_0, and rows that a type's blocks do "
            "not divide get a similar type, all as in llama.cpp."),
        {OPT_LIST, "tensor-type", "REGEX=TYPE", &o.rules, RULE_HELP, 0, 0, NULL},
        TEXT_OPT("format", "gguf|hf", &o.format, FORMAT_HELP),
        MTP_OPT(&o.mtp),
        THREADS_OPT(&o.threads),
    };
    const Command c = {
        "convert",
        "IN OUT",
        "write a model in another format or other number types",
        "Writes the model IN (a GGUF file, a Hugging Face folder, a checkpoint) to OUT: a GGUF "
        "file "
        "as llama.cpp has it, or a Hugging Face folder, tokenizer and chat template included. "
        "Layers that predict further tokens are left out unless --mtp is given. OUT "
        "appears when it is complete.",
        "lisao convert Qwen3-0.6B/ qwen3.gguf --type q4_k_m\n"
        "lisao convert model.gguf smaller.gguf --type q8_0 --tensor-type ffn_down=q6_k\n"
        "lisao convert model.gguf folder --type bf16\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    return argc == 3 ? with_team(&c, &o, argv, convert)
                     : two_needed(&c, argc, "a model and the name of the result");
}

static bool synth(Arena *a, const Options *o, char **argv, Team *team, Err *err) {
    SynthSpec s = {.convert = spec_of(o), .tokenizer = o->tokenizer, .seed = (uint64_t)o->seed};
    return bundle_synth(a, argv[1], argv[2], &s, team, err);
}

int cmd_synth(int argc, char **argv) {
    Options o = {.type = "bf16"};
    const Opt opts[] = {
        NUMBER_OPT(OPT_I64, "seed", "N", &o.seed, "The same seed gives the same model.", 0, 0),
        TEXT_OPT("type", CONVERT_TYPES, &o.type, "Type of the matrices, as in lisao convert."),
        {OPT_LIST, "tensor-type", "REGEX=TYPE", &o.rules, RULE_HELP, 0, 0, NULL},
        TEXT_OPT("format", "gguf|hf", &o.format, FORMAT_HELP),
        TEXT_OPT("tokenizer", "MODEL", &o.tokenizer,
                 "Take tokenizer and chat template from this model or folder (default: a token for "
                 "each byte)."),
        THREADS_OPT(&o.threads),
    };
    const Command c = {
        "synth",
        "CONFIG OUT",
        "write a model of random numbers",
        "Writes a model of the shape that CONFIG (a config.json, or a folder that has one) "
        "describes: matrices normal with a deviation of 0.02, norms 1, biases 0. It is written "
        "piece by piece, so that it may be larger than memory. For tests and measurements of "
        "speed; "
        "its text is meaningless.",
        "lisao synth config.json random.gguf --type q8_0\n"
        "lisao synth folder/ random --seed 7\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    return argc == 3 ? with_team(&c, &o, argv, synth)
                     : two_needed(&c, argc, "a configuration and the name of the result");
}
