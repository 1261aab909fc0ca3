/* balance.c -- the sequence-wise loss on the router's scores and its gradient; one sequence at a
 * time (docs/math/moe.md, docs/contract.md 6). */
#include "kern/table.h"

/* Rows of which each expert is among the K best: by (score descending, id ascending), as the router
 * orders. */
static void count_best(int64_t *count, const float *score, int64_t n, const Router *r) {
    memset(count, 0, (size_t)r->E * sizeof *count);
    for (int64_t i = 0; i < n; i++, score += r->E) {
        int32_t best[ROUTER_E];
        router_best(best, r->K, score, NULL, r->E);
        for (int64_t k = 0; k < r->K; k++) count[best[k]]++;
    }
}

static void shares(float *f, const float *score, int64_t n, const Router *r) {
    int64_t count[ROUTER_E];
    CHECK(r->E <= ROUTER_E);
    count_best(count, score, n, r);
    for (int64_t e = 0; e < r->E; e++) f[e] = (float)(count[e] * r->E) / (float)(r->K * n);
}

static float total(const float *s, int64_t E) {
    float sum = 0;
    for (int64_t e = 0; e < E; e++) sum = sum + s[e];
    return sum + 1e-20f;
}

/* For the log only: f64. */
double route_balance(float *f, const float *score, int64_t n, const Router *r) {
    double loss = 0;
    shares(f, score, n, r);
    for (int64_t i = 0; i < n; i++) {
        const float *s = score + i * r->E;
        double row = 0;
        for (int64_t e = 0; e < r->E; e++) row += (double)f[e] * (double)s[e];
        loss += row / (double)total(s, r->E);
    }
    return loss / (double)n;
}

/* With g = scale f and p = s / S the row's part of the loss is sum g_e p_e, so
 * dp_e = g_e and ds_e = (g_e - sum_j g_j p_j) / S. A softmax's S is 1. */
static void row_back(float *dz, const float *s, const float *f, float scale, const Router *r) {
    const bool softmax = r->kind == ROUTER_SOFTMAX;
    const float S = softmax ? 1 : total(s, r->E);
    float q = 0;
    for (int64_t e = 0; e < r->E; e++) q = q + scale * f[e] * s[e];
    q = q / S;
    for (int64_t e = 0; e < r->E; e++) {
        const float ds = (scale * f[e] - q) / S;
        dz[e] = dz[e] + (softmax ? ds * s[e] : ds * (s[e] * (1.0f - s[e])));
    }
}

void route_balance_back(Thread th, float *dz, const float *score, const Span *span, int64_t n_spans,
                        float scale, const Router *r) {
    float f[ROUTER_E];
    for (int64_t i = th.i; i < n_spans; i += th.n) {
        const int64_t lo = span[i].row, hi = lo + span[i].n;
        shares(f, score + lo * r->E, span[i].n, r);
        for (int64_t row = lo; row < hi; row++)
            row_back(dz + row * r->E, score + row * r->E, f, scale, r);
    }
    thread_sync(th);
}
