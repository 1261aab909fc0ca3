/* grammar.c -- what grammars allow: per keyword on texts, byte by byte; masks against all tokens,
 * one by one; taking back against walking anew; what is refused, and where. */
#include "tests.h"

#include <stdio.h>

/* A grammar over the byte tokenizer, in which each byte is a token. */
typedef struct Bytes {
    Bench *b;
    Tokenizer *t;
    Lexicon *l;
    int32_t id[256], end[2];
    int64_t V;
} Bytes;

static void bytes_made(Bytes *y, Bench *b) {
    *y = (Bytes){.b = b, .t = tokenizer_fine(b, byte_tokenizer_json(b->keep))};
    y->V = tokenizer_size(y->t);
    for (int32_t i = 0; i < y->V; i++)
        if (token_bytes(y->t, i).n == 1) y->id[(uint8_t)token_bytes(y->t, i).p[0]] = i;
    y->end[0] = token_named(y->t, STR("<|end|>"));
    y->end[1] = token_named(y->t, STR("<|endoftext|>"));
    if (!lexicon_new(&y->l, b->keep, y->t, y->V, y->end, 2, &b->err)) fail_msg("%s", b->err.msg);
}

static Grammar *grammar_made(Bytes *y, const GrammarSpec *spec) {
    Grammar *g;
    Err err = {0};
    if (!grammar_new(&g, y->b->keep, y->l, spec, &err))
        fail_msg("%.*s: %s", STRF(spec->text), err.msg);
    return g;
}

static bool has(const uint64_t *bits, int32_t id) { return bits[id / 64] >> id % 64 & 1; }

/* How many bytes of the text may come; -1: all, and it may end there. */
static int64_t reached(Bytes *y, Grammar *g, Str text, bool in_thought) {
    Constraint c;
    grammar_constraint(&c, y->b->out, g, in_thought);
    for (int64_t i = 0; i <= text.n; i++) {
        uint64_t bits[8] = {0};
        assert_true(c.mask(c.self, bits, y->V));
        if (i == text.n) return has(bits, y->end[0]) ? -1 : i;
        const int32_t id = y->id[(uint8_t)text.p[i]];
        if (!has(bits, id)) return i;
        assert_true(c.accept(c.self, id));
    }
    return 0;
}

static void accepts(Bytes *y, Grammar *g, Str what, Str text) {
    const int64_t at = reached(y, g, text, false);
    if (at >= 0) fail_msg("%.*s refuses '%.*s' at byte %d", STRF(what), STRF(text), (int)at);
}

static void refuses(Bytes *y, Grammar *g, Str what, Str text) {
    if (reached(y, g, text, false) < 0) fail_msg("%.*s accepts '%.*s'", STRF(what), STRF(text));
}

/* ---- keywords -------------------------------------------------------------------------------- */

static const struct {
    const char *schema, *good[8], *bad[8];
} cases[] = {
    {"true",
     {"null", "-12.5e3", "\"\xc3\xa9\\u00e9\\ud83d\\ude00\"", "[1, 2,[]]", "{\"a\": {\"b\":false}}",
      "0", "[]", "1e99"},
     {"nul", "01", "\"\\ud83d\"", "[1,]", "{\"a\"}", " 1", "\"\\u0000\"", "1e100"}},
    {"{\"type\":\"null\"}", {"null"}, {"0", "nul", "nulll"}},
    {"{\"type\":\"boolean\"}", {"true", "false"}, {"1", "TRUE", "tru"}},
    {"{\"type\":[\"boolean\",\"null\"]}", {"true", "null"}, {"0", "\"\""}},
    {"{\"type\":\"integer\"}",
     {"0", "-7", "123456789012345678"},
     {"-0", "01", "1.0", "1e3", "1234567890123456789", "-", "+1"}},
    {"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":12}",
     {"-5", "0", "9", "10", "12", "-1"},
     {"-6", "13", "100", "-10", "20"}},
    {"{\"type\":\"integer\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1000}",
     {"1", "999", "10"},
     {"0", "1000", "-1"}},
    {"{\"type\":\"integer\",\"minimum\":187,\"maximum\":1203}",
     {"187", "200", "999", "1000", "1203", "1199"},
     {"186", "18", "1204", "99", "1300", "2000"}},
    {"{\"type\":\"integer\",\"maximum\":-3}", {"-3", "-10", "-4"}, {"-2", "0", "3"}},
    {"{\"type\":\"integer\",\"multipleOf\":7}",
     {"0", "7", "-14", "700", "49"},
     {"1", "8", "71", "-1"}},
    {"{\"type\":\"integer\",\"multipleOf\":25,\"minimum\":30,\"maximum\":101}",
     {"50", "75", "100"},
     {"25", "30", "125", "101"}},
    {"{\"type\":\"number\"}", {"0", "-0.5", "1.25e-7", "12E+10"}, {".5", "1.", "1e", "--1", "00"}},
    {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
     {"0", "1", "0.5", "0.0", "1.0", "0.999"},
     {"1.1", "2", "-0.1", "1.01", "1e0"}},
    {"{\"type\":\"number\",\"exclusiveMinimum\":0.25,\"exclusiveMaximum\":2.5}",
     {"0.251", "1", "2.49", "0.3", "2", "2.4"},
     {"0.25", "0.2", "2.5", "2.50", "0", "3", "0.250"}},
    {"{\"type\":\"number\",\"minimum\":-1.5,\"maximum\":-0.25}",
     {"-1.5", "-1", "-0.25", "-0.3"},
     {"-0.2", "-1.51", "-2", "0", "1"}},
    {"{\"type\":\"string\"}",
     {"\"\"", "\"a b\"", "\"\\n\\\"\"", "\"\xe6\x80\x9d\""},
     {"\"", "\"\n\"", "\"\\x\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "'a'"}},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
     {"\"ab\"", "\"abc\"", "\"\xe6\x80\x9d\xe6\x80\x9d\"", "\"\\n\\n\"", "\"\\ud83d\\ude00x\""},
     {"\"a\"", "\"abcd\"", "\"\"", "\"\xe6\x80\x9d\"", "\"\\ud83d\\ude00\""}},
    {"{\"type\":\"string\",\"maxLength\":0}", {"\"\""}, {"\"a\""}},
    {"{\"type\":\"string\",\"pattern\":\"^[a-c]+[0-9]{2,3}$\"}",
     {"\"a12\"", "\"abc123\""},
     {"\"12\"", "\"a1\"", "\"a1234\"", "\"d12\"", "\"a12 \""}},
    {"{\"type\":\"string\",\"pattern\":\"b\"}",
     {"\"b\"", "\"abc\"", "\"bbb\""},
     {"\"\"", "\"ac\""}},
    {"{\"type\":\"string\",\"pattern\":\"^(\\\"|\\\\\\\\|\\\\n)$\"}",
     {"\"\\\"\"", "\"\\\\\"", "\"\\n\""},
     {"\"\"", "\"n\""}},
    {"{\"type\":\"string\",\"pattern\":\"^\\\\d{3}$\",\"minLength\":2,\"maxLength\":3}",
     {"\"123\""},
     {"\"12\""}},
    {"{\"type\":\"string\",\"format\":\"date\"}",
     {"\"2024-02-29\"", "\"1999-12-31\"", "\"2000-02-29\""},
     {"\"2023-02-29\"", "\"1900-02-29\"", "\"2023-13-01\"", "\"2023-04-31\"", "\"23-1-1\""}},
    {"{\"type\":\"string\",\"format\":\"date-time\"}",
     {"\"2024-01-02T03:04:05Z\"", "\"2024-01-02T23:59:59.25+01:00\""},
     {"\"2024-01-02\"", "\"2024-01-02T24:00:00Z\"", "\"2024-01-02T03:04:05\""}},
    {"{\"type\":\"string\",\"format\":\"uuid\"}",
     {"\"123e4567-e89b-12d3-a456-426614174000\""},
     {"\"123e4567-e89b-12d3-a456-42661417400\"", "\"x\""}},
    {"{\"type\":\"string\",\"format\":\"ipv4\"}",
     {"\"127.0.0.1\"", "\"255.255.255.255\""},
     {"\"256.1.1.1\"", "\"1.1.1\"", "\"01.1.1.1\""}},
    {"{\"type\":\"string\",\"format\":\"ipv6\"}",
     {"\"::1\"", "\"::\"", "\"fe80::1:2\"", "\"1:2:3:4:5:6:7:8\""},
     {"\"1:2:3\"", "\":::\"", "\"1::2::3\""}},
    {"{\"type\":\"string\",\"format\":\"email\"}",
     {"\"a.b@c.org\""},
     {"\"a\"", "\"@c.org\"", "\"a@\""}},
    {"{\"type\":\"string\",\"format\":\"hostname\"}",
     {"\"www.example.org\""},
     {"\"-a.b\"", "\"a..b\""}},
    {"{\"const\":{\"a\":[1,null,\"\\\"x\"]}}",
     {"{\"a\":[1,null,\"\\\"x\"]}"},
     {"{\"a\":[1,null]}", "{}"}},
    {"{\"enum\":[\"red\",\"green\",\"re\",3,null,\"gr\xc3\xbc\x6e\"]}",
     {"\"red\"", "\"green\"", "\"re\"", "3", "null", "\"gr\xc3\xbc\x6e\""},
     {"\"r\"", "\"gree\"", "4", "\"gr\xc3\xbcn", "red"}},
    {"{\"type\":\"string\",\"enum\":[\"a\",1]}", {"\"a\""}, {"1"}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}",
     {"[]", "[1]", "[1,2, 3]"},
     {"[1,]", "[,1]", "[\"a\"]", "[1  ,2]", "[ 1]", "[1 ]", "[1,  2]"}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":2,\"maxItems\":3}",
     {"[null,null]", "[null,null,null]"},
     {"[]", "[null]", "[null,null,null,null]"}},
    {"{\"type\":\"array\",\"minItems\":1}", {"[1]", "[[],{}]"}, {"[]"}},
    {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
    {"{\"prefixItems\":[{\"type\":\"null\"},{\"type\":\"boolean\"}],\"items\":false}",
     {"[]", "[null]", "[null,true]"},
     {"[true]", "[null,null]", "[null,true,1]"}},
    {"{\"prefixItems\":[{\"type\":\"null\"}],\"items\":{\"const\":1},\"minItems\":2}",
     {"[null,1]", "[null,1,1]"},
     {"[null]", "[null,null]", "[1,1]"}},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"}},"
     "\"required\":[\"a\",\"b\"],\"additionalProperties\":false}",
     {"{\"a\":1,\"b\":null}", "{\"a\": -1, \"b\": null}"},
     {"{}", "{\"a\":1}", "{\"b\":null,\"a\":1}", "{\"a\":1,\"b\":null,}", "{\"a\":1 ,\"b\":null}",
      "{\"a\" :1,\"b\":null}"}},
    {"{\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2},\"c\":{\"const\":3}},\"required\":["
     "\"b\"]}",
     {"{\"b\":2}", "{\"a\":1,\"b\":2}", "{\"b\":2,\"c\":3}", "{\"a\":1,\"b\":2,\"c\":3}"},
     {"{}", "{\"a\":1}", "{\"c\":3}", "{,\"b\":2}", "{\"b\":2,\"x\":1}"}},
    {"{\"type\":\"object\",\"properties\":{}}", {"{}"}, {"{\"a\":1}"}},
    {"{\"type\":\"object\"}", {"{}", "{\"\":1}", "{\"x\\n\":[{}]}"}, {"[]", "{\"a\":}"}},
    {"{\"properties\":{\"ab\":{\"const\":1},\"\xc3\xa9\":{\"const\":2}},\"additionalProperties\":{"
     "\"const\":0}}",
     {"{}", "{\"ab\":1,\"x\":0}", "{\"a\":0,\"abc\":0}", "{\"\xc3\xa9\":2}", "{\"\xc3\xa8\":0}",
      "{\"ab\":1,\"\xc3\xa9\":2,\"b\":0}"},
     {"{\"ab\":0}", "{\"x\":0,\"ab\":1}", "{\"\xc3\xa9\":0}", "{\"x\":1}", "{\"\\u0061b\":0}"}},
    {"{\"required\":[\"z\"],\"additionalProperties\":{\"const\":0}}",
     {"{\"z\":0}", "{\"z\":0,\"y\":0}"},
     {"{}", "{\"y\":0}"}},
    {"{\"anyOf\":[{\"type\":\"string\",\"maxLength\":1},{\"type\":\"integer\"},{\"const\":\"abc\"}]"
     "}",
     {"\"a\"", "12", "\"abc\""},
     {"\"ab\"", "null"}},
    {"{\"anyOf\":[{\"properties\":{\"k\":{\"const\":\"a\"},\"x\":{\"const\":1}},\"required\":["
     "\"k\",\"x\"]},"
     "{\"properties\":{\"k\":{\"const\":\"b\"},\"y\":{\"const\":2}},\"required\":[\"k\",\"y\"]}]}",
     {"{\"k\":\"a\",\"x\":1}", "{\"k\":\"b\",\"y\":2}"},
     {"{\"k\":\"a\",\"y\":2}", "{\"k\":\"b\",\"x\":1}"}},
    {"{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", {"\"\"", "null"}, {"1"}},
    {"{\"allOf\":[{\"type\":\"null\"}],\"description\":\"x\"}", {"null"}, {"1"}},
    {"{\"$ref\":\"#/$defs/"
     "n\",\"$defs\":{\"n\":{\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":"
     "{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}}}",
     {"{\"v\":1,\"next\":null}", "{\"v\":1,\"next\":{\"v\":2,\"next\":null}}"},
     {"{\"v\":1}", "{\"v\":1,\"next\":{\"v\":2}}"}},
    {"{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", {"[]", "[[],[[]]]"}, {"[1]", "[[]"}},
    {"{\"properties\":{\"a/b\":{\"$ref\":\"#/definitions/x~1y\"}},\"required\":[\"a/b\"],"
     "\"definitions\":{\"x/y\":{\"const\":7}}}",
     {"{\"a/b\":7}"},
     {"{\"a/b\":8}"}},
};

static void keywords_mean_what_they_say(void **state) {
    Bytes y;
    bytes_made(&y, *state);
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const Str schema = str_of(cases[i].schema);
        const Mark mark = arena_mark(y.b->keep);
        Grammar *g = grammar_made(&y, &(GrammarSpec){.kind = GRAMMAR_SCHEMA, .text = schema});
        for (int k = 0; k < 8 && cases[i].good[k]; k++)
            accepts(&y, g, schema, str_of(cases[i].good[k]));
        for (int k = 0; k < 8 && cases[i].bad[k]; k++)
            refuses(&y, g, schema, str_of(cases[i].bad[k]));
        arena_pop(y.b->keep, mark);
    }
    tokenizer_close(y.t);
}

static void the_rest_is_refused_by_its_path(void **state) {
    static const struct {
        const char *schema, *message;
    } refused[] = {
        {"{\"type\":\"object\",\"properties\":{\"age\":{\"type\":\"number\",\"multipleOf\":0.1}}}",
         "schema.properties.age.multipleOf: "},
        {"{\"not\":{}}", "schema.not: "},
        {"{\"properties\":{\"a\":{\"items\":{\"if\":true}}}}", "schema.properties.a.items.if: "},
        {"{\"patternProperties\":{}}", "schema.patternProperties: "},
        {"{\"minProperties\":1}", "schema.minProperties: "},
        {"{\"type\":\"array\",\"uniqueItems\":true}", "schema.uniqueItems: "},
        {"{\"type\":\"array\",\"items\":[true]}", "schema.items: "},
        {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", "schema.maxItems: "},
        {"{\"type\":\"array\",\"minItems\":100000}", "schema.minItems: "},
        {"{\"type\":\"text\"}", "schema.type: "},
        {"{\"type\":\"string\",\"format\":\"uri\"}", "schema.format: "},
        {"{\"type\":\"string\",\"pattern\":\"(?=a)\"}", "schema.pattern: "},
        {"{\"type\":\"string\",\"pattern\":\"^a*$\",\"maxLength\":3}", "schema.pattern: "},
        {"{\"allOf\":[true,true]}", "schema.allOf: "},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "schema.oneOf: "},
        {"{\"anyOf\":[{\"type\":\"string\"},{\"minItems\":-1}]}", "schema.anyOf.1.minItems: "},
        {"{\"anyOf\":[true],\"type\":\"string\"}", "schema.type: "},
        {"{\"enum\":[]}", "schema.enum: "},
        {"{\"enum\":[1],\"minimum\":3}", "schema.minimum: "},
        {"{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"type\":\"array\",\"contains\":1}}}",
         "schema.$defs.a.contains: "},
        {"{\"$ref\":\"http://x/y\"}", "schema.$ref: "},
        {"{\"$ref\":\"#/nothing\"}", "schema.$ref: "},
        {"{\"$ref\":\"#\"}", "schema: "},
        {"{\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "schema: nothing"},
        {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", "schema: a $ref leads to itself"},
        {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "schema: no number"},
        {"{\"required\":[\"a\"],\"additionalProperties\":false}", "schema.required: "},
        {"false", "schema: "},
        {"3", "schema: "},
        {"{\"a\":1,\"a\":2}", "schema: line 1: "},
        {"{", "schema: line 1: "},
        {"", "schema: "}};
    Bytes y;
    bytes_made(&y, *state);
    for (int64_t i = 0; i < COUNT(refused); i++) {
        Grammar *g;
        Err err = {0};
        const int64_t used = arena_used(y.b->keep);
        const GrammarSpec spec = {.kind = GRAMMAR_SCHEMA, .text = str_of(refused[i].schema)};
        if (grammar_new(&g, y.b->keep, y.l, &spec, &err))
            fail_msg("%s is taken", refused[i].schema);
        if (!str_starts(str_of(err.msg), str_of(refused[i].message)))
            fail_msg("%s: \"%s\", expected \"%s\"", refused[i].schema, err.msg, refused[i].message);
        assert_int_equal(used, arena_used(y.b->keep));
    }
    tokenizer_close(y.t);
}

/* ---- expressions ----------------------------------------------------------------------------- */

static void expressions_match_whole_texts(void **state) {
    static const struct {
        const char *regex, *good[5], *bad[5];
    } texts[] = {
        {"abc", {"abc"}, {"ab", "abcd", "xabc", ""}},
        {"a|bc|", {"a", "bc", ""}, {"b", "abc"}},
        {"^(yes|no)$", {"yes", "no"}, {"yesno", ""}},
        {"(?:ab)+c?", {"ab", "ababc"}, {"c", "aba", ""}},
        {"[a-c\\d_-]{2,4}", {"a1", "_-b2"}, {"a", "abcab", "d1"}},
        {"[^a-z]*", {"", "AB\n", "\xc3\xa9\xe6\x80\x9d"}, {"a", "Aa", "\xc3"}},
        {"[\xc3\xa0-\xc3\xb6]+", {"\xc3\xa9"}, {"e", "\xc3\xb8"}},
        {"a{3}", {"aaa"}, {"aa", "aaaa"}},
        {"a{2,}", {"aa", "aaaaaa"}, {"a"}},
        {"a.c",
         {"abc", "a\xe6\x80\x9d"
                 "c"},
         {"a\nc", "ac"}},
        {"\\x41\\u00e9\\n\\.", {"A\xc3\xa9\n."}, {"A"}},
        {"\\w+\\s\\W", {"ab_1 !"}, {"ab", "- !"}},
        {"(a*)*b", {"b", "aaab"}, {"a"}},
        {"((a?){3}){2}", {"", "aaa", "aaaaaa"}, {"aaaaaaa"}},
        {"a*?b", {"aab"}, {"aa"}},
    };
    static const char *const refused[] = {"(",        "a)",
                                          "[a",       "[]",
                                          "*",        "a**",
                                          "a{2",      "a{3,2}",
                                          "a{99999}", "\\b",
                                          "\\p{L}",   "(?=a)",
                                          "(?<n>a)",  "a^b",
                                          "a$b",      "\\",
                                          "\\1",      "[b-a]",
                                          "\\xZZ",    "\\ud800",
                                          "[[]",      "((a{1000}){1000}){10}"};
    Bytes y;
    bytes_made(&y, *state);
    for (int64_t i = 0; i < COUNT(texts); i++) {
        const Str regex = str_of(texts[i].regex);
        Grammar *g = grammar_made(&y, &(GrammarSpec){.kind = GRAMMAR_REGEX, .text = regex});
        for (int k = 0; k < 5 && texts[i].good[k]; k++)
            accepts(&y, g, regex, str_of(texts[i].good[k]));
        for (int k = 0; k < 5 && texts[i].bad[k]; k++)
            refuses(&y, g, regex, str_of(texts[i].bad[k]));
    }
    for (int64_t i = 0; i < COUNT(refused); i++) {
        Grammar *g;
        Err err = {0};
        const GrammarSpec spec = {.kind = GRAMMAR_REGEX, .text = str_of(refused[i])};
        if (grammar_new(&g, y.b->keep, y.l, &spec, &err)) fail_msg("%s is taken", refused[i]);
        assert_true(err.msg[0] != 0);
    }
    tokenizer_close(y.t);
}

/* What takes others exponential time or all memory: here it is refused, or walked as anything else.
 */
static void hostile_forms_take_no_time(void **state) {
    Bytes y;
    bytes_made(&y, *state);
    Buf deep = {.a = y.b->keep}, as = {.a = y.b->keep}, bomb = {.a = y.b->keep};
    for (int i = 0; i < 3000; i++) buf_fmt(&deep, "{\"items\":");
    for (int i = 0; i < 2000; i++) buf_fmt(&as, "a");
    buf_fmt(&bomb, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 40; i++) /* 2^40 values if it were written out */
        buf_fmt(&bomb,
                "\"d%d\":{\"properties\":{\"a\":{\"$ref\":\"#/$defs/d%d\"},\"b\":{\"$ref\":\"#/"
                "$defs/d%d\"}}},",
                i, i + 1, i + 1);
    buf_fmt(&bomb, "\"d40\":{\"type\":\"null\"}}}");
    Grammar *g = grammar_made(&y, &(GrammarSpec){.kind = GRAMMAR_REGEX, .text = STR("(a+)+b")});
    assert_int_equal(reached(&y, g, buf_str(&as), false), 2000);
    g = grammar_made(
        &y, &(GrammarSpec){.kind = GRAMMAR_REGEX, .text = STR("(a|a)*(a|aa)*((a?){20}){20}b")});
    assert_int_equal(reached(&y, g, buf_str(&as), false), 2000);
    g = grammar_made(&y, &(GrammarSpec){.text = buf_str(&bomb)});
    accepts(&y, g, STR("bomb"), STR("{\"a\":{\"b\":{}}}"));
    Err err = {0};
    assert_false(grammar_new(&g, y.b->keep, y.l, &(GrammarSpec){.text = buf_str(&deep)}, &err));
    err = (Err){0};
    const GrammarSpec huge = {
        .text = STR(
            "{\"items\":{\"type\":\"string\",\"minLength\":8000},\"minItems\":1,\"anyOf\":[]}")};
    assert_false(grammar_new(&g, y.b->keep, y.l, &huge, &err));
    static const char *const empties[] = {"((){10000}){10000}", "(((\\ud7ff|){2}){10000}){10000}",
                                          "(([^\\x00-\\U]{2}){10000}){10000}"};
    for (int64_t i = 0; i < COUNT(empties); i++) {
        err = (Err){0};
        const GrammarSpec spec = {.kind = GRAMMAR_REGEX, .text = str_of(empties[i])};
        assert_true(grammar_new(&g, y.b->keep, y.l, &spec, &err) || err.msg[0]);
    }
    /* types that double with every step; a name as long as the schema */
    Buf types = {.a = y.b->keep}, name = {.a = y.b->keep};
    buf_fmt(&types, "{\"oneOf\":[{\"$ref\":\"#/$defs/t0\"},{\"$ref\":\"#/$defs/t0\"}],\"$defs\":{");
    for (int i = 0; i < 60; i++)
        buf_fmt(&types,
                "\"t%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/t%d\"},{\"$ref\":\"#/$defs/t%d\"}]},", i,
                i + 1, i + 1);
    buf_fmt(&types, "\"t60\":{\"type\":\"null\"}}}");
    buf_fmt(&name, "{\"additionalProperties\":true,\"properties\":{\"");
    for (int i = 0; i < 100000; i++) buf_fmt(&name, "a");
    buf_fmt(&name, "\":true}}");
    err = (Err){0};
    assert_false(grammar_new(&g, y.b->keep, y.l, &(GrammarSpec){.text = buf_str(&types)}, &err));
    err = (Err){0};
    assert_false(grammar_new(&g, y.b->keep, y.l, &(GrammarSpec){.text = buf_str(&name)}, &err));
    accepts(&y,
            grammar_made(
                &y, &(GrammarSpec){.text = STR(
                                       "{\"type\":\"integer\",\"minimum\":-9223372036854775808}")}),
            STR("least"), STR("-1"));
    tokenizer_close(y.t);
}

/* ---- thoughts and calls ---------------------------------------------------------------------- */

static void thoughts_are_free(void **state) {
    Bytes y;
    bytes_made(&y, *state);
    const GrammarSpec spec = {.text = STR("{\"type\":\"null\"}"), .thoughts = true};
    Grammar *g = grammar_made(&y, &spec);
    accepts(&y, g, STR("thoughts"), STR("null"));
    accepts(&y, g, STR("thoughts"), STR("<think>\nany <</think <\xff</think>\n\nnull"));
    accepts(&y, g, STR("thoughts"), STR("\n<think></think>null"));
    refuses(&y, g, STR("thoughts"), STR("<think>x"));
    refuses(&y, g, STR("thoughts"), STR("<think>x</think>\n\n\nnull"));
    refuses(&y, g, STR("thoughts"), STR("thought</think>null"));
    assert_int_equal(reached(&y, g, STR("a thought</think>\nnull"), true), -1);
    assert_int_equal(reached(&y, g, STR("null"), true), 4);
    g = grammar_made(&y, &(GrammarSpec){.text = spec.text});
    refuses(&y, g, STR("no thoughts"), STR("<think></think>null"));
    tokenizer_close(y.t);
}

/* A budget and a grammar at once: the thought is ended, and the answer is bound. */
static void a_budget_and_a_grammar_go_together(void **state) {
    Bytes y;
    bytes_made(&y, *state);
    Chat chat;
    Constraint k[3];
    const Str source =
        STR("{% for m in messages %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{{ "
            "m.content }}{% endfor %}");
    assert_true(chat_init(&chat, y.b->keep, y.t, source, (Str){0}, (Str){0}, &y.b->err));
    assert_true(thought_budget(&k[0], y.b->keep, &chat, y.V, 3, true, &y.b->err));
    grammar_constraint(
        &k[1], y.b->keep,
        grammar_made(&y, &(GrammarSpec){.text = STR("{\"const\":7}"), .thoughts = true}), true);
    constraint_both(&k[2], y.b->keep, &k[0], &k[1]);
    Buf said = {.a = y.b->keep};
    for (int step = 0; step < 64; step++) {
        int32_t forced[32], id = y.id['m'];
        int64_t n = k[2].forced(k[2].self, forced, 32);
        for (int64_t i = 0; i < n; i++) (void)k[2].accept(k[2].self, forced[i]);
        k[2].rollback(k[2].self, n);
        uint64_t bits[8] = {0};
        const bool masked = k[2].mask(k[2].self, bits, y.V);
        if (n) id = forced[0];
        assert_true(!masked || has(bits, id));
        const bool more = k[2].accept(k[2].self, id);
        if (!more) break;
        buf_add(&said, token_bytes(y.t, id));
    }
    same_str(buf_str(&said), STR("mmm\n</think>\n\n7"));
    tokenizer_close(y.t);
}

static const char tool_list[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"city\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}},\"required\":["
    "\"city\"]}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

#define CALL(s) "<tool_call>\n" s "\n</tool_call>"
#define BEGIN   "<｜tool▁calls▁begin｜>"
#define ONE(s)  "<｜tool▁call▁begin｜>" s "<｜tool▁call▁end｜>"
#define END     "<｜tool▁calls▁end｜>"

/* What is accepted is read as calls by the splitter. */
static void call_accepted(Bytes *y, Grammar *g, ToolSyntax syntax, const char *text,
                          int64_t calls) {
    accepts(y, g, STR("calls"), str_of(text));
    Buf reasoning = {.a = y->b->out}, answer = {.a = y->b->out}, lines = {.a = y->b->out};
    const SplitText to = {&reasoning, &answer, &lines};
    Splitter s;
    splitter_init(&s, false, syntax);
    splitter_push(&s, str_of(text), &to);
    splitter_end(&s, &to);
    for (int64_t i = 0; i < lines.n; i++) calls -= lines.p[i] == '\n';
    assert_int_equal(calls, 0);
}

static void calls_are_bound(void **state) {
    Bytes y;
    bytes_made(&y, *state);
    GrammarSpec spec = {
        .kind = GRAMMAR_CALLS, .text = str_of(tool_list), .syntax = TOOLS_QWEN, .many = true};
    Grammar *g = grammar_made(&y, &spec);
    const char *one = CALL("{\"name\": \"get\", \"arguments\": {\"city\": \"Paris\"}}");
    call_accepted(&y, g, TOOLS_QWEN, "no call, <tool and <<tool_call", 0);
    call_accepted(&y, g, TOOLS_QWEN, one, 1);
    call_accepted(
        &y, g, TOOLS_QWEN,
        str_fmt(y.b->keep, "I look.\n%s\n%s", one, CALL("{\"name\": \"now\", \"arguments\": {}}"))
            .p,
        2);
    call_accepted(&y, g, TOOLS_QWEN,
                  CALL("{\"name\": \"get\", \"arguments\": {\"city\": "
                       "\"a<b<\\/tool_call>\\u003c\", \"n\": 3}}"),
                  1);
    refuses(&y, g, STR("calls"),
            str_of(CALL("{\"name\": \"get\", \"arguments\": {\"city\": \"</tool_call>\"}}")));
    refuses(&y, g, STR("calls"), str_of(CALL("{\"name\": \"get\", \"arguments\": {}}")));
    refuses(&y, g, STR("calls"), str_of(CALL("{\"name\": \"put\", \"arguments\": {}}")));
    refuses(&y, g, STR("calls"), STR("<tool_call>text"));
    refuses(&y, g, STR("calls"), str_of(str_fmt(y.b->keep, "%s and text", one).p));
    spec.must_call = true, spec.many = false, spec.name = STR("now");
    g = grammar_made(&y, &spec);
    call_accepted(&y, g, TOOLS_QWEN, CALL("{\"name\": \"now\", \"arguments\": {}}"), 1);
    refuses(&y, g, STR("one call"), STR("text"));
    refuses(&y, g, STR("one call"), str_of(one));
    refuses(&y, g, STR("one call"),
            STR(CALL("{\"name\": \"now\", \"arguments\": {}}") "\n<tool_call>"));
    spec = (GrammarSpec){
        .kind = GRAMMAR_CALLS, .text = str_of(tool_list), .syntax = TOOLS_DEEPSEEK, .many = true};
    g = grammar_made(&y, &spec);
    call_accepted(&y, g, TOOLS_DEEPSEEK, "text", 0);
    call_accepted(&y, g, TOOLS_DEEPSEEK, "text" BEGIN ONE("get<｜tool▁sep｜>{\"city\": \"x\"}") END,
                  1);
    call_accepted(&y, g, TOOLS_DEEPSEEK,
                  BEGIN ONE("now<｜tool▁sep｜>{}") ONE("now<｜tool▁sep｜>{}") END, 2);
    call_accepted(&y, g, TOOLS_DEEPSEEK,
                  BEGIN ONE("function<｜tool▁sep｜>get\n```json\n{\"city\": \"x\"}\n```") "\n" ONE(
                      "function<｜tool▁sep｜>now\n```json\n{}\n```") END,
                  2);
    refuses(&y, g, STR("calls"), STR(BEGIN ONE("get<｜tool▁sep｜>{}") END));
    refuses(&y, g, STR("calls"),
            STR(BEGIN ONE("get<｜tool▁sep｜>{\"city\": \"<｜tool▁call▁end｜>\"}") END));
    static const struct {
        const char *tools, *message;
    } refused[] = {{"[]", "tools: "},
                   {"{}", "tools: "},
                   {"[{}]", "tools.0.function.name: "},
                   {"[{\"function\":{\"name\":\"a b\"}}]", "tools.0.function.name: "},
                   {"[{\"function\":{\"name\":\"a\",\"parameters\":{\"type\":\"array\"}}}]",
                    "tools.a.parameters.type: "},
                   {"[{\"function\":{\"name\":\"a\",\"parameters\":{\"type\":\"object\","
                    "\"properties\":{\"x\":{\"not\":1}}}}}]",
                    "tools.a.parameters.properties.x.not: "}};
    for (int64_t i = 0; i < COUNT(refused); i++) {
        Err err = {0};
        spec.text = str_of(refused[i].tools);
        assert_false(grammar_new(&g, y.b->keep, y.l, &spec, &err));
        if (!str_starts(str_of(err.msg), str_of(refused[i].message))) fail_msg("%s", err.msg);
    }
    tokenizer_close(y.t);
}

int grammar_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(keywords_mean_what_they_say),
                                       TEXT_TEST(the_rest_is_refused_by_its_path),
                                       TEXT_TEST(expressions_match_whole_texts),
                                       TEXT_TEST(hostile_forms_take_no_time),
                                       TEXT_TEST(thoughts_are_free),
                                       TEXT_TEST(a_budget_and_a_grammar_go_together),
                                       TEXT_TEST(calls_are_bound)};
    return cmocka_run_group_tests_name("grammars", tests, NULL, NULL);
}
