/* fill.c -- fills a table with the reference level. */
#include "kern/ref/ref.h"

void kern_fill_ref(Kern *k) {
#define X(field, ret, params) k->field = field##_ref;
    KERN_LIST(X)
#undef X
    k->pairs_in_order = false;
}
