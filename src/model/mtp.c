/* mtp.c -- layers that predict further tokens (DeepSeek-V3, arXiv 2412.19437, 2.2): layer L reads
 * what the model made of position i and the token after it, and gives the logits of the one after
 * that.
 *
 *     z = W_eh [norm_e(embedding(t_(i+1))) | norm_h(h_i)];  a whole layer;  its own norm;  the head
 *
 * h_i is the hidden state behind the final norm, as serving code and transformers have it; the
 * paper's formula can be read otherwise. Embedding and head are the model's own: released files
 * hold copies of them, which are not read. Its keys and values stand in pages
 * of its own, in training in the sequence's.
 *
 * docs/math/mtp.md has the loss and the backward. */
#include "model/layer.h"

bool model_mtp(Thread th, Plan *p, int64_t i, const Batch *b, const float *hidden, Out *out) {
    const Model *m = p->model;
    const Config *c = &m->cfg;
    const FurtherActs *f = &p->state->acts->further[i];
    const int64_t layer = c->L + i, n = b->n, C = c->C;
    CHECK(layer < m->n_layers && !out->every_hidden);
    const Layer *w = &m->layer[layer];
    LayerActs *a = &p->state->acts->layer[layer];

    step_begin(th, p, b, out, i + 1);
    embed(th, p, b, f->e);
    rmsnorm(thread_nosync(th), f->pair, 2 * C, f->er, f->e, C, w->embed_norm->w.row, n, C, c->eps);
    rmsnorm(th, f->pair + C, 2 * C, f->hr, hidden, C, w->hidden_norm->w.row, n, C, c->eps);
    Input in = input_kept(th, p, f->pair, n, 2 * C, 2 * C, f->pair_rows, false);
    project(th, a->x, C, w->join, &in, STORE_SET);

    if (!layer_forward(th, p, b, layer, a, f->head.x)) return false;
    if (th.i == 0 && w->router) experts_keep(b, out, 0, 1, c->K, a);
    if (batch_wants(b, WANT_LOGITS | WANT_HIDDEN)) head(th, p, b, &f->head, w->last_norm, out);
    return true;
}

/* In reverse: the gradient parts at the join, into the embedding and into the hidden states, and so
 * into the model. */
void model_mtp_back(Thread th, Plan *p, int64_t i, const Batch *b, const float *hidden,
                    const float *dout, float *dhidden) {
    const int64_t C = p->model->cfg.C, layer = p->model->cfg.L + i, n = b->n;
    const Layer *w = &p->model->layer[layer];
    const FurtherActs *f = &p->state->acts->further[i];
    Back *g = p->state->back;

    back_begin(th, p, b, i + 1);
    hidden_back(th, p, b, &f->head, w->last_norm, dout, g);
    layer_back(th, p, b, layer, &p->state->acts->layer[layer], g);
    project_back(th, p, w->join, g->dpair, 2 * C, STORE_SET, g->dx, C, f->pair, 2 * C, f->pair_rows,
                 n);
    rmsnorm_back(th, dhidden, C, STORE_SET, w->hidden_norm->grad, g->dpair + C, 2 * C, hidden, C,
                 f->hr, w->hidden_norm->w.row, n, C);
    rmsnorm_back(th, g->dx, C, STORE_SET, w->embed_norm->grad, g->dpair, 2 * C, f->e, C, f->er,
                 w->embed_norm->w.row, n, C);
    embed_back(th, p, b, g->dx);
}
