/* config_json.c -- a Config from the bytes of a config.json, and back.
 *
 * The publisher's code is Hugging Face's configuration classes (docs/models.md) and the code that
 * DeepSeek ships beside its weights. They ignore what they do not know; here a key
 * that is not known to be without effect is refused, since a file with it was made for other
 * code. */
#include "model/config.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- keys that change nothing ---------------------------------------------------------------- */

/* Read in this file and not in the tables. */
static const char *const read_here[] = {
    "model_type",   "hidden_act",     "rope_scaling", "rope_parameters",    "rope_theta",
    "scoring_func", "topk_method",    "bos_token_id", "eos_token_id",       "mla_form",
    "qk_head_dim",  "moe_layer_freq", "layer_types",  "use_sliding_window", "quantization_config",
};

/* No forward reads them, whatever their value: names, notes, how to train or to generate, where
 * to compute. */
static const char *const neutral[] = {
    "architectures",
    "attn_implementation",
    "auto_map",
    "aux_loss_alpha",
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "ep_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "min_length",
    "model_max_length",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "seq_aux",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
    "vocab_type",
};
static const char *const neutral_ends[] = {"_token_id"};
static const char *const neutral_starts[] = {"_", "unsloth_"};

/* Keys of other models and of training, with the one number at which they change nothing. */
typedef struct Neutral {
    const char *key;
    double value;
} Neutral;
static const Neutral neutral_numbers[] = {
    {"attention_dropout", 0},
    {"attention_multiplier", 1},
    {"chunk_size_feed_forward", 0},
    {"embd_pdrop", 0},
    {"embedding_multiplier", 1},
    {"hidden_dropout", 0},
    {"logit_scale", 1},
    {"logits_scaling", 1},
    {"mlp_dropout", 0},
    {"partial_rotary_factor", 1},
    {"resid_pdrop", 0},
    {"residual_multiplier", 1},
};

/* Two names of one number (attribute_map of the classes); the first is that of the table. */
static const struct {
    const char *key, *other;
    unsigned families;
} synonyms[] = {
    {"num_nextn_predict_layers", "num_mtp_layers", MLA},
    {"n_routed_experts", "num_local_experts", SIGMOID},
    {"n_routed_experts", "num_experts", V2},
    {"num_experts", "num_local_experts", QWEN3_MOE},
};

/* null, false, {} and [] switch a key off. */
static bool is_off(const json_t *v) {
    return json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0)
           || (json_is_array(v) && json_array_size(v) == 0);
}

/* Whether a key that is read nowhere changes nothing. It may by its name, or by its value. */
static bool is_neutral(const char *key, const json_t *v) {
    Str k = str_of(key);
    if (is_off(v) || name_listed(key, neutral, COUNT(neutral))) return true;
    for (int64_t i = 0; i < COUNT(neutral_ends); i++)
        if (str_ends(k, str_of(neutral_ends[i]))) return true;
    for (int64_t i = 0; i < COUNT(neutral_starts); i++)
        if (str_starts(k, str_of(neutral_starts[i]))) return true;
    for (int64_t i = 0; i < COUNT(neutral_numbers); i++)
        if (!strcmp(key, neutral_numbers[i].key))
            return json_is_number(v) && json_number_value(v) == neutral_numbers[i].value;
    return false;
}

/* A value as it stands in the file, for a message. */
static Shown value_shown(const json_t *v) {
    char text[64] = "";
    size_t n = json_dumpb(v, text, sizeof text - 1, JSON_ENCODE_ANY | JSON_COMPACT);
    /* What does not fit is counted, and not always written up to the end. */
    if (n > strlen(text)) memcpy(text + MIN(strlen(text), sizeof text - 4), "...", 4);
    return shown(text, (int64_t)strlen(text));
}

/* A key that nobody knows may be what makes this model different from those that are known. To
 * ignore it would give numbers that are nearly right. */
static void unknown_refuse(Reader *r, const char *key, const json_t *v) {
    if (is_neutral(key, v)) return;
    config_bad(r, ERR_UNSUPPORTED, shown(key, (int64_t)strlen(key)).text,
               "is %s: not known here, and it may change what the model computes; if it does not, "
               "take it out",
               value_shown(v).text);
}

static unsigned family_of(const Reader *r) { return family_set(r->c); }

/* Keys that only some families know: those read in this file, and those that their classes read and
 * that change nothing. Key/value heads are counted as query heads under MLA, whose classes
 * overwrite head_dim; DeepSeek-V2's code always rotates neighbours; without use_sliding_window
 * Qwen's class drops the window. */
static const struct {
    const char *key;
    unsigned families;
} known_besides[] = {
    {"head_dim", MLA},
    {"num_key_value_heads", MLA},
    {"rope_interleave", V2},
    {"max_window_layers", QWEN},
    {"sliding_window", QWEN},
    {"mlp_layer_types", GLM4},
    {"mlp_only_layers", QWEN3_MOE},
    {"decoder_sparse_step", QWEN3_MOE},
};

/* Last of all, when every key that is known has been read: whatever is left is refused. */
static void top_unknown(Reader *r) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)r->object, key, v) {
        bool known = name_listed(key, read_here, COUNT(read_here))
                     || fields_have(r, config_fields, family_of(r), key);
        for (int64_t i = 0; i < COUNT(synonyms); i++)
            known |= !strcmp(key, synonyms[i].other) && synonyms[i].families & family_of(r);
        for (int64_t i = 0; i < COUNT(known_besides); i++)
            known |= !strcmp(key, known_besides[i].key) && known_besides[i].families & family_of(r);
        if (!known) unknown_refuse(r, key, v);
    }
}

/* ---- one value ------------------------------------------------------------------------------- */

static bool is_set(const json_t *v) { return v && !json_is_null(v); }

/* The value under a number's other name; NULL for most. */
static const json_t *synonym_at(Reader *r, const Field *f) {
    for (int64_t i = 0; i < COUNT(synonyms); i++)
        if (f->hf && !strcmp(f->hf, synonyms[i].key) && synonyms[i].families & family_of(r))
            return json_object_get(r->object, synonyms[i].other);
    return NULL;
}

/* jansson tells 1 from 1.0. A size written as 1.0 is refused, since the classes would fail with it;
 * a factor may be written either way. */
static bool json_fits(const json_t *v, Kind kind) {
    return kind == KIND_BOOL  ? json_is_boolean(v)
           : kind == KIND_I64 ? json_is_integer(v)
                              : json_is_number(v);
}

/* A number under its own name or its other one. Where both are there they must agree, because which
 * of them wins differs between versions of the classes. A null counts as not given. */
Found json_number_at(Reader *r, const Field *f, double *out) {
    static const char *const expected[] = {
        [KIND_I64] = "a whole number",
        [KIND_F64] = "a number",
        [KIND_F32] = "a number",
        [KIND_BOOL] = "true or false",
    };
    const json_t *v = json_object_get(r->object, f->hf), *other = synonym_at(r, f);
    if (is_set(v) && is_set(other) && !json_equal(v, other))
        config_bad(r, ERR_FORMAT, f->hf, "is %s, and %s under its other name", value_shown(v).text,
                   value_shown(other).text);
    if (!is_set(v) && is_set(other)) v = other;
    if (!v) return NOT_FOUND;
    if (json_is_null(v)) return FOUND_NULL;
    if (!json_fits(v, f->kind))
        config_bad(r, ERR_FORMAT, f->hf, "is %s, expected %s", value_shown(v).text,
                   expected[f->kind]);
    *out = json_is_boolean(v) ? json_is_true(v) : json_number_value(v);
    return FOUND;
}

/* The string behind a key, or `absent`. */
static const char *json_text(Reader *r, const json_t *o, const char *key, const char *absent) {
    const json_t *v = json_object_get(o, key);
    if (!is_set(v)) return absent;
    if (!json_is_string(v))
        config_bad(r, ERR_FORMAT, key, "is %s, expected a string", value_shown(v).text);
    return json_is_string(v) ? json_string_value(v) : absent;
}

/* The number of the choice that a string names; the others are refused by name. */
static int64_t json_choice(Reader *r, const json_t *o, const char *key, const char *absent,
                           const char *const *choice, int64_t n) {
    const char *v = json_text(r, o, key, absent);
    char known[160] = "";
    for (int64_t i = 0; i < n; i++) {
        if (!strcmp(v, choice[i])) return i;
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", choice[i]);
    }
    config_bad(r, ERR_UNSUPPORTED, key, "\"%s\" is not supported (known: %s)",
               shown(v, (int64_t)strlen(v)).text, known);
    return 0;
}

/* A key of which only one value is supported, which is also what its absence means. */
static void json_expect(Reader *r, const char *key, int64_t value) {
    const json_t *v = json_object_get(r->object, key);
    if (is_set(v) && (!json_is_number(v) || json_number_value(v) != (double)value))
        config_bad(r, ERR_UNSUPPORTED, key, "is %s, supported only as %lld", value_shown(v).text,
                   (long long)value);
}

/* ---- rope ------------------------------------------------------------------------------------ */

static const char *const rope_types[] = {"default", "yarn", "llama3", "linear"};
enum { ROPE_LINEAR = 3 };

/* One of the two objects; NULL when it is absent, null or empty. */
static const json_t *rope_object(Reader *r, const char *key) {
    const json_t *v = json_object_get(r->object, key);
    if (is_set(v) && !json_is_object(v))
        config_bad(r, ERR_FORMAT, key, "is %s, expected an object", value_shown(v).text);
    return json_is_object(v) && json_object_size(v) ? v : NULL;
}

/* rope_parameters holds all (transformers 5); before, rope_theta stood above and rope_scaling
 * beside it. Where both are there, versions 4 and 5 read different ones. Owned by the caller. */
static json_t *rope_merged(Reader *r) {
    const json_t *scaling = rope_object(r, "rope_scaling");
    const json_t *parameters = rope_object(r, "rope_parameters");
    if (scaling && parameters && !json_equal(scaling, parameters))
        config_bad(r, ERR_UNSUPPORTED, "rope_scaling",
                   "stands beside another rope_parameters, and versions of transformers take "
                   "different ones: put all into one of them");
    const json_t *from = parameters ? parameters : scaling;
    json_t *all = from ? json_copy((json_t *)(uintptr_t)from) : json_object();
    json_t *above = json_object_get(r->object, "rope_theta");
    const json_t *inside = json_object_get(all, "rope_theta");
    if (is_set(above) && is_set(inside) && json_number_value(above) != json_number_value(inside))
        config_bad(r, ERR_UNSUPPORTED, "rope_theta",
                   "is %s, and %s in rope_parameters, and versions of transformers take different "
                   "ones",
                   value_shown(above).text, value_shown(inside).text);
    if (above && !inside) json_object_set(all, "rope_theta", above);
    return all;
}

/* "type" is the older name of "rope_type". */
static int64_t rope_type(Reader *r, const json_t *all) {
    const json_t *type = json_object_get(all, "type"), *newer = json_object_get(all, "rope_type");
    if (is_set(type) && is_set(newer) && !json_equal(type, newer))
        config_bad(r, ERR_UNSUPPORTED, "rope_type", "is %s beside the type %s",
                   value_shown(newer).text, value_shown(type).text);
    return json_choice(r, all, is_set(newer) ? "rope_type" : "type", "default", rope_types,
                       COUNT(rope_types));
}

/* A factor that no scaling uses would be lost without a word. */
static void unscaled_check(Reader *r, const json_t *all, bool linear) {
    const json_t *factor = json_object_get(all, "factor");
    if (is_set(factor) && (!json_is_number(factor) || json_number_value(factor) != 1))
        config_bad(r, ERR_UNSUPPORTED, "factor",
                   linear ? "is %s: linear scaling is not supported"
                          : "is %s, but there is no rope_type",
                   value_shown(factor).text);
}

/* YaRN's factor on cos and sin. All of the publisher's code agrees where neither number is given,
 * where mscale is 1 alone, and where both are given and not 0; else transformers takes 1 for
 * mscale, and DeepSeek's own code the number. */
static void json_mscale(Reader *r) {
    RopeConfig *p = &r->c->rope;
    bool given = p->mscale >= 0, all_dim = p->mscale_all_dim != 0;
    if (!given) p->mscale = 1;
    if (all_dim ? !given || p->mscale == 0 : p->mscale != 1)
        config_bad(r, ERR_UNSUPPORTED, "mscale",
                   "and mscale_all_dim must both be given, or neither: one alone is read in two "
                   "ways by the publisher's code");
}

/* The objects of rope are searched like the top: a number of another scaling that stands there
 * (long_factor, attention_factor) would change angles. */
static void rope_unknown(Reader *r, const json_t *all) {
    static const char *const types[] = {"type", "rope_type"};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)all, key, v) {
        if (!strcmp(key, "truncate")) {
            if (json_is_true(v)) continue; /* the rule; false is another arithmetic, not off */
            config_bad(r, ERR_UNSUPPORTED, key, "is %s, supported only as true",
                       value_shown(v).text);
        }
        if (!name_listed(key, types, COUNT(types)) && !fields_have(r, rope_fields, ROPES, key))
            unknown_refuse(r, key, v);
    }
}

/* The reader's object is the merged one meanwhile, so that the table of rope is read as any other.
 */
static void json_rope(Reader *r) {
    const json_t *top = r->object;
    json_t *all = rope_merged(r);
    RopeConfig *p = &r->c->rope;
    int64_t type = rope_type(r, all);
    p->scaling = type == ROPE_LINEAR ? ROPE_PLAIN : (RopeScaling)type;
    if (p->scaling == ROPE_PLAIN) unscaled_check(r, all, type == ROPE_LINEAR);
    r->object = all;
    fields_read(r, rope_fields, 1u << p->scaling);
    if (p->scaling == ROPE_YARN) json_mscale(r);
    rope_unknown(r, all);
    r->object = top;
    json_decref(all);
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* How experts are scored and chosen is two strings in the files, but one fact of the family: V2 has
 * softmax and takes the best, of all or of the best groups (DeepSeek-V2, arXiv 2405.04434); V3 has
 * sigmoid and a bias on the choice (arXiv 2412.19437). Other pairs exist in no released model. */
static void json_router(Reader *r) {
    static const char *const scoring[] = {"softmax", "sigmoid"};
    static const char *const methods[] = {"greedy", "group_limited_greedy", "noaux_tc"};
    bool v3 = family_of(r) & SIGMOID;
    Router *q = &r->c->router;
    int64_t score =
        json_choice(r, r->object, "scoring_func", v3 ? "sigmoid" : "softmax", scoring, 2);
    const char *usual = v3 ? "noaux_tc" : "greedy";
    int64_t method = json_choice(r, r->object, "topk_method", usual, methods, 3);
    if ((method == 2) != v3 || (score == 1) != v3)
        config_bad(r, ERR_UNSUPPORTED, "topk_method",
                   "and scoring_func are supported as noaux_tc with sigmoid (deepseek_v3, "
                   "glm4_moe_lite) or as greedy or group_limited_greedy with softmax "
                   "(deepseek_v2)");
    if (method == 0) q->groups = q->groups_used = 1; /* greedy looks at no groups */
    if (!q->groups || !q->groups_used)
        config_bad(r, ERR_FORMAT, q->groups ? "topk_group" : "n_group",
                   "is missing, and topk_method %s needs it", methods[method]);
}

/* Whether a token is in the vocabulary is asked at the end, when the vocabulary's size is known. */
static int64_t json_token(Reader *r, const char *key, const json_t *v) {
    if (!json_is_integer(v))
        config_bad(r, ERR_FORMAT, key, "is %s, expected the number of a token",
                   value_shown(v).text);
    return json_integer_value(v);
}

/* The end may be one token or a list; chat models have several. */
static void json_tokens(Reader *r) {
    const json_t *bos = json_object_get(r->object, "bos_token_id");
    const json_t *eos = json_object_get(r->object, "eos_token_id");
    Config *c = r->c;
    c->bos = is_set(bos) ? json_token(r, "bos_token_id", bos) : -1;
    if (!is_set(eos)) return;
    if (!json_is_array(eos)) {
        c->eos[c->n_eos++] = json_token(r, "eos_token_id", eos);
        return;
    }
    if (json_array_size(eos) > COUNT(c->eos))
        return config_bad(r, ERR_FORMAT, "eos_token_id", "has more than %d entries",
                          (int)COUNT(c->eos));
    for (size_t i = 0; i < json_array_size(eos); i++)
        c->eos[c->n_eos++] = json_token(r, "eos_token_id", json_array_get(eos, i));
}

/* One attention for all layers, or none said. */
static void json_layer_types(Reader *r) {
    const json_t *types = json_object_get(r->object, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const json_t *v = json_array_get(types, i);
        if (!json_is_string(v) || strcmp(json_string_value(v), "full_attention"))
            config_bad(r, ERR_UNSUPPORTED, "layer_types",
                       "names %s, supported only as full_attention", value_shown(v).text);
    }
    if (is_set(types) && !json_is_array(types))
        config_bad(r, ERR_FORMAT, "layer_types", "is no list");
}

/* Dense layers must be the first ones; dense (L) says which are. */
static void dense_set(Reader *r, const char *key, const bool *dense) {
    Config *c = r->c;
    for (c->first_dense = 0; c->first_dense < c->L && dense[c->first_dense];) c->first_dense++;
    for (int64_t i = c->first_dense; i < c->L; i++)
        if (dense[i])
            config_bad(r, ERR_UNSUPPORTED, key,
                       "makes layer %lld dense behind layers of experts: supported where the dense "
                       "layers come first",
                       (long long)i);
}

/* Qwen3-MoE: the layers named are dense, the others have experts. */
static void json_dense_listed(Reader *r) {
    const json_t *list = json_object_get(r->object, "mlp_only_layers");
    bool dense[LAYERS_MAX] = {false};
    json_expect(r, "decoder_sparse_step", 1);
    if (is_set(list) && !json_is_array(list))
        config_bad(r, ERR_FORMAT, "mlp_only_layers", "is %s, expected a list of layers",
                   value_shown(list).text);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v))
            return config_bad(r, ERR_FORMAT, "mlp_only_layers", "names %s, expected a layer",
                              value_shown(v).text);
        int64_t layer = json_integer_value(v);
        if (layer >= 0 && layer < r->c->L) dense[layer] = true;
    }
    dense_set(r, "mlp_only_layers", dense);
}

/* GLM-4-MoE-Lite: a name a layer, or, in published files, how many dense layers come first. Without
 * the names transformers takes 1 for any such number. */
static void json_dense_named(Reader *r) {
    static const char *const names[] = {"dense", "sparse"};
    const json_t *list = json_object_get(r->object, "mlp_layer_types");
    int64_t first = r->c->first_dense, n = (int64_t)json_array_size(list);
    bool dense[LAYERS_MAX] = {false};
    if (!is_set(list)) {
        if (first != 1)
            config_bad(
                r, ERR_UNSUPPORTED, "mlp_layer_types",
                "is missing, and first_k_dense_replace without it is read in two ways by the "
                "publisher's code, unless it is 1");
        return;
    }
    if (!json_is_array(list) || n != r->c->L)
        return config_bad(r, ERR_FORMAT, "mlp_layer_types", "is no list of a name for each layer");
    for (int64_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        const char *name = json_is_string(v) ? json_string_value(v) : "";
        if (!name_listed(name, names, COUNT(names)))
            config_bad(r, ERR_UNSUPPORTED, "mlp_layer_types",
                       "names %s, supported are \"dense\" and \"sparse\"", value_shown(v).text);
        dense[i] = !strcmp(name, "dense");
    }
    dense_set(r, "mlp_layer_types", dense);
    if (first >= 0 && first != r->c->first_dense)
        config_bad(r, ERR_FORMAT, "first_k_dense_replace",
                   "is %lld, and mlp_layer_types begins with %lld dense layers", (long long)first,
                   (long long)r->c->first_dense);
}

/* What families with latent attention have beside the table. */
static void json_mla(Reader *r) {
    Config *c = r->c;
    if (c->E) json_router(r);
    if (c->E && family_of(r) & GLM4) json_dense_named(r);
    if (family_of(r) & GLM4) json_expect(r, "head_dim", c->d_rope);
    json_expect(r, "moe_layer_freq", 1);
    json_expect(r, "qk_head_dim", c->d_nope + c->d_rope);
    json_expect(r, "num_key_value_heads", c->H);
    if (json_is_false(json_object_get(r->object, "rope_interleave"))
        && c->family == FAMILY_DEEPSEEK2)
        config_bad(r, ERR_UNSUPPORTED, "rope_interleave", "is false, which deepseek_v2 has not");
    if (json_text(r, r->object, "mla_form", NULL))
        c->recorded_mla =
            mla_forms[json_choice(r, r->object, "mla_form", mla_forms[0], mla_forms, 2)];
}

/* Kimi-K2's files have their own model_type for DeepSeek-V3's class. */
static void json_family(Reader *r) {
    const char *types[FAMILY_N + 1] = {[FAMILY_N] = "kimi_k2"};
    for (int64_t i = 0; i < FAMILY_N; i++) types[i] = family_names[i].type;
    if (!is_set(json_object_get(r->object, "model_type"))) {
        r->bad = true;
        err_set(r->err, ERR_FORMAT,
                "%s: has no model_type: it is no config.json of a model, or not all of one",
                r->file);
        return;
    }
    int64_t choice = json_choice(r, r->object, "model_type", "", types, COUNT(types));
    r->c->family = choice == FAMILY_N ? FAMILY_DEEPSEEK3 : (Family)choice;
}

/* FP8 with a scale for each block, as DeepSeek's releases have it. That their code rounds
 * activations to FP8, too, is not part of the model. */
static void json_fp8(Reader *r) {
    const json_t *q = json_object_get(r->object, "quantization_config");
    if (!q || is_off(q)) return;
    const json_t *block = json_object_get(q, "weight_block_size");
    int64_t size[2];
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_array_get(block, i);
        size[i] = json_is_integer(v) ? json_integer_value(v) : 0;
    }
    if (strcmp(json_text(r, q, "quant_method", ""), "fp8")
        || strcmp(json_text(r, q, "fmt", "e4m3"), "e4m3") || json_array_size(block) != 2
        || MIN(size[0], size[1]) < 1 || MAX(size[0], size[1]) > 1 << 20)
        config_bad(r, ERR_UNSUPPORTED, "quantization_config",
                   "is %s: supported is quant_method fp8 with fmt e4m3 and a weight_block_size of "
                   "two numbers",
                   value_shown(q).text);
    r->c->fp8_rows = size[0], r->c->fp8_cols = size[1];
}

/* The family comes first, because every table is read by it; unknown keys last, because by then all
 * that are known have been. Whether neighbours or halves are rotated is the family's, before a key
 * may say otherwise. */
static void json_config(Reader *r) {
    static const char *const silu[] = {"silu", "swish"};
    Config *c = r->c;
    json_family(r);
    if (r->bad) return;
    bool mla = family_of(r) & MLA;
    c->rope.pairs = mla;
    fields_read(r, config_fields, family_of(r));
    json_choice(r, r->object, "hidden_act", "silu", silu, 2);
    json_rope(r);
    if (mla) json_mla(r);
    if (c->E && family_of(r) & QWEN3_MOE) json_dense_listed(r);
    if (json_is_true(json_object_get(r->object, "use_sliding_window")))
        config_bad(r, ERR_UNSUPPORTED, "use_sliding_window", "is true, supported only as false");
    json_layer_types(r);
    json_tokens(r);
    if (!r->bad) json_fp8(r);
    top_unknown(r);
}

/* Duplicate keys are refused: parsers differ in which of them counts. */
bool config_parse(Config *c, Str json, const char *name, Err *err) {
    config_defaults(c);
    json_error_t e;
    Str text = json;
    while (text.n && memchr(" \t\r\n", text.p[0], 4)) text.p++, text.n--;
    if (!text.n || text.p[0] != '{')
        return err_set(err, ERR_FORMAT, "%s: expected a config.json (a JSON object), found %s%s",
                       name, text.n ? "a file that begins with " : "an empty file",
                       shown(text.p, MIN(text.n, 16)).text);
    json_t *o = json_loadb(json.p, (size_t)json.n, JSON_REJECT_DUPLICATES, &e);
    if (!o) return err_set(err, ERR_FORMAT, "%s: line %d: %s", name, e.line, e.text);
    Reader r = {.object = o, .file = name, .c = c, .err = err};
    json_config(&r);
    json_decref(o);
    return config_check(&r);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The shortest digits that read back as the same number of its kind. A float has a point or an
 * exponent, since transformers takes no whole number for one; the original length is a whole one
 * there. */
static void put_number(Buf *b, const Field *f, double v) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        double back = strtod(text, NULL);
        if (f->kind == KIND_F32 ? (float)back == (float)v : back == v) break;
    }
    bool whole = f->kind == KIND_I64 || f->at == offsetof(Config, rope.original);
    buf_fmt(b, "%s%s", text, whole || strpbrk(text, ".e") ? "" : ".0");
}

/* Every number, also those that are defaults here: the classes that read it have their own. */
static void put_fields(Buf *b, const Config *c, Fields fields, unsigned set, const char *indent) {
    for (int64_t i = 0; i < fields.n; i++) {
        const Field *f = &fields.row[i];
        double v = field_get(c, f);
        /* Of a router, nothing without experts, but that all layers are dense. */
        bool idle = f->experts && !c->E && f->at != offsetof(Config, first_dense);
        if (!f->hf || !(f->of & set) || idle) continue;
        buf_fmt(b, ",\n%s\"%s\": ", indent, f->hf);
        if (f->kind == KIND_BOOL)
            buf_fmt(b, "%s", v != 0 ? "true" : "false");
        else if (v == 0 && f->at == offsetof(Config, Q))
            buf_fmt(b, "null");
        else
            put_number(b, f, v);
    }
}

/* In the spelling that every version of transformers reads: rope_theta above, rope_scaling beside.
 */
static void put_rope(Buf *b, const Config *c) {
    Fields theta = {rope_fields.row, 1}, rest = {rope_fields.row + 1, rope_fields.n - 1};
    unsigned set = 1u << c->rope.scaling;
    put_fields(b, c, theta, set, "  ");
    buf_fmt(b, ",\n  \"rope_scaling\": ");
    if (c->rope.scaling == ROPE_PLAIN) {
        buf_fmt(b, "null");
        return;
    }
    buf_fmt(b, "{\n    \"rope_type\": \"%s\"", rope_types[c->rope.scaling]);
    put_fields(b, c, rest, set, "    ");
    buf_fmt(b, "\n  }");
}

/* Which layers are dense, where a list says so. */
static void put_dense(Buf *b, const Config *c) {
    bool listed = family_set(c) & QWEN3_MOE, named = family_set(c) & GLM4;
    if (!listed && !named) return;
    buf_fmt(b, ",\n  \"%s\": [", listed ? "mlp_only_layers" : "mlp_layer_types");
    for (int64_t i = 0; i < (listed ? c->first_dense : c->L); i++)
        if (listed)
            buf_fmt(b, "%s%lld", i ? ", " : "", (long long)i);
        else
            buf_fmt(b, "%s\"%s\"", i ? ", " : "", i < c->first_dense ? "dense" : "sparse");
    buf_fmt(b, "]%s", listed ? ",\n  \"decoder_sparse_step\": 1" : "");
}

Str config_json(Arena *a, const Config *c) { return config_json_of(a, c, DTYPE_F32); }

Str config_json_of(Arena *a, const Config *c, DType weights) {
    const FamilyNames *names = &family_names[c->family];
    Buf b = {.a = a};
    buf_fmt(&b, "{\n  \"architectures\": [\"%s\"],\n", names->class);
    buf_fmt(&b, "  \"model_type\": \"%s\",\n  \"hidden_act\": \"silu\"", names->type);
    put_fields(&b, c, config_fields, family_set(c), "  ");
    put_rope(&b, c);
    put_dense(&b, c);
    if (c->mla) {
        bool v3 = family_set(c) & SIGMOID;
        const char *v2 = c->router.groups > 1 ? "group_limited_greedy" : "greedy";
        buf_fmt(&b, ",\n  \"num_key_value_heads\": %lld", (long long)c->H);
        buf_fmt(&b, ",\n  \"scoring_func\": \"%s\"", v3 ? "sigmoid" : "softmax");
        buf_fmt(&b, ",\n  \"topk_method\": \"%s\"", v3 ? "noaux_tc" : v2);
        if (c->recorded_mla) buf_fmt(&b, ",\n  \"mla_form\": \"%s\"", c->recorded_mla);
    }
    /* null, since the classes have tokens of their own for a missing key. */
    if (c->bos >= 0)
        buf_fmt(&b, ",\n  \"bos_token_id\": %lld", (long long)c->bos);
    else
        buf_fmt(&b, ",\n  \"bos_token_id\": null");
    buf_fmt(&b, ",\n  \"eos_token_id\": %s", c->n_eos ? "[" : "null");
    for (int64_t i = 0; i < c->n_eos; i++)
        buf_fmt(&b, "%s%lld", i ? ", " : "", (long long)c->eos[i]);
    const char *name = weights == DTYPE_F16    ? "float16"
                       : weights == DTYPE_BF16 ? "bfloat16"
                                               : "float32";
    buf_fmt(&b, "%s,\n  \"torch_dtype\": \"%s\"\n}\n", c->n_eos ? "]" : "", name);
    return buf_str(&b);
}
