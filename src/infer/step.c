/* step.c -- one step of an engine: a forward over the rows that sched.c chose, a draw for each row
 * that is wanted, and what the draws mean for their sequences.
 *
 * Callbacks run while no batch is under way, so they may add and cancel requests. What they cancel
 * ends at the beginning of the next step: until then its pages and its place in the lists stay
 * valid. */
#include "infer/parts.h"

#include <math.h>

/* ---- ends ------------------------------------------------------------------------------------ */

/* Gives back all that s holds. A sequence that ran leaves its pages to the prefix tree, because the
 * next turn of a conversation begins with them; one that ended in an error leaves nothing, since
 * its keys and values may be no numbers. */
static void seq_release(Engine *e, Seq *s, Finish finish) {
    if (s->state == SEQ_ACTIVE) {
        if (!e->spec.no_prefix && finish != FINISH_ERROR)
            prefix_grow(e->prefix, &s->kv, &s->place, s->req.tenant, s->token, true);
        kv_close(e->pages, &s->kv);
        mtp_close(e, s);
        e->table[e->n_tables++] = s->token;
    } else {
        prompt_drop(e->prompts, s->prompt, s->n);
    }
    seq_list_remove(s->state == SEQ_ACTIVE ? &e->active : &e->waiting, s);
    s->state = SEQ_FREE;
}

/* An end without a token. The callback comes first: it may look at the engine, and s still counts
 * then. */
static void seq_end(Engine *e, Seq *s, Finish finish) {
    s->req.on_token(s->req.arg, s->id, (Token){-1, NAN}, finish, NULL);
    seq_release(e, s, finish);
}

/* Cancels take effect here and nowhere else. So whoever cancels, also from a callback, changes no
 * list that is being walked. */
static bool cancels_take(Engine *e) {
    bool any = false;
    for (int64_t i = 0; i < e->n_seqs; i++) {
        Seq *s = &e->seq[i];
        if (s->state == SEQ_FREE || !s->cancelled) continue;
        seq_end(e, s, FINISH_CANCEL);
        any = true;
    }
    return any;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* What follows a wanted row: the token that is forced, or the sampler's draw. The draw's number is
 * the position and nothing else, so that it is the same draw in whatever step it is made. */
static Token outcome(const Engine *e, int64_t i, void *work) {
    const Seq *s = e->want_seq[i];
    const float *logits = e->out.logits + i * e->V;
    int64_t nth = i - s->want;
    if (nth < s->n_forced) return sampler_given(logits, e->V, s->token[s->n + nth]);
    const Draw d = {.n = s->n + nth,
                    .token = s->token,
                    .n_prompt = s->req.n_prompt,
                    .mask = e->masked[i] ? e->mask + i * e->mask_words : NULL,
                    .bias = s->req.bias,
                    .n_bias = s->req.n_bias,
                    .dry_breaks = s->req.dry_breaks};
    return sampler_pick(logits, e->V, &s->req.sampling, &d, work);
}

/* What every thread of the team does: the forward together, then the draws of a share of the rows.
 * A draw looks at one row and writes one token, so the shares are independent. */
static void step_threads(Thread th, void *arg) {
    Engine *e = arg;
    const bool valid = model_forward(th, e->plan, &e->batch, &e->out, NULL);
    if (th.i == 0) e->step_valid = valid;
    if (!valid) return;
    Range r = thread_range(th, e->batch.n_want);
    for (int64_t i = r.lo; i < r.hi; i++)
        e->drawn[i] = outcome(e, i, e->work + th.i * sampler_bytes(e->V));
}

/* Of the rows that the step stored, the first `length` positions count; what a wrong draft left
 * behind them is taken back. */
static void kv_settle(Engine *e, Seq *s, int64_t length) {
    if (length < s->kv.length) kv_truncate(e->pages, &s->kv, length);
}

/* A router met NaN, the forward ended there, and no result of the step counts. It is not known
 * whose row it was. So each sequence of the step goes on alone and without drafts until a step of
 * its own is valid; one that is void alone is the culprit, and ends. */
static void step_void(Engine *e) {
    int64_t n = e->batch.n_spans;
    for (int64_t i = 0; i < n; i++) {
        Seq *s = e->row_seq[i];
        int64_t length = s->kv.length;
        bool culprit = n == 1 && s->drafts == 0;
        s->kv.length += s->rows + s->drafts;
        kv_settle(e, s, length);
        s->suspect = !culprit;
        if (culprit) seq_end(e, s, FINISH_ERROR);
    }
}

/* Why s ends with its last token, if it does. An end token counts before the constraint, and both
 * before the limit, which is the least that can be said of an answer. */
static Finish finish_of(const Seq *s, bool more) {
    for (int64_t i = 0; i < s->req.n_stop && s->drawn > s->req.given; i++)
        if (s->token[s->n - 1] == s->stop[i]) return FINISH_STOP;
    return !more ? FINISH_STOP : s->drawn == s->req.max_tokens ? FINISH_LENGTH : FINISH_NONE;
}

/* Gives s its next token, the outcome of a row. `known` positions are computed, and what stands
 * behind them goes before the callback hears of an end, as release takes the pages as they are. */
static Finish token_take(Engine *e, Seq *s, Token t, int64_t known, const float *logits) {
    const Constraint *c = s->req.constraint;
    s->token[s->n++] = t.id;
    s->drawn++, e->taken++;
    bool more = !c || c->accept(c->self, t.id);
    Finish finish = finish_of(s, more);
    if (finish != FINISH_NONE) kv_settle(e, s, known);
    s->req.on_token(s->req.arg, s->id, t, finish, logits);
    if (finish != FINISH_NONE) seq_release(e, s, finish);
    return finish;
}

/* A row whose logits are no numbers, or of which nothing is allowed. That is the end, unless a
 * draft may have done it, whose keys are no numbers and which attention saw masked. Then the row is
 * computed once more, without drafts, from the `known` positions on. */
static Finish token_missing(Engine *e, Seq *s, int64_t known) {
    if (s->drafts == 0) {
        seq_end(e, s, FINISH_ERROR);
        return FINISH_ERROR;
    }
    s->suspect = true;
    kv_settle(e, s, known);
    return FINISH_NONE;
}

/* Takes the outcomes of the rows of s in order. Row i + 1 was computed on the guess that draft i
 * follows row i; its outcome counts only if that is what row i gave. So the loop ends at the first
 * draft that is wrong, and what was taken is what single steps would have given. `first`: positions
 * that were there before the step. */
static void seq_deliver(Engine *e, Seq *s, int64_t first) {
    const Drafter *d = s->req.drafter;
    const int64_t drafts = s->drafts, forced = MIN(s->n_forced, drafts), n = s->n;
    const int64_t proposed = drafts - forced - s->guessed;
    int64_t right = 0; /* drafts that are */
    for (int64_t i = 0; i == right; i++) {
        int64_t at = s->want + i, known = first + s->rows + i;
        Token t = e->drawn[at];
        if (t.id < 0) {
            /* A draft may have spoiled all rows before it, to the last that gave a number. */
            if (token_missing(e, s, i ? known - 1 : first)) return;
            s->fresh = 0;
            break;
        }
        right += i < drafts && s->token[n + i] == t.id;
        e->stats.forced += i < s->n_forced;
        e->stats.accepted += i >= forced && right > i;
        e->stats.mtp_accepted += s->guessed && right > i;
        s->fresh++;
        e->taking = at;
        const Finish finish = token_take(e, s, t, known, e->out.logits + at * e->V);
        e->taking = -1;
        if (finish != FINISH_NONE) return;
        if (s->cancelled) right = i; /* its next token will not come */
        if (right <= i) kv_settle(e, s, known);
    }
    s->quotes = proposed > 0 && right == drafts;
    if (d && s->n > n)
        d->learn(d->self, s->token, s->n, proposed, proposed ? MAX(right - forced, 0) : 0);
}

/* A valid step: its rows are part of their sequences now, and the wanted ones give tokens. Pages
 * that became full go to the prefix tree at once, so that a request which arrives meanwhile shares
 * them. */
static void step_commit(Engine *e) {
    for (int64_t i = 0; i < e->batch.n_spans; i++) {
        Seq *s = e->row_seq[i];
        int64_t first = s->kv.length, prompt = MAX(0, MIN(s->rows, s->req.n_prompt - first));
        bool wanted = first + s->rows == s->n;
        e->stats.prompt_rows += prompt;
        e->stats.decode_rows += s->rows + s->drafts - prompt;
        e->stats.drafted += MAX(0, s->drafts - s->n_forced);
        e->stats.mtp_drafted += s->guessed;
        s->kv.length += s->rows + s->drafts;
        s->suspect = false;
        if (wanted) seq_deliver(e, s, first);
        if (s->state == SEQ_ACTIVE && !e->spec.no_prefix)
            prefix_grow(e->prefix, &s->kv, &s->place, s->req.tenant, s->token, false);
    }
}

/* The order is part of the promise (infer.h): cancelled sequences free their pages before others
 * are admitted, and callbacks run when the batch is settled. */
bool engine_step(Engine *e) {
    CHECK(!e->stepping);
    e->stepping = true;
    bool worked = cancels_take(e);
    sched_admit(e);
    mtp_guess(e);
    if (sched_batch(e)) {
        const bool measures = mtp_measures(e);
        const double start = os_now();
        worked = true;
        team_run(e->team, step_threads, e);
        const double seconds = os_now() - start;
        const int64_t taken = e->taken;
        e->stats.steps++;
        if (e->step_valid) {
            step_commit(e);
            if (measures) mtp_learn(e, seconds, e->taken - taken);
        } else {
            step_void(e);
        }
    }
    e->stepping = false;
    return worked;
}
