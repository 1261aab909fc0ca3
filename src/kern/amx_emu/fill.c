/* fill.c -- the level amx-emu: the sources of the AMX level on the software model of its tiles. */
#define TILE_SOFT 1
#include "kern/amx/gemm.h"
#include "kern/amx/quant.h"

void kern_fill_amx_emu(Kern *k) {
    fill_tiles(k);
    fill_tiles_int8(k);
}
