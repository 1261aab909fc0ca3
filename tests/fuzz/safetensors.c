/* safetensors.c -- fuzz target: the bytes of a safetensors file. What is accepted can be read to
 * the last byte, lies in place without holes, and has cost at most about twice the input in
 * memory. */
#include "file/parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static Arena *arena;
static volatile uint8_t last;

static void tensors_check(const Tensor *t, int64_t n, Map m) {
    int64_t all = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *p = t[i].data;
        CHECK(t[i].bytes == dtype_bytes(t[i].type, tensor_elements(&t[i])) && t[i].bytes >= 0);
        CHECK((uintptr_t)p % (uintptr_t)dtype_bytes(t[i].type, 1) == 0 || t[i].bytes == 0);
        for (int64_t k = 0; k < t[i].bytes; k++) last ^= p[k];
        all += t[i].bytes;
    }
    CHECK(all < m.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    Err err = {0};
    int64_t n = 0;
    if (!arena) arena = arena_open("fuzz", 1 << 28);
    Mark mark = arena_mark(arena);
    uint8_t *copy = PUSH(arena, uint8_t, (int64_t)size); /* aligned, as a mapping is */
    if (size) memcpy(copy, bytes, size);
    Map m = {copy, (int64_t)size};

    bool ok = safetensors_parse(arena, m, "input", NULL, &n, &err);
    if (ok) {
        Tensor *t = arena_push(arena, n * (int64_t)sizeof *t);
        ok = safetensors_parse(arena, m, "input", t, &n, &err);
        if (ok) tensors_check(t, n, m);
    }
    CHECK(ok == (err.code == ERR_NONE));
    CHECK(ok || strstr(err.msg, "input"));
    arena_pop(arena, mark);
    return 0;
}
