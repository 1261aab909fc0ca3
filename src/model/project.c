/* project.c -- products with parameters, and copying rows. A thread_nosync may be passed to project
 * when another product of the same input follows: both read the packed rows, each writes its own
 * outputs. */
#include "model/layer.h"

Input input_of(Thread th, const Plan *p, const float *x, int64_t n, int64_t k, int64_t ld) {
    return (Input){.p = p, .l = th, .x = x, .n = n, .k = k, .ld = ld};
}

Input input_gathered(Thread th, const Plan *p, const float *x, const void *x_rows,
                     const int32_t *index, int64_t n, int64_t k, int64_t ld) {
    Input in = input_of(th, p, x, n, k, ld);
    in.index = index;
    in.kept = (void *)(uintptr_t)x_rows;
    return in;
}

Input input_kept(Thread th, const Plan *p, const float *x, int64_t n, int64_t k, int64_t ld,
                 void *rows, bool packed) {
    Input in = input_of(th, p, x, n, k, ld);
    in.kept = rows;
    if (rows && packed) in.rows = (Rows){FORM_BF16, n, k, k, x, rows};
    return in;
}

/* Files of mixed types ask for several forms; they are made in the same memory, in turn. */
static const Rows *input_rows(Input *in, ActForm form) {
    const PlanState *s = in->p->state;
    const bool own = in->n == 1 && !in->index && !in->kept;
    Thread th = own ? thread_alone(in->l) : in->l;
    void *mem = own ? s->own + in->l.i * s->own_bytes : in->kept && !in->index ? in->kept : s->rows;
    if (in->rows.form == form) return &in->rows;
    if (in->rows.form != FORM_NONE) thread_sync(th); /* others may still read the first */
    if (in->index && in->kept && form == FORM_BF16)
        rows_pick(th, &in->rows, in->kept, in->index, in->n, in->k, mem);
    else if (in->index)
        rows_gather(th, &in->rows, form, in->x, in->index, in->n, in->k, in->ld, mem);
    else
        rows_pack(th, &in->rows, form, in->x, in->n, in->k, in->ld, mem);
    return &in->rows;
}

/* Rows are packed by the thread that normed them, so the packing's barrier is enough; it is not
 * where rows are gathered, and f32 rows are not packed. */
const float *norm_rows(Thread th, const Plan *p, float *y, float *r, const float *x, const Param *w,
                       int64_t n, bool gathered, void *rows) {
    const PlanState *s = p->state;
    const int64_t C = p->model->cfg.C;
    float *row = (float *)(void *)(s->own + th.i * s->own_bytes + s->own_norm);
    if (rows) {
        rmsnorm_packed(th, y ? y : row, y ? C : 0, r, x, C, w->w.row, n, C, p->model->cfg.eps,
                       rows);
        return y;
    }
    const bool barrier = n > 1 && (gathered || p->spec.act == ACT_F32);
    if (n == 1 && th.i > 0) y = row, r = NULL;
    Thread own = n == 1 ? thread_alone(th) : barrier ? th : thread_nosync(th);
    rmsnorm(own, y, C, r, x, C, w->w.row, n, C, p->model->cfg.eps);
    return y;
}

/* The layout of the weight decides which form of the rows is asked for (kern/layout.c). */
void project(Thread th, float *y, int64_t ldy, const Param *w, Input *x, StoreMode mode) {
    const Weight *panel = weight_of(x->p, w);
    linear(th, y, ldy, panel, 0, input_rows(x, layout_form(panel->layout)), mode);
}

/* q, k and v, or gate and up, are one product over the rows of several matrices: the threads join
 * once instead of two or three times, and no sum changes. A file of mixed types may ask for
 * different forms of the input; then they go one after another. */
enum { SET_MOST = 4 };

void project_set(Thread th, float *const *y, const int64_t *ldy, const Param *const *w, int64_t n,
                 Input *x) {
    const Weight *panel[SET_MOST];
    bool alike = n <= SET_MOST;
    for (int64_t i = 0; i < n && alike; i++) {
        panel[i] = weight_of(x->p, w[i]);
        alike = layout_form(panel[i]->layout) == layout_form(panel[0]->layout);
    }
    if (alike) linear_set(th, y, ldy, panel, n, input_rows(x, layout_form(panel[0]->layout)));
    for (int64_t i = 0; i < n && !alike; i++)
        project(i + 1 < n ? thread_nosync(th) : th, y[i], ldy[i], w[i], x, STORE_SET);
}

void project_groups(Thread th, float *y, int64_t ldy, const Weight *w, Input *x, const Group *g,
                    int64_t n_groups, bool round) {
    linear_groups(th, y, ldy, w, input_rows(x, layout_form(w->layout)), 1, g, n_groups, round);
}

/* SwiGLU's product follows in the same pass where both halves take the same form, while they are in
 * the cache. */
void project_gated(Thread th, float *h, float *g, float *u, const Param *gate, const Param *up,
                   Input *x, const Group *group, int64_t n_groups, void *rows) {
    const Weight *wg = weight_of(x->p, gate), *wu = weight_of(x->p, up);
    const ActForm form = layout_form(wg->layout), other = layout_form(wu->layout);
    const int64_t F = wg->rows;
    if (form == other) {
        linear_gated(th, h, g, u, F, wg, wu, input_rows(x, form), group, n_groups, rows);
        return;
    }
    CHECK(!rows);
    const Group all = {0, 0, x->n};
    if (!group) group = &all, n_groups = 1;
    project_groups(thread_nosync(th), g, F, wg, x, group, n_groups, false);
    project_groups(th, u, F, wu, x, group, n_groups, false);
    silu_mul(th, h, g, u, x->n * F);
}

void rows_copy(Thread th, float *dst, int64_t ldd, const float *src, int64_t lds, int64_t n,
               int64_t k) {
    if (dst == src) return;
    Range r = thread_range(th, n);
    for (int64_t i = r.lo; i < r.hi; i++)
        memcpy(dst + i * ldd, src + i * lds, (size_t)k * sizeof *dst);
    thread_sync(th);
}

/* y = x W^T has dW = dy^T x, a sum over rows (contract 6), and dx = dy W, a product with the panels
 * of the transpose. */
void rows_back(Thread th, Plan *p, const Param *w, float *dx, int64_t lddx, StoreMode mode,
               const Rows *dy, const Rows *x) {
    const Weight t = weight_t(weight_of(p, w));
    linear_dw(th, w->grad, dy, x, p->state->back->dw_work);
    linear(th, dx, lddx, &t, 0, dy, mode);
}

Rows rows_again(const Plan *p, const Param *w, const float *x, int64_t ldx, int64_t n,
                const void *rows) {
    const ActForm form = layout_form(weight_of(p, w)->layout_t);
    CHECK(form == FORM_F32 || rows);
    return (Rows){
        form, n, w->w.cols, form == FORM_F32 ? ldx : w->w.cols, x, (void *)(uintptr_t)rows};
}

void project_back(Thread th, Plan *p, const Param *w, float *dx, int64_t lddx, StoreMode mode,
                  const float *dy, int64_t lddy, const float *x, int64_t ldx, const void *x_rows,
                  int64_t n) {
    const Rows kept = rows_again(p, w, x, ldx, n, x_rows);
    Rows rows = {0};
    rows_pack(th, &rows, kept.form, dy, n, w->w.rows, lddy, p->state->back->rows);
    rows_back(th, p, w, dx, lddx, mode, &rows, &kept);
}
