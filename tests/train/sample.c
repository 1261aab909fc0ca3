/* sample.c -- what is written beside training: samples, bits per byte, the best checkpoint. */
#include "tests.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "bundle/bundle.h"
#include "infer/infer.h"

/* Line number `n` of metrics.jsonl that has `key`; NULL when there are fewer. */
static json_t *metric(Arena *a, const Recipe *r, const char *key, int64_t n) {
    Str log;
    Err err = {0};
    if (!os_read(a, &log, str_fmt(a, "%s/metrics.jsonl", r->checkpoint.folder).p, 1 << 20, &err))
        fail_msg("%s", err.msg);
    for (const char *p = log.p, *end; (end = strchr(p, '\n')); p = end + 1) {
        json_t *o = json_loadb(p, (size_t)(end - p), 0, NULL);
        assert_non_null(o);
        if (json_object_get(o, key) && n-- == 0) return o;
        json_decref(o);
    }
    return NULL;
}

static void run(const Recipe *r) {
    Err err = {0};
    if (!train_run(r, 2, &err)) fail_msg("%s", err.msg);
}

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    (void)seq, (void)logits;
    if (t.id >= 0 && finish != FINISH_STOP) CHECK(ids_add(arg, t.id));
}

/* What a plain plan writes, greedily, from the checkpoint. */
static Str greedy(Arena *a, const char *checkpoint, const char *prompt, int64_t n) {
    Bundle b = {0};
    Err err = {0};
    Plan *plan;
    Engine *e;
    Team *team = team_open(1);
    Ids ids = {.a = a}, out = {.a = a};
    const EngineSpec spec = {.seqs = 1, .queue = 1, .rows = 16};
    assert_true(bundle_open(&b, a, checkpoint, BUNDLE_MODEL | BUNDLE_TOKENIZER, &err));
    PlanSpec p = {.act = ACT_A16, .kv = DTYPE_BF16, .mla = MLA_EXPANDED};
    engine_plan(&p, b.model, &spec, 128, team);
    assert_true(plan_new(&plan, a, b.model, &p, 0, team, &err));
    assert_true(engine_new(&e, a, plan, &spec, team, &err));
    Arena *scratch = arena_open("encoding", ARENA_NO_LIMIT);
    assert_true(text_encode(&ids, b.tok, str_of(prompt), TEXT_PARSED, scratch, &err));
    const SeqReq q = {.prompt = ids.v,
                      .n_prompt = ids.n,
                      .max_tokens = n,
                      .sampling = {.top_p = 1},
                      .stop = b.end,
                      .n_stop = b.n_end,
                      .on_token = on_token,
                      .arg = &out};
    assert_true(engine_add(e, &q, &err));
    while (engine_step(e)) continue;
    Buf text = {.a = a};
    text_decode(&text, b.tok, out.v, out.n, false);
    arena_close(scratch);
    team_close(team);
    bundle_close(&b);
    return buf_str(&text);
}

/* A sample is what the checkpoint of its step writes, and changes nothing of the run. */
static void test_samples(void **state) {
    need_own_speed();
    Arena *a = *state;
    const char *set[] = {"sample.every=10", "sample.prompt=the fox", "sample.temperature=0",
                         "sample.tokens=20", "optim.steps=20"};
    Recipe r = tiny_recipe(a, "deepseek_v3", set + 4, 1);
    run(&r);
    const char *weights = str_fmt(a, "%s/step-000000020", r.checkpoint.folder).p;
    const Hex without = file_hash(str_fmt(a, "%s/model.safetensors", weights).p);
    assert_null(metric(a, &r, "sample", 0));
    assert_true(os_rename(r.checkpoint.folder, str_fmt(a, "%s/plain", folder).p, &(Err){0}));

    r = tiny_recipe(a, "deepseek_v3", set, COUNT(set));
    run(&r);
    assert_string_equal(file_hash(str_fmt(a, "%s/model.safetensors", weights).p).z, without.z);
    json_t *last = metric(a, &r, "sample", 1);
    assert_non_null(last);
    assert_null(metric(a, &r, "sample", 2));
    assert_int_equal(json_integer_value(json_object_get(last, "step")), 20);
    assert_string_equal(json_string_value(json_object_get(last, "prompt")), "the fox");
    const Str again = greedy(a, weights, "the fox", 20);
    assert_true(again.n > 0);
    assert_true(str_eq(again, str_of(json_string_value(json_object_get(last, "sample")))));
    json_decref(last);
}

/* A prompt and its answer must fit the model; and be text. */
static void test_sample_refused(void **state) {
    Arena *a = *state;
    static const char *const set[][2] = {
        {"sample.tokens=400", "the model has 256 positions"},
        {"sample.prompt=\xff\xfe", "sample.prompt is not UTF-8"},
    };
    for (int64_t i = 0; i < COUNT(set); i++) {
        const char *all[] = {"sample.every=5", set[i][0]};
        Recipe r = tiny_recipe(a, "llama", all, 2);
        Err err = {0};
        assert_false(train_run(&r, 1, &err));
        if (!strstr(err.msg, set[i][1])) fail_msg("%s", err.msg);
        assert_false(os_exists(r.checkpoint.folder));
    }
}

/* Bits per byte leave the end tokens out. With the byte tokenizer every other target is one byte,
 * so the sum can be made from the loss of each. */
static void test_bits(void **state) {
    Arena *a = *state;
    const char *set[] = {str_fmt(a, "data.valid=%s/text", folder).p, "eval.tokens=0", "act=f32"};
    const Recipe r = tiny_recipe(a, "llama", set, 3);
    Trainer *t;
    Err err = {0};
    double loss;
    assert_true(trainer_open(&t, &r, 1, &err));
    /* A head of zeros: all 272 tokens are equally likely, and a byte costs log2(272) bits. */
    Model *m = trainer_model(t);
    memset(m->head->master, 0, (size_t)m->head->count * sizeof(float));
    Team *team = team_open(1);
    team_run(team, (void (*)(Thread, void *))panels_repack, trainer_plan(t)->panels);
    team_close(team);
    assert_true(trainer_eval(t, &loss, &err));
    assert_true(fabs(loss - log(272)) < 1e-4);
    assert_true(fabs(trainer_bits(t) - log2(272)) < 1e-4);
    trainer_close(t);
}

/* The checkpoint of the best validation stays, is named, and is still known after a resume. The
 * learning rate is so high in the end that the loss rises again. */
static void test_best(void **state) {
    need_own_speed();
    Arena *a = *state;
    Err err = {0};
    const char *set[] = {str_fmt(a, "data.valid=%s/text", folder).p,
                         "eval.every=3",
                         "eval.tokens=400",
                         "checkpoint.every=4",
                         "checkpoint.keep=1",
                         "optim.schedule=constant",
                         "optim.steps=12"};
    Recipe r = tiny_recipe(a, "llama", set, COUNT(set));
    const char *best, *newest = r.checkpoint.folder;
    run(&r);
    assert_true(run_best(&best, a, newest, &err));
    assert_true(strstr(best, "/step-000000012"));

    const char *worse[COUNT(set) + 1];
    memcpy(worse, set, sizeof set);
    worse[COUNT(set) - 1] = "optim.steps=22", worse[COUNT(set)] = "optim.lr=2";
    r = tiny_recipe(a, "llama", worse, COUNT(worse));
    run(&r);
    assert_true(run_best(&best, a, newest, &err));
    assert_true(strstr(best, "/step-000000012"));
    const char *last = str_fmt(a, "%s/step-000000022", newest).p;
    assert_true(run_best(&best, a, last, &err) && strstr(best, "/run/step-000000012"));
    assert_false(os_exists(str_fmt(a, "%s/step-000000020", newest).p));

    assert_true(os_rename(best, str_fmt(a, "%s/moved", folder).p, &err));
    assert_false(run_best(&best, a, newest, &err));
    assert_non_null(strstr(err.msg, "no longer there"));

    /* A loss on another text is no worse and no better: the best is looked for anew. */
    const char *other[COUNT(worse)];
    memcpy(other, worse, sizeof worse);
    other[0] = str_fmt(a, "data.valid=%s", file_write(a, "other", STR("Quite another text.\n"))).p;
    other[COUNT(set) - 1] = "optim.steps=24";
    r = tiny_recipe(a, "llama", other, COUNT(other));
    run(&r);
    assert_true(run_best(&best, a, newest, &err) && strstr(best, "/step-000000024"));
}

static void test_no_best(void **state) {
    Arena *a = *state;
    Err err = {0};
    const char *best, *set = "optim.steps=2";
    const Recipe r = tiny_recipe(a, "llama", &set, 1);
    run(&r);
    assert_false(run_best(&best, a, r.checkpoint.folder, &err));
    assert_non_null(strstr(err.msg, "no validation is noted here"));
}

int sample_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(test_samples), ARENA_TEST(test_sample_refused),
                                       ARENA_TEST(test_bits), ARENA_TEST(test_best),
                                       ARENA_TEST(test_no_best)};
    return cmocka_run_group_tests_name("samples and the best", tests, NULL, NULL);
}
