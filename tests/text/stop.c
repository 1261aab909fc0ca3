/* stop.c -- stop strings: streams against a search in the whole. */
#include "tests.h"

static Str streamed(Bench *b, Str text, const Str *v, int64_t n, int64_t step, bool *found) {
    Stops s;
    Buf out = {.a = b->keep};
    Err err = {0};
    assert_true(stops_init(&s, v, n, &err));
    buf_add(&out, STR(""));
    for (int64_t i = 0; i < text.n; i += step)
        stops_push(&s, (Str){text.p + i, MIN(step, text.n - i)}, &out);
    stops_end(&s, &out);
    *found = s.found;
    return buf_str(&out);
}

/* The text before the string that ends first; of two that end there the longer. */
static Str searched(Str text, const Str *v, int64_t n, bool *found) {
    for (int64_t end = 1; end <= text.n; end++) {
        int64_t longest = 0;
        for (int64_t i = 0; i < n; i++)
            if (str_ends((Str){text.p, end}, v[i])) longest = MAX(longest, v[i].n);
        if (longest) return *found = true, (Str){text.p, end - longest};
    }
    *found = false;
    return text;
}

static void random_streams(void **state) {
    Bench *b = *state;
    static const char *const strings[] = {"ab", "abab", "b", "aaab", "ba\n", "\n\n", "cabac"};
    int64_t stopped = 0;
    for (uint64_t k = 0; k < 2000; k++) {
        Str v[3];
        int64_t n = (int64_t)draw(30 * k, 4);
        for (int64_t i = 0; i < n; i++)
            v[i] = str_of(strings[draw(30 * k + 1 + (uint64_t)i, COUNT(strings))]);
        Buf text = {.a = b->keep};
        buf_add(&text, STR(""));
        for (uint64_t i = 0, m = draw(30 * k + 5, 20); i < m; i++)
            buf_add(&text, (Str){&"aabc\n"[draw(30 * k + 6 + i, 5)], 1});
        bool want_found, found;
        Str want = searched(buf_str(&text), v, n, &want_found);
        for (int64_t step = 1; step <= 4; step++) {
            same_str(streamed(b, buf_str(&text), v, n, step, &found), want);
            assert_int_equal(found, want_found);
        }
        stopped += found;
    }
    assert_true(stopped > 300 && stopped < 1900);
}

/* Only what may still become a stop string waits. */
static void little_is_held(void **state) {
    Bench *b = *state;
    Stops s;
    Buf out = {.a = b->keep};
    const Str v[] = {STR("stop"), STR("\n\nUser:")};
    assert_true(stops_init(&s, v, 2, &b->err));
    stops_push(&s, STR("a st"), &out);
    same_str(buf_str(&out), STR("a "));
    stops_push(&s, STR("ar\n"), &out);
    same_str(buf_str(&out), STR("a star"));
    stops_push(&s, STR("\nUs"), &out);
    stops_push(&s, STR("er s"), &out);
    same_str(buf_str(&out), STR("a star\n\nUser "));
    stops_push(&s, STR("top"), &out);
    assert_true(s.found);
    stops_push(&s, STR("more"), &out);
    stops_end(&s, &out);
    same_str(buf_str(&out), STR("a star\n\nUser "));
}

static void refused(void **state) {
    (void)state;
    Stops s;
    Str v[STOPS_MAX + 1];
    char longest[STOP_BYTES + 1] = {0};
    Err few = {0}, empty = {0}, large = {0};
    for (int64_t i = 0; i < COUNT(v); i++) v[i] = STR("x");
    assert_false(stops_init(&s, v, COUNT(v), &few));
    v[1] = STR("");
    assert_false(stops_init(&s, v, 2, &empty));
    v[1] = (Str){longest, sizeof longest};
    assert_false(stops_init(&s, v, 2, &large));
    assert_true(few.code == ERR_USAGE && empty.code == ERR_USAGE && large.code == ERR_USAGE);
}

int stop_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(random_streams), TEXT_TEST(little_is_held),
                                       TEXT_TEST(refused)};
    return cmocka_run_group_tests_name("stop strings", tests, NULL, NULL);
}
