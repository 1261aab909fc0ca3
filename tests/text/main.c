/* main.c -- runs the groups of tests of text/, and keeps what they share. */
#include "tests.h"
#include <stdio.h>
#include <stdlib.h>

int bench_open(void **state) {
    Bench *b = calloc(1, sizeof *b);
    b->keep = arena_open("keep", (int64_t)1 << 34);
    b->out = arena_open("out", (int64_t)1 << 32);
    b->scratch = arena_open("scratch", (int64_t)1 << 32);
    *state = b;
    return 0;
}

int bench_close(void **state) {
    Bench *b = *state;
    arena_close(b->keep);
    arena_close(b->out);
    arena_close(b->scratch);
    free(b);
    return 0;
}

Str file_read(Bench *b, const char *path) {
    Str s = {0};
    Err err = {0};
    if (!os_exists(path)) return s;
    if (!os_read(b->keep, &s, path, 1 << 28, &err)) fail_msg("%s", err.msg);
    return s;
}

Str file_oracle(Bench *b, const char *path) { return file_read(b, need_reference(b->keep, path)); }

Tokenizer *tokenizer_fine(Bench *b, Str json) {
    Tokenizer *t;
    if (!tokenizer_open_json(&t, b->keep, json, "t.json", &b->err)) fail_msg("%s", b->err.msg);
    return t;
}

void tokenizer_fails(Bench *b, Str json, ErrCode code, const char *piece) {
    Tokenizer *t;
    Err err = {0};
    int64_t before = arena_used(b->keep);
    if (tokenizer_open_json(&t, b->keep, json, "t.json", &err))
        fail_msg("loads; expected: %s", piece);
    assert_null(t);
    assert_int_equal(before, arena_used(b->keep));
    if (!strstr(err.msg, piece) || !strstr(err.msg, "t.json"))
        fail_msg("\"%s\" has no \"%s\"", err.msg, piece);
    assert_int_equal(err.code, code);
}

json_t *tiny_json(Bench *b) {
    Str s = file_read(b, "tests/golden/tokenizers/tiny.json");
    json_t *o = s.p ? json_loadb(s.p, (size_t)s.n, 0, NULL) : NULL;
    if (o == NULL)
        fail_msg("no tests/golden/tokenizers/tiny.json here: run from the repository's root");
    return o;
}

Str json_text(Bench *b, json_t *o) {
    char *p = json_dumps(o, JSON_COMPACT);
    Str s = str_copy(b->keep, str_of(p));
    free(p);
    json_decref(o);
    return s;
}

Tokenizer *tiny(Bench *b) { return tokenizer_fine(b, json_text(b, tiny_json(b))); }

json_t *line_next(Str *text) {
    static json_t *line;
    json_decref(line);
    line = NULL;
    const char *end = text->n > 0 ? memchr(text->p, '\n', (size_t)text->n) : NULL;
    if (end == NULL) return NULL;
    line = json_loadb(text->p, (size_t)(end - text->p), JSON_ALLOW_NUL, NULL);
    text->n -= end + 1 - text->p;
    text->p = end + 1;
    assert_non_null(line);
    return line;
}

Str json_str(json_t *o, const char *key) {
    json_t *v = json_object_get(o, key);
    return (Str){json_string_value(v), (int64_t)json_string_length(v)};
}

Ids encode(Bench *b, const Tokenizer *t, Str text, TextMode mode) {
    Ids ids = {.a = b->out};
    int64_t before = arena_used(b->scratch);
    if (!text_encode(&ids, t, text, mode, b->scratch, &b->err)) fail_msg("%s", b->err.msg);
    assert_int_equal(before, arena_used(b->scratch));
    return ids;
}

Str decode(Bench *b, const Tokenizer *t, Ids ids) {
    Buf out = {.a = b->out};
    text_decode(&out, t, ids.v, ids.n, false);
    return buf_str(&out);
}

void same_ids(Ids got, json_t *want, Str text) {
    bool same = got.n == (int64_t)json_array_size(want);
    for (int64_t i = 0; same && i < got.n; i++)
        same = got.v[i] == json_integer_value(json_array_get(want, (size_t)i));
    if (same) return;
    for (int64_t i = 0; i < got.n && i < 20; i++) fprintf(stderr, "# %d\n", got.v[i]);
    fail_msg("other ids for \"%.*s\"", STRF(text));
}

void same_str(Str got, Str want) {
    if (!str_eq(got, want)) fail_msg("\"%.*s\", expected \"%.*s\"", STRF(got), STRF(want));
}

int64_t vectors_check(Bench *b, const Tokenizer *t, Str lines) {
    int64_t n = 0;
    for (json_t *o; (o = line_next(&lines)); n++)
        same_ids(encode(b, t, json_str(o, "text"), TEXT_PARSED), json_object_get(o, "ids"),
                 json_str(o, "text"));
    return n;
}

uint32_t draw(uint64_t position, uint32_t below) { return philox(11, position, 3).w[0] % below; }

Str draw_bytes(Bench *b, uint64_t seed, int64_t n) {
    char *p = PUSH(b->keep, char, n);
    for (int64_t i = 0; i < n; i++) p[i] = (char)philox(seed, (uint64_t)i, 4).w[1];
    return (Str){p, n};
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return (vector_tests() + encode_tests() + decode_tests() + chat_tests() + split_tests()
            + stop_tests() + hostile_tests() + jinja_tests() + export_tests() + learn_tests()
            + bytes_tests() + think_tests() + grammar_tests() + random_grammar_tests())
           != 0;
}
