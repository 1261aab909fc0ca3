/* tests.h -- the groups of tests of bundle/; each returns the number of failed tests. */
#pragma once
#include "base/base.h"

void must(bool ok, const Err *err);           /* fails the test with the error's message */
void tree_remove(Arena *a, const char *path); /* a file, or a folder with all that is in it */
int convert_tests(void);
