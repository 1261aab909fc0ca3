/* each.h -- private to kern/: loops over small constant ranges that are unrolled whole, so that
 * arrays indexed by them are registers. */
#pragma once

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define EACH(i, n)                 EACH_BY (i, 0, n, 1)
#define EACH_BY(i, from, to, step) UNROLL for (int i = (from); i < (to); i += (step))
