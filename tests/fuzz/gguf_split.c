/* gguf_split.c -- fuzz target: a model in the bytes of a GGUF file of two parts, behind four bytes
 * that say how long the first is. gguf_model.c tries files that are whole. */
#define _GNU_SOURCE
#include "support/try.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char folder[64], first[128];

static int part_make(int number) {
    char path[128];
    snprintf(path, sizeof path, "%s/m-%05d-of-00002.gguf", folder, number);
    if (number == 1) memcpy(first, path, sizeof path);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0);
    return fd;
}

static void part_fill(int fd, const uint8_t *p, size_t n) {
    CHECK(ftruncate(fd, (off_t)n) == 0 && pwrite(fd, p, n, 0) == (ssize_t)n);
}

static void folder_remove(void) {
    Err none = {0};
    (void)!os_remove(folder, &none);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    static Team *team;
    static int part[2];
    Err err = {0};
    uint32_t n;
    if (size < sizeof n) return 0;
    if (!a) {
        a = arena_open("gguf", (int64_t)1 << 32);
        team = team_open(1);
        CHECK(kern_init(LEVEL_N, &err));
        snprintf(folder, sizeof folder, "%s/lisao-fuzz-XXXXXX", P_tmpdir);
        CHECK(mkdtemp(folder) && atexit(folder_remove) == 0);
        for (int i = 0; i < 2; i++) part[i] = part_make(i + 1);
    }
    memcpy(&n, bytes, sizeof n);
    bytes += sizeof n, size -= sizeof n;
    const size_t one = MIN(n, size);
    part_fill(part[0], bytes, one);
    part_fill(part[1], bytes + one, size - one);
    Mark mark = arena_mark(a);
    bool ok = try_model(a, first, team, &err);
    CHECK(ok == (err.code == ERR_NONE));
    arena_pop(a, mark);
    return 0;
}
