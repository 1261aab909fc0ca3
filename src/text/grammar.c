/* grammar.c -- compiling grammars: what may come before the answer, and what the answer is. */
#include "text/bound.h"
#include "text/schema.h"

#include "text/parts_call.h"

enum { TOOLS_MOST = 128, NAME_MOST = 64, TAG_MOST = 64 };

/* ---- what is free ---------------------------------------------------------------------------- */

static ByteSet all_but(int a, int b) {
    ByteSet s;
    memset(&s, 0xff, sizeof s);
    s.w[a >> 6] &= ~((uint64_t)1 << (a & 63));
    s.w[b >> 6] &= ~((uint64_t)1 << (b & 63));
    return s;
}

/* Any text up to and with a tag, and what follows that. A tag begins with '<' and has no other, so
 * after a mismatch only the byte at hand can begin it again. may_end: the text may end before. */
static int32_t free_put(Net *n, Str tag, int32_t next, bool may_end) {
    int32_t at[TAG_MOST + 1]; /* behind so many bytes of the tag */
    CHECK(tag.n > 1 && tag.n <= TAG_MOST && tag.p[0] == '<');
    for (int64_t i = 0; i < tag.n; i++) at[i] = net_place(n);
    at[tag.n] = next;
    for (int64_t i = 0; i < tag.n; i++) {
        const int c = (uint8_t)tag.p[i];
        int32_t node = net_range(n, c, c, at[i + 1]);
        if (i > 0) node = net_or(n, node, net_range(n, '<', '<', at[1]));
        node = net_or(n, node, net_set(n, all_but(c, '<'), at[0]));
        net_put(n, at[i], node, may_end ? NET_END : NET_NONE);
    }
    net_mark(n, at[0], net_loop(n, char_kinds[KIND_FREE]), NET_FOREVER, false);
    return at[0];
}

/* At most two line breaks. */
static int32_t gap_put(Net *n, int32_t next) {
    return net_maybe(n, STR("\n"), net_maybe(n, STR("\n"), next));
}

/* The answer, and what may come before it. */
static void starts_put(Grammar *g, bool thoughts, int32_t answer) {
    Net *n = &g->net;
    const int32_t thought = free_put(n, STR("</think>"), gap_put(n, answer), false);
    g->start[1] = thought;
    g->start[0] = answer;
    if (thoughts) g->start[0] = net_or(n, gap_put(n, net_text(n, STR("<think>"), thought)), answer);
}

/* ---- calls of tools -------------------------------------------------------------------------- */

typedef struct Tool {
    Str name;
    const json_t *parameters; /* NULL: none */
} Tool;

static bool name_fine(Str s) {
    bool fine = s.n > 0 && s.n <= NAME_MOST;
    for (int64_t i = 0; i < s.n; i++) {
        const char c = s.p[i];
        fine &=
            (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || c == '-';
    }
    return fine;
}

/* Those tools of a list that may be called. */
static bool tools_read(Tool *tool, int64_t *n, const json_t *list, Str only, Err *err) {
    *n = 0;
    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > TOOLS_MOST)
        return err_set(err, ERR_FORMAT, "tools: must be a list of 1 to %d tools", TOOLS_MOST);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *f = json_object_get(json_array_get(list, i), "function"),
                     *name = json_object_get(f, "name");
        const Str s = {json_string_value(name), (int64_t)json_string_length(name)};
        if (!name_fine(s))
            return err_set(err, ERR_FORMAT,
                           "tools.%d.function.name: must have 1 to 64 of a-z, A-Z, 0-9, _ and -",
                           (int)i);
        for (int64_t j = 0; j < *n; j++)
            if (str_eq(tool[j].name, s))
                return err_set(err, ERR_FORMAT, "tools.%d.function.name: another tool has it",
                               (int)i);
        if (only.n == 0 || str_eq(only, s))
            tool[(*n)++] = (Tool){s, json_object_get(f, "parameters")};
    }
    return *n > 0 || err_set(err, ERR_FORMAT, "tools: there is no tool '%.*s'", STRF(only));
}

/* The arguments of a call, an object. */
static int32_t arguments_put(Net *n, const Tool *t, int32_t next, Err *err) {
    char name[NAME_MOST + 32];
    Schema s;
    snprintf(name, sizeof name, "tools.%.*s.parameters", STRF(t->name));
    if (!t->parameters || json_object_size(t->parameters) == 0) return net_text(n, STR("{}"), next);
    schema_init(&s, n, t->parameters, name, WRITE_CALL, err);
    s.blank = true;
    const json_t *type = json_object_get(t->parameters, "type");
    if (!json_is_string(type) || strcmp(json_string_value(type), "object") != 0)
        return schema_refuse(&s, "type", "the arguments of a tool are an \"object\"");
    return schema_compile(&s, next);
}

/* What stands between the tags of a call, for each family. */
static int32_t call_put(Net *n, ToolSyntax syntax, const Tool *t, int32_t next, Err *err) {
    if (syntax == TOOLS_QWEN) {
        const int32_t arguments = arguments_put(n, t, net_text(n, STR("}\n"), next), err);
        const int32_t name = net_text(n, STR("\", \"arguments\": "), arguments);
        return net_text(n, STR("\n{\"name\": \""), net_text(n, t->name, name));
    }
    const int32_t plain = arguments_put(n, t, next, err);
    const int32_t fenced = arguments_put(n, t, net_text(n, STR("\n```"), next), err);
    const int32_t named = net_text(n, t->name, net_text(n, STR("\n```json\n"), fenced));
    return net_or(n, net_text(n, STR("function" CALL_SEPARATOR), named),
                  net_text(n, t->name, net_text(n, STR(CALL_SEPARATOR), plain)));
}

/* Behind a call comes the next one or the end. *first: what follows the opening tag of the first
 * call. */
static bool calls_put(Net *n, const GrammarSpec *spec, const Tool *tool, int64_t n_tools,
                      int32_t *first, Err *err) {
    const bool qwen = spec->syntax == TOOLS_QWEN;
    const Str open = qwen ? STR("<tool_call>") : STR("<｜tool▁call▁begin｜>");
    const Str close = qwen ? STR("</tool_call>") : STR("<｜tool▁call▁end｜>");
    const int32_t again = net_place(n),
                  end = qwen ? NET_END : net_text(n, STR("<｜tool▁calls▁end｜>"), NET_END);
    const int32_t rule = net_rule(n);
    int32_t call = NET_NONE;
    for (int64_t i = 0; i < n_tools; i++)
        call = net_or(n, call_put(n, spec->syntax, &tool[i], net_text(n, close, NET_RETURN), err),
                      call);
    n->rule[rule] = call;
    *first = net_call(n, rule, again);
    const int32_t more = spec->many ? net_maybe(n, STR("\n"), net_text(n, open, *first)) : NET_NONE;
    net_put(n, again, more, end);
    return err->code == ERR_NONE;
}

static bool calls_compile(Grammar *g, const GrammarSpec *spec, const json_t *list, Err *err) {
    Net *n = &g->net;
    Tool tool[TOOLS_MOST];
    int64_t n_tools;
    int32_t first;
    const bool qwen = spec->syntax == TOOLS_QWEN;
    if (spec->syntax == TOOLS_NONE)
        return err_set(err, ERR_UNSUPPORTED, "the model's chat template knows no calls of tools");
    if (!tools_read(tool, &n_tools, list, spec->name, err)
        || !calls_put(n, spec, tool, n_tools, &first, err))
        return false;
    const Str tag = qwen ? STR("<tool_call>") : STR("<｜tool▁calls▁begin｜>");
    if (!qwen) first = net_maybe(n, STR("\n"), net_text(n, STR("<｜tool▁call▁begin｜>"), first));
    starts_put(g, spec->thoughts,
               spec->must_call ? net_text(n, tag, first) : free_put(n, tag, first, true));
    return true;
}

/* ---- compiling ------------------------------------------------------------------------------- */

static bool json_read(json_t **out, Str text, const char *what, Err *err) {
    json_error_t e;
    if (text.n > SCHEMA_BYTES)
        return err_set(err, ERR_LIMIT, "%s: has %lld bytes, and %d are the most", what,
                       (long long)text.n, SCHEMA_BYTES);
    *out = json_loadb(text.p ? text.p : "", (size_t)text.n,
                      JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    return *out || err_set(err, ERR_FORMAT, "%s: line %d: %s", what, e.line, e.text);
}

static bool json_compile(Grammar *g, const GrammarSpec *spec, Err *err) {
    json_t *root = NULL;
    Schema s;
    bool ok = true;
    if (spec->kind != GRAMMAR_OBJECT)
        ok = json_read(&root, spec->text, spec->kind == GRAMMAR_CALLS ? "tools" : "schema", err);
    schema_init(&s, &g->net, root, "schema", WRITE_JSON, err);
    if (ok && spec->kind == GRAMMAR_CALLS)
        ok = calls_compile(g, spec, root, err);
    else if (ok && root)
        starts_put(g, spec->thoughts, schema_compile(&s, NET_END));
    else if (ok)
        starts_put(g, spec->thoughts, any_object_put(&s, NET_END));
    json_decref(root);
    return ok && err->code == ERR_NONE;
}

static bool regex_compile(Grammar *g, const GrammarSpec *spec, Err *err) {
    Pattern *p;
    if (!pattern_parse(&p, g->net.a, spec->text, false, err)) return false;
    starts_put(g, spec->thoughts, pattern_put(&g->net, p, WRITE_PLAIN, NET_END));
    return true;
}

bool grammar_new(Grammar **out, Arena *a, const Lexicon *l, const GrammarSpec *spec, Err *err) {
    static const char *const names[] = {"schema", "a JSON object", "regex", "tools"};
    const Mark mark = arena_mark(a);
    Grammar *g = PUSH(a, Grammar, 1);
    Err why = {0};
    g->l = l;
    net_init(&g->net, a);
    bool ok =
        spec->kind == GRAMMAR_REGEX ? regex_compile(g, spec, &why) : json_compile(g, spec, &why);
    if (!ok) err_set(err, why.code, "%s", why.msg);
    ok = ok
         && (net_check(&g->net, g->start[0], &why)
             || err_set(err, why.code, "%s: %s", names[spec->kind], why.msg));
    if (ok)
        bound_init(g, a);
    else
        arena_pop(a, mark);
    *out = ok ? g : NULL;
    return ok;
}
