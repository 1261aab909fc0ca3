/* gguf_model.c -- fuzz target: a whole model in the bytes of a GGUF file: its keys become a
 * configuration and a tokenizer, its tensors a model that runs. gguf.c tries the format alone. */
#define _GNU_SOURCE
#include "support/try.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    static Team *team;
    static int fd;
    static char path[64];
    Err err = {0};
    if (!a) {
        a = arena_open("gguf", (int64_t)1 << 32);
        team = team_open(1);
        CHECK(kern_init(LEVEL_N, &err));
        fd = memfd_create("input", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    CHECK(ftruncate(fd, (off_t)size) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size);
    Mark mark = arena_mark(a);
    bool ok = try_model(a, path, team, &err);
    CHECK(ok == (err.code == ERR_NONE));
    arena_pop(a, mark);
    return 0;
}
