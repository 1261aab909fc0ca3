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
    uint64_t sum[64][LINE]; /* of each thread: what is read must be used, or it is not read */
};

/* Memory that nobody wrote is one page of zeros, which would be read from a cache. */
Reading *reading_new(Arena *a, int64_t bytes) {
    CHECK(bytes > 0 && bytes % (LINE * 8) == 0);
    Reading *r = PUSH(a, Reading, 1);
    r->words = bytes / 8;
    r->p = memset(arena_push(a, bytes), 1, (size_t)bytes);
    return r;
}

static void reading_thread(Thread th, void *arg) {
    Reading *r = arg;
    const Range part = thread_range_by(th, r->words, LINE);
    for (int64_t i = 0; i < r->rounds; i++) {
        uint64_t s[LINE] = {0};
        thread_sync(th);
        const double start = os_now();
        for (int64_t j = part.lo; j < part.hi; j += LINE)
            for (int q = 0; q < LINE; q++) s[q] += r->p[j + q];
        memcpy(r->sum[th.i], s, sizeof s);
        thread_sync(th);
        if (th.i == 0) times_add(r->time, os_now() - start);
    }
}

void reading_run(Team *team, Reading *r, int64_t rounds, Times *t) {
    r->rounds = rounds, r->time = t;
    team_run(team, reading_thread, r);
}
