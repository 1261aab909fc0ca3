/* exchange.c -- a request and its answer, for whoever answers: from any thread, whole or as a
 * stream.
 *
 * What a stream has to send lies in a buffer that doubles up to out_bytes. The network thread takes
 * one piece at a time; where there is none it suspends the connection, and the next piece resumes
 * it. A buffer that would grow beyond its bound is one that nobody reads: the connection ends. */
#include "serve/connection.h"

#include <stdio.h>

enum { OUT_FIRST = 1 << 10, OLD_BLOCK = 4096 };

void http_enter(Server *h) { monitor_enter(h->lock); }
void http_leave(Server *h) { monitor_leave(h->lock); }

/* ---- life ------------------------------------------------------------------------------------ */

static void id_new(char id[EXCHANGE_ID]) {
    uint8_t random[16];
    os_random(random, sizeof random);
    int at = snprintf(id, EXCHANGE_ID, "req_");
    for (int64_t i = 0; i < COUNT(random); i++)
        at += snprintf(id + at, (size_t)(EXCHANGE_ID - at), "%02x", random[i]);
}

Exchange *exchange_new(Server *h) {
    http_enter(h);
    Arena *a = h->n_pool ? h->pool[--h->n_pool] : NULL;
    h->n_exchanges++;
    http_leave(h);
    if (!a) a = arena_open("request", ARENA_NO_LIMIT);
    Exchange *x = PUSH(a, Exchange, 1);
    *x = (Exchange){.http = h, .arena = a, .body = STR(""), .attached = true};
    id_new(x->id);
    return x;
}

static void over_tell(const Exchange *x) {
    const ServerSpec *s = &x->http->spec;
    if (!s->over || x->began <= 0) return; /* nothing that could be called a request came */
    const Served all = {.id = x->id,
                        .peer = x->peer,
                        .method = x->method,
                        .status = x->status,
                        .gone = x->gone,
                        .seconds = os_now() - x->began,
                        .note = &x->note};
    s->over(s->arg, &all);
}

void exchange_release(Exchange *x) {
    enum { KEPT = 256 << 10 }; /* an arena that was larger goes back to the system */
    Server *h = x->http;
    if (x->owned || x->attached || x->telling) return;
    over_tell(x);
    if (x->response) MHD_destroy_response(x->response);
    h->bodies[x->large] -= x->body.n;
    h->n_exchanges--;
    Arena *a = x->arena;
    arena_pop(a, (Mark){0});
    if (h->n_pool < POOL && arena_peak(a) <= KEPT)
        h->pool[h->n_pool++] = a;
    else
        arena_close(a);
}

void exchange_suspend(Exchange *x) {
    MHD_suspend_connection(x->c->mhd);
    x->suspended = true;
}

void exchange_wake(Exchange *x) {
    if (!x->suspended || !x->attached) return;
    x->suspended = false;
    MHD_resume_connection(x->c->mhd);
}

/* Calls the owner back, outside the lock; meanwhile the owner cannot let go. */
static void tell(Exchange *x) {
    if (!x->on_gone || !x->owned) return;
    x->telling = true;
    http_leave(x->http);
    x->on_gone(x->gone_arg);
    http_enter(x->http);
    x->telling = false;
    x->on_gone = NULL;
    monitor_wake(x->http->lock);
}

void exchange_lost(Exchange *x) {
    if (x->gone) return;
    x->gone = true;
    exchange_wake(x);
    tell(x);
}

/* The owner's last word. */
static void let_go(Exchange *x) {
    while (x->telling) monitor_wait(x->http->lock);
    x->owned = false;
    exchange_release(x);
}

/* ---- the request ----------------------------------------------------------------------------- */

Str exchange_method(const Exchange *x) { return x->method; }
Arena *exchange_arena(Exchange *x) { return x->arena; }
Str exchange_body(const Exchange *x) { return x->body; }
const char *exchange_peer(const Exchange *x) { return x->peer; }
double exchange_began(const Exchange *x) { return x->began; }
const char *exchange_id(const Exchange *x) { return x->id; }
ExchangeNote *exchange_note(Exchange *x) { return &x->note; }

Str exchange_path(const Exchange *x) {
    Str rest = x->target;
    return str_cut(&rest, '?');
}

Str exchange_query(const Exchange *x) {
    Str rest = x->target;
    str_cut(&rest, '?');
    return rest.p ? rest : STR("");
}

Str exchange_member(const Exchange *x, const char *name) {
    Str rest = exchange_query(x);
    while (rest.n > 0) {
        Str value = str_cut(&rest, '&'), key = str_cut(&value, '=');
        if (str_eq(key, str_of(name))) return value.p ? value : STR("");
    }
    return (Str){0};
}

Str exchange_header(const Exchange *x, const char *name) {
    for (int64_t i = 0; i < x->n_headers; i++)
        if (str_eq_caseless(x->header[i].name, str_of(name))) return x->header[i].value;
    return (Str){0};
}

/* ---- headers of the answer ------------------------------------------------------------------- */

static bool is_plain(const char *s) {
    for (; *s; s++)
        if ((uint8_t)*s < 0x20 || *s == 0x7f) return false;
    return true;
}

void exchange_head(Exchange *x, const char *name, const char *value) {
    CHECK(*name && is_plain(name) && is_plain(value) && !strpbrk(name, ": "));
    HeadField *f = PUSH(x->arena, HeadField, 1);
    *f = (HeadField){x->field, str_copy(x->arena, str_of(name)).p,
                     str_copy(x->arena, str_of(value)).p};
    x->field = f;
}

static bool has_field(const Exchange *x, const char *name) {
    for (const HeadField *f = x->field; f; f = f->next)
        if (str_eq_caseless(str_of(f->name), str_of(name))) return true;
    return false;
}

static void field_default(const Exchange *x, struct MHD_Response *r, const char *name,
                          const char *value) {
    if (!has_field(x, name)) MHD_add_response_header(r, name, value);
}

static bool is_events(const char *type) {
    return str_starts(str_of(type), STR("text/event-stream"));
}

static void headers_add(const Exchange *x, struct MHD_Response *r, const char *type) {
    MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "x-request-id", x->id); /* of OpenAI's clients */
    MHD_add_response_header(r, "request-id", x->id);   /* of Anthropic's */
    field_default(x, r, "Cache-Control", is_events(type) ? "no-cache" : "no-store");
    if (is_events(type)) field_default(x, r, "X-Accel-Buffering", "no");
    for (const HeadField *f = x->field; f; f = f->next)
        MHD_add_response_header(r, f->name, f->value);
    if (x->closes) MHD_add_response_header(r, "Connection", "close");
}

/* ---- whole answers --------------------------------------------------------------------------- */

static struct MHD_Response *response_whole(Exchange *x, const char *type, Str body) {
    void *p = (void *)(uintptr_t)body.p; /* libmicrohttpd only reads it */
    struct MHD_Response *r =
        MHD_create_response_from_buffer((size_t)body.n, p, MHD_RESPMEM_PERSISTENT);
    if (r) headers_add(x, r, type);
    return r;
}

struct MHD_Response *exchange_refusal(Exchange *x, int64_t status, const char *why) {
    const Server *h = x->http;
    const Str body = h->spec.refused ? h->spec.refused(h->spec.arg, x, status, why) : STR("");
    if (status == 503) exchange_head(x, "Retry-After", "1");
    x->status = status, x->answer_bytes = body.n;
    return response_whole(x, "application/json", body);
}

/* The network thread will find the response; without one the connection just ends. */
static void hand_over(Exchange *x, int64_t status, struct MHD_Response *r) {
    x->status = status;
    x->response = r;
    if (!r) x->gone = true;
    exchange_wake(x);
}

void exchange_answer(Exchange *x, int64_t status, const char *type, Str body) {
    Server *h = x->http;
    http_enter(h);
    CHECK(x->owned && !x->streams);
    const bool wanted = !x->gone;
    if (h->draining) x->closes = true;
    http_leave(h);
    struct MHD_Response *r =
        wanted ? response_whole(x, type, body.n ? str_copy(x->arena, body) : STR("")) : NULL;
    http_enter(h);
    x->answer_bytes = body.n;
    if (wanted) hand_over(x, status, r);
    let_go(x);
    http_leave(h);
}

/* ---- streams --------------------------------------------------------------------------------- */

/* A piece, or as much of it as there is room for. */
static int64_t piece_take(Exchange *x, char *to, int64_t most) {
    int32_t n;
    memcpy(&n, x->out + x->out_from, sizeof n);
    const int64_t part = MIN(most, n - x->out_sent);
    memcpy(to, x->out + x->out_from + (int64_t)sizeof n + x->out_sent, (size_t)part);
    x->out_sent += part;
    if (x->out_sent < n) return part;
    x->out_from += (int64_t)sizeof n + n, x->out_sent = 0;
    if (x->out_from == x->out_to) x->out_from = x->out_to = 0;
    return part;
}

/* libmicrohttpd 0.9.75 closes the connection when a reader ends it, and then forgets to clean up
 * behind it until all older connections have gone. One that is suspended and resumed is looked at
 * once more. */
static ssize_t end_connection(Exchange *x, ssize_t how) {
    MHD_suspend_connection(x->c->mhd);
    MHD_resume_connection(x->c->mhd);
    return how;
}

/* libmicrohttpd asks for bytes: whole pieces, one at a time. */
static ssize_t stream_next(void *exchange, uint64_t at, char *to, size_t most) {
    Exchange *x = exchange;
    const Str question = STR(": \n\n");
    ssize_t n = 0;
    (void)at;
    http_enter(x->http);
    if (x->gone || x->http->closing) {
        n = end_connection(x, MHD_CONTENT_READER_END_WITH_ERROR);
    } else if (x->probe && x->out_sent == 0 && (int64_t)most >= question.n) {
        memcpy(to, question.p, (size_t)question.n);
        n = question.n, x->probe = false;
    } else if (x->out_to > x->out_from) {
        n = piece_take(x, to, (int64_t)most);
    } else if (x->last.n > 0) {
        n = (ssize_t)MIN((int64_t)most, x->last.n);
        memcpy(to, x->last.p, (size_t)n);
        x->last.p += n, x->last.n -= n;
    } else if (x->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
        if (x->old) n = end_connection(x, n); /* its end is the answer's */
    } else {
        exchange_suspend(x);
    }
    http_leave(x->http);
    return n;
}

void exchange_begin(Exchange *x, int64_t status, const char *type) {
    Server *h = x->http;
    http_enter(h);
    CHECK(x->owned && !x->streams);
    if (h->draining) x->closes = true;
    http_leave(h);
    struct MHD_Response *r = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, x->old ? OLD_BLOCK : 1, stream_next, x, NULL);
    if (r) headers_add(x, r, type);
    http_enter(h);
    x->streams = true, x->events = is_events(type);
    x->probe = x->events && x->attached && x->c->ended < NEVER;
    hand_over(x, status, r);
    http_leave(h);
}

/* Room for `need` bytes more; false where it would be too much. */
static bool out_reserve(Exchange *x, int64_t need) {
    const int64_t unread = x->out_to - x->out_from;
    if (need > x->http->spec.out_bytes - unread) return false;
    if (x->out_to + need <= x->out_cap) return true;
    if (unread + need > x->out_cap) {
        const int64_t cap = MAX(MAX(2 * x->out_cap, OUT_FIRST), unread + need);
        char *more = arena_try(x->arena, cap);
        if (!more) return false;
        if (unread) memcpy(more, x->out + x->out_from, (size_t)unread);
        x->out = more, x->out_cap = cap;
    } else {
        memmove(x->out, x->out + x->out_from, (size_t)unread);
    }
    x->out_from = 0, x->out_to = unread;
    return true;
}

static void out_add(Exchange *x, Str bytes) {
    const int32_t n = (int32_t)bytes.n;
    memcpy(x->out + x->out_to, &n, sizeof n);
    memcpy(x->out + x->out_to + sizeof n, bytes.p, (size_t)bytes.n);
    x->out_to += (int64_t)sizeof n + bytes.n;
}

bool exchange_write(Exchange *x, Str bytes) {
    http_enter(x->http);
    CHECK(x->owned && x->streams && !x->ended);
    bool fine = !x->gone;
    if (fine && bytes.n > 0 && x->attached && !x->is_head) {
        fine = bytes.n < INT32_MAX && out_reserve(x, bytes.n + (int64_t)sizeof(int32_t));
        if (fine)
            out_add(x, bytes);
        else
            x->gone = true, net_shut(x->c->fd);
        exchange_wake(x);
    }
    http_leave(x->http);
    return fine;
}

void exchange_end(Exchange *x) { exchange_end_with(x, STR("")); }

int64_t exchange_room(Exchange *x) {
    http_enter(x->http);
    const int64_t unread = x->out_to - x->out_from,
                  room = x->http->spec.out_bytes - unread - (int64_t)sizeof(int32_t);
    const bool gone = x->gone || !x->attached;
    http_leave(x->http);
    return gone ? -1 : MAX(room, 0);
}

void exchange_end_with(Exchange *x, Str last) {
    Server *h = x->http;
    if (last.n) last = str_copy(x->arena, last);
    http_enter(h);
    CHECK(x->owned && x->streams);
    x->ended = true;
    if (!x->is_head) x->last = last;
    if (x->attached)
        x->c->deadline = os_now() + h->spec.body_seconds
                         + (double)(x->out_to - x->out_from + last.n) / (double)(64 << 10);
    exchange_wake(x);
    let_go(x);
    http_leave(h);
}

void exchange_on_gone(Exchange *x, void (*gone)(void *arg), void *arg) {
    http_enter(x->http);
    const bool now = x->gone;
    if (!now) x->on_gone = gone, x->gone_arg = arg;
    http_leave(x->http);
    if (now) gone(arg);
}
