/* cmd_bench.c -- `lisao bench`: how fast a model runs here, beside what memory allows.
 *
 * A step reads every weight once, however many rows it has (of experts those that its rows chose).
 * So the bytes of these weights at the rate at which the same threads read memory, measured in the
 * same round, are the floor of its time. Decoding comes near to it; a long prompt, whose step is
 * bound by arithmetic, does not. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

#include "gen/commit.h"

enum { PROMPT_DEFAULT = 512, TOKENS_DEFAULT = 32, BATCH_DEFAULT = 8, ROUNDS_DEFAULT = 5 };
enum { READ_BYTES = 256 << 20 }; /* a block larger than most caches */

typedef struct Options {
    ModelOpts model;
    int64_t prompt, tokens, batch, rounds;
    bool json;
} Options;

/* One of the three measurements: `steps` steps of `rows` rows, a token each. */
typedef struct Phase {
    const char *key;
    int64_t steps, rows, tokens; /* tokens: all of a round */
    double bytes;                /* of weights that a step reads */
    Times time;                  /* of a round */
} Phase;

typedef struct Sequence {
    int64_t id, n; /* its number in the engine; tokens that came */
    double first, last;
} Sequence;

typedef struct Bench {
    Session s;
    const Options *o;
    Engine *engine;
    Reading *reading;
    Sequence *seq;   /* (batch) */
    int32_t *prompt; /* (prompt) */
    Times read;      /* of READ_BYTES, one for each round of a phase */
    bool damaged;    /* the model computed NaN */
    Phase prefill, decode, batched;
    Progress bar;
    int64_t done; /* rounds */
} Bench;

/* ---- measuring ------------------------------------------------------------------------------- */

static void token_came(void *arg, int64_t id, Token t, Finish finish, const float *logits) {
    (void)t, (void)logits;
    Bench *b = arg;
    if (finish == FINISH_ERROR) b->damaged = true;
    for (int64_t i = 0; i < b->o->batch; i++)
        if (b->seq[i].id == id) {
            b->seq[i].last = os_now();
            if (b->seq[i].n++ == 0) b->seq[i].first = b->seq[i].last;
        }
}

/* Sequence i begins. Its prompt is random and its own: experts are chosen as widely as texts choose
 * them, and no sequence reads the keys of another. Nothing ends it but its length. */
static bool sequence_add(Bench *b, int64_t i, int64_t max_tokens, Err *err) {
    const int64_t n = b->o->prompt, V = b->s.bundle.model->cfg.V;
    for (int64_t j = 0; j < n; j++)
        b->prompt[j] = (int32_t)(philox(1, (uint64_t)j, (uint32_t)i).w[0] % (uint64_t)V);
    SeqReq r = {.prompt = b->prompt, .n_prompt = n, .max_tokens = max_tokens};
    r.on_token = token_came, r.arg = b;
    b->seq[i] = (Sequence){0};
    b->seq[i].id = engine_add(b->engine, &r, err);
    return b->seq[i].id != 0;
}

/* One step more; false when it was the last, or must be. */
static bool step(Bench *b, Err *err) {
    if (os_interrupted()) return err_set(err, ERR_INTERRUPTED, "interrupted");
    const bool more = engine_step(b->engine);
    return b->damaged ? generation_void(err) : more;
}

/* Seconds in which the threads read READ_BYTES now. */
static double read_now(Bench *b) {
    Times t = {0};
    reading_run(b->s.team, b->reading, 1, &t);
    return times_best(&t);
}

static void round_done(Bench *b) { progress_at(&b->bar, ++b->done, NULL); }

/* A prompt and the tokens behind it, of one sequence. The first round warms up. */
static bool single_run(Bench *b, Err *err) {
    for (int64_t i = -1; i < b->o->rounds; i++) {
        const double read = read_now(b), start = os_now();
        if (!sequence_add(b, 0, b->o->tokens + 1, err)) return false;
        while (step(b, err)) {}
        if (err->code) return false;
        if (i >= 0) {
            times_add(&b->read, read);
            times_add(&b->prefill.time, b->seq[0].first - start);
            times_add(&b->decode.time, b->seq[0].last - b->seq[0].first);
        }
        round_done(b);
    }
    return true;
}

static bool all_began(const Bench *b) {
    for (int64_t i = 0; i < b->o->batch; i++)
        if (b->seq[i].n == 0) return false;
    return true;
}

/* Steps in which every sequence gets a token; their prompts are computed once, before. */
static bool batched_run(Bench *b, Err *err) {
    const Options *o = b->o;
    for (int64_t i = 0; i < o->batch; i++)
        if (!sequence_add(b, i, b->s.plan->spec.positions - o->prompt, err)) return false;
    while (!all_began(b))
        if (!step(b, err)) return false;
    for (int64_t i = -1; i < o->rounds; i++) {
        const double read = read_now(b), start = os_now();
        for (int64_t j = 0; j < o->tokens; j++)
            if (!step(b, err)) return false;
        if (i >= 0) {
            times_add(&b->read, read);
            times_add(&b->batched.time, os_now() - start);
        }
        round_done(b);
    }
    return true;
}

/* ---- planning -------------------------------------------------------------------------------- */

/* Positions that the longest sequence comes to: one of the batch, which goes on from round to
 * round, and a token of each sequence can come while the prompt of another is computed. */
static int64_t positions_of(const Options *o) {
    return o->prompt + (o->rounds + 1) * o->tokens + 2 * o->batch * o->prompt / RUN_ROWS + o->batch
           + 2;
}

/* A prompt that was not asked for is as long as the model takes. */
static bool sizes_set(Options *o, const Session *s, Err *err) {
    const int64_t most = s->bundle.model->cfg.max_positions;
    const bool asked = o->prompt > 0;
    if (!asked) o->prompt = PROMPT_DEFAULT;
    while (!asked && o->prompt > 1 && positions_of(o) > most) o->prompt /= 2;
    if (positions_of(o) <= most) return true;
    return err_set(err, ERR_USAGE,
                   "--prompt %lld, --tokens %lld, --rounds %lld and --batch %lld come to %lld "
                   "positions, and %s has %lld: ask for less",
                   (long long)o->prompt, (long long)o->tokens, (long long)o->rounds,
                   (long long)o->batch, (long long)positions_of(o),
                   path_shown(s->arena, s->bundle.path), (long long)most);
}

static void phases_set(Bench *b) {
    const Options *o = b->o;
    const Plan *p = b->s.plan;
    const int64_t rows = MIN(o->prompt, p->spec.rows), steps = (o->prompt + rows - 1) / rows;
    b->prefill = (Phase){.key = "prefill", .steps = steps, .rows = rows, .tokens = o->prompt};
    b->decode = (Phase){.key = "decode", .steps = o->tokens, .rows = 1, .tokens = o->tokens};
    b->batched = (Phase){.key = "batched", .steps = o->tokens, .rows = o->batch};
    b->batched.tokens = o->tokens * o->batch;
    Phase *phase[] = {&b->prefill, &b->decode, &b->batched};
    for (int i = 0; i < COUNT(phase); i++) phase[i]->bytes = plan_read_bytes(p, phase[i]->rows);
}

static bool bench_open(Bench *b, const char *model, Options *o, Err *err) {
    Session *s = &b->s;
    PlanSpec spec;
    EngineSpec e = {.seqs = o->batch, .queue = o->batch, .rows = RUN_ROWS, .no_prefix = true};
    if (!session_open(s, model, BUNDLE_MODEL, &o->model, &spec, err) || !sizes_set(o, s, err))
        return false;
    e.queue_tokens = o->batch * positions_of(o);
    engine_plan(&spec, s->bundle.model, &e, positions_of(o), s->team);
    spec.results = READ_BYTES;
    if (!session_plan(s, &spec, err)
        || !engine_new(&b->engine, s->arena, s->plan, &e, s->team, err))
        return false;
    b->o = o;
    b->reading = reading_new(s->arena, READ_BYTES);
    b->seq = PUSH(s->arena, Sequence, o->batch);
    b->prompt = PUSH(s->arena, int32_t, o->prompt);
    phases_set(b);
    return true;
}

/* ---- printing -------------------------------------------------------------------------------- */

/* Seconds of a round if it did nothing but read the weights, at the median rate. */
static double floor_of(const Bench *b, const Phase *p) {
    return (double)p->steps * p->bytes * times_median(&b->read) / READ_BYTES;
}

static double share_of(const Bench *b, const Phase *p) {
    return floor_of(b, p) / times_median(&p->time);
}

static void print_phase(const Bench *b, const Phase *p, const char *what) {
    const double n = (double)p->tokens;
    printf("%-38s %9.1f %9.1f %9.1f %11.1f %7.0f %%\n", what, n / times_best(&p->time),
           n / times_median(&p->time), p->bytes / 1e6, n / floor_of(b, p), 100 * share_of(b, p));
}

static void print_text(const Bench *b) {
    const Options *o = b->o;
    const Plan *p = b->s.plan;
    const Config *c = &b->s.bundle.model->cfg;
    Arena *a = b->s.arena;
    char cpu[64];
    cpu_name(cpu);
    const ModelSize n = config_size(c);
    printf("model        %s\n", path_shown(a, b->s.bundle.path));
    printf("             %s, %.1f M parameters", family_name(c->family), (double)n.total / 1e6);
    if (n.active < n.total) printf(" (a token uses %.1f M)", (double)n.active / 1e6);
    printf(", %s\n", dtype_name(b->s.bundle.model->file_type));
    printf("machine      %s, level %s, %lld threads\n", cpu, level_name(kern_level()),
           (long long)team_threads(b->s.team));
    printf("numbers      activations %s, KV cache %s\n", act_name(p->spec.act),
           dtype_name(p->spec.kv));
    printf("program      lisao %s, commit %s\n", LISAO_VERSION, LISAO_COMMIT);
    printf("reading      %.1f GB/s best, %.1f median (%d MiB, on the same threads, between the "
           "rounds)\n\n",
           READ_BYTES / times_best(&b->read) / 1e9, READ_BYTES / times_median(&b->read) / 1e9,
           READ_BYTES >> 20);
    printf("%-38s %19s %9s %11s %9s\n", "", "tokens/s", "weights", "floor", "share");
    printf("%-38s %9s %9s %9s %11s %9s\n", "", "best", "median", "MB a step", "tokens/s", "of it");
    print_phase(b, &b->prefill, str_fmt(a, "prompt of %lld", (long long)o->prompt).p);
    print_phase(b, &b->decode,
                str_fmt(a, "%lld tokens after %lld", (long long)o->tokens, (long long)o->prompt).p);
    print_phase(
        b, &b->batched,
        str_fmt(a, "%lld sequences at once, after %lld", (long long)o->batch, (long long)o->prompt)
            .p);
    printf(
        "\n%lld rounds. The floor is what reading the weights at the median rate would allow.%s\n",
        (long long)o->rounds,
        c->E ? " Of experts it\ncounts those that the rows of a step choose, on average if they "
               "choose evenly."
             : "");
}

static json_t *phase_json(const Bench *b, const Phase *p) {
    const double n = (double)p->tokens;
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "tokens", (json_int_t)p->tokens,
                     "steps", (json_int_t)p->steps, "best", n / times_best(&p->time), "median",
                     n / times_median(&p->time), "step_bytes", p->bytes, "floor",
                     n / floor_of(b, p), "share", share_of(b, p));
}

static void print_json(const Bench *b) {
    const Options *o = b->o;
    const PlanSpec *p = &b->s.plan->spec;
    const Config *c = &b->s.bundle.model->cfg;
    const ModelSize n = config_size(c);
    char cpu[64];
    cpu_name(cpu);
    json_t *j =
        json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s}", "model",
                  path_shown(b->s.arena, b->s.bundle.path), "family", family_name(c->family),
                  "parameters", (json_int_t)n.total, "active_parameters", (json_int_t)n.active,
                  "file_type", dtype_name(b->s.bundle.model->file_type), "cpu",
                  path_shown(b->s.arena, cpu), "level", level_name(kern_level()), "threads",
                  (json_int_t)team_threads(b->s.team), "act", act_name(p->act), "kv",
                  dtype_name(p->kv), "version", LISAO_VERSION, "commit", LISAO_COMMIT);
    json_object_set_new(j, "prompt", json_integer(o->prompt));
    json_object_set_new(j, "batch", json_integer(o->batch));
    json_object_set_new(j, "rounds", json_integer(o->rounds));
    json_object_set_new(j, "read_rate",
                        json_pack("{s:f, s:f}", "best", READ_BYTES / times_best(&b->read), "median",
                                  READ_BYTES / times_median(&b->read)));
    const Phase *phase[] = {&b->prefill, &b->decode, &b->batched};
    for (int i = 0; i < COUNT(phase); i++)
        json_object_set_new(j, phase[i]->key, phase_json(b, phase[i]));
    json_show(j);
}

/* ---- the command ----------------------------------------------------------------------------- */

static bool bench(const char *model, Options *o, Err *err) {
    Arena *a = arena_open("bench", 1 << 20);
    Bench *b = PUSH(a, Bench, 1);
    bool ok = bench_open(b, model, o, err);
    if (ok) {
        progress_start(&b->bar, "bench", "round", 2 * (o->rounds + 1));
        ok = single_run(b, err) && batched_run(b, err);
        progress_end(&b->bar);
    }
    if (ok && o->json) print_json(b);
    if (ok && !o->json) print_text(b);
    session_close(&b->s);
    arena_close(a);
    return ok;
}

int cmd_bench(int argc, char **argv) {
    Options o = {.tokens = TOKENS_DEFAULT, .batch = BATCH_DEFAULT, .rounds = ROUNDS_DEFAULT};
    const Opt opts[] = {
        NUMBER_OPT(OPT_I64, "prompt", "N", &o.prompt,
                   "Tokens of the prompt; 0: 512, or what the model has room for.", 0, 1 << 20),
        NUMBER_OPT(OPT_I64, "tokens", "N", &o.tokens, "Tokens generated after it in a round.", 1,
                   1 << 20),
        NUMBER_OPT(OPT_I64, "batch", "N", &o.batch,
                   "Sequences of the third measurement, which are continued together.", 1, 256),
        NUMBER_OPT(OPT_I64, "rounds", "N", &o.rounds,
                   "How often each is measured; one round more warms up.", 1, TIMES_MAX / 2),
        FLAG_OPT("json", &o.json, "Print one JSON object; rates in tokens/s and bytes/s."),
        MODEL_OPTS(o.model)};
    const Command c = {
        "bench",
        "MODEL",
        "measure how fast a model runs on this machine",
        "Measures tokens/s of reading a prompt, of generating after it, and of several sequences "
        "generated together: the best and the median of the rounds. Beside each stands the floor, "
        "which is the weights of a step at the rate at which the same threads read memory in the "
        "same rounds. Prompts are random, and the choice is greedy. Nothing else should run "
        "meanwhile.",
        "lisao bench SmolLM2-135M-Instruct.Q4_1\n"
        "lisao bench model.gguf --prompt 64 --tokens 8 --batch 2 --rounds 1 --json\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    if (argc == 2 && bench(argv[1], &o, &err)) return 0;
    if (argc != 2) err_set(&err, ERR_USAGE, "expected one MODEL, found %d arguments", argc - 1);
    return command_failed(&c, &err);
}
