/* gguf.c -- the tokenizer's arrays out of a GGUF file, for tests only: it trusts the file. */
#include "tests.h"

enum { G_BOOL = 7, G_STR = 8, G_ARRAY = 9 };

static uint64_t take(Str *s, int n) {
    uint64_t v = 0;
    assert_true(s->n >= n);
    memcpy(&v, s->p, (size_t)n);
    s->p += n, s->n -= n;
    return v;
}

static Str take_str(Str *s) {
    int64_t n = (int64_t)take(s, 8);
    assert_true(n >= 0 && n <= s->n);
    Str v = {s->p, n};
    s->p += n, s->n -= n;
    return v;
}

static void skip_value(Str *s, uint32_t type) {
    static const int bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == G_STR) {
        take_str(s);
    } else if (type == G_ARRAY) {
        uint32_t of = (uint32_t)take(s, 4);
        for (uint64_t n = take(s, 8); n > 0; n--) skip_value(s, of);
    } else {
        take(s, bytes[type]);
    }
}

static Str *take_strs(Bench *b, Str *s, int64_t *n) {
    assert_int_equal(take(s, 4), G_STR);
    *n = (int64_t)take(s, 8);
    Str *v = PUSH(b->keep, Str, *n);
    for (int64_t i = 0; i < *n; i++) v[i] = take_str(s);
    return v;
}

void gguf_vocab(Bench *b, GgufVocab *v, const char *path) {
    Map m;
    Err err = {0};
    *v = (GgufVocab){.parts.name = path};
    if (!os_map(&m, path, &err)) fail_msg("%s", err.msg);
    Str s = {(const char *)m.p, m.n};
    take(&s, 8), take(&s, 8);
    for (uint64_t keys = take(&s, 8); keys > 0; keys--) {
        Str key = take_str(&s);
        uint32_t type = (uint32_t)take(&s, 4);
        if (str_eq(key, STR("tokenizer.ggml.pre")))
            v->parts.pre = take_str(&s);
        else if (str_eq(key, STR("tokenizer.chat_template")))
            v->chat_template = take_str(&s);
        else if (str_eq(key, STR("tokenizer.ggml.tokens")))
            v->parts.tokens = take_strs(b, &s, &v->parts.n_tokens);
        else if (str_eq(key, STR("tokenizer.ggml.merges")))
            v->parts.merges = take_strs(b, &s, &v->parts.n_merges);
        else if (str_eq(key, STR("tokenizer.ggml.token_type"))) {
            take(&s, 4);
            v->parts.n_types = (int64_t)take(&s, 8);
            int32_t *types = PUSH(b->keep, int32_t, v->parts.n_types);
            for (int64_t i = 0; i < v->parts.n_types; i++) types[i] = (int32_t)take(&s, 4);
            v->parts.types = types;
        } else if (str_eq(key, STR("tokenizer.ggml.model"))) {
            v->parts.model = take_str(&s);
        } else if (str_eq(key, STR("tokenizer.ggml.scores"))) {
            take(&s, 4);
            v->parts.n_scores = (int64_t)take(&s, 8);
            float *scores = PUSH(b->keep, float, v->parts.n_scores);
            memcpy(scores, s.p, (size_t)v->parts.n_scores * 4);
            s.p += v->parts.n_scores * 4, s.n -= v->parts.n_scores * 4;
            v->parts.scores = scores;
        } else {
            skip_value(&s, type);
        }
    }
}

void smollm2_vocab(Bench *b, GgufVocab *v) { gguf_vocab(b, v, need_smollm2(b->keep)); }
