/* request.c -- what is asked of a model: settings, and the prompt as token ids. */
#include "cli/request.h"

/* ---- settings -------------------------------------------------------------------------------- */

#define RECOMMENDED " (default: what the model's files recommend, else "

int64_t request_opts(Opt row[REQUEST_OPTS], RequestOpts *o) {
    const Opt rows[] = {
        TEXT_OPT("system", "TEXT", &o->system,
                 "System message (default: the one in the model's chat template)."),
        TEXT_OPT("think", "on|off", &o->think,
                 "Whether the answer begins with reasoning, for models that leave the choice."),
        TEXT_OPT("think-budget", "N", &o->think_budget,
                 "End the thought after N tokens and let the answer follow; or an "
                 "effort: " THOUGHT_EFFORTS "."),
        NUMBER_OPT(OPT_I64, "max-tokens", "N", &o->max_tokens, "Stop after N generated tokens.", 1,
                   1 << 20),
        NUMBER_OPT(OPT_F64, "temperature", "T", &o->temperature,
                   "0: always the most likely token; higher: more varied text" RECOMMENDED
                   "0, in a chat 0.2).",
                   0, 100),
        NUMBER_OPT(OPT_I64, "top-k", "N", &o->top_k,
                   "Sample among the N most likely tokens only; 0: all" RECOMMENDED "0).", 0,
                   1 << 20),
        NUMBER_OPT(OPT_F64, "top-p", "P", &o->top_p,
                   "Sample among the likeliest tokens that together reach P; 1: all" RECOMMENDED
                   "1).",
                   0, 1),
        NUMBER_OPT(OPT_F64, "min-p", "P", &o->min_p,
                   "Sample among the tokens that have at least P times the probability of the most "
                   "likely one; 0: all" RECOMMENDED "0).",
                   0, 1),
        NUMBER_OPT(OPT_F64, "repetition-penalty", "X", &o->repetition_penalty,
                   "Make tokens less likely that stand in the prompt or the answer already; 1: do "
                   "not" RECOMMENDED "1).",
                   0, 100),
        NUMBER_OPT(OPT_F64, "presence-penalty", "X", &o->presence_penalty,
                   "Subtract X from the logits of tokens that the answer has already.", -100, 100),
        NUMBER_OPT(OPT_F64, "frequency-penalty", "X", &o->frequency_penalty,
                   "Subtract X from the logits of tokens for each time that the answer has them.",
                   -100, 100),
        NUMBER_OPT(OPT_F64, "dry-multiplier", "X", &o->dry_multiplier,
                   "DRY: make tokens less likely that would go on with a repetition, by X times "
                   "dry-base to the power of its length beyond dry-allowed-length; 0: do not.",
                   0, 100),
        NUMBER_OPT(OPT_F64, "dry-base", "X", &o->dry_base, "See dry-multiplier.", 1, 100),
        NUMBER_OPT(OPT_I64, "dry-allowed-length", "N", &o->dry_allowed_length,
                   "See dry-multiplier; in tokens.", 1, 64),
        NUMBER_OPT(OPT_I64, "dry-penalty-last-n", "N", &o->dry_penalty_last_n,
                   "DRY looks for repetitions in the last N tokens; -1: in all, 0: in none.", -1,
                   1 << 24),
        {OPT_LIST, "logit-bias", "ID=X", &o->logit_bias, "Add X to the logit of token ID.", 0, 0,
         NULL},
        NUMBER_OPT(OPT_I64, "seed", "S", &o->seed,
                   "Seed of the sampling: the same seed gives the same text.", 0, 0),
        {OPT_LIST, "stop", "TEXT", &o->stop, "End the answer before this text.", 0, 0, NULL},
        NUMBER_OPT(OPT_I64, "top-logprobs", "N", &o->top_logprobs,
                   "With --json: the N most likely tokens at each place.", 0, TOP_LOGPROBS),
        FLAG_OPT("raw", &o->raw,
                 "Continue the prompt as plain text, without a chat format. It begins with the "
                 "token that the model's tokenizer puts in front of texts, if it has one."),
        FLAG_OPT("ignore-end", &o->ignore_end,
                 "Do not stop at the model's end token (for benchmarks)."),
        TEXT_OPT("schema", "FILE", &o->schema,
                 "The answer is a JSON value that this JSON Schema allows: a file, or the schema "
                 "itself where it begins with {. What the model thinks before stays free."),
        FLAG_OPT("json-object", &o->json_object, "The answer is a JSON object."),
        TEXT_OPT("regex", "REGEX", &o->regex,
                 "The answer is a text that this regular expression matches as a whole."),
    };
    _Static_assert(COUNT(rows) == REQUEST_OPTS, "REQUEST_OPTS counts the rows");
    memcpy(row, rows, sizeof rows);
    return COUNT(rows);
}

/* What was given, else what is recommended, else what changes nothing. */
static float chosen(double given, float recommended, float neutral) {
    return given >= 0 ? (float)given : recommended >= 0 ? recommended : neutral;
}

static Sampling sampling_of(const RequestOpts *o, const Recommended *r) {
    return (Sampling){.temperature = chosen(o->temperature, r->temperature, 0),
                      .top_k = o->top_k >= 0 ? o->top_k : MAX(r->top_k, 0),
                      .top_p = chosen(o->top_p, r->top_p, 1),
                      .seed = (uint64_t)o->seed,
                      .min_p = chosen(o->min_p, r->min_p, 0),
                      .repetition_penalty = chosen(o->repetition_penalty, r->repetition_penalty, 1),
                      .presence_penalty = (float)o->presence_penalty,
                      .frequency_penalty = (float)o->frequency_penalty,
                      .dry_multiplier = (float)o->dry_multiplier,
                      .dry_base = (float)o->dry_base,
                      .dry_allowed_length = o->dry_allowed_length,
                      .dry_penalty_last_n = o->dry_penalty_last_n};
}

/* "ID=X" of each entry. */
static bool bias_set(Request *r, Err *err) {
    const OptList *l = &r->opts.logit_bias;
    _Static_assert(COUNT(l->v) == BIASES, "a bias for each entry");
    for (int64_t i = 0; i < l->n; i++) {
        const char *equals = strchr(l->v[i], '=');
        Str id = {l->v[i], equals ? equals - l->v[i] : 0};
        int64_t number;
        double x;
        if (!str_i64(id, &number) || number < 0 || number > INT32_MAX
            || !str_f64(str_of(equals + 1), &x))
            return err_set(err, ERR_USAGE, "a logit bias is ID=X, like 42=-5, not '%s'", l->v[i]);
        r->bias[i] = (Bias){(int32_t)number, (float)x};
    }
    return true;
}

/* DRY sees no repetition across the end of a sentence or a quotation, as llama.cpp's does not. */
static const uint64_t *dry_breaks(Arena *a, const Bundle *b) {
    int64_t V = b->model->cfg.V;
    uint64_t *bits = PUSH(a, uint64_t, (V + 63) / 64);
    for (int64_t id = 0; b->tok && id < V; id++) {
        Str s = token_bytes(b->tok, (int32_t)id);
        for (int64_t i = 0; i < s.n; i++)
            if (char_in(s.p[i], "\n:\"*")) bits[id / 64] |= (uint64_t)1 << id % 64;
    }
    return bits;
}

/* ---- a line of JSON -------------------------------------------------------------------------- */

/* Options are texts that end at their NUL: one within would cut them. */
static bool has_nul(const json_t *v) {
    return json_is_string(v) && json_string_length(v) != strlen(json_string_value(v));
}

static Str text_of(Arena *a, const json_t *v) {
    return str_copy(a, (Str){json_string_value(v), (int64_t)json_string_length(v)});
}

static bool wrong(Err *err, const char *key, const char *wanted) {
    return err_set(err, ERR_FORMAT, "\"%s\" must be %s", key, wanted);
}

static const char *json_spelling(Arena *a, const char *name) {
    Str s = str_copy(a, str_of(name));
    for (char *c = (char *)s.p; *c; c++)
        if (*c == '-') *c = '_';
    return s.p;
}

/* The row whose name with _ for - is the key. */
static const Opt *row_named(const Opt *row, int64_t n, const char *key) {
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        while (row[i].name[at] && (row[i].name[at] == '-' ? '_' : row[i].name[at]) == key[at]) at++;
        if (!row[i].name[at] && !key[at]) return &row[i];
    }
    return NULL;
}

static bool list_read(OptList *l, Arena *a, const char *key, const json_t *v, Err *err) {
    const json_t *one = v;
    bool list = json_is_array(v);
    l->n = 0;
    for (size_t i = 0; i < (list ? json_array_size(v) : 1); i++) {
        if (list) one = json_array_get(v, i);
        if (!json_is_string(one) || has_nul(one) || l->n == COUNT(l->v))
            return wrong(err, key, "a text without \\u0000, or a list of some");
        l->v[l->n++] = text_of(a, one).p;
    }
    return true;
}

/* logit_bias as APIs write it: {"ID": X}. */
static bool bias_read(OptList *l, Arena *a, const char *key, const json_t *v, Err *err) {
    const char *id;
    json_t *x;
    l->n = 0;
    json_object_foreach((json_t *)v, id, x) {
        if (!json_is_number(x) || l->n == COUNT(l->v)) return wrong(err, key, "{\"ID\": number}");
        l->v[l->n++] = str_fmt(a, "%s=%.9g", id, json_number_value(x)).p;
    }
    return true;
}

/* NUL-terminated, too. */
static Str json_written(Arena *a, const json_t *v) {
    size_t n = json_dumpb(v, NULL, 0, 0);
    char *p = arena_push(a, (int64_t)n + 1);
    json_dumpb(v, p, n, 0);
    return (Str){p, (int64_t)n};
}

/* A setting goes through opt_set as if it had been written on the command line, so that the bounds
 * are those of the table. */
static bool setting_read(const Opt *row, Arena *a, const char *key, const json_t *v, Err *err) {
    Err why = {0};
    if (row->kind == OPT_LIST && json_is_object(v)) return bias_read(row->to, a, key, v, err);
    if (row->kind == OPT_LIST) return list_read(row->to, a, key, v, err);
    if (row->kind == OPT_FLAG) {
        if (!json_is_boolean(v)) return wrong(err, key, "true or false");
        *(bool *)row->to = json_is_true(v);
        return true;
    }
    if (json_is_object(v) && !strcmp(key, "schema"))
        return *(const char **)row->to = json_written(a, v).p, true;
    if (has_nul(v)) return wrong(err, key, "a text without \\u0000");
    const char *value = json_is_integer(v) ? str_fmt(a, "%lld", (long long)json_integer_value(v)).p
                        : json_is_real(v)  ? str_fmt(a, "%.17g", json_real_value(v)).p
                        : json_is_string(v) && row->kind == OPT_STR ? text_of(a, v).p
                        : json_is_boolean(v) && !strcmp(key, "think")
                            ? (json_is_true(v) ? "on" : "off")
                            : NULL;
    if (!value) return wrong(err, key, row->kind == OPT_STR ? "a text" : "a number");
    if (opt_set(row, value, &why)) return true;
    const char *rest = strchr(why.msg, ' '); /* the message begins with the option's name */
    return err_set(err, ERR_FORMAT, "\"%s\"%s", key, rest ? rest : "");
}

/* A template finds out only in its middle what a message lacks. An assistant that calls tools may
 * have no content. */
static bool messages_check(const json_t *messages, Err *err) {
    if (!json_is_array(messages)) return wrong(err, "messages", "a list of messages");
    if (json_array_size(messages) == 0) return err_set(err, ERR_FORMAT, "\"messages\" is empty");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i), *content = json_object_get(m, "content");
        const int number = (int)i + 1;
        if (!json_is_object(m)) return err_set(err, ERR_FORMAT, "message %d is no object", number);
        if (!json_is_string(json_object_get(m, "role")))
            return err_set(err, ERR_FORMAT, "message %d has no \"role\"", number);
        if (content && !json_is_string(content) && !json_is_null(content)
            && !json_is_array(content)) /* parts, which some templates know */
            return err_set(err, ERR_FORMAT, "message %d: \"content\" must be a text", number);
        if ((!content || json_is_null(content)) && !json_object_get(m, "tool_calls"))
            return err_set(err, ERR_FORMAT, "message %d has no \"content\"", number);
    }
    return true;
}

bool conversation_request(Arena *a, Str *out, const json_t *line, Err *err) {
    const json_t *messages = json_object_get(line, "messages"),
                 *tools = json_object_get(line, "tools"), *more = json_object_get(line, "kwargs");
    if (!messages_check(messages, err)) return false;
    if (more && !json_is_object(more)) return wrong(err, "kwargs", "an object");
    if (tools && !json_is_null(tools) && !json_is_array(tools))
        return wrong(err, "tools", "a list of tools");
    json_t *o = json_object();
    json_object_set(o, "messages", (json_t *)messages);
    if (json_is_array(tools)) json_object_set(o, "tools", (json_t *)tools);
    if (more) json_object_update(o, (json_t *)more);
    *out = json_written(a, o);
    json_decref(o);
    return true;
}

static bool ids_read(Ids *ids, const json_t *v, Err *err) {
    bool ok = json_is_array(v) && json_array_size(v) > 0;
    for (size_t i = 0; ok && i < json_array_size(v); i++) {
        const json_t *id = json_array_get(v, i);
        json_int_t n = json_integer_value(id);
        ok = json_is_integer(id) && n >= 0 && n <= INT32_MAX && ids_add(ids, (int32_t)n);
    }
    return ok || wrong(err, "ids", "a list of token ids");
}

static bool has_parts(const json_t *messages) {
    bool parts = false;
    for (size_t i = 0; i < json_array_size(messages); i++)
        parts |= json_is_array(json_object_get(json_array_get(messages, i), "content"));
    return parts;
}

static bool prompt_read(Request *r, Arena *a, const json_t *line, Err *err) {
    const json_t *prompt = json_object_get(line, "prompt"), *ids = json_object_get(line, "ids"),
                 *messages = json_object_get(line, "messages");
    if (!!prompt + !!messages + !!ids != 1)
        return err_set(err, ERR_FORMAT, "expected one of \"prompt\", \"messages\" and \"ids\"");
    r->ids.a = a;
    for (int64_t i = 0; i < 2 && !messages; i++) {
        const json_t *v = json_object_get(line, i ? "kwargs" : "tools");
        if (v && !json_is_null(v))
            return err_set(err, ERR_FORMAT, "\"tools\" and \"kwargs\" go with \"messages\" only");
    }
    if (ids) return ids_read(&r->ids, ids, err);
    if (messages && json_object_get(line, "system"))
        return err_set(err, ERR_FORMAT, "\"messages\" have their own system message");
    r->tools_given = json_array_size(json_object_get(line, "tools")) > 0;
    r->parts = has_parts(messages);
    if (messages) return conversation_request(a, &r->conversation, line, err);
    if (!json_is_string(prompt)) return wrong(err, "prompt", "a text");
    r->prompt = text_of(a, prompt);
    return r->prompt.n > 0 || err_set(err, ERR_FORMAT, "the prompt is empty");
}

/* response_format as APIs write it: {"type": "text" | "json_object"}, or {"type": "json_schema",
 * "json_schema": {"schema": {...}}}. */
static bool format_read(Request *r, Arena *a, const json_t *v, Err *err) {
    const json_t *type = json_object_get(v, "type"),
                 *schema = json_object_get(json_object_get(v, "json_schema"), "schema");
    const char *name = json_is_string(type) ? json_string_value(type) : "";
    if (!v || json_is_null(v) || !strcmp(name, "text")) return true;
    if (!strcmp(name, "json_object")) return r->opts.json_object = true;
    if (strcmp(name, "json_schema") != 0 || !json_is_object(schema))
        return wrong(err, "response_format",
                     "{\"type\": \"json_object\"} or {\"type\": \"json_schema\", "
                     "\"json_schema\": {\"schema\": {...}}}");
    r->opts.schema = json_written(a, schema).p;
    return true;
}

/* tool_choice: "none", "auto", "required" or {"type": "function", "function": {"name": ...}}; and
 * parallel_tool_calls: false for one call at most. */
static bool choice_read(Request *r, Arena *a, const json_t *line, Err *err) {
    const json_t *v = json_object_get(line, "tool_choice"), *tools = json_object_get(line, "tools"),
                 *parallel = json_object_get(line, "parallel_tool_calls"),
                 *name = json_object_get(json_object_get(v, "function"), "name");
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    if (parallel && !json_is_boolean(parallel))
        return wrong(err, "parallel_tool_calls", "true or false");
    r->one_call = json_is_false(parallel);
    if (!v || json_is_null(v) || !strcmp(word, "none")) return true;
    if (json_array_size(tools) == 0)
        return err_set(err, ERR_FORMAT, "\"tool_choice\" goes with \"tools\"");
    if (json_is_string(name))
        r->tool_name = text_of(a, name);
    else if (strcmp(word, "auto") != 0 && strcmp(word, "required") != 0)
        return wrong(err, "tool_choice",
                     "\"none\", \"auto\", \"required\" or {\"type\": \"function\", "
                     "\"function\": {\"name\": ...}}");
    r->choice = !strcmp(word, "auto") ? CHOICE_AUTO : CHOICE_REQUIRED;
    r->tool_list = json_written(a, tools);
    return true;
}

bool request_read(Request *r, Arena *a, const json_t *line, Err *err) {
    static const char *const own[] = {
        "prompt", "messages",        "ids",         "tools",
        "kwargs", "response_format", "tool_choice", "parallel_tool_calls"};
    Opt row[REQUEST_OPTS];
    const char *key, *names[COUNT(own) + REQUEST_OPTS];
    int64_t n = request_opts(row, &r->opts);
    json_t *v;
    memcpy(names, own, sizeof own);
    for (int64_t i = 0; i < n; i++) names[COUNT(own) + i] = json_spelling(a, row[i].name);
    json_object_foreach((json_t *)line, key, v) {
        bool known = false;
        for (int64_t i = 0; i < COUNT(own); i++) known |= !strcmp(key, own[i]);
        const Opt *o = row_named(row, n, key);
        if (o && !json_is_null(v) && !setting_read(o, a, key, v, err)) return false;
        if (o || known) continue;
        const char *near = str_nearest(str_of(key), names, COUNT(names));
        return err_set(err, ERR_FORMAT, "there is no setting \"%s\"%s%s%s", key,
                       near ? "; is " : "", near ? near : "", near ? " meant?" : "");
    }
    return format_read(r, a, json_object_get(line, "response_format"), err)
           && choice_read(r, a, line, err) && prompt_read(r, a, line, err);
}

/* ---- for the model --------------------------------------------------------------------------- */

static bool raw_encode(Request *r, const Bundle *b, Arena *scratch, Err *err) {
    if (b->bos >= 0 && !ids_add(&r->ids, b->bos))
        return err_set(err, ERR_LIMIT, "no memory left for the prompt");
    return text_encode(&r->ids, b->tok, r->prompt, TEXT_PARSED, scratch, err);
}

static bool chat_text_encode(Request *r, const Bundle *b, Arena *scratch, Err *err) {
    const RequestOpts *o = &r->opts;
    Message own[2];
    const Message *m = r->message ? r->message : own;
    int64_t n = r->n_messages;
    Buf shown = {.a = scratch};
    ChatOptions options = {.generate = true,
                           .request = r->conversation,
                           .now = os_time(),
                           .think = !o->think                 ? THINK_DEFAULT
                                    : !strcmp(o->think, "on") ? THINK_ON
                                                              : THINK_OFF};
    if (!r->message && o->system)
        own[n++] = (Message){.role = ROLE_SYSTEM, .content = str_of(o->system)};
    if (!r->message) own[n++] = (Message){.role = ROLE_USER, .content = r->prompt};
    Arena *a = arena_open("template", ARENA_NO_LIMIT);
    bool ok = chat_encode(&r->ids, &shown, &b->chat, m, n, options, a, err);
    r->in_thought = ok && chat_opens_thought(buf_str(&shown));
    r->tools = r->tools_given ? b->chat.tools : TOOLS_NONE;
    arena_close(a);
    if (ok || !r->parts) return ok;
    Err why = *err;
    *err = (Err){0};
    return err_set(err, why.code,
                   "%s (a \"content\" is a list of parts: templates of text models take texts)",
                   why.msg);
}

static bool prompt_encode(Request *r, const Bundle *b, Err *err) {
    if (r->ids.n > 0) return true;
    Arena *scratch = arena_open("encoding", ARENA_NO_LIMIT);
    bool ok = r->opts.raw ? raw_encode(r, b, scratch, err) : chat_text_encode(r, b, scratch, err);
    arena_close(scratch);
    return ok && (r->ids.n > 0 || err_set(err, ERR_USAGE, "the prompt is empty"));
}

static bool given_ids_check(const Ids *ids, int64_t V, Err *err) {
    for (int64_t i = 0; i < ids->n; i++)
        if (ids->v[i] >= V)
            return err_set(err, ERR_FORMAT,
                           "number %lld of \"ids\" is no id below %lld, the size of the vocabulary",
                           (long long)i + 1, (long long)V);
    return true;
}

/* Nothing without --think-budget. A thought is something that the chat format knows. */
static bool limit_set(Request *r, Arena *a, const Bundle *b, Err *err) {
    int64_t budget;
    r->limit = (Constraint){0};
    if (!r->opts.think_budget) return true;
    if (!thought_budget_read(&budget, str_of(r->opts.think_budget)))
        return err_set(err, ERR_USAGE,
                       "a budget for thoughts is a number of tokens, " THOUGHT_EFFORTS ", not '%s'",
                       r->opts.think_budget);
    if (r->plain)
        return err_set(err, ERR_USAGE,
                       "a budget for thoughts goes with a chat format, not with raw and ids");
    return thought_budget(&r->limit, a, &b->chat, b->model->cfg.V, budget, r->in_thought, err);
}

/* The schema of --schema: a file's, or the text itself. */
static bool schema_take(Str *out, Arena *a, const char *given, Err *err) {
    *out = str_trim(str_of(given), " \t\r\n");
    if (str_starts(*out, STR("{"))) return true;
    return os_read(a, out, given, 1 << 20, err);
}

/* What the answer must be; *asked: something. */
static bool form_of(GrammarSpec *spec, bool *asked, const Request *r, Arena *a, const Bundle *b,
                    Err *err) {
    const RequestOpts *o = &r->opts;
    const int forms = !!o->schema + !!o->regex + o->json_object;
    *asked = forms > 0 || r->choice != CHOICE_NONE;
    *spec = (GrammarSpec){.kind = GRAMMAR_OBJECT};
    if (forms > 1 || (forms && r->choice != CHOICE_NONE))
        return err_set(err, ERR_USAGE,
                       "give one of schema, json-object, regex and a choice of tools");
    spec->thoughts =
        !r->plain && b->chat.thought_end.n > 0 && !(o->think && !strcmp(o->think, "off"));
    if (o->regex) spec->kind = GRAMMAR_REGEX, spec->text = str_of(o->regex);
    if (o->schema) spec->kind = GRAMMAR_SCHEMA;
    if (r->choice != CHOICE_NONE) {
        spec->kind = GRAMMAR_CALLS, spec->text = r->tool_list, spec->name = r->tool_name;
        spec->syntax = r->tools, spec->must_call = r->choice == CHOICE_REQUIRED;
        spec->many = !r->one_call;
    }
    return !o->schema || schema_take(&spec->text, a, o->schema, err);
}

/* The grammar, of those that are kept, or a new one; when no more are kept it is the request's. */
static bool grammar_find(Grammar **out, Grammars *all, Arena *a, const Bundle *b,
                         const GrammarSpec *spec, Err *err) {
    const Str key =
        str_fmt(a, "%d %d %d %d %d %.*s\n%.*s", (int)spec->kind, spec->thoughts, (int)spec->syntax,
                spec->must_call, spec->many, STRF(spec->name), STRF(spec->text));
    for (int64_t i = 0; i < all->n; i++)
        if (str_eq(all->key[i], key)) return *out = all->grammar[i], true;
    if (!all->lexicon
        && !lexicon_new(&all->lexicon, all->a, b->tok, b->model->cfg.V, b->end, b->n_end, err))
        return false;
    const bool keep = all->n < GRAMMARS_KEPT;
    if (!grammar_new(out, keep ? all->a : a, all->lexicon, spec, err)) return false;
    if (keep) all->key[all->n] = str_copy(all->a, key), all->grammar[all->n++] = *out;
    return true;
}

/* Binds the answer, beside the limit of the thought. */
static bool form_set(Request *r, Arena *a, const Bundle *b, Err *err) {
    GrammarSpec spec;
    Grammar *g;
    bool asked;
    if (!form_of(&spec, &asked, r, a, b, err)) return false;
    if (!asked) return true;
    CHECK(r->grammars);
    if (!b->tok)
        return err_set(err, ERR_USAGE, "an answer of a given form: the model has no tokenizer");
    if (!grammar_find(&g, r->grammars, a, b, &spec, err)) return false;
    Constraint *both = PUSH(a, Constraint, 2);
    both[0] = r->limit;
    grammar_constraint(&both[1], a, g, r->in_thought);
    r->limit = both[1];
    if (both[0].self) constraint_both(&r->limit, a, &both[0], &both[1]);
    return true;
}

bool request_encode(Request *r, Arena *a, const Bundle *b, int64_t positions, Err *err) {
    RequestOpts *o = &r->opts;
    r->plain = o->raw || r->ids.n > 0;
    r->ids.a = a;
    if (r->conversation.n && o->raw)
        return err_set(err, ERR_USAGE, "messages have a chat format: raw does not go with them");
    if (!given_ids_check(&r->ids, b->model->cfg.V, err) || !prompt_encode(r, b, err)
        || !bundle_ids_check(b, r->ids.v, r->ids.n, err))
        return false;
    if (r->ids.n >= positions)
        return err_set(
            err, ERR_LIMIT,
            "the prompt has %lld tokens and the context of %s is %lld: shorten the prompt",
            (long long)r->ids.n, b->path, (long long)positions);
    o->max_tokens = MIN(o->max_tokens, positions - r->ids.n);
    r->sampling = sampling_of(o, &b->recommended);
    if (o->dry_multiplier > 0) r->dry_breaks = dry_breaks(a, b);
    if (!bias_set(r, err) || !limit_set(r, a, b, err) || !form_set(r, a, b, err)) return false;
    Stops check;
    for (int64_t i = 0; i < MIN(o->stop.n, STOPS_MAX); i++) r->stop[i] = str_of(o->stop.v[i]);
    for (int64_t i = 0; i < o->stop.n; i++)
        if (!*o->stop.v[i]) return err_set(err, ERR_USAGE, "--stop must not be an empty text");
    return stops_init(&check, r->stop, o->stop.n, err);
}
