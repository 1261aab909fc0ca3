/* cmd_train.c -- `lisao train`: runs train/. */
#include "cli/cli.h"
#include "train/train.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

typedef struct Options {
    OptList set;
    const char *cpu;
    int64_t threads;
    bool print, plan, json;
} Options;

/* ---- --plan ---------------------------------------------------------------------------------- */

static json_t *plan_json(const TrainPlan *p) {
    json_t *part = json_object(), *items = json_array();
    for (TrainPart i = 0; i < TRAIN_PARTS; i++)
        json_object_set_new(part, train_part_name(i), json_integer(train_part_bytes(p, i)));
    for (int64_t i = 0; i < p->n_items; i++)
        json_array_append_new(
            items, json_pack("{s:s, s:s, s:I}", "part", train_part_name(p->item[i].part), "what",
                             p->item[i].is.what, "bytes", (json_int_t)p->item[i].is.bytes));
    return json_pack(
        "{s:I, s:I, s:{s:o, s:I, s:I, s:b, s:b, s:o}, s:{s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:I}}",
        "parameters", (json_int_t)p->parameters, "active", (json_int_t)p->active, "memory", "parts",
        part, "peak", (json_int_t)p->bytes, "free", (json_int_t)p->limit, "fits",
        (int)(p->bytes <= p->limit), "text_counted", (int)p->text, "items", items, "estimate",
        "steps", (json_int_t)p->steps, "step_tokens", (json_int_t)p->tokens, "tokens_per_s",
        p->tokens_per_s, "seconds", p->seconds, "share", p->share, "machine_flops",
        p->machine_flops, "token_flops", p->token_flops, "threads", (json_int_t)p->threads);
}

/* "masters 25.6 MB, weight panels 26.1 MB". */
static Str items_text(Arena *a, const TrainPlan *p, TrainPart part) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < p->n_items; i++)
        if (p->item[i].part == part)
            buf_fmt(&b, "%s%s %.1f", b.n ? ", " : "", p->item[i].is.what,
                    1e-6 * (double)p->item[i].is.bytes);
    return buf_str(&b);
}

static Str time_text(Arena *a, double seconds) {
    if (seconds < 90) return str_fmt(a, "%.0f s", seconds);
    if (seconds < 5400) return str_fmt(a, "%.0f min", seconds / 60);
    if (seconds < 48 * 3600) return str_fmt(a, "%.1f h", seconds / 3600);
    return str_fmt(a, "%.1f days", seconds / 86400);
}

/* An estimate has no more of them. */
static double two_digits(double x) {
    double unit = 1;
    while (x >= 100 * unit) unit *= 10;
    return unit * (double)(int64_t)(x / unit + 0.5);
}

static void plan_text(const TrainPlan *p, Arena *a) {
    printf("parameters    %.1f M, %.1f M of them for a token\n\n", 1e-6 * (double)p->parameters,
           1e-6 * (double)p->active);
    for (TrainPart i = 0; i < TRAIN_PARTS; i++)
        printf("%-13s %9.1f MB  %.*s\n", train_part_name(i), 1e-6 * (double)train_part_bytes(p, i),
               STRF(items_text(a, p, i)));
    printf("%-13s %9.1f MB  of %.1f MB that are free\n\n", "peak", 1e-6 * (double)p->bytes,
           1e-6 * (double)p->limit);
    printf("speed         about %.0f tokens/s of learning\n", two_digits(p->tokens_per_s));
    if (p->seconds > 0)
        printf("time          about %s for %lld steps of %lld tokens\n", time_text(a, p->seconds).p,
               (long long)p->steps, (long long)p->tokens);
    else
        printf("time          depends on how long the model's answers become\n");
    printf("Speed and time are an estimate: %.0f %% of the %.0f GFLOP/s that %lld threads were "
           "just measured to\nreach in one product, at %.3g MFLOP a token.\n",
           100 * p->share, 1e-9 * p->machine_flops, (long long)p->threads, 1e-6 * p->token_flops);
}

static bool plan(const Options *o, const Recipe *r, Arena *a, Err *err) {
    TrainPlan p;
    if (!train_plan(&p, r, o->threads, err)) return false;
    if (o->json)
        json_show(plan_json(&p));
    else
        plan_text(&p, a);
    return train_plan_fits(&p, r, err);
}

/* ---- the command ----------------------------------------------------------------------------- */

static bool print(const Recipe *r, Arena *a, Err *err) {
    Buf b = {.a = a};
    if (!recipe_print(r, &b, err)) return false;
    printf("%.*s", STRF(buf_str(&b)));
    return true;
}

static bool train(const Options *o, Arena *a, const char *name, Err *err) {
    Recipe r;
    const char *path;
    Level level = LEVEL_N;
    if (o->cpu) CHECK(level_of_name(o->cpu, &level));
    if (o->json && !o->plan) return err_set(err, ERR_USAGE, "--json needs --plan");
    if (!recipe_find(a, &path, name, err)) return false;
    if (!recipe_read(&r, a, path, o->set.v, o->set.n, err)) return false;
    if (o->print) return print(&r, a, err);
    if (!kern_init(level, err)) return false;
    return o->plan ? plan(o, &r, a, err) : train_run(&r, o->threads, err);
}

int cmd_train(int argc, char **argv) {
    Options o = {0};
    const Opt opts[] = {
        {OPT_LIST, "set", "KEY=VALUE", &o.set, "Override a key of the recipe, like optim.lr=1e-3.",
         0, 0, NULL},
        FLAG_OPT("print", &o.print,
                 "Print the recipe with all its defaults and exit; the output is a recipe."),
        FLAG_OPT("plan", &o.plan,
                 "Print how much memory the run will need, by its parts, and how long it will "
                 "take, as an estimate; do not train. What does not fit is an error."),
        FLAG_OPT("json", &o.json, "Print the plan as one JSON object."),
        TEXT_OPT("cpu", LEVELS, &o.cpu, CPU_HELP),
        THREADS_OPT(&o.threads),
    };
    const Command c = {
        "train",
        "RECIPE",
        "train a model from a recipe",
        "Trains on text files and shows loss, tokens per second and the remaining time. RECIPE is "
        "a YAML file, or the name of a recipe that comes with the program: demo, nano, s, sft, "
        "tiny-en. "
        "Continues from the newest checkpoint in the recipe's checkpoint.folder; Ctrl-C finishes "
        "the step, writes a checkpoint and exits.",
        "lisao train tiny-en --set data.train=text.txt\n"
        "lisao train tiny-en --set data.train=text.txt --print > my.yaml\n"
        "lisao train my.yaml --plan\n"
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
