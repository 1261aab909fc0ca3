/* forward.c -- every operation against its twin in f64. Errors are measured against the sum of the
 * magnitudes that went into a number; order.c holds the bits, this holds the meaning. */
#include "cases.h"
#include "twin.h"
#include <math.h>

static double *widened(const float *x, int64_t n) {
    double *y = guard_new(n * 8, 8, AT_END);
    for (int64_t i = 0; i < n; i++) y[i] = (double)x[i];
    return y;
}

/* ---- products -------------------------------------------------------------------------------- */

/* Relative error of a product of these forms: f32 chains; two bf16 roundings; an int8 step of the
 * largest of 32. */
static double product_error(ActForm f, int64_t k) {
    return f == FORM_F32 ? 0x1p-23 * (double)MIN(k, 256) : f == FORM_BF16 ? 0x1p-7 : 0x1p-6;
}

static void linear_level(void) {
    for (int64_t c = 0; c < DTYPE_N * 3; c++) {
        DType type = (DType)(c / 3);
        if (!dtype_is_weight(type)) continue;
        Layout layout = layout_of((Act)(c % 3), type);
        int64_t n = draw_to(1, 9), rows = draw_to(1, 80),
                cols = round_up(draw_to(1, 400), dtype_block(type));
        bool a8 = layout_quantised(layout);
        Weight w = weight_new(type, 1, rows, cols);
        weight_ready(&w, layout, false, 1);
        float *x = new_floats(n * cols, MILD), *y = guard_new(n * rows * 4, 4, AT_END);
        run_linear(&(LinearRun){y, rows, &w, 0, x, NULL, n, cols, STORE_SET}, 1);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < rows; j++) {
                double sum = 0, size = 0;
                for (int64_t k = 0; k < cols; k++) {
                    double t = weight_number(&w, 0, j, k) * (double)x[i * cols + k];
                    sum += t;
                    size += a8 ? fabs(weight_number(&w, 0, j, k)) : fabs(t);
                }
                near_double((double)y[i * rows + j], sum, size,
                            product_error(layout_form(layout), cols), "%s: linear %s act %d",
                            level_now, dtype_name(type), (int)(c % 3));
            }
        for (int64_t j = 0; j < rows; j += 7) {
            float *row = guard_new(cols * 4, 4, AT_END);
            weight_row(row, &w, 0, j);
            for (int64_t k = 0; k < cols; k++)
                assert_true(row[k] == (float)weight_number(&w, 0, j, k));
        }
        guard_reset();
    }
}
static void linear_is_right(void **state) {
    (void)state;
    on_levels(linear_level);
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef struct RowsRun {
    int64_t n, C, half, heads;
    float *x, *y, *w, *r, *cos, *sin, *u;
    int64_t *pos;
    double *inv_freq;
    bool pairs;
} RowsRun;

static void norm_thread(Thread th, void *arg) {
    const RowsRun *t = arg;
    rmsnorm(th, t->y, t->C, t->r, t->x, t->C, t->w, t->n, t->C, 1e-5f);
}

static void norm_is_right(void **state) {
    (void)state;
    for (int64_t C = 1; C < 700; C += 1 + C / 3) {
        RowsRun t = {.n = 3,
                     .C = C,
                     .x = new_floats(3 * C, MILD),
                     .y = NEW(float, 3 * C),
                     .r = NEW(float, 3)};
        t.w = C % 2 ? new_floats(C, MILD) : NULL;
        on_threads(2, norm_thread, &t);
        double *want = NEW(double, 3 * C);
        twin_rmsnorm(want, widened(t.x, 3 * C), t.w ? widened(t.w, C) : NULL, 3, C, (double)1e-5f);
        for (int64_t i = 0; i < 3 * C; i++)
            near_double((double)t.y[i], want[i], fabs(want[i]), 1e-6, "rmsnorm C %lld",
                        (long long)C);
        guard_reset();
    }
}

static void rope_thread(Thread th, void *arg) {
    const RowsRun *t = arg;
    rope_table(th, t->cos, t->sin, t->pos, t->n, t->inv_freq, t->half, 1.25);
    rope(th, t->x, t->heads * 2 * t->half, 2 * t->half, t->n, t->heads, t->half, t->pairs, false,
         t->cos, t->sin);
}

static void rope_is_right(void **state) {
    (void)state;
    for (int64_t half = 1; half < 40; half += 7) {
        enum { N = 5, HEADS = 3 };
        int64_t all = N * HEADS * 2 * half;
        RowsRun t = {.n = N,
                     .half = half,
                     .heads = HEADS,
                     .x = new_floats(all, MILD),
                     .pos = NEW(int64_t, N),
                     .inv_freq = NEW(double, half),
                     .cos = NEW(float, N *half),
                     .sin = NEW(float, N *half),
                     .pairs = half % 2};
        double *want = widened(t.x, all);
        for (int64_t i = 0; i < N; i++) t.pos[i] = i * i * i * 1000;
        for (int64_t j = 0; j < half; j++) t.inv_freq[j] = pow(10000, -(double)j / (double)half);
        on_threads(3, rope_thread, &t);
        for (int64_t i = 0; i < N; i++)
            for (int64_t h = 0; h < HEADS; h++) {
                double c[64], s[64], *x = want + (i * HEADS + h) * 2 * half;
                for (int64_t j = 0; j < half; j++) {
                    c[j] = 1.25 * cos((double)t.pos[i] * t.inv_freq[j]);
                    s[j] = 1.25 * sin((double)t.pos[i] * t.inv_freq[j]);
                    near_double((double)t.cos[i * half + j], c[j], 1.25, 0x1p-24, "cos");
                }
                twin_rope(x, half, t.pairs, c, s);
            }
        for (int64_t i = 0; i < all; i++)
            near_double((double)t.x[i], want[i], 2.5, 2e-7, "rope half %lld", (long long)half);
        guard_reset();
    }
}

static void silu_thread(Thread th, void *arg) {
    const RowsRun *t = arg;
    silu_mul(th, t->y, t->x, t->u, t->n);
    add(th, t->w, t->u, t->n);
    bias_add(th, t->r, 10, t->u, t->n / 10, 10);
}

static void elements_are_right(void **state) {
    (void)state;
    enum { N = 1000 };
    RowsRun t = {.n = N,
                 .x = new_floats(N, MILD),
                 .u = new_floats(N, MILD),
                 .y = NEW(float, N),
                 .w = new_floats(N, MILD),
                 .r = new_floats(N, MILD)};
    for (int64_t i = 0; i < N; i++) t.x[i] = t.x[i] * (i % 3 ? 5.0f : 100.0f);
    double *w = widened(t.w, N), *r = widened(t.r, N);
    on_threads(3, silu_thread, &t);
    for (int64_t i = 0; i < N; i++) {
        double h = twin_silu((double)t.x[i]) * (double)t.u[i];
        near_double((double)t.y[i], h, fabs(h) + 1e-30, 3e-7, "silu_mul of %g", (double)t.x[i]);
        assert_true(t.w[i] == (float)(w[i] + (double)t.u[i]));
        assert_true(t.r[i] == (float)(r[i] + (double)t.u[i % 10]));
    }
    guard_reset();
}

/* ---- attention ------------------------------------------------------------------------------- */

static void one_attention(AttentionShape s, double tol) {
    static const int64_t lengths[] = {1, 63, 64, 65, 129, 200};
    Attention t;
    attention_new(&t, s, lengths, COUNT(lengths), 2.0f);
    attention_run(&t, 2);
    int64_t dv = t.a.v.width;
    for (int64_t i = 0; i < t.n_spans; i++) {
        TwinShape shape = {t.span[i].n, s.heads, s.kv, s.dk, dv, (double)t.a.scale};
        int64_t row = t.span[i].row, n = t.span[i].n * s.heads * dv;
        double *o = NEW(double, n), *v = NEW(double, t.span[i].n *s.kv *dv);
        for (int64_t j = 0; j < t.span[i].n * s.kv; j++)
            for (int64_t d = 0; d < dv; d++)
                v[j * dv + d] = (double)(s.v_of_k ? t.k[(row * s.kv + j) * s.dk + d]
                                                  : t.v[(row * s.kv + j) * dv + d]);
        twin_attention(o, widened(t.q + row * s.heads * s.dk, shape.T * s.heads * s.dk),
                       widened(t.k + row * s.kv * s.dk, shape.T * s.kv * s.dk), v, &shape);
        for (int64_t j = 0; j < n; j++)
            near_double((double)t.o[row * s.heads * dv + j], o[j], 2, tol,
                        "attention, %lld keys, number %lld", (long long)shape.T, (long long)j);
    }
    guard_reset();
}

static void attention_level(void) {
    one_attention((AttentionShape){DTYPE_F32, 3, 1, 24, 12, false}, 2e-6);
    one_attention((AttentionShape){DTYPE_F32, 4, 1, 40, 24, true}, 2e-6);
    one_attention((AttentionShape){DTYPE_F32, 6, 3, 16, 16, false}, 2e-6);
    one_attention((AttentionShape){DTYPE_BF16, 6, 3, 64, 48, false}, 2e-2);
    one_attention((AttentionShape){DTYPE_BF16, 20, 1, 40, 24, true}, 2e-2);
}
static void attention_is_right(void **state) {
    (void)state;
    on_levels(attention_level);
}

/* ---- experts --------------------------------------------------------------------------------- */

typedef struct RouteRun {
    Router r;
    int64_t n, C;
    int32_t *id, *at;
    float *weight, *score, *z, *y, *to, *base, *rows;
    bool fine[8];
} RouteRun;

static void route_thread(Thread th, void *arg) {
    RouteRun *t = arg;
    t->fine[th.i] = route(th, t->id, t->weight, t->score, t->z, t->n, &t->r);
}

static const Router routers[] = {
    {ROUTER_SOFTMAX, 8, 3, 1, 1, false, 1.5f, NULL},
    {ROUTER_SOFTMAX, 12, 4, 3, 2, false, 16.0f, NULL},
    {ROUTER_SIGMOID, 16, 4, 4, 2, true, 2.5f, NULL},
    {ROUTER_SIGMOID, 9, 2, 1, 1, false, 1.0f, NULL},
    {ROUTER_SOFTMAX, 64, 6, 1, 1, true, 1.0f, NULL},
    {ROUTER_SIGMOID, 6, 6, 1, 1, true, 1.0f, NULL},
    {ROUTER_SIGMOID, 256, 8, 8, 4, true, 2.5f, NULL},
    {ROUTER_SIGMOID, 4, 1, 4, 1, true, 1.0f, NULL},
};

static RouteRun route_new(Router r, int64_t n) {
    RouteRun t = {r,
                  n,
                  0,
                  NEW(int32_t, n * r.K),
                  NULL,
                  NEW(float, n *r.K),
                  NEW(float, n *r.E),
                  new_floats(n * r.E, MILD),
                  NULL,
                  NULL,
                  NULL,
                  NULL,
                  {false}};
    for (int64_t i = 0; i < n * r.E; i++) t.z[i] = 3.0f * t.z[i];
    return t;
}

static void routes_are_right(void **state) {
    (void)state;
    for (int64_t c = 0; c < 2 * COUNT(routers); c++) {
        enum { N = 20 };
        RouteRun t = route_new(routers[c / 2], N);
        if (c % 2) t.r.bias = new_floats(t.r.E, MILD);
        on_threads(3, route_thread, &t);
        assert_true(t.fine[0] && t.fine[1] && t.fine[2]);
        for (int64_t i = 0; i < N; i++) {
            double score[ROUTER_E], weight[ROUTER_E];
            int32_t id[ROUTER_E];
            twin_scores(score, widened(t.z + i * t.r.E, t.r.E), &t.r);
            twin_choose(id, score, &t.r);
            twin_weights(weight, score, id, &t.r);
            for (int64_t k = 0; k < t.r.K; k++) {
                assert_int_equal(t.id[i * t.r.K + k], id[k]);
                near_double((double)t.weight[i * t.r.K + k], weight[k], weight[k], 1e-6,
                            "weight of router %lld", (long long)c);
            }
            for (int64_t e = 0; e < t.r.E; e++)
                near_double((double)t.score[i * t.r.E + e], score[e], score[e], 1e-6, "score");
        }
        guard_reset();
    }
}

/* Equal logits: experts and groups by ascending id. */
static void ties_go_to_the_lowest_id(void **state) {
    (void)state;
    RouteRun t = route_new((Router){ROUTER_SIGMOID, 12, 4, 4, 2, true, 1.0f, NULL}, 2);
    for (int64_t i = 0; i < 24; i++) t.z[i] = i == 23 ? 1.0f : 0.5f;
    on_threads(2, route_thread, &t);
    static const int32_t want[] = {0, 1, 2, 3, 11, 0, 1, 2};
    for (int64_t i = 0; i < 8; i++) assert_int_equal(t.id[i], want[i]);
    guard_reset();
}

static void nan_is_an_error_for_every_thread(void **state) {
    (void)state;
    for (int64_t kind = 0; kind < 2; kind++) {
        RouteRun t = route_new(routers[kind ? 2 : 0], 7);
        t.z[5 * t.r.E + 3] = NAN;
        on_threads(5, route_thread, &t);
        for (int64_t i = 0; i < 5; i++) assert_false(t.fine[i]);
        t.z[5 * t.r.E + 3] = 0;
        on_threads(5, route_thread, &t);
        for (int64_t i = 0; i < 5; i++) assert_true(t.fine[i]);
    }
    guard_reset();
}

static void combine_thread(Thread th, void *arg) {
    const RouteRun *t = arg;
    combine(th, t->y, t->to, t->base, t->rows, t->C + 1, t->at, t->weight, t->n, t->r.K, t->C);
}

static void combine_is_right(void **state) {
    (void)state;
    for (int64_t c = 0; c < 4; c++) {
        enum { N = 6, K = 3, C = 37 };
        RouteRun t = {.r = {.K = K},
                      .n = N,
                      .C = C,
                      .at = NEW(int32_t, N * K),
                      .weight = new_floats(N * K, MILD),
                      .y = NEW(float, N *C),
                      .to = c / 2 ? new_floats(N * C, MILD) : NULL,
                      .base = c % 2 ? new_floats(N * C, MILD) : NULL,
                      .rows = new_floats(N * K * (C + 1), MILD)};
        for (int64_t i = 0; i < N * K; i++) t.at[i] = (int32_t)((i * 7 + 3) % (N * K));
        on_threads(2, combine_thread, &t);
        for (int64_t i = 0; i < N * C; i++) {
            const double base = t.base ? (double)t.base[i] : 0, to = t.to ? (double)t.to[i] : 0;
            double want = base + to, size = fabs(base) + fabs(to);
            for (int64_t k = 0; k < K; k++) {
                double y = (double)t.weight[i / C * K + k]
                           * (double)t.rows[t.at[i / C * K + k] * (C + 1) + i % C];
                want += y, size += fabs(y);
            }
            near_double((double)t.y[i], want, size, 2e-7, "combine");
        }
        guard_reset();
    }
}

/* ---- losses, sums, the optimiser ------------------------------------------------------------- */

static void sums_are_right(void **state) {
    (void)state;
    for (int64_t n = 1; n < 3000; n += 1 + n / 3) {
        float *x = new_floats(n, MILD);
        double sum = 0, squares = 0, size = 0, top = -INFINITY;
        for (int64_t i = 0; i < n; i++) {
            x[i] = 10.0f * x[i];
            sum += (double)x[i], squares += (double)x[i] * (double)x[i];
            size += fabs((double)x[i]), top = fmax(top, (double)x[i]);
        }
        near_double(tree_f64(x, n), sum, size, 1e-14, "tree_f64");
        near_double(tree_sq_f64(x, n), squares, squares, 1e-14, "tree_sq_f64");
        near_double((double)row_lse(x, n), twin_lse(widened(x, n), n), 30, 2e-7, "row_lse n %lld",
                    (long long)n);
        assert_true((double)row_max(x, n) == top);
        guard_reset();
    }
}

typedef struct StepRun {
    float *w, *g, *m, *v;
    int64_t n;
    AdamW p;
} StepRun;

static void step_thread(Thread th, void *arg) {
    const StepRun *t = arg;
    adamw(th, t->w, t->g, t->m, t->v, t->n, &t->p);
}

/* Five steps beside the algorithm in f64; the moments' error stays relative, the weight's is a
 * share of the step. */
static void adamw_is_right(void **state) {
    (void)state;
    enum { N = 333 };
    const double lr = 1e-2, b1 = 0.9, b2 = 0.95, eps = 1e-8, wd = 0.1;
    StepRun t = {.w = new_floats(N, MILD), .m = NEW(float, N), .v = NEW(float, N), .n = N};
    double *w = widened(t.w, N), *m = NEW(double, N), *v = NEW(double, N);
    for (int step = 1; step <= 5; step++) {
        double c1 = 1 - pow(b1, step), c2 = 1 - pow(b2, step);
        t.g = new_floats(N, MILD);
        t.p = (AdamW){(float)lr, (float)b1, (float)b2, (float)eps,
                      (float)wd, (float)c1, (float)c2, 0.5f};
        on_threads(3, step_thread, &t);
        for (int64_t i = 0; i < N; i++) {
            double g = 0.5 * (double)t.g[i];
            m[i] = b1 * m[i] + (1 - b1) * g;
            v[i] = b2 * v[i] + (1 - b2) * g * g;
            w[i] = w[i] * (1 - lr * wd) - lr * (m[i] / c1) / (sqrt(v[i] / c2) + eps);
            near_double((double)t.m[i], m[i], 1, 1e-6, "adamw m");
            near_double((double)t.v[i], v[i], v[i], 1e-5, "adamw v");
            near_double((double)t.w[i], w[i], 1, 1e-6, "adamw w, step %d", step);
        }
    }
    guard_reset();
}

typedef struct HalfRun {
    StepRun f;
    uint16_t *m, *v;
} HalfRun;

static void half_thread(Thread th, void *arg) {
    const HalfRun *t = arg;
    adamw_bf16(th, t->f.w, t->f.g, t->m, t->v, t->f.n, &t->f.p);
}

/* Moments in bf16 are those of the f32 step from the same moments, rounded; the weights are the
 * same to the bit. */
static void adamw_bf16_rounds_moments(void **state) {
    (void)state;
    for (int64_t k = 0; k < COUNT(thread_counts); k++)
        for (int64_t n = 1; n < 3000; n += 1 + n) {
            const AdamW p = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.1f, 0.05f, 0.7f};
            StepRun a = {
                new_floats(n, MILD), new_floats(n, MILD), NEW(float, n), NEW(float, n), n, p};
            HalfRun b = {
                {NEW(float, n), a.g, NULL, NULL, n, p}, NEW(uint16_t, n), NEW(uint16_t, n)};
            for (int64_t i = 0; i < n; i++) {
                b.f.w[i] = a.w[i];
                b.m[i] = bf16_of_f32(draw_float(MILD)), a.m[i] = f32_of_bf16(b.m[i]);
                b.v[i] = bf16_of_f32(fabsf(draw_float(MILD))), a.v[i] = f32_of_bf16(b.v[i]);
            }
            on_threads(1, step_thread, &a);
            on_threads(thread_counts[k], half_thread, &b);
            same_floats(b.f.w, a.w, n, "adamw_bf16 w");
            for (int64_t i = 0; i < n; i++) {
                assert_true(f32_of_bf16(b.m[i]) == round_bf16(a.m[i]));
                assert_true(f32_of_bf16(b.v[i]) == round_bf16(a.v[i]));
            }
            guard_reset();
        }
}

int test_forward(void) {
    Err err = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm_is_right),
        cmocka_unit_test(rope_is_right),
        cmocka_unit_test(elements_are_right),
        cmocka_unit_test(routes_are_right),
        cmocka_unit_test(ties_go_to_the_lowest_id),
        cmocka_unit_test(nan_is_an_error_for_every_thread),
        cmocka_unit_test(combine_is_right),
        cmocka_unit_test(sums_are_right),
        cmocka_unit_test(adamw_is_right),
        cmocka_unit_test(adamw_bf16_rounds_moments),
        cmocka_unit_test(linear_is_right),
        cmocka_unit_test(attention_is_right),
    };
    CHECK(kern_init(LEVEL_N, &err));
    return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
