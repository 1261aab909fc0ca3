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

static Str printed(Arena *a, const Recipe *r) {
    Buf b = {.a = a};
    Err err = {0};
    if (!recipe_print(r, &b, &err)) fail_msg("%s", err.msg);
    return buf_str(&b);
}

/* The printed recipe is a recipe: it reads as the same one and prints the same. */
static Recipe round_trip(Arena *a, const Recipe *r) {
    Recipe s;
    Err err = {0};
    const Str text = printed(a, r);
    if (!recipe_read(&s, a, file_write(a, "other.yaml", text), NULL, 0, &err))
        fail_msg("%s\n%.*s", err.msg, STRF(text));
    assert_true(str_eq(printed(a, &s), text));
    return s;
}

static void test_print(void **state) {
    Arena *a = *state;
    Recipe r, s;
    Err err = {0};
    assert_true(read_text(&r, a, good, "optim.lr=7e-4", &err));
    s = round_trip(a, &r);
    assert_true(s.optim.lr == 7e-4 && s.optim.betas[1] == 0.99 && s.batch.micro == 128);
    assert_string_equal(s.data.separator, "<|endoftext|>");
    assert_true(str_eq(s.model.json, r.model.json));
    const char *family = "model.family=deepseek_v3";
    r = tiny_recipe(a, "deepseek_v3", &family, 1);
    s = round_trip(a, &r);
    assert_string_equal(s.model.family, "deepseek_v3");
    assert_true(read_text(&r, a,
                          changed(a,
                                  "model: {family: llama, hidden_size: 64, rope_theta: "
                                  "5e5, tie_word_embeddings: true}",
                                  "init_from: m"),
                          NULL, &err));
    assert_string_equal(round_trip(a, &r).init_from, "m");
}

/* Every character that may stand in a path comes back as it was, and one that YAML cannot hold is
 * an error. */
static void test_print_texts(void **state) {
    Arena *a = *state;
    static const char *const texts[] = {"a b",
                                        " a",
                                        "a ",
                                        "a: b",
                                        "a #b",
                                        "'a'",
                                        "\"a\"",
                                        "a\\nb",
                                        "- a",
                                        "? a",
                                        "[a]",
                                        "{a}",
                                        "*a",
                                        "&a",
                                        "!a",
                                        "|",
                                        ">",
                                        "%a",
                                        "@a",
                                        "`a",
                                        "null",
                                        "true",
                                        "1e3",
                                        "0x1",
                                        "a,b",
                                        "\\",
                                        "C:\\x",
                                        "$x",
                                        "$(x)",
                                        "\xe8\xb7\xaf\xe6\xbc\xab",
                                        "\xc2\x85",
                                        "\xc2\x80",
                                        "\xc2\xa0",
                                        "\xe2\x80\xa8",
                                        "\xe2\x80\xa9x",
                                        "\xef\xbb\xbf",
                                        "\xef\xbf\xbf",
                                        "\xef\xbf\xbe",
                                        "\xf0\x9f\x98\x80",
                                        "---",
                                        "...",
                                        "a...",
                                        "--- a",
                                        "\xcc\x88"};
    for (int64_t i = 0; i < COUNT(texts); i++) {
        Recipe r;
        Err err = {0};
        const char *set[] = {str_fmt(a, "data.train=%s", texts[i]).p,
                             str_fmt(a, "data.separator=%s", texts[i]).p};
        const char *path = file_write(a, "recipe.yaml", str_of(good));
        if (!recipe_read(&r, a, path, set, 2, &err)) fail_msg("%s", err.msg);
        const Recipe s = round_trip(a, &r);
        assert_string_equal(s.data.train, texts[i]);
        assert_string_equal(s.data.separator, texts[i]);
    }
    Recipe r;
    Err err = {0};
    Buf b = {.a = a};
    assert_true(read_text(&r, a, good, "data.train=caf\xe9.txt", &err));
    assert_string_equal(r.data.train, "caf\xe9.txt"); /* a file may have that name */
    assert_false(recipe_print(&r, &b, &err));
    assert_non_null(strstr(err.msg, "data.train is not in UTF-8"));
}

/* Several texts with weights: read from a file and from --set, printed as they are read. */
static void test_mixture(void **state) {
    Arena *a = *state;
    Recipe r;
    Err err = {0};
    const char *list = "\n    - {source: \"${recipe_folder}/a, b.txt\", weight: 0.70}\n"
                       "    - source: task:addition\n      weight: 3e-1";
    if (!read_text(&r, a, changed(a, "a.txt", list), NULL, &err)) fail_msg("%s", err.msg);
    const Recipe s = round_trip(a, &r);
    assert_int_equal(s.data.n_parts, 2);
    assert_string_equal(s.data.part[0].source, str_fmt(a, "%s/a, b.txt", folder).p);
    assert_string_equal(s.data.part[1].source, "task:addition");
    assert_true(s.data.part[0].weight == 0.7 && s.data.part[1].weight == 0.3);
    const char *course = "[{source: x, weight: 2, to: 0.50}, {source: y, weight: 1, from: 25e-2}]";
    if (!read_text(&r, a, changed(a, "a.txt", course), NULL, &err)) fail_msg("%s", err.msg);
    const Recipe t = round_trip(a, &r);
    assert_true(t.data.part[0].from == 0 && t.data.part[0].to == 0.5);
    assert_true(t.data.part[1].from == 0.25 && t.data.part[1].to == 1);
    assert_string_equal(t.data.train, "[{source: \"x\", weight: 2, to: 0.5}, {source: \"y\", "
                                      "weight: 1, from: 0.25}]");
    assert_true(read_text(&r, a, good, "data.train=[{source: x, weight: 2}]", &err));
    assert_int_equal(r.data.n_parts, 1);
    assert_string_equal(r.data.part[0].source, "x");
    static const char *const wrong[][2] = {
        {"[{source: x, weight: 0}]", "expected a weight above 0"},
        {"[{source: x, weight: much}]", "data.train is \"much\", expected a number"},
        {"[{source: x, weight: 1, to: 1.5}]", "expected a share of the steps, 0 to 1"},
        {"[{source: x, weight: 1, from: -1}]", "expected 0 to"},
        {"[{source: x, weight: 1, until: 1}]", "with from: SHARE and to: SHARE"},
        {"[{source: x, weight: 1, from: 0.5, to: 0.5}, {source: y, weight: 1}]",
         "x of data.train is drawn from between 0.5 and 0.5"},
        {"[{source: x, weight: 1, to: 0.4}, {source: y, weight: 1, from: 0.6}]",
         "no text of data.train is drawn from in step 5 of 10"},
        {"[{source: x, weight: 1, from: 0.4}]", "is drawn from in step 1 of 10"},
        {"[{source: x}]", "a list of {source: TEXT, weight: NUMBER}"},
        {"{source: x, weight: 1}", "a list of {source: TEXT, weight: NUMBER}"}};
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        err = (Err){0};
        const bool ok = read_text(&r, a, changed(a, "a.txt", wrong[i][0]), NULL, &err);
        assert_false(ok);
        if (!strstr(err.msg, wrong[i][1])) fail_msg("%s", err.msg);
    }
}

/* Relative paths mean the same wherever a recipe lies; ${recipe_folder} is where it lies. */
static void test_paths(void **state) {
    Arena *a = *state;
    Recipe r;
    Err err = {0};
    const char *text = changed(a, "tok.json", "${recipe_folder}/tok.json");
    assert_true(read_text(&r, a, text, "data.valid=${recipe_folder}/v/v.txt", &err));
    assert_string_equal(r.tokenizer, str_fmt(a, "%s/tok.json", folder).p);
    assert_string_equal(r.data.valid, str_fmt(a, "%s/v/v.txt", folder).p);
    assert_string_equal(r.data.train, "a.txt");
    const Recipe s = round_trip(a, &r);
    assert_string_equal(s.tokenizer, r.tokenizer);
    static const char *const wrong[][2] = {{"${HOME}/x", "the one variable is ${recipe_folder}/"},
                                           {"${recipe_folder}", "the one variable"},
                                           {"~/x", "a whole path"}};
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        err = (Err){0};
        assert_false(read_text(&r, a, good, str_fmt(a, "data.train=%s", wrong[i][0]).p, &err));
        assert_non_null(strstr(err.msg, wrong[i][1]));
    }
    /* A separator is no path. */
    assert_true(read_text(&r, a, good, "data.separator=~", &(Err){0}));
}

/* A path is taken as it is; a name is looked for among the program's own recipes, and here the test
 * program has none. */
static void test_find(void **state) {
    Arena *a = *state;
    const char *path;
    Err err = {0};
    assert_true(recipe_find(a, &path, "no/such.yaml", &err));
    assert_string_equal(path, "no/such.yaml");
    assert_true(recipe_find(a, &path, "Makefile", &err));
    assert_string_equal(path, "Makefile");
    assert_false(recipe_find(a, &path, "no-such-recipe", &err));
    assert_non_null(strstr(err.msg, "there is no recipe \"no-such-recipe\""));
    assert_false(recipe_find(a, &path, "recipes", &(Err){0})); /* a folder is no recipe */
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
        {"lr: 1e-3", "lr: 1e-3\n  moments: bf16", "the second of optim.betas 0.99: above 0.95"},
        {"lr: 1e-3", "lr: 1e-3\n  muon_steps: 7", "optim.muon_steps is 7, expected 10 or 5"},
        {"lr: 1e-3", "lr: 1e-3\n  decay_steps: 1.5", "optim.decay_steps is 1.5, expected a whole"},
        {"lr: 1e-3", "lr: 1e-3\n  schedule: wsd\n  warmup: 6\n  decay_steps: 5",
         "optim.warmup (6) and optim.decay_steps (5) are more than the 10 of optim.steps"},
        {"lr: 1e-3", "lr: nan", "optim.lr is \"nan\""},
        {"lr: 1e-3", "lr: -1", "optim.lr is -1, expected 0 to 10"},
        {"lr: 1e-3", "lr: 1e-3\n  lr: 2e-3", "already seen: lr"},
        {"tok.json", "\"a\\nb\"", "tokenizer is \"a?b\", expected some text on one line"},
        {"[0.9, 0.99]", "[0.9]", "Insufficient entries"},
        {"[0.9, 0.99]", "0.9", "SEQUENCE"},
        {"[0.9, 0.99]", "[0.9, 1]", "optim.betas is 1, expected 0 to 0.999999"},
        {"true", "yes", "model.tie_word_embeddings is \"yes\", expected true or false"},
        {"llama", "gpt", "model.family is \"gpt\", expected llama|qwen2|qwen3|qwen3_moe|"},
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
    const struct CMUnitTest tests[] = {ARENA_TEST(test_values),      ARENA_TEST(test_print),
                                       ARENA_TEST(test_print_texts), ARENA_TEST(test_mixture),
                                       ARENA_TEST(test_paths),       ARENA_TEST(test_find),
                                       ARENA_TEST(test_refused),     ARENA_TEST(test_set_refused)};
    return cmocka_run_group_tests_name("recipe", tests, NULL, NULL);
}
