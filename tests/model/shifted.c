/* shifted.c -- where a file's bytes lie does not show in what a model computes. The data of a
 * safetensors file begin behind a header of any length, so its numbers may stand at any address:
 * they are copied to where they are aligned, and a copy must not be given back like a mapping. */
#define _DEFAULT_SOURCE
#include "tests.h"
#include "file/parts.h"
#include <stdio.h>

enum { TOKENS = 24, CHUNK_ROWS = 9 };

/* The same file with `blanks` more blanks behind the header, which are white space of its JSON. */
static void file_shift(Arena *a, const char *from, const char *to, int64_t blanks) {
    Err err = {0};
    Str file;
    uint64_t header;
    must(os_read(a, &file, from, 1 << 26, &err), &err);
    memcpy(&header, file.p, 8);
    const char *data = file.p + 8 + header;
    uint64_t longer = header + (uint64_t)blanks;
    OutFile *o = os_create(a, to, &err);
    must(o && os_write(o, &longer, 8, &err) && os_write(o, file.p + 8, (int64_t)header, &err)
             && os_write(o, "   ", blanks, &err)
             && os_write(o, data, file.n - 8 - (int64_t)header, &err) && os_commit(o, &err),
         &err);
}

/* The folder `from`, its safetensors files shifted. */
static void folder_shift(Arena *a, const char *from, const char *to, int64_t blanks) {
    Err err = {0};
    Str *name, text;
    int64_t n = 0;
    must(os_mkdir(to, &err) && os_list(a, &name, &n, from, &err), &err);
    for (int64_t i = 0; i < n; i++) {
        const char *old = path_join(a, from, name[i].p), *new = path_join(a, to, name[i].p);
        if (str_starts(name[i], STR("model")) && str_ends(name[i], STR(".safetensors"))) {
            file_shift(a, old, new, blanks);
        } else if (str_ends(name[i], STR(".json"))) {
            must(os_read(a, &text, old, 1 << 26, &err), &err);
            OutFile *o = os_create(a, new, &err);
            must(o && os_write(o, text.p, text.n, &err) && os_commit(o, &err), &err);
        }
    }
}

/* The hash of all logits of a sequence that is run in chunks. */
static void logits_hash(char hex[65], const char *path, PlanSpec spec, int64_t threads) {
    Opened o;
    int32_t ids[TOKENS];
    Sha256 sha;
    opened(&o, path, threads);
    planned(&o, spec);
    for (int32_t i = 0; i < TOKENS; i++) ids[i] = i * 41 % (int32_t)o.model->cfg.V;
    sha256_init(&sha);
    sha256_add(&sha, ran(&o, ids, TOKENS, CHUNK_ROWS, false).logits,
               TOKENS * o.model->cfg.V * (int64_t)sizeof(float));
    sha256_hex(&sha, hex);
    closed(&o);
}

static void same_bits(void **state) {
    static const PlanSpec specs[] = {
        {.act = ACT_F32, .mla = MLA_EXPANDED, .kv = DTYPE_F32},
        {.act = ACT_F32, .mla = MLA_ABSORBED, .kv = DTYPE_F32},
        {.act = ACT_A16, .mla = MLA_EXPANDED, .kv = DTYPE_BF16},
        {.act = ACT_A16, .mla = MLA_ABSORBED, .kv = DTYPE_BF16},
    };
    Arena *a = arena_open("shifted", 1 << 28);
    Err err = {0};
    const char *path = need_reference(a, str_fmt(a, "models/%s", (const char *)*state).p);
    char want[65], got[65], folder[64];
    snprintf(folder, sizeof folder, "%s/lisao-shifted-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(folder));
    for (int64_t i = 0; i < COUNT(specs); i++) {
        logits_hash(want, path, specs[i], 1);
        for (int64_t blanks = 0; blanks < 4; blanks++)
            for (int64_t threads = 1; threads <= 2; threads++) {
                const char *shifted = str_fmt(a, "%s/%d", folder, (int)blanks).p;
                if (!os_exists(shifted)) folder_shift(a, path, shifted, blanks);
                logits_hash(got, shifted, specs[i], threads);
                assert_string_equal(got, want);
            }
    }
    for (int i = 0; i < 4; i++) must(os_remove(str_fmt(a, "%s/%d", folder, i).p, &err), &err);
    must(os_remove(folder, &err), &err);
    arena_close(a);
}

int test_shifted(void) {
#define SHIFTED(model)                                                                             \
    { "shifted " model, same_bits, NULL, NULL, (void *)(uintptr_t)model }
    const struct CMUnitTest tests[] = {
        SHIFTED("llama-tiny"),
        SHIFTED("llama3-tiny"),
        SHIFTED("deepseek-v2-lite-tiny"),
        SHIFTED("deepseek-v3-tiny"),
        SHIFTED("deepseek-v3-bf16-tiny"),
        SHIFTED("deepseek-v3-mtp-tiny"),
    };
    return cmocka_run_group_tests_name("model shifted", tests, NULL, NULL);
}
