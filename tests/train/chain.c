/* chain.c -- files of several stages: what a stage has from all, from itself, from the one before
 * it and from the command line, and what is refused. */
#include "tests.h"

static const char *chain_text(Arena *a, const char *more) {
    return str_fmt(a,
                   "folder: %s/chain\n"
                   "tokenizer: {texts: [\"task:addition:1\"], vocab: 300, documents: 50}\n"
                   "all:\n"
                   "  batch: {sequence: 48, tokens: 192}\n"
                   "  optim: {lr: 1e-3, steps: 20}\n"
                   "stages:\n"
                   "  - name: learn\n"
                   "    model: {family: llama, hidden_size: 32, num_hidden_layers: 2, "
                   "num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 48, "
                   "max_position_embeddings: 64, rms_norm_eps: 1e-6}\n"
                   "    data: {train: \"task:addition:1\"}\n"
                   "    optim: {steps: 7}\n"
                   "  - name: taught\n"
                   "    objective: distill\n"
                   "    distill: {prompts: \"task:addition:1\", keep: right}\n"
                   "    optim: {betas: [0.9, 0.99]}\n"
                   "  - name: reinforce\n"
                   "    objective: grpo\n"
                   "    data: {train: \"task:addition:1\"}\n"
                   "evaluate: {tasks: [\"addition:1\", \"countdown:3\"], problems: 9, seed: 3}\n"
                   "export: q8_0\n%s",
                   folder, more)
        .p;
}

static bool chain_of(Chain *c, Arena *a, const char *text, const char *const *set, int64_t n,
                     Err *err) {
    return chain_read(c, a, file_write(a, "chain.yaml", str_of(text)), set, n, err);
}

static void stages_follow_each_other(void **state) {
    Arena *a = *state;
    Chain c;
    Err err = {0};
    const char *set[] = {"all.seed=5", "reinforce.optim.steps=3", "learn.optim.lr=2e-3"};
    if (!chain_of(&c, a, chain_text(a, ""), set, 3, &err)) fail_msg("%s", err.msg);
    const Recipe *learn = &c.stage[0].recipe, *taught = &c.stage[1].recipe,
                 *reinforce = &c.stage[2].recipe;
    assert_int_equal(c.n_stages, 3);
    assert_string_equal(c.stage[2].name, "reinforce");
    assert_int_equal(learn->optim.steps, 7); /* its own before that of all */
    assert_int_equal(taught->optim.steps, 20);
    assert_int_equal(reinforce->optim.steps, 3); /* the command line before both */
    assert_true(learn->optim.lr == 2e-3 && taught->optim.lr == 1e-3);
    assert_true(taught->optim.betas[1] == 0.99);
    assert_int_equal(learn->seed + taught->seed + reinforce->seed, 15);
    assert_int_equal(learn->objective, OBJECTIVE_PRETRAIN);
    assert_int_equal(reinforce->objective, OBJECTIVE_GRPO);
    assert_string_equal(learn->checkpoint.folder, str_fmt(a, "%s/chain/1-learn", folder).p);
    assert_string_equal(learn->init_from, "");
    assert_string_equal(taught->init_from, learn->checkpoint.folder);
    assert_string_equal(taught->distill.teacher, learn->checkpoint.folder);
    assert_true(taught->distill.right && taught->model.json.n == 0);
    assert_string_equal(reinforce->init_from, taught->checkpoint.folder);
    assert_string_equal(reinforce->tokenizer, str_fmt(a, "%s/chain/tokenizer", folder).p);
    assert_int_equal(c.tokenizer.n_texts, 1);
    assert_int_equal(c.tokenizer.vocab, 300);
    assert_int_equal(c.evaluate.n_tasks, 2);
    assert_string_equal(c.evaluate.task[1], "countdown:3");
    assert_int_equal(c.evaluate.problems, 9);
    assert_int_equal(c.evaluate.samples, 1); /* the default */
    assert_string_equal(c.export_type, "q8_0");
}

/* A stage with a model of its own begins with it; an init_from of all is that of the first. */
static void stages_may_begin_anew(void **state) {
    Arena *a = *state;
    Chain c;
    Err err = {0};
    const char *fresh[] = {"taught.model.family=qwen3", "taught.model.hidden_size=16"},
               *all[] = {"all.init_from=base"};
    if (!chain_of(&c, a, chain_text(a, ""), fresh, 2, &err)) fail_msg("%s", err.msg);
    const Recipe *learn = &c.stage[0].recipe, *taught = &c.stage[1].recipe;
    assert_string_equal(taught->init_from, "");
    assert_string_equal(taught->model.family, "qwen3");
    assert_string_equal(taught->distill.teacher, learn->checkpoint.folder);
    assert_string_equal(c.stage[2].recipe.init_from, taught->checkpoint.folder);
    assert_false(chain_of(&c, a, chain_text(a, ""), all, 1, &err)); /* it has a model, too */
    assert_non_null(strstr(err.msg, "stage learn: init_from brings its own shape"));
    Str text = str_of(chain_text(a, ""));
    const char *model = strstr(text.p, "    model: {"), *data = strstr(text.p, "    data: {");
    text = str_fmt(a, "%.*s%s", (int)(model - text.p), text.p, data);
    if (!chain_of(&c, a, text.p, all, 1, &err)) fail_msg("%s", err.msg);
    assert_string_equal(c.stage[0].recipe.init_from, "base");
    assert_string_equal(c.stage[1].recipe.init_from, c.stage[0].recipe.checkpoint.folder);
}

/* The name of an earlier stage stands for its folder; that of a later one is a path. */
static void stages_may_name_earlier_ones(void **state) {
    Arena *a = *state;
    Chain c;
    Err err = {0};
    const char *set[] = {"taught.distill.teacher=reinforce", "taught.init_from=./learn",
                         "reinforce.init_from=learn", "reinforce.distill.teacher=taught"};
    if (!chain_of(&c, a, chain_text(a, ""), set, 4, &err)) fail_msg("%s", err.msg);
    const Recipe *learn = &c.stage[0].recipe, *taught = &c.stage[1].recipe,
                 *reinforce = &c.stage[2].recipe;
    assert_string_equal(taught->distill.teacher, "reinforce");
    assert_string_equal(taught->init_from, "./learn");
    assert_string_equal(reinforce->init_from, learn->checkpoint.folder);
    assert_string_equal(reinforce->distill.teacher, taught->checkpoint.folder);
    assert_true(reinforce->model.json.n == 0);
    assert_true(c.stage[2].from == &c.stage[0] && !c.stage[1].from && !c.stage[0].from);
}

static void what_is_wrong_is_named(void **state) {
    Arena *a = *state;
    const char *good = chain_text(a, "");
    const struct {
        const char *from, *to, *says;
    } edits[] = {
        {"name: taught", "name: learn", "two stages are named \"learn\""},
        {"name: taught", "name: All Of It", "a name of small letters"},
        {"name: taught", "name: all", "other than all"},
        {"objective: grpo", "objective: gpro", "pretrain|sft|distill|grpo"},
        {"optim: {steps: 7}", "optim: {stepps: 7}", "there is no key \"stepps\"; did you mean"},
        {"optim: {steps: 7}", "optim: {steps: x}", "stage learn: optim.steps is \"x\""},
        {"problems: 9", "problems: 0", "evaluate.problems is \"0\""},
        {"optim: {steps: 7}", "checkpoint: {folder: x}", "checkpoint.folder is given"},
        {"stages:", "stage:", "there is no key \"stage\""},
        {"batch: {sequence: 48, tokens: 192}", "batch: {sequence: 48}", "batch.tokens is missing"},
        {"export: q8_0", "export: [q8_0]", "chain.yaml"},
    };
    for (int64_t i = 0; i < COUNT(edits); i++) {
        const char *at = strstr(good, edits[i].from);
        Chain c;
        Err err = {0};
        assert_non_null(at);
        const char *bad =
            str_fmt(a, "%.*s%s%s", (int)(at - good), good, edits[i].to, at + strlen(edits[i].from))
                .p;
        if (chain_of(&c, a, bad, NULL, 0, &err)) fail_msg("taken: %s", edits[i].to);
        if (!strstr(err.msg, edits[i].says)) fail_msg("%s: %s", edits[i].to, err.msg);
    }
    static const char *const sets[] = {"optim.steps=3", "lern.optim.steps=3", "learn.steps=3",
                                       "learn.optim.steps=many", "all"};
    for (int64_t i = 0; i < COUNT(sets); i++) {
        Chain c;
        Err err = {0};
        if (chain_of(&c, a, good, &sets[i], 1, &err)) fail_msg("taken: %s", sets[i]);
        assert_int_equal(err.code, ERR_USAGE);
    }
}

int chain_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(stages_follow_each_other), ARENA_TEST(stages_may_begin_anew),
        ARENA_TEST(stages_may_name_earlier_ones), ARENA_TEST(what_is_wrong_is_named)};
    return cmocka_run_group_tests_name("train/chain", tests, NULL, NULL);
}
