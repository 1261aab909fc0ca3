/* repo_listing.c -- fuzz target: a hub's list of files, before the first line break a source that a
 * user may have written. What is chosen has names that stay in their folder, sizes, and hashes. */
#include "fetch/repo.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void name_check(Str name) {
    CHECK(name_usable(name) && name.p[0] != '.');
    for (int64_t i = 0; i < name.n; i++) CHECK(name.p[i] != '/' && (uint8_t)name.p[i] >= ' ');
}

static void choice_check(const Choice *c) {
    for (int64_t i = 0; i < c->n; i++) {
        const RepoFile *f = c->file[i];
        name_check(f->base);
        CHECK(str_ends(f->path, f->base) && f->size >= 0);
        CHECK(!f->hashed || is_sha256(f->id));
        CHECK(c->folder || str_ends(f->base, STR(".gguf")));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *arena;
    if (!arena) arena = arena_open("fuzz", 1 << 28);
    Mark mark = arena_mark(arena);
    Err err = {0};
    RepoSpec spec;
    Listing list;
    Choice choice;
    Str all = str_copy(arena, (Str){(const char *)bytes, (int64_t)size}), line = all;
    const char *end = all.n ? memchr(all.p, '\n', (size_t)all.n) : NULL;
    if (end) line.n = end - all.p;
    Str json = {line.p + line.n, all.n - line.n};
    listing_init(&list, arena);
    if (spec_parse(&spec, arena, line, &err) && listing_add(&list, arena, json, "fuzz", &err)
        && listing_choose(&choice, arena, &list, &spec, &err))
        choice_check(&choice);
    arena_pop(arena, mark);
    return 0;
}
