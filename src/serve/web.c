/* web.c -- what a search engine has found, as passages. All of it is anybody's: what has another
 * form than it should is passed over, and no page that it names is fetched. */
#include "serve/api.h"

static const char BLANKS[] = " \t\r\n";
enum { TITLE_MOST = 200, ADDRESS_MOST = 2000 };

/* ---- addresses ------------------------------------------------------------------------------- */

/* Nothing in it is hidden or ends it: no blanks, control characters or quotation marks. */
static bool is_address(Str s) {
    for (Str left = s; left.n > 0;) {
        const int n = utf8_length(left);
        if (n == 0 || utf8_control(left) || char_in(*left.p, " \"<>\\^`{|}")) return false;
        left.p += n, left.n -= n;
    }
    return s.n > 0 && s.n <= ADDRESS_MOST;
}

/* Letters of other scripts are no part of it: they look like others, and ASCII says the same. A
 * name before an @ would be taken for the host. */
static bool is_host(Str s) {
    for (int64_t i = 0; i < s.n; i++) {
        const char c = s.p[i], low = (char)(c | 0x20);
        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && !char_in(c, "-._:[]"))
            return false;
    }
    return s.n > 0;
}

Str web_host(Str address) {
    const Str none = {0},
              scheme = str_starts(address, STR("https://")) ? STR("https://") : STR("http://");
    if (!is_address(address) || !str_starts(address, scheme)) return none;
    Str host = {address.p + scheme.n, 0};
    while (host.n < address.n - scheme.n && !char_in(host.p[host.n], "/?#")) host.n++;
    return is_host(host) ? host : none;
}

/* ---- results --------------------------------------------------------------------------------- */

/* As much of it as `most` bytes hold, without blanks at its ends; whole characters. Of what it
 * returns it makes the same again: so does a verification. */
static Str cut(Str s, int64_t most) {
    s = str_trim(s, BLANKS);
    if (s.n <= most) return s;
    while (most > 0 && ((uint8_t)s.p[most] & 0xc0) == 0x80) most--;
    return str_trim((Str){s.p, most}, BLANKS);
}

/* On one line. */
static Str title_of(Arena *a, Str s) {
    Buf b = {.a = a};
    while (s.n > 0) {
        const int n = utf8_length(s);
        buf_add(&b, utf8_control(s) ? STR(" ") : (Str){s.p, n});
        s.p += n, s.n -= n;
    }
    return cut(buf_str(&b), TITLE_MOST);
}

/* Whether it says something and has an address. */
static bool result_read(Arena *a, const json_t *v, const char *text, Passage *p) {
    *p = (Passage){.path = str_copy(a, json_text(json_object_get(v, "url"))),
                   .heading = title_of(a, json_text(json_object_get(v, "title"))),
                   .text = str_copy(a, cut(json_text(json_object_get(v, text)), PASSAGE_MOST))};
    return p->text.n > 0 && web_host(p->path).n > 0;
}

bool web_results(Arena *a, Str answer, Cited *cited, Err *err) {
    json_t *o = depth_check(answer)
                    ? json_loadb(answer.p ? answer.p : "", (size_t)answer.n, JSON_ALLOW_NUL, NULL)
                    : NULL;
    const json_t *all = json_object_get(o, "results");
    const bool fine = json_is_array(all);
    cited->n = 0;
    for (size_t i = 0; i < json_array_size(all) && cited->n < CITED_MOST; i++)
        cited->n += result_read(a, json_array_get(all, i), "content", &cited->passage[cited->n]);
    json_decref(o);
    return fine
           || err_set(err, ERR_FORMAT,
                      "the search engine's answer is no JSON with a list \"results\": does "
                      "search.formats in SearXNG's settings.yml list json?");
}

bool web_claimed(Arena *a, const json_t *claimed, Cited *cited) {
    const size_t n = json_array_size(claimed);
    bool fine = json_is_array(claimed) && n <= (size_t)cited->most;
    for (size_t i = 0; fine && i < n; i++)
        fine = result_read(a, json_array_get(claimed, i), "text", &cited->passage[i]);
    cited->n = (int64_t)n;
    return fine;
}
