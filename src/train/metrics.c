/* metrics.c -- the metrics of a run, one JSON object a line.
 *
 * Numbers are written with all their digits, so that the file of a resumed run equals that of an
 * uninterrupted one except for "seconds" and "tokens_per_s". A run that was killed has lines after
 * its last checkpoint, perhaps half a one; they are removed when it continues, as the steps are
 * done again. Lines up to a checkpoint are made durable before it is. Where some are missing or
 * unreadable all the same (edited, or lost by the disk), the run goes on with the others and says
 * so: training does not depend on them. */
#include "train/grpo.h"

#include <jansson.h>
#include <stdlib.h>

enum { METRICS_BYTES = 1 << 30 };

static Str metrics_path(const Trainer *t) {
    return str_fmt(t->scratch, "%s/metrics.jsonl", t->recipe->checkpoint.folder);
}

Str rollouts_path(const Trainer *t) {
    return str_fmt(t->scratch, "%s/rollouts.jsonl", t->recipe->checkpoint.folder);
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

typedef struct Kept {
    Buf lines;
    int64_t step;       /* of the last of them; 0: none */
    int64_t unreadable; /* lines that were no objects with a step */
} Kept;

/* The lines up to the step from which the run continues. Half a line at the end is left by a kill
 * after the checkpoint, and is no loss. */
static Kept lines_kept(Arena *a, Str s, int64_t last) {
    Kept k = {.lines = {.a = a}};
    for (int64_t at = 0, end; at < s.n; at = end) {
        end = line_end(s, at);
        const Str line = {s.p + at, end - at};
        const int64_t step = line_step(line);
        if (step < 0) k.unreadable += str_ends(line, STR("\n"));
        if (step < 0 || step > last) continue;
        buf_add(&k.lines, line);
        k.step = step;
    }
    return k;
}

static void losses_say(const Trainer *t, const char *path, const Kept *k) {
    if (k->unreadable)
        log_at(LOG_WARN, "%s: %lld lines could not be read and were left out", path,
               (long long)k->unreadable);
    if (k->step < t->logged)
        log_at(LOG_WARN,
               "%s ends at step %lld, and the checkpoint of step %lld was written when it went on "
               "to step %lld: the lines between are lost. The training itself lacks nothing",
               path, (long long)k->step, (long long)t->step, (long long)t->logged);
}

static bool lines_cut(const Trainer *t, const char *path, bool all_steps, Err *err) {
    Str all = {0};
    bool ok = !os_exists(path) || os_read(t->scratch, &all, path, METRICS_BYTES, err);
    if (ok) {
        const Kept k = lines_kept(t->scratch, all, t->step);
        if (all_steps) losses_say(t, path, &k);
        ok = k.lines.n == all.n || os_put(t->scratch, path, buf_str(&k.lines), err);
    }
    return ok;
}

bool metrics_open(const Trainer *t, Err *err) {
    const Mark mark = arena_mark(t->scratch);
    const bool ok =
        lines_cut(t, metrics_path(t).p, true, err) && lines_cut(t, rollouts_path(t).p, false, err);
    arena_pop(t->scratch, mark);
    return ok;
}

bool metrics_sync(const Trainer *t, Err *err) {
    const Mark mark = arena_mark(t->scratch);
    const char *path = metrics_path(t).p;
    const bool ok = !os_exists(path) || os_sync(path, err);
    arena_pop(t->scratch, mark);
    return ok;
}

static bool append(Trainer *t, Str line, Err *err) {
    t->logged = t->step;
    return os_append(metrics_path(t).p, line, err);
}

static void put_loads(Buf *b, const Routing *r) {
    buf_fmt(b, ", \"expert_load\": [");
    for (int64_t i = 0; i < r->layers; i++) {
        buf_fmt(b, "%s[", i ? ", " : "");
        for (int64_t e = 0; e < r->E; e++)
            buf_fmt(b, "%s%lld", e ? ", " : "", (long long)r->load[i * r->E + e]);
        buf_fmt(b, "]");
    }
    buf_fmt(b, "]");
}

/* What the routers did, a number for each layer with experts. */
static void put_routing(Buf *b, const Trainer *t, const StepStats *s) {
    const Routing *r = &t->routing;
    const Recipe *recipe = t->recipe;
    if (r->layers == 0) return;
    buf_fmt(b, ", \"max_vio\": [");
    for (int64_t i = 0; i < r->layers; i++)
        buf_fmt(b, "%s%.6g", i ? ", " : "", routing_violation(r, i));
    buf_fmt(b, "], \"router_entropy\": [");
    for (int64_t i = 0; i < r->layers; i++)
        buf_fmt(b, "%s%.6g", i ? ", " : "", r->entropy[i] / (double)MAX(r->looked[i], 1));
    buf_fmt(b, "], \"dead_experts\": %lld, \"balance_loss\": %.17g", (long long)s->dead_experts,
            s->balance_loss);
    if (recipe->log.load_every && s->step % recipe->log.load_every == 0) put_loads(b, r);
}

/* "pass_rate countdown:3-4 hard" of the kinds of problems that were drawn. */
static void put_kind(Buf *b, const TaskStream *t, const Kind *k) {
    const char *stratum = t->task->stratum[k->stratum];
    if (k->answers == 0) return;
    buf_fmt(b, ", \"pass_rate %s:%d-%d%s%s\": %.6g", t->task->name, t->easiest, t->hardest,
            stratum ? " " : "", stratum ? stratum : "", (double)k->right / (double)k->answers);
}

/* What the answers of a draw came to, all and by kinds of problems. */
static void put_answers(Buf *b, const Rollouts *r, const StepStats *s) {
    buf_fmt(
        b,
        ", \"reward\": %.17g, \"pass_rate\": %.17g, \"length\": %.6g, \"closed\": %.6g, "
        "\"cut\": %.6g, \"entropy\": %.17g, \"clip_share\": %.6g, \"logprob_difference\": %.9g, "
        "\"problems\": %lld, \"taught\": %lld, \"answer_tokens\": %lld",
        s->answers.reward, s->answers.right, s->answers.length, s->answers.closed, s->answers.cut,
        s->answers.entropy, s->answers.clipped, s->answers.difference, (long long)s->answers.groups,
        (long long)s->answers.taught, (long long)s->answers.tokens);
    if (r->first_plan) buf_fmt(b, ", \"kl\": %.17g", s->answers.divergence);
    for (const Kind *k = r->kind; k < r->kind + r->n_kinds; k++)
        put_kind(b, &r->stream[k->stream], k);
}

/* The parts of a step's time: "seconds" has both. */
static void put_times(Buf *b, const StepStats *s, double seconds) {
    const double train = seconds - s->answers.seconds;
    buf_fmt(b, ", \"rollout_seconds\": %.3f, \"rollout_tokens_per_s\": %.1f", s->answers.seconds,
            (double)s->answers.tokens / MAX(s->answers.seconds, 1e-9));
    buf_fmt(b, ", \"train_tokens_per_s\": %.1f", (double)s->targets / MAX(train, 1e-9));
}

/* The part of the step's places that no piece of a document fills. */
static double empty_part(const Trainer *t) {
    int64_t filled = 0;
    for (int64_t i = 0; i < t->n_micro; i++) filled += t->micro[i].n;
    return 1 - (double)filled / (double)t->recipe->batch.tokens;
}

bool metrics_step(Trainer *t, const StepStats *s, double seconds, Err *err) {
    const Mark mark = arena_mark(t->scratch);
    Buf line = {.a = t->scratch};
    buf_fmt(
        &line,
        "{\"step\": %lld, \"targets\": %lld, \"loss\": %.17g, \"grad_norm\": %.17g, \"lr\": %.17g",
        (long long)s->step, (long long)t->targets, s->loss, s->grad_norm, s->lr);
    if (t->rolls)
        put_answers(&line, t->rolls, s);
    else
        buf_fmt(&line, ", \"empty\": %.6g", empty_part(t));
    if (t->n_further) buf_fmt(&line, ", \"mtp_loss\": %.17g", s->mtp_loss);
    put_routing(&line, t, s);
    buf_fmt(&line, ", \"seconds\": %.3f, \"tokens_per_s\": %.1f", seconds,
            (double)s->targets / MAX(seconds, 1e-9));
    if (t->rolls) put_times(&line, s, seconds);
    buf_fmt(&line, "}\n");
    const bool ok = append(t, buf_str(&line), err);
    arena_pop(t->scratch, mark);
    return ok;
}

bool metrics_valid(Trainer *t, double loss, Err *err) {
    const Mark mark = arena_mark(t->scratch);
    if (t->rolls) {
        const Str rate = str_fmt(t->scratch, "{\"step\": %lld, \"valid_pass_rate\": %.17g}\n",
                                 (long long)t->step, 1 - loss);
        const bool ok = append(t, rate, err);
        arena_pop(t->scratch, mark);
        return ok;
    }
    Str line =
        str_fmt(t->scratch, "{\"step\": %lld, \"valid_loss\": %.17g, \"bits_per_byte\": %.17g}\n",
                (long long)t->step, loss, t->valid_bits);
    const bool ok = append(t, line, err);
    arena_pop(t->scratch, mark);
    return ok;
}

bool metrics_sample(Trainer *t, Str text, bool ended, Err *err) {
    json_t *o = json_pack("{s:I, s:s, s:s%, s:b}", "step", (json_int_t)t->step, "prompt",
                          t->recipe->sample.prompt, "sample", text.n ? text.p : "", (size_t)text.n,
                          "ended", (int)ended);
    CHECK(o); /* both are UTF-8 */
    char *z = json_dumps(o, 0);
    json_decref(o);
    CHECK(z);
    const Mark mark = arena_mark(t->scratch);
    const bool ok = append(t, str_fmt(t->scratch, "%s\n", z), err);
    arena_pop(t->scratch, mark);
    free(z);
    return ok;
}
