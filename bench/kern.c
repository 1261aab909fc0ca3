/* kern.c -- how fast the kernels are: kern [LEVEL [LANES [ROUNDS]]], one CSV row a measurement.
 *
 * These machines are shared and their clocks move, so every round times a probe (the instruction
 * that does the work, in registers, on all lanes) and then the product. Best and median over the
 * rounds are reported, and the share of product in probe, best of best and median of median. A product is timed as the model
 * calls it: rows packed, weights packed beforehand, lanes joined. Shapes read n x k x m: rows,
 * summed, outputs. */
#include "kern/kern.h"
#include "gen/commit.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- probes ---------------------------------------------------------------------------------- */

#if defined(__x86_64__)
/* 15 independent chains, enough for any latency; the operands are zero. */
#define CHAIN(op, reg, i) op " %%" reg "15, %%" reg "15, %%" reg #i "\n\t"
#define CHAINS(op, reg)                                                                            \
    CHAIN(op, reg, 0)                                                                              \
    CHAIN(op, reg, 1)                                                                              \
    CHAIN(op, reg, 2) CHAIN(op, reg, 3) CHAIN(op, reg, 4) CHAIN(op, reg, 5) CHAIN(op, reg, 6)      \
        CHAIN(op, reg, 7) CHAIN(op, reg, 8) CHAIN(op, reg, 9) CHAIN(op, reg, 10)                   \
            CHAIN(op, reg, 11) CHAIN(op, reg, 12) CHAIN(op, reg, 13) CHAIN(op, reg, 14)
#define PROBE(name, op, reg)                                                                       \
    static void name(int64_t n) {                                                                  \
        __asm__ volatile("vxorps %%xmm15, %%xmm15, %%xmm15\n"                                      \
                         "1:\n\t" CHAINS(op, reg) "dec %0\n\tjnz 1b\n\tvzeroupper"                 \
                         : "+r"(n)                                                                 \
                         :                                                                         \
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                           "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc");    \
    }
PROBE(probe_fma_ymm, "vfmadd231ps", "ymm")
PROBE(probe_maddubs_ymm, "vpmaddubsw", "ymm")
PROBE(probe_fma_zmm, "vfmadd231ps", "zmm")
PROBE(probe_bf16_zmm, "vdpbf16ps", "zmm")
PROBE(probe_int8_zmm, "vpdpbusd", "zmm")
enum { CHAIN_COUNT = 15 };
#endif

typedef struct Probe {
    const char *name;
    void (*run)(int64_t n);
    double ops; /* of one turn */
} Probe;

/* The instruction that a pack's products rest on at this level. */
static Probe probe_of(Pack pack) {
#if defined(__x86_64__)
    bool wide = kern_level() >= LEVEL_AVX512, whole = pack == PACK_Q4_1 || pack == PACK_Q8_0;
    if (wide && pack == PACK_BF16)
        return (Probe){"vdpbf16ps zmm", probe_bf16_zmm, CHAIN_COUNT * 64};
    if (wide && whole) return (Probe){"vpdpbusd zmm", probe_int8_zmm, CHAIN_COUNT * 128};
    if (wide) return (Probe){"vfmadd231ps zmm", probe_fma_zmm, CHAIN_COUNT * 32};
    if (whole) return (Probe){"vpmaddubsw ymm", probe_maddubs_ymm, CHAIN_COUNT * 64};
    return (Probe){"vfmadd231ps ymm", probe_fma_ymm, CHAIN_COUNT * 16};
#else
    (void)pack;
    return (Probe){"none", NULL, 0};
#endif
}

/* ---- rows of CSV ------------------------------------------------------------------------------- */

static int64_t rounds = 100;
static Team *team;
static char machine[128];

static void csv(const char *what, const char *shape, double value, const char *unit) {
    printf("%s,%s,%s,%lld,%s,%s,%.4g,%s\n", LISAO_COMMIT, machine, level_name(kern_level()),
           (long long)team_lanes(team), what, shape, value, unit);
    fflush(stdout);
}

static int upward(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rates of all rounds: best and median. */
static void csv_rates(const char *what, const char *shape, double *v, const char *unit) {
    char name[96];
    qsort(v, (size_t)rounds, sizeof *v, upward);
    snprintf(name, sizeof name, "%s best", what);
    csv(name, shape, v[rounds - 1], unit);
    snprintf(name, sizeof name, "%s median", what);
    csv(name, shape, v[rounds / 2], unit);
}

/* The first line of kern_print: "CPU      NAME, 2 in use". */
static void machine_name(Arena *a) {
    Buf b = {.a = a};
    kern_print(&b);
    const char *p = b.p + strlen("CPU"), *end = memchr(p, ',', (size_t)(b.n - 3));
    while (*p == ' ') p++;
    snprintf(machine, sizeof machine, "%.*s", (int)(end ? end - p : 0), p);
}

static float *noise(Arena *a, int64_t n, uint32_t stream) {
    float *x = PUSH(a, float, n);
    for (int64_t i = 0; i < n; i++) x[i] = 2 * philox_unit(philox(7, (uint64_t)i, stream).w[0]) - 1;
    return x;
}

/* ---- products ------------------------------------------------------------------------------------ */

typedef struct Case {
    Pack pack;
    DType type;
    const char *name;
    int64_t n, k, m;
} Case;

typedef struct Bench {
    Case c;
    Weight w;
    Rows rows;
    Probe probe;
    float *x, *y;
    void *mem;
    int64_t reps;
    double *rate, *share, *probe_rate; /* (rounds) */
} Bench;

static void bench_round(Lane l, Bench *b, int64_t round) {
    const Case *c = &b->c;
    double ops = 2.0 * (double)c->n * (double)c->k * (double)c->m, t0, t1, t2;
    int64_t turns = 20000;
    lane_sync(l);
    t0 = os_now();
    if (b->probe.run) b->probe.run(turns);
    lane_sync(l);
    t1 = os_now();
    for (int64_t i = 0; i < b->reps; i++) {
        rows_pack(l, &b->rows, b->w.pack, b->x, c->n, c->k, c->k, b->mem);
        linear(l, b->y, c->m, &b->w, 0, &b->rows, STORE_SET);
    }
    t2 = os_now();
    if (l.i) return;
    b->rate[round] = ops * (double)b->reps / (t2 - t1) * 1e-9;
    b->probe_rate[round] = b->probe.ops * (double)turns * (double)l.n / (t1 - t0) * 1e-9;
}

static void bench_lane(Lane l, void *arg) {
    Bench *b = arg;
    weight_pack(l, b->w.tile, b->w.pack, &b->w, 0, 1);
    for (int64_t i = -3; i < rounds; i++) bench_round(l, b, MAX(i, 0));
}

/* Weights of a quantised file: any bytes, but scales that stay small. */
static void *weight_bytes(Arena *a, DType type, int64_t n) {
    int64_t bytes = dtype_bytes(type, n), block = dtype_bytes(type, dtype_block(type));
    uint8_t *p = PUSH(a, uint8_t, bytes);
    for (int64_t i = 0; i < bytes; i++) p[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int64_t i = 0; i < n / dtype_block(type); i++) {
        p[i * block + 1] = type == DTYPE_BF16 ? 0x3f : 0x2c;
        if (type == DTYPE_Q4_1) p[i * block + 3] = 0x2c;
    }
    return p;
}

/* Best against best and median against median: a round that was disturbed counts for neither. Both
 * are sorted by now. */
static void csv_share(Bench *b, const char *shape) {
    char what[96];
    snprintf(what, sizeof what, "probe %s", b->probe.name);
    csv_rates(what, shape, b->probe_rate, "GOP/s");
    int64_t at[] = {rounds - 1, rounds / 2};
    for (int i = 0; i < 2; i++) {
        snprintf(what, sizeof what, "linear %s share of %s %s", b->c.name, b->probe.name,
                 i ? "median" : "best");
        csv(what, shape, 100 * b->rate[at[i]] / b->probe_rate[at[i]], "%");
    }
}

static void csv_weights(const Bench *b, const char *shape) {
    char what[96];
    const Case *c = &b->c;
    double bytes = (double)panel_bytes(c->pack, c->m, c->k),
           ops = 2.0 * (double)c->k * (double)c->m;
    snprintf(what, sizeof what, "linear %s weights read best", c->name);
    csv(what, shape, b->rate[rounds - 1] * bytes / ops, "GB/s");
}

static void bench_product(Arena *a, Case c) {
    Mark mark = arena_mark(a);
    Bench b = {.c = c, .probe = probe_of(c.pack)};
    void *row =
        c.type == DTYPE_F32 ? (void *)noise(a, c.m * c.k, 1) : weight_bytes(a, c.type, c.m * c.k);
    b.w = (Weight){.type = c.type, .n = 1, .rows = c.m, .cols = c.k, .row = row, .pack = c.pack};
    b.w.tile = arena_push(a, panel_bytes(c.pack, c.m, c.k));
    b.x = noise(a, c.n * c.k, 2);
    b.y = PUSH(a, float, c.n *c.m);
    b.mem = arena_push(a, rows_bytes(c.pack, c.n, c.k));
    b.reps = 1 + 40000000 / (c.n * c.k * c.m);
    b.rate = PUSH(a, double, rounds);
    b.probe_rate = PUSH(a, double, rounds);
    team_run(team, bench_lane, &b);

    char what[64], shape[64];
    snprintf(shape, sizeof shape, "%lldx%lldx%lld", (long long)c.n, (long long)c.k, (long long)c.m);
    snprintf(what, sizeof what, "linear %s", c.name);
    csv_rates(what, shape, b.rate, "GOP/s");
    if (c.n == 1) csv_weights(&b, shape);
    if (b.probe.run) csv_share(&b, shape);
    arena_pop(a, mark);
}

/* ---- attention, at the shape of SmolLM2-135M: 9 heads on 3, 64 wide --------------------------------- */

typedef struct Attention {
    Attend a;
    Span span;
    float *q, *k, *v, *o;
    void *work;
    int64_t reps;
    double *seconds;
} Attention;

static void attention_lane(Lane l, void *arg) {
    Attention *b = arg;
    int64_t past = b->span.pos;
    Span all = {0, past + b->span.n, 0, b->span.pages, 0};
    kv_store(l, &b->a.kv, 0, &all, 1, b->k, 192, b->v, 192);
    for (int64_t i = -3; i < rounds; i++) {
        lane_sync(l);
        double t = os_now();
        for (int64_t r = 0; r < b->reps; r++)
            attend(l, b->o, 576, NULL, b->q, 576, &b->a, &b->span, 1, b->work);
        if (l.i == 0) b->seconds[MAX(i, 0)] = (os_now() - t) / (double)b->reps;
    }
}

static void bench_attention(Arena *a, DType type, int64_t past, int64_t n) {
    Mark mark = arena_mark(a);
    Attention b = {.a = {.kv = {type, 3, 64, 64, false}, .heads = 9, .scale = 0.125f}};
    int64_t T = past + n, pages = (T + PAGE - 1) / PAGE;
    void **page = PUSH(a, void *, pages);
    for (int64_t i = 0; i < pages; i++) page[i] = arena_push(a, kv_bytes(&b.a.kv));
    b.span = (Span){0, n, past, page, 0};
    b.q = noise(a, n * 576, 3);
    b.k = noise(a, T * 192, 4);
    b.v = noise(a, T * 192, 5);
    b.o = PUSH(a, float, n * 576);
    b.work = arena_push(a, attend_bytes(&b.a, n) * team_lanes(team));
    b.reps = 1 + 500 / n;
    b.seconds = PUSH(a, double, rounds);
    team_run(team, attention_lane, &b);

    char what[64], shape[64];
    snprintf(what, sizeof what, "attend %s", dtype_name(type));
    snprintf(shape, sizeof shape, "9/3 heads 64; %lld rows behind %lld", (long long)n,
             (long long)past);
    for (int64_t i = 0; i < rounds; i++) b.seconds[i] = (double)n / b.seconds[i];
    csv_rates(what, shape, b.seconds, "rows/s");
    arena_pop(a, mark);
}

/* ---- reading memory ----------------------------------------------------------------------------------- */

typedef struct Reading {
    const uint8_t *p;
    int64_t bytes;
    double *rate;
    uint64_t sum[64][8];
} Reading;

static void reading_lane(Lane l, void *arg) {
    Reading *b = arg;
    Range r = lane_range_by(l, b->bytes / 8, 8);
    const uint64_t *p = (const uint64_t *)(const void *)b->p;
    for (int64_t i = 0; i < rounds; i++) {
        uint64_t s[8] = {0};
        lane_sync(l);
        double t = os_now();
        for (int64_t j = r.lo; j < r.hi; j += 8)
            for (int q = 0; q < 8; q++) s[q] += p[j + q];
        memcpy(b->sum[l.i], s, sizeof s);
        lane_sync(l);
        if (l.i == 0) b->rate[i] = (double)b->bytes / (os_now() - t) * 1e-9;
    }
}

static void bench_reading(Arena *a, int64_t bytes) {
    Mark mark = arena_mark(a);
    Reading *b = PUSH(a, Reading, 1);
    char shape[32];
    b->bytes = bytes;
    b->p = memset(arena_push(a, bytes), 1, (size_t)bytes);
    b->rate = PUSH(a, double, rounds);
    team_run(team, reading_lane, b);
    snprintf(shape, sizeof shape, "%lld MiB", (long long)(bytes >> 20));
    csv_rates("read", shape, b->rate, "GB/s");
    arena_pop(a, mark);
}

/* ---- everything ------------------------------------------------------------------------------------------ */

static const Case cases[] = {
    {PACK_BF16, DTYPE_BF16, "bf16", 512, 768, 768},
    {PACK_BF16, DTYPE_BF16, "bf16", 64, 256, 512},
    {PACK_BF16, DTYPE_BF16, "bf16", 16, 512, 256},
    {PACK_BF16, DTYPE_BF16, "bf16", 1, 576, 98304},
    {PACK_F32, DTYPE_F32, "f32", 512, 768, 768},
    {PACK_F32, DTYPE_F32, "f32", 64, 256, 512},
    {PACK_Q4_1, DTYPE_Q4_1, "q4_1", 512, 576, 1536},
    {PACK_Q4_1, DTYPE_Q4_1, "q4_1", 512, 1536, 576},
    {PACK_Q4_1, DTYPE_Q4_1, "q4_1", 512, 576, 192},
    {PACK_Q4_1, DTYPE_Q4_1, "q4_1", 8, 576, 1536},
    {PACK_Q4_1, DTYPE_Q4_1, "q4_1", 1, 576, 1536},
    {PACK_Q4_1, DTYPE_Q4_1, "q4_1", 1, 576, 393216},
    {PACK_Q8_0, DTYPE_Q8_0, "q8_0", 512, 576, 1536},
    {PACK_Q8_0, DTYPE_Q8_0, "q8_0", 1, 576, 196608},
};

static int usage(const char *why) {
    fprintf(stderr, "kern: %s\nusage: kern [LEVEL [LANES [ROUNDS]]]\n", why);
    return 2;
}

int main(int argc, char **argv) {
    Level level = LEVEL_N;
    Err err = {0};
    int64_t lanes = os_cpus();
    if (argc > 1 && !level_of_name(argv[1], &level)) return usage("no such level");
    if (argc > 2 && !(str_i64(str_of(argv[2]), &lanes) && lanes >= 1 && lanes <= 64))
        return usage("lanes: 1..64");
    if (argc > 3 && !(str_i64(str_of(argv[3]), &rounds) && rounds >= 1))
        return usage("rounds: at least 1");
    if (!kern_init(level, &err)) return usage(err.msg);
    Arena *a = arena_open("bench", (int64_t)2 << 30);
    team = team_open(lanes);
    machine_name(a);
    printf("commit,machine,level,lanes,what,shape,value,unit\n");
    for (int64_t i = 0; i < COUNT(cases); i++) bench_product(a, cases[i]);
    bench_attention(a, DTYPE_BF16, 0, 512);
    bench_attention(a, DTYPE_BF16, 511, 1);
    bench_attention(a, DTYPE_F32, 0, 512);
    bench_reading(a, (int64_t)256 << 20);
    team_close(team);
    arena_close(a);
    return 0;
}
