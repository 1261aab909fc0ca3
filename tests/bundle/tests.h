/* tests.h -- the groups of tests of bundle/; each returns the number of failed tests. */
#pragma once
#include "support/must.h"

int convert_tests(void);
