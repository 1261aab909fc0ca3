/* helper.h -- part of base.h: a process of this program for what the program may do no more once it
 * serves (sandbox_calls). */
#pragma once

/* It answers questions, one after the other, until the program ends. Whatever it reads from
 * elsewhere may take it over, so nothing that it answers is believed but as bytes. */
typedef struct Helper Helper;
enum { HELPER_QUESTION = (16 << 20) + 64, HELPER_ANSWER = 2 << 20 }; /* most bytes of each */
typedef enum HelperKind {
    HELPER_CONNECTS, /* to others, and starts no program (sandbox_client) */
    HELPER_STARTS,   /* other processes, and has no network (sandbox_starter); of the variables of
                      * its environment it keeps PATH */
} HelperKind;
/* In the other process; `a` is for this question. */
typedef bool HelperFn(void *arg, Arena *a, Str question, Str *answer, Err *err);
/* Starts it while this process has one thread. It is narrowed before it begins, as far as the
 * kernel can: it does what its kind does, reads what lies beneath /usr, /lib and /etc, and writes
 * no file. It ends when this process does, and by no signal of a terminal. The Helper lives in
 * `a`. */
bool helper_open(Helper **h, Arena *a, HelperKind kind, HelperFn *fn, void *arg, Err *err) CHECKED;
/* One thread at a time. The answer is in `a`; an Err is the helper's own, or ERR_IO where it took
 * more than `seconds`, or has ended: then it is gone, and every later question fails. An answer
 * that comes too late is passed over; the next question waits for it. */
bool helper_ask(Helper *h, Arena *a, Str question, Str *answer, double seconds, Err *err) CHECKED;
bool helper_gone(const Helper *h);
void helper_close(Helper *h); /* NULL is fine */

/* n helpers for the same questions, which any thread may ask. */
typedef struct Helpers Helpers;
typedef struct HelpersSpec {
    HelperKind kind;
    HelperFn *fn;
    void *arg;
    int64_t n;
    const char *at_work; /* what n of them do, for an error: "searches go on" */
} HelpersSpec;
bool helpers_open(Helpers **h, Arena *a, const HelpersSpec *spec, Err *err) CHECKED;
/* As helper_ask, by one that is free; *busy: none was, and the Err is ERR_LIMIT. */
bool helpers_ask(Helpers *h, Arena *a, Str question, Str *answer, double seconds, bool *busy,
                 Err *err) CHECKED;
void helpers_close(Helpers *h); /* NULL is fine */
