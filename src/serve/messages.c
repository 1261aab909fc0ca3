/* messages.c -- POST /messages and /messages/count_tokens, in Anthropic's form. A request becomes a
 * conversation in OpenAI's form (talk.c); what is Anthropic's own is the way there and the events
 * back. */
#include "serve/api.h"

const Field messages_fields[] = {
    MODEL_FIELD,
    {"messages", FIELD_JSON, P(messages), 0, 0,
     "The conversation; contents are strings or blocks of text, tool_use, tool_result, thinking.",
     "{\"type\":\"array\"}"},
    {"system", FIELD_JSON, P(system), 0, 0, "A string, or blocks of text.", "{}"},
    {"max_tokens", FIELD_INT, P(max_tokens), 1, 1 << 24, "Most tokens of the answer.", NULL},
    {"stream", FIELD_BOOL, P(stream), 0, 0, "Answer by server-sent events.", NULL},
    {"background", FIELD_BOOL, P(background), 0, 0,
     "With stream: go on when the client leaves; GET /streams/ID takes it up again.", NULL},
    {"temperature", FIELD_NUMBER, P(temperature), 0, 1, "0: the likeliest token.", NULL},
    {"top_p", FIELD_NUMBER, P(top_p), 0, 1, "Sample among the likeliest that reach it.", NULL},
    {"top_k", FIELD_INT, P(top_k), 0, 1 << 20, "Sample among so many; 0: all.", NULL},
    {"stop_sequences", FIELD_JSON, P(stop), 0, 0, "Up to 16 strings.", "{\"type\":\"array\"}"},
    {"tools", FIELD_JSON, P(tools), 0, 0, "name, description, input_schema.",
     "{\"type\":\"array\"}"},
    {"tool_choice", FIELD_JSON, P(tool_choice), 0, 0,
     "{\"type\": \"auto\", \"any\", \"tool\" or \"none\", \"name\"}", "{}"},
    {"thinking", FIELD_JSON, P(thinking), 0, 0,
     "{\"type\": \"enabled\", \"disabled\" or \"adaptive\", \"budget_tokens\": N}", "{}"},
    {"output_config", FIELD_JSON, P(output_config), 0, 0,
     "{\"effort\": low to max, \"format\": {\"type\": \"json_schema\", \"schema\"}}", "{}"},
    {"metadata", FIELD_JSON, P(metadata), 0, 0, "{\"user_id\": TEXT}", "{}"},
    SEARCH_FIELD,
};
const int64_t n_messages_fields = COUNT(messages_fields);

/* ---- from Anthropic's blocks ----------------------------------------------------------------- */

/* The texts of a string or of text blocks, one after the other. */
static json_t *texts_join(Call *c, const json_t *content) {
    Buf all = {.a = c->a};
    if (json_is_string(content)) return json_incref((json_t *)content);
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *text = json_object_get(json_array_get(content, i), "text");
        if (all.n && text) buf_add(&all, STR("\n"));
        if (json_is_string(text)) buf_add(&all, json_text(text));
    }
    return json_of(buf_str(&all));
}

/* A block of an assistant's message: text, thinking and tool_use go into one message. */
static bool assistant_block(Call *c, json_t *to, const json_t *block) {
    const char *type = type_of(block);
    if (!strcmp(type, "thinking") || !strcmp(type, "redacted_thinking")) {
        thought_put(c, to, json_object_get(block, *type == 't' ? "signature" : "data"),
                    json_object_get(block, "thinking"));
        return true;
    }
    if (strcmp(type, "tool_use"))
        return fault_value(&c->fault, "messages", "a block of type '%s' is not supported", type);
    json_t *calls = json_object_get(to, "tool_calls");
    if (!calls) json_object_set_new(to, "tool_calls", calls = json_array());
    char *input = json_dumps(json_object_get(block, "input"), JSON_REAL_PRECISION(15));
    json_array_append_new(calls, json_pack("{s:O?, s:s, s:{s:O?, s:s}}", "id",
                                           json_object_get(block, "id"), "type", "function",
                                           "function", "name", json_object_get(block, "name"),
                                           "arguments", input ? input : "{}"));
    free(input);
    return true;
}

static bool assistant_add(Call *c, json_t *all, const json_t *content) {
    json_t *to = json_pack("{s:s, s:o}", "role", "assistant", "content", texts_join(c, content));
    json_array_append_new(all, to);
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *block = json_array_get(content, i);
        if (strcmp(type_of(block), "text") && !assistant_block(c, to, block)) return false;
    }
    return true;
}

/* A user's message may mix results of tools and text: the results come first, as messages of their
 * own. */
static bool user_add(Call *c, json_t *all, const json_t *content) {
    json_t *text = json_array();
    for (size_t i = 0; i < json_array_size(content); i++) {
        json_t *block = json_array_get(content, i);
        const char *type = type_of(block);
        if (!strcmp(type, "text")) {
            json_array_append(text, block);
        } else if (!strcmp(type, "tool_result")) {
            json_array_append_new(all, json_pack("{s:s, s:O?, s:o}", "role", "tool", "tool_call_id",
                                                 json_object_get(block, "tool_use_id"), "content",
                                                 texts_join(c, json_object_get(block, "content"))));
        } else {
            json_decref(text);
            return fault_value(&c->fault, "messages",
                               "a block of type '%s' is not supported: the model reads text only",
                               type);
        }
    }
    if (json_is_string(content) || json_array_size(text))
        json_array_append_new(all,
                              json_pack("{s:s, s:o}", "role", "user", "content",
                                        texts_join(c, json_is_string(content) ? content : text)));
    json_decref(text);
    return true;
}

static bool message_add(Call *c, json_t *all, const json_t *m) {
    const char *role = json_string_value(json_object_get(m, "role"));
    const json_t *content = json_object_get(m, "content");
    if (!json_is_string(content) && !json_is_array(content))
        return fault_value(&c->fault, "messages", "a message's content must be a string or blocks");
    if (role && !strcmp(role, "system")) { /* of Claude Code, behind the first user's */
        json_t *text = texts_join(c, content);
        return !json_array_append_new(all, json_pack("{s:s, s:o}", "role", role, "content", text));
    }
    if (role && !strcmp(role, "user")) return user_add(c, all, content);
    if (role && !strcmp(role, "assistant")) return assistant_add(c, all, content);
    return fault_value(&c->fault, "messages", "a message's role must be user, assistant or system");
}

static json_t *openai_messages(Call *c) {
    const Params *p = &c->p;
    json_t *all = json_array();
    if (p->system)
        json_array_append_new(
            all, json_pack("{s:s, s:o}", "role", "system", "content", texts_join(c, p->system)));
    bool ok = json_is_array(p->messages);
    if (!ok) fault_value(&c->fault, "messages", "messages must be a list");
    for (size_t i = 0; ok && i < json_array_size(p->messages); i++)
        ok = message_add(c, all, json_array_get(p->messages, i));
    if (ok) return all;
    json_decref(all);
    return NULL;
}

/* Tools that the client runs have a schema; those of Anthropic's own servers have none. */
static bool tools_take(Call *c, Talk *t) {
    const char *choice = type_of(c->p.tool_choice),
               *name = json_string_value(json_object_get(c->p.tool_choice, "name"));
    const bool one = json_is_true(json_object_get(c->p.tool_choice, "disable_parallel_tool_use"));
    if (c->p.tools && !json_is_array(c->p.tools))
        return fault_value(&c->fault, "tools", "tools must be a list");
    json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(c->p.tools); i++) {
        json_t *tool = json_array_get(c->p.tools, i),
               *schema = json_object_get(tool, "input_schema");
        if (schema)
            json_array_append_new(
                all, json_pack("{s:s, s:{s:O?, s:O*, s:O}}", "type", "function", "function", "name",
                               json_object_get(tool, "name"), "description",
                               json_object_get(tool, "description"), "parameters", schema));
    }
    if (json_array_size(all)) t->tools = json_incref(all);
    json_decref(all);
    return form_format(c, t, "output_config", json_object_get(c->p.output_config, "format"))
           && form_tools(c, t, *choice ? choice : "auto", !strcmp(choice, "tool") ? name : NULL,
                         !one);
}

static bool talk_take(Call *c, Talk *t) {
    if (!members_read(c, messages_fields, n_messages_fields)) return false;
    json_t *all = openai_messages(c), *user = json_object_get(c->p.metadata, "user_id");
    const bool ok = all && talk_messages(c, t, all) && tools_take(c, t) && talk_thinking(c, t)
                    && talk_cite(c, t, all);
    json_decref(all);
    if (json_is_string(user)) c->p.user = str_copy(c->a, str_of(json_string_value(user)));
    return ok;
}

void answer_messages_count(Call *c) {
    Talk t = {.counted = true};
    if (talk_take(c, &t)) answer_json(c, json_pack("{s:I}", "input_tokens", (json_int_t)t.ids.n));
    talk_drop(&t);
}

/* ---- the answer ------------------------------------------------------------------------------ */

const char message_types[] =
    "type Message = {id: string; type: 'message'; role: 'assistant'; model: string;\n"
    "  content: ContentBlock[]; stop_reason: StopReason; stop_sequence: string | null;\n"
    "  usage: MessageUsage; lisao: Lisao};\n"
    "type ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock;\n"
    "type TextBlock = {type: 'text'; text: string};\n"
    "type ThinkingBlock = {type: 'thinking'; thinking: string; signature: string};\n"
    "type ToolUseBlock = {type: 'tool_use'; id: string; name: string;\n"
    "  input: {[name: string]: any}};\n"
    "type StopReason = 'end_turn' | 'max_tokens' | 'stop_sequence' | 'tool_use';\n"
    "type MessageUsage = {input_tokens: integer; cache_creation_input_tokens: integer;\n"
    "  cache_read_input_tokens: integer; output_tokens: integer};\n"
    "type InputTokens = {input_tokens: integer};\n"
    "type MessageEvent = MessageStart | Ping | ContentBlockStart | ContentBlockDelta |\n"
    "  ContentBlockStop | MessageDelta | MessageStop | AnthropicError;\n"
    "type MessageStart = {type: 'message_start'; message: {id: string; type: 'message';\n"
    "  role: 'assistant'; model: string; content: []; stop_reason: null; stop_sequence: null;\n"
    "  usage: MessageUsage; lisao?: LisaoDocuments}};\n"
    "type Ping = {type: 'ping'};\n"
    "type ContentBlockStart = {type: 'content_block_start'; index: integer;\n"
    "  content_block: ContentBlock};\n"
    "type ContentBlockDelta = {type: 'content_block_delta'; index: integer;\n"
    "  delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta};\n"
    "type TextDelta = {type: 'text_delta'; text: string};\n"
    "type ThinkingDelta = {type: 'thinking_delta'; thinking: string};\n"
    "type SignatureDelta = {type: 'signature_delta'; signature: string};\n"
    "type InputJsonDelta = {type: 'input_json_delta'; partial_json: string};\n"
    "type ContentBlockStop = {type: 'content_block_stop'; index: integer};\n"
    "type MessageDelta = {type: 'message_delta'; delta: {stop_reason: StopReason;\n"
    "  stop_sequence: string | null}; usage: MessageUsage; lisao: Lisao};\n"
    "type MessageStop = {type: 'message_stop'};\n";

/* Which block of the stream is open. */
typedef enum Open { OPEN_NONE, OPEN_THOUGHT, OPEN_TEXT } Open;
typedef struct Blocks {
    Open open;
    int64_t n; /* begun so far */
} Blocks;

static const Face messages_face;

static bool messages_ask(Call *c, Talk *t) {
    if (!talk_take(c, t)) return false;
    if (c->p.max_tokens == NOT_GIVEN)
        return fault_value(&c->fault, "max_tokens", "max_tokens: Field required");
    Job *j = job_new(c, &messages_face, "msg_", 1);
    if (!j || !job_talk(c, j, t) || !job_form(c, j, t)) return false;
    j->state = PUSH(c->a, Blocks, 1);
    return job_send(c, j);
}

void answer_messages(Call *c) {
    Talk t = {0};
    messages_ask(c, &t);
    talk_drop(&t);
}

static json_t *usage_json(const Job *j) {
    const Generation *g = &j->choice[0].g;
    return json_pack("{s:I, s:I, s:I, s:I}", "input_tokens",
                     (json_int_t)(g->n_prompt - g->n_cached), "cache_creation_input_tokens",
                     (json_int_t)0, "cache_read_input_tokens", (json_int_t)g->n_cached,
                     "output_tokens", (json_int_t)g->n);
}

static const char *stop_reason(const Choice *c) {
    if (c->n_calls) return "tool_use";
    if (c->g.finish == FINISH_LENGTH) return "max_tokens";
    return c->g.stops.found ? "stop_sequence" : "end_turn";
}

static json_t *head_json(const Job *j, json_t *content) {
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:n, s:n, s:o}", "id", j->id, "type", "message",
                     "role", "assistant", "model", j->model.p, "content", content, "stop_reason",
                     "stop_sequence", "usage", usage_json(j));
}

static json_t *tool_use_json(Choice *c, Str line) {
    char id[48];
    json_t *call = json_loadb(line.p, (size_t)line.n, JSON_ALLOW_NUL, NULL);
    id_make(id, sizeof id, "toolu_");
    c->n_calls++;
    json_t *j =
        json_pack("{s:s, s:s, s:O, s:O}", "type", "tool_use", "id", id, "name",
                  json_object_get(call, "name"), "input", json_object_get(call, "arguments"));
    json_decref(call);
    return j;
}

static void event(Job *j, const char *type, json_t *data) {
    json_object_set_new(data, "type", json_string(type));
    job_event(j, type, data);
}

static void messages_begin(Job *j) {
    json_t *message = head_json(j, json_array());
    if (j->cited) json_object_set_new(message, "lisao", lisao_begun(j));
    event(j, "message_start", json_pack("{s:o}", "message", message));
    event(j, "ping", json_object());
}

static void delta_send(Job *j, const char *type, const char *member, json_t *value) {
    const Blocks *b = j->state;
    event(j, "content_block_delta",
          json_pack("{s:I, s:{s:s, s:o}}", "index", (json_int_t)(b->n - 1), "delta", "type", type,
                    member, value));
}

static void block_close(Job *j) {
    Blocks *b = j->state;
    if (b->open == OPEN_NONE) return;
    if (b->open == OPEN_THOUGHT)
        delta_send(j, "signature_delta", "signature",
                   handle_json(j, buf_str(&j->choice[0].g.reasoning)));
    event(j, "content_block_stop", json_pack("{s:I}", "index", (json_int_t)(b->n - 1)));
    b->open = OPEN_NONE;
}

static void block_start(Job *j, json_t *block) {
    Blocks *b = j->state;
    event(j, "content_block_start",
          json_pack("{s:I, s:o}", "index", (json_int_t)b->n++, "content_block", block));
}

static void block_open(Job *j, Open which) {
    Blocks *b = j->state;
    if (b->open == which) return;
    block_close(j);
    block_start(j, which == OPEN_THOUGHT ? json_pack("{s:s, s:s, s:s}", "type", "thinking",
                                                     "thinking", "", "signature", "")
                                         : json_pack("{s:s, s:s}", "type", "text", "text", ""));
    b->open = which;
}

static void call_send(Choice *c, Str line) {
    Job *j = c->job;
    json_t *whole = tool_use_json(c, line), *input = json_incref(json_object_get(whole, "input"));
    char *text = json_dumps(input, JSON_COMPACT | JSON_REAL_PRECISION(15));
    block_close(j);
    json_object_set_new(whole, "input", json_object());
    block_start(j, whole);
    delta_send(j, "input_json_delta", "partial_json", json_string(""));
    delta_send(j, "input_json_delta", "partial_json", json_string(text ? text : "{}"));
    event(j, "content_block_stop",
          json_pack("{s:I}", "index", (json_int_t)(((Blocks *)j->state)->n - 1)));
    free(text);
    json_decref(input);
}

static void messages_delta(Choice *c, const Delta *d) {
    Job *j = c->job;
    Str calls = d->calls;
    if (d->thought.n) {
        block_open(j, OPEN_THOUGHT);
        delta_send(j, "thinking_delta", "thinking", json_of(d->thought));
    }
    if (d->text.n) {
        block_open(j, OPEN_TEXT);
        delta_send(j, "text_delta", "text", json_of(d->text));
    }
    while (calls.n) call_send(c, line_cut(&calls));
}

static json_t *content_json(Choice *c) {
    json_t *all = json_array();
    Str calls = buf_str(&c->g.calls);
    if (c->g.splitter.thought)
        json_array_append_new(all, json_pack("{s:s, s:o, s:o}", "type", "thinking", "thinking",
                                             json_of(buf_str(&c->g.reasoning)), "signature",
                                             handle_json(c->job, buf_str(&c->g.reasoning))));
    if (c->g.text.n || !calls.n)
        json_array_append_new(
            all, json_pack("{s:s, s:o}", "type", "text", "text", json_of(buf_str(&c->g.text))));
    while (calls.n) json_array_append_new(all, tool_use_json(c, line_cut(&calls)));
    return all;
}

static json_t *stop_string(const Choice *c) {
    return c->g.stops.found ? json_of(c->ask.stop[c->g.stops.which]) : json_null();
}

static void messages_finish(Job *j) {
    Choice *c = &j->choice[0];
    if (!j->stream) {
        json_t *content = content_json(c), *o = head_json(j, content);
        json_object_set_new(o, "stop_reason", json_string(stop_reason(c)));
        json_object_set_new(o, "stop_sequence", stop_string(c));
        json_object_set_new(o, "lisao", lisao_json(j));
        job_answer(j, o);
        return;
    }
    block_close(j);
    event(j, "message_delta",
          json_pack("{s:{s:s, s:o}, s:o, s:o}", "delta", "stop_reason", stop_reason(c),
                    "stop_sequence", stop_string(c), "usage", usage_json(j), "lisao",
                    lisao_json(j)));
    event(j, "message_stop", json_object());
}

static void messages_alive(Job *j) {
    exchange_write(j->x, STR("event: ping\ndata: {\"type\":\"ping\"}\n\n"));
}

static void messages_fault(Job *j, const Fault *f) {
    job_event(j, "error", fault_json(f, STYLE_ANTHROPIC, exchange_id(j->x)));
}

static const Face messages_face = {.begin = messages_begin,
                                   .delta = messages_delta,
                                   .finish = messages_finish,
                                   .alive = messages_alive,
                                   .fault = messages_fault};
