/* bench.h -- what the programs of bench/ share: one CSV row a measurement,
 *     commit,machine,level,threads,what,shape,value,unit
 * with the best and the median of many repetitions, since the machines are shared and noisy. */
#pragma once
#include "base/base.h"
#include "gen/commit.h"
#include <stdio.h>
#include <stdlib.h>

enum { BENCH_MAX = 1000 };
typedef struct Bench {
    double seconds[BENCH_MAX];
    int64_t n;
} Bench;

static inline int bench_ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline void bench_add(Bench *b, double seconds) {
    if (b->n < BENCH_MAX) b->seconds[b->n++] = seconds;
    qsort(b->seconds, (size_t)b->n, sizeof(double), bench_ascending);
}

static inline double bench_best(const Bench *b) { return b->seconds[0]; }
static inline double bench_median(const Bench *b) { return b->seconds[b->n / 2]; }

/* The CPU's name, with commas and spaces out of the way. */
static inline const char *bench_machine(void) {
    static char name[80];
    char line[256];
    FILE *f = *name ? NULL : fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "model name : %79[^\n]", name) == 1) break;
    if (f) fclose(f);
    for (char *p = name; *p; p++)
        if (*p == ',' || *p == ' ') *p = '_';
    return *name ? name : "unknown";
}

static inline void bench_row(const char *level, int64_t threads, const char *what,
                             const char *shape, double value, const char *unit) {
    printf("%s,%s,%s,%d,%s,%s,%.4g,%s\n", LISAO_COMMIT, bench_machine(), level, (int)threads, what,
           shape, value, unit);
    fflush(stdout);
}

/* ---- reading memory: what all threads together get through ----------------------------------- */

typedef struct Reading {
    const uint64_t *p;
    int64_t words, rounds;
    Bench time; /* of all of it */
    uint64_t sum[64][8];
} Reading;

static inline Reading *reading_new(Arena *a, int64_t bytes) {
    Reading *b = PUSH(a, Reading, 1);
    b->words = bytes / 8;
    b->p = memset(arena_push(a, bytes), 1, (size_t)bytes);
    return b;
}

static inline void reading_thread(Thread th, void *arg) {
    Reading *b = arg;
    Range r = thread_range_by(th, b->words, 8);
    for (int64_t i = 0; i < b->rounds; i++) {
        uint64_t s[8] = {0};
        thread_sync(th);
        double t = os_now();
        for (int64_t j = r.lo; j < r.hi; j += 8)
            for (int q = 0; q < 8; q++) s[q] += b->p[j + q];
        memcpy(b->sum[th.i], s, sizeof s);
        thread_sync(th);
        if (th.i == 0) bench_add(&b->time, os_now() - t);
    }
}

static inline void reading_run(Team *team, Reading *b, int64_t rounds) {
    b->rounds = rounds;
    team_run(team, reading_thread, b);
}
