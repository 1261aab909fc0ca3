/* gguf.c -- GGUF files: every value type, the real files, and what is refused. stories260K lies in
 * the oracles as GGUF and as safetensors, so the one is held against the other. */
#include "files.h"

/* A file of version 3 with one metadata entry, begun; the value is the caller's. */
static Buf one_key(Scratch *s, const char *key, uint32_t type) {
    Buf b = {.a = s->a};
    put_gguf(&b, 3, 0, 1);
    put_key(&b, key, type);
    return b;
}

/* A file with one tensor and its data. */
static Buf one_tensor(Scratch *s, uint32_t n_dims, const uint64_t *dim, uint32_t type,
                      uint64_t offset, int64_t data) {
    Buf b = {.a = s->a};
    put_gguf(&b, 3, 1, 0);
    put_tensor(&b, "w", n_dims, dim, type, offset);
    put_padding(&b, 32);
    put_zeros(&b, data);
    return b;
}

static void put_value(Buf *b, const void *p, int64_t n) { buf_add(b, (Str){p, n}); }

/* ---- metadata -------------------------------------------------------------------------------- */

static const struct {
    uint32_t type;
    int bytes;
    uint64_t bits;
    int64_t value;
} ints[] = {
    {G_U8, 1, 0xfe, 254},
    {G_I8, 1, 0xfe, -2},
    {G_U16, 2, 0xfffe, 65534},
    {G_I16, 2, 0xfffe, -2},
    {G_U32, 4, 0xfffffffe, 4294967294},
    {G_I32, 4, 0xfffffffe, -2},
    {G_U64, 8, INT64_MAX, INT64_MAX},
    {G_I64, 8, UINT64_MAX - 1, -2},
};

static void test_ints(void **state) {
    Scratch *s = *state;
    for (int64_t i = 0; i < COUNT(ints); i++) {
        Err err = {0};
        int64_t v;
        double d;
        Str str;
        Buf b = one_key(s, "k", ints[i].type);
        put_value(&b, &ints[i].bits, ints[i].bytes);
        Store *st = bytes_fine(s, buf_str(&b));
        assert_int_equal(store_meta_type(st, "k"), META_INT);
        assert_true(store_meta_i64(st, "k", &v, &err));
        assert_int_equal(v, ints[i].value);
        assert_true(store_meta_f64(st, "k", &d, &err));
        assert_true(d == (double)ints[i].value);
        assert_false(store_meta_str(st, "k", &str, &err));
        assert_non_null(strstr(err.msg, "metadata key k is of type "));
        store_close(st);
    }
}

static void test_ints_out_of_range(void **state) {
    Scratch *s = *state;
    Err err = {0}, again = {0};
    int64_t v, n;
    int32_t *list;
    Buf b = one_key(s, "k", G_U64);
    put_u64(&b, 1ull << 63);
    Store *st = bytes_fine(s, buf_str(&b));
    assert_false(store_meta_i64(st, "k", &v, &err));
    assert_non_null(strstr(err.msg, "k is above"));
    store_close(st);

    b = one_key(s, "k", G_ARRAY);
    put_u32(&b, G_U32);
    put_u64(&b, 2);
    put_u32(&b, 5);
    put_u32(&b, 1u << 31);
    st = bytes_fine(s, buf_str(&b));
    assert_false(store_meta_i32s(st, s->a, "k", &list, &n, &again));
    assert_non_null(strstr(again.msg, "value 1 of the array does not fit"));
    store_close(st);
}

static void test_scalars(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Buf b = {.a = s->a};
    float f = 1e-5f;
    double d = 0.1, got;
    bool yes, no;
    Str str;
    put_gguf(&b, 2, 0, 5);
    put_key(&b, "f32", G_F32), put_value(&b, &f, 4);
    put_key(&b, "f64", G_F64), put_value(&b, &d, 8);
    put_key(&b, "yes", G_BOOL), put_value(&b, "\1", 1);
    put_key(&b, "no", G_BOOL), put_value(&b, "\0", 1);
    put_key(&b, "str", G_STR), put_str(&b, (Str){"a\0\xff", 3});
    Store *st = bytes_fine(s, buf_str(&b));
    assert_int_equal(store_kind(st), STORE_GGUF);
    assert_true(store_meta_f64(st, "f32", &got, &err) && got == (double)f);
    assert_true(store_meta_f64(st, "f64", &got, &err) && got == d);
    assert_true(store_meta_bool(st, "yes", &yes, &err) && yes);
    assert_true(store_meta_bool(st, "no", &no, &err) && !no);
    assert_true(store_meta_str(st, "str", &str, &err));
    assert_true(str_eq(str, (Str){"a\0\xff", 3}));
    assert_int_equal(store_meta_type(st, "f32"), META_FLOAT);
    assert_int_equal(store_meta_type(st, "yes"), META_BOOL);
    assert_int_equal(store_meta_type(st, "str"), META_STR);
    assert_int_equal(store_meta_type(st, "st"), META_ABSENT);
    assert_int_equal(store_meta_count(st), 5);
    assert_true(str_eq(store_meta_key(st, 0), STR("f32")));
    assert_true(str_eq(store_meta_key(st, 4), STR("str")));
    store_close(st);
}

static void test_arrays(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Buf b = {.a = s->a};
    float f[2] = {1.5f, -0.25f}, *floats;
    int16_t i[3] = {-1, 0, 300};
    int64_t n;
    int32_t *list;
    Str *strs;
    put_gguf(&b, 3, 0, 5);
    put_key(&b, "strs", G_ARRAY), put_u32(&b, G_STR), put_u64(&b, 3);
    put_str(&b, STR("one")), put_str(&b, STR("")), put_str(&b, STR("three"));
    put_key(&b, "i16", G_ARRAY), put_u32(&b, G_I16), put_u64(&b, 3), put_value(&b, i, 6);
    put_key(&b, "f32", G_ARRAY), put_u32(&b, G_F32), put_u64(&b, 2), put_value(&b, f, 8);
    put_key(&b, "none", G_ARRAY), put_u32(&b, G_STR), put_u64(&b, 0);
    put_key(&b, "bools", G_ARRAY), put_u32(&b, G_BOOL), put_u64(&b, 2), put_value(&b, "\1\0", 2);
    Store *st = bytes_fine(s, buf_str(&b));
    assert_true(store_meta_strs(st, s->a, "strs", &strs, &n, &err));
    assert_int_equal(n, 3);
    assert_true(str_eq(strs[0], STR("one")) && strs[1].n == 0 && str_eq(strs[2], STR("three")));
    assert_true(store_meta_i32s(st, s->a, "i16", &list, &n, &err));
    assert_true(n == 3 && list[0] == -1 && list[1] == 0 && list[2] == 300);
    assert_true(store_meta_f32s(st, s->a, "f32", &floats, &n, &err));
    assert_true(n == 2 && floats[0] == 1.5f && floats[1] == -0.25f);
    assert_true(store_meta_strs(st, s->a, "none", &strs, &n, &err));
    assert_int_equal(n, 0);
    assert_int_equal(store_meta_type(st, "strs"), META_STRS);
    assert_int_equal(store_meta_type(st, "i16"), META_INTS);
    assert_int_equal(store_meta_type(st, "f32"), META_FLOATS);
    assert_int_equal(store_meta_type(st, "bools"), META_BOOLS);
    assert_false(store_meta_i32s(st, s->a, "f32", &list, &n, &err));
    assert_non_null(
        strstr(err.msg, "metadata key f32 is an array of f32, not an array of integers"));
    err = (Err){0};
    assert_false(store_meta_strs(st, s->a, "absent", &strs, &n, &err));
    assert_non_null(strstr(err.msg, "metadata key absent is missing"));
    store_close(st);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void test_header_refused(void **state) {
    Scratch *s = *state;
    static const struct {
        uint32_t version;
        uint64_t tensors, keys;
        ErrCode code;
        const char *piece;
    } cases[] = {
        {1, 0, 0, ERR_UNSUPPORTED, "version other than 2 and 3"},
        {4, 0, 0, ERR_UNSUPPORTED, "version other than 2 and 3"},
        {3u << 24, 0, 0, ERR_UNSUPPORTED, "big-endian"},
        {3, 1, 0, ERR_FORMAT, "more tensors than the file has room for"},
        {3, UINT64_MAX, 0, ERR_FORMAT, "more tensors than the file has room for"},
        {3, 0, 1, ERR_FORMAT, "more metadata entries than the file has room for"},
        {3, 0, 1ull << 60, ERR_FORMAT, "more metadata entries than the file has room for"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Buf b = {.a = s->a};
        put_gguf(&b, cases[i].version, cases[i].tensors, cases[i].keys);
        bytes_fail(s, buf_str(&b), cases[i].code, cases[i].piece);
    }
    bytes_fail(s, STR("GGUF"), ERR_FORMAT, "header: needs 4 bytes at byte 4, the file ends at 4");
    bytes_fail(s, STR("GGUF\3\0\0\0"), ERR_FORMAT, "header: needs 8 bytes");
}

static void test_keys_refused(void **state) {
    Scratch *s = *state;
    Buf b = one_key(s, "k", G_STR);
    put_u64(&b, 1ull << 60);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "k: needs 1152921504606846976 bytes");
    b = one_key(s, "k", G_ARRAY), put_u32(&b, G_U64), put_u64(&b, 1ull << 60);
    bytes_fail(s, buf_str(&b), ERR_FORMAT,
               "k: has more elements than the file has bytes; it is cut or damaged");
    b = one_key(s, "k", G_ARRAY), put_u32(&b, G_U64), put_u64(&b, 2), put_u64(&b, 0);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "k: needs 16 bytes");
    b = one_key(s, "k", G_ARRAY), put_u32(&b, G_STR), put_u64(&b, 2);
    put_str(&b, STR("x")), put_u64(&b, 2), put_zeros(&b, 1);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "k: needs 2 bytes");
    b = one_key(s, "k", G_ARRAY), put_u32(&b, G_ARRAY), put_u64(&b, 0);
    bytes_fail(s, buf_str(&b), ERR_UNSUPPORTED, "k: arrays of arrays");
    b = one_key(s, "k", 13), put_u64(&b, 0);
    bytes_fail(s, buf_str(&b), ERR_UNSUPPORTED, "k: has a value type");
    b = one_key(s, "k", G_BOOL), put_value(&b, "\2", 1);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "k: has a truth value");
    b = one_key(s, "bad key", G_U8), put_value(&b, "\2", 1);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "name of a metadata key: is not");
    b = one_key(s, "", G_U64), put_u64(&b, 0);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "name of a metadata key: is not");
    b = (Buf){.a = s->a}, put_gguf(&b, 3, 0, 2);
    put_key(&b, "twice", G_U8), put_value(&b, "\1", 1);
    put_key(&b, "twice", G_I8), put_value(&b, "\1", 1);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "twice: this metadata key is there twice");
    b = one_key(s, "split.count", G_U16), put_value(&b, "\3\0", 2);
    bytes_fail(s, buf_str(&b), ERR_FORMAT,
               "split.count: part 1 of 3 of a model; its name must end");
    b = one_key(s, "split.count", G_U32), put_u32(&b, 5000);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "split.no 0, split.count 5000: not a part of 1 to 4096");
    b = one_key(s, "split.no", G_U16), put_value(&b, "\1\0", 2);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "split.no 1, split.count 1: not a part");
    b = one_key(s, "general.alignment", G_U32), put_u32(&b, 24);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "general.alignment is 24");
    b = one_key(s, "general.alignment", G_U32), put_u32(&b, 0);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "general.alignment is 0");
    b = one_key(s, "general.alignment", G_STR), put_str(&b, STR("32"));
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "general.alignment is of type string, not an integer");
}

static void test_tensors_refused(void **state) {
    Scratch *s = *state;
    static const struct {
        uint32_t n_dims;
        uint64_t dim[5];
        uint32_t type;
        uint64_t offset;
        int64_t data;
        ErrCode code;
        const char *piece;
    } cases[] = {
        {1, {8}, 0, 0, 31, ERR_FORMAT, "w: needs 32 bytes"},
        {1, {8}, 0, 32, 64, ERR_FORMAT, "w: its data do not begin"},
        {0, {0}, 0, 0, 64, ERR_FORMAT, "w: has not 1 to 4 dimensions"},
        {5, {1, 1, 1, 1, 1}, 0, 0, 64, ERR_FORMAT, "w: has not 1 to 4 dimensions"},
        {2, {8, 0}, 0, 0, 64, ERR_FORMAT, "w: has a dimension of 0"},
        {1, {1ull << 63}, 0, 0, 64, ERR_FORMAT, "w: has a dimension of 0 or above"},
        {1, {1ull << 60}, 0, 0, 64, ERR_FORMAT, "tensor w: claims 1152921504606846976 elements"},
        {4, {1 << 16, 1 << 16, 1 << 16, 1 << 16}, 0, 0, 64, ERR_FORMAT, "tensor w: the product"},
        {2, {1ull << 62, 4}, 1, 0, 64, ERR_FORMAT, "tensor w: the product"},
        {2, {16, 2}, 8, 0, 64, ERR_FORMAT, "tensor w: rows of type Q8_0 must be a multiple of 32"},
        {2, {33, 32}, 3, 0, 2048, ERR_FORMAT, "tensor w: rows of type Q4_1 must be a multiple of"},
        {2,
         {128, 2},
         12,
         0,
         288,
         ERR_FORMAT,
         "tensor w: rows of type Q4_K must be a multiple of 256"},
        {1, {1024}, 10, 0, 335, ERR_FORMAT, "w: needs 336 bytes"},
        {1, {256}, 9, 0, 288, ERR_UNSUPPORTED, "tensor w has type Q8_1 (number 9)"},
        {1, {256}, 18, 0, 98, ERR_UNSUPPORTED, "tensor w has type IQ3_XXS (number 18)"},
        {1, {256}, 34, 0, 54, ERR_UNSUPPORTED, "tensor w has type TQ1_0 (number 34)"},
        {1, {256}, 4, 0, 210, ERR_UNSUPPORTED, "tensor w has type unknown (number 4)"},
        {1, {256}, 26, 0, 1024, ERR_UNSUPPORTED, "tensor w has type I32 (number 26), which"},
        {1, {256}, 26, 0, 1024, ERR_UNSUPPORTED, "cannot be read here; F32, F16, "},
        {1, {256}, 0xffffffff, 0, 210, ERR_UNSUPPORTED, "type unknown (number 4294967295)"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Buf b = one_tensor(s, cases[i].n_dims, cases[i].dim, cases[i].type, cases[i].offset,
                           cases[i].data);
        bytes_fail(s, buf_str(&b), cases[i].code, cases[i].piece);
    }
    Buf b = {.a = s->a};
    put_gguf(&b, 3, 2, 0);
    for (int i = 0; i < 2; i++) put_tensor(&b, "w", 1, (uint64_t[]){8}, 0, (uint64_t)i * 32);
    put_padding(&b, 32), put_zeros(&b, 64);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "tensor w is there twice");
}

/* The first tensor ends at 40, so with an alignment of 32 the second begins at 64: not on the
 * first, not unaligned, not behind a gap. */
static void test_places_refused(void **state) {
    Scratch *s = *state;
    static const uint64_t offset[] = {0, 32, 40, 96, 64};
    for (int64_t i = 0; i < COUNT(offset); i++) {
        Buf b = {.a = s->a};
        put_gguf(&b, 3, 2, 0);
        put_tensor(&b, "first", 1, (uint64_t[]){10}, 0, 0);
        put_tensor(&b, "second", 1, (uint64_t[]){8}, 0, offset[i]);
        put_padding(&b, 32), put_zeros(&b, 128);
        if (offset[i] == 64)
            store_close(bytes_fine(s, buf_str(&b)));
        else
            bytes_fail(s, buf_str(&b), ERR_FORMAT, "second: its data do not begin");
    }
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void test_types_and_places(void **state) {
    Scratch *s = *state;
    static const struct {
        const char *name;
        uint64_t dim[2];
        uint32_t number;
        DType type;
        int64_t bytes;
    } t[] = {
        {"f32", {3, 5}, 0, DTYPE_F32, 60},    {"f16", {3, 5}, 1, DTYPE_F16, 30},
        {"bf16", {7, 1}, 30, DTYPE_BF16, 14}, {"q4_1", {64, 3}, 3, DTYPE_Q4_1, 120},
        {"q8_0", {32, 2}, 8, DTYPE_Q8_0, 68},
    };
    for (int64_t alignment = 8; alignment <= 64; alignment *= 2) {
        Buf b = {.a = s->a};
        uint64_t at = 0;
        put_gguf(&b, 3, (uint64_t)COUNT(t), 1);
        put_key(&b, "general.alignment", G_U32), put_u32(&b, (uint32_t)alignment);
        for (int64_t i = 0; i < COUNT(t); i++) {
            put_tensor(&b, t[i].name, 2, t[i].dim, t[i].number, at);
            at += (uint64_t)round_up(t[i].bytes, alignment);
        }
        for (int64_t i = 0; i < COUNT(t); i++) {
            put_padding(&b, alignment);
            for (int64_t k = 0; k < t[i].bytes; k++) buf_add(&b, (Str){t[i].name, 1});
            b.p[b.n - 1] = (char)('0' + i);
        }
        Store *st = bytes_fine(s, buf_str(&b)); /* the last tensor is not padded: that is allowed */
        for (int64_t i = 0; i < COUNT(t); i++) {
            const Tensor *x = store_find(st, str_of(t[i].name));
            const char *data = x->data;
            assert_ptr_equal(x, store_at(st, i));
            assert_int_equal(x->type, t[i].type);
            assert_int_equal(x->bytes, t[i].bytes);
            assert_int_equal(x->dim[0], t[i].dim[1]); /* turned round: outermost first */
            assert_int_equal(x->dim[1], t[i].dim[0]);
            assert_true(data[0] == t[i].name[0] && data[x->bytes - 1] == '0' + i);
        }
        store_touch(s, st);
        store_close(st);
    }
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* Part `no` of `count` of a model of `all` tensors, with n of them: t<first>.. of 8 numbers each,
 * the first byte of which is their number. The first part has a key more. */
static const char *part_file(Scratch *s, const char *name, int64_t no, int64_t count, int64_t all,
                             int64_t first, int64_t n) {
    Buf b = {.a = s->a};
    put_gguf(&b, 3, (uint64_t)n, no == 0 ? 4 : 3);
    if (no == 0) put_key(&b, "who", G_STR), put_str(&b, STR("all"));
    put_key(&b, "split.no", G_U16), put_value(&b, &(uint16_t){(uint16_t)no}, 2);
    put_key(&b, "split.count", G_U16), put_value(&b, &(uint16_t){(uint16_t)count}, 2);
    put_key(&b, "split.tensors.count", G_I32), put_value(&b, &(int32_t){(int32_t)all}, 4);
    for (int64_t i = 0; i < n; i++)
        put_tensor(&b, str_fmt(s->a, "t%d", (int)(first + i)).p, 1, (uint64_t[]){8}, 0,
                   (uint64_t)i * 32);
    put_padding(&b, 32);
    for (int64_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)(first + i);
        put_value(&b, &byte, 1), put_zeros(&b, 31);
    }
    return scratch_file(s, name, buf_str(&b));
}

/* Three parts, the first of them without tensors; each opens the whole. */
static void test_parts(void **state) {
    Scratch *s = *state;
    Err err = {0};
    const char *part[3] = {part_file(s, "m-00001-of-00003.gguf", 0, 3, 5, 0, 0),
                           part_file(s, "m-00002-of-00003.gguf", 1, 3, 5, 0, 2),
                           part_file(s, "m-00003-of-00003.gguf", 2, 3, 5, 2, 3)};
    for (int64_t i = 0; i < 3; i++) {
        Str who;
        Store *st = open_fine(s, part[i]);
        assert_int_equal(store_kind(st), STORE_GGUF);
        assert_string_equal(store_path(st), part[0]);
        assert_int_equal(store_count(st), 5);
        assert_true(store_meta_str(st, "who", &who, &err) && str_eq(who, STR("all")));
        assert_int_equal(store_meta_count(st), 4);
        for (int64_t k = 0; k < 5; k++) {
            const Tensor *t = store_find(st, str_fmt(s->a, "t%d", (int)k));
            assert_true(t && *(const uint8_t *)t->data == k);
            assert_string_equal(t->file, part[k < 2 ? 1 : 2]);
            store_drop(st, t->data, t->bytes);
        }
        store_touch(s, st);
        store_close(st);
    }
}

static void test_parts_refused(void **state) {
    Scratch *s = *state;
    part_file(s, "m-00001-of-00002.gguf", 0, 2, 4, 0, 2);
    open_fails(s, scratch_path(s, "m-00001-of-00002.gguf"), ERR_IO,
               "part 2 of 2 of this model is missing: ");
    const char *second = part_file(s, "m-00002-of-00002.gguf", 1, 2, 4, 1, 2);
    open_fails(s, second, ERR_FORMAT, "tensor t1 is there twice, the other time in ");
    part_file(s, "m-00002-of-00002.gguf", 1, 2, 4, 2, 1);
    open_fails(s, scratch_path(s, "m-00001-of-00002.gguf"), ERR_FORMAT,
               "split.tensors.count says 4 tensors, the 2 parts have 3");
    part_file(s, "m-00002-of-00002.gguf", 1, 3, 4, 2, 2);
    Err err = {0};
    Store *st;
    assert_false(store_open(&st, s->a, scratch_path(s, "m-00001-of-00002.gguf"), &err));
    assert_non_null(strstr(err.msg, "m-00002-of-00002.gguf: split.no and split.count say part 2 "
                                    "of 3, its name part 2 of 2"));
    open_fails(s, second, ERR_FORMAT, "its name must end in -00002-of-00003.gguf");
    part_file(s, "m-00002-of-00002.gguf", 0, 2, 4, 2, 2);
    err = (Err){0};
    assert_false(store_open(&st, s->a, scratch_path(s, "m-00001-of-00002.gguf"), &err));
    assert_non_null(strstr(err.msg, "m-00002-of-00002.gguf: split.no and split.count say part 1 "
                                    "of 2, its name part 2 of 2"));
    scratch_file(s, "m-00002-of-00002.gguf", STR("GGUF\3\0\0\0"));
    open_fails(s, second, ERR_FORMAT, "header: needs 8 bytes");
    open_fails(s, part_file(s, "m.gguf", 0, 2, 4, 0, 2), ERR_FORMAT,
               "part 1 of 2 of a model; its name must end in -00001-of-00002.gguf");
}

/* ---- real files ------------------------------------------------------------------------------ */

static void test_stories(void **state) {
    Scratch *s = *state;
    Err err = {0};
    static const struct {
        const char *gguf, *hf;
    } same[] = {
        {"token_embd.weight", "model.embed_tokens.weight"},
        {"output_norm.weight", "model.norm.weight"},
        {"blk.2.ffn_gate.weight", "model.layers.2.mlp.gate_proj.weight"},
        {"blk.4.ffn_down.weight", "model.layers.4.mlp.down_proj.weight"},
        {"blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight"},
        {"blk.3.attn_norm.weight", "model.layers.3.input_layernorm.weight"},
    };
    const char *gguf = need_reference(s->a, "stories260K/stories260K.gguf"),
               *hf = need_reference(s->a, "stories260K/hf");
    Store *a = open_fine(s, gguf), *b = open_fine(s, hf);
    assert_int_equal(store_count(a), 47);
    assert_int_equal(store_count(b), 47);
    for (int64_t i = 0; i < COUNT(same); i++) {
        const Tensor *x = store_find(a, str_of(same[i].gguf)),
                     *y = store_find(b, str_of(same[i].hf));
        assert_true(x && y);
        assert_int_equal(x->n_dims, y->n_dims);
        assert_memory_equal(x->dim, y->dim, sizeof x->dim);
        assert_int_equal(x->bytes, y->bytes);
        assert_memory_equal(x->data, y->data, (size_t)x->bytes);
    }
    int64_t layers, n;
    Str arch, *tokens;
    float *scores;
    int32_t *types;
    double eps;
    assert_true(store_meta_i64(a, "llama.block_count", &layers, &err) && layers == 5);
    assert_true(store_meta_str(a, "general.architecture", &arch, &err)
                && str_eq(arch, STR("llama")));
    assert_true(store_meta_f64(a, "llama.attention.layer_norm_rms_epsilon", &eps, &err)
                && (float)eps == 1e-5f);
    assert_true(store_meta_strs(a, s->a, "tokenizer.ggml.tokens", &tokens, &n, &err) && n == 512);
    assert_true(str_eq(tokens[0], STR("<unk>")) && str_eq(tokens[3], STR("<0x00>")));
    assert_true(store_meta_f32s(a, s->a, "tokenizer.ggml.scores", &scores, &n, &err) && n == 512);
    assert_true(store_meta_i32s(a, s->a, "tokenizer.ggml.token_type", &types, &n, &err)
                && n == 512);
    assert_true(types[0] == 2 && types[1] == 3 && types[3] == 6 && types[511] == 1);
    store_touch(s, a);
    store_close(a);
    store_close(b);
}

static void test_real_files(void **state) {
    Scratch *s = *state;
    static const struct {
        const char *name;
        int64_t tensors, tokens;
    } files[] = {
        {"gguf-vocab/ggml-vocab-deepseek-llm.gguf", 0, 102400},
        {"gguf-vocab/ggml-vocab-deepseek-coder.gguf", 0, 32256},
        {"gguf-vocab/ggml-vocab-gpt-2.gguf", 0, 50257},
        {"gguf-vocab/ggml-vocab-llama-spm.gguf", 0, 32000},
        {"gguf-types/Q8_0.gguf", 21, 512},
        {"gguf-types/Q4_0.gguf", 21, 512},
        {"gguf-types/Q4_K_M.gguf", 21, 512},
        {"gguf-types/IQ4_XS.gguf", 21, 512},
        {"stories260K/stories260K-f16.gguf", 47, 512},
    };
    for (int64_t i = 0; i < COUNT(files); i++) {
        Err err = {0};
        Str *tokens;
        int64_t n;
        Store *st = open_fine(s, need_reference(s->a, files[i].name));
        assert_int_equal(store_count(st), files[i].tensors);
        assert_true(store_meta_strs(st, s->a, "tokenizer.ggml.tokens", &tokens, &n, &err));
        assert_int_equal(n, files[i].tokens);
        store_touch(s, st);
        store_close(st);
    }
}

int gguf_tests(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_ints),
        FILE_TEST(test_ints_out_of_range),
        FILE_TEST(test_scalars),
        FILE_TEST(test_arrays),
        FILE_TEST(test_header_refused),
        FILE_TEST(test_keys_refused),
        FILE_TEST(test_tensors_refused),
        FILE_TEST(test_places_refused),
        FILE_TEST(test_parts),
        FILE_TEST(test_parts_refused),
        FILE_TEST(test_types_and_places),
        FILE_TEST(test_stories),
        FILE_TEST(test_real_files),
    };
    return cmocka_run_group_tests_name("file: GGUF", tests, NULL, NULL);
}
