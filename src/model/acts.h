/* acts.h -- private to model/: the activations of a forward pass. In inference one LayerActs serves
 * all layers, one after another, and x, mid and the next layer's x are the same memory; in training
 * each layer has its own, and the backward reads them. N rows, all f32 unless said; a name that a
 * layer does not use is NULL.
 *
 * P = width of the first products of MLA's input: Q (or H*(n+r) where there is no q rank). */
#pragma once
#include "kern/kern.h"

/* NAME_rows: training in bf16 keeps what goes into a product as packed rows, rounded once, from
 * which the weight's gradient is made; the f32 numbers NAME are not kept then, but for those that
 * something else reads (fn of routers, att). NULL in inference and where activations are f32. */
typedef struct LayerActs {
    void *xn_rows, *fn_rows, *qn_rows, *ck_rows, *att_rows, *h_rows, *hx_rows;
    float *x;       /* (N, C) residual stream before the layer */
    float *xn, *xr; /* (N, C) its norm, (N) 1/rms */

    /* GQA */
    float *qkv;       /* (N, (H + 2G) D): q and k after rope, v */
    float *qx, *kx;   /* training, where heads have norms: (N, H D), (N, G D) q and k before them */
    float *qxr, *kxr; /* (N, H), (N, G) 1/rms of each head */

    /* MLA. The latent c and the rope key stand side by side: they are one key of the absorbed
     * form. */
    float *qa, *qn, *qr; /* (N, Q) q_a product, (N, Q) its norm, (N) 1/rms; NULL without q rank */
    float *q;            /* (N, H (n+r)) after rope */
    float *kva;          /* (N, R + r) kv_a product; kept in training, else the same memory as ck */
    float *ck, *cr;      /* (N, R + r) normed latent, rope key after rope; (N) 1/rms */
    float *kvb;          /* (N, H (n+v)) kv_b product: expanded only */
    float *k, *v;        /* (N, H (n+r)), (N, H v): expanded only */
    float *qh;           /* absorbed: (H, N, R) W_UK^T q, later (H, N, v) W_UV o^ */
    float *qc;           /* absorbed: (N, H (R+r)) queries of latent and rope */
    float *oc;           /* absorbed: (N, H R) attention over latents */

    float *att, *lse; /* (N, H dv) output of attention; (N, H), training only */

    float *mid;     /* (N, C) residual stream after attention */
    float *fn, *fr; /* (N, C) its norm, (N) 1/rms */

    /* dense FFN, or the shared experts: F = F or shared * F_moe */
    float *g, *u, *h; /* (N, F) gate, up, silu(g) * u; in inference h is g */

    /* routed experts. Rows of experts stand compacted: expert ascending, within it rows ascending.
     */
    float *z, *score; /* (N, E) router logits; scores, training only */
    int32_t *id;
    float *weight;     /* (N, K) chosen experts and their weights, in the router's order */
    int32_t *row, *at; /* (N K) batch row of a compacted row; (N, K) compacted row of a slot */
    Group *group;
    int64_t n_groups;    /* (E) the experts that have rows */
    float *gx, *ux, *hx; /* (N K, F_moe); in inference hx is gx */
    float *yx;           /* (N K, C) rows of experts, rounded */
    float *y;            /* (N, C) shared experts' row, then the layer's sum */
} LayerActs;

/* Of the head: x (N, C) is the residual stream after the last layer. Its rows: those that want
 * logits, then those that want only their hidden state. */
typedef struct HeadActs {
    float *x;
    float *wx, *wn, *wr; /* (rows, C), (rows, C) their norm, (rows) 1/rms */
} HeadActs;

/* What a layer that predicts a further token has beside its LayerActs. Inference: e is the layer's
 * x, head is the model's. */
typedef struct FurtherActs {
    float *e, *er; /* (N, C) rows of the embedding, (N) 1/rms */
    float *hr;     /* (N) 1/rms of the hidden states; the backward is given these again */
    float *pair;   /* (N, 2C) both, normed */
    void *pair_rows;
    HeadActs head;
} FurtherActs;

typedef struct Acts {
    LayerActs *layer; /* (n_layers); inference: all the same pointers */
    HeadActs head;
    FurtherActs *further; /* (n_layers - L) */
} Acts;
