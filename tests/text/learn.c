/* learn.c -- tokenizers that are learnt: the merges that counting by hand gives, the same whatever
 * threads and memory, and a template that leaves thoughts out of later turns. */
#include "tests.h"

/* Words of a made-up language: frequent ones short, in no order. */
static Str text_of(Bench *b, int64_t words) {
    static const char *const syllable[] = {"ka", "ri", "to",           "shen",
                                           "lu", "mi", "\xe4\xb8\xad", "\xe6\x96\x87",
                                           "12", "7",  "don't",        ".\n"};
    Buf text = {.a = b->keep};
    for (int64_t i = 0; i < words; i++) {
        const uint32_t n = 1 + draw((uint64_t)(3 * i), 4);
        for (uint32_t k = 0; k < n; k++) {
            const uint32_t x = draw((uint64_t)(3 * i + 1) << 8 | k, 144);
            const int64_t root = x < 4 ? 11 : x < 16 ? 10 : (int64_t)(x % 10);
            buf_add(&text, str_of(syllable[root]));
        }
        buf_add(&text, STR(" "));
    }
    return buf_str(&text);
}

typedef struct Want {
    int64_t threads, wave, most_notes, most_bytes;
    bool digits;
} Want;

/* The tokenizer.json that is learnt from the lines of a text, `wave` of them at a time. */
static Str learnt(Bench *b, Str text, int64_t vocab, Want w) {
    Team *team = team_open(w.threads);
    BpeTrainer *t;
    Tokenizer *tok;
    Str line[256];
    const BpeSpec spec = {vocab, w.digits, w.most_bytes, w.most_notes};
    assert_true(bpe_trainer_open(&t, &spec, team, &b->err));
    while (text.n) {
        int64_t n = 0;
        for (; n < w.wave && text.n; n++) {
            const char *end = memchr(text.p, '\n', (size_t)text.n);
            line[n] = (Str){text.p, end ? end + 1 - text.p : text.n};
            text = (Str){text.p + line[n].n, text.n - line[n].n};
        }
        assert_true(bpe_trainer_add(t, line, n, &b->err));
    }
    if (!bpe_trainer_learn(t, &tok, b->keep, &b->err)) fail_msg("%s", b->err.msg);
    bpe_trainer_close(t);
    team_close(team);
    Buf json = {.a = b->keep};
    assert_true(tokenizer_json(&json, tok, -1, b->scratch, &b->err));
    tokenizer_close(tok);
    return buf_str(&json);
}

static const char *merge_of(Bench *b, json_t *o, size_t i) {
    const json_t *m = json_array_get(json_object_get(json_object_get(o, "model"), "merges"), i);
    return str_fmt(b->keep, "%s %s", json_string_value(json_array_get(m, 0)),
                   json_string_value(json_array_get(m, 1)))
        .p;
}

/* Words: "abc" once, " abc" and " ab" twice, " bc" once. "a b" stands 5 times, " ab" then 4 and
 * " ab c" 2; of pairs that stand once the smallest left id counts, and " " has a larger one than
 * "b". */
static void test_by_hand(void **state) {
    Bench *b = *state;
    const Str json = learnt(b, STR("abc abc abc ab ab bc\n"), bpe_vocab_least() + 6,
                            (Want){.threads = 1, .wave = 1});
    json_t *o = json_loadb(json.p, (size_t)json.n, 0, NULL);
    assert_non_null(o);
    const char *const made[] = {"a b", "\u0120 ab", "\u0120ab c", "b c", "\u0120 bc", "ab c"};
    for (int64_t i = 0; i < COUNT(made); i++)
        assert_string_equal(merge_of(b, o, (size_t)i), made[i]);
    json_decref(o);
}

static void test_same(void **state) {
    Bench *b = *state;
    const Str text = text_of(b, 20000);
    const Want want[] = {{2, 50, 0, 0, false},
                         {3, 7, 0, 0, false},
                         {1, 200, 500, 0, false},
                         {2, 200, 4000, 0, false},
                         {4, 1, 100, 0, false}};
    const Str first = learnt(b, text, 800, (Want){.threads = 1, .wave = 256});
    for (int64_t i = 0; i < COUNT(want); i++) same_str(learnt(b, text, 800, want[i]), first);
    /* Where words do not fit, the seldom ones go, the same ones on any number of threads. */
    const Str little = learnt(b, text, 800, (Want){1, 100, 0, 2000, false});
    same_str(learnt(b, text, 800, (Want){3, 100, 0, 2000, false}), little);
    assert_false(str_eq(little, first));
}

/* What is learnt encodes and gives back any text; with single digits no token has two. */
static void test_use(void **state) {
    Bench *b = *state;
    const Str text = text_of(b, 5000);
    for (int digits = 0; digits < 2; digits++) {
        const Str json = learnt(b, text, 700, (Want){2, 50, 0, 0, digits});
        Tokenizer *t = tokenizer_fine(b, json);
        assert_int_equal(tokenizer_size(t), 700);
        const Ids ids = encode(b, t, text, TEXT_PLAIN);
        same_str(decode(b, t, ids), text);
        assert_in_range(ids.n, 1, text.n / 2);
        int64_t pairs = 0;
        for (int32_t i = 0; i < 700; i++) {
            const Str s = token_bytes(t, i);
            for (int64_t k = 1; k < s.n; k++)
                pairs += s.p[k - 1] >= '0' && s.p[k - 1] <= '9' && s.p[k] >= '0' && s.p[k] <= '9';
        }
        assert_true(digits ? pairs == 0 : pairs > 0);
        assert_true(token_is_special(t, token_named(t, STR("<｜User｜>"))));
        assert_false(token_is_special(t, token_named(t, STR("<think>"))));
        tokenizer_close(t);
    }
}

static void test_limits(void **state) {
    Bench *b = *state;
    Team *team = team_open(1);
    const int64_t vocab[] = {bpe_vocab_least() - 1, BPE_VOCAB_MAX + 1};
    for (int64_t i = 0; i < COUNT(vocab); i++) {
        BpeTrainer *t;
        Err err = {0};
        const BpeSpec spec = {.vocab = vocab[i]};
        assert_false(bpe_trainer_open(&t, &spec, team, &err));
        assert_int_equal(err.code, ERR_USAGE);
    }
    team_close(team);
    /* A text that has no more pairs: fewer tokens, and nothing else is wrong. */
    Tokenizer *t = tokenizer_fine(b, learnt(b, STR("aaaa"), 1000, (Want){1, 1, 0, 0, false}));
    assert_int_equal(tokenizer_size(t), bpe_vocab_least() + 2);
    tokenizer_close(t);
    /* A word of 300,000 bytes, bytes that are not UTF-8, and none at all. */
    char *word = PUSH(b->keep, char, 300000);
    for (int64_t i = 0; i < 300000; i++) word[i] = "abcd"[draw((uint64_t)i, 4)];
    t = tokenizer_fine(b, learnt(b, (Str){word, 300000}, 400, (Want){2, 1, 0, 0, false}));
    assert_int_equal(tokenizer_size(t), 400);
    tokenizer_close(t);
    tokenizer_close(tokenizer_fine(
        b, learnt(b, STR("\xff\xfe\xff\xfe ok \xc3\n"), 280, (Want){2, 1, 0, 0, false})));
    tokenizer_close(tokenizer_fine(b, learnt(b, STR(""), 280, (Want){2, 1, 0, 0, false})));
}

/* ---- the chat template ----------------------------------------------------------------------- */

static const char *rendered(Bench *b, const Chat *c, const char *request, Think think) {
    Buf text = {.a = b->keep};
    const ChatOptions o = {.generate = true, .think = think, .request = str_of(request)};
    if (!chat_encode(NULL, &text, c, NULL, 0, o, b->scratch, &b->err)) fail_msg("%s", b->err.msg);
    buf_add(&text, (Str){"", 1});
    return text.p;
}

static Chat chat_of(Bench *b, const Tokenizer *t, bool last) {
    const Str config = bpe_chat_config(b->keep, last);
    json_t *o = json_loadb(config.p, (size_t)config.n, 0, NULL);
    assert_non_null(o);
    const char *template = json_string_value(json_object_get(o, "chat_template"));
    const Str end = str_of(json_string_value(json_object_get(o, "eos_token")));
    Chat c;
    if (!chat_init(&c, b->keep, t, str_copy(b->keep, str_of(template)), STR(""),
                   str_copy(b->keep, end), &b->err))
        fail_msg("%s", b->err.msg);
    json_decref(o);
    return c;
}

static void test_chat(void **state) {
    Bench *b = *state;
    Tokenizer *t = tokenizer_fine(b, learnt(b, STR("a b"), 280, (Want){1, 1, 0, 0, false}));
    const Chat c = chat_of(b, t, false), alone = chat_of(b, t, true);
    assert_int_equal(c.end, token_named(t, STR("<｜end▁of▁sentence｜>")));
    assert_int_equal(c.tools, TOOLS_DEEPSEEK);
    const char *turns = "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, "
                        "{\"role\": \"user\", \"content\": \"1+1?\"}, {\"role\": \"assistant\", "
                        "\"content\": \"<think>\\nhm\\n</think>\\n\\n2\"}, {\"role\": \"user\", "
                        "\"content\": \"And 2+2?\"}]}";
    const char *want = "Be brief.<｜User｜>1+1?<｜Assistant｜>2<｜end▁of▁sentence｜><｜User｜>And "
                       "2+2?<｜Assistant｜>";
    assert_string_equal(rendered(b, &c, turns, THINK_DEFAULT), want);
    assert_string_equal(rendered(b, &alone, turns, THINK_DEFAULT),
                        "<｜User｜>And 2+2?<｜Assistant｜>");
    assert_string_equal(rendered(b, &c, turns, THINK_ON), str_fmt(b->keep, "%s<think>\n", want).p);
    assert_string_equal(rendered(b, &c, turns, THINK_OFF),
                        str_fmt(b->keep, "%s<think>\n\n</think>\n\n", want).p);
    const Message last[] = {{ROLE_USER, STR("1+1?"), {0}},
                            {ROLE_ASSISTANT, STR("2"), STR("one and one")},
                            {ROLE_USER, STR("2+2?"), {0}},
                            {ROLE_ASSISTANT, STR("4"), STR("two and two")}};
    Buf text = {.a = b->keep};
    assert_true(chat_encode(NULL, &text, &c, last, 4, (ChatOptions){0}, b->scratch, &b->err));
    same_str(buf_str(&text),
             STR("<｜User｜>1+1?<｜Assistant｜>2<｜end▁of▁sentence｜><｜User｜>2+2?<｜Assistant｜>"
                 "<think>\ntwo and two\n</think>\n\n4<｜end▁of▁sentence｜>"));
    const char *called =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Rain?\"}, {\"role\": \"assistant\", "
        "\"content\": null, \"tool_calls\": [{\"type\": \"function\", \"function\": {\"name\": "
        "\"sky\", \"arguments\": {\"at\": 1}}}]}, {\"role\": \"tool\", \"content\": \"wet\"}, "
        "{\"role\": \"tool\", \"content\": \"cold\"}], \"tools\": [{\"type\": \"function\", "
        "\"function\": {\"name\": \"sky\"}}]}";
    assert_string_equal(
        rendered(b, &c, called, THINK_DEFAULT),
        "Functions that can be called:\n{\"name\": \"sky\"}<｜User｜>Rain?<｜Assistant｜>"
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>sky\n```json\n{\"at\": "
        "1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜><"
        "｜tool▁outputs▁begin｜>"
        "<｜tool▁output▁begin｜>wet<｜tool▁output▁end｜><｜tool▁output▁begin｜>cold"
        "<｜tool▁output▁end｜><｜tool▁outputs▁end｜><｜Assistant｜>");
    tokenizer_close(t);
}

int learn_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(test_by_hand), TEXT_TEST(test_same),
                                       TEXT_TEST(test_use), TEXT_TEST(test_limits),
                                       TEXT_TEST(test_chat)};
    return cmocka_run_group_tests_name("learn", tests, NULL, NULL);
}
