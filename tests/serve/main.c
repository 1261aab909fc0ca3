/* main.c -- runs the groups of tests of serve/, and has the server and the client for them. */
#define _GNU_SOURCE
#include "tests.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* ---- a certificate --------------------------------------------------------------------------- */

static void pem_write(const char *path, const gnutls_datum_t *pem) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(pem->data, 1, pem->size, f), pem->size);
    assert_int_equal(fclose(f), 0);
}

/* Signed by itself, in folder/cert.pem and folder/key.pem. */
static void certificate_make(Arena *a, const char *folder) {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem;
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    const unsigned bits = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);
    assert_int_equal(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, bits, 0), 0);
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, "\1", 1);
    gnutls_x509_crt_set_activation_time(crt, time(NULL) - 60);
    gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 86400);
    gnutls_x509_crt_set_key(crt, key);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), 0);
    pem_write(str_fmt(a, "%s/cert.pem", folder).p, &pem);
    gnutls_free(pem.data);
    assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem), 0);
    pem_write(str_fmt(a, "%s/key.pem", folder).p, &pem);
    gnutls_free(pem.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

/* ---- the server ------------------------------------------------------------------------------ */

struct Site {
    Arena *arena;
    Server *http;
    ServerSpec spec;
    SiteSpec wanted;
    char folder[256];
    Queue *taken;
    Monitor *gate;
    bool go, last;
};

static void echo(Exchange *x) {
    const Str key = exchange_header(x, "x-key"), path = exchange_path(x);
    const bool known = str_eq(path, STR("/a")) || str_eq(path, STR("/b")) || str_eq(path, STR("*"))
                       || str_eq(path, STR("/slow"));
    const Str body = str_fmt(exchange_arena(x), "{\"path\":\"%.*s\",\"n\":%lld,\"key\":\"%.*s\"}",
                             STRF(path), (long long)exchange_body(x).n, STRF(key));
    exchange_answer(x, known ? 200 : 404, "application/json", body);
}

static void handle(void *arg, Exchange *x) {
    Site *s = arg;
    const Str path = exchange_path(x);
    if (str_eq(path, STR("/stream")) || str_eq(path, STR("/late"))) {
        CHECK(queue_try_push(s->taken, &x));
        return;
    }
    if (str_eq(path, STR("/slow"))) {
        monitor_enter(s->gate);
        while (!s->go) monitor_wait(s->gate);
        monitor_leave(s->gate);
    }
    echo(x);
}

static Str refused(void *arg, Exchange *x, int64_t status, const char *why) {
    (void)arg;
    return str_fmt(exchange_arena(x), "{\"error\":%lld,\"message\":\"%s\"}", (long long)status,
                   why);
}

static bool is_b(Str path) { return str_eq(path, STR("/b")); }

static void defaults(ServerSpec *h, const SiteSpec *o) {
    if (o->large_bytes) h->is_large = is_b, h->large_bytes = o->large_bytes;
    h->head_seconds = o->head_seconds > 0 ? o->head_seconds : 10;
    h->body_seconds = o->body_seconds > 0 ? o->body_seconds : 10;
    h->idle_seconds = o->idle_seconds > 0 ? o->idle_seconds : 10;
    h->connections = o->connections ? o->connections : 64;
    h->body_bytes = o->body_bytes ? o->body_bytes : 1 << 20;
    h->out_bytes = o->out_bytes ? o->out_bytes : 64 << 10;
    h->workers = o->workers ? o->workers : 2;
    h->queue = o->queue ? o->queue : 16;
    h->unix_path = o->unix_path;
    h->host = o->unix_path ? NULL : o->host ? o->host : "127.0.0.1";
}

const char *site_folder(const Site *s) { return s->folder; }
void site_certificate(Site *s) { certificate_make(s->arena, s->folder); }

Site *site_open(const SiteSpec *o) {
    enum { TAKEN = 1 << 14 };
    static const char *const names[] = {"x"};
    need_native(); /* deadlines of tenths of a second */
    Arena *a = arena_open("site", (int64_t)1 << 30);
    Site *s = PUSH(a, Site, 1);
    *s = (Site){.arena = a, .wanted = *o};
    s->taken = queue_new(a, TAKEN, sizeof(Exchange *));
    s->gate = monitor_new(a);
    s->spec = (ServerSpec){
        .names = names, .n_names = COUNT(names), .handler = handle, .refused = refused, .arg = s};
    defaults(&s->spec, o);
    if (o->tls) {
        const char *base = os_env("TMPDIR");
        snprintf(s->folder, sizeof s->folder, "%s/lisao-serve-XXXXXX", base ? base : P_tmpdir);
        assert_non_null(mkdtemp(s->folder));
        certificate_make(a, s->folder);
        s->spec.tls_cert = str_fmt(a, "%s/cert.pem", s->folder).p;
        s->spec.tls_key = str_fmt(a, "%s/key.pem", s->folder).p;
    }
    Err err = {0};
    must(server_open(&s->http, a, &s->spec, &err), &err);
    return s;
}

void site_close(Site *s) {
    site_go(s);
    server_close(s->http);
    if (*s->folder) tree_remove(s->arena, s->folder);
    arena_close(s->arena);
}

Server *site_http(Site *s) { return s->http; }

Exchange *site_taken(Site *s) {
    Exchange *x = NULL;
    if (queue_pop(s->taken, &x, 20) != QUEUE_ITEM) fail_msg("no request came");
    return x;
}

Exchange *site_next(Site *s) {
    Exchange *x;
    for (;;) {
        if (queue_pop(s->taken, &x, 1) == QUEUE_ITEM) return x;
        monitor_enter(s->gate);
        const bool last = s->last;
        monitor_leave(s->gate);
        if (last) return NULL;
    }
}

void site_last(Site *s) {
    monitor_enter(s->gate);
    s->last = true;
    monitor_leave(s->gate);
}

void site_go(Site *s) {
    monitor_enter(s->gate);
    s->go = true;
    monitor_wake(s->gate);
    monitor_leave(s->gate);
}

/* ---- the client ------------------------------------------------------------------------------ */

static int dial(Site *s) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)server_port(s->http))};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK), v6.sin6_addr = in6addr_loopback;
    const bool six = s->wanted.host && strchr(s->wanted.host, ':');
    if (s->wanted.unix_path) snprintf(un.sun_path, sizeof un.sun_path, "%s", s->wanted.unix_path);
    const int family = s->wanted.unix_path ? AF_UNIX : six ? AF_INET6 : AF_INET;
    const struct sockaddr *at = s->wanted.unix_path ? (void *)&un : six ? (void *)&v6 : (void *)&v4;
    const socklen_t size = s->wanted.unix_path ? sizeof un : six ? sizeof v6 : sizeof v4;
    const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    assert_true(fd >= 0);
    if (connect(fd, at, size) < 0) fail_msg("connecting: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void wire_plain(Wire *w, Site *s) {
    w->fd = dial(s);
    w->tls = NULL, w->n = 0, w->closed = false, w->got[0] = 0;
}

static gnutls_certificate_credentials_t trust; /* in anyone */

void wire_open(Wire *w, Site *s) {
    gnutls_session_t tls;
    int code;
    wire_plain(w, s);
    if (!s->wanted.tls) return;
    assert_int_equal(gnutls_init(&tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL), 0);
    gnutls_set_default_priority(tls);
    gnutls_credentials_set(tls, GNUTLS_CRD_CERTIFICATE, trust);
    gnutls_transport_set_int(tls, w->fd);
    gnutls_handshake_set_timeout(tls, 10000);
    while ((code = gnutls_handshake(tls)) < 0)
        if (gnutls_error_is_fatal(code)) fail_msg("handshake: %s", gnutls_strerror(code));
    w->tls = tls;
    fcntl(w->fd, F_SETFL, O_NONBLOCK); /* a record may hold no bytes of ours */
}

void wire_certificate(const Wire *w, char sha[65]) {
    unsigned n;
    const gnutls_datum_t *cert = gnutls_certificate_get_peers(w->tls, &n);
    Sha256 hash;
    assert_true(cert && n == 1);
    sha256_init(&hash);
    sha256_add(&hash, cert->data, cert->size);
    sha256_hex(&hash, sha);
}

bool wire_send(Wire *w, Str bytes) {
    for (ssize_t put; bytes.n > 0; bytes.p += put, bytes.n -= put) {
        put = w->tls ? gnutls_record_send(w->tls, bytes.p, (size_t)MIN(bytes.n, 16000))
                     : send(w->fd, bytes.p, (size_t)bytes.n, MSG_NOSIGNAL);
        struct pollfd p = {.fd = w->fd, .events = POLLOUT};
        const bool later = w->tls && (put == GNUTLS_E_AGAIN || put == GNUTLS_E_INTERRUPTED);
        if (put <= 0 && !later) return false;
        if (later) put = 0, poll(&p, 1, 1000);
    }
    return true;
}

void wire_close(Wire *w) {
    if (w->tls) {
        gnutls_bye(w->tls, GNUTLS_SHUT_WR);
        gnutls_deinit(w->tls);
    }
    close(w->fd);
}

static bool can_read(Wire *w, double seconds) {
    if (w->tls && gnutls_record_check_pending(w->tls)) return true;
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    return poll(&p, 1, (int)(1000 * MAX(seconds, 0)) + 1) > 0;
}

/* What does not fit any more is forgotten. */
static void wire_read(Wire *w) {
    char more[16384];
    const ssize_t got = w->tls ? gnutls_record_recv(w->tls, more, sizeof more)
                               : recv(w->fd, more, sizeof more, MSG_DONTWAIT);
    const bool later =
        w->tls ? got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED : got < 0 && errno == EAGAIN;
    if (got <= 0) {
        w->closed = !later;
        return;
    }
    const int64_t n = MIN(got, (int64_t)sizeof w->got - 1 - w->n);
    memcpy(w->got + w->n, more, (size_t)n);
    w->n += n;
    w->got[w->n] = 0;
}

bool wire_wait(Wire *w, const char *text, double seconds) {
    const double until = os_now() + seconds;
    while (!(text && strstr(w->got, text))) {
        const double left = until - os_now();
        if (w->closed || left < 0) return false;
        if (can_read(w, left)) wire_read(w);
    }
    return true;
}

int64_t wire_count(const Wire *w, const char *text) {
    int64_t n = 0;
    for (const char *p = w->got; (p = strstr(p, text)); p++) n++;
    return n;
}

/* ---- the process ----------------------------------------------------------------------------- */

static int64_t entries(const char *path) {
    DIR *dir = opendir(path);
    int64_t n = 0;
    assert_non_null(dir);
    while (readdir(dir)) n++;
    closedir(dir);
    return n;
}

int64_t files_open(void) { return entries("/proc/self/fd"); }
int64_t threads_running(void) { return entries("/proc/self/task"); }

/* ---- a clock that can be set ----------------------------------------------------------------- */

int64_t clock_ahead;

/* In place of libc's. */
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += clock_ahead;
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    CHECK(gnutls_certificate_allocate_credentials(&trust) == 0);
    const int failed = test_guard() + test_attach() + test_probes() + test_http() + test_streams()
                       + test_keys() + test_kept() + test_handle() + test_history()
                       + test_documents() + test_cited() + test_hosted() + test_requests()
                       + test_training() + test_types();
    gnutls_certificate_free_credentials(trust);
    return failed;
}
