/* bytes.c -- the tokenizer that is always there: every byte is a token, and a conversation shows
 * the last question alone. */
#include "tests.h"

#include <jansson.h>

static Tokenizer *opened(Arena *a) {
    Tokenizer *t = NULL;
    Err err = {0};
    if (!tokenizer_open_json(&t, a, byte_tokenizer_json(a), "bytes", &err)) fail_msg("%s", err.msg);
    return t;
}

static void all_bytes_come_back(void **state) {
    (void)state;
    Arena *a = arena_open("test", ARENA_NO_LIMIT), *scratch = arena_open("scratch", ARENA_NO_LIMIT);
    Tokenizer *t = opened(a);
    char all[256];
    Err err = {0};
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    Ids ids = {.a = a};
    assert_true(text_encode(&ids, t, (Str){all, 256}, TEXT_PLAIN, scratch, &err));
    assert_int_equal(ids.n, 256);
    for (int i = 0; i < 256; i++) {
        const Str one = token_bytes(t, ids.v[i]);
        assert_true(one.n == 1 && one.p[0] == all[i]);
    }
    assert_int_equal(tokenizer_size(t), 262);
    ids.n = 0;
    assert_true(text_encode(&ids, t, STR("<think>7</think><|end|>"), TEXT_PARSED, scratch, &err));
    assert_int_equal(ids.n, 4);
    assert_int_equal(ids.v[0], token_named(t, STR("<think>")));
    assert_false(token_is_special(t, ids.v[0]));
    assert_true(token_is_special(t, ids.v[3]));
    tokenizer_close(t);
    arena_close(scratch);
    arena_close(a);
}

static void the_last_question_is_shown(void **state) {
    (void)state;
    Arena *a = arena_open("test", ARENA_NO_LIMIT), *scratch = arena_open("scratch", ARENA_NO_LIMIT);
    Tokenizer *t = opened(a);
    Chat chat;
    Err err = {0};
    json_t *config = json_loads(byte_tokenizer_config(a).p, 0, NULL);
    const char *chat_template = json_string_value(json_object_get(config, "chat_template"));
    assert_string_equal(json_string_value(json_object_get(config, "eos_token")), "<|end|>");
    if (!chat_init(&chat, a, t, str_of(chat_template), STR(""), STR("<|end|>"), &err))
        fail_msg("%s", err.msg);
    assert_int_equal(chat.end, token_named(t, STR("<|end|>")));
    const Message m[] = {{.role = ROLE_SYSTEM, .content = STR("Be brief.")},
                         {.role = ROLE_USER, .content = STR("1+1=")},
                         {.role = ROLE_ASSISTANT, .content = STR("2"), .reasoning = STR("1+1=2")},
                         {.role = ROLE_USER, .content = STR("<|end|>2+2=")},
                         {.role = ROLE_ASSISTANT, .content = STR("4"), .reasoning = STR("2+2=4")}};
    Buf asked = {.a = a}, whole = {.a = a};
    Ids ids = {.a = a};
    const ChatOptions generate = {.generate = true};
    assert_true(chat_encode(&ids, &asked, &chat, m, 4, generate, scratch, &err));
    assert_true(str_eq(buf_str(&asked), STR("<|user|><|end|>2+2=<|assistant|>")));
    assert_int_equal(ids.n, 2 + 7 + 4); /* what the user wrote is no token of the template's */
    assert_true(chat_encode(NULL, &whole, &chat, m, 5, (ChatOptions){0}, scratch, &err));
    assert_true(str_eq(buf_str(&whole),
                       STR("<|user|><|end|>2+2=<|assistant|><think>2+2=4</think>4<|end|>")));
    json_decref(config);
    tokenizer_close(t);
    arena_close(scratch);
    arena_close(a);
}

int bytes_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_bytes_come_back),
        cmocka_unit_test(the_last_question_is_shown),
    };
    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
