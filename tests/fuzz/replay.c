/* replay.c -- the main() that a fuzz target gets in `make test`: its corpus as it is, cut at
 * some places and changed at some, always the same ones. A finding of `make fuzz` becomes a file
 * in the corpus. */
#include "base/base.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { CUTS = 30, CHANGES = 100 };
static const char *target;

/* A copy of its own size, so that ASan sees a read behind the end. */
static void try_bytes(Arena *a, Str s) {
    Mark m = arena_mark(a);
    LLVMFuzzerTestOneInput((const uint8_t *)str_copy(a, s).p, (size_t)s.n);
    arena_pop(a, m);
}

static void try_file(Arena *a, Str s) {
    try_bytes(a, s);
    for (uint32_t i = 0; i < CUTS && s.n > 0; i++)
        try_bytes(a, (Str){s.p, (int64_t)(philox(1, i, 0).w[0] % (uint64_t)s.n)});
    for (uint32_t i = 0; i < CHANGES && s.n > 0; i++) {
        Mark m = arena_mark(a);
        Str changed = str_copy(a, s);
        Philox p = philox(2, i, 0);
        ((char *)(uintptr_t)changed.p)[p.w[0] % (uint64_t)s.n] = (char)p.w[1];
        try_bytes(a, changed);
        arena_pop(a, m);
    }
}

static void test_replay(void **state) {
    (void)state;
    Arena *a = arena_open("replay", 1 << 28);
    const char *folder = str_fmt(a, "tests/fuzz/corpus/%s", target).p;
    Str *names, s;
    int64_t n;
    Err err = {0};
    if (!os_list(a, &names, &n, folder, &err)) fail_msg("%s", err.msg);
    assert_true(n > 0);
    for (int64_t i = 0; i < n; i++) {
        Mark m = arena_mark(a);
        if (!os_read(a, &s, str_fmt(a, "%s/%.*s", folder, STRF(names[i])).p, 1 << 24, &err))
            fail_msg("%s", err.msg);
        try_file(a, s);
        arena_pop(a, m);
    }
    arena_close(a);
}

/* The program is called fuzz_TARGET. */
int main(int argc, char **argv) {
    (void)argc;
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    CHECK(str_starts(str_of(name), STR("fuzz_")));
    target = name + 5;
    log_set(LOG_ERROR);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replay)};
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
