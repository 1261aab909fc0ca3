/* tile.h -- the tile instructions that the bf16 product needs, twice: as AMX has them, and
 * (TILE_SOFT) as a software model of the same with AVX-512, so that the sources above are tested on
 * every such machine.
 *
 * A tile is 16 rows of 64 bytes. tile_dp adds to c (rows x 16 f32) the product of a (rows x 16
 * pairs of bf16) and b (16 pairs x 16 columns): per output an even and an odd chain of fma from
 * +0, then c + (even + odd), as Intel's manual documents TDPBF16PS; that is TILE order
 * (docs/contract.md 2.1). Tile numbers are constants. Private to kern/amx and kern/amx_emu;
 * static functions only. */
#pragma once
#include "kern/table.h"

#include <immintrin.h>

enum { TILE_N = 8, TILE_LINES = 16, TILE_BYTES = 64 };

typedef struct Tiles {
    _Alignas(64) uint8_t line[TILE_N][TILE_LINES][TILE_BYTES];
    int rows[TILE_N];
    int across; /* bytes in a line of tiles 4 and 5 */
} Tiles;

/* The model of tile_load, tile_store and tile_dp. The self-test of the AMX level holds the
 * instructions to it (fill.c). */
static void soft_load(Tiles *t, int i, const void *p, int64_t stride) {
    const int bytes = i == 4 || i == 5 ? t->across : TILE_BYTES;
    for (int r = 0; r < t->rows[i]; r++)
        memcpy(t->line[i][r], (const uint8_t *)p + r * stride, (size_t)bytes);
}

static void soft_store(const Tiles *t, int i, void *p, int64_t stride) {
    for (int r = 0; r < t->rows[i]; r++)
        memcpy((uint8_t *)p + r * stride, t->line[i][r], TILE_BYTES);
}

/* The even chain takes the lower words, k = 2d, the odd chain the upper ones. */
static void soft_dp(Tiles *t, int c, int a, int b) {
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    for (int r = 0; r < t->rows[c]; r++) {
        __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
        for (int k = 0; k < t->rows[b]; k++) {
            uint32_t x;
            memcpy(&x, t->line[a][r] + 4 * k, 4);
            __m512i w = _mm512_load_si512(t->line[b][k]);
            even = _mm512_fmadd_ps(_mm512_set1_ps(f32_of_bits(x << 16)),
                                   _mm512_castsi512_ps(_mm512_slli_epi32(w, 16)), even);
            odd = _mm512_fmadd_ps(_mm512_set1_ps(f32_of_bits(x & 0xffff0000u)),
                                  _mm512_castsi512_ps(_mm512_and_si512(w, high)), odd);
        }
        float *out = (float *)t->line[c][r];
        _mm512_store_ps(out, _mm512_add_ps(_mm512_load_ps(out), _mm512_add_ps(even, odd)));
    }
}

/* tile_dot adds to c (rows x 16 int32) the sums of signed bytes, exactly. */
static __attribute__((unused)) void soft_dot(Tiles *t, int c, int a, int b) {
    for (int r = 0; r < t->rows[c]; r++)
        for (int j = 0; j < PANEL; j++) {
            int32_t sum;
            memcpy(&sum, t->line[c][r] + 4 * j, 4);
            for (int k = 0; k < t->across; k++)
                sum += (int8_t)t->line[a][r][k] * (int8_t)t->line[b][k / 4][4 * j + k % 4];
            memcpy(t->line[c][r] + 4 * j, &sum, 4);
        }
}

/* Whether tiles stay configured from one product to the next: the model's are on the stack. */
#ifdef TILE_SOFT
enum { TILES_STAY = false };

static void tile_config(Tiles *t, const uint8_t rows[TILE_N], int across) {
    for (int i = 0; i < TILE_N; i++) t->rows[i] = rows[i];
    t->across = across;
}
#define tile_release(t)             ((void)(t))
#define tile_zero(t, i)             memset((t)->line[i], 0, sizeof((t)->line[i]))
#define tile_load(t, i, p, stride)  soft_load(t, i, p, stride)
#define tile_store(t, i, p, stride) soft_store(t, i, p, stride)
#define tile_dp(t, c, a, b)         soft_dp(t, c, a, b)
#define tile_dot(t, c, a, b)        soft_dot(t, c, a, b)

#else
enum { TILES_STAY = true };

/* The 64 bytes that LDTILECFG reads: palette 1, then bytes a row and rows of each tile. */
typedef struct TileConfig {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileConfig;
_Static_assert(sizeof(TileConfig) == 64, "LDTILECFG reads 64 bytes");

static void tile_config(Tiles *t, const uint8_t rows[TILE_N], int across) {
    _Alignas(64) TileConfig c = {.palette = 1};
    (void)t;
    for (int i = 0; i < TILE_N; i++) c.row_bytes[i] = rows[i] ? TILE_BYTES : 0, c.rows[i] = rows[i];
    if (rows[4]) c.row_bytes[4] = (uint16_t)across;
    if (rows[5]) c.row_bytes[5] = (uint16_t)across;
    /* gcc 12's intrinsic says that it reads 8 bytes, and the others are never written. */
    __asm__ volatile("ldtilecfg %0" : : "m"(c));
}
/* gcc's tile macros are statements that say nothing of the memory they read and write: MEMORY
 * does. */
#define MEMORY __asm__ volatile("" ::: "memory")
#define tile_release(t)                                                                            \
    do {                                                                                           \
        (void)(t);                                                                                 \
        _tile_release();                                                                           \
    } while (0)
#define tile_zero(t, i)                                                                            \
    do {                                                                                           \
        (void)(t);                                                                                 \
        _tile_zero(i);                                                                             \
    } while (0)
#define tile_load(t, i, p, stride)                                                                 \
    do {                                                                                           \
        (void)(t);                                                                                 \
        MEMORY;                                                                                    \
        _tile_loadd(i, p, stride);                                                                 \
    } while (0)
#define tile_store(t, i, p, stride)                                                                \
    do {                                                                                           \
        (void)(t);                                                                                 \
        _tile_stored(i, p, stride);                                                                \
        MEMORY;                                                                                    \
    } while (0)
#define tile_dp(t, c, a, b)                                                                        \
    do {                                                                                           \
        (void)(t);                                                                                 \
        _tile_dpbf16ps(c, a, b);                                                                   \
    } while (0)
#define tile_dot(t, c, a, b)                                                                       \
    do {                                                                                           \
        (void)(t);                                                                                 \
        _tile_dpbssd(c, a, b);                                                                     \
    } while (0)

#endif

/* Tiles for bf16 blocks of `form` rows; panels have 16 pairs always. A block of at most 16 rows
 * leaves tiles 2 3 5 out. TILES_INT8: 16 rows of 32 bytes by 8 lines of a panel, in two sets.
 * LDTILECFG costs as much as a small block, so a thread's tiles stay as they are from one product
 * to the next. (The system saves 8 KB more for such a thread when it is switched.) */
enum { TILES_INT8 = -1 };
static _Thread_local int64_t tiles_form;

static void tiles_set(Tiles *t, int64_t form) {
    const uint8_t top = (uint8_t)MIN(form, TILE_LINES), low = (uint8_t)MAX(form - TILE_LINES, 0);
    if (TILES_STAY && form == tiles_form) return;
    if (form == TILES_INT8)
        tile_config(t, (const uint8_t[TILE_N]){16, 16, 0, 0, 16, 16, 8, 8}, 32);
    else
        tile_config(t, (const uint8_t[TILE_N]){top, top, low, low, top, low, 16, 16}, TILE_BYTES);
    tiles_form = form;
}
