/* hostile.c -- tokenizer files that are wrong: each is refused with the name of its field, nothing
 * crashes, and nothing stays in the arena. */
#include "tests.h"
#include "support/flood.h"

/* tiny.json with the value at a path ("model.dropout") set to JSON text; NULL removes the key. */
static Str changed(Bench *b, const char *path, const char *value) {
    json_t *file = tiny_json(b), *o = file;
    const char *dot;
    while ((dot = strchr(path, '.'))) {
        o = json_object_get(o, str_copy(b->keep, (Str){path, dot - path}).p);
        path = dot + 1;
    }
    if (value)
        json_object_set_new(o, path, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(o, path);
    return json_text(b, file);
}

static void fields(void **state) {
    Bench *b = *state;
    static const struct {
        const char *path, *value;
        ErrCode code;
        const char *piece;
    } cases[] = {
        {"model", NULL, ERR_FORMAT, "model.vocab"},
        {"model", "[]", ERR_FORMAT, "model"},
        {"model.vocab", NULL, ERR_FORMAT, "model.vocab"},
        {"model.vocab", "{}", ERR_FORMAT, "model.vocab"},
        {"model.vocab", "[1]", ERR_FORMAT, "model.vocab"},
        {"model.vocab", "{\"a\": -1}", ERR_FORMAT, "model.vocab"},
        {"model.vocab", "{\"a\": 1.5}", ERR_FORMAT, "model.vocab"},
        {"model.vocab", "{\"a\": \"1\"}", ERR_FORMAT, "model.vocab"},
        {"model.vocab", "{\"a\": 1152921504606846976}", ERR_FORMAT, "model.vocab"},
        {"model.vocab", "{\"a\": 4000000000}", ERR_LIMIT, "model.vocab"},
        {"model.vocab", "{\"a\": 1, \"b\": 1}", ERR_FORMAT, "model.vocab"},
        {"model.merges", NULL, ERR_FORMAT, "model.merges"},
        {"model.merges", "{}", ERR_FORMAT, "model.merges"},
        {"model.merges", "[\"t h\", 3]", ERR_FORMAT, "model.merges"},
        {"model.merges", "[\"th\"]", ERR_FORMAT, "model.merges[0]"},
        {"model.merges", "[\"t \"]", ERR_FORMAT, "model.merges[0]"},
        {"model.merges", "[\" h\"]", ERR_FORMAT, "model.merges[0]"},
        {"model.merges", "[\"t h e\"]", ERR_FORMAT, "model.merges[0]"},
        {"model.merges", "[[\"t\", \"h\"], [\"t\"]]", ERR_FORMAT, "model.merges"},
        {"model.merges", "[[\"t\", \"h\", \"e\"]]", ERR_FORMAT, "model.merges"},
        {"model.merges", "[[\"q\", \"q\"]]", ERR_FORMAT, "model.merges[0]: what it makes"},
        {"model.merges", "[[\"qqq\", \"t\"]]", ERR_FORMAT, "model.merges[0]: its left"},
        {"model.merges", "[[\"t\", \"qqq\"]]", ERR_FORMAT, "model.merges[0]: its right"},
        {"model.type", "\"WordPiece\"", ERR_UNSUPPORTED, "WordPiece"},
        {"model.dropout", "0.1", ERR_UNSUPPORTED, "model.dropout"},
        {"model.end_of_word_suffix", "\"</w>\"", ERR_UNSUPPORTED, "model.end_of_word_suffix"},
        {"model.spell", "1", ERR_UNSUPPORTED, "spell"},
        {"extra", "1", ERR_UNSUPPORTED, "extra"},
        {"model.byte_fallback", "3", ERR_FORMAT, "model.byte_fallback"},
        {"model.ignore_merges", "[]", ERR_FORMAT, "model.ignore_merges"},
        {"normalizer", "{\"type\": \"NFD\"}", ERR_UNSUPPORTED, "NFD"},
        {"normalizer",
         "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a\"}, \"content\": \"b\"}",
         ERR_UNSUPPORTED, "normalizer"},
        {"normalizer", "{}", ERR_FORMAT, "normalizer"},
        {"normalizer", "{\"type\": \"Sequence\"}", ERR_FORMAT, "normalizer"},
        {"normalizer", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}]}",
         ERR_UNSUPPORTED, "normalizers[0]"},
        {"pre_tokenizer", "null", ERR_UNSUPPORTED, "decoder"}, /* characters, but bytes decoded */
        {"pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"_\"}", ERR_UNSUPPORTED,
         "decoder"},
        {"pre_tokenizer", "{\"type\": \"Sequence\", \"pretokenizers\": []}", ERR_UNSUPPORTED,
         "decoder"},
        {"pre_tokenizer",
         "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Sequence\", \"pretokenizers\": "
         "[{\"type\": \"ByteLevel\"}]}]}",
         ERR_UNSUPPORTED, "pretokenizers[0]"},
        {"pre_tokenizer.use_regex", "3", ERR_FORMAT, "use_regex"},
        {"decoder", "{\"type\": \"WordPiece\"}", ERR_UNSUPPORTED, "WordPiece"},
        {"added_tokens", "3", ERR_FORMAT, "added_tokens"},
        {"added_tokens", "[3]", ERR_FORMAT, "added_tokens[0]"}};
    for (int i = 0; i < COUNT(cases); i++)
        tokenizer_fails(b, changed(b, cases[i].path, cases[i].value), cases[i].code,
                        cases[i].piece);
}

/* The slot that a pair wanted, of 4,096, when merges had a fixed hash. */
static uint64_t pair_slot(int64_t left, int64_t right) {
    return (((uint64_t)left << 32 | (uint64_t)right) * 0x9e3779b97f4a7c15u) >> 32 & 4095;
}

/* The longest run of slots in use among the merges. */
static int64_t merges_longest_run(const Merges *m) {
    int64_t run = 0, longest = 0;
    for (int64_t i = 0; i < m->n_slots; i++) {
        run = m->slots[i].rank == NO_RANK ? 0 : run + 1;
        longest = MAX(longest, run);
    }
    return longest;
}

/* A tokenizer.json whose tokens all want the same few slots of a hash that anyone can compute, and
 * whose merges do so as well, opens like any other: no search walks over more entries than chance
 * puts side by side. */
static void flooded(void **state) {
    Bench *b = *state;
    enum { N = 2000, PARTS = 600 };
    json_t *file = tiny_json(b), *model = json_object_get(file, "model");
    json_t *vocab = json_object_get(model, "vocab"), *merges = json_array();
    Str part[PARTS], first = {0};
    int64_t id[PARTS], next = 1000, at = 0, made = 0;
    for (int i = 0; i < PARTS; i++) {
        part[i] = flood_key(b->keep, &at);
        json_object_set_new(vocab, part[i].p, json_integer(id[i] = next++));
    }
    for (int64_t i = 0; i < PARTS * PARTS && made < N; i++) {
        Str l = part[i / PARTS], r = part[i % PARTS];
        if (pair_slot(id[i / PARTS], id[i % PARTS]) > 31) continue;
        Str both = str_fmt(b->keep, "%.*s%.*s", STRF(l), STRF(r));
        if (!made) first = both;
        json_object_set_new(vocab, both.p, json_integer(next++));
        json_array_append_new(merges, json_pack("[s, s]", l.p, r.p));
        made++;
    }
    assert_int_equal(made, N);
    for (int i = 0; i < N; i++) {
        Str key = flood_key(b->keep, &at);
        json_object_set_new(vocab, key.p, json_integer(next++));
    }
    json_object_set_new(model, "merges", merges);
    Tokenizer *t = tokenizer_fine(b, json_text(b, file));
    assert_true(vocab_find(&t->vocab, first, false) >= 0);
    assert_true(table_longest_run(&t->vocab.table) < RUN_BY_CHANCE);
    assert_true(merges_longest_run(&t->merges) < RUN_BY_CHANCE);
}

/* One added token beside the six, with one field set. */
static void added_tokens(void **state) {
    Bench *b = *state;
    static const struct {
        const char *key, *value;
        ErrCode code;
        const char *piece;
    } cases[] = {{"id", "\"1\"", ERR_FORMAT, "id"},
                 {"id", "-4", ERR_FORMAT, "-4"},
                 {"id", "3", ERR_FORMAT, "another token"},
                 {"id", "1000000", ERR_LIMIT, "1000000"},
                 {"content", "\"\"", ERR_LIMIT, "content"},
                 {"content", "7", ERR_LIMIT, "content"},
                 {"content", "\"t\"", ERR_FORMAT, "another id"},
                 {"lstrip", "1", ERR_FORMAT, "lstrip"},
                 {"rstrip", "null", ERR_FORMAT, "rstrip"},
                 {"single_word", "\"\"", ERR_FORMAT, "single_word"},
                 {"special", "null", ERR_FORMAT, "special"},
                 {"normalized", "1", ERR_FORMAT, "normalized"},
                 {"color", "1", ERR_UNSUPPORTED, "color"}};
    for (int i = 0; i < COUNT(cases); i++) {
        json_t *file = tiny_json(b), *list = json_object_get(file, "added_tokens");
        json_t *one = json_deep_copy(json_array_get(list, 0));
        json_object_set_new(one, "id", json_integer(600));
        json_object_set_new(one, "content", json_string("<new>"));
        json_object_set_new(one, cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        json_array_append_new(list, one);
        tokenizer_fails(b, json_text(b, file), cases[i].code, cases[i].piece);
    }
}

static void syntax(void **state) {
    Bench *b = *state;
    Str good = json_text(b, tiny_json(b));
    static const char *const bad[] = {
        "",
        "[]",
        "nul",
        "{",
        "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}x",
        "{\"model\":{\"vocab\":{\"a\":0,},\"merges\":[]}}",
        "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"vocab\":{}}}",
        "{\"model\":{\"vocab\":{\"\\ud800\":0},\"merges\":[]}}",
        "{\"model\":{\"vocab\":{\"\xc3\":0},\"merges\":[]}}",
        "{\"model\":{\"vocab\":{\"a\x01\":0},\"merges\":[]}}",
        "{\"model\":{\"vocab\":{\"a\":00},\"merges\":[]}}"};
    for (int i = 0; i < COUNT(bad); i++) {
        Tokenizer *t;
        Err err = {0};
        assert_false(tokenizer_open_json(&t, b->keep, str_of(bad[i]), "t.json", &err));
        assert_non_null(strstr(err.msg, "t.json"));
    }
    /* the same key twice, outside the tables */
    Str twice = str_fmt(b->keep, "{\"version\": \"1.0\", %.*s", (int)(good.n - 1), good.p + 1);
    tokenizer_fails(b, twice, ERR_FORMAT, "version");
    /* brackets without an end */
    Buf deep = {.a = b->keep};
    buf_add(&deep, STR("{\"version\": "));
    for (int i = 0; i < 1 << 20; i++) buf_add(&deep, STR("["));
    tokenizer_fails(b, buf_str(&deep), ERR_FORMAT, "not a valid JSON object");
    for (int i = 0; i < 1 << 20; i++) buf_add(&deep, STR("]"));
    buf_fmt(&deep, ", %.*s", (int)(good.n - 1), good.p + 1);
    tokenizer_fails(b, buf_str(&deep), ERR_LIMIT, "too many values");
}

/* Merging plain text never makes a special token. */
static void special_made(void **state) {
    Bench *b = *state;
    json_t *file = tiny_json(b), *list = json_object_get(file, "added_tokens");
    json_t *vocab = json_object_get(json_object_get(file, "model"), "vocab");
    json_t *one = json_deep_copy(json_array_get(list, 0));
    json_object_set_new(one, "content", json_string("he"));
    json_object_set(one, "id", json_object_get(vocab, "he"));
    json_array_append_new(list, one);
    tokenizer_fails(b, json_text(b, file), ERR_FORMAT, "makes a special token");
}

/* An added token that the normaliser leaves nothing of is never found. */
static void nothing_added(void **state) {
    Bench *b = *state;
    json_t *file = tiny_json(b), *list = json_object_get(file, "added_tokens");
    json_object_set_new(
        file, "normalizer",
        json_pack("{s:s,s:b,s:b}", "type", "Strip", "strip_left", 1, "strip_right", 1));
    json_array_append_new(list, json_pack("{s:i,s:s,s:b,s:b}", "id", 450, "content", " \n",
                                          "normalized", 1, "special", 0));
    Tokenizer *t = tokenizer_fine(b, json_text(b, file));
    assert_int_equal(encode(b, t, STR("a \n"), TEXT_PARSED).n, 1);
    tokenizer_close(t);
}

/* A normaliser that makes much of an added token: it is found by all of that, up to a limit. */
static void added_grows(void **state) {
    Bench *b = *state;
    for (int n = 60; n < 600; n += 500) {
        json_t *file = tiny_json(b), *list = json_object_get(file, "added_tokens");
        Buf much = {.a = b->keep};
        for (int i = 0; i < n; i++) buf_add(&much, STR("@"));
        buf_add(&much, (Str){"", 1});
        json_object_set_new(file, "normalizer",
                            json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String",
                                      "x", "content", much.p));
        json_array_append_new(list, json_pack("{s:i,s:s,s:b,s:b}", "id", 425, "content", "xyx",
                                              "normalized", 1, "special", 0));
        if (n > 100) {
            tokenizer_fails(b, json_text(b, file), ERR_LIMIT, "when it is normalised");
        } else {
            Tokenizer *t = tokenizer_fine(b, json_text(b, file));
            assert_int_equal(encode(b, t, STR("xyx"), TEXT_PARSED).n, 1);
            tokenizer_close(t);
        }
    }
}

/* A table of merges costs more than its text only up to a limit. */
static void many_merges(void **state) {
    Bench *b = *state;
    Buf file = {.a = b->keep};
    buf_add(&file, STR("{\"model\":{\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\""));
    for (int i = 0; i < 400000; i++) buf_add(&file, STR(",\"a a\""));
    buf_add(&file, STR("]}}"));
    tokenizer_fails(b, buf_str(&file), ERR_LIMIT, "model.merges");
}

/* Cut anywhere, or with one byte changed, a file loads or is refused; loaded, it encodes. */
static void damaged(void **state) {
    Bench *b = *state;
    Str good = json_text(b, tiny_json(b));
    for (uint64_t k = 0; k < 1200; k++) {
        Mark keep = arena_mark(b->keep), out = arena_mark(b->out);
        Str bad = str_copy(b->keep, good);
        if (k < 200)
            bad.n = good.n * (int64_t)k / 200;
        else
            ((char *)bad.p)[draw(2 * k, (uint32_t)good.n)] = (char)draw(2 * k + 1, 256);
        Tokenizer *t;
        Err err = {0};
        if (tokenizer_open_json(&t, b->keep, bad, "t.json", &err)) {
            decode(
                b, t,
                encode(b, t, STR("The 3 small <think> words, h\xc3\xa9 said.\n\n"), TEXT_PARSED));
            assert_true(k >= 200);
            tokenizer_close(t);
        } else {
            assert_non_null(strstr(err.msg, "t.json"));
        }
        arena_pop(b->keep, keep), arena_pop(b->out, out);
    }
}

static void parts(void **state) {
    Bench *b = *state;
    const Str tokens[] = {STR("a"), STR("b"), STR("ab"), STR("a"), STR("\xff"), STR("")},
              merges[] = {STR("a b"), STR("a")};
    const int32_t normal[] = {1, 1, 1, 1, 1, 1}, bytes[] = {1, 1, 6, 1, 1, 1},
                  empty[] = {1, 1, 1, 3, 3, 3};
    const struct {
        TokenizerParts p;
        ErrCode code;
        const char *piece;
    } cases[] = {{{.name = "t.json",
                   .pre = STR("no-such"),
                   .tokens = tokens,
                   .n_tokens = 3,
                   .types = normal,
                   .n_types = 3,
                   .merges = merges,
                   .n_merges = 1},
                  ERR_UNSUPPORTED,
                  "no-such"},
                 {{.name = "t.json",
                   .pre = STR("gpt-2"),
                   .tokens = tokens,
                   .n_tokens = 0,
                   .types = NULL,
                   .n_types = 0,
                   .merges = NULL,
                   .n_merges = 0},
                  ERR_FORMAT,
                  "tokens"},
                 {{.name = "t.json",
                   .pre = STR("gpt-2"),
                   .tokens = tokens,
                   .n_tokens = 3,
                   .types = normal,
                   .n_types = 2,
                   .merges = merges,
                   .n_merges = 1},
                  ERR_FORMAT,
                  "token_types"},
                 {{.name = "t.json",
                   .pre = STR("gpt-2"),
                   .tokens = tokens,
                   .n_tokens = 3,
                   .types = bytes,
                   .n_types = 3,
                   .merges = merges,
                   .n_merges = 1},
                  ERR_FORMAT,
                  "tokens[2]"},
                 {{.name = "t.json",
                   .pre = STR("gpt-2"),
                   .tokens = tokens + 2,
                   .n_tokens = 3,
                   .types = normal,
                   .n_types = 3,
                   .merges = NULL,
                   .n_merges = 0},
                  ERR_FORMAT,
                  "tokens[2]: not UTF-8"},
                 {{.name = "t.json",
                   .pre = STR("gpt-2"),
                   .tokens = tokens,
                   .n_tokens = 6,
                   .types = empty,
                   .n_types = 6,
                   .merges = NULL,
                   .n_merges = 0},
                  ERR_FORMAT,
                  "tokens[5]"},
                 {{.name = "t.json",
                   .pre = STR("gpt-2"),
                   .tokens = tokens,
                   .n_tokens = 2,
                   .types = NULL,
                   .n_types = 0,
                   .merges = merges,
                   .n_merges = 1},
                  ERR_FORMAT,
                  "merges[0]: what it makes"},
                 {{.name = "t.json",
                   .pre = STR("gpt-2"),
                   .tokens = tokens,
                   .n_tokens = 3,
                   .types = NULL,
                   .n_types = 0,
                   .merges = merges,
                   .n_merges = 2},
                  ERR_FORMAT,
                  "merges[1]"},
                 {{.name = "t.json", .model = STR("t5"), .tokens = tokens, .n_tokens = 3},
                  ERR_UNSUPPORTED,
                  "t5"},
                 {{.name = "t.json", .model = STR("llama"), .tokens = tokens, .n_tokens = 3},
                  ERR_FORMAT,
                  "scores"},
                 {{.name = "t.json",
                   .model = STR("llama"),
                   .tokens = tokens,
                   .n_tokens = 3,
                   .types = bytes,
                   .n_types = 3},
                  ERR_FORMAT,
                  "tokens[2]: a byte"}};
    for (int i = 0; i < COUNT(cases); i++) {
        Tokenizer *t;
        Err err = {0};
        assert_false(tokenizer_open_parts(&t, b->keep, &cases[i].p, &err));
        if (!strstr(err.msg, cases[i].piece) || !strstr(err.msg, "t.json"))
            fail_msg("\"%s\" has no \"%s\"", err.msg, cases[i].piece);
        assert_int_equal(err.code, cases[i].code);
        assert_null(t);
    }
}

/* A byte's spelling is a place in a table: one that is not <0x00> to <0xFF> leads nowhere. */
static void bytes_misspelled(void **state) {
    Bench *b = *state;
    static const char *const wrong[] = {"<0x-1>", "<0x1>",  "<0x100>", "<0xG0>", "<0x0g>", "<0xff>",
                                        "<0x 1>", "<0X41>", "<0x41",   "0x41",   "<0x+1>", ""};
    static const int32_t type[] = {6};
    static const float score[] = {0};
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        const Str token = str_of(wrong[i]);
        const TokenizerParts p = {.name = "t.gguf",
                                  .model = STR("llama"),
                                  .tokens = &token,
                                  .n_tokens = 1,
                                  .types = type,
                                  .n_types = 1,
                                  .scores = score,
                                  .n_scores = 1};
        Tokenizer *t;
        Err err = {0};
        assert_false(tokenizer_open_parts(&t, b->keep, &p, &err));
        if (!strstr(err.msg, "tokens[0]: a byte must be spelled"))
            fail_msg("%s: %s", wrong[i], err.msg);
    }
}

/* Tokens that are the same text, as padding is in published files: the first one is used. */
static void doubles(void **state) {
    Bench *b = *state;
    const Str tokens[] = {STR("a"),     STR("b"),     STR("ab"), STR("ab"),
                          STR("[PAD]"), STR("[PAD]"), STR("")},
              merges[] = {STR("a b")};
    const int32_t types[] = {1, 1, 1, 1, 5, 5, 1};
    const TokenizerParts p = {.name = "t.json",
                              .pre = STR("gpt-2"),
                              .tokens = tokens,
                              .n_tokens = 7,
                              .types = types,
                              .n_types = 7,
                              .merges = merges,
                              .n_merges = 1};
    Tokenizer *t;
    if (!tokenizer_open_parts(&t, b->keep, &p, &b->err)) fail_msg("%s", b->err.msg);
    Ids ids = encode(b, t, STR("abb"), TEXT_PARSED);
    static const int32_t want[] = {2, 1};
    assert_int_equal(ids.n, 2);
    assert_memory_equal(ids.v, want, sizeof want);
    same_str(token_bytes(t, 3), STR("ab"));
    tokenizer_close(t);
}

int hostile_tests(void) {
    const struct CMUnitTest tests[] = {
        TEXT_TEST(fields),           TEXT_TEST(added_tokens),  TEXT_TEST(syntax),
        TEXT_TEST(special_made),     TEXT_TEST(nothing_added), TEXT_TEST(added_grows),
        TEXT_TEST(many_merges),      TEXT_TEST(damaged),       TEXT_TEST(parts),
        TEXT_TEST(bytes_misspelled), TEXT_TEST(doubles),       TEXT_TEST(flooded)};
    return cmocka_run_group_tests_name("hostile tokenizers", tests, NULL, NULL);
}
