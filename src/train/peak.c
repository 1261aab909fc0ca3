/* peak.c -- what share of this machine's speed a run uses.
 *
 * The machine's speed is that of one product which lies in the caches, by the threads and in the
 * number format of the run: what the products of a step could reach at most. A step's work is
 * counted as 6 operations for each weight that a token is multiplied with, forward and backward;
 * attention, norms, router and optimiser count as nothing, so the share of a step is never 1. */
#include "train/trainer.h"

enum { SIDE = 256, TIMES = 40 }; /* rows, inputs and outputs; some ten milliseconds */

typedef struct Peak {
    Weight w;
    float *x, *y; /* (SIDE, SIDE) */
    void *mem;
    double best; /* seconds */
} Peak;

static void peak_threads(Thread th, void *arg) {
    Peak *p = arg;
    Rows rows;
    weight_pack(th, p->w.tile, p->w.layout, &p->w, 0, 1);
    for (int64_t i = 0; i < TIMES; i++) {
        thread_sync(th);
        const double start = os_now();
        rows_pack(th, &rows, layout_form(p->w.layout), p->x, SIDE, SIDE, SIDE, p->mem);
        linear(th, p->y, SIDE, &p->w, 0, &rows, STORE_SET);
        thread_sync(th);
        if (th.i == 0) p->best = i ? MIN(p->best, os_now() - start) : os_now() - start;
    }
}

double machine_flops(Team *team, Act act) {
    Arena *a = arena_open("peak", (int64_t)1 << 26);
    const Layout layout = layout_of(act, DTYPE_F32);
    Peak p = {.x = PUSH(a, float, SIDE *SIDE), .y = PUSH(a, float, SIDE *SIDE)};
    for (int64_t i = 0; i < SIDE * SIDE; i++) p.x[i] = (float)(i % 7) - 3;
    p.w = (Weight){.type = DTYPE_F32, .n = 1, .rows = SIDE, .cols = SIDE, .row = p.x};
    p.w.layout = layout;
    p.w.tile = arena_push(a, panel_bytes(layout, SIDE, SIDE));
    p.mem = arena_push(a, rows_bytes(layout_form(layout), SIDE, SIDE));
    team_run(team, peak_threads, &p);
    arena_close(a);
    return 2.0 * SIDE * SIDE * SIDE / MAX(p.best, 1e-9);
}

double token_flops(const Config *c) {
    const double looked_up = c->tied ? 0 : (double)(c->V * c->C);
    return 6 * ((double)config_size(c).active - looked_up);
}
