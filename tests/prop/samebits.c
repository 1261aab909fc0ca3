/* samebits.c -- the promise, tested: a request's logits, tokens and log-probabilities
 * have one SHA-256 on every kernel level, for any number of threads, chunking, other sequences and
 * state of the prefix cache.
 *
 * A cell is one choice on every axis. What decides bits (model, activation format, form of MLA, KV
 * type) and what is asked (a prompt of so many tokens) name a golden hash; the other axes must not
 * show. For each model a table of cells covers every pair of values of every two axes; then random
 * cells follow, whose seed is printed (LISAO_SEED=N repeats them). A quick run has short prompts,
 * covers two of the models, and takes a tenth of the random cells. */
#include "prop.h"

#include <stdio.h>
#include <stdlib.h>

enum { LEVEL, THREADS, CHUNKS, BATCH_WITH, CACHE, ACT, FORM, KV, LENGTH };
enum { COLD, HIT, EVICTED };
enum { POSITIONS = 1152, SEQS = 32, PAGES = 48, ROWS = 1024, DRAWS = 5, CELLS_MAX = 400 };
static const char *const FORMS[] = {"expanded", "absorbed", "-"};
static const char *const CACHES[] = {"cold", "hit", "evicted"};

typedef struct Axis {
    int64_t n, value[COVER_VALUES];
} Axis;
typedef struct Table {
    const char *name, *model; /* of the test; as in the golden file */
    int64_t random;           /* random cells beside those that cover; a tenth in a quick run */
    bool cover;               /* in a quick run too */
    bool slow;                /* not in a quick run */
    Axis axis[COVER_AXES];
} Table;

/* Lengths: about the borders of chunks (64) and pages (128), across several pages, and more than
 * the rows of a step. */
#define TINY_AXES                                                                                  \
    [LEVEL] = {5, {LEVEL_REF, LEVEL_AVX2, LEVEL_AVX512, LEVEL_AMX_EMU, LEVEL_AMX}},                \
    [THREADS] = {4, {1, 2, 3, 5}}, [CHUNKS] = {4, {0, 1, 7, 64}}, [BATCH_WITH] = {3, {0, 3, 31}},  \
    [CACHE] = {3, {COLD, HIT, EVICTED}}, [KV] = {2, {DTYPE_F32, DTYPE_BF16}}
#define FLOAT_AXES                                                                                 \
    TINY_AXES, [ACT] = {2, {ACT_F32, ACT_A16}},                                                    \
               [LENGTH] = {8, {63, 64, 65, 127, 128, 129, 300, 1100}}
#define BLOCK_AXES                                                                                 \
    TINY_AXES, [ACT] = {3, {ACT_F32, ACT_A16, ACT_A8}}, [LENGTH] = {4, {65, 128, 300, 1100}}
#define GQA       [FORM] = {1, {2}}
#define MLA       [FORM] = {2, {MLA_EXPANDED, MLA_ABSORBED}}
/* SmolLM2 is four hundred times as large: fewer other sequences, and only few tokens on the levels
 * that are not made for speed. */
#define SMOL_AXES [ACT] = {1, {ACT_A8}}, [KV] = {1, {DTYPE_BF16}}, GQA

static Table TABLES[] = {
    {"GQA: llama-tiny", "llama-tiny", 60, false, false, {FLOAT_AXES, GQA}},
    {"GQA: llama3-tiny", "llama3-tiny", 30, false, false, {FLOAT_AXES, GQA}},
    {"MLA: deepseek-v2-lite-tiny", "deepseek-v2-lite-tiny", 30, false, false, {FLOAT_AXES, MLA}},
    {"MLA: deepseek-v3-tiny", "deepseek-v3-tiny", 60, true, false, {FLOAT_AXES, MLA}},
    {"GQA: qwen2-mini", "qwen2-mini", 20, false, false, {FLOAT_AXES, GQA}},
    {"GQA: qwen3-mini", "qwen3-mini", 20, false, false, {FLOAT_AXES, GQA}},
    {"GQA: qwen3-moe-mini", "qwen3-moe-mini", 20, false, false, {FLOAT_AXES, GQA}},
    {"MLA: glm4-moe-lite-mini", "glm4-moe-lite-mini", 20, false, false, {FLOAT_AXES, MLA}},
    {"MLA: deepseek-v2-groups-mini",
     "deepseek-v2-groups-mini",
     20,
     false,
     false,
     {FLOAT_AXES, MLA}},
    {"a8: qwen2-q4_1", "qwen2-q4_1.gguf", 20, false, false, {BLOCK_AXES, GQA}},
    {"a8: qwen3moe-q8_0", "qwen3moe-q8_0.gguf", 20, false, false, {BLOCK_AXES, GQA}},
    {"a8: llama-q4_1", "llama-q4_1.gguf", 20, false, false, {BLOCK_AXES, GQA}},
    {"a8: llama-q8_0", "llama-q8_0.gguf", 20, false, false, {BLOCK_AXES, GQA}},
    {"a8: llama-mixed", "llama-mixed.gguf", 20, false, false, {BLOCK_AXES, GQA}},
    {"a8: blocks of 32", "llama-32.gguf", 20, false, false, {BLOCK_AXES, GQA}},
    {"a8: K types", "llama-k.gguf", 20, false, false, {BLOCK_AXES, GQA}},
    {"a8: deepseek-v2-q4_1", "deepseek-v2-q4_1.gguf", 20, false, false, {BLOCK_AXES, MLA}},
    {"a8: deepseek-v3-mixed", "deepseek-v3-mixed.gguf", 20, true, false, {BLOCK_AXES, MLA}},
    {"a8: SmolLM2",
     RIG_SMOLLM2,
     10,
     true,
     true,
     {SMOL_AXES, [LEVEL] = {3, {LEVEL_AVX2, LEVEL_AVX512, LEVEL_AMX}},
      [THREADS] = {4, {1, 2, 3, 5}}, [CHUNKS] = {4, {0, 1, 7, 64}}, [BATCH_WITH] = {2, {0, 3}},
      [CACHE] = {3, {COLD, HIT, EVICTED}}, [LENGTH] = {3, {63, 65, 129}}}},
    {"a8: SmolLM2, slow levels",
     RIG_SMOLLM2,
     0,
     true,
     true,
     {SMOL_AXES, [LEVEL] = {2, {LEVEL_REF, LEVEL_AMX_EMU}}, [THREADS] = {2, {2, 3}},
      [CHUNKS] = {2, {0, 7}}, [BATCH_WITH] = {1, {0}}, [CACHE] = {2, {COLD, HIT}},
      [LENGTH] = {2, {9, 65}}}},
};

static int64_t value(const Table *t, const Cell *c, int axis) {
    return t->axis[axis].value[c->at[axis]];
}

/* What decides bits, and the question: the key of the golden file. */
static void cell_key(const Table *t, const Cell *c, char out[96]) {
    snprintf(out, 96, "%s/%s/%s/%s/%d", t->model, act_name((Act)value(t, c, ACT)),
             FORMS[value(t, c, FORM)], dtype_name((DType)value(t, c, KV)),
             (int)value(t, c, LENGTH));
}

static void cell_name(const Table *t, const Cell *c, char out[200]) {
    char key[96];
    cell_key(t, c, key);
    snprintf(out, 200, "%s: level %s, %d threads, chunk %d, batch-with %d, cache %s", key,
             level_name((Level)value(t, c, LEVEL)), (int)value(t, c, THREADS),
             (int)value(t, c, CHUNKS), (int)value(t, c, BATCH_WITH), CACHES[value(t, c, CACHE)]);
}

/* ---- one cell -------------------------------------------------------------------------------- */

/* The plan in use: cells are sorted so that it is made anew as rarely as can be. */
typedef struct Bench {
    Rig rig;
    const Table *table;
    Cell cell;
} Bench;

static void bench_close(Bench *b) {
    if (!b->table) return;
    rig_close(&b->rig);
    team_close(b->rig.team);
    arena_close(b->rig.a);
    b->table = NULL;
}

static bool plan_serves(const Bench *b, const Table *t, const Cell *c) {
    static const int deciding[] = {LEVEL, THREADS, ACT, FORM, KV};
    bool same = b->table == t;
    for (int64_t i = 0; i < COUNT(deciding); i++)
        same = same && b->cell.at[deciding[i]] == c->at[deciding[i]];
    return same;
}

static EngineSpec spec_of(const Table *t, const Cell *c) {
    return (EngineSpec){
        .seqs = SEQS, .queue = PAGES, .rows = ROWS, .chunk = value(t, c, CHUNKS), .pages = PAGES};
}

static void bench_set(Bench *b, const Table *t, const Cell *c) {
    Err err = {0};
    if (plan_serves(b, t, c)) return;
    bench_close(b);
    CHECK(kern_init((Level)value(t, c, LEVEL), &err) && kern_level() == (Level)value(t, c, LEVEL));
    Arena *a = arena_open("cell", (int64_t)1 << 36);
    rig_open(&b->rig, a, team_open(value(t, c, THREADS)), rig_path(a, t->model));
    PlanSpec p = plan_defaults(b->rig.model);
    EngineSpec spec = spec_of(t, c);
    p.act = (Act)value(t, c, ACT), p.kv = (DType)value(t, c, KV);
    if (value(t, c, FORM) < 2) p.mla = (MlaForm)value(t, c, FORM);
    rig_plan(&b->rig, p, &spec, POSITIONS);
    b->table = t, b->cell = *c;
}

static void must_ask(Rig *r, Ask q, Answer *to) {
    Err err = {0};
    if (!ask(r, &q, to, &err)) fail_msg("%s", err.msg);
}

/* One token each, all different and none the main prompt's first: takes every page there is. */
static void pages_flush(Rig *r, int64_t text) {
    int32_t first;
    ask_prompt(&first, text, 1, r->model->cfg.V);
    Answer *to = PUSH(r->a, Answer, PAGES);
    for (int64_t i = 0, other = 1000; i < PAGES; i++) {
        int32_t token = first;
        for (; token == first; other++) ask_prompt(&token, other, 1, r->model->cfg.V);
        must_ask(r, (Ask){.text = other - 1, .n = 1, .max_tokens = 1, .tenant = 10 + i}, &to[i]);
    }
    rig_run(r);
}

/* The other sequences come before and after, has lengths and priorities of all kinds and shares
 * nothing. */
static void neighbour_ask(Rig *r, Answer *to, int64_t i) {
    Philox d = philox(17, (uint64_t)i, 0);
    must_ask(r,
             (Ask){.text = 5000 + i,
                   .n = 1 + d.w[0] % 40,
                   .max_tokens = 1 + d.w[1] % 6,
                   .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = d.w[2]},
                   .tenant = 100 + i,
                   .priority = (int64_t)(d.w[3] % 3) - 1},
             &to[i]);
}

static void cell_run(Bench *b, const Table *t, const Cell *c, char hex[65]) {
    bench_set(b, t, c);
    Rig *r = &b->rig;
    Mark mark = arena_mark(r->a);
    EngineSpec spec = spec_of(t, c);
    rig_engine(r, &spec);
    int64_t batch_with = value(t, c, BATCH_WITH), cache = value(t, c, CACHE),
            n = value(t, c, LENGTH);
    Ask q = {.text = n,
             .n = n,
             .max_tokens = DRAWS,
             .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 12345}};
    Answer main, *other = PUSH(r->a, Answer, SEQS);
    if (cache != COLD) must_ask(r, q, &main);
    rig_run(r);
    if (cache == EVICTED) pages_flush(r, q.text);
    int64_t cached = engine_stats(r->engine).cached_rows;
    for (int64_t i = 0; i < batch_with / 2; i++) neighbour_ask(r, other, i);
    must_ask(r, q, &main);
    for (int64_t i = batch_with / 2; i < batch_with; i++) neighbour_ask(r, other, i);
    rig_run(r);
    assert_int_equal(engine_stats(r->engine).cached_rows - cached, cache == HIT ? n - 1 : 0);
    assert_int_equal(main.n, DRAWS);
    sha256_hex(&main.sha, hex);
    arena_pop(r->a, mark);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static int cell_order(const void *x, const void *y) {
    static const int by[] = {LEVEL, THREADS, ACT, FORM, KV, LENGTH};
    for (int64_t i = 0; i < COUNT(by); i++) {
        int64_t a = ((const Cell *)x)->at[by[i]], b = ((const Cell *)y)->at[by[i]];
        if (a != b) return a < b ? -1 : 1;
    }
    return 0;
}

/* Leaves the values of an axis that `keep` wants. */
static void axis_keep(Axis *a, bool (*keep)(int64_t value)) {
    int64_t n = 0;
    for (int64_t i = 0; i < a->n; i++)
        if (keep(a->value[i])) a->value[n++] = a->value[i];
    a->n = n;
}

static bool level_here(int64_t level) { return level_use((Level)level); }
static bool length_short(int64_t length) { return length <= 2 * PAGE; }

static void cells_compare(const Table *t, Cell *cell, int64_t n, const Golden *g) {
    Bench b = {0};
    int64_t wrong = 0;
    qsort(cell, (size_t)n, sizeof *cell, cell_order);
    for (int64_t i = 0; i < n; i++) {
        char key[96], name[200], hex[65];
        cell_key(t, &cell[i], key);
        cell_name(t, &cell[i], name);
        const char *golden = golden_find(g, key);
        if (!golden) fail_msg("%s: no golden hash; make golden writes one", key);
        cell_run(&b, t, &cell[i], hex);
        if (strcmp(golden, hex) == 0) continue;
        print_message("# %s\n# is %s, golden is %s\n", name, hex, golden);
        wrong++;
    }
    bench_close(&b);
    if (wrong) fail_msg("%d of %d cells have other bits", (int)wrong, (int)n);
}

static uint64_t seed_of(void) {
    const char *s = os_env("LISAO_SEED");
    return s ? strtoull(s, NULL, 10) : (uint64_t)(os_now() * 1e6) % 1000000007;
}

static void table_holds(void **state) {
    Table *t = *state;
    Arena *a = arena_open("table", 1 << 24);
    bool full = full_run();
    if (t->slow) need_full();
    rig_path(a, t->model); /* skips where it is not there */
    Golden *g = PUSH(a, Golden, 1);
    Cell *cell = PUSH(a, Cell, CELLS_MAX);
    golden_load(g);
    axis_keep(&t->axis[LEVEL], level_here);
    if (!full) axis_keep(&t->axis[LENGTH], length_short);
    int64_t sizes[COVER_AXES];
    for (int i = 0; i < COVER_AXES; i++) sizes[i] = t->axis[i].n;
    int64_t n = cover_pairs(cell, CELLS_MAX, sizes, 1), random = full ? t->random : t->random / 10;
    assert_true(cover_whole(cell, n, sizes));
    assert_false(cover_whole(cell + 1, n - 1, sizes));
    if (!full && !t->cover) n = 0;
    uint64_t seed = seed_of();
    print_message("# %s: %d cells for all pairs on %d levels, %d random ones of LISAO_SEED=%llu\n",
                  t->name, (int)n, (int)sizes[LEVEL], (int)random, (unsigned long long)seed);
    for (int64_t i = 0; i < random; i++) cell[n++] = cover_random(sizes, seed, i);
    cells_compare(t, cell, n, g);
    arena_close(a);
}

int samebits_tests(void) {
    struct CMUnitTest tests[COUNT(TABLES)];
    for (int64_t i = 0; i < COUNT(TABLES); i++)
        tests[i] = (struct CMUnitTest){TABLES[i].name, table_holds, NULL, NULL, &TABLES[i]};
    return cmocka_run_group_tests_name("same bits", tests, NULL, NULL);
}

/* Alone, cold, in one piece, on one thread of the table's first level: ref, where speed allows. */
int samebits_write(const char *only) {
    static Golden g;
    Err err = {0};
    golden_load(&g);
    for (int64_t i = 0; i < COUNT(TABLES); i++) {
        Table *t = &TABLES[i];
        if (!strstr(t->model, only)) continue;
        Arena *a = arena_open("table", 1 << 20);
        bool there = strcmp(t->model, RIG_SMOLLM2) != 0 || smollm2_path(a);
        arena_close(a);
        if (!there) fprintf(stderr, "%s is not there: its hashes stay\n", t->model);
        Bench b = {0};
        Cell c = {0};
        int64_t *at = c.at;
        for (at[ACT] = 0; there && at[ACT] < t->axis[ACT].n; at[ACT]++)
            for (at[FORM] = 0; at[FORM] < t->axis[FORM].n; at[FORM]++)
                for (at[KV] = 0; at[KV] < t->axis[KV].n; at[KV]++)
                    for (at[LENGTH] = 0; at[LENGTH] < t->axis[LENGTH].n; at[LENGTH]++) {
                        char key[96], hex[65];
                        cell_key(t, &c, key);
                        cell_run(&b, t, &c, hex);
                        golden_put(&g, key, hex);
                    }
        bench_close(&b);
    }
    if (golden_save(&g, &err)) return 0;
    fprintf(stderr, "%s\n", err.msg);
    return 1;
}
