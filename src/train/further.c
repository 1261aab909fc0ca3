/* further.c -- predicting further tokens in training (DeepSeek-V3, arXiv 2412.19437, 2.2;
 * docs/math/mtp.md): layer k of the model's further ones is given, at the row whose target is the
 * next token, that token, and learns the one k + 1 places behind it.
 *
 *     loss = main + weight / layers * sum over the layers of the mean over their targets
 *
 * A piece of n places has n - 1 - k such rows: no target is looked for in another document. The
 * rows are taken out of the batch, so a layer computes no row that it does not learn from. */
#include "dist/dist.h"
#include "train/trainer.h"

double mtp_weight_at(const Recipe *r, int64_t step) {
    const bool late = (double)step > r->mtp.late_from * (double)r->optim.steps;
    return late ? r->mtp.weight_late : r->mtp.weight;
}

void further_new(Trainer *t) {
    const int64_t N = t->recipe->batch.micro, C = t->model->cfg.C;
    Arena *a = t->arena;
    t->n_further = t->model->n_layers - t->model->cfg.L;
    t->further = PUSH(a, Further, t->n_further);
    if (t->n_further) t->dfrom = PUSH(a, float, N *C);
    for (int64_t k = 0; k < t->n_further; k++)
        t->further[k] = (Further){.token = PUSH(a, int32_t, N),
                                  .target = PUSH(a, int32_t, N),
                                  .before = PUSH(a, int32_t, N),
                                  .span = PUSH(a, Span, N),
                                  .from = PUSH(a, float, N *C),
                                  .hidden = PUSH(a, float, N *C)};
}

/* Rows of layer k in a piece of so many places. */
static int64_t rows_of(int64_t places, int64_t k) { return MAX(places - 1 - k, 0); }

/* Those of them in piece j of b whose target is learned, not only read. */
static int64_t targets_of(const Packed *b, int64_t j, int64_t k) {
    const int32_t *target = b->target + b->at[j] + k + 1;
    int64_t n = 0;
    for (int64_t i = 0; i < rows_of(b->len[j], k); i++) n += target[i] >= 0;
    return n;
}

void further_count(Trainer *t) {
    for (int64_t k = 0; k < t->n_further; k++) {
        t->further[k].targets = 0;
        t->further[k].loss = 0;
        for (int64_t i = 0; i < t->n_micro; i++)
            for (int64_t j = 0; j < t->micro[i].n_pieces; j++)
                t->further[k].targets += targets_of(&t->micro[i], j, k);
        double targets = (double)t->further[k].targets;
        dist_all_reduce_f64(&targets, 1);
        t->further[k].targets = MAX((int64_t)targets, 1); /* none: all were only read */
    }
}

/* Place i of a piece has the token at place i + 1 as its next one, and target[i], which may be -1,
 * as what is learned there. The piece's pages serve all layers. */
static void rows_take(Further *f, const Trainer *t, const Packed *b, int64_t k) {
    int64_t before = 0;
    f->n = f->n_spans = 0;
    for (int64_t j = 0; j < b->n_pieces; j++) {
        const int64_t rows = rows_of(b->len[j], k);
        const int64_t next = b->at[j] + k + 1;
        if (rows)
            f->span[f->n_spans++] =
                (Span){.row = f->n, .n = rows, .pages = t->span[j].pages, .seq = j};
        for (int64_t i = 0; i < rows; i++, f->n++) {
            f->token[f->n] = b->token[next + i], f->target[f->n] = b->target[next + i];
            f->before[f->n] = (int32_t)(before + i);
        }
        before += rows_of(b->len[j], k - 1);
    }
    f->batch = (Batch){.n = f->n,
                       .token = f->token,
                       .span = f->span,
                       .n_spans = f->n_spans,
                       .want = t->want,
                       .n_want = f->n,
                       .balance = t->batch.balance};
    f->out = (Out){.hidden = f->hidden};
}

/* The layers of a step whose weight is 0 are not computed. */
static bool is_on(const Trainer *t) {
    return t->n_further && mtp_weight_at(t->recipe, t->stats.step) > 0;
}

bool further_forward(Thread th, Trainer *t, const Packed *b) {
    const int64_t C = t->model->cfg.C;
    const float *hidden = t->hidden;
    for (int64_t k = 0; is_on(t) && k < t->n_further; k++) {
        Further *f = &t->further[k];
        if (th.i == 0) rows_take(f, t, b, k);
        thread_sync(th);
        if (f->n == 0) continue;
        const Range r = thread_range(th, f->n);
        for (int64_t i = r.lo; i < r.hi; i++)
            memcpy(f->from + i * C, hidden + f->before[i] * C, (size_t)C * sizeof *hidden);
        thread_sync(th);
        if (!model_mtp(th, t->plan, k, &f->batch, f->from, &f->out)) return false;
        hidden = f->hidden;
    }
    return true;
}

/* The gradients that layer f gave its input, onto those of the hidden states it was taken from. */
static void rows_give(Thread th, float *dhidden, const Further *f, const float *dfrom, int64_t C) {
    const Range r = thread_range(th, f->n);
    for (int64_t i = r.lo; i < r.hi; i++)
        add(thread_alone(th), dhidden + f->before[i] * C, dfrom + i * C, C);
    thread_sync(th);
}

void further_back(Thread th, Trainer *t) {
    const int64_t C = t->model->cfg.C, L = t->model->cfg.L;
    const bool losses = t->recipe->balance.sequence_loss > 0;
    const double weight = mtp_weight_at(t->recipe, t->stats.step);
    for (int64_t k = t->n_further - 1; is_on(t) && k >= 0; k--) {
        Further *f = &t->further[k];
        if (f->n == 0) continue;
        const float scale = (float)(weight / (double)t->n_further / (double)f->targets);
        hidden_loss_back(th, t->plan, f->hidden, t->logprob, f->target, scale, f->n, t->logits);
        if (th.i == 0) f->loss -= tree_f64(t->logprob, f->n);
        if (k + 1 < t->n_further && f[1].n) rows_give(th, f->hidden, &f[1], t->dfrom, C);
        model_mtp_back(th, t->plan, k, &f->batch, f->from, f->hidden, t->dfrom);
        routing_add(th, t->plan, L + k, L + k + 1, &f->batch, losses, &t->routing);
    }
    if (is_on(t) && t->further[0].n) rows_give(th, t->hidden, &t->further[0], t->dfrom, C);
}

double further_loss(const Trainer *t) {
    double sum = 0;
    for (int64_t k = 0; k < t->n_further; k++)
        sum += t->further[k].loss / (double)MAX(t->further[k].targets, 1);
    return sum / (double)MAX(t->n_further, 1);
}
