/* philox.c -- Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1,
 * 2, 3", 2011). No state: a draw is a pure function of key and counter, so any thread may make any
 * draw. */
#include "base/base.h"

Philox philox(uint64_t key, uint64_t position, uint32_t stream) {
    uint32_t c[4] = {(uint32_t)position, (uint32_t)(position >> 32), stream, 0};
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u; /* the golden ratio and sqrt(3) - 1, as Weyl sequences */
        k1 += 0xBB67AE85u;
    }
    return (Philox){{c[0], c[1], c[2], c[3]}};
}
