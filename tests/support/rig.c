/* rig.c -- see rig.h. */
#include "rig.h"

const char *rig_path(Arena *a, const char *name) {
    if (!strcmp(name, RIG_SMOLLM2)) return need_smollm2(a);
    const char *folder = str_ends(str_of(name), STR(".gguf")) ? "gguf" : "models";
    return need_reference(a, str_fmt(a, "%s/%s", folder, name).p);
}

/* The test cannot go on: what the world did stands in err. */
static void must(bool ok, const Err *err) {
    if (!ok) log_at(LOG_ERROR, "%s", err->msg);
    CHECK(ok);
}

void rig_open(Rig *r, Arena *a, Team *team, const char *path) { rig_open_mtp(r, a, team, path, 0); }

void rig_open_mtp(Rig *r, Arena *a, Team *team, const char *path, int64_t mtp) {
    Err err = {0};
    *r = (Rig){.a = a, .team = team};
    must(store_open(&r->store, a, path, &err), &err);
    must(model_open_mtp(&r->model, a, r->store, mtp, &err), &err);
    r->model->cfg.max_positions = MAX(r->model->cfg.max_positions, RIG_POSITIONS);
}

void rig_plan(Rig *r, PlanSpec plan, const EngineSpec *spec, int64_t positions) {
    Err err = {0};
    engine_plan(&plan, r->model, spec, positions, r->team);
    must(plan_new(&r->plan, r->a, r->model, &plan, 0, r->team, &err), &err);
    rig_engine(r, spec);
}

void rig_engine(Rig *r, const EngineSpec *spec) {
    Err err = {0};
    must(engine_new(&r->engine, r->a, r->plan, spec, r->team, &err), &err);
}

void rig_close(Rig *r) { store_close(r->store); }

/* ---- requests -------------------------------------------------------------------------------- */

void ask_prompt(int32_t *token, int64_t text, int64_t n, int64_t V) {
    for (int64_t i = 0; i < n; i++)
        token[i] = (int32_t)(philox((uint64_t)text, (uint64_t)i, 3).w[0] % (uint64_t)V);
}

static void answer_hear(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Answer *a = arg;
    CHECK(a->finish == FINISH_NONE && a->seq == seq);
    CHECK((t.id < 0) == !logits
          && (t.id >= 0 || finish == FINISH_CANCEL || finish == FINISH_ERROR));
    a->finish = finish;
    a->last = engine_stats(a->engine).steps;
    if (t.id < 0) return;
    CHECK(a->n < ANSWER_MAX && t.id < a->V);
    CHECK(bits_of_f32(t.logprob) == bits_of_f32(logits[t.id] - row_lse(logits, a->V)));
    if (a->n == 0) a->first = a->last;
    a->token[a->n++] = t;
    sha256_add(&a->sha, logits, a->V * (int64_t)sizeof *logits);
    sha256_add(&a->sha, &t.id, sizeof t.id);
    sha256_add(&a->sha, &t.logprob, sizeof t.logprob);
}

int64_t ask(Rig *r, const Ask *q, Answer *to, Err *err) {
    int32_t prompt[PROMPT_MAX];
    CHECK(q->n <= PROMPT_MAX);
    ask_prompt(prompt, q->text, q->n, r->model->cfg.V);
    *to = (Answer){.engine = r->engine, .V = r->model->cfg.V};
    sha256_init(&to->sha);
    return to->seq = engine_add(r->engine,
                                &(SeqReq){.prompt = prompt,
                                          .n_prompt = q->n,
                                          .max_tokens = q->max_tokens,
                                          .sampling = q->sampling,
                                          .stop = q->stop,
                                          .n_stop = q->n_stop,
                                          .given = q->given,
                                          .bias = q->bias,
                                          .n_bias = q->n_bias,
                                          .constraint = q->constraint,
                                          .drafter = q->drafter,
                                          .tenant = q->tenant,
                                          .account = q->account,
                                          .priority = q->priority,
                                          .like = q->like,
                                          .on_token = answer_hear,
                                          .arg = to},
                                err);
}

bool answer_same(const Answer *a, const Answer *b) {
    char x[65], y[65];
    Sha256 sx = a->sha, sy = b->sha;
    sha256_hex(&sx, x);
    sha256_hex(&sy, y);
    return a->n == b->n && a->finish == b->finish && !strcmp(x, y);
}

void rig_run(Rig *r) {
    while (engine_step(r->engine)) continue;
}
