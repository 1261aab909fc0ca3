/* files.c -- see files.h. */
#include <stdio.h>
#include <unistd.h>
#include "files.h"

int scratch_open(void **state) {
    static int count;
    Scratch *s = test_calloc(1, sizeof *s);
    Err err = {0};
    const char *tmp = os_env("TMPDIR");
    s->a = arena_open("file test", 256 << 20);
    s->folder = str_fmt(s->a, "%s/lisao-file-%d-%d", tmp ? tmp : "/tmp", (int)getpid(), count++).p;
    *state = s;
    return os_mkdir(s->folder, &err) ? 0 : -1;
}

static void folder_remove(Arena *a, const char *folder) {
    Err err = {0};
    Str *name;
    int64_t n;
    if (!os_list(a, &name, &n, folder, &err)) return;
    for (int64_t i = 0; i < n; i++) {
        const char *path = path_join(a, folder, name[i].p);
        if (os_is_dir(path))
            folder_remove(a, path);
        else
            unlink(path);
    }
    rmdir(folder);
}

int scratch_close(void **state) {
    Scratch *s = *state;
    folder_remove(s->a, s->folder);
    arena_close(s->a);
    test_free(s);
    return 0;
}

const char *scratch_path(Scratch *s, const char *name) { return path_join(s->a, s->folder, name); }

const char *scratch_file(Scratch *s, const char *name, Str bytes) {
    const char *path = scratch_path(s, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes.p, 1, (size_t)bytes.n, f), bytes.n);
    assert_int_equal(fclose(f), 0);
    return path;
}

Store *open_fine(Scratch *s, const char *path) {
    Err err = {0};
    Store *st;
    if (!store_open(&st, s->a, path, &err)) fail_msg("%s", err.msg);
    return st;
}

void open_fails(Scratch *s, const char *path, ErrCode code, const char *piece) {
    Err err = {0};
    Store *st = NULL;
    int64_t used = arena_used(s->a);
    if (store_open(&st, s->a, path, &err)) fail_msg("%s was opened; expected: %s", path, piece);
    assert_null(st);
    assert_int_equal(arena_used(s->a), used);
    const char *name = strrchr(path, '/') + 1;
    if (!strstr(err.msg, piece) || !strstr(err.msg, name)) {
        fail_msg("the message\n  %s\nshould hold '%s' and '%s'", err.msg, name, piece);
    }
    assert_int_equal(err.code, code);
}

Store *bytes_fine(Scratch *s, Str bytes) { return open_fine(s, scratch_file(s, "bytes", bytes)); }

void bytes_fail(Scratch *s, Str bytes, ErrCode code, const char *piece) {
    open_fails(s, scratch_file(s, "bytes", bytes), code, piece);
}

static uint64_t sum(uint64_t h, const void *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) h = h * 31 + ((const uint8_t *)p)[i];
    return h;
}

static uint64_t key_touch(Scratch *s, const Store *st, const char *key) {
    Err err = {0};
    Mark mark = arena_mark(s->a);
    int64_t i, n;
    double d;
    bool b;
    Str str, *strs;
    int32_t *ints;
    float *floats;
    uint64_t h = 0;
    if (store_meta_i64(st, key, &i, &err)) h += (uint64_t)i;
    if (store_meta_f64(st, key, &d, &err)) h = sum(h, &d, 8);
    if (store_meta_bool(st, key, &b, &err)) h += b;
    if (store_meta_str(st, key, &str, &err)) h = sum(h, str.p, str.n);
    if (store_meta_strs(st, s->a, key, &strs, &n, &err)) {
        for (int64_t k = 0; k < n; k++) h = sum(h, strs[k].p, strs[k].n);
    }
    if (store_meta_i32s(st, s->a, key, &ints, &n, &err)) h = sum(h, ints, n * 4);
    if (store_meta_f32s(st, s->a, key, &floats, &n, &err)) h = sum(h, floats, n * 4);
    arena_pop(s->a, mark);
    return h;
}

uint64_t store_touch(Scratch *s, const Store *st) {
    uint64_t h = 0;
    for (int64_t i = 0; i < store_count(st); i++) {
        const Tensor *t = store_at(st, i);
        assert_ptr_equal(store_find(st, t->name), t);
        assert_int_equal(t->bytes, dtype_bytes(t->type, tensor_elements(t)));
        assert_int_equal((uintptr_t)t->data
                             % (uintptr_t)(dtype_block(t->type) > 1 ? 2 : dtype_bytes(t->type, 1)),
                         0);
        h = sum(h, t->data, t->bytes);
    }
    for (int64_t i = 0; i < store_meta_count(st); i++) {
        h += key_touch(s, st, str_copy(s->a, store_meta_key(st, i)).p);
    }
    return h;
}

uint32_t draw(uint64_t position, uint32_t below) { return philox(7, position, 0).w[0] % below; }

/* ---- writers --------------------------------------------------------------------------------- */

Str safetensors_bytes(Arena *a, const char *header, int64_t data_bytes) {
    Buf b = {.a = a};
    put_u64(&b, strlen(header));
    buf_add(&b, str_of(header));
    put_zeros(&b, data_bytes);
    return buf_str(&b);
}

void put_u32(Buf *b, uint32_t v) { buf_add(b, (Str){(const char *)&v, 4}); }
void put_u64(Buf *b, uint64_t v) { buf_add(b, (Str){(const char *)&v, 8}); }

void put_str(Buf *b, Str s) {
    put_u64(b, (uint64_t)s.n);
    buf_add(b, s);
}

void put_gguf(Buf *b, uint32_t version, uint64_t tensors, uint64_t keys) {
    buf_add(b, STR("GGUF"));
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, keys);
}

void put_key(Buf *b, const char *key, uint32_t type) {
    put_str(b, str_of(key));
    put_u32(b, type);
}

void put_tensor(Buf *b, const char *name, uint32_t n_dims, const uint64_t *dim, uint32_t type,
                uint64_t offset) {
    put_str(b, str_of(name));
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) put_u64(b, dim[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

void put_zeros(Buf *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) buf_add(b, (Str){"", 1});
}

void put_padding(Buf *b, int64_t alignment) { put_zeros(b, round_up(b->n, alignment) - b->n); }
