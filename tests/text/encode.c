/* encode.c -- merging against a plain quadratic twin, round trips, long texts, limits,
 * normalisation. */
#include "tests.h"
#include <stdlib.h>
#include <utf8proc.h>

/* A tiny tokenizer that takes a text as one word. */
static Tokenizer *whole(Bench *b) {
    json_t *file = tiny_json(b);
    json_object_set_new(json_object_get(file, "pre_tokenizer"), "use_regex", json_false());
    return tokenizer_fine(b, json_text(b, file));
}

/* The rank of a pair of tokens in merges as the file spells them; every byte of the words used
 * below spells itself. */
static int64_t rank_of(json_t *merges, Str left, Str right) {
    size_t i;
    json_t *m;
    json_array_foreach(merges, i, m) {
        Str l = str_of(json_string_value(json_array_get(m, 0))),
            r = str_of(json_string_value(json_array_get(m, 1)));
        if (str_eq(l, left) && str_eq(r, right)) return (int64_t)i;
    }
    return INT64_MAX;
}

/* Merges the best pair, the leftmost of equals, again and again. */
static int64_t twin(Str word, json_t *merges, Str *part) {
    int64_t n = word.n;
    for (int64_t i = 0; i < n; i++) part[i] = (Str){word.p + i, 1};
    for (;;) {
        int64_t best = INT64_MAX, at = 0;
        for (int64_t i = 0; i + 1 < n; i++) {
            int64_t rank = rank_of(merges, part[i], part[i + 1]);
            if (rank < best) best = rank, at = i;
        }
        if (best == INT64_MAX) return n;
        part[at].n += part[at + 1].n;
        memmove(part + at + 1, part + at + 2, (size_t)(n - at - 2) * sizeof *part);
        n--;
    }
}

static void merging_twin(void **state) {
    Bench *b = *state;
    Tokenizer *t = whole(b);
    json_t *file = tiny_json(b),
           *merges = json_object_get(json_object_get(file, "model"), "merges");
    static const char letters[] = "theinangoertoisd";
    Str part[64];
    for (uint64_t k = 0; k < 300; k++) {
        char word[64];
        int64_t n = 1 + draw(1000 * k, 60);
        for (int64_t i = 0; i < n; i++) word[i] = letters[draw(1000 * k + 1 + (uint64_t)i, 16)];
        Ids ids = encode(b, t, (Str){word, n}, TEXT_PLAIN);
        assert_int_equal(ids.n, twin((Str){word, n}, merges, part));
        for (int64_t i = 0; i < ids.n; i++) same_str(token_bytes(t, ids.v[i]), part[i]);
    }
    json_decref(file);
    tokenizer_close(t);
}

/* Any bytes come back, in every mode: the concatenated token bytes are the text. */
static void bytes_back(Bench *b, const Tokenizer *t, Str text, TextMode mode) {
    Ids ids = encode(b, t, text, mode);
    Buf back = {.a = b->keep};
    buf_add(&back, STR(""));
    for (int64_t i = 0; i < ids.n; i++) buf_add(&back, token_bytes(t, ids.v[i]));
    assert_true(str_eq(buf_str(&back), text));
}

static void round_trip(void **state) {
    Bench *b = *state;
    Tokenizer *t = tiny(b);
    for (uint64_t k = 0; k < 300; k++) {
        Str text = draw_bytes(b, k, draw(k, 200));
        bytes_back(b, t, text, k % 2 ? TEXT_PLAIN : TEXT_PARSED);
        /* and with longer valid stretches */
        for (int64_t i = 0; i < text.n; i++)
            if (draw((uint64_t)i + 500 * k, 8)) ((char *)text.p)[i] &= 0x7f;
        bytes_back(b, t, text, TEXT_PARSED);
    }
    bytes_back(b, t,
               STR("na\xc3\xafve <|im_start|> \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80 \xe4\xbd"),
               TEXT_PARSED);
    tokenizer_close(t);
}

/* Added tokens are found where they are, the longest at the leftmost place, and only when asked
 * for. */
static void added(void **state) {
    Bench *b = *state;
    Tokenizer *t = tiny(b);
    int32_t start = token_named(t, STR("<|im_start|>")), think = token_named(t, STR("<think>")),
            thinking = token_named(t, STR("<think>ing"));
    assert_true(start > 0 && think > 0 && thinking > 0);
    assert_int_equal(token_named(t, STR("<thin")), -1);
    assert_int_equal(token_named(t, STR("<think>in")), -1);
    Ids ids = encode(b, t, STR("<think><think>ing<|im_start|><|im_start"), TEXT_PARSED);
    assert_int_equal(ids.v[0], think);
    assert_int_equal(ids.v[1], thinking);
    assert_int_equal(ids.v[2], start);
    ids = encode(b, t, STR("<think><think>ing<|im_start|>"), TEXT_PLAIN);
    for (int64_t i = 0; i < ids.n; i++)
        assert_true(ids.v[i] != think && ids.v[i] != thinking && ids.v[i] != start);
    assert_true(token_is_special(t, start));
    assert_false(token_is_special(t, think));
    assert_int_equal(token_bytes(t, -1).n, 0);
    assert_int_equal(token_bytes(t, (int32_t)tokenizer_size(t)).n, 0);
    tokenizer_close(t);
}

/* A byte without a token is left out, and its neighbours then meet. */
static void missing_byte(void **state) {
    Bench *b = *state;
    TokenizerParts p = {.name = "parts", .pre = STR("gpt-2"), .n_tokens = 4, .n_merges = 1};
    const Str tokens[] = {STR("a"), STR("b"), STR("ab"), STR("<x>")}, merges[] = {STR("a b")};
    const int32_t types[] = {1, 1, 1, 3};
    p.tokens = tokens, p.merges = merges, p.types = types, p.n_types = 4;
    Tokenizer *t;
    if (!tokenizer_open_parts(&t, b->keep, &p, &b->err)) fail_msg("%s", b->err.msg);
    Ids ids = encode(b, t, STR("acb<x>ccc"), TEXT_PARSED);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.v[0], 2);
    assert_int_equal(ids.v[1], 3);
    assert_int_equal(encode(b, t, STR(""), TEXT_PARSED).n, 0);
    tokenizer_close(t);
}

/* A megabyte of what is hardest to cut and merge: it comes back whole. */
static void long_texts(void **state) {
    Bench *b = *state;
    static const char *const unit[] = {
        "a", " ", "\n", " \n", "the", "\xf0\x9f\x99\x82", "<think", "e\xcc\x81\xcc\xa3", "!"};
    Tokenizer *t[] = {tiny(b), whole(b)};
    char *text = PUSH(b->keep, char, (1 << 20) + 16);
    for (int k = 0; k <= COUNT(unit); k++) {
        int64_t n = 0, step = k < COUNT(unit) ? (int64_t)strlen(unit[k]) : 0;
        if (step == 0) memcpy(text, draw_bytes(b, 5, n = 1 << 20).p, 1 << 20);
        for (; n < 1 << 20; n += step) memcpy(text + n, unit[k], (size_t)step);
        for (int i = 0; i < 2; i++) {
            Mark keep = arena_mark(b->keep), out = arena_mark(b->out);
            bytes_back(b, t[i], (Str){text, n}, TEXT_PARSED);
            arena_pop(b->keep, keep), arena_pop(b->out, out);
        }
    }
    assert_true(arena_peak(b->scratch) <= 100 << 20);
    tokenizer_close(t[0]), tokenizer_close(t[1]);
}

static void small_arenas(void **state) {
    Bench *b = *state;
    Tokenizer *t = whole(b);
    Arena *small = arena_open("small", 60000);
    Str text = draw_bytes(b, 9, 20000);
    for (int64_t i = 0; i < text.n; i++) ((char *)text.p)[i] &= 0x7f;
    Ids ids = {.a = b->out};
    assert_true(ids_add(&ids, 7));
    assert_false(text_encode(&ids, t, text, TEXT_PLAIN, small, &b->err));
    assert_int_equal(b->err.code, ERR_LIMIT);
    assert_int_equal(ids.n, 1);
    b->err = (Err){0};
    ids = (Ids){.a = small};
    assert_false(text_encode(&ids, t, text, TEXT_PLAIN, b->scratch, &b->err));
    assert_int_equal(b->err.code, ERR_LIMIT);
    arena_close(small);
    tokenizer_close(t);
}

static Str with_split(Bench *b, const char *regex, const char *behavior) {
    json_t *file = tiny_json(b), *bytes = json_object_get(file, "pre_tokenizer");
    json_object_set_new(file, "pre_tokenizer",
                        json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, O]}", "type", "Sequence",
                                  "pretokenizers", "type", "Split", "pattern", "Regex", regex,
                                  "behavior", behavior, "invert", 0, bytes));
    return json_text(b, file);
}

static Str with_pattern(Bench *b, const char *regex) { return with_split(b, regex, "Isolated"); }

/* An expression that explodes gives up and says where; one that only needs much memory does not. */
static void patterns_limits(void **state) {
    Bench *b = *state;
    Tokenizer *t = tokenizer_fine(b, with_pattern(b, "(?:a+)+[bc]"));
    Ids ids = {.a = b->out};
    char *text = PUSH(b->keep, char, 1 << 16);
    memset(text, 'a', 1 << 16);
    assert_false(text_encode(&ids, t, (Str){text, 1 << 16}, TEXT_PLAIN, b->scratch, &b->err));
    assert_int_equal(b->err.code, ERR_LIMIT);
    assert_non_null(strstr(b->err.msg, "pretokenizers[0]"));
    tokenizer_close(t);
    t = tokenizer_fine(b, with_pattern(b, "(?:a|b(?=a))+c?"));
    bytes_back(b, t, (Str){text, 1 << 16}, TEXT_PLAIN);
    tokenizer_close(t);
}

static void patterns_refused(void **state) {
    static const char *const bad[] = {"^a",          "a$",     "\\w+",    "\\bx",  "\\h",
                                      "[[:alpha:]]", "[a&&b]", "[a[b]]",  "a{2}+", "a{,3}",
                                      "(?<n>a)",     "(a)\\1", "(*UTF)a", "(?i)a", "\\Ka",
                                      "[\\S]",       "[]a]",   "\\x41",   "a\\"};
    Bench *b = *state;
    for (int i = 0; i < COUNT(bad); i++)
        tokenizer_fails(b, with_pattern(b, bad[i]), ERR_UNSUPPORTED, "pretokenizers[0]");
    tokenizer_fails(b, with_pattern(b, "(a"), ERR_FORMAT, "pretokenizers[0]");
    tokenizer_fails(b, with_pattern(b, ""), ERR_LIMIT, "pretokenizers[0]");
}

/* A script's name means its own characters, not those that are used with it as well: U+A706, a
 * Chinese tone mark, is not Han. */
static void patterns_scripts(void **state) {
    Bench *b = *state;
    static const struct {
        const char *pattern;
        bool stays;
    } cases[] = {{"\\p{Han}", true},   {"\\P{Han}", false},    {"[\\p{Han}x]", true},
                 {"\\p{^Han}", false}, {"\\p{Common}", false}, {"\\p{Sk}", false}};
    for (int i = 0; i < COUNT(cases); i++) {
        Tokenizer *t = tokenizer_fine(b, with_split(b, cases[i].pattern, "Removed"));
        assert_int_equal(encode(b, t, STR("\xea\x9c\x86"), TEXT_PARSED).n > 0, cases[i].stays);
        tokenizer_close(t);
    }
}

/* Against utf8proc's own whole-string function, on assigned characters up to U+05FF, Hangul and
 * marks. */
static void nfc_twin(void **state) {
    Bench *b = *state;
    for (uint64_t k = 0; k < 2000; k++) {
        static const int32_t base[] = {0xa0, 0x300, 0x1e00, 0x1100, 0xac00, 0x1f00, 0x2100, 0xf900};
        static const uint32_t range[] = {0x200, 0x70, 0x100, 0x100, 0x100, 0x100, 0x80, 0x100};
        uint8_t bytes[128];
        int64_t n = 0;
        for (uint64_t i = 0; i < 12; i++) {
            uint32_t kind = draw(40 * k + 2 * i, 8);
            n += utf8proc_encode_char(base[kind] + (int32_t)draw(40 * k + 2 * i + 1, range[kind]),
                                      bytes + n);
        }
        bytes[n] = 0;
        utf8proc_uint8_t *want = utf8proc_NFC(bytes);
        Str got, text = {(char *)bytes, n};
        assert_true(nfc(&got, text, false, b->scratch, &b->err));
        same_str(got, str_of((char *)want));
        free(want);
    }
}

/* A long row of marks in the worst order is sorted in no time: class 230 after class 220, 200,000
 * times. */
static void nfc_rows(void **state) {
    Bench *b = *state;
    Buf text = {.a = b->keep}, want = {.a = b->keep};
    enum { N = 200000 };
    buf_add(&want, STR("x"));
    buf_add(&text, STR("x"));
    for (int i = 0; i < N; i++) buf_add(&text, STR("\xcc\x81\xcc\xa3"));
    for (int i = 0; i < N; i++) buf_add(&want, STR("\xcc\xa3"));
    for (int i = 0; i < N; i++) buf_add(&want, STR("\xcc\x81"));
    Str got;
    assert_true(nfc(&got, buf_str(&text), false, b->scratch, &b->err));
    assert_true(str_eq(got, buf_str(&want)));
    assert_true(nfc(&got, STR("plain \xc3\xa9"), false, b->scratch, &b->err));
    same_str(got, STR("plain \xc3\xa9"));
}

/* A tiktoken.model of all bytes, some longer tokens and two special ones. */
static void tiktoken(void **state) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char *const longer[] = {"he", "ll", "llo", "hello", " w", "\xe4\xbd\xa0"};
    Bench *b = *state;
    Buf model = {.a = b->keep};
    for (int i = 0; i < 256 + COUNT(longer); i++) {
        char byte = (char)i;
        Str s = i < 256 ? (Str){&byte, 1} : str_of(longer[i - 256]);
        char four[5] = "====";
        uint32_t bits = 0;
        if (s.n > 3) { /* "hello": aGVsbG8= */
            buf_fmt(&model, "aGVsbG8= %d\n", i);
            continue;
        }
        for (int k = 0; k < 3; k++) bits = bits << 8 | (k < s.n ? (uint8_t)s.p[k] : 0);
        for (int64_t k = 0; k <= s.n; k++) four[k] = digits[bits >> (18 - 6 * k) & 63];
        buf_fmt(&model, "%s %d\n", four, i);
    }
    Str config =
        STR("{\"added_tokens_decoder\": {\"300\": {\"content\": \"[BOS]\", \"special\": true},"
            "\"301\": {\"content\": \"<think>\", \"special\": false}}}");
    Tokenizer *t;
    if (!tokenizer_open_tiktoken(&t, b->keep, buf_str(&model), config, "tiktoken.model", &b->err))
        fail_msg("%s", b->err.msg);
    static const int32_t want[] = {300, 259, 260, 'o', 'r', 256, 'l', 261, 301};
    Ids ids = encode(b, t, STR("[BOS]hello worhel\xe4\xbd\xa0<think>"), TEXT_PARSED);
    assert_int_equal(ids.n, COUNT(want));
    assert_memory_equal(ids.v, want, sizeof want);
    assert_true(token_is_special(t, 300));
    assert_false(token_is_special(t, 301));
    tokenizer_close(t);
    static const struct {
        const char *model, *piece;
    } bad[] = {{"", "0 tokens"},
               {"YQ== 0\n", "single byte 0x00"},
               {"YQ== x\n", "line 1"},
               {"YQ 0\n", "line 1"},
               {"YQ== 0\n\nYQ== 1\n", "line 3: this token"},
               {"YQ== 99999999999\n", "ids up to"}};
    for (int i = 0; i < COUNT(bad); i++) {
        Err err = {0};
        assert_false(
            tokenizer_open_tiktoken(&t, b->keep, str_of(bad[i].model), (Str){0}, "m", &err));
        if (!strstr(err.msg, bad[i].piece)) fail_msg("\"%s\" has no \"%s\"", err.msg, bad[i].piece);
    }
}

int encode_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(tiktoken),         TEXT_TEST(merging_twin),
                                       TEXT_TEST(round_trip),       TEXT_TEST(added),
                                       TEXT_TEST(missing_byte),     TEXT_TEST(long_texts),
                                       TEXT_TEST(small_arenas),     TEXT_TEST(patterns_limits),
                                       TEXT_TEST(patterns_refused), TEXT_TEST(patterns_scripts),
                                       TEXT_TEST(nfc_twin),         TEXT_TEST(nfc_rows)};
    return cmocka_run_group_tests_name("encoding", tests, NULL, NULL);
}
