/* guard.c -- the judgement of a request's head. */
#include "serve/guard.h"

/* ---- characters ------------------------------------------------------------------------------ */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_token(Str s) {
    for (int64_t i = 0; i < s.n; i++) {
        const char c = s.p[i], low = (char)(c | 0x20);
        if (!is_digit(c) && !(low >= 'a' && low <= 'z') && !char_in(c, "!#$%&'*+-.^_`|~"))
            return false;
    }
    return s.n > 0;
}

static bool is_text(Str s) { /* no control character but tabs */
    for (int64_t i = 0; i < s.n; i++) {
        const uint8_t c = (uint8_t)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

static bool is_visible(Str s) {
    for (int64_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] <= 0x20 || (uint8_t)s.p[i] >= 0x7f) return false;
    return true;
}

static bool holds_only(Str s, const char *set) {
    for (int64_t i = 0; i < s.n; i++)
        if (!char_in(s.p[i], set)) return false;
    return s.n > 0;
}

static bool is_number(Str s, int64_t digits) {
    return s.n <= digits && holds_only(s, "0123456789");
}

void guard_hide_nuls(char *p, int64_t n) {
    for (char *end = p + n; (p = memchr(p, 0, (size_t)(end - p))); p++) *p = '\x01';
}

/* ---- the parts of a head --------------------------------------------------------------------- */

typedef struct Found {
    int64_t n;
    Str value; /* of the last */
} Found;

static Found find(const GuardRequest *r, Str name) {
    Found f = {0};
    for (int64_t i = 0; i < r->n_headers; i++)
        if (str_eq_caseless(r->header[i].name, name)) f.n++, f.value = r->header[i].value;
    return f;
}

static Verdict refuse(int64_t status, const char *why) { return (Verdict){status, why, 0}; }
static Verdict bad(const char *why) { return refuse(400, why); }

static bool method_known(Str m) {
    return str_eq(m, STR("GET")) || str_eq(m, STR("HEAD")) || str_eq(m, STR("POST"))
           || str_eq(m, STR("DELETE")) || str_eq(m, STR("OPTIONS"));
}

static Verdict line_judge(const GuardRequest *r) {
    if (!method_known(r->method))
        return bad("The method is none of GET, HEAD, POST, DELETE and OPTIONS.");
    if (!str_eq(r->version, STR("HTTP/1.1")) && !str_eq(r->version, STR("HTTP/1.0")))
        return bad("The version is neither HTTP/1.1 nor HTTP/1.0.");
    if (r->target.n > GUARD_TARGET) return refuse(414, "The target is longer than 8 KB.");
    if (!is_visible(r->target)) return bad("The target holds a byte that must be percent-encoded.");
    const bool star = str_eq(r->target, STR("*")) && str_eq(r->method, STR("OPTIONS"));
    if (!star && !str_starts(r->target, STR("/"))) return bad("The target does not begin with /.");
    return (Verdict){0};
}

/* Whether each piece stands where it must if nothing was forgiven: one space behind method, target
 * and colon, CR and LF behind each line. A header without a value may lack the space. */
static bool is_canonical(const GuardRequest *r) {
    int64_t at = r->method.n + 1;
    if (r->target_at != at || r->version_at != at + r->target.n + 1) return false;
    at = r->version_at + r->version.n + 2;
    for (int64_t i = 0; i < r->n_headers; i++) {
        const GuardHeader *h = &r->header[i];
        const int64_t space = h->value_at - (h->name_at + h->name.n + 1);
        if (h->name_at != at || (space != 1 && (space != 0 || h->value.n))) return false;
        at = h->value_at + h->value.n + 2;
    }
    return r->head_bytes == at + 2;
}

static Verdict headers_judge(const GuardRequest *r) {
    if (r->head_bytes > GUARD_HEAD) return refuse(431, "The head is longer than 32 KB.");
    if (r->n_headers > GUARD_HEADERS) return refuse(431, "There are more than 100 headers.");
    for (int64_t i = 0; i < r->n_headers; i++) {
        if (!is_token(r->header[i].name)) return bad("The name of a header is none.");
        if (!is_text(r->header[i].value))
            return bad("The value of a header holds a control character.");
    }
    if (!is_canonical(r))
        return bad("The head is not written as \"Name: value\" in lines that end with CR and LF.");
    return (Verdict){0};
}

/* The host without its port, and an IPv6 address without its brackets; n 0: it is malformed. */
static Str host_name(Str host) {
    Str rest = host, name;
    if (str_starts(host, STR("["))) {
        rest = (Str){host.p + 1, host.n - 1};
        if (!memchr(rest.p, ']', (size_t)rest.n)) return (Str){0};
        name = str_cut(&rest, ']');
        if (!holds_only(name, "0123456789abcdefABCDEF:.")) return (Str){0};
        if (rest.n == 0) return name;
        if (rest.p[0] != ':') return (Str){0};
        rest.p++, rest.n--;
    } else {
        if (!memchr(host.p, ':', (size_t)host.n)) return host;
        name = str_cut(&rest, ':');
    }
    return is_number(rest, 5) ? name : (Str){0};
}

static bool is_address(Str name) {
    return holds_only(name, "0123456789.")
           || (memchr(name.p, ':', (size_t)name.n) && holds_only(name, "0123456789abcdefABCDEF:."));
}

static Verdict host_judge(const GuardRequest *r, const GuardLimits *l) {
    const Found host = find(r, STR("host"));
    if (host.n == 0 && str_eq(r->version, STR("HTTP/1.0"))) return (Verdict){0};
    if (host.n != 1) return bad("There must be one Host header.");
    const Str name = host.value.n ? host_name(host.value) : (Str){0};
    if (name.n == 0) return bad("The Host header names no host.");
    if (l->any_address && is_address(name)) return (Verdict){0};
    for (int64_t i = 0; i < l->n_names; i++)
        if (str_eq_caseless(name, str_of(l->names[i]))) return (Verdict){0};
    return bad("This server does not answer for the host of the Host header; its owner can name "
               "further hosts.");
}

/* Where the body ends. */
static Verdict framing_judge(const GuardRequest *r, const GuardLimits *l) {
    const Found length = find(r, STR("content-length"));
    const Found coding = find(r, STR("transfer-encoding"));
    const Found expect = find(r, STR("expect"));
    Verdict v = {0};
    if (length.n && coding.n)
        return bad("Content-Length and Transfer-Encoding exclude each other.");
    if (length.n > 1) return bad("There is more than one Content-Length.");
    if (length.n && (!is_number(length.value, 18) || !str_i64(length.value, &v.body)))
        return bad("The Content-Length is no number of at most 18 digits.");
    if (coding.n > 1 || (coding.n && !str_eq_caseless(coding.value, STR("chunked"))))
        return bad("The only Transfer-Encoding is chunked, once.");
    if (coding.n && str_eq(r->version, STR("HTTP/1.0")))
        return bad("HTTP/1.0 has no Transfer-Encoding.");
    if (expect.n > 1 || (expect.n && !str_eq_caseless(expect.value, STR("100-continue"))))
        return refuse(417, "The only expectation that can be met is 100-continue.");
    if (v.body > l->body_bytes) return refuse(413, "The body is larger than this server takes.");
    if (coding.n) v.body = -1;
    return v;
}

Verdict guard_judge(const GuardRequest *r, const GuardLimits *l) {
    Verdict v = line_judge(r);
    if (!v.status) v = headers_judge(r);
    if (!v.status) v = host_judge(r, l);
    return v.status ? v : framing_judge(r, l);
}
