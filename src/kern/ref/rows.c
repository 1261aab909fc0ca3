/* rows.c -- packing: rows and panels of bf16, rows of int8, transposition. The bf16 forms are in
 * crossed pair order (table.h); padding is +0. */
#include "kern/ref/ref.h"

void rows_bf16_ref(uint16_t *out, const float *x, int64_t k) {
    for (int64_t i = 0; i < round_up(k, TILE_K); i++)
        out[pair_at(false, i)] = i < k ? bf16_of_f32(x[i]) : 0;
}

void panel_bf16_ref(uint16_t *out, const float *x, int64_t ld, int64_t m, int64_t k) {
    for (int64_t i = 0; i < round_up(k, TILE_K); i++) {
        int64_t at = pair_at(false, i);
        for (int64_t j = 0; j < PANEL; j++)
            out[(at / 2 * PANEL + j) * 2 + at % 2] =
                i < k && j < m ? bf16_of_f32(x[i * ld + j]) : 0;
    }
}

void pair_panels_ref(uint16_t *out, int64_t ldo, int64_t panels, const uint16_t *x, int64_t ldx,
                     int64_t n) {
    for (int64_t i = 0; i < round_up(n, TILE_K); i++)
        for (int64_t j = 0; j < panels * PANEL; j++) {
            const int64_t at = pair_at(false, i), from = pair_at(false, j);
            out[j / PANEL * ldo + (at / 2 * PANEL + j % PANEL) * 2 + at % 2] =
                i < n ? x[i * ldx + from] : 0;
        }
}

/* Dwords, whatever they hold: floats or pairs of bf16. */
void transpose_ref(uint32_t *y, int64_t ldy, const uint32_t *x, int64_t ldx, int64_t rows,
                   int64_t cols) {
    for (int64_t j = 0; j < cols; j++)
        for (int64_t i = 0; i < rows; i++) y[j * ldy + i] = x[i * ldx + j];
}

/* Absorbed MLA has its values as the first dv numbers of each key: panels over the width become
 * panels over the keys. */
void v_of_k_ref(uint16_t *v, const uint16_t *k, int64_t dk, int64_t dv) {
    int64_t kp = round_up(dk, TILE_K);
    for (int64_t j = 0; j < round_up(dv, PANEL); j++)
        for (int64_t key = 0; key < CHUNK; key++) {
            int64_t from = pair_at(false, j), to = pair_at(false, key);
            const uint16_t *panel = k + key / PANEL * PANEL * kp;
            uint16_t x = panel[(from / 2 * PANEL + key % PANEL) * 2 + from % 2];
            v[j / PANEL * PANEL * CHUNK + (to / 2 * PANEL + j % PANEL) * 2 + to % 2] =
                j < dv ? x : 0;
        }
}

/* The largest |x| of a block as bits: magnitudes order as integers do, and an infinity or NaN is
 * the largest. */
static uint32_t largest_bits(const float *x, int64_t n) {
    uint32_t top = 0;
    for (int64_t i = 0; i < n; i++) top = MAX(top, bits_of_f32(x[i]) & 0x7fffffffu);
    return top;
}

/* A block of n numbers, a sum for every `sub` of them: q = rint(x 127 / amax). Blocks of nothing
 * are zero, one with an infinity or NaN has NaN as its scale, so that the fault shows in the
 * output. */
static void block_a8(int8_t *q, float *d, int32_t *sum, const float *x, int64_t n, int64_t sub) {
    uint32_t top = largest_bits(x, n);
    float amax = f32_of_bits(top), inv = 0;
    *d = top >= 0x7f800000u ? NAN : 0;
    memset(sum, 0, (size_t)(n / sub) * 4);
    memset(q, 0, (size_t)n);
    if (top >= 0x7f800000u || amax < 0x1p-100f) return;
    inv = 127.0f / amax;
    *d = amax / 127.0f;
    for (int64_t i = 0; i < n; i++) {
        q[i] = (int8_t)MAX(-127, MIN(127, (int)rintf(x[i] * inv)));
        sum[i / sub] += q[i];
    }
}

void rows_a8_ref(int8_t *q, float *d, float *s, int32_t *sum, const float *x, int64_t k) {
    for (int64_t b = 0; b < k / 32; b++) {
        block_a8(q + 32 * b, d + b, sum + b, x + 32 * b, 32, 32);
        s[b] = d[b] * (float)sum[b];
    }
}

void rows_a8_256_ref(int8_t *q, float *d, int32_t *sum, const float *x, int64_t k) {
    for (int64_t b = 0; b < k / 256; b++) {
        int32_t sixteen[16];
        block_a8(q + 256 * b, d + b, sixteen, x + 256 * b, 256, 16);
        a8_sums(sum + 16 * b, sixteen);
    }
}
