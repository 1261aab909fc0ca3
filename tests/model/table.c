/* table.c -- the tables of parameters: counts of published models, fresh weights, and a round trip
 * through a checkpoint. */
#define _DEFAULT_SOURCE
#include "tests.h"
#include "model/layer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static Model *built(Arena *a, const char *json) {
    Err err = {0};
    Model *m = PUSH(a, Model, 1);
    must(config_parse(&m->cfg, str_of(json), "config.json", &err), &err);
    params_build(m, a);
    return m;
}

#define MLA_SIZES(q)                                                                               \
    "\"q_lora_rank\": " q ", \"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128, "                   \
    "\"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"rms_norm_eps\": 1e-6, "                      \
    "\"max_position_embeddings\": 163840"

/* facts of the releases; counts in billions as published, and attention of one layer where it is.
 */
static const struct {
    const char *json;
    double billions;
    int64_t attention;
} published[] = {
    {"{\"model_type\": \"deepseek_v2\", \"num_hidden_layers\": 27, \"hidden_size\": 2048, "
     "\"vocab_size\": 102400, "
     "\"num_attention_heads\": 16, \"intermediate_size\": 10944, \"first_k_dense_replace\": 1, "
     "\"moe_intermediate_size\": 1408, \"n_routed_experts\": 64, \"n_shared_experts\": 2, "
     "\"num_experts_per_tok\": 6, " MLA_SIZES("null") "}",
     15.706, 0},
    {"{\"model_type\": \"deepseek_v2\", \"num_hidden_layers\": 60, \"hidden_size\": 5120, "
     "\"vocab_size\": 102400, "
     "\"num_attention_heads\": 128, \"intermediate_size\": 12288, \"first_k_dense_replace\": 1, "
     "\"moe_intermediate_size\": 1536, \"n_routed_experts\": 160, \"n_shared_experts\": 2, "
     "\"num_experts_per_tok\": 6, "
     "\"topk_method\": \"group_limited_greedy\", \"n_group\": 8, \"topk_group\": 3, " MLA_SIZES(
         "1536") "}",
     235.741, 149227520},
    {"{\"model_type\": \"deepseek_v3\", \"num_hidden_layers\": 61, \"hidden_size\": 7168, "
     "\"vocab_size\": 129280, "
     "\"num_attention_heads\": 128, \"intermediate_size\": 18432, \"first_k_dense_replace\": 3, "
     "\"moe_intermediate_size\": 2048, \"n_routed_experts\": 256, \"n_shared_experts\": 1, "
     "\"num_experts_per_tok\": 8, "
     "\"n_group\": 8, \"topk_group\": 4, \"norm_topk_prob\": true, \"routed_scaling_factor\": "
     "2.5, " MLA_SIZES("1536") "}",
     671.026, 187107328},
    {"{\"model_type\": \"deepseek_v3\", \"num_hidden_layers\": 27, \"hidden_size\": 2048, "
     "\"vocab_size\": 163840, "
     "\"num_attention_heads\": 16, \"intermediate_size\": 11264, \"first_k_dense_replace\": 1, "
     "\"moe_intermediate_size\": 1408, \"n_routed_experts\": 64, \"n_shared_experts\": 2, "
     "\"num_experts_per_tok\": 6, "
     "\"n_group\": 1, \"topk_group\": 1, \"norm_topk_prob\": true, \"routed_scaling_factor\": "
     "2.446, " MLA_SIZES("null") "}",
     15.960, 0}, /* Moonlight */
    {"{\"model_type\": \"kimi_k2\", \"num_hidden_layers\": 61, \"hidden_size\": 7168, "
     "\"vocab_size\": 163840, "
     "\"num_attention_heads\": 64, \"intermediate_size\": 18432, \"first_k_dense_replace\": 1, "
     "\"moe_intermediate_size\": 2048, \"n_routed_experts\": 384, \"n_shared_experts\": 1, "
     "\"num_experts_per_tok\": 8, "
     "\"n_group\": 1, \"topk_group\": 1, \"norm_topk_prob\": true, \"routed_scaling_factor\": "
     "2.827, " MLA_SIZES("1536") "}",
     1026.408, 0},
};

/* The identities of the papers: MLA's parameters of a layer, and the whole with its experts. */
static int64_t mla_count(const Config *c) {
    int64_t head = c->d_nope + c->d_rope;
    int64_t q = c->Q ? c->C * c->Q + c->Q + c->Q * c->H * head : c->C * c->H * head;
    return q + c->C * (c->R + c->d_rope) + c->R + c->R * c->H * (c->d_nope + c->d_v)
           + c->H * c->d_v * c->C;
}
static int64_t deepseek_count(const Config *c) {
    int64_t dense = 3 * c->C * c->F, moe = 3 * c->C * c->F_moe * (c->E + c->shared) + c->E * c->C;
    return 2 * c->V * c->C + c->C + c->L * (mla_count(c) + 2 * c->C) + c->first_dense * dense
           + (c->L - c->first_dense) * moe;
}

/* Sizes of the releases, and the exact totals of their repositories. Tied heads count once. */
#define GQA_SIZES(l, c, f, h, g, v)                                                                \
    "\"num_hidden_layers\": " l ", \"hidden_size\": " c ", \"intermediate_size\": " f              \
    ", \"num_attention_heads\": " h ", \"num_key_value_heads\": " g ", \"vocab_size\": " v         \
    ", \"rms_norm_eps\": 1e-6, \"max_position_embeddings\": 32768"
static const struct {
    const char *json;
    int64_t count;
} exact[] = {
    /* Qwen2.5-0.5B, Qwen2.5-7B, Qwen3-8B, Qwen3-30B-A3B, Llama-3.1-8B */
    {"{\"model_type\": \"qwen2\", \"tie_word_embeddings\": true, " GQA_SIZES(
         "24", "896", "4864", "14", "2", "151936") "}",
     494032768},
    {"{\"model_type\": \"qwen2\", " GQA_SIZES("28", "3584", "18944", "28", "4", "152064") "}",
     7615616512},
    {"{\"model_type\": \"qwen3\", \"head_dim\": 128, " GQA_SIZES("36", "4096", "12288", "32", "8",
                                                                 "151936") "}",
     8190735360},
    {"{\"model_type\": \"qwen3_moe\", \"head_dim\": 128, \"num_experts\": 128, "
     "\"num_experts_per_tok\": 8, \"moe_intermediate_size\": 768, \"norm_topk_prob\": "
     "true, " GQA_SIZES("48", "2048", "6144", "32", "4", "151936") "}",
     30532122624},
    {"{\"model_type\": \"llama\", " GQA_SIZES("32", "4096", "14336", "32", "8", "128256") "}",
     8030261248},
};

static void counts_exact(void **state) {
    (void)state;
    Arena *a = arena_open("table", 1 << 26);
    for (int64_t i = 0; i < COUNT(exact); i++)
        assert_int_equal(model_count(built(a, exact[i].json)), exact[i].count);
    /* Where the head is the embedding a token reads all of it. */
    const ModelSize tied = config_size(&built(a, exact[0].json)->cfg);
    assert_true(tied.total == tied.active && tied.total == tied.read);
    arena_close(a);
}

/* The layer that predicts a further token: with it, and with its copies of embedding and head, V3's
 * files have the 685 billion numbers that their repository names. */
static void counts_mtp(void **state) {
    (void)state;
    Arena *a = arena_open("table", 1 << 26);
    Model *m = built(a, published[2].json), more = {.cfg = m->cfg, .n_layers = m->cfg.L + 1};
    params_build(&more, a);
    int64_t C = m->cfg.C, moe = 3 * C * m->cfg.F_moe * (m->cfg.E + 1) + m->cfg.E * C;
    int64_t layer = mla_count(&m->cfg) + 2 * C + moe, added = model_count(&more) - model_count(m);
    assert_int_equal(added, layer + 2 * C * C + 3 * C);
    int64_t files = model_count(&more) + 2 * m->cfg.V * C;
    assert_true(fabs((double)files / 1e9 - 685) < 0.6);
    arena_close(a);
}

static void counts(void **state) {
    (void)state;
    Arena *a = arena_open("table", 1 << 26);
    for (int64_t i = 0; i < COUNT(published); i++) {
        Model *m = built(a, published[i].json);
        assert_int_equal(model_count(m), deepseek_count(&m->cfg));
        assert_true(fabs((double)model_count(m) / 1e9 - published[i].billions) < 0.0006);
        const Config *c = &m->cfg;
        const ModelSize size = config_size(c);
        assert_int_equal(size.total, model_count(m));
        assert_int_equal(size.total - size.active,
                         (c->L - c->first_dense) * (c->E - c->K) * 3 * c->C * c->F_moe);
        assert_int_equal(size.active - size.read, c->V * c->C);
        int64_t attention = 0;
        for (int64_t j = 0; j < m->n_params; j++)
            if (m->param[j].layer == 0 && strstr(m->param[j].name, "self_attn"))
                attention += m->param[j].count;
        if (published[i].attention) assert_int_equal(attention, published[i].attention);
    }
    arena_close(a);
}

static void oracle_counts(void **state) {
    (void)state;
    static const char *const names[] = {
        "llama-tiny",         "llama3-tiny",   "deepseek-v2-lite-tiny", "deepseek-v3-tiny",
        "qwen2-mini",         "qwen3-mini",    "qwen3-moe-mini",        "qwen3-moe-dense-mini",
        "glm4-moe-lite-mini", "moonlight-mini"};
    for (int64_t i = 0; i < COUNT(names); i++) {
        Opened o;
        Arena *a = arena_open("table", 1 << 24);
        const char *path = need_reference(a, str_fmt(a, "models/%s", names[i]).p);
        opened(&o, path, 1);
        json_t *about = json_of(a, str_fmt(a, "%s/expected.json", path).p);
        assert_int_equal(model_count(o.model),
                         json_integer_value(json_object_get(about, "parameters")));
        json_decref(about);
        closed(&o);
        arena_close(a);
    }
}

/* Means and deviations of fresh weights; another seed, another tensor and another place give other
 * numbers. */
static void fresh(void **state) {
    (void)state;
    Arena *a = arena_open("table", (int64_t)1 << 30);
    Err err = {0};
    Str text;
    Config c;
    must(os_read(a, &text, need_reference(a, "models/deepseek-v3-tiny/config.json"), 1 << 20, &err),
         &err);
    must(config_parse(&c, text, "config.json", &err), &err);
    Model *m, *same, *other;
    model_init(&m, a, &c, 0.02, 7);
    model_init(&same, a, &c, 0.02, 7);
    model_init(&other, a, &c, 0.02, 8);
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *p = &m->param[i];
        size_t bytes = (size_t)p->count * sizeof(float);
        assert_memory_equal(p->master, same->param[i].master, bytes);
        assert_int_equal(p->decay, p->w.n * p->w.rows > 1);
        if (!p->decay) {
            for (int64_t k = 0; k < p->count; k++)
                assert_true(p->master[k] == (param_learns(p) ? 1.0f : 0.0f));
            continue;
        }
        assert_memory_not_equal(p->master, other->param[i].master, bytes);
        double mean = tree_f64(p->master, p->count) / (double)p->count;
        double square = tree_sq_f64(p->master, p->count) / (double)p->count;
        double off = 5 / sqrt((double)p->count); /* five standard errors */
        assert_true(fabs(mean) < 0.02 * off && fabs(sqrt(square) / 0.02 - 1) < off);
    }
    assert_memory_not_equal(m->layer[0].gate->master, m->layer[0].up->master, 64);
    assert_memory_not_equal(m->layer[1].o->master, m->layer[2].o->master, 64);
    arena_close(a);
}

/* What is learnt has a gradient and its optimiser's moments, and the plan counts no more than
 * these; experts alone are dealt to ranks. */
static void columns(void **state) {
    (void)state;
    Opened o;
    Arena *a = arena_open("table", 1 << 24);
    opened(&o, need_reference(a, "models/deepseek-v3-tiny"), 1);
    model_train(o.model, o.a);
    planned(&o, (PlanSpec){.act = ACT_F32, .mla = MLA_EXPANDED, .kv = DTYPE_F32, .training = true});
    int64_t kept = 0, unlearnt = 0, planned_bytes = 0;
    for (int64_t i = 0; i < o.model->n_params; i++) {
        const Param *p = &o.model->param[i];
        const bool learns = !strstr(p->name, "e_score_correction_bias");
        assert_int_equal(param_learns(p), learns);
        assert_int_equal(moment_count(p->optimiser), learns ? 2 : 0);
        assert_int_equal(p->grad != NULL, learns);
        assert_int_equal(p->moment[0] && p->moment[1], learns);
        assert_int_equal(p->shard == SHARD_EXPERTS, strstr(p->name, "mlp.experts.") != NULL);
        unlearnt += !learns;
        for (int64_t k = 0; learns && k < 3; k++) kept += round_up(p->count * 4, 64);
    }
    assert_int_equal(unlearnt, o.model->cfg.L - o.model->cfg.first_dense);
    for (int64_t i = 0; i < o.plan->n_items; i++)
        if (!strcmp(o.plan->item[i].what, "gradients") || !strcmp(o.plan->item[i].what, "moments"))
            planned_bytes += o.plan->item[i].bytes;
    assert_int_equal(planned_bytes, kept);
    closed(&o);
    arena_close(a);
}

/* A shape without weights is planned as the model itself, item by item. */
static void shape(void **state) {
    (void)state;
    static const char json[] =
        "{\"model_type\": \"deepseek_v3\", \"vocab_size\": 300, \"num_hidden_layers\": 2, "
        "\"num_attention_heads\": 2, \"hidden_size\": 64, \"intermediate_size\": 96, "
        "\"q_lora_rank\": 0, \"kv_lora_rank\": 32, \"qk_nope_head_dim\": 16, "
        "\"qk_rope_head_dim\": 8, \"v_head_dim\": 16, \"n_routed_experts\": 4, "
        "\"num_experts_per_tok\": 2, \"n_shared_experts\": 1, \"moe_intermediate_size\": 32, "
        "\"first_k_dense_replace\": 1, \"n_group\": 1, \"topk_group\": 1, "
        "\"norm_topk_prob\": true, \"routed_scaling_factor\": 1, "
        "\"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-6, "
        "\"num_nextn_predict_layers\": 1}";
    Err err = {0};
    Config c;
    Model *model, *m;
    Plan *made, *counted;
    Arena *a = arena_open("model", 1 << 28), *b = arena_open("shape", 1 << 24);
    Team *team = team_open(2);
    must(config_parse(&c, str_of(json), "config.json", &err), &err);
    model_init(&model, a, &c, 0.02, 1);
    model_shape(&m, b, &c, c.mtp);
    model_optimise(model, OPTIMISER_MUON, DTYPE_BF16);
    model_optimise(m, OPTIMISER_MUON, DTYPE_BF16);
    PlanSpec s = plan_defaults(m);
    s.act = ACT_A16, s.mla = MLA_EXPANDED, s.kv = DTYPE_BF16, s.training = true;
    s.rows = s.logit_rows = s.positions = 64, s.spans = 4;
    must(plan_count(&counted, b, m, &s, 2, &err), &err);
    must(plan_new(&made, a, model, &s, 0, team, &err), &err);
    assert_int_equal(counted->n_items, made->n_items);
    for (int64_t i = 0; i < made->n_items; i++) {
        const BudgetItem *x = &counted->item[i], *y = &made->item[i];
        assert_string_equal(x->what, y->what);
        /* beside these the masters' red zones stand in the model's arena, under a sanitizer */
        if (!UNDER_ASAN || strcmp(x->what, "names and vectors of the model"))
            assert_true(labs((long)(x->bytes - y->bytes)) < 4096);
    }
    assert_int_equal(model_count(m), model_count(model));
    assert_int_equal(counted->item[1].bytes, 4 * config_count(&c));
    team_close(team);
    arena_close(a);
    arena_close(b);
}

/* What is saved opens as the same model: the same logits, to the bit, and MLA's form recorded. */
static void saved(void **state) {
    Opened o, again;
    Err err = {0};
    Arena *a = arena_open("table", 1 << 26);
    opened(&o, need_reference(a, str_fmt(a, "models/%s", (const char *)*state).p), 2);
    model_train(o.model, o.a);
    char folder[] = P_tmpdir "/lisao-model-XXXXXX";
    assert_non_null(mkdtemp(folder));
    CkptWriter *w = ckpt_create(a, folder, 1, &err);
    must(w && model_save(o.model, a, w, &err) && ckpt_commit(w, 1, &err), &err);
    opened(&again, folder, 2);
    assert_int_equal(again.model->cfg.mtp, 0); /* it holds no such layers, so it names none */
    const char *form = again.model->cfg.recorded_mla;
    assert_true(o.model->cfg.mla ? form && !strcmp(form, "expanded") : !form);
    assert_true(plan_defaults(again.model).mla == (o.model->cfg.mla ? MLA_EXPANDED : MLA_ABSORBED));
    assert_true(plan_defaults(again.model).act == ACT_F32);
    PlanSpec spec = {.act = ACT_F32, .mla = MLA_EXPANDED, .kv = DTYPE_F32};
    planned(&o, spec);
    planned(&again, spec);
    int32_t ids[20];
    for (int32_t i = 0; i < 20; i++) ids[i] = i * 13 % (int32_t)o.model->cfg.V;
    Result x = ran(&o, ids, 20, 0, false), y = ran(&again, ids, 20, 0, false);
    assert_memory_equal(x.logits, y.logits, (size_t)(20 * o.model->cfg.V) * sizeof(float));
    closed(&again);
    closed(&o);
    must(os_remove(str_fmt(a, "%s/step-000000001", folder).p, &err) && os_remove(folder, &err),
         &err);
    arena_close(a);
}

int test_table(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts),
        cmocka_unit_test(counts_exact),
        cmocka_unit_test(counts_mtp),
        cmocka_unit_test(oracle_counts),
        cmocka_unit_test(fresh),
        cmocka_unit_test(columns),
        cmocka_unit_test(shape),
        {"saved llama-tiny", saved, NULL, NULL, (void *)(uintptr_t) "llama-tiny"},
        {"saved llama3-tiny", saved, NULL, NULL, (void *)(uintptr_t) "llama3-tiny"},
        {"saved qwen2-mini", saved, NULL, NULL, (void *)(uintptr_t) "qwen2-mini"},
        {"saved qwen3-moe-dense-mini", saved, NULL, NULL,
         (void *)(uintptr_t) "qwen3-moe-dense-mini"},
        {"saved glm4-moe-lite-mini", saved, NULL, NULL, (void *)(uintptr_t) "glm4-moe-lite-mini"},
        {"saved deepseek-v3-tiny", saved, NULL, NULL, (void *)(uintptr_t) "deepseek-v3-tiny"},
        {"saved deepseek-v3-mtp-tiny", saved, NULL, NULL,
         (void *)(uintptr_t) "deepseek-v3-mtp-tiny"},
        {"saved deepseek-v3-bf16-tiny", saved, NULL, NULL,
         (void *)(uintptr_t) "deepseek-v3-bf16-tiny"},
    };
    return cmocka_run_group_tests_name("model table", tests, NULL, NULL);
}
