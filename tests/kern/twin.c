/* twin.c -- see twin.h. libm is allowed here. */
#include "twin.h"
#include <math.h>
#include <stdlib.h>

void twin_linear(double *y, const double *x, const double *w, int64_t n, int64_t rows,
                 int64_t cols) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < rows; j++) {
            double sum = 0;
            for (int64_t k = 0; k < cols; k++) sum += x[i * cols + k] * w[j * cols + k];
            y[i * rows + j] = sum;
        }
}

void twin_rmsnorm(double *y, const double *x, const double *w, int64_t n, int64_t C, double eps) {
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t k = 0; k < C; k++) sum += x[i * C + k] * x[i * C + k];
        for (int64_t k = 0; k < C; k++)
            y[i * C + k] = x[i * C + k] / sqrt(sum / (double)C + eps) * (w ? w[k] : 1);
    }
}

void twin_rope(double *x, int64_t half, bool pairs, const double *cos, const double *sin) {
    for (int64_t j = 0; j < half; j++) {
        double *a = pairs ? x + 2 * j : x + j, *b = pairs ? x + 2 * j + 1 : x + half + j, x0 = *a,
               x1 = *b;
        *a = x0 * cos[j] - x1 * sin[j];
        *b = x0 * sin[j] + x1 * cos[j];
    }
}

double twin_silu(double x) { return x / (1 + exp(-x)); }

double twin_lse(const double *x, int64_t n) {
    double m = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++) m = fmax(m, x[i]);
    for (int64_t i = 0; i < n; i++) sum += exp(x[i] - m);
    return m + log(sum);
}

void twin_attention(double *o, const double *q, const double *k, const double *v,
                    const TwinShape *s) {
    double *z = calloc((size_t)s->T, sizeof *z);
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t h = 0; h < s->heads; h++) {
            const double *qh = q + (t * s->heads + h) * s->dk;
            int64_t g = h / (s->heads / s->kv);
            double *oh = o + (t * s->heads + h) * s->dv;
            for (int64_t j = 0; j <= t; j++) {
                z[j] = 0;
                for (int64_t i = 0; i < s->dk; i++)
                    z[j] += qh[i] * k[(j * s->kv + g) * s->dk + i] * s->scale;
            }
            double lse = twin_lse(z, t + 1);
            for (int64_t i = 0; i < s->dv; i++) oh[i] = 0;
            for (int64_t j = 0; j <= t; j++)
                for (int64_t i = 0; i < s->dv; i++)
                    oh[i] += exp(z[j] - lse) * v[(j * s->kv + g) * s->dv + i];
        }
    free(z);
}

void twin_scores(double *score, const double *z, const Router *r) {
    double lse = twin_lse(z, r->E);
    for (int64_t e = 0; e < r->E; e++)
        score[e] = r->kind == ROUTER_SIGMOID ? 1 / (1 + exp(-z[e])) : exp(z[e] - lse);
}

/* How many of v[0..n-1] come before v[i]: larger, or equal with a lower number. */
static int64_t rank_of(const double *v, int64_t n, int64_t i) {
    int64_t rank = 0;
    for (int64_t j = 0; j < n; j++) rank += v[j] > v[i] || (v[j] == v[i] && j < i);
    return rank;
}

void twin_choose(int32_t *id, const double *score, const Router *r) {
    double choice[ROUTER_E], group[ROUTER_E];
    int64_t size = r->E / r->groups;
    for (int64_t e = 0; e < r->E; e++) choice[e] = score[e] + (r->bias ? (double)r->bias[e] : 0);
    for (int64_t g = 0; g < r->groups; g++) {
        group[g] = 0;
        for (int64_t e = 0; e < size; e++)
            if (rank_of(choice + g * size, size, e) < (r->kind == ROUTER_SIGMOID ? 2 : 1))
                group[g] += choice[g * size + e];
    }
    for (int64_t e = 0; e < r->E; e++)
        if (r->groups > 1 && rank_of(group, r->groups, e / size) >= r->groups_used)
            choice[e] = -INFINITY;
    for (int64_t e = 0; e < r->E; e++)
        if (rank_of(choice, r->E, e) < r->K) id[rank_of(choice, r->E, e)] = (int32_t)e;
}

void twin_weights(double *weight, const double *score, const int32_t *id, const Router *r) {
    double sum = 0;
    for (int64_t k = 0; k < r->K; k++) sum += score[id[k]];
    for (int64_t k = 0; k < r->K; k++)
        weight[k] = score[id[k]] / (r->norm ? sum + 1e-20 : 1) * (double)r->scale;
}
