/* connection.h -- private to serve/: what connections, exchanges and the reaper of HTTP share.
 *
 * One lock, Server.lock, guards all that is not constant once an exchange has gone to its handler.
 * Nothing waits under it, and no function of the user is called under it. libmicrohttpd's own locks
 * may be taken under it, never the other way round.
 *
 * An exchange has two holders: libmicrohttpd, until the request is completed (`attached`), and the
 * handler, until it has answered (`owned`). Who leaves last frees it. A connection is suspended
 * while libmicrohttpd has nothing to do for it; whoever makes something resumes it. */
#pragma once
#include "serve/certificate.h"
#include "serve/guard.h"
#include "serve/http.h"
#include <microhttpd.h>

static const double NEVER = 1e300;

typedef struct Connection { /* a slot; slots are used again */
    Server *http;
    struct MHD_Connection *mhd;
    Exchange *x; /* the request that is read or answered; NULL between requests */
    int fd;      /* -1: the slot is free */
    uint32_t generation;
    int64_t requests;
    double deadline;   /* os_now by which what is going on must be over */
    double ended;      /* when the client said that it sends no more; NEVER */
    bool asked;        /* whether it still reads, by a 100 Continue */
    int64_t next_free; /* slot */
} Connection;

typedef struct Linger { /* a closed connection whose client may still send */
    int fd;             /* -1: free */
    int64_t bytes;
    double deadline;
} Linger;
enum { LINGERS = 64, POOL = 256 };

struct Server {
    ServerSpec spec;
    GuardLimits limits;
    const char *address;
    Monitor *lock;
    struct MHD_Daemon *daemon;
    Certificate *certificate; /* NULL: plain */
    Watch *watch;
    Queue *queue;
    LoneThread *reaper, **worker;
    int64_t n_workers;
    int listener; /* -1: closed */
    int64_t port;
    bool draining, closing, adopted;

    Connection *slot;
    int64_t n_slots, first_free, open;
    Linger linger[LINGERS];
    Arena *pool[POOL]; /* of exchanges that are over */
    int64_t n_pool, n_exchanges;
    int64_t bodies[2]; /* bytes of all bodies in memory: of plain ones, of large ones */
};

typedef enum Phase { PHASE_HEAD, PHASE_BODY, PHASE_WHOLE, PHASE_ANSWERED } Phase;
typedef struct HeadField {
    struct HeadField *next;
    const char *name, *value;
} HeadField;

enum { EXCHANGE_ID = 40 };
struct Exchange {
    Server *http;
    Connection *c; /* while attached */
    Arena *arena;
    Phase phase; /* of the network thread alone */
    Str method, target, body;
    int64_t target_bytes; /* as it was sent; more than target.n where that was cut */
    const char *target_p; /* where it stood, to tell where that was */
    GuardHeader *header;
    int64_t n_headers, body_cap;
    int64_t declared; /* bytes of the body; -1: unknown */
    int64_t most;     /* bytes that it may have */
    int64_t excess;   /* bytes of a body that were thrown away */
    char peer[NET_ADDRESS], id[EXCHANGE_ID];
    ExchangeNote note; /* its owner's */
    double began;
    bool is_head, old; /* HEAD; HTTP/1.0 */
    bool large;        /* its body may be */
    bool closes;       /* the connection, behind the answer */

    /* under the lock */
    bool owned, attached, suspended, gone, telling, streams, events, ended, probe;
    struct MHD_Response *response; /* to be queued */
    int64_t status, answer_bytes;
    HeadField *field; /* of the answer, further ones */
    void (*on_gone)(void *arg);
    void *gone_arg;
    char *out; /* what a stream has to send: each piece behind its length, an int32_t */
    int64_t out_from, out_to, out_cap;
    int64_t out_sent; /* bytes of the first piece that are on their way */
    Str last;         /* what follows behind them, in the exchange's arena */
};

/* ---- exchange.c ------------------------------------------------------------------------------ */

Exchange *exchange_new(Server *h);
/* Under the lock; `release` frees it where nobody holds it any more. */
void exchange_release(Exchange *x);
void exchange_wake(Exchange *x); /* resumes its connection if that is suspended */
void exchange_suspend(Exchange *x);
/* Under the lock, which it leaves while it tells the owner. */
void exchange_lost(Exchange *x);
/* A response of the network thread's, with the refusal's body. */
struct MHD_Response *exchange_refusal(Exchange *x, int64_t status, const char *why);
void http_enter(Server *h), http_leave(Server *h);

/* ---- connection.c: libmicrohttpd's calls ----------------------------------------------------- */

void connection_notify(void *http, struct MHD_Connection *mhd, void **context,
                       enum MHD_ConnectionNotificationCode what);
void *connection_target(void *http, const char *target, struct MHD_Connection *mhd);
enum MHD_Result connection_request(void *http, struct MHD_Connection *mhd, const char *url,
                                   const char *method, const char *version, const char *upload,
                                   size_t *n_upload, void **context);
int connection_certificate(gnutls_session_t tls, const struct gnutls_cert_retr_st *info,
                           gnutls_pcert_st **cert, unsigned *n, gnutls_ocsp_data_st **ocsp,
                           unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags);
void connection_completed(void *http, struct MHD_Connection *mhd, void **context,
                          enum MHD_RequestTerminationCode how);

/* ---- received.c ------------------------------------------------------------------------------ */

/* The calling thread is the network thread of a server, with or without TLS. */
void received_here(bool tls);

/* ---- reaper.c -------------------------------------------------------------------------------- */

void reaper_run(void *http);
uint64_t reaper_tag(const Server *h, const Connection *c);
/* Keeps a connection that is being closed open for a second, for a client that has not read the
 * answer yet: bytes that it sends meanwhile would otherwise reset the connection, and the answer
 * would be lost with it. Under the lock. */
void reaper_linger(Server *h, int fd);
