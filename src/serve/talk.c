/* talk.c -- a conversation in OpenAI's form becomes token ids.
 *
 * What changes often, the spellings of how much to think, stands in one table here. */
#include "serve/api.h"

/* ---- messages -------------------------------------------------------------------------------- */

static const struct {
    const char *given, *role;
} role_names[] = {{"system", "system"},       {"developer", "system"}, {"user", "user"},
                  {"assistant", "assistant"}, {"tool", "tool"},        {"function", "tool"}};

static const char *role_of(const json_t *m) {
    const char *role = json_string_value(json_object_get(m, "role"));
    for (int64_t i = 0; role && i < COUNT(role_names); i++)
        if (!strcmp(role, role_names[i].given)) return role_names[i].role;
    return NULL;
}

/* The text of a content: a string, or parts of which all are texts. NULL: it is none. */
static json_t *content_text(Call *c, const json_t *content, int64_t at) {
    Buf all = {.a = c->a};
    if (json_is_string(content)) return json_incref((json_t *)content);
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        if (json_is_string(part)) text = part;
        if (!json_is_string(text)) {
            fault_set(&c->fault, 400, "invalid_request_error", "unsupported_content", "messages",
                      "message %lld: a part of type %s is not supported: the model reads text only",
                      (long long)at + 1, type ? type : "unknown");
            return NULL;
        }
        buf_add(&all, json_text(text));
    }
    return json_of(buf_str(&all));
}

/* Templates of some families write a call's arguments as they stand, others as JSON of an object:
 * the latter get the object. */
static bool calls_copy(Call *c, json_t *to, const json_t *calls, int64_t at) {
    json_t *all = json_array();
    json_object_set_new(to, "tool_calls", all);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        json_t *call = json_deep_copy(json_array_get(calls, i)),
               *function = json_object_get(call, "function"),
               *arguments = json_object_get(function, "arguments");
        json_array_append_new(all, call);
        if (!json_is_string(json_object_get(function, "name")))
            return fault_value(&c->fault, "messages",
                               "message %lld: tool call %lld has no function with a name",
                               (long long)at + 1, (long long)i + 1);
        if (c->m->bundle->chat.tools != TOOLS_QWEN || !json_is_string(arguments)) continue;
        const Str text = json_text(arguments);
        json_t *object =
            json_loadb(text.p, (size_t)text.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        if (json_is_object(object)) json_object_set(function, "arguments", object);
        json_decref(object);
    }
    return true;
}

static bool message_copy(Call *c, json_t *all, const json_t *m, int64_t at) {
    static const char *const kept[] = {"name", "tool_call_id", "reasoning_content"};
    const char *role = role_of(m);
    json_t *calls = json_object_get(m, "tool_calls"), *content = json_object_get(m, "content");
    if (!role)
        return fault_value(&c->fault, "messages",
                           "message %lld: its role must be system, developer, user, assistant or "
                           "tool",
                           (long long)at + 1);
    json_t *to = json_pack("{s:s}", "role", role);
    json_array_append_new(all, to);
    if (json_is_string(content) || json_is_array(content))
        content = content_text(c, content, at);
    else if ((!content || json_is_null(content)) && !strcmp(role, "assistant"))
        content = json_string("");
    else
        content = NULL;
    if (!content)
        return fault_value(&c->fault, "messages",
                           "message %lld: its content must be a string or a list of text parts",
                           (long long)at + 1);
    json_object_set_new(to, "content", content);
    for (int64_t i = 0; i < COUNT(kept); i++) {
        json_t *v = json_object_get(m, kept[i]);
        if (json_is_string(v)) json_object_set(to, kept[i], v);
    }
    return json_array_size(calls) == 0 || calls_copy(c, to, calls, at);
}

bool talk_messages(Call *c, Talk *t, json_t *messages) {
    if (!c->m->bundle->chat.t)
        return fault_set(&c->fault, 400, "invalid_request_error", "no_chat_template", "model",
                         "the model '%.64s' has no chat template: POST /completions continues a "
                         "text as it is",
                         c->m->spec->name);
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return fault_value(&c->fault, "messages",
                           "messages must be a list with a message at least");
    t->messages = json_array();
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (!message_copy(c, t->messages, json_array_get(messages, i), (int64_t)i)) return false;
    return true;
}

/* ---- how much to think ----------------------------------------------------------------------- */

enum { NO_BUDGET = -1 };

/* DeepSeek's, OpenAI's and Anthropic's words for it. */
static const struct {
    const char *effort;
    Think think;
    int64_t budget;
} efforts[] = {{"none", THINK_OFF, NO_BUDGET}, {"minimal", THINK_ON, 512},
               {"low", THINK_ON, 512},         {"medium", THINK_ON, 2048},
               {"high", THINK_ON, 8192},       {"xhigh", THINK_ON, 8192},
               {"max", THINK_ON, NO_BUDGET},   {"ultra", THINK_ON, NO_BUDGET}};

static bool effort_set(Call *c, Talk *t, const char *param, const char *effort) {
    for (int64_t i = 0; i < COUNT(efforts); i++)
        if (!strcmp(effort, efforts[i].effort)) {
            t->think = efforts[i].think, t->budget = efforts[i].budget;
            return true;
        }
    return fault_value(&c->fault, param,
                       "%s must be none, minimal, low, medium, high, xhigh, max or ultra, not '%s'",
                       param, effort);
}

/* {"type": "enabled" | "disabled" | "adaptive", "budget_tokens": N} */
static bool thinking_set(Call *c, Talk *t, const json_t *thinking) {
    const char *type = json_string_value(json_object_get(thinking, "type"));
    const json_t *budget = json_object_get(thinking, "budget_tokens");
    if (!type || (strcmp(type, "enabled") && strcmp(type, "disabled") && strcmp(type, "adaptive")))
        return fault_value(&c->fault, "thinking",
                           "thinking.type must be enabled, disabled or adaptive");
    if (strcmp(type, "adaptive")) t->think = *type == 'e' ? THINK_ON : THINK_OFF;
    if (!budget || json_is_null(budget)) return true;
    if (!json_is_integer(budget) || json_integer_value(budget) < 0)
        return fault_value(&c->fault, "thinking",
                           "thinking.budget_tokens must be an integer of 0 or more");
    t->budget = json_integer_value(budget);
    return true;
}

static void switch_set(Talk *t, const json_t *v) {
    if (json_is_boolean(v)) t->think = json_is_true(v) ? THINK_ON : THINK_OFF;
}

bool talk_thinking(Call *c, Talk *t) {
    const Params *p = &c->p;
    const char *nested = json_string_value(json_object_get(p->reasoning, "effort")),
               *output = json_string_value(json_object_get(p->output_config, "effort"));
    t->think = THINK_DEFAULT, t->budget = NO_BUDGET;
    switch_set(t, json_object_get(p->kwargs, "thinking"));
    switch_set(t, json_object_get(p->kwargs, "enable_thinking"));
    switch_set(t, p->enable_thinking);
    if (p->effort.n && !effort_set(c, t, "reasoning_effort", p->effort.p)) return false;
    if (nested && !effort_set(c, t, "reasoning.effort", nested)) return false;
    if (output && !effort_set(c, t, "output_config.effort", output)) return false;
    return !p->thinking || thinking_set(c, t, p->thinking);
}

/* ---- ids ------------------------------------------------------------------------------------- */

/* The last message, where it is an assistant's: what the answer goes on with. It is left out of
 * what the template sees and follows the template's opening of the answer. */
typedef struct Prefix {
    Str thought, text; /* thought.p NULL: it has none */
    bool there;
} Prefix;

static Str member_text(Arena *a, const json_t *m, const char *key) {
    const json_t *v = json_object_get(m, key);
    if (!json_is_string(v)) return (Str){0};
    return str_copy(a, json_text(v));
}

static bool prefix_take(Call *c, Talk *t, Prefix *out) {
    const size_t n = json_array_size(t->messages);
    const json_t *last = json_array_get(t->messages, n - 1);
    *out = (Prefix){0};
    if (strcmp(json_string_value(json_object_get(last, "role")), "assistant")) return true;
    if (json_object_get(last, "tool_calls")) return true;
    if (n == 1)
        return fault_value(&c->fault, "messages", "there is no message to answer before the last");
    *out = (Prefix){member_text(c->a, last, "reasoning_content"),
                    member_text(c->a, last, "content"), true};
    json_array_remove(t->messages, n - 1);
    return true;
}

/* Tags are the model's own tokens, what stands between them is text. */
static bool prefix_encode(Call *c, Talk *t, const Prefix *p, Arena *scratch, Err *err) {
    const Chat *chat = &c->m->bundle->chat;
    const Str end = chat->thought_end, begin = STR("<think>\n");
    bool ok = true;
    if (p->thought.p && !t->in_thought)
        ok = text_encode(&t->ids, chat->t, begin, TEXT_PARSED, scratch, err);
    if (p->thought.p)
        ok = ok && text_encode(&t->ids, chat->t, p->thought, TEXT_PLAIN, scratch, err);
    if (p->thought.p || t->in_thought)
        ok = ok && text_encode(&t->ids, chat->t, end, TEXT_PARSED, scratch, err);
    t->in_thought = false;
    return ok && text_encode(&t->ids, chat->t, p->text, TEXT_PLAIN, scratch, err);
}

/* Whether what comes next is the answer: thinking is off, or the template has closed the thought,
 * or the client has begun the answer. */
static bool answer_begun(const Talk *t, Str rendered, const Prefix *prefix) {
    while (rendered.n > 0 && rendered.p[rendered.n - 1] == '\n') rendered.n--;
    return t->think == THINK_OFF || prefix->there || str_ends(rendered, STR("</think>"));
}

static bool request_text(Call *c, const Talk *t, Str *out) {
    json_t *o = json_pack("{s:O}", "messages", t->messages);
    if (t->tools) json_object_set(o, "tools", t->tools);
    if (json_is_object(c->p.kwargs)) json_object_update_missing(o, c->p.kwargs);
    char *text = json_dumps(o, JSON_REAL_PRECISION(15));
    json_decref(o);
    if (!text) return fault_value(&c->fault, "messages", "the conversation is not valid text");
    *out = str_copy(c->a, str_of(text));
    free(text);
    return true;
}

bool talk_encode(Call *c, Talk *t) {
    const Bundle *b = c->m->bundle;
    ChatOptions options = {.generate = true, .think = t->think, .now = c->now};
    Buf shown = {.a = c->a};
    Prefix prefix;
    Err err = {0};
    t->ids.a = c->a;
    if (!prefix_take(c, t, &prefix) || !request_text(c, t, &options.request)) return false;
    Arena *scratch = arena_open("template", ARENA_NO_LIMIT);
    bool ok = chat_encode(&t->ids, &shown, &b->chat, NULL, 0, options, scratch, &err);
    t->in_thought = ok && chat_opens_thought(buf_str(&shown));
    t->answers = answer_begun(t, buf_str(&shown), &prefix);
    ok = ok && (!prefix.there || prefix_encode(c, t, &prefix, scratch, &err));
    arena_close(scratch);
    t->rendered = buf_str(&shown);
    return (ok && bundle_ids_check(b, t->ids.v, t->ids.n, &err)) || fault_err(&c->fault, &err);
}

void talk_drop(Talk *t) {
    json_decref(t->messages);
    json_decref(t->tools);
    *t = (Talk){0};
}
