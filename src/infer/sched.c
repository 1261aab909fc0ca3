/* sched.c -- who runs, and which rows a step computes.
 *
 * Invariants:
 * 1. Waiting and active sequences stand in one order: priority descending, then arrival. Admission
 *    takes the first that waits and never one behind it: smaller requests starve nobody.
 * 2. What the active sequences may still take is never more than the free pages and the idle ones
 *    of the prefix tree. So an admitted sequence can always finish, and kv_reserve fails only while
 *    there is something to evict.
 * 3. Every active sequence that has a token to go on from gets its row in every step (spec.rows >=
 *    spec.seqs), so the gap between two of its tokens is one step, and a step is never more than
 *    spec.rows rows. Only after a void step (engine.c) some steps have one sequence each. */
#include "infer/parts.h"

/* ---- sequences ------------------------------------------------------------------------------- */

Seq *seq_find(Engine *e, int64_t id) {
    for (int64_t i = 0; i < e->n_seqs; i++)
        if (e->seq[i].state != SEQ_FREE && e->seq[i].id == id) return &e->seq[i];
    return NULL;
}

Seq *seq_slot(Engine *e) {
    for (int64_t i = 0; i < e->n_seqs; i++)
        if (e->seq[i].state == SEQ_FREE) return &e->seq[i];
    return NULL;
}

static bool before(const Seq *a, const Seq *b) {
    return a->req.priority != b->req.priority ? a->req.priority > b->req.priority : a->id < b->id;
}

void seq_list_add(SeqList *l, Seq *s) {
    int64_t i = l->n++;
    for (; i > 0 && before(s, l->v[i - 1]); i--) l->v[i] = l->v[i - 1];
    l->v[i] = s;
}

void seq_list_remove(SeqList *l, const Seq *s) {
    int64_t i = 0;
    while (l->v[i] != s) i++;
    for (l->n--; i < l->n; i++) l->v[i] = l->v[i + 1];
}

/* ---- admission ------------------------------------------------------------------------------- */

/* Pages that s has for good: not the one it only reads and will copy. */
static int64_t pages_held(const Engine *e, const Seq *s) {
    const KvSeq *k = &s->kv;
    bool borrowed =
        k->cut && page_refs(e->pages, page_number(e->pages, k->page[k->n_pages - 1])) > 1;
    return k->n_pages - borrowed;
}

static bool fits(const Engine *e, const Seq *s) {
    int64_t need = s->pages - pages_held(e, s);
    for (int64_t i = 0; i < e->active.n; i++)
        need += e->active.v[i]->pages - pages_held(e, e->active.v[i]);
    return need <= pages_free(e->pages) + prefix_idle(e->prefix);
}

/* At least one row of the prompt is left to compute: its logits are wanted. */
static bool admit(Engine *e, Seq *s) {
    CHECK(kv_open(e->pages, &s->kv));
    if (!e->spec.no_prefix)
        prefix_share(e->prefix, &s->kv, &s->place, s->req.tenant, s->token, s->n - 1);
    /* The page to be copied is held meanwhile; where that is what is missing, go without. */
    if (s->kv.cut && !fits(e, s)) kv_truncate(e->pages, &s->kv, s->kv.length / PAGE * PAGE);
    if (!fits(e, s)) {
        kv_close(e->pages, &s->kv);
        return false;
    }
    seq_list_remove(&e->waiting, s);
    seq_list_add(&e->active, s);
    s->state = SEQ_ACTIVE;
    e->stats.cached_rows += s->kv.length;
    return true;
}

void sched_admit(Engine *e) {
    while (e->waiting.n > 0 && e->active.n < e->spec.seqs && admit(e, e->waiting.v[0])) continue;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int64_t todo(const Seq *s) { return s->n - s->kv.length; }

/* The next rows of s, as many as chunk and budget allow. Where the last of them is the last that is
 * known, its logits are wanted. */
static void batch_add(Engine *e, Seq *s) {
    Batch *b = &e->batch;
    int64_t n = MIN(MIN(todo(s), e->spec.chunk), e->spec.rows - b->n), first = s->kv.length;
    if (n <= 0) return;
    for (; !kv_reserve(e->pages, &s->kv, first + n); e->stats.evicted++)
        CHECK(prefix_evict(e->prefix));
    s->rows = n;
    memcpy(e->token + b->n, s->token + first, (size_t)n * sizeof *e->token);
    e->row_seq[b->n_spans] = s;
    e->span[b->n_spans++] =
        (Span){.row = b->n, .n = n, .pos = first, .pages = s->kv.page, .seq = s - e->seq};
    b->n += n;
    if (n < todo(s)) return;
    e->want_seq[b->n_want] = s;
    e->want[b->n_want++] = (Want){(int32_t)(b->n - 1), WANT_LOGITS};
}

static Seq *first_suspect(const Engine *e) {
    for (int64_t i = 0; i < e->active.n; i++)
        if (e->active.v[i]->suspect) return e->active.v[i];
    return NULL;
}

bool sched_batch(Engine *e) {
    e->batch = (Batch){.token = e->token, .span = e->span, .want = e->want};
    Seq *alone = first_suspect(e);
    if (alone) batch_add(e, alone);
    for (int pass = 0; pass < 2 && !alone; pass++) /* single rows first, then longer runs */
        for (int64_t i = 0; i < e->active.n; i++)
            if ((todo(e->active.v[i]) > 1) == (pass == 1)) batch_add(e, e->active.v[i]);
    return e->batch.n > 0;
}
