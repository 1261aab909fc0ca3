/* gguf.c -- GGUF and Hugging Face folders of the same weights give the same bits. The files are
 * written here, by the names and layouts of llama.cpp's converter: q and k rows of a llama
 * interleaved by heads, experts stacked, kv_b whole or split into a transposed k_b and a v_b. And
 * what is missing, misshapen or too much is refused by name. */
#include "gguf_file.h"
#include "model/layer.h"
#include <math.h>
#include <stdio.h>

/* ---- a model into it ------------------------------------------------------------------------- */

static const struct {
    const char *hf, *gguf;
} names[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
    {"input_layernorm.weight", "attn_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_a_proj.weight", "attn_q_a.weight"},
    {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight"},
    {"self_attn.q_b_proj.weight", "attn_q_b.weight"},
    {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight"},
    {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.gate.weight", "ffn_gate_inp.weight"},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    {"mlp.experts.%d.gate_proj.weight", "ffn_gate_exps.weight"},
    {"mlp.experts.%d.up_proj.weight", "ffn_up_exps.weight"},
    {"mlp.experts.%d.down_proj.weight", "ffn_down_exps.weight"},
    {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight"},
    {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"},
    {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight"},
    {"enorm.weight", "nextn.enorm.weight"},
    {"hnorm.weight", "nextn.hnorm.weight"},
    {"eh_proj.weight", "nextn.eh_proj.weight"},
    {"shared_head.norm.weight", "nextn.shared_head_norm.weight"},
};

/* Row 2j+b of a head is the model's row b*D/2 + j. */
static void permuted(File *f, const char *name, const Param *p, int64_t D) {
    float *x = PUSH(f->a, float, p->count);
    for (int64_t r = 0; r < p->w.rows; r++) {
        int64_t head = r / D, j = r % D / 2, b = r % 2;
        memcpy(x + r * p->w.cols, p->master + (head * D + b * D / 2 + j) * p->w.cols,
               (size_t)p->w.cols * 4);
    }
    tensor(f, name, x, 2, (int64_t[]){p->w.rows, p->w.cols});
}

static void split(File *f, const Param *p, const Config *c) {
    float *k = PUSH(f->a, float, c->H * c->R * c->d_nope),
          *v = PUSH(f->a, float, c->H * c->d_v * c->R);
    for (int64_t h = 0; h < c->H; h++) {
        const float *w = p->master + h * (c->d_nope + c->d_v) * c->R;
        for (int64_t j = 0; j < c->d_nope; j++)
            for (int64_t r = 0; r < c->R; r++) k[(h * c->R + r) * c->d_nope + j] = w[j * c->R + r];
        memcpy(v + h * c->d_v * c->R, w + c->d_nope * c->R, (size_t)(c->d_v * c->R) * 4);
    }
    tensor(f, str_fmt(f->a, "blk.%d.attn_k_b.weight", (int)p->layer).p, k, 3,
           (int64_t[]){c->H, c->R, c->d_nope});
    tensor(f, str_fmt(f->a, "blk.%d.attn_v_b.weight", (int)p->layer).p, v, 3,
           (int64_t[]){c->H, c->d_v, c->R});
}

static void param_write(File *f, const Model *m, const Param *p, bool kv_split) {
    const Layer *l = p->layer < 0 ? NULL : &m->layer[p->layer];
    Str layer = p->layer < 0 ? STR("") : str_fmt(f->a, "blk.%d.", (int)p->layer);
    if (l && kv_split && p == l->kv_b) return split(f, p, &m->cfg);
    const char *name = l && p == l->kv_b ? "attn_kv_b.weight"
                       : l && p == l->q  ? "attn_q.weight"
                       : l && p == l->k  ? "attn_k.weight"
                                         : NULL;
    for (int64_t i = 0; !name && i < COUNT(names); i++)
        if (str_ends(str_of(p->name), str_of(names[i].hf))) name = names[i].gguf;
    assert_non_null(name);
    const char *full = str_fmt(f->a, "%.*s%s", STRF(layer), name).p;
    if (l && m->cfg.family == FAMILY_LLAMA && (p == l->q || p == l->k))
        return permuted(f, full, p, m->cfg.D);
    int64_t dim[3] = {p->w.n, p->w.rows, p->w.cols};
    int n_dims = strstr(name, "_exps") ? 3 : p->w.rows == 1 ? 1 : 2;
    tensor(f, full, p->master, n_dims, dim + 3 - n_dims);
}

/* ---- the comparison -------------------------------------------------------------------------- */

static void source_open(Opened *o, Arena *a, const char *model, int64_t mtp) {
    opened_mtp(o, need_reference(a, str_fmt(a, "models/%s", model).p), 2, mtp);
    model_train(o->model, o->a);
}

/* Each row by itself, gathered from the file, is the row of the Hugging Face folder. */
static void rows_compare(const Model *gguf, const Model *hf) {
    float scratch[512];
    assert_int_equal(gguf->n_params, hf->n_params);
    for (int64_t i = 0; i < hf->n_params; i++) {
        const Param *p = &gguf->param[i], *q = &hf->param[i];
        assert_string_equal(p->name, q->name);
        assert_true(p->w.type == DTYPE_F32 && p->w.cols <= COUNT(scratch));
        for (int64_t r = 0; r < p->w.n * p->w.rows; r++)
            assert_memory_equal(param_rows(p, r, 1, scratch), q->master + r * q->w.cols,
                                (size_t)q->w.cols * sizeof(float));
    }
}

typedef struct Case {
    const char *model;
    bool kv_split;
    int64_t mtp; /* further layers in the file, counted in its block_count */
} Case;

static void same_bits(void **state) {
    const Case *t = *state;
    Arena *a = arena_open("gguf", (int64_t)1 << 30);
    Opened hf, gguf;
    Temp temp;
    temp_make(&temp, a);
    source_open(&hf, a, t->model, t->mtp);
    File f = file_new(a);
    Config c = hf.model->cfg;
    c.L += t->mtp;
    keys_write(&f, &c, t->kv_split);
    if (t->mtp) key_u32(&f, "deepseek2.nextn_predict_layers", t->mtp);
    for (int64_t i = 0; i < hf.model->n_params; i++)
        param_write(&f, hf.model, &hf.model->param[i], t->kv_split);
    file_write(&f, temp.path);
    opened_mtp(&gguf, temp.path, 2, t->mtp);
    rows_compare(gguf.model, hf.model);
    int32_t ids[40];
    for (int32_t i = 0; i < 40; i++) ids[i] = i * 31 % (int32_t)hf.model->cfg.V;
    for (int64_t k = 0; k < 4; k++) {
        PlanSpec spec = {.act = k & 1 ? ACT_A16 : ACT_F32,
                         .mla = k & 2 ? MLA_ABSORBED : MLA_EXPANDED};
        spec.kv = k & 1 ? DTYPE_BF16 : DTYPE_F32;
        planned(&hf, spec);
        planned(&gguf, spec);
        Result x = ran(&hf, ids, 40, 0, false), y = ran(&gguf, ids, 40, 0, false);
        assert_memory_equal(x.logits, y.logits, (size_t)(40 * hf.model->cfg.V) * sizeof(float));
    }
    closed(&gguf);
    closed(&hf);
    temp_remove(&temp);
    arena_close(a);
}

/* ---- the frequencies of Llama 3 -------------------------------------------------------------- */

/* As llama.cpp's converter writes them: by what each frequency is divided, in f32. */
static void factors_write(File *f, const RopeConfig *r) {
    RopeConfig plain = *r;
    double unscaled[256], scaled[256], one;
    float factor[256];
    plain.scaling = ROPE_PLAIN;
    rope_inv_freq(unscaled, &one, &plain);
    rope_inv_freq(scaled, &one, r);
    for (int64_t j = 0; j < r->dim / 2; j++) factor[j] = (float)(unscaled[j] / scaled[j]);
    tensor(f, "rope_freqs.weight", factor, 1, (int64_t[]){r->dim / 2});
}

static void rope_factors(void **state) {
    (void)state;
    Arena *a = arena_open("gguf", (int64_t)1 << 30);
    Opened hf, gguf[2];
    Temp temp[2];
    int32_t ids[40];
    Result x, y[2];
    PlanSpec spec = {.act = ACT_F32, .kv = DTYPE_F32};
    source_open(&hf, a, "llama3-tiny", 0);
    int64_t n = 40 * hf.model->cfg.V;
    for (int32_t i = 0; i < 40; i++) ids[i] = i * 31 % (int32_t)hf.model->cfg.V;
    planned(&hf, spec);
    x = ran(&hf, ids, 40, 0, false);
    for (int i = 0; i < 2; i++) {
        temp_make(&temp[i], a);
        File f = file_new(a);
        keys_write(&f, &hf.model->cfg, false);
        key_u32(&f, "llama.attention.key_length", hf.model->cfg.D);
        key_u32(&f, "llama.attention.value_length", hf.model->cfg.D);
        if (i) factors_write(&f, &hf.model->cfg.rope);
        for (int64_t k = 0; k < hf.model->n_params; k++)
            param_write(&f, hf.model, &hf.model->param[k], false);
        file_write(&f, temp[i].path);
        opened(&gguf[i], temp[i].path, 2);
        planned(&gguf[i], spec);
        y[i] = ran(&gguf[i], ids, 40, 0, false);
    }
    assert_true(largest_difference(x.logits, y[0].logits, n) > 1e-2);
    double d = largest_difference(x.logits, y[1].logits, n);
    if (!(d < 1e-5)) fail_msg("off by %g", d);
    assert_string_not_equal(gguf[0].plan->fingerprint, gguf[1].plan->fingerprint);
    for (int i = 0; i < 2; i++) {
        closed(&gguf[i]);
        temp_remove(&temp[i]);
    }
    closed(&hf);
    arena_close(a);
}

/* ---- where the data begin -------------------------------------------------------------------- */

/* A model of the family of `like` whose rows are whole blocks of 32, as Q8_0. Alignment 8 is the
 * smallest that GGUF allows; the key of `extra` bytes then moves the data by as much. Since a file
 * is mapped at the start of a page, no number of a GGUF file can stand across its own width. */
static void blocks_write(Arena *a, const char *path, const Model *m, int64_t alignment,
                         int64_t extra) {
    File f = file_new(a);
    f.alignment = alignment, f.q8 = true;
    keys_write(&f, &m->cfg, false);
    key_u32(&f, "general.alignment", alignment);
    key_str(&f, "general.description", str_fmt(a, "%*s", (int)extra, "").p);
    for (int64_t i = 0; i < m->n_params; i++) param_write(&f, m, &m->param[i], false);
    file_write(&f, path);
}

static void blocks_logits(Arena *a, float **logits, const char *path, Act act, int64_t threads) {
    Opened o;
    int32_t ids[20];
    opened(&o, path, threads);
    assert_int_equal(o.model->file_type, DTYPE_Q8_0);
    PlanSpec spec = plan_defaults(o.model);
    spec.act = act;
    planned(&o, spec);
    for (int32_t i = 0; i < 20; i++) ids[i] = i * 31 % 320;
    *logits = PUSH(a, float, 20 * o.model->cfg.V);
    memcpy(*logits, ran(&o, ids, 20, 7, false).logits, (size_t)(20 * o.model->cfg.V) * 4);
    closed(&o);
}

static void alignment(void **state) {
    Arena *a = arena_open("gguf", (int64_t)1 << 30);
    Opened like;
    Model *m;
    Temp temp;
    source_open(&like, a, *state, 0);
    Config c = like.model->cfg;
    c.C = 64, c.F = 96, c.V = 320;
    if (c.mla)
        c.Q = c.Q ? 32 : 0, c.d_v = 16, c.F_moe = 32;
    else
        c.D = 16, c.rope.dim = 16;
    model_init(&m, a, &c, 0.05, 7);
    for (Act act = ACT_F32; act <= ACT_A8; act++) {
        float *want = NULL, *got;
        for (int64_t i = 0; i < 5; i++) {
            temp_make(&temp, a);
            blocks_write(a, temp.path, m, i ? 8 : 32, i * 8);
            for (int64_t threads = 1; threads <= 2; threads++) {
                blocks_logits(a, &got, temp.path, act, threads);
                if (!want) want = got;
                assert_memory_equal(got, want, (size_t)(20 * c.V) * sizeof(float));
            }
            temp_remove(&temp);
        }
    }
    closed(&like);
    arena_close(a);
}

/* ---- refusals -------------------------------------------------------------------------------- */

/* One thing wrong with a file of llama-tiny: what, and what the message names. */
typedef enum Fault { MISSING, SURPLUS, MISSHAPEN, KEY, NAN_KEY, ARCH } Fault;
static const struct {
    Fault fault;
    const char *has;
} faults[] = {
    {MISSING, "blk.1.attn_v.weight"},         {SURPLUS, "rope_factors_long.weight"},
    {MISSHAPEN, "output_norm.weight"},        {KEY, "attention.sliding_window"},
    {NAN_KEY, "rope.scaling.factor: is nan"}, {ARCH, "gemma"},
};

static void refused(void **state) {
    (void)state;
    Arena *a = arena_open("gguf", (int64_t)1 << 30);
    Opened hf;
    source_open(&hf, a, "llama-tiny", 0);
    for (int64_t i = 0; i < COUNT(faults); i++) {
        Temp temp;
        temp_make(&temp, a);
        File f = file_new(a);
        Fault fault = faults[i].fault;
        if (fault == ARCH)
            key_str(&f, "general.architecture", "gemma");
        else
            keys_write(&f, &hf.model->cfg, false);
        if (fault == KEY) key_u32(&f, "llama.attention.sliding_window", 8);
        if (fault == NAN_KEY) {
            key_str(&f, "llama.rope.scaling.type", "yarn");
            key_f32(&f, "llama.rope.scaling.factor", NAN);
        }
        for (int64_t j = 0; j < hf.model->n_params; j++) {
            const Param *p = &hf.model->param[j];
            if (fault == MISSING && p == hf.model->layer[1].v) continue;
            if (fault == MISSHAPEN && p == hf.model->norm)
                tensor(&f, "output_norm.weight", p->master, 1, (int64_t[]){p->w.cols - 1});
            else
                param_write(&f, hf.model, p, false);
        }
        if (fault == SURPLUS)
            tensor(&f, "rope_factors_long.weight", hf.model->norm->master, 1, (int64_t[]){6});
        file_write(&f, temp.path);
        Err err = {0};
        Store *s;
        Model *m;
        must(store_open(&s, a, temp.path, &err), &err);
        assert_false(model_open(&m, a, s, &err));
        if (!strstr(err.msg, faults[i].has))
            fail_msg("\"%s\" is not in: %s", faults[i].has, err.msg);
        store_close(s);
        temp_remove(&temp);
    }
    closed(&hf);
    arena_close(a);
}

int test_gguf(void) {
    static Case llama = {"llama-tiny", false, 0};
    static Case v2 = {"deepseek-v2-lite-tiny", false, 0},
                v2_split = {"deepseek-v2-lite-tiny", true, 0};
    static Case v3 = {"deepseek-v3-tiny", false, 0}, v3_split = {"deepseek-v3-tiny", true, 0};
    static Case qwen2 = {"qwen2-mini", false, 0}, qwen3 = {"qwen3-mini", false, 0};
    static Case qwen_moe = {"qwen3-moe-mini", false, 0}, glm = {"glm4-moe-lite-mini", true, 0};
    static Case mtp = {"deepseek-v3-mtp-tiny", true, 1};
    static Case groups = {"deepseek-v2-groups-mini", false, 0},
                moonlight = {"moonlight-mini", true, 0};
    const struct CMUnitTest tests[] = {
        {"qwen2", same_bits, NULL, NULL, &qwen2},
        {"qwen3", same_bits, NULL, NULL, &qwen3},
        {"qwen3moe", same_bits, NULL, NULL, &qwen_moe},
        {"glm4-moe-lite", same_bits, NULL, NULL, &glm},
        {"deepseek-v2 with groups", same_bits, NULL, NULL, &groups},
        {"moonlight", same_bits, NULL, NULL, &moonlight},
        {"deepseek-v3 with a further layer", same_bits, NULL, NULL, &mtp},
        {"llama", same_bits, NULL, NULL, &llama},
        {"deepseek-v2-lite, kv_b whole", same_bits, NULL, NULL, &v2},
        {"deepseek-v2-lite, kv_b split", same_bits, NULL, NULL, &v2_split},
        {"deepseek-v3, kv_b whole", same_bits, NULL, NULL, &v3},
        {"deepseek-v3, kv_b split", same_bits, NULL, NULL, &v3_split},
        {"alignment 8, llama", alignment, NULL, NULL, (void *)(uintptr_t) "llama-tiny"},
        {"alignment 8, deepseek-v2-lite", alignment, NULL, NULL,
         (void *)(uintptr_t) "deepseek-v2-lite-tiny"},
        {"alignment 8, deepseek-v3", alignment, NULL, NULL, (void *)(uintptr_t) "deepseek-v3-tiny"},
        cmocka_unit_test(rope_factors),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("model gguf", tests, NULL, NULL);
}
