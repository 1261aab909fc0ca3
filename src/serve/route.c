/* route.c -- from a request's path to the function that answers it. */
#include "serve/api.h"

/* Some rows name a table of another file, whose length is not known here but by its address. */
#define TABLE(name) name##_fields, &n_##name##_fields
#define NO_BODY     NULL, NULL
static const Route routes[] = {
    {"POST", "/chat/completions", answer_chat, false, "an answer to a conversation",
     "ChatCompletion | Error", "ChatEvent", TABLE(chat)},
    {"POST", "/completions", answer_text, false, "how a text goes on", "Completion | Error",
     "CompletionEvent", TABLE(text)},
    {"POST", "/messages", answer_messages, false, "an answer, in Anthropic's form",
     "Message | AnthropicError", "MessageEvent", TABLE(messages)},
    {"POST", "/messages/count_tokens", answer_messages_count, false,
     "how many tokens a conversation has, in Anthropic's form", "InputTokens", NULL,
     TABLE(messages)},
    {"POST", "/responses", answer_responses, false, "an answer, in the form of OpenAI's Responses",
     "Response | Error", "ResponseEvent", TABLE(responses)},
    {"POST", "/verify", answer_verify, false,
     "whether an answer is what its request gives, to the last bit", "Verification | Error", NULL,
     TABLE(verify)},
    {"GET", "/streams/*", answer_stream, false, "a stream once more, from where it was left", NULL,
     "StreamEvent", NO_BODY},
    {"DELETE", "/streams/*", answer_stream_cancel, false, "ends a stream's answer", "Stream", NULL,
     NO_BODY},
    {"GET", "/responses/*", answer_stream, false, "the same as GET /streams/ID", NULL,
     "StreamEvent", NO_BODY},
    {"POST", "/responses/*/cancel", answer_stream_cancel, false, "the same as DELETE /streams/ID",
     "Stream", NULL, NO_BODY},
    {"GET", "/history", answer_history, false, "the tenant's conversations, where they are kept",
     "Conversations", NULL, NO_BODY},
    {"POST", "/history", answer_history_put, false, "writes conversations and messages", "Written",
     NULL, TABLE(history)},
    {"DELETE", "/history", answer_history_clear, false, "removes all of them", "Removed", NULL,
     NO_BODY},
    {"POST", "/history/search", answer_history_search, false,
     "the conversations with a message that has all words", "Found", NULL, TABLE(search)},
    {"GET", "/history/export", answer_history_export, false,
     "all of them with their messages, as the page exports and imports them", "Export", NULL,
     NO_BODY},
    {"GET", "/history/*", answer_history_read, false, "a conversation's messages",
     "ConversationMessages", NULL, NO_BODY},
    {"DELETE", "/history/*", answer_history_remove, false, "removes a conversation", "Removed",
     NULL, NO_BODY},
    {"POST", "/session", answer_session_begin, true,
     "a key for this browser, for the token of a link that `lisao keys link` has made", "SignedIn",
     NULL, TABLE(session)},
    {"GET", "/session", answer_session, false, "whose key it is, and what for", "Session", NULL,
     NO_BODY},
    {"GET", "/usage", answer_usage, false,
     "what each key has used on each day, for keys with the scope admin: of ?days=N, 30 unless "
     "told, today included",
     "UsageReport", NULL, NO_BODY},
    {"GET", "/documents", answer_documents, false,
     "how many documents answers may be taken from, where there are any", "Documents", NULL,
     NO_BODY},
    {"GET", "/documents/passages/*", answer_passage, false, "a passage that an answer cites",
     "Passage", NULL, NO_BODY},
    {"POST", "/extract", answer_extract, false,
     "what a PDF or a page of HTML says, in Markdown, as `lisao index` reads it", "Extracted", NULL,
     TABLE(extract)},
    {"GET", "/runs", answer_runs, false,
     "the training runs of the server's folder, where it has one", "RunList", NULL, NO_BODY},
    {"GET", "/runs/feed", answer_run_feed, false,
     "what runs write from now on: `?ID=AT&ID=AT`, AT as GET /runs/ID gave it", NULL, "RunEvent",
     NO_BODY},
    {"GET", "/runs/*/texts", answer_run_texts, false,
     "the newest samples and answers of a run, each list the newest first", "RunTexts", NULL,
     NO_BODY},
    {"POST", "/runs/*/model", answer_run_model, false,
     "makes the newest checkpoint of a run a model like the others: requests name it by this id",
     "RunModel", NULL, NO_BODY},
    {"GET", "/runs/*", answer_run, false,
     "a run's curves, of 2000 points at most, and the newest load of its experts", "Run", NULL,
     NO_BODY},
    {"POST", "/tokenize", answer_tokenize, false, "the token ids of a text or a conversation",
     "Tokens", NULL, TABLE(token)},
    {"POST", "/detokenize", answer_detokenize, false, "the text of token ids", "Text", NULL,
     TABLE(token)},
    {"POST", "/apply-template", answer_template, false, "a conversation as the model reads it",
     "Rendered", NULL, TABLE(token)},
    {"POST", "/embeddings", answer_embeddings, false,
     "texts as vectors: the mean of their hidden states", "EmbeddingList | Error", NULL,
     TABLE(embeddings)},
    {"GET", "/models", answer_models, false, "the models that are served", "ModelList", NULL,
     NO_BODY},
    {"GET", "/models/*", answer_model, false, "one of them", "Model", NULL, NO_BODY},
    {"GET", "/user/balance", answer_balance, false, "as DeepSeek's: always available", "Balance",
     NULL, NO_BODY},
    {"GET", "/metrics", answer_metrics, false, "counters for Prometheus", "text/plain", NULL,
     NO_BODY},
    {"GET", "/version", answer_version, false, "the program's version, model and fingerprint",
     "Version", NULL, NO_BODY},
    {"GET", "/props", answer_version, false, "the same", "Version", NULL, NO_BODY},
    {"GET", "/openapi.json", answer_openapi, true, "this description", "{[name: string]: any}",
     NULL, NO_BODY},
    {"GET", "/health", answer_health, true, "that the process lives", "Health", NULL, NO_BODY},
    {"GET", "/ready", answer_ready, true, "whether new requests are let in", "Ready", NULL,
     NO_BODY},
    {"GET", "/", answer_page, true, "the page: a chat in the browser", "text/html", NULL, NO_BODY},
};

/* A '*' is an id: at least one character, and any. */
static bool path_fits(const Route *r, Str path) {
    Str end = str_of(r->path);
    const Str front = str_cut(&end, '*');
    if (!end.p) return str_eq(front, path);
    return path.n > front.n + end.n && str_starts(path, front) && str_ends(path, end);
}

/* /metrics and /usage tell of all who are served, and runs of what a model is trained on; any key
 * may ask what it is for. */
static KeyScope scope_of(const Route *r) {
    return r->run == answer_session                    ? SCOPE_ALL
           : r->run == answer_metrics                  ? SCOPE_METRICS
           : r->run == answer_usage                    ? SCOPE_ADMIN
           : str_starts(str_of(r->path), STR("/runs")) ? SCOPE_TRAIN_READ
                                                       : SCOPE_CHAT;
}

static const Route *route_find(Call *c) {
    const Str method = exchange_method(c->x);
    bool elsewhere = false;
    for (int64_t i = 0; i < COUNT(routes); i++) {
        const Route *r = &routes[i];
        if (!path_fits(r, c->path)) continue;
        if (str_eq(method, str_of(r->method))
            || (str_eq(method, STR("HEAD")) && !strcmp(r->method, "GET")))
            return r;
        elsewhere = true;
    }
    fault_set(&c->fault, elsewhere ? 405 : 404, "invalid_request_error",
              elsewhere ? "method_not_allowed" : "not_found", NULL,
              elsewhere ? "%.*s is not for %.*s" : "there is no route %.*s %.*s", STRF(method),
              STRF(exchange_path(c->x)));
    return NULL;
}

/* Whether an engine answers: such a request is refused before it is read where too many wait. */
static bool computes(const Route *r) {
    static RouteFn *const by_engine[] = {answer_chat,      answer_text,   answer_messages,
                                         answer_responses, answer_verify, answer_embeddings};
    for (int64_t i = 0; i < COUNT(by_engine); i++)
        if (r->run == by_engine[i]) return true;
    return false;
}

/* Whoever has no key yet may say little. */
static bool body_fits(Call *c, const Route *r) {
    enum { OPEN_BODY = 4096 };
    return !r->open || exchange_body(c->x).n <= OPEN_BODY
           || fault_set(&c->fault, 413, "invalid_request_error", "request_too_large", NULL,
                        "a body here has %d bytes at most", OPEN_BODY);
}

static void call_run(Call *c) {
    const Route *r = route_find(c);
    if (r) exchange_note(c->x)->route = r->path;
    if (!r || (!r->open && !gate_enter(c, scope_of(r)))) return;
    if (api_drains(c->api) && !r->open) {
        fault_set(&c->fault, 503, "server_error", "overloaded", NULL,
                  "the server is going down: try again in a moment");
        return;
    }
    if (computes(r) && !job_fits(c)) return;
    if (!r->field || (body_fits(c, r) && body_read(c) && model_pick(c, c->body))) r->run(c);
}

bool call_is_large(Str path) { return str_eq(prefix_cut(path), STR("/extract")); }

void call_handle(void *arg, Exchange *x) {
    Api *api = arg;
    Call c = {.api = api,
              .m = host_at(api, 0),
              .routes = routes,
              .n_routes = COUNT(routes),
              .x = x,
              .a = exchange_arena(x),
              .now = os_time(),
              .style = style_of(exchange_path(x))};
    count_add(api, &api->count.requests, 1);
    c.path = prefix_cut(exchange_path(x));
    if (str_eq(exchange_method(x), STR("OPTIONS"))) {
        exchange_head(x, "allow", "GET, HEAD, POST, DELETE, OPTIONS");
        exchange_answer(x, 204, "text/plain", STR(""));
    } else {
        call_run(&c);
    }
    if (c.fault.status) {
        count_add(api, &api->count.refused, 1);
        fault_answer(x, &c.fault, c.style);
    }
    json_decref(c.body);
    host_leave(api, c.m);
}

Str call_refused(void *arg, Exchange *x, int64_t status, const char *why) {
    Api *api = arg;
    Fault f = {0};
    count_add(api, &api->count.refused, 1);
    fault_set(&f, status, status >= 500 ? "server_error" : "invalid_request_error",
              status == 413   ? "request_too_large"
              : status == 503 ? "overloaded"
                              : "invalid_request",
              NULL, "%s", why);
    const Str path = exchange_path(x);
    exchange_note(x)->code = f.code;
    json_t *j = fault_json(&f, path.p ? style_of(path) : STYLE_OPENAI, exchange_id(x));
    char *text = json_dumps(j, JSON_COMPACT);
    const Str body = str_copy(exchange_arena(x), str_of(text ? text : "{}"));
    free(text);
    json_decref(j);
    return body;
}

void serve_describe(Buf *out) { routes_describe(out, routes, COUNT(routes)); }
