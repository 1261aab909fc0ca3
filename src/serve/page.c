/* page.c -- GET /: the page for people, one HTML file that is a part of the program.
 *
 * It is built from web/ (docs/page.md) and asks for nothing else: its policy, which is built with
 * it, lets in its own script and style by their hashes and no other, and connects to this server
 * only. It is the same for everybody and needs no key; what it asks the API for does. */
#include "serve/api.h"

/* The file and the same by gzip, as bytes; PAGE_POLICY, PAGE_TAG: a hash of the file. */
static const char page_plain[] =
#include "gen/page_plain.h"
    ;
static const char page_gzip[] =
#include "gen/page_gzip.h"
    ;
#include "gen/page_policy.h"

/* Whether a list with commas, such as Accept-Encoding, has this word, not refused by q=0. */
static bool list_has(Str list, Str word) {
    while (list.n) {
        Str item = str_cut(&list, ',');
        const Str name = str_trim(str_cut(&item, ';'), " \t"), weight = str_trim(item, " \t");
        double q = 1;
        if (!str_eq_caseless(name, word)) continue;
        if (str_starts(weight, STR("q=")) && !str_f64((Str){weight.p + 2, weight.n - 2}, &q)) q = 0;
        return q > 0;
    }
    return false;
}

void answer_page(Call *c) {
    static const struct {
        const char *name, *value;
    } fields[] = {{"Content-Security-Policy", PAGE_POLICY},
                  {"Referrer-Policy", "no-referrer"},
                  {"Cross-Origin-Opener-Policy", "same-origin"},
                  {"Cross-Origin-Resource-Policy", "same-origin"},
                  {"Permissions-Policy", "camera=(), microphone=(), geolocation=()"},
                  {"Cache-Control", "no-cache"},
                  {"Vary", "Accept-Encoding"}};
    const bool gzip = list_has(exchange_header(c->x, "Accept-Encoding"), STR("gzip"));
    const char *tag = gzip ? "\"" PAGE_TAG "-gzip\"" : "\"" PAGE_TAG "\"";
    for (int64_t i = 0; i < COUNT(fields); i++)
        exchange_head(c->x, fields[i].name, fields[i].value);
    exchange_head(c->x, "ETag", tag);
    if (gzip) exchange_head(c->x, "Content-Encoding", "gzip");
    const bool known = list_has(exchange_header(c->x, "If-None-Match"), str_of(tag));
    exchange_answer(c->x, known ? 304 : 200, "text/html; charset=utf-8",
                    known  ? STR("")
                    : gzip ? (Str){page_gzip, sizeof page_gzip - 1}
                           : (Str){page_plain, sizeof page_plain - 1});
}
