/* moe.c -- mixture of experts (DeepSeekMoE, arXiv 2401.06066; V3, arXiv 2412.19437, 2.1.2):
 *
 *     y = y + shared(x) + sum over the K chosen experts of w_i FFN_i(x)
 *
 * Rows are sorted by expert, so that an expert is one product over its own rows. This changes no
 * sum, since each row's sum over its slots is made at the end, in the router's order.
 * docs/math/moe.md has the backward. */
#include "model/layer.h"

/* Places of the (n, K) slots when they are sorted by expert, in each expert by row: a->row, a->at,
 * a->group. */
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

/* Each expert's rows are gathered by index while they are packed, so they are not copied before.
 * With bf16 or int8 activations an expert's row is rounded to bf16 before it is weighted (contract
 * 3). */
bool moe(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, const float *fn,
         float *y) {
    const Config *c = &p->model->cfg;
    const Layer *w = &p->model->layer[layer];
    int64_t n = b->n, slots = n * c->K, F = c->F_moe;
    Router r = c->router;
    r.bias = w->bias ? w->bias->w.row : NULL;

    phase("router and sorting");
    Input in = input_of(th, p, fn, n, c->C, c->C);
    project(th, a->z, c->E, w->router, &in, STORE_SET);
    if (!route(th, a->id, a->weight, a->score, a->z, n, &r)) {
        if (th.i == 0) p->state->lost = layer;
        return false;
    }
    if (th.i == 0) slots_sort(a, n, &r);
    thread_sync(th);

    phase("experts, forward");
    in = input_gathered(th, p, fn, a->row, slots, c->C, c->C);
    project_gated(th, a->hx, a->gx, a->ux, w->gate_x, w->up_x, &in, a->group, a->n_groups);
    in = input_of(th, p, a->hx, slots, F, F);
    project_groups(th, a->yx, c->C, weight_of(p, w->down_x), &in, a->group, a->n_groups,
                   p->spec.act != ACT_F32);

    phase("dense and shared FFN, forward");
    if (w->gate_s) ffn(th, p, b, layer, a, fn, a->y, STORE_SET);
    phase("combining experts");
    combine(th, y, a->mid, w->gate_s ? a->y : NULL, a->yx, c->C, a->at, a->weight, n, c->K, c->C);
    return true;
}

/* Gradients of the matrices of one or two parameters, from the gradients dy of their products of
 * the same input x (n, in), of which `row` picks rows, or not. */
static void experts_dw(Thread th, const Plan *p, const Param *const *w, const float *const *dy,
                       int64_t n_w, const float *x, const int32_t *row, const LayerActs *a,
                       const Back *g) {
    float *const dw[] = {w[0]->grad, w[n_w - 1]->grad};
    const GroupsDw t = {.dw = dw,
                        .dy = dy,
                        .n_dw = n_w,
                        .rows = w[0]->w.rows,
                        .cols = w[0]->w.cols,
                        .x = x,
                        .index = row,
                        .ldx = w[0]->w.cols,
                        .layout = weight_of(p, w[0])->layout_t,
                        .most = p->spec.rows};
    phase("experts, dW");
    linear_dw_groups(th, &t, a->group, a->n_groups, g->dw_work);
}

/* dx (slots, in) = or += dy (slots, out) times each expert's matrix. */
static void experts_dx(Thread th, const Plan *p, const Param *w, float *dx, StoreMode mode,
                       const float *dy, int64_t slots, const LayerActs *a, const Back *g) {
    const Weight *panel = weight_of(p, w), t = weight_t(panel);
    Rows rows = {0};
    phase("experts, dX");
    rows_pack(th, &rows, layout_form(panel->layout_t), dy, slots, w->w.rows, w->w.rows, g->rows);
    linear_groups(th, dx, w->w.cols, &t, &rows, a->group, a->n_groups, mode, false);
}

/* The gradient of a chosen expert's weight is the product of dy with the expert's row; it goes on
 * to the router's scores, and no gradient reaches experts that were not chosen. */
void moe_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g) {
    const Config *c = &p->model->cfg;
    const Layer *w = &p->model->layer[layer];
    int64_t n = b->n, C = c->C, F = c->F_moe, slots = n * c->K;
    Router r = c->router;

    phase("combining experts");
    combine_back(th, g->dyx, g->dweight, g->dx, a->yx, C, a->at, a->weight, n, c->K, C);
    phase("dense and shared FFN, backward");
    if (w->gate_s) ffn_back(th, p, b, layer, a, g);

    experts_dw(th, p, (const Param *[]){w->down_x}, (const float *[]){g->dyx}, 1, a->hx, NULL, a,
               g);
    experts_dx(th, p, w->down_x, g->dh, STORE_SET, g->dyx, slots, a, g);
    phase("experts, SwiGLU backward");
    silu_mul_back(th, g->dg, g->du, g->dh, a->gx, a->ux, slots * F);
    experts_dw(th, p, (const Param *[]){w->gate_x, w->up_x}, (const float *[]){g->dg, g->du}, 2,
               a->fn, a->row, a, g);
    experts_dx(th, p, w->gate_x, g->dyx, STORE_SET, g->dg, slots, a, g);
    experts_dx(th, p, w->up_x, g->dyx, STORE_ADD, g->du, slots, a, g);
    phase("combining experts");
    /* A sum of the slots' rows in the router's order: the combine with weights of one, where an
     * fma is an add. */
    combine(th, g->dn, NULL, w->gate_s ? g->dn : NULL, g->dyx, C, a->at, g->one, n, c->K, C);

    phase("router and sorting");
    route_back(th, g->dz, g->dweight, a->score, a->id, n, &r);
    if (b->balance != 0)
        route_balance_back(th, g->dz, a->score, b->span, b->n_spans, b->balance, &r);
    project_back(th, p, w->router, g->dn, C, STORE_ADD, g->dz, c->E, a->fn, C, n);
}
