/* whole.c -- whole runs of tiny models: they learn, on any number of threads and any kernels to the
 * same bits, allocate nothing on the way, stop at what is not finite, and leave a model folder
 * behind. */
#include "tests.h"

#include <math.h>
#include <stdio.h>
#include "model/layer.h"
#include "support/child.h"
#include "train/trainer.h"

static Trainer *open_trainer(const Recipe *r, int64_t threads) {
    Trainer *t = NULL;
    Err err = {0};
    if (!trainer_open(&t, r, threads, &err)) fail_msg("%s", err.msg);
    return t;
}

/* Some steps of a fresh run; the losses go to `loss` unless it is NULL. */
static Hex steps(const Recipe *r, int64_t threads, int64_t n, double *loss) {
    Trainer *t = open_trainer(r, threads);
    for (int64_t i = 0; i < n; i++) {
        StepStats s;
        Err err = {0};
        if (!trainer_step(t, &s, &err)) fail_msg("%s", err.msg);
        assert_int_equal(s.step, i + 1);
        assert_in_range(s.targets, r->batch.tokens / 2, r->batch.tokens);
        if (loss) loss[i] = s.loss;
    }
    Hex hex = model_hash(trainer_model(t));
    trainer_close(t);
    return hex;
}

static void test_threads(void **state) {
    static const char *const families[] = {"llama", "deepseek_v3"}, *const acts[] = {"act=f32",
                                                                                     "act=a16"};
    static const int64_t threads[] = {1, 2, 3, 5};
    for (int64_t f = 0; f < COUNT(families); f++)
        for (int64_t a = 0; a < COUNT(acts); a++) {
            const Recipe r = tiny_recipe(*state, families[f], &acts[a], 1);
            const Hex one = steps(&r, 1, 3, NULL);
            for (int64_t i = 1; i < COUNT(threads); i++)
                assert_string_equal(steps(&r, threads[i], 3, NULL).z, one.z);
        }
}

static void test_levels(void **state) {
    const char *const acts[] = {"act=a16", "act=f32"};
    for (int64_t a = 0; a < COUNT(acts); a++) {
        const Recipe r = tiny_recipe(*state, "deepseek_v3", &acts[a], 1);
        Hex best = {{0}};
        for (int level = LEVEL_N; level >= LEVEL_REF; level--) {
            if (!level_use((Level)level)) continue;
            const Hex hex = steps(&r, 2, 2, NULL);
            if (!best.z[0]) best = hex;
            assert_string_equal(hex.z, best.z);
        }
        assert_true(kern_init(LEVEL_N, &(Err){0}));
    }
}

/* The same with Muon and a schedule of three parts. */
static void test_threads_muon(void **state) {
    static const char *const set[] = {"optim.optimiser=muon", "optim.schedule=wsd",
                                      "optim.decay_steps=3",  "optim.steps=6",
                                      "optim.warmup=1",       "optim.moments=bf16"};
    need_native();
    const Recipe r = tiny_recipe(*state, "deepseek_v3", set, COUNT(set));
    const Hex one = steps(&r, 1, 4, NULL);
    for (int64_t threads = 2; threads <= 4; threads++)
        assert_string_equal(steps(&r, threads, 4, NULL).z, one.z);
    for (int level = LEVEL_N; level >= LEVEL_REF; level--)
        if (level_use((Level)level)) assert_string_equal(steps(&r, 2, 4, NULL).z, one.z);
    assert_true(kern_init(LEVEL_N, &(Err){0}));
}

/* A seed is another model and another order of the text; micro-batches another order of sums. */
static void test_what_decides(void **state) {
    const char *const set[] = {"seed=2", "batch.micro=192", "optim.lr=2e-3"};
    Recipe r = tiny_recipe(*state, "llama", NULL, 0);
    const Hex first = steps(&r, 1, 2, NULL);
    assert_string_equal(steps(&r, 1, 2, NULL).z, first.z);
    for (int64_t i = 0; i < COUNT(set); i++) {
        r = tiny_recipe(*state, "llama", &set[i], 1);
        assert_string_not_equal(steps(&r, 1, 2, NULL).z, first.z);
    }
}

/* The gradient is the mean over the step's targets, however they are cut into micro-batches. */
static void test_micro_batches(void **state) {
    static const char *const micro[] = {"batch.micro=192", "batch.micro=96", "batch.micro=48"};
    StepStats whole, part;
    for (int64_t i = 0; i < COUNT(micro); i++) {
        const Recipe r = tiny_recipe(*state, "llama", &micro[i], 1);
        Trainer *t = open_trainer(&r, 1);
        Err err = {0};
        if (!trainer_step(t, &part, &err)) fail_msg("%s", err.msg);
        trainer_close(t);
        if (i == 0) whole = part;
        assert_int_equal(part.targets, whole.targets);
        assert_true(fabs(part.loss / whole.loss - 1) < 1e-6);
        assert_true(fabs(part.grad_norm / whole.grad_norm - 1) < 1e-5);
    }
}

static double mean(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] / (double)n;
    return sum;
}

/* From nearly the entropy of 272 equal tokens, 5.6, down to words that can be guessed; a16 on the
 * heels of f32. */
static void test_learns(void **state) {
    need_own_speed();
    const char *const families[] = {"llama", "deepseek_v3"};
    for (int64_t f = 0; f < COUNT(families); f++) {
        double loss[2][100];
        const char *set[] = {"act=f32", "optim.steps=100"};
        Recipe r = tiny_recipe(*state, families[f], set, 2);
        steps(&r, 1, 100, loss[0]);
        set[0] = "act=a16";
        r = tiny_recipe(*state, families[f], set, 2);
        steps(&r, 1, 100, loss[1]);
        assert_true(fabs(loss[1][0] - 5.6) < 0.1);
        print_message("%s: loss %.3f -> %.3f (f32), %.3f -> %.3f (a16)\n", families[f], loss[0][0],
                      mean(loss[0] + 90, 10), loss[1][0], mean(loss[1] + 90, 10));
        assert_true(mean(loss[0] + 90, 10) < 2.2);
        assert_true(fabs(mean(loss[0] + 90, 10) - mean(loss[1] + 90, 10)) < 0.1);
        const double adamw = mean(loss[1] + 40, 10), full = mean(loss[1] + 90, 10);
        const char *muon[] = {"optim.optimiser=muon", "optim.steps=100"};
        r = tiny_recipe(*state, families[f], muon, 2);
        steps(&r, 1, 50, loss[1]);
        print_message("%s after 50 steps: loss %.3f (adamw), %.3f (muon)\n", families[f], adamw,
                      mean(loss[1] + 40, 10));
        assert_true(mean(loss[1] + 40, 10) < adamw);
        const char *half[] = {"optim.moments=bf16", "optim.steps=100"};
        r = tiny_recipe(*state, families[f], half, 2);
        steps(&r, 1, 100, loss[1]);
        print_message("%s: loss %.3f with moments in bf16\n", families[f], mean(loss[1] + 90, 10));
        assert_true(fabs(mean(loss[1] + 90, 10) - full) < 0.05);
    }
}

static void check_no_allocation(Arena *a, const char *optimiser) {
    const Recipe r = tiny_recipe(a, "deepseek_v3", &optimiser, 1);
    Trainer *t = open_trainer(&r, 2);
    StepStats s;
    assert_true(trainer_step(t, &s, &(Err){0}));
    const int64_t before = arena_used(trainer_model(t)->arena), work = arena_used(t->arena);
    for (int i = 0; i < 40; i++)
        assert_true(trainer_step(t, &s, &(Err){0})); /* over the end of an epoch */
    assert_int_equal(arena_used(trainer_model(t)->arena), before);
    assert_int_equal(arena_used(t->arena), work);
    trainer_close(t);
}

/* Letters of words in a random order, so that a letter says nothing of the next one; *entropy of
 * them. */
static Str letters_shuffled(Arena *a, double *entropy) {
    static const char words[] = "the old king sings to a crane, and nobody wakes the river. ";
    enum { LETTERS = sizeof words - 1, N = 1000 * LETTERS };
    char *text = PUSH(a, char, N);
    int64_t count[256] = {0};
    for (int64_t i = 0; i < N; i++) text[i] = words[i % LETTERS];
    for (int64_t i = 0; i < LETTERS; i++) count[(uint8_t)words[i]]++;
    for (int64_t i = N - 1; i > 0; i--) {
        const int64_t j = dice(i + 1);
        const char c = text[i];
        text[i] = text[j], text[j] = c;
    }
    *entropy = 0;
    for (int i = 0; i < 256; i++)
        if (count[i]) *entropy -= (double)count[i] / LETTERS * log_f64((double)count[i] / LETTERS);
    return (Str){text, N};
}

/* Where what follows is a matter of chance, the loss falls to the entropy and not below: no place
 * sees the token that it is to predict. */
static void test_nothing_to_learn(void **state) {
    need_own_speed();
    Arena *a = *state;
    const char *const families[] = {"llama", "deepseek_v3"};
    enum { STEPS = 120, LAST = 40 };
    double entropy, loss[STEPS];
    const char *set[] = {str_fmt(a, "data.train=%s/shuffled", folder).p, "batch.tokens=384",
                         "optim.steps=120", "optim.lr=1e-2"};
    file_write(a, "shuffled", letters_shuffled(a, &entropy));
    for (int64_t f = 0; f < COUNT(families); f++) {
        const Recipe r = tiny_recipe(a, families[f], set, COUNT(set));
        steps(&r, 1, STEPS, loss);
        const double end = mean(loss + STEPS - LAST, LAST);
        print_message("%s, letters in a random order: loss %.3f -> %.4f, entropy %.4f\n",
                      families[f], loss[0], end, entropy);
        assert_true(end > entropy - 0.02 && end < entropy + 0.06);
    }
}

static void test_no_allocation(void **state) {
    need_native();
    check_no_allocation(*state, "optim.optimiser=adamw");
    check_no_allocation(*state, "optim.optimiser=muon");
}

static void repack(Thread th, void *arg) { panels_repack(th, arg); }

/* Masters that a test has changed come into force. */
static void team_run_repack(Plan *p) {
    Team *team = team_open(1);
    team_run(team, repack, p->panels);
    team_close(team);
}

static void same_panels(Arena *a, const char *const set[2]) {
    const Recipe r = tiny_recipe(a, "deepseek_v3", set, 2);
    Trainer *t = open_trainer(&r, 3);
    const Model *m = trainer_model(t);
    StepStats s;
    uint8_t **was = PUSH(a, uint8_t *, 2 * m->n_params);
    assert_true(trainer_step(t, &s, &(Err){0}) && trainer_step(t, &s, &(Err){0}));
    for (int after = 0; after < 2; after++) {
        for (int64_t i = 0; i < 2 * m->n_params; i++) {
            const Weight *w = weight_of(trainer_plan(t), &m->param[i / 2]);
            const void *tile = i % 2 ? w->tile_t : w->tile;
            if (!tile) continue;
            const int64_t bytes = w->n
                                  * (i % 2 ? panel_bytes(w->layout_t, w->cols, w->rows)
                                           : panel_bytes(w->layout, w->rows, w->cols));
            if (after) assert_memory_equal(tile, was[i], (size_t)bytes);
            was[i] = arena_push(a, bytes);
            memcpy(was[i], tile, (size_t)bytes);
        }
        team_run_repack(trainer_plan(t));
    }
    trainer_close(t);
}

/* What a step packs piece by piece is what packing everything anew gives. */
static void test_panels(void **state) {
    need_native();
    static const char *const set[][2] = {
        {"act=a16", "optim.optimiser=adamw"},
        {"act=f32", "optim.optimiser=adamw"},
        {"act=a16", "optim.optimiser=muon"},
        {"model.moe_intermediate_size=70", "model.hidden_size=1030"}};
    for (int64_t i = 0; i < COUNT(set); i++) same_panels(*state, set[i]);
}

/* A weight that is not finite stops the run at its step; what can still be saved is as it was
 * before. */
static void test_not_finite(void **state) {
    const char *valid = str_fmt(*state, "data.valid=%s/text", folder).p;
    const Recipe r = tiny_recipe(*state, "deepseek_v3", &valid, 1);
    Trainer *t = open_trainer(&r, 2);
    StepStats s;
    Err err = {0};
    double loss = 0;
    assert_true(trainer_step(t, &s, &err) && trainer_eval(t, &loss, &err));
    const double loss_before = loss;
    Model *m = trainer_model(t);
    float *weight = &m->norm->master[3], was = *weight;
    *weight = INFINITY;
    const Hex before = model_hash(m);
    assert_false(trainer_step(t, &s, &err));
    assert_non_null(strstr(err.msg, "step 2: "));
    assert_non_null(strstr(err.msg, "the weight model.norm.weight is not finite"));
    assert_string_equal(model_hash(m).z, before.z);
    assert_int_equal(trainer_steps(t), 1);
    *weight = was;

    /* A router that meets NaN voids the step before there is a loss, in validation too: the logits
     * of the step before are no answer. */
    Param *p = m->param;
    while (!strstr(p->name, "layers.1.mlp.gate.weight")) p++;
    p->master[0] = NAN;
    err = (Err){0};
    team_run_repack(trainer_plan(t));
    assert_false(trainer_step(t, &s, &err));
    assert_non_null(strstr(err.msg, "the weight model.layers.1.mlp.gate.weight is not finite"));
    err = (Err){0};
    p->master[0] = 0; /* the panels keep the NaN: only what the router saw can be named */
    assert_false(trainer_step(t, &s, &err));
    assert_non_null(strstr(err.msg, "what the router of layer 1 saw is not finite"));
    err = (Err){0};
    assert_false(trainer_eval(t, &loss, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_non_null(
        strstr(err.msg, "/text after step 1: a router met a value that is not a number"));
    assert_true(loss == loss_before);
    trainer_close(t);
}

/* A gradient that is not finite, and one that makes Muon's momentum so: the tensor, the expert and
 * the step are named, and the checkpoint stays. */
static void test_not_finite_gradient(void **state) {
    static const char *const set[] = {"optim.optimiser=muon"};
    const Recipe r = tiny_recipe(*state, "deepseek_v3", set, 1);
    Trainer *t = open_trainer(&r, 2);
    StepStats s;
    Err err = {0};
    assert_true(trainer_step(t, &s, &err) && trainer_save(t, &err));
    const char *saved =
        str_fmt(*state, "%s/step-000000001/model.safetensors", r.checkpoint.folder).p;
    const Hex before = file_hash(saved);
    Model *m = trainer_model(t);
    Param *p = m->param;
    while (!strstr(p->name, "layers.2.mlp.experts.%d.up_proj")) p++;
    /* Transposed panels are the backward's alone: NaN in those of o reach all before it. */
    memset(weight_of(trainer_plan(t), m->layer[1].o)->tile_t, 0xff, 64);
    assert_false(trainer_step(t, &s, &err));
    if (!strstr(err.msg, "step 2: ")
        || !strstr(err.msg,
                   "the gradient of model.layers.1.self_attn.kv_b_proj.weight is not finite")
        || !strstr(err.msg, "The checkpoint of step 1 is intact"))
        fail_msg("%s", err.msg);
    team_run_repack(trainer_plan(t));
    err = (Err){0};
    ((float *)p->moment[0])[p->count / p->w.n * 5 + 3] = INFINITY;
    assert_false(trainer_step(t, &s, &err));
    if (!strstr(err.msg, "step 2: ")
        || !strstr(err.msg, "the momentum of model.layers.2.mlp.experts.5.up_proj.weight"))
        fail_msg("%s", err.msg);
    assert_string_equal(file_hash(saved).z, before.z);
    trainer_close(t);
}

/* A NaN behind the last router: logits, not routers, carry it. */
static void test_not_finite_logits(void **state) {
    static const char *const families[] = {"llama", "deepseek_v3"};
    for (int64_t f = 0; f < COUNT(families); f++) {
        const char *valid = str_fmt(*state, "data.valid=%s/text", folder).p;
        const Recipe r = tiny_recipe(*state, families[f], &valid, 1);
        Trainer *t = open_trainer(&r, 2);
        Err err = {0};
        double loss = 0;
        trainer_model(t)->norm->master[0] = NAN;
        assert_false(trainer_eval(t, &loss, &err));
        assert_non_null(strstr(err.msg, "the loss is not finite"));
        assert_true(loss == 0);
        trainer_close(t);
    }
}

/* A run from its recipe to a folder that opens as a model, with its log and its loss on held-out
 * text. */
static void test_run(void **state) {
    need_native();
    Arena *a = *state;
    Err err = {0};
    const char *set[] = {"checkpoint.keep=3", NULL, "eval.every=10", "eval.tokens=500"};
    set[1] = str_fmt(a, "data.valid=%s/text", folder).p;
    const Recipe r = tiny_recipe(a, "deepseek_v3", set, 4);
    if (!train_run(&r, 2, &err)) fail_msg("%s", err.msg);

    Store *s;
    Model *m = NULL;
    Str words, log;
    assert_true(store_open(&s, a, r.checkpoint.folder, &err) && model_open(&m, a, s, &err));
    assert_int_equal(store_step(s), 20);
    assert_int_equal(m->cfg.E, 8);
    assert_int_equal(m->cfg.eos[0], BYTES_END);
    assert_string_equal(m->cfg.recorded_mla, "expanded");
    assert_true(store_json(s, a, "tokenizer.json", &words, &err));
    assert_true(str_eq(words, bytes_tokenizer(a)));
    store_close(s);
    assert_true(os_exists(str_fmt(a, "%s/step-000000010", r.checkpoint.folder).p));
    assert_false(os_exists(str_fmt(a, "%s/step-000000005", r.checkpoint.folder).p));

    assert_true(
        os_read(a, &log, str_fmt(a, "%s/metrics.jsonl", r.checkpoint.folder).p, 1 << 20, &err));
    int64_t lines = 0, valid = 0;
    for (const char *p = log.p; (p = strstr(p, "\"step\"")); p++) lines++;
    for (const char *p = log.p; (p = strstr(p, "\"valid_loss\"")); p++) valid++;
    assert_int_equal(valid, 2);
    assert_int_equal(lines, 22);
    /* Once more: everything is done, nothing happens. */
    const Hex before =
        file_hash(str_fmt(a, "%s/step-000000020/model.safetensors", r.checkpoint.folder).p);
    assert_true(train_run(&r, 1, &err));
    assert_string_equal(
        file_hash(str_fmt(a, "%s/step-000000020/model.safetensors", r.checkpoint.folder).p).z,
        before.z);
}

/* init_from takes shape and weights of a checkpoint and begins anew at step 0. */
static void test_init_from(void **state) {
    Arena *a = *state;
    Err err = {0};
    Recipe r = tiny_recipe(a, "llama", NULL, 0);
    assert_true(train_run(&r, 2, &err));
    Trainer *t = open_trainer(&r, 1);
    const Hex trained = model_hash(trainer_model(t));
    trainer_close(t);
    Str yaml = str_fmt(
        a,
        "init_from: %s/run\ntokenizer: %s/tokenizer.json\ndata: {train: %s/text, cache: %s/cache}\n"
        "batch: {sequence: 48, tokens: 96}\noptim: {lr: 1e-4, steps: 3}\ncheckpoint: {folder: "
        "%s/second}\n",
        folder, folder, folder, folder, folder);
    assert_true(recipe_read(&r, a, file_write(a, "second.yaml", yaml), NULL, 0, &err));
    t = open_trainer(&r, 1);
    assert_int_equal(trainer_steps(t), 0);
    assert_string_equal(model_hash(trainer_model(t)).z, trained.z);
    StepStats s;
    assert_true(trainer_step(t, &s, &err));
    assert_true(s.loss < 4.5);
    trainer_close(t);
}

/* What does not fit is said before anything is made or tokenised. */
static void test_refused(void **state) {
    static const struct {
        const char *set, *says;
    } cases[] = {
        {"batch.sequence=384", "batch.sequence is 384, and the model ("},
        {"tokenizer=recipes/tokenizer-4k.json",
         "has a vocabulary of 272 tokens, and the tokenizer"},
        {"tokenizer=nowhere.json", "nowhere.json"},
        {"data.train=nowhere.txt", "nowhere.txt"},
        {"data.end=<|stop|>", "has no token \"<|stop|>\""},
        {"model.vocab_size=100", "must be in the vocabulary"},
        {"model.num_attention_heads=5", "num_attention_heads"},
        {"data.separator=---", "has no token \"---\""},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Err err = {0};
        Trainer *t;
        const char *set[] = {cases[i].set, "batch.micro=0", "batch.tokens=384"};
        Recipe r = tiny_recipe(*state, "llama", set, 3);
        assert_false(trainer_open(&t, &r, 1, &err));
        if (!strstr(err.msg, cases[i].says)) print_message("%s: %s\n", cases[i].set, err.msg);
        assert_non_null(strstr(err.msg, cases[i].says));
        assert_false(os_exists(r.checkpoint.folder));
        assert_false(os_exists(r.data.cache));
    }
}

static void open_said(void *arg) {
    Trainer *t;
    Err err = {0};
    log_set(LOG_WARN);
    if (trainer_open(&t, arg, 1, &err)) fprintf(stderr, "opened\n");
}

/* What is possible, and hardly what was meant. */
static void test_warned(void **state) {
    static const struct {
        const char *set, *says;
    } cases[] = {
        {"batch.tokens=48", NULL},
        {"batch.tokens=768000", "and a step takes 16000: each of its texts is seen"},
        {"data.valid=", "is the same text as data.train"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        static char said[4096];
        const char *set[] = {cases[i].set, "batch.micro=48"};
        if (i == 2) set[0] = str_fmt(*state, "%s%s/text", cases[i].set, folder).p;
        Recipe r = tiny_recipe(*state, "llama", set, 2);
        assert_int_equal(child(open_said, &r, said, sizeof said), 0);
        assert_true(str_ends(str_of(said), STR("opened\n")));
        if (cases[i].says ? !strstr(said, cases[i].says) : strcmp(said, "opened\n") != 0)
            fail_msg("%s: %s", set[0], said);
    }
}

/* A terabyte of masters: refused before the first of them is drawn. Rows of a terabyte: refused
 * with the plan. */
static void test_too_large(void **state) {
    static const char *const set[][2] = {{"model.vocab_size=8388608", "model.hidden_size=4096"},
                                         {"batch.tokens=48000000", "batch.micro=0"}};
    for (int64_t i = 0; i < COUNT(set); i++) {
        Err err = {0};
        Trainer *t;
        Recipe r = tiny_recipe(*state, "llama", set[i], 2);
        double start = os_now();
        assert_false(trainer_open(&t, &r, 1, &err));
        assert_int_equal(err.code, ERR_LIMIT);
        assert_non_null(strstr(err.msg, "MB"));
        assert_true(os_now() - start < 10);
        assert_false(os_exists(r.checkpoint.folder));
    }
}

int whole_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(test_threads),
                                       ARENA_TEST(test_levels),
                                       ARENA_TEST(test_threads_muon),
                                       ARENA_TEST(test_what_decides),
                                       ARENA_TEST(test_micro_batches),
                                       ARENA_TEST(test_learns),
                                       ARENA_TEST(test_nothing_to_learn),
                                       ARENA_TEST(test_no_allocation),
                                       ARENA_TEST(test_not_finite),
                                       ARENA_TEST(test_not_finite_logits),
                                       ARENA_TEST(test_not_finite_gradient),
                                       ARENA_TEST(test_panels),
                                       ARENA_TEST(test_run),
                                       ARENA_TEST(test_init_from),
                                       ARENA_TEST(test_refused),
                                       ARENA_TEST(test_warned),
                                       ARENA_TEST(test_too_large)};
    return cmocka_run_group_tests_name("whole", tests, NULL, NULL);
}
