/* metrics.c -- what a run reports of itself, one JSON object a line.
 *
 * Numbers are written with all their digits, so that the file of a resumed run is that of an
 * uninterrupted one but for "seconds" and "tokens_per_s". A run that was killed has lines behind
 * its last checkpoint, perhaps half a one: they go when it is taken up again, as the steps are done
 * again. */
#include "train/trainer.h"

#include <jansson.h>

enum { METRICS_BYTES = 1 << 30 };

static Str metrics_path(const Trainer *t) {
    return str_fmt(t->scratch, "%s/metrics.jsonl", t->recipe->checkpoint.folder);
}

/* The step of a whole line; -1 for everything else. */
static int64_t line_step(Str line) {
    if (!str_ends(line, STR("\n"))) return -1;
    json_t *o = json_loadb(line.p, (size_t)line.n, 0, NULL);
    const json_t *step = json_object_get(o, "step");
    const int64_t n = json_is_integer(step) ? json_integer_value(step) : -1;
    json_decref(o);
    return n;
}

static int64_t line_end(Str s, int64_t from) {
    const char *nl = memchr(s.p + from, '\n', (size_t)(s.n - from));
    return nl ? nl + 1 - s.p : s.n;
}

/* Bytes of the lines up to the step that the run goes on from. */
static int64_t lines_kept(Str s, int64_t last) {
    int64_t kept = 0;
    while (kept < s.n) {
        const int64_t end = line_end(s, kept), step = line_step((Str){s.p + kept, end - kept});
        if (step < 0 || step > last) break;
        kept = end;
    }
    return kept;
}

static bool rewrite(const Trainer *t, const char *path, Str lines, Err *err) {
    OutFile *o = os_create(t->scratch, path, err);
    if (!o) return false;
    if (os_write(o, lines.p, lines.n, err)) return os_commit(o, err);
    os_abandon(o);
    return false;
}

bool metrics_open(const Trainer *t, Err *err) {
    const Mark mark = arena_mark(t->scratch);
    const char *path = metrics_path(t).p;
    Str all = {0};
    bool ok = os_mkdir(t->recipe->checkpoint.folder, err);
    if (ok && os_exists(path)) {
        ok = os_read(t->scratch, &all, path, METRICS_BYTES, err);
        const int64_t kept = ok ? lines_kept(all, t->step) : 0;
        if (ok && kept < all.n) ok = rewrite(t, path, (Str){all.p, kept}, err);
    }
    arena_pop(t->scratch, mark);
    return ok;
}

static bool append(const Trainer *t, Str line, Err *err) {
    return os_append(metrics_path(t).p, line, err);
}

bool metrics_step(const Trainer *t, const StepStats *s, double seconds, Err *err) {
    const Mark mark = arena_mark(t->scratch);
    Str line = str_fmt(
        t->scratch,
        "{\"step\": %lld, \"targets\": %lld, \"loss\": %.17g, \"grad_norm\": %.17g, \"lr\": %.17g, "
        "\"seconds\": %.3f, \"tokens_per_s\": %.1f}\n",
        (long long)s->step, (long long)t->targets, s->loss, s->grad_norm, s->lr, seconds,
        (double)s->targets / MAX(seconds, 1e-9));
    const bool ok = append(t, line, err);
    arena_pop(t->scratch, mark);
    return ok;
}

bool metrics_valid(const Trainer *t, double loss, Err *err) {
    const Mark mark = arena_mark(t->scratch);
    Str line =
        str_fmt(t->scratch, "{\"step\": %lld, \"valid_loss\": %.17g}\n", (long long)t->step, loss);
    const bool ok = append(t, line, err);
    arena_pop(t->scratch, mark);
    return ok;
}
