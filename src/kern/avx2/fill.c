/* fill.c -- the AVX2 level (with FMA and F16C): which kernels it brings. */
#include "kern/avx2/avx2.h"

void kern_fill_avx2(Kern *k) { k->natural = false; }
