/* fill.c -- the AMX level: the bf16 product on the tile instructions, and their self-test. */
#include "kern/amx/gemm.h"
#include "kern/amx/quant.h"

/* All that is not on tiles stays as the AVX-512 level filled it in. */
void kern_fill_amx(Kern *k) {
    fill_tiles(k);
    fill_tiles_int8(k);
}

/* Words around 1, around the smallest normal, powers of two (ties, cancellation), and any bits
 * but NaN's. */
static uint16_t test_word(uint32_t w, uint32_t kind) {
    uint16_t x = (uint16_t)w;
    if (kind == 0) return (x & 0x7f80) == 0x7f80 ? (uint16_t)(x & 0xbfff) : x;
    if (kind == 1) return (uint16_t)((x & 0x83ff) | 0x3c00);
    if (kind == 2) return (uint16_t)((x & 0x803f) | (x & 0x4000 ? 0x3f80 : 0));
    return (uint16_t)((x & 0x8780) | 0x3800);
}

/* TDPBF16PS against the model of tile.h, on this very CPU: random tiles, chained twice. */
bool kern_test_amx(void) {
    enum { CASES = 64, WORDS = TILE_LINES * 32 };
    const unsigned mode = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* nearest, FTZ, DAZ, no traps */
    Tiles soft = {.rows = {16, 16, 16, 16, 16, 16, 16, 16}, .across = TILE_BYTES};
    _Alignas(64) uint16_t a[WORDS], b[WORDS];
    _Alignas(64) float c[TILE_LINES * PANEL], hard[TILE_LINES * PANEL], model[TILE_LINES * PANEL];
    tile_config(NULL, (const uint8_t[TILE_N]){16, 16, 16, 16, 16, 16, 16, 16}, TILE_BYTES);
    bool ok = true;
    for (uint64_t i = 0; i < CASES && ok; i++) {
        for (uint32_t j = 0; j < WORDS; j++) {
            Philox r = philox(0xa3c0bf16, i, j);
            a[j] = test_word(r.w[0], (uint32_t)(i & 3));
            b[j] = test_word(r.w[1], (uint32_t)(i >> 2 & 3));
            if (j < COUNT(c)) c[j] = f32_of_bf16(test_word(r.w[2], (uint32_t)(i & 3)));
        }
        soft_load(&soft, 0, c, TILE_BYTES);
        soft_load(&soft, 4, a, TILE_BYTES);
        soft_load(&soft, 6, b, TILE_BYTES);
        tile_load(&soft, 0, c, TILE_BYTES);
        tile_load(&soft, 4, a, TILE_BYTES);
        tile_load(&soft, 6, b, TILE_BYTES);
        for (int twice = 0; twice < 2; twice++) {
            soft_dp(&soft, 0, 4, 6);
            tile_dp(&soft, 0, 4, 6);
        }
        soft_store(&soft, 0, model, TILE_BYTES);
        tile_store(&soft, 0, hard, TILE_BYTES);
        for (int64_t j = 0; j < COUNT(c); j++)
            ok &= bits_of_f32(hard[j]) == bits_of_f32(model[j])
                  || (hard[j] != hard[j] && model[j] != model[j]);
    }
    tile_release(&soft);
    tiles_form = 0;
    _mm_setcsr(mode);
    return ok;
}
