/* measure.c -- times of repetitions, and how fast threads read memory. */
#include "base/base.h"

void times_add(Times *t, double seconds) {
    if (t->n == TIMES_MAX) return;
    int64_t at = t->n++;
    for (; at > 0 && t->seconds[at - 1] > seconds; at--) t->seconds[at] = t->seconds[at - 1];
    t->seconds[at] = seconds;
}

double times_best(const Times *t) { return t->n ? t->seconds[0] : 0; }
double times_median(const Times *t) { return t->n ? t->seconds[t->n / 2] : 0; }

/* ---- reading --------------------------------------------------------------------------------- */

enum { LINE = 8 }; /* words of a cache line */

struct Reading {
    const uint64_t *p; /* (words) */
    int64_t words, rounds;
    Times *time;
    uint64_t sum[64][LINE]; /* [0] of each thread's line: what is read must be used, or it is not */
};

/* In pages like those of weights. Memory that nobody wrote is one page of zeros, which would be
 * read from a cache. */
Reading *reading_new(Arena *a, int64_t bytes) {
    CHECK(bytes > 0 && bytes % (LINE * 8) == 0);
    Reading *r = PUSH(a, Reading, 1);
    Mark mark = arena_mark(a);
    void *p = arena_push(a, bytes);
    arena_large_pages(a, mark);
    r->words = bytes / 8;
    r->p = memset(p, 1, (size_t)bytes);
    return r;
}

/* The sum of n words, whole lines. Sums in memory would wait for their own stores, and this loop,
 * not the memory, would be what is measured. */
static uint64_t words_sum(const uint64_t *p, int64_t n) {
    uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int64_t i = 0; i < n; i += LINE) {
        s0 += p[i] + p[i + 4];
        s1 += p[i + 1] + p[i + 5];
        s2 += p[i + 2] + p[i + 6];
        s3 += p[i + 3] + p[i + 7];
    }
    return s0 + s1 + s2 + s3;
}

static void reading_thread(Thread th, void *arg) {
    Reading *r = arg;
    const Range part = thread_range_by(th, r->words, LINE);
    for (int64_t i = 0; i < r->rounds; i++) {
        thread_sync(th);
        const double start = os_now();
        r->sum[th.i][0] += words_sum(r->p + part.lo, part.hi - part.lo);
        thread_sync(th);
        if (th.i == 0) times_add(r->time, os_now() - start);
    }
}

void reading_run(Team *team, Reading *r, int64_t rounds, Times *t) {
    r->rounds = rounds, r->time = t;
    team_run(team, reading_thread, r);
}
