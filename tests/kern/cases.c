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

/* Blocks of 32: number k < 16 is the low nibble of byte k, 16 + k the high one. */
static int nibble(const uint8_t *p, int64_t k) { return k < 16 ? p[k] & 15 : p[k - 16] >> 4; }
static int bit(const uint8_t *p, int64_t i) { return p[i / 8] >> i % 8 & 1; }

static const int iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                            1,    13,   25,  38,  53,  69,  89,  113};
static const int fp4[8] = {0, 1, 2, 3, 4, 6, 8, 12};

static int q4_0_q(const uint8_t *p, int64_t k) { return nibble(p + 2, k) - 8; }
static int q4_1_q(const uint8_t *p, int64_t k) { return nibble(p + 4, k); }
static int q5_0_q(const uint8_t *p, int64_t k) {
    return nibble(p + 6, k) + 16 * bit(p + 2, k) - 16;
}
static int q5_1_q(const uint8_t *p, int64_t k) { return nibble(p + 8, k) + 16 * bit(p + 4, k); }
static int q8_0_q(const uint8_t *p, int64_t k) { return (int8_t)p[2 + k]; }
static int iq4_nl_q(const uint8_t *p, int64_t k) { return iq4[nibble(p + 2, k)]; }
static int mxfp4_q(const uint8_t *p, int64_t k) {
    int c = nibble(p + 1, k);
    return c < 8 ? fp4[c] : -fp4[c - 8];
}

/* Blocks of 256. Two bits of number k: byte k % 32 of each 128 numbers' 32. */
static int crumb(const uint8_t *p, int64_t k) {
    return p[k / 128 * 32 + k % 32] >> k % 128 / 32 * 2 & 3;
}
/* Four bits of number k: low and high halves of 32 bytes are 64 numbers. */
static int half(const uint8_t *p, int64_t k) {
    return p[k / 64 * 32 + k % 32] >> k % 64 / 32 * 4 & 15;
}
static int top_bit(const uint8_t *p, int64_t k) { return p[k % 32] >> k / 32 & 1; }

static int q2_k_q(const uint8_t *p, int64_t k) { return crumb(p + 16, k); }
static int q2_k_scale(const uint8_t *p, int j) { return p[j] % 16; }
static int q2_k_min(const uint8_t *p, int j) { return p[j] / 16; }

static int q3_k_q(const uint8_t *p, int64_t k) {
    return crumb(p + 32, k) - (top_bit(p, k) ? 0 : 4);
}
static int q3_k_scale(const uint8_t *p, int j) {
    const uint8_t *s = p + 96;
    int low = j < 8 ? s[j] % 16 : s[j - 8] / 16;
    return low + 16 * (s[8 + j % 4] >> 2 * (j / 4) & 3) - 32;
}

static int q4_k_scale(const uint8_t *p, int j) {
    const uint8_t *s = p + 4;
    return j < 4 ? s[j] % 64 : s[j + 4] % 16 + s[j - 4] / 64 * 16;
}
static int q4_k_min(const uint8_t *p, int j) {
    const uint8_t *s = p + 4;
    return j < 4 ? s[j + 4] % 64 : s[j + 4] / 16 + s[j] / 64 * 16;
}
static int q4_k_q(const uint8_t *p, int64_t k) { return half(p + 16, k); }
static int q5_k_q(const uint8_t *p, int64_t k) { return half(p + 48, k) + 16 * top_bit(p + 16, k); }

static int q6_k_q(const uint8_t *p, int64_t k) {
    const uint8_t *low = p + k / 128 * 64 + k % 64;
    return (k % 128 < 64 ? *low % 16 : *low / 16) + 16 * crumb(p + 128, k) - 32;
}
static int q6_k_scale(const uint8_t *p, int j) { return (int8_t)p[192 + j]; }

static int iq4_xs_q(const uint8_t *p, int64_t k) {
    return iq4[nibble(p + 8 + k / 32 * 16, k % 32)];
}
static int iq4_xs_scale(const uint8_t *p, int j) {
    int low = j % 2 ? p[4 + j / 2] / 16 : p[4 + j / 2] % 16, high = (p[2] | p[3] << 8) >> 2 * j & 3;
    return low + 16 * high - 32;
}

static const Quantised quantised[] = {
    {DTYPE_Q4_0, 0, -1, q4_0_q, 0, NULL, NULL, -1},
    {DTYPE_Q4_1, 0, 2, q4_1_q, 0, NULL, NULL, -1},
    {DTYPE_Q5_0, 0, -1, q5_0_q, 0, NULL, NULL, -1},
    {DTYPE_Q5_1, 0, 2, q5_1_q, 0, NULL, NULL, -1},
    {DTYPE_Q8_0, 0, -1, q8_0_q, 0, NULL, NULL, -1},
    {DTYPE_IQ4_NL, 0, -1, iq4_nl_q, 0, NULL, NULL, -1},
    {DTYPE_MXFP4, -1, -1, mxfp4_q, 0, NULL, NULL, 0},
    {DTYPE_Q2_K, 80, 82, q2_k_q, 16, q2_k_scale, q2_k_min, -1},
    {DTYPE_Q3_K, 108, -1, q3_k_q, 16, q3_k_scale, NULL, -1},
    {DTYPE_Q4_K, 0, 2, q4_k_q, 32, q4_k_scale, q4_k_min, -1},
    {DTYPE_Q5_K, 0, 2, q5_k_q, 32, q4_k_scale, q4_k_min, -1},
    {DTYPE_Q6_K, 208, -1, q6_k_q, 16, q6_k_scale, NULL, -1},
    {DTYPE_IQ4_XS, 0, -1, iq4_xs_q, 32, iq4_xs_scale, NULL, -1},
};

/* d, widened; 2^(e - 128) below the normal numbers is zero. */
static double d_of(const Quantised *t, const uint8_t *p) {
    if (t->power < 0) return number_f16(p + t->d);
    return p[t->power] < 2 ? 0 : ldexp(1, p[t->power] - 128);
}
static double m_of(const Quantised *t, const uint8_t *p) {
    return t->m < 0 ? 0 : number_f16(p + t->m);
}

double quantised_number(const Quantised *t, const uint8_t *p, int64_t k) {
    if (!t->sub) return d_of(t, p) * t->q(p, k) + m_of(t, p);
    int j = (int)k / t->sub;
    double min = t->minimum ? m_of(t, p) * t->minimum(p, j) : 0;
    return d_of(t, p) * (t->scale(p, j) * t->q(p, k)) - min;
}

float quantised_product(const Quantised *t, float acc, const uint8_t *p, const Int8Block *x) {
    int isum = 0, sum = 0;
    float d = (float)d_of(t, p) * x->d, m = (float)m_of(t, p);
    for (int k = 0; k < dtype_block(t->type); k++) {
        int j = t->sub ? k / t->sub : 0;
        isum += (t->sub ? t->scale(p, j) : 1) * t->q(p, k) * x->q[k];
        sum += (t->minimum ? t->minimum(p, j) : 1) * x->q[k];
    }
    acc = fmaf(d, (float)isum, acc);
    if (t->m < 0) return acc;
    return t->minimum ? fmaf(-(m * x->d), (float)sum, acc) : fmaf(m, x->d * (float)sum, acc);
}

const Quantised *quantised_of(DType t) {
    for (int64_t i = 0; i < COUNT(quantised); i++)
        if (quantised[i].type == t) return &quantised[i];
    fail_msg("tests/kern/cases.c has no entry for %s", dtype_name(t));
    return NULL;
}

/* Any number but NaN and infinity; not too large, of those with 5 bits of exponent. */
static uint8_t draw_f8(DType type) {
    uint32_t code = draw() & 0xff;
    if (type == DTYPE_F8_E5M2) return (uint8_t)(code & 0xbf);
    return (uint8_t)((code & 0x7f) == 0x7f ? code - 1 : code);
}

/* From the definition: 1 is 2^bias units of the last place above the smallest. */
static double number_f8(int code, int fraction_bits, int bias) {
    int e = (code & 0x7f) >> fraction_bits, f = code & ((1 << fraction_bits) - 1);
    double x = e ? ldexp((1 << fraction_bits) + f, e - bias - fraction_bits)
                 : ldexp(f, 1 - bias - fraction_bits);
    return code & 0x80 ? -x : x;
}

static void put_block(uint8_t *p, DType t) {
    const Quantised *q = quantised_of(t);
    int64_t bytes = dtype_bytes(t, dtype_block(t));
    for (int64_t i = 0; i < bytes; i++) p[i] = (uint8_t)draw();
    uint16_t d = draw_f16(), m = draw_f16();
    if (q->d >= 0) memcpy(p + q->d, &d, 2);
    if (q->m >= 0) memcpy(p + q->m, &m, 2);
    if (q->power >= 0) p[q->power] = (uint8_t)draw_to(112, 128);
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
        else if (type == DTYPE_F64)
            memcpy(p + 8 * i, &(double){(double)x + 0x1p-30 * x}, 8);
        else if (type == DTYPE_F8_E4M3 || type == DTYPE_F8_E5M2)
            p[i] = draw_f8(type);
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
    if (w->type == DTYPE_F8_E4M3) return number_f8(*p, 3, 7);
    if (w->type == DTYPE_F8_E5M2) return number_f8(*p, 2, 15);
    if (w->type == DTYPE_F64) return *(const double *)(const void *)p;
    return quantised_number(quantised_of(w->type), p, at % step);
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

static void dw_thread(Thread th, void *arg) {
    const DwRun *r = arg;
    const ActForm form = layout_form(r->layout);
    Rows dy, x;
    rows_pack(th, &dy, form, r->dy, r->n, r->rows, r->ldy, r->dy_rows);
    rows_pack(th, &x, form, r->x, r->n, r->cols, r->ldx, r->x_rows);
    linear_dw(th, r->dw, &dy, &x, r->work);
}

void run_dw(const DwRun *r, int64_t threads) {
    DwRun run = *r;
    const ActForm form = layout_form(r->layout);
    run.work = guard_new(linear_dw_bytes(form, r->n, r->rows, r->cols), 64, AT_END);
    run.dy_rows = guard_new(rows_bytes(form, r->n, r->rows), 64, AT_END);
    run.x_rows = guard_new(rows_bytes(form, r->n, r->cols), 64, AT_END);
    on_threads(threads, dw_thread, &run);
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
