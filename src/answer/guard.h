/* guard.h -- part of answer.h: notices that an answer goes round in circles. */
#pragma once
#include "base/base.h"

/* Of the last GUARD_WINDOW tokens, how many end a piece of GUARD_PIECE tokens that the answer had
 * before: a loop of any length, exact or with a number that counts up, is made of such. */
enum { GUARD_PIECE = 4, GUARD_WINDOW = 320, GUARD_SLOTS = 1 << 15 };
typedef struct Guard {
    uint32_t seen[GUARD_SLOTS]; /* marks of pieces; 0: free */
    int32_t last[GUARD_PIECE];
    bool again[GUARD_WINDOW]; /* of the last tokens, in a ring */
    int64_t n, n_again;
} Guard;
void guard_init(Guard *g);
bool guard_push(Guard *g, int32_t token); /* true: the answer repeats itself */
