/* cover.c -- tables of cells in which every pair of values meets. Greedy: of some random cells,
 * each forced to hold a pair that is still missing, the one with most missing pairs is taken. */
#include "prop.h"

enum { TRIES = 60 };

typedef struct Met {
    bool pair[COVER_AXES][COVER_VALUES][COVER_AXES][COVER_VALUES];
} Met;

Cell cover_random(const int64_t sizes[COVER_AXES], uint64_t seed, int64_t i) {
    Cell c;
    for (int a = 0; a < COVER_AXES; a++)
        c.at[a] = philox(seed, (uint64_t)i, (uint32_t)a).w[0] % sizes[a];
    return c;
}

/* How many pairs of the cell are new; marks them when asked to. */
static int64_t news(Met *m, const Cell *c, bool mark) {
    int64_t n = 0;
    for (int a = 0; a < COVER_AXES; a++)
        for (int b = a + 1; b < COVER_AXES; b++) {
            bool *met = &m->pair[a][c->at[a]][b][c->at[b]];
            n += !*met;
            *met |= mark;
        }
    return n;
}

/* The first missing pair into the cell; false when there is none. */
static bool force_missing(const Met *m, Cell *c, const int64_t sizes[COVER_AXES]) {
    for (int a = 0; a < COVER_AXES; a++)
        for (int b = a + 1; b < COVER_AXES; b++)
            for (int64_t i = 0; i < sizes[a]; i++)
                for (int64_t j = 0; j < sizes[b]; j++)
                    if (!m->pair[a][i][b][j]) {
                        c->at[a] = i, c->at[b] = j;
                        return true;
                    }
    return false;
}

int64_t cover_pairs(Cell *cell, int64_t most, const int64_t sizes[COVER_AXES], uint64_t seed) {
    Met met = {0};
    for (int64_t n = 0, i = 0;; n++) {
        Cell best = {0};
        int64_t best_news = 0;
        for (int t = 0; t < TRIES; t++) {
            Cell c = cover_random(sizes, seed, i++);
            if (!force_missing(&met, &c, sizes)) return n;
            int64_t fresh = news(&met, &c, false);
            if (fresh > best_news) best = c, best_news = fresh;
        }
        CHECK(n < most);
        cell[n] = best;
        news(&met, &best, true);
    }
}

bool cover_whole(const Cell *cell, int64_t n, const int64_t sizes[COVER_AXES]) {
    for (int a = 0; a < COVER_AXES; a++)
        for (int b = 0; b < COVER_AXES; b++)
            for (int64_t i = 0; i < sizes[a] * sizes[b]; i++) {
                if (a == b) continue;
                int64_t k = 0;
                while (k < n && (cell[k].at[a] != i / sizes[b] || cell[k].at[b] != i % sizes[b]))
                    k++;
                if (k == n) return false;
            }
    return true;
}
