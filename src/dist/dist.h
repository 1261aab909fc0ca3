/* dist.h -- the public header of dist/: the ranks of a distributed run. This build has one rank
 * (solo.c); MPI will stand behind the same calls.
 *
 * Promises: for a fixed number of ranks the result of every call is the same bits, in whatever
 * order the ranks arrive.
 * Threads: thread 0 only, between two thread_sync. Ownership: callers own the buffers. */
#pragma once
#include "base/base.h"

int64_t dist_rank(void);
int64_t dist_ranks(void);
void dist_all_reduce(float *x, int64_t n); /* x = sum over ranks, ascending */
void dist_all_reduce_f64(double *x, int64_t n);
void dist_all_reduce_i64(int64_t *x, int64_t n);
void dist_barrier(void);
