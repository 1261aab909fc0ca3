/* bench.h -- what the programs of bench/ share: one CSV row a measurement,
 *     commit,machine,level,threads,what,shape,value,unit
 * with the best and the median of many repetitions, since the machines are shared and noisy. */
#pragma once
#include "base/base.h"
#include "kern/kern.h"
#include "gen/commit.h"
#include <stdio.h>

/* The CPU's name, with commas and spaces out of the way. */
static inline const char *bench_machine(void) {
    static char name[64];
    if (!*name) cpu_name(name);
    for (char *p = name; *p; p++)
        if (*p == ',' || *p == ' ') *p = '_';
    return name;
}

static inline void bench_row(const char *level, int64_t threads, const char *what,
                             const char *shape, double value, const char *unit) {
    printf("%s,%s,%s,%d,%s,%s,%.4g,%s\n", LISAO_COMMIT, bench_machine(), level, (int)threads, what,
           shape, value, unit);
    fflush(stdout);
}
