/* gguf.c -- fuzz target: the bytes of a GGUF file. What is accepted can be asked for every key in
 * every way and read to the last byte. */
#include "file/parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static Arena *arena;
static volatile uint8_t last;

static void bytes_touch(const void *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) last ^= ((const uint8_t *)p)[i];
}

/* Exactly the getters that fit the type succeed. */
static void key_ask(const Store *s, const char *key) {
    Err err = {0};
    MetaType type = store_meta_type(s, key);
    int64_t i, n;
    double d;
    bool b;
    Str str, *strs;
    int32_t *ints;
    float *floats;
    CHECK(!store_meta_i64(s, key, &i, &err) || type == META_INT);
    CHECK(!store_meta_f64(s, key, &d, &err) || type == META_INT || type == META_FLOAT);
    CHECK(store_meta_bool(s, key, &b, &err) == (type == META_BOOL));
    CHECK(!store_meta_i32s(s, arena, key, &ints, &n, &err) || type == META_INTS);
    CHECK(!store_meta_f32s(s, arena, key, &floats, &n, &err) || type == META_FLOATS);
    CHECK(store_meta_str(s, key, &str, &err) == (type == META_STR));
    if (type == META_STR) bytes_touch(str.p, str.n);
    CHECK(store_meta_strs(s, arena, key, &strs, &n, &err) == (type == META_STRS));
    for (int64_t k = 0; type == META_STRS && k < n; k++) bytes_touch(strs[k].p, strs[k].n);
    CHECK(type != META_ABSENT);
}

static void store_ask(const Store *s) {
    for (int64_t i = 0; i < s->n; i++) {
        const Tensor *t = &s->tensor[i];
        CHECK(t->bytes == dtype_bytes(t->type, tensor_elements(t)) && t->bytes > 0);
        bytes_touch(t->data, t->bytes);
    }
    for (int64_t i = 0; i < s->n_keys && i < 100; i++) {
        Mark mark = arena_mark(arena);
        key_ask(s, str_copy(arena, store_meta_key(s, i)).p);
        arena_pop(arena, mark);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    Err err = {0};
    if (!arena) arena = arena_open("fuzz", 1 << 28);
    Mark mark = arena_mark(arena);
    uint8_t *copy = PUSH(arena, uint8_t, (int64_t)size);
    if (size) memcpy(copy, bytes, size);
    Store s = {.a = arena, .path = "input"};

    int64_t before = arena_used(arena);
    bool ok = gguf_parse(&s, (Map){copy, (int64_t)size}, &err);
    CHECK(arena_used(arena) - before <= 4 * (int64_t)size + 1024); /* twice, and red zones */
    CHECK(ok == (err.code == ERR_NONE));
    CHECK(ok || strstr(err.msg, "input"));
    if (ok) store_ask(&s);
    arena_pop(arena, mark);
    return 0;
}
