/* engine_thread.c -- the engine thread: takes jobs, steps the engine, lets faces write what came.
 *
 * A job belongs to this thread from job_send to the end of its exchange. Nothing here waits for a
 * client: what cannot be written is dropped by HTTP, and the job with it. */
#include "serve/api.h"

enum { DRAFT_SEQS = 4, WHOLE_WAITS = 3 };
static const double IDLE_SECONDS = 0.2, DRAIN_SECONDS = 30;

typedef struct Running {
    Api *api;
    Engine *engine;
    Job *jobs; /* under way */
} Running;

/* ---- tokens ---------------------------------------------------------------------------------- */

/* Whether the last token was one of the thought: those of its tags are. */
static bool thinks(const Choice *c) {
    const SplitState s = c->g.splitter.state;
    return (c->ask.in_thought || c->g.splitter.thought) && s != SPLIT_ANSWER && s != SPLIT_CALL;
}

static Str rest(const Buf *b, int64_t from) { return (Str){b->p + from, b->n - from}; }

/* Calls that are whole; behind them stands the text of one that is not. */
static int64_t calls_whole(const Generation *g) {
    return g->splitter.state == SPLIT_CALL ? g->splitter.call : g->calls.n;
}

/* Called when the text of a token has been taken apart. */
static void token_shown(void *arg, Token t, Finish finish) {
    Choice *c = arg;
    Job *j = c->job;
    Generation *g = &c->g;
    ExchangeNote *note = exchange_note(j->x);
    if (note->first <= 0 && t.id >= 0) note->first = os_now() - exchange_began(j->x);
    const bool thought = t.id >= 0 && !g->plain && thinks(c);
    c->n_thought += thought;
    if (c->of_thought && t.id >= 0 && g->n > 0) c->of_thought[g->n - 1] = thought;
    if (finish != FINISH_NONE) c->ended = true;
    if (j->verify && t.id >= 0) verify_token(c);
    if (c->sum && t.id >= 0) embedding_token(c);
    if (finish == FINISH_NONE && verify_differs(c)) engine_cancel(g->engine, g->seq);
    if (!j->stream || job_gone(j)) return;
    const Delta d = {rest(&g->reasoning, c->thought_sent),
                     rest(&g->text, c->text_sent),
                     {g->calls.p + c->calls_sent, calls_whole(g) - c->calls_sent},
                     c->tokens_sent};
    if (d.thought.n || d.text.n || d.calls.n || (j->logprobs && g->n > d.from)) {
        j->face->delta(c, &d);
        c->thought_sent = g->reasoning.n, c->text_sent = g->text.n, c->calls_sent = calls_whole(g);
        c->tokens_sent = g->n;
    }
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void job_begin(Job *j) {
    if (!j->stream) return;
    job_heads(j);
    if (j->kept) exchange_head(j->x, "x-lisao-stream", j->id);
    exchange_head(j->x, "x-accel-buffering", "no");
    exchange_begin(j->x, 200, "text/event-stream; charset=utf-8");
    j->began = true, j->wrote = os_now();
    if (j->face->begin) j->face->begin(j);
}

static void job_cancel(Running *d, Job *j) {
    for (int64_t i = 0; i < j->n; i++) {
        Choice *c = &j->choice[i];
        if (c->started && !c->ended) engine_cancel(d->engine, c->g.seq);
        c->ended |= !c->started;
    }
}

/* With few sequences a step reads the weights for little else, and rows for guesses cost next to
 * nothing; with many they would take time from the others. */
static void drafter_give(Running *d, Choice *c) {
    if (engine_stats(d->engine).active >= DRAFT_SEQS || c->drafter.self || c->sum) return;
    lookup_drafter(&c->drafter, c->job->a);
    c->ask.drafter = &c->drafter;
}

static bool choice_start(Running *d, Choice *c, Err *err) {
    form_bind(c);
    drafter_give(d, c);
    c->g = (Generation){.token_shown = token_shown, .arg = c};
    c->started = generation_start(&c->g, c->job->a, d->api->bundle, d->engine, &c->ask, err);
    return c->started;
}

/* Starts choices, as many as the job may have at once. One that finds no place fails the job, or
 * where others of it run waits for their end. */
static bool job_more(Running *d, Job *j, Err *err) {
    int64_t running = 0;
    for (int64_t i = 0; i < j->begun; i++) running += !j->choice[i].ended;
    for (; j->begun < j->n && (!j->most || running < j->most); j->begun++, running++) {
        Choice *c = &j->choice[j->begun];
        if (!choice_start(d, c, err)) return j->most && running > 0;
        for (int64_t k = j->begun + 1; k < j->n; k++) /* the prompt is computed once */
            if (j->choice[k].ask.prompt == c->ask.prompt) j->choice[k].ask.like = c->g.seq;
    }
    return true;
}

static void job_fail(Running *d, Job *j, const Err *err) {
    j->failed = true;
    fault_err(&j->fault, err);
    job_cancel(d, j);
}

/* All choices or none: where one finds no place, those before it are taken back. */
static void job_start(Running *d, Job *j) {
    Err err = {0};
    j->next = d->jobs, d->jobs = j;
    j->wrote = os_now();
    exchange_note(j->x)->waited = j->wrote - exchange_began(j->x);
    count_add(d->api, &d->api->count.running, 1);
    if (j->stream) kept_begin(j);
    const bool fine = j->background && !j->kept
                          ? err_set(&err, ERR_LIMIT, "no more streams are kept for this tenant now")
                          : job_more(d, j, &err);
    if (!fine) {
        job_fail(d, j, &err);
        return;
    }
    job_begin(j);
    exchange_on_gone(j->x, job_leave, j);
}

static bool job_over(const Job *j) {
    for (int64_t i = 0; i < j->n; i++)
        if (!j->choice[i].ended) return false;
    return true;
}

/* The first choice that has no answer is what went wrong with all. */
static void job_check(Job *j) {
    Err err = {0};
    for (int64_t i = 0; i < j->n && !j->fault.status; i++)
        if (j->choice[i].started && !generation_fine(&j->choice[i].g, &err))
            fault_err(&j->fault, &err);
}

static void job_count(Job *j) {
    Api *api = j->api;
    Counts *n = &api->count;
    Usage used = {.requests = 1};
    ExchangeNote *note = exchange_note(j->x);
    for (int64_t i = 0; i < j->n; i++) {
        const Choice *c = &j->choice[i];
        used.tokens_in += choice_read(c), used.tokens_out += choice_written(c);
        used.tokens_cached += c->g.n_cached;
        note->tokens_thought += c->n_thought;
        count_add(api, &n->tokens, choice_written(c));
        count_add(api, &n->reasoning_tokens, c->n_thought);
        count_add(api, &n->prompt_tokens, choice_read(c));
        count_add(api, &n->cached_tokens, c->g.n_cached);
    }
    note->tokens_in = used.tokens_in, note->tokens_cached = used.tokens_cached;
    note->tokens_out = used.tokens_out;
    note->code = j->fault.status ? j->fault.code : NULL;
    if (job_gone(j)) count_add(api, &n->cancelled, 1);
    if (j->fault.status) count_add(api, &n->failed, 1);
    gate_leave(j, &used);
}

static void job_drop(Job *j) {
    if (j->face->drop) j->face->drop(j);
    form_leave(j->api, j->form);
    verify_drop(j->verify);
}

/* What did not come to its end is no answer, except to a verification, which has ended it. */
static void job_cancelled(Job *j) {
    for (int64_t i = 0; i < j->n && !j->verify; i++)
        if (j->choice[i].g.finish == FINISH_CANCEL || !j->choice[i].started)
            fault_set(&j->fault, 503, "server_error", "cancelled", NULL,
                      "the answer was cancelled");
}

/* An error behind blank lines has the status 200 that they came with. */
static void fault_write(Job *j) {
    json_t *fault = fault_json(&j->fault, j->style, exchange_id(j->x));
    char *text = json_dumps(fault, JSON_COMPACT);
    exchange_end_with(j->x, str_of(text ? text : "{}"));
    free(text);
    json_decref(fault);
}

/* What of the answer was not written yet, or what went wrong. */
static void job_reply(Job *j) {
    const bool fault = j->fault.status != 0;
    if (j->stream && j->began) {
        exchange_end(j->x);
    } else if (j->blank) {
        if (fault)
            fault_write(j);
        else
            exchange_end_with(j->x, buf_str(&j->out));
    } else if (fault) {
        fault_answer(j->x, &j->fault, j->style);
    } else {
        job_heads(j);
        exchange_answer(j->x, 200, "application/json", buf_str(&j->out));
    }
}

/* The answer is made before what it is made of goes; with the exchange the job itself is gone. */
static void job_finish(Job *j) {
    job_check(j);
    job_count(j);
    job_cancelled(j);
    const bool fault = j->fault.status != 0;
    if (fault && j->began) j->face->fault(j, &j->fault);
    for (int64_t i = 0; !fault && j->stream && i < j->n; i++)
        if (j->face->end) j->face->end(&j->choice[i]);
    if (!fault) j->face->finish(j);
    kept_end(j, !fault                                ? "completed"
                : !strcmp(j->fault.code, "cancelled") ? "cancelled"
                                                      : "failed");
    job_drop(j);
    job_reply(j);
}

/* A blank line before JSON is nothing to those who read it, and something to what lies between. It
 * says that there is an answer (status 200), so the first one comes late: few answers fail then. */
static void blank_write(Job *j) {
    if (!j->blank) {
        job_heads(j);
        exchange_begin(j->x, 200, "application/json");
    }
    j->blank = true;
    if (!exchange_write(j->x, STR("\n"))) job_leave(j);
}

static void job_alive(Job *j, double now) {
    const double alive = j->api->spec->alive, waits = j->stream || j->blank ? 1 : WHOLE_WAITS;
    if (alive <= 0 || now - j->wrote <= alive * waits) return;
    if (!j->stream)
        blank_write(j);
    else if (j->began)
        j->face->alive(j);
    j->wrote = now;
}

/* Ends what is over, cancels whose client has gone, and lets no stream fall silent. */
static void jobs_sweep(Running *d) {
    const double now = os_now();
    for (Job **at = &d->jobs; *at;) {
        Job *j = *at;
        if (job_over(j)) {
            *at = j->next;
            count_add(d->api, &d->api->count.running, -1);
            job_finish(j); /* j is gone */
            continue;
        }
        Err err = {0};
        if (job_gone(j))
            job_cancel(d, j);
        else if (!job_more(d, j, &err))
            job_fail(d, j, &err);
        else
            job_alive(j, now);
        at = &j->next;
    }
}

static void stats_show(Api *api, const Engine *engine) {
    const EngineStats now = engine_stats(engine);
    monitor_enter(api->lock);
    api->count.engine = now;
    monitor_leave(api->lock);
}

/* After an interrupt nothing new is let in, and what is under way has so many seconds. */
static bool drained(Running *d, double *deadline) {
    if (!os_interrupted()) return false;
    if (!api_drains(d->api)) {
        *deadline = os_now() + DRAIN_SECONDS;
        monitor_enter(d->api->lock);
        d->api->draining = true;
        monitor_leave(d->api->lock);
        server_drain(d->api->http);
    }
    for (Job *j = d->jobs; j && os_now() > *deadline; j = j->next) job_cancel(d, j);
    return !d->jobs;
}

/* What came in between the last look and the end. */
static void jobs_refuse(Api *api) {
    Fault f = {0};
    Job *j;
    fault_set(&f, 503, "server_error", "overloaded", NULL, "the server is going down");
    queue_close(api->jobs);
    while (queue_pop(api->jobs, &j, 0) == QUEUE_ITEM) {
        job_drop(j);
        gate_leave(j, NULL);
        fault_answer(j->x, &f, j->style);
    }
}

void engine_thread_run(Api *api, Engine *engine) {
    Running d = {.api = api, .engine = engine};
    double deadline = 0;
    for (;;) {
        Job *j;
        QueueResult got;
        while ((got = queue_pop(api->jobs, &j, d.jobs ? 0 : IDLE_SECONDS)) == QUEUE_ITEM) {
            count_add(api, &api->count.waiting, -1);
            job_start(&d, j);
        }
        if (d.jobs) engine_step(engine);
        jobs_sweep(&d);
        streams_sweep(api);
        stats_show(api, engine);
        if (drained(&d, &deadline) && got != QUEUE_ITEM) break;
    }
    jobs_refuse(api);
    streams_close(api);
}
