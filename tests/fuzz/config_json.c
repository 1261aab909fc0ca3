/* config_json.c -- fuzz target: the bytes of a config.json. What is accepted is written and read
 * again as the same, has finite rope tables, and where it is small a model of it runs, with fresh
 * weights: no sizes that pass the reader may fail further on. */
#include "support/try.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { NUMBERS_MAX = 1 << 16, ROPE_MAX = 1024 };

static Team *team;

static void rope_check(const Config *c) {
    double inv_freq[ROPE_MAX / 2], factor;
    CHECK(c->rope.dim >= 2 && c->rope.dim <= ROPE_MAX && c->rope.dim % 2 == 0);
    rope_inv_freq(inv_freq, &factor, &c->rope);
    for (int64_t i = 0; i < c->rope.dim / 2; i++) CHECK(inv_freq[i] >= 0 && inv_freq[i] <= 1);
    CHECK(factor > 0 && factor < 1e9);
    CHECK(attention_scale(c) > 0);
}

static void model_try(const Config *c, Arena *a) {
    Err err = {0};
    Model *m;
    if (config_count(c) > NUMBERS_MAX) return;
    model_init(&m, a, c, 0.02, 1);
    CHECK(model_count(m) <= config_count(c));
    if (!try_run(a, m, team, &err)) CHECK(err.code == ERR_LIMIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    Err err = {0};
    Config c, again;
    if (!a) {
        a = arena_open("config", (int64_t)1 << 32);
        team = team_open(1);
        CHECK(kern_init(LEVEL_N, &err));
    }
    bool ok = config_parse(&c, (Str){(const char *)bytes, (int64_t)size}, "input", &err);
    CHECK(ok == (err.code == ERR_NONE));
    CHECK(ok || !strncmp(err.msg, "input: ", 7));
    if (!ok) return 0;
    Mark mark = arena_mark(a);
    rope_check(&c);
    Str text = config_json(a, &c);
    CHECK(config_parse(&again, text, "written", &err));
    CHECK(str_eq(config_json(a, &again), text));
    model_try(&c, a);
    arena_pop(a, mark);
    return 0;
}
