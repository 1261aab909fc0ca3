/* cmd_export.c -- `lisao export`: a checkpoint of a run as files for other programs. */
#include "cli/cli.h"
#include "train/train.h"

#include <stdio.h>

typedef struct Options {
    const char *hf, *gguf, *type;
    int64_t threads;
    bool best, mtp;
} Options;

static bool export_to(Arena *a, const Options *o, const char *in, const char *out,
                      const char *format, Team *team, Err *err) {
    if (!out) return true;
    const ConvertSpec s = {.type = o->type, .format = format, .mtp = o->mtp};
    if (!bundle_convert(a, in, out, &s, team, err)) return false;
    fprintf(stderr, "wrote %s\n", out);
    return true;
}

static bool export(Arena *a, const Options *o, const char *run, Err *err) {
    if (!o->hf && !o->gguf)
        return err_set(err, ERR_USAGE, "name what to write: --hf DIR or --gguf FILE");
    if (!os_is_dir(run))
        return err_set(err, ERR_IO,
                       "%s: no folder of a run or of a checkpoint is there; another model is "
                       "written in another format by lisao convert",
                       run);
    if ((o->best && !run_best(&run, a, run, err)) || !kern_init(LEVEL_N, err)) return false;
    Team *team = team_open(o->threads ? o->threads : MIN(os_cpus(), 64));
    const bool ok = export_to(a, o, run, o->hf, "hf", team, err)
                    && export_to(a, o, run, o->gguf, "gguf", team, err);
    team_close(team);
    return ok;
}

int cmd_export(int argc, char **argv) {
    Options o = {0};
    const Opt opts[] = {
        TEXT_OPT("hf", "DIR", &o.hf, "Write a Hugging Face folder, which must be new or empty."),
        TEXT_OPT("gguf", "FILE", &o.gguf, "Write a GGUF file, as llama.cpp has it."),
        FLAG_OPT("best", &o.best,
                 "Take the checkpoint with the lowest loss on data.valid (default: the newest)."),
        TEXT_OPT("type", CONVERT_TYPES, &o.type,
                 "Type of the matrices, as in lisao convert (default: f32, as they are)."),
        MTP_OPT(&o.mtp),
        THREADS_OPT(&o.threads),
    };
    const Command c = {
        "export",
        "RUN",
        "write a trained model for other programs",
        "Writes a checkpoint as a Hugging Face folder, a GGUF file, or both, tokenizer and chat "
        "template included. RUN is the checkpoint.folder of a run, or one checkpoint in it.",
        "lisao export runs/tiny-en --hf tiny-en --type bf16\n"
        "lisao export runs/tiny-en --gguf tiny-en.gguf --type f16\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    Arena *a = arena_open("export", ARENA_NO_LIMIT);
    const bool ok =
        argc == 2 ? export(a, &o, argv[1], &err)
                  : err_set(&err, ERR_USAGE, "expected one RUN, found %d arguments", argc - 1);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
