/* report_read.c -- metrics.jsonl as rows, one a step, and as CSV.
 *
 * A run writes several lines of one step: its loss, a validation, a sample. Here they are one row.
 * Lines are looked at as they come, with whatever keys they have, so that what later versions log
 * is shown without a change here. */
#include "cli/report.h"

#include "cli/cli.h"

enum { METRICS_BYTES = 1 << 30 };

static const char *base_name(Arena *a, const char *path) {
    Str s = str_of(path);
    while (s.n > 1 && s.p[s.n - 1] == '/') s.n--;
    int64_t from = s.n;
    while (from > 0 && s.p[from - 1] != '/') from--;
    return path_shown(a, str_copy(a, (Str){s.p + from, s.n - from}).p);
}

/* Seconds of training until each row: of the steps between two lines only the last one's is known,
 * and stands for all. */
static void elapsed_add(json_t *rows) {
    double sum = 0;
    json_int_t before = 0;
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const json_t *seconds = json_object_get(row, "seconds");
        if (!json_is_number(seconds)) continue;
        const json_int_t step = json_integer_value(json_object_get(row, "step"));
        sum += json_number_value(seconds) * (double)(step - before);
        before = step;
        json_object_set_new(row, "elapsed", json_real(sum));
    }
}

/* A line becomes a row, or part of the last one. False: it is no object with a step that may
 * follow. */
static bool line_add(json_t *rows, Str line) {
    json_t *o = json_loadb(line.p, (size_t)line.n, 0, NULL);
    json_t *last = json_array_get(rows, json_array_size(rows) - 1);
    const json_t *step = json_object_get(o, "step");
    const json_int_t now = json_integer_value(step),
                     before = json_integer_value(json_object_get(last, "step"));
    const bool ok = json_is_integer(step) && now >= before;
    if (ok && last && now == before)
        json_object_update(last, o);
    else if (ok)
        json_array_append(rows, o);
    json_decref(o);
    return ok;
}

/* The answers of a run by reinforcement learning. Half a line at the end is being written. */
static bool answers_read(RunMetrics *m, Arena *a, const char *path, Err *err) {
    Str text;
    if (!os_exists(path)) return true;
    if (!os_read(a, &text, path, METRICS_BYTES, err)) return false;
    m->answers = json_array();
    for (const char *nl; text.n && (nl = memchr(text.p, '\n', (size_t)text.n));) {
        json_t *o = json_loadb(text.p, (size_t)(nl - text.p), 0, NULL);
        if (json_is_integer(json_object_get(o, "step")))
            json_array_append(m->answers, o);
        else
            m->unreadable++;
        json_decref(o);
        text = (Str){nl + 1, text.p + text.n - nl - 1};
    }
    return true;
}

bool run_metrics(RunMetrics *m, Arena *a, const char *run, Err *err) {
    Str text;
    const char *inner = str_fmt(a, "%s/metrics.jsonl", run).p;
    *m = (RunMetrics){.name = base_name(a, run), .path = os_is_dir(run) ? inner : run};
    if (os_is_dir(run) && !os_exists(inner))
        return err_set(err, ERR_IO,
                       "%s: no metrics.jsonl here: give the checkpoint.folder of a run, where "
                       "lisao train writes it",
                       run);
    if (!os_read(a, &text, m->path, METRICS_BYTES, err)) return false;
    m->row = json_array();
    for (Str rest = text; rest.n;) {
        const char *nl = memchr(rest.p, '\n', (size_t)rest.n);
        const int64_t n = nl ? nl - rest.p : rest.n;
        /* What has no line break yet is being written. */
        if (nl) m->unreadable += !line_add(m->row, (Str){rest.p, n});
        rest = (Str){rest.p + n + (nl != NULL), rest.n - n - (nl != NULL)};
    }
    elapsed_add(m->row);
    if (os_is_dir(run) && !answers_read(m, a, str_fmt(a, "%s/rollouts.jsonl", run).p, err))
        return false;
    if (m->unreadable)
        log_at(LOG_WARN, "%s: %lld lines are no metrics of a step and were left out", m->path,
               (long long)m->unreadable);
    return json_array_size(m->row)
           || err_set(err, ERR_FORMAT, "%s: there is not one line with a step in it", m->path);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

/* A cell as RFC 4180 has it. A text that a spreadsheet would take for a formula gets a quote in
 * front. */
static void cell_text(Buf *out, Str s) {
    buf_add(out, STR("\""));
    if (s.n && char_in(s.p[0], "=+-@\t\r")) buf_add(out, STR("'"));
    for (int64_t i = 0; i < s.n; i++) buf_add(out, s.p[i] == '"' ? STR("\"\"") : (Str){s.p + i, 1});
    buf_add(out, STR("\""));
}

static void cell(Buf *out, const json_t *v) {
    if (json_is_integer(v)) buf_fmt(out, "%lld", (long long)json_integer_value(v));
    if (json_is_real(v)) buf_fmt(out, "%.10g", json_real_value(v));
    if (json_is_boolean(v)) buf_fmt(out, "%d", json_is_true(v));
    if (json_is_string(v))
        cell_text(out, (Str){json_string_value(v), (int64_t)json_string_length(v)});
}

/* Longest list of numbers under a key in any row; -1: the key has values that are no lists. Lists
 * of lists are not for a table. */
static void column_note(json_t *columns, const char *key, const json_t *v) {
    json_int_t n = -1;
    if (json_is_object(v)) return;
    if (json_is_array(v)) {
        n = (json_int_t)json_array_size(v);
        if (n == 0 || !json_is_number(json_array_get(v, 0))) return;
    }
    const json_t *have = json_object_get(columns, key);
    if (!have || json_integer_value(have) < n) json_object_set_new(columns, key, json_integer(n));
}

static json_t *columns_of(const RunMetrics *run, int64_t n) {
    json_t *columns = json_object(), *row, *v;
    const char *key;
    size_t i;
    for (int64_t k = 0; k < n; k++)
        json_array_foreach(run[k].row, i, row) json_object_foreach(row, key, v)
            column_note(columns, key, v);
    return columns;
}

/* The cells of a row; of no row: the names of the columns. */
static void line_csv(Buf *out, json_t *columns, const json_t *row) {
    const char *key;
    json_t *width;
    json_object_foreach(columns, key, width) {
        const json_int_t n = json_integer_value(width);
        const json_t *v = json_object_get(row, key);
        for (json_int_t i = 0; i < MAX(n, 1); i++) {
            buf_add(out, STR(","));
            if (row)
                cell(out, n < 0 ? v : json_array_get(v, (size_t)i));
            else if (n < 0)
                cell_text(out, str_of(key));
            else
                buf_fmt(out, "\"%s.%lld\"", key, (long long)i);
        }
    }
    buf_add(out, STR("\n"));
}

void report_csv(Buf *out, const RunMetrics *run, int64_t n) {
    json_t *columns = columns_of(run, n), *row;
    size_t i;
    buf_add(out, STR("\"run\""));
    line_csv(out, columns, NULL);
    for (int64_t k = 0; k < n; k++) json_array_foreach(run[k].row, i, row) {
            cell_text(out, str_of(run[k].name));
            line_csv(out, columns, row);
        }
    json_decref(columns);
}
