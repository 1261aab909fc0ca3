/* distill.c -- what a teacher answers becomes what a student learns: the same bytes however often
 * it was killed, right answers alone where they are wanted, and what is refused. */
#include "support/httpd.h"
#include "tests.h"

#include <jansson.h>
#include <stdlib.h>

static Str content(Arena *a, const char *path) {
    Str s;
    Err err = {0};
    if (!os_read(a, &s, path, 1 << 24, &err)) fail_msg("%s", err.msg);
    return s;
}

/* A teacher of random weights, which ends an answer somewhere. */
static void teacher_make(Arena *a) {
    const char *set[] = {"tokenizer=bytes", str_fmt(a, "checkpoint.folder=%s/teacher", folder).p,
                         "optim.lr=0", "model.vocab_size=262"};
    const Recipe r = tiny_recipe(a, "deepseek_v3", set, COUNT(set));
    Trainer *t;
    StepStats s;
    Err err = {0};
    if (!trainer_open(&t, &r, 1, &err) || !trainer_step(t, &s, &err) || !trainer_save(t, &err))
        fail_msg("%s", err.msg);
    trainer_close(t);
}

static Recipe distill_recipe(Arena *a, const char *const *set, int64_t n) {
    Recipe r;
    Err err = {0};
    const Str yaml = str_fmt(
        a,
        "objective: distill\ninit_from: %s/teacher\ndistill: {teacher: %s/teacher, prompts: "
        "'task:addition:1+subtraction:1', count: 7, samples: 3, most: 2, max_tokens: 190}\n"
        "data: {cache: %s/cache}\nbatch: {sequence: 256, tokens: 256}\noptim: {lr: 1e-3, steps: "
        "2}\ncheckpoint: {folder: %s/run, every: 0}\n",
        folder, folder, folder, folder);
    if (!recipe_read(&r, a, file_write(a, "distill.yaml", yaml), set, n, &err))
        fail_msg("%s", err.msg);
    return r;
}

static const char *in_folder(Arena *a, const Recipe *r, const char *name) {
    return str_fmt(a, "%s/%s", r->checkpoint.folder, name).p;
}

/* Cut anywhere, on other threads, the journal ends the same; the student learns from it, and goes
 * on without a teacher. */
static void answers_do_not_see_kills(void **state) {
    need_native();
    Arena *a = *state;
    Err err = {0};
    teacher_make(a);
    const Recipe whole = distill_recipe(a, NULL, 0);
    if (!distill_make(&whole, 1, &err)) fail_msg("%s", err.msg);
    const Str journal = content(a, in_folder(a, &whole, "distilled.part.jsonl")),
              file = content(a, in_folder(a, &whole, "distilled.jsonl"));
    const char *set[] = {str_fmt(a, "checkpoint.folder=%s/cut", folder).p};
    const Recipe cut = distill_recipe(a, set, 1);
    for (int64_t i = 0; i < 5; i++) {
        const int64_t n = i == 0 ? 0 : 1 + dice(journal.n - 1);
        assert_true(os_mkdir(cut.checkpoint.folder, &err));
        assert_true(
            os_put(a, in_folder(a, &cut, "distilled.part.jsonl"), (Str){journal.p, n}, &err));
        if (!distill_make(&cut, 1 + i % 3, &err)) fail_msg("%s", err.msg);
        assert_true(str_eq(journal, content(a, in_folder(a, &cut, "distilled.part.jsonl"))));
        assert_true(str_eq(file, content(a, in_folder(a, &cut, "distilled.jsonl"))));
        assert_true(os_remove(in_folder(a, &cut, "distilled.jsonl"), &err));
    }
    if (!train_run(&whole, 2, &err)) fail_msg("%s", err.msg);
    const char *more[] = {"optim.steps=3"};
    assert_true(
        os_rename(str_fmt(a, "%s/teacher", folder).p, str_fmt(a, "%s/gone", folder).p, &err));
    const Recipe on = distill_recipe(a, more, 1);
    if (!train_run(&on, 1, &err)) fail_msg("%s", err.msg);
    /* Another teacher, or other keys, is another file. */
    const char *other[] = {"distill.temperature=0.5"};
    const Recipe wrong = distill_recipe(a, other, 1);
    assert_false(distill_make(&wrong, 1, &err));
    assert_non_null(strstr(err.msg, "was made with another teacher, other prompts or other keys"));
}

/* Prompts from a file, whose answers are known: of what was answered, only these are kept. */
static void right_answers_are_kept(void **state) {
    need_native();
    Arena *a = *state;
    Err err = {0};
    Buf plain = {.a = arena_open("prompts", ARENA_NO_LIMIT)},
        known = {.a = arena_open("known", ARENA_NO_LIMIT)};
    teacher_make(a);
    for (int i = 0; i < 8; i++)
        buf_fmt(&plain,
                i % 2 ? "{\"prompt\": \"%d?\"}\n"
                      : "{\"messages\": [{\"role\": \"user\", \"content\": \"%d?\"}, "
                        "{\"role\": \"assistant\", \"content\": \"old\"}]}\n",
                i);
    const char *set[] = {
        str_fmt(a, "distill.prompts=%s", file_write(a, "plain.jsonl", buf_str(&plain))).p,
        "distill.most=1", "distill.count=100", "distill.keep=all",
        str_fmt(a, "checkpoint.folder=%s/all", folder).p};
    const Recipe all = distill_recipe(a, set, COUNT(set));
    if (!distill_make(&all, 2, &err)) fail_msg("%s", err.msg);
    const Str journal = content(a, in_folder(a, &all, "distilled.part.jsonl"));
    const char *line = strchr(journal.p, '\n') + 1;
    int kept = 0;
    for (int i = 0; i < 8; i++, line = strchr(line, '\n') + 1) {
        json_t *o = json_loadb(line, (size_t)(strchr(line, '\n') - line), JSON_ALLOW_NUL, NULL),
               *first, *said;
        first = json_array_get(json_object_get(o, "kept"), 0);
        said = json_array_get(json_object_get(first, "messages"), 1);
        assert_true(!first || json_array_size(json_object_get(first, "messages")) == 2);
        char *z = said ? json_dumps(json_object_get(said, "content"), JSON_ENCODE_ANY) : NULL;
        buf_fmt(&known, "{\"prompt\": \"%d?\", \"answer\": ", i);
        for (const char *p = z ? z : "\"never so\""; *p; p++)
            buf_fmt(&known, *p == 0x7f ? "\\u007f" : "%c", *p);
        buf_fmt(&known, "}\n");
        kept += said != NULL;
        free(z);
        json_decref(o);
    }
    assert_in_range(kept, 1, 8);
    set[0] = str_fmt(a, "distill.prompts=%s", file_write(a, "known.jsonl", buf_str(&known))).p;
    set[3] = "distill.keep=right";
    set[4] = str_fmt(a, "checkpoint.folder=%s/right", folder).p;
    const Recipe right = distill_recipe(a, set, COUNT(set));
    if (!distill_make(&right, 2, &err)) fail_msg("%s", err.msg);
    assert_true(str_eq(content(a, in_folder(a, &all, "distilled.jsonl")),
                       content(a, in_folder(a, &right, "distilled.jsonl"))));
    /* Sums that a random model gets right are none. */
    set[0] = "distill.prompts=task:multiplication:3";
    set[2] = "distill.count=3";
    set[4] = str_fmt(a, "checkpoint.folder=%s/none", folder).p;
    const Recipe none = distill_recipe(a, set, COUNT(set));
    assert_false(distill_make(&none, 2, &err));
    assert_non_null(strstr(err.msg, "none is kept"));
    arena_close(plain.a), arena_close(known.a);
}

/* A teacher at an address, which thinks in its content or apart and is right about one of two
 * questions. */
static void teachers_may_be_far(void **state) {
    need_native();
    static const struct {
        const char *reply, *kept;
    } cases[] = {
        {"{\"choices\": [{\"message\": {\"role\": \"assistant\", \"content\": "
         "\"<think>\\nso\\n</think>\\n\\n7\"}, \"finish_reason\": \"stop\"}]}",
         "\"content\":\"7\",\"reasoning_content\":\"so\""},
        {"{\"choices\": [{\"message\": {\"content\": \"7\", \"reasoning_content\": "
         "\"so\"}, \"finish_reason\": \"stop\"}]}",
         "\"content\":\"7\",\"reasoning_content\":\"so\""},
        {"{\"choices\": [{\"message\": {\"content\": \"7\"}, \"finish_reason\": "
         "\"length\"}]}",
         NULL},
        {"{\"error\": \"no\"}", NULL},
        {"nonsense", NULL},
    };
    static const char *const says[] = {NULL, NULL, "2 were cut", "answers something else than",
                                       "answers something else than"};
    Arena *a = *state;
    Httpd *h = httpd_open();
    teacher_make(a);
    const char *prompts = file_write(a, "two.jsonl",
                                     STR("{\"prompt\": \"3+4?\", \"answer\": \"7\"}\n"
                                         "{\"prompt\": \"3+5?\", \"answer\": \"8\"}\n"));
    for (int i = 0; i < COUNT(cases); i++) {
        const char *set[] = {str_fmt(a, "distill.prompts=%s", prompts).p,
                             str_fmt(a, "distill.teacher=%s/v1", httpd_url(h)).p,
                             "distill.model=wise",
                             "distill.keep=right",
                             "distill.samples=1",
                             str_fmt(a, "checkpoint.folder=%s/far%d", folder, i).p};
        const Recipe r = distill_recipe(a, set, COUNT(set));
        Err err = {0};
        httpd_serve(h, (Served){.path = "/v1/chat/completions",
                                .body = str_of(cases[i].reply),
                                .type = "application/json"});
        const bool ok = cases[i].kept ? train_run(&r, 1, &err) : distill_make(&r, 1, &err);
        if (!cases[i].kept) {
            assert_false(ok);
            if (!strstr(err.msg, says[i])) fail_msg("%s", err.msg);
            continue;
        }
        if (!ok) fail_msg("%s", err.msg);
        const Asked asked = httpd_asked(h, "/v1/chat/completions");
        assert_int_equal(asked.n, 2);
        assert_non_null(strstr(asked.body, "{\"messages\":[{\"role\":\"user\",\"content\":\"3+5?\"}"
                                           "],\"model\":\"wise\",\"temperature\":1.0,"
                                           "\"max_tokens\":190,\"seed\":"));
        const Str file = content(a, in_folder(a, &r, "distilled.jsonl"));
        assert_non_null(strstr(file.p, cases[i].kept));
        assert_null(strstr(file.p, "3+5?"));
    }
    httpd_close(h);
}

static void what_is_missing_is_named(void **state) {
    need_native();
    static const struct {
        const char *set, *says;
    } wrong[] = {{"distill.teacher=", "distill.teacher is missing"},
                 {"distill.prompts=", "distill.prompts is missing"},
                 {"data.train=x.jsonl", "leave it out. For a mixture"},
                 {"objective=sft", "the key data.train is missing"},
                 {"distill.keep=some", "expected all|right"}};
    Arena *a = *state;
    Recipe r = distill_recipe(a, NULL, 0);
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        Err err = {0};
        if (recipe_read(&r, a, str_fmt(a, "%s/distill.yaml", folder).p, &wrong[i].set, 1, &err))
            fail_msg("taken: %s", wrong[i].set);
        if (!strstr(err.msg, wrong[i].says)) fail_msg("%s", err.msg);
    }
    teacher_make(a);
    static const char *const bad[][2] = {{"{\"text\": 1}\n", "prompt 1 is neither"},
                                         {"{\"messages\": []}\n", "prompt 1 is neither"},
                                         {"{\"prompt\": \"a\"}\n", "has no \"answer\""},
                                         {"\n\n", "there is no prompt in it"}};
    for (int64_t i = 0; i < COUNT(bad); i++) {
        const char *set[] = {
            str_fmt(a, "distill.prompts=%s", file_write(a, "bad.jsonl", str_of(bad[i][0]))).p,
            "distill.keep=right", str_fmt(a, "checkpoint.folder=%s/bad%d", folder, (int)i).p};
        Err err = {0};
        r = distill_recipe(a, set, COUNT(set));
        assert_false(distill_make(&r, 1, &err));
        if (!strstr(err.msg, bad[i][1])) fail_msg("%s", err.msg);
    }
}

int distill_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(answers_do_not_see_kills),
        ARENA_TEST(right_answers_are_kept),
        ARENA_TEST(teachers_may_be_far),
        ARENA_TEST(what_is_missing_is_named),
    };
    return cmocka_run_group_tests_name("distill", tests, NULL, NULL);
}
