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
    splitter_init(&split, in_thought);
    for (int64_t i = 0; i < s.n; i += step)
        splitter_push(&split, (Str){s.p + i, MIN(step, s.n - i)}, &reasoning, &answer);
    splitter_end(&split, &reasoning, &answer);
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
    splitter_init(&s, false);
    splitter_push(&s, STR("<think>one <"), &reasoning, &answer);
    same_str(buf_str(&reasoning), STR("one "));
    splitter_push(&s, STR("2\n\n"), &reasoning, &answer);
    same_str(buf_str(&reasoning), STR("one <2"));
    splitter_push(&s, STR("x</think>\n\ny\n"), &reasoning, &answer);
    same_str(buf_str(&reasoning), STR("one <2\n\nx"));
    same_str(buf_str(&answer), STR("y\n"));
}

int split_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(known), TEXT_TEST(random_streams),
                                       TEXT_TEST(prompt)};
    return cmocka_run_group_tests_name("thoughts", tests, NULL, NULL);
}
