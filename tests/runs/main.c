/* main.c -- tests of runs/: lines that are damaged, files that grow or are replaced, curves of any
 * length within their bounds, and what of a folder is a run. */
#define _GNU_SOURCE
#include "runs/runs.h"
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "support/must.h"

typedef struct Place {
    Arena *a;
    const char *folder;
} Place;

static Place place_new(void) {
    const char *base = os_env("TMPDIR");
    Place p = {.a = arena_open("runs", 1 << 28)};
    char *path = PUSH(p.a, char, 4096);
    snprintf(path, 4096, "%s/lisao-runs-XXXXXX", base ? base : P_tmpdir);
    p.folder = mkdtemp(path);
    assert_non_null(p.folder);
    return p;
}

static void place_end(Place *p) {
    tree_remove(p->a, p->folder);
    arena_close(p->a);
}

/* A file of the place, with its folders, that holds these bytes. */
static void file_put(const Place *p, const char *path, Str bytes) {
    Err err = {0};
    const char *all = str_fmt(p->a, "%s/%s", p->folder, path).p, *slash = strrchr(all, '/');
    must(os_mkdir(str_copy(p->a, (Str){all, slash - all}).p, &err), &err);
    must(os_put(p->a, all, bytes, &err), &err);
}

static void file_append(const Place *p, const char *path, Str bytes) {
    Err err = {0};
    must(os_append(str_fmt(p->a, "%s/%s", p->folder, path).p, bytes, &err), &err);
}

/* What a view of the run says, after it has read on, as an object. */
static json_t *seen(const Place *p, RunView *v) {
    Buf b = {.a = p->a};
    Err err = {0};
    bool whole = false;
    while (!whole) must(run_view_read(v, RUN_LINE, &whole, &err), &err);
    buf_add(&b, STR("{"));
    run_view_curves(v, &b);
    buf_add(&b, STR(","));
    run_view_texts(v, &b);
    buf_add(&b, STR("}"));
    json_t *o = json_loadb(b.p, (size_t)b.n, 0, NULL);
    if (!o) fail_msg("not JSON: %.*s", STRF(buf_str(&b)));
    return o;
}

/* Borrowed; NULL: there is none. */
static json_t *curve(const json_t *all, const char *key) {
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(all, "curves"), i, c) {
        if (!strcmp(json_string_value(json_object_get(c, "key")), key)) return c;
    }
    return NULL;
}

static double value_at(const json_t *all, const char *key, size_t i) {
    const json_t *v = json_array_get(json_object_get(curve(all, key), "value"), i);
    if (!json_is_number(v)) fail_msg("%s has no value %zu", key, i);
    return json_number_value(v);
}

static size_t points(const json_t *all, const char *key) {
    return json_array_size(json_object_get(curve(all, key), "value"));
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void steps_add(void *sum, json_t *line) { *(int64_t *)sum += run_step(line); }

static void damaged_lines_are_passed_over(void **state) {
    static const char text[] = "{\"step\": 1}\n"
                               "\n"
                               "{\"step\": 2, \"loss\": \n"
                               "[1, 2]\n"
                               "{\"step\": \"3\"}\n"
                               "{\"step\": -1}\n"
                               "{\"step\": 4, \"loss\": NaN}\n"
                               "{\"step\": 5, \"text\": \"\xff\"}\n"
                               "{\"step\": 600000000000000000000}\n"
                               "{\"step\": 10}\n"
                               "{\"step\": 100";
    int64_t sum = 0, unreadable = 0;
    (void)state;
    const Str all = {text, sizeof text - 1};
    assert_int_equal(run_lines(all, steps_add, &sum, &unreadable), all.n - 12);
    assert_int_equal(sum, 11);
    assert_int_equal(unreadable, 8);
    const Str nul = {"{\"step\": 7,\0}\n{\"step\": 8}\n", 26};
    run_lines(nul, steps_add, &sum, &unreadable);
    assert_int_equal(sum, 19);
    assert_int_equal(unreadable, 9);
}

static void numbers_of_lists(void **state) {
    double x;
    json_t *o =
        json_loads("{\"max_vio\": [1, 3, 2], \"e\": [1, 3, 2], \"t\": [1, \"a\"], \"n\": [],"
                   "\"load\": [[1, 2], [3, 4]], \"bad\": [[1, -2]], \"flat\": [1]}",
                   0, NULL);
    (void)state;
    assert_true(run_number(json_object_get(o, "max_vio"), "max_vio", &x) && x == 3);
    assert_true(run_number(json_object_get(o, "e"), "e", &x) && x == 2);
    assert_false(run_number(json_object_get(o, "t"), "t", &x));
    assert_false(run_number(json_object_get(o, "n"), "n", &x));
    assert_false(run_number(json_object_get(o, "load"), "load", &x));
    assert_int_equal(run_load(json_object_get(o, "load")), 4);
    assert_int_equal(run_load(json_object_get(o, "bad")), 0);
    assert_int_equal(run_load(json_object_get(o, "flat")), 0);
    json_decref(o);
}

/* ---- views ----------------------------------------------------------------------------------- */

static void a_view_reads_on(void **state) {
    (void)state;
    Place p = place_new();
    file_put(&p, "r/metrics.jsonl",
             STR("{\"step\": 2, \"loss\": 4.5, \"seconds\": 0.5}\n"
                 "{\"step\": 2, \"prompt\": \"The\", \"sample\": \" river\", \"ended\": true}\n"
                 "{\"step\": 4, \"loss\": 3.5, \"seconds\": 2, \"expert_load\": [[1, 3]]}\n"
                 "{\"step\": 6, \"lo"));
    RunView *v = run_view_open(p.folder, "r");
    json_t *o = seen(&p, v);
    assert_int_equal(points(o, "loss"), 2);
    assert_true(value_at(o, "elapsed", 1) == 0.5 * 2 + 2 * 2);
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(o, "samples"), 0), "text")),
                        " river");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "experts"), "step")), 4);
    json_decref(o);
    file_append(&p, "r/metrics.jsonl", STR("ss\": 2.5}\n{\"step\": 5, \"loss\": 1}\n"));
    file_put(&p, "r/rollouts.jsonl",
             STR("{\"step\": 6, \"prompt\": \"1+1\", \"reasoning\": \"\", \"answer\": \"2\", "
                 "\"right\": true, \"reward\": 1.0, \"task\": \"addition\"}\n{\"step\": 6}\n"));
    o = seen(&p, v);
    assert_int_equal(points(o, "loss"), 3); /* step 5 goes back, and is none */
    assert_true(value_at(o, "loss", 2) == 2.5);
    assert_int_equal(json_integer_value(json_object_get(o, "unreadable")), 1);
    assert_int_equal(json_array_size(json_object_get(o, "answers")), 1);
    json_decref(o);
    /* A run that goes on from a checkpoint writes its file anew. */
    file_put(&p, "r/metrics.jsonl", STR("{\"step\": 1, \"loss\": 9}\n"));
    o = seen(&p, v);
    assert_int_equal(points(o, "loss"), 1);
    assert_true(value_at(o, "loss", 0) == 9);
    assert_int_equal(json_array_size(json_object_get(o, "samples")), 0);
    json_decref(o);
    run_view_close(v);
    place_end(&p);
}

/* Of a run of any length no spike is lost, and its points stay within their bound. */
static void long_runs_are_thinned(void **state) {
    enum { STEPS = 50000, SPIKE = 31234 };
    (void)state;
    Place p = place_new();
    Buf b = {.a = p.a};
    for (int i = 1; i <= STEPS; i++)
        buf_fmt(&b, "{\"step\": %d, \"loss\": %.3f}\n", i, i == SPIKE ? 99.0 : 1 + 1.0 / i);
    file_put(&p, "r/metrics.jsonl", buf_str(&b));
    RunView *v = run_view_open(p.folder, "r");
    json_t *o = seen(&p, v), *value;
    const json_t *steps = json_object_get(curve(o, "loss"), "step");
    const size_t n = points(o, "loss");
    assert_true(n > RUN_POINTS / 4 && n <= RUN_POINTS);
    double most = 0;
    json_int_t at = 0, before = 0;
    for (size_t i = 0; i < n; i++) {
        const json_int_t step = json_integer_value(json_array_get(steps, i));
        assert_true(step > before);
        before = step;
        if (value_at(o, "loss", i) > most) most = value_at(o, "loss", i), at = step;
    }
    assert_true(most == 99 && at == SPIKE);
    value = json_array_get(steps, 0);
    assert_int_equal(json_integer_value(value), 1);
    assert_int_equal(before, STEPS);
    json_decref(o);
    run_view_close(v);
    place_end(&p);
}

static void hostile_lines_stay_within_bounds(void **state) {
    (void)state;
    Place p = place_new();
    Buf b = {.a = p.a};
    for (int i = 0; i < 500; i++) buf_fmt(&b, "{\"step\": 1, \"key %d\": %d}\n", i, i);
    buf_fmt(&b, "{\"step\": 1, \"%0200d\": 1}\n", 7); /* a key that is too long */
    buf_fmt(&b, "{\"step\": 1, \"key 1\": [1e308, 1e308]}\n");
    buf_fmt(&b, "{\"step\": 1, \"deep\": %0*d}\n", RUN_LINE, 0); /* a line that is too long */
    for (int i = 0; i < 100000; i++) buf_add(&b, STR("["));
    buf_add(&b, STR("\n{\"step\": 2, \"prompt\": \"\", \"sample\": \""));
    for (int i = 0; i < RUN_TEXT; i++) buf_add(&b, STR("路"));
    buf_add(&b, STR("\"}\n{\"step\": 3, \"key 0\": 5}\n"));
    file_put(&p, "r/metrics.jsonl", buf_str(&b));
    RunView *v = run_view_open(p.folder, "r");
    json_t *o = seen(&p, v);
    assert_int_equal(json_array_size(json_object_get(o, "curves")), RUN_CURVES);
    assert_true(value_at(o, "key 0", 1) == 5);
    assert_int_equal(points(o, "key 1"), 1); /* the mean is no number */
    const json_t *sample = json_array_get(json_object_get(o, "samples"), 0);
    assert_int_equal(json_string_length(json_object_get(sample, "text")), RUN_TEXT / 3 * 3);
    json_decref(o);
    run_view_close(v);
    place_end(&p);
}

/* Memory does not follow the length of a file. */
static void a_view_has_a_size(void **state) {
    (void)state;
    Place p = place_new();
    Buf b = {.a = p.a};
    for (int i = 1; i < 400; i++)
        buf_fmt(&b, "{\"step\": %d, \"sample\": \"%d\"}\n{\"step\": %d, \"answer\": \"%d\"}\n", i,
                i, i, i);
    file_put(&p, "r/metrics.jsonl", buf_str(&b));
    file_put(&p, "r/rollouts.jsonl", buf_str(&b));
    RunView *v = run_view_open(p.folder, "r");
    json_t *o = seen(&p, v);
    const json_t *samples = json_object_get(o, "samples"), *answers = json_object_get(o, "answers");
    assert_int_equal(json_array_size(samples), RUN_SAMPLES);
    assert_int_equal(json_array_size(answers), RUN_ANSWERS);
    const json_t *first = json_array_get(samples, 0), *last = json_array_get(answers, 63);
    assert_string_equal(json_string_value(json_object_get(first, "text")), "399");
    assert_string_equal(json_string_value(json_object_get(last, "answer")), "336");
    json_decref(o);
    run_view_close(v);
    place_end(&p);
}

/* Of much that came since a view was looked at the end is read, as of a file that is new. */
static void of_many_answers_the_last_are_read(void **state) {
    (void)state;
    Place p = place_new();
    Buf b = {.a = p.a};
    const Str line = STR("{\"step\": 1, \"loss\": 2}\n");
    file_put(&p, "r/metrics.jsonl", line);
    file_put(&p, "r/rollouts.jsonl", STR("{\"step\": 1, \"answer\": \"old\"}\n"));
    RunView *v = run_view_open(p.folder, "r");
    json_decref(seen(&p, v));
    while (b.n < 2 * RUN_LINE) buf_add(&b, line);
    buf_add(&b, STR("{\"step\": 2, \"answer\": \"lost\"}\n"));
    while (b.n < 8 * RUN_LINE) buf_add(&b, line);
    buf_add(&b, STR("{\"step\": 3, \"answer\": \"new\"}\n"));
    file_append(&p, "r/rollouts.jsonl", buf_str(&b));
    json_t *o = seen(&p, v);
    const json_t *answers = json_object_get(o, "answers");
    assert_int_equal(json_array_size(answers), 2);
    const json_t *first = json_array_get(answers, 0), *last = json_array_get(answers, 1);
    assert_string_equal(json_string_value(json_object_get(first, "answer")), "new");
    assert_string_equal(json_string_value(json_object_get(last, "answer")), "old");
    json_decref(o);
    run_view_close(v);
    place_end(&p);
}

static void news_are_what_a_view_keeps(void **state) {
    json_t *line = json_loads("{\"step\": 3, \"loss\": 1.5, \"max_vio\": [1, 2], \"note\": \"x\"}",
                              0, NULL),
           *none = json_loads("{\"step\": 3, \"note\": \"x\"}", 0, NULL);
    json_t *news = run_news(line), *want = json_loads("{\"step\": 3, \"values\": {\"loss\": 1.5, "
                                                      "\"max_vio\": 2.0}}",
                                                      0, NULL);
    (void)state;
    assert_true(json_equal(news, want));
    assert_null(run_news(none));
    json_decref(news), json_decref(want), json_decref(line), json_decref(none);
}

/* ---- folders --------------------------------------------------------------------------------- */

static const Run *named(const Run *run, int64_t n, const char *name) {
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(run[i].name, name)) return &run[i];
    return NULL;
}

static void links_are_not_followed(void **state) {
    (void)state;
    Place p = place_new(), other = place_new();
    const Str line = STR("{\"step\": 1, \"loss\": 2}\n");
    file_put(&other, "secret/metrics.jsonl", line);
    file_put(&p, "a/metrics.jsonl", line);
    file_put(&p, "b/1-learn/metrics.jsonl", line);
    file_put(&p, "b/c/d/metrics.jsonl", line); /* too deep */
    file_put(&p, "a/step-000000001/metrics.jsonl", line);
    file_put(&p, "e/other", line);
    file_put(&p, "f/other", line);
    file_put(&p, "g/metrics.jsonl/other", line);
    const char *secret = str_fmt(p.a, "%s/secret", other.folder).p;
    assert_int_equal(symlink(secret, str_fmt(p.a, "%s/linked", p.folder).p), 0);
    assert_int_equal(symlink(str_fmt(p.a, "%s/metrics.jsonl", secret).p,
                             str_fmt(p.a, "%s/e/metrics.jsonl", p.folder).p),
                     0);
    assert_int_equal(mkfifo(str_fmt(p.a, "%s/f/metrics.jsonl", p.folder).p, 0600), 0);
    Run *run, one;
    int64_t n, left_off;
    Err err = {0};
    must(runs_list(p.a, p.folder, &run, &n, &left_off, &err), &err);
    assert_int_equal(n, 2);
    assert_string_equal(run[0].name, "a");
    assert_string_equal(run[1].name, "b/1-learn");
    assert_true(run_find(p.a, p.folder, str_of(run[1].id), &one));
    assert_string_equal(one.name, "b/1-learn");
    static const char *const odd[] = {"", ".", "..", "a", "../secret", "linked", "/etc/passwd"};
    for (int64_t i = 0; i < COUNT(odd); i++)
        assert_false(run_find(p.a, p.folder, str_of(odd[i]), &one));
    char byte;
    int64_t got;
    FileStamp s;
    static const char *const paths[] = {"linked/metrics.jsonl", "e/metrics.jsonl", "../x", "a//b",
                                        "a/../a/metrics.jsonl", "f/metrics.jsonl", "a",    ""};
    for (int64_t i = 0; i < COUNT(paths); i++) {
        Err none = {0};
        assert_false(os_read_beneath(p.folder, paths[i], 0, &byte, 1, &got, &s, &none));
    }
    must(os_read_beneath(p.folder, "a/metrics.jsonl", 1, &byte, 1, &got, &s, &err), &err);
    assert_true(got == 1 && byte == '"' && s.size == line.n);
    place_end(&p), place_end(&other);
}

static void a_run_tells_how_far_it_is(void **state) {
    (void)state;
    Place p = place_new();
    Run *run;
    int64_t n, left_off;
    Err err = {0};
    const int64_t now = os_time();
    file_put(&p, "metrics.jsonl", STR("{\"step\": 1, \"loss\": 2}\n"));
    file_put(&p, "r/metrics.jsonl",
             STR("{\"step\": 10, \"loss\": 3, \"reward\": 0.5, \"seconds\": 3}\n"
                 "{\"step\": 20, \"loss\": 2, \"seconds\": 3}\nnonsense\n{\"step\": 20, "
                 "\"valid_loss\": 2.25}\n{\"step\": 30, \"lo"));
    file_put(&p, "r/step-000000010/state.json", STR("{}"));
    file_put(&p, "r/step-000000020/state.json",
             STR("{\"recipe\": {\"objective\": \"grpo\", \"optim.steps\": \"40\"}}"));
    must(runs_list(p.a, p.folder, &run, &n, &left_off, &err), &err);
    assert_int_equal(n, 2);
    for (int64_t i = 0; i < n; i++) must(run_look(p.a, p.folder, &run[i], now, &err), &err);
    const Run *r = named(run, n, "r"), *itself = named(run, n, ".");
    assert_true(r && itself);
    assert_true(r->step == 20 && r->steps == 40 && r->checkpoint == 20 && r->alive);
    assert_true(r->loss == 2 && r->reward == 0.5 && r->valid == 2.25 && isnan(r->bits));
    assert_string_equal(r->objective, "grpo");
    assert_true(itself->step == 1 && itself->steps == 0 && itself->checkpoint == -1);
    /* Ten steps of 3 seconds between its lines: 150 without one say that it has stopped. */
    must(run_look(p.a, p.folder, (Run *)(uintptr_t)r, now + 140, &err), &err);
    assert_true(r->alive);
    must(run_look(p.a, p.folder, (Run *)(uintptr_t)r, now + 160, &err), &err);
    assert_false(r->alive);
    place_end(&p);
}

static void many_runs_are_bounded(void **state) {
    (void)state;
    Place p = place_new();
    Run *run;
    int64_t n, left_off;
    Err err = {0};
    for (int i = 0; i < RUNS_MOST + 5; i++)
        file_put(&p, str_fmt(p.a, "run %03d/metrics.jsonl", i).p, STR("{\"step\": 1}\n"));
    must(runs_list(p.a, p.folder, &run, &n, &left_off, &err), &err);
    assert_int_equal(n, RUNS_MOST);
    assert_int_equal(left_off, 5);
    assert_false(runs_list(p.a, str_fmt(p.a, "%s/none", p.folder).p, &run, &n, &left_off, &err));
    place_end(&p);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_lines_are_passed_over),
        cmocka_unit_test(numbers_of_lists),
        cmocka_unit_test(a_view_reads_on),
        cmocka_unit_test(long_runs_are_thinned),
        cmocka_unit_test(hostile_lines_stay_within_bounds),
        cmocka_unit_test(a_view_has_a_size),
        cmocka_unit_test(of_many_answers_the_last_are_read),
        cmocka_unit_test(news_are_what_a_view_keeps),
        cmocka_unit_test(links_are_not_followed),
        cmocka_unit_test(a_run_tells_how_far_it_is),
        cmocka_unit_test(many_runs_are_bounded),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("runs", tests, NULL, NULL);
}
