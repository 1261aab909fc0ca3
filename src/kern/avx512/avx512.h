/* avx512.h -- private to kern/avx512: the names of its kernels and what its files share. Every kernel gives the bits
 * of kern/ref; comments here say only what is not said there. */
#pragma once
#include <immintrin.h>
#include "kern/table.h"

#define X(field, ret, params) ret field##_avx512 params;
KERN_LIST(X)
#undef X

#define INLINE static inline __attribute__((always_inline))
/* Register blocks are loops over small constant arrays: they are arrays of registers once they are unrolled. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* The first `n` of 16 elements (all for n >= 16): the mask of a tail. */
INLINE __mmask16 mask16(int64_t n) { return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1u); }
