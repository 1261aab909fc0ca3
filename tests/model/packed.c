/* packed.c -- documents that share a batch know nothing of each other: their log-probabilities, and
 * the gradients that they give, are those of each document alone, bit for bit.
 *
 * A document of one row gives K experts one row each, and the others none. Gradients are compared
 * under f32, where rows without a gradient leave a sum over rows as it is; under bf16 the place of
 * a row within 32 is part of the sum (contract 2.1). */
#include "tests.h"

enum { DOCS = 5, ROWS = 44 };
static const int64_t LENGTH[DOCS] = {7, 1, 20, 3, 13};
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
                                     "moonlight-mini",
                                     "glm4-moe-lite-mini"};

/* One forward and backward of some documents, of which `of` is wanted; -1: all. */
typedef struct Run {
    Opened *o;
    int32_t token[ROWS];
    Span span[DOCS];
    Want want[ROWS];
    Batch batch;
    Out out;
    float *hidden;
    bool backward;
} Run;

static void run_threads(Thread th, void *arg) {
    Run *r = arg;
    Plan *p = r->o->plan;
    const int64_t C = r->o->model->cfg.C, n = r->batch.n_want;
    plan_pages(th, p, r->span, r->batch.n_spans);
    CHECK(model_forward(th, p, &r->batch, &r->out, plan_acts(p)));
    if (!r->backward) return;
    model_zero_grad(th, r->o->model);
    float *dhidden = r->hidden + ROWS * C;
    for (int64_t i = 0; th.i == 0 && i < n * C; i++)
        dhidden[i] = r->hidden[i] * (float)(i % 7 - 3) / 8;
    thread_sync(th);
    model_back(th, p, &r->batch, dhidden, plan_acts(p));
}

static int32_t token_of(const Config *c, int64_t doc, int64_t i) {
    return (int32_t)((doc * 31 + i * i * 7 + i * 3) % c->V);
}

/* Hidden states (rows wanted, C) of documents first..last-1; the gradients stay in the model. */
static const float *ran_docs(Opened *o, int64_t first, int64_t last, int64_t of, bool backward) {
    const Config *c = &o->model->cfg;
    Run *r = PUSH(o->a, Run, 1);
    *r = (Run){.o = o, .hidden = PUSH(o->a, float, 2 * ROWS * c->C), .backward = backward};
    int64_t n = 0, wants = 0;
    for (int64_t d = first; d < last; d++) {
        r->span[d - first] = (Span){.row = n, .n = LENGTH[d], .seq = d};
        for (int64_t i = 0; i < LENGTH[d]; i++, n++) {
            r->token[n] = token_of(c, d, i);
            if (of < 0 || of == d) r->want[wants++] = (Want){(int32_t)n, WANT_HIDDEN};
        }
    }
    r->batch = (Batch){.n = n,
                       .token = r->token,
                       .span = r->span,
                       .n_spans = last - first,
                       .want = r->want,
                       .n_want = wants};
    r->out.hidden = r->hidden;
    team_run(o->team, run_threads, r);
    return r->hidden;
}

static void trained(Opened *o, Arena *a, const char *name, Act act) {
    opened(o, need_reference(a, str_fmt(a, "models/%s", name).p), 2);
    model_train(o->model, o->a);
    planned(o, (PlanSpec){.act = act,
                          .mla = MLA_EXPANDED,
                          .kv = act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16,
                          .rows = ROWS,
                          .spans = DOCS,
                          .positions = 32,
                          .training = true});
}

static void hidden_same(void **state) {
    (void)state;
    Arena *a = arena_open("packed", 1 << 20);
    for (int64_t k = 0; k < COUNT(MODELS); k++)
        for (Act act = ACT_F32; act <= ACT_A16; act++) {
            Opened o;
            trained(&o, a, MODELS[k], act);
            const int64_t C = o.model->cfg.C;
            const float *all = ran_docs(&o, 0, DOCS, -1, false);
            for (int64_t d = 0; d < DOCS; all += LENGTH[d++] * C)
                assert_memory_equal(all, ran_docs(&o, d, d + 1, -1, false),
                                    (size_t)(LENGTH[d] * C) * sizeof(float));
            closed(&o);
        }
    arena_close(a);
}

static float *gradients_copy(const Opened *o) {
    int64_t n = 0;
    float *all = PUSH(o->a, float, model_count(o->model));
    for (int64_t i = 0; i < o->model->n_params; i++) {
        const Param *p = &o->model->param[i];
        if (!param_learns(p)) continue;
        memcpy(all + n, p->grad, (size_t)p->count * sizeof(float));
        n += p->count;
    }
    assert_int_equal(n, model_count(o->model));
    return all;
}

/* Experts that the document alone gave no row have gradients of zeros. */
static int64_t experts_without(const Model *m) {
    int64_t without = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *p = &m->param[i];
        const int64_t size = p->count / p->w.n;
        for (int64_t e = 0; p->shard == SHARD_EXPERTS && e < p->w.n; e++) {
            int64_t k = 0;
            while (k < size && p->grad[e * size + k] == 0) k++;
            without += k == size;
        }
    }
    return without;
}

static void gradients_same(void **state) {
    (void)state;
    Arena *a = arena_open("packed", 1 << 20);
    for (int64_t k = 0; k < COUNT(MODELS); k++) {
        Opened o;
        trained(&o, a, MODELS[k], ACT_F32);
        const Config *c = &o.model->cfg;
        for (int64_t d = 0; d < DOCS; d++) {
            ran_docs(&o, 0, DOCS, d, true);
            const float *packed = gradients_copy(&o);
            ran_docs(&o, d, d + 1, d, true);
            const float *alone = gradients_copy(&o);
            double most = 0;
            for (int64_t i = 0; i < model_count(o.model); i++) {
                if (packed[i] != alone[i]) /* 0 and -0 are equal here */
                    fail_msg("%s: document %d: %g, alone %g", MODELS[k], (int)d, (double)packed[i],
                             (double)alone[i]);
                most = MAX(most, (double)alone[i]);
            }
            assert_true(most > 0);
            if (c->E && LENGTH[d] == 1)
                assert_int_equal(experts_without(o.model),
                                 3 * (c->L - c->first_dense) * (c->E - c->K));
        }
        closed(&o);
    }
    arena_close(a);
}

int test_packed(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hidden_same),
                                       cmocka_unit_test(gradients_same)};
    return cmocka_run_group_tests_name("packed documents", tests, NULL, NULL);
}
