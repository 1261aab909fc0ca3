/* terminal.h -- a person at a terminal, for tests: runs a program or a function in a
 * pseudo-terminal, types, and reads what it shows. */
#pragma once
#include "base/base.h"
#include <sys/types.h>

typedef struct Terminal {
    int fd;
    pid_t pid;
    Buf said; /* all that was shown so far; terminated behind its end */
} Terminal;
/* Starts fn(arg), or argv where fn is NULL, at a terminal of `columns`, in `a`. */
void terminal_open(Terminal *t, Arena *a, int columns, void (*fn)(void *arg), void *arg,
                   char *const argv[]);
void terminal_type(Terminal *t, Str bytes);
/* Reads until `text` stands behind the first `from` bytes; returns where it ends. The test fails
 * when it has not come after a minute, or the program ends without. */
int64_t terminal_wait(Terminal *t, int64_t from, const char *text);
int terminal_close(Terminal *t); /* reads to the end; the exit code, or 128 + a signal */
