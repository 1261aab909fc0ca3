/* shard.c -- texts become the tokens they should, whatever the threads; a shard that is not whole
 * is never used. */
#define _GNU_SOURCE
#include "tests.h"

#include <stdlib.h>

static char folder[64];

static int folder_setup(void **state) {
    strcpy(folder, "/tmp/lisao-data-XXXXXX");
    return mkdtemp(folder) ? arena_setup(state) : -1;
}

static int folder_teardown(void **state) {
    Err err = {0};
    return os_remove(folder, &err) ? arena_teardown(state) : -1;
}

static const char ID[] = "0000000000000000000000000000000000000000000000000000000000000000";

/* Writes the text and opens its shard. */
static Shard shard_of(Arena *a, Str text, const char *separator, int64_t threads) {
    Err err = {0};
    Tokenizer *tok;
    const char *path = str_fmt(a, "%s/text", folder).p;
    file_write(a, path, text);
    assert_true(tokenizer_open_json(&tok, a, bytes_tokenizer(a), "bytes", &err));
    ShardSpec spec = {.text = path,
                      .separator = separator,
                      .folder = folder,
                      .tok = tok,
                      .tok_id = ID,
                      .end = BYTES_END};
    Team *team = team_open(threads);
    Shard s;
    if (!shard_open(&s, a, &spec, team, &err)) print_message("%s\n", err.msg);
    assert_int_equal(err.code, ERR_NONE);
    team_close(team);
    tokenizer_close(tok);
    return s;
}

static void assert_document(const Shard *s, int64_t d, Str text) {
    assert_int_equal(s->border[d + 1] - s->border[d], text.n + 1);
    for (int64_t i = 0; i < text.n; i++)
        assert_int_equal(shard_token(s, s->border[d] + i), (uint8_t)text.p[i]);
    assert_int_equal(shard_token(s, s->border[d + 1] - 1), BYTES_END);
}

/* Line breaks at both ends go, inner ones stay; a separator counts only as a whole line; without a
 * last one the text ends. */
static void test_documents(void **state) {
    Shard s = shard_of(
        *state,
        STR("\n\none\n\ntwo \n<|endoftext|>\r\n<|endoftext|>\n\r\n<|endoftext|>\nx<|endoftext|>\n"
            " <|endoftext|>\n<|endoftext|>\nlast"),
        "<|endoftext|>", 2);
    assert_int_equal(s.docs, 3);
    assert_int_equal(s.width, 2);
    assert_int_equal(s.vocab, BYTES_SIZE);
    assert_document(&s, 0, STR("one\n\ntwo "));
    assert_document(&s, 1, STR("x<|endoftext|>\n <|endoftext|>"));
    assert_document(&s, 2, STR("last"));
    shard_close(&s);
    s = shard_of(*state, STR("one\ntwo\n\nthree"), "", 1);
    assert_int_equal(s.docs, 2);
    assert_document(&s, 0, STR("one\ntwo"));
    shard_close(&s);
}

static void test_nothing(void **state) {
    Arena *a = *state;
    const Str texts[] = {STR(""), STR("\n\n"), STR("--\n--\n\n")};
    for (int64_t i = 0; i < COUNT(texts); i++) {
        Err err = {0};
        Tokenizer *tok;
        const char *path = str_fmt(a, "%s/text", folder).p;
        file_write(a, path, texts[i]);
        assert_true(tokenizer_open_json(&tok, a, bytes_tokenizer(a), "bytes", &err));
        ShardSpec spec = {.text = path,
                          .separator = "--",
                          .folder = folder,
                          .tok = tok,
                          .tok_id = ID,
                          .end = BYTES_END};
        Team *team = team_open(1);
        Shard s;
        assert_false(shard_open(&s, a, &spec, team, &err));
        assert_non_null(strstr(err.msg, "no text to train on"));
        team_close(team);
        tokenizer_close(tok);
    }
}

/* Long documents are encoded in parts; what comes out is the document all the same, on any number
 * of threads. */
static void test_threads(void **state) {
    Arena *a = *state;
    const int64_t n = 5 << 20;
    char *text = PUSH(a, char, n);
    for (int64_t i = 0; i < n; i++) text[i] = "etaoin shrdlu\n"[dice(14)];
    for (int64_t at = 3 << 20; at < n - 64; at += 1 + dice(9000)) memcpy(text + at, "\n--\n", 4);
    for (int64_t i = 100; i < 2 << 20; i++)
        if (text[i] == '\n') text[i] = ' ';          /* a line of 2 MiB */
    memcpy(text + (1 << 20) - 2, "\xe7\xa6\xbb", 3); /* a character where it would be cut */
    Sha256 h;
    char hex[65], first[65];
    const int64_t threads[] = {1, 2, 3, 5};
    for (int64_t i = 0; i < COUNT(threads); i++) {
        Shard s = shard_of(a, (Str){text, n}, "--", threads[i]);
        sha256_init(&h);
        sha256_add(&h, s.map.p, s.map.n);
        sha256_hex(&h, i ? hex : first);
        if (i) assert_string_equal(hex, first);
        const char *end = strstr(text, "\n--\n");
        if (!i) assert_document(&s, 0, (Str){text, end - text});
        Err err = {0};
        const char *path = str_copy(a, s.path).p;
        shard_close(&s);
        assert_true(os_remove(path, &err));
    }
}

/* One name a content: what decides a token decides the key, and a key that is there is opened, not
 * made. */
static void test_cache(void **state) {
    Arena *a = *state;
    Err err = {0};
    Shard s = shard_of(a, STR("one\n--\ntwo"), "--", 1),
          t = shard_of(a, STR("one\n--\ntwo"), "--", 2),
          u = shard_of(a, STR("one\n--\ntwo"), "-", 1),
          v = shard_of(a, STR("one\n--\ntwx"), "--", 1);
    assert_string_equal(s.key, t.key);
    assert_string_not_equal(s.key, u.key);
    assert_string_not_equal(s.key, v.key);
    /* A shard with other tokens under the first one's name and key: if it is opened, it was not
     * made again. */
    Str bytes = str_copy(a, (Str){(const char *)v.map.p, v.map.n});
    memcpy((char *)(uintptr_t)bytes.p + 16, s.map.p + 16, 32);
    Sha256 h;
    char hex[65];
    sha256_init(&h);
    sha256_add(&h, bytes.p, bytes.n - 32);
    sha256_hex(&h, hex);
    for (int i = 0; i < 32; i++)
        ((char *)(uintptr_t)bytes.p)[bytes.n - 32 + i] =
            (char)strtol((char[]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
    file_write(a, s.path.p, bytes);
    Shard w = shard_of(a, STR("one\n--\ntwo"), "--", 1);
    assert_int_equal(shard_token(&w, 6), 'x');
    assert_int_equal(err.code, ERR_NONE);
    shard_close(&s), shard_close(&t), shard_close(&u), shard_close(&v), shard_close(&w);
}

/* Cut anywhere or changed anywhere, a shard is refused, and made again from its text. */
static void test_damage(void **state) {
    Arena *a = *state;
    Shard s = shard_of(a, STR("the first\n--\nthe second\n--\nand a third one"), "--", 1);
    const char *path = str_copy(a, s.path).p, *other = str_fmt(a, "%s/other.tokens", folder).p;
    Str whole = str_copy(a, (Str){(const char *)s.map.p, s.map.n});
    shard_close(&s);
    for (int64_t i = 0; i < whole.n; i++) {
        Err err = {0};
        file_write(a, other, (Str){whole.p, i});
        assert_false(shard_read(&s, a, other, &err));
        assert_non_null(strstr(err.msg, "other.tokens"));
        char *changed = (char *)(uintptr_t)str_copy(a, whole).p;
        changed[i] ^= (char)(1 << dice(8));
        file_write(a, other, (Str){changed, whole.n});
        assert_false(shard_read(&s, a, other, &(Err){0}));
        if (i % 64) continue;
        file_write(a, path, (Str){changed, whole.n});
        s = shard_of(a, STR("the first\n--\nthe second\n--\nand a third one"), "--", 1);
        assert_int_equal(s.map.n, whole.n);
        assert_memory_equal(s.map.p, whole.p, whole.n);
        shard_close(&s);
    }
}

#define FOLDER_TEST(fn) cmocka_unit_test_setup_teardown(fn, folder_setup, folder_teardown)

int shard_tests(void) {
    const struct CMUnitTest tests[] = {FOLDER_TEST(test_documents), FOLDER_TEST(test_nothing),
                                       FOLDER_TEST(test_threads), FOLDER_TEST(test_cache),
                                       FOLDER_TEST(test_damage)};
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
