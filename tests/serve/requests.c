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
        cmocka_unit_test(every_number_has_bounds),
        cmocka_unit_test(odd_requests_are_refused),
        cmocka_unit_test(a_client_brings_no_template),
        cmocka_unit_test(forms_are_bounded),
    };
    return cmocka_run_group_tests_name("serve requests", tests, desk_setup, NULL);
}
