/* back.c -- gradients of every parameter against the reference models', the same bits on any
 * number of threads, and a16 beside f32.
 *
 * The references (train.safetensors) are float64 gradients of transformers' models; those of the
 * larger ones agree with central differences. Their tolerances: gradients 5e-6 + 1e-4 of the value,
 * loss 1e-5. */
#include "tests.h"
#include <math.h>

enum { T = 32, N = 2 * T };

/* A model ready for one batch of the reference: two independent rows of 33 tokens. */
typedef struct Rig {
    Arena *a;
    Team *team;
    Store *weights, *oracle;
    Model *m;
    Plan *plan;
    int32_t token[N], target[N];
    Want want[N];
    Span span[2];
    Batch batch;
    Out out;
    float *hidden, *logits;
    double loss;
    /* Where the model has a layer that predicts a further token: its rows, one less a sequence. */
    int32_t next[N], after[N];
    Span shorter[2];
    Batch further;
    Out further_out;
    float *from, *further_hidden;
    double further_loss;
} Rig;

static void further_open(Rig *r) {
    const int64_t C = r->m->cfg.C;
    for (int i = 0, n = 0; i < N; i++)
        if (i % T < T - 1) r->next[n] = r->target[i], r->after[n++] = r->target[i + 1];
    for (int i = 0; i < 2; i++) r->shorter[i] = (Span){.row = i * (T - 1), .n = T - 1, .seq = i};
    r->from = PUSH(r->a, float, N *C);
    r->further_hidden = PUSH(r->a, float, N *C);
    r->further = (Batch){.n = N - 2,
                         .token = r->next,
                         .span = r->shorter,
                         .n_spans = 2,
                         .want = r->want,
                         .n_want = N - 2};
    r->further_out.hidden = r->further_hidden;
}

static void rig_open_mtp(Rig *r, const char *name, Act act, int64_t threads, int64_t mtp) {
    Err err = {0};
    *r = (Rig){.a = arena_open("back", (int64_t)1 << 36)};
    const char *path = need_reference(r->a, str_fmt(r->a, "models/%s", name).p);
    r->team = team_open(threads);
    assert_true(store_open(&r->weights, r->a, path, &err)
                && model_open_mtp(&r->m, r->a, r->weights, mtp, &err));
    assert_true(store_open(&r->oracle, r->a, str_fmt(r->a, "%s/train.safetensors", path).p, &err));
    model_train(r->m, r->a);
    PlanSpec spec = {.act = act,
                     .mla = MLA_EXPANDED,
                     .kv = act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16,
                     .rows = N,
                     .logit_rows = N,
                     .spans = 2,
                     .positions = T,
                     .training = true};
    assert_true(plan_new(&r->plan, r->a, r->m, &spec, 0, r->team, &err));
    r->hidden = PUSH(r->a, float, N * r->m->cfg.C);
    r->logits = PUSH(r->a, float, N * r->m->cfg.V);
    const int32_t *rows = store_find(r->oracle, STR("batch.0"))->data;
    for (int i = 0; i < N; i++) {
        r->token[i] = rows[i / T * (T + 1) + i % T];
        r->target[i] = rows[i / T * (T + 1) + i % T + 1];
        r->want[i] = (Want){i, WANT_HIDDEN};
        r->span[i / T] = (Span){.row = i / T * T, .n = T, .seq = i / T};
    }
    r->batch = (Batch){
        .n = N, .token = r->token, .span = r->span, .n_spans = 2, .want = r->want, .n_want = N};
    r->out.hidden = r->hidden;
    further_open(r);
}

static void rig_open(Rig *r, const char *name, Act act, int64_t threads) {
    rig_open_mtp(r, name, act, threads, 0);
}

static void rig_close(Rig *r) {
    team_close(r->team);
    store_close(r->oracle);
    store_close(r->weights);
    arena_close(r->a);
}

/* The mean loss over n rows of hidden states, which become the gradients of weight times it. */
static void loss_back(Thread th, Rig *r, double *loss, float *hidden, const int32_t *target,
                      int64_t n, float weight) {
    const int64_t V = r->m->cfg.V;
    const Rows dz = head_gradient(r->plan, r->logits, n);
    head_logits(th, r->plan, r->logits, hidden, n);
    if (th.i == 0) {
        *loss = 0;
        for (int64_t i = 0; i < n; i++) {
            float *z = r->logits + i * V, lse = row_lse(z, V);
            *loss += (double)(lse - z[target[i]]) / (double)n;
            cross_entropy_back(&dz, i, z, lse, target[i], weight / (float)n);
        }
    }
    thread_sync(th);
    head_back(th, r->plan, hidden, &dz, hidden, 0, n);
    head_back_end(th, r->plan, n);
}

/* Row i of the further layer has the hidden state and the next token of row i of its sequence. */
static void further_forward(Thread th, Rig *r) {
    const int64_t C = r->m->cfg.C;
    if (th.i == 0)
        for (int i = 0; i < 2; i++) {
            r->shorter[i].pages = r->span[i].pages;
            memcpy(r->from + i * (T - 1) * C, r->hidden + i * T * C,
                   (size_t)((T - 1) * C) * sizeof(float));
        }
    thread_sync(th);
    CHECK(model_mtp(th, r->plan, 0, &r->further, r->from, &r->further_out));
}

static void further_back(Thread th, Rig *r) {
    const int64_t C = r->m->cfg.C;
    loss_back(th, r, &r->further_loss, r->further_hidden, r->after, N - 2, 0.3f);
    static float from[N * 256];
    CHECK(C <= 256);
    model_mtp_back(th, r->plan, 0, &r->further, r->from, r->further_hidden, from);
    for (int64_t i = 0; th.i == 0 && i < (N - 2) * C; i++)
        r->hidden[(i / C / (T - 1) * T + i / C % (T - 1)) * C + i % C] += from[i];
    thread_sync(th);
}

static void forward_back(Thread th, void *arg) {
    Rig *r = arg;
    const bool further = r->m->n_layers > r->m->cfg.L;
    model_zero_grad(th, r->m);
    plan_pages(th, r->plan, r->span, 2);
    CHECK(model_forward(th, r->plan, &r->batch, &r->out, plan_acts(r->plan)));
    if (further) further_forward(th, r);
    loss_back(th, r, &r->loss, r->hidden, r->target, N, 1);
    if (further) further_back(th, r);
    model_back(th, r->plan, &r->batch, r->hidden, plan_acts(r->plan));
}

/* The largest error of a model's gradients, and in tolerances. */
typedef struct Off {
    double error, tolerances;
} Off;

/* Gradients of one parameter as the reference stores them: experts one by one. */
static void check_param(const Rig *r, const char *of, const Param *p, Off *off) {
    const int64_t n = p->count / p->w.n;
    double worst = 0;
    for (int64_t e = 0; e < p->w.n; e++) {
        const char *percent = strstr(p->name, "%d");
        Str name = percent ? str_fmt(r->a, "%sgrad.%.*s%d%s", of, (int)(percent - p->name), p->name,
                                     (int)e, percent + 2)
                           : str_fmt(r->a, "%sgrad.%s", of, p->name);
        const Tensor *t = store_find(r->oracle, name);
        assert_non_null(t);
        assert_int_equal(tensor_elements(t), n);
        for (int64_t i = 0; i < n; i++) {
            const double want = ((const float *)t->data)[i];
            const double error = fabs((double)p->grad[e * n + i] - want);
            off->error = MAX(off->error, error);
            worst = MAX(worst, error / (5e-6 + 1e-4 * fabs(want)));
        }
    }
    if (worst > 1) print_message("%s: %.2f tolerances off\n", p->name, worst);
    off->tolerances = MAX(off->tolerances, worst);
}

/* The reference, and how far its own code in float32 is from float64. */
typedef struct Reference {
    const char *name;
    double floor;
    int64_t mtp;
} Reference;

static double reference_loss(const Rig *r, const char *name) {
    return (double)*(const float *)store_find(r->oracle, str_of(name))->data;
}

static void check_reference(void **state) {
    const Reference *f = *state;
    Rig r;
    Off off = {0};
    rig_open_mtp(&r, f->name, ACT_F32, 2, f->mtp);
    team_run(r.team, forward_back, &r);
    assert_true(fabs(r.loss - reference_loss(&r, f->mtp ? "loss_main" : "loss")) < 1e-5);
    if (f->mtp) assert_true(fabs(r.further_loss - reference_loss(&r, "postnorm.loss_mtp")) < 1e-5);
    for (int64_t i = 0; i < r.m->n_params; i++)
        if (param_learns(&r.m->param[i]))
            check_param(&r, f->mtp ? "postnorm." : "", &r.m->param[i], &off);
    print_message("%s: largest gradient error %.1e (the reference's floor: %.1e), %.3f of the "
                  "tolerance\n",
                  f->name, off.error, f->floor, off.tolerances);
    assert_true(off.tolerances <= 1);
    rig_close(&r);
}

/* ---- the same bits on any number of threads -------------------------------------------------- */

static void gradients_hash(const Rig *r, char hex[65]) {
    Sha256 h;
    sha256_init(&h);
    for (int64_t i = 0; i < r->m->n_params; i++)
        if (param_learns(&r->m->param[i]))
            sha256_add(&h, r->m->param[i].grad, r->m->param[i].count * 4);
    sha256_hex(&h, hex);
}

static void test_threads(void **state) {
    (void)state;
    static const char *const names[] = {"llama-tiny", "qwen2-mini", "qwen3-moe-mini",
                                        "deepseek-v2-lite-tiny", "deepseek-v3-mtp-tiny"};
    static const int64_t threads[] = {1, 2, 3, 5};
    for (int64_t k = 0; k < COUNT(names); k++)
        for (Act act = ACT_F32; act <= ACT_A16; act++) {
            char first[65], hex[65];
            for (int64_t i = 0; i < COUNT(threads); i++) {
                Rig r;
                rig_open_mtp(&r, names[k], act, threads[i], strstr(names[k], "mtp") != NULL);
                team_run(r.team, forward_back, &r);
                gradients_hash(&r, i ? hex : first);
                if (i) assert_string_equal(hex, first);
                rig_close(&r);
            }
        }
}

/* ---- a16 ------------------------------------------------------------------------------------- */

/* Every tensor's gradient points where that of f32 does: bf16 has 8 bits, so a few per cent of
 * angle are its noise. Experts whose choice rounding changes would point elsewhere; the
 * reference's batches keep the choices apart. */
static void check_direction(const char *name) {
    Rig f, h;
    rig_open(&f, name, ACT_F32, 1);
    rig_open(&h, name, ACT_A16, 2);
    team_run(f.team, forward_back, &f);
    team_run(h.team, forward_back, &h);
    assert_true(fabs(f.loss - h.loss) < 0.02);
    double all_fh = 0, all_ff = 0, all_hh = 0;
    for (int64_t i = 0; i < f.m->n_params; i++) {
        double fh = 0, ff = 0, hh = 0;
        for (int64_t j = 0; param_learns(&f.m->param[i]) && j < f.m->param[i].count; j++) {
            const double x = f.m->param[i].grad[j], y = h.m->param[i].grad[j];
            fh += x * y, ff += x * x, hh += y * y;
        }
        all_fh += fh, all_ff += ff, all_hh += hh;
        if (ff > 0 && !(fh / sqrt(ff * hh) > 0.95))
            print_message("%s: cosine %.4f\n", f.m->param[i].name, fh / sqrt(ff * hh));
        assert_true(ff == 0 || fh / sqrt(ff * hh) > 0.95);
    }
    print_message("%s: a16 beside f32: loss %.2e apart, cosine of all gradients %.5f\n", name,
                  fabs(f.loss - h.loss), all_fh / sqrt(all_ff * all_hh));
    assert_true(all_fh / sqrt(all_ff * all_hh) > 0.99);
    rig_close(&f);
    rig_close(&h);
}

static void test_a16(void **state) {
    (void)state;
    check_direction("llama-tiny");
    check_direction("qwen3-tiny");
    check_direction("deepseek-v2-lite-tiny");
    check_direction("deepseek-v3-tiny");
}

int test_back(void) {
    static const Reference references[] = {
        {"deepseek-v3-mtp-tiny", 6.6e-7, 1},
        {"llama-tiny", 3.4e-7, 0},
        {"llama3-tiny", 2.8e-7, 0},
        {"qwen2-mini", 3.1e-7, 0},
        {"qwen2-yarn-mini", 3.5e-8, 0},
        {"qwen3-tiny", 6.3e-7, 0},
        {"qwen3-mini", 4.1e-8, 0},
        {"qwen3-moe-tiny", 1.4e-7, 0},
        {"qwen3-moe-mini", 4.1e-8, 0},
        {"qwen3-moe-dense-mini", 3.8e-8, 0},
        {"deepseek-v2-lite-tiny", 3.5e-7, 0},
        {"deepseek-v2-groups-mini", 1.1e-7, 0},
        {"deepseek-v3-tiny", 8.6e-7, 0},
        {"deepseek-v3-unshared-mini", 5.9e-8, 0},
        {"moonlight-mini", 4.7e-8, 0},
        {"glm4-moe-lite-tiny", 2.1e-7, 0},
        {"glm4-moe-lite-mini", 4.2e-8, 0},
    };
    struct CMUnitTest tests[COUNT(references) + 2];
    for (int64_t i = 0; i < COUNT(references); i++)
        tests[i] = (struct CMUnitTest){references[i].name, check_reference, NULL, NULL,
                                       (void *)(uintptr_t)&references[i]};
    tests[COUNT(references)] = (struct CMUnitTest)cmocka_unit_test(test_threads);
    tests[COUNT(references) + 1] = (struct CMUnitTest)cmocka_unit_test(test_a16);
    return cmocka_run_group_tests_name("gradients", tests, NULL, NULL);
}
