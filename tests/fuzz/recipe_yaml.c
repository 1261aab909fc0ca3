/* recipe_yaml.c -- fuzz target: the bytes of a recipe. What is accepted is printed in one spelling:
 * read again, as settings, it prints the same. */
#define _GNU_SOURCE
#include "train/train.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { LINES = 128 };

/* What recipe_print wrote, "key: value" a line, as "key=value" settings. */
static int64_t settings(Arena *a, const char **set, Str printed) {
    int64_t n = 0;
    for (const char *p = printed.p, *end = p + printed.n; p < end; n++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p)), *colon = strstr(p, ": ");
        CHECK(nl && colon && colon < nl && n < LINES);
        set[n] = str_fmt(a, "%.*s=%.*s", (int)(colon - p), p, (int)(nl - colon - 2), colon + 2).p;
        p = nl + 1;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    static int fd, empty;
    static char path[64], none[64];
    Err err = {0};
    Recipe r, again;
    const char *set[LINES];
    if (!a) {
        a = arena_open("recipe", (int64_t)1 << 30);
        fd = memfd_create("input", 0), empty = memfd_create("empty", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        snprintf(none, sizeof none, "/proc/self/fd/%d", empty);
    }
    CHECK(ftruncate(fd, (off_t)size) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size);
    Mark mark = arena_mark(a);
    bool ok = recipe_read(&r, a, path, NULL, 0, &err);
    CHECK(ok == (err.code == ERR_NONE));
    CHECK(ok || strstr(err.msg, path));
    if (ok) {
        Buf first = {.a = a}, second = {.a = a};
        recipe_print(&r, &first);
        int64_t n = settings(a, set, buf_str(&first));
        CHECK(recipe_read(&again, a, none, set, n, &err));
        recipe_print(&again, &second);
        CHECK(str_eq(buf_str(&first), buf_str(&second)));
    }
    arena_pop(a, mark);
    return 0;
}
