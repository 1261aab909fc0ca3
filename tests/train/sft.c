/* sft.c -- conversations to learn from: a model goes on from another with its tokenizer and its
 * template, learns answers alone, and a run that was stopped ends as one that was not. */
#include "tests.h"

/* Questions about numbers, in two turns; thoughts in half of the answers. */
static const char *talks(Arena *a, const char *name, int64_t n) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < n; i++)
        buf_fmt(&b,
                "{\"messages\": [{\"role\": \"user\", \"content\": \"%lld?\"}, {\"role\": "
                "\"assistant\", \"content\": \"%s%lld\"}, {\"role\": \"user\", \"content\": "
                "\"more\"}, {\"role\": \"assistant\", \"content\": \"%lld\"}]}\n",
                (long long)i, i % 2 ? "<think>\\nhm\\n</think>\\n\\n" : "", (long long)i + 1,
                (long long)i + 2);
    return file_write(a, name, buf_str(&b));
}

static Trainer *opened(const Recipe *r, int64_t threads) {
    Trainer *t;
    Err err = {0};
    if (!trainer_open(&t, r, threads, &err)) fail_msg("%s", err.msg);
    return t;
}

static void refused(const Recipe *r, const char *says) {
    Trainer *t;
    Err err = {0};
    if (trainer_open(&t, r, 1, &err)) fail_msg("taken, and not: %s", says);
    if (!strstr(err.msg, says)) fail_msg("%s", err.msg);
}

/* A model that has read text for two steps, in `folder`/NAME. */
static void base_make(Arena *a, const char *name, const char *tokenizer) {
    const char *set[] = {tokenizer, str_fmt(a, "checkpoint.folder=%s/%s", folder, name).p};
    const Recipe r = tiny_recipe(a, "deepseek_v3", set, 2);
    Trainer *t = opened(&r, 2);
    StepStats s;
    Err err = {0};
    for (int i = 0; i < 2; i++) assert_true(trainer_step(t, &s, &err));
    if (!trainer_save(t, &err)) fail_msg("%s", err.msg);
    trainer_close(t);
}

/* Without tokenizer: that of the base. */
static Recipe sft_recipe(Arena *a, const char *base, const char *const *set, int64_t n) {
    Recipe r;
    Err err = {0};
    const char *file = talks(a, "talks.jsonl", 40);
    const Str yaml = str_fmt(a,
                             "objective: sft\ninit_from: %s/%s\ndata: {train: %s, cache: "
                             "%s/cache, documents: 50}\nbatch: {sequence: 64, tokens: 128}\n"
                             "optim: {lr: 5e-3, steps: 8}\ncheckpoint: {folder: %s/sft, every: 0}\n"
                             "balance: {rate: 0}\n",
                             folder, base, file, folder, folder);
    if (!recipe_read(&r, a, file_write(a, "sft.yaml", yaml), set, n, &err)) fail_msg("%s", err.msg);
    return r;
}

static void answers_are_learned(void **state) {
    need_native();
    Arena *a = *state;
    Hex hash[2];
    base_make(a, "base", "tokenizer=bytes");
    for (int legs = 1; legs <= 2; legs++) {
        const char *set[] = {str_fmt(a, "checkpoint.folder=%s/legs%d", folder, legs).p,
                             str_fmt(a,
                                     "data.train=[{source: %s/talks.jsonl, weight: 3}, {source: "
                                     "task:addition:1, weight: 1}, {source: %s/text, weight: 1}]",
                                     folder, folder)
                                 .p,
                             str_fmt(a, "data.valid=%s", talks(a, "valid.jsonl", 9)).p,
                             "sample.every=8", "sample.prompt=3?"};
        const Recipe r = sft_recipe(a, "base", set, COUNT(set));
        double before = 0, after = 0;
        for (int64_t step = 0; step < 8;) {
            /* What the run began with need not be there when it goes on. */
            Trainer *t = opened(&r, legs);
            Err err = {0};
            StepStats s;
            assert_int_equal(trainer_steps(t), step);
            if (step == 0) assert_true(trainer_eval(t, &before, &err));
            for (const int64_t end = legs == 1 ? 8 : step + 4; step < end; step++) {
                if (!trainer_step(t, &s, &err)) fail_msg("%s", err.msg);
                assert_in_range(s.targets, 1, 127);
            }
            assert_true(trainer_eval(t, &after, &err));
            if (!trainer_save(t, &err)) fail_msg("%s", err.msg);
            hash[legs - 1] = model_hash(trainer_model(t));
            trainer_close(t);
            if (legs == 2 && step == 4) {
                Err moved = {0};
                const char *base = str_fmt(a, "%s/base/step-000000002", folder).p;
                assert_true(os_remove(base, &moved));
            }
        }
        assert_true(after < before - 0.1);
    }
    assert_string_equal(hash[0].z, hash[1].z);
    /* It takes its template along: a further run begins from it. */
    const char *set[] = {str_fmt(a, "checkpoint.folder=%s/on", folder).p};
    const Recipe on = sft_recipe(a, "legs1", set, 1);
    trainer_close(opened(&on, 1));
    /* The objective is not changed on the way. */
    const char *other[] = {str_fmt(a, "checkpoint.folder=%s/legs1", folder).p,
                           "objective=pretrain"};
    const Recipe wrong = sft_recipe(a, "legs1", other, 2);
    refused(&wrong, "objective was \"sft\" and is \"pretrain\" now");
}

/* A GGUF file has a tokenizer and a template, too; the checkpoint has them as files. */
static void gguf_is_a_base(void **state) {
    need_native();
    Arena *a = *state;
    Err err = {0};
    base_make(a, "base", "tokenizer=bytes");
    const ConvertSpec spec = {0};
    Team *team = team_open(1);
    const char *from = str_fmt(a, "%s/base", folder).p, *to = str_fmt(a, "%s/b.gguf", folder).p;
    if (!bundle_convert(a, from, to, &spec, team, &err)) fail_msg("%s", err.msg);
    team_close(team);
    Hex hash[2];
    for (int i = 0; i < 2; i++) {
        const char *set[] = {str_fmt(a, "checkpoint.folder=%s/from%d", folder, i).p};
        const Recipe r = sft_recipe(a, i ? "b.gguf" : "base", set, 1);
        Trainer *t = opened(&r, 1);
        StepStats s;
        assert_true(trainer_step(t, &s, &err) && trainer_save(t, &err));
        hash[i] = model_hash(trainer_model(t));
        trainer_close(t);
        trainer_close(opened(&r, 1)); /* it goes on */
    }
    assert_string_equal(hash[0].z, hash[1].z);
}

static void what_does_not_fit_is_refused(void **state) {
    need_native();
    Arena *a = *state;
    Recipe r;
    Err err = {0};
    base_make(a, "base", "tokenizer=bytes");
    /* Tokens, then template, of another tokenizer. */
    const char *other[] = {str_fmt(a, "tokenizer=%s/tokenizer.json", folder).p};
    r = sft_recipe(a, "base", other, 1);
    refused(&r, "has no chat template to write conversations with");
    assert_true(os_mkdir(str_fmt(a, "%s/own", folder).p, &err));
    file_write(a, "own/tokenizer.json", bytes_tokenizer(a));
    file_write(a, "own/tokenizer_config.json",
               STR("{\"eos_token\": \"<|endoftext|>\", \"chat_template\": \"{{ "
                   "messages[0].content }}\"}"));
    const char *own[] = {str_fmt(a, "tokenizer=%s/own", folder).p};
    r = sft_recipe(a, "base", own, 1);
    refused(&r, "has other tokens than");
    file_write(a, "own/tokenizer.json", byte_tokenizer_json(a));
    refused(&r, "is not that of");
    /* A base without a template, and none given. */
    base_make(a, "plain", str_fmt(a, "tokenizer=%s/tokenizer.json", folder).p);
    r = sft_recipe(a, "plain", NULL, 0);
    refused(&r, "has no chat template to write conversations with");
    /* Nothing to take a tokenizer from. */
    const char *fresh[] = {"init_from=", "model.family=llama"};
    assert_false(recipe_read(&r, a, str_fmt(a, "%s/sft.yaml", folder).p, fresh, 2, &err));
    assert_non_null(strstr(err.msg, "the key tokenizer is missing"));
    /* A line that is no conversation. */
    file_write(a, "bad.jsonl", STR("{\"text\": \"a\"}\n"));
    const char *bad[] = {str_fmt(a, "data.train=%s/bad.jsonl", folder).p};
    r = sft_recipe(a, "base", bad, 1);
    refused(&r, "bad.jsonl, line 1: there are no \"messages\" in it");
}

int sft_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(answers_are_learned),
        ARENA_TEST(gguf_is_a_base),
        ARENA_TEST(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests_name("sft", tests, NULL, NULL);
}
