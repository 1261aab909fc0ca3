/* threads.c -- what must not change a bit: the number of threads, the other rows of a batch, the
 * blocks that a batch comes in. */
#include "cases.h"

static float *copy(const float *x, int64_t n) {
    float *y = guard_new(n * 4, 4, AT_END);
    memcpy(y, x, (size_t)n * 4);
    return y;
}

/* ---- products -------------------------------------------------------------------------------- */

typedef struct ProductCase {
    DType type;
    Act act;
    int64_t n, rows, cols;
} ProductCase;

static const ProductCase products[] = {
    {DTYPE_F32, ACT_F32, 70, 40, 50},    {DTYPE_F32, ACT_A16, 133, 130, 70},
    {DTYPE_BF16, ACT_A16, 300, 90, 576}, {DTYPE_BF16, ACT_A16, 1, 700, 33},
    {DTYPE_BF16, ACT_A16, 60, 1040, 40}, {DTYPE_F32, ACT_F32, 97, 16, 1030},
};

static void one_product(const ProductCase *c) {
    Weight w = weight_new(c->type, 1, c->rows, c->cols);
    Layout layout = layout_of(c->act, c->type);
    const char *name = layout_name(layout);
    int64_t all = c->n * c->rows, bytes = panel_bytes(layout, c->rows, c->cols);
    weight_ready(&w, layout, false, 1);
    const void *tile = w.tile;
    float *x = new_floats(c->n * c->cols, SPREAD), *y = NEW(float, all), *z = NEW(float, all);
    run_linear(&(LinearRun){y, c->rows, &w, 0, x, NULL, c->n, c->cols, STORE_SET}, 1);
    for (int64_t k = 1; k < COUNT(thread_counts); k++) {
        weight_ready(&w, layout, false, thread_counts[k]);
        same_bytes(w.tile, tile, bytes, "%s: %s panels on %lld threads", level_now, name,
                   (long long)thread_counts[k]);
        run_linear(&(LinearRun){z, c->rows, &w, 0, x, NULL, c->n, c->cols, STORE_SET},
                   thread_counts[k]);
        same_floats(z, y, all, "%s: %s product on %lld threads", level_now, name,
                    (long long)thread_counts[k]);
    }
    for (int64_t r = 0, n; r < c->n; r += n) { /* the same rows in blocks of 1..9 */
        n = draw_to(1, 9);
        n = MIN(n, c->n - r);
        run_linear(&(LinearRun){z + r * c->rows, c->rows, &w, 0, x + r * c->cols, NULL, n, c->cols,
                                STORE_SET},
                   2);
    }
    same_floats(z, y, all, "%s: %s product in blocks", level_now, name);
    guard_reset();
}

static void product_level(void) {
    for (int64_t i = 0; i < COUNT(products); i++) one_product(&products[i]);
    for (DType t = 0; t < DTYPE_N; t++) {
        if (!dtype_is_weight(t) || dtype_block(t) == 1) continue;
        one_product(&(ProductCase){t, ACT_A8, 40, 300, 2 * dtype_block(t)});
        one_product(&(ProductCase){t, ACT_A8, 200, 17, 3 * dtype_block(t)});
    }
}
static void products_do_not_see_neighbours(void **state) {
    (void)state;
    on_levels(product_level);
}

/* ---- groups ---------------------------------------------------------------------------------- */

enum { EXPERTS = 5 };
typedef struct GroupRun {
    float *y;
    const Weight *w;
    const float *x;
    int64_t n;
    Group g[EXPERTS];
    void *mem;
    bool round;
} GroupRun;

static void group_thread(Thread th, void *arg) {
    const GroupRun *t = arg;
    Rows x;
    rows_pack(th, &x, layout_form(t->w->layout), t->x, t->n, t->w->cols, t->w->cols, t->mem);
    linear_groups(th, t->y, t->w->rows, t->w, &x, 1, t->g, EXPERTS, t->round);
}

static void group_level(void) {
    static const int64_t counts[EXPERTS] = {3, 0, 40, 1, 12}; /* one without rows */
    for (Layout l = LAYOUT_F32; l < LAYOUT_N; l++) {
        DType type = layout_quantised(l) ? layouts[l].type : DTYPE_F32;
        Weight w = weight_new(type, EXPERTS, 90, round_up(64, layouts[l].block));
        GroupRun t = {.w = &w};
        weight_ready(&w, l, false, 2);
        for (int64_t e = 0; e < EXPERTS; t.n += counts[e++])
            t.g[e] = (Group){EXPERTS - 1 - e, t.n, counts[e]};
        float *x = new_floats(t.n * w.cols, MILD), *want = NEW(float, t.n *w.rows);
        t.x = x, t.mem = guard_new(rows_bytes(layout_form(w.layout), t.n, w.cols), 64, AT_END);
        for (int64_t e = 0; e < EXPERTS; e++)
            run_linear(&(LinearRun){want + t.g[e].row0 * w.rows, w.rows, &w, t.g[e].matrix,
                                    x + t.g[e].row0 * w.cols, NULL, t.g[e].n, w.cols, STORE_SET},
                       1);
        for (int64_t k = 0; k < COUNT(thread_counts); k++) {
            t.y = NEW(float, t.n *w.rows);
            on_threads(thread_counts[k], group_thread, &t);
            same_floats(t.y, want, t.n * w.rows, "%s: groups on %lld threads", level_now,
                        (long long)thread_counts[k]);
        }
        t.round = true;
        on_threads(3, group_thread, &t);
        for (int64_t i = 0; i < t.n * w.rows; i++) want[i] = round_bf16(want[i]);
        same_floats(t.y, want, t.n * w.rows, "%s: groups, rounded", level_now);
        guard_reset();
    }
}
static void groups_are_products(void **state) {
    (void)state;
    on_levels(group_level);
}

enum { DW = 2, R = 37, K = 83 };
typedef struct GroupDwRun {
    float *const *dw;
    const float *const *dy, *x;
    const int32_t *index;
    const Group *g;
    ActForm form;
    int64_t n, most;
    void *mem[DW + 1], *work;
} GroupDwRun;

static void group_dw_thread(Thread th, void *arg) {
    const GroupDwRun *r = arg;
    Rows dy[DW], x;
    for (int64_t i = 0; i < DW; i++)
        rows_pack(th, &dy[i], r->form, r->dy[i], r->n, R, R, r->mem[i]);
    rows_pack(th, &x, r->form, r->x, r->n, K, K, r->mem[DW]);
    const GroupsDw t = {r->dw, dy, DW, &x, r->index, r->most};
    linear_dw_groups(th, &t, r->g, EXPERTS, r->work);
}

/* Two gradients of one input, whose rows are picked or stand in order, are those that each expert
 * gives by itself; an expert without rows keeps what it has. */
static void group_dw_layout(Layout layout, bool picked) {
    static const int64_t counts[EXPERTS] = {3, 0, 140, 1, 77};
    Group g[EXPERTS];
    int64_t n = 0;
    for (int64_t e = 0; e < EXPERTS; n += counts[e++])
        g[e] = (Group){EXPERTS - 1 - e, n, counts[e]};
    const int64_t all = EXPERTS * R * K;
    const float *dy[DW] = {new_floats(n * R, MILD), new_floats(n * R, MILD)};
    float *x = new_floats(n * K, MILD), *rows = NEW(float, n *K);
    float *start = new_floats(all, MILD), *want[DW], *dw[DW];
    int32_t *index = NEW(int32_t, n);
    for (int64_t i = 0; i < n; i++) {
        index[i] = (int32_t)(i * 7 % n);
        memcpy(rows + i * K, x + (picked ? index[i] : i) * K, K * sizeof *x);
    }
    DwRun one = {.ldy = R, .ldx = K, .rows = R, .cols = K, .layout = layout};
    for (int64_t i = 0; i < DW; i++) {
        want[i] = copy(start, all);
        for (int64_t e = 0; e < EXPERTS; e++) {
            one.dw = want[i] + g[e].matrix * R * K, one.n = g[e].n;
            one.dy = dy[i] + g[e].row0 * R, one.x = rows + g[e].row0 * K;
            run_dw(&one, 1);
        }
    }
    for (int64_t k = 0; k < COUNT(thread_counts); k++) {
        const ActForm form = layout_form(layout);
        GroupDwRun r = {dw, dy, x, picked ? index : NULL, g, form, n, 140, {NULL}, NULL};
        const int64_t bytes = linear_dw_groups_bytes(form, r.most, R, K);
        for (int64_t i = 0; i <= DW; i++)
            r.mem[i] = guard_new(rows_bytes(form, n, i < DW ? R : K), 64, AT_END);
        r.work = guard_new(thread_counts[k] * bytes, 64, AT_END);
        for (int64_t i = 0; i < DW; i++) dw[i] = copy(start, all);
        on_threads(thread_counts[k], group_dw_thread, &r);
        for (int64_t i = 0; i < DW; i++)
            same_floats(dw[i], want[i], all, "%s: gradients of experts on %lld threads", level_now,
                        (long long)thread_counts[k]);
    }
    guard_reset();
}
static void group_dw_level(void) {
    for (int i = 0; i < 4; i++) group_dw_layout(i & 1 ? LAYOUT_F32 : LAYOUT_BF16, i >= 2);
}
static void gradients_of_groups_are_those_of_experts(void **state) {
    (void)state;
    on_levels(group_dw_level);
}

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct StepRun {
    Attention *t;
    const Span *span;
    int64_t n;
    void *work;
} StepRun;

static void step_thread(Thread th, void *arg) {
    const StepRun *r = arg;
    Attention *t = r->t;
    attention_store(th, t, r->span, r->n);
    attend(th, t->o, t->a.heads * t->a.v.width, t->lse, t->q, t->a.heads * t->a.k.width, &t->a,
           r->span, r->n, r->work);
}

/* All sequences advance by `step` positions at a time; with `alone` one after the other. */
static void attention_steps(Attention *t, int64_t step, bool alone, int64_t threads) {
    StepRun r = {t, NULL, 0, guard_new(threads * attend_bytes(&t->a, step), 64, AT_END)};
    for (int64_t first = 0; first < t->n_spans; first += alone ? 1 : t->n_spans)
        for (int64_t pos = 0;; pos += step) {
            Span span[SPANS];
            r.n = 0, r.span = span;
            for (int64_t i = first; i < (alone ? first + 1 : t->n_spans); i++) {
                const Span *s = t->span + i;
                if (pos < s->n)
                    span[r.n++] =
                        (Span){s->row + pos, MIN(step, s->n - pos), pos, s->pages, s->seq};
            }
            if (r.n == 0) break;
            on_threads(threads, step_thread, &r);
        }
}

static void same_attention(const Attention *t, const float *o, const float *lse, const char *what,
                           int64_t n) {
    same_floats(t->o, o, t->rows * t->a.heads * t->a.v.width, "%s: attention, %s %lld", level_now,
                what, (long long)n);
    same_floats(t->lse, lse, t->rows * t->a.heads, "%s: log-sum-exp, %s %lld", level_now, what,
                (long long)n);
}

static const AttentionShape shapes[] = {
    {DTYPE_BF16, 9, 3, 32, 32, false},
    {DTYPE_F32, 4, 4, 24, 12, false},
    {DTYPE_BF16, 16, 1, 40, 20, true},
    {DTYPE_F32, 6, 1, 33, 17, true},
};

static void attention_level(void) {
    static const int64_t lengths[] = {200, 1, 64, 129, 65}, steps[] = {1, 7, 64, 100};
    for (int64_t i = 0; i < COUNT(shapes); i++) {
        Attention t;
        attention_new(&t, shapes[i], lengths, i % 2 ? COUNT(lengths) : 1, 3.0f);
        attention_run(&t, 1);
        float *o = copy(t.o, t.rows * t.a.heads * t.a.v.width),
              *lse = copy(t.lse, t.rows * t.a.heads);
        for (int64_t k = 1; k < COUNT(thread_counts); k++) {
            attention_run(&t, thread_counts[k]);
            same_attention(&t, o, lse, "threads", thread_counts[k]);
        }
        for (int64_t k = 0; k < COUNT(steps); k++) {
            for (int64_t other = 0; other < 2; other++) {
                memset(t.o, 0x55, (size_t)(t.rows * t.a.heads * t.a.v.width) * 4);
                attention_steps(&t, steps[k], (k + other) % 2, other ? 2 : thread_counts[k]);
                same_attention(&t, o, lse, "steps of", steps[k]);
            }
        }
        guard_reset();
    }
}
static void attention_does_not_see_neighbours(void **state) {
    (void)state;
    on_levels(attention_level);
}

typedef struct WaveRun {
    const Attention *t;
    const Span *span;
    void *work;
} WaveRun;

static void wave_thread(Thread th, void *arg) {
    const WaveRun *r = arg;
    const Attend *a = &r->t->a;
    attend(th, r->t->o, a->heads * a->v.width, NULL, r->t->q, a->heads * a->k.width, a, r->span, 1,
           r->work);
}

/* One row of many heads before a long past: more pairs of task and chunk than the threads' slots
 * hold, so that threads share them in several waves. One thread alone does it without. */
static void long_sequences_come_in_waves(void **state) {
    (void)state;
    enum { PAST = 3000, HEADS = 64, DK = 136, DV = 128 };
    static const int64_t lengths[] = {PAST};
    Err err = {0};
    Attention t;
    assert_true(kern_init(LEVEL_N, &err));
    attention_new(&t, (AttentionShape){DTYPE_BF16, 1, 1, DK, DV, true}, lengths, 1, 3.0f);
    attention_run(&t, 2);
    t.a.heads = HEADS;
    t.q = new_floats(HEADS * DK, MILD);
    Span last = {0, 1, PAST - 1, t.span[0].pages, 0};
    float *first = NEW(float, HEADS *DV);
    for (int64_t k = 0; k < COUNT(thread_counts) + 8; k++) {
        int64_t threads = thread_counts[k % COUNT(thread_counts)];
        WaveRun r = {&t, &last, guard_new(threads * attend_bytes(&t.a, 1), 64, AT_END)};
        t.o = k == 0 ? first : NEW(float, HEADS *DV);
        on_threads(threads, wave_thread, &r);
        same_floats(t.o, first, HEADS * DV, "one row, 47 chunks, %lld threads", (long long)threads);
    }
    guard_reset();
}

static void attention_back_level(void) {
    static const int64_t lengths[] = {150, 1, 64, 90};
    for (int64_t i = 0; i < 2; i++) {
        Attention t;
        attention_new(&t, shapes[i], lengths, COUNT(lengths), 2.0f);
        attention_run(&t, 2);
        attention_back(&t, 1);
        int64_t nq = t.rows * t.a.heads * t.a.k.width, nk = t.rows * t.a.k.heads * t.a.k.width,
                nv = t.rows * t.a.k.heads * t.a.v.width;
        float *dq = copy(t.dq, nq), *dk = copy(t.dk, nk), *dv = copy(t.dv, nv);
        for (int64_t k = 1; k < COUNT(thread_counts) + t.n_spans; k++) {
            Attention u = t;
            memset(t.dq, 0, (size_t)nq * 4);
            if (k < COUNT(thread_counts)) attention_back(&u, thread_counts[k]);
            for (int64_t s = 0; s < t.n_spans && k >= COUNT(thread_counts);
                 s++) { /* one document after the other */
                u.n_spans = 1, u.span[0] = t.span[s];
                attention_back(&u, 2);
            }
            same_floats(t.dq, dq, nq, "%s: dq, case %lld", level_now, (long long)k);
            same_floats(t.dk, dk, nk, "%s: dk, case %lld", level_now, (long long)k);
            same_floats(t.dv, dv, nv, "%s: dv, case %lld", level_now, (long long)k);
        }
        guard_reset();
    }
}
static void attention_back_does_not_see_threads(void **state) {
    (void)state;
    on_levels(attention_back_level);
}

/* ---- everything else: one pass over all that is split by rows, columns or numbers ------------ */

enum { ROWS = 37, COLS = 45, PACKED = 64, ALL = ROWS * COLS, PICKS = 3 };

typedef struct Outputs {
    float norm[ALL], r[ROWS], norm_dx[ALL], norm_dw[COLS], bias[ALL], bias_back[COLS], rope[ALL],
        cos[ROWS * 20], sin[ROWS * 20];
    float silu[ALL], dg[ALL], du[ALL], sum[ALL], weight[ROWS * PICKS], score[ALL], dz[ALL],
        mix[ALL], drows[ROWS * PICKS * COLS];
    float dweight[ROWS * PICKS], dw[COLS * COLS], w[ALL], m[ALL], v[ALL];
    uint16_t dg_rows[ROWS * PACKED], du_rows[ROWS * PACKED], mix_rows[ROWS * PICKS * PACKED],
        norm_rows[ROWS * PACKED];
    int32_t id[ROWS * PICKS];
} Outputs;

typedef struct EveryRun {
    Outputs *out;
    const float *x, *y, *z, *w, *rows;
    const int32_t *at;
    void *work, *dy_rows, *x_rows;
} EveryRun;

static void every_thread(Thread th, void *arg) {
    static const int64_t pos[ROWS] = {0, 1, 2, 5, 1000};
    static const double freq[20] = {1, 0.5, 0.25, 0.1, 0.01};
    const EveryRun *t = arg;
    Outputs *o = t->out;
    Router r = {ROUTER_SIGMOID, COLS, PICKS, 5, 3, true, 2.0f, NULL};
    rmsnorm_packed(th, o->norm, COLS, o->r, t->x, COLS, t->w, ROWS, COLS, 1e-6f, o->norm_rows);
    rmsnorm_back(th, o->norm_dx, COLS, STORE_ADD, o->norm_dw, t->y, COLS, t->x, COLS, o->r, t->w,
                 ROWS, COLS);
    bias_add(th, o->bias, COLS, t->w, ROWS, COLS);
    bias_back(th, o->bias_back, t->y, COLS, ROWS, COLS);
    rope_table(th, o->cos, o->sin, pos, ROWS, freq, 20, 1.0);
    rope(th, o->rope, COLS, 20, ROWS, 2, 10, true, false, o->cos, o->sin);
    silu_mul(th, o->silu, t->x, t->y, ALL);
    Rows dy, x;
    silu_mul_back(th, &dy, &x, FORM_F32, t->z, t->x, t->y, ROWS, COLS, o->dg, o->du);
    silu_mul_back(th, &dy, &x, FORM_BF16, t->z, t->x, t->y, ROWS, COLS, o->dg_rows, o->du_rows);
    add(th, o->sum, t->x, ALL);
    CHECK(route(th, o->id, o->weight, o->score, t->z, ROWS, &r));
    route_back(th, o->dz, o->weight, o->score, o->id, ROWS, &r);
    combine(th, o->mix, NULL, t->x, t->rows, COLS, t->at, o->weight, ROWS, PICKS, COLS);
    combine_back(th, &dy, FORM_F32, o->drows, o->dweight, t->y, t->rows, COLS, t->at, o->weight,
                 ROWS, PICKS, COLS);
    combine_back(th, &dy, FORM_BF16, o->mix_rows, o->dweight, t->y, t->rows, COLS, t->at, o->weight,
                 ROWS, PICKS, COLS);
    rows_pack(th, &dy, FORM_BF16, t->x, ROWS, COLS, COLS, t->dy_rows);
    rows_pack(th, &x, FORM_BF16, t->y, ROWS, COLS, COLS, t->x_rows);
    linear_dw(th, o->dw, &dy, &x, t->work);
    adamw(th, o->w, t->x, o->m, o->v, ALL,
          &(AdamW){1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.1f, 0.05f, 0.7f});
}

static void rows_do_not_see_threads(void **state) {
    (void)state;
    Err err = {0};
    int32_t *at = NEW(int32_t, ROWS * PICKS);
    Outputs *first = NEW(Outputs, 1);
    EveryRun t = {first,
                  new_floats(ALL, MILD),
                  new_floats(ALL, MILD),
                  new_floats(ALL, MILD),
                  new_floats(COLS, MILD),
                  new_floats(ROWS * PICKS * COLS, MILD),
                  at,
                  guard_new(linear_dw_bytes(FORM_BF16, ROWS, COLS, COLS), 64, AT_END),
                  guard_new(rows_bytes(FORM_BF16, ROWS, COLS), 64, AT_END),
                  guard_new(rows_bytes(FORM_BF16, ROWS, COLS), 64, AT_END)};
    assert_true(kern_init(LEVEL_N, &err));
    for (int64_t i = 0; i < ROWS * PICKS; i++) at[i] = (int32_t)(ROWS * PICKS - 1 - i);
    float *start = new_floats(ALL, MILD);
    for (int64_t k = 0; k < COUNT(thread_counts); k++) {
        t.out = k == 0 ? first : NEW(Outputs, 1);
        memcpy(t.out->rope, start, sizeof t.out->rope);
        on_threads(thread_counts[k], every_thread, &t);
        same_bytes(t.out, first, sizeof *first, "all outputs on %lld threads",
                   (long long)thread_counts[k]);
    }
    guard_reset();
}

int test_threads(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_do_not_see_neighbours),
        cmocka_unit_test(groups_are_products),
        cmocka_unit_test(gradients_of_groups_are_those_of_experts),
        cmocka_unit_test(attention_does_not_see_neighbours),
        cmocka_unit_test(long_sequences_come_in_waves),
        cmocka_unit_test(attention_back_does_not_see_threads),
        cmocka_unit_test(rows_do_not_see_threads),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
