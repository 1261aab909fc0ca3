/* recipe_yaml.c -- fuzz target: the bytes of a recipe. What is accepted is printed as a recipe that
 * reads as the same one and prints the same. */
#define _GNU_SOURCE
#include "train/train.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void fill(int fd, const void *bytes, size_t size) {
    CHECK(ftruncate(fd, (off_t)size) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    static int fd, other;
    static char path[64], printed[64];
    Err err = {0};
    Recipe r, again;
    if (!a) {
        a = arena_open("recipe", (int64_t)1 << 30);
        fd = memfd_create("input", 0), other = memfd_create("printed", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        snprintf(printed, sizeof printed, "/proc/self/fd/%d", other);
    }
    fill(fd, bytes, size);
    Mark mark = arena_mark(a);
    bool ok = recipe_read(&r, a, path, NULL, 0, &err);
    CHECK(ok == (err.code == ERR_NONE));
    CHECK(ok || strstr(err.msg, path));
    if (ok) {
        Buf first = {.a = a}, second = {.a = a};
        CHECK(recipe_print(&r, &first, &err)); /* what came from a file can stand in one */
        fill(other, first.p, (size_t)first.n);
        CHECK(recipe_read(&again, a, printed, NULL, 0, &err));
        CHECK(recipe_print(&again, &second, &err));
        CHECK(str_eq(buf_str(&first), buf_str(&second)));
    }
    arena_pop(a, mark);
    return 0;
}
