/* load.c -- from the tensors of an opened file to the parameters of a model. Data stays where it
 * is mapped; only vectors (norms, biases), which are small, are widened to f32.
 *
 * Invariants: every parameter has a tensor of its shape and of a type that kern can pack; every
 * tensor of the file has been taken by a parameter or is one of those known to be left out. So
 * nothing that the file says is lost unseen. */
#include "model/layer.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct Loader {
    Model *m;
    Arena *a;
    const Store *store;
    bool gguf;
    const char *outer, *inner; /* before all names of a folder; instead of "model." in them */
    const Tensor **taken;
    int64_t n_taken; /* room for all tensors of the store */
    Err *err;
} Loader;

static bool wrong(Loader *o, const char *name, const char *what) {
    return err_set(o->err, ERR_FORMAT, "%s: tensor %s: %s", store_path(o->store), name, what);
}

/* Folders of a compiled module begin all names with "_orig_mod.", those of a model without its head
 * leave "model." away. */
static void spelling_find(Loader *o) {
    static const char *const outer[] = {"", "_orig_mod."}, *const inner[] = {"model.", ""};
    for (int i = 3; i >= 0; i--) {
        const char *out = outer[i / 2], *in = inner[i % 2];
        Str first = str_fmt(o->a, "%s%slayers.0.input_layernorm.weight", out, in);
        if (i > 0 && !store_find(o->store, first)) continue;
        o->outer = out, o->inner = in;
        return;
    }
}

/* The file's spelling of Hugging Face's name. */
static Str spelled(Loader *o, const char *name) {
    Str model = STR("model."), n = str_of(name);
    if (o->gguf) return n;
    if (!str_starts(n, model)) return str_fmt(o->a, "%s%s", o->outer, name);
    return str_fmt(o->a, "%s%s%s", o->outer, o->inner, name + model.n);
}

/* The tensor that the file has under `name`, or under the other name of a tied matrix. */
static const Tensor *find(Loader *o, const char *name) {
    const Tensor *t = store_find(o->store, spelled(o, name));
    const Param *embed = o->m->embed;
    if (t || o->gguf || !o->m->cfg.tied || strcmp(name, embed->name)) return t;
    return store_find(o->store, spelled(o, "lm_head.weight")); /* a tied head under its own name */
}

/* find, and the tensor counts as used (surplus_refuse). */
static const Tensor *take(Loader *o, const char *name) {
    const Tensor *t = find(o, name);
    if (t) {
        CHECK(o->n_taken < store_count(o->store));
        o->taken[o->n_taken++] = t;
    }
    return t;
}

/* The tensor `name` of the shape dim (n_dims of them; unused leading ones are given as n_dims
 * smaller). */
static const Tensor *take_shaped(Loader *o, const char *name, int n_dims, const int64_t *dim) {
    const Tensor *t = take(o, name);
    if (!t) return (void)wrong(o, name, "is missing"), NULL;
    bool fits = t->n_dims == n_dims;
    for (int i = 0; fits && i < n_dims; i++) fits = t->dim[i] == dim[i];
    if (!fits) {
        Tensor want = {.n_dims = n_dims};
        memcpy(want.dim, dim, (size_t)n_dims * sizeof *dim);
        char what[160];
        Str has = tensor_shape(o->a, t), wants = tensor_shape(o->a, &want);
        snprintf(what, sizeof what, "has the shape %.*s where the configuration asks for %.*s",
                 STRF(has), STRF(wants));
        return (void)wrong(o, name, what), NULL;
    }
    if (!dtype_is_weight(t->type))
        return (void)wrong(o, name, "is of a type that is no weight's"), NULL;
    return t;
}

/* ---- one parameter --------------------------------------------------------------------------- */

/* Rows that stand as they are read are pointed to; for the others a RowSource says where the parts
 * are and how rows are made of them when they are packed (layer.h). */
static void part_put(RowSource *s, const Tensor *t) {
    s->part[s->n_parts++] = (Part){t->data, t->bytes, t->type};
}

static RowSource *source_push(Loader *o, Param *p, Transform transform, int64_t parts) {
    RowSource *s = PUSH(o->a, RowSource, 1);
    s->transform = transform;
    s->part = PUSH(o->a, Part, parts);
    p->source = s;
    return s;
}

/* The scales of an FP8 matrix, in f32: one for each block, at the edges for less than one. */
static bool take_scales(Loader *o, Param *p, const char *name, Part *part) {
    const Config *c = &o->m->cfg;
    const char *scale = str_fmt(o->a, "%s_scale_inv", name).p;
    int64_t rows = (p->w.rows + c->fp8_rows - 1) / c->fp8_rows;
    int64_t cols = (p->w.cols + c->fp8_cols - 1) / c->fp8_cols;
    const Tensor *t = take_shaped(o, scale, 2, (int64_t[]){rows, cols});
    if (!t) return false;
    *part = (Part){t->data, t->bytes, DTYPE_F32};
    if (t->type == DTYPE_F32) return true;
    float *x = PUSH(o->a, float, rows *cols);
    Weight w = {.type = t->type, .n = 1, .rows = rows, .cols = cols, .row = t->data};
    for (int64_t r = 0; r < rows; r++) weight_row(x + r * cols, &w, 0, r);
    *part = (Part){x, rows * cols * 4, DTYPE_F32};
    return true;
}

static bool is_scaled(const Loader *o, const Tensor *t) {
    return o->m->cfg.fp8_rows && (t->type == DTYPE_F8_E4M3 || t->type == DTYPE_F8_E5M2);
}

/* One matrix or, in Hugging Face's files, experts one by one. */
static bool take_matrices(Loader *o, Param *p, const Tensor *first) {
    bool scaled = is_scaled(o, first);
    RowSource *s = source_push(o, p, scaled ? SCALED : SAME, p->w.n * (scaled ? 2 : 1));
    s->block[0] = o->m->cfg.fp8_rows, s->block[1] = o->m->cfg.fp8_cols;
    for (int64_t i = 0; i < p->w.n; i++) {
        const char *name = param_name(o->a, p, i);
        const Tensor *t = take_shaped(o, name, 2, (int64_t[]){p->w.rows, p->w.cols});
        if (!t) return false;
        if (i && t->type != s->part[0].type)
            return wrong(o, name, "is of another type than the experts before it");
        part_put(s, t);
        if (!scaled) continue;
        if (!take_scales(o, p, name, &s->part[s->n_parts++])) return false;
    }
    p->w.type = scaled ? DTYPE_F32 : s->part[0].type;
    return true;
}

/* llama.cpp's newer files hold kv_b in two tensors, k_b with each head transposed, ready for the
 * absorbed form. */
static bool take_split_kv(Loader *o, Param *p, const char *prefix) {
    const Config *c = &o->m->cfg;
    const Tensor *k = take_shaped(o, str_fmt(o->a, "%sattn_k_b.weight", prefix).p, 3,
                                  (int64_t[]){c->H, c->R, c->d_nope});
    if (!k) return false;
    const Tensor *v = take_shaped(o, str_fmt(o->a, "%sattn_v_b.weight", prefix).p, 3,
                                  (int64_t[]){c->H, c->d_v, c->R});
    if (!v) return false;
    RowSource *s = source_push(o, p, SPLIT_KV, 2);
    s->head = c->d_nope + c->d_v, s->nope = c->d_nope, s->rank = c->R;
    part_put(s, k);
    part_put(s, v);
    p->w.type = DTYPE_F32; /* gathered rows are dequantised: kv_b is never a8 */
    return true;
}

/* Norms and biases are f32 in every format, whatever type the file has. */
static void widen_vector(Loader *o, Param *p) {
    float *x = PUSH(o->a, float, p->w.cols);
    weight_row(x, &p->w, 0, 0);
    p->w.row = x;
    p->w.type = DTYPE_F32;
    p->store = NULL;
}

/* The ways in which a file may hold a parameter, the most special first: experts one by one or FP8
 * with scales (folders), kv_b in halves, rows interleaved for the other form of rope, a plain
 * tensor. */
static bool param_load(Loader *o, Param *p) {
    p->store = o->store;
    Names names = param_names(o->m, p);
    const char *prefix = p->layer < 0 ? "" : str_fmt(o->a, "blk.%lld.", (long long)p->layer).p;
    const char *name = p->name;
    if (o->gguf) name = str_fmt(o->a, "%s%s%s", prefix, names.gguf, names.suffix).p;
    const Tensor *one = o->gguf ? NULL : find(o, param_name(o->a, p, 0));
    if (!o->gguf && (names.expert || (one && is_scaled(o, one)))) {
        if (one && p == o->m->embed && is_scaled(o, one))
            return wrong(o, name, "is an embedding in FP8 with scales, which is not supported");
        if (!one) return wrong(o, param_name(o->a, p, 0), "is missing");
        return take_matrices(o, p, one);
    }
    if (names.transform == SPLIT_KV && o->gguf && !store_find(o->store, str_of(name)))
        return take_split_kv(o, p, prefix);

    int n_dims = names.expert ? 3 : names.vector ? 1 : 2;
    int64_t dim[3] = {p->w.n, p->w.rows, p->w.cols};
    const Tensor *t = take_shaped(o, name, n_dims, dim + 3 - n_dims);
    if (!t) return false;
    p->w.type = t->type;
    if (names.transform == PERMUTED && o->gguf) {
        RowSource *s = source_push(o, p, PERMUTED, 1);
        s->head = o->m->cfg.D;
        part_put(s, t);
        return true;
    }
    p->w.row = t->data;
    if (names.vector) widen_vector(o, p);
    return true;
}

/* ---- what is left ---------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b) {
    uintptr_t x = (uintptr_t) * (const Tensor *const *)a,
              y = (uintptr_t) * (const Tensor *const *)b;
    return (x > y) - (x < y);
}

/* Positions are below 2^28, and sines are known below 2^30. */
static const float ROPE_FACTOR_MIN = 0.25f;

/* The frequencies that a GGUF file of Llama 3 brings along. */
static bool take_rope_factors(Loader *o) {
    RopeConfig *r = &o->m->cfg.rope;
    const char *name = "rope_freqs.weight";
    if (!o->gguf || o->m->cfg.mla || r->scaling != ROPE_PLAIN
        || !store_find(o->store, str_of(name)))
        return true;
    const Tensor *t = take_shaped(o, name, 1, (int64_t[]){r->dim / 2});
    if (!t) return false;
    float *x = PUSH(o->a, float, r->dim / 2);
    Weight w = {.type = t->type, .n = 1, .rows = 1, .cols = r->dim / 2, .row = t->data};
    weight_row(x, &w, 0, 0);
    for (int64_t j = 0; j < r->dim / 2; j++)
        if (!(x[j] >= ROPE_FACTOR_MIN && x[j] < 1e6f))
            return wrong(o, name, "holds what is no factor");
    r->factors = x;
    rope_recognise(r);
    return true;
}

/* Tensors that may be there without being read: layers that predict further tokens, a copy of a
 * tied embedding, the rope frequencies that old checkpoints carry, and those of no numbers, as
 * transformers writes for no shared experts. */
static bool left_out(Loader *o, const Tensor *t) {
    const Config *c = &o->m->cfg;
    const Str name = t->name;
    static const char *const copies[] = {".embed_tokens.weight", ".shared_head.head.weight",
                                         ".shared_head_head.weight"};
    Str layers = o->gguf ? STR("blk.") : spelled(o, "model.layers."), at = {0};
    if (c->tied && str_eq(name, spelled(o, "lm_head.weight"))) return true;
    if (str_ends(name, STR(".rotary_emb.inv_freq"))) return true;
    if (tensor_elements(t) == 0) return true;
    if (!str_starts(name, layers)) return false;
    at = (Str){name.p + layers.n, 0};
    while (at.n < name.n - layers.n && at.p[at.n] != '.') at.n++;
    int64_t layer;
    if (!str_i64(at, &layer) || layer < c->L || layer >= c->L + c->mtp) return false;
    bool copy = false; /* of the model's embedding or head */
    for (int64_t i = 0; i < COUNT(copies); i++) copy |= str_ends(name, str_of(copies[i]));
    return copy || layer >= o->m->n_layers;
}

/* A bias or norm that is not in the family's table would change every answer if it were passed
 * over. */
static bool surplus_refuse(Loader *o) {
    qsort(o->taken, (size_t)o->n_taken, sizeof *o->taken, by_address);
    for (int64_t i = 0; i < store_count(o->store); i++) {
        const Tensor *t = store_at(o->store, i);
        if (bsearch(&t, o->taken, (size_t)o->n_taken, sizeof t, by_address) || left_out(o, t))
            continue;
        return err_set(o->err, ERR_UNSUPPORTED,
                       "%s: tensor %.*s is not part of the model that the configuration describes; "
                       "running without it would give other answers",
                       t->file, STRF(t->name));
    }
    return true;
}

/* The type that most numbers of the matrices have. It decides formats, and so bits: layers that
 * predict further tokens have no say in it. */
static DType main_type(const Model *m) {
    int64_t count[DTYPE_N] = {0};
    DType best = DTYPE_F32;
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *p = &m->param[i];
        if (p->f32 || p->layer >= m->cfg.L) continue;
        DType t = p->source && p->source->transform == SCALED ? p->source->part[0].type : p->w.type;
        count[t] += p->count;
        if (count[t] > count[best]) best = t;
    }
    return best;
}

int64_t model_mtp_held(const Store *s, const Config *c) {
    if (!c->mtp) return 0;
    Arena *a = arena_open("names", 1 << 20);
    Loader o = {.a = a, .store = s, .gguf = store_kind(s) == STORE_GGUF};
    spelling_find(&o);
    Str name = str_fmt(a, "blk.%lld.nextn.eh_proj.weight", (long long)c->L);
    if (!o.gguf)
        name = spelled(&o, str_fmt(a, "model.layers.%lld.eh_proj.weight", (long long)c->L).p);
    const bool held = store_find(s, name);
    arena_close(a);
    return held ? c->mtp : 0;
}

/* mtp: how many of the layers that predict further tokens are opened too (mtp.c). */
bool model_open_mtp(Model **out, Arena *a, const Store *s, int64_t mtp, Err *err) {
    Model *m = PUSH(a, Model, 1);
    m->arena = a;
    if (!config_read(&m->cfg, s, err)) return false;
    if (mtp > m->cfg.mtp)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: asked for %lld layers that predict further tokens, the model has %lld",
                       store_path(s), (long long)mtp, (long long)m->cfg.mtp);
    m->n_layers = m->cfg.L + mtp;
    params_build(m, a);
    Loader o = {.m = m, .a = a, .store = s, .gguf = store_kind(s) == STORE_GGUF, .err = err};
    o.taken = PUSH(a, const Tensor *, store_count(s) + 1);
    spelling_find(&o);
    for (int64_t i = 0; i < m->n_params; i++)
        if (!param_load(&o, &m->param[i])) return false;
    if (!take_rope_factors(&o) || !surplus_refuse(&o)) return false;
    m->file_type = main_type(m);
    *out = m;
    return true;
}

bool model_open(Model **m, Arena *a, const Store *s, Err *err) {
    return model_open_mtp(m, a, s, 0, err);
}
