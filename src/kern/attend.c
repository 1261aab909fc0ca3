/* attend.c -- causal attention over KV pages (docs/contract.md 5).
 *
 * A task is a block of query rows of one span with all the heads that share a kv head: its n = rows
 * * group query vectors meet each chunk of 64 keys in two products, and the chunk's (m, l, o) is
 * merged into the task's. Where there are many tasks a thread does whole tasks. Where there are few
 * (decoding few sequences) threads share the pairs (task, chunk): chunks are independent until they
 * are merged, left to right, by the thread that owns the query vector. Where there are fewer pairs
 * than threads (the first positions of one sequence in absorbed MLA, which has one kv head) each
 * thread meets all chunks with its own query vectors. */
#include "kern/kv.h"

/* Query vectors of a task: enough for the products to run well, few enough to stay in L2 beside K
 * and V. */
enum { QUERIES = 64, QUERIES_V_OF_K = 128, SLOTS_BYTES = 256 << 10 };
/* Fewer tasks than this a thread are shared; a thread merges at least so many query vectors then.
 *  */
enum { FEW_TASKS = 4, OWN_QUERIES = 2048 };

typedef struct Part {
    float *m, *l, *o;
} Part; /* (n), (n), (n, dv): what a chunk gives */

/* One thread's work memory; before all this it begins with the slots for parts. */
typedef struct Scratch {
    int64_t thread;
    uint8_t *q;   /* (most, dk) packed */
    uint16_t *p;  /* (most, 64) packed, bf16 only */
    float *s;     /* (most, 64) */
    float *a, *b; /* (most) */
    float *m, *l; /* (own): of vectors that this thread merges */
    void *v;      /* panels of V, when it is a prefix */
} Scratch;

typedef struct Job {
    const Attend *a;
    const Span *span;
    int64_t n_spans;
    const float *q;
    int64_t ldq;
    float *o;
    int64_t ldo;
    float *lse;
    int64_t group, step;       /* heads that share a kv head; rows of a task */
    int64_t most;              /* query vectors of a task */
    int64_t slot_bytes, slots; /* of one part; how many a thread has */
    uint8_t *work;
    int64_t scratch_bytes;
} Job;

typedef struct Task {
    const Span *span;
    int64_t head;        /* kv head */
    int64_t row, pos, n; /* rows row.. of the batch are positions pos.. */
} Task;

/* ---- work memory ----------------------------------------------------------------------------- */

static void job_sizes(Job *j, const Attend *a, int64_t max_rows) {
    attend_check(a);
    j->a = a;
    j->group = a->heads / a->k.heads;
    j->step = MAX((a->v.form == KV_PREFIX ? QUERIES_V_OF_K : QUERIES) / j->group, 1);
    j->most = j->group * MIN(j->step, max_rows);
    j->slot_bytes = round_up(2 * j->most * 4, 64) + round_up(j->most * a->v.width * 4, 64);
    j->slots = MAX(SLOTS_BYTES / MAX(j->slot_bytes, 1), 1);
}

/* The most query vectors whose m and l a thread keeps. */
static int64_t own_queries(const Job *j) { return MAX(FEW_TASKS * j->most, OWN_QUERIES); }

/* Lays out a thread's scratch; returns its size. Fewer rows need no larger one. */
static int64_t scratch_make(Scratch *d, const Job *j, uint8_t *base) {
    const KvStream *k = &j->a->k, *v = &j->a->v;
    int64_t at = 0;
    scratch_take(base, &at, MAX(SLOTS_BYTES, j->slot_bytes)); /* the slots: see slot_part */
    d->q = scratch_take(base, &at, rows_bytes(layout_form(stream_layout(k)), j->most, k->width));
    d->p = scratch_take(base, &at, j->most * CHUNK * 2);
    d->s = scratch_take(base, &at, j->most * CHUNK * 4);
    d->a = scratch_take(base, &at, j->most * 4);
    d->b = scratch_take(base, &at, j->most * 4);
    d->m = scratch_take(base, &at, own_queries(j) * 4);
    d->l = scratch_take(base, &at, own_queries(j) * 4);
    d->v = scratch_take(base, &at, v->form == KV_PREFIX ? values_bytes(v) : 0);
    return at;
}

int64_t attend_bytes(const Attend *a, int64_t max_rows) {
    Job j = {0};
    Scratch d;
    job_sizes(&j, a, max_rows);
    return scratch_make(&d, &j, NULL);
}

/* The i-th part in a thread's slots. */
static Part slot_part(const Job *j, int64_t thread, int64_t i) {
    uint8_t *slots = j->work + thread * j->scratch_bytes;
    float *m = (float *)(void *)(slots + i * j->slot_bytes);
    return (Part){m, m + j->most, m + round_up(2 * j->most, PANEL)};
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static Task task_first(const Job *j) {
    return j->n_spans ? (Task){j->span, -1, j->span->row, j->span->pos, 0}
                      : (Task){j->span, -1, 0, 0, 0};
}

/* Head after head, rows after rows, span after span. */
static bool task_next(const Job *j, Task *t) {
    const Span *end = j->span + j->n_spans;
    if (++t->head == j->a->k.heads) {
        t->head = 0;
        t->row += t->n, t->pos += t->n;
    }
    while (t->span < end && t->row == t->span->row + t->span->n)
        if (++t->span < end) t->row = t->span->row, t->pos = t->span->pos;
    if (t->span == end) return false;
    t->n = MIN(j->step, t->span->row + t->span->n - t->row);
    return true;
}

/* Chunks that the task's last row sees; the first of them is chunk 0. */
static int64_t task_chunks(const Task *t) { return (t->pos + t->n - 1) / CHUNK + 1; }
static float *out_row(const Job *j, const Task *t, int64_t i) {
    return j->o + (t->row + i / j->group) * j->ldo
           + (t->head * j->group + i % j->group) * j->a->v.width;
}

/* ---- one chunk ------------------------------------------------------------------------------- */

/* Query vector i of a task: row i / group, head i % group of the kv head's. */
static void queries_pack(const Job *j, const Scratch *d, const Task *t, Range own) {
    int64_t dk = j->a->k.width;
    Layout layout = stream_layout(&j->a->k);
    for (int64_t i = own.lo; i < own.hi; i++) {
        int64_t row = t->row + i / j->group, head = t->head * j->group + i % j->group;
        row_put(d->q + i * row_bytes(layout, dk), layout, j->q + row * j->ldq + head * dk, dk);
    }
}

/* Values of chunk c. Those of absorbed MLA are the first numbers of each key, keys becoming the
 * summed index. */
static const void *chunk_values(const Job *j, const Scratch *d, const Task *t, int64_t c,
                                const uint8_t *k) {
    int64_t dk = j->a->k.width, dv = j->a->v.width;
    if (j->a->v.form == KV_VALUES) return chunk_at(&j->a->v, t->span, c * CHUNK, t->head);
    if (j->a->k.type == DTYPE_BF16) {
        kern.v_of_k(d->v, (const uint16_t *)(const void *)k, dk, dv);
        return d->v;
    }
    for (int64_t i = 0; i < dv; i += PANEL)
        for (int64_t key = 0; key < CHUNK; key += PANEL)
            kern.transpose((uint32_t *)d->v + i * CHUNK + key * PANEL, PANEL,
                           (const uint32_t *)(const void *)k + key * dk + i * PANEL, PANEL,
                           MIN(dv - i, PANEL), PANEL);
    return d->v;
}

/* The first query vector of the task that sees a key of chunk c. */
static int64_t first_query(const Job *j, const Task *t, int64_t c) {
    return MAX(c * CHUNK - t->pos, 0) * j->group;
}

/* Scores, softmax and values of chunk c for those of the query vectors `own` that see some of it:
 * part->m, l, o of these. */
static void chunk_run(const Job *j, const Scratch *d, const Task *t, int64_t c, Range own,
                      const Part *part) {
    int64_t dk = j->a->k.width, dv = j->a->v.width;
    Layout layout = stream_layout(&j->a->k);
    bool round = layout == LAYOUT_BF16;
    int64_t i0 = MAX(first_query(j, t, c), own.lo), n = own.hi - i0;
    if (n <= 0) return;
    int64_t keys = MIN(round_up(t->pos + t->n - c * CHUNK, PANEL), CHUNK); /* more see none */
    const uint8_t *k = chunk_at(&j->a->k, t->span, c * CHUNK, t->head);
    gemm(layout, d->s, CHUNK, d->q + i0 * row_bytes(layout, dk), n, k, keys, dk, STORE_SET);
    for (int64_t i = 0; i < n; i++) {
        float *row = d->s + i * CHUNK;
        int64_t visible = MIN(t->pos + (i0 + i) / j->group - c * CHUNK + 1, CHUNK);
        float *m = part->m + i0 + i;
        part->l[i0 + i] = kern.chunk_softmax(row, m, row, visible, j->a->scale, round);
        if (round) kern.rows_bf16(d->p + i * CHUNK, row, CHUNK);
    }
    const void *v = chunk_values(j, d, t, c, k);
    const void *p = round ? (const void *)d->p : d->s;
    gemm(layout, part->o + i0 * dv, dv, p, n, v, dv, CHUNK, STORE_SET);
}

/* Query vectors i0..i1-1 take in chunk c: m, l belong to vector i0, o stands in its place in the
 * output. */
static void chunk_merge(const Job *j, const Scratch *d, const Task *t, int64_t c, const Part *part,
                        int64_t i0, int64_t i1, float *m, float *l) {
    int64_t dv = j->a->v.width, n = i1 - i0;
    if (c == 0) {
        memcpy(m, part->m + i0, (size_t)n * 4);
        memcpy(l, part->l + i0, (size_t)n * 4);
        for (int64_t i = i0; i < i1; i++)
            memcpy(out_row(j, t, i), part->o + i * dv, (size_t)dv * 4);
        return;
    }
    kern.rescale(m, l, d->a, d->b, part->m + i0, part->l + i0, n);
    for (int64_t i = i0; i < i1; i++)
        kern.merge(out_row(j, t, i), d->a[i - i0], part->o + i * dv, d->b[i - i0], dv);
}

/* o / l, and the log-sum-exp of the scores. */
static void query_end(const Job *j, const Task *t, int64_t i, float m, float l) {
    kern.div(out_row(j, t, i), l, j->a->v.width);
    int64_t head = t->head * j->group + i % j->group;
    if (j->lse) j->lse[(t->row + i / j->group) * j->a->heads + head] = m + log_f32(l);
}

/* ---- many tasks: a thread does whole ones ---------------------------------------------------- */

static Range task_queries(const Job *j, const Task *t) { return (Range){0, t->n * j->group}; }

/* Flash attention (Dao et al. 2022, arXiv 2205.14135): no row of scores is ever whole. */
static void task_run(const Job *j, const Scratch *d, const Task *t, Range own) {
    Part part = slot_part(j, d->thread, 0);
    queries_pack(j, d, t, own);
    for (int64_t c = 0; c < task_chunks(t); c++) {
        int64_t i0 = MAX(first_query(j, t, c), own.lo);
        if (i0 >= own.hi) break; /* and none of them sees a later one */
        chunk_run(j, d, t, c, own, &part);
        chunk_merge(j, d, t, c, &part, i0, own.hi, d->m + i0, d->l + i0);
    }
    for (int64_t i = own.lo; i < own.hi; i++) query_end(j, t, i, d->m[i], d->l[i]);
}

/* A task costs as much as it has pairs of row and chunk; a thread does those that begin in its
 * share. */
static void tasks_run(Thread th, const Job *j, const Scratch *d, int64_t cost) {
    int64_t lo = cost * th.i / th.n, hi = cost * (th.i + 1) / th.n, start = 0;
    for (Task t = task_first(j); task_next(j, &t);) {
        if (start >= lo && start < hi) task_run(j, d, &t, task_queries(j, &t));
        start += t.n * task_chunks(&t);
    }
}

/* ---- few tasks: threads share the pairs (task, chunk) ---------------------------------------- */

/* Pairs form one sequence, task after task. A wave is as many as all slots hold; in it thread i
 * computes `per` of them, so pair `at` of the wave is part at % per of thread at / per. */
static void wave_compute(const Job *j, const Scratch *d, Range mine) {
    int64_t start = 0;
    for (Task t = task_first(j); start < mine.hi && task_next(j, &t); start += task_chunks(&t)) {
        int64_t lo = MAX(mine.lo, start), hi = MIN(mine.hi, start + task_chunks(&t));
        if (lo < hi) queries_pack(j, d, &t, task_queries(j, &t));
        for (int64_t at = lo; at < hi; at++) {
            Part part = slot_part(j, d->thread, at - mine.lo);
            chunk_run(j, d, &t, at - start, task_queries(j, &t), &part);
        }
    }
}

/* Query vectors form one sequence too; a thread merges its share, whichever thread computed the
 * parts. */
static void wave_merge(const Job *j, const Scratch *d, Range wave, int64_t per, Range own) {
    int64_t start = 0, first = 0;
    for (Task t = task_first(j); start < wave.hi && task_next(j, &t);) {
        int64_t n = t.n * j->group, chunks = task_chunks(&t);
        int64_t i_lo = MAX(own.lo - first, 0), i_hi = MIN(own.hi - first, n);
        for (int64_t at = MAX(wave.lo, start); at < MIN(wave.hi, start + chunks) && i_lo < i_hi;
             at++) {
            int64_t c = at - start, i0 = MAX(i_lo, first_query(j, &t, c));
            Part part = slot_part(j, (at - wave.lo) / per, (at - wave.lo) % per);
            int64_t at0 = first + i0 - own.lo;
            if (i0 < i_hi) chunk_merge(j, d, &t, c, &part, i0, i_hi, d->m + at0, d->l + at0);
            for (int64_t i = i_lo; i < i_hi && c == chunks - 1; i++)
                query_end(j, &t, i, d->m[first + i - own.lo], d->l[first + i - own.lo]);
        }
        start += chunks, first += n;
    }
}

/* The order of the merges is that of the chunks, whoever computed them: so the bits are those of
 * one thread. */
static void pairs_run(Thread th, const Job *j, const Scratch *d, int64_t pairs, int64_t queries) {
    int64_t most = th.n * j->slots;
    for (int64_t lo = 0; lo < pairs; lo += most) {
        int64_t n = MIN(pairs - lo, most), per = (n + th.n - 1) / th.n;
        wave_compute(j, d, (Range){lo + MIN(th.i * per, n), lo + MIN((th.i + 1) * per, n)});
        thread_sync(th); /* all parts of the wave are computed */
        wave_merge(j, d, (Range){lo, lo + n}, per, thread_range(th, queries));
        if (lo + most < pairs) thread_sync(th); /* the slots are free again */
    }
}

/* Fewer pairs still: a thread does its share of the query vectors, of each task those that lie in
 * it. */
static void queries_run(const Job *j, const Scratch *d, Range mine) {
    int64_t first = 0;
    for (Task t = task_first(j); task_next(j, &t); first += t.n * j->group) {
        Range own = {MAX(mine.lo - first, 0), MIN(mine.hi - first, t.n * j->group)};
        if (own.lo < own.hi) task_run(j, d, &t, own);
    }
}

/* Threads share pairs, or query vectors, where whole tasks would leave some of them idle, and where
 * the merging thread has room for its query vectors. All ways give the same bits. */
void attend(Thread th, float *o, int64_t ldo, float *lse, const float *q, int64_t ldq,
            const Attend *a, const Span *span, int64_t n_spans, void *work) {
    int64_t max_rows = 0, cost = 0, longest = 0, tasks = 0, pairs = 0, rows = 0;
    const char *outer = phase("attention core, forward");
    for (int64_t i = 0; i < n_spans; i++) {
        max_rows = MAX(max_rows, span[i].n);
        rows += span[i].n;
    }
    Job j = {.span = span, .n_spans = n_spans, .work = work};
    j.q = q, j.ldq = ldq, j.o = o, j.ldo = ldo, j.lse = lse;
    job_sizes(&j, a, max_rows);
    for (Task t = task_first(&j); task_next(&j, &t); tasks++) {
        pairs += task_chunks(&t);
        cost += t.n * task_chunks(&t);
        longest = MAX(longest, t.n * task_chunks(&t));
    }
    Scratch d = {.thread = th.i};
    j.scratch_bytes = scratch_make(&d, &j, NULL);
    scratch_make(&d, &j, j.work + th.i * j.scratch_bytes);
    bool uneven = tasks < FEW_TASKS * th.n || longest * FEW_TASKS * th.n > cost;
    if (2 * pairs <= th.n)
        queries_run(&j, &d, thread_range(th, rows * a->heads));
    else if (uneven && th.n > 1 && rows * a->heads <= own_queries(&j) * th.n)
        pairs_run(th, &j, &d, pairs, rows * a->heads);
    else
        tasks_run(th, &j, &d, cost);
    thread_sync(th);
    phase(outer);
}
