/* table.h -- part of the public header of base/, which includes it: the hash table. */
#pragma once

/* The one hash table: from keys, which the caller keeps, to their indices. Its hash has a random
 * key (base/table.c), on which no answer depends. put: i, or who has the key. find: -1 if none. */
typedef struct HashTable {
    uint64_t *slot, key[2];
    int64_t slots, n;
} HashTable;
typedef bool TableSame(const void *of, int64_t i, Str key); /* index i has the key */
bool table_init(HashTable *t, Arena *a, int64_t n); /* for n keys; false when the arena is full */
int64_t table_put(HashTable *t, Str key, int64_t i, TableSame *same, const void *of);
int64_t table_find(const HashTable *t, Str key, TableSame *same, const void *of);
uint64_t table_hash(const HashTable *t, Str key); /* SipHash-1-3 */
