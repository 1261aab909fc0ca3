/* kv.c -- keys and values into their pages, rounded once, in the form in which attention multiplies them. */
#include "kern/kv.h"

int64_t kv_bytes(const KvShape *s) {
    return s->heads * (PAGE / CHUNK) * (k_bytes(s) + (s->v_of_k ? 0 : v_bytes(s)));
}

enum { PIECE = 256 };

/* One key is one column of one panel. */
static void key_put(uint8_t *chunk, const KvShape *s, int64_t key, const float *k) {
    uint32_t *panel = (uint32_t *)(void *)(chunk + key / PANEL * panel_stride(kv_pack(s), s->dk)) + key % PANEL;
    if (s->type == DTYPE_F32) {
        for (int64_t i = 0; i < s->dk; i++) panel[i * PANEL] = bits_of_f32(k[i]);
        return;
    }
    for (int64_t k0 = 0; k0 < s->dk; k0 += PIECE) {
        _Alignas(64) uint16_t h[PIECE];
        int64_t n = MIN(s->dk - k0, PIECE);
        kern.rows_bf16(h, k + k0, n);
        for (int64_t d = 0; d < round_up(n, TILE_K) / 2; d++) memcpy(panel + (k0 / 2 + d) * PANEL, h + 2 * d, 4);
    }
}

/* One value is one number of the summed index in every panel. */
static void value_put(uint8_t *panels, const KvShape *s, int64_t key, const float *v) {
    int64_t stride = panel_stride(kv_pack(s), CHUNK), at = pair_at(kern.natural, key);
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

static void position_put(const KvShape *s, int64_t off, const Span *span, int64_t pos, int64_t head, const float *k,
                         const float *v) {
    uint8_t *chunk = chunk_at(s, off, span, pos, head);
    key_put(chunk, s, pos % CHUNK, k);
    if (!s->v_of_k) value_put(chunk + k_bytes(s), s, pos % CHUNK, v);
}

void kv_store(Lane l, const KvShape *s, int64_t off, const Span *span, int64_t n_spans, const float *k, int64_t ldk,
              const float *v, int64_t ldv) {
    int64_t total = 0, start = 0;
    for (int64_t i = 0; i < n_spans; i++) total += span[i].n * s->heads;
    Range r = lane_range(l, total);
    for (int64_t i = 0; i < n_spans; i++) {
        const Span *p = span + i;
        int64_t end = start + p->n * s->heads;
        for (int64_t at = MAX(r.lo, start); at < MIN(r.hi, end); at++) {
            int64_t row = (at - start) / s->heads, head = (at - start) % s->heads;
            const float *vh = s->v_of_k ? NULL : v + (p->row + row) * ldv + head * s->dv;
            position_put(s, off, p, p->pos + row, head, k + (p->row + row) * ldk + head * s->dk, vh);
        }
        start = end;
    }
    lane_sync(l);
}
