/* export.c -- a model's tensors as they stand in files: the table of weights.c read from the other
 * side.
 *
 * Parameters give their rows in canonical order, Hugging Face's (param_rows). In GGUF, rows of a
 * llama's q and k are interleaved within each head; and kv_b is two tensors, k_b with each head
 * transposed, and v_b (layer.h, Transform). */
#include "model/layer.h"

/* How rows of the result come from those of the parameter. */
enum { ROWS, DATA, INTERLEAVED, K_B, V_B };
enum { RANK_MAX = 8192 }; /* of kv_lora_rank (config.c) */

/* ---- the list -------------------------------------------------------------------------------- */

typedef struct List {
    const Model *m;
    Arena *a;
    Export *out; /* NULL: only counted */
    int64_t n;
    bool gguf;
} List;

/* The type of its numbers in the file; kv_b may have been gathered from two tensors as f32. */
static DType type_in_file(const Param *p) {
    bool split = !p->w.row && p->source && p->source->transform == SPLIT_KV;
    return split ? p->source->part[0].type : p->w.type;
}

/* The next one, of n_dims dimensions; its rows are those of p from `first` on. */
static Export *list_add(List *l, const Param *p, Str name, int n_dims, const int64_t *dim) {
    Export *e = l->out ? &l->out[l->n] : NULL;
    l->n++;
    if (!e) return NULL;
    DType type = type_in_file(p);
    bool same = type_written(type) && writer_has(l->gguf ? WRITE_GGUF : WRITE_SAFETENSORS, type);
    *e = (Export){.from = p->w.type, .f32 = p->f32, .step = 1, .param = p, .piece = ROWS};
    e->t = (Tensor){.name = name, .n_dims = n_dims, .type = same ? type : DTYPE_F32};
    if (l->gguf && p->f32) e->t.type = DTYPE_F32;
    memcpy(e->t.dim, dim, (size_t)n_dims * sizeof *dim);
    e->cols = dim[n_dims - 1];
    e->rows = tensor_elements(&e->t) / e->cols;
    return e;
}

/* Hugging Face has experts one by one. */
static void list_hf(List *l, const Param *p, bool vector) {
    int64_t dim[2] = {p->w.rows, p->w.cols};
    for (int64_t i = 0; i < p->w.n; i++) {
        Str name = l->out ? str_of(param_name(l->a, p, i)) : (Str){0};
        Export *e = list_add(l, p, name, vector ? 1 : 2, dim + vector);
        if (e) e->first = i * p->w.rows;
    }
}

static void list_kv_b(List *l, const Param *p, const char *prefix) {
    const Config *c = &l->m->cfg;
    Str k_b = str_fmt(l->a, "%sattn_k_b.weight", prefix),
        v_b = str_fmt(l->a, "%sattn_v_b.weight", prefix);
    Export *k = list_add(l, p, k_b, 3, (int64_t[]){c->H, c->R, c->d_nope});
    Export *v = list_add(l, p, v_b, 3, (int64_t[]){c->H, c->d_v, c->R});
    if (k) k->piece = K_B, k->from = DTYPE_F32, k->step = c->R;
    if (v) v->piece = V_B;
}

static void list_gguf(List *l, const Param *p) {
    Names names = param_names(l->m, p);
    const char *prefix = p->layer < 0 ? "" : str_fmt(l->a, "blk.%lld.", (long long)p->layer).p;
    if (names.transform == SPLIT_KV) return list_kv_b(l, p, prefix);
    int n_dims = names.expert ? 3 : names.vector ? 1 : 2;
    int64_t dim[3] = {p->w.n, p->w.rows, p->w.cols};
    Str name = str_fmt(l->a, "%s%s%s", prefix, names.gguf, names.suffix);
    Export *e = list_add(l, p, name, n_dims, dim + 3 - n_dims);
    if (e && names.transform == PERMUTED) e->piece = INTERLEAVED, e->step = l->m->cfg.D;
}

/* llama.cpp has no numbers of llama3's scaling: what each frequency is divided by stands in a
 * tensor. */
static void list_frequencies(List *l) {
    const RopeConfig *rope = &l->m->cfg.rope;
    if (!l->gguf || (rope->scaling != ROPE_LLAMA3 && !rope->factors)) return;
    Export *e = l->out ? &l->out[l->n] : NULL;
    l->n++;
    if (!e) return;
    int64_t n = rope->dim / 2;
    double *scaled = PUSH(l->a, double, n), *plain = PUSH(l->a, double, n), factor;
    float *divisor = PUSH(l->a, float, n);
    RopeConfig without = *rope;
    without.scaling = ROPE_PLAIN, without.factors = NULL;
    rope_inv_freq(scaled, &factor, rope);
    rope_inv_freq(plain, &factor, &without);
    for (int64_t i = 0; i < n; i++) divisor[i] = (float)(plain[i] / scaled[i]);
    Tensor t = {.name = STR("rope_freqs.weight"), .n_dims = 1, .dim = {n}, .data = divisor};
    *e = export_of_tensor(&t);
    e->f32 = true;
}

static void list_walk(List *l) {
    l->n = 0;
    list_frequencies(l);
    for (int64_t i = 0; i < l->m->n_params; i++) {
        const Param *p = &l->m->param[i];
        if (l->gguf)
            list_gguf(l, p);
        else
            list_hf(l, p, param_names(l->m, p).vector);
    }
}

int64_t model_exports(Export **out, Arena *a, const Model *m, bool gguf) {
    List l = {.m = m, .a = a, .gguf = gguf};
    list_walk(&l);
    l.out = *out = PUSH(a, Export, l.n);
    list_walk(&l);
    return l.n;
}

Export export_of_tensor(const Tensor *t) {
    Export e = {.t = *t, .from = t->type, .step = 1, .piece = DATA};
    e.cols = t->n_dims ? t->dim[t->n_dims - 1] : 1;
    e.rows = tensor_elements(t) / MAX(e.cols, 1);
    return e;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Rows of the parameter in canonical order; they may reach over several of its matrices. */
static const void *param_rows_any(const Param *p, int64_t row, int64_t n, uint8_t *scratch) {
    int64_t bytes = param_row_bytes(p);
    if (row / p->w.rows == (row + n - 1) / p->w.rows) return param_rows(p, row, n, scratch);
    for (int64_t i = 0, step; i < n; i += step) {
        step = MIN(n - i, p->w.rows - (row + i) % p->w.rows);
        const void *from = param_rows(p, row + i, step, scratch + i * bytes);
        if (from != scratch + i * bytes) memcpy(scratch + i * bytes, from, (size_t)(step * bytes));
    }
    return scratch;
}

static void row_copy(uint8_t *to, const Param *p, int64_t row) {
    const void *from = param_rows(p, row, 1, to);
    if (from != to) memcpy(to, from, (size_t)param_row_bytes(p));
}

/* Row 2j + b of a head is canonical row b * D/2 + j. */
static void rows_interleaved(const Export *e, int64_t row, int64_t n, uint8_t *to) {
    int64_t D = e->step, half = D / 2, bytes = param_row_bytes(e->param);
    for (int64_t i = 0; i < n; i++, row++) {
        int64_t at = row % D;
        row_copy(to + i * bytes, e->param, row - at + at % 2 * half + at / 2);
    }
}

/* Rows of whole heads: row h R + r has number r of each of the head's n rows of W_UK. */
static void rows_k_b(const Export *e, int64_t row, int64_t n, float *to) {
    const Param *p = e->param;
    int64_t R = e->step, nope = e->cols, head = p->w.rows / e->t.dim[0];
    float x[RANK_MAX], raw[RANK_MAX];
    CHECK(R <= RANK_MAX && row % R == 0 && n % R == 0);
    for (int64_t i = 0; i < n; i += R)
        for (int64_t j = 0; j < nope; j++) {
            Weight w = {.type = p->w.type, .n = 1, .rows = 1, .cols = R};
            w.row = param_rows(p, (row + i) / R * head + j, 1, raw);
            weight_row(x, &w, 0, 0);
            for (int64_t r = 0; r < R; r++) to[(i + r) * nope + j] = x[r];
        }
}

/* Row h v + i of W_UV stands behind the n rows of W_UK of its head. */
static void rows_v_b(const Export *e, int64_t row, int64_t n, uint8_t *to) {
    int64_t v = e->t.dim[1], head = e->param->w.rows / e->t.dim[0];
    for (int64_t i = 0; i < n; i++, row++)
        row_copy(to + i * param_row_bytes(e->param), e->param, row / v * head + head - v + row % v);
}

const void *export_rows(const Export *e, int64_t row, int64_t n, void *scratch) {
    CHECK(row >= 0 && n >= 1 && row + n <= e->rows);
    switch (e->piece) {
    case DATA: return (const uint8_t *)e->t.data + row * dtype_bytes(e->from, e->cols);
    case INTERLEAVED: rows_interleaved(e, row, n, scratch); return scratch;
    case K_B: rows_k_b(e, row, n, scratch); return scratch;
    case V_B: rows_v_b(e, row, n, scratch); return scratch;
    default: return param_rows_any(e->param, e->first + row, n, scratch);
    }
}

void export_drop(const Export *e) {
    if (e->param) param_drop(e->param);
}
