/* jinja_value.c -- values of templates, with Python's meaning: strings that know who wrote each
 * character, lists, dictionaries in order of insertion; equality, order, printing, JSON.
 *
 * Work that grows with a value is paid for (jinja_pay) before it is done. */
#include "text/jinja.h"
#include <utf8proc.h>
#include <jansson.h>
#include <stdio.h>

bool jinja_fail(Jinja *j, const char *fmt, ...) {
    char what[768];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    if (!j->failed) err_set(j->err, ERR_FORMAT, "%s, line %d: %s", j->name, j->line, what);
    j->failed = true;
    return false;
}

bool jinja_pay(Jinja *j, int64_t n) {
    j->steps -= n;
    return !j->failed && (j->steps >= 0 || jinja_fail(j, "the template takes too long"));
}

void *jinja_push(Jinja *j, int64_t bytes) {
    j->bytes -= bytes;
    void *p = j->failed || j->bytes < 0 ? NULL : arena_try(j->a, MAX(bytes, 1));
    if (!p) jinja_fail(j, "the template needs too much memory");
    return p;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static bool text_grow(TextBuf *b, int64_t n) {
    if (b->n + n <= b->cap) return true;
    int64_t cap = MAX(2 * b->cap, b->n + n + 64);
    char *p = jinja_push(b->j, cap);
    uint8_t *by = jinja_push(b->j, cap);
    if (!p || !by) return false;
    if (b->n) memcpy(p, b->p, (size_t)b->n);
    if (b->n) memcpy(by, b->by, (size_t)b->n);
    b->p = p, b->by = by, b->cap = cap;
    return true;
}

bool text_add(TextBuf *b, Text s) {
    if (!jinja_pay(b->j, s.n / 16) || !text_grow(b, s.n)) return false;
    if (s.n) memcpy(b->p + b->n, s.p, (size_t)s.n);
    if (s.n) memcpy(b->by + b->n, s.by, (size_t)s.n);
    b->n += s.n;
    return true;
}

bool text_put(TextBuf *b, const char *p, int64_t n, int by) {
    if (!jinja_pay(b->j, n / 16) || !text_grow(b, n)) return false;
    if (n) memcpy(b->p + b->n, p, (size_t)n);
    if (n) memset(b->by + b->n, by, (size_t)n);
    b->n += n;
    return true;
}

static bool put(TextBuf *b, const char *z) {
    return text_put(b, z, (int64_t)strlen(z), BY_TEMPLATE);
}

Text text_cut(Text s, int64_t lo, int64_t hi) {
    lo = MIN(MAX(lo, 0), s.n), hi = MIN(MAX(hi, lo), s.n);
    if (lo == hi) return (Text){"", (const uint8_t *)"", 0};
    return (Text){s.p + lo, s.by + lo, hi - lo};
}

Text text_copy(Jinja *j, Str s, int by) {
    TextBuf b = {.j = j};
    text_put(&b, s.p, s.n, by);
    return text_of(&b);
}

int64_t text_char(Text s, int64_t at) {
    int n = utf8_length((Str){s.p + at, s.n - at});
    return n ? n : 1;
}

int64_t text_length(Text s) {
    int64_t n = 0;
    for (int64_t i = 0; i < s.n; i += text_char(s, i)) n++;
    return n;
}

int64_t text_find(Text s, Text part, int64_t from) {
    if (part.n == 0) return from <= s.n ? from : -1;
    for (int64_t i = from; i + part.n <= s.n; i++) {
        const char *hit = memchr(s.p + i, part.p[0], (size_t)(s.n - part.n - i + 1));
        if (!hit) return -1;
        i = hit - s.p;
        if (!memcmp(hit, part.p, (size_t)part.n)) return i;
    }
    return -1;
}

bool is_space(Text s, int64_t at, int64_t *bytes) {
    static const char *const wide[] = {
        "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
        "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
        "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
        "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
    uint8_t c = (uint8_t)s.p[at];
    *bytes = 1;
    if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
    for (int i = 0; i < COUNT(wide); i++) {
        *bytes = (int64_t)strlen(wide[i]);
        if (at + *bytes <= s.n && !memcmp(s.p + at, wide[i], (size_t)*bytes)) return true;
    }
    *bytes = text_char(s, at);
    return false;
}

Text text_escaped(Jinja *j, Text s) {
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    TextBuf b = {.j = j};
    for (int64_t i = 0; i < s.n && jinja_pay(j, 1); i++) {
        const char *at = s.p[i] ? strchr(from, s.p[i]) : NULL;
        if (at)
            text_put(&b, to[at - from], (int64_t)strlen(to[at - from]), s.by[i]);
        else
            text_put(&b, s.p + i, 1, s.by[i]);
    }
    return text_of(&b);
}

/* ---- lists and dictionaries ------------------------------------------------------------------ */

/* Room for one more: the new array, or NULL without memory. */
static Value *grown(Jinja *j, Value *v, int64_t n, int64_t cap) {
    Value *to = jinja_push(j, cap * (int64_t)sizeof *to);
    if (to && n) memcpy(to, v, (size_t)n * sizeof *to);
    return to;
}

Value value_list(Jinja *j, int64_t cap, bool tuple) {
    List *l = jinja_push(j, sizeof *l);
    Value *v = cap ? jinja_push(j, cap * (int64_t)sizeof *v) : NULL;
    if (!l || (cap && !v)) return value_none();
    *l = (List){v, 0, cap, tuple};
    return (Value){.kind = VALUE_LIST, .list = l};
}

bool list_add(Jinja *j, List *l, Value v) {
    if (j->failed) return false;
    if (l->n == l->cap) {
        Value *to = grown(j, l->v, l->n, MAX(8, 2 * l->cap));
        if (!to) return false;
        l->v = to, l->cap = MAX(8, 2 * l->cap);
    }
    l->v[l->n++] = v;
    return true;
}

Value value_dict(Jinja *j, int64_t cap, ValueKind kind) {
    Dict *d = jinja_push(j, sizeof *d);
    if (!d) return value_none();
    *d = (Dict){0};
    if (cap) {
        d->key = jinja_push(j, cap * (int64_t)sizeof(Value));
        d->value = jinja_push(j, cap * (int64_t)sizeof(Value));
        if (!d->key || !d->value) return value_none();
        d->cap = cap;
    }
    return (Value){.kind = kind, .dict = d};
}

Value *dict_find(Jinja *j, const Dict *d, Value key) {
    if (key.kind == VALUE_STR) return dict_find_str(j, d, text_str(key.s));
    jinja_pay(j, d->n);
    for (int64_t i = 0; i < d->n && !j->failed; i++)
        if (value_equal(j, d->key[i], key)) return &d->value[i];
    return NULL;
}

Value *dict_find_str(Jinja *j, const Dict *d, Str key) {
    jinja_pay(j, d->n / 8);
    for (int64_t i = 0; i < d->n; i++)
        if (d->key[i].kind == VALUE_STR && str_eq(text_str(d->key[i].s), key)) return &d->value[i];
    return NULL;
}

static bool dict_add(Jinja *j, Dict *d, Value key, Value v) {
    if (d->n == d->cap) {
        int64_t cap = MAX(8, 2 * d->cap);
        Value *keys = grown(j, d->key, d->n, cap), *values = grown(j, d->value, d->n, cap);
        if (!keys || !values) return false;
        d->key = keys, d->value = values, d->cap = cap;
    }
    d->key[d->n] = key;
    d->value[d->n++] = v;
    return true;
}

bool dict_put(Jinja *j, Dict *d, Value key, Value v) {
    Value *there = dict_find(j, d, key);
    if (j->failed) return false;
    if (there) *there = v;
    return there != NULL || dict_add(j, d, key, v);
}

/* ---- meaning --------------------------------------------------------------------------------- */

const char *value_kind_name(Value v) {
    static const char *const names[] = {"undefined", "None",     "bool",  "int",       "float",
                                        "str",       "list",     "dict",  "namespace", "loop",
                                        "macro",     "function", "method"};
    return v.kind == VALUE_LIST && v.list->tuple ? "tuple" : names[v.kind];
}

bool value_true(Value v) {
    switch (v.kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE: return false;
    case VALUE_BOOL: return v.b;
    case VALUE_INT: return v.i != 0;
    case VALUE_FLOAT: return v.f != 0;
    case VALUE_STR: return v.s.n > 0;
    case VALUE_LIST: return v.list->n > 0;
    case VALUE_DICT: return v.dict->n > 0;
    default: return true;
    }
}

static bool is_number(Value v) {
    return v.kind == VALUE_BOOL || v.kind == VALUE_INT || v.kind == VALUE_FLOAT;
}
static int64_t whole(Value v) { return v.kind == VALUE_BOOL ? v.b : v.i; }
static double number(Value v) { return v.kind == VALUE_FLOAT ? v.f : (double)whole(v); }

static bool dict_equal(Jinja *j, const Dict *x, const Dict *y) {
    if (x->n != y->n) return false;
    for (int64_t i = 0; i < x->n && !j->failed; i++) {
        Value *v = dict_find(j, y, x->key[i]);
        if (!v || !value_equal(j, x->value[i], *v)) return false;
    }
    return !j->failed;
}

bool value_equal(Jinja *j, Value x, Value y) {
    if (!jinja_pay(j, 1)) return false;
    if (is_number(x) && is_number(y))
        return x.kind == VALUE_FLOAT || y.kind == VALUE_FLOAT ? number(x) == number(y)
                                                              : whole(x) == whole(y);
    if (x.kind != y.kind) return false;
    if (x.kind == VALUE_STR)
        return jinja_pay(j, x.s.n / 64) && str_eq(text_str(x.s), text_str(y.s));
    if (x.kind == VALUE_LIST) {
        bool same = x.list->n == y.list->n && x.list->tuple == y.list->tuple;
        if (++j->depth > JINJA_DEPTH * 2) jinja_fail(j, "values are nested too deeply");
        for (int64_t i = 0; same && i < x.list->n && !j->failed; i++)
            same = value_equal(j, x.list->v[i], y.list->v[i]);
        j->depth--;
        return same;
    }
    if (x.kind == VALUE_DICT) {
        if (++j->depth > JINJA_DEPTH * 2) jinja_fail(j, "values are nested too deeply");
        bool same = dict_equal(j, x.dict, y.dict);
        j->depth--;
        return same;
    }
    if (x.kind == VALUE_NAMESPACE) return x.dict == y.dict;
    if (x.kind == VALUE_MACRO) return x.macro == y.macro;
    return x.kind == VALUE_NONE || x.kind == VALUE_UNDEFINED;
}

int value_order(Jinja *j, Value x, Value y) {
    if (is_number(x) && is_number(y)) {
        double a = number(x), b = number(y);
        if (x.kind != VALUE_FLOAT && y.kind != VALUE_FLOAT)
            return whole(x) < whole(y) ? -1 : whole(x) > whole(y);
        return a < b ? -1 : a > b;
    }
    if (x.kind == VALUE_STR && y.kind == VALUE_STR) {
        int64_t n = MIN(x.s.n, y.s.n);
        int c = n ? memcmp(x.s.p, y.s.p, (size_t)n) : 0;
        return c ? (c < 0 ? -1 : 1) : x.s.n < y.s.n ? -1 : x.s.n > y.s.n;
    }
    if (x.kind == VALUE_LIST && y.kind == VALUE_LIST) {
        for (int64_t i = 0; i < MIN(x.list->n, y.list->n) && jinja_pay(j, 1); i++) {
            if (value_equal(j, x.list->v[i], y.list->v[i])) continue;
            return value_order(j, x.list->v[i], y.list->v[i]);
        }
        return x.list->n < y.list->n ? -1 : x.list->n > y.list->n;
    }
    jinja_fail(j, "%s and %s have no order", value_kind_name(x), value_kind_name(y));
    return 0;
}

bool value_in(Jinja *j, Value x, Value in) {
    switch (in.kind) {
    case VALUE_STR:
        if (x.kind != VALUE_STR)
            return jinja_fail(j, "`in` a string wants a string, not %s", value_kind_name(x));
        return jinja_pay(j, in.s.n / 16) && text_find(in.s, x.s, 0) >= 0;
    case VALUE_LIST:
        for (int64_t i = 0; i < in.list->n && !j->failed; i++)
            if (value_equal(j, x, in.list->v[i])) return true;
        return false;
    case VALUE_DICT: return dict_find(j, in.dict, x) != NULL;
    case VALUE_UNDEFINED: return false;
    default: return jinja_fail(j, "`in` wants a list, string or dict, not %s", value_kind_name(in));
    }
}

bool value_items(Jinja *j, Value v, List **out) {
    Value l = value_list(j, 0, false);
    if (j->failed) return false;
    *out = l.list;
    if (v.kind == VALUE_LIST) {
        *out = v.list;
    } else if (v.kind == VALUE_DICT) {
        for (int64_t i = 0; i < v.dict->n; i++) list_add(j, l.list, v.dict->key[i]);
    } else if (v.kind == VALUE_STR) {
        for (int64_t i = 0; i < v.s.n && jinja_pay(j, 1); i += text_char(v.s, i))
            list_add(j, l.list, value_text(text_cut(v.s, i, i + text_char(v.s, i))));
    } else if (v.kind != VALUE_UNDEFINED) {
        return jinja_fail(j, "%s is not iterable", value_kind_name(v));
    }
    return jinja_pay(j, (*out)->n / 8);
}

int64_t value_length(Jinja *j, Value v) {
    switch (v.kind) {
    case VALUE_STR: return jinja_pay(j, v.s.n / 16) ? text_length(v.s) : -1;
    case VALUE_LIST: return v.list->n;
    case VALUE_DICT: return v.dict->n;
    case VALUE_LOOP: return v.loop->items->n;
    case VALUE_UNDEFINED: return 0;
    default: jinja_fail(j, "%s has no length", value_kind_name(v)); return -1;
    }
}

/* ---- printing -------------------------------------------------------------------------------- */

/* Python's repr of a float: the shortest digits that read back, in its own notation. */
static bool float_put(TextBuf *b, double f) {
    char s[40], out[400];
    double back;
    if (f != f) return put(b, "nan");
    if (f > 1.7976931348623157e308 || f < -1.7976931348623157e308)
        return put(b, f > 0 ? "inf" : "-inf");
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*e", digits - 1, f);
        if (str_f64(str_of(s), &back) && back == f) break;
    }
    char *e = strchr(s, 'e');
    int64_t exponent = 0, digits = 0;
    str_i64(str_of(e[1] == '+' ? e + 2 : e + 1), &exponent);
    *e = 0;
    if (exponent < -4 || exponent >= 16) {
        snprintf(out, sizeof out, "%se%c%02lld", s, exponent < 0 ? '-' : '+',
                 (long long)(exponent < 0 ? -exponent : exponent));
        return put(b, out);
    }
    for (char *c = s; *c; c++) digits += *c >= '0' && *c <= '9';
    int64_t decimals = MAX(digits - 1 - exponent, 1);
    snprintf(out, sizeof out, "%.*f", (int)decimals, f);
    return put(b, out);
}

static bool int_put(TextBuf *b, int64_t i) {
    char s[32];
    snprintf(s, sizeof s, "%lld", (long long)i);
    return put(b, s);
}

/* What Python's repr shows as it is: nothing that is unassigned, a control, format or private
 * character, and no separator but the space. */
static bool is_printable(int32_t c) {
    utf8proc_category_t kind = utf8proc_category(c);
    return c == ' ' || (kind > UTF8PROC_CATEGORY_CN && kind < UTF8PROC_CATEGORY_ZS);
}

/* How repr writes a character between these quotes; the number of bytes. */
static int64_t char_repr(char out[12], int32_t c, char quote) {
    const char *at = c ? strchr("\nn\rr\tt", c) : NULL;
    if (at && c < 0x20) return snprintf(out, 12, "\\%c", at[1]);
    if (c == '\\' || c == quote) return snprintf(out, 12, "\\%c", (char)c);
    if (is_printable(c)) return utf8_put(out, c);
    if (c < 0x100) return snprintf(out, 12, "\\x%02x", (unsigned)c);
    return snprintf(out, 12, c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
}

static bool str_repr(TextBuf *b, Text s) {
    bool single = memchr(s.p, '\'', (size_t)s.n) == NULL,
         twice = memchr(s.p, '"', (size_t)s.n) != NULL;
    char quote = single || twice ? '\'' : '"', out[12];
    bool ok = text_put(b, &quote, 1, BY_TEMPLATE);
    for (int64_t i = 0, n; ok && i < s.n; i += n) {
        int32_t c;
        n = text_char(s, i);
        ok = utf8proc_iterate((const uint8_t *)s.p + i, n, &c) == n
                 ? text_put(b, out, char_repr(out, c, quote), s.by[i])
                 : text_add(b, text_cut(s, i, i + n));
    }
    return ok && text_put(b, &quote, 1, BY_TEMPLATE);
}

static bool list_repr(TextBuf *b, const List *l) {
    bool ok = put(b, l->tuple ? "(" : "[");
    for (int64_t i = 0; ok && i < l->n; i++)
        ok = (i == 0 || put(b, ", ")) && value_repr(b, l->v[i]);
    return ok && (!l->tuple || l->n != 1 || put(b, ",")) && put(b, l->tuple ? ")" : "]");
}

static bool dict_repr(TextBuf *b, const Dict *d) {
    bool ok = put(b, "{");
    for (int64_t i = 0; ok && i < d->n; i++)
        ok = (i == 0 || put(b, ", ")) && value_repr(b, d->key[i]) && put(b, ": ")
             && value_repr(b, d->value[i]);
    return ok && put(b, "}");
}

bool value_repr(TextBuf *b, Value v) {
    Jinja *j = b->j;
    if (v.kind == VALUE_STR) return str_repr(b, v.s);
    if (v.kind != VALUE_LIST && v.kind != VALUE_DICT) return value_print(b, v);
    if (++j->depth > JINJA_DEPTH * 2) jinja_fail(j, "values are nested too deeply");
    bool ok = !j->failed && (v.kind == VALUE_LIST ? list_repr(b, v.list) : dict_repr(b, v.dict));
    j->depth--;
    return ok;
}

bool value_print(TextBuf *b, Value v) {
    switch (v.kind) {
    case VALUE_UNDEFINED: return true;
    case VALUE_NONE: return put(b, "None");
    case VALUE_BOOL: return put(b, v.b ? "True" : "False");
    case VALUE_INT: return int_put(b, v.i);
    case VALUE_FLOAT: return float_put(b, v.f);
    case VALUE_STR: return text_add(b, v.s);
    case VALUE_LIST:
    case VALUE_DICT: return value_repr(b, v);
    default: return jinja_fail(b->j, "a %s cannot be printed", value_kind_name(v));
    }
}

Text value_to_text(Jinja *j, Value v) {
    if (v.kind == VALUE_STR) return v.s;
    TextBuf b = {.j = j};
    value_print(&b, v);
    return text_of(&b);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static bool json_str(TextBuf *b, Text s, bool ascii) {
    static const char from[] = "\"\\\n\r\t\b\f", is[] = "\"\\nrtbf";
    bool ok = put(b, "\"");
    for (int64_t i = 0; ok && i < s.n;) {
        uint8_t c = (uint8_t)s.p[i];
        const char *at = c ? strchr(from, c) : NULL;
        int64_t n = 1, length = text_char(s, i);
        char out[16] = {(char)c};
        if (at) {
            out[0] = '\\', out[1] = is[at - from], n = 2;
        } else if (c < 0x20 || (c == 0x7f && ascii)) {
            n = snprintf(out, sizeof out, "\\u%04x", c);
        } else if (c >= 0x80 && ascii && length > 1) {
            static const uint8_t lead[] = {0, 0, 0x1f, 0xf, 7};
            int32_t code = c & lead[length];
            for (int64_t k = 1; k < length; k++) code = code << 6 | (s.p[i + k] & 0x3f);
            n = code < 0x10000 ? snprintf(out, sizeof out, "\\u%04x", (unsigned)code)
                               : snprintf(out, sizeof out, "\\u%04x\\u%04x",
                                          (unsigned)(0xd800 + ((code - 0x10000) >> 10)),
                                          (unsigned)(0xdc00 + ((code - 0x10000) & 0x3ff)));
        } else {
            ok = text_add(b, text_cut(s, i, i + length));
            i += length;
            continue;
        }
        ok = text_put(b, out, n, s.by[i]);
        i += length;
    }
    return ok && put(b, "\"");
}

static bool line_put(TextBuf *b, const JsonStyle *style, int64_t level) {
    bool ok = style->indent < 0 || put(b, "\n");
    for (int64_t i = 0; ok && style->indent >= 0 && i < style->indent * level; i++)
        ok = put(b, " ");
    return ok;
}

static bool separator(TextBuf *b, const JsonStyle *style) {
    if (style->item.p) return text_add(b, style->item);
    return put(b, style->indent < 0 ? ", " : ",");
}

static bool json_put(TextBuf *b, Value v, const JsonStyle *style, int64_t level);

static bool json_list(TextBuf *b, const List *l, const JsonStyle *style, int64_t level) {
    if (l->n == 0) return put(b, "[]");
    bool ok = put(b, "[");
    for (int64_t i = 0; ok && i < l->n; i++)
        ok = (i == 0 || separator(b, style)) && line_put(b, style, level + 1)
             && json_put(b, l->v[i], style, level + 1);
    return ok && line_put(b, style, level) && put(b, "]");
}

/* The place of the next key in sorted order behind `last` (-1: the first). */
static int64_t key_next(Jinja *j, const Dict *d, int64_t last, bool sorted, int64_t i) {
    if (!sorted) return i;
    int64_t best = -1;
    for (int64_t k = 0; k < d->n && jinja_pay(j, 1); k++)
        if ((last < 0 || value_order(j, d->key[last], d->key[k]) < 0)
            && (best < 0 || value_order(j, d->key[k], d->key[best]) < 0))
            best = k;
    return best;
}

static bool json_key(TextBuf *b, Value key, const JsonStyle *style) {
    if (key.kind == VALUE_STR) return json_str(b, key.s, style->ascii);
    if (key.kind == VALUE_NONE) return put(b, "\"null\"");
    if (key.kind == VALUE_BOOL) return put(b, key.b ? "\"true\"" : "\"false\"");
    if (is_number(key)) return put(b, "\"") && value_print(b, key) && put(b, "\"");
    return jinja_fail(b->j, "a %s cannot be a key of JSON", value_kind_name(key));
}

static bool json_dict(TextBuf *b, const Dict *d, const JsonStyle *style, int64_t level) {
    if (d->n == 0) return put(b, "{}");
    bool ok = put(b, "{");
    for (int64_t i = 0, at = -1; ok && i < d->n; i++) {
        at = key_next(b->j, d, at, style->sort_keys, i);
        ok = at >= 0 && (i == 0 || separator(b, style)) && line_put(b, style, level + 1)
             && json_key(b, d->key[at], style)
             && (style->key.p ? text_add(b, style->key) : put(b, ": "))
             && json_put(b, d->value[at], style, level + 1);
    }
    return ok && line_put(b, style, level) && put(b, "}");
}

static bool json_put(TextBuf *b, Value v, const JsonStyle *style, int64_t level) {
    if (level > JINJA_DEPTH) return jinja_fail(b->j, "values are nested too deeply");
    if (!jinja_pay(b->j, 1)) return false;
    switch (v.kind) {
    case VALUE_NONE: return put(b, "null");
    case VALUE_BOOL: return put(b, v.b ? "true" : "false");
    case VALUE_INT: return int_put(b, v.i);
    case VALUE_FLOAT:
        if (v.f != v.f) return put(b, "NaN");
        if (v.f - v.f != 0) return put(b, v.f > 0 ? "Infinity" : "-Infinity");
        return float_put(b, v.f);
    case VALUE_STR: return json_str(b, v.s, style->ascii);
    case VALUE_LIST: return json_list(b, v.list, style, level);
    case VALUE_DICT: return json_dict(b, v.dict, style, level);
    default: return jinja_fail(b->j, "%s cannot be written as JSON", value_kind_name(v));
    }
}

bool value_json(TextBuf *b, Value v, const JsonStyle *style) { return json_put(b, v, style, 0); }

static Value of_json(Jinja *j, const json_t *t, int64_t depth);

static Value of_json_object(Jinja *j, const json_t *t, int64_t depth) {
    Value v = value_dict(j, (int64_t)json_object_size(t), VALUE_DICT), member;
    const char *key;
    size_t n;
    json_t *at, *object = (json_t *)(uintptr_t)t;
    for (void *iter = json_object_iter(object); iter && !j->failed;
         iter = json_object_iter_next(object, iter)) {
        key = json_object_iter_key(iter);
        n = json_object_iter_key_len(iter);
        at = json_object_iter_value(iter);
        member = of_json(j, at, depth + 1);
        Value name = value_text(text_copy(j, (Str){key, (int64_t)n}, BY_MESSAGE));
        if (!j->failed) dict_add(j, v.dict, name, member);
    }
    return v;
}

static Value of_json(Jinja *j, const json_t *t, int64_t depth) {
    if (depth > JINJA_DEPTH) jinja_fail(j, "the JSON is nested too deeply");
    if (!jinja_pay(j, 1)) return value_none();
    switch (json_typeof(t)) {
    case JSON_NULL: return value_none();
    case JSON_TRUE: return value_bool(true);
    case JSON_FALSE: return value_bool(false);
    case JSON_INTEGER: return value_int(json_integer_value(t));
    case JSON_REAL: return value_float(json_real_value(t));
    case JSON_STRING:
        return value_text(
            text_copy(j, (Str){json_string_value(t), (int64_t)json_string_length(t)}, BY_MESSAGE));
    case JSON_OBJECT: return of_json_object(j, t, depth);
    default: break;
    }
    Value v = value_list(j, (int64_t)json_array_size(t), false);
    for (size_t i = 0; i < json_array_size(t) && !j->failed; i++)
        list_add(j, v.list, of_json(j, json_array_get(t, i), depth + 1));
    return v;
}

bool value_of_json(Jinja *j, Value *out, Str json, const char *what) {
    json_error_t e;
    json_t *t = json_loadb(json.p, (size_t)json.n,
                           JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!t) {
        j->failed = true;
        return err_set(j->err, ERR_FORMAT, "%s: not valid JSON at byte %d: %s", what, e.position,
                       e.text);
    }
    *out = of_json(j, t, 0);
    json_decref(t);
    return !j->failed;
}
