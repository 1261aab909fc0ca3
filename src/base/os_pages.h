/* os_pages.h -- private to base/: address space for arenas, from os.c. */
#pragma once
#include <stdint.h>

/* Zeroed memory that costs nothing until it is touched; NULL where the address space is out. */
void *os_reserve(int64_t bytes);
void os_release(void *p, int64_t bytes);
