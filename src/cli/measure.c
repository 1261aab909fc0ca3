/* measure.c -- models side by side, each measured on a text and on tasks, and on these under
 * several budgets for its thoughts. */
#include "cli/measure.h"

#include <jansson.h>
#include <stdio.h>

/* What was measured of one model, and of the tasks under one budget. */
typedef struct Row {
    const char *name;
    int64_t budget; /* of thoughts; -1: none */
    bool first;     /* of its model: has the text's score */
    Score score;
    Solved *solved; /* (tasks) */
} Row;

/* A row for each budget. */
static bool measure(Row *row, Arena *a, const MeasureOpts *o, const char *model,
                    OutFile *transcripts, Err *err) {
    Session s = {0};
    PlanSpec spec = {0};
    Solver *v;
    Windows w = o->windows;
    const unsigned parts = BUNDLE_MODEL | BUNDLE_TOKENIZER;
    bool ok = session_open(&s, model, parts, &o->model, &spec, err);
    const PlanSpec fresh = spec;
    for (int64_t i = 0; i < o->solve.n_budget; i++)
        row[i] = (Row){.name = path_shown(a, model),
                       .budget = o->solve.budget[i],
                       .first = i == 0,
                       .solved = PUSH(a, Solved, MAX(o->task.n, 1))};
    if (ok && o->text) ok = text_score(&row->score, &s, &spec, o->text, &w, err);
    if (ok && o->task.n) ok = solver_open(&v, &s, fresh, &o->task, &o->solve, err);
    for (int64_t i = 0; ok && i < o->solve.n_budget; i++)
        for (int64_t t = 0; ok && t < o->task.n; t++)
            ok = task_solve(&row[i].solved[t], v, t, row[i].budget, transcripts, row->name, err);
    session_close(&s);
    return ok;
}

/* ---- for scripts ----------------------------------------------------------------------------- */

static double share(int64_t n, const Tally *t) {
    return t->answers ? (double)n / (double)t->answers : 0;
}

static json_t *tally_json(const Tally *t, const SolveOpts *o) {
    json_t *j = json_pack("{s:I, s:I}", "problems", (json_int_t)t->problems, "samples",
                          (json_int_t)o->samples);
    for (int64_t i = 0; i < o->n_k && t->problems; i++) {
        const Rate r = rate_of(t->right[i], t->problems);
        char key[32];
        snprintf(key, sizeof key, "pass@%lld", (long long)o->k[i]);
        json_object_set_new(
            j, key, json_pack("{s:f, s:[f, f]}", "rate", r.rate, "interval", r.low, r.high));
    }
    json_object_update_new(j,
                           json_pack("{s:f, s:I, s:f}", "format", share(t->formed, t), "unfinished",
                                     (json_int_t)t->unfinished, "tokens", share(t->tokens, t)));
    return j;
}

static json_t *task_json(const Solved *s, const SolveOpts *o) {
    json_t *j = tally_json(&s->of[0], o), *strata = json_object();
    for (int64_t i = 1; i < s->n; i++)
        json_object_set_new(strata, s->of[i].stratum, tally_json(&s->of[i], o));
    if (s->n > 1) json_object_set(j, "strata", strata);
    json_decref(strata);
    return j;
}

static json_t *row_json(const Row *r, const MeasureOpts *o) {
    json_t *j = json_pack("{s:s}", "model", r->name), *all = json_object();
    if (o->solve.budget_list)
        json_object_set_new(j, "think_budget",
                            r->budget < 0 ? json_null() : json_integer(r->budget));
    if (o->text && r->first)
        json_object_update_new(
            j, json_pack("{s:I, s:I, s:f, s:f, s:f}", "tokens", (json_int_t)r->score.tokens,
                         "bytes", (json_int_t)r->score.bytes, "nll", r->score.mean, "perplexity",
                         r->score.perplexity, "bits_per_byte", r->score.bits_per_byte));
    for (int64_t i = 0; i < o->task.n; i++)
        json_object_set_new(all, o->task.v[i], task_json(&r->solved[i], &o->solve));
    if (o->task.n)
        json_object_update_new(j, json_pack("{s:f, s:I, s:O}", "temperature", o->solve.temperature,
                                            "seed", (json_int_t)o->solve.seed, "tasks", all));
    json_decref(all);
    return j;
}

/* ---- for people ------------------------------------------------------------------------------ */

static void print_text(const Row *row, int64_t n, const MeasureOpts *o, int width) {
    printf("%-*s  %13s  %11s  %10s  %10s\n", width, o->text, "bits per byte", "perplexity",
           "tokens", "bytes");
    for (const Row *r = row; r < row + n; r++)
        if (r->first)
            printf("%-*s  %13.5f  %11.4f  %10lld  %10lld\n", width, r->name, r->score.bits_per_byte,
                   r->score.perplexity, (long long)r->score.tokens, (long long)r->score.bytes);
}

/* "  99.20 % [ 98.43,  99.60]" for each k, and what else is told of the answers. */
static void print_tally(const Tally *t, const SolveOpts *o) {
    for (int64_t i = 0; i < o->n_k; i++) {
        const Rate r = rate_of(t->right[i], MAX(t->problems, 1));
        printf("  %6.2f %% [%6.2f, %6.2f]", 100 * r.rate, 100 * r.low, 100 * r.high);
    }
    printf("  %6.2f %%  %10lld  %7.1f  %8lld\n", 100 * share(t->formed, t),
           (long long)t->unfinished, share(t->tokens, t), (long long)t->problems);
}

static void print_task(const Row *row, int64_t n, const MeasureOpts *o, int64_t task, int width) {
    const SolveOpts *v = &o->solve;
    const bool budgets = v->budget_list != NULL;
    printf("%-*s", width, o->task.v[task]);
    if (budgets) printf("  %6s", "budget");
    for (int64_t i = 0; i < v->n_k; i++) {
        char k[64];
        snprintf(k, sizeof k, "pass@%lld%s", (long long)v->k[i], i ? "" : " [95 % interval]");
        printf("  %-25s", k);
    }
    printf("  %8s  %10s  %7s  %8s\n", "format", "unfinished", "tokens", "problems");
    for (const Row *r = row; r < row + n; r++)
        for (const Tally *t = r->solved[task].of; t < r->solved[task].of + r->solved[task].n; t++) {
            printf("%s%-*s", t->stratum ? "  " : "", width - 2 * (t->stratum != NULL),
                   t->stratum ? t->stratum : r->name);
            if (budgets && r->budget < 0) printf("  %6s", "none");
            if (budgets && r->budget >= 0) printf("  %6lld", (long long)r->budget);
            print_tally(t, v);
        }
}

static void print_rows(const Row *row, int64_t n, const MeasureOpts *o) {
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

/* ---- all of it ------------------------------------------------------------------------------- */

bool models_measure(json_t **out, const MeasureOpts *o, Arena *a, const char *const *model,
                    int64_t n, Err *err) {
    const int64_t per = o->solve.n_budget;
    Row *row = PUSH(a, Row, n * per);
    json_t *all = json_array();
    OutFile *f = NULL;
    bool ok = !o->solve.transcripts || (f = os_create(a, o->solve.transcripts, err));
    for (int64_t i = 0; ok && i < n; i++) ok = measure(&row[i * per], a, o, model[i], f, err);
    if (ok && f) ok = os_commit(f, err);
    if (!ok && f) os_abandon(f);
    for (int64_t i = 0; ok && i < n * per; i++) json_array_append_new(all, row_json(&row[i], o));
    if (ok && !o->json) print_rows(row, n * per, o);
    *out = all;
    return ok;
}
