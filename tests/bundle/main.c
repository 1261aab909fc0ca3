/* main.c -- a model opened whole, from each kind of source, with parts that are missing, and with
 * parts that do not belong together. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>
#include "bundle/bundle.h"
#include "support/bytes.h"
#include "support/child.h"
#include "support/need.h"
#include "tests.h"

/* A folder for a test's files, and the arena of what it opens. */
typedef struct Scratch {
    Arena *a;
    char folder[64];
} Scratch;

static char cache_before[512]; /* XDG_CACHE_HOME */

static int scratch_open(void **state) {
    Scratch *s = calloc(1, sizeof *s);
    s->a = arena_open("test", ARENA_NO_LIMIT);
    snprintf(s->folder, sizeof s->folder, "%s/lisao-bundle-XXXXXX", P_tmpdir);
    *state = s;
    return mkdtemp(s->folder) == NULL;
}

static int scratch_close(void **state) {
    Scratch *s = *state;
    tree_remove(s->a, s->folder);
    arena_close(s->a);
    free(s);
    return 0;
}

static const char *path_of(Scratch *s, const char *name) {
    return str_fmt(s->a, "%s/%s", s->folder, name).p;
}

static void put(Scratch *s, const char *name, Str bytes) {
    Err err = {0};
    OutFile *f = os_create(s->a, path_of(s, name), &err);
    must(f && os_write(f, bytes.p, bytes.n, &err) && os_commit(f, &err), &err);
}

static void copy(Scratch *s, const char *name, const char *from) {
    Err err = {0};
    Map m;
    must(os_map(&m, from, &err), &err);
    put(s, name, (Str){(const char *)m.p, m.n});
    os_unmap(&m);
}

static const char CHATML[] =
    "{\"chat_template\": \"{% for message in messages %}{{'<|im_start|>' + message['role'] + "
    "'\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt "
    "%}{{ '<|im_start|>assistant\\n' }}{% endif %}\"}";

/* llama-tiny, whose vocabulary is 320, with a tokenizer of 259 and a chat template. */
static void folder_put(Scratch *s) {
    const char *from = need_reference(s->a, "models/llama-tiny");
    copy(s, "model.safetensors", str_fmt(s->a, "%s/model.safetensors", from).p);
    copy(s, "config.json", str_fmt(s->a, "%s/config.json", from).p);
    put(s, "tokenizer.json", bytes_chat_tokenizer(s->a));
    put(s, "tokenizer_config.json", str_of(CHATML));
}

static void check_refused(Scratch *s, const char *name, unsigned parts, ErrCode code,
                          const char *says) {
    Err err = {0};
    Bundle b;
    assert_false(bundle_open(&b, s->a, name, parts, &err));
    if (err.code != code || !strstr(err.msg, says)) fail_msg("%d, %s", err.code, err.msg);
    assert_true(!b.store && !b.tok && !b.model);
}

/* ---- sources --------------------------------------------------------------------------------- */

static void folder(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Bundle b;
    folder_put(s);
    must(bundle_open(&b, s->a, s->folder, BUNDLE_ALL, &err), &err);
    assert_true(b.model && b.tok && b.loaded == BUNDLE_ALL);
    assert_string_equal(b.path, s->folder);
    assert_int_equal(b.model->cfg.V, 320);
    assert_int_equal(tokenizer_size(b.tok), 259);
    assert_true(b.chat.end >= 0);
    assert_true(str_eq(b.tok_json, bytes_chat_tokenizer(s->a)));
    assert_true(str_eq(b.tok_config, str_of(CHATML)));
    assert_true(b.n_end == 2 && b.end[0] == 1 && b.end[1] == 258); /* config.json; the chat's */
    bundle_close(&b);
    bundle_close(&b); /* again is nothing */
}

static void gguf(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Bundle b;
    const char *file = "tests/fuzz/corpus/gguf_model/llama_f16";
    must(bundle_open(&b, s->a, file, BUNDLE_MODEL | BUNDLE_TOKENIZER, &err), &err);
    assert_true(b.model->cfg.V == 16 && tokenizer_size(b.tok) > 2 && b.n_end == 1);
    assert_true(b.tok_json.n == 0 && b.tok_config.n == 0);
    assert_false(bundle_load(&b, BUNDLE_CHAT, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "no chat template"));
    assert_int_equal(b.loaded, BUNDLE_MODEL | BUNDLE_TOKENIZER); /* as before */
    bundle_close(&b);
}

static void checkpoint(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Bundle b;
    Store *from;
    Model *m;
    Str json = bytes_chat_tokenizer(s->a);
    must(store_open(&from, s->a, need_reference(s->a, "models/llama-tiny"), &err), &err);
    must(model_open(&m, s->a, from, &err), &err);
    model_train(m, s->a);
    CkptWriter *w = ckpt_create(s->a, path_of(s, "run"), 7, &err);
    must(w && model_save(m, s->a, w, &err) && ckpt_put_json(w, "tokenizer.json", json, &err)
             && ckpt_put_json(w, "tokenizer_config.json", str_of(CHATML), &err)
             && ckpt_commit(w, 1, &err),
         &err);
    store_close(from);
    const char *const names[] = {path_of(s, "run"), path_of(s, "run/step-000000007")};
    for (int64_t i = 0; i < COUNT(names); i++) {
        must(bundle_open(&b, s->a, names[i], BUNDLE_ALL, &err), &err);
        assert_true(store_kind(b.store) == STORE_CHECKPOINT && store_step(b.store) == 7);
        bundle_close(&b);
        must(bundle_open(&b, s->a, names[i], BUNDLE_TOKENIZER, &err), &err);
        assert_true(str_eq(b.tok_json, json) && !b.model);
        bundle_close(&b);
    }
}

/* ---- the cache of models --------------------------------------------------------------------- */

/* The cache of models is in the test's folder until the end of the test. */
static int cache_open(void **state) {
    int bad = scratch_open(state);
    setenv("XDG_CACHE_HOME", ((Scratch *)*state)->folder, 1);
    Err err = {0};
    return bad || !os_mkdir(path_of(*state, "lisao/models"), &err);
}

static int cache_close(void **state) {
    if (cache_before[0])
        setenv("XDG_CACHE_HOME", cache_before, 1);
    else
        unsetenv("XDG_CACHE_HOME");
    return scratch_close(state);
}

static const char *cached(Scratch *s, const char *name) {
    return path_of(s, str_fmt(s->a, "lisao/models/%s", name).p);
}

static void cache_put(Scratch *s, const char *name) {
    put(s, str_fmt(s->a, "lisao/models/%s", name).p, STR("12345"));
}

/* With and without the suffix; a file of the working folder comes first, and a path is no name. */
static void cache(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Bundle b;
    copy(s, "lisao/models/some.gguf", "tests/fuzz/corpus/gguf_model/llama_f16");
    const char *const names[] = {"some", "some.gguf", "SOME", "Some.GGUF"};
    for (int64_t i = 0; i < COUNT(names); i++) {
        must(bundle_open(&b, s->a, names[i], BUNDLE_MODEL, &err), &err);
        assert_string_equal(b.path, cached(s, "some.gguf"));
        bundle_close(&b);
    }
    check_refused(s, "other", BUNDLE_MODEL, ERR_IO, "opening the model \"other\": there is no");
    check_refused(s, "sone", BUNDLE_MODEL, ERR_IO, "did you mean \"some\"?");
    check_refused(s, "./some", BUNDLE_MODEL, ERR_IO, "opening the model \"./some\"");
    check_refused(s, "", BUNDLE_MODEL, ERR_USAGE, "empty");
}

static void check_found(Scratch *s, const char *name, const char *want) {
    Err err = {0};
    Str found;
    must(models_find(&found, s->a, name, &err), &err);
    if (!str_eq(found, str_of(want))) fail_msg("%s: %.*s, not %s", name, STRF(found), want);
}

/* What is the same is better than what has the same stem, and that than what has the same letters;
 * of two that are equally good none is taken. */
static void names(void **state) {
    static const char *const there[] = {"Alpha.gguf",
                                        "alpha.gguf",
                                        "Beta.gguf",
                                        ".beta.gguf",
                                        "beta.txt",
                                        "x.gguf-00001-of-00002.gguf",
                                        "x.gguf",
                                        "y-00001-of-00002.gguf",
                                        "y-00002-of-00002.gguf",
                                        "z-1-of-2.gguf"};
    Scratch *s = *state;
    Err err = {0};
    Str *list, found;
    int64_t n;
    for (int64_t i = 0; i < COUNT(there); i++) cache_put(s, there[i]);
    must(os_mkdir(cached(s, "beta-folder"), &err) && os_mkdir(cached(s, "Gamma"), &err), &err);
    cache_put(s, "Gamma/config.json");
    must(models_list(s->a, &list, &n, &err), &err);
    static const char *const want[] = {"Alpha.gguf",
                                       "Beta.gguf",
                                       "Gamma",
                                       "alpha.gguf",
                                       "x.gguf",
                                       "x.gguf-00001-of-00002.gguf",
                                       "y-00001-of-00002.gguf",
                                       "z-1-of-2.gguf"};
    assert_int_equal(n, COUNT(want));
    for (int64_t i = 0; i < n; i++)
        if (!str_eq(list[i], str_of(want[i]))) fail_msg("%.*s, not %s", STRF(list[i]), want[i]);
    check_found(s, "Alpha", "Alpha.gguf");
    check_found(s, "alpha", "alpha.gguf");
    check_found(s, "beta", "Beta.gguf");
    check_found(s, "gamma", "Gamma");
    check_found(s, "x.gguf", "x.gguf");
    check_found(s, "y", "y-00001-of-00002.gguf");
    check_found(s, "Y-00001-of-00002", "y-00001-of-00002.gguf");
    check_found(s, "y-00002-of-00002", "");
    check_found(s, "z", "");
    check_found(s, "", "");
    check_found(s, ".beta", "");
    assert_false(models_find(&found, s->a, "ALPHA", &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.msg, "\"ALPHA\" may be any of Alpha.gguf, alpha.gguf in "));
    check_refused(s, "ALPHA", BUNDLE_MODEL, ERR_USAGE, "may be any of");
}

/* A split file goes with all its parts; what is no part of it, and what a link leads to, stays. */
static void removal(void **state) {
    static const char *const there[] = {"y-00001-of-00002.gguf", "y-00002-of-00002.gguf",
                                        "y-00002-of-00003.gguf", "yy-00002-of-00002.gguf",
                                        "y.gguf"};
    Scratch *s = *state;
    Err err = {0};
    int64_t bytes;
    for (int64_t i = 0; i < COUNT(there); i++) cache_put(s, there[i]);
    must(models_bytes(&bytes, s->a, str_of(there[0]), &err), &err);
    assert_int_equal(bytes, 10);
    must(models_remove(s->a, str_of(there[0]), &err), &err);
    for (int64_t i = 0; i < COUNT(there); i++)
        assert_int_equal(os_exists(cached(s, there[i])), i > 1);

    put(s, "elsewhere.gguf", STR("123"));
    assert_int_equal(symlink(path_of(s, "elsewhere.gguf"), cached(s, "link.gguf")), 0);
    must(models_bytes(&bytes, s->a, STR("link.gguf"), &err), &err);
    assert_int_equal(bytes, 3);
    must(models_remove(s->a, STR("link.gguf"), &err), &err);
    assert_true(os_exists(path_of(s, "elsewhere.gguf")) && !os_exists(cached(s, "link.gguf")));

    must(os_mkdir(cached(s, "folder/inner"), &err), &err);
    cache_put(s, "folder/config.json");
    assert_false(models_remove(s->a, STR("folder"), &err));
    assert_non_null(strstr(err.msg, "folder/inner in it"));
    assert_true(os_exists(cached(s, "folder/config.json"))); /* nothing is removed by half */
    err = (Err){0};
    os_remove_empty(cached(s, "folder/inner"));
    must(models_remove(s->a, STR("folder"), &err), &err);
    assert_false(os_exists(cached(s, "folder")));
}

static void tokenizer_alone(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Bundle b;
    put(s, "tokenizer.json", bytes_tokenizer(s->a));
    put(s, "tokenizer_config.json", STR("{}"));
    const char *const names[] = {s->folder, path_of(s, "tokenizer.json")};
    for (int64_t i = 0; i < COUNT(names); i++) {
        must(bundle_open(&b, s->a, names[i], BUNDLE_TOKENIZER, &err), &err);
        assert_true(!b.store && !b.model && tokenizer_size(b.tok) == BYTES_SIZE && b.n_end == 0);
        assert_int_equal(b.tok_config.n, i ? 0 : 2); /* of a file, only the file */
        bundle_close(&b);
    }
    check_refused(s, s->folder, BUNDLE_ALL, ERR_IO, "no model here");
    put(s, "tokenizer.json", bytes_chat_tokenizer(s->a));
    put(s, "tokenizer_config.json", str_of(CHATML));
    must(bundle_open(&b, s->a, s->folder, BUNDLE_TOKENIZER | BUNDLE_CHAT, &err), &err);
    assert_true(!b.store && !b.model && b.chat.end == 258 && b.bos == -1 && b.n_end == 0);
    bundle_close(&b);
    put(s, "tokenizer_config.json",
        STR("{\"add_bos_token\": true, \"bos_token\": {\"content\": \"<|im_start|>\"}}"));
    must(bundle_open(&b, s->a, s->folder, BUNDLE_TOKENIZER, &err), &err);
    assert_int_equal(b.bos, token_named(b.tok, STR("<|im_start|>")));
    bundle_close(&b);
    check_refused(s, path_of(s, "absent.json"), BUNDLE_TOKENIZER, ERR_IO, "opening the tokenizer");
}

/* ---- missing parts --------------------------------------------------------------------------- */

static void missing(void **state) {
    Scratch *s = *state;
    Err err = {0};
    Bundle b;
    folder_put(s);
    must(os_remove(path_of(s, "tokenizer_config.json"), &err), &err);
    check_refused(s, s->folder, BUNDLE_ALL, ERR_UNSUPPORTED, "has no chat template");
    put(s, "tokenizer_config.json", STR("{\"chat_template\": \"{{ messages\"}"));
    check_refused(s, s->folder, BUNDLE_ALL, ERR_UNSUPPORTED, "the chat template, line 1");
    put(s, "tokenizer_config.json", STR("[]")); /* read twice: for the beginning, for the chat */
    check_refused(s, s->folder, BUNDLE_ALL, ERR_FORMAT, "tokenizer_config.json: is no JSON object");
    put(s, "tokenizer_config.json", STR("{\"chat_template\": "));
    check_refused(s, s->folder, BUNDLE_ALL, ERR_FORMAT, "tokenizer_config.json: line 1");
    must(os_remove(path_of(s, "tokenizer.json"), &err), &err);
    check_refused(s, s->folder, BUNDLE_TOKENIZER, ERR_IO, "there is no tokenizer.json");
    must(bundle_open(&b, s->a, s->folder, BUNDLE_MODEL, &err), &err); /* which needs none */
    Err why = {0};
    assert_false(bundle_load(&b, BUNDLE_TOKENIZER, &why));
    assert_true(why.code == ERR_IO && b.loaded == BUNDLE_MODEL && !b.tok);
    bundle_close(&b);
    put(s, "tokenizer.json", STR("{"));
    check_refused(s, s->folder, BUNDLE_TOKENIZER, ERR_FORMAT, "tokenizer.json");
    must(os_remove(path_of(s, "config.json"), &err), &err);
    check_refused(s, s->folder, BUNDLE_MODEL, ERR_FORMAT, "no config.json");
}

/* ---- recommended sampling -------------------------------------------------------------------- */

static void recommended(void **state) {
    static const struct {
        const char *json;
        Recommended want;
    } cases[] = {
        {"{}", {-1, -1, -1, -1, -1}},
        {"{\"temperature\": 0.6, \"top_p\": 0.95, \"top_k\": 20, \"min_p\": 0, "
         "\"repetition_penalty\": 1.05, \"do_sample\": true}",
         {0.6f, 0.95f, 0, 1.05f, 20}},
        {"{\"do_sample\": true}", {1, -1, -1, -1, -1}},
        {"{\"do_sample\": false, \"temperature\": 0.7}", {0, -1, -1, -1, -1}},
        {"{\"temperature\": \"hot\", \"top_p\": 3, \"top_k\": -1}", {-1, -1, -1, -1, -1}},
    };
    Scratch *s = *state;
    folder_put(s);
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Err err = {0};
        Bundle b;
        put(s, "generation_config.json", str_of(cases[i].json));
        must(bundle_open(&b, s->a, s->folder, BUNDLE_MODEL, &err), &err);
        const Recommended *r = &b.recommended, *w = &cases[i].want;
        assert_true(r->temperature == w->temperature && r->top_p == w->top_p && r->min_p == w->min_p
                    && r->repetition_penalty == w->repetition_penalty);
        assert_int_equal(r->top_k, w->top_k);
        bundle_close(&b);
    }
}

/* ---- end tokens ------------------------------------------------------------------------------ */

static void ends(void **state) {
    static const struct {
        const char *json;
        int64_t n;
        int32_t end[8];
        ErrCode code;
        const char *says;
    } cases[] = {
        {"{}", 1, {1}, ERR_NONE, NULL},
        {"{\"eos_token_id\": null}", 1, {1}, ERR_NONE, NULL},
        {"{\"eos_token_id\": 1}", 1, {1}, ERR_NONE, NULL},
        {"{\"eos_token_id\": 5, \"temperature\": 0.6}", 2, {1, 5}, ERR_NONE, NULL},
        {"{\"eos_token_id\": [7, 1, 258, 7]}", 3, {1, 7, 258}, ERR_NONE, NULL},
        {"{\"eos_token_id\": [2, 3, 4, 5, 6, 7, 8]}", 8, {1, 2, 3, 4, 5, 6, 7, 8}, ERR_NONE, NULL},
        {"{\"eos_token_id\": [2, 3, 4, 5, 6, 7, 8, 9]}", 0, {0}, ERR_LIMIT, "more than 8"},
        {"{\"eos_token_id\": [1, 320]}", 0, {0}, ERR_FORMAT, "eos_token_id"},
        {"{\"eos_token_id\": -1}", 0, {0}, ERR_FORMAT, "eos_token_id"},
        {"{\"eos_token_id\": \"1\"}", 0, {0}, ERR_FORMAT, "generation_config.json: eos_token_id"},
        {"{\"eos_token_id\": [[1]]}", 0, {0}, ERR_FORMAT, "eos_token_id"},
        {"[1]", 0, {0}, ERR_FORMAT, "generation_config.json: is no JSON object"},
        {"{\"eos_token_id\": 1, \"eos_token_id\": 2}", 0, {0}, ERR_FORMAT, "duplicate"},
        {"{\"eos_token_id\": 1", 0, {0}, ERR_FORMAT, "generation_config.json: line 1"},
    };
    Scratch *s = *state;
    folder_put(s);
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Err err = {0};
        Bundle b;
        put(s, "generation_config.json", str_of(cases[i].json));
        if (cases[i].says) {
            check_refused(s, s->folder, BUNDLE_MODEL, cases[i].code, cases[i].says);
            continue;
        }
        must(bundle_open(&b, s->a, s->folder, BUNDLE_MODEL, &err), &err);
        if (b.n_end != cases[i].n) fail_msg("%s: %d", cases[i].json, (int)b.n_end);
        for (int64_t k = 0; k < b.n_end; k++) assert_int_equal(b.end[k], cases[i].end[k]);
        bundle_close(&b);
    }
}

/* ---- a tokenizer that is larger than the model ----------------------------------------------- */

static void larger_open(void *arg) {
    Scratch *s = arg;
    Err err = {0};
    Bundle b;
    int32_t few[] = {0, 319}, more[] = {1, 320}, none[] = {-1};
    CHECK(bundle_open(&b, s->a, s->folder, BUNDLE_MODEL | BUNDLE_TOKENIZER, &err));
    CHECK(bundle_ids_check(&b, few, 2, &err) && bundle_ids_check(&b, NULL, 0, &err));
    CHECK(!bundle_ids_check(&b, more, 2, &err) && err.code == ERR_FORMAT);
    CHECK(strstr(err.msg, "gives token 320, and the model has 320"));
    Err other = {0};
    CHECK(!bundle_ids_check(&b, none, 1, &other));
    bundle_close(&b);
    fprintf(stderr, "all well\n");
}

/* It opens, with a warning, since most texts need only the smaller tokens. */
static void larger(void **state) {
    Scratch *s = *state;
    char said[1024];
    folder_put(s);
    copy(s, "tokenizer.json", "tests/golden/tokenizers/tiny.json");
    int status = child(larger_open, s, said, sizeof said);
    if (status != 0 || !strstr(said, "all well")) fail_msg("%s", said);
    assert_non_null(strstr(said, "the tokenizer has 425 tokens and the model 320"));
}

#define CACHE(fn) cmocka_unit_test_setup_teardown(fn, cache_open, cache_close)
#define TEST(fn)  cmocka_unit_test_setup_teardown(fn, scratch_open, scratch_close)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(folder), TEST(gguf),     TEST(checkpoint),      CACHE(cache),
        CACHE(names), CACHE(removal), TEST(tokenizer_alone), TEST(missing),
        TEST(ends),   TEST(larger),   TEST(recommended),
    };
    const char *before = os_env("XDG_CACHE_HOME");
    snprintf(cache_before, sizeof cache_before, "%s", before ? before : "");
    float_mode_enter();
    int failed = cmocka_run_group_tests_name("bundle", tests, NULL, NULL);
    return failed + convert_tests();
}
