/* team.c -- teams: threads that run one function together, and the barrier between its parts.
 *
 * Invariants:
 * 1. A barrier is a count of arrivals and a phase. The last to arrive zeroes the count, then moves
 *    the phase on; the others wait for the phase to move. Nobody can arrive at the next barrier
 *    before that, so the count is free again in time.
 * 2. Who waits spins first, and not at all when there are more threads than CPUs: a thread that
 *    shares its CPU with a busy neighbour must give it up. How long: see wait_time. Then it sleeps
 *    on the phase by futex. It counts itself among the sleepers before it sleeps, and the kernel
 *    compares the phase again; the waker moves the phase before it looks for sleepers. So no
 *    wake-up is lost.
 * 3. team_run starts the threads by one barrier (they wait in it between runs) and ends by another,
 *    so `fn` and `arg` are written while all threads wait and read after the barrier.
 * 4. The thread that calls is left as it was: its float mode is changed during a run only, its CPUs
 *    never. Threads that it starts later inherit neither.
 * 5. No two workers may use the same CPU, as long as there are enough (worker_place).
 * These orders rest on the sequentially consistent atomics of C11. Atomics are used here only
 * (and for the interrupt flag in os.c). */
#define _GNU_SOURCE
#include "base/base.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THREADS_MAX = 64 };

/* Seconds. A thread that sleeps comes back some 30 us after it was woken, 100 where its CPU is
 * one of a virtual machine and was halted meanwhile, and by then the others wait for it in turn:
 * with spins shorter than that, one sleep leads to the next. Who takes a CPU briefly and often,
 * as HTTP does that refuses a thousand requests a second, then halves what an engine computes.
 * Spins that long, on the other hand, are paid for where another process wants the CPU: the
 * scheduler takes away from the thread the time that it spun for, and its next share of work
 * comes late. The two are told apart by the time spent asleep in spite of long spins: some per
 * cent alone, about half beside a busy process (docs/log.md). */
static const double SPIN = 5e-6, SPIN_CALM = 200e-6;
static const double WINDOW = 10e-3;                          /* over which time asleep is judged */
static const double CROWDED_LEAST = 0.1, CROWDED_MOST = 3.2; /* spins are short for so long then */

/* A thread's time asleep since the window began. */
typedef struct Asleep {
    _Alignas(64) double since, seconds;
} Asleep;

struct Team {
    _Alignas(64) _Atomic uint32_t phase; /* one cache line: what waiting threads read */
    _Atomic uint32_t arrived, sleepers;
    _Alignas(64) _Atomic double calm_from, crowded; /* long spins from then on; CROWDED_ seconds */
    Asleep asleep[THREADS_MAX];
    _Alignas(64) int64_t n;      /* constant, or written while all threads wait */
    bool apart, running, ending; /* apart: there is a CPU for each thread */
    void (*fn)(Thread th, void *arg);
    void *arg;
    Arena *arena;
    cpu_set_t cpus;
    pthread_t thread[THREADS_MAX]; /* [0] is the caller's and not ours */
};
typedef struct Start {
    Team *team;
    int64_t i;
} Start;

/* ---- float mode ------------------------------------------------------------------------------ */

#if defined(__x86_64__)
/* MXCSR: bit 15 FTZ, bits 14-13 rounding (0 nearest), bit 6 DAZ. */
#ifdef VALGRIND
enum { MODE_MASK = 0x6000, MODE = 0 }; /* it knows the rounding only (make valgrind) */
#else
enum { MODE_MASK = 0xe040, MODE = 0x8040 };
#endif
static uint32_t mode_get(void) { return __builtin_ia32_stmxcsr(); }
static void mode_put(uint32_t v) { __builtin_ia32_ldmxcsr(v); }
static void cpu_relax(void) { __builtin_ia32_pause(); }
#elif defined(__aarch64__)
/* FPCR: bit 24 FZ (inputs and results), bits 23-22 rounding (0 nearest). */
enum { MODE_MASK = 0x1c00000, MODE = 0x1000000 };
static uint32_t mode_get(void) {
    uint64_t v;
    __asm__ volatile("mrs %0, fpcr" : "=r"(v));
    return (uint32_t)v;
}
static void mode_put(uint32_t v) { __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)v)); }
static void cpu_relax(void) { __asm__ volatile("yield"); }
#else
#error "team.c: say how this architecture flushes subnormals to zero"
#endif

uint32_t float_mode_enter(void) {
    uint32_t before = mode_get();
    mode_put((before & ~(uint32_t)MODE_MASK) | MODE);
    return before;
}

void float_mode_leave(uint32_t before) { mode_put(before); }

/* ---- the barrier ----------------------------------------------------------------------------- */

static void futex(_Atomic uint32_t *word, int op, uint32_t value) {
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* Seconds to spin for at a barrier that is waited at from now on. */
static double wait_time(Team *t, double now) {
    return now >= atomic_load_explicit(&t->calm_from, memory_order_relaxed) ? SPIN_CALM : SPIN;
}

/* True when the phase moved on within the time. The clock is read now and then: it costs some 20
 * ns. */
static bool phase_spin(Team *t, uint32_t phase) {
    double end = 0, now = 0;
    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&t->phase, memory_order_acquire) != phase) return true;
            cpu_relax();
        }
        now = os_now();
        if (end == 0) end = now + wait_time(t, now);
    } while (now < end);
    return false;
}

/* A thread slept from `from` until now, within a run. Who was asleep for more than a quarter of a
 * window of long spins makes all spin briefly for a while, and twice as long when it happens again
 * soon after. */
static void asleep_judge(Team *t, Asleep *a, double from) {
    double now = os_now(), calm = atomic_load(&t->calm_from);
    if (from < calm) return;
    if (a->since < calm) *a = (Asleep){.since = calm};
    a->seconds += now - from;
    double window = now - a->since;
    if (window < WINDOW) return;
    if (a->seconds > window / 4) {
        double crowded = atomic_load(&t->crowded);
        crowded = now - calm < crowded ? MIN(2 * crowded, CROWDED_MOST) : CROWDED_LEAST;
        atomic_store(&t->crowded, crowded);
        atomic_store(&t->calm_from, now + crowded);
    }
    *a = (Asleep){.since = now};
}

/* a: this thread's, or NULL between runs, where nothing follows from how long it sleeps. */
static void barrier(Team *t, Asleep *a) {
    uint32_t phase = atomic_load(&t->phase);
    if (atomic_fetch_add(&t->arrived, 1) + 1 == t->n) {
        atomic_store(&t->arrived, 0);
        atomic_store(&t->phase, phase + 1);
        if (atomic_load(&t->sleepers)) futex(&t->phase, FUTEX_WAKE, INT_MAX);
        return;
    }
    if (t->apart && phase_spin(t, phase)) return;
    double from = os_now();
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(&t->phase) == phase) futex(&t->phase, FUTEX_WAIT, phase);
    atomic_fetch_sub(&t->sleepers, 1);
    if (a && t->apart) asleep_judge(t, a, from);
}

void thread_sync(Thread th) {
    if (th.n == 1 || !th.team) return;
    const char *now = phase("waiting");
    barrier(th.team, &th.team->asleep[th.i]);
    phase(now);
}

/* ---- a CPU for each worker ------------------------------------------------------------------- */

/* Worker i of n threads may use every n-th CPU (of two threads of a core, mostly, both). Left alone
 * the kernel wakes a thread on the CPU of its waker, unless it knows a free one, and the halted
 * CPUs of a virtual machine do not count as free: two threads shared one CPU for seconds, with the
 * other idle. The caller's thread stays free to go where the workers are not: pinned too, it had to
 * share its CPU with whatever else runs there (docs/log.md). Failure is no harm: it is only
 * slower then. */
static void worker_place(const Team *t, int64_t i) {
    cpu_set_t mine;
    int64_t nth = 0;
    if (!t->apart) return;
    CPU_ZERO(&mine);
    for (int c = 0; c < CPU_SETSIZE; c++)
        if (CPU_ISSET(c, &t->cpus) && nth++ % t->n == i) CPU_SET(c, &mine);
    sched_setaffinity(0, sizeof mine, &mine);
}

/* ---- the team -------------------------------------------------------------------------------- */

static void thread_run(Team *t, int64_t i) {
    CHECK((mode_get() & MODE_MASK) == MODE);
    if (profile_on) profile_thread(i);
    phase("other");
    t->fn((Thread){i, t->n, t}, t->arg);
    phase(NULL);
    CHECK((mode_get() & MODE_MASK) == MODE); /* what fn has called has not changed it */
}

static void *thread_main(void *start) {
    Start s = *(Start *)start;
    float_mode_enter();
    worker_place(s.team, s.i);
    for (;;) {
        barrier(s.team, NULL);
        if (s.team->ending) return NULL;
        thread_run(s.team, s.i);
        barrier(s.team, &s.team->asleep[s.i]);
    }
}

/* Signals stay with the thread that opens the team: the threads are started with all of them
 * blocked. */
static void threads_start(Team *t) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int64_t i = 1; i < t->n; i++) {
        Start *s = PUSH(t->arena, Start, 1);
        *s = (Start){t, i};
        int e = pthread_create(&t->thread[i], NULL, thread_main, s);
        if (e) {
            fprintf(stderr, "lisao: cannot start thread %d of %d: %s (try fewer: --threads)\n",
                    (int)i + 1, (int)t->n, strerror(e));
            abort();
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

Team *team_open(int64_t threads) {
    CHECK(threads >= 1 && threads <= THREADS_MAX);
    Arena *a = arena_open("team", 1 << 16);
    Team *t = PUSH(a, Team, 1);
    t->arena = a;
    t->n = threads;
    t->apart = threads <= os_cpus() && sched_getaffinity(0, sizeof t->cpus, &t->cpus) == 0;
    threads_start(t);
    return t;
}

void team_close(Team *t) {
    if (!t) return;
    CHECK(!t->running);
    t->ending = true;
    if (t->n > 1) barrier(t, NULL);
    for (int64_t i = 1; i < t->n; i++) pthread_join(t->thread[i], NULL);
    arena_close(t->arena);
}

int64_t team_threads(const Team *t) { return t->n; }

void team_run(Team *t, void (*fn)(Thread th, void *arg), void *arg) {
    CHECK(!t->running);
    t->running = true;
    t->fn = fn;
    t->arg = arg;
    Thread th = {0, t->n, t};
    uint32_t before = float_mode_enter();
    thread_sync(th);
    thread_run(t, 0);
    thread_sync(th);
    float_mode_leave(before);
    t->running = false;
}

/* ---- shares ---------------------------------------------------------------------------------- */

/* The first n % l.n threads get one more than the others. */
Range thread_range(Thread th, int64_t n) {
    int64_t each = n / th.n, more = n % th.n, lo = th.i * each + MIN(th.i, more);
    return (Range){lo, lo + each + (th.i < more)};
}

Range thread_range_by(Thread th, int64_t n, int64_t step) {
    Range r = thread_range(th, (n + step - 1) / step);
    return (Range){MIN(n, r.lo * step), MIN(n, r.hi * step)};
}
