/* soft.c -- what a teacher would say at every place of a text, as targets ("Distilling the
 * Knowledge in a Neural Network", Hinton et al. 2015, arXiv 1503.02531, at temperature 1).
 *
 * <folder>/logits-P.bin belongs to text P of data.train: a Head, then for each place of its pieces,
 * in their order, K pairs of a token and its log-probability, the K most likely ones by ascending
 * token; zeros where nothing is learned. It only grows, by whole batches; what a kill leaves of a
 * batch is taken off. When it is whole the teacher is not needed any more.
 *
 * The K probabilities are scaled to a sum of 1, and the student's loss is the divergence of its own
 * from them, so that it is 0 where the student says the same. */
#include "train/trainer.h"

static const char MAGIC[8] = "LISAOSFT";

typedef struct Head {
    char magic[8];
    int64_t k, places;
    char text[64], teacher[64]; /* SHA-256 of what places there are, and of the model, in hex */
    char zero[40];              /* up to 192 bytes */
} Head;

typedef struct Pair {
    int32_t token;
    float logprob;
} Pair;

typedef struct SoftText {
    const char *path;
    int64_t *first; /* (n_pieces + 1) the number of each piece's first place */
    int64_t n_pieces, places;
    Head head; /* as the file's is to be, but for the teacher */
    Map map;
} SoftText;

struct Soft {
    int64_t k;
    SoftText text[MIX_MOST];
    const Pair **record; /* (N) of the micro-batch under way; NULL: nothing is learned there */
    float *q, *l;        /* (threads, K) */
    int32_t *token;      /* (threads, K) */
};

/* ---- which places ---------------------------------------------------------------------------- */

static void text_describe(SoftText *x, Trainer *t, int64_t i) {
    const Recipe *r = t->recipe;
    const int64_t part[] = {r->distill.logits, r->batch.sequence};
    const Piece *piece = loader_pieces(mix_loader(t->mix, i), &x->n_pieces);
    char hex[65];
    Sha256 h;
    x->path = str_fmt(t->arena, "%s/logits-%lld.bin", r->checkpoint.folder, (long long)i).p;
    x->first = PUSH(t->arena, int64_t, x->n_pieces + 1);
    for (int64_t p = 0; p < x->n_pieces; p++) x->first[p + 1] = x->first[p] + piece[p].n;
    x->places = x->first[x->n_pieces];
    sha256_init(&h);
    sha256_add(&h, t->train[i].key, 64);
    sha256_add(&h, part, sizeof part);
    sha256_hex(&h, hex);
    x->head = (Head){.k = r->distill.logits, .places = x->places};
    memcpy(x->head.magic, MAGIC, sizeof MAGIC);
    memcpy(x->head.text, hex, 64);
}

static int64_t record_bytes(const SoftText *x) { return x->head.k * (int64_t)sizeof(Pair); }
static int64_t whole_bytes(const SoftText *x) {
    return (int64_t)sizeof(Head) + x->places * record_bytes(x);
}

/* ---- the teacher reads ----------------------------------------------------------------------- */

typedef struct Reader {
    Trainer *t;
    Arena *arena;
    Bundle bundle;
    Plan *plan;
    Packed rows;
    Span *span;
    void **page; /* KV pages, cleared for each batch */
    uint8_t *page_memory;
    Want *want;
    float *hidden, *logits;
    Batch batch;
    Out out;
    Pair *record; /* (N, K) */
    bool valid;
} Reader;

static bool reader_open(Reader *x, Err *err) {
    const Trainer *t = x->t;
    const Recipe *r = t->recipe;
    const int64_t N = r->batch.micro;
    if (!bundle_open(&x->bundle, x->arena, r->distill.teacher, BUNDLE_MODEL | BUNDLE_TOKENIZER,
                     err))
        return false;
    Model *m = x->bundle.model;
    const bool same = tokens_same(x->bundle.tok, t->text.bundle.tok);
    if (!same || m->cfg.max_positions < r->batch.sequence)
        return err_set(err, ERR_USAGE,
                       "distill.teacher, %s, %s: take another teacher, or learn its answers "
                       "(without distill.logits)",
                       r->distill.teacher,
                       same ? "has fewer positions than batch.sequence"
                            : "has other tokens than the student");
    PlanSpec s = plan_defaults(m);
    s.act = r->act, s.kv = r->act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16, s.mla = MLA_EXPANDED;
    s.rows = s.logit_rows = N, s.spans = most_spans(r), s.positions = r->batch.sequence;
    s.pages = N / PAGE + s.spans;
    s.results = N * (m->cfg.C * (int64_t)sizeof(float) + r->distill.logits * (int64_t)sizeof(Pair));
    if (!plan_new(&x->plan, x->arena, m, &s, 0, t->team, err)) return false;
    plan_fingerprint(x->plan, t->team);
    x->rows = packed_new(x->arena, N);
    x->span = PUSH(x->arena, Span, s.spans);
    x->page = PUSH(x->arena, void *, s.pages);
    x->page_memory = PUSH(x->arena, uint8_t, s.pages * x->plan->kv.page_bytes);
    x->want = PUSH(x->arena, Want, N);
    x->hidden = PUSH(x->arena, float, N * m->cfg.C);
    x->logits = PUSH(x->arena, float, MIN(N, head_rows(x->plan)) * m->cfg.V);
    x->record = PUSH(x->arena, Pair, N * r->distill.logits);
    for (int64_t i = 0; i < N; i++) x->want[i] = (Want){(int32_t)i, WANT_HIDDEN};
    return true;
}

static void reader_close(Reader *x) {
    bundle_close(&x->bundle);
    arena_close(x->arena);
}

/* The K largest of z, which fewer tokens may be: of equal ones the lower token. `to` is kept with
 * the largest first, and put into the order of tokens at the end. */
static void most_likely(Pair *to, int64_t k, const float *z, int64_t V, float lse) {
    int64_t n = 0;
    for (int64_t i = 0; i < V; i++) {
        if (n == k && !(z[i] > to[n - 1].logprob)) continue;
        int64_t at = n < k ? n++ : n - 1;
        for (; at > 0 && z[i] > to[at - 1].logprob; at--) to[at] = to[at - 1];
        to[at] = (Pair){(int32_t)i, z[i]};
    }
    for (int64_t i = 0; i < n; i++) {
        const Pair x = {to[i].token, to[i].logprob - lse};
        int64_t at = i;
        for (; at > 0 && to[at - 1].token > x.token; at--) to[at] = to[at - 1];
        to[at] = x;
    }
}

static void read_threads(Thread th, void *arg) {
    Reader *x = arg;
    const Packed *b = &x->rows;
    const int64_t C = x->bundle.model->cfg.C, V = x->bundle.model->cfg.V,
                  K = x->t->recipe->distill.logits;
    const bool valid = model_forward(th, x->plan, &x->batch, &x->out, NULL);
    if (th.i == 0) x->valid = valid;
    for (int64_t row = 0, step = head_rows(x->plan); valid && row < b->n; row += step) {
        const int64_t n = MIN(step, b->n - row);
        head_logits(th, x->plan, x->logits, x->hidden + row * C, n);
        const Range mine = thread_range(th, n);
        for (int64_t i = mine.lo; i < mine.hi; i++) {
            const float *z = x->logits + i * V;
            if (b->target[row + i] >= 0)
                most_likely(x->record + (row + i) * K, K, z, V, row_lse(z, V));
        }
        thread_sync(th);
    }
}

/* What lies past a sequence's end in its last page is masked, but it must be a number. */
static void pages_give(Reader *x) {
    const int64_t bytes = x->plan->kv.page_bytes;
    int64_t used = 0;
    for (int64_t p = 0; p < x->rows.n_pieces; p++) {
        x->span[p].pages = x->page + used;
        for (int64_t at = 0; at < x->span[p].n; at += PAGE, used++)
            x->page[used] = x->page_memory + used * bytes;
    }
    memset(x->page_memory, 0, (size_t)(used * bytes));
}

/* The pieces from number `piece` on that fit into one forward; the number of the next. */
static int64_t batch_read(Reader *x, const Loader *l, int64_t piece) {
    const Recipe *r = x->t->recipe;
    Packed *b = &x->rows;
    int64_t n;
    const Piece *all = loader_pieces(l, &n);
    b->n = b->n_pieces = b->targets = 0;
    for (; piece < n && b->n + all[piece].n <= r->batch.micro && b->n_pieces < most_spans(r);
         piece++) {
        x->span[b->n_pieces] = (Span){.row = b->n, .n = all[piece].n, .seq = b->n_pieces};
        loader_put(l, b, piece);
    }
    memset(x->record, 0, (size_t)(b->n * r->distill.logits) * sizeof *x->record);
    x->batch = (Batch){.n = b->n,
                       .token = b->token,
                       .span = x->span,
                       .n_spans = b->n_pieces,
                       .want = x->want,
                       .n_want = b->n};
    x->out = (Out){.hidden = x->hidden};
    pages_give(x);
    team_run(x->t->team, read_threads, x);
    return piece;
}

static bool rest_read(Reader *x, const SoftText *s, const Loader *l, int64_t piece, Err *err) {
    Progress bar;
    bool ok = true;
    progress_start(&bar, "reading as the teacher", "token", s->places);
    bar.first = s->first[piece];
    while (ok && piece < s->n_pieces) {
        piece = batch_read(x, l, piece);
        if (!x->valid)
            ok = err_set(err, ERR_FORMAT,
                         "%s computed a value that is not a number: its file may be damaged",
                         x->t->recipe->distill.teacher);
        ok =
            ok
            && os_append(s->path, (Str){(const char *)x->record, x->rows.n * record_bytes(s)}, err);
        progress_at(&bar, s->first[piece], NULL);
        if (ok && piece < s->n_pieces && os_interrupted())
            ok = err_set(err, ERR_INTERRUPTED,
                         "interrupted while the teacher was reading. The same command goes on "
                         "from there");
    }
    progress_end(&bar);
    return ok && os_sync(s->path, err);
}

/* ---- the file -------------------------------------------------------------------------------- */

static bool other(const SoftText *s, const char *what, Err *err) {
    return err_set(err, ERR_USAGE,
                   "%s was made %s: set it back, remove the file, or give checkpoint.folder "
                   "another name",
                   s->path, what);
}

/* How many pieces are there already; what follows them is taken off. */
static bool file_continue(SoftText *s, Arena *a, int64_t *pieces, Err *err) {
    Map m;
    *pieces = 0;
    if (!os_exists(s->path)) return os_put(a, s->path, (Str){(char *)&s->head, sizeof(Head)}, err);
    if (!os_map(&m, s->path, err)) return false;
    bool ok = m.n >= (int64_t)sizeof(Head);
    if (ok && memcmp(m.p, &s->head, sizeof(Head)))
        ok = other(s, "by another teacher, of another text, or with other keys", err);
    else if (!ok)
        ok = os_put(a, s->path, (Str){(char *)&s->head, sizeof(Head)}, err);
    else {
        const int64_t places = (m.n - (int64_t)sizeof(Head)) / record_bytes(s);
        while (*pieces < s->n_pieces && s->first[*pieces + 1] <= places) ++*pieces;
        const int64_t n = (int64_t)sizeof(Head) + s->first[*pieces] * record_bytes(s);
        if (n < m.n) ok = os_put(a, s->path, (Str){(const char *)m.p, n}, err);
    }
    os_unmap(&m);
    return ok;
}

static bool file_open(SoftText *s, bool *whole, Err *err) {
    Head h = s->head;
    *whole = false;
    if (!os_exists(s->path)) return true;
    if (!os_map(&s->map, s->path, err)) return false;
    *whole = s->map.n == whole_bytes(s);
    if (*whole) memcpy(h.teacher, (const char *)s->map.p + offsetof(Head, teacher), 64);
    if (*whole && memcmp(s->map.p, &h, sizeof h)) return other(s, "of another text", err);
    if (!*whole) os_unmap(&s->map);
    return true;
}

static bool text_make(SoftText *s, Reader *x, int64_t i, Err *err) {
    int64_t piece;
    bool whole;
    if (!x->plan && !reader_open(x, err)) return false;
    memcpy(s->head.teacher, x->plan->fingerprint, sizeof s->head.teacher);
    return file_continue(s, x->arena, &piece, err)
           && rest_read(x, s, mix_loader(x->t->mix, i), piece, err) && file_open(s, &whole, err)
           && (whole || err_set(err, ERR_IO, "%s changed while it was written", s->path));
}

bool soft_open(Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    const int64_t K = r->distill.logits, threads = team_threads(t->team);
    Reader x = {.t = t, .arena = arena_open("teacher", ARENA_NO_LIMIT)};
    Soft *s = t->soft = PUSH(t->arena, Soft, 1);
    *s = (Soft){.k = K,
                .record = PUSH(t->arena, const Pair *, r->batch.micro),
                .q = PUSH(t->arena, float, threads *K),
                .l = PUSH(t->arena, float, threads *K),
                .token = PUSH(t->arena, int32_t, threads * K)};
    bool ok = true;
    for (int64_t i = 0; ok && i < r->data.n_parts; i++) {
        bool whole;
        text_describe(&s->text[i], t, i);
        ok = file_open(&s->text[i], &whole, err) && (whole || text_make(&s->text[i], &x, i, err));
    }
    reader_close(&x);
    return ok;
}

void soft_close(Soft *s) {
    for (int64_t i = 0; s && i < MIX_MOST; i++)
        if (s->text[i].map.n) os_unmap(&s->text[i].map);
}

/* ---- the loss -------------------------------------------------------------------------------- */

static void records_find(const Trainer *t, const Packed *b) {
    const Soft *s = t->soft;
    for (int64_t p = 0; p < b->n_pieces; p++) {
        const SoftText *x = &s->text[b->part[p]];
        const Pair *all = (const void *)((const char *)x->map.p + sizeof(Head));
        for (int64_t i = 0; i < b->len[p]; i++) {
            const int64_t at = b->at[p] + i;
            s->record[at] = b->target[at] < 0 ? NULL : all + (x->first[b->piece[p]] + i) * s->k;
        }
    }
}

/* Row i of dz; the divergence, negative. */
static float row_back(const Soft *s, int64_t thread, const Rows *dz, int64_t i, const float *z,
                      const Pair *record, float scale) {
    float *q = s->q + thread * s->k, *l = s->l + thread * s->k, sum = 0;
    int32_t *token = s->token + thread * s->k;
    int64_t n = 0;
    if (!record) return soft_cross_entropy_back(dz, i, z, 0, token, q, 0, scale), 0;
    for (; n < s->k && (n == 0 || record[n].token > record[n - 1].token); n++)
        token[n] = record[n].token, l[n] = record[n].logprob;
    const float lse = row_lse(z, dz->k), all = row_lse(l, n);
    row_exp(q, l, all, n);
    for (int64_t k = 0; k < n; k++) sum += q[k] * ((z[token[k]] - lse) - (l[k] - all));
    soft_cross_entropy_back(dz, i, z, lse, token, q, n, scale);
    return sum;
}

typedef struct Taught {
    Trainer *t;
    float scale;
} Taught;

static void taught_back(void *arg, int64_t thread, int64_t row, const Rows *dlogits, int64_t i,
                        const float *z) {
    const Taught *taught = arg;
    const Soft *s = taught->t->soft;
    taught->t->logprob[row] = row_back(s, thread, dlogits, i, z, s->record[row], taught->scale);
}

void soft_back(Thread th, Trainer *t, const Packed *b, float scale) {
    Taught taught = {t, scale};
    if (th.i == 0) records_find(t, b);
    thread_sync(th);
    hidden_rows_back(th, t->plan, t->hidden, b->n, t->logits, taught_back, &taught);
}
