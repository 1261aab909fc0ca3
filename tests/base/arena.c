/* arena.c -- tests of arenas and errors. */
#include "tests.h"
#include <sys/resource.h>

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

/* Pushes of all sizes go over many blocks of the system's; each stays whole, zeroed and aligned,
 * and a pop to any mark leaves what was there before it and gives the count of then. */
static void test_blocks(void **state) {
    (void)state;
    enum { N = 400 };
    static uint8_t *p[N];
    static int64_t size[N], before[N];
    static Mark mark[N];
    Arena *a = arena_open("blocks", ARENA_NO_LIMIT);
    for (int round = 0; round < 6; round++) {
        int64_t first = round == 0 ? 0 : (int64_t)(philox(9, (uint64_t)round, 1).w[0] % N);
        if (round) arena_pop(a, mark[first]);
        if (round) assert_int_equal(arena_used(a), before[first]);
        for (int64_t i = first; i < N; i++) {
            Philox w = philox(9, (uint64_t)i, (uint32_t)round);
            size[i] = (int64_t)(w.w[0] % (w.w[1] % 50 == 0 ? 3 << 20 : w.w[1] % 5 ? 300 : 40000));
            mark[i] = arena_mark(a), before[i] = arena_used(a);
            p[i] = arena_push(a, size[i]);
            assert_int_equal((uintptr_t)p[i] % (size[i] >= 64 ? 64 : 16), 0);
            assert_true(is_zero(p[i], size[i]));
            assert_true(arena_used(a) >= before[i] + size[i]);
            memset(p[i], (int)(i % 255) + 1, (size_t)size[i]);
        }
        for (int64_t i = 0; i < N; i++)
            for (int64_t k = 0; k < size[i]; k++)
                if (p[i][k] != i % 255 + 1) fail_msg("push %d was written over", (int)i);
    }
    arena_close(a);
}

/* A loop of the same pushes takes nothing new after its first turn, whatever it has pushed. */
static void test_loop(void **state) {
    (void)state;
    Arena *a = arena_open("loop", ARENA_NO_LIMIT);
    void *first[20] = {0};
    int64_t peak = 0;
    for (int turn = 0; turn < 4; turn++) {
        Mark m = arena_mark(a);
        for (int i = 0; i < 20; i++) {
            void *p = arena_push(a, 1 << i);
            if (turn) assert_ptr_equal(p, first[i]);
            first[i] = p;
        }
        if (turn) assert_int_equal(arena_peak(a), peak);
        peak = arena_peak(a);
        arena_pop(a, m);
    }
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

/* A large reservation costs nothing until it is touched. */
static void test_lazy(void **state) {
    (void)state;
    need_own_memory();
    int64_t before = os_memory_peak();
    Arena *a = arena_open("lazy", (int64_t)1 << 36);
    uint8_t *p = arena_push(a, (int64_t)1 << 35);
    assert_true(is_zero(p, 4096));
    assert_true(os_memory_peak() - before < 64 << 20);
    arena_close(a);
}

/* Large pages change neither what is in memory nor how much of it is resident: nothing before it is
 * written, and nothing beside it then. The pushes lie in several blocks. */
static void test_large_pages(void **state) {
    (void)state;
    need_own_memory();
    enum { N = 40, SIZE = 1 << 20 };
    uint8_t *p[N];
    Arena *a = arena_open("large", ARENA_NO_LIMIT);
    arena_push(a, 3 * SIZE);
    Mark from = arena_mark(a);
    for (int i = 0; i < N; i++) p[i] = arena_push(a, SIZE);
    arena_push(a, 3 * SIZE);
    arena_large_pages(a, arena_mark(a)); /* nothing */
    arena_pop(a, (Mark){from.used + N * SIZE});
    int64_t before = os_memory_now();
    arena_large_pages(a, from);
    assert_true(os_memory_now() - before < SIZE);
    for (int i = 0; i < N; i++) {
        assert_true(is_zero(p[i], SIZE));
        memset(p[i], i + 1, SIZE);
    }
    assert_true(os_memory_now() - before < (N + 2) * SIZE);
    for (int i = 0; i < N; i++) assert_true(p[i][0] == i + 1 && p[i][SIZE - 1] == i + 1);
    arena_close(a);
}

static void push_too_much(void *arg) { arena_push(arg, 1 << 20); }
static void pop_upwards(void *arg) { arena_pop(arg, (Mark){1 << 19}); }

static void test_abort(void **state) {
    (void)state;
    Arena *a = arena_open("little one", 1000);
    assert_aborts(push_too_much, a, "arena 'little one' is full: 1048576 bytes wanted");
    assert_aborts(pop_upwards, a, "CHECK(m.used >= 0 && m.used <= arena_used(a)) failed");
    arena_close(a);
}

/* An address space of 256 MB more than is in use: enough for many arenas without a limit of their
 * own; what does not fit is refused, and the arena is as it was. */
static void limited(void *arg) {
    struct rlimit l = {0};
    CHECK(getrlimit(RLIMIT_AS, &l) == 0);
    l.rlim_cur = 256 << 20;
    CHECK(setrlimit(RLIMIT_AS, &l) == 0);
    Arena *a[20];
    for (int i = 0; i < COUNT(a); i++) {
        a[i] = arena_open("under a limit", ARENA_NO_LIMIT);
        memset(arena_push(a[i], 4 << 20), i, 4 << 20);
    }
    int64_t used = arena_used(a[7]);
    CHECK(!arena_try(a[7], 1 << 30) && arena_used(a[7]) == used);
    CHECK(arena_try(a[7], 1 << 20));
    if (arg) arena_push(a[7], 1 << 30);
}

/* What was reserved is there when it is pushed, though others have taken all the rest meanwhile;
 * what cannot be had is not reserved. */
static void reserved(void *arg) {
    struct rlimit l = {0};
    (void)arg;
    CHECK(getrlimit(RLIMIT_AS, &l) == 0);
    l.rlim_cur = 256 << 20;
    CHECK(setrlimit(RLIMIT_AS, &l) == 0);
    Arena *a = arena_open("reserved", ARENA_NO_LIMIT), *b = arena_open("rest", ARENA_NO_LIMIT);
    CHECK(arena_push(a, 40 << 10));
    int64_t used = arena_used(a);
    CHECK(!arena_reserve(a, 300 << 20) && arena_reserve(a, 100 << 20) && arena_used(a) == used);
    while (arena_try(b, 1 << 20)) continue;
    CHECK(arena_try(a, 30 << 10)); /* it does not stand in the block that was there */
    for (int i = 0; i < 99; i++) CHECK(arena_try(a, 1 << 20));
    CHECK(!arena_try(a, 10 << 20));
}

static void test_limited(void **state) {
    (void)state;
    need_own_memory();
    char said[4096];
    int status = child(limited, NULL, said, sizeof said);
    if (status) fail_msg("status %d: %s", status, said);
    assert_aborts(limited, said, "arena 'under a limit': the system gives no 1073741824 bytes");
}

#if UNDER_ASAN
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
    Err steered = {0}; /* C1 controls and what turns the direction of writing; others stay */
    err_set(&steered, ERR_FORMAT, "%s",
            "\xc2\x9b"
            "2J \xe2\x80\xae \xe2\x81\xa6 \xe2\x80\xa8, \xc2\xa0\xe2\x80\x93 \xe2\x80");
    assert_string_equal(steered.msg, "??2J ??? ??? ???, \xc2\xa0\xe2\x80\x93 \xe2\x80");
}

static void test_reserved(void **state) {
    (void)state;
    need_own_memory();
    char said[4096];
    assert_int_equal(child(reserved, NULL, said, sizeof said), 0);
}

int test_arena(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_loop),
        cmocka_unit_test(test_peak),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_err),
#if UNDER_ASAN
        cmocka_unit_test(test_red_zones),
#endif
        cmocka_unit_test(test_lazy),
        cmocka_unit_test(test_large_pages),
        cmocka_unit_test(test_limited),
        cmocka_unit_test(test_reserved),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
