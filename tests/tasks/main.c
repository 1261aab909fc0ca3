/* main.c -- runs the groups of tests of tasks/, and keeps what they share. */
#include "tests.h"

#include <stdlib.h>

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

static int by_form(const void *x, const void *y) {
    return strcmp(((const Pair *)x)->form, ((const Pair *)y)->form);
}
static int by_canonical(const void *x, const void *y) {
    return strcmp(((const Pair *)x)->canonical, ((const Pair *)y)->canonical);
}

void pairs_agree(Pair *pair, int64_t n, int64_t same, int64_t across) {
    int64_t found = 0, languages = 0;
    qsort(pair, (size_t)n, sizeof *pair, by_form);
    for (int64_t k = 1; k < n; k++)
        if (!strcmp(pair[k].form, pair[k - 1].form)) {
            assert_string_equal(pair[k].canonical, pair[k - 1].canonical);
            found++, languages += pair[k].zh != pair[k - 1].zh;
        }
    qsort(pair, (size_t)n, sizeof *pair, by_canonical);
    for (int64_t k = 1; k < n; k++)
        if (!strcmp(pair[k].canonical, pair[k - 1].canonical))
            assert_string_equal(pair[k].form, pair[k - 1].form);
    assert_true(found > same && languages > across);
}

int main(void) {
    log_set(LOG_ERROR);
    return (stream_tests() + digits_tests() + countdown_tests() + word_problem_tests()
            + liars_tests() + about_tests() + file_tests() + attack_tests())
           != 0;
}
