/* recipe.c -- a recipe is read as it is meant or refused by name. */
#include "tests.h"

static const char good[] =
    "model: {family: llama, hidden_size: 64, rope_theta: 5e5, tie_word_embeddings: true}\n"
    "tokenizer: tok.json\n"
    "data:\n  train: a.txt\n"
    "batch: {sequence: 64, tokens: 128}\n"
    "optim:\n  lr: 1e-3\n  steps: 10\n  betas: [0.9, 0.99]\n"
    "checkpoint: {folder: out}\n";

static bool read_text(Recipe *r, Arena *a, const char *text, const char *set, Err *err) {
    return recipe_read(r, a, file_write(a, "recipe.yaml", str_of(text)), &set, set != NULL, err);
}

/* `good` with the first `from` replaced by `to`. */
static const char *changed(Arena *a, const char *from, const char *to) {
    const char *at = strstr(good, from);
    CHECK(at);
    return str_fmt(a, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from)).p;
}

static void test_values(void **state) {
    Recipe r;
    Err err = {0};
    assert_true(read_text(&r, *state, good, "optim.eps=1e-9", &err));
    assert_string_equal(r.model.family, "llama");
    assert_int_equal(
        r.model.json.n,
        strlen("\"hidden_size\": 64, \"rope_theta\": 500000, \"tie_word_embeddings\": true, "));
    assert_memory_equal(
        r.model.json.p,
        "\"hidden_size\": 64, \"rope_theta\": 500000, \"tie_word_embeddings\": true, ",
        r.model.json.n);
    assert_string_equal(r.data.train, "a.txt");
    assert_string_equal(r.data.separator, "<|endoftext|>");
    assert_int_equal(r.batch.micro, 128);
    assert_true(r.optim.lr == 1e-3 && r.optim.eps == 1e-9 && r.optim.betas[0] == 0.9
                && r.optim.betas[1] == 0.99);
    assert_true(r.optim.weight_decay == 0.1 && r.optim.clip == 1);
    assert_int_equal(r.act, ACT_A16);
    assert_int_equal(r.seed, 1);
}

/* What is printed and read again says the same; the later word wins. */
static void test_print(void **state) {
    Arena *a = *state;
    Recipe r, s;
    Err err = {0};
    const char *set[64];
    int64_t n = 0;
    assert_true(read_text(&r, a, good, NULL, &err));
    Buf b = {.a = a}, c = {.a = a};
    recipe_print(&r, &b);
    for (char *line = b.p, *end; (end = strchr(line, '\n')); line = end + 1) {
        char *colon = strstr(line, ": ");
        set[n++] =
            str_fmt(a, "%.*s=%.*s", (int)(colon - line), line, (int)(end - colon - 2), colon + 2).p;
    }
    set[n++] = "optim.lr=7e-4";
    assert_true(recipe_read(&s, a, file_write(a, "other.yaml", STR("seed: 3\n")), set, n, &err));
    assert_true(s.optim.lr == 7e-4);
    set[n++] = "optim.lr=0.001";
    assert_true(recipe_read(&s, a, file_write(a, "other.yaml", STR("seed: 3\n")), set, n, &err));
    recipe_print(&s, &c);
    assert_string_equal(b.p, c.p);
}

static void test_refused(void **state) {
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"lr:", "lrr:", "there is no key \"lrr\"; did you mean optim.lr?"},
        {"optim:", "optm:", "did you mean optim?"},
        {"tokenizer:", "tokeniser:", "did you mean tokenizer?"},
        {"steps: 10", "steps: 1.5", "optim.steps is \"1.5\", expected a whole number"},
        {"steps: 10", "steps: 10abc", "optim.steps is \"10abc\""},
        {"steps: 10", "steps: 010", "optim.steps is \"010\", expected a whole number"},
        {"lr: 1e-3", "lr: 00.1", "optim.lr is \"00.1\", expected a number"},
        {"lr: 1e-3", "lr: .5", "optim.lr is \".5\""},
        {"steps: 10", "steps: 0", "optim.steps is 0, expected 1 to"},
        {"steps: 10", "steps: 99999999999999999999", "optim.steps"},
        {"steps: 10", "warmup: 1", "the key optim.steps is missing"},
        {"lr: 1e-3", "lr: 1e999", "optim.lr is \"1e999\", expected a number"},
        {"lr: 1e-3", "lr: nan", "optim.lr is \"nan\""},
        {"lr: 1e-3", "lr: -1", "optim.lr is -1, expected 0 to 10"},
        {"lr: 1e-3", "lr: 1e-3\n  lr: 2e-3", "already seen: lr"},
        {"tok.json", "\"a\\nb\"", "tokenizer is \"a?b\", expected some text on one line"},
        {"[0.9, 0.99]", "[0.9]", "Insufficient entries"},
        {"[0.9, 0.99]", "0.9", "SEQUENCE"},
        {"[0.9, 0.99]", "[0.9, 1]", "optim.betas is 1, expected 0 to 0.999999"},
        {"true", "yes", "model.tie_word_embeddings is \"yes\", expected true or false"},
        {"llama", "gpt", "model.family is \"gpt\", expected llama|deepseek_v2|deepseek_v3"},
        {"family: llama, ", "", "model.family is missing"},
        {"tokens: 128", "tokens: 100",
         "batch.tokens (100) is not a multiple of batch.sequence (64)"},
        {"tokens: 128", "tokens: 128, micro: 96", "batch.micro (96) is not a multiple"},
        {"tokens: 128", "tokens: 320, micro: 192",
         "batch.tokens (320) is not a multiple of batch.micro (192)"},
        {"tok.json", "tok.json\ninit_from: m", "init_from brings its own shape"},
        {"a.txt", "&x a.txt\nseed: *x", "alias"},
        {"data:", "data: [", "line"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Recipe r;
        Err err = {0};
        const bool ok =
            read_text(&r, *state, changed(*state, cases[i].from, cases[i].to), NULL, &err);
        if (ok || !strstr(err.msg, cases[i].says))
            print_message("%s -> %s: %s\n", cases[i].from, cases[i].to, err.msg);
        assert_false(ok);
        assert_non_null(strstr(err.msg, cases[i].says));
        assert_int_equal(err.code, ERR_USAGE);
    }
}

static void test_set_refused(void **state) {
    static const char *const cases[][2] = {{"optim.step=3", "did you mean optim.steps?"},
                                           {"lr", "expected key=value"},
                                           {"optim.lr=fast", "optim.lr is \"fast\""},
                                           {"=3", "there is no key"}};
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Recipe r;
        Err err = {0};
        assert_false(read_text(&r, *state, good, cases[i][0], &err));
        assert_non_null(strstr(err.msg, cases[i][1]));
    }
    Recipe r;
    Err err = {0};
    assert_false(read_text(&r, *state, "", NULL, &err));
    assert_non_null(strstr(err.msg, "is missing"));
}

int recipe_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(test_values), ARENA_TEST(test_print),
                                       ARENA_TEST(test_refused), ARENA_TEST(test_set_refused)};
    return cmocka_run_group_tests_name("recipe", tests, NULL, NULL);
}
