/* shard.c -- fuzz target: the bytes of a token shard, with the right checksum put at their end.
 * What is accepted can be read to the last token, and every row of it keeps its bounds. */
#define _GNU_SOURCE
#include "data/shard.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void sum_put(uint8_t *p, int64_t n) {
    Sha256 h;
    char hex[65];
    if (n < 32) return;
    sha256_init(&h);
    sha256_add(&h, p, n - 32);
    sha256_hex(&h, hex);
    hex_to_bytes(p + n - 32, hex);
}

static void rows_check(Arena *a, const Shard *s) {
    Loader *l;
    Err err = {0};
    enum { SEQUENCE = 32 };
    CHECK(loader_new(&l, a, s, SEQUENCE, true, (LoaderState){.seed = 3}, &err));
    Packed b = packed_new(a, SEQUENCE);
    int64_t targets = 0;
    for (int64_t i = 0; i < loader_rows(l); i++) {
        loader_next(l, &b, 1);
        CHECK(b.n >= 1 && b.n <= SEQUENCE && b.n_pieces <= row_pieces(SEQUENCE));
        for (int64_t k = 0; k < b.n; k++) CHECK(b.token[k] >= 0 && b.token[k] < s->vocab);
        targets += b.n;
    }
    CHECK(targets == loader_targets(l));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    static int fd;
    static char path[64];
    Err err = {0};
    Shard s;
    if (!a) {
        a = arena_open("shard", (int64_t)1 << 30);
        fd = memfd_create("input", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    const Mark mark = arena_mark(a);
    uint8_t *p = PUSH(a, uint8_t, (int64_t)size + 1);
    if (size) memcpy(p, bytes, size);
    sum_put(p, (int64_t)size);
    CHECK(ftruncate(fd, (off_t)size) == 0 && pwrite(fd, p, size, 0) == (ssize_t)size);
    const bool ok = shard_read(&s, a, path, &err);
    CHECK(ok == (err.code == ERR_NONE));
    CHECK(ok || strstr(err.msg, path));
    if (ok) {
        rows_check(a, &s);
        shard_close(&s);
    }
    arena_pop(a, mark);
    return 0;
}
