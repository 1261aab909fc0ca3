/* main.c -- runs the groups of tests of cli/. The program as a user runs it is tested in tests/e2e.
 *  */
#include "tests.h"

int main(void) { return test_args(); }
