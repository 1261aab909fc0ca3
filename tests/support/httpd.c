#define _GNU_SOURCE
#include "support/httpd.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATHS = 64, REQUEST = 8192 };

struct Httpd {
    int listener, stop[2]; /* a byte in the pipe ends the thread */
    pthread_t thread;
    pthread_mutex_t lock;
    char url[64];
    Served served[PATHS];
    Asked asked[PATHS];
    int64_t n, requests;
};

/* ---- one request ----------------------------------------------------------------------------- */

/* Until a blank line, and the body behind it; false where the client went. */
static bool request_read(int fd, char text[REQUEST]) {
    for (int64_t n = 0; n < REQUEST - 1;) {
        ssize_t got = recv(fd, text + n, (size_t)(REQUEST - 1 - n), 0);
        if (got <= 0) return false;
        text[n += got] = 0;
        const char *body = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "Content-Length:");
        if (body && text + n >= body + 4 + (length ? atoll(length + 15) : 0)) return true;
    }
    return false;
}

static void header_find(const char *text, const char *name, char *out, int64_t size) {
    const char *line = strcasestr(text, name);
    out[0] = 0;
    if (!line) return;
    line += strlen(name);
    snprintf(out, (size_t)size, "%.*s", (int)strcspn(line, "\r\n"), line);
}

static void send_all(int fd, const char *p, int64_t n) {
    while (n > 0) {
        ssize_t sent = send(fd, p, (size_t)n, MSG_NOSIGNAL);
        if (sent <= 0) return;
        p += sent, n -= sent;
    }
}

/* Until the client or the server ends. */
static void stall(const Httpd *h, int fd) {
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = h->stop[0], .events = POLLIN}};
    poll(p, 2, -1);
}

static void answer(const Httpd *h, int fd, const Served *s, bool faulty, const char *range,
                   const char *if_range) {
    char head[2048], length[128] = "", etag[128] = "", where[128] = "";
    long long from = 0;
    Str body = s->body;
    int status = s->status && faulty ? s->status : 200;
    bool stale = *if_range && (!s->etag || strcmp(if_range, s->etag) != 0);
    bool part = !s->no_range && !stale && status == 200 && sscanf(range, "bytes=%lld-", &from) == 1;
    if (part && from >= body.n) status = 416, body = (Str){"", 0};
    if (part && from < body.n) {
        status = 206;
        snprintf(where, sizeof where, "Content-Range: bytes %lld-%lld/%lld\r\n", from,
                 (long long)body.n - 1, (long long)body.n);
        body.p += from, body.n -= from;
    }
    if (!s->no_length)
        snprintf(length, sizeof length, "Content-Length: %lld\r\n", (long long)body.n);
    if (s->etag) snprintf(etag, sizeof etag, "ETag: %s\r\n", s->etag);
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d Text\r\nContent-Type: %s\r\nConnection: close\r\n%s%s%s%s\r\n",
                     status, s->type ? s->type : "application/octet-stream", length, etag, where,
                     s->headers ? s->headers : "");
    send_all(fd, head, n);
    bool cut = s->cut_at && faulty && s->cut_at < body.n;
    send_all(fd, body.p, cut ? s->cut_at : body.n);
    if (cut && s->stall) stall(h, fd);
}

static void serve_one(Httpd *h, int fd) {
    char text[REQUEST], path[1024] = "", range[64], if_range[64], authorization[128];
    Served s = {.status = 404};
    bool faulty = true;
    if (!request_read(fd, text) || sscanf(text, "%*[GEPOST] %1023s ", path) != 1) return;
    header_find(text, "\r\nRange: ", range, sizeof range);
    header_find(text, "\r\nIf-Range: ", if_range, sizeof if_range);
    header_find(text, "\r\nAuthorization: ", authorization, sizeof authorization);
    pthread_mutex_lock(&h->lock);
    h->requests++;
    for (int64_t i = 0; i < h->n; i++) {
        if (strcmp(h->served[i].path, path) != 0) continue;
        s = h->served[i];
        Asked *a = &h->asked[i];
        faulty = s.faults == 0 || a->n < s.faults;
        a->n++;
        snprintf(a->range, sizeof a->range, "%s", range);
        snprintf(a->body, sizeof a->body, "%s", strstr(text, "\r\n\r\n") + 4);
        snprintf(a->authorization, sizeof a->authorization, "%s", authorization);
    }
    pthread_mutex_unlock(&h->lock);
    char bearer[160];
    snprintf(bearer, sizeof bearer, "Bearer %s", s.token ? s.token : "");
    if (s.token && strcmp(bearer, authorization) != 0) {
        s = (Served){.status = 401, .headers = "X-Error-Message: Access is restricted\r\n"};
        faulty = true;
    }
    answer(h, fd, &s, faulty, range, if_range);
}

static void *server(void *arg) {
    Httpd *h = arg;
    for (;;) {
        struct pollfd p[2] = {{.fd = h->listener, .events = POLLIN},
                              {.fd = h->stop[0], .events = POLLIN}};
        if (poll(p, 2, -1) < 0) continue;
        if (p[1].revents) return NULL;
        int fd = accept(h->listener, NULL, NULL);
        if (fd < 0) continue;
        serve_one(h, fd);
        /* What was sent arrives before the connection is gone. */
        shutdown(fd, SHUT_WR);
        close(fd);
    }
}

/* ---- the server ------------------------------------------------------------------------------ */

Httpd *httpd_open(void) {
    Httpd *h = calloc(1, sizeof *h);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    h->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(h->listener >= 0 && bind(h->listener, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(listen(h->listener, 16) == 0 && pipe(h->stop) == 0);
    CHECK(getsockname(h->listener, (struct sockaddr *)&at, &size) == 0);
    snprintf(h->url, sizeof h->url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    pthread_mutex_init(&h->lock, NULL);
    CHECK(pthread_create(&h->thread, NULL, server, h) == 0);
    return h;
}

void httpd_close(Httpd *h) {
    CHECK(write(h->stop[1], "", 1) == 1);
    pthread_join(h->thread, NULL);
    close(h->listener), close(h->stop[0]), close(h->stop[1]);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

const char *httpd_url(const Httpd *h) { return h->url; }

void httpd_serve(Httpd *h, Served s) {
    pthread_mutex_lock(&h->lock);
    int64_t i = 0;
    while (i < h->n && strcmp(h->served[i].path, s.path) != 0) i++;
    CHECK(i < PATHS);
    h->n = MAX(h->n, i + 1);
    h->served[i] = s;
    h->asked[i] = (Asked){0};
    pthread_mutex_unlock(&h->lock);
}

Asked httpd_asked(Httpd *h, const char *path) {
    Asked a = {0};
    pthread_mutex_lock(&h->lock);
    for (int64_t i = 0; i < h->n; i++)
        if (!strcmp(h->served[i].path, path)) a = h->asked[i];
    pthread_mutex_unlock(&h->lock);
    return a;
}

int64_t httpd_requests(Httpd *h) {
    pthread_mutex_lock(&h->lock);
    int64_t n = h->requests;
    pthread_mutex_unlock(&h->lock);
    return n;
}

/* ---- a hub ----------------------------------------------------------------------------------- */

const char *sha256_text(Arena *a, Str s) {
    Sha256 sha;
    char *hex = arena_push(a, 65);
    sha256_init(&sha);
    sha256_add(&sha, s.p, s.n);
    sha256_hex(&sha, hex);
    return hex;
}

const char *httpd_file(Arena *a, const char *repo, const char *path) {
    return str_fmt(a, "/%s/resolve/main/%s", repo, path).p;
}

void httpd_hub(Httpd *h, Arena *a, const char *repo, const HubFile *file, int64_t n) {
    Buf list = {.a = a};
    buf_add(&list, STR("[{\"type\": \"directory\", \"path\": \"images\", \"size\": 0}"));
    for (int64_t i = 0; i < n; i++) {
        const char *sha = sha256_text(a, file[i].bytes);
        buf_fmt(&list,
                ", {\"type\": \"file\", \"path\": \"%s\", \"size\": %lld, \"oid\": \"%.40s\"",
                file[i].path, (long long)file[i].bytes.n, sha);
        if (!file[i].plain)
            buf_fmt(&list, ", \"lfs\": {\"oid\": \"%s\", \"size\": %lld}", sha,
                    (long long)file[i].bytes.n);
        buf_add(&list, STR("}"));
        httpd_serve(h, (Served){.path = httpd_file(a, repo, file[i].path), .body = file[i].bytes});
    }
    buf_add(&list, STR("]"));
    httpd_serve(h, (Served){.path = str_fmt(a, "/api/models/%s/tree/main?recursive=true", repo).p,
                            .body = str_copy(a, buf_str(&list)),
                            .type = "application/json"});
}
