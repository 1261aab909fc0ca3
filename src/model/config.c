/* config.c -- what a model is: one table of its numbers, and the checks of what must fit together.
 *
 * The table `fields` names each number in both formats, says which families have it, between which
 * bounds it makes sense and what its absence means; both readers, the writer and the search for
 * unknown keys walk it. What does not fit a table (strings, the two spellings of rope) has a few
 * lines of its own in config_json.c and config_gguf.c.
 *
 * Invariants: whoever gets a Config may multiply its sizes without overflow (each is bounded) and
 * divide by those that are divisors. No default is assumed for a number that decides arithmetic,
 * unless all of the publisher's code has the same. */
#include "model/config.h"
#include <stdarg.h>
#include <stdio.h>

/* ---- the tables ------------------------------------------------------------------------------ */

const char *const mla_forms[2] = {"expanded", "absorbed"};

/* GLM-4-MoE-Lite's files name the architecture whose graph it shares. */
const FamilyNames family_names[FAMILY_N] = {
    [FAMILY_LLAMA] = {"llama", "LlamaForCausalLM", "llama"},
    [FAMILY_DEEPSEEK2] = {"deepseek_v2", "DeepseekV2ForCausalLM", "deepseek2"},
    [FAMILY_DEEPSEEK3] = {"deepseek_v3", "DeepseekV3ForCausalLM", "deepseek2"},
    [FAMILY_QWEN2] = {"qwen2", "Qwen2ForCausalLM", "qwen2"},
    [FAMILY_QWEN3] = {"qwen3", "Qwen3ForCausalLM", "qwen3"},
    [FAMILY_QWEN3_MOE] = {"qwen3_moe", "Qwen3MoeForCausalLM", "qwen3moe"},
    [FAMILY_GLM4_MOE_LITE] = {"glm4_moe_lite", "Glm4MoeLiteForCausalLM", "deepseek2"},
};
const char *family_name(Family f) { return family_names[f].type; }

#define AT(member)      offsetof(Config, member)
/* The columns absent, null and gguf_absent. */
#define NO_DEFAULT      NEEDED, NEEDED, NEEDED
#define GGUF_DEFAULT(v) NEEDED, NEEDED, v
#define DEFAULT(v)      v, NEEDED, v
#define DEFAULT_NULL(v) v, v, v

/* The bounds hold all released models with room to spare; by them no count of numbers or bytes of a
 * model passes 2^62. Defaults: docs/models.md says whose they are. */
static const Field fields[] = {
    {"num_hidden_layers", "block_count", ALL, KIND_I64, AT(L), 1, LAYERS_MAX, NO_DEFAULT, false},
    {"hidden_size", "embedding_length", ALL, KIND_I64, AT(C), 1, 1 << 17, NO_DEFAULT, false},
    {"vocab_size", NULL, ALL, KIND_I64, AT(V), 1, VOCABULARY_MAX, NO_DEFAULT, false},
    {"num_attention_heads", "attention.head_count", ALL, KIND_I64, AT(H), 1, 1024, NO_DEFAULT,
     false},
    {"num_key_value_heads", "attention.head_count_kv", LLAMA, KIND_I64, AT(G), 1, 1024,
     DEFAULT_NULL(0), false},
    {"num_key_value_heads", "attention.head_count_kv", QWEN2 | QWEN3, KIND_I64, AT(G), 1, 1024,
     NEEDED, 0, 0, false},
    {"num_key_value_heads", "attention.head_count_kv", QWEN3_MOE, KIND_I64, AT(G), 1, 1024,
     GGUF_DEFAULT(0), false},
    {"head_dim", "attention.key_length", LLAMA, KIND_I64, AT(D), 2, 1024, DEFAULT_NULL(0), false},
    {"head_dim", "attention.key_length", QWEN2 | QWEN3_MOE, KIND_I64, AT(D), 2, 1024, DEFAULT(0),
     false},
    {"head_dim", "attention.key_length", QWEN3, KIND_I64, AT(D), 2, 1024, GGUF_DEFAULT(0), false},
    {"intermediate_size", "feed_forward_length", ALL, KIND_I64, AT(F), 1, 1 << 20, NO_DEFAULT,
     false},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", ALL, KIND_F32, AT(eps), 1e-30, 1,
     NO_DEFAULT, false},
    {"max_position_embeddings", "context_length", ALL, KIND_I64, AT(max_positions), 1, 1 << 28,
     NO_DEFAULT, false},
    {"tie_word_embeddings", NULL, ALL, KIND_BOOL, AT(tied), 0, 1, DEFAULT_NULL(0), false},
    {"q_lora_rank", "attention.q_lora_rank", MLA, KIND_I64, AT(Q), 0, 1 << 15, NEEDED, 0, 0, false},
    {"kv_lora_rank", "attention.kv_lora_rank", MLA, KIND_I64, AT(R), 1, 8192, NO_DEFAULT, false},
    {"qk_nope_head_dim", NULL, MLA, KIND_I64, AT(d_nope), 1, 1024, NO_DEFAULT, false},
    {"qk_rope_head_dim", "rope.dimension_count", MLA, KIND_I64, AT(d_rope), 2, 1024, NO_DEFAULT,
     false},
    {"v_head_dim", NULL, MLA, KIND_I64, AT(d_v), 1, 1024, NO_DEFAULT, false},
    {"n_routed_experts", "expert_count", MLA, KIND_I64, AT(E), 0, ROUTER_E, NEEDED, 0, 0, false},
    {"num_experts", "expert_count", QWEN3_MOE, KIND_I64, AT(E), 0, ROUTER_E, NO_DEFAULT, false},
    {"num_experts_per_tok", "expert_used_count", MOE, KIND_I64, AT(K), 0, 256, NO_DEFAULT, true},
    {"n_shared_experts", "expert_shared_count", MLA, KIND_I64, AT(shared), 0, 64, NEEDED, 0, NEEDED,
     true},
    {"moe_intermediate_size", "expert_feed_forward_length", MOE, KIND_I64, AT(F_moe), 0, 1 << 17,
     NO_DEFAULT, true},
    {"first_k_dense_replace", "leading_dense_block_count", V2, KIND_I64, AT(first_dense), 0, 1024,
     0, NEEDED, NEEDED, true},
    {"first_k_dense_replace", "leading_dense_block_count", V3, KIND_I64, AT(first_dense), 0, 1024,
     NO_DEFAULT, true},
    /* Beside mlp_layer_types, or instead of it: json_dense. */
    {"first_k_dense_replace", NULL, GLM4, KIND_I64, AT(first_dense), 0, 1024, -1, -1, NEEDED, true},
    /* Absent groups are looked at again: json_router, gguf_groups. */
    {"n_group", "expert_group_count", V2, KIND_I64, AT(router.groups), 1, 1024, DEFAULT_NULL(0),
     true},
    {"n_group", "expert_group_count", SIGMOID, KIND_I64, AT(router.groups), 1, 1024,
     GGUF_DEFAULT(0), true},
    {"topk_group", "expert_group_used_count", V2, KIND_I64, AT(router.groups_used), 1, 1024,
     DEFAULT_NULL(0), true},
    {"topk_group", "expert_group_used_count", SIGMOID, KIND_I64, AT(router.groups_used), 1, 1024,
     GGUF_DEFAULT(0), true},
    {"norm_topk_prob", "expert_weights_norm", V2, KIND_BOOL, AT(router.norm), 0, 1, DEFAULT_NULL(0),
     true},
    {"norm_topk_prob", "expert_weights_norm", SIGMOID, KIND_BOOL, AT(router.norm), 0, 1, NO_DEFAULT,
     true},
    /* llama.cpp divides always. */
    {"norm_topk_prob", NULL, QWEN3_MOE, KIND_BOOL, AT(router.norm), 0, 1, DEFAULT_NULL(0), true},
    {"routed_scaling_factor", "expert_weights_scale", V2, KIND_F32, AT(router.scale), 1e-6, 1e6,
     DEFAULT(1), true},
    {"routed_scaling_factor", "expert_weights_scale", SIGMOID, KIND_F32, AT(router.scale), 1e-6,
     1e6, NO_DEFAULT, true},
    {"num_nextn_predict_layers", NULL, MLA, KIND_I64, AT(mtp), 0, 16, DEFAULT_NULL(0), false},
    {"rope_interleave", NULL, SIGMOID, KIND_BOOL, AT(rope.pairs), 0, 1, DEFAULT(1), false},
};
const Fields config_fields = {fields, COUNT(fields)};

/* Of the object rope_parameters or rope_scaling, beside which rope_theta stood before. */
static const Field ropes[] = {
    {"rope_theta", "rope.freq_base", ROPES, KIND_F64, AT(rope.theta), 1.001, 1e12, DEFAULT(10000),
     false},
    {"factor", "rope.scaling.factor", ROPE_SCALED, KIND_F64, AT(rope.factor), 1, 1e6, NO_DEFAULT,
     false},
    /* GGUF: 0 stands for context_length. */
    {"original_max_position_embeddings", "rope.scaling.original_context_length", ROPE_SCALED,
     KIND_F64, AT(rope.original), 1, 1 << 28, NEEDED, NEEDED, 0, false},
    {"beta_fast", "rope.scaling.yarn_beta_fast", YARN, KIND_F64, AT(rope.beta_fast), 1e-6, 1e6,
     DEFAULT_NULL(32), false},
    {"beta_slow", "rope.scaling.yarn_beta_slow", YARN, KIND_F64, AT(rope.beta_slow), 1e-6, 1e6,
     DEFAULT_NULL(1), false},
    /* -1: not given, which is not the same as 1 beside an mscale_all_dim: json_mscale. */
    {"mscale", NULL, YARN, KIND_F64, AT(rope.mscale), 0, 1e3, DEFAULT_NULL(-1), false},
    {"mscale_all_dim", NULL, YARN, KIND_F64, AT(rope.mscale_all_dim), 0, 1e3, DEFAULT_NULL(0),
     false},
    {"low_freq_factor", NULL, LLAMA3, KIND_F64, AT(rope.low_freq), 1e-6, 1e6, NO_DEFAULT, false},
    {"high_freq_factor", NULL, LLAMA3, KIND_F64, AT(rope.high_freq), 1e-6, 1e6, NO_DEFAULT, false},
};
const Fields rope_fields = {ropes, COUNT(ropes)};

/* What a file without any of these keys means. The absence of a key that a table names is decided
 * there; here stands what no table has. */
void config_defaults(Config *c) {
    *c = (Config){.bos = -1, .router = {.groups = 1, .groups_used = 1, .scale = 1}};
    c->rope = (RopeConfig){
        .factor = 1, .beta_fast = 32, .beta_slow = 1, .mscale = 1, .low_freq = 1, .high_freq = 4};
}

/* ---- one value ------------------------------------------------------------------------------- */

Shown shown(const char *s, int64_t n) {
    Shown v = {{0}};
    for (int64_t i = 0; i < MIN(n, 63); i++) v.text[i] = s[i] >= ' ' && s[i] <= '~' ? s[i] : '?';
    return v;
}

/* The first fault is the one that is reported; those behind it are often its consequences. */
void config_bad(Reader *r, ErrCode code, const char *key, const char *fmt, ...) {
    if (r->bad) return;
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    err_set(r->err, code, "%s: %s%s%s: %s", r->file, r->arch ? r->arch : "", r->arch ? "." : "",
            key, what);
    r->bad = true;
}

/* All numbers pass through a double on their way: the bounds of the tables keep them below 2^53, so
 * no whole number loses a digit. */
static void field_set(Config *c, const Field *f, double v) {
    void *p = (char *)c + f->at;
    switch (f->kind) {
    case KIND_I64: *(int64_t *)p = (int64_t)v; break;
    case KIND_F64: *(double *)p = v; break;
    case KIND_F32: *(float *)p = (float)v; break;
    case KIND_BOOL: *(bool *)p = v != 0; break;
    }
}

double field_get(const Config *c, const Field *f) {
    const void *p = (const char *)c + f->at;
    switch (f->kind) {
    case KIND_I64: return (double)*(const int64_t *)p;
    case KIND_F64: return *(const double *)p;
    case KIND_F32: return *(const float *)p;
    default: return *(const bool *)p;
    }
}

/* One number: what the file says, between its bounds; or what its absence means in this format. The
 * bounds are checked before the value is stored, because later code multiplies sizes unchecked. */
static void field_read(Reader *r, const Field *f) {
    const char *name = r->arch ? f->gguf : f->hf;
    double v = 0;
    Found found = r->arch ? gguf_number_at(r, f, &v) : json_number_at(r, f, &v);
    if (r->bad) return;
    if (found == FOUND && !(v >= f->lo && v <= f->hi))
        return config_bad(r, ERR_FORMAT, name, "is %.10g, outside of %.10g to %.10g", v, f->lo,
                          f->hi);
    if (found != FOUND) v = r->arch ? f->gguf_absent : found == FOUND_NULL ? f->null : f->absent;
    if (v == NEEDED)
        return config_bad(r, ERR_FORMAT, name, "is %s: %s",
                          found == FOUND_NULL ? "null" : "missing",
                          r->arch ? "convert the model anew, the file may be older than the key"
                                  : "write the value that the model was made with");
    field_set(r->c, f, v);
}

/* Rows of the router are read only where the file has experts. A model without them may leave the
 * keys out, or carry leftovers of another one. The number of experts stands before them in the
 * table. */
void fields_read(Reader *r, Fields f, unsigned set) {
    for (int64_t i = 0; i < f.n && !r->bad; i++) {
        const Field *row = &f.row[i];
        bool here = (r->arch ? row->gguf : row->hf) != NULL && row->of & set;
        if (here && (r->c->E || !row->experts)) field_read(r, row);
    }
}

/* Whether the key is a row's: the search for unknown keys asks it. */
bool fields_have(const Reader *r, Fields f, unsigned set, const char *key) {
    for (int64_t i = 0; i < f.n; i++) {
        const char *known = r->arch ? f.row[i].gguf : f.row[i].hf;
        if (known && f.row[i].of & set && !strcmp(key, known)) return true;
    }
    return false;
}

bool name_listed(const char *name, const char *const *list, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(name, list[i])) return true;
    return false;
}

/* ---- what must fit together ------------------------------------------------------------------ */

/* Each number may be sensible by itself, and yet no model has them together. Messages name the keys
 * of config.json, which the documentation of a model uses, whatever the format. */
static bool require(Reader *r, bool ok, const char *what) {
    if (!ok && !r->bad) {
        err_set(r->err, ERR_FORMAT, "%s: the sizes do not fit together: %s", r->file, what);
        r->bad = true;
    }
    return ok;
}

/* What the router divides by and counts up to. DeepSeek's own code and transformers disagree about
 * norm_topk_prob where it makes no difference in released models: in V2 the one normalises where
 * the other scales, and with one expert a token the one divides by its weight and the other does
 * not. Such files are refused. */
static void moe_check(Reader *r) {
    Config *c = r->c;
    Router *q = &c->router;
    q->E = c->E, q->K = c->K;
    if (!require(r, c->K >= 1 && c->K <= c->E,
                 "experts per token (num_experts_per_tok) must be 1 to the number of experts"))
        return;
    require(r, c->F_moe >= 1, "experts need a width (moe_intermediate_size)");
    require(r, c->E % q->groups == 0, "experts must divide into equal groups (n_group)");
    require(r, q->groups_used <= q->groups && c->K <= q->groups_used * (c->E / q->groups),
            "the groups used (topk_group) must hold enough experts");
    require(r, q->groups == 1 || q->kind == ROUTER_SOFTMAX || c->E / q->groups >= 2,
            "a group needs two experts");
    require(r, !(family_set(c) & V2 && q->norm),
            "norm_topk_prob is true in no released deepseek_v2 model and is read in two ways by "
            "the publisher's code; set it to false");
    require(r, !(family_set(c) & V3 && q->norm && c->K == 1),
            "norm_topk_prob with one expert per token is read in two ways by the publisher's code; "
            "set it to false");
}

/* Heads under MLA have sizes of their own, and each query head has its key: G and D follow from
 * these. Of other models absent numbers follow from those that are there. */
static void heads_check(Reader *r) {
    Config *c = r->c;
    if (c->mla) {
        c->G = c->H, c->D = c->d_nope + c->d_rope;
        c->rope.dim = c->d_rope;
        return;
    }
    if (!c->G) c->G = c->H;
    if (!c->D
        && require(r, c->C % c->H == 0,
                   "hidden_size must divide by num_attention_heads without head_dim"))
        c->D = c->C / c->H;
    require(r, c->D <= 1024, "a head has 1024 numbers at most");
    c->rope.dim = c->D;
}

/* The last word on a Config, whatever it was read from: sizes that follow from others are set, and
 * all that later code divides by, indexes with or rotates in pairs is held against each other. */
bool config_check(Reader *r) {
    Config *c = r->c;
    if (r->bad) return false;
    c->mla = family_set(c) & MLA;
    c->router.kind = family_set(c) & SIGMOID ? ROUTER_SIGMOID : ROUTER_SOFTMAX;
    heads_check(r);
    require(r, c->H % c->G == 0, "query heads must divide by key/value heads");
    require(r, c->rope.dim % 2 == 0, "rope turns pairs: its dimension must be even");
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

/* ---- from a file ----------------------------------------------------------------------------- */

/* Released ones have some kilobytes; parsed, a text may take thirty times its size. */
enum { CONFIG_BYTES = 4 << 20 };

/* One of a folder's files alone has no configuration, though it may lie beside it. */
static bool config_missing(const Store *s, Arena *a, Err *err) {
    Str path = str_of(store_path(s));
    while (path.n > 0 && path.p[path.n - 1] != '/') path.n--;
    const char *folder = path.n ? str_copy(a, path).p : "./";
    if (store_kind(s) == STORE_SAFETENSORS && os_exists(str_fmt(a, "%sconfig.json", folder).p))
        return err_set(err, ERR_FORMAT, "%s has the tensors alone: give the folder %s instead",
                       store_path(s), folder);
    return err_set(err, ERR_FORMAT,
                   "%s: there is no config.json beside the tensors; give the folder that has both",
                   store_path(s));
}

/* A GGUF file has its configuration in its own metadata; everything else has a config.json beside
 * the tensors. */
bool config_read(Config *c, const Store *s, Err *err) {
    if (store_kind(s) == STORE_GGUF) return gguf_config(c, s, err);
    Arena *a = arena_open("config.json", 256 << 20);
    Str json;
    bool ok = store_json(s, a, "config.json", &json, err);
    if (ok && !json.n) ok = config_missing(s, a, err);
    if (ok && json.n > CONFIG_BYTES)
        ok = err_set(err, ERR_LIMIT, "%s/config.json has %lld bytes: at most %d are read",
                     store_path(s), (long long)json.n, CONFIG_BYTES);
    if (ok) ok = config_parse(c, json, str_fmt(a, "%s/config.json", store_path(s)).p, err);
    arena_close(a);
    return ok;
}
