/* router.c -- which experts a token goes to, their weights, and the backward of both; one row at a
 * time (docs/math/moe.md).
 *
 * DeepSeek-V2 (arXiv 2405.04434, 2.1.2 and 2.1.3): softmax over all experts, groups by their best
 * expert. DeepSeek-V3 (arXiv 2412.19437, 2.1.2): sigmoid, a bias that only enters the choice,
 * groups by their two best, weights normalised. */
#include "kern/layout.h"
#include <math.h>

/* ---- forward --------------------------------------------------------------------------------- */

/* What the router thinks of each expert: the chosen ones' scores become their weights. */
static void scores(float *s, const float *z, const Router *r) {
    if (r->kind == ROUTER_SIGMOID) {
        kern.sigmoid(s, z, r->E);
        return;
    }
    float m = kern.max(z, r->E), sum = kern.sum_exp(z, m, r->E);
    for (int64_t e = 0; e < r->E; e++) s[e] = exp_f32(z[e] - m) / sum;
}

/* The largest of v[0..n-1] that is still open, the lowest index among equals; it is closed. */
static int64_t take_best(const float *v, bool *open, int64_t n) {
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (open[i] && (best < 0 || v[i] > v[best])) best = i;
    CHECK(best >= 0);
    open[best] = false;
    return best;
}

/* The K largest of v[0..n-1] that are open (NULL: all are), by (value descending, index ascending).
 * Each is the largest of those left, which is found without a branch, and then its place. */
void router_best(int32_t *best, int64_t K, const float *v, const bool *open, int64_t n) {
    float left[ROUTER_E];
    bool closed[ROUTER_E];
    CHECK(n >= 1 && n <= ROUTER_E);
    memcpy(left, v, (size_t)n * sizeof *left);
    for (int64_t i = 0; i < n; i++) {
        closed[i] = open && !open[i];
        if (closed[i]) left[i] = -INFINITY;
    }
    for (int64_t k = 0; k < K; k++) {
        const float top = kern.max(left, n);
        int64_t at = 0;
        while (at < n && (left[at] != top || closed[at])) at++;
        CHECK(at < n);
        closed[at] = true, left[at] = -INFINITY;
        best[k] = (int32_t)at;
    }
}

/* A group is as good as its best expert (V2), or as the sum of its two best (V3). */
static float group_score(const float *choice, int64_t n, RouterKind kind) {
    bool open[ROUTER_E];
    memset(open, true, (size_t)n);
    float first = choice[take_best(choice, open, n)];
    return kind == ROUTER_SOFTMAX || n == 1 ? first : first + choice[take_best(choice, open, n)];
}

/* Opens the experts of the best groups. The papers limit a token to a few groups because each group
 * stood on a machine of its own; here it is simply part of the model. */
static void open_groups(bool *open, const float *choice, const Router *r) {
    int64_t size = r->E / r->groups;
    float value[ROUTER_E];
    bool group[ROUTER_E];
    memset(open, false, (size_t)r->E);
    memset(group, true, (size_t)r->groups);
    for (int64_t g = 0; g < r->groups; g++)
        value[g] = group_score(choice + g * size, size, r->kind);
    for (int64_t i = 0; i < r->groups_used; i++)
        memset(open + take_best(value, group, r->groups) * size, true, (size_t)size);
}

/* 1e-20 is the published code's, so that scores that are all zero give weights of zero. */
static void weigh(float *weight, const int32_t *id, const float *s, const Router *r) {
    float sum = 0;
    for (int64_t k = 0; k < r->K; k++) sum = sum + s[id[k]];
    for (int64_t k = 0; k < r->K; k++) {
        float w = r->norm ? s[id[k]] / (sum + 1e-20f) : s[id[k]];
        weight[k] = w * r->scale;
    }
}

/* A row whose choice is NaN somewhere gets id[0] = -1. */
static void route_row(int32_t *id, float *weight, float *s, const float *z, const Router *r) {
    float choice[ROUTER_E];
    bool open[ROUTER_E], nan = false;
    scores(s, z, r);
    for (int64_t e = 0; e < r->E; e++) {
        choice[e] = r->bias ? s[e] + r->bias[e] : s[e];
        nan |= choice[e] != choice[e];
    }
    id[0] = -1;
    if (nan) return;
    if (r->groups > 1) open_groups(open, choice, r);
    router_best(id, r->K, choice, r->groups > 1 ? open : NULL, r->E);
    weigh(weight, id, s, r);
}

bool route(Thread th, int32_t *id, float *weight, float *score, const float *z, int64_t n,
           const Router *r) {
    CHECK(r->E <= ROUTER_E && r->groups >= 1 && r->E % r->groups == 0);
    Range rows = thread_range(th, n);
    for (int64_t i = rows.lo; i < rows.hi; i++) {
        float own[ROUTER_E];
        route_row(id + i * r->K, weight + i * r->K, score ? score + i * r->E : own, z + i * r->E,
                  r);
    }
    thread_sync(th);
    bool fine = true; /* every thread checks all rows, so all return the same */
    for (int64_t i = 0; i < n; i++) fine &= id[i * r->K] >= 0;
    return fine;
}

/* The choice itself has no gradient. V3's bias enters the choice only, so it has none either: it is
 * moved after a step by what the experts had to do (arXiv 2408.15664). */

/* ---- backward -------------------------------------------------------------------------------- */

/* ds (K) of the chosen scores. With norm w_i = scale s_i / T, T = sum s + 1e-20:
 * ds_i = scale (dw_i / T - sum_j(dw_j s_j) / T^2). */
static void chosen_back(float *ds, const float *dw, const float *s, const int32_t *id,
                        const Router *r) {
    float sum = 0, q = 0;
    for (int64_t k = 0; k < r->K; k++) {
        sum = sum + s[id[k]];
        q = q + dw[k] * s[id[k]];
    }
    float T = sum + 1e-20f;
    for (int64_t k = 0; k < r->K; k++)
        ds[k] = r->scale * (r->norm ? dw[k] / T - q / (T * T) : dw[k]);
}

/* Softmax: dz_e = s_e (ds_e - sum_j ds_j s_j) with ds = 0 for those not chosen; sigmoid: dz = ds s
 * (1 - s). */
static void route_row_back(float *dz, const float *dw, const float *s, const int32_t *id,
                           const Router *r) {
    float ds[ROUTER_E], q = 0;
    chosen_back(ds, dw, s, id, r);
    if (r->kind == ROUTER_SOFTMAX)
        for (int64_t k = 0; k < r->K; k++) q = q + ds[k] * s[id[k]];
    for (int64_t e = 0; e < r->E; e++) dz[e] = r->kind == ROUTER_SOFTMAX ? s[e] * (0.0f - q) : 0;
    for (int64_t k = 0; k < r->K; k++) {
        float sk = s[id[k]];
        dz[id[k]] = r->kind == ROUTER_SOFTMAX ? sk * (ds[k] - q) : ds[k] * (sk * (1.0f - sk));
    }
}

void route_back(Thread th, float *dz, const float *dweight, const float *score, const int32_t *id,
                int64_t n, const Router *r) {
    CHECK(r->E <= ROUTER_E);
    Range rows = thread_range(th, n);
    for (int64_t i = rows.lo; i < rows.hi; i++)
        route_row_back(dz + i * r->E, dweight + i * r->K, score + i * r->E, id + i * r->K, r);
    thread_sync(th);
}

/* ---- experts' rows --------------------------------------------------------------------------- */

/* A slot's row lies wherever its expert's rows begin, which the CPU cannot foresee: so it is asked
 * for some slots ahead. */
enum { SLOTS_AHEAD = 8 };

static void row_ahead(const float *row, int64_t C) {
    for (int64_t j = 0; j < C; j += 16) __builtin_prefetch(row + j);
}

/* y = base + sum over k of weight_k times the row of slot k, k ascending: the router's order, which
 * does not depend on how the slots were sorted. */
void combine(Thread th, float *y, const float *to, const float *base, const float *rows,
             int64_t ldr, const int32_t *at, const float *weight, int64_t n, int64_t K, int64_t C) {
    Range range = thread_range(th, n);
    CHECK(K <= ROUTER_E);
    for (int64_t i = range.lo; i < range.hi; i++) {
        const float *row[ROUTER_E];
        for (int64_t k = 0; k < K; k++) {
            const int64_t ahead = i * K + k + SLOTS_AHEAD;
            if (ahead < range.hi * K) row_ahead(rows + at[ahead] * ldr, C);
            row[k] = rows + at[i * K + k] * ldr;
        }
        kern.combine(y + i * C, to ? to + i * C : NULL, base ? base + i * C : NULL, row,
                     weight + i * K, K, C);
    }
    thread_sync(th);
}

/* A slot's row has dy times its weight, its weight the product of dy with the row. */
void combine_back(Thread th, Rows *drows, ActForm form, void *mem, float *dweight, const float *dy,
                  const float *rows, int64_t ldr, const int32_t *at, const float *weight, int64_t n,
                  int64_t K, int64_t C) {
    Range range = thread_range(th, n * K);
    *drows = rows_in(form, n * K, C, mem);
    for (int64_t slot = range.lo; slot < range.hi; slot++) {
        const float *dyi = dy + slot / K * C;
        const int64_t ahead = slot + SLOTS_AHEAD;
        if (ahead < range.hi) row_ahead(rows + at[ahead] * ldr, C);
        dweight[slot] = kern.dot(dyi, rows + at[slot] * ldr, C);
        for (int64_t j = 0; j < C; j += ROW_PIECE) {
            float x[ROW_PIECE];
            const int64_t m = MIN(C - j, ROW_PIECE);
            kern.scale(x, weight[slot], dyi + j, m);
            row_piece_put(drows, at[slot], j, x, m);
        }
    }
    thread_sync(th);
}
