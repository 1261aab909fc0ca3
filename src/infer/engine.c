/* engine.c -- an engine's memory, and the requests that come into it. What a step does stands in
 * step.c.
 *
 * Everything that an engine needs is allocated in engine_new, and engine_plan has counted it
 * before: both run engine_build, with a Space that allocates and one that only counts. So a plan
 * that was accepted is enough, and no step can fail for want of memory. */
#include "infer/parts.h"

#include <math.h>

enum { TEMPERATURE_MAX = 1000, PENALTY_MAX = 100 };
static const float TEMPERATURE_MIN = 1e-4f;

/* ---- memory ---------------------------------------------------------------------------------- */

/* Rows of logits of a step: one for each sequence, and one for each draft. */
static int64_t wants_most(const EngineSpec *s) { return s->seqs + s->drafts; }

/* The spec with its defaults filled in. The bound on what waits is enough for a queue full of
 * common prompts; where it is less than one prompt of full length, it is that. */
static EngineSpec spec_whole(EngineSpec s, int64_t positions) {
    int64_t common = s.queue * MIN(positions, QUEUE_PROMPT);
    if (s.chunk == 0) s.chunk = s.rows;
    if (s.pages == 0) s.pages = s.seqs * (round_up(positions, PAGE) / PAGE);
    if (s.queue_tokens == 0) s.queue_tokens = MAX(positions, common);
    return s;
}

/* Slots for requests. Only the sequences that are active have a table of tokens, one token longer
 * than their positions, because the last token drawn is not computed. */
static void seqs_build(Engine *e, Space *s) {
    int64_t seqs = e->spec.seqs, length = e->positions + 1;
    e->n_seqs = seqs + e->spec.queue;
    e->seq = TAKE(s, Seq, e->n_seqs);
    e->waiting.v = TAKE(s, Seq *, e->spec.queue);
    e->active.v = TAKE(s, Seq *, seqs);
    e->table = TAKE(s, int32_t *, seqs);
    int32_t *tokens = TAKE(s, int32_t, seqs * length);
    for (int64_t i = 0; tokens && i < seqs; i++) e->table[e->n_tables++] = tokens + i * length;
}

/* The batch of a step and what comes out of it. */
static void batch_build(Engine *e, Space *s, int64_t threads) {
    int64_t seqs = e->spec.seqs, wants = wants_most(&e->spec);
    e->token = TAKE(s, int32_t, e->spec.rows);
    e->want = TAKE(s, Want, wants);
    e->span = TAKE(s, Span, seqs);
    e->row_seq = TAKE(s, Seq *, seqs);
    e->want_seq = TAKE(s, Seq *, wants);
    e->mask_words = (e->V + 63) / 64;
    e->mask = TAKE(s, uint64_t, wants * e->mask_words);
    e->masked = TAKE(s, bool, wants);
    e->drawn = TAKE(s, Token, wants);
    e->work = space_take(s, threads * sampler_bytes(e->V));
    if (e->spec.inside || e->spec.mtp) e->out.hidden = TAKE(s, float, wants * e->cfg->C);
    if (!e->spec.inside) return;
    const int64_t slots = wants * e->cfg->L * MAX(e->cfg->K, 1);
    e->hidden_row = TAKE(s, int32_t, wants);
    e->expert_row = TAKE(s, int32_t, wants);
    e->out.expert = TAKE(s, int32_t, slots);
    e->out.expert_weight = TAKE(s, float, slots);
}

/* All that an engine takes, except KV pages and logits: the plan counts these by itself. */
static void engine_build(Engine *e, Space *s, const KvLayout *kv, const KvLayout *mtp,
                         int64_t threads) {
    const EngineSpec *spec = &e->spec;
    e->pages = pages_build(s, kv, spec->pages, spec->seqs, e->positions);
    e->prefix = prefix_build(s, e->pages, spec->pages);
    e->prompts = prompts_build(s, spec->queue_tokens, spec->queue);
    seqs_build(e, s);
    batch_build(e, s, threads);
    mtp_build(e, s, mtp);
}

static int64_t engine_bytes(const EngineSpec *spec, const PlanSpec *p, const Model *m,
                            int64_t threads) {
    Arena *scratch = arena_open("engine", ARENA_NO_LIMIT);
    Engine draft = {.spec = spec_whole(*spec, p->positions), .cfg = &m->cfg, .V = m->cfg.V};
    draft.positions = p->positions;
    const KvLayout kv = kv_layout_of(scratch, m, p), mtp = kv_layout_mtp(scratch, m, p);
    Space count = {.bytes = round_up(sizeof(Engine), 64)};
    engine_build(&draft, &count, &kv, &mtp, threads);
    arena_close(scratch);
    return count.bytes;
}

void engine_plan(PlanSpec *p, const Model *m, const EngineSpec *spec, int64_t positions,
                 const Team *team) {
    p->rows = spec->rows;
    p->spans = spec->seqs;
    p->logit_rows = wants_most(spec);
    p->positions = positions;
    p->pages = spec_whole(*spec, positions).pages;
    p->engine = engine_bytes(spec, p, m, team_threads(team));
}

/* What the caller's options say must make sense together before anything is allocated. */
static bool spec_check(const EngineSpec *s, int64_t positions, Err *err) {
    if (s->seqs < 1 || s->queue < 1 || s->rows < s->seqs || s->chunk < 0 || s->drafts < 0)
        return err_set(
            err, ERR_LIMIT,
            "starting the engine: %lld sequences, a queue of %lld, %lld rows a step and %lld for "
            "drafts do not go together; there must be a place in the queue and a row for each "
            "sequence",
            (long long)s->seqs, (long long)s->queue, (long long)s->rows, (long long)s->drafts);
    if (s->mtp < 0 || s->mtp > MTP_MOST)
        return err_set(err, ERR_LIMIT,
                       "starting the engine: %lld drafts of the MTP layer in a step; %d are most",
                       (long long)s->mtp, MTP_MOST);
    if (s->queue_tokens && s->queue_tokens < positions)
        return err_set(
            err, ERR_LIMIT,
            "starting the engine: the queue takes %lld tokens, and one prompt may have %lld",
            (long long)s->queue_tokens, (long long)positions);
    return true;
}

/* The plan may be larger than this engine needs (several engines, one after another), never
 * smaller. */
static bool plan_check(const PlanSpec *p, const EngineSpec *s, int64_t bytes, Err *err) {
    if (p->rows < s->rows || p->logit_rows < wants_most(s) || p->spans < s->seqs
        || p->pages < s->pages)
        return err_set(
            err, ERR_LIMIT,
            "starting the engine: the plan has %lld rows, %lld logit rows, %lld spans and %lld "
            "pages, too few for %lld sequences, %lld rows a step, %lld for drafts and %lld pages",
            (long long)p->rows, (long long)p->logit_rows, (long long)p->spans, (long long)p->pages,
            (long long)s->seqs, (long long)s->rows, (long long)s->drafts, (long long)s->pages);
    if (p->engine < bytes)
        return err_set(err, ERR_LIMIT,
                       "starting the engine: its tables take %lld bytes, and the plan has %lld for "
                       "them; engine_plan says how many it needs",
                       (long long)bytes, (long long)p->engine);
    return true;
}

/* The only place that allocates. Logits come last: they are the largest, and the plan counts them
 * apart. */
bool engine_new(Engine **out, Arena *a, Plan *plan, const EngineSpec *spec, Team *team, Err *err) {
    const PlanSpec *p = &plan->spec;
    EngineSpec whole = spec_whole(*spec, p->positions);
    if (!spec_check(spec, p->positions, err)) return false;
    CHECK(!spec->mtp || plan->kv_mtp.n_layers > 0);
    int64_t threads = team_threads(team), bytes = engine_bytes(spec, p, plan->model, threads);
    if (!plan_check(p, &whole, bytes, err)) return false;
    Engine *e = *out = PUSH(a, Engine, 1);
    *e = (Engine){.spec = whole, .plan = plan, .team = team, .taking = -1};
    e->cfg = &plan->model->cfg, e->V = e->cfg->V;
    e->positions = p->positions;
    engine_build(e, &(Space){.a = a}, &plan->kv, &plan->kv_mtp, threads);
    e->out.logits = PUSH(a, float, wants_most(spec) * e->V);
    return true;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* All that a request says is checked before anything is done, because it comes from outside: a
 * token id is an index, a count a size. What is refused leaves no trace. */

/* A token id is an index into the embedding. */
static bool tokens_check(const char *what, const int32_t *token, int64_t n, int64_t V, Err *err) {
    for (int64_t i = 0; i < n; i++)
        if (token[i] < 0 || token[i] >= V)
            return err_set(err, ERR_USAGE,
                           "adding a request: %s token %lld is %d; ids go from 0 to %lld", what,
                           (long long)i, token[i], (long long)V - 1);
    return true;
}

/* Biases are added to logits, so an infinity could make a NaN of an infinity. */
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

/* What is not a number fails every comparison, and is refused by it. */
static bool penalties_check(const Sampling *s, Err *err) {
    bool off = s->dry_multiplier == 0;
    if (!(s->min_p >= 0 && s->min_p <= 1)
        || !(s->repetition_penalty >= 0 && s->repetition_penalty <= PENALTY_MAX)
        || !(fabsf(s->presence_penalty) <= PENALTY_MAX)
        || !(fabsf(s->frequency_penalty) <= PENALTY_MAX))
        return err_set(
            err, ERR_USAGE,
            "adding a request: min_p %g, repetition_penalty %g, presence_penalty %g, "
            "frequency_penalty %g; min_p lies between 0 and 1, the others are %d at most",
            (double)s->min_p, (double)s->repetition_penalty, (double)s->presence_penalty,
            (double)s->frequency_penalty, PENALTY_MAX);
    if (off) return true;
    if (!(s->dry_multiplier > 0 && s->dry_multiplier <= PENALTY_MAX)
        || !(s->dry_base >= 1 && s->dry_base <= PENALTY_MAX) || s->dry_allowed_length < 1
        || s->dry_penalty_last_n < -1)
        return err_set(
            err, ERR_USAGE,
            "adding a request: dry_multiplier %g, dry_base %g, dry_allowed_length %lld, "
            "dry_penalty_last_n %lld; the first two are %d at most, the base 1 and the length 1 at "
            "least",
            (double)s->dry_multiplier, (double)s->dry_base, (long long)s->dry_allowed_length,
            (long long)s->dry_penalty_last_n, PENALTY_MAX);
    return true;
}

/* The temperature's bounds keep logit / temperature finite for any logits that a model gives. */
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
    return penalties_check(s, err);
}

/* The last token that is drawn is not computed, and takes no position. */
static int64_t pages_needed(const SeqReq *r) {
    return round_up(r->n_prompt + r->max_tokens - 1, PAGE) / PAGE;
}

/* What can never fit is told apart from what only has to wait for others: the caller may try the
 * latter again. */
static bool size_check(const Engine *e, const SeqReq *r, Err *err) {
    int64_t positions = e->positions, pages = pages_count(e->pages);
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
    int64_t room = prompts_room(e->prompts);
    if (r->n_prompt > room)
        return err_set(
            err, ERR_LIMIT,
            "adding a request: its prompt has %lld tokens; the %lld that wait have %lld of the "
            "%lld that the queue takes; try again later",
            (long long)r->n_prompt, (long long)e->waiting.n,
            (long long)(e->spec.queue_tokens - room), (long long)e->spec.queue_tokens);
    return true;
}

/* The prompt is copied into the queue's own store, so the caller's memory is free again at once.
 * Ids count up and are never used twice. */
int64_t engine_add(Engine *e, const SeqReq *r, Err *err) {
    CHECK(r->on_token && (!r->inside || e->spec.inside));
    CHECK(!(r->inside & WANT_EXPERTS) || e->cfg->E > 0);
    if (!size_check(e, r, err) || !sampling_check(&r->sampling, err) || !bias_check(r, e->V, err)
        || !tokens_check("prompt", r->prompt, r->n_prompt, e->V, err)
        || !tokens_check("end", r->stop, r->n_stop, e->V, err))
        return 0;
    Seq *s = seq_slot(e);
    *s = (Seq){.state = SEQ_WAITING,
               .id = ++e->next_id,
               .req = *r,
               .prompt = prompt_put(e->prompts, r->prompt, r->n_prompt),
               .n = r->n_prompt,
               .pages = pages_needed(r)};
    if (r->n_stop > 0) memcpy(s->stop, r->stop, (size_t)r->n_stop * sizeof *r->stop);
    seq_list_add(&e->waiting, s);
    return s->id;
}

/* The next step takes it away: a cancel may come from inside on_token, in the middle of one. */
void engine_cancel(Engine *e, int64_t id) {
    Seq *s = seq_find(e, id);
    if (s) s->cancelled = true;
}

void engine_forget(Engine *e) { prefix_forget(e->prefix); }

bool engine_store(Engine *e, Arena *a, const char *folder, int64_t bytes, Err *err) {
    CHECK(!e->disk && prefix_pages(e->prefix) == 0);
    if (!disk_open(&e->disk, a, folder, bytes, e->plan, err)) return false;
    prefix_keep(e->prefix, e->disk);
    return true;
}

void engine_keep(Engine *e) { prefix_write(e->prefix); }

void engine_store_close(Engine *e) {
    prefix_keep(e->prefix, NULL);
    disk_close(e->disk);
    e->disk = NULL;
}

/* A page is free, or owned by a sequence, or kept by the prefix cache alone. */
int64_t engine_cached(Engine *e, int64_t id) {
    const Seq *s = seq_find(e, id);
    return s && s->state == SEQ_ACTIVE ? s->cached : 0;
}

Inside engine_inside(const Engine *e) {
    Inside in = {0};
    if (e->taking < 0 || !e->spec.inside) return in;
    const int32_t hidden = e->hidden_row[e->taking], expert = e->expert_row[e->taking];
    const int64_t slots = e->cfg->L * e->cfg->K;
    const Seq *s = e->want_seq[e->taking];
    if (hidden >= 0 && s->req.inside & WANT_HIDDEN) in.hidden = e->out.hidden + hidden * e->cfg->C;
    if (expert >= 0)
        in.expert = e->out.expert + expert * slots,
        in.weight = e->out.expert_weight + expert * slots;
    return in;
}

EngineStats engine_stats(const Engine *e) {
    EngineStats s = e->stats;
    s.active = e->active.n;
    s.waiting = e->waiting.n;
    s.pages = pages_count(e->pages);
    s.pages_free = pages_free(e->pages);
    s.pages_cached = prefix_pages(e->prefix);
    s.stored = disk_stats(e->disk).written, s.loaded = disk_stats(e->disk).read;
    return s;
}
