/* connection.c -- what libmicrohttpd tells, all on its network thread: connections that come and
 * go, and of each request the target, the head, the pieces of the body, its end, and the end of its
 * answer. A request that is whole goes into the queue, and its connection is suspended until an
 * answer begins. */
#include "serve/connection.h"

/* Most that is read of a body which is refused, so that the client comes to read the answer. */
enum { EXCESS = 1 << 20, RATE = 64 << 10 };
/* Bodies of full length that there is room for: of plain ones, of large ones. */
static const int64_t bodies_most[] = {16, 3};

static Connection *connection_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

static int socket_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    return i ? i->connect_fd : -1;
}

/* ---- connections ----------------------------------------------------------------------------- */

static Connection *slot_take(Server *h, struct MHD_Connection *mhd, int fd) {
    if (h->first_free < 0) return NULL;
    Connection *c = &h->slot[h->first_free];
    h->first_free = c->next_free;
    *c = (Connection){.http = h,
                      .mhd = mhd,
                      .fd = fd,
                      .generation = c->generation + 1,
                      .deadline = os_now() + h->spec.head_seconds,
                      .ended = NEVER};
    h->open++;
    return c;
}

static void slot_give(Server *h, Connection *c) {
    c->fd = -1;
    c->next_free = h->first_free;
    h->first_free = c - h->slot;
    h->open--;
}

void connection_notify(void *http, struct MHD_Connection *mhd, void **context,
                       enum MHD_ConnectionNotificationCode what) {
    enum { UNREAD = 256 << 10 }; /* bytes that wait in the system for a client */
    Server *h = http;
    const int fd = socket_of(mhd);
    if (fd < 0) return;
    received_here(h->certificate != NULL);
    http_enter(h);
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        Connection *c = slot_take(h, mhd, fd);
        *context = c;
        net_prepare(fd, MIN(UNREAD, h->spec.out_bytes));
        if (!c || !watch_add(h->watch, fd, false, reaper_tag(h, c))) net_shut(fd);
    } else if (*context) {
        watch_remove(h->watch, fd);
        slot_give(h, *context);
        if (!h->closing) reaper_linger(h, fd);
    }
    http_leave(h);
}

/* libmicrohttpd gives each session its connection as the pointer that GnuTLS keeps for its owner.
 */
int connection_certificate(gnutls_session_t tls, const struct gnutls_cert_retr_st *info,
                           gnutls_pcert_st **cert, unsigned *n, gnutls_ocsp_data_st **ocsp,
                           unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags) {
    struct MHD_Connection *mhd = gnutls_session_get_ptr(tls);
    const Connection *c = mhd ? connection_of(mhd) : NULL;
    (void)info;
    *ocsp = NULL, *n_ocsp = 0, *flags = 0;
    if (!c) return -1;
    certificate_now(c->http->certificate, cert, n, key);
    return 0;
}

void *connection_target(void *http, const char *target, struct MHD_Connection *mhd) {
    Server *h = http;
    Connection *c = connection_of(mhd);
    if (!c) return NULL;
    Exchange *x = exchange_new(h);
    const Str all = str_of(target);
    x->c = c;
    x->target_p = target, x->target_bytes = all.n;
    x->target = str_copy(x->arena, (Str){all.p, MIN(all.n, GUARD_TARGET + 1)});
    http_enter(h);
    c->x = x;
    if (c->requests++) c->deadline = os_now() + h->spec.head_seconds;
    http_leave(h);
    return x;
}

void connection_completed(void *http, struct MHD_Connection *mhd, void **context,
                          enum MHD_RequestTerminationCode how) {
    Server *h = http;
    Exchange *x = *context;
    (void)mhd;
    if (!x) return;
    http_enter(h);
    Connection *c = x->c;
    x->c = NULL, x->attached = x->suspended = false;
    c->x = NULL;
    c->deadline = h->draining ? 0 : os_now() + h->spec.idle_seconds;
    if (how != MHD_REQUEST_TERMINATED_COMPLETED_OK && x->owned) exchange_lost(x);
    exchange_release(x);
    http_leave(h);
    *context = NULL;
}

/* ---- the head -------------------------------------------------------------------------------- */

typedef struct Heads {
    Exchange *x;
    const char *from; /* the first byte of the head */
} Heads;

/* Whether a value stands where its name leads to, behind a blank or nothing and in front of two
 * bytes that were cut off. Of a folded header it stands elsewhere. */
static bool is_plain(Str name, Str value) {
    const char *colon = name.p + name.n;
    if (value.p != colon + 1 && value.p != colon + 2) return false;
    if (value.p == colon + 2 && !char_in(value.p[-1], " \t")) return false;
    return value.p[value.n] == 0 && value.p[value.n + 1] == 0;
}

static enum MHD_Result head_add(void *to, enum MHD_ValueKind kind, const char *name, size_t n_name,
                                const char *value, size_t n_value) {
    const Heads *all = to;
    Exchange *x = all->x;
    (void)kind;
    const int64_t i = x->n_headers++;
    if (i >= GUARD_HEADERS) return MHD_YES;
    const Str n = {name, (int64_t)n_name}, v = {value ? value : "", value ? (int64_t)n_value : 0};
    const int64_t at = (int64_t)((uintptr_t)name - (uintptr_t)all->from);
    x->header[i] = (GuardHeader){str_copy(x->arena, n), str_copy(x->arena, v), at,
                                 is_plain(n, v) ? at + (v.p - name) : -1};
    return MHD_YES;
}

static int64_t head_bytes(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return i ? (int64_t)i->header_size : 0;
}

static Verdict head_judge(Exchange *x, struct MHD_Connection *mhd, const char *method,
                          const char *version) {
    const int n = MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, NULL, NULL);
    x->header = PUSH(x->arena, GuardHeader, MIN(MAX(n, 1), GUARD_HEADERS));
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, head_add, &(Heads){x, method});
    const GuardRequest r = {.method = x->method,
                            .target = {x->target.p, x->target_bytes},
                            .version = str_of(version),
                            .target_at = (int64_t)((uintptr_t)x->target_p - (uintptr_t)method),
                            .version_at = (int64_t)((uintptr_t)version - (uintptr_t)method),
                            .header = x->header,
                            .n_headers = x->n_headers,
                            .head_bytes = head_bytes(mhd)};
    GuardLimits limits = x->http->limits;
    limits.body_bytes = x->most;
    const Verdict v = guard_judge(&r, &limits);
    x->n_headers = MIN(x->n_headers, GUARD_HEADERS);
    return v;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void deadline_set(Exchange *x, double deadline) {
    http_enter(x->http);
    x->c->deadline = deadline;
    http_leave(x->http);
}

/* Hands a response to libmicrohttpd. Whole, it must have been read by its client in time. */
static enum MHD_Result response_queue(Exchange *x, struct MHD_Connection *mhd,
                                      struct MHD_Response *r) {
    const bool fine = MHD_queue_response(mhd, (unsigned)x->status, r) == MHD_YES;
    MHD_destroy_response(r);
    x->phase = PHASE_ANSWERED;
    return fine ? MHD_YES : MHD_NO;
}

static double answer_deadline(const Exchange *x) {
    return os_now() + x->http->spec.body_seconds + (double)x->answer_bytes / RATE;
}

static enum MHD_Result refuse(Exchange *x, struct MHD_Connection *mhd, int64_t status,
                              const char *why) {
    x->closes = status != 503;
    struct MHD_Response *r = exchange_refusal(x, status, why);
    if (!r) return MHD_NO;
    deadline_set(x, answer_deadline(x));
    return response_queue(x, mhd, r);
}

/* The connection goes on: there is an answer, or its client has left. */
static enum MHD_Result answer_give(Exchange *x, struct MHD_Connection *mhd) {
    http_enter(x->http);
    struct MHD_Response *r = x->response;
    const bool over = x->gone || x->http->closing;
    x->response = NULL;
    if (!over && !r) exchange_suspend(x);
    if (!over && r && (!x->streams || x->ended)) x->c->deadline = answer_deadline(x);
    http_leave(x->http);
    if (over && r) MHD_destroy_response(r);
    if (over) return MHD_NO;
    return r ? response_queue(x, mhd, r) : MHD_YES;
}

/* ---- the request ----------------------------------------------------------------------------- */

static const char *peer(struct MHD_Connection *mhd, char out[NET_ADDRESS]) {
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    net_address(out, i ? i->client_addr : NULL);
    return out;
}

static enum MHD_Result head_came(Exchange *x, struct MHD_Connection *mhd, const char *method,
                                 const char *version) {
    x->method = str_copy(x->arena, str_of(method));
    x->is_head = !strcmp(method, "HEAD"), x->old = strcmp(version, "HTTP/1.1") != 0;
    x->began = os_now();
    peer(mhd, x->peer);
    x->phase = PHASE_BODY;
    const ServerSpec *s = &x->http->spec;
    x->large = s->is_large && s->is_large(exchange_path(x));
    x->most = x->large ? s->large_bytes : s->body_bytes;
    const Verdict v = head_judge(x, mhd, method, version);
    if (v.status) return refuse(x, mhd, v.status, v.why);
    x->declared = v.body;
    deadline_set(x, x->began + x->http->spec.body_seconds);
    return MHD_YES;
}

/* Room for n bytes more and a NUL, and their share of what all bodies may take. */
static bool body_reserve(Exchange *x, int64_t n) {
    enum { FIRST = 4 << 10 };
    const int64_t most = x->most, need = x->body.n + n;
    if (need > most) return false;
    if (need + 1 > x->body_cap) {
        const int64_t cap = MIN(MAX(MAX(2 * x->body_cap, FIRST), need + 1), most + 1);
        x->body_cap = x->declared >= 0 ? MAX(x->declared, need) + 1 : cap;
        char *p = arena_try(x->arena, x->body_cap);
        if (!p) return false;
        memcpy(p, x->body.p, (size_t)x->body.n);
        x->body.p = p;
    }
    http_enter(x->http);
    int64_t *all = &x->http->bodies[x->large];
    const bool fits = *all + n <= bodies_most[x->large] * most;
    if (fits) *all += n, x->body.n = need;
    x->c->deadline = x->began + x->http->spec.body_seconds + (double)need / RATE;
    http_leave(x->http);
    return fits;
}

static enum MHD_Result body_came(Exchange *x, const char *p, size_t *n) {
    const int64_t bytes = (int64_t)*n, at = x->body.n;
    *n = 0;
    if (!x->excess && body_reserve(x, bytes)) {
        char *to = (char *)(uintptr_t)x->body.p + at;
        memcpy(to, p, (size_t)bytes);
        to[bytes] = 0;
        return MHD_YES;
    }
    x->excess += bytes;
    return x->excess <= EXCESS ? MHD_YES : MHD_NO;
}

static enum MHD_Result whole(Exchange *x, struct MHD_Connection *mhd) {
    Server *h = x->http;
    if (x->excess && x->declared < 0 && x->body.n + x->excess > x->most)
        return refuse(x, mhd, 413, "The body is larger than this server takes.");
    if (x->excess) return refuse(x, mhd, 503, "The bodies of other requests take all the memory.");
    x->phase = PHASE_WHOLE;
    http_enter(h);
    x->owned = true;
    const bool fits = queue_try_push(h->queue, &x);
    if (fits) exchange_suspend(x);
    x->owned = fits;
    if (fits) x->c->deadline = NEVER;
    http_leave(h);
    return fits ? MHD_YES : refuse(x, mhd, 503, "Too many requests are waiting already.");
}

enum MHD_Result connection_request(void *http, struct MHD_Connection *mhd, const char *url,
                                   const char *method, const char *version, const char *upload,
                                   size_t *n_upload, void **context) {
    Exchange *x = *context;
    (void)http, (void)url;
    if (!x) return MHD_NO;
    switch (x->phase) {
    case PHASE_HEAD: return head_came(x, mhd, method, version);
    case PHASE_BODY: return *n_upload ? body_came(x, upload, n_upload) : whole(x, mhd);
    case PHASE_WHOLE: return answer_give(x, mhd);
    case PHASE_ANSWERED: break;
    }
    return MHD_YES;
}
