/* loader.c -- gives out rows in the order of the epoch's shuffle; its state is enough to continue
 * at the same row.
 *
 * Invariant: the packing in memory is that of at.epoch, and at.row of its rows were given out. */
#include "data/pack.h"

struct Loader {
    const Shard *shard;
    Packing packing;
    bool shuffle;
    LoaderState at;
};

bool loader_new(Loader **out, Arena *a, const Shard *s, int64_t sequence, bool shuffle,
                LoaderState at, Err *err) {
    Loader *l = PUSH(a, Loader, 1);
    *l = (Loader){.shard = s, .shuffle = shuffle, .at = at};
    if (!packing_new(&l->packing, a, s, sequence, err)) return false;
    loader_drop(l); /* the borders were read */
    bool fits = at.epoch >= 0 && at.epoch < INT32_MAX;
    if (fits) packing_epoch(&l->packing, shuffle, at.seed, at.epoch);
    if (!fits || at.row < 0 || at.row > l->packing.n_rows)
        return err_set(err, ERR_FORMAT,
                       "the loader's state, row %lld of epoch %lld, does not belong to %.*s with "
                       "its %lld rows",
                       (long long)at.row, (long long)at.epoch, STRF(s->path),
                       (long long)l->packing.n_rows);
    *out = l;
    return true;
}

LoaderState loader_state(const Loader *l) { return l->at; }
int64_t loader_rows(const Loader *l) { return l->packing.n_rows; }
int64_t loader_targets(const Loader *l) {
    int64_t n = 0;
    for (int64_t i = 0; i < l->packing.n_pieces; i++) {
        const Piece p = l->packing.piece[i];
        for (int64_t j = 1; j <= p.n; j++) n += shard_learns(l->shard, p.start + j);
    }
    return n;
}

RowCounts loader_counts(const Loader *l) {
    const Packing *p = &l->packing;
    RowCounts c = {.docs = l->shard->docs, .rows = p->n_rows};
    for (int64_t i = 0; i < p->n_pieces; i++) c.places += p->piece[i].n;
    for (int64_t d = 0; d < l->shard->docs; d++) {
        const bool none = places_of(l->shard, d, p->sequence) == 0;
        c.left_out += none;
        c.cut += !none && l->shard->border[d + 1] - l->shard->border[d] - 1 > p->sequence;
    }
    c.empty = 1 - (double)c.places / (double)(c.rows * p->sequence);
    return c;
}

Packed packed_new(Arena *a, int64_t cap) {
    return (Packed){.token = PUSH(a, int32_t, cap),
                    .target = PUSH(a, int32_t, cap),
                    .at = PUSH(a, int64_t, cap),
                    .len = PUSH(a, int64_t, cap),
                    .piece = PUSH(a, int32_t, cap),
                    .part = PUSH(a, int32_t, cap),
                    .cap = cap};
}

const Piece *loader_pieces(const Loader *l, int64_t *n) {
    *n = l->packing.n_pieces;
    return l->packing.piece;
}

void loader_put(const Loader *l, Packed *b, int64_t piece) {
    const Shard *s = l->shard;
    const Piece p = l->packing.piece[piece];
    CHECK(b->n + p.n <= b->cap);
    b->at[b->n_pieces] = b->n;
    b->piece[b->n_pieces] = (int32_t)piece, b->part[b->n_pieces] = 0;
    b->len[b->n_pieces++] = p.n;
    for (int64_t i = 0; i < p.n; i++, b->n++) {
        b->token[b->n] = shard_token(s, p.start + i);
        const bool learned = shard_learns(s, p.start + i + 1);
        b->target[b->n] = learned ? shard_token(s, p.start + i + 1) : -1;
        b->targets += learned;
    }
}

static void epoch_begin(Loader *l, int64_t epoch) {
    l->at.epoch = epoch;
    l->at.row = 0;
    if (l->shuffle) packing_epoch(&l->packing, true, l->at.seed, epoch);
}

void loader_rewind(Loader *l) { epoch_begin(l, 0); }

void loader_add(Loader *l, Packed *b) {
    const Packing *p = &l->packing;
    if (l->at.row == p->n_rows) epoch_begin(l, l->at.epoch + 1);
    for (int32_t i = p->first[p->row[l->at.row]]; i >= 0; i = p->next[i]) loader_put(l, b, i);
    l->at.row++;
}

void loader_drop(const Loader *l) { os_drop(&l->shard->map, 0, l->shard->map.n); }

void loader_next(Loader *l, Packed *b, int64_t rows) {
    b->n = b->n_pieces = b->targets = 0;
    for (int64_t i = 0; i < rows; i++) loader_add(l, b);
    loader_drop(l);
}
