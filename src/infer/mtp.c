/* mtp.c -- drafts by the model's own layer that predicts further tokens (multi-token prediction;
 * DeepSeek-V3, arXiv 2412.19437, 2.2). After a step the hidden state behind a sequence's last
 * computed token and the token that was drawn there are a row of the layer, whose logits guess at
 * the token after that. For a further guess the layer is applied once more, to its own hidden state
 * and its guess, though it was not trained for that.
 *
 * A guess is the sampler's draw from the layer's logits with the number of the position that it is
 * for. So it is the model's own draw more often than the likeliest token would be: where the two
 * distributions are alike, the same random number picks the same token.
 *
 * The layer's keys and values stand in pages of its own, one row for each token of the answer: of
 * prompts nothing is computed, and shared beginnings, copies and files are not concerned. A row
 * stands behind the one of the position before; after a gap (steps without drafts, pages that are
 * out, a void step) the layer's context begins anew. Less context makes guesses worse and nothing
 * else. */
#include "infer/parts.h"

/* ---- memory ---------------------------------------------------------------------------------- */

void mtp_build(Engine *e, Space *s, const KvLayout *kv) {
    Mtp *m = &e->mtp;
    const int64_t seqs = e->spec.seqs, wants = seqs + e->spec.drafts;
    if (!e->spec.mtp) return;
    m->pages = pages_build(s, kv, e->spec.pages, seqs, e->positions);
    s->bytes += e->spec.pages * round_up(kv->page_bytes, 64);
    m->token = TAKE(s, int32_t, wants);
    m->from = TAKE(s, float, wants * e->cfg->C);
    m->hidden = TAKE(s, float, seqs * e->cfg->C);
    m->span = TAKE(s, Span, seqs);
    m->want = TAKE(s, Want, seqs);
    m->seq = TAKE(s, Seq *, seqs);
    m->mask = TAKE(s, uint64_t, seqs * e->mask_words);
    m->masked = TAKE(s, bool, seqs);
    for (int64_t i = 0; i < PAYS; i++) pays_begin(&m->pays[i]);
}

void mtp_open(Engine *e, Seq *s) {
    if (e->mtp.pages) CHECK(kv_open(e->mtp.pages, &s->mtp_kv));
}

void mtp_close(Engine *e, Seq *s) {
    if (e->mtp.pages) kv_close(e->mtp.pages, &s->mtp_kv);
}

/* ---- a pass ---------------------------------------------------------------------------------- */

/* How many tokens may be guessed: the last one that is generated needs no row behind it. */
static int64_t guesses_most(const Engine *e, const Seq *s) {
    const bool bound = s->req.constraint != NULL; /* its mask is known for the next token only */
    return MIN(bound ? 1 : e->spec.mtp, s->req.max_tokens - s->drawn - 1);
}

/* Room for n rows behind position `from`, which the layer's context reaches or begins at. */
static bool context_reserve(Engine *e, Seq *s, int64_t from, int64_t n) {
    KvSeq *kv = &s->mtp_kv;
    if (s->mtp_end != from) kv_truncate(e->mtp.pages, kv, 0);
    if (kv_reserve(e->mtp.pages, kv, kv->length + n)) return true;
    kv_truncate(e->mtp.pages, kv, 0);
    return kv_reserve(e->mtp.pages, kv, n);
}

/* n rows of s: the tokens from `token` on, and the hidden states of the positions before them. */
static void rows_add(Engine *e, Seq *s, int64_t token, const float *hidden, int64_t n) {
    Mtp *m = &e->mtp;
    Batch *b = &m->batch;
    const int64_t C = e->cfg->C;
    memcpy(m->token + b->n, s->token + token, (size_t)n * sizeof *m->token);
    memcpy(m->from + b->n * C, hidden, (size_t)(n * C) * sizeof *hidden);
    m->span[b->n_spans++] = (Span){
        .row = b->n, .n = n, .pos = s->mtp_kv.length, .pages = s->mtp_kv.page, .seq = s - e->seq};
    s->mtp_kv.length += n;
    b->n += n;
    m->seq[b->n_want] = s;
    m->want[b->n_want++] = (Want){(int32_t)(b->n - 1), WANT_LOGITS | WANT_HIDDEN};
}

static void batch_begin(Mtp *m) {
    m->batch = (Batch){.token = m->token, .span = m->span, .want = m->want};
}

/* The rows of the tokens that the last step gave. */
static void first_rows(Engine *e) {
    Mtp *m = &e->mtp;
    const int64_t words = e->mask_words;
    batch_begin(m);
    for (int64_t i = 0; i < e->active.n; i++) {
        Seq *s = e->active.v[i];
        const Constraint *c = s->req.constraint;
        const int64_t n = s->fresh, from = s->n - n - 1, most = guesses_most(e, s);
        if (n == 0 || s->suspect || s->quotes || most < 1
            || !context_reserve(e, s, from, n + most - 1))
            continue;
        uint64_t *mask = m->mask + m->batch.n_want * words;
        if (c) memset(mask, 0, (size_t)words * sizeof *mask);
        m->masked[m->batch.n_want] = c && c->mask(c->self, mask, e->V);
        rows_add(e, s, s->n - n, e->out.hidden + s->want * e->cfg->C, n);
        s->mtp_end = s->n - 1, s->mtp_base = s->mtp_kv.length;
    }
}

/* A row of each sequence whose last guess may be followed by another. */
static void next_rows(Engine *e, int64_t pass) {
    Mtp *m = &e->mtp;
    const int64_t n = m->batch.n_want;
    batch_begin(m);
    for (int64_t i = 0; i < n; i++) {
        Seq *s = m->seq[i];
        if (s->guesses < pass || guesses_most(e, s) <= pass) continue;
        m->masked[m->batch.n_want] = false;
        rows_add(e, s, s->n + pass - 1, m->hidden + i * e->cfg->C, 1);
    }
}

static Token guess(const Engine *e, int64_t i, void *work) {
    const Mtp *m = &e->mtp;
    const Seq *s = m->seq[i];
    const Draw d = {.n = s->n + s->guesses,
                    .token = s->token,
                    .n_prompt = s->req.n_prompt,
                    .mask = m->masked[i] ? m->mask + i * e->mask_words : NULL,
                    .bias = s->req.bias,
                    .n_bias = s->req.n_bias,
                    .dry_breaks = s->req.dry_breaks};
    return sampler_pick(e->out.logits + i * e->V, e->V, &s->req.sampling, &d, work);
}

static void pass_threads(Thread th, void *arg) {
    Engine *e = arg;
    Mtp *m = &e->mtp;
    Out out = {.logits = e->out.logits, .hidden = m->hidden};
    const bool valid = model_mtp(th, e->plan, 0, &m->batch, m->from, &out);
    if (th.i == 0) m->valid = valid;
    if (!valid) return;
    const Range r = thread_range(th, m->batch.n_want);
    for (int64_t i = r.lo; i < r.hi; i++)
        e->drawn[i] = guess(e, i, e->work + th.i * sampler_bytes(e->V));
}

/* Guesses stand behind the sequence's tokens, where penalties look for them, and in s->guess, as
 * others write there too. One that is no token ends them. */
static void guesses_take(Engine *e) {
    const Mtp *m = &e->mtp;
    for (int64_t i = 0; i < m->batch.n_want && m->valid; i++) {
        Seq *s = m->seq[i];
        if (e->drawn[i].id < 0) continue;
        s->token[s->n + s->guesses] = s->guess[s->guesses] = e->drawn[i].id;
        s->guesses++;
    }
}

/* ---- a step's guesses ------------------------------------------------------------------------ */

static Pays *pays_of(Engine *e, int64_t seqs) {
    int64_t i = 0;
    while (seqs > 1 && i < PAYS - 1) seqs = (seqs + 1) / 2, i++;
    return &e->mtp.pays[i];
}

/* Rows of later passes were made from the layer's own hidden states, and are computed anew when it
 * is known whether their tokens stay. After a router met NaN no context counts. */
static void contexts_settle(Engine *e) {
    for (int64_t i = 0; i < e->active.n; i++) {
        Seq *s = e->active.v[i];
        if (!e->mtp.valid) s->mtp_base = 0, s->mtp_end = -1;
        if (s->mtp_kv.length > s->mtp_base) kv_truncate(e->mtp.pages, &s->mtp_kv, s->mtp_base);
    }
}

static void passes_run(Engine *e, int64_t passes) {
    Mtp *m = &e->mtp;
    m->valid = true;
    first_rows(e);
    for (int64_t i = 0; i < passes && m->valid; i++) {
        if (i > 0) next_rows(e, i);
        if (m->batch.n == 0) break;
        team_run(e->team, pass_threads, e);
        guesses_take(e);
    }
    contexts_settle(e);
}

void mtp_guess(Engine *e) {
    Mtp *m = &e->mtp;
    for (int64_t i = 0; i < e->active.n; i++) e->active.v[i]->guesses = 0;
    if (!m->pages) return;
    m->doing = e->spec.mtp_always ? PAYS_DRAFTS : pays_of(e, e->active.n)->doing;
    if (m->doing == PAYS_PLAIN) return;
    const double start = os_now();
    passes_run(e, m->doing == PAYS_READY ? 1 : e->spec.mtp);
    m->seconds = os_now() - start;
    for (int64_t i = 0; m->doing == PAYS_READY && i < e->active.n; i++) e->active.v[i]->guesses = 0;
}

bool mtp_measures(const Engine *e) {
    bool fits = e->mtp.pages && !e->spec.mtp_always && e->batch.n_spans == e->active.n;
    for (int64_t i = 0; i < e->batch.n_spans; i++) {
        const Seq *s = e->row_seq[i];
        fits = fits && s->rows == 1 && s->n > s->req.n_prompt && s->drafts == s->guessed;
    }
    return fits;
}

void mtp_learn(Engine *e, double seconds, int64_t tokens) {
    const int64_t n = e->batch.n_spans;
    pays_learn(pays_of(e, n), e->mtp.seconds, seconds, (double)tokens / (double)n);
}
