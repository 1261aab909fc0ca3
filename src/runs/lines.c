/* lines.c -- lines of metrics.jsonl and rollouts.jsonl, one object each, and what numbers of them a
 * curve shows. Lines are looked at as they come, with whatever keys they have, so that what later
 * versions log is shown without a change here. */
#include "runs/runs.h"

int64_t run_step(const json_t *line) {
    const json_t *step = json_object_get(line, "step");
    return json_is_integer(step) ? json_integer_value(step) : -1;
}

int64_t run_lines(Str text, RunLineFn *fn, void *arg, int64_t *unreadable) {
    int64_t at = 0;
    for (const char *nl; at < text.n; at = nl + 1 - text.p) {
        nl = memchr(text.p + at, '\n', (size_t)(text.n - at));
        if (!nl) break;
        json_t *line = json_loadb(text.p + at, (size_t)(nl - text.p - at), 0, NULL);
        if (run_step(line) >= 0)
            fn(arg, line);
        else
            ++*unreadable;
        json_decref(line);
    }
    return at;
}

bool run_number(const json_t *v, const char *key, double *out) {
    *out = json_number_value(v);
    if (!json_is_array(v)) return json_is_number(v);
    const size_t n = json_array_size(v);
    double sum = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(v, i);
        if (!json_is_number(one)) return false;
        const double x = json_number_value(one);
        sum += x;
        most = i ? MAX(most, x) : x;
    }
    *out = strcmp(key, "max_vio") ? sum / (double)MAX(n, 1) : most;
    return n > 0;
}

int64_t run_load(const json_t *load) {
    int64_t numbers = 0;
    size_t i, k;
    json_t *layer, *v;
    json_array_foreach(load, i, layer) {
        if (!json_is_array(layer) || json_array_size(layer) == 0) return 0;
        json_array_foreach(layer, k, v) {
            if (!json_is_number(v) || json_number_value(v) < 0) return 0;
            numbers++;
        }
    }
    return numbers <= RUN_LINE ? numbers : 0;
}

bool run_clock(RunClock *c, const json_t *line) {
    const json_t *seconds = json_object_get(line, "seconds");
    if (!json_is_number(seconds)) return false;
    const int64_t step = run_step(line);
    c->elapsed += json_number_value(seconds) * (double)(step - c->step);
    c->step = step;
    return true;
}
