/* arena.c -- tests of arenas and errors. */
#include "tests.h"

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#define ASAN __has_feature(address_sanitizer)
#else
#define ASAN 0
#endif

static bool is_zero(const uint8_t *p, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

static void test_alignment(void **state) {
    (void)state;
    Arena *a = arena_open("alignment", 1 << 20);
    for (int64_t n = 0; n < 300; n++) {
        uintptr_t p = (uintptr_t)arena_push(a, n);
        assert_int_equal(p % (n >= 64 ? 64 : 16), 0);
    }
    arena_close(a);
}

/* Blocks do not overlap, come zeroed, and come zeroed again after a pop. */
static void test_marks(void **state) {
    (void)state;
    Arena *a = arena_open("marks", 1 << 20);
    uint8_t *kept = arena_push(a, 100);
    memset(kept, 1, 100);
    Mark m = arena_mark(a);
    int64_t used = arena_used(a);
    for (int round = 0; round < 3; round++) {
        for (int64_t n = 1; n < 5000; n = n * 3 + round) {
            uint8_t *p = arena_push(a, n);
            assert_true(is_zero(p, n));
            memset(p, 0xff, (size_t)n);
        }
        arena_pop(a, m);
        assert_int_equal(arena_used(a), used);
    }
    for (int i = 0; i < 100; i++) assert_int_equal(kept[i], 1);
    arena_close(a);
}

static void test_peak(void **state) {
    (void)state;
    Arena *a = arena_open("peak", 1 << 20);
    Mark m = arena_mark(a);
    arena_push(a, 10000);
    int64_t peak = arena_peak(a);
    assert_true(peak >= 10000);
    arena_pop(a, m);
    arena_push(a, 9000);
    assert_int_equal(arena_peak(a), peak);
    arena_push(a, 9000);
    assert_true(arena_peak(a) > peak);
    arena_close(a);
}

static void test_full(void **state) {
    (void)state;
    Arena *a = arena_open("full", 10000);
    assert_non_null(arena_try(a, 9000));
    assert_null(arena_try(a, 9000));
    assert_null(arena_try(a, -1));
    assert_null(arena_try(a, INT64_MAX));
    assert_non_null(arena_try(a, 100)); /* a refusal changes nothing */
    arena_close(a);
}

#if !ASAN /* its shadow is not free */
/* A large reservation costs nothing until it is touched. */
static void test_lazy(void **state) {
    (void)state;
    int64_t before = os_memory_peak();
    Arena *a = arena_open("lazy", (int64_t)1 << 36);
    uint8_t *p = arena_push(a, (int64_t)1 << 35);
    assert_true(is_zero(p, 4096));
    assert_true(os_memory_peak() - before < 64 << 20);
    arena_close(a);
}
#endif

static void push_too_much(void *arg) { arena_push(arg, 1 << 20); }
static void pop_upwards(void *arg) { arena_pop(arg, (Mark){1 << 19}); }

static void test_abort(void **state) {
    (void)state;
    Arena *a = arena_open("little one", 1000);
    assert_aborts(push_too_much, a, "arena 'little one' is full: 1048576 bytes wanted");
    assert_aborts(pop_upwards, a, "CHECK(m.used >= 0 && m.used <= a->used) failed");
    arena_close(a);
}

#if ASAN
static volatile uint8_t sink;
static void write_behind(void *arg) {
    uint8_t *p = arena_push(arg, 100);
    arena_push(arg, 100);
    p[100] = 1;
}
static void read_popped(void *arg) {
    Mark m = arena_mark(arg);
    uint8_t *p = arena_push(arg, 100);
    arena_pop(arg, m);
    sink = p[50];
}

static void test_red_zones(void **state) {
    (void)state;
    Arena *a = arena_open("zones", 1 << 16);
    assert_aborts(write_behind, a, "use-after-poison");
    assert_aborts(read_popped, a, "use-after-poison");
    arena_close(a);
}
#endif

static void test_err(void **state) {
    (void)state;
    Err err = {0};
    assert_int_equal(err_exit_code(&err), 0);
    assert_false(err_set(&err, ERR_FORMAT, "reading %s: %d", "x", 7));
    assert_false(err_set(&err, ERR_USAGE, "later"));
    assert_string_equal(err.msg, "reading x: 7");
    assert_int_equal(err.code, ERR_FORMAT);
    assert_int_equal(err_exit_code(&err), 1);
    assert_int_equal(err_exit_code(&(Err){ERR_USAGE, ""}), 2);
    assert_int_equal(err_exit_code(&(Err){ERR_INTERRUPTED, ""}), 130);
    Err cut = {0};
    char text[3000];
    memset(text, 'x', sizeof text);
    err_set(&cut, ERR_IO, "%.*s", (int)sizeof text, text);
    assert_int_equal(strlen(cut.msg), sizeof cut.msg - 1);
    Err terminal = {0};
    err_set(&terminal, ERR_FORMAT, "tensor %s", "\033[2Jred\r\n\x7f\xc3\xa9");
    assert_string_equal(terminal.msg, "tensor ?[2Jred???\xc3\xa9");
}

int test_arena(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_peak),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_err),
#if ASAN
        cmocka_unit_test(test_red_zones),
#else
        cmocka_unit_test(test_lazy),
#endif
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
