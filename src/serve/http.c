/* http.c -- the server: a listening socket, libmicrohttpd's network thread, the reaper, workers.
 *
 * What a stranger can make it hold, for each of spec.connections: libmicrohttpd's 44 KB for the
 * head and what is being sent (and some 40 KB of TLS); a copy of the head, below 44 KB; a body of
 * body_bytes (twice that where its length was not declared), all bodies together at most 16 times
 * body_bytes, and those that may be large 3 times large_bytes; twice out_bytes of a stream; 256 KB
 * in the system for what was not read. Of requests that wait there are `queue`; of closed
 * connections that linger 64. */
#include "serve/connection.h"

/* libmicrohttpd touches half of a connection's memory, whatever comes. It suffices for a head of
 * GUARD_HEAD bytes in GUARD_HEADERS headers, and the head of an answer. */
enum { MEMORY = 44 << 10, SPARE_FILES = 64 + LINGERS };

/* ---- opening --------------------------------------------------------------------------------- */

static bool listener_open(Server *h, const ServerSpec *s, Err *err) {
    h->listener = -1;
    h->adopted = s->socket > 0;
    if (s->unix_path) return net_listen_unix(&h->listener, s->unix_path, err);
    if (!h->adopted) return net_listen(&h->listener, s->host, s->port, err);
    if (!net_adopt((int)s->socket, err)) return false;
    h->listener = (int)s->socket;
    return true;
}

/* The names that requests may be for, and what this server is called. */
static void names_collect(Server *h, Arena *a, const ServerSpec *s) {
    static const char *const own[] = {"localhost", "127.0.0.1", "::1"};
    char *local = PUSH(a, char, NET_ADDRESS);
    net_local(local, h->listener);
    const char **name = PUSH(a, const char *, s->n_names + COUNT(own) + 1);
    int64_t n = 0;
    for (int64_t i = 0; i < COUNT(own); i++) name[n++] = own[i];
    for (int64_t i = 0; i < s->n_names; i++) name[n++] = str_copy(a, str_of(s->names[i])).p;
    name[n++] = local;
    h->limits = (GuardLimits){.body_bytes = s->body_bytes,
                              .names = name,
                              .n_names = n,
                              .any_address = !strcmp(local, "0.0.0.0") || !strcmp(local, "::")};
    h->port = net_port(h->listener);
    const bool six = strchr(local, ':');
    const bool path = s->unix_path || !strcmp(local, "unix");
    h->address = path ? str_fmt(a, "unix:%s", s->unix_path ? s->unix_path : "inherited").p
                      : str_fmt(a, "http%s://%s%s%s:%lld", s->tls_cert ? "s" : "", six ? "[" : "",
                                local, six ? "]" : "", (long long)h->port)
                            .p;
}

static void slots_make(Server *h, Arena *a, const ServerSpec *s) {
    h->n_slots = MAX(MIN(s->connections, os_files_most() - SPARE_FILES), 1);
    h->slot = PUSH(a, Connection, h->n_slots);
    for (int64_t i = 0; i < h->n_slots; i++)
        h->slot[i] = (Connection){.fd = -1, .next_free = i + 1 < h->n_slots ? i + 1 : -1};
    for (int64_t i = 0; i < LINGERS; i++) h->linger[i].fd = -1;
}

static void daemon_start(void *http) {
    Server *h = http;
    const bool tls = h->certificate;
    struct MHD_OptionItem o[] = {
        {MHD_OPTION_LISTEN_SOCKET, h->listener, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, h->n_slots, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, 0, NULL},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)connection_notify, h},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)connection_completed, h},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)connection_target, h},
        {tls ? MHD_OPTION_HTTPS_CERT_CALLBACK2 : MHD_OPTION_END, 0,
         (void *)(uintptr_t)connection_certificate},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL}};
    h->daemon =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME
                             | (tls ? MHD_USE_TLS : MHD_NO_FLAG),
                         0, NULL, NULL, connection_request, h, MHD_OPTION_ARRAY, o, MHD_OPTION_END);
}

static bool network_open(Server *h, Arena *a, const ServerSpec *spec, Err *err) {
    if (spec->tls_cert && !certificate_open(&h->certificate, a, spec->tls_cert, spec->tls_key, err))
        return false;
    lone_without_signals(daemon_start, h);
    return h->daemon || err_set(err, ERR_IO, "libmicrohttpd does not start on %s", h->address);
}

bool server_certificate(Server *h, bool *differs, Err *err) {
    *differs = false;
    return !h->certificate || certificate_read(h->certificate, differs, err);
}

static void worker_run(void *http) {
    enum { HOUR = 3600 };
    Server *h = http;
    Exchange *x;
    for (QueueResult r; (r = queue_pop(h->queue, &x, HOUR)) != QUEUE_CLOSED;)
        if (r == QUEUE_ITEM) h->spec.handler(h->spec.arg, x);
}

static bool threads_open(Server *h, Arena *a, Err *err) {
    h->worker = PUSH(a, LoneThread *, h->spec.workers);
    for (; h->n_workers < h->spec.workers; h->n_workers++)
        if (!lone_start(&h->worker[h->n_workers], a, worker_run, h, err)) return false;
    return lone_start(&h->reaper, a, reaper_run, h, err);
}

bool server_open(Server **out, Arena *a, const ServerSpec *spec, Err *err) {
    CHECK(spec->handler && spec->workers > 0 && spec->queue > 0 && spec->connections > 0);
    CHECK(spec->body_bytes > 0 && spec->out_bytes > 0 && !spec->tls_cert == !spec->tls_key);
    Server *h = PUSH(a, Server, 1);
    *h = (Server){.spec = *spec, .lock = monitor_new(a)};
    h->queue = queue_new(a, spec->queue, sizeof(Exchange *));
    slots_make(h, a, spec);
    bool fine = listener_open(h, spec, err);
    if (fine) names_collect(h, a, spec);
    fine = fine && watch_open(&h->watch, a, err) && threads_open(h, a, err)
           && network_open(h, a, spec, err);
    *out = fine ? h : NULL;
    if (!fine) server_close(h);
    return fine;
}

int64_t server_port(const Server *h) { return h->port; }
const char *server_address(const Server *h) { return h->address; }

int64_t server_connections(const Server *h) {
    monitor_enter(h->lock);
    const int64_t n = h->open;
    monitor_leave(h->lock);
    return n;
}

/* ---- closing --------------------------------------------------------------------------------- */

void server_drain(Server *h) {
    enum { FIRST_WORD = 1 }; /* seconds for a client that has connected and said nothing yet */
    http_enter(h);
    const bool first = !h->draining;
    const double now = os_now();
    h->draining = true;
    for (Connection *c = h->slot; first && c < h->slot + h->n_slots; c++)
        if (c->fd >= 0 && !c->x)
            c->deadline = MIN(c->deadline, c->requests ? now : now + FIRST_WORD);
    http_leave(h);
    if (!first) return;
    if (h->daemon) MHD_quiesce_daemon(h->daemon);
    /* No more clients. The network thread may still have the number in hand: it is closed once
     * that thread is gone. At an adopted one others may go on listening. */
    if (h->listener >= 0 && !h->adopted) net_shut(h->listener);
    Err none = {0};
    if (h->spec.unix_path && !os_remove(h->spec.unix_path, &none)) log_at(LOG_WARN, "%s", none.msg);
}

/* The ends of streams have a second to reach those who read. */
static void ends_sent(Server *h) {
    const double until = os_now() + 1;
    for (bool some = true; some && os_now() < until;) {
        some = false;
        http_enter(h);
        for (const Connection *c = h->slot; c < h->slot + h->n_slots; c++)
            some = some || (c->fd >= 0 && c->x && c->x->ended);
        http_leave(h);
        if (some) os_sleep(0.01);
    }
}

/* Nothing may be suspended when libmicrohttpd stops. */
static void all_resume(Server *h) {
    http_enter(h);
    h->closing = true;
    for (Connection *c = h->slot; c < h->slot + h->n_slots; c++)
        if (c->fd >= 0 && c->x) exchange_wake(c->x);
    http_leave(h);
}

void server_close(Server *h) {
    if (!h) return;
    server_drain(h);
    queue_close(h->queue);
    for (int64_t i = 0; i < h->n_workers; i++) lone_join(h->worker[i]);
    ends_sent(h);
    all_resume(h);
    if (h->watch) watch_wake(h->watch);
    lone_join(h->reaper);
    if (h->daemon) MHD_stop_daemon(h->daemon);
    certificate_close(h->certificate);
    if (h->listener >= 0) net_close(h->listener);
    watch_close(h->watch);
    CHECK(h->n_exchanges == 0);
    while (h->n_pool) arena_close(h->pool[--h->n_pool]);
}
