/* measure.h -- part of base.h: times of repetitions, and how fast threads read memory. */
#pragma once

/* Seconds of repetitions, ascending. Machines are shared and their clocks move: the best tells what
 * the program can do, the median what it did. */
enum { TIMES_MAX = 1000 };
typedef struct Times {
    double seconds[TIMES_MAX];
    int64_t n;
} Times;
void times_add(Times *t, double seconds); /* those after TIMES_MAX do not count */
double times_best(const Times *t), times_median(const Times *t); /* 0 without any */

/* The read rate of memory is the floor of whatever reads every weight once. All threads of a team
 * together read a block that should be larger than any cache. */
typedef struct Reading Reading;
Reading *reading_new(Arena *a, int64_t bytes); /* a multiple of 64; takes that much */
/* Reads the block `rounds` times, each of them added to *t. */
void reading_run(Team *team, Reading *r, int64_t rounds, Times *t);
