/* streams.c -- tests of answers that come piece by piece: each at once, until the client leaves,
 * which is noticed while nothing is written; half-closed clients, clients that do not read. */
#define _GNU_SOURCE
#include "tests.h"
#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
static const double SOON = UNDER_TSAN || UNDER_ASAN ? 2 : 0.1;

static void must_read(Wire *w, const char *text) {
    if (!wire_wait(w, text, 20)) fail_msg("wanted %s; read: %.600s", text, w->got);
}

static Exchange *stream_open(Site *s, Wire *w) {
    wire_open(w, s);
    assert_true(wire_send(w, STR(STREAM)));
    Exchange *x = site_taken(s);
    exchange_begin(x, 200, "text/event-stream; charset=utf-8");
    return x;
}

/* ---- a client that leaves -------------------------------------------------------------------- */

typedef struct Gone {
    Monitor *m;
    int64_t n;
    double at;
} Gone;

static void gone_note(void *arg) {
    Gone *g = arg;
    monitor_enter(g->m);
    g->n++, g->at = os_now();
    monitor_wake(g->m);
    monitor_leave(g->m);
}

static int64_t gone_count(Gone *g) {
    monitor_enter(g->m);
    const int64_t n = g->n;
    monitor_leave(g->m);
    return n;
}

/* How many seconds after `from` it was told; the test fails when it is not. */
static double gone_after(Gone *g, double from) {
    while (!gone_count(g) && os_now() - from < 10) os_sleep(0.001);
    if (!gone_count(g)) fail_msg("nobody noticed that the client has left");
    return g->at - from;
}

/* ---- one stream ------------------------------------------------------------------------------ */

static void events_arrive_one_by_one(void **state) {
    (void)state;
    static Wire w;
    Arena *a = arena_open("events", 1 << 20);
    for (int tls = 0; tls < 2; tls++) {
        Site *s = site_open(&(SiteSpec){.tls = tls});
        Exchange *x = stream_open(s, &w);
        must_read(&w, "\r\n\r\n"); /* the head, before there is an event */
        assert_non_null(strstr(w.got, "Content-Type: text/event-stream; charset=utf-8\r\n"));
        assert_non_null(strstr(w.got, "Cache-Control: no-cache\r\n"));
        assert_non_null(strstr(w.got, "X-Accel-Buffering: no\r\n"));
        for (int i = 0; i < 100; i++) {
            const Str event = str_fmt(a, "data: {\"event\":%d}\n\n", i);
            assert_true(exchange_write(x, event));
            const double from = os_now();
            must_read(&w, event.p);
            if (os_now() - from > SOON) fail_msg("event %d took %.3f s", i, os_now() - from);
            /* In a chunk of its own: never cut, never joined. */
            assert_non_null(
                strstr(w.got, str_fmt(a, "\r\n%llx\r\n%s\r\n", (long long)event.n, event.p).p));
        }
        assert_true(exchange_write(x, STR(""))); /* nothing, and not the end */
        exchange_end(x);
        must_read(&w, "\r\n0\r\n\r\n");
        assert_true(wire_send(&w, STR("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"))); /* it goes on */
        must_read(&w, "\"n\":0");
        wire_close(&w);
        site_close(s);
    }
    arena_close(a);
}

/* A sign of life, then an answer of any length in one piece, longer than what a stream may hold;
 * the connection goes on behind it. */
static void a_long_piece_ends_it(void **state) {
    (void)state;
    static Wire w;
    Arena *a = arena_open("piece", 1 << 20);
    Buf piece = {.a = a};
    while (piece.n < 40000) buf_add(&piece, STR("0123456789"));
    for (int tls = 0; tls < 2; tls++) {
        Site *s = site_open(&(SiteSpec){.tls = tls, .out_bytes = 1000});
        wire_open(&w, s);
        assert_true(wire_send(&w, STR(STREAM)));
        Exchange *x = site_taken(s);
        exchange_begin(x, 200, "application/json");
        assert_true(exchange_write(x, STR("\n")));
        must_read(&w, "\r\n1\r\n\n\r\n");
        exchange_end_with(x, buf_str(&piece));
        must_read(&w, "\r\n0\r\n\r\n");
        assert_true(wire_count(&w, "0123456789") > 3900); /* some are cut by chunks */
        assert_true(wire_send(&w, STR("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")));
        must_read(&w, "\"n\":0");
        wire_close(&w);
        site_close(s);
    }
    arena_close(a);
}

static void old_and_headless_clients(void **state) {
    (void)state;
    static Wire w;
    Site *s = site_open(&(SiteSpec){0});
    wire_open(&w, s);
    assert_true(wire_send(&w, STR("GET /stream HTTP/1.0\r\n\r\n")));
    Exchange *x = site_taken(s);
    exchange_begin(x, 200, "text/event-stream");
    assert_true(exchange_write(x, STR("data: 1\n\n")));
    must_read(&w, "data: 1\n\n");
    assert_true(exchange_write(x, STR("data: 2\n\n")));
    must_read(&w, "data: 1\n\ndata: 2\n\n");
    exchange_end(x);
    wire_wait(&w, NULL, 20);
    assert_true(w.closed);
    wire_close(&w);
    wire_open(&w, s);
    assert_true(wire_send(&w, STR("HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n")));
    x = site_taken(s);
    Gone g = {monitor_new(exchange_arena(x)), 0, 0};
    exchange_on_gone(x, gone_note, &g);
    exchange_begin(x, 200, "text/event-stream");
    must_read(&w, "\r\n\r\n");
    assert_true(exchange_write(x, STR("data: 1\n\n")));
    assert_int_equal(gone_count(&g), 0);
    exchange_end(x);
    assert_true(wire_send(&w, STR("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")));
    must_read(&w, "\"n\":0");
    assert_null(strstr(w.got, "data: 1"));
    wire_close(&w);
    site_close(s);
}

/* ---- leaving --------------------------------------------------------------------------------- */

typedef enum Way { BY_CLOSE, BY_RESET, WAYS } Way;

static void leave(Wire *w, Way way) {
    const struct linger now = {1, 0};
    if (way == BY_RESET) setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    wire_close(w);
}

static void a_client_that_leaves_is_noticed(void **state) {
    (void)state;
    static Wire w;
    double worst = 0;
    for (int tls = 0; tls < 2; tls++) {
        Site *s = site_open(&(SiteSpec){.tls = tls});
        for (int i = 0; i < 20; i++) {
            Exchange *x = stream_open(s, &w);
            Gone g = {monitor_new(exchange_arena(x)), 0, 0};
            exchange_on_gone(x, gone_note, &g);
            must_read(&w, "\r\n\r\n");
            if (i % 4 >= 2) {
                assert_true(exchange_write(x, STR("data: 1\n\n")));
                must_read(&w, "data: 1");
            }
            os_sleep(0.01);
            const double from = os_now();
            leave(&w, (Way)(i % WAYS));
            worst = MAX(worst, gone_after(&g, from));
            assert_false(exchange_write(x, STR("data: 2\n\n")));
            exchange_end(x);
            assert_int_equal(g.n, 1);
        }
        site_close(s);
    }
    printf("# a client that left was noticed after %.4f s at the latest\n", worst);
    assert_true(worst < SOON);
}

/* One that waits for a whole answer: a reset is noticed at once, an end when it is asked. */
static void one_that_waits_is_noticed(void **state) {
    (void)state;
    static Wire w;
    Site *s = site_open(&(SiteSpec){0});
    for (int i = 0; i < 6; i++) {
        wire_open(&w, s);
        assert_true(
            wire_send(&w, STR("POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")));
        Exchange *x = site_taken(s);
        Gone g = {monitor_new(exchange_arena(x)), 0, 0};
        exchange_on_gone(x, gone_note, &g);
        os_sleep(0.01);
        const double from = os_now();
        leave(&w, (Way)(i % WAYS));
        const double after = gone_after(&g, from);
        assert_true(after < (i % WAYS == BY_RESET ? SOON : SOON + 1));
        Gone late = {g.m, 0, 0};
        exchange_on_gone(x, gone_note, &late); /* at once */
        assert_int_equal(late.n, 1);
        exchange_answer(x, 200, "application/json", STR("{}"));
    }
    site_close(s);
}

static void a_half_close_does_not_cancel(void **state) {
    (void)state;
    static Wire w;
    Site *s = site_open(&(SiteSpec){0});
    Exchange *x = stream_open(s, &w);
    Gone g = {monitor_new(exchange_arena(x)), 0, 0};
    exchange_on_gone(x, gone_note, &g);
    must_read(&w, "\r\n\r\n");
    assert_true(exchange_write(x, STR("data: 1\n\n")));
    shutdown(w.fd, SHUT_WR);
    must_read(&w, "\r\n: \n\n\r\n"); /* the question whether it still reads */
    os_sleep(0.5);
    assert_int_equal(gone_count(&g), 0);
    assert_true(exchange_write(x, STR("data: 2\n\n")));
    must_read(&w, "data: 2\n\n");
    exchange_end(x);
    must_read(&w, "\r\n0\r\n\r\n");
    wire_close(&w);
    /* Before the stream begins, and for a whole answer. */
    wire_open(&w, s);
    assert_true(wire_send(&w, STR(STREAM)));
    shutdown(w.fd, SHUT_WR);
    x = site_taken(s);
    os_sleep(0.05);
    exchange_begin(x, 200, "text/event-stream");
    assert_true(exchange_write(x, STR("data: 3\n\n")));
    exchange_end(x);
    must_read(&w, "data: 3\n\n");
    wire_close(&w);
    wire_open(&w, s);
    assert_true(wire_send(&w, STR("GET /late HTTP/1.1\r\nHost: x\r\n\r\n")));
    shutdown(w.fd, SHUT_WR);
    x = site_taken(s);
    os_sleep(1);
    exchange_answer(x, 200, "application/json", STR("{\"late\":1}"));
    must_read(&w, "{\"late\":1}");
    assert_true(str_starts(str_of(w.got), STR("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")));
    wire_close(&w);
    site_close(s);
}

static void one_that_does_not_read_is_dropped(void **state) {
    (void)state;
    static Wire w;
    enum { OUT = 64 << 10, EVENT = 1000 };
    char event[EVENT + 1];
    memset(event, 'e', EVENT);
    memcpy(event + EVENT - 2, "\n\n", 3);
    Site *s = site_open(&(SiteSpec){.out_bytes = OUT});
    Exchange *x = stream_open(s, &w);
    const double from = os_now();
    int64_t written = 0;
    while (exchange_write(x, (Str){event, EVENT}) && os_now() - from < 20) written += EVENT;
    assert_false(exchange_write(x, STR("data: 1\n\n")));
    assert_true(written >= OUT - EVENT - 4); /* the bound is meant, and what the system takes */
    assert_true(written < 64 * OUT);
    assert_true(arena_peak(exchange_arena(x)) < 3 * OUT + (64 << 10));
    exchange_end(x);
    while (server_connections(site_http(s)) && os_now() - from < 20) os_sleep(0.01);
    assert_int_equal(server_connections(site_http(s)), 0);
    wire_close(&w);
    /* One that reads gets as much as it likes. */
    x = stream_open(s, &w);
    for (int i = 0; i < 2000; i++) {
        assert_true(exchange_write(x, (Str){event, EVENT}));
        if (i % 20 < 19) continue;
        assert_true(exchange_write(x, STR("data: next\n\n")));
        must_read(&w, "data: next\n\n");
        w.n = 0, w.got[0] = 0;
    }
    exchange_end(x);
    wire_close(&w);
    site_close(s);
}

/* ---- many ------------------------------------------------------------------------------------ */

static int64_t wires_possible(void) {
    struct rlimit r;
    getrlimit(RLIMIT_NOFILE, &r);
    const int64_t half = ((int64_t)r.rlim_cur - 300) / 2; /* both ends are ours */
    const int64_t wanted = full_run() ? 9800 : 1000;
    return MIN(wanted, half);
}

static void idle_streams(void **state) {
    (void)state;
    enum { MOST = 10000 };
    static Wire one;
    static int fd[MOST];
    static Exchange *x[MOST];
    const int64_t n = wires_possible();
    Site *s = site_open(&(SiteSpec){.connections = n + 50, .out_bytes = 256 << 10, .queue = 1000});
    for (int i = 0; i < 50; i++) { /* what is made once */
        Exchange *warm = stream_open(s, &one);
        exchange_end(warm);
        wire_close(&one);
    }
    const int64_t before = os_memory_now();
    const double from = os_now();
    for (int64_t i = 0; i < n; i++) {
        x[i] = stream_open(s, &one);
        fd[i] = one.fd;
        assert_true(exchange_write(x[i], STR("data: 1\n\n")));
        must_read(&one, "data: 1");
    }
    const double took = os_now() - from;
    const double each = (double)(os_memory_now() - before) / (double)n;
    double slowest = 0;
    for (int i = 0; i < 20; i++) { /* beside them all */
        const double began = os_now();
        wire_open(&one, s);
        assert_true(wire_send(&one, STR("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")));
        must_read(&one, "\"n\":0");
        wire_close(&one);
        slowest = MAX(slowest, os_now() - began);
    }
    const double all = os_now();
    for (int64_t i = 0; i < n; i++) assert_true(exchange_write(x[i], STR("data: 2\n\n")));
    printf("# %lld idle streams: %.0f bytes each, opened in %.2f s; the slowest GET of 20 %.1f ms; "
           "an event for all %.3f s\n",
           (long long)n, each, took, 1e3 * slowest, os_now() - all);
    for (int64_t i = 0; i < n; i++) exchange_end(x[i]), close(fd[i]);
    const double until = os_now() + 30;
    while (server_connections(site_http(s)) && os_now() < until) os_sleep(0.01);
    assert_int_equal(server_connections(site_http(s)), 0);
    if (memory_is_own()) assert_true(each < 40 << 10);
    site_close(s);
}

/* Clients that read, leave, half-close and never read, all at once; four threads write. */
enum { CROWD = 24, WRITERS = 4 };
typedef struct Crowd {
    Site *s;
    uint64_t seed;
} Crowd;

static void *crowd_write(void *arg) {
    const Crowd *c = arg;
    Exchange *x;
    for (int64_t i = 0; (x = site_next(c->s)); i++) {
        Gone g = {monitor_new(exchange_arena(x)), 0, 0};

        const uint32_t how = philox(c->seed, i, 3).w[0];
        exchange_on_gone(x, gone_note, &g);
        if (how % 4 == 0) {
            exchange_answer(x, 200, "application/json", STR("{}"));
            continue;
        }
        exchange_begin(x, 200, "text/event-stream");
        for (uint32_t k = 0; k < how / 4 % 50 && exchange_write(x, STR("data: {\"x\":1}\n\n")); k++)
            if (k % 8 == 0) os_sleep(0.0005);
        exchange_end(x);
        CHECK(g.n <= 1);
    }
    return NULL;
}

static void a_crowd(void **state) {
    (void)state;
    static Wire w;
    enum { REQUESTS = 400 };
    Site *s = site_open(&(SiteSpec){.connections = 2000, .out_bytes = 4096, .queue = 1000});
    pthread_t thread[WRITERS];
    Crowd c[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        c[i] = (Crowd){s, (uint64_t)i};
        assert_int_equal(pthread_create(&thread[i], NULL, crowd_write, &c[i]), 0);
    }
    for (int64_t i = 0; i < REQUESTS; i++) {
        const uint32_t how = philox(99, i, 0).w[0] % 5;
        wire_open(&w, s);
        assert_true(wire_send(&w, STR(STREAM)));
        if (how == 1) shutdown(w.fd, SHUT_WR);
        if (how >= 2) wire_wait(&w, how == 2 ? "data" : how == 3 ? "\r\n0\r\n\r\n" : NULL, 0.005);
        leave(&w, (Way)(i % WAYS));
    }
    site_last(s);
    for (int i = 0; i < WRITERS; i++) pthread_join(thread[i], NULL);
    const double until = os_now() + 30;
    for (int64_t i = 1; server_connections(site_http(s)) && os_now() < until; i++) {
        os_sleep(0.01);
        if (i % 100) continue; /* what the library has overlooked goes with the next that comes */
        wire_open(&w, s);
        leave(&w, BY_CLOSE);
    }
    assert_int_equal(server_connections(site_http(s)), 0);
    site_close(s);
}

int test_streams(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_arrive_one_by_one),
        cmocka_unit_test(a_long_piece_ends_it),
        cmocka_unit_test(old_and_headless_clients),
        cmocka_unit_test(a_client_that_leaves_is_noticed),
        cmocka_unit_test(one_that_waits_is_noticed),
        cmocka_unit_test(a_half_close_does_not_cancel),
        cmocka_unit_test(one_that_does_not_read_is_dropped),
        cmocka_unit_test(idle_streams),
        cmocka_unit_test(a_crowd),
    };
    return cmocka_run_group_tests_name("serve streams", tests, NULL, NULL);
}
