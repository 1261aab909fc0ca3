/* plain.c -- the routes that need no engine. */
#include "serve/api.h"

#include <time.h>

const char plain_types[] =
    "type Health = {status: 'ok'};\n"
    "type Ready = {status: 'ready'};\n"
    "type Version = {version: string; model: string; fingerprint: string | null;\n"
    "  context_length: integer; search: ('documents' | 'web')[]};\n"
    "type Balance = {is_available: true; balance_infos: {currency: 'USD'; total_balance: string;\n"
    "  granted_balance: string; topped_up_balance: string}[]};\n"
    "type ModelList = {object: 'list'; data: Model[]; has_more: false; first_id: string;\n"
    "  last_id: string};\n"
    "type Model = {id: string; object: 'model'; created: integer; owned_by: 'lisao';\n"
    "  type: 'model'; display_name: string; created_at: string; context_length: integer;\n"
    "  max_output_tokens: integer; tools: boolean; loaded: boolean};\n"
    "type Tokens = {tokens: integer[]; count: integer};\n"
    "type Text = {content: string; text: string};\n"
    "type Rendered = {prompt: string};\n";

/* ---- the process ----------------------------------------------------------------------------- */

void answer_health(Call *c) { answer_json(c, json_pack("{s:s}", "status", "ok")); }

void answer_ready(Call *c) {
    if (api_drains(c->api))
        fault_set(&c->fault, 503, "server_error", "overloaded", NULL, "the server is going down");
    else if (counts_now(c->api).stale == c->api->spec->n_models)
        fault_set(&c->fault, 503, "server_error", "model_changed", NULL,
                  "the file of every model was written to while it was served: the service must be "
                  "started again");
    else
        answer_json(c, json_pack("{s:s}", "status", "ready"));
}

/* What the member "search" of a request may ask for. */
static json_t *searches_json(const Api *api) {
    json_t *all = json_array();
    if (api->documents) json_array_append_new(all, json_string("documents"));
    if (api->spec->web) json_array_append_new(all, json_string("web"));
    return all;
}

/* Of the first model; a fingerprint is known once it was loaded. */
void answer_version(Call *c) {
    const ServeModel *m = c->m->spec;
    char print[sizeof c->m->fingerprint];
    monitor_enter(c->api->lock);
    memcpy(print, c->m->fingerprint, sizeof print);
    monitor_leave(c->api->lock);
    answer_json(c,
                json_pack("{s:s, s:s, s:s?, s:I, s:o}", "version", c->api->spec->version, "model",
                          m->name, "fingerprint", *print ? print : NULL, "context_length",
                          (json_int_t)m->context, "search", searches_json(c->api)));
}

void answer_balance(Call *c) {
    answer_json(c, json_pack("{s:b, s:[{s:s, s:s, s:s, s:s}]}", "is_available", 1, "balance_infos",
                             "currency", "USD", "total_balance", "0.00", "granted_balance", "0.00",
                             "topped_up_balance", "0.00"));
}

/* ---- models ---------------------------------------------------------------------------------- */

/* One object for the clients of both families: OpenAI's have its age in seconds, Anthropic's as a
 * date. */
static json_t *model_json(Api *api, const Hosted *h) {
    const ServeModel *m = h->spec;
    const time_t at = (time_t)m->created;
    struct tm utc = {.tm_year = 70, .tm_mday = 1};
    char created[32] = "";
    gmtime_r(&at, &utc);
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b}", "id", m->name,
                     "object", "model", "created", (json_int_t)m->created, "owned_by", "lisao",
                     "type", "model", "display_name", m->name, "created_at", created,
                     "context_length", (json_int_t)m->context, "max_output_tokens",
                     (json_int_t)m->context, "tools", h->bundle->chat.tools != TOOLS_NONE, "loaded",
                     host_state(api, h) == HOST_IN);
}

void answer_models(Call *c) {
    Api *api = c->api;
    json_t *all = json_array();
    for (int64_t i = 0; i < api->n_hosts; i++) {
        Hosted *m = host_at(api, i);
        if (!m) continue;
        json_array_append_new(all, model_json(api, m));
        host_leave(api, m);
    }
    const json_t *last = json_array_get(all, json_array_size(all) - 1);
    answer_json(c, json_pack("{s:s, s:o, s:b, s:s, s:O}", "object", "list", "data", all, "has_more",
                             0, "first_id", api->host[0].spec->name, "last_id",
                             json_object_get(last, "id")));
}

void answer_model(Call *c) {
    const Str id = {c->path.p + 8, c->path.n - 8}; /* behind "/models/" */
    Hosted *m = host_find(c->api, id);
    if (m && str_eq(id, str_of(m->spec->name)))
        answer_json(c, model_json(c->api, m));
    else
        fault_set(&c->fault, 404, "invalid_request_error", "model_not_found", "model",
                  "there is no model '%.*s'; GET /v1/models lists those that are served", STRF(id));
    if (m) host_leave(c->api, m);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

const Field token_fields[] = {
    {"model", FIELD_TEXT, P(model), 0, 0, "The model's name (default: the first).", NULL},
    {"messages", FIELD_JSON, P(messages), 0, 0, "A conversation.", "{\"type\":\"array\"}"},
    {"content", FIELD_JSON, P(prompt), 0, 0, "Or a text.", "{\"type\":\"string\"}"},
    {"prompt", FIELD_JSON, P(prompt), 0, 0, "The same.", "{\"type\":\"string\"}"},
    {"text", FIELD_JSON, P(prompt), 0, 0, "The same.", "{\"type\":\"string\"}"},
    {"tokens", FIELD_JSON, P(ids), 0, 0, "Token ids.", "{\"type\":\"array\"}"},
    {"add_special", FIELD_BOOL, P(add_special), 0, 0,
     "Begin with the token that begins texts, and read special tokens in the text.", NULL},
    {"tools", FIELD_JSON, P(tools), 0, 0, "With messages.", "{\"type\":\"array\"}"},
    {"reasoning_effort", FIELD_TEXT, P(effort), 0, 0, "As for an answer.", NULL},
    {"thinking", FIELD_JSON, P(thinking), 0, 0, "As for an answer.", "{}"},
    {"chat_template_kwargs", FIELD_JSON, P(kwargs), 0, 0, "As for an answer.", "{}"},
};
const int64_t n_token_fields = COUNT(token_fields);

static bool talk_take(Call *c, Talk *t) {
    if (json_array_size(c->p.tools)) t->tools = json_incref(c->p.tools);
    return talk_messages(c, t, c->p.messages) && talk_thinking(c, t) && talk_encode(c, t);
}

static bool text_ids(Call *c, Ids *ids) {
    const Bundle *b = c->m->bundle;
    const json_t *v = c->p.prompt;
    Err err = {0};
    ids->a = c->a;
    if (!json_is_string(v))
        return fault_value(&c->fault, "content", "content must be a string, or give messages");
    const Str text = json_text(v);
    Arena *scratch = arena_open("tokens", ARENA_NO_LIMIT);
    const bool ok = (!c->p.add_special || b->bos < 0 || ids_add(ids, b->bos))
                    && text_encode(ids, b->tok, text, c->p.add_special ? TEXT_PARSED : TEXT_PLAIN,
                                   scratch, &err);
    arena_close(scratch);
    return ok || fault_err(&c->fault, &err);
}

void answer_tokenize(Call *c) {
    Talk t = {0};
    if (members_read(c, token_fields, n_token_fields)
        && (c->p.messages ? talk_take(c, &t) : text_ids(c, &t.ids))) {
        json_t *all = json_array();
        for (int64_t i = 0; i < t.ids.n; i++) json_array_append_new(all, json_integer(t.ids.v[i]));
        answer_json(c, json_pack("{s:o, s:I}", "tokens", all, "count", (json_int_t)t.ids.n));
    }
    talk_drop(&t);
}

void answer_detokenize(Call *c) {
    const int64_t V = c->m->bundle->model->cfg.V;
    Buf text = {.a = c->a};
    if (!members_read(c, token_fields, n_token_fields)) return;
    for (size_t i = 0; i < json_array_size(c->p.ids); i++) {
        const json_t *v = json_array_get(c->p.ids, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= V) {
            fault_value(&c->fault, "tokens", "tokens must be ids below %lld", (long long)V);
            return;
        }
    }
    const int64_t n = (int64_t)json_array_size(c->p.ids);
    int32_t *ids = PUSH(c->a, int32_t, MAX(n, 1));
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(c->p.ids, (size_t)i));
    text_decode(&text, c->m->bundle->tok, ids, n, false);
    answer_json(c, json_pack("{s:o, s:o}", "content", json_of(buf_str(&text)), "text",
                             json_of(buf_str(&text))));
}

void answer_template(Call *c) {
    Talk t = {0};
    if (members_read(c, token_fields, n_token_fields) && talk_take(c, &t))
        answer_json(c, json_pack("{s:o}", "prompt", json_of(t.rendered)));
    talk_drop(&t);
}

/* ---- metrics --------------------------------------------------------------------------------- */

static void metric(Buf *b, const char *name, const char *kind, const char *what, int64_t value) {
    buf_fmt(b, "# HELP lisao_%s %s\n# TYPE lisao_%s %s\nlisao_%s %lld\n", name, what, name, kind,
            name, (long long)value);
}

void answer_metrics(Call *c) {
    const Counts now = counts_now(c->api), *n = &now;
    Buf b = {.a = c->a};
    metric(&b, "requests_total", "counter", "Requests that came.", n->requests);
    metric(&b, "requests_refused_total", "counter", "Those refused before any work.", n->refused);
    metric(&b, "requests_failed_total", "counter", "Those that failed under way.", n->failed);
    metric(&b, "requests_cancelled_total", "counter", "Those whose client left.", n->cancelled);
    metric(&b, "prompt_tokens_total", "counter", "Tokens of prompts.", n->prompt_tokens);
    metric(&b, "prompt_tokens_cached_total", "counter", "Those found computed.", n->cached_tokens);
    metric(&b, "tokens_total", "counter", "Tokens that were generated.", n->tokens);
    metric(&b, "reasoning_tokens_total", "counter", "Those of thoughts.", n->reasoning_tokens);
    metric(&b, "unknown_fields_total", "counter", "Members that no table names.",
           n->unknown_fields);
    metric(&b, "steps_total", "counter", "Steps of the engine.", n->engine.steps);
    metric(&b, "tokens_drafted_total", "counter", "Tokens that were guessed.", n->engine.drafted);
    metric(&b, "tokens_accepted_total", "counter", "Guesses that were right.", n->engine.accepted);
    metric(&b, "tokens_mtp_drafted_total", "counter", "Those guessed by the model's MTP layer.",
           n->engine.mtp_drafted);
    metric(&b, "tokens_mtp_accepted_total", "counter", "Guesses of it that were right.",
           n->engine.mtp_accepted);
    metric(&b, "tokens_forced_total", "counter", "Tokens that a form left no choice of.",
           n->engine.forced);
    metric(&b, "pages_evicted_total", "counter", "Pages of prompts that were forgotten.",
           n->engine.evicted);
    metric(&b, "pages_stored_total", "counter", "Pages of prompts written to disk.",
           n->engine.stored);
    metric(&b, "pages_loaded_total", "counter", "Pages of prompts read from there.",
           n->engine.loaded);
    metric(&b, "pages", "gauge", "Pages of 128 positions of all models that are loaded.",
           n->engine.pages);
    metric(&b, "pages_free", "gauge", "Pages of 128 positions that nothing is kept in.",
           n->engine.pages_free);
    metric(&b, "pages_cached", "gauge", "Pages that prompts are kept in, in use or not.",
           n->engine.pages_cached);
    metric(&b, "model_loads_total", "counter", "Models that were loaded.", n->loads);
    metric(&b, "model_unloads_total", "counter", "Models that were unloaded.", n->unloads);
    metric(&b, "models_loaded", "gauge", "Models that are loaded.", n->loaded);
    metric(&b, "requests_running", "gauge", "Requests in the engine.", n->running);
    metric(&b, "requests_waiting", "gauge", "Requests before it.", n->waiting);
    metric(&b, "connections", "gauge", "Open connections.", server_connections(c->api->http));
    exchange_answer(c->x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&b));
}
