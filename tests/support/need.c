/* need.c -- see need.h. */
#include "support/need.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

_Noreturn void skip_for(const char *why) {
    print_message("# skipped: %s\n", why);
    skip();
    abort(); /* cmocka has jumped out of the test */
}

bool full_run(void) { return os_env("LISAO_TEST_FULL") != NULL; }

void need_full(void) {
    if (!full_run()) skip_for("quick");
}

static bool emulated(void) { return os_env("LISAO_RUN") != NULL; }

void need_native(void) {
    if (emulated()) skip_for("emulated");
}

void need_own_speed(void) {
    if (UNDER_TSAN || emulated()) skip_for("no-own-speed");
}

bool memory_is_own(void) { return !UNDER_ASAN && !UNDER_TSAN && !emulated(); }

void need_own_memory(void) {
    if (!memory_is_own()) skip_for("no-own-memory");
}

const char *reference_path(Arena *a, const char *name) {
    const char *shared = os_env("LISAO_SHARED");
    const char *golden = str_fmt(a, "tests/golden/%s", name).p;
    const char *other = str_fmt(a, "%s/oracles/%s", shared ? shared : "../shared", name).p;
    return os_exists(golden) ? golden : os_exists(other) ? other : NULL;
}

const char *need_reference(Arena *a, const char *name) {
    const char *path = reference_path(a, name);
    if (!path) skip_for("no-reference");
    return path;
}

const char *smollm2_path(Arena *a) {
    const char *path = os_env("LISAO_MODEL_SMOLLM2"), *models = os_cache_folder(a, "models");
    if (!path) path = str_fmt(a, "%s/SmolLM2-135M-Instruct.Q4_1.gguf", models).p;
    return os_exists(path) ? path : NULL;
}

const char *need_smollm2(Arena *a) {
    const char *path = smollm2_path(a);
    if (!path) skip_for("no-smollm2");
    return path;
}
