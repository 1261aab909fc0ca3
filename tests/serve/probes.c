/* probes.c -- 56 requests, most of them malformed, that servers and proxies have been seen to
 * disagree on: each whole, byte by byte and in random pieces, over plain TCP and over TLS. */
#define _GNU_SOURCE
#include "tests.h"

#define GET     "GET /a HTTP/1.1\r\nHost: x\r\n"
#define POST    "POST /a HTTP/1.1\r\nHost: x\r\n"
#define SMUG    "GET /smug HTTP/1.1\r\nHost: x\r\n\r\n"
#define NUL10   "\0\0\0\0\0\0\0\0\0\0"
#define NUL40   NUL10 NUL10 NUL10 NUL10
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

typedef struct Probe {
    const char *name;
    Str bytes;        /* before `fill` */
    const char *fill; /* `times` times */
    int64_t times;
    Str rest;
    const char *status[2]; /* of the answers, in order; "a|b": either */
    bool closes;
    int64_t n; /* bytes of a body that must have come; -1: no matter */
} Probe;
#define WHOLE(name, text, closes, n, ...)                                                          \
    { name, STR(text), "", 0, STR(""), {__VA_ARGS__}, closes, n }
#define OK(name, text, n)    WHOLE(name, text, false, n, "200", NULL)
#define BAD(name, text)      WHOLE(name, text, true, -1, "400", NULL)
#define IS(name, text, what) WHOLE(name, text, true, -1, what, NULL)

static const Probe probes[] = {
    OK("1 GET ok", GET "\r\n", 0),
    WHOLE("2 pipelined 2", GET "\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n", false, 0, "200", "200"),
    OK("3 CL ok", POST "Content-Length: 3\r\n\r\nabc", 3),
    OK("4 chunked ok", CHUNKED "3\r\nabc\r\n0\r\n\r\n", 3),
    BAD("5 CL+TE smuggle",
        POST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUG),
    BAD("6 TE: xchunked", POST "Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc"),
    BAD("7 TE: chunked, identity",
        POST "Transfer-Encoding: chunked, identity\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    BAD("8 TE space before colon",
        POST "Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc"),
    BAD("9 dup CL differ", POST "Content-Length: 3\r\nContent-Length: 0\r\n\r\nabc" SMUG),
    BAD("10 CL: +3", POST "Content-Length: +3\r\n\r\nabc"),
    BAD("11 CL: -1", POST "Content-Length: -1\r\n\r\nabc"),
    BAD("12 CL: 3,3", POST "Content-Length: 3, 3\r\n\r\nabc"),
    BAD("13 CL: 0x3", POST "Content-Length: 0x3\r\n\r\nabc"),
    IS("14 CL: 2^64", POST "Content-Length: 18446744073709551619\r\n\r\nabc", "400|413"),
    IS("15 CL: 1e15 no body", POST "Content-Length: 1000000000000000\r\n\r\n", "413"),
    BAD("16 chunk size neg", CHUNKED "-3\r\nabc\r\n0\r\n\r\n"),
    IS("17 chunk size overflow", CHUNKED "FFFFFFFFFFFFFFFFF\r\nabc", "400|413"),
    /* A gap of libmicrohttpd 0.9.75, out of the guard's sight: 400 would be right. */
    OK("18 chunk bare LF", CHUNKED "3\nabc\n0\n\n", 3),
    BAD("19 chunk ext garbage", CHUNKED "3;a\nb\r\nabc\r\n0\r\n\r\n"),
    BAD("20 no Host", "GET /a HTTP/1.1\r\n\r\n"),
    BAD("21 two Host", "GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    BAD("22 bare LF lines", "GET /a HTTP/1.1\nHost: x\n\n"),
    BAD("23 CR alone in hdr", GET "X: a\rGET /smug HTTP/1.1\r\n\r\n"),
    BAD("24 obs-fold", GET "X: a\r\n b\r\n\r\n"),
    BAD("25 NUL in header", GET "X: a\0b\r\n\r\n"),
    BAD("26 NUL in URL", "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n"),
    BAD("27 ctl in name", GET "X\x01: a\r\n\r\n"),
    BAD("28 no colon header", GET "garbage\r\n\r\n"),
    IS("29 HTTP/9.9", "GET /a HTTP/9.9\r\nHost: x\r\n\r\n", "505|400"),
    BAD("30 HTTP/1.10", "GET /a HTTP/1.10\r\nHost: x\r\n\r\n"),
    BAD("31 weird method", "GE\x80T /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    WHOLE("32 TLS hello", "\x16\x03\x01\0\xa5\x01\0\0\xa1\x03\x03" NUL40 NUL40 NUL40 NUL40, true,
          -1, NULL),
    {"33 URL 100KB",
     STR("GET /"),
     "a",
     100000,
     STR(" HTTP/1.1\r\nHost: x\r\n\r\n"),
     {"414"},
     true,
     -1},
    {"34 hdr 100KB one", STR(GET "X: "), "a", 100000, STR("\r\n\r\n"), {"431"}, true, -1},
    {"35 hdr 10000 small", STR(GET), "X: a\r\n", 10000, STR("\r\n"), {"431|400"}, true, -1},
    {"36 body 100MB declared",
     STR(POST "Content-Length: 104857600\r\n\r\n"),
     "a",
     1000,
     STR(""),
     {"413"},
     true,
     -1},
    WHOLE("37 Expect 100", POST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", false, 3,
          "100", "200"),
    IS("38 Expect bogus", POST "Expect: foo\r\nContent-Length: 3\r\n\r\nabc", "417"),
    OK("39 HEAD", "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n", -1),
    OK("40 OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    IS("41 CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", "400|405"),
    BAD("42 abs-form", "GET http://evil/a HTTP/1.1\r\nHost: x\r\n\r\n"),
    WHOLE("43 //path", "GET //a/../b HTTP/1.1\r\nHost: x\r\n\r\n", false, 0, "404", NULL),
    OK("44 leading CRLF", "\r\n\r\n" GET "\r\n", 0),
    BAD("45 HTTP/1.0 + TE",
        "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    BAD("46 CRLF CR X term", GET "\rX" SMUG),
    BAD("47 lead-space CL", "POST /a HTTP/1.1\r\n Content-Length: 40\r\nHost: x\r\n\r\n" SMUG),
    BAD("48 fold TE", POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" SMUG),
    BAD("49 CL empty", POST "Content-Length:\r\n\r\n" SMUG),
    BAD("50 CL \"3 \"", POST "Content-Length: 3 \r\n\r\nabc"),
    BAD("51 CL \"3 4\"", POST "Content-Length: 3 4\r\n\r\nabc"),
    WHOLE("52 trailer smuggle",
          CHUNKED "0\r\nContent-Length: 5\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n", false, 0,
          "200", "200"),
    BAD("53 chunk 0x3", CHUNKED "0x3\r\nabc\r\n0\r\n\r\n"),
    BAD("54 chunk no CRLF after data", CHUNKED "3\r\nabcX0\r\n\r\n"),
    BAD("55 TE twice", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "0\r\n\r\n"),
    OK("56 TE upper", POST "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", 0),
    /* What a sum of bytes alone would let pass: a space too many makes up for CRs that are missing,
     * and a fold for spaces. */
    BAD("57 LF and spaces", "POST /a HTTP/1.1\r\nHost:  x\nContent-Length: 3\r\n\r\nabc"),
    BAD("58 fold made up for", "POST /a HTTP/1.1\r\nHost:x\r\nA:b\r\nTransfer-Encoding:\r\n "
                               "chunked\r\n\r\n0\r\n\r\n" SMUG),
    BAD("59 NUL made up for", "GET /a HTTP/1.1\r\nHost:x\r\nA:b\r\nX: a\0b\r\n\r\n"),
    BAD("60 strange host", "GET /a HTTP/1.1\r\nHost: evil\r\n\r\n"),
    OK("61 host and port", "GET /a HTTP/1.1\r\nHost: localhost:99\r\n\r\n", 0),
    OK("62 empty value", GET "X:\r\nY: \r\n\r\n", 0),
    BAD("63 NUL for a colon", GET "X\0\r\n\r\n"),
    /* libmicrohttpd writes zeros over CR and LF: what comes as a zero must not pass for one. */
    BAD("64 NULs and LFs at the end", GET "X: a\0\0\n\n"),
    BAD("65 NUL for the last CR", GET "X: a\r\n\0\n"),
    BAD("66 NUL for a CR", GET "X: a\0\nY: b\r\n\r\n"),
    BAD("67 NUL for the first CR", "GET /a HTTP/1.1\0\nHost: x\r\n\r\n"),
    BAD("68 NUL and CRLF, LF", GET "X: a\0\r\n\n"),
    BAD("69 NUL in an empty value", GET "X:\0\n\r\n"),
    BAD("70 NUL ahead of a line", GET "\0X: a\r\n\r\n"),
    WHOLE("71 NUL ahead of the head", "\0\r\n" GET "\r\n", true, -1, NULL),
};

static Str probe_bytes(Arena *a, const Probe *p) {
    Buf b = {.a = a};
    buf_add(&b, p->bytes);
    for (int64_t i = 0; i < p->times; i++) buf_add(&b, str_of(p->fill));
    buf_add(&b, p->rest);
    return buf_str(&b);
}

/* seed 0: whole; 1: byte by byte (long ones would take longer than the server waits: their first 4
 * KB); else random pieces. */
static void pieces_send(Wire *w, Str all, uint64_t seed) {
    for (int64_t at = 0, n; at < all.n; at += n) {
        n = seed == 0   ? all.n
            : seed == 1 ? (at < 4096 ? 1 : 97)
                        : 1 + philox(seed, at, 0).w[0] % 50;
        if (seed > 1 && philox(seed, at, 1).w[0] % 8 == 0) n += 5000;
        n = MIN(n, all.n - at);
        if (!wire_send(w, (Str){all.p + at, n})) return;
        if (at % 256 >= 250) wire_wait(w, NULL, 0.0001); /* who only sends may miss the answer */
    }
}

static bool status_is(const char *got, const char *wanted) {
    char line[32];
    for (const char *w = wanted; w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL) {
        snprintf(line, sizeof line, "HTTP/1.1 %.3s ", w);
        if (!strncmp(got, line, strlen(line))) return true;
    }
    return false;
}

/* The end of an answer's head and body; NULL where it is not whole yet. */
static const char *answer_end(const char *p, bool head) {
    const char *body = strstr(p, "\r\n\r\n"), *length = strcasestr(p, "\r\nContent-Length: ");
    if (!body) return NULL;
    body += 4;
    const int64_t n = length && length < body && !head ? atoll(length + 18) : 0;
    return (int64_t)strlen(body) >= n ? body + n : NULL;
}

/* What is wrong about the answers; NULL: nothing. */
static const char *answers_judge(Wire *w, const Probe *p) {
    const char *at = w->got;
    const bool head = !strncmp(p->bytes.p, "HEAD", 4);
    for (int i = 0; i < 2 && p->status[i]; i++) {
        const double until = os_now() + 20;
        while (!answer_end(at, head) && !w->closed && os_now() < until) wire_wait(w, NULL, 0.01);
        if (!status_is(at, p->status[i])) return "another status";
        const char *end = answer_end(at, head);
        if (!end) return "the answer is not whole";
        if (strcmp(p->status[i], "100") != 0 && !p->closes && !strstr(at, "nosniff"))
            return "a header is missing";
        at = end;
    }
    if (p->closes) {
        (void)wire_wait(w, NULL, 20);
        if (!w->closed) return "not closed";
        if (strstr(w->got, "/smug") || strstr(w->got, "200 OK")) return "a second request passed";
        return NULL;
    }
    wire_wait(w, NULL, 0.002);
    if (w->closed) return "closed";
    if (*at) return "more than the answers";
    char n[32];
    snprintf(n, sizeof n, "\"n\":%lld,", (long long)p->n);
    return p->n < 0 || strstr(w->got, n) ? NULL : "another length of the body";
}

static void probe_run(Site *s, const Probe *p, uint64_t seed) {
    static Wire w;
    Arena *a = arena_open("probe", 1 << 22);
    wire_open(&w, s);
    pieces_send(&w, probe_bytes(a, p), seed);
    const char *wrong = answers_judge(&w, p);
    if (wrong) fail_msg("case %s, seed %d: %s; read: %.600s", p->name, (int)seed, wrong, w.got);
    wire_close(&w);
    arena_close(a);
}

static void probes_run(bool tls) {
    const uint64_t seeds = full_run() ? 5 : 1;
    Site *s = site_open(&(SiteSpec){.tls = tls, .head_seconds = 2});
    for (uint64_t seed = 0; seed < seeds; seed++)
        for (int64_t i = 0; i < COUNT(probes); i++) probe_run(s, &probes[i], seed);
    site_close(s);
}

static void over_tcp(void **state) {
    (void)state;
    probes_run(false);
}

static void over_tls(void **state) {
    (void)state;
    probes_run(true);
}

int test_probes(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(over_tcp), cmocka_unit_test(over_tls)};
    return cmocka_run_group_tests_name("serve probes", tests, NULL, NULL);
}
