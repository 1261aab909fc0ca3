/* demo_view.c -- the screen of `lisao demo`, on standard error: a few lines that are written over
 * on a terminal, elsewhere one line for each measurement. */
#include <stdio.h>
#include "cli/demo.h"

enum { WIDTH = 24, EVERY_MS = 100 };
static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

void demo_view_init(DemoView *v, Arena *a, int64_t steps) {
    *v = (DemoView){.tty = os_is_tty(2), .steps = steps, .start = os_now(), .sample = {.a = a}};
    v->per_part = MAX(1, (steps + DEMO_LOSSES - 1) / DEMO_LOSSES);
    for (int64_t i = 0; i < DEMO_TASKS; i++) v->accuracy[i] = -1;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static const char *bar_of(double part) {
    const int64_t i = (int64_t)(part * COUNT(bars));
    return bars[MAX(0, MIN(i, COUNT(bars) - 1))];
}

static void filled(double part) {
    for (int i = 0; i < WIDTH; i++) fputs(i < part * WIDTH ? "█" : "░", stderr);
}

static void line_end(DemoView *v) {
    fputs("\033[K\n", stderr);
    v->lines++;
}

static void steps_line(DemoView *v) {
    const double seconds = os_now() - v->start;
    fprintf(stderr, "  step %5lld of %-7lld ", (long long)v->step, (long long)v->steps);
    filled((double)v->step / (double)v->steps);
    fprintf(stderr, "  %3.0f s, %.0f s left", seconds,
            seconds * (double)(v->steps - v->step) / (double)MAX(v->step, 1));
    line_end(v);
}

/* Losses fall by orders of magnitude: a bar is the square root of its part of the largest. */
static void loss_line(DemoView *v) {
    double most = 1e-9;
    for (int64_t i = 0; i < v->parts; i++) most = MAX(most, v->history[i]);
    fprintf(stderr, "  loss %14.4f   ", v->loss);
    for (int64_t i = 0; i < v->parts; i++) {
        double part = v->history[i] / most, root = part;
        for (int k = 0; k < 20; k++) root = (root + part / MAX(root, 1e-9)) / 2;
        fputs(bar_of(root * 0.999), stderr);
    }
    line_end(v);
}

static void accuracy_line(DemoView *v, int64_t i) {
    fprintf(stderr, "  unseen %-12s ", v->what[i]);
    filled(v->accuracy[i]);
    fprintf(stderr, "  %.0f %% right", 100 * MAX(v->accuracy[i], 0));
    line_end(v);
}

/* A bar for each expert: full where it has twice the mean. */
static void experts_line(DemoView *v, int64_t layer) {
    const ExpertLoad *e = &v->experts;
    int64_t sum = 0;
    for (int64_t i = 0; i < e->experts; i++) sum += e->load[layer][i];
    fprintf(stderr, "  experts, layer %-4lld ", (long long)layer + 1);
    for (int64_t i = 0; i < e->experts; i++)
        fputs(e->load[layer][i]
                  ? bar_of((double)(e->load[layer][i] * e->experts) / (double)(2 * MAX(sum, 1)))
                  : " ",
              stderr);
    if (layer == 0) fputs("  words each of them has read", stderr);
    line_end(v);
}

static void draw(DemoView *v) {
    if (v->lines) fprintf(stderr, "\033[%lldA\r", (long long)v->lines);
    v->lines = 0;
    steps_line(v);
    loss_line(v);
    for (int64_t i = 0; i < DEMO_TASKS; i++) accuracy_line(v, i);
    for (int64_t i = 0; i < v->experts.layers; i++) experts_line(v, i);
    fprintf(stderr, "  %.*s", STRF(buf_str(&v->sample)));
    line_end(v);
    fflush(stderr);
}

/* ---- what happens ---------------------------------------------------------------------------- */

void demo_view_step(DemoView *v, const StepStats *s) {
    static const double every = EVERY_MS / 1000.0;
    const double before = v->loss;
    v->step = s->step;
    v->loss = before == 0 ? s->loss : before + (s->loss - before) * 0.1;
    v->history[v->parts] += (s->loss - v->history[v->parts]) / (double)++v->in_part;
    if (v->in_part == v->per_part && v->parts + 1 < DEMO_LOSSES) v->parts++, v->in_part = 0;
    if (!v->tty || os_now() - v->drawn < every) return;
    v->drawn = os_now();
    draw(v);
}

static double busiest(const ExpertLoad *e) {
    double most = 0;
    for (int64_t layer = 0; layer < e->layers; layer++) {
        int64_t sum = 0, top = 0;
        for (int64_t i = 0; i < e->experts; i++) {
            sum += e->load[layer][i];
            top = MAX(top, e->load[layer][i]);
        }
        most = MAX(most, (double)(top * e->experts) / (double)MAX(sum, 1));
    }
    return most;
}

void demo_view_measured(DemoView *v) {
    if (v->tty) return draw(v);
    fprintf(stderr, "lisao: step %lld of %lld, %.0f s: loss %.4f, unseen", (long long)v->step,
            (long long)v->steps, os_now() - v->start, v->loss);
    for (int64_t i = 0; i < DEMO_TASKS; i++)
        fprintf(stderr, "%s %s %.0f %% right", i ? "," : "", v->what[i], 100 * v->accuracy[i]);
    fprintf(stderr, "; the busiest expert has %.1f times the mean\n", busiest(&v->experts));
}
