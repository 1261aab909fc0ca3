/* tests.h -- the groups of tests of bundle/; each returns the number of failed tests. */
#pragma once

int convert_tests(void);
