/* os_lone.c -- threads of their own, and monitors. */
#define _GNU_SOURCE
#include "base/base.h"

#include <pthread.h>
#include <signal.h>

struct LoneThread {
    pthread_t id;
    void (*fn)(void *arg);
    void *arg;
};
struct Monitor {
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void *lone_main(void *arg) {
    const LoneThread *t = arg;
    t->fn(t->arg);
    return NULL;
}

void lone_without_signals(void (*fn)(void *arg), void *arg) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    fn(arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

typedef struct Start {
    LoneThread *t;
    int failed;
} Start;

static void create(void *arg) {
    Start *s = arg;
    s->failed = pthread_create(&s->t->id, NULL, lone_main, s->t);
}

bool lone_start(LoneThread **out, Arena *a, void (*fn)(void *arg), void *arg, Err *err) {
    Start s = {.t = PUSH(a, LoneThread, 1)};
    *s.t = (LoneThread){.fn = fn, .arg = arg};
    lone_without_signals(create, &s);
    *out = s.failed ? NULL : s.t;
    return !s.failed
           || err_set(err, ERR_LIMIT, "starting a thread: %s (look at ulimit -u)",
                      strerror(s.failed));
}

void lone_join(LoneThread *t) {
    if (t) pthread_join(t->id, NULL);
}

Monitor *monitor_new(Arena *a) {
    Monitor *m = PUSH(a, Monitor, 1);
    CHECK(pthread_mutex_init(&m->lock, NULL) == 0 && pthread_cond_init(&m->changed, NULL) == 0);
    return m;
}

void monitor_enter(Monitor *m) { pthread_mutex_lock(&m->lock); }
void monitor_leave(Monitor *m) { pthread_mutex_unlock(&m->lock); }
void monitor_wait(Monitor *m) { pthread_cond_wait(&m->changed, &m->lock); }
void monitor_wake(Monitor *m) { pthread_cond_broadcast(&m->changed); }
