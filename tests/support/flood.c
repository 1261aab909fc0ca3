/* flood.c -- see flood.h. */
#include "support/flood.h"

static uint64_t fixed_hash(Str s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < s.n; i++) h = (h ^ (uint8_t)s.p[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

Str flood_key(Arena *a, int64_t *i) {
    for (;;) {
        Mark mark = arena_mark(a);
        Str key = str_fmt(a, "t%lld", (long long)++*i);
        if ((fixed_hash(key) & 8191) < 16) return key;
        arena_pop(a, mark);
    }
}

int64_t table_longest_run(const HashTable *t) {
    int64_t run = 0, longest = 0;
    for (int64_t i = 0; i < t->slots; i++) {
        run = t->slot[i] ? run + 1 : 0;
        longest = MAX(longest, run);
    }
    return longest;
}
