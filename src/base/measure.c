/* measure.c -- times of repetitions, phases of threads, and how fast they read memory. */
#include "base/base.h"
#include <stdlib.h>

void times_add(Times *t, double seconds) {
    if (t->n == TIMES_MAX) return;
    int64_t at = t->n++;
    for (; at > 0 && t->seconds[at - 1] > seconds; at--) t->seconds[at] = t->seconds[at - 1];
    t->seconds[at] = seconds;
}

double times_best(const Times *t) { return t->n ? t->seconds[0] : 0; }
double times_median(const Times *t) { return t->n ? t->seconds[t->n / 2] : 0; }

/* ---- phases ---------------------------------------------------------------------------------- */

/* A thread's accounts. Names are found by their address; the same name may have several. */
typedef struct Account {
    _Alignas(64) PhaseTime phase[PHASES_MAX];
    int64_t n;
    const char *now; /* NULL: the thread is not in a run */
    double since;
} Account;

enum { ACCOUNTS = 64 }; /* most threads of a team */
bool profile_on;
static Account accounts[ACCOUNTS];
static _Thread_local Account *own_account;

static PhaseTime *phase_find(PhaseTime *phases, int64_t *n, const char *name) {
    for (int64_t i = 0; i < *n; i++)
        if (phases[i].name == name) return &phases[i];
    CHECK(*n < PHASES_MAX);
    phases[*n] = (PhaseTime){.name = name};
    return &phases[(*n)++];
}

const char *profile_enter(const char *name) {
    Account *a = own_account;
    if (!a) return NULL;
    const double now = os_now();
    const char *before = a->now;
    if (before) phase_find(a->phase, &a->n, before)->seconds += now - a->since;
    a->now = name, a->since = now;
    return before;
}

void profile_thread(int64_t i) {
    CHECK(i >= 0 && i < ACCOUNTS);
    own_account = &accounts[i];
    own_account->now = NULL;
}

void profile_reset(void) {
    for (int64_t i = 0; i < ACCOUNTS; i++) accounts[i].n = 0;
}

static int phases_compare(const void *a, const void *b) {
    const double x = ((const PhaseTime *)a)->seconds, y = ((const PhaseTime *)b)->seconds;
    return (x < y) - (x > y);
}

int64_t profile_read(PhaseTime out[PHASES_MAX]) {
    int64_t n = 0;
    for (int64_t i = 0; i < ACCOUNTS; i++)
        for (int64_t j = 0; j < accounts[i].n; j++) {
            const PhaseTime *p = &accounts[i].phase[j];
            int64_t k = 0;
            while (k < n && strcmp(out[k].name, p->name) != 0) k++;
            phase_find(out, &n, k < n ? out[k].name : p->name)->seconds += p->seconds;
        }
    qsort(out, (size_t)n, sizeof *out, phases_compare);
    return n;
}

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
