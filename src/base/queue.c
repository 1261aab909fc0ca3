/* queue.c -- a bounded queue between threads: a ring under one lock.
 *
 * Invariants: n items stand at first, first + 1, ... (modulo capacity); `closed` never goes back.
 * Both change under the lock only. A push wakes the one that pops, a close wakes it for good. The
 * lock is held for the copy of one item, so a push never waits longer than that. */
#define _GNU_SOURCE
#include "base/base.h"
#include <errno.h>
#include <pthread.h>
#include <time.h>

struct Queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t capacity, item_bytes, first, n;
    bool closed;
    uint8_t *item; /* (capacity, item_bytes) */
};

Queue *queue_new(Arena *a, int64_t capacity, int64_t item_bytes) {
    CHECK(capacity > 0 && item_bytes > 0);
    Queue *q = PUSH(a, Queue, 1);
    *q = (Queue){.capacity = capacity, .item_bytes = item_bytes};
    q->item = arena_push(a, capacity * item_bytes);
    pthread_condattr_t clock;
    CHECK(pthread_condattr_init(&clock) == 0
          && pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_mutex_init(&q->lock, NULL) == 0 && pthread_cond_init(&q->changed, &clock) == 0);
    pthread_condattr_destroy(&clock);
    return q;
}

static uint8_t *item_at(const Queue *q, int64_t i) {
    return q->item + (q->first + i) % q->capacity * q->item_bytes;
}

bool queue_try_push(Queue *q, const void *item) {
    pthread_mutex_lock(&q->lock);
    bool fits = !q->closed && q->n < q->capacity;
    if (fits) {
        memcpy(item_at(q, q->n++), item, (size_t)q->item_bytes);
        pthread_cond_signal(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return fits;
}

/* The moment on the monotonic clock that lies `seconds` ahead. */
static struct timespec time_after(double seconds) {
    const double most = 1e9; /* 30 years */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    seconds = seconds > 0 ? MIN(seconds, most) : 0;
    int64_t whole = (int64_t)seconds, ns = t.tv_nsec + (int64_t)((seconds - (double)whole) * 1e9);
    t.tv_sec += whole + ns / 1000000000;
    t.tv_nsec = ns % 1000000000;
    return t;
}

QueueResult queue_pop(Queue *q, void *item, double timeout) {
    const struct timespec end = time_after(timeout);
    pthread_mutex_lock(&q->lock);
    while (q->n == 0 && !q->closed)
        if (pthread_cond_timedwait(&q->changed, &q->lock, &end) == ETIMEDOUT) break;
    QueueResult result = q->n > 0 ? QUEUE_ITEM : q->closed ? QUEUE_CLOSED : QUEUE_TIMEOUT;
    if (result == QUEUE_ITEM) {
        memcpy(item, item_at(q, 0), (size_t)q->item_bytes);
        q->first = (q->first + 1) % q->capacity, q->n--;
    }
    pthread_mutex_unlock(&q->lock);
    return result;
}

void queue_close(Queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}
