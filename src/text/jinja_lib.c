/* jinja_lib.c -- what templates can call by name: filters, tests and global functions, each a row
 * of a table. Names and meaning are Jinja2's. */
#include "text/jinja.h"
#include <stdio.h>
#include <utf8proc.h>

/* ---- filters --------------------------------------------------------------------------------- */

typedef Value FilterFn(Jinja *j, Value v, Args *args);
#define FILTER(name) static Value name(Jinja *j, Value v, Args *args)

FILTER(f_length) { return (void)args, value_int(value_length(j, v)); }
FILTER(f_string) { return (void)args, v.kind == VALUE_STR ? v : value_text(value_to_text(j, v)); }
FILTER(f_trim) {
    Value set = arg(args, 0, "chars", value_none());
    Text s = value_to_text(j, v), t = set.kind == VALUE_STR ? set.s : (Text){0};
    return value_text(text_stripped(s, set.kind == VALUE_STR ? &t : NULL, true, true));
}
FILTER(f_upper) {
    return (void)args,
           value_text(text_mapped(j, value_to_text(j, v), utf8proc_toupper, utf8proc_toupper));
}
FILTER(f_lower) {
    return (void)args,
           value_text(text_mapped(j, value_to_text(j, v), utf8proc_tolower, utf8proc_tolower));
}
FILTER(f_capitalize) {
    return (void)args,
           value_text(text_mapped(j, value_to_text(j, v), utf8proc_toupper, utf8proc_tolower));
}
FILTER(f_title) { return (void)args, value_text(text_titled(j, value_to_text(j, v))); }
FILTER(f_default) {
    bool falsy = value_true(arg(args, 1, "boolean", value_bool(false)));
    (void)j;
    if (v.kind != VALUE_UNDEFINED && (!falsy || value_true(v))) return v;
    return arg(args, 0, "default_value", value_text((Text){0}));
}
FILTER(f_list) {
    (void)args;
    List *l;
    return value_items(j, v, &l) ? row_of(j, l->v, l->n) : v;
}
FILTER(f_items) {
    (void)args;
    if (v.kind == VALUE_DICT) return pairs_of(j, v.dict);
    if (v.kind != VALUE_UNDEFINED) jinja_fail(j, "items wants a dict, not %s", value_kind_name(v));
    return value_list(j, 0, false);
}
FILTER(f_first) {
    (void)args;
    List *l;
    return value_items(j, v, &l) && l->n ? l->v[0] : value_missing(STR("first"));
}
FILTER(f_last) {
    (void)args;
    List *l;
    return value_items(j, v, &l) && l->n ? l->v[l->n - 1] : value_missing(STR("last"));
}
FILTER(f_reverse) {
    (void)args;
    List *l;
    if (!value_items(j, v, &l)) return v;
    Value to = value_list(j, l->n, false);
    TextBuf b = {.j = j};
    for (int64_t i = l->n - 1; i >= 0 && jinja_pay(j, 1); i--) {
        if (v.kind == VALUE_STR)
            text_add(&b, l->v[i].s);
        else
            list_add(j, to.list, l->v[i]);
    }
    return v.kind == VALUE_STR ? value_text(text_of(&b)) : to;
}

/* The member `path` of v, "a.b.0". */
static Value path_get(Jinja *j, Value v, Str path) {
    while (path.n > 0 && !j->failed) {
        int64_t n = 0, index;
        while (n < path.n && path.p[n] != '.') n++;
        Str part = {path.p, n};
        v = str_i64(part, &index) ? item_get(j, v, value_int(index))
                                  : item_get(j, v, value_text(text_copy(j, part, BY_TEMPLATE)));
        path.p += MIN(n + 1, path.n), path.n -= MIN(n + 1, path.n);
    }
    return v;
}
static Value path_of(Jinja *j, Value v, Value attribute) {
    if (attribute.kind == VALUE_INT) return item_get(j, v, attribute);
    return path_get(j, v, text_str(want_text(j, attribute, "attribute")));
}
FILTER(f_join) {
    List *l;
    TextBuf b = {.j = j};
    Text by = value_to_text(j, arg(args, 0, "d", value_text((Text){0})));
    Value attribute = arg(args, 1, "attribute", value_none());
    if (!value_items(j, v, &l)) return v;
    for (int64_t i = 0; i < l->n && !j->failed; i++) {
        Value x = attribute.kind == VALUE_NONE ? l->v[i] : path_of(j, l->v[i], attribute);
        if (i) text_add(&b, by);
        if (!j->failed) value_print(&b, x);
    }
    return value_text(text_of(&b));
}
FILTER(f_replace) {
    Text s = value_to_text(j, v), from = arg_text(j, args, 0, "s", (Text){0}),
         to = arg_text(j, args, 1, "new", (Text){0});
    Value count = arg(args, 2, "count", value_none());
    return j->failed
               ? v
               : value_text(text_replaced(j, s, from, to, count.kind == VALUE_INT ? count.i : -1));
}
FILTER(f_indent) {
    Value width = arg(args, 0, "width", value_int(4));
    bool first = value_true(arg(args, 1, "first", value_bool(false)));
    bool blank = value_true(arg(args, 2, "blank", value_bool(false)));
    Text s = value_to_text(j, v), pad = width.kind == VALUE_STR ? width.s : (Text){0};
    TextBuf spaces = {.j = j}, b = {.j = j};
    if (width.kind == VALUE_INT) {
        for (int64_t i = 0; i < width.i && text_put(&spaces, " ", 1, BY_TEMPLATE); i++) {}
        pad = text_of(&spaces);
    }
    for (int64_t at = 0, line = 0; at <= s.n && jinja_pay(j, 1); line++) {
        int64_t end = at;
        while (end < s.n && s.p[end] != '\n') end++;
        if (line ? end > at || blank : first) text_add(&b, pad);
        text_add(&b, text_cut(s, at, MIN(end + 1, s.n)));
        at = end + 1;
    }
    return value_text(text_of(&b));
}
FILTER(f_tojson) {
    /* transformers' own tojson(value, ensure_ascii, indent, separators, sort_keys) */
    Value indent = arg(args, 1, "indent", value_none());
    JsonStyle style = {.indent = indent.kind == VALUE_INT ? indent.i : -1};
    style.ascii = value_true(arg(args, 0, "ensure_ascii", value_bool(false)));
    style.sort_keys = value_true(arg(args, 3, "sort_keys", value_bool(false)));
    Value by = arg(args, 2, "separators", value_none());
    if (by.kind == VALUE_LIST && by.list->n == 2) {
        style.item = want_text(j, by.list->v[0], "separators");
        style.key = want_text(j, by.list->v[1], "separators");
    }
    if (style.indent > 64) jinja_fail(j, "tojson: an indent of more than 64");
    TextBuf b = {.j = j};
    if (!j->failed) value_json(&b, v, &style);
    return value_text(text_of(&b));
}
FILTER(f_from_json) {
    (void)args;
    Text s = want_text(j, v, "from_json");
    Value out = value_none();
    if (!j->failed) value_of_json(j, &out, text_str(s), "from_json");
    return out;
}
FILTER(f_int) {
    Value other = arg(args, 0, "default", value_int(0));
    double f;
    int64_t i;
    if (v.kind == VALUE_BOOL) return value_int(v.b);
    if (v.kind == VALUE_INT) return v;
    Str s = v.kind == VALUE_STR ? text_str(text_stripped(v.s, NULL, true, true)) : (Str){0};
    if (v.kind == VALUE_STR && str_i64(s, &i)) return value_int(i);
    if (v.kind == VALUE_FLOAT)
        f = v.f;
    else if (v.kind != VALUE_STR || !str_f64(s, &f))
        return other;
    (void)j;
    return f > -9e18 && f < 9e18 ? value_int((int64_t)f) : other;
}
FILTER(f_float) {
    double f;
    (void)j;
    if (v.kind == VALUE_FLOAT) return v;
    if (v.kind == VALUE_INT) return value_float((double)v.i);
    if (v.kind == VALUE_BOOL) return value_float(v.b);
    if (v.kind == VALUE_STR && str_f64(text_str(text_stripped(v.s, NULL, true, true)), &f))
        return value_float(f);
    return arg(args, 0, "default", value_float(0));
}
FILTER(f_abs) {
    (void)args;
    if (v.kind == VALUE_INT && v.i > INT64_MIN) return value_int(v.i < 0 ? -v.i : v.i);
    if (v.kind == VALUE_FLOAT) return value_float(v.f < 0 ? -v.f : v.f);
    jinja_fail(j, "abs wants a number, not %s", value_kind_name(v));
    return v;
}
/* Autoescape is off, so a safe string differs in one thing only: value.safe. */
FILTER(f_safe) {
    (void)args;
    Value out = value_text(value_to_text(j, v));
    out.safe = true;
    return out;
}
FILTER(f_escape) {
    Value out = f_safe(j, v, args);
    if (!v.safe) out.s = text_escaped(j, out.s);
    return out;
}

/* Stable insertion sort: lists in templates are short, and work is paid for. */
static Value sorted(Jinja *j, const List *l, Value by, bool reverse, bool fold) {
    Value out = value_list(j, l->n, false), keys = value_list(j, l->n, false);
    for (int64_t i = 0; i < l->n && !j->failed; i++) {
        Value key = by.kind == VALUE_NONE ? l->v[i] : path_of(j, l->v[i], by);
        if (fold && key.kind == VALUE_STR)
            key = value_text(text_mapped(j, key.s, utf8proc_tolower, utf8proc_tolower));
        list_add(j, out.list, l->v[i]);
        list_add(j, keys.list, key);
        for (int64_t k = i; k > 0 && jinja_pay(j, 1); k--) {
            int c = value_order(j, keys.list->v[k - 1], keys.list->v[k]);
            if (reverse ? c >= 0 : c <= 0) break;
            Value a = out.list->v[k], b = keys.list->v[k];
            out.list->v[k] = out.list->v[k - 1], keys.list->v[k] = keys.list->v[k - 1];
            out.list->v[k - 1] = a, keys.list->v[k - 1] = b;
        }
    }
    return out;
}
FILTER(f_sort) {
    List *l;
    bool reverse = value_true(arg(args, 0, "reverse", value_bool(false)));
    bool fold = !value_true(arg(args, 1, "case_sensitive", value_bool(false)));
    return value_items(j, v, &l)
               ? sorted(j, l, arg(args, 2, "attribute", value_none()), reverse, fold)
               : v;
}
FILTER(f_dictsort) {
    if (v.kind != VALUE_DICT) jinja_fail(j, "dictsort wants a dict, not %s", value_kind_name(v));
    if (j->failed) return v;
    bool fold = !value_true(arg(args, 0, "case_sensitive", value_bool(false)));
    Value by = arg(args, 1, "by", value_none());
    bool reverse = value_true(arg(args, 2, "reverse", value_bool(false)));
    int64_t column = by.kind == VALUE_STR && text_is(by.s, "value");
    return sorted(j, pairs_of(j, v.dict).list, value_int(column), reverse, fold);
}
FILTER(f_unique) {
    List *l;
    (void)args;
    if (!value_items(j, v, &l)) return v;
    Value to = value_list(j, 0, false);
    for (int64_t i = 0; i < l->n && !j->failed; i++)
        if (!value_in(j, l->v[i], to)) list_add(j, to.list, l->v[i]);
    return to;
}
FILTER(f_sum) {
    List *l;
    Value by = arg(args, 0, "attribute", value_none());
    double f = 0;
    int64_t n = 0;
    bool real = false;
    if (!value_items(j, v, &l)) return v;
    for (int64_t i = 0; i < l->n && !j->failed; i++) {
        Value x = by.kind == VALUE_NONE ? l->v[i] : path_of(j, l->v[i], by);
        if (x.kind == VALUE_FLOAT)
            real = true, f += x.f;
        else if (x.kind != VALUE_INT || __builtin_add_overflow(n, x.i, &n))
            jinja_fail(j, "sum wants numbers in range");
    }
    return real ? value_float(f + (double)n) : value_int(n);
}
static Value extreme(Jinja *j, Value v, int sign) {
    List *l;
    if (!value_items(j, v, &l) || l->n == 0) return value_missing(STR("min or max"));
    Value best = l->v[0];
    for (int64_t i = 1; i < l->n && !j->failed; i++)
        if (value_order(j, l->v[i], best) * sign > 0) best = l->v[i];
    return best;
}
FILTER(f_min) { return (void)args, extreme(j, v, -1); }
FILTER(f_max) { return (void)args, extreme(j, v, 1); }
FILTER(f_round) {
    int64_t digits = arg_int(j, args, 0, "precision", 0);
    if (v.kind == VALUE_INT) return value_float((double)v.i);
    if (v.kind != VALUE_FLOAT || digits < 0 || digits > 15) {
        jinja_fail(j, "round wants a number and 0 to 15 digits");
        return v;
    }
    char s[400];
    double f = v.f;
    snprintf(s, sizeof s, "%.*f", (int)digits, v.f);
    return str_f64(str_of(s), &f) ? value_float(f) : v;
}

/* The rest of the arguments, behind the first `from` positional ones. */
static Args args_from(const Args *args, int64_t from) {
    Args rest = {.n = 0};
    for (int64_t i = 0, position = 0; i < args->n; i++) {
        bool skip = !args->name[i].p && position++ < from;
        if (skip) continue;
        rest.v[rest.n] = args->v[i];
        rest.name[rest.n++] = args->name[i];
    }
    return rest;
}
/* select, reject (by a test of the item) and selectattr, rejectattr (of its member). */
static Value chosen(Jinja *j, Value v, Args *args, bool attribute, bool keep) {
    List *l;
    if (!value_true(v)) return value_list(j, 0, false); /* none and undefined too, as in Jinja2 */
    if (!value_items(j, v, &l)) return v;
    Value to = value_list(j, 0, false), name = arg(args, attribute, "test", value_none());
    Args rest = args_from(args, attribute + 1);
    for (int64_t i = 0; i < l->n && jinja_pay(j, 1); i++) {
        Value x =
            attribute ? path_of(j, l->v[i], arg(args, 0, "attribute", value_none())) : l->v[i];
        bool is = value_true(x);
        if (name.kind == VALUE_STR) test_run(j, &is, text_str(name.s), x, &rest);
        if (is == keep) list_add(j, to.list, l->v[i]);
    }
    return to;
}
FILTER(f_select) { return chosen(j, v, args, false, true); }
FILTER(f_reject) { return chosen(j, v, args, false, false); }
FILTER(f_selectattr) { return chosen(j, v, args, true, true); }
FILTER(f_rejectattr) { return chosen(j, v, args, true, false); }
FILTER(f_map) {
    List *l;
    Value attribute = arg(args, ARGS_MAX, "attribute", value_none()),
          name = arg(args, 0, "filter", value_none());
    Value other = arg(args, ARGS_MAX, "default", value_none());
    Args rest = args_from(args, 1);
    if (!value_true(v)) return value_list(j, 0, false);
    if (!value_items(j, v, &l)) return v;
    Value to = value_list(j, l->n, false);
    for (int64_t i = 0; i < l->n && jinja_pay(j, 1); i++) {
        Value x = l->v[i];
        if (attribute.kind != VALUE_NONE) {
            x = path_of(j, x, attribute);
            if (x.kind == VALUE_UNDEFINED && other.kind != VALUE_NONE) x = other;
        } else {
            filter_run(j, &x, text_str(want_text(j, name, "map")), x, &rest);
        }
        list_add(j, to.list, x);
    }
    return to;
}

static const struct {
    const char *name;
    FilterFn *fn;
} filters[] = {
    {"length", f_length},
    {"count", f_length},
    {"string", f_string},
    {"safe", f_safe},
    {"trim", f_trim},
    {"upper", f_upper},
    {"lower", f_lower},
    {"title", f_title},
    {"capitalize", f_capitalize},
    {"default", f_default},
    {"d", f_default},
    {"list", f_list},
    {"items", f_items},
    {"first", f_first},
    {"last", f_last},
    {"reverse", f_reverse},
    {"join", f_join},
    {"replace", f_replace},
    {"indent", f_indent},
    {"tojson", f_tojson},
    {"int", f_int},
    {"float", f_float},
    {"abs", f_abs},
    {"round", f_round},
    {"e", f_escape},
    {"escape", f_escape},
    {"sort", f_sort},
    {"dictsort", f_dictsort},
    {"unique", f_unique},
    {"sum", f_sum},
    {"min", f_min},
    {"max", f_max},
    {"select", f_select},
    {"reject", f_reject},
    {"selectattr", f_selectattr},
    {"rejectattr", f_rejectattr},
    {"map", f_map},
    {"from_json", f_from_json},
};

bool filter_run(Jinja *j, Value *out, Str name, Value v, Args *args) {
    for (int64_t i = 0; i < COUNT(filters) && jinja_pay(j, 1); i++)
        if (str_eq(name, str_of(filters[i].name))) {
            *out = filters[i].fn(j, v, args);
            return !j->failed;
        }
    return jinja_fail(j, "the filter '%.*s' is not known", (int)MIN(name.n, 60), name.p);
}

/* ---- tests ----------------------------------------------------------------------------------- */

typedef enum TestKind {
    IS_DEFINED,
    IS_UNDEFINED,
    IS_NONE,
    IS_STRING,
    IS_MAPPING,
    IS_ITERABLE,
    IS_SEQUENCE,
    IS_NUMBER,
    IS_INTEGER,
    IS_FLOAT,
    IS_BOOLEAN,
    IS_TRUE,
    IS_FALSE,
    IS_CALLABLE,
    IS_ODD,
    IS_EVEN,
    IS_DIVISIBLE,
    IS_IN,
    IS_EQ,
    IS_NE,
    IS_LT,
    IS_LE,
    IS_GT,
    IS_GE,
    IS_LOWER,
    IS_UPPER,
    IS_SAME
} TestKind;
static const struct {
    const char *name;
    TestKind kind;
} tests[] = {
    {"defined", IS_DEFINED},
    {"undefined", IS_UNDEFINED},
    {"none", IS_NONE},
    {"string", IS_STRING},
    {"mapping", IS_MAPPING},
    {"iterable", IS_ITERABLE},
    {"sequence", IS_SEQUENCE},
    {"number", IS_NUMBER},
    {"integer", IS_INTEGER},
    {"float", IS_FLOAT},
    {"boolean", IS_BOOLEAN},
    {"true", IS_TRUE},
    {"false", IS_FALSE},
    {"callable", IS_CALLABLE},
    {"odd", IS_ODD},
    {"even", IS_EVEN},
    {"divisibleby", IS_DIVISIBLE},
    {"in", IS_IN},
    {"eq", IS_EQ},
    {"equalto", IS_EQ},
    {"==", IS_EQ},
    {"ne", IS_NE},
    {"!=", IS_NE},
    {"lt", IS_LT},
    {"lessthan", IS_LT},
    {"<", IS_LT},
    {"le", IS_LE},
    {"<=", IS_LE},
    {"gt", IS_GT},
    {"greaterthan", IS_GT},
    {">", IS_GT},
    {"ge", IS_GE},
    {">=", IS_GE},
    {"lower", IS_LOWER},
    {"upper", IS_UPPER},
    {"sameas", IS_SAME},
};

static bool is_case(Jinja *j, Value v, int32_t (*map)(int32_t)) {
    Text s = value_to_text(j, v), t = text_mapped(j, s, map, map);
    return s.n > 0 && str_eq(text_str(s), text_str(t));
}

static bool divides(Jinja *j, Value v, int64_t by, int64_t rest) {
    if (v.kind == VALUE_BOOL) v = value_int(v.b);
    if (v.kind != VALUE_INT || by == 0) return jinja_fail(j, "a whole number is wanted");
    return by == -1 ? rest == 0 : (v.i % by + (v.i % by < 0 ? (by < 0 ? -by : by) : 0)) == rest;
}

static bool test_is(Jinja *j, TestKind kind, Value v, Value x) {
    switch (kind) {
    case IS_DEFINED: return v.kind != VALUE_UNDEFINED;
    case IS_UNDEFINED: return v.kind == VALUE_UNDEFINED;
    case IS_NONE: return v.kind == VALUE_NONE;
    case IS_STRING: return v.kind == VALUE_STR;
    case IS_MAPPING: return v.kind == VALUE_DICT;
    case IS_ITERABLE:
        return v.kind == VALUE_STR || v.kind == VALUE_LIST || v.kind == VALUE_DICT
               || v.kind == VALUE_UNDEFINED;
    case IS_SEQUENCE:
        return v.kind == VALUE_STR || v.kind == VALUE_LIST || v.kind == VALUE_DICT
               || v.kind == VALUE_UNDEFINED;
    case IS_NUMBER: return v.kind == VALUE_INT || v.kind == VALUE_FLOAT || v.kind == VALUE_BOOL;
    case IS_INTEGER: return v.kind == VALUE_INT;
    case IS_FLOAT: return v.kind == VALUE_FLOAT;
    case IS_BOOLEAN: return v.kind == VALUE_BOOL;
    case IS_TRUE: return v.kind == VALUE_BOOL && v.b;
    case IS_FALSE: return v.kind == VALUE_BOOL && !v.b;
    case IS_CALLABLE:
        return v.kind == VALUE_MACRO || v.kind == VALUE_FUNCTION || v.kind == VALUE_METHOD;
    case IS_ODD: return divides(j, v, 2, 1);
    case IS_EVEN: return divides(j, v, 2, 0);
    case IS_DIVISIBLE: return divides(j, v, x.kind == VALUE_INT ? x.i : 0, 0);
    case IS_IN: return value_in(j, v, x);
    case IS_EQ: return value_equal(j, v, x);
    case IS_NE: return !value_equal(j, v, x);
    case IS_LT: return value_order(j, v, x) < 0;
    case IS_LE: return value_order(j, v, x) <= 0;
    case IS_GT: return value_order(j, v, x) > 0;
    case IS_GE: return value_order(j, v, x) >= 0;
    case IS_LOWER: return is_case(j, v, utf8proc_tolower);
    case IS_UPPER: return is_case(j, v, utf8proc_toupper);
    case IS_SAME: return v.kind == x.kind && value_equal(j, v, x);
    }
    return false;
}

bool test_run(Jinja *j, bool *out, Str name, Value v, Args *args) {
    for (int64_t i = 0; i < COUNT(tests) && jinja_pay(j, 1); i++)
        if (str_eq(name, str_of(tests[i].name))) {
            *out = test_is(j, tests[i].kind, v, arg(args, 0, "other", value_none()));
            return !j->failed;
        }
    return jinja_fail(j, "the test '%.*s' is not known", (int)MIN(name.n, 60), name.p);
}

/* ---- functions ------------------------------------------------------------------------------- */

static Value fn_range(Jinja *j, Args *args) {
    int64_t a = arg_int(j, args, 0, "start", 0), b = arg_int(j, args, 1, "stop", INT64_MIN);
    int64_t step = arg_int(j, args, 2, "step", 1);
    Value l = value_list(j, 0, false);
    if (b == INT64_MIN) b = a, a = 0;
    if (step == 0) jinja_fail(j, "range: a step of 0");
    if (a < -(1ll << 40) || a > 1ll << 40 || b < -(1ll << 40) || b > 1ll << 40)
        jinja_fail(j, "range: too long");
    for (int64_t i = a; !j->failed && (step > 0 ? i < b : i > b) && jinja_pay(j, 1);) {
        list_add(j, l.list, value_int(i));
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return l;
}

/* namespace(a=1, ...) and dict(a=1, ...), beginning with the members of a dictionary. */
static Value members(Jinja *j, Args *args, ValueKind kind) {
    Value v = value_dict(j, args->n, kind);
    for (int64_t i = 0; i < args->n && !j->failed; i++) {
        Value from = args->v[i];
        if (args->name[i].p)
            dict_put(j, v.dict, value_text(text_copy(j, args->name[i], BY_TEMPLATE)), from);
        else if (from.kind == VALUE_DICT)
            for (int64_t k = 0; k < from.dict->n && !j->failed; k++)
                dict_put(j, v.dict, from.dict->key[k], from.dict->value[k]);
        else
            jinja_fail(j, "a dict is wanted, not %s", value_kind_name(from));
    }
    return v;
}
static Value fn_namespace(Jinja *j, Args *args) { return members(j, args, VALUE_NAMESPACE); }
static Value fn_dict(Jinja *j, Args *args) { return members(j, args, VALUE_DICT); }

static Value fn_raise(Jinja *j, Args *args) {
    Text s = value_to_text(j, arg(args, 0, "message", value_text((Text){0})));
    jinja_fail(j, "the chat template refuses this conversation: %.*s", (int)MIN(s.n, 400), s.p);
    return value_none();
}

/* Days since 1970 as year, month, day (proleptic Gregorian). */
static void civil(int64_t days, int64_t *y, int64_t *m, int64_t *d) {
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = yoe + era * 400 + (*m <= 2);
}

static Value fn_strftime(Jinja *j, Args *args) {
    static const char *const months[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    static const char *const days[] = {"Thursday", "Friday",  "Saturday", "Sunday",
                                       "Monday",   "Tuesday", "Wednesday"};
    Text f = arg_text(j, args, 0, "format", (Text){0});
    int64_t day = j->now / 86400, second = j->now % 86400, y, m, d;
    TextBuf b = {.j = j};
    civil(day, &y, &m, &d);
    for (int64_t i = 0; i < f.n && jinja_pay(j, 1); i++) {
        char s[32] = "";
        if (f.p[i] != '%' || i + 1 == f.n) {
            text_add(&b, text_cut(f, i, i + 1));
            continue;
        }
        switch (f.p[++i]) {
        case 'Y': snprintf(s, sizeof s, "%lld", (long long)y); break;
        case 'y': snprintf(s, sizeof s, "%02lld", (long long)(y % 100)); break;
        case 'm': snprintf(s, sizeof s, "%02lld", (long long)m); break;
        case 'd': snprintf(s, sizeof s, "%02lld", (long long)d); break;
        case 'H': snprintf(s, sizeof s, "%02lld", (long long)(second / 3600)); break;
        case 'M': snprintf(s, sizeof s, "%02lld", (long long)(second / 60 % 60)); break;
        case 'S': snprintf(s, sizeof s, "%02lld", (long long)(second % 60)); break;
        case 'B': snprintf(s, sizeof s, "%s", months[m - 1]); break;
        case 'b': snprintf(s, sizeof s, "%.3s", months[m - 1]); break;
        case 'A': snprintf(s, sizeof s, "%s", days[day % 7]); break;
        case 'a': snprintf(s, sizeof s, "%.3s", days[day % 7]); break;
        case '%': snprintf(s, sizeof s, "%%"); break;
        case '-':
            if (i + 1 < f.n) i++;
            if (f.p[i] == 'd')
                snprintf(s, sizeof s, "%lld", (long long)d);
            else if (f.p[i] == 'm')
                snprintf(s, sizeof s, "%lld", (long long)m);
            else
                jinja_fail(j, "strftime_now: %%-%c is not supported", f.p[i]);
            break;
        default: jinja_fail(j, "strftime_now: %%%c is not supported", f.p[i]);
        }
        text_put(&b, s, (int64_t)strlen(s), BY_TEMPLATE);
    }
    return value_text(text_of(&b));
}

static const struct {
    const char *name;
    Value (*fn)(Jinja *j, Args *args);
} functions[] = {
    {"range", fn_range},           {"namespace", fn_namespace},   {"dict", fn_dict},
    {"raise_exception", fn_raise}, {"strftime_now", fn_strftime},
};

Value function_named(Str name) {
    for (int64_t i = 0; i < COUNT(functions); i++)
        if (str_eq(name, str_of(functions[i].name)))
            return (Value){.kind = VALUE_FUNCTION, .function = i};
    return value_missing(name);
}

bool function_call(Jinja *j, Value *out, int64_t function, Args *args) {
    *out = functions[function].fn(j, args);
    return !j->failed;
}
