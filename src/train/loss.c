/* loss.c -- log-probabilities and cross-entropy on logits, row by row (docs/math/head.md).
 *
 * The program has one log-sum-exp (row_lse), so a token's log-probability here is, bit for bit, the
 * one that the sampler reported for it. Rows are independent, and threads split them. */
#include "train/train.h"

void token_logprobs(Thread th, float *logprob, const float *logits, const int32_t *target,
                    int64_t n, int64_t V) {
    Range r = thread_range(th, n);
    for (int64_t i = r.lo; i < r.hi; i++) {
        const float *z = logits + i * V;
        logprob[i] = target[i] < 0 ? 0 : z[target[i]] - row_lse(z, V);
    }
    thread_sync(th);
}

float loss_back(const Rows *dlogits, int64_t i, const float *z, int32_t target, float scale) {
    const float lse = target < 0 ? 0 : row_lse(z, dlogits->k);
    const float logprob = target < 0 ? 0 : z[target] - lse; /* before z may be overwritten */
    cross_entropy_back(dlogits, i, z, lse, target, scale);
    return logprob;
}

void hidden_logprobs(Thread th, Plan *p, float *logprob, const float *hidden, const int32_t *target,
                     int64_t n, float *logits) {
    const Config *c = &p->model->cfg;
    for (int64_t row = 0, step = head_rows(p); row < n; row += step) {
        const int64_t rows = MIN(step, n - row);
        head_logits(th, p, logits, hidden + row * c->C, rows);
        token_logprobs(th, logprob + row, logits, target + row, rows, c->V);
    }
}

void hidden_rows_back(Thread th, Plan *p, float *hidden, int64_t n, float *logits, RowBack *back,
                      void *arg) {
    const Config *c = &p->model->cfg;
    for (int64_t row = 0, step = head_rows(p); row < n; row += step) {
        const int64_t rows = MIN(step, n - row);
        float *h = hidden + row * c->C;
        head_logits(th, p, logits, h, rows);
        const Rows dlogits = head_gradient(p, logits, rows);
        const Range mine = thread_range(th, rows);
        for (int64_t i = mine.lo; i < mine.hi; i++)
            back(arg, th.i, row + i, &dlogits, i, logits + i * c->V);
        thread_sync(th);
        head_back(th, p, h, &dlogits, h, row, rows);
    }
    head_back_end(th, p, n);
}

typedef struct Targets {
    float *logprob;
    const int32_t *target;
    float scale;
} Targets;

static void target_back(void *arg, int64_t thread, int64_t row, const Rows *dlogits, int64_t i,
                        const float *z) {
    (void)thread;
    const Targets *t = arg;
    t->logprob[row] = loss_back(dlogits, i, z, t->target[row], t->scale);
}

void hidden_loss_back(Thread th, Plan *p, float *hidden, float *logprob, const int32_t *target,
                      float scale, int64_t n, float *logits) {
    Targets t = {logprob, target, scale};
    hidden_rows_back(th, p, hidden, n, logits, target_back, &t);
}
