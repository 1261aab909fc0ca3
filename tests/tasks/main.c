/* main.c -- runs the groups of tests of tasks/, and keeps what they share. */
#include "tests.h"

int arena_setup(void **state) {
    *state = arena_open("test", (int64_t)1 << 32);
    return 0;
}

int arena_teardown(void **state) {
    arena_close(*state);
    return 0;
}

bool takes(const Task *t, const Problem *p, const char *answer) {
    return task_check(t, p, str_of(answer));
}

const Task *task_of(const char *name) {
    const Task *t = NULL;
    Err err = {0};
    if (!task_find(&t, str_of(name), &err)) fail_msg("%s", err.msg);
    return t;
}

int main(void) {
    log_set(LOG_ERROR);
    return (stream_tests() + digits_tests() + countdown_tests() + word_problem_tests()
            + liars_tests() + file_tests() + attack_tests())
           != 0;
}
