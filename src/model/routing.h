/* routing.h -- part of the public header model/model.h, which includes it: what the routers of a
 * model do in a training step, and the bias that keeps its experts busy. */
#pragma once

/* Of the layers with experts, in their order; sums over the micro-batches of a step. */
typedef struct Routing {
    int64_t layers, E;
    int64_t *load;   /* (layers, E) rows that each expert has had */
    int64_t *rows;   /* (layers) all rows */
    int64_t *looked; /* (layers) of which every ROUTING_STEPth is looked at for */
    double *entropy; /* (layers) the entropy of the scores divided by their sum, in nats */
    double *loss;    /* (layers) rows times the sequence-wise loss of their sequence (kern.h) */
} Routing;
enum { ROUTING_STEP = 8 };
Routing routing_new(Arena *a, const Model *m); /* layers 0 without experts */
void routing_clear(Routing *r);
/* Adds what the forward of b left in the plan's Acts in layers lo..hi-1; `losses`: the
 * sequence-wise loss, too. */
void routing_add(Thread th, Plan *p, int64_t lo, int64_t hi, const Batch *b, bool losses,
                 Routing *r);
/* max load / mean load - 1: 0 where every expert has as much (MaxVio, arXiv 2408.15664). */
double routing_violation(const Routing *r, int64_t layer);
/* Loss-free balancing (same paper; V3): every choice bias goes up by `rate` where its expert's load
 * is below the mean, and down where it is above. */
void routing_balance(Thread th, Model *m, const Routing *r, float rate);
bool routing_has_bias(const Model *m);
/* The layer whose router met NaN in the last forward of the plan, which returned false. */
int64_t routing_lost(const Plan *p);
