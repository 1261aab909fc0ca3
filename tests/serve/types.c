/* types.c -- tests of the types that answers are described by. Whether answers are of these types
 * is tried by tests/clients/schemas.py. */
#include "tests.h"
#include "serve/api.h"

static void must_be(const char *type, const char *schema) {
    json_t *is = type_schema(type), *want = json_loads(schema, 0, NULL);
    char *text = json_dumps(is, JSON_COMPACT);
    if (!json_equal(is, want)) fail_msg("%s is %s", type, text);
    free(text);
    json_decref(is);
    json_decref(want);
}

static void types_are_schemas(void **state) {
    (void)state;
    must_be("string", "{\"type\":\"string\"}");
    must_be("any", "{}");
    must_be("'a b'", "{\"const\":\"a b\"}");
    must_be("12", "{\"const\":12}");
    must_be("false", "{\"const\":false}");
    must_be("'a' | 'b'", "{\"enum\":[\"a\",\"b\"]}");
    must_be("'a' | null", "{\"anyOf\":[{\"const\":\"a\"},{\"type\":\"null\"}]}");
    must_be("[]", "{\"type\":\"array\",\"maxItems\":0}");
    must_be("Other[]", "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Other\"}}");
    must_be("(number | null)[][]",
            "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":"
            "\"number\"},{\"type\":\"null\"}]}}}");
    must_be("{a: integer;\n  b?: boolean}",
            "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"
            "\"boolean\"}},\"required\":[\"a\"],\"additionalProperties\":false}");
    must_be("{[name: string]: number}",
            "{\"type\":\"object\",\"properties\":{},\"required\":[],\"additionalProperties\":{"
            "\"type\":\"number\"}}");
}

/* Each "$ref" beneath v names a schema that is there. */
static void refs_check(const json_t *schemas, json_t *v) {
    static const char front[] = "#/components/schemas/";
    const char *key, *to = json_string_value(json_object_get(v, "$ref"));
    json_t *one;
    size_t i;
    if (to && !json_object_get(schemas, to + sizeof front - 1)) fail_msg("there is no %s", to);
    json_object_foreach(v, key, one) refs_check(schemas, one);
    json_array_foreach(v, i, one) refs_check(schemas, one);
}

static void names_are_there_once(void **state) {
    Arena *a = arena_open("types", ARENA_NO_LIMIT);
    Buf b = {.a = a};
    json_t *all = types_schemas();
    size_t n = 0;
    (void)state;
    types_describe(&b);
    for (Str text = buf_str(&b); text.n;) n += str_starts(str_cut(&text, '\n'), STR("type "));
    assert_true(n > 50 && n == json_object_size(all));
    refs_check(all, all);
    json_decref(all);
    arena_close(a);
}

int test_types(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_schemas),
        cmocka_unit_test(names_are_there_once),
    };
    return cmocka_run_group_tests_name("serve types", tests, NULL, NULL);
}
