/* training.c -- the promise, of training: the log-probabilities of the trainer's forward are those
 * that the engine reported while it generated, bit for bit, for every family, on every kernel
 * level, whatever the threads, the chunks of the prompt, and which sequences share a batch on
 * either side.
 *
 * Cells of a table as in samebits.c, with axes of its own; nothing is golden here, since the two
 * sides are compared with each other. */
#include "prop.h"
#include "train/train.h"

#include <stdio.h>

enum { LEVEL, THREADS, CHUNKS, PACKING, ACT, AXES };
enum { ALONE, TOGETHER, REVERSED };
enum { ASKS = 5, DRAWS = 6, POSITIONS = 256, ROWS = 512, CELLS_MAX = 200, QUICK = 2 };
static const int64_t PROMPT[ASKS] = {1, 63, 65, 20, 130};
static const int64_t LEVELS[] = {LEVEL_REF, LEVEL_AVX2, LEVEL_AVX512, LEVEL_AMX_EMU, LEVEL_AMX},
                     TEAMS[] = {1, 2, 3, 5}, CHUNK_ROWS[] = {0, 1, 7, 64};
static const char *const MODELS[] = {"llama-tiny",
                                     "llama3-tiny",
                                     "qwen2-mini",
                                     "qwen2-yarn-mini",
                                     "qwen3-mini",
                                     "qwen3-moe-mini",
                                     "qwen3-moe-dense-mini",
                                     "deepseek-v2-lite-tiny",
                                     "deepseek-v2-groups-mini",
                                     "deepseek-v3-tiny",
                                     "deepseek-v3-bf16-tiny",
                                     "moonlight-mini",
                                     "glm4-moe-lite-mini"};

/* Some sequences as a trainer has them: inputs and targets, packed into one batch. */
typedef struct Score {
    Plan *plan;
    int64_t n, n_spans;
    int32_t token[ROWS], target[ROWS];
    Span span[ASKS];
    Want want[ROWS];
    float *hidden, *logits, logprob[ROWS];
    Out out;
} Score;

static void score_thread(Thread th, void *arg) {
    Score *s = arg;
    plan_pages(th, s->plan, s->span, s->n_spans);
    const Batch b = {.n = s->n,
                     .token = s->token,
                     .span = s->span,
                     .n_spans = s->n_spans,
                     .want = s->want,
                     .n_want = s->n};
    CHECK(model_forward(th, s->plan, &b, &s->out, plan_acts(s->plan)));
    hidden_logprobs(th, s->plan, s->logprob, s->hidden, s->target, s->n, s->logits);
}

static void score_add(Score *s, int64_t i, const Answer *to) {
    int32_t all[ROWS];
    ask_prompt(all, i, PROMPT[i], s->plan->model->cfg.V);
    for (int64_t j = 0; j < to->n; j++) all[PROMPT[i] + j] = to->token[j].id;
    const int64_t n = PROMPT[i] + to->n - 1;
    CHECK(s->n + n <= ROWS);
    s->span[s->n_spans++] = (Span){.row = s->n, .n = n, .seq = i};
    for (int64_t j = 0; j < n; j++, s->n++) {
        s->token[s->n] = all[j], s->target[s->n] = all[j + 1];
        s->want[s->n] = (Want){(int32_t)s->n, WANT_HIDDEN};
    }
}

/* How many log-probabilities differ; empties the batch. */
static int64_t score_run(Score *s, Team *team, const Answer *answer) {
    int64_t wrong = 0;
    team_run(team, score_thread, s);
    for (int64_t k = 0; k < s->n_spans; k++) {
        const int64_t i = s->span[k].seq, first = s->span[k].row + PROMPT[i] - 1;
        for (int64_t j = 0; j < answer[i].n; j++)
            wrong += bits_of_f32(s->logprob[first + j]) != bits_of_f32(answer[i].token[j].logprob);
    }
    s->n = s->n_spans = 0;
    return wrong;
}

static Score *score_new(Rig *r, Act act) {
    Err err = {0};
    Score *s = PUSH(r->a, Score, 1);
    const PlanSpec p = {.act = act,
                        .mla = MLA_EXPANDED,
                        .kv = act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16,
                        .rows = ROWS,
                        .logit_rows = ROWS,
                        .spans = ASKS,
                        .positions = POSITIONS,
                        .training = true};
    if (!plan_new(&s->plan, r->a, r->model, &p, 0, r->team, &err)) fail_msg("%s", err.msg);
    s->hidden = s->out.hidden = PUSH(r->a, float, ROWS * r->model->cfg.C);
    s->logits = PUSH(r->a, float, MIN(ROWS, head_rows(s->plan)) * r->model->cfg.V);
    return s;
}

static void answers(Rig *r, Answer *to) {
    Err err = {0};
    for (int64_t i = 0; i < ASKS; i++) {
        const Ask q = {.text = i,
                       .n = PROMPT[i],
                       .max_tokens = DRAWS,
                       .sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .seed = 5},
                       .tenant = i};
        if (!ask(r, &q, &to[i], &err)) fail_msg("%s", err.msg);
    }
    rig_run(r);
    for (int64_t i = 0; i < ASKS; i++) assert_int_equal(to[i].n, DRAWS);
}

/* The engine on a plan of its own, then the trainer's forward over what it gave. */
static int64_t cell_run(const char *model, const Cell *c, const int64_t *levels) {
    Err err = {0};
    Rig r;
    CHECK(kern_init((Level)levels[c->at[LEVEL]], &err));
    Arena *a = arena_open("cell", (int64_t)1 << 36);
    const Act act = c->at[ACT] ? ACT_A16 : ACT_F32;
    const EngineSpec spec = {
        .seqs = ASKS, .queue = ASKS, .rows = 96, .chunk = CHUNK_ROWS[c->at[CHUNKS]], .pages = 16};
    rig_open(&r, a, team_open(TEAMS[c->at[THREADS]]), rig_path(a, model));
    model_train(r.model, a);
    PlanSpec p = {.act = act, .mla = MLA_EXPANDED, .kv = act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16};
    rig_plan(&r, p, &spec, POSITIONS);
    Answer *to = PUSH(a, Answer, ASKS);
    answers(&r, to);

    Score *s = score_new(&r, act);
    int64_t wrong = 0;
    for (int64_t i = 0; i < ASKS; i++) {
        const int64_t next = c->at[PACKING] == REVERSED ? ASKS - 1 - i : i;
        score_add(s, next, &to[next]);
        if (c->at[PACKING] == ALONE || i + 1 == ASKS) wrong += score_run(s, r.team, to);
    }
    rig_close(&r);
    team_close(r.team);
    arena_close(a);
    return wrong;
}

static void model_holds(void **state) {
    const char *const *name = *state, *model = *name;
    Arena *a = arena_open("table", 1 << 24);
    Cell *cell = PUSH(a, Cell, CELLS_MAX);
    int64_t levels[COUNT(LEVELS)], n_levels = 0, wrong = 0;
    rig_path(a, model); /* skips where it is not there */
    for (int64_t i = 0; i < COUNT(LEVELS); i++)
        if (level_use((Level)LEVELS[i])) levels[n_levels++] = LEVELS[i];
    int64_t sizes[COVER_AXES] = {n_levels, COUNT(TEAMS), COUNT(CHUNK_ROWS), 3, 2};
    for (int64_t i = AXES; i < COVER_AXES; i++) sizes[i] = 1;
    int64_t n = full_run() ? cover_pairs(cell, CELLS_MAX, sizes, 1) : 0;
    assert_true(!full_run() || cover_whole(cell, n, sizes));
    for (uint64_t i = 0; !full_run() && i < QUICK; i++)
        cell[n++] = cover_random(sizes, (uint64_t)(name - MODELS), (int64_t)i);
    for (int64_t i = 0; i < n; i++) {
        const int64_t off = cell_run(model, &cell[i], levels);
        if (off)
            print_message("# %s: level %s, %d threads, chunk %d, packing %d, %s: %d differ\n",
                          model, level_name((Level)levels[cell[i].at[LEVEL]]),
                          (int)TEAMS[cell[i].at[THREADS]], (int)CHUNK_ROWS[cell[i].at[CHUNKS]],
                          (int)cell[i].at[PACKING], cell[i].at[ACT] ? "a16" : "f32", (int)off);
        wrong += off;
    }
    print_message("# %s: %d cells on %d levels\n", model, (int)n, (int)n_levels);
    assert_int_equal(wrong, 0);
    arena_close(a);
}

int training_tests(void) {
    struct CMUnitTest tests[COUNT(MODELS)];
    for (int64_t i = 0; i < COUNT(MODELS); i++)
        tests[i] =
            (struct CMUnitTest){MODELS[i], model_holds, NULL, NULL, (void *)(uintptr_t)&MODELS[i]};
    return cmocka_run_group_tests_name("training is inference", tests, NULL, NULL);
}
