/* quiz.c -- asks a model in training. What the engine computes are the trainer's weights of this
 * very step: both run on the same panels. */
#include "cli/quiz.h"

/* ---- asking ---------------------------------------------------------------------------------- */

typedef struct Asked {
    Quiz *quiz;
    Problem problem;
    int32_t token[QUIZ_POSITIONS];
    int64_t n;
} Asked;

bool quiz_open(Quiz *q, Trainer *t, Err *err) {
    const EngineSpec e = {
        .seqs = QUIZ_TOGETHER, .queue = QUIZ_TOGETHER, .rows = 512, .no_prefix = true};
    PlanSpec p = trainer_spec(t);
    Plan *plan;
    *q = (Quiz){.arena = arena_open("quiz", ARENA_NO_LIMIT),
                .asked = arena_open("questions", ARENA_NO_LIMIT),
                .scratch = arena_open("a question", ARENA_NO_LIMIT),
                .trainer = t};
    engine_plan(&p, trainer_model(t), &e, QUIZ_POSITIONS, trainer_team(t));
    return plan_new(&plan, q->arena, trainer_model(t), &p, 0, trainer_team(t), err)
           && engine_new(&q->engine, q->arena, plan, &e, trainer_team(t), err);
}

void quiz_close(Quiz *q) {
    if (!q->arena) return;
    arena_close(q->arena);
    arena_close(q->asked);
    arena_close(q->scratch);
    *q = (Quiz){0};
}

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Asked *a = arg;
    (void)seq, (void)finish, (void)logits;
    if (t.id >= 0) a->token[a->n++] = t.id;
}

static bool ask(Asked *a, Arena *arena, Arena *scratch, Err *err) {
    const Bundle *b = trainer_text(a->quiz->trainer);
    const Message said = {.role = ROLE_USER, .content = a->problem.prompt};
    const int32_t stop[] = {b->chat.end, (int32_t)trainer_model(a->quiz->trainer)->cfg.eos[0]};
    Ids ids = {.a = arena};
    if (!chat_encode(&ids, NULL, &b->chat, &said, 1, (ChatOptions){.generate = true}, scratch, err))
        return false;
    const SeqReq r = {.prompt = ids.v,
                      .n_prompt = ids.n,
                      .max_tokens = MAX(1, QUIZ_POSITIONS - ids.n),
                      .stop = stop,
                      .n_stop = COUNT(stop),
                      .on_token = on_token,
                      .arg = a};
    return engine_add(a->quiz->engine, &r, err) > 0;
}

/* Takes the model's words apart, and checks the answer. */
static bool marked(const Asked *a, Arena *arena) {
    Quiz *q = a->quiz;
    Buf text = {.a = arena}, thought = {.a = arena}, answer = {.a = arena};
    Splitter s;
    const SplitText to = {.reasoning = &thought, .answer = &answer};
    text_decode(&text, trainer_text(q->trainer)->tok, a->token, a->n, true);
    splitter_init(&s, false, TOOLS_NONE);
    splitter_push(&s, buf_str(&text), &to);
    splitter_end(&s, &to);
    q->prompt = a->problem.prompt;
    q->thought = buf_str(&thought);
    q->answer = buf_str(&answer);
    return q->right = task_check(q->stream.task, &a->problem, q->answer);
}

/* Up to QUIZ_TOGETHER at once. */
static bool ask_some(Quiz *q, int64_t first, int64_t n, int64_t *right, Err *err) {
    Arena *a = q->asked;
    Asked *asked = PUSH(a, Asked, n);
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        asked[i].quiz = q;
        task_problem(&asked[i].problem, a, &q->stream, first + i);
        ok = ask(&asked[i], a, q->scratch, err);
    }
    while (engine_step(q->engine)) {}
    for (int64_t i = 0; ok && i < n; i++) *right += marked(&asked[i], a);
    return ok;
}

bool quiz_ask(Quiz *q, int64_t first, int64_t n, int64_t *right, Err *err) {
    bool ok = true;
    *right = 0;
    for (int64_t i = 0; ok && i < n; i += QUIZ_TOGETHER) {
        arena_pop(q->asked, (Mark){0}); /* the last questions stay until the next call */
        ok = ask_some(q, first + i, MIN(QUIZ_TOGETHER, n - i), right, err);
    }
    return ok;
}

/* ---- experts --------------------------------------------------------------------------------- */

enum { LOOKED_AT = 512 };

typedef struct Look {
    Plan *plan;
    Batch batch;
    Span span[LOOKED_AT];
    int32_t token[LOOKED_AT];
    Want want[LOOKED_AT];
    Out out;
    bool valid;
} Look;

static void look_threads(Thread th, void *arg) {
    Look *k = arg;
    plan_pages(th, k->plan, k->span, k->batch.n_spans);
    const bool valid = model_forward(th, k->plan, &k->batch, &k->out, NULL);
    if (th.i == 0) k->valid = valid;
}

/* Questions as they are asked, as many as a forward of the trainer takes. */
static bool look_fill(Look *k, Quiz *q, int64_t rows, int64_t spans, Err *err) {
    const Bundle *b = trainer_text(q->trainer);
    while (k->batch.n_spans < spans) {
        Problem p;
        Ids ids = {.a = q->asked};
        task_problem(&p, q->asked, &q->stream, k->batch.n_spans);
        const Message said[] = {
            {.role = ROLE_USER, .content = p.prompt},
            {.role = ROLE_ASSISTANT, .content = p.answer, .reasoning = p.thought}};
        if (!chat_encode(&ids, NULL, &b->chat, said, 2, (ChatOptions){0}, q->scratch, err))
            return false;
        if (k->batch.n + ids.n > rows) return true;
        k->span[k->batch.n_spans] = (Span){.row = k->batch.n, .n = ids.n, .seq = k->batch.n_spans};
        k->batch.n_spans++;
        for (int64_t i = 0; i < ids.n; i++, k->batch.n++) {
            k->token[k->batch.n] = ids.v[i];
            k->want[k->batch.n] = (Want){(int32_t)k->batch.n, WANT_EXPERTS};
        }
    }
    return true;
}

bool quiz_experts(Quiz *q, ExpertLoad *load, Err *err) {
    const Config *c = &trainer_model(q->trainer)->cfg;
    Plan *plan = trainer_plan(q->trainer);
    arena_pop(q->asked, (Mark){0});
    Look *k = PUSH(q->asked, Look, 1);
    *load = (ExpertLoad){.layers = MIN(c->L - c->first_dense, QUIZ_LAYERS), .experts = c->E};
    CHECK(load->experts <= QUIZ_EXPERTS);
    const int64_t rows = MIN(LOOKED_AT, plan->spec.logit_rows), K = c->K;
    k->plan = plan;
    k->batch = (Batch){.token = k->token, .span = k->span, .want = k->want};
    k->out.expert = PUSH(q->asked, int32_t, rows * c->L * K);
    k->out.expert_weight = PUSH(q->asked, float, rows * c->L * K);
    if (!look_fill(k, q, rows, MIN(LOOKED_AT, plan->spec.spans), err)) return false;
    k->batch.n_want = load->tokens = k->batch.n;
    team_run(trainer_team(q->trainer), look_threads, k);
    for (int64_t row = 0; k->valid && row < k->batch.n; row++)
        for (int64_t i = 0; i < load->layers; i++)
            for (int64_t j = 0; j < K; j++)
                load->load[i][k->out.expert[(row * c->L + c->first_dense + i) * K + j]]++;
    return true;
}
