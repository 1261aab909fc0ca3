/* http.h -- private to fetch/: addresses, and GET and POST requests over libcurl. */
#pragma once
#include "base/base.h"

/* ---- addresses (url.c) ----------------------------------------------------------------------- */

/* *out: the address as it is sent, from one that a user wrote: https, or http where that was
 * written; without a scheme https, and http for this machine. */
bool url_open(const char **out, Arena *a, const char *text, const char *what, Err *err) CHECKED;
/* Where a redirect of `from` leads. `plain`: http is fine, since the first address was http. */
bool url_follow(const char **out, Arena *a, const char *from, Str location, bool plain,
                Err *err) CHECKED;
bool url_plain(const char *url); /* http */
/* The host is a name or number of this machine. */
bool url_local(const char *url);
/* Whether the host, where it is a number, is of these. */
bool url_reaches(NetReach reach, const char *url);
bool url_same_host(const char *a, const char *b); /* and scheme and port */
/* For messages: without the query, which may hold keys. */
const char *url_shown(Arena *a, const char *url);
/* Path and nothing else, decoded; empty where it has none or cannot be decoded. */
Str url_path(Arena *a, const char *url);
/* Bytes as a part of a path; '/' stays only where `slashes`. */
Str url_encode(Arena *a, Str s, bool slashes);
/* What s begins with is no character, or none that is seen as what it is. */
bool text_hidden(Str s);
/* Text from a server, for messages: one line of printable characters, cut at `most` bytes. */
const char *text_line(Arena *a, Str s, int64_t most);

/* ---- requests (http.c) ----------------------------------------------------------------------- */

typedef enum HttpEnd {
    HTTP_ANSWERED,    /* whole, with whatever status */
    HTTP_UNREACHABLE, /* nobody was reached */
    HTTP_CUT,         /* the line broke; it may be worth another try */
    HTTP_FAILED       /* not worth one */
} HttpEnd;

/* Of the last answer. Texts live in the arena of the request; they are empty where they are not
 * given, numbers -1. */
typedef struct HttpReply {
    const char *url; /* that answered: behind redirects another one than was asked */
    int64_t status, length, range_first, range_total, retry_after, linked_size;
    Str type, etag, link, location, error_code, error_message;
    Str linked_etag; /* of the first host only: the hub's word on what it redirects to */
} HttpReply;

typedef struct HttpRequest {
    const char *url;
    const char *token;    /* NULL, or for the host of url alone */
    int64_t from;         /* the first byte that is wanted */
    const char *if_range; /* with from: only of this version, else all */
    /* Bytes of an answer with status 200 or 206; false, with an Err, ends the request. */
    bool (*take)(void *arg, const HttpReply *r, const void *p, int64_t n, Err *err);
    void *arg;
    int64_t seconds; /* most that all of it may take; 0: as long as bytes come */
    Str post;        /* JSON to send; n = 0: the request is a GET */
    /* Not NET_ANYWHERE: it connects to such addresses alone, whatever the name of the host leads to
     * by now, without a proxy, and no redirect is followed. */
    NetReach reach;
} HttpRequest;

typedef struct Http Http; /* keeps its connections from one request to the next */
bool http_open(Http **h, Arena *a, Err *err) CHECKED;
void http_close(Http *h); /* NULL is fine */
/* Follows redirects, but of what is sent. Anything but HTTP_ANSWERED comes with an Err. */
HttpEnd http_get(Http *h, Arena *a, HttpReply *r, const HttpRequest *q, Err *err) CHECKED;
/* Cut lines, and servers that are busy: worth another try after http_wait. */
bool http_again(HttpEnd end, const HttpReply *r);
/* Before try number `try` + 1: as long as the server says, or 0.2 .. 6.4 s; ends at Ctrl-C. */
void http_wait(int64_t try, const HttpReply *r);
/* What an answer of another status than 200 and 206 means: fails with an Err that says what helps.
 * `what`: what was asked for. page: where its licence would be accepted, or NULL. */
bool http_refused(Arena *a, const HttpReply *r, const char *what, const char *page, bool token,
                  Err *err);
