/* jinja_eval.c -- tree and variables -> text.
 *
 * Scopes are Jinja's: `if` has none, each turn of a `for` has a new one, a macro sees its
 * parameters and the template's own variables. `set` binds in the innermost scope; what must
 * outlive a loop is a member of a namespace. Undefined names are values of their own: they print as
 * nothing, are false, and have no members. */
#include "text/jinja.h"
#include <math.h>

enum { EVAL_DEPTH = 400 };

struct Binding {
    Str name;
    Value v;
};

typedef enum Flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } Flow;

static Value eval(Jinja *j, const Node *n);
static Flow run(Jinja *j, TextBuf *out, const Node *n);

/* ---- scopes ---------------------------------------------------------------------------------- */

static Binding *binding_find(Jinja *j, Scope *s, Str name) {
    jinja_pay(j, s->n / 8);
    for (int64_t i = 0; i < s->n; i++)
        if (str_eq(s->v[i].name, name)) return &s->v[i];
    return NULL;
}

static Value name_get(Jinja *j, Str name) {
    for (Scope *s = j->scope; s; s = s->up) {
        Binding *b = binding_find(j, s, name);
        if (b) return b->v;
    }
    return function_named(name);
}

void name_set(Jinja *j, Str name, Value v) {
    Scope *s = j->scope;
    Binding *b = binding_find(j, s, name);
    if (b) {
        b->v = v;
        return;
    }
    if (s->n == s->cap) {
        int64_t cap = MAX(8, 2 * s->cap);
        Binding *to = jinja_push(j, cap * (int64_t)sizeof *to);
        if (!to) return;
        if (s->n) memcpy(to, s->v, (size_t)s->n * sizeof *to);
        s->v = to, s->cap = cap;
    }
    s->v[s->n++] = (Binding){name, v};
}

static bool enter(Jinja *j) {
    return ++j->depth <= EVAL_DEPTH || jinja_fail(j, "the template is nested too deeply");
}

/* ---- operators ------------------------------------------------------------------------------- */

static bool is_whole(Value v) { return v.kind == VALUE_INT || v.kind == VALUE_BOOL; }
static bool is_number(Value v) { return is_whole(v) || v.kind == VALUE_FLOAT; }
static int64_t whole(Value v) { return v.kind == VALUE_BOOL ? v.b : v.i; }
static double number(Value v) { return v.kind == VALUE_FLOAT ? v.f : (double)whole(v); }

static Value bad_operands(Jinja *j, const char *op, Value a, Value b) {
    Value missing = a.kind == VALUE_UNDEFINED ? a : b;
    if (missing.kind == VALUE_UNDEFINED)
        jinja_fail(j, "'%.*s' is undefined", (int)MIN(missing.missing.n, 80), missing.missing.p);
    else
        jinja_fail(j, "%s cannot be joined with %s by '%s'", value_kind_name(a), value_kind_name(b),
                   op);
    return value_none();
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static Value whole_op(Jinja *j, char op, int64_t a, int64_t b) {
    int64_t r = 0;
    bool over = false;
    if ((op == '/' || op == '%') && b == 0)
        jinja_fail(j, "division by zero");
    else if (op == '+')
        over = __builtin_add_overflow(a, b, &r);
    else if (op == '-')
        over = __builtin_sub_overflow(a, b, &r);
    else if (op == '*')
        over = __builtin_mul_overflow(a, b, &r);
    else if (b == -1)
        over = op == '/' && __builtin_sub_overflow(0, a, &r);
    else
        r = op == '/' ? floor_div(a, b) : a - floor_div(a, b) * b;
    if (over) jinja_fail(j, "a whole number leaves the range of 64 bits");
    return value_int(r);
}

static Value power(Jinja *j, Value a, Value b) {
    if (!is_whole(a) || !is_whole(b) || whole(b) < 0) {
        jinja_fail(j, "'**' is supported for whole numbers only");
        return value_none();
    }
    Value r = value_int(1);
    for (int64_t i = 0; i < whole(b) && jinja_pay(j, 1); i++) r = whole_op(j, '*', r.i, whole(a));
    return r;
}

static Value repeat(Jinja *j, Value v, int64_t times) {
    TextBuf b = {.j = j};
    if (v.kind == VALUE_STR) {
        for (int64_t i = 0; i < times && jinja_pay(j, 1) && text_add(&b, v.s); i++) {}
        return value_text(text_of(&b));
    }
    Value l = value_list(j, 0, v.list->tuple);
    for (int64_t i = 0; i < times && !j->failed; i++)
        for (int64_t k = 0; k < v.list->n && jinja_pay(j, 1); k++)
            list_add(j, l.list, v.list->v[k]);
    return l;
}

static Value arithmetic(Jinja *j, const char *op, Value a, Value b) {
    bool numbers = is_number(a) && is_number(b);
    if (op[0] == '*' && op[1]) return power(j, a, b);
    if (op[0] == '+' && a.kind == VALUE_STR && b.kind == VALUE_STR) {
        TextBuf t = {.j = j};
        text_add(&t, b.safe && !a.safe ? text_escaped(j, a.s) : a.s);
        text_add(&t, a.safe && !b.safe ? text_escaped(j, b.s) : b.s);
        Value sum = value_text(text_of(&t));
        sum.safe = a.safe || b.safe;
        return sum;
    }
    if (op[0] == '+' && a.kind == VALUE_LIST && b.kind == VALUE_LIST
        && a.list->tuple == b.list->tuple) {
        Value l = value_list(j, a.list->n + b.list->n, a.list->tuple);
        for (int64_t i = 0; i < a.list->n && jinja_pay(j, 1); i++)
            list_add(j, l.list, a.list->v[i]);
        for (int64_t i = 0; i < b.list->n && jinja_pay(j, 1); i++)
            list_add(j, l.list, b.list->v[i]);
        return l;
    }
    bool rows = a.kind == VALUE_STR || a.kind == VALUE_LIST;
    if (op[0] == '*' && rows && is_whole(b)) return repeat(j, a, whole(b));
    if (op[0] == '*' && is_whole(a) && (b.kind == VALUE_STR || b.kind == VALUE_LIST))
        return repeat(j, b, whole(a));
    if (!numbers) return bad_operands(j, op, a, b);
    bool floor = op[0] == '/' && op[1];
    if (is_whole(a) && is_whole(b) && (op[0] != '/' || floor))
        return whole_op(j, op[0], whole(a), whole(b));
    double x = number(a), y = number(b);
    if ((op[0] == '/' || op[0] == '%') && y == 0) {
        jinja_fail(j, "division by zero");
        return value_none();
    }
    if (floor || op[0] == '%') {
        double q = x / y, whole_q = rint(q);
        if (whole_q > q) whole_q -= 1;
        return value_float(floor ? whole_q : x - whole_q * y);
    }
    return value_float(op[0] == '+' ? x + y : op[0] == '-' ? x - y : op[0] == '*' ? x * y : x / y);
}

static Value binary(Jinja *j, const Node *n) {
    Value a = eval(j, n->a);
    if (j->failed) return a;
    if (!strcmp(n->op, "and")) return value_true(a) ? eval(j, n->b) : a;
    if (!strcmp(n->op, "or")) return value_true(a) ? a : eval(j, n->b);
    Value b = eval(j, n->b);
    if (j->failed) return b;
    if (n->op[0] != '~') return arithmetic(j, n->op, a, b);
    TextBuf t = {.j = j};
    if (value_print(&t, a)) value_print(&t, b);
    return value_text(text_of(&t));
}

static Value unary(Jinja *j, const Node *n) {
    Value a = eval(j, n->a);
    if (j->failed) return a;
    if (n->op[0] == 'n') return value_bool(!value_true(a));
    if (!is_number(a)) return bad_operands(j, n->op, a, a);
    if (n->op[0] == '+') return a;
    return a.kind == VALUE_FLOAT ? value_float(-a.f) : whole_op(j, '-', 0, whole(a));
}

static bool holds(Jinja *j, const char *op, Value a, Value b) {
    if (op[0] == 'i') return value_in(j, a, b);
    if (op[0] == 'n') return !value_in(j, a, b);
    if (op[0] == '=') return value_equal(j, a, b);
    if (op[0] == '!') return !value_equal(j, a, b);
    if (a.kind == VALUE_UNDEFINED || b.kind == VALUE_UNDEFINED) {
        bad_operands(j, op, a, b);
        return false;
    }
    int c = value_order(j, a, b);
    return op[0] == '<' ? (op[1] ? c <= 0 : c < 0) : (op[1] ? c >= 0 : c > 0);
}

static Value compare(Jinja *j, const Node *n) {
    Value a = eval(j, n->a);
    for (int64_t i = 0; i < n->n_kids && !j->failed; i++) {
        Value b = eval(j, n->kid[i]);
        if (j->failed || !holds(j, n->ops[i], a, b)) return value_bool(false);
        a = b;
    }
    return value_bool(true);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static Args *args_eval(Jinja *j, const Node *n) {
    Args *args = jinja_push(j, sizeof *args);
    if (!args) return NULL;
    args->n = 0;
    for (int64_t i = 0; i < n->n_kids && !j->failed; i++) {
        args->v[args->n] = eval(j, n->kid[i]);
        args->name[args->n++] = n->names[i];
    }
    return j->failed ? NULL : args;
}

/* Binds a macro's parameters in the new scope. */
static void parameters(Jinja *j, const Node *m, const Args *args) {
    bool given[ARGS_MAX] = {false};
    int64_t position = 0;
    for (int64_t i = 0; i < args->n && !j->failed; i++) {
        int64_t at = position;
        if (args->name[i].p)
            for (at = 0; at < m->n_kids && !str_eq(m->names[at], args->name[i]);) at++;
        else
            position++;
        if (at >= m->n_kids || given[at])
            jinja_fail(j, "the macro %.*s does not take these arguments", (int)MIN(m->name.n, 60),
                       m->name.p);
        else
            given[at] = true, name_set(j, m->names[at], args->v[i]);
    }
    for (int64_t i = 0; i < m->n_kids && !j->failed; i++)
        if (!given[i])
            name_set(j, m->names[i], m->kid[i] ? eval(j, m->kid[i]) : value_missing(m->names[i]));
}

bool value_call(Jinja *j, Value *out, Value f, Args *args) {
    if (f.kind == VALUE_FUNCTION) return function_call(j, out, f.function, args);
    if (f.kind == VALUE_METHOD) return method_call(j, out, f.method, args);
    if (f.kind == VALUE_UNDEFINED)
        return jinja_fail(j, "'%.*s' is undefined", (int)MIN(f.missing.n, 80), f.missing.p);
    if (f.kind != VALUE_MACRO) return jinja_fail(j, "a %s cannot be called", value_kind_name(f));
    Scope *caller = j->scope, scope = {.up = j->root};
    TextBuf b = {.j = j};
    j->scope = &scope;
    parameters(j, f.macro, args);
    if (!j->failed) run(j, &b, f.macro->b);
    j->scope = caller;
    *out = value_text(text_of(&b));
    return !j->failed;
}

static Value call(Jinja *j, const Node *n) {
    Value f = eval(j, n->a), out = value_none();
    Args *args = j->failed ? NULL : args_eval(j, n);
    if (args) value_call(j, &out, f, args);
    return out;
}

/* The filters of `n`, the innermost first, on v where the chain has no expression of its own. */
static Value filtered(Jinja *j, const Node *n, Value v) {
    if (!n) return v;
    if (!enter(j)) return v;
    v = n->a && n->a->kind != NODE_FILTER ? eval(j, n->a) : filtered(j, n->a, v);
    Args *args = j->failed ? NULL : args_eval(j, n);
    j->line = n->line;
    if (args) filter_run(j, &v, n->name, v, args);
    j->depth--;
    return v;
}

static Value test(Jinja *j, const Node *n) {
    Value v = eval(j, n->a);
    Args *args = j->failed ? NULL : args_eval(j, n);
    bool is = false;
    if (args) test_run(j, &is, n->name, v, args);
    return value_bool(is);
}

/* ---- other expressions ----------------------------------------------------------------------- */

static Value collection(Jinja *j, const Node *n) {
    if (n->kind == NODE_DICT) {
        Value v = value_dict(j, n->n_kids / 2, VALUE_DICT);
        for (int64_t i = 0; i + 1 < n->n_kids && !j->failed; i += 2) {
            Value key = eval(j, n->kid[i]);
            dict_put(j, v.dict, key, eval(j, n->kid[i + 1]));
        }
        return v;
    }
    Value v = value_list(j, n->n_kids, n->kind == NODE_TUPLE);
    for (int64_t i = 0; i < n->n_kids && !j->failed; i++) list_add(j, v.list, eval(j, n->kid[i]));
    return v;
}

/* Python's slice: positions lo, lo + step, ... before hi, of n. */
static bool bounds(Jinja *j, const Node *n, int64_t length, int64_t at[3]) {
    bool given[3] = {false};
    for (int i = 0; i < 3 && !j->failed; i++) {
        Value v = n->kid[i] ? eval(j, n->kid[i]) : value_none();
        if (v.kind == VALUE_NONE) continue;
        if (!is_whole(v))
            return jinja_fail(j, "a slice wants whole numbers, not %s", value_kind_name(v));
        at[i] = whole(v), given[i] = true;
    }
    if (!given[2]) at[2] = 1;
    if (at[2] == 0 || at[2] == INT64_MIN) return jinja_fail(j, "a slice with a step of 0");
    bool back = at[2] < 0;
    for (int i = 0; i < 2; i++) {
        if (given[i] && at[i] < 0) at[i] = MAX(at[i] + length, back ? -1 : 0);
        if (given[i]) at[i] = MIN(at[i], back ? length - 1 : length);
    }
    if (!given[0]) at[0] = back ? length - 1 : 0;
    if (!given[1]) at[1] = back ? -1 : length;
    return !j->failed;
}

static Value slice(Jinja *j, const Node *n) {
    Value v = eval(j, n->a);
    int64_t at[3] = {0};
    List *l;
    if (j->failed || (v.kind != VALUE_STR && v.kind != VALUE_LIST && v.kind != VALUE_UNDEFINED)) {
        jinja_fail(j, "a %s has no slices", value_kind_name(v));
        return v;
    }
    if (v.kind == VALUE_UNDEFINED) return attr_get(j, v, STR(""));
    if (!value_items(j, v, &l) || !bounds(j, n, l->n, at)) return v;
    Value out = value_list(j, 0, v.kind == VALUE_LIST && v.list->tuple);
    TextBuf b = {.j = j};
    for (int64_t i = at[0]; (at[2] > 0 ? i < at[1] : i > at[1]) && jinja_pay(j, 1);) {
        if (v.kind == VALUE_STR)
            text_add(&b, l->v[i].s);
        else
            list_add(j, out.list, l->v[i]);
        if (__builtin_add_overflow(i, at[2], &i)) break;
    }
    return v.kind == VALUE_STR ? value_text(text_of(&b)) : out;
}

static Value eval_node(Jinja *j, const Node *n) {
    switch (n->kind) {
    case NODE_CONST: return n->value;
    case NODE_NAME: return name_get(j, n->name);
    case NODE_TUPLE:
    case NODE_LIST:
    case NODE_DICT: return collection(j, n);
    case NODE_ATTR: {
        Value v = eval(j, n->a);
        return j->failed ? v : attr_get(j, v, n->name);
    }
    case NODE_ITEM: {
        Value v = eval(j, n->a), key = j->failed ? v : eval(j, n->b);
        return j->failed ? v : item_get(j, v, key);
    }
    case NODE_SLICE: return slice(j, n);
    case NODE_CALL: return call(j, n);
    case NODE_FILTER: return filtered(j, n, value_none());
    case NODE_TEST: return test(j, n);
    case NODE_UNARY: return unary(j, n);
    case NODE_BINARY: return binary(j, n);
    case NODE_COMPARE: return compare(j, n);
    case NODE_IF_ELSE:
        if (value_true(eval(j, n->a))) return eval(j, n->b);
        return n->c ? eval(j, n->c) : value_missing(STR("the value of an `if` without `else`"));
    default: CHECK(false); return value_none();
    }
}

static Value eval(Jinja *j, const Node *n) {
    Value v = value_none();
    if (!j->failed && enter(j) && jinja_pay(j, 1)) {
        j->line = n->line;
        v = eval_node(j, n);
    }
    j->depth--;
    return v;
}

/* ---- statements ------------------------------------------------------------------------------ */

static void unpack(Jinja *j, const Node *n, Value v) {
    List *l;
    if (n->n_names == 1) {
        name_set(j, n->names[0], v);
        return;
    }
    if (!value_items(j, v, &l)) return;
    if (l->n != n->n_names) {
        jinja_fail(j, "%lld names for %lld values", (long long)n->n_names, (long long)l->n);
        return;
    }
    for (int64_t i = 0; i < l->n; i++) name_set(j, n->names[i], l->v[i]);
}

/* The items that the filter of a loop leaves. */
static List *loop_items(Jinja *j, const Node *n) {
    Value v = eval(j, n->a);
    List *l = NULL;
    if (j->failed || !value_items(j, v, &l) || !n->c) return l;
    Value kept = value_list(j, 0, false);
    Scope scope = {.up = j->scope};
    j->scope = &scope;
    for (int64_t i = 0; i < l->n && !j->failed; i++) {
        unpack(j, n, l->v[i]);
        if (!j->failed && value_true(eval(j, n->c))) list_add(j, kept.list, l->v[i]);
    }
    j->scope = scope.up;
    return kept.list;
}

static Flow run_for(Jinja *j, TextBuf *out, const Node *n) {
    List *l = loop_items(j, n);
    Scope *outer = j->scope;
    Flow flow = FLOW_ON;
    if (j->failed) return flow;
    Loop *loop = jinja_push(j, sizeof *loop);
    if (!loop) return flow;
    *loop = (Loop){l, 0};
    for (; loop->at < l->n && flow != FLOW_BREAK && jinja_pay(j, 1); loop->at++) {
        Scope scope = {.up = outer};
        j->scope = &scope;
        name_set(j, STR("loop"), (Value){.kind = VALUE_LOOP, .loop = loop});
        unpack(j, n, l->v[loop->at]);
        flow = j->failed ? FLOW_BREAK : run(j, out, n->b);
    }
    j->scope = outer;
    if (l->n == 0 && n->d) return run(j, out, n->d);
    return FLOW_ON;
}

static Value block_text(Jinja *j, const Node *body, const Node *filters) {
    TextBuf b = {.j = j};
    Scope scope = {.up = j->scope};
    j->scope = &scope;
    run(j, &b, body);
    j->scope = scope.up;
    return j->failed ? value_none() : filtered(j, filters, value_text(text_of(&b)));
}

static void run_set(Jinja *j, const Node *n) {
    Value v = n->a ? eval(j, n->a) : block_text(j, n->b, n->c);
    if (j->failed) return;
    if (!n->attr.p) {
        unpack(j, n, v);
        return;
    }
    Value of = name_get(j, n->name);
    if (of.kind == VALUE_NAMESPACE)
        dict_put(j, of.dict, value_text(text_copy(j, n->attr, BY_TEMPLATE)), v);
    else
        jinja_fail(j, "only a namespace has members to set, '%.*s' is %s", (int)MIN(n->name.n, 60),
                   n->name.p, value_kind_name(of));
}

static Flow run_with(Jinja *j, TextBuf *out, const Node *n) {
    Scope scope = {.up = j->scope};
    Value v[ARGS_MAX];
    for (int64_t i = 0; i < n->n_kids && i < ARGS_MAX && !j->failed; i++) v[i] = eval(j, n->kid[i]);
    j->scope = &scope;
    for (int64_t i = 0; i < n->n_kids && i < ARGS_MAX && !j->failed; i++)
        name_set(j, n->names[i], v[i]);
    Flow flow = j->failed ? FLOW_ON : run(j, out, n->b);
    j->scope = scope.up;
    return flow;
}

static Flow run_block(Jinja *j, TextBuf *out, const Node *n) {
    Flow flow = FLOW_ON;
    for (int64_t i = 0; i < n->n_kids && flow == FLOW_ON && !j->failed; i++)
        flow = run(j, out, n->kid[i]);
    return flow;
}

static Flow run_node(Jinja *j, TextBuf *out, const Node *n) {
    Value v;
    switch (n->kind) {
    case NODE_TEXT: text_add(out, n->value.s); return FLOW_ON;
    case NODE_PRINT:
        v = eval(j, n->a);
        j->line = n->line;
        if (!j->failed) value_print(out, v);
        return FLOW_ON;
    case NODE_BLOCK: return run_block(j, out, n);
    case NODE_IF:
        v = eval(j, n->a);
        if (j->failed) return FLOW_ON;
        return value_true(v) ? run(j, out, n->b) : n->c ? run(j, out, n->c) : FLOW_ON;
    case NODE_FOR: return run_for(j, out, n);
    case NODE_SET: run_set(j, n); return FLOW_ON;
    case NODE_MACRO: name_set(j, n->name, (Value){.kind = VALUE_MACRO, .macro = n}); return FLOW_ON;
    case NODE_WITH: return run_with(j, out, n);
    case NODE_PIPE:
        v = block_text(j, n->b, n->c);
        if (!j->failed) value_print(out, v);
        return FLOW_ON;
    case NODE_BREAK: return FLOW_BREAK;
    case NODE_CONTINUE: return FLOW_CONTINUE;
    default: CHECK(false); return FLOW_ON;
    }
}

static Flow run(Jinja *j, TextBuf *out, const Node *n) {
    Flow flow = FLOW_ON;
    if (!j->failed && enter(j) && jinja_pay(j, 1)) {
        j->line = n->line;
        flow = run_node(j, out, n);
    }
    j->depth--;
    return flow;
}

void jinja_init(Jinja *j, Scope *root, Arena *a, const char *name, int64_t now, Err *err) {
    *root = (Scope){0};
    *j = (Jinja){.a = a,
                 .err = err,
                 .name = name,
                 .steps = JINJA_STEPS,
                 .bytes = JINJA_BYTES,
                 .scope = root,
                 .root = root,
                 .now = now};
}

bool jinja_run(Jinja *j, Text *out, const Node *tree) {
    TextBuf b = {.j = j};
    if (!j->failed) run(j, &b, tree);
    *out = text_of(&b);
    return !j->failed;
}
