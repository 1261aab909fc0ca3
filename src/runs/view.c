/* view.c -- what a run's files say, kept within bounds however long the run is.
 *
 * A curve is a row of buckets, each of as many values as all the others. Where there are too many
 * buckets, each two become one, so that a curve of any length is read once and has at least half of
 * its points. A bucket keeps its least and its largest value with their steps: no spike is lost.
 * The newest value is a point in any case. */
#include "runs/runs.h"

#include <math.h>
#include <stdlib.h>

enum { BUCKETS = RUN_POINTS / 2 - 1, ANSWERS_BACK = 1 << 20 };

typedef struct Point {
    double step, value;
} Point;
typedef struct Bucket {
    Point lo, hi;
} Bucket;
typedef struct Curve {
    char key[RUN_KEY];
    int64_t n, each, last; /* buckets; values of a bucket; of the last one */
    Bucket *bucket;        /* (BUCKETS) */
    Point newest;
} Curve;

typedef struct Ring { /* the last `most` objects; all[n % most] is the next place */
    json_t **all;
    int64_t n, most;
} Ring;

struct RunView {
    Arena *a;
    const char *name;
    char *chunk; /* (RUN_LINE) */
    RunTail metrics, rollouts;
    Mark fresh; /* behind it: what was read */
    RunClock clock;
    int64_t step, unreadable, n;
    Curve curve[RUN_CURVES];
    json_t *experts; /* {"step", "load"}; NULL: none yet */
    Ring samples, answers;
    json_t *sample[RUN_SAMPLES], *answer[RUN_ANSWERS];
};

/* ---- curves ---------------------------------------------------------------------------------- */

static Bucket merged(Bucket a, Bucket b) {
    return (Bucket){a.lo.value <= b.lo.value ? a.lo : b.lo, a.hi.value >= b.hi.value ? a.hi : b.hi};
}

static void curve_halve(Curve *c) {
    for (int64_t i = 0; i < c->n / 2; i++)
        c->bucket[i] = merged(c->bucket[2 * i], c->bucket[2 * i + 1]);
    c->n /= 2, c->each *= 2, c->last = c->each;
}

static void curve_add(Curve *c, Point p) {
    const Bucket one = {p, p};
    c->newest = p;
    if (c->n == BUCKETS && c->last == c->each) curve_halve(c);
    if (c->n && c->last < c->each) {
        c->bucket[c->n - 1] = merged(c->bucket[c->n - 1], one);
        c->last++;
    } else {
        c->bucket[c->n++] = one;
        c->last = 1;
    }
}

/* The curve of a key; NULL: there are as many as may be, or the key is too long. */
static Curve *curve_of(RunView *v, const char *key) {
    for (int64_t i = 0; i < v->n; i++)
        if (!strcmp(v->curve[i].key, key)) return &v->curve[i];
    if (v->n == RUN_CURVES || strlen(key) >= RUN_KEY) return NULL;
    Curve *c = &v->curve[v->n++];
    *c = (Curve){.each = 1, .bucket = PUSH(v->a, Bucket, BUCKETS)};
    memcpy(c->key, key, strlen(key) + 1);
    return c;
}

static void value_add(RunView *v, const char *key, double value) {
    Curve *c = isfinite(value) ? curve_of(v, key) : NULL;
    if (c) curve_add(c, (Point){(double)v->step, value});
}

/* ---- texts and loads ------------------------------------------------------------------------- */

/* A text within its bound, whole characters only. */
static json_t *text_bounded(const json_t *text) {
    Str s = {json_string_value(text), (int64_t)json_string_length(text)};
    if (!s.p) return json_string("");
    if (s.n > RUN_TEXT)
        for (s.n = RUN_TEXT; s.n > 0 && (s.p[s.n] & 0xc0) == 0x80;) s.n--;
    return json_stringn(s.p, (size_t)s.n);
}

/* Of a line with a sample; NULL: it has none. */
static json_t *sample_of(const json_t *line) {
    const json_t *text = json_object_get(line, "sample");
    if (!json_is_string(text)) return NULL;
    return json_pack("{s:I, s:o, s:o, s:b}", "step", (json_int_t)run_step(line), "prompt",
                     text_bounded(json_object_get(line, "prompt")), "text", text_bounded(text),
                     "ended", json_is_true(json_object_get(line, "ended")));
}

static json_t *answer_of(const json_t *line) {
    static const char *const texts[] = {"task", "stratum", "prompt", "reasoning", "answer"};
    if (!json_is_string(json_object_get(line, "answer"))) return NULL;
    json_t *o = json_pack("{s:I, s:f, s:b}", "step", (json_int_t)run_step(line), "reward",
                          json_number_value(json_object_get(line, "reward")), "right",
                          json_is_true(json_object_get(line, "right")));
    for (int64_t i = 0; i < COUNT(texts); i++)
        json_object_set_new(o, texts[i], text_bounded(json_object_get(line, texts[i])));
    return o;
}

static json_t *experts_of(const json_t *line) {
    json_t *load = json_object_get(line, "expert_load");
    if (run_load(load) == 0) return NULL;
    return json_pack("{s:I, s:O}", "step", (json_int_t)run_step(line), "load", load);
}

/* Takes the object over. */
static void ring_add(Ring *r, json_t *o) {
    if (!o) return;
    json_t **at = &r->all[r->n++ % r->most];
    json_decref(*at);
    *at = o;
}

static void ring_clear(Ring *r) {
    for (int64_t i = 0; i < MIN(r->n, r->most); i++) json_decref(r->all[i]), r->all[i] = NULL;
    r->n = 0;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static bool is_value(const char *key) { return strcmp(key, "step") != 0; }

static void metrics_line(void *arg, json_t *line) {
    RunView *v = arg;
    const char *key;
    json_t *value, *experts = experts_of(line);
    double number;
    if (run_step(line) < v->step) { /* no run goes back within a file */
        v->unreadable++;
        json_decref(experts);
        return;
    }
    v->step = run_step(line);
    json_object_foreach(line, key, value) {
        if (is_value(key) && run_number(value, key, &number)) value_add(v, key, number);
    }
    if (run_clock(&v->clock, line)) value_add(v, "elapsed", v->clock.elapsed);
    if (experts) json_decref(v->experts), v->experts = experts;
    ring_add(&v->samples, sample_of(line));
}

static void rollouts_line(void *arg, json_t *line) {
    RunView *v = arg;
    ring_add(&v->answers, answer_of(line));
}

static json_t *values_of(json_t *line) {
    json_t *values = json_object(), *value;
    const char *key;
    double number;
    json_object_foreach(line, key, value) {
        if (json_object_size(values) < RUN_CURVES && strlen(key) < RUN_KEY && is_value(key)
            && run_number(value, key, &number))
            json_object_set_new(values, key, json_real(number));
    }
    return values;
}

json_t *run_news(json_t *line) {
    const json_int_t step = (json_int_t)run_step(line);
    json_t *answer = answer_of(line);
    if (answer) return json_pack("{s:I, s:o}", "step", step, "answer", answer);
    json_t *values = values_of(line), *experts = experts_of(line), *sample = sample_of(line);
    if (json_object_size(values) || experts || sample)
        return json_pack("{s:I, s:o, s:o*, s:o*}", "step", step, "values", values, "experts",
                         experts, "sample", sample);
    json_decref(values);
    return NULL;
}

/* ---- the view -------------------------------------------------------------------------------- */

static void view_forget(RunView *v) {
    ring_clear(&v->samples), ring_clear(&v->answers);
    json_decref(v->experts);
    v->experts = NULL;
    v->n = v->step = v->unreadable = 0;
    v->clock = (RunClock){0};
    arena_pop(v->a, v->fresh);
}

RunView *run_view_open(const char *folder, const char *name) {
    Arena *a = arena_open("run", ARENA_NO_LIMIT);
    RunView *v = PUSH(a, RunView, 1);
    *v = (RunView){.a = a,
                   .name = str_copy(a, str_of(name)).p,
                   .chunk = PUSH(a, char, RUN_LINE),
                   .metrics = {folder, run_file(a, name, "metrics.jsonl"), 0, 0, 0, false},
                   .rollouts = {folder, run_file(a, name, "rollouts.jsonl"), 0, 0, 0, false}};
    v->samples = (Ring){v->sample, 0, RUN_SAMPLES};
    v->answers = (Ring){v->answer, 0, RUN_ANSWERS};
    v->fresh = arena_mark(a);
    return v;
}

void run_view_close(RunView *v) {
    if (!v) return;
    view_forget(v);
    arena_close(v->a);
}

const char *run_view_name(const RunView *v) { return v->name; }

static bool metrics_read(RunView *v, int64_t most, bool *whole, Err *err) {
    bool more = true;
    for (int64_t read = 0; more && read < most; read += RUN_LINE) {
        if (!run_tail(&v->metrics, v->chunk, metrics_line, v, &more, &v->unreadable, err))
            return false;
        if (v->metrics.again) view_forget(v), v->rollouts.inode = 0;
    }
    *whole = !more;
    return true;
}

/* Answers are there in runs by reinforcement learning alone; the last of them are enough, also
 * where many have come since somebody last looked. */
static void rollouts_read(RunView *v) {
    bool more = true;
    int64_t ignored = 0;
    Err none = {0};
    if (!v->rollouts.inode && !run_tail_place(&v->rollouts, 0, ANSWERS_BACK, &none)) return;
    while (more && run_tail(&v->rollouts, v->chunk, rollouts_line, v, &more, &ignored, &none)) {
        if (v->rollouts.again) ring_clear(&v->answers);
        v->rollouts.at = MAX(v->rollouts.at, v->rollouts.size - ANSWERS_BACK);
    }
}

bool run_view_read(RunView *v, int64_t most, bool *whole, Err *err) {
    if (!metrics_read(v, most, whole, err)) return false;
    rollouts_read(v);
    return true;
}

/* ---- as JSON --------------------------------------------------------------------------------- */

static void json_add(Buf *out, const json_t *o) {
    char *text = json_dumps(o, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(7));
    buf_add(out, str_of(text ? text : "null"));
    free(text);
}

static void key_add(Buf *out, const char *key) {
    json_t *text = json_string(key);
    json_add(out, text);
    json_decref(text);
}

static void point_add(Buf *out, Point p, bool step) {
    buf_fmt(out, step ? ",%.0f" : ",%.7g", step ? p.step : p.value);
}

/* Steps, or values: of each bucket its two points, by their steps, or the one. */
static void points_add(Buf *out, const Curve *c, bool steps) {
    const int64_t from = out->n;
    double last = -1;
    for (int64_t i = 0; i < c->n; i++) {
        const Bucket *b = &c->bucket[i];
        const bool turned = b->hi.step < b->lo.step;
        const Point p = turned ? b->hi : b->lo, q = turned ? b->lo : b->hi;
        point_add(out, p, steps);
        if (q.step > p.step) point_add(out, q, steps);
        last = q.step;
    }
    if (c->newest.step > last) point_add(out, c->newest, steps);
    out->p[from] = '['; /* in place of the first comma */
}

void run_view_curves(const RunView *v, Buf *out) {
    buf_fmt(out, "\"at\":%lld,\"unreadable\":%lld,\"curves\":[", (long long)v->metrics.at,
            (long long)v->unreadable);
    for (int64_t i = 0; i < v->n; i++) {
        buf_add(out, i ? STR(",{\"key\":") : STR("{\"key\":"));
        key_add(out, v->curve[i].key);
        buf_add(out, STR(",\"step\":"));
        points_add(out, &v->curve[i], true);
        buf_add(out, STR("],\"value\":"));
        points_add(out, &v->curve[i], false);
        buf_add(out, STR("]}"));
    }
    buf_add(out, STR("],\"experts\":"));
    json_add(out, v->experts);
}

static void ring_show(Buf *out, const char *name, const Ring *r) {
    buf_fmt(out, "\"%s\":[", name);
    for (int64_t i = r->n - 1; i >= MAX(0, r->n - r->most); i--) {
        json_add(out, r->all[i % r->most]);
        if (i > MAX(0, r->n - r->most)) buf_add(out, STR(","));
    }
    buf_add(out, STR("]"));
}

void run_view_texts(const RunView *v, Buf *out) {
    ring_show(out, "samples", &v->samples);
    buf_add(out, STR(","));
    ring_show(out, "answers", &v->answers);
}
