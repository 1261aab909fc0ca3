/* linear.c -- the drivers of products. They split outputs over threads, a thread's share into
 * blocks that fit its L2, and give each block to the kernel of the weight layout. No sum is ever
 * split, so none of this can change bits. */
#include "kern/pack.h"

/* ---- one rectangle of outputs ---------------------------------------------------------------- */

typedef struct Product {
    float *y;
    int64_t ldy;
    const Rows *x;
    Layout layout; /* of the panels */
    const uint8_t *tile;
    int64_t m; /* outputs */
    StoreMode mode;
} Product;

/* Rows r by panels p: one kernel call. */
static void block_run(const Product *t, Range r, Range p) {
    const Rows *x = t->x;
    const void *w = t->tile + p.lo * panel_stride(t->layout, x->k);
    float *y = t->y + r.lo * t->ldy + p.lo * PANEL;
    int64_t n = r.hi - r.lo, m = MIN(p.hi * PANEL, t->m) - p.lo * PANEL;
    layouts[t->layout].product(y, t->ldy, x, r.lo, n, w, m, t->mode);
}

/* A block of panels stays in L2 while the rows go by, in blocks that have room beside it. */
enum { ROWS_L2 = 160 << 10, PANELS_L2 = 320 << 10, LEAST_ROWS = 48, PANEL_STEP = 4, ROW_STEP = 8 };

static void rect_run(const Product *t, Range r, Range p) {
    int64_t row = rows_bytes(t->x->form, 64, t->x->k) / 64 + 1,
            panel = panel_stride(t->layout, t->x->k) + 1;
    int64_t n = MAX(ROWS_L2 / row / ROW_STEP * ROW_STEP, LEAST_ROWS);
    int64_t m = MAX(PANELS_L2 / panel / PANEL_STEP * PANEL_STEP, PANEL_STEP);
    if (r.lo >= r.hi || p.lo >= p.hi) return;
    if (r.hi - r.lo <= n) m = p.hi - p.lo;
    for (int64_t pi = p.lo; pi < p.hi; pi += m)
        for (int64_t ri = r.lo; ri < r.hi; ri += n)
            block_run(t, (Range){ri, MIN(ri + n, r.hi)}, (Range){pi, MIN(pi + m, p.hi)});
}

/* The largest share of n things that are dealt to the threads in units of step. */
static int64_t share(Thread th, int64_t n, int64_t step) {
    int64_t units = (n + step - 1) / step;
    return MIN((units + th.n - 1) / th.n * step, n);
}

/* The part of r that lies in start..start+n-1, counted from start. */
static Range part_of(Range r, int64_t start, int64_t n) {
    return (Range){MAX(r.lo - start, 0), MIN(r.hi - start, n)};
}

/* What a thread computes of products of the same rows: these rows of these panels, which are
 * numbered through all products. Few rows: threads share the panels, so that each weight is read
 * once. Many: the rows, which then lie in the L2 of the thread that packed them, unless panels are
 * the more even share. */
typedef struct Rect {
    Range rows, panels;
} Rect;

static Rect rect_of(Thread th, int64_t n, int64_t panels) {
    int64_t step = n >= ROW_STEP && panels >= 2 * PANEL_STEP * th.n ? PANEL_STEP : 1;
    if (n >= 2 * ROW_STEP * th.n && share(th, n, ROW_STEP) * panels <= share(th, panels, step) * n)
        return (Rect){thread_range_by(th, n, ROW_STEP), {0, panels}};
    return (Rect){{0, n}, thread_range_by(th, panels, step)};
}

static void products_run(Thread th, const Product *t, int64_t n_products) {
    int64_t panels = 0, start = 0;
    for (int64_t i = 0; i < n_products; i++) panels += panels_of(t[i].m);
    Rect own = rect_of(th, t->x->n, panels);
    for (int64_t i = 0; i < n_products; start += panels_of(t[i++].m))
        rect_run(&t[i], own.rows, part_of(own.panels, start, panels_of(t[i].m)));
}

/* ---- with weights ---------------------------------------------------------------------------- */

static Product product_of(float *y, int64_t ldy, const Weight *w, int64_t i, const Rows *x,
                          StoreMode mode) {
    CHECK(w->tile && layout_form(w->layout) == x->form && w->cols == x->k && i >= 0 && i < w->n);
    const uint8_t *tile = (const uint8_t *)w->tile + i * panel_bytes(w->layout, w->rows, w->cols);
    return (Product){y, ldy, x, w->layout, tile, w->rows, mode};
}

void linear(Thread th, float *y, int64_t ldy, const Weight *w, int64_t i, const Rows *x,
            StoreMode mode) {
    Product t = product_of(y, ldy, w, i, x, mode);
    products_run(th, &t, 1);
    thread_sync(th);
}

enum { SET_MOST = 4 };

void linear_set(Thread th, float *const *y, const int64_t *ldy, const Weight *const *w, int64_t n,
                const Rows *x) {
    Product t[SET_MOST];
    CHECK(n >= 1 && n <= SET_MOST);
    for (int64_t i = 0; i < n; i++) t[i] = product_of(y[i], ldy[i], w[i], 0, x, STORE_SET);
    products_run(th, t, n);
    thread_sync(th);
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* The time of a panel by n rows, in rows: reading the weights costs about what these many rows
 * cost. */
static int64_t panel_cost(int64_t n) { return n > 0 ? n + 8 : 0; }

/* The first panel of a group that begins at or behind `border` when the group begins at `start`. */
static int64_t panel_behind(int64_t border, int64_t start, int64_t cost, int64_t panels) {
    int64_t p = (border - start + cost - 1) / cost;
    return border <= start ? 0 : MIN(p, panels);
}

/* All panels of all groups form one sequence, each as long as its work takes; every thread gets an
 * equal part of it, lo..hi. */
typedef struct Deal {
    int64_t lo, hi, start, panels;
} Deal;

static Deal deal_of(Thread th, int64_t panels, const Group *g, int64_t n_groups) {
    int64_t total = 0;
    for (int64_t i = 0; i < n_groups; i++) total += panels * panel_cost(g[i].n);
    return (Deal){total * th.i / th.n, total * (th.i + 1) / th.n, 0, panels};
}

/* The thread's panels of the next group. */
static Range deal_next(Deal *d, const Group *g) {
    int64_t cost = panel_cost(g->n), start = d->start;
    if (cost == 0) return (Range){0, 0};
    d->start += d->panels * cost;
    return (Range){panel_behind(d->lo, start, cost, d->panels),
                   panel_behind(d->hi, start, cost, d->panels)};
}

static Range group_rows(const Group *g) { return (Range){g->row0, g->row0 + g->n}; }

/* Rows r of the outputs of panels p through bf16, while they are in the cache. */
static void rect_round(const Product *t, Range r, Range p) {
    const int64_t lo = p.lo * PANEL, m = MIN(p.hi * PANEL, t->m) - lo;
    for (int64_t i = r.lo; i < r.hi && m > 0; i++) kern.round(t->y + i * t->ldy + lo, m);
}

void linear_groups(Thread th, float *y, int64_t ldy, const Weight *w, const Rows *x, const Group *g,
                   int64_t n_groups, StoreMode mode, bool round) {
    Deal d = deal_of(th, panels_of(w->rows), g, n_groups);
    for (int64_t i = 0; i < n_groups; i++) {
        const Product t = product_of(y, ldy, w, g[i].matrix, x, mode);
        const Range rows = group_rows(&g[i]), panels = deal_next(&d, &g[i]);
        rect_run(&t, rows, panels);
        if (round) rect_round(&t, rows, panels);
    }
    thread_sync(th);
}

/* ---- gated products -------------------------------------------------------------------------- */

typedef struct Gated {
    float *h, *g, *u;
    int64_t ld;
    const Weight *gate, *up;
} Gated;

/* Both products of matrix i, and the gate, for rows r and panels p. */
static void gated_run(const Gated *t, int64_t i, const Rows *x, Range r, Range p) {
    const Product gate = product_of(t->g, t->ld, t->gate, i, x, STORE_SET);
    const Product up = product_of(t->u, t->ld, t->up, i, x, STORE_SET);
    CHECK(gate.m == up.m);
    if (p.lo >= p.hi) return;
    rect_run(&gate, r, p);
    rect_run(&up, r, p);
    int64_t lo = p.lo * PANEL, m = MIN(p.hi * PANEL, gate.m) - lo;
    for (int64_t at = r.lo * t->ld + lo; at < r.hi * t->ld; at += t->ld)
        kern.silu_mul(t->h + at, t->g + at, t->u + at, m);
}

void linear_gated(Thread th, float *h, float *g, float *u, int64_t ld, const Weight *gate,
                  const Weight *up, const Rows *x, const Group *group, int64_t n_groups) {
    const Gated t = {h, g, u, ld, gate, up};
    int64_t panels = panels_of(gate->rows);
    Rect own = rect_of(th, x->n, panels);
    Deal d = deal_of(th, panels, group, n_groups);
    if (!group) gated_run(&t, 0, x, own.rows, own.panels);
    for (int64_t i = 0; i < n_groups; i++)
        gated_run(&t, group[i].matrix, x, group_rows(&group[i]), deal_next(&d, &group[i]));
    thread_sync(th);
}

/* ---- gradients of weights -------------------------------------------------------------------- */

/* dw = dy^T x sums over rows: x becomes panels (outputs = cols), dy is transposed, so that its
 * columns are the rows of the product. Both are made in pieces of SIDE rows by SIDE columns, which
 * are dealt to the threads. */
enum { SIDE = 64 };

int64_t linear_dw_bytes(Layout layout, int64_t n, int64_t rows, int64_t cols) {
    return rows_bytes(layout_form(layout), rows, n) + panel_bytes(layout, cols, n);
}

/* m <= 16 columns of rows r0..r0+n-1: columns r0.. of m rows that are k long. */
static void columns_transpose(uint8_t *out, Layout layout, int64_t k, const float *x, int64_t ld,
                              int64_t m, int64_t r0, int64_t n) {
    _Alignas(64) uint32_t panel[SIDE / 2 * PANEL];
    if (layout == LAYOUT_F32) {
        kern.transpose((uint32_t *)(void *)out + r0, k, (const uint32_t *)(const void *)x, ld, n,
                       m);
    } else {
        int64_t dwords = round_up(k, TILE_K) / 2;
        kern.panel_bf16((uint16_t *)panel, x, ld, m, n);
        kern.transpose((uint32_t *)(void *)out + r0 / 2, dwords, panel, PANEL,
                       round_up(n, TILE_K) / 2, m);
    }
}

/* Rows r0..r0+n_r-1, of n, and columns c0..end-1 of what becomes rows of a product (transposed) or
 * its panels; x: the first of these rows. */
static void piece_pack(uint8_t *out, bool transposed, Layout layout, const float *x, int64_t ld,
                       int64_t n, int64_t r0, int64_t n_r, Range columns) {
    for (int64_t c = columns.lo; c < columns.hi; c += PANEL) {
        int64_t m = MIN(columns.hi - c, PANEL);
        uint8_t *to = out + c / PANEL * panel_stride(layout, n); /* 16 rows: as long as a panel */
        if (transposed)
            columns_transpose(to, layout, n, x + c, ld, m, r0, n_r);
        else
            panel_rows(to, layout, x + c, ld, m, r0, n_r);
    }
}

/* Columns of x (n, ld). */
static void columns_pack(Thread th, uint8_t *out, bool transposed, Layout layout, const float *x,
                         int64_t ld, int64_t n, int64_t cols) {
    int64_t across = (cols + SIDE - 1) / SIDE, down = (n + SIDE - 1) / SIDE;
    Range range = thread_range(th, down * across);
    for (int64_t at = range.lo; at < range.hi; at++) {
        int64_t r0 = at / across * SIDE, c0 = at % across * SIDE;
        piece_pack(out, transposed, layout, x + r0 * ld, ld, n, r0, MIN(n - r0, SIDE),
                   (Range){c0, MIN(c0 + SIDE, cols)});
    }
}

static void dw_run(Thread th, float *dw, StoreMode mode, const float *dy, int64_t lddy,
                   const float *x, int64_t ldx, int64_t n, int64_t rows, int64_t cols,
                   Layout layout, void *work) {
    CHECK(layout == LAYOUT_F32 || layout == LAYOUT_BF16);
    Rows r = {layout_form(layout), rows, n, n, work, work};
    uint8_t *tile = (uint8_t *)work + rows_bytes(layout_form(layout), rows, n);
    const char *outer = phase("packing");
    columns_pack(th, work, true, layout, dy, lddy, n, rows);
    columns_pack(th, tile, false, layout, x, ldx, n, cols);
    thread_sync(th);
    phase(outer);
    Product t = {dw, cols, &r, layout, tile, cols, mode};
    products_run(th, &t, 1);
    thread_sync(th);
}

void linear_dw(Thread th, float *dw, const float *dy, int64_t lddy, const float *x, int64_t ldx,
               int64_t n, int64_t rows, int64_t cols, Layout layout, void *work) {
    if (n > 0) dw_run(th, dw, STORE_ADD, dy, lddy, x, ldx, n, rows, cols, layout, work);
}

void linear_dw_piece(Thread th, float *sum, bool first, const float *dy, int64_t lddy,
                     const float *x, int64_t ldx, int64_t n, int64_t rows, int64_t cols,
                     Layout layout, void *work) {
    CHECK(n >= 1 && n <= CUT_K);
    dw_run(th, sum, first ? STORE_SET : STORE_CONTINUE, dy, lddy, x, ldx, n, rows, cols, layout,
           work);
}

/* ---- the same for experts -------------------------------------------------------------------- */

/* A thread's work memory: gathered rows of x, then x of one group as panels, then dy of one of its
 * products transposed. */
int64_t linear_dw_groups_bytes(Layout layout, int64_t most, int64_t rows, int64_t cols) {
    return round_up(SIDE * cols * (int64_t)sizeof(float), 64) + panel_bytes(layout, cols, most)
           + rows_bytes(layout_form(layout), rows, most);
}

/* All columns of a group's rows of x as panels. */
static void group_inputs(const GroupsDw *t, const Group *g, uint8_t *panels, float *gathered) {
    for (int64_t r0 = 0; r0 < g->n; r0 += SIDE) {
        int64_t n = MIN(g->n - r0, SIDE), ld = t->index ? t->cols : t->ldx;
        const float *x = t->x + (g->row0 + r0) * t->ldx;
        for (int64_t i = 0; t->index && i < n; i++)
            memcpy(gathered + i * t->cols, t->x + t->index[g->row0 + r0 + i] * t->ldx,
                   (size_t)t->cols * sizeof *gathered);
        piece_pack(panels, false, t->layout, t->index ? gathered : x, ld, g->n, r0, n,
                   (Range){0, t->cols});
    }
}

/* Rows `own` of product i of one group. */
static void group_product(const GroupsDw *t, int64_t i, const Group *g, Range own,
                          const uint8_t *panels, uint8_t *packed) {
    const Rows r = {layout_form(t->layout),        t->rows, g->n, g->n,
                    (const float *)(void *)packed, packed};
    float *dw = t->dw[i] + g->matrix * t->rows * t->cols;
    const Product p = {dw, t->cols, &r, t->layout, panels, t->cols, STORE_ADD};
    const char *outer = phase("packing");
    for (int64_t r0 = 0; r0 < g->n; r0 += SIDE)
        piece_pack(packed, true, t->layout, t->dy[i] + (g->row0 + r0) * t->rows, t->rows, g->n, r0,
                   MIN(g->n - r0, SIDE), own);
    phase(outer);
    rect_run(&p, own, (Range){0, panels_of(t->cols)});
}

/* The products of a group stand one behind the other, 16 rows of one being what a thread takes at
 * least: so a thread has whole groups but for the first and the last, and no barriers between
 * them. */
void linear_dw_groups(Thread th, const GroupsDw *t, const Group *g, int64_t n_groups, void *work) {
    int64_t panels = panels_of(t->rows);
    CHECK(t->layout == LAYOUT_F32 || t->layout == LAYOUT_BF16);
    float *gathered =
        (float *)(void *)((uint8_t *)work
                          + th.i * linear_dw_groups_bytes(t->layout, t->most, t->rows, t->cols));
    uint8_t *inputs = (uint8_t *)gathered + round_up(SIDE * t->cols * (int64_t)sizeof(float), 64);
    uint8_t *packed = inputs + panel_bytes(t->layout, t->cols, t->most);
    Deal d = deal_of(th, t->n_dw * panels, g, n_groups);
    for (int64_t i = 0; i < n_groups; i++) {
        Range own = deal_next(&d, &g[i]);
        CHECK(g[i].n <= t->most);
        if (own.lo >= own.hi) continue;
        const char *outer = phase("packing");
        group_inputs(t, &g[i], inputs, gathered);
        phase(outer);
        for (int64_t j = 0; j < t->n_dw; j++) {
            Range part = part_of(own, j * panels, panels);
            Range rows = {part.lo * PANEL, MIN(part.hi * PANEL, t->rows)};
            if (rows.lo < rows.hi) group_product(t, j, &g[i], rows, inputs, packed);
        }
    }
    thread_sync(th);
}
