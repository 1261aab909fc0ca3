/* cmd_demo.c -- `lisao demo`: from nothing to a model that calculates by thinking aloud, in about a
 * minute, in front of the reader's eyes; then the chat with it. The model is that of the recipe
 * demo.yaml; here is the show around it. */
#include <jansson.h>
#include "cli/chat.h"
#include "cli/demo.h"

enum { LOOKS = 12, LOOK_PROBLEMS = 64, DIGITS = 3 };

typedef struct Options {
    const char *folder, *cpu;
    int64_t seed, threads, problems;
    bool no_chat, json;
} Options;

typedef struct Demo {
    const Options *o;
    Arena *arena;
    Recipe recipe;
    Trainer *trainer;
    Quiz quiz;
    DemoView view;
    int64_t right[DEMO_TASKS]; /* of o->problems each */
    int64_t parameters;
    double seconds;
} Demo;

static const struct {
    const char *task, *what;
} asked[DEMO_TASKS] = {{"addition", "sums"}, {"subtraction", "differences"}};

/* ---- measuring ------------------------------------------------------------------------------- */

/* Problems of three digits that no training document has. Those of the end are others than those on
 * the way. */
static bool measure(Demo *d, int64_t i, int64_t first, int64_t n, int64_t *right, Err *err) {
    const Task *t;
    if (!task_find(&t, str_of(asked[i].task), err)) return false;
    d->quiz.stream = task_stream(t, d->recipe.seed, true);
    d->quiz.stream.easiest = d->quiz.stream.hardest = DIGITS;
    d->quiz.stream.canonical = true;
    return quiz_ask(&d->quiz, first, n, right, err);
}

/* "478+356=  thinks 8+6=14 7+5+1=13 4+3+1=8, says 834: right" */
static void sample_take(Demo *d) {
    const Quiz *q = &d->quiz;
    enum { SHOWN = 48 };
    d->view.sample.n = 0;
    buf_fmt(&d->view.sample, "%.*s thinks %.*s, says %.*s: %s", STRF(q->prompt),
            (int)MIN(q->thought.n, SHOWN), q->thought.p, (int)MIN(q->answer.n, DIGITS * 4),
            q->answer.p, q->right ? "right" : "wrong");
    for (int64_t i = 0; i < d->view.sample.n; i++) /* the model may write anything */
        if (d->view.sample.p[i] < ' ' || d->view.sample.p[i] > '~') d->view.sample.p[i] = '?';
}

static bool look(Demo *d, int64_t number, Err *err) {
    const int64_t n = MIN(LOOK_PROBLEMS, d->o->problems);
    for (int64_t i = 0; i < DEMO_TASKS; i++) {
        int64_t right;
        if (!measure(d, i, number * LOOK_PROBLEMS, n, &right, err)) return false;
        d->view.accuracy[i] = (double)right / (double)n;
        if (i == number % DEMO_TASKS) sample_take(d);
    }
    if (!quiz_experts(&d->quiz, &d->view.experts, err)) return false;
    demo_view_measured(&d->view);
    return true;
}

static bool final_exam(Demo *d, Err *err) {
    for (int64_t i = 0; i < DEMO_TASKS; i++) {
        if (!measure(d, i, (LOOKS + 1) * LOOK_PROBLEMS, d->o->problems, &d->right[i], err))
            return false;
        d->view.accuracy[i] = (double)d->right[i] / (double)d->o->problems;
    }
    demo_view_measured(&d->view);
    return true;
}

/* ---- training -------------------------------------------------------------------------------- */

static bool folder_free(Arena *a, const char *folder, Err *err) {
    Str *name;
    int64_t n = 0;
    if (!os_exists(folder)) return true;
    if (!os_list(a, &name, &n, folder, err)) return false;
    for (int64_t i = 0; i < n; i++)
        if (str_starts(name[i], STR("step-")))
            return err_set(err, ERR_USAGE,
                           "%s has a model already, and a demo begins from nothing. Talk with that "
                           "one: lisao chat %s; or name another --folder",
                           folder, folder);
    return true;
}

static bool recipe_make(Demo *d, Err *err) {
    const char *path, *set[2];
    int64_t n = 0;
    set[n++] = str_fmt(d->arena, "seed=%lld", (long long)d->o->seed).p;
    if (d->o->folder) set[n++] = str_fmt(d->arena, "checkpoint.folder=%s", d->o->folder).p;
    return recipe_find(d->arena, &path, "demo.yaml", err)
           && recipe_read(&d->recipe, d->arena, path, set, n, err)
           && folder_free(d->arena, d->recipe.checkpoint.folder, err);
}

static void introduce(Demo *d) {
    const Config *c = &trainer_model(d->trainer)->cfg;
    d->parameters = model_count(trainer_model(d->trainer));
    log_at(LOG_INFO,
           "a model of %.1f million random numbers learns to add and subtract: %lld layers, %lld "
           "experts of which each token meets %lld; seed %lld",
           1e-6 * (double)d->parameters, (long long)c->L, (long long)c->E, (long long)c->K,
           (long long)d->o->seed);
}

static bool learn(Demo *d, Err *err) {
    const int64_t steps = d->recipe.optim.steps;
    demo_view_init(&d->view, d->arena, steps);
    for (int64_t i = 0; i < DEMO_TASKS; i++) d->view.what[i] = asked[i].what;
    for (int64_t step = 1, looks = 0; step <= steps; step++) {
        StepStats s;
        if (!trainer_step(d->trainer, &s, err)) return false;
        demo_view_step(&d->view, &s);
        if (os_interrupted())
            return err_set(err, ERR_INTERRUPTED,
                           "interrupted after step %lld of %lld; nothing was kept", (long long)step,
                           (long long)steps);
        if (step < steps && step >= steps * (looks + 1) / (LOOKS + 1) && !look(d, looks++, err))
            return false;
    }
    return final_exam(d, err) && trainer_save(d->trainer, err);
}

static bool train(Demo *d, Err *err) {
    const double start = os_now();
    if (!recipe_make(d, err) || !trainer_open(&d->trainer, &d->recipe, d->o->threads, err))
        return false;
    introduce(d);
    const bool ok = quiz_open(&d->quiz, d->trainer, err) && learn(d, err);
    quiz_close(&d->quiz);
    trainer_close(d->trainer);
    d->seconds = os_now() - start;
    return ok;
}

/* ---- afterwards ------------------------------------------------------------------------------ */

static double worst(const Demo *d) {
    int64_t least = d->o->problems;
    for (int64_t i = 0; i < DEMO_TASKS; i++) least = MIN(least, d->right[i]);
    return (double)least / (double)d->o->problems;
}

static void result_print(const Demo *d) {
    if (d->o->json) {
        json_t *held_out = json_object();
        for (int64_t i = 0; i < DEMO_TASKS; i++)
            json_object_set_new(held_out, asked[i].task,
                                json_pack("{s:I, s:I}", "problems", (json_int_t)d->o->problems,
                                          "right", (json_int_t)d->right[i]));
        return json_show(json_pack("{s:I, s:f, s:I, s:f, s:o}", "seed", (json_int_t)d->o->seed,
                                   "seconds", d->seconds, "parameters", (json_int_t)d->parameters,
                                   "accuracy", worst(d), "held_out", held_out));
    }
    log_at(
        LOG_INFO,
        "%.0f seconds. Of %lld sums of three digits that it has never seen it gets %lld right, of "
        "as many differences %lld. The model is in %s:\n"
        "       lisao run %s '478+356='",
        d->seconds, (long long)d->o->problems, (long long)d->right[0], (long long)d->right[1],
        d->recipe.checkpoint.folder, d->recipe.checkpoint.folder);
}

static bool talk(const Demo *d, Err *err) {
    ChatSetup o = {.context = 256, .full = "slide", .request = {REQUEST_NOT_GIVEN}};
    Conversation t = {0};
    o.model.cpu = d->o->cpu;
    o.model.threads = d->o->threads;
    o.request.temperature = 0;
    log_at(LOG_INFO, "it knows sums and differences of up to three digits, such as 478+356= or "
                     "27-81=, and nothing else");
    const bool ok = chat_open(&t, &o, d->recipe.checkpoint.folder, err) && chat_run(&t, err);
    chat_close(&t);
    return ok;
}

static bool demo(Demo *d, Err *err) {
    Level level = LEVEL_N;
    if (d->o->cpu) CHECK(level_of_name(d->o->cpu, &level));
    os_catch_interrupt();
    if (!kern_init(level, err) || !train(d, err)) return false;
    result_print(d);
    return d->o->no_chat || d->o->json || talk(d, err);
}

int cmd_demo(int argc, char **argv) {
    Options o = {.seed = 1, .problems = 1000};
    const Opt opts[] = {
        NUMBER_OPT(OPT_I64, "seed", "N", &o.seed,
                   "Of the first weights, the problems and their order (default: 1).", 0,
                   (double)((int64_t)1 << 53)),
        TEXT_OPT("folder", "DIR", &o.folder,
                 "Where the model is written (default: runs/demo). It must not have one yet."),
        NUMBER_OPT(OPT_I64, "problems", "N", &o.problems,
                   "So many sums and as many differences are asked at the end (default: 1000).", 1,
                   1000000),
        FLAG_OPT("no-chat", &o.no_chat, "End when the model has learned."),
        FLAG_OPT("json", &o.json,
                 "Print {seed, seconds, parameters, accuracy, held_out} and end: accuracy is the "
                 "worse of sums and differences, held_out how many of each were right."),
        TEXT_OPT("cpu", LEVELS, &o.cpu, CPU_HELP),
        THREADS_OPT(&o.threads),
    };
    const Command c = {
        "demo",
        "",
        "watch a small model learn to calculate, and talk with it",
        "From nothing, in about a minute, a small mixture of experts learns to add and subtract "
        "numbers of three digits by thinking aloud. The screen shows its loss, how many problems "
        "that it has never seen it solves, and how busy its experts are; then the chat with it "
        "opens. The same seed gives the same model on every machine. The recipe is demo.yaml.",
        "lisao demo\n"
        "lisao demo --seed 7 --folder runs/seven --no-chat\n"
        "lisao run runs/demo '478+356='\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Demo d = {.o = &o, .arena = arena_open("demo", ARENA_NO_LIMIT)};
    const bool ok = argc == 1
                        ? demo(&d, &err)
                        : err_set(&err, ERR_USAGE, "expected no arguments, found %d", argc - 1);
    arena_close(d.arena);
    return ok ? 0 : command_failed(&c, &err);
}
