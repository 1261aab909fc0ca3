#include "tests.h"
int test_streams(void) { return 0; }
