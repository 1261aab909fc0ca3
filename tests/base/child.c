/* child.c -- programs that answer lines: in order, long ones, those that die, hang, babble, or end
 * before they are asked. */
#include "tests.h"

static Child *opened(Arena *a, const char *command) {
    Child *c;
    Err err = {0};
    if (!child_open(&c, a, command, &err)) fail_msg("%s", err.msg);
    return c;
}

static void answers_come_in_order(void **state) {
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    Child *c = opened(a, "while read -r x; do echo \"<$x>\"; done");
    (void)state;
    for (int64_t i = 0; i < 50; i++) {
        Str answer;
        Err err = {0};
        const Str line = str_fmt(a, "line %lld", (long long)i);
        if (!child_ask(c, a, line, &answer, 30, &err)) fail_msg("%s", err.msg);
        assert_true(str_eq(answer, str_fmt(a, "<%.*s>", STRF(line))));
    }
    child_close(c);
    arena_close(a);
}

/* Longer than a pipe holds, both ways, while it also fills its standard error. */
static void long_lines_pass(void **state) {
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    Child *c = opened(a, "cat | tee /dev/stderr");
    const int64_t n = 900000;
    char *x = arena_push(a, n);
    Str answer;
    Err err = {0};
    (void)state;
    for (int64_t i = 0; i < n; i++) x[i] = (char)('a' + i % 26);
    if (!child_ask(c, a, (Str){x, n}, &answer, 60, &err)) fail_msg("%s", err.msg);
    assert_true(str_eq(answer, (Str){x, n}));
    child_close(c);
    arena_close(a);
}

static void what_fails_says_why(void **state) {
    static const struct {
        const char *command, *says;
    } cases[] = {
        {"read x; echo no such thing >&2; exit 3",
         "ended with status 3; its last words: \"no such thing\""},
        {"exit 0", "ended with status 0; it wrote nothing to standard error"},
        {"read x; kill -9 $$", "was ended by signal 9"},
        {"no-such-program-at-all", "ended with status 127; its last words:"},
        {"sleep 60", "did not answer within 0.2 s"},
        {"read x; exec 1>&-; sleep 60", "closed its input or output"},
        {"yes | tr -d '\\n'", "a line of more than 1 MiB"},
    };
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    (void)state;
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Child *c = opened(a, cases[i].command);
        Str answer;
        Err err = {0};
        const double start = os_now();
        if (child_ask(c, a, STR("x"), &answer, i == 4 ? 0.2 : 30, &err))
            fail_msg("%s: an answer", cases[i].command);
        if (!strstr(err.msg, cases[i].says)) fail_msg("%s: %s", cases[i].command, err.msg);
        child_close(c);
        assert_true(os_now() - start < 30);
    }
    arena_close(a);
}

static void lines_that_were_not_asked_for_are_an_error(void **state) {
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    Child *c = opened(a, "read x; printf 'one\\ntwo\\n'; read x");
    Str answer;
    Err err = {0};
    (void)state;
    if (!child_ask(c, a, STR("x"), &answer, 30, &err)) fail_msg("%s", err.msg);
    assert_true(str_eq(answer, STR("one")));
    assert_false(child_ask(c, a, STR("y"), &answer, 30, &err));
    child_close(c);
    child_close(NULL);
    arena_close(a);
}

int test_child(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_in_order),
        cmocka_unit_test(long_lines_pass),
        cmocka_unit_test(what_fails_says_why),
        cmocka_unit_test(lines_that_were_not_asked_for_are_an_error),
    };
    return cmocka_run_group_tests_name("base/child", tests, NULL, NULL);
}
