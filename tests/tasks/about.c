/* about.c -- questions about the model and those beyond it: each kind has one answer in its own
 * language, and who asks for what the model cannot do is never told anything else. */
#include "tests.h"

static void questions_have_the_answer_of_their_kind(void **state) {
    Arena *a = *state;
    static const Str beyond[2] = {STR("I cannot do that."), STR("这个我不会。")};
    for (int kind = 1; kind <= 2; kind++) {
        TaskStream s = task_stream(task_of("about"), 5, false);
        s.easiest = s.hardest = kind;
        int64_t greeted = 0;
        for (int64_t k = 0; k < 400; k++) {
            Problem p;
            const Mark mark = arena_mark(a);
            task_problem(&p, a, &s, k);
            assert_int_equal(str_starts(p.answer, beyond[k % 2]), kind == 2);
            assert_null(memchr(p.prompt.p, '@', (size_t)p.prompt.n));
            const char last = p.prompt.p[p.prompt.n - 1]; /* Chinese ends with a wide mark */
            assert_true(k % 2 ? (unsigned char)last >= 0x80 : strchr("?.!", last) != NULL);
            greeted += str_starts(p.prompt, STR("Hello! ")) || str_starts(p.prompt, STR("你好！"));
            arena_pop(a, mark);
        }
        assert_int_equal(greeted > 0, kind == 1);
    }
}

int about_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(questions_have_the_answer_of_their_kind)};
    return cmocka_run_group_tests_name("about", tests, NULL, NULL);
}
