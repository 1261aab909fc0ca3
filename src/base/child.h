/* child.h -- part of base.h: a program beside this one that answers line by line. */
#pragma once

/* It reads lines from its standard input and writes one line for each to its standard output. What
 * it writes to its standard error is kept for messages, the end of it. One thread uses a Child. */
typedef struct Child Child;
enum { CHILD_LINE = 1 << 20 }; /* most bytes of an answer */
/* Starts `command` by /bin/sh, in a process group of its own; the Child lives in `a`. */
bool child_open(Child **c, Arena *a, const char *command, Err *err) CHECKED;
/* Sends a line and reads the answer into `a`, both without their line breaks. ERR_IO where the
 * program ended (with its last words), where `seconds` passed, or where the answer is longer than
 * CHILD_LINE: the Child is of no more use then but for child_close. */
bool child_ask(Child *c, Arena *a, Str line, Str *answer, double seconds, Err *err) CHECKED;
/* Ends its input, waits a second, then kills the group. NULL is fine. */
void child_close(Child *c);
