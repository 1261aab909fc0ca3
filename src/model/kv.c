/* kv.c -- what a model's layers keep of a sequence, and where it stands in a page.
 *
 * A page holds PAGE positions of all layers (vLLM's PagedAttention, arXiv 2309.06180, with all
 * layers in one page): a sequence of n positions owns ceil(n / PAGE) of them, wherever they are,
 * and shared beginnings are shared pages. Streams stand one after another, each at a multiple of 64
 * bytes. */
#include "model/layer.h"

KvLayout kv_layout(KvLayer *layer, int64_t n_layers) {
    KvLayout kv = {.layer = layer, .n_layers = n_layers};
    for (int64_t i = 0; i < n_layers; i++) {
        CHECK(layer[i].n >= 0 && layer[i].n <= KV_STREAMS);
        for (int64_t j = 0; j < layer[i].n; j++) {
            KvStream *s = &layer[i].stream[j];
            s->off = kv.page_bytes;
            kv.page_bytes += round_up(kv_bytes(s), 64);
        }
    }
    return kv;
}

/* GQA and expanded MLA keep keys and values of G heads; absorbed MLA keeps [latent | rope key] as
 * the key of one head, whose first R numbers are its value. */
static KvLayout layers_alike(Arena *a, const Model *m, const PlanSpec *s, int64_t n) {
    const Config *c = &m->cfg;
    KvLayer like = {.n = 2};
    like.stream[KV_K] = (KvStream){KV_KEYS, s->kv, c->G, c->D, 1, 0, 0};
    like.stream[KV_V] = (KvStream){KV_VALUES, s->kv, c->G, c->mla ? c->d_v : c->D, 1, 0, 0};
    if (c->mla && s->mla == MLA_ABSORBED) {
        like.stream[KV_K].heads = like.stream[KV_V].heads = 1;
        like.stream[KV_K].width = c->R + c->d_rope;
        like.stream[KV_V].form = KV_PREFIX, like.stream[KV_V].width = c->R;
    }
    KvLayer *layer = PUSH(a, KvLayer, n);
    for (int64_t i = 0; i < n; i++) layer[i] = like;
    return kv_layout(layer, n);
}

KvLayout kv_layout_of(Arena *a, const Model *m, const PlanSpec *s) {
    return layers_alike(a, m, s, s->training ? m->n_layers : m->cfg.L);
}

KvLayout kv_layout_mtp(Arena *a, const Model *m, const PlanSpec *s) {
    return layers_alike(a, m, s, s->training ? 0 : m->n_layers - m->cfg.L);
}

Attend attend_of(const Plan *p, int64_t layer) {
    const int64_t own = p->kv.n_layers;
    const KvLayer *kv = layer < own ? &p->kv.layer[layer] : &p->kv_mtp.layer[layer - own];
    const Config *c = &p->model->cfg;
    CHECK(kv->n == 2);
    return (Attend){kv->stream[KV_K], kv->stream[KV_V], c->H, p->state->attend_scale};
}
