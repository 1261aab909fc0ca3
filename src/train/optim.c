/* optim.c -- the learning rate of a step, the norm of the gradient, and the step of AdamW and Muon
 * (muon.c) over the parameter table.
 *
 * The rate and the bias corrections are computed in f64 by base's own functions and rounded to f32
 * last; everything that touches a weight is kern's adamw. Frozen parameters have no gradient and
 * are not changed. Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv 1711.05101,
 * algorithm 2. */
#include "train/optim.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

int64_t decay_steps(const Recipe *r) {
    const double x = r->optim.decay_steps;
    return (int64_t)(x < 1 ? x * (double)r->optim.steps : x);
}

/* After the warm-up: part 0 at its end, 1 in the last step. */
static double rate_behind(const Recipe *r, int64_t step) {
    const double lr = r->optim.lr, low = r->optim.lr_min;
    const int64_t steps = r->optim.steps, warmup = r->optim.warmup, decay = decay_steps(r);
    double sin, cos;
    if (!strcmp(r->optim.schedule, "constant")) return lr;
    if (!strcmp(r->optim.schedule, "wsd"))
        return step < steps - decay
                   ? lr
                   : low + (lr - low) * ((double)MAX(steps - step, 0) / (double)MAX(decay, 1));
    const double part = MIN(1.0, (double)(step - warmup) / (double)MAX(steps - warmup, 1));
    sincos_f64(PI * part, &sin, &cos);
    return low + (lr - low) * 0.5 * (1 + cos);
}

double rate_at(const Recipe *r, int64_t step) {
    const int64_t warmup = r->optim.warmup;
    return step <= warmup ? r->optim.lr * (double)step / (double)warmup : rate_behind(r, step);
}

double balance_rate_at(const Recipe *r, int64_t step) {
    const int64_t last = (int64_t)(r->balance.decay * (double)r->optim.steps),
                  left = MAX(r->optim.steps - step, 0);
    return left >= last ? r->balance.rate : r->balance.rate * ((double)left / (double)last);
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

Optim *optim_new(Arena *a, Model *m, const Recipe *r, int64_t threads) {
    Optim *o = PUSH(a, Optim, 1);
    *o = (Optim){.m = m, .r = r};
    muon_new(o, a, threads);
    return o;
}

static AdamW adamw_of(const Recipe *r, int64_t step, float scale) {
    AdamW o = {.lr = (float)rate_at(r, step),
               .b1 = (float)r->optim.betas[0],
               .b2 = (float)r->optim.betas[1],
               .eps = (float)r->optim.eps,
               .scale = scale};
    o.c1 = correction(o.b1, step);
    o.c2 = correction(o.b2, step);
    return o;
}

static MuonStep muon_of(const Recipe *r, int64_t step, float scale) {
    const double lr = rate_at(r, step);
    return (MuonStep){.momentum = (float)r->optim.momentum,
                      .scale = scale,
                      .lr = lr,
                      .keep = 1.0f - (float)lr * (float)r->optim.weight_decay,
                      .steps = r->optim.muon_steps};
}

bool optim_lost(const Optim *o, const Param **p, int64_t *matrix) {
    for (int64_t i = 0; i < o->n_matrices; i++) {
        if (!o->matrix[i].lost) continue;
        *p = o->matrix[i].p, *matrix = o->matrix[i].i;
        return true;
    }
    return false;
}

void optim_step(Thread th, Optim *o, int64_t step, float scale) {
    AdamW w = adamw_of(o->r, step, scale);
    const MuonStep s = muon_of(o->r, step, scale);
    for (int64_t i = 0; i < o->m->n_params; i++) {
        Param *p = &o->m->param[i];
        if (p->optimiser != OPTIMISER_ADAMW) continue;
        w.wd = p->decay ? (float)o->r->optim.weight_decay : 0;
        if (p->moment_type == DTYPE_BF16)
            adamw_bf16(th, p->master, p->grad, p->moment[0], p->moment[1], p->count, &w);
        else
            adamw(th, p->master, p->grad, p->moment[0], p->moment[1], p->count, &w);
    }
    muon_step(th, o, &s);
}
