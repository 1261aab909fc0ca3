/* report_read.c -- metrics.jsonl as rows, one a step, and as CSV.
 *
 * A run writes several lines of one step: its loss, a validation, a sample. They become one row. */
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

/* A line becomes a row, or part of the last one; one that goes back is none. */
static void line_add(void *metrics, json_t *line) {
    RunMetrics *m = metrics;
    json_t *last = json_array_get(m->row, json_array_size(m->row) - 1);
    if (run_step(line) < run_step(last))
        m->unreadable++;
    else if (last && run_step(line) == run_step(last))
        json_object_update(last, line);
    else
        json_array_append(m->row, line);
}

static void elapsed_add(json_t *rows) {
    RunClock clock = {0};
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        if (run_clock(&clock, row)) json_object_set_new(row, "elapsed", json_real(clock.elapsed));
    }
}

/* The answers of a run by reinforcement learning. */
static void answer_add(void *metrics, json_t *line) {
    json_array_append(((RunMetrics *)metrics)->answers, line);
}

static bool answers_read(RunMetrics *m, Arena *a, const char *path, Err *err) {
    Str text;
    if (!os_exists(path)) return true;
    if (!os_read(a, &text, path, METRICS_BYTES, err)) return false;
    m->answers = json_array();
    run_lines(text, answer_add, m, &m->unreadable);
    return true;
}

bool run_metrics(RunMetrics *m, Arena *a, const char *run, Err *err) {
    Str text;
    const char *inner = run_file(a, run, "metrics.jsonl");
    *m = (RunMetrics){.name = base_name(a, run), .path = os_is_dir(run) ? inner : run};
    if (os_is_dir(run) && !os_exists(inner))
        return err_set(err, ERR_IO,
                       "%s: no metrics.jsonl here: give the checkpoint.folder of a run, where "
                       "lisao train writes it",
                       run);
    if (!os_read(a, &text, m->path, METRICS_BYTES, err)) return false;
    m->row = json_array();
    run_lines(text, line_add, m, &m->unreadable);
    elapsed_add(m->row);
    if (os_is_dir(run) && !answers_read(m, a, run_file(a, run, "rollouts.jsonl"), err))
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
