/* tests.h -- shared by the tests of cli/. */
#pragma once
#include "cli/args.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "support/child.h"

int test_args(void), test_peak(void), test_screen(void), test_chat(void), test_perplexity(void);
int test_pull(void), test_lists(void), test_solve(void);
/* What the test of peaks runs in a process of its own. */
int peak_measure(const char *model, const char *act);
