/* kv.h -- private to kern/: where keys and values lie in a page. A layer's part begins at `off`; in
 * it every kv head has two chunks of 64 keys, each with 4 panels of K (outputs = keys, dk summed)
 * and then the panels of V (outputs = dv, the 64 keys summed), unless V is read out of K. Also
 * what both directions of attention share. */
#pragma once
#include "kern/pack.h"

static inline Layout kv_layout(const KvShape *s) {
    return s->type == DTYPE_F32 ? LAYOUT_F32 : LAYOUT_BF16;
}
static inline int64_t k_bytes(const KvShape *s) {
    return CHUNK / PANEL * panel_stride(kv_layout(s), s->dk);
}
static inline int64_t v_bytes(const KvShape *s) {
    return panels_of(s->dv) * panel_stride(kv_layout(s), CHUNK);
}

/* K of the chunk that holds position pos; V follows it. */
static inline uint8_t *chunk_at(const KvShape *s, int64_t off, const Span *span, int64_t pos,
                                int64_t head) {
    int64_t chunk = k_bytes(s) + (s->v_of_k ? 0 : v_bytes(s));
    return (uint8_t *)span->pages[pos / PAGE] + off
           + (head * (PAGE / CHUNK) + pos % PAGE / CHUNK) * chunk;
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
