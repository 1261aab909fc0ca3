/* decode.c -- how close decoding comes to the speed of memory:
 *
 *     decode MODEL.gguf [THREADS [ROUNDS [TOKENS]]]
 *
 * A token of one sequence reads every weight once, so tokens/s times the bytes of the weights that
 * a token reads is a read rate. Each round times reading a block of memory larger than any cache
 * on the same threads, then TOKENS tokens of greedy decoding behind a prompt of one token; best
 * and median of both over the rounds, and the share: best of best, median of median, median of the
 * rounds. The activation format is the file's default. */
#include "bench.h"
#include "bundle/bundle.h"
#include "infer/infer.h"

enum { READ_BYTES = 256 << 20 };

typedef struct Decoding {
    Bundle bundle;
    Plan *plan;
    Engine *engine;
    Team *team;
    Reading *reading;
    int64_t rounds, tokens;
    double first; /* when the round's first token came */
    Times time, read_time,
        share;    /* of a token; of READ_BYTES; share: memory's time / token's time */
    double bytes; /* that a token reads */
} Decoding;

static void token_seen(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Decoding *d = arg;
    (void)seq, (void)t, (void)logits;
    if (d->first == 0) d->first = os_now();
    if (finish != FINISH_NONE) times_add(&d->time, (os_now() - d->first) / (double)d->tokens);
}

static bool round_run(Decoding *d, Err *err) {
    const int32_t prompt = 1;
    SeqReq r = {.prompt = &prompt, .n_prompt = 1, .max_tokens = d->tokens + 1};
    r.on_token = token_seen, r.arg = d;
    d->read_time.n = d->time.n = 0;
    reading_run(d->team, d->reading, 3, &d->read_time);
    d->first = 0;
    if (!engine_add(d->engine, &r, err)) return false;
    while (engine_step(d->engine)) {}
    return true;
}

static bool rounds_run(Decoding *d, Err *err) {
    static Times token, memory, share;
    for (int64_t i = -1; i < d->rounds; i++) { /* the first one warms up */
        if (!round_run(d, err)) return false;
        if (i < 0) continue;
        double each = times_best(&d->time), read = times_median(&d->read_time);
        times_add(&token, each);
        times_add(&memory, read / READ_BYTES);
        times_add(&share, d->bytes * read / READ_BYTES / each);
    }
    d->time = token, d->read_time = memory, d->share = share;
    return true;
}

static void rows_print(const Decoding *d) {
    const char *level = level_name(kern_level()), *act = act_name(d->plan->spec.act);
    int64_t n = team_threads(d->team);
    const double best = times_best(&d->time), median = times_median(&d->time);
    const double read = times_best(&d->read_time), reads = times_median(&d->read_time);
    bench_row(level, n, "bytes of weights a token", act, d->bytes * 1e-6, "MB");
    bench_row(level, n, "decode best", act, 1 / best, "tokens/s");
    bench_row(level, n, "decode median", act, 1 / median, "tokens/s");
    bench_row(level, n, "read best", "256 MiB", 1e-9 / read, "GB/s");
    bench_row(level, n, "read median", "256 MiB", 1e-9 / reads, "GB/s");
    bench_row(level, n, "decode share of read best", act, 100 * d->bytes * read / best, "%");
    bench_row(level, n, "decode share of read median", act, 100 * d->bytes * reads / median, "%");
    bench_row(level, n, "decode share of read pairwise", act, 100 * times_median(&d->share), "%");
}

static bool decoding_open(Decoding *d, Arena *a, const char *model, int64_t threads, Err *err) {
    EngineSpec e = {.seqs = 1, .queue = 1, .rows = 1, .no_prefix = true};
    if (!kern_init(LEVEL_N, err) || !bundle_open(&d->bundle, a, model, BUNDLE_MODEL, err))
        return false;
    d->team = team_open(threads);
    PlanSpec spec = plan_defaults(d->bundle.model);
    engine_plan(&spec, d->bundle.model, &e, d->tokens + 2, d->team);
    if (!plan_new(&d->plan, a, d->bundle.model, &spec, 0, d->team, err)) return false;
    if (!engine_new(&d->engine, a, d->plan, &e, d->team, err)) return false;
    d->reading = reading_new(a, READ_BYTES);
    d->bytes = plan_read_bytes(d->plan, 1);
    return true;
}

static bool number(const char *text, int64_t most, int64_t *out) {
    return str_i64(str_of(text), out) && *out >= 1 && *out <= most;
}

static int failed(const char *why) {
    fprintf(stderr, "decode: %s\nusage: decode MODEL.gguf [THREADS [ROUNDS [TOKENS]]]\n", why);
    return 2;
}

int main(int argc, char **argv) {
    static Decoding d = {.rounds = 20, .tokens = 32};
    int64_t threads = os_cpus();
    Err err = {0};
    if (argc < 2) return 0; /* of `make bench`, which knows no model */
    if (argc > 2 && !number(argv[2], 64, &threads)) return failed("THREADS is 1..64");
    if (argc > 3 && !number(argv[3], TIMES_MAX, &d.rounds)) return failed("ROUNDS is 1..1000");
    if (argc > 4 && !number(argv[4], 1000, &d.tokens)) return failed("TOKENS is 1..1000");
    Arena *a = arena_open("bench", ARENA_NO_LIMIT);
    bool ok = decoding_open(&d, a, argv[1], threads, &err) && rounds_run(&d, &err);
    if (ok) rows_print(&d);
    bundle_close(&d.bundle);
    if (d.team) team_close(d.team);
    arena_close(a);
    return ok ? 0 : failed(err.msg);
}
