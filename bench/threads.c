/* threads.c -- what threads cost: one thread_sync, one team_run, and work cut by syncs, alone and
 * beside a busy process. */
#define _GNU_SOURCE
#include "bench.h"
#include <signal.h>
#include <unistd.h>

enum { SYNCS = 1000, TIMES = 100 };

static void sync_only(Thread th, void *arg) {
    (void)arg;
    for (int i = 0; i < SYNCS; i++) thread_sync(th);
}

static void nothing(Thread th, void *arg) { (void)th, (void)arg; }

/* 300 parts of about 30 us in all threads together, as the ops of a decode step are. */
static void parts(Thread th, void *arg) {
    double *sums = arg;
    for (int i = 0; i < 300; i++) {
        Range r = thread_range(th, 20000);
        double s = sums[8 * th.i];
        for (int64_t k = r.lo; k < r.hi; k++) s = s * 0.999 + (double)k;
        sums[8 * th.i] = s;
        thread_sync(th);
    }
}

/* Seconds of one team_run as rows of best and median, in `unit`s of the name given. */
static void measure(const char *what, const char *shape, Team *t, void (*fn)(Thread, void *),
                    double unit, const char *name) {
    static double sums[64 * 8];
    static Times b;
    char median[40];
    b.n = 0;
    for (int i = 0; i < TIMES; i++) {
        double start = os_now();
        team_run(t, fn, sums);
        times_add(&b, os_now() - start);
    }
    snprintf(median, sizeof median, "%s median", shape);
    bench_row("any", team_threads(t), what, shape, times_best(&b) / unit, name);
    bench_row("any", team_threads(t), what, median, times_median(&b) / unit, name);
}

int main(void) {
    for (int64_t threads = 1; threads <= os_cpus() + 1; threads++) {
        Team *t = team_open(threads);
        measure("thread_sync", "alone", t, sync_only, SYNCS * 1e-6, "us");
        measure("team_run", "alone", t, nothing, 1e-6, "us");
        measure("300 parts", "alone", t, parts, 1e-3, "ms");
        team_close(t);
    }
    pid_t pid = fork();
    if (pid == 0)
        for (;;) {}
    for (int64_t threads = 1; threads <= os_cpus(); threads++) {
        Team *t = team_open(threads);
        measure("300 parts", "beside a busy process", t, parts, 1e-3, "ms");
        team_close(t);
    }
    kill(pid, SIGKILL);
}
