/* child.h -- what a function does to its process: its messages and how it ends. */
#pragma once
#include <stdint.h>

/* Runs fn(arg) in a child whose stderr is collected; returns its wait status. */
int child(void (*fn)(void *arg), void *arg, char *said, int64_t size);
/* The child ended by abort, having said `text`. */
void assert_aborts(void (*fn)(void *arg), void *arg, const char *text);
