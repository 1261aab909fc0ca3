/* thread.h -- part of base.h: threads that each do something of their own, and what they share. */
#pragma once

/* Unlike those of a Team they have nothing to wait for together and do no arithmetic. Signals stay
 * with the thread that starts them. */
typedef struct LoneThread LoneThread;
/* Runs fn(arg) until it returns; the LoneThread lives in `a`. */
bool lone_start(LoneThread **t, Arena *a, void (*fn)(void *arg), void *arg, Err *err) CHECKED;
void lone_join(LoneThread *t); /* waits for its end; NULL is fine */
/* Calls fn(arg) with all signals blocked, so that threads which it starts leave them alone. */
void lone_without_signals(void (*fn)(void *arg), void *arg);

/* A lock with a place to wait for a change of what it guards. */
typedef struct Monitor Monitor;
Monitor *monitor_new(Arena *a);
void monitor_enter(Monitor *m), monitor_leave(Monitor *m);
void monitor_wait(Monitor *m); /* inside: leaves it until monitor_wake, or for no reason */
void monitor_wake(Monitor *m); /* all that wait */
