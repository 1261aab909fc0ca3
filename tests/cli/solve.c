/* solve.c -- the interval of a share, against published values. */
#include "tests.h"
#include "cli/solve.h"

#include <math.h>

/* Wilson's intervals at 95 %: Newcombe (1998), table I, and the ends, where others leave 0..1. */
static void test_wilson(void **state) {
    (void)state;
    static const struct {
        double right;
        int64_t n;
        double low, high;
    } cases[] = {
        {81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0.0000, 0.1611},
        {1, 29, 0.0061, 0.1718},   {29, 29, 0.8830, 1.0000},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const Rate r = rate_of(cases[i].right, cases[i].n);
        assert_true(fabs(r.rate - cases[i].right / (double)cases[i].n) < 1e-12);
        if (fabs(r.low - cases[i].low) > 6e-5 || fabs(r.high - cases[i].high) > 6e-5)
            fail_msg("%g of %d: %.4f to %.4f", cases[i].right, (int)cases[i].n, r.low, r.high);
    }
}

int test_solve(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wilson)};
    return cmocka_run_group_tests_name("solve", tests, NULL, NULL);
}
