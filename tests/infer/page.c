/* page.c -- sequences that grow, fork, are cut and closed at random. What each one's pages hold is
 * compared with fresh pages into which the same values were stored in order: a page that two share
 * by mistake, or that is not clean, shows. */
#include "tests.h"

enum { LENGTH_MAX = 400, SEQS = 6, LAYERS = 3 };

/* A sequence and what it ought to hold: value[i] is the seed of position i's keys and values. */
typedef struct Twin {
    KvSeq kv;
    bool open;
    uint32_t value[LENGTH_MAX];
} Twin;

/* Position pos of every stream of every layer, no two the same. */
static void store(const KvLayout *kv, void **page, int64_t pos, uint32_t value) {
    for (int64_t i = 0; i < kv->n_layers; i++)
        for (int64_t j = 0; j < kv->layer[i].n; j++) {
            const KvStream *s = &kv->layer[i].stream[j];
            float x[64];
            for (int64_t k = 0; k < 64; k++)
                x[k] = (float)(j % 2 ? -1 : 1) * (float)(value + (uint64_t)i * 7 + (uint64_t)k);
            Span span = {.n = 1, .pos = pos, .pages = page};
            if (s->form != KV_PREFIX) kv_store((Thread){0, 1, NULL}, s, &span, 1, x, 64);
        }
}

/* Also that nothing stands behind the length. */
static void twin_check(const KvLayout *kv, const Twin *t, void **fresh) {
    for (int64_t p = 0; p < t->kv.n_pages; p++) {
        memset(fresh[p], 0, (size_t)kv->page_bytes);
        for (int64_t i = p * PAGE; i < MIN(t->kv.length, (p + 1) * PAGE); i++)
            store(kv, fresh, i, t->value[i]);
        assert_memory_equal(fresh[p], t->kv.page[p], (size_t)kv->page_bytes);
    }
}

static bool twin_grow(Pages *pages, const KvLayout *kv, Twin *t, int64_t n, uint32_t value) {
    if (!kv_reserve(pages, &t->kv, t->kv.length + n)) return false;
    for (; n-- > 0; t->kv.length++)
        store(kv, t->kv.page, t->kv.length, t->value[t->kv.length] = value++);
    return true;
}

/* One random change; *dry counts the times when pages were out. */
static void twin_change(Pages *pages, const KvLayout *kv, Twin *all, Dice *d, int64_t *dry) {
    Twin *t = &all[dice(d, SEQS)], *from = &all[dice(d, SEQS)];
    int64_t length = dice(d, t->kv.length + 1), n = dice(d, 200);
    switch (dice(d, 8)) {
    case 0:
        if (t->open)
            kv_close(pages, &t->kv);
        else
            assert_true(kv_open(pages, &t->kv));
        t->open = !t->open;
        break;
    case 1:
    case 2:
        if (t->open || !from->open) return;
        assert_true(kv_fork(pages, &t->kv, &from->kv, dice(d, from->kv.length + 1)));
        memcpy(t->value, from->value, sizeof t->value);
        t->open = true;
        break;
    case 3:
        if (t->open) kv_truncate(pages, &t->kv, length);
        break;
    default:
        if (!t->open) return;
        n = MIN(LENGTH_MAX - t->kv.length, n);
        *dry += !twin_grow(pages, kv, t, n, (uint32_t)dice(d, 1 << 15));
    }
}

static void pages_walk(Arena *a, KvLayout kv, uint64_t seed) {
    enum { COUNT_PAGES = 9 };
    Pages *pages = pages_new(a, &kv, COUNT_PAGES, SEQS, LENGTH_MAX);
    Twin *all = PUSH(a, Twin, SEQS);
    void *fresh[4];
    int64_t dry = 0, shared = 0;
    Dice d = {seed, 0};
    for (int i = 0; i < 4; i++) fresh[i] = arena_push(a, kv.page_bytes);
    for (int64_t step = 0; step < 600; step++) {
        twin_change(pages, &kv, all, &d, &dry);
        int64_t held = 0;
        for (int64_t i = 0; i < SEQS; i++) {
            if (!all[i].open) continue;
            held += all[i].kv.n_pages;
            if (!kv_cut(&all[i].kv)) twin_check(&kv, &all[i], fresh);
        }
        shared += held > COUNT_PAGES - pages_free(pages);
    }
    assert_true(dry > 3 && shared > 100);
    for (int64_t i = 0; i < SEQS; i++)
        if (all[i].open) kv_close(pages, &all[i].kv);
    assert_int_equal(pages_free(pages), COUNT_PAGES);
}

/* Layers of a kind: keys and values, or keys whose first `dv` numbers are the values. */
static KvLayout alike(KvLayer layer[LAYERS], DType type, int64_t heads, int64_t dk, int64_t dv,
                      KvForm values) {
    for (int i = 0; i < LAYERS; i++)
        layer[i] =
            (KvLayer){{{KV_KEYS, type, heads, dk, 1, 0, 0}, {values, type, heads, dv, 1, 0, 0}}, 2};
    return kv_layout(layer, LAYERS);
}

static void random_walks_of_sequences(void **state) {
    need_native();
    KvLayer layer[LAYERS];
    pages_walk(*state, alike(layer, DTYPE_F32, 2, 20, 12, KV_VALUES), 21);
    pages_walk(*state, alike(layer, DTYPE_BF16, 2, 20, 12, KV_VALUES), 22);
    pages_walk(*state, alike(layer, DTYPE_BF16, 1, 40, 32, KV_PREFIX), 23);
    pages_walk(*state, alike(layer, DTYPE_F32, 1, 40, 32, KV_PREFIX), 24);
}

/* A made-up model: a layer of absorbed MLA with the keys of an index beside, one with a sliding
 * window and heads of its own, one that keeps nothing, one of another type. */
static KvLayer mixed[] = {
    {{{KV_KEYS, DTYPE_BF16, 1, 40, 1, 0, 0},
      {KV_PREFIX, DTYPE_BF16, 1, 32, 1, 0, 0},
      {KV_KEYS, DTYPE_BF16, 1, 16, 1, 0, 0}},
     3},
    {{{KV_KEYS, DTYPE_BF16, 3, 20, 1, 128, 0}, {KV_VALUES, DTYPE_BF16, 3, 12, 1, 128, 0}}, 2},
    {.n = 0},
    {{{KV_KEYS, DTYPE_F32, 2, 8, 1, 0, 0}, {KV_VALUES, DTYPE_F32, 2, 24, 1, 0, 0}}, 2},
};

static void layers_need_not_be_alike(void **state) {
    pages_walk(*state, kv_layout(mixed, COUNT(mixed)), 25);
}

/* Streams follow one another at multiples of 64 bytes, and each has the room that it asks for. */
static void streams_have_their_places(void **state) {
    (void)state;
    const KvLayout kv = kv_layout(mixed, COUNT(mixed));
    int64_t at = 0;
    for (int64_t i = 0; i < kv.n_layers; i++)
        for (int64_t j = 0; j < kv.layer[i].n; j++) {
            const KvStream *s = &kv.layer[i].stream[j];
            assert_int_equal(s->off, at);
            assert_int_equal(s->off % 64, 0);
            assert_int_equal(s->form == KV_PREFIX, kv_bytes(s) == 0);
            at += kv_bytes(s);
        }
    assert_int_equal(kv.page_bytes, at);
    /* 128 keys of 2 heads of 8 numbers, 128 values of 24, which panels of 16 round up to 32. */
    assert_int_equal(kv_bytes(&mixed[3].stream[0]), 128 * 2 * 8 * 4);
    assert_int_equal(kv_bytes(&mixed[3].stream[1]), 128 * 2 * 32 * 4);
}

static void what_runs_out_says_so(void **state) {
    KvLayer layer[LAYERS];
    KvLayout kv = alike(layer, DTYPE_F32, 1, 8, 8, KV_VALUES);
    Pages *pages = pages_new(*state, &kv, 2, 2, 3 * PAGE);
    KvSeq s, t, u;
    assert_true(kv_open(pages, &s) && kv_open(pages, &t) && !kv_open(pages, &u));
    assert_true(kv_reserve(pages, &s, PAGE));
    assert_false(kv_reserve(pages, &s, 2 * PAGE + 1)); /* takes what there is ... */
    assert_false(kv_reserve(pages, &t, 1));
    kv_truncate(pages, &s, 0); /* ... and gives it back */
    assert_true(kv_reserve(pages, &t, 2 * PAGE));
    kv_close(pages, &s);
    kv_close(pages, &t);
    assert_int_equal(pages_free(pages), 2);
}

int page_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(random_walks_of_sequences), ARENA_TEST(layers_need_not_be_alike),
        ARENA_TEST(streams_have_their_places), ARENA_TEST(what_runs_out_says_so)};
    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
