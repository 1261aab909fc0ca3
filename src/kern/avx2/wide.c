/* wide.c -- the kernels of kern/wide with 16 lanes in two registers. */
#include "kern/avx2/avx2.h"
#include "kern/wide/act.h"
#include "kern/wide/norm.h"
