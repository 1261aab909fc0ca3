/* log.c -- tests of log lines and progress, as a child process says them to a pipe (no
 * terminal). */
#include "tests.h"
#include "support/terminal.h"

static void say_levels(void *arg) {
    (void)arg;
    log_at(LOG_INFO, "one %d", 1);
    log_at(LOG_DEBUG, "hidden");
    log_set(LOG_ERROR);
    log_at(LOG_WARN, "hidden too");
    log_at(LOG_ERROR, "two");
}

static void test_levels(void **state) {
    (void)state;
    char said[1000];
    assert_int_equal(child(say_levels, NULL, said, sizeof said), 0);
    assert_string_equal(said, "lisao: one 1\nlisao: error: two\n");
}

/* Time is moved by hand: `start` and `shown` lie as far back as the case wants. */
static void progress(void *arg) {
    Progress p;
    (void)arg;
    progress_start(&p, "train", "step", 200);
    progress_at(&p, 1, NULL); /* under a second: nothing */
    progress_end(&p);
    p.start -= 5;
    progress_at(&p, 40, NULL); /* 10 s are not over: nothing */
    p.start -= 15;
    p.shown -= 20;
    progress_at(&p, 50, "loss 3.21");
    progress_at(&p, 60, NULL); /* the next line has time */
    p.done = 200;
    progress_end(&p);
    progress_end(&p);
}

static void test_lines(void **state) {
    (void)state;
    char said[1000];
    assert_int_equal(child(progress, NULL, said, sizeof said), 0);
    const char *first = "lisao: train  25% 50 of 200 steps, 2.50 steps/s, ETA 1:00, loss 3.21\n";
    const char *last = "lisao: train 100% 200 of 200 steps, ";
    if (strncmp(said, first, strlen(first))) fail_msg("%s", said);
    if (strncmp(said + strlen(first), last, strlen(last))) fail_msg("%s", said);
    double rate =
        strtod(said + strlen(first) + strlen(last), NULL); /* 200 in 20 s, or a bit more */
    assert_true(rate > 5 && rate <= 10);
    assert_int_equal(said[strlen(said) - 1], '\n');
}

/* What was said last is not said again at the end. */
static void finished(void *arg) {
    Progress p;
    (void)arg;
    progress_start(&p, "run", "line", 1);
    p.start -= 100;
    p.shown -= 100;
    progress_at(&p, 1, NULL);
    progress_end(&p);
}

static void test_end(void **state) {
    (void)state;
    char said[1000];
    assert_int_equal(child(finished, NULL, said, sizeof said), 0);
    assert_string_equal(said, "lisao: run 100% 1 of 1 line, 0.01 lines/s\n");
}

static void bytes(void *arg) {
    Progress p;
    (void)arg;
    progress_start(&p, "load", "B", 0);
    p.start -= 100;
    p.shown -= 100;
    p.first = 1000000;
    progress_at(&p, 2345678901, NULL);
}

static void test_bytes(void **state) {
    (void)state;
    char said[1000];
    assert_int_equal(child(bytes, NULL, said, sizeof said), 0);
    assert_string_equal(said, "lisao: load 2.35 GB, 23.4 MB/s\n");
}

/* A line that is wider than the terminal loses its bar, then its rate, then whole figures; the last
 * line still has the figures of the last step. */
static void wide(void *arg) {
    Progress p;
    (void)arg;
    progress_start(&p, "train", "step", 2000);
    p.start -= 199900; /* some seconds more or less would show nowhere */
    p.shown -= 100;
    progress_at(&p, 1999, "loss 3.2145, 5210 tokens/s, gradient 0.52");
    progress_end(&p);
}

static void test_width(void **state) {
    (void)state;
    static const struct {
        int columns;
        const char *line;
    } cases[] = {
        {130,
         "\rtrain [=================== ]  99% 1999 of 2000 steps, 0.01 steps/s, ETA 1:40, loss "
         "3.2145, 5210 tokens/s, gradient 0.52\x1b[K"},
        {110,
         "\rtrain  99% 1999 of 2000 steps, 0.01 steps/s, ETA 1:40, loss 3.2145, 5210 tokens/s, "
         "gradient 0.52\x1b[K"},
        {90, "\rtrain  99% 1999 of 2000 steps, ETA 1:40, loss 3.2145, 5210 tokens/s, gradient "
             "0.52\x1b[K"},
        {80, "\rtrain  99% 1999 of 2000 steps, ETA 1:40, loss 3.2145, 5210 tokens/s\x1b[K"},
        {40, "\rtrain  99% 1999 of 2000 steps, ETA 1:40\x1b[K"},
        {39, "\rtrain  99% 1999 of 2000 steps\x1b[K"},
        {24, "\rtrain  99% 1999 of 2000\x1b[K"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Arena *a = arena_open("terminal", 1 << 20);
        Terminal t;
        terminal_open(&t, a, cases[i].columns, wide, NULL, NULL);
        assert_int_equal(terminal_close(&t), 0);
        if (!strstr(t.said.p, cases[i].line))
            fail_msg("%d columns: %.*s", cases[i].columns, STRF(buf_str(&t.said)));
        arena_close(a);
    }
}

int test_log(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_levels), cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_bytes), cmocka_unit_test(test_end),
                                       cmocka_unit_test(test_width)};
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
