/* buffers.c -- the memory that a run has beside its model: rows, work memory, and the plan of a
 * step. plan.c pushes it, too, to count it. */
#include "train/trainer.h"

int64_t most_spans(const Recipe *r) {
    return r->batch.micro / r->batch.sequence * row_pieces(r->batch.sequence);
}

void rows_new(Trainer *t) {
    const int64_t N = t->recipe->batch.micro;
    Arena *a = t->arena;
    t->n_micro = t->recipe->batch.tokens / N;
    t->micro = PUSH(a, Packed, t->n_micro);
    for (int64_t i = 0; i < t->n_micro; i++) t->micro[i] = packed_new(a, N);
    t->span = PUSH(a, Span, most_spans(t->recipe));
    t->want = PUSH(a, Want, N);
}

int64_t rows_most(const Recipe *r) {
    enum { PUSHES = 6, LINE = 64 }; /* of packed_new, each of which may begin on a new line */
    const int64_t N = r->batch.micro, n = r->batch.tokens / N,
                  place = 4 * (int64_t)sizeof(int32_t) + 2 * (int64_t)sizeof(int64_t);
    return n * ((int64_t)sizeof(Packed) + N * place + PUSHES * LINE)
           + most_spans(r) * (int64_t)sizeof(Span) + N * (int64_t)sizeof(Want) + 3 * LINE;
}

void work_new(Trainer *t) {
    Arena *a = t->arena;
    t->logprob = PUSH(a, float, t->recipe->batch.micro);
    t->square = PUSH(a, double, t->model->n_params);
    t->routing = routing_new(a, t->model);
    t->idle = PUSH(a, int64_t, t->routing.layers * t->routing.E);
    t->optim = optim_new(a, t->model, t->recipe, team_threads(t->team));
    further_new(t);
}

PlanSpec step_spec(const Trainer *t, const Model *m, int64_t results) {
    const Recipe *r = t->recipe;
    PlanSpec s = plan_defaults(m);
    s.act = r->act;
    s.kv = r->act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16;
    s.mla = MLA_EXPANDED;
    s.rows = s.logit_rows = r->batch.micro;
    s.spans = most_spans(r);
    s.positions = r->batch.sequence;
    s.training = true;
    s.results = results + s.rows * m->cfg.C * (int64_t)sizeof(float); /* t->hidden */
    return s;
}
