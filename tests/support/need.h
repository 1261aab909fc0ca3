/* need.h -- what a test needs that a machine may not have. A test without it is skipped, and says
 * for which reason: tools/test.sh knows the reasons and how many tests each may take away
 * (tests/skips.txt), so that a test cannot go missing unseen. */
#pragma once
#include "base/base.h"

/* Ends the test, skipped. `why` is one word of tests/skips.txt. */
_Noreturn void skip_for(const char *why);

/* $LISAO_TEST_FULL is set: `make test`, not `make test-quick`. */
bool full_run(void);
void need_full(void);

/* The programs run in an emulator ($LISAO_RUN, tools/test.sh), tens of times slower: a test that is
 * long even when it is quick, or a limit of the system that an emulator does not keep, is left to
 * the machine's own architecture. The golden hashes are compared in both. */
void need_native(void);

/* The programs run in an emulator or under the thread sanitizer: a test of the trainer that makes
 * hundreds of steps is left to the other builds, which take a second for it. */
void need_own_speed(void);

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#define UNDER_ASAN __has_feature(address_sanitizer)
#else
#define UNDER_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#define UNDER_TSAN __has_feature(thread_sanitizer)
#else
#define UNDER_TSAN 0
#endif

/* What the system counts as this process's memory is what the program took: not so with the shadow
 * of a sanitizer, nor in an emulator ($LISAO_RUN, tools/test.sh). */
bool memory_is_own(void);
void need_own_memory(void);

/* Reference data: tests/golden/NAME, else $LISAO_SHARED/oracles/NAME (../shared by default); NULL
 * where there is none. */
const char *reference_path(Arena *a, const char *name);
const char *need_reference(Arena *a, const char *name);

/* The default model, which is fetched and not shipped: $LISAO_MODEL_SMOLLM2, else where ./start
 * keeps it; NULL where there is none. */
const char *smollm2_path(Arena *a);
const char *need_smollm2(Arena *a);
