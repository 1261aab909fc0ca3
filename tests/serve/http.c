#include "tests.h"
int test_http(void) { return 0; }
