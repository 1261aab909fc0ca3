/* model.h -- the public header of model/: one transformer family, forward and backward.
 *
 * Promises: model_forward is one list of calls for prefill, decode and training; logits of a
 * position depend on what the plan's fingerprint names and on the tokens before it, and on nothing
 * else, bit for bit.
 * Ownership: Model, Panels and Plan live in the arenas they are given; weights are mapped from the
 * Store (which must outlive the Model) or, when trained, f32 masters in the model's arena. Panels
 * are packed weights: a plan makes its own or runs on those of another (PlanSpec.panels). KV pages
 * belong to whoever runs sequences (infer), or to the plan in training. Nothing is allocated in a
 * step.
 * Threads: functions with a Thread run on every thread of the team; the others on one thread at a
 * time.
 *
 * Shape letters, here and in every file of this module:
 *   B sequences     N rows of a batch      C width         L layers        V vocabulary
 *   H query heads   G key/value heads      D head dim      F ffn width
 *   R latent rank (kv_lora_rank)           Q query rank (q_lora_rank)
 *   E experts       K experts a token      n, r, v (d_nope, d_rope, d_v): parts of MLA's heads */
#pragma once
#include "base/base.h"
#include "file/file.h"
#include "kern/kern.h"
#include "model/optimiser.h"

/* ---- configuration --------------------------------------------------------------------------- */

typedef enum Family {
    FAMILY_LLAMA,
    FAMILY_DEEPSEEK2,
    FAMILY_DEEPSEEK3,
    FAMILY_QWEN2,
    FAMILY_QWEN3,
    FAMILY_QWEN3_MOE,
    FAMILY_GLM4_MOE_LITE,
    FAMILY_N
} Family;
const char *family_name(Family f); /* model_type of its config.json */
typedef enum RopeScaling { ROPE_PLAIN, ROPE_YARN, ROPE_LLAMA3 } RopeScaling;
typedef enum MlaForm { MLA_EXPANDED, MLA_ABSORBED } MlaForm;

typedef struct RopeConfig {
    double theta;
    int64_t dim; /* rotated numbers a head */
    bool pairs;  /* (2j, 2j+1); else (j, j + dim/2) */
    RopeScaling scaling;
    double factor, original; /* how many times longer than what length */
    double beta_fast, beta_slow, mscale, mscale_all_dim; /* YaRN */
    double low_freq, high_freq;                          /* llama3 */
    const float *factors; /* (dim/2) frequencies are divided by them, or NULL: a GGUF's own */
} RopeConfig;

typedef struct Config {
    Family family;
    int64_t L, C, V, H, G, D, F; /* G, D, F: of GQA and dense layers */
    float eps;
    bool tied; /* head = embedding */
    RopeConfig rope;
    bool mla;
    int64_t Q, R, d_nope, d_rope, d_v; /* MLA; Q = 0: one q projection */
    int64_t E, K, shared, F_moe;       /* E = 0: no experts; shared: how many */
    int64_t first_dense;               /* so many layers are dense; then MoE */
    Router router;                     /* kind, groups, norm, scale (bias NULL here) */
    int64_t mtp;                       /* layers L.. predict further tokens: see model_open_mtp */
    int64_t max_positions;
    int64_t bos, eos[8], n_eos; /* -1: none */
    const char *recorded_mla;   /* "expanded", "absorbed" (key mla_form) or NULL */
    int64_t fp8_rows, fp8_cols; /* block of FP8 weights that shares a scale; 0: none */
} Config;

/* From config.json (both spellings) or GGUF keys: docs/models.md. A key that changes the arithmetic
 * and is not known is an error naming it; sizes are checked against each other. */
bool config_read(Config *c, const Store *s, Err *err) CHECKED;
/* The bytes of a config.json; `name` is for messages. */
bool config_parse(Config *c, Str json, const char *name, Err *err) CHECKED;
Str config_json(Arena *a, const Config *c); /* as Hugging Face writes it, to load there */
Str config_json_of(Arena *a, const Config *c, DType type); /* the same: of weights of this type */
/* Inverse frequencies (rope.dim/2), scaled; the factor on cos and sin; the scale of scores. */
void rope_inv_freq(double *inv_freq, double *attention_factor, const RopeConfig *r);
float attention_scale(const Config *c);

/* ---- parameters ------------------------------------------------------------------------------ */

/* How ranks share a tensor. WHOLE: each holds all of it, and gradients are summed over the ranks.
 * EXPERTS: each holds its share of the experts and sees all rows that are theirs, so that their
 * gradients are whole where they are. */
typedef enum ShardRule { SHARD_WHOLE, SHARD_EXPERTS } ShardRule;

/* One row of the family's table in one layer: the single source for loader, saver, optimiser,
 * gradient sync and counts (model/weights.c). A matrix is w.rows x w.cols, `w.n` of them for
 * stacked experts; a vector is one row. */
typedef struct Param {
    const char *name; /* Hugging Face's; experts have "%d" for the expert's number */
    int64_t layer;    /* -1: the model's own */
    bool decay;       /* weight decay: matrices yes, vectors no */
    Optimiser optimiser;
    ShardRule shard;
    bool f32;                       /* never rounded: router, norms, biases */
    Weight w;                       /* shape and type; row: all in canonical order, or NULL */
    const Store *store;             /* whose file holds its rows; NULL: they stand in an arena */
    const struct RowSource *source; /* private: where its rows stand in the files */
    int32_t row;                    /* private: its row of the table */
    int64_t count;                  /* numbers: n * rows * cols */
    /* (count) each, f32; NULL unless training, and but the master where nothing is learnt. */
    float *master, *grad;
    void *moment[MOMENTS]; /* of moment_type */
    DType moment_type;     /* F32, BF16 */
    uint64_t sum;          /* private: checksum of all rows (fingerprint.c) */
    bool summed;           /* private: it is that of the file's rows, for good */
} Param;
static inline bool param_learns(const Param *p) { return p->optimiser != OPTIMISER_NONE; }

typedef struct Layer Layer; /* private: pointers into the parameters, by role */
typedef struct Model {
    Config cfg;
    Param *param;
    int64_t n_params;           /* in table order */
    Param *embed, *norm, *head; /* head is embed when tied */
    Layer *layer;               /* (n_layers) */
    int64_t n_layers;           /* L and the further ones that model_open_mtp opened */
    Arena *arena;
    DType file_type; /* of most matrices: decides the default formats */
    bool shape;      /* it has no weights (model_shape) */
} Model;

/* Weights stay mapped. Missing, surplus or misshapen tensors are errors naming them. */
bool model_open(Model **m, Arena *a, const Store *s, Err *err) CHECKED;
/* Fresh f32 masters (contract 5), of c->mtp further layers too; std as the config's
 * initializer_range (0.02). */
void model_init(Model **m, Arena *a, const Config *c, double std, uint64_t seed);
/* f32 masters of an opened model, widened or dequantised, so that it can be trained. */
void model_train(Model *m, Arena *a);
#include "model/export.h" /* a model's tensors and keys, to be written in other formats */
/* The masters by their Hugging Face names, and config.json, into a checkpoint. */
bool model_save(const Model *m, Arena *scratch, CkptWriter *w, Err *err) CHECKED;

/* ---- panels ---------------------------------------------------------------------------------- */

/* The weights of a model as products take them (kern.h), for one activation format and one form of
 * MLA. They lie in the arena they are made in and belong to whoever made them; any number of plans
 * of the model may run on them, at the same time too: steps only read them. They must outlive these
 * plans, and the model must outlive them. */
typedef struct PanelsSpec {
    Act act;
    MlaForm mla;
    bool transposed; /* W transposed too, for the gradients of inputs: f32 or a16, expanded MLA */
} PanelsSpec;
typedef struct Panels Panels;
/* Refuses (ERR_LIMIT, naming the three largest items) what does not fit beside program and model
 * into `limit` bytes (0: what the machine has free), allocates in `a` and packs on the team. */
bool panels_new(Panels **p, Arena *a, Model *m, const PanelsSpec *spec, int64_t limit, Team *team,
                Err *err) CHECKED;
/* Anew from the masters, after an optimiser step; no plan on these panels steps meanwhile. What was
 * computed with the old weights (KV pages, prefix caches) is stale after it. */
void panels_repack(Thread th, Panels *p);
/* The same of rows row.. (a multiple of TILE_K) of matrix i of one parameter only, right after its
 * optimiser has moved them. One thread's work; nothing where p has no panels. Expanded MLA. */
void panels_put(const Panels *p, const Param *w, int64_t i, int64_t row, int64_t n);
int64_t panels_bytes(const Panels *p);
PanelsSpec panels_spec(const Panels *p);

/* ---- plan ------------------------------------------------------------------------------------ */

typedef struct PlanSpec {
    Act act;
    MlaForm mla;
    DType kv;           /* kv: F32 or BF16 */
    int64_t rows;       /* most rows in one batch */
    int64_t logit_rows; /* most rows that want logits or hidden states in one batch */
    int64_t spans;      /* most spans in one batch */
    int64_t pages;      /* KV pages to budget for (infer allocates them) */
    int64_t positions;  /* longest sequence */
    bool training;      /* gradients, moments, activations, own pages */
    int64_t engine;     /* bytes that an engine takes beside its pages and logits: engine_plan */
    int64_t results;    /* bytes the caller will hold beside these logits */
    Panels *panels; /* those of this model, act and mla to run on; NULL: the plan makes its own */
} PlanSpec;
/* The defaults for this model (contract 3); sizes are left for the caller. */
PlanSpec plan_defaults(const Model *m);

/* What a page of 128 positions holds of each layer: keys and values today; further streams (the
 * keys of an index for sparse attention) take their place in the list. Layers need not be alike. */
enum { KV_STREAMS = 4, KV_K = 0, KV_V = 1 };
typedef struct KvLayer {
    KvStream stream[KV_STREAMS];
    int64_t n;
} KvLayer;
typedef struct KvLayout {
    KvLayer *layer;
    int64_t n_layers, page_bytes;
} KvLayout;
/* Sets where in a page each stream of the layers stands, and how large that makes a page. */
KvLayout kv_layout(KvLayer *layer, int64_t n_layers);
/* The layout that a plan of this spec has; its mla and kv decide. */
KvLayout kv_layout_of(Arena *a, const Model *m, const PlanSpec *s);

/* A part of what a run needs. */
enum { BUDGET_ITEMS = 16 };
typedef struct BudgetItem {
    const char *what;
    int64_t bytes;
} BudgetItem;

typedef struct Plan {
    PlanSpec spec;
    Model *model;
    Panels *panels; /* spec.panels, or the plan's own */
    KvLayout kv, kv_mtp;
    char fingerprint[65]; /* SHA-256 of all that decides bits; see plan_fingerprint */
    BudgetItem item[BUDGET_ITEMS];
    int64_t n_items; /* the budget */
    int64_t bytes;   /* their sum: the process's peak; with spec.panels what the plan adds to it */
    struct PlanState *state; /* private: work buffers */
} Plan;
/* Computes the budget, refuses (ERR_LIMIT, naming the three largest items) what exceeds `limit`
 * bytes (0: what the machine has free), then allocates in `a` and, without spec.panels, makes
 * panels there as panels_new does. Later steps may run on teams of as many threads or fewer.
 * Training refuses quantised act and absorbed MLA. A plan for training also runs without
 * keeping anything for a backward (acts NULL), in an engine for one; that ends the use of what an
 * earlier forward left in its Acts. */
bool plan_new(Plan **p, Arena *a, Model *m, const PlanSpec *spec, int64_t limit, Team *team,
              Err *err) CHECKED;
/* Only the budget of such a plan, whether it fits or not: no weight is read. Nothing can be run. */
bool plan_count(Plan **p, Arena *a, Model *m, const PlanSpec *spec, int64_t threads,
                Err *err) CHECKED;
void plan_print(const Plan *p, Buf *out);
/* Sets p->fingerprint, which stamps caches, rollouts and checkpoints: contract version,
 * configuration, every weight (but those of layers that predict further tokens, unless they are
 * trained), act, mla, kv. plan_new does it; weights of a file stay, but trained ones change, and
 * then it is that of the masters as they were at the last call. Files that differ in one weight
 * have different fingerprints, and so have a file and the same weights in other types. A checkpoint
 * has that of the plan which wrote it. Not while a step is under way. */
void plan_fingerprint(Plan *p, Team *team);
/* Training: gives the spans zeroed pages of the plan's own. */
void plan_pages(Thread th, Plan *p, Span *span, int64_t n_spans);

/* ---- forward and backward -------------------------------------------------------------------- */

/* What is wanted of a row, any of them together. */
enum { WANT_LOGITS = 1, WANT_HIDDEN = 2, WANT_EXPERTS = 4 };
typedef struct Want {
    int32_t row, what;
} Want;
typedef struct Batch {
    int64_t n;            /* rows */
    const int32_t *token; /* (n), each < V: callers check */
    const Span *span;
    int64_t n_spans; /* cover rows 0..n-1 in order */
    const Want *want;
    int64_t n_want; /* rows ascending, each once; several of one sequence if need be */
    float balance;  /* backward: weight of the sequence-wise loss of a row (kern/balance.h); 0 */
} Batch;
int64_t batch_wants(const Batch *b, int32_t what); /* how many rows want any of these */

/* One row of each array for each row that wants it, in the order of the batch's list. NULL where
 * none does. */
typedef struct Out {
    float *logits;        /* (rows, V) */
    float *hidden;        /* (rows, C) residual stream after the final norm: the head's input */
    int32_t *expert;      /* (rows, L, K) experts chosen, in the router's order; */
    float *expert_weight; /* (rows, L, K) their weights. Dense layers are left untouched */
    /* To look into a model (lisao logits --hidden, tests), for every row, wanted or not, or NULL:
     * (L+2, n, C) the embedding, the stream after each layer, and that after the final norm. */
    float *every_hidden;
} Out;

typedef struct Acts Acts; /* what the backward needs; belongs to the plan */
Acts *plan_acts(Plan *p); /* NULL unless training */

/* false, for every thread, when a router met NaN: the step and what is in `out` are void. */
bool model_forward(Thread th, Plan *p, const Batch *b, Out *out, Acts *acts) CHECKED;
/* Gradients of the parameters except the head from dhidden, that of Out.hidden, added to
 * Param.grad. The same batch as the forward; its rows want WANT_HIDDEN and no logits. */
void model_back(Thread th, Plan *p, const Batch *b, const float *dhidden, Acts *acts);
void model_zero_grad(Thread th, Model *m);

/* Training never holds logits of all rows. The head takes the rows of Out.hidden some at a time:
 *
 *     for (row = 0; row < rows; row += head_rows(p))
 *         head_logits; the loss puts their gradients into head_gradient's rows; head_back
 *     head_back_end; model_back
 *
 * and no bit depends on it. head_rows divides CUT_K; row is a multiple of it. */
int64_t head_rows(const Plan *p);
/* logits (n, V) of hidden (n, C), n <= the plan's logit_rows. */
void head_logits(Thread th, Plan *p, float *logits, const float *hidden, int64_t n);
/* Rows for the gradients of n logits (n, V): the plan's own, packed, or in f32 the logits. */
Rows head_gradient(const Plan *p, float *logits, int64_t n);
/* dhidden (n, C; may be hidden) from dlogits (n, V), rows row..row+n-1 of those that wanted their
 * hidden state; the head's own gradient is collected. */
void head_back(Thread th, Plan *p, float *dhidden, const Rows *dlogits, const float *hidden,
               int64_t row, int64_t n);
/* Behind the last of `rows` rows: the head's gradient is added to its Param.grad. */
void head_back_end(Thread th, Plan *p, int64_t rows);

#include "model/mtp.h"     /* layers that predict further tokens */
#include "model/routing.h" /* what the routers did, and the balance of experts */
#include "model/size.h"    /* how many numbers a model has, and how many of them a token needs */
