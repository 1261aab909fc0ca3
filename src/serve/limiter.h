/* limiter.h -- private to serve/: how much a key may ask for, in memory. Times are those of os_now;
 * nothing here looks at a clock. Threads: one at a time. */
#pragma once
#include "serve/keys.h"

typedef struct Limiter Limiter;
/* Knows the last `most` ids that had something to do; who is forgotten begins anew. */
Limiter *limiter_new(Arena *a, int64_t most);
/* 0: the request may go on, is counted and runs until limiter_done. Else nothing is counted, and
 * the same may go on in so many seconds at the earliest. `tokens`: of its prompt. What is larger
 * than a limit as a whole may go on when all of the limit is there. */
double limiter_admit(Limiter *l, int64_t id, const KeyLimits *limits, int64_t tokens, double now);
/* The same for a request whose tokens are not known yet and that is counted later, if at all: 0, or
 * how long the limits of requests and tokens refuse any. */
double limiter_wait(Limiter *l, int64_t id, const KeyLimits *limits, double now);
/* Tokens that were made: they are owed, and later requests wait for them. */
void limiter_spend(Limiter *l, int64_t id, const KeyLimits *limits, int64_t tokens, double now);
void limiter_done(Limiter *l, int64_t id);
