/* back.c -- each backward alone against central differences of its twin in f64: the loss is sum(c
 * y) with random c, so the gradient that comes back for dy = c is the slope of the loss along each
 * input. */
#include "cases.h"
#include "twin.h"
#include <math.h>

typedef double Loss(const double *x, const void *arg);

static double *widened(const float *x, int64_t n) {
    double *y = guard_new(n * 8, 8, AT_END);
    for (int64_t i = 0; i < n; i++) y[i] = (double)x[i];
    return y;
}

static double *draws(int64_t n) { return widened(new_floats(n, MILD), n); }

static float *narrowed(const double *x, int64_t n) {
    float *y = guard_new(n * 4, 4, AT_END);
    for (int64_t i = 0; i < n; i++) y[i] = (float)x[i];
    return y;
}

static double dot(const double *x, const double *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* At most 60 numbers of got (n) against the slope of f at x; tol is relative to the largest slope
 * seen. */
static void check_slopes(const float *got, double *x, int64_t n, Loss *f, const void *arg,
                         double tol, const char *what) {
    double slope[60], largest = 0;
    int64_t step = MAX(1, n / 59), m = 0;
    for (int64_t i = 0; i < n && m < 60; i += step, m++) {
        double was = x[i], h = 1e-5;
        x[i] = was + h;
        double up = f(x, arg);
        x[i] = was - h;
        slope[m] = (up - f(x, arg)) / (2 * h);
        x[i] = was;
        largest = fmax(largest, fabs(slope[m]));
    }
    assert_true(largest > 0 || n == 0);
    for (int64_t i = 0; i < m; i++)
        near_double((double)got[i * step], slope[i], largest, tol, "%s, number %lld", what,
                    (long long)(i * step));
}

/* ---- linear ---------------------------------------------------------------------------------- */

typedef struct LinearTwin {
    const double *x, *w, *c;
    int64_t n, rows, cols;
} LinearTwin;

static double linear_loss(const LinearTwin *t) {
    double *y = calloc((size_t)(t->n * t->rows), sizeof *y), sum;
    twin_linear(y, t->x, t->w, t->n, t->rows, t->cols);
    sum = dot(y, t->c, t->n * t->rows);
    free(y);
    return sum;
}

static double linear_of_x(const double *x, const void *arg) {
    LinearTwin t = *(const LinearTwin *)arg;
    t.x = x;
    return linear_loss(&t);
}

static double linear_of_w(const double *w, const void *arg) {
    LinearTwin t = *(const LinearTwin *)arg;
    t.w = w;
    return linear_loss(&t);
}

static void one_linear(Layout layout, int64_t n, int64_t rows, int64_t cols) {
    double tol = layout == LAYOUT_F32 ? 1e-6 : 2e-2;
    Weight w = weight_new(DTYPE_F32, 1, rows, cols);
    double *x = draws(n * cols), *c = draws(n * rows), *wd = widened(w.row, rows * cols);
    float *dx = NEW(float, n *cols), *dw = NEW(float, rows *cols), *dy = narrowed(c, n * rows);
    LinearTwin t = {x, wd, c, n, rows, cols};
    weight_ready(&w, layout, true, 2);
    Weight u = weight_t(&w);
    run_linear(&(LinearRun){dx, cols, &u, 0, dy, NULL, n, rows, STORE_SET}, 2);
    DwRun r = {dw, dy, narrowed(x, n * cols), rows, cols, n, rows, cols, layout, NULL, NULL, NULL};
    run_dw(&r, 2);
    check_slopes(dx, x, n * cols, linear_of_x, &t, tol, "linear dx");
    check_slopes(dw, wd, rows * cols, linear_of_w, &t, tol, "linear dw");
    guard_reset();
}

static void linear_goes_back(void **state) {
    (void)state;
    for (int64_t i = 0; i < 8; i++) {
        one_linear(LAYOUT_F32, draw_to(1, 12), draw_to(1, 30), draw_to(1, 30));
        one_linear(LAYOUT_BF16, draw_to(1, 12), draw_to(1, 30), draw_to(1, 30));
    }
}

/* ---- norms ----------------------------------------------------------------------------------- */

typedef struct NormTwin {
    const double *x, *w, *c;
    int64_t n, C;
} NormTwin;

static double norm_of_x(const double *x, const void *arg) {
    const NormTwin *t = arg;
    double y[4096];
    twin_rmsnorm(y, x, t->w, t->n, t->C, 1e-5);
    return dot(y, t->c, t->n * t->C);
}

static double norm_of_w(const double *w, const void *arg) {
    const NormTwin *t = arg;
    double y[4096];
    twin_rmsnorm(y, t->x, w, t->n, t->C, 1e-5);
    return dot(y, t->c, t->n * t->C);
}

typedef struct NormRun {
    float *dx, *dw, *dy, *x, *y, *r, *w, *db;
    int64_t n, C;
    StoreMode mode;
} NormRun;

static void norm_thread(Thread th, void *arg) {
    const NormRun *t = arg;
    rmsnorm(th, t->y, t->C, t->r, t->x, t->C, t->w, t->n, t->C, 1e-5f);
    bias_back(th, t->db, t->dy, t->C, t->n, t->C);
    rmsnorm_back(th, t->dx, t->C, t->mode, t->dw, t->dy, t->C, t->x, t->C, t->r, t->w, t->n, t->C);
}

/* In place of dy, added to what is there, and without a weight. */
static void norm_goes_back(void **state) {
    (void)state;
    for (int64_t i = 0; i < 12; i++) {
        int64_t n = draw_to(1, 5), C = i == 0 ? 1 : draw_to(2, 600), all = n * C;
        double *x = draws(all), *w = i % 3 ? draws(C) : NULL, *c = draws(all);
        NormTwin t = {x, w, c, n, C};
        NormRun r = {NEW(float, all),
                     w ? NEW(float, C) : NULL,
                     narrowed(c, all),
                     narrowed(x, all),
                     NEW(float, all),
                     NEW(float, n),
                     w ? narrowed(w, C) : NULL,
                     NEW(float, C),
                     n,
                     C,
                     i % 2 ? STORE_ADD : STORE_SET};
        float *was = new_floats(all, MILD), *dy = narrowed(c, all);
        if (i % 2)
            memcpy(r.dx, was, (size_t)all * 4);
        else
            r.dx = r.dy;
        on_threads(3, norm_thread, &r);
        for (int64_t j = 0; j < all && i % 2; j++) r.dx[j] = r.dx[j] - was[j];
        if (C > 1) check_slopes(r.dx, x, all, norm_of_x, &t, 2e-6, "rmsnorm dx");
        if (w) check_slopes(r.dw, w, C, norm_of_w, &t, 2e-6, "rmsnorm dw");
        for (int64_t j = 0; j < C; j++) {
            float sum = 0;
            for (int64_t k = 0; k < n; k++) sum = sum + dy[k * C + j];
            same_floats(r.db + j, &sum, 1, "bias_back");
        }
        guard_reset();
    }
}

/* ---- rope and silu --------------------------------------------------------------------------- */

typedef struct RopeTwin {
    const double *cos, *sin, *c;
    int64_t half;
    bool pairs;
} RopeTwin;

static double rope_of_x(const double *x, const void *arg) {
    const RopeTwin *t = arg;
    double y[256];
    memcpy(y, x, sizeof(double) * 2 * (size_t)t->half);
    twin_rope(y, t->half, t->pairs, t->cos, t->sin);
    return dot(y, t->c, 2 * t->half);
}

typedef struct RopeRun {
    float *x, *cos, *sin;
    int64_t half;
    bool pairs;
} RopeRun;

static void rope_thread(Thread th, void *arg) {
    const RopeRun *t = arg;
    rope(th, t->x, 2 * t->half, 2 * t->half, 1, 1, t->half, t->pairs, true, t->cos, t->sin);
}

static void rope_goes_back(void **state) {
    (void)state;
    for (int64_t half = 1; half < 80; half += 9) {
        double *x = draws(2 * half), *cs = draws(half), *sn = draws(half), *c = draws(2 * half);
        RopeTwin t = {cs, sn, c, half, half % 2};
        RopeRun r = {narrowed(c, 2 * half), narrowed(cs, half), narrowed(sn, half), half, half % 2};
        on_threads(2, rope_thread, &r);
        check_slopes(r.x, x, 2 * half, rope_of_x, &t, 1e-6, "rope");
        guard_reset();
    }
}

typedef struct SiluTwin {
    const double *g, *u, *c;
    int64_t n;
} SiluTwin;

static double silu_of_g(const double *g, const void *arg) {
    const SiluTwin *t = arg;
    double sum = 0;
    for (int64_t i = 0; i < t->n; i++) sum += twin_silu(g[i]) * t->u[i] * t->c[i];
    return sum;
}

static double silu_of_u(const double *u, const void *arg) {
    const SiluTwin *t = arg;
    double sum = 0;
    for (int64_t i = 0; i < t->n; i++) sum += twin_silu(t->g[i]) * u[i] * t->c[i];
    return sum;
}

typedef struct SiluRun {
    float *dg, *du, *dh, *g, *u;
    int64_t n;
} SiluRun;

static void silu_thread(Thread th, void *arg) {
    const SiluRun *t = arg;
    Rows dg, du;
    silu_mul_back(th, &dg, &du, FORM_F32, t->dh, t->g, t->u, 1, t->n, t->dg, t->du);
}

static void silu_goes_back(void **state) {
    (void)state;
    enum { N = 149 };
    double *g = draws(N), *u = draws(N), *c = draws(N);
    for (int64_t i = 0; i < N; i++) g[i] = (double)(float)(8 * g[i]);
    SiluTwin t = {g, u, c, N};
    SiluRun r = {NEW(float, N), NEW(float, N), narrowed(c, N), narrowed(g, N), narrowed(u, N), N};
    on_threads(2, silu_thread, &r);
    check_slopes(r.dg, g, N, silu_of_g, &t, 1e-6, "silu dg");
    check_slopes(r.du, u, N, silu_of_u, &t, 1e-6, "silu du");
    guard_reset();
}

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct AttentionTwin {
    const double *q, *k, *v, *c;
    TwinShape s;
} AttentionTwin;

static double attention_loss(const AttentionTwin *t) {
    int64_t n = t->s.T * t->s.heads * t->s.dv;
    double *o = calloc((size_t)n, sizeof *o), sum;
    twin_attention(o, t->q, t->k, t->v, &t->s);
    sum = dot(o, t->c, n);
    free(o);
    return sum;
}

static double attention_of_q(const double *q, const void *arg) {
    AttentionTwin t = *(const AttentionTwin *)arg;
    t.q = q;
    return attention_loss(&t);
}

static double attention_of_k(const double *k, const void *arg) {
    AttentionTwin t = *(const AttentionTwin *)arg;
    t.k = k;
    return attention_loss(&t);
}

static double attention_of_v(const double *v, const void *arg) {
    AttentionTwin t = *(const AttentionTwin *)arg;
    t.v = v;
    return attention_loss(&t);
}

static void one_attention(AttentionShape s, double tol) {
    static const int64_t lengths[] = {5, 1, 90};
    Attention t;
    attention_new(&t, s, lengths, COUNT(lengths), 1.0f);
    attention_run(&t, 2);
    attention_back(&t, 2);
    for (int64_t i = 0; i < t.n_spans; i++) {
        int64_t row = t.span[i].row, T = t.span[i].n, q0 = row * s.heads * s.dk,
                k0 = row * s.kv * s.dk, v0 = row * s.kv * s.dv;
        double *q = widened(t.q + q0, T * s.heads * s.dk), *k = widened(t.k + k0, T * s.kv * s.dk),
               *v = widened(t.v + v0, T * s.kv * s.dv);
        AttentionTwin twin = {q,
                              k,
                              v,
                              widened(t.g + row * s.heads * s.dv, T * s.heads * s.dv),
                              {T, s.heads, s.kv, s.dk, s.dv, (double)t.a.scale}};
        if (T > 1) { /* one key: its weight is 1 whatever q and k are */
            check_slopes(t.dq + q0, q, T * s.heads * s.dk, attention_of_q, &twin, tol,
                         "attention dq");
            check_slopes(t.dk + k0, k, T * s.kv * s.dk, attention_of_k, &twin, tol, "attention dk");
        }
        check_slopes(t.dv + v0, v, T * s.kv * s.dv, attention_of_v, &twin, tol, "attention dv");
    }
    guard_reset();
}

static void attention_goes_back(void **state) {
    (void)state;
    one_attention((AttentionShape){DTYPE_F32, 4, 2, 16, 16, false}, 1e-5);
    one_attention((AttentionShape){DTYPE_F32, 3, 3, 24, 12, false}, 1e-5);
    one_attention((AttentionShape){DTYPE_BF16, 3, 1, 24, 12, false}, 3e-2);
    one_attention((AttentionShape){DTYPE_BF16, 3, 3, 24, 40, false}, 3e-2);
}

/* ---- experts --------------------------------------------------------------------------------- */

typedef struct RouteTwin {
    const Router *r;
    const int32_t *id;
    const double *c;
    int64_t n;
} RouteTwin;

/* With the choice held fixed, as the backward has it. */
static double route_of_z(const double *z, const void *arg) {
    const RouteTwin *t = arg;
    double sum = 0, score[ROUTER_E], weight[ROUTER_E];
    for (int64_t i = 0; i < t->n; i++) {
        twin_scores(score, z + i * t->r->E, t->r);
        twin_weights(weight, score, t->id + i * t->r->K, t->r);
        sum += dot(weight, t->c + i * t->r->K, t->r->K);
    }
    return sum;
}

typedef struct RouteRun {
    Router r;
    int64_t n;
    int32_t *id;
    float *weight, *score, *z, *dz, *dweight;
} RouteRun;

static void route_thread(Thread th, void *arg) {
    const RouteRun *t = arg;
    CHECK(route(th, t->id, t->weight, t->score, t->z, t->n, &t->r));
    route_back(th, t->dz, t->dweight, t->score, t->id, t->n, &t->r);
}

static const Router routers[] = {
    {ROUTER_SOFTMAX, 8, 3, 1, 1, false, 1.5f, NULL},
    {ROUTER_SOFTMAX, 12, 4, 3, 2, true, 16.0f, NULL},
    {ROUTER_SIGMOID, 16, 4, 4, 2, true, 2.5f, NULL},
    {ROUTER_SIGMOID, 9, 2, 1, 1, false, 1.0f, NULL},
};

static void router_goes_back(void **state) {
    (void)state;
    for (int64_t i = 0; i < COUNT(routers); i++) {
        enum { N = 6 };
        Router r = routers[i];
        double *z = draws(N * r.E), *c = draws(N * r.K);
        for (int64_t j = 0; j < N * r.E; j++) z[j] = (double)(float)(3 * z[j]);
        RouteRun run = {r,
                        N,
                        NEW(int32_t, N * r.K),
                        NEW(float, N *r.K),
                        NEW(float, N *r.E),
                        narrowed(z, N * r.E),
                        NEW(float, N *r.E),
                        narrowed(c, N * r.K)};
        on_threads(2, route_thread, &run);
        RouteTwin t = {&r, run.id, c, N};
        check_slopes(run.dz, z, N * r.E, route_of_z, &t, 5e-6, "router dz");
        guard_reset();
    }
}

/* The sequence-wise loss by its formulas (V3, eq. 17 to 20), each sequence times its rows; f is
 * that of the given scores, which the slopes do not move. */
typedef struct BalanceTwin {
    const Router *r;
    const double *f; /* (spans, E) */
    const Span *span;
    int64_t n_spans;
    double scale;
} BalanceTwin;

static void twin_shares(double *f, const double *z, int64_t n, const Router *r) {
    double score[ROUTER_E];
    for (int64_t e = 0; e < r->E; e++) f[e] = 0;
    for (int64_t i = 0; i < n; i++) {
        twin_scores(score, z + i * r->E, r);
        for (int64_t e = 0; e < r->E; e++) {
            int64_t better = 0;
            for (int64_t j = 0; j < r->E; j++) better += score[j] > score[e];
            if (better < r->K) f[e] += (double)r->E / (double)(r->K * n);
        }
    }
}

static double twin_balance(const double *z, const double *f, int64_t n, const Router *r) {
    double score[ROUTER_E], loss = 0;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        twin_scores(score, z + i * r->E, r);
        for (int64_t e = 0; e < r->E; e++) sum += score[e];
        for (int64_t e = 0; e < r->E; e++) loss += f[e] * score[e] / sum / (double)n;
    }
    return loss;
}

static double balance_of_z(const double *z, const void *arg) {
    const BalanceTwin *t = arg;
    double sum = 0;
    for (int64_t i = 0; i < t->n_spans; i++)
        sum += t->scale * (double)t->span[i].n
               * twin_balance(z + t->span[i].row * t->r->E, t->f + i * t->r->E, t->span[i].n, t->r);
    return sum;
}

typedef struct BalanceRun {
    const Router *r;
    float *dz;
    const float *score;
    const Span *span;
    int64_t n_spans;
    float scale;
} BalanceRun;

static void balance_thread(Thread th, void *arg) {
    const BalanceRun *t = arg;
    route_balance_back(th, t->dz, t->score, t->span, t->n_spans, t->scale, t->r);
}

static void balance_goes_back(void **state) {
    (void)state;
    enum { N = 11, THREE = 3 };
    static const Span span[THREE] = {{.row = 0, .n = 6}, {.row = 6, .n = 1}, {.row = 7, .n = 4}};
    for (int64_t i = 0; i < COUNT(routers); i++) {
        const Router *r = &routers[i];
        double *z = draws(N * r->E), f[THREE * 16];
        float *score = NEW(float, N * r->E), *dz = NEW(float, N * r->E), own[16], size = 0;
        for (int64_t j = 0; j < N * r->E; j++) z[j] = (double)(float)(3 * z[j]);
        RouteRun run = {*r,
                        N,
                        NEW(int32_t, N * r->K),
                        NEW(float, N * r->K),
                        score,
                        narrowed(z, N * r->E),
                        NEW(float, N * r->E),
                        NEW(float, N * r->K)};
        on_threads(1, route_thread, &run);
        for (int64_t s = 0; s < THREE; s++) {
            const int64_t at = span[s].row * r->E;
            twin_shares(f + s * r->E, z + at, span[s].n, r);
            const double loss = route_balance(own, score + at, span[s].n, r);
            near_double(loss, twin_balance(z + at, f + s * r->E, span[s].n, r), 1, 1e-6,
                        "balance, router %lld", (long long)i);
            for (int64_t e = 0; e < r->E; e++)
                near_double((double)own[e], f[s * r->E + e], 1, 1e-6, "f");
        }
        for (int64_t n = 0; n < COUNT(thread_counts); n++) {
            memset(dz, 0, (size_t)(N * r->E) * sizeof *dz);
            BalanceRun b = {r, dz, score, span, THREE, 0.7f};
            on_threads(thread_counts[n], balance_thread, &b);
            BalanceTwin t = {r, f, span, THREE, (double)0.7f};
            check_slopes(dz, z, N * r->E, balance_of_z, &t, 5e-6, "balance dz");
        }
        for (int64_t j = 0; j < N * r->E; j++) size += dz[j] * dz[j];
        assert_true(size > 1e-3f); /* it acts */
        guard_reset();
    }
}

/* Two experts of a linear layer each, with their rows compacted; an expert may have none. */
enum { TOKENS = 5, PICKS = 2, EXPERTS = 3, WIDTH = 12, DEPTH = 20 };

typedef struct ExpertTwin {
    const double *x, *w, *weight, *c;
    const int32_t *id;
} ExpertTwin;

static double experts_loss(const double *x, const double *w, const double *weight,
                           const ExpertTwin *t) {
    double sum = 0, y[WIDTH];
    for (int64_t i = 0; i < TOKENS * PICKS; i++) {
        twin_linear(y, x + i / PICKS * DEPTH, w + t->id[i] * WIDTH * DEPTH, 1, WIDTH, DEPTH);
        sum += weight[i] * dot(y, t->c + i / PICKS * WIDTH, WIDTH);
    }
    return sum;
}
static double experts_of_x(const double *x, const void *arg) {
    const ExpertTwin *t = arg;
    return experts_loss(x, t->w, t->weight, t);
}
static double experts_of_w(const double *w, const void *arg) {
    const ExpertTwin *t = arg;
    return experts_loss(t->x, w, t->weight, t);
}
static double experts_of_weight(const double *weight, const void *arg) {
    const ExpertTwin *t = arg;
    return experts_loss(t->x, t->w, weight, t);
}

typedef struct ExpertRun {
    Weight w, wt;
    Group group[EXPERTS];
    int32_t from[TOKENS * PICKS], at[TOKENS * PICKS]; /* token of a compacted row, and back */
    float *x, *y, *rows, *drows, *xs, *dxs, *dx, *dy, *dw, *weight, *dweight, *ones;
    void *mem, *work;
} ExpertRun;

static void expert_thread(Thread th, void *arg) {
    ExpertRun *t = arg;
    Rows r;
    rows_gather(th, &r, FORM_F32, t->x, t->from, TOKENS * PICKS, DEPTH, DEPTH, t->mem);
    linear_groups(th, t->rows, WIDTH, &t->w, &r, 1, t->group, EXPERTS, false);
    combine(th, t->y, NULL, NULL, t->rows, WIDTH, t->at, t->weight, TOKENS, PICKS, WIDTH);
    combine_back(th, &r, FORM_F32, t->drows, t->dweight, t->dy, t->rows, WIDTH, t->at, t->weight,
                 TOKENS, PICKS, WIDTH);
    for (int64_t e = 0; e < EXPERTS; e++) {
        const Group *g = t->group + e;
        const float *dy = t->drows + g->row0 * WIDTH, *x = (float *)t->mem + g->row0 * DEPTH;
        linear_dw(th, t->dw + e * WIDTH * DEPTH, &(Rows){FORM_F32, g->n, WIDTH, WIDTH, dy, NULL},
                  &(Rows){FORM_F32, g->n, DEPTH, DEPTH, x, NULL}, t->work);
    }
    rows_pack(th, &r, FORM_F32, t->drows, TOKENS * PICKS, WIDTH, WIDTH, NULL);
    linear_groups(th, t->dxs, DEPTH, &t->wt, &r, 1, t->group, EXPERTS, false);
    combine(th, t->dx, NULL, NULL, t->dxs, DEPTH, t->at, t->ones, TOKENS, PICKS, DEPTH);
}

/* Expert 1 gets no row. */
static void experts_compact(ExpertRun *t, const int32_t *id) {
    int32_t n = 0;
    for (int32_t e = 0; e < EXPERTS; e++) {
        t->group[e] = (Group){e, n, 0};
        for (int32_t i = 0; i < TOKENS * PICKS; i++)
            if (id[i] == e) t->from[n] = i / PICKS, t->at[i] = n++, t->group[e].n++;
    }
}

static void experts_go_back(void **state) {
    (void)state;
    static const int32_t id[TOKENS * PICKS] = {0, 2, 2, 0, 0, 2, 2, 0, 2, 0};
    enum { S = TOKENS * PICKS };
    double *x = draws(TOKENS * DEPTH), *c = draws(TOKENS * WIDTH), *weight = draws(S), *w;
    ExpertRun t = {.w = weight_new(DTYPE_F32, EXPERTS, WIDTH, DEPTH),
                   .x = narrowed(x, TOKENS * DEPTH),
                   .dy = narrowed(c, TOKENS * WIDTH)};
    t.weight = narrowed(weight, S), t.dweight = NEW(float, S), t.ones = NEW(float, S);
    t.y = NEW(float, TOKENS *WIDTH), t.rows = NEW(float, S *WIDTH), t.drows = NEW(float, S *WIDTH);
    t.dxs = NEW(float, S *DEPTH), t.dx = NEW(float, TOKENS *DEPTH),
    t.dw = NEW(float, EXPERTS *WIDTH *DEPTH);
    t.mem = guard_new(rows_bytes(FORM_F32, S, DEPTH), 64, AT_END);
    t.work = guard_new(linear_dw_bytes(FORM_F32, S, WIDTH, DEPTH), 64, AT_END);
    for (int64_t i = 0; i < S; i++) t.ones[i] = 1;
    experts_compact(&t, id);
    w = widened(t.w.row, EXPERTS * WIDTH * DEPTH);
    weight_ready(&t.w, LAYOUT_F32, false, 1);
    weight_ready(&t.w, LAYOUT_F32, true, 1);
    t.wt = weight_t(&t.w);
    on_threads(2, expert_thread, &t);
    ExpertTwin twin = {x, w, weight, c, id};
    check_slopes(t.dx, x, TOKENS * DEPTH, experts_of_x, &twin, 1e-6, "experts dx");
    check_slopes(t.dw, w, EXPERTS * WIDTH * DEPTH, experts_of_w, &twin, 1e-6, "experts dw");
    check_slopes(t.dweight, weight, S, experts_of_weight, &twin, 1e-6, "experts dweight");
    guard_reset();
}

/* ---- cross-entropy --------------------------------------------------------------------------- */

typedef struct LossTwin {
    int64_t n, target;
    double scale;
    const int32_t *token; /* (3) soft targets */
    const float *q;
} LossTwin;

static double loss_of_z(const double *z, const void *arg) {
    const LossTwin *t = arg;
    return (twin_lse(z, t->n) - z[t->target]) * t->scale;
}

static double soft_loss_of_z(const double *z, const void *arg) {
    const LossTwin *t = arg;
    double sum = 0;
    for (int k = 0; k < 3; k++) sum += (double)t->q[k] * z[t->token[k]];
    return (twin_lse(z, t->n) - sum) * t->scale;
}

/* Three targets with probabilities, the first and the last token among them. */
static void soft_targets_go_back(void **state) {
    (void)state;
    for (int64_t n = 3; n < 600; n += 149) {
        double *z = draws(n);
        float *zf = narrowed(z, n), *dz = n % 2 ? zf : NEW(float, n);
        const int32_t token[] = {0, (int32_t)n / 2, (int32_t)n - 1};
        const float q[] = {0.5f, 0.375f, 0.125f};
        const LossTwin t = {n, 0, (double)0.125f, token, q};
        const Rows rows = rows_in(FORM_F32, 1, n, dz);
        soft_cross_entropy_back(&rows, 0, zf, row_lse(zf, n), token, q, 3, 0.125f);
        check_slopes(dz, z, n, soft_loss_of_z, &t, 1e-6, "soft targets");
        guard_reset();
    }
}

static void cross_entropy_goes_back(void **state) {
    (void)state;
    for (int64_t n = 2; n < 140; n += 23) {
        double *z = draws(n);
        float *zf = narrowed(z, n), *dz = n % 2 ? zf : NEW(float, n);
        LossTwin t = {n, n / 3, (double)0.125f, NULL, NULL};
        const Rows rows = rows_in(FORM_F32, 1, n, dz);
        cross_entropy_back(&rows, 0, zf, row_lse(zf, n), t.target, 0.125f);
        check_slopes(dz, z, n, loss_of_z, &t, 1e-6, "cross-entropy");
        guard_reset();
    }
}

int test_back(void) {
    Err err = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_goes_back),        cmocka_unit_test(norm_goes_back),
        cmocka_unit_test(rope_goes_back),          cmocka_unit_test(silu_goes_back),
        cmocka_unit_test(router_goes_back),        cmocka_unit_test(balance_goes_back),
        cmocka_unit_test(experts_go_back),         cmocka_unit_test(attention_goes_back),
        cmocka_unit_test(cross_entropy_goes_back), cmocka_unit_test(soft_targets_go_back),
    };
    CHECK(kern_init(LEVEL_N, &err));
    return cmocka_run_group_tests_name("back", tests, NULL, NULL);
}
