/* shapes.c -- folders whose files are well formed and do not fit each other: a small real model
 * with another configuration, or with one tensor that is gone, turned, of another type or full of
 * NaN. Each either runs or is refused with the words that a user needs. */
#include "tests.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

typedef enum Harm { NONE, GONE, MORE, FLAT, EMPTY, INTS, DOUBLES, BF16, NANS, INFS } Harm;

typedef struct Case {
    const char *model, *config; /* members that replace those of its config.json, or "" */
    Harm harm;
    const char *tensor;
    const char *says; /* in the message; NULL: it runs */
} Case;

#define LLAMA  "llama-tiny"
#define V3     "deepseek-v3-tiny"
#define V2     "deepseek-v2-lite-tiny"
#define GATE   "model.layers.0.mlp.gate_proj.weight"
#define NORM   "model.layers.1.input_layernorm.weight"
#define ROUTER "model.layers.1.mlp.gate.weight"
#define EXPERT "model.layers.1.mlp.experts.3.up_proj.weight"

static const Case cases[] = {
    {LLAMA, "", NONE, NULL, NULL},
    {V3, "", NONE, NULL, NULL},
    {LLAMA, "", GONE, GATE, GATE ": is missing"},
    {LLAMA, "", MORE, "model.layers.0.self_attn.q_proj.bias", "q_proj.bias is not part of"},
    {LLAMA, "", FLAT, GATE, GATE ": has the shape"},
    {LLAMA, "", EMPTY, GATE, GATE ": has the shape [0,48]"},
    {LLAMA, "", INTS, GATE, GATE ": is of a type"},
    {LLAMA, "", DOUBLES, NORM, NULL},
    {LLAMA, "", NANS, GATE, "no numbers"},
    {LLAMA, "", NANS, NORM, "no numbers"},
    {LLAMA, "", INFS, "lm_head.weight", "no numbers"},
    {LLAMA, "", BF16, GATE, NULL},
    {V3, "", NANS, ROUTER, "no numbers"},
    {V3, "", INFS, ROUTER, "no numbers"},
    {V3, "", NANS, "model.layers.1.mlp.gate.e_score_correction_bias", "no numbers"},
    {V3, "", NANS, EXPERT, "no numbers"},
    {V3, "", GONE, EXPERT, EXPERT ": is missing"},
    {V3, "", BF16, EXPERT, EXPERT ": is of another type"},
    {V3, "", BF16, ROUTER, NULL},
    {V3, "", FLAT, ROUTER, ROUTER ": has the shape"},
    {V2, "", NANS, ROUTER, "no numbers"},

    {LLAMA, "'num_hidden_layers': 1", NONE, NULL, "is not part of the model"},
    {LLAMA, "'num_hidden_layers': 1024", NONE, NULL, "is missing"},
    {LLAMA, "'vocab_size': 8388608", NONE, NULL, "embed_tokens.weight: has the shape"},
    {LLAMA, "'vocab_size': 8388609", NONE, NULL, "vocab_size"},
    {LLAMA, "'vocab_size': 1, 'eos_token_id': null, 'bos_token_id': null", NONE, NULL,
     "embed_tokens.weight: has the shape"},
    {LLAMA, "'num_attention_heads': 5, 'head_dim': null", NONE, NULL, "num_attention_heads"},
    {LLAMA, "'num_attention_heads': 0", NONE, NULL, "num_attention_heads"},
    {LLAMA, "'num_attention_heads': 1.5", NONE, NULL, "num_attention_heads"},
    {LLAMA, "'head_dim': 0", NONE, NULL, "head_dim"},
    {LLAMA, "'head_dim': 7", NONE, NULL, "even"},
    {LLAMA, "'rms_norm_eps': 0", NONE, NULL, "rms_norm_eps"},
    {LLAMA, "'rms_norm_eps': -1e-5", NONE, NULL, "rms_norm_eps"},
    {LLAMA, "'rms_norm_eps': 1e-60", NONE, NULL, "rms_norm_eps"},
    {LLAMA, "'rms_norm_eps': 'NaN'", NONE, NULL, "rms_norm_eps"},
    {LLAMA, "'rope_parameters': {'rope_theta': 0}", NONE, NULL, "rope_theta"},
    {LLAMA, "'rope_parameters': {'rope_theta': 1e12}", NONE, NULL, NULL},
    {LLAMA, "'rope_parameters': 3", NONE, NULL, "rope_parameters: is 3"},
    {LLAMA, "'eos_token_id': [320]", NONE, NULL, "end token"},
    {LLAMA, "'eos_token_id': -1", NONE, NULL, "end token"},
    {LLAMA, "'eos_token_id': ['a']", NONE, NULL, "eos_token_id"},
    {LLAMA, "'tie_word_embeddings': true", NONE, NULL, NULL},
    {LLAMA, "'tie_word_embeddings': false", GONE, "lm_head.weight", "lm_head.weight: is missing"},
    {LLAMA, "'max_position_embeddings': 1", NONE, NULL, NULL},
    {LLAMA, "'max_position_embeddings': 268435456", NONE, NULL, NULL},
    {LLAMA, "'model_type': 'deepseek_v3'", NONE, NULL, "is missing"},
    {LLAMA, "'model_type': 'gpt2'", NONE, NULL, "gpt2"},
    {V3, "'n_routed_experts': 8", NONE, NULL, "has the shape"},
    {V3, "'n_routed_experts': 1025", NONE, NULL, "n_routed_experts"},
    {V3, "'n_routed_experts': 0", NONE, NULL, "gate_proj.weight: is missing"},
    {V3, "'n_routed_experts': 2, 'n_group': 1, 'topk_group': 1, 'num_experts_per_tok': 2", NONE,
     NULL, "has the shape"},
    {V3, "'num_experts_per_tok': 17", NONE, NULL, "experts per token"},
    {V3, "'num_experts_per_tok': 0", NONE, NULL, "experts per token"},
    {V3, "'n_group': 3", NONE, NULL, "equal groups"},
    {V3, "'topk_group': 5", NONE, NULL, "groups used"},
    {V3, "'kv_lora_rank': 0", NONE, NULL, "kv_lora_rank"},
    {V3, "'qk_rope_head_dim': 0, 'qk_head_dim': null", NONE, NULL, "qk_rope_head_dim"},
    {V3, "'qk_rope_head_dim': 7, 'qk_head_dim': null", NONE, NULL, "even"},
    {V3, "'first_k_dense_replace': 0", NONE, NULL, "layers.0.mlp.gate.weight: is missing"},
    {V3, "'num_nextn_predict_layers': 1", NONE, NULL, NULL},
};

/* ---- a folder with one harm ------------------------------------------------------------------ */

static void config_put(Scratch *s, const char *folder, const char *members) {
    Str base = bytes_of(s->a, str_fmt(s->a, "%s/config.json", folder).p);
    Str more = str_fmt(s->a, "{%s}", members);
    for (char *p = (char *)(uintptr_t)more.p; *p; p++)
        if (*p == '\'') *p = '"';
    json_t *o = json_loadb(base.p, (size_t)base.n, 0, NULL), *m = json_loads(more.p, 0, NULL);
    CHECK(o && m && json_object_update(o, m) == 0);
    char *text = json_dumps(o, 0);
    file_put(s, "config.json", str_of(text));
    free(text);
    json_decref(m);
    json_decref(o);
}

static void fill(Scratch *s, Tensor *t, float value) {
    CHECK(t->type == DTYPE_F32);
    float *x = arena_push(s->a, t->bytes);
    for (int64_t i = 0; i < t->bytes / 4; i++) x[i] = value;
    t->data = x;
}

static void tensor_harm(Scratch *s, Tensor *t, Harm harm) {
    int64_t n = tensor_elements(t);
    switch (harm) {
    case FLAT: t->n_dims = 1, t->dim[0] = n; break;
    case EMPTY: t->dim[0] = 0; break;
    case INTS: t->type = DTYPE_I32; break;
    case DOUBLES:
    case BF16:
        t->type = harm == BF16 ? DTYPE_BF16 : DTYPE_F64;
        t->data = arena_push(s->a, n * 8); /* zeros */
        break;
    case NANS: fill(s, t, NAN); break;
    case INFS: fill(s, t, INFINITY); break;
    default: break;
    }
}

static void tensors_put(Scratch *s, const char *folder, const Case *c) {
    static const float one = 1;
    Err err = {0};
    Store *from;
    CHECK(store_open(&from, s->a, folder, &err));
    int64_t n = 0, hit = 0;
    Tensor *t = PUSH(s->a, Tensor, store_count(from) + 1);
    for (int64_t i = 0; i < store_count(from); i++) {
        t[n] = *store_at(from, i);
        bool is = c->tensor && str_eq(t[n].name, str_of(c->tensor));
        hit += is;
        if (is && c->harm == GONE) continue;
        if (is) tensor_harm(s, &t[n], c->harm);
        n++;
    }
    if (c->harm == MORE) {
        t[n] = (Tensor){.name = str_of(c->tensor), .type = DTYPE_F32, .n_dims = 1, .dim = {1}};
        t[n++].data = &one;
        hit++;
    }
    CHECK(hit == (c->tensor != NULL));
    const char *path = str_fmt(s->a, "%s/model.safetensors", s->folder).p;
    CHECK(safetensors_write(s->a, path, t, n, &err));
    store_close(from);
}

static void case_run(Scratch *s, void *arg) {
    const Case *c = arg;
    Err err = {0};
    Team *team = team_open(2);
    const char *folder = str_fmt(s->a, "tests/golden/models/%s", c->model).p;
    note("%s, {%s}, %s", c->model, c->config, c->tensor ? c->tensor : "all tensors");
    config_put(s, folder, c->config);
    tensors_put(s, folder, c);
    bool ok = model_tried(s, s->folder, 1 << 20, team, &err);
    if (ok && c->says) trial_fail("it ran, and should say: %s", c->says);
    if (!ok && (!c->says || !strstr(err.msg, c->says)))
        trial_fail("\"%s\" and should say: %s", err.msg, c->says ? c->says : "nothing");
    team_close(team);
}

static void test_cases(void **state) {
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Case c = cases[i];
        trial_run(*state, case_run, &c, 20);
    }
}

int shape_tests(void) {
    const struct CMUnitTest tests[] = {HOSTILE_TEST(test_cases)};
    return cmocka_run_group_tests_name("shapes", tests, NULL, NULL);
}
