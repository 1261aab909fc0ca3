/* types.c -- types of the API's answers, written as TypeScript writes types, become JSON Schema.
 *
 * The text of each type stands beside the code that writes it, so that both are changed together;
 * docs/api.md shows the texts as they are, and /openapi.json has their schemas. An object has the
 * members that its type names and no others. Of TypeScript there is what these texts need:
 *
 *   type NAME = TYPE;
 *   TYPE: alternatives with | of string, number, boolean, null, any, integer (a whole number),
 *         'word', 12, true, false, NAME, TYPE[], [] (an empty list), (TYPE) and
 *         {name: TYPE; name?: TYPE; [name: string]: TYPE}
 */
#include "serve/api.h"

static const char *const texts[] = {
    fault_types,   token_types,    lisao_types,  call_types,    chat_types,    text_types,
    message_types, response_types, verify_types, kept_types,    plain_types,   embeddings_types,
    history_types, cited_types,    run_types,    session_types, extract_types,
};

/* ---- words ----------------------------------------------------------------------------------- */

static bool word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void blanks_skip(Str *s) {
    while (s->n && char_in(*s->p, " \n")) s->p++, s->n--;
}

/* Takes the sign off the text, if it is what comes next. */
static bool take(Str *s, const char *sign) {
    const Str want = str_of(sign);
    blanks_skip(s);
    if (!str_starts(*s, want)) return false;
    s->p += want.n, s->n -= want.n;
    return true;
}

static void expect(Str *s, const char *sign) { CHECK(take(s, sign)); }

static Str word_take(Str *s) {
    blanks_skip(s);
    Str word = {s->p, 0};
    while (word.n < s->n && word_char(s->p[word.n])) word.n++;
    s->p += word.n, s->n -= word.n;
    CHECK(word.n);
    return word;
}

/* ---- types ----------------------------------------------------------------------------------- */

static json_t *type_read(Str *s);

/* Behind its "{". */
static json_t *object_read(Str *s) {
    json_t *members = json_object(), *required = json_array(), *others = json_false();
    while (!take(s, "}")) {
        if (take(s, "[")) {
            word_take(s), expect(s, ":"), word_take(s), expect(s, "]"), expect(s, ":");
            others = type_read(s);
        } else {
            const Str name = word_take(s);
            if (!take(s, "?")) json_array_append_new(required, json_of(name));
            expect(s, ":");
            json_object_setn_new(members, name.p, (size_t)name.n, type_read(s));
        }
        if (!take(s, ";")) {
            expect(s, "}");
            break;
        }
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "object", "properties", members, "required",
                     required, "additionalProperties", others);
}

static json_t *named_read(Str *s) {
    static const char *const plain[] = {"string", "number", "integer", "boolean", "null"};
    const Str word = word_take(s);
    int64_t number;
    if (str_eq(word, STR("any"))) return json_object();
    if (str_eq(word, STR("true"))) return json_pack("{s:b}", "const", 1);
    if (str_eq(word, STR("false"))) return json_pack("{s:b}", "const", 0);
    if (str_i64(word, &number)) return json_pack("{s:I}", "const", (json_int_t)number);
    for (int64_t i = 0; i < COUNT(plain); i++)
        if (str_eq(word, str_of(plain[i]))) return json_pack("{s:s}", "type", plain[i]);
    return json_pack("{s:o}", "$ref",
                     json_sprintf("#/components/schemas/%.*s", (int)word.n, word.p));
}

static json_t *one_read(Str *s) {
    if (take(s, "{")) return object_read(s);
    if (take(s, "'")) return json_pack("{s:o}", "const", json_of(str_cut(s, '\'')));
    if (take(s, "(")) {
        json_t *inner = type_read(s);
        expect(s, ")");
        return inner;
    }
    if (!take(s, "[")) return named_read(s);
    expect(s, "]");
    return json_pack("{s:s, s:i}", "type", "array", "maxItems", 0);
}

static json_t *list_read(Str *s) {
    json_t *type = one_read(s);
    while (take(s, "[]")) type = json_pack("{s:s, s:o}", "type", "array", "items", type);
    return type;
}

/* Alternatives that are all words are an enumeration. */
static json_t *alternatives_json(json_t *all) {
    json_t *words = json_array();
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *word = json_object_get(json_array_get(all, i), "const");
        if (json_is_string(word)) json_array_append(words, word);
    }
    const bool only = json_array_size(words) == json_array_size(all);
    json_t *type = json_pack("{s:O}", only ? "enum" : "anyOf", only ? words : all);
    json_decref(words);
    json_decref(all);
    return type;
}

static json_t *type_read(Str *s) {
    json_t *first = list_read(s);
    if (!take(s, "|")) return first;
    json_t *all = json_pack("[o]", first);
    do json_array_append_new(all, list_read(s));
    while (take(s, "|"));
    return alternatives_json(all);
}

json_t *type_schema(const char *type) {
    Str s = str_of(type);
    json_t *schema = type_read(&s);
    CHECK(s.n == 0);
    return schema;
}

json_t *types_schemas(void) {
    json_t *all = json_object();
    for (int64_t i = 0; i < COUNT(texts); i++)
        for (Str s = str_of(texts[i]); s.n > 0; blanks_skip(&s)) {
            expect(&s, "type");
            const Str name = word_take(&s);
            expect(&s, "=");
            json_object_setn_new(all, name.p, (size_t)name.n, type_read(&s));
            expect(&s, ";");
        }
    return all;
}

void types_describe(Buf *b) {
    for (int64_t i = 0; i < COUNT(texts); i++) buf_add(b, str_of(texts[i]));
}
