/* profile.h -- part of base.h: where the threads of a team spend their time. */
#pragma once

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
