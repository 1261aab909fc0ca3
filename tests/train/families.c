/* families.c -- every family trains: from fresh weights by its recipe, from a model of another
 * program in either format; and layers that predict further tokens along with it. */
#include "tests.h"

#include <math.h>
#include "train/trainer.h"

static Trainer *open_trainer(const Recipe *r, int64_t threads) {
    Trainer *t = NULL;
    Err err = {0};
    if (!trainer_open(&t, r, threads, &err)) fail_msg("%s", err.msg);
    return t;
}

static void step(Trainer *t, StepStats *s) {
    Err err = {0};
    if (!trainer_step(t, s, &err)) fail_msg("%s", err.msg);
}

/* The loss falls over some steps, what is saved opens as the same family, and a tied head stays. */
static void check_learns(Arena *a, const char *name, const Recipe *r, int64_t n) {
    Err err = {0};
    StepStats s;
    double first = 0, last = 0;
    Trainer *t = open_trainer(r, 2);
    const Config c = trainer_model(t)->cfg;
    for (int64_t i = 0; i < n; i++) {
        step(t, &s);
        if (i < 2) first += s.loss / 2;
        if (i >= n - 2) last += s.loss / 2;
    }
    print_message("%s: loss %.3f -> %.3f in %d steps\n", name, first, last, (int)n);
    assert_true(last < first - 0.05);
    if (!trainer_save(t, &err)) fail_msg("%s", err.msg);
    const Hex hex = model_hash(trainer_model(t));
    trainer_close(t);

    t = open_trainer(r, 1); /* goes on from there */
    assert_int_equal(trainer_steps(t), n);
    assert_string_equal(model_hash(trainer_model(t)).z, hex.z);
    const Model *m = trainer_model(t);
    assert_int_equal(m->cfg.family, c.family);
    assert_true(m->cfg.tied == c.tied && (m->head == m->embed) == c.tied);
    trainer_close(t);
    (void)a;
}

/* A recipe around one's own model section or init_from. */
static Recipe recipe_of(Arena *a, const char *name, const char *model) {
    Recipe r = tiny_recipe(a, "llama", NULL, 0); /* writes text and tokenizer */
    Err err = {0};
    Str yaml = str_fmt(
        a,
        "%s\ntokenizer: %s/tokenizer.json\ndata: {train: %s/text, cache: %s/cache}\n"
        "batch: {sequence: 48, tokens: 192, micro: 96}\noptim: {lr: 3e-3, steps: 100, schedule: "
        "constant}\nact: f32\ncheckpoint: {folder: %s/run-%s}\n",
        model, folder, folder, folder, folder, name);
    if (!recipe_read(&r, a, file_write(a, "family.yaml", yaml), NULL, 0, &err))
        fail_msg("%s: %s", name, err.msg);
    return r;
}

#define SIZES                                                                                      \
    "hidden_size: 24, num_hidden_layers: 2, num_attention_heads: 3, intermediate_size: 40, "       \
    "max_position_embeddings: 64, rms_norm_eps: 1e-6, vocab_size: 272, initializer_range: 0.1"
#define LATENT                                                                                     \
    ", q_lora_rank: 12, kv_lora_rank: 16, qk_nope_head_dim: 8, qk_rope_head_dim: 4, v_head_dim: "  \
    "12"
#define EXPERTS                                                                                    \
    ", n_routed_experts: 6, num_experts_per_tok: 2, n_shared_experts: 1, moe_intermediate_size: "  \
    "12, first_k_dense_replace: 1, n_group: 1, topk_group: 1, routed_scaling_factor: 1.5"

static void test_fresh(void **state) {
    need_own_speed();
    static const char *const models[][2] = {
        {"qwen2", "num_key_value_heads: 1, tie_word_embeddings: true, " SIZES},
        {"qwen3", "num_key_value_heads: 1, head_dim: 12, " SIZES},
        {"qwen3_moe", "num_key_value_heads: 1, head_dim: 12, num_experts: 5, num_experts_per_tok: "
                      "2, moe_intermediate_size: 12, norm_topk_prob: true, " SIZES},
        {"deepseek_v2", SIZES LATENT EXPERTS},
        {"glm4_moe_lite", SIZES LATENT EXPERTS ", norm_topk_prob: true"},
    };
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(models); i++) {
        const Recipe r = recipe_of(
            a, models[i][0], str_fmt(a, "model: {family: %s, %s}", models[i][0], models[i][1]).p);
        check_learns(a, models[i][0], &r, 12);
    }
}

static void test_init_from(void **state) {
    need_own_speed();
    static const char *const models[] = {"llama-tiny",
                                         "llama3-tiny",
                                         "qwen3-tiny",
                                         "qwen3-moe-tiny",
                                         "deepseek-v3-tiny",
                                         "deepseek-v2-lite-tiny",
                                         "deepseek-v3-bf16-tiny",
                                         "glm4-moe-lite-tiny",
                                         "deepseek-v3-mtp-tiny"};
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(models); i++) {
        const char *path = need_reference(a, str_fmt(a, "models/%s", models[i]).p);
        const Recipe r = recipe_of(a, models[i], str_fmt(a, "init_from: %s", path).p);
        check_learns(a, models[i], &r, 8);
    }
}

/* Quantised files are widened. */
static void test_init_from_gguf(void **state) {
    need_own_speed();
    Arena *a = *state;
    static const char *const files[] = {"llama-q8_0",    "llama-k",          "qwen2-q4_1",
                                        "qwen3moe-q8_0", "deepseek-v2-q4_1", "deepseek-v3-mixed"};
    for (int64_t i = 0; i < COUNT(files); i++) {
        const char *path = need_reference(a, str_fmt(a, "gguf/%s.gguf", files[i]).p);
        const Recipe r = recipe_of(a, files[i], str_fmt(a, "init_from: %s", path).p);
        check_learns(a, files[i], &r, 6);
    }
}

/* ---- further tokens -------------------------------------------------------------------------- */

static const char *const MTP[] = {"model.num_nextn_predict_layers=2", "act=f32"};

/* Each layer's rows: the token that follows a place, and the one k + 1 places behind that, both of
 * the same document. */
static void check_rows(const Trainer *t) {
    const Packed *b = &t->micro[t->n_micro - 1];
    for (int64_t k = 0; k < t->n_further; k++) {
        const Further *f = &t->further[k];
        int64_t row = 0, span = 0;
        for (int64_t j = 0; j < b->n_pieces; j++) {
            const int32_t *target = b->target + b->at[j];
            if (b->len[j] > k + 1) {
                assert_int_equal(f->span[span].row, row);
                assert_int_equal(f->span[span++].n, b->len[j] - 1 - k);
            }
            for (int64_t i = 0; i + k + 1 < b->len[j]; i++, row++) {
                assert_int_equal(f->token[row], target[i + k]);
                assert_int_equal(f->target[row], target[i + k + 1]);
            }
        }
        assert_int_equal(f->n, row);
        assert_int_equal(f->n_spans, span);
    }
}

static void test_mtp(void **state) {
    Arena *a = *state;
    StepStats s, one;
    const Recipe r = tiny_recipe(a, "deepseek_v3", MTP, 2);
    Trainer *t = open_trainer(&r, 2), *single;
    assert_int_equal(t->n_further, 2);
    step(t, &s);
    check_rows(t);
    assert_true(t->further[0].targets < s.targets);
    assert_true(t->further[1].targets < t->further[0].targets);
    const double first = s.mtp_loss;
    assert_true(fabs(first - log(272)) < 0.3);
    Hex two = model_hash(trainer_model(t));
    trainer_close(t);
    single = open_trainer(&r, 1); /* the same bits on one thread */
    step(single, &one);
    assert_string_equal(model_hash(trainer_model(single)).z, two.z);
    for (int i = 1; i < 20; i++) step(single, &one);
    print_message("further tokens: loss %.3f -> %.3f, main %.3f -> %.3f\n", first, one.mtp_loss,
                  s.loss, one.loss);
    assert_true(one.mtp_loss < first - 0.3);

    /* The checkpoint has the layers; those who do not ask for them do not see them. */
    Err err = {0};
    Store *store;
    Model *m;
    if (!trainer_save(single, &err)) fail_msg("%s", err.msg);
    two = model_hash(trainer_model(single));
    trainer_close(single);
    assert_true(store_open(&store, a, r.checkpoint.folder, &err));
    assert_non_null(store_find(store, STR("model.layers.3.eh_proj.weight")));
    assert_non_null(store_find(store, STR("model.layers.4.shared_head.norm.weight")));
    assert_true(model_open(&m, a, store, &err));
    assert_int_equal(m->n_layers, 3);
    assert_int_equal(m->cfg.mtp, 2);
    assert_true(model_open_mtp(&m, a, store, 2, &err));
    store_close(store);
    t = open_trainer(&r, 3);
    assert_string_equal(model_hash(trainer_model(t)).z, two.z);
    trainer_close(t);
}

/* A weight of 0 from the middle on: what only the further layers move then stays, but for decay and
 * the moments' memory, and the main loss is that of a run without them. */
static void test_mtp_weight(void **state) {
    Recipe r = {.mtp = {0.3, 0.1, 0.5}, .optim = {.steps = 10}};
    assert_true(mtp_weight_at(&r, 1) == 0.3 && mtp_weight_at(&r, 5) == 0.3);
    assert_true(mtp_weight_at(&r, 6) == 0.1 && mtp_weight_at(&r, 10) == 0.1);
    const char *set[] = {MTP[0], MTP[1], "mtp.weight=0", "mtp.weight_late=0", "optim.clip=0"};
    StepStats with, without;
    r = tiny_recipe(*state, "deepseek_v3", set, 5);
    Trainer *t = open_trainer(&r, 1);
    for (int i = 0; i < 3; i++) step(t, &with);
    trainer_close(t);
    const char *plain[] = {"act=f32", "optim.clip=0"};
    r = tiny_recipe(*state, "deepseek_v3", plain, 2);
    t = open_trainer(&r, 1);
    for (int i = 0; i < 3; i++) step(t, &without);
    trainer_close(t);
    assert_true(with.loss == without.loss && with.grad_norm == without.grad_norm);
    assert_true(with.mtp_loss == 0);
}

int families_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(test_fresh), ARENA_TEST(test_init_from),
                                       ARENA_TEST(test_init_from_gguf), ARENA_TEST(test_mtp),
                                       ARENA_TEST(test_mtp_weight)};
    return cmocka_run_group_tests_name("families", tests, NULL, NULL);
}
