/* training.c -- tests of the routes that show training runs: what they answer, that no request
 * reaches a file but those of runs, and feeds of files that grow, are replaced, or that nobody
 * reads. */
#define _GNU_SOURCE
#include "serve/training.h"
#include "tests.h"
#include <unistd.h>

typedef struct Service {
    Arena *a;
    Api api;
    ServeSpec spec;
    Site *site;
    const char *folder;
    const char *id; /* of its run */
} Service;

static void run_append(const Service *s, const char *file, const char *text) {
    Err err = {0};
    must(os_append(str_fmt(s->a, "%s/run/%s", s->folder, file).p, str_of(text), &err), &err);
}

static const char *id_of(const Service *s, const char *name) {
    Run *run;
    int64_t n, left_off;
    Err err = {0};
    must(runs_list(s->a, s->folder, &run, &n, &left_off, &err), &err);
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(run[i].name, name)) return run[i].id;
    fail_msg("there is no run %s", name);
    return NULL;
}

static Service *service_open(void) {
    static Service s;
    const char *base = os_env("TMPDIR");
    Err err = {0};
    s = (Service){.a = arena_open("service", ARENA_NO_LIMIT),
                  .site = site_open(&(SiteSpec){.connections = 80, .out_bytes = 1 << 20})};
    char *path = PUSH(s.a, char, 4096);
    snprintf(path, 4096, "%s/lisao-training-XXXXXX", base ? base : P_tmpdir);
    s.folder = mkdtemp(path);
    assert_non_null(s.folder);
    must(os_mkdir(str_fmt(s.a, "%s/run", s.folder).p, &err), &err);
    run_append(&s, "metrics.jsonl", "{\"step\": 1, \"loss\": 2.5}\nnonsense\n");
    s.spec = (ServeSpec){.runs = s.folder};
    s.api = (Api){.lock = monitor_new(s.a), .spec = &s.spec, .http = site_http(s.site)};
    must(training_open(&s.api, s.a, &err), &err);
    s.id = id_of(&s, "run");
    return &s;
}

static void service_close(Service *s) {
    training_drain(&s->api);
    site_close(s->site);
    training_close(&s->api);
    tree_remove(s->a, s->folder);
    arena_close(s->a);
}

/* Asks for a path of the API; the status, 200 where the route answers. */
static int64_t ask(Service *s, Wire *w, RouteFn *run, const char *path, const char *query) {
    wire_open(w, s->site);
    assert_true(wire_send(
        w, str_fmt(s->a, "GET /stream%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", query)));
    Exchange *x = site_taken(s->site);
    Call c = {.api = &s->api, .x = x, .a = exchange_arena(x), .now = os_time()};
    c.path = str_copy(c.a, str_of(path));
    run(&c);
    const int64_t status = c.fault.status ? c.fault.status : 200;
    if (c.fault.status) fault_answer(x, &c.fault, STYLE_OPENAI);
    return status;
}

static void must_say(Wire *w, const char *text) {
    if (!wire_wait(w, text, 20)) fail_msg("wanted %s; read: %.600s", text, w->got);
}

/* ---- what there is --------------------------------------------------------------------------- */

static void runs_are_listed_and_read(void **state) {
    (void)state;
    static Wire w;
    Service *s = service_open();
    assert_int_equal(ask(s, &w, answer_runs, "/runs", ""), 200);
    must_say(&w, "\"name\":\"run\"");
    must_say(&w, "\"loss\":2.5");
    must_say(&w, "\"steps\":null");
    wire_close(&w);
    const char *path = str_fmt(s->a, "/runs/%s", s->id).p;
    assert_int_equal(ask(s, &w, answer_run, path, ""), 200);
    must_say(&w, "\"whole\":true,\"at\":34,\"unreadable\":1,\"curves\":[{\"key\":\"loss\","
                 "\"step\":[1],\"value\":[2.5]}],\"experts\":null}");
    wire_close(&w);
    assert_int_equal(ask(s, &w, answer_run_texts, str_fmt(s->a, "%s/texts", path).p, ""), 200);
    must_say(&w, "{\"samples\":[],\"answers\":[]}");
    wire_close(&w);
    /* More runs than views: each is read anew, and is itself. */
    for (int i = 0; i < 2 * (VIEWS + 3); i++) {
        Err err = {0};
        const char *name = str_fmt(s->a, "more%d", i % (VIEWS + 3)).p;
        const Str line = str_fmt(s->a, "{\"step\": 1, \"loss\": %d}\n", 100 + i);
        must(os_mkdir(str_fmt(s->a, "%s/%s", s->folder, name).p, &err), &err);
        must(os_put(s->a, str_fmt(s->a, "%s/%s/metrics.jsonl", s->folder, name).p, line, &err),
             &err);
        path = str_fmt(s->a, "/runs/%s", id_of(s, name)).p;
        assert_int_equal(ask(s, &w, answer_run, path, ""), 200);
        must_say(&w, str_fmt(s->a, "\"value\":[%d]", 100 + i).p);
        wire_close(&w);
    }
    service_close(s);
}

static void no_request_is_a_path(void **state) {
    (void)state;
    static Wire w;
    static const char *const odd[] = {"run",    "..",   "../run", "run/metrics.jsonl",
                                      "%2e%2e", "/etc", "",       "a/../run"};
    Service *s = service_open();
    for (int64_t i = 0; i < COUNT(odd); i++) {
        const char *path = str_fmt(s->a, "/runs/%s", odd[i]).p;
        const char *query = str_fmt(s->a, "?%s=0", odd[i]).p;
        assert_int_equal(ask(s, &w, answer_run, path, ""), 404);
        wire_close(&w);
        assert_int_equal(ask(s, &w, answer_run_texts, path, ""), 404);
        wire_close(&w);
        assert_int_equal(ask(s, &w, answer_run_feed, "/runs/feed", query), 404);
        wire_close(&w);
    }
    static const char *const queries[] = {"", "?%s=-1", "?%s=x", "?%s=1&%s=99999999999999999999"};
    for (int64_t i = 0; i < COUNT(queries); i++) {
        Buf query = {.a = s->a};
        for (Str rest = str_of(queries[i]); rest.n; rest.p++, rest.n--)
            if (str_starts(rest, STR("%s")))
                buf_add(&query, str_of(s->id)), rest.p++, rest.n--;
            else
                buf_add(&query, (Str){rest.p, 1});
        const char *text = str_copy(s->a, buf_str(&query)).p;
        assert_int_equal(ask(s, &w, answer_run_feed, "/runs/feed", text), 400);
        wire_close(&w);
    }
    Training *shown = s->api.training;
    s->api.training = NULL; /* a server that shows none */
    assert_int_equal(ask(s, &w, answer_runs, "/runs", ""), 404);
    wire_close(&w);
    s->api.training = shown;
    service_close(s);
}

/* ---- feeds ----------------------------------------------------------------------------------- */

static void what_is_written_is_fed(void **state) {
    (void)state;
    static Wire w;
    Service *s = service_open();
    const char *query = str_fmt(s->a, "?%s=25", s->id).p; /* behind the first line */
    assert_int_equal(ask(s, &w, answer_run_feed, "/runs/feed", query), 200);
    must_say(&w, ": reading");
    run_append(s, "metrics.jsonl", "{\"step\": 2, \"loss\": 2.25}\n{\"step\": 3, \"lo");
    must_say(&w, "\"lines\":[{\"step\":2,\"values\":{\"loss\":2.25}}]}");
    run_append(s, "metrics.jsonl", "ss\": 2}\n");
    must_say(&w, "{\"step\":3,\"values\":{\"loss\":2.0}}");
    run_append(s, "rollouts.jsonl", "{\"step\": 3, \"answer\": \"<b>\", \"right\": true}\n");
    must_say(&w, "\"answer\":\"<b>\"");
    assert_int_equal(wire_count(&w, "\"step\":1"), 0);
    assert_int_equal(wire_count(&w, "\"step\":2"), 1);
    Err err = {0};
    must(os_put(s->a, str_fmt(s->a, "%s/run/metrics.jsonl", s->folder).p,
                STR("{\"step\": 9, \"loss\": 1}\n"), &err),
         &err);
    must_say(&w, "\"again\":true");
    assert_int_equal(wire_count(&w, "\"step\":9"), 0); /* it is for who begins anew */
    wire_close(&w);
    service_close(s);
}

/* What becomes much longer than its lines were ends no feed. */
static void lines_that_grow_end_no_feed(void **state) {
    (void)state;
    static Wire w;
    Service *s = service_open();
    const char *query = str_fmt(s->a, "?%s=25", s->id).p;
    Buf much = {.a = s->a};
    assert_int_equal(ask(s, &w, answer_run_feed, "/runs/feed", query), 200);
    must_say(&w, ": reading");
    while (much.n < RUN_LINE) buf_add(&much, STR("{\"step\":7,\"answer\":\"\"}\n"));
    run_append(s, "rollouts.jsonl", str_copy(s->a, buf_str(&much)).p);
    must_say(&w, "\"step\":7");
    wire_wait(&w, NULL, 5); /* what is left of it */
    w.n = 0;
    run_append(s, "metrics.jsonl", "{\"step\": 8, \"loss\": 2.25}\n");
    must_say(&w, "{\"step\":8,\"values\":{\"loss\":2.25}}");
    wire_close(&w);
    service_close(s);
}

/* A place that its file has not got is that of a file which was replaced meanwhile. */
static void a_place_behind_the_end(void **state) {
    (void)state;
    static Wire w;
    Service *s = service_open();
    const char *query = str_fmt(s->a, "?%s=1000", s->id).p;
    assert_int_equal(ask(s, &w, answer_run_feed, "/runs/feed", query), 200);
    must_say(&w, "\"again\":true");
    wire_close(&w);
    service_close(s);
}

static int64_t feeds_now(Service *s) {
    monitor_enter(s->api.lock);
    const int64_t n = feeds_count(s->api.training->feeds);
    monitor_leave(s->api.lock);
    return n;
}

static void feeds_become(Service *s, int64_t n) {
    for (const double until = os_now() + 20; feeds_now(s) != n && os_now() < until;) os_sleep(0.02);
    assert_int_equal(feeds_now(s), n);
}

static void feeds_are_bounded_and_end(void **state) {
    (void)state;
    enum { MOST = 64 };
    static Wire w[MOST], more;
    Service *s = service_open();
    const char *query = str_fmt(s->a, "?%s=0", s->id).p;
    for (int i = 0; i < MOST; i++)
        assert_int_equal(ask(s, &w[i], answer_run_feed, "/runs/feed", query), 200);
    for (int i = 0; i < MOST; i++) must_say(&w[i], "\"step\":1");
    assert_int_equal(ask(s, &more, answer_run_feed, "/runs/feed", query), 503);
    wire_close(&more);
    for (int i = 1; i < MOST; i++) wire_close(&w[i]);
    feeds_become(s, 1);
    assert_int_equal(ask(s, &more, answer_run_feed, "/runs/feed", query), 200);
    must_say(&more, "\"step\":1");
    monitor_enter(s->api.lock);
    s->api.draining = true;
    monitor_leave(s->api.lock);
    must_say(&more, "\r\n0\r\n\r\n"); /* a service that goes down ends them */
    must_say(&w[0], "\r\n0\r\n\r\n");
    feeds_become(s, 0);
    wire_close(&more), wire_close(&w[0]);
    service_close(s);
}

/* Much is written that one does not read: it waits for that one, and holds up nobody. */
static void who_does_not_read_holds_up_nobody(void **state) {
    (void)state;
    enum { LINE = 4000, LINES = 2000 };
    static Wire slow, quick;
    Service *s = service_open();
    const char *query = str_fmt(s->a, "?%s=0", s->id).p;
    Buf much = {.a = s->a};
    assert_int_equal(ask(s, &slow, answer_run_feed, "/runs/feed", query), 200);
    for (int i = 0; i < LINES; i++)
        buf_fmt(&much, "{\"step\": %d, \"sample\": \"%0*d\"}\n", i + 10, LINE, 0);
    run_append(s, "metrics.jsonl", str_copy(s->a, buf_str(&much)).p);
    os_sleep(3); /* it has been written what may wait for a reader */
    const char *end = str_fmt(s->a, "?%s=%lld", s->id, (long long)much.n + 34).p;
    assert_int_equal(ask(s, &quick, answer_run_feed, "/runs/feed", end), 200);
    must_say(&quick, ": reading");
    run_append(s, "metrics.jsonl", "{\"step\": 5000, \"loss\": 1.125}\n");
    must_say(&quick, "\"loss\":1.125");
    assert_int_equal(feeds_now(s), 2);
    wire_close(&quick), wire_close(&slow);
    feeds_become(s, 0);
    service_close(s);
}

int test_training(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_listed_and_read),
        cmocka_unit_test(no_request_is_a_path),
        cmocka_unit_test(what_is_written_is_fed),
        cmocka_unit_test(lines_that_grow_end_no_feed),
        cmocka_unit_test(a_place_behind_the_end),
        cmocka_unit_test(feeds_are_bounded_and_end),
        cmocka_unit_test(who_does_not_read_holds_up_nobody),
    };
    return cmocka_run_group_tests_name("serve training", tests, NULL, NULL);
}
