/* must.h -- what a test cannot go on without, and what it leaves behind. */
#pragma once
#include "base/base.h"

void must(bool ok, const Err *err);           /* fails the test with the error's message */
void tree_remove(Arena *a, const char *path); /* a file, or a folder with all that is in it */
