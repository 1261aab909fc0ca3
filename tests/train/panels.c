/* panels.c -- what it costs to generate beside training: a plan on the trainer's panels adds what
 * it says and no second copy of the weights. */
#include "tests.h"

#include <stdio.h>
#include <unistd.h>

#include "infer/infer.h"

/* Bytes of this process that are in memory now. */
static int64_t resident(void) {
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %lld", &pages), 1);
    assert_int_equal(fclose(f), 0);
    return pages * sysconf(_SC_PAGESIZE);
}

static bool has_item(const Plan *p, const char *what) {
    for (int64_t i = 0; i < p->n_items; i++)
        if (!strcmp(p->item[i].what, what)) return true;
    return false;
}

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    (void)seq, (void)finish, (void)logits;
    *(int64_t *)arg += t.id >= 0;
}

static void generate(Engine *e) {
    static const int32_t prompt[] = {1, 2, 3};
    int64_t drawn = 0;
    Err err = {0};
    const SeqReq q = {.prompt = prompt,
                      .n_prompt = COUNT(prompt),
                      .max_tokens = 20,
                      .sampling = {.temperature = 1, .top_p = 1},
                      .on_token = on_token,
                      .arg = &drawn};
    if (!engine_add(e, &q, &err)) fail_msg("%s", err.msg);
    while (engine_step(e)) continue;
    assert_int_equal(drawn, 20);
}

static void weights_are_there_once(void **state) {
    need_own_memory();
    Arena *a = *state;
    static const char *const set[] = {"act=f32", "model.hidden_size=256",
                                      "model.intermediate_size=2048", "model.num_hidden_layers=3"};
    const EngineSpec spec = {.seqs = 1, .queue = 1, .rows = 8};
    const Recipe r = tiny_recipe(a, "llama", set, COUNT(set));
    Trainer *t;
    Engine *e;
    Plan *plan;
    Err err = {0};
    Team *team = team_open(2);
    assert_true(trainer_open(&t, &r, 2, &err));
    const Plan *trains = trainer_plan(t);
    const int64_t weights = panels_bytes(trains->panels), before = resident();
    /* W and W transposed of all but the embedding and the norms. */
    assert_true(weights > 2 * 4 * (model_count(trainer_model(t)) - (272 + 16) * 256));
    assert_true(has_item(trains, "weight panels") && has_item(trains, "masters"));

    PlanSpec p = {.act = ACT_F32, .kv = DTYPE_F32, .panels = trains->panels};
    engine_plan(&p, trainer_model(t), &spec, 128, team);
    assert_true(plan_new(&plan, a, trainer_model(t), &p, 0, team, &err));
    assert_true(engine_new(&e, a, plan, &spec, team, &err));
    generate(e);
    const int64_t grown = resident() - before;
    print_message("panels %.1f MB; a plan on them: %.2f MB planned, %.2f MB grown\n",
                  (double)weights / 1e6, (double)plan->bytes / 1e6, (double)grown / 1e6);
    assert_false(has_item(plan, "weight panels") || has_item(plan, "masters")
                 || has_item(plan, "program"));
    assert_ptr_equal(plan->panels, trains->panels);
    assert_true(plan->bytes < weights / 8);
    assert_true(grown < weights / 8);

    /* With panels of its own the same plan counts everything, and the weights once more. */
    p.panels = NULL;
    Plan *own;
    assert_true(plan_new(&own, a, trainer_model(t), &p, 0, team, &err));
    assert_true(has_item(own, "weight panels") && own->bytes > plan->bytes + weights / 2);
    /* It needs as much as it says, be it over shared panels. */
    p.panels = trains->panels;
    assert_false(plan_new(&own, a, trainer_model(t), &p, plan->bytes - 1, team, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    team_close(team);
    trainer_close(t);
}

int panels_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(weights_are_there_once)};
    return cmocka_run_group_tests_name("panels", tests, NULL, NULL);
}
