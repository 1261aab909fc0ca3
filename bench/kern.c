/* kern.c -- how fast the kernels are: kern [LEVEL [THREADS [ROUNDS]]], one CSV row a measurement.
 *
 * These machines are shared and their clocks move. So every round times a probe (the instruction
 * that does the work, in registers, on all threads) and then the product; best and median over the
 * rounds are reported, and the share of product in probe: best of best, median of median, and the
 * median of the rounds. A product is timed as the model calls it: rows packed, weights packed
 * beforehand, threads joined.
 * Shapes read n x k x m: rows, summed, outputs.
 *
 * Beside a product of quantised weights stands what bounds it: the pipes, by the kernel's count of
 * instructions and the rates that the probes of the same rounds found (best), or, where the weights
 * fit no cache, the reading of them at the rate measured before; and the `mix`, the kernel's
 * instructions on registers only. */
#include "probes.h"
#include "bench.h"

/* ---- what is measured ------------------------------------------------------------------------ */

static int64_t rounds = 100;
static Team *team;

static void csv(const char *what, const char *shape, double value, const char *unit) {
    bench_row(level_name(kern_level()), team_threads(team), what, shape, value, unit);
}

/* Rows for best and median of `amount` in so many seconds. */
static void csv_rates(const char *what, const char *shape, double amount, const Times *b,
                      const char *unit) {
    char name[96];
    snprintf(name, sizeof name, "%s best", what);
    csv(name, shape, amount / times_best(b), unit);
    snprintf(name, sizeof name, "%s median", what);
    csv(name, shape, amount / times_median(b), unit);
}

static float *noise(Arena *a, int64_t n, uint32_t stream) {
    float *x = PUSH(a, float, n);
    for (int64_t i = 0; i < n; i++) x[i] = 2 * philox_unit(philox(7, (uint64_t)i, stream).w[0]) - 1;
    return x;
}

/* ---- products -------------------------------------------------------------------------------- */

typedef struct Case {
    Layout layout;
    DType type;
    int64_t n, k, m;
} Case;

typedef struct Product {
    Case c;
    Weight w;
    Rows rows;
    Probe probe, any, mix;
    float *x, *y;
    void *mem;
    int64_t reps;
    Times time, probe_time;   /* of one product, of one turn of the probe */
    Times any_time, mix_time; /* of one turn */
    Times pair;               /* probe_time / time of the same round: clocks that move cancel */
} Product;

enum { PROBE_TURNS = 20000 };

/* The time of one turn. */
static double probe_turn(Thread th, const Probe *p, int64_t turns) {
    if (!p->run) return 1;
    thread_sync(th);
    double t = os_now();
    p->run(turns);
    thread_sync(th);
    return (os_now() - t) / (double)turns;
}

static void product_round(Thread th, Product *b) {
    const Case *c = &b->c;
    thread_sync(th);
    if (b->probe.run) b->probe.run(PROBE_TURNS / 4); /* a thread that slept is awake after this */
    double any_time = probe_turn(th, &b->any, PROBE_TURNS);
    double mix_time = probe_turn(th, &b->mix, PROBE_TURNS / 10);
    double probe_time = probe_turn(th, &b->probe, PROBE_TURNS);
    thread_sync(th);
    double t = os_now();
    for (int64_t i = 0; i < b->reps; i++) {
        rows_pack(th, &b->rows, layout_form(b->w.layout), b->x, c->n, c->k, c->k, b->mem);
        linear(th, b->y, c->m, &b->w, 0, &b->rows, STORE_SET);
    }
    if (th.i) return;
    double time = (os_now() - t) / (double)b->reps;
    times_add(&b->time, time);
    times_add(&b->any_time, any_time);
    times_add(&b->mix_time, mix_time);
    times_add(&b->probe_time, probe_time);
    times_add(&b->pair, probe_time / time);
}

static void product_thread(Thread th, void *arg) {
    Product *b = arg;
    weight_pack(th, b->w.tile, b->w.layout, &b->w, 0, 1);
    for (int64_t i = -3; i < rounds; i++) {
        product_round(th, b);
        /* the first ones warm up */
        if (i < 0 && th.i == 0)
            b->time.n = b->probe_time.n = b->any_time.n = b->mix_time.n = b->pair.n = 0;
    }
}

/* Any bytes that make small numbers of every type: all bytes lie between 0x20 and 0x2f. */
static void *weight_bytes(Arena *a, DType type, int64_t n) {
    int64_t bytes = dtype_bytes(type, n);
    uint8_t *p = PUSH(a, uint8_t, bytes);
    for (int64_t i = 0; i < bytes; i++) p[i] = (uint8_t)(0x20 | (i * 2654435761u >> 13 & 15));
    return p;
}

static void csv_share(const Product *b, const char *shape, double ops) {
    double probe = b->probe.ops * (double)team_threads(team);
    char what[96];
    snprintf(what, sizeof what, "probe %s", b->probe.name);
    csv_rates(what, shape, probe * 1e-9, &b->probe_time, "GOP/s");
    double best = times_best(&b->probe_time) / times_best(&b->time);
    double median = times_median(&b->probe_time) / times_median(&b->time);
    snprintf(what, sizeof what, "linear %s share of %s best", layout_name(b->c.layout),
             b->probe.name);
    csv(what, shape, 100 * ops / probe * best, "%");
    snprintf(what, sizeof what, "linear %s share of %s median", layout_name(b->c.layout),
             b->probe.name);
    csv(what, shape, 100 * ops / probe * median, "%");
    snprintf(what, sizeof what, "linear %s share of %s pairwise", layout_name(b->c.layout),
             b->probe.name);
    csv(what, shape, 100 * ops / probe * times_median(&b->pair), "%");
}

static double read_rate; /* bytes a second, the best */

/* The shortest time that the pipes allow, and the reading of weights that fit no cache. */
static double bound_seconds(const Product *b, bool *reads) {
    enum { TILE = 64, CACHED = 48 << 20 }; /* QUANT_ROWS of kern/wide/quant.h */
    const Case *c = &b->c;
    double tiles = (double)((c->n + TILE - 1) / TILE), n = (double)c->n;
    Counts i = counts_of(c->layout, c->n);
    double any = times_best(&b->any_time) / CHAIN_N,
           multiply = times_best(&b->probe_time) / CHAIN_N;
    double blocks = (double)(c->m / PANEL * (c->k / 32)) / (double)team_threads(team);
    double pipes = blocks
                   * MAX((i.all * n + i.tile_all * tiles) * any,
                         (i.multiply * n + i.tile_multiply * tiles) * multiply);
    double bytes = (double)panel_bytes(c->layout, c->m, c->k), read = bytes / read_rate;
    *reads = bytes > CACHED && read > pipes;
    return *reads ? read : pipes;
}

static void csv_bound(const Product *b, const char *shape, double ops) {
    const char *name = layout_name(b->c.layout);
    char what[96];
    bool reads;
    double bound = bound_seconds(b, &reads), mix = b->mix.ops * (double)team_threads(team);
    snprintf(what, sizeof what, "linear %s bound by %s", name, reads ? "reading" : "pipes");
    csv(what, shape, ops / bound * 1e-9, "GOP/s");
    snprintf(what, sizeof what, "linear %s share of bound best", name);
    csv(what, shape, 100 * bound / times_best(&b->time), "%");
    if (reads) return;
    snprintf(what, sizeof what, "linear %s mix", name);
    csv_rates(what, shape, mix * 1e-9, &b->mix_time, "GOP/s");
    snprintf(what, sizeof what, "linear %s share of mix best", name);
    csv(what, shape, 100 * ops / mix * times_best(&b->mix_time) / times_best(&b->time), "%");
    snprintf(what, sizeof what, "linear %s share of mix median", name);
    csv(what, shape, 100 * ops / mix * times_median(&b->mix_time) / times_median(&b->time), "%");
}

static void product_csv(const Product *b) {
    const Case *c = &b->c;
    double ops = 2.0 * (double)c->n * (double)c->k * (double)c->m;
    char what[64], shape[64];
    snprintf(shape, sizeof shape, "%dx%dx%d", (int)c->n, (int)c->k, (int)c->m);
    snprintf(what, sizeof what, "linear %s", layout_name(c->layout));
    csv_rates(what, shape, ops * 1e-9, &b->time, "GOP/s");
    if (b->probe.run) csv_share(b, shape, ops);
    if (b->mix.run) csv_bound(b, shape, ops);
    if (c->n > 1) return;
    snprintf(what, sizeof what, "linear %s weights read", layout_name(c->layout));
    csv_rates(what, shape, (double)panel_bytes(c->layout, c->m, c->k) * 1e-9, &b->time, "GB/s");
}

static void product_run(Arena *a, Case c) {
    Mark mark = arena_mark(a);
    Product *b = PUSH(a, Product, 1);
    void *row =
        c.type == DTYPE_F32 ? (void *)noise(a, c.m * c.k, 1) : weight_bytes(a, c.type, c.m * c.k);
    b->c = c;
    b->probe = probe_of(c.layout);
    b->any = any_of();
    b->mix = mix_of(c.layout);
    b->w =
        (Weight){.type = c.type, .n = 1, .rows = c.m, .cols = c.k, .row = row, .layout = c.layout};
    b->w.tile = arena_push(a, panel_bytes(c.layout, c.m, c.k));
    b->x = noise(a, c.n * c.k, 2);
    b->y = PUSH(a, float, c.n *c.m);
    b->mem = arena_push(a, rows_bytes(layout_form(c.layout), c.n, c.k));
    b->reps = 1 + 40000000 / (c.n * c.k * c.m);
    team_run(team, product_thread, b);
    product_csv(b);
    arena_pop(a, mark);
}

/* ---- attention, at the shape of SmolLM2-135M: 9 heads on 3, 64 wide -------------------------- */

enum { Q_WIDE = 9 * 64, KV_WIDE = 3 * 64 };

typedef struct Attention {
    Attend a;
    Span span;
    float *q, *k, *v, *o;
    void *work;
    int64_t reps;
    Times time;
} Attention;

static void attention_thread(Thread th, void *arg) {
    Attention *b = arg;
    Span all = {0, b->span.pos + b->span.n, 0, b->span.pages, 0};
    kv_store(th, &b->a.k, &all, 1, b->k, KV_WIDE);
    kv_store(th, &b->a.v, &all, 1, b->v, KV_WIDE);
    for (int64_t i = 0; i < rounds; i++) {
        thread_sync(th);
        double t = os_now();
        for (int64_t r = 0; r < b->reps; r++)
            attend(th, b->o, Q_WIDE, NULL, b->q, Q_WIDE, &b->a, &b->span, 1, b->work);
        if (th.i == 0) times_add(&b->time, (os_now() - t) / (double)b->reps);
    }
}

static void attention_run(Arena *a, DType type, int64_t past, int64_t n) {
    Mark mark = arena_mark(a);
    Attention *b = PUSH(a, Attention, 1);
    int64_t T = past + n, pages = (T + PAGE - 1) / PAGE;
    void **page = PUSH(a, void *, pages);
    b->a = (Attend){.k = {KV_KEYS, type, 3, 64, 1, 0, 0}, .heads = 9, .scale = 0.125f};
    b->a.v = b->a.k, b->a.v.form = KV_VALUES, b->a.v.off = kv_bytes(&b->a.k);
    for (int64_t i = 0; i < pages; i++) page[i] = arena_push(a, 2 * kv_bytes(&b->a.k));
    b->span = (Span){0, n, past, page, 0};
    b->q = noise(a, n * Q_WIDE, 3);
    b->k = noise(a, T * KV_WIDE, 4);
    b->v = noise(a, T * KV_WIDE, 5);
    b->o = PUSH(a, float, n *Q_WIDE);
    b->work = arena_push(a, attend_bytes(&b->a, n) * team_threads(team));
    b->reps = 1 + 500 / n;
    team_run(team, attention_thread, b);

    char what[64], shape[64];
    snprintf(what, sizeof what, "attend %s", dtype_name(type));
    snprintf(shape, sizeof shape, "9/3 heads of 64 %d rows behind %d", (int)n, (int)past);
    csv_rates(what, shape, (double)n, &b->time, "rows/s");
    arena_pop(a, mark);
}

/* ---- reading memory -------------------------------------------------------------------------- */

static void memory_run(Arena *a, int64_t bytes) {
    Mark mark = arena_mark(a);
    char shape[32];
    static Times time;
    time.n = 0;
    reading_run(team, reading_new(a, bytes), rounds, &time);
    snprintf(shape, sizeof shape, "%d MiB", (int)(bytes >> 20));
    csv_rates("read", shape, (double)bytes * 1e-9, &time, "GB/s");
    read_rate = (double)bytes / times_best(&time);
    arena_pop(a, mark);
}

/* ---- everything ------------------------------------------------------------------------------ */

#define OF(T, n, k, m)                                                                             \
    { LAYOUT_##T, DTYPE_##T, n, k, m }
static const Case cases[] = {OF(BF16, 512, 768, 768),
                             OF(BF16, 64, 256, 512),
                             OF(BF16, 16, 512, 256),
                             OF(BF16, 1, 576, 98304),
                             OF(F32, 512, 768, 768),
                             OF(F32, 64, 256, 512),
                             OF(Q4_1, 512, 576, 1536),
                             OF(Q4_1, 512, 1536, 576),
                             OF(Q4_1, 512, 576, 192),
                             OF(Q4_1, 16, 576, 1536),
                             OF(Q4_1, 8, 576, 1536),
                             OF(Q4_1, 4, 576, 1536),
                             OF(Q4_1, 2, 576, 1536),
                             OF(Q4_1, 1, 576, 1536),
                             OF(Q4_1, 16, 576, 393216),
                             OF(Q4_1, 4, 576, 393216),
                             OF(Q4_1, 2, 576, 393216),
                             OF(Q4_1, 1, 576, 393216),
                             OF(Q8_0, 512, 576, 1536),
                             OF(Q8_0, 16, 576, 1536),
                             OF(Q8_0, 8, 576, 1536),
                             OF(Q8_0, 4, 576, 1536),
                             OF(Q8_0, 2, 576, 1536),
                             OF(Q8_0, 1, 576, 1536),
                             OF(Q8_0, 1, 576, 196608),
#define Q(name, NAME, n_block, n_bytes) OF(NAME, 512, 1024, 1024), OF(NAME, 1, 1024, 131072),
                             QUANT_LIST(Q)
#undef Q
};

static int usage(const char *why) {
    fprintf(stderr, "kern: %s\nusage: kern [LEVEL [THREADS [ROUNDS]]]\n", why);
    return 2;
}

static bool number(const char *text, int64_t most, int64_t *out) {
    return str_i64(str_of(text), out) && *out >= 1 && *out <= most;
}

int main(int argc, char **argv) {
    Level level = LEVEL_N;
    Err err = {0};
    int64_t threads = os_cpus();
    if (argc > 1 && !level_of_name(argv[1], &level)) return usage("no such level");
    if (argc > 2 && !number(argv[2], 64, &threads)) return usage("THREADS is 1..64");
    if (argc > 3 && !number(argv[3], TIMES_MAX, &rounds)) return usage("ROUNDS is 1..1000");
    if (!kern_init(level, &err)) return usage(err.msg);
    Arena *a = arena_open("bench", (int64_t)2 << 30);
    team = team_open(threads);
    memory_run(a, (int64_t)256 << 20);
    for (int64_t i = 0; i < COUNT(cases); i++) product_run(a, cases[i]);
    attention_run(a, DTYPE_BF16, 0, 512);
    attention_run(a, DTYPE_BF16, 511, 1);
    attention_run(a, DTYPE_F32, 0, 512);
    team_close(team);
    arena_close(a);
    return 0;
}
