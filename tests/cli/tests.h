/* tests.h -- shared by the tests of cli/. */
#pragma once
#include "cli/args.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "support/child.h"

int test_args(void);
