/* team.c -- tests of threads: shares, barriers, CPUs, float mode. */
#define _GNU_SOURCE
#include "tests.h"
#include <pthread.h>
#include <sched.h>

enum { THREADS = 5 };

static void test_ranges(void **state) {
    (void)state;
    for (int64_t threads = 1; threads <= 7; threads++)
        for (int64_t n = 0; n < 60; n++)
            for (int64_t step = 1; step <= 17; step += 4) {
                int64_t at = 0, least = n, most = 0;
                for (int64_t i = 0; i < threads; i++) {
                    Thread l = {i, threads, NULL};
                    Range r = thread_range_by(l, n, step), whole = thread_range(l, n);
                    assert_int_equal(r.lo, at);
                    assert_true(r.hi >= r.lo && (r.hi % step == 0 || r.hi == n));
                    if (step == 1) assert_true(r.lo == whole.lo && r.hi == whole.hi);
                    at = r.hi;
                    least = MIN(least, whole.hi - whole.lo);
                    most = MAX(most, whole.hi - whole.lo);
                }
                assert_int_equal(at, n);
                assert_true(most - least <= 1);
            }
}

/* Every thread runs once, with its own number. */
static void count_thread(Thread th, void *arg) { ((int64_t *)arg)[th.i] += 100 + th.n; }

static void test_run(void **state) {
    (void)state;
    for (int64_t n = 1; n <= THREADS; n++) {
        Team *t = team_open(n);
        int64_t seen[THREADS] = {0};
        assert_int_equal(team_threads(t), n);
        for (int round = 0; round < 50; round++) team_run(t, count_thread, seen);
        for (int64_t i = 0; i < THREADS; i++) assert_int_equal(seen[i], i < n ? 50 * (100 + n) : 0);
        team_close(t);
    }
}

/* Between two barriers every thread writes its cell from what all threads wrote before the first
 * one: plain memory, so a barrier that lets one thread through early gives a wrong number (and a
 * report under TSan). */
typedef struct Relay {
    int64_t rounds, cell[2][THREADS];
    bool sleepy;
} Relay;

static void relay(Thread th, void *arg) {
    Relay *r = arg;
    for (int64_t k = 0; k < r->rounds; k++) {
        int64_t sum = 0;
        for (int64_t i = 0; i < th.n; i++) sum += r->cell[k % 2][i];
        r->cell[(k + 1) % 2][th.i] = (sum + th.i) % 1000003;
        if (r->sleepy && (k + th.i) % 50 == 0) /* longer than anyone spins: the others sleep */
            for (double end = os_now() + 2e-4; os_now() < end;) {}
        thread_sync(th);
    }
}

static void test_barrier(void **state) {
    (void)state;
    for (int64_t n = 1; n <= THREADS; n++)
        for (int sleepy = 0; sleepy < 2; sleepy++) {
            Relay r = {.rounds = full_run() ? 20000 : 2000, .sleepy = sleepy}, want = r;
            if (sleepy) r.rounds = want.rounds = 500;
            Team *t = team_open(n);
            team_run(t, relay, &r);
            team_close(t);
            for (int64_t k = 0; k < want.rounds; k++)
                for (int64_t i = 0; i < n; i++) {
                    int64_t sum = i;
                    for (int64_t j = 0; j < n; j++) sum += want.cell[k % 2][j];
                    want.cell[(k + 1) % 2][i] = sum % 1000003;
                }
            assert_memory_equal(r.cell, want.cell, sizeof r.cell);
        }
}

/* Each worker has CPUs of its own, as long as there are enough; the caller keeps all of its own,
 * and so do the threads that it starts beside the team. */
static void note_cpus(Thread th, void *arg) {
    cpu_set_t *sets = arg;
    sched_getaffinity(0, sizeof sets[th.i], &sets[th.i]);
}

static void *beside_cpus(void *set) {
    sched_getaffinity(0, sizeof(cpu_set_t), set);
    return NULL;
}

static void test_cpus(void **state) {
    (void)state;
    cpu_set_t before, after, beside, sets[THREADS], both;
    pthread_t thread;
    sched_getaffinity(0, sizeof before, &before);
    for (int64_t n = 1; n <= MIN(THREADS, os_cpus()); n++) {
        Team *t = team_open(n);
        team_run(t, note_cpus, sets);
        assert_true(CPU_EQUAL(&before, &sets[0]));
        for (int64_t i = 1; i < n; i++) {
            assert_true(CPU_COUNT(&sets[i]) >= CPU_COUNT(&before) / n);
            for (int64_t j = 1; j < i; j++) {
                CPU_AND(&both, &sets[i], &sets[j]);
                assert_int_equal(CPU_COUNT(&both), 0);
            }
        }
        assert_int_equal(pthread_create(&thread, NULL, beside_cpus, &beside), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(CPU_EQUAL(&before, &beside));
        team_close(t);
        sched_getaffinity(0, sizeof after, &after);
        assert_true(CPU_EQUAL(&before, &after));
    }
}

/* Subnormals are zero, as inputs and as results, and 1 + 2^-24 rounds to even, in every thread. */
static void try_floats(Thread th, void *arg) {
    volatile float tiny = f32_of_bits(1), small = 0x1p-100f, one = 1, half_ulp = 0x1p-24f;
    bool daz = tiny * 0x1p100f == 0, ftz = small * small == 0 && small * 0x1p-27f == 0;
    bool nearest = one + half_ulp == 1 && one + 1.5f * half_ulp == 1 + 0x1p-23f;
    ((bool *)arg)[th.i] = daz && ftz && nearest;
}

static void test_float_mode(void **state) {
    (void)state;
    Team *t = team_open(THREADS);
    bool good[THREADS] = {0};
    team_run(t, try_floats, good);
    for (int i = 0; i < THREADS; i++) assert_true(good[i]);
    team_close(t);
}

/* The mode is that of a run: the caller has its own before and after, and so has a thread that it
 * starts beside the team. */
static bool keeps_subnormals(void) {
    volatile float small = 0x1p-100f;
    return small * 0x1p-40f != 0;
}
static void *beside_floats(void *kept) {
    *(bool *)kept = keeps_subnormals();
    return NULL;
}

static void caller_keeps_its_mode(void *arg) {
    bool good[THREADS] = {0}, beside = false;
    pthread_t thread;
    float_mode_leave(*(uint32_t *)arg);
    CHECK(keeps_subnormals());
    Team *t = team_open(THREADS);
    CHECK(keeps_subnormals());
    team_run(t, try_floats, good);
    CHECK(keeps_subnormals());
    for (int i = 0; i < THREADS; i++) CHECK(good[i]);
    CHECK(pthread_create(&thread, NULL, beside_floats, &beside) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && beside);
    team_close(t);
    CHECK(keeps_subnormals());
}

static void mode_is_lost(Thread th, void *arg) {
    if (th.i == th.n - 1) float_mode_leave(*(uint32_t *)arg);
}
static void lose_mode(void *arg) { team_run(team_open(2), mode_is_lost, arg); }

static void test_float_mode_of_caller(void **state) {
    char said[4096];
    uint32_t of_process = *(uint32_t *)*state;
    assert_int_equal(child(caller_keeps_its_mode, &of_process, said, sizeof said), 0);
    assert_aborts(lose_mode, &of_process, "CHECK((mode_get() & MODE_MASK) == MODE)");
}

static void run_again(Thread th, void *arg) {
    (void)arg;
    int64_t seen[THREADS] = {0};
    team_run(th.team, count_thread, seen);
}
static void nest(void *arg) { team_run(arg, run_again, NULL); }

static void test_nested(void **state) {
    (void)state;
    Team *t = team_open(1);
    assert_aborts(nest, t, "CHECK(!t->running)");
    team_close(t);
}

int test_team(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_float_mode),
        cmocka_unit_test_prestate(test_float_mode_of_caller, &process_mode),
        cmocka_unit_test(test_nested),
    };
    return cmocka_run_group_tests_name("team", tests, NULL, NULL);
}
