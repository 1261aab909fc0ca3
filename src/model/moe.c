/* moe.c -- mixture of experts (DeepSeekMoE, arXiv 2401.06066; V3, arXiv 2412.19437, 2.1.2):
 *
 *     y = y + shared(x) + sum over the K chosen experts of w_i FFN_i(x)
 *
 * Rows are sorted by expert, so that an expert is one product over its own rows; the sums know nothing of that, since each
 * row's sum over its slots is made at the end, in the router's order. docs/math/moe.md has the backward. */
#include "model/layer.h"

/* Places of the (n, K) slots when they are sorted by expert, in each expert by row: a->row, a->at, a->group. */
static void slots_sort(LayerActs *a, int64_t n, const Router *r) {
    int32_t place[ROUTER_E + 1] = {0};
    for (int64_t j = 0; j < n * r->K; j++) place[a->id[j] + 1]++;
    a->n_groups = 0;
    for (int64_t e = 0; e < r->E; e++) {
        if (place[e + 1]) a->group[a->n_groups++] = (Group){e, place[e], place[e + 1]};
        place[e + 1] += place[e];
    }
    for (int64_t j = 0; j < n * r->K; j++) {
        int32_t to = place[a->id[j]]++;
        a->row[to] = (int32_t)(j / r->K);
        a->at[j] = to;
    }
}

bool moe(Lane l, Plan *p, const Batch *b, int64_t layer, LayerActs *a, float *y) {
    const Config *c = &p->model->cfg;
    const Layer *w = &p->model->layer[layer];
    int64_t n = b->n, slots = n * c->K, F = c->F_moe;
    Router r = c->router;
    r.bias = w->bias ? w->bias->w.row : NULL;

    Input in = input_of(l, p, a->fn, n, c->C, c->C);
    project(l, a->z, c->E, w->router, &in, STORE_SET);
    if (!route(l, a->id, a->weight, a->score, a->z, n, &r)) return false;
    if (l.i == 0) slots_sort(a, n, &r);
    lane_sync(l);

    in = input_gathered(l, p, a->fn, a->row, slots, c->C, c->C);
    project_groups(lane_quiet(l), a->gx, F, panels(p, w->gate_x), &in, a->group, a->n_groups);
    project_groups(l, a->ux, F, panels(p, w->up_x), &in, a->group, a->n_groups);
    silu_mul(l, a->hx, a->gx, a->ux, slots * F);
    in = input_of(l, p, a->hx, slots, F, F);
    project_groups(l, a->yx, c->C, panels(p, w->down_x), &in, a->group, a->n_groups);
    if (p->spec.act != ACT_F32) round_rows(l, a->yx, c->C, slots, c->C);

    if (w->gate_s) ffn(l, p, b, layer, a, a->y, STORE_SET);
    combine(l, a->y, w->gate_s ? a->y : NULL, a->yx, c->C, a->at, a->weight, n, c->K, c->C);
    add(l, y, a->y, n * c->C);
    return true;
}
