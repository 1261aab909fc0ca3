/* pack.h -- private to kern/: sizes and places in packed memory, the two ways into a panel. */
#pragma once
#include "kern/table.h"

static inline int64_t panels_of(int64_t outputs) { return (outputs + PANEL - 1) / PANEL; }
int64_t panel_stride(Pack pack, int64_t k); /* bytes of one panel of 16 outputs */
/* Rows k0.. (a multiple of 32) of one panel of m <= 16 outputs, from n rows of m numbers, f32 or
 * bf16. */
void panel_rows(uint8_t *panel, Pack pack, const float *x, int64_t ld, int64_t m, int64_t k0,
                int64_t n);
/* Columns k0.. (a multiple of 32) of the same kind of panel, from m rows of n numbers that are its
 * outputs. */
void panel_transpose(uint8_t *panel, Pack pack, const float *x, int64_t ld, int64_t m, int64_t k0,
                     int64_t n);
A8 a8_rows(const Rows *r, int64_t row); /* the int8 rows from `row` on */
