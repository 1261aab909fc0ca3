/* size.c -- how large models are: numbers, and bytes that a step reads. */
#include "model/layer.h"

/* By building the parameters without data: the tables are the one source, so the number asked for
 * beforehand is the number that will be there. */
static Arena *shape_build(Model *m, const Config *c, int64_t further) {
    Arena *a = arena_open("parameters", 1 << 28);
    *m = (Model){.cfg = *c, .n_layers = c->L + further};
    params_build(m, a);
    return a;
}

int64_t config_count(const Config *c) {
    Model m;
    Arena *a = shape_build(&m, c, c->mtp);
    int64_t count = 0;
    for (int64_t i = 0; i < m.n_params; i++) count += m.param[i].count;
    arena_close(a);
    return count;
}

int64_t model_count(const Model *m) {
    int64_t count = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        count += param_learns(&m->param[i]) ? m->param[i].count : 0;
    return count;
}

ModelSize config_size(const Config *c) {
    Model m;
    Arena *a = shape_build(&m, c, 0);
    ModelSize s = {0};
    for (int64_t i = 0; i < m.n_params; i++) {
        const Param *p = &m.param[i];
        if (!param_learns(p)) continue;
        const int64_t active = p->shard == SHARD_EXPERTS ? p->count / p->w.n * c->K : p->count;
        s.total += p->count, s.active += active;
        if (p != m.embed || p == m.head) s.read += active;
    }
    arena_close(a);
    return s;
}

/* ---- bytes of a step ------------------------------------------------------------------------- */

static double experts_met(const Config *c, int64_t rows) {
    double missed = (double)c->E;
    for (int64_t i = 0; i < rows; i++) missed *= 1 - (double)c->K / (double)c->E;
    return (double)c->E - missed;
}

static double weight_bytes(const Weight *w) {
    return w->tile ? (double)panel_bytes(w->layout, w->rows, w->cols) : 0;
}

double plan_read_bytes(const Plan *p, int64_t rows) {
    const Model *m = p->model;
    const Panels *q = p->panels;
    double bytes = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        if (m->param[i].layer >= m->cfg.L) continue; /* it predicts a further token */
        const bool experts = m->param[i].shard == SHARD_EXPERTS;
        bytes += weight_bytes(&q->weight[i]) * (experts ? experts_met(&m->cfg, rows) : 1);
    }
    for (int64_t i = 0; q->uk && i < m->cfg.L; i++)
        bytes += (weight_bytes(&q->uk[i]) + weight_bytes(&q->uv[i])) * (double)m->cfg.H;
    return bytes;
}
