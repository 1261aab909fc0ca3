/* adamw.h -- part of the public header kern/kern.h, which includes it: the step of AdamW. */
#pragma once

/* c = 1 - b^t, rounded from f64; scale multiplies the gradient first. */
typedef struct AdamW {
    float lr, b1, b2, eps, wd, c1, c2, scale;
} AdamW;
void adamw(Thread th, float *w, const float *g, float *m, float *v, int64_t n, const AdamW *p);
/* With moments in bf16, rounded after the step. */
void adamw_bf16(Thread th, float *w, const float *g, uint16_t *m, uint16_t *v, int64_t n,
                const AdamW *p);
