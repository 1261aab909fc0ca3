/* requests.c -- tests of bodies that were made to do harm: each is refused before there is a job,
 * by a fault that names what is wrong with it. The shapes are those of faults that other servers
 * had (docs/testing.md). */
#include "tests.h"
#include "fuzz/desk.h"
#include <math.h>

#define TALK "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"

static int desk_setup(void **state) {
    *state = desk_open();
    return 0;
}

/* ---- numbers --------------------------------------------------------------------------------- */

typedef struct Table {
    const Field *field;
    int64_t n;
} Table;

/* A body with nothing but this member. */
static void must_refuse(Desk *d, const Table *t, const char *name, const char *value) {
    const Mark mark = arena_mark(d->a);
    Exchange x;
    Call c;
    assert_true(desk_read(d, &c, &x, str_fmt(d->a, "{\"%s\":%s}", name, value)));
    if (members_read(&c, t->field, t->n)) fail_msg("%s: %s is taken", name, value);
    assert_int_equal(c.fault.status, 400);
    assert_string_equal(c.fault.param, name);
    json_decref(c.body);
    arena_pop(d->a, mark);
}

/* A negative count, one that overflows, one that is no number: of every number of every route. */
static void every_number_has_bounds(void **state) {
    Desk *d = *state;
    static const char *const never[] = {"-1e300", "1e300", "\"1\"", "[1]", "{}", "true"};
    const Table table[] = {{chat_fields, n_chat_fields},
                           {text_fields, n_text_fields},
                           {messages_fields, n_messages_fields},
                           {token_fields, n_token_fields},
                           {responses_fields, n_responses_fields},
                           {verify_fields, n_verify_fields},
                           {embeddings_fields, n_embeddings_fields}};
    int64_t numbers = 0;
    for (const Table *t = table; t < table + COUNT(table); t++)
        for (const Field *f = t->field; f < t->field + t->n; f++) {
            if (f->kind != FIELD_INT && f->kind != FIELD_NUMBER) continue;
            numbers++;
            assert_true(f->lo < f->hi && isfinite(f->lo) && isfinite(f->hi));
            for (int64_t i = 0; i < COUNT(never); i++) must_refuse(d, t, f->name, never[i]);
            if (f->kind == FIELD_INT) must_refuse(d, t, f->name, "1.5");
            if (fabs(f->lo) < 1e15)
                must_refuse(d, t, f->name, str_fmt(d->keep, "%.17g", f->lo - 1).p);
            if (fabs(f->hi) < 1e15)
                must_refuse(d, t, f->name, str_fmt(d->keep, "%.17g", f->hi + 1).p);
        }
    assert_true(numbers > 30);
}

/* ---- odd requests ---------------------------------------------------------------------------- */

#define FORM(schema)                                                                               \
    "{" TALK ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":" schema  \
    "}}}"
#define TOOL(tool) "{" TALK ",\"tool_choice\":\"required\",\"tools\":[" tool "]}"
#define PART(part) "{\"messages\":[{\"role\":\"user\",\"content\":[" part "]}]}"

static const struct {
    RouteFn *route;
    const char *body;
    int64_t status;
} odd[] = {
    /* empty ones */
    {answer_chat, "{}", 400},
    {answer_chat, "{\"messages\":[]}", 400},
    {answer_chat, "{\"messages\":[null]}", 400},
    {answer_chat, "{\"messages\":[{}]}", 400},
    {answer_text, "{\"prompt\":\"\"}", 400},
    {answer_text, "{\"prompt\":[]}", 400},
    {answer_text, "{\"prompt\":[[]]}", 400},
    {answer_text, "{\"prompt\":[\"a\",\"\"]}", 400},
    {answer_messages, "{\"max_tokens\":1,\"messages\":[]}", 400},
    {answer_responses, "{\"input\":[]}", 400},
    {answer_verify, "{\"request\":{},\"answer\":{}}", 400},
    {answer_embeddings, "{\"input\":[]}", 400},
    {answer_embeddings, "{\"input\":[[]]}", 400},
    {answer_embeddings, "{\"input\":[-1]}", 400},
    /* ids that index what is not there */
    {answer_text, "{\"prompt\":[-1]}", 400},
    {answer_text, "{\"prompt\":[100000]}", 400},
    {answer_text, "{\"prompt\":[4294967296]}", 400},
    {answer_text, "{\"prompt\":[1.5]}", 400},
    {answer_chat, "{" TALK ",\"logit_bias\":{\"-1\":1}}", 400},
    {answer_chat, "{" TALK ",\"logit_bias\":{\"4294967296\":1}}", 400},
    {answer_chat, "{" TALK ",\"logit_bias\":{\"1x\":1}}", 400},
    {answer_chat, "{" TALK ",\"logit_bias\":{\"1\":1e9}}", 400},
    /* pictures, files, addresses: nothing is fetched and nothing decoded */
    {answer_chat, PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://127.0.0.1/\"}}"),
     400},
    {answer_chat, PART("{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAA\"}}"), 400},
    {answer_messages,
     "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\","
     "\"source\":"
     "{\"type\":\"url\",\"url\":\"file:///etc/passwd\"}}]}]}",
     400},
    {answer_responses,
     "{\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_image\","
     "\"image_url\":\"data:image/png;base64,AAAA\"}]}]}",
     400},
    /* forms and tools that are none */
    {answer_chat, FORM("{\"type\":5}"), 400},
    {answer_chat, FORM("{\"type\":\"nothing\"}"), 400},
    {answer_chat, FORM("{\"type\":\"string\",\"pattern\":\"(\"}"), 400},
    {answer_chat, FORM("{\"$ref\":\"http://127.0.0.1/\"}"), 400},
    {answer_chat, FORM("{\"properties\":[]}"), 400},
    {answer_chat, "{" TALK ",\"response_format\":{\"type\":\"json_schema\"}}", 400},
    {answer_chat, TOOL("{}"), 400},
    {answer_chat, TOOL("{\"type\":\"nothing\"}"), 400},
    {answer_chat,
     TOOL("{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{"
          "\"type\":5}}}"),
     400},
    {answer_chat, "{" TALK ",\"tools\":5}", 400},
    {answer_messages, "{" TALK ",\"max_tokens\":9,\"tools\":{}}", 400},
    /* names of models are looked up and never opened */
    {answer_chat, "{\"model\":\"../chat\"," TALK "}", 404},
    {answer_chat, "{\"model\":\"/etc/passwd\"," TALK "}", 404},
    {answer_chat, "{\"model\":\"/dev/random\"," TALK "}", 404},
    {answer_chat, "{\"model\":\"hf:a/b\"," TALK "}", 404},
    /* what is no JSON, or is it twice */
    {answer_chat, "", 400},
    {answer_chat, "[]", 400},
    {answer_chat, "{" TALK "," TALK "}", 400},
    {answer_chat, "{\"a\":\"\xff\"}", 400},
    {answer_chat, "{\"a\":\"\\u0000\"", 400},
    {answer_chat, "{\"a\":1e999}", 400},
};

static void odd_requests_are_refused(void **state) {
    Desk *d = *state;
    for (int64_t i = 0; i < COUNT(odd); i++) {
        const Mark mark = arena_mark(d->a);
        Exchange x;
        Call c;
        Job *j = desk_ask(d, &c, &x, odd[i].route, str_of(odd[i].body));
        if (j || c.fault.status != odd[i].status)
            fail_msg("%s: %lld %s", odd[i].body, (long long)c.fault.status, c.fault.message);
        desk_drop(&c, j);
        arena_pop(d->a, mark);
    }
}

/* ---- what a request may not bring ------------------------------------------------------------ */

/* The prompt of a chat with these members, as hash; it must be one. */
static void prompt_of(Desk *d, const char *more, char hex[65]) {
    Exchange x;
    Call c;
    Job *j = desk_ask(d, &c, &x, answer_chat, str_fmt(d->a, "{" TALK "%s}", more));
    if (!j) fail_msg("%s: %s", more, c.fault.message);
    Sha256 hash;
    sha256_init(&hash);
    sha256_add(&hash, j->choice[0].ask.prompt, j->choice[0].ask.n_prompt * 4);
    sha256_hex(&hash, hex);
    desk_drop(&c, j);
}

/* Whether the prompt holds the ids of this text. */
static bool stands_in(Desk *d, const Job *j, Str text) {
    const Ask *ask = &j->choice[0].ask;
    const Mark mark = arena_mark(d->a);
    Ids ids = {.a = d->a};
    Err err = {0};
    must(text_encode(&ids, d->tok, text, TEXT_PLAIN, d->keep, &err), &err);
    bool there = false;
    for (int64_t i = 0; i + ids.n <= ask->n_prompt; i++)
        there = there || !memcmp(ask->prompt + i, ids.v, (size_t)ids.n * sizeof *ids.v);
    arena_pop(d->a, mark);
    return ids.n > 0 && there;
}

/* A model can write a NUL, and its answer comes back with the next question. */
static void a_text_may_hold_a_nul(void **state) {
    static const struct {
        RouteFn *route;
        const char *body;
    } texts[] = {
        {answer_chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}"},
        {answer_chat, PART("{\"type\":\"text\",\"text\":\"a\\u0000b\"}")},
        {answer_chat,
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
         "\"content\":\"a\\u0000b\"}]}"},
        {answer_chat,
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
         "\"content\":\"\",\"reasoning_content\":\"a\\u0000b\"}]}"},
        {answer_messages, "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":"
                          "\"a\\u0000b\"}]}"},
        {answer_messages, "{\"max_tokens\":1,\"system\":\"a\\u0000b\"," TALK "}"},
        {answer_responses, "{\"input\":\"a\\u0000b\"}"},
        {answer_responses, "{\"input\":\"a\",\"instructions\":\"a\\u0000b\"}"},
        {answer_text, "{\"prompt\":\"a\\u0000b\",\"stop\":\"\\u0000\\u0000\"}"},
    };
    Desk *d = *state;
    for (int64_t i = 0; i < COUNT(texts); i++) {
        const Mark mark = arena_mark(d->a);
        Exchange x;
        Call c;
        Job *j = desk_ask(d, &c, &x, texts[i].route, str_of(texts[i].body));
        if (!j) fail_msg("%s: %s", texts[i].body, c.fault.message);
        if (!stands_in(d, j, STR("a\0b"))) fail_msg("%s: not in the prompt", texts[i].body);
        desk_drop(&c, j);
        arena_pop(d->a, mark);
    }
}

/* Calls are JSON in a text, and templates get their arguments as objects. */
static void arguments_may_hold_a_nul(void **state) {
    Desk *d = *state;
    const Mark mark = arena_mark(d->a);
    Exchange x;
    Call c;
    Job *j = desk_ask(
        d, &c, &x, answer_chat,
        STR("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
            "\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
            "\"arguments\":\"{\\\"x\\\":\\\"a\\\\u0000b\\\"}\"}}]},{\"role\":\"tool\","
            "\"tool_call_id\":\"1\",\"content\":\"a\\u0000b\"}]}"));
    if (!j) fail_msg("%s", c.fault.message);
    assert_true(stands_in(d, j, STR("a\0b")));
    assert_true(stands_in(d, j, STR("\"arguments\": {\"x\": \"a\\u0000b\"}")));
    desk_drop(&c, j);
    arena_pop(d->a, mark);
}

/* A name would end there, and be another. */
static void a_name_holds_no_nul(void **state) {
    static const struct {
        const char *body, *param;
    } names[] = {
        {"{\"messages\":[{\"role\":\"user\\u0000x\",\"content\":\"a\"}]}", "messages[0].role"},
        {PART("{\"type\":\"text\\u0000\",\"text\":\"a\"}"), "messages[0].content[0].type"},
        {"{\"model\":\"chat\\u0000\"," TALK "}", "model"},
        {"{\"reasoning_effort\":\"low\\u0000\"," TALK "}", "reasoning_effort"},
        {"{\"user\":\"a\\u0000\"," TALK "}", "user"},
        {TOOL("{\"type\":\"function\",\"function\":{\"name\":\"f\\u0000\"}}"),
         "tools[0].function.name"},
        {FORM("{\"const\":\"\\u0000\"}"), "response_format.json_schema.schema.const"},
    };
    Desk *d = *state;
    for (int64_t i = 0; i < COUNT(names); i++) {
        const Mark mark = arena_mark(d->a);
        Exchange x;
        Call c;
        Job *j = desk_ask(d, &c, &x, answer_chat, str_of(names[i].body));
        assert_null(j);
        assert_int_equal(c.fault.status, 400);
        assert_string_equal(c.fault.code, "invalid_value");
        assert_string_equal(c.fault.param, names[i].param);
        desk_drop(&c, j);
        arena_pop(d->a, mark);
    }
}

static void a_client_brings_no_template(void **state) {
    static const char *const more[] = {
        ",\"chat_template\":\"{{ 'x' * 1000000 }}\"",
        ",\"chat_template_kwargs\":{\"chat_template\":\"x\",\"messages\":[]}",
        ",\"prompt_embeds\":\"gASV\",\"documents\":[]",
    };
    Desk *d = *state;
    const Mark mark = arena_mark(d->a);
    char plain[65], other[65];
    prompt_of(d, "", plain);
    prompt_of(d, ",\"model\":\"plain\"", other);
    assert_string_not_equal(plain, other); /* it tells prompts apart */
    for (int64_t i = 0; i < COUNT(more); i++) {
        prompt_of(d, more[i], other);
        assert_string_equal(plain, other);
    }
    arena_pop(d->a, mark);
}

static int64_t forms_there(const Desk *d) {
    int64_t n = 0;
    for (int64_t i = 0; i < FORMS; i++) n += d->api.form[i] != NULL;
    return n;
}

/* Those that nobody uses make room for new ones, however many come. */
static void forms_are_bounded(void **state) {
    Desk *d = *state;
    for (int64_t i = 0; i < 2 * FORMS + 3; i++) {
        const Mark mark = arena_mark(d->a);
        Exchange x;
        Call c;
        Job *j =
            desk_ask(d, &c, &x, answer_chat, str_fmt(d->a, FORM("{\"const\":%lld}"), (long long)i));
        assert_non_null(j);
        assert_non_null(j->form);
        desk_drop(&c, j);
        arena_pop(d->a, mark);
        assert_true(forms_there(d) >= MIN(i + 1, FORMS));
    }
    assert_int_equal(forms_there(d), FORMS);
}

int test_requests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_has_bounds),     cmocka_unit_test(odd_requests_are_refused),
        cmocka_unit_test(a_client_brings_no_template), cmocka_unit_test(a_text_may_hold_a_nul),
        cmocka_unit_test(arguments_may_hold_a_nul),    cmocka_unit_test(a_name_holds_no_nul),
        cmocka_unit_test(forms_are_bounded),
    };
    return cmocka_run_group_tests_name("serve requests", tests, desk_setup, NULL);
}
