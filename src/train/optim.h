/* optim.h -- private to train/: what an Optim holds, and Muon's part of its step. */
#pragma once
#include "train/train.h"

/* One matrix that Muon moves: of stacked experts each by itself. */
typedef struct Matrix {
    Param *p;
    int64_t i;
    bool lost; /* its momentum is not finite: not moved */
} Matrix;

/* Memory of one orthogonalisation: r x c with r <= c, the matrix or its transpose. */
typedef struct MuonWork {
    float *y;            /* (r, c) */
    float *a, *b;        /* (r, r) */
    void *rows;          /* of y, a or b, packed */
    void *tile, *tile_t; /* panels of y or a; of y transposed */
    double square;       /* of the matrix at hand, for all threads */
} MuonWork;

struct Optim {
    Model *m;
    const Recipe *r;
    const Panels *panels; /* NULL, or where moved rows are packed at once */
    Matrix *matrix;       /* those that one thread moves alone, then those that all share */
    int64_t n_alone, n_matrices;
    int64_t next;    /* the first of them that no thread has taken yet */
    MuonWork *own;   /* for each thread */
    MuonWork shared; /* for all together */
};

/* The matrices and the memory of muon_step. */
void muon_new(Optim *o, Arena *a, int64_t threads);
typedef struct MuonStep {
    float momentum, scale; /* on the gradient */
    float keep;            /* 1 - lr * weight decay */
    double lr;
    int64_t steps; /* 10 or 5 */
} MuonStep;
void muon_step(Thread th, Optim *o, const MuonStep *s);
/* Of one matrix (m, n), with all threads of th: y becomes the orthogonalised u, in the order r x c
 * of its memory. `inverse`: 1 / norm of u. */
void muon_orthogonalise(Thread th, const MuonWork *w, const float *u, int64_t m, int64_t n,
                        float inverse, int64_t steps);
void muon_work_new(MuonWork *w, Arena *a, int64_t m, int64_t n);
