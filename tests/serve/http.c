/* http.c -- tests of whole answers: deadlines, limits, the queue, addresses, draining, closing. */
#define _GNU_SOURCE
#include "tests.h"
#include <sys/socket.h>
#include <unistd.h>

#define GET "GET /a HTTP/1.1\r\nHost: x\r\n"

static void must_read(Wire *w, const char *text) {
    if (!wire_wait(w, text, 20)) fail_msg("wanted %s; read: %.600s", text, w->got);
}

/* ---- what an answer has ---------------------------------------------------------------------- */

static void headers_of_answers(void **state) {
    (void)state;
    static Wire w;
    Site *s = site_open(&(SiteSpec){0});
    wire_open(&w, s);
    assert_true(wire_send(&w, STR(GET "X-KEY: secret\r\n\r\n")));
    must_read(&w, "\"key\":\"secret\"}");
    assert_non_null(strstr(w.got, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(w.got, "X-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(w.got, "Cache-Control: no-store\r\n"));
    assert_null(strstr(w.got, "\r\nServer:"));
    assert_null(strstr(w.got, "\r\nConnection: close"));
    wire_close(&w);
    wire_open(&w, s);
    assert_true(wire_send(&w, STR("GET /a HTTP/1.0\r\n\r\n")));
    must_read(&w, "\"key\":\"\"}");
    wire_wait(&w, NULL, 20);
    assert_true(w.closed);
    wire_close(&w);
    wire_open(&w, s);
    assert_true(wire_send(&w, STR("BREW /a HTTP/1.1\r\nHost: x\r\n\r\n")));
    wire_wait(&w, NULL, 20);
    assert_true(w.closed);
    assert_non_null(strstr(w.got, "\r\nConnection: close\r\n"));
    assert_non_null(strstr(w.got, "{\"error\":400,\"message\":\"The method"));
    wire_close(&w);
    site_close(s);
}

static void head_has_no_body(void **state) {
    (void)state;
    static Wire w;
    Site *s = site_open(&(SiteSpec){0});
    wire_open(&w, s);
    assert_true(wire_send(&w, STR("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n" GET "\r\n")));
    must_read(&w, "\"n\":0");
    assert_int_equal(wire_count(&w, "HTTP/1.1 200 OK"), 2);
    assert_int_equal(wire_count(&w, "\"n\":0"), 1);
    assert_int_equal(wire_count(&w, "Content-Length: "), 2);
    wire_close(&w);
    site_close(s);
}

/* 31 KB in 100 headers pass, and can be answered; a little more does not. */
static void large_heads(void **state) {
    (void)state;
    static Wire w;
    Arena *a = arena_open("heads", 1 << 20);
    Site *s = site_open(&(SiteSpec){0});
    for (int more = 0; more < 2; more++) {
        Buf b = {.a = a};
        buf_add(&b, STR(GET));
        for (int i = 0; i < 99; i++) buf_fmt(&b, "X-%02d: %0*d\r\n", i, 315 + 20 * more, i);
        buf_add(&b, STR("\r\n"));
        assert_true(b.n > 31 << 10);
        wire_open(&w, s);
        assert_true(wire_send(&w, buf_str(&b)));
        must_read(&w, more ? "HTTP/1.1 431 " : "\"n\":0");
        wire_close(&w);
    }
    site_close(s);
    arena_close(a);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static bool send_body(Wire *w, const char *head, int64_t n, bool chunked) {
    static char part[4096];
    bool fine = wire_send(w, str_of(head));
    memset(part, 'a', sizeof part);
    for (int64_t at = 0; fine && at < n; at += (int64_t)sizeof part) {
        fine = (!chunked || wire_send(w, STR("1000\r\n")))
               && wire_send(w, (Str){part, (int64_t)sizeof part})
               && (!chunked || wire_send(w, STR("\r\n")));
    }
    return fine && (!chunked || wire_send(w, STR("0\r\n\r\n")));
}

static void large_bodies(void **state) {
    (void)state;
    static Wire w;
    enum { MOST = 256 << 10 };
    static const char length[] = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n";
    static const char chunked[] =
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    char head[200];
    for (int tls = 0; tls < 2; tls++) {
        Site *s = site_open(&(SiteSpec){.body_bytes = MOST, .tls = tls});
        wire_open(&w, s);
        snprintf(head, sizeof head, length, MOST);
        assert_true(send_body(&w, head, MOST, false));
        must_read(&w, "\"n\":262144,");
        w.n = 0;
        assert_true(send_body(&w, chunked, MOST, true));
        must_read(&w, "\"n\":262144,");
        w.n = 0;
        /* Read to its end, and forgotten. */
        assert_true(send_body(&w, chunked, MOST + 4096, true));
        must_read(&w, "HTTP/1.1 413 ");
        wire_close(&w);
        /* The client sends all of it before it looks for an answer, which is there nevertheless. */
        wire_open(&w, s);
        snprintf(head, sizeof head, length, 900 << 10);
        assert_true(send_body(&w, head, 900 << 10, false));
        must_read(&w, "HTTP/1.1 413 ");
        wire_wait(&w, NULL, 20);
        assert_true(w.closed);
        wire_close(&w);
        /* It never ends. */
        wire_open(&w, s);
        assert_false(send_body(&w, chunked, (int64_t)1 << 32, true));
        wire_close(&w);
        site_close(s);
    }
}

/* On one path they may be larger, and take nothing of what the others have. */
static void larger_bodies(void **state) {
    (void)state;
    enum { MOST = 16 << 10, LARGE = 1 << 20, HOLDERS = 3 };
    static Wire w[HOLDERS + 1];
    static const char length[] = "POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n";
    static const char chunked[] =
        "POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    char head[200];
    Site *s = site_open(&(SiteSpec){.body_bytes = MOST, .large_bytes = LARGE});
    for (int i = 0; i < 3;
         i++) { /* a larger one, one that is too large, and one for another path */
        static const char *const want[] = {"\"n\":1048576,", "HTTP/1.1 413 ", "HTTP/1.1 413 "};
        const int n = i == 1 ? LARGE + 4096 : LARGE;
        wire_open(&w[0], s);
        snprintf(head, sizeof head, length, i == 2 ? "a" : "b", n);
        (void)send_body(&w[0], head, n, false);
        must_read(&w[0], want[i]);
        wire_close(&w[0]);
    }
    wire_open(&w[0], s);
    assert_true(send_body(&w[0], chunked, LARGE + 4096, true));
    must_read(&w[0], "HTTP/1.1 413 ");
    wire_close(&w[0]);
    /* As many as there is room for, but for their last bytes: once they have been read, one more is
     * refused (or one of them, if that came in between), and others are taken as ever. */
    snprintf(head, sizeof head, length, "b", LARGE);
    for (int i = 0; i < HOLDERS; i++) {
        wire_open(&w[i], s);
        assert_true(send_body(&w[i], head, LARGE - 4096, false));
    }
    int refused = 0;
    for (int tries = 0; !refused && tries < 100; tries++) {
        wire_open(&w[HOLDERS], s);
        assert_true(send_body(&w[HOLDERS], head, LARGE, false));
        must_read(&w[HOLDERS], "\r\n\r\n");
        refused = wire_count(&w[HOLDERS], "HTTP/1.1 503 ") > 0;
        wire_close(&w[HOLDERS]);
    }
    wire_open(&w[HOLDERS], s);
    snprintf(head, sizeof head, length, "a", MOST);
    assert_true(send_body(&w[HOLDERS], head, MOST, false));
    must_read(&w[HOLDERS], "\"n\":16384,");
    for (int i = 0; i < HOLDERS; i++) {
        static const char last[4096];
        assert_true(wire_send(&w[i], (Str){last, sizeof last}));
        must_read(&w[i], "\r\n\r\n");
        refused += wire_count(&w[i], "HTTP/1.1 503 ") > 0;
    }
    assert_true(refused >= 1);
    for (int i = 0; i <= HOLDERS; i++) wire_close(&w[i]);
    site_close(s);
}

/* All bodies that are held at a time are bounded together. */
static void many_bodies(void **state) {
    (void)state;
    enum { MOST = 64 << 10, WIRES = 24 };
    static Wire w[WIRES];
    Arena *a = arena_open("bodies", 1 << 20);
    const Str head =
        str_fmt(a, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", (int)MOST);
    Site *s = site_open(&(SiteSpec){.body_bytes = MOST, .queue = WIRES});
    int64_t served = 0, refused = 0;
    for (int i = 0; i < WIRES; i++) {
        wire_open(&w[i], s);
        (void)send_body(&w[i], head.p, MOST, false);
    }
    for (const double from = os_now(); refused < WIRES - 16 && os_now() - from < 20;) {
        refused = 0;
        for (int i = 0; i < WIRES; i++) refused += wire_wait(&w[i], "HTTP/1.1 503 ", 0.001);
    }
    site_go(s);
    for (int i = 0; i < WIRES; i++) {
        must_read(&w[i], "\r\n\r\n");
        if (!wire_count(&w[i], "HTTP/1.1 503 ")) must_read(&w[i], "\"n\":65536"), served++;
        wire_close(&w[i]);
    }
    /* A body takes room for up to twice its bytes while it comes, so between half of 16 and 16. */
    assert_true(refused >= WIRES - 16);
    assert_in_range(served, 8, 16);
    site_close(s);
    arena_close(a);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

/* Sends `first`, then `drip` every 50 ms; after how many seconds the server closes. */
static double drip_until_closed(Site *s, Str first, Str drip, bool plain) {
    static Wire w;
    (plain ? wire_plain : wire_open)(&w, s);
    const double from = os_now();
    bool open = wire_send(&w, first);
    while (open && !w.closed && os_now() - from < 20) {
        open = wire_send(&w, drip);
        wire_wait(&w, NULL, 0.05);
    }
    wire_close(&w);
    return os_now() - from;
}

static void between(double x, double lo, double hi) {
    if (x < lo || x > hi) fail_msg("closed after %.2f s, not within %.2f to %.2f", x, lo, hi);
}

static void absolute_deadlines(void **state) {
    (void)state;
    static Wire w;
    const SiteSpec spec = {.head_seconds = 0.6, .body_seconds = 0.9, .idle_seconds = 0.4};
    const Str body = STR("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n");
    const double slack = 2;
    for (int tls = 0; tls < 2; tls++) {
        SiteSpec wanted = spec;
        wanted.tls = tls;
        Site *s = site_open(&wanted);
        between(drip_until_closed(s, STR(GET), STR("X: a\r\n"), false), 0.5, 0.6 + slack);
        between(drip_until_closed(s, STR(""), STR(""), true), 0.5, 0.6 + slack);
        if (!tls) /* which TLS itself would refuse at once */
            between(drip_until_closed(s, STR("\x16\x03\x01"), STR("\0"), true), 0.5, 0.6 + slack);
        between(drip_until_closed(s, body, STR("a"), false), 0.8, 0.9 + slack);
        between(drip_until_closed(s, STR(GET "\r\n"), STR(""), false), 0.4, 0.4 + slack);
        /* Who waits for an answer has no deadline. */
        wire_open(&w, s);
        assert_true(wire_send(&w, STR("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")));
        wire_wait(&w, NULL, 1.5);
        assert_false(w.closed);
        site_go(s);
        must_read(&w, "\"n\":0");
        wire_close(&w);
        site_close(s);
    }
}

/* A whole answer that is not read ends, too. */
static void an_answer_is_read_in_time(void **state) {
    (void)state;
    static Wire w;
    enum { ANSWER = 320 << 10 }; /* more than the system takes */
    Site *s = site_open(&(SiteSpec){.body_seconds = 0.3});
    Arena *a = arena_open("answer", ANSWER + 4096);
    wire_open(&w, s);
    const double from = os_now();
    assert_true(wire_send(&w, STR("GET /late HTTP/1.1\r\nHost: x\r\n\r\n")));
    Exchange *x = site_taken(s);
    exchange_answer(x, 200, "application/json", (Str){arena_push(a, ANSWER), ANSWER});
    while (server_connections(site_http(s)) && os_now() - from < 20) os_sleep(0.02);
    assert_int_equal(server_connections(site_http(s)), 0);
    wire_close(&w);
    site_close(s);
    arena_close(a);
}

/* ---- the queue ------------------------------------------------------------------------------- */

static void a_full_queue_refuses_at_once(void **state) {
    (void)state;
    static Wire w[5];
    Site *s = site_open(&(SiteSpec){.workers = 1, .queue = 2});
    for (int i = 0; i < 5; i++) {
        wire_open(&w[i], s);
        assert_true(wire_send(&w[i], STR("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")));
        if (i == 0) os_sleep(0.2); /* the worker takes it */
    }
    double from = os_now();
    int64_t refused = 0;
    for (int i = 0; i < 5; i++)
        if (wire_wait(&w[i], "HTTP/1.1 503 ", 0.5)) {
            refused++;
            must_read(&w[i], "{\"error\":503");
            assert_non_null(strstr(w[i].got, "Retry-After: "));
            assert_null(strstr(w[i].got, "Connection: close"));
            assert_true(wire_send(&w[i], STR(GET "\r\n"))); /* and goes on: refused once more */
        }
    assert_true(os_now() - from < 3);
    assert_int_equal(refused, 2);
    site_go(s);
    for (int i = 0; i < 5; i++) {
        if (!wire_count(&w[i], " 503 ")) must_read(&w[i], "\"path\":\"/slow\"");
        wire_close(&w[i]);
    }
    site_close(s);
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void ask(Site *s) {
    static Wire w;
    wire_open(&w, s);
    assert_true(wire_send(&w, STR(GET "\r\n")));
    must_read(&w, "\"n\":0");
    wire_close(&w);
}

static void addresses(void **state) {
    (void)state;
    Arena *a = arena_open("addresses", 1 << 20);
    const char *path = str_fmt(a, "%s/lisao-%d.socket",
                               os_env("TMPDIR") ? os_env("TMPDIR") : P_tmpdir, (int)getpid())
                           .p;
    Site *s = site_open(&(SiteSpec){0});
    assert_string_equal(
        server_address(site_http(s)),
        str_fmt(a, "http://127.0.0.1:%lld", (long long)server_port(site_http(s))).p);
    ask(s);
    /* The port is taken now. */
    Err err = {0};
    ServerSpec second = {.host = "127.0.0.1", .port = server_port(site_http(s))};
    int fd;
    assert_false(net_listen(&fd, second.host, second.port, &err));
    assert_non_null(strstr(err.msg, "port 0 takes a free one"));
    site_close(s);
    for (int i = 0; i < 2; i++) { /* the second time over what a killed server left */
        s = site_open(&(SiteSpec){.unix_path = path});
        ask(s);
        assert_false(net_listen_unix(&fd, path, &(Err){0})); /* somebody listens */
        site_close(s);
        assert_false(os_exists(path));
        if (i == 0) {
            must(net_listen_unix(&fd, path, &err), &err);
            net_close(fd);
        }
    }
    assert_false(net_listen(&fd, "example.org", 0, &(Err){0}));
    must(net_listen(&fd, "127.0.0.1", 0, &err), &err);
    must(net_adopt(fd, &err), &err);
    net_close(fd);
    assert_false(net_adopt(fd, &(Err){0}));
    if (net_listen(&fd, "::1", 0, &(Err){0})) {
        net_close(fd);
        s = site_open(&(SiteSpec){.host = "::1"});
        assert_true(str_starts(str_of(server_address(site_http(s))), STR("http://[::1]:")));
        ask(s);
        site_close(s);
    }
    arena_close(a);
}

static void bad_certificates_are_an_error(void **state) {
    (void)state;
    Arena *a = arena_open("tls", 1 << 20);
    const char *path =
        str_fmt(a, "%s/lisao-%d.pem", os_env("TMPDIR") ? os_env("TMPDIR") : P_tmpdir, (int)getpid())
            .p;
    Err err = {0};
    must(os_put(a, path, STR("no certificate"), &err), &err);
    Site *s = site_open(&(SiteSpec){0}); /* for its handler */
    const int64_t files = files_open(), threads = threads_running();
    ServerSpec spec = {.host = "127.0.0.1",
                       .tls_cert = path,
                       .tls_key = path,
                       .connections = 4,
                       .body_bytes = 1000,
                       .out_bytes = 1000,
                       .workers = 1,
                       .queue = 1,
                       .handler = (void (*)(void *, Exchange *))(uintptr_t)1};
    Server *h;
    assert_false(server_open(&h, a, &spec, &err));
    assert_non_null(strstr(err.msg, "must be a certificate and its key"));
    assert_int_equal(files_open(), files);
    assert_int_equal(threads_running(), threads);
    site_close(s);
    assert_true(os_remove(path, &err));
    arena_close(a);
}

static void again(Site *s, bool changes) {
    bool differs;
    Err err = {0};
    must(server_certificate(site_http(s), &differs, &err), &err);
    assert_int_equal(differs, changes);
}

/* A new certificate is shown from then on; who was there goes on by the old one. */
static void certificates_are_renewed(void **state) {
    (void)state;
    static Wire old, new;
    char first[65], second[65], third[65];
    Site *s = site_open(&(SiteSpec){.tls = true});
    wire_open(&old, s);
    wire_certificate(&old, first);
    again(s, false);
    site_certificate(s);
    again(s, true);
    wire_open(&new, s);
    wire_certificate(&new, second);
    assert_string_not_equal(first, second);
    assert_true(wire_send(&old, STR(GET "\r\n")) && wire_send(&new, STR(GET "\r\n")));
    must_read(&old, "\"n\":0");
    must_read(&new, "\"n\":0");
    wire_close(&new);
    /* What is none changes nothing. */
    char path[200];
    bool differs;
    Err err = {0};
    snprintf(path, sizeof path, "%s/key.pem", site_folder(s));
    assert_int_equal(truncate(path, 20), 0);
    assert_false(server_certificate(site_http(s), &differs, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    wire_open(&new, s);
    wire_certificate(&new, third);
    assert_string_equal(second, third);
    wire_close(&new);
    wire_close(&old);
    site_close(s);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void draining(void **state) {
    (void)state;
    static Wire idle, busy;
    Site *s = site_open(&(SiteSpec){0});
    wire_open(&idle, s);
    assert_true(wire_send(&idle, STR(GET "\r\n")));
    must_read(&idle, "\"n\":0");
    wire_open(&busy, s);
    assert_true(wire_send(&busy, STR("GET /late HTTP/1.1\r\nHost: x\r\n\r\n")));
    Exchange *x = site_taken(s);
    server_drain(site_http(s));
    wire_wait(&idle, NULL, 5);
    assert_true(idle.closed);
    for (const double from = os_now(); server_connections(site_http(s)) > 1;) {
        if (os_now() - from > 20) fail_msg("the idle connection is still there");
        os_sleep(0.001);
    }
    Err err = {0};
    int fd; /* nobody listens any more, so the port is free */
    must(net_listen(&fd, "127.0.0.1", server_port(site_http(s)), &err), &err);
    net_close(fd);
    exchange_answer(x, 200, "application/json", STR("{\"late\":1}"));
    must_read(&busy, "{\"late\":1}");
    assert_non_null(strstr(busy.got, "Connection: close"));
    wire_wait(&busy, NULL, 5);
    assert_true(busy.closed);
    wire_close(&idle), wire_close(&busy);
    site_close(s);
}

static void nothing_stays(void **state) {
    (void)state;
    static Wire w[6];
    site_close(site_open(&(SiteSpec){.tls = true})); /* what libraries keep from the first time */
    const int64_t files = files_open(), threads = threads_running();
    for (int tls = 0; tls < 2; tls++) {
        Site *s = site_open(&(SiteSpec){.tls = tls});
        for (int i = 0; i < 6; i++) wire_open(&w[i], s);
        assert_true(wire_send(&w[0], STR(GET "\r\n")));
        assert_true(wire_send(&w[1], STR("BREW / HTTP/1.1\r\n\r\nxxxx"))); /* lingers */
        assert_true(
            wire_send(&w[2], STR("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na")));
        assert_true(wire_send(&w[3], STR("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")));
        assert_true(wire_send(&w[4], STR("GET /late HTTP/1.1\r\nHost: x\r\n\r\n")));
        must_read(&w[0], "\"n\":0");
        must_read(&w[1], "HTTP/1.1 400 ");
        for (int i = 0; i < 2; i++) {
            Exchange *x = site_taken(s);
            exchange_begin(x, 200, "text/event-stream");
            exchange_write(x, STR("data: 1\n\n"));
            exchange_end(x);
        }
        site_close(s);
        for (int i = 0; i < 6; i++) wire_close(&w[i]);
    }
    assert_int_equal(files_open(), files);
    assert_int_equal(threads_running(), threads);
}

int test_http(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_of_answers),
        cmocka_unit_test(head_has_no_body),
        cmocka_unit_test(large_heads),
        cmocka_unit_test(large_bodies),
        cmocka_unit_test(larger_bodies),
        cmocka_unit_test(many_bodies),
        cmocka_unit_test(absolute_deadlines),
        cmocka_unit_test(an_answer_is_read_in_time),
        cmocka_unit_test(a_full_queue_refuses_at_once),
        cmocka_unit_test(addresses),
        cmocka_unit_test(bad_certificates_are_an_error),
        cmocka_unit_test(certificates_are_renewed),
        cmocka_unit_test(draining),
        cmocka_unit_test(nothing_stays),
    };
    return cmocka_run_group_tests_name("serve http", tests, NULL, NULL);
}
