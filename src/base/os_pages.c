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

void os_pages_unmap(void *p, int64_t bytes) { CHECK(munmap(p, (size_t)bytes) == 0); }
