/* websearch.c -- questions to a search engine, by processes that were started for it. */
#include "fetch/fetch.h"
#include "fetch/http.h"

enum { ANSWER_BYTES = 1 << 20, SECONDS = 8, PATIENCE = 10 };

struct WebSearch {
    Helpers *helpers;
    const char *url;
    NetReach reach;
};

/* ---- in a helper ----------------------------------------------------------------------------- */

typedef struct Taken {
    Buf body;
    const char *url;
} Taken;

static bool take(void *arg, const HttpReply *r, const void *bytes, int64_t n, Err *err) {
    Taken *t = arg;
    (void)r;
    if (t->body.n + n > ANSWER_BYTES)
        return err_set(err, ERR_IO, "asking %s: the answer has more than %d bytes", t->url,
                       ANSWER_BYTES);
    buf_add(&t->body, (Str){bytes, n});
    return true;
}

static bool refused(const WebSearch *w, Arena *a, int64_t status, Err *err) {
    return err_set(err, ERR_IO, "asking %s: it answers %lld%s", url_shown(a, w->url),
                   (long long)status,
                   status == 403 ? " (does search.formats in SearXNG's settings.yml list json?)"
                   : status >= 300 && status < 400
                       ? ", a redirect, which is not followed: give the address that it leads to"
                   : status == 404 ? " (is it the address of SearXNG's front page?)"
                                   : "");
}

static bool ask(void *arg, Arena *a, Str query, Str *answer, Err *err) {
    const WebSearch *w = arg;
    const char *url =
        str_fmt(a, "%s/search?q=%.*s&format=json", w->url, STRF(url_encode(a, query, false))).p;
    Taken t = {.body = {.a = a}, .url = url_shown(a, w->url)};
    const HttpRequest q = {
        .url = url, .take = take, .arg = &t, .seconds = SECONDS, .reach = w->reach};
    HttpReply r;
    Http *http = NULL;
    bool fine = http_open(&http, a, err) && http_get(http, a, &r, &q, err) == HTTP_ANSWERED;
    if (fine && r.status != 200) fine = refused(w, a, r.status, err);
    http_close(http);
    *answer = buf_str(&t.body);
    return fine;
}

/* ---- in this process ------------------------------------------------------------------------- */

static bool address_check(WebSearch *w, Arena *a, const char *address, Err *err) {
    if (!url_open(&w->url, a, address, "the address of a search engine", err)) return false;
    if (strpbrk(w->url, "?#"))
        return err_set(err, ERR_USAGE,
                       "the address of a search engine is that of its front page, without ? and #: "
                       "%s",
                       url_shown(a, w->url));
    w->url = str_copy(a, str_trim(str_of(w->url), "/")).p;
    w->reach = url_local(w->url) ? NET_THIS_MACHINE : NET_PUBLIC;
    if (!url_reaches(w->reach, w->url))
        return err_set(err, ERR_USAGE,
                       "%s: a search engine is asked on this machine or at a public address, not "
                       "in a private network: let it listen on 127.0.0.1",
                       url_shown(a, w->url));
    return w->reach == NET_THIS_MACHINE || !url_plain(w->url)
           || err_set(err, ERR_USAGE,
                      "%s: questions go to another machine by https alone; http is for a search "
                      "engine on this one",
                      url_shown(a, w->url));
}

bool websearch_open(WebSearch **out, Arena *a, const char *address, Err *err) {
    WebSearch *w = *out = PUSH(a, WebSearch, 1);
    const HelpersSpec spec = {.kind = HELPER_CONNECTS,
                              .fn = ask,
                              .arg = w,
                              .n = WEB_SEARCHES,
                              .at_work = "searches go on"};
    return address_check(w, a, address, err) && helpers_open(&w->helpers, a, &spec, err);
}

bool websearch_ask(WebSearch *w, Arena *a, Str query, Str *answer, Err *err) {
    bool busy;
    const bool fine = helpers_ask(w->helpers, a, query, answer, PATIENCE, &busy, err);
    if (!fine && !busy) err->code = ERR_IO; /* whatever the other process calls it */
    return fine;
}

void websearch_close(WebSearch *w) {
    if (w) helpers_close(w->helpers);
}
