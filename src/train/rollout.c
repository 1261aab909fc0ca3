/* rollout.c -- answers to learn from: problems are drawn, the model in training answers each of
 * them several times, and the task's own check says which answers are right.
 *
 * The engine runs on the trainer's panels, so its log-probabilities are the trainer's. A group
 * whose answers are all right or all wrong teaches nothing; further problems are drawn in its
 * place, some rounds long (DAPO, arXiv 2503.14476, 3.2). A round ends before the next is drawn, and
 * an answer's draws come from the problem's number, so nothing depends on how many answers run at
 * once.
 * Kinds of problems that taught more of late are drawn more often: those at the edge of what the
 * model can do. */
#include "train/grpo.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

static const uint64_t KIND_KEY = 0x6b696e64, ANSWER_KEY = 0x616e73776572; /* "kind", "answer" */
static const double FLOOR = 0.05, /* the least weight of a kind, so that it is tried again */
    KEEP = 0.95,                  /* of a kind's signal, a group later */
    REWARD_MOST = 1e6;            /* of a command's */

/* ---- opening --------------------------------------------------------------------------------- */

static void kinds_make(Rollouts *r) {
    for (int64_t i = 0; i < r->n_streams; i++)
        for (int64_t s = 0; s == 0 || (s < STRATA_MAX && r->stream[i].task->stratum[s]); s++)
            r->kind[r->n_kinds++] = (Kind){.stream = i, .stratum = s, .signal = 1};
}

static int64_t strata_of(const Task *t) {
    int64_t n = 0;
    while (n < STRATA_MAX && t->stratum[n]) n++;
    return MAX(n, 1);
}

static bool settings_check(const Recipe *r, Err *err) {
    if (!names_tasks(r->data.train) || (r->data.valid[0] && !names_tasks(r->data.valid)))
        return err_set(err, ERR_USAGE,
                       "%s: objective is grpo, which needs answers that can be checked: expected "
                       "data.train (and data.valid) to be task:NAME, found \"%s\"",
                       r->path, r->data.train);
    if (r->grpo.samples < 2)
        return err_set(err, ERR_USAGE,
                       "%s: grpo.samples is %lld: an answer is better than others of its group "
                       "only, so there must be 2 at least; 8 is usual",
                       r->path, (long long)r->grpo.samples);
    if (r->optim.lr == 0)
        return err_set(err, ERR_USAGE, "%s: optim.lr is 0, with which nothing is learned", r->path);
    if (r->optim.steps % r->grpo.updates || r->checkpoint.every % r->grpo.updates
        || r->eval.every % r->grpo.updates)
        return err_set(err, ERR_USAGE,
                       "%s: grpo.updates is %lld, of which optim.steps (%lld), checkpoint.every "
                       "(%lld) and eval.every (%lld) must be multiples",
                       r->path, (long long)r->grpo.updates, (long long)r->optim.steps,
                       (long long)r->checkpoint.every, (long long)r->eval.every);
    return true;
}

static void groups_make(Rollouts *r, Arena *a, const Recipe *recipe) {
    const int64_t P = recipe->grpo.prompts, G = recipe->grpo.samples,
                  T = recipe->batch.sequence + 1;
    r->group = PUSH(a, Question, P);
    Answer *answer = PUSH(a, Answer, P * G);
    int32_t *token = PUSH(a, int32_t, P * G * T);
    float *logprob = PUSH(a, float, P *G *T);
    for (int64_t i = 0; i < P; i++) r->group[i].answer = answer + i * G;
    for (int64_t i = 0; i < P * G; i++)
        answer[i].token = token + i * T, answer[i].logprob = logprob + i * T;
}

bool rollouts_open(Trainer *t, Err *err) {
    const Recipe *recipe = t->recipe;
    const int64_t N = recipe->batch.micro;
    Sha256 h;
    Rollouts *r = t->rolls = PUSH(t->arena, Rollouts, 1);
    *r = (Rollouts){.arena = arena_open("answers", ARENA_NO_LIMIT)};
    r->empty = arena_mark(r->arena);
    if (!settings_check(recipe, err)
        || !task_streams(r->stream, &r->n_streams, t->arena, recipe->data.train, recipe->seed,
                         false, err)
        || (recipe->data.valid[0]
            && !task_streams(r->valid, &r->n_valid, t->arena, recipe->data.valid, recipe->seed,
                             true, err)))
        return false;
    sha256_init(&h);
    sha256_add(&h, recipe->data.train, (int64_t)strlen(recipe->data.train));
    sha256_hex(&h, t->train[0].key);
    kinds_make(r);
    groups_make(r, t->arena, recipe);
    r->weight = PUSH(t->arena, float, N);
    r->old = PUSH(t->arena, float, N);
    r->entropy = PUSH(t->arena, float, N);
    r->clipped = PUSH(t->arena, float, N);
    return true;
}

void rollouts_close(Rollouts *r) {
    if (!r) return;
    child_close(r->judge);
    bundle_close(&r->first);
    arena_close(r->arena);
}

/* ---- the engine ------------------------------------------------------------------------------ */

/* More answers at once than some 32 for each thread make products no faster, and their keys and
 * values leave the caches (docs/log.md). */
static EngineSpec engine_spec(const Recipe *r, int64_t threads) {
    enum { PER_THREAD = 32, AT_ONCE = 512 };
    const int64_t all = r->grpo.prompts * r->grpo.samples,
                  most = r->grpo.sequences ? r->grpo.sequences : MIN(PER_THREAD * threads, AT_ONCE),
                  seqs = MIN(most, MAX(all, r->grpo.valid_problems));
    return (EngineSpec){.seqs = seqs,
                        .queue = MAX(all, r->grpo.valid_problems),
                        .rows = seqs + 256,
                        .queue_tokens = MAX(all, r->grpo.valid_problems) * (r->batch.sequence + 1)};
}

void rollouts_spec(PlanSpec *p, const Trainer *t) {
    const EngineSpec e = engine_spec(t->recipe, team_threads(t->team));
    engine_plan(p, t->model, &e, t->recipe->batch.sequence, t->team);
}

static void end_add(Rollouts *r, int32_t id) {
    for (int64_t i = 0; i < r->n_end; i++)
        if (r->end[i] == id) return;
    if (id >= 0 && r->n_end < BUNDLE_ENDS) r->end[r->n_end++] = id;
}

/* As for anyone who opens the checkpoint (bundle/): the model's ends of text, and the turn's. */
static void ends_find(Rollouts *r, const Trainer *t) {
    const Config *c = &t->model->cfg;
    end_add(r, t->text.bundle.chat.end);
    for (int64_t i = 0; i < c->n_eos; i++) end_add(r, c->eos[i]);
}

void first_spec(PlanSpec *p, const Trainer *t) {
    const PlanSpec step = step_spec(t, t->model, 0);
    p->rows = p->logit_rows = step.rows;
    p->spans = step.spans, p->positions = step.positions;
}

/* The model that the run began with, for the divergence from it: it stays as it is. */
static bool first_open(Trainer *t, Err *err) {
    Rollouts *r = t->rolls;
    const Recipe *recipe = t->recipe;
    PlanSpec p = {.act = t->plan->spec.act, .kv = t->plan->spec.kv, .mla = t->plan->spec.mla};
    if (recipe->grpo.kl == 0) return true;
    if (!recipe->init_from[0])
        return err_set(
            err, ERR_USAGE,
            "%s: grpo.kl is %g, and there is no init_from to measure the divergence from",
            recipe->path, recipe->grpo.kl);
    r->first_logprob = PUSH(t->model_arena, float, recipe->batch.micro);
    first_spec(&p, t);
    return bundle_open(&r->first, t->model_arena, recipe->init_from, BUNDLE_MODEL, err)
           && plan_new(&r->first_plan, t->model_arena, r->first.model, &p, 0, t->team, err);
}

bool rollouts_start(Trainer *t, Err *err) {
    const EngineSpec e = engine_spec(t->recipe, team_threads(t->team));
    PlanSpec p = trainer_spec(t);
    Rollouts *r = t->rolls;
    rollouts_spec(&p, t);
    ends_find(r, t);
    if (t->recipe->reward.command[0]
        && !child_open(&r->judge, t->arena, t->recipe->reward.command, err))
        return false;
    r->work = PUSH(t->model_arena, float, team_threads(t->team) * t->model->cfg.V);
    return first_open(t, err) && plan_new(&r->plan, t->model_arena, t->model, &p, 0, t->team, err)
           && engine_new(&r->engine, t->model_arena, r->plan, &e, t->team, err);
}

/* ---- problems -------------------------------------------------------------------------------- */

static double kind_weight(const Kind *k) { return FLOOR + (1 - FLOOR) * k->signal; }

/* The kind of problem `number`. */
static int64_t kind_of(const Rollouts *r, uint64_t seed, int64_t number) {
    double all = 0;
    for (int64_t i = 0; i < r->n_kinds; i++) all += kind_weight(&r->kind[i]);
    const Philox x = philox(seed ^ KIND_KEY, (uint64_t)number, 0);
    double at = all * (double)x.w[0] * 0x1p-32;
    for (int64_t i = 0; i < r->n_kinds; i++)
        if ((at -= kind_weight(&r->kind[i])) < 0) return i;
    return r->n_kinds - 1;
}

/* The question as a user asks it, with the beginning of the answer. */
static bool prompt_encode(Question *g, Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    Arena *a = t->rolls->arena;
    const Message asked = {.role = ROLE_USER, .content = g->problem.prompt};
    Ids ids = {.a = a};
    Buf text = {.a = a};
    if (!chat_encode(&ids, &text, &t->text.bundle.chat, &asked, 1, (ChatOptions){.generate = true},
                     t->scratch, err))
        return false;
    g->prompt = ids.v, g->n_prompt = ids.n;
    g->in_thought = chat_opens_thought(buf_str(&text));
    return (ids.n > 0 && ids.n < r->batch.sequence)
           || err_set(err, ERR_USAGE,
                      "%s: the problem \"%.*s\" has %lld tokens, which leaves no room for an "
                      "answer in batch.sequence (%lld)",
                      r->path, STRF(g->problem.prompt), (long long)ids.n,
                      (long long)r->batch.sequence);
}

static bool problem_draw(Question *g, Trainer *t, Err *err) {
    Rollouts *r = t->rolls;
    g->number = r->problems++;
    g->kind = kind_of(r, t->recipe->seed, g->number);
    Kind *k = &r->kind[g->kind];
    const TaskStream *s = &r->stream[k->stream];
    task_problem(&g->problem, r->arena, s, k->next++ * strata_of(s->task) + k->stratum);
    return prompt_encode(g, t, err);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Answer *a = arg;
    (void)seq, (void)logits;
    if (t.id >= 0) a->token[a->n] = t.id, a->logprob[a->n++] = t.logprob;
    a->finish = finish;
}

static uint64_t answer_seed(const Recipe *r, int64_t problem, int64_t sample) {
    const Philox x = philox(r->seed ^ ANSWER_KEY, (uint64_t)problem, (uint32_t)sample);
    return (uint64_t)x.w[0] << 32 | x.w[1];
}

static bool answer_ask(Answer *a, const Question *g, const Trainer *t, double temperature,
                       uint64_t seed, int64_t like, Err *err) {
    const Recipe *r = t->recipe;
    *a = (Answer){
        .token = a->token, .logprob = a->logprob, .n_prompt = g->n_prompt, .n = g->n_prompt};
    memcpy(a->token, g->prompt, (size_t)g->n_prompt * sizeof *a->token);
    const SeqReq q = {.prompt = a->token,
                      .n_prompt = a->n_prompt,
                      .max_tokens = MIN(r->grpo.max_tokens, r->batch.sequence + 1 - a->n_prompt),
                      .sampling = {.temperature = (float)temperature, .top_p = 1, .seed = seed},
                      .stop = t->rolls->end,
                      .n_stop = t->rolls->n_end,
                      .like = like,
                      .on_token = on_token,
                      .arg = a};
    a->seq = engine_add(t->rolls->engine, &q, err);
    return a->seq != 0;
}

/* As `lisao eval` reads it: what stands behind the thought is the answer, a tool call included. */
static void answer_read(Answer *a, const Question *g, const Trainer *t) {
    Buf reasoning = {.a = t->rolls->arena}, text = {.a = t->rolls->arena};
    Splitter s;
    splitter_init(&s, g->in_thought, TOOLS_NONE);
    splitter_tokens(&s, t->text.bundle.tok, a->token + a->n_prompt,
                    a->n - a->n_prompt - (a->finish == FINISH_STOP),
                    &(SplitText){.reasoning = &reasoning, .answer = &text});
    a->reasoning = buf_str(&reasoning), a->text = buf_str(&text);
}

static void answer_judge(Answer *a, const Question *g, const Trainer *t, const Task *task) {
    answer_read(a, g, t);
    a->right = a->finish == FINISH_STOP && task_check(task, &g->problem, a->text);
    a->reward = a->right;
}

static json_t *text_json(Str s) { return json_stringn(s.n ? s.p : "", (size_t)s.n); }

/* NULL where the answer is not UTF-8: it has no line. */
static json_t *answer_json(const Trainer *t, const Question *g, const Answer *a) {
    const Rollouts *r = t->rolls;
    const Kind *k = &r->kind[g->kind];
    return json_pack("{s:s, s:s, s:o, s:o, s:o*, s:o*, s:b, s:I, s:s}", "task",
                     r->stream[k->stream].task->name, "stratum", g->problem.stratum, "problem",
                     text_json(g->problem.canonical), "prompt", text_json(g->problem.prompt),
                     "reasoning", text_json(a->reasoning), "answer", text_json(a->text), "right",
                     (int)a->right, "tokens", (json_int_t)(a->n - a->n_prompt), "finish",
                     a->finish == FINISH_STOP ? "stop" : "length");
}

/* The line of an object, which it takes over. */
static Str line_of(Arena *a, json_t *o) {
    char *z = json_dumps(o, 0);
    json_decref(o);
    CHECK(z);
    const Str line = str_copy(a, str_of(z));
    free(z);
    return line;
}

/* {"reward": NUMBER}, of which a gradient can be made. */
static bool reward_read(double *reward, Str line, const Recipe *r, Err *err) {
    json_t *o = json_loadb(line.p, (size_t)line.n, 0, NULL);
    const json_t *value = json_object_get(o, "reward");
    const bool ok = json_is_number(value) && fabs(json_number_value(value)) <= REWARD_MOST;
    *reward = json_number_value(value);
    json_decref(o);
    return ok
           || err_set(err, ERR_FORMAT,
                      "reward.command (%s) answered \"%.*s\", expected {\"reward\": NUMBER} from "
                      "-%g to %g",
                      r->reward.command, (int)MIN(line.n, 200), line.p, REWARD_MOST, REWARD_MOST);
}

/* The reward that the recipe's own program gives. */
static bool reward_ask(Answer *a, const Question *g, const Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    json_t *o = answer_json(t, g, a);
    Str line;
    a->reward = 0;
    if (!o) return true;
    const Mark mark = arena_mark(t->scratch);
    const bool ok = child_ask(t->rolls->judge, t->scratch, line_of(t->scratch, o), &line,
                              r->reward.timeout, err)
                    && reward_read(&a->reward, line, r, err);
    arena_pop(t->scratch, mark);
    return ok;
}

static bool answers_void(const Trainer *t, Err *err) {
    return err_set(err, ERR_FORMAT,
                   "answering problems after step %lld: the model computed a value that is not a "
                   "number. The checkpoint of step %lld is intact; a smaller optim.lr or a longer "
                   "optim.warmup usually helps",
                   (long long)t->step, (long long)t->saved);
}

/* ---- a round --------------------------------------------------------------------------------- */

static bool teaches(const Question *g, int64_t samples) {
    for (int64_t i = 1; i < samples; i++)
        if (g->answer[i].reward != g->answer[0].reward) return true;
    return false;
}

static void group_count(Rollouts *r, const Question *g, int64_t samples) {
    Drawn *d = &r->drawn;
    Kind *k = &r->kind[g->kind];
    const bool signal = teaches(g, samples);
    for (const Answer *a = g->answer; a < g->answer + samples; a++) {
        d->reward += a->reward;
        d->right += a->right, k->right += a->right;
        d->closed += a->finish == FINISH_STOP && a->text.n > 0;
        d->cut += a->finish == FINISH_LENGTH;
        d->tokens += a->n - a->n_prompt;
    }
    d->answers += samples, k->answers += samples;
    d->groups++, k->groups++;
    d->solved += !signal && g->answer[0].right;
    d->hopeless += !signal && !g->answer[0].right;
    k->signal = KEEP * k->signal + (1 - KEEP) * signal;
}

/* The first answer to each problem, then the others, which begin with a copy of its prompt. */
static bool round_ask(Trainer *t, Err *err) {
    const Recipe *recipe = t->recipe;
    Rollouts *r = t->rolls;
    Question *const first = r->group + r->n_groups, *const end = r->group + recipe->grpo.prompts;
    for (Question *g = first; g < end; g++)
        if (!problem_draw(g, t, err)) return false;
    for (int64_t i = 0; i < recipe->grpo.samples; i++)
        for (Question *g = first; g < end; g++)
            if (!answer_ask(&g->answer[i], g, t, recipe->grpo.temperature,
                            answer_seed(recipe, g->number, i), i ? g->answer[0].seq : 0, err))
                return false;
    while (engine_step(r->engine)) continue;
    return true;
}

/* Fills the groups behind those that are kept, and keeps those that teach something. */
static bool round_run(Trainer *t, Err *err) {
    const int64_t samples = t->recipe->grpo.samples;
    Rollouts *r = t->rolls;
    if (!round_ask(t, err)) return false;
    for (int64_t i = r->n_groups; i < t->recipe->grpo.prompts; i++) {
        Question *g = &r->group[i], kept = *g;
        for (Answer *a = g->answer; a < g->answer + samples; a++) {
            if (a->finish == FINISH_ERROR) return answers_void(t, err);
            answer_judge(a, g, t, r->stream[r->kind[g->kind].stream].task);
            if (r->judge && !reward_ask(a, g, t, err)) return false;
        }
        group_count(r, g, samples);
        if (!teaches(g, samples)) continue;
        *g = r->group[r->n_groups], r->group[r->n_groups++] = kept;
    }
    return true;
}

bool rollouts_draw(Trainer *t, Err *err) {
    const Recipe *recipe = t->recipe;
    Rollouts *r = t->rolls;
    const double start = os_now();
    arena_pop(r->arena, r->empty);
    r->drawn = (Drawn){0};
    for (Kind *k = r->kind; k < r->kind + r->n_kinds; k++) k->groups = k->answers = k->right = 0;
    engine_forget(r->engine);
    r->n_groups = 0;
    for (int64_t i = 0; i < recipe->grpo.rounds && r->n_groups < recipe->grpo.prompts; i++)
        if (!round_run(t, err)) return false;
    r->drawn.seconds = os_now() - start;
    return true;
}

/* ---- held-out problems ----------------------------------------------------------------------- */

bool rollouts_valid(Trainer *t, double *rate, Err *err) {
    Rollouts *r = t->rolls;
    const int64_t n = t->recipe->grpo.valid_problems, T = t->recipe->batch.sequence + 1;
    int64_t right = 0;
    const Mark mark = arena_mark(r->arena);
    Question *g = PUSH(r->arena, Question, n);
    Answer *a = PUSH(r->arena, Answer, n);
    engine_forget(r->engine);
    for (int64_t i = 0; i < n; i++) {
        const TaskStream *s = &r->valid[i % r->n_valid];
        task_problem(&g[i].problem, r->arena, s, i / r->n_valid);
        a[i] = (Answer){.token = PUSH(r->arena, int32_t, T), .logprob = PUSH(r->arena, float, T)};
        if (!prompt_encode(&g[i], t, err) || !answer_ask(&a[i], &g[i], t, 0, 0, 0, err))
            return false;
    }
    while (engine_step(r->engine)) continue;
    for (int64_t i = 0; i < n; i++) {
        if (a[i].finish == FINISH_ERROR) return answers_void(t, err);
        answer_judge(&a[i], &g[i], t, r->valid[i % r->n_valid].task);
        right += a[i].right;
    }
    arena_pop(r->arena, mark);
    *rate = (double)right / (double)n;
    return true;
}

/* ---- transcripts ----------------------------------------------------------------------------- */

static bool answer_write(const Trainer *t, const Question *g, const Answer *a, Err *err) {
    json_t *o = answer_json(t, g, a);
    if (!o) return true;
    json_object_set_new(o, "step", json_integer((json_int_t)t->stats.step));
    json_object_set_new(o, "reward", json_real(a->reward));
    const Mark mark = arena_mark(t->scratch);
    const Str json = line_of(t->scratch, o), line = str_fmt(t->scratch, "%.*s\n", STRF(json));
    const bool ok = os_append(rollouts_path(t).p, line, err);
    arena_pop(t->scratch, mark);
    return ok;
}

bool rollouts_write(const Trainer *t, Err *err) {
    const Recipe *recipe = t->recipe;
    const Rollouts *r = t->rolls;
    for (int64_t i = 0; i < MIN(recipe->grpo.transcripts, r->n_groups); i++)
        if (!answer_write(t, &r->group[i], &r->group[i].answer[0], err)) return false;
    return true;
}
