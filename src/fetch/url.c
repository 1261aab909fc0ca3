/* url.c -- addresses. All of them are parsed by libcurl's own parser, which is the one that acts
 * on them, so that no two readings of an address can differ. */
#include <curl/curl.h>

#include "fetch/http.h"

/* A part of an address, or NULL; the caller frees it by curl_free. */
static char *part_of(const char *url, CURLUPart part, unsigned flags) {
    CURLU *u = curl_url();
    char *text = NULL;
    bool fine = u && !curl_url_set(u, CURLUPART_URL, url, 0);
    if (!fine || curl_url_get(u, part, &text, flags)) text = NULL;
    curl_url_cleanup(u);
    return text;
}

static bool part_same(const char *a, const char *b, CURLUPart part) {
    char *x = part_of(a, part, CURLU_DEFAULT_PORT), *y = part_of(b, part, CURLU_DEFAULT_PORT);
    bool same = x && y && curl_strequal(x, y);
    curl_free(x);
    curl_free(y);
    return same;
}

bool url_plain(const char *url) {
    char *scheme = part_of(url, CURLUPART_SCHEME, 0);
    bool plain = scheme && !strcmp(scheme, "http");
    curl_free(scheme);
    return plain;
}

bool url_same_host(const char *a, const char *b) {
    return part_same(a, b, CURLUPART_SCHEME) && part_same(a, b, CURLUPART_HOST)
           && part_same(a, b, CURLUPART_PORT);
}

/* "127.0.0.1", and no name that merely begins so. */
static bool host_local(const char *host) {
    if (curl_strequal(host, "localhost") || !strcmp(host, "[::1]")) return true;
    return str_starts(str_of(host), STR("127.")) && strspn(host, "0123456789.") == strlen(host);
}

bool url_local(const char *url) {
    char *host = part_of(url, CURLUPART_HOST, 0);
    bool local = host && host_local(host);
    curl_free(host);
    return local;
}

bool url_reaches(NetReach reach, const char *url) {
    char *host = part_of(url, CURLUPART_HOST, 0);
    const bool fine = host && net_host_reaches(reach, host);
    curl_free(host);
    return fine;
}

static const char *url_text(Arena *a, CURLU *u) {
    char *text = NULL;
    if (curl_url_get(u, CURLUPART_URL, &text, 0)) return NULL;
    const char *copy = str_copy(a, str_of(text)).p;
    curl_free(text);
    return copy;
}

/* Scheme and host are there, the scheme is http or https, and nobody's password is in it. */
static bool url_usable(CURLU *u) {
    char *scheme = NULL, *host = NULL, *user = NULL;
    bool fine = !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0)
                && (!strcmp(scheme, "https") || !strcmp(scheme, "http"))
                && !curl_url_get(u, CURLUPART_HOST, &host, 0) && *host
                && curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER;
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    return fine;
}

bool url_open(const char **out, Arena *a, const char *text, const char *what, Err *err) {
    CURLU *u = curl_url();
    const char *whole = text;
    if (!strstr(text, "://")) {
        whole = str_fmt(a, "https://%s", text).p;
        if (url_local(whole)) whole = str_fmt(a, "http://%s", text).p;
    }
    bool fine =
        u && !curl_url_set(u, CURLUPART_URL, whole, 0) && url_usable(u) && (*out = url_text(a, u));
    curl_url_cleanup(u);
    return fine
           || err_set(err, ERR_USAGE,
                      "%s \"%s\" is no address that can be fetched from: one begins with "
                      "https:// (or http://) and has no user name in it",
                      what, url_shown(a, text));
}

bool url_follow(const char **out, Arena *a, const char *from, Str location, bool plain, Err *err) {
    CURLU *u = curl_url();
    const char *to = str_copy(a, location).p; /* header lines hold no byte 0 */
    bool fine = u && !curl_url_set(u, CURLUPART_URL, from, 0)
                && !curl_url_set(u, CURLUPART_URL, to, 0) && url_usable(u)
                && (*out = url_text(a, u));
    curl_url_cleanup(u);
    if (!fine)
        return err_set(err, ERR_FORMAT,
                       "fetching %s: the server redirects to \"%s\", which is no address that is "
                       "followed",
                       url_shown(a, from), text_line(a, location, 100));
    return plain || !url_plain(*out)
           || err_set(err, ERR_FORMAT,
                      "fetching %s: the server redirects to %s, which is not encrypted: that is "
                      "not followed",
                      url_shown(a, from), url_shown(a, *out));
}

const char *url_shown(Arena *a, const char *url) {
    return text_line(a, (Str){url, (int64_t)strcspn(url, "?#")}, 200);
}

Str url_path(Arena *a, const char *url) {
    char *path = part_of(url, CURLUPART_PATH, CURLU_URLDECODE);
    Str copy = path ? str_copy(a, str_of(path)) : (Str){0};
    curl_free(path);
    return copy;
}

Str url_encode(Arena *a, Str s, bool slashes) {
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    Buf b = {.a = a};
    for (int64_t i = 0; i < s.n; i++) {
        if (char_in(s.p[i], plain) || (slashes && s.p[i] == '/'))
            buf_add(&b, (Str){s.p + i, 1});
        else
            buf_fmt(&b, "%%%02X", (unsigned char)s.p[i]);
    }
    return str_copy(a, buf_str(&b));
}

bool text_hidden(Str s) {
    bool turns = utf8_length(s) == 3 && (unsigned char)s.p[0] == 0xe2
                 && ((unsigned char)s.p[1] & 0xfe) == 0x80; /* U+2000 to U+207F: directions */
    return utf8_length(s) == 0 || utf8_control(s) || turns;
}

const char *text_line(Arena *a, Str s, int64_t most) {
    Buf b = {.a = a};
    while (s.n > 0 && b.n < most) {
        int n = utf8_length(s);
        buf_add(&b, text_hidden(s) ? STR("?") : (Str){s.p, n});
        s.p += MAX(n, 1), s.n -= MAX(n, 1);
    }
    if (s.n > 0) buf_add(&b, STR("..."));
    return str_copy(a, buf_str(&b)).p;
}
