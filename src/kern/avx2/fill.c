/* fill.c -- the AVX2 level (with FMA and F16C) provides every kernel of the table. */
#include "kern/avx2/avx2.h"
#include "kern/ref/ref.h"

/* Not written yet for this level. */
#define gemm_q4_0_avx2   gemm_q4_0_ref
#define gemm_q5_0_avx2   gemm_q5_0_ref
#define gemm_q5_1_avx2   gemm_q5_1_ref
#define gemm_iq4_nl_avx2 gemm_iq4_nl_ref
#define gemm_mxfp4_avx2  gemm_mxfp4_ref

void kern_fill_avx2(Kern *k) {
#define X(field, ret, params) k->field = NAME(field);
    KERN_LIST(X)
#undef X
    k->pairs_in_order = false;
}
