/* folder.c -- the runs of a folder, how far each is, and the ends of their files.
 *
 * Names are listed with the folder's, and links among them are left out; should one become a link
 * in between, os_read_beneath does not follow it. Nobody gives a path: an id is looked for among
 * the names that are there. */
#include "runs/runs.h"

#include <math.h>
#include <stdio.h>

enum { DEPTH = 2, ENTRIES_MOST = 4096, END_BYTES = 64 << 10, STATE_BYTES = 1 << 20 };
static const double SILENT = 60; /* seconds after which a run without a word may have ended */

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct Search {
    Arena *a;
    const char *folder;
    Run *run; /* (RUNS_MOST) */
    int64_t n, left_off;
    int64_t entries; /* that may be looked at yet */
} Search;

static void id_of(const char *name, char id[RUN_ID]) {
    Sha256 hash;
    char hex[65];
    sha256_init(&hash);
    sha256_add(&hash, name, (int64_t)strlen(name));
    sha256_hex(&hash, hex);
    snprintf(id, RUN_ID, "%.16s", hex);
}

const char *run_file(Arena *a, const char *name, const char *file) {
    return strcmp(name, ".") ? str_fmt(a, "%s/%s", name, file).p : file;
}

static bool is_run(Search *s, const char *name) {
    FileStamp stamp;
    int64_t got;
    Err none = {0};
    return os_read_beneath(s->folder, run_file(s->a, name, "metrics.jsonl"), 0, NULL, 0, &got,
                           &stamp, &none);
}

static void run_add(Search *s, const char *name) {
    if (s->n == RUNS_MOST) {
        s->left_off++;
        return;
    }
    Run *r = &s->run[s->n++];
    *r = (Run){.name = name};
    id_of(name, r->id);
}

/* The names beneath one that is a folder and no link. Checkpoints are no runs. */
static void names_add(Search *s, const char *name, int depth) {
    Str *inner;
    int64_t n;
    Err none = {0};
    const char *path = str_fmt(s->a, "%s/%s", s->folder, name).p;
    if (s->entries-- <= 0 || (depth > 0 && os_is_link(path)) || !os_is_dir(path)) return;
    if (is_run(s, name)) run_add(s, name);
    if (depth == DEPTH || !os_list(s->a, &inner, &n, path, &none)) return;
    for (int64_t i = 0; i < n; i++)
        if (!str_starts(inner[i], STR("step-")))
            names_add(s, run_file(s->a, name, inner[i].p), depth + 1);
}

bool runs_list(Arena *a, const char *folder, Run **run, int64_t *n, int64_t *left_off, Err *err) {
    Search s = {.a = a, .folder = folder, .entries = ENTRIES_MOST};
    *n = *left_off = 0;
    if (!os_is_dir(folder))
        return err_set(err, ERR_IO, "%s: there is no such folder of runs", folder);
    s.run = PUSH(a, Run, RUNS_MOST);
    names_add(&s, ".", 0);
    *run = s.run, *n = s.n, *left_off = s.left_off;
    return true;
}

bool run_find(Arena *a, const char *folder, Str id, Run *r) {
    Run *all;
    int64_t n, left_off;
    Err none = {0};
    if (!runs_list(a, folder, &all, &n, &left_off, &none)) return false;
    for (int64_t i = 0; i < n; i++)
        if (str_eq(id, str_of(all[i].id))) {
            *r = all[i];
            return true;
        }
    return false;
}

/* ---- how far a run is ------------------------------------------------------------------------ */

typedef struct Look {
    Run *r;
    double pause; /* seconds between its last two lines of steps, as it says itself */
} Look;

static void number_take(const json_t *line, const char *key, double *to) {
    const json_t *v = json_object_get(line, key);
    if (json_is_number(v)) *to = json_number_value(v);
}

static void line_look(void *arg, json_t *line) {
    Look *l = arg;
    Run *r = l->r;
    const int64_t step = run_step(line), before = r->step;
    double seconds = NAN;
    r->step = MAX(step, before);
    number_take(line, "seconds", &seconds);
    if (!isnan(seconds) && before > 0) l->pause = seconds * (double)MAX(step - before, 1);
    number_take(line, "loss", &r->loss);
    number_take(line, "reward", &r->reward);
    number_take(line, "valid_loss", &r->valid);
    number_take(line, "bits_per_byte", &r->bits);
    number_take(line, "valid_pass_rate", &r->pass);
}

/* "step-000000120" of the run's folder. */
static const char *newest_checkpoint(Arena *a, const char *path, int64_t *step) {
    Str *inner;
    int64_t n, at;
    Err none = {0};
    const char *best = NULL;
    *step = -1;
    if (!os_list(a, &inner, &n, path, &none)) return NULL;
    for (int64_t i = 0; i < n; i++) {
        const Str digits = {inner[i].p + 5, inner[i].n - 5};
        if (!str_starts(inner[i], STR("step-")) || !str_i64(digits, &at) || at <= *step) continue;
        *step = at, best = inner[i].p;
    }
    return best;
}

const char *run_checkpoint(Arena *a, const char *folder, const Run *r, int64_t *step) {
    const char *path = run_file(a, folder, r->name), *name = newest_checkpoint(a, path, step);
    return name ? run_file(a, path, name) : NULL;
}

/* Objective and steps, as the newest checkpoint has them. */
static void checkpoint_look(Arena *a, const char *folder, Run *r) {
    FileStamp stamp;
    int64_t got, steps;
    Err none = {0};
    const char *path = str_fmt(a, "%s/%s", folder, r->name).p;
    const char *name = newest_checkpoint(a, path, &r->checkpoint);
    if (!name) return;
    char *text = PUSH(a, char, STATE_BYTES);
    const char *file = run_file(a, r->name, str_fmt(a, "%s/state.json", name).p);
    if (!os_read_beneath(folder, file, 0, text, STATE_BYTES, &got, &stamp, &none)) return;
    json_t *state = json_loadb(text, (size_t)got, 0, NULL);
    const json_t *recipe = json_object_get(state, "recipe");
    const char *objective = json_string_value(json_object_get(recipe, "objective"));
    const char *asked = json_string_value(json_object_get(recipe, "optim.steps"));
    if (objective && strlen(objective) < RUN_KEY) r->objective = str_copy(a, str_of(objective)).p;
    if (asked && str_i64(str_of(asked), &steps) && steps > 0) r->steps = steps;
    json_decref(state);
}

bool run_look(Arena *a, const char *folder, Run *r, int64_t now, Err *err) {
    enum { SECOND = 1000000000 };
    Look l = {.r = r};
    FileStamp s;
    int64_t got = 0, ignored = 0;
    r->step = 0;
    r->loss = r->reward = r->valid = r->bits = r->pass = NAN;
    RunTail t = {.folder = folder, .path = run_file(a, r->name, "metrics.jsonl")};
    char *text = PUSH(a, char, END_BYTES);
    if (!run_tail_place(&t, 0, END_BYTES, err)
        || !os_read_beneath(folder, t.path, t.at, text, END_BYTES, &got, &s, err))
        return false;
    run_lines((Str){text, got}, line_look, &l, &ignored);
    checkpoint_look(a, folder, r);
    r->written = s.modified / SECOND;
    r->alive = (r->steps == 0 || r->step < r->steps)
               && (double)(now - r->written) < MAX(SILENT, 5 * l.pause);
    return true;
}

/* ---- the end of a file ----------------------------------------------------------------------- */

/* Within a line its rest is no object, and passed over. */
bool run_tail_place(RunTail *t, int64_t at, int64_t back, Err *err) {
    FileStamp s;
    int64_t got;
    if (!os_read_beneath(t->folder, t->path, 0, NULL, 0, &got, &s, err)) return false;
    t->inode = s.inode, t->size = s.size, t->again = false;
    t->at = MIN(MAX(at, back ? s.size - back : 0), s.size);
    return true;
}

bool run_tail(RunTail *t, char *to, RunLineFn *fn, void *arg, bool *more, int64_t *unreadable,
              Err *err) {
    FileStamp s;
    int64_t got = 0;
    *more = false;
    if (!os_read_beneath(t->folder, t->path, t->at, to, RUN_LINE, &got, &s, err)) return false;
    t->again = t->inode && (s.inode != t->inode || s.size < t->at);
    t->inode = s.inode, t->size = s.size;
    if (t->again) {
        t->at = 0, *more = true;
        return true;
    }
    int64_t used = run_lines((Str){to, got}, fn, arg, unreadable);
    if (used == 0 && got == RUN_LINE) used = got; /* a line that is too long */
    t->at += used;
    *more = used > 0 && t->at < t->size;
    return true;
}
