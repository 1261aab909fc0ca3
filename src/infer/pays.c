/* pays.c -- whether drafts of the MTP layer pay, by what was measured so far.
 *
 * A plain step gives a sequence one token. A step with drafts gives it `gain` tokens, and costs the
 * layer's own pass and the rows of the drafts besides. Drafts pay where
 *
 *     gain / (pass + drafted step)  >  1 / plain step
 *
 * What was measured last counts most: the model, the machine and what else runs on it, and the text
 * all have their say. What does not pay is tried again, more rarely while that changes nothing. No
 * bit of an answer depends on any of it. */
#include "infer/parts.h"

enum { PLAIN_STEPS = 8, DRAFT_STEPS = 16, PERIOD = 256, PERIOD_MOST = 8192, MEAN_OVER = 16 };
static const double OUTLIER = 2;

/* Of the first values their mean, then one in which old values fade. A step that something else
 * held up counts as twice the usual. */
static void mean_add(Mean *m, double x) {
    if (m->n > 0) x = MIN(x, OUTLIER * m->value);
    m->n = MIN(m->n + 1, MEAN_OVER);
    m->value += (x - m->value) / (double)m->n;
}

void pays_begin(Pays *p) { *p = (Pays){.doing = PAYS_PLAIN, .left = PLAIN_STEPS}; }

/* What is not done now is tried for some steps. */
static void trial_begin(Pays *p) {
    p->trial = true;
    p->doing = p->on ? PAYS_READY : PAYS_DRAFTS;
    p->left = p->on ? PLAIN_STEPS : DRAFT_STEPS;
    if (p->on)
        p->plain.n = 0;
    else
        p->pass.n = p->drafted.n = p->gain.n = 0;
}

static void trial_end(Pays *p) {
    const bool on = p->gain.value * p->plain.value > p->pass.value + p->drafted.value;
    p->period = on == p->on && p->period ? MIN(2 * p->period, PERIOD_MOST) : PERIOD;
    p->on = on, p->trial = false;
    p->doing = on ? PAYS_DRAFTS : PAYS_PLAIN;
    p->left = p->period;
}

void pays_learn(Pays *p, double pass, double step, double gain) {
    if (p->doing == PAYS_DRAFTS) {
        mean_add(&p->pass, pass);
        mean_add(&p->drafted, step);
        mean_add(&p->gain, gain);
    } else {
        mean_add(&p->plain, step);
    }
    if (--p->left > 0) return;
    if (p->trial)
        trial_end(p);
    else
        trial_begin(p);
}
