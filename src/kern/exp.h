/* exp.h -- private to kern/: the one exponential. Its declaration is in kern.h. */
#pragma once

/* exp_f32, step by step, so that vector kernels give its bits (EXP_C2..6: minimax on |r| <= ln2/2,
 * relative error 2^-28.3; math.c says why the first fma is exact):
 *   n = rint(x * EXP_LOG2E); r = fma(n, -EXP_LN2_HI, x); r = fma(n, -EXP_LN2_LO, r)
 *   p = C6; p = fma(p, r, C5); .. C4; C3; C2; p = fma(p, r, 1); p = fma(p, r, 1)
 *   result: the bits of p plus (n << 23), an integer add; n is -126..127, nothing is subnormal
 *   x < EXP_LO: 0. x > EXP_HI: +inf. NaN: NaN. exp(0) = 1. Measured over all f32: 0.90 ulp. */
#define EXP_LOG2E  0x1.715476p+0f
#define EXP_LN2_HI 0x1.62e43p-1f
#define EXP_LN2_LO (-0x1.05c61p-29f)
#define EXP_C2     0x1.fffffcp-2f
#define EXP_C3     0x1.555492p-3f
#define EXP_C4     0x1.5558f2p-5f
#define EXP_C5     0x1.1239e2p-7f
#define EXP_C6     0x1.6a2434p-10f
#define EXP_LO     (-87.0f)
#define EXP_HI     88.37f
