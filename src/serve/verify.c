/* verify.c -- POST /verify: the same job once more, by the same route with the same constraints.
 * Its answer goes into a comparison (compare.c) instead of to the client. */
#include "serve/api.h"

const Field verify_fields[] = {
    {"request", FIELD_JSON, P(request), 0, 0,
     "The request as it was sent; a member \"stream\" does not count.", "{\"type\":\"object\"}"},
    {"answer", FIELD_JSON, P(answer), 0, 0,
     "Its answer in the form of a whole one, with the member `lisao`, or only what of it shall be "
     "compared.",
     "{\"type\":\"object\"}"},
    {"route", FIELD_TEXT, P(route), 0, 0,
     "Where the request was sent: /chat/completions, /completions, /messages or /responses. "
     "Default: as the answer looks.",
     NULL},
    {"top_logprobs", FIELD_INT, P(top_logprobs), 0, 20,
     "List the tokens, each with so many of the likeliest.", NULL},
    {"experts", FIELD_BOOL, P(experts), 0, 0,
     "List the tokens, each with the experts of every layer.", NULL},
};
const int64_t n_verify_fields = COUNT(verify_fields);

static const struct {
    const char *route, *member, *value;
    RouteFn *run;
} verified[] = {{"/chat/completions", "object", "chat.completion", answer_chat},
                {"/completions", "object", "text_completion", answer_text},
                {"/messages", "type", "message", answer_messages},
                {"/responses", "object", "response", answer_responses}};

static RouteFn *verified_find(Call *c) {
    for (int64_t i = 0; i < COUNT(verified); i++) {
        const char *value = json_string_value(json_object_get(c->p.answer, verified[i].member));
        if (c->p.route.n ? str_eq(c->p.route, str_of(verified[i].route))
                         : value && !strcmp(value, verified[i].value))
            return verified[i].run;
    }
    fault_value(&c->fault, "route",
                "route must be /chat/completions, /completions, /messages or /responses, or the "
                "answer's object or type must say which");
    return NULL;
}

/* The seed that was drawn, and the time that the template may have shown. */
static void verify_settings(Call *c) {
    const json_t *lisao = json_object_get(c->p.answer, "lisao"),
                 *seed = json_object_get(lisao, "seed"),
                 *created = json_object_get(lisao, "created");
    static const json_int_t YEAR_10000 = 253402300800;
    const json_int_t now = json_is_integer(created) ? json_integer_value(created) : -1;
    if (now >= 0 && now < YEAR_10000) c->now = now;
    c->seeded = json_is_integer(seed);
    if (c->seeded) c->seed = (uint64_t)json_integer_value(seed);
}

void answer_verify(Call *c) {
    if (!members_read(c, verify_fields, n_verify_fields)) return;
    if (!json_is_object(c->p.request) || !json_is_object(c->p.answer)) {
        fault_value(&c->fault, "request", "there must be a request and an answer, as objects");
        return;
    }
    RouteFn *run = verified_find(c);
    json_t *body = c->body;
    Verify *v = run && model_pick(c, c->p.request) ? verify_new(c) : NULL;
    if (!v) return;
    verify_settings(c);
    c->verify = v;
    c->body = json_incref(c->p.request);
    run(c); /* the job's, unless it failed */
    if (c->fault.status) verify_drop(v);
    json_decref(c->body);
    c->body = body;
}
