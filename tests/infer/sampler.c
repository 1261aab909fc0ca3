/* sampler.c -- the draw against two twins that share nothing with it: the contract's words,
 * executed one after another over the whole sorted vocabulary (same token every time), and
 * probabilities in double (statistics, and what may be drawn). */
#include "tests.h"
#include "support/need.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A draw without history and mask. */
static Token pick_at(const float *x, int64_t V, const Sampling *s, int64_t position, void *work) {
    return sampler_pick(x, V, s, &(Draw){.n = position}, work);
}

/* ---- the contract, literally ----------------------------------------------------------------- */

typedef struct Cand {
    float p;
    int32_t id;
} Cand;

static int cand_order(const void *a, const void *b) {
    const Cand *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static int32_t literal_pick(Cand *c, const float *logits, int64_t V, const Sampling *s,
                            int64_t position) {
    float max = -INFINITY, total = 0, kept_total = 0, sum = 0;
    if (s->temperature == 0) {
        int64_t best = 0;
        for (int64_t i = 1; i < V; i++)
            if (logits[i] > logits[best]) best = i;
        return (int32_t)best;
    }
    for (int64_t i = 0; i < V; i++) max = fmaxf(max, logits[i] / s->temperature);
    for (int64_t i = 0; i < V; i++)
        c[i] = (Cand){exp_f32(logits[i] / s->temperature - max), (int32_t)i};
    qsort(c, (size_t)V, sizeof *c, cand_order);
    int64_t n = s->top_k > 0 ? MIN(s->top_k, V) : V, kept = 0;
    for (int64_t i = 0; i < n; i++) total += c[i].p;
    do kept_total += c[kept++].p;
    while (kept < n && kept_total < s->top_p * total);
    while (kept > 1 && c[kept - 1].p < s->min_p) kept--;
    kept_total = 0;
    for (int64_t i = 0; i < kept; i++) kept_total += c[i].p;
    float u = (float)(philox(s->seed, (uint64_t)position, 0).w[0] >> 8) * 0x1p-24f;
    for (int64_t i = 0; i < kept; i++) {
        sum += c[i].p;
        if (sum > u * kept_total) return c[i].id;
    }
    return c[kept - 1].id;
}

enum { NORMAL, NARROW, COARSE, FLAT, SPIKE, MASKED, N_SHAPES };

static void row_make(float *x, int64_t V, int shape, Dice *d) {
    for (int64_t i = 0; i < V; i++) {
        float z = dice_normal(d);
        x[i] = shape == NORMAL   ? 6 * z
               : shape == NARROW ? z
               : shape == COARSE ? rintf(2 * z)
               : shape == FLAT   ? 1
               : shape == SPIKE  ? (dice(d, 50) ? z - 30 : 8 + z)
               : dice(d, 3)      ? -INFINITY
                                 : 3 * z;
    }
    x[dice(d, V)] = 9.5f; /* never all masked */
}

static void draws_are_the_contracts(void **state) {
    static const int64_t sizes[] = {1, 2, 15, 16, 17, 100, 1000, 5000};
    static const float temps[] = {0, 0.1f, 0.7f, 1, 1.5f, 100};
    static const int64_t ks[] = {0, 1, 2, 5, 40, 6000};
    static const float ps[] = {0, 0.1f, 0.5f, 0.95f, 0.999999f, 1};
    static const float mins[] = {0, 0, 1e-6f, 0.05f, 0.3f, 1};
    Arena *a = *state;
    Dice d = {11, 0};
    float *x = PUSH(a, float, 5000);
    Cand *c = PUSH(a, Cand, 5000);
    void *work = arena_push(a, sampler_bytes(5000));
    for (int64_t i = 0; i < 4000; i++) {
        int64_t V = sizes[dice(&d, i % 10 ? 7 : COUNT(sizes))];
        row_make(x, V, (int)dice(&d, N_SHAPES), &d);
        for (int64_t j = 0; j < 4; j++) {
            Sampling s = {.temperature = temps[dice(&d, COUNT(temps))],
                          .top_k = ks[dice(&d, COUNT(ks))],
                          .top_p = ps[dice(&d, COUNT(ps))],
                          .min_p = mins[dice(&d, COUNT(mins))],
                          .seed = (uint64_t)i << 33 | 5};
            int64_t position = dice(&d, 1 << 20) << (j * 8);
            Token t = pick_at(x, V, &s, position, work);
            if (t.id != literal_pick(c, x, V, &s, position))
                fail_msg("V %d T %g k %d p %g: drew %d", (int)V, (double)s.temperature,
                         (int)s.top_k, (double)s.top_p, t.id);
            assert_true(bits_of_f32(t.logprob) == bits_of_f32(x[t.id] - row_lse(x, V)));
        }
    }
}

static void large_vocabularies_too(void **state) {
    Arena *a = *state;
    enum { V = 49152 };
    Dice d = {12, 0};
    float *x = PUSH(a, float, V);
    Cand *c = PUSH(a, Cand, V);
    void *work = arena_push(a, sampler_bytes(V));
    for (int shape = 0; shape < N_SHAPES; shape++) {
        row_make(x, V, shape, &d);
        for (int64_t j = 0; j < 6; j++) {
            Sampling s = {.temperature = j % 2 ? 1 : 2.5f,
                          .top_k = j == 2   ? 50
                                   : j == 3 ? 20000
                                            : 0,
                          .top_p = j == 4 ? 0.9f : 1,
                          .seed = 7};
            assert_int_equal(pick_at(x, V, &s, j, work).id, literal_pick(c, x, V, &s, j));
        }
    }
}

/* One token at the top and thousands just above and just below the p that still moves the sum:
 * drawn from far down. */
static void what_little_counts_is_counted(void **state) {
    Arena *a = *state;
    enum { V = 49152 };
    Dice d = {15, 0};
    float *x = PUSH(a, float, V);
    Cand *c = PUSH(a, Cand, V);
    void *work = arena_push(a, sampler_bytes(V));
    Sampling s = {.temperature = 1, .top_p = 1, .seed = 3};
    for (int64_t i = 0; i < V; i++) x[i] = -16.2f - dice_unit(&d);
    x[777] = 0;
    for (int64_t position = 0, drawn = 0; drawn < 8; position++) {
        if (philox_unit(philox(s.seed, (uint64_t)position, 0).w[0]) < 0.999f) continue;
        Token t = pick_at(x, V, &s, position, work);
        assert_int_not_equal(t.id, 777);
        assert_int_equal(t.id, literal_pick(c, x, V, &s, position));
        drawn++;
    }
}

/* ---- penalties, literally -------------------------------------------------------------------- */

static bool dry_breaks_at(const Draw *d, int32_t id) {
    return d->dry_breaks && d->dry_breaks[id / 64] >> id % 64 & 1;
}

/* The longest piece of text that stands both at the end and somewhere before `id`. */
static int64_t repeated(const Draw *d, const Sampling *s, int32_t id) {
    int64_t longest = 0, first = 0;
    if (s->dry_penalty_last_n >= 0 && d->n > s->dry_penalty_last_n)
        first = d->n - s->dry_penalty_last_n;
    for (int64_t at = first; at < d->n; at++)
        for (int64_t n = 1; d->token[at] == id && n <= MIN(at - first, 64); n++) {
            bool same = true;
            for (int64_t i = 1; i <= n; i++)
                same = same && d->token[at - i] == d->token[d->n - i]
                       && !dry_breaks_at(d, d->token[d->n - i]);
            if (same && n > longest) longest = n;
        }
    return longest;
}

/* The logits after the penalties, by the words of the contract. */
static void penalised(float *z, const float *x, int64_t V, const Sampling *s, const Draw *d) {
    for (int32_t id = 0; id < V; id++) {
        int64_t all = 0, own = 0;
        z[id] = x[id];
        for (int64_t i = 0; i < d->n; i++) {
            all += d->token[i] == id;
            own += d->token[i] == id && i >= d->n_prompt;
        }
        if (all && s->repetition_penalty != 0) {
            if (z[id] > 0)
                z[id] /= s->repetition_penalty;
            else
                z[id] *= s->repetition_penalty;
        }
        if (own) z[id] -= s->frequency_penalty * (float)own;
        if (own) z[id] -= s->presence_penalty;
        int64_t n = s->dry_multiplier > 0 ? repeated(d, s, id) : 0;
        float p = s->dry_multiplier;
        for (int64_t i = s->dry_allowed_length; i < n; i++) p *= s->dry_base;
        if (s->dry_multiplier > 0 && n >= s->dry_allowed_length) z[id] -= MIN(p, 0x1p100f);
    }
}

static void penalties_are_the_contracts(void **state) {
    enum { V = 12, LONG = 200 };
    static const float rep[] = {0, 1, 1.5f, 0.5f}, freq[] = {0, 0.7f, -0.2f}, dry[] = {0, 0.8f, 30};
    Arena *a = *state;
    void *work = arena_push(a, sampler_bytes(V));
    Cand *c = PUSH(a, Cand, V);
    Dice d = {17, 0};
    int64_t moved = 0;
    for (int64_t round = 0; round < 3000; round++) {
        float x[V], z[V];
        int32_t said[LONG];
        uint64_t breaks = (uint64_t)1 << dice(&d, 4 * V);
        int64_t n = dice(&d, round % 20 ? 30 : LONG), period = 1 + dice(&d, 9);
        for (int64_t i = 0; i < n; i++)
            said[i] = i < period || !dice(&d, 9) ? (int32_t)dice(&d, V) : said[i - period];
        for (int64_t i = 0; i < V; i++) x[i] = 2 * dice_normal(&d);
        Sampling s = {.temperature = (float)(round % 2),
                      .top_p = 1,
                      .seed = (uint64_t)round,
                      .repetition_penalty = rep[dice(&d, COUNT(rep))],
                      .presence_penalty = freq[dice(&d, COUNT(freq))],
                      .frequency_penalty = freq[dice(&d, COUNT(freq))],
                      .dry_multiplier = dry[dice(&d, COUNT(dry))],
                      .dry_base = 1.0f + dice_unit(&d),
                      .dry_allowed_length = 1 + dice(&d, 3),
                      .dry_penalty_last_n = dice(&d, 3) ? -1 : dice(&d, 26)};
        Draw at = {.n = n,
                   .token = said,
                   .n_prompt = dice(&d, n + 1),
                   .dry_breaks = dice(&d, 2) ? &breaks : NULL};
        penalised(z, x, V, &s, &at);
        Token t = sampler_pick(x, V, &s, &at, work);
        assert_int_equal(t.id, literal_pick(c, z, V, &s, n));
        assert_true(bits_of_f32(t.logprob) == bits_of_f32(x[t.id] - row_lse(x, V)));
        moved +=
            t.id
            != pick_at(x, V, &(Sampling){.temperature = s.temperature, .top_p = 1, .seed = s.seed},
                       n, work)
                   .id;
    }
    assert_true(moved > 500);
}

static void the_likeliest_are_listed(void **state) {
    (void)state;
    enum { V = 60, TOP = 7 };
    Dice d = {18, 0};
    for (int64_t round = 0; round < 300; round++) {
        float x[V];
        Token top[V];
        int64_t n = dice(&d, TOP + 1), size = 1 + dice(&d, V);
        for (int64_t i = 0; i < size; i++) x[i] = rintf(3 * dice_normal(&d));
        assert_int_equal(sampler_top(x, size, n, top), MIN(n, size));
        for (int64_t k = 0; k < MIN(n, size); k++) {
            int64_t before = 0, id = top[k].id;
            for (int64_t i = 0; i < size; i++) before += x[i] > x[id] || (x[i] == x[id] && i < id);
            assert_int_equal(before, k);
            assert_true(bits_of_f32(top[k].logprob)
                        == bits_of_f32(sampler_given(x, size, top[k].id).logprob));
        }
        x[dice(&d, size)] = NAN;
        assert_int_equal(sampler_top(x, size, TOP, top), 0);
    }
}

enum { WORDS = 40, DRAWS = 100000 };

/* ---- statistics ------------------------------------------------------------------------------ */

static int double_order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Probabilities after temperature, top-k and top-p, in double; distinct logits, so that the
 * smallest kept value cuts. */
static void twin(double *p, const float *x, const Sampling *s) {
    double sorted[WORDS], total = 0, sum = 0, least = 0, kept = 0;
    for (int i = 0; i < WORDS; i++) sorted[i] = p[i] = exp((double)x[i] / (double)s->temperature);
    qsort(sorted, WORDS, sizeof *sorted, double_order);
    int n = s->top_k > 0 ? (int)s->top_k : WORDS;
    for (int i = 0; i < n; i++) total += sorted[i];
    for (int i = 0; i < n && (i == 0 || sum < (double)s->top_p * total); i++)
        sum += least = sorted[i];
    least = MAX(least, (double)s->min_p * sorted[0]);
    for (int i = 0; i < WORDS; i++) kept += p[i] = p[i] >= least ? p[i] : 0;
    for (int i = 0; i < WORDS; i++) p[i] /= kept;
}

/* Pearson's chi-square over the words that can come; the bound is mean + 6 standard deviations.
 * What cannot come never does. */
static void frequencies_are_right(void **state) {
    static const Sampling cases[] = {{.temperature = 1, .top_p = 1, .seed = 1},
                                     {.temperature = 0.6f, .top_p = 1, .seed = 2},
                                     {.temperature = 1, .top_k = 7, .top_p = 1, .seed = 3},
                                     {.temperature = 1, .top_p = 0.8f, .seed = 4},
                                     {.temperature = 1.7f, .top_k = 20, .top_p = 0.9f, .seed = 5},
                                     {.temperature = 1.2f, .top_p = 1, .seed = 6, .min_p = 0.1f},
                                     {.temperature = 1,
                                      .top_k = 30,
                                      .top_p = 0.95f,
                                      .seed = 7,
                                      .min_p = 0.04f,
                                      .repetition_penalty = 1.3f,
                                      .presence_penalty = 0.4f,
                                      .frequency_penalty = 0.3f,
                                      .dry_multiplier = 0.5f,
                                      .dry_base = 1.5f,
                                      .dry_allowed_length = 1}};
    Arena *a = *state;
    void *work = arena_push(a, sampler_bytes(WORDS));
    for (int64_t c = 0; c < COUNT(cases); c++) {
        Dice d = {13, (uint64_t)c << 20};
        float x[WORDS];
        double p[WORDS], chi = 0;
        int64_t hits[WORDS] = {0}, words = 0;
        for (int i = 0; i < WORDS; i++) x[i] = 1.5f * dice_normal(&d);
        /* The history stays; only the position goes on, by another seed. */
        const int32_t said[] = {1, 2, 3, 9, 1, 2, 3, 4, 5, 1, 2, 3};
        Draw at = {.n = COUNT(said), .token = said, .n_prompt = 4};
        float z[WORDS];
        penalised(z, x, WORDS, &cases[c], &at);
        twin(p, z, &cases[c]);
        int64_t draws = full_run() ? DRAWS : DRAWS / 4;
        for (int64_t i = 0; i < draws; i++) {
            Sampling s = cases[c];
            s.seed += (uint64_t)i << 8;
            hits[sampler_pick(x, WORDS, &s, &at, work).id]++;
        }
        for (int i = 0; i < WORDS; i++) {
            if (p[i] == 0) assert_int_equal(hits[i], 0);
            if (p[i] == 0) continue;
            double expected = p[i] * (double)draws;
            chi += ((double)hits[i] - expected) * ((double)hits[i] - expected) / expected;
            words++;
        }
        double degrees = (double)words - 1;
        if (chi > degrees + 6 * sqrt(2 * degrees))
            fail_msg("case %d: chi-square %g of %g", (int)c, chi, degrees);
        print_message("# case %d: %d draws, chi-square %.1f of %.0f degrees\n", (int)c, (int)draws,
                      chi, degrees);
    }
}

/* ---- edges ----------------------------------------------------------------------------------- */

static void ties_go_to_the_lowest_id(void **state) {
    Arena *a = *state;
    void *work = arena_push(a, sampler_bytes(100));
    float x[100];
    for (int i = 0; i < 100; i++) x[i] = i % 10 == 7 ? 3 : -3;
    assert_int_equal(
        pick_at(x, 100, &(Sampling){.temperature = 0, .top_k = 0, .top_p = 1, .seed = 1}, 5, work)
            .id,
        7);
    for (int64_t i = 0; i < 200; i++) { /* the three best are 7, 17, 27; the best alone is 7 */
        assert_true(pick_at(x, 100,
                            &(Sampling){.temperature = 1, .top_k = 3, .top_p = 1, .seed = 9}, i,
                            work)
                        .id
                    <= 27);
        assert_int_equal(pick_at(x, 100,
                                 &(Sampling){.temperature = 1, .top_k = 1, .top_p = 1, .seed = 9},
                                 i, work)
                             .id,
                         7);
        assert_int_equal(pick_at(x, 100,
                                 &(Sampling){.temperature = 1, .top_k = 0, .top_p = 0, .seed = 9},
                                 i, work)
                             .id,
                         7);
    }
}

static void a_draw_has_an_address(void **state) {
    Arena *a = *state;
    void *work = arena_push(a, sampler_bytes(300));
    Dice d = {14, 0};
    float x[300];
    int64_t seed_moved = 0, position_moved = 0;
    for (int i = 0; i < 300; i++) x[i] = dice_normal(&d);
    for (int64_t i = 0; i < 200; i++) {
        int32_t id =
            pick_at(x, 300, &(Sampling){.temperature = 1, .top_k = 0, .top_p = 1, .seed = 42}, i,
                    work)
                .id;
        assert_int_equal(pick_at(x, 300,
                                 &(Sampling){.temperature = 1, .top_k = 0, .top_p = 1, .seed = 42},
                                 i, work)
                             .id,
                         id);
        seed_moved +=
            pick_at(x, 300,
                    &(Sampling){
                        .temperature = 1, .top_k = 0, .top_p = 1, .seed = 42 + ((uint64_t)1 << 40)},
                    i, work)
                .id
            != id;
        position_moved +=
            pick_at(x, 300, &(Sampling){.temperature = 1, .top_k = 0, .top_p = 1, .seed = 42},
                    i + ((int64_t)1 << 40), work)
                .id
            != id;
    }
    assert_true(seed_moved > 150 && position_moved > 150);
}

static void broken_rows_draw_nothing(void **state) {
    Arena *a = *state;
    void *work = arena_push(a, sampler_bytes(50));
    static const float bad[] = {NAN, INFINITY};
    for (int i = 0; i < 6; i++) {
        float x[50];
        for (int j = 0; j < 50; j++) x[j] = i < 4 ? (float)j : -INFINITY;
        if (i < 4) x[20] = bad[i / 2];
        Token t = pick_at(
            x, 50, &(Sampling){.temperature = (float)(i % 2), .top_k = 0, .top_p = 1, .seed = 1}, 3,
            work);
        assert_int_equal(t.id, -1);
        assert_true(isnan(t.logprob));
    }
    float x[2] = {1e38f, -1e38f}; /* over the top only after the temperature */
    assert_int_equal(
        pick_at(x, 2, &(Sampling){.temperature = 0.01f, .top_k = 0, .top_p = 1, .seed = 1}, 3, work)
            .id,
        -1);
    assert_int_equal(
        pick_at(x, 2, &(Sampling){.temperature = 1, .top_k = 0, .top_p = 1, .seed = 1}, 3, work).id,
        0);
}

/* ---- bias and mask --------------------------------------------------------------------------- */

/* The draw is that of the row with biases added and forbidden ids at -inf; the log-probability is
 * the raw row's. */
static void bias_and_mask_shape_the_draw_only(void **state) {
    enum { V = 150 };
    Arena *a = *state;
    void *work = arena_push(a, sampler_bytes(V));
    Cand *c = PUSH(a, Cand, V);
    Dice d = {16, 0};
    int64_t moved = 0;
    for (int64_t round = 0; round < 500; round++) {
        float x[V], z[V];
        uint64_t mask[(V + 63) / 64] = {0};
        Bias bias[5];
        row_make(x, V, round % 2 ? NORMAL : MASKED, &d);
        memcpy(z, x, sizeof z);
        int64_t n = dice(&d, COUNT(bias) + 1);
        for (int64_t i = 0; i < n; i++) { /* the same id may come twice: both count */
            bias[i] = (Bias){(int32_t)dice(&d, 20), 12 * dice_normal(&d)};
            z[bias[i].id] += bias[i].value;
        }
        bool masked = dice(&d, 2);
        for (int32_t i = 0; i < V; i++) {
            if (dice(&d, 2) || i == 0) mask[i / 64] |= (uint64_t)1 << i % 64;
            if (masked && !(mask[i / 64] >> i % 64 & 1)) z[i] = -INFINITY;
        }
        x[0] = z[0] = MAX(x[0], -50.0f); /* one is left */
        Sampling s = {.temperature = (float)(round % 3), .top_p = 1, .seed = (uint64_t)round};
        Draw at = {.n = round, .mask = masked ? mask : NULL, .bias = bias, .n_bias = n};
        if (n) z[0] = x[0];
        for (int64_t i = 0; i < n; i++)
            if (bias[i].id == 0) z[0] += bias[i].value;
        Token t = sampler_pick(x, V, &s, &at, work);
        assert_int_equal(t.id, literal_pick(c, z, V, &s, round));
        assert_true(bits_of_f32(t.logprob) == bits_of_f32(x[t.id] - row_lse(x, V)));
        Token given = sampler_given(x, V, t.id);
        assert_true(given.id == t.id && bits_of_f32(given.logprob) == bits_of_f32(t.logprob));
        moved += t.id != pick_at(x, V, &s, round, work).id;
    }
    assert_true(moved > 100);
}

static void nothing_allowed_draws_nothing(void **state) {
    Arena *a = *state;
    void *work = arena_push(a, sampler_bytes(70));
    float x[70] = {0};
    uint64_t mask[2] = {0};
    x[69] = -INFINITY;
    for (int i = 0; i < 4; i++) {
        Sampling s = {.temperature = (float)(i % 2), .top_p = 1};
        mask[1] = i < 2 ? 0 : (uint64_t)1 << 5; /* allowed, but impossible */
        assert_int_equal(sampler_pick(x, 70, &s, &(Draw){.mask = mask}, work).id, -1);
    }
    x[3] = NAN;
    assert_int_equal(sampler_given(x, 70, 5).id, -1);
}

int sampler_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(draws_are_the_contracts),       ARENA_TEST(large_vocabularies_too),
        ARENA_TEST(what_little_counts_is_counted), ARENA_TEST(frequencies_are_right),
        ARENA_TEST(ties_go_to_the_lowest_id),      ARENA_TEST(a_draw_has_an_address),
        ARENA_TEST(broken_rows_draw_nothing),      ARENA_TEST(bias_and_mask_shape_the_draw_only),
        ARENA_TEST(nothing_allowed_draws_nothing), ARENA_TEST(penalties_are_the_contracts),
        ARENA_TEST(the_likeliest_are_listed),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
