/* config_gguf.c -- a Config from the keys of a GGUF file: architectures llama, qwen2, qwen3,
 * qwen3moe and deepseek2.
 *
 * Keys and defaults are those of llama.cpp and its converter. Files live long: many were written
 * before a key existed. Where such a file leaves open what its model computes (groups of experts,
 * YaRN's multiplier) it is refused by name, unless it is one of the released models. */
#include "model/config.h"
#include <math.h>
#include <stdio.h>

/* ---- keys that change nothing ---------------------------------------------------------------- */

/* Keys after "llama." and its like, read in this file or without effect on a forward. */
static const char *const read_here[] = {
    "attention.head_count_kv",  "attention.key_length",
    "attention.key_length_mla", "attention.value_length",
    "expert_gating_func",       "attention.value_length_mla",
    "rope.scaling.type",        "rope.scaling.yarn_log_multiplier",
    "rope.dimension_count",     "nextn_predict_layers",
};
static const char *const neutral[] = {"rope.scaling.finetuned", "tensor_data_layout", "vocab_size"};

/* Keys of other models, with the number at which they change nothing. */
static const struct {
    const char *key;
    double value;
} neutral_numbers[] = {
    {"attention.clamp_kqv", 0},
    {"attention.sliding_window", 0},
    {"attention.causal", 1},
    {"expert_count", 0},
    {"expert_shared_count", 0},
    {"expert_shared_feed_forward_length", 0},
    {"expert_used_count", 0},
    {"expert_weights_norm", 1},
    {"expert_weights_scale", 1},
    {"rope.scale_linear", 1},
    {"rope.scaling.attn_factor", 1},
    {"rope.scaling.yarn_attn_factor", 1},
    {"rope.scaling.yarn_ext_factor", 1},
    {"use_parallel_residual", 0},
};

/* ---- one value ------------------------------------------------------------------------------- */

/* "llama.block_count"; valid until the next call. */
static const char *gguf_key(Reader *r, const char *name) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, name);
    return r->key;
}

/* Whether the file has the key of its architecture. */
static bool there(Reader *r, const char *name) {
    return store_meta_type(r->store, gguf_key(r, name)) != META_ABSENT;
}

/* A number of the table. The getters check the type: converters have written integers in many
 * widths, all of which count, but a string or an array in a number's place is an error. */
Found gguf_number_at(Reader *r, const Field *f, double *out) {
    if (!there(r, f->gguf)) return NOT_FOUND;
    const char *key = gguf_key(r, f->gguf);
    int64_t i = 0;
    bool b = false;
    bool ok = f->kind == KIND_BOOL  ? store_meta_bool(r->store, key, &b, r->err)
              : f->kind == KIND_I64 ? store_meta_i64(r->store, key, &i, r->err)
                                    : store_meta_f64(r->store, key, out, r->err);
    if (f->kind == KIND_BOOL) *out = b;
    if (f->kind == KIND_I64) *out = (double)i;
    r->bad |= !ok;
    return FOUND;
}

/* An integer that no table has, or `absent`. Nothing has checked its size: whoever asks compares
 * before it computes. */
static int64_t i64_or(Reader *r, const char *key, int64_t absent) {
    int64_t v = absent;
    if (store_meta_type(r->store, key) != META_ABSENT && !store_meta_i64(r->store, key, &v, r->err))
        r->bad = true;
    return v;
}

/* Whether a key that is read nowhere changes nothing, by its name or by its value. */
static bool is_neutral(Reader *r, const char *name) {
    if (name_listed(name, neutral, COUNT(neutral))) return true;
    for (int64_t i = 0; i < COUNT(neutral_numbers); i++) {
        if (strcmp(name, neutral_numbers[i].key)) continue;
        const char *key = gguf_key(r, name);
        bool b = false, is_bool = store_meta_type(r->store, key) == META_BOOL;
        double v = 0;
        Err ignored = {0};
        bool ok = is_bool ? store_meta_bool(r->store, key, &b, &ignored)
                          : store_meta_f64(r->store, key, &v, &ignored);
        return ok && (is_bool ? (double)b : v) == neutral_numbers[i].value;
    }
    return false;
}

/* A value, for a message. */
static Shown value_shown(Reader *r, const char *name) {
    const char *key = gguf_key(r, name);
    char text[64] = "an array";
    Err ignored = {0};
    bool b;
    double v;
    Str s;
    if (store_meta_bool(r->store, key, &b, &ignored))
        snprintf(text, sizeof text, "%s", b ? "true" : "false");
    else if (store_meta_f64(r->store, key, &v, &ignored))
        snprintf(text, sizeof text, "%.10g", v);
    else if (store_meta_str(r->store, key, &s, &ignored))
        return shown(s.p, s.n);
    return shown(text, (int64_t)strlen(text));
}

/* Keys of the architecture only: general.* and tokenizer.* do not decide arithmetic. A key that is
 * not known may be what makes this model different, so it is refused. */
static void unknown_refuse(Reader *r) {
    char with_dot[16];
    snprintf(with_dot, sizeof with_dot, "%s.", r->arch);
    Str prefix = str_of(with_dot);
    for (int64_t i = 0; i < store_meta_count(r->store) && !r->bad; i++) {
        Str key = store_meta_key(r->store, i);
        if (!str_starts(key, prefix)) continue;
        Shown s = shown(key.p + prefix.n, key.n - prefix.n);
        const char *name = s.text;
        if (!fields_have(r, config_fields, family_set(r->c), name)
            && !fields_have(r, rope_fields, ROPES, name)
            && !name_listed(name, read_here, COUNT(read_here)) && !is_neutral(r, name))
            config_bad(r, ERR_UNSUPPORTED, name,
                       "is %s: not known here, and it may change what the model computes",
                       value_shown(r, name).text);
    }
}

/* ---- rope ------------------------------------------------------------------------------------ */

/* llama.cpp scales linearly where a factor stands without a type. */
static void unscaled_check(Reader *r) {
    static const char *const factors[] = {"rope.scaling.factor", "rope.scale_linear"};
    for (int64_t i = 0; i < COUNT(factors); i++) {
        double v = 0;
        if (!there(r, factors[i])) continue;
        if (!store_meta_f64(r->store, gguf_key(r, factors[i]), &v, r->err)) {
            r->bad = true;
        } else if (v != 0 && v != 1) {
            config_bad(r, ERR_UNSUPPORTED, factors[i], "is %.10g: linear scaling is not supported",
                       v);
        }
    }
}

/* YaRN's multiplier is 0.1 * mscale_all_dim in f32; its six digits in decimal are restored. The
 * converter writes mscale_all_dim alone, which in every DeepSeek model is mscale, too. Files
 * without it are read in two ways by versions of llama.cpp. */
static void deepseek_multiplier(Reader *r) {
    static const Field log = {.gguf = "rope.scaling.yarn_log_multiplier",
                              .of = MLA,
                              .kind = KIND_F64,
                              .at = offsetof(Config, rope.mscale_all_dim),
                              .lo = 0,
                              .hi = 100,
                              .gguf_absent = NEEDED};
    fields_read(r, (Fields){&log, 1}, MLA);
    RopeConfig *p = &r->c->rope;
    p->mscale_all_dim = rint(p->mscale_all_dim * 1e7) / 1e6;
    p->mscale = p->mscale_all_dim;
    if (p->mscale == 0 && !r->bad)
        config_bad(r, ERR_UNSUPPORTED, log.gguf, "is 0, which is read in two ways");
}

/* An absent type means linear to llama.cpp, which with a factor of 1 is no scaling at all. */
static void gguf_rope(Reader *r) {
    RopeConfig *p = &r->c->rope;
    Str type = STR("linear");
    if (there(r, "rope.scaling.type")
        && !store_meta_str(r->store, gguf_key(r, "rope.scaling.type"), &type, r->err))
        r->bad = true;
    if (str_eq(type, STR("yarn")))
        p->scaling = ROPE_YARN;
    else if (str_eq(type, STR("linear")))
        unscaled_check(r);
    else if (!str_eq(type, STR("none"))) /* under which llama.cpp does not look at a factor */
        config_bad(r, ERR_UNSUPPORTED, "rope.scaling.type",
                   "is \"%s\", supported are none, linear with factor 1 and yarn",
                   shown(type.p, type.n).text);
    fields_read(r, rope_fields, 1u << p->scaling);
    if (p->scaling != ROPE_YARN) return;
    if (p->original == 0) p->original = (double)r->c->max_positions;
    if (family_set(r->c) & MLA)
        deepseek_multiplier(r);
    else if (there(r, "rope.scaling.yarn_log_multiplier"))
        config_bad(r, ERR_UNSUPPORTED, "rope.scaling.yarn_log_multiplier",
                   "is %s: not part of architecture %s",
                   value_shown(r, "rope.scaling.yarn_log_multiplier").text, r->arch);
}

/* ---- llama, qwen2, qwen3, qwen3moe ----------------------------------------------------------- */

/* llama.cpp's graph of qwen3moe has no other router. */
static void qwen_router(Reader *r) {
    int64_t gate = i64_or(r, gguf_key(r, "expert_gating_func"), 1);
    if (gate != 1)
        config_bad(r, ERR_UNSUPPORTED, "expert_gating_func", "is %lld, supported is 1 (softmax)",
                   (long long)gate);
    r->c->router.norm = true;
}

/* Models exist whose values have another width than their keys, or which rotate a part of a head
 * only. The kernels know neither, so what would say so must say the usual number. */
static void gqa_heads(Reader *r) {
    static const char *const sizes[] = {"attention.value_length", "rope.dimension_count"};
    const Config *c = r->c;
    int64_t D = c->D ? c->D : c->C / c->H;
    for (int64_t i = 0; i < COUNT(sizes) && !r->bad; i++) {
        int64_t v = i64_or(r, gguf_key(r, sizes[i]), D);
        if (v != D)
            config_bad(r, ERR_UNSUPPORTED, sizes[i], "is %lld, and a head has %lld numbers",
                       (long long)v, (long long)D);
    }
}

/* ---- deepseek2 ------------------------------------------------------------------------------- */

/* The rows of the embedding; 0 where it is no matrix. */
static int64_t vocabulary_rows(const Reader *r) {
    const Tensor *embed = store_find(r->store, STR("token_embd.weight"));
    bool fits =
        embed && embed->n_dims == 2 && embed->dim[0] >= 1 && embed->dim[0] <= VOCABULARY_MAX;
    return fits ? embed->dim[0] : 0;
}

/* 1 softmax (V2), 2 sigmoid (V3, GLM-4-MoE-Lite). V2's files are older than the key; the first ones
 * of GLM-4.7-Flash lack it too, and are known by its sizes, as in llama.cpp. */
static Family deepseek_family(Reader *r) {
    int64_t layers = i64_or(r, gguf_key(r, "block_count"), 0);
    bool glm = (layers == 47 || layers == 48) && vocabulary_rows(r) == 154880;
    int64_t gate = i64_or(r, gguf_key(r, "expert_gating_func"), glm ? 2 : 1);
    if (gate != 1 && gate != 2)
        config_bad(r, ERR_UNSUPPORTED, "expert_gating_func",
                   "is %lld, supported are 1 (softmax) and 2 (sigmoid)", (long long)gate);
    return gate == 2 ? FAMILY_DEEPSEEK3 : FAMILY_DEEPSEEK2;
}

/* Sizes of a head: with the _mla keys as they are, key_length and value_length being those of the
 * latent; before these keys key_length and value_length were those of a head. */
static void deepseek_heads(Reader *r) {
    static const char *const names[2][2] = {
        {"attention.key_length", "attention.value_length"},
        {"attention.key_length_mla", "attention.value_length_mla"}};
    Config *c = r->c;
    bool key_mla = there(r, names[1][0]), value_mla = there(r, names[1][1]);
    if (key_mla != value_mla)
        return config_bad(r, ERR_FORMAT, names[1][key_mla],
                          "is missing: the two _mla lengths belong together");
    const char *const *name = names[key_mla];
    int64_t key = i64_or(r, gguf_key(r, name[0]), 0);
    c->d_v = i64_or(r, gguf_key(r, name[1]), 0);
    if (key <= c->d_rope || key > c->d_rope + 1024)
        config_bad(r, ERR_FORMAT, name[0],
                   "is %lld: expected rope.dimension_count (%lld) and 1 "
                   "to 1024 more",
                   (long long)key, (long long)c->d_rope);
    if (c->d_v < 1 || c->d_v > 1024)
        config_bad(r, ERR_FORMAT, name[1], "is %lld, outside of 1 to 1024", (long long)c->d_v);
    c->d_nope = r->bad ? 0 : key - c->d_rope; /* of any number, the difference might overflow */
}

/* The form that a checkpoint was trained in, where the file was converted from one. */
static void deepseek_form(Reader *r) {
    Str form;
    if (store_meta_type(r->store, GGUF_MLA_FORM) == META_ABSENT) return;
    if (!store_meta_str(r->store, GGUF_MLA_FORM, &form, r->err)) {
        r->bad = true;
        return;
    }
    for (int64_t i = 0; i < COUNT(mla_forms); i++)
        if (str_eq(form, str_of(mla_forms[i]))) r->c->recorded_mla = mla_forms[i];
    if (!r->c->recorded_mla)
        r->bad = !err_set(r->err, ERR_UNSUPPORTED,
                          "%s: " GGUF_MLA_FORM ": is \"%s\", supported are expanded and absorbed",
                          r->file, shown(form.p, form.n).text);
}

/* Converters wrote the groups from autumn 2025 on. An older file of a released model is known by
 * its sizes; another may mean any groups. */
static void deepseek_groups(Reader *r) {
    static const struct {
        int64_t L, C, E, K, groups, used;
    } released[] = {
        {27, 2048, 64, 6, 1, 1},  /* V2-Lite, Moonlight */
        {60, 5120, 160, 6, 8, 3}, /* V2, V2.5 */
        {61, 7168, 256, 8, 8, 4}, /* V3, R1, V3.1 */
        {61, 7168, 384, 8, 1, 1}, /* Kimi-K2 */
        {47, 2048, 64, 4, 1, 1},  /* GLM-4.7-Flash */
    };
    Config *c = r->c;
    Router *q = &c->router;
    for (int64_t i = 0; i < COUNT(released) && !q->groups && !q->groups_used; i++)
        if (c->L == released[i].L && c->C == released[i].C && c->E == released[i].E
            && c->K == released[i].K)
            q->groups = released[i].groups, q->groups_used = released[i].used;
    if (!q->groups || !q->groups_used)
        config_bad(r, ERR_FORMAT, q->groups ? "expert_group_used_count" : "expert_group_count",
                   "is missing: convert the model anew, the file may be older than the key");
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Whether a layer has a tensor. */
static bool block_there(const Reader *r, int64_t block, const char *tensor) {
    char name[96];
    snprintf(name, sizeof name, "blk.%lld.%s", (long long)block, tensor);
    return store_find(r->store, str_of(name)) != NULL;
}

/* Layers that predict further tokens are counted in block_count by some converters, by others not,
 * and their tensors may be left out: the layers that are there decide. */
static void gguf_mtp(Reader *r) {
    Config *c = r->c;
    int64_t n = i64_or(r, gguf_key(r, "nextn_predict_layers"), 0);
    if (n == 0) return;
    if (n < 0 || n > 16 || n >= c->L || !(family_set(c) & MLA))
        return config_bad(r, ERR_UNSUPPORTED, "nextn_predict_layers",
                          "is %lld beside %lld layers of architecture %s", (long long)n,
                          (long long)c->L, r->arch);
    c->mtp = n;
    int64_t first = c->L - n;
    if (block_there(r, first, "nextn.eh_proj.weight") || !block_there(r, first, "attn_norm.weight"))
        c->L = first;
}

/* The vocabulary's size and whether the head is tied are read off the tensors. */
static void gguf_vocabulary(Reader *r) {
    Config *c = r->c;
    c->V = vocabulary_rows(r);
    if (!c->V) {
        if (!r->bad)
            err_set(r->err, ERR_FORMAT, "%s: tensor token_embd.weight is missing or no matrix",
                    r->file);
        r->bad = true;
        return;
    }
    c->tied = !store_find(r->store, STR("output.weight"));
    c->bos = i64_or(r, "tokenizer.ggml.bos_token_id", -1);
    int64_t eos = i64_or(r, "tokenizer.ggml.eos_token_id", -1);
    int64_t eot = i64_or(r, "tokenizer.ggml.eot_token_id", -1);
    if (eos >= 0) c->eos[c->n_eos++] = eos;
    if (eot >= 0 && eot != eos) c->eos[c->n_eos++] = eot;
}

/* Each step needs those before it: the family decides the tables, further layers change L, groups
 * are looked up by L and C. The first fault ends the reading. */
static void gguf_read(Reader *r) {
    Config *c = r->c;
    bool mla = family_set(c) & MLA;
    if (mla) c->family = deepseek_family(r);
    c->rope.pairs = mla;
    fields_read(r, config_fields, family_set(c));
    if (!r->bad) gguf_mtp(r);
    if (!r->bad) gguf_rope(r);
    if (!r->bad && !mla) gqa_heads(r);
    if (!r->bad && c->E && !mla) qwen_router(r);
    if (!r->bad && mla) deepseek_heads(r);
    if (!r->bad && mla) deepseek_form(r);
    if (!r->bad && c->E && mla) deepseek_groups(r);
    if (!r->bad) gguf_vocabulary(r);
    if (!r->bad) unknown_refuse(r);
}

/* The architecture's name decides the family, except that deepseek2 stands for three, which other
 * keys tell apart (deepseek_family). */
bool gguf_config(Config *c, const Store *s, Err *err) {
    config_defaults(c);
    Reader r = {.store = s, .file = store_path(s), .c = c, .err = err};
    Str arch;
    if (!store_meta_str(s, "general.architecture", &arch, err)) return false;
    for (int64_t i = FAMILY_N; i-- > 0;) /* the first that has the name: deepseek2 is V2 so far */
        if (str_eq(arch, str_of(family_names[i].arch)))
            r.arch = family_names[i].arch, c->family = (Family)i;
    if (!r.arch)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: architecture \"%s\" is not supported (known: llama, qwen2, qwen3, "
                       "qwen3moe, deepseek2)",
                       store_path(s), shown(arch.p, arch.n).text);
    gguf_read(&r);
    return config_check(&r);
}
