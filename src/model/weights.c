/* weights.c -- the parameters: one constant table for each family, from which loader, saver,
 * initialisation, optimiser, gradient norm and counts all come. A new family is a table here, or
 * one that is there with further rows, and a line in `tables` (docs/add-a-family.md).
 *
 * A row of the table is a tensor of the model or of each layer; stacked experts are one row. Rows
 * are in the order of the sums over tensors (contract 7): the model's rows before the layers, each
 * layer's in turn, the model's rows after them. A row's place is part of its initialisation
 * (contract 5): new ones come last. */
#include "model/layer.h"
#include <math.h>

/* ---- the tables ------------------------------------------------------------------------------ */

/* FURTHER: of a layer that predicts further tokens, beside its own rows of LAYER and EXPERT. */
typedef enum Scope { MODEL, LAYER, EXPERT, FURTHER } Scope;

/* Whether a model or a layer of it has the row. */
typedef enum Presence {
    ALWAYS,
    UNTIED,
    DENSE,
    MOE,
    SHARED,
    CHOICE_BIASED,
    Q_RANK,
    NO_Q_RANK,
    QKV_BIASED,
    QK_NORMED
} Presence;

/* Initialisation and rounding go together. */
typedef enum TensorKind {
    MATRIX,     /* normal */
    F32_MATRIX, /* the same, never rounded: router */
    NORM,       /* ones */
    BIAS,       /* zeros */
    CHOICE_BIAS /* zeros; no optimiser moves it, but the balance of experts */
} TensorKind;

typedef struct Row {
    const char *hf, *gguf; /* without suffix, "model.layers.N.", "blk.N."; %d: the expert */
    Scope scope;
    Presence presence;
    const char *rows, *cols; /* sums of products of letters, see size_of; rows NULL: a vector */
    TensorKind kind;
    Optimiser optimiser; /* what moves it, and so which moments it has */
    ShardRule shard;     /* how ranks share it */
    size_t slot;         /* the pointer to it, in Layer or Model */
    Transform transform; /* from GGUF; from Hugging Face always SAME */
} Row;

#define IN(role) offsetof(Layer, role)
#define OF(role) offsetof(Model, role)
#define ATT      "self_attn."
#define ADAMW    OPTIMISER_ADAMW
#define NONE     OPTIMISER_NONE
#define WHOLE    SHARD_WHOLE
#define EXPERTS  SHARD_EXPERTS

static const Row llama[] = {
    {"model.embed_tokens", "token_embd", MODEL, ALWAYS, "V", "C", MATRIX, ADAMW, WHOLE, OF(embed),
     SAME},
    {"input_layernorm", "attn_norm", LAYER, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE, IN(attn_norm),
     SAME},
    {ATT "q_proj", "attn_q", LAYER, ALWAYS, "HD", "C", MATRIX, ADAMW, WHOLE, IN(q), PERMUTED},
    {ATT "k_proj", "attn_k", LAYER, ALWAYS, "GD", "C", MATRIX, ADAMW, WHOLE, IN(k), PERMUTED},
    {ATT "v_proj", "attn_v", LAYER, ALWAYS, "GD", "C", MATRIX, ADAMW, WHOLE, IN(v), SAME},
    {ATT "o_proj", "attn_output", LAYER, ALWAYS, "C", "HD", MATRIX, ADAMW, WHOLE, IN(o), SAME},
    {"post_attention_layernorm", "ffn_norm", LAYER, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE,
     IN(ffn_norm), SAME},
    {"mlp.gate_proj", "ffn_gate", LAYER, ALWAYS, "F", "C", MATRIX, ADAMW, WHOLE, IN(gate), SAME},
    {"mlp.up_proj", "ffn_up", LAYER, ALWAYS, "F", "C", MATRIX, ADAMW, WHOLE, IN(up), SAME},
    {"mlp.down_proj", "ffn_down", LAYER, ALWAYS, "C", "F", MATRIX, ADAMW, WHOLE, IN(down), SAME},
    {"model.norm", "output_norm", MODEL, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE, OF(norm), SAME},
    {"lm_head", "output", MODEL, UNTIED, "V", "C", MATRIX, ADAMW, WHOLE, OF(head), SAME},
};

/* DeepSeek-V2, V2-Lite, V3, R1, GLM-4-MoE-Lite. n, r, v: a head's parts without and with rope, and
 * its value. */
#define XPS "mlp.experts.%d."
#define SHX "mlp.shared_experts."
static const Row deepseek[] = {
    {"model.embed_tokens", "token_embd", MODEL, ALWAYS, "V", "C", MATRIX, ADAMW, WHOLE, OF(embed),
     SAME},
    {"input_layernorm", "attn_norm", LAYER, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE, IN(attn_norm),
     SAME},
    {ATT "q_proj", "attn_q", LAYER, NO_Q_RANK, "Hn+Hr", "C", MATRIX, ADAMW, WHOLE, IN(q), SAME},
    {ATT "q_a_proj", "attn_q_a", LAYER, Q_RANK, "Q", "C", MATRIX, ADAMW, WHOLE, IN(q_a), SAME},
    {ATT "q_a_layernorm", "attn_q_a_norm", LAYER, Q_RANK, NULL, "Q", NORM, ADAMW, WHOLE,
     IN(q_a_norm), SAME},
    {ATT "q_b_proj", "attn_q_b", LAYER, Q_RANK, "Hn+Hr", "Q", MATRIX, ADAMW, WHOLE, IN(q_b), SAME},
    {ATT "kv_a_proj_with_mqa", "attn_kv_a_mqa", LAYER, ALWAYS, "R+r", "C", MATRIX, ADAMW, WHOLE,
     IN(kv_a), SAME},
    {ATT "kv_a_layernorm", "attn_kv_a_norm", LAYER, ALWAYS, NULL, "R", NORM, ADAMW, WHOLE,
     IN(kv_a_norm), SAME},
    {ATT "kv_b_proj", "attn_kv_b", LAYER, ALWAYS, "Hn+Hv", "R", MATRIX, ADAMW, WHOLE, IN(kv_b),
     SPLIT_KV},
    {ATT "o_proj", "attn_output", LAYER, ALWAYS, "C", "Hv", MATRIX, ADAMW, WHOLE, IN(o), SAME},
    {"post_attention_layernorm", "ffn_norm", LAYER, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE,
     IN(ffn_norm), SAME},
    {"mlp.gate_proj", "ffn_gate", LAYER, DENSE, "F", "C", MATRIX, ADAMW, WHOLE, IN(gate), SAME},
    {"mlp.up_proj", "ffn_up", LAYER, DENSE, "F", "C", MATRIX, ADAMW, WHOLE, IN(up), SAME},
    {"mlp.down_proj", "ffn_down", LAYER, DENSE, "C", "F", MATRIX, ADAMW, WHOLE, IN(down), SAME},
    {"mlp.gate", "ffn_gate_inp", LAYER, MOE, "E", "C", F32_MATRIX, ADAMW, WHOLE, IN(router), SAME},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias", LAYER, CHOICE_BIASED, NULL, "E",
     CHOICE_BIAS, NONE, WHOLE, IN(bias), SAME},
    {XPS "gate_proj", "ffn_gate_exps", EXPERT, MOE, "f", "C", MATRIX, ADAMW, EXPERTS, IN(gate_x),
     SAME},
    {XPS "up_proj", "ffn_up_exps", EXPERT, MOE, "f", "C", MATRIX, ADAMW, EXPERTS, IN(up_x), SAME},
    {XPS "down_proj", "ffn_down_exps", EXPERT, MOE, "C", "f", MATRIX, ADAMW, EXPERTS, IN(down_x),
     SAME},
    {SHX "gate_proj", "ffn_gate_shexp", LAYER, SHARED, "sf", "C", MATRIX, ADAMW, WHOLE, IN(gate_s),
     SAME},
    {SHX "up_proj", "ffn_up_shexp", LAYER, SHARED, "sf", "C", MATRIX, ADAMW, WHOLE, IN(up_s), SAME},
    {SHX "down_proj", "ffn_down_shexp", LAYER, SHARED, "C", "sf", MATRIX, ADAMW, WHOLE, IN(down_s),
     SAME},
    {"model.norm", "output_norm", MODEL, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE, OF(norm), SAME},
    {"lm_head", "output", MODEL, UNTIED, "V", "C", MATRIX, ADAMW, WHOLE, OF(head), SAME},
    {"enorm", "nextn.enorm", FURTHER, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE, IN(embed_norm), SAME},
    {"hnorm", "nextn.hnorm", FURTHER, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE, IN(hidden_norm), SAME},
    {"eh_proj", "nextn.eh_proj", FURTHER, ALWAYS, "C", "C+C", MATRIX, ADAMW, WHOLE, IN(join), SAME},
    {"shared_head.norm", "nextn.shared_head_norm", FURTHER, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE,
     IN(last_norm), SAME},
};

/* Qwen2 (and 2.5), Qwen3, Qwen3-MoE: grouped-query attention whose q and k rows GGUF leaves as they
 * are. */
static const Row qwen[] = {
    {"model.embed_tokens", "token_embd", MODEL, ALWAYS, "V", "C", MATRIX, ADAMW, WHOLE, OF(embed),
     SAME},
    {"input_layernorm", "attn_norm", LAYER, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE, IN(attn_norm),
     SAME},
    {ATT "q_proj", "attn_q", LAYER, ALWAYS, "HD", "C", MATRIX, ADAMW, WHOLE, IN(q), SAME},
    {ATT "q_proj", "attn_q", LAYER, QKV_BIASED, NULL, "HD", BIAS, ADAMW, WHOLE, IN(q_bias), SAME},
    {ATT "q_norm", "attn_q_norm", LAYER, QK_NORMED, NULL, "D", NORM, ADAMW, WHOLE, IN(q_norm),
     SAME},
    {ATT "k_proj", "attn_k", LAYER, ALWAYS, "GD", "C", MATRIX, ADAMW, WHOLE, IN(k), SAME},
    {ATT "k_proj", "attn_k", LAYER, QKV_BIASED, NULL, "GD", BIAS, ADAMW, WHOLE, IN(k_bias), SAME},
    {ATT "k_norm", "attn_k_norm", LAYER, QK_NORMED, NULL, "D", NORM, ADAMW, WHOLE, IN(k_norm),
     SAME},
    {ATT "v_proj", "attn_v", LAYER, ALWAYS, "GD", "C", MATRIX, ADAMW, WHOLE, IN(v), SAME},
    {ATT "v_proj", "attn_v", LAYER, QKV_BIASED, NULL, "GD", BIAS, ADAMW, WHOLE, IN(v_bias), SAME},
    {ATT "o_proj", "attn_output", LAYER, ALWAYS, "C", "HD", MATRIX, ADAMW, WHOLE, IN(o), SAME},
    {"post_attention_layernorm", "ffn_norm", LAYER, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE,
     IN(ffn_norm), SAME},
    {"mlp.gate_proj", "ffn_gate", LAYER, DENSE, "F", "C", MATRIX, ADAMW, WHOLE, IN(gate), SAME},
    {"mlp.up_proj", "ffn_up", LAYER, DENSE, "F", "C", MATRIX, ADAMW, WHOLE, IN(up), SAME},
    {"mlp.down_proj", "ffn_down", LAYER, DENSE, "C", "F", MATRIX, ADAMW, WHOLE, IN(down), SAME},
    {"mlp.gate", "ffn_gate_inp", LAYER, MOE, "E", "C", F32_MATRIX, ADAMW, WHOLE, IN(router), SAME},
    {XPS "gate_proj", "ffn_gate_exps", EXPERT, MOE, "f", "C", MATRIX, ADAMW, EXPERTS, IN(gate_x),
     SAME},
    {XPS "up_proj", "ffn_up_exps", EXPERT, MOE, "f", "C", MATRIX, ADAMW, EXPERTS, IN(up_x), SAME},
    {XPS "down_proj", "ffn_down_exps", EXPERT, MOE, "C", "f", MATRIX, ADAMW, EXPERTS, IN(down_x),
     SAME},
    {"model.norm", "output_norm", MODEL, ALWAYS, NULL, "C", NORM, ADAMW, WHOLE, OF(norm), SAME},
    {"lm_head", "output", MODEL, UNTIED, "V", "C", MATRIX, ADAMW, WHOLE, OF(head), SAME},
};

static const struct {
    const Row *row;
    int64_t n;
} tables[FAMILY_N] = {
    [FAMILY_LLAMA] = {llama, COUNT(llama)},
    [FAMILY_DEEPSEEK2] = {deepseek, COUNT(deepseek)},
    [FAMILY_DEEPSEEK3] = {deepseek, COUNT(deepseek)},
    [FAMILY_QWEN2] = {qwen, COUNT(qwen)},
    [FAMILY_QWEN3] = {qwen, COUNT(qwen)},
    [FAMILY_QWEN3_MOE] = {qwen, COUNT(qwen)},
    [FAMILY_GLM4_MOE_LITE] = {deepseek, COUNT(deepseek)},
};

/* A letter of a shape, as in model.h; f is the width of an expert, s the number of shared ones. */
static int64_t letter(const Config *c, char name) {
    switch (name) {
    case 'C': return c->C;
    case 'V': return c->V;
    case 'H': return c->H;
    case 'G': return c->G;
    case 'D': return c->D;
    case 'F': return c->F;
    case 'Q': return c->Q;
    case 'R': return c->R;
    case 'n': return c->d_nope;
    case 'r': return c->d_rope;
    case 'v': return c->d_v;
    case 'E': return c->E;
    case 'f': return c->F_moe;
    case 's': return c->shared;
    default: CHECK(!"a letter of a shape"); return 0;
    }
}

/* "Hn+Hr" = H * n + H * r; NULL = 1. Shapes are strings, so that a table can be held against the
 * papers by eye. Nothing overflows: each size is bounded (config.c). */
static int64_t size_of(const Config *c, const char *shape) {
    int64_t sum = 0, product = 1;
    for (; shape && *shape; shape++) {
        if (*shape == '+')
            sum += product, product = 1;
        else
            product *= letter(c, *shape);
    }
    return sum + product;
}

/* Whether a model, or this layer of it, has the row's tensor. Only the configuration decides, so
 * the loader knows what is missing and what is too many. */
static bool has(const Config *c, const Row *r, int64_t layer) {
    bool moe = c->E && layer >= c->first_dense;
    if (r->scope == FURTHER && layer < c->L) return false;
    switch (r->presence) {
    case ALWAYS: return true;
    case UNTIED: return !c->tied;
    case DENSE: return !moe;
    case MOE: return moe;
    case SHARED: return moe && c->shared > 0;
    case CHOICE_BIASED: return moe && c->router.kind == ROUTER_SIGMOID;
    case Q_RANK: return c->Q > 0;
    case NO_Q_RANK: return c->Q == 0;
    case QKV_BIASED: return c->family == FAMILY_QWEN2;
    case QK_NORMED: return c->family != FAMILY_QWEN2;
    }
    return false;
}

/* ---- building -------------------------------------------------------------------------------- */

/* Calls put for every tensor of the model, in table order: rows of layers stand side by side in the
 * table and are walked layer by layer. */
static void rows_walk(Model *m, Arena *a,
                      void (*put)(Model *m, Arena *a, const Row *r, int64_t layer)) {
    const Row *row = tables[m->cfg.family].row;
    int64_t n = tables[m->cfg.family].n;
    for (int64_t i = 0, end; i < n; i = end) {
        bool layers = row[i].scope != MODEL;
        end = i + 1;
        while (layers && end < n && row[end].scope != MODEL) end++;
        for (int64_t layer = layers ? 0 : -1; layer < (layers ? m->n_layers : 0); layer++)
            for (int64_t j = i; j < end; j++)
                if (has(&m->cfg, &row[j], layer)) put(m, a, &row[j], layer);
    }
}

static void param_count(Model *m, Arena *a, const Row *r, int64_t layer) {
    (void)a, (void)r, (void)layer;
    m->n_params++;
}

/* GGUF's name of a choice's bias has its suffix, Hugging Face's has none. */
static const char *suffix_of(const Row *r) {
    return r->kind == CHOICE_BIAS ? "" : r->kind == BIAS ? ".bias" : ".weight";
}

/* The row as a parameter: name, shape and properties, and the pointer to it by its role. The data
 * come later, from a file or from the initialisation. */
static void param_put(Model *m, Arena *a, const Row *r, int64_t layer) {
    const Config *c = &m->cfg;
    Param *p = &m->param[m->n_params++];
    p->row = (int32_t)(r - tables[c->family].row);
    const char *suffix = suffix_of(r);
    p->name = layer < 0 ? str_fmt(a, "%s%s", r->hf, suffix).p
                        : str_fmt(a, "model.layers.%lld.%s%s", (long long)layer, r->hf, suffix).p;
    p->layer = layer;
    p->decay = r->rows != NULL;
    p->optimiser = r->optimiser;
    p->shard = r->shard;
    p->f32 = r->kind != MATRIX;
    p->w.n = r->scope == EXPERT ? c->E : 1;
    p->w.rows = size_of(c, r->rows), p->w.cols = size_of(c, r->cols);
    p->count = p->w.n * p->w.rows * p->w.cols;
    void *home = layer < 0 ? (void *)m : (void *)&m->layer[layer];
    *(Param **)(void *)((char *)home + r->slot) = p;
}

/* Two walks, the first of which only counts: parameters stand in one array that never moves, since
 * layers point into it. */
void params_build(Model *m, Arena *a) {
    if (!m->n_layers) m->n_layers = m->cfg.L;
    rows_walk(m, a, param_count);
    m->param = PUSH(a, Param, m->n_params);
    m->layer = PUSH(a, Layer, m->n_layers);
    m->n_params = 0;
    rows_walk(m, a, param_put);
    if (m->cfg.tied) m->head = m->embed;
}

Names param_names(const Model *m, const Param *p) {
    const Row *r = &tables[m->cfg.family].row[p->row];
    return (Names){r->gguf, suffix_of(r), r->transform, r->scope == EXPERT, r->rows == NULL};
}

/* Stacked experts are one parameter here and one tensor each in Hugging Face's files. */
const char *param_name(Arena *a, const Param *p, int64_t i) {
    const char *number = strstr(p->name, "%d");
    if (!number) return p->name;
    return str_fmt(a, "%.*s%lld%s", (int)(number - p->name), p->name, (long long)i, number + 2).p;
}

/* AdamW keeps the running means of the gradient and of its square (Loshchilov and Hutter, arXiv
 * 1711.05101), Muon a running sum of the gradient. */
static const struct {
    int64_t n;
    const char *name[MOMENTS];
} kept[OPTIMISER_N] = {[OPTIMISER_ADAMW] = {2, {"m", "v"}}, [OPTIMISER_MUON] = {1, {"momentum"}}};

int64_t moment_count(Optimiser o) { return kept[o].n; }

const char *moment_name(Optimiser o, int64_t i) {
    CHECK(i >= 0 && i < moment_count(o));
    return kept[o].name[i];
}

/* Embedding and head are no maps between hidden states, and the router is kept in f32: theirs is
 * AdamW. */
void model_optimise(Model *m, Optimiser matrices, DType moments) {
    for (int64_t i = 0; i < m->n_params; i++) {
        Param *p = &m->param[i];
        const Row *r = &tables[m->cfg.family].row[p->row];
        if (r->kind == MATRIX && r->scope != MODEL) p->optimiser = matrices;
        p->moment_type = moments;
    }
}

/* ---- initialisation -------------------------------------------------------------------------- */

/* Box-Muller on Philox (contract 5): stream = layer and row of the table, position = element, of
 * which the first here has number `at`. */
static void normal_fill(float *x, int64_t at, int64_t n, double std, uint64_t seed,
                        uint32_t stream) {
    for (int64_t i = 0; i < n; i++) {
        Philox w = philox(seed, (uint64_t)(at + i), stream);
        double s, c, u0 = philox_unit(w.w[0]), u1 = philox_unit(w.w[1]);
        sincos_f64(6.283185307179586 * u1, &s, &c);
        x[i] = (float)(std * (sqrt(-2 * log_f64(1 - u0)) * c));
    }
}

/* Numbers at..at+n-1 of a fresh parameter. */
static void fresh_fill(float *x, const Param *p, TensorKind kind, int64_t at, int64_t n, double std,
                       uint64_t seed) {
    uint32_t stream = (uint32_t)((p->layer + 1) * 256 + p->row);
    if (p->decay) return normal_fill(x, at, n, std, seed, stream);
    for (int64_t i = 0; i < n; i++) x[i] = kind == NORM;
}

/* ---- rows in canonical order ----------------------------------------------------------------- */

/* Rows of q or k of a llama's GGUF. Its converter put the halves of a head that rope turns together
 * side by side; row `at` of a head is undone to where the converter took it from. */
static void gather_permuted(uint8_t *out, const Param *p, int64_t row, int64_t n) {
    int64_t bytes = param_row_bytes(p), half = p->source->head / 2;
    for (int64_t i = 0; i < n; i++, row++) {
        int64_t at = row % p->source->head;
        int64_t from = row - at + at % half * 2 + at / half;
        memcpy(out + i * bytes, (const uint8_t *)p->source->part[0].p + from * bytes,
               (size_t)bytes);
    }
}

/* Rows j0..j1-1 of head h of W_UK (n, R), whose transpose stands in the file. */
static void gather_k(float *out, const RowSource *s, int64_t h, int64_t j0, int64_t j1) {
    float column[1024];
    Weight k_b = {.type = s->part[0].type, .n = 1, .cols = s->nope, .row = s->part[0].p};
    CHECK(s->nope <= COUNT(column));
    for (int64_t c = 0; c < s->rank; c++) {
        weight_row(column, &k_b, 0, h * s->rank + c);
        for (int64_t j = j0; j < j1; j++) out[(j - j0) * s->rank + c] = column[j];
    }
}

/* Rows of kv_b, which the file has as two tensors. Of each head the first n rows are W_UK's, and
 * the next v rows W_UV's; the latter stand in order. */
static void gather_kv(float *out, const Param *p, int64_t row, int64_t n) {
    const RowSource *s = p->source;
    int64_t value = s->head - s->nope;
    Weight v_b = {.type = s->part[1].type, .n = 1, .cols = s->rank, .row = s->part[1].p};
    for (int64_t end = row + n, step; row < end; row += step, out += step * s->rank) {
        int64_t h = row / s->head, j = row % s->head;
        step = MIN(end - row, (j < s->nope ? s->nope : s->head) - j);
        if (j < s->nope)
            gather_k(out, s, h, j, j + step);
        else
            for (int64_t i = 0; i < step; i++)
                weight_row(out + i * s->rank, &v_b, 0, h * value + j - s->nope + i);
    }
}

/* contract 3: rn(w * scale), the scales (rows/block, cols/block) rounded up. */
static void gather_scaled(float *out, const Param *p, int64_t row, int64_t n) {
    const RowSource *s = p->source;
    int64_t i = row / p->w.rows, cols = p->w.cols, across = (cols + s->block[1] - 1) / s->block[1];
    Weight codes = {.type = s->part[2 * i].type, .n = 1, .cols = cols, .row = s->part[2 * i].p};
    for (int64_t r = row % p->w.rows; n > 0; r++, n--, out += cols) {
        const float *scale = (const float *)s->part[2 * i + 1].p + r / s->block[0] * across;
        weight_row(out, &codes, 0, r);
        for (int64_t k = 0; k < cols; k++) out[k] = out[k] * scale[k / s->block[1]];
    }
}

int64_t param_file_bytes(const Param *p) {
    int64_t bytes = 0;
    if (!p->source) return p->w.n * p->w.rows * param_row_bytes(p);
    for (int64_t i = 0; i < p->source->n_parts; i++) bytes += p->source->part[i].bytes;
    return bytes;
}

static void imagine_rows(float *out, const Param *p, int64_t row, int64_t n) {
    const RowSource *s = p->source;
    uint32_t before = float_mode_enter();
    fresh_fill(out, p, (TensorKind)s->kind, row * p->w.cols, n * p->w.cols, s->std, s->seed);
    float_mode_leave(before);
}

/* Rows that stand in order are only pointed to. So a file of 100 GB is packed from its mapping, and
 * a copy exists for a piece at a time, where the order has to be made. */
const void *param_rows(const Param *p, int64_t row, int64_t n, void *scratch) {
    CHECK(n >= 1 && row / p->w.rows == (row + n - 1) / p->w.rows);
    if (p->w.row) return (const uint8_t *)p->w.row + row * param_row_bytes(p);
    switch (p->source->transform) {
    case SAME:
        return (const uint8_t *)p->source->part[row / p->w.rows].p
               + row % p->w.rows * param_row_bytes(p);
    case PERMUTED: gather_permuted(scratch, p, row, n); break;
    case SPLIT_KV: gather_kv(scratch, p, row, n); break;
    case SCALED: gather_scaled(scratch, p, row, n); break;
    case IMAGINED: imagine_rows(scratch, p, row, n); break;
    }
    return scratch;
}

/* Masters have no store: they are not in a file, and stay. */
void param_drop(const Param *p) {
    if (!p->store) return;
    if (p->w.row) store_drop(p->store, p->w.row, p->w.n * p->w.rows * param_row_bytes(p));
    for (int64_t i = 0; !p->w.row && i < p->source->n_parts; i++)
        store_drop(p->store, p->source->part[i].p, p->source->part[i].bytes);
}

/* ---- masters --------------------------------------------------------------------------------- */

/* From here on the parameter's rows are its master's, and the file is not looked at again. Its
 * checksum is void, because training changes it. */
static void master_push(Param *p, Arena *a) {
    p->master = PUSH(a, float, p->count);
    p->w.type = DTYPE_F32;
    p->w.row = p->master;
    p->source = NULL;
    p->store = NULL;
    p->summed = false;
}

/* Each number's draw depends on the seed, its tensor and its place alone, so that the order and the
 * threads in which tensors are filled do not matter. */
void model_init(Model **out, Arena *a, const Config *c, double std, uint64_t seed) {
    Model *m = *out = PUSH(a, Model, 1);
    *m = (Model){.cfg = *c, .n_layers = c->L + c->mtp, .arena = a, .file_type = DTYPE_F32};
    params_build(m, a);
    uint32_t before = float_mode_enter();
    for (int64_t i = 0; i < m->n_params; i++) {
        Param *p = &m->param[i];
        TensorKind kind = tables[c->family].row[p->row].kind;
        master_push(p, a);
        fresh_fill(p->master, p, kind, 0, p->count, std, seed);
    }
    float_mode_leave(before);
}

void model_imagine(Model **out, Arena *a, const Config *c, double std, uint64_t seed) {
    Model *m = *out = PUSH(a, Model, 1);
    *m = (Model){.cfg = *c, .arena = a, .file_type = DTYPE_F32};
    params_build(m, a);
    for (int64_t i = 0; i < m->n_params; i++) {
        RowSource *s = PUSH(a, RowSource, 1);
        *s = (RowSource){.transform = IMAGINED, .std = std, .seed = seed};
        s->kind = tables[c->family].row[m->param[i].row].kind;
        m->param[i].source = s;
        m->param[i].w.type = DTYPE_F32;
    }
}

void model_shape(Model **out, Arena *a, const Config *c, int64_t further) {
    Model *m = *out = PUSH(a, Model, 1);
    *m = (Model){
        .cfg = *c, .n_layers = c->L + further, .arena = a, .file_type = DTYPE_F32, .shape = true};
    params_build(m, a);
    for (int64_t i = 0; i < m->n_params; i++) m->param[i].w.type = DTYPE_F32;
}

/* One tensor at a time, and its file's pages go before the next is widened: the peak is the masters
 * and one tensor. */
void model_train(Model *m, Arena *a) {
    Arena *scratch = arena_open("widening", ARENA_NO_LIMIT);
    for (int64_t i = 0; i < m->n_params; i++) {
        Param *p = &m->param[i], from = *p;
        Mark mark = arena_mark(scratch);
        void *room = arena_push(scratch, param_row_bytes(p) * MAX(p->w.rows, 1));
        master_push(p, a);
        for (int64_t g = 0; g < p->w.n; g++) {
            Weight w = {.type = from.w.type, .n = 1, .rows = p->w.rows, .cols = p->w.cols};
            w.row = param_rows(&from, g * p->w.rows, p->w.rows, room);
            for (int64_t r = 0; r < p->w.rows; r++)
                weight_row(p->master + (g * p->w.rows + r) * p->w.cols, &w, 0, r);
        }
        param_drop(&from);
        arena_pop(scratch, mark);
    }
    arena_close(scratch);
}

/* The names and shapes are Hugging Face's, from the same table as the loader's, so a checkpoint
 * loads there and here. Experts that are stacked here are written one by one. */
bool model_save(const Model *m, Arena *scratch, CkptWriter *w, Err *err) {
    Config c = m->cfg;
    if (c.rope.factors)
        return err_set(err, ERR_UNSUPPORTED,
                       "a model whose rope frequencies come from a GGUF file's rope_freqs.weight "
                       "cannot be written: config.json has no place for them; train from the "
                       "Hugging Face folder of the model instead");
    c.mtp = m->n_layers - c.L;              /* those that were not opened are not kept */
    if (c.mla) c.recorded_mla = "expanded"; /* the form that training has */
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++) n += m->param[i].w.n;
    Tensor *t = PUSH(scratch, Tensor, n);
    n = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *p = &m->param[i];
        CHECK(p->master);
        bool vector = param_names(m, p).vector;
        for (int64_t g = 0; g < p->w.n; g++) {
            t[n] = (Tensor){.name = str_of(param_name(scratch, p, g)),
                            .type = DTYPE_F32,
                            .n_dims = vector ? 1 : 2,
                            .dim = {vector ? p->w.cols : p->w.rows, vector ? 0 : p->w.cols},
                            .data = p->master + g * p->w.rows * p->w.cols};
            t[n++].bytes = p->w.rows * p->w.cols * 4;
        }
    }
    return ckpt_put_json(w, "config.json", config_json(scratch, &c), err)
           && ckpt_put_tensors(w, "model.safetensors", t, n, err);
}
