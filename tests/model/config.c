/* config.c -- configurations: both spellings say the same, what is written reads back, and what
 * would change the arithmetic unseen is refused by name. */
#include "tests.h"
#include <stdio.h>

static const char *const models[] = {
    "llama-tiny",           "llama3-tiny",          "deepseek-v2-lite-tiny",
    "deepseek-v3-tiny",     "deepseek-v3-mtp-tiny", "qwen2-mini",
    "qwen2-yarn-mini",      "qwen3-mini",           "qwen3-moe-mini",
    "qwen3-moe-dense-mini", "glm4-moe-lite-mini",   "deepseek-v2-groups-mini",
    "moonlight-mini"};

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

/* A config.json without one key and with others, each in the place of the one that was there.
 * `release` has rope_theta and rope_scaling, the other rope_parameters. */
typedef struct Case {
    const char *file, *drop, *members;
    const char *says; /* in the message; NULL: the same configuration as before */
} Case;

#define LLAMA   "llama-tiny/config.json"
#define LLAMA_R "llama-tiny/config.release.json"
#define LLAMA3  "llama3-tiny/config.release.json"
#define V2      "deepseek-v2-lite-tiny/config.release.json"
#define V3      "deepseek-v3-tiny/config.release.json"
#define Q2      "qwen2-mini/config.release.json"
#define Q3      "qwen3-mini/config.release.json"
#define QM      "qwen3-moe-mini/config.release.json"
#define QD      "qwen3-moe-dense-mini/config.release.json"
#define GLM     "glm4-moe-lite-mini/config.release.json"
#define YARN    "'type': 'yarn', 'factor': 4.0, 'original_max_position_embeddings': 16"
#define YARN_V3 YARN ", 'beta_fast': 32, 'beta_slow': 1, 'mscale': 1.0, 'mscale_all_dim': 1.0"

/* Sizes and types. */
static const Case values_wrong[] = {
    {LLAMA, NULL, "'hidden_act': 'gelu'", "gelu"},
    {LLAMA, NULL, "'hidden_act': 'swish'", NULL},
    {LLAMA, "hidden_act", "", NULL},
    {LLAMA, NULL, "'model_type': 'mamba'", "mamba"},
    {LLAMA, "model_type", "", "has no model_type"},
    {LLAMA, NULL, "'num_hidden_layers': 1e18", "num_hidden_layers: is 1e18, expected a whole"},
    {LLAMA, NULL, "'num_hidden_layers': -3", "num_hidden_layers: is -3"},
    {LLAMA, NULL, "'hidden_size': '48'", "hidden_size: is \"48\""},
    {LLAMA, NULL, "'tie_word_embeddings': 0", "tie_word_embeddings: is 0, expected true"},
    {LLAMA, NULL, "'num_key_value_heads': 3", "query heads"},
    {LLAMA, NULL, "'head_dim': 13", "even"},
    {LLAMA, NULL, "'head_dim': null, 'hidden_size': 6144", "1024 numbers"},
    {LLAMA, NULL, "'eos_token_id': [1, 320]", "end token"},
    {LLAMA, NULL, "'eos_token_id': [1, '2']", "eos_token_id"},
    {LLAMA, NULL, "'bos_token_id': 0.5", "bos_token_id: is 0.5"},
    {V3, NULL, "'n_group': 5", "equal groups"},
    {V3, NULL, "'topk_group': 0", "topk_group"},
    {V3, NULL, "'num_experts_per_tok': 17", "experts per token"},
    {V3, NULL, "'num_experts_per_tok': 9", "groups used"},
    {V3, NULL, "'scoring_func': 'softmax'", "scoring_func"},
    {V3, NULL, "'moe_layer_freq': 2", "moe_layer_freq: is 2"},
    {V3, NULL, "'qk_head_dim': 32", "qk_head_dim: is 32"},
    {V3, NULL, "'num_key_value_heads': 2", "num_key_value_heads: is 2"},
    {V2, NULL, "'norm_topk_prob': true", "norm_topk_prob"},
    {V3, NULL, "'num_experts_per_tok': 1", "norm_topk_prob with one expert"},
};

/* Keys that are absent or null: docs/models.md lists all. */
static const Case absent[] = {
    {LLAMA, "num_hidden_layers", "", "num_hidden_layers: is missing"},
    {LLAMA, "hidden_size", "", "hidden_size: is missing"},
    {LLAMA, NULL, "'hidden_size': null", "hidden_size: is null"},
    {LLAMA, "vocab_size", "", "vocab_size: is missing"},
    {LLAMA, "num_attention_heads", "", "num_attention_heads: is missing"},
    {LLAMA, "intermediate_size", "", "intermediate_size: is missing"},
    {LLAMA, "rms_norm_eps", "", "rms_norm_eps: is missing"},
    {LLAMA, "max_position_embeddings", "", "max_position_embeddings: is missing"},
    {LLAMA, "head_dim", "", NULL},
    {LLAMA, NULL, "'head_dim': null", NULL},
    {LLAMA, "tie_word_embeddings", "", NULL},
    {LLAMA, NULL, "'tie_word_embeddings': null", NULL},
    {LLAMA, "rope_parameters", "", NULL}, /* 10000, not scaled */
    {LLAMA_R, "rope_theta", "", NULL},
    {LLAMA_R, NULL, "'rope_theta': null", "rope_theta: is null"},
    {LLAMA3, NULL,
     "'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, "
     "'original_max_position_embeddings': 64}",
     "high_freq_factor: is missing"},
    {LLAMA3, NULL,
     "'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0, 'high_freq_factor': 4.0,"
     " 'original_max_position_embeddings': 64}",
     "low_freq_factor: is missing"},
    {LLAMA3, NULL,
     "'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0, 'high_freq_factor': 4.0,"
     " 'low_freq_factor': 1.0}",
     "original_max_position_embeddings: is missing"},
    {LLAMA3, NULL,
     "'rope_scaling': {'rope_type': 'llama3', 'low_freq_factor': 1.0, "
     "'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}",
     "factor: is missing"},

    {V2, "q_lora_rank", "", "q_lora_rank: is missing"},
    {V2, NULL, "'q_lora_rank': 0", NULL},
    {V3, "kv_lora_rank", "", "kv_lora_rank: is missing"},
    {V3, "qk_nope_head_dim", "", "qk_nope_head_dim: is missing"},
    {V3, "qk_rope_head_dim", "", "qk_rope_head_dim: is missing"},
    {V3, "v_head_dim", "", "v_head_dim: is missing"},
    {V3, "n_routed_experts", "", "n_routed_experts: is missing"},
    {V3, "num_experts_per_tok", "", "num_experts_per_tok: is missing"},
    {V3, "moe_intermediate_size", "", "moe_intermediate_size: is missing"},
    {V3, "n_shared_experts", "", "n_shared_experts: is missing"},
    {V3, "first_k_dense_replace", "", "first_k_dense_replace: is missing"},
    {V2, NULL, "'first_k_dense_replace': null", "first_k_dense_replace: is null"},
    {V3, "n_group", "", "n_group: is missing"},
    {V3, NULL, "'n_group': null", "n_group: is null"},
    {V3, "topk_group", "", "topk_group: is missing"},
    {V3, "norm_topk_prob", "", "norm_topk_prob: is missing"},
    {V3, NULL, "'norm_topk_prob': null", "norm_topk_prob: is null"},
    {V3, "routed_scaling_factor", "", "routed_scaling_factor: is missing"},
    {V2, "n_group", "", NULL}, /* greedy looks at no groups */
    {V2, NULL, "'n_group': null, 'topk_group': null", NULL},
    {V2, "n_group", "'topk_method': 'group_limited_greedy'", "n_group: is missing"},
    {V2, "topk_group", "'topk_method': 'group_limited_greedy'", "topk_group: is missing"},
    {V2, "norm_topk_prob", "", NULL},
    {V2, "routed_scaling_factor", "", NULL},
    {V2, NULL, "'routed_scaling_factor': null", "routed_scaling_factor: is null"},
    {V2, "topk_method", "", NULL},
    {V2, "scoring_func", "", NULL},
    {V3, "topk_method", "", NULL},
    {V3, "scoring_func", "", NULL},
    {V3, "num_nextn_predict_layers", "", NULL},
    {V3, "num_key_value_heads", "", NULL},
    {V3, NULL, "'rope_interleave': true", NULL},
    {V3, NULL, "'rope_interleave': null", "rope_interleave: is null"},

    {V3, NULL, "'rope_scaling': {" YARN ", 'mscale': 1.0, 'mscale_all_dim': 1.0}", NULL},
    {V3, NULL,
     "'rope_scaling': {" YARN ", 'beta_fast': null, 'beta_slow': null, 'mscale': 1.0, "
     "'mscale_all_dim': 1.0}",
     NULL},
    {V3, NULL, "'rope_scaling': {'type': 'yarn', 'factor': 4.0}",
     "original_max_position_embeddings: is missing"},
    {V3, NULL, "'rope_scaling': {'type': 'yarn', 'original_max_position_embeddings': 16}",
     "factor: is missing"},
    {V3, NULL, "'rope_scaling': {" YARN ", 'mscale_all_dim': 1.0}", "mscale: and mscale_all_dim"},
    {V3, NULL, "'rope_scaling': {" YARN ", 'mscale': 0.7}", "mscale: and mscale_all_dim"},
    {V3, NULL, "'rope_scaling': {" YARN ", 'mscale': 0, 'mscale_all_dim': 0}", "mscale: and"},
    {V3, NULL, "'rope_scaling': {" YARN ", 'mscale': 0, 'mscale_all_dim': 1}", "mscale: and"},
};

/* Two keys for one thing. */
static const Case twice[] = {
    {V3, NULL, "'rope_parameters': null", NULL},
    {V3, NULL, "'rope_parameters': {}", NULL},
    {V3, "rope_scaling", "'rope_parameters': {" YARN_V3 "}", NULL},
    {V3, NULL, "'rope_parameters': {" YARN_V3 "}", NULL}, /* the same */
    {V3, NULL, "'rope_parameters': {'rope_type': 'default'}", "rope_scaling: stands beside"},
    {V3, NULL, "'rope_parameters': {" YARN "}", "rope_scaling: stands beside"},
    {LLAMA, NULL, "'rope_theta': 10000", NULL},
    {LLAMA, NULL, "'rope_theta': 500000.0", "rope_theta: is 500000.0, and 10000.0"},
    {V3, NULL, "'rope_scaling': {" YARN_V3 ", 'rope_type': null}", NULL},
    {V3, NULL, "'rope_scaling': {" YARN_V3 ", 'rope_type': 'yarn'}", NULL},
    {V3, NULL, "'rope_scaling': {" YARN_V3 ", 'rope_type': 'default'}", "rope_type: is"},
    {V3, NULL, "'rope_scaling': {" YARN_V3 ", 'rope_type': 'linear'}", "rope_type: is"},
    {LLAMA3, NULL,
     "'rope_scaling': {'rope_type': null, 'type': 'llama3', 'factor': 8.0, "
     "'high_freq_factor': 4.0, 'low_freq_factor': 1.0, 'original_max_position_embeddings': 64}",
     NULL},
    {V3, NULL, "'num_mtp_layers': 0", NULL},
    {V3, NULL, "'num_mtp_layers': 1", "num_nextn_predict_layers: is 0, and 1 under its other"},
    {V3, "n_routed_experts", "'num_local_experts': 16", NULL},
    {V3, NULL, "'num_local_experts': 8", "n_routed_experts: is 16, and 8"},
    {V2, "n_routed_experts", "'num_experts': 8", NULL},
    {V2, NULL, "'num_local_experts': 8", "num_local_experts: is 8: not known"},
    {LLAMA, NULL, "'torch_dtype': 'float16'", NULL},
};

/* Qwen2, Qwen3, Qwen3-MoE, GLM-4-MoE-Lite and Kimi-K2. */
static const Case families[] = {
    {Q2, "num_key_value_heads", "", "num_key_value_heads: is missing"},
    {Q2, NULL, "'head_dim': 8", NULL},
    {Q2, NULL, "'head_dim': null", "head_dim: is null"},
    {Q2, NULL, "'use_sliding_window': false, 'sliding_window': 131072, 'max_window_layers': 21",
     NULL},
    {Q2, "use_sliding_window", "'sliding_window': 4096", NULL},
    {Q2, NULL, "'use_sliding_window': true", "use_sliding_window: is true"},
    {Q2, NULL, "'use_mrope': false", NULL},
    {Q2, NULL, "'use_mrope': true", "use_mrope: is true"},
    {Q2, NULL, "'layer_types': ['full_attention', 'sliding_attention']", "layer_types: names"},
    {Q3, "head_dim", "", "head_dim: is missing"},
    {Q3, NULL, "'attention_bias': true", "attention_bias: is true"},
    {Q3, "num_key_value_heads", "", "num_key_value_heads: is missing"},
    {QM, NULL, "'num_key_value_heads': null", "num_key_value_heads: is null"},
    {QM, "num_experts", "", "num_experts: is missing"},
    {QM, "num_experts", "'num_local_experts': 5", NULL},
    {QM, NULL, "'num_local_experts': 4", "num_experts: is 5, and 4"},
    {QM, "num_experts_per_tok", "", "num_experts_per_tok: is missing"},
    {QM, NULL, "'num_experts_per_tok': 6", "experts per token"},
    {QM, "moe_intermediate_size", "", "moe_intermediate_size: is missing"},
    {QM, "decoder_sparse_step", "", NULL},
    {QM, NULL, "'decoder_sparse_step': 2", "decoder_sparse_step: is 2"},
    {QM, "mlp_only_layers", "", NULL},
    {QM, NULL, "'mlp_only_layers': null", NULL},
    {QM, NULL, "'mlp_only_layers': [7]", NULL}, /* there is no such layer */
    {QM, NULL, "'mlp_only_layers': [1]", "mlp_only_layers: makes layer 1 dense"},
    {QM, NULL, "'mlp_only_layers': ['0']", "mlp_only_layers: names \"0\""},
    {QM, NULL, "'shared_expert_intermediate_size': 16", "shared_expert_intermediate_size: is 16"},
    {QD, "norm_topk_prob", "", NULL},
    {QD, NULL, "'norm_topk_prob': null", NULL},
    {GLM, "first_k_dense_replace", "'mlp_layer_types': ['dense', 'sparse']", NULL},
    {GLM, NULL, "'mlp_layer_types': ['dense', 'sparse']", NULL},
    {GLM, NULL, "'mlp_layer_types': ['sparse', 'sparse']", "first_k_dense_replace: is 1"},
    {GLM, NULL, "'mlp_layer_types': ['sparse', 'dense']", "mlp_layer_types: makes layer 1 dense"},
    {GLM, NULL, "'mlp_layer_types': ['dense', 'linear']", "mlp_layer_types: names \"linear\""},
    {GLM, NULL, "'mlp_layer_types': ['dense']", "mlp_layer_types: is no list"},
    {GLM, "first_k_dense_replace", "", "mlp_layer_types: is missing"},
    {GLM, NULL, "'first_k_dense_replace': 0", "mlp_layer_types: is missing"},
    {GLM, NULL, "'topk_method': 'greedy'", "topk_method"},
    {GLM, NULL, "'head_dim': 4", NULL},
    {GLM, NULL, "'head_dim': 12", "head_dim: is 12"},
    {GLM, "n_group", "", "n_group: is missing"},
    {GLM, "norm_topk_prob", "", "norm_topk_prob: is missing"},
    {V3, NULL, "'model_type': 'kimi_k2'", NULL},
    {V3, NULL, "'mlp_layer_types': ['dense', 'sparse', 'sparse']", "mlp_layer_types: is ["},
    {LLAMA, NULL, "'mlp_only_layers': [0]", "mlp_only_layers: is [0]"},
    {LLAMA, NULL, "'decoder_sparse_step': 2", "decoder_sparse_step: is 2"},
};

/* Keys outside of the tables: what may change the arithmetic is named with its value. */
static const Case others[] = {
    {LLAMA, NULL, "'sliding_window': 16", "sliding_window: is 16: not known"},
    {LLAMA, NULL, "'sliding_window': null", NULL},
    {LLAMA, NULL, "'clip_qkv': 8.0", "clip_qkv: is 8.0"},
    {LLAMA, NULL, "'clip_qkv': null", NULL},
    {LLAMA, NULL, "'final_logit_softcapping': 30.0", "final_logit_softcapping: is 30.0"},
    {LLAMA, NULL, "'attention_bias': true", "attention_bias: is true"},
    {LLAMA, NULL, "'mlp_bias': true", "mlp_bias: is true"},
    {LLAMA, NULL, "'quantization_config': {'fmt': 'e4m3'}", "quantization_config: is {"},
    {LLAMA, NULL, "'quantization_config': {'quant_method': 'gptq', 'bits': 4}",
     "supported is quant_method fp8"},
    {LLAMA, NULL, "'quantization_config': {'quant_method': 'fp8', 'weight_block_size': [128]}",
     "weight_block_size of two numbers"},
    {LLAMA, NULL, "'quantization_config': {'quant_method': 'fp8', 'weight_block_size': [128, 0]}",
     "weight_block_size of two numbers"},
    {LLAMA, NULL, "'quantization_config': [1]", "quantization_config: is [1]"},
    {V3, NULL,
     "'quantization_config': {'activation_scheme': 'dynamic', 'fmt': 'e4m3', 'quant_method': "
     "'fp8', "
     "'weight_block_size': [128, 128]}",
     NULL},
    {LLAMA, NULL, "'attention_dropout': 0.1", "attention_dropout: is 0.1"},
    {LLAMA, NULL, "'is_encoder_decoder': true", "is_encoder_decoder"},
    {V3, NULL, "'index_topk': 2048", "index_topk: is 2048"},
    {LLAMA, NULL, "'partial_rotary_factor': 0.5", "partial_rotary_factor: is 0.5"},
    {LLAMA, NULL, "'partial_rotary_factor': 1.0", NULL},
    {LLAMA, NULL, "'layer_types': ['full_attention', 'full_attention', 'full_attention']", NULL},
    {LLAMA, NULL, "'layer_types': ['full_attention', 'sliding_attention', 'full_attention']",
     "layer_types: names \"sliding_attention\""},
    {LLAMA, NULL, "'layer_types': 'full_attention'", "layer_types"},
    {LLAMA, NULL, "'logits_scaling': 1.0, 'residual_multiplier': 1", NULL},
    {LLAMA, NULL, "'logits_scaling': 8.0", "logits_scaling: is 8.0"},
    {LLAMA, NULL,
     "'softcap': false, 'pruned_heads': {}, '_note': 7, 'unsloth_version': '2025.1', "
     "'unsloth_fixed': true, 'tokenizer_class': 'X', 'max_length': 20, 'return_dict': true, "
     "'id2label': {'0': 'L'}, 'chunk_size_feed_forward': 0, 'temperature': 0.7, "
     "'image_token_id': 5, 'name_or_path': 'x', 'attention_factor': null",
     NULL},
    {LLAMA, NULL, "'chunk_size_feed_forward': 64", "chunk_size_feed_forward: is 64"},

    {LLAMA, NULL, "'rope_parameters': {'rope_type': 'dynamic', 'factor': 2}", "dynamic"},
    {LLAMA, NULL, "'rope_parameters': {'rope_type': 'linear', 'factor': 1.0}", NULL},
    {LLAMA, NULL, "'rope_parameters': {'rope_type': 'linear', 'factor': 4.0}",
     "factor: is 4.0: linear"},
    {LLAMA, NULL, "'rope_parameters': {'factor': 4.0}",
     "factor: is 4.0, but there is no rope_type"},
    {LLAMA, NULL, "'rope_parameters': {'rope_type': 'default', 'factor': 4.0}", "factor: is 4.0"},
    {LLAMA, NULL, "'rope_parameters': {'partial_rotary_factor': 0.5}", "partial_rotary_factor"},
    {LLAMA, NULL, "'rope_parameters': {'partial_rotary_factor': 1.0}", NULL},
    {LLAMA, NULL, "'rope_parameters': {'full_attention': {'rope_theta': 1e6}}", "full_attention"},
    {LLAMA, NULL, "'rope_parameters': 3", "rope_parameters: is 3, expected an object"},
    {V3, NULL, "'rope_scaling': {" YARN_V3 ", 'truncate': true}", NULL},
    {V3, NULL, "'rope_scaling': {" YARN_V3 ", 'truncate': false}", "truncate: is false"},
    {V3, NULL, "'rope_scaling': {" YARN_V3 ", 'attention_factor': null}", NULL},
    {V3, NULL, "'rope_scaling': {" YARN_V3 ", 'attention_factor': 1.2}",
     "attention_factor: is 1.2"},
    {V2, NULL, "'rope_interleave': false", "rope_interleave: is false"},
    {V2, NULL, "'rope_interleave': true", NULL},
    {V2, NULL, "'head_dim': 7", NULL}, /* overwritten by the classes of MLA */
};

/* 'a' -> "a", so that the tables above can be read. */
static json_t *members_of(Arena *a, const char *members) {
    Str text = str_fmt(a, "{%s}", members);
    for (char *p = (char *)(uintptr_t)text.p; *p; p++)
        if (*p == '\'') *p = '"';
    json_t *o = json_loads(text.p, 0, NULL);
    if (!o) fail_msg("%s", text.p);
    return o;
}

static void case_run(Arena *a, const Case *t) {
    Err err = {0};
    Str text;
    const char *path = need_reference(a, str_fmt(a, "models/%s", t->file).p);
    must(os_read(a, &text, path, 1 << 20, &err), &err);
    json_t *o = json_loadb(text.p, (size_t)text.n, 0, NULL), *more = members_of(a, t->members);
    if (t->drop) assert_int_equal(json_object_del(o, t->drop), 0);
    json_object_update(o, more);
    char *changed = json_dumps(o, 0);
    Config before = parsed(text), c;
    bool ok = config_parse(&c, str_of(changed), "config.json", &err);
    if (ok != !t->says || (t->says && !strstr(err.msg, t->says)))
        fail_msg("%s without %s with %s: %s", t->file, t->drop, t->members, err.msg);
    if (ok) same(a, &before, &c);
    free(changed);
    json_decref(more);
    json_decref(o);
}

typedef struct Cases {
    const Case *at;
    int64_t n;
} Cases;
static void cases_run(void **state) {
    const Cases *t = *state;
    Arena *a = arena_open("config", 1 << 24);
    for (int64_t i = 0; i < t->n; i++) case_run(a, &t->at[i]);
    arena_close(a);
}

/* Classes of transformers have defaults of their own for most keys, so all are written, and all are
 * needed to read the model again: no value of the configuration hangs on a default. */
static void all_written(void **state) {
    (void)state;
    Arena *a = arena_open("config", 1 << 24);
    Config c = parsed(text_of(a, "deepseek-v2-lite-tiny", "config.json"));
    c.E = 0, c.first_dense = c.L;
    json_t *o = json_loads(config_json(a, &c).p, 0, NULL);
    assert_true(json_is_null(json_object_get(o, "q_lora_rank"))
                && json_object_get(o, "q_lora_rank"));
    assert_int_equal(json_integer_value(json_object_get(o, "n_routed_experts")), 0);
    assert_int_equal(json_integer_value(json_object_get(o, "first_k_dense_replace")), c.L);
    json_decref(o);
    c = parsed(text_of(a, "deepseek-v3-tiny", "config.json"));
    c.router.norm = false, c.shared = 0, c.first_dense = 0, c.n_eos = 0, c.bos = -1;
    c.router.scale = 1;
    o = json_loads(config_json(a, &c).p, 0, NULL);
    assert_true(json_is_real(json_object_get(o, "routed_scaling_factor")));
    assert_true(json_is_real(json_object_get(o, "rope_theta")));
    assert_true(json_is_integer(
        json_object_get(json_object_get(o, "rope_scaling"), "original_max_position_embeddings")));
    assert_true(json_is_false(json_object_get(o, "norm_topk_prob")));
    assert_true(json_is_integer(json_object_get(o, "n_shared_experts")));
    assert_true(json_is_integer(json_object_get(o, "first_k_dense_replace")));
    assert_true(json_is_integer(json_object_get(o, "num_nextn_predict_layers")));
    assert_true(json_is_null(json_object_get(o, "eos_token_id")));
    assert_true(json_is_null(json_object_get(o, "bos_token_id")));
    json_decref(o);
    arena_close(a);
}

/* Sets each integer below o to each extreme, one at a time, and reads the whole. */
static void extremes_in(Arena *a, json_t *whole, json_t *o, const Config *c, int64_t *refused) {
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v) {
        if (json_is_object(v)) extremes_in(a, whole, v, c, refused);
        if (!json_is_integer(v)) continue;
        for (int64_t i = 0; i < COUNT(EXTREMES); i++) {
            json_int_t was = json_integer_value(v);
            json_integer_set(v, EXTREMES[i]);
            char *text = json_dumps(whole, 0);
            json_integer_set(v, was);
            Config got;
            Err err = {0};
            bool ok = config_parse(&got, str_of(text), "config.json", &err);
            if (ok ? config_count(&got) != config_count(c) : !extreme_refused(&err, key))
                fail_msg("%s = %lld: %s", key, (long long)EXTREMES[i], ok ? "accepted" : err.msg);
            *refused += !ok;
            free(text);
        }
    }
}

/* Every integer of a file is set to what no model has. It is refused by name or for what it does
 * not fit to, or it does not decide a size; never is a sum or difference of it taken before its
 * range is known (under -fsanitize of undefined behaviour this test ends there). */
static void extreme_numbers(void **state) {
    (void)state;
    Arena *a = arena_open("config", 1 << 24);
    int64_t refused = 0;
    for (int64_t i = 0; i < COUNT(models); i++) {
        Str text = text_of(a, models[i], "config.release.json");
        Config c = parsed(text);
        json_t *o = json_loadb(text.p, (size_t)text.n, 0, NULL);
        extremes_in(a, o, o, &c, &refused);
        json_decref(o);
    }
    assert_true(refused > 300);
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

#define CASES(list)                                                                                \
    { list, COUNT(list) }
int test_config(void) {
    static Cases v = CASES(values_wrong), n = CASES(absent), t = CASES(twice), o = CASES(others);
    static Cases f = CASES(families);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_spellings),
        cmocka_unit_test(values),
        {"values", cases_run, NULL, NULL, &v},
        {"absent and null keys", cases_run, NULL, NULL, &n},
        {"keys with two names", cases_run, NULL, NULL, &t},
        {"keys of the other families", cases_run, NULL, NULL, &f},
        {"keys outside of the tables", cases_run, NULL, NULL, &o},
        cmocka_unit_test(all_written),
        cmocka_unit_test(extreme_numbers),
        cmocka_unit_test(not_json),
    };
    return cmocka_run_group_tests_name("model config", tests, NULL, NULL);
}
