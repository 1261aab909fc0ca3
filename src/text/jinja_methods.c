/* jinja_methods.c -- methods and members of values, and the work on strings that filters share.
 * Names and meaning are Python's; what would change a value in place is refused, as the immutable
 * sandbox of transformers does. */
#include "text/jinja.h"
#include <utf8proc.h>

/* ---- arguments ------------------------------------------------------------------------------- */

Value arg(const Args *args, int64_t at, const char *name, Value other) {
    for (int64_t i = 0, position = 0; i < args->n; i++) {
        if (args->name[i].p ? str_eq(args->name[i], str_of(name)) : position == at)
            return args->v[i];
        position += args->name[i].p == NULL;
    }
    return other;
}

Text arg_text(Jinja *j, const Args *args, int64_t at, const char *name, Text other) {
    Value v = arg(args, at, name, value_text(other));
    if (v.kind != VALUE_STR)
        jinja_fail(j, "argument %s must be a string, not %s", name, value_kind_name(v));
    return v.kind == VALUE_STR ? v.s : other;
}

int64_t arg_int(Jinja *j, const Args *args, int64_t at, const char *name, int64_t other) {
    Value v = arg(args, at, name, value_int(other));
    if (v.kind == VALUE_BOOL) return v.b;
    if (v.kind != VALUE_INT)
        jinja_fail(j, "argument %s must be a whole number, not %s", name, value_kind_name(v));
    return v.kind == VALUE_INT ? v.i : other;
}

Text want_text(Jinja *j, Value v, const char *who) {
    if (v.kind == VALUE_UNDEFINED) return (Text){0};
    if (v.kind != VALUE_STR) jinja_fail(j, "%s wants a string, not %s", who, value_kind_name(v));
    return v.kind == VALUE_STR ? v.s : (Text){0};
}

/* ---- strings --------------------------------------------------------------------------------- */

Text text_stripped(Text s, const Text *set, bool left, bool right) {
    int64_t lo = 0, hi = s.n, n;
    while (left && lo < hi) {
        bool in = is_space(s, lo, &n);
        if (set) in = text_find(*set, text_cut(s, lo, lo + n), 0) >= 0;
        if (!in) break;
        lo += n;
    }
    while (right && hi > lo) {
        int64_t at = hi - 1;
        while (at > lo && ((uint8_t)s.p[at] & 0xc0) == 0x80) at--;
        bool in = is_space(text_cut(s, 0, hi), at, &n);
        if (set) in = text_find(*set, text_cut(s, at, hi), 0) >= 0;
        if (!in) break;
        hi = at;
    }
    return text_cut(s, lo, hi);
}

Text text_mapped(Jinja *j, Text s, int32_t (*first)(int32_t), int32_t (*rest)(int32_t)) {
    TextBuf b = {.j = j};
    for (int64_t i = 0; i < s.n && jinja_pay(j, 1);) {
        int64_t n = text_char(s, i);
        int32_t c;
        char out[4];
        int32_t (*map)(int32_t) = i == 0 ? first : rest;
        if (utf8proc_iterate((const utf8proc_uint8_t *)s.p + i, n, &c) == n)
            text_put(&b, out, utf8_put(out, map(c)), s.by[i]);
        else
            text_add(&b, text_cut(s, i, i + n));
        i += n;
    }
    return text_of(&b);
}

Text text_titled(Jinja *j, Text s) {
    TextBuf b = {.j = j};
    for (int64_t i = 0; i < s.n && jinja_pay(j, 1);) {
        int64_t from = i;
        while (i < s.n && (((uint8_t)s.p[i] | 0x20) < 'a' || ((uint8_t)s.p[i] | 0x20) > 'z')
               && (uint8_t)s.p[i] < 0x80)
            i++;
        text_add(&b, text_cut(s, from, i));
        from = i;
        while (i < s.n
               && !((((uint8_t)s.p[i] | 0x20) < 'a' || ((uint8_t)s.p[i] | 0x20) > 'z')
                    && (uint8_t)s.p[i] < 0x80))
            i++;
        text_add(&b, text_mapped(j, text_cut(s, from, i), utf8proc_toupper, utf8proc_tolower));
    }
    return text_of(&b);
}

Text text_replaced(Jinja *j, Text s, Text from, Text to, int64_t count) {
    TextBuf b = {.j = j};
    int64_t at = 0;
    if (count < 0) count = INT64_MAX;
    while (count-- > 0 && jinja_pay(j, 1)) {
        int64_t hit = text_find(s, from, at), skip = from.n;
        if (hit < 0 || (from.n == 0 && hit >= s.n + 1)) break;
        text_add(&b, text_cut(s, at, hit));
        text_add(&b, to);
        if (skip == 0) { /* between all characters */
            if (hit == s.n) return text_of(&b);
            skip = text_char(s, hit);
            text_add(&b, text_cut(s, hit, hit + skip));
        }
        at = hit + skip;
    }
    text_add(&b, text_cut(s, at, s.n));
    return text_of(&b);
}

static Value split_space(Jinja *j, Text s, int64_t most) {
    Value l = value_list(j, 0, false);
    int64_t n;
    for (int64_t at = 0; !j->failed;) {
        while (at < s.n && is_space(s, at, &n)) at += n;
        if (at == s.n) break;
        int64_t from = at;
        if (l.list->n == most) at = s.n;
        while (at < s.n && !is_space(s, at, &n)) at += n;
        Text word = text_cut(s, from, at);
        list_add(j, l.list, value_text(at == s.n ? text_stripped(word, NULL, false, true) : word));
        jinja_pay(j, at - from);
    }
    return l;
}

static Value split_at(Jinja *j, Text s, Text by, int64_t most, bool right) {
    Value l = value_list(j, 0, false);
    if (by.n == 0) {
        jinja_fail(j, "split: an empty separator");
        return l;
    }
    int64_t hits = 0, skip = 0;
    for (int64_t at = 0; right && (at = text_find(s, by, at)) >= 0; at += by.n) hits++;
    if (right && most >= 0)
        skip = MAX(hits - most, 0), most = -1; /* rsplit: leave the first ones */
    int64_t from = 0, at = 0;
    while (jinja_pay(j, 1) && (most < 0 || l.list->n < most) && (at = text_find(s, by, at)) >= 0) {
        if (skip-- <= 0) list_add(j, l.list, value_text(text_cut(s, from, at))), from = at + by.n;
        at += by.n;
    }
    list_add(j, l.list, value_text(text_cut(s, from, s.n)));
    return l;
}

static Value split_lines(Jinja *j, Text s) {
    Value l = value_list(j, 0, false);
    for (int64_t at = 0; at < s.n && jinja_pay(j, 1);) {
        int64_t end = at;
        while (end < s.n && s.p[end] != '\n' && s.p[end] != '\r') end++;
        list_add(j, l.list, value_text(text_cut(s, at, end)));
        at = end + (end + 1 < s.n && s.p[end] == '\r' && s.p[end + 1] == '\n' ? 2 : 1);
    }
    return l;
}

/* One affix, or any of a tuple. */
static bool has_affix(Jinja *j, Text s, Value affix, bool at_end) {
    if (affix.kind == VALUE_LIST) {
        for (int64_t i = 0; i < affix.list->n && !j->failed; i++)
            if (has_affix(j, s, affix.list->v[i], at_end)) return true;
        return false;
    }
    Text t = want_text(j, affix, at_end ? "endswith" : "startswith");
    return at_end ? str_ends(text_str(s), text_str(t)) : str_starts(text_str(s), text_str(t));
}

/* ---- methods --------------------------------------------------------------------------------- */

typedef Value MethodFn(Jinja *j, Value of, const Args *args);
struct Method {
    MethodFn *fn;
    const char *name;
    Value of;
};

#define METHOD(name) static Value name(Jinja *j, Value of, const Args *args)

static Text strip_of(Jinja *j, Value of, const Args *args, bool left, bool right) {
    Value set = arg(args, 0, "chars", value_none());
    if (set.kind == VALUE_NONE) return text_stripped(of.s, NULL, left, right);
    Text t = want_text(j, set, "strip");
    return jinja_pay(j, of.s.n / 4 * MAX(t.n, 1) / 4) ? text_stripped(of.s, &t, left, right) : of.s;
}
METHOD(str_strip) { return value_text(strip_of(j, of, args, true, true)); }
METHOD(str_lstrip) { return value_text(strip_of(j, of, args, true, false)); }
METHOD(str_rstrip) { return value_text(strip_of(j, of, args, false, true)); }
METHOD(str_upper) {
    return (void)args, value_text(text_mapped(j, of.s, utf8proc_toupper, utf8proc_toupper));
}
METHOD(str_lower) {
    return (void)args, value_text(text_mapped(j, of.s, utf8proc_tolower, utf8proc_tolower));
}
METHOD(str_capitalize) {
    return (void)args, value_text(text_mapped(j, of.s, utf8proc_toupper, utf8proc_tolower));
}
METHOD(str_title) { return (void)args, value_text(text_titled(j, of.s)); }
METHOD(str_startswith) {
    return value_bool(has_affix(j, of.s, arg(args, 0, "prefix", value_none()), false));
}
METHOD(str_endswith) {
    return value_bool(has_affix(j, of.s, arg(args, 0, "suffix", value_none()), true));
}
METHOD(str_replace) {
    Text from = arg_text(j, args, 0, "old", (Text){0}), to = arg_text(j, args, 1, "new", (Text){0});
    int64_t count = arg_int(j, args, 2, "count", -1);
    return j->failed ? of : value_text(text_replaced(j, of.s, from, to, count));
}
static Value split_of(Jinja *j, Value of, const Args *args, bool right) {
    Value by = arg(args, 0, "sep", value_none());
    int64_t most = arg_int(j, args, 1, "maxsplit", -1);
    if (by.kind == VALUE_NONE) {
        if (right && most >= 0)
            jinja_fail(j, "rsplit by white space with a limit is not supported");
        return split_space(j, of.s, most);
    }
    return split_at(j, of.s, want_text(j, by, "split"), most, right);
}
METHOD(str_split) { return split_of(j, of, args, false); }
METHOD(str_rsplit) { return split_of(j, of, args, true); }
METHOD(str_splitlines) { return (void)args, split_lines(j, of.s); }
METHOD(str_join) {
    List *l;
    TextBuf b = {.j = j};
    if (!value_items(j, arg(args, 0, "iterable", value_none()), &l)) return of;
    for (int64_t i = 0; i < l->n && !j->failed; i++) {
        if (i) text_add(&b, of.s);
        text_add(&b, want_text(j, l->v[i], "join"));
    }
    return value_text(text_of(&b));
}
static int64_t find_of(Jinja *j, Value of, const Args *args) {
    int64_t at = text_find(of.s, arg_text(j, args, 0, "sub", (Text){0}), 0);
    return at <= 0 ? at : text_length(text_cut(of.s, 0, at));
}
METHOD(str_find) { return value_int(find_of(j, of, args)); }
METHOD(str_index) {
    int64_t at = find_of(j, of, args);
    if (at < 0) jinja_fail(j, "index: the substring was not found");
    return value_int(at);
}
METHOD(str_count) {
    Text part = arg_text(j, args, 0, "sub", (Text){0});
    int64_t n = 0;
    if (part.n == 0) return value_int(text_length(of.s) + 1);
    for (int64_t at = 0; (at = text_find(of.s, part, at)) >= 0 && jinja_pay(j, 1); at += part.n)
        n++;
    return value_int(n);
}
METHOD(str_removeprefix) {
    Text t = arg_text(j, args, 0, "prefix", (Text){0});
    return value_text(str_starts(text_str(of.s), text_str(t)) ? text_cut(of.s, t.n, of.s.n) : of.s);
}
METHOD(str_removesuffix) {
    Text t = arg_text(j, args, 0, "suffix", (Text){0});
    return value_text(str_ends(text_str(of.s), text_str(t)) ? text_cut(of.s, 0, of.s.n - t.n)
                                                            : of.s);
}
/* All characters are in a class, and there is one. */
static Value all_in(Jinja *j, Text s, bool (*in)(Text s, int64_t at, int64_t *n)) {
    int64_t n;
    for (int64_t i = 0; i < s.n && jinja_pay(j, 1); i += n)
        if (!in(s, i, &n)) return value_bool(false);
    return value_bool(s.n > 0);
}
static bool is_digit(Text s, int64_t at, int64_t *n) {
    *n = 1;
    return s.p[at] >= '0' && s.p[at] <= '9';
}
METHOD(str_isspace) { return (void)args, all_in(j, of.s, is_space); }
METHOD(str_isdigit) { return (void)args, all_in(j, of.s, is_digit); }

METHOD(dict_get) {
    Value *v = dict_find(j, of.dict, arg(args, 0, "key", value_none()));
    return v ? *v : arg(args, 1, "default", value_none());
}
Value pairs_of(Jinja *j, const Dict *d) {
    Value l = value_list(j, d->n, false);
    for (int64_t i = 0; i < d->n && jinja_pay(j, 1); i++) {
        Value pair = value_list(j, 2, true);
        if (j->failed) break;
        list_add(j, pair.list, d->key[i]);
        list_add(j, pair.list, d->value[i]);
        list_add(j, l.list, pair);
    }
    return l;
}
METHOD(dict_items) { return (void)args, pairs_of(j, of.dict); }
Value row_of(Jinja *j, const Value *v, int64_t n) {
    Value l = value_list(j, n, false);
    for (int64_t i = 0; i < n && jinja_pay(j, 1); i++) list_add(j, l.list, v[i]);
    return l;
}
METHOD(dict_keys) { return (void)args, row_of(j, of.dict->key, of.dict->n); }
METHOD(dict_values) { return (void)args, row_of(j, of.dict->value, of.dict->n); }
METHOD(dict_copy) {
    (void)args;
    Value v = value_dict(j, of.dict->n, VALUE_DICT);
    for (int64_t i = 0; i < of.dict->n && !j->failed; i++)
        dict_put(j, v.dict, of.dict->key[i], of.dict->value[i]);
    return v;
}
METHOD(list_index) {
    for (int64_t i = 0; i < of.list->n && !j->failed; i++)
        if (value_equal(j, of.list->v[i], arg(args, 0, "value", value_none()))) return value_int(i);
    jinja_fail(j, "index: the value is not in the list");
    return value_none();
}
METHOD(list_count) {
    int64_t n = 0;
    for (int64_t i = 0; i < of.list->n && !j->failed; i++)
        n += value_equal(j, of.list->v[i], arg(args, 0, "value", value_none()));
    return value_int(n);
}
METHOD(list_copy) { return (void)args, row_of(j, of.list->v, of.list->n); }
METHOD(immutable) {
    (void)args;
    jinja_fail(j, "a template may not change a %s", value_kind_name(of));
    return value_none();
}

static const struct {
    ValueKind kind;
    const char *name;
    MethodFn *fn;
} methods[] = {
    {VALUE_STR, "strip", str_strip},
    {VALUE_STR, "lstrip", str_lstrip},
    {VALUE_STR, "rstrip", str_rstrip},
    {VALUE_STR, "upper", str_upper},
    {VALUE_STR, "lower", str_lower},
    {VALUE_STR, "capitalize", str_capitalize},
    {VALUE_STR, "title", str_title},
    {VALUE_STR, "startswith", str_startswith},
    {VALUE_STR, "endswith", str_endswith},
    {VALUE_STR, "replace", str_replace},
    {VALUE_STR, "split", str_split},
    {VALUE_STR, "rsplit", str_rsplit},
    {VALUE_STR, "splitlines", str_splitlines},
    {VALUE_STR, "join", str_join},
    {VALUE_STR, "find", str_find},
    {VALUE_STR, "index", str_index},
    {VALUE_STR, "count", str_count},
    {VALUE_STR, "removeprefix", str_removeprefix},
    {VALUE_STR, "removesuffix", str_removesuffix},
    {VALUE_STR, "isspace", str_isspace},
    {VALUE_STR, "isdigit", str_isdigit},
    {VALUE_DICT, "get", dict_get},
    {VALUE_DICT, "items", dict_items},
    {VALUE_DICT, "keys", dict_keys},
    {VALUE_DICT, "values", dict_values},
    {VALUE_DICT, "copy", dict_copy},
    {VALUE_LIST, "index", list_index},
    {VALUE_LIST, "count", list_count},
    {VALUE_LIST, "copy", list_copy},
    {VALUE_DICT, "pop", immutable},
    {VALUE_DICT, "popitem", immutable},
    {VALUE_DICT, "clear", immutable},
    {VALUE_DICT, "update", immutable},
    {VALUE_DICT, "setdefault", immutable},
    {VALUE_LIST, "append", immutable},
    {VALUE_LIST, "clear", immutable},
    {VALUE_LIST, "pop", immutable},
    {VALUE_LIST, "reverse", immutable},
    {VALUE_LIST, "insert", immutable},
    {VALUE_LIST, "sort", immutable},
    {VALUE_LIST, "extend", immutable},
    {VALUE_LIST, "remove", immutable},
};

Value method_of(Jinja *j, Value v, Str name) {
    for (int64_t i = 0; i < COUNT(methods); i++)
        if (methods[i].kind == v.kind && str_eq(name, str_of(methods[i].name))) {
            Method *m = jinja_push(j, sizeof *m);
            if (!m) break;
            *m = (Method){methods[i].fn, methods[i].name, v};
            return (Value){.kind = VALUE_METHOD, .method = m};
        }
    return value_missing(name);
}

bool method_call(Jinja *j, Value *out, const Method *m, Args *args) {
    *out = m->fn(j, m->of, args);
    return !j->failed;
}

/* ---- members --------------------------------------------------------------------------------- */

static Value loop_get(Jinja *j, const Loop *l, Str name) {
    int64_t n = l->items->n;
    if (str_eq(name, STR("index"))) return value_int(l->at + 1);
    if (str_eq(name, STR("index0"))) return value_int(l->at);
    if (str_eq(name, STR("revindex"))) return value_int(n - l->at);
    if (str_eq(name, STR("revindex0"))) return value_int(n - l->at - 1);
    if (str_eq(name, STR("first"))) return value_bool(l->at == 0);
    if (str_eq(name, STR("last"))) return value_bool(l->at == n - 1);
    if (str_eq(name, STR("length"))) return value_int(n);
    if (str_eq(name, STR("depth"))) return value_int(1);
    if (str_eq(name, STR("depth0"))) return value_int(0);
    if (str_eq(name, STR("previtem")))
        return l->at > 0 ? l->items->v[l->at - 1] : value_missing(name);
    if (str_eq(name, STR("nextitem")))
        return l->at + 1 < n ? l->items->v[l->at + 1] : value_missing(name);
    jinja_fail(j, "loop.%.*s is not supported", (int)MIN(name.n, 40), name.p);
    return value_none();
}

Value attr_get(Jinja *j, Value v, Str name) {
    if (v.kind == VALUE_UNDEFINED) {
        jinja_fail(j, "'%.*s' is undefined", (int)MIN(v.missing.n, 80), v.missing.p);
        return v;
    }
    if (v.kind == VALUE_LOOP) return loop_get(j, v.loop, name);
    Value m = v.kind == VALUE_NAMESPACE ? value_missing(name) : method_of(j, v, name);
    if (m.kind == VALUE_METHOD) return m;
    Value *member =
        v.kind == VALUE_DICT || v.kind == VALUE_NAMESPACE ? dict_find_str(j, v.dict, name) : NULL;
    if (member) return *member;
    return value_missing(name);
}

Value item_get(Jinja *j, Value v, Value key) {
    Str name = key.kind == VALUE_STR ? text_str(key.s) : STR("item");
    if (v.kind == VALUE_UNDEFINED) return attr_get(j, v, name);
    if (v.kind == VALUE_DICT || v.kind == VALUE_NAMESPACE) {
        Value *member = dict_find(j, v.dict, key);
        if (member) return *member;
    }
    if ((v.kind == VALUE_LIST || v.kind == VALUE_STR) && key.kind == VALUE_INT) {
        int64_t n = value_length(j, v), i = key.i < 0 ? key.i + n : key.i;
        if (i < 0 || i >= n) return value_missing(name);
        if (v.kind == VALUE_LIST) return v.list->v[i];
        int64_t at = 0;
        while (i-- > 0) at += text_char(v.s, at);
        return value_text(text_cut(v.s, at, at + text_char(v.s, at)));
    }
    return key.kind == VALUE_STR ? attr_get(j, v, name) : value_missing(name);
}
