/* desk.h -- requests without a network or an engine: a body goes to the function of its route, and
 * what comes out is the job that the engine thread would get, or a fault. */
#pragma once
#include "serve/api.h"
#include "serve/connection.h"

enum { DESK_MODELS = 2, DESK_CONTEXT = 512 };

/* One that thinks and calls tools, and one that does neither. */
static const char *const desk_template[DESK_MODELS] = {
    "{%- if tools -%}Call with <tool_call>\n{\"name\": NAME}</tool_call>{{ tools | tojson }}"
    "{%- endif -%}{%- for m in messages -%}<|{{ m.role }}|>"
    "{%- if m.reasoning_content -%}<think>\n{{ m.reasoning_content }}</think>{%- endif -%}"
    "{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}<|end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|><think>\n{%- endif -%}",
    "{%- for m in messages -%}{{ m.role }}: {{ m.content }}<|end|>{%- endfor -%}"};

typedef struct Desk {
    Arena *keep, *a; /* a: of one request */
    Tokenizer *tok;
    Model model;
    Bundle bundle[DESK_MODELS];
    ServeModel served[DESK_MODELS];
    ServeSpec spec;
    Api api;
} Desk;

static inline void desk_model(Desk *s, int i) {
    Bundle *b = &s->bundle[i];
    Err err = {0};
    *b = (Bundle){.a = s->keep, .model = &s->model, .tok = s->tok, .bos = -1, .n_end = 1};
    b->end[0] = token_named(s->tok, STR("<|end|>"));
    b->recommended = (Recommended){-1, -1, -1, -1, -1};
    CHECK(chat_init(&b->chat, s->keep, s->tok, str_of(desk_template[i]), STR(""), STR("<|end|>"),
                    &err));
    s->served[i] = (ServeModel){.name = i ? "plain" : "chat", .bundle = b, .context = DESK_CONTEXT};
}

static inline Desk *desk_open(void) {
    static Desk s;
    Err err = {0};
    s.keep = arena_open("service", ARENA_NO_LIMIT), s.a = arena_open("request", (int64_t)1 << 31);
    CHECK(tokenizer_open_json(&s.tok, s.keep, byte_tokenizer_json(s.keep), "bytes", &err));
    s.model.cfg.V = tokenizer_size(s.tok), s.model.cfg.C = 4;
    for (int i = 0; i < DESK_MODELS; i++) desk_model(&s, i);
    s.spec = (ServeSpec){.model = s.served, .n_models = DESK_MODELS, .api_key = "key", .queue = 1};
    s.api = (Api){
        .spec = &s.spec, .lock = monitor_new(s.keep), .jobs = queue_new(s.keep, 1, sizeof(Job *))};
    CHECK(hosts_open(&s.api, s.keep, &err) && handles_open(&s.api, &err));
    return &s;
}

/* The body as it is read before a route is run: false with c->fault. */
static inline bool desk_read(Desk *s, Call *c, Exchange *x, Str body) {
    static GuardHeader header = {.name = STR("content-type"), .value = STR("application/json")};
    *x = (Exchange){.arena = s->a, .header = &header, .n_headers = 1};
    x->body = str_copy(s->a, body);
    *c = (Call){.api = &s->api, .m = s->api.host, .x = x, .a = s->a, .now = 1782907200};
    return body_read(c) && model_pick(c, c->body);
}

/* The job that was sent; NULL: c->fault says why there is none. */
static inline Job *desk_ask(Desk *s, Call *c, Exchange *x, RouteFn *run, Str body) {
    Job *j = NULL;
    if (desk_read(s, c, x, body)) run(c);
    const bool sent = queue_pop(s->api.jobs, &j, 0) == QUEUE_ITEM;
    CHECK(sent == !c->fault.status);
    return j;
}

/* What the engine thread does with a job that is over; NULL is fine. */
static inline void desk_drop(Call *c, Job *j) {
    json_decref(c->body);
    if (!j) return;
    if (j->face->drop) j->face->drop(j);
    form_leave(j->api, j->form);
    verify_drop(j->verify);
    lookup_drop(j->lookup);
}
