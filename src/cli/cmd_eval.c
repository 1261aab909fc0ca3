/* cmd_eval.c -- `lisao eval`: models side by side, each measured on a text and on tasks. */
#include "cli/score.h"
#include "cli/solve.h"

#include <jansson.h>
#include <stdio.h>

enum { MODELS = 64 };

typedef struct Options {
    ModelOpts model;
    Windows windows;
    const char *text;
    OptList task;
    SolveOpts solve;
    bool json;
} Options;

/* What was measured of one model. */
typedef struct Row {
    const char *name;
    Score score;
    Solved *solved; /* (tasks) */
} Row;

static bool measure(Row *row, Arena *a, const Options *o, const char *model, Err *err) {
    Session s = {0};
    PlanSpec spec = {0};
    Windows w = o->windows;
    const unsigned parts = BUNDLE_MODEL | BUNDLE_TOKENIZER;
    bool ok = session_open(&s, model, parts, &o->model, &spec, err);
    const PlanSpec fresh = spec;
    *row = (Row){.name = path_shown(a, model), .solved = PUSH(a, Solved, MAX(o->task.n, 1))};
    if (ok && o->text) ok = text_score(&row->score, &s, &spec, o->text, &w, err);
    if (ok && o->task.n) ok = tasks_solve(row->solved, &s, fresh, &o->task, &o->solve, err);
    session_close(&s);
    return ok;
}

/* ---- what is shown --------------------------------------------------------------------------- */

static json_t *rate_json(const Rate *r) {
    return json_pack("{s:f, s:[f, f]}", "rate", r->rate, "interval", r->low, r->high);
}

static json_t *row_json(const Row *r, const Options *o) {
    json_t *j = json_pack("{s:s}", "model", r->name), *all = json_object();
    if (o->text)
        json_object_update_new(
            j, json_pack("{s:I, s:I, s:f, s:f, s:f}", "tokens", (json_int_t)r->score.tokens,
                         "bytes", (json_int_t)r->score.bytes, "nll", r->score.mean, "perplexity",
                         r->score.perplexity, "bits_per_byte", r->score.bits_per_byte));
    for (int64_t i = 0; i < o->task.n; i++) {
        const Solved *s = &r->solved[i];
        json_object_set_new(
            all, o->task.v[i],
            json_pack("{s:I, s:I, s:o, s:o, s:I}", "problems", (json_int_t)s->problems, "samples",
                      (json_int_t)s->samples, "pass@1", rate_json(&s->pass_1), "pass@k",
                      rate_json(&s->pass_k), "unfinished", (json_int_t)s->unfinished));
    }
    if (o->task.n) json_object_set(j, "tasks", all);
    json_decref(all);
    return j;
}

static void print_text(const Row *row, int64_t n, const Options *o, int width) {
    printf("%-*s  %13s  %11s  %10s  %10s\n", width, o->text, "bits per byte", "perplexity",
           "tokens", "bytes");
    for (const Row *r = row; r < row + n; r++)
        printf("%-*s  %13.5f  %11.4f  %10lld  %10lld\n", width, r->name, r->score.bits_per_byte,
               r->score.perplexity, (long long)r->score.tokens, (long long)r->score.bytes);
}

static void print_rate(const Rate *r) {
    printf("  %6.2f %% [%6.2f, %6.2f]", 100 * r->rate, 100 * r->low, 100 * r->high);
}

static void print_task(const Row *row, int64_t n, const Options *o, int64_t task, int width) {
    char k[32];
    snprintf(k, sizeof k, "pass@%lld", (long long)o->solve.samples);
    printf("%-*s  %-25s", width, o->task.v[task], "pass@1 [95 % interval]");
    if (o->solve.samples > 1) printf("  %-25s", k);
    printf("  %8s  %10s\n", "problems", "unfinished");
    for (const Row *r = row; r < row + n; r++) {
        const Solved *s = &r->solved[task];
        printf("%-*s", width, r->name);
        print_rate(&s->pass_1);
        if (o->solve.samples > 1) print_rate(&s->pass_k);
        printf("  %8lld  %10lld\n", (long long)s->problems, (long long)s->unfinished);
    }
}

static void print_rows(const Row *row, int64_t n, const Options *o) {
    size_t width = o->text ? strlen(o->text) : 0;
    for (int64_t i = 0; i < n; i++) width = MAX(width, strlen(row[i].name));
    for (int64_t i = 0; i < o->task.n; i++) width = MAX(width, strlen(o->task.v[i]));
    width = MIN(width, 200);
    if (o->text) print_text(row, n, o, (int)width);
    for (int64_t i = 0; i < o->task.n; i++) {
        if (i || o->text) printf("\n");
        print_task(row, n, o, i, (int)width);
    }
}

static bool usage_check(const Options *o, int argc, Err *err) {
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
    return tasks_known(&o->task, err);
}

static bool eval(const Options *o, Arena *a, char **model, int64_t n, Err *err) {
    Row row[MODELS];
    json_t *all = json_array();
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) ok = measure(&row[i], a, o, model[i], err);
    for (int64_t i = 0; ok && i < n; i++) json_array_append_new(all, row_json(&row[i], o));
    if (ok && o->json) json_show(json_incref(all));
    if (ok && !o->json) print_rows(row, n, o);
    json_decref(all);
    return ok;
}

int cmd_eval(int argc, char **argv) {
    Options o = {.solve = {.problems = 100, .samples = 1, .max_tokens = 256, .temperature = -1}};
    const Opt opts[] = {
        TEXT_OPT("text", "FILE", &o.text,
                 "Measure bits per byte and perplexity of this text, as lisao perplexity does."),
        {OPT_LIST, "task", "NAME", &o.task,
         "Measure how many problems of this task are solved, of those that no training text has.",
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
        "the share of problems that are solved, with its 95 % interval. A checkpoint of a run is a "
        "MODEL, too.",
        "lisao eval runs/tiny-en --text text.txt\n"
        "lisao eval runs/tiny-en model.gguf --text text.txt --context 64 --json\n"
        "lisao eval runs/tiny-en --task addition --difficulty 2 --problems 4 --max-tokens 8\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    Arena *a = arena_open("eval", ARENA_NO_LIMIT);
    const bool ok = usage_check(&o, argc, &err) && eval(&o, a, argv + 1, argc - 1, &err);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
