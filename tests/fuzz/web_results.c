/* web_results.c -- fuzz target: what a search engine answers. Its results have addresses of web
 * pages, stay within bounds, and are the same when an answer that names them is verified. */
#include "serve/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void result_check(const Passage *p) {
    const Str host = web_host(p->path);
    CHECK(host.n > 0 && !memchr(host.p, '@', (size_t)host.n));
    CHECK(p->text.n > 0 && p->text.n <= PASSAGE_MOST && utf8_valid(p->text));
    CHECK(utf8_valid(p->heading));
    for (Str left = p->heading; left.n > 0; left.p++, left.n--)
        CHECK(*left.p & 0x80 || *left.p >= ' ');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    if (!a) a = arena_open("fuzz", 1 << 28);
    const Mark mark = arena_mark(a);
    const Str answer = str_copy(a, (Str){(const char *)bytes, (int64_t)size});
    Cited cited = {.passage = PUSH(a, Passage, CITED_MOST), .web = true},
          again = {.passage = PUSH(a, Passage, CITED_MOST), .most = CITED_MOST, .web = true};
    Err err = {0};
    if (web_results(a, answer, &cited, &err)) {
        for (int64_t i = 0; i < cited.n; i++) result_check(&cited.passage[i]);
        json_t *said = cited_json(a, &cited);
        CHECK(web_claimed(a, said, &again));
        json_t *computed = cited_json(a, &again);
        CHECK(json_equal(said, computed));
        json_decref(said), json_decref(computed);
    }
    arena_pop(a, mark);
    return 0;
}
