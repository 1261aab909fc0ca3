/* solve.c -- the interval of a share, against published values; pass@k, against counting. */
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

/* Of all choices of k answers out of n, the first c of them right, the share with a right one. */
static double counted(int n, int c, int k) {
    int64_t all = 0, with = 0;
    for (uint32_t set = 0; set < 1u << n; set++) {
        if (__builtin_popcount(set) != k) continue;
        all++;
        with += (set & ((1u << c) - 1)) != 0;
    }
    return (double)with / (double)all;
}

static void test_pass(void **state) {
    (void)state;
    for (int n = 1; n <= 9; n++)
        for (int c = 0; c <= n; c++)
            for (int k = 1; k <= n; k++)
                assert_true(fabs(pass_at(n, c, k) - counted(n, c, k)) < 1e-12);
    assert_true(fabs(pass_at(1024, 3, 1) - 3.0 / 1024) < 1e-12);
    assert_true(pass_at(1024, 1000, 25) == 1 && pass_at(1024, 0, 1024) == 0);
}

static void test_options(void **state) {
    (void)state;
    Err err = {0};
    SolveOpts o = {.k_list = "1,8", .budget_list = "0,none,low,64", .temperature = -1};
    assert_true(solve_read(&o, &err));
    assert_true(o.n_k == 2 && o.k[0] == 1 && o.k[1] == 8 && o.samples == 8 && o.temperature == 1);
    assert_true(o.n_budget == 4 && o.budget[0] == 0 && o.budget[1] == -1 && o.budget[2] == 512
                && o.budget[3] == 64);
    o = (SolveOpts){.temperature = -1};
    assert_true(solve_read(&o, &err));
    assert_true(o.n_k == 1 && o.samples == 1 && o.temperature == 0);
    assert_true(o.n_budget == 1 && o.budget[0] == -1);
    o = (SolveOpts){.samples = 4, .temperature = 0};
    assert_false(solve_read(&o, &err));
    assert_non_null(strstr(err.msg, "the same answer each time"));
}

int test_solve(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wilson), cmocka_unit_test(test_pass),
                                       cmocka_unit_test(test_options)};
    return cmocka_run_group_tests_name("solve", tests, NULL, NULL);
}
