/* rows.c -- packing: rows and panels of bf16 in crossed pair order, rows of int8, transposition. */
#include "kern/avx512/avx512.h"

/* The crossed order inside 16 bytes: words 2,0,3,1 of every four. */
INLINE __m512i cross_words(__m512i v) {
    return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(_mm_setr_epi8(4, 5, 0, 1, 6, 7, 2, 3, 12,
                                                                       13, 8, 9, 14, 15, 10, 11)));
}

/* n numbers, rounded; n <= 32 at the tail. */
INLINE void put_bf16(uint16_t *out, const float *x, int64_t n) {
    Vec a = vec_load(in_first(n), x), b = vec_load(in_first(n - 16), x + 16);
    _mm512_storeu_si512(out, cross_words((__m512i)_mm512_cvtne2ps_pbh(b, a)));
}

void NAME(rows_bf16)(uint16_t *out, const float *x, int64_t k) {
    int64_t i = 0;
    for (; i + 32 <= k; i += 32) put_bf16(out + i, x + i, 32);
    if (i < k) put_bf16(out + i, x + i, k - i);
}

/* 16 outputs of one k, rounded, a word in every dword; zero for k beyond the end. */
INLINE __m512i column_bf16(const float *x, int64_t ld, int64_t i, int64_t k, In in) {
    if (i >= k) return _mm512_setzero_si512();
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(vec_load(in, x + i * ld)));
}

/* Dwords hold k and k + 2: the crossed order for four k at a time. */
void NAME(panel_bf16)(uint16_t *out, const float *x, int64_t ld, int64_t m, int64_t k) {
    In in = in_first(m);
    for (int64_t i = 0; i < round_up(k, TILE_K); i += 4)
        EACH (odd, 2) {
            __m512i high = column_bf16(x, ld, i + odd, k, in),
                    low = column_bf16(x, ld, i + odd + 2, k, in);
            _mm512_store_si512(out + (i / 2 + odd) * 32,
                               _mm512_or_si512(_mm512_slli_epi32(high, 16), low));
        }
}

/* Rows i and i + 2 give one dword to each of 32 columns: the words are taken out of their crossed
 * order and paired by one permutation for each panel. */
void NAME(pair_panels)(uint16_t *out, int64_t ldo, int64_t panels, const uint16_t *x, int64_t ldx,
                       int64_t n) {
    __m512i at[2];
    EACH (p, 2) {
        _Alignas(64) uint16_t from[32];
        for (int j = 0; j < PANEL; j++) {
            from[2 * j] = (uint16_t)pair_at(false, p * PANEL + j);
            from[2 * j + 1] = (uint16_t)(32 + from[2 * j]);
        }
        at[p] = _mm512_load_si512(from);
    }
    const __m512i zero = _mm512_setzero_si512();
    for (int64_t i = 0; i < round_up(n, TILE_K); i += 4)
        EACH (odd, 2) {
            const uint16_t *row = x + (i + odd) * ldx;
            const bool has_high = i + odd < n, has_low = i + odd + 2 < n;
            uint16_t *to = out + (i / 2 + odd) * 32;
            for (int64_t p = 0; p < panels; p += 2, row += 32, to += 2 * ldo) {
                __m512i high = has_high ? _mm512_loadu_si512(row) : zero;
                __m512i low = has_low ? _mm512_loadu_si512(row + 2 * ldx) : zero;
                _mm512_store_si512(to, _mm512_permutex2var_epi16(low, at[0], high));
                if (p + 1 < panels)
                    _mm512_store_si512(to + ldo, _mm512_permutex2var_epi16(low, at[1], high));
            }
        }
}

/* Transposes a 16 x 16 square of dwords: neighbours are interleaved as dwords, then as pairs of
 * them, then blocks of 128 bits change places twice. */
INLINE void transpose16(__m512i r[16]) {
    __m512i t[16];
    EACH_BY (i, 0, 16, 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    EACH_BY (i, 0, 16, 4)
        EACH (j, 2) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    EACH_BY (i, 0, 16, 8)
        EACH (j, 4) {
            t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
        }
    EACH (j, 8) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
    }
}

static void transpose_square(uint32_t *y, int64_t ldy, const uint32_t *x, int64_t ldx, int64_t rows,
                             int64_t cols) {
    __m512i r[16];
    EACH (i, 16)
        r[i] =
            _mm512_maskz_loadu_epi32(i < rows ? in_first(cols) : 0, x + (i < rows ? i : 0) * ldx);
    transpose16(r);
    EACH (j, 16)
        if (j < cols) _mm512_mask_storeu_epi32(y + j * ldy, in_first(rows), r[j]);
}

void NAME(transpose)(uint32_t *y, int64_t ldy, const uint32_t *x, int64_t ldx, int64_t rows,
                     int64_t cols) {
    for (int64_t i = 0; i < rows; i += 16)
        for (int64_t j = 0; j < cols; j += 16)
            transpose_square(y + j * ldy + i, ldy, x + i * ldx + j, ldx, rows - i, cols - j);
}

/* Column c of K for 32 keys (two panels, kp * 32 bytes apart) as 16 pairs of keys in the crossed
 * order. */
INLINE __m512i keys_of_column(const uint16_t *k, int64_t kp, int64_t c) {
    const uint16_t *dword = k + pair_at(false, c) / 2 * 32;
    __m512i a = _mm512_load_si512(dword), b = _mm512_load_si512(dword + kp * PANEL);
    if (pair_at(false, c) & 1) {
        a = _mm512_srli_epi32(a, 16);
        b = _mm512_srli_epi32(b, 16);
    }
    __m512i words = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(a)),
                                       _mm512_cvtepi32_epi16(b), 1);
    return cross_words(words);
}

/* 16 columns of K for 32 keys are one square to be transposed, twice a chunk. */
void NAME(v_of_k)(uint16_t *v, const uint16_t *k, int64_t dk, int64_t dv) {
    int64_t kp = round_up(dk, TILE_K);
    for (int64_t j = 0; j < dv; j += PANEL, v += PANEL * CHUNK)
        for (int64_t half = 0; half < 2; half++) {
            __m512i r[16];
            EACH (c, PANEL)
                r[c] = j + c < dv ? keys_of_column(k + half * 2 * PANEL * kp, kp, j + c)
                                  : _mm512_setzero_si512();
            transpose16(r);
            EACH (pair, 16) _mm512_store_si512(v + (half * 16 + pair) * 32, r[pair]);
        }
}

/*  int8 rows: 16 blocks at a time, so that the divisions are one instruction --------------- */

/* The largest |x| of a block as bits: an infinity or NaN is the largest. */
INLINE uint32_t largest_bits(const float *x) {
    const __m512i abs = _mm512_set1_epi32(0x7fffffff);
    __m512i a = _mm512_and_si512(_mm512_loadu_si512(x), abs),
            b = _mm512_and_si512(_mm512_loadu_si512(x + 16), abs);
    return _mm512_reduce_max_epu32(_mm512_max_epu32(a, b));
}

/* q = rint(x inv). |x inv| <= 127 (1 + 2^-23), so no clamping is needed. Returns the sum. */
INLINE int32_t quantise(int8_t *q, const float *x, float inv) {
    const __m512 by = _mm512_set1_ps(inv);
    __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), by));
    __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), by));
    _mm_storeu_si128((void *)q, _mm512_cvtepi32_epi8(a));
    _mm_storeu_si128((void *)(q + 16), _mm512_cvtepi32_epi8(b));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
}

/* Blocks 0..n-1, n <= 16. */
static void blocks_a8(int8_t *q, float *d, float *s, int32_t *sum, const float *x, int64_t n) {
    _Alignas(64) uint32_t top[16];
    _Alignas(64) float inv[16];
    In in = in_first(n);
    for (int64_t b = 0; b < n; b++) top[b] = largest_bits(x + 32 * b);
    __m512i bits = _mm512_maskz_load_epi32(in, top);
    __m512 amax = _mm512_castsi512_ps(bits), c127 = _mm512_set1_ps(127.0f);
    __mmask16 bad = _mm512_cmpge_epu32_mask(bits, _mm512_set1_epi32(0x7f800000));
    __mmask16 fine = _mm512_cmp_ps_mask(amax, _mm512_set1_ps(0x1p-100f), _CMP_GE_OQ) & ~bad;
    __m512 scale = _mm512_maskz_div_ps(fine, amax, c127);
    _mm512_store_ps(inv, _mm512_maskz_div_ps(fine, c127, amax));
    for (int64_t b = 0; b < n; b++) {
        if (fine >> b & 1) {
            sum[b] = quantise(q + 32 * b, x + 32 * b, inv[b]);
        } else {
            sum[b] = 0;
            memset(q + 32 * b, 0, 32);
        }
    }
    scale = _mm512_mask_mov_ps(scale, bad, _mm512_set1_ps(__builtin_nanf("")));
    vec_store(d, in, scale);
    vec_store(s, in, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(in, sum))));
}

void NAME(rows_a8)(int8_t *q, float *d, float *s, int32_t *sum, const float *x, int64_t k) {
    for (int64_t b = 0; b < k / 32; b += 16)
        blocks_a8(q + 32 * b, d + b, s + b, sum + b, x + 32 * b, MIN(k / 32 - b, 16));
}

/* ---- the tree in f64 ------------------------------------------------------------------------- */

/* 8 lanes take 8 numbers; those that are out keep what they had. */
INLINE __m512d lanes_add(__m512d lane, __m256 x, __mmask8 in, bool square) {
    const __m512d v = _mm512_cvtps_pd(x);
    return _mm512_mask_add_pd(lane, in, lane, square ? _mm512_mul_pd(v, v) : v);
}

double NAME(tree_f64)(const float *x, int64_t n, bool square) {
    __m512d a = _mm512_setzero_pd(), b = a;
    for (int64_t i = 0; i < n; i += 16) {
        const In in = in_first(n - i);
        const Vec v = vec_load(in, x + i);
        a = lanes_add(a, _mm512_castps512_ps256(v), (__mmask8)in, square);
        b = lanes_add(b, _mm512_extractf32x8_ps(v, 1), (__mmask8)(in >> 8), square);
    }
    a = _mm512_add_pd(a, b);
    const __m256d c = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    const __m128d d = _mm_add_pd(_mm256_castpd256_pd128(c), _mm256_extractf128_pd(c, 1));
    return _mm_cvtsd_f64(_mm_add_sd(d, _mm_unpackhi_pd(d, d)));
}
