/* cmd_train.c -- `lisao train`: runs train/. */
#include "cli/cli.h"
#include "train/train.h"

#include <stdio.h>

typedef struct Job {
    OptList set;
    const char *cpu;
    int64_t threads;
    bool print;
} Job;

static bool train(const Job *job, Arena *a, const char *name, Err *err) {
    Recipe r;
    const char *path;
    Level level = LEVEL_N;
    if (job->cpu) CHECK(level_of_name(job->cpu, &level));
    if (!recipe_find(a, &path, name, err)) return false;
    if (!recipe_read(&r, a, path, job->set.v, job->set.n, err)) return false;
    if (!job->print) return kern_init(level, err) && train_run(&r, job->threads, err);
    Buf b = {.a = a};
    if (!recipe_print(&r, &b, err)) return false;
    printf("%.*s", STRF(buf_str(&b)));
    return true;
}

int cmd_train(int argc, char **argv) {
    Job job = {0};
    const Opt opts[] = {
        {OPT_LIST, "set", "KEY=VALUE", &job.set,
         "Overrides a key of the recipe; may be given often.", 0, 0},
        FLAG_OPT("print", &job.print, "Print the recipe with all defaults, as a recipe, and stop."),
        TEXT_OPT("cpu", LEVELS, &job.cpu, CPU_HELP),
        {OPT_I64, "threads", "N", &job.threads, THREADS_HELP, 0, 64},
    };
    const Command c = {
        "train",
        "RECIPE",
        "train a model from a recipe",
        "Trains on text files, showing loss, tokens/s and the time left. RECIPE is a YAML file, or "
        "the name of a recipe that comes with the program: tiny-en. Goes on from the newest "
        "checkpoint of the recipe's folder; Ctrl-C finishes the step and writes one.",
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
                  ? train(&job, a, argv[1], &err)
                  : err_set(&err, ERR_USAGE, "expected one RECIPE, found %d operands", argc - 1);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
