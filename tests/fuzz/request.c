/* request.c -- fuzz target: the body of a request, from its bytes to the job for the engine, the
 * first byte choosing route and model. Either there is a job within the model's bounds, or a fault
 * that says what is wrong. */
#include "desk.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void choice_check(const Choice *o, const Bundle *b) {
    const Ask *r = &o->ask;
    const Sampling *s = &r->sampling;
    CHECK(r->n_prompt >= 1 && r->max_tokens >= 1 && r->n_prompt + r->max_tokens <= DESK_CONTEXT);
    for (int64_t i = 0; i < r->n_prompt; i++)
        CHECK(r->prompt[i] >= 0 && r->prompt[i] < b->model->cfg.V);
    CHECK(s->temperature >= 0 && s->top_p >= 0 && s->top_p <= 1 && s->top_k >= 0);
    CHECK(r->n_stop <= STOPS_MAX && r->n_bias <= BIAS_MAX && r->n_top <= 20);
    for (int64_t i = 0; i < r->n_bias; i++)
        CHECK(r->bias[i].id >= 0 && r->bias[i].id < b->model->cfg.V);
}

static void job_check(Job *j) {
    CHECK(j->n >= 1);
    for (int64_t i = 0; i < j->n; i++) {
        choice_check(&j->choice[i], j->m->bundle);
        form_bind(&j->choice[i]);
    }
}

static void fault_check(const Call *c) {
    CHECK(c->fault.status >= 400 && c->fault.status <= 503 && c->fault.message[0]);
    for (int style = STYLE_OPENAI; style <= STYLE_ANTHROPIC; style++) {
        json_t *j = fault_json(&c->fault, (Style)style, "req_0");
        CHECK(j); /* it is text, whatever it quotes */
        json_decref(j);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static RouteFn *const runs[] = {answer_chat,      answer_text,   answer_messages,
                                    answer_responses, answer_verify, answer_embeddings};
    static Desk *s;
    Exchange x;
    Call c;
    if (size < 1) return 0;
    if (!s) s = desk_open();
    const Mark mark = arena_mark(s->a);
    const int which = bytes[0] % COUNT(runs);
    Job *j = desk_ask(s, &c, &x, runs[which], (Str){(const char *)bytes + 1, (int64_t)size - 1});
    if (j)
        job_check(j);
    else
        fault_check(&c);
    desk_drop(&c, j);
    arena_pop(s->a, mark);
    return 0;
}
