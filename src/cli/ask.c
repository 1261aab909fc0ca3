/* ask.c -- puts problems to a model and checks its answers.
 *
 * Every answer is a sequence of its own in a place of its own; as many run at once as there are
 * places, and the next begins when one is through. Questions are taken as many at a time as there
 * are places: of these first one sample each, then the second, and so on. So the pages of a prompt
 * are there, and were used lately, when its next sample begins. */
#include "cli/ask.h"
#include "cli/cli.h"

#include <stdio.h>

typedef struct Place {
    Arena *a;
    const Question *question; /* NULL: free */
    int64_t sample, seq;
    int32_t *token;
    int64_t n;
    Finish finish;
    Constraint limit;
} Place;

typedef struct Asking {
    const Asker *k;
    const Question *question;
    int64_t n, samples, begun, done, right, tokens;
    double start;
    Place *place; /* (together) */
} Asking;

/* ---- questions ------------------------------------------------------------------------------- */

bool question_make(Question *q, Arena *a, const Bundle *b, const TaskStream *s, int64_t index,
                   Err *err) {
    Arena *scratch = arena_open("a question", ARENA_NO_LIMIT);
    Buf shown = {.a = scratch};
    Arena *more = arena_open("its template", ARENA_NO_LIMIT);
    *q = (Question){.index = index, .ids.a = a};
    task_problem(&q->problem, a, s, index);
    const Message said = {.role = ROLE_USER, .content = q->problem.prompt};
    bool ok;
    if (b->loaded & BUNDLE_CHAT)
        ok = chat_encode(&q->ids, &shown, &b->chat, &said, 1, (ChatOptions){.generate = true}, more,
                         err);
    else
        ok = (b->bos < 0 || ids_add(&q->ids, b->bos))
             && text_encode(&q->ids, b->tok, said.content, TEXT_PLAIN, more, err);
    q->in_thought = ok && chat_opens_thought(buf_str(&shown));
    arena_close(more);
    arena_close(scratch);
    return ok;
}

/* ---- answers --------------------------------------------------------------------------------- */

static Reply reply_of(const Asker *k, const Place *p) {
    Buf thought = {.a = p->a}, answer = {.a = p->a};
    const SplitText to = {.reasoning = &thought, .answer = &answer};
    const bool stopped = p->finish == FINISH_STOP;
    Splitter s;
    splitter_init(&s, p->question->in_thought, TOOLS_NONE);
    splitter_tokens(&s, k->text->tok, p->token, p->n - stopped, &to);
    const bool thinks = k->text->loaded & BUNDLE_CHAT && k->text->chat.thought_end.n;
    const bool closed = s.thought && s.state != SPLIT_THOUGHT;
    return (Reply){.thought = s.thought ? (Str){thought.p ? thought.p : "", thought.n} : (Str){0},
                   .answer = buf_str(&answer),
                   .finish = p->finish,
                   .tokens = p->n,
                   .right = stopped && task_check(k->task, &p->question->problem, buf_str(&answer)),
                   .formed = stopped && (closed || !thinks) && str_trim(buf_str(&answer), " \n").n};
}

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Place *p = arg;
    (void)seq, (void)logits;
    if (t.id >= 0) p->token[p->n++] = t.id;
    p->finish = finish;
}

/* 64 bits for each answer, so that no two draw by the same numbers. */
static uint64_t seed_of(uint64_t seed, int64_t index, int64_t sample) {
    const Philox x = philox(seed ^ 0x61736b, (uint64_t)index, (uint32_t)sample); /* "ask" */
    return (uint64_t)x.w[0] << 32 | x.w[1];
}

/* Question and sample of answer number i, in the order that the head of this file tells. */
static void answer_place(const Asking *g, int64_t i, int64_t *question, int64_t *sample) {
    const int64_t block = i / (g->k->together * g->samples) * g->k->together,
                  in_block = MIN(g->k->together, g->n - block), rest = i - block * g->samples;
    *question = block + rest % in_block;
    *sample = rest / in_block;
}

static bool place_start(Asking *g, Place *p, Err *err) {
    const Asker *k = g->k;
    int64_t at;
    arena_pop(p->a, (Mark){0});
    p->finish = FINISH_NONE, p->n = 0, p->limit = (Constraint){0};
    answer_place(g, g->begun++, &at, &p->sample);
    const Question *q = p->question = &g->question[at];
    const int64_t most = MIN(k->max_tokens, k->positions - q->ids.n);
    p->token = PUSH(p->a, int32_t, most);
    if (k->budget >= 0
        && !thought_budget(&p->limit, p->a, &k->text->chat, k->V, k->budget, q->in_thought, err))
        return false;
    const SeqReq r = {.prompt = q->ids.v,
                      .n_prompt = q->ids.n,
                      .max_tokens = most,
                      .sampling = {.temperature = k->temperature,
                                   .top_p = 1,
                                   .seed = seed_of(k->seed, q->index, p->sample)},
                      .stop = k->stop,
                      .n_stop = k->n_stop,
                      .constraint = p->limit.self ? &p->limit : NULL,
                      .on_token = on_token,
                      .arg = p};
    return (p->seq = engine_add(k->engine, &r, err)) > 0;
}

static bool place_end(Asking *g, Place *p, Err *err) {
    if (p->finish == FINISH_ERROR) return generation_void(err);
    const Reply r = reply_of(g->k, p);
    g->done++, g->right += r.right, g->tokens += r.tokens;
    g->k->take(g->k->arg, p->question, p->sample, &r);
    p->question = NULL;
    return true;
}

static bool places_turn(Asking *g, Err *err) {
    for (Place *p = g->place; p < g->place + g->k->together; p++) {
        if (p->question && p->finish && !place_end(g, p, err)) return false;
        if (!p->question && g->begun < g->n * g->samples && !place_start(g, p, err)) return false;
    }
    return true;
}

static void bar_show(const Asking *g) {
    char extra[64];
    snprintf(extra, sizeof extra, "%lld right, %.0f tokens/s", (long long)g->right,
             (double)g->tokens / (os_now() - g->start));
    progress_at(g->k->bar, g->done, extra);
}

bool questions_ask(const Asker *k, const Question *q, int64_t n, int64_t samples, Err *err) {
    Arena *a = arena_open("asking", ARENA_NO_LIMIT);
    Asking g = {.k = k, .question = q, .n = n, .samples = samples, .start = os_now()};
    g.place = PUSH(a, Place, k->together);
    for (int64_t i = 0; i < k->together; i++) g.place[i].a = arena_open("answer", ARENA_NO_LIMIT);
    while (places_turn(&g, err) && g.done < n * samples) {
        if (os_interrupted()) {
            err_set(err, ERR_INTERRUPTED, "interrupted; nothing is measured");
            break;
        }
        engine_step(k->engine);
        if (k->bar) bar_show(&g);
    }
    /* What is left after an error: the engine must not call back. */
    for (int64_t i = 0; i < k->together; i++)
        if (g.place[i].question && !g.place[i].finish) engine_cancel(k->engine, g.place[i].seq);
    while (engine_step(k->engine)) continue;
    for (int64_t i = 0; i < k->together; i++) arena_close(g.place[i].a);
    arena_close(a);
    return err->code == ERR_NONE;
}
