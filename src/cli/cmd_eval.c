/* cmd_eval.c -- `lisao eval`: models side by side (measure.c). */
#include "cli/measure.h"

#include <jansson.h>

enum { MODELS = 64 };

static bool usage_check(MeasureOpts *o, int argc, Err *err) {
    if (argc < 2) return err_set(err, ERR_USAGE, "expected one MODEL or more, found none");
    if (argc - 1 > MODELS)
        return err_set(err, ERR_USAGE,
                       "%d models are too many for one table, which has room for %d", argc - 1,
                       MODELS);
    if (!o->text && o->task.n == 0)
        return err_set(err, ERR_USAGE,
                       "name what to measure: --text FILE, --task NAME, or several of them");
    if (o->text && !strcmp(o->text, "-") && argc > 2)
        return err_set(
            err, ERR_USAGE,
            "standard input can be read once only: with several models --text is a file");
    if (o->task.n == 0 && (o->solve.k_list || o->solve.budget_list || o->solve.transcripts))
        return err_set(err, ERR_USAGE, "%s goes with --task",
                       o->solve.k_list        ? "-k"
                       : o->solve.budget_list ? "--think-budget"
                                              : "--transcripts");
    return tasks_known(&o->task, err) && solve_read(&o->solve, err);
}

int cmd_eval(int argc, char **argv) {
    MeasureOpts o = {.solve = {.problems = 100, .max_tokens = 1024, .temperature = -1}};
    const Opt opts[] = {
        TEXT_OPT("text", "FILE", &o.text,
                 "Measure bits per byte and perplexity of this text, as lisao perplexity does."),
        {OPT_LIST, "task", "NAME", &o.task,
         "Measure how many problems of this task are solved, of those that no training text has. A "
         "range of difficulties may follow, as in recipes: addition:1-3, countdown:4:canonical. "
         "file:PATH: those of a JSONL file, such as GSM8K's.",
         0, 0, NULL},
        FLAG_OPT("json", &o.json, "Print a list of one JSON object for each model."),
        SOLVE_OPTS(o.solve),
        WINDOWS_OPTS(o.windows),
        MODEL_OPTS(o.model),
    };
    const Command c = {
        "eval",
        "MODEL...",
        "measure models on a text and on tasks, side by side",
        "Prints a table with a line for each MODEL: bits per byte and perplexity of a text, and "
        "the share of problems that are solved, pass@k, with its 95 % interval; the share of "
        "answers in the form of a closed thought and an answer; how many were cut; their mean "
        "length. Parts of a task have lines of their own. A checkpoint of a run is a MODEL, too.",
        "lisao eval runs/tiny-en --text text.txt\n"
        "lisao eval runs/tiny-en model.gguf --text text.txt --context 64 --json\n"
        "lisao eval runs/tiny-en --task addition:2 -n 4 --max-tokens 8\n"
        "lisao eval runs/tiny-en --task countdown:3 -k 1,8 -n 4 --max-tokens 8 --seed 7\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    Arena *a = arena_open("eval", ARENA_NO_LIMIT);
    json_t *all = NULL;
    const bool ok = usage_check(&o, argc, &err)
                    && models_measure(&all, &o, a, (const char *const *)argv + 1, argc - 1, &err);
    if (ok && o.json) json_show(json_incref(all));
    json_decref(all);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
