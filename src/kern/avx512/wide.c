/* wide.c -- the kernels of kern/wide with 16 lanes in one register. */
#include "kern/avx512/avx512.h"
#include "kern/wide/act.h"
#include "kern/wide/norm.h"
