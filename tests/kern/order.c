/* order.c -- the order of sums and the roundings, written down a second time from docs/contract.md:
 * one number after the other with fmaf, no panels, no threads. The drivers must give these bits
 * under every level. */
#include "cases.h"
#include <math.h>

/* ---- products -------------------------------------------------------------------------------- */

static float chain_f32(const float *x, const float *w, int64_t k) {
    float acc = 0;
    for (int64_t i = 0; i < k; i++) acc = fmaf(x[i], w[i], acc);
    return acc;
}

/* x and w are bf16 values; what is beyond k is +0. */
static float chain_tile(const float *x, const float *w, int64_t k) {
    float c = 0;
    for (int64_t b = 0; b < k; b += 32) {
        float part[2] = {0, 0};
        for (int64_t i = b; i < b + 32; i++)
            part[i % 2] = fmaf(i < k ? x[i] : 0.0f, i < k ? w[i] : 0.0f, part[i % 2]);
        c = c + (part[0] + part[1]);
    }
    return c;
}

static float chain(bool f32, const float *x, const float *w, int64_t k) {
    float total = 0;
    for (int64_t i = 0; i < k; i += 2048) {
        int64_t n = MIN(k - i, 2048);
        float p = f32 ? chain_f32(x + i, w + i, n) : chain_tile(x + i, w + i, n);
        total = i == 0 ? p : total + p;
    }
    return total;
}

/* Contract 3, "a8 rows". */
static Int8Block int8_block(const float *x, int64_t n) {
    Int8Block b = {{0}, 0};
    float amax = 0;
    for (int64_t i = 0; i < n; i++) amax = fmaxf(amax, fabsf(x[i]));
    if (amax < 0x1p-100f) return b;
    float inv = 127.0f / amax;
    b.d = amax / 127.0f;
    for (int64_t i = 0; i < n; i++) b.q[i] = (int)rintf(x[i] * inv);
    return b;
}

/* Row r of matrix i, straight from the file's blocks. */
static float chain_int8(const Weight *w, int64_t i, int64_t r, const float *x) {
    float acc = 0;
    int64_t step = dtype_block(w->type), bytes = dtype_bytes(w->type, step);
    const uint8_t *p = (const uint8_t *)w->row + (i * w->rows + r) * w->cols / step * bytes;
    for (int64_t k = 0; k < w->cols; k += step, p += bytes) {
        Int8Block a = int8_block(x + k, step);
        acc = quantised_product(quantised_of(w->type), acc, p, &a);
    }
    return acc;
}

/* One output of matrix i: output r, or with `t` of the transposed product. */
static float output(const Weight *w, Layout layout, bool t, int64_t i, int64_t r, const float *x) {
    if (layout_quantised(layout)) return chain_int8(w, i, r, x);
    int64_t k = t ? w->rows : w->cols;
    float xs[8192], ws[8192];
    for (int64_t j = 0; j < k; j++) {
        float v = (float)(t ? weight_number(w, i, j, r) : weight_number(w, i, r, j));
        ws[j] = layout == LAYOUT_F32 ? v : round_bf16(v);
        xs[j] = layout == LAYOUT_F32 ? x[j] : round_bf16(x[j]);
    }
    return chain(layout == LAYOUT_F32, xs, ws, k);
}

static void one_linear(DType type, Act act, bool t, int64_t n, int64_t rows, int64_t cols) {
    Weight w = weight_new(type, 2, rows, cols);
    Layout layout = t ? act == ACT_F32 ? LAYOUT_F32 : LAYOUT_BF16 : layout_of(act, type);
    weight_ready(&w, layout, t, 2);
    Weight u = t ? weight_t(&w) : w;
    int64_t ldx = u.cols + 3, ldy = u.rows + 2;
    int32_t index[64];
    for (int64_t i = 0; i < n; i++) index[i] = (int32_t)draw_to(0, n - 1);
    float *x = new_floats((n - 1) * ldx + u.cols, SPREAD),
          *y = new_floats((n - 1) * ldy + u.rows, MILD);
    float *was = new_floats((n - 1) * ldy + u.rows, MILD);
    memcpy(was, y, (size_t)((n - 1) * ldy + u.rows) * 4);
    StoreMode mode = draw() % 2 ? STORE_ADD : STORE_SET;
    bool gather = draw() % 2;
    run_linear(&(LinearRun){y, ldy, &u, 1, x, gather ? index : NULL, n, ldx, mode}, 2);
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < u.rows; r++) {
            float want = output(&w, layout, t, 1, r, x + (gather ? index[i] : i) * ldx);
            if (mode == STORE_ADD) want = was[i * ldy + r] + want;
            same_floats(y + i * ldy + r, &want, 1, "%s: linear %s %s%s (%lld, %lld)", level_now,
                        dtype_name(type), act_name(act), t ? " transposed" : "", (long long)u.rows,
                        (long long)u.cols);
        }
    guard_reset();
}

static void linear_level(void) {
    for (DType type = 0; type < DTYPE_N; type++)
        for (Act act = ACT_F32; act <= ACT_A8 && dtype_is_weight(type); act++)
            for (int64_t t = 0; t < 2; t++) {
                int64_t step = dtype_block(type);
                one_linear(type, act, t, draw_to(1, 20), draw_to(1, 90),
                           round_up(draw_to(1, 150), step));
                one_linear(type, act, t, 1, draw_to(1, 200), round_up(draw_to(1, 70), step));
                one_linear(type, act, t, 3, t ? 2049 + (int64_t)type : 5,
                           t ? round_up(6, step) : round_up(4097 + (int64_t)type, step));
            }
}
static void linear_has_the_order(void **state) {
    (void)state;
    on_levels(linear_level);
}

/* ---- gradients of weights -------------------------------------------------------------------- */

/* The same, from +0, in pieces of so many rows. */
typedef struct DwPieces {
    const DwRun *r;
    float *sum;
    int64_t piece;
} DwPieces;

static void dw_piece_thread(Thread th, void *arg) {
    const DwPieces *p = arg;
    const DwRun *r = p->r;
    for (int64_t at = 0; at < r->n; at += p->piece) {
        const int64_t n = MIN(p->piece, r->n - at);
        const ActForm form = layout_form(r->layout);
        Rows dy, x;
        rows_pack(th, &dy, form, r->dy + at * r->ldy, n, r->rows, r->ldy, r->dy_rows);
        rows_pack(th, &x, form, r->x + at * r->ldx, n, r->cols, r->ldx, r->x_rows);
        linear_dw_piece(th, p->sum, at == 0, &dy, &x, r->work);
    }
}

static void dw_level(void) {
    static const int64_t counts[] = {0, 1, 2, 31, 64, 65, 200, 2048, 2081};
    for (int64_t i = 0; i < 2 * COUNT(counts); i++) {
        Layout layout = i % 2 ? LAYOUT_F32 : LAYOUT_BF16;
        int64_t n = counts[i / 2], rows = draw_to(1, 70), cols = draw_to(1, 140);
        DwRun r = {NULL,
                   new_floats(n * (rows + 1), SPREAD),
                   new_floats(n * (cols + 5), SPREAD),
                   rows + 1,
                   cols + 5,
                   n,
                   rows,
                   cols,
                   layout,
                   guard_new(linear_dw_bytes(layout_form(layout), n, rows, cols), 64, AT_END),
                   guard_new(rows_bytes(layout_form(layout), n, rows), 64, AT_END),
                   guard_new(rows_bytes(layout_form(layout), n, cols), 64, AT_END)};
        DwPieces p = {&r, guard_new(rows * cols * 4, 4, AT_END), TILE_K * draw_to(1, 8)};
        float *was = new_floats(rows * cols, MILD), a[2081], b[2081];
        r.dw = guard_new(rows * cols * 4, 4, AT_END);
        memcpy(r.dw, was, (size_t)(rows * cols) * 4);
        run_dw(&r, 2);
        if (n <= CUT_K) on_threads(2, dw_piece_thread, &p);
        for (int64_t j = 0; j < rows; j += 1 + rows / 8)
            for (int64_t k = 0; k < cols; k += 1 + cols / 8) {
                for (int64_t row = 0; row < n; row++) {
                    a[row] = r.dy[row * (rows + 1) + j], b[row] = r.x[row * (cols + 5) + k];
                    if (layout == LAYOUT_BF16)
                        a[row] = round_bf16(a[row]), b[row] = round_bf16(b[row]);
                }
                float sum = n ? chain(layout == LAYOUT_F32, a, b, n) : 0;
                float want = n ? was[j * cols + k] + sum : was[j * cols + k];
                same_floats(r.dw + j * cols + k, &want, 1, "%s: dw of %lld rows", level_now,
                            (long long)n);
                if (n > 0 && n <= CUT_K)
                    same_floats(p.sum + j * cols + k, &sum, 1, "%s: dw of %lld rows, %lld a piece",
                                level_now, (long long)n, (long long)p.piece);
            }
        guard_reset();
    }
}
static void dw_has_the_order(void **state) {
    (void)state;
    on_levels(dw_level);
}

/* ---- attention ------------------------------------------------------------------------------- */

static float tree(const float *x, int64_t n) {
    float lane[16] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 16] = lane[i % 16] + x[i];
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++) lane[i] = lane[i] + lane[i + w];
    return lane[0];
}

static float tree_fma(const float *x, const float *y, int64_t n) {
    float lane[16] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 16] = fmaf(x[i], y[i], lane[i % 16]);
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++) lane[i] = lane[i] + lane[i + w];
    return lane[0];
}

/* Attention of one query vector; keys and values at position p: k + p*ldk, v + p*ldv. All
 * unrounded. */
typedef struct Sight {
    const Attention *t;
    const float *q, *k, *v;
    int64_t ldk, ldv, pos;
} Sight;

static float rounded(const Attention *t, float x) {
    return t->a.k.type == DTYPE_F32 ? x : round_bf16(x);
}

static float score(const Sight *s, int64_t key) {
    float a[1024], b[1024];
    for (int64_t i = 0; i < s->t->a.k.width; i++)
        a[i] = rounded(s->t, s->q[i]), b[i] = rounded(s->t, s->k[key * s->ldk + i]);
    return chain(s->t->a.k.type == DTYPE_F32, a, b, s->t->a.k.width) * s->t->a.scale;
}

static void look(float *o, float *lse, const Sight *s) {
    const Attention *t = s->t;
    float m = 0, l = 0;
    for (int64_t c = 0; c <= s->pos; c += 64) {
        float p[64] = {0}, v[64], mc = -INFINITY;
        int64_t visible = MIN(s->pos - c + 1, 64);
        for (int64_t j = 0; j < visible; j++) mc = fmaxf(mc, p[j] = score(s, c + j));
        for (int64_t j = 0; j < visible; j++) p[j] = rounded(t, exp_f32(p[j] - mc));
        float lc = tree(p, 64), top = fmaxf(m, mc), a = exp_f32(m - top), b = exp_f32(mc - top);
        for (int64_t i = 0; i < t->a.v.width; i++) {
            for (int64_t j = 0; j < 64; j++)
                v[j] = j < visible ? rounded(t, s->v[(c + j) * s->ldv + i]) : 0;
            float oc = chain(t->a.k.type == DTYPE_F32, p, v, 64);
            o[i] = c == 0 ? oc : fmaf(o[i], a, oc * b);
        }
        l = c == 0 ? lc : fmaf(l, a, lc * b);
        m = c == 0 ? mc : top;
    }
    for (int64_t i = 0; i < t->a.v.width; i++) o[i] = o[i] / l;
    *lse = m + log_f32(l);
}

static const AttentionShape shapes[] = {
    {DTYPE_BF16, 3, 3, 24, 12, false}, {DTYPE_F32, 3, 3, 24, 12, false},
    {DTYPE_BF16, 9, 3, 64, 64, false}, {DTYPE_F32, 4, 2, 16, 16, false},
    {DTYPE_BF16, 6, 1, 40, 20, true},  {DTYPE_F32, 5, 1, 40, 33, true},
};

static Sight sight(const Attention *t, int64_t i, int64_t row, int64_t head) {
    int64_t G = t->a.k.heads, dk = t->a.k.width, dv = t->a.v.width;
    int64_t first = t->span[i].row, kv = head / (t->a.heads / G);
    const float *k = t->k + (first * G + kv) * dk, *v = t->v + (first * G + kv) * dv;
    bool prefix = t->a.v.form == KV_PREFIX;
    return (Sight){t,      t->q + ((first + row) * t->a.heads + head) * dk,
                   k,      prefix ? k : v,
                   G * dk, G * (prefix ? dk : dv),
                   row};
}

static void attend_level(void) {
    static const int64_t lengths[] = {1, 65, 150};
    for (int64_t i = 0; i < COUNT(shapes); i++) {
        Attention t;
        attention_new(&t, shapes[i], lengths, COUNT(lengths), 3.0f);
        attention_run(&t, 2);
        for (int64_t s = 0; s < t.n_spans; s++)
            for (int64_t row = 0; row<t.span[s].n; row += row> 60 && row < 66 ? 1 : 7)
                for (int64_t h = 0; h < t.a.heads; h += 2) {
                    float o[1024], lse;
                    Sight at = sight(&t, s, row, h);
                    int64_t place = (t.span[s].row + row) * t.a.heads + h;
                    look(o, &lse, &at);
                    same_floats(t.o + place * t.a.v.width, o, t.a.v.width,
                                "%s: shape %lld row %lld head %lld", level_now, (long long)i,
                                (long long)row, (long long)h);
                    same_floats(t.lse + place, &lse, 1, "%s: lse", level_now);
                }
        guard_reset();
    }
}
static void attend_has_the_order(void **state) {
    (void)state;
    on_levels(attend_level);
}

/* P and dS of (key, row), both +0 where the row does not see the key, rounded. */
static void tile_number(const Attention *t, const Sight *at, int64_t s, int64_t head, int64_t key,
                        float *P, float *dS) {
    int64_t dv = t->a.v.width, place = (t->span[s].row + at->pos) * t->a.heads + head;
    float g[1024] = {0}, v[1024] = {0};
    *P = *dS = 0;
    if (key > at->pos) return;
    for (int64_t i = 0; i < dv; i++)
        g[i] = rounded(t, t->g[place * dv + i]), v[i] = rounded(t, at->v[key * at->ldv + i]);
    float dp = chain(t->a.k.type == DTYPE_F32, g, v, dv),
          D = tree_fma(t->g + place * dv, t->o + place * dv, dv);
    float p = exp_f32(score(at, key) - t->lse[place]);
    *P = rounded(t, p);
    *dS = rounded(t, (p * (dp - D)) * t->a.scale);
}

enum { LONGEST = 4300 };

/* dQ of one row and dK, dV of one key, first number of each, for the last head of a group and all
 * of it. */
static void check_back(const Attention *t, int64_t s, int64_t pos) {
    static float P[LONGEST], dS[LONGEST], x[LONGEST], y[LONGEST];
    int64_t G = t->a.k.heads, K = t->a.k.width, V = t->a.v.width;
    bool f32 = t->a.k.type == DTYPE_F32;
    int64_t T = t->span[s].n, group = t->a.heads / G, first = t->span[s].row,
            keys = MIN(round_up(pos + 1, 64), T);
    float dk = 0, dv = 0;
    for (int64_t h = 0; h < group; h++) {
        Sight row = sight(t, s, pos, h);
        for (int64_t j = 0; j < keys; j++) {
            tile_number(t, &row, s, h, j, P + j, dS + j);
            x[j] = rounded(t, row.k[j * row.ldk]);
        }
        float dq = chain(f32, dS, x, keys);
        same_floats(t->dq + ((first + pos) * t->a.heads + h) * K, &dq, 1, "%s: dq of row %lld",
                    level_now, (long long)pos);
        /* For the key the sum runs over rows from the 64 that hold it; what is before is not
         * executed, nor are its parts. */
        int64_t r0 = pos / 64 * 64;
        for (int64_t r = r0; r < T; r++) {
            Sight at = sight(t, s, r, h);
            tile_number(t, &at, s, h, pos, P + r, dS + r);
            x[r] = rounded(t, at.q[0]);
            y[r] = rounded(t, t->g[((first + r) * t->a.heads + h) * V]);
        }
        float hk = 0, hv = 0;
        for (int64_t r = r0, end; r < T; r = end) {
            end = MIN((r / 2048 + 1) * 2048, T);
            float pk = chain(f32, dS + r, x + r, end - r), pv = chain(f32, P + r, y + r, end - r);
            hk = r == r0 ? pk : hk + pk, hv = r == r0 ? pv : hv + pv;
        }
        dk = h == 0 ? hk : dk + hk, dv = h == 0 ? hv : dv + hv;
    }
    same_floats(t->dk + (first + pos) * G * K, &dk, 1, "%s: dk of key %lld", level_now,
                (long long)pos);
    same_floats(t->dv + (first + pos) * G * V, &dv, 1, "%s: dv of key %lld", level_now,
                (long long)pos);
}

static void attend_back_level(void) {
    static const int64_t lengths[] = {1, 97, 150};
    for (int64_t i = 0; i < COUNT(shapes); i++) {
        Attention t;
        if (shapes[i].v_of_k) continue;
        attention_new(&t, shapes[i], lengths, COUNT(lengths), 2.0f);
        attention_run(&t, 2);
        attention_back(&t, 2);
        for (int64_t s = 0; s < t.n_spans; s++)
            for (int64_t pos = 0; pos < t.span[s].n;
                 pos += pos == 63 || pos == 95 ? 1 : 32 - (pos == 0))
                check_back(&t, s, pos);
        guard_reset();
    }
}
static void attend_back_has_the_order(void **state) {
    (void)state;
    on_levels(attend_back_level);
}

/* Documents that are cut at 2,048 keys and rows, twice; under the best level only. */
static void long_documents_are_cut(void **state) {
    (void)state;
    need_own_speed();
    static const int64_t lengths[] = {LONGEST};
    static const int64_t at[] = {0, 2047, 2048, 2100, 4096, LONGEST - 1};
    Err err = {0};
    Attention t;
    assert_true(kern_init(LEVEL_N, &err));
    level_now = "best";
    attention_new(&t, (AttentionShape){DTYPE_BF16, 2, 1, 16, 8, false}, lengths, 1, 1.0f);
    attention_run(&t, 2);
    attention_back(&t, 2);
    for (int64_t i = 0; i < COUNT(at); i++) check_back(&t, 0, at[i]);
    guard_reset();
}

int test_order(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_has_the_order),   cmocka_unit_test(dw_has_the_order),
        cmocka_unit_test(attend_has_the_order),   cmocka_unit_test(attend_back_has_the_order),
        cmocka_unit_test(long_documents_are_cut),
    };
    return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
