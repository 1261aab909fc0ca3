/* head.c -- the head's backward in pieces against the sum over all rows at once, bit for bit: more
 * rows than a part of the contract has, a last piece that is no multiple of 32, two micro-batches,
 * with the embedding as head and with one of its own, on several threads. */
#include "tests.h"
#include "model/layer.h"

/* A vocabulary for which head_rows is a quarter of CUT_K; three parts, the last one short. */
enum { V = 4100, C = 40, N = 2 * CUT_K + 45, BATCHES = 2 };

typedef struct Case {
    Arena *a;
    Model *m;
    Plan *plan;
    float *hidden[BATCHES];         /* (N, C) */
    int32_t *target;                /* (N) */
    float *z;                       /* (N, V) */
    float *grad, *dhidden[BATCHES]; /* (V, C); (N, C): what is held against the reference's */
    void *work, *rows, *x_rows;
} Case;

static float noise(int64_t i, uint32_t stream) {
    return (float)((int64_t)(philox(3, (uint64_t)i, stream).w[0] % 2001) - 1000) * 1e-3f;
}

static float *noises(Arena *a, int64_t n, uint32_t stream) {
    float *x = PUSH(a, float, n);
    for (int64_t i = 0; i < n; i++) x[i] = noise(i, stream);
    return x;
}

static void case_open(Case *c, bool tied, Act act, Team *team) {
    Config cfg;
    Err err = {0};
    *c = (Case){.a = arena_open("head", ARENA_NO_LIMIT)};
    Str json = str_fmt(c->a,
                       "{\"model_type\": \"llama\", \"hidden_size\": %d, \"vocab_size\": %d, "
                       "\"num_hidden_layers\": 1, \"num_attention_heads\": 4, "
                       "\"intermediate_size\": 8, \"max_position_embeddings\": %d, "
                       "\"rms_norm_eps\": 1e-6, \"tie_word_embeddings\": %s}",
                       C, V, N, tied ? "true" : "false");
    must(config_parse(&cfg, json, "head", &err), &err);
    model_init(&c->m, c->a, &cfg, 0.5, 1);
    PlanSpec spec = {.act = act,
                     .mla = MLA_EXPANDED,
                     .kv = act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16,
                     .rows = N,
                     .logit_rows = N,
                     .spans = 1,
                     .positions = N,
                     .training = true};
    must(plan_new(&c->plan, c->a, c->m, &spec, 0, team, &err), &err);
    assert_int_equal(head_rows(c->plan), CUT_K / 8);
    const Layout layout = weight_of(c->plan, c->m->head)->layout_t;
    c->z = PUSH(c->a, float, (int64_t)N *V);
    c->work = arena_push(c->a, linear_dw_bytes(layout_form(layout), N, V, C));
    c->rows = arena_push(c->a, rows_bytes(layout_form(layout), N, V));
    c->x_rows = arena_push(c->a, rows_bytes(layout_form(layout), N, C));
    c->target = PUSH(c->a, int32_t, N);
    for (int64_t i = 0; i < N; i++) c->target[i] = (int32_t)(i * 7919 % V);
}

/* What an earlier tensor's backward may have left in the gradient, and fresh inputs. */
static void case_fill(Case *c) {
    float *grad = noises(c->a, c->m->head->count, 9);
    memcpy(c->m->head->grad, grad, (size_t)c->m->head->count * sizeof *grad);
    for (int64_t k = 0; k < BATCHES; k++) {
        c->hidden[k] = noises(c->a, (int64_t)N * C, (uint32_t)k);
        c->dhidden[k] = PUSH(c->a, float, (int64_t)N *C);
    }
}

static void loss(Thread th, const Case *c, const Rows *dz, const float *z, int64_t row) {
    Range r = thread_range(th, dz->n);
    for (int64_t i = r.lo; i < r.hi; i++) {
        const float *y = z + i * V;
        cross_entropy_back(dz, i, y, row_lse(y, V), c->target[row + i], 1.0f / N);
    }
    thread_sync(th);
}

/* All rows at once: the form of the contract. */
static void whole(Thread th, void *arg) {
    Case *c = arg;
    const Param *w = c->m->head;
    const Weight *panel = weight_of(c->plan, w), t = weight_t(panel);
    for (int64_t k = 0; k < BATCHES; k++) {
        Rows rows = {0}, x = {0};
        head_logits(th, c->plan, c->z, c->hidden[k], N);
        const Rows dz = rows_in(FORM_F32, N, V, c->z);
        loss(th, c, &dz, c->z, 0);
        rows_pack(th, &x, layout_form(panel->layout_t), c->hidden[k], N, C, C, c->x_rows);
        rows_pack(th, &rows, layout_form(panel->layout_t), c->z, N, V, V, c->rows);
        linear_dw(th, w->grad, &rows, &x, c->work);
        linear(th, c->dhidden[k], C, &t, 0, &rows, STORE_SET);
    }
}

/* Some rows at a time, hidden states giving way to their gradients. */
static void pieces(Thread th, void *arg) {
    Case *c = arg;
    for (int64_t k = 0; k < BATCHES; k++) {
        for (int64_t row = 0, step = head_rows(c->plan); row < N; row += step) {
            const int64_t n = MIN(step, N - row);
            float *h = c->hidden[k] + row * C;
            head_logits(th, c->plan, c->z, h, n);
            const Rows dz = head_gradient(c->plan, c->z, n);
            loss(th, c, &dz, c->z, row);
            head_back(th, c->plan, h, &dz, h, row, n);
        }
        head_back_end(th, c->plan, N);
    }
}

static void check_pieces(bool tied, Act act) {
    static const int64_t threads[] = {1, 3};
    for (int64_t i = 0; i < COUNT(threads); i++) {
        Case c;
        Team *team = team_open(threads[i]);
        case_open(&c, tied, act, team);
        const size_t bytes = (size_t)c.m->head->count * sizeof(float);
        case_fill(&c);
        team_run(team, whole, &c);
        c.grad = PUSH(c.a, float, c.m->head->count);
        memcpy(c.grad, c.m->head->grad, bytes);
        float *dhidden[BATCHES] = {c.dhidden[0], c.dhidden[1]};
        case_fill(&c);
        assert_memory_not_equal(c.grad, c.m->head->grad, bytes);
        team_run(team, pieces, &c);
        assert_memory_equal(c.grad, c.m->head->grad, bytes);
        for (int64_t k = 0; k < BATCHES; k++)
            assert_memory_equal(dhidden[k], c.hidden[k], (size_t)N * C * sizeof(float));
        team_close(team);
        arena_close(c.a);
    }
}

static void pieces_f32(void **state) {
    (void)state;
    need_own_speed();
    check_pieces(true, ACT_F32);
    check_pieces(false, ACT_F32);
}

static void pieces_a16(void **state) {
    (void)state;
    need_own_speed();
    check_pieces(true, ACT_A16);
    check_pieces(false, ACT_A16);
}

/* The plan for many rows has logits of some only: what it says of them does not grow with N. */
static void no_logits_of_all_rows(void **state) {
    (void)state;
    Case c;
    Team *team = team_open(1);
    case_open(&c, true, ACT_A16, team);
    for (int64_t i = 0; i < c.plan->n_items; i++)
        if (!strcmp(c.plan->item[i].what, "logits"))
            assert_int_equal(c.plan->item[i].bytes, head_rows(c.plan) * V * 4);
    assert_true(c.plan->bytes < (int64_t)N * V * 4);
    team_close(team);
    arena_close(c.a);
}

int test_head(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_f32), cmocka_unit_test(pieces_a16),
                                       cmocka_unit_test(no_logits_of_all_rows)};
    return cmocka_run_group_tests_name("model head", tests, NULL, NULL);
}
