/* http.h -- private to serve/: HTTP/1.1 by libmicrohttpd behind a strict request guard (guard.h).
 *
 * Promises: what reaches the handler is one whole request with a framing on which every proxy
 * agrees; everything else was answered and its connection closed. Every connection has absolute
 * deadlines. A client that leaves is noticed at once, while nothing is written to it too.
 * Threads: libmicrohttpd's network thread, a reaper, and spec.workers threads that run the handler,
 * one request each. An Exchange may be answered by any one thread, then or later.
 * Ownership: an Exchange belongs to whom the handler gave it until exchange_answer or exchange_end,
 * one of which must be called exactly once; after that it must not be touched. Its arena and what
 * the request's strings point to live as long. */
#pragma once
#include "base/base.h"

typedef struct Server Server;
typedef struct Exchange Exchange;

/* What its handler tells of a request, for the log; whose exchange it is may write it. Names are of
 * tables, never what a client sent. */
typedef struct ExchangeNote {
    const char *route, *code; /* "/chat/completions"; of what went wrong; NULL: none */
    char tenant[64];          /* empty: none is known */
    int64_t key;              /* 0: none is known */
    int64_t tokens_in, tokens_cached, tokens_out, tokens_thought;
    double waited, first; /* seconds until the engine had it, until its first token; 0: never */
} ExchangeNote;

/* A request that is over: its answer is in the system's hands, or its client has left. */
typedef struct Served {
    const char *id, *peer;
    Str method;     /* as it was sent */
    int64_t status; /* 0: its client left before there was one */
    bool gone;      /* its client, before the answer's end */
    double seconds; /* since its head had come */
    const ExchangeNote *note;
} Served;

typedef struct ServerSpec {
    const char *host; /* an address or "localhost"; NULL with unix_path */
    int64_t port;     /* 0: any that is free */
    const char *unix_path;
    int64_t socket;                 /* of systemd's activation; 0: none */
    const char *tls_cert, *tls_key; /* PEM files; NULL: plain */
    const char *const *names;       /* (n_names) further Host names that are let in, beside
                                       * localhost and the bound address */
    int64_t n_names;
    int64_t connections, body_bytes; /* most of them; most bytes of a request's body */
    /* Whether a path, as it was sent, is one whose bodies may have large_bytes instead; such bodies
     * take nothing of the memory that others share. NULL: none is. */
    bool (*is_large)(Str path);
    int64_t large_bytes;
    int64_t out_bytes;      /* most bytes of a stream that its client has not read */
    int64_t workers, queue; /* threads; whole requests that wait for one */
    double head_seconds, body_seconds, idle_seconds; /* accept to end of head; from there to end of
                                       * body; between requests */
    void (*handler)(void *arg, Exchange *x);
    /* An answer to what the guard refuses, in the shape of the route's family: its body, in the
     * exchange's arena; type application/json. */
    Str (*refused)(void *arg, Exchange *x, int64_t status, const char *why);
    /* Told of each request when it is over; must not wait. NULL: nobody is. */
    void (*over)(void *arg, const Served *s);
    void *arg;
} ServerSpec;

bool server_open(Server **h, Arena *a, const ServerSpec *spec, Err *err) CHECKED;
int64_t server_port(const Server *h);
const char *server_address(const Server *h); /* "http://127.0.0.1:8080" */
int64_t server_connections(const Server *h); /* open now */
/* Reads the files of the certificate again, for connections that come; those that are open go on.
 * Fails where they are not a certificate and its key: then it stays the one that it was. */
bool server_certificate(Server *h, bool *differs, Err *err) CHECKED;
/* Takes no more connections, and closes those that are between requests; answers go on. */
void server_drain(Server *h);
void server_close(
    Server *h); /* ends every connection; no handler may be running, all are answered */

/* ---- the request ----------------------------------------------------------------------------- */

Str exchange_method(const Exchange *x); /* "GET", "HEAD", "POST", ... */
Str exchange_path(const Exchange *x);   /* as it was sent, without the query */
Str exchange_query(const Exchange *x);  /* behind the '?', as it was sent */
/* A member of the query; p NULL: it is not there. */
Str exchange_member(const Exchange *x, const char *name);
Str exchange_header(const Exchange *x, const char *name); /* any case; p NULL: not there */
Str exchange_body(const Exchange *x);                     /* NUL-terminated behind its end */
const char *exchange_peer(const Exchange *x);             /* "127.0.0.1", "unix" */
double exchange_began(const Exchange *x);                 /* os_now when its head had come */
Arena *exchange_arena(Exchange *x);
const char *exchange_id(const Exchange *x); /* "req_...", of its answer's headers, too */
ExchangeNote *exchange_note(Exchange *x);

/* ---- the answer ------------------------------------------------------------------------------ */

/* A header of the answer, before it begins; CHECKs that neither holds a control character. */
void exchange_head(Exchange *x, const char *name, const char *value);
/* The whole answer; the body is copied. HEAD gets the same without it. */
void exchange_answer(Exchange *x, int64_t status, const char *type, Str body);
/* Or a stream: begin, writes, end. A write is one event, which is never cut. false: the client has
 * gone, or does not read; nothing more will reach it. */
void exchange_begin(Exchange *x, int64_t status, const char *type);
bool exchange_write(Exchange *x, Str bytes);
void exchange_end(Exchange *x);
/* The same behind a last piece of any length, which is copied. */
void exchange_end_with(Exchange *x, Str last);
/* How many bytes a write may have now; -1: the client has gone. */
int64_t exchange_room(Exchange *x);
/* `gone` is called once, from another thread, where the client leaves before the answer's end; not
 * after exchange_end has returned. Where it has left already, at once. */
void exchange_on_gone(Exchange *x, void (*gone)(void *arg), void *arg);
