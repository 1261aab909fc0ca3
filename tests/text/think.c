/* think.c -- budgets of thoughts: where they end a thought, what they end it with, and that they
 * leave everything else alone. A writer that wants to say a text, byte by byte, is held to what the
 * budget allows, with its guesses taken back again and again. */
#include "tests.h"

#define SAYS(s)                                                                                    \
    "{% for m in messages %}{{ m.role }}{% if m.reasoning_content %}" s "{% endif %}{{ m.content " \
    "}}{% endfor %}"

static Tokenizer *bytes(Bench *b) { return tokenizer_fine(b, byte_tokenizer_json(b->keep)); }

static void chat_made(Bench *b, Chat *c, const Tokenizer *t, const char *source) {
    if (!chat_init(c, b->keep, t, str_of(source), (Str){0}, (Str){0}, &b->err))
        fail_msg("%s", b->err.msg);
}

static void templates_tell_the_end(void **state) {
    Bench *b = *state;
    Tokenizer *t = bytes(b);
    static const struct {
        const char *source, *end;
    } cases[] = {
        {SAYS("<think>\n{{ m.reasoning_content }}\n</think>\n\n"), "\n</think>\n\n"}, /* Qwen3 */
        {SAYS("<think>{{ m.reasoning_content }}</think>"), "</think>"},
        {SAYS("<think>{{ m.reasoning_content }}</think>\n"), "</think>\n"}, /* GLM */
        {SAYS("<seed:think>{{ m.reasoning_content }}</seed:think>"), ""},   /* tags unknown here */
        /* thoughts of the past are left out: Kimi-K2-Thinking, DeepSeek-R1, DeepSeek-V3.1 */
        {SAYS("<think></think>"), "</think>"},
        {SAYS("<think>\n\n</think>\n\n"), "\n</think>\n\n"},
        {"{{ messages[0].content.split('</think>')[-1] }}{% if add_generation_prompt %}<think>\n{% "
         "endif %}",
         "\n</think>\n\n"},
        {"{{ messages[0].content.split('</think>')[-1] }}{% if thinking %}<think>{% else %}"
         "</think>{% endif %}",
         "</think>"},
        {"{{ messages[0].content.split('</think>')[-1] }}", "\n</think>\n\n"},
        {"{{ messages[0].content }}", ""}};
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Chat c;
        Constraint k;
        Err err = {0};
        chat_made(b, &c, t, cases[i].source);
        same_str(c.thought_end, str_of(cases[i].end));
        const bool made = thought_budget(&k, b->keep, &c, 262, 5, false, &err);
        assert_true(made == (*cases[i].end != 0));
        if (!made) assert_non_null(strstr(err.msg, "knows no thoughts"));
    }
    Chat c;
    Constraint k;
    Err err = {0};
    chat_made(b, &c, t, cases[0].source);
    assert_false(thought_budget(&k, b->keep, &c, 5, 5, false, &err)); /* </think> is token 5 */
    assert_non_null(strstr(err.msg, "token"));
    tokenizer_close(t);
}

/* The same of published templates. */
static void published_templates_tell_the_end(void **state) {
    Bench *b = *state;
    Tokenizer *t = bytes(b);
    static const struct {
        const char *name, *end;
    } cases[] = {{"Qwen-Qwen3-0.6B", "\n</think>\n\n"},
                 {"Qwen-QwQ-32B", "\n</think>\n\n"},
                 {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "\n</think>\n\n"},
                 {"deepseek-ai-DeepSeek-V3.1", "</think>"},
                 {"GLM-4.6", "</think>\n"},
                 {"GLM-4.7-Flash", "</think>"},
                 {"Kimi-K2-Thinking", "</think>"},
                 {"ByteDance-Seed-OSS", ""},
                 {"Qwen-Qwen2.5-7B-Instruct", ""}};
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Chat c;
        const char *path = str_fmt(b->keep, "templates/%s.jinja", cases[i].name).p;
        chat_made(b, &c, t, file_oracle(b, path).p);
        same_str(c.thought_end, str_of(cases[i].end));
    }
    tokenizer_close(t);
}

/* What a writer says that wants to say `wanted`: where the constraint demands another token it
 * obeys, and what it had to say of the thought is lost to the next tag. */
static Str held(Bench *b, const Tokenizer *t, const Constraint *k, Str wanted, bool tells) {
    Buf said = {.a = b->keep};
    Ids ids = encode(b, t, wanted, TEXT_PARSED);
    const int32_t close = token_named(t, STR("</think>"));
    bool cut = false;
    for (int64_t i = 0, step = 0; i < ids.n; step++) {
        uint64_t mask[8] = {0};
        int32_t forced[64], id = ids.v[i];
        /* guesses, and back */
        const int64_t guesses = draw((uint64_t)step, 5);
        int64_t done = 0;
        for (; done < guesses && i + done < ids.n; done++) {
            const bool any = k->forced(k->self, forced, 1) == 0;
            (void)k->accept(k->self, any ? ids.v[i + done] : forced[0]);
        }
        if (done) k->rollback(k->self, done);
        const int64_t n = k->forced(k->self, forced, tells ? 64 : 1);
        const bool masked = k->mask(k->self, mask, 262);
        assert_true(masked == (n > 0));
        for (int64_t j = 0; j < (n ? n : 1); j++) {
            if (n) id = forced[j];
            if (n && j == 0) assert_true(mask[id / 64] == (uint64_t)1 << id % 64);
            assert_true(k->accept(k->self, id));
            buf_add(&said, token_bytes(t, id));
        }
        if (n) {
            cut = true;
            continue;
        }
        /* the thought was cut: go on behind where it would have ended */
        i++;
        if (cut) {
            said.n -= token_bytes(t, id).n;
            for (cut = false; i <= ids.n && ids.v[i - 1] != close;) i++;
        }
    }
    return buf_str(&said);
}

static void thoughts_end_on_time(void **state) {
    Bench *b = *state;
    Tokenizer *t = bytes(b);
    static const struct {
        int64_t budget;
        const char *wanted, *said;
        bool in_thought;
    } cases[] = {
        {4, "<think>\nabcdef\n</think>answer", "<think>\nabc\n</think>\n\nanswer", false},
        {4, "<think>\nab\ncd\n</think>answer", "<think>\nab\n</think>\n\nanswer", false},
        {0, "<think>\nabc</think>answer", "<think>\n</think>\n\nanswer", false},
        {9, "<think>\nabc\n</think>answer", "<think>\nabc\n</think>answer", false},
        {5, "<think>\nabc\n</think>answer", "<think>\nabc\n</think>\n\nanswer", false},
        {3, "abcdef</think>answer", "abc\n</think>\n\nanswer", true},
        {0, "abcdef</think>answer", "\n</think>\n\nanswer", true},
        {2, "no thought, <think>abc</think>", "no thought, <think>abc</think>", false},
        {2, "\n\n<think>abc</think>no", "\n\n<think>ab\n</think>\n\nno", false},
        {2, "<think>a</think><think>abc</think>", "<think>a</think><think>abc</think>", false},
        {6, "<think>\xe6\x80\x9d\xe8\x80\x83\xe4\xb8\x80</think>1",
         "<think>\xe6\x80\x9d\xe8\x80\x83\n</think>\n\n1", false},
    };
    Chat c;
    chat_made(b, &c, t, SAYS("<think>\n{{ m.reasoning_content }}\n</think>\n\n"));
    for (int64_t i = 0; i < COUNT(cases); i++)
        for (int tells = 0; tells < 2; tells++) {
            Constraint k;
            assert_true(thought_budget(&k, b->keep, &c, 262, cases[i].budget, cases[i].in_thought,
                                       &b->err));
            same_str(held(b, t, &k, str_of(cases[i].wanted), tells), str_of(cases[i].said));
        }
    tokenizer_close(t);
}

/* A tag that is no token of its own counts as it is read, wherever tokens cut it. */
static void spelled_tags_count(void **state) {
    Bench *b = *state;
    Tokenizer *t = tiny(b);
    Chat c;
    Constraint k;
    assert_int_equal(token_named(t, STR("</think>")), -1);
    chat_made(b, &c, t, SAYS("<think>{{ m.reasoning_content }}</think>"));
    assert_true(thought_budget(&k, b->keep, &c, 1000, 4, false, &b->err));
    const Ids open = encode(b, t, STR("<think>"), TEXT_PLAIN);
    int32_t end[64];
    for (int64_t i = 0; i < open.n; i++) (void)k.accept(k.self, open.v[i]);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(k.forced(k.self, end, 64), 0);
        (void)k.accept(k.self, encode(b, t, STR("7"), TEXT_PLAIN).v[0]);
    }
    const int64_t n = k.forced(k.self, end, 64);
    same_str(decode(b, t, (Ids){.v = end, .n = n}), STR("</think>"));
    for (int64_t i = 0; i < n; i++) (void)k.accept(k.self, end[i]);
    assert_int_equal(k.forced(k.self, end, 64), 0);
    tokenizer_close(t);
}

static void efforts_are_numbers(void **state) {
    (void)state;
    int64_t n;
    assert_true(thought_budget_read(&n, STR("low")) && n == 512);
    assert_true(thought_budget_read(&n, STR("medium")) && n == 2048);
    assert_true(thought_budget_read(&n, STR("high")) && n == 8192);
    assert_true(thought_budget_read(&n, STR("0")) && n == 0);
    assert_true(thought_budget_read(&n, STR("64")) && n == 64);
    assert_false(thought_budget_read(&n, STR("-1")) || thought_budget_read(&n, STR("")));
    assert_false(thought_budget_read(&n, STR("lots")) || thought_budget_read(&n, STR("6.5")));
}

int think_tests(void) {
    const struct CMUnitTest tests[] = {
        TEXT_TEST(templates_tell_the_end), TEXT_TEST(published_templates_tell_the_end),
        TEXT_TEST(thoughts_end_on_time), TEXT_TEST(spelled_tags_count),
        TEXT_TEST(efforts_are_numbers)};
    return cmocka_run_group_tests_name("thoughts", tests, NULL, NULL);
}
