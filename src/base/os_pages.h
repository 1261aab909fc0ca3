/* os_pages.h -- private to base/: pages for arenas, from os_pages.c. */
#pragma once
#include <stdint.h>

/* Zeroed memory that costs nothing until it is touched; NULL where the system gives none. */
void *os_pages_map(int64_t bytes);
void os_pages_unmap(void *p, int64_t bytes);
/* Asks for large pages in p.., which are given when they are first touched, if at all. */
void os_pages_large(void *p, int64_t bytes);
