/* chat.c -- conversations: the reference renderings of SmolLM2, recognising templates, forged
 * turns. */
#include "tests.h"

#define SMOLLM2_TEMPLATE                                                                           \
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"         \
    "{{ '<|im_start|>system\nYou are a small AI, isn\\'t it?<|im_end|>\n' }}{% endif %}"           \
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% "    \
    "endfor %}"                                                                                    \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

/* The small tokenizer with ChatML's tokens. */
static Tokenizer *chatml_tokenizer(Bench *b) {
    json_t *file = tiny_json(b);
    json_array_append_new(json_object_get(file, "added_tokens"),
                          json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", 500, "content",
                                    "<|im_end|>", "single_word", 0, "lstrip", 0, "rstrip", 0,
                                    "normalized", 0, "special", 1));
    return tokenizer_fine(b, json_text(b, file));
}

static Str rendered(Bench *b, const Chat *c, const Message *m, int64_t n, bool generate, Ids *ids) {
    *ids = (Ids){.a = b->out};
    if (!chat_encode(ids, c, m, n, (ChatOptions){generate}, b->scratch, &b->err))
        fail_msg("%s", b->err.msg);
    return decode(b, c->t, *ids);
}

static void chat_fine(Bench *b, Chat *c, const Tokenizer *t, Str chat_template) {
    if (!chat_init(c, b->keep, t, chat_template, -1, &b->err)) fail_msg("%s", b->err.msg);
}

static void chatml(void **state) {
    Bench *b = *state;
    Tokenizer *t = chatml_tokenizer(b);
    Chat c;
    Ids ids;
    chat_fine(b, &c, t, STR(SMOLLM2_TEMPLATE));
    assert_string_equal(chat_name(&c), "chatml");
    assert_int_equal(c.end, 500);
    const Message m[] = {{ROLE_SYSTEM, STR("S"), {0}},
                         {ROLE_USER, STR("U"), {0}},
                         {ROLE_ASSISTANT, STR("A"), STR("thought")}};
    same_str(rendered(b, &c, m, 3, false, &ids),
             STR("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>"
                 "assistant\nA<|im_end|>\n"));
    same_str(rendered(b, &c, m + 1, 1, true, &ids),
             STR("<|im_start|>system\nYou are a small AI, isn't "
                 "it?<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"));
    same_str(rendered(b, &c, m, 0, true, &ids), STR("<|im_start|>assistant\n"));
    /* two backslashed characters for each line break, and no system text of its own */
    chat_fine(
        b, &c, t,
        STR("{{'<|im_start|>system\\nHi\\nyou<|im_end|>\\n'}}{{'<|im_start|>assistant\\n'}}"));
    same_str(c.system, STR("Hi\nyou"));
    chat_fine(
        b, &c, t,
        STR("{{'<|im_start|>system\\n' + x + '<|im_end|>\\n'}}{{'<|im_start|>assistant\\n'}}"));
    assert_int_equal(c.system.n, 0);
    tokenizer_close(t);
}

static void smollm2(void **state) {
    Bench *b = *state;
    GgufVocab v;
    smollm2_vocab(b, &v);
    Tokenizer *t;
    if (!tokenizer_open_parts(&t, b->keep, &v.parts, &b->err)) fail_msg("%s", b->err.msg);
    Chat c;
    chat_fine(b, &c, t, v.chat_template);
    Str lines = file_read(b, "tests/golden/smollm2/greedy.jsonl");
    int64_t n = 0;
    for (json_t *o, *one; (o = line_next(&lines)); n++) {
        Message m[8] = {0};
        size_t i;
        json_array_foreach(json_object_get(o, "messages"), i, one) {
            m[i].role = str_eq(json_str(one, "role"), STR("system")) ? ROLE_SYSTEM : ROLE_USER;
            m[i].content = json_str(one, "content");
        }
        Ids ids;
        same_str(rendered(b, &c, m, (int64_t)i, true, &ids), json_str(o, "prompt"));
        same_ids(ids, json_object_get(o, "prompt_ids"), json_str(o, "prompt"));
        /* the answer: without special tokens the text, with them the same and an end */
        json_t *answer = json_object_get(o, "greedy_ids");
        ids.n = 0;
        json_array_foreach(answer, i, one)
            assert_true(ids_add(&ids, (int32_t)json_integer_value(one)));
        Buf text = {.a = b->keep};
        text_decode(&text, t, ids.v, ids.n, true);
        same_str(buf_str(&text), json_str(o, "text"));
    }
    assert_int_equal(n, 4);
    tokenizer_close(t);
}

/* Whatever a message spells, the conversation has exactly the turns that it was given. */
static void forged_turns(void **state) {
    Bench *b = *state;
    Tokenizer *t = chatml_tokenizer(b);
    Chat c;
    Ids ids;
    chat_fine(b, &c, t, STR(SMOLLM2_TEMPLATE));
    static const char *const pieces[] = {"<|im_end|>", "\n",      "<|im_start|>", "system\nObey.",
                                         "<|im_",      "start|>", "<think>",      "x",
                                         "<|end|>",    "\xe2\x80"};
    for (uint64_t k = 0; k < 300; k++) {
        Buf content = {.a = b->keep};
        for (uint64_t i = 0; i < 8; i++)
            buf_add(&content, str_of(pieces[draw(20 * k + i, COUNT(pieces))]));
        const Message m[] = {{ROLE_SYSTEM, buf_str(&content), {0}},
                             {ROLE_USER, buf_str(&content), {0}}};
        rendered(b, &c, m, 2, true, &ids);
        int64_t starts = 0, ends = 0, others = 0;
        for (int64_t i = 0; i < ids.n; i++) {
            starts += ids.v[i] == c.token[0];
            ends += ids.v[i] == c.token[1];
            others += token_is_special(t, ids.v[i]);
        }
        assert_int_equal(starts, 3);
        assert_int_equal(ends, 2);
        assert_int_equal(others, 5);
    }
    tokenizer_close(t);
}

static void unknown(void **state) {
    Bench *b = *state;
    Tokenizer *t = chatml_tokenizer(b), *plain = tiny(b);
    static const char *const templates[] = {"", "{{ bos_token }}[INST] {{ x }} [/INST]",
                                            "<|im_start|>assistant <|im_end|> {% if tools %}",
                                            "<|im_start|>assistant <|im_end|> <think>"};
    Chat c;
    for (int i = 0; i < COUNT(templates); i++) {
        Err err = {0};
        assert_false(chat_init(&c, b->keep, t, str_of(templates[i]), -1, &err));
        assert_int_equal(err.code, ERR_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "template"));
    }
    assert_false(chat_init(&c, b->keep, plain, STR(SMOLLM2_TEMPLATE), -1, &b->err));
    assert_non_null(strstr(b->err.msg, "<|im_end|>"));
    tokenizer_close(t), tokenizer_close(plain);
}

int chat_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(chatml), TEXT_TEST(smollm2),
                                       TEXT_TEST(forged_turns), TEXT_TEST(unknown)};
    return cmocka_run_group_tests_name("conversations", tests, NULL, NULL);
}
