/* config_keys.c -- a Config as the keys of a GGUF file: config.c's table and config_gguf.c, read
 * from the other side. */
#include "model/config.h"
#include <stdio.h>

/* "llama.NAME"; valid until the next call. */
typedef struct Keys {
    Writer *w;
    const char *arch;
    char key[128];
} Keys;

static const char *key_of(Keys *k, const char *name) {
    snprintf(k->key, sizeof k->key, "%s.%s", k->arch, name);
    return k->key;
}

static void put_i64(Keys *k, const char *name, int64_t v) { writer_u32(k->w, key_of(k, name), v); }

/* The rows of a table that `set` has and GGUF names. Keys about experts are left out of a dense
 * model, and the number of key/value heads of latent attention, which put_mla writes. */
static void put_fields(Keys *k, const Config *c, Fields f, unsigned set) {
    for (int64_t i = 0; i < f.n; i++) {
        const Field *row = &f.row[i];
        bool idle = row->experts && !c->E && row->at != offsetof(Config, first_dense);
        if (!row->gguf || !(row->of & set) || idle) continue;
        if (c->mla && row->at == offsetof(Config, G)) continue;
        double v = field_get(c, row);
        if (row->kind == KIND_I64)
            put_i64(k, row->gguf, (int64_t)v);
        else if (row->kind == KIND_BOOL)
            writer_bool(k->w, key_of(k, row->gguf), v != 0);
        else if (row->at == offsetof(Config, rope.original))
            put_i64(k, row->gguf, (int64_t)v);
        else
            writer_f32(k->w, key_of(k, row->gguf), v);
    }
}

/* llama.cpp takes latent attention as one key/value head of the latent's width; the _mla lengths
 * are those of a head. Some of these keys it asks for although they say nothing: q_lora_rank 0,
 * no shared experts, the width of experts of a dense model. */
static void put_mla(Keys *k, const Config *c) {
    put_i64(k, "attention.head_count_kv", 1);
    put_i64(k, "attention.key_length", c->R + c->d_rope);
    put_i64(k, "attention.value_length", c->R);
    put_i64(k, "attention.key_length_mla", c->d_nope + c->d_rope);
    put_i64(k, "attention.value_length_mla", c->d_v);
    if (family_set(c) & GLM4) put_i64(k, "leading_dense_block_count", c->first_dense);
    if (c->E) {
        put_i64(k, "expert_gating_func", c->router.kind == ROUTER_SIGMOID ? 2 : 1);
    } else {
        put_i64(k, "expert_shared_count", 0);
        put_i64(k, "expert_feed_forward_length", c->F);
    }
    if (c->recorded_mla) writer_str(k->w, GGUF_MLA_FORM, str_of(c->recorded_mla));
}

/* YaRN is the only scaling with keys of its own; llama3's goes as a tensor of factors
 * (export.c). */
static void put_rope(Keys *k, const Config *c) {
    const RopeConfig *r = &c->rope;
    unsigned set = 1u << (r->scaling == ROPE_YARN ? ROPE_YARN : ROPE_PLAIN);
    put_fields(k, c, rope_fields, set);
    if (!c->mla) put_i64(k, "rope.dimension_count", r->dim);
    if (r->scaling != ROPE_YARN) return;
    writer_str(k->w, key_of(k, "rope.scaling.type"), STR("yarn"));
    if (c->mla)
        writer_f32(k->w, key_of(k, "rope.scaling.yarn_log_multiplier"), 0.1 * r->mscale_all_dim);
}

/* What llama.cpp's keys cannot say. */
static const char *no_form(const Config *c) {
    const RopeConfig *r = &c->rope;
    bool yarn = r->scaling == ROPE_YARN;
    if (yarn && c->mla && (r->mscale != r->mscale_all_dim || r->mscale == 0))
        return "a YaRN whose mscale is not mscale_all_dim";
    if (yarn && !c->mla && (r->mscale != 1 || r->mscale_all_dim != 0))
        return "a YaRN with an mscale of its own";
    if (c->mla && !r->pairs) return "rope_interleave false";
    if (family_set(c) & QWEN3_MOE && c->E && !c->router.norm) return "norm_topk_prob false";
    if (family_set(c) & QWEN3_MOE && c->first_dense) return "dense layers (mlp_only_layers)";
    return NULL;
}

bool config_write_gguf(Writer *w, const Config *c, Err *err) {
    Config counted =
        *c; /* llama.cpp counts the layers that predict further tokens as layers, too */
    counted.L += c->mtp;
    Keys k = {.w = w, .arch = family_names[c->family].arch};
    const char *what = no_form(c);
    if (what)
        return err_set(
            err, ERR_UNSUPPORTED,
            "GGUF's architecture %s has no form for %s: keep the model as a Hugging Face "
            "folder",
            k.arch, what);
    writer_str(w, "general.architecture", str_of(k.arch));
    put_i64(&k, "vocab_size", c->V);
    put_fields(&k, &counted, config_fields, family_set(c));
    if (c->mtp) put_i64(&k, "nextn_predict_layers", c->mtp);
    if (c->mla)
        put_mla(&k, c);
    else
        put_i64(&k, "attention.value_length", c->D);
    put_rope(&k, c);
    return true;
}
