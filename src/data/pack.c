/* pack.c -- packs pieces into rows: best fit, longest first, decided with integers only.
 *
 * An epoch shuffles the pieces, sorts them by length (stable, so equal lengths stay shuffled), puts
 * each into the open row with the smallest sufficient free space, and shuffles the rows. Of rows
 * with equal space the newest is taken. A row with row_pieces pieces is closed. Each decision
 * depends on lengths only, so every epoch has the same number of rows and only the pieces that
 * share a row differ. The shuffle is Fisher and Yates's; draw i of a shuffle is a pair of Philox
 * words at position i, reduced by a remainder (of a 64-bit number: the bias is below 2^-32). */
#include "data/pack.h"

/* Keeps the loader's draws apart from the initialisation's, which has the same seed. */
static const uint64_t LOADER_KEY = 0x6c6f61646572; /* "loader" */
enum { SHUFFLE_PIECES, SHUFFLE_ROWS, SHUFFLES };

int64_t places_of(const Shard *s, int64_t d, int64_t sequence) {
    const int64_t from = s->border[d], inputs = s->border[d + 1] - 1 - from;
    if (!s->whole || inputs <= sequence) return inputs;
    /* A target is one token further than its place; the last one ends an answer. */
    for (int64_t n = sequence; n > 0; n--)
        if (shard_learns(s, from + n) && !shard_learns(s, from + n + 1)) return n;
    return 0;
}

static int64_t count_pieces(const Shard *s, int64_t sequence) {
    int64_t n = 0;
    for (int64_t d = 0; d < s->docs; d++)
        n += (places_of(s, d, sequence) + sequence - 1) / sequence;
    return n;
}

static void cut_documents(Packing *p, const Shard *s) {
    int64_t n = 0;
    for (int64_t d = 0; d < s->docs; d++) {
        const int64_t last = s->border[d] + places_of(s, d, p->sequence);
        for (int64_t at = s->border[d]; at < last; at += p->sequence)
            p->piece[n++] = (Piece){at, MIN(p->sequence, last - at)};
    }
    CHECK(n == p->n_pieces);
}

bool packing_new(Packing *p, Arena *a, const Shard *s, int64_t sequence, Err *err) {
    CHECK(sequence >= 1);
    const int64_t n = count_pieces(s, sequence);
    if (n >= INT32_MAX)
        return err_set(
            err, ERR_LIMIT,
            "%.*s has %lld pieces of %lld tokens, more than 2^31: make batch.sequence larger",
            STRF(s->path), (long long)n, (long long)sequence);
    if (n == 0)
        return err_set(
            err, ERR_USAGE,
            "no answer of the %lld conversations of %.*s fits into a row of %lld tokens: "
            "make batch.sequence larger",
            (long long)s->docs, STRF(s->path), (long long)sequence);
    *p = (Packing){.sequence = sequence,
                   .n_pieces = n,
                   .piece = PUSH(a, Piece, n),
                   .next = PUSH(a, int32_t, n),
                   .first = PUSH(a, int32_t, n),
                   .last = PUSH(a, int32_t, n),
                   .used = PUSH(a, int32_t, n),
                   .order = PUSH(a, int32_t, n),
                   .by_length = PUSH(a, int32_t, n),
                   .count = PUSH(a, int64_t, sequence + 2),
                   .open = PUSH(a, int32_t, sequence + 1),
                   .below = PUSH(a, int32_t, n),
                   .row = PUSH(a, int32_t, n)};
    cut_documents(p, s);
    return true;
}

/* v = 0..n-1, shuffled by draws of this stream. */
static void permutation(int32_t *v, int64_t n, bool shuffle, uint64_t seed, uint32_t stream) {
    for (int64_t i = 0; i < n; i++) v[i] = (int32_t)i;
    for (int64_t i = n - 1; shuffle && i > 0; i--) {
        Philox x = philox(seed ^ LOADER_KEY, (uint64_t)i, stream);
        int64_t j = (int64_t)(((uint64_t)x.w[0] << 32 | x.w[1]) % (uint64_t)(i + 1));
        int32_t t = v[i];
        v[i] = v[j], v[j] = t;
    }
}

/* Counting sort, longest first, equal lengths in the order they come. */
static void sort_by_length(Packing *p) {
    memset(p->count, 0, (size_t)(p->sequence + 2) * sizeof *p->count);
    for (int64_t i = 0; i < p->n_pieces; i++) p->count[p->sequence - p->piece[i].n + 1]++;
    for (int64_t k = 0; k <= p->sequence; k++) p->count[k + 1] += p->count[k];
    for (int64_t i = 0; i < p->n_pieces; i++)
        p->by_length[p->count[p->sequence - p->piece[p->order[i]].n]++] = p->order[i];
}

static void row_open(Packing *p, int32_t r, int64_t room) {
    if (room == 0 || p->used[r] >= row_pieces(p->sequence)) return;
    p->below[r] = p->open[room];
    p->open[room] = r;
}

/* The row for a piece of n places, and its free space: the fullest open row that has enough, else a
 * new one. */
static int32_t row_take(Packing *p, int64_t n, int64_t *room) {
    for (int64_t k = n; k < p->sequence; k++) {
        int32_t r = p->open[k];
        if (r < 0) continue;
        p->open[k] = p->below[r];
        *room = k;
        return r;
    }
    int32_t r = (int32_t)p->n_rows++;
    p->first[r] = -1, p->used[r] = 0;
    *room = p->sequence;
    return r;
}

static void row_put(Packing *p, int32_t r, int32_t piece) {
    p->next[piece] = -1;
    if (p->first[r] < 0)
        p->first[r] = piece;
    else
        p->next[p->last[r]] = piece;
    p->last[r] = piece;
    p->used[r]++;
}

void packing_epoch(Packing *p, bool shuffle, uint64_t seed, int64_t epoch) {
    const uint32_t stream = (uint32_t)(SHUFFLES * epoch);
    permutation(p->order, p->n_pieces, shuffle, seed, stream + SHUFFLE_PIECES);
    sort_by_length(p);
    for (int64_t k = 0; k <= p->sequence; k++) p->open[k] = -1;
    p->n_rows = 0;
    for (int64_t i = 0; i < p->n_pieces; i++) {
        const int32_t piece = p->by_length[i];
        const int64_t n = p->piece[piece].n;
        int64_t room;
        int32_t r = row_take(p, n, &room);
        row_put(p, r, piece);
        row_open(p, r, room - n);
    }
    permutation(p->row, p->n_rows, shuffle, seed, stream + SHUFFLE_ROWS);
}
