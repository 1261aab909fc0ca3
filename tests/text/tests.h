/* tests.h -- what the tests of text/ share: arenas, the small tokenizer, files with lines of JSON,
 * the vocabulary of a GGUF file. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include "support/need.h"
#include "text/tokenizer.h"

/* One for each test: keep for what stays, out for ids, scratch for encoding. */
typedef struct Bench {
    Arena *keep, *out, *scratch;
    Err err;
} Bench;
int bench_open(void **state);
int bench_close(void **state);
#define TEXT_TEST(fn) cmocka_unit_test_setup_teardown(fn, bench_open, bench_close)

/* Bytes of a file; p NULL when it is not there. oracle: of the reference data (support/need.h). */
Str file_read(Bench *b, const char *path);
Str file_oracle(Bench *b, const char *path);

/* The tokenizer of these bytes; the second must fail with a message that has `piece`. */
Tokenizer *tokenizer_fine(Bench *b, Str json);
void tokenizer_fails(Bench *b, Str json, ErrCode code, const char *piece);
/* tests/golden/tokenizers/tiny.json as it is, and with the value of a top-level key replaced. */
json_t *tiny_json(Bench *b);
Str json_text(Bench *b, json_t *o); /* takes o */
Tokenizer *tiny(Bench *b);

/* The vocabulary and the chat template of a GGUF file. */
typedef struct GgufVocab {
    TokenizerParts parts;
    Str chat_template;
} GgufVocab;
void gguf_vocab(Bench *b, GgufVocab *v, const char *path);
void smollm2_vocab(Bench *b, GgufVocab *v);

/* The next line of *text as JSON, released with the next call; NULL at the end. */
json_t *line_next(Str *text);
Str json_str(json_t *o, const char *key);

Ids encode(Bench *b, const Tokenizer *t, Str text, TextMode mode);
Str decode(Bench *b, const Tokenizer *t, Ids ids);
void same_ids(Ids got, json_t *want, Str text);
void same_str(Str got, Str want);
/* Checks every {"text", "ids"} line; returns their number. */
int64_t vectors_check(Bench *b, const Tokenizer *t, Str lines);

uint32_t draw(uint64_t position, uint32_t below); /* the same numbers every time */
Str draw_bytes(Bench *b, uint64_t seed, int64_t n);

/* Groups; each returns the number of failed tests. */
int vector_tests(void), encode_tests(void), decode_tests(void), chat_tests(void), split_tests(void),
    stop_tests(void), hostile_tests(void), jinja_tests(void), export_tests(void), learn_tests(void),
    bytes_tests(void), think_tests(void), grammar_tests(void), random_grammar_tests(void);
