/* unpack.h -- from a block of a quantised panel (kern/quant.h) to bytes that can be multiplied, by
 * the constants of its type. Included by each level after its own header, which brings:
 *
 *   Bytes              64 bytes, 4 of k for each of 16 outputs: bytes_load(p), bytes_and(v, mask)
 *                      and bytes_lookup(v, table, add), which is table[v] + add, of every byte,
 *                      bytes_or(v, w), bytes_right(v, n) and bytes_left(v, n) of every 16 bits
 *   Ints               an int32 for each output: ints_load, ints_store, ints_add, ints_sub;
 *                      ints_vec(v), the same numbers as a Vec
 *   Words              two int16 for each output: words_pair(p, q, up, mask), of the bytes
 *                      p[r] >> up & mask and q[r] >> up & mask, signed; words_left(v, n);
 *                      words_dot(v, pair), the sum of their products with the two int16 of `pair`
 *   vec_f16(p), vec_bf16(p)   16 f16, 16 bf16 as a Vec */
#pragma once
#include "kern/quant.h"
#include "kern/wide/wide.h"

/* What a byte of unpack_codes is too large by, and how many bits it has. Values of a table are made
 * positive, so that all types are multiplied alike. */
INLINE int unpacked_offset(const Quant *t) {
    return t->value == quant_iq4 ? 128 : t->value == quant_fp4 ? 12 : t->offset;
}
INLINE int unpacked_bits(const Quant *t) {
    return t->value == quant_iq4 ? 8 : t->value == quant_fp4 ? 5 : t->low + t->high;
}

/* Numbers 64 C + 32 h .. + 31 of the block at w, plus unpacked_offset; dword g of an output in q[g]
 * is k = 4g .. 4g+3 of them. h is a constant. */
INLINE void unpack_codes(const Quant *t, Bytes q[8], const uint8_t *w, int64_t C, int h) {
    const uint8_t *low = w + C * 128 * t->low + (t->low == 2 ? 0 : h * 64 * t->low);
    const uint8_t *high = w + quant_at_high(t) + (2 * C + h) * 64 * t->high;
    EACH (g, 8) {
        int word = t->low == 8 ? g : g % 4;
        int up = t->low == 8 ? 0 : t->low == 4 ? g / 4 * 4 : 4 * h + g / 4 * 2;
        Bytes v = bytes_and(bytes_right(bytes_load(low + 64 * word), up), (1 << t->low) - 1);
        if (t->high) {
            int at = g * t->high % 8, mask = ((1 << t->high) - 1) << t->low;
            Bytes b = bytes_load(high + g * t->high / 8 * 64);
            b = at > t->low ? bytes_right(b, at - t->low) : bytes_left(b, t->low - at);
            v = bytes_or(v, bytes_and(b, mask));
        }
        q[g] = t->value ? bytes_lookup(v, t->value, unpacked_offset(t)) : v;
    }
}
