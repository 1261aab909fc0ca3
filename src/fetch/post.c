/* post.c -- questions to an address, one after the other. */
#include "fetch/fetch.h"
#include "fetch/http.h"

enum { TRIES = 6, ANSWER_BYTES = 64 << 20 };

struct Post {
    Http *http;
    const char *url, *token;
};

bool post_open(Post **out, Arena *a, const char *address, const char *token, Err *err) {
    Post *p = *out = PUSH(a, Post, 1);
    p->token = token;
    return url_open(&p->url, a, address, "the address of a model", err)
           && http_open(&p->http, a, err);
}

typedef struct Taken {
    Buf body;
    const char *url;
} Taken;

static bool take(void *arg, const HttpReply *r, const void *bytes, int64_t n, Err *err) {
    Taken *t = arg;
    (void)r;
    if (t->body.n + n > ANSWER_BYTES)
        return err_set(err, ERR_LIMIT, "asking %s: the answer has more than %d MB", t->url,
                       ANSWER_BYTES >> 20);
    buf_add(&t->body, (Str){bytes, n});
    return true;
}

static bool refused(const Post *p, const char *url, int64_t status, Err *err) {
    const char *help = status == 401 || status == 403
                           ? p->token ? ": it does not take the token" : ": it wants a token"
                       : status == 404                 ? ": there is no model at this address"
                       : status == 429 || status > 499 ? ", and did so again: it is too busy"
                                                       : "";
    return err_set(err, ERR_IO, "asking %s: it answers %lld%s", url, (long long)status, help);
}

bool post_ask(Post *p, Arena *a, Str json, Str *answer, Err *err) {
    HttpReply r = {0};
    for (int64_t try = 0;; try++) {
        Err why = {0};
        Taken t = {.body = {.a = a}, .url = url_shown(a, p->url)};
        const HttpRequest q = {
            .url = p->url, .token = p->token, .post = json, .take = take, .arg = &t};
        const HttpEnd end = http_get(p->http, a, &r, &q, &why);
        if (end == HTTP_ANSWERED && (r.status == 200 || r.status == 206))
            return *answer = buf_str(&t.body), true;
        if (try + 1 < TRIES && http_again(end, &r) && !os_interrupted()) {
            http_wait(try, &r);
            continue;
        }
        return end == HTTP_ANSWERED ? refused(p, t.url, r.status, err) : (*err = why, false);
    }
}

void post_close(Post *p) {
    if (p) http_close(p->http);
}
