/* levels.c -- the level walker: every kernel that a level brings is held against ref's, and ref's
 * against the contract's second writing (contract.c), byte for byte, on odd sizes, all kinds of
 * numbers, and memory that ends at a guard page. The list of checks is the table itself: a kernel
 * without its check does not compile. */
#include "cases.h"

static const Kern *ref, *fast; /* the two tables under comparison */

/* ---- sizes and memory ------------------------------------------------------------------------ */

static const int64_t odd[] = {71, 77, 95, 129, 161, 255, 257, 511, 1027};
static int64_t size_at(int64_t i) { return i < 70 ? i : odd[i - 70]; }
enum { SIZES = 70 + COUNT(odd) };

static Side side(void) { return draw() % 2 ? AT_START : AT_END; }
static void *packed(int64_t bytes) { return guard_new(bytes, 64, side()); }
static float *floats(int64_t n) { return guard_new(n * 4, 4, side()); }

static float *copy(const float *x, int64_t n) {
    float *y = floats(n);
    if (n) memcpy(y, x, (size_t)n * 4);
    return y;
}

/* ---- pair order ------------------------------------------------------------------------------ */

/* Words (k, stride) apart, from crossed order to that of the fast level; `columns` of them side by
 * side in dwords. */
static void reorder(uint16_t *out, const uint16_t *in, int64_t k, int64_t columns) {
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < columns; j++) {
            int64_t from = pair_at(false, i), to = pair_at(fast->pairs_in_order, i);
            out[(to / 2 * columns + j) * 2 + to % 2] = in[(from / 2 * columns + j) * 2 + from % 2];
        }
}

/* n rows or panels in the fast level's order. */
static uint16_t *reordered(const uint16_t *in, int64_t n, int64_t k, int64_t columns) {
    uint16_t *out = packed(n * k * columns * 2);
    for (int64_t i = 0; i < n; i++)
        reorder(out + i * k * columns, in + i * k * columns, k, columns);
    return out;
}

static uint16_t draw_word(Fill f) { return (uint16_t)(bits_of_f32(draw_float(f)) >> 16); }

/* ---- products -------------------------------------------------------------------------------- */

typedef struct Shape {
    int64_t n, m, k, ldy;
    StoreMode mode;
    Fill fill;
} Shape;

enum { SHAPES = 200 };

/* Small shapes in all residues, a few long ones over the cut, the sizes of real layers' borders. */
static Shape shape_at(int64_t i, int64_t step) {
    static const int64_t ks[] = {1, 2, 31, 32, 33, 64, 576, 2047, 2048, 2049, 4100, 6144};
    Shape s = {draw_to(1, 21),     draw_to(1, 90),   i < 140 ? i + 1 : ks[i % COUNT(ks)], 0,
               (StoreMode)(i % 3), (Fill)(i / 3 % 4)};
    if (i % 10 == 7) s.n = draw_to(22, 150);
    if (i % 10 == 8) s.m = draw_to(91, 300);
    s.k = round_up(s.k, step);
    if (s.k > CUT_K && s.mode == STORE_CONTINUE) s.mode = STORE_ADD;
    if (s.k > 1000) s.n = draw_to(1, 9), s.m = draw_to(1, 40);
    if (i >= SHAPES - 4) s.n = draw_to(16, 50); /* long, and whole tiles of rows */
    s.ldy = s.m + draw_to(0, 3);
    return s;
}
static int64_t extent(const Shape *s) { return (s->n - 1) * s->ldy + s->m; }

static void check_gemm_f32(void) {
    for (int64_t i = 0; i < SHAPES; i++) {
        Shape s = shape_at(i, 1);
        int64_t ldx = s.k + draw_to(0, 3), panels = panels_of(s.m), n_x = (s.n - 1) * ldx + s.k;
        float *x = floats(n_x), *w = packed(panels * s.k * PANEL * 4), *a = floats(extent(&s)), *b;
        fill_floats(x, n_x, s.fill);
        for (int64_t k = 0; k < panels * s.k * PANEL; k++)
            w[k] = k / (s.k * PANEL) * PANEL + k % PANEL < s.m ? draw_float(s.fill) : 0;
        fill_floats(a, extent(&s), s.fill);
        b = copy(a, extent(&s));
        ref->gemm_f32(a, s.ldy, x, ldx, s.n, w, s.m, s.k, s.mode);
        fast->gemm_f32(b, s.ldy, x, ldx, s.n, w, s.m, s.k, s.mode);
        same_floats(b, a, extent(&s), "gemm_f32 n %lld m %lld k %lld mode %d fill %d",
                    (long long)s.n, (long long)s.m, (long long)s.k, s.mode, s.fill);
        guard_reset();
    }
}

static void check_gemm_bf16(void) {
    for (int64_t i = 0; i < SHAPES; i++) {
        Shape s = shape_at(i, 1);
        int64_t kp = round_up(s.k, TILE_K), panels = panels_of(s.m);
        uint16_t *x = packed(s.n * kp * 2), *w = packed(panels * kp * PANEL * 2);
        for (int64_t r = 0; r < s.n; r++)
            for (int64_t k = 0; k < s.k; k++) x[r * kp + pair_at(false, k)] = draw_word(s.fill);
        for (int64_t j = 0; j < s.m; j++)
            for (int64_t k = 0; k < s.k; k++) {
                int64_t at = pair_at(false, k);
                w[j / PANEL * PANEL * kp + (at / 2 * PANEL + j % PANEL) * 2 + at % 2] =
                    draw_word(s.fill);
            }
        float *a = floats(extent(&s)), *b;
        fill_floats(a, extent(&s), s.fill);
        b = copy(a, extent(&s));
        ref->gemm_bf16(a, s.ldy, x, s.n, w, s.m, s.k, s.mode);
        fast->gemm_bf16(b, s.ldy, reordered(x, s.n, kp, 1), s.n, reordered(w, panels, kp, PANEL),
                        s.m, s.k, s.mode);
        same_floats(b, a, extent(&s), "gemm_bf16 n %lld m %lld k %lld mode %d fill %d",
                    (long long)s.n, (long long)s.m, (long long)s.k, s.mode, s.fill);
        guard_reset();
    }
}

/* Random rows, and rows at the ends of the int8 range so that a 16-bit sum would overflow. */
static A8 draw_a8(const FormRow *form, int64_t n, int64_t k, Fill f) {
    int64_t blocks = n * k / form->block, subs = n * k / form->sub;
    A8 x = {packed(n * k), floats(blocks), floats(blocks), guard_new(subs * 4, 4, side())};
    for (int64_t b = 0; b < blocks; b++) {
        uint32_t kind = draw() % 8;
        int32_t sum = 0, *subs_of = x.sum + b * form->block / form->sub, sixteen[16];
        for (int64_t i = b * form->block; i < (b + 1) * form->block; i++) {
            x.q[i] = (int8_t)(kind == 0   ? 127
                              : kind == 1 ? -127
                              : kind == 2 ? 0
                                          : draw_to(-127, 127));
            sum += x.q[i];
            x.sum[i / form->sub] += x.q[i];
        }
        if (form->block == 256) {
            memcpy(sixteen, subs_of, sizeof sixteen);
            a8_sums(subs_of, sixteen);
        }
        x.d[b] = kind == 2 ? f == WILD ? f32_of_bits(0x7fc00000u) : 0
                           : f32_of_bits(bits_of_f32(draw_float(f)) & 0x7fffffffu);
        x.s[b] = x.d[b] * (float)sum;
    }
    return x;
}

/* One block of a file: any f16 numbers; all other bits set, extremes of either sign, or any. */
static void draw_block(uint8_t *p, DType type, int64_t kind) {
    const Quantised *q = quantised_of(type);
    for (int64_t i = 0; i < dtype_bytes(type, dtype_block(type)); i++)
        p[i] = kind == 0   ? 255
               : kind == 1 ? (uint8_t)(draw() % 2 * 255)
               : kind == 2 ? (uint8_t)(127 + draw() % 2)
                           : (uint8_t)draw();
    if (q->d >= 0) put_f16(p + q->d);
    if (q->m >= 0) put_f16(p + q->m);
    if (q->power >= 0 && draw() % 8) p[q->power] = (uint8_t)draw_to(100, 140);
}

/* Panels of whole blocks, the rows beyond m among them: what they hold must not show. */
static uint8_t *draw_panels(const LayoutRow *l, int64_t m, int64_t k, int64_t kind) {
    int64_t blocks = panels_of(m) * k / l->block;
    uint8_t *w = packed(blocks * l->bytes), block[1024];
    CHECK(dtype_bytes(l->type, l->block) <= COUNT(block));
    for (int64_t i = 0; i < blocks; i++)
        for (int64_t r = 0; r < PANEL; r++) {
            draw_block(block, l->type, kind);
            l->put(w + i * l->bytes, block, r);
        }
    return w;
}

static void check_quantised(Layout layout, gemm_q4_1_fn *r, gemm_q4_1_fn *f) {
    const LayoutRow *l = &layouts[layout];
    for (int64_t i = 0; i < SHAPES; i++) {
        Shape s = shape_at(i, l->block);
        if (s.mode == STORE_CONTINUE) s.mode = STORE_SET;
        uint8_t *w = draw_panels(l, s.m, s.k, i % 4);
        A8 x = draw_a8(&forms[l->form], s.n, s.k, s.fill);
        float *a = floats(extent(&s)), *b;
        fill_floats(a, extent(&s), s.fill);
        b = copy(a, extent(&s));
        r(a, s.ldy, &x, s.n, w, s.m, s.k, s.mode);
        f(b, s.ldy, &x, s.n, w, s.m, s.k, s.mode);
        same_floats(b, a, extent(&s), "gemm_%s n %lld m %lld k %lld mode %d fill %d", l->name,
                    (long long)s.n, (long long)s.m, (long long)s.k, s.mode, s.fill);
        guard_reset();
    }
}

#define Q(name, NAME, n_block, n_bytes)                                                            \
    static void check_gemm_##name(void) {                                                          \
        check_quantised(LAYOUT_##NAME, ref->gemm_##name, fast->gemm_##name);                       \
    }
QUANT_LIST(Q)
#undef Q

/* ---- layouts --------------------------------------------------------------------------------- */

static void check_rows_bf16(void) {
    for (int64_t i = 0; i < 4 * SIZES; i++) {
        int64_t k = size_at(i / 4), kp = round_up(k, TILE_K);
        const float *x = new_floats(k, (Fill)(i % 4));
        uint16_t *a = packed(kp * 2), *b = packed(kp * 2);
        memset(b, 0x55, (size_t)kp * 2);
        ref->rows_bf16(a, x, k);
        fast->rows_bf16(b, x, k);
        for (int64_t j = 0; j < kp; j++) /* which NaN it is does not count */
            if ((b[j] & 0x7fff) > 0x7f80) b[j] = 0x7fff;
        uint16_t *want = reordered(a, 1, kp, 1);
        for (int64_t j = 0; j < kp; j++)
            if ((want[j] & 0x7fff) > 0x7f80) want[j] = 0x7fff;
        same_bytes(b, want, kp * 2, "rows_bf16 k %lld", (long long)k);
        guard_reset();
    }
}

static void check_panel_bf16(void) {
    for (int64_t i = 0; i < 4 * SIZES; i++) {
        int64_t k = size_at(i / 4), kp = round_up(k, TILE_K), m = draw_to(1, PANEL),
                ld = m + draw_to(0, 20);
        const float *x = new_floats(k ? (k - 1) * ld + m : 0, (Fill)(i % 3));
        uint16_t *a = packed(kp * PANEL * 2), *b = packed(kp * PANEL * 2);
        memset(b, 0x55, (size_t)(kp * PANEL) * 2);
        ref->panel_bf16(a, x, ld, m, k);
        fast->panel_bf16(b, x, ld, m, k);
        same_bytes(b, reordered(a, 1, kp, PANEL), kp * PANEL * 2, "panel_bf16 m %lld k %lld",
                   (long long)m, (long long)k);
        guard_reset();
    }
}

static void check_pair_panels(void) {
    for (int64_t i = 0; i < 4 * SIZES; i++) {
        const int64_t n = size_at(i / 4), np = round_up(n, TILE_K), panels = draw_to(1, 5),
                      ldx = TILE_K * draw_to(3, 5), ldo = np * PANEL + 32 * draw_to(0, 2),
                      words = (panels - 1) * ldo + np * PANEL;
        uint16_t *x = packed(n * ldx * 2), *a = packed(words * 2), *b = packed(words * 2);
        for (int64_t j = 0; j < n * ldx; j++) x[j] = (uint16_t)draw();
        ref->pair_panels(a, ldo, panels, x, ldx, n);
        fast->pair_panels(b, ldo, panels, reordered(x, n, ldx, 1), ldx, n);
        for (int64_t p = 0; p < panels; p++)
            same_bytes(b + p * ldo, reordered(a + p * ldo, 1, np, PANEL), np * PANEL * 2,
                       "pair_panels n %lld", (long long)n);
        guard_reset();
    }
}

static void check_transpose(void) {
    for (int64_t i = 0; i < 400; i++) {
        int64_t rows = i < 200 ? i % 20 : draw_to(1, 70), cols = i < 200 ? i / 10 : draw_to(1, 70);
        int64_t ldx = cols + draw_to(0, 5), ldy = rows + draw_to(0, 5);
        int64_t n_x = rows ? (rows - 1) * ldx + cols : 0, n_y = cols ? (cols - 1) * ldy + rows : 0;
        uint32_t *x = (uint32_t *)new_floats(n_x, EDGE), *a = (uint32_t *)floats(n_y),
                 *b = (uint32_t *)floats(n_y);
        ref->transpose(a, ldy, x, ldx, rows, cols);
        fast->transpose(b, ldy, x, ldx, rows, cols);
        same_bytes(b, a, n_y * 4, "transpose %lld x %lld", (long long)rows, (long long)cols);
        guard_reset();
    }
}

static void check_v_of_k(void) {
    for (int64_t i = 0; i < 60; i++) {
        int64_t dk = draw_to(1, i < 50 ? 100 : 600), dv = draw_to(1, dk), kp = round_up(dk, TILE_K),
                panels = panels_of(dv);
        uint16_t *k = packed(CHUNK * kp * 2), *a = packed(panels * PANEL * CHUNK * 2),
                 *b = packed(panels * PANEL * CHUNK * 2);
        for (int64_t j = 0; j < CHUNK * kp; j++) k[j] = (uint16_t)draw();
        memset(b, 0x55, (size_t)(panels * PANEL * CHUNK * 2));
        ref->v_of_k(a, k, dk, dv);
        fast->v_of_k(b, reordered(k, CHUNK / PANEL, kp, PANEL), dk, dv);
        same_bytes(b, reordered(a, panels, CHUNK, PANEL), panels * PANEL * CHUNK * 2,
                   "v_of_k dk %lld dv %lld", (long long)dk, (long long)dv);
        guard_reset();
    }
}

/* Blocks of every kind, some shifted so that the largest number is tiny, some with a tie in every
 * q. */
static void each_row_int8(int64_t block, void (*compare)(const float *x, int64_t k)) {
    for (int64_t i = 0; i < 200; i++) {
        int64_t k = block * draw_to(0, block == 32 ? 20 : 4);
        float *x = new_floats(k, (Fill)(i % 4));
        for (int64_t j = 0; j < k && i % 5 == 0; j++) x[j] = x[j] * 0x1p-100f;
        for (int64_t j = 0; j < k && i % 5 == 1; j++)
            x[j] = j % block ? (float)draw_to(-126, 126) + 0.5f : 127.0f;
        compare(x, k);
        guard_reset();
    }
}

static A8 room_a8(int64_t k, const FormRow *form) {
    int64_t blocks = k / form->block;
    return (A8){packed(k), floats(blocks), floats(blocks),
                (int32_t *)(void *)floats(k / form->sub)};
}

static void same_a8(const A8 *b, const A8 *a, int64_t k, const FormRow *form) {
    same_bytes(b->q, a->q, k, "rows of %s: q", form->name);
    same_floats(b->d, a->d, k / form->block, "rows of %s: d", form->name);
    same_bytes(b->sum, a->sum, k / form->sub * 4, "rows of %s: sum", form->name);
}

static void one_rows_a8(const float *x, int64_t k) {
    const FormRow *form = &forms[FORM_INT8];
    A8 a = room_a8(k, form), b = room_a8(k, form);
    ref->rows_a8(a.q, a.d, a.s, a.sum, x, k);
    fast->rows_a8(b.q, b.d, b.s, b.sum, x, k);
    same_a8(&b, &a, k, form);
    same_floats(b.s, a.s, k / 32, "rows of int8: s");
}
static void check_rows_a8(void) { each_row_int8(32, one_rows_a8); }

static void one_rows_a8_256(const float *x, int64_t k) {
    const FormRow *form = &forms[FORM_INT8_256];
    A8 a = room_a8(k, form), b = room_a8(k, form);
    ref->rows_a8_256(a.q, a.d, a.sum, x, k);
    fast->rows_a8_256(b.q, b.d, b.sum, x, k);
    same_a8(&b, &a, k, form);
}
static void check_rows_a8_256(void) { each_row_int8(256, one_rows_a8_256); }

/* ---- rows of f32: every size, every kind of number, in place and not ------------------------- */

static void each_size(void (*one)(int64_t n, Fill fill, bool over)) {
    for (int64_t i = 0; i < 8 * SIZES; i++) {
        one(size_at(i / 8), (Fill)(i % 4), i % 8 / 4);
        guard_reset();
    }
}

/* check_FIELD, whose body is run with each size n, each kind of numbers, and outputs over inputs or
 * not. */
#define EACH_SIZE(field)                                                                           \
    static void one_##field(int64_t n, Fill fill, bool over);                                      \
    static void check_##field(void) { each_size(one_##field); }                                    \
    static void one_##field(int64_t n, Fill fill, bool over)

/* Two outputs for the two tables, overlaying the input x or fresh. */
#define OUTPUTS(a, b, x)                                                                           \
    float *a = over ? copy(x, n) : floats(n), *b = over ? copy(x, n) : floats(n)

EACH_SIZE(rmsnorm) {
    if (n == 0) return;
    const float *x = new_floats(n, fill), *w = draw() % 3 ? new_floats(n, fill) : NULL;
    OUTPUTS(a, b, x);
    float ra = ref->rmsnorm(a, over ? a : x, w, n, 1e-5f),
          rb = fast->rmsnorm(b, over ? b : x, w, n, 1e-5f);
    same_floats(&rb, &ra, 1, "rmsnorm r, C %lld", (long long)n);
    same_floats(b, a, n, "rmsnorm C %lld", (long long)n);
}

EACH_SIZE(rmsnorm_back) {
    if (n == 0) return;
    const float *x = new_floats(n, fill), *dy = new_floats(n, fill),
                *w = draw() % 3 ? new_floats(n, fill) : NULL;
    StoreMode mode = draw() % 2 && !over ? STORE_ADD : STORE_SET;
    float r = draw_float(MILD);
    float *a = copy(dy, n), *b = copy(dy, n);
    ref->rmsnorm_back(a, over ? a : dy, x, w, r, n, mode);
    fast->rmsnorm_back(b, over ? b : dy, x, w, r, n, mode);
    same_floats(b, a, n, "rmsnorm_back C %lld", (long long)n);
}

EACH_SIZE(silu_mul) {
    const float *g = new_floats(n, fill), *u = new_floats(n, fill);
    OUTPUTS(a, b, g);
    ref->silu_mul(a, over ? a : g, u, n);
    fast->silu_mul(b, over ? b : g, u, n);
    same_floats(b, a, n, "silu_mul n %lld", (long long)n);
}

EACH_SIZE(silu_mul_back) {
    const float *dh = new_floats(n, fill), *g = new_floats(n, fill), *u = new_floats(n, fill);
    OUTPUTS(a, b, dh);
    float *au = floats(n), *bu = floats(n);
    ref->silu_mul_back(a, au, over ? a : dh, g, u, n);
    fast->silu_mul_back(b, bu, over ? b : dh, g, u, n);
    same_floats(b, a, n, "silu_mul_back dg, n %lld", (long long)n);
    same_floats(bu, au, n, "silu_mul_back du, n %lld", (long long)n);
}

EACH_SIZE(rope) {
    (void)over;
    const float *c = new_floats(n, MILD), *s = new_floats(n, MILD), *x = new_floats(2 * n, fill);
    float *a = copy(x, 2 * n), *b = copy(x, 2 * n);
    bool pairs = draw() % 2, back = draw() % 2;
    ref->rope(a, n, pairs, back, c, s);
    fast->rope(b, n, pairs, back, c, s);
    same_floats(b, a, 2 * n, "rope half %lld pairs %d back %d", (long long)n, pairs, back);
}

EACH_SIZE(tree_f64) {
    const float *x = new_floats(n, fill);
    const double a = ref->tree_f64(x, n, over), b = fast->tree_f64(x, n, over);
    if (a == a || b == b) same_bytes(&b, &a, sizeof a, "tree_f64 n %lld", (long long)n);
}

EACH_SIZE(add) {
    (void)over;
    const float *x = new_floats(n, fill), *y = new_floats(n, fill);
    float *a = copy(y, n), *b = copy(y, n);
    ref->add(a, x, n);
    fast->add(b, x, n);
    same_floats(b, a, n, "add n %lld", (long long)n);
}

EACH_SIZE(scale) {
    const float *x = new_floats(n, fill);
    const float f = draw_float(fill);
    OUTPUTS(a, b, x);
    ref->scale(a, f, over ? a : x, n);
    fast->scale(b, f, over ? b : x, n);
    same_floats(b, a, n, "scale n %lld", (long long)n);
}

EACH_SIZE(sigmoid) {
    (void)over;
    const float *x = new_floats(n, fill);
    float *a = floats(n), *b = floats(n);
    ref->sigmoid(a, x, n);
    fast->sigmoid(b, x, n);
    same_floats(b, a, n, "sigmoid n %lld", (long long)n);
}

EACH_SIZE(round) {
    (void)over;
    const float *x = new_floats(n, fill);
    float *a = copy(x, n), *b = copy(x, n);
    ref->round(a, n);
    fast->round(b, n);
    same_floats(b, a, n, "round n %lld", (long long)n);
}

/* over: y is the row that it is added to, or the one that the sum starts from. */
EACH_SIZE(combine) {
    enum { MOST = 5 };
    const int64_t K = draw_to(0, MOST);
    const float *row[MOST], *weight = new_floats(K, MILD),
                            *to = draw() % 2 ? new_floats(n, fill) : NULL,
                            *base = draw() % 2 ? new_floats(n, fill) : NULL;
    for (int64_t k = 0; k < K; k++) row[k] = new_floats(n, fill);
    const bool over_to = over && to, over_base = over && base && !to;
    float *a = over_to ? copy(to, n) : over_base ? copy(base, n) : floats(n);
    float *b = over_to ? copy(to, n) : over_base ? copy(base, n) : floats(n);
    ref->combine(a, over_to ? a : to, over_base ? a : base, row, weight, K, n);
    fast->combine(b, over_to ? b : to, over_base ? b : base, row, weight, K, n);
    same_floats(b, a, n, "combine n %lld K %lld", (long long)n, (long long)K);
}

static void check_columns_sum(void) {
    for (int64_t i = 0; i < 4 * SIZES; i++) {
        const int64_t m = size_at(i / 4), n = draw_to(0, 9), ldy = m + draw_to(0, 3),
                      ldx = m + draw_to(0, 3), with = draw() % 2;
        const Fill fill = (Fill)(i % 4);
        const float *dy = new_floats(n ? (n - 1) * ldy + m : 0, fill),
                    *x = with ? new_floats(n ? (n - 1) * ldx + m : 0, fill) : NULL,
                    *r = with ? new_floats(n, MILD) : NULL, *dw = new_floats(m, fill);
        float *a = copy(dw, m), *b = copy(dw, m);
        ref->columns_sum(a, dy, ldy, x, ldx, r, n, m);
        fast->columns_sum(b, dy, ldy, x, ldx, r, n, m);
        same_floats(b, a, m, "columns_sum n %lld m %lld", (long long)n, (long long)m);
        guard_reset();
    }
}

EACH_SIZE(merge) {
    (void)over;
    const float *oc = new_floats(n, fill), *o = new_floats(n, fill);
    float *a = copy(o, n), *b = copy(o, n), f = draw_float(MILD), g = draw_float(MILD);
    ref->merge(a, f, oc, g, n);
    fast->merge(b, f, oc, g, n);
    same_floats(b, a, n, "merge n %lld", (long long)n);
}

EACH_SIZE(div) {
    (void)over;
    const float *y = new_floats(n, fill);
    float *a = copy(y, n), *b = copy(y, n), d = draw_float(fill);
    ref->div(a, d, n);
    fast->div(b, d, n);
    same_floats(b, a, n, "div n %lld", (long long)n);
}

EACH_SIZE(dot) {
    (void)over;
    const float *x = new_floats(n, fill), *y = new_floats(n, fill);
    float a = ref->dot(x, y, n), b = fast->dot(x, y, n);
    same_floats(&b, &a, 1, "dot n %lld", (long long)n);
}

/* Which zero a maximum is stays open, and what it is beside a NaN. */
static void same_max(float got, float want, const char *what) {
    if (!(got == 0 && want == 0)) same_floats(&got, &want, 1, "%s", what);
}

EACH_SIZE(max) {
    (void)over;
    if (n == 0) return;
    const float *x = new_floats(n, fill == WILD ? EDGE : fill);
    same_max(fast->max(x, n), ref->max(x, n), "max");
}

EACH_SIZE(sum_exp) {
    float *x = new_floats(n, fill), m = draw_float(MILD);
    for (int64_t j = 0; j < n && over; j++) x[j] = 100 * draw_float(MILD);
    float a = ref->sum_exp(x, m, n), b = fast->sum_exp(x, m, n);
    same_floats(&b, &a, 1, "sum_exp n %lld", (long long)n);
}

EACH_SIZE(cross_entropy_back) {
    float *z = new_floats(n, fill), lse = 10 * draw_float(MILD), scale = draw_float(MILD);
    for (int64_t j = 0; j < n && draw() % 2; j++) z[j] = 100 * draw_float(MILD);
    OUTPUTS(a, b, z);
    ref->cross_entropy_back(a, over ? a : z, lse, scale, n);
    fast->cross_entropy_back(b, over ? b : z, lse, scale, n);
    same_floats(b, a, n, "cross_entropy_back n %lld", (long long)n);
}

EACH_SIZE(adamw) {
    (void)over;
    AdamW p = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.1f, 0.05f, 0.7f};
    const float *w = new_floats(n, fill), *g = new_floats(n, fill), *m = new_floats(n, fill);
    float *v = new_floats(n, fill), *aw = copy(w, n), *am = copy(m, n), *bw = copy(w, n),
          *bm = copy(m, n);
    for (int64_t j = 0; j < n; j++) v[j] = f32_of_bits(bits_of_f32(v[j]) & 0x7fffffffu);
    float *av = copy(v, n), *bv = copy(v, n);
    ref->adamw(aw, g, am, av, n, &p);
    fast->adamw(bw, g, bm, bv, n, &p);
    same_floats(bm, am, n, "adamw m");
    same_floats(bv, av, n, "adamw v");
    same_floats(bw, aw, n, "adamw w");
}

/* ---- softmax of attention -------------------------------------------------------------------- */

static void check_chunk_softmax(void) {
    for (int64_t i = 0; i < 64 * 8; i++) {
        int64_t visible = i % 64 + 1;
        bool round = i / 64 % 2, over = i / 128 % 2;
        float *s = new_floats(CHUNK, i / 256 ? SPREAD : MILD), scale = 0.125f, ma, mb;
        for (int64_t j = 0; j < CHUNK && i / 256 == 0; j++) s[j] = s[j] * 300.0f;
        if (i % 7 == 0) s[draw_to(0, visible - 1)] = -1e30f;
        float *a = over ? copy(s, CHUNK) : floats(CHUNK),
              *b = over ? copy(s, CHUNK) : floats(CHUNK);
        float la = ref->chunk_softmax(a, &ma, over ? a : s, visible, scale, round);
        float lb = fast->chunk_softmax(b, &mb, over ? b : s, visible, scale, round);
        same_max(mb, ma, "chunk_softmax m");
        same_floats(&lb, &la, 1, "chunk_softmax l, visible %lld", (long long)visible);
        same_floats(b, a, CHUNK, "chunk_softmax p, visible %lld", (long long)visible);
        guard_reset();
    }
}

EACH_SIZE(softmax_back) {
    const float *s = new_floats(n, fill), *dp = new_floats(n, fill), *lse = new_floats(n, MILD),
                *D = new_floats(n, MILD);
    OUTPUTS(a, b, s);
    float *ad = over ? copy(dp, n) : floats(n), *bd = over ? copy(dp, n) : floats(n);
    ref->softmax_back(a, ad, over ? a : s, over ? ad : dp, lse, D, 0.3f, n);
    fast->softmax_back(b, bd, over ? b : s, over ? bd : dp, lse, D, 0.3f, n);
    same_floats(b, a, n, "softmax_back p, n %lld", (long long)n);
    same_floats(bd, ad, n, "softmax_back ds, n %lld", (long long)n);
}

EACH_SIZE(rescale) {
    (void)over;
    const float *m = new_floats(n, fill == WILD ? EDGE : fill),
                *mc = new_floats(n, fill == WILD ? EDGE : fill);
    const float *l = new_floats(n, MILD), *lc = new_floats(n, MILD);
    float *am = copy(m, n), *bm = copy(m, n), *al = copy(l, n), *bl = copy(l, n);
    float *aa = floats(n), *ba = floats(n), *ab = floats(n), *bb = floats(n);
    ref->rescale(am, al, aa, ab, mc, lc, n);
    fast->rescale(bm, bl, ba, bb, mc, lc, n);
    for (int64_t j = 0; j < n; j++) same_max(bm[j], am[j], "rescale m");
    same_floats(ba, aa, n, "rescale a");
    same_floats(bb, ab, n, "rescale b");
    same_floats(bl, al, n, "rescale l");
}

/* ---- the walk -------------------------------------------------------------------------------- */

/* Every kernel of the level in force that is not the one of the table `against`, and is there. */
static void walk(Level level, void (*fill)(Kern *k)) {
    Kern against;
    fill(&against);
    if (!level_use(level)) skip_for(level_missing(level));
    if (level != LEVEL_REF) need_own_speed();
    assert_int_equal(kern_level(), level);
    ref = &against, fast = &kern;
    int64_t compared = 0;
#define X(field, ret, params)                                                                      \
    if (against.field && kern.field != against.field) {                                            \
        check_##field();                                                                           \
        compared++;                                                                                \
    }
    KERN_LIST(X)
#undef X
    print_message("# level %s: %lld kernels compared\n", level_name(level), (long long)compared);
    assert_true(compared > 0);
}

static void walk_ref(void **state) {
    (void)state;
    walk(LEVEL_REF, kern_fill_contract);
}
static void walk_avx2(void **state) {
    (void)state;
    walk(LEVEL_AVX2, kern_fill_ref);
}
static void walk_avx512(void **state) {
    (void)state;
    walk(LEVEL_AVX512, kern_fill_ref);
}
static void walk_amx_emu(void **state) {
    (void)state;
    walk(LEVEL_AMX_EMU, kern_fill_ref);
}
static void walk_amx(void **state) {
    (void)state;
    walk(LEVEL_AMX, kern_fill_ref);
}

/* Level avx512 chooses one of two bf16 products by a measurement: both are held against ref's. */
static void bf16_products_of_avx512(void **state) {
    (void)state;
    if (!level_use(LEVEL_AVX512)) skip_for(level_missing(LEVEL_AVX512));
#if defined(__x86_64__)
    Kern against, dot, fma;
    kern_fill_ref(&against);
    kern_fill_avx512_way(&dot, BF16_DOT);
    kern_fill_avx512_way(&fma, BF16_FMA);
    assert_true(dot.gemm_bf16 != fma.gemm_bf16);
    assert_true(kern.gemm_bf16 == dot.gemm_bf16 || kern.gemm_bf16 == fma.gemm_bf16);
    ref = &against, fast = &dot;
    check_gemm_bf16();
    fast = &fma;
    check_gemm_bf16();
#endif
}

/* The table says who won each row, and why a level is missing. */
static void table_prints_itself(void **state) {
    (void)state;
    Err err = {0};
    Arena *a = arena_open("test", 1 << 20);
    Buf out = {.a = a};
    Level named;
    assert_true(kern_init(LEVEL_REF, &err));
    kern_print(&out);
    assert_non_null(strstr(str_copy(a, buf_str(&out)).p, "gemm_bf16"));
    assert_non_null(strstr(str_copy(a, buf_str(&out)).p, "adamw (ref)"));
    assert_non_null(strstr(str_copy(a, buf_str(&out)).p, "without avx2: "));
    assert_true(level_of_name("amx-emu", &named) && named == LEVEL_AMX_EMU);
    assert_false(level_of_name("sse", &named));
    assert_true(kern_init(LEVEL_N, &err));
    assert_true(kern_level() != LEVEL_AMX_EMU);
    arena_close(a);
}

/* Every quantised type that a model may be of has its layout, and each layout a type of its own. */
static void types_have_layouts(void **state) {
    (void)state;
    int64_t quantised = 0;
    for (DType t = 0; t < DTYPE_N; t++) {
        Layout l = layout_of(ACT_A8, t);
        if (!dtype_is_weight(t) || dtype_block(t) == 1) continue;
        quantised++;
        assert_true(layout_quantised(l) && layouts[l].type == t);
        assert_int_equal(layouts[l].block, dtype_block(t));
        assert_int_equal(layouts[l].block, layouts[l].quant->block);
        assert_int_equal(layouts[l].bytes, quant_bytes(layouts[l].quant));
        assert_int_equal(layouts[l].block, forms[layout_form(l)].block);
        assert_int_equal(layout_of(ACT_A16, t), LAYOUT_BF16);
        assert_int_equal(layout_of(ACT_F32, t), LAYOUT_F32);
    }
    for (Layout l = LAYOUT_F32; l < LAYOUT_N; l++) quantised -= layout_quantised(l);
    assert_int_equal(quantised, 0);
    assert_int_equal(layout_of(ACT_A8, DTYPE_F16), LAYOUT_BF16);
}

int test_levels(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walk_ref),           cmocka_unit_test(walk_avx2),
        cmocka_unit_test(walk_avx512),        cmocka_unit_test(walk_amx_emu),
        cmocka_unit_test(walk_amx),           cmocka_unit_test(table_prints_itself),
        cmocka_unit_test(types_have_layouts), cmocka_unit_test(bf16_products_of_avx512),
    };
    return cmocka_run_group_tests_name("levels", tests, NULL, NULL);
}
