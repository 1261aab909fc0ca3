/* step.c -- one optimiser step, and the loss on held-out text.
 *
 * Invariants: all threads run the same straight line of calls; what one thread writes for all
 * (spans, sums) is enclosed by two syncs. Rows are drawn before the threads start, so the number of
 * targets, by which the mean divides, is known to the first micro-batch. */
#include "dist/dist.h"
#include "train/grpo.h"

#include <math.h>
#include <stdio.h>

static void batch_begin(Thread th, Trainer *t, const Packed *b) {
    if (th.i == 0) {
        for (int64_t i = 0; i < b->n_pieces; i++)
            t->span[i] = (Span){.row = b->at[i], .n = b->len[i], .seq = i};
        t->batch = (Batch){
            .n = b->n,
            .token = b->token,
            .span = t->span,
            .n_spans = b->n_pieces,
            .want = t->want,
            .n_want = b->n,
            .balance = (float)(t->recipe->balance.sequence_loss / (double)t->stats.targets)};
        t->out = (Out){.hidden = t->hidden};
    }
    thread_sync(th);
    plan_pages(th, t->plan, t->span, b->n_pieces);
}

static void micro_batch(Thread th, Trainer *t, const Packed *b) {
    const float scale = (float)(1.0 / (double)t->stats.targets);
    batch_begin(th, t, b);
    if ((t->rolls && !grpo_first(th, t, b))
        || !model_forward(th, t->plan, &t->batch, &t->out, plan_acts(t->plan))
        || !further_forward(th, t, b)) {
        if (th.i == 0) t->stats.loss = NAN, t->step_valid = false; /* the step is void */
        return;
    }
    phase("head and loss");
    if (t->rolls)
        grpo_back(th, t, b);
    else if (t->soft)
        soft_back(th, t, b, scale);
    else
        hidden_loss_back(th, t->plan, t->hidden, t->logprob, b->target, scale, b->n, t->logits);
    if (th.i == 0 && !t->rolls) t->stats.loss -= tree_f64(t->logprob, b->n);
    further_back(th, t);
    model_back(th, t->plan, &t->batch, t->hidden, plan_acts(t->plan));
    routing_add(th, t->plan, 0, t->model->cfg.L, &t->batch, t->recipe->balance.sequence_loss > 0,
                &t->routing);
}

static float clip_scale(const Recipe *r, double norm) {
    const double clip = r->optim.clip;
    return clip == 0 || norm <= clip ? 1 : (float)(clip / norm);
}

/* Gradients and loss of all ranks, summed in the order of the ranks; one rank has them already. A
 * rank's own experts are nobody else's. */
static void ranks_join(Thread th, Trainer *t) {
    if (th.i == 0) {
        for (int64_t i = 0; i < t->model->n_params; i++) {
            const Param *p = &t->model->param[i];
            if (param_learns(p) && p->shard == SHARD_WHOLE) dist_all_reduce(p->grad, p->count);
        }
        dist_all_reduce_f64(&t->stats.loss, 1);
        dist_all_reduce_i64(t->routing.load, t->routing.layers * t->routing.E);
        for (int64_t i = 0; i < t->n_further; i++) dist_all_reduce_f64(&t->further[i].loss, 1);
    }
    thread_sync(th);
}

static void step_threads(Thread th, void *arg) {
    Trainer *t = arg;
    if (th.i == 0) routing_clear(&t->routing);
    phase("zeroing gradients");
    model_zero_grad(th, t->model);
    for (int64_t i = 0; !t->rolls && i < t->n_micro; i++) micro_batch(th, t, &t->micro[i]);
    while (t->rolls && grpo_rows(th, t, &t->micro[0])) micro_batch(th, t, &t->micro[0]);
    ranks_join(th, t);
    phase("gradient norm");
    const double norm = grad_norm(th, t->model, t->square);
    if (th.i == 0) t->stats.grad_norm = norm;
    if (!isfinite(norm) || !isfinite(t->stats.loss)) return;
    if (th.i == 0) t->moved = true;
    phase("optimiser");
    optim_step(th, t->optim, t->stats.step, clip_scale(t->recipe, norm));
    routing_step(th, t);
}

/* ---- what is not finite ---------------------------------------------------------------------- */

enum { NAME_BYTES = 240 };

static void name_put(char *out, const char *what, const Param *p, int64_t matrix) {
    const char *number = strstr(p->name, "%d");
    if (number)
        snprintf(out, NAME_BYTES, "%s %.*s%lld%s", what, (int)(number - p->name), p->name,
                 (long long)matrix, number + 2);
    else
        snprintf(out, NAME_BYTES, "%s %s", what, p->name);
}

/* The first number of x that is not finite decides which of p's matrices it is. */
static bool array_lost(char *out, const char *what, const Param *p, const float *x) {
    for (int64_t i = 0; i < p->count; i++)
        if (!isfinite(x[i])) return name_put(out, what, p, i / (p->count / p->w.n)), true;
    return false;
}

/* In the order in which values are made. A gradient that is not finite spreads to all layers below,
 * so the last tensor is where it began. */
static void lost_name(char *out, const Trainer *t) {
    const Model *m = t->model;
    const Param *p;
    int64_t matrix;
    if (t->moved && optim_lost(t->optim, &p, &matrix))
        return name_put(out, "the momentum of", p, matrix);
    for (int64_t i = 0; i < m->n_params; i++)
        if (array_lost(out, "the weight", &m->param[i], m->param[i].master)) return;
    snprintf(out, NAME_BYTES, "the loss");
    if (!t->step_valid)
        snprintf(out, NAME_BYTES, "what the router of layer %lld saw",
                 (long long)routing_lost(t->plan));
    for (int64_t i = m->n_params - 1; i >= 0 && isfinite(t->stats.loss); i--)
        if (param_learns(&m->param[i])
            && array_lost(out, "the gradient of", &m->param[i], m->param[i].grad))
            return;
}

/* The step is void; names where it was lost. */
static bool step_failed(const Trainer *t, Err *err) {
    char name[NAME_BYTES];
    const StepStats *s = &t->stats;
    lost_name(name, t);
    return err_set(err, ERR_FORMAT,
                   "step %lld: loss %g, gradient norm %g: %s is not finite. The checkpoint of step "
                   "%lld is intact; a smaller optim.lr or a longer optim.warmup usually helps",
                   (long long)s->step, s->loss, s->grad_norm, name, (long long)t->saved);
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* The rows of the step, and what they are to predict. */
static void rows_draw(Trainer *t) {
    const Recipe *r = t->recipe;
    for (int64_t i = 0; i < t->n_micro; i++) {
        mix_next(t->mix, &t->micro[i], r->batch.micro / r->batch.sequence);
        t->stats.targets += t->micro[i].targets;
    }
    double targets = (double)t->stats.targets;
    dist_all_reduce_f64(&targets, 1);
    t->stats.targets = MAX((int64_t)targets, 1); /* none: the rows were all read only */
    further_count(t);
}

static bool step_run(Trainer *t, Err *err) {
    const Param *lost;
    int64_t matrix;
    t->step_valid = true, t->moved = false;
    team_run(t->team, step_threads, t);
    if (!t->rolls) t->stats.loss /= (double)t->stats.targets;
    t->stats.mtp_loss = further_loss(t);
    return (t->moved && !optim_lost(t->optim, &lost, &matrix)) || step_failed(t, err);
}

bool trainer_step(Trainer *t, StepStats *s, Err *err) {
    t->stats = (StepStats){.step = t->step + 1, .lr = rate_at(t->recipe, t->step + 1)};
    if (t->rolls && !grpo_begin(t, err)) return false;
    if (!t->rolls) rows_draw(t);
    if (!(t->rolls && t->rolls->tokens == 0) && !step_run(t, err)) return false;
    if (t->rolls) grpo_end(t), grpo_alarms(t);
    t->step++;
    t->targets += t->stats.targets;
    *s = t->stats;
    return true;
}

/* ---- held-out text --------------------------------------------------------------------------- */

static void check_threads(Thread th, void *arg) {
    Trainer *t = arg;
    const Packed *b = &t->micro[0];
    batch_begin(th, t, b);
    const bool valid = model_forward(th, t->plan, &t->batch, &t->out, plan_acts(t->plan));
    if (th.i == 0) t->step_valid = valid;
    if (valid) hidden_logprobs(th, t->plan, t->logprob, t->hidden, b->target, b->n, t->logits);
}

/* -log p of the targets that are text, and its bytes: an end token stands for none. */
static void text_sums(const Trainer *t, const Packed *b, double *nll, int64_t *bytes) {
    const int32_t end = t->valid.whole ? t->text.bundle.chat.end : t->text.end;
    for (int64_t i = 0; i < b->n; i++) {
        if (b->target[i] < 0 || b->target[i] == end) continue;
        *nll -= (double)t->logprob[i];
        *bytes += token_bytes(t->text.bundle.tok, b->target[i]).n;
    }
}

static bool eval_failed(const Trainer *t, const char *what, Err *err) {
    return err_set(err, ERR_FORMAT,
                   "measuring the loss on %s after step %lld: %s. The checkpoint of step %lld is "
                   "intact; a smaller optim.lr or a longer optim.warmup usually helps",
                   t->recipe->data.valid, (long long)t->step, what, (long long)t->saved);
}

/* What a reward takes the place of a loss for: problems that are not solved. */
static bool wrong_share(Trainer *t, double *share, Err *err) {
    double rate;
    if (!rollouts_valid(t, &rate, err)) return false;
    *share = 1 - rate;
    return true;
}

bool trainer_eval(Trainer *t, double *loss, Err *err) {
    const Recipe *r = t->recipe;
    if (t->rolls && t->rolls->n_valid) return wrong_share(t, loss, err);
    if (!t->valid_loader)
        return err_set(err, ERR_USAGE, "%s: data.valid names no text to validate on", r->path);
    const int64_t most = r->eval.tokens ? r->eval.tokens : INT64_MAX,
                  step = r->batch.micro / r->batch.sequence;
    int64_t targets = 0, bytes = 0;
    double sum = 0, nll = 0;
    loader_rewind(t->valid_loader);
    for (int64_t left = loader_rows(t->valid_loader); left > 0 && targets < most; left -= step) {
        Packed *b = &t->micro[0];
        loader_next(t->valid_loader, b, MIN(left, step));
        team_run(t->team, check_threads, t);
        if (!t->step_valid) return eval_failed(t, "a router met a value that is not a number", err);
        sum -= tree_f64(t->logprob, b->n);
        text_sums(t, b, &nll, &bytes);
        targets += b->targets;
    }
    if (!isfinite(sum)) return eval_failed(t, "the loss is not finite", err);
    *loss = sum / (double)targets;
    t->valid_bits = nll / log_f64(2) / (double)MAX(bytes, 1);
    return true;
}

double trainer_bits(const Trainer *t) { return t->valid_bits; }
