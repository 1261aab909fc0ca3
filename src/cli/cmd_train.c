/* cmd_train.c -- `lisao train`: runs train/. */
#include "cli/cli.h"
#include "train/train.h"

#include <stdio.h>

typedef struct Options {
    OptList set;
    const char *cpu;
    int64_t threads;
    bool print;
} Options;

static bool train(const Options *o, Arena *a, const char *name, Err *err) {
    Recipe r;
    const char *path;
    Level level = LEVEL_N;
    if (o->cpu) CHECK(level_of_name(o->cpu, &level));
    if (!recipe_find(a, &path, name, err)) return false;
    if (!recipe_read(&r, a, path, o->set.v, o->set.n, err)) return false;
    if (!o->print) return kern_init(level, err) && train_run(&r, o->threads, err);
    Buf b = {.a = a};
    if (!recipe_print(&r, &b, err)) return false;
    printf("%.*s", STRF(buf_str(&b)));
    return true;
}

int cmd_train(int argc, char **argv) {
    Options o = {0};
    const Opt opts[] = {
        {OPT_LIST, "set", "KEY=VALUE", &o.set, "Override a key of the recipe, like optim.lr=1e-3.",
         0, 0, NULL},
        FLAG_OPT("print", &o.print,
                 "Print the recipe with all its defaults and exit; the output is a recipe."),
        TEXT_OPT("cpu", LEVELS, &o.cpu, CPU_HELP),
        THREADS_OPT(&o.threads),
    };
    const Command c = {
        "train",
        "RECIPE",
        "train a model from a recipe",
        "Trains on text files and shows loss, tokens per second and the remaining time. RECIPE is "
        "a YAML file, or the name of a recipe that comes with the program: tiny-en. Continues from "
        "the newest checkpoint in the recipe's checkpoint.folder; Ctrl-C finishes the step, writes "
        "a checkpoint and exits.",
        "lisao train tiny-en --set data.train=text.txt\n"
        "lisao train tiny-en --set data.train=text.txt --print > my.yaml\n"
        "lisao train my.yaml --set optim.steps=500\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Arena *a = arena_open("recipe", (int64_t)1 << 30);
    bool ok = argc == 2
                  ? train(&o, a, argv[1], &err)
                  : err_set(&err, ERR_USAGE, "expected one RECIPE, found %d arguments", argc - 1);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
