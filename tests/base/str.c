/* str.c -- tests of strings, buffers, strict numbers and UTF-8. */
#include "tests.h"
#include "support/flood.h"
#include <math.h>

static Arena *arena;

static int open_arena(void **state) {
    (void)state;
    arena = arena_open("str", 1 << 22);
    return 0;
}

static int close_arena(void **state) {
    (void)state;
    arena_close(arena);
    return 0;
}

static void test_parts(void **state) {
    (void)state;
    assert_true(str_eq(STR("abc"), str_of("abc")));
    assert_false(str_eq(STR("abc"), STR("abd")));
    assert_false(str_eq(STR("abc"), STR("ab")));
    assert_true(str_eq((Str){NULL, 0}, STR("")));
    assert_true(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR("")));
    assert_false(str_starts(STR("ab"), STR("abc")));
    assert_true(str_ends(STR("abc"), STR("bc")) && !str_ends(STR("abc"), STR("ab")));
    Str s = str_copy(arena, (Str){"abcdef", 3});
    assert_string_equal(s.p, "abc");
    assert_string_equal(str_fmt(arena, "%d-%s", 7, "x").p, "7-x");
    assert_int_equal(str_fmt(arena, "%0*d", 5000, 1).n, 5000);
}

/* CPython's hash of bytes is SipHash-1-3, and PYTHONHASHSEED=0 makes its key zero. */
static void test_hash(void **state) {
    (void)state;
    const HashTable zero = {0};
    assert_true(table_hash(&zero, STR("a")) == 0x407448d2b89b1813u);
    assert_true(table_hash(&zero, STR("foobar")) == 0x7738ae0a5df09b34u);
    assert_true(table_hash(&zero, STR("12345678")) == 0x3489982430560a87u);
    assert_true(table_hash(&zero, STR("model.layers.0.self_attn.q_proj.weight"))
                == 0x8656cde91cac843bu);
}

typedef struct Keys {
    Str key[4000];
    int64_t compared;
} Keys;

static bool same_key(const void *of, int64_t i, Str key) {
    Keys *k = (Keys *)(uintptr_t)of;
    k->compared++;
    return str_eq(k->key[i], key);
}

/* Keys that were made to want the same few slots of a fixed hash are like any other keys. */
static void test_table(void **state) {
    (void)state;
    static Keys k;
    HashTable t = {0};
    enum { N = COUNT(k.key) };
    assert_int_equal(table_find(&t, STR("x"), same_key, &k), -1);
    assert_true(table_init(&t, arena, N));
    for (int64_t i = 0, n = 0; n < N; n++) k.key[n] = flood_key(arena, &i);
    for (int64_t i = 0; i < N; i++) {
        assert_int_equal(table_find(&t, k.key[i], same_key, &k), -1);
        assert_int_equal(table_put(&t, k.key[i], i, same_key, &k), i);
        assert_int_equal(table_put(&t, k.key[i], N + 1, same_key, &k), i);
    }
    for (int64_t i = 0; i < N; i++) assert_int_equal(table_find(&t, k.key[i], same_key, &k), i);
    assert_in_range(k.compared, 2 * N, 2 * N + 10); /* one for each key that is found */
    assert_true(table_longest_run(&t) < RUN_BY_CHANCE);
}

static void test_buf(void **state) {
    (void)state;
    Buf b = {.a = arena};
    char want[20000];
    int64_t n = 0;
    for (int i = 0; i < 2000; i++) {
        buf_fmt(&b, "%d,", i);
        n += snprintf(want + n, sizeof want - (size_t)n, "%d,", i);
        buf_add(&b, STR(""));
    }
    assert_int_equal(b.n, n);
    assert_memory_equal(b.p, want, n);
}

/* The length of "%.*s" is an int. One above 2^32 would keep its low bits, one above 2^31 would be
 * negative; the text ends where it ends. */
static void test_long_formats(void **state) {
    (void)state;
    const int64_t lengths[] = {((int64_t)1 << 32) + 1, (int64_t)1 << 32, (int64_t)3 << 30};
    for (int64_t i = 0; i < COUNT(lengths); i++)
        assert_string_equal(str_fmt(arena, "<%.*s>", STRF(((Str){"abc", lengths[i]}))).p, "<abc>");
    assert_string_equal(str_fmt(arena, "<%.*s>", STRF(((Str){"abc", 2}))).p, "<ab>");
}

static void test_i64(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool good;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.0", false, 0},
        {"0x10", false, 0},
        {"--1", false, 0},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        int64_t v = 42;
        bool good = str_i64(str_of(cases[i].text), &v);
        if (good != cases[i].good || v != (good ? cases[i].value : 42))
            fail_msg("%s", cases[i].text);
    }
}

static void test_f64(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool good;
        double value;
    } cases[] = {
        {"0", true, 0},     {"-1.5", true, -1.5},   {"1e-5", true, 1e-5}, {"2E+3", true, 2000},
        {"0.1", true, 0.1}, {"1e308", true, 1e308}, {"1e309", false, 0},  {"-1e999", false, 0},
        {"", false, 0},     {".5", false, 0},       {"5.", false, 0},     {"1e", false, 0},
        {"1e+", false, 0},  {"nan", false, 0},      {"inf", false, 0},    {"0x1p3", false, 0},
        {" 1", false, 0},   {"1 ", false, 0},       {"1,5", false, 0},    {"1e5x", false, 0},
        {"+1", false, 0},   {"1.5.2", false, 0},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        double v = 42;
        bool good = str_f64(str_of(cases[i].text), &v);
        if (good != cases[i].good || v != (good ? cases[i].value : 42))
            fail_msg("%s", cases[i].text);
    }
    char digits[1000];
    memset(digits, '1', sizeof digits);
    double v;
    assert_false(str_f64((Str){digits, sizeof digits}, &v));
    assert_true(str_f64((Str){"12345", 3}, &v) && v == 123); /* the string ends where it says */
}

/* Against a decoder that knows only the code points: what encodes to the same bytes is valid. */
static int encode(uint32_t c, uint8_t out[4]) {
    if (c < 0x80) return out[0] = (uint8_t)c, 1;
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 63));
    out[0] = (uint8_t)((0xf00 >> n) | c);
    return n;
}

static void test_utf8(void **state) {
    (void)state;
    uint8_t p[4];
    for (uint32_t c = 0; c < 0x110000; c++) {
        int n = encode(c, p);
        int want = c >= 0xd800 && c < 0xe000 ? 0 : n;
        if (utf8_length((Str){(char *)p, n}) != want) fail_msg("U+%04X", c);
        if (n > 1 && utf8_length((Str){(char *)p, n - 1})) fail_msg("cut U+%04X", c);
    }
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xe2\x28\xa1",
                                      "\xc3("};
    for (int64_t i = 0; i < COUNT(bad); i++) assert_int_equal(utf8_length(str_of(bad[i])), 0);
    assert_int_equal(utf8_length(STR("")), 0);
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const names[] = {"max-tokens", "temperature", "seed", "top-k", "top-p"};
    assert_string_equal(str_nearest(STR("max-token"), names, 5), "max-tokens");
    assert_string_equal(str_nearest(STR("temprature"), names, 5), "temperature");
    assert_string_equal(str_nearest(STR("sede"), names, 5), "seed");
    assert_null(str_nearest(STR("verbose"), names, 5));
    char text[200];
    memset(text, 'x', sizeof text);
    assert_null(str_nearest((Str){text, sizeof text}, names, 5));
}

static void test_trim(void **state) {
    (void)state;
    assert_true(str_eq(str_trim(STR(" \t a b\n "), " \t\n"), STR("a b")));
    assert_int_equal(str_trim(STR(" \n "), " \n").n, 0);
    assert_int_equal(str_trim(STR(""), " ").n, 0);
    /* A byte 0 is in no set, though strchr finds it at the end of each. */
    assert_true(str_eq(str_trim(STR("\0 x \0"), " "), STR("\0 x \0")));
    Str rest = STR("a:b::");
    assert_true(str_eq(str_cut(&rest, ':'), STR("a")) && str_eq(str_cut(&rest, ':'), STR("b")));
    assert_true(str_cut(&rest, ':').n == 0 && rest.p && rest.n == 0);
    assert_true(str_cut(&rest, ':').n == 0 && !rest.p && str_cut(&rest, ':').n == 0);
    assert_false(char_in(0, " x"));
    assert_true(char_in('x', " x"));
}

int test_str(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),   cmocka_unit_test(test_buf),
        cmocka_unit_test(test_hash),    cmocka_unit_test(test_table),
        cmocka_unit_test(test_i64),     cmocka_unit_test(test_long_formats),
        cmocka_unit_test(test_f64),     cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_nearest), cmocka_unit_test(test_trim),
    };
    return cmocka_run_group_tests_name("str", tests, open_arena, close_arena);
}
