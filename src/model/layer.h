/* layer.h -- private to model/: what its files share: a layer's parameters by role and where their
 * rows are in the files, the plan's work memory, and the few helpers that every layer uses.
 *
 * A layer's file has one forward function and under it one backward. They take the thread, the
 * plan, the batch, the layer's number and its Acts (model/acts.h), and write only the Acts, the
 * gradients and the next residual stream. */
#pragma once
#include "model/acts.h"
#include "model/back.h"
#include "model/panels.h"

/* ---- parameters (weights.c) ------------------------------------------------------------------ */

/* NULL where the layer has none. model/weights.c gives the shapes. */
struct Layer {
    Param *attn_norm, *ffn_norm;
    Param *q, *k, *v, *o; /* GQA; MLA has o, and q where there is no q rank */
    Param *q_bias, *k_bias, *v_bias, *q_norm, *k_norm;
    Param *q_a, *q_a_norm, *q_b, *kv_a, *kv_a_norm, *kv_b;
    Param *gate, *up, *down;                            /* dense */
    Param *router, *bias, *gate_x, *up_x, *down_x;      /* experts */
    Param *gate_s, *up_s, *down_s;                      /* shared experts as one FFN */
    Param *embed_norm, *hidden_norm, *join, *last_norm; /* a layer that predicts further tokens */
};

/* How a tensor of a file becomes a parameter's rows in canonical order, which is Hugging Face's.
 * PERMUTED: GGUF's llama has each head's rows interleaved, its 2j and 2j+1 are ours j and j + D/2.
 * SPLIT_KV: GGUF may hold kv_b as k_b (H, R, n), each head transposed, and v_b (H, v, R). SCALED:
 * FP8 and a scale for each block of it; the rows are their product in f32. IMAGINED: in no file;
 * the rows are computed. */
typedef enum Transform { SAME, PERMUTED, SPLIT_KV, SCALED, IMAGINED } Transform;

/* Where a parameter's rows stand when they do not stand in one piece in canonical order. */
typedef struct Part {
    const void *p;
    int64_t bytes;
    DType type;
} Part;
typedef struct RowSource {
    Transform transform;
    Part *part;
    int64_t n_parts; /* SAME: a part a matrix; PERMUTED: 1; SPLIT_KV: k_b, v_b; SCALED: codes and
                        scales of each matrix */
    int64_t head, nope, rank; /* PERMUTED: D, -, -. SPLIT_KV: n + v, n, R */
    int64_t block[2];         /* SCALED: rows and columns that share a scale */
    double std;               /* IMAGINED, as the next two */
    uint64_t seed;
    int kind;
} RowSource;

/* A GGUF's factors that are llama3's scaling become it, which is exact where the factors are
 * rounded: then the file computes what the model's config.json says, to the bit. Others stay. */
void rope_recognise(RopeConfig *r);

/* All parameters of the family's table with names and shapes, without data. */
void params_build(Model *m, Arena *a);
/* The name of parameter p's matrix i (an expert's number put in). */
const char *param_name(Arena *a, const Param *p, int64_t i);
static inline int64_t param_row_bytes(const Param *p) { return dtype_bytes(p->w.type, p->w.cols); }
/* Rows row..row+n-1 of all matrices one after another, within one matrix, in canonical order and
 * the type p->w.type: where they stand, or gathered into `scratch` (n rows). */
const void *param_rows(const Param *p, int64_t row, int64_t n, void *scratch);
int64_t param_file_bytes(const Param *p); /* that all its rows take where they stand */
void param_drop(const Param *p); /* its bytes leave memory where they stand in a mapped file */
/* Adds to p->sum n rows of all its matrices from number `row` on, as param_rows gives them. Several
 * threads at once (fingerprint.c). */
void rows_sum(Param *p, const void *rows, int64_t row, int64_t n);
typedef struct Names {
    const char *gguf, *suffix;
    Transform transform;
    bool expert, vector;
} Names;
/* What the table says of p's place in files; gguf without layer and suffix. */
Names param_names(const Model *m, const Param *p);

/* ---- the plan's memory (plan.c) -------------------------------------------------------------- */

typedef struct PlanState {
    int64_t threads;               /* of the team that work memory is for */
    double *inv_freq, rope_factor; /* (rope.dim / 2) */
    float attend_scale;            /* on the scores of attention */
    int64_t *pos;                  /* (N) positions of the batch's rows */
    int64_t lost;                  /* the layer whose router met NaN */
    int64_t begun;                 /* whose rows these are: 0 the model's, i + 1 model_mtp's of i */
    int64_t embedded;              /* rows of the embedding whose pages are still there */
    float *cos, *sin;              /* (N, rope.dim / 2) */
    int32_t *by_head;              /* (H N) absorbed MLA: row i*H + h stands at h*n + i */
    Group *heads;                  /* (H) absorbed MLA */
    void *rows;                    /* packed input of the product at hand */
    uint8_t *own; /* for each thread: own_bytes for a single row, packed, and its norm before */
    int64_t own_bytes, own_norm; /* where in them the norm stands */
    void *attend_work;           /* for each thread */
    Acts *acts;                  /* inference: one layer's buffers for all; training: all layers' */
    Back *back;                  /* training: the backward's work memory */
    uint8_t **page, *page_memory; /* training: the pages that plan_pages gives */
} PlanState;

/* The panels of a parameter that is multiplied. */
static inline const Weight *weight_of(const Plan *p, const Param *w) {
    return &p->panels->weight[w - p->model->param];
}

/* ---- KV layout (kv.c) ------------------------------------------------------------------------ */

Attend attend_of(const Plan *p, int64_t layer); /* the layer's streams, for kv_store and attend */

/* ---- products (project.c) -------------------------------------------------------------------- */

/* The input of one or several products: f32 rows, packed once for each form that a weight asks
 * for. A single row is packed by every thread for itself: it is ready as soon as the others' would
 * be, and without a barrier. So whoever writes a single row x joins the threads, or gives each its
 * own. */
typedef struct Input {
    const Plan *p;
    Thread l;
    const float *x;
    int64_t n, k, ld;
    const int32_t *index; /* (n) the row of x that each row is; NULL: they stand in order */
    void *kept; /* packed rows of x: where to put them, or with index where they are; or NULL */
    Rows rows;
} Input;
Input input_of(Thread th, const Plan *p, const float *x, int64_t n, int64_t k, int64_t ld);
Input input_gathered(Thread th, const Plan *p, const float *x, const void *x_rows,
                     const int32_t *index, int64_t n, int64_t k, int64_t ld);
/* The same as input_of with the packed rows in `rows`, where they stay for the backward; `packed`:
 * they are there already, and x may be NULL. rows NULL: as input_of. */
Input input_kept(Thread th, const Plan *p, const float *x, int64_t n, int64_t k, int64_t ld,
                 void *rows, bool packed);
/* The norm of n rows of x (C wide) for products that follow: y, with r (n) or NULL; of a single
 * row every thread computes it in memory of its own, which is returned, and thread 0's is y.
 * `gathered`: a product of gathered rows is among them. rows: NULL, or where they are kept, packed;
 * y may be NULL then. */
const float *norm_rows(Thread th, const Plan *p, float *y, float *r, const float *x, const Param *w,
                       int64_t n, bool gathered, void *rows);
/* y (n, ldy) = or += x W^T. th: the team's thread, or a thread_nosync when another product of the
 * same input follows. */
void project(Thread th, float *y, int64_t ldy, const Param *w, Input *x, StoreMode mode);
/* Several of the same input, y[i] (n, ldy[i]) = x W[i]^T, as one where their forms allow it. */
void project_set(Thread th, float *const *y, const int64_t *ldy, const Param *const *w, int64_t n,
                 Input *x);
/* The same with matrix g.matrix for the rows of each group; `round`: the outputs through bf16. */
void project_groups(Thread th, float *y, int64_t ldy, const Weight *w, Input *x, const Group *g,
                    int64_t n_groups, bool round);
/* h = silu(g) * u, with the products g and u of the same input, (n, F) each; h may be g. By groups,
 * or with matrix 0 where g is NULL. rows: NULL, or where h goes, packed, instead. */
void project_gated(Thread th, float *h, float *g, float *u, const Param *gate, const Param *up,
                   Input *x, const Group *group, int64_t n_groups, void *rows);
/* dst (n, ldd) = src (n, lds), k numbers a row. Nothing to do where they are the same. */
void rows_copy(Thread th, float *dst, int64_t ldd, const float *src, int64_t lds, int64_t n,
               int64_t k);

/* ---- layers ---------------------------------------------------------------------------------- */

void embed(Thread th, Plan *p, const Batch *b, float *x);
/* From the normed rows xn or fn, which norm_rows gave. */
void gqa(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, const float *xn);
void mla(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, const float *xn);
/* y (N, C) = or += FFN of fn: the dense one, or the shared experts. */
void ffn(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, const float *fn, float *y,
         StoreMode mode);
/* false where a router met NaN. */
bool moe(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, const float *fn,
         float *y);
/* The rows that are wanted, from a->x: norm, then the product with the model's head. */
void head(Thread th, Plan *p, const Batch *b, const HeadActs *a, const Param *norm, Out *out);

/* ---- shared with mtp.c (model.c) ------------------------------------------------------------- */

/* begun: see PlanState. back_begin: the same for a backward, where another batch came between. */
void step_begin(Thread th, Plan *p, const Batch *b, const Out *out, int64_t begun);
void back_begin(Thread th, Plan *p, const Batch *b, int64_t begun);
/* y = the residual stream after the layer, from a->x. false where a router met NaN. */
bool layer_forward(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, float *y);
/* The experts of the rows that want them, as layer `layer` of `layers`. */
void experts_keep(const Batch *b, Out *out, int64_t layer, int64_t layers, int64_t K,
                  const LayerActs *a);
