/* measure.h -- part of base.h: times of repetitions, where threads spend their time, and how fast
 * they read memory. */
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

/* Where the threads of a team spend their time. The code says what it does next by naming a phase;
 * while profile_on (set it between runs), the seconds since the last phase go to that one's account
 * in the thread. Waiting at a barrier is a phase of its own, so the accounts add up to the threads'
 * whole time. Off, which it is but for the programs of bench/, a phase costs one branch. */
extern bool profile_on;
const char *profile_enter(const char *name);
/* Begins a phase; returns the one before, for a part of it that goes back to it. */
static inline const char *phase(const char *name) {
    return profile_on ? profile_enter(name) : NULL;
}
void profile_thread(int64_t i); /* team.c: the thread is number i of a run that begins */

enum { PHASES_MAX = 64 };
typedef struct PhaseTime {
    const char *name;
    double seconds; /* of all threads together */
} PhaseTime;
void profile_reset(void);
/* Descending; returns their number. Between runs. */
int64_t profile_read(PhaseTime out[PHASES_MAX]);
