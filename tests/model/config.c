/* config.c -- configurations: both spellings say the same, what is written reads back, and what
 * would change the arithmetic unseen is refused by name. */
#include "tests.h"
#include <stdio.h>

static const char *const models[] = {"llama-tiny", "llama3-tiny", "deepseek-v2-lite-tiny",
                                     "deepseek-v3-tiny", "deepseek-v3-mtp-tiny"};

static Str text_of(Arena *a, const char *model, const char *file) {
    Err err = {0};
    Str text;
    const char *path = need_reference(a, str_fmt(a, "models/%s/%s", model, file).p);
    assert_non_null(path);
    must(os_read(a, &text, path, 1 << 20, &err), &err);
    return text;
}

static Config parsed(Str json) {
    Config c;
    Err err = {0};
    must(config_parse(&c, json, "config.json", &err), &err);
    return c;
}

/* All that config_json writes, and what it does not: sizes that follow from others. */
static void same(Arena *a, const Config *x, const Config *y) {
    Str p = config_json(a, x), q = config_json(a, y);
    assert_true(str_eq(p, q));
    assert_int_equal(x->G, y->G);
    assert_int_equal(x->D, y->D);
    assert_int_equal(x->rope.dim, y->rope.dim);
    assert_int_equal(x->first_dense, y->first_dense);
    assert_int_equal(x->router.kind, y->router.kind);
    assert_int_equal(x->router.E, y->router.E);
    assert_int_equal(x->router.K, y->router.K);
}

static void both_spellings(void **state) {
    (void)state;
    Arena *a = arena_open("config", 1 << 24);
    for (int64_t i = 0; i < COUNT(models); i++) {
        Config x = parsed(text_of(a, models[i], "config.json"));
        Config y = parsed(text_of(a, models[i], "config.release.json"));
        Config z = parsed(config_json(a, &x));
        same(a, &x, &y);
        same(a, &x, &z);
    }
    arena_close(a);
}

static void values(void **state) {
    (void)state;
    Arena *a = arena_open("config", 1 << 24);
    Config c = parsed(text_of(a, "deepseek-v3-tiny", "config.release.json"));
    assert_int_equal(c.family, FAMILY_DEEPSEEK3);
    assert_true(c.mla && c.L == 3 && c.C == 48 && c.H == 4 && c.Q == 24 && c.R == 32);
    assert_true(c.d_nope == 16 && c.d_rope == 8 && c.d_v == 12 && c.D == 24);
    assert_true(c.E == 16 && c.K == 4 && c.shared == 1 && c.F_moe == 16 && c.first_dense == 1);
    assert_true(c.router.groups == 4 && c.router.groups_used == 2 && c.router.norm);
    assert_true(c.router.scale == 2.5f && c.router.kind == ROUTER_SIGMOID && c.eps == 1e-6f);
    assert_true(c.rope.pairs && c.rope.scaling == ROPE_YARN && c.rope.factor == 4);
    assert_true(c.rope.original == 16 && c.rope.mscale_all_dim == 1 && c.rope.dim == 8);
    assert_true(c.bos == 0 && c.n_eos == 1 && c.eos[0] == 1 && !c.tied && !c.recorded_mla);
    arena_close(a);
}

/* A file that is llama-tiny's with one member more or another value: `has` must stand in the
 * message. */
static const struct {
    const char *model, *member, *has;
    ErrCode code;
} wrong[] = {
    {"llama-tiny", "\"sliding_window\": 16", "sliding_window", ERR_UNSUPPORTED},
    {"llama-tiny", "\"final_logit_softcapping\": 30.0", "final_logit_softcapping", ERR_UNSUPPORTED},
    {"llama-tiny", "\"attention_bias\": true", "attention_bias", ERR_UNSUPPORTED},
    {"llama-tiny", "\"hidden_act\": \"gelu\"", "gelu", ERR_UNSUPPORTED},
    {"llama-tiny", "\"model_type\": \"mamba\"", "mamba", ERR_UNSUPPORTED},
    {"llama-tiny", "\"quantization_config\": {\"fmt\": \"e4m3\"}", "quantization_config",
     ERR_UNSUPPORTED},
    {"llama-tiny", "\"rope_parameters\": {\"rope_type\": \"dynamic\", \"factor\": 2}", "dynamic",
     ERR_UNSUPPORTED},
    {"llama-tiny", "\"rope_parameters\": {\"partial_rotary_factor\": 0.5}", "partial_rotary_factor",
     ERR_UNSUPPORTED},
    {"llama-tiny", "\"attention_dropout\": 0.1", "attention_dropout", ERR_UNSUPPORTED},
    {"llama-tiny", "\"num_hidden_layers\": 1e18", "num_hidden_layers", ERR_FORMAT},
    {"llama-tiny", "\"num_hidden_layers\": -3", "num_hidden_layers", ERR_FORMAT},
    {"llama-tiny", "\"hidden_size\": null", "hidden_size", ERR_FORMAT},
    {"llama-tiny", "\"hidden_size\": \"48\"", "hidden_size", ERR_FORMAT},
    {"llama-tiny", "\"num_key_value_heads\": 3", "query heads", ERR_FORMAT},
    {"llama-tiny", "\"head_dim\": 13", "even", ERR_FORMAT},
    {"llama-tiny", "\"head_dim\": null, \"hidden_size\": 6144", "1024 numbers", ERR_FORMAT},
    {"llama-tiny", "\"eos_token_id\": [1, 320]", "end token", ERR_FORMAT},
    {"llama-tiny", "\"eos_token_id\": [1, \"2\"]", "eos_token_id", ERR_FORMAT},
    {"llama-tiny", "\"bos_token_id\": 0.5", "bos_token_id", ERR_FORMAT},
    {"deepseek-v3-tiny", "\"n_group\": 5", "equal groups", ERR_FORMAT},
    {"deepseek-v3-tiny", "\"topk_group\": 0", "topk_group", ERR_FORMAT},
    {"deepseek-v3-tiny", "\"num_experts_per_tok\": 17", "experts per token", ERR_FORMAT},
    {"deepseek-v3-tiny", "\"num_experts_per_tok\": 9", "groups used", ERR_FORMAT},
    {"deepseek-v3-tiny", "\"scoring_func\": \"softmax\"", "scoring_func", ERR_UNSUPPORTED},
    {"deepseek-v3-tiny", "\"moe_layer_freq\": 2", "moe_layer_freq", ERR_UNSUPPORTED},
    {"deepseek-v3-tiny", "\"index_topk\": 2048", "index_topk", ERR_UNSUPPORTED},
    {"deepseek-v3-tiny", "\"qk_head_dim\": 32", "qk_head_dim", ERR_UNSUPPORTED},
    {"deepseek-v2-lite-tiny", "\"norm_topk_prob\": true", "norm_topk_prob", ERR_FORMAT},
};

static void refused(void **state) {
    (void)state;
    Arena *a = arena_open("config", 1 << 24);
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        Str base = text_of(a, wrong[i].model, "config.json");
        json_t *o = json_loadb(base.p, (size_t)base.n, 0, NULL);
        json_t *more = json_loads(str_fmt(a, "{%s}", wrong[i].member).p, 0, NULL);
        assert_true(o && more);
        json_object_update(o, more);
        char *text = json_dumps(o, 0);
        Config c;
        Err err = {0};
        assert_false(config_parse(&c, str_of(text), "config.json", &err));
        if (err.code != wrong[i].code || !strstr(err.msg, wrong[i].has))
            fail_msg("%s: %s", wrong[i].member, err.msg);
        free(text);
        json_decref(more);
        json_decref(o);
    }
    arena_close(a);
}

/* null and false switch an unknown key off; keys that begin with _ are notes. */
static void harmless(void **state) {
    (void)state;
    Arena *a = arena_open("config", 1 << 24);
    Str base = text_of(a, "llama-tiny", "config.json");
    Config c = parsed(base);
    Str more = str_fmt(a, "{\"sliding_window\": null, \"softcap\": false, \"_note\": 7, %.*s",
                       (int)(base.n - 1), base.p + 1);
    Config d = parsed(more);
    same(a, &c, &d);
    arena_close(a);
}

static void not_json(void **state) {
    (void)state;
    static const char *const texts[] = {"",  "[]",  "{\"a\": 1, \"a\": 2}",
                                        "{", "nul", "{\"model_type\": 3}"};
    for (int64_t i = 0; i < COUNT(texts); i++) {
        Config c;
        Err err = {0};
        assert_false(config_parse(&c, str_of(texts[i]), "some/config.json", &err));
        assert_non_null(strstr(err.msg, "some/config.json"));
    }
}

int test_config(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_spellings), cmocka_unit_test(values),   cmocka_unit_test(refused),
        cmocka_unit_test(harmless),       cmocka_unit_test(not_json),
    };
    return cmocka_run_group_tests_name("model config", tests, NULL, NULL);
}
