/* export.c -- a tokenizer as a GGUF file's arrays and as a tokenizer.json: both give its ids. */
#include "tests.h"

/* The texts of NAME.inp. */
static Str next_text(Str *all) {
    static const char border[] = "\n__ggml_vocab_test__\n";
    Str one = *all;
    for (int64_t i = 0; i + (int64_t)sizeof border - 1 <= all->n; i++)
        if (!memcmp(all->p + i, border, sizeof border - 1)) {
            one.n = i;
            break;
        }
    int64_t skip = MIN(all->n, one.n + (int64_t)sizeof border - 1);
    all->p += skip, all->n -= skip;
    return one;
}

static void same_encoding(Bench *b, const Tokenizer *x, const Tokenizer *y, Str text) {
    for (TextMode mode = TEXT_PARSED; mode <= TEXT_PLAIN; mode++) {
        Ids p = {.a = b->out}, q = {.a = b->out};
        assert_true(text_encode(&p, x, text, mode, b->scratch, &b->err));
        assert_true(text_encode(&q, y, text, mode, b->scratch, &b->err));
        assert_int_equal(p.n, q.n);
        if (p.n) assert_memory_equal(p.v, q.v, (size_t)p.n * sizeof *p.v);
    }
}

/* The same tokens by every way round, and the same ids for these texts and random bytes. */
static void round_trip(Bench *b, const Tokenizer *t, Str texts, bool random) {
    TokenizerParts p, again;
    Tokenizer *parts, *json;
    Buf text = {.a = b->keep};
    assert_true(tokenizer_parts(&p, b->keep, t, b->scratch, &b->err));
    assert_true(tokenizer_open_parts(&parts, b->keep, &p, &b->err));
    assert_true(tokenizer_parts(&again, b->keep, parts, b->scratch, &b->err));
    assert_int_equal(p.n_tokens, again.n_tokens);
    assert_int_equal(p.n_merges, again.n_merges);
    assert_true(str_eq(p.pre, again.pre) && p.unknown == again.unknown);
    for (int64_t i = 0; i < p.n_tokens; i++) {
        same_str(again.tokens[i], p.tokens[i]);
        assert_int_equal(again.types[i], p.types[i]);
    }
    for (int64_t i = 0; i < p.n_merges; i++) same_str(again.merges[i], p.merges[i]);
    if (!tokenizer_json(&text, t, -1, b->scratch, &b->err)) fail_msg("%s", b->err.msg);
    json = tokenizer_fine(b, buf_str(&text));
    while (texts.n) {
        Str one = next_text(&texts);
        same_encoding(b, t, parts, one);
        same_encoding(b, t, json, one);
    }
    for (int64_t i = 0; random && i < 20; i++) {
        Str bytes = draw_bytes(b, (uint64_t)i, 60);
        same_encoding(b, t, parts, bytes);
        same_encoding(b, t, json, bytes);
    }
    tokenizer_close(parts);
    tokenizer_close(json);
}

static void vocabularies(void **state) {
    Bench *b = *state;
    static const char *const names[] = {"gpt-2", "deepseek-coder", "deepseek-llm", "llama-spm"};
    for (int64_t i = 0; i < COUNT(names); i++) {
        const char *path = str_fmt(b->keep, "gguf-vocab/ggml-vocab-%s.gguf", names[i]).p;
        GgufVocab v;
        Tokenizer *t;
        gguf_vocab(b, &v, need_reference(b->keep, path));
        if (!str_eq(v.parts.model, STR("llama"))) v.parts.pre = str_of(names[i]);
        assert_true(tokenizer_open_parts(&t, b->keep, &v.parts, &b->err));
        round_trip(b, t, file_oracle(b, str_fmt(b->keep, "%s.inp", path).p), i < 3);
        tokenizer_close(t);
    }
}

static void characters(void **state) {
    Bench *b = *state;
    Tokenizer *t = tokenizer_fine(b, file_oracle(b, "stories260K/hf/tokenizer.json"));
    round_trip(b, t, STR("Once upon a time, there was a dog \xe2\x98\x83\n  <s> two  spaces"),
               false);
    tokenizer_close(t);
}

static void smollm2(void **state) {
    Bench *b = *state;
    GgufVocab v;
    Tokenizer *t;
    smollm2_vocab(b, &v);
    assert_true(tokenizer_open_parts(&t, b->keep, &v.parts, &b->err));
    round_trip(b, t, STR("I'm 12345 <|im_start|>user\nhi<|im_end|>  \xf0\x9f\x98\x80"), true);
    tokenizer_close(t);
}

/* A way of cutting words that no name stands for is refused; the JSON needs one too. */
static void nameless(void **state) {
    Bench *b = *state;
    TokenizerParts p;
    Tokenizer *t = tiny(b);
    t->stages[0].behavior = CUT_REMOVED;
    assert_false(tokenizer_parts(&p, b->keep, t, b->scratch, &b->err));
    assert_non_null(strstr(b->err.msg, "no known name"));
    tokenizer_close(t);
}

/* Without merges no cut matters, so the tokenizer that cuts nothing has a name, too: that of
 * demo. */
static void bytes(void **state) {
    Bench *b = *state;
    Tokenizer *t = tokenizer_fine(b, byte_tokenizer_json(b->keep));
    round_trip(b, t, STR("478+356=<think>8+6=14</think> na\xc3\xafve  \r\n\n\t<|end|>"), true);
    tokenizer_close(t);
}

/* Without a table of merges: those of tiktoken are found again from the ranks. */
static void ranks(void **state) {
    Bench *b = *state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char *const order[] = {"ab", "cd", "abcd", "th", "the", " the"};
    Buf model = {.a = b->keep};
    Tokenizer *t;
    for (int i = 0; i < 256 + COUNT(order); i++) {
        uint8_t s[8] = {(uint8_t)i};
        int n = 1;
        if (i >= 256) n = (int)strlen(order[i - 256]), memcpy(s, order[i - 256], (size_t)n);
        for (int k = 0; k < n; k += 3) {
            uint32_t v = (uint32_t)s[k] << 16 | (uint32_t)s[k + 1] << 8 | s[k + 2];
            char c[4] = {digits[v >> 18], digits[v >> 12 & 63],
                         k + 1 < n ? digits[v >> 6 & 63] : '=', k + 2 < n ? digits[v & 63] : '='};
            buf_add(&model, (Str){c, 4});
        }
        buf_fmt(&model, " %d\n", i);
    }
    Str config =
        STR("{\"added_tokens_decoder\":{\"270\":{\"content\":\"[BOS]\",\"special\":true}}}");
    assert_true(tokenizer_open_tiktoken(&t, b->keep, buf_str(&model), config, "test", &b->err));
    round_trip(b, t, STR("the abcd ab cd th the the[BOS]abab dcba"), true);
    tokenizer_close(t);
}

int export_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(vocabularies), TEXT_TEST(characters),
                                       TEXT_TEST(smollm2),      TEXT_TEST(nameless),
                                       TEXT_TEST(bytes),        TEXT_TEST(ranks)};
    return cmocka_run_group_tests_name("text export", tests, NULL, NULL);
}
