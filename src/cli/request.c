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
        NUMBER_OPT(OPT_I64, "max-tokens", "N", &o->max_tokens, "Stop after N generated tokens.", 1,
                   1 << 20),
        NUMBER_OPT(OPT_F64, "temperature", "T", &o->temperature,
                   "0: always the most likely token; higher: more varied text" RECOMMENDED "0).", 0,
                   100),
        NUMBER_OPT(OPT_I64, "top-k", "N", &o->top_k,
                   "Sample among the N most likely tokens only; 0: all" RECOMMENDED "0).", 0,
                   1 << 20),
        NUMBER_OPT(OPT_F64, "top-p", "P", &o->top_p,
                   "Sample among the likeliest tokens that together reach P; 1: all" RECOMMENDED
                   "1).",
                   0, 1),
        NUMBER_OPT(OPT_I64, "seed", "S", &o->seed,
                   "Seed of the sampling: the same seed gives the same text.", 0, 0),
        {OPT_LIST, "stop", "TEXT", &o->stop, "End the answer before this text.", 0, 0, NULL},
        FLAG_OPT("raw", &o->raw,
                 "Continue the prompt as plain text, without a chat format. It begins with the "
                 "token that the model's tokenizer puts in front of texts, if it has one."),
        FLAG_OPT("ignore-end", &o->ignore_end,
                 "Do not stop at the model's end token (for benchmarks)."),
    };
    _Static_assert(COUNT(rows) == REQUEST_OPTS, "REQUEST_OPTS counts the rows");
    memcpy(row, rows, sizeof rows);
    return COUNT(rows);
}

static Sampling sampling_of(const RequestOpts *o) {
    return (Sampling){.temperature = (float)MAX(o->temperature, 0),
                      .top_k = MAX(o->top_k, 0),
                      .top_p = o->top_p < 0 ? 1 : (float)o->top_p,
                      .seed = (uint64_t)o->seed};
}

/* ---- a line of JSON -------------------------------------------------------------------------- */

static Str text_of(Arena *a, const json_t *v) {
    return str_copy(a, (Str){json_string_value(v), (int64_t)json_string_length(v)});
}

static bool wrong(Err *err, const char *key, const char *wanted) {
    return err_set(err, ERR_FORMAT, "\"%s\" must be %s", key, wanted);
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
        if (!json_is_string(one) || l->n == COUNT(l->v))
            return wrong(err, key, "a text, or a list of some");
        l->v[l->n++] = text_of(a, one).p;
    }
    return true;
}

/* A setting goes through opt_set as if it had been written on the command line, so that the bounds
 * are those of the table. */
static bool setting_read(const Opt *row, Arena *a, const char *key, const json_t *v, Err *err) {
    Err why = {0};
    if (row->kind == OPT_LIST) return list_read(row->to, a, key, v, err);
    if (row->kind == OPT_FLAG) {
        if (!json_is_boolean(v)) return wrong(err, key, "true or false");
        *(bool *)row->to = json_is_true(v);
        return true;
    }
    const char *value = json_is_integer(v) ? str_fmt(a, "%lld", (long long)json_integer_value(v)).p
                        : json_is_real(v)  ? str_fmt(a, "%.17g", json_real_value(v)).p
                        : json_is_string(v) && row->kind == OPT_STR ? text_of(a, v).p
                        : json_is_boolean(v) && !strcmp(key, "think")
                            ? (json_is_true(v) ? "on" : "off")
                            : NULL;
    if (!value) return wrong(err, key, row->kind == OPT_STR ? "a text" : "a number");
    return opt_set(row, value, &why) || err_set(err, ERR_FORMAT, "\"%s\": %s", key, why.msg);
}

bool conversation_request(Arena *a, Str *out, const json_t *line, Err *err) {
    const json_t *messages = json_object_get(line, "messages"),
                 *tools = json_object_get(line, "tools"), *more = json_object_get(line, "kwargs");
    if (!json_is_array(messages)) return wrong(err, "messages", "a list of messages");
    if (more && !json_is_object(more)) return wrong(err, "kwargs", "an object");
    if (tools && !json_is_null(tools) && !json_is_array(tools))
        return wrong(err, "tools", "a list of tools");
    json_t *o = json_object();
    json_object_set(o, "messages", (json_t *)messages);
    if (json_is_array(tools)) json_object_set(o, "tools", (json_t *)tools);
    if (more) json_object_update(o, (json_t *)more);
    size_t n = json_dumpb(o, NULL, 0, 0);
    char *p = arena_push(a, (int64_t)n + 1);
    json_dumpb(o, p, n, 0);
    json_decref(o);
    *out = (Str){p, (int64_t)n};
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

static bool prompt_read(Request *r, Arena *a, const json_t *line, Err *err) {
    const json_t *prompt = json_object_get(line, "prompt"), *ids = json_object_get(line, "ids"),
                 *messages = json_object_get(line, "messages");
    if (!!prompt + !!messages + !!ids != 1)
        return err_set(err, ERR_FORMAT, "expected one of \"prompt\", \"messages\" and \"ids\"");
    r->ids.a = a;
    if (ids) return ids_read(&r->ids, ids, err);
    if (messages) return conversation_request(a, &r->conversation, line, err);
    if (!json_is_string(prompt)) return wrong(err, "prompt", "a text");
    r->prompt = text_of(a, prompt);
    return true;
}

bool request_read(Request *r, Arena *a, const json_t *line, Err *err) {
    static const char *const own[] = {"prompt", "messages", "ids", "tools", "kwargs"};
    Opt row[REQUEST_OPTS];
    const char *key, *names[COUNT(own) + REQUEST_OPTS];
    int64_t n = request_opts(row, &r->opts);
    json_t *v;
    memcpy(names, own, sizeof own);
    for (int64_t i = 0; i < n; i++) names[COUNT(own) + i] = row[i].name;
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
    return prompt_read(r, a, line, err);
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
    arena_close(a);
    return ok;
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
    r->sampling = sampling_of(o);
    Stops check;
    for (int64_t i = 0; i < MIN(o->stop.n, STOPS_MAX); i++) r->stop[i] = str_of(o->stop.v[i]);
    return stops_init(&check, r->stop, o->stop.n, err);
}
