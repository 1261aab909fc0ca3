/* call.c -- a tool call as models write it, to JSON.
 *
 *   Qwen, Hermes      {"name": NAME, "arguments": {...}}
 *   Qwen3-Coder       <function=NAME> <parameter=KEY> VALUE </parameter> ... </function>
 *   DeepSeek V3, R1   function<sep>NAME\n```json\n{...}\n```
 *   DeepSeek V3.1     NAME<sep>{...}
 *
 * What comes from a model is not trusted: it is a call of this form, or it is text. */
#include "text/parts_call.h"

#include <jansson.h>

static Str trimmed(Str s) { return str_trim(s, " \t\r\n"); }

/* Where `part` begins in s, or -1. */
static int64_t find(Str s, Str part) {
    for (int64_t i = 0; i + part.n <= s.n; i++)
        if (!memcmp(s.p + i, part.p, (size_t)part.n)) return i;
    return -1;
}

static Str after(Str s, int64_t n) { return (Str){s.p + n, s.n - n}; }

/* What stands before `mark`; *s goes on behind it. False where there is none. */
static bool cut(Str *s, Str mark, Str *before) {
    int64_t at = find(*s, mark);
    if (at < 0) return false;
    *before = (Str){s->p, at};
    *s = after(*s, at + mark.n);
    return true;
}

static bool holds_nul(Str s) { return s.n > 0 && memchr(s.p, 0, (size_t)s.n); }

static json_t *call_of(Str name, json_t *arguments) {
    name = trimmed(name);
    json_t *text = name.n > 0 && !holds_nul(name) ? json_stringn(name.p, (size_t)name.n) : NULL;
    json_t *o =
        text && arguments ? json_pack("{s:O, s:O}", "name", text, "arguments", arguments) : NULL;
    json_decref(text);
    json_decref(arguments);
    return o;
}

static json_t *object_of(Str s) {
    s = trimmed(s);
    json_t *o = json_loadb(s.p, (size_t)s.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (json_is_object(o)) return o;
    json_decref(o);
    return NULL;
}

static Str text_of(const json_t *v) {
    return (Str){json_string_value(v), (int64_t)json_string_length(v)};
}

static json_t *hermes_call(Str s) {
    json_t *o = object_of(s), *arguments = json_object_get(o, "arguments");
    const json_t *name = json_object_get(o, "name");
    if (!arguments) arguments = json_object_get(o, "parameters");
    json_t *whole = json_is_string(arguments) /* JSON in a text, as some models have it */
                        ? object_of(text_of(arguments))
                        : arguments ? json_incref(arguments) : json_object();
    if (!json_is_object(whole)) json_decref(whole), whole = NULL;
    json_t *call =
        json_is_string(name) ? call_of(text_of(name), whole) : (json_decref(whole), NULL);
    json_decref(o);
    return call;
}

/* A value without quotes is the JSON that it spells, unless that is a text. */
static json_t *value_of(Str s) {
    if (s.n > 0 && s.p[0] == '\n') s = after(s, 1);
    if (s.n > 0 && s.p[s.n - 1] == '\n') s.n--;
    json_t *v = json_loadb(s.p, (size_t)s.n,
                           JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (v && !json_is_string(v)) return v;
    json_decref(v);
    return json_stringn(s.p ? s.p : "", (size_t)s.n);
}

static json_t *function_call(Str s) {
    Str name, key, value, gap;
    json_t *arguments = json_object();
    bool ok = cut(&s, STR("<function="), &gap) && cut(&s, STR(">"), &name);
    while (ok && str_starts(trimmed(s), STR("<parameter="))) {
        ok = cut(&s, STR("<parameter="), &gap) && cut(&s, STR(">"), &key)
             && cut(&s, STR("</parameter>"), &value);
        json_t *text = ok && !holds_nul(key) ? json_stringn(key.p, (size_t)key.n) : NULL;
        ok = text && !json_object_get(arguments, json_string_value(text))
             && json_object_set_new(arguments, json_string_value(text), value_of(value)) == 0;
        json_decref(text);
    }
    ok = ok && str_eq(trimmed(s), STR("</function>"));
    if (!ok) json_decref(arguments);
    return ok ? call_of(name, arguments) : NULL;
}

static json_t *deepseek_call(Str s) {
    Str left, name;
    if (!cut(&s, STR(CALL_SEPARATOR), &left)) return NULL;
    if (!cut(&s, STR("\n```json\n"), &name)) return call_of(left, object_of(s));
    s = trimmed(s);
    if (!str_ends(s, STR("```"))) return NULL;
    s.n -= 3;
    return call_of(name, object_of(s));
}

bool call_write(Buf *calls, int64_t from, ToolSyntax tools) {
    if (calls->n == from) return false;
    Str s = trimmed((Str){calls->p + from, calls->n - from});
    json_t *call = tools == TOOLS_DEEPSEEK            ? deepseek_call(s)
                   : str_starts(s, STR("<function=")) ? function_call(s)
                                                      : hermes_call(s);
    if (!call) return false;
    size_t n = json_dumpb(call, NULL, 0, JSON_COMPACT);
    char *line = arena_push(calls->a, (int64_t)n);
    json_dumpb(call, line, n, JSON_COMPACT);
    json_decref(call);
    /* Who reads the line has the same parser: what is too deep for it stays text. */
    json_t *again = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    json_decref(again);
    if (!again) return false;
    calls->n = from;
    buf_add(calls, (Str){line, (int64_t)n});
    buf_add(calls, STR("\n"));
    return true;
}
