/* quiz.c -- asks a model in training. What the engine computes are the trainer's weights of this
 * very step: both run on the same panels. */
#include "cli/quiz.h"

/* ---- asking ---------------------------------------------------------------------------------- */

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

static void take(void *arg, const Question *question, int64_t sample, const Reply *r) {
    Quiz *q = arg;
    (void)sample;
    q->n_right += r->right;
    if (question->index != q->last) return;
    q->prompt = question->problem.prompt;
    q->thought = str_copy(q->asked, r->thought);
    q->answer = str_copy(q->asked, r->answer);
    q->right = r->right;
}

bool quiz_ask(Quiz *q, int64_t first, int64_t n, int64_t *right, Err *err) {
    const Bundle *b = trainer_text(q->trainer);
    const Model *m = trainer_model(q->trainer);
    const int32_t stop[] = {b->chat.end, (int32_t)m->cfg.eos[0]};
    const Asker k = {.engine = q->engine,
                     .together = QUIZ_TOGETHER,
                     .positions = QUIZ_POSITIONS,
                     .text = b,
                     .V = m->cfg.V,
                     .task = q->stream.task,
                     .stop = stop,
                     .n_stop = COUNT(stop),
                     .max_tokens = QUIZ_POSITIONS,
                     .budget = -1,
                     .take = take,
                     .arg = q};
    arena_pop(q->asked, (Mark){0}); /* the last questions stay until the next call */
    Question *question = PUSH(q->asked, Question, n);
    q->n_right = 0, q->last = first + n - 1;
    for (int64_t i = 0; i < n; i++)
        if (!question_make(&question[i], q->asked, b, &q->stream, first + i, err)) return false;
    const bool ok = questions_ask(&k, question, n, 1, err);
    *right = q->n_right;
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
