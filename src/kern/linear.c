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
enum { ROWS_L2 = 160 << 10, PANELS_L2 = 320 << 10, BLOCK_ROWS = 32 };
/* CPUs with AMX have 2 MB of it. Their product takes one part of k after another, so only a part
 * need be there. */
enum { ROWS_L2_TILES = 512 << 10, PANELS_L2_TILES = 1 << 20 };
enum { LEAST_ROWS = 64, PANEL_STEP = 4, ROW_STEP = 8 };

static void rect_run(const Product *t, Range r, Range p) {
    const bool tiles = t->layout == LAYOUT_BF16 && kern.pairs_in_order;
    const int64_t k = tiles ? MIN(t->x->k, CUT_K) : t->x->k;
    const int64_t row = rows_bytes(t->x->form, 64, k) / 64 + 1,
                  panel = panel_stride(t->layout, k) + 1;
    const int64_t rows_l2 = tiles ? ROWS_L2_TILES : ROWS_L2,
                  panels_l2 = tiles ? PANELS_L2_TILES : PANELS_L2;
    const int64_t n = MAX(rows_l2 / row / BLOCK_ROWS * BLOCK_ROWS, LEAST_ROWS);
    int64_t m = MAX(panels_l2 / panel / PANEL_STEP * PANEL_STEP, PANEL_STEP);
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

void linear_groups(Thread th, float *y, int64_t ldy, const Weight *w, const Rows *x, int64_t n_w,
                   const Group *g, int64_t n_groups, bool round) {
    Deal d = deal_of(th, panels_of(w->rows), g, n_groups);
    for (int64_t i = 0; i < n_groups; i++) {
        const Range rows = group_rows(&g[i]), panels = deal_next(&d, &g[i]);
        for (int64_t j = 0; j < n_w; j++) {
            const Product t =
                product_of(y, ldy, &w[j], g[i].matrix, &x[j], j ? STORE_ADD : STORE_SET);
            rect_run(&t, rows, panels);
            if (round && j + 1 == n_w) rect_round(&t, rows, panels);
        }
    }
    thread_sync(th);
}

/* ---- gated products -------------------------------------------------------------------------- */

typedef struct Gated {
    float *h, *g, *u;
    int64_t ld;
    const Weight *gate, *up;
    const Rows *packed; /* NULL, or where h goes */
} Gated;

/* Numbers lo.. of row i, m of them. */
static void gate_row(const Gated *t, int64_t i, int64_t lo, int64_t m) {
    const int64_t at = i * t->ld + lo;
    if (!t->packed) {
        kern.silu_mul(t->h + at, t->g + at, t->u + at, m);
        return;
    }
    for (int64_t j = 0; j < m; j += ROW_PIECE) {
        float h[ROW_PIECE];
        const int64_t n = MIN(m - j, ROW_PIECE);
        kern.silu_mul(h, t->g + at + j, t->u + at + j, n);
        row_piece_put(t->packed, i, lo + j, h, n);
    }
}

/* Both products of matrix i, and the gate, for rows r and panels p. */
static void gated_run(const Gated *t, int64_t i, const Rows *x, Range r, Range p) {
    const Product gate = product_of(t->g, t->ld, t->gate, i, x, STORE_SET);
    const Product up = product_of(t->u, t->ld, t->up, i, x, STORE_SET);
    CHECK(gate.m == up.m);
    if (p.lo >= p.hi) return;
    rect_run(&gate, r, p);
    rect_run(&up, r, p);
    const int64_t lo = p.lo * PANEL, m = MIN(p.hi * PANEL, gate.m) - lo;
    for (int64_t row = r.lo; row < r.hi; row++) gate_row(t, row, lo, m);
}

/* Packed rows are written 32 numbers at a time, so threads share pairs of panels. */
static Range pairs_of(Range pairs, int64_t panels) {
    return (Range){MIN(2 * pairs.lo, panels), MIN(2 * pairs.hi, panels)};
}

void linear_gated(Thread th, float *h, float *g, float *u, int64_t ld, const Weight *gate,
                  const Weight *up, const Rows *x, const Group *group, int64_t n_groups,
                  void *rows) {
    const Rows packed = rows_in(FORM_BF16, x->n, ld, rows);
    const Gated t = {h, g, u, ld, gate, up, rows ? &packed : NULL};
    const int64_t panels = panels_of(gate->rows), unit = rows ? 2 : 1,
                  units = (panels + unit - 1) / unit;
    Rect own = rect_of(th, x->n, units);
    Deal d = deal_of(th, units, group, n_groups);
    if (rows) own.panels = pairs_of(own.panels, panels);
    if (!group) gated_run(&t, 0, x, own.rows, own.panels);
    for (int64_t i = 0; i < n_groups; i++) {
        const Range p = deal_next(&d, &group[i]);
        gated_run(&t, group[i].matrix, x, group_rows(&group[i]), rows ? pairs_of(p, panels) : p);
    }
    thread_sync(th);
}

/* ---- gradients of weights -------------------------------------------------------------------- */

/* dw = dy^T x sums over rows: x becomes panels (outputs = cols), dy is transposed, so that its
 * columns are the rows of the product. Both are made of packed rows, which are rounded already, in
 * pieces of SIDE rows by ACROSS columns, which are dealt to the threads: rows are read in long
 * runs, and no more panels are written side by side than a cache has ways. */
enum { SIDE = 64, ACROSS = 128 };

static Layout layout_of_form(ActForm form) {
    CHECK(form == FORM_F32 || form == FORM_BF16);
    return form == FORM_F32 ? LAYOUT_F32 : LAYOUT_BF16;
}

int64_t linear_dw_bytes(ActForm form, int64_t n, int64_t rows, int64_t cols) {
    return rows_bytes(form, rows, n) + panel_bytes(layout_of_form(form), cols, n);
}

/* n packed rows: where the first is and how far apart they are, in numbers of their form. */
typedef struct Piece {
    ActForm form;
    const void *x;
    int64_t ld, n;
} Piece;

static Piece piece_of(const Rows *r, int64_t row, int64_t n) {
    const int64_t kp = round_up(r->k, TILE_K);
    if (r->form == FORM_F32) return (Piece){FORM_F32, r->x + row * r->ld, r->ld, n};
    return (Piece){FORM_BF16, (const uint16_t *)r->p + row * kp, kp, n};
}

/* Columns c.. of a piece, m of them, as panels `stride` bytes apart. */
static void panels_of_piece(uint8_t *out, int64_t stride, const Piece *p, int64_t c, int64_t m) {
    if (p->form == FORM_BF16) {
        kern.pair_panels((uint16_t *)(void *)out, stride / 2, panels_of(m),
                         (const uint16_t *)p->x + c, p->ld, p->n);
        return;
    }
    for (int64_t j = 0; j < m; j += PANEL, out += stride)
        panel_rows(out, LAYOUT_F32, (const float *)p->x + c + j, p->ld, MIN(m - j, PANEL), 0, p->n);
}

/* Columns `columns` of a piece, whose rows are r0.. of the n that are summed, as panels of the
 * product. The first column is a multiple of ACROSS. */
static void piece_panels(uint8_t *out, int64_t n, int64_t r0, const Piece *p, Range columns) {
    const Layout layout = layout_of_form(p->form);
    const int64_t stride = panel_stride(layout, n), at = panel_stride(layout, r0);
    for (int64_t c = columns.lo; c < columns.hi; c += ACROSS)
        panels_of_piece(out + c / PANEL * stride + at, stride, p, c, MIN(columns.hi - c, ACROSS));
}

/* The same, transposed: as rows of the product. The first column is a multiple of 16; bf16 columns
 * come out of their pairs 32 at a time. */
static void piece_transpose(uint8_t *out, int64_t n, int64_t r0, const Piece *p, Range columns) {
    _Alignas(64) uint8_t panel[ACROSS / PANEL][SIDE / 2 * PANEL * 4];
    const int64_t dwords = round_up(n, TILE_K) / 2;
    for (int64_t c = columns.lo, m; c < columns.hi; c += m) {
        const int64_t block = c & ~(TILE_K - 1);
        m = MIN(columns.hi, block + ACROSS) - c;
        if (p->form == FORM_F32) {
            kern.transpose((uint32_t *)(void *)out + c * n + r0, n, (const uint32_t *)p->x + c,
                           p->ld, p->n, m);
            continue;
        }
        panels_of_piece(panel[0], sizeof panel[0], p, block, c + m - block);
        for (int64_t j = c; j < c + m; j += PANEL)
            kern.transpose((uint32_t *)(void *)out + j * dwords + r0 / 2, dwords,
                           (const uint32_t *)(const void *)panel[(j - block) / PANEL], PANEL,
                           round_up(p->n, TILE_K) / 2, MIN(c + m - j, PANEL));
    }
}

/* All columns of all rows, by all threads. */
typedef void PieceFn(uint8_t *out, int64_t n, int64_t r0, const Piece *p, Range columns);
static void columns_pack(Thread th, PieceFn *pack, uint8_t *out, const Rows *x) {
    const int64_t across = (x->k + ACROSS - 1) / ACROSS, down = (x->n + SIDE - 1) / SIDE;
    const Range range = thread_range(th, down * across);
    for (int64_t at = range.lo; at < range.hi; at++) {
        const int64_t r0 = at / across * SIDE, c0 = at % across * ACROSS;
        const Piece p = piece_of(x, r0, MIN(x->n - r0, SIDE));
        pack(out, x->n, r0, &p, (Range){c0, MIN(c0 + ACROSS, x->k)});
    }
}

static void dw_run(Thread th, float *dw, StoreMode mode, const Rows *dy, const Rows *x,
                   void *work) {
    CHECK(dy->form == x->form && dy->n == x->n);
    const Layout layout = layout_of_form(x->form);
    const Rows r = {x->form, dy->k, x->n, x->n, work, work};
    uint8_t *tile = (uint8_t *)work + rows_bytes(x->form, dy->k, x->n);
    const char *outer = phase("packing");
    columns_pack(th, piece_transpose, work, dy);
    columns_pack(th, piece_panels, tile, x);
    thread_sync(th);
    phase(outer);
    const Product t = {dw, x->k, &r, layout, tile, x->k, mode};
    products_run(th, &t, 1);
    thread_sync(th);
}

void linear_dw(Thread th, float *dw, const Rows *dy, const Rows *x, void *work) {
    if (x->n > 0) dw_run(th, dw, STORE_ADD, dy, x, work);
}

void linear_dw_piece(Thread th, float *sum, bool first, const Rows *dy, const Rows *x, void *work) {
    CHECK(x->n >= 1 && x->n <= CUT_K);
    dw_run(th, sum, first ? STORE_SET : STORE_CONTINUE, dy, x, work);
}

/* ---- the same for experts -------------------------------------------------------------------- */

/* A thread's work memory: gathered rows of x, then x of one group as panels, then dy of one of its
 * products transposed. */
int64_t linear_dw_groups_bytes(ActForm form, int64_t most, int64_t rows, int64_t cols) {
    return rows_bytes(form, SIDE, cols) + panel_bytes(layout_of_form(form), cols, most)
           + rows_bytes(form, rows, most);
}

/* n rows that the index names, side by side. */
static Piece piece_gathered(uint8_t *out, const Rows *x, const int32_t *index, int64_t n) {
    const Piece all = piece_of(x, 0, n);
    const int64_t number = x->form == FORM_F32 ? 4 : 2,
                  bytes = number * (x->form == FORM_F32 ? x->k : all.ld);
    for (int64_t i = 0; i < n; i++)
        memcpy(out + i * bytes, (const uint8_t *)all.x + index[i] * all.ld * number, (size_t)bytes);
    return (Piece){x->form, out, bytes / number, n};
}

/* All columns of a group's rows of x as panels. */
static void group_inputs(const GroupsDw *t, const Group *g, uint8_t *panels, uint8_t *gathered) {
    for (int64_t r0 = 0; r0 < g->n; r0 += SIDE) {
        const int64_t n = MIN(g->n - r0, SIDE), row = g->row0 + r0;
        const Piece p =
            t->index ? piece_gathered(gathered, t->x, t->index + row, n) : piece_of(t->x, row, n);
        piece_panels(panels, g->n, r0, &p, (Range){0, t->x->k});
    }
}

/* Rows `own` of product i of one group. */
static void group_product(const GroupsDw *t, int64_t i, const Group *g, Range own,
                          const uint8_t *panels, uint8_t *packed) {
    const Rows *dy = &t->dy[i];
    const int64_t cols = t->x->k;
    const Rows r = {dy->form, dy->k, g->n, g->n, (const float *)(void *)packed, packed};
    float *dw = t->dw[i] + g->matrix * dy->k * cols;
    const Product p = {dw, cols, &r, layout_of_form(dy->form), panels, cols, STORE_ADD};
    const char *outer = phase("packing");
    for (int64_t r0 = 0; r0 < g->n; r0 += SIDE) {
        const Piece piece = piece_of(dy, g->row0 + r0, MIN(g->n - r0, SIDE));
        piece_transpose(packed, g->n, r0, &piece, own);
    }
    phase(outer);
    rect_run(&p, own, (Range){0, panels_of(cols)});
}

/* The products of a group stand one behind the other, 16 rows of one being what a thread takes at
 * least: so a thread has whole groups but for the first and the last, and no barriers between
 * them. */
void linear_dw_groups(Thread th, const GroupsDw *t, const Group *g, int64_t n_groups, void *work) {
    const ActForm form = t->x->form;
    const int64_t rows = t->dy->k, cols = t->x->k, panels = panels_of(rows);
    uint8_t *gathered = (uint8_t *)work + th.i * linear_dw_groups_bytes(form, t->most, rows, cols);
    uint8_t *inputs = gathered + rows_bytes(form, SIDE, cols);
    uint8_t *packed = inputs + panel_bytes(layout_of_form(form), cols, t->most);
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
            Range range = {part.lo * PANEL, MIN(part.hi * PANEL, rows)};
            if (range.lo < range.hi) group_product(t, j, &g[i], range, inputs, packed);
        }
    }
    thread_sync(th);
}
