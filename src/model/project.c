/* project.c -- products with parameters, and copying rows. A thread_nosync may be passed to project
 * when another product of the same input follows: both read the packed rows, each writes its own
 * outputs. */
#include "model/layer.h"

Input input_of(Thread th, const Plan *p, const float *x, int64_t n, int64_t k, int64_t ld) {
    return (Input){.p = p, .l = th, .x = x, .n = n, .k = k, .ld = ld};
}

Input input_gathered(Thread th, const Plan *p, const float *x, const int32_t *index, int64_t n,
                     int64_t k, int64_t ld) {
    return (Input){.p = p, .l = th, .x = x, .n = n, .k = k, .ld = ld, .index = index};
}

/* Files of mixed types ask for several forms; they are made in the same memory, in turn. */
static const Rows *input_rows(Input *in, ActForm form) {
    void *mem = in->p->state->rows;
    if (in->rows.form == form) return &in->rows;
    if (in->rows.form != FORM_NONE) thread_sync(in->l); /* others may still read the first */
    if (in->index)
        rows_gather(in->l, &in->rows, form, in->x, in->index, in->n, in->k, in->ld, mem);
    else
        rows_pack(in->l, &in->rows, form, in->x, in->n, in->k, in->ld, mem);
    return &in->rows;
}

void project(Thread th, float *y, int64_t ldy, const Param *w, Input *x, StoreMode mode) {
    const Weight *panel = weight_of(x->p, w);
    linear(th, y, ldy, panel, 0, input_rows(x, layout_form(panel->layout)), mode);
}

void project_groups(Thread th, float *y, int64_t ldy, const Weight *w, Input *x, const Group *g,
                    int64_t n_groups) {
    linear_groups(th, y, ldy, w, input_rows(x, layout_form(w->layout)), g, n_groups);
}

/* By rows, as the product packs them: a thread goes on with its own. f32 rows are not packed. */
void gate_rows(Thread th, const Plan *p, float *h, const float *g, const float *u, int64_t n,
               int64_t F) {
    Range r = thread_range(th, n);
    int64_t at = r.lo * F;
    silu_mul(thread_alone(th), h + at, g + at, u + at, (r.hi - r.lo) * F);
    if (p->spec.act == ACT_F32) thread_sync(th);
}

void rows_copy(Thread th, float *dst, int64_t ldd, const float *src, int64_t lds, int64_t n,
               int64_t k) {
    if (dst == src) return;
    Range r = thread_range(th, n);
    for (int64_t i = r.lo; i < r.hi; i++)
        memcpy(dst + i * ldd, src + i * lds, (size_t)k * sizeof *dst);
    thread_sync(th);
}

void project_back(Thread th, Plan *p, const Param *w, float *dx, int64_t lddx, StoreMode mode,
                  const float *dy, int64_t lddy, const float *x, int64_t ldx, int64_t n) {
    const Back *g = p->state->back;
    const Weight *panel = weight_of(p, w), t = weight_t(panel);
    Rows rows = {0};
    linear_dw(th, w->grad, dy, lddy, x, ldx, n, w->w.rows, w->w.cols, panel->layout_t, g->dw_work);
    rows_pack(th, &rows, layout_form(panel->layout_t), dy, n, w->w.rows, lddy, g->rows);
    linear(th, dx, lddx, &t, 0, &rows, mode);
}
