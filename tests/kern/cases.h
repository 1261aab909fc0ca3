/* cases.h -- weights, rows and attention set up for the tests of the drivers, with their numbers at
 * hand in f64. */
#pragma once
#include "kern_test.h"

void on_levels(void (*fn)(void)); /* under every level that this machine has */
extern const char *level_now;

/* ---- weights --------------------------------------------------------------------------------- */

/* A quantised type, written down a second time from docs/formats.md and docs/contract.md 3: the
 * entry that a new one needs here. Everything that walks types finds it by itself. */
enum { BLOCK_MAX = 256 };
typedef struct Int8Block {
    int q[BLOCK_MAX];
    float d;
} Int8Block; /* activations of one block of the form */
typedef struct Quantised {
    DType type;
    int d, m;                                    /* where the f16 stand in a block; -1: none */
    int (*q)(const uint8_t *block, int64_t k);   /* the integer of number k */
    int sub;                                     /* numbers that share what follows; 0: none do */
    int (*scale)(const uint8_t *block, int j);   /* integer scale of sub-block j */
    int (*minimum)(const uint8_t *block, int j); /* integer minimum of it, times m; or NULL */
    int power;                                   /* where a power of two (e8m0) is d; -1: nowhere */
} Quantised;
const Quantised *quantised_of(DType t); /* fails the test for a type that has no entry */
/* Exactly what the bytes say of number k. */
double quantised_number(const Quantised *t, const uint8_t *block, int64_t k);
/* acc goes on over the block. */
float quantised_product(const Quantised *t, float acc, const uint8_t *block, const Int8Block *x);
/* f16 that is any finite number, subnormals and both zeros among them. */
void put_f16(uint8_t *p);

/* n matrices of random file bytes; nothing packed yet. */
Weight weight_new(DType type, int64_t n, int64_t rows, int64_t cols);
double weight_number(const Weight *w, int64_t i, int64_t r,
                     int64_t k); /* exactly what the bytes say */
/* Packs W, and where `t` its transpose, into guarded memory on as many threads. */
void weight_ready(Weight *w, Layout layout, bool t, int64_t threads);

typedef struct LinearRun {
    float *y;
    int64_t ldy;
    const Weight *w;
    int64_t i;
    const float *x;
    const int32_t *index;
    int64_t n, ldx;
    StoreMode mode;
} LinearRun;
void run_linear(const LinearRun *r, int64_t threads); /* packs the rows, then the product */

typedef struct DwRun {
    float *dw;
    const float *dy, *x;
    int64_t ldy, ldx, n, rows, cols;
    Layout layout;
    void *work, *dy_rows, *x_rows; /* run_dw's */
} DwRun;
void run_dw(const DwRun *r, int64_t threads); /* packs the rows, then linear_dw */

/* ---- attention ------------------------------------------------------------------------------- */

enum { SPANS = 8, PAGES = 64 };
typedef struct Attention {
    Attend a;
    Span span[SPANS];
    int64_t n_spans, rows; /* N */
    void *page[SPANS][PAGES];
    float *q, *k, *v, *g; /* (N, heads*dk), (N, kv*dk), (N, kv*dv), (N, heads*dv) dO */
    float *o, *lse, *dq, *dk, *dv;
} Attention;

typedef struct AttentionShape {
    DType type;
    int64_t heads, kv, dk, dv;
    bool v_of_k;
} AttentionShape;

/* Documents of these lengths, one span each from position 0, in pages of their own; q, k, v, g
 * random within +-size. */
void attention_new(Attention *t, AttentionShape s, const int64_t *length, int64_t n_spans,
                   float size);
/* Keys and values of the spans into the pages. */
void attention_store(Thread th, const Attention *t, const Span *span, int64_t n_spans);
void attention_run(Attention *t, int64_t threads);  /* attention_store, attend */
void attention_back(Attention *t, int64_t threads); /* after attention_run */
