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
