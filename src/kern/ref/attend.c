/* attend.c -- the softmax of one row over one chunk of 64 keys, its backward, and the merge of two
 * chunks: the online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867; docs/math/gqa.md). */
#include "kern/ref/ref.h"

/* p = exp(s scale - m) with m the largest of the visible scores, and their sum; p is rounded before
 * it is summed where it is multiplied rounded, so that the weights of a row add up to one. */
float chunk_softmax_ref(float *p, float *m, const float *s, int64_t visible, float scale,
                        bool round) {
    float z[CHUNK], lane[16] = {0};
    for (int64_t j = 0; j < visible; j++) z[j] = s[j] * scale;
    *m = max_ref(z, visible);
    for (int64_t j = 0; j < CHUNK; j++) {
        float e = j < visible ? exp_f32(z[j] - *m) : 0;
        p[j] = round ? f32_of_bf16(bf16_of_f32(e)) : e;
        lane[j % 16] = lane[j % 16] + p[j];
    }
    return tree_end(lane);
}

/* With P = softmax(s scale) by its stored lse:  ds = P (dP - D) scale, D = sum(dO O). */
void softmax_back_ref(float *p, float *ds, const float *s, const float *dp, const float *lse,
                      const float *D, float scale, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float e = exp_f32(s[i] * scale - lse[i]);
        ds[i] = (e * (dp[i] - D[i])) * scale;
        p[i] = e;
    }
}

/* Two halves with largest m and mc: both are brought to the larger, a and b are their factors. */
void rescale_ref(float *m, float *l, float *a, float *b, const float *mc, const float *lc,
                 int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float top = MAX(m[i], mc[i]);
        a[i] = exp_f32(m[i] - top);
        b[i] = exp_f32(mc[i] - top);
        l[i] = fmaf(l[i], a[i], lc[i] * b[i]);
        m[i] = top;
    }
}

void merge_ref(float *o, float a, const float *oc, float b, int64_t n) {
    for (int64_t i = 0; i < n; i++) o[i] = fmaf(o[i], a, oc[i] * b);
}
