/* mtp.c -- layers that predict further tokens (DeepSeek-V3, arXiv 2412.19437, 2.2): layer L reads
 * what the model made of position i and the token after it, and gives the logits of the one after
 * that.
 *
 *     z = W_eh [norm_e(embedding(t_(i+1))) | norm_h(h_i)];  a whole layer;  its own norm;  the head
 *
 * h_i is the hidden state behind the final norm, as serving code and transformers have it; the
 * paper's formula can be read otherwise. Embedding and head are the model's own: released files
 * hold copies of them, which are not read. Its keys and values stand in the sequence's pages. */
#include "model/layer.h"

bool model_mtp(Thread th, Plan *p, int64_t i, const Batch *b, const float *hidden, Out *out) {
    const Model *m = p->model;
    const Config *c = &m->cfg;
    Acts *acts = p->state->acts;
    const int64_t layer = c->L + i, n = b->n, C = c->C;
    CHECK(layer < m->n_layers && !out->every_hidden);
    const Layer *w = &m->layer[layer];
    LayerActs *a = &acts->layer[layer];
    float *pair = p->state->pair;

    step_begin(th, p, b, out);
    embed(th, p, b, a->x);
    rmsnorm(thread_nosync(th), pair, 2 * C, NULL, a->x, C, w->embed_norm->w.row, n, C, c->eps);
    rmsnorm(th, pair + C, 2 * C, NULL, hidden, C, w->hidden_norm->w.row, n, C, c->eps);
    Input in = input_of(th, p, pair, n, 2 * C, 2 * C);
    project(th, a->x, C, w->join, &in, STORE_SET);

    if (!layer_forward(th, p, b, layer, a, acts->last)) return false;
    if (th.i == 0) experts_keep(b, out, 0, 1, c->K, a);
    if (batch_wants(b, WANT_LOGITS | WANT_HIDDEN)) head(th, p, b, acts, w->last_norm, out);
    return true;
}
