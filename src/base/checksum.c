/* checksum.c -- 64 bits for noticing that bytes have changed. Products of 64 by 64 bits fold 16
 * bytes at a time in three chains, as in wyhash (Wang Yi, 2019). The result is the same on every
 * little-endian CPU. */
#include "base/base.h"

__extension__ typedef unsigned __int128 Product;

/* The first digits of pi, so that no byte of a file is likely to meet one. */
static const uint64_t PI[6] = {0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0,
                               0x082efa98ec4e6c89, 0x452821e638d01377, 0xbe5466cf34e90c6c};

static inline uint64_t load(const uint8_t *p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

static inline uint64_t fold(uint64_t a, uint64_t b) {
    Product p = (Product)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static inline void block(uint64_t h[3], const uint8_t *p) {
    h[0] = fold(load(p) ^ PI[0], load(p + 8) ^ h[0]);
    h[1] = fold(load(p + 16) ^ PI[1], load(p + 24) ^ h[1]);
    h[2] = fold(load(p + 32) ^ PI[2], load(p + 40) ^ h[2]);
}

uint64_t checksum(const void *data, int64_t n, uint64_t seed) {
    const uint8_t *p = data;
    uint64_t h[3] = {seed ^ PI[3], seed ^ PI[4], seed ^ PI[5]};
    int64_t left = n;
    for (; left >= 48; left -= 48, p += 48) block(h, p);
    uint8_t rest[48] = {0}; /* the length tells zeros that are there from those that are not */
    if (left) memcpy(rest, p, (size_t)left);
    block(h, rest);
    uint64_t sum = fold(h[0] ^ PI[3], h[1] ^ PI[4]);
    return fold(sum ^ h[2], (uint64_t)n ^ PI[5]);
}
