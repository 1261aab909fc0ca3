/* hostile.c -- real files, cut at 200 places and changed at 1,000, and small files with large
 * claims. What comes back is a message that names the file, or a Store every byte of which can be
 * touched. The reader's arena has twice the size of what is read, so it cannot take more. */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <unistd.h>
#include "files.h"
#include "support/flood.h"

/* What is read, and where the interesting bytes end. */
typedef struct Victim {
    const char *open, *file;
    int64_t bytes, header;
} Victim;

/* Opens within a bounded arena. */
static bool open_bounded(Scratch *s, const Victim *v, const char *what, int64_t at) {
    Err err = {0};
    Store *st;
    Arena *bounded = arena_open("twice the file", 2 * v->bytes + (128 << 10));
    bool ok = store_open(&st, bounded, v->open, &err);
    if (ok) {
        store_touch(s, st);
        store_close(st);
    } else if (err.code == ERR_NONE || !strstr(err.msg, strrchr(v->file, '/') + 1)) {
        /* A folder may also fail at another of its files. */
        if (!strstr(err.msg, s->folder)) fail_msg("%s at %lld: '%s'", what, (long long)at, err.msg);
    }
    arena_close(bounded);
    return ok;
}

/* Places: four of five in the header, the rest anywhere. */
static int64_t place(const Victim *v, uint64_t i) {
    return draw(i, 5) < 4 ? draw(i + 1, (uint32_t)v->header) : draw(i + 1, (uint32_t)v->bytes);
}

static void change_all(Scratch *s, const Victim *v, int64_t changes) {
    int fd = open(v->file, O_RDWR);
    int64_t fine = 0;
    assert_true(fd >= 0);
    for (int64_t i = 0; i < changes; i++) {
        uint64_t from = (uint64_t)i * 10;
        int64_t at = place(v, from);
        uint8_t was, is;
        assert_int_equal(pread(fd, &was, 1, at), 1);
        is = draw(from + 2, 2) ? (uint8_t)(was ^ 1u << draw(from + 3, 8))
                               : (uint8_t)draw(from + 3, 256);
        assert_int_equal(pwrite(fd, &is, 1, at), 1);
        fine += open_bounded(s, v, "changed", at);
        assert_int_equal(pwrite(fd, &was, 1, at), 1);
    }
    close(fd);
    assert_true(fine > 0 && fine < changes); /* some bytes do not matter, some do */
    assert_true(open_bounded(s, v, "restored", 0));
}

/* From the end to the front, so that one file serves all; it is gone afterwards. */
static void cut_all(Scratch *s, const Victim *v, int64_t cuts) {
    int64_t header_cuts = v->header < v->bytes ? cuts / 2 : cuts;
    for (int64_t i = cuts - 1; i >= 0; i--) {
        int64_t rest = v->bytes - v->header, k = i - header_cuts;
        int64_t at =
            k < 0 ? v->header * i / header_cuts : v->header + rest * k / (cuts - header_cuts);
        assert_int_equal(truncate(v->file, at), 0);
        assert_false(open_bounded(s, v, "cut", at));
    }
}

static Str bytes_of(Scratch *s, const char *path) {
    Err err = {0};
    Str bytes;
    if (!os_read(s->a, &bytes, path, 1 << 28, &err)) fail_msg("%s", err.msg);
    return bytes;
}

static int64_t safetensors_header(Str bytes) {
    uint64_t n;
    memcpy(&n, bytes.p, 8);
    return (int64_t)n + 8;
}

static void test_safetensors(void **state) {
    Scratch *s = *state;
    const char *from = need_reference(s->a, "models/llama-tiny/model.safetensors");
    Str bytes = bytes_of(s, from);
    const char *file = scratch_file(s, "victim", bytes);
    Victim v = {file, file, bytes.n, safetensors_header(bytes)};
    change_all(s, &v, 1000);
    cut_all(s, &v, 200);
}

static void gguf_file(Scratch *s, const char *name, int64_t header) {
    const char *from = need_reference(s->a, name);
    Str bytes = bytes_of(s, from);
    const char *file = scratch_file(s, "victim", bytes);
    Victim v = {file, file, bytes.n, header};
    change_all(s, &v, 1000);
    cut_all(s, &v, 200);
}

static void test_gguf(void **state) {
    gguf_file(*state, "stories260K/stories260K-f16.gguf", 14240);
}
static void test_gguf_q8(void **state) { gguf_file(*state, "gguf-types/Q8_0.gguf", 12625); }

static void test_index(void **state) {
    Scratch *s = *state;
    static const char *const files[] = {"model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json"};
    const char *from = need_reference(s->a, "models/deepseek-v3-bf16-tiny");
    Victim v = {.open = s->folder};
    for (int64_t i = 0; i < COUNT(files); i++) {
        Str bytes = bytes_of(s, path_join(s->a, from, files[i]));
        v.file = scratch_file(s, files[i], bytes);
        while (bytes.p[bytes.n - 1] == '\n') bytes.n--; /* the index is whole without it, too */
        v.bytes = v.header = bytes.n;
    }
    change_all(s, &v, 1000);
    cut_all(s, &v, 200);
}

/* ---- small files, large claims --------------------------------------------------------------- */

/* Refused within 50 ms and without taking memory. */
static void claim(Scratch *s, Buf b, const char *piece) {
    put_zeros(&b, 160 - b.n);
    assert_int_equal(b.n, 160);
    const char *file = scratch_file(s, "claims", buf_str(&b));
    Arena *small = arena_open("small", 4096);
    double best = 1;
    for (int i = 0; i < 3; i++) {
        Err err = {0};
        Store *st;
        double start = os_now();
        assert_false(store_open(&st, small, file, &err));
        best = MIN(best, os_now() - start);
        if (!strstr(err.msg, piece)) fail_msg("'%s' should hold '%s'", err.msg, piece);
    }
    assert_true(best < 0.05);
    assert_true(arena_peak(small) < 2048);
    arena_close(small);
}

static Buf gguf_begin(Scratch *s, uint64_t tensors, uint64_t keys) {
    Buf b = {.a = s->a};
    put_gguf(&b, 3, tensors, keys);
    return b;
}

static void test_large_claims(void **state) {
    Scratch *s = *state;
    const uint64_t big = 1ull << 60;
    Buf b = gguf_begin(s, 1, 0);
    put_tensor(&b, "w", 1, &big, 0, 0);
    claim(s, b, "tensor w: claims 1152921504606846976 elements");
    b = gguf_begin(s, 1, 0);
    put_tensor(&b, "w", 2, (uint64_t[]){1 << 30, 1 << 30}, 8, 0);
    claim(s, b, "tensor w: claims 1152921504606846976 elements");
    claim(s, gguf_begin(s, big, 0), "more tensors than the file has room for");
    claim(s, gguf_begin(s, 0, big), "more metadata entries than the file has room for");
    b = gguf_begin(s, 0, 1), put_u64(&b, big);
    claim(s, b, "needs 1152921504606846976 bytes");
    b = gguf_begin(s, 0, 1), put_key(&b, "k", G_STR), put_u64(&b, big);
    claim(s, b, "needs 1152921504606846976 bytes");
    b = gguf_begin(s, 0, 1), put_key(&b, "k", G_ARRAY), put_u32(&b, G_F32), put_u64(&b, big);
    claim(s, b, "more elements than the file has bytes");
    b = (Buf){.a = s->a};
    put_u64(&b, 152 - 4);
    buf_fmt(&b,
            "{\"w\":{\"dtype\":\"F32\",\"shape\":[1152921504606846976],\"data_offsets\":[0,4]}}");
    while (b.n < 156) buf_add(&b, STR(" "));
    claim(s, b, "tensor w: claims 1152921504606846976 elements");
    b = (Buf){.a = s->a}, put_u64(&b, big);
    claim(s, b, "header length says 1152921504606846976");
}

/* A file that is nothing but small entries: the densest use of memory there is for its size. */
static void test_dense_header(void **state) {
    Scratch *s = *state;
    enum { N = 20000 };
    Buf json = {.a = s->a}, b = {.a = s->a};
    buf_fmt(&json, "{");
    for (int i = 0; i < N; i++) {
        buf_fmt(&json, "%s\"%x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                i ? "," : "", i);
    }
    buf_fmt(&json, "}");
    put_u64(&b, (uint64_t)json.n);
    buf_add(&b, buf_str(&json));
    const char *file = scratch_file(s, "dense", buf_str(&b));
    assert_true(open_bounded(s, &(Victim){file, file, b.n, b.n}, "dense", 0));

    b = gguf_begin(s, 0, N);
    for (int i = 0; i < N; i++)
        put_key(&b, str_fmt(s->a, "%x", i).p, G_BOOL), buf_add(&b, STR("\1"));
    file = scratch_file(s, "keys", buf_str(&b));
    assert_true(open_bounded(s, &(Victim){file, file, b.n, b.n}, "keys", 0));
}

/* Headers whose names all want the same few slots of a hash that anyone can compute open like any
 * other: no search walks over more names than chance puts side by side. */
static void test_flooded_headers(void **state) {
    Scratch *s = *state;
    enum { N = 4000 };
    Buf json = {.a = s->a}, b = {.a = s->a}, g = gguf_begin(s, N, N);
    Str *name = PUSH(s->a, Str, N);
    for (int64_t i = 0, at = 0; i < N; i++) name[i] = flood_key(s->a, &at);
    buf_fmt(&json, "{");
    for (int64_t i = 0; i < N; i++)
        buf_fmt(&json, "%s\"%.*s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                i ? "," : "", STRF(name[i]), (int)i, (int)i + 1);
    buf_fmt(&json, "}");
    put_u64(&b, (uint64_t)json.n);
    buf_add(&b, buf_str(&json));
    put_zeros(&b, N);
    for (int64_t i = 0; i < N; i++) put_key(&g, name[i].p, G_BOOL), buf_add(&g, STR("\1"));
    for (int64_t i = 0; i < N; i++)
        put_tensor(&g, name[i].p, 1, &(uint64_t){1}, 0, (uint64_t)i * 32);
    put_padding(&g, 32);
    put_zeros(&g, N * 32);
    const Str files[] = {buf_str(&b), buf_str(&g)};
    for (int64_t k = 0; k < COUNT(files); k++) {
        Store *st = bytes_fine(s, files[k]);
        assert_int_equal(store_count(st), N);
        assert_int_equal(store_meta_count(st), k ? N : 0);
        for (int64_t i = 0; i < N; i++) assert_ptr_equal(store_find(st, name[i]), store_at(st, i));
        assert_true(table_longest_run(&st->names.table) < RUN_BY_CHANCE);
        if (k) assert_true(table_longest_run(&st->keys.table) < RUN_BY_CHANCE);
        store_close(st);
    }
}

int hostile_tests(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_safetensors),     FILE_TEST(test_gguf),         FILE_TEST(test_gguf_q8),
        FILE_TEST(test_index),           FILE_TEST(test_large_claims), FILE_TEST(test_dense_header),
        FILE_TEST(test_flooded_headers),
    };
    return cmocka_run_group_tests_name("file: hostile", tests, NULL, NULL);
}
