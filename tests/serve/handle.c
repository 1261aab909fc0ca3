/* handle.c -- tests of thoughts that clients hold: a handle opens for its tenant, under the same
 * secret and whole, and in no other case. */
#include "serve/api.h"
#include "tests.h"

typedef struct Holder {
    ServeSpec spec;
    Api api;
    Job job;
} Holder;

static void holder_init(Holder *h, const char *api_key, const char *tenant) {
    Err err = {0};
    *h = (Holder){.spec = {.api_key = api_key}};
    h->api = (Api){.spec = &h->spec};
    h->job = (Job){.api = &h->api, .tenant = tenant};
    assert_true(handles_open(&h->api, &err));
}

/* What a message gets of the handle alone; NULL: nothing. Owned by the caller. */
static json_t *opened(Holder *h, const json_t *handle, json_t *text) {
    Arena *a = arena_open("call", ARENA_NO_LIMIT);
    Call c = {.api = &h->api, .a = a, .warned = true};
    snprintf(c.key.tenant, sizeof c.key.tenant, "%s", h->job.tenant);
    json_t *message = json_object();
    thought_put(&c, message, handle, text);
    json_t *got = json_incref(json_object_get(message, "reasoning_content"));
    json_decref(message);
    arena_close(a);
    return got;
}

static void opens_as_it_was_sealed(void **state) {
    (void)state;
    static char text[100000];
    static Holder h;
    holder_init(&h, "secret", "one");
    memset(text, 'x', sizeof text);
    for (int64_t n = 0; n <= (int64_t)sizeof text; n = 3 * n + 1) {
        json_t *handle = handle_json(&h.job, (Str){text, n}),
               *again = handle_json(&h.job, (Str){text, n}), *got = opened(&h, handle, NULL);
        assert_true(json_equal(handle, again));
        assert_int_equal(json_string_length(got), n);
        assert_memory_equal(json_string_value(got), text, (size_t)n);
        json_decref(handle), json_decref(again), json_decref(got);
    }
}

static void opens_for_nobody_else(void **state) {
    (void)state;
    static Holder h, tenant, secret, none;
    holder_init(&h, "secret", "one");
    holder_init(&tenant, "secret", "two");
    holder_init(&secret, "other", "one");
    holder_init(&none, NULL, "one");
    json_t *handle = handle_json(&h.job, STR("A thought.")), *sent = json_string("as sent"), *got;
    Holder *const strangers[] = {&tenant, &secret, &none};
    for (int64_t i = 0; i < COUNT(strangers); i++) {
        assert_null(opened(strangers[i], handle, NULL));
        got = opened(strangers[i], handle, sent); /* what was sent counts as that */
        assert_string_equal(json_string_value(got), "as sent");
        json_decref(got);
    }
    got = opened(&h, handle, sent); /* the handle counts before the text */
    assert_string_equal(json_string_value(got), "A thought.");
    json_decref(got), json_decref(handle), json_decref(sent);
}

static void opens_whole_only(void **state) {
    (void)state;
    static Holder h;
    holder_init(&h, "secret", "one");
    json_t *handle = handle_json(&h.job, STR("A thought."));
    const Str whole = {json_string_value(handle), (int64_t)json_string_length(handle)};
    char text[200];
    assert_true(whole.n < (int64_t)sizeof text);
    for (int64_t i = 0; i < whole.n; i++) {
        memcpy(text, whole.p, (size_t)whole.n);
        text[i] = text[i] == 'A' ? 'Q' : 'A';
        json_t *changed = json_stringn(text, (size_t)whole.n),
               *shorter = json_stringn(whole.p, (size_t)i);
        assert_null(opened(&h, changed, NULL));
        assert_null(opened(&h, shorter, NULL));
        json_decref(changed), json_decref(shorter);
    }
    json_t *number = json_integer(3);
    assert_null(opened(&h, number, NULL));
    assert_null(opened(&h, NULL, NULL));
    json_decref(number), json_decref(handle);
}

int test_handle(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_as_it_was_sealed),
        cmocka_unit_test(opens_for_nobody_else),
        cmocka_unit_test(opens_whole_only),
    };
    return cmocka_run_group_tests_name("serve handles", tests, NULL, NULL);
}
