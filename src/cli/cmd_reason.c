/* cmd_reason.c -- `lisao reason`: a model that learns to think, from nothing, in one command: the
 * stages of a chain one after another, then what each of them reached, the curves, a file to run.
 *
 * Every part can be told to be done from what it left behind, so the same command goes on after a
 * kill: a tokenizer by its file, a stage by its newest checkpoint. Measuring is done again. */
#include "cli/learn.h"
#include "cli/measure.h"
#include "cli/report.h"
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>

#include "gen/commit.h"

typedef struct Options {
    OptList set;
    const char *cpu;
    int64_t threads;
    bool json;
} Options;

typedef struct Job {
    const Options *o;
    Arena *a;
    Chain chain;
    json_t *measured;
    const char *gguf; /* NULL: none was wanted */
    double start;
} Job;

/* ---- learning -------------------------------------------------------------------------------- */

static bool tokenizer_make(const Job *j, Err *err) {
    const Chain *c = &j->chain;
    const LearnSpec s = {.out = str_fmt(j->a, "%s/tokenizer", c->folder).p,
                         .separator = "<|endoftext|>",
                         .field = "text",
                         .vocab = c->tokenizer.vocab,
                         .digits = c->tokenizer.digits,
                         .turns = c->tokenizer.turns,
                         .threads = j->o->threads,
                         .documents = c->tokenizer.documents,
                         .seed = 1};
    if (!c->tokenizer.n_texts || os_exists(str_fmt(j->a, "%s/tokenizer.json", s.out).p))
        return true;
    log_at(LOG_INFO, "the tokenizer: %lld tokens", (long long)s.vocab);
    return os_mkdir(c->folder, err)
           && tokenizer_learn(&s, c->tokenizer.text, c->tokenizer.n_texts, err);
}

/* Of the stage's newest checkpoint; 0: there is none. */
static int64_t steps_done(const Job *j, const Stage *s) {
    Store *store;
    Err none = {0};
    if (!os_is_dir(s->recipe.checkpoint.folder)
        || !store_open(&store, j->a, s->recipe.checkpoint.folder, &none))
        return 0;
    const int64_t step = store_step(store);
    store_close(store);
    return step;
}

/* A stage began with weights of an earlier one, and its folder says after how many steps: when
 * that one has learned more since, what was made of it is out of date. */
static bool stage_fits(const Job *j, const Stage *s, Err *err) {
    if (!s->from) return true;
    const char *folder = s->recipe.checkpoint.folder, *file = str_fmt(j->a, "%s/begun", folder).p;
    const bool begun = steps_done(j, s) > 0;
    const int64_t now = steps_done(j, s->from);
    Str said = {0};
    int64_t then = now;
    if (begun && os_exists(file) && !os_read(j->a, &said, file, 4096, err)) return false;
    if (!begun || !said.n)
        return os_mkdir(folder, err)
               && os_put(j->a, file, str_fmt(j->a, "%lld\n", (long long)now), err);
    return (str_i64(str_trim(said, "\n"), &then) && then == now)
           || err_set(err, ERR_USAGE,
                      "stage %s began with the weights of %s after %lld steps, which has %lld "
                      "now: remove %s to do it again, or set %s.optim.steps back",
                      s->name, s->from->name, (long long)then, (long long)now, folder,
                      s->from->name);
}

/* Says what a stage has cost, so that those of equal cost can be compared; what a start before this
 * one did is not counted. */
static bool stage_train(const Job *j, const Stage *s, Err *err) {
    const double start = os_cpu_time();
    if (!train_run(&s->recipe, j->o->threads, err)) return false;
    log_at(LOG_INFO, "stage %s: %.0f s of CPU time", s->name, os_cpu_time() - start);
    return true;
}

static bool stages_run(Job *j, Err *err) {
    const Chain *c = &j->chain;
    for (const Stage *s = c->stage; s < c->stage + c->n_stages; s++) {
        if (!stage_fits(j, s, err)) return false;
        const bool done = steps_done(j, s) >= s->recipe.optim.steps;
        log_at(LOG_INFO, "stage %d of %d, %s: %s%s", (int)(s - c->stage) + 1, (int)c->n_stages,
               s->name, objective_name(s->recipe.objective), done ? ", done already" : "");
        if (!done && !stage_train(j, s, err)) return false;
        if (!done && os_interrupted())
            return err_set(err, ERR_INTERRUPTED,
                           "interrupted after stage %s; the same command goes on from there",
                           s->name);
    }
    return true;
}

/* ---- what it came to ------------------------------------------------------------------------- */

static const char *last_folder(const Job *j) {
    return j->chain.stage[j->chain.n_stages - 1].recipe.checkpoint.folder;
}

/* Adds to what was measured. */
static bool models_add(Job *j, const char *const *model, int64_t n, const char *budgets, Err *err) {
    const Chain *c = &j->chain;
    json_t *more = NULL;
    MeasureOpts m = {.model = {.threads = j->o->threads, .cpu = j->o->cpu},
                     .solve = {.problems = c->evaluate.problems,
                               .samples = c->evaluate.samples,
                               .max_tokens = c->evaluate.max_tokens,
                               .seed = c->evaluate.seed,
                               .budget_list = budgets,
                               .temperature = -1},
                     .json = j->o->json};
    for (int64_t i = 0; i < c->evaluate.n_tasks; i++) m.task.v[m.task.n++] = c->evaluate.task[i];
    const bool ok = solve_read(&m.solve, err) && models_measure(&more, &m, j->a, model, n, err);
    json_array_extend(j->measured, more);
    json_decref(more);
    return ok;
}

static bool stages_measure(Job *j, Err *err) {
    const Chain *c = &j->chain;
    const char *model[STAGES_MOST];
    if (c->evaluate.n_tasks == 0) return true;
    j->measured = json_array();
    for (int64_t i = 0; i < c->n_stages; i++) model[i] = c->stage[i].recipe.checkpoint.folder;
    log_at(LOG_INFO, "measuring the model after each stage on problems that it has never seen");
    if (!models_add(j, model, c->n_stages, NULL, err)) return false;
    if (c->evaluate.budgets[0]) log_at(LOG_INFO, "and the last one with budgets for its thoughts");
    if (c->evaluate.budgets[0]
        && !models_add(j, &model[c->n_stages - 1], 1, c->evaluate.budgets, err))
        return false;
    char *z = json_dumps(j->measured, JSON_INDENT(2));
    CHECK(z);
    const bool ok = os_put(j->a, str_fmt(j->a, "%s/evaluation.json", c->folder).p, str_of(z), err);
    free(z);
    return ok;
}

static bool report_write(const Job *j, Err *err) {
    const Chain *c = &j->chain;
    RunMetrics run[STAGES_MOST];
    Buf out = {.a = j->a};
    bool ok = true;
    int64_t n = 0;
    for (; ok && n < c->n_stages; n++)
        ok = run_metrics(&run[n], j->a, c->stage[n].recipe.checkpoint.folder, err);
    ok = ok && report_html(&out, run, n, j->measured, err)
         && os_put(j->a, str_fmt(j->a, "%s/report.html", c->folder).p, buf_str(&out), err);
    while (n > 0) json_decref(run[--n].row), json_decref(run[n].answers);
    return ok;
}

static bool file_write(Job *j, Err *err) {
    const Chain *c = &j->chain;
    if (!c->export_type[0]) return true;
    j->gguf = str_fmt(j->a, "%s/model.gguf", c->folder).p;
    const ConvertSpec s = {.type = c->export_type, .format = "gguf"};
    Team *team = team_open(j->o->threads ? j->o->threads : MIN(os_cpus(), 64));
    const bool ok = bundle_convert(j->a, last_folder(j), j->gguf, &s, team, err);
    team_close(team);
    return ok;
}

/* "countdown:3 | plain | 98.2 %" for each stage. */
static void card_table(Buf *b, const Job *j) {
    const Chain *c = &j->chain;
    buf_fmt(b,
            "\n## What it solves\n\n%lld problems of each task that no training text has, "
            "temperature %s; 95 %% intervals in evaluation.json.\n\n| task |",
            (long long)c->evaluate.problems, c->evaluate.samples > 1 ? "1" : "0");
    for (int64_t i = 0; i < c->n_stages; i++) buf_fmt(b, " after %s |", c->stage[i].name);
    buf_fmt(b, "\n|---|");
    for (int64_t i = 0; i < c->n_stages; i++) buf_fmt(b, "---|");
    for (int64_t t = 0; t < c->evaluate.n_tasks; t++) {
        buf_fmt(b, "\n| %s |", c->evaluate.task[t]);
        for (int64_t i = 0; i < c->n_stages; i++) {
            const json_t *task =
                json_object_get(json_object_get(json_array_get(j->measured, (size_t)i), "tasks"),
                                c->evaluate.task[t]);
            const json_t *pass = json_object_get(json_object_get(task, "pass@1"), "rate"),
                         *strata = json_object_get(task, "strata"), *s;
            const char *name;
            buf_fmt(b, " %.1f %%", 100 * json_number_value(pass));
            json_object_foreach((json_t *)(uintptr_t)strata, name, s) buf_fmt(
                b, ", %s %.1f %%", name,
                100 * json_number_value(json_object_get(json_object_get(s, "pass@1"), "rate")));
            buf_fmt(b, " |");
        }
    }
    buf_fmt(b, "\n");
}

static bool card_write(const Job *j, Err *err) {
    const Chain *c = &j->chain;
    Buf b = {.a = j->a};
    buf_fmt(&b,
            "# A model that was taught to think\n\nMade by `lisao reason %s` (lisao %s).\n\n"
            "| stage | objective | learned from | steps |\n|---|---|---|---|\n",
            c->path, LISAO_VERSION);
    for (const Stage *s = c->stage; s < c->stage + c->n_stages; s++)
        buf_fmt(&b, "| %s | %s | `%s` | %lld |\n", s->name, objective_name(s->recipe.objective),
                s->recipe.data.train, (long long)s->recipe.optim.steps);
    if (j->measured) card_table(&b, j);
    buf_fmt(&b, "\nThe curves of all stages: report.html.\n");
    return os_put(j->a, str_fmt(j->a, "%s/README.md", c->folder).p, buf_str(&b), err);
}

static void conclude(Job *j) {
    const Chain *c = &j->chain;
    const char *model = j->gguf ? j->gguf : last_folder(j);
    if (j->o->json)
        json_show(json_pack("{s:s, s:s, s:f, s:o}", "folder", c->folder, "model", model, "seconds",
                            os_now() - j->start, "evaluation",
                            j->measured ? json_incref(j->measured) : json_null()));
    log_at(LOG_INFO,
           "done; curves and answers: %s/report.html, figures: %s/README.md. Talk with it:\n"
           "       lisao chat %s",
           c->folder, c->folder, model);
}

/* ---- the command ----------------------------------------------------------------------------- */

/* What comes after the stages is checked before hours of them: names of tasks, and the type. */
static bool ends_check(const Job *j, Err *err) {
    const Chain *c = &j->chain;
    OptList task = {0};
    for (int64_t i = 0; i < c->evaluate.n_tasks; i++) task.v[task.n++] = c->evaluate.task[i];
    SolveOpts budgets = {.problems = 1,
                         .budget_list = c->evaluate.budgets[0] ? c->evaluate.budgets : NULL};
    return tasks_known(&task, err) && solve_read(&budgets, err)
           && (!c->export_type[0] || bundle_type_known(c->export_type, err));
}

static bool reason(Job *j, const char *name, Err *err) {
    const char *path;
    Level level = LEVEL_N;
    if (j->o->cpu) CHECK(level_of_name(j->o->cpu, &level));
    if (!recipe_find(j->a, &path, name, err)
        || !chain_read(&j->chain, j->a, path, j->o->set.v, j->o->set.n, err) || !ends_check(j, err)
        || !kern_init(level, err))
        return false;
    if (!tokenizer_make(j, err) || !stages_run(j, err) || !stages_measure(j, err)
        || !report_write(j, err) || !file_write(j, err) || !card_write(j, err))
        return false;
    conclude(j);
    return true;
}

int cmd_reason(int argc, char **argv) {
    Options o = {0};
    const Opt opts[] = {
        {OPT_LIST, "set", "KEY=VALUE", &o.set,
         "Override folder, or a key of a stage or of all: learn.optim.steps=500, all.seed=2.", 0, 0,
         NULL},
        FLAG_OPT("json", &o.json, "Print the result as one JSON object."),
        TEXT_OPT("cpu", LEVELS, &o.cpu, CPU_HELP),
        THREADS_OPT(&o.threads),
    };
    const Command c = {
        "reason",
        "RECIPE",
        "teach a model to think, from nothing, in stages",
        "Runs the stages of RECIPE one after the other (a tokenizer, learning from solutions, "
        "reinforcement learning, ...), each beginning with the weights of the one before; then "
        "measures the model after each stage on problems that it has never seen, writes the curves "
        "of all, a GGUF file and a card. RECIPE is a YAML file, or the name of one that comes with "
        "the program: reason-tiny. The same command goes on after Ctrl-C or a kill.",
        "lisao reason reason-tiny\n"
        "lisao reason reason-tiny --set folder=seed-2 --set all.seed=2 --json\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    Job j = {.o = &o, .a = arena_open("stages", ARENA_NO_LIMIT), .start = os_now()};
    const bool ok =
        argc == 2 ? reason(&j, argv[1], &err)
                  : err_set(&err, ERR_USAGE, "expected one RECIPE, found %d arguments", argc - 1);
    json_decref(j.measured);
    arena_close(j.a);
    return ok ? 0 : command_failed(&c, &err);
}
