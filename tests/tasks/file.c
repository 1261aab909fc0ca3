/* file.c -- problems of a JSONL file: what is read, what is refused and where it says so, and which
 * numbers are the same. */
#define _GNU_SOURCE
#include "tests.h"

#include "tasks/parts.h"

#include <stdlib.h>

static const Task *read_lines(Arena *a, const char *text, Err *err) {
    const Task *t = NULL;
    *err = (Err){0};
    return task_from_lines(&t, a, str_of(text), "some.jsonl", err) ? t : NULL;
}

static const char SOME[] =
    "{\"question\": \"How many?\", \"answer\": \"They are 48/2 = <<48/2=24>>24 in\\nMay, 5 << 6.\\n"
    "#### 1,450,000\"}\n"
    "{\"Body\": \"There are 3 pens. \", \"Question\": \"What is -8 / 3 * 3?\", \"Answer\": -8.0}\n"
    "{\"ID\": \"x\", \"question\": \"\xe5\xa4\x9a\xe5\xb0\x91\xef\xbc\x9f\", \"answer\": "
    "\"0.50\"}\r\n"
    "{\"question\": \"Seven?\", \"answer\": 7, \"Answer\": 8}";

static void problems_are_read(void **state) {
    Arena *a = *state;
    Err err;
    const Task *t = read_lines(a, SOME, &err);
    static const struct {
        const char *prompt, *thought, *answer;
    } expected[] = {{"How many?", "They are 48/2 = 24 in May, 5 << 6.", "1450000"},
                    {"There are 3 pens. What is -8 / 3 * 3?", "", "-8"},
                    {"多少？", "", "0.50"},
                    {"Seven?", "", "7"}};
    if (!t) fail_msg("%s", err.msg);
    assert_int_equal(t->reads, 4);
    for (int held = 0; held < 2; held++) {
        const TaskStream s = task_stream(t, 7, held); /* the file is the range */
        for (int64_t k = 0; k < 12; k++) {
            Problem p;
            task_problem(&p, a, &s, k);
            assert_true(str_eq(p.prompt, str_of(expected[k % 4].prompt)));
            assert_true(str_eq(p.thought, str_of(expected[k % 4].thought)));
            assert_true(str_eq(p.answer, str_of(expected[k % 4].answer)));
            assert_true(task_check(t, &p, p.answer));
        }
    }
}

static void wrong_lines_are_named(void **state) {
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "some.jsonl has no problems"},
        {"\n", "line 1: the line is empty"},
        {"{\"question\": \"x\", \"answer\": \"1\"}\n \t\r\n", "line 2: the line is empty"},
        {"{\"question\": \"x\", \"answer\": \"1\"}\n{\"question\": \"x\"", "line 2: "},
        {"[1]\n", "line 1: there is no \"question\""},
        {"7\n", "line 1: "},
        {"{\"question\": \"x\", \"question\": \"y\", \"answer\": \"1\"}", "line 1: dup"},
        {"{\"question\": \"\", \"answer\": \"1\"}", "no \"question\""},
        {"{\"question\": 7, \"answer\": null}", "line 1: there is no \"answer\""},
        {"{\"Body\": \"x\", \"Answer\": \"1\"}", "no \"Body\" with a \"Question\""},
        {"{\"question\": \"x\"}", "line 1: there is no \"answer\""},
        {"{\"question\": \"x\", \"answer\": true}", "line 1: there is no \"answer\""},
        {"{\"question\": \"x\", \"answer\": \"about 7\"}", "line 1: the answer \"about 7\" is no"},
        {"{\"question\": \"x\", \"answer\": \"7 #### \"}", "line 1: the answer \"\" is no"},
        {"{\"question\": \"x\", \"answer\": \"#### 7 #### 1,45,000\"}",
         "answer \"1,45,000\" is no"},
        {"{\"question\": \"x\", \"answer\": \"1,4500\"}", "the answer \"1,4500\" is no number"},
        {"{\"question\": \"x\", \"answer\": \"#### $7\"}", "the answer \"$7\" is no number"},
        {"{\"question\": \"x\", \"answer\": \"1e3\"}", "the answer \"1e3\" is no number"},
        {"{\"question\": \"x\", \"answer\": 1e300}", "is no number"},
        {"{\"question\": \"x\", \"answer\": \"07\"}", "the answer \"07\" is no number"},
        {"{\"question\": \"x\xff\", \"answer\": \"7\"}", "line 1: "}};
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        Err err;
        if (read_lines(a, wrong[i].text, &err)) fail_msg("taken: %s", wrong[i].text);
        if (!strstr(err.msg, wrong[i].says)) fail_msg("%s: %s", wrong[i].text, err.msg);
        assert_int_equal(err.code, ERR_FORMAT);
    }
}

static void numbers_are_compared(void **state) {
    static const struct {
        const char *expected, *right[4], *wrong[24];
    } cases[] = {
        {"1,450,000",
         {"1450000", "1450000.0", " 1450000\n", "1450000.000"},
         {"1,450,000",
          "1450000.",
          "+1450000",
          "01450000",
          "1.45e6",
          "$1450000",
          "1450000 dollars",
          "1450000 1450000",
          "1450000, 1450000",
          "-1450000",
          "1450000.5",
          "#### 1450001",
          "The answer is 1450000",
          "1450000/1",
          "1450_000",
          "145000",
          "14500000",
          "１４５００００",
          "0x162010",
          "1450000%",
          "--1450000",
          "<think></think>1450000"}},
        {"-8", {"-8", "-8.0", "-8.00"}, {"8", "- 8", "--8", "-08", "(8)", "-8.01", "−8", "-"}},
        {"0", {"0", "-0", "0.0", "-0.00"}, {"00", "", ".0", "0.", "-", "O", "0.01", "000.0"}},
        {"0.50", {"0.5", "0.50", "0.5000"}, {".5", "1/2", "0,5", "0.05", "0.5.0", "50%", "0.51"}}};
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Err err;
        Problem p;
        const Task *t = read_lines(
            a, str_fmt(a, "{\"question\": \"x\", \"answer\": \"#### %s\"}", cases[i].expected).p,
            &err);
        if (!t) fail_msg("%s", err.msg);
        const TaskStream s = task_stream(t, 1, true);
        task_problem(&p, a, &s, 0);
        for (int k = 0; k < 4 && cases[i].right[k]; k++)
            if (!takes(t, &p, cases[i].right[k])) fail_msg("refused: %s", cases[i].right[k]);
        for (int k = 0; k < 24 && cases[i].wrong[k]; k++)
            if (takes(t, &p, cases[i].wrong[k])) fail_msg("taken: %s", cases[i].wrong[k]);
    }
}

static void files_are_opened_by_name(void **state) {
    Arena *a = *state;
    Err err = {0};
    const Task *t;
    char folder[] = "/tmp/lisao-tasks-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const Str name = str_fmt(a, "file:%s/some:problems.jsonl", folder);
    const Str packed = str_fmt(a, "file:%s/packed.jsonl.gz", folder);
    assert_true(os_put(a, name.p + 5, str_of(SOME), &err));
    assert_true(task_open(&t, a, name, &err));
    assert_string_equal(t->name, name.p);
    assert_int_equal(t->reads, 4);
    assert_true(task_open(&t, a, STR("addition"), &err) && !t->read);
    assert_false(task_open(&t, a, str_fmt(a, "file:%s/none.jsonl", folder), &err));
    assert_non_null(strstr(err.msg, "none.jsonl"));
    err = (Err){0};
    assert_true(os_put(a, packed.p + 5, STR("\x1f\x8b\x08\0"), &err));
    assert_false(task_open(&t, a, packed, &err));
    assert_non_null(strstr(err.msg, "unpack it first"));
    err = (Err){0};
    assert_false(task_open(&t, a, STR("file"), &err));
    assert_non_null(strstr(err.msg, "file:PATH"));
    err = (Err){0};
    assert_true(os_remove(folder, &err));
}

int file_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(problems_are_read),
        ARENA_TEST(wrong_lines_are_named),
        ARENA_TEST(numbers_are_compared),
        ARENA_TEST(files_are_opened_by_name),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
