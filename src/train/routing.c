/* routing.c -- what the routers did in a step: numbers for the log, and the move of their biases.
 *
 * Loads are whole numbers summed over all micro-batches of the step, so the sign that moves a bias
 * does not depend on how they were cut. A void step moves nothing. */
#include "train/trainer.h"

static void stats_fill(Trainer *t) {
    const Routing *r = &t->routing;
    StepStats *s = &t->stats;
    for (int64_t i = 0; i < r->layers; i++) {
        s->max_vio = MAX(s->max_vio, routing_violation(r, i));
        s->router_entropy += r->entropy[i] / (double)MAX(r->looked[i], 1) / (double)r->layers;
        s->balance_loss +=
            t->recipe->balance.sequence_loss * (r->loss[i] / (double)MAX(r->rows[i], 1));
    }
    for (int64_t i = 0; i < r->layers * r->E; i++) {
        if (r->rows[i / r->E] == 0) continue; /* the layer was not computed */
        t->idle[i] = r->load[i] ? 0 : t->idle[i] + 1;
        s->dead_experts += t->idle[i] >= DEAD_STEPS;
    }
}

void routing_step(Thread th, Trainer *t) {
    const double rate = balance_rate_at(t->recipe, t->stats.step);
    if (t->routing.layers == 0) return;
    if (th.i == 0) stats_fill(t);
    if (rate > 0) routing_balance(th, t->model, &t->routing, (float)rate);
}
