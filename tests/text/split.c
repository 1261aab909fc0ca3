/* split.c -- thoughts and answers: known cases, and streams against a search in the whole. */
#include "tests.h"

typedef struct Parts {
    bool thought;
    Str reasoning, answer;
} Parts;

static Parts streamed(Bench *b, Str s, bool in_thought, int64_t step) {
    Splitter split;
    Buf reasoning = {.a = b->keep}, answer = {.a = b->keep};
    buf_add(&reasoning, STR(""));
    buf_add(&answer, STR(""));
    const SplitText to = {&reasoning, &answer, NULL};
    splitter_init(&split, in_thought, TOOLS_NONE);
    for (int64_t i = 0; i < s.n; i += step)
        splitter_push(&split, (Str){s.p + i, MIN(step, s.n - i)}, &to);
    splitter_end(&split, &to);
    return (Parts){split.thought, buf_str(&reasoning), buf_str(&answer)};
}

static int64_t find(Str s, Str part) {
    for (int64_t i = 0; i + part.n <= s.n; i++)
        if (str_eq((Str){s.p + i, part.n}, part)) return i;
    return -1;
}

static Str trim(Str s, bool front, bool back) {
    while (front && s.n > 0 && s.p[0] == '\n') s.p++, s.n--;
    while (back && s.n > 0 && s.p[s.n - 1] == '\n') s.n--;
    return s;
}

/* The same by searching in the whole text. */
static Parts searched(Str s, bool in_thought) {
    Str rest = trim(s, true, false);
    if (!in_thought && !str_starts(rest, STR("<think>"))) return (Parts){false, STR(""), s};
    if (!in_thought) s = (Str){rest.p + 7, rest.n - 7};
    int64_t end = find(s, STR("</think>"));
    Str inner = {s.p, end < 0 ? s.n : end};
    Str answer = end < 0 ? STR("") : trim((Str){s.p + end + 8, s.n - end - 8}, true, false);
    return (Parts){true, trim(inner, true, true), answer};
}

static void same_parts(Parts got, Parts want) {
    assert_int_equal(got.thought, want.thought);
    same_str(got.reasoning, want.reasoning);
    same_str(got.answer, want.answer);
}

static void known(void **state) {
    Bench *b = *state;
    static const struct {
        const char *text;
        bool thought;
        const char *reasoning, *answer;
    } cases[] = {{"<think>\nHm. 1 < 2\n</think>\n\nYes.", true, "Hm. 1 < 2", "Yes."},
                 {"\n<think></think>Yes.", true, "", "Yes."},
                 {"Yes. <think>no</think>", false, "", "Yes. <think>no</think>"},
                 {"<<think>x", false, "", "<<think>x"},
                 {"<think>never ends\n</thin", true, "never ends\n</thin", ""},
                 {"<thin", false, "", "<thin"},
                 {"", false, "", ""}};
    for (int i = 0; i < COUNT(cases); i++) {
        Parts want = {cases[i].thought, str_of(cases[i].reasoning), str_of(cases[i].answer)};
        same_parts(streamed(b, str_of(cases[i].text), false, 1), want);
        same_parts(streamed(b, str_of(cases[i].text), false, 100), want);
    }
    same_parts(streamed(b, STR("so\n</think>\nA"), true, 1), (Parts){true, STR("so"), STR("A")});
}

static void random_streams(void **state) {
    Bench *b = *state;
    static const char *const pieces[] = {"<think>", "</think>", "\n",   "a",  "<",
                                         "</think", "think>",   "<thi", "</", "/"};
    for (uint64_t k = 0; k < 3000; k++) {
        Buf text = {.a = b->keep};
        buf_add(&text, k % 3 ? STR("<think>") : STR(""));
        for (uint64_t i = 0, n = draw(20 * k, 10); i < n; i++)
            buf_add(&text, str_of(pieces[draw(20 * k + i + 1, COUNT(pieces))]));
        Parts want = searched(buf_str(&text), k % 2);
        for (int64_t step = 1; step <= 3; step++)
            same_parts(streamed(b, buf_str(&text), k % 2, step), want);
    }
}

/* Nothing that cannot be a tag any more is held back. */
static void prompt(void **state) {
    Bench *b = *state;
    Splitter s;
    Buf reasoning = {.a = b->keep}, answer = {.a = b->keep};
    const SplitText to = {&reasoning, &answer, NULL};
    splitter_init(&s, false, TOOLS_NONE);
    splitter_push(&s, STR("<think>one <"), &to);
    same_str(buf_str(&reasoning), STR("one "));
    splitter_push(&s, STR("2\n\n"), &to);
    same_str(buf_str(&reasoning), STR("one <2"));
    splitter_push(&s, STR("x</think>\n\ny\n"), &to);
    same_str(buf_str(&reasoning), STR("one <2\n\nx"));
    same_str(buf_str(&answer), STR("y\n"));
}

/* ---- tool calls ------------------------------------------------------------------------------ */

#define B "<｜tool▁calls▁begin｜>"
#define C "<｜tool▁call▁begin｜>"
#define S "<｜tool▁sep｜>"
#define D "<｜tool▁call▁end｜>"
#define E "<｜tool▁calls▁end｜>"

static const struct {
    ToolSyntax tools;
    const char *text, *reasoning, *answer, *calls;
} calls[] = {
    {TOOLS_QWEN,
     "<think>\nHm.\n</think>\n\nI look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": "
     "{\"x\": 1}}\n</tool_call>",
     "Hm.", "I look.", "{\"name\":\"f\",\"arguments\":{\"x\":1}}\n"},
    {TOOLS_QWEN,
     "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\n<tool_call>\n{\"name\": \"g\", "
     "\"arguments\": \"{\\\"y\\\": [1, \\\"</b>\\\"]}\"}\n</tool_call>\n",
     "", "",
     "{\"name\":\"f\",\"arguments\":{}}\n{\"name\":\"g\",\"arguments\":{\"y\":[1,\"</b>\"]}}\n"},
    {TOOLS_QWEN,
     "<tool_call>\n<function=get>\n<parameter=city>\nRome\n</parameter>\n<parameter=n>\n3\n"
     "</parameter>\n</function>\n</tool_call>",
     "", "", "{\"name\":\"get\",\"arguments\":{\"city\":\"Rome\",\"n\":3}}\n"},
    /* what is no call is text, and nothing of it is lost */
    {TOOLS_QWEN, "a <tool_call>nonsense\n</tool_call>\n\nb\n", "",
     "a <tool_call>nonsense\n</tool_call>\n\nb\n", ""},
    {TOOLS_QWEN, "<tool_call>\n{\"name\": 3}", "", "<tool_call>\n{\"name\": 3}", ""},
    {TOOLS_QWEN, "<tool_call>\n{\"name\": \"f\"}", "", "", "{\"name\":\"f\",\"arguments\":{}}\n"},
    {TOOLS_QWEN, "1 <\n\n<tool", "", "1 <\n\n<tool", ""},
    {TOOLS_DEEPSEEK,
     "Well.\n\n" B C "function" S "f\n```json\n{\"a\": \"`\"}\n```" D "\n" C "function" S
     "g\n```json\n{}\n```" D E,
     "", "Well.",
     "{\"name\":\"f\",\"arguments\":{\"a\":\"`\"}}\n{\"name\":\"g\",\"arguments\":{}}\n"},
    {TOOLS_DEEPSEEK, "ok</think>" B C "f" S "{\"a\": 1}" D C "g" S "{}" D E, "", "ok</think>",
     "{\"name\":\"f\",\"arguments\":{\"a\":1}}\n{\"name\":\"g\",\"arguments\":{}}\n"},
    {TOOLS_QWEN,
     "<tool_call><function=f><parameter=a>1</parameter><parameter=a>2</parameter></function></"
     "tool_call>",
     "",
     "<tool_call><function=f><parameter=a>1</parameter><parameter=a>2</parameter></function></"
     "tool_call>",
     ""},
    {TOOLS_DEEPSEEK, C "f" S "[1]" D, "", C "f" S "[1]" D, ""},
    /* a NUL may stand in an argument, and in no name */
    {TOOLS_QWEN, "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"a\\u0000b\"}}</tool_call>",
     "", "", "{\"name\":\"f\",\"arguments\":{\"x\":\"a\\u0000b\"}}\n"},
    {TOOLS_QWEN,
     "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": \\\"\\\\u0000\\\"}\"}</tool_call>",
     "", "", "{\"name\":\"f\",\"arguments\":{\"x\":\"\\u0000\"}}\n"},
    {TOOLS_DEEPSEEK, "ok" B C "f" S "{\"x\": \"\\u0000\"}" D E, "", "ok",
     "{\"name\":\"f\",\"arguments\":{\"x\":\"\\u0000\"}}\n"},
    {TOOLS_QWEN, "<tool_call>{\"name\": \"f\\u0000\"}</tool_call>", "",
     "<tool_call>{\"name\": \"f\\u0000\"}</tool_call>", ""},
    /* without tools the tags are text */
    {TOOLS_NONE, "<tool_call>{\"name\": \"f\"}</tool_call>", "",
     "<tool_call>{\"name\": \"f\"}</tool_call>", NULL},
};

static void tool_calls(void **state) {
    Bench *b = *state;
    for (int i = 0; i < COUNT(calls); i++)
        for (int64_t step = 1; step < 40; step += 1 + step) {
            Splitter s;
            Str text = str_of(calls[i].text);
            Buf reasoning = {.a = b->keep}, answer = {.a = b->keep}, found = {.a = b->keep};
            const SplitText to = {&reasoning, &answer, calls[i].calls ? &found : NULL};
            buf_add(&reasoning, STR("")), buf_add(&answer, STR("")), buf_add(&found, STR(""));
            splitter_init(&s, false, calls[i].tools);
            for (int64_t at = 0; at < text.n; at += step)
                splitter_push(&s, (Str){text.p + at, MIN(step, text.n - at)}, &to);
            splitter_end(&s, &to);
            same_str(buf_str(&reasoning), str_of(calls[i].reasoning));
            same_str(buf_str(&answer), str_of(calls[i].answer));
            if (calls[i].calls) same_str(buf_str(&found), str_of(calls[i].calls));
        }
}

/* Any text whatever: what comes out is what went in, less line breaks, tags and calls. */
static void noise_is_no_call(void **state) {
    Bench *b = *state;
    static const char *const pieces[] = {
        "<tool_call>", "</tool_call>", "\n", "{", "}", "\"name\"", ":", "x", "<", C, D, S, B,
        "</think>",    "<function=",   ">"};
    for (uint64_t k = 0; k < 2000; k++) {
        Buf text = {.a = b->keep}, answer[2], found = {.a = b->keep}, reasoning = {.a = b->keep};
        buf_add(&text, STR("a"));
        for (uint64_t i = 0, n = draw(20 * k, 14); i < n; i++)
            buf_add(&text, str_of(pieces[draw(20 * k + i + 1, COUNT(pieces))]));
        for (int way = 0; way < 2; way++) { /* at once, and byte by byte */
            Splitter s;
            answer[way] = (Buf){.a = b->keep};
            const SplitText to = {&reasoning, &answer[way], &found};
            splitter_init(&s, false, k % 2 ? TOOLS_QWEN : TOOLS_DEEPSEEK);
            for (int64_t i = 0; i < (way ? text.n : 1); i++)
                splitter_push(&s, way ? (Str){text.p + i, 1} : buf_str(&text), &to);
            splitter_end(&s, &to);
        }
        same_str(buf_str(&answer[0]), buf_str(&answer[1]));
        assert_int_equal(found.n, 0);
    }
}

/* Arguments as deep as the JSON parser takes are too deep within the call: it is text, and is not
 * lost. */
static void deep_call(void **state) {
    Bench *b = *state;
    enum { DEPTH = 2047 };
    Buf text = {.a = b->keep}, reasoning = {.a = b->keep}, answer = {.a = b->keep},
        found = {.a = b->keep};
    const SplitText to = {&reasoning, &answer, &found};
    Splitter s;
    buf_add(&text, STR("<tool_call><function=f><parameter=a>"));
    for (int i = 0; i < DEPTH; i++) buf_add(&text, STR("["));
    for (int i = 0; i < DEPTH; i++) buf_add(&text, STR("]"));
    buf_add(&text, STR("</parameter></function></tool_call>"));
    splitter_init(&s, false, TOOLS_QWEN);
    splitter_push(&s, buf_str(&text), &to);
    splitter_end(&s, &to);
    assert_int_equal(found.n, 0);
    same_str(buf_str(&answer), buf_str(&text));
}

static void special_tokens_for_the_splitter(void **state) {
    (void)state;
    Splitter s;
    splitter_init(&s, false, TOOLS_NONE);
    assert_true(splitter_knows(&s, STR("<think>")) && splitter_knows(&s, STR("</think>")));
    assert_false(splitter_knows(&s, STR("<tool_call>")) || splitter_knows(&s, STR("")));
    splitter_init(&s, false, TOOLS_DEEPSEEK);
    assert_true(splitter_knows(&s, STR(S)) && splitter_knows(&s, STR(E)));
    assert_false(splitter_knows(&s, STR("<tool_call>")) || splitter_knows(&s, STR("<x>")));
}

int split_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(known),
                                       TEXT_TEST(random_streams),
                                       TEXT_TEST(prompt),
                                       TEXT_TEST(tool_calls),
                                       TEXT_TEST(noise_is_no_call),
                                       TEXT_TEST(deep_call),
                                       TEXT_TEST(special_tokens_for_the_splitter)};
    return cmocka_run_group_tests_name("thoughts", tests, NULL, NULL);
}
