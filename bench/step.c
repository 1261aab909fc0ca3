/* step.c -- whole steps of the trainer, and where their time goes:
 *
 *     step [RECIPE [THREADS [STEPS [LEVEL [KEY=VALUE...]]]]]
 *
 * RECIPE is one of bench/recipes (moe-s.yaml). Its text is random: a tokenizer of two-letter words
 * is made for it, and batches are full rows. Each step is timed behind two probes, the instructions
 * that the products rest on, on registers only, by all threads; the faster of them is the peak. Two
 * steps warm up. Then half of the steps are timed, and the others profiled: the table of phases is
 * the share of all threads' time and adds up to 100 %. */
#define _GNU_SOURCE
#include "bench.h"
#include "probes.h"
#include "train/train.h"

#include <stdlib.h>
#include <unistd.h>

enum { WARM_UP = 2, LETTERS = 26, TURNS = 400000 };

/* ---- a text of random words ------------------------------------------------------------------ */

/* A byte-level BPE whose merges are all pairs of a small and a large letter. In a text of such
 * pairs each is a token, as is a line break. */
static void tokenizer_write(Buf *b) {
    const char *comma = "";
    buf_fmt(b, "{\"added_tokens\": [{\"id\": 0, \"content\": \"<|endoftext|>\", \"special\": true, "
               "\"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
               "\"normalized\": false}], \"normalizer\": null, "
               "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
               "\"trim_offsets\": false, \"use_regex\": true}, \"post_processor\": null, "
               "\"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
               "\"trim_offsets\": false, \"use_regex\": true}, "
               "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
               "\"vocab\": {\"<|endoftext|>\": 0, \"\xc4\x8a\": 1"); /* U+010A is a line break */
    for (int i = 0; i < LETTERS; i++)
        buf_fmt(b, ", \"%c\": %d, \"%c\": %d", 'a' + i, 2 + 2 * i, 'A' + i, 3 + 2 * i);
    for (int i = 0; i < LETTERS * LETTERS; i++)
        buf_fmt(b, ", \"%c%c\": %d", 'a' + i / LETTERS, 'A' + i % LETTERS, 2 + 2 * LETTERS + i);
    buf_fmt(b, "}, \"merges\": [");
    for (int i = 0; i < LETTERS * LETTERS; i++, comma = ", ")
        buf_fmt(b, "%s\"%c %c\"", comma, 'a' + i / LETTERS, 'A' + i % LETTERS);
    buf_fmt(b, "]}}");
}

static void text_write(Buf *b, int64_t tokens) {
    uint64_t state = 1;
    for (int64_t i = 0; i < tokens; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const uint64_t pair = (state >> 33) % (LETTERS * LETTERS);
        if (i % 32 == 31 && i + 1 < tokens)
            buf_fmt(b, "\n");
        else
            buf_fmt(b, "%c%c", (char)('a' + pair / LETTERS), (char)('A' + pair % LETTERS));
    }
}

/* ---- one run --------------------------------------------------------------------------------- */

typedef struct Bench {
    char folder[64];
    Arena *a;
    Recipe recipe;
    Trainer *trainer;
    Team *team; /* of the probes; asleep while the trainer's works */
    int64_t threads, steps;
    double work;                 /* operations of a step */
    Times step, dot, fma, share; /* share: of the faster probe of the same moment */
    double profiled;             /* seconds of the profiled steps */
} Bench;

static void probe_thread(Thread th, void *arg) {
    (void)th;
    ((const Probe *)arg)->run(TURNS);
}

/* Operations a second of all threads. */
static double probe_rate(Bench *b, Layout layout, Times *t) {
    Probe p = probe_of(layout);
    if (!p.run) return 0;
    const double start = os_now();
    team_run(b->team, probe_thread, &p);
    const double seconds = os_now() - start, work = p.ops * TURNS * (double)b->threads;
    times_add(t, seconds / work);
    return work / seconds;
}

static double step_work(const Config *c, const Recipe *r) {
    const double T = (double)r->batch.sequence, H = (double)c->H;
    const double dk = (double)(c->mla ? c->d_nope + c->d_rope : c->D);
    const double dv = (double)(c->mla ? c->d_v : c->D);
    const double attention = (double)c->L * H * (T + 1) * (4 * dk + 3 * dv);
    return (double)r->batch.tokens * (6 * (double)config_size(c).read + attention);
}

static bool step_time(Bench *b, bool profiled, Err *err) {
    StepStats s;
    profile_on = profiled;
    const double start = os_now();
    const bool ok = trainer_step(b->trainer, &s, err);
    const double seconds = os_now() - start;
    profile_on = false;
    if (!ok) return false;
    CHECK(s.targets == b->recipe.batch.tokens);
    if (profiled)
        b->profiled += seconds;
    else
        times_add(&b->step, seconds);
    return true;
}

static bool steps_run(Bench *b, Err *err) {
    for (int64_t i = 0; i < WARM_UP; i++)
        if (!step_time(b, false, err)) return false;
    b->step.n = 0;
    profile_reset();
    for (int64_t i = 0; i < b->steps; i++) {
        const double dot = probe_rate(b, LAYOUT_BF16, &b->dot),
                     fma = probe_rate(b, LAYOUT_F32, &b->fma);
        const double before = os_now();
        const bool profiled = i % 2 == 1;
        if (!step_time(b, profiled, err)) return false;
        if (!profiled) times_add(&b->share, b->work / (os_now() - before) / MAX(dot, fma));
    }
    return true;
}

/* ---- what was found -------------------------------------------------------------------------- */

static void phases_print(const Bench *b) {
    PhaseTime phase[PHASES_MAX];
    const int64_t n = profile_read(phase);
    const double all = b->profiled * (double)b->threads;
    double rest = all;
    printf("\n%-36s %8s %8s\n", "phase", "%", "ms");
    for (int64_t i = 0; i < n; i++) {
        const double ms = phase[i].seconds / (double)(b->threads * (b->steps / 2)) * 1e3;
        printf("%-36s %8.2f %8.1f\n", phase[i].name, 100 * phase[i].seconds / all, ms);
        rest -= phase[i].seconds;
    }
    printf("%-36s %8.2f\n%-36s %8.2f\n", "outside of the team", 100 * rest / all, "sum", 100.0);
}

static void rows_print(const Bench *b, const char *shape) {
    const char *level = level_name(kern_level());
    const double tokens = (double)b->recipe.batch.tokens;
    const double best = times_best(&b->step), median = times_median(&b->step);
    const Times *probe = times_best(&b->dot) < times_best(&b->fma) ? &b->dot : &b->fma;
    bench_row(level, b->threads, "step best", shape, 1e3 * best, "ms");
    bench_row(level, b->threads, "step median", shape, 1e3 * median, "ms");
    bench_row(level, b->threads, "best", shape, tokens / best, "tokens/s");
    bench_row(level, b->threads, "median", shape, tokens / median, "tokens/s");
    bench_row(level, b->threads, "rate best", shape, 1e-9 * b->work / best, "GFLOP/s");
    bench_row(level, b->threads, "rate median", shape, 1e-9 * b->work / median, "GFLOP/s");
    if (probe->n) {
        bench_row(level, b->threads, "probe best", shape, 1e-9 / times_best(probe), "GFLOP/s");
        bench_row(level, b->threads, "share best", shape, 100 * b->work / best * times_best(probe),
                  "%");
        bench_row(level, b->threads, "share pairwise", shape, 100 * times_median(&b->share), "%");
    }
    bench_row(level, b->threads, "peak memory", shape, 1e-6 * (double)os_memory_peak(), "MB");
    if (b->steps > 1) phases_print(b);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static const char *path_in(const Bench *b, const char *name) {
    return str_fmt(b->a, "%s/%s", b->folder, name).p;
}

static const char *setting(const Bench *b, const char *key, const char *name) {
    return str_fmt(b->a, "%s=%s/%s", key, b->folder, name).p;
}

static bool file_write(const char *path, Str bytes, Err *err) {
    FILE *f = fopen(path, "w");
    if (f && fwrite(bytes.p, 1, (size_t)bytes.n, f) == (size_t)bytes.n && fclose(f) == 0)
        return true;
    return err_set(err, ERR_IO, "%s cannot be written", path);
}

static void folder_remove(const Bench *b) {
    Err err = {0};
    if (!os_remove(path_in(b, "cache"), &err) || !os_remove(path_in(b, "run"), &err)
        || !os_remove(b->folder, &err))
        fprintf(stderr, "step: %s\n", err.msg);
}

static bool bench_open(Bench *b, const char *recipe, const char *const *set, int64_t n_set,
                       Err *err) {
    const char **all = PUSH(b->a, const char *, n_set + 4);
    Buf json = {.a = b->a}, text = {.a = b->a};
    int64_t n = 0;
    all[n++] = setting(b, "tokenizer", "tokenizer.json");
    all[n++] = setting(b, "data.train", "text");
    all[n++] = setting(b, "data.cache", "cache");
    all[n++] = setting(b, "checkpoint.folder", "run");
    for (int64_t i = 0; i < n_set; i++) all[n++] = set[i];
    if (!recipe_read(&b->recipe, b->a, recipe, all, n, err)) return false;
    tokenizer_write(&json);
    text_write(&text, 4 * b->recipe.batch.tokens);
    if (!file_write(path_in(b, "tokenizer.json"), buf_str(&json), err)
        || !file_write(path_in(b, "text"), buf_str(&text), err)
        || !trainer_open(&b->trainer, &b->recipe, b->threads, err))
        return false;
    b->work = step_work(&trainer_model(b->trainer)->cfg, &b->recipe);
    return true;
}

static int failed(const char *why) {
    fprintf(stderr, "step: %s\nusage: step [RECIPE [THREADS [STEPS [LEVEL [KEY=VALUE...]]]]]\n",
            why);
    return 2;
}

static bool number(const char *text, int64_t most, int64_t *out) {
    return str_i64(str_of(text), out) && *out >= 1 && *out <= most;
}

int main(int argc, char **argv) {
    static Bench b = {.folder = "/tmp/lisao-step-XXXXXX", .steps = 8};
    Level level = LEVEL_N;
    Err err = {0};
    b.threads = os_cpus();
    log_set(LOG_ERROR);
    const char *recipe = argc > 1 ? argv[1] : "bench/recipes/moe-s.yaml";
    if (argc > 2 && !number(argv[2], 64, &b.threads)) return failed("THREADS is 1..64");
    if (argc > 3 && !number(argv[3], TIMES_MAX, &b.steps)) return failed("STEPS is 1..1000");
    if (argc > 4 && strcmp(argv[4], "best") != 0 && !level_of_name(argv[4], &level))
        return failed("LEVEL is ref, avx2, avx512, amx or best");
    if (!kern_init(level, &err)) return failed(err.msg);
    if (!mkdtemp(b.folder)) return failed("no temporary folder");
    b.a = arena_open("bench", ARENA_NO_LIMIT);
    b.team = team_open(b.threads);
    const int64_t n_set = MAX(argc - 5, 0);
    const bool ok =
        bench_open(&b, recipe, (const char *const *)argv + 5, n_set, &err) && steps_run(&b, &err);
    const char *slash = strrchr(recipe, '/');
    if (ok) rows_print(&b, slash ? slash + 1 : recipe);
    trainer_close(b.trainer);
    team_close(b.team);
    folder_remove(&b);
    arena_close(b.a);
    return ok ? 0 : failed(err.msg);
}
