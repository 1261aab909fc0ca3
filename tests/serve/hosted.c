/* hosted.c -- tests of which model is loaded and unloaded next. */
#include "serve/api.h"
#include "tests.h"

enum { A, B, C, MODELS };

/* Of 4, 5 and 3 bytes; A and B are loaded and were used at 10 and 20 seconds. */
typedef struct Harbour {
    ServeModel spec[MODELS];
    Hosted m[MODELS];
} Harbour;

static void harbour_init(Harbour *h) {
    *h = (Harbour){.spec = {{.bytes = 4}, {.bytes = 5}, {.bytes = 3}}};
    for (int i = 0; i < MODELS; i++) h->m[i].spec = &h->spec[i];
    h->m[A].state = h->m[B].state = HOST_IN;
    h->m[A].used = 10, h->m[B].used = 20;
}

static void must_be(Harbour *h, int64_t memory, double now, HostAct act, int64_t which) {
    const HostOrder o = hosts_next(h->m, MODELS, memory, now);
    assert_int_equal(o.act, act);
    assert_ptr_equal(o.m, which < 0 ? NULL : &h->m[which]);
}

static void rests_while_nobody_waits(void **state) {
    (void)state;
    Harbour h;
    harbour_init(&h);
    must_be(&h, 9, 1e9, HOST_REST, -1);
    h.m[A].jobs = 1;
    must_be(&h, 0, 1e9, HOST_REST, -1); /* memory that has become less takes nothing back */
}

static void loads_what_fits(void **state) {
    (void)state;
    Harbour h;
    harbour_init(&h);
    h.m[C].held = 1;
    must_be(&h, 12, 30, HOST_LOAD, C);
    assert_int_equal(hosts_next(h.m, MODELS, 13, 30).limit, 4); /* what the others leave */
    h.m[B].state = HOST_LOADING;                                /* one thing at a time */
    must_be(&h, 100, 30, HOST_REST, -1);
    h.m[B].state = HOST_LEAVING;
    must_be(&h, 100, 30, HOST_REST, -1);
}

static void unloads_for_another_the_one_used_longest_ago(void **state) {
    (void)state;
    Harbour h;
    harbour_init(&h);
    h.m[C].held = 1;
    must_be(&h, 11, 30, HOST_UNLOAD, A);
    h.m[A].used = 25;
    must_be(&h, 11, 30, HOST_UNLOAD, B);
    h.m[B].jobs = 1; /* not one that answers */
    must_be(&h, 11, 30, HOST_UNLOAD, A);
    h.m[B].jobs = 0, h.m[B].held = 1; /* nor one that is about to */
    must_be(&h, 11, 30, HOST_UNLOAD, A);
}

static void refuses_where_unloading_would_not_do(void **state) {
    (void)state;
    Harbour h;
    harbour_init(&h);
    h.m[C].held = 1, h.m[B].jobs = 1;
    must_be(&h, 7, 30, HOST_REFUSE, C); /* and A, which is idle, stays */
    assert_int_equal(hosts_next(h.m, MODELS, 7, 30).busy, 5);
    h.m[A].jobs = 1;
    must_be(&h, 11, 30, HOST_REFUSE, C);
    h.m[A].state = h.m[B].state = HOST_OUT, h.m[A].jobs = h.m[B].jobs = 0;
    must_be(&h, 2, 30, HOST_REFUSE, C); /* less than it needs alone */
}

static void who_waits_longest_comes_first(void **state) {
    (void)state;
    Harbour h;
    harbour_init(&h);
    h.m[A].state = HOST_OUT;
    h.m[A].held = h.m[C].held = 1, h.m[A].since = 28, h.m[C].since = 29;
    must_be(&h, 9, 30, HOST_LOAD, A);
    h.m[C].since = 27;
    must_be(&h, 9, 30, HOST_LOAD, C);
}

static void idle_ones_are_unloaded(void **state) {
    (void)state;
    Harbour h;
    harbour_init(&h);
    h.spec[B].idle = 5;
    must_be(&h, 9, 24.9, HOST_REST, -1);
    must_be(&h, 9, 25, HOST_UNLOAD, B);
    h.m[B].jobs = 1;
    must_be(&h, 9, 1e9, HOST_REST, -1);
    h.m[B].jobs = 0, h.m[B].state = HOST_OUT;
    must_be(&h, 9, 1e9, HOST_REST, -1);
}

int test_hosted(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rests_while_nobody_waits),
        cmocka_unit_test(loads_what_fits),
        cmocka_unit_test(unloads_for_another_the_one_used_longest_ago),
        cmocka_unit_test(refuses_where_unloading_would_not_do),
        cmocka_unit_test(who_waits_longest_comes_first),
        cmocka_unit_test(idle_ones_are_unloaded),
    };
    return cmocka_run_group_tests_name("serve hosted", tests, NULL, NULL);
}
