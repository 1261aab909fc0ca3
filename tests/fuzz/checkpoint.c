/* checkpoint.c -- fuzz target: what a trainer reads of a checkpoint beside its tensors. The bytes
 * before the first NUL are state.json, those behind it metrics.jsonl. In them {fingerprint}, {a}
 * and {b} stand for what the checkpoint of this process has there: the run of a mixture that is
 * made first.
 *
 * A state that is taken goes on for a step, and the lines that stay in metrics.jsonl are of the
 * steps before. */
#define _GNU_SOURCE
#include "train/trainer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { STEPS = 2 };
static char folder[] = "/dev/shm/lisao-fuzz-XXXXXX";
static Arena *a;
static Recipe recipe;
static Str fingerprint, key[2];

static const char *path_of(const char *name) { return str_fmt(a, "%s/%s", folder, name).p; }

static void clean_up(void) {
    char command[80];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0) fprintf(stderr, "%s stays\n", folder);
}

static void put(const char *path, Str s) {
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(s.p, 1, (size_t)s.n, f) == (size_t)s.n && fclose(f) == 0);
}

static const char *text_put(const char *name, int64_t documents) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < documents; i++)
        buf_fmt(&b, "%lld times %s\n<|endoftext|>\n", (long long)i, name);
    const char *path = path_of(name);
    put(path, buf_str(&b));
    return path;
}

static const char shape[] =
    "model: {family: llama, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, "
    "num_key_value_heads: 1, intermediate_size: 16,\n"
    "  max_position_embeddings: 64, rms_norm_eps: 1e-6}\n"
    "tokenizer: bytes\nbatch: {sequence: 32, tokens: 64}\noptim: {lr: 1e-3, steps: 2}\n";

static Str member(const json_t *o, const char *name) {
    return str_copy(a, str_of(json_string_value(json_object_get(o, name))));
}

static bool run_make(Err *err) {
    Trainer *t = NULL;
    StepStats s;
    bool ok = trainer_open(&t, &recipe, 1, err);
    while (ok && trainer_steps(t) < STEPS) ok = trainer_step(t, &s, err);
    ok = ok && trainer_save(t, err);
    trainer_close(t);
    return ok;
}

/* The run, and what its checkpoint says of itself. */
static void begin(void) {
    Err err = {0};
    Str state;
    a = arena_open("checkpoint", (int64_t)1 << 30);
    CHECK(mkdtemp(folder));
    atexit(clean_up);
    log_set(LOG_ERROR);
    CHECK(kern_init(LEVEL_N, &err));
    put(path_of("recipe.yaml"),
        str_fmt(a,
                "%sdata: {cache: %s/cache, train: [{source: %s, weight: 2}, {source: %s, weight: "
                "1}]}\ncheckpoint: {folder: %s/run}\n",
                shape, folder, text_put("a", 9), text_put("b", 30), folder));
    if (!recipe_read(&recipe, a, path_of("recipe.yaml"), NULL, 0, &err) || !run_make(&err)
        || !os_read(a, &state, path_of("run/step-000000002/state.json"), 1 << 20, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    json_t *o = json_loadb(state.p, (size_t)state.n, 0, NULL);
    const json_t *texts = json_object_get(json_object_get(o, "mixture"), "texts");
    fingerprint = member(o, "fingerprint");
    for (size_t i = 0; i < 2; i++) key[i] = member(json_array_get(texts, i), "shard");
    json_decref(o);
}

/* s with each `from` replaced. */
static Str replaced(Str s, Str from, Str to) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < s.n;) {
        const bool here = str_starts((Str){s.p + i, s.n - i}, from);
        buf_add(&b, here ? to : (Str){s.p + i, 1});
        i += here ? from.n : 1;
    }
    return buf_str(&b);
}

static void checkpoint_put(Str state) {
    static const char *const others[] = {"model.safetensors", "config.json", "tokenizer.json",
                                         "tokenizer_config.json", "optimizer.safetensors"};
    Buf list = {.a = a};
    const char *at = path_of("run/step-000000002");
    for (int64_t i = 0; i < COUNT(others); i++) {
        Err err = {0};
        FileStamp s;
        CHECK(os_stamp(&s, str_fmt(a, "%s/%s", at, others[i]).p, &err));
        buf_fmt(&list, "\"%s\":%lld,", others[i], (long long)s.size);
    }
    put(str_fmt(a, "%s/state.json", at).p, state);
    put(str_fmt(a, "%s/checkpoint.json", at).p,
        str_fmt(a, "{\"version\":1,\"step\":%d,\"files\":{%.*s\"state.json\":%lld}}", STEPS,
                STRF(buf_str(&list)), (long long)state.n));
}

static void metrics_check(void) {
    Err err = {0};
    Str all;
    CHECK(os_read(a, &all, path_of("run/metrics.jsonl"), 1 << 28, &err));
    while (all.n) {
        const char *end = memchr(all.p, '\n', (size_t)all.n);
        CHECK(end);
        json_t *o = json_loadb(all.p, (size_t)(end - all.p), 0, NULL);
        const json_int_t step = json_integer_value(json_object_get(o, "step"));
        CHECK(o && step >= 0 && step <= STEPS);
        json_decref(o);
        all = (Str){end + 1, all.p + all.n - end - 1};
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (!a) begin();
    const Mark mark = arena_mark(a);
    const uint8_t *cut = size ? memchr(bytes, 0, size) : NULL;
    Str state = {(const char *)bytes, cut ? cut - bytes : (int64_t)size};
    Trainer *t = NULL;
    Err err = {0};
    StepStats s;
    put(path_of("run/metrics.jsonl"),
        cut ? (Str){(const char *)cut + 1, (int64_t)size - state.n - 1} : STR(""));
    state = replaced(state, STR("{fingerprint}"), fingerprint);
    state = replaced(replaced(state, STR("{a}"), key[0]), STR("{b}"), key[1]);
    checkpoint_put(state);
    const bool ok = trainer_open(&t, &recipe, 1, &err);
    CHECK(ok == (err.code == ERR_NONE) && (ok || err.msg[0]));
    if (ok) {
        CHECK(trainer_steps(t) == STEPS);
        if (!metrics_open(t, &err) || !trainer_step(t, &s, &err)) abort();
        metrics_check();
    }
    trainer_close(t);
    arena_pop(a, mark);
    return 0;
}
