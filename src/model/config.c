/* config.c -- what a model is: config.json (Hugging Face) or the keys of a GGUF file.
 *
 * One table, `fields`, names each number in both formats, says which families have it, between
 * which bounds it makes sense and what its absence means; reader, writer and the search for
 * unknown keys walk it. What does not fit a table (strings, the two spellings of rope) has a few
 * lines of its own.
 *
 * Invariants: whoever gets a Config may multiply its sizes without overflow (each is bounded) and
 * divide by those that are divisors. A key that is not known and not switched off (null, false) is
 * an error that names it, since it may change the arithmetic. */
#include "model/model.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the fields ------------------------------------------------------------------------------ */

typedef enum Kind { KIND_I64, KIND_F64, KIND_F32, KIND_BOOL } Kind;
enum { LLAMA = 1 << FAMILY_LLAMA, V2 = 1 << FAMILY_DEEPSEEK2, V3 = 1 << FAMILY_DEEPSEEK3 };
enum { MLA = V2 | V3, ALL = LLAMA | MLA };
#define REQUIRED (-1e300)

typedef struct Field {
    const char *hf, *gguf; /* NULL: not in this format; GGUF's come after "llama." */
    unsigned families;
    Kind kind;
    size_t at;             /* offset in Config */
    double lo, hi, absent; /* bounds, and the value where the key is missing or null */
} Field;

#define AT(member) offsetof(Config, member)
#define V_MOST     (1 << 23)

/* The bounds hold all released models with room to spare; by them no count of numbers or bytes of a
 * model passes 2^62. */
static const Field fields[] = {
    {"num_hidden_layers", "block_count", ALL, KIND_I64, AT(L), 1, 1024, REQUIRED},
    {"hidden_size", "embedding_length", ALL, KIND_I64, AT(C), 1, 1 << 17, REQUIRED},
    {"vocab_size", NULL, ALL, KIND_I64, AT(V), 1, V_MOST, REQUIRED},
    {"num_attention_heads", "attention.head_count", ALL, KIND_I64, AT(H), 1, 1024, REQUIRED},
    {"num_key_value_heads", "attention.head_count_kv", LLAMA, KIND_I64, AT(G), 1, 1024, 0},
    {"head_dim", "attention.key_length", LLAMA, KIND_I64, AT(D), 2, 1024, 0},
    {"intermediate_size", "feed_forward_length", ALL, KIND_I64, AT(F), 1, 1 << 20, REQUIRED},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", ALL, KIND_F32, AT(eps), 1e-30, 1,
     REQUIRED},
    {"max_position_embeddings", "context_length", ALL, KIND_I64, AT(max_positions), 1, 1 << 28,
     REQUIRED},
    {"tie_word_embeddings", NULL, ALL, KIND_BOOL, AT(tied), 0, 1, 0},
    {"q_lora_rank", "attention.q_lora_rank", MLA, KIND_I64, AT(Q), 0, 1 << 15, 0},
    {"kv_lora_rank", "attention.kv_lora_rank", MLA, KIND_I64, AT(R), 1, 8192, REQUIRED},
    {"qk_nope_head_dim", NULL, MLA, KIND_I64, AT(d_nope), 1, 1024, REQUIRED},
    {"qk_rope_head_dim", "rope.dimension_count", MLA, KIND_I64, AT(d_rope), 2, 1024, REQUIRED},
    {"v_head_dim", "attention.value_length_mla", MLA, KIND_I64, AT(d_v), 1, 1024, REQUIRED},
    {"n_routed_experts", "expert_count", MLA, KIND_I64, AT(E), 0, ROUTER_E, 0},
    {"num_experts_per_tok", "expert_used_count", MLA, KIND_I64, AT(K), 0, 256, 0},
    {"n_shared_experts", "expert_shared_count", MLA, KIND_I64, AT(shared), 0, 64, 0},
    {"moe_intermediate_size", "expert_feed_forward_length", MLA, KIND_I64, AT(F_moe), 0, 1 << 17,
     0},
    {"first_k_dense_replace", "leading_dense_block_count", MLA, KIND_I64, AT(first_dense), 0, 1024,
     0},
    {"n_group", "expert_group_count", MLA, KIND_I64, AT(router.groups), 1, 1024, 1},
    {"topk_group", "expert_group_used_count", MLA, KIND_I64, AT(router.groups_used), 1, 1024, 1},
    {"norm_topk_prob", "expert_weights_norm", MLA, KIND_BOOL, AT(router.norm), 0, 1, 0},
    {"routed_scaling_factor", "expert_weights_scale", MLA, KIND_F32, AT(router.scale), 1e-6, 1e6,
     1},
    {"num_nextn_predict_layers", "nextn_predict_layers", MLA, KIND_I64, AT(mtp), 0, 16, 0},
    {"rope_interleave", NULL, MLA, KIND_BOOL, AT(rope.pairs), 0, 1, 1},
};

/* Of the object rope_parameters or rope_scaling, beside which rope_theta stood before. */
static const Field rope_fields[] = {
    {"rope_theta", "rope.freq_base", ALL, KIND_F64, AT(rope.theta), 1.001, 1e12, 10000},
    {"factor", "rope.scaling.factor", ALL, KIND_F64, AT(rope.factor), 1, 1e6, 1},
    {"original_max_position_embeddings", "rope.scaling.original_context_length", ALL, KIND_F64,
     AT(rope.original), 1, 1 << 28, 0},
    {"beta_fast", "rope.scaling.yarn_beta_fast", ALL, KIND_F64, AT(rope.beta_fast), 1e-6, 1e6, 32},
    {"beta_slow", "rope.scaling.yarn_beta_slow", ALL, KIND_F64, AT(rope.beta_slow), 1e-6, 1e6, 1},
    {"mscale", NULL, ALL, KIND_F64, AT(rope.mscale), 0, 1e3, 1},
    {"mscale_all_dim", NULL, ALL, KIND_F64, AT(rope.mscale_all_dim), 0, 1e3, 0},
    {"low_freq_factor", NULL, ALL, KIND_F64, AT(rope.low_freq), 1e-6, 1e6, 1},
    {"high_freq_factor", NULL, ALL, KIND_F64, AT(rope.high_freq), 1e-6, 1e6, 4},
};

/* Keys of config.json that are read below, or that do not touch the arithmetic of a forward. */
static const char *const json_other[] = {
    "model_type",
    "hidden_act",
    "rope_scaling",
    "rope_parameters",
    "rope_theta",
    "scoring_func",
    "topk_method",
    "bos_token_id",
    "eos_token_id",
    "mla_form",
    "attention_dropout",
    "moe_layer_freq",
    "qk_head_dim",
    "head_dim",
    "num_key_value_heads",
    "architectures",
    "auto_map",
    "aux_loss_alpha",
    "dtype",
    "ep_size",
    "initializer_range",
    "is_llama_config",
    "pad_token_id",
    "pretraining_tp",
    "router_aux_loss_coef",
    "seq_aux",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "use_cache",
    "vocab_type",
};
static const char *const rope_other[] = {"type", "rope_type"};
/* Keys after "llama." or "deepseek2." of a GGUF file, likewise. */
static const char *const gguf_other[] = {
    "attention.head_count_kv",  "attention.key_length",
    "attention.key_length_mla", "attention.value_length",
    "expert_gating_func",       "rope.dimension_count",
    "rope.scaling.type",        "rope.scaling.yarn_log_multiplier",
    "rope.scaling.finetuned",   "vocab_size",
};

/* ---- one value ------------------------------------------------------------------------------- */

/* Where values come from: an object of a config.json, or the metadata of a GGUF file. */
typedef struct Reader {
    const json_t *object;
    const Store *store;
    const char *arch;
    const char *file;
    Config *c;
    Err *err;
    bool bad;
    char key[128]; /* gguf_key's */
} Reader;

/* Text from outside, fit to stand in a message. */
typedef struct Shown {
    char text[64];
} Shown;
static Shown shown(const char *s, int64_t n) {
    Shown v = {{0}};
    for (int64_t i = 0; i < MIN(n, 63); i++) v.text[i] = s[i] >= ' ' && s[i] <= '~' ? s[i] : '?';
    return v;
}

static void bad(Reader *r, ErrCode code, const char *key, const char *what) {
    err_set(r->err, code, "%s: %s%s%s: %s", r->file, r->arch ? r->arch : "", r->arch ? "." : "",
            key, what);
    r->bad = true;
}

/* The number behind a key; false where there is none. */
static bool json_number_at(Reader *r, const Field *f, double *out) {
    const json_t *v = json_object_get(r->object, f->hf);
    if (!v || json_is_null(v)) return false;
    bool fits = f->kind == KIND_BOOL  ? json_is_boolean(v)
                : f->kind == KIND_I64 ? json_is_integer(v)
                                      : json_is_number(v);
    if (!fits) {
        bad(r, ERR_FORMAT, f->hf,
            f->kind == KIND_BOOL ? "is not true or false"
                                 : "is not a number of the kind that belongs there");
        return false;
    }
    *out = json_is_boolean(v) ? json_is_true(v) : json_number_value(v);
    return true;
}

/* "llama.block_count"; valid until the next call. */
static const char *gguf_key(Reader *r, const char *name) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, name);
    return r->key;
}

static bool gguf_number_at(Reader *r, const Field *f, double *out) {
    const char *key = gguf_key(r, f->gguf);
    if (store_meta_type(r->store, key) == META_ABSENT) return false;
    int64_t i = 0;
    bool b = false;
    bool ok = f->kind == KIND_BOOL  ? store_meta_bool(r->store, key, &b, r->err)
              : f->kind == KIND_I64 ? store_meta_i64(r->store, key, &i, r->err)
                                    : store_meta_f64(r->store, key, out, r->err);
    if (f->kind == KIND_BOOL) *out = b;
    if (f->kind == KIND_I64) *out = (double)i;
    r->bad |= !ok;
    return ok;
}

static void field_set(Config *c, const Field *f, double v) {
    void *p = (char *)c + f->at;
    switch (f->kind) {
    case KIND_I64: *(int64_t *)p = (int64_t)v; break;
    case KIND_F64: *(double *)p = v; break;
    case KIND_F32: *(float *)p = (float)v; break;
    case KIND_BOOL: *(bool *)p = v != 0; break;
    }
}

static double field_get(const Config *c, const Field *f) {
    const void *p = (const char *)c + f->at;
    switch (f->kind) {
    case KIND_I64: return (double)*(const int64_t *)p;
    case KIND_F64: return *(const double *)p;
    case KIND_F32: return *(const float *)p;
    default: return *(const bool *)p;
    }
}

static void fields_read(Reader *r, const Field *f, int64_t n) {
    for (int64_t i = 0; i < n && !r->bad; i++, f++) {
        const char *name = r->arch ? f->gguf : f->hf;
        if (!name || !(f->families & (1u << r->c->family))) continue;
        double v = 0;
        bool there = r->arch ? gguf_number_at(r, f, &v) : json_number_at(r, f, &v);
        if (r->bad) return;
        if (!there && f->absent == REQUIRED) return bad(r, ERR_FORMAT, name, "is missing");
        if (there && !(v >= f->lo && v <= f->hi)) {
            char what[96];
            snprintf(what, sizeof what, "is %.10g, outside of %.10g to %.10g", v, f->lo, f->hi);
            return bad(r, ERR_FORMAT, name, what);
        }
        field_set(r->c, f, there ? v : f->absent);
    }
}

static bool named(const char *name, const char *const *list, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(name, list[i])) return true;
    return false;
}

static bool is_field(const Reader *r, const char *name, const Field *f, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const char *known = r->arch ? f[i].gguf : f[i].hf;
        if (known && f[i].families & (1u << r->c->family) && !strcmp(name, known)) return true;
    }
    return false;
}

/* ---- what must fit together ------------------------------------------------------------------ */

static bool require(Reader *r, bool ok, const char *what) {
    if (!ok && !r->bad) {
        err_set(r->err, ERR_FORMAT, "%s: the sizes do not fit together: %s", r->file, what);
        r->bad = true;
    }
    return ok;
}

static void moe_check(Reader *r) {
    Config *c = r->c;
    Router *q = &c->router;
    q->E = c->E, q->K = c->K;
    if (!require(r, c->K >= 1 && c->K <= c->E,
                 "experts per token must be 1 to the number of experts"))
        return;
    require(r, c->F_moe >= 1, "experts need a width (moe_intermediate_size)");
    require(r, c->E % q->groups == 0, "experts must divide into equal groups");
    require(r, q->groups_used <= q->groups && c->K <= q->groups_used * (c->E / q->groups),
            "the groups used must hold enough experts");
    require(r, q->groups == 1 || q->kind == ROUTER_SOFTMAX || c->E / q->groups >= 2,
            "a group needs two experts");
    require(r, !(q->kind == ROUTER_SOFTMAX && q->norm),
            "norm_topk_prob with a softmax router is in no released model and is read in two ways; "
            "set it to false");
}

static bool config_check(Reader *r) {
    Config *c = r->c;
    c->mla = c->family != FAMILY_LLAMA;
    if (c->mla) {
        c->G = c->H, c->D = c->d_nope + c->d_rope;
        c->rope.dim = c->d_rope;
    } else {
        if (!c->G) c->G = c->H;
        if (!c->D
            && require(r, c->C % c->H == 0,
                       "hidden_size must divide by num_attention_heads without head_dim"))
            c->D = c->C / c->H;
        require(r, c->D <= 1024, "a head has 1024 numbers at most");
        c->rope.dim = c->D;
    }
    require(r, c->H % c->G == 0, "query heads must divide by key/value heads");
    require(r, c->rope.dim % 2 == 0, "rope turns pairs: its dimension must be even");
    require(r, c->rope.scaling == ROPE_PLAIN || c->rope.original > 0,
            "rope scaling needs original_max_position_embeddings");
    require(r, c->rope.scaling != ROPE_LLAMA3 || c->rope.high_freq > c->rope.low_freq,
            "high_freq_factor must be above low_freq_factor");
    c->first_dense = MIN(c->first_dense, c->L);
    if (c->E)
        moe_check(r);
    else
        c->first_dense = c->L;
    for (int64_t i = 0; i < c->n_eos; i++)
        require(r, c->eos[i] >= 0 && c->eos[i] < c->V, "an end token must be in the vocabulary");
    require(r, c->bos >= -1 && c->bos < c->V, "the begin token must be in the vocabulary");
    return !r->bad;
}

/* ---- config.json ----------------------------------------------------------------------------- */

/* The string behind a key, or `absent`. */
static const char *json_text(Reader *r, const json_t *o, const char *key, const char *absent) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return absent;
    if (!json_is_string(v)) bad(r, ERR_FORMAT, key, "is not a string");
    return json_is_string(v) ? json_string_value(v) : absent;
}

/* The number of the choice that a string names; the others are refused by name. */
static int64_t json_choice(Reader *r, const json_t *o, const char *key, const char *absent,
                           const char *const *choice, int64_t n) {
    const char *v = json_text(r, o, key, absent);
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(v, choice[i])) return i;
    if (!r->bad) {
        err_set(r->err, ERR_UNSUPPORTED, "%s: %s: \"%s\" is not supported (known: %s%s%s%s%s)",
                r->file, key, shown(v, (int64_t)strlen(v)).text, choice[0], n > 1 ? ", " : "",
                n > 1 ? choice[1] : "", n > 2 ? ", " : "", n > 2 ? choice[2] : "");
        r->bad = true;
    }
    return 0;
}

static void json_expect(Reader *r, const char *key, int64_t value) {
    const json_t *v = json_object_get(r->object, key);
    if (v && !json_is_null(v) && (!json_is_number(v) || json_number_value(v) != (double)value)) {
        char what[64];
        snprintf(what, sizeof what, "is supported only as %d", (int)value);
        bad(r, ERR_UNSUPPORTED, key, what);
    }
}

static bool json_is_off(const json_t *v) { return json_is_null(v) || json_is_false(v); }

static void json_unknown(Reader *r, const json_t *o, const Field *f, int64_t n,
                         const char *const *other, int64_t n_other) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        if (r->bad || json_is_off(v) || key[0] == '_' || named(key, other, n_other)
            || is_field(r, key, f, n))
            continue;
        bad(r, ERR_UNSUPPORTED, shown(key, (int64_t)strlen(key)).text,
            "is not known here and may change the arithmetic; if it does not, take it out");
    }
}

/* rope_parameters holds all (transformers 5); before, rope_theta stood above and rope_scaling
 * beside it. */
static void json_rope(Reader *r) {
    static const char *const types[] = {"default", "yarn", "llama3"};
    const json_t *top = r->object, *rope = json_object_get(top, "rope_parameters");
    if (!rope) rope = json_object_get(top, "rope_scaling");
    if (rope && !json_is_object(rope) && !json_is_null(rope))
        return bad(r, ERR_FORMAT, "rope_scaling", "is not an object");
    json_t *all = json_is_object(rope) ? json_copy((json_t *)(uintptr_t)rope) : json_object();
    if (!json_object_get(all, "rope_theta"))
        json_object_set(all, "rope_theta", json_object_get(top, "rope_theta"));
    const char *key = json_object_get(all, "rope_type") ? "rope_type" : "type";
    r->c->rope.scaling = (RopeScaling)json_choice(r, all, key, "default", types, COUNT(types));
    r->object = all;
    fields_read(r, rope_fields, COUNT(rope_fields));
    json_unknown(r, all, rope_fields, COUNT(rope_fields), rope_other, COUNT(rope_other));
    r->object = top;
    json_decref(all);
}

static void json_router(Reader *r) {
    static const char *const scoring[] = {"softmax", "sigmoid"};
    static const char *const methods[] = {"greedy", "group_limited_greedy", "noaux_tc"};
    bool v3 = r->c->family == FAMILY_DEEPSEEK3;
    Router *q = &r->c->router;
    q->kind = (RouterKind)json_choice(r, r->object, "scoring_func", v3 ? "sigmoid" : "softmax",
                                      scoring, 2);
    const char *usual = v3 ? "noaux_tc" : "greedy";
    int64_t method = json_choice(r, r->object, "topk_method", usual, methods, 3);
    if (method == 0) q->groups = q->groups_used = 1;
    if ((method == 2) != v3 || (q->kind == ROUTER_SIGMOID) != v3)
        bad(r, ERR_UNSUPPORTED, "topk_method",
            "and scoring_func are supported as noaux_tc with sigmoid (deepseek_v3) or "
            "as greedy or group_limited_greedy with softmax (deepseek_v2)");
}

static int64_t json_token(Reader *r, const char *key, const json_t *v) {
    if (!json_is_integer(v)) bad(r, ERR_FORMAT, key, "is not a token's number");
    return json_integer_value(v);
}

static void json_tokens(Reader *r) {
    const json_t *bos = json_object_get(r->object, "bos_token_id");
    const json_t *eos = json_object_get(r->object, "eos_token_id");
    Config *c = r->c;
    c->bos = bos && !json_is_null(bos) ? json_token(r, "bos_token_id", bos) : -1;
    if (!eos || json_is_null(eos)) return;
    if (!json_is_array(eos)) {
        c->eos[c->n_eos++] = json_token(r, "eos_token_id", eos);
        return;
    }
    if (json_array_size(eos) > 8)
        return bad(r, ERR_FORMAT, "eos_token_id", "has more than 8 entries");
    for (size_t i = 0; i < json_array_size(eos); i++)
        c->eos[c->n_eos++] = json_token(r, "eos_token_id", json_array_get(eos, i));
}

static void json_config(Reader *r) {
    static const char *const types[] = {"llama", "deepseek_v2", "deepseek_v3"};
    static const char *const silu[] = {"silu"}, *const forms[] = {"expanded", "absorbed"};
    Config *c = r->c;
    c->family = (Family)json_choice(r, r->object, "model_type", "(missing)", types, 3);
    if (r->bad) return;
    bool mla = c->family != FAMILY_LLAMA;
    fields_read(r, fields, COUNT(fields));
    json_choice(r, r->object, "hidden_act", "silu", silu, 1);
    json_expect(r, "attention_dropout", 0);
    json_rope(r);
    if (mla) {
        json_router(r);
        json_expect(r, "moe_layer_freq", 1);
        json_expect(r, "qk_head_dim", c->d_nope + c->d_rope);
        json_expect(r, "num_key_value_heads", c->H);
    }
    json_tokens(r);
    if (mla && json_text(r, r->object, "mla_form", NULL))
        c->recorded_mla = forms[json_choice(r, r->object, "mla_form", forms[0], forms, 2)];
    json_unknown(r, r->object, fields, COUNT(fields), json_other, COUNT(json_other));
}

bool config_parse(Config *c, Str json, const char *name, Err *err) {
    *c = (Config){0};
    json_error_t e;
    json_t *o = json_loadb(json.p, (size_t)json.n, JSON_REJECT_DUPLICATES, &e);
    if (!o) return err_set(err, ERR_FORMAT, "%s: line %d: %s", name, e.line, e.text);
    Reader r = {.object = o, .file = name, .c = c, .err = err};
    if (json_is_object(o))
        json_config(&r);
    else
        bad(&r, ERR_FORMAT, "the file", "is not a JSON object");
    json_decref(o);
    return !r.bad && config_check(&r);
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

static int64_t gguf_i64_or(Reader *r, const char *key, int64_t absent) {
    int64_t v = absent;
    if (store_meta_type(r->store, key) != META_ABSENT && !store_meta_i64(r->store, key, &v, r->err))
        r->bad = true;
    return v;
}

static void gguf_rope(Reader *r) {
    Config *c = r->c;
    fields_read(r, rope_fields, COUNT(rope_fields));
    c->rope.mscale = 1, c->rope.low_freq = 1, c->rope.high_freq = 4;
    const char *key = gguf_key(r, "rope.scaling.type");
    Str type = STR("none");
    if (store_meta_type(r->store, key) != META_ABSENT
        && !store_meta_str(r->store, key, &type, r->err))
        r->bad = true;
    if (str_eq(type, STR("yarn")))
        c->rope.scaling = ROPE_YARN;
    else if (!str_eq(type, STR("none")))
        bad(r, ERR_UNSUPPORTED, "rope.scaling.type", "is neither none nor yarn");
    /* The multiplier is 0.1 * mscale_all_dim in f32; its six digits in decimal are restored. */
    static const Field log = {
        NULL, "rope.scaling.yarn_log_multiplier", ALL, KIND_F64, AT(rope.mscale_all_dim), 0, 100,
        -1};
    fields_read(r, &log, 1);
    double *all = &c->rope.mscale_all_dim;
    if (*all < 0)
        *all = 0;
    else
        c->rope.mscale = *all = rint(*all * 1e7) / 1e6;
}

/* Head sizes of MLA: with the _mla keys as they are; before them key_length meant one head of the
 * expanded form. */
static void gguf_mla(Reader *r) {
    Config *c = r->c;
    int64_t key = gguf_i64_or(r, gguf_key(r, "attention.key_length_mla"), 0);
    if (!key) key = gguf_i64_or(r, gguf_key(r, "attention.key_length"), 0);
    c->d_nope = key - c->d_rope;
    if (c->d_nope < 1 || c->d_nope > 1024)
        bad(r, ERR_FORMAT, "attention.key_length", "does not hold rope and more");
    int64_t gate = gguf_i64_or(r, gguf_key(r, "expert_gating_func"), 1);
    if (gate != 1 && gate != 2)
        bad(r, ERR_UNSUPPORTED, "expert_gating_func", "is neither 1 (softmax) nor 2 (sigmoid)");
    c->router.kind = gate == 2 ? ROUTER_SIGMOID : ROUTER_SOFTMAX;
    c->family = gate == 2 ? FAMILY_DEEPSEEK3 : FAMILY_DEEPSEEK2;
    c->rope.pairs = true;
}

static void gguf_unknown(Reader *r) {
    Str prefix = str_of(gguf_key(r, ""));
    for (int64_t i = 0; i < store_meta_count(r->store) && !r->bad; i++) {
        Str key = store_meta_key(r->store, i);
        if (!str_starts(key, prefix)) continue;
        Shown s = shown(key.p + prefix.n, key.n - prefix.n);
        const char *name = s.text;
        if (!is_field(r, name, fields, COUNT(fields))
            && !is_field(r, name, rope_fields, COUNT(rope_fields))
            && !named(name, gguf_other, COUNT(gguf_other)))
            bad(r, ERR_UNSUPPORTED, name, "is not known here and may change the arithmetic");
    }
}

/* Before the _mla keys, value_length was that of an expanded head. */
static const Field value_length = {
    NULL, "attention.value_length", MLA, KIND_I64, AT(d_v), 1, 1024, REQUIRED};

static void gguf_fields(Reader *r) {
    for (int64_t i = 0; i < COUNT(fields); i++) {
        bool older = fields[i].at == AT(d_v)
                     && store_meta_type(r->store, gguf_key(r, fields[i].gguf)) == META_ABSENT;
        fields_read(r, older ? &value_length : &fields[i], 1);
    }
}

static bool gguf_config(Config *c, const Store *s, Err *err) {
    *c = (Config){0};
    Reader r = {.store = s, .arch = "llama", .file = store_path(s), .c = c, .err = err};
    Str arch;
    if (!store_meta_str(s, "general.architecture", &arch, err)) return false;
    if (str_eq(arch, STR("deepseek2")))
        r.arch = "deepseek2", c->family = FAMILY_DEEPSEEK2;
    else if (!str_eq(arch, STR("llama")))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: architecture \"%s\" is not supported (known: llama, deepseek2)",
                       store_path(s), shown(arch.p, arch.n).text);
    gguf_fields(&r);
    gguf_rope(&r);
    if (c->family != FAMILY_LLAMA) gguf_mla(&r);
    /* The vocabulary's size and whether the head is tied are read off the tensors. */
    const Tensor *embed = store_find(s, STR("token_embd.weight"));
    if (!embed || embed->n_dims != 2 || embed->dim[0] > V_MOST)
        return err_set(err, ERR_FORMAT, "%s: tensor token_embd.weight is missing or no matrix",
                       store_path(s));
    c->V = embed->dim[0];
    c->tied = !store_find(s, STR("output.weight"));
    int64_t rotated = gguf_i64_or(&r, gguf_key(&r, "rope.dimension_count"), 0);
    if (!r.bad && c->family == FAMILY_LLAMA && rotated && rotated != (c->D ? c->D : c->C / c->H))
        bad(&r, ERR_UNSUPPORTED, "rope.dimension_count", "is not the size of a head");
    c->bos = gguf_i64_or(&r, "tokenizer.ggml.bos_token_id", -1);
    int64_t eos = gguf_i64_or(&r, "tokenizer.ggml.eos_token_id", -1);
    int64_t eot = gguf_i64_or(&r, "tokenizer.ggml.eot_token_id", -1);
    if (eos >= 0) c->eos[c->n_eos++] = eos;
    if (eot >= 0 && eot != eos) c->eos[c->n_eos++] = eot;
    gguf_unknown(&r);
    return !r.bad && config_check(&r);
}

/* Released ones have some kilobytes; parsed, a text may take thirty times its size. */
enum { CONFIG_BYTES = 4 << 20 };

bool config_read(Config *c, const Store *s, Err *err) {
    if (store_kind(s) == STORE_GGUF) return gguf_config(c, s, err);
    Arena *a = arena_open("config.json", 256 << 20);
    Str json;
    bool ok = store_json(s, a, "config.json", &json, err);
    if (ok && !json.n)
        ok = err_set(err, ERR_FORMAT,
                     "%s: there is no config.json beside the tensors; give the "
                     "folder that has both",
                     store_path(s));
    if (ok && json.n > CONFIG_BYTES)
        ok = err_set(err, ERR_LIMIT, "%s/config.json has %lld bytes: at most %d are read",
                     store_path(s), (long long)json.n, CONFIG_BYTES);
    if (ok) ok = config_parse(c, json, str_fmt(a, "%s/config.json", store_path(s)).p, err);
    arena_close(a);
    return ok;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The shortest digits that read back as the same number of its kind. */
static void put_number(Buf *b, const Field *f, double v) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        double back = strtod(text, NULL);
        if (f->kind == KIND_F32 ? (float)back == (float)v : back == v) break;
    }
    buf_fmt(b, "%s", text);
}

static void put_fields(Buf *b, const Config *c, const Field *f, int64_t n, const char *indent) {
    for (int64_t i = 0; i < n; i++, f++) {
        double v = field_get(c, f);
        if (!(f->families & (1u << c->family))
            || (f->absent != REQUIRED && v == f->absent && v == 0))
            continue;
        buf_fmt(b, ",\n%s\"%s\": ", indent, f->hf);
        if (f->kind == KIND_BOOL)
            buf_fmt(b, "%s", v != 0 ? "true" : "false");
        else
            put_number(b, f, v);
    }
}

static void put_rope(Buf *b, const Config *c) {
    static const char *const types[] = {"default", "yarn", "llama3"};
    buf_fmt(b, ",\n  \"rope_theta\": ");
    put_number(b, &rope_fields[0], c->rope.theta);
    buf_fmt(b, ",\n  \"rope_scaling\": ");
    if (c->rope.scaling == ROPE_PLAIN) {
        buf_fmt(b, "null");
        return;
    }
    bool yarn = c->rope.scaling == ROPE_YARN;
    buf_fmt(b, "{\n    \"rope_type\": \"%s\"", types[c->rope.scaling]);
    for (int64_t i = 1; i < COUNT(rope_fields); i++) {
        bool shared = i <= 2, of_yarn = i >= 3 && i <= 6;
        if (shared || of_yarn == yarn) put_fields(b, c, &rope_fields[i], 1, "    ");
    }
    buf_fmt(b, "\n  }");
}

Str config_json(Arena *a, const Config *c) {
    static const char *const type[] = {"llama", "deepseek_v2", "deepseek_v3"};
    static const char *const class[] = {"LlamaForCausalLM", "DeepseekV2ForCausalLM",
                                        "DeepseekV3ForCausalLM"};
    Buf b = {.a = a};
    buf_fmt(&b, "{\n  \"architectures\": [\"%s\"],\n", class[c->family]);
    buf_fmt(&b, "  \"model_type\": \"%s\",\n  \"hidden_act\": \"silu\"", type[c->family]);
    put_fields(&b, c, fields, COUNT(fields), "  ");
    put_rope(&b, c);
    if (c->mla) {
        bool v3 = c->family == FAMILY_DEEPSEEK3;
        const char *v2 = c->router.groups > 1 ? "group_limited_greedy" : "greedy";
        buf_fmt(&b, ",\n  \"num_key_value_heads\": %lld", (long long)c->H);
        buf_fmt(&b, ",\n  \"scoring_func\": \"%s\"", v3 ? "sigmoid" : "softmax");
        buf_fmt(&b, ",\n  \"topk_method\": \"%s\"", v3 ? "noaux_tc" : v2);
        if (c->recorded_mla) buf_fmt(&b, ",\n  \"mla_form\": \"%s\"", c->recorded_mla);
    }
    if (c->bos >= 0) buf_fmt(&b, ",\n  \"bos_token_id\": %lld", (long long)c->bos);
    if (c->n_eos) buf_fmt(&b, ",\n  \"eos_token_id\": [");
    for (int64_t i = 0; i < c->n_eos; i++)
        buf_fmt(&b, "%s%lld", i ? ", " : "", (long long)c->eos[i]);
    buf_fmt(&b, "%s,\n  \"torch_dtype\": \"float32\"\n}\n", c->n_eos ? "]" : "");
    return buf_str(&b);
}
