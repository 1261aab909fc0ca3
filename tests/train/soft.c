/* soft.c -- a student learns a teacher's probabilities: nothing where it says the same already,
 * the same file however often its making was cut, and what is refused. */
#include "tests.h"

#include <math.h>

/* Large first weights, so that it prefers some tokens. */
static const char *teacher_of_seed(Arena *a, int seed) {
    const char *to = str_fmt(a, "%s/teacher-%d", folder, seed).p;
    const char *set[] = {
        "tokenizer=bytes", "model.vocab_size=262",        "model.initializer_range=0.4",
        "optim.lr=0",      str_fmt(a, "seed=%d", seed).p, str_fmt(a, "checkpoint.folder=%s", to).p};
    const Recipe r = tiny_recipe(a, "deepseek_v3", set, COUNT(set));
    Trainer *t;
    StepStats s;
    Err err = {0};
    if (!trainer_open(&t, &r, 1, &err) || !trainer_step(t, &s, &err) || !trainer_save(t, &err))
        fail_msg("%s", err.msg);
    trainer_close(t);
    return to;
}

/* Questions are read, thoughts and answers learned, from two texts. */
static Recipe soft_recipe(Arena *a, const char *teacher, const char *student, int k,
                          const char *const *set, int64_t n) {
    Recipe r;
    Err err = {0};
    const Str yaml = str_fmt(
        a,
        "objective: distill\ninit_from: %s\ndistill: {teacher: %s, logits: %d}\n"
        "data: {train: [{source: 'task:addition:1', weight: 1}, {source: 'task:liars:2', weight: "
        "2}], documents: 30, cache: %s/cache}\nbatch: {sequence: 256, tokens: 1024, micro: "
        "512}\noptim: {optimiser: muon, lr: 2e-2, steps: 20}\nact: f32\nbalance: {sequence_loss: "
        "0}\nmtp: {weight: 0}\n"
        "checkpoint: {folder: %s/run, every: 0}\n",
        student, teacher, k, folder, folder);
    if (!recipe_read(&r, a, file_write(a, "soft.yaml", yaml), set, n, &err))
        fail_msg("%s", err.msg);
    return r;
}

static double step_loss(Trainer *t, double *norm) {
    StepStats s;
    Err err = {0};
    if (!trainer_step(t, &s, &err)) fail_msg("%s", err.msg);
    *norm = s.grad_norm;
    return s.loss;
}

/* Of all tokens, and of more than there are: the teacher itself has nothing to learn. */
static void the_same_is_no_loss(void **state) {
    need_native();
    Arena *a = *state;
    Err err = {0};
    Trainer *t;
    double norm;
    const char *teacher = teacher_of_seed(a, 1);
    for (int k = 262; k <= 300; k += 38) {
        const char *set[] = {str_fmt(a, "checkpoint.folder=%s/same-%d", folder, k).p};
        const Recipe r = soft_recipe(a, teacher, teacher, k, set, 1);
        if (!trainer_open(&t, &r, 2, &err)) fail_msg("%s", err.msg);
        const double loss = step_loss(t, &norm);
        if (!(fabs(loss) < 1e-6 && norm < 1e-5)) fail_msg("loss %g, norm %g", loss, norm);
        trainer_close(t);
    }
}

/* Another one does: the loss falls, and a run that goes on needs no teacher. */
static void a_student_learns(void **state) {
    need_native();
    Arena *a = *state;
    Err err = {0};
    Trainer *t;
    double norm, last = 0;
    const char *teacher = teacher_of_seed(a, 1), *student = teacher_of_seed(a, 2);
    const Recipe r = soft_recipe(a, teacher, student, 16, NULL, 0);
    if (!trainer_open(&t, &r, 2, &err)) fail_msg("%s", err.msg);
    const double first = step_loss(t, &norm);
    for (int i = 1; i < 20; i++) last = step_loss(t, &norm);
    if (!(first > 0.5 && last < 0.6 * first)) fail_msg("from %g to %g", first, last);
    assert_true(trainer_save(t, &err));
    trainer_close(t);
    assert_true(os_rename(teacher, str_fmt(a, "%s/gone", folder).p, &err));
    const char *more[] = {"optim.steps=21"};
    const Recipe on = soft_recipe(a, teacher, student, 16, more, 1);
    if (!trainer_open(&t, &on, 1, &err)) fail_msg("%s", err.msg);
    assert_int_equal(trainer_steps(t), 20);
    assert_true(step_loss(t, &norm) < 1.5 * last);
    trainer_close(t);
}

static void files_do_not_see_kills(void **state) {
    need_native();
    Arena *a = *state;
    Err err = {0};
    Trainer *t;
    Str whole, part;
    const char *teacher = teacher_of_seed(a, 1), *wrong = teacher_of_seed(a, 2);
    const char *file = str_fmt(a, "%s/run/logits-1.bin", folder).p;
    const Recipe r = soft_recipe(a, teacher, wrong, 5, NULL, 0);
    for (int i = 0; i < 6; i++) {
        if (i) {
            const int64_t n = i == 1 ? 0 : dice(whole.n);
            assert_true(os_put(a, file, (Str){whole.p, n}, &err));
        }
        if (!trainer_open(&t, &r, 1 + i % 3, &err)) fail_msg("%s", err.msg);
        trainer_close(t);
        if (!os_read(a, i ? &part : &whole, file, 1 << 24, &err)) fail_msg("%s", err.msg);
        if (i) assert_true(str_eq(part, whole));
    }
    assert_true(os_put(a, file, (Str){whole.p, whole.n / 2}, &err));
    const Recipe other = soft_recipe(a, wrong, wrong, 5, NULL, 0);
    assert_false(trainer_open(&t, &other, 1, &err));
    assert_non_null(strstr(err.msg, "logits-1.bin was made by another teacher"));
}

static void what_cannot_be_is_refused(void **state) {
    need_native();
    Arena *a = *state;
    Err err = {0};
    Trainer *t;
    Recipe r;
    const char *teacher = teacher_of_seed(a, 1);
    static const struct {
        const char *set, *says;
    } wrong[] = {{"distill.teacher=http://localhost:1/v1", "leave distill.logits out"},
                 {"distill.prompts=task:addition:1", "leave one of them out"},
                 {"data.train=", "data.train is missing"},
                 {"distill.teacher=", "distill.teacher is missing"}};
    const Recipe whole = soft_recipe(a, teacher, teacher, 4, NULL, 0);
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        err = (Err){0};
        assert_false(recipe_read(&r, a, whole.path, &wrong[i].set, 1, &err));
        if (!strstr(err.msg, wrong[i].says)) fail_msg("%s: %s", wrong[i].set, err.msg);
    }
    err = (Err){0};
    const char *tok = str_fmt(a, "tokenizer=%s", file_write(a, "t.json", bytes_tokenizer(a))).p;
    const char *set[] = {tok, str_fmt(a, "checkpoint.folder=%s/base", folder).p};
    const Recipe base = tiny_recipe(a, "llama", set, 2);
    if (!trainer_open(&t, &base, 1, &err) || !trainer_save(t, &err)) fail_msg("%s", err.msg);
    trainer_close(t);
    const Recipe of_other = soft_recipe(a, base.checkpoint.folder, teacher, 4, NULL, 0);
    assert_false(trainer_open(&t, &of_other, 1, &err));
    if (!strstr(err.msg, "has other tokens than the student")) fail_msg("%s", err.msg);
}

int soft_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(the_same_is_no_loss),
        ARENA_TEST(a_student_learns),
        ARENA_TEST(files_do_not_see_kills),
        ARENA_TEST(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests_name("soft", tests, NULL, NULL);
}
