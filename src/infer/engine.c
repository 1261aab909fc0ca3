/* engine.c -- requests in, tokens out: add, cancel, step.
 *
 * Everything an engine needs is allocated in engine_new. Callbacks run while no batch is under way,
 * so they may add and cancel; what they cancel ends at the beginning of the next step. */
#include "infer/parts.h"

#include <math.h>

enum { TEMPERATURE_MAX = 1000 };
static const float TEMPERATURE_MIN = 1e-4f;

/* Rows of logits of a step: one for each sequence, and one for each draft. */
static int64_t wants_most(const EngineSpec *s) { return s->seqs + s->drafts; }

void engine_plan(PlanSpec *p, const EngineSpec *e, int64_t positions) {
    p->rows = e->rows;
    p->spans = e->seqs;
    p->logit_rows = wants_most(e);
    p->positions = positions;
    p->pages = e->seqs * (round_up(positions, PAGE) / PAGE);
}

static bool spec_check(const EngineSpec *s, const PlanSpec *p, Err *err) {
    if (s->seqs < 1 || s->queue < 1 || s->rows < s->seqs || s->chunk < 0 || s->drafts < 0)
        return err_set(
            err, ERR_LIMIT,
            "starting the engine: %lld sequences, a queue of %lld, %lld rows a step and %lld for "
            "drafts do not go together; there must be a place in the queue and a row for each "
            "sequence",
            (long long)s->seqs, (long long)s->queue, (long long)s->rows, (long long)s->drafts);
    if (p->rows < s->rows || p->logit_rows < wants_most(s) || p->spans < s->seqs || p->pages < 1)
        return err_set(
            err, ERR_LIMIT,
            "starting the engine: the plan has %lld rows, %lld logit rows, %lld spans and %lld "
            "pages, too few for %lld sequences, %lld rows a step and %lld for drafts",
            (long long)p->rows, (long long)p->logit_rows, (long long)p->spans, (long long)p->pages,
            (long long)s->seqs, (long long)s->rows, (long long)s->drafts);
    return true;
}

static void lists_new(Engine *e, Arena *a) {
    const EngineSpec *s = &e->spec;
    int64_t most = e->plan->spec.positions + 1; /* the last token drawn is not computed */
    int64_t wants = wants_most(s);
    e->n_seqs = s->seqs + s->queue;
    e->seq = PUSH(a, Seq, e->n_seqs);
    for (int64_t i = 0; i < e->n_seqs; i++) e->seq[i].token = PUSH(a, int32_t, most);
    e->waiting.v = PUSH(a, Seq *, s->queue);
    e->active.v = PUSH(a, Seq *, s->seqs);
    e->token = PUSH(a, int32_t, s->rows);
    e->want = PUSH(a, Want, wants);
    e->span = PUSH(a, Span, s->seqs);
    e->row_seq = PUSH(a, Seq *, s->seqs);
    e->want_seq = PUSH(a, Seq *, wants);
    e->mask_words = (e->V + 63) / 64;
    e->mask = PUSH(a, uint64_t, wants * e->mask_words);
    e->masked = PUSH(a, bool, wants);
    e->drawn = PUSH(a, Token, wants);
}

bool engine_new(Engine **out, Arena *a, Plan *plan, const EngineSpec *spec, Team *team, Err *err) {
    if (!spec_check(spec, &plan->spec, err)) return false;
    Engine *e = *out = PUSH(a, Engine, 1);
    *e = (Engine){.spec = *spec, .plan = plan, .team = team, .V = plan->model->cfg.V};
    if (e->spec.chunk == 0) e->spec.chunk = e->spec.rows;
    e->pages = pages_new(a, &plan->kv, plan->spec.pages, spec->seqs, plan->spec.positions);
    e->prefix = prefix_new(a, e->pages);
    lists_new(e, a);
    e->out.logits = PUSH(a, float, wants_most(spec) * e->V);
    e->work = arena_push(a, team_threads(team) * sampler_bytes(e->V));
    return true;
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool tokens_check(const char *what, const int32_t *token, int64_t n, int64_t V, Err *err) {
    for (int64_t i = 0; i < n; i++)
        if (token[i] < 0 || token[i] >= V)
            return err_set(err, ERR_USAGE,
                           "adding a request: %s token %lld is %d; ids go from 0 to %lld", what,
                           (long long)i, token[i], (long long)V - 1);
    return true;
}

static bool bias_check(const SeqReq *r, int64_t V, Err *err) {
    if (r->n_bias < 0 || r->n_bias > BIAS_MAX)
        return err_set(err, ERR_USAGE, "adding a request: %lld biases; at most %d are taken",
                       (long long)r->n_bias, BIAS_MAX);
    for (int64_t i = 0; i < r->n_bias; i++)
        if (r->bias[i].id < 0 || r->bias[i].id >= V || !(fabsf(r->bias[i].value) < INFINITY))
            return err_set(err, ERR_USAGE,
                           "adding a request: bias %lld is %g for id %d; ids go from 0 to %lld, "
                           "values are finite",
                           (long long)i, (double)r->bias[i].value, r->bias[i].id, (long long)V - 1);
    return true;
}

static bool sampling_check(const Sampling *s, Err *err) {
    float t = s->temperature;
    if (t != 0 && !(t >= TEMPERATURE_MIN && t <= TEMPERATURE_MAX))
        return err_set(err, ERR_USAGE,
                       "adding a request: temperature %g; it must be 0 or from %g to %d", (double)t,
                       (double)TEMPERATURE_MIN, TEMPERATURE_MAX);
    if (s->top_k < 0 || !(s->top_p >= 0 && s->top_p <= 1))
        return err_set(
            err, ERR_USAGE,
            "adding a request: top_k %lld, top_p %g; top_k must not be negative, top_p lies "
            "between 0 and 1",
            (long long)s->top_k, (double)s->top_p);
    return true;
}

static int64_t pages_needed(const SeqReq *r) {
    return round_up(r->n_prompt + r->max_tokens - 1, PAGE) / PAGE;
}

static bool size_check(const Engine *e, const SeqReq *r, Err *err) {
    int64_t positions = e->plan->spec.positions, pages = pages_count(e->pages);
    if (r->n_prompt < 1 || r->max_tokens < 1 || r->n_stop < 0 || r->n_stop > STOP_MAX)
        return err_set(
            err, ERR_USAGE,
            "adding a request: %lld prompt tokens, %lld tokens to generate, %lld end tokens; there "
            "must be one at least of the first two, and %d at most of the last",
            (long long)r->n_prompt, (long long)r->max_tokens, (long long)r->n_stop, STOP_MAX);
    if (r->n_prompt > positions || r->max_tokens - 1 > positions - r->n_prompt)
        return err_set(
            err, ERR_LIMIT,
            "adding a request: %lld prompt tokens and %lld to generate are more than the %lld "
            "positions that were planned for",
            (long long)r->n_prompt, (long long)r->max_tokens, (long long)positions);
    if (pages_needed(r) > pages)
        return err_set(err, ERR_LIMIT,
                       "adding a request: it may need %lld KV pages and there are %lld",
                       (long long)pages_needed(r), (long long)pages);
    if (e->waiting.n == e->spec.queue)
        return err_set(
            err, ERR_LIMIT,
            "adding a request: %lld are waiting already, as many as the queue takes; try again "
            "later",
            (long long)e->waiting.n);
    return true;
}

int64_t engine_add(Engine *e, const SeqReq *r, Err *err) {
    CHECK(r->on_token);
    if (!size_check(e, r, err) || !sampling_check(&r->sampling, err) || !bias_check(r, e->V, err)
        || !tokens_check("prompt", r->prompt, r->n_prompt, e->V, err)
        || !tokens_check("end", r->stop, r->n_stop, e->V, err))
        return 0;
    Seq *s = seq_slot(e);
    int32_t *token = s->token;
    *s = (Seq){.state = SEQ_WAITING,
               .id = ++e->next_id,
               .req = *r,
               .token = token,
               .n = r->n_prompt,
               .pages = pages_needed(r)};
    memcpy(s->token, r->prompt, (size_t)r->n_prompt * sizeof *r->prompt);
    if (r->n_stop > 0) memcpy(s->stop, r->stop, (size_t)r->n_stop * sizeof *r->stop);
    seq_list_add(&e->waiting, s);
    return s->id;
}

void engine_cancel(Engine *e, int64_t id) {
    Seq *s = seq_find(e, id);
    if (s) s->cancelled = true;
}

void engine_forget(Engine *e) { prefix_forget(e->prefix); }

/* ---- ends ------------------------------------------------------------------------------------ */

static void seq_release(Engine *e, Seq *s, Finish finish) {
    if (s->state == SEQ_ACTIVE) {
        if (!e->spec.no_prefix && finish != FINISH_ERROR)
            prefix_grow(e->prefix, &s->kv, &s->place, s->req.tenant, s->token, true);
        kv_close(e->pages, &s->kv);
    }
    seq_list_remove(s->state == SEQ_ACTIVE ? &e->active : &e->waiting, s);
    s->state = SEQ_FREE;
}

/* An end without a token. */
static void seq_end(Engine *e, Seq *s, Finish finish) {
    s->req.on_token(s->req.arg, s->id, (Token){-1, NAN}, finish, NULL);
    seq_release(e, s, finish);
}

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

/* What follows a wanted row of s: the token that is forced, or the sampler's draw. */
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
                    .n_bias = s->req.n_bias};
    return sampler_pick(logits, e->V, &s->req.sampling, &d, work);
}

/* All threads: the forward, then each draws for its share of the rows. */
static void step_threads(Thread th, void *arg) {
    Engine *e = arg;
    const bool valid = model_forward(th, e->plan, &e->batch, &e->out, NULL);
    if (th.i == 0) e->step_valid = valid;
    if (!valid) return;
    Range r = thread_range(th, e->batch.n_want);
    for (int64_t i = r.lo; i < r.hi; i++)
        e->drawn[i] = outcome(e, i, e->work + th.i * sampler_bytes(e->V));
}

/* Of the rows that the step stored, the first `length` positions count. */
static void kv_settle(Engine *e, Seq *s, int64_t length) {
    if (length < s->kv.length) kv_truncate(e->pages, &s->kv, length);
}

/* A router met NaN and no result of the step counts. Each sequence of it goes on alone, without
 * drafts, until the culprit is found. */
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

static Finish finish_of(const Seq *s, bool more) {
    for (int64_t i = 0; i < s->req.n_stop; i++)
        if (s->token[s->n - 1] == s->stop[i]) return FINISH_STOP;
    return !more ? FINISH_STOP : s->drawn == s->req.max_tokens ? FINISH_LENGTH : FINISH_NONE;
}

/* The next token of s, the outcome of a row: `known` positions are computed. */
static Finish token_take(Engine *e, Seq *s, Token t, int64_t known, const float *logits) {
    const Constraint *c = s->req.constraint;
    s->token[s->n++] = t.id;
    s->drawn++;
    bool more = !c || c->accept(c->self, t.id);
    Finish finish = finish_of(s, more);
    if (finish != FINISH_NONE) kv_settle(e, s, known);
    s->req.on_token(s->req.arg, s->id, t, finish, logits);
    if (finish != FINISH_NONE) seq_release(e, s, finish);
    return finish;
}

/* Where there are no numbers, or none is allowed. That may be the doing of a draft whose own keys
 * are no numbers: once more without, from the `known` positions on. */
static Finish token_missing(Engine *e, Seq *s, int64_t known) {
    if (s->drafts == 0) {
        seq_end(e, s, FINISH_ERROR);
        return FINISH_ERROR;
    }
    s->suspect = true;
    kv_settle(e, s, known);
    return FINISH_NONE;
}

/* Takes the outcomes of the rows of s, as long as each is the draft on which the next row rests;
 * `first`: positions that were there before the step. */
static void seq_deliver(Engine *e, Seq *s, int64_t first) {
    const Drafter *d = s->req.drafter;
    const int64_t drafts = s->drafts, forced = MIN(s->n_forced, drafts), n = s->n;
    int64_t right = 0; /* drafts that are */
    for (int64_t i = 0; i == right; i++) {
        int64_t at = s->want + i, known = first + s->rows + i;
        Token t = e->drawn[at];
        if (t.id < 0) {
            /* A draft may have spoiled all rows before it, to the last that gave a number. */
            if (token_missing(e, s, i ? known - 1 : first)) return;
            break;
        }
        right += i < drafts && s->token[n + i] == t.id;
        e->stats.forced += i < s->n_forced;
        e->stats.accepted += i >= forced && right > i;
        if (token_take(e, s, t, known, e->out.logits + at * e->V)) return;
        if (s->cancelled) right = i; /* its next token will not come */
        if (right <= i) kv_settle(e, s, known);
    }
    if (d && s->n > n) d->learn(d->self, s->token, s->n, drafts - forced, MAX(right - forced, 0));
}

static void step_commit(Engine *e) {
    for (int64_t i = 0; i < e->batch.n_spans; i++) {
        Seq *s = e->row_seq[i];
        int64_t first = s->kv.length, prompt = MAX(0, MIN(s->rows, s->req.n_prompt - first));
        bool wanted = first + s->rows == s->n;
        e->stats.prompt_rows += prompt;
        e->stats.decode_rows += s->rows + s->drafts - prompt;
        e->stats.drafted += MAX(0, s->drafts - s->n_forced);
        s->kv.length += s->rows + s->drafts;
        s->suspect = false;
        if (wanted) seq_deliver(e, s, first);
        if (s->state == SEQ_ACTIVE && !e->spec.no_prefix)
            prefix_grow(e->prefix, &s->kv, &s->place, s->req.tenant, s->token, false);
    }
}

bool engine_step(Engine *e) {
    CHECK(!e->stepping);
    e->stepping = true;
    bool worked = cancels_take(e);
    sched_admit(e);
    if (sched_batch(e)) {
        worked = true;
        team_run(e->team, step_threads, e);
        e->stats.steps++;
        if (e->step_valid) {
            step_commit(e);
        } else {
            step_void(e);
        }
    }
    e->stepping = false;
    return worked;
}

EngineStats engine_stats(const Engine *e) {
    EngineStats s = e->stats;
    s.active = e->active.n;
    s.waiting = e->waiting.n;
    s.pages = pages_count(e->pages);
    s.pages_free = pages_free(e->pages);
    s.pages_cached = prefix_pages(e->prefix);
    return s;
}
