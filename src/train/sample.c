/* sample.c -- what the model in training writes, every sample.every steps.
 *
 * What it goes on with is sample.prompt; of a run on conversations that is a question, and the
 * sample an answer. An engine of one sequence runs on the trainer's own panels, so the weights are
 * there once and a sample is what `lisao run --raw` would give of a checkpoint of that step. It
 * draws with a seed made of the run's and the step, so a run that was resumed writes the same
 * samples. */
#include "infer/infer.h"
#include "train/trainer.h"

enum { SAMPLE_ROWS = 64, SHOWN = 400 /* bytes of a sample on the terminal */ };

struct Sampler {
    Plan *plan;
    Engine *engine;
    int32_t *prompt, *out; /* (n_prompt), (sample.tokens) */
    int64_t n_prompt, n;
    Finish finish;
    Buf text; /* the last sample */
};

PlanSpec trainer_spec(const Trainer *t) {
    PlanSpec s = plan_defaults(t->model);
    s.act = t->plan->spec.act, s.kv = t->plan->spec.kv, s.mla = t->plan->spec.mla;
    s.panels = t->plan->panels;
    return s;
}

static bool prompt_encode(Trainer *t, Sampler *s, Err *err) {
    const Recipe *r = t->recipe;
    const Config *c = &t->model->cfg;
    Ids ids = {.a = t->arena};
    Str text = str_of(r->sample.prompt);
    if (!utf8_valid(text))
        return err_set(err, ERR_USAGE, "%s: sample.prompt is not UTF-8", r->path);
    Arena *scratch = arena_open("encoding", ARENA_NO_LIMIT);
    const Message asked = {.role = ROLE_USER, .content = text};
    const bool ok = r->objective == OBJECTIVE_PRETRAIN
                        ? text_encode(&ids, t->text.bundle.tok, text, TEXT_PARSED, scratch, err)
                        : chat_encode(&ids, NULL, &t->text.bundle.chat, &asked, 1,
                                      (ChatOptions){.generate = true}, scratch, err);
    arena_close(scratch);
    if (!ok) return false;
    if (ids.n == 0) return err_set(err, ERR_USAGE, "%s: sample.prompt has no tokens", r->path);
    s->prompt = ids.v, s->n_prompt = ids.n;
    return ids.n + r->sample.tokens <= c->max_positions
           || err_set(err, ERR_USAGE,
                      "%s: sample.prompt has %lld tokens and sample.tokens is %lld, and the model "
                      "has %lld positions: make them shorter",
                      r->path, (long long)ids.n, (long long)r->sample.tokens,
                      (long long)c->max_positions);
}

static const EngineSpec engine_spec = {
    .seqs = 1, .queue = 1, .rows = SAMPLE_ROWS, .no_prefix = true};

bool sampler_spec(PlanSpec *p, Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    Sampler *s = t->sampler = PUSH(t->arena, Sampler, 1);
    if (!prompt_encode(t, s, err)) return false;
    engine_plan(p, t->model, &engine_spec, s->n_prompt + r->sample.tokens, t->team);
    s->out = PUSH(t->arena, int32_t, r->sample.tokens);
    s->text.a = t->scratch;
    return true;
}

bool sampler_open(Trainer *t, Err *err) {
    if (t->recipe->sample.every == 0) return true;
    PlanSpec p = trainer_spec(t);
    if (!sampler_spec(&p, t, err)) return false;
    Sampler *s = t->sampler;
    return plan_new(&s->plan, t->model_arena, t->model, &p, 0, t->team, err)
           && engine_new(&s->engine, t->model_arena, s->plan, &engine_spec, t->team, err);
}

int64_t sampler_bytes_held(const Sampler *s) { return s ? s->plan->bytes : 0; }

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Sampler *s = arg;
    (void)seq, (void)logits;
    if (t.id >= 0 && finish != FINISH_STOP) s->out[s->n++] = t.id;
    s->finish = finish;
}

static bool generate(Trainer *t, Err *err) {
    Sampler *s = t->sampler;
    const Recipe *r = t->recipe;
    const int32_t stop[] = {t->text.end, t->text.bundle.chat.end};
    const bool talks = r->objective != OBJECTIVE_PRETRAIN && stop[1] >= 0;
    const SeqReq q = {.prompt = s->prompt,
                      .n_prompt = s->n_prompt,
                      .max_tokens = r->sample.tokens,
                      .sampling = {.temperature = (float)r->sample.temperature,
                                   .top_p = 1,
                                   .seed = r->seed + (uint64_t)t->step},
                      .stop = stop,
                      .n_stop = talks ? 2 : 1,
                      .on_token = on_token,
                      .arg = s};
    s->n = 0;
    if (!engine_add(s->engine, &q, err)) return false;
    while (engine_step(s->engine)) continue;
    return s->finish != FINISH_ERROR
           || err_set(err, ERR_FORMAT,
                      "writing a sample after step %lld: the model computed a value that is not a "
                      "number. The checkpoint of step %lld is intact; a smaller optim.lr or a "
                      "longer optim.warmup usually helps",
                      (long long)t->step, (long long)t->saved);
}

/* On one line, and nothing that a terminal takes for a command. */
static Str line_shown(Arena *a, Str text) {
    Buf b = {.a = a};
    for (int n; text.n && b.n < SHOWN; text.p += n, text.n -= n) {
        n = MAX(1, utf8_length(text));
        buf_add(&b, utf8_control(text) ? STR(" ") : (Str){text.p, n});
    }
    if (text.n) buf_add(&b, STR(" ..."));
    return buf_str(&b);
}

bool sample_write(Trainer *t, Err *err) {
    Sampler *s = t->sampler;
    const Mark mark = arena_mark(t->scratch);
    s->text = (Buf){.a = t->scratch};
    bool ok = generate(t, err);
    if (ok) {
        text_decode(&s->text, t->text.bundle.tok, s->out, s->n, false);
        const Str text = buf_str(&s->text);
        const bool talks = t->recipe->objective != OBJECTIVE_PRETRAIN;
        Str shown = str_fmt(t->scratch, "%s%s%.*s", t->recipe->sample.prompt, talks ? " -> " : "",
                            STRF(text));
        log_at(LOG_INFO, "step %lld writes: %.*s", (long long)t->step,
               STRF(line_shown(t->scratch, shown)));
        ok = metrics_sample(t, text, s->finish == FINISH_STOP, err);
    }
    arena_pop(t->scratch, mark);
    return ok;
}
