/* pack.c -- bytes of a file -> panels of weights, rows of f32 -> rows for a product. What a number
 * becomes is written in docs/contract.md 3; where it is put, in kern/table.h. Nothing here changes
 * bits but those roundings. */
#include "kern/pack.h"

int64_t panel_stride(Layout layout, int64_t k) {
    const LayoutRow *l = &layouts[layout];
    CHECK(l->product);
    return round_up(k, l->block) / l->block * l->bytes;
}

int64_t panel_bytes(Layout layout, int64_t rows, int64_t cols) {
    return panels_of(rows) * panel_stride(layout, cols);
}

/* ---- numbers of a file ----------------------------------------------------------------------- */

static uint16_t u16_at(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* A quantised type's own function takes one block (quant.c). */
static void widen_blocks(float *out, DType type, const uint8_t *p, int64_t n) {
    const LayoutRow *l = &layouts[layout_of_type(type)];
    int64_t step = dtype_block(type), bytes = dtype_bytes(type, step);
    CHECK(l->widen);
    for (int64_t k = 0; k < n; k += step, p += bytes) l->widen(out + k, p);
}

/* Numbers k0..k0+n-1 of row r of matrix i; borders of blocks where the type has blocks. */
static void widen(float *out, const Weight *w, int64_t i, int64_t r, int64_t k0, int64_t n) {
    const uint8_t *p = (const uint8_t *)w->row + dtype_bytes(w->type, w->cols) * (i * w->rows + r)
                       + dtype_bytes(w->type, k0);
    switch (w->type) {
    case DTYPE_F32: memcpy(out, p, (size_t)n * 4); break;
    case DTYPE_F16:
        for (int64_t k = 0; k < n; k++) out[k] = f32_of_f16(u16_at(p + 2 * k));
        break;
    case DTYPE_BF16:
        for (int64_t k = 0; k < n; k++) out[k] = f32_of_bf16(u16_at(p + 2 * k));
        break;
    case DTYPE_F64:
        for (int64_t k = 0; k < n; k++) {
            double x;
            memcpy(&x, p + 8 * k, 8);
            out[k] = (float)x;
        }
        break;
    case DTYPE_F8_E4M3:
        for (int64_t k = 0; k < n; k++) out[k] = f32_of_e4m3(p[k]);
        break;
    case DTYPE_F8_E5M2:
        for (int64_t k = 0; k < n; k++) out[k] = f32_of_e5m2(p[k]);
        break;
    default: widen_blocks(out, w->type, p, n);
    }
}

/* For the embedding, vectors, and whoever wants a file's numbers as they are. */
void weight_row(float *out, const Weight *w, int64_t i, int64_t r) {
    widen(out, w, i, r, 0, w->cols);
}

/* ---- the two ways into a panel --------------------------------------------------------------- */

enum { PIECE = 256 }; /* numbers of k at a time, so that all stays in L1 */

/* Outputs past the end of a matrix: whole panels are multiplied, what comes out there is not
 * stored. */
static void zero_columns(uint32_t *panel, int64_t m, int64_t dwords) {
    for (int64_t d = 0; d < dwords && m < PANEL; d++)
        memset(panel + d * PANEL + m, 0, (size_t)(PANEL - m) * 4);
}

/* First way: the rows of x are outputs (a weight's rows). Squares are transposed. */
void panel_transpose(uint8_t *panel, Layout layout, const float *x, int64_t ld, int64_t m,
                     int64_t k0, int64_t n) {
    _Alignas(64) uint16_t h[PANEL][PIECE];
    uint32_t *out = (uint32_t *)(void *)panel;
    if (layout == LAYOUT_F32) {
        kern.transpose(out + k0 * PANEL, PANEL, (const uint32_t *)(const void *)x, ld, m, n);
        zero_columns(out + k0 * PANEL, m, n);
        return;
    }
    for (int64_t k = 0; k < n; k += PIECE) {
        int64_t wide = MIN(n - k, PIECE), dwords = round_up(wide, TILE_K) / 2;
        uint32_t *to = out + (k0 + k) / 2 * PANEL;
        for (int64_t r = 0; r < m; r++) kern.rows_bf16(h[r], x + r * ld + k, wide);
        kern.transpose(to, PANEL, (const uint32_t *)(const void *)h, PIECE / 2, m, dwords);
        zero_columns(to, m, dwords);
    }
}

/* Second way: the columns of x are outputs (a transpose, values in attention): rows go in as they
 * are. */
void panel_rows(uint8_t *panel, Layout layout, const float *x, int64_t ld, int64_t m, int64_t k0,
                int64_t n) {
    if (layout == LAYOUT_BF16) {
        kern.panel_bf16((uint16_t *)(void *)panel + k0 * PANEL, x, ld, m, n);
        return;
    }
    float *to = (float *)(void *)panel + k0 * PANEL;
    for (int64_t k = 0; k < n; k++) memcpy(to + k * PANEL, x + k * ld, (size_t)m * 4);
    zero_columns((uint32_t *)(void *)to, m, n);
}

/* ---- panels of W: 16 rows of the file -------------------------------------------------------- */

static void panel_of_rows(uint8_t *out, Layout layout, const Weight *w, int64_t i, int64_t r0) {
    _Alignas(64) float x[PANEL][PIECE];
    int64_t m = MIN(w->rows - r0, PANEL);
    for (int64_t k = 0; k < w->cols; k += PIECE) {
        int64_t n = MIN(w->cols - k, PIECE);
        for (int64_t r = 0; r < m; r++) widen(x[r], w, i, r0 + r, k, n);
        panel_transpose(out, layout, x[0], PIECE, m, k, n);
    }
}

/* The quantised panels move bytes only. Rows that are not there: scales of +0. */
static void panel_of_blocks(uint8_t *out, Layout layout, const Weight *w, int64_t i, int64_t r0) {
    const LayoutRow *l = &layouts[layout];
    int64_t blocks = w->cols / l->block, bytes = dtype_bytes(l->type, l->block);
    int64_t m = MIN(w->rows - r0, PANEL);
    const uint8_t *from = (const uint8_t *)w->row + (i * w->rows + r0) * blocks * bytes;
    memset(out, 0, (size_t)(blocks * l->bytes));
    for (int64_t r = 0; r < m; r++)
        for (int64_t b = 0; b < blocks; b++, from += bytes) l->put(out + b * l->bytes, from, r);
}

void weight_pack(Thread th, void *tile, Layout layout, const Weight *w, int64_t lo, int64_t hi) {
    bool blocks = layout_quantised(layout);
    CHECK(w->row && (!blocks || w->type == layouts[layout].type));
    int64_t panels = panels_of(w->rows), stride = panel_stride(layout, w->cols);
    Range r = thread_range(th, (hi - lo) * panels);
    for (int64_t at = lo * panels + r.lo; at < lo * panels + r.hi; at++)
        (blocks ? panel_of_blocks : panel_of_rows)((uint8_t *)tile + at * stride, layout, w,
                                                   at / panels, at % panels * PANEL);
    thread_sync(th);
}

/* ---- panels of W transposed: 16 columns of the file ------------------------------------------ */

/* At a time: columns of a whole number of blocks and of panels, and so many rows. */
enum { STRIP_COLS = QUANT_BLOCK, STRIP_ROWS = 64 };

static void strip_pack_t(uint8_t *out, Layout layout, const Weight *w, int64_t i, int64_t c0) {
    _Alignas(64) float x[STRIP_ROWS][STRIP_COLS];
    int64_t cols = MIN(w->cols - c0, STRIP_COLS), stride = panel_stride(layout, w->rows);
    for (int64_t r0 = 0; r0 < w->rows; r0 += STRIP_ROWS) {
        int64_t rows = MIN(w->rows - r0, STRIP_ROWS);
        for (int64_t r = 0; r < rows; r++) widen(x[r], w, i, r0 + r, c0, cols);
        for (int64_t c = 0; c < cols; c += PANEL)
            panel_rows(out + c / PANEL * stride, layout, x[0] + c, STRIP_COLS, MIN(cols - c, PANEL),
                       r0, rows);
    }
}

void weight_pack_t(Thread th, void *tile_t, Layout layout, const Weight *w, int64_t lo,
                   int64_t hi) {
    CHECK(w->row && (layout == LAYOUT_F32 || layout == LAYOUT_BF16));
    int64_t strips = (w->cols + STRIP_COLS - 1) / STRIP_COLS,
            stride = panel_stride(layout, w->rows);
    Range r = thread_range(th, (hi - lo) * strips);
    for (int64_t at = lo * strips + r.lo; at < lo * strips + r.hi; at++) {
        int64_t i = at / strips, c0 = at % strips * STRIP_COLS;
        strip_pack_t((uint8_t *)tile_t + (i * panels_of(w->cols) + c0 / PANEL) * stride, layout, w,
                     i, c0);
    }
    thread_sync(th);
}

/* Both ways at once, while the rows are in the cache. */
void weight_pack_rows(const Weight *w, int64_t i, int64_t row, int64_t n) {
    const int64_t stride = panel_stride(w->layout, w->cols), panels = panels_of(w->rows);
    const float *x = (const float *)w->row + (i * w->rows + row) * w->cols;
    CHECK(w->type == DTYPE_F32 && row % TILE_K == 0 && row + n <= w->rows);
    for (int64_t r = row; r < row + n; r += PANEL)
        panel_of_rows((uint8_t *)w->tile + (i * panels + r / PANEL) * stride, w->layout, w, i, r);
    if (!w->tile_t) return;
    const int64_t stride_t = panel_stride(w->layout_t, w->rows), panels_t = panels_of(w->cols);
    for (int64_t c = 0; c < w->cols; c += PANEL)
        panel_rows((uint8_t *)w->tile_t + (i * panels_t + c / PANEL) * stride_t, w->layout_t, x + c,
                   w->cols, MIN(w->cols - c, PANEL), row, n);
}

Weight weight_t(const Weight *w) {
    Weight t = *w;
    t.row = NULL;
    t.rows = w->cols, t.cols = w->rows;
    t.layout = w->layout_t, t.layout_t = w->layout;
    t.tile = w->tile_t, t.tile_t = w->tile;
    return t;
}

/* ---- rows of activations --------------------------------------------------------------------- */

int64_t rows_bytes(ActForm form, int64_t n, int64_t k) {
    CHECK(forms[form].bytes);
    return round_up(forms[form].bytes(n, k), 64);
}

void rows_gather(Thread th, Rows *r, ActForm form, const float *x, const int32_t *index, int64_t n,
                 int64_t k, int64_t ld, void *mem) {
    const FormRow *f = &forms[form];
    CHECK(f->pack && (!f->block || k % f->block == 0));
    const char *outer = phase("packing");
    *r = (Rows){form, n, k, k, mem, mem};
    Range range = thread_range(th, n);
    for (int64_t i = range.lo; i < range.hi; i++) f->pack(r, i, x + (index ? index[i] : i) * ld);
    thread_sync(th);
    phase(outer);
}

void rows_pick(Thread th, Rows *r, const void *rows, const int32_t *index, int64_t n, int64_t k,
               void *mem) {
    const size_t bytes = (size_t)round_up(k, TILE_K) * 2;
    const char *outer = phase("packing");
    *r = rows_in(FORM_BF16, n, k, mem);
    const Range range = thread_range(th, n);
    for (int64_t i = range.lo; i < range.hi; i++)
        memcpy((uint8_t *)mem + (size_t)i * bytes, (const uint8_t *)rows + (size_t)index[i] * bytes,
               bytes);
    thread_sync(th);
    phase(outer);
}

void rows_pack(Thread th, Rows *r, ActForm form, const float *x, int64_t n, int64_t k, int64_t ld,
               void *mem) {
    if (form == FORM_F32)
        *r = (Rows){FORM_F32, n, k, ld, x, NULL};
    else
        rows_gather(th, r, form, x, NULL, n, k, ld, mem);
}

void rows_panels(Thread th, void *tile, const Rows *r) {
    const int64_t dwords = round_up(r->k, TILE_K) / 2;
    const Range range = thread_range(th, panels_of(r->n));
    CHECK(r->form == FORM_BF16);
    const char *outer = phase("packing");
    for (int64_t p = range.lo; p < range.hi; p++) {
        const int64_t m = MIN(r->n - p * PANEL, PANEL);
        uint32_t *out = (uint32_t *)tile + p * PANEL * dwords;
        kern.transpose(out, PANEL, (const uint32_t *)r->p + p * PANEL * dwords, dwords, m, dwords);
        zero_columns(out, m, dwords);
    }
    thread_sync(th);
    phase(outer);
}
