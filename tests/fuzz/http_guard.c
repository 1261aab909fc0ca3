/* http_guard.c -- fuzz target: the head of a request, read as forgivingly as libmicrohttpd reads
 * one, and judged. What passes was written in the one form in which nothing had to be forgiven:
 * written anew from the pieces it gives the same bytes. */
#include "serve/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Cuts a line off: up to LF, to CR and LF, or to a CR alone. */
static Str line_cut(Str *s) {
    int64_t n = 0;
    while (n < s->n && s->p[n] != '\r' && s->p[n] != '\n') n++;
    const Str line = {s->p, n};
    if (n + 1 < s->n && s->p[n] == '\r' && s->p[n + 1] == '\n') n++;
    n = MIN(n + 1, s->n);
    s->p += n, s->n -= n;
    return line;
}

/* Without the blanks in front. */
static Str ahead(Str s) {
    while (s.n && char_in(s.p[0], " \t")) s.p++, s.n--;
    return s;
}

static Str word_cut(Str *s) {
    const char *space = s->n ? memchr(s->p, ' ', (size_t)s->n) : NULL;
    const Str word = {s->p, space ? space - s->p : s->n};
    *s = ahead((Str){s->p + word.n, s->n - word.n});
    return word;
}

/* As serve/connection.c sees a value: between the bytes of a plain line, CR and LF or two LF. */
static bool is_plain(const GuardHeader *h, Str all) {
    const char *p = h->value.p, *end = p + h->value.n;
    const int64_t gap = p - (h->name.p + h->name.n);
    if (gap != 1 && (gap != 2 || !char_in(p[-1], " \t"))) return false;
    return end + 1 < all.p + all.n && char_in(end[0], "\r\n") && end[1] == '\n';
}

static void header_read(Arena *a, GuardHeader *h, Str line, Str *rest, Str all) {
    const char *colon = line.n ? memchr(line.p, ':', (size_t)line.n) : NULL;
    const int64_t n = colon ? colon - line.p : line.n;
    h->name = (Str){line.p, n};
    h->value = ahead((Str){line.p + n + (colon != NULL), line.n - n - (colon != NULL)});
    h->name_at = h->name.p - all.p;
    h->value_at = is_plain(h, all) ? h->value.p - all.p : -1;
    while (rest->n && char_in(rest->p[0], " \t")) { /* it goes on in the next line */
        const Str more = ahead(line_cut(rest));
        h->value = str_fmt(a, "%.*s%.*s", STRF(h->value), STRF(more));
        h->value_at = -1;
    }
}

static void write_anew(Buf *to, const GuardRequest *r) {
    buf_fmt(to, "%.*s %.*s %.*s\r\n", STRF(r->method), STRF(r->target), STRF(r->version));
    for (int64_t i = 0; i < r->n_headers; i++) {
        const GuardHeader *h = &r->header[i];
        buf_fmt(to, "%.*s:%s%.*s\r\n", STRF(h->name),
                h->value_at - h->name_at == h->name.n + 2 ? " " : "", STRF(h->value));
    }
    buf_add(to, STR("\r\n"));
}

/* A tab and a space behind the colon are both right. */
static void assert_same(Str a, Str b) {
    CHECK(a.n == b.n);
    for (int64_t i = 0; i < a.n; i++) CHECK(a.p[i] == b.p[i] || (b.p[i] == '\t' && a.p[i] == ' '));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    static GuardHeader header[GUARD_HEADERS];
    static const char *const names[] = {"x", "localhost", "::1"};
    if (!a) a = arena_open("guard", (int64_t)1 << 30);
    if (size < 1) return 0;
    Mark mark = arena_mark(a);
    const GuardLimits limits = {
        .body_bytes = 1000, .names = names, .n_names = COUNT(names), .any_address = bytes[0] & 1};
    const Str came = {(const char *)bytes + 1, (int64_t)size - 1};
    char *received = PUSH(a, char, came.n + 1);
    memcpy(received, came.p, (size_t)came.n);
    guard_hide_nuls(received, came.n);
    const Str head = {received, came.n};
    Str rest = head, line = line_cut(&rest);
    GuardRequest r = {.method = word_cut(&line), .header = header};
    r.target_at = line.p - head.p, r.target = word_cut(&line);
    r.version_at = line.p - head.p, r.version = line;
    bool ended = false;
    while (rest.n && !(ended = (line = line_cut(&rest)).n == 0)) {
        /* libmicrohttpd itself ends the connection: see probes 28 and 63 */
        if (!memchr(line.p, ':', (size_t)line.n)) return arena_pop(a, mark), 0;
        GuardHeader h = {0};
        header_read(a, &h, line, &rest, head);
        if (r.n_headers < GUARD_HEADERS) header[r.n_headers] = h;
        r.n_headers++;
    }
    r.head_bytes = rest.p - head.p;
    if (!ended) return arena_pop(a, mark), 0; /* more has to come */
    const Verdict v = guard_judge(&r, &limits);
    CHECK(v.status == 0 || (v.status >= 400 && v.status < 500));
    CHECK((v.status == 0) == (v.why == NULL));
    CHECK(v.body >= -1 && v.body <= limits.body_bytes);
    Buf anew = {.a = a};
    if (!v.status) write_anew(&anew, &r), assert_same(buf_str(&anew), (Str){came.p, r.head_bytes});
    arena_pop(a, mark);
    return 0;
}
