/* folders.c -- Hugging Face folders as they are found: FP8 with a scale for each block, and other
 * spellings of names. Each is made here from a model of the reference data and must give the bits
 * of the plain folder with the same numbers. */
#define _DEFAULT_SOURCE
#include "tests.h"
#include <math.h>
#include <stdio.h>

enum { TOKENS = 24 };

/* ---- making folders -------------------------------------------------------------------------- */

typedef struct Folder {
    Arena *a;
    Tensor *t;
    int64_t n;
    Str config;
    char path[64];
} Folder;

/* All tensors of a model in one file, and its config.json. */
static Folder folder_of(Arena *a, const char *model) {
    Err err = {0};
    Store *s;
    const char *path = need_reference(a, str_fmt(a, "models/%s", model).p);
    must(store_open(&s, a, path, &err), &err);
    Folder f = {.a = a, .n = store_count(s), .t = PUSH(a, Tensor, 4 * store_count(s))};
    for (int64_t i = 0; i < f.n; i++) f.t[i] = *store_at(s, i);
    must(os_read(a, &f.config, str_fmt(a, "%s/config.json", path).p, 1 << 20, &err), &err);
    snprintf(f.path, sizeof f.path, "%s/lisao-folders-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(f.path));
    return f;
}

/* `more` stands before the members of config.json. */
static void folder_write(Folder *f, const char *more) {
    Err err = {0};
    const char *file = str_fmt(f->a, "%s/model.safetensors", f->path).p;
    must(safetensors_write(f->a, file, f->t, f->n, &err), &err);
    Str json = str_fmt(f->a, "{%s%.*s", more, (int)f->config.n - 1, f->config.p + 1);
    OutFile *o = os_create(f->a, str_fmt(f->a, "%s/config.json", f->path).p, &err);
    must(o && os_write(o, json.p, json.n, &err) && os_commit(o, &err), &err);
}

static void folder_remove(const Folder *f) {
    Err err = {0};
    must(os_remove(f->path, &err), &err);
}

static float *logits_of(Arena *a, const char *path, PlanSpec spec, DType type) {
    Opened o;
    int32_t ids[TOKENS];
    opened(&o, path, 2);
    assert_int_equal(o.model->file_type, type);
    planned(&o, spec);
    int64_t V = o.model->cfg.V;
    for (int32_t i = 0; i < TOKENS; i++) ids[i] = i * 41 % (int32_t)V;
    float *x = PUSH(a, float, TOKENS *V);
    memcpy(x, ran(&o, ids, TOKENS, 7, false).logits, (size_t)(TOKENS * V) * sizeof *x);
    closed(&o);
    return x;
}

/* Under f32 and a16, in both forms of MLA. */
static void same_logits(Arena *a, const char *one, DType type_one, const char *two,
                        DType type_two) {
    for (int i = 0; i < 4; i++) {
        PlanSpec spec = {.act = i & 1 ? ACT_A16 : ACT_F32,
                         .kv = i & 1 ? DTYPE_BF16 : DTYPE_F32,
                         .mla = i & 2 ? MLA_ABSORBED : MLA_EXPANDED};
        float *x = logits_of(a, one, spec, type_one), *y = logits_of(a, two, spec, type_two);
        assert_memory_equal(x, y, TOKENS * 320 * sizeof *x);
    }
}

/* ---- FP8 ------------------------------------------------------------------------------------- */

/* The nearest number of E4M3. */
static uint8_t nearest(float x) {
    uint8_t best = 0;
    for (int c = 0; c < 256; c++)
        if (fabsf(f32_of_e4m3((uint8_t)c) - x) < fabsf(f32_of_e4m3(best) - x)) best = (uint8_t)c;
    return best;
}

/* Matrix t as codes and scales behind all tensors of `fp8`, and its numbers in `plain`. */
static void quantise(Folder *fp8, Tensor *code, Tensor *plain, int64_t rows, int64_t cols,
                     DType scales) {
    Arena *a = fp8->a;
    int64_t n = code->dim[0], k = code->dim[1], down = (n + rows - 1) / rows,
            across = (k + cols - 1) / cols;
    const float *x = plain->data;
    float *scale = PUSH(a, float, down *across), *y = PUSH(a, float, n *k);
    uint8_t *c = PUSH(a, uint8_t, n * k);
    uint16_t *narrow = PUSH(a, uint16_t, down * across);
    for (int64_t i = 0; i < n * k; i++) {
        float *s = &scale[i / k / rows * across + i % k / cols];
        *s = fmaxf(*s, fabsf(x[i]) / 448);
    }
    for (int64_t i = 0; scales == DTYPE_BF16 && i < down * across; i++) {
        narrow[i] = bf16_of_f32(scale[i]);
        scale[i] = f32_of_bf16(narrow[i]);
    }
    for (int64_t i = 0; i < n * k; i++) {
        float s = scale[i / k / rows * across + i % k / cols];
        c[i] = nearest(x[i] / s);
        y[i] = f32_of_e4m3(c[i]) * s;
    }
    code->type = DTYPE_F8_E4M3, code->data = c, plain->data = y;
    fp8->t[fp8->n++] = (Tensor){.name = str_fmt(a, "%.*s_scale_inv", STRF(code->name)),
                                .type = scales,
                                .n_dims = 2,
                                .dim = {down, across},
                                .data = scales == DTYPE_BF16 ? (void *)narrow : scale};
}

/* Blocks that end raggedly in both directions, with scales in F32 (DeepSeek) and BF16 (Qwen).
 * Router, embedding and head stay as they are. */
static void test_fp8(void **state) {
    Arena *a = arena_open("folders", 1 << 28);
    Folder fp8 = folder_of(a, *state), plain = folder_of(a, *state);
    for (int64_t i = 0, n = fp8.n; i < n; i++) {
        Str name = fp8.t[i].name;
        if (str_ends(name, STR("_proj.weight")) || str_ends(name, STR("_mqa.weight")))
            quantise(&fp8, &fp8.t[i], &plain.t[i], 20, 12, i % 2 ? DTYPE_BF16 : DTYPE_F32);
    }
    folder_write(&fp8, "\"quantization_config\": {\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", "
                       "\"weight_block_size\": [20, 12]}, ");
    folder_write(&plain, "");
    same_logits(a, fp8.path, DTYPE_F8_E4M3, plain.path, DTYPE_F32);
    folder_remove(&fp8);
    folder_remove(&plain);
    arena_close(a);
}

static void fp8_fails(Folder *f, const char *more, const char *says) {
    Err err = {0};
    Store *s;
    Model *m;
    Arena *a = arena_open("folders", 1 << 26);
    folder_write(f, more);
    must(store_open(&s, a, f->path, &err), &err);
    assert_false(model_open(&m, a, s, &err));
    if (!strstr(err.msg, says)) fail_msg("the message\n  %s\nshould hold '%s'", err.msg, says);
    store_close(s);
    arena_close(a);
}

static void test_fp8_refused(void **state) {
    (void)state;
    const char *config = "\"quantization_config\": {\"quant_method\": \"fp8\", "
                         "\"weight_block_size\": [20, 12]}, ";
    Arena *a = arena_open("folders", 1 << 28);
    Folder f = folder_of(a, "llama-tiny"), plain = folder_of(a, "llama-tiny");
    int64_t at = 0;
    while (!str_ends(f.t[at].name, STR("layers.0.mlp.up_proj.weight"))) at++;
    quantise(&f, &f.t[at], &plain.t[at], 20, 12, DTYPE_F32);
    Tensor *scale = &f.t[f.n - 1];
    fp8_fails(&f, "", "up_proj.weight_scale_inv is not part of the model");
    scale->dim[1]++;
    scale->data = PUSH(a, float, scale->dim[0] * scale->dim[1]);
    fp8_fails(&f, config, "up_proj.weight_scale_inv: has the shape");
    scale->dim[1]--;
    scale->type = DTYPE_I32;
    fp8_fails(&f, config, "up_proj.weight_scale_inv: is of a type that is no weight's");
    f.n--;
    fp8_fails(&f, config, "up_proj.weight_scale_inv: is missing");
    folder_remove(&f);
    folder_remove(&plain);
    arena_close(a);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void test_names(void **state) {
    static const struct {
        const char *model, *outer, *inner;
        bool head_alone; /* a tied head under its own name, and no embedding */
    } cases[] = {
        {"llama-tiny", "_orig_mod.", "model.", false},
        {"deepseek-v3-tiny", "_orig_mod.", "model.", false},
        {"llama-tiny", "", "", false},
        {"deepseek-v3-tiny", "_orig_mod.", "", false},
        {"llama3-tiny", "", "model.", true},
        {"llama3-tiny", "_orig_mod.", "", true},
    };
    (void)state;
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Arena *a = arena_open("folders", 1 << 28);
        Folder f = folder_of(a, cases[i].model);
        for (int64_t k = 0; k < f.n; k++) {
            Str name = f.t[k].name, model = STR("model."), embed = STR("model.embed_tokens.weight");
            const char *inner = str_starts(name, model) ? cases[i].inner : "";
            int64_t skip = str_starts(name, model) ? model.n : 0;
            if (cases[i].head_alone && str_eq(name, embed))
                name = STR("lm_head.weight"), inner = "", skip = 0;
            f.t[k].name =
                str_fmt(a, "%s%s%.*s", cases[i].outer, inner, (int)(name.n - skip), name.p + skip);
        }
        folder_write(&f, "");
        const char *path = need_reference(a, str_fmt(a, "models/%s", cases[i].model).p);
        same_logits(a, f.path, DTYPE_F32, path, DTYPE_F32);
        folder_remove(&f);
        arena_close(a);
    }
}

int test_folders(void) {
    const struct CMUnitTest tests[] = {
        {"fp8 llama", test_fp8, NULL, NULL, (void *)(uintptr_t) "llama-tiny"},
        {"fp8 deepseek v3", test_fp8, NULL, NULL, (void *)(uintptr_t) "deepseek-v3-tiny"},
        cmocka_unit_test(test_fp8_refused),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("model folders", tests, NULL, NULL);
}
