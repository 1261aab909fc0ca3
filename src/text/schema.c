/* schema.c -- JSON Schema: what each keyword allows, as a net. What is compiled never allows more
 * than the schema does; where that cannot be had the schema is refused. */
#include "text/schema.h"

#include "text/lexicon.h"
#include "text/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef enum Type { T_NULL, T_BOOLEAN, T_INTEGER, T_NUMBER, T_STRING, T_ARRAY, T_OBJECT, T_N } Type;
static const char *const type_names[] = {"null",   "boolean", "integer", "number",
                                         "string", "array",   "object"};
enum { ALL_TYPES = (1 << T_N) - 1 };

static int32_t schema_put(Schema *s, const json_t *schema, int32_t next);

/* ---- paths and refusals ---------------------------------------------------------------------- */

static int64_t path_add(Schema *s, const char *dot, const char *key) {
    const int64_t before = s->n_path;
    const int n = snprintf(s->path + before, (size_t)(PATH_BYTES - before), "%s%.80s", dot, key);
    s->n_path = MIN(before + n, PATH_BYTES - 1);
    return before;
}

static void path_cut(Schema *s, int64_t to) {
    s->n_path = to;
    s->path[to] = 0;
}

int32_t schema_refuse(Schema *s, const char *key, const char *what) {
    err_set(s->err, ERR_UNSUPPORTED, "%s%s%s: %s", s->path, *key ? "." : "", key, what);
    return NET_NONE;
}

static bool refused(const Schema *s) { return s->err->code != ERR_NONE; }

/* A part of the schema below the path. */
static int32_t below(Schema *s, const char *key, const char *name, const json_t *schema,
                     int32_t next) {
    const int64_t before = path_add(s, ".", key);
    if (*name) (void)path_add(s, ".", name);
    const int32_t node = schema_put(s, schema, next);
    path_cut(s, before);
    return node;
}

/* The keywords that are known, and those that say nothing about the value. */
static bool keywords_check(Schema *s, const json_t *schema, const char *const *known, int64_t n) {
    static const char *const notes[] = {"title",       "description", "default",  "examples",
                                        "$schema",     "$id",         "$comment", "$defs",
                                        "definitions", "deprecated",  "readOnly", "writeOnly"};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)schema, key, v) {
        bool fine = false;
        for (int64_t i = 0; i < n && !fine; i++) fine = !strcmp(key, known[i]);
        for (int64_t i = 0; i < COUNT(notes) && !fine; i++) fine = !strcmp(key, notes[i]);
        if (!fine) return schema_refuse(s, key, "this keyword is not supported here"), false;
    }
    return true;
}

/* ---- types ----------------------------------------------------------------------------------- */

static int type_of(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_NULL: return T_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return T_BOOLEAN;
    case JSON_INTEGER: return T_INTEGER;
    case JSON_REAL: return T_NUMBER;
    case JSON_STRING: return T_STRING;
    case JSON_ARRAY: return T_ARRAY;
    default: return T_OBJECT;
    }
}

static int type_named(const json_t *v) {
    for (int i = 0; i < T_N && json_is_string(v); i++)
        if (!strcmp(type_names[i], json_string_value(v))) return 1 << i;
    return 0;
}

/* The types of "type"; 0 where it is not there; -1 refused. */
static int types_given(Schema *s, const json_t *schema) {
    const json_t *type = json_object_get(schema, "type");
    int types = 0;
    if (!type) return 0;
    if (!json_is_array(type)) types = type_named(type);
    for (size_t i = 0; i < json_array_size(type); i++) {
        const int one = type_named(json_array_get(type, i));
        if (one == 0) return schema_refuse(s, "type", "there is no such type"), -1;
        types |= one;
    }
    return types ? types : (schema_refuse(s, "type", "there is no such type"), -1);
}

static bool type_fits(int types, const json_t *v) {
    const int t = type_of(v);
    return types == 0 || types >> t & 1 || (t == T_INTEGER && types >> T_NUMBER & 1);
}

/* ---- numbers of keywords --------------------------------------------------------------------- */

/* A count of the keyword, at most `most`, or `otherwise` where it is not there. */
static bool count_read(Schema *s, const json_t *schema, const char *key, int64_t otherwise,
                       int64_t *to) {
    const json_t *v = json_object_get(schema, key);
    *to = otherwise;
    if (!v) return true;
    if (json_is_integer(v) && json_integer_value(v) >= 0)
        *to = MIN(json_integer_value(v), NET_FOREVER);
    else
        return schema_refuse(s, key, "must be a number of 0 or more"), false;
    return true;
}

/* least and most of two keywords; what is longer than `limit` is never written. */
static bool counts_read(Schema *s, const json_t *schema, const char *fewest, const char *most,
                        int64_t limit, int64_t *lo, int64_t *hi) {
    if (!count_read(s, schema, fewest, 0, lo) || !count_read(s, schema, most, NET_FOREVER, hi))
        return false;
    if (*lo > limit) return schema_refuse(s, fewest, "is too large"), false;
    if (*lo > *hi) return schema_refuse(s, most, "is less than the least"), false;
    if (*hi < NET_FOREVER) *hi = MIN(*hi, limit);
    return true;
}

/* ---- strings --------------------------------------------------------------------------------- */

#define HOST  "[a-zA-Z0-9](?:-?[a-zA-Z0-9]){0,20}(?:\\.[a-zA-Z](?:-?[a-zA-Z0-9]){1,20}){1,3}"
#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define H4    "[0-9a-fA-F]{1,4}"
#define DATE                                                                                       \
    "(?:[12][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|"    \
    "[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|[12][0-9](?:0[48]|[2468][048]|[13579][26])-02-29|" \
    "(?:1[26]|2[048])00-02-29)"

static const struct {
    const char *name, *pattern;
} formats[] = {
    {"email", "[a-zA-Z0-9_+-]{1,32}(?:\\.[a-zA-Z0-9_+-]{1,16}){0,2}@" HOST},
    {"hostname", HOST},
    {"ipv4", OCTET "(?:\\." OCTET "){3}"},
    {"ipv6", "(?:" H4 ":){7}" H4 "|(?:" H4 ":){1,7}:|(?:" H4 ":){1,6}:" H4 "|(?:" H4
             ":){1,5}(?::" H4 "){2}|(?:" H4 ":){1,4}(?::" H4 "){3}|(?:" H4 ":){1,3}(?::" H4
             "){4}|(?:" H4 ":){1,2}(?::" H4 "){5}|" H4 ":(?::" H4 "){6}|:(?:(?::" H4 "){1,7}|:)"},
    {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
    {"date", DATE},
    {"date-time", DATE "T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-]"
                       "(?:[01][0-9]|2[0-3]):[0-5][0-9])"}};

/* A pattern or a format, whose own lengths must lie within those that are asked for. */
static int32_t pattern_within(Schema *s, const char *key, Str text, bool search, int64_t lo,
                              int64_t hi, int32_t next) {
    Pattern *p;
    Err why = {0};
    int64_t least, most;
    if (!pattern_parse(&p, s->n->a, text, search, &why)) return schema_refuse(s, key, why.msg);
    pattern_lengths(p, &least, &most);
    if (least < lo || (hi < NET_FOREVER && most > hi))
        return schema_refuse(s, key,
                             "together with minLength or maxLength, which it does not keep "
                             "by itself, is not supported");
    return net_text(s->n, STR("\""), pattern_put(s->n, p, s->w, net_text(s->n, STR("\""), next)));
}

static int32_t string_put(Schema *s, const json_t *schema, int32_t next) {
    const json_t *pattern = json_object_get(schema, "pattern"),
                 *format = json_object_get(schema, "format");
    int64_t lo, hi;
    if (!counts_read(s, schema, "minLength", "maxLength", LENGTH_MOST, &lo, &hi)) return NET_NONE;
    if (pattern && format)
        return schema_refuse(s, "pattern", "together with format is not supported");
    if (pattern && !json_is_string(pattern)) return schema_refuse(s, "pattern", "must be a text");
    if (pattern)
        return pattern_within(
            s, "pattern", (Str){json_string_value(pattern), (int64_t)json_string_length(pattern)},
            true, lo, hi, next);
    for (int64_t i = 0; i < COUNT(formats) && json_is_string(format); i++)
        if (!strcmp(formats[i].name, json_string_value(format)))
            return pattern_within(s, "format", str_of(formats[i].pattern), false, lo, hi, next);
    if (format)
        return schema_refuse(s, "format",
                             "is not one of email, hostname, ipv4, ipv6, uuid, date, date-time");
    next = net_text(s->n, STR("\""), next);
    return net_text(s->n, STR("\""), any_text(s->n, s->w, (int32_t)lo, (int32_t)hi, next));
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool limit_read(Schema *s, const json_t *schema, const char *key, bool without, bool lowest,
                       Bound10 *to) {
    const json_t *v = json_object_get(schema, key);
    Bound10 b;
    if (!v) return true;
    const double x = json_number_value(v);
    if (!json_is_number(v) || !bound_read(&b, x, lowest))
        return schema_refuse(s, key,
                             "must be a number of at most 18 digits before the point and 15 "
                             "behind it"),
               false;
    const json_int_t most = 1ll << 53, n = json_integer_value(v);
    if (b.there && (n > most || n < -most))
        return schema_refuse(s, key, "has more digits than can be compared exactly"), false;
    if (to->there && b.there) return schema_refuse(s, key, "a second limit on this side"), false;
    if (b.there) *to = b, to->without = without;
    return true;
}

static int32_t number_type_put(Schema *s, const json_t *schema, bool whole, int32_t next) {
    NumberSpec spec = {.whole = whole, .multiple = 1};
    const json_t *multiple = json_object_get(schema, "multipleOf");
    if (!limit_read(s, schema, "minimum", false, true, &spec.lo)
        || !limit_read(s, schema, "exclusiveMinimum", true, true, &spec.lo)
        || !limit_read(s, schema, "maximum", false, false, &spec.hi)
        || !limit_read(s, schema, "exclusiveMaximum", true, false, &spec.hi))
        return NET_NONE;
    if (multiple) {
        const double m = json_number_value(multiple);
        if (!(m >= 1 && m < MULTIPLE_MOST && m == floor(m)))
            return schema_refuse(s, "multipleOf", "must be a whole number from 1 to 127");
        spec.multiple = (int64_t)m, spec.whole = true;
    }
    const int32_t node = number_put(s->n, &spec, next);
    return node == NET_NONE && !s->n->full ? schema_refuse(s, "", "no number fits these limits")
                                           : node;
}

/* ---- known values ---------------------------------------------------------------------------- */

static int literal_order(const void *a, const void *b) {
    const Str *x = a, *y = b;
    const int c = memcmp(x->p, y->p, (size_t)MIN(x->n, y->n));
    return c ? c : (x->n > y->n) - (x->n < y->n);
}

/* Sorted texts that have their first `at` bytes in common, as a tree. */
static int32_t tree_put(Net *n, const Str *v, int64_t count, int64_t at, int32_t next) {
    if (count == 1) return net_text(n, (Str){v->p + at, v->n - at}, next);
    int32_t node = v->n == at ? next : NET_NONE;
    for (int64_t i = v->n == at, j; i < count; i = j) {
        const uint8_t c = (uint8_t)v[i].p[at];
        for (j = i; j < count && (uint8_t)v[j].p[at] == c;) j++;
        node = net_or(n, node, net_range(n, c, c, tree_put(n, v + i, j - i, at + 1, next)));
    }
    return node;
}

static int32_t literals_put(Schema *s, Str *v, int64_t n, int32_t next) {
    int64_t kept = 0;
    qsort(v, (size_t)n, sizeof *v, literal_order);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || !str_eq(v[i], v[kept - 1])) v[kept++] = v[i];
    return kept ? tree_put(s->n, v, kept, 0, next) : NET_NONE;
}

/* A value as it is written, without blanks. */
static void value_write(Schema *s, Buf *b, const json_t *v) {
    const char *key;
    json_t *part;
    size_t i;
    bool first = true;
    if (json_is_string(v)) {
        const Str text = {json_string_value(v), (int64_t)json_string_length(v)};
        buf_add(b, STR("\""));
        buf_add(b, text_written(s->n->a, text, s->w));
        buf_add(b, STR("\""));
    } else if (json_is_object(v)) {
        buf_add(b, STR("{"));
        json_object_foreach((json_t *)v, key, part) {
            if (!first) buf_add(b, STR(","));
            first = false;
            buf_fmt(b, "\"");
            buf_add(b, text_written(s->n->a, str_of(key), s->w));
            buf_add(b, STR("\":"));
            value_write(s, b, part);
        }
        buf_add(b, STR("}"));
    } else if (json_is_array(v)) {
        buf_add(b, STR("["));
        json_array_foreach(v, i, part) {
            if (i) buf_add(b, STR(","));
            value_write(s, b, part);
        }
        buf_add(b, STR("]"));
    } else if (json_is_integer(v)) {
        buf_fmt(b, "%lld", (long long)json_integer_value(v));
    } else if (json_is_real(v)) {
        buf_fmt(b, "%.17g", json_real_value(v));
    } else {
        buf_fmt(b, "%s", json_is_null(v) ? "null" : json_is_true(v) ? "true" : "false");
    }
}

static int32_t values_put(Schema *s, const json_t *schema, int32_t next) {
    static const char *const known[] = {"type", "const", "enum"};
    const json_t *one = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
    const int types = types_given(s, schema);
    if (types < 0 || !keywords_check(s, schema, known, COUNT(known))) return NET_NONE;
    if (one && list) return schema_refuse(s, "enum", "together with const is not supported");
    if (list && !json_is_array(list)) return schema_refuse(s, "enum", "must be a list");
    const int64_t most = list ? (int64_t)json_array_size(list) : 1;
    if (most > ENUM_MOST) return schema_refuse(s, "enum", "has more than 4096 values");
    Str *v = PUSH(s->n->a, Str, most + 1);
    int64_t n = 0;
    for (int64_t i = 0; i < most; i++) {
        const json_t *value = list ? json_array_get(list, (size_t)i) : one;
        Buf b = {.a = s->n->a};
        if (!type_fits(types, value)) continue;
        value_write(s, &b, value);
        if (b.n > 4096)
            return schema_refuse(s, list ? "enum" : "const", "a value of over 4096 bytes");
        v[n++] = buf_str(&b);
    }
    if (n == 0) return schema_refuse(s, list ? "enum" : "const", "no value of that type");
    return literals_put(s, v, n, next);
}

/* ---- arrays ---------------------------------------------------------------------------------- */

/* ':' or ',' and the blank behind it. */
static int32_t mark_put(Schema *s, const char *mark, int32_t next) {
    const int32_t blank = net_text(s->n, STR(" "), next);
    return net_text(s->n, str_of(mark), s->blank ? blank : net_or(s->n, next, blank));
}

static int32_t rule_of(Schema *s, const char *key, const json_t *schema) {
    const int32_t rule = net_rule(s->n), node = below(s, key, "", schema, NET_RETURN);
    s->n->rule[rule] = node;
    return rule;
}

/* Item number i of an array, and what follows it. */
static int32_t item_put(Schema *s, const json_t *prefix, int32_t rule, int64_t i, int32_t next) {
    int32_t node;
    if (i < (int64_t)json_array_size(prefix)) {
        char number[24];
        snprintf(number, sizeof number, "%d", (int)i);
        node = below(s, "prefixItems", number, json_array_get(prefix, (size_t)i), next);
    } else {
        node = net_call(s->n, rule, next);
    }
    return i > 0 ? mark_put(s, ",", node) : node;
}

static int32_t array_put(Schema *s, const json_t *schema, int32_t next) {
    const json_t *items = json_object_get(schema, "items"),
                 *prefix = json_object_get(schema, "prefixItems"),
                 *unique = json_object_get(schema, "uniqueItems");
    const int64_t n_prefix = (int64_t)json_array_size(prefix);
    int64_t lo, hi;
    if (json_is_true(unique)) return schema_refuse(s, "uniqueItems", "is not supported");
    if (json_is_array(items)) return schema_refuse(s, "items", "a list: write prefixItems");
    if (prefix && !json_is_array(prefix)) return schema_refuse(s, "prefixItems", "must be a list");
    if (!counts_read(s, schema, "minItems", "maxItems", ITEMS_MOST, &lo, &hi)) return NET_NONE;
    if (json_is_false(items)) hi = MIN(hi, n_prefix);
    if (n_prefix > ITEMS_MOST) return schema_refuse(s, "prefixItems", "is too long");
    if (lo > hi) return schema_refuse(s, "minItems", "more than there can be");
    const json_t *any = json_true();
    const int32_t rule = hi > n_prefix ? rule_of(s, "items", items ? items : any) : -1;
    const int32_t close = net_text(s->n, STR("]"), next);
    const bool forever = hi == NET_FOREVER;
    int64_t i = forever ? MAX(MAX(lo, n_prefix), 1) : hi;
    int32_t node = close;
    if (forever) {
        node = net_place(s->n);
        net_put(s->n, node, item_put(s, prefix, rule, i, node), close);
    }
    while (i-- > 0 && !s->n->full && !refused(s)) {
        const int32_t more = item_put(s, prefix, rule, i, node);
        node = i >= lo ? net_or(s->n, more, close) : more;
    }
    return net_text(s->n, STR("["), node);
}

/* ---- objects --------------------------------------------------------------------------------- */

typedef struct Member {
    Str name;
    const json_t *schema;
    bool required;
} Member;

static int name_order(const void *a, const void *b) {
    return literal_order(&((const Member *)a)->name, &((const Member *)b)->name);
}

/* The rest of a name, of which sorted names m[0..n-1] have their first `at` bytes, that is none of
 * them; and its closing quote. A character of a name goes on in the tree, any other leaves it. */
static int32_t other_names(Schema *s, const Member *m, int64_t n, int64_t at, int32_t free,
                           int32_t next) {
    int32_t not [256], n_not = 0;
    const bool is_name = m->name.n == at;
    int32_t node = is_name ? NET_NONE : net_text(s->n, STR("\""), next);
    for (int64_t i = is_name, j; i < n; i = j) {
        const Str rest = {m[i].name.p + at, m[i].name.n - at};
        const int bytes = MAX(utf8_length(rest), 1);
        const uint8_t *p = (const uint8_t *)rest.p;
        int32_t c = bytes == 1 ? p[0] : p[0] & (0x7f >> bytes);
        for (int k = 1; k < bytes; k++) c = c << 6 | (p[k] & 0x3f);
        for (j = i + 1; j < n && m[j].name.n >= at + bytes
                        && !memcmp(m[j].name.p + at, rest.p, (size_t)bytes);)
            j++;
        if (n_not == COUNT(not )) return NET_NONE; /* so many names: other ones are not written */
        not [n_not++] = c;
        if (c < 0x20 || c == '"' || c == '\\' || (c == '<' && s->w == WRITE_CALL)) continue;
        const int32_t then = other_names(s, m + i, j - i, at + bytes, free, next);
        node = net_or(s->n, node, net_text(s->n, (Str){rest.p, bytes}, then));
    }
    return net_or(s->n, node, chars_but(s->n, not, n_not, s->w, free));
}

/* Up to NAME_REST characters as they are, none an escape, which could spell a name that is not
 * meant. */
static int32_t rest_of_name(Schema *s, int32_t close) {
    Net *n = s->n;
    const int loop = net_loop(n, char_kinds[s->w == WRITE_CALL ? KIND_CALL : KIND_JSON]);
    if (s->plain < 0) {
        s->plain = net_rule(n);
        n->rule[s->plain] = chars_but(n, NULL, 0, s->w, NET_RETURN);
    }
    int32_t node = close;
    for (int32_t left = 1; left <= NAME_REST; left++) {
        node = net_or(n, net_call(n, s->plain, node), close);
        net_mark(n, node, loop, left, true);
    }
    return node;
}

/* A rule: one member that is none of the named ones. */
static int32_t other_member(Schema *s, const Member *m, int64_t n, const json_t *schema) {
    const int32_t rule = net_rule(s->n);
    const int32_t value =
        mark_put(s, ":", below(s, "additionalProperties", "", schema, NET_RETURN));
    const int32_t close = net_text(s->n, STR("\""), value);
    int32_t name;
    if (n > 0) {
        Member *sorted = PUSH(s->n->a, Member, n);
        memcpy(sorted, m, (size_t)n * sizeof *m);
        qsort(sorted, (size_t)n, sizeof *sorted, name_order);
        name = other_names(s, sorted, n, 0, rest_of_name(s, close), value);
    } else {
        name = any_text(s->n, s->w, 0, NAME_REST, close);
    }
    s->n->rule[rule] = net_text(s->n, STR("\""), name);
    return rule;
}

/* The members in the order of the schema, from the last: each may be left out unless it is
 * required. `first`: nothing was written before; `later`: a comma comes first. */
static int32_t members_put(Schema *s, const Member *m, int64_t n, int32_t other, int32_t next) {
    const int32_t close = net_text(s->n, STR("}"), next);
    int32_t later = close, first = close;
    if (other >= 0) {
        later = net_place(s->n);
        net_put(s->n, later, mark_put(s, ",", net_call(s->n, other, later)), close);
        first = net_or(s->n, net_call(s->n, other, later), close);
    }
    for (int64_t i = n - 1; i >= 0 && !refused(s); i--) {
        const int32_t value = below(s, "properties", m[i].name.p, m[i].schema, later);
        const Str name = text_written(s->n->a, m[i].name, s->w);
        const int32_t colon = net_text(s->n, STR("\""), mark_put(s, ":", value));
        const int32_t member = net_text(s->n, STR("\""), net_text(s->n, name, colon));
        const int32_t behind = mark_put(s, ",", member);
        first = m[i].required ? member : net_or(s->n, member, first);
        later = m[i].required ? behind : net_or(s->n, behind, later);
    }
    return net_text(s->n, STR("{"), first);
}

static Member *member_named(Member *m, int64_t n, Str name) {
    for (int64_t i = 0; i < n; i++)
        if (str_eq(m[i].name, name)) return &m[i];
    return NULL;
}

static int32_t object_put(Schema *s, const json_t *schema, int32_t next) {
    const json_t *properties = json_object_get(schema, "properties"),
                 *required = json_object_get(schema, "required"),
                 *additional = json_object_get(schema, "additionalProperties");
    int64_t n = 0, most = (int64_t)(json_object_size(properties) + json_array_size(required));
    Member *m = PUSH(s->n->a, Member, most + 1);
    const char *key;
    json_t *v;
    if (properties && !json_is_object(properties))
        return schema_refuse(s, "properties", "must be an object");
    if (required && !json_is_array(required)) return schema_refuse(s, "required", "must be a list");
    if (most > MEMBERS_MOST) return schema_refuse(s, "properties", "are more than 1024");
    json_object_foreach((json_t *)properties, key, v) m[n++] =
        (Member){str_copy(s->n->a, str_of(key)), v, false};
    for (size_t i = 0; i < json_array_size(required); i++) {
        const json_t *name = json_array_get(required, i);
        if (!json_is_string(name)) return schema_refuse(s, "required", "must be a list of texts");
        Member *named = member_named(m, n, str_of(json_string_value(name)));
        if (!named && json_is_false(additional))
            return schema_refuse(s, "required", "names a property that is not allowed");
        if (!named) {
            named = &m[n++];
            *named = (Member){str_copy(s->n->a, str_of(json_string_value(name))),
                              additional ? additional : json_true(), false};
        }
        named->required = true;
    }
    for (int64_t i = 0; i < n; i++)
        if (m[i].name.n > MEMBER_NAME)
            return schema_refuse(s, "properties", "one has a name of over 256 bytes");
    /* Where nothing is said of other members, named ones are all that is written. */
    if (!additional && (n > 0 || properties)) additional = json_false();
    if (!additional) additional = json_true();
    const int32_t other = json_is_false(additional) ? -1 : other_member(s, m, n, additional);
    return members_put(s, m, n, other, next);
}

/* ---- any value ------------------------------------------------------------------------------- */

static int32_t any_put(Schema *s, int32_t next) {
    Net *n = s->n;
    if (s->any < 0) {
        const json_t *nothing = json_object();
        const NumberSpec number = {.multiple = 1};
        s->any = net_rule(n);
        int32_t node = net_or(
            n, net_text(n, STR("null"), NET_RETURN),
            net_or(n, net_text(n, STR("true"), NET_RETURN), net_text(n, STR("false"), NET_RETURN)));
        node = net_or(n, number_put(n, &number, NET_RETURN), node);
        node = net_or(n, array_put(s, nothing, NET_RETURN), node);
        node = net_or(n, object_put(s, nothing, NET_RETURN), node);
        n->rule[s->any] = net_or(n, string_put(s, nothing, NET_RETURN), node);
        json_decref((json_t *)nothing);
    }
    return net_call(n, s->any, next);
}

int32_t any_object_put(Schema *s, int32_t next) {
    json_t *nothing = json_object();
    const int32_t node = object_put(s, nothing, next);
    json_decref(nothing);
    return node;
}

/* ---- several schemas ------------------------------------------------------------------------- */

/* What "#/a/b" leads to; NULL: nothing. */
static const json_t *pointed(Schema *s, const char *ref) {
    const json_t *at = s->root;
    if (*ref++ != '#') return NULL;
    while (*ref == '/' && at) {
        Buf key = {.a = s->n->a};
        for (ref++; *ref && *ref != '/'; ref++) {
            const bool tilde = *ref == '~' && (ref[1] == '0' || ref[1] == '1');
            buf_add(&key, tilde ? (ref[1] == '0' ? STR("~") : STR("/")) : (Str){ref, 1});
            ref += tilde;
        }
        int64_t i;
        if (json_is_array(at))
            at = str_i64(buf_str(&key), &i) && i >= 0 ? json_array_get(at, (size_t)i) : NULL;
        else
            at = key.n ? json_object_getn(at, key.p, (size_t)key.n) : json_object_get(at, "");
    }
    return *ref ? NULL : at;
}

/* The rule of what a $ref leads to, which is compiled when all that is around it was. */
static int32_t ref_put(Schema *s, const char *ref, int32_t next) {
    const json_t *to = pointed(s, ref);
    if (!to) return schema_refuse(s, "$ref", "leads to nothing in this schema");
    for (int64_t i = 0; i < s->n_refs; i++)
        if (s->ref[i].to == to) return net_call(s->n, s->ref[i].rule, next);
    if (s->n_refs == NET_RULES) return schema_refuse(s, "$ref", "too many are used");
    s->ref[s->n_refs++] = (Ref){ref, to, net_rule(s->n)};
    return net_call(s->n, s->ref[s->n_refs - 1].rule, next);
}

/* The path of "#/a/b". */
static void ref_path(Schema *s, const char *ref) {
    path_cut(s, s->n_root);
    for (const char *p = ref + 1; *p == '/';) {
        char key[81];
        const size_t n = strcspn(++p, "/");
        snprintf(key, sizeof key, "%.*s", (int)MIN(n, 80), p);
        (void)path_add(s, ".", key);
        p += n;
    }
}

/* All types that values of the schema can have, for a reader who knows no more of it than it says.
 */
static int types_of(Schema *s, const json_t *schema, int depth) {
    const json_t *list = json_object_get(schema, "enum"), *one = json_object_get(schema, "const");
    const json_t *ref = json_object_get(schema, "$ref"), *any = json_object_get(schema, "anyOf");
    int types = 0;
    if (!any) any = json_object_get(schema, "oneOf");
    if (depth > SCHEMA_DEPTH || ++s->looks > LOOKS_MOST || !json_is_object(schema))
        return ALL_TYPES;
    if (json_is_string(ref)) {
        const json_t *to = pointed(s, json_string_value(ref));
        return to ? types_of(s, to, depth + 1) : ALL_TYPES;
    }
    if (one) return 1 << type_of(one);
    for (size_t i = 0; i < json_array_size(list); i++)
        types |= 1 << type_of(json_array_get(list, i));
    if (list) return types;
    for (size_t i = 0; i < json_array_size(any); i++)
        types |= types_of(s, json_array_get(any, i), depth + 1);
    if (any) return types;
    types = json_object_get(schema, "type") ? types_given(s, schema) : ALL_TYPES;
    return types < 0 ? ALL_TYPES : types;
}

static const json_t *unref(Schema *s, const json_t *schema) {
    for (int i = 0; i < SCHEMA_DEPTH; i++) {
        const json_t *ref = json_object_get(schema, "$ref");
        if (!json_is_string(ref)) break;
        schema = pointed(s, json_string_value(ref));
    }
    return schema;
}

static bool value_in(Schema *s, const json_t *v, const json_t *schema) {
    const json_t *one = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
    bool in = one && json_equal((json_t *)v, (json_t *)one);
    for (size_t i = 0; i < json_array_size(list) && !in; i++) /* unknown: as if it were in */
        in = ++s->looks > LOOKS_MOST || json_equal((json_t *)v, json_array_get(list, i)) != 0;
    return in;
}

/* Both allow known values only, and none in common. */
static bool values_differ(Schema *s, const json_t *a, const json_t *b) {
    const json_t *one = json_object_get(a, "const"), *list = json_object_get(a, "enum");
    if ((!one && !list) || (!json_object_get(b, "const") && !json_object_get(b, "enum")))
        return false;
    bool in = one && value_in(s, one, b);
    for (size_t i = 0; i < json_array_size(list); i++)
        in |= value_in(s, json_array_get(list, i), b);
    return !in;
}

static bool requires(const json_t *schema, const char *key) {
    const json_t *list = json_object_get(schema, "required");
    bool in = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        in |= name && !strcmp(name, key);
    }
    return in;
}

/* No value is one of both: by their types, their values, or a member that both must have. */
static bool disjoint(Schema *s, const json_t *a, const json_t *b) {
    const int numbers = 1 << T_INTEGER | 1 << T_NUMBER;
    int x = types_of(s, a, 0), y = types_of(s, b, 0);
    if (x & numbers) x |= numbers;
    if (y & numbers) y |= numbers;
    if ((x & y) == 0) return true;
    a = unref(s, a), b = unref(s, b);
    if (values_differ(s, a, b)) return true;
    if ((x & y) != 1 << T_OBJECT) return false;
    const char *key;
    json_t *v;
    const json_t *other = json_object_get(b, "properties");
    json_object_foreach(json_object_get(a, "properties"), key, v) {
        const json_t *w = json_object_get(other, key);
        if (w && requires(a, key) && requires(b, key) && values_differ(s, unref(s, v), unref(s, w)))
            return true;
    }
    return false;
}

static int32_t either_put(Schema *s, const json_t *schema, const char *key, int32_t next) {
    const char *const known[] = {key};
    const json_t *list = json_object_get(schema, key);
    const size_t n = json_array_size(list);
    if (n == 0) return schema_refuse(s, key, "must be a list of schemas");
    if (n > EITHER_MOST) return schema_refuse(s, key, "has more than 256 schemas");
    if (!keywords_check(s, schema, known, 1)) return NET_NONE;
    if (!strcmp(key, "allOf") && n > 1)
        return schema_refuse(s, key, "of more than one schema is not supported");
    for (size_t i = 0; i < n && !strcmp(key, "oneOf"); i++)
        for (size_t j = 0; j < i; j++)
            if (!disjoint(s, json_array_get(list, i), json_array_get(list, j)))
                return schema_refuse(
                    s, key,
                    "is supported where no value can be of two of its schemas: of "
                    "other types, or with a required property whose const differs");
    int32_t node = NET_NONE;
    for (size_t i = n; i > 0 && !refused(s); i--) {
        char number[24];
        snprintf(number, sizeof number, "%d", (int)i - 1);
        node = net_or(s->n, below(s, key, number, json_array_get(list, i - 1), next), node);
    }
    return node;
}

/* ---- a schema -------------------------------------------------------------------------------- */

/* The keywords that speak of each type. */
static const struct {
    int types;
    const char *key[8];
} typed[] = {
    {1 << T_OBJECT, {"properties", "required", "additionalProperties"}},
    {1 << T_ARRAY, {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}},
    {1 << T_STRING, {"minLength", "maxLength", "pattern", "format"}},
    {1 << T_NUMBER, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}}};

/* Without "type", the types that the keywords speak of; 0: there are none of those. */
static int types_meant(const json_t *schema) {
    int types = 0;
    for (int64_t i = 0; i < COUNT(typed); i++)
        for (int64_t k = 0; k < 8 && typed[i].key[k]; k++)
            if (json_object_get(schema, typed[i].key[k])) types |= typed[i].types;
    return types;
}

static int32_t type_put(Schema *s, const json_t *schema, int type, int32_t next) {
    switch ((Type)type) {
    case T_NULL: return net_text(s->n, STR("null"), next);
    case T_BOOLEAN:
        return net_or(s->n, net_text(s->n, STR("true"), next), net_text(s->n, STR("false"), next));
    case T_INTEGER:
    case T_NUMBER: return number_type_put(s, schema, type == T_INTEGER, next);
    case T_STRING: return string_put(s, schema, next);
    case T_ARRAY: return array_put(s, schema, next);
    default: return object_put(s, schema, next);
    }
}

static int32_t types_put(Schema *s, const json_t *schema, int32_t next) {
    const char *known[24] = {"type"};
    int64_t n = 1;
    for (int64_t i = 0; i < COUNT(typed); i++)
        for (int64_t k = 0; k < 8 && typed[i].key[k]; k++) known[n++] = typed[i].key[k];
    int types = types_given(s, schema);
    if (types < 0 || !keywords_check(s, schema, known, n)) return NET_NONE;
    if (types == 0) types = types_meant(schema);
    if (types == 0) return any_put(s, next);
    if (types >> T_NUMBER & 1) types &= ~(1 << T_INTEGER);
    int32_t node = NET_NONE;
    for (int i = 0; i < T_N && !refused(s); i++)
        if (types >> i & 1) node = net_or(s->n, type_put(s, schema, i, next), node);
    return node;
}

static int32_t schema_put(Schema *s, const json_t *schema, int32_t next) {
    static const char *const several[] = {"anyOf", "oneOf", "allOf"};
    int32_t node = NET_NONE;
    if (refused(s) || s->n->full) return NET_NONE;
    if (json_is_true(schema)) return any_put(s, next);
    if (!json_is_object(schema))
        return schema_refuse(s, "",
                             json_is_false(schema) ? "no value is allowed"
                                                   : "must be a schema: an object or true");
    if (++s->depth > SCHEMA_DEPTH) return schema_refuse(s, "", "too many schemas in schemas");
    const char *key = NULL;
    for (int64_t i = 0; i < COUNT(several) && !key; i++)
        if (json_object_get(schema, several[i])) key = several[i];
    const json_t *ref = json_object_get(schema, "$ref");
    static const char *const alone[] = {"$ref"};
    if (ref && !json_is_string(ref))
        node = schema_refuse(s, "$ref", "must be a text");
    else if (ref)
        node =
            keywords_check(s, schema, alone, 1) ? ref_put(s, json_string_value(ref), next) : node;
    else if (key)
        node = either_put(s, schema, key, next);
    else if (json_object_get(schema, "const") || json_object_get(schema, "enum"))
        node = values_put(s, schema, next);
    else
        node = types_put(s, schema, next);
    s->depth--;
    return node;
}

int32_t schema_compile(Schema *s, int32_t next) {
    const int32_t node = schema_put(s, s->root, next);
    for (int64_t i = 0; i < s->n_refs && !refused(s) && !s->n->full; i++) {
        ref_path(s, s->ref[i].name);
        const int32_t entry = schema_put(s, s->ref[i].to, NET_RETURN);
        s->n->rule[s->ref[i].rule] = entry;
    }
    return node;
}

void schema_init(Schema *s, Net *n, const json_t *root, const char *name, Writing w, Err *err) {
    *s = (Schema){.n = n, .root = root, .w = w, .any = -1, .plain = -1, .err = err};
    s->ref = PUSH(n->a, Ref, NET_RULES);
    (void)path_add(s, "", name);
    s->n_root = s->n_path;
}
