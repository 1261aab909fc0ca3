/* back.h -- private to model/: the backward's work memory, one for all layers, and what the layers'
 * backward functions share.
 *
 * A layer's backward takes the gradient of the residual stream after the layer in g->dx, leaves it
 * unchanged, and puts the gradient of its normed input into g->dn; gradients of parameters are
 * added to Param.grad. N rows, S = N K slots, all f32 unless said. A value that feeds several
 * products collects their gradients in the order of the forward. */
#pragma once
#include "model/acts.h"
#include "model/model.h"

typedef struct Back {
    float *dx, *dn;              /* (N, C) residual stream; normed input of the layer at hand */
    float *datt;                 /* (N, H dv) */
    float *q;                    /* (N, H D) q by itself: GQA, which has it beside k and v */
    float *dq, *dk, *dv;         /* (N, H dk), (N, G dk), (N, G dv) */
    float *dkvb, *dkva;          /* (N, H (n+v)), (N, R + r): MLA */
    float *dqa;                  /* (N, Q): MLA with q rank */
    void *dg, *du;               /* (N, F), or (S, F_moe): rows for products, f32 or bf16 */
    float *dh;                   /* (N, F), or (S, F_moe) */
    float *dyx;                  /* (S, C) rows of experts: gradient of output, then of input */
    float *dweight, *one;        /* (N, K); ones */
    float *dz;                   /* (N, E) */
    float *dpair;                /* (N, 2C): a layer that predicts a further token */
    float *head_sum, *head_part; /* (V, C) each: the head's gradient, all rows; the part of CUT_K
                               rows under way; NULL where there is one part only */
    void *rows;                  /* dy packed for a product */
    void *dw_work;               /* linear_dw's and linear_dw_groups' */
    void *attend_work;           /* attend_back's, for each thread */
} Back;

/* dx (n, lddx) = or += dy W, and w->grad += dy^T x over n rows. x_rows: x packed, or NULL where it
 * is multiplied in f32; x may be NULL where it is not. */
void project_back(Thread th, Plan *p, const Param *w, float *dx, int64_t lddx, StoreMode mode,
                  const float *dy, int64_t lddy, const float *x, int64_t ldx, const void *x_rows,
                  int64_t n);
/* The same of packed dy and x. */
void rows_back(Thread th, Plan *p, const Param *w, float *dx, int64_t lddx, StoreMode mode,
               const Rows *dy, const Rows *x);
/* The n rows that w was multiplied with: x, or what was kept of it, packed. */
Rows rows_again(const Plan *p, const Param *w, const float *x, int64_t ldx, int64_t n,
                const void *rows);

void embed_back(Thread th, Plan *p, const Batch *b, const float *dx);
void gqa_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g);
void mla_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g);
/* dn = FFN's, dense or shared experts'. */
void ffn_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g);
void moe_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g);
/* g->dx from dhidden, that of the hidden states which `norm` gave. */
void hidden_back(Thread th, Plan *p, const Batch *b, const HeadActs *a, const Param *norm,
                 const float *dhidden, Back *g);
/* g->dx through a whole layer. */
void layer_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g);
