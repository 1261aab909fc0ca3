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

/* ---- guests ---------------------------------------------------------------------------------- */

typedef struct Guests {
    Bundle bundle;
    int opened, shut;
} Guests;

static bool guest_opens(void *arg, const char *path, const char *name, ServeModel *m, Err *err) {
    Guests *g = arg;
    if (!strcmp(path, "bad")) return err_set(err, ERR_FORMAT, "bad: no model");
    *m = (ServeModel){.name = name, .bundle = &g->bundle};
    g->opened++;
    return true;
}

static void guest_shuts(void *arg, const ServeModel *m) {
    (void)m;
    ((Guests *)arg)->shut++;
}

static void guests_come_and_go(void **state) {
    (void)state;
    Guests g = {0};
    Err err = {0};
    char name[20];
    Arena *a = arena_open("guests", 1 << 20);
    const ServeModel own = {.name = "own", .bundle = &g.bundle};
    const ServeSpec spec = {
        .model = &own, .n_models = 1, .open = guest_opens, .shut = guest_shuts, .open_arg = &g};
    Api api = {.spec = &spec, .lock = monitor_new(a)};
    must(hosts_open(&api, a, &err), &err);
    assert_ptr_equal(host_find(&api, STR("run@1")), NULL); /* not there yet */
    for (int i = 0; i < GUESTS; i++) {
        snprintf(name, sizeof name, "run@%d", i);
        must(host_invite(&api, "good", name, &err), &err);
        must(host_invite(&api, "good", name, &err), &err);
    }
    assert_int_equal(g.opened, GUESTS);
    Hosted *first = host_find(&api, STR("run@0")), *second = host_find(&api, STR("run@1"));
    assert_string_equal(first->spec->name, "run@0");
    assert_ptr_equal(host_find(&api, STR("anything")), api.host);
    /* The one that was invited first goes, of those that can. */
    second->state = HOST_IN;
    host_leave(&api, second);
    must(host_invite(&api, "good", "run@8", &err), &err);
    assert_int_equal(g.shut, 1);
    assert_ptr_equal(host_find(&api, STR("run@2")), NULL);
    assert_string_equal(first->spec->name, "run@0");
    host_leave(&api, first);
    must(host_invite(&api, "good", "run@9", &err), &err);
    assert_ptr_equal(host_find(&api, STR("run@0")), NULL);
    /* One that cannot be opened leaves an empty place. */
    assert_false(host_invite(&api, "bad", "run@10", &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_int_equal(g.shut, 3);
    err = (Err){0};
    must(host_invite(&api, "good", "run@11", &err), &err);
    assert_int_equal(g.shut, 3);
    for (int64_t i = 1; i < api.n_hosts; i++) assert_non_null(host_at(&api, i));
    assert_false(host_invite(&api, "good", "run@12", &err));
    assert_int_equal(err.code, ERR_LIMIT);
    /* One that is loaded and that nobody uses is unloaded for it. */
    assert_int_equal(hosts_next(api.host, api.n_hosts, 0, 0).act, HOST_REST);
    host_leave(&api, second);
    err = (Err){0};
    assert_false(host_invite(&api, "good", "run@12", &err));
    const HostOrder next = hosts_next(api.host, api.n_hosts, 0, 0);
    assert_int_equal(next.act, HOST_UNLOAD);
    assert_ptr_equal(next.m, second);
    second->state = HOST_OUT;
    must(host_invite(&api, "good", "run@12", &err), &err);
    assert_ptr_equal(host_find(&api, STR("run@12")), second);
    hosts_close(&api);
    assert_int_equal(g.shut, g.opened);
    arena_close(a);
}

int test_hosted(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rests_while_nobody_waits),
        cmocka_unit_test(loads_what_fits),
        cmocka_unit_test(unloads_for_another_the_one_used_longest_ago),
        cmocka_unit_test(refuses_where_unloading_would_not_do),
        cmocka_unit_test(who_waits_longest_comes_first),
        cmocka_unit_test(idle_ones_are_unloaded),
        cmocka_unit_test(guests_come_and_go),
    };
    return cmocka_run_group_tests_name("serve hosted", tests, NULL, NULL);
}
