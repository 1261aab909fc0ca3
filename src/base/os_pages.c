/* os_pages.c -- pages from the system. It stands below arena.c, on which os.c stands. */
#define _GNU_SOURCE
#include "base/os_pages.h"
#include "base/base.h"
#include <sys/mman.h>

void *os_pages_map(int64_t bytes) {
    void *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Whole ones only: a large page at the border would make its neighbourhood resident, too. */
void os_pages_large(void *p, int64_t bytes) {
    const uintptr_t large = 2 << 20, at = (uintptr_t)p;
    uintptr_t lo = (at + large - 1) / large * large, hi = (at + (uintptr_t)bytes) / large * large;
    if (lo < hi) madvise((void *)lo, hi - lo, MADV_HUGEPAGE); /* refused: it is only slower */
}

void os_pages_unmap(void *p, int64_t bytes) { CHECK(munmap(p, (size_t)bytes) == 0); }
