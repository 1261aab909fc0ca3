/* perplexity.c -- `lisao perplexity` against log-probabilities that are computed here, in double
 * and window by window, from what `lisao logits` writes. */
#define _GNU_SOURCE
#include "tests.h"
#include "support/bytes.h"
#include "support/need.h"

#include <jansson.h>
#include <math.h>
#include <unistd.h>

enum { V = 320, BOS = 256 }; /* llama-tiny's vocabulary; its tokenizer's ids are bytes, and one */
static const char TEXT[] = "The river runs to the sea, and the sea is wide.";

typedef struct Bench {
    Arena *a;
    const char *folder, *program;
} Bench;

static const char *path_of(const Bench *b, const char *name) {
    return str_fmt(b->a, "%s/%s", b->folder, name).p;
}

static void put(Bench *b, const char *name, Str bytes) {
    FILE *f = fopen(path_of(b, name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes.p, 1, (size_t)bytes.n, f), bytes.n);
    assert_int_equal(fclose(f), 0);
}

static Str get(Bench *b, const char *path) {
    Err err = {0};
    Str bytes;
    if (!os_read(b->a, &bytes, path, 1 << 26, &err)) fail_msg("%s", err.msg);
    return bytes;
}

static int bench_open(void **state) {
    Bench *b = calloc(1, sizeof *b);
    char folder[] = "/tmp/lisao-perplexity-XXXXXX";
    b->a = arena_open("bench", 1 << 28);
    b->folder = str_copy(b->a, str_of(mkdtemp(folder))).p;
    const char *bin = os_env("LISAO_BIN");
    b->program = bin ? bin : "build/lisao";
    *state = b;
    return 0;
}

static int bench_close(void **state) {
    Bench *b = *state;
    Err err = {0};
    bool removed = os_remove(b->folder, &err);
    arena_close(b->a);
    free(b);
    return !removed;
}

/* What the program says to these arguments; it must succeed. */
static Str said(Bench *b, const char *arguments) {
    const char *out = path_of(b, "out");
    const char *line = str_fmt(b->a, "'%s' %s >'%s' 2>'%s.err'", b->program, arguments, out, out).p;
    if (system(line) != 0) fail_msg("%s: %s", line, get(b, path_of(b, "out.err")).p);
    return get(b, out);
}

/* llama-tiny with a tokenizer, which puts a token in front of texts if so. */
static void model_put(Bench *b, bool begins) {
    static const char none[] = "\"post_processor\": null";
    static const char process[] =
        "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
        "{\"id\": \"<|endoftext|>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": "
        "0}}], \"pair\": [], \"special_tokens\": {\"<|endoftext|>\": {\"id\": \"<|endoftext|>\", "
        "\"ids\": [256], \"tokens\": [\"<|endoftext|>\"]}}}";
    const char *from = need_reference(b->a, "models/llama-tiny");
    Str json = bytes_tokenizer(b->a);
    const char *at = strstr(str_copy(b->a, json).p, none);
    assert_non_null(at);
    if (begins)
        json = str_fmt(b->a, "%.*s%s%s", (int)(json.n - (int64_t)strlen(at)), json.p, process,
                       at + strlen(none));
    put(b, "model.safetensors", get(b, str_fmt(b->a, "%s/model.safetensors", from).p));
    put(b, "config.json", get(b, str_fmt(b->a, "%s/config.json", from).p));
    put(b, "tokenizer.json", json);
    put(b, "text.txt", str_of(TEXT));
}

/* -log p of `target` by the logits. */
static double loss_of(const float *logits, int target) {
    float top = logits[0];
    for (int i = 1; i < V; i++)
        if (logits[i] > top) top = logits[i];
    double sum = 0;
    for (int i = 0; i < V; i++) sum += exp((double)logits[i] - (double)top);
    return (double)top + log(sum) - (double)logits[target];
}

/* The mean, by taking each token from the first window whose rows predict it. */
static double mean_loss(Bench *b, int context, int stride, int begins) {
    const int n = (int)sizeof TEXT - 1;
    double loss[sizeof TEXT] = {0}, sum = 0;
    int scored = 1 - begins;
    for (int begin = 0; scored < n; begin += stride) {
        Buf ids = {.a = b->a};
        int rows = 0, at = begin;
        if (begins) buf_fmt(&ids, "%d,", BOS), rows++;
        for (; rows < context && at < n; rows++, at++)
            buf_fmt(&ids, "%d,", (unsigned char)TEXT[at]);
        ids.n--;
        said(b, str_fmt(b->a, "logits '%s' --threads 1 --ids %.*s -o '%s'", b->folder,
                        STRF(buf_str(&ids)), path_of(b, "l.npy"))
                    .p);
        Str npy = get(b, path_of(b, "l.npy"));
        const int64_t bytes = (int64_t)rows * V * 4;
        float *logits = PUSH(b->a, float, rows *V);
        memcpy(logits, npy.p + npy.n - bytes, (size_t)bytes);
        for (int j = 0; j < rows; j++) {
            const int target = begin + j + 1 - begins;
            if (target < scored || target >= n) continue;
            loss[target] = loss_of(logits + j * V, (unsigned char)TEXT[target]);
            scored = target + 1;
        }
    }
    for (int i = 1 - begins; i < n; i++) assert_true(loss[i] > 0), sum += loss[i];
    return sum / (n - 1 + begins);
}

static double number(const json_t *j, const char *key) {
    assert_true(json_is_number(json_object_get(j, key)));
    return json_number_value(json_object_get(j, key));
}

static json_t *measured(Bench *b, const char *model, const char *options) {
    Str out = said(
        b,
        str_fmt(b->a, "perplexity '%s' '%s' --json %s", model, path_of(b, "text.txt"), options).p);
    json_t *j = json_loadb(out.p, (size_t)out.n, 0, NULL);
    assert_non_null(j);
    return j;
}

static void windows(void **state) {
    static const struct {
        int context, stride, begins;
    } cases[] = {{16, 5, 0}, {16, 16, 0}, {16, 16, 1}, {24, 11, 1}, {100, 50, 0}};
    Bench *b = *state;
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const int begins = cases[i].begins, tokens = (int)sizeof TEXT - 2 + begins;
        const char *sizes =
            str_fmt(b->a, "--context %d --stride %d", cases[i].context, cases[i].stride).p;
        model_put(b, begins);
        const double want = mean_loss(b, cases[i].context, cases[i].stride, begins);
        json_t *j = measured(b, b->folder, sizes);
        assert_int_equal((int)number(j, "tokens"), tokens);
        assert_int_equal((int)number(j, "bytes"), tokens);
        if (!(fabs(number(j, "nll") - want) < 1e-6 * want))
            fail_msg("%s: %.9f, not %.9f", sizes, number(j, "nll"), want);
        assert_true(fabs(number(j, "perplexity") / exp(want) - 1) < 1e-5);
        assert_true(fabs(number(j, "bits_per_byte") * log(2) / want - 1) < 1e-5);
        json_decref(j);
    }
}

static void same_bits(void **state) {
    static const char *const more[] = {"--threads 3", "--batch 1", "--batch 2 --threads 2",
                                       "--batch 7", "--cpu ref"};
    Bench *b = *state;
    model_put(b, false);
    json_t *first = measured(b, b->folder, "--context 16 --stride 5 --threads 1");
    for (int64_t i = 0; i < COUNT(more); i++) {
        json_t *j = measured(b, b->folder, str_fmt(b->a, "--context 16 --stride 5 %s", more[i]).p);
        if (!json_equal(first, j)) fail_msg("%s: another result", more[i]);
        json_decref(j);
    }
    json_decref(first);
}

/* The reference's windows of 256 tokens, by their texts. */
static void smollm2(void **state) {
    Bench *b = *state;
    need_full();
    const char *model = need_smollm2(b->a), *file = need_reference(b->a, "smollm2/ppl.json");
    json_t *ppl = json_load_file(file, 0, NULL), *list = json_object_get(ppl, "windows");
    double sum = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *window = json_array_get(list, i);
        put(b, "text.txt", str_of(json_string_value(json_object_get(window, "text"))));
        json_t *j = measured(b, model, "--act f32 --context 255");
        assert_int_equal((int)number(j, "tokens"), (int)number(window, "n_predicted"));
        assert_true(fabs(number(j, "nll") - number(window, "mean_nll")) < 1e-4);
        sum += number(j, "nll") / (double)json_array_size(list);
        json_decref(j);
    }
    print_message("# SmolLM2 f32: perplexity %.4f, reference %.4f\n", exp(sum),
                  number(ppl, "perplexity"));
    assert_true(fabs(exp(sum) - number(ppl, "perplexity")) < 1e-3);
    json_decref(ppl);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, bench_open, bench_close)
int test_perplexity(void) {
    const struct CMUnitTest tests[] = {TEST(windows), TEST(same_bits), TEST(smollm2)};
    return cmocka_run_group_tests_name("perplexity", tests, NULL, NULL);
}
