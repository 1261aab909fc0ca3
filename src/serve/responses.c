/* responses.c -- POST /responses, OpenAI's newer form, stateless: nothing is stored, and what it
 * refers to must be in the request. */
#include "serve/api.h"

const Field responses_fields[] = {
    MODEL_FIELD,
    {"input", FIELD_JSON, P(input), 0, 0,
     "A string, or items: messages, function_call, function_call_output, reasoning.", "{}"},
    {"instructions", FIELD_TEXT, P(instructions), 0, 0, "A system message in front.", NULL},
    {"stream", FIELD_BOOL, P(stream), 0, 0, "Answer by server-sent events.", NULL},
    {"background", FIELD_BOOL, P(background), 0, 0,
     "With stream: go on when the client leaves; GET /streams/ID takes it up again.", NULL},
    {"max_output_tokens", FIELD_INT, P(max_tokens), 1, 1 << 24, "Most tokens of the answer.", NULL},
    {"temperature", FIELD_NUMBER, P(temperature), 0, 2, "0: the likeliest token.", NULL},
    {"top_p", FIELD_NUMBER, P(top_p), 0, 1, "Sample among the likeliest that reach it.", NULL},
    {"tools", FIELD_JSON, P(tools), 0, 0, "Functions; other kinds are passed over.",
     "{\"type\":\"array\"}"},
    {"tool_choice", FIELD_JSON, P(tool_choice), 0, 0,
     "auto, none, required, or {\"type\": \"function\", \"name\"}", "{}"},
    {"reasoning", FIELD_JSON, P(reasoning), 0, 0, "{\"effort\": none to max}", "{}"},
    {"include", FIELD_JSON, P(include), 0, 0,
     "[\"reasoning.encrypted_content\"]: thoughts come with a handle that stands for them.",
     "{\"type\":\"array\"}"},
    {"text", FIELD_JSON, P(text), 0, 0,
     "{\"format\": {\"type\": \"text\", \"json_object\" or \"json_schema\", \"schema\"}}", "{}"},
    {"metadata", FIELD_JSON, P(metadata), 0, 0, "Comes back as it is.", "{}"},
    {"previous_response_id", FIELD_JSON, P(previous), 0, 0, "Not supported: nothing is stored.",
     "{}"},
    {"parallel_tool_calls", FIELD_JSON, P(parallel), 0, 0, "Comes back.", "{}"},
    {"user", FIELD_TEXT, P(user), 0, 0, "Users share no cached prompts.", NULL},
    {"safety_identifier", FIELD_TEXT, P(user), 0, 0, "The same.", NULL},
    SEARCH_FIELD,
};
const int64_t n_responses_fields = COUNT(responses_fields);

/* ---- from items ------------------------------------------------------------------------------ */

static Str texts_join(Call *c, const json_t *content) {
    Buf all = {.a = c->a};
    const json_t *text = content;
    for (size_t i = 0; i < (json_is_array(content) ? json_array_size(content) : 1); i++) {
        if (json_is_array(content)) text = json_object_get(json_array_get(content, i), "text");
        if (json_is_string(text)) buf_add(&all, json_text(text));
    }
    return buf_str(&all);
}

/* The assistant's message that reasoning and calls belong to: the last one, or a new one. */
static json_t *assistant_last(json_t *all) {
    json_t *last = json_array_get(all, json_array_size(all) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (role && !strcmp(role, "assistant")) return last;
    last = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
    json_array_append_new(all, last);
    return last;
}

static void call_add(json_t *all, const json_t *item) {
    json_t *to = assistant_last(all), *calls = json_object_get(to, "tool_calls");
    if (!calls) json_object_set_new(to, "tool_calls", calls = json_array());
    json_array_append_new(calls, json_pack("{s:O?, s:s, s:{s:O?, s:O?}}", "id",
                                           json_object_get(item, "call_id"), "type", "function",
                                           "function", "name", json_object_get(item, "name"),
                                           "arguments", json_object_get(item, "arguments")));
}

static bool message_add(Call *c, json_t *all, const json_t *item) {
    const char *role = json_string_value(json_object_get(item, "role"));
    const json_t *content = json_object_get(item, "content");
    for (size_t i = 0; i < json_array_size(content); i++) {
        const char *type = type_of(json_array_get(content, i));
        if (strcmp(type, "input_text") && strcmp(type, "output_text") && strcmp(type, "refusal")
            && strcmp(type, "text"))
            return fault_set(&c->fault, 400, "invalid_request_error", "unsupported_content",
                             "input",
                             "input: a part of type '%s' is not supported: the model reads text "
                             "only",
                             type);
    }
    if (!role || (!json_is_string(content) && !json_is_array(content)))
        return fault_value(&c->fault, "input", "input: a message has a role and a content");
    const Str text = texts_join(c, content);
    if (!strcmp(role, "assistant")) {
        json_t *to = assistant_last(all);
        json_object_set_new(to, "content", json_of(text));
    } else {
        json_array_append_new(all, json_pack("{s:s, s:o}", "role", role, "content", json_of(text)));
    }
    return true;
}

static bool item_add(Call *c, json_t *all, const json_t *item) {
    const char *type = type_of(item);
    if (!*type || !strcmp(type, "message")) return message_add(c, all, item);
    if (!strcmp(type, "function_call")) {
        call_add(all, item);
    } else if (!strcmp(type, "function_call_output")) {
        const Str text = texts_join(c, json_object_get(item, "output"));
        json_array_append_new(all, json_pack("{s:s, s:O?, s:o}", "role", "tool", "tool_call_id",
                                             json_object_get(item, "call_id"), "content",
                                             json_of(text)));
    } else if (!strcmp(type, "reasoning")) {
        const Str text = texts_join(c, json_object_get(item, "content"));
        json_t *to = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
        json_t *sent = json_of(text);
        thought_put(c, to, json_object_get(item, "encrypted_content"), sent);
        json_decref(sent);
        json_array_append_new(all, to);
    } else if (!strcmp(type, "item_reference")) {
        return fault_value(&c->fault, "input",
                           "input: nothing is stored that an item_reference "
                           "could refer to");
    }
    return true; /* items of other servers' tools say nothing to this model */
}

static json_t *openai_messages(Call *c) {
    const Params *p = &c->p;
    json_t *all = json_array();
    bool ok = json_is_array(p->input);
    if (p->instructions.n)
        json_array_append_new(
            all, json_pack("{s:s, s:o}", "role", "system", "content", json_of(p->instructions)));
    if (json_is_string(p->input)) {
        ok = true;
        json_array_append_new(all, json_pack("{s:s, s:O}", "role", "user", "content", p->input));
    }
    if (!ok) fault_value(&c->fault, "input", "input must be a string or a list of items");
    for (size_t i = 0; ok && i < json_array_size(p->input); i++)
        ok = item_add(c, all, json_array_get(p->input, i));
    if (ok) return all;
    json_decref(all);
    return NULL;
}

/* Functions stand flat here. */
static bool tools_take(Call *c, Talk *t) {
    const char *choice = json_string_value(c->p.tool_choice),
               *name = json_string_value(json_object_get(c->p.tool_choice, "name"));
    json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(c->p.tools); i++) {
        json_t *tool = json_array_get(c->p.tools, i);
        if (!strcmp(type_of(tool), "function"))
            json_array_append_new(all,
                                  json_pack("{s:s, s:{s:O?, s:O*, s:O*}}", "type", "function",
                                            "function", "name", json_object_get(tool, "name"),
                                            "description", json_object_get(tool, "description"),
                                            "parameters", json_object_get(tool, "parameters")));
    }
    /* A client that offers tools to a model that knows none is answered without. */
    if (json_array_size(all) && c->m->bundle->chat.tools != TOOLS_NONE) t->tools = json_incref(all);
    json_decref(all);
    return form_format(c, t, "text.format", json_object_get(c->p.text, "format"))
           && form_tools(c, t, choice ? choice : "auto", name, !json_is_false(c->p.parallel));
}

/* ---- what is asked --------------------------------------------------------------------------- */

/* What comes back as it was sent, and where a stream stands. */
typedef enum Open { OPEN_NONE, OPEN_THOUGHT, OPEN_TEXT } Open;
typedef struct State {
    Open open;
    int64_t events, items; /* so far */
    int64_t from;          /* of the open item's text, in the choice's */
    char item[48];
    json_t *output; /* finished items */
    json_t *tools, *tool_choice, *metadata, *reasoning, *format;
    Str instructions, user;
    double temperature, top_p, max_tokens;
    bool handles;  /* are wanted of thoughts */
    bool parallel; /* more than one call of a tool */
} State;

static const Face responses_face;

static bool params_check(Call *c) {
    const Params *p = &c->p;
    if (p->tools && !json_is_array(p->tools))
        return fault_value(&c->fault, "tools", "tools must be a list");
    if (p->metadata && !json_is_object(p->metadata))
        return fault_value(&c->fault, "metadata", "metadata must be an object");
    if (p->previous && !json_is_null(p->previous))
        return fault_set(&c->fault, 400, "invalid_request_error", "unsupported_parameter",
                         "previous_response_id",
                         "previous_response_id: nothing is stored; send the whole conversation");
    return true;
}

static bool includes(const json_t *list, const char *what) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (one && !strcmp(one, what)) return true;
    }
    return false;
}

static State *state_new(const Call *c) {
    const Params *p = &c->p;
    json_t *format = json_object_get(p->text, "format");
    State *s = PUSH(c->a, State, 1);
    *s = (State){.output = json_array(),
                 .tools = p->tools ? json_incref(p->tools) : json_array(),
                 .tool_choice = p->tool_choice ? json_incref(p->tool_choice) : json_string("auto"),
                 .metadata = p->metadata ? json_incref(p->metadata) : json_object(),
                 .reasoning = p->reasoning ? json_incref(p->reasoning) : json_object(),
                 .format = json_is_object(format) ? json_incref(format)
                                                  : json_pack("{s:s}", "type", "text"),
                 .instructions = p->instructions,
                 .user = p->user,
                 .temperature = p->temperature,
                 .top_p = p->top_p,
                 .max_tokens = p->max_tokens,
                 .parallel = !json_is_false(p->parallel),
                 .handles = includes(p->include, "reasoning.encrypted_content")};
    return s;
}

static void responses_drop(Job *j) {
    State *s = j->state;
    json_decref(s->output);
    json_decref(s->tools);
    json_decref(s->tool_choice);
    json_decref(s->metadata);
    json_decref(s->reasoning);
    json_decref(s->format);
}

static bool responses_ask(Call *c, Talk *t) {
    if (!members_read(c, responses_fields, n_responses_fields) || !params_check(c)) return false;
    json_t *all = openai_messages(c);
    const bool ok = all && talk_messages(c, t, all) && tools_take(c, t) && talk_thinking(c, t)
                    && talk_cite(c, t, all);
    json_decref(all);
    Job *j = ok ? job_new(c, &responses_face, "resp_", 1) : NULL;
    if (!j || !job_talk(c, j, t) || !job_form(c, j, t)) return false;
    j->state = state_new(c);
    if (job_send(c, j)) return true;
    responses_drop(j);
    return false;
}

void answer_responses(Call *c) {
    Talk t = {0};
    responses_ask(c, &t);
    talk_drop(&t);
}

/* ---- what is answered ------------------------------------------------------------------------ */

const char response_types[] =
    "type Response = {id: string; object: 'response'; created_at: integer;\n"
    "  completed_at: integer | null; status: 'in_progress' | 'completed' | 'incomplete' | "
    "'failed';\n"
    "  error: {code: 'server_error'; message: string} | null;\n"
    "  incomplete_details: {reason: 'max_output_tokens'} | null; model: string;\n"
    "  output: OutputItem[]; usage: ResponseUsage | null; instructions: string | null;\n"
    "  tools: any[]; tool_choice: any; parallel_tool_calls: boolean;\n"
    "  metadata: {[name: string]: any}; temperature: number; top_p: number;\n"
    "  max_output_tokens: integer | null; reasoning: {effort: string | null; summary: null};\n"
    "  text: {format: TextFormat; verbosity: 'medium'}; user: string | null;\n"
    "  background: boolean; truncation: 'disabled'; store: false; service_tier: 'default';\n"
    "  top_logprobs: 0; max_tool_calls: null; previous_response_id: null;\n"
    "  prompt_cache_key: null; safety_identifier: null; lisao?: Lisao | LisaoDocuments};\n"
    "type TextFormat = {type: 'text' | 'json_object' | 'json_schema'; [name: string]: any};\n"
    "type ResponseUsage = {input_tokens: integer; input_tokens_details: {cached_tokens: integer};\n"
    "  output_tokens: integer; output_tokens_details: {reasoning_tokens: integer};\n"
    "  total_tokens: integer};\n"
    "type OutputItem = ReasoningItem | MessageItem | FunctionCallItem;\n"
    "type ItemStatus = 'in_progress' | 'completed' | 'incomplete';\n"
    "type ReasoningItem = {type: 'reasoning'; id: string; summary: []; content: ReasoningText[];\n"
    "  encrypted_content: string | null; status: ItemStatus};\n"
    "type MessageItem = {type: 'message'; id: string; role: 'assistant'; status: ItemStatus;\n"
    "  content: OutputText[]};\n"
    "type FunctionCallItem = {type: 'function_call'; id: string; call_id: string; name: string;\n"
    "  arguments: string; status: ItemStatus};\n"
    "type ReasoningText = {type: 'reasoning_text'; text: string};\n"
    "type OutputText = {type: 'output_text'; text: string; annotations: []; logprobs: []};\n"
    "type ResponseEvent = ResponseState | OutputItemEvent | ContentPartEvent | ReasoningTextDelta "
    "|\n"
    "  ReasoningTextDone | OutputTextDelta | OutputTextDone | ArgumentsDelta | ArgumentsDone;\n"
    "type ResponseState = {type: 'response.created' | 'response.in_progress' |\n"
    "  'response.completed' | 'response.incomplete' | 'response.failed';\n"
    "  sequence_number: integer; response: Response};\n"
    "type OutputItemEvent = {type: 'response.output_item.added' | 'response.output_item.done';\n"
    "  sequence_number: integer; output_index: integer; item: OutputItem};\n"
    "type ContentPartEvent = {type: 'response.content_part.added' |\n"
    "  'response.content_part.done'; sequence_number: integer; item_id: string;\n"
    "  output_index: integer; content_index: integer; part: ReasoningText | OutputText};\n"
    "type ReasoningTextDelta = {type: 'response.reasoning_text.delta'; sequence_number: integer;\n"
    "  item_id: string; output_index: integer; content_index: integer; delta: string};\n"
    "type ReasoningTextDone = {type: 'response.reasoning_text.done'; sequence_number: integer;\n"
    "  item_id: string; output_index: integer; content_index: integer; text: string};\n"
    "type OutputTextDelta = {type: 'response.output_text.delta'; sequence_number: integer;\n"
    "  item_id: string; output_index: integer; content_index: integer; delta: string;\n"
    "  logprobs: []};\n"
    "type OutputTextDone = {type: 'response.output_text.done'; sequence_number: integer;\n"
    "  item_id: string; output_index: integer; content_index: integer; text: string;\n"
    "  logprobs: []};\n"
    "type ArgumentsDelta = {type: 'response.function_call_arguments.delta';\n"
    "  sequence_number: integer; item_id: string; output_index: integer; delta: string};\n"
    "type ArgumentsDone = {type: 'response.function_call_arguments.done';\n"
    "  sequence_number: integer; item_id: string; output_index: integer; name: string;\n"
    "  arguments: string};\n";

/* ---- the response object --------------------------------------------------------------------- */

static json_t *number_or(double x, double otherwise) {
    return json_real(x == NOT_GIVEN ? otherwise : x);
}

static json_t *usage_json(const Choice *c) {
    const Generation *g = &c->g;
    return json_pack("{s:I, s:{s:I}, s:I, s:{s:I}, s:I}", "input_tokens", (json_int_t)g->n_prompt,
                     "input_tokens_details", "cached_tokens", (json_int_t)g->n_cached,
                     "output_tokens", (json_int_t)g->n, "output_tokens_details", "reasoning_tokens",
                     (json_int_t)c->n_thought, "total_tokens", (json_int_t)(g->n_prompt + g->n));
}

/* What the request set, as it stands in every response; else what was used. */
static void settings_put(json_t *o, const Job *j) {
    const State *s = j->state;
    const Sampling *used = &j->choice[0].ask.sampling;
    const json_t *effort = json_object_get(s->reasoning, "effort");
    json_object_set_new(o, "instructions",
                        s->instructions.n ? json_of(s->instructions) : json_null());
    json_object_set(o, "tools", s->tools);
    json_object_set(o, "tool_choice", s->tool_choice);
    json_object_set(o, "metadata", s->metadata);
    json_object_set_new(o, "temperature", number_or(s->temperature, (double)used->temperature));
    json_object_set_new(o, "top_p", number_or(s->top_p, (double)used->top_p));
    json_object_set_new(o, "max_output_tokens",
                        s->max_tokens == NOT_GIVEN ? json_null()
                                                   : json_integer((json_int_t)s->max_tokens));
    json_object_set_new(o, "reasoning", json_pack("{s:O?, s:n}", "effort", effort, "summary"));
    json_object_set_new(o, "text",
                        json_pack("{s:O, s:s}", "format", s->format, "verbosity", "medium"));
    json_object_set_new(o, "parallel_tool_calls", json_boolean(s->parallel));
    json_object_set_new(o, "user", s->user.n ? json_of(s->user) : json_null());
}

static json_t *response_json(Job *j, const char *status) {
    const State *s = j->state;
    const Choice *c = &j->choice[0];
    const bool over = c->ended, cut = !strcmp(status, "incomplete");
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:s, s:s, s:O, s:n, s:o, s:b, s:s, s:n, s:n, s:n, s:n, "
                  "s:b, s:i, s:s}",
                  "id", j->id, "object", "response", "created_at", (json_int_t)j->created, "status",
                  status, "model", j->model.p, "output", s->output, "error", "incomplete_details",
                  cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null(),
                  "background", j->background, "truncation", "disabled", "max_tool_calls",
                  "previous_response_id", "prompt_cache_key", "safety_identifier", "store", 0,
                  "top_logprobs", 0, "service_tier", "default");
    settings_put(o, j);
    json_object_set_new(o, "completed_at", over ? json_integer(os_time()) : json_null());
    json_object_set_new(o, "usage", over ? usage_json(c) : json_null());
    if (over || j->cited) json_object_set_new(o, "lisao", over ? lisao_json(j) : lisao_begun(j));
    return o;
}

static const char *status_of(const Choice *c) {
    return c->g.finish == FINISH_LENGTH ? "incomplete" : "completed";
}

/* ---- items ----------------------------------------------------------------------------------- */

static json_t *text_part(Str text) {
    return json_pack("{s:s, s:o, s:[], s:[]}", "type", "output_text", "text", json_of(text),
                     "annotations", "logprobs");
}

static json_t *thought_part(Str text) {
    return json_pack("{s:s, s:o}", "type", "reasoning_text", "text", json_of(text));
}

static json_t *message_item(const char *id, json_t *parts, const char *status) {
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "type", "message", "id", id, "role", "assistant",
                     "status", status, "content", parts);
}

static json_t *thought_item(const Job *j, const char *id, json_t *parts, const char *status) {
    const State *s = j->state;
    const bool handle = s->handles && strcmp(status, "in_progress") != 0;
    return json_pack("{s:s, s:s, s:[], s:o, s:o, s:s}", "type", "reasoning", "id", id, "summary",
                     "content", parts, "encrypted_content",
                     handle ? handle_json(j, buf_str(&j->choice[0].g.reasoning)) : json_null(),
                     "status", status);
}

static json_t *call_item(Choice *c, Str line) {
    char id[48];
    json_t *call = call_json(c, line), *f = json_object_get(call, "function");
    id_make(id, sizeof id, "fc_");
    json_t *item =
        json_pack("{s:s, s:s, s:O, s:O, s:O, s:s}", "type", "function_call", "id", id, "call_id",
                  json_object_get(call, "id"), "name", json_object_get(f, "name"), "arguments",
                  json_object_get(f, "arguments"), "status", "completed");
    json_decref(call);
    return item;
}

/* ---- the stream ------------------------------------------------------------------------------ */

static void event(Job *j, const char *type, json_t *data) {
    State *s = j->state;
    json_object_set_new(data, "type", json_string(type));
    json_object_set_new(data, "sequence_number", json_integer((json_int_t)s->events++));
    job_event(j, type, data);
}

static void responses_begin(Job *j) {
    event(j, "response.created", json_pack("{s:o}", "response", response_json(j, "in_progress")));
    event(j, "response.in_progress",
          json_pack("{s:o}", "response", response_json(j, "in_progress")));
}

/* The members that say where: item, its place, its part. */
static json_t *place(const State *s, bool part) {
    json_t *o = json_pack("{s:s, s:I}", "item_id", s->item, "output_index", (json_int_t)s->items);
    if (part) json_object_set_new(o, "content_index", json_integer(0));
    return o;
}

static void item_event(Job *j, const char *type, json_t *item) {
    const State *s = j->state;
    event(j, type, json_pack("{s:I, s:o}", "output_index", (json_int_t)s->items, "item", item));
}

static void part_event(Job *j, const char *type, json_t *part) {
    json_t *o = place(j->state, true);
    json_object_set_new(o, "part", part);
    event(j, type, o);
}

static void item_close(Choice *c, const char *status) {
    Job *j = c->job;
    State *s = j->state;
    const bool thought = s->open == OPEN_THOUGHT;
    const Buf *all = thought ? &c->g.reasoning : &c->g.text;
    const Str text = {all->p + s->from, all->n - s->from};
    if (s->open == OPEN_NONE) return;
    json_t *done = place(s, true);
    json_object_set_new(done, "text", json_of(text));
    if (!thought) json_object_set_new(done, "logprobs", json_array());
    event(j, thought ? "response.reasoning_text.done" : "response.output_text.done", done);
    part_event(j, "response.content_part.done", thought ? thought_part(text) : text_part(text));
    json_t *item = thought ? thought_item(j, s->item, json_pack("[o]", thought_part(text)), status)
                           : message_item(s->item, json_pack("[o]", text_part(text)), status);
    json_array_append(s->output, item);
    item_event(j, "response.output_item.done", item);
    s->items++, s->open = OPEN_NONE;
}

static void item_open(Choice *c, Open which, int64_t from) {
    Job *j = c->job;
    State *s = j->state;
    const bool thought = which == OPEN_THOUGHT;
    if (s->open == which) return;
    item_close(c, "completed");
    id_make(s->item, sizeof s->item, thought ? "rs_" : "msg_");
    s->open = which, s->from = from;
    item_event(j, "response.output_item.added",
               thought ? thought_item(j, s->item, json_array(), "in_progress")
                       : message_item(s->item, json_array(), "in_progress"));
    part_event(j, "response.content_part.added",
               thought ? thought_part(STR("")) : text_part(STR("")));
}

static void text_delta(Choice *c, Open which, Str text, int64_t from) {
    item_open(c, which, from);
    json_t *o = place(c->job->state, true);
    json_object_set_new(o, "delta", json_of(text));
    if (which == OPEN_TEXT) json_object_set_new(o, "logprobs", json_array());
    event(c->job,
          which == OPEN_TEXT ? "response.output_text.delta" : "response.reasoning_text.delta", o);
}

static void call_send(Choice *c, Str line) {
    Job *j = c->job;
    State *s = j->state;
    item_close(c, "completed");
    json_t *item = call_item(c, line), *begun = json_copy(item),
           *arguments = json_object_get(item, "arguments");
    snprintf(s->item, sizeof s->item, "%s", json_string_value(json_object_get(item, "id")));
    json_object_set_new(begun, "arguments", json_string(""));
    json_object_set_new(begun, "status", json_string("in_progress"));
    item_event(j, "response.output_item.added", begun);
    json_t *delta = place(s, false), *done = place(s, false);
    json_object_set(delta, "delta", arguments);
    event(j, "response.function_call_arguments.delta", delta);
    json_object_set(done, "arguments", arguments);
    json_object_set(done, "name", json_object_get(item, "name"));
    event(j, "response.function_call_arguments.done", done);
    json_array_append(s->output, item);
    item_event(j, "response.output_item.done", item);
    s->items++;
}

static void responses_delta(Choice *c, const Delta *d) {
    Str calls = d->calls;
    if (d->thought.n) text_delta(c, OPEN_THOUGHT, d->thought, c->thought_sent);
    if (d->text.n) text_delta(c, OPEN_TEXT, d->text, c->text_sent);
    while (calls.n) call_send(c, line_cut(&calls));
}

/* Of an answer that was cut short the last item is incomplete. */
static void output_fill(Choice *c) {
    State *s = c->job->state;
    Str calls = buf_str(&c->g.calls);
    const char *status = status_of(c);
    const bool thought = c->g.splitter.thought, text = c->g.text.n > 0, last = !text && !calls.n;
    char id[48];
    id_make(id, sizeof id, "rs_");
    if (thought)
        json_array_append_new(s->output,
                              thought_item(c->job, id,
                                           json_pack("[o]", thought_part(buf_str(&c->g.reasoning))),
                                           last ? status : "completed"));
    id_make(id, sizeof id, "msg_");
    if (text || (last && !(thought && c->g.finish == FINISH_LENGTH)))
        json_array_append_new(s->output,
                              message_item(id, json_pack("[o]", text_part(buf_str(&c->g.text))),
                                           calls.n ? "completed" : status));
    while (calls.n) json_array_append_new(s->output, call_item(c, line_cut(&calls)));
}

static void responses_finish(Job *j) {
    Choice *c = &j->choice[0];
    if (j->stream) {
        item_close(c, status_of(c));
        event(j, c->g.finish == FINISH_LENGTH ? "response.incomplete" : "response.completed",
              json_pack("{s:o}", "response", response_json(j, status_of(c))));
        return;
    }
    output_fill(c);
    job_answer(j, response_json(j, status_of(c)));
}

static void responses_fault(Job *j, const Fault *f) {
    json_t *o = response_json(j, "failed");
    json_object_set_new(o, "error",
                        json_pack("{s:s, s:s}", "code", "server_error", "message", f->message));
    event(j, "response.failed", json_pack("{s:o}", "response", o));
}

static const Face responses_face = {.begin = responses_begin,
                                    .delta = responses_delta,
                                    .finish = responses_finish,
                                    .alive = stream_alive,
                                    .fault = responses_fault,
                                    .drop = responses_drop};
