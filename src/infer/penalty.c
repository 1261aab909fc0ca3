/* penalty.c -- what makes a draw turn away from what was said before (contract 5): repetition,
 * frequency and presence penalty, and DRY.
 *
 * Repetition looks at all tokens of the sequence, as in Hugging Face's transformers; frequency and
 * presence at those that were generated, as in OpenAI's API. DRY (as in llama.cpp) looks for what
 * would go on with a repetition: where the end of the sequence has stood before, the token that
 * came next there is made less likely, the more so the longer that piece is. */
#include "infer/parts.h"

/* More of a repetition does not count; the penalty is bounded, so that no logit becomes -inf. */
enum { DRY_LONGEST = 64 };
static const float DRY_MOST = 0x1p100f;

static bool repeats_on(const Sampling *s) {
    bool repetition = s->repetition_penalty != 0 && s->repetition_penalty != 1;
    return repetition || s->frequency_penalty != 0 || s->presence_penalty != 0;
}

bool penalties_on(const Sampling *s) { return repeats_on(s) || s->dry_multiplier > 0; }

/* seen, drawn (V): whether it is in the sequence, how often it was generated. */
static void repeats_count(int32_t *seen, int32_t *drawn, int64_t V, const Draw *d) {
    memset(seen, 0, (size_t)V * sizeof *seen);
    memset(drawn, 0, (size_t)V * sizeof *drawn);
    for (int64_t i = 0; i < d->n; i++) {
        seen[d->token[i]] = 1;
        drawn[d->token[i]] += i >= d->n_prompt;
    }
}

static void repeats_apply(float *z, const int32_t *seen, const int32_t *drawn, int64_t V,
                          const Sampling *s) {
    float repetition = s->repetition_penalty == 0 ? 1 : s->repetition_penalty;
    for (int64_t i = 0; i < V; i++) {
        if (!seen[i]) continue;
        z[i] = z[i] > 0 ? z[i] / repetition : z[i] * repetition;
        if (!drawn[i]) continue;
        z[i] = z[i] - s->frequency_penalty * (float)drawn[i];
        z[i] = z[i] - s->presence_penalty;
    }
}

static bool breaks(const Draw *d, int32_t id) {
    return d->dry_breaks && d->dry_breaks[id / 64] >> id % 64 & 1;
}

/* How many tokens before token[end] are those that the sequence ends with. */
static int64_t match_length(const Draw *d, int64_t first, int64_t end) {
    int64_t n = 0, most = MIN(end - first, DRY_LONGEST);
    while (n < most && d->token[end - 1 - n] == d->token[d->n - 1 - n]
           && !breaks(d, d->token[d->n - 1 - n]))
        n++;
    return n;
}

static float dry_penalty(const Sampling *s, int64_t length) {
    float p = s->dry_multiplier;
    for (int64_t i = s->dry_allowed_length; i < length; i++) p = p * s->dry_base;
    return p < DRY_MOST ? p : DRY_MOST;
}

/* longest (V): of each token, the longest piece that it would go on with; all 0 between calls. */
static void dry_apply(float *z, int32_t *longest, const Sampling *s, const Draw *d) {
    int64_t last = s->dry_penalty_last_n, first = last < 0 ? 0 : MAX(d->n - last, 0);
    for (int64_t i = first + 1; i < d->n; i++) {
        int32_t length = (int32_t)match_length(d, first, i), id = d->token[i];
        longest[id] = MAX(longest[id], length);
    }
    for (int64_t i = first + 1; i < d->n; i++) {
        int32_t id = d->token[i];
        if (longest[id] >= s->dry_allowed_length) z[id] = z[id] - dry_penalty(s, longest[id]);
        longest[id] = 0; /* once a token */
    }
}

void penalties_apply(float *z, int64_t V, const Sampling *s, const Draw *d, int32_t *work) {
    CHECK(d->token || d->n == 0);
    int32_t *seen = work, *drawn = work + V;
    if (repeats_on(s)) {
        repeats_count(seen, drawn, V, d);
        repeats_apply(z, seen, drawn, V, s);
    }
    if (s->dry_multiplier > 0) {
        memset(seen, 0, (size_t)V * sizeof *seen);
        dry_apply(z, seen, s, d);
    }
}
