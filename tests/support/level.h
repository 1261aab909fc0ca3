/* level.h -- the kernel levels of this machine, for tests that walk them. */
#pragma once
#include "kern/kern.h"

/* kern_init; false where the CPU has not got the level, by the operating system's own account of
 * it. Fails the test where the CPU has it and kern_init left it out: a failing self-test, or a slip
 * in the reading of CPUID, must not make the tests fewer. */
bool level_use(Level v);
/* The word of tests/skips.txt for a level that is not there. */
const char *level_missing(Level v);
