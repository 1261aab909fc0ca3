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
    in = input_gathered(th, p, fn, a->fn_rows, a->row, slots, c->C, c->C);
    project_gated(th, a->hx, a->gx, a->ux, w->gate_x, w->up_x, &in, a->group, a->n_groups,
                  a->hx_rows);
    in = input_kept(th, p, a->hx, slots, F, F, a->hx_rows, true);
    project_groups(th, a->yx, c->C, weight_of(p, w->down_x), &in, a->group, a->n_groups,
                   p->spec.act != ACT_F32);

    phase("dense and shared FFN, forward");
    if (w->gate_s) ffn(th, p, b, layer, a, fn, a->y, STORE_SET);
    phase("combining experts");
    combine(th, y, a->mid, w->gate_s ? a->y : NULL, a->yx, c->C, a->at, a->weight, n, c->K, c->C);
    return true;
}

/* Gradients of the matrices of one or two parameters, from the gradients dy of their products of
 * the same input x, of which `row` picks rows, or not. */
static void experts_dw(Thread th, Param *const *w, const Rows *dy, int64_t n_w, const Rows *x,
                       const int32_t *row, const LayerActs *a, const Back *g, int64_t most) {
    float *const dw[] = {w[0]->grad, w[n_w - 1]->grad};
    const GroupsDw t = {.dw = dw, .dy = dy, .n_dw = n_w, .x = x, .index = row, .most = most};
    phase("experts, dW");
    linear_dw_groups(th, &t, a->group, a->n_groups, g->dw_work);
}

/* dx (slots, in) = the sum of dy[i] (slots, out) times each expert's matrix of w[i]. */
static void experts_dx(Thread th, const Plan *p, Param *const *w, const Rows *dy, int64_t n_w,
                       float *dx, const LayerActs *a) {
    const Weight t[] = {weight_t(weight_of(p, w[0])), weight_t(weight_of(p, w[n_w - 1]))};
    phase("experts, dX");
    linear_groups(th, dx, w[0]->w.cols, t, dy, n_w, a->group, a->n_groups, false);
}

/* The gradient of a chosen expert's weight is the product of dy with the expert's row; it goes on
 * to the router's scores, and no gradient reaches experts that were not chosen. */
void moe_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g) {
    const Config *c = &p->model->cfg;
    const Layer *w = &p->model->layer[layer];
    int64_t n = b->n, C = c->C, F = c->F_moe, slots = n * c->K;
    Router r = c->router;

    Param *const down[] = {w->down_x}, *const gate_up[] = {w->gate_x, w->up_x};
    const Rows hx = rows_again(p, w->down_x, a->hx, F, slots, a->hx_rows);
    const Rows fn = rows_again(p, w->gate_x, a->fn, C, n, a->fn_rows);
    const bool f32 = hx.form == FORM_F32;
    Rows dyx, dgu[2];

    phase("dense and shared FFN, backward");
    if (w->gate_s) ffn_back(th, p, b, layer, a, g);
    phase("combining experts");
    combine_back(th, &dyx, hx.form, f32 ? g->dyx : g->rows, g->dweight, g->dx, a->yx, C, a->at,
                 a->weight, n, c->K, C);

    experts_dw(th, down, &dyx, 1, &hx, NULL, a, g, p->spec.rows);
    experts_dx(th, p, down, &dyx, 1, g->dh, a);
    phase("experts, SwiGLU backward");
    silu_mul_back(th, &dgu[0], &dgu[1], hx.form, g->dh, a->gx, a->ux, slots, F, g->dg, g->du);
    experts_dw(th, gate_up, dgu, 2, &fn, a->row, a, g, p->spec.rows);
    experts_dx(th, p, gate_up, dgu, 2, g->dyx, a);
    phase("combining experts");
    /* A sum of the slots' rows in the router's order: the combine with weights of one, where an
     * fma is an add. */
    combine(th, g->dn, NULL, w->gate_s ? g->dn : NULL, g->dyx, C, a->at, g->one, n, c->K, C);

    phase("router and sorting");
    route_back(th, g->dz, g->dweight, a->score, a->id, n, &r);
    if (b->balance != 0)
        route_balance_back(th, g->dz, a->score, b->span, b->n_spans, b->balance, &r);
    project_back(th, p, w->router, g->dn, C, STORE_ADD, g->dz, c->E, a->fn, C, NULL, n);
}
