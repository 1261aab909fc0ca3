/* safetensors.c -- safetensors files, folders of shards, and what is refused of both. The headers
 * of the oracle files are read a second time by jansson, which knows nothing of ours. */
#include <jansson.h>
#include "files.h"

/* One entry, F32, for headers in the tables below. */
#define F32(shape, begin, end)                                                                     \
    "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static const struct {
    const char *header;
    int64_t data;
} taken[] = {
    {"{}", 0},
    {"{}      ", 0},
    {"{\"__metadata__\":{\"format\":\"pt\",\"x\\/y\":\"\"}}", 0},
    {"{\"a\":" F32("[2]", 0, 8) "}", 8},
    {"{\"a\":" F32("[]", 0, 4) "}", 4},
    {"{\"a\":" F32("[0,5]", 0, 0) "}", 0},
    {"{\"a\":" F32("[1,2,1,2]", 0, 16) "}", 16},
    {"{\"b\":" F32("[2]", 4, 12) ",\"a\":" F32("[1]", 0, 4) "}", 12},
    {"{\"b\":" F32("[2]", 0, 8) ",\"a\":" F32("[0]", 8, 8) ",\"c\":" F32("[0]", 0, 0) "}", 8},
    {"{ \"a\" : {\"data_offsets\":[0,8], \"shape\" : [ 2 ] ,\"dtype\":\"F32\" } } ", 8},
};

static const struct {
    const char *header;
    int64_t data;
    ErrCode code;
    const char *piece;
} refused[] = {
    {"[]", 0, ERR_FORMAT, "expected '{'"},
    {"{\"a\":" F32("[2]", 0, 8) "}x", 8, ERR_FORMAT, "nothing after the end"},
    {"{\"a\":" F32("[2]", 0, 8) ",}", 8, ERR_FORMAT, "a string"},
    {"{\"a\":" F32("[3]", 0, 8) "}", 8, ERR_FORMAT, "tensor a: claims 3 elements"},
    {"{\"a\":" F32("[1]", 0, 8) "}", 8, ERR_FORMAT,
     "tensor a: shape and dtype make 4 bytes, data_offsets 8"},
    {"{\"a\":" F32("[2]", 0, 8) "}", 7, ERR_FORMAT, "tensor a: data_offsets [0,8]"},
    {"{\"a\":" F32("[2]", 8, 0) "}", 8, ERR_FORMAT, "tensor a: data_offsets [8,0]"},
    {"{\"a\":" F32("[1]", 9223372036854775803, 9223372036854775807) "}", 8, ERR_FORMAT,
     "do not lie in"},
    {"{\"a\":" F32("[2]", 0, 8) "}", 9, ERR_FORMAT, "1 bytes of data belong to no tensor"},
    {"{\"a\":" F32("[1]", 4, 8) "}", 8, ERR_FORMAT, "tensor a begins at data byte 4"},
    {"{\"a\":" F32("[2]", 0, 8) ",\"b\":" F32("[2]", 4, 12) "}", 12, ERR_FORMAT,
     "tensor b begins at data byte 4"},
    {"{\"a\":" F32("[2]", 0, 8) ",\"b\":" F32("[2]", 0, 8) "}", 8, ERR_FORMAT,
     "begins at data byte 0"},
    {"{\"a\":" F32("[1]", 0, 4) ",\"b\":" F32("[1]", 8, 12) "}", 12, ERR_FORMAT,
     "tensor b begins at data byte 8"},
    {"{\"a\":" F32("[1]", 0, 4) ",\"a\":" F32("[1]", 4, 8) "}", 8, ERR_FORMAT,
     "tensor a is there twice"},
    {"{\"a\":" F32("[1]", 0, 4) ",\"\\u0061\":" F32("[1]", 4, 8) "}", 8, ERR_FORMAT,
     "tensor a is there twice"},
    {"{\"a\":" F32("[4294967296,4294967296]", 0, 8) "}", 8, ERR_FORMAT,
     "tensor a: the product of its dimensions"},
    {"{\"a\":" F32("[0,9223372036854775807,2]", 0, 8) "}", 8, ERR_FORMAT, "make 0 bytes"},
    {"{\"a\":" F32("[1152921504606846976]", 0, 8) "}", 8, ERR_FORMAT,
     "claims 1152921504606846976 elements"},
    {"{\"a\":" F32("[4611686018427387905]", 0, 4) "}", 4, ERR_FORMAT,
     "claims 4611686018427387905 elements"},
    {"{\"a\":" F32("[1,1,1,1,1]", 0, 4) "}", 4, ERR_FORMAT, "at a: expected at most 4 dimensions"},
    {"{\"a\":" F32("[-1]", 0, 4) "}", 4, ERR_FORMAT, "at a: expected a whole number"},
    {"{\"a\":" F32("[1.0]", 0, 4) "}", 4, ERR_FORMAT, "at a: expected a whole number"},
    {"{\"a\":" F32("[01]", 0, 4) "}", 4, ERR_FORMAT, "at a: expected a whole number"},
    {"{\"a\":" F32("[1e0]", 0, 4) "}", 4, ERR_FORMAT, "at a: expected a whole number"},
    {"{\"a\":" F32("[\"1\"]", 0, 4) "}", 4, ERR_FORMAT, "at a: expected a whole number"},
    {"{\"a\":" F32("[1]", 0, 18446744073709551620) "}", 4, ERR_FORMAT,
     "at a: expected a whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, ERR_FORMAT,
     "at a: expected ','"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, ERR_FORMAT,
     "at a: expected ']'"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, ERR_FORMAT, "tensor a: one of dtype"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ERR_FORMAT, "tensor a: one of dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, ERR_FORMAT, "tensor a: one of dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     ERR_FORMAT, "each once"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     ERR_FORMAT, "each once"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4, ERR_FORMAT,
     "each once"},
    {"{\"a\":{\"dtype\":\"F8_E8M0\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, ERR_UNSUPPORTED,
     "tensor a: dtype F8_E8M0"},
    {"{\"a\":{\"dtype\":\"Q8_0\",\"shape\":[32],\"data_offsets\":[0,34]}}", 34, ERR_UNSUPPORTED,
     "tensor a: dtype Q8_0"},
    {"{\"a\":{\"dtype\":\"\\u001b[2J\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, ERR_UNSUPPORTED,
     "dtype ?"},
    {"{\"\":" F32("[1]", 0, 4) "}", 4, ERR_FORMAT, "a tensor name of visible ASCII"},
    {"{\"\\u001b[2J\":" F32("[1]", 0, 4) "}", 4, ERR_FORMAT, "a tensor name of visible ASCII"},
    {"{\"\xc3\xa9\":" F32("[1]", 0, 4) "}", 4, ERR_FORMAT, "a tensor name of visible ASCII"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, ERR_FORMAT, "__metadata__ once"},
    {"{\"__metadata__\":{\"a\":1}}", 0, ERR_FORMAT, "a string"},
    {"{\"__metadata__\":null}", 0, ERR_FORMAT, "expected '{'"},
    {"{\"a\":[]}", 0, ERR_FORMAT, "at a: expected '{'"},
    {"{\"a\":" F32("[1]", 0, 4), 4, ERR_FORMAT, "found the end"},
};

static void test_taken(void **state) {
    Scratch *s = *state;
    for (int64_t i = 0; i < COUNT(taken); i++) {
        Store *st = bytes_fine(s, safetensors_bytes(s->a, taken[i].header, taken[i].data));
        assert_int_equal(store_kind(st), STORE_SAFETENSORS);
        store_touch(s, st);
        store_close(st);
    }
}

static void test_refused(void **state) {
    Scratch *s = *state;
    for (int64_t i = 0; i < COUNT(refused); i++) {
        Str bytes = safetensors_bytes(s->a, refused[i].header, refused[i].data);
        bytes_fail(s, bytes, refused[i].code, refused[i].piece);
    }
}

static void test_header_length(void **state) {
    Scratch *s = *state;
    Buf b = {.a = s->a};
    bytes_fail(s, STR("1234567"), ERR_FORMAT, "7 bytes are too few");
    put_u64(&b, 3);
    buf_add(&b, STR("{}"));
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "header length says 3 bytes, the file has 2");
    memset(b.p, 0xff, 8);
    bytes_fail(s, buf_str(&b), ERR_FORMAT, "header length says 18446744073709551615");
    bytes_fail(s, STR("hello, this is no model at all"), ERR_FORMAT, "nor a safetensors file");
}

/* What downloads leave in a model's place is named, whatever its name says it is. */
static void test_strangers(void **state) {
    static const struct {
        const char *bytes;
        const char *piece;
    } cases[] = {
        {"", "is empty: fetch it again"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
         "is a Git LFS pointer, not the model: run git lfs pull"},
        {"<!doctype html><html></html>", "is a web page (HTML), not a model"},
        {"{\"error\": \"not found\"}", "is JSON text"},
        {"PK\3\4\24\0\0\0\10\0", "is a zip archive"},
        {"Entry not found", "is neither a GGUF file (which begins with GGUF) nor a"},
    };
    Scratch *s = *state;
    Err err = {0};
    if (!os_mkdir(scratch_path(s, "folder"), &err)) fail_msg("%s", err.msg);
    for (int64_t i = 0; i < COUNT(cases); i++) {
        open_fails(s, scratch_file(s, "m.gguf", str_of(cases[i].bytes)), ERR_FORMAT,
                   cases[i].piece);
        scratch_file(s, "folder/model.safetensors", str_of(cases[i].bytes));
        open_fails(s, scratch_path(s, "folder"), ERR_FORMAT, cases[i].piece);
    }
}

/* In the order of the bytes, whatever order the header has; empty tensors fit anywhere. */
static void test_order(void **state) {
    Scratch *s = *state;
    Store *st = bytes_fine(s, safetensors_bytes(s->a, taken[7].header, taken[7].data));
    assert_true(str_eq(store_at(st, 0)->name, STR("a")));
    assert_true(str_eq(store_at(st, 1)->name, STR("b")));
    assert_ptr_equal(store_at(st, 1)->data, (const uint8_t *)store_at(st, 0)->data + 4);
    assert_null(store_find(st, STR("c")));
    assert_null(store_find(st, STR("")));
    store_close(st);
}

/* A header of odd length puts every number at an odd address: they are copied, unchanged. */
static void test_misaligned(void **state) {
    Scratch *s = *state;
    const char *header = "{\"a\":" F32(
        "[3]", 0, 12) ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[12,13]}}";
    float three[3] = {1.5f, -2.0f, 3.25f};
    for (int spaces = 0; spaces < 8; spaces++) {
        const char *padded = str_fmt(s->a, "%s%*s", header, spaces, "").p;
        Str bytes = safetensors_bytes(s->a, padded, 13);
        memcpy((char *)(uintptr_t)bytes.p + bytes.n - 13, three, 12);
        Store *st = bytes_fine(s, bytes);
        store_touch(s, st);
        assert_memory_equal(store_find(st, STR("a"))->data, three, 12);
        store_close(st);
    }
}

/* ---- the oracle folders, against jansson ----------------------------------------------------- */

static void entry_compare(const Store *st, const char *name, json_t *entry, const uint8_t *data) {
    const Tensor *t = store_find(st, str_of(name));
    json_t *shape = json_object_get(entry, "shape"),
           *offsets = json_object_get(entry, "data_offsets");
    if (!t) fail_msg("%s is missing", name);
    assert_string_equal(dtype_name(t->type), json_string_value(json_object_get(entry, "dtype")));
    assert_int_equal(t->n_dims, json_array_size(shape));
    for (int i = 0; i < t->n_dims; i++) {
        assert_int_equal(t->dim[i], json_integer_value(json_array_get(shape, (size_t)i)));
    }
    int64_t begin = json_integer_value(json_array_get(offsets, 0));
    int64_t end = json_integer_value(json_array_get(offsets, 1));
    assert_int_equal(t->bytes, end - begin);
    assert_memory_equal(t->data, data + begin, (size_t)t->bytes);
}

/* Every tensor of `file` is in the Store as jansson reads it; returns how many there are. */
static int64_t file_compare(Scratch *s, const Store *st, const char *file) {
    Err err = {0};
    Str bytes;
    uint64_t header;
    const char *name;
    json_t *entry;
    assert_true(os_read(s->a, &bytes, file, 1 << 30, &err));
    memcpy(&header, bytes.p, 8);
    json_t *j = json_loadb(bytes.p + 8, header, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    json_object_del(j, "__metadata__");
    json_object_foreach(j, name, entry)
        entry_compare(st, name, entry, (const uint8_t *)bytes.p + 8 + header);
    int64_t n = (int64_t)json_object_size(j);
    json_decref(j);
    return n;
}

static void test_oracle_files(void **state) {
    Scratch *s = *state;
    static const char *const files[] = {
        "models/llama-tiny/model",
        "models/llama-tiny/train",
        "models/deepseek-v3-tiny/model",
        "models/deepseek-v3-tiny/expected",
        "numbers/quants",
        "numbers/lowp",
        "stories260K/hf/expected",
    };
    for (int64_t i = 0; i < COUNT(files); i++) {
        const char *path = need_reference(s->a, str_fmt(s->a, "%s.safetensors", files[i]).p);
        Store *st = open_fine(s, path);
        assert_int_equal(store_count(st), file_compare(s, st, path));
        store_touch(s, st);
        store_close(st);
    }
}

static void test_oracle_folders(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Str text;
    const char *one = need_reference(s->a, "models/llama-tiny"),
               *two = need_reference(s->a, "models/deepseek-v3-bf16-tiny");
    Store *st = open_fine(s, one);
    assert_int_equal(store_kind(st), STORE_FOLDER);
    assert_int_equal(store_step(st), -1);
    assert_string_equal(store_path(st), one);
    assert_int_equal(store_count(st), 30);
    assert_true(store_json(st, s->a, "config.json", &text, &err));
    assert_true(str_starts(text, STR("{")) && text.p[text.n] == '\0'
                && strstr(text.p, "LlamaForCausalLM"));
    assert_true(store_json(st, s->a, "tokenizer.json", &text, &err));
    assert_int_equal(text.n, 0);
    assert_int_equal(store_meta_type(st, "general.architecture"), META_ABSENT);
    store_close(st);

    st = open_fine(s, two);
    int64_t n = file_compare(s, st, path_join(s->a, two, "model-00001-of-00002.safetensors"))
                + file_compare(s, st, path_join(s->a, two, "model-00002-of-00002.safetensors"));
    assert_int_equal(store_count(st), n);
    store_touch(s, st);
    store_close(st);
}

/* ---- shards ---------------------------------------------------------------------------------- */

static void shard_write(Scratch *s, const char *file, const char *tensor) {
    const char *header = str_fmt(s->a, "{\"%s\":" F32("[2]", 0, 8) "}", tensor).p;
    scratch_file(s, file, safetensors_bytes(s->a, header, 8));
}

static void index_write(Scratch *s, const char *text) {
    scratch_file(s, "model.safetensors.index.json", str_of(text));
}

static void test_shards(void **state) {
    Scratch *s = *state;
    shard_write(s, "one.safetensors", "a");
    shard_write(s, "two.safetensors", "b");
    index_write(s, "{\"metadata\":{\"total_size\":16,\"x\":[null,{\"y\":-1.5}]},"
                   "\"weight_map\":{\"b\":\"two.safetensors\",\"a\":\"one.safetensors\"}}");
    Store *st = open_fine(s, s->folder);
    assert_int_equal(store_kind(st), STORE_FOLDER);
    assert_int_equal(store_count(st), 2);
    assert_non_null(strstr(store_find(st, STR("a"))->file, "one.safetensors"));
    assert_non_null(strstr(store_find(st, STR("b"))->file, "two.safetensors"));
    store_touch(s, st);
    store_close(st);
}

static void test_index_refused(void **state) {
    Scratch *s = *state;
    static const struct {
        const char *index;
        ErrCode code;
        const char *piece;
    } cases[] = {
        {"{}", ERR_FORMAT, "a weight_map"},
        {"{\"weight_map\":[]}", ERR_FORMAT, "expected '{'"},
        {"{\"weight_map\":{\"a\":1}}", ERR_FORMAT, "a string"},
        {"{\"weight_map\":{},\"weight_map\":{}}", ERR_FORMAT, "one weight_map"},
        {"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", ERR_FORMAT,
         "at a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", ERR_FORMAT,
         "at a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\"x\\/y\"}}", ERR_FORMAT, "at a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\"..\"}}", ERR_FORMAT, "at a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\".one\"}}", ERR_FORMAT, "at a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\"\"}}", ERR_FORMAT, "at a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\\u0000\"}}", ERR_FORMAT,
         "at a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\"three.safetensors\"}}", ERR_IO, "three.safetensors"},
        {"{\"weight_map\":{\"b\":\"one.safetensors\"}}", ERR_FORMAT,
         "tensor b into one.safetensors, but it is in none"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\",\"c\":\"two."
         "safetensors\"}}",
         ERR_FORMAT, "tensor a is there twice, the other time in"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"d\":\"one.safetensors\",\"c\":\"four."
         "safetensors\"}}",
         ERR_FORMAT, "tensor d into one.safetensors, but it is in "},
        {"{\"weight_map\":{\"a\":\"one.safetensors\"}", ERR_FORMAT, "found the end"},
        {"", ERR_FORMAT, "found the end"},
    };
    shard_write(s, "one.safetensors", "a");
    shard_write(s, "two.safetensors", "a");
    shard_write(s, "four.safetensors", "d");
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Err err = {0};
        Store *st;
        index_write(s, cases[i].index);
        if (store_open(&st, s->a, s->folder, &err)) fail_msg("%s was opened", cases[i].index);
        if (!strstr(err.msg, cases[i].piece)) fail_msg("%s\n  gave %s", cases[i].index, err.msg);
        assert_int_equal(err.code, cases[i].code);
    }
}

static void test_many_files(void **state) {
    Scratch *s = *state;
    Buf b = {.a = s->a};
    Err err = {0};
    Str *shard;
    int64_t n;
    buf_fmt(&b, "{\"weight_map\":{");
    for (int i = 0; i <= 4096; i++) buf_fmt(&b, "%s\"t%d\":\"f%d\"", i ? "," : "", i, i);
    buf_fmt(&b, "}}");
    Map m = {(const uint8_t *)b.p, b.n};
    assert_false(index_shards(s->a, m, "index", &shard, &n, &err));
    assert_non_null(strstr(err.msg, "at most 4096"));
}

static void test_no_model(void **state) {
    Scratch *s = *state;
    open_fails(s, s->folder, ERR_IO, "no model here");
    open_fails(s, scratch_path(s, "nothing"), ERR_IO, "No such file");
}

/* ---- writing --------------------------------------------------------------------------------- */

static const DType plain_types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F64, DTYPE_I8,
                                    DTYPE_U8,  DTYPE_I16, DTYPE_I32,  DTYPE_I64, DTYPE_BOOL};

/* Round `seed` of random tensors: types, shapes (empty and scalar ones too) and bytes. */
static Tensor *random_tensors(Arena *a, uint64_t seed, int64_t *n) {
    uint64_t at = seed * 100000;
    *n = draw(at++, 40);
    Tensor *t = PUSH(a, Tensor, *n);
    for (int64_t i = 0; i < *n; i++) {
        t[i].name = str_fmt(a, "t%lld.%u", (long long)i, (unsigned)draw(at++, 1000000));
        t[i].type = plain_types[draw(at++, (uint32_t)COUNT(plain_types))];
        t[i].n_dims = (int)draw(at++, TENSOR_DIMS + 1);
        for (int d = 0; d < t[i].n_dims; d++) t[i].dim[d] = draw(at++, 6);
        t[i].bytes = dtype_bytes(t[i].type, tensor_elements(&t[i]));
        uint8_t *data = PUSH(a, uint8_t, t[i].bytes);
        for (int64_t k = 0; k < t[i].bytes; k++) data[k] = (uint8_t)draw(at++, 256);
        t[i].data = data;
    }
    return t;
}

static void test_round_trip(void **state) {
    Scratch *s = *state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        Err err = {0};
        int64_t n;
        Tensor *t = random_tensors(s->a, seed, &n);
        const char *path = scratch_path(s, "model.safetensors");
        assert_true(safetensors_write(s->a, path, t, n, &err));
        Store *st = open_fine(s, path);
        assert_int_equal(store_count(st), n);
        assert_int_equal(file_compare(s, st, path), n);
        for (int64_t i = 0; i < n; i++) {
            const Tensor *got = store_find(st, t[i].name);
            assert_non_null(got);
            assert_int_equal(got->type, t[i].type);
            assert_int_equal(got->n_dims, t[i].n_dims);
            assert_memory_equal(got->dim, t[i].dim, sizeof got->dim);
            assert_int_equal(got->bytes, t[i].bytes);
            assert_memory_equal(got->data, t[i].data, (size_t)t[i].bytes);
            assert_true((const uint8_t *)got->data >= st->map[0].p); /* no copy was needed */
            assert_true((const uint8_t *)got->data + got->bytes <= st->map[0].p + st->map[0].n);
        }
        store_close(st);
    }
}

static void test_write_refused(void **state) {
    Scratch *s = *state;
    Err err = {0};
    uint8_t block[34] = {0};
    Tensor t = {.name = STR("q"), .type = DTYPE_Q8_0, .n_dims = 1, .dim = {32}, .data = block};
    const char *path = scratch_path(s, "model.safetensors");
    assert_false(safetensors_write(s->a, path, &t, 1, &err));
    assert_non_null(strstr(err.msg, "tensor q: safetensors has no type Q8_0"));
    assert_false(os_exists(path));
}

static void test_shape_text(void **state) {
    Scratch *s = *state;
    Tensor t = {.n_dims = 3, .dim = {2, 0, 576}};
    assert_true(str_eq(tensor_shape(s->a, &t), STR("[2,0,576]")));
    assert_int_equal(tensor_elements(&t), 0);
    t.n_dims = 0;
    assert_true(str_eq(tensor_shape(s->a, &t), STR("[]")));
    assert_int_equal(tensor_elements(&t), 1);
}

int safetensors_tests(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_taken),         FILE_TEST(test_refused),
        FILE_TEST(test_header_length), FILE_TEST(test_strangers),
        FILE_TEST(test_order),         FILE_TEST(test_misaligned),
        FILE_TEST(test_oracle_files),  FILE_TEST(test_oracle_folders),
        FILE_TEST(test_shards),        FILE_TEST(test_index_refused),
        FILE_TEST(test_many_files),    FILE_TEST(test_no_model),
        FILE_TEST(test_round_trip),    FILE_TEST(test_write_refused),
        FILE_TEST(test_shape_text),
    };
    return cmocka_run_group_tests_name("file: safetensors", tests, NULL, NULL);
}
