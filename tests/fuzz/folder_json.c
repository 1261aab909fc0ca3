/* folder_json.c -- fuzz target: the small files beside a tokenizer.json: a tokenizer_config.json,
 * and behind the first byte 0 a generation_config.json. What they say of ends, samplers and the
 * chat template is within bounds, or an Err that names the file. */
#define _GNU_SOURCE
#include "bundle/parts.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { VOCABULARY = 6 };
static const char tokenizer[] =
    "{\"added_tokens\": [{\"id\": 3, \"content\": \"<e>\", \"special\": true, \"normalized\": "
    "false, "
    "\"single_word\": false, \"lstrip\": false, \"rstrip\": false}], \"normalizer\": null, "
    "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}, "
    "\"decoder\": {\"type\": \"ByteLevel\"}, "
    "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, "
    "\"merges\": [[\"a\", \"b\"]]}}";
static char folder[64];

static int file_make(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0);
    return fd;
}

static void file_fill(int fd, const void *p, int64_t n) {
    CHECK(ftruncate(fd, n) == 0 && pwrite(fd, p, (size_t)n, 0) == n);
}

static void folder_remove(void) {
    Err none = {0};
    (void)!os_remove(folder, &none);
}

static void within(double v, double most) { CHECK(v == -1 || (v >= 0 && v <= most)); }

static void recommended_check(const Recommended *r) {
    within((double)r->temperature, 100);
    within((double)r->top_p, 1);
    within((double)r->min_p, 1);
    within((double)r->repetition_penalty, 100);
    within((double)r->top_k, 1 << 20);
}

static void chat_try(Bundle *b, Arena *a) {
    static const Message question = {.role = ROLE_USER, .content = STR("ab<e>")};
    Err err = {0};
    Buf shown = {.a = a};
    Ids ids = {.a = a};
    Arena *scratch = arena_open("chat", (int64_t)1 << 28);
    bool ok = chat_load(b, &err);
    if (ok)
        ok = chat_encode(&ids, &shown, &b->chat, &question, 1, (ChatOptions){.generate = true},
                         scratch, &err);
    CHECK(ok == (err.code == ERR_NONE));
    arena_close(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    static int config, generation;
    static Model model = {.cfg = {.V = VOCABULARY, .n_eos = 1, .eos = {3}, .bos = -1}};
    if (!a) {
        a = arena_open("folder", (int64_t)1 << 30);
        snprintf(folder, sizeof folder, "%s/lisao-fuzz-XXXXXX", P_tmpdir);
        CHECK(mkdtemp(folder) && atexit(folder_remove) == 0);
        file_fill(file_make("tokenizer.json"), tokenizer, sizeof tokenizer - 1);
        config = file_make("tokenizer_config.json");
        generation = file_make("generation_config.json");
    }
    const uint8_t *zero = size ? memchr(bytes, 0, size) : NULL;
    int64_t n = zero ? zero - bytes : (int64_t)size;
    file_fill(config, bytes, n);
    file_fill(generation, zero ? zero + 1 : bytes, zero ? (int64_t)size - n - 1 : 0);
    Mark mark = arena_mark(a);
    Err err = {0};
    Bundle b = {.a = a, .path = folder, .model = &model};
    bool ok = ends_load(&b, &err);
    CHECK(ok == (err.code == ERR_NONE) && (ok || strstr(err.msg, "generation_config.json")));
    recommended_check(&b.recommended);
    err = (Err){0};
    CHECK(tokenizer_load(&b, &err) && b.bos >= -1 && b.bos < VOCABULARY);
    chat_try(&b, a);
    tokenizer_close(b.tok);
    arena_pop(a, mark);
    return 0;
}
