/* training.c -- the routes that show training runs: which there are, their curves, samples and
 * answers (feed.c: as they come). Runs are found by ids of names that the folder has; nothing of a
 * request becomes a path. */
#include "serve/training.h"

#include <math.h>

/* Bytes of metrics.jsonl that one request reads at most: about half a second. */
enum { READ_MOST = 16 << 20 };

bool training_open(Api *api, Arena *a, Err *err) {
    Training *t = api->training = PUSH(a, Training, 1);
    *t = (Training){.lock = monitor_new(a), .opens = monitor_new(a)};
    if (!os_is_dir(api->spec->runs))
        return err_set(err, ERR_USAGE,
                       "--runs %s: there is no such folder: name the one that holds the "
                       "checkpoint.folder of runs",
                       api->spec->runs);
    return feeds_open(&t->feeds, a, api, err);
}

void training_drain(Api *api) {
    if (api->training) feeds_close(api->training->feeds);
}

void training_close(Api *api) {
    Training *t = api->training;
    if (!t) return;
    for (int64_t i = 0; i < VIEWS; i++) run_view_close(t->view[i]);
}

/* ---- which there are ------------------------------------------------------------------------- */

static json_t *number_or_null(double v) { return isnan(v) ? json_null() : json_real(v); }
static json_t *count_or_null(int64_t v, int64_t none) {
    return v == none ? json_null() : json_integer((json_int_t)v);
}

/* The folder itself may be a run. */
static json_t *summary_json(Call *c, const Run *r) {
    const char *runs = c->api->spec->runs;
    const bool itself = !strcmp(r->name, ".");
    return json_pack(
        "{s:s, s:o, s:o, s:s?, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:b}", "id", r->id,
        "name", file_json(c->a, str_of(itself ? runs : r->name)), "folder",
        file_json(c->a, str_of(itself ? runs : run_file(c->a, runs, r->name))), "objective",
        r->objective, "step", (json_int_t)r->step, "steps", count_or_null(r->steps, 0),
        "checkpoint", count_or_null(r->checkpoint, -1), "loss", number_or_null(r->loss), "reward",
        number_or_null(r->reward), "valid_loss", number_or_null(r->valid), "bits_per_byte",
        number_or_null(r->bits), "valid_pass_rate", number_or_null(r->pass), "written",
        (json_int_t)r->written, "alive", r->alive);
}

void answer_runs(Call *c) {
    Run *run;
    int64_t n, left_off;
    Err err = {0};
    json_t *all = json_array();
    if (!runs_shown(c)) {
        json_decref(all);
        return;
    }
    if (!runs_list(c->a, c->api->spec->runs, &run, &n, &left_off, &err)) {
        log_at(LOG_ERROR, "the runs: %s", err.msg);
        n = left_off = 0; /* the folder has gone, and with it all that was in it */
    }
    for (int64_t i = 0; i < n; i++) {
        const Mark mark = arena_mark(c->a);
        Err none = {0}; /* one that has gone meanwhile */
        if (run_look(c->a, c->api->spec->runs, &run[i], c->now, &none))
            json_array_append_new(all, summary_json(c, &run[i]));
        arena_pop(c->a, mark);
    }
    answer_json(c, json_pack("{s:s, s:o, s:I}", "object", "list", "data", all, "left_off",
                             (json_int_t)left_off));
}

/* ---- one of them ----------------------------------------------------------------------------- */

/* Under the lock: the view of a name, in the place of the one that was used longest ago. */
static RunView *view_of(Training *t, const char *folder, const char *name) {
    int64_t place = 0;
    for (int64_t i = 0; i < VIEWS; i++) {
        const bool is = t->view[i] && !strcmp(run_view_name(t->view[i]), name);
        if (is || t->used[i] < t->used[place]) place = i;
        if (is) break;
    }
    if (t->view[place] && strcmp(run_view_name(t->view[place]), name)) {
        run_view_close(t->view[place]);
        t->view[place] = NULL;
    }
    if (!t->view[place]) t->view[place] = run_view_open(folder, name);
    t->used[place] = os_now();
    return t->view[place];
}

static Str id_of_path(const Call *c) {
    Str rest = {c->path.p + 6, c->path.n - 6}; /* /runs/ */
    return str_cut(&rest, '/');
}

/* The run that the path names; else the call's 404. */
static bool run_of_path(Call *c, Run *run) {
    const Str id = id_of_path(c);
    return runs_shown(c) && (run_find(c->a, c->api->spec->runs, id, run) || run_missing(c, id));
}

/* Answers with what `members` says of the run that the path names. */
static void run_answer(Call *c, void (*members)(const RunView *v, Buf *out), bool says_whole) {
    Training *t = c->api->training;
    Buf b = {.a = c->a};
    Run run;
    Err none = {0};
    bool whole;
    if (!run_of_path(c, &run)) return;
    monitor_enter(t->lock);
    RunView *v = view_of(t, c->api->spec->runs, run.name);
    const bool fine = run_view_read(v, READ_MOST, &whole, &none);
    buf_add(&b, STR("{"));
    if (says_whole) buf_fmt(&b, "\"id\":\"%s\",\"whole\":%s,", run.id, whole ? "true" : "false");
    members(v, &b);
    buf_add(&b, STR("}"));
    monitor_leave(t->lock);
    if (fine)
        exchange_answer(c->x, 200, "application/json", buf_str(&b));
    else
        run_missing(c, id_of_path(c)); /* its file has gone since it was listed */
}

void answer_run(Call *c) { run_answer(c, run_view_curves, true); }

/* ---- a model of one -------------------------------------------------------------------------- */

/* "tiny-en@2000" */
static const char *checkpoint_name(Call *c, const Run *r, int64_t step) {
    const char *name = strcmp(r->name, ".") ? r->name : c->api->spec->runs;
    return str_fmt(c->a, "%s@%lld", utf8_valid(str_of(name)) ? name : r->id, (long long)step).p;
}

/* The newest checkpoint becomes a model like those that the server began with, until it is not
 * asked any more and another one wants its place. */
void answer_run_model(Call *c) {
    Run run;
    Err err = {0};
    int64_t step;
    if (!run_of_path(c, &run)) return;
    const char *path = run_checkpoint(c->a, c->api->spec->runs, &run, &step);
    if (!path) {
        fault_set(&c->fault, 409, "invalid_request_error", "no_checkpoint", NULL,
                  "the run has no checkpoint yet: wait for its first one");
        return;
    }
    const char *name = checkpoint_name(c, &run, step);
    monitor_enter(c->api->training->opens);
    const bool fine = host_invite(c->api, path, name, &err);
    monitor_leave(c->api->training->opens);
    if (fine) {
        answer_json(c, json_pack("{s:s, s:s, s:I}", "id", name, "object", "model", "step",
                                 (json_int_t)step));
    } else if (err.code == ERR_LIMIT) {
        fault_set(&c->fault, 503, "server_error", "overloaded", NULL, "%s", err.msg);
    } else {
        log_at(LOG_WARN, "the checkpoint of a run: %s", err.msg);
        fault_set(&c->fault, 503, "server_error", "model_loading", NULL,
                  "the checkpoint of step %lld cannot be opened as a model; the server's log says "
                  "why",
                  (long long)step);
    }
}

void answer_run_texts(Call *c) { run_answer(c, run_view_texts, false); }
