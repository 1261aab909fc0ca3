/* keys.c -- every key of a recipe, in one table, and the one strict reader of their values.
 *
 * A new key is a line here and a member of Recipe. Names of model.* are members of Hugging Face's
 * config.json; they go there as they are, and model/ checks what they mean together. The order is
 * that of recipe_print; keys of one section stand together (yaml.c relies on it). */
#include "train/recipe.h"

#include <stdio.h>
#include <stdlib.h>

#define TO(m) (int64_t) offsetof(Recipe, m)
#define SIZE(name)                                                                                 \
    { "model." name, KEY_COUNT, FATE_FIXED, KEY_JSON, "", 0, 1 << 24, NULL }
#define REAL(name)                                                                                 \
    { "model." name, KEY_NUMBER, FATE_FIXED, KEY_JSON, "", 0, 1e12, NULL }
#define FLAG(name)                                                                                 \
    { "model." name, KEY_BOOL, FATE_FIXED, KEY_JSON, "", 0, 0, NULL }
#define TEXT(name, fate, to, initial)                                                              \
    { name, KEY_STR, fate, TO(to), initial, 0, 0, NULL }
#define PATH(name, to, initial)                                                                    \
    { name, KEY_PATH, FATE_FREE, TO(to), initial, 0, 0, NULL }
#define COUNT_(name, fate, to, initial, lo, hi)                                                    \
    { name, KEY_COUNT, fate, TO(to), initial, lo, hi, NULL }
#define NUMBER(name, to, initial, lo, hi)                                                          \
    { name, KEY_NUMBER, FATE_WARN, TO(to), initial, lo, hi, NULL }

const Key recipe_keys[] = {
    {"objective", KEY_CHOICE, FATE_FIXED, TO(objective), "pretrain", 0, 0,
     "pretrain|sft|distill|grpo"},

    {"model.family", KEY_CHOICE, FATE_FIXED, TO(model.family), "", 0, 0,
     "llama|qwen2|qwen3|qwen3_moe|deepseek_v2|deepseek_v3|glm4_moe_lite"},
    {"model.initializer_range", KEY_NUMBER, FATE_FREE, TO(model.initializer_range), "0.02", 0, 10,
     NULL},
    COUNT_("model.vocab_size", FATE_FIXED, model.vocab_size, "0", 0, 1 << 24),
    SIZE("hidden_size"),
    SIZE("num_hidden_layers"),
    SIZE("num_attention_heads"),
    SIZE("num_key_value_heads"),
    SIZE("head_dim"),
    SIZE("intermediate_size"),
    SIZE("max_position_embeddings"),
    REAL("rms_norm_eps"),
    REAL("rope_theta"),
    FLAG("tie_word_embeddings"),
    SIZE("q_lora_rank"),
    SIZE("kv_lora_rank"),
    SIZE("qk_nope_head_dim"),
    SIZE("qk_rope_head_dim"),
    SIZE("v_head_dim"),
    SIZE("n_routed_experts"),
    SIZE("num_experts"),
    SIZE("num_experts_per_tok"),
    SIZE("n_shared_experts"),
    SIZE("moe_intermediate_size"),
    SIZE("first_k_dense_replace"),
    SIZE("n_group"),
    SIZE("topk_group"),
    REAL("routed_scaling_factor"),
    FLAG("norm_topk_prob"),
    SIZE("num_nextn_predict_layers"),

    NUMBER("mtp.weight", mtp.weight, "0.3", 0, 10),
    NUMBER("mtp.weight_late", mtp.weight_late, "0.1", 0, 10),
    NUMBER("mtp.late_from", mtp.late_from, "0.67", 0, 1),

    PATH("init_from", init_from, ""),
    PATH("tokenizer", tokenizer, ""),

    PATH("distill.teacher", distill.teacher, ""),
    TEXT("distill.model", FATE_FREE, distill.model, ""),
    PATH("distill.prompts", distill.prompts, ""),
    COUNT_("distill.count", FATE_FREE, distill.count, "1000", 1, 1 << 28),
    COUNT_("distill.samples", FATE_FREE, distill.samples, "4", 1, 1024),
    COUNT_("distill.most", FATE_FREE, distill.most, "1", 1, 1024),
    {"distill.keep", KEY_CHOICE, FATE_FREE, TO(distill.right), "all", 0, 0, "all|right"},
    COUNT_("distill.max_tokens", FATE_FREE, distill.max_tokens, "512", 1, 1 << 20),
    COUNT_("distill.logits", FATE_FIXED, distill.logits, "0", 0, 1024),
    {"distill.temperature", KEY_NUMBER, FATE_FREE, TO(distill.temperature), "1", 0, 100, NULL},

    {"data.train", KEY_TEXTS, FATE_FREE, TO(data.train), "", 0, 1e9, NULL},
    PATH("data.valid", data.valid, ""),
    COUNT_("data.documents", FATE_FREE, data.documents, "50000", 1, 1 << 28),
    TEXT("data.separator", FATE_FIXED, data.separator, "<|endoftext|>"),
    TEXT("data.field", FATE_FIXED, data.field, "text"),
    TEXT("data.end", FATE_FIXED, data.end, ""),
    PATH("data.cache", data.cache, ""),

    COUNT_("batch.sequence", FATE_FIXED, batch.sequence, NULL, 2, 1 << 20),
    COUNT_("batch.tokens", FATE_FIXED, batch.tokens, NULL, 2, 1 << 26),
    COUNT_("batch.micro", FATE_FIXED, batch.micro, "0", 0, 1 << 26),

    NUMBER("optim.lr", optim.lr, NULL, 0, 10),
    NUMBER("optim.lr_min", optim.lr_min, "0", 0, 10),
    {"optim.betas", KEY_PAIR, FATE_WARN, TO(optim.betas), "0.9, 0.95", 0, 0.999999, NULL},
    NUMBER("optim.eps", optim.eps, "1e-8", 1e-30, 1),
    NUMBER("optim.weight_decay", optim.weight_decay, "0.1", 0, 10),
    NUMBER("optim.clip", optim.clip, "1", 0, 1e9),
    COUNT_("optim.warmup", FATE_WARN, optim.warmup, "0", 0, INT32_MAX),
    {"optim.schedule", KEY_CHOICE, FATE_WARN, TO(optim.schedule), "cosine", 0, 0,
     "constant|cosine|wsd"},
    NUMBER("optim.decay_steps", optim.decay_steps, "0.2", 0, INT32_MAX),
    {"optim.optimiser", KEY_CHOICE, FATE_FIXED, TO(optim.optimiser), "adamw", 0, 0, "adamw|muon"},
    {"optim.moments", KEY_CHOICE, FATE_FIXED, TO(optim.moments), "f32", 0, 0, "f32|bf16"},
    NUMBER("optim.momentum", optim.momentum, "0.95", 0, 0.999999),
    COUNT_("optim.muon_steps", FATE_WARN, optim.muon_steps, "10", 5, 10),
    COUNT_("optim.steps", FATE_WARN, optim.steps, NULL, 1, INT32_MAX),

    NUMBER("balance.rate", balance.rate, "0.001", 0, 1),
    NUMBER("balance.decay", balance.decay, "0.1", 0, 1),
    NUMBER("balance.sequence_loss", balance.sequence_loss, "0.0001", 0, 100),

    {"grpo.variant", KEY_CHOICE, FATE_WARN, TO(grpo.variant), "lisao", 0, 0,
     "lisao|grpo|dr_grpo|dapo"},
    COUNT_("grpo.prompts", FATE_WARN, grpo.prompts, "64", 1, 1 << 16),
    COUNT_("grpo.samples", FATE_WARN, grpo.samples, "8", 1, 1024),
    COUNT_("grpo.max_tokens", FATE_WARN, grpo.max_tokens, "256", 1, 1 << 20),
    COUNT_("grpo.updates", FATE_FIXED, grpo.updates, "1", 1, 1024),
    COUNT_("grpo.rounds", FATE_WARN, grpo.rounds, "3", 1, 64),
    COUNT_("grpo.sequences", FATE_FREE, grpo.sequences, "0", 0, 512),
    NUMBER("grpo.temperature", grpo.temperature, "1", 0.01, 10),
    NUMBER("grpo.kl", grpo.kl, "0", 0, 100),
    NUMBER("grpo.clip_low", grpo.clip_low, "0.2", 0, 1),
    NUMBER("grpo.clip_high", grpo.clip_high, "0.28", 0, 100),
    COUNT_("grpo.transcripts", FATE_FREE, grpo.transcripts, "2", 0, 1 << 16),
    COUNT_("grpo.valid_problems", FATE_FREE, grpo.valid_problems, "200", 1, 1000000),

    {"reward.command", KEY_STR, FATE_WARN, TO(reward.command), "", 0, 0, NULL},
    {"reward.timeout", KEY_NUMBER, FATE_FREE, TO(reward.timeout), "10", 0.001, 86400, NULL},

    {"act", KEY_CHOICE, FATE_FIXED, TO(act), "a16", 0, 0, "f32|a16"},
    COUNT_("seed", FATE_FIXED, seed, "1", 0, 9007199254740992.0),

    PATH("checkpoint.folder", checkpoint.folder, NULL),
    COUNT_("checkpoint.every", FATE_FREE, checkpoint.every, "100", 0, INT32_MAX),
    COUNT_("checkpoint.keep", FATE_FREE, checkpoint.keep, "2", 1, 1 << 20),
    COUNT_("eval.every", FATE_FREE, eval.every, "0", 0, INT32_MAX),
    COUNT_("eval.tokens", FATE_FREE, eval.tokens, "0", 0, 9007199254740992.0),
    COUNT_("log.every", FATE_FREE, log.every, "1", 1, INT32_MAX),
    COUNT_("log.load_every", FATE_FREE, log.load_every, "10", 0, INT32_MAX),
    COUNT_("sample.every", FATE_FREE, sample.every, "0", 0, INT32_MAX),
    TEXT("sample.prompt", FATE_FREE, sample.prompt, "The "),
    COUNT_("sample.tokens", FATE_FREE, sample.tokens, "60", 1, 1 << 16),
    {"sample.temperature", KEY_NUMBER, FATE_FREE, TO(sample.temperature), "0.8", 0, 100, NULL},
};
const int64_t recipe_n_keys = COUNT(recipe_keys);

const char *objective_name(Objective o) {
    static const char *const name[] = {"pretrain", "sft", "distill", "grpo"};
    return name[o];
}

int64_t key_section(const char *name) {
    const char *dot = strchr(name, '.');
    return dot ? dot - name : 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool refuse(const Key *k, Str value, const char *from, const char *wanted, Err *err) {
    return err_set(err, ERR_USAGE, "%s: %s is \"%.*s\", expected %s", from, k->name, STRF(value),
                   wanted);
}

static bool out_of_range(const Key *k, Str value, const char *from, Err *err) {
    return err_set(err, ERR_USAGE, "%s: %s is %.*s, expected %.10g to %.10g", from, k->name,
                   STRF(value), k->lo, k->hi);
}

/* YAML 1.1 reads 010 as 8, YAML 1.2 as 10: both are refused. */
static bool leads_with_zero(Str s) {
    if (s.n && s.p[0] == '-') s.p++, s.n--;
    return s.n > 1 && s.p[0] == '0' && s.p[1] >= '0' && s.p[1] <= '9';
}

static bool count_read(int64_t *out, const Key *k, Str value, const char *from, Err *err) {
    if (leads_with_zero(value) || !str_i64(value, out))
        return refuse(k, value, from, "a whole number", err);
    return ((double)*out >= k->lo && (double)*out <= k->hi) || out_of_range(k, value, from, err);
}

static bool number_read(double *out, const Key *k, Str value, const char *from, Err *err) {
    if (leads_with_zero(value) || !str_f64(value, out))
        return refuse(k, value, from, "a number", err);
    return (*out >= k->lo && *out <= k->hi) || out_of_range(k, value, from, err);
}

static Str stripped(Str s) {
    while (s.n && s.p[0] == ' ') s.p++, s.n--;
    while (s.n && s.p[s.n - 1] == ' ') s.n--;
    return s;
}

/* "0.9, 0.95", in brackets or without. */
static bool pair_read(double out[2], const Key *k, Str value, const char *from, Err *err) {
    Str s = stripped(value);
    if (s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']') s = (Str){s.p + 1, s.n - 2};
    const char *comma = s.n ? memchr(s.p, ',', (size_t)s.n) : NULL;
    if (!comma) return refuse(k, value, from, "two numbers with a comma between them", err);
    Str second = {comma + 1, s.p + s.n - comma - 1};
    return number_read(&out[0], k, stripped((Str){s.p, comma - s.p}), from, err)
           && number_read(&out[1], k, stripped(second), from, err);
}

/* Which of the choices it is, from 0; -1: none. */
static int choice_of(const char *choices, Str value) {
    int i = 0;
    for (const char *p = choices; *p; i++) {
        const char *end = strchr(p, '|');
        int64_t n = end ? end - p : (int64_t)strlen(p);
        if (str_eq((Str){p, n}, value)) return i;
        p += n + (end != NULL);
    }
    return -1;
}

static bool bool_read(bool *out, const Key *k, Str value, const char *from, Err *err) {
    *out = str_eq(value, STR("true"));
    return *out || str_eq(value, STR("false")) || refuse(k, value, from, "true or false", err);
}

static bool choice_check(const Key *k, Str value, const char *from, Err *err) {
    return choice_of(k->choices, value) >= 0 || (k->initial && value.n == 0 && !k->initial[0])
           || refuse(k, value, from, k->choices, err);
}

/* One spelling for each number, the shortest that reads back as the same: 1e-3 and 0.001 become
 * equal texts. */
static Str number_text(Arena *a, double x) {
    char z[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(z, sizeof z, "%.*g", digits, x);
        if (strtod(z, NULL) == x) break;
    }
    return str_copy(a, str_of(z));
}

static bool one_line(Str s) {
    for (int64_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < ' ' || s.p[i] == 0x7f) return false;
    return true;
}

static bool text_check(const Key *k, Str value, const char *from, Err *err) {
    return (one_line(value) && (value.n > 0 || k->initial))
           || refuse(k, value, from, "some text on one line", err);
}

/* A path is relative to where the program is started, in a recipe and in --set alike. What lies
 * beside the recipe is named from ${recipe_folder}, which stands for the folder of `recipe`. */
static bool path_read(Str *path, Arena *a, const Key *k, Str value, const char *recipe,
                      const char *from, Err *err) {
    const Str variable = STR("${recipe_folder}/");
    if (!text_check(k, value, from, err)) return false;
    if (str_starts(value, STR("~")))
        return refuse(k, value, from, "a whole path: only a shell reads ~ as a home folder", err);
    *path = str_copy(a, value);
    if (!str_starts(value, STR("${"))) return true;
    if (!str_starts(value, variable))
        return refuse(k, value, from, "a path: the one variable is ${recipe_folder}/", err);
    const char *slash = strrchr(recipe, '/');
    *path = str_fmt(a, "%.*s%.*s", (int)(slash ? slash + 1 - recipe : 0), recipe,
                    (int)(value.n - variable.n), value.p + variable.n);
    return true;
}

/* A share of the steps, or what it is when it was not given. */
static bool share_read(double *share, const Key *k, Str value, double initial, const char *from,
                       Err *err) {
    *share = initial;
    if (value.n && !number_read(share, k, value, from, err)) return false;
    return *share <= 1 || refuse(k, value, from, "a share of the steps, 0 to 1", err);
}

/* A path is the one part. A list comes back with whole paths and numbers in one spelling. */
static bool texts_read(Str *text, Arena *a, const Key *k, Str value, Recipe *r, const char *from,
                       Err *err) {
    TextPart part[MIX_MOST] = {{.source = value, .weight = STR("1")}};
    Buf b = {.a = a};
    r->data.n_parts = 1;
    if (is_list(value) && !parts_read(part, &r->data.n_parts, a, value, from, err)) return false;
    for (int64_t i = 0; i < r->data.n_parts; i++) {
        Str path;
        double *weight = &r->data.part[i].weight;
        if (!path_read(&path, a, k, part[i].source, r->path, from, err)
            || !number_read(weight, k, part[i].weight, from, err)
            || !share_read(&r->data.part[i].from, k, part[i].from, 0, from, err)
            || !share_read(&r->data.part[i].to, k, part[i].to, 1, from, err))
            return false;
        if (*weight <= 0) return refuse(k, part[i].weight, from, "a weight above 0", err);
        r->data.part[i].source = path.p;
        buf_fmt(&b, "%s{source: ", i ? ", " : "[");
        if (is_list(value) && !quoted_put(&b, path))
            return refuse(k, path, from, "names in UTF-8 in a list", err);
        buf_fmt(&b, ", weight: %s", number_text(a, *weight).p);
        if (part[i].from.n) buf_fmt(&b, ", from: %s", number_text(a, r->data.part[i].from).p);
        if (part[i].to.n) buf_fmt(&b, ", to: %s", number_text(a, r->data.part[i].to).p);
        buf_fmt(&b, "}");
    }
    *text =
        is_list(value) ? str_fmt(a, "%.*s]", STRF(buf_str(&b))) : str_of(r->data.part[0].source);
    r->data.train = text->p;
    return true;
}

/* The value, to where it belongs and as it is printed and compared. */
static bool value_read(Str *text, Arena *a, const Key *k, Str value, const char *recipe,
                       const char *from, void *to, Err *err) {
    int64_t count;
    double number[2];
    bool flag;
    switch (k->kind) {
    case KEY_STR:
        *text = str_copy(a, value);
        *(const char **)to = text->p;
        return text_check(k, value, from, err);
    case KEY_PATH:
        if (!path_read(text, a, k, value, recipe, from, err)) return false;
        *(const char **)to = text->p;
        return true;
    case KEY_TEXTS: return false; /* key_set */
    case KEY_CHOICE:
        if (!choice_check(k, value, from, err)) return false;
        *text = str_copy(a, value);
        if (k->to == TO(act))
            *(Act *)to = str_eq(value, STR("f32")) ? ACT_F32 : ACT_A16;
        else if (k->to == TO(distill.right))
            *(bool *)to = str_eq(value, STR("right"));
        else if (k->to == TO(objective))
            *(Objective *)to = (Objective)choice_of(k->choices, value);
        else if (k->to == TO(optim.optimiser))
            *(Optimiser *)to = str_eq(value, STR("muon")) ? OPTIMISER_MUON : OPTIMISER_ADAMW;
        else if (k->to == TO(optim.moments))
            *(DType *)to = str_eq(value, STR("f32")) ? DTYPE_F32 : DTYPE_BF16;
        else
            *(const char **)to = text->p;
        return true;
    case KEY_BOOL:
        if (!bool_read(&flag, k, value, from, err)) return false;
        *text = flag ? STR("true") : STR("false");
        return true;
    case KEY_COUNT:
        if (!count_read(&count, k, value, from, err)) return false;
        *text = str_fmt(a, "%lld", (long long)count);
        if (to) memcpy(to, &count, sizeof count);
        return true;
    case KEY_NUMBER:
        if (!number_read(number, k, value, from, err)) return false;
        *text = number_text(a, number[0]);
        if (to) memcpy(to, number, sizeof number[0]);
        return true;
    case KEY_PAIR:
        if (!pair_read(number, k, value, from, err)) return false;
        *text = str_fmt(a, "%s, %s", number_text(a, number[0]).p, number_text(a, number[1]).p);
        memcpy(to, number, sizeof number);
        return true;
    }
    return false;
}

bool key_set(Recipe *r, Arena *a, int64_t key, Str value, const char *from, Err *err) {
    const Key *k = &recipe_keys[key];
    if (k->kind == KEY_TEXTS) return texts_read(&r->text[key], a, k, value, r, from, err);
    void *to = k->to == KEY_JSON ? NULL : (char *)r + k->to;
    return value_read(&r->text[key], a, k, value, r->path, from, to, err);
}
