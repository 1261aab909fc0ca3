/* loader.c -- every piece once an epoch, rows that are full and within their bounds, and a state
 * that finds its place again. */
#include "tests.h"

#include <stdlib.h>

/* A shard in memory: documents of these lengths (their end token included), token i of the shard is
 * i. */
static Shard shard_of(Arena *a, const int64_t *length, int64_t docs) {
    int64_t *border = PUSH(a, int64_t, docs + 1);
    for (int64_t d = 0; d < docs; d++) border[d + 1] = border[d] + length[d];
    uint32_t *token = PUSH(a, uint32_t, border[docs]);
    for (int64_t i = 0; i < border[docs]; i++) token[i] = (uint32_t)i;
    return (Shard){.path = STR("memory"),
                   .tokens = border[docs],
                   .docs = docs,
                   .vocab = border[docs],
                   .border = border,
                   .token = token,
                   .width = 4};
}

static Shard random_shard(Arena *a, int64_t docs, int64_t longest) {
    int64_t *length = PUSH(a, int64_t, docs);
    for (int64_t d = 0; d < docs; d++)
        length[d] = 2 + (dice(4) ? dice(longest / 4) : dice(longest));
    return shard_of(a, length, docs);
}

static Loader *loader_of(Arena *a, const Shard *s, int64_t sequence, LoaderState at) {
    Loader *l = NULL;
    Err err = {0};
    assert_true(loader_new(&l, a, s, sequence, true, at, &err));
    return l;
}

/* The row keeps its bounds; each place predicts the next token of its document; seen[] counts
 * inputs. */
static void check_row(const Shard *s, const Packed *b, int64_t sequence, int8_t *seen) {
    assert_in_range(b->n, 1, sequence);
    assert_in_range(b->n_pieces, 1, row_pieces(sequence));
    int64_t at = 0;
    for (int64_t p = 0; p < b->n_pieces; at += b->len[p++]) {
        assert_int_equal(b->at[p], at);
        for (int64_t i = 0; i < b->len[p]; i++) {
            assert_int_equal(b->token[at + i], b->token[at] + i);
            assert_int_equal(b->target[at + i], b->token[at + i] + 1);
            seen[b->token[at + i]]++;
        }
        /* A piece begins where its document does or a multiple of the row's length behind. */
        int64_t d = 0;
        while (s->border[d + 1] <= b->token[at]) d++;
        assert_int_equal((b->token[at] - s->border[d]) % sequence, 0);
        const int64_t left = s->border[d + 1] - 1 - b->token[at];
        assert_int_equal(b->len[p], MIN(left, sequence));
    }
    assert_int_equal(at, b->n);
}

static void test_epochs(void **state) {
    Arena *a = *state;
    const int64_t sequences[] = {2, 16, 37, 128};
    for (int64_t k = 0; k < COUNT(sequences); k++) {
        const int64_t S = sequences[k];
        Shard s = random_shard(a, 300, 150);
        Loader *l = loader_of(a, &s, S, (LoaderState){.seed = 3});
        Packed b = packed_new(a, S);
        int64_t first[2];
        for (int64_t epoch = 0; epoch < 2; epoch++) {
            int8_t *seen = PUSH(a, int8_t, s.tokens);
            int64_t places = 0;
            for (int64_t r = 0; r < loader_rows(l); r++) {
                loader_next(l, &b, 1);
                if (r == 0) first[epoch] = b.token[0];
                check_row(&s, &b, S, seen);
                places += b.n;
            }
            /* Every token but the documents' last is an input once. */
            for (int64_t d = 0; d < s.docs; d++)
                for (int64_t i = s.border[d]; i < s.border[d + 1]; i++)
                    assert_int_equal(seen[i], i + 1 < s.border[d + 1]);
            assert_int_equal(places, loader_targets(l));
            if (S >= 37) assert_in_range(loader_rows(l), 1, places / S * 11 / 10 + 1);
        }
        assert_int_not_equal(first[0], first[1]);
    }
}

/* Best fit, longest first, by hand: 6+2, 5+3, 4+4 fill rows of 8; 1 stays alone. Inputs are lengths
 * less one. */
static void test_best_fit(void **state) {
    const int64_t length[] = {4 + 1, 2 + 1, 6 + 1, 1 + 1, 3 + 1, 5 + 1, 4 + 1};
    Shard s = shard_of(*state, length, COUNT(length));
    Loader *l;
    Packed b = packed_new(*state, 128);
    assert_true(loader_new(&l, *state, &s, 128, false, (LoaderState){0}, &(Err){0}));
    loader_next(l, &b, 1);
    assert_int_equal(b.n, 25);
    assert_int_equal(b.n_pieces, 7);
    assert_int_equal(b.len[0], 6);
    assert_int_equal(b.len[6], 1);
    /* row_pieces(8) is 1: short rows take one piece each, in order of length. */
    assert_true(loader_new(&l, *state, &s, 8, false, (LoaderState){0}, &(Err){0}));
    assert_int_equal(loader_rows(l), 7);
    /* 32 places, two pieces a row: 20+12, 19+13, then 9. */
    const int64_t longer[] = {12 + 1, 20 + 1, 9 + 1, 19 + 1, 13 + 1};
    s = shard_of(*state, longer, COUNT(longer));
    assert_true(loader_new(&l, *state, &s, 32, false, (LoaderState){0}, &(Err){0}));
    assert_int_equal(loader_rows(l), 3);
    const int64_t want[3][2] = {{20, 12}, {19, 13}, {9, 0}};
    for (int64_t r = 0; r < 3; r++) {
        loader_next(l, &b, 1);
        assert_int_equal(b.len[0], want[r][0]);
        assert_int_equal(b.n, want[r][0] + want[r][1]);
    }
    /* Of two rows with room the fuller: 10 goes to 22, where it fits exactly, and not to 20. */
    const int64_t choice[] = {20 + 1, 9 + 1, 22 + 1, 10 + 1};
    s = shard_of(*state, choice, COUNT(choice));
    assert_true(loader_new(&l, *state, &s, 32, false, (LoaderState){0}, &(Err){0}));
    loader_next(l, &b, 1);
    assert_int_equal(b.len[0], 22);
    assert_int_equal(b.len[1], 10);
}

/* Whatever was given out before, a loader made from the state goes on with the same tokens, over
 * ends of epochs too. */
static void test_resume(void **state) {
    Arena *a = *state;
    Shard s = random_shard(a, 60, 90);
    Loader *l = loader_of(a, &s, 32, (LoaderState){.seed = 8});
    Packed x = packed_new(a, 32 * 5), y = packed_new(a, 32 * 5);
    for (int i = 0; i < 60; i++) {
        Loader *again = loader_of(a, &s, 32, loader_state(l));
        const int64_t rows = 1 + dice(5);
        loader_next(l, &x, rows);
        loader_next(again, &y, rows);
        assert_int_equal(x.n, y.n);
        assert_int_equal(x.n_pieces, y.n_pieces);
        assert_memory_equal(x.token, y.token, x.n * 4);
        assert_memory_equal(x.at, y.at, x.n_pieces * 8);
    }
    assert_true(loader_state(l).epoch >= 2);
    loader_rewind(l);
    loader_next(l, &x, 3);
    loader_next(loader_of(a, &s, 32, (LoaderState){.seed = 8}), &y, 3);
    assert_memory_equal(x.token, y.token, x.n * 4);
    loader_next(loader_of(a, &s, 32, (LoaderState){.seed = 9}), &y, 3);
    assert_memory_not_equal(x.token, y.token, MIN(x.n, y.n) * 4);
}

static void test_strange_states(void **state) {
    Shard s = random_shard(*state, 60, 90);
    const LoaderState at[] = {{.row = -1}, {.epoch = -1}, {.row = 1 << 20}, {.epoch = INT64_MAX}};
    for (int64_t i = 0; i < COUNT(at); i++) {
        Err err = {0};
        Loader *l;
        assert_false(loader_new(&l, *state, &s, 32, true, at[i], &err));
        assert_int_equal(err.code, ERR_FORMAT);
    }
}

/* Each text has its weight's share of the tokens, in every stretch of rows; a state goes on at the
 * very row, and every row of a text comes before one comes again. */
static void test_mix(void **state) {
    Arena *a = *state;
    enum { S = 64, ROWS = 300 };
    const Shard one = random_shard(a, 400, 200), two = random_shard(a, 90, 20);
    const MixPart part[] = {{.shard = &one, .weight = 3}, {.shard = &two, .weight = 1}};
    const MixState begin = mix_begin(5);
    Mix *m, *again;
    Err err = {0};
    Packed x = packed_new(a, S), y = packed_new(a, S);
    assert_true(mix_new(&m, a, part, 2, S, &begin, &err));
    for (int64_t k = 0; k < ROWS; k++) {
        const MixState at = mix_state(m);
        double tokens[2];
        mix_next(m, &x, 1);
        if (k % 50 == 7) {
            assert_true(mix_new(&again, a, part, 2, S, &at, &err));
            mix_next(again, &y, 1);
            assert_int_equal(x.n, y.n);
            assert_memory_equal(x.token, y.token, (size_t)x.n * sizeof *x.token);
        }
        for (int64_t i = 0; i < 2; i++) {
            const RowCounts c = loader_counts(mix_loader(m, i));
            const LoaderState l = mix_state(m).at[i];
            tokens[i] = (double)(l.epoch * c.rows + l.row) * (double)c.places / (double)c.rows;
        }
        const double all = tokens[0] + tokens[1];
        assert_true(tokens[1] > all / 4 - 3 * S && tokens[1] < all / 4 + 3 * S);
    }
    assert_true(mix_state(m).at[1].epoch >= 1 && mix_state(m).rows == ROWS);
    const MixState other = mix_begin(6);
    assert_true(mix_new(&again, a, part, 2, S, &other, &err));
    mix_next(again, &y, 1);
    assert_true(x.n != y.n || memcmp(x.token, y.token, (size_t)x.n * sizeof *x.token));
}

/* Texts are drawn from in their rows only, and wherever the run is stopped it goes on as it would
 * have. */
static void test_curriculum(void **state) {
    Arena *a = *state;
    enum { S = 64, ROWS = 200, PARTS = 4 };
    const Shard one = random_shard(a, 100, 60), two = random_shard(a, 90, 20);
    const MixPart part[PARTS] = {
        {&two, 1, 130, 0}, {&one, 3, 0, 100}, {&two, 1, 40, 150}, {&one, 1, 90, 110}};
    const MixState begin = mix_begin(5);
    Mix *m, *again;
    Err err = {0};
    Packed x = packed_new(a, S), y = packed_new(a, S);
    int64_t taken[PARTS] = {0}, tokens[PARTS] = {0};
    assert_true(mix_new(&m, a, part, PARTS, S, &begin, &err));
    for (int64_t k = 0; k < ROWS; k++) {
        const MixState at = mix_state(m);
        mix_next(m, &x, 1);
        assert_true(mix_new(&again, a, part, PARTS, S, &at, &err));
        mix_next(again, &y, 1);
        assert_true(x.n == y.n && !memcmp(x.token, y.token, (size_t)x.n * sizeof *x.token));
        const MixState now = mix_state(m);
        int64_t of = 0;
        while (now.at[of].row == at.at[of].row && now.at[of].epoch == at.at[of].epoch) of++;
        assert_true(k >= part[of].first && (!part[of].end || k < part[of].end));
        if (k >= 40 && k < 90) tokens[of] += x.n;
        taken[of]++;
    }
    assert_true(taken[1] >= 40 + 20 && taken[0] >= 50 && taken[2] > 20 && taken[3] > 0);
    /* Of the tokens of rows with two texts each has its weight's share. */
    assert_true(tokens[1] > 3 * tokens[2] - 6 * S && tokens[1] < 3 * tokens[2] + 6 * S);
}

int loader_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(test_epochs), ARENA_TEST(test_best_fit),   ARENA_TEST(test_resume),
        ARENA_TEST(test_mix),    ARENA_TEST(test_curriculum), ARENA_TEST(test_strange_states)};
    return cmocka_run_group_tests_name("loader", tests, NULL, NULL);
}
