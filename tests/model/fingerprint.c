/* fingerprint.c -- the plan's name of all that decides its bits: it changes with every weight, the
 * configuration, the formats; it does not with threads, sizes, or the way the weights came. */
#define _DEFAULT_SOURCE
#include "tests.h"
#include "file/parts.h"
#include <stdio.h>
#include <unistd.h>

static const PlanSpec f32 = {.act = ACT_F32, .mla = MLA_ABSORBED, .kv = DTYPE_F32};

typedef struct Name {
    char z[65];
} Name;

static Name name_of(const char *path, PlanSpec spec, int64_t threads) {
    Opened o;
    Name name;
    opened(&o, path, threads);
    planned(&o, spec);
    memcpy(name.z, o.plan->fingerprint, sizeof name.z);
    closed(&o);
    return name;
}

static void formats_count(void **state) {
    (void)state;
    Arena *a = arena_open("paths", 1 << 16);
    const char *path = need_reference(a, "models/deepseek-v3-tiny");
    PlanSpec s[5] = {f32, f32, f32, f32, f32};
    Name name[6];
    s[1].rows = 16, s[2].act = ACT_A16, s[3].mla = MLA_EXPANDED, s[4].kv = DTYPE_BF16;
    for (int i = 0; i < 5; i++) name[i] = name_of(path, s[i], 1 + i % 3);
    name[5] = name_of(need_reference(a, "models/deepseek-v3-mtp-tiny"), f32, 1);
    assert_string_equal(name[0].z, name[1].z); /* sizes and threads do not */
    for (int i = 2; i < 6; i++)
        for (int j = 0; j < i; j++)
            if (j != 1) assert_string_not_equal(name[i].z, name[j].z);
    arena_close(a);
}

/* ---- every weight ---------------------------------------------------------------------------- */

typedef struct Copied {
    Arena *a;
    const char *folder, *file; /* its config.json and model.safetensors */
} Copied;

static void file_copy(Arena *a, const char *from, const char *to) {
    Err err = {0};
    Str bytes;
    must(os_read(a, &bytes, from, 1 << 26, &err), &err);
    OutFile *o = os_create(a, to, &err);
    must(o && os_write(o, bytes.p, bytes.n, &err) && os_commit(o, &err), &err);
}

static Copied copied(Arena *a, const char *model) {
    char folder[64];
    snprintf(folder, sizeof folder, "%s/lisao-fingerprint-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(folder));
    Copied c = {a, str_fmt(a, "%s", folder).p, str_fmt(a, "%s/model.safetensors", folder).p};
    file_copy(a, str_fmt(a, "%s/config.json", model).p, str_fmt(a, "%s/config.json", folder).p);
    file_copy(a, str_fmt(a, "%s/model.safetensors", model).p, c.file);
    return c;
}

static void bit_turn(const Copied *c, int64_t at, int bit) {
    FILE *f = fopen(c->file, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int byte = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 1 << bit, f), byte ^ 1 << bit);
    assert_int_equal(fclose(f), 0);
}

/* The byte of the file at which tensor i begins; -1: the model does not read it. */
static int64_t place_of(const Store *s, int64_t i) {
    const Tensor *t = store_at(s, i);
    if (strstr(str_copy(s->a, t->name).p, "inv_freq")) return -1;
    return (const uint8_t *)t->data - s->map[0].p;
}

/* One bit of the first, a middle and the last byte of each tensor of the file. */
static void each_weight_counts(void **state) {
    Arena *a = arena_open("copy", 1 << 28);
    const char *model = need_reference(a, str_fmt(a, "models/%s", (const char *)*state).p);
    const Copied c = copied(a, model);
    Err err = {0};
    Store *s;
    const PlanSpec spec[2] = {{.act = ACT_F32, .mla = MLA_EXPANDED, .kv = DTYPE_F32}, f32};
    const Name want[2] = {name_of(model, spec[0], 1), name_of(model, spec[1], 2)};
    must(store_open(&s, a, model, &err), &err);
    for (int64_t i = 0; i < store_count(s); i += full_run() ? 1 : 5) {
        int64_t place = place_of(s, i), bytes = store_at(s, i)->bytes;
        for (int k = 0; place >= 0 && k < 3; k++) {
            int64_t at = place + (k == 0 ? 0 : k == 1 ? bytes / 2 : bytes - 1);
            bit_turn(&c, at, k);
            const Name other = name_of(c.folder, spec[k % 2], 1 + k);
            if (!strcmp(other.z, want[k % 2].z))
                fail_msg("bit %d of byte %lld, %.*s, does not count", k, (long long)at,
                         STRF(store_at(s, i)->name));
            bit_turn(&c, at, k);
        }
    }
    assert_string_equal(name_of(c.folder, spec[0], 3).z, want[0].z);
    store_close(s);
    must(os_remove(c.folder, &err), &err);
    arena_close(a);
}

/* Rows in other pieces and on other threads, gathered ones too. */
static void threads_do_not_count(void **state) {
    (void)state;
    need_full();
    Arena *a = arena_open("path", 1 << 16);
    const char *path = need_smollm2(a);
    const PlanSpec spec = {.act = ACT_A8, .kv = DTYPE_BF16};
    const Name want = name_of(path, spec, 1);
    for (int64_t threads = 2; threads <= 5; threads++)
        assert_string_equal(name_of(path, spec, threads).z, want.z);
    arena_close(a);
}

/* ---- trained weights ------------------------------------------------------------------------- */

/* Masters have the name of the F32 file that they were read from, until one of them changes. */
static void masters_count(void **state) {
    (void)state;
    Opened o;
    Arena *a = arena_open("path", 1 << 16);
    const char *path = need_reference(a, "models/deepseek-v3-tiny");
    const PlanSpec spec = {.act = ACT_F32, .mla = MLA_EXPANDED, .kv = DTYPE_F32, .training = true};
    const Name file =
        name_of(path, (PlanSpec){.act = ACT_F32, .mla = MLA_EXPANDED, .kv = DTYPE_F32}, 1);
    opened(&o, path, 2);
    model_train(o.model, o.a);
    planned(&o, spec);
    assert_string_equal(o.plan->fingerprint, file.z);
    for (int64_t i = 0; i < o.model->n_params; i++) {
        Param *p = &o.model->param[i];
        float *w = &p->master[p->count * i / o.model->n_params], was = *w;
        *w = f32_of_bits(bits_of_f32(was) ^ 1);
        plan_fingerprint(o.plan, o.team);
        if (!strcmp(o.plan->fingerprint, file.z)) fail_msg("a change of %s is not seen", p->name);
        *w = was;
    }
    plan_fingerprint(o.plan, o.team);
    assert_string_equal(o.plan->fingerprint, file.z);
    closed(&o);
    arena_close(a);
}

/* Where layers that predict further tokens are trained, their weights count, too. */
static void further_layers_count_in_training(void **state) {
    (void)state;
    Opened o;
    Arena *a = arena_open("path", 1 << 16);
    const char *path = need_reference(a, "models/deepseek-v3-mtp-tiny");
    PlanSpec spec = {.act = ACT_F32, .mla = MLA_EXPANDED, .kv = DTYPE_F32};
    const Name file = name_of(path, spec, 1);
    spec.training = true;
    opened_mtp(&o, path, 2, 1);
    model_train(o.model, o.a);
    planned(&o, spec);
    const char *was = str_copy(a, str_of(o.plan->fingerprint)).p;
    assert_string_not_equal(was, file.z);
    for (int64_t i = 0; i < o.model->n_params; i++) {
        float *w = o.model->param[i].master;
        if (o.model->param[i].layer < o.model->cfg.L) continue;
        *w = f32_of_bits(bits_of_f32(*w) ^ 1);
        plan_fingerprint(o.plan, o.team);
        assert_string_not_equal(o.plan->fingerprint, was);
        *w = f32_of_bits(bits_of_f32(*w) ^ 1);
    }
    closed(&o);
    arena_close(a);
}

/* The constant and the document say the same. */
static void contract_has_a_version(void **state) {
    (void)state;
    Arena *a = arena_open("contract", 1 << 20);
    Err err = {0};
    Str text;
    must(os_read(a, &text, "docs/contract.md", 1 << 18, &err), &err);
    assert_non_null(
        strstr(text.p, str_fmt(a, "This is version %d of the contract", CONTRACT_VERSION).p));
    arena_close(a);
}

int test_fingerprint(void) {
#define EACH_WEIGHT(model)                                                                         \
    { "each weight counts, " model, each_weight_counts, NULL, NULL, (void *)(uintptr_t)model }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_count),
        EACH_WEIGHT("llama-tiny"),
        EACH_WEIGHT("deepseek-v2-lite-tiny"),
        EACH_WEIGHT("deepseek-v3-tiny"),
        cmocka_unit_test(threads_do_not_count),
        cmocka_unit_test(masters_count),
        cmocka_unit_test(further_layers_count_in_training),
        cmocka_unit_test(contract_has_a_version),
    };
    return cmocka_run_group_tests_name("model fingerprint", tests, NULL, NULL);
}
