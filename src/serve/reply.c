/* reply.c -- whole answers of routes that need no engine, and what went wrong, in the shape of the
 * route's family. */
#include "serve/api.h"

void id_make(char *out, int64_t size, const char *prefix) {
    uint8_t random[16];
    os_random(random, sizeof random);
    int64_t at = snprintf(out, (size_t)size, "%s", prefix);
    for (int64_t i = 0; i < COUNT(random) && at + 2 < size; i++)
        at += snprintf(out + at, (size_t)(size - at), "%02x", random[i]);
}

/* ---- families -------------------------------------------------------------------------------- */

/* Clients append their route to whatever they take for the base of the API. */
Str prefix_cut(Str path) {
    static const char *const prefix[] = {"/anthropic/v1", "/api/v1", "/beta/v1",
                                         "/anthropic",    "/beta",   "/v1"};
    for (int64_t i = 0; i < COUNT(prefix); i++) {
        const Str p = str_of(prefix[i]);
        if (str_starts(path, p) && (path.n == p.n || path.p[p.n] == '/')) {
            path.p += p.n, path.n -= p.n;
            return path.n ? path : STR("/");
        }
    }
    return path;
}

Style style_of(Str path) {
    const Str rest = prefix_cut(path);
    return str_starts(path, STR("/anthropic")) || str_eq(rest, STR("/messages"))
                   || str_starts(rest, STR("/messages/"))
               ? STYLE_ANTHROPIC
               : STYLE_OPENAI;
}

/* ---- faults ---------------------------------------------------------------------------------- */

const char fault_types[] =
    "type Error = {error: {message: string; type: ErrorType; param: string | null;\n"
    "  code: string}};\n"
    "type ErrorType = 'invalid_request_error' | 'permission_error' | 'rate_limit_error' |\n"
    "  'server_error';\n"
    "type AnthropicError = {type: 'error'; error: {type: AnthropicErrorType; message: string};\n"
    "  request_id: string};\n"
    "type AnthropicErrorType = 'invalid_request_error' | 'authentication_error' |\n"
    "  'permission_error' | 'not_found_error' | 'request_too_large' |\n"
    "  'rate_limit_error' | 'overloaded_error' | 'api_error';\n";

/* Messages quote what a request said, and may end in the middle of a character. */
static void text_mend(char *s) {
    for (Str left = str_of(s); left.n;) {
        const int n = MAX(utf8_length(left), 1);
        if (utf8_length(left) == 0) s[left.p - s] = '?';
        left.p += n, left.n -= n;
    }
}

static bool fault_put(Fault *f, int64_t status, const char *type, const char *code,
                      const char *param, const char *fmt, va_list args) {
    if (f->status) return false;
    f->status = status, f->type = type, f->code = code, f->param = param;
    vsnprintf(f->message, sizeof f->message, fmt, args);
    text_mend(f->message);
    return false;
}

bool fault_set(Fault *f, int64_t status, const char *type, const char *code, const char *param,
               const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fault_put(f, status, type, code, param, fmt, args);
    va_end(args);
    return false;
}

bool fault_value(Fault *f, const char *param, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fault_put(f, 400, "invalid_request_error", "invalid_value", param, fmt, args);
    va_end(args);
    return false;
}

/* Below the API an error of a limit means that the server has no room; what a request itself is
 * too long for was checked before. */
bool fault_err(Fault *f, const Err *err) {
    if (err->code == ERR_LIMIT)
        return fault_set(f, 503, "server_error", "overloaded", NULL, "%s", err->msg);
    if (err->code == ERR_UNSUPPORTED)
        return fault_set(f, 400, "invalid_request_error", "unsupported_parameter", NULL, "%s",
                         err->msg);
    if (err->code == ERR_USAGE || err->code == ERR_FORMAT)
        return fault_set(f, 400, "invalid_request_error", "invalid_value", NULL, "%s", err->msg);
    return fault_set(f, 500, "server_error", "internal_error", NULL, "%s", err->msg);
}

/* Anthropic's names of statuses. */
static const char *anthropic_type(int64_t status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

json_t *fault_json(const Fault *f, Style style, const char *request_id) {
    if (style == STYLE_ANTHROPIC)
        return json_pack("{s:s, s:{s:s, s:s}, s:s}", "type", "error", "error", "type",
                         anthropic_type(f->status), "message", f->message, "request_id",
                         request_id);
    return json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", f->message, "type", f->type,
                     "param", f->param, "code", f->code);
}

void fault_answer(Exchange *x, const Fault *f, Style style) {
    const bool anthropic = style == STYLE_ANTHROPIC;
    char retry[24];
    json_t *j = fault_json(f, style, exchange_id(x));
    char *text = json_dumps(j, JSON_COMPACT);
    exchange_note(x)->code = f->code;
    snprintf(retry, sizeof retry, "%lld", (long long)MAX(f->retry, 1));
    if (f->status == 429 || f->status == 503) exchange_head(x, "retry-after", retry);
    if (!strcmp(f->code, "internal_error")) exchange_head(x, "x-should-retry", "false");
    if (f->status == 401) exchange_head(x, "www-authenticate", "Bearer");
    exchange_answer(x, anthropic && f->status == 503 ? 529 : f->status, "application/json",
                    str_of(text ? text : "{}"));
    free(text);
    json_decref(j);
}

json_t *json_of(Str s) { return json_stringn(s.p ? s.p : "", (size_t)s.n); }

json_t *file_json(Arena *a, Str path) {
    char *text = PUSH(a, char, path.n + 1);
    if (path.n) memcpy(text, path.p, (size_t)path.n);
    text_mend(text);
    return json_string(text);
}

void answer_json(Call *c, json_t *j) {
    char *text = json_dumps(j, JSON_COMPACT);
    exchange_answer(c->x, 200, "application/json", str_of(text ? text : "null"));
    free(text);
    json_decref(j);
}
