/* write.c -- files written piece by piece: read again, with faults at every step, and killed. */
#define _DEFAULT_SOURCE
#include "files.h"
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 37, COLS = 11 };
static float numbers[ROWS * COLS];

static void numbers_fill(void) {
    for (int i = 0; i < ROWS * COLS; i++) numbers[i] = (float)i * 0.5f;
}

/* Two tensors and a row of bytes, in pieces of `piece` bytes. */
static bool file_make(Arena *a, const char *path, WriteFormat format, int64_t piece, Err *err) {
    const Tensor t[] = {
        {.name = STR("a.weight"), .type = DTYPE_F32, .n_dims = 2, .dim = {ROWS, COLS}},
        {.name = STR("b"), .type = DTYPE_F32, .n_dims = 1, .dim = {COLS}},
        {.name = STR("c"), .type = DTYPE_BF16, .n_dims = 3, .dim = {2, 3, 5}}};
    Writer *w = writer_create(a, path, format, err);
    if (!w) return false;
    if (format == WRITE_GGUF) {
        writer_str(w, "general.architecture", STR("test"));
        writer_u32(w, "test.u", 4000000000);
        writer_f32(w, "test.f", 0.25);
        writer_bool(w, "test.b", true);
        writer_strs(w, "test.strs", (const Str[]){STR("one"), STR(""), STR("three")}, 3);
        writer_i32s(w, "test.i32s", (const int32_t[]){-5, 6}, 2);
        writer_f32s(w, "test.f32s", (const float[]){1.5f, -2}, 2);
    }
    for (int64_t i = 0; i < COUNT(t); i++) writer_tensor(w, &t[i]);
    const uint8_t *all = (const uint8_t *)numbers;
    bool ok = true;
    int64_t n = (ROWS * COLS + COLS) * 4 + 60, at = 0;
    uint8_t bytes[(ROWS * COLS + COLS) * 4 + 60];
    assert_int_equal(writer_bytes(w), n);
    memcpy(bytes, all, sizeof numbers);
    memcpy(bytes + sizeof numbers, all, COLS * 4);
    memcpy(bytes + sizeof numbers + COLS * 4, all, 60);
    for (; ok && at < n; at += piece) ok = writer_data(w, bytes + at, MIN(piece, n - at), err);
    if (ok && writer_commit(w, err)) return true;
    writer_abandon(w);
    return false;
}

static void file_check(Scratch *s, const char *path) {
    Store *st = open_fine(s, path);
    const Tensor *a = store_find(st, STR("a.weight")), *b = store_find(st, STR("b")),
                 *c = store_find(st, STR("c"));
    assert_true(a && b && c && a->n_dims == 2 && a->dim[0] == ROWS && c->dim[0] == 2);
    assert_int_equal(c->type, DTYPE_BF16);
    assert_memory_equal(a->data, numbers, sizeof numbers);
    assert_memory_equal(b->data, numbers, COLS * 4);
    assert_memory_equal(c->data, numbers, 60);
    store_close(st);
}

static void pieces(void **state) {
    Scratch *s = *state;
    const int64_t sizes[] = {1, 7, 64, 1 << 20};
    Err err = {0};
    Map first, other;
    for (WriteFormat f = WRITE_GGUF; f <= WRITE_SAFETENSORS; f++)
        for (int64_t i = 0; i < COUNT(sizes); i++) {
            const char *path = scratch_path(s, str_fmt(s->a, "%d-%d", (int)f, (int)i).p);
            if (!file_make(s->a, path, f, sizes[i], &err)) fail_msg("%s", err.msg);
            file_check(s, path);
            const char *zero = scratch_path(s, str_fmt(s->a, "%d-0", (int)f).p);
            assert_true(os_map(&first, zero, &err) && os_map(&other, path, &err));
            assert_int_equal(first.n, other.n);
            assert_memory_equal(first.p, other.p, (size_t)first.n);
            os_unmap(&first);
            os_unmap(&other);
        }
}

static void keys(void **state) {
    Scratch *s = *state;
    Err err = {0};
    const char *path = scratch_path(s, "keys.gguf"), *copy = scratch_path(s, "copy.gguf");
    assert_true(file_make(s->a, path, WRITE_GGUF, 100, &err));
    Store *st = open_fine(s, path);
    Writer *w = writer_create(s->a, copy, WRITE_GGUF, &err);
    for (int64_t i = 0; i < store_meta_count(st); i++) writer_copy(w, st, i);
    assert_true(writer_commit(w, &err));
    store_close(st);
    st = open_fine(s, copy);
    int64_t u, n;
    double f;
    bool b;
    Str *strs;
    int32_t *ints;
    float *floats;
    assert_true(store_meta_i64(st, "test.u", &u, &err) && u == 4000000000);
    assert_true(store_meta_f64(st, "test.f", &f, &err) && f == 0.25);
    assert_true(store_meta_bool(st, "test.b", &b, &err) && b);
    assert_true(store_meta_strs(st, s->a, "test.strs", &strs, &n, &err) && n == 3);
    assert_true(str_eq(strs[0], STR("one")) && strs[1].n == 0 && str_eq(strs[2], STR("three")));
    assert_true(store_meta_i32s(st, s->a, "test.i32s", &ints, &n, &err) && n == 2);
    assert_true(ints[0] == -5 && ints[1] == 6);
    assert_true(store_meta_f32s(st, s->a, "test.f32s", &floats, &n, &err) && n == 2);
    assert_true(floats[0] == 1.5f && floats[1] == -2);
    store_close(st);
}

/* Whichever step fails, the old file is whole, and nothing else is left. */
static void faults(void **state) {
    Scratch *s = *state;
    for (WriteFormat f = WRITE_GGUF; f <= WRITE_SAFETENSORS; f++) {
        Err err = {0};
        const char *path = scratch_path(s, "file");
        Str *names;
        int64_t n, failed = 0;
        assert_true(file_make(s->a, path, f, 500, &err));
        for (int64_t k = 1; k < 100; k++) {
            Err e = {0};
            os_fail_after(k);
            bool ok = file_make(s->a, path, f, 500, &e);
            os_fail_after(0);
            file_check(s, path);
            if (ok) break;
            failed++;
            assert_true(os_list(s->a, &names, &n, s->folder, &err));
            assert_int_equal(n, 1);
        }
        assert_in_range(failed, 5, 98);
        assert_true(os_remove(path, &err));
    }
}

/* A writer that is killed leaves the old file, and beside it one that does not open or is whole. It
 * is killed until it was in the middle once: where the machine is busy, that is not soon. */
static void killed(void **state) {
    Scratch *s = *state;
    Err err = {0};
    const char *path = scratch_path(s, "file.gguf");
    int64_t partial = 0;
    for (int64_t round = 0; round < 20 || (partial == 0 && round < 2000); round++) {
        pid_t child = fork();
        if (child == 0)
            for (;;) file_make(s->a, path, WRITE_GGUF, 1, &err);
        struct timespec t = {0, 200000 + (long)draw((uint64_t)round, 3000000)};
        nanosleep(&t, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        if (os_exists(path)) file_check(s, path);
        Str *names;
        int64_t n;
        assert_true(os_list(s->a, &names, &n, s->folder, &err));
        for (int64_t i = 0; i < n; i++) {
            const char *other = str_fmt(s->a, "%s/%.*s", s->folder, STRF(names[i])).p;
            if (!strcmp(other, path)) continue;
            Store *st;
            Err e = {0};
            if (store_open(&st, s->a, other, &e)) {
                store_close(st);
                file_check(s, other); /* killed between the last byte and the name */
            } else {
                partial++;
            }
            assert_true(os_remove(other, &err));
        }
    }
    assert_true(partial > 0);
}

int write_tests(void) {
    const struct CMUnitTest tests[] = {FILE_TEST(pieces), FILE_TEST(keys), FILE_TEST(faults),
                                       FILE_TEST(killed)};
    numbers_fill();
    return cmocka_run_group_tests_name("file write", tests, NULL, NULL);
}
