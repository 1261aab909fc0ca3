/* pack.c -- bytes of a file -> panels of weights, rows of f32 -> rows for a product. What a number
 * becomes is written in docs/contract.md 3; where it is put, in kern/table.h. Nothing here changes
 * bits but those roundings. */
#include "kern/pack.h"
#include <math.h>

const char *act_name(Act a) {
    static const char *const name[] = {"f32", "a16", "a8"};
    return name[a];
}

Pack pack_of(Act act, DType type) {
    if (act == ACT_F32) return PACK_F32;
    if (act == ACT_A8 && type == DTYPE_Q4_1) return PACK_Q4_1;
    if (act == ACT_A8 && type == DTYPE_Q8_0) return PACK_Q8_0;
    return PACK_BF16;
}

enum { Q4_1_PANEL = 320, Q8_0_PANEL = 544 }; /* bytes of 32 of k in a panel */

int64_t panel_stride(Pack pack, int64_t k) {
    switch (pack) {
    case PACK_F32: return k * PANEL * 4;
    case PACK_BF16: return round_up(k, TILE_K) * PANEL * 2;
    case PACK_Q4_1: return k / 32 * Q4_1_PANEL;
    case PACK_Q8_0: return k / 32 * Q8_0_PANEL;
    default: CHECK(!"a product has a pack"); return 0;
    }
}

int64_t panel_bytes(Pack pack, int64_t rows, int64_t cols) {
    return panels_of(rows) * panel_stride(pack, cols);
}

/* ---- numbers of a file ----------------------------------------------------------------------- */

static uint16_t u16_at(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* Q4_1: f16 d, f16 m, 16 bytes whose low nibbles are numbers 0..15 and high nibbles 16..31. */
static void widen_q4_1(float *out, const uint8_t *p, int64_t n) {
    for (; n > 0; n -= 32, p += 20, out += 32) {
        float d = f32_of_f16(u16_at(p)), m = f32_of_f16(u16_at(p + 2));
        for (int i = 0; i < 16; i++) {
            out[i] = fmaf(d, (float)(p[4 + i] & 15), m);
            out[16 + i] = fmaf(d, (float)(p[4 + i] >> 4), m);
        }
    }
}

/* Q8_0: f16 d, 32 int8. */
static void widen_q8_0(float *out, const uint8_t *p, int64_t n) {
    for (; n > 0; n -= 32, p += 34, out += 32) {
        float d = f32_of_f16(u16_at(p));
        for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)p[2 + i];
    }
}

/* Numbers k0..k0+n-1 of row r of matrix i; borders of blocks where the type has blocks. */
static void widen(float *out, const Weight *w, int64_t i, int64_t r, int64_t k0, int64_t n) {
    const uint8_t *p = (const uint8_t *)w->row + dtype_bytes(w->type, w->cols) * (i * w->rows + r)
                       + dtype_bytes(w->type, k0);
    switch (w->type) {
    case DTYPE_F32: memcpy(out, p, (size_t)n * 4); break;
    case DTYPE_F16:
        for (int64_t k = 0; k < n; k++) out[k] = f32_of_f16(u16_at(p + 2 * k));
        break;
    case DTYPE_BF16:
        for (int64_t k = 0; k < n; k++) out[k] = f32_of_bf16(u16_at(p + 2 * k));
        break;
    case DTYPE_Q4_1: widen_q4_1(out, p, n); break;
    case DTYPE_Q8_0: widen_q8_0(out, p, n); break;
    default: CHECK(!"a weight is F32, F16, BF16, Q4_1 or Q8_0");
    }
}

void weight_row(float *out, const Weight *w, int64_t i, int64_t r) {
    widen(out, w, i, r, 0, w->cols);
}

/* ---- the two ways into a panel --------------------------------------------------------------- */

enum { PIECE = 256 }; /* numbers of k at a time, so that all stays in L1 */

static void zero_columns(uint32_t *panel, int64_t m, int64_t dwords) {
    for (int64_t d = 0; d < dwords && m < PANEL; d++)
        memset(panel + d * PANEL + m, 0, (size_t)(PANEL - m) * 4);
}

void panel_transpose(uint8_t *panel, Pack pack, const float *x, int64_t ld, int64_t m, int64_t k0,
                     int64_t n) {
    _Alignas(64) uint16_t h[PANEL][PIECE];
    uint32_t *out = (uint32_t *)(void *)panel;
    if (pack == PACK_F32) {
        kern.transpose(out + k0 * PANEL, PANEL, (const uint32_t *)(const void *)x, ld, m, n);
        zero_columns(out + k0 * PANEL, m, n);
        return;
    }
    for (int64_t k = 0; k < n; k += PIECE) {
        int64_t wide = MIN(n - k, PIECE), dwords = round_up(wide, TILE_K) / 2;
        uint32_t *to = out + (k0 + k) / 2 * PANEL;
        for (int64_t r = 0; r < m; r++) kern.rows_bf16(h[r], x + r * ld + k, wide);
        kern.transpose(to, PANEL, (const uint32_t *)(const void *)h, PIECE / 2, m, dwords);
        zero_columns(to, m, dwords);
    }
}

void panel_rows(uint8_t *panel, Pack pack, const float *x, int64_t ld, int64_t m, int64_t k0,
                int64_t n) {
    if (pack == PACK_BF16) {
        kern.panel_bf16((uint16_t *)(void *)panel + k0 * PANEL, x, ld, m, n);
        return;
    }
    float *to = (float *)(void *)panel + k0 * PANEL;
    for (int64_t k = 0; k < n; k++) memcpy(to + k * PANEL, x + k * ld, (size_t)m * 4);
    zero_columns((uint32_t *)(void *)to, m, n);
}

/* ---- panels of W: 16 rows of the file -------------------------------------------------------- */

static void panel_of_rows(uint8_t *out, Pack pack, const Weight *w, int64_t i, int64_t r0) {
    _Alignas(64) float x[PANEL][PIECE];
    int64_t m = MIN(w->rows - r0, PANEL);
    for (int64_t k = 0; k < w->cols; k += PIECE) {
        int64_t n = MIN(w->cols - k, PIECE);
        for (int64_t r = 0; r < m; r++) widen(x[r], w, i, r0 + r, k, n);
        panel_transpose(out, pack, x[0], PIECE, m, k, n);
    }
}

/* The quantised panels move bytes only. Rows that are not there: scales of +0. */
static void panel_of_q4_1(uint8_t *out, const uint8_t *row, int64_t blocks, int64_t m) {
    memset(out, 0, (size_t)(blocks * Q4_1_PANEL));
    for (int64_t r = 0; r < m; r++)
        for (int64_t b = 0; b < blocks; b++) {
            const uint8_t *from = row + (r * blocks + b) * 20;
            uint8_t *to = out + b * Q4_1_PANEL;
            for (int64_t g = 0; g < 4; g++) memcpy(to + g * 64 + r * 4, from + 4 + 4 * g, 4);
            memcpy(to + 256 + 2 * r, from, 2);
            memcpy(to + 288 + 2 * r, from + 2, 2);
        }
}

static void panel_of_q8_0(uint8_t *out, const uint8_t *row, int64_t blocks, int64_t m) {
    memset(out, 0, (size_t)(blocks * Q8_0_PANEL));
    for (int64_t r = 0; r < m; r++)
        for (int64_t b = 0; b < blocks; b++) {
            const uint8_t *from = row + (r * blocks + b) * 34;
            uint8_t *to = out + b * Q8_0_PANEL;
            for (int64_t k = 0; k < 32; k++) to[k / 4 * 64 + r * 4 + k % 4] = from[2 + k] ^ 0x80;
            memcpy(to + 512 + 2 * r, from, 2);
        }
}

static void panel_pack(uint8_t *out, Pack pack, const Weight *w, int64_t i, int64_t r0) {
    const uint8_t *row =
        (const uint8_t *)w->row + dtype_bytes(w->type, w->cols) * (i * w->rows + r0);
    int64_t m = MIN(w->rows - r0, PANEL);
    if (pack == PACK_Q4_1)
        panel_of_q4_1(out, row, w->cols / 32, m);
    else if (pack == PACK_Q8_0)
        panel_of_q8_0(out, row, w->cols / 32, m);
    else
        panel_of_rows(out, pack, w, i, r0);
}

void weight_pack(Thread th, void *tile, Pack pack, const Weight *w, int64_t lo, int64_t hi) {
    CHECK(w->row && (pack != PACK_Q4_1 || w->type == DTYPE_Q4_1)
          && (pack != PACK_Q8_0 || w->type == DTYPE_Q8_0));
    int64_t panels = panels_of(w->rows), stride = panel_stride(pack, w->cols);
    Range r = thread_range(th, (hi - lo) * panels);
    for (int64_t at = lo * panels + r.lo; at < lo * panels + r.hi; at++)
        panel_pack((uint8_t *)tile + at * stride, pack, w, at / panels, at % panels * PANEL);
    thread_sync(th);
}

/* ---- panels of W transposed: 16 columns of the file ------------------------------------------ */

enum { STRIP = 64 }; /* columns at a time: a whole number of blocks and of panels */

static void strip_pack_t(uint8_t *out, Pack pack, const Weight *w, int64_t i, int64_t c0) {
    _Alignas(64) float x[STRIP][STRIP];
    int64_t cols = MIN(w->cols - c0, STRIP), stride = panel_stride(pack, w->rows);
    for (int64_t r0 = 0; r0 < w->rows; r0 += STRIP) {
        int64_t rows = MIN(w->rows - r0, STRIP);
        for (int64_t r = 0; r < rows; r++) widen(x[r], w, i, r0 + r, c0, cols);
        for (int64_t c = 0; c < cols; c += PANEL)
            panel_rows(out + c / PANEL * stride, pack, x[0] + c, STRIP, MIN(cols - c, PANEL), r0,
                       rows);
    }
}

void weight_pack_t(Thread th, void *tile_t, Pack pack, const Weight *w, int64_t lo, int64_t hi) {
    CHECK(w->row && (pack == PACK_F32 || pack == PACK_BF16));
    int64_t strips = (w->cols + STRIP - 1) / STRIP, stride = panel_stride(pack, w->rows);
    Range r = thread_range(th, (hi - lo) * strips);
    for (int64_t at = lo * strips + r.lo; at < lo * strips + r.hi; at++) {
        int64_t i = at / strips, c0 = at % strips * STRIP;
        strip_pack_t((uint8_t *)tile_t + (i * panels_of(w->cols) + c0 / PANEL) * stride, pack, w, i,
                     c0);
    }
    thread_sync(th);
}

Weight weight_t(const Weight *w) {
    Weight t = *w;
    t.row = NULL;
    t.rows = w->cols, t.cols = w->rows;
    t.pack = w->pack_t, t.pack_t = w->pack;
    t.tile = w->tile_t, t.tile_t = w->tile;
    return t;
}

/* ---- rows of activations --------------------------------------------------------------------- */

/* int8 rows: q (n, k), then d, s and sum (n, k/32) each. k is a multiple of 32, so all are 4-byte
 * aligned. */
int64_t rows_bytes(Pack pack, int64_t n, int64_t k) {
    switch (pack) {
    case PACK_F32: return round_up(n * k * 4, 64);
    case PACK_BF16: return round_up(n * round_up(k, TILE_K) * 2, 64);
    default: return round_up(n * k + 3 * n * (k / 32) * 4, 64);
    }
}

A8 a8_rows(const Rows *r, int64_t row) {
    int64_t blocks = r->k / 32;
    int8_t *q = r->p;
    float *d = (float *)(void *)(q + r->n * r->k), *s = d + r->n * blocks;
    int32_t *sum = (int32_t *)(void *)(s + r->n * blocks);
    return (A8){q + row * r->k, d + row * blocks, s + row * blocks, sum + row * blocks};
}

static void row_pack(const Rows *r, int64_t i, const float *x) {
    if (r->pack == PACK_F32) {
        memcpy((float *)r->p + i * r->k, x, (size_t)r->k * 4);
    } else if (r->pack == PACK_BF16) {
        kern.rows_bf16((uint16_t *)r->p + i * round_up(r->k, TILE_K), x, r->k);
    } else {
        A8 a = a8_rows(r, i);
        kern.rows_a8(a.q, a.d, a.s, a.sum, x, r->k);
    }
}

void rows_gather(Thread th, Rows *r, Pack pack, const float *x, const int32_t *index, int64_t n,
                 int64_t k, int64_t ld, void *mem) {
    bool a8 = pack == PACK_Q4_1 || pack == PACK_Q8_0;
    CHECK(pack != PACK_NONE && (!a8 || k % 32 == 0));
    *r = (Rows){a8 ? PACK_Q8_0 : pack, n, k, k, mem, mem};
    Range range = thread_range(th, n);
    for (int64_t i = range.lo; i < range.hi; i++) row_pack(r, i, x + (index ? index[i] : i) * ld);
    thread_sync(th);
}

void rows_pack(Thread th, Rows *r, Pack pack, const float *x, int64_t n, int64_t k, int64_t ld,
               void *mem) {
    if (pack == PACK_F32)
        *r = (Rows){PACK_F32, n, k, ld, x, NULL};
    else
        rows_gather(th, r, pack, x, NULL, n, k, ld, mem);
}
