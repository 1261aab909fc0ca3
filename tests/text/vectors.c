/* vectors.c -- ids that other programs gave: real tokenizers, and a small one cut in every way. */
#define _POSIX_C_SOURCE 200809L /* popen */
#include "tests.h"
#include <stdio.h>

/* The decompressed bytes of an .xz file of the reference data. */
static Str unpack(Bench *b, const char *path) {
    const char *file = need_reference(b->keep, path);
    Str command = str_fmt(b->keep, "xz -dc '%s'", file);
    Buf out = {.a = b->keep};
    char block[65536];
    FILE *f = popen(command.p, "r");
    assert_non_null(f);
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;)
        buf_add(&out, (Str){block, (int64_t)n});
    assert_int_equal(pclose(f), 0);
    return buf_str(&out);
}

static void oracle_check(Bench *b, const char *name) {
    Str json = unpack(b, str_fmt(b->keep, "tokenizers/%s/tokenizer.json.xz", name).p);
    Str lines = file_oracle(b, str_fmt(b->keep, "tokenizers/%s/vectors.jsonl", name).p);
    int64_t before = arena_used(b->keep), peak = arena_peak(b->keep);
    Tokenizer *t = tokenizer_fine(b, json);
    assert_true(arena_used(b->keep) - before < 2 * json.n);
    assert_true(arena_peak(b->keep) - MAX(peak, before) < 3 * json.n);
    assert_int_equal(vectors_check(b, t, lines), 126);
    tokenizer_close(t);
}

static void deepseek_v3(void **state) { oracle_check(*state, "deepseek-v3"); }
static void qwen3(void **state) { oracle_check(*state, "qwen3"); }

static void smollm2(void **state) {
    Bench *b = *state;
    GgufVocab v;
    smollm2_vocab(b, &v);
    Tokenizer *t;
    if (!tokenizer_open_parts(&t, b->keep, &v.parts, &b->err)) fail_msg("%s", b->err.msg);
    assert_int_equal(vectors_check(b, t, file_read(b, "tests/golden/smollm2/vectors.jsonl")), 6);
    assert_int_equal(tokenizer_size(t), 49152);
    assert_int_equal(token_named(t, STR("<|im_end|>")), 2);
    assert_true(token_is_special(t, 2));
    assert_false(token_is_special(t, 17));
    tokenizer_close(t);
}

/* Texts in .inp, between lines of "__ggml_vocab_test__"; their ids in .out, a line each. */
static void vocabulary(Bench *b, const char *name) {
    GgufVocab v;
    const char *path =
        need_reference(b->keep, str_fmt(b->keep, "gguf-vocab/ggml-vocab-%s.gguf", name).p);
    gguf_vocab(b, &v, path);
    Tokenizer *t;
    if (!tokenizer_open_parts(&t, b->keep, &v.parts, &b->err)) fail_msg("%s", b->err.msg);
    Str in = file_read(b, str_fmt(b->keep, "%s.inp", path).p),
        out = file_read(b, str_fmt(b->keep, "%s.out", path).p);
    const char *mark = "\n__ggml_vocab_test__\n";
    int64_t n = 0;
    for (; in.n > 0; n++) {
        const char *end = strstr(in.p, mark);
        Str text = {in.p, end ? end - in.p : in.n};
        int64_t line = (const char *)memchr(out.p, '\n', (size_t)out.n) - out.p;
        Buf got = {.a = b->keep};
        Ids ids = encode(b, t, text, TEXT_PARSED);
        buf_add(&got, STR(""));
        for (int64_t i = 0; i < ids.n; i++) buf_fmt(&got, " %d", ids.v[i]);
        same_str(buf_str(&got), (Str){out.p, line});
        out.p += line + 1, out.n -= line + 1;
        int64_t used = text.n + (end ? (int64_t)strlen(mark) : 0);
        in.p += used, in.n -= used;
    }
    assert_int_equal(n, 46);
    tokenizer_close(t);
}

static void gpt2(void **state) { vocabulary(*state, "gpt-2"); }
static void deepseek_llm(void **state) { vocabulary(*state, "deepseek-llm"); }
static void deepseek_coder(void **state) { vocabulary(*state, "deepseek-coder"); }
static void llama_spm(void **state) { vocabulary(*state, "llama-spm"); }

/* stories260K's tokenizer.json: characters, byte fallback, prepended and replaced spaces. */
static void stories(void **state) {
    Bench *b = *state;
    Str json = {0};
    const char *path = need_reference(b->keep, "stories260K/hf/tokenizer.json");
    json = file_read(b, path);
    Tokenizer *t = tokenizer_fine(b, json);
    Str lines = file_oracle(b, "stories260K/hf/vectors.jsonl");
    assert_true(vectors_check(b, t, lines) >= 8);
    tokenizer_close(t);
}

/* Every stage, behaviour, normaliser and flag on small tokenizers; merges in both spellings. */
static void stages(void **state) {
    Bench *b = *state;
    Str lines = file_read(b, "tests/golden/tokenizers/stages.jsonl");
    int64_t n = 0;
    for (json_t *o; (o = line_next(&lines)); n++) {
        json_t *file = tiny_json(b), *merges, *one;
        const char *key;
        size_t i;
        json_object_foreach(o, key, one) if (strcmp(key, "name") && strcmp(key, "vectors"))
            json_object_set(file, key, one);
        merges = json_object_get(json_object_get(file, "model"), "merges");
        json_array_foreach(merges, i, one) if (n % 2) {
            const char *left = json_string_value(json_array_get(one, 0)),
                       *right = json_string_value(json_array_get(one, 1));
            json_array_set_new(merges, i, json_string(str_fmt(b->keep, "%s %s", left, right).p));
        }
        Tokenizer *t = tokenizer_fine(b, json_text(b, file));
        json_array_foreach(json_object_get(o, "vectors"), i, one)
            same_ids(encode(b, t, json_str(one, "text"), TEXT_PARSED), json_object_get(one, "ids"),
                     json_str(one, "text"));
        tokenizer_close(t);
    }
    assert_int_equal(n, 49);
}

/* The names of GGUF are the patterns of tokenizer.json: same cuts, same ids. */
static void pre_names(void **state) {
    Bench *b = *state;
    static const char *const names[] = {"deepseek-v3", "qwen3"}, *const pre[] = {"deepseek-v3",
                                                                                 "qwen2"};
    need_full();
    for (int k = 0; k < 2; k++) {
        Str json = unpack(b, str_fmt(b->keep, "tokenizers/%s/tokenizer.json.xz", names[k]).p);
        Tokenizer *t = tokenizer_fine(b, json), *u;
        json_t *file = json_loadb(json.p, (size_t)json.n, 0, NULL),
               *model = json_object_get(file, "model"), *v;
        TokenizerParts p = {.name = "parts", .pre = str_of(pre[k]), .n_tokens = tokenizer_size(t)};
        Str *tokens = PUSH(b->keep, Str, p.n_tokens), *merges;
        int32_t *types = PUSH(b->keep, int32_t, p.n_tokens);
        const char *key;
        size_t i;
        for (i = 0; i < (size_t)p.n_tokens; i++)
            tokens[i] = str_fmt(b->keep, "[PAD%zu]", i), types[i] = 5;
        json_object_foreach(json_object_get(model, "vocab"), key, v)
            tokens[json_integer_value(v)] = str_of(key),
            types[json_integer_value(v)] = 1;
        json_array_foreach(json_object_get(file, "added_tokens"), i, v) {
            int64_t id = json_integer_value(json_object_get(v, "id"));
            tokens[id] = json_str(v, "content"),
            types[id] = json_is_true(json_object_get(v, "special")) ? 3 : 4;
        }
        json_t *list = json_object_get(model, "merges");
        p.n_merges = (int64_t)json_array_size(list);
        merges = PUSH(b->keep, Str, p.n_merges);
        json_array_foreach(list, i, v) merges[i] =
            json_is_string(v) ? str_of(json_string_value(v))
                              : str_fmt(b->keep, "%s %s", json_string_value(json_array_get(v, 0)),
                                        json_string_value(json_array_get(v, 1)));
        p.tokens = tokens, p.types = types, p.n_types = p.n_tokens, p.merges = merges;
        if (!tokenizer_open_parts(&u, b->keep, &p, &b->err)) fail_msg("%s", b->err.msg);
        assert_int_equal(
            vectors_check(
                b, u, file_oracle(b, str_fmt(b->keep, "tokenizers/%s/vectors.jsonl", names[k]).p)),
            126);
        tokenizer_close(t), tokenizer_close(u), json_decref(file);
    }
}

int vector_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(stages),         TEXT_TEST(deepseek_v3),
                                       TEXT_TEST(qwen3),          TEXT_TEST(smollm2),
                                       TEXT_TEST(gpt2),           TEXT_TEST(deepseek_llm),
                                       TEXT_TEST(deepseek_coder), TEXT_TEST(llama_spm),
                                       TEXT_TEST(stories),        TEXT_TEST(pre_names)};
    return cmocka_run_group_tests_name("vectors of other programs", tests, NULL, NULL);
}
