/* peak.c -- the budget against the truth: the memory that a process has held at its peak, while it
 * trained, is what its plan said, and what `lisao train --plan` says beforehand, within 5 %: when
 * the text is tokenised before in the same process, when its tokens are there already, and when a
 * checkpoint is taken up. The process is this program again, called with a word. */
#define _DEFAULT_SOURCE
#include "tests.h"

#include <math.h>
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

static void check_near(int64_t held, int64_t planned) {
    const double ratio = (double)held / (double)planned;
    assert_true(ratio > 0.95 && ratio < 1.05);
}

static int64_t bytes_beforehand(Arena *a, const char *recipe) {
    Recipe r;
    TrainPlan p;
    Err err = {0};
    assert_true(recipe_read(&r, a, recipe, NULL, 0, &err));
    if (!train_plan(&p, &r, 2, &err)) fail_msg("%s", err.msg);
    assert_true(p.text && train_plan_fits(&p, &r, &err));
    return p.bytes;
}

static void check_peak(Arena *a, const char *what, const char *recipe, int64_t step) {
    char self[1024] = {0}, line[96];
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    FILE *f = popen(str_fmt(a, "'%s' --peak '%s' %d", self, recipe, (int)step).p, "r");
    long long at = 0, planned = 0, held = 0;
    const int64_t beforehand = bytes_beforehand(a, recipe);
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "%lld %lld %lld", &at, &planned, &held), 3);
    assert_int_equal(pclose(f), 0);
    print_message("%s: planned %.1f and %.1f MB, held %.1f MB\n", what, 1e-6 * (double)beforehand,
                  1e-6 * (double)planned, 1e-6 * (double)held);
    assert_int_equal(at, step);
    check_near(held, planned);
    check_near(held, beforehand);
}

/* A text of some megabytes, so that what tokenising leaves behind would be seen. */
static Str long_text(Arena *a) {
    Buf b = {.a = a};
    for (int64_t i = 0; b.n < 3 << 20; i++)
        buf_fmt(&b, "Line %lld of many.\n%s", (long long)i, i % 9 ? "" : "<|endoftext|>\n");
    return buf_str(&b);
}

static const char *recipe_write(Arena *a, const Recipe *r) {
    Buf yaml = {.a = a};
    Err err = {0};
    assert_true(recipe_print(r, &yaml, &err));
    return file_write(a, "peak.yaml", buf_str(&yaml));
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
    const char *recipe = recipe_write(a, &r);
    check_peak(a, "text and tokens", recipe, 1);
    check_peak(a, "a checkpoint", recipe, 2);
    assert_true(os_remove(str_fmt(a, "%s/run/step-000000001", folder).p, &err));
    assert_true(os_remove(str_fmt(a, "%s/run/step-000000002", folder).p, &err));
    check_peak(a, "tokens alone", recipe, 1);
}

/* The shape of bench/recipes/moe-xs.yaml, with Muon, samples and a layer for further tokens. */
static void test_peak_experts(void **state) {
    need_own_memory();
    Arena *a = *state;
    const char *set[] = {"model.hidden_size=192",
                         "model.intermediate_size=512",
                         "model.num_hidden_layers=4",
                         "model.num_attention_heads=4",
                         "model.q_lora_rank=64",
                         "model.kv_lora_rank=64",
                         "model.qk_nope_head_dim=32",
                         "model.qk_rope_head_dim=16",
                         "model.v_head_dim=32",
                         "model.n_routed_experts=16",
                         "model.num_experts_per_tok=4",
                         "model.moe_intermediate_size=96",
                         "model.num_nextn_predict_layers=1",
                         "batch.sequence=128",
                         "batch.tokens=512",
                         "batch.micro=512",
                         "optim.optimiser=muon",
                         "optim.moments=bf16",
                         "eval.tokens=100",
                         "sample.every=1",
                         "sample.tokens=8",
                         str_fmt(a, "data.train=%s/long", folder).p,
                         str_fmt(a, "data.valid=%s/text", folder).p};
    file_write(a, "long", long_text(a));
    const Recipe r = tiny_recipe(a, "deepseek_v3", set, COUNT(set));
    check_peak(a, "experts", recipe_write(a, &r), 1);
}

/* What does not fit is refused before a weight is there: the largest parts are named, and what to
 * change. Nothing is left behind. */
static void test_refused(void **state) {
    Arena *a = *state;
    static const struct {
        const char *set, *says[4];
    } cases[] = {
        {"model.intermediate_size=1048576",
         {"moments ", "weight panels ", "a smaller model or optim.moments bf16", "MB are free"}},
        {"batch.micro=50331648",
         {"the largest parts: ", "activations kept for the backward ", "a smaller batch.micro",
          "MB are free"}},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const char *set[] = {cases[i].set, "batch.tokens=50331648", "model.num_hidden_layers=1000",
                             "data.train=nowhere"};
        const Recipe r = tiny_recipe(a, "llama", set, COUNT(set));
        TrainPlan p;
        Trainer *t;
        Err err = {0}, same = {0};
        if (!train_plan(&p, &r, 2, &err)) fail_msg("%s", err.msg);
        if (p.bytes <= p.limit || p.text)
            fail_msg("%s: %lld bytes of %lld", cases[i].set, (long long)p.bytes,
                     (long long)p.limit);
        assert_false(train_plan_fits(&p, &r, &err));
        for (int64_t k = 0; k < COUNT(cases[i].says); k++)
            if (!strstr(err.msg, cases[i].says[k])) fail_msg("%s", err.msg);
        assert_false(trainer_open(&t, &r, 2, &same));
        assert_int_equal(same.code, ERR_LIMIT);
        assert_non_null(strstr(same.msg, "the largest parts: "));
        assert_false(os_exists(str_fmt(a, "%s/run", folder).p));
    }
}

/* The parts are all there is, and time follows from speed. */
static void test_parts(void **state) {
    Arena *a = *state;
    const Recipe r = tiny_recipe(a, "deepseek_v3", NULL, 0);
    TrainPlan p;
    Err err = {0};
    int64_t sum = 0;
    if (!train_plan(&p, &r, 2, &err)) fail_msg("%s", err.msg);
    for (TrainPart i = 0; i < TRAIN_PARTS; i++) {
        assert_true(train_part_bytes(&p, i) > 0);
        sum += train_part_bytes(&p, i);
    }
    assert_int_equal(sum, p.bytes);
    assert_true(train_part_bytes(&p, PART_MOMENTS) >= 2 * 4 * p.parameters);
    assert_true(p.active < p.parameters && p.steps == 20 && p.tokens == 192);
    assert_true(p.tokens_per_s > 0 && p.share > 0 && p.share < 1);
    assert_true(fabs(p.seconds * p.tokens_per_s - 20 * 192) < 1);
    assert_false(os_exists(r.checkpoint.folder)); /* a plan leaves nothing there */
}

int peak_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(test_peak), ARENA_TEST(test_peak_experts),
                                       ARENA_TEST(test_refused), ARENA_TEST(test_parts)};
    return cmocka_run_group_tests_name("peak", tests, NULL, NULL);
}
