/* muon.c -- Muon's orthogonalisation against singular values and a twin in double, its step on a
 * model, and whole runs with it. */
#include "tests.h"
#include "train/optim.h"

#include <math.h>

static float normal(void) {
    double s, c, u = (double)(dice(1 << 24) + 1) * 0x1p-24, v = (double)dice(1 << 24) * 0x1p-24;
    sincos_f64(6.283185307179586 * v, &s, &c);
    return (float)(sqrt(-2 * log_f64(u)) * c);
}

/* ---- one matrix ------------------------------------------------------------------------------ */

typedef struct Sample {
    int64_t m, n, steps;
    float *u, *y; /* (m, n); (min, max) as it came out */
    MuonWork work;
} Sample;

static void orthogonalise_thread(Thread th, void *arg) {
    Sample *s = arg;
    const double square = tree_sq_f64(s->u, s->m * s->n);
    muon_orthogonalise(th, &s->work, s->u, s->m, s->n, (float)(1 / sqrt(square)), s->steps);
}

static void orthogonalise(Sample *s, Arena *a, int64_t threads) {
    Team *team = team_open(threads);
    muon_work_new(&s->work, a, s->m, s->n);
    team_run(team, orthogonalise_thread, s);
    team_close(team);
    s->y = s->work.y;
}

static Sample sample(Arena *a, int64_t m, int64_t n) {
    Sample s = {.m = m, .n = n, .steps = 10, .u = PUSH(a, float, m *n)};
    for (int64_t i = 0; i < m * n; i++) s.u[i] = 1e-3f * normal();
    return s;
}

static double dot(const double *x, const double *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* One-sided Jacobi (Hestenes 1958): rows are rotated in pairs until all are orthogonal; their
 * lengths are the singular values. */
static bool rotate(double *x, double *y, int64_t n) {
    const double a = dot(x, x, n), b = dot(y, y, n), c = dot(x, y, n);
    if (fabs(c) <= 1e-14 * sqrt(a * b)) return false;
    const double z = (b - a) / (2 * c), t = (z < 0 ? -1 : 1) / (fabs(z) + sqrt(1 + z * z)),
                 cos = 1 / sqrt(1 + t * t), sin = cos * t;
    for (int64_t i = 0; i < n; i++) {
        const double xi = x[i], yi = y[i];
        x[i] = cos * xi - sin * yi;
        y[i] = sin * xi + cos * yi;
    }
    return true;
}

/* The smallest and the largest singular value of y (r, c), r <= c. */
static void singular(double range[2], Arena *a, const float *y, int64_t r, int64_t c) {
    double *x = PUSH(a, double, r *c);
    for (int64_t i = 0; i < r * c; i++) x[i] = (double)y[i];
    for (bool turned = true; turned;) {
        turned = false;
        for (int64_t i = 0; i < r; i++)
            for (int64_t j = 0; j < i; j++) turned |= rotate(x + i * c, x + j * c, c);
    }
    range[0] = INFINITY, range[1] = 0;
    for (int64_t i = 0; i < r; i++) {
        const double s = sqrt(dot(x + i * c, x + i * c, c));
        range[0] = fmin(range[0], s), range[1] = fmax(range[1], s);
    }
}

static void test_jacobi(void **state) {
    /* diag(3, 0.5) between two rotations. */
    const double p = 0.3, q = 1.1, d[2] = {3, 0.5};
    float y[4];
    double range[2];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            const double u[2] = {i ? sin(p) : cos(p), i ? cos(p) : -sin(p)},
                         v[2] = {j ? sin(q) : cos(q), j ? cos(q) : -sin(q)};
            y[2 * i + j] = (float)(u[0] * d[0] * v[0] + u[1] * d[1] * v[1]);
        }
    singular(range, *state, y, 2, 2);
    assert_true(fabs(range[0] - 0.5) < 1e-6 && fabs(range[1] - 3) < 1e-6);
}

/* The smallest singular value of s.u over its norm. */
static double least_singular(const Sample *s, Arena *a, int64_t m, int64_t n) {
    const int64_t r = MIN(m, n), c = MAX(m, n);
    float *u = PUSH(a, float, r *c);
    double range[2];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) u[m > n ? j * m + i : i * n + j] = s->u[i * n + j];
    singular(range, a, u, r, c);
    return range[0] / sqrt(tree_sq_f64(u, r * c));
}

/* 20 random shapes, every fourth square. Eight steps lift a small singular value by 3.4445 each, so
 * one below 2.5e-5 of the norm, which large square matrices have now and then, stays below 1. */
static void test_singular_values(void **state) {
    double least = INFINITY, most = 0;
    int64_t beyond = 0;
    const bool full = full_run();
    for (int i = 0; i < 20; i++) {
        const int64_t size = full ? 300 : 70, m = 1 + dice(size), n = i % 4 ? 1 + dice(size) : m;
        const Mark mark = arena_mark(*state);
        Sample s = sample(*state, m, n);
        double range[2];
        orthogonalise(&s, *state, 1 + i % 3);
        singular(range, *state, s.y, MIN(m, n), MAX(m, n));
        if (range[0] < 0.97 && least_singular(&s, *state, m, n) < 2.5e-5) {
            print_message("(%lld, %lld) is nearly singular: %.4f\n", (long long)m, (long long)n,
                          range[0]);
            beyond++, range[0] = 1;
        }
        if (range[0] < 0.97 || range[1] > 1.03)
            fail_msg("(%lld, %lld): singular values from %.4f to %.4f", (long long)m, (long long)n,
                     range[0], range[1]);
        least = fmin(least, range[0]), most = fmax(most, range[1]);
        arena_pop(*state, mark);
    }
    print_message("singular values of 20 shapes: %.4f to %.4f\n", least, most);
    assert_in_range(beyond, 0, 2);
}

/* ---- a twin in double ------------------------------------------------------------------------ */

/* c = x y or x y^T; x (m, k). */
static void multiply(double *c, const double *x, const double *y, int64_t m, int64_t k, int64_t n,
                     bool turned) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += x[i * k + l] * (turned ? y[j * k + l] : y[l * n + j]);
            c[i * n + j] = sum;
        }
}

/* The same polynomials in double; y (r, c) is u or its transpose. */
static double *twin(Arena *a, const double *u, int64_t m, int64_t n, int64_t steps) {
    const int64_t r = MIN(m, n), c = MAX(m, n);
    double *y = PUSH(a, double, r *c), *next = PUSH(a, double, r *c), *gram = PUSH(a, double, r *r),
           *square = PUSH(a, double, r *r);
    const double norm = sqrt(dot(u, u, m * n));
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) y[m > n ? j * m + i : i * n + j] = u[i * n + j] / norm;
    for (int64_t step = 0; step < steps; step++) {
        const bool late = step >= 8;
        const double k0 = late ? 2 : 3.4445, k1 = late ? -1.5 : -4.7750, k2 = late ? 0.5 : 2.0315;
        multiply(gram, y, y, r, c, r, true);
        multiply(square, gram, gram, r, r, r, false);
        for (int64_t i = 0; i < r * r; i++) gram[i] = k1 * gram[i] + k2 * square[i];
        multiply(next, gram, y, r, r, c, false);
        for (int64_t i = 0; i < r * c; i++) y[i] = k0 * y[i] + next[i];
    }
    return y;
}

/* Shapes whose singular values lie within a factor of a few: there bf16 and double end in the same
 * orthogonal matrix. Five steps end somewhere between 0.7 and 1.2: each rounds three times to 2^-9,
 * and their slopes there, up to 1.3 a step, carry that on: up to 15 * 2^-9 * 1.3^4 = 0.08. */
static void test_twin(void **state) {
    static const int64_t shape[][2] = {{16, 64}, {64, 16}, {33, 130}, {1, 40}, {40, 1}, {70, 21}};
    for (int64_t i = 0; i < 2 * COUNT(shape); i++) {
        const int64_t m = shape[i / 2][0], n = shape[i / 2][1], r = MIN(m, n), c = MAX(m, n);
        Sample s = sample(*state, m, n);
        double *u = PUSH(*state, double, m *n), off = 0, size = 0;
        s.steps = i % 2 ? 5 : 10;
        for (int64_t j = 0; j < m * n; j++) u[j] = (double)s.u[j];
        orthogonalise(&s, *state, 2);
        const double *y = twin(*state, u, m, n, s.steps);
        for (int64_t j = 0; j < r * c; j++) {
            off += (y[j] - (double)s.y[j]) * (y[j] - (double)s.y[j]);
            size += y[j] * y[j];
        }
        const double error = sqrt(off / size);
        if (!(error < (i % 2 ? 0.08 : 0.02)))
            fail_msg("(%lld, %lld), %lld steps: %.4f off", (long long)m, (long long)n,
                     (long long)s.steps, error);
    }
}

static void test_threads(void **state) {
    for (int i = 0; i < 4; i++) {
        Sample one = sample(*state, 20 + 31 * i, 75), many = one;
        orthogonalise(&one, *state, 1);
        for (int64_t threads = 2; threads <= 4; threads++) {
            orthogonalise(&many, *state, threads);
            assert_memory_equal(many.y, one.y, (size_t)(one.m * one.n) * 4);
        }
    }
}

/* ---- a step ---------------------------------------------------------------------------------- */

enum { EXPERTS = 3, M = 12, N = 20, COUNT_ = EXPERTS * M * N };

static void one_step(Thread th, void *arg) { optim_step(th, arg, 1, 0.5f); }

/* Three experts, tall or wide, of which the second never has a gradient, beside the formulas; the
 * same gradient in both steps. */
static void check_step(Arena *a, int64_t m, int64_t n) {
    float *x[3];
    double w[COUNT_], g[COUNT_];
    for (int i = 0; i < 3; i++) x[i] = PUSH(a, float, COUNT_);
    for (int64_t i = 0; i < COUNT_; i++) {
        w[i] = (double)(x[0][i] = 0.02f * normal());
        x[1][i] = i / (M * N) == 1 ? 0 : 1e-3f * normal();
        g[i] = 0.5 * (double)x[1][i];
        x[2][i] = 0;
    }
    Param p = {.name = "x",
               .decay = true,
               .optimiser = OPTIMISER_MUON,
               .count = COUNT_,
               .w = {.n = EXPERTS, .rows = m, .cols = n},
               .master = x[0],
               .grad = x[1],
               .moment = {x[2]}};
    Model model = {.param = &p, .n_params = 1};
    const Recipe r = {.optim = {.lr = 0.01,
                                .weight_decay = 0.1,
                                .momentum = 0.95,
                                .muon_steps = 10,
                                .steps = 9,
                                .schedule = "constant"}};
    Team *team = team_open(2);
    Optim *o = optim_new(a, &model, &r, 2);
    /* The gradient's place is void after a step: the second step's gradient is put there. */
    float *again = PUSH(a, float, COUNT_);
    memcpy(again, x[1], COUNT_ * sizeof *again);
    team_run(team, one_step, o);
    memcpy(x[1], again, COUNT_ * sizeof *again);
    team_run(team, one_step, o);
    team_close(team);
    for (int64_t e = 0; e < EXPERTS; e++) {
        const double *ge = g + e * M * N;
        const double *y = dot(ge, ge, M * N) > 0 ? twin(a, ge, m, n, 10) : PUSH(a, double, M *N);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                const int64_t at = e * M * N + i * n + j;
                for (int step = 0; step < 2; step++)
                    w[at] = w[at] * (1 - 0.01 * 0.1)
                            - 0.01 * 0.2 * sqrt(N) * y[m > n ? j * m + i : i * n + j];
                assert_true(fabs((double)x[0][at] - w[at]) < 2 * 0.01 * 0.2 * sqrt(N) * 0.03);
                assert_true(fabs((double)x[2][at] - 1.95 * g[at]) < 1e-9);
            }
    }
}

static void test_step(void **state) {
    check_step(*state, M, N);
    check_step(*state, N, M);
}

/* Which tensors are whose: the layers' matrices but the routers, all else AdamW's. */
static void test_whose(void **state) {
    static const char *const set[] = {"optim.optimiser=muon"};
    const Recipe r = tiny_recipe(*state, "deepseek_v3", set, 1);
    Trainer *t;
    Err err = {0};
    int64_t count[OPTIMISER_N] = {0};
    assert_true(trainer_open(&t, &r, 1, &err));
    const Model *m = trainer_model(t);
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *p = &m->param[i];
        const bool muon = p->decay && p->layer >= 0 && !strstr(p->name, "mlp.gate.weight");
        if (param_learns(p)) assert_int_equal(p->optimiser == OPTIMISER_MUON, muon);
        assert_true((p->moment[1] != NULL) == (p->optimiser == OPTIMISER_ADAMW));
        count[p->optimiser]++;
    }
    assert_true(count[OPTIMISER_MUON] > 20 && count[OPTIMISER_ADAMW] > 10);
    assert_int_equal(count[OPTIMISER_NONE], 2);
    trainer_close(t);
}

int muon_tests(void) {
    const struct CMUnitTest tests[] = {ARENA_TEST(test_jacobi), ARENA_TEST(test_singular_values),
                                       ARENA_TEST(test_twin),   ARENA_TEST(test_threads),
                                       ARENA_TEST(test_step),   ARENA_TEST(test_whose)};
    return cmocka_run_group_tests_name("muon", tests, NULL, NULL);
}
