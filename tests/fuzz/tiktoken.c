/* tiktoken.c -- fuzz target: the bytes of a tiktoken.model, and behind the first byte 0 those of
 * the tokenizer_config.json beside it. What loads encodes any text, or gives up with an Err, and
 * what comes out decodes to valid UTF-8. */
#include "encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a, *out, *scratch;
    if (!a) {
        a = arena_open("tokenizer", (int64_t)1 << 30);
        out = arena_open("out", (int64_t)1 << 28);
        scratch = arena_open("scratch", (int64_t)1 << 28);
    }
    Mark marks[] = {arena_mark(a), arena_mark(out), arena_mark(scratch)};
    Err err = {0};
    Tokenizer *t = NULL;
    const uint8_t *zero = size ? memchr(bytes, 0, size) : NULL;
    Str model = {(const char *)bytes, zero ? zero - bytes : (int64_t)size}, config = {0};
    if (zero) config = (Str){(const char *)zero + 1, (int64_t)size - model.n - 1};
    bool ok = tokenizer_open_tiktoken(&t, a, model, config, "input", &err);
    CHECK(ok == (err.code == ERR_NONE));
    CHECK(ok || strstr(err.msg, "input") || strstr(err.msg, "tokenizer_config.json"));
    if (ok) {
        text_try(t, STR("the 1234 was\n\n h\xc3\xa9 it's\xf0\x9f\x98\x80 \xe4\xbd\xa0 [BOS]"),
                 TEXT_PARSED, out, scratch);
        text_try(t, (Str){model.p, MIN(model.n, 200)}, TEXT_PARSED, out, scratch);
        tokenizer_close(t);
    }
    arena_pop(a, marks[0]);
    arena_pop(out, marks[1]);
    arena_pop(scratch, marks[2]);
    return 0;
}
