/* kv.h -- private to kern/: where keys and values lie in a page. A layer's part begins at `off`; in it every kv head
 * has two chunks of 64 keys, each with 4 panels of K (outputs = keys, dk summed) and then the panels of V (outputs =
 * dv, the 64 keys summed), unless V is read out of K. */
#pragma once
#include "kern/pack.h"

static inline Pack kv_pack(const KvShape *s) { return s->type == DTYPE_F32 ? PACK_F32 : PACK_BF16; }
static inline int64_t k_bytes(const KvShape *s) { return CHUNK / PANEL * panel_stride(kv_pack(s), s->dk); }
static inline int64_t v_bytes(const KvShape *s) { return panels_of(s->dv) * panel_stride(kv_pack(s), CHUNK); }

/* K of the chunk that holds position pos; V follows it. */
static inline uint8_t *chunk_at(const KvShape *s, int64_t off, const Span *span, int64_t pos, int64_t head) {
    int64_t chunk = k_bytes(s) + (s->v_of_k ? 0 : v_bytes(s));
    return (uint8_t *)span->pages[pos / PAGE] + off + (head * (PAGE / CHUNK) + pos % PAGE / CHUNK) * chunk;
}
