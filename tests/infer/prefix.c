/* prefix.c -- the tree against a list of all token sequences that ever went in: how much is shared
 * is the longest common beginning with any of them, what is shared is right, and pages come back. A
 * page's contents stand for its tokens by a number at each position, made of all tokens up to
 * there. */
#include "tests.h"

enum { LENGTH_MAX = 500, SEQS = 8, KNOWN_MAX = 4000 };

typedef struct Known {
    int64_t tenant, n;
    int32_t token[LENGTH_MAX];
} Known;
typedef struct Live {
    bool open;
    int64_t tenant, n;
    int32_t token[LENGTH_MAX];
    KvSeq kv;
    Place at;
} Live;
typedef struct World {
    Pages *pages;
    int64_t count;
    Prefix *prefix;
    Known *known;
    int64_t n_known;
    Live live[SEQS];
    Dice dice;
    int64_t evicted, partial, whole;
} World;

/* Keys of one head of one number, f32: the page begins with panels of 16 keys, so position i of it
 * is number i. */
static KvLayout layout(void) {
    static KvLayer layer = {{{KV_KEYS, DTYPE_F32, 1, 1, 1, 0, 0}}, 1};
    return kv_layout(&layer, 1);
}

static float *slot(const KvSeq *s, int64_t i) { return (float *)s->page[i / PAGE] + i % PAGE; }

static float digest(const Live *v, int64_t n) {
    static const HashTable fixed = {.key = {1, 2}};
    uint64_t h = table_hash(&fixed, (Str){(const char *)v->token, n * 4});
    return (float)(h % 1000003 + (uint64_t)v->tenant);
}

/* Tokens that begin like something older, often. */
static void live_tokens(World *w, Live *v) {
    int64_t keep = 0;
    v->tenant = dice(&w->dice, 2);
    v->n = 2 + dice(&w->dice, dice(&w->dice, 4) ? LENGTH_MAX - 2 : 20);
    if (w->n_known && dice(&w->dice, 5)) {
        const Known *k = &w->known[dice(&w->dice, w->n_known)];
        keep = dice(&w->dice, 3) ? MIN(k->n, v->n) : dice(&w->dice, MIN(k->n, v->n) + 1);
        memcpy(v->token, k->token, (size_t)keep * 4);
    }
    for (int64_t i = keep; i < v->n; i++) v->token[i] = (int32_t)dice(&w->dice, 3);
}

static int64_t longest_known(const World *w, const Live *v, int64_t limit) {
    int64_t best = 0;
    for (int64_t i = 0; i < w->n_known; i++) {
        const Known *k = &w->known[i];
        int64_t n = 0;
        while (k->tenant == v->tenant && n < MIN(k->n, limit) && k->token[n] == v->token[n]) n++;
        best = MAX(best, n);
    }
    return best;
}

static void remember(World *w, const Live *v, int64_t n) {
    assert_true(w->n_known < KNOWN_MAX);
    Known *k = &w->known[w->n_known++];
    k->tenant = v->tenant, k->n = n;
    memcpy(k->token, v->token, (size_t)n * 4);
}

/* exact: nothing was evicted so far, so all that is known must be found. */
static void live_open(World *w, Live *v, bool exact) {
    live_tokens(w, v);
    assert_true(kv_open(w->pages, &v->kv));
    prefix_share(w->prefix, &v->kv, &v->at, v->tenant, v->token, v->n - 1);
    int64_t known = longest_known(w, v, v->n - 1);
    if (exact ? v->kv.length != known : v->kv.length > known)
        fail_msg("shared %d of %d known", (int)v->kv.length, (int)known);
    for (int64_t i = 0; i < v->kv.length; i++) assert_true(*slot(&v->kv, i) == digest(v, i + 1));
    w->partial += kv_cut(&v->kv), w->whole += v->kv.n_pages - kv_cut(&v->kv);
    v->open = true;
}

static void live_grow(World *w, Live *v) {
    int64_t most = v->kv.length + 1 + dice(&w->dice, 200), n = MIN(v->n, most);
    for (; !kv_reserve(w->pages, &v->kv, n); w->evicted++)
        if (!prefix_evict(w->prefix)) return;
    for (; v->kv.length < n; v->kv.length++)
        *slot(&v->kv, v->kv.length) = digest(v, v->kv.length + 1);
    prefix_grow(w->prefix, &v->kv, &v->at, v->tenant, v->token, false);
    if (n / PAGE) remember(w, v, n / PAGE * PAGE);
}

static void live_close(World *w, Live *v) {
    for (int64_t i = 0; i < v->kv.length; i++) assert_true(*slot(&v->kv, i) == digest(v, i + 1));
    prefix_grow(w->prefix, &v->kv, &v->at, v->tenant, v->token, true);
    if (v->kv.length) remember(w, v, v->kv.length);
    kv_close(w->pages, &v->kv);
    v->open = false;
}

static World *world_new(Arena *a, int64_t count, uint64_t seed) {
    World *w = PUSH(a, World, 1);
    KvLayout kv = layout();
    w->pages = pages_new(a, &kv, count, SEQS, LENGTH_MAX);
    w->prefix = prefix_build(&(Space){.a = a}, w->pages, count);
    w->known = PUSH(a, Known, KNOWN_MAX);
    w->dice.seed = seed, w->count = count;
    return w;
}

static void world_end(World *w) {
    for (int i = 0; i < SEQS; i++)
        if (w->live[i].open) live_close(w, &w->live[i]);
    assert_int_equal(prefix_idle(w->prefix), prefix_pages(w->prefix));
    assert_int_equal(prefix_pages(w->prefix) + pages_free(w->pages), w->count);
    int64_t n = prefix_pages(w->prefix);
    if (w->dice.seed % 2)
        prefix_forget(w->prefix);
    else
        while (n-- > 0) assert_true(prefix_evict(w->prefix));
    assert_false(prefix_evict(w->prefix));
    assert_int_equal(pages_free(w->pages), w->count);
}

static void walk(World *w, int64_t steps, bool exact) {
    for (int64_t i = 0; i < steps; i++) {
        Live *v = &w->live[dice(&w->dice, SEQS)];
        if (!v->open)
            live_open(w, v, exact);
        else if (v->kv.length < v->n && dice(&w->dice, 6))
            live_grow(w, v);
        else
            live_close(w, v);
        assert_true(prefix_sound(w->prefix));
        assert_true(!exact || w->evicted == 0);
    }
}

static void finds_all_that_is_known(void **state) {
    for (uint64_t seed = 31; seed < 35; seed++) {
        World *w = world_new(*state, 3000, seed);
        walk(w, 1000, true);
        assert_true(w->partial > 50 && w->whole > 50);
        world_end(w);
    }
}

static void under_pressure_pages_are_taken_back(void **state) {
    for (uint64_t seed = 35; seed < 39; seed++) {
        World *w = world_new(*state, 30, seed);
        walk(w, 1500, false);
        assert_true(w->partial > 100 && w->whole > 10 && w->evicted > 100);
        world_end(w);
    }
}

/* Puts n tokens, all `id`, into the tree. */
static void put(World *w, Live *v, int32_t id, int64_t n) {
    *v = (Live){.n = n + 1};
    for (int64_t i = 0; i <= n; i++) v->token[i] = id;
    assert_true(kv_open(w->pages, &v->kv));
    prefix_share(w->prefix, &v->kv, &v->at, 0, v->token, n);
    assert_true(kv_reserve(w->pages, &v->kv, n));
    v->kv.length = n;
    prefix_grow(w->prefix, &v->kv, &v->at, 0, v->token, true);
    kv_close(w->pages, &v->kv);
}

static int64_t shared(World *w, Live *v) {
    assert_true(kv_open(w->pages, &v->kv));
    prefix_share(w->prefix, &v->kv, &v->at, 0, v->token, v->n);
    int64_t n = v->kv.length;
    kv_close(w->pages, &v->kv);
    return n;
}

static void the_least_recently_used_leaf_goes(void **state) {
    World *w = world_new(*state, 10, 39);
    Live *v = w->live;
    put(w, &v[0], 0, 2 * PAGE);
    put(w, &v[1], 1, PAGE);
    put(w, &v[2], 2, PAGE);
    assert_int_equal(shared(w, &v[0]), 2 * PAGE);
    assert_true(prefix_evict(w->prefix)); /* 1 is the oldest */
    assert_int_equal(shared(w, &v[1]), 0);
    assert_true(prefix_evict(w->prefix));
    assert_int_equal(shared(w, &v[2]), 0);
    assert_true(prefix_evict(w->prefix)); /* 0 loses its end first */
    assert_int_equal(shared(w, &v[0]), PAGE);
}

static void what_is_held_stays(void **state) {
    World *w = world_new(*state, 4, 40);
    Live *v = w->live;
    put(w, &v[0], 0, PAGE + 9);
    KvSeq held;
    Place at;
    assert_true(kv_open(w->pages, &held));
    prefix_share(w->prefix, &held, &at, 0, v[0].token, PAGE + 5);
    assert_true(kv_cut(&held) && held.n_pages == 2 && prefix_idle(w->prefix) == 0
                && !prefix_evict(w->prefix));
    assert_true(kv_reserve(w->pages, &held, PAGE + 6)); /* copies */
    assert_int_equal(prefix_idle(w->prefix), 1);
    assert_true(prefix_evict(w->prefix) && !prefix_evict(w->prefix));
    kv_close(w->pages, &held);
    assert_int_equal(prefix_idle(w->prefix), 1);
}

/* Places from before are void: what was computed with other weights does not come back. */
static void forgotten_is_forgotten(void **state) {
    World *w = world_new(*state, 10, 41);
    Live *v = w->live;
    put(w, &v[0], 0, PAGE);
    assert_true(kv_open(w->pages, &v[1].kv));
    v[1].n = 2 * PAGE;
    prefix_share(w->prefix, &v[1].kv, &v[1].at, 0, v[1].token, PAGE);
    prefix_forget(w->prefix);
    assert_true(kv_reserve(w->pages, &v[1].kv, 2 * PAGE));
    v[1].kv.length = 2 * PAGE;
    prefix_grow(w->prefix, &v[1].kv, &v[1].at, 0, v[1].token, true);
    assert_int_equal(prefix_pages(w->prefix), 0);
    kv_close(w->pages, &v[1].kv);
    assert_int_equal(pages_free(w->pages), 10);
}

int prefix_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(finds_all_that_is_known),
        ARENA_TEST(under_pressure_pages_are_taken_back),
        ARENA_TEST(the_least_recently_used_leaf_goes),
        ARENA_TEST(what_is_held_stays),
        ARENA_TEST(forgotten_is_forgotten),
    };
    return cmocka_run_group_tests_name("prefix", tests, NULL, NULL);
}
