/* kv.c -- stores keys and values in their pages, rounded once, in the layout in which attention
 * multiplies them.
 *
 * Keys are the outputs of q K^T, so 16 keys make a panel over the head's width; values are summed
 * over in p V, so 16 numbers of the width make a panel over the keys. What is written into a page
 * once is never written again but at its end, and reads as it was written: a hit in the prefix
 * cache is the same bytes. */
#include "kern/kv.h"

int64_t kv_bytes(const KvStream *s) {
    CHECK(s->tokens == 1 && (s->type == DTYPE_F32 || s->type == DTYPE_BF16));
    return s->heads * (PAGE / CHUNK) * chunk_bytes(s);
}

enum { PIECE = 256 };

/* One key is one column of one panel. */
static void key_put(uint8_t *chunk, const KvStream *s, int64_t key, const float *k) {
    uint32_t *panel =
        (uint32_t *)(void *)(chunk + key / PANEL * panel_stride(stream_layout(s), s->width))
        + key % PANEL;
    if (s->type == DTYPE_F32) {
        for (int64_t i = 0; i < s->width; i++) panel[i * PANEL] = bits_of_f32(k[i]);
        return;
    }
    for (int64_t k0 = 0; k0 < s->width; k0 += PIECE) {
        _Alignas(64) uint16_t h[PIECE];
        int64_t n = MIN(s->width - k0, PIECE);
        kern.rows_bf16(h, k + k0, n);
        for (int64_t d = 0; d < round_up(n, TILE_K) / 2; d++)
            memcpy(panel + (k0 / 2 + d) * PANEL, h + 2 * d, 4);
    }
}

/* One value is one number of the summed index in every panel. */
static void value_put(uint8_t *panels, const KvStream *s, int64_t key, const float *v) {
    int64_t stride = panel_stride(stream_layout(s), CHUNK), at = pair_at(kern.pairs_in_order, key);
    for (int64_t j = 0; j < s->width; j += PANEL, panels += stride) {
        int64_t m = MIN(s->width - j, PANEL);
        if (s->type == DTYPE_F32) {
            memcpy(panels + key * PANEL * 4, v + j, (size_t)m * 4);
        } else {
            uint16_t *to = (uint16_t *)(void *)panels + at / 2 * PANEL * 2 + at % 2;
            for (int64_t i = 0; i < m; i++) to[2 * i] = bf16_of_f32(v[j + i]);
        }
    }
}

/* Entries e0..e0+n-1 of one chunk of keys. Where they fill a panel they go in at once. */
static void keys_put(const KvStream *s, uint8_t *chunk, int64_t e0, int64_t n, const float *x,
                     int64_t ldx) {
    int64_t stride = panel_stride(stream_layout(s), s->width);
    for (int64_t i = 0, step; i < n; i += step) {
        int64_t key = e0 + i;
        step = key % PANEL == 0 && n - i >= PANEL ? PANEL : 1;
        if (step == 1)
            key_put(chunk, s, key, x + i * ldx);
        else
            panel_transpose(chunk + key / PANEL * stride, stream_layout(s), x + i * ldx, ldx, PANEL,
                            0, s->width);
    }
}

/* The same of values, 32 of the summed index at once. */
static void values_put(const KvStream *s, uint8_t *chunk, int64_t e0, int64_t n, const float *x,
                       int64_t ldx) {
    int64_t stride = panel_stride(stream_layout(s), CHUNK);
    for (int64_t i = 0, step; i < n; i += step) {
        int64_t key = e0 + i;
        step = key % TILE_K == 0 && n - i >= TILE_K ? TILE_K : 1;
        if (step == 1) value_put(chunk, s, key, x + i * ldx);
        for (int64_t j = 0; j < s->width && step > 1; j += PANEL)
            panel_rows(chunk + j / PANEL * stride, stream_layout(s), x + i * ldx + j, ldx,
                       MIN(s->width - j, PANEL), key, TILE_K);
    }
}

/* A piece is what a span puts into one chunk of one head: rows row.. of the batch are entries
 * pos.., n of them. */
typedef struct Piece {
    int64_t head, row, pos, n;
} Piece;

static int64_t span_pieces(const Span *p, int64_t heads) {
    return p->n ? ((p->pos + p->n - 1) / CHUNK - p->pos / CHUNK + 1) * heads : 0;
}

static Piece piece_of(const Span *p, int64_t heads, int64_t i) {
    int64_t chunk = (p->pos / CHUNK + i / heads) * CHUNK, pos = MAX(chunk, p->pos);
    return (Piece){i % heads, p->row + pos - p->pos, pos, MIN(chunk + CHUNK, p->pos + p->n) - pos};
}

static void piece_put(const KvStream *s, const Span *span, const Piece *p, const float *x,
                      int64_t ldx) {
    (s->form == KV_KEYS ? keys_put : values_put)(s, chunk_at(s, span, p->pos, p->head),
                                                 p->pos % CHUNK, p->n,
                                                 x + p->row * ldx + p->head * s->width, ldx);
}

/* The pieces of all spans are shared out. No two of them write the same chunk of a head. */
static Range pieces_of(Thread th, int64_t heads, const Span *span, int64_t n_spans) {
    int64_t pieces = 0;
    for (int64_t i = 0; i < n_spans; i++) pieces += span_pieces(span + i, heads);
    return thread_range(th, pieces);
}

void kv_store(Thread th, const KvStream *s, const Span *span, int64_t n_spans, const float *x,
              int64_t ldx) {
    CHECK(s->form != KV_PREFIX && s->tokens == 1);
    Range r = pieces_of(th, s->heads, span, n_spans);
    for (int64_t i = 0, start = 0, n; i < n_spans; i++, start += n) {
        n = span_pieces(span + i, s->heads);
        for (int64_t at = MAX(r.lo - start, 0); at < MIN(r.hi - start, n); at++) {
            Piece p = piece_of(span + i, s->heads, at);
            piece_put(s, span + i, &p, x, ldx);
        }
    }
    thread_sync(th);
}

/* A head's numbers of the next rows are far apart, where the CPU does not foresee them. */
enum { ROWS_AHEAD = 6 };
static void head_ahead(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(x + i);
}

/* k's head of a piece, and the heads of q that share it. */
static void piece_rope(const Attend *a, const Piece *p, float *qkv, int64_t ld, int64_t half,
                       bool pairs, const float *cos, const float *sin) {
    int64_t dk = a->k.width, group = a->heads / a->k.heads;
    for (int64_t i = p->row; i < p->row + p->n; i++) {
        const int64_t ahead = MIN(i + ROWS_AHEAD, p->row + p->n - 1) * ld;
        head_ahead(qkv + ahead + p->head * group * dk, group * dk);
        head_ahead(qkv + ahead + (a->heads + p->head) * dk, dk);
        float *q = qkv + i * ld + p->head * group * dk;
        float *k = qkv + i * ld + (a->heads + p->head) * dk;
        kern.rope(k, half, pairs, false, cos + i * half, sin + i * half);
        for (int64_t h = 0; h < group; h++)
            kern.rope(q + h * dk, half, pairs, false, cos + i * half, sin + i * half);
    }
}

/* rope and both stores in one, since a key is read once then: in decoding each of the three alone
 * would be shorter than the joining of the threads after it. */
void kv_store_rope(Thread th, const Attend *a, const Span *span, int64_t n_spans, float *qkv,
                   int64_t ld, int64_t half, bool pairs, const float *cos, const float *sin) {
    const int64_t heads = a->k.heads;
    const float *k = qkv + a->heads * a->k.width, *v = k + heads * a->k.width;
    attend_check(a);
    CHECK(a->v.form == KV_VALUES);
    Range r = pieces_of(th, heads, span, n_spans);
    for (int64_t i = 0, start = 0, n; i < n_spans; i++, start += n) {
        n = span_pieces(span + i, heads);
        for (int64_t at = MAX(r.lo - start, 0); at < MIN(r.hi - start, n); at++) {
            Piece p = piece_of(span + i, heads, at);
            piece_rope(a, &p, qkv, ld, half, pairs, cos, sin);
            piece_put(&a->k, span + i, &p, k, ld);
            piece_put(&a->v, span + i, &p, v, ld);
        }
    }
    thread_sync(th);
}
