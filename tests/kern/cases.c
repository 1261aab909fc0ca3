/* cases.c -- see cases.h. */
#include "cases.h"
#include <math.h>

const char *level_now;

void on_levels(void (*fn)(void)) {
    for (Level v = LEVEL_REF; v < LEVEL_N; v++) {
        Err err = {0};
        if (!kern_init(v, &err)) continue;
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

static void put_block(uint8_t *p, DType t) {
    uint16_t d = draw_f16(), m = draw_f16();
    int64_t bytes = dtype_bytes(t, 32);
    for (int64_t i = 0; i < bytes; i++) p[i] = (uint8_t)draw();
    memcpy(p, &d, 2);
    if (t == DTYPE_Q4_1) memcpy(p + 2, &m, 2);
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

static double number_f16(const uint8_t *p) {
    int h = p[0] | p[1] << 8, e = h >> 10 & 31, f = h & 1023;
    double x = e ? ldexp(1024 + f, e - 25) : ldexp(f, -24);
    return h & 0x8000 ? -x : x;
}

double weight_number(const Weight *w, int64_t i, int64_t r, int64_t k) {
    int64_t at = (i * w->rows + r) * w->cols + k, block = at / 32, in = at % 32;
    const uint8_t *p = w->row;
    if (w->type == DTYPE_F32) return (double)((const float *)w->row)[at];
    if (w->type == DTYPE_F16) return number_f16(p + 2 * at);
    if (w->type == DTYPE_BF16)
        return (double)f32_of_bits((uint32_t)(p[2 * at] | p[2 * at + 1] << 8) << 16);
    if (w->type == DTYPE_Q8_0) return number_f16(p + 34 * block) * (int8_t)p[34 * block + 2 + in];
    p += 20 * block;
    int q = in < 16 ? p[4 + in] & 15 : p[4 + in - 16] >> 4;
    return number_f16(p) * q + number_f16(p + 2);
}

typedef struct PackRun {
    Weight *w;
    Pack pack;
    bool t;
} PackRun;

static void pack_thread(Thread th, void *arg) {
    const PackRun *r = arg;
    if (r->t)
        weight_pack_t(th, r->w->tile_t, r->pack, r->w, 0, r->w->n);
    else
        weight_pack(th, r->w->tile, r->pack, r->w, 0, r->w->n);
}

void weight_ready(Weight *w, Pack pack, bool t, int64_t threads) {
    PackRun r = {w, pack, t};
    int64_t bytes =
        w->n * (t ? panel_bytes(pack, w->cols, w->rows) : panel_bytes(pack, w->rows, w->cols));
    void *tile = guard_new(bytes, 64, AT_END);
    memset(tile, 0x55, (size_t)bytes);
    *(t ? &w->tile_t : &w->tile) = tile;
    *(t ? &w->pack_t : &w->pack) = pack;
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
        rows_gather(th, &x, r->w->pack, r->x, r->index, r->n, r->w->cols, r->ldx, t->mem);
    else
        rows_pack(th, &x, r->w->pack, r->x, r->n, r->w->cols, r->ldx, t->mem);
    linear(th, r->y, r->ldy, r->w, r->i, &x, r->mode);
}

void run_linear(const LinearRun *r, int64_t threads) {
    LinearThread t = {r, guard_new(rows_bytes(r->w->pack, r->n, r->w->cols), 64, AT_END)};
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
    t->a = (Attend){{s.type, s.kv, s.dk, s.dv, s.v_of_k}, OFF, s.heads, 1.0f / sqrtf((float)s.dk)};
    t->n_spans = n_spans;
    for (int64_t i = 0; i < n_spans; i++) {
        for (int64_t p = 0; p * PAGE < length[i]; p++)
            t->page[i][p] = guard_new(OFF + kv_bytes(&t->a.kv), 64, AT_END);
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

static void forward_thread(Thread th, void *arg) {
    const AttentionThread *r = arg;
    Attention *t = r->t;
    const KvShape *s = &t->a.kv;
    kv_store(th, s, t->a.off, t->span, t->n_spans, t->k, s->heads * s->dk, s->v_of_k ? NULL : t->v,
             s->heads * s->dv);
    attend(th, t->o, t->a.heads * s->dv, t->lse, t->q, t->a.heads * s->dk, &t->a, t->span,
           t->n_spans, r->work);
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
