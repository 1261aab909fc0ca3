/* guard.c -- notices that an answer goes round in circles.
 *
 * Texts that only look repetitive (tables, source code) had at most 82 % of such pieces in a window
 * where it was measured; a loop comes near to all. A piece is known by 32 bits of a
 * hash: at the lengths of an answer the few that are taken for others do not count. */
#include "answer/answer.h"

enum { GUARD_LIMIT = GUARD_WINDOW * 85 / 100 };

void guard_init(Guard *g) { memset(g, 0, sizeof *g); }

/* Whether the piece that ends here was there before; it is from now on. */
static bool piece_known(Guard *g) {
    uint64_t h = checksum(g->last, sizeof g->last, 1);
    uint32_t mark = (uint32_t)(h >> 32) | 1;
    for (int64_t i = 0; i < 16; i++) {
        uint32_t *slot = &g->seen[(h + (uint64_t)i) % GUARD_SLOTS];
        if (*slot == mark) return true;
        if (*slot == 0) return *slot = mark, false;
    }
    return false; /* crowded: an answer of many thousand different pieces is no loop */
}

bool guard_push(Guard *g, int32_t token) {
    memmove(g->last, g->last + 1, sizeof g->last - sizeof *g->last);
    g->last[GUARD_PIECE - 1] = token;
    if (++g->n < GUARD_PIECE) return false;
    bool *again = &g->again[g->n % GUARD_WINDOW];
    g->n_again -= *again;
    *again = piece_known(g);
    g->n_again += *again;
    return g->n_again >= GUARD_LIMIT;
}
