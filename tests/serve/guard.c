/* guard.c -- tests of the guard as a function: hosts, and bounds that no request over the network
 * reaches alone. What it refuses over the network is in probes.c. */
#include "serve/guard.h"
#include "tests.h"

static const char *const names[] = {"localhost", "Example.org", "::1"};

/* A canonical head with this Host and, where name is given, one header more. */
static Verdict judge(const char *host, const char *name, const char *value, bool any) {
    enum { FIRST = sizeof "GET / HTTP/1.1\r\n" - 1 };
    GuardHeader h[2] = {{STR("Host"), str_of(host), FIRST, FIRST + 6}};
    int64_t end = h[0].value_at + h[0].value.n + 2;
    if (name) {
        h[1] = (GuardHeader){str_of(name), str_of(value), end, end + (int64_t)strlen(name) + 2};
        end = h[1].value_at + h[1].value.n + 2;
    }
    const GuardRequest r = {.method = STR("GET"),
                            .target = STR("/"),
                            .version = STR("HTTP/1.1"),
                            .target_at = 4,
                            .version_at = 6,
                            .header = h,
                            .n_headers = name ? 2 : 1,
                            .head_bytes = end + 2};
    const GuardLimits l = {
        .body_bytes = 1000, .names = names, .n_names = COUNT(names), .any_address = any};
    return guard_judge(&r, &l);
}

static void hosts(void **state) {
    (void)state;
    static const char *const in[] = {"localhost", "LOCALHOST:80", "example.org", "[::1]",
                                     "[::1]:8080"};
    static const char *const out[] = {"",
                                      "evil",
                                      "localhost.evil",
                                      "localhost:",
                                      "localhost:x",
                                      "localhost:1:2",
                                      "[::1",
                                      "[::1]x",
                                      "[evil]",
                                      "::1",
                                      "10.0.0.1",
                                      "[fe80::1]",
                                      "localhost:123456"};
    for (int64_t i = 0; i < COUNT(in); i++) assert_int_equal(judge(in[i], NULL, "", 0).status, 0);
    for (int64_t i = 0; i < COUNT(out); i++)
        assert_int_equal(judge(out[i], NULL, "", 0).status, 400);
    assert_int_equal(judge("10.0.0.1:80", NULL, "", true).status, 0);
    assert_int_equal(judge("[fe80::1]", NULL, "", true).status, 0);
    assert_int_equal(judge("10.0.0.1.evil", NULL, "", true).status, 400);
    assert_int_equal(judge("dead.beef", NULL, "", true).status, 400);
}

static void lengths(void **state) {
    (void)state;
    const Verdict whole = judge("localhost", "content-LENGTH", "1000", false);
    assert_int_equal(whole.status, 0);
    assert_int_equal(whole.body, 1000);
    assert_int_equal(judge("localhost", "Transfer-Encoding", "Chunked", false).body, -1);
    assert_int_equal(judge("localhost", "Content-Length", "1001", false).status, 413);
    assert_int_equal(judge("localhost", "Content-Length", "999999999999999999", false).status, 413);
    assert_int_equal(judge("localhost", "Content-Length", "0999999999999999999", 0).status, 400);
    assert_int_equal(judge("localhost", "Content-Length", "", false).status, 400);
    assert_int_equal(judge("localhost", "Content-Length", "3 ", false).status, 400);
    assert_int_equal(judge("localhost", "Expect", "100-Continue", false).status, 0);
    assert_int_equal(judge("localhost", "Expect", "200-ok", false).status, 417);
    assert_int_equal(judge("localhost", "X", "a\tb\xff", false).status, 0);
    assert_int_equal(judge("localhost", "X", "a\x7f", false).status, 400);
    assert_int_equal(judge("localhost", "X y", "a", false).status, 400);
    assert_int_equal(judge("localhost", "", "a", false).status, 400);
}

static void nuls(void **state) {
    (void)state;
    char p[] = "\0a\0\0b\0";
    guard_hide_nuls(p, 5);
    assert_memory_equal(p, "\1a\1\1b\0", 7);
    guard_hide_nuls(p, 0);
    assert_memory_equal(p, "\1a\1\1b\0", 7);
    assert_int_equal(judge("localhost", "X", "\x01", false).status, 400);
}

int test_guard(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hosts), cmocka_unit_test(lengths),
                                       cmocka_unit_test(nuls)};
    return cmocka_run_group_tests_name("serve guard", tests, NULL, NULL);
}
