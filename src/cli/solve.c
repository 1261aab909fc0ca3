/* solve.c -- how many problems of a task a model solves.
 *
 * Problems come from the held-out range of tasks/, which no training text has. Every answer is a
 * request of its own; as many run at once as the engine takes, and the next begins when one is
 * through. What counts is the text behind the thoughts, and the task's own check decides. */
#include "cli/solve.h"

#include "cli/generation.h"
#include "tasks/tasks.h"

#include <math.h>
#include <stdio.h>

enum { AT_ONCE = 32, POSITIONS = 4096 };

typedef struct Attempt {
    Arena *a; /* NULL: the place is free */
    int64_t problem;
    Problem p;
    Request request;
    Generation g;
} Attempt;

typedef struct Solver {
    Session *s;
    Engine *engine;
    const SolveOpts *o;
    TaskStream stream;
    bool chat;
    int64_t positions, begun, done, all; /* attempts */
    int64_t *right;                      /* (problems) of its samples */
    int64_t unfinished;
    Attempt at[AT_ONCE];
} Solver;

bool tasks_known(const OptList *task, Err *err) {
    const Task *t;
    for (int64_t i = 0; i < task->n; i++)
        if (!task_find(&t, str_of(task->v[i]), err)) return false;
    return true;
}

Rate rate_of(double right, int64_t n) {
    const double z = 1.959964, N = (double)n, p = right / N;
    const double middle = (p + z * z / (2 * N)) / (1 + z * z / N);
    const double half = z / (1 + z * z / N) * sqrt(p * (1 - p) / N + z * z / (4 * N * N));
    return (Rate){p, MAX(0, middle - half), MIN(1, middle + half)};
}

/* Attempt number i is sample i % samples of problem i / samples. */
static bool attempt_start(Solver *v, Attempt *t, Err *err) {
    const SolveOpts *o = v->o;
    const int64_t sample = v->begun % o->samples;
    *t = (Attempt){.a = arena_open("attempt", ARENA_NO_LIMIT), .problem = v->begun / o->samples};
    v->begun++;
    task_problem(&t->p, t->a, &v->stream, t->problem);
    const double hot = o->samples > 1 ? 0.8 : 0;
    t->request.opts = (RequestOpts){REQUEST_NOT_GIVEN, .raw = !v->chat, .max_tokens = o->max_tokens,
                                    .seed = o->seed + sample};
    t->request.opts.temperature = o->temperature < 0 ? hot : o->temperature;
    t->request.opts.top_p = 1, t->request.opts.top_k = 0, t->request.opts.min_p = 0;
    t->request.opts.repetition_penalty = 1;
    t->request.prompt = t->p.prompt;
    return request_encode(&t->request, t->a, &v->s->bundle, v->positions, err)
           && generation_start(&t->g, t->a, &v->s->bundle, v->engine, &t->request, err);
}

static bool attempt_end(Solver *v, Attempt *t, Err *err) {
    const bool failed = t->g.finish == FINISH_ERROR, cut = t->g.finish == FINISH_LENGTH;
    v->done++;
    v->unfinished += cut;
    if (!failed && !cut && task_check(v->stream.task, &t->p, buf_str(&t->g.text)))
        v->right[t->problem]++;
    arena_close(t->a);
    t->a = NULL;
    return !failed || generation_void(err);
}

static bool places_turn(Solver *v, Err *err) {
    bool ok = true;
    for (Attempt *t = v->at; ok && t < v->at + AT_ONCE; t++) {
        if (t->a && t->g.finish != FINISH_NONE) ok = attempt_end(v, t, err);
        if (ok && !t->a && v->begun < v->all) ok = attempt_start(v, t, err);
    }
    return ok;
}

static bool attempts_run(Solver *v, Err *err) {
    Progress bar;
    int64_t right = 0;
    char extra[64];
    progress_start(&bar, v->stream.task->name, "answer", v->all);
    while (places_turn(v, err) && v->done < v->all) {
        if (os_interrupted()) {
            err_set(err, ERR_INTERRUPTED, "interrupted; nothing is measured");
            break;
        }
        engine_step(v->engine);
        right = 0;
        for (int64_t i = 0; i < v->o->problems; i++) right += v->right[i];
        snprintf(extra, sizeof extra, "%lld right", (long long)right);
        progress_at(&bar, v->done, extra);
    }
    progress_end(&bar);
    /* What is left of an attempt that failed or was interrupted: the engine must not call back. */
    for (Attempt *t = v->at; t < v->at + AT_ONCE; t++)
        if (t->a && t->g.seq) engine_cancel(v->engine, t->g.seq);
    while (engine_step(v->engine)) continue;
    for (Attempt *t = v->at; t < v->at + AT_ONCE; t++)
        if (t->a) arena_close(t->a), t->a = NULL;
    return err->code == ERR_NONE;
}

static bool task_solve(Solved *out, Solver *v, const char *name, Err *err) {
    const SolveOpts *o = v->o;
    const Task *t;
    if (!task_find(&t, str_of(name), err)) return false;
    v->stream = task_stream(t, (uint64_t)o->seed, true);
    if (o->difficulty) v->stream.easiest = v->stream.hardest = (int)o->difficulty;
    if (o->difficulty && (o->difficulty < t->easiest || o->difficulty > t->hardest))
        return err_set(err, ERR_USAGE, "--difficulty %lld: %s has %d to %d %s",
                       (long long)o->difficulty, t->name, t->easiest, t->hardest, t->difficulty);
    v->begun = v->done = v->unfinished = 0;
    memset(v->right, 0, (size_t)o->problems * sizeof *v->right);
    if (!attempts_run(v, err)) return false;
    double one = 0, any = 0;
    for (int64_t i = 0; i < o->problems; i++) {
        one += (double)v->right[i] / (double)o->samples;
        any += v->right[i] > 0;
    }
    *out = (Solved){.problems = o->problems,
                    .samples = o->samples,
                    .unfinished = v->unfinished,
                    .pass_1 = rate_of(one, o->problems),
                    .pass_k = rate_of(any, o->problems)};
    return true;
}

static bool solver_open(Solver *v, PlanSpec *spec, Err *err) {
    Session *s = v->s;
    Err why = {0};
    v->chat = bundle_load(&s->bundle, BUNDLE_CHAT, &why);
    if (!v->chat && why.code != ERR_UNSUPPORTED) return *err = why, false;
    v->positions = MIN(POSITIONS, s->bundle.model->cfg.max_positions);
    if (s->plan) spec->panels = s->plan->panels;
    const int64_t pages = round_up(v->positions, PAGE) / PAGE;
    EngineSpec e = {.seqs = AT_ONCE, .queue = AT_ONCE, .rows = 512, .pages = AT_ONCE * pages};
    for (;; e.pages = MAX(pages, e.pages / 2)) {
        why = (Err){0};
        engine_plan(spec, s->bundle.model, &e, v->positions, s->team);
        if (session_plan(s, spec, &why)) break;
        if (e.pages == pages) return *err = why, false;
    }
    return engine_new(&v->engine, s->arena, s->plan, &e, s->team, err);
}

bool tasks_solve(Solved *out, Session *s, PlanSpec spec, const OptList *task, const SolveOpts *o,
                 Err *err) {
    Solver *v = PUSH(s->arena, Solver, 1);
    *v = (Solver){.s = s,
                  .o = o,
                  .all = o->problems * o->samples,
                  .right = PUSH(s->arena, int64_t, o->problems)};
    bool ok = solver_open(v, &spec, err);
    for (int64_t i = 0; ok && i < task->n; i++) ok = task_solve(&out[i], v, task->v[i], err);
    return ok;
}
