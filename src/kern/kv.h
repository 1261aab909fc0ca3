/* kv.h -- private to kern/: where keys and values lie in a page. A stream begins at its `off`;
 * every head has two chunks of 64 entries. A chunk of keys is 4 panels (outputs = keys, width
 * summed), one of values as many as the width takes (outputs = width, the 64 entries summed). Also
 * what both directions of attention share. */
#pragma once
#include "kern/pack.h"

static inline Layout stream_layout(const KvStream *s) {
    return s->type == DTYPE_F32 ? LAYOUT_F32 : LAYOUT_BF16;
}
static inline int64_t values_bytes(const KvStream *s) {
    return panels_of(s->width) * panel_stride(stream_layout(s), CHUNK);
}
/* A chunk of one head in its page. */
static inline int64_t chunk_bytes(const KvStream *s) {
    return s->form == KV_KEYS     ? CHUNK / PANEL * panel_stride(stream_layout(s), s->width)
           : s->form == KV_VALUES ? values_bytes(s)
                                  : 0;
}

/* The chunk that holds position pos. */
static inline uint8_t *chunk_at(const KvStream *s, const Span *span, int64_t pos, int64_t head) {
    return (uint8_t *)span->pages[pos / PAGE] + s->off
           + (head * (PAGE / CHUNK) + pos % PAGE / CHUNK) * chunk_bytes(s);
}

/* What attention is asked for is what it can do. */
static inline void attend_check(const Attend *a) {
    CHECK(a->k.form == KV_KEYS && a->v.form != KV_KEYS && a->k.tokens == 1 && a->v.tokens == 1);
    CHECK(a->k.window == 0 && a->v.window == 0);
    CHECK(a->k.type == a->v.type && a->k.heads == a->v.heads && a->heads % a->k.heads == 0);
    CHECK(a->v.form != KV_PREFIX || a->v.width <= a->k.width);
}

/* The next bytes of a thread's work memory; NULL while only its size is asked for. */
static inline void *scratch_take(uint8_t *base, int64_t *at, int64_t bytes) {
    void *p = base ? base + *at : NULL;
    *at += round_up(bytes, 64);
    return p;
}

/* One row of f32 or bf16, packed for a product: its bytes, and itself. */
static inline int64_t row_bytes(Layout layout, int64_t k) {
    return layout == LAYOUT_F32 ? k * 4 : round_up(k, TILE_K) * 2;
}
static inline void row_put(void *out, Layout layout, const float *x, int64_t k) {
    if (layout == LAYOUT_F32)
        memcpy(out, x, (size_t)k * 4);
    else
        kern.rows_bf16(out, x, k);
}

/* Dense packed rows by panels, f32 or bf16. */
static inline void gemm(Layout layout, float *y, int64_t ldy, const void *x, int64_t n,
                        const void *w, int64_t m, int64_t k, StoreMode mode) {
    if (layout == LAYOUT_F32)
        kern.gemm_f32(y, ldy, x, k, n, w, m, k, mode);
    else
        kern.gemm_bf16(y, ldy, x, n, w, m, k, mode);
}
