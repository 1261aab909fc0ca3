/* grammar.c -- what a grammar costs a step:
 *
 *     grammar MODEL [TOKENS]
 *
 * For each of some grammars: compiling; then answers that are drawn at random among the tokens
 * allowed, up to TOKENS of them. Each token is a mask and an accept. "first": the grammar is new,
 * so every state is seen for the first time; "again": the same answers once more. */
#include "bench.h"
#include "bundle/bundle.h"
#include <stdlib.h>

enum { ANSWERS = 20, SAMPLES = 1 << 17 };

static const struct {
    const char *name;
    GrammarSpec spec;
} grammars[] = {
    {"any object", {.kind = GRAMMAR_OBJECT}},
    {"person",
     {.text = STR("{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{"
                  "\"type\":\"integer\",\"minimum\":0,\"maximum\":150},\"email\":{\"type\":"
                  "\"string\",\"format\":\"email\"},\"tags\":{\"type\":\"array\",\"items\":{"
                  "\"enum\":[\"red\",\"green\",\"blue\"]},\"maxItems\":5},\"score\":{\"type\":"
                  "\"number\",\"minimum\":0,\"maximum\":1}},\"required\":[\"name\",\"age\","
                  "\"tags\"],\"additionalProperties\":false}")}},
    {"bounded strings",
     {.text = STR("{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":3,"
                  "\"maxLength\":200},\"minItems\":3,\"maxItems\":10}")}},
    {"tree",
     {.text = STR("{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{"
                  "\"v\":{\"type\":\"string\"},\"l\":{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{"
                  "\"type\":\"null\"}]}},\"required\":[\"v\",\"l\"]}}}")}},
    {"pattern",
     {.text = STR("{\"type\":\"string\",\"pattern\":\"^[A-Z][a-z]+( [A-Z][a-z]+){1,5}$\"}")}},
    {"regex", {.kind = GRAMMAR_REGEX, .text = STR("[a-zA-Z ,.]{20,400}(yes|no)")}},
};

typedef struct Cost {
    double *us; /* (SAMPLES) of each token */
    int64_t n;
} Cost;

static int order(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void cost_print(Cost *c, const char *what, const char *name) {
    double sum = 0;
    char text[64];
    if (c->n == 0) return;
    for (int64_t i = 0; i < c->n; i++) sum += c->us[i];
    qsort(c->us, (size_t)c->n, sizeof *c->us, order);
    const struct {
        const char *of;
        double us;
    } rows[] = {{"mean", sum / (double)c->n},
                {"median", c->us[c->n / 2]},
                {"p99", c->us[c->n * 99 / 100]},
                {"most", c->us[c->n - 1]}};
    for (int64_t i = 0; i < COUNT(rows); i++) {
        snprintf(text, sizeof text, "mask and accept %s %s", what, rows[i].of);
        bench_row("-", 1, text, name, rows[i].us, "us");
    }
}

/* A token of the mask, the `draw`-th share of them. */
static int32_t drawn(const uint64_t *bits, int64_t words, uint32_t draw) {
    int64_t n = 0;
    for (int64_t i = 0; i < words; i++) n += __builtin_popcountll(bits[i]);
    int64_t left = n ? draw % n : 0;
    for (int64_t i = 0; i < words && n; i++)
        for (uint64_t w = bits[i]; w; w &= w - 1)
            if (left-- == 0) return (int32_t)(64 * i + __builtin_ctzll(w));
    return -1;
}

static void answers_draw(const Bundle *b, Grammar *g, int64_t tokens, Cost *cost) {
    const int64_t V = b->model->cfg.V, words = (V + 63) / 64;
    Arena *a = arena_open("answers", ARENA_NO_LIMIT);
    uint64_t *bits = PUSH(a, uint64_t, words);
    for (int64_t k = 0; k < ANSWERS; k++) {
        Constraint c;
        bool more = true;
        grammar_constraint(&c, a, g, false);
        for (int64_t i = 0; i < tokens && more && cost->n < SAMPLES; i++) {
            const double start = os_now();
            memset(bits, 0, (size_t)words * sizeof *bits);
            c.mask(c.self, bits, V);
            const double masked = os_now();
            const int32_t id = drawn(bits, words, philox(1, (uint64_t)(k << 20 | i), 0).w[0]);
            const double chosen = os_now();
            more = id >= 0 && c.accept(c.self, id);
            cost->us[cost->n++] = (masked - start + os_now() - chosen) * 1e6;
        }
    }
    arena_close(a);
}

static bool measure(const Bundle *b, int64_t tokens, Err *err) {
    Arena *a = arena_open("grammars", ARENA_NO_LIMIT);
    Lexicon *l;
    double start = os_now();
    bool ok = lexicon_new(&l, a, b->tok, b->model->cfg.V, b->end, b->n_end, err);
    if (ok) bench_row("-", 1, "vocabulary", "-", (os_now() - start) * 1e3, "ms");
    Cost cost = {PUSH(a, double, SAMPLES), 0};
    for (int64_t i = 0; ok && i < COUNT(grammars); i++) {
        Grammar *g;
        start = os_now();
        ok = grammar_new(&g, a, l, &grammars[i].spec, err);
        if (!ok) break;
        bench_row("-", 1, "compiling", grammars[i].name, (os_now() - start) * 1e3, "ms");
        for (int pass = 0; pass < 2; pass++) {
            cost.n = 0;
            answers_draw(b, g, tokens, &cost);
            cost_print(&cost, pass ? "again" : "first", grammars[i].name);
        }
    }
    arena_close(a);
    return ok;
}

int main(int argc, char **argv) {
    Arena *a = arena_open("model", ARENA_NO_LIMIT);
    Bundle b = {0};
    Err err = {0};
    int64_t tokens = 200;
    if (argc < 2) return 0; /* of `make bench`, which knows no model */
    if (argc > 2 && !str_i64(str_of(argv[2]), &tokens)) tokens = 200;
    const bool ok = kern_init(LEVEL_N, &err)
                    && bundle_open(&b, a, argv[1], BUNDLE_MODEL | BUNDLE_CHAT, &err)
                    && measure(&b, tokens, &err);
    if (!ok) fprintf(stderr, "grammar: %s\n", err.msg);
    bundle_close(&b);
    arena_close(a);
    return !ok;
}
