/* attend_back.c -- the gradients of causal attention over documents that start at position 0
 * (docs/contract.md 6).
 *
 * With S = scale Q K^T, P = exp(S - lse), D = rowsum(dO O):
 *     dV = P^T dO    dP = dO V^T    dS = P (dP - D) scale    dQ = dS K    dK = dS^T Q
 * (FlashAttention-2, arXiv 2307.08691, algorithm 2.) One thread does a kv head of a document: head
 * after head of its group, chunk after chunk of 64 keys, block after block of 64 query rows.
 * Everything is held transposed, [key][row]: then P^T and dS^T are rows of the products for dV and
 * dK as they come, and panels of the one for dQ^T, and nothing is transposed in the inner loop.
 * Sums over keys and rows go on from tile to tile with STORE_CONTINUE. */
#include "kern/kv.h"

enum { SIDE = CHUNK }; /* keys and query rows of a tile */

/* Which operand is rows and which is panels in each product:
 *     S^T  = K (rows) Q (panels)        dP^T = V (rows) dO (panels)       over the head's width
 *     dV   = P^T (rows) dO (panels_t)   dK   = dS^T (rows) Q (panels_t)   over the query rows
 *     dQ^T = K^T (rows) dS (panels_t)                                     over the keys */

/* One thread's work memory: a document in packed form, by chunks of 64 keys or blocks of 64 rows,
 * and the tile. */
typedef struct Scratch {
    uint8_t *k, *v;                     /* rows: (64, dk) and (64, dv) a chunk */
    uint8_t *kt;                        /* rows: (dk, 64) a chunk */
    uint8_t *q, *g;                     /* panels of Q and of dO: outputs = the rows */
    uint8_t *qt, *gt;                   /* the same: outputs = dk, dv; the rows summed */
    float *dq;                          /* dQ^T: (dk, 64) a block, the current part */
    float *lse, *D;                     /* (T) */
    float *s, *dp;                      /* the tile, [key][row]: S, then P; dP, then dS */
    uint8_t *rows, *panels;             /* P or dS packed */
    float *x;                           /* (64, max(dk, dv)): V widened, dQ transposed back */
    uint16_t *keys_summed;              /* K with the keys summed */
    float *dk, *dv, *dk_part, *dv_part; /* (64, dk), (64, dv): of the chunk */
} Scratch;

typedef struct Job {
    const Attend *a;
    Layout layout;
    const Span *span;
    int64_t T, kv_head, head;        /* rows of the document; the heads at work */
    const float *q, *o, *grad, *lse; /* of the batch, dense */
    float *dq, *dk, *dv;
} Job;

/* The last chunk, or block, of a document may be shorter than the others. */
static int64_t sides_of(int64_t n) { return (n + SIDE - 1) / SIDE; }
static int64_t side_length(const Job *j, int64_t c) { return MIN(j->T - c * SIDE, SIDE); }

/* Lays out a scratch for documents of up to max_rows rows; returns its size. */
static int64_t scratch_make(Scratch *d, const Attend *a, int64_t max_rows, uint8_t *base) {
    Layout layout = stream_layout(&a->k);
    int64_t n = sides_of(max_rows), at = 0, dk = a->k.width, dv = a->v.width;
    d->k = scratch_take(base, &at, n * SIDE * row_bytes(layout, dk));
    d->v = scratch_take(base, &at, n * SIDE * row_bytes(layout, dv));
    d->kt = scratch_take(base, &at, n * dk * row_bytes(layout, SIDE));
    d->q = scratch_take(base, &at, n * panel_bytes(layout, SIDE, dk));
    d->g = scratch_take(base, &at, n * panel_bytes(layout, SIDE, dv));
    d->qt = scratch_take(base, &at, n * panel_bytes(layout, dk, SIDE));
    d->gt = scratch_take(base, &at, n * panel_bytes(layout, dv, SIDE));
    d->dq = scratch_take(base, &at, n * dk * SIDE * 4);
    d->lse = scratch_take(base, &at, n * SIDE * 4);
    d->D = scratch_take(base, &at, n * SIDE * 4);
    d->s = scratch_take(base, &at, SIDE * SIDE * 4);
    d->dp = scratch_take(base, &at, SIDE * SIDE * 4);
    d->rows = scratch_take(base, &at, SIDE * row_bytes(layout, SIDE));
    d->panels = scratch_take(base, &at, panel_bytes(layout, SIDE, SIDE));
    d->x = scratch_take(base, &at, SIDE * MAX(dk, dv) * 4);
    d->keys_summed = scratch_take(base, &at, panel_bytes(LAYOUT_BF16, dk, SIDE));
    d->dk = scratch_take(base, &at, SIDE * dk * 4);
    d->dv = scratch_take(base, &at, SIDE * dv * 4);
    d->dk_part = scratch_take(base, &at, SIDE * dk * 4);
    d->dv_part = scratch_take(base, &at, SIDE * dv * 4);
    return at;
}

int64_t attend_back_bytes(const Attend *a, int64_t max_rows) {
    Scratch d;
    return scratch_make(&d, a, max_rows, NULL);
}

/* ---- packing --------------------------------------------------------------------------------- */

/* n rows of k numbers as rows of a product. */
static void rows_put(uint8_t *out, Layout layout, const float *x, int64_t ld, int64_t n,
                     int64_t k) {
    for (int64_t i = 0; i < n; i++) row_put(out + i * row_bytes(layout, k), layout, x + i * ld, k);
}

/* The same as panels: outputs = the rows. */
static void panels_put(uint8_t *out, Layout layout, const float *x, int64_t ld, int64_t n,
                       int64_t k) {
    for (int64_t i = 0; i < n; i += PANEL, out += panel_stride(layout, k))
        panel_transpose(out, layout, x + i * ld, ld, MIN(n - i, PANEL), 0, k);
}

/* The same as panels: outputs = the k numbers, the rows summed. */
static void panels_put_t(uint8_t *out, Layout layout, const float *x, int64_t ld, int64_t n,
                         int64_t k) {
    for (int64_t i = 0; i < k; i += PANEL, out += panel_stride(layout, n))
        panel_rows(out, layout, x + i, ld, MIN(k - i, PANEL), 0, n);
}

/* ---- keys and values out of the pages -------------------------------------------------------- */

/* Panels of 16 columns and `rows` dwords -> dense rows, one for each of n columns. */
static void panels_transpose(uint8_t *out, const void *panels, int64_t stride, int64_t n,
                             int64_t rows) {
    for (int64_t i = 0; i < n; i += PANEL)
        kern.transpose(
            (uint32_t *)(void *)out + i * rows, rows,
            (const uint32_t *)(const void *)((const uint8_t *)panels + i / PANEL * stride), PANEL,
            rows, MIN(n - i, PANEL));
}

/* A key's word of 16 dwords, widened. The number of them is a constant, so that the compiler makes
 * vectors of them. */
static void words_widen(float out[PANEL], const uint32_t *dword, bool upper) {
    for (int k = 0; k < PANEL; k++)
        out[k] = f32_of_bits(upper ? dword[k] & 0xffff0000u : dword[k] << 16);
}

/* Values of one chunk as f32 rows (64, dv). A dword of bf16 holds two keys. */
static void values_widen(float *x, const KvStream *s, const uint8_t *panels) {
    int64_t stride = panel_stride(stream_layout(s), CHUNK);
    for (int64_t i = 0; i < s->width; i += PANEL, panels += stride) {
        int64_t m = MIN(s->width - i, PANEL);
        for (int64_t key = 0; key < CHUNK; key++) {
            int64_t at = pair_at(kern.pairs_in_order, key);
            const uint32_t *from = (const uint32_t *)(const void *)panels;
            if (s->type == DTYPE_F32)
                memcpy(x + key * s->width + i, from + key * PANEL, (size_t)m * 4);
            else {
                float wide[PANEL];
                words_widen(wide, from + at / 2 * PANEL, at % 2);
                memcpy(x + key * s->width + i, wide, (size_t)m * 4);
            }
        }
    }
}

/* The same as packed rows of bf16, where pairs are in order: a dword has a number of two keys. */
static void values_rows(uint16_t *out, const KvStream *s, const uint8_t *panels, int64_t n) {
    const int64_t kp = round_up(s->width, TILE_K), stride = panel_stride(LAYOUT_BF16, CHUNK);
    for (int64_t i = 0; i < s->width; i += PANEL, panels += stride)
        for (int64_t key = 0; key < n; key++) {
            const uint32_t *from = (const uint32_t *)(const void *)panels + key / 2 * PANEL;
            uint16_t word[PANEL];
            for (int c = 0; c < PANEL; c++) word[c] = (uint16_t)(from[c] >> key % 2 * 16);
            memcpy(out + key * kp + i, word, (size_t)MIN(s->width - i, PANEL) * 2);
        }
    for (int64_t key = 0; key < n && kp > s->width; key++)
        memset(out + key * kp + s->width, 0, (size_t)(kp - s->width) * 2);
}

/* Values of chunk c as rows, rounded: they are rounded in the page. */
static void values_load(const Job *j, const Scratch *d, int64_t c, const uint8_t *panels) {
    const KvStream *v = &j->a->v;
    const int64_t n = side_length(j, c);
    uint8_t *out = d->v + c * SIDE * row_bytes(j->layout, v->width);
    if (j->layout == LAYOUT_BF16 && kern.pairs_in_order) {
        values_rows((uint16_t *)(void *)out, v, panels, n);
        return;
    }
    values_widen(d->x, v, panels);
    rows_put(out, j->layout, d->x, v->width, n, v->width);
}

/* K by keys: the columns of its panels. K by numbers: f32 has them in its panels, bf16 pairs the
 * keys anew. */
static void keys_load(const Job *j, const Scratch *d, int64_t c, const uint8_t *k) {
    const KvStream *s = &j->a->k;
    int64_t n = side_length(j, c), dwords = row_bytes(j->layout, s->width) / 4,
            transposed = row_bytes(j->layout, n) / 4;
    uint8_t *kt = d->kt + c * s->width * row_bytes(j->layout, SIDE);
    panels_transpose(d->k + c * SIDE * dwords * 4, k, dwords * PANEL * 4, n, dwords);
    if (j->layout == LAYOUT_BF16) {
        kern.v_of_k(d->keys_summed, (const uint16_t *)(const void *)k, s->width, s->width);
        panels_transpose(kt, d->keys_summed, panel_stride(LAYOUT_BF16, CHUNK), s->width,
                         transposed);
        return;
    }
    const float *panels = (const float *)(const void *)k;
    for (int64_t i = 0; i < s->width; i++)
        for (int64_t key = 0; key < n; key += PANEL)
            memcpy((float *)(void *)kt + i * n + key, panels + key * s->width + i * PANEL,
                   (size_t)MIN(n - key, PANEL) * 4);
}

/* Keys and values come from the pages and not from the activations: the gradient is that of what
 * the forward multiplied, rounded as it was. */
static void document_load(const Job *j, const Scratch *d) {
    const KvStream *k = &j->a->k, *v = &j->a->v;
    for (int64_t c = 0; c < sides_of(j->T); c++) {
        keys_load(j, d, c, chunk_at(k, j->span, c * CHUNK, j->kv_head));
        values_load(j, d, c, chunk_at(v, j->span, c * CHUNK, j->kv_head));
    }
}

/* ---- queries and output gradients of a head -------------------------------------------------- */

/* D = sum of dO O over the head's width is the sum over keys of P dP (FlashAttention, arXiv
 * 2205.14135, appendix B.4), so no row of P is needed whole. */
static void head_load(const Job *j, const Scratch *d) {
    int64_t H = j->a->heads, dk = j->a->k.width, dv = j->a->v.width;
    for (int64_t b = 0; b < sides_of(j->T); b++) {
        int64_t n = side_length(j, b), row = j->span->row + b * SIDE;
        const float *q = j->q + (row * H + j->head) * dk, *g = j->grad + (row * H + j->head) * dv;
        panels_put(d->q + b * panel_bytes(j->layout, SIDE, dk), j->layout, q, H * dk, n, dk);
        panels_put(d->g + b * panel_bytes(j->layout, SIDE, dv), j->layout, g, H * dv, n, dv);
        panels_put_t(d->qt + b * panel_bytes(j->layout, dk, SIDE), j->layout, q, H * dk, n, dk);
        panels_put_t(d->gt + b * panel_bytes(j->layout, dv, SIDE), j->layout, g, H * dv, n, dv);
        for (int64_t i = 0; i < n; i++) {
            d->lse[b * SIDE + i] = j->lse[(row + i) * H + j->head];
            d->D[b * SIDE + i] =
                kern.dot(g + i * H * dv, j->o + ((row + i) * H + j->head) * dv, dv);
        }
    }
}

/* ---- one tile: chunk c of keys by block b of rows -------------------------------------------- */

/* P^T into d->s, dS^T into d->dp; +0 where the row does not see the key. */
static void tile_softmax(const Job *j, const Scratch *d, int64_t c, int64_t b) {
    int64_t dk = j->a->k.width, dv = j->a->v.width;
    int64_t keys = side_length(j, c), rows = side_length(j, b);
    gemm(j->layout, d->s, SIDE, d->k + c * SIDE * row_bytes(j->layout, dk), keys,
         d->q + b * panel_bytes(j->layout, SIDE, dk), rows, dk, STORE_SET);
    gemm(j->layout, d->dp, SIDE, d->v + c * SIDE * row_bytes(j->layout, dv), keys,
         d->g + b * panel_bytes(j->layout, SIDE, dv), rows, dv, STORE_SET);
    for (int64_t i = 0; i < keys; i++) {
        float *p = d->s + i * SIDE, *ds = d->dp + i * SIDE;
        kern.softmax_back(p, ds, p, ds, d->lse + b * SIDE, d->D + b * SIDE, j->a->scale, rows);
        if (b == c) {
            memset(p, 0, (size_t)MIN(i, rows) * 4);
            memset(ds, 0, (size_t)MIN(i, rows) * 4);
        }
    }
}

/* The tile's shares of dV, dK and dQ. P and dS are rounded when they are packed, as p was in the
 * forward. */
static void tile_run(const Job *j, const Scratch *d, int64_t c, int64_t b) {
    int64_t dk = j->a->k.width, dv = j->a->v.width;
    int64_t keys = side_length(j, c), rows = side_length(j, b);
    tile_softmax(j, d, c, b);
    rows_put(d->rows, j->layout, d->s, SIDE, keys, rows);
    gemm(j->layout, d->dv_part, dv, d->rows, keys, d->gt + b * panel_bytes(j->layout, dv, SIDE), dv,
         rows, STORE_CONTINUE);
    rows_put(d->rows, j->layout, d->dp, SIDE, keys, rows);
    gemm(j->layout, d->dk_part, dk, d->rows, keys, d->qt + b * panel_bytes(j->layout, dk, SIDE), dk,
         rows, STORE_CONTINUE);
    panels_put_t(d->panels, j->layout, d->dp, SIDE, keys, rows);
    gemm(j->layout, d->dq + b * dk * SIDE, SIDE, d->kt + c * dk * row_bytes(j->layout, SIDE), dk,
         d->panels, rows, keys, STORE_CONTINUE);
}

/* ---- sums: parts of CUT_K, heads of a group -------------------------------------------------- */

/* Rows of a sum's first term are set, further terms are added. */
static void rows_sum(float *y, int64_t ldy, const float *x, int64_t n, int64_t k, bool first) {
    for (int64_t i = 0; i < n; i++)
        if (first)
            memcpy(y + i * ldy, x + i * k, (size_t)k * 4);
        else
            kern.add(y + i * ldy, x + i * k, k);
}

/* A part is complete: it joins the chunk's dK and dV, and the next one starts from +0. */
static void key_part_end(const Job *j, const Scratch *d, bool first) {
    int64_t dk = j->a->k.width, dv = j->a->v.width;
    rows_sum(d->dk, dk, d->dk_part, SIDE, dk, first);
    rows_sum(d->dv, dv, d->dv_part, SIDE, dv, first);
    memset(d->dk_part, 0, (size_t)(SIDE * dk) * 4);
    memset(d->dv_part, 0, (size_t)(SIDE * dv) * 4);
}

/* The part of dQ that ends joins the gradient of the rows from block b0 on. */
static void query_part_end(const Job *j, const Scratch *d, int64_t b0, int64_t b1, bool first) {
    int64_t H = j->a->heads, dk = j->a->k.width;
    for (int64_t b = b0; b < b1; b++) {
        float *part = d->dq + b * dk * SIDE;
        kern.transpose((uint32_t *)(void *)d->x, dk, (const uint32_t *)(void *)part, SIDE, dk,
                       side_length(j, b));
        rows_sum(j->dq + ((j->span->row + b * SIDE) * H + j->head) * dk, H * dk, d->x,
                 side_length(j, b), dk, first);
        memset(part, 0, (size_t)(dk * SIDE) * 4);
    }
}

/* A sum over rows or keys is cut at every CUT_K of them, as all products' sums are (contract 2.1);
 * the parts are added up in order. */
enum { PART = CUT_K / SIDE }; /* tiles of a part */

/* All blocks of rows that see chunk c: its own and those after it. */
static void chunk_run(const Job *j, const Scratch *d, int64_t c) {
    int64_t G = j->a->k.heads, dk = j->a->k.width, dv = j->a->v.width;
    int64_t blocks = sides_of(j->T), keys = side_length(j, c), row = j->span->row + c * SIDE;
    bool first = true;
    for (int64_t b = c; b < blocks; b++) {
        tile_run(j, d, c, b);
        if (b + 1 == blocks || (b + 1) % PART == 0) {
            key_part_end(j, d, first);
            first = false;
        }
    }
    bool first_head = j->head % (j->a->heads / G) == 0;
    rows_sum(j->dk + (row * G + j->kv_head) * dk, G * dk, d->dk, keys, dk, first_head);
    rows_sum(j->dv + (row * G + j->kv_head) * dv, G * dv, d->dv, keys, dv, first_head);
}

/* dQ of all blocks is summed at once, since the loop goes by chunks; a part of it ends every PART
 * chunks. */
static void head_run(const Job *j, const Scratch *d) {
    int64_t n = sides_of(j->T);
    head_load(j, d);
    for (int64_t c = 0; c < n; c++) {
        if (c > 0 && c % PART == 0) query_part_end(j, d, c, n, c == PART);
        chunk_run(j, d, c);
    }
    query_part_end(j, d, 0, MIN(n, PART), true);
    query_part_end(j, d, PART, n, false);
}

/* All that is summed with STORE_CONTINUE starts from +0 and is left so by the ends of the parts. */
static void kv_head_run(Job *j, const Scratch *d) {
    int64_t group = j->a->heads / j->a->k.heads, dk = j->a->k.width, dv = j->a->v.width;
    memset(d->dq, 0, (size_t)(sides_of(j->T) * dk * SIDE) * 4);
    memset(d->dk_part, 0, (size_t)(SIDE * dk) * 4);
    memset(d->dv_part, 0, (size_t)(SIDE * dv) * 4);
    document_load(j, d);
    for (int64_t g = 0; g < group; g++) {
        j->head = j->kv_head * group + g;
        head_run(j, d);
    }
}

/* The cost of a document grows with the square of its length: a thread takes the heads of documents
 * that begin within its share of the sum of all costs. */
void attend_back(Thread th, float *dq, float *dk, float *dv, const float *do_, const float *o,
                 const float *lse, const float *q, const Attend *a, const Span *span,
                 int64_t n_spans, void *work) {
    int64_t longest = 0, cost = 0, start = 0;
    const char *outer = phase("attention core, backward");
    attend_check(a);
    CHECK(a->v.form == KV_VALUES);
    for (int64_t i = 0; i < n_spans; i++) {
        CHECK(span[i].pos == 0);
        longest = MAX(longest, span[i].n);
        cost += span[i].n * span[i].n * a->k.heads;
    }
    Scratch d;
    int64_t bytes = scratch_make(&d, a, longest, NULL);
    scratch_make(&d, a, longest, (uint8_t *)work + th.i * bytes);
    Job j = {.a = a,
             .layout = stream_layout(&a->k),
             .q = q,
             .o = o,
             .grad = do_,
             .lse = lse,
             .dq = dq,
             .dk = dk,
             .dv = dv};
    for (int64_t i = 0; i < n_spans; i++)
        for (int64_t h = 0; h < a->k.heads; h++, start += span[i].n * span[i].n) {
            if (start < cost * th.i / th.n || start >= cost * (th.i + 1) / th.n) continue;
            j.span = span + i, j.T = span[i].n, j.kv_head = h;
            kv_head_run(&j, &d);
        }
    thread_sync(th);
    phase(outer);
}
