/* job.c -- from a call's settings to a job, and what all faces write alike. */
#include "serve/api.h"

#include <stdio.h>

/* ---- shared state --------------------------------------------------------------------------- */

void count_add(Api *api, int64_t *what, int64_t n) {
    monitor_enter(api->lock);
    *what += n;
    monitor_leave(api->lock);
}

Counts counts_now(Api *api) {
    monitor_enter(api->lock);
    const Counts now = api->count;
    monitor_leave(api->lock);
    return now;
}

bool api_drains(Api *api) {
    monitor_enter(api->lock);
    const bool draining = api->draining;
    monitor_leave(api->lock);
    return draining;
}

bool job_gone(Job *j) {
    monitor_enter(j->api->lock);
    const bool gone = j->gone;
    monitor_leave(j->api->lock);
    return gone;
}

void job_leave(void *job) {
    Job *j = job;
    monitor_enter(j->api->lock);
    j->gone |= !j->background;
    monitor_leave(j->api->lock);
}

/* ---- settings -------------------------------------------------------------------------------- */

/* What was asked for, else what the model's files recommend, else `otherwise`. */
static float chosen(double asked, float recommended, float otherwise) {
    if (asked != NOT_GIVEN) return (float)asked;
    return recommended >= 0 ? recommended : otherwise;
}

enum { DEFAULT_TEMPERATURE_PERCENT = 20 }; /* as in lisao chat */

static Sampling sampling_of(const Call *c, uint64_t seed) {
    const Params *p = &c->p;
    const Recommended *r = &c->m->bundle->recommended;
    return (Sampling){
        .temperature = chosen(p->temperature, r->temperature, DEFAULT_TEMPERATURE_PERCENT / 100.f),
        .top_k = p->top_k != NOT_GIVEN ? (int64_t)p->top_k : MAX(r->top_k, 0),
        .top_p = chosen(p->top_p, r->top_p, 1),
        .min_p = chosen(p->min_p, r->min_p, 0),
        .repetition_penalty = chosen(p->repetition_penalty, r->repetition_penalty, 1),
        .presence_penalty = (float)p->presence_penalty,
        .frequency_penalty = (float)p->frequency_penalty,
        .seed = seed};
}

/* "stop": a string, or up to 16 of them. */
static bool stops_read(Call *c, Str **out, int64_t *n) {
    const json_t *stop = c->p.stop;
    const bool list = json_is_array(stop);
    *out = PUSH(c->a, Str, STOPS_MAX), *n = 0;
    if (!stop) return true;
    for (size_t i = 0; i < (list ? json_array_size(stop) : 1); i++) {
        const json_t *one = list ? json_array_get(stop, i) : stop;
        const int64_t length = (int64_t)json_string_length(one);
        if (!json_is_string(one) || length < 1 || length > STOP_BYTES || *n == STOPS_MAX)
            return fault_value(&c->fault, "stop",
                               "stop must be a string of 1 to %d bytes, or a list of up to %d",
                               STOP_BYTES, STOPS_MAX);
        (*out)[(*n)++] = str_copy(c->a, (Str){json_string_value(one), length});
    }
    return true;
}

/* "logit_bias": {"ID": -100..100}. */
static bool biases_read(Call *c, Bias **out, int64_t *n) {
    const char *key;
    json_t *v;
    *out = PUSH(c->a, Bias, MAX((int64_t)json_object_size(c->p.logit_bias), 1)), *n = 0;
    if (c->p.logit_bias
        && (!json_is_object(c->p.logit_bias) || json_object_size(c->p.logit_bias) > BIAS_MAX))
        return fault_value(&c->fault, "logit_bias",
                           "logit_bias must be an object of up to %d token ids", BIAS_MAX);
    json_object_foreach(c->p.logit_bias, key, v) {
        int64_t id;
        const double x = json_number_value(v);
        if (!str_i64(str_of(key), &id) || id < 0 || id >= c->m->bundle->model->cfg.V
            || !json_is_number(v) || x < -100 || x > 100)
            return fault_value(&c->fault, "logit_bias",
                               "logit_bias: \"%.40s\" must be a token id with a number from -100 "
                               "to 100",
                               key);
        (*out)[(*n)++] = (Bias){(int32_t)id, (float)x};
    }
    return true;
}

/* Of a tenant's key and one of its users; a client that chooses `user` must not meet another
 * tenant's number. */
static int64_t number_of(Str tenant, Str user) {
    char hex[65];
    Sha256 hash;
    sha256_init(&hash);
    sha256_add(&hash, tenant.p, tenant.n + 1); /* with the NUL behind it */
    if (user.n) sha256_add(&hash, user.p, user.n);
    sha256_hex(&hash, hex);
    hex[15] = 0;
    return (int64_t)strtoull(hex, NULL, 16);
}

/* Requests of different users share no cached prompt: what one has asked could be told by time. */
static int64_t tenant_of(const Call *c) {
    const Str user = c->p.user, tenant = str_of(c->key.tenant);
    return user.n || tenant.n ? number_of(tenant, user) : 0;
}

/* However many users a tenant names, it has one share of what runs. */
static int64_t account_of(const Call *c) { return number_of(str_of(c->key.tenant), (Str){0}); }

/* The request's, or that of the answer that is verified, or one that is drawn. */
static bool seed_choose(Call *c, uint64_t *seed) {
    *seed = c->seed;
    if (c->p.seed != NOT_GIVEN)
        *seed = (uint64_t)(int64_t)c->p.seed;
    else if (!c->verify)
        os_random(seed, sizeof *seed), *seed &= ((uint64_t)1 << 53) - 1;
    else if (!c->seeded && sampling_of(c, 0).temperature > 0)
        return fault_value(&c->fault, "seed",
                           "what was drawn without a seed cannot be computed again: neither the "
                           "request nor the answer's lisao.seed names one");
    return true;
}

Job *job_new(Call *c, const Face *face, const char *id_prefix, int64_t n) {
    Job *j = PUSH(c->a, Job, 1);
    Str *stop;
    Bias *bias;
    Ask ask = {.tenant = tenant_of(c), .account = account_of(c), .weight = c->key.limits.weight};
    if (!stops_read(c, &stop, &ask.n_stop) || !biases_read(c, &bias, &ask.n_bias)) return NULL;
    ask.stop = stop, ask.bias = bias, ask.ignore_end = c->p.ignore_eos;
    *j = (Job){.api = c->api, .m = c->m, .x = c->x, .a = c->a, .face = face, .n = n};
    j->style = c->style, j->left = n, j->created = c->now, j->out.a = c->a, j->budget = -1;
    j->stream = c->p.stream && !c->verify, j->verify = c->verify, j->cited = c->cited;
    j->background = c->p.background && !c->verify;
    j->tenant = str_copy(c->a, str_of(c->key.tenant)).p;
    j->model = str_copy(c->a, str_of(c->m->spec->name));
    j->choice = PUSH(c->a, Choice, n);
    id_make(j->id, sizeof j->id, id_prefix);
    if (j->background && !j->stream) {
        fault_value(&c->fault, "background",
                    "background: true needs stream: true: nothing else is kept");
        return NULL;
    }
    if (!seed_choose(c, &j->seed)) return NULL;
    for (int64_t i = 0; i < n; i++) {
        j->choice[i] = (Choice){.job = j, .index = i, .ask = ask};
        j->choice[i].ask.sampling = sampling_of(c, j->seed + (uint64_t)i);
    }
    return j;
}

bool job_room(Call *c, int64_t n_prompt, int64_t *max_tokens) {
    const Params *p = &c->p;
    const int64_t context = c->m->spec->context, left = context - n_prompt;
    if (left < 1)
        return fault_set(&c->fault, 400, "invalid_request_error", "context_length_exceeded",
                         "messages", "prompt is too long: %lld tokens > %lld maximum",
                         (long long)n_prompt, (long long)context - 1);
    *max_tokens = left;
    if (p->max_tokens != NOT_GIVEN) *max_tokens = MIN(left, (int64_t)p->max_tokens);
    if (p->max_completion != NOT_GIVEN) *max_tokens = MIN(left, (int64_t)p->max_completion);
    return true;
}

bool job_talk(Call *c, Job *j, const Talk *t) {
    const Bundle *b = c->m->bundle;
    int64_t most;
    Err err = {0};
    if (!job_room(c, t->ids.n, &most)) return false;
    job_prompt(j, t->ids.v, t->ids.n);
    j->budget = t->budget;
    for (int64_t i = 0; i < j->n; i++) {
        Choice *o = &j->choice[i];
        o->ask.prompt = t->ids.v, o->ask.n_prompt = t->ids.n, o->ask.max_tokens = most;
        o->ask.in_thought = t->in_thought;
        o->ask.tools = t->tools ? b->chat.tools : TOOLS_NONE;
        o->ask.n_top = j->n_top;
        if (t->budget < 0 || !b->chat.thought_end.n) continue;
        if (!thought_budget(&o->budget, c->a, &b->chat, b->model->cfg.V, t->budget, t->in_thought,
                            &err))
            return fault_err(&c->fault, &err);
        o->ask.limit = &o->budget;
    }
    return true;
}

static bool busy(Call *c) {
    gate_refused(c);
    return fault_set(&c->fault, 503, "server_error", "overloaded", NULL,
                     "the server is busy: %lld requests wait already; try again in a moment",
                     (long long)c->api->spec->queue);
}

bool job_fits(Call *c) {
    const Counts now = counts_now(c->api);
    return now.waiting + now.engine.waiting < c->api->spec->queue || busy(c);
}

bool job_send(Call *c, Job *j) {
    Api *api = c->api;
    if (j->verify) verify_begin(j);
    if (!gate_admit(c, j)) {
        form_leave(api, j->form);
        return false;
    }
    count_add(api, &api->count.waiting, 1);
    host_take(api, c->m); /* until job_finish */
    if (queue_try_push(api->jobs, &j)) return true;
    host_leave(api, c->m);
    count_add(api, &api->count.waiting, -1);
    form_leave(api, j->form);
    gate_leave(j, NULL);
    return busy(c);
}

/* ---- writing --------------------------------------------------------------------------------- */

static int buf_put(const char *p, size_t n, void *to) {
    buf_add(to, (Str){p, (int64_t)n});
    return 0;
}

static void event_begin(Job *j, const char *event) {
    j->out.n = 0;
    if (event) buf_fmt(&j->out, "event: %s\n", event);
    buf_fmt(&j->out, "id: %lld\ndata: ", (long long)j->events++);
}

static void event_send(Job *j) {
    buf_add(&j->out, STR("\n\n"));
    if (j->kept) kept_add(j->api, j->kept, buf_str(&j->out));
    if (!exchange_write(j->x, buf_str(&j->out))) job_leave(j);
    j->wrote = os_now();
}

void job_event(Job *j, const char *event, json_t *data) {
    event_begin(j, event);
    json_dump_callback(data, buf_put, &j->out, JSON_COMPACT);
    json_decref(data);
    event_send(j);
}

void job_answer(Job *j, json_t *whole) {
    if (j->verify) whole = verify_report(j, whole);
    j->out.n = 0;
    json_dump_callback(whole, buf_put, &j->out, JSON_COMPACT);
    json_decref(whole);
}

const char *finish_reason(const Choice *c) {
    if (c->n_calls) return "tool_calls";
    return c->g.finish == FINISH_LENGTH ? "length" : "stop";
}

int64_t job_tokens(const Job *j) {
    int64_t n = 0;
    for (int64_t i = 0; i < j->n; i++) n += j->choice[i].g.n;
    return n;
}

Str line_cut(Str *lines) { return str_cut(lines, '\n'); }

const char call_types[] = "type ToolCall = {index: integer; id: string; type: 'function';\n"
                          "  function: {name: string; arguments: string}};\n";

json_t *call_json(Choice *c, Str line) {
    char id[48];
    json_t *call = json_loadb(line.p, (size_t)line.n, JSON_ALLOW_NUL, NULL),
           *arguments = json_object_get(call, "arguments");
    char *text = json_dumps(arguments, JSON_COMPACT | JSON_REAL_PRECISION(15));
    id_make(id, sizeof id, "call_");
    json_t *j = json_pack("{s:I, s:s, s:s, s:{s:s?, s:s}}", "index", (json_int_t)c->n_calls++, "id",
                          id, "type", "function", "function", "name",
                          json_string_value(json_object_get(call, "name")), "arguments",
                          text ? text : "{}");
    free(text);
    json_decref(call);
    return j;
}

/* ---- what several faces write ------------------------------------------------- */

const char *type_of(const json_t *o) {
    const char *type = json_string_value(json_object_get(o, "type"));
    return type ? type : "";
}

json_t *openai_head(const Job *j, const char *object) {
    char fingerprint[24];
    snprintf(fingerprint, sizeof fingerprint, "fp_%.16s", j->m->fingerprint);
    return json_pack("{s:s, s:s, s:I, s:s, s:s}", "id", j->id, "object", object, "created",
                     (json_int_t)j->created, "model", j->model.p, "system_fingerprint",
                     fingerprint);
}

void stream_done(Job *j, json_t *usage) {
    if (j->usage)
        job_event(j, NULL, usage);
    else
        json_decref(usage);
    event_begin(j, NULL);
    buf_add(&j->out, STR("[DONE]"));
    event_send(j);
}

void stream_alive(Job *j) { exchange_write(j->x, STR(": keep-alive\n\n")); }

void stream_fault(Job *j, const Fault *f) { job_event(j, NULL, fault_json(f, STYLE_OPENAI, "")); }
