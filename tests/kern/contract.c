/* contract.c -- docs/contract.md written a second time: the table of kernels once more, one number
 * after the other with fmaf, by no code of kern/ref. walk_ref holds ref against it, and the other
 * levels are held against ref. The quantised products are missing: each type writes its block a
 * second time in cases.c, and order.c holds ref and all others against that. */
#include "cases.h"
#include <math.h>

/* ---- formats --------------------------------------------------------------------------------- */

/* Crossed order: of every four words k0 k1 k2 k3, stored k2 k0 k3 k1. */
static int64_t word_of(int64_t k) { return k / 4 * 4 + (int64_t[]){1, 3, 0, 2}[k % 4]; }

/* Column j's word of k in a panel of 16 columns whose dwords hold two words each. */
static int64_t panel_word(int64_t j, int64_t k) {
    return (word_of(k) / 2 * 16 + j % 16) * 2 + word_of(k) % 2;
}

static float value_of(uint16_t word) { return f32_of_bits((uint32_t)word << 16); }
static uint16_t word_of_value(float x) { return (uint16_t)(bits_of_f32(round_bf16(x)) >> 16); }

static void rows_bf16_contract(uint16_t *out, const float *x, int64_t k) {
    for (int64_t i = 0; i < (k + 31) / 32 * 32; i++)
        out[word_of(i)] = i < k ? word_of_value(x[i]) : 0;
}

static void panel_bf16_contract(uint16_t *out, const float *x, int64_t ld, int64_t m, int64_t k) {
    for (int64_t j = 0; j < 16; j++)
        for (int64_t i = 0; i < (k + 31) / 32 * 32; i++)
            out[panel_word(j, i)] = i < k && j < m ? word_of_value(x[i * ld + j]) : 0;
}

static void pair_panels_contract(uint16_t *out, int64_t ldo, int64_t panels, const uint16_t *x,
                                 int64_t ldx, int64_t n) {
    for (int64_t j = 0; j < 16 * panels; j++)
        for (int64_t i = 0; i < (n + 31) / 32 * 32; i++)
            out[j / 16 * ldo + panel_word(j, i)] = i < n ? x[i * ldx + word_of(j)] : 0;
}

static void transpose_contract(uint32_t *y, int64_t ldy, const uint32_t *x, int64_t ldx,
                               int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) y[j * ldy + i] = x[i * ldx + j];
}

/* Number j of the 64 keys is output j of the panels of V. */
static void v_of_k_contract(uint16_t *v, const uint16_t *k, int64_t dk, int64_t dv) {
    int64_t kp = (dk + 31) / 32 * 32;
    for (int64_t j = 0; j < (dv + 15) / 16 * 16; j++)
        for (int64_t key = 0; key < 64; key++)
            v[j / 16 * 16 * 64 + panel_word(j, key)] =
                j < dv ? k[key / 16 * 16 * kp + panel_word(key, j)] : 0;
}

/* Section 3, "a8 rows": a block of n numbers, and a sum for each `sub`. */
static void block_a8(int8_t *q, float *d, int32_t *sum, const float *in, int64_t n, int64_t sub) {
    float amax = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        amax = fmaxf(amax, fabsf(in[i]));
        finite = finite && isfinite(in[i]);
    }
    bool zero = !finite || amax < 0x1p-100f;
    for (int64_t i = 0; i < n; i++) {
        float scaled = zero ? 0 : rintf(in[i] * (127.0f / amax));
        q[i] = (int8_t)fmaxf(-127, fminf(127, scaled));
        if (i % sub == 0) sum[i / sub] = 0;
        sum[i / sub] += q[i];
    }
    *d = !finite ? NAN : zero ? 0 : amax / 127.0f;
}

static void rows_a8_contract(int8_t *q, float *d, float *s, int32_t *sum, const float *x,
                             int64_t k) {
    for (int64_t b = 0; b < k / 32; b++) {
        block_a8(q + 32 * b, d + b, sum + b, x + 32 * b, 32, 32);
        s[b] = d[b] * (float)sum[b];
    }
}

/* int16 numbers: the sums of each 16, then of each 32, then nothing. */
static void rows_a8_256_contract(int8_t *q, float *d, int32_t *sum, const float *x, int64_t k) {
    for (int64_t b = 0; b < k / 256; b++) {
        int32_t of16[16], of32[8];
        int16_t out[32] = {0};
        block_a8(q + 256 * b, d + b, of16, x + 256 * b, 256, 16);
        block_a8(q + 256 * b, d + b, of32, x + 256 * b, 256, 32);
        for (int i = 0; i < 16; i++) out[i] = (int16_t)of16[i];
        for (int i = 0; i < 8; i++) out[16 + i] = (int16_t)of32[i];
        memcpy(sum + 16 * b, out, sizeof out);
    }
}

/* ---- sums (section 2) ------------------------------------------------------------------------ */

static float tree_end(const float lane[16]) {
    float a[8], b[4];
    for (int i = 0; i < 8; i++) a[i] = lane[i] + lane[i + 8];
    for (int i = 0; i < 4; i++) b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

static float tree_of_products(const float *a, const float *b, int64_t n) {
    float lane[16] = {0};
    for (int64_t l = 0; l < 16; l++)
        for (int64_t i = l; i < n; i += 16) lane[l] = fmaf(a[i], b[i], lane[l]);
    return tree_end(lane);
}

static float tree_of_terms(const float *a, int64_t n) {
    float lane[16] = {0};
    for (int64_t l = 0; l < 16; l++)
        for (int64_t i = l; i < n; i += 16) lane[l] = lane[l] + a[i];
    return tree_end(lane);
}

/* One part of a product's sum, from `start`: the f32 chain. */
typedef struct Operands {
    const float *x, *w; /* (k) */
} Operands;

static float part_f32(float start, Operands a, int64_t k) {
    for (int64_t i = 0; i < k; i++) start = fmaf(a.x[i], a.w[i], start);
    return start;
}

/* TILE order; k is a multiple of 32. */
static float part_tile(float start, Operands a, int64_t k) {
    for (int64_t b = 0; b < k; b += 32) {
        float even = 0, odd = 0;
        for (int64_t i = b; i < b + 32; i += 2) even = fmaf(a.x[i], a.w[i], even);
        for (int64_t i = b + 1; i < b + 32; i += 2) odd = fmaf(a.x[i], a.w[i], odd);
        start = start + (even + odd);
    }
    return start;
}

/* The whole of one output, cut at 2,048, and its way into y. */
static float output(float y, float (*part)(float, Operands, int64_t), Operands a, int64_t k,
                    StoreMode mode) {
    float total = part(mode == STORE_CONTINUE ? y : 0, a, MIN(k, 2048));
    for (int64_t i = 2048; i < k; i += 2048)
        total = total + part(0, (Operands){a.x + i, a.w + i}, MIN(k - i, 2048));
    return mode == STORE_ADD ? y + total : total;
}

static void gemm_f32_contract(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n,
                              const float *w, int64_t m, int64_t k, StoreMode mode) {
    float column[8192];
    for (int64_t j = 0; j < m; j++) {
        for (int64_t i = 0; i < k; i++) column[i] = w[(j / 16 * k + i) * 16 + j % 16];
        for (int64_t i = 0; i < n; i++) {
            float *out = y + i * ldy + j;
            *out = output(*out, part_f32, (Operands){x + i * ldx, column}, k, mode);
        }
    }
}

static void gemm_bf16_contract(float *y, int64_t ldy, const uint16_t *x, int64_t n,
                               const uint16_t *w, int64_t m, int64_t k, StoreMode mode) {
    int64_t kp = (k + 31) / 32 * 32;
    float column[8192], row[8192];
    for (int64_t j = 0; j < m; j++) {
        for (int64_t i = 0; i < kp; i++)
            column[i] = value_of(w[j / 16 * 16 * kp + panel_word(j, i)]);
        for (int64_t i = 0; i < n; i++) {
            float *out = y + i * ldy + j;
            for (int64_t at = 0; at < kp; at++) row[at] = value_of(x[i * kp + word_of(at)]);
            *out = output(*out, part_tile, (Operands){row, column}, kp, mode);
        }
    }
}

/* ---- rows (sections 4 to 7) ------------------------------------------------------------------ */

/* Section 4; 2^n by an exact product in f64. */
static float exp_of(float x) {
    static const float c[] = {EXP_C6, EXP_C5, EXP_C4, EXP_C3, EXP_C2, 1, 1};
    if (isnan(x)) return x;
    if (x < -87.0f) return 0;
    if (x > 88.37f) return INFINITY;
    float n = rintf(x * EXP_LOG2E), r = fmaf(n, -EXP_LN2_HI, x), p = c[0];
    r = fmaf(n, -EXP_LN2_LO, r);
    for (int i = 1; i < COUNT(c); i++) p = fmaf(p, r, c[i]);
    return (float)ldexp((double)p, (int)n);
}

static float dot_contract(const float *x, const float *y, int64_t n) {
    return tree_of_products(x, y, n);
}

static float max_contract(const float *x, int64_t n) {
    float m = x[0];
    for (int64_t i = 1; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}

static float sum_exp_contract(const float *x, float m, int64_t n) {
    float e[2048];
    for (int64_t i = 0; i < n; i++) e[i] = exp_of(x[i] - m);
    return tree_of_terms(e, n);
}

static double tree_f64_contract(const float *x, int64_t n, bool square) {
    double lane[16] = {0};
    for (int l = 0; l < 16; l++)
        for (int64_t i = l; i < n; i += 16)
            lane[l] = lane[l] + (square ? (double)x[i] * (double)x[i] : (double)x[i]);
    for (int w = 8; w > 0; w /= 2)
        for (int l = 0; l < w; l++) lane[l] = lane[l] + lane[l + w];
    return lane[0];
}

static void add_contract(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = y[i] + x[i];
}

static void columns_sum_contract(float *dw, const float *dy, int64_t lddy, const float *x,
                                 int64_t ldx, const float *r, int64_t n, int64_t m) {
    float sum[2048] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            const float d = dy[i * lddy + j];
            sum[j] = sum[j] + (x ? d * (x[i * ldx + j] * r[i]) : d);
        }
    for (int64_t j = 0; j < m; j++) dw[j] = dw[j] + sum[j];
}

static void combine_contract(float *y, const float *to, const float *base, const float *const *row,
                             const float *weight, int64_t K, int64_t n) {
    float s[2048] = {0};
    if (base && n) memcpy(s, base, (size_t)n * 4);
    for (int64_t k = 0; k < K; k++)
        for (int64_t i = 0; i < n; i++) s[i] = fmaf(weight[k], row[k][i], s[i]);
    for (int64_t i = 0; i < n; i++) y[i] = to ? to[i] + s[i] : s[i];
}

static void scale_contract(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i];
}

static void sigmoid_contract(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 1 / (1 + exp_of(-x[i]));
}

static void round_contract(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = round_bf16(x[i]);
}

static void div_contract(float *y, float d, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = y[i] / d;
}

static float rmsnorm_contract(float *y, const float *x, const float *w, int64_t C, float eps) {
    float mean = tree_of_products(x, x, C) / (float)C, r = 1.0f / sqrtf(mean + eps);
    for (int64_t i = 0; i < C; i++) {
        y[i] = x[i] * r;
        if (w) y[i] = y[i] * w[i];
    }
    return r;
}

static void rmsnorm_back_contract(float *dx, const float *dy, const float *x, const float *w,
                                  float r, int64_t C, StoreMode mode) {
    float t[2048] = {0}, cube = (r * r) * r;
    for (int64_t i = 0; i < C; i++) t[i] = w ? dy[i] * w[i] : dy[i];
    float c = (cube * tree_of_products(t, x, C)) / (float)C;
    for (int64_t i = 0; i < C; i++) {
        float d = fmaf(-x[i], c, r * t[i]);
        dx[i] = mode == STORE_ADD ? dx[i] + d : d;
    }
}

static void rope_contract(float *x, int64_t half, bool pairs, bool back, const float *cos,
                          const float *sin) {
    for (int64_t j = 0; j < half; j++) {
        int64_t a = pairs ? 2 * j : j, b = pairs ? 2 * j + 1 : j + half;
        float x0 = x[a], x1 = x[b], c = cos[j], s = back ? -sin[j] : sin[j];
        x[a] = fmaf(x0, c, -(x1 * s));
        x[b] = fmaf(x0, s, x1 * c);
    }
}

static void silu_mul_contract(float *h, const float *g, const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float silu = g[i] / (1 + exp_of(-g[i]));
        h[i] = silu * u[i];
    }
}

static void silu_mul_back_contract(float *dg, float *du, const float *dh, const float *g,
                                   const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float in = dh[i], e = exp_of(-g[i]), s = 1 / (1 + e), f = g[i] / (1 + e);
        du[i] = in * f;
        dg[i] = (in * u[i]) * fmaf(f, 1 - s, s);
    }
}

static float chunk_softmax_contract(float *p, float *m, const float *s, int64_t visible,
                                    float scale, bool round) {
    float z[64] = {0};
    for (int64_t j = 0; j < visible; j++) z[j] = s[j] * scale;
    *m = max_contract(z, visible);
    for (int64_t j = 0; j < 64; j++) {
        p[j] = j < visible ? exp_of(z[j] - *m) : 0;
        if (round) p[j] = round_bf16(p[j]);
    }
    return tree_of_terms(p, 64);
}

static void softmax_back_contract(float *p, float *ds, const float *s, const float *dp,
                                  const float *lse, const float *D, float scale, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float e = exp_of(s[i] * scale - lse[i]), d = dp[i] - D[i];
        p[i] = e;
        ds[i] = (e * d) * scale;
    }
}

static void rescale_contract(float *m, float *l, float *a, float *b, const float *mc,
                             const float *lc, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float top = m[i] > mc[i] ? m[i] : mc[i];
        a[i] = exp_of(m[i] - top);
        b[i] = exp_of(mc[i] - top);
        l[i] = fmaf(l[i], a[i], lc[i] * b[i]);
        m[i] = top;
    }
}

static void merge_contract(float *o, float a, const float *oc, float b, int64_t n) {
    for (int64_t i = 0; i < n; i++) o[i] = fmaf(o[i], a, oc[i] * b);
}

static void cross_entropy_back_contract(float *dz, const float *z, float lse, float scale,
                                        int64_t n) {
    for (int64_t i = 0; i < n; i++) dz[i] = exp_of(z[i] - lse) * scale;
}

static void adamw_contract(float *w, const float *g, float *m, float *v, int64_t n,
                           const AdamW *p) {
    float decay = p->lr * p->wd;
    for (int64_t i = 0; i < n; i++) {
        float own = g[i] * p->scale;
        m[i] = fmaf(p->b1, m[i], (1 - p->b1) * own);
        v[i] = fmaf(p->b2, v[i], ((1 - p->b2) * own) * own);
        float step = (m[i] / p->c1) / (sqrtf(v[i] / p->c2) + p->eps);
        w[i] = fmaf(-p->lr, step, w[i] * (1 - decay));
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

/* A kernel without its function above does not compile. */
#define Q(name, NAME, n_block, n_bytes)                                                            \
    static gemm_##name##_fn *const gemm_##name##_contract = NULL;
QUANT_LIST(Q)
#undef Q

void kern_fill_contract(Kern *k) {
#define X(field, ret, params) k->field = field##_contract;
    KERN_LIST(X)
#undef X
    k->pairs_in_order = false;
}
