/* engine_thread.c -- the engine thread: takes jobs, steps the engines of the models that are loaded
 * in turn, lets faces write what came. A job whose model is not loaded waits for that.
 *
 * A job belongs to this thread from job_send to the end of its exchange. Nothing here waits for a
 * client: what cannot be written is dropped by HTTP, and the job with it. */
#include "serve/api.h"

enum { DRAFT_SEQS = 4, WHOLE_WAITS = 3 };
enum { RETRY_BUSY = 5, RETRY_FAILED = 30 }; /* seconds */
static const double IDLE_SECONDS = 0.2, LOAD_SECONDS = 0.02, DRAIN_SECONDS = 30;

typedef struct Running {
    Api *api;
    Job *jobs;        /* under way */
    Job *held;        /* wait for their model, in the order in which they came */
    EngineStats gone; /* counts of engines that are no more */
    double deadline;  /* of a drain */
} Running;

/* ---- models whose files change --------------------------------------------------------------- */

/* What is computed of a file that was written to is nobody's answer; what is in memory of it,
 * tokenizer and settings, is the old file's. So the model answers no more. */
static bool host_stale(Api *api, Hosted *m) {
    const char *file = m->stale || !m->spec->changed ? NULL : m->spec->changed(m->spec->arg);
    if (file) {
        monitor_enter(api->lock);
        m->stale = true, api->count.stale += !m->guest;
        monitor_leave(api->lock);
        journal_say(api->journal, "file",
                    "%s was written to while it was served: %s answers no more; start the service "
                    "again",
                    file, m->spec->name);
    }
    return m->stale;
}

static void stale_fault(Job *j) {
    j->fault.retry = RETRY_FAILED;
    fault_set(&j->fault, 503, "server_error", "model_changed", "model",
              "the file of the model '%.64s' was written to while it was served: the service must "
              "be started again",
              j->m->spec->name);
}

/* The same behind a step's computing, once, before anything of it is shown. */
static bool step_stale(Api *api, Hosted *m) {
    if (m->watched) return m->stale;
    m->watched = true;
    return host_stale(api, m);
}

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
    if (step_stale(j->api, j->m) || !j->stream || job_gone(j)) return;
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

static void stream_open(Job *j) {
    job_heads(j);
    if (j->kept) exchange_head(j->x, "x-lisao-stream", j->id);
    exchange_head(j->x, "x-accel-buffering", "no");
    exchange_begin(j->x, 200, "text/event-stream; charset=utf-8");
    j->began = true;
}

static void job_begin(Job *j) {
    if (!j->stream) return;
    if (!j->began) stream_open(j);
    j->wrote = os_now();
    if (j->face->begin) j->face->begin(j);
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

/* A stream that waits for its model for so long is opened. */
static void job_alive(Job *j, double now) {
    const double alive = j->api->spec->alive, waits = j->stream || j->blank ? 1 : WHOLE_WAITS;
    if (alive <= 0 || now - j->wrote <= alive * waits) return;
    if (j->stream && !j->began) stream_open(j);
    if (j->stream)
        j->face->alive(j);
    else
        blank_write(j);
    j->wrote = now;
}

static void job_cancel(Job *j) {
    for (int64_t i = 0; i < j->n; i++) {
        Choice *c = &j->choice[i];
        if (c->started && !c->ended) engine_cancel(j->m->engine, c->g.seq);
        c->ended |= !c->started;
    }
}

/* With few sequences a step reads the weights for little else, and rows for guesses cost next to
 * nothing; with many they would take time from the others. */
static void drafter_give(Choice *c) {
    if (engine_stats(c->job->m->engine).active >= DRAFT_SEQS || c->drafter.self || c->sum) return;
    lookup_drafter(&c->drafter, c->job->a);
    c->ask.drafter = &c->drafter;
}

static bool choice_start(Choice *c, Err *err) {
    const Hosted *m = c->job->m;
    form_bind(c);
    drafter_give(c);
    c->g = (Generation){.token_shown = token_shown, .arg = c};
    c->started = generation_start(&c->g, c->job->a, m->bundle, m->engine, &c->ask, err);
    return c->started;
}

/* Starts choices, as many as the job may have at once. One that finds no place fails the job, or
 * where others of it run waits for their end. */
static bool job_more(Job *j, Err *err) {
    int64_t running = 0;
    for (int64_t i = 0; i < j->begun; i++) running += !j->choice[i].ended;
    for (; j->begun < j->n && (!j->most || running < j->most); j->begun++, running++) {
        Choice *c = &j->choice[j->begun];
        if (!choice_start(c, err)) return j->most && running > 0;
        for (int64_t k = j->begun + 1; k < j->n; k++) /* the prompt is computed once */
            if (j->choice[k].ask.prompt == c->ask.prompt) j->choice[k].ask.like = c->g.seq;
    }
    return true;
}

static void job_fail(Job *j, const Err *err) {
    j->failed = true;
    fault_err(&j->fault, err);
    job_cancel(j);
}

/* All choices or none: where one finds no place, those before it are taken back. One with a fault
 * already begins nothing. */
static void job_start(Running *d, Job *j) {
    Err err = {0};
    j->next = d->jobs, d->jobs = j, j->m->jobs++;
    j->wrote = os_now();
    exchange_note(j->x)->waited = j->wrote - exchange_began(j->x);
    count_add(d->api, &d->api->count.waiting, -1);
    count_add(d->api, &d->api->count.running, 1);
    if (j->stream && !j->kept) kept_begin(j);
    const bool fine = j->fault.status ? false
                      : j->background && !j->kept
                          ? err_set(&err, ERR_LIMIT, "no more streams are kept for this tenant now")
                          : job_more(j, &err);
    if (!fine) {
        job_fail(j, &err);
        return;
    }
    job_begin(j);
    exchange_on_gone(j->x, job_leave, j);
}

/* ---- jobs whose model is not loaded ---------------------------------------------------------- */

static void job_hold(Running *d, Job *j) {
    Job **end = &d->held;
    while (*end) end = &(*end)->next;
    j->next = NULL, *end = j;
    j->wrote = os_now();
    if (j->m->held++ == 0) j->m->since = j->wrote;
    if (j->stream) kept_begin(j);
    exchange_on_gone(j->x, job_leave, j);
}

static void job_take(Running *d, Job *j) {
    const int64_t most = d->api->spec->queue;
    if (host_stale(d->api, j->m)) {
        stale_fault(j);
        job_start(d, j);
    } else if (host_state(d->api, j->m) == HOST_IN) {
        job_start(d, j);
    } else if (j->m->held < most) {
        job_hold(d, j);
    } else {
        fault_set(&j->fault, 503, "server_error", "overloaded", NULL,
                  "%lld requests wait for the model already; try again in a moment",
                  (long long)most);
        job_start(d, j); /* and end it, as others that are refused */
    }
}

/* What becomes of one that is held; false: it waits on. */
static bool held_settled(Running *d, Job *j, double now) {
    const bool late = d->deadline > 0 && now > d->deadline;
    if (j->fault.status) return true;
    if (host_state(d->api, j->m) == HOST_IN) return true;
    if (!job_gone(j) && !late) return false;
    return !fault_set(&j->fault, 503, "server_error", "cancelled", NULL,
                      "the answer was cancelled");
}

/* One that is refused is started, too, and ends at once. */
static void held_sweep(Running *d) {
    const double now = os_now();
    for (Job **at = &d->held; *at;) {
        Job *j = *at;
        if (held_settled(d, j, now)) {
            *at = j->next, j->m->held--;
            job_start(d, j);
            continue;
        }
        job_alive(j, now);
        at = &j->next;
    }
}

static void held_refuse(Running *d, const Hosted *m, const Fault *f) {
    for (Job *j = d->held; j; j = j->next)
        if (j->m == m) j->fault = *f;
}

static Fault no_room(const Running *d, const HostOrder *o) {
    Fault f = {.retry = RETRY_BUSY};
    fault_set(&f, 503, "server_error", "overloaded", "model",
              "the model '%.64s' needs %.1f MB, and the models that answer now hold %.1f of %.1f "
              "MB: try again in a moment",
              o->m->spec->name, (double)o->m->spec->bytes / 1e6, (double)o->busy / 1e6,
              (double)serve_memory(d->api->spec->memory) / 1e6);
    return f;
}

/* Why it failed is in the log; it may name files. */
static bool load_failed(Running *d, Hosted *m) {
    Fault f = {.retry = RETRY_FAILED};
    monitor_enter(d->api->lock);
    const bool failed = m->failed;
    m->failed = false;
    monitor_leave(d->api->lock);
    if (!failed) return false;
    fault_set(&f, 503, "server_error", "model_loading", "model",
              "the model '%.64s' could not be loaded now", m->spec->name);
    held_refuse(d, m, &f);
    return true;
}

static void stats_add(EngineStats *to, const EngineStats *s) {
    to->steps += s->steps, to->drafted += s->drafted, to->accepted += s->accepted;
    to->mtp_drafted += s->mtp_drafted, to->mtp_accepted += s->mtp_accepted;
    to->forced += s->forced, to->evicted += s->evicted;
    to->stored += s->stored, to->loaded += s->loaded;
}

/* Loads what jobs wait for and unloads what nobody does. */
static void hosts_tend(Running *d) {
    Api *api = d->api;
    for (int64_t i = 0; i < api->n_hosts; i++)
        if (load_failed(d, &api->host[i])) return;
    const int64_t memory = d->held ? serve_memory(api->spec->memory) : 0;
    monitor_enter(api->lock);
    const HostOrder next = hosts_next(api->host, api->n_hosts, memory, os_now());
    monitor_leave(api->lock);
    if (next.act == HOST_REFUSE) {
        const Fault f = no_room(d, &next);
        held_refuse(d, next.m, &f);
    } else if (next.act != HOST_REST) {
        if (next.act == HOST_UNLOAD) {
            const EngineStats s = engine_stats(next.m->engine);
            stats_add(&d->gone, &s);
        }
        host_order(api, &next);
    }
}

static bool job_over(const Job *j) {
    for (int64_t i = 0; i < j->n; i++)
        if (!j->choice[i].ended) return false;
    return true;
}

/* The first choice that has no answer is what went wrong with all. The request was found good
 * before it began: it is the model's fault, unless there was no room. */
static void job_check(Job *j) {
    Err err = {0};
    if (j->m->stale) stale_fault(j);
    for (int64_t i = 0; i < j->n && !j->fault.status; i++) {
        const Choice *c = &j->choice[i];
        if (!c->started || generation_fine(&c->g, &err)) continue;
        if (err.code == ERR_LIMIT)
            fault_err(&j->fault, &err);
        else
            fault_set(&j->fault, 500, "server_error", "internal_error", NULL, "%s", err.msg);
    }
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
    used.tokens_in += lookup_prompt(j), used.tokens_cached += lookup_cached(j);
    used.tokens_out += lookup_tokens(j);
    count_add(api, &n->tokens, lookup_tokens(j));
    count_add(api, &n->prompt_tokens, lookup_prompt(j));
    count_add(api, &n->cached_tokens, lookup_cached(j));
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
    lookup_drop(j->lookup);
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
    Api *api = j->api;
    Hosted *m = j->m;
    if (fault && j->began) j->face->fault(j, &j->fault);
    for (int64_t i = 0; !fault && j->stream && i < j->n; i++)
        if (j->face->end) j->face->end(&j->choice[i]);
    if (!fault) j->face->finish(j);
    kept_end(j, !fault                                ? "completed"
                : !strcmp(j->fault.code, "cancelled") ? "cancelled"
                                                      : "failed");
    job_drop(j);
    job_reply(j);
    host_leave(api, m);
}

/* The next round of an answer whose model has searched. */
static void job_resume(Job *j) {
    Choice *c = &j->choice[0];
    Err err = {0};
    if (job_gone(j)) c->g.finish = FINISH_CANCEL;
    if (j->fault.status || job_gone(j)) return; /* it is over */
    if (j->stream) j->face->searched(j);
    c->started = c->ended = false;
    c->thought_sent = c->text_sent = c->calls_sent = c->tokens_sent = 0;
    if (!choice_start(c, &err)) job_fail(j, &err);
}

/* Ends what is over, cancels whose client has gone, and lets no stream fall silent. */
static void jobs_sweep(Running *d) {
    const double now = os_now();
    for (Job **at = &d->jobs; *at;) {
        Job *j = *at;
        if (lookup_back(j)) job_resume(j);
        if (lookup_away(j) || (job_over(j) && lookup_send(j))) {
            if (j->stream) job_alive(j, now); /* of another one the head is not ours now */
            at = &j->next;
            continue;
        }
        if (job_over(j)) {
            *at = j->next, j->m->jobs--, j->m->used = now;
            count_add(d->api, &d->api->count.running, -1);
            job_finish(j); /* j is gone */
            continue;
        }
        Err err = {0};
        if (job_gone(j))
            job_cancel(j);
        else if (!job_more(j, &err))
            job_fail(j, &err);
        else
            job_alive(j, now);
        at = &j->next;
    }
}

static void jobs_stop(Running *d, const Hosted *m) {
    for (Job *j = d->jobs; j; j = j->next)
        if (j->m == m) stale_fault(j), job_cancel(j);
}

static void engines_step(Running *d) {
    for (Hosted *m = d->api->host; m < d->api->host + d->api->n_hosts; m++) {
        if (!m->jobs || host_state(d->api, m) != HOST_IN) continue;
        if (host_stale(d->api, m)) jobs_stop(d, m);
        m->watched = false;
        engine_step(m->engine);
    }
}

static void stats_show(Running *d) {
    Api *api = d->api;
    EngineStats all = d->gone;
    monitor_enter(api->lock);
    for (Hosted *m = api->host; m < api->host + api->n_hosts; m++) {
        if (m->state != HOST_IN) continue;
        const EngineStats s = engine_stats(m->engine);
        stats_add(&all, &s);
        all.active += s.active, all.waiting += s.waiting;
        all.pages += s.pages, all.pages_free += s.pages_free, all.pages_cached += s.pages_cached;
    }
    api->count.engine = all;
    monitor_leave(api->lock);
}

/* After an interrupt nothing new is let in, and what is under way has so many seconds. */
static bool drained(Running *d) {
    if (!os_interrupted()) return false;
    if (!api_drains(d->api)) {
        d->deadline = os_now() + DRAIN_SECONDS;
        monitor_enter(d->api->lock);
        d->api->draining = true;
        monitor_leave(d->api->lock);
        server_drain(d->api->http);
    }
    for (Job *j = d->jobs; j && os_now() > d->deadline; j = j->next) job_cancel(j);
    return !d->jobs && !d->held;
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

static double patience(const Running *d) {
    bool away = true;
    for (Job *j = d->jobs; j && away; j = j->next) away = lookup_away(j);
    return !away ? 0 : d->jobs || d->held ? LOAD_SECONDS : IDLE_SECONDS;
}

void engine_thread_run(Api *api) {
    Running d = {.api = api};
    for (;;) {
        Job *j;
        QueueResult got;
        while ((got = queue_pop(api->jobs, &j, patience(&d))) == QUEUE_ITEM) job_take(&d, j);
        hosts_tend(&d);
        held_sweep(&d);
        stats_show(&d); /* how many wait, for those who come while a step lasts */
        engines_step(&d);
        jobs_sweep(&d);
        streams_sweep(api);
        stats_show(&d);
        if (drained(&d) && got != QUEUE_ITEM) break;
    }
    jobs_refuse(api);
    streams_close(api);
}
