/* names.c -- a table from names to indices, and what a name may look like.
 *
 * Invariant: at most half of the slots are in use, so a search always ends. Names are never
 * removed. */
#include "file/parts.h"

#define LONGEST_CHAIN 1000

bool names_init(Names *t, Arena *a, int64_t n, Str (*name_at)(const void *, int64_t),
                const void *of) {
    int64_t slots = 2;
    CHECK(n >= 0 && n < INT32_MAX);
    while (slots < 2 * n) slots *= 2;
    *t = (Names){arena_try(a, slots * (int64_t)sizeof(uint32_t)), slots, name_at, of};
    return t->slot != NULL;
}

/* FNV-1a leaves its low bits weak; a multiplication brings the whole hash into the upper ones. */
static int64_t first_slot(const Names *t, Str name) {
    uint64_t h = str_hash(name);
    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
    return (int64_t)(h >> 32 & (uint64_t)(t->slots - 1));
}

int64_t names_put(Names *t, int64_t i) {
    Str name = t->name_at(t->of, i);
    int64_t at = first_slot(t, name);
    for (int chain = 0; chain < LONGEST_CHAIN; chain++, at = (at + 1) & (t->slots - 1)) {
        if (t->slot[at] == 0) {
            t->slot[at] = (uint32_t)(i + 1);
            return i;
        }
        int64_t other = (int64_t)t->slot[at] - 1;
        if (str_eq(t->name_at(t->of, other), name)) return other;
    }
    return -1;
}

int64_t names_find(const Names *t, Str name) {
    int64_t at = t->slots ? first_slot(t, name) : 0;
    for (; t->slots && t->slot[at] != 0; at = (at + 1) & (t->slots - 1)) {
        int64_t i = (int64_t)t->slot[at] - 1;
        if (str_eq(t->name_at(t->of, i), name)) return i;
    }
    return -1;
}

bool name_is_plain(Str name) {
    for (int64_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool fine = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')
                    || c == '_' || c == '-' || (c == '.' && i > 0);
        if (!fine) return false;
    }
    return name.n >= 1 && name.n <= 255;
}

bool name_is_visible(Str name) {
    for (int64_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c <= ' ' || c > '~' || c == '"' || c == '\\') return false;
    }
    return name.n >= 1 && name.n <= 1023;
}
