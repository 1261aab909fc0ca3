/* pack.h -- private to data/: which pieces share a row, for one epoch. */
#pragma once
#include "data/data.h"

/* All arrays are allocated once for the shard's number of pieces P; an epoch fills them anew. Rows
 * are lists: first[r], then next[] until -1, longest piece first. Numbers are int32: P < 2^31 is
 * checked. */
typedef struct Packing {
    int64_t sequence, n_pieces, n_rows;
    Piece *piece;                        /* (P) in the shard's order */
    int32_t *next, *first, *last, *used; /* (P); of rows: first and last piece, number of pieces */
    int32_t *order;                      /* (P) pieces, shuffled */
    int32_t *by_length;                  /* (P) the same, longest first */
    int64_t *count;                      /* (sequence + 2) of the counting sort */
    int32_t *open;                       /* (sequence + 1) newest row with that many places left */
    int32_t *below;                      /* (P) the row under it in that stack */
    int32_t *row;                        /* (P) rows in the order in which they are given out */
} Packing;

/* loader.c, for mix.c: the next row behind those in b; the shard's pages leave memory again, so
 * that a run holds as much of a large text as of a small one. */
void loader_add(Loader *l, Packed *b);
void loader_drop(const Loader *l);

/* So many places of document d are trained on, from its first: all its tokens but the last; of a
 * conversation longer than a row those up to the last answer that fits, which may be none. */
int64_t places_of(const Shard *s, int64_t d, int64_t sequence);
bool packing_new(Packing *p, Arena *a, const Shard *s, int64_t sequence, Err *err) CHECKED;
/* The rows of this epoch. Their number depends on the pieces' lengths only: it is the same every
 * time. */
void packing_epoch(Packing *p, bool shuffle, uint64_t seed, int64_t epoch);
