/* safetensors_index.c -- fuzz target: the text of a model.safetensors.index.json. The names it
 * yields are plain, each once, and the second walk over the same text sees the same pairs. */
#include "file/parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static Arena *arena;

/* Every tensor is in the first file: the check succeeds exactly if there is only one. */
static const Tensor *find(const void *of, Str name) {
    CHECK(name_is_visible(name));
    return of;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    Err err = {0}, again = {0};
    Str *shard;
    int64_t n;
    if (!arena) arena = arena_open("fuzz", 1 << 28);
    Mark mark = arena_mark(arena);
    uint8_t *copy = PUSH(arena, uint8_t, (int64_t)size);
    if (size) memcpy(copy, bytes, size);
    Map m = {copy, (int64_t)size};

    bool ok = index_shards(arena, m, "input", &shard, &n, &err);
    CHECK(ok == (err.code == ERR_NONE));
    for (int64_t i = 0; ok && i < n; i++) {
        CHECK(name_is_plain(shard[i]) && shard[i].p[shard[i].n] == '\0');
        CHECK(i == 0 || !str_eq(shard[i], shard[i - 1]));
    }
    if (ok && n > 0) {
        Tensor t = {.file = str_fmt(arena, "folder/%s", shard[0].p).p};
        CHECK(index_check(arena, m, "input", find, &t, &again) == (n == 1));
    }
    arena_pop(arena, mark);
    return 0;
}
