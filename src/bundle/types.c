/* types.c -- which type each tensor of a converted model gets.
 *
 * As in llama.cpp: vectors and routers stay f32; the matrix that makes the logits gets more bits
 * than the rest; q4_k_m gives some layers' most sensitive matrices q6_k; a type whose blocks do not
 * divide a row is replaced by one of smaller blocks with about as many bits, or by f16. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include "bundle/types.h"
#include <stdio.h>

/* What users call types, what most matrices become, and llama.cpp's number of such a file. */
static const struct Named {
    const char *name;
    DType type;
    int64_t file_type;
    bool mixed; /* some matrices become Q6_K */
} named[] = {
    {"f32", DTYPE_F32, 0, false},     {"f16", DTYPE_F16, 1, false},
    {"bf16", DTYPE_BF16, 32, false},  {"q8_0", DTYPE_Q8_0, 7, false},
    {"q6_k", DTYPE_Q6_K, 18, false},  {"q5_k", DTYPE_Q5_K, 16, false},
    {"q4_k_m", DTYPE_Q4_K, 15, true}, {"q4_k", DTYPE_Q4_K, 14, false},
    {"q5_1", DTYPE_Q5_1, 9, false},   {"q5_0", DTYPE_Q5_0, 8, false},
    {"q4_1", DTYPE_Q4_1, 3, false},   {"q4_0", DTYPE_Q4_0, 2, false},
};

typedef struct Rule {
    const char *text; /* REGEX=TYPE */
    pcre2_code *code;
    DType type;
} Rule;

struct TypeRules {
    bool gguf;
    const struct Named *all; /* NULL: types stay */
    DType type;
    Rule *rule;
    int64_t n;
};

/* ---- reading --------------------------------------------------------------------------------- */

static const struct Named *named_find(Str name, bool gguf, DType *type, Err *err) {
    for (int64_t i = 0; i < COUNT(named); i++) {
        if (!str_eq_caseless(name, str_of(named[i].name))) continue;
        *type = named[i].type;
        if (writer_has(gguf ? WRITE_GGUF : WRITE_SAFETENSORS, *type)) return &named[i];
        err_set(err, ERR_UNSUPPORTED,
                "type %s cannot be written into a Hugging Face folder: choose f32, f16 or bf16, or "
                "a name that ends with .gguf",
                named[i].name);
        return NULL;
    }
    err_set(err, ERR_USAGE, "there is no type \"%.*s\" (known: %s)", STRF(name), CONVERT_TYPES);
    return NULL;
}

bool bundle_type_known(const char *name, Err *err) {
    DType type;
    return named_find(str_of(name), true, &type, err);
}

/* "REGEX=TYPE"; the expression may have an '=' of its own. */
static bool rule_read(TypeRules *r, const char *text, Err *err) {
    const char *equals = strrchr(text, '=');
    Rule *rule = &r->rule[r->n];
    rule->text = text;
    int code;
    PCRE2_SIZE at;
    if (!equals || equals == text)
        return err_set(err, ERR_USAGE, "--tensor-type %s: expected REGEX=TYPE", text);
    if (!named_find(str_of(equals + 1), r->gguf, &rule->type, err)) return false;
    rule->code = pcre2_compile((PCRE2_SPTR)text, (PCRE2_SIZE)(equals - text), 0, &code, &at, NULL);
    if (rule->code) return r->n++, true;
    char why[128] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return err_set(err, ERR_USAGE, "--tensor-type %s: %s (at byte %zu)", text, why, at);
}

bool types_open(TypeRules **rules, Arena *a, const ConvertSpec *s, bool gguf, Err *err) {
    TypeRules *r = *rules = PUSH(a, TypeRules, 1);
    *r = (TypeRules){.gguf = gguf, .rule = PUSH(a, Rule, s->n_rules + 1)};
    if (s->type && !(r->all = named_find(str_of(s->type), gguf, &r->type, err))) return false;
    for (int64_t i = 0; i < s->n_rules; i++)
        if (!rule_read(r, s->rule[i], err)) return false;
    return true;
}

void types_close(TypeRules *r) {
    for (int64_t i = 0; r && i < r->n; i++) pcre2_code_free(r->rule[i].code);
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool has(const Export *e, const char *part) {
    Str name = e->t.name, p = str_of(part);
    for (int64_t i = 0; i + p.n <= name.n; i++)
        if (!memcmp(name.p + i, p.p, (size_t)p.n)) return true;
    return false;
}

int64_t block_of(Str name) {
    Str number = {name.p + 4, 0};
    int64_t block = -1;
    if (!str_starts(name, STR("blk."))) return -1;
    while (number.n < name.n - 4 && number.p[number.n] != '.') number.n++;
    return str_i64(number, &block) ? block : -1;
}

/* The first and last eighths of the layers, and each third between. */
static bool more_bits(int64_t layer, int64_t layers) {
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

/* What fits rows of this length. */
static DType fallback(DType type, int64_t cols) {
    if (cols % dtype_block(type) == 0) return type;
    if (type == DTYPE_Q4_K) type = DTYPE_Q5_0;
    if (type == DTYPE_Q5_K) type = DTYPE_Q5_1;
    if (type == DTYPE_Q6_K) type = DTYPE_Q8_0;
    return cols % dtype_block(type) ? DTYPE_F16 : type;
}

/* Vectors, routers and whatever is no matrix of weights. */
static bool stays(const Export *e) {
    return e->f32 || e->t.n_dims < 2 || has(e, "_norm.weight") || has(e, "ffn_gate_inp")
           || !str_ends(e->t.name, STR(".weight"));
}

static DType choose(const TypeRules *r, const Export *e, int64_t layers, bool tied) {
    DType type = r->type;
    bool logits = str_eq(e->t.name, STR("output.weight"))
                  || (tied && str_eq(e->t.name, STR("token_embd.weight")));
    if (dtype_block(type) == 1) return type;
    if (logits)
        type = e->cols % dtype_block(type) || type == DTYPE_Q8_0 ? DTYPE_Q8_0 : DTYPE_Q6_K;
    else if (r->all->mixed && (has(e, "attn_v.weight") || has(e, "ffn_down"))
             && more_bits(block_of(e->t.name), layers))
        type = DTYPE_Q6_K;
    return fallback(type, e->cols);
}

static bool rule_fits(const Rule *rule, const Export *e) {
    pcre2_match_data *found = pcre2_match_data_create(1, NULL);
    bool fits = found
                && pcre2_match(rule->code, (PCRE2_SPTR)e->t.name.p, (PCRE2_SIZE)e->t.name.n, 0, 0,
                               found, NULL)
                       >= 0;
    pcre2_match_data_free(found);
    return fits;
}

/* The type of the last rule whose expression is found in the name. */
static bool rule_find(const TypeRules *r, const Export *e, DType *type) {
    for (int64_t i = r->n; i-- > 0;)
        if (rule_fits(&r->rule[i], e)) return *type = r->rule[i].type, true;
    return false;
}

/* A rule that finds nothing is a slip of the pen, which nobody would see in the result. */
static bool rules_used(const TypeRules *r, const Export *e, int64_t n, Err *err) {
    for (int64_t i = 0; i < r->n; i++) {
        int64_t k = 0;
        while (k < n && !rule_fits(&r->rule[i], &e[k])) k++;
        if (k == n)
            return err_set(err, ERR_USAGE,
                           "--tensor-type %s: no tensor's name matches the expression; names are "
                           "like %s",
                           r->rule[i].text,
                           r->gguf ? "blk.0.ffn_down.weight"
                                   : "model.layers.0.mlp.down_proj.weight");
    }
    return true;
}

bool types_choose(const TypeRules *r, Export *e, int64_t n, int64_t layers, Err *err) {
    bool tied = true;
    if (!rules_used(r, e, n, err)) return false;
    for (int64_t i = 0; i < n; i++) tied &= !str_eq(e[i].t.name, STR("output.weight"));
    for (int64_t i = 0; i < n; i++) {
        DType asked;
        if (rule_find(r, &e[i], &asked) && !stays(&e[i])) {
            if (e[i].cols % dtype_block(asked))
                return err_set(err, ERR_USAGE,
                               "tensor %.*s has rows of %lld numbers, and blocks of %s have %lld: "
                               "choose another type for it",
                               STRF(e[i].t.name), (long long)e[i].cols, dtype_name(asked),
                               (long long)dtype_block(asked));
            e[i].t.type = asked;
        } else if (r->all && !stays(&e[i])) {
            e[i].t.type = choose(r, &e[i], layers, tied);
        }
    }
    return true;
}

int64_t types_file(const TypeRules *r, const Export *e, int64_t n) {
    int64_t count[DTYPE_N] = {0};
    DType most = DTYPE_F32;
    if (r->all) return r->all->file_type;
    for (int64_t i = 0; i < n; i++) {
        count[e[i].t.type] += tensor_elements(&e[i].t);
        if (count[e[i].t.type] > count[most]) most = e[i].t.type;
    }
    for (int64_t i = 0; i < COUNT(named); i++)
        if (named[i].type == most && !named[i].mixed) return named[i].file_type;
    return 0;
}
