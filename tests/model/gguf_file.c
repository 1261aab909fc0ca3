/* gguf_file.c -- see gguf_file.h. */
#define _DEFAULT_SOURCE
#include "gguf_file.h"
#include <math.h>
#include <stdio.h>

File file_new(Arena *a) { return (File){.a = a, .head.a = a, .infos.a = a, .data.a = a}; }

static void put(Buf *b, const void *p, int64_t n) { buf_add(b, (Str){p, n}); }
static void put_u32(Buf *b, uint32_t v) { put(b, &v, 4); }
static void put_u64(Buf *b, uint64_t v) { put(b, &v, 8); }
static void put_str(Buf *b, const char *s) {
    put_u64(b, strlen(s));
    put(b, s, (int64_t)strlen(s));
}

static bool key(File *f, const char *name, uint32_t type) {
    if (f->drop && !strcmp(name, f->drop)) return false;
    put_str(&f->head, name);
    put_u32(&f->head, type);
    f->n_keys++;
    return true;
}
void key_u32(File *f, const char *name, int64_t v) {
    if (f->swap && !strcmp(name, f->swap)) {
        if (key(f, name, 11)) put_u64(&f->head, (uint64_t)f->with);
    } else if (key(f, name, 4)) {
        put_u32(&f->head, (uint32_t)v);
    }
}
void key_f32(File *f, const char *name, double v) {
    float x = (float)v;
    if (key(f, name, 6)) put(&f->head, &x, 4);
}
void key_bool(File *f, const char *name, bool v) {
    if (key(f, name, 7)) put(&f->head, &v, 1);
}
void key_str(File *f, const char *name, const char *v) {
    if (key(f, name, 8)) put_str(&f->head, v);
}

static void align(const File *f, Buf *b) {
    while (b->n % (f->alignment ? f->alignment : 32)) put(b, "", 1);
}

/* A block of Q8_0 with the smallest power of two as its scale with which all numbers fit. */
static void put_q8(Buf *b, const float *x) {
    float most = 0;
    for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(x[i]));
    int e = 0;
    frexpf(most, &e);
    int step = MAX(e - 6, -14); /* most < 2^e; f16 has no smaller normal number than 2^-14 */
    uint16_t d = (uint16_t)((step + 15) << 10);
    put(b, &d, 2);
    for (int i = 0; i < 32; i++) {
        int8_t q = (int8_t)fmaxf(-127, fminf(127, rintf(ldexpf(x[i], -step))));
        put(b, &q, 1);
    }
}

/* The file has dimensions the other way round. */
void tensor(File *f, const char *name, const float *x, int n_dims, const int64_t *dim) {
    bool q8 = f->q8 && n_dims >= 2 && dim[n_dims - 1] % 32 == 0;
    int64_t n = 1;
    put_str(&f->infos, name);
    put_u32(&f->infos, (uint32_t)n_dims);
    for (int i = n_dims - 1; i >= 0; i--) put_u64(&f->infos, (uint64_t)dim[i]), n *= dim[i];
    put_u32(&f->infos, q8 ? 8 : 0); /* Q8_0 or F32 */
    put_u64(&f->infos, (uint64_t)f->data.n);
    for (int64_t i = 0; q8 && i < n; i += 32) put_q8(&f->data, x + i);
    if (!q8) put(&f->data, x, n * 4);
    align(f, &f->data);
    f->n_tensors++;
}

void file_write(File *f, const char *path) {
    Buf b = {.a = f->a};
    Err err = {0};
    put(&b, "GGUF", 4), put_u32(&b, 3);
    put_u64(&b, (uint64_t)f->n_tensors), put_u64(&b, (uint64_t)f->n_keys);
    buf_add(&b, buf_str(&f->head)), buf_add(&b, buf_str(&f->infos));
    align(f, &b);
    buf_add(&b, buf_str(&f->data));
    OutFile *o = os_create(f->a, path, &err);
    must(o && os_write(o, b.p, b.n, &err) && os_commit(o, &err), &err);
}

#define KEY(name) str_fmt(f->a, "%s." name, arch).p

static void keys_experts(File *f, const Config *c, const char *arch) {
    key_u32(f, KEY("expert_count"), c->E);
    key_u32(f, KEY("expert_used_count"), c->K);
    key_u32(f, KEY("expert_feed_forward_length"), c->F_moe);
}

static void keys_mla(File *f, const Config *c, bool split) {
    const char *arch = "deepseek2";
    if (c->Q) key_u32(f, KEY("attention.q_lora_rank"), c->Q);
    key_u32(f, KEY("attention.kv_lora_rank"), c->R);
    key_u32(f, KEY("attention.key_length"), split ? c->R + c->d_rope : c->D);
    key_u32(f, KEY("attention.value_length"), split ? c->R : c->d_v);
    if (split) key_u32(f, KEY("attention.key_length_mla"), c->D);
    if (split) key_u32(f, KEY("attention.value_length_mla"), c->d_v);
    key_u32(f, KEY("leading_dense_block_count"), c->first_dense);
    keys_experts(f, c, arch);
    key_u32(f, KEY("expert_shared_count"), c->shared);
    key_f32(f, KEY("expert_weights_scale"), (double)c->router.scale);
    key_bool(f, KEY("expert_weights_norm"), c->router.norm);
    if (c->router.groups) {
        key_u32(f, KEY("expert_group_count"), c->router.groups);
        key_u32(f, KEY("expert_group_used_count"), c->router.groups_used);
    }
    if (c->router.kind == ROUTER_SIGMOID) key_u32(f, KEY("expert_gating_func"), 2);
    if (c->rope.scaling != ROPE_YARN) return;
    key_str(f, KEY("rope.scaling.type"), "yarn");
    key_f32(f, KEY("rope.scaling.factor"), c->rope.factor);
    key_u32(f, KEY("rope.scaling.original_context_length"), (int64_t)c->rope.original);
    key_f32(f, KEY("rope.scaling.yarn_log_multiplier"), 0.1 * c->rope.mscale_all_dim);
}

void keys_write(File *f, const Config *c, bool split) {
    const char *arch = c->mla                          ? "deepseek2"
                       : c->family == FAMILY_QWEN3_MOE ? "qwen3moe"
                                                       : family_name(c->family);
    key_str(f, "general.architecture", arch);
    key_str(f, "general.name", "a test");
    key_u32(f, KEY("block_count"), c->L);
    key_u32(f, KEY("context_length"), c->max_positions);
    key_u32(f, KEY("embedding_length"), c->C);
    key_u32(f, KEY("feed_forward_length"), c->F);
    key_u32(f, KEY("attention.head_count"), c->H);
    key_u32(f, KEY("attention.head_count_kv"), c->mla && split ? 1 : c->G);
    key_f32(f, KEY("attention.layer_norm_rms_epsilon"), (double)c->eps);
    key_f32(f, KEY("rope.freq_base"), c->rope.theta);
    key_u32(f, KEY("rope.dimension_count"), c->rope.dim);
    key_u32(f, KEY("vocab_size"), c->V);
    key_u32(f, "tokenizer.ggml.eos_token_id", c->eos[0]);
    if (c->family == FAMILY_QWEN3 || c->family == FAMILY_QWEN3_MOE) {
        key_u32(f, KEY("attention.key_length"), c->D);
        key_u32(f, KEY("attention.value_length"), c->D);
    }
    if (c->family == FAMILY_QWEN3_MOE) keys_experts(f, c, arch);
    if (c->mla) keys_mla(f, c, split);
}

void temp_make(Temp *t, Arena *a) {
    snprintf(t->folder, sizeof t->folder, "%s/lisao-gguf-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(t->folder));
    t->path = str_fmt(a, "%s/model.gguf", t->folder).p;
}
void temp_remove(Temp *t) {
    Err err = {0};
    must(os_remove(t->folder, &err), &err);
}
