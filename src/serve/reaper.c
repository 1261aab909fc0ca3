/* reaper.c -- the thread that ends what lasts too long and notices who leaves.
 *
 * libmicrohttpd's timeouts count inactivity: a client that sends a byte now and then is never cut.
 * Here every step of a connection has a moment by which it must be over. The reaper ends the
 * socket's directions; libmicrohttpd then closes it. Nor does libmicrohttpd look at a connection
 * that is suspended: all are in a set of our own, too. A client that "ended" may only have said
 * that it sends no more. Whether it still reads shows when it is written to: a stream of events
 * gets a comment, a request that waits for its answer a 100 Continue (RFC 9110 allows any number).
 * Who has left answers that with a reset. */
#include "serve/connection.h"

static const double TICK = 0.1, ASK_AFTER = 0.25, LINGER = 1;
enum { LINGER_BYTES = 1 << 20 };
static const uint64_t LINGERS_TAG = (uint64_t)1 << 63;

uint64_t reaper_tag(const Server *h, const Connection *c) {
    return (uint64_t)(c->generation & 0x7fffffff) << 32 | (uint64_t)(c - h->slot);
}

/* ---- closed connections ---------------------------------------------------------------------- */

/* Reads what came; false where that was all, or too much. */
static bool linger_read(Linger *l) {
    for (int64_t n = 1; n > 0 && l->bytes < LINGER_BYTES; l->bytes += n)
        if ((n = net_discard(l->fd)) < 0) return false;
    return l->bytes < LINGER_BYTES;
}

static void linger_end(Server *h, Linger *l) {
    watch_remove(h->watch, l->fd);
    net_close(l->fd);
    l->fd = -1;
}

void reaper_linger(Server *h, int fd) {
    Linger *l = h->linger;
    while (l < h->linger + LINGERS && l->fd >= 0) l++;
    if (l == h->linger + LINGERS) return;
    *l = (Linger){.fd = net_again(fd), .deadline = os_now() + LINGER};
    if (l->fd < 0) return;
    net_finish(l->fd);
    if (!linger_read(l)
        || !watch_add(h->watch, l->fd, true, LINGERS_TAG | (uint64_t)(l - h->linger)))
        linger_end(h, l);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void connection_event(Server *h, const WatchEvent *e) {
    Connection *c = &h->slot[e->tag & 0xffffffff];
    Exchange *x = c->x;
    if (c->fd < 0 || reaper_tag(h, c) != e->tag) return; /* another has its place by now */
    if (e->ended && c->ended == NEVER) {
        c->ended = os_now();
        if (x && x->events) x->probe = true, exchange_wake(x);
    }
    if (e->gone && x) exchange_lost(x);
}

static void event_take(Server *h, const WatchEvent *e) {
    if (!(e->tag & LINGERS_TAG)) {
        connection_event(h, e);
        return;
    }
    Linger *l = &h->linger[e->tag & 0xffffffff];
    if (l->fd >= 0 && (e->gone || !linger_read(l))) linger_end(h, l);
}

/* Whether its client ended some time ago and a request of it waits for an answer yet. */
static bool may_be_asked(const Server *h, const Connection *c, double now) {
    const Exchange *x = c->x;
    return !c->asked && now - c->ended > ASK_AFTER && x && x->suspended && !x->streams && !x->old
           && !h->spec.tls_cert;
}

static void connection_check(Server *h, Connection *c, double now) {
    if (c->deadline <= now) {
        c->deadline = NEVER;
        net_shut(c->fd);
        if (c->x) exchange_lost(c->x);
    } else if (may_be_asked(h, c, now)) {
        c->asked = true; /* suspended: nobody else writes */
        (void)net_send(c->fd, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    }
}

static void all_check(Server *h, double now) {
    for (int64_t i = 0; i < h->n_slots; i++)
        if (h->slot[i].fd >= 0) connection_check(h, &h->slot[i], now);
    for (Linger *l = h->linger; l < h->linger + LINGERS; l++)
        if (l->fd >= 0 && l->deadline <= now) linger_end(h, l);
}

void reaper_run(void *http) {
    enum { AT_ONCE = 64 };
    Server *h = http;
    WatchEvent e[AT_ONCE];
    double checked = 0;
    for (bool closing = false; !closing;) {
        const int64_t n = watch_wait(h->watch, e, AT_ONCE, TICK);
        const double now = os_now();
        http_enter(h);
        for (int64_t i = 0; i < n; i++) event_take(h, &e[i]);
        if (now - checked >= TICK) all_check(h, now), checked = now;
        closing = h->closing;
        http_leave(h);
    }
    for (Linger *l = h->linger; l < h->linger + LINGERS; l++)
        if (l->fd >= 0) linger_end(h, l);
}
