/* report_page.c -- `lisao report` as one HTML file: report.html with the runs' numbers in it.
 *
 * The page is given columns of numbers and texts as JSON inside of a script element that is data.
 * Every < > and & of it is written as an escape, so nothing that a run wrote can end the element;
 * the page's own script, which may be the only one to run (its SHA-256 stands in the policy), makes
 * text of texts. A long run is thinned to as many points as can be told apart. */
#include "cli/report.h"

#include <stdlib.h>

enum { POINTS = 1500, SNAPSHOTS = 120, SNAPSHOT_NUMBERS = 400000, SAMPLES = 300 };

static const char page[] =
#include "gen/report.h"
    ;

/* ---- columns --------------------------------------------------------------------------------- */

/* Rows that become one point: the mean of those that have the key; of what only grows, the last. */
static json_t *point(const json_t *rows, size_t from, size_t to, const char *key) {
    const bool grows = !strcmp(key, "step") || !strcmp(key, "targets") || !strcmp(key, "elapsed");
    double sum = 0, one, last = 0;
    int64_t n = 0;
    for (size_t i = from; i < to; i++)
        if (run_number(json_object_get(json_array_get(rows, i), key), key, &one))
            sum += one, last = one, n++;
    if (n == 0) return json_null();
    return !strcmp(key, "step") ? json_integer((json_int_t)last)
                                : json_real(grows ? last : sum / (double)n);
}

static json_t *column(const json_t *rows, const char *key) {
    const size_t n = json_array_size(rows), each = (n + POINTS - 1) / POINTS;
    json_t *out = json_array();
    for (size_t i = 0; i < n; i += each)
        json_array_append_new(out, point(rows, i, MIN(n, i + each), key));
    return out;
}

static json_t *columns(const json_t *rows) {
    json_t *out = json_object(), *row, *v;
    const char *key;
    size_t i;
    double ignored;
    json_array_foreach(rows, i, row) json_object_foreach(row, key, v) {
        if (!json_object_get(out, key) && run_number(v, key, &ignored))
            json_object_set_new(out, key, column(rows, key));
    }
    return out;
}

/* ---- experts and samples --------------------------------------------------------------------- */

/* At most `most` of a list, evenly, the last one among them. Takes the list over. */
static json_t *thinned(json_t *all, size_t most) {
    const size_t n = json_array_size(all);
    if (n <= most) return all;
    json_t *out = json_array();
    for (size_t i = 1; i <= most; i++)
        json_array_append(out, json_array_get(all, i * n / most - 1));
    json_decref(all);
    return out;
}

static json_t *loads(const json_t *rows) {
    json_t *out = json_array(), *row;
    int64_t most = 1;
    size_t i;
    json_array_foreach(rows, i, row) {
        json_t *load = json_object_get(row, "expert_load");
        const int64_t numbers = run_load(load);
        if (numbers == 0) continue;
        most = MAX(most, numbers);
        json_array_append_new(out, json_pack("[O, O]", json_object_get(row, "step"), load));
    }
    return thinned(out, (size_t)MAX(1, MIN(SNAPSHOTS, SNAPSHOT_NUMBERS / most)));
}

static json_t *samples(const json_t *rows) {
    json_t *out = json_array(), *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        json_t *text = json_object_get(row, "sample"), *prompt = json_object_get(row, "prompt");
        if (!json_is_string(text)) continue;
        json_array_append_new(
            out, json_pack("[O, o, O, b]", json_object_get(row, "step"),
                           json_is_string(prompt) ? json_incref(prompt) : json_string(""), text,
                           json_is_true(json_object_get(row, "ended"))));
    }
    return thinned(out, SAMPLES);
}

/* What a run answered, and whether it was right. */
static json_t *answers(const json_t *lines) {
    json_t *out = json_array(), *o;
    size_t i;
    json_array_foreach(lines, i, o) {
        static const char *const keys[] = {"step",      "task",   "stratum", "prompt",
                                           "reasoning", "answer", "right",   "reward"};
        json_t *one = json_array();
        for (int64_t k = 0; k < COUNT(keys); k++) {
            json_t *v = json_object_get(o, keys[k]);
            json_array_append_new(one, v ? json_incref(v) : json_null());
        }
        json_array_append_new(out, one);
    }
    return thinned(out, SAMPLES);
}

/* ---- the page -------------------------------------------------------------------------------- */

static void buf_escaped(Buf *out, Str json) {
    for (int64_t i = 0; i < json.n; i++) {
        const char c = json.p[i];
        if (c == '<' || c == '>' || c == '&')
            buf_fmt(out, "\\u%04x", (unsigned)c);
        else
            buf_add(out, (Str){json.p + i, 1});
    }
}

static json_t *report_json(const RunMetrics *run, int64_t n) {
    json_t *runs = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(runs,
                              json_pack("{s:s, s:o, s:o, s:o, s:o}", "name", run[i].name, "columns",
                                        columns(run[i].row), "load", loads(run[i].row), "samples",
                                        samples(run[i].row), "answers", answers(run[i].answers)));
    return json_pack("{s:s, s:o}", "about", n == 1 ? run[0].name : "several runs, one colour each",
                     "runs", runs);
}

static void base64(Buf *out, const uint8_t *p, int64_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int64_t i = 0; i < n; i += 3) {
        const int64_t left = MIN(3, n - i);
        const uint32_t w = (uint32_t)p[i] << 16 | (uint32_t)(left > 1 ? p[i + 1] : 0) << 8
                           | (left > 2 ? p[i + 2] : 0);
        for (int k = 0; k < 4; k++)
            buf_add(out, k <= left ? (Str){&digit[w >> (18 - 6 * k) & 63], 1} : STR("="));
    }
}

/* "sha256-..." of the page's script, as its policy names it. */
static void script_hash(Buf *out, Str script) {
    Sha256 h;
    char hex[65];
    uint8_t bytes[32];
    sha256_init(&h);
    sha256_add(&h, script.p, script.n);
    sha256_hex(&h, hex);
    for (int i = 0; i < 32; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    buf_add(out, STR("sha256-"));
    base64(out, bytes, 32);
}

/* The page up to `mark`, which it has; *rest is what stands behind. */
static Str page_until(const char *mark, const char **rest) {
    const char *from = *rest, *at = strstr(from, mark);
    CHECK(at);
    *rest = at + strlen(mark);
    return (Str){from, at - from};
}

bool report_html(Buf *out, const RunMetrics *run, int64_t n, const json_t *measured, Err *err) {
    json_t *o = report_json(run, n);
    json_object_set_new(o, "measured", measured ? json_deep_copy(measured) : json_array());
    char *z = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    json_decref(o);
    if (!z)
        return err_set(err, ERR_FORMAT,
                       "writing the report: the metrics have a value that JSON "
                       "cannot hold");
    const char *rest = page, *script = page;
    (void)page_until("<script>", &script);
    const Str code = page_until("</script>", &script);
    buf_add(out, page_until("@HASH@", &rest));
    script_hash(out, code);
    buf_add(out, page_until("@DATA@", &rest));
    buf_escaped(out, str_of(z));
    buf_add(out, str_of(rest));
    free(z);
    return true;
}
