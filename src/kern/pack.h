/* pack.h -- private to kern/: sizes and places in packed memory, the two ways into a panel. */
#pragma once
#include "kern/layout.h"

static inline int64_t panels_of(int64_t outputs) { return (outputs + PANEL - 1) / PANEL; }
int64_t panel_stride(Layout layout, int64_t k); /* bytes of one panel of 16 outputs */
/* Rows k0.. (a multiple of 32) of one panel of m <= 16 outputs, from n rows of m numbers, f32 or
 * bf16. */
void panel_rows(uint8_t *panel, Layout layout, const float *x, int64_t ld, int64_t m, int64_t k0,
                int64_t n);
/* Columns k0.. (a multiple of 32) of the same kind of panel, from m rows of n numbers that are its
 * outputs. */
void panel_transpose(uint8_t *panel, Layout layout, const float *x, int64_t ld, int64_t m,
                     int64_t k0, int64_t n);
