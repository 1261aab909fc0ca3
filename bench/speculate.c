/* speculate.c -- what drafts are worth on a text:
 *
 *     speculate MODEL TEXT [THREADS [PROMPTS [PROMPT [TOKENS]]]]
 *
 * Pieces of TEXT, PROMPT tokens each and spread over it, are continued by TOKENS tokens, one
 * sequence at a time, at temperature 0 and 1: plainly, with prompt lookup, with drafts of the
 * model's MTP layer (one and two in a step, whether they pay or not; one where it pays), and with
 * both. Rows: steps a token, drafts tried, the share of them that was right, tokens/s without the
 * prompts. Answers that differ from the plain ones are an error. */
#include "bench.h"
#include "bundle/bundle.h"
#include "infer/infer.h"

typedef struct Way {
    const char *name;
    bool lookup, always;
    int64_t mtp;
} Way;
static const Way WAYS[] = {{"plain", false, false, 0},    {"lookup", true, false, 0},
                           {"mtp 1", false, true, 1},     {"mtp 2", false, true, 2},
                           {"mtp auto", false, false, 1}, {"both auto", true, false, 1}};

typedef struct Text {
    Bundle bundle;
    Team *team;
    Ids ids;
    int64_t prompts, prompt, tokens;
} Text;

/* What a way gave: all tokens, and the time between the first and the last of each answer. */
typedef struct Run {
    int32_t *token;
    int64_t n;
    double first, seconds;
} Run;

static void token_came(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Run *r = arg;
    (void)seq, (void)logits;
    if (r->first <= 0) r->first = os_now();
    if (t.id >= 0) r->token[r->n++] = t.id;
    if (finish != FINISH_NONE) r->seconds += os_now() - r->first;
}

static bool prompts_run(const Text *t, Engine *e, const Way *w, float temperature, Run *r,
                        Err *err) {
    for (int64_t i = 0; i < t->prompts; i++) {
        Arena *a = arena_open("drafter", 1 << 16);
        Drafter d;
        SeqReq q = {.prompt = t->ids.v + i * (t->ids.n - t->prompt) / t->prompts,
                    .n_prompt = t->prompt,
                    .max_tokens = t->tokens,
                    .sampling = {.temperature = temperature, .top_p = 1, .seed = (uint64_t)i},
                    .on_token = token_came,
                    .arg = r};
        lookup_drafter(&d, a);
        if (w->lookup) q.drafter = &d;
        r->first = 0;
        const bool fine = engine_add(e, &q, err) > 0;
        while (fine && engine_step(e)) {}
        arena_close(a);
        if (!fine) return false;
    }
    return true;
}

static void rows_print(const Text *t, const Way *w, float temperature, const Run *r,
                       const EngineStats *s) {
    char shape[64];
    const char *level = level_name(kern_level());
    const int64_t threads = team_threads(t->team), after = t->tokens - 1;
    snprintf(shape, sizeof shape, "%s at %g", w->name, (double)temperature);
    bench_row(level, threads, "steps a token", shape,
              (double)(s->steps - t->prompts) / (double)(t->prompts * after), "");
    bench_row(level, threads, "drafts", shape, (double)s->drafted, "tokens");
    if (s->drafted)
        bench_row(level, threads, "right drafts", shape,
                  100 * (double)s->accepted / (double)s->drafted, "%");
    bench_row(level, threads, "decode", shape, (double)(t->prompts * after) / r->seconds,
              "tokens/s");
}

static bool way_run(const Text *t, const Way *w, float temperature, Run *r, Err *err) {
    Arena *a = arena_open("way", ARENA_NO_LIMIT);
    const EngineSpec e = {.seqs = 1,
                          .queue = 1,
                          .rows = MAX(t->prompt, 32),
                          .drafts = 16,
                          .mtp = w->mtp,
                          .mtp_always = w->always,
                          .no_prefix = true};
    PlanSpec spec = plan_defaults(t->bundle.model);
    Plan *plan;
    Engine *engine;
    engine_plan(&spec, t->bundle.model, &e, t->prompt + t->tokens, t->team);
    const bool fine = plan_new(&plan, a, t->bundle.model, &spec, 0, t->team, err)
                      && engine_new(&engine, a, plan, &e, t->team, err)
                      && prompts_run(t, engine, w, temperature, r, err);
    if (fine) {
        const EngineStats s = engine_stats(engine);
        rows_print(t, w, temperature, r, &s);
    }
    arena_close(a);
    return fine;
}

static bool ways_run(Text *t, Arena *a, Err *err) {
    const int64_t all = t->prompts * t->tokens;
    for (int hot = 0; hot < 2; hot++) {
        Run plain = {.token = PUSH(a, int32_t, all)};
        for (int64_t i = 0; i < COUNT(WAYS); i++) {
            Run r = {.token = i ? PUSH(a, int32_t, all) : plain.token};
            if (WAYS[i].mtp && t->bundle.model->n_layers == t->bundle.model->cfg.L) continue;
            if (!way_run(t, &WAYS[i], (float)hot, &r, err)) return false;
            if (i == 0) plain = r;
            if (r.n != plain.n || memcmp(r.token, plain.token, (size_t)r.n * sizeof *r.token))
                return err_set(err, ERR_FORMAT, "%s gave other tokens than no drafts",
                               WAYS[i].name);
        }
    }
    return true;
}

static bool ids_make(Text *t, Arena *a, const char *path, Err *err) {
    Arena *scratch = arena_open("text", ARENA_NO_LIMIT);
    Str bytes;
    t->ids.a = a;
    bool fine = os_read(scratch, &bytes, path, 1 << 28, err)
                && text_encode(&t->ids, t->bundle.tok, bytes, TEXT_PLAIN, scratch, err);
    arena_close(scratch);
    if (fine && t->ids.n < t->prompt)
        return err_set(err, ERR_USAGE, "%s has fewer tokens than one prompt", path);
    return fine;
}

static bool text_open(Text *t, Arena *a, const char *model, const char *text, Err *err) {
    Bundle *b = &t->bundle;
    Config c;
    if (!kern_init(LEVEL_N, err) || !bundle_open(b, a, model, 0, err)
        || !config_read(&c, b->store, err))
        return false;
    b->mtp = MIN(model_mtp_held(b->store, &c), 1);
    return bundle_load(b, BUNDLE_MODEL | BUNDLE_TOKENIZER, err) && ids_make(t, a, text, err);
}

static int failed(const char *why) {
    fprintf(stderr,
            "speculate: %s\nusage: speculate MODEL TEXT [THREADS [PROMPTS [PROMPT [TOKENS]]]]\n",
            why);
    return 2;
}

int main(int argc, char **argv) {
    static Text t = {.prompts = 32, .prompt = 128, .tokens = 128};
    int64_t threads = os_cpus();
    int64_t *const number[] = {&threads, &t.prompts, &t.prompt, &t.tokens};
    Err err = {0};
    if (argc == 1) return 0; /* of `make bench`, which knows no model */
    if (argc < 3 || argc > 7) return failed("which model, and which text?");
    for (int i = 3; i < argc; i++)
        if (!str_i64(str_of(argv[i]), number[i - 3]) || *number[i - 3] < 1
            || *number[i - 3] > 10000)
            return failed("numbers go from 1 to 10000");
    Arena *a = arena_open("bench", ARENA_NO_LIMIT);
    t.team = team_open(MIN(threads, 64));
    const bool ok = text_open(&t, a, argv[1], argv[2], &err) && ways_run(&t, a, &err);
    bundle_close(&t.bundle);
    team_close(t.team);
    arena_close(a);
    return ok ? 0 : failed(err.msg);
}
