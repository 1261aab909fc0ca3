/* measure.c -- tests of times that repeat, and of reading memory. */
#include "tests.h"

static void times_are_sorted(void **state) {
    (void)state;
    Times t = {0};
    assert_true(times_best(&t) == 0 && times_median(&t) == 0);
    const double given[] = {3, 1, 2, 5, 4};
    for (int i = 0; i < COUNT(given); i++) times_add(&t, given[i]);
    assert_true(times_best(&t) == 1 && times_median(&t) == 3);
    for (int i = 0; i < TIMES_MAX; i++) times_add(&t, 9);
    assert_int_equal(t.n, TIMES_MAX);
    assert_true(times_best(&t) == 1 && times_median(&t) == 9 && t.seconds[4] == 5);
}

/* Each round is timed once, whatever the threads; blocks smaller than the team have parts, too. */
static void reading_is_timed(void **state) {
    (void)state;
    Arena *a = arena_open("reading", 1 << 21);
    for (int64_t threads = 1; threads <= 3; threads++) {
        Team *team = team_open(threads);
        for (int64_t bytes = 64; bytes <= 1 << 19; bytes <<= 13) {
            Times t = {0};
            reading_run(team, reading_new(a, bytes), 4, &t);
            assert_int_equal(t.n, 4);
            assert_true(times_best(&t) >= 0 && times_best(&t) <= times_median(&t));
        }
        team_close(team);
    }
    arena_close(a);
}

int test_measure(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_sorted),
        cmocka_unit_test(reading_is_timed),
    };
    return cmocka_run_group_tests_name("measure", tests, NULL, NULL);
}
