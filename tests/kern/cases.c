/* cases.c -- see cases.h. */
#include "cases.h"
#include <math.h>

const char *level_now;

void on_levels(void (*fn)(void)) {
    for (Level v = LEVEL_REF; v < LEVEL_N; v++) {
        if (!level_use(v)) continue;
        level_now = level_name(v);
        fn();
        guard_reset();
    }
}

/* ---- weights --------------------------------------------------------------------------------- */

/* Exponents that keep products within f32: scales of blocks between 2^-10 and 2^-4. */
static uint16_t draw_f16(void) {
    return (uint16_t)((draw() & 0x83ff) | (uint32_t)draw_to(5, 11) << 10);
}

void put_f16(uint8_t *p) {
    uint16_t h = (uint16_t)draw();
    if ((h & 0x7c00) == 0x7c00) h = (uint16_t)(h & ~0x4000);
    memcpy(p, &h, 2);
}

static double number_f16(const uint8_t *p) {
    int h = p[0] | p[1] << 8, e = h >> 10 & 31, f = h & 1023;
    double x = e ? ldexp(1024 + f, e - 25) : ldexp(f, -24);
    return h & 0x8000 ? -x : x;
}

/* Q4_1: f16 d, f16 m, 16 bytes: number k < 16 is the low nibble of byte k, 16 + k the high one. */
static int q4_1_at(const uint8_t *p, int64_t k) { return k < 16 ? p[4 + k] & 15 : p[k - 12] >> 4; }
static double q4_1_number(const uint8_t *p, int64_t k) {
    return number_f16(p) * q4_1_at(p, k) + number_f16(p + 2);
}
static float q4_1_product(float acc, const uint8_t *p, const Int8Block *x) {
    int isum = 0, sum = 0;
    for (int k = 0; k < 32; k++) isum += q4_1_at(p, k) * x->q[k], sum += x->q[k];
    acc = fmaf((float)number_f16(p) * x->d, (float)isum, acc);
    return fmaf((float)number_f16(p + 2), x->d * (float)sum, acc);
}

/* Q8_0: f16 d, 32 int8. */
static double q8_0_number(const uint8_t *p, int64_t k) { return number_f16(p) * (int8_t)p[2 + k]; }
static float q8_0_product(float acc, const uint8_t *p, const Int8Block *x) {
    int isum = 0;
    for (int k = 0; k < 32; k++) isum += (int8_t)p[2 + k] * x->q[k];
    return fmaf((float)number_f16(p) * x->d, (float)isum, acc);
}

static const Quantised quantised[] = {
    {DTYPE_Q4_1, {0, 2}, 2, q4_1_number, q4_1_product},
    {DTYPE_Q8_0, {0}, 1, q8_0_number, q8_0_product},
};

const Quantised *quantised_of(DType t) {
    for (int64_t i = 0; i < COUNT(quantised); i++)
        if (quantised[i].type == t) return &quantised[i];
    fail_msg("tests/kern/cases.c has no entry for %s", dtype_name(t));
    return NULL;
}

static void put_block(uint8_t *p, DType t) {
    const Quantised *q = quantised_of(t);
    int64_t bytes = dtype_bytes(t, dtype_block(t));
    for (int64_t i = 0; i < bytes; i++) p[i] = (uint8_t)draw();
    for (int i = 0; i < q->n_f16; i++) {
        uint16_t h = draw_f16();
        memcpy(p + q->f16[i], &h, 2);
    }
}

Weight weight_new(DType type, int64_t n, int64_t rows, int64_t cols) {
    int64_t count = n * rows * cols, bytes = dtype_bytes(type, count);
    uint8_t *p = guard_new(bytes, 2, AT_END);
    for (int64_t i = 0; i < count; i += dtype_block(type)) {
        float x = draw_float(MILD);
        uint32_t u = bits_of_f32(x);
        uint16_t f16 = draw_f16(), bf16 = (uint16_t)(u >> 16);
        if (type == DTYPE_F32)
            memcpy(p + 4 * i, &u, 4);
        else if (type == DTYPE_F16)
            memcpy(p + 2 * i, &f16, 2);
        else if (type == DTYPE_BF16)
            memcpy(p + 2 * i, &bf16, 2);
        else
            put_block(p + dtype_bytes(type, i), type);
    }
    return (Weight){.type = type, .n = n, .rows = rows, .cols = cols, .row = p};
}

double weight_number(const Weight *w, int64_t i, int64_t r, int64_t k) {
    int64_t at = (i * w->rows + r) * w->cols + k, step = dtype_block(w->type);
    const uint8_t *p = (const uint8_t *)w->row + dtype_bytes(w->type, at / step * step);
    if (w->type == DTYPE_F32) return (double)*(const float *)(const void *)p;
    if (w->type == DTYPE_F16) return number_f16(p);
    if (w->type == DTYPE_BF16) return (double)f32_of_bits((uint32_t)(p[0] | p[1] << 8) << 16);
    return quantised_of(w->type)->number(p, at % step);
}

typedef struct PackRun {
    Weight *w;
    Layout layout;
    bool t;
} PackRun;

static void pack_thread(Thread th, void *arg) {
    const PackRun *r = arg;
    if (r->t)
        weight_pack_t(th, r->w->tile_t, r->layout, r->w, 0, r->w->n);
    else
        weight_pack(th, r->w->tile, r->layout, r->w, 0, r->w->n);
}

void weight_ready(Weight *w, Layout layout, bool t, int64_t threads) {
    PackRun r = {w, layout, t};
    int64_t bytes =
        w->n * (t ? panel_bytes(layout, w->cols, w->rows) : panel_bytes(layout, w->rows, w->cols));
    void *tile = guard_new(bytes, 64, AT_END);
    memset(tile, 0x55, (size_t)bytes);
    *(t ? &w->tile_t : &w->tile) = tile;
    *(t ? &w->layout_t : &w->layout) = layout;
    on_threads(threads, pack_thread, &r);
}

typedef struct LinearThread {
    const LinearRun *r;
    void *mem;
} LinearThread;

static void linear_thread(Thread th, void *arg) {
    const LinearThread *t = arg;
    const LinearRun *r = t->r;
    Rows x;
    if (r->index)
        rows_gather(th, &x, layout_form(r->w->layout), r->x, r->index, r->n, r->w->cols, r->ldx,
                    t->mem);
    else
        rows_pack(th, &x, layout_form(r->w->layout), r->x, r->n, r->w->cols, r->ldx, t->mem);
    linear(th, r->y, r->ldy, r->w, r->i, &x, r->mode);
}

void run_linear(const LinearRun *r, int64_t threads) {
    LinearThread t = {
        r, guard_new(rows_bytes(layout_form(r->w->layout), r->n, r->w->cols), 64, AT_END)};
    on_threads(threads, linear_thread, &t);
}

/* ---- attention ------------------------------------------------------------------------------- */

static float *floats_within(int64_t n, float size) {
    float *x = guard_new(n * 4, 4, AT_END);
    for (int64_t i = 0; i < n; i++) x[i] = size * draw_float(MILD);
    return x;
}

void attention_new(Attention *t, AttentionShape s, const int64_t *length, int64_t n_spans,
                   float size) {
    enum { OFF = 192 };
    memset(t, 0, sizeof *t);
    KvForm values = s.v_of_k ? KV_PREFIX : KV_VALUES;
    t->a = (Attend){.k = {KV_KEYS, s.type, s.kv, s.dk, 1, 0, OFF},
                    .v = {values, s.type, s.kv, s.dv, 1, 0, 0},
                    .heads = s.heads,
                    .scale = 1.0f / sqrtf((float)s.dk)};
    t->a.v.off = OFF + kv_bytes(&t->a.k) + OFF;
    int64_t page = t->a.v.off + kv_bytes(&t->a.v);
    t->n_spans = n_spans;
    for (int64_t i = 0; i < n_spans; i++) {
        for (int64_t p = 0; p * PAGE < length[i]; p++) t->page[i][p] = guard_new(page, 64, AT_END);
        t->span[i] = (Span){t->rows, length[i], 0, t->page[i], i};
        t->rows += length[i];
    }
    int64_t N = t->rows, dv = s.dv;
    t->q = floats_within(N * s.heads * s.dk, size);
    t->k = floats_within(N * s.kv * s.dk, size);
    t->v = floats_within(N * s.kv * dv, size);
    t->g = floats_within(N * s.heads * dv, size);
    t->o = guard_new(N * s.heads * dv * 4, 4, AT_END);
    t->lse = guard_new(N * s.heads * 4, 4, AT_END);
    t->dq = guard_new(N * s.heads * s.dk * 4, 4, AT_END);
    t->dk = guard_new(N * s.kv * s.dk * 4, 4, AT_END);
    t->dv = guard_new(N * s.kv * dv * 4, 4, AT_END);
}

typedef struct AttentionThread {
    Attention *t;
    void *work;
} AttentionThread;

void attention_store(Thread th, const Attention *t, const Span *span, int64_t n_spans) {
    const KvStream *k = &t->a.k, *v = &t->a.v;
    kv_store(th, k, span, n_spans, t->k, k->heads * k->width);
    if (v->form != KV_PREFIX) kv_store(th, v, span, n_spans, t->v, v->heads * v->width);
}

static void forward_thread(Thread th, void *arg) {
    const AttentionThread *r = arg;
    Attention *t = r->t;
    attention_store(th, t, t->span, t->n_spans);
    attend(th, t->o, t->a.heads * t->a.v.width, t->lse, t->q, t->a.heads * t->a.k.width, &t->a,
           t->span, t->n_spans, r->work);
}

void attention_run(Attention *t, int64_t threads) {
    AttentionThread r = {t, guard_new(threads * attend_bytes(&t->a, t->rows), 64, AT_END)};
    on_threads(threads, forward_thread, &r);
}

static void back_thread(Thread th, void *arg) {
    const AttentionThread *r = arg;
    Attention *t = r->t;
    attend_back(th, t->dq, t->dk, t->dv, t->g, t->o, t->lse, t->q, &t->a, t->span, t->n_spans,
                r->work);
}

void attention_back(Attention *t, int64_t threads) {
    int64_t longest = 0;
    for (int64_t i = 0; i < t->n_spans; i++) longest = MAX(longest, t->span[i].n);
    AttentionThread r = {t, guard_new(threads * attend_back_bytes(&t->a, longest), 64, AT_END)};
    on_threads(threads, back_thread, &r);
}
