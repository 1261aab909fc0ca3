/* routing.c -- counts what routers did, and moves their biases (docs/math/moe.md, "Balance").
 *
 * A layer is one thread's work, so no sum depends on the number of threads. */
#include "model/layer.h"

bool routing_has_bias(const Model *m) {
    for (int64_t i = 0; i < m->n_layers; i++)
        if (m->layer[i].bias) return true;
    return false;
}

int64_t routing_lost(const Plan *p) { return p->state->lost; }

Routing routing_new(Arena *a, const Model *m) {
    Routing r = {.E = m->cfg.E};
    for (int64_t i = 0; i < m->n_layers; i++) r.layers += m->layer[i].router != NULL;
    r.load = PUSH(a, int64_t, r.layers * r.E);
    r.rows = PUSH(a, int64_t, r.layers);
    r.looked = PUSH(a, int64_t, r.layers);
    r.entropy = PUSH(a, double, r.layers);
    r.loss = PUSH(a, double, r.layers);
    return r;
}

void routing_clear(Routing *r) {
    memset(r->load, 0, (size_t)(r->layers * r->E) * sizeof *r->load);
    memset(r->rows, 0, (size_t)r->layers * sizeof *r->rows);
    memset(r->looked, 0, (size_t)r->layers * sizeof *r->looked);
    memset(r->entropy, 0, (size_t)r->layers * sizeof *r->entropy);
    memset(r->loss, 0, (size_t)r->layers * sizeof *r->loss);
}

/* -sum p log p with p = s / S: log S - sum(s log s) / S. */
static double entropy(const float *s, int64_t E) {
    double sum = 0, logs = 0;
    for (int64_t e = 0; e < E; e++) {
        const double x = (double)s[e];
        if (!(x > 0)) continue;
        sum += x;
        logs += x * log_f64(x);
    }
    return sum > 0 ? log_f64(sum) - logs / sum : 0;
}

static void layer_add(Routing *r, int64_t layer, const LayerActs *a, const Batch *b, bool losses,
                      const Router *router) {
    int64_t slots = 0;
    float f[ROUTER_E];
    for (int64_t i = 0; i < a->n_groups; i++) {
        r->load[layer * r->E + a->group[i].matrix] += a->group[i].n;
        slots += a->group[i].n;
    }
    r->rows[layer] += slots / router->K;
    for (int64_t i = 0; i < slots / router->K; i += ROUTING_STEP, r->looked[layer]++)
        r->entropy[layer] += entropy(a->score + i * r->E, r->E);
    for (int64_t i = 0; losses && i < b->n_spans; i++)
        r->loss[layer] +=
            (double)b->span[i].n
            * route_balance(f, a->score + b->span[i].row * r->E, b->span[i].n, router);
}

void routing_add(Thread th, Plan *p, int64_t lo, int64_t hi, const Batch *b, bool losses,
                 Routing *r) {
    const Model *m = p->model;
    for (int64_t i = 0, layer = 0; i < m->n_layers; i++) {
        if (!m->layer[i].router) continue;
        if (layer % th.n == th.i && i >= lo && i < hi)
            layer_add(r, layer, &p->state->acts->layer[i], b, losses, &m->cfg.router);
        layer++;
    }
    thread_sync(th);
}

double routing_violation(const Routing *r, int64_t layer) {
    int64_t most = 0, all = 0;
    for (int64_t e = 0; e < r->E; e++) {
        const int64_t load = r->load[layer * r->E + e];
        most = MAX(most, load), all += load;
    }
    return all ? (double)(most * r->E) / (double)all - 1 : 0;
}

/* The mean is not rounded: load E is compared with the sum of all loads. */
static void bias_move(float *bias, const int64_t *load, int64_t E, float rate) {
    int64_t all = 0;
    for (int64_t e = 0; e < E; e++) all += load[e];
    for (int64_t e = 0; e < E; e++) {
        if (load[e] * E < all) bias[e] = bias[e] + rate;
        if (load[e] * E > all) bias[e] = bias[e] - rate;
    }
}

void routing_balance(Thread th, Model *m, const Routing *r, float rate) {
    for (int64_t i = 0, layer = 0; i < m->n_layers; i++) {
        if (!m->layer[i].router) continue;
        if (layer % th.n == th.i && m->layer[i].bias)
            bias_move(m->layer[i].bias->master, r->load + layer * r->E, r->E, rate);
        layer++;
    }
    thread_sync(th);
}
