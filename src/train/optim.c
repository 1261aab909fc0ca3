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

void optim_packs(Optim *o, const Panels *p) { o->panels = p; }

static void adamw_piece(Thread alone, Param *p, int64_t at, int64_t n, const AdamW *w) {
    float *x = p->master + at, *g = p->grad + at;
    if (p->moment_type == DTYPE_BF16)
        adamw_bf16(alone, x, g, (uint16_t *)p->moment[0] + at, (uint16_t *)p->moment[1] + at, n, w);
    else
        adamw(alone, x, g, (float *)p->moment[0] + at, (float *)p->moment[1] + at, n, w);
}

enum { PIECE = 16 << 10 }; /* numbers of a piece: with gradient and moments it stays in L2 */

/* Pieces of whole rows are moved and packed, and are dealt to the threads over all tensors. */
static void adamw_step(Thread th, Optim *o, AdamW w) {
    const Thread alone = thread_alone(th);
    int64_t piece = 0;
    for (int64_t i = 0; i < o->m->n_params; i++) {
        Param *p = &o->m->param[i];
        const int64_t rows = p->w.rows, cols = p->w.cols,
                      step = MAX(PIECE / cols / TILE_K, 1) * TILE_K,
                      pieces = (rows + step - 1) / step;
        if (p->optimiser != OPTIMISER_ADAMW) continue;
        w.wd = p->decay ? (float)o->r->optim.weight_decay : 0;
        for (int64_t k = 0; k < p->w.n * pieces; k++) {
            if (piece++ % th.n != th.i) continue;
            const int64_t matrix = k / pieces, row = k % pieces * step, n = MIN(step, rows - row);
            adamw_piece(alone, p, (matrix * rows + row) * cols, n * cols, &w);
            if (o->panels) panels_put(o->panels, p, matrix, row, n);
        }
    }
    thread_sync(th);
}

void optim_step(Thread th, Optim *o, int64_t step, float scale) {
    const MuonStep s = muon_of(o->r, step, scale);
    adamw_step(th, o, adamw_of(o->r, step, scale));
    muon_step(th, o, &s);
}
