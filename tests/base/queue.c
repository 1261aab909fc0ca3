/* queue.c -- tests of the bounded queue: order, refusal, timeouts, closing, and several threads
 * that push to one that pops. Under SAN=thread they also show that nothing is shared without the
 * lock. */
#define _GNU_SOURCE
#include "tests.h"
#include <pthread.h>
#include <sched.h>

typedef struct Item {
    int64_t producer, number;
    char text[12]; /* copied whole */
} Item;

static void what_went_in_comes_out(void **state) {
    (void)state;
    Arena *a = arena_open("queue", 1 << 20);
    Queue *q = queue_new(a, 3, sizeof(Item));
    int64_t pushed = 0, popped = 0;
    for (int round = 0; round < 50; round++) { /* 2 in, 2 out: the ring goes round */
        Item in = {round, 0, "abcdefghijk"}, out;
        for (; pushed < 2 * round + 2; pushed++) {
            in.number = pushed;
            assert_true(queue_try_push(q, &in));
        }
        for (; popped < pushed; popped++) {
            memset(&out, 0, sizeof out);
            assert_int_equal(queue_pop(q, &out, 0), QUEUE_ITEM);
            assert_int_equal(out.number, popped);
            assert_string_equal(out.text, "abcdefghijk");
        }
    }
    arena_close(a);
}

static void a_full_queue_refuses(void **state) {
    (void)state;
    Arena *a = arena_open("queue", 1 << 20);
    Queue *q = queue_new(a, 3, sizeof(int64_t));
    int64_t x = 0;
    for (; x < 3; x++) assert_true(queue_try_push(q, &x));
    assert_false(queue_try_push(q, &x));
    assert_int_equal(queue_pop(q, &x, 0), QUEUE_ITEM);
    assert_int_equal(x, 0);
    x = 7;
    assert_true(queue_try_push(q, &x));
    assert_false(queue_try_push(q, &x));
    for (int64_t i = 1; i < 3; i++) {
        assert_int_equal(queue_pop(q, &x, 0), QUEUE_ITEM);
        assert_int_equal(x, i);
    }
    assert_int_equal(queue_pop(q, &x, 0), QUEUE_ITEM);
    assert_int_equal(x, 7);
    arena_close(a);
}

static void an_empty_queue_waits_so_long(void **state) {
    (void)state;
    Arena *a = arena_open("queue", 1 << 20);
    Queue *q = queue_new(a, 1, sizeof(int64_t));
    int64_t x = 5;
    double start = os_now();
    assert_int_equal(queue_pop(q, &x, 0.05), QUEUE_TIMEOUT);
    assert_true(os_now() - start >= 0.05);
    assert_int_equal(queue_pop(q, &x, -1), QUEUE_TIMEOUT);
    assert_int_equal(x, 5); /* untouched */
    arena_close(a);
}

static void a_closed_queue_gives_what_it_has(void **state) {
    (void)state;
    Arena *a = arena_open("queue", 1 << 20);
    Queue *q = queue_new(a, 2, sizeof(int64_t));
    int64_t x = 1;
    assert_true(queue_try_push(q, &x));
    queue_close(q);
    assert_false(queue_try_push(q, &x));
    assert_int_equal(queue_pop(q, &x, 1e300), QUEUE_ITEM);
    assert_int_equal(queue_pop(q, &x, 1e300), QUEUE_CLOSED);
    assert_int_equal(queue_pop(q, &x, 0), QUEUE_CLOSED);
    arena_close(a);
}

/* ---- threads --------------------------------------------------------------------------------- */

enum { PRODUCERS = 4 };

typedef struct Producer {
    Queue *q;
    int64_t i, items, refused;
    int64_t *cell; /* written before the push, read after the pop: the queue orders them */
    pthread_t thread;
} Producer;

static void *produce(void *arg) {
    Producer *p = arg;
    for (int64_t n = 0; n < p->items; n++) {
        Item item = {p->i, n, "?"};
        p->cell[n] = n * 3 + p->i;
        while (!queue_try_push(p->q, &item)) {
            p->refused++;
            sched_yield();
        }
    }
    return NULL;
}

static void many_push_and_one_pops(void **state) {
    (void)state;
    int64_t items = full_run() ? 20000 : 3000;
    Arena *a = arena_open("queue", 1 << 24);
    Queue *q = queue_new(a, 5, sizeof(Item));
    Producer p[PRODUCERS];
    int64_t next[PRODUCERS] = {0}, refused = 0;
    for (int64_t i = 0; i < PRODUCERS; i++) {
        p[i] = (Producer){.q = q, .i = i, .items = items, .cell = PUSH(a, int64_t, items)};
        assert_int_equal(pthread_create(&p[i].thread, NULL, produce, &p[i]), 0);
    }
    for (int64_t n = 0; n < PRODUCERS * items; n++) {
        Item got;
        assert_int_equal(queue_pop(q, &got, 60), QUEUE_ITEM);
        assert_int_equal(got.number, next[got.producer]++); /* each producer's in its order */
        assert_int_equal(p[got.producer].cell[got.number], got.number * 3 + got.producer);
    }
    for (int64_t i = 0; i < PRODUCERS; i++) {
        pthread_join(p[i].thread, NULL);
        refused += p[i].refused;
    }
    assert_int_equal(queue_pop(q, &(Item){0}, 0), QUEUE_TIMEOUT);
    assert_true(refused > 0); /* it was full at times */
    arena_close(a);
}

static void *close_later(void *arg) {
    for (double end = os_now() + 0.02; os_now() < end;) sched_yield();
    queue_close(arg);
    return NULL;
}

static void closing_wakes_who_waits(void **state) {
    (void)state;
    Arena *a = arena_open("queue", 1 << 20);
    Queue *q = queue_new(a, 1, sizeof(int64_t));
    int64_t x;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, close_later, q), 0);
    double start = os_now();
    assert_int_equal(queue_pop(q, &x, 600), QUEUE_CLOSED);
    assert_true(os_now() - start < 300);
    pthread_join(thread, NULL);
    arena_close(a);
}

int test_queue(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_went_in_comes_out),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(an_empty_queue_waits_so_long),
        cmocka_unit_test(a_closed_queue_gives_what_it_has),
        cmocka_unit_test(many_push_and_one_pops),
        cmocka_unit_test(closing_wakes_who_waits),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
