/* arena.c -- memory: a chain of blocks from the system, filled in turn, popped to a mark.
 *
 * A push is contiguous within one block. Where the block in use has no room the next one is taken,
 * or opened, as large as the push and some more: so an arena asks the system for what is pushed and
 * a slack of at most SLACK_MOST, and works under a limit of the address space, under strict
 * overcommit and under sanitizers alike. Who knows how much will be pushed reserves it: one block
 * without slack, or the answer that it cannot be had.
 *
 * Invariants:
 * 1. The Arena stands at the start of its first block. Blocks up to `now` hold what is pushed;
 *    those behind it are kept for the next pushes, and given back when one of them is too small.
 * 2. Marks count the bytes pushed so far: block->start + block->used. A block behind the first is
 *    left as soon as nothing of it is in use.
 * 3. used <= dirty <= size. Memory above `dirty` was never handed out and is zero as the system
 *    gave it; memory below is cleared when it is handed out again. So a push of 40 GB touches
 *    nothing.
 * 4. Under ASan every byte in [0, dirty) that is in no live push is poisoned, at least ZONE bytes
 *    behind each. */
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

enum { LINE = 64, SMALL = 16, SYSTEM_PAGE = 4096 };
enum { SLACK_LEAST = 64 << 10, SLACK_MOST = 16 << 20 };

typedef struct Block {
    struct Block *prev, *next;
    uint8_t *base;
    int64_t start;             /* bytes pushed before the first of this block */
    int64_t used, dirty, size; /* from base */
    int64_t mapped;            /* from the block itself */
} Block;

struct Arena {
    char name[48];
    int64_t limit, peak;
    Block *now;
};

enum { HEAD = 64, FIRST_HEAD = 192 }; /* bytes before the base; the first block has the Arena too */
_Static_assert(sizeof(Block) <= HEAD, "the memory begins behind the Block");
_Static_assert(sizeof(Block) + sizeof(Arena) <= FIRST_HEAD, "... and behind the Arena");

/* ---- blocks ---------------------------------------------------------------------------------- */

/* A block of at least `size` bytes; NULL where the system gives none. */
static Block *block_open(int64_t head, int64_t size) {
    int64_t mapped = round_up(head + size, SYSTEM_PAGE);
    Block *b = os_pages_map(mapped);
    if (b) *b = (Block){.base = (uint8_t *)b + head, .size = mapped - head, .mapped = mapped};
    return b;
}

static void block_close(Block *b) {
    UNPOISON(b->base, (size_t)b->dirty);
    os_pages_unmap(b, b->mapped);
}

/* Where a push of `bytes` would begin in b, and end with its red zone. */
static int64_t push_begin(const Block *b, int64_t bytes) {
    return round_up(b->used, bytes >= LINE ? LINE : SMALL);
}
static int64_t push_end(const Block *b, int64_t bytes) {
    return push_begin(b, bytes) + round_up(MAX(bytes, 1), SMALL) + ZONE;
}

/* The block behind the one in use, with room for `need` bytes; a new one with at most `slack` more,
 * if they are to be had. What is too small is given back: the chain of an arena that is filled and
 * popped again and again grows fewer and larger. */
static Block *block_next(Arena *a, int64_t need, int64_t slack) {
    Block *now = a->now, *next;
    int64_t start = now->start + now->used;
    if (need > a->limit - start) return NULL;
    while ((next = now->next) && next->size < need) {
        now->next = next->next;
        block_close(next);
    }
    if (!next) {
        next = block_open(HEAD, MIN(need + slack, a->limit - start));
        if (!next) next = block_open(HEAD, need);
        if (!next) return NULL;
        now->next = next;
    } else if (next->next) {
        next->next->prev = next;
    }
    next->prev = now;
    next->start = start;
    return next;
}

/* ---- arenas ---------------------------------------------------------------------------------- */

static _Noreturn void out_of_memory(const char *name, int64_t bytes, int64_t used) {
    fprintf(stderr,
            "lisao: arena '%s': the system gives no %lld bytes beside the %lld in use (look at "
            "ulimit -v and vm.overcommit_memory, or ask for less)\n",
            name, (long long)bytes, (long long)used);
    abort();
}

Arena *arena_open(const char *name, int64_t limit) {
    CHECK(limit >= 0 && limit <= ARENA_NO_LIMIT);
    int64_t bytes = round_up(FIRST_HEAD + limit + ZONE, SYSTEM_PAGE) - FIRST_HEAD;
    Block *b = block_open(FIRST_HEAD, MIN(bytes, SLACK_LEAST - FIRST_HEAD));
    if (!b) out_of_memory(name, SLACK_LEAST, 0);
    Arena *a = (Arena *)(void *)((uint8_t *)b + sizeof(Block));
    *a = (Arena){.limit = bytes, .now = b};
    snprintf(a->name, sizeof a->name, "%s", name);
    return a;
}

void arena_close(Arena *a) {
    if (!a) return;
    Block *b = a->now;
    while (b->next) b = b->next;
    for (Block *prev; b; b = prev) { /* the first is the last: it has the Arena */
        prev = b->prev;
        block_close(b);
    }
}

void *arena_try(Arena *a, int64_t bytes) {
    if (bytes < 0 || bytes > a->limit) return NULL;
    Block *b = a->now;
    if (push_end(b, bytes) > b->size) {
        int64_t slack = MIN(MAX(arena_used(a) / 4, SLACK_LEAST), SLACK_MOST);
        b = block_next(a, push_end(&(Block){0}, bytes), slack);
        if (!b) return NULL;
    }
    int64_t at = push_begin(b, bytes), end = push_end(b, bytes);
    if (end > a->limit - b->start) return NULL;

    uint8_t *p = b->base + at;
    int64_t old = MIN(end, b->dirty) - at; /* the part that was handed out before */
    a->now = b;
    b->used = end;
    b->dirty = MAX(b->dirty, end);
    a->peak = MAX(a->peak, b->start + end);
    UNPOISON(p, (size_t)bytes);
    if (old > 0) memset(p, 0, (size_t)MIN(old, bytes));
    POISON(p + bytes, (size_t)(end - at - bytes));
    return p;
}

bool arena_reserve(Arena *a, int64_t bytes) {
    return push_end(a->now, bytes) <= a->now->size
           || block_next(a, push_end(&(Block){0}, bytes), 0) != NULL;
}

void *arena_push(Arena *a, int64_t bytes) {
    void *p = arena_try(a, bytes);
    if (p) return p;
    int64_t used = arena_used(a);
    if (bytes >= 0 && bytes < a->limit - used - LINE - ZONE) out_of_memory(a->name, bytes, used);
    fprintf(stderr, "lisao: arena '%s' is full: %lld bytes wanted, %lld of %lld in use\n", a->name,
            (long long)bytes, (long long)used, (long long)a->limit);
    abort();
}

Mark arena_mark(const Arena *a) { return (Mark){arena_used(a)}; }

void arena_pop(Arena *a, Mark m) {
    CHECK(m.used >= 0 && m.used <= arena_used(a));
    Block *b = a->now;
    for (; b->prev && m.used <= b->start; b = b->prev) {
        POISON(b->base, (size_t)b->used);
        b->used = 0;
    }
    int64_t used = m.used - b->start;
    POISON(b->base + used, (size_t)(b->used - used));
    b->used = used;
    a->now = b;
}

void arena_large_pages(Arena *a, Mark from) {
    CHECK(from.used >= 0 && from.used <= arena_used(a));
    for (Block *b = a->now;; b = b->prev) {
        int64_t lo = MAX(from.used - b->start, 0);
        os_pages_large(b->base + lo, b->used - lo);
        if (!b->prev || from.used > b->start) return;
    }
}

int64_t arena_used(const Arena *a) { return a->now->start + a->now->used; }
int64_t arena_peak(const Arena *a) { return a->peak; }
