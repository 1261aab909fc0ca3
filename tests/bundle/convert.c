/* convert.c -- models written in other formats and types: which type each tensor gets, what is
 * refused, what a failure leaves behind. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include "bundle/bundle.h"
#include "support/need.h"
#include "tests.h"

typedef struct Place {
    Arena *a;
    Team *team;
    char folder[64];
} Place;

static int place_open(void **state) {
    Place *p = calloc(1, sizeof *p);
    p->a = arena_open("test", ARENA_NO_LIMIT);
    Err err = {0};
    must(kern_init(LEVEL_N, &err), &err);
    p->team = team_open(2);
    snprintf(p->folder, sizeof p->folder, "%s/lisao-convert-XXXXXX", P_tmpdir);
    *state = p;
    return mkdtemp(p->folder) == NULL;
}

static int place_close(void **state) {
    Place *p = *state;
    tree_remove(p->a, p->folder);
    team_close(p->team);
    arena_close(p->a);
    free(p);
    return 0;
}

static const char *in(Place *p, const char *name) {
    return str_fmt(p->a, "%s/%s", p->folder, name).p;
}

static int64_t entries(Place *p) {
    Err err = {0};
    Str *name;
    int64_t n;
    must(os_list(p->a, &name, &n, p->folder, &err), &err);
    return n;
}

static void text_put(Place *p, const char *name, const char *text) {
    Err err = {0};
    OutFile *f = os_create(p->a, in(p, name), &err);
    must(f && os_write(f, text, (int64_t)strlen(text), &err) && os_commit(f, &err), &err);
}

/* ---- types ----------------------------------------------------------------------------------- */

static const char shape[] =
    "{\"model_type\": \"llama\", \"hidden_size\": %d, \"intermediate_size\": 512, "
    "\"num_hidden_layers\": 16, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
    "\"rms_norm_eps\": 1e-5, \"max_position_embeddings\": 64, \"vocab_size\": 64, "
    "\"tie_word_embeddings\": %s, \"bos_token_id\": 0, \"eos_token_id\": 1}";

static void synth(Place *p, int width, bool tied, const char *type, const char *const *rules,
                  int64_t n_rules) {
    Err err = {0};
    SynthSpec s = {.convert = {.type = type, .rule = rules, .n_rules = n_rules}, .seed = 1};
    text_put(p, "config.json", str_fmt(p->a, shape, width, tied ? "true" : "false").p);
    must(bundle_synth(p->a, in(p, "config.json"), in(p, "m.gguf"), &s, p->team, &err), &err);
}

static void type_is(Place *p, const char *tensor, DType type) {
    Err err = {0};
    Store *s;
    must(store_open(&s, p->a, in(p, "m.gguf"), &err), &err);
    const Tensor *t = store_find(s, str_of(tensor));
    assert_non_null(t);
    if (t->type != type)
        fail_msg("%s is %s, not %s", tensor, dtype_name(t->type), dtype_name(type));
    store_close(s);
}

/* As llama.cpp's quantiser chooses (tests/peers/convert.py holds every tensor against it). */
static void types(void **state) {
    Place *p = *state;
    synth(p, 256, false, "q4_k_m", NULL, 0);
    type_is(p, "blk.0.attn_v.weight", DTYPE_Q6_K);
    type_is(p, "blk.2.ffn_down.weight", DTYPE_Q4_K);
    type_is(p, "blk.4.ffn_down.weight", DTYPE_Q6_K);
    type_is(p, "blk.15.attn_v.weight", DTYPE_Q6_K);
    type_is(p, "blk.4.attn_k.weight", DTYPE_Q4_K);
    type_is(p, "output.weight", DTYPE_Q6_K);
    type_is(p, "token_embd.weight", DTYPE_Q4_K);
    type_is(p, "blk.0.attn_norm.weight", DTYPE_F32);
    synth(p, 256, true, "q4_0", NULL, 0);
    type_is(p, "token_embd.weight", DTYPE_Q6_K);
    type_is(p, "blk.0.attn_q.weight", DTYPE_Q4_0);
    synth(p, 96, true, "q4_k", NULL, 0); /* no multiple of 256 */
    type_is(p, "token_embd.weight", DTYPE_Q8_0);
    type_is(p, "blk.0.attn_q.weight", DTYPE_Q5_0);
    type_is(p, "blk.0.ffn_down.weight", DTYPE_Q4_K);
    synth(p, 96, true, "q5_k", NULL, 0);
    type_is(p, "blk.0.attn_q.weight", DTYPE_Q5_1);
    synth(p, 96, true, "q6_k", NULL, 0);
    type_is(p, "blk.0.attn_q.weight", DTYPE_Q8_0);
    synth(p, 40, true, "q8_0", NULL, 0); /* nor of 32 */
    type_is(p, "blk.0.attn_q.weight", DTYPE_F16);
    static const char *const rules[] = {"attn_.*=q8_0", "^blk\\.(0|1)\\.attn_q=f32"};
    synth(p, 256, true, "q4_1", rules, 2);
    type_is(p, "blk.0.attn_q.weight", DTYPE_F32);
    type_is(p, "blk.2.attn_q.weight", DTYPE_Q8_0);
    type_is(p, "blk.0.attn_norm.weight", DTYPE_F32);
    type_is(p, "blk.0.ffn_up.weight", DTYPE_Q4_1);
}

/* ---- layers that predict further tokens ------------------------------------------------------ */

static void converts(Place *p, const char *from, const char *to, bool mtp) {
    Err err = {0};
    ConvertSpec s = {.mtp = mtp};
    must(bundle_convert(p->a, from, in(p, to), &s, p->team, &err), &err);
}

/* Every tensor of `want` but copies of embedding and head is in `path` with the same bytes. */
static void holds_all(Place *p, const char *path, const char *want) {
    Err err = {0};
    Store *got, *from;
    must(store_open(&got, p->a, path, &err) && store_open(&from, p->a, want, &err), &err);
    for (int64_t i = 0; i < store_count(from); i++) {
        const Tensor *t = store_at(from, i), *u = store_find(got, t->name);
        if (str_ends(t->name, STR("layers.3.embed_tokens.weight"))
            || str_ends(t->name, STR("shared_head.head.weight")))
            continue;
        if (!u || u->bytes != t->bytes || memcmp(u->data, t->data, (size_t)t->bytes) != 0)
            fail_msg("%.*s is not in %s as it was", STRF(t->name), path);
    }
    store_close(got), store_close(from);
}

static void opens_with(Place *p, const char *path, int64_t mtp) {
    Err err = {0}, more = {0};
    Store *s;
    Model *m;
    must(store_open(&s, p->a, path, &err), &err);
    must(model_open_mtp(&m, p->a, s, mtp, &err), &err);
    assert_int_equal(m->cfg.mtp, mtp);
    assert_int_equal(m->n_layers, m->cfg.L + mtp);
    assert_false(model_open_mtp(&m, p->a, s, mtp + 1, &more));
    for (int64_t i = 0; i < store_count(s) && mtp == 0; i++) {
        assert_false(
            str_starts(store_at(s, i)->name, str_fmt(p->a, "blk.%lld.", (long long)m->cfg.L)));
        assert_false(str_starts(store_at(s, i)->name,
                                str_fmt(p->a, "model.layers.%lld.", (long long)m->cfg.L)));
    }
    store_close(s);
}

/* Only on request, in every direction, and then nothing of them is lost. */
static void further_layers(void **state) {
    Place *p = *state;
    const char *from = need_reference(p->a, "models/deepseek-v3-mtp-tiny");
    converts(p, from, "with.gguf", true);
    converts(p, from, "without.gguf", false);
    converts(p, in(p, "with.gguf"), "kept.gguf", true);
    converts(p, in(p, "with.gguf"), "dropped.gguf", false);
    converts(p, in(p, "kept.gguf"), "folder", true);
    converts(p, in(p, "with.gguf"), "folder-without", false);
    converts(p, from, "folder-to-folder", true);
    opens_with(p, in(p, "with.gguf"), 1);
    opens_with(p, in(p, "without.gguf"), 0);
    opens_with(p, in(p, "kept.gguf"), 1);
    opens_with(p, in(p, "dropped.gguf"), 0);
    opens_with(p, in(p, "folder"), 1);
    opens_with(p, in(p, "folder-without"), 0);
    holds_all(p, in(p, "folder"), from);
    holds_all(p, in(p, "folder-to-folder"), from);
    holds_all(p, in(p, "with.gguf"), in(p, "without.gguf"));
    holds_all(p, in(p, "dropped.gguf"), in(p, "without.gguf"));
    /* What has none is not asked for them. */
    static const char *const none[] = {"dropped.gguf", "folder-without"};
    static const char *const to[] = {"no.gguf", "no"};
    for (int i = 0; i < 4; i++) {
        Err err = {0};
        ConvertSpec s = {.mtp = true};
        assert_false(bundle_convert(p->a, in(p, none[i / 2]), in(p, to[i % 2]), &s, p->team, &err));
        assert_non_null(strstr(err.msg, "no layers that predict further tokens"));
    }
}

/* ---- failures -------------------------------------------------------------------------------- */

static void fails(Place *p, const char *from, const char *to, const char *type, const char *piece) {
    Err err = {0};
    ConvertSpec s = {.type = type};
    int64_t before = entries(p);
    assert_false(bundle_convert(p->a, from, in(p, to), &s, p->team, &err));
    if (!strstr(err.msg, piece)) fail_msg("\"%s\" has no \"%s\"", err.msg, piece);
    assert_int_equal(entries(p), before);
}

/* One number of a matrix is no number. */
static void not_a_number(void **state) {
    Place *p = *state;
    Err err = {0};
    const char *from = need_reference(p->a, "models/llama-tiny"), *name = "model.norm.weight";
    Str config, bytes;
    Store *s;
    must(os_read(p->a, &config, str_fmt(p->a, "%s/config.json", from).p, 1 << 20, &err), &err);
    must(os_read(p->a, &bytes, str_fmt(p->a, "%s/model.safetensors", from).p, 1 << 24, &err), &err);
    must(store_open(&s, p->a, from, &err), &err);
    const Tensor *first = store_at(s, 0),
                 *v = store_find(s, STR("model.layers.0.self_attn.v_proj.weight"));
    assert_non_null(store_find(s, str_of(name)));
    int64_t data = 8 + (int64_t) * (const uint64_t *)(const void *)bytes.p;
    int64_t at = data + ((const char *)v->data - (const char *)first->data) + 4 * 777;
    memcpy((char *)(uintptr_t)bytes.p + at, &(float){NAN}, 4);
    store_close(s);
    must(os_mkdir(in(p, "nan"), &err), &err);
    text_put(p, "nan/config.json", config.p);
    OutFile *f = os_create(p->a, in(p, "nan/model.safetensors"), &err);
    must(f && os_write(f, bytes.p, bytes.n, &err) && os_commit(f, &err), &err);
    static const char *const kinds[] = {"f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k"};
    for (int64_t i = 0; i < COUNT(kinds); i++)
        fails(p, in(p, "nan"), "x.gguf", kinds[i], "blk.0.attn_v.weight");
    fails(p, in(p, "nan"), "x", "f16", "model.layers.0.self_attn.v_proj.weight");
}

static void whole_remove(Place *p, const char *name) {
    Err err = {0};
    Bundle b;
    must(bundle_open(&b, p->a, in(p, name), BUNDLE_MODEL, &err), &err);
    bundle_close(&b);
    tree_remove(p->a, in(p, name));
}

/* Whichever read, write, sync or rename fails: an error, no result or a whole one, and nothing else
 * left. */
static void faults(void **state) {
    Place *p = *state;
    static const char *const results[] = {"x.gguf", "x"};
    const char *from = need_reference(p->a, "models/llama-tiny");
    for (int64_t i = 0; i < COUNT(results); i++) {
        int64_t k = 1;
        for (bool ok = false; !ok; k++) {
            Err err = {0};
            ConvertSpec s = {.type = "f16"};
            os_fail_after(k);
            ok = bundle_convert(p->a, from, in(p, results[i]), &s, p->team, &err);
            os_fail_after(0);
            bool there = os_exists(in(p, results[i]));
            assert_true(k < 500 && (there || !ok));
            assert_int_equal(entries(p), there);
            if (there)
                whole_remove(p, results[i]); /* only the last sync may fail behind the name */
            assert_true(ok || err.code != ERR_NONE);
        }
        assert_true(k > 10);
    }
}

int convert_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(types, place_open, place_close),
        cmocka_unit_test_setup_teardown(further_layers, place_open, place_close),
        cmocka_unit_test_setup_teardown(not_a_number, place_open, place_close),
        cmocka_unit_test_setup_teardown(faults, place_open, place_close)};
    return cmocka_run_group_tests_name("bundle convert", tests, NULL, NULL);
}
