/* kept.c -- tests of streams that are taken up again: every event once and byte for byte, by the
 * tenant's own key only, within the bounds, and nobody is held up by one that does not read. */
#include "serve/api.h"
#include "tests.h"

#define TAKE "GET /stream%s HTTP/1.1\r\nHost: x\r\n\r\n"

/* The little of the service that streams need. */
typedef struct Service {
    Arena *a;
    Api api;
    Site *site;
} Service;

static Service service_open(const SiteSpec *spec) {
    Service s = {.a = arena_open("service", ARENA_NO_LIMIT), .site = site_open(spec)};
    s.api = (Api){.lock = monitor_new(s.a), .streams = streams_new(s.a)};
    return s;
}

static void service_close(Service *s) {
    streams_close(&s->api);
    site_close(s->site);
    arena_close(s->a);
}

static Job stream_start(Service *s, const char *id, const char *tenant) {
    Job j = {.api = &s->api, .tenant = tenant};
    snprintf(j.id, sizeof j.id, "%s", id);
    kept_begin(&j);
    return j;
}

static Str event_of(Arena *a, const char *id, int64_t i) {
    return str_fmt(a, "id: %lld\ndata: %s\n\n", (long long)i, id);
}

static void events_add(Service *s, Job *j, int64_t n) {
    for (int64_t i = 0; i < n; i++) kept_add(&s->api, j->kept, event_of(s->a, j->id, j->events++));
}

/* Asks for a stream as a client with this tenant's key; the status, 200 where it is read now. */
static int64_t take(Service *s, Wire *w, const char *id, const char *tenant, const char *query) {
    wire_open(w, s->site);
    assert_true(wire_send(w, str_fmt(s->a, TAKE, query)));
    Exchange *x = site_taken(s->site);
    Call c = {.api = &s->api, .x = x, .a = exchange_arena(x)};
    c.path = str_fmt(c.a, "/streams/%s", id);
    snprintf(c.key.tenant, sizeof c.key.tenant, "%s", tenant);
    answer_stream(&c);
    const int64_t status = c.fault.status ? c.fault.status : 200;
    if (c.fault.status) {
        fault_answer(x, &c.fault, STYLE_OPENAI);
        wire_close(w);
    }
    return status;
}

/* Reads on until this text; meanwhile readers are given what they have room for. */
static void read_until(Service *s, Wire *w, const char *text) {
    const double from = os_now();
    do streams_sweep(&s->api);
    while (!wire_wait(w, text, 0.01) && os_now() - from < 20);
    if (!wire_wait(w, text, 0.01)) fail_msg("wanted %s; read: %.300s", text, w->got);
}

static void every_event_once(void **state) {
    (void)state;
    static Wire w;
    Service s = service_open(&(SiteSpec){0});
    Job j = stream_start(&s, "a", "one");
    assert_non_null(j.kept);
    events_add(&s, &j, 5);
    assert_int_equal(take(&s, &w, "a", "one", ""), 200);
    read_until(&s, &w, "id: 4\ndata: a\n\n");
    events_add(&s, &j, 3); /* and those that come while it reads */
    read_until(&s, &w, "id: 7\ndata: a\n\n");
    kept_end(&j, "completed");
    read_until(&s, &w, "\r\n0\r\n\r\n");
    for (int i = 0; i < 8; i++) assert_int_equal(wire_count(&w, event_of(s.a, "a", i).p), 1);
    wire_close(&w);
    for (int from = 0; from < 8; from++) { /* whatever of it was left, in order */
        assert_int_equal(take(&s, &w, "a", "one", str_fmt(s.a, "?x=1&after=%d", from).p), 200);
        read_until(&s, &w, "\r\n0\r\n\r\n");
        for (int i = 0; i < 8; i++)
            assert_int_equal(wire_count(&w, event_of(s.a, "a", i).p), i > from);
        wire_close(&w);
    }
    service_close(&s);
}

static void only_for_its_tenant(void **state) {
    (void)state;
    static Wire w;
    Service s = service_open(&(SiteSpec){0});
    Job j = stream_start(&s, "a", "one");
    events_add(&s, &j, 2);
    assert_int_equal(take(&s, &w, "a", "two", ""), 404);
    assert_int_equal(take(&s, &w, "a", "", ""), 404);
    assert_int_equal(take(&s, &w, "b", "one", ""), 404);
    assert_int_equal(take(&s, &w, "a", "one", "?after=2"), 400);
    assert_int_equal(take(&s, &w, "a", "one", "?after=-1"), 400);
    assert_int_equal(take(&s, &w, "a", "one", "?after=1x"), 400);
    assert_int_equal(take(&s, &w, "a", "one", "?after=1"), 200);
    wire_close(&w);
    kept_end(&j, "completed");
    service_close(&s);
}

/* Of a long stream the last 4 MB stay, whole events. */
static void long_streams_keep_their_end(void **state) {
    (void)state;
    static Wire w;
    enum { EVENT = 10000, N = 1000 };
    Service s = service_open(&(SiteSpec){.out_bytes = 20000});
    Job j = stream_start(&s, "a", "one");
    char *padding = PUSH(s.a, char, EVENT + 1);
    memset(padding, 'e', EVENT), padding[EVENT] = 0;
    for (int i = 0; i < N; i++) kept_add(&s.api, j.kept, event_of(s.a, padding, i));
    assert_int_equal(take(&s, &w, "a", "one", ""), 410);
    assert_int_equal(take(&s, &w, "a", "one", "?after=570"), 410);
    assert_int_equal(take(&s, &w, "a", "one", "?after=610"), 200);
    read_until(&s, &w, "id: 611\ndata: eee");
    assert_null(strstr(w.got, "id: 610\n"));
    wire_close(&w);
    assert_int_equal(take(&s, &w, "a", "one", "?after=995"), 200);
    kept_end(&j, "completed");
    read_until(&s, &w, "\r\n0\r\n\r\n");
    assert_int_equal(wire_count(&w, "\nid: "), 4);
    assert_int_equal(wire_count(&w, "eee\n\n"), 4);
    wire_close(&w);
    service_close(&s);
}

static void streams_are_bounded(void **state) {
    (void)state;
    static Wire w;
    enum { TENANT = 64, ALL = 256 };
    static Job j[ALL + 1];
    Service s = service_open(&(SiteSpec){0});
    for (int i = 0; i <= TENANT; i++) {
        j[i] = stream_start(&s, str_fmt(s.a, "s%d", i).p, "one");
        if (i < TENANT) events_add(&s, &j[i], 1);
    }
    assert_null(j[TENANT].kept); /* all are running */
    kept_end(&j[1], "completed");
    os_sleep(0.002);
    kept_end(&j[0], "completed");
    j[TENANT] = stream_start(&s, "new", "one"); /* in place of the one that ended first */
    assert_non_null(j[TENANT].kept);
    assert_int_equal(take(&s, &w, "s1", "one", ""), 404);
    assert_int_equal(take(&s, &w, "s0", "one", ""), 200);
    wire_close(&w);
    int64_t kept = 0;
    for (int i = TENANT + 1; i <= ALL; i++) {
        j[i] = stream_start(&s, "more", str_fmt(s.a, "t%d", i).p);
        kept += j[i].kept != NULL;
    }
    assert_int_equal(kept, ALL - TENANT);
    assert_int_equal(take(&s, &w, "s0", "one", ""), 200);
    wire_close(&w);
    Job last = stream_start(&s, "last", "other"), none = stream_start(&s, "none", "another");
    assert_non_null(last.kept); /* in place of s0 */
    assert_null(none.kept);
    assert_int_equal(take(&s, &w, "s0", "one", ""), 404);
    for (int i = 0; i <= ALL; i++) kept_end(&j[i], "completed");
    /* One that never had an event is forgotten at once. */
    streams_sweep(&s.api);
    assert_int_equal(take(&s, &w, "new", "one", ""), 404);
    service_close(&s);
}

/* 64 MB in all: what ended first goes. */
static void bytes_are_bounded(void **state) {
    (void)state;
    static Wire w;
    enum { EVENT = 50000, N = 80, STREAMS = 20 };
    Service s = service_open(&(SiteSpec){0});
    char *text = PUSH(s.a, char, EVENT);
    memset(text, '\n', EVENT);
    const int64_t before = os_memory_now();
    for (int i = 0; i < STREAMS; i++) {
        Job j = stream_start(&s, str_fmt(s.a, "s%d", i).p, "one");
        for (int k = 0; k < N; k++) kept_add(&s.api, j.kept, (Str){text, EVENT});
        kept_end(&j, "completed");
        os_sleep(0.001);
    }
    const int64_t grown = os_memory_now() - before;
    assert_int_equal(take(&s, &w, "s0", "one", "?after=79"), 404);
    assert_int_equal(take(&s, &w, "s3", "one", "?after=79"), 404);
    for (int i = STREAMS - 10; i < STREAMS; i++) {
        assert_int_equal(take(&s, &w, str_fmt(s.a, "s%d", i).p, "one", "?after=79"), 200);
        wire_close(&w);
    }
    if (memory_is_own()) assert_in_range(grown, 30 << 20, 75 << 20);
    service_close(&s);
}

static void one_that_does_not_read_holds_up_nobody(void **state) {
    (void)state;
    static Wire idle, w;
    Service s = service_open(&(SiteSpec){.out_bytes = 4096});
    Job j = stream_start(&s, "a", "one");
    assert_int_equal(take(&s, &idle, "a", "one", ""), 200);
    events_add(&s, &j, 1000);
    const double from = os_now();
    streams_sweep(&s.api);
    assert_true(os_now() - from < 2);
    assert_int_equal(take(&s, &w, "a", "one", "?after=900"), 200);
    kept_end(&j, "completed");
    read_until(&s, &w, "\r\n0\r\n\r\n");
    assert_int_equal(wire_count(&w, "data: a"), 99);
    wire_close(&w);
    wire_close(&idle);
    for (const double since = os_now();
         server_connections(site_http(s.site)) && os_now() - since < 20;)
        streams_sweep(&s.api), os_sleep(0.005);
    assert_int_equal(server_connections(site_http(s.site)), 0);
    service_close(&s);
}

int test_kept(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_once),
        cmocka_unit_test(only_for_its_tenant),
        cmocka_unit_test(long_streams_keep_their_end),
        cmocka_unit_test(streams_are_bounded),
        cmocka_unit_test(bytes_are_bounded),
        cmocka_unit_test(one_that_does_not_read_holds_up_nobody),
    };
    return cmocka_run_group_tests_name("serve kept streams", tests, NULL, NULL);
}
