/* sampler.c -- one draw from a row of logits (contract 5).
 *
 * The contract sums candidates by (p descending, id ascending), so the draw depends on the whole
 * order. Two facts keep that cheap at a vocabulary of 100,000:
 *   - The first candidate has p = exp(0) = 1, so the running sum is never below 1, and adding less
 *     than 2^-24, half an ulp there, changes nothing. Candidates below that neither move a sum nor
 *     can be the first to pass a bound: left out.
 *   - What remains lies in [2^-24, 1], whose float bits are a range of 28 bits: three stable passes
 *     of a radix sort.
 * The exponential is not strictly monotonic, so p is what is sorted, not the logit. */
#include "infer/parts.h"

#include <math.h>

/* A candidate in one word: rank << 32 | id. The rank is how far p's bits are below those of 1: rank
 * ascending is p descending. */
typedef uint64_t Item;
enum { ONE_BITS = 0x3f800000, RANK_BITS = 28, TOP_SHIFT = 18, TOP_N = 1 << 10 };
static const float P_MIN = 0x1p-24f;

static int64_t item_rank(Item x) { return (int64_t)(x >> 32); }
static float item_p(Item x) { return f32_of_bits((uint32_t)(ONE_BITS - item_rank(x))); }

int64_t sampler_bytes(int64_t V) {
    return round_up(V * (int64_t)(2 * sizeof(Item) + 2 * sizeof(float)), 64);
}

/* The lowest index that has the value, which is there: so ties go to the lowest id. */
static int64_t first_equal(const float *x, float value, int64_t n) {
    int64_t i = 0;
    while (i < n - 1 && x[i] != value) i++;
    return i;
}

/* p (V) = exp(logit / T - max); false when there is no largest finite z. */
static bool probabilities(float *p, const float *logits, int64_t V, float temperature) {
    for (int64_t i = 0; i < V; i++) p[i] = logits[i] / temperature;
    float m = row_max(p, V);
    if (!(fabsf(m) < INFINITY)) return false;
    row_exp(p, p, m, V);
    return true;
}

/* The candidates by id, without a branch: each is written, and stays where it counts. */
static int64_t candidates(Item *item, const float *p, int64_t V) {
    int64_t n = 0;
    for (int64_t i = 0; i < V; i++) {
        item[n] = (uint64_t)(ONE_BITS - bits_of_f32(p[i])) << 32 | (uint64_t)i;
        n += p[i] >= P_MIN;
    }
    return n;
}

/* Keeps the candidates whose rank's top digit is one of the k best's: k or more, still by id. */
static int64_t keep_best(Item *item, int64_t n, int64_t k) {
    int64_t count[TOP_N] = {0}, digit = 0, kept = 0;
    for (int64_t i = 0; i < n; i++) count[item_rank(item[i]) >> TOP_SHIFT]++;
    for (int64_t sum = count[0]; sum < k; sum += count[digit]) digit++;
    for (int64_t i = 0; i < n; i++) {
        item[kept] = item[i];
        kept += item_rank(item[i]) >> TOP_SHIFT <= digit;
    }
    return kept;
}

/* Stable, by rank; equal ranks stay by id. Returns where they are then: `item` or `other`. */
static Item *sort_items(Item *item, Item *other, int64_t n) {
    static const int shift[] = {0, 9, TOP_SHIFT}, bits[] = {9, 9, RANK_BITS - TOP_SHIFT};
    for (int64_t pass = 0; pass < COUNT(shift); pass++) {
        int64_t at[TOP_N] = {0}, sum = 0, mask = (1 << bits[pass]) - 1;
        for (int64_t i = 0; i < n; i++) at[item_rank(item[i]) >> shift[pass] & mask]++;
        for (int64_t d = 0; d <= mask; d++) {
            int64_t c = at[d];
            at[d] = sum;
            sum += c;
        }
        for (int64_t i = 0; i < n; i++)
            other[at[item_rank(item[i]) >> shift[pass] & mask]++] = item[i];
        Item *t = item;
        item = other, other = t;
    }
    return item;
}

/* Top-p, min-p and the pick over n candidates in order; run (n) receives their running sums. */
static int64_t pick(float *run, const Item *item, int64_t n, const Sampling *s, float u) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++) run[i] = sum = sum + item_p(item[i]);
    int64_t kept = 1, i = 0;
    for (float enough = s->top_p * sum; kept < n && run[kept - 1] < enough;) kept++;
    while (kept > 1 && item_p(item[kept - 1]) < s->min_p) kept--;
    for (float bound = u * run[kept - 1]; i < kept - 1 && !(run[i] > bound);) i++;
    return (int64_t)(item[i] & UINT32_MAX);
}

static int64_t draw(const float *logits, int64_t V, const Sampling *s, int64_t position,
                    void *work) {
    Item *item = work, *other = item + V;
    float *p = (float *)(other + V);
    if (!probabilities(p, logits, V, s->temperature)) return -1;
    int64_t n = candidates(item, p, V);
    if (s->top_k > 0 && s->top_k < n) {
        n = keep_best(item, n, s->top_k);
        item = sort_items(item, other, n);
        n = s->top_k;
    } else {
        item = sort_items(item, other, n);
    }
    float u = philox_unit(philox(s->seed, (uint64_t)position, 0).w[0]);
    return pick(p, item, n, s, u);
}

/* The logits that are drawn from: raw, plus the biases, less the penalties, -inf where the mask
 * forbids. Where there is none of these they stand where they are. z: (V); work: 2 V numbers. */
static const float *shaped(float *z, const float *logits, int64_t V, const Sampling *s,
                           const Draw *d, void *work) {
    bool penalties = penalties_on(s);
    if (d->n_bias == 0 && !d->mask && !penalties) return logits;
    memcpy(z, logits, (size_t)V * sizeof *z);
    for (int64_t i = 0; i < d->n_bias; i++) z[d->bias[i].id] += d->bias[i].value;
    if (penalties) penalties_apply(z, V, s, d, work);
    for (int64_t i = 0; d->mask && i < V; i++)
        if (!(d->mask[i / 64] >> i % 64 & 1)) z[i] = -INFINITY;
    return z;
}

/* The largest logit, of equal ones the lowest id; -1 where all are forbidden. */
static int64_t greedy(const float *z, int64_t V) {
    float most = row_max(z, V);
    return most > -INFINITY ? first_equal(z, most, V) : -1;
}

Token sampler_pick(const float *logits, int64_t V, const Sampling *s, const Draw *d, void *work) {
    float lse = row_lse(logits, V);
    int64_t id = -1;
    if (!isnan(lse)) {
        float *last = (float *)((Item *)work + 2 * V) + V;
        const float *z = shaped(last, logits, V, s, d, work);
        id = s->temperature > 0 ? draw(z, V, s, d->n, work) : greedy(z, V);
    }
    return (Token){(int32_t)id, id < 0 ? NAN : logits[id] - lse};
}

Token sampler_given(const float *logits, int64_t V, int32_t id) {
    float lse = row_lse(logits, V);
    return isnan(lse) ? (Token){-1, NAN} : (Token){id, logits[id] - lse};
}

int64_t sampler_top(const float *logits, int64_t V, int64_t n, Token *top) {
    float lse = row_lse(logits, V);
    int64_t found = 0;
    if (isnan(lse)) return 0;
    for (int64_t i = 0; i < V; i++) {
        if (found == n && !(n > 0 && logits[i] > logits[top[n - 1].id])) continue;
        int64_t at = found < n ? found++ : n - 1; /* a smaller one goes, or moves on */
        for (; at > 0 && logits[i] > logits[top[at - 1].id]; at--) top[at] = top[at - 1];
        top[at] = (Token){(int32_t)i, logits[i] - lse};
    }
    return found;
}
