/* cmd_logits.c -- `lisao logits`: what the model says at every position, as C-ordered float32 in a
 * .npy file.
 *
 * The sequence runs through model_forward as the engine would run it: in KV pages, in chunks of
 * --chunk rows, with --batch-with other sequences in the same steps. Neither may change a bit; that
 * is what the printed hash is for. */
#include "cli/cli.h"

#include <stdio.h>

enum { BATCH_WITH_MAX = 256, CHUNK_USUAL = 512 }; /* so Ctrl-C need not wait for all tokens */

typedef struct Options {
    ModelOpts model;
    const char *ids, *ids_file, *out;
    int64_t chunk, batch_with;
    bool hidden;
} Options;

/* A sequence on its way through the model: position `at` of `n` tokens. */
typedef struct Sequence {
    const int32_t *ids;
    int64_t n, at;
    KvSeq kv;
} Sequence;

/* What the threads run. */
typedef struct Step {
    Plan *plan;
    Batch batch;
    Out out;
    bool valid; /* no router met NaN */
} Step;

static void step_threads(Thread th, void *arg) {
    Step *s = arg;
    const bool valid = model_forward(th, s->plan, &s->batch, &s->out, NULL);
    if (th.i == 0) s->valid = valid;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* A .npy header, version 1.0: magic, length, a Python literal padded so that the data begins at
 * a multiple of 64. */
static Str npy_header(Arena *a, const int64_t *dim, int64_t n_dims) {
    Buf dict = {.a = a}, h = {.a = a};
    buf_fmt(&dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int64_t i = 0; i < n_dims; i++) buf_fmt(&dict, "%lld, ", (long long)dim[i]);
    buf_fmt(&dict, "), }");
    int64_t length = round_up(10 + dict.n + 1, 64) - 10;
    buf_add(&h, (Str){"\x93NUMPY\x01\x00", 8});
    buf_add(&h, (Str){(const char[]){(char)(length & 255), (char)(length >> 8)}, 2});
    buf_fmt(&h, "%.*s%*s\n", STRF(buf_str(&dict)), (int)(length - dict.n - 1), "");
    return buf_str(&h);
}

static bool npy_write(Arena *a, const char *path, const float *x, const int64_t *dim,
                      int64_t n_dims, Err *err) {
    int64_t bytes = 4;
    for (int64_t i = 0; i < n_dims; i++) bytes *= dim[i];
    Str header = npy_header(a, dim, n_dims);
    OutFile *f = os_create(a, path, err);
    if (!f) return false;
    if (!os_write(f, header.p, header.n, err) || !os_write(f, x, bytes, err)) {
        os_abandon(f);
        return false;
    }
    if (!os_commit(f, err)) return false;
    Sha256 sum;
    char hex[65];
    sha256_init(&sum);
    sha256_add(&sum, x, bytes);
    sha256_hex(&sum, hex);
    printf("sha256 %s\n", hex);
    return true;
}

/* ---- the forward ----------------------------------------------------------------------------- */

/* The next rows of every sequence that is not through, the one asked for standing among its
 * others. Returns the first of its rows in the batch. */
static int64_t step_fill(Batch *b, int32_t *token, Span *span, Sequence *seq, int64_t n_seqs,
                         int64_t target, int64_t chunk) {
    int64_t first = 0;
    b->token = token, b->span = span, b->n = 0, b->n_spans = 0;
    for (int64_t i = 0; i < n_seqs; i++) {
        Sequence *w = &seq[i];
        int64_t n = MIN(chunk, w->n - w->at);
        if (n <= 0) continue;
        if (i == target) first = b->n;
        memcpy(token + b->n, w->ids + w->at, (size_t)n * sizeof *token);
        span[b->n_spans++] =
            (Span){.row = b->n, .n = n, .pos = w->at, .pages = w->kv.page, .seq = i};
        b->n += n;
        w->at += n;
    }
    return first;
}

/* Random companions of 1..n tokens, always the same for the same n and vocabulary. */
static void others_make(Arena *a, Sequence *seq, int64_t n_seqs, int64_t target, int64_t n,
                        int64_t V) {
    for (int64_t i = 0; i < n_seqs; i++) {
        if (i == target) continue;
        int32_t *ids = PUSH(a, int32_t, n);
        seq[i].n = 1 + philox(1, (uint64_t)i, 0).w[0] % n;
        for (int64_t j = 0; j < seq[i].n; j++)
            ids[j] = (int32_t)(philox(1, (uint64_t)j, (uint32_t)i + 1).w[0] % V);
        seq[i].ids = ids;
    }
}

/* False where a router met NaN: what the step gave is void. */
static bool sequences_run(Session *s, const Options *o, Sequence *seq, int64_t n_seqs,
                          int64_t target, float *result) {
    Arena *a = s->arena;
    const Config *c = &s->bundle.model->cfg;
    int64_t T = seq[target].n, rows = s->plan->spec.rows, chunk = rows / n_seqs;
    int32_t *token = PUSH(a, int32_t, rows);
    Want *want = PUSH(a, Want, chunk);
    Span *span = PUSH(a, Span, n_seqs);
    Step step = {.plan = s->plan, .valid = true};
    if (o->hidden) step.out.every_hidden = PUSH(a, float, (c->L + 2) * rows * c->C);
    Progress bar;
    progress_start(&bar, "logits", "token", T);
    while (seq[target].at < T && step.valid && !os_interrupted()) {
        int64_t at = seq[target].at;
        Batch *b = &step.batch;
        int64_t first = step_fill(b, token, span, seq, n_seqs, target, chunk),
                n = seq[target].at - at;
        for (int64_t i = 0; i < n; i++) want[i] = (Want){(int32_t)(first + i), WANT_LOGITS};
        b->want = want, b->n_want = o->hidden ? 0 : n;
        step.out.logits = o->hidden ? NULL : result + at * c->V;
        team_run(s->team, step_threads, &step);
        for (int64_t h = 0; o->hidden && h < c->L + 2; h++)
            memcpy(result + (h * T + at) * c->C, step.out.every_hidden + (h * b->n + first) * c->C,
                   (size_t)(n * c->C) * sizeof *result);
        progress_at(&bar, seq[target].at, NULL);
    }
    progress_end(&bar);
    return step.valid;
}

static bool ids_find(const Options *o, Arena *a, int32_t **ids, int64_t *n, int64_t V, Err *err) {
    if (!o->ids == !o->ids_file)
        return err_set(err, ERR_USAGE,
                       "give the token ids with either --ids 1,2,3 or --ids-file FILE");
    Str text = o->ids ? str_of(o->ids) : (Str){0};
    if (o->ids_file && !os_read(a, &text, o->ids_file, 1 << 24, err)) return false;
    return ids_parse(a, ids, n, text, V, o->ids_file ? o->ids_file : "--ids", err);
}

static bool logits(const Options *o, const char *path, Err *err) {
    Session s = {0};
    PlanSpec spec;
    int32_t *ids = NULL;
    int64_t T = 0;
    bool ok = session_open(&s, path, BUNDLE_MODEL, &o->model, &spec, err)
              && ids_find(o, s.arena, &ids, &T, s.bundle.model->cfg.V, err);
    if (ok) {
        int64_t n = o->batch_with + 1, target = o->batch_with / 2,
                chunk = o->chunk ? MIN(o->chunk, T) : T;
        const Config *c = &s.bundle.model->cfg;
        int64_t states = (c->L + 2) * c->C * 4; /* bytes of one row's */
        spec.rows = chunk * n, spec.logit_rows = o->hidden ? 0 : chunk, spec.spans = n;
        spec.pages = n * (round_up(T, PAGE) / PAGE), spec.positions = T;
        spec.results = o->hidden ? states * (T + spec.rows) : (T - chunk) * c->V * 4;
        if (T > s.bundle.model->cfg.max_positions)
            log_at(LOG_WARN, "%lld tokens are more than the %lld positions that %s was made for",
                   (long long)T, (long long)s.bundle.model->cfg.max_positions, s.bundle.path);
        ok = session_plan(&s, &spec, err);
        if (ok) {
            Sequence *seq = PUSH(s.arena, Sequence, n);
            Pages *pages = pages_new(s.arena, &s.plan->kv, spec.pages, n, T);
            others_make(s.arena, seq, n, target, T, c->V);
            seq[target].ids = ids, seq[target].n = T;
            for (int64_t i = 0; i < n; i++)
                CHECK(kv_open(pages, &seq[i].kv) && kv_reserve(pages, &seq[i].kv, seq[i].n));
            int64_t dim[3] = {c->L + 2, T, c->C}, flat[2] = {T, c->V};
            float *result = PUSH(s.arena, float, o->hidden ? dim[0] * dim[1] * dim[2] : T * c->V);
            ok = sequences_run(&s, o, seq, n, target, result) || generation_void(err);
            if (ok && os_interrupted())
                ok = err_set(err, ERR_INTERRUPTED, "interrupted; nothing was written");
            ok = ok
                 && npy_write(s.arena, o->out, result, o->hidden ? dim : flat, o->hidden ? 3 : 2,
                              err);
        }
    }
    session_close(&s);
    return ok;
}

int cmd_logits(int argc, char **argv) {
    Options o = {.chunk = CHUNK_USUAL};
    const Opt opts[] = {
        TEXT_OPT("ids", "IDS", &o.ids, "Token ids: 1,2,3 or a JSON array."),
        TEXT_OPT("ids-file", "FILE", &o.ids_file, "The same from a file."),
        TEXT_OPT("o", "FILE", &o.out, "Output file: float32 [T,V]."),
        NUMBER_OPT(OPT_I64, "chunk", "N", &o.chunk,
                   "Compute N tokens a step (default 512); 0: all at once.", 0, 1 << 24),
        NUMBER_OPT(OPT_I64, "batch-with", "N", &o.batch_with,
                   "Run N random other sequences in the same steps.", 0, BATCH_WITH_MAX),
        FLAG_OPT("hidden", &o.hidden,
                 "Write hidden states [L+2,T,C] instead: embedding, after each layer, "
                 "after the final norm."),
        MODEL_OPTS(o.model),
    };
    const Command c = {
        "logits",
        "MODEL -o OUT.npy",
        "write the logits of a token sequence to a .npy file",
        "Runs the token ids through the model and writes float32 logits [T,V]. Prints one line, "
        "\"sha256 HEX\" of the array's bytes, which do not depend on --cpu, --threads, --chunk or "
        "--batch-with.",
        "lisao logits model.gguf --ids 1,2,3 -o logits.npy\n"
        "lisao logits checkpoint/ --ids-file ids.json --act f32 --chunk 7 --batch-with "
        "3 -o logits.npy\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    bool ok = argc == 2
                  ? o.out || err_set(&err, ERR_USAGE, "name the output file with -o OUT.npy")
                  : err_set(&err, ERR_USAGE, "expected one MODEL, found %d arguments", argc - 1);
    if (ok && logits(&o, argv[1], &err)) return 0;
    return command_failed(&c, &err);
}
