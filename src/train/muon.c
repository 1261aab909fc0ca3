/* muon.c -- Muon: the momentum of a matrix, with all its singular values made equal, is its update
 * (docs/math/muon.md, docs/contract.md 7).
 *
 * Jordan et al. 2024 (kellerjordan.github.io/posts/muon); its size is matched to AdamW's as in
 * Moonlight (arXiv 2502.16982, 2.2), the steps are DeepSeek-V4's. Products are the program's own,
 * with bf16 inputs in TILE order, so they are the same bits on every CPU and any number of threads.
 * Small matrices, an expert's above all, are one thread's work each and are taken from a list;
 * large ones are shared by all threads. */
#include "train/optim.h"

#include <math.h>

enum { SHARED_COUNT = 1 << 20 }; /* numbers of a matrix from which on all threads share it */

static int64_t short_side(const Param *p) { return MIN(p->w.rows, p->w.cols); }
static int64_t long_side(const Param *p) { return MAX(p->w.rows, p->w.cols); }

/* ---- memory ---------------------------------------------------------------------------------- */

void muon_work_new(MuonWork *w, Arena *a, int64_t m, int64_t n) {
    const int64_t r = MIN(m, n), c = MAX(m, n);
    w->y = PUSH(a, float, r *c);
    w->a = PUSH(a, float, r *r);
    w->b = PUSH(a, float, r *r);
    w->rows = arena_push(a, rows_bytes(FORM_BF16, r, c));
    w->tile = arena_push(a, panel_bytes(LAYOUT_BF16, r, c));
    w->tile_t = arena_push(a, panel_bytes(LAYOUT_BF16, c, r));
}

/* Matrices of either kind, and the sides of memory in which each of them has room. */
static int64_t matrices_find(Matrix *to, const Model *m, bool shared, int64_t side[2]) {
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        Param *p = &m->param[i];
        const bool large = p->w.n == 1 && p->count >= SHARED_COUNT;
        if (p->optimiser != OPTIMISER_MUON || large != shared) continue;
        for (int64_t k = 0; k < p->w.n; k++) to[n++] = (Matrix){p, k, false};
        side[0] = MAX(side[0], short_side(p)), side[1] = MAX(side[1], long_side(p));
    }
    return n;
}

void muon_new(Optim *o, Arena *a, int64_t threads) {
    int64_t n = 0, alone[2] = {0}, shared[2] = {0};
    for (int64_t i = 0; i < o->m->n_params; i++)
        n += o->m->param[i].optimiser == OPTIMISER_MUON ? o->m->param[i].w.n : 0;
    o->matrix = PUSH(a, Matrix, n);
    o->n_alone = matrices_find(o->matrix, o->m, false, alone);
    o->n_matrices = o->n_alone + matrices_find(o->matrix + o->n_alone, o->m, true, shared);
    o->own = PUSH(a, MuonWork, threads);
    for (int64_t i = 0; i < threads && o->n_alone; i++)
        muon_work_new(&o->own[i], a, alone[0], alone[1]);
    if (o->n_matrices > o->n_alone) muon_work_new(&o->shared, a, shared[0], shared[1]);
}

/* ---- orthogonalisation ----------------------------------------------------------------------- */

/* y (r, c) = inverse * u (m, n), transposed where m > n. */
static void start(Thread th, float *y, const float *u, int64_t m, int64_t n, float inverse) {
    const Range rows = thread_range(th, MIN(m, n));
    for (int64_t i = rows.lo; i < rows.hi; i++)
        for (int64_t j = 0; j < MAX(m, n); j++)
            y[i * MAX(m, n) + j] = (m > n ? u[j * n + i] : u[i * n + j]) * inverse;
    thread_sync(th);
}

static void scale(float *x, float s, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = s * x[i];
}

/* x = s x + t y */
static void sum_of(float *restrict x, float s, const float *restrict y, float t, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = t * y[i] + s * x[i];
}

/* Y = k0 Y + (k1 A + k2 A A) Y with A = Y Y^T. What stands in f32 is rounded to bf16 where it
 * enters a product; k0 Y is not, so small singular values grow undisturbed. */
static void iterate(Thread th, const MuonWork *w, int64_t r, int64_t c, const float k[3]) {
    const Layout bf16 = LAYOUT_BF16;
    const Weight y = {.type = DTYPE_F32,
                      .n = 1,
                      .rows = r,
                      .cols = c,
                      .row = w->y,
                      .layout = bf16,
                      .layout_t = bf16,
                      .tile = w->tile,
                      .tile_t = w->tile_t},
                 a = {.type = DTYPE_F32,
                      .n = 1,
                      .rows = r,
                      .cols = r,
                      .layout = bf16,
                      .tile = w->tile},
                 y_t = weight_t(&y);
    Rows rows;
    weight_pack_t(thread_nosync(th), w->tile_t, bf16, &y, 0, 1);
    rows_pack(th, &rows, FORM_BF16, w->y, r, c, c, w->rows);
    rows_panels(th, w->tile, &rows);
    linear(th, w->a, r, &y, 0, &rows, STORE_SET);
    rows_pack(th, &rows, FORM_BF16, w->a, r, r, r, w->rows);
    rows_panels(th, w->tile, &rows);
    linear(th, w->b, r, &a, 0, &rows, STORE_SET);
    const Range squares = thread_range(th, r * r), all = thread_range(th, r * c);
    sum_of(w->b + squares.lo, k[2], w->a + squares.lo, k[1], squares.hi - squares.lo);
    scale(w->y + all.lo, k[0], all.hi - all.lo);
    thread_sync(th);
    rows_pack(th, &rows, FORM_BF16, w->b, r, r, r, w->rows);
    linear(th, w->y, c, &y_t, 0, &rows, STORE_ADD);
}

/* The first polynomial brings every singular value from 3e-4 on to between 0.7 and 1.2 in eight
 * steps; the second, whose slope at 1 is 0, brings these to 1 in two. */
void muon_orthogonalise(Thread th, const MuonWork *w, const float *u, int64_t m, int64_t n,
                        float inverse, int64_t steps) {
    static const float grow[3] = {3.4445f, -4.7750f, 2.0315f}, settle[3] = {2.0f, -1.5f, 0.5f};
    const int64_t growing = steps == 10 ? 8 : steps;
    start(th, w->y, u, m, n, inverse);
    for (int64_t i = 0; i < steps; i++)
        iterate(th, w, MIN(m, n), MAX(m, n), i < growing ? grow : settle);
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* M = momentum M + g; the gradient's place receives Nesterov's look ahead, momentum M + g. */
static void look_ahead(Thread th, float *moment, float *g, int64_t n, const MuonStep *s) {
    const Range r = thread_range(th, n);
    for (int64_t i = r.lo; i < r.hi; i++) {
        const float own = s->scale * g[i];
        moment[i] = s->momentum * moment[i] + own;
        g[i] = s->momentum * moment[i] + own;
    }
    thread_sync(th);
}

/* The momentum is kept rounded; this step sees it as it was before. */
static void look_ahead_bf16(Thread th, uint16_t *moment, float *g, int64_t n, const MuonStep *s) {
    const Range r = thread_range(th, n);
    for (int64_t i = r.lo; i < r.hi; i++) {
        const float own = s->scale * g[i], now = s->momentum * f32_of_bf16(moment[i]) + own;
        moment[i] = bf16_of_f32(now);
        g[i] = s->momentum * now + own;
    }
    thread_sync(th);
}

/* The root mean square of an orthogonal (m, n) matrix is 1 / sqrt(max(m, n)); AdamW's updates have
 * about 0.2. */
static void move(Thread th, float *weight, const float *y, int64_t m, int64_t n,
                 const MuonStep *s) {
    const float step = (float)(s->lr * 0.2 * sqrt((double)MAX(m, n)));
    const Range rows = thread_range(th, m);
    for (int64_t i = rows.lo; i < rows.hi; i++)
        for (int64_t j = 0; j < n; j++)
            weight[i * n + j] =
                weight[i * n + j] * s->keep - step * (m > n ? y[j * m + i] : y[i * n + j]);
    thread_sync(th);
}

/* An expert that has had no rows yet has a momentum of zeros: it is only decayed. */
static void matrix_step(Thread th, const Optim *o, MuonWork *w, Matrix *x, const MuonStep *s) {
    const int64_t m = x->p->w.rows, n = x->p->w.cols, at = x->i * m * n;
    float *g = x->p->grad + at;
    if (x->p->moment_type == DTYPE_BF16)
        look_ahead_bf16(th, (uint16_t *)x->p->moment[0] + at, g, m * n, s);
    else
        look_ahead(th, (float *)x->p->moment[0] + at, g, m * n, s);
    if (th.i == 0) w->square = tree_sq_f64(g, m * n);
    thread_sync(th);
    if (!isfinite(w->square)) { /* for all threads */
        if (th.i == 0) x->lost = true;
        return;
    }
    const float inverse = w->square > 0 ? (float)(1 / sqrt(w->square)) : 0;
    muon_orthogonalise(th, w, g, m, n, inverse, s->steps);
    move(th, x->p->master + at, w->y, m, n, s);
    const Range rows = thread_range_by(th, m, TILE_K);
    if (o->panels && rows.lo < rows.hi)
        panels_put(o->panels, x->p, x->i, rows.lo, rows.hi - rows.lo);
}

void muon_step(Thread th, Optim *o, const MuonStep *s) {
    const Thread alone = thread_alone(th);
    if (th.i == 0) o->next = 0;
    thread_sync(th);
    for (int64_t i; (i = __atomic_fetch_add(&o->next, 1, __ATOMIC_RELAXED)) < o->n_alone;)
        matrix_step(alone, o, &o->own[th.i], &o->matrix[i], s);
    thread_sync(th);
    for (int64_t i = o->n_alone; i < o->n_matrices; i++)
        matrix_step(th, o, &o->shared, &o->matrix[i], s);
    thread_sync(th);
}
