/* bound.h -- private to text/: a compiled grammar, as those who compile it fill it. */
#pragma once
#include "text/walk.h"

enum { BOUND_MASKS = 1 << 14 };

struct Grammar {
    const Lexicon *l;
    Net net;
    Walk walk;
    int32_t start[2]; /* nodes: of an answer, and of a thought that is open already */
    const KindTokens *loop[NET_LOOPS];
    uint64_t **mask; /* (n_masks of most_masks), each of (words) */
    int64_t n_masks, most_masks, made_masks;
    Arena *a, *scratch;
};
/* The net is complete: everything else. */
void bound_init(Grammar *g, Arena *a);
