/* http.c -- GET and POST requests over libcurl.
 *
 * Redirects are followed here and not by libcurl, so that each address is looked at and the token
 * is sent to the first host only. */
#include <curl/curl.h>
#include <stdio.h>

#include "fetch/http.h"

enum { REDIRECTS = 5, HEADER_BYTES = 8192, IGNORED_BYTES = 1 << 20 };
enum { CONNECT_SECONDS = 30, STALL_SECONDS = 60, ANSWER_SECONDS = 600 };

struct Http {
    CURL *easy;
};

/* One request on its way. */
typedef struct Transfer {
    Arena *a;
    CURL *easy;
    HttpReply *r;
    const HttpRequest *q;
    bool first_host;
    int64_t ignored; /* bytes of answers that nobody wants */
    Err *err;
} Transfer;

bool http_open(Http **h, Arena *a, Err *err) {
    *h = PUSH(a, Http, 1);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK && ((*h)->easy = curl_easy_init()))
        return true;
    return err_set(err, ERR_LIMIT, "libcurl cannot start (is memory short?)");
}

void http_close(Http *h) {
    if (!h) return;
    if (h->easy) curl_easy_cleanup(h->easy);
    h->easy = NULL;
    curl_global_cleanup();
}

/* ---- headers --------------------------------------------------------------------------------- */

static int64_t number_of(Str s) {
    int64_t v;
    return str_i64(s, &v) && v >= 0 ? v : -1;
}

/* "bytes 100-199/200" */
static void range_read(HttpReply *r, Str v) {
    const char *dash = memchr(v.p, '-', (size_t)v.n), *slash = memchr(v.p, '/', (size_t)v.n);
    if (!str_starts(v, STR("bytes ")) || !dash || !slash || dash < v.p + 6) return;
    r->range_first = number_of((Str){v.p + 6, dash - v.p - 6});
    r->range_total = number_of((Str){slash + 1, v.n - (slash + 1 - v.p)});
}

static void reply_clear(HttpReply *r) {
    const HttpReply before = *r;
    *r = (HttpReply){.url = before.url,
                     .length = -1,
                     .range_first = -1,
                     .range_total = -1,
                     .retry_after = -1,
                     .linked_size = before.linked_size,
                     .linked_etag = before.linked_etag};
}

static void header_keep(Transfer *t, const char *name, Str v) {
    HttpReply *r = t->r;
    const struct {
        const char *name;
        Str *text;
        int64_t *number;
        bool first_host;
    } kept[] = {
        {"content-type", &r->type, NULL, false},
        {"content-length", NULL, &r->length, false},
        {"etag", &r->etag, NULL, false},
        {"link", &r->link, NULL, false},
        {"location", &r->location, NULL, false},
        {"retry-after", NULL, &r->retry_after, false},
        {"x-error-code", &r->error_code, NULL, false},
        {"x-error-message", &r->error_message, NULL, false},
        {"x-linked-etag", &r->linked_etag, NULL, true},
        {"x-linked-size", NULL, &r->linked_size, true},
    };
    if (curl_strequal(name, "content-range")) range_read(r, v);
    for (int64_t i = 0; i < COUNT(kept); i++) {
        if (!curl_strequal(name, kept[i].name) || (kept[i].first_host && !t->first_host)) continue;
        if (kept[i].text) *kept[i].text = str_copy(t->a, v);
        if (kept[i].number) *kept[i].number = number_of(v);
    }
}

/* One line. A status line begins an answer; there may be several, of which the last counts. */
static size_t header_take(char *p, size_t size, size_t n, void *arg) {
    Transfer *t = arg;
    Str line = str_trim((Str){p, (int64_t)(size * n)}, "\r\n");
    const char *colon = memchr(line.p, ':', (size_t)line.n);
    char name[32];
    if (str_starts(line, STR("HTTP/"))) {
        reply_clear(t->r);
    } else if (colon && colon - line.p < COUNT(name) && line.n < HEADER_BYTES) {
        snprintf(name, sizeof name, "%.*s", (int)(colon - line.p), line.p);
        Str value = {colon + 1, line.n - (colon + 1 - line.p)};
        header_keep(t, name, str_trim(value, " \t"));
    }
    return size * n;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static size_t body_take(char *p, size_t size, size_t n, void *arg) {
    Transfer *t = arg;
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    t->r->status = status;
    if (status == 200 || status == 206)
        return t->q->take(t->q->arg, t->r, p, (int64_t)(size * n), t->err) ? size * n : 0;
    t->ignored += (int64_t)(size * n);
    return t->ignored <= IGNORED_BYTES ? size * n : 0;
}

static int on_progress(void *arg, curl_off_t to_get, curl_off_t got, curl_off_t to_put,
                       curl_off_t put) {
    (void)arg, (void)to_get, (void)got, (void)to_put, (void)put;
    return os_interrupted();
}

/* ---- one request ----------------------------------------------------------------------------- */

/* The address that is about to be connected to; another one than was looked at cannot be. */
static curl_socket_t socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *at) {
    Transfer *t = arg;
    (void)purpose;
    if (!net_reaches(t->q->reach, &at->addr))
        err_set(t->err, ERR_IO, "fetching %s: its name leads to an address that is %s",
                url_shown(t->a, t->r->url),
                t->q->reach == NET_PUBLIC ? "not public" : "not of this machine");
    const int fd = net_socket(t->q->reach, &at->addr, at->socktype, at->protocol);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static void options_set(Transfer *t, const char *url, struct curl_slist *headers) {
    CURL *c = t->easy;
    curl_easy_reset(c); /* connections stay */
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "lisao");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, header_take);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME,
                     (long)(t->q->post.n ? ANSWER_SECONDS : STALL_SECONDS));
    if (t->q->post.n) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, t->q->post.p); /* which makes it a POST */
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->q->post.n);
    }
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)t->q->seconds);
    const bool narrow = t->q->reach != NET_ANYWHERE;
    if (narrow || url_local(url)) curl_easy_setopt(c, CURLOPT_PROXY, ""); /* and needs none there */
    if (narrow) {
        curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, socket_open);
        curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t);
    }
}

static struct curl_slist *header_add(Transfer *t, struct curl_slist *list, const char *name,
                                     const char *value) {
    struct curl_slist *more = curl_slist_append(list, str_fmt(t->a, "%s: %s", name, value).p);
    CHECK(more); /* libcurl has no memory for some bytes */
    return more;
}

static struct curl_slist *headers_make(Transfer *t) {
    const HttpRequest *q = t->q;
    struct curl_slist *list = NULL;
    if (q->token && t->first_host)
        list = header_add(t, list, "Authorization", str_fmt(t->a, "Bearer %s", q->token).p);
    if (q->from)
        list = header_add(t, list, "Range", str_fmt(t->a, "bytes=%lld-", (long long)q->from).p);
    if (q->post.n) list = header_add(t, list, "Content-Type", "application/json");
    if (q->from && q->if_range) list = header_add(t, list, "If-Range", q->if_range);
    return list;
}

static HttpEnd ended(Transfer *t, CURLcode code, const char *why) {
    const char *url = url_shown(t->a, t->r->url);
    bool certificate = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    if (t->err->code != ERR_NONE) return HTTP_FAILED; /* `take` has said why */
    switch (code) {
    case CURLE_OK: return HTTP_ANSWERED;
    case CURLE_WRITE_ERROR: return HTTP_ANSWERED; /* more than anyone reads, of a refusal */
    case CURLE_ABORTED_BY_CALLBACK:
        err_set(t->err, ERR_INTERRUPTED, "interrupted");
        return HTTP_FAILED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        err_set(t->err, ERR_IO, "fetching %s: nobody is reached: %s%s", url, why,
                t->q->reach == NET_ANYWHERE
                    ? " (is there a network? behind a proxy set https_proxy)"
                    : "");
        return HTTP_UNREACHABLE;
    case CURLE_SSL_CONNECT_ERROR: certificate = true; break;
    default: break;
    }
    if (!certificate) {
        err_set(t->err, ERR_IO, "fetching %s: the connection broke: %s", url, why);
        return HTTP_CUT;
    }
    err_set(t->err, ERR_IO,
            "fetching %s: the server does not prove who it is: %s (is the clock right, is the "
            "package ca-certificates there?)",
            url, why);
    return HTTP_FAILED;
}

static HttpEnd one_get(Transfer *t, const char *url) {
    char why[CURL_ERROR_SIZE] = "";
    long status = 0;
    t->r->url = url;
    t->ignored = 0;
    reply_clear(t->r);
    struct curl_slist *headers = headers_make(t);
    options_set(t, url, headers);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(t->easy);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    t->r->status = status;
    return ended(t, code, text_line(t->a, str_of(*why ? why : curl_easy_strerror(code)), 200));
}

static bool redirected(const HttpReply *r) {
    return (r->status >= 301 && r->status <= 303) || r->status == 307 || r->status == 308;
}

HttpEnd http_get(Http *h, Arena *a, HttpReply *r, const HttpRequest *q, Err *err) {
    Transfer t = {.a = a, .easy = h->easy, .r = r, .q = q, .err = err};
    const char *url = q->url;
    const bool plain = url_plain(url);
    *r = (HttpReply){.linked_size = -1};
    for (int64_t hop = 0;; hop++) {
        t.first_host = url_same_host(url, q->url);
        HttpEnd end = one_get(&t, url);
        if (end != HTTP_ANSWERED || q->post.n || q->reach != NET_ANYWHERE || !redirected(r)
            || r->location.n == 0)
            return end;
        if (hop == REDIRECTS) {
            err_set(err, ERR_FORMAT, "fetching %s: the server redirects more than %d times",
                    url_shown(a, q->url), REDIRECTS);
            return HTTP_FAILED;
        }
        if (!url_follow(&url, a, url, r->location, plain, err)) return HTTP_FAILED;
    }
}

bool http_refused(Arena *a, const HttpReply *r, const char *what, const char *page, bool token,
                  Err *err) {
    const char *url = url_shown(a, r->url), *said = text_line(a, r->error_message, 200);
    const char *begin = *said ? " The server says: " : "";
    const char *licence =
        page ? str_fmt(a, "; a gated one wants its licence accepted at %s", page).p : "";
    if (r->status == 401 || r->status == 403)
        return err_set(err, ERR_IO,
                       token ? "fetching %s: %s answers %lld: the token in HF_TOKEN does not open "
                               "it%s (or there is no such repository).%s%s"
                             : "fetching %s: %s answers %lld: it is private or gated, or there is "
                               "none of that name. Set HF_TOKEN to a token of your account%s.%s%s",
                       what, url, (long long)r->status, licence, begin, said);
    if (r->status == 404)
        return err_set(err, ERR_IO,
                       "fetching %s: %s answers 404, there is none: look for a slip in the name, "
                       "the revision and the file.%s%s",
                       what, url, begin, said);
    if (r->status == 429)
        return err_set(err, ERR_IO,
                       "fetching %s: %s answers 429, too many requests: try again later%s.%s%s",
                       what, url, token ? "" : ", or with a token in HF_TOKEN", begin, said);
    return err_set(err, ERR_IO, "fetching %s: %s answers %lld%s.%s%s", what, url,
                   (long long)r->status,
                   r->status >= 500 ? ", a fault of the server: try again later" : "", begin, said);
}

bool http_again(HttpEnd end, const HttpReply *r) {
    return end == HTTP_CUT
           || (end == HTTP_ANSWERED
               && (r->status == 429 || (r->status >= 500 && r->status <= 504 && r->status != 501)));
}

void http_wait(int64_t try, const HttpReply *r) {
    double seconds = 0.2 * (double)(1 << try);
    if (r->retry_after > 0) seconds = (double)MIN(r->retry_after, 30);
    for (double until = os_now() + seconds; os_now() < until && !os_interrupted();) os_sleep(0.05);
}
