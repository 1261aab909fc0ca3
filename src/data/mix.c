/* mix.c -- rows of several texts, taken in turn by their weights.
 *
 * Row k comes from the text in whose part of the circle the point offset + k * 2^32 / golden ratio
 * lies (a Weyl sequence; its offset is a draw of the seed). So any run of rows has the share of
 * each text to within a few rows, and every decision is made with integers. Parts are such that the
 * weights are shares of the tokens: rows of a text that fills them less come more often. Where a
 * text begins or ends to be drawn from, the circle is parted anew: what it is depends on the number
 * of the row alone. */
#include "data/pack.h"

static const uint64_t MIX_KEY = 0x6d6978; /* "mix" */
static const uint32_t GOLDEN = 2654435769u;

struct Mix {
    Loader *loader[MIX_MOST];
    MixPart part[MIX_MOST];
    uint64_t end[MIX_MOST]; /* of each text's part of the circle, which has 2^32 points */
    int64_t until;          /* from this row on these are others */
    int64_t n, rows;        /* rows given out */
    uint32_t offset;
};

static int64_t end_of(const MixPart *p) { return p->end ? p->end : INT64_MAX; }

/* The circle as it is in row m->rows: those that are not drawn from have nothing of it. */
static void parts_make(Mix *m) {
    double share[MIX_MOST] = {0}, sum = 0, at = 0;
    int64_t last = -1;
    m->until = INT64_MAX;
    for (int64_t i = 0; i < m->n; i++) {
        const MixPart *p = &m->part[i];
        if (p->first > m->rows) m->until = MIN(m->until, p->first);
        if (p->first > m->rows || end_of(p) <= m->rows) continue;
        const RowCounts c = loader_counts(m->loader[i]);
        m->until = MIN(m->until, end_of(p));
        share[i] = p->weight * (double)c.rows / (double)c.places;
        sum += share[i];
        last = i;
    }
    CHECK(last >= 0);
    for (int64_t i = 0; i < m->n; i++) {
        at += share[i] / sum;
        m->end[i] = i < last ? (uint64_t)(at * 4294967296.0) : (uint64_t)1 << 32;
    }
}

bool mix_new(Mix **out, Arena *a, const MixPart *part, int64_t n, int64_t sequence,
             const MixState *at, Err *err) {
    CHECK(n >= 1 && n <= MIX_MOST);
    Mix *m = *out = PUSH(a, Mix, 1);
    *m = (Mix){.n = n, .rows = at->rows};
    for (int64_t i = 0; i < n; i++)
        if (!loader_new(&m->loader[i], a, part[i].shard, sequence, true, at->at[i], err))
            return false;
    memcpy(m->part, part, (size_t)n * sizeof *part);
    m->offset = philox(at->at[0].seed ^ MIX_KEY, 0, 0).w[0];
    return true;
}

MixState mix_begin(uint64_t seed) {
    MixState s = {0};
    for (int64_t i = 0; i < MIX_MOST; i++) s.at[i].seed = seed + (uint64_t)i;
    return s;
}

MixState mix_state(const Mix *m) {
    MixState s = {.rows = m->rows};
    for (int64_t i = 0; i < m->n; i++) s.at[i] = loader_state(m->loader[i]);
    return s;
}

const Loader *mix_loader(const Mix *m, int64_t i) { return m->loader[i]; }

void mix_next(Mix *m, Packed *b, int64_t rows) {
    b->n = b->n_pieces = b->targets = 0;
    for (int64_t k = 0; k < rows; k++) {
        if (m->rows >= m->until) parts_make(m);
        const uint32_t point = m->offset + (uint32_t)m->rows++ * GOLDEN;
        int64_t i = 0;
        while (point >= m->end[i]) i++;
        const int64_t before = b->n_pieces;
        loader_add(m->loader[i], b);
        for (int64_t p = before; p < b->n_pieces; p++) b->part[p] = (int32_t)i;
    }
    for (int64_t i = 0; i < m->n; i++) loader_drop(m->loader[i]);
}
