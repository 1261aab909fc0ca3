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

    Input in = input_of(th, p, fn, b->n, c->C, c->C);
    project_gated(th, a->h, a->g, a->u, gate, up, &in, NULL, 0);
    in = input_of(th, p, a->h, b->n, F, F);
    project(th, y, c->C, down, &in, mode);
}

/* h = silu(g) u: dg = dh u silu'(g), du = dh silu(g) (kern's silu_mul_back). */
void ffn_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g) {
    const Layer *w = &p->model->layer[layer];
    const Param *gate = w->gate ? w->gate : w->gate_s, *up = w->up ? w->up : w->up_s;
    const Param *down = w->down ? w->down : w->down_s;
    int64_t n = b->n, C = p->model->cfg.C, F = gate->w.rows;

    project_back(th, p, down, g->dh, F, STORE_SET, g->dx, C, a->h, F, n);
    silu_mul_back(th, g->dg, g->du, g->dh, a->g, a->u, n * F);
    project_back(th, p, gate, g->dn, C, STORE_SET, g->dg, F, a->fn, C, n);
    project_back(th, p, up, g->dn, C, STORE_ADD, g->du, F, a->fn, C, n);
}
