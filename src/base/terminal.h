/* terminal.h -- part of base.h: standard input as it comes, from a person or a pipe. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Whether os_input_read would not wait: there are bytes, or the end. Waits for that `seconds` at
 * most, less when interrupted. */
bool os_input_wait(double seconds);
/* 1..n bytes, when there are some; 0 at the end; -1 when interrupted or when it cannot be read. Not
 * to be mixed with stdio's stdin. */
int64_t os_input_read(void *to, int64_t n);

/* While it is on, a terminal on standard input does not show what is typed, keeps every byte of it
 * (by itself it holds a line of 4,095 bytes and loses the rest), and does not throw it away at
 * Ctrl-C. Off: as it was at first; so it is too when a signal ends the program. */
void os_typing_keep(bool on);
