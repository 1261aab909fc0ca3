/* fill.c -- the AVX2 level (with FMA and F16C) provides every kernel of the table. */
#include "kern/avx2/avx2.h"

void kern_fill_avx2(Kern *k) {
#define X(field, ret, params) k->field = NAME(field);
    KERN_LIST(X)
#undef X
    k->pairs_in_order = false;
}
