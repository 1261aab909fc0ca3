/* demo.h -- private to cli/: what `lisao demo` shows while it trains. */
#pragma once
#include "cli/quiz.h"

enum { DEMO_TASKS = 2, DEMO_LOSSES = 48 };

typedef struct DemoView {
    bool tty;
    int64_t lines; /* that stand on the terminal and are written over */
    const char *what[DEMO_TASKS];
    int64_t step, steps;
    double start, drawn;               /* os_now() of the beginning and of the last drawing */
    double loss, history[DEMO_LOSSES]; /* mean losses of equal parts of the run so far */
    int64_t in_part, parts, per_part;
    double accuracy[DEMO_TASKS]; /* -1: not measured yet */
    ExpertLoad experts;
    Buf sample; /* the last question, thought and answer */
} DemoView;
void demo_view_init(DemoView *v, Arena *a, int64_t steps);
void demo_view_step(DemoView *v,
                    const StepStats *s); /* on a terminal, ten times a second at most */
void demo_view_measured(DemoView *v);    /* accuracy, experts and sample are new */
