/* bf16.h -- the bf16 product in TILE order on fma, for levels and CPUs that have nothing faster:
 * register blocks for blocks.h. Included once by each level, after its header (wide.h). Products of
 * bf16 are exact in f32, so fma gives the bits of VDPBF16PS.
 *
 * Nothing is widened where it is used. The rows of a slice of k are widened once, by rows_widen,
 * and then serve all panels of the tile; a block widens each dword of its panels once for all its
 * rows. Where a tile has many rows and the level asks for it (AVX2), panels are widened once for
 * the tile, too: ands and shifts do take pipes from the multipliers.
 * A block of R rows by P panels executes, for 32 of k, 32 R P fma, 32 P ands and shifts and 2 R P
 * adds: with 8 x 2 and two pipes for everything (AVX-512 on Golden Cove) 512/608 = 84 % of the fma
 * rate. */
#include "kern/wide/blocks.h"

/* Where the words of dword d of 32 k stand when they are widened, in numbers: 16 upper ones, then
 * 16 lower ones. */
#define UPPER_AT(d) (d)
#define LOWER_AT(d) (PANEL + (d))

/* n rows of k (a multiple of TILE_K) as f32. A panel of k by 16 is a row of 16 k, whose pieces of
 * 32 are the dwords of two k. */
static void rows_widen(float *out, const uint8_t *x, int64_t ldx, int64_t n, int64_t k) {
    const In all = in_first(PANEL);
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < k; i += TILE_K, out += TILE_K) {
            Vec v = vec_load(all, (const float *)(const void *)(x + r * ldx + 2 * i));
            vec_store(out, all, vec_upper(v));
            vec_store(out + PANEL, all, vec_lower(v));
        }
}

INLINE Vec vec_every(const uint8_t *x) {
    float v;
    memcpy(&v, x, 4);
    return vec_set(v);
}

/* 16 dwords of a panel. The compiler does not see that they are loaded twice: kept in between they
 * would take the registers of sums. */
INLINE Vec dwords_load(const uint8_t *w) {
    __asm__ volatile("" : "+r"(w));
    return vec_load(in_first(PANEL), (const float *)(const void *)w);
}

/* Of dword d of a panel's 32 k the upper word, or the lower one; `wide`: the panel is widened. */
INLINE Vec word_load(const uint8_t *w, int d, bool upper, bool wide) {
    if (wide)
        return vec_load(in_first(PANEL), (const float *)(const void *)(w + 128 * d + 64 * !upper));
    const Vec v = dwords_load(w + 64 * d);
    return upper ? vec_upper(v) : vec_lower(v);
}

/* One chain of 32 k from +0: dwords `odd`, odd + 2, .., the upper word of each first. */
INLINE void chain_fma(int R, int P, Vec sum[][2], const uint8_t *x, int64_t ldx, const uint8_t *w,
                      int64_t ldw, int odd, bool wide) {
    EACH (r, R)
        EACH (p, P) sum[r][p] = vec_set(0.0f);
    EACH_BY (d, odd, 16, 2) {
        Vec word[2];
        EACH (p, P) word[p] = word_load(w + p * ldw, d, true, wide);
        EACH (r, R) {
            Vec x0 = vec_every(x + r * ldx + 4 * UPPER_AT(d));
            EACH (p, P) sum[r][p] = vec_fma(x0, word[p], sum[r][p]);
        }
        EACH (p, P) word[p] = word_load(w + p * ldw, d, false, wide);
        EACH (r, R) {
            Vec x1 = vec_every(x + r * ldx + 4 * LOWER_AT(d));
            EACH (p, P) sum[r][p] = vec_fma(x1, word[p], sum[r][p]);
        }
    }
}

/* A BlockFn on widened rows. One chain after the other: together they would want twice the
 * registers. */
INLINE void block_fma(int R, int P, float *c, int64_t ldc, const uint8_t *x, int64_t ldx,
                      const uint8_t *w, int64_t ldw, int64_t k, bool first, bool wide) {
    const In all = in_first(PANEL);
    const int64_t step = TILE_K * PANEL * (wide ? 4 : 2);
    for (; k > 0; k -= TILE_K, x += TILE_K * 4, w += step, first = false) {
        Vec even[BLOCK_ROWS][2], odd[BLOCK_ROWS][2];
        if (R == 1 && !wide)
            EACH (p, P) prefetch(w + p * ldw, TILE_K * PANEL * 2);
        chain_fma(R, P, even, x, ldx, w, ldw, 0, wide);
        chain_fma(R, P, odd, x, ldx, w, ldw, 1, wide);
        EACH (r, R)
            EACH (p, P) {
                float *to = c + r * ldc + p * PANEL;
                Vec sofar = first ? vec_set(0.0f) : vec_load(all, to);
                vec_store(to, all, vec_add(sofar, vec_add(even[r][p], odd[r][p])));
            }
    }
}

#define BLOCK_FMA(R, P)                                                                            \
    static void fma_##R##x##P(float *c, int64_t ldc, const uint8_t *x, int64_t ldx,                \
                              const uint8_t *w, int64_t ldw, int64_t k, bool first) {              \
        block_fma(R, P, c, ldc, x, ldx, w, ldw, k, first, false);                                  \
    }
#define BLOCK_WIDE(R)                                                                              \
    static void wide_##R(float *c, int64_t ldc, const uint8_t *x, int64_t ldx, const uint8_t *w,   \
                         int64_t ldw, int64_t k, bool first) {                                     \
        block_fma(R, 1, c, ldc, x, ldx, w, ldw, k, first, true);                                   \
    }
