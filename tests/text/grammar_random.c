/* grammar_random.c -- random schemas: whatever is drawn of the tokens that a grammar allows ends by
 * itself and is a value of its schema, as a checker of our own sees it. On the way masks are
 * compared with all tokens one by one, and taking back with walking anew. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- schemas that are made ------------------------------------------------------------------- */

typedef struct Maker {
    uint64_t seed, at;
} Maker;

static int64_t pick(Maker *m, int64_t n) { return philox(m->seed, m->at++, 7).w[0] % n; }

static json_t *scalar(Maker *m) {
    static const char *const formats[] = {"email", "hostname", "ipv4",     "ipv6",
                                          "uuid",  "date",     "date-time"};
    static const char *const patterns[] = {"^[A-Z]{2}-\\d{4}$", "^(foo|ba[rz]+)?$", "x",
                                           "^[^a-z\"]{1,5}$", "^\\w+@\\w+$"};
    const int lo = (int)pick(m, 300) - 150, range = (int)pick(m, 400);
    switch (pick(m, 14)) {
    case 0: return json_pack("{s:s}", "type", "null");
    case 1: return json_pack("{s:s}", "type", "boolean");
    case 2: return json_pack("{s:s}", "type", "integer");
    case 3:
        return json_pack("{s:s, s:i, s:i}", "type", "integer", "minimum", lo, "maximum",
                         lo + range);
    case 4:
        return json_pack("{s:s, s:i, s:i}", "type", "integer", "multipleOf", 1 + (int)pick(m, 20),
                         "exclusiveMinimum", lo);
    case 5: return json_pack("{s:s}", "type", "number");
    case 6:
        return json_pack("{s:s, s:f, s:f}", "type", "number", "minimum", lo / 4.0,
                         "exclusiveMaximum", (lo + range) / 4.0 + 1);
    case 7: return json_pack("{s:s}", "type", "string");
    case 8:
        return json_pack("{s:s, s:i, s:i}", "type", "string", "minLength", (int)pick(m, 5),
                         "maxLength", 4 + (int)pick(m, 30));
    case 9:
        return json_pack("{s:s, s:s}", "type", "string", "format",
                         formats[pick(m, COUNT(formats))]);
    case 10:
        return json_pack("{s:s, s:s}", "type", "string", "pattern",
                         patterns[pick(m, COUNT(patterns))]);
    case 11: return json_pack("{s:[s, s, i, n, b]}", "enum", "red", "re\"d", lo, pick(m, 2));
    case 12: return json_pack("{s:{s:[i, n]}}", "const", "k", lo);
    default: return json_pack("{s:[s, s]}", "type", "string", "null");
    }
}

static json_t *schema_made(Maker *m, int depth);

static json_t *object_made(Maker *m, int depth) {
    json_t *p = json_object(), *required = json_array(),
           *o = json_pack("{s:s, s:o, s:o}", "type", "object", "properties", p, "required",
                          required);
    static const char *const names[] = {"a", "ab", "name", "\xc3\xa9t\xc3\xa9", "x y", "q\"", "id"};
    for (int64_t i = 0, n = pick(m, 5); i < n; i++) {
        const char *name = names[pick(m, COUNT(names))];
        if (json_object_get(p, name)) continue;
        json_object_set_new(p, name, schema_made(m, depth + 1));
        if (pick(m, 3)) json_array_append_new(required, json_string(name));
    }
    const int64_t more = pick(m, 4);
    if (more < 2) json_object_set_new(o, "additionalProperties", json_false());
    if (more == 2) json_object_set_new(o, "additionalProperties", scalar(m));
    return o;
}

static json_t *schema_made(Maker *m, int depth) {
    if (depth > 3) return scalar(m);
    json_t *o;
    switch (pick(m, 10)) {
    case 0:
    case 1:
    case 2: return object_made(m, depth);
    case 3:
        o = json_pack("{s:s, s:o, s:i}", "type", "array", "items", schema_made(m, depth + 1),
                      "minItems", (int)pick(m, 3));
        if (pick(m, 2)) json_object_set_new(o, "maxItems", json_integer(2 + pick(m, 4)));
        return o;
    case 4: return json_pack("{s:[o, o]}", "anyOf", schema_made(m, depth + 1), scalar(m));
    case 5: return json_pack("{s:s}", "$ref", "#/$defs/list");
    case 6:
        return json_pack("{s:s, s:[o, o], s:b}", "type", "array", "prefixItems", scalar(m),
                         schema_made(m, depth + 1), "items", 0);
    default: return scalar(m);
    }
}

static json_t *root_made(Maker *m) {
    json_t *o = schema_made(m, 0);
    json_object_set_new(o, "$defs",
                        json_pack("{s:{s:s, s:{s:o, s:{s:[{s:s}, {s:s}]}}, s:[s, s]}}", "list",
                                  "type", "object", "properties", "v", scalar(m), "next", "anyOf",
                                  "$ref", "#/$defs/list", "type", "null", "required", "v", "next"));
    return o;
}

/* ---- a checker ------------------------------------------------------------------------------- */

static int64_t length_of(const json_t *s) {
    int64_t n = 0;
    for (const char *p = json_string_value(s); *p; p++) n += (*p & 0xc0) != 0x80;
    return n;
}

static bool type_is(const json_t *v, const char *type) {
    return (!strcmp(type, "null") && json_is_null(v))
           || (!strcmp(type, "boolean") && json_is_boolean(v))
           || (!strcmp(type, "integer") && json_is_integer(v))
           || (!strcmp(type, "number") && json_is_number(v))
           || (!strcmp(type, "string") && json_is_string(v))
           || (!strcmp(type, "array") && json_is_array(v))
           || (!strcmp(type, "object") && json_is_object(v));
}

/* Patterns and formats are matched by PCRE2, which shares nothing with the grammars. */
static bool matches(const char *pattern, const json_t *v) {
    int code;
    size_t at;
    pcre2_code *re =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
    assert_non_null(re);
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(re, NULL);
    const bool is =
        pcre2_match(re, (PCRE2_SPTR)json_string_value(v), json_string_length(v), 0, 0, data, NULL)
        >= 0;
    pcre2_match_data_free(data), pcre2_code_free(re);
    return is;
}

static bool format_is(const char *format, const json_t *v) {
    static const struct {
        const char *name, *pattern;
    } formats[] = {
        {"email", "^[^@\"\\s]+@[^@\\s]+\\.[^@\\s]+$"},
        {"hostname",
         "^(?=.{1,253}$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*$"},
        {"ipv4", "^((25[0-5]|(2[0-4]|1\\d|[1-9]|)\\d)\\.?\\b){4}$"},
        {"ipv6", "^[0-9a-fA-F:]{2,39}$"},
        {"uuid", "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        {"date", "^\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])$"},
        {"date-time",
         "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[+-]\\d\\d:\\d\\d)$"}};
    for (int64_t i = 0; i < COUNT(formats); i++)
        if (!strcmp(formats[i].name, format)) return matches(formats[i].pattern, v);
    return false;
}

static bool fits(const json_t *root, const json_t *s, const json_t *v);

static bool number_fits(const json_t *s, const json_t *v) {
    const double x = json_number_value(v);
    const json_t *k;
    if ((k = json_object_get(s, "minimum")) && x < json_number_value(k)) return false;
    if ((k = json_object_get(s, "maximum")) && x > json_number_value(k)) return false;
    if ((k = json_object_get(s, "exclusiveMinimum")) && x <= json_number_value(k)) return false;
    if ((k = json_object_get(s, "exclusiveMaximum")) && x >= json_number_value(k)) return false;
    k = json_object_get(s, "multipleOf");
    return !k || json_integer_value(v) % json_integer_value(k) == 0;
}

static bool string_fits(const json_t *s, const json_t *v) {
    const json_t *lo = json_object_get(s, "minLength"), *hi = json_object_get(s, "maxLength");
    const json_t *pattern = json_object_get(s, "pattern"), *format = json_object_get(s, "format");
    if (lo && length_of(v) < json_integer_value(lo)) return false;
    if (hi && length_of(v) > json_integer_value(hi)) return false;
    if (pattern && !matches(json_string_value(pattern), v)) return false;
    return !format || format_is(json_string_value(format), v);
}

static bool array_fits(const json_t *root, const json_t *s, const json_t *v) {
    const json_t *lo = json_object_get(s, "minItems"), *hi = json_object_get(s, "maxItems"),
                 *prefix = json_object_get(s, "prefixItems"), *items = json_object_get(s, "items");
    const size_t n = json_array_size(v);
    if ((lo && (int64_t)n < json_integer_value(lo)) || (hi && (int64_t)n > json_integer_value(hi)))
        return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;
        if (json_is_false(one) || (one && !fits(root, one, json_array_get(v, i)))) return false;
    }
    return true;
}

static bool object_fits(const json_t *root, const json_t *s, const json_t *v) {
    const json_t *properties = json_object_get(s, "properties"),
                 *required = json_object_get(s, "required"),
                 *more = json_object_get(s, "additionalProperties");
    const char *key;
    json_t *one;
    for (size_t i = 0; i < json_array_size(required); i++)
        if (!json_object_get(v, json_string_value(json_array_get(required, i)))) return false;
    json_object_foreach((json_t *)v, key, one) {
        const json_t *known = json_object_get(properties, key);
        if (!known && json_is_false(more)) return false;
        if (!known) known = more;
        if (known && !fits(root, known, one)) return false;
    }
    return true;
}

static bool fits(const json_t *root, const json_t *s, const json_t *v) {
    const json_t *type = json_object_get(s, "type"), *any = json_object_get(s, "anyOf"),
                 *list = json_object_get(s, "enum"), *one = json_object_get(s, "const");
    bool in = !type || (json_is_string(type) && type_is(v, json_string_value(type)));
    if (json_object_get(s, "$ref"))
        return fits(root, json_object_get(json_object_get(root, "$defs"), "list"), v);
    for (size_t i = 0; i < json_array_size(type); i++)
        in |= type_is(v, json_string_value(json_array_get(type, i)));
    for (size_t i = 0; any && i < json_array_size(any); i++) {
        if (i == 0) in = false;
        in |= fits(root, json_array_get(any, i), v);
    }
    for (size_t i = 0; list && i < json_array_size(list); i++) {
        if (i == 0) in = false;
        in |= json_equal(json_array_get(list, i), (json_t *)v) != 0;
    }
    if (one) in = json_equal((json_t *)one, (json_t *)v) != 0;
    if (!in) return false;
    if (json_is_number(v)) return number_fits(s, v);
    if (json_is_string(v)) return string_fits(s, v);
    if (json_is_array(v)) return array_fits(root, s, v);
    return !json_is_object(v) || object_fits(root, s, v);
}

/* ---- answers that are drawn ------------------------------------------------------------------ */

typedef struct Drawing {
    Bench *b;
    Tokenizer *t;
    Lexicon *l;
    int64_t V, words;
    int32_t end;
    float *weight;               /* (V) of tokens; NULL: all alike */
    int32_t id[256];             /* of bytes */
    const struct Drawing *bytes; /* the same grammar over bytes */
    Grammar *byte_grammar;
} Drawing;

enum { WORDS = 64, LONGEST = 4000 };

static bool has(const uint64_t *bits, int32_t id) { return bits[id / 64] >> id % 64 & 1; }

static int32_t token_drawn(const Drawing *d, const uint64_t *bits, float unit) {
    double sum = 0;
    int32_t last = -1;
    for (int pass = 0; pass < 2; pass++) {
        double left = sum * (double)unit;
        for (int32_t id = 0; id < d->V; id++) {
            if (!has(bits, id)) continue;
            const double w = d->weight ? (double)d->weight[id] : 1;
            last = id;
            if (pass == 0)
                sum += w;
            else if ((left -= w) < 0)
                return id;
        }
    }
    return last;
}

/* A mask against each token by itself: it may come if its bytes may, one after the other, in the
 * same grammar over tokens that are bytes. */
static void mask_against_bytes(Drawing *d, Str before, const uint64_t *bits) {
    const Drawing *y = d->bytes;
    Constraint c;
    grammar_constraint(&c, d->b->out, d->byte_grammar, false);
    for (int64_t i = 0; i < before.n; i++) (void)c.accept(c.self, y->id[(uint8_t)before.p[i]]);
    for (int32_t id = 0; id < d->V; id++) {
        const Str s = token_bytes(d->t, id);
        if (s.n == 0 || token_is_special(d->t, id)) continue;
        int64_t n = 0;
        for (; n < s.n; n++) {
            uint64_t byte[WORDS] = {0};
            (void)c.mask(c.self, byte, y->V);
            if (!has(byte, y->id[(uint8_t)s.p[n]])) break;
            (void)c.accept(c.self, y->id[(uint8_t)s.p[n]]);
        }
        c.rollback(c.self, n);
        if (has(bits, id) != (n == s.n))
            fail_msg("'%.*s' then '%.*s': the mask says %d", STRF(before), STRF(s), has(bits, id));
    }
}

/* Draws an answer; false: it did not end. */
static bool answer_drawn(Drawing *d, Grammar *g, uint64_t seed, Buf *text) {
    Constraint c, again;
    Ids ids = {.a = d->b->out};
    bool more = true;
    grammar_constraint(&c, d->b->out, g, false);
    for (int64_t i = 0; more && i < LONGEST; i++) {
        const Philox p = philox(seed, (uint64_t)i, 1);
        uint64_t bits[WORDS] = {0}, other[WORDS] = {0};
        int32_t forced[4];
        if (p.w[1] % 64 == 0) { /* guesses, and back */
            int64_t n = 0;
            for (; n < 3; n++) {
                uint64_t guess[WORDS] = {0};
                (void)c.mask(c.self, guess, d->V);
                if (!c.accept(c.self, token_drawn(d, guess, philox_unit(p.w[2])))) {
                    n++;
                    break;
                }
            }
            c.rollback(c.self, n);
            grammar_constraint(&again, d->b->out, g, false);
            for (int64_t k = 0; k < ids.n; k++) (void)again.accept(again.self, ids.v[k]);
            (void)again.mask(again.self, other, d->V);
        }
        assert_true(c.mask(c.self, bits, d->V));
        if (p.w[1] % 64 == 0) assert_memory_equal(bits, other, sizeof bits);
        if (d->bytes && p.w[1] % 128 == 1) mask_against_bytes(d, buf_str(text), bits);
        const int64_t n = c.forced(c.self, forced, 4);
        const int32_t id = token_drawn(d, bits, philox_unit(p.w[0]));
        if (id < 0) fail_msg("nothing may come behind '%.*s'", STRF(buf_str(text)));
        for (int64_t k = 0; k < n; k++) { /* what is forced is the only token of its mask */
            uint64_t only[WORDS] = {0}, wanted[WORDS] = {0};
            wanted[forced[k] / 64] = (uint64_t)1 << forced[k] % 64;
            (void)c.mask(c.self, only, d->V);
            assert_memory_equal(only, wanted, sizeof only);
            (void)c.accept(c.self, forced[k]);
        }
        c.rollback(c.self, n);
        more = c.accept(c.self, id);
        assert_true(ids_add(&ids, id));
        if (more) buf_add(text, token_bytes(d->t, id));
    }
    return !more;
}

static void drawing_made(Drawing *d, Bench *b, Tokenizer *t, const char *end) {
    *d = (Drawing){.b = b, .t = t, .V = tokenizer_size(t), .end = token_named(t, str_of(end))};
    d->words = (d->V + 63) / 64;
    assert_true(d->words <= WORDS && d->end >= 0);
    for (int32_t id = 0; id < d->V; id++)
        if (token_bytes(t, id).n == 1) d->id[(uint8_t)token_bytes(t, id).p[0]] = id;
    if (!lexicon_new(&d->l, b->keep, t, d->V, &d->end, 1, &b->err)) fail_msg("%s", b->err.msg);
}

static void schemas_hold(Drawing *d, uint64_t from, int64_t schemas, float *weight) {
    int64_t ended = 0, drawn = 0;
    for (int64_t i = 0; i < schemas; i++) {
        Maker m = {from + (uint64_t)i, 0};
        json_t *schema = root_made(&m);
        const Mark keep = arena_mark(d->b->keep), out = arena_mark(d->b->out);
        char *source = json_dumps(schema, JSON_COMPACT);
        const GrammarSpec spec = {.kind = GRAMMAR_SCHEMA,
                                  .text = str_copy(d->b->keep, str_of(source))};
        free(source);
        Grammar *g;
        Err err = {0};
        if (!grammar_new(&g, d->b->keep, d->l, &spec, &err))
            fail_msg("%.*s: %s", STRF(spec.text), err.msg);
        if (d->bytes && !grammar_new(&d->byte_grammar, d->b->keep, d->bytes->l, &spec, &err))
            fail_msg("%s", err.msg);
        for (uint64_t k = 0; k < 4; k++, drawn++) {
            Buf text = {.a = d->b->out};
            d->weight = k % 2 || d->bytes ? weight : NULL;
            if (!answer_drawn(d, g, 100 * from + 4 * (uint64_t)i + k, &text)) continue;
            ended++;
            json_error_t why;
            json_t *v = json_loadb(text.p, (size_t)text.n, JSON_DECODE_ANY, &why);
            if (!v) fail_msg("%.*s: '%.*s': %s", STRF(spec.text), STRF(buf_str(&text)), why.text);
            if (!fits(schema, schema, v))
                fail_msg("%.*s does not allow '%.*s'", STRF(spec.text), STRF(buf_str(&text)));
            json_decref(v);
        }
        json_decref(schema);
        arena_pop(d->b->keep, keep), arena_pop(d->b->out, out);
    }
    print_message("%d of %d answers ended\n", (int)ended, (int)drawn);
    assert_true(100 * ended >= 95 * drawn);
}

static float *weights_made(Bench *b, int64_t V) {
    float *w = PUSH(b->keep, float, V);
    for (int64_t i = 0; i < V; i++) {
        const float u = philox_unit(philox(5, (uint64_t)i, 2).w[0]);
        w[i] = 0.02f + u * u * u * u;
    }
    return w;
}

static void drawn_bytes_fit_random_schemas(void **state) {
    Bench *b = *state;
    Drawing d;
    Tokenizer *t = tokenizer_fine(b, byte_tokenizer_json(b->keep));
    drawing_made(&d, b, t, "<|end|>");
    schemas_hold(&d, 1000, full_run() ? 1000 : 60, weights_made(b, d.V));
    tokenizer_close(t);
}

/* Tokens of several bytes, of which a mask takes many at once. */
static void drawn_tokens_fit_random_schemas(void **state) {
    Bench *b = *state;
    Drawing d, bytes;
    Tokenizer *t = tokenizer_fine(b, file_read(b, "recipes/tokenizer-4k.json"));
    Tokenizer *y = tokenizer_fine(b, byte_tokenizer_json(b->keep));
    drawing_made(&bytes, b, y, "<|end|>");
    drawing_made(&d, b, t, "<|endoftext|>");
    d.bytes = &bytes;
    float *weight = weights_made(b, d.V);
    for (int32_t id = 0; id < d.V; id++) /* few of 4,096 tokens end a text */
        if (token_bytes(t, id).n && memchr(token_bytes(t, id).p, '"', (size_t)token_bytes(t, id).n))
            weight[id] = 9;
    schemas_hold(&d, 5000, full_run() ? 300 : 25, weight);
    tokenizer_close(t), tokenizer_close(y);
}

int random_grammar_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(drawn_bytes_fit_random_schemas),
                                       TEXT_TEST(drawn_tokens_fit_random_schemas)};
    return cmocka_run_group_tests_name("random grammars", tests, NULL, NULL);
}
