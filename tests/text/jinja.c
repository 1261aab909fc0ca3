/* jinja.c -- the interpreter of chat templates: small templates against what Jinja2 prints, who
 * wrote each character, limits, and 2,000 renderings of published templates (where they are at
 * hand). */
#include "tests.h"
#include "text/jinja.h"
#include <stdio.h>

/* Renders with the members of a JSON object as variables; false with an Err. */
static bool render(Bench *b, Text *out, Str source, const char *variables, Err *err) {
    Jinja j;
    Scope root;
    Value v;
    const Node *tree = jinja_parse(b->keep, source, "t", err);
    if (!tree) return false;
    jinja_init(&j, &root, b->keep, "t", 1782907200, err); /* 2026-07-01 12:00:00 */
    name_set(&j, STR("bos_token"), value_text(text_copy(&j, STR("<s_bos>"), BY_TEMPLATE)));
    name_set(&j, STR("eos_token"), value_text(text_copy(&j, STR("<e_eos>"), BY_TEMPLATE)));
    if (!value_of_json(&j, &v, str_of(variables), "variables")) return false;
    for (int64_t i = 0; i < v.dict->n; i++)
        name_set(&j, text_str(v.dict->key[i].s), v.dict->value[i]);
    return jinja_run(&j, out, tree);
}

#define VARIABLES                                                                                  \
    "{\"s\": \"Ab c\", \"n\": 3, \"f\": 0.1, \"l\": [1, 2, 3], \"d\": {\"b\": 1, \"a\": [true, "   \
    "null]},"                                                                                      \
    "\"e\": [], \"u\": \"\\u4f60\\u597d \\ud83d\\ude00\", \"m\": [{\"r\": \"x\", \"c\": 1}, "      \
    "{\"r\": \"y\"}]}"

/* What Jinja2 3.1 prints in transformers' environment, with VARIABLES. */
static const struct {
    const char *source, *want;
} cases[] = {
    /* white space */
    {"a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
    {"a\n  {%+ if true %}\nb{% endif %}", "a\n  b"},
    {"a  {%- if true -%}  b  {%- endif -%}  c", "abc"},
    {"{{ 1 }}\n{{- 2 }}\n{{ 3 -}}\n 4", "12\n34"},
    {"x{# c #}\ny", "xy"},
    {"x\n   {#- c -#}   y", "xy"},
    {"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
    {"a\r\nb\r\n", "a\nb"},
    /* values and operators */
    {"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 5 }}", "3 -4 2 3.5 32"},
    {"{{ 1e16 }} {{ 1e15 }} {{ f + 0.2 }} {{ 1e-5 }} {{ 100.0 }} {{ 1.5e300 }}",
     "1e+16 1000000000000000.0 0.30000000000000004 1e-05 100.0 1.5e+300"},
    {"{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'a' in s }} {{ 'A' in s }} {{ 4 not in l }}",
     "True False False True True"},
    {"{{ not n == 3 and false or 'x' }}{{ 'y' if e }}{{ 'z' if e else 'w' }}", "xw"},
    {"{{ 'a' ~ 1 ~ none ~ missing ~ true }}", "a1NoneTrue"},
    {"{{ [1, 'a', none, [2.0]] }} {{ d }} {{ (1,) }} {{ \"it's\" | list }}",
     "[1, 'a', None, [2.0]] {'b': 1, 'a': [True, None]} (1,) ['i', 't', \"'\", 's']"},
    {"{{ ['\\x85 \\u2003\\u00e9\\u200b\\U000e0001\\x00\\n'] }}",
     "['\\x85 \\u2003\xc3\xa9\\u200b\\U000e0001\\x00\\n']"},
    {"{{ 'a' 'b' }}{{ '\\n\\t\\x41\\u4f60\\q' }}", "ab\n\tA\xe4\xbd\xa0\\q"},
    {"{{ '\\UFFFFFFFF\\U00110000\\ud800' }}", "\\UFFFFFFFF\\U00110000\\ud800"}, /* no characters */
    {"{{ l[0] }}{{ l[-1] }}{{ l[1:] }}{{ l[::-1] }}{{ s[:2] }}{{ s[-1] }}{{ u[1] }}{{ u[::-1] }}",
     "13[2, 3][3, 2, 1]Abc\xe5\xa5\xbd\xf0\x9f\x98\x80 \xe5\xa5\xbd\xe4\xbd\xa0"},
    {"{{ d.b }}{{ d['a'][0] }}{{ d.x is defined }}{{ d.x is undefined }}{{ l.0 }}",
     "1TrueFalseTrue1"},
    {"{{ d.items() | list }}{{ d.get('q', 5) }}{{ d.keys() | list }}",
     "[('b', 1), ('a', [True, None])]5['b', 'a']"},
    {"{{ 'x' * 3 }}{{ [1] * 2 + [5] }}{{ '<b>' + ('<i>' | safe) }}", "xxx[1, 1, 5]&lt;b&gt;<i>"},
    /* statements */
    {"{% for x in l %}{{ loop.index }}{{ x }}{{ loop.first }}{{ ',' if not loop.last }}{% endfor "
     "%}",
     "11True,22False,33False"},
    {"{% for x in l if x != 2 %}{{ x }}/{{ loop.length }} {% else %}none{% endfor %}", "1/2 3/2 "},
    {"{% for x in e %}{{ x }}{% else %}none{% endfor %}", "none"},
    {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "b=1;a=[True, None];"},
    {"{% for x in l %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% if x == 3 %}{% break %}{% "
     "endif %}{% endfor %}",
     "13"},
    {"{% set x = 1 %}{% for y in l %}{% set x = y %}{% endfor %}{{ x }}", "1"},
    {"{% set q = namespace(x=1) %}{% for y in l %}{% set q.x = q.x + y %}{% endfor %}{{ q.x }}",
     "7"},
    {"{% set x %}a{{ n }}{% endset %}[{{ x }}]{% set y | upper %}b{% endset %}{{ y }}", "[a3]B"},
    {"{% macro f(a, b=2) %}{{ a }}-{{ b }};{% endmacro %}{{ f(1) }}{{ f(1, b=5) }}{{ f(b=3, a=4) "
     "}}",
     "1-2;1-5;4-3;"},
    {"{% macro f(x) %}{% if x %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "321"},
    {"{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "3False"},
    {"{% filter upper %}ab{{ n }}{% endfilter %}", "AB3"},
    {"{% generation %}x{% endgeneration %}", "x"},
    {"{% if e %}a{% elif n == 3 %}b{% else %}c{% endif %}", "b"},
    /* filters, tests, methods */
    {"{{ d | tojson }} {{ u | tojson }} {{ 'a\"\\n\\\\' | tojson }} {{ [1.0, 1e20] | tojson }}",
     "{\"b\": 1, \"a\": [true, null]} \"\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80\" "
     "\"a\\\"\\n\\\\\" [1.0, 1e+20]"},
    {"{{ d | tojson(indent=2) }}", "{\n  \"b\": 1,\n  \"a\": [\n    true,\n    null\n  ]\n}"},
    {"{{ d | tojson(separators=(',', ':'), sort_keys=true) }}", "{\"a\":[true,null],\"b\":1}"},
    {"{{ u | tojson(ensure_ascii=true) }}", "\"\\u4f60\\u597d \\ud83d\\ude00\""},
    {"{{ '\\x7f' | tojson(ensure_ascii=true) }} {{ '\\x7f' | tojson }}", "\"\\u007f\" \"\x7f\""},
    {"{{ u | length }}{{ l | length }}{{ d | length }}{{ missing | length }}", "4320"},
    {"{{ '  a ' | trim }}|{{ ' a '.lstrip() }}|{{ 'xxay'.strip('xy') }}|{{ '\xe3\x80\x80 "
     "a'.strip() }}",
     "a|a |a|a"},
    {"{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a b "
     "c'.rsplit(' ', 1) }}",
     "['a', 'b', '', 'c']['a', 'b']['a', 'b,c']['a b', 'c']"},
    {"{{ 'a-b'.replace('-', '+') }}{{ 'aaa' | replace('a', 'b', 2) }}{{ 'ab'.replace('', '-') }}",
     "a+bbba-a-b-"},
    {"{{ s.startswith('Ab') }}{{ s.endswith(('x', 'c')) }}{{ s.find('c') }}{{ s.title() }}{{ s | "
     "upper }}",
     "TrueTrue3Ab CAB C"},
    {"{{ missing | default('x') }}{{ '' | default('y') }}{{ '' | default('z', true) }}", "xz"},
    {"{{ m | map(attribute='r') | join(',') }}{{ m | selectattr('c', 'defined') | list | length }}"
     "{{ m | rejectattr('r', 'equalto', 'x') | map(attribute='r') | first }}",
     "x,y1y"},
    {"{{ l | select('odd') | list }}{{ l | reject('gt', 1) | list }}{{ none | selectattr('a') | "
     "list }}",
     "[1, 3][1][]"},
    {"{{ [3, 1, 2] | sort }}{{ ['b', 'A'] | sort }}{{ d | dictsort }}{{ [1, 1, 2] | unique | list "
     "}}",
     "[1, 2, 3]['A', 'b'][('a', [True, None]), ('b', 1)][1, 2]"},
    {"{{ 'a\nb' | indent(2) }}|{{ 'a\n\nb' | indent(2, true) }}", "a\n  b|  a\n\n  b"},
    {"{{ '12' | int + 1 }}{{ 'x' | int(7) }}{{ '1.5' | float }}{{ 3.7 | int }}{{ -3 | abs }}",
     "1371.533"},
    {"{{ n is number and s is string and d is mapping and l is iterable and none is none }}",
     "True"},
    {"{{ n is odd }}{{ n is divisibleby 3 }}{{ true is boolean }}{{ n is in l }}{{ n is not "
     "defined }}",
     "TrueTrueTrueTrueFalse"},
    {"{{ range(3) | list }}{{ range(5, 1, -2) | list }}{{ dict(a=1) }}", "[0, 1, 2][5, 3]{'a': 1}"},
    {"{{ strftime_now('%Y-%m-%d %H:%M, %d %b %B %A') }}",
     "2026-07-01 12:00, 01 Jul July Wednesday"},
    {"{{ bos_token }}{{ '{\"a\": [1]}' | from_json }}", "<s_bos>{'a': [1]}"},
};

static void prints(void **state) {
    Bench *b = *state;
    for (int i = 0; i < COUNT(cases); i++) {
        Err err = {0};
        Text out;
        if (!render(b, &out, str_of(cases[i].source), VARIABLES, &err))
            fail_msg("%s: %s", cases[i].source, err.msg);
        if (!str_eq(text_str(out), str_of(cases[i].want)))
            fail_msg("%s: \"%.*s\" and not \"%s\"", cases[i].source, STRF(out), cases[i].want);
    }
}

static const struct {
    const char *source, *piece;
} refused[] = {
    {"{{ missing.x }}", "'missing' is undefined"},
    {"{{ 'a' + 1 }}", "str cannot be joined with int"},
    {"{{ 1 / 0 }}", "division by zero"},
    {"{{ 9223372036854775807 + 1 }}", "64 bits"},
    {"{{ l.append(4) }}", "may not change a list"},
    {"{{ d.update({}) }}", "may not change a dict"},
    {"{% for x in 5 %}{% endfor %}", "not iterable"},
    {"{{ s | nothing }}", "the filter 'nothing' is not known"},
    {"{{ s is nothing }}", "the test 'nothing' is not known"},
    {"{{ nothing() }}", "'nothing' is undefined"},
    {"\n\n{{ raise_exception('So it is.') }}",
     "line 3: the chat template refuses this conversation: So it is."},
    {"{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "nested too deeply"},
    {"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "too"},
    {"{% set q = namespace(x='aaaaaaaaaaaaaaaa') %}{% for a in range(60) %}{% set q.x = q.x + q.x "
     "%}{% endfor %}",
     "too"},
    {"{{ 'x' * 100000000000 }}", "too"},
    {"{{ range(1000000000) | list }}", "too"},
    {"{{ l[::0] }}", "step of 0"},
    {"{% set d.x = 1 %}", "only a namespace"},
    {"{{ (1 }}", "expected ')'"},
    {"{{ 'a }}", "not closed"},
    {"{% for x in l %}", "`endfor` is missing"},
    {"{% endif %}", "`endif` is not supported"},
    {"{# never", "comment is not closed"},
};

static void refusals(void **state) {
    Bench *b = *state;
    for (int i = 0; i < COUNT(refused); i++) {
        Err err = {0};
        Text out;
        Mark mark = arena_mark(b->keep);
        if (render(b, &out, str_of(refused[i].source), VARIABLES, &err))
            fail_msg("%s: renders", refused[i].source);
        if (!strstr(err.msg, refused[i].piece))
            fail_msg("%s: \"%s\" has no \"%s\"", refused[i].source, err.msg, refused[i].piece);
        arena_pop(b->keep, mark);
    }
    Buf deep = {.a = b->keep};
    for (int i = 0; i < 100000; i++) buf_add(&deep, STR("("));
    static const char *const heads[] = {"{{ ", "{{ not ", "{{ -"};
    for (int i = 0; i < COUNT(heads); i++) {
        Err err = {0};
        Text out;
        Buf s = {.a = b->keep};
        buf_add(&s, str_of(heads[i]));
        buf_add(&s, buf_str(&deep));
        assert_false(render(b, &out, buf_str(&s), VARIABLES, &err));
        assert_non_null(strstr(err.msg, "deeply"));
    }
}

/* Of each character it is known whether a message wrote it, whatever has been done with it. */
static void origins(void **state) {
    Bench *b = *state;
    static const char *const sources[] = {
        "T{{ x }}T",
        "{{ 'T' + x.strip() + 'T' }}",
        "{{ ('T' ~ x ~ 'T') | trim }}",
        "{{ x.split('M')[0] }}T",
        "{{ 'ToT'.replace('o', x) }}",
        "{{ [x, x] | join('T') }}",
        "{{ x | replace('M', 'T') }}",
        "{{ x | upper }}T{{ x[::-1] }}",
        "{% for c in x %}{{ c }}T{% endfor %}",
        "{% set y = 'T' ~ x %}{{ y[1:] }}{{ y[0] }}",
        "{% macro f(v) %}T{{ v | title }}{% endmacro %}{{ f(x) }}",
        "{{ x | indent(1) }}",
        "{{ x | e }}T",
    };
    for (int i = 0; i < COUNT(sources); i++) {
        Err err = {0};
        Text out;
        if (!render(b, &out, str_of(sources[i]), "{\"x\": \"mmMmm\"}", &err))
            fail_msg("%s", err.msg);
        assert_true(out.n > 0);
        for (int64_t k = 0; k < out.n; k++)
            if (out.by[k] != (out.p[k] == 'T' ? BY_TEMPLATE : BY_MESSAGE))
                fail_msg("%s: character %lld of \"%.*s\"", sources[i], (long long)k, STRF(out));
    }
    Err err = {0};
    Text out;
    assert_true(render(b, &out, STR("{{ m | tojson }}"), "{\"m\": {\"k\": \"<x>\\n\"}}", &err));
    same_str(text_str(out), STR("{\"k\": \"<x>\\n\"}"));
    static const uint8_t by[] = {0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0};
    assert_memory_equal(out.by, by, sizeof by);
}

/* LISAO_SHARED/oracles/templates: NAME.jinja and NAME.jsonl. */
static void published(void **state) {
    Bench *b = *state;
    const char *folder = need_reference(b->keep, "templates");
    Str *names, source, lines;
    int64_t n, checked = 0;
    if (!os_list(b->keep, &names, &n, folder, &b->err)) fail_msg("%s", b->err.msg);
    for (int64_t i = 0; i < n; i++) {
        if (!str_ends(names[i], STR(".jinja"))) continue;
        Mark mark = arena_mark(b->keep);
        Str stem = {names[i].p, names[i].n - 6};
        source = file_read(b, str_fmt(b->keep, "%s/%.*s", folder, STRF(names[i])).p);
        lines = file_read(b, str_fmt(b->keep, "%s/%.*s.jsonl", folder, STRF(stem)).p);
        if (!jinja_parse(b->keep, source, "t", &b->err))
            fail_msg("%.*s: %s", STRF(stem), b->err.msg);
        for (json_t *o; (o = line_next(&lines)); checked++) {
            json_t *v = json_object(), *tools = json_object_get(o, "tools"), *member;
            const char *key;
            json_object_set(v, "messages", json_object_get(o, "messages"));
            json_object_set(v, "tools", tools ? tools : json_null());
            json_object_set(v, "documents", json_null());
            json_object_set_new(v, "pad_token", json_string("<e_eos>"));
            json_object_foreach(json_object_get(o, "kwargs"), key, member)
                json_object_set(v, key, member);
            Mark inner = arena_mark(b->keep);
            Err err = {0};
            Text out;
            bool ok = render(b, &out, source, json_text(b, v).p, &err);
            json_t *want = json_object_get(o, "text");
            if (ok != json_is_string(want))
                fail_msg("%.*s: %s", STRF(stem), ok ? "not refused" : err.msg);
            if (ok) same_str(text_str(out), json_str(o, "text"));
            arena_pop(b->keep, inner);
        }
        arena_pop(b->keep, mark);
    }
    assert_true(checked >= 2000);
}

int jinja_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(prints), TEXT_TEST(refusals), TEXT_TEST(origins),
                                       TEXT_TEST(published)};
    return cmocka_run_group_tests_name("chat templates", tests, NULL, NULL);
}
