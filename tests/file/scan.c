/* scan.c -- the JSON scanner: what it takes and what it refuses. jansson is the second opinion. */
#include <jansson.h>
#include "files.h"

/* "+ text": valid JSON whatever its value; "- text": not. */
static const char *const texts[] = {
    "+{}",
    "+[]",
    "+ { \"a\" : [ 1 , 2 ] }\n\t\r",
    "+\"x\"",
    "+true",
    "+[false,null,true]",
    "+0",
    "+-0",
    "+-1.5e+10",
    "+[1E-3,0.25,10]",
    "+\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\"",
    "+\"\\ud83d\\ude00\"",
    "+\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
    "+[[[[[[[[1]]]]]]]]",
    "-",
    "-{",
    "-[",
    "-}",
    "-{]",
    "-[1,]",
    "-{\"a\":1,}",
    "-{,}",
    "-[,1]",
    "-[1 2]",
    "-{\"a\" 1}",
    "-{\"a\"}",
    "-{a:1}",
    "-{1:1}",
    "-'x'",
    "-\"x",
    "-\"\n\"",
    "-\"\x01\"",
    "-\"\\x\"",
    "-\"\\u12\"",
    "-\"\\u12g4\"",
    "-\"\\ud800\"",
    "-\"\\ud800x\"",
    "-\"\\ud800\\u0041\"",
    "-\"\\udc00\"",
    "-\"\\",
    "-\"\xff\"",
    "-\"\xc3\"",
    "-\"\xc0\xaf\"",
    "-\"\xed\xa0\x80\"",
    "-tru",
    "-nul",
    "-True",
    "-01",
    "-1.",
    "-.5",
    "-+1",
    "--",
    "-1e",
    "-1e+",
    "-0x10",
    "-NaN",
    "-Infinity",
    "-{} {}",
    "-1 2",
    "-[1]]",
    "-\"a\"b",
    "-\xef\xbb\xbf{}",
};

static bool scans(Scratch *s, Str text, Err *err) {
    Scan scan;
    scan_init(&scan, s->a, text, "text", err);
    scan_skip(&scan);
    return scan_end(&scan);
}

static void test_texts(void **state) {
    for (int64_t i = 0; i < COUNT(texts); i++) {
        Err err = {0};
        const char *text = texts[i] + 1;
        json_t *j = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_int_equal(j != NULL, texts[i][0] == '+'); /* the table itself is right */
        json_decref(j);
        bool fine = scans(*state, str_of(text), &err);
        if (fine != (texts[i][0] == '+')) fail_msg("%s: %s", text, fine ? "taken" : err.msg);
    }
}

static void test_zero_byte(void **state) {
    Err err = {0};
    assert_false(scans(*state, (Str){"\"a\0b\"", 5}, &err));
    assert_false(scans(*state, (Str){"[1\0]", 4}, &err));
    assert_false(scans(*state, (Str){"{}\0", 3}, &err));
}

static void test_depth(void **state) {
    Err err = {0};
    char deep[2001];
    for (int n = 32; n <= 1000; n += 484) {
        memset(deep, '[', (size_t)n);
        memset(deep + n, ']', (size_t)n);
        err = (Err){0};
        assert_int_equal(scans(*state, (Str){deep, 2 * n}, &err), n <= 32);
    }
    assert_non_null(strstr(err.msg, "levels"));
}

static void test_strings(void **state) {
    Scratch *s = *state;
    static const struct {
        const char *text, *value;
    } cases[] = {
        {"\"plain\"", "plain"},
        {"\"\"", ""},
        {"\"a\\nb\"", "a\nb"},
        {"\"\\u0041\\u00e9\\u20aC!\"", "A\xc3\xa9\xe2\x82\xac!"},
        {"\"\\uD83D\\uDE00\"", "\xf0\x9f\x98\x80"},
        {"\"\\\\\\\"\\/\"", "\\\"/"},
        {" \"x\\\\\"", "x\\"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Err err = {0};
        Scan scan;
        scan_init(&scan, s->a, str_of(cases[i].text), "text", &err);
        Str got = scan_string(&scan);
        assert_true(scan_end(&scan));
        assert_true(str_eq(got, str_of(cases[i].value)));
    }
}

static void test_ints(void **state) {
    Scratch *s = *state;
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"0", 0},
        {"7", 7},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", -1},
        {"-1", -1},
        {"01", -1},
        {"1.0", -1},
        {"1e3", -1},
        {"99999999999999999999999", -1},
        {"", -1},
        {"\"1\"", -1},
        {"1x", -1},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Err err = {0};
        Scan scan;
        scan_init(&scan, s->a, str_of(cases[i].text), "text", &err);
        int64_t v = scan_int(&scan);
        bool fine = scan_end(&scan);
        assert_int_equal(fine, cases[i].value >= 0);
        if (fine) assert_int_equal(v, cases[i].value);
    }
}

/* After an error nothing moves and the first cause stays. */
static void test_errors_stick(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Scan scan;
    scan_init(&scan, s->a, STR("{\"a\":x}"), "text", &err);
    scan_char(&scan, '{');
    assert_true(str_eq(scan_key(&scan), STR("a")));
    assert_int_equal(scan_int(&scan), 0);
    const char *at = scan.p;
    char first[sizeof err.msg];
    memcpy(first, err.msg, sizeof first);
    scan_char(&scan, 'x');
    scan_skip(&scan);
    assert_false(scan_more(&scan, '}', 1));
    assert_int_equal(scan_string(&scan).n, 0);
    assert_false(scan_end(&scan));
    assert_ptr_equal(scan.p, at);
    assert_string_equal(err.msg, first);
    assert_non_null(strstr(err.msg, "byte 5"));
}

static Str name_at(const void *of, int64_t i) { return ((const Str *)of)[i]; }

static void test_names(void **state) {
    Scratch *s = *state;
    enum { N = 3000 };
    static Str name[N];
    Names t = {0};
    assert_int_equal(names_find(&t, STR("x")), -1);
    for (int i = 0; i < N; i++) name[i] = str_fmt(s->a, "model.layers.%d.w%d", i / 7, i % 7);
    assert_true(names_init(&t, s->a, N, name_at, name));
    for (int i = 0; i < N; i++) {
        assert_int_equal(names_find(&t, name[i]), -1);
        assert_int_equal(names_put(&t, i), i);
        assert_int_equal(names_put(&t, i), i);
    }
    for (int i = 0; i < N; i++) assert_int_equal(names_find(&t, str_copy(s->a, name[i])), i);
    assert_int_equal(names_find(&t, STR("model.layers.1")), -1);
}

int scan_tests(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_texts),   FILE_TEST(test_zero_byte), FILE_TEST(test_depth),
        FILE_TEST(test_strings), FILE_TEST(test_ints),      FILE_TEST(test_errors_stick),
        FILE_TEST(test_names),
    };
    return cmocka_run_group_tests_name("file: scanner and names", tests, NULL, NULL);
}
