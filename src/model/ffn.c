/* ffn.c -- the gated FFN (Shazeer 2020, arXiv 2002.05202): y = y + (silu(x Wg^T) * (x Wu^T)) Wd^T.
 * Dense layers, and the shared experts of an MoE layer, which are one FFN of their summed width.
 * Derivation of the backward: docs/math/ffn.md. */
#include "model/layer.h"

/* mode: STORE_ADD onto the residual stream, or STORE_SET for the shared experts' own row. */
void ffn(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, const float *fn, float *y,
         StoreMode mode) {
    const Config *c = &p->model->cfg;
    const Layer *w = &p->model->layer[layer];
    const Param *gate = w->gate ? w->gate : w->gate_s, *up = w->up ? w->up : w->up_s;
    const Param *down = w->down ? w->down : w->down_s;
    int64_t F = gate->w.rows;

    Input in = input_kept(th, p, fn, b->n, c->C, c->C, a->fn_rows, true);
    project_gated(th, a->h, a->g, a->u, gate, up, &in, NULL, 0, a->h_rows);
    in = input_kept(th, p, a->h, b->n, F, F, a->h_rows, true);
    project(th, y, c->C, down, &in, mode);
}

/* h = silu(g) u: dg = dh u silu'(g), du = dh silu(g) (kern's silu_mul_back). */
void ffn_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g) {
    const Layer *w = &p->model->layer[layer];
    const Param *gate = w->gate ? w->gate : w->gate_s, *up = w->up ? w->up : w->up_s;
    const Param *down = w->down ? w->down : w->down_s;
    int64_t n = b->n, C = p->model->cfg.C, F = gate->w.rows;

    const Rows fn = rows_again(p, gate, a->fn, C, n, a->fn_rows);
    Rows dg, du;
    project_back(th, p, down, g->dh, F, STORE_SET, g->dx, C, a->h, F, a->h_rows, n);
    silu_mul_back(th, &dg, &du, fn.form, g->dh, a->g, a->u, n, F, g->dg, g->du);
    rows_back(th, p, gate, g->dn, C, STORE_SET, &dg, &fn);
    rows_back(th, p, up, g->dn, C, STORE_ADD, &du, &fn);
}
