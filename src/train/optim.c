/* optim.c -- the learning rate of a step, the norm of the gradient, and AdamW over the parameter
 * table.
 *
 * The rate and the bias corrections are computed in f64 by base's own functions and rounded to f32
 * last; everything that touches a weight is kern's adamw. Frozen parameters have no gradient and
 * are not changed. Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv 1711.05101,
 * algorithm 2. */
#include "train/train.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

double rate_at(const Recipe *r, int64_t step) {
    const double lr = r->optim.lr, low = r->optim.lr_min;
    const int64_t warmup = r->optim.warmup, rest = r->optim.steps - warmup;
    if (step <= warmup) return lr * (double)step / (double)warmup;
    if (!strcmp(r->optim.schedule, "constant")) return lr;
    double sin, cos, part = MIN(1.0, (double)(step - warmup) / (double)MAX(rest, 1));
    sincos_f64(PI * part, &sin, &cos);
    return low + (lr - low) * 0.5 * (1 + cos);
}

double grad_norm(Thread th, const Model *m, double *square) {
    /* A tensor's sum has one order, so tensors, not their elements, are split over the threads. */
    for (int64_t i = th.i; i < m->n_params; i += th.n) {
        const Param *p = &m->param[i];
        square[i] = param_learns(p) ? tree_sq_f64(p->grad, p->count) : 0;
    }
    thread_sync(th);
    double sum = 0;
    for (int64_t i = 0; i < m->n_params; i++) sum += square[i];
    thread_sync(th); /* square may be written again */
    return sqrt(sum);
}

/* 1 - b^step, the power by repeated product. */
static float correction(float b, int64_t step) {
    double power = 1;
    for (int64_t i = 0; i < step && power > 0; i++) power *= (double)b;
    return (float)(1 - power);
}

static void scale_gradient(Thread th, Param *p, float scale) {
    Range r = thread_range(th, p->count);
    for (int64_t i = r.lo; i < r.hi; i++) p->grad[i] *= scale;
    thread_sync(th);
}

void optim_step(Thread th, Model *m, const Recipe *r, int64_t step, float scale) {
    AdamW o = {.lr = (float)rate_at(r, step),
               .b1 = (float)r->optim.betas[0],
               .b2 = (float)r->optim.betas[1],
               .eps = (float)r->optim.eps};
    o.c1 = correction(o.b1, step);
    o.c2 = correction(o.b2, step);
    for (int64_t i = 0; i < m->n_params; i++) {
        Param *p = &m->param[i];
        if (p->optimiser != OPTIMISER_ADAMW) continue;
        o.wd = p->decay ? (float)r->optim.weight_decay : 0;
        if (scale != 1) scale_gradient(th, p, scale);
        adamw(th, p->master, p->grad, p->moment[0], p->moment[1], p->count, &o);
    }
}
