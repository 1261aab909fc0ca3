/* peak.c -- the budget against the truth: the memory that a process has held at its peak, while it
 * trained, is what its plan said, within 5 %: when the text is tokenised before in the same
 * process, when its tokens are there already, and when a checkpoint is taken up. The process is
 * this program again, called with a word. */
#define _DEFAULT_SOURCE
#include "tests.h"

#include <stdio.h>
#include <unistd.h>

/* In the process of its own: a step, a validation, a checkpoint. */
int peak_measure(const char *recipe, const char *steps) {
    Arena *a = arena_open("peak", ARENA_NO_LIMIT);
    const char *set = str_fmt(a, "optim.steps=%s", steps).p;
    Recipe r;
    Err err = {0};
    Trainer *t;
    StepStats s;
    double loss;
    if (!recipe_read(&r, a, recipe, &set, 1, &err) || !trainer_open(&t, &r, 2, &err)
        || !trainer_step(t, &s, &err) || !trainer_eval(t, &loss, &err) || !trainer_save(t, &err))
        return fprintf(stderr, "%s\n", err.msg), 1;
    printf("%lld %lld %lld\n", (long long)s.step, (long long)trainer_plan(t)->bytes,
           (long long)os_memory_peak());
    trainer_close(t);
    arena_close(a);
    return 0;
}

static void check_peak(Arena *a, const char *what, const char *recipe, int64_t step) {
    char self[1024] = {0}, line[96];
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    FILE *f = popen(str_fmt(a, "'%s' --peak '%s' %d", self, recipe, (int)step).p, "r");
    long long at = 0, planned = 0, held = 0;
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "%lld %lld %lld", &at, &planned, &held), 3);
    assert_int_equal(pclose(f), 0);
    print_message("%s: planned %.1f MB, held %.1f MB\n", what, 1e-6 * (double)planned,
                  1e-6 * (double)held);
    assert_int_equal(at, step);
    const double ratio = (double)held / (double)planned;
    assert_true(ratio > 0.95 && ratio < 1.05);
}

/* A text of some megabytes, so that what tokenising leaves behind would be seen. */
static Str long_text(Arena *a) {
    Buf b = {.a = a};
    for (int64_t i = 0; b.n < 3 << 20; i++)
        buf_fmt(&b, "Line %lld of many.\n%s", (long long)i, i % 9 ? "" : "<|endoftext|>\n");
    return buf_str(&b);
}

static void test_peak(void **state) {
    need_own_memory();
    Arena *a = *state;
    Err err = {0};
    const char *set[] = {"model.hidden_size=512",
                         "model.intermediate_size=1024",
                         "model.num_hidden_layers=3",
                         "eval.tokens=100",
                         str_fmt(a, "data.train=%s/long", folder).p,
                         str_fmt(a, "data.valid=%s/text", folder).p};
    file_write(a, "long", long_text(a));
    const Recipe r = tiny_recipe(a, "llama", set, COUNT(set));
    Buf yaml = {.a = a};
    assert_true(recipe_print(&r, &yaml, &err));
    const char *recipe = file_write(a, "peak.yaml", buf_str(&yaml));
    check_peak(a, "text and tokens", recipe, 1);
    check_peak(a, "a checkpoint", recipe, 2);
    assert_true(os_remove(str_fmt(a, "%s/run/step-000000001", folder).p, &err));
    assert_true(os_remove(str_fmt(a, "%s/run/step-000000002", folder).p, &err));
    check_peak(a, "tokens alone", recipe, 1);
}

int peak_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(test_peak)};
    return cmocka_run_group_tests_name("peak", tests, NULL, NULL);
}
