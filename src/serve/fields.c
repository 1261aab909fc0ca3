/* fields.c -- the body of a request, read by its route's table. No code reads a member that no
 * table names; members that are not known are passed over, since clients send new ones each month,
 * and counted. */
#include "serve/api.h"

enum { DEPTH_MAX = 64 };

/* Nesting, counted before the parser sees it: brackets outside of strings. */
bool depth_check(Str s) {
    int64_t depth = 0;
    bool string = false;
    for (int64_t i = 0; i < s.n; i++) {
        const char ch = s.p[i];
        if (string) {
            if (ch == '\\') i++;
            string = ch != '"';
        } else if (ch == '"') {
            string = true;
        } else if (ch == '{' || ch == '[') {
            if (++depth > DEPTH_MAX) return false;
        } else if (ch == '}' || ch == ']') {
            depth--;
        }
    }
    return true;
}

static bool is_among(const char *key, const char *const *names, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(key, names[i])) return true;
    return false;
}

/* Members that are texts: a model writes NULs, and its answer comes back with the next question. */
static bool is_text(const char *key) {
    static const char *const names[] = {"content",       "text",   "thinking", "reasoning_content",
                                        "arguments",     "input",  "output",   "instructions",
                                        "system",        "prompt", "suffix",   "stop",
                                        "stop_sequences"};
    return is_among(key, names, COUNT(names));
}

/* Members whose objects are data of a client or a model, whatever they hold. */
static bool is_data(const char *key) {
    static const char *const names[] = {"arguments", "input", "answer"};
    return is_among(key, names, COUNT(names));
}

static bool holds_nul(const json_t *v) {
    const Str s = json_text(v);
    return s.n > 0 && memchr(s.p, 0, (size_t)s.n);
}

/* Every other string is a name or a word of an API, and is read up to a NUL: there one is refused.
 * `path` leads to v, which is the member `key` or an element of it. */
static bool nuls_check(Call *c, Buf *path, const char *key, json_t *v) {
    enum { KEY_SHOWN = 64 };
    const int64_t length = path->n;
    const char *name;
    json_t *inner;
    size_t i;
    if (holds_nul(v) && !is_text(key))
        return fault_value(&c->fault, path->p, "%s: no NUL (\\u0000) may stand here", path->p);
    json_array_foreach(v, i, inner) {
        buf_fmt(path, "[%lld]", (long long)i);
        if (!nuls_check(c, path, key, inner)) return false;
        path->n = length;
    }
    json_object_foreach(v, name, inner) {
        buf_fmt(path, "%s%s", length ? "." : "", strlen(name) <= KEY_SHOWN ? name : "...");
        if (!(json_is_object(inner) && is_data(name)) && !nuls_check(c, path, name, inner))
            return false;
        path->n = length;
    }
    return true;
}

bool body_read(Call *c) {
    const Str body = exchange_body(c->x), type = exchange_header(c->x, "content-type");
    if (!type.p || !str_starts(type, STR("application/json")))
        return fault_set(&c->fault, 415, "invalid_request_error", "unsupported_media_type", NULL,
                         "the body must be JSON with the header content-type: application/json");
    if (!depth_check(body))
        return fault_set(&c->fault, 400, "invalid_request_error", "invalid_json", NULL,
                         "the body is nested more than %d levels deep", DEPTH_MAX);
    json_error_t at;
    c->body = json_loadb(body.p, (size_t)body.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at);
    if (!json_is_object(c->body))
        return fault_set(&c->fault, 400, "invalid_request_error", "invalid_json", NULL,
                         c->body ? "the body must be a JSON object"
                                 : "the body is not valid JSON: line %d, column %d: %s",
                         at.line, at.column, at.text);
    const bool kept = str_starts(c->path, STR("/history")); /* as it is */
    return kept || nuls_check(c, &(Buf){.a = c->a}, "", c->body);
}

bool model_pick(Call *c, const json_t *body) {
    const json_t *name = json_object_get(body, "model");
    const Str text = json_text(name);
    Hosted *m = json_is_string(name) ? host_find(c->api, text) : host_at(c->api, 0);
    if (!m)
        return fault_set(&c->fault, 404, "invalid_request_error", "model_not_found", "model",
                         "there is no model '%.64s'; GET /v1/models lists those that are served",
                         text.p);
    host_leave(c->api, c->m);
    c->m = m;
    return true;
}

static bool number_read(Call *c, const Field *f, const json_t *v) {
    const double x = json_number_value(v);
    const bool number = json_is_number(v), bounded = number && x >= f->lo && x <= f->hi;
    if (!number || (bounded && f->kind == FIELD_INT && x != (double)(int64_t)x))
        return fault_value(&c->fault, f->name, "%s must be %s", f->name,
                           f->kind == FIELD_INT ? "an integer" : "a number");
    if (!bounded)
        return fault_value(&c->fault, f->name, "%s must be between %.15g and %.15g, not %.15g",
                           f->name, f->lo, f->hi, x);
    *(double *)((char *)&c->p + f->at) = x;
    return true;
}

static bool field_read(Call *c, const Field *f, json_t *v) {
    void *to = (char *)&c->p + f->at;
    switch (f->kind) {
    case FIELD_BOOL:
        if (!json_is_boolean(v))
            return fault_value(&c->fault, f->name, "%s must be true or false", f->name);
        *(bool *)to = json_is_true(v);
        return true;
    case FIELD_INT:
    case FIELD_NUMBER: return number_read(c, f, v);
    case FIELD_TEXT:
        if (!json_is_string(v))
            return fault_value(&c->fault, f->name, "%s must be a string", f->name);
        *(Str *)to = str_copy(c->a, json_text(v));
        return true;
    case FIELD_JSON: *(json_t **)to = v; return true;
    }
    return false;
}

static const Params params_none = {
    .max_tokens = NOT_GIVEN,
    .max_completion = NOT_GIVEN,
    .temperature = NOT_GIVEN,
    .top_p = NOT_GIVEN,
    .top_k = NOT_GIVEN,
    .min_p = NOT_GIVEN,
    .seed = NOT_GIVEN,
    .n = 1,
    .frequency_penalty = 0,
    .presence_penalty = 0,
    .repetition_penalty = NOT_GIVEN,
    .top_logprobs = NOT_GIVEN,
    .text_logprobs = NOT_GIVEN,
    .dimensions = NOT_GIVEN,
};

bool members_read(Call *c, const Field *field, int64_t n) {
    const char *key;
    json_t *v;
    c->p = params_none;
    json_object_foreach(c->body, key, v) {
        int64_t i = 0;
        while (i < n && strcmp(field[i].name, key)) i++;
        if (i == n)
            count_add(c->api, &c->api->count.unknown_fields, 1);
        else if (!json_is_null(v) && !field_read(c, &field[i], v))
            return false;
    }
    return true;
}
