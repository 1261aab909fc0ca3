/* optim.c -- AdamW (Loshchilov and Hutter 2019, algorithm 2, decoupled decay). */
#include "kern/ref/ref.h"

/* c1 and c2 are the bias corrections 1 - b1^t and 1 - b2^t. The decay is on the weight before the
 * step, and does not go through the moments. */
void adamw_ref(float *w, const float *g, float *m, float *v, int64_t n, const AdamW *p) {
    float keep = 1.0f - p->lr * p->wd;
    for (int64_t i = 0; i < n; i++) {
        float gi = p->scale * g[i];
        m[i] = fmaf(p->b1, m[i], (1.0f - p->b1) * gi);
        v[i] = fmaf(p->b2, v[i], ((1.0f - p->b2) * gi) * gi);
        w[i] = fmaf(-p->lr, (m[i] / p->c1) / (sqrtf(v[i] / p->c2) + p->eps), w[i] * keep);
    }
}
