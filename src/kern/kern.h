/* kern.h -- the public header of kern/: arithmetic on raw memory, the same bits on every CPU.
 *
 * Promises: every op has one summation order and one place of rounding, written in docs/contract.md
 * and in kern/ref, the specification. Faster levels give the same bits. Results do not depend on
 * the number of threads, on the other rows of a batch, or on how a product is blocked.
 *
 * Ownership: nothing is allocated here. Callers own all memory, packed forms included; sizes come
 * from the *_bytes functions. Pointers to packed memory are 64-byte aligned.
 *
 * Threads: a function whose first parameter is `Thread th` is called by every thread with the same
 * arguments; it splits the outputs and returns after a thread_sync. A function without one is one
 * thread's work. kern_init comes first.
 *
 * The one product. Linear layers, attention scores, attention values, input and weight gradients
 * are all
 *     y[i][j] (+)= sum_k x[i][k] * w[j][k]
 * with x as packed Rows and w as *panels* of 16 outputs (PANEL), so one kernel for each weight
 * layout carries all the heavy work. KV pages hold K and V as such panels from the start
 * (docs/kernels.md). */
#pragma once
#include "base/base.h"
#include "kern/quantise.h" /* f32 numbers into the types of files */
/* Of docs/contract.md: raised with every change that moves a bit of any result. */
enum { CONTRACT_VERSION = 1 };

/* ---- levels ---------------------------------------------------------------------------------- */

typedef enum Level { LEVEL_REF, LEVEL_AVX2, LEVEL_AVX512, LEVEL_AMX_EMU, LEVEL_AMX, LEVEL_N } Level;
/* Fills the table: ref first, then each level up to `max` that this CPU and kernel allow and whose
 * self-test passes (LEVEL_N: the best). false with the reason when `max` itself is not available.
 * LEVEL_AMX_EMU needs AVX-512 and is chosen only by name. Not while threads run. */
bool kern_init(Level max, Err *err) CHECKED;
Level kern_level(void);          /* the level in force */
const char *level_name(Level v); /* "ref", "avx2", "avx512", "amx-emu", "amx" */
bool level_of_name(const char *name, Level *v);
void cpu_name(char name[64]); /* its brand, or "unknown CPU" */
/* For `lisao info`: the CPU, the levels, who supplies each kernel, what was left out and why. */
void kern_print(Buf *out);

/* ---- packed forms ---------------------------------------------------------------------------- */

enum { PANEL = 16, CHUNK = 64, PAGE = 128, TILE_K = 32, CUT_K = 2048 };

typedef enum Act { ACT_F32, ACT_A16, ACT_A8 } Act; /* the plan's activation format */
const char *act_name(Act a);                       /* "f32", "a16", "a8" */

/* The activation form: how the rows of a product are held. int8: blocks of 32 or of 256 numbers of
 * k with a scale. */
typedef enum ActForm { FORM_NONE, FORM_F32, FORM_BF16, FORM_INT8, FORM_INT8_256, FORM_N } ActForm;
/* The weight layout: how panels hold the weights of a product. Float layouts are made from files of
 * any type, a quantised one keeps the blocks of the one type that it is named after. Everything
 * that depends on a layout or a form stands in its row of the two tables in kern/layout.c. */
typedef enum Layout {
    LAYOUT_NONE,
    LAYOUT_F32,
    LAYOUT_BF16,
    LAYOUT_Q4_0,
    LAYOUT_Q4_1,
    LAYOUT_Q5_0,
    LAYOUT_Q5_1,
    LAYOUT_Q8_0,
    LAYOUT_IQ4_NL,
    LAYOUT_MXFP4,
    LAYOUT_Q2_K,
    LAYOUT_Q3_K,
    LAYOUT_Q4_K,
    LAYOUT_Q5_K,
    LAYOUT_Q6_K,
    LAYOUT_IQ4_XS,
    LAYOUT_N
} Layout;
const char *layout_name(Layout l); /* "f32", "q4_1", ... */
ActForm layout_form(Layout l);     /* the rows that its product takes; FORM_NONE for LAYOUT_NONE */
Layout layout_of(Act act, DType type); /* of weights of this file type under this format */

/* n matrices of rows x cols (outputs x inputs), one type. `row`: the file's bytes, matrix after
 * matrix, row after row, or NULL once only panels are needed. `tile`: panels of W; `tile_t`: panels
 * of W transposed (bf16 or f32; for backward and absorbed MLA), or NULL. Packing never changes
 * bits. Owner: whoever packed. */
typedef struct Weight {
    DType type;
    int64_t n, rows, cols;
    const void *row;
    Layout layout, layout_t;
    void *tile, *tile_t;
    void *store; /* NULL, or where experts are pinned from (later) */
} Weight;

/* Panels of one matrix: `rows` outputs, `cols` summed. */
int64_t panel_bytes(Layout layout, int64_t rows, int64_t cols);
/* Packs matrices lo..hi-1 of `w` from w->row into `tile` (or, transposed, `tile_t`), dequantised
 * and rounded as the contract says; panels are split over the threads. `tile` receives all n
 * matrices, panel_bytes apart. */
void weight_pack(Thread th, void *tile, Layout layout, const Weight *w, int64_t lo, int64_t hi);
void weight_pack_t(Thread th, void *tile_t, Layout layout, const Weight *w, int64_t lo, int64_t hi);
/* Rows row.. (a multiple of TILE_K) of matrix i of f32 rows into w->tile and, where it is there,
 * w->tile_t; the rest of the panels stays. One thread's work. */
void weight_pack_rows(const Weight *w, int64_t i, int64_t row, int64_t n);
/* The transposed view: rows and cols, tile and tile_t swapped. */
Weight weight_t(const Weight *w);
/* Row r of matrix i as f32: out[cols] (embedding). */
void weight_row(float *out, const Weight *w, int64_t i, int64_t r);

/* Rows of activations, rounded and laid out for the product. f32 rows are used where they stand. */
typedef struct Rows {
    ActForm form;
    int64_t n, k, ld;
    const float *x; /* (n, ld) f32, kept for FORM_F32 */
    void *p;        /* packed bytes */
} Rows;
int64_t rows_bytes(ActForm form, int64_t n, int64_t k);
/* x (n rows of k, ld apart) -> r, in `mem` (rows_bytes). Pass the form of the weight's layout. Each
 * thread has its own *r, `mem` is shared. */
void rows_pack(Thread th, Rows *r, ActForm form, const float *x, int64_t n, int64_t k, int64_t ld,
               void *mem);
/* The same, row i taken from x row index[i] (experts): index is (n) or NULL. */
void rows_gather(Thread th, Rows *r, ActForm form, const float *x, const int32_t *index, int64_t n,
                 int64_t k, int64_t ld, void *mem);
/* n rows of k numbers that are to be put into `mem`, in order, f32 or bf16, by whoever makes
 * them. */
Rows rows_in(ActForm form, int64_t n, int64_t k, void *mem);
/* Rows index[i] of packed bf16 rows of k numbers, as they are. */
void rows_pick(Thread th, Rows *r, const void *rows, const int32_t *index, int64_t n, int64_t k,
               void *mem);
/* Panels of the matrix whose rows r are, bf16: those that weight_pack makes of them, with nothing
 * rounded again. `tile`: panel_bytes(LAYOUT_BF16, r->n, r->k). */
void rows_panels(Thread th, void *tile, const Rows *r);

/* ---- products -------------------------------------------------------------------------------- */

/* Set; add once after the whole sum; or (between kernels only: kern/table.h) continue a sum. */
typedef enum StoreMode { STORE_SET, STORE_ADD, STORE_CONTINUE } StoreMode;
/* y (x->n, ldy) = or += rows x matrix i of w, all w->rows outputs. */
void linear(Thread th, float *y, int64_t ldy, const Weight *w, int64_t i, const Rows *x,
            StoreMode mode);
/* y[i] (x->n, ldy[i]) = rows x matrix 0 of w[i], i < n <= 4, weights of one form: threads share
 * their panels as those of one matrix. */
void linear_set(Thread th, float *const *y, const int64_t *ldy, const Weight *const *w, int64_t n,
                const Rows *x);

/* Products of several row blocks at once, one for each expert. Group g multiplies rows
 * row0..row0+n-1 of x[i] with matrix g.matrix of w[i], i < n_w: that of w[0] sets the same rows of
 * y, further ones are added. `round`: what then stands there goes through bf16 (contract 3).
 * Threads share all panels of all groups evenly. */
typedef struct Group {
    int64_t matrix, row0, n;
} Group;
void linear_groups(Thread th, float *y, int64_t ldy, const Weight *w, const Rows *x, int64_t n_w,
                   const Group *g, int64_t n_groups, bool round);
/* h = silu(g) * u of two such products g and u, of one shape and form; h may be g, all are ld
 * apart. group NULL: all rows with matrix 0. A thread gates what it has multiplied. rows: NULL, or
 * where h goes instead, as packed bf16 rows; h is not written then. */
void linear_gated(Thread th, float *h, float *g, float *u, int64_t ld, const Weight *gate,
                  const Weight *up, const Rows *x, const Group *group, int64_t n_groups,
                  void *rows);

#include "kern/linear_back.h" /* gradients of weights, and of silu(g) u */

/* ---- attention over KV pages ----------------------------------------------------------------- */

/* A stream is one of the things that a layer keeps of every position; a layer has several, each of
 * its own form, type, heads and width (KvLayout in model/model.h). In a page of 128 positions it
 * stands from byte `off`: `heads` times chunks of 64 entries, in the form in which attention
 * multiplies them.
 *   KV_KEYS    panels with outputs = the entries, width summed
 *   KV_VALUES  panels with outputs = width, the entries summed
 *   KV_PREFIX  the first `width` numbers of the layer's keys (absorbed MLA); takes no room
 * type: F32 or BF16. An entry stands for `tokens` positions and is seen from its own position and
 * the window - 1 after it (0: from all later ones). Other than tokens 1 is not stored yet, and
 * other than window 0 not attended to yet: both are CHECKed. */
typedef enum KvForm { KV_KEYS, KV_VALUES, KV_PREFIX } KvForm;
typedef struct KvStream {
    KvForm form;
    DType type;
    int64_t heads, width, tokens, window;
    int64_t off;
} KvStream;
int64_t kv_bytes(const KvStream *s); /* in one page */
/* Rows row..row+n-1 of the batch are positions pos.. of one sequence or packed document. pages[p]
 * holds positions 128p..128p+127 of all layers; a fresh page must be zero. */
typedef struct Span {
    int64_t row, n, pos;
    void *const *pages;
    int64_t seq;
} Span;
/* Rounds x (N, heads*width) to the type and puts it into the spans' pages. Not for KV_PREFIX. */
void kv_store(Thread th, const KvStream *s, const Span *span, int64_t n_spans, const float *x,
              int64_t ldx);

/* dk = k.width, dv = v.width; k and v have the same type and heads, and v is no wider than k if it
 * is its prefix. */
typedef struct Attend {
    KvStream k, v;
    int64_t heads; /* query heads, a multiple of k.heads */
    float scale;
} Attend;
/* qkv (N, ld) holds q, k and v of all heads side by side: q and k are rotated in place as rope
 * does, k and v stored. Not for a prefix. */
void kv_store_rope(Thread th, const Attend *a, const Span *span, int64_t n_spans, float *qkv,
                   int64_t ld, int64_t half, bool pairs, const float *cos, const float *sin);
/* o (N, heads*dv) = causal attention of q (N, heads*dk; rounded to k.type here) over the pages;
 * each row sees the positions of its span's sequence up to its own. lse (N, heads) or NULL receives
 * m + log(l). work: attend_bytes for each thread, threads one after another; max_rows: the most
 * rows of one span. It has barriers inside: not for a thread_nosync. */
int64_t attend_bytes(const Attend *a, int64_t max_rows);
void attend(Thread th, float *o, int64_t ldo, float *lse, const float *q, int64_t ldq,
            const Attend *a, const Span *span, int64_t n_spans, void *work);
/* Gradients for spans that start at position 0 (packed documents), all dense: dq (N, heads*dk),
 * dk (N, k.heads*dk), dv (N, k.heads*dv) are set; do_ and o (N, heads*dv), lse (N, heads) from
 * the forward. Not for a prefix. work: for each thread, as above. */
int64_t attend_back_bytes(const Attend *a, int64_t max_rows);
void attend_back(Thread th, float *dq, float *dk, float *dv, const float *do_, const float *o,
                 const float *lse, const float *q, const Attend *a, const Span *span,
                 int64_t n_spans, void *work);

/* ---- own elementary functions: contract 4; errors measured in tests/kern --------------------- */

float exp_f32(float x);                      /* 0.90 ulp over all f32; its steps: kern/exp.h */
float log_f32(float x);                      /* log_f64 rounded; 0 gives -inf, below 0 NaN */
double exp_f64(double x), log_f64(double x); /* < 1 ulp; for tables of constants, not loops */
double pow_f64(double x, double y);          /* x > 0, else NaN; < 1 ulp while |y log x| < 32 */
void sincos_f64(double x, double *sin, double *cos); /* |x| < 2^30; < 1 ulp */

/* ---- rows ------------------------------------------------------------------------------------ */

/* y = (x * r) * w, r = 1/sqrt(sum(x^2)/C + eps); r (n) is kept when not NULL. w (C) or NULL for
 * ones. y may be x. */
void rmsnorm(Thread th, float *y, int64_t ldy, float *r, const float *x, int64_t ldx,
             const float *w, int64_t n, int64_t C, float eps);
/* The same, and y as packed bf16 rows in `rows` (NULL: not). ldy 0: each thread has a y of its own
 * for one row. */
void rmsnorm_packed(Thread th, float *y, int64_t ldy, float *r, const float *x, int64_t ldx,
                    const float *w, int64_t n, int64_t C, float eps, void *rows);
/* dx (n, lddx) set or added; dw (C; NULL without w) += sum over rows. dx may be dy. */
void rmsnorm_back(Thread th, float *dx, int64_t lddx, StoreMode mode, float *dw, const float *dy,
                  int64_t lddy, const float *x, int64_t ldx, const float *r, const float *w,
                  int64_t n, int64_t C);

/* cos, sin (n, D/2) of the angles pos[i] * inv_freq[j] (f64), times factor. */
void rope_table(Thread th, float *cos, float *sin, const int64_t *pos, int64_t n,
                const double *inv_freq, int64_t half, double factor);
/* Rotates in place the D = 2*half numbers at x + i*ld + h*stride, h < heads. pairs: (2j, 2j+1) as
 * DeepSeek, else (j, j+half) as Llama. back: the inverse rotation (gradient). */
void rope(Thread th, float *x, int64_t ld, int64_t stride, int64_t n, int64_t heads, int64_t half,
          bool pairs, bool back, const float *cos, const float *sin);

/* h = silu(g) * u; h may be g. */
void silu_mul(Thread th, float *h, const float *g, const float *u, int64_t n);
void add(Thread th, float *y, const float *x, int64_t n); /* y = y + x */
void bias_add(Thread th, float *y, int64_t ldy, const float *b, int64_t n, int64_t m);
/* db (m) += sum of the rows of dy, rows ascending. */
void bias_back(Thread th, float *db, const float *dy, int64_t lddy, int64_t n, int64_t m);

float row_max(const float *x, int64_t n);
/* m + log(tree of exp(x - m)): the one log-sum-exp of the program. */
float row_lse(const float *x, int64_t n);
void row_exp(float *y, const float *x, float m, int64_t n); /* y = exp(x - m); y may be x */
/* Row i of dz, as a row for a product: (exp(z - lse) - q) * scale, for n targets, ascending, with
 * probabilities q whose sum is 1; n = 0: +0. In f32 it may stand where z does. */
void soft_cross_entropy_back(const Rows *dz, int64_t i, const float *z, float lse,
                             const int32_t *target, const float *q, int64_t n, float scale);
void cross_entropy_back(const Rows *dz, int64_t i, const float *z, float lse, int64_t target,
                        float scale);          /* of one target, or of none: -1 */
double tree_f64(const float *x, int64_t n);    /* sum on the 16-lane tree in f64 */
double tree_sq_f64(const float *x, int64_t n); /* sum of squares, same */

/* ---- experts --------------------------------------------------------------------------------- */

enum { ROUTER_E = 1024 }; /* most experts */
typedef enum RouterKind { ROUTER_SOFTMAX, ROUTER_SIGMOID } RouterKind;
typedef struct Router {
    RouterKind kind;
    int64_t E, K;                /* E <= ROUTER_E; K fit into the used groups */
    int64_t groups, groups_used; /* groups divides E; 1: no limit */
    bool norm;                   /* divide by the sum of the chosen */
    float scale;
    const float *bias; /* (E) added for the choice only, or NULL */
} Router;
/* z (n, E) logits -> id (n, K), weight (n, K) by (choice score descending, id ascending); score
 * (n, E) keeps the sigmoid or softmax for backward, or NULL. false if a logit is NaN, for every
 * thread. */
bool route(Thread th, int32_t *id, float *weight, float *score, const float *z, int64_t n,
           const Router *r);
/* dz (n, E) from dweight (n, K). */
void route_back(Thread th, float *dz, const float *dweight, const float *score, const int32_t *id,
                int64_t n, const Router *r);
/* y (n, C) = to + s, or s where `to` is NULL, with s = base (NULL: +0), then
 * fma(weight[i][k], rows[at[i*K+k]], s) over slots k ascending. y may be `to` or base. */
void combine(Thread th, float *y, const float *to, const float *base, const float *rows,
             int64_t ldr, const int32_t *at, const float *weight, int64_t n, int64_t K, int64_t C);
/* dweight (n, K) = dy . rows[at] on the tree; drows[at] = weight * dy, as rows for a product in
 * `mem`, rows_bytes(form, n * K, C). */
void combine_back(Thread th, Rows *drows, ActForm form, void *mem, float *dweight, const float *dy,
                  const float *rows, int64_t ldr, const int32_t *at, const float *weight, int64_t n,
                  int64_t K, int64_t C);

#include "kern/balance.h" /* the sequence-wise loss on scores */

#include "kern/adamw.h" /* the optimiser's step */
