/* quant_k.c -- the products with panels of K types. VPDPBUSD sums 4 products of unsigned by signed
 * bytes exactly in every 32-bit lane; half a chunk is 4 of them, which are then multiplied by their
 * sub-scale; where the halves share it, all 8. Values of 8 bits are held 128 too large: 128 times
 * the sum of the row's numbers goes off before. */
#include "kern/avx512/bytes.h"
#include "kern/wide/unpack.h"

typedef struct Chunk {
    Bytes q[8];
    Ints scale[2]; /* of each half */
} Chunk;

INLINE void chunk_scales(Chunk *u, const uint8_t *p, const uint8_t *q, int mask) {
    const __m128i all = _mm_set1_epi8((char)mask);
    u->scale[0] = _mm512_cvtepi8_epi32(_mm_and_si128(_mm_load_si128((const void *)p), all));
    u->scale[1] = _mm512_cvtepi8_epi32(_mm_and_si128(_mm_load_si128((const void *)q), all));
}

INLINE void chunk_ready(const Quant *t, Chunk *u) { (void)t, (void)u; }

INLINE void chunk_add(int R, const Quant *t, int32_t to[][PANEL], const Chunk *u, const int8_t *q,
                      int64_t step) {
    const bool table = unpacked_bits(t) == 8;
    const int span = t->sub == 32 ? 8 : 4; /* dwords that share a sub-scale */
    EACH (r, R)
        EACH_BY (g0, 0, 8, span) {
            __m512i s = _mm512_setzero_si512(), over = s;
            EACH_BY (g, g0, g0 + span, 1) {
                int32_t four;
                memcpy(&four, q + r * step + 4 * g, 4);
                __m512i x = _mm512_set1_epi32(four);
                s = dot_bytes(s, u->q[g], x);
                if (table) over = dot_bytes(over, _mm512_set1_epi8((char)0x80), x);
            }
            if (table) s = _mm512_sub_epi32(s, over);
            s = _mm512_mullo_epi32(s, u->scale[g0 / 4]);
            ints_store(to[r], ints_add(ints_load(to[r]), s));
        }
}

#include "kern/wide/quant_k.h"
