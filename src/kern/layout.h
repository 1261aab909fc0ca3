/* layout.h -- private to kern/: what a weight layout is and what an activation form is, a row of a
 * table each (layout.c). The drivers know no layout by name but the two of float numbers; a new
 * quantised type is a row of dtype.c and one of quant.h, from which its row here is made. */
#pragma once
#include "kern/table.h"

/* Rows row..row+n-1 of x times m outputs of the panels at w: one kernel call. */
typedef void ProductFn(float *y, int64_t ldy, const Rows *x, int64_t row, int64_t n, const void *w,
                       int64_t m, StoreMode mode);

/* A panel is 16 outputs by k; it is a row of panel blocks, `block` numbers of k in `bytes` each. */
typedef struct LayoutRow {
    const char *name;
    ActForm form;         /* the rows that the product takes */
    int64_t block, bytes; /* float layouts pad k with zeros to whole blocks */
    ProductFn *product;
    /* Quantised layouts only: the file type whose blocks they keep, and what a block is; a block as
     * f32 numbers, and as row r of a block of a panel. */
    DType type;
    const Quant *quant;
    void (*widen)(float *out, const uint8_t *block);
    void (*put)(uint8_t *panel, const uint8_t *block, int64_t r);
} LayoutRow;
extern const LayoutRow layouts[LAYOUT_N];
static inline bool layout_quantised(Layout l) { return layouts[l].quant != NULL; }
Layout layout_of_type(DType t); /* the quantised layout that is made of this type, or LAYOUT_NONE */

/* How n rows of k numbers are held in one piece of memory. */
typedef struct FormRow {
    const char *name;
    int64_t block, sub; /* int8: numbers of k that share a scale, that share a sum; else 0 */
    int64_t (*bytes)(int64_t n, int64_t k);
    void (*pack)(const Rows *r, int64_t i, const float *x); /* row i from k numbers */
} FormRow;
extern const FormRow forms[FORM_N];

/* Numbers j0.. (a multiple of 32) of row i of rows_in: m of them, up to the row's end or a multiple
 * of 32. */
enum { ROW_PIECE = 256 };
void row_piece_put(const Rows *r, int64_t i, int64_t j0, const float *x, int64_t m);
