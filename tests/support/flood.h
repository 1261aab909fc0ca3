/* flood.h -- keys that were made to collide under the hash that tables of names had once, and which
 * anyone could compute: FNV-1a, folded. Under a keyed hash they are like any other keys. */
#pragma once
#include "base/base.h"

/* The next key "t<number>", after number *i, that wants one of the first 16 of 8,192 slots. */
Str flood_key(Arena *a, int64_t *i);
/* The longest run of slots in use, which is what a search may have to walk over. With half of the
 * slots in use it is some dozens by chance; flooded it is all that was put. */
enum { RUN_BY_CHANCE = 200 };
int64_t table_longest_run(const HashTable *t);
