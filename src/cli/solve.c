/* solve.c -- how many problems of a task a model solves.
 *
 * Problems come from the held-out range of tasks/, which no training text has, or from a file, in
 * its order and each once at most. What counts is the
 * text behind the thoughts, and the task's own check decides. */
#include "cli/solve.h"

#include "cli/ask.h"
#include "cli/generation.h"

#include <math.h>
#include <stdio.h>

/* Rows of a step for prompts, beside one of each answer; answers at once for each thread. More of
 * these make products no faster, and their keys and values leave the caches (docs/log.md). */
enum { PROMPT_ROWS = 256, PER_THREAD = 32, AT_ONCE = 512 };

struct Solver {
    Session *s;
    const SolveOpts *o;
    const char *const *name; /* (tasks) */
    int64_t positions, together;
    TaskStream *stream;  /* (tasks) */
    Question **question; /* (tasks), of each (problems) */
    Engine *engine;
};

/* ---- what is asked for ----------------------------------------------------------------------- */

static bool k_read(SolveOpts *o, Str list, Err *err) {
    do {
        const Str one = str_cut(&list, ',');
        int64_t k;
        if (!str_i64(one, &k) || k < 1 || k > 1024 || o->n_k == SOLVE_KS)
            return err_set(err, ERR_USAGE,
                           "-k is a list of up to %d numbers from 1 to 1024, like 1,8, not '%s'",
                           SOLVE_KS, o->k_list);
        o->k[o->n_k++] = k;
    } while (list.p);
    return true;
}

static bool budgets_read(SolveOpts *o, Str list, Err *err) {
    do {
        const Str one = str_cut(&list, ',');
        int64_t *to = &o->budget[o->n_budget];
        const bool none = str_eq(one, STR("none"));
        if (o->n_budget == SOLVE_BUDGETS || (!none && !thought_budget_read(to, one)))
            return err_set(err, ERR_USAGE,
                           "--think-budget is a list of up to %d numbers, none, " THOUGHT_EFFORTS
                           ", not '%s'",
                           SOLVE_BUDGETS, o->budget_list);
        if (none) *to = -1;
        o->n_budget++;
    } while (list.p);
    return true;
}

bool solve_read(SolveOpts *o, Err *err) {
    int64_t most = 1;
    if (!k_read(o, str_of(o->k_list ? o->k_list : "1"), err)
        || !budgets_read(o, str_of(o->budget_list ? o->budget_list : "none"), err))
        return false;
    for (int64_t i = 0; i < o->n_k; i++) most = MAX(most, o->k[i]);
    if (o->samples == 0) o->samples = most;
    if (o->samples < most)
        return err_set(err, ERR_USAGE,
                       "pass@%lld takes %lld samples or more, and --samples is %lld",
                       (long long)most, (long long)most, (long long)o->samples);
    if (o->samples > 1 && o->temperature == 0)
        return err_set(err, ERR_USAGE,
                       "temperature 0 gives the same answer each time, so %lld samples say no more "
                       "than one: leave --temperature out (it is 1 then), or measure pass@1 of one",
                       (long long)o->samples);
    if (o->temperature < 0) o->temperature = o->samples > 1;
    return true;
}

bool tasks_known(const OptList *task, Err *err) {
    TaskStream s;
    Arena *a = arena_open("tasks", ARENA_NO_LIMIT);
    bool ok = true;
    for (int64_t i = 0; ok && i < task->n; i++)
        ok = task_named(&s, a, str_of(task->v[i]), 0, true, err);
    arena_close(a);
    return ok;
}

/* ---- shares ---------------------------------------------------------------------------------- */

Rate rate_of(double right, int64_t n) {
    const double z = 1.959964, N = (double)n, p = right / N;
    const double middle = (p + z * z / (2 * N)) / (1 + z * z / N);
    const double half = z / (1 + z * z / N) * sqrt(p * (1 - p) / N + z * z / (4 * N * N));
    return (Rate){p, MAX(0, middle - half), MIN(1, middle + half)};
}

/* 1 - C(n-c, k) / C(n, k), as a product of n-c < i <= n of factors that are no larger than 1. */
double pass_at(int64_t n, int64_t c, int64_t k) {
    double none = 1;
    CHECK(c >= 0 && c <= n && k >= 1 && k <= n);
    if (n - c < k) return 1;
    for (int64_t i = n - c + 1; i <= n; i++) none *= 1 - (double)k / (double)i;
    return 1 - none;
}

/* ---- the model ------------------------------------------------------------------------------- */

/* Of a file each at most once. */
static int64_t problems_of(const Solver *v, int64_t task) {
    const Task *t = v->stream[task].task;
    return t->read ? MIN(t->reads, v->o->problems) : v->o->problems;
}

static bool questions_make(Solver *v, const OptList *task, int64_t *longest, Err *err) {
    Arena *a = v->s->arena;
    v->name = task->v;
    v->stream = PUSH(a, TaskStream, task->n);
    v->question = PUSH(a, Question *, task->n);
    for (int64_t i = 0; i < task->n; i++) {
        if (!task_named(&v->stream[i], a, str_of(task->v[i]), (uint64_t)v->o->seed, true, err))
            return false;
        Question *q = v->question[i] = PUSH(a, Question, problems_of(v, i));
        for (int64_t k = 0; k < problems_of(v, i); k++) {
            if (!question_make(&q[k], a, &v->s->bundle, &v->stream[i], k, err)
                || !bundle_ids_check(&v->s->bundle, q[k].ids.v, q[k].ids.n, err))
                return false;
            *longest = MAX(*longest, q[k].ids.n);
        }
    }
    return true;
}

/* An engine for as many answers at once as memory holds. Beside their own pages there is room for
 * the prompts of those that have ended, whose next samples begin with them. */
static bool engine_open(Solver *v, PlanSpec *spec, Err *err) {
    Session *s = v->s;
    const SolveOpts *o = v->o;
    if (s->plan) spec->panels = s->plan->panels;
    const int64_t most =
        o->together ? o->together : MIN(PER_THREAD * team_threads(s->team), AT_ONCE);
    for (int64_t seqs = MIN(most, o->problems * o->samples);; seqs /= 2) {
        const int64_t per = round_up(v->positions, PAGE) / PAGE, again = o->samples > 1 ? seqs : 0;
        const EngineSpec e = {.seqs = seqs,
                              .queue = seqs,
                              .rows = seqs + PROMPT_ROWS,
                              .pages = seqs * per + again,
                              .queue_tokens = seqs * v->positions,
                              .no_prefix = again == 0};
        Err why = {0};
        engine_plan(spec, s->bundle.model, &e, v->positions, s->team);
        if (session_plan(s, spec, &why)) {
            v->together = seqs;
            return engine_new(&v->engine, s->arena, s->plan, &e, s->team, err);
        }
        if (seqs == 1) return *err = why, false;
    }
}

bool solver_open(Solver **out, Session *s, PlanSpec spec, const OptList *task, const SolveOpts *o,
                 Err *err) {
    Solver *v = *out = PUSH(s->arena, Solver, 1);
    const int64_t most = s->bundle.model->cfg.max_positions;
    int64_t longest = 0;
    Err why = {0};
    *v = (Solver){.s = s, .o = o};
    if (!bundle_load(&s->bundle, BUNDLE_CHAT, &why) && why.code != ERR_UNSUPPORTED)
        return *err = why, false;
    for (int64_t i = 0; i < o->n_budget; i++)
        if (o->budget[i] >= 0 && s->bundle.chat.thought_end.n == 0)
            return err_set(err, ERR_UNSUPPORTED,
                           "a budget for the thoughts of %s: it has no chat template that knows "
                           "thoughts",
                           s->bundle.path);
    if (!questions_make(v, task, &longest, err)) return false;
    if (longest >= most)
        return err_set(err, ERR_LIMIT,
                       "a problem has %lld tokens and the context of %s is %lld: take easier ones",
                       (long long)longest, s->bundle.path, (long long)most);
    v->positions = MIN(most, longest + o->max_tokens);
    return engine_open(v, &spec, err);
}

/* ---- measuring ------------------------------------------------------------------------------- */

typedef struct Exam {
    Solver *v;
    const Question *first;
    int64_t problems;
    int64_t *right; /* (problems) of its samples */
    Arena *a;
    Reply *kept; /* (problems, samples); NULL: no transcripts */
    Solved *out;
} Exam;

static Tally *tally_of(Solved *out, const char *stratum) {
    for (int64_t i = 1; i < out->n; i++)
        if (!strcmp(out->of[i].stratum, stratum)) return &out->of[i];
    return NULL;
}

static void take(void *arg, const Question *q, int64_t sample, const Reply *r) {
    Exam *x = arg;
    Tally *to[] = {&x->out->of[0], tally_of(x->out, q->problem.stratum)};
    const int64_t problem = q - x->first;
    x->right[problem] += r->right;
    for (int64_t i = 0; i < COUNT(to) && to[i]; i++) {
        to[i]->answers++;
        to[i]->formed += r->formed;
        to[i]->unfinished += r->finish == FINISH_LENGTH;
        to[i]->tokens += r->tokens;
    }
    if (!x->kept) return;
    Reply *k = &x->kept[problem * x->v->o->samples + sample];
    *k = *r;
    k->answer = str_copy(x->a, r->answer);
    if (r->thought.p) k->thought = str_copy(x->a, r->thought);
}

static void tallies_end(Exam *x) {
    const SolveOpts *o = x->v->o;
    for (int64_t p = 0; p < x->problems; p++) {
        Tally *to[] = {&x->out->of[0], tally_of(x->out, x->first[p].problem.stratum)};
        for (int64_t i = 0; i < COUNT(to) && to[i]; i++) {
            to[i]->problems++;
            for (int64_t k = 0; k < o->n_k; k++)
                to[i]->right[k] += pass_at(o->samples, x->right[p], o->k[k]);
        }
    }
}

static json_t *str_json(Str s) { return json_stringn(s.p ? s.p : "", (size_t)s.n); }

/* One line for each answer, by problem and sample. */
static bool transcripts_write(const Exam *x, OutFile *f, const char *model, const char *task,
                              int64_t budget, Err *err) {
    const int64_t samples = x->v->o->samples;
    bool ok = true;
    for (int64_t i = 0; ok && i < x->problems * samples; i++) {
        const Problem *p = &x->first[i / samples].problem;
        const Reply *r = &x->kept[i];
        json_t *o =
            json_pack("{s:s, s:s, s:s, s:o, s:I, s:o, s:o, s:o, s:b, s:s, s:I}", "model", model,
                      "task", task, "stratum", p->stratum, "problem", str_json(p->canonical),
                      "sample", (json_int_t)(i % samples), "prompt", str_json(p->prompt),
                      "reasoning", r->thought.p ? str_json(r->thought) : json_null(), "answer",
                      str_json(r->answer), "right", (int)r->right, "finish", finish_name(r->finish),
                      "tokens", (json_int_t)r->tokens);
        if (x->v->o->budget_list)
            json_object_set_new(o, "think_budget", budget < 0 ? json_null() : json_integer(budget));
        char *z = json_dumps(o, JSON_COMPACT);
        CHECK(z);
        ok = os_write(f, z, (int64_t)strlen(z), err) && os_write(f, "\n", 1, err);
        free(z);
        json_decref(o);
    }
    return ok;
}

bool task_solve(Solved *out, Solver *v, int64_t task, int64_t budget, OutFile *transcripts,
                const char *model, Err *err) {
    const SolveOpts *o = v->o;
    const Task *t = v->stream[task].task;
    Arena *a = arena_open("exam", ARENA_NO_LIMIT);
    const int64_t n = problems_of(v, task);
    Exam x = {.v = v, .first = v->question[task], .problems = n, .a = a, .out = out};
    Progress bar;
    const Asker k = {.engine = v->engine,
                     .together = v->together,
                     .positions = v->positions,
                     .text = &v->s->bundle,
                     .V = v->s->bundle.model->cfg.V,
                     .task = t,
                     .stop = v->s->bundle.end,
                     .n_stop = v->s->bundle.n_end,
                     .max_tokens = o->max_tokens,
                     .budget = budget,
                     .temperature = (float)o->temperature,
                     .seed = (uint64_t)o->seed,
                     .take = take,
                     .arg = &x,
                     .bar = &bar};
    *out = (Solved){.n = 1};
    for (int64_t i = 0; i < STRATA_MAX && t->stratum[i]; i++)
        out->of[out->n++].stratum = t->stratum[i];
    x.right = PUSH(a, int64_t, n);
    if (transcripts) x.kept = PUSH(a, Reply, n * o->samples);
    progress_start(&bar, t->name, "answer", n * o->samples);
    bool ok = questions_ask(&k, x.first, n, o->samples, err);
    progress_end(&bar);
    if (ok) tallies_end(&x);
    ok = ok
         && (!transcripts || transcripts_write(&x, transcripts, model, v->name[task], budget, err));
    arena_close(a);
    return ok;
}
