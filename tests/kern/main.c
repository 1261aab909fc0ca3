/* main.c -- runs the groups of tests of kern/. */
#include "kern_test.h"

int main(void) {
    const char *seed = os_env("LISAO_TEST_SEED");
    int64_t n = 0;
    if (seed && str_i64(str_of(seed), &n)) test_seed = (uint64_t)n;
    float_mode_enter(); /* kernels are called on this thread too */
    int failed = test_math() + test_levels() + test_order() + test_forward() + test_sets()
                 + test_threads() + test_back() + test_quantise();
    teams_close();
    return failed;
}
