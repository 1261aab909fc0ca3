/* helper.h -- part of base.h: a process of this program for what the program may do no more once it
 * serves (sandbox_calls). */
#pragma once

/* It answers questions, one after the other, until the program ends. Whatever it reads from
 * elsewhere may take it over, so nothing that it answers is believed but as bytes. */
typedef struct Helper Helper;
enum { HELPER_MOST = 2 << 20 }; /* most bytes of a question and of an answer */
/* In the other process; `a` is for this question. */
typedef bool HelperFn(void *arg, Arena *a, Str question, Str *answer, Err *err);
/* Starts it while this process has one thread. It is narrowed before it begins: it connects to
 * others, reads what lies beneath /usr, /lib and /etc, writes no file and starts no program
 * (sandbox_client; without that where the kernel has it not). It ends when this process does, and
 * by no signal of a terminal. The Helper lives in `a`. */
bool helper_open(Helper **h, Arena *a, HelperFn *fn, void *arg, Err *err) CHECKED;
/* One thread at a time. The answer is in `a`; an Err is the helper's own, or ERR_IO where it took
 * more than `seconds`, or has ended: then it is gone, and every later question fails. An answer
 * that comes too late is passed over; the next question waits for it. */
bool helper_ask(Helper *h, Arena *a, Str question, Str *answer, double seconds, Err *err) CHECKED;
bool helper_gone(const Helper *h);
void helper_close(Helper *h); /* NULL is fine */
