/* ref.h -- private to kern/ref: the names of the reference kernels (KERNEL_ref) and the arithmetic
 * that several of them share. This folder is the specification (docs/contract.md): portable C that
 * states the order of each sum and each rounding, with no trick that is not proved beside it. */
#pragma once
#include "kern/table.h"
#include <math.h>

#define X(field, ret, params) ret field##_ref params;
KERN_LIST(X)
#undef X

/* The end of the 16-lane tree: lane i adds lane i+w, w = 8, 4, 2, 1. */
static inline float tree_end(float lane[16]) {
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++) lane[i] = lane[i] + lane[i + w];
    return lane[0];
}

static inline float store(float y, float total, StoreMode mode) {
    return mode == STORE_ADD ? y + total : total;
}
