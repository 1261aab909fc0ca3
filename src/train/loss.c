/* loss.c -- log-probabilities and cross-entropy on logits, row by row.
 *
 * There is one log-sum-exp in the house (row_lse), so a token's log-probability here is, bit for
 * bit, the one that the sampler gave with it. Rows are independent: lanes split them. */
#include "train/train.h"

void token_logprobs(Lane l, float *logprob, const float *logits, const int32_t *target, int64_t n,
                    int64_t V) {
    Range r = lane_range(l, n);
    for (int64_t i = r.lo; i < r.hi; i++) {
        const float *z = logits + i * V;
        logprob[i] = z[target[i]] - row_lse(z, V);
    }
    lane_sync(l);
}

void loss_back(Lane l, float *logprob, float *logits, const int32_t *target, float scale, int64_t n,
               int64_t V) {
    Range r = lane_range(l, n);
    for (int64_t i = r.lo; i < r.hi; i++) {
        float *z = logits + i * V;
        const float lse = row_lse(z, V);
        logprob[i] = z[target[i]] - lse;
        cross_entropy_back(z, z, lse, target[i], scale, V);
    }
    lane_sync(l);
}
