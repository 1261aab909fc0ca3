/* kv.c -- keys and values into their pages, rounded once, in the form in which attention multiplies
 * them. */
#include "kern/kv.h"

int64_t kv_bytes(const KvShape *s) {
    return s->heads * (PAGE / CHUNK) * (k_bytes(s) + (s->v_of_k ? 0 : v_bytes(s)));
}

enum { PIECE = 256 };

/* One key is one column of one panel. */
static void key_put(uint8_t *chunk, const KvShape *s, int64_t key, const float *k) {
    uint32_t *panel =
        (uint32_t *)(void *)(chunk + key / PANEL * panel_stride(kv_layout(s), s->dk)) + key % PANEL;
    if (s->type == DTYPE_F32) {
        for (int64_t i = 0; i < s->dk; i++) panel[i * PANEL] = bits_of_f32(k[i]);
        return;
    }
    for (int64_t k0 = 0; k0 < s->dk; k0 += PIECE) {
        _Alignas(64) uint16_t h[PIECE];
        int64_t n = MIN(s->dk - k0, PIECE);
        kern.rows_bf16(h, k + k0, n);
        for (int64_t d = 0; d < round_up(n, TILE_K) / 2; d++)
            memcpy(panel + (k0 / 2 + d) * PANEL, h + 2 * d, 4);
    }
}

/* One value is one number of the summed index in every panel. */
static void value_put(uint8_t *panels, const KvShape *s, int64_t key, const float *v) {
    int64_t stride = panel_stride(kv_layout(s), CHUNK), at = pair_at(kern.pairs_in_order, key);
    for (int64_t j = 0; j < s->dv; j += PANEL, panels += stride) {
        int64_t m = MIN(s->dv - j, PANEL);
        if (s->type == DTYPE_F32) {
            memcpy(panels + key * PANEL * 4, v + j, (size_t)m * 4);
        } else {
            uint16_t *to = (uint16_t *)(void *)panels + at / 2 * PANEL * 2 + at % 2;
            for (int64_t i = 0; i < m; i++) to[2 * i] = bf16_of_f32(v[j + i]);
        }
    }
}

/* Keys key0..key0+n-1 of one chunk. Where they fill a panel of K, or 32 of the summed index of V,
 * they go in at once. */
static void chunk_put(const KvShape *s, uint8_t *chunk, int64_t key0, int64_t n, const float *k,
                      int64_t ldk, const float *v, int64_t ldv) {
    Layout layout = kv_layout(s);
    for (int64_t i = 0, step; i < n; i += step) {
        int64_t key = key0 + i;
        step = key % PANEL == 0 && n - i >= PANEL ? PANEL : 1;
        if (step == 1)
            key_put(chunk, s, key, k + i * ldk);
        else
            panel_transpose(chunk + key / PANEL * panel_stride(layout, s->dk), layout, k + i * ldk,
                            ldk, PANEL, 0, s->dk);
    }
    uint8_t *panels = chunk + k_bytes(s);
    for (int64_t i = 0, step; i < n && !s->v_of_k; i += step) {
        int64_t key = key0 + i, stride = panel_stride(layout, CHUNK);
        step = key % TILE_K == 0 && n - i >= TILE_K ? TILE_K : 1;
        if (step == 1) value_put(panels, s, key, v + i * ldv);
        for (int64_t j = 0; j < s->dv && step > 1; j += PANEL)
            panel_rows(panels + j / PANEL * stride, layout, v + i * ldv + j, ldv,
                       MIN(s->dv - j, PANEL), key, TILE_K);
    }
}

/* A piece is what a span puts into one chunk of one head. */
static int64_t span_pieces(const Span *p, int64_t heads) {
    return p->n ? ((p->pos + p->n - 1) / CHUNK - p->pos / CHUNK + 1) * heads : 0;
}

void kv_store(Thread th, const KvShape *s, int64_t off, const Span *span, int64_t n_spans,
              const float *k, int64_t ldk, const float *v, int64_t ldv) {
    int64_t pieces = 0, start = 0;
    for (int64_t i = 0; i < n_spans; i++) pieces += span_pieces(span + i, s->heads);
    Range r = thread_range(th, pieces);
    for (int64_t i = 0; i < n_spans; i++) {
        const Span *p = span + i;
        int64_t end = start + span_pieces(p, s->heads);
        for (int64_t at = MAX(r.lo, start); at < MIN(r.hi, end); at++) {
            int64_t head = (at - start) % s->heads, c = p->pos / CHUNK + (at - start) / s->heads;
            int64_t lo = MAX(c * CHUNK, p->pos), hi = MIN((c + 1) * CHUNK, p->pos + p->n),
                    row = p->row + lo - p->pos;
            const float *vh = s->v_of_k ? NULL : v + row * ldv + head * s->dv;
            chunk_put(s, chunk_at(s, off, p, lo, head), lo % CHUNK, hi - lo,
                      k + row * ldk + head * s->dk, ldk, vh, ldv);
        }
        start = end;
    }
    thread_sync(th);
}
