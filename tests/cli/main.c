/* main.c -- runs the groups of tests of cli/. The program as a user runs it is tested in tests/e2e.
 */
#include "tests.h"
#include "base/base.h"

int main(int argc, char **argv) {
    float_mode_enter();
    if (argc == 4 && !strcmp(argv[1], "--peak")) return peak_measure(argv[2], argv[3]);
    int failed = test_args() + test_perplexity() + test_peak() + test_pull() + test_lists();
    failed += test_solve();
    return failed + test_screen() + test_chat(); /* these change the environment */
}
