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
 *    spec.rows rows. Only after a void step (engine.c) some steps have one sequence each.
 * 4. Drafts take what rows known tokens leave, spec.drafts at most, in even shares: they delay
 *    neither a token nor a prompt. */
#include "infer/parts.h"

/* ---- sequences ------------------------------------------------------------------------------- */

/* Slots and lists are walked from end to end: there are as many as sequences and places in the
 * queue, some thousands at most, and a step costs milliseconds. */

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

/* Insertion keeps the order; as arrivals come in order, most are put at the end at once. */
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

/* Pages that s has for good. A page of the tree in which it goes on is not among them: s only reads
 * it and will copy it into one of its own when it writes. */
static int64_t pages_held(const Engine *e, const Seq *s) {
    const KvSeq *k = &s->kv;
    bool borrowed =
        kv_cut(k) && page_refs(e->pages, page_number(e->pages, k->page[k->n_pages - 1])) > 1;
    return k->n_pages - borrowed;
}

/* Whether s can be sure of its pages beside all that the active sequences may still take (invariant
 * 2). What was promised to them counts, and not only what they have: otherwise two long answers
 * could wait for each other's pages for ever. */
static bool fits(const Engine *e, const Seq *s) {
    int64_t need = s->pages - pages_held(e, s);
    for (int64_t i = 0; i < e->active.n; i++)
        need += e->active.v[i]->pages - pages_held(e, e->active.v[i]);
    return need <= pages_free(e->pages) + prefix_idle(e->prefix);
}

/* Pages that are missing are taken back from the prefix tree; admission has made sure that there
 * are enough (invariant 2). */
static void pages_reserve(Engine *e, Seq *s, int64_t length) {
    for (; !kv_reserve(e->pages, &s->kv, length); e->stats.evicted++)
        CHECK(prefix_evict(e->prefix));
}

/* Whether s may begin with what `other` has computed of the prompt. */
static bool is_like(const Seq *other, const Seq *s) {
    return other->state == SEQ_ACTIVE && !other->suspect && other->req.n_prompt == s->n
           && other->req.tenant == s->req.tenant;
}

/* Makes the waiting sequence s active, or leaves it as it was; false: its pages are not there yet.
 * The prefix tree is asked first, since what it knows need not be taken anew. It is asked for all
 * but the last token, because that one's row must be computed: its logits are wanted. While s waits
 * at the head of the queue this is tried in every step, and reads its prompt each time, which is
 * little beside a step. */
static bool admit(Engine *e, Seq *s) {
    const Seq *twin = s->req.like ? seq_find(e, s->req.like) : NULL;
    if (twin && !is_like(twin, s)) twin = NULL;
    if (twin && twin->kv.length < s->n) return false;
    s->token = e->table[e->n_tables - 1];
    prompt_read(e->prompts, s->prompt, s->token, s->n);
    if (twin && memcmp(twin->token, s->token, (size_t)s->n * sizeof *s->token)) twin = NULL;
    CHECK(twin ? kv_fork(e->pages, &s->kv, &twin->kv, s->n - 1) : kv_open(e->pages, &s->kv));
    s->place = prefix_begin(e->prefix);
    if (!twin && !e->spec.no_prefix)
        prefix_share(e->prefix, &s->kv, &s->place, s->req.tenant, s->token, s->n - 1);
    /* The page to be copied is held meanwhile; where that is what is missing, go without. */
    if (kv_cut(&s->kv) && !fits(e, s)) kv_truncate(e->pages, &s->kv, s->kv.length / PAGE * PAGE);
    if (!fits(e, s)) {
        kv_close(e->pages, &s->kv);
        return false;
    }
    e->n_tables--;
    prompt_drop(e->prompts, s->prompt, s->n);
    seq_list_remove(&e->waiting, s);
    seq_list_add(&e->active, s);
    s->state = SEQ_ACTIVE;
    e->stats.cached_rows += s->cached = s->kv.length;
    mtp_open(e, s);
    if (twin) pages_reserve(e, s, s->n);
    return true;
}

/* What runs of a sequence's account, by its weight, and of its tenant in it. */
typedef struct Running {
    double share;
    int64_t own;
} Running;

static int64_t account_of(const Seq *s) { return s->req.account ? s->req.account : s->req.tenant; }

static Running running_of(const Engine *e, const Seq *s) {
    Running r = {0};
    for (int64_t i = 0; i < e->active.n; i++) {
        const Seq *other = e->active.v[i];
        if (account_of(other) != account_of(s)) continue;
        r.share++;
        r.own += other->req.tenant == s->req.tenant;
    }
    if (s->req.weight > 0) r.share /= s->req.weight;
    return r;
}

/* Who is next: of those of the highest priority, whose account has the fewest active sequences for
 * its weight, of these whose tenant has the fewest, and of these who came first. So an account that
 * brings many requests, or has many tenants, delays another's by no more than its share. */
static Seq *next_waiting(const Engine *e) {
    Seq *best = NULL;
    Running least = {0};
    for (int64_t i = 0; i < e->waiting.n; i++) {
        Seq *s = e->waiting.v[i];
        if (s->req.priority < e->waiting.v[0]->req.priority) break;
        const Running r = running_of(e, s);
        if (!best || r.share < least.share || (r.share <= least.share && r.own < least.own))
            best = s, least = r;
        if (least.share <= 0) break;
    }
    return best;
}

void sched_admit(Engine *e) {
    while (e->waiting.n > 0 && e->active.n < e->spec.seqs && admit(e, next_waiting(e))) continue;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int64_t todo(const Seq *s) { return s->n - s->kv.length; }

/* Rows that s gets of those left: no more than it has tokens to compute, and in a long prompt no
 * more than a chunk, so that it stalls nobody. */
static int64_t rows_give(const Engine *e, Seq *s, int64_t left) {
    return s->rows = MIN(MIN(todo(s), e->spec.chunk), left);
}

/* ---- drafts ---------------------------------------------------------------------------------- */

static bool mask_has(const uint64_t *mask, int32_t id) { return mask[id / 64] >> id % 64 & 1; }

/* Puts up to `most` tokens behind the known ones: first what the constraint forces, then what the
 * drafter makes of all that. Both are foreign code, so what they say is checked before it becomes
 * an index. Where neither says anything, the guesses of the MTP layer. */
static void drafts_put(const Engine *e, Seq *s, int64_t most) {
    const Constraint *c = s->req.constraint;
    const Drafter *d = s->req.drafter;
    int32_t *draft = s->token + s->n;
    if (c && most > 0) s->n_forced = s->drafts = c->forced(c->self, draft, most);
    CHECK(s->drafts >= 0 && s->drafts <= most);
    if (d && s->drafts < most) {
        int64_t left = most - s->drafts;
        int64_t n = d->propose(d->self, s->token, s->n + s->drafts, draft + s->drafts, left);
        CHECK(n >= 0 && n <= left);
        s->drafts += n;
    }
    for (int64_t i = 0; i < s->drafts; i++) CHECK(draft[i] >= 0 && draft[i] < e->V);
    if (s->drafts) return;
    s->drafts = s->guessed = MIN(s->guesses, most);
    memcpy(draft, s->guess, (size_t)s->guessed * sizeof *draft);
}

/* The mask for each outcome that is not forced. A constraint's mask depends on the tokens before,
 * so it accepts the drafts one by one while the masks are made and rolls them back at the end: they
 * are guesses, and which of them stay is not known before the step. Drafts end where one is not
 * allowed, since it cannot be right, and where one lets nothing follow, since no row is needed
 * behind it. */
static void masks_make(Engine *e, Seq *s) {
    const Constraint *c = s->req.constraint;
    int64_t accepted = 0;
    for (int64_t i = 0; c; i++) {
        int64_t at = e->batch.n_want + i, bytes = e->mask_words * 8;
        uint64_t *mask = e->mask + at * e->mask_words;
        int32_t draft = s->token[s->n + i];
        if (i >= s->n_forced) {
            memset(mask, 0, (size_t)bytes);
            e->masked[at] = c->mask(c->self, mask, e->V);
            if (e->masked[at] && i < s->drafts && !mask_has(mask, draft)) s->drafts = i;
        }
        if (i >= s->drafts) break;
        accepted++;
        if (!c->accept(c->self, draft)) {
            s->drafts = i;
            break;
        }
    }
    if (accepted) c->rollback(c->self, accepted);
}

/* Drafts for a sequence that comes to the end of what is known of it, within its share of the rows
 * that are left, because the drafts of the others are as good. The last token that it may generate
 * is only drawn and needs no row, hence the 1 less. */
static void drafts_make(Engine *e, Seq *s, int64_t share) {
    s->want = e->batch.n_want;
    memset(e->masked + s->want, 0, (size_t)(share + 1) * sizeof *e->masked);
    drafts_put(e, s, MIN(share, s->req.max_tokens - s->drawn - 1));
    masks_make(e, s);
    s->guessed = MIN(s->guessed, s->drafts);
}

/* ---- the batch ------------------------------------------------------------------------------- */

/* Puts the rows of s into the batch. Where they reach the last token that is known, what comes
 * after it and after each draft is wanted. */
static void batch_add(Engine *e, Seq *s) {
    Batch *b = &e->batch;
    int64_t first = s->kv.length, n = s->rows + s->drafts;
    pages_reserve(e, s, first + n);
    memcpy(e->token + b->n, s->token + first, (size_t)n * sizeof *e->token);
    e->row_seq[b->n_spans] = s;
    e->span[b->n_spans++] =
        (Span){.row = b->n, .n = n, .pos = first, .pages = s->kv.page, .seq = s - e->seq};
    int64_t row = b->n + s->rows - 1;
    b->n += n;
    if (s->rows < todo(s)) return;
    const int32_t what = WANT_LOGITS | s->req.inside | (e->mtp.pages ? WANT_HIDDEN : 0);
    for (int64_t i = 0; i <= s->drafts; i++) {
        if (e->spec.inside) {
            e->hidden_row[b->n_want] = what & WANT_HIDDEN ? e->n_hidden++ : -1;
            e->expert_row[b->n_want] = what & WANT_EXPERTS ? e->n_experts++ : -1;
        }
        e->want_seq[b->n_want] = s;
        e->want[b->n_want++] = (Want){(int32_t)(row + i), what};
    }
}

/* The first sequence that has to run alone after a void step (step.c), or NULL. */
static Seq *first_suspect(const Engine *e) {
    for (int64_t i = 0; i < e->active.n; i++)
        if (e->active.v[i]->suspect) return e->active.v[i];
    return NULL;
}

/* Gives rows to known tokens and returns how many are left. Sequences that go on by one token come
 * first, so that every answer gets its next token in every step; prompts share what remains. */
static int64_t rows_share(Engine *e, Seq *alone) {
    int64_t left = e->spec.rows;
    for (int64_t i = 0; i < e->active.n; i++) {
        Seq *s = e->active.v[i];
        s->rows = s->drafts = s->n_forced = s->guessed = s->fresh = 0;
        s->quotes = false;
    }
    if (alone) return left - rows_give(e, alone, left);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < e->active.n; i++)
            if ((todo(e->active.v[i]) > 1) == (pass == 1))
                left -= rows_give(e, e->active.v[i], left);
    return left;
}

/* Every sequence gets its drafts right before its rows are added, because rows of one sequence
 * stand side by side in a batch. What one sequence leaves of its share goes on to those behind it.
 * */
bool sched_batch(Engine *e) {
    e->batch = (Batch){.token = e->token, .span = e->span, .want = e->want};
    e->n_hidden = e->n_experts = 0;
    Seq *alone = first_suspect(e);
    int64_t left = MIN(rows_share(e, alone), alone ? 0 : e->spec.drafts);
    for (int64_t i = 0; i < e->active.n; i++) {
        Seq *s = e->active.v[i];
        int64_t others = e->active.n - i; /* an even share of what is left; the rest goes on */
        if (s->rows == 0) continue;
        if (s->rows == todo(s)) drafts_make(e, s, (left + others - 1) / others);
        left -= s->drafts;
        batch_add(e, s);
    }
    return e->batch.n > 0;
}
