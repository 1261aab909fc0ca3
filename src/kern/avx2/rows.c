/* rows.c -- packing: rows and panels of bf16 in crossed pair order, rows of int8, transposition. */
#include "kern/avx2/avx2.h"
#include "kern/ref/ref.h"

/* 8 numbers in the upper halves of dwords; the crossed order (words 2,0,3,1 of every four) is made
 * of them in place. */
void NAME(rows_bf16)(uint16_t *out, const float *x, int64_t k) {
    const __m256i cross = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(10, 11, 2, 3, 14, 15, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1));
    for (int64_t i = 0; i < round_up(k, TILE_K); i += 16) {
        Vec v = vec_load(in_first(k - i), x + i);
        __m256i a = _mm256_shuffle_epi8(half_bf16(v.a), cross),
                b = _mm256_shuffle_epi8(half_bf16(v.b), cross);
        __m256i both = _mm256_permute4x64_epi64(_mm256_unpacklo_epi64(a, b), 0xd8);
        _mm256_storeu_si256((void *)(out + i), both);
    }
}

/* Words of k and of k + 2, upper and lower, for 16 outputs of one panel. */
static void pair_put(uint16_t *out, const float *x, int64_t ld, int64_t m, int64_t i, int64_t k) {
    Vec high = vec_load(in_first(i < k ? m : 0), x + (i < k ? i : 0) * ld);
    Vec low = vec_load(in_first(i + 2 < k ? m : 0), x + (i + 2 < k ? i + 2 : 0) * ld);
    __m256i a = _mm256_or_si256(half_bf16(high.a), _mm256_srli_epi32(half_bf16(low.a), 16));
    __m256i b = _mm256_or_si256(half_bf16(high.b), _mm256_srli_epi32(half_bf16(low.b), 16));
    _mm256_store_si256((void *)out, a);
    _mm256_store_si256((void *)(out + 16), b);
}

void NAME(panel_bf16)(uint16_t *out, const float *x, int64_t ld, int64_t m, int64_t k) {
    for (int64_t i = 0; i < round_up(k, TILE_K); i += 4)
        for (int64_t odd = 0; odd < 2; odd++)
            pair_put(out + (i / 2 + odd) * 32, x, ld, m, i + odd, k);
}

/* 16 columns of rows i and i + 2, words in crossed order: a dword for each column. */
INLINE void columns_pair(uint16_t *out, const uint16_t *low, const uint16_t *high) {
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(2, 3, 6, 7, 0, 1, 4, 5, 10, 11, 14, 15, 8, 9, 12, 13));
    const __m256i zero = _mm256_setzero_si256();
    __m256i a = low ? _mm256_loadu_si256((const void *)low) : zero;
    __m256i b = high ? _mm256_loadu_si256((const void *)high) : zero;
    a = _mm256_shuffle_epi8(a, order), b = _mm256_shuffle_epi8(b, order);
    __m256i c = _mm256_unpacklo_epi16(a, b), d = _mm256_unpackhi_epi16(a, b);
    _mm256_store_si256((void *)out, _mm256_permute2x128_si256(c, d, 0x20));
    _mm256_store_si256((void *)(out + 16), _mm256_permute2x128_si256(c, d, 0x31));
}

void NAME(pair_panels)(uint16_t *out, int64_t ldo, int64_t panels, const uint16_t *x, int64_t ldx,
                       int64_t n) {
    for (int64_t i = 0; i < round_up(n, TILE_K); i += 4)
        for (int64_t odd = 0; odd < 2; odd++)
            for (int64_t p = 0; p < panels; p++) {
                const uint16_t *row = x + (i + odd) * ldx + p * PANEL;
                columns_pair(out + p * ldo + (i / 2 + odd) * 32,
                             i + odd + 2 < n ? row + 2 * ldx : NULL, i + odd < n ? row : NULL);
            }
}

/* Transposes an 8 x 8 square of dwords: neighbours are interleaved as dwords, then as pairs of
 * them, then halves of registers change places. */
INLINE void transpose8(__m256i r[8]) {
    __m256i t[8];
    EACH_BY (i, 0, 8, 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    EACH_BY (i, 0, 8, 4)
        EACH (j, 2) {
            r[i + 2 * j] = _mm256_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm256_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    EACH (j, 4) {
        t[j] = _mm256_permute2x128_si256(r[j], r[j + 4], 0x20);
        t[j + 4] = _mm256_permute2x128_si256(r[j], r[j + 4], 0x31);
    }
    EACH (j, 8) r[j] = t[j];
}

/* Edges are rare and small: they go the reference's way. */
void NAME(transpose)(uint32_t *y, int64_t ldy, const uint32_t *x, int64_t ldx, int64_t rows,
                     int64_t cols) {
    for (int64_t i = 0; i < rows; i += 8)
        for (int64_t j = 0; j < cols; j += 8) {
            uint32_t *to = y + j * ldy + i;
            const uint32_t *from = x + i * ldx + j;
            if (rows - i < 8 || cols - j < 8) {
                transpose_ref(to, ldy, from, ldx, MIN(rows - i, 8), MIN(cols - j, 8));
                continue;
            }
            __m256i r[8];
            EACH (a, 8) r[a] = _mm256_loadu_si256((const void *)(from + a * ldx));
            transpose8(r);
            EACH (a, 8) _mm256_storeu_si256((void *)(to + a * ldy), r[a]);
        }
}

/* Column c of K for the 16 keys of a panel as 8 pairs of keys in the crossed order. */
INLINE __m256i keys_of_column(const uint16_t *k, int64_t c) {
    const __m256i cross = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(4, 5, 0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11));
    const uint16_t *dword = k + pair_at(false, c) / 2 * 32;
    __m256i a = _mm256_load_si256((const void *)dword),
            b = _mm256_load_si256((const void *)(dword + 16));
    int up = pair_at(false, c) & 1 ? 0 : 16;
    a = _mm256_srli_epi32(_mm256_slli_epi32(a, up), 16);
    b = _mm256_srli_epi32(_mm256_slli_epi32(b, up), 16);
    return _mm256_shuffle_epi8(_mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8), cross);
}

/* 8 columns of K for 16 keys are one square to be transposed. */
void NAME(v_of_k)(uint16_t *v, const uint16_t *k, int64_t dk, int64_t dv) {
    int64_t kp = round_up(dk, TILE_K);
    for (int64_t j = 0; j < round_up(dv, PANEL); j += 8)
        for (int64_t p = 0; p < CHUNK / PANEL; p++) {
            uint16_t *to = v + j / PANEL * PANEL * CHUNK + p * 8 * 32 + j % PANEL * 2;
            __m256i r[8];
            EACH (c, 8)
                r[c] =
                    j + c < dv ? keys_of_column(k + p * PANEL * kp, j + c) : _mm256_setzero_si256();
            transpose8(r);
            EACH (pair, 8) _mm256_store_si256((void *)(to + pair * 32), r[pair]);
        }
}

/*  int8 rows ------------------------------------------------------------------------------- */

INLINE __m256i load_i(const float *x) { return _mm256_loadu_si256((const void *)x); }

/* The largest |x| of n numbers as bits: an infinity or NaN is the largest. */
INLINE uint32_t largest_bits(const float *x, int64_t n) {
    const __m256i abs = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_setzero_si256();
    EACH_BY (i, 0, n, 8) top = _mm256_max_epi32(top, _mm256_and_si256(load_i(x + i), abs));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* The sum of all eight, exact. */
INLINE int32_t sum_of(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* q = rint(x inv) for 32 numbers, which v holds, too. |x inv| <= 127 (1 + 2^-23), so no clamping is
 * needed. */
INLINE void quantise(int8_t *q, __m256i v[4], const float *x, float inv) {
    EACH (i, 4)
        v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), _mm256_set1_ps(inv)));
    __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((void *)q, _mm256_permutevar8x32_epi32(bytes, order));
}

/* A block of n numbers, 32 or 256, and their sum or the sums of each 16; its d. */
INLINE float block_a8(int8_t *q, int32_t *sum, const float *x, int64_t n) {
    uint32_t top = largest_bits(x, n);
    float amax = f32_of_bits(top);
    if (top >= 0x7f800000u || amax < 0x1p-100f) {
        memset(q, 0, (size_t)n);
        memset(sum, 0, n == 32 ? 4 : 64);
        return top >= 0x7f800000u ? __builtin_nanf("") : 0.0f;
    }
    EACH_BY (i, 0, n, 32) {
        __m256i v[4];
        quantise(q + i, v, x + i, 127.0f / amax);
        v[0] = _mm256_add_epi32(v[0], v[1]);
        v[1] = _mm256_add_epi32(v[2], v[3]);
        if (n == 32) {
            sum[0] = sum_of(_mm256_add_epi32(v[0], v[1]));
        } else {
            sum[i / 16] = sum_of(v[0]);
            sum[i / 16 + 1] = sum_of(v[1]);
        }
    }
    return amax / 127.0f;
}

void NAME(rows_a8)(int8_t *q, float *d, float *s, int32_t *sum, const float *x, int64_t k) {
    for (int64_t b = 0; b < k / 32; b++) {
        d[b] = block_a8(q + 32 * b, sum + b, x + 32 * b, 32);
        s[b] = d[b] * (float)sum[b];
    }
}

void NAME(rows_a8_256)(int8_t *q, float *d, int32_t *sum, const float *x, int64_t k) {
    for (int64_t b = 0; b < k / 256; b++) {
        int32_t sixteen[16];
        d[b] = block_a8(q + 256 * b, sixteen, x + 256 * b, 256);
        a8_sums(sum + 16 * b, sixteen);
    }
}

/* ---- the tree in f64 ------------------------------------------------------------------------- */

/* 16 lanes in four registers; the tail goes in one by one. */
double NAME(tree_f64)(const float *x, int64_t n, bool square) {
    double lane[16];
    __m256d sum[4];
    int64_t i = 0;
    EACH (v, 4) sum[v] = _mm256_setzero_pd();
    for (; i + 16 <= n; i += 16)
        EACH (v, 4) {
            __m256d wide = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * v));
            sum[v] = _mm256_add_pd(sum[v], square ? _mm256_mul_pd(wide, wide) : wide);
        }
    EACH (v, 4) _mm256_storeu_pd(lane + 4 * v, sum[v]);
    for (int64_t j = 0; i + j < n; j++) {
        const double v = (double)x[i + j];
        lane[j] = lane[j] + (square ? v * v : v);
    }
    for (int w = 8; w > 0; w /= 2)
        for (int j = 0; j < w; j++) lane[j] = lane[j] + lane[j + w];
    return lane[0];
}
