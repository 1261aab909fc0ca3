/* table.c -- the one hash table: from keys to indices, by open addressing.
 *
 * Names and spellings come from files, so whoever wrote the file would know which of them collide
 * under a fixed hash, and a search would walk over all of them. The hash is SipHash-1-3 (Aumasson,
 * Bernstein 2012) under a key that each table draws from the system: nobody can choose colliding
 * keys, and a search takes a few steps whatever the file is. Nothing that a table answers depends
 * on the key.
 *
 * Invariants: at most two thirds of the slots are in use, so a search ends. No key ever leaves. */
#include "base/base.h"

#define ROUND(v0, v1, v2, v3)                                                                      \
    do {                                                                                           \
        v0 += v1, v2 += v3;                                                                        \
        v1 = (v1 << 13 | v1 >> 51) ^ v0, v3 = (v3 << 16 | v3 >> 48) ^ v2;                          \
        v0 = v0 << 32 | v0 >> 32;                                                                  \
        v2 += v1, v0 += v3;                                                                        \
        v1 = (v1 << 17 | v1 >> 47) ^ v2, v3 = (v3 << 21 | v3 >> 43) ^ v0;                          \
        v2 = v2 << 32 | v2 >> 32;                                                                  \
    } while (0)

uint64_t table_hash(const HashTable *t, Str s) {
    const uint64_t *key = t->key;
    uint64_t v0 = key[0] ^ 0x736f6d6570736575u, v1 = key[1] ^ 0x646f72616e646f6du,
             v2 = key[0] ^ 0x6c7967656e657261u, v3 = key[1] ^ 0x7465646279746573u, word;
    int64_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&word, s.p + i, 8);
        v3 ^= word;
        ROUND(v0, v1, v2, v3);
        v0 ^= word;
    }
    word = (uint64_t)s.n << 56;
    for (int64_t j = i; j < s.n; j++) word |= (uint64_t)(uint8_t)s.p[j] << 8 * (j - i);
    v3 ^= word;
    ROUND(v0, v1, v2, v3);
    v0 ^= word;
    v2 ^= 0xff;
    for (int j = 0; j < 3; j++) ROUND(v0, v1, v2, v3);
    return v0 ^ v1 ^ v2 ^ v3;
}

bool table_init(HashTable *t, Arena *a, int64_t n) {
    CHECK(n >= 0 && n < INT32_MAX);
    *t = (HashTable){.slots = 4};
    while (2 * t->slots < 3 * n) t->slots *= 2;
    t->slot = arena_try(a, t->slots * (int64_t)sizeof *t->slot);
    if (!t->slot) return *t = (HashTable){0}, false;
    os_random(t->key, sizeof t->key);
    return true;
}

/* The slot of the key, or the free one where it belongs. A slot has the upper half of the hash and,
 * below it, index + 1. */
static uint64_t *slot_of(const HashTable *t, Str key, TableSame *same, const void *of,
                         uint64_t *tag) {
    uint64_t h = table_hash(t, key);
    int64_t mask = t->slots - 1;
    *tag = h >> 32 << 32;
    for (int64_t i = (int64_t)(uint32_t)h & mask;; i = (i + 1) & mask) {
        uint64_t *slot = &t->slot[i];
        if (*slot == 0) return slot;
        if (*slot >> 32 << 32 == *tag && same(of, (int64_t)(uint32_t)*slot - 1, key)) return slot;
    }
}

int64_t table_put(HashTable *t, Str key, int64_t i, TableSame *same, const void *of) {
    uint64_t tag, *slot = slot_of(t, key, same, of, &tag);
    if (*slot == 0) {
        CHECK(3 * ++t->n <= 2 * t->slots);
        *slot = tag | (uint64_t)(i + 1);
    }
    return (int64_t)(uint32_t)*slot - 1;
}

int64_t table_find(const HashTable *t, Str key, TableSame *same, const void *of) {
    uint64_t tag;
    return t->slots ? (int64_t)(uint32_t)*slot_of(t, key, same, of, &tag) - 1 : -1;
}
