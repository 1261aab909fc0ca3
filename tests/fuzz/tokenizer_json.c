/* tokenizer_json.c -- fuzz target: the bytes of a tokenizer.json. What loads must encode any text,
 * and what comes out must decode to valid UTF-8. Expressions may give up, with an Err. */
#include "encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a, *out, *scratch;
    static int64_t largest;
    if (!a) {
        a = arena_open("tokenizer", (int64_t)1 << 30);
        out = arena_open("out", (int64_t)1 << 28);
        scratch = arena_open("scratch", (int64_t)1 << 28);
    }
    Mark marks[] = {arena_mark(a), arena_mark(out), arena_mark(scratch)};
    Err err = {0};
    Tokenizer *t;
    largest = MAX(largest, (int64_t)size);
    Str json = {(const char *)bytes, (int64_t)size};
    bool ok = tokenizer_open_json(&t, a, json, "input", &err);
    CHECK(ok == (err.code == ERR_NONE) && ok == (t != NULL));
    CHECK(arena_peak(a) <= 6 * largest + (4 << 20));
    if (ok) {
        text_try(t,
                 STR("the 1234 was\n\n h\xc3\xa9 <x> it's\xf0\x9f\x98\x80 A.  \xe2\x82 e\xcc\x81"),
                 TEXT_PARSED, out, scratch);
        text_try(t, (Str){json.p, MIN(json.n, 200)}, TEXT_PARSED, out, scratch);
        text_try(t, (Str){json.p, MIN(json.n, 200)}, TEXT_PLAIN, out, scratch);
        tokenizer_close(t);
    }
    arena_pop(a, marks[0]);
    arena_pop(out, marks[1]);
    arena_pop(scratch, marks[2]);
    return 0;
}
