/* sets.c -- what a layer does in one call, to join its threads less often, beside the same in
 * several calls: sets of products, gated products, rope with the store. */
#include "cases.h"

enum { ROWS_MOST = 70, PICKED = 5 };
static const int64_t row_counts[] = {1, 3, ROWS_MOST};

/* ---- products -------------------------------------------------------------------------------- */

typedef struct SetRun {
    const Weight *w[3];
    float *y[3], *h; /* of a gated product w[0] is the gate and w[1] the other */
    int64_t ldy[3];
    const float *x;
    int64_t n;
    const Group *g;
    int64_t n_groups;
    void *mem, *packed;
} SetRun;

static Rows rows_ready(Thread th, const SetRun *t) {
    Rows x;
    rows_pack(th, &x, layout_form(t->w[0]->layout), t->x, t->n, t->w[0]->cols, t->w[0]->cols,
              t->mem);
    return x;
}

static void set_thread(Thread th, void *arg) {
    const SetRun *t = arg;
    Rows x = rows_ready(th, t);
    linear_set(th, t->y, t->ldy, t->w, 3, &x);
}

static void gated_thread(Thread th, void *arg) {
    const SetRun *t = arg;
    Rows x = rows_ready(th, t);
    linear_gated(th, t->h, t->y[0], t->y[1], t->ldy[0], t->w[0], t->w[1], &x, t->g, t->n_groups,
                 t->packed);
}

/* Weights of a layout, and as the last another one of the same form where there is one. */
static void weights_ready(Weight w[3], Layout l, int64_t n, const int64_t rows[3], int64_t cols) {
    for (int64_t i = 0; i < 3; i++) {
        Layout own = i == 2 && l == LAYOUT_Q4_1 ? LAYOUT_Q8_0 : l;
        DType type = layout_quantised(own) ? layouts[own].type : DTYPE_F32;
        w[i] = weight_new(type, n, rows[i], cols);
        weight_ready(&w[i], own, false, 1);
    }
}

static void one_set(Layout l, int64_t n) {
    static const int64_t rows[3] = {200, 40, 17};
    const int64_t cols = round_up(64, MAX(layouts[l].block, 1)), pad = 3;
    Weight w[3];
    SetRun t = {.n = n};
    float *want[3];
    weights_ready(w, l, 1, rows, cols);
    t.x = new_floats(n * cols, MILD);
    t.mem = guard_new(rows_bytes(layout_form(l), n, cols), 64, AT_END);
    for (int64_t i = 0; i < 3; i++) {
        t.w[i] = &w[i], t.ldy[i] = rows[i] + pad;
        want[i] = NEW(float, n *t.ldy[i]);
        run_linear(&(LinearRun){want[i], t.ldy[i], &w[i], 0, t.x, NULL, n, cols, STORE_SET}, 1);
    }
    for (int64_t k = 0; k < COUNT(thread_counts); k++) {
        for (int64_t i = 0; i < 3; i++) t.y[i] = NEW(float, n *t.ldy[i]);
        on_threads(thread_counts[k], set_thread, &t);
        for (int64_t i = 0; i < 3; i++)
            same_floats(t.y[i], want[i], n * t.ldy[i], "%s: %s set, product %lld on %lld threads",
                        level_now, layout_name(l), (long long)i, (long long)thread_counts[k]);
    }
    guard_reset();
}

static void set_level(void) {
    for (Layout l = LAYOUT_F32; l < LAYOUT_N; l++)
        for (int64_t i = 0; i < COUNT(row_counts); i++) one_set(l, row_counts[i]);
}
static void sets_are_products(void **state) {
    (void)state;
    on_levels(set_level);
}

/* ---- gated products -------------------------------------------------------------------------- */

typedef struct GateRun {
    float *h;
    const float *g, *u;
    int64_t n;
} GateRun;

static void silu_thread(Thread th, void *arg) {
    const GateRun *t = arg;
    silu_mul(th, t->h, t->g, t->u, t->n);
}

/* h as packed rows is what its numbers become when they are packed. */
static void gated_packed(const SetRun *run, const float *want, int64_t F) {
    const int64_t bytes = rows_bytes(FORM_BF16, run->n, F);
    uint8_t *packed = guard_new(bytes, 64, AT_END);
    Rows r;
    rows_pack((Thread){.n = 1}, &r, FORM_BF16, want, run->n, F, F, packed);
    for (int64_t k = 0; k < COUNT(thread_counts); k++) {
        SetRun t = *run;
        t.h = NULL, t.packed = guard_new(bytes, 64, AT_END);
        on_threads(thread_counts[k], gated_thread, &t);
        same_bytes(t.packed, packed, bytes, "%s: packed gates on %lld threads", level_now,
                   (long long)thread_counts[k]);
    }
}

/* Groups, or all rows with matrix 0; h in memory of its own, in g's, and packed. */
static void one_gated(Layout l, int64_t n, const Group *g, int64_t n_groups) {
    enum { F = 90 };
    static const int64_t rows[3] = {F, F, F};
    const int64_t cols = round_up(64, MAX(layouts[l].block, 1));
    const Group all = {0, 0, n};
    Weight w[3];
    SetRun t = {.ldy = {F}, .n = n, .g = g, .n_groups = n_groups};
    float *want[3];
    weights_ready(w, l, PICKED, rows, cols);
    t.w[0] = &w[0], t.w[1] = &w[1];
    t.x = new_floats(n * cols, MILD);
    t.mem = guard_new(rows_bytes(layout_form(l), n, cols), 64, AT_END);
    for (int64_t i = 0; i < 3; i++) want[i] = NEW(float, n *F);
    for (int64_t e = 0; e < (g ? n_groups : 1); e++)
        for (int64_t i = 0; i < 2; i++) {
            const Group *own = g ? &g[e] : &all;
            if (own->n == 0) continue;
            run_linear(&(LinearRun){want[i] + own->row0 * F, F, &w[i], own->matrix,
                                    t.x + own->row0 * cols, NULL, own->n, cols, STORE_SET},
                       1);
        }
    on_threads(1, silu_thread, &(GateRun){want[2], want[0], want[1], n * F});
    for (int64_t k = 0; k < 2 * COUNT(thread_counts); k++) {
        const int64_t threads = thread_counts[k / 2];
        t.y[0] = NEW(float, n *F), t.y[1] = NEW(float, n *F);
        t.h = k % 2 ? t.y[0] : NEW(float, n *F);
        on_threads(threads, gated_thread, &t);
        same_floats(t.h, want[2], n * F, "%s: %s gated on %lld threads", level_now, layout_name(l),
                    (long long)threads);
        if (k % 2 == 0) same_floats(t.y[0], want[0], n * F, "%s: its gate", level_now);
        same_floats(t.y[1], want[1], n * F, "%s: its other product", level_now);
    }
    gated_packed(&t, want[2], F);
    guard_reset();
}

static void gated_level(void) {
    static const Group g[PICKED] = {{4, 0, 3}, {3, 3, 0}, {2, 3, 40}, {1, 43, 1}, {0, 44, 12}};
    for (Layout l = LAYOUT_F32; l < LAYOUT_N; l++) {
        for (int64_t i = 0; i < COUNT(row_counts); i++) one_gated(l, row_counts[i], NULL, 0);
        one_gated(l, 56, g, PICKED);
    }
}
static void gated_products_are_products(void **state) {
    (void)state;
    on_levels(gated_level);
}

/* ---- rope with the store --------------------------------------------------------------------- */

typedef struct StoreRun {
    Attention *t;
    float *qkv;
    int64_t ld;
    const float *cos, *sin;
    bool pairs, apart;
} StoreRun;

static void store_thread(Thread th, void *arg) {
    const StoreRun *r = arg;
    const Attention *t = r->t;
    const Attend *a = &t->a;
    const int64_t dk = a->k.width, half = dk / 2;
    float *k = r->qkv + a->heads * dk, *v = k + a->k.heads * dk;
    if (!r->apart) {
        kv_store_rope(th, a, t->span, t->n_spans, r->qkv, r->ld, half, r->pairs, r->cos, r->sin);
        return;
    }
    rope(th, r->qkv, r->ld, dk, t->rows, a->heads + a->k.heads, half, r->pairs, false, r->cos,
         r->sin);
    kv_store(th, &a->k, t->span, t->n_spans, k, r->ld);
    kv_store(th, &a->v, t->span, t->n_spans, v, r->ld);
}

/* Two steps of each sequence: the second goes on within a chunk. */
static void store_in_steps(Attention *t, StoreRun *r, const int64_t *length, int64_t threads) {
    for (int64_t step = 0; step < 2; step++) {
        for (int64_t i = 0; i < t->n_spans; i++)
            t->span[i].n = step ? length[i] - length[i] / 2 : length[i] / 2,
            t->span[i].pos = step ? length[i] / 2 : 0, t->span[i].row += step ? length[i] / 2 : 0;
        on_threads(threads, store_thread, r);
    }
    for (int64_t i = 0; i < t->n_spans; i++) t->span[i].row -= length[i] / 2;
}

static void one_store(DType type, bool pairs, int64_t heads, int64_t kv) {
    static const int64_t length[] = {150, 1, 64, 90, 2};
    enum { D = 48 };
    Attention t, u;
    const AttentionShape shape = {type, heads, kv, D, D, false};
    attention_new(&t, shape, length, COUNT(length), 1.0f);
    attention_new(&u, shape, length, COUNT(length), 1.0f);
    const int64_t ld = (heads + 2 * kv) * D + 5, n = t.rows * ld;
    const int64_t page = t.a.v.off + kv_bytes(&t.a.v);
    const float *cos = new_floats(t.rows * D / 2, MILD), *sin = new_floats(t.rows * D / 2, MILD);
    const float *first = new_floats(n, MILD);
    float *want = NEW(float, n), *got = NEW(float, n);
    memcpy(want, first, (size_t)n * 4);
    StoreRun r = {&t, want, ld, cos, sin, pairs, true};
    /* The rows of both steps are rotated by rope at once, so apart it is one step of each. */
    on_threads(1, store_thread, &r);
    for (int64_t k = 0; k < COUNT(thread_counts); k++) {
        memcpy(got, first, (size_t)n * 4);
        for (int64_t i = 0; i < u.n_spans; i++)
            for (int64_t p = 0; p * PAGE < length[i]; p++) memset(u.page[i][p], 0, (size_t)page);
        StoreRun s = {&u, got, ld, cos, sin, pairs, false};
        store_in_steps(&u, &s, length, thread_counts[k]);
        same_floats(got, want, n, "%s: q and k on %lld threads", level_now,
                    (long long)thread_counts[k]);
        for (int64_t i = 0; i < u.n_spans; i++)
            for (int64_t p = 0; p * PAGE < length[i]; p++)
                same_bytes(u.page[i][p], t.page[i][p], page, "%s: page %lld of span %lld",
                           level_now, (long long)p, (long long)i);
    }
    guard_reset();
}

static void store_level(void) {
    one_store(DTYPE_BF16, false, 6, 3);
    one_store(DTYPE_F32, true, 4, 4);
}
static void rope_with_the_store(void **state) {
    (void)state;
    on_levels(store_level);
}

int test_sets(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_products),
        cmocka_unit_test(gated_products_are_products),
        cmocka_unit_test(rope_with_the_store),
    };
    return cmocka_run_group_tests_name("sets", tests, NULL, NULL);
}
