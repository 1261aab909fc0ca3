/* chat.c -- POST /chat/completions, in OpenAI's form with DeepSeek's members. */
#include "serve/api.h"

#define SCHEMA_LIST "{\"type\":\"array\"}"
#define SCHEMA_ANY  "{}"
const Field chat_fields[] = {
    MODEL_FIELD,
    {"messages", FIELD_JSON, P(messages), 0, 0,
     "The conversation: role (system, developer, user, assistant, tool), content (a string, or a "
     "list of text parts), tool_calls, tool_call_id, reasoning_content. Where the last is an "
     "assistant's, the answer goes on with it.",
     SCHEMA_LIST},
    {"stream", FIELD_BOOL, P(stream), 0, 0, "Answer by server-sent events.", NULL},
    {"background", FIELD_BOOL, P(background), 0, 0,
     "With stream: go on when the client leaves; GET /streams/ID takes it up again.", NULL},
    {"stream_options", FIELD_JSON, P(stream_options), 0, 0, "{\"include_usage\": true}",
     SCHEMA_ANY},
    {"max_tokens", FIELD_INT, P(max_tokens), 1, 1 << 24, "Most tokens of the answer.", NULL},
    {"max_completion_tokens", FIELD_INT, P(max_completion), 1, 1 << 24, "The same; it wins.", NULL},
    {"temperature", FIELD_NUMBER, P(temperature), 0, 2,
     "0: always the likeliest token (default: what the model recommends, else 0.2).", NULL},
    {"top_p", FIELD_NUMBER, P(top_p), 0, 1, "Sample among the likeliest that reach it.", NULL},
    {"top_k", FIELD_INT, P(top_k), 0, 1 << 20, "Sample among so many; 0: all.", NULL},
    {"min_p", FIELD_NUMBER, P(min_p), 0, 1, "Least share of the likeliest's probability.", NULL},
    {"frequency_penalty", FIELD_NUMBER, P(frequency_penalty), -2, 2, "Per occurrence.", NULL},
    {"presence_penalty", FIELD_NUMBER, P(presence_penalty), -2, 2, "For any occurrence.", NULL},
    {"repetition_penalty", FIELD_NUMBER, P(repetition_penalty), 0.01, 100, "1: none.", NULL},
    {"seed", FIELD_INT, P(seed), -9007199254740992.0, 9007199254740992.0,
     "The same request with the same seed gives the same answer, whoever else is served. Choice i "
     "draws by seed + i.",
     NULL},
    {"n", FIELD_INT, P(n), 1, 8, "Choices.", NULL},
    {"stop", FIELD_JSON, P(stop), 0, 0, "A string, or up to 16, that end the answer.", SCHEMA_ANY},
    {"logit_bias", FIELD_JSON, P(logit_bias), 0, 0, "{\"ID\": -100..100}", "{\"type\":\"object\"}"},
    {"logprobs", FIELD_BOOL, P(logprobs), 0, 0, "Log-probabilities of the tokens.", NULL},
    {"top_logprobs", FIELD_INT, P(top_logprobs), 0, 20, "And of the likeliest ones.", NULL},
    {"tools", FIELD_JSON, P(tools), 0, 0, "Functions that the model may call.", SCHEMA_LIST},
    {"tool_choice", FIELD_JSON, P(tool_choice), 0, 0,
     "auto, none, required, or {\"type\": \"function\", \"function\": {\"name\": ...}}",
     SCHEMA_ANY},
    {"parallel_tool_calls", FIELD_JSON, P(parallel), 0, 0, "false: one call at most.", SCHEMA_ANY},
    {"response_format", FIELD_JSON, P(response_format), 0, 0,
     "{\"type\": \"text\", \"json_object\", or \"json_schema\" with \"json_schema\": {\"schema\": "
     "...}}",
     SCHEMA_ANY},
    {"reasoning_effort", FIELD_TEXT, P(effort), 0, 0,
     "none, minimal and low (512 tokens of thought), medium (2048), high and xhigh (8192), max.",
     NULL},
    {"thinking", FIELD_JSON, P(thinking), 0, 0,
     "{\"type\": \"enabled\" or \"disabled\", \"budget_tokens\": N}", SCHEMA_ANY},
    {"reasoning", FIELD_JSON, P(reasoning), 0, 0, "{\"effort\": as reasoning_effort}", SCHEMA_ANY},
    {"enable_thinking", FIELD_JSON, P(enable_thinking), 0, 0, "true or false", SCHEMA_ANY},
    {"chat_template_kwargs", FIELD_JSON, P(kwargs), 0, 0, "Variables of the model's chat template.",
     SCHEMA_ANY},
    {"user", FIELD_TEXT, P(user), 0, 0, "Users share no cached prompts.", NULL},
    {"user_id", FIELD_TEXT, P(user), 0, 0, "The same.", NULL},
    {"search", FIELD_JSON, P(search), 0, 0,
     SEARCH_WORDS
     " \"documents_tool\" or \"web_tool\": the model itself searches there, up to five times, by a "
     "tool; lisao.searches lists the calls.",
     "{\"enum\":[true,false,\"documents\",\"web\",\"documents_tool\",\"web_tool\",null]}"},
    {"ignore_eos", FIELD_BOOL, P(ignore_eos), 0, 0, "Go on until max_tokens.", NULL},
};
const int64_t n_chat_fields = COUNT(chat_fields);

/* ---- what is asked --------------------------------------------------------------------------- */

static bool tools_take(Call *c, Talk *t) {
    const Params *p = &c->p;
    if (!p->tools) return true;
    if (!json_is_array(p->tools)) return fault_value(&c->fault, "tools", "tools must be a list");
    if (json_array_size(p->tools) == 0) return true;
    for (size_t i = 0; i < json_array_size(p->tools); i++) {
        const json_t *f = json_object_get(json_array_get(p->tools, i), "function");
        if (!json_is_string(json_object_get(f, "name")))
            return fault_value(&c->fault, "tools", "tool %lld has no function with a name",
                               (long long)i + 1);
    }
    t->tools = json_incref(p->tools);
    return true;
}

/* "auto", or {"type": "function", "function": {"name": ...}}. */
static bool choice_take(Call *c, Talk *t, const Lookup *l) {
    const json_t *choice = c->p.tool_choice;
    const char *word = json_string_value(choice),
               *name =
                   json_string_value(json_object_get(json_object_get(choice, "function"), "name"));
    if ((choice && !word && !name) || (name && !word)) word = "";
    if (l) return lookup_tools(c, l, t, word ? word : "auto", name);
    return form_tools(c, t, word ? word : "auto", name, !json_is_false(c->p.parallel));
}

static bool logprobs_read(Call *c, Job *j) {
    const Params *p = &c->p;
    j->logprobs = p->logprobs;
    j->n_top = p->top_logprobs != NOT_GIVEN ? (int64_t)p->top_logprobs : 0;
    return p->logprobs || p->top_logprobs == NOT_GIVEN
           || fault_value(&c->fault, "top_logprobs", "top_logprobs needs logprobs: true");
}

static const Face chat_face;

static bool chat_ask(Call *c, Talk *t, Lookup **lookup) {
    if (!members_read(c, chat_fields, n_chat_fields) || !lookup_open(c, lookup)) return false;
    json_t *messages = *lookup ? lookup_messages(*lookup) : c->p.messages;
    if (!talk_messages(c, t, messages) || (!*lookup && !tools_take(c, t))) return false;
    if (!form_format(c, t, "response_format", c->p.response_format) || !choice_take(c, t, *lookup))
        return false;
    if (!talk_thinking(c, t) || !talk_cite(c, t, messages)) return false;
    Job *j = job_new(c, &chat_face, "chatcmpl-", (int64_t)c->p.n);
    if (!j || !logprobs_read(c, j) || !job_talk(c, j, t) || !job_form(c, j, t)) return false;
    j->lookup = *lookup;
    j->usage = json_is_true(json_object_get(c->p.stream_options, "include_usage"));
    for (int64_t i = 0; j->logprobs && i < j->n; i++)
        j->choice[i].of_thought = PUSH(c->a, uint8_t, j->choice[i].ask.max_tokens);
    return job_send(c, j);
}

void answer_chat(Call *c) {
    Talk t = {0};
    Lookup *lookup = NULL;
    if (!chat_ask(c, &t, &lookup)) lookup_drop(lookup);
    talk_drop(&t);
}

/* ---- what is answered ------------------------------------------------------------------------ */

const char chat_types[] =
    "type ChatCompletion = {id: string; object: 'chat.completion'; created: integer;\n"
    "  model: string; system_fingerprint: string; choices: ChatChoice[]; usage: ChatUsage;\n"
    "  lisao: Lisao};\n"
    "type ChatChoice = {index: integer; message: ChatMessage; logprobs: ChatLogprobs | null;\n"
    "  finish_reason: FinishReason};\n"
    "type ChatMessage = {role: 'assistant'; content: string; refusal: null;\n"
    "  reasoning_content?: string; tool_calls?: ToolCall[]};\n"
    "type ChatLogprobs = {content: ChatToken[]; refusal: null; reasoning_content?: ChatToken[]};\n"
    "type ChatToken = {token: string; logprob: number; bytes: integer[]; top_logprobs: Token[]};\n"
    "type FinishReason = 'stop' | 'length' | 'tool_calls';\n"
    "type ChatUsage = {prompt_tokens: integer; completion_tokens: integer;\n"
    "  total_tokens: integer; prompt_tokens_details: {cached_tokens: integer};\n"
    "  completion_tokens_details: {reasoning_tokens: integer};\n"
    "  prompt_cache_hit_tokens: integer; prompt_cache_miss_tokens: integer};\n"
    "type ChatEvent = ChatChunk | Error;\n"
    "type ChatChunk = {id: string; object: 'chat.completion.chunk'; created: integer;\n"
    "  model: string; system_fingerprint: string; choices: ChatDelta[];\n"
    "  usage?: ChatUsage | null; lisao?: Lisao | LisaoDocuments};\n"
    "type ChatDelta = {index: integer; delta: {role?: 'assistant'; content?: string;\n"
    "  reasoning_content?: string; tool_calls?: ToolCall[]}; logprobs: ChatLogprobs | null;\n"
    "  finish_reason: FinishReason | null};\n";

/* ---- log-probabilities ----------------------------------------------------------------------- */

/* Tokens from..to-1 of a choice, those of its thought or those of its answer. The end token is no
 * text. */
static json_t *tokens_json(const Choice *c, int64_t from, int64_t to, bool thought) {
    const Job *j = c->job;
    json_t *all = json_array();
    if (c->ended && c->g.finish == FINISH_STOP && !c->g.stops.found) to = MIN(to, c->g.n - 1);
    for (int64_t i = from; i < to; i++) {
        if ((c->of_thought && c->of_thought[i]) != thought) continue;
        json_t *one = token_json(j, c->g.token[i]), *top = json_array();
        for (int64_t k = 0; k < MIN(j->n_top, j->m->bundle->model->cfg.V); k++)
            json_array_append_new(top, token_json(j, c->g.top[i * c->g.n_top + k]));
        json_object_set_new(one, "top_logprobs", top);
        json_array_append_new(all, one);
    }
    return all;
}

static json_t *logprobs_json(const Choice *c, int64_t from, int64_t to) {
    if (!c->job->logprobs) return json_null();
    json_t *thought = tokens_json(c, from, to, true);
    json_t *o = json_pack("{s:o, s:n}", "content", tokens_json(c, from, to, false), "refusal");
    if (json_array_size(thought)) json_object_set(o, "reasoning_content", thought);
    json_decref(thought);
    return o;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static json_t *usage_json(const Job *j) {
    const Generation *g = &j->choice[0].g;
    int64_t thought = 0, n = job_tokens(j) + lookup_tokens(j);
    const int64_t prompt = g->n_prompt + lookup_prompt(j), cached = g->n_cached + lookup_cached(j);
    for (int64_t i = 0; i < j->n; i++) thought += j->choice[i].n_thought;
    return json_pack("{s:I, s:I, s:I, s:{s:I}, s:{s:I}, s:I, s:I}", "prompt_tokens",
                     (json_int_t)prompt, "completion_tokens", (json_int_t)n, "total_tokens",
                     (json_int_t)(prompt + n), "prompt_tokens_details", "cached_tokens",
                     (json_int_t)cached, "completion_tokens_details", "reasoning_tokens",
                     (json_int_t)thought, "prompt_cache_hit_tokens", (json_int_t)cached,
                     "prompt_cache_miss_tokens", (json_int_t)(prompt - cached));
}

/* The searches of the model are a part of it: the last round begins behind them. */
static json_t *chat_lisao(const Job *j) {
    json_t *o = lisao_json(j), *searches = lookup_json(j);
    if (searches) json_object_set_new(o, "searches", searches);
    return o;
}

/* The first one says which documents it is made from, the last one what the answer can be computed
 * again by. */
static void delta_send(Choice *c, json_t *delta, json_t *logprobs, const char *reason) {
    Job *j = c->job;
    json_t *o = openai_head(j, "chat.completion.chunk");
    json_object_set_new(o, "choices",
                        json_pack("[{s:I, s:o, s:o, s:s?}]", "index", (json_int_t)c->index, "delta",
                                  delta, "logprobs", logprobs, "finish_reason", reason));
    if (j->usage) json_object_set_new(o, "usage", json_null());
    if (j->cited && j->events == 0) json_object_set_new(o, "lisao", lisao_begun(j));
    if (reason && c->index == j->n - 1) json_object_set_new(o, "lisao", chat_lisao(j));
    job_event(j, NULL, o);
}

static void chat_begin(Job *j) {
    for (int64_t i = 0; i < j->n; i++)
        delta_send(&j->choice[i], json_pack("{s:s, s:s}", "role", "assistant", "content", ""),
                   json_null(), NULL);
}

static void chat_delta(Choice *c, const Delta *d) {
    Str calls = c->job->lookup ? (Str){0} : d->calls;
    json_t *logprobs = logprobs_json(c, d->from, c->g.n);
    if (d->thought.n)
        delta_send(c, json_pack("{s:o}", "reasoning_content", json_of(d->thought)),
                   json_incref(logprobs), NULL);
    if (d->text.n || (!d->thought.n && !d->calls.n))
        delta_send(c, json_pack("{s:o}", "content", json_of(d->text)),
                   d->thought.n ? json_null() : json_incref(logprobs), NULL);
    while (calls.n)
        delta_send(c, json_pack("{s:[o]}", "tool_calls", call_json(c, line_cut(&calls))),
                   json_null(), NULL);
    json_decref(logprobs);
}

static void chat_searched(Job *j) {
    json_t *o = openai_head(j, "chat.completion.chunk");
    json_object_set_new(o, "choices",
                        json_pack("[{s:i, s:o, s:n, s:n}]", "index", 0, "delta", lookup_delta(j),
                                  "logprobs", "finish_reason"));
    if (j->usage) json_object_set_new(o, "usage", json_null());
    json_object_set_new(o, "lisao", lookup_event(j));
    job_event(j, NULL, o);
}

static void chat_end(Choice *c) { delta_send(c, json_object(), json_null(), finish_reason(c)); }

/* Of all rounds, where the model has searched. */
static json_t *said_json(const Job *j, const char *member, const Buf *last) {
    const Str before = lookup_said(j, member);
    return json_of(str_fmt(j->a, "%.*s%.*s", STRF(before), STRF(buf_str(last))));
}

static json_t *message_json(Choice *c) {
    const Job *j = c->job;
    Str calls = j->lookup ? (Str){0} : buf_str(&c->g.calls);
    json_t *m = json_pack("{s:s, s:o, s:n}", "role", "assistant", "content",
                          said_json(j, "content", &c->g.text), "refusal"),
           *all = json_array();
    if (c->g.splitter.thought || lookup_said(j, "reasoning_content").n)
        json_object_set_new(m, "reasoning_content",
                            said_json(j, "reasoning_content", &c->g.reasoning));
    while (calls.n) json_array_append_new(all, call_json(c, line_cut(&calls)));
    if (json_array_size(all)) json_object_set(m, "tool_calls", all);
    json_decref(all);
    return m;
}

static void chat_whole(Job *j) {
    json_t *o = openai_head(j, "chat.completion"), *choices = json_array();
    for (int64_t i = 0; i < j->n; i++) {
        Choice *c = &j->choice[i];
        json_t *message = message_json(c); /* before the reason: it counts the calls */
        json_array_append_new(choices,
                              json_pack("{s:I, s:o, s:o, s:s}", "index", (json_int_t)i, "message",
                                        message, "logprobs", logprobs_json(c, 0, c->g.n),
                                        "finish_reason", finish_reason(c)));
    }
    json_object_set_new(o, "choices", choices);
    json_object_set_new(o, "usage", usage_json(j));
    json_object_set_new(o, "lisao", chat_lisao(j));
    job_answer(j, o);
}

static void chat_finish(Job *j) {
    if (!j->stream) {
        chat_whole(j);
        return;
    }
    json_t *o = openai_head(j, "chat.completion.chunk");
    json_object_set_new(o, "choices", json_array());
    json_object_set_new(o, "usage", usage_json(j));
    stream_done(j, o);
}

static const Face chat_face = {.begin = chat_begin,
                               .delta = chat_delta,
                               .end = chat_end,
                               .finish = chat_finish,
                               .alive = stream_alive,
                               .searched = chat_searched,
                               .fault = stream_fault};
