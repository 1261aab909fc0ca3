/* config_gguf.c -- keys of GGUF files: what is absent, or there in another form, gives the
 * configuration that llama.cpp gives it, or is refused by name. docs/models.md has the list. */
#include "gguf_file.h"
#include <stdio.h>

/* The keys of a small model without one, and with one more: a number, a bool or a text. */
typedef struct Case {
    const char *model, *drop, *add;
    double number;
    const char *text; /* "true", "false": a bool; another: a string; NULL: `number` */
    const char *says; /* in the message; NULL: read, and the same as the model's config.json */
} Case;

#define LLAMA    "llama-tiny"
#define V2       "deepseek-v2-lite-tiny"
#define V3       "deepseek-v3-tiny"
#define QWEN2    "qwen2-mini"
#define QWEN3    "qwen3-mini"
#define QWEN_MOE "qwen3-moe-mini"
#define L_(k)    "llama." k
#define Q_(k)    "qwen3moe." k
#define D_(k)    "deepseek2." k

static const Case cases[] = {
    {LLAMA, NULL, NULL, 0, NULL, NULL},
    {V2, NULL, NULL, 0, NULL, NULL},
    {V3, NULL, NULL, 0, NULL, NULL},

    {LLAMA, L_("block_count"), NULL, 0, NULL, "block_count: is missing"},
    {LLAMA, L_("embedding_length"), NULL, 0, NULL, "embedding_length: is missing"},
    {LLAMA, L_("attention.head_count"), NULL, 0, NULL, "head_count: is missing"},
    {LLAMA, L_("feed_forward_length"), NULL, 0, NULL, "feed_forward_length: is missing"},
    {LLAMA, L_("context_length"), NULL, 0, NULL, "context_length: is missing"},
    {LLAMA, L_("attention.layer_norm_rms_epsilon"), NULL, 0, NULL, "epsilon: is missing"},
    {LLAMA, L_("rope.freq_base"), NULL, 0, NULL, NULL}, /* 10000 */
    {LLAMA, L_("rope.dimension_count"), NULL, 0, NULL, NULL},
    {LLAMA, L_("vocab_size"), NULL, 0, NULL, NULL},

    {LLAMA, NULL, L_("attention.key_length"), 12, NULL, NULL},
    {LLAMA, NULL, L_("attention.value_length"), 12, NULL, NULL},
    {LLAMA, NULL, L_("attention.value_length"), 8, NULL, "value_length: is 8"},
    {LLAMA, L_("rope.dimension_count"), L_("rope.dimension_count"), 6, NULL,
     "dimension_count: is 6"},
    {LLAMA, NULL, L_("expert_count"), 0, NULL, NULL},
    {LLAMA, NULL, L_("expert_count"), 8, NULL, "expert_count: is 8"},
    {LLAMA, NULL, L_("rope.scale_linear"), 1, NULL, NULL},
    {LLAMA, NULL, L_("rope.scale_linear"), 4, NULL, "scale_linear: is 4"},
    {LLAMA, NULL, L_("rope.scaling.factor"), 1, NULL, NULL},
    {LLAMA, NULL, L_("rope.scaling.factor"), 4, NULL, "scaling.factor: is 4: linear"},
    {LLAMA, NULL, L_("rope.scaling.type"), 0, "linear", NULL},
    {LLAMA, NULL, L_("rope.scaling.type"), 0, "none", NULL},
    {LLAMA, NULL, L_("rope.scaling.type"), 0, "longrope", "\"longrope\""},
    {LLAMA, NULL, L_("rope.scaling.type"), 0, "yarn", "scaling.factor: is missing"},
    {LLAMA, NULL, L_("rope.scaling.attn_factor"), 1, NULL, NULL},
    {LLAMA, NULL, L_("rope.scaling.attn_factor"), 0.5, NULL, "attn_factor: is 0.5"},
    {LLAMA, NULL, L_("attention.sliding_window"), 0, NULL, NULL},
    {LLAMA, NULL, L_("attention.sliding_window"), 8, NULL, "sliding_window: is 8"},
    {LLAMA, NULL, L_("attention.causal"), 0, "true", NULL},
    {LLAMA, NULL, L_("attention.causal"), 0, "false", "causal: is false"},
    {LLAMA, NULL, L_("tensor_data_layout"), 0, "Meta AI original pth", NULL},
    {LLAMA, NULL, L_("logit_scale"), 0.5, NULL, "logit_scale: is 0.5"},

    {V2, D_("expert_group_count"), NULL, 0, NULL, "expert_group_count: is missing"},
    {V2, D_("expert_weights_norm"), NULL, 0, NULL, NULL},  /* false */
    {V2, D_("expert_weights_scale"), NULL, 0, NULL, NULL}, /* 1 */
    {V2, D_("leading_dense_block_count"), NULL, 0, NULL, "block_count: is missing"},
    {V2, D_("expert_shared_count"), NULL, 0, NULL, "shared_count: is missing"},
    {V2, D_("attention.kv_lora_rank"), NULL, 0, NULL, "kv_lora_rank: is missing"},

    {V3, D_("expert_group_count"), NULL, 0, NULL, "expert_group_count: is missing"},
    {V3, D_("expert_group_used_count"), NULL, 0, NULL, "expert_group_used_count: is missing"},
    {V3, D_("expert_weights_norm"), NULL, 0, NULL, "expert_weights_norm: is missing"},
    {V3, D_("expert_weights_scale"), NULL, 0, NULL, "expert_weights_scale: is missing"},
    {V3, D_("expert_used_count"), NULL, 0, NULL, "expert_used_count: is missing"},
    {V3, D_("expert_feed_forward_length"), NULL, 0, NULL, "forward_length: is missing"},
    {V3, D_("rope.dimension_count"), NULL, 0, NULL, "dimension_count: is missing"},
    {V3, D_("rope.scaling.yarn_log_multiplier"), NULL, 0, NULL, "log_multiplier: is missing"},
    {V3, D_("rope.scaling.yarn_log_multiplier"), D_("rope.scaling.yarn_log_multiplier"), 0, NULL,
     "log_multiplier: is 0"},
    {V3, D_("rope.scaling.type"), NULL, 0, NULL, "scaling.factor: is 4: linear"},
    {V3, D_("rope.scaling.factor"), NULL, 0, NULL, "scaling.factor: is missing"},
    {V3, NULL, D_("rope.scaling.yarn_beta_fast"), 32, NULL, NULL},
    {V3, NULL, D_("rope.scaling.yarn_ext_factor"), 1, NULL, NULL},
    {V3, NULL, D_("rope.scaling.yarn_ext_factor"), 0.5, NULL, "ext_factor: is 0.5"},
    {V3, D_("expert_gating_func"), D_("expert_gating_func"), 4, NULL, "gating_func: is 4"},
    {V3, D_("attention.key_length"), NULL, 0, NULL, "key_length: is 0"},
    {V3, D_("attention.value_length"), NULL, 0, NULL, "value_length: is 0"},
    {V3, NULL, D_("attention.key_length_mla"), 24, NULL, "value_length_mla: is missing"},
    {V3, NULL, D_("attention.value_length_mla"), 12, NULL, "key_length_mla: is missing"},
    {V3, NULL, "lisao.mla_form", 0, "folded",
     ": lisao.mla_form: is \"folded\", supported are expanded"},
    {V3, NULL, "lisao.mla_form", 1, NULL, "lisao.mla_form"},
    {V3, NULL, D_("nextn_predict_layers"), 0, NULL, NULL},
    {V3, NULL, D_("nextn_predict_layers"), 3, NULL, "nextn_predict_layers: is 3 beside 3 layers"},
    {V3, NULL, D_("nextn_predict_layers"), 4e9, NULL, "nextn_predict_layers: is 4000000000"},
    {LLAMA, NULL, L_("nextn_predict_layers"), 1, NULL, "nextn_predict_layers: is 1"},

    {QWEN2, NULL, NULL, 0, NULL, NULL},
    {QWEN2, NULL, "qwen2.attention.key_length", 8, NULL, NULL},
    {QWEN2, NULL, "qwen2.rope.scaling.yarn_log_multiplier", 0.1, NULL, NULL}, /* without yarn */
    {QWEN2, NULL, "qwen2.attention.sliding_window", 8, NULL, "sliding_window: is 8"},
    {QWEN3, NULL, NULL, 0, NULL, NULL},
    {QWEN_MOE, NULL, NULL, 0, NULL, NULL},
    {QWEN_MOE, Q_("expert_used_count"), NULL, 0, NULL, "expert_used_count: is missing"},
    {QWEN_MOE, Q_("expert_feed_forward_length"), NULL, 0, NULL, "forward_length: is missing"},
    {QWEN_MOE, NULL, Q_("expert_shared_feed_forward_length"), 0, NULL, NULL},
    {QWEN_MOE, NULL, Q_("expert_shared_feed_forward_length"), 8, NULL, "forward_length: is 8"},
    {QWEN_MOE, NULL, Q_("expert_gating_func"), 1, NULL, NULL},
    {QWEN_MOE, NULL, Q_("expert_gating_func"), 2, NULL, "gating_func: is 2"},
    {QWEN_MOE, NULL, Q_("expert_weights_norm"), 0, "true", NULL},
    {QWEN_MOE, NULL, Q_("expert_weights_norm"), 0, "false", "weights_norm: is false"},
};

static Config release_config(Arena *a, const char *model) {
    Err err = {0};
    Str text;
    Config c;
    const char *path = need_reference(a, str_fmt(a, "models/%s/config.release.json", model).p);
    must(os_read(a, &text, path, 1 << 20, &err), &err);
    must(config_parse(&c, text, path, &err), &err);
    return c;
}

static bool written_config(Config *out, File *f, Err *err) {
    Temp temp;
    Store *s;
    temp_make(&temp, f->a);
    file_write(f, temp.path);
    must(store_open(&s, f->a, temp.path, err), err);
    bool ok = config_read(out, s, err);
    store_close(s);
    temp_remove(&temp);
    return ok;
}

/* The file's configuration, where its tensors are those that say the vocabulary and that the head
 * is its own. */
static bool config_of(Config *out, File *f, const Config *c, Err *err) {
    float *x = PUSH(f->a, float, 4 * c->C);
    tensor(f, "token_embd.weight", x, 2, (int64_t[]){4, c->C});
    if (!c->tied) tensor(f, "output.weight", x, 2, (int64_t[]){4, c->C});
    return written_config(out, f, err);
}

static void case_add(File *f, const Case *t) {
    f->drop = NULL;
    if (!t->add) return;
    if (t->text && (!strcmp(t->text, "true") || !strcmp(t->text, "false")))
        key_bool(f, t->add, !strcmp(t->text, "true"));
    else if (t->text)
        key_str(f, t->add, t->text);
    else if (t->number == (double)(int64_t)t->number && !strstr(t->add, "scal"))
        key_u32(f, t->add, (int64_t)t->number);
    else
        key_f32(f, t->add, t->number);
}

static void keys(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 26);
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const Case *t = &cases[i];
        Mark mark = arena_mark(a);
        Config c = release_config(a, t->model), got;
        c.V = 4, c.eos[0] = 1, c.bos = -1, c.mtp = 0;
        File f = file_new(a);
        f.drop = t->drop;
        keys_write(&f, &c, false);
        case_add(&f, t);
        Err err = {0};
        bool ok = config_of(&got, &f, &c, &err);
        if (ok != !t->says || (t->says && !strstr(err.msg, t->says)))
            fail_msg("%s without %s with %s: %s", t->model, t->drop, t->add, err.msg);
        if (ok && !str_eq(config_json(a, &got), config_json(a, &c)))
            fail_msg("%s without %s with %s is read as another model", t->model, t->drop, t->add);
        arena_pop(a, mark);
    }
    arena_close(a);
}

/* Files of released models that are older than the keys of groups have the groups of the
 * release. */
static void released_groups(void **state) {
    static const struct {
        const char *model;
        int64_t L, C, E, K, groups, used;
    } released[] = {
        {V2, 27, 2048, 64, 6, 1, 1},  {V2, 60, 5120, 160, 6, 8, 3}, {V3, 61, 7168, 256, 8, 8, 4},
        {V3, 61, 7168, 384, 8, 1, 1}, {V3, 47, 2048, 64, 4, 1, 1},  {V3, 61, 7168, 320, 8, 0, 0},
    };
    (void)state;
    Arena *a = arena_open("keys", 1 << 26);
    for (int64_t i = 0; i < COUNT(released); i++) {
        Config c = release_config(a, released[i].model), got;
        c.V = 4, c.eos[0] = 1;
        c.L = released[i].L, c.C = released[i].C, c.E = released[i].E, c.K = released[i].K;
        File f = file_new(a);
        c.router.groups = 0; /* neither key is written */
        keys_write(&f, &c, true);
        Err err = {0};
        bool ok = config_of(&got, &f, &c, &err);
        if (!released[i].groups) {
            assert_false(ok);
            continue;
        }
        must(ok, &err);
        assert_int_equal(got.router.groups, released[i].groups);
        assert_int_equal(got.router.groups_used, released[i].used);
    }
    arena_close(a);
}

/* The first files of GLM-4.7-Flash say neither the router nor, of older ones, that it is a sigmoid:
 * their sizes do. */
static void glm_gating(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 28);
    for (int64_t vocabulary = 154879; vocabulary <= 154880; vocabulary++) {
        Config c = release_config(a, "glm4-moe-lite-mini"), got;
        c.L = 47, c.C = 1, c.V = vocabulary;
        File f = file_new(a);
        f.drop = D_("expert_gating_func");
        keys_write(&f, &c, true);
        float *x = PUSH(a, float, vocabulary);
        tensor(&f, "token_embd.weight", x, 2, (int64_t[]){vocabulary, 1});
        Err err = {0};
        bool ok = written_config(&got, &f, &err);
        if (vocabulary == 154880) {
            must(ok, &err);
            assert_true(got.family == FAMILY_DEEPSEEK3 && got.router.kind == ROUTER_SIGMOID);
        } else { /* a softmax, which does not go with the norm */
            assert_false(ok);
            assert_non_null(strstr(err.msg, "deepseek_v2"));
        }
    }
    arena_close(a);
}

/* A layer that predicts a further token is no layer of the model: whether block_count has it, and
 * whether its tensors are there. */
static void further_layers(void **state) {
    static const struct {
        int64_t blocks; /* as the key says */
        const char *tensor;
    } cases_of[] = {
        {4, "blk.3.nextn.eh_proj.weight"},
        {4, NULL},
        {3, "blk.2.attn_norm.weight"},
    };
    (void)state;
    Arena *a = arena_open("keys", 1 << 26);
    for (int64_t i = 0; i < COUNT(cases_of); i++) {
        Config c = release_config(a, V3), got;
        c.V = 4, c.L = cases_of[i].blocks;
        File f = file_new(a);
        keys_write(&f, &c, true);
        key_u32(&f, D_("nextn_predict_layers"), 1);
        float x[4] = {0};
        if (cases_of[i].tensor) tensor(&f, cases_of[i].tensor, x, 1, (int64_t[]){4});
        Err err = {0};
        must(config_of(&got, &f, &c, &err), &err);
        assert_int_equal(got.L, 3);
        assert_int_equal(got.mtp, 1);
    }
    arena_close(a);
}

/* YaRN without its original length means the context's. */
static void yarn_length(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 26);
    Config c = release_config(a, V3), got;
    c.V = 4;
    File f = file_new(a);
    f.drop = D_("rope.scaling.original_context_length");
    keys_write(&f, &c, true);
    Err err = {0};
    must(config_of(&got, &f, &c, &err), &err);
    assert_true(got.rope.original == (double)c.max_positions && got.rope.scaling == ROPE_YARN);
    arena_close(a);
}

/* The integer keys of f's file. */
static int64_t integer_keys(File *f, const char **name, int64_t most) {
    Err err = {0};
    Temp temp;
    Store *s;
    int64_t n = 0;
    temp_make(&temp, f->a);
    file_write(f, temp.path);
    must(store_open(&s, f->a, temp.path, &err), &err);
    for (int64_t i = 0; i < store_meta_count(s) && n < most; i++) {
        const char *key = str_copy(f->a, store_meta_key(s, i)).p;
        if (store_meta_type(s, key) == META_INT) name[n++] = key;
    }
    store_close(s);
    temp_remove(&temp);
    return n;
}

/* Every integer of a file is set to what no model has. It is refused by name or for what it does
 * not fit to, or it does not decide a size; never is a sum or difference of it taken before its
 * range is known (under -fsanitize of undefined behaviour this test ends there). */
static void extreme_numbers(void **state) {
    (void)state;
    static const char *const tested[] = {LLAMA, V2, V3};
    Arena *a = arena_open("keys", 1 << 26);
    for (int64_t m = 0; m < 2 * COUNT(tested); m++) {
        const char *name[64];
        Config c = release_config(a, tested[m / 2]), got;
        c.V = 4, c.eos[0] = 1, c.bos = -1, c.mtp = 0;
        File all = file_new(a);
        keys_write(&all, &c, m % 2);
        int64_t n = integer_keys(&all, name, COUNT(name)), refused = 0;
        assert_true(n > 8);
        for (int64_t i = 0; i < n * COUNT(EXTREMES); i++) {
            Mark mark = arena_mark(a);
            Err err = {0};
            File f = file_new(a);
            f.swap = name[i / COUNT(EXTREMES)], f.with = EXTREMES[i % COUNT(EXTREMES)];
            keys_write(&f, &c, m % 2);
            bool ok = config_of(&got, &f, &c, &err);
            const char *last = strrchr(f.swap, '.');
            if (ok ? config_count(&got) != config_count(&c)
                   : !extreme_refused(&err, last ? last : f.swap))
                fail_msg("%s with %s = %lld: %s", tested[m / 2], f.swap, (long long)f.with,
                         ok ? "accepted" : err.msg);
            refused += !ok;
            arena_pop(a, mark);
        }
        assert_true(refused > n * COUNT(EXTREMES) / 2);
    }
    arena_close(a);
}

int test_config_gguf(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),           cmocka_unit_test(released_groups),
        cmocka_unit_test(yarn_length),    cmocka_unit_test(glm_gating),
        cmocka_unit_test(further_layers), cmocka_unit_test(extreme_numbers),
    };
    return cmocka_run_group_tests_name("model keys of GGUF", tests, NULL, NULL);
}
