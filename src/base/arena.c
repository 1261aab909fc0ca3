/* arena.c -- memory: one reservation of address space, filled from the bottom, popped to a mark.
 *
 * Invariants:
 * 1. The Arena stands at the start of its own reservation; blocks follow from HEAD on.
 * 2. used <= dirty = peak <= limit. Memory above `dirty` was never handed out and is zero as the
 *    system gave it; memory below is cleared when it is handed out again. So a push of 40 GB
 *    touches nothing.
 * 3. Under ASan every byte in [0, dirty) that is in no live block is poisoned, at least ZONE
 *    bytes behind each block. (Above `dirty` nothing is: poisoning a large reservation would
 *    touch its shadow.) */
#include "base/base.h"
#include "base/os_pages.h"
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif

#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
enum { ZONE = 64 };
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
enum { ZONE = 0 };
#endif

enum { HEAD = 128, LINE = 64, SMALL = 16 };

struct Arena {
    char name[48];
    int64_t used, dirty, limit; /* offsets from base */
    uint8_t *base;
};
_Static_assert(sizeof(Arena) <= HEAD, "the blocks begin behind the Arena");

Arena *arena_open(const char *name, int64_t reserve_bytes) {
    CHECK(reserve_bytes >= 0 && reserve_bytes < INT64_MAX / 2);
    int64_t bytes = round_up(HEAD + reserve_bytes + ZONE, 4096);
    Arena *a = os_reserve(bytes);
    if (!a) {
        fprintf(stderr,
                "lisao: arena '%s': the system gives no %lld bytes of address space "
                "(look at ulimit -v)\n",
                name, (long long)bytes);
        abort();
    }
    snprintf(a->name, sizeof a->name, "%s", name);
    a->base = (uint8_t *)a + HEAD;
    a->limit = bytes - HEAD;
    return a;
}

void arena_close(Arena *a) {
    if (!a) return;
    UNPOISON(a->base, (size_t)a->dirty);
    os_release(a, a->limit + HEAD);
}

void *arena_try(Arena *a, int64_t bytes) {
    if (bytes < 0 || bytes > a->limit) return NULL;
    int64_t at = round_up(a->used, bytes >= LINE ? LINE : SMALL);
    int64_t end = at + round_up(MAX(bytes, 1), SMALL) + ZONE;
    if (end > a->limit) return NULL;

    uint8_t *p = a->base + at;
    int64_t old = MIN(end, a->dirty) - at; /* the part that was handed out before */
    a->used = end;
    a->dirty = MAX(a->dirty, end);
    UNPOISON(p, (size_t)bytes);
    if (old > 0) memset(p, 0, (size_t)MIN(old, bytes));
    POISON(p + bytes, (size_t)(end - at - bytes));
    return p;
}

void *arena_push(Arena *a, int64_t bytes) {
    void *p = arena_try(a, bytes);
    if (p) return p;
    fprintf(stderr, "lisao: arena '%s' is full: %lld bytes wanted, %lld of %lld in use\n", a->name,
            (long long)bytes, (long long)a->used, (long long)a->limit);
    abort();
}

Mark arena_mark(const Arena *a) { return (Mark){a->used}; }

void arena_pop(Arena *a, Mark m) {
    CHECK(m.used >= 0 && m.used <= a->used);
    POISON(a->base + m.used, (size_t)(a->used - m.used));
    a->used = m.used;
}

int64_t arena_used(const Arena *a) { return a->used; }
int64_t arena_peak(const Arena *a) { return a->dirty; }
