/* learn_merges.c -- the merges of a byte-level BPE, from words and their counts.
 *
 * In each step the pair of neighbouring tokens that occurs most becomes a token; of pairs that
 * occur equally often the one with the smaller left id, then the smaller right id, as in Hugging
 * Face's trainer. Counts are exact, so the merges do not depend on threads or on the order of
 * words.
 *
 * For a merge only the words that have the pair are visited. Which words have it is noted for pairs
 * that occur at least `least` times, because a pair's count only falls once it is there, and most
 * pairs are never merged. When no such pair is left, or the notes are full, a new round begins: all
 * words are read, pairs are counted, `least` is set so low that the notes have room, and words are
 * noted anew. So memory is bounded by the words', and a round costs one walk over them.
 *
 * What a merge L R -> N changes are pairs with L or R on one side, and with N: they are summed in
 * arrays by the other token, one set of arrays a thread. In "x L R y" the pairs (x, L) and (R, y)
 * become (x, N) and (N, y); where x is an N that was made just before, (N, L) had been counted as
 * that N's right neighbour and is taken back.
 *
 * It may happen that two different pairs make the same bytes. The second makes the first's token
 * again, as in Hugging Face; the counts of pairs with it rise, and a new round begins. */
#include "text/learn.h"

enum { NONE = UINT16_MAX, PAIRS_FIRST = 1 << 16, ALONE = 4096, THREADS_MAX = 64 };
enum { BUCKETS = 64 * 8 }; /* of counts: eight to a power of two */

typedef struct Pair {
    int64_t count;
    uint32_t key; /* left << 16 | right */
    uint32_t n;   /* words noted; while pairs are counted: how often it stands in words */
    int64_t at;   /* where in the notes */
} Pair;
typedef struct PairTable { /* by open addressing; count 0: a free slot, -1: a pair that is gone */
    Arena *arena;
    Pair *slot;
    int64_t slots, n;
} PairTable;

/* What one thread found in one merge, by the neighbour. */
typedef struct Side {
    int64_t *less, *more; /* (vocab) pairs that are gone, that are new */
    int64_t *place;       /* (vocab) where the notes of the new pair begin; -1: nowhere */
    uint32_t *noted;      /* (vocab) words with the new pair ... */
    uint32_t *last;       /* (vocab) ... and the newest of them, + 1 */
    uint16_t *touched;    /* (n_touched) neighbours in any of them */
    int64_t n_touched;
} Side;
typedef struct Note {
    uint32_t word;
    uint16_t with;
    bool right;
} Note;
typedef struct MergeThread {
    Side side[2]; /* left and right of the new token */
    Arena *notes_arena;
    Note *note;
    int64_t n_notes, cap_notes;
    PairTable pairs; /* of a round: those whose key is this thread's */
} MergeThread;

typedef struct Learn {
    MergeJob *job;
    Arena *arena;
    int64_t n_words, n_symbols;
    uint16_t *symbol; /* (n_symbols) the words one behind the other; NONE where one has shrunk */
    uint32_t *start;  /* (n_words + 1) */
    int64_t *count;   /* (n_words) */
    MergeThread thread[THREADS_MAX];
    int64_t threads;
    Arena *round; /* of what follows: */
    PairTable pairs;
    uint32_t *note; /* (cap_notes) words */
    int64_t n_notes, cap_notes, least;
    struct Waiting {
        int64_t count;
        uint32_t key;
    } * heap;
    int64_t n_heap, cap_heap;
    uint32_t left, right, made; /* the merge under way ... */
    int64_t at, n;              /* ... and its words in the notes */
    int64_t total;              /* symbols that are not NONE */
    bool renew;                 /* a new round must begin */
    HashTable spelled;          /* tokens by their bytes */
} Learn;

/* ---- tables of pairs ------------------------------------------------------------------------- */

static void pairs_open(PairTable *t, int64_t n) {
    *t = (PairTable){.arena = arena_open("pairs", ARENA_NO_LIMIT), .slots = PAIRS_FIRST};
    while (2 * t->slots < 3 * n) t->slots *= 2;
    t->slot = PUSH(t->arena, Pair, t->slots);
}

static void pairs_close(PairTable *t) {
    if (t->arena) arena_close(t->arena);
    *t = (PairTable){0};
}

static Pair *pair_slot(const PairTable *t, uint32_t key) {
    const int64_t mask = t->slots - 1;
    for (int64_t i = (int64_t)(key * 0x9e3779b97f4a7c15u >> 24) & mask;; i = (i + 1) & mask)
        if (t->slot[i].count == 0 || t->slot[i].key == key) return &t->slot[i];
}

/* The pair's slot; a pair that was not there gets one, with a count of 0 that the caller sets. */
static Pair *pair_put(PairTable *t, uint32_t key) {
    Pair *p = pair_slot(t, key);
    if (p->count) return p;
    if (3 * (t->n + 1) > 2 * t->slots) {
        PairTable old = *t;
        pairs_open(t, 2 * old.n);
        t->n = old.n;
        for (int64_t i = 0; i < old.slots; i++)
            if (old.slot[i].count) *pair_slot(t, old.slot[i].key) = old.slot[i];
        pairs_close(&old);
        p = pair_slot(t, key);
    }
    t->n++;
    p->key = key;
    return p;
}

/* ---- words as symbols ------------------------------------------------------------------------ */

static void symbols_count(Learn *l) {
    for (int64_t i = 0; i < WORD_PARTS; i++) {
        const WordPart *p = &l->job->words->part[i];
        for (int64_t k = 0; k < p->n; k++)
            if (p->entry[k].len > 1) l->n_words++, l->n_symbols += p->entry[k].len;
    }
}

/* A word of one byte has no pair. */
static void symbols_fill(Learn *l) {
    int64_t w = 0, at = 0;
    for (int64_t i = 0; i < WORD_PARTS; i++) {
        const WordPart *p = &l->job->words->part[i];
        for (int64_t k = 0; k < p->n; k++) {
            const WordEntry *e = &p->entry[k];
            if (e->len < 2) continue;
            l->start[w] = (uint32_t)at;
            l->count[w++] = (int64_t)e->count;
            for (uint32_t b = 0; b < e->len; b++)
                l->symbol[at++] = (uint16_t)l->job->first[(uint8_t)p->pool[e->at + b]];
        }
    }
    l->start[w] = (uint32_t)at;
}

/* Closes the gaps that merges have left, and words that are one token now. */
static void symbols_pack(Learn *l) {
    int64_t w = 0, at = 0;
    for (int64_t i = 0; i < l->n_words; i++) {
        const uint32_t lo = l->start[i], hi = l->start[i + 1];
        int64_t n = 0;
        while (lo + n < hi && l->symbol[lo + n] != NONE) n++;
        if (n < 2) continue;
        memmove(l->symbol + at, l->symbol + lo, (size_t)n * sizeof *l->symbol);
        l->start[w] = (uint32_t)at; /* w <= i: start[i + 1] is still the old one */
        l->count[w++] = l->count[i];
        at += n;
    }
    l->start[w] = (uint32_t)at;
    l->n_words = w;
    l->total = at;
}

/* ---- a round: pairs and the words that have them --------------------------------------------- */

/* Whether a pair is this thread's in counting and noting. */
static bool is_mine(Thread th, uint32_t key) {
    return th.n == 1 || (int64_t)((key * 0x85ebca6bu) >> 16) % th.n == th.i;
}

static void count_pairs(Thread th, void *arg) {
    Learn *l = arg;
    PairTable *t = &l->thread[th.i].pairs;
    pairs_open(t, 0);
    for (int64_t w = 0; w < l->n_words; w++)
        for (uint32_t i = l->start[w] + 1; i < l->start[w + 1]; i++) {
            const uint32_t key = (uint32_t)l->symbol[i - 1] << 16 | l->symbol[i];
            if (!is_mine(th, key)) continue;
            Pair *p = pair_put(t, key);
            p->count += l->count[w];
            p->n++;
        }
    thread_sync(th);
}

static int bucket_of(int64_t count) {
    const int log = 63 - __builtin_clzll((uint64_t)count);
    return 8 * log + (int)(log >= 3 ? count >> (log - 3) & 7 : 0);
}

/* The least count of a bucket and those above. Below 8 all counts of a power of two are in its
 * first bucket, and the other seven hold nothing. */
static int64_t bucket_least(int b) {
    const int log = b / 8;
    return log >= 3 ? (int64_t)(8 + b % 8) << (log - 3) : (int64_t)1 << (log + (b % 8 != 0));
}

/* Sets `least`: half of the notes may be taken now, the rest by pairs to come. The best bucket goes
 * in whatever its size. */
static void least_find(Learn *l) {
    int64_t in_bucket[BUCKETS] = {0}, n = 0;
    for (int64_t i = 0; i < l->threads; i++) {
        const PairTable *t = &l->thread[i].pairs;
        for (int64_t k = 0; k < t->slots; k++)
            if (t->slot[k].count) in_bucket[bucket_of(t->slot[k].count)] += t->slot[k].n;
    }
    int b = BUCKETS - 1;
    while (b > 0 && !in_bucket[b]) b--;
    for (n = in_bucket[b]; b > 0 && n + in_bucket[b - 1] <= l->job->most_notes / 2; b--)
        n += in_bucket[b - 1];
    l->least = bucket_least(b);
    l->n_notes = 0;
    l->cap_notes = MAX(l->job->most_notes, 3 * n);
    l->note = PUSH(l->round, uint32_t, l->cap_notes);
}

static bool before(const struct Waiting *a, const struct Waiting *b) {
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static void heap_push(Learn *l, int64_t count, uint32_t key) {
    if (l->n_heap == l->cap_heap) {
        struct Waiting *old = l->heap;
        l->heap = PUSH(l->round, struct Waiting, 2 * l->cap_heap);
        memcpy(l->heap, old, (size_t)l->n_heap * sizeof *old);
        l->cap_heap *= 2;
    }
    const struct Waiting w = {count, key};
    int64_t i = l->n_heap++;
    for (; i > 0 && before(&w, &l->heap[(i - 1) / 2]); i = (i - 1) / 2)
        l->heap[i] = l->heap[(i - 1) / 2];
    l->heap[i] = w;
}

static struct Waiting heap_pop(Learn *l) {
    const struct Waiting best = l->heap[0], last = l->heap[--l->n_heap];
    int64_t i = 0;
    for (int64_t k = 1; k < l->n_heap; k = 2 * i + 1) {
        if (k + 1 < l->n_heap && before(&l->heap[k + 1], &l->heap[k])) k++;
        if (!before(&l->heap[k], &last)) break;
        l->heap[i] = l->heap[k];
        i = k;
    }
    l->heap[i] = last;
    return best;
}

/* Pairs that occur often enough, with a place in the notes for each, and into the heap. */
static void pairs_take(Learn *l) {
    int64_t n = 0;
    for (int64_t i = 0; i < l->threads; i++)
        for (int64_t k = 0; k < l->thread[i].pairs.slots; k++)
            n += l->thread[i].pairs.slot[k].count >= l->least;
    pairs_open(&l->pairs, 2 * n);
    l->cap_heap = 2 * n + PAIRS_FIRST;
    l->heap = PUSH(l->round, struct Waiting, l->cap_heap);
    l->n_heap = 0;
    for (int64_t i = 0; i < l->threads; i++) {
        PairTable *t = &l->thread[i].pairs;
        for (int64_t k = 0; k < t->slots; k++) {
            Pair p = t->slot[k];
            if (p.count < l->least) continue;
            p.at = l->n_notes;
            l->n_notes += p.n;
            p.n = 0;
            *pair_put(&l->pairs, p.key) = p;
            heap_push(l, p.count, p.key);
        }
        pairs_close(t);
    }
}

/* A word stands once among those of a pair. */
static void note_words(Thread th, void *arg) {
    Learn *l = arg;
    for (int64_t w = 0; w < l->n_words; w++)
        for (uint32_t i = l->start[w] + 1; i < l->start[w + 1]; i++) {
            const uint32_t key = (uint32_t)l->symbol[i - 1] << 16 | l->symbol[i];
            if (!is_mine(th, key)) continue;
            Pair *p = pair_slot(&l->pairs, key);
            if (p->count == 0) continue;
            uint32_t *note = l->note + p->at;
            if (p->n == 0 || note[p->n - 1] != (uint32_t)w) note[p->n++] = (uint32_t)w;
        }
    thread_sync(th);
}

static void round_begin(Learn *l) {
    if (l->round) arena_close(l->round);
    pairs_close(&l->pairs);
    l->round = arena_open("words of pairs", ARENA_NO_LIMIT);
    l->renew = false;
    symbols_pack(l);
    team_run(l->job->team, count_pairs, l);
    least_find(l);
    pairs_take(l);
    team_run(l->job->team, note_words, l);
}

/* ---- a merge --------------------------------------------------------------------------------- */

static void side_add(Side *s, int64_t *sums, uint16_t with, int64_t count) {
    if (s->less[with] == 0 && s->more[with] == 0) s->touched[s->n_touched++] = with;
    sums[with] += count;
}

static void note_add(MergeThread *t, int right, uint16_t with, uint32_t word) {
    Side *s = &t->side[right];
    if (s->last[with] == word + 1) return;
    s->last[with] = word + 1;
    s->noted[with]++;
    if (t->n_notes == t->cap_notes) {
        const int64_t cap = MAX(2 * t->cap_notes, PAIRS_FIRST);
        Arena *a = arena_open("notes", ARENA_NO_LIMIT);
        Note *more = PUSH(a, Note, cap);
        if (t->n_notes) memcpy(more, t->note, (size_t)t->n_notes * sizeof *more);
        if (t->notes_arena) arena_close(t->notes_arena);
        t->notes_arena = a, t->note = more, t->cap_notes = cap;
    }
    t->note[t->n_notes++] = (Note){word, with, right};
}

/* Rewrites one word. */
static void word_merge(const Learn *l, MergeThread *t, uint32_t w) {
    const uint32_t L = l->left, R = l->right;
    const int64_t count = l->count[w];
    uint16_t *s = l->symbol + l->start[w];
    const int64_t most = l->start[w + 1] - l->start[w];
    int64_t n = 0, i = 0;
    for (; i < most && s[i] != NONE; i++) {
        if (s[i] != L || i + 1 == most || s[i + 1] != R) {
            s[n++] = s[i];
            continue;
        }
        if (n > 0) {
            side_add(&t->side[0], t->side[0].less, s[n - 1], count);
            side_add(&t->side[0], t->side[0].more, s[n - 1], count);
            note_add(t, 0, s[n - 1], w);
        }
        i++;
        if (i + 1 < most && s[i + 1] != NONE) {
            side_add(&t->side[1], t->side[1].less, s[i + 1], count);
            side_add(&t->side[1], t->side[1].more, s[i + 1], count);
            note_add(t, 1, s[i + 1], w);
        }
        s[n++] = (uint16_t)l->made;
    }
    for (; n < i; n++) s[n] = NONE;
}

static void merge_words(Thread th, void *arg) {
    Learn *l = arg;
    const Range r = thread_range(th, l->n);
    for (int64_t i = r.lo; i < r.hi; i++) word_merge(l, &l->thread[th.i], l->note[l->at + i]);
    thread_sync(th);
}

static void pair_lessen(Learn *l, uint32_t left, uint32_t right, int64_t count) {
    Pair *p = pair_slot(&l->pairs, left << 16 | right);
    if (p->count > 0) p->count = p->count > count ? p->count - count : -1;
}

/* What all threads found, in the arrays of the first. */
static void sides_join(Learn *l) {
    for (int64_t i = 1; i < l->threads; i++)
        for (int right = 0; right < 2; right++) {
            const Side *from = &l->thread[i].side[right];
            Side *to = &l->thread[0].side[right];
            for (int64_t k = 0; k < from->n_touched; k++) {
                const uint16_t x = from->touched[k];
                side_add(to, to->less, x, from->less[x]);
                to->more[x] += from->more[x];
                to->noted[x] += from->noted[x];
            }
        }
}

/* The new pairs that occur often enough get room in the notes, and wait in the heap. */
static void pairs_new(Learn *l, Side *s, bool right) {
    for (int64_t k = 0; k < s->n_touched; k++) {
        const uint16_t x = s->touched[k];
        const uint32_t key = right ? l->made << 16 | x : (uint32_t)x << 16 | l->made;
        s->place[x] = -1;
        if (s->more[x] < l->least) continue;
        if (l->n_notes + s->noted[x] > l->cap_notes) {
            l->renew = true;
            return;
        }
        Pair *p = pair_put(&l->pairs, key);
        *p = (Pair){.count = s->more[x], .key = key, .n = s->noted[x], .at = l->n_notes};
        s->place[x] = l->n_notes;
        l->n_notes += s->noted[x];
        heap_push(l, p->count, key);
    }
}

static void notes_spread(Learn *l) {
    Side *side = l->thread[0].side;
    for (int64_t i = 0; i < l->threads; i++) {
        const MergeThread *t = &l->thread[i];
        for (int64_t k = 0; k < t->n_notes; k++) {
            int64_t *place = &side[t->note[k].right].place[t->note[k].with];
            if (*place >= 0) l->note[(*place)++] = t->note[k].word;
        }
    }
}

static void sides_clear(Learn *l) {
    for (int64_t i = 0; i < l->threads; i++) {
        for (int right = 0; right < 2; right++) {
            Side *s = &l->thread[i].side[right];
            for (int64_t k = 0; k < s->n_touched; k++) {
                const uint16_t x = s->touched[k];
                s->less[x] = s->more[x] = 0;
                s->noted[x] = s->last[x] = 0;
            }
            s->n_touched = 0;
        }
        l->thread[i].n_notes = 0;
    }
}

static void counts_update(Learn *l) {
    Side *before_it = &l->thread[0].side[0], *behind_it = &l->thread[0].side[1];
    sides_join(l);
    for (int64_t k = 0; k < before_it->n_touched; k++)
        pair_lessen(l, before_it->touched[k], l->left, before_it->less[before_it->touched[k]]);
    for (int64_t k = 0; k < behind_it->n_touched; k++)
        pair_lessen(l, l->right, behind_it->touched[k], behind_it->less[behind_it->touched[k]]);
    behind_it->more[l->left] -= before_it->less[l->made];
    pairs_new(l, before_it, false);
    if (!l->renew) pairs_new(l, behind_it, true);
    if (!l->renew) notes_spread(l);
}

static bool same_bytes(const void *of, int64_t i, Str key) {
    return str_eq(((const MergeJob *)of)->bytes[i], key);
}

/* The token that the pair becomes: a new one, unless another pair has made the same bytes. */
static void token_make(Learn *l, uint32_t key) {
    MergeJob *j = l->job;
    l->left = key >> 16, l->right = key & 0xffff;
    const Str a = j->bytes[l->left], b = j->bytes[l->right];
    char *p = PUSH(j->arena, char, a.n + b.n);
    memcpy(p, a.p, (size_t)a.n), memcpy(p + a.n, b.p, (size_t)b.n);
    j->bytes[j->tokens] = (Str){p, a.n + b.n};
    l->made = (uint32_t)table_put(&l->spelled, j->bytes[j->tokens], j->tokens, same_bytes, j);
    if (l->made == j->tokens)
        j->tokens++;
    else
        l->renew = true;
    j->merge[j->n_merges++] = (Learnt){l->left, l->right, l->made};
}

static void merge(Learn *l, Pair *p) {
    l->at = p->at, l->n = p->n;
    token_make(l, p->key);
    p->count = -1;
    if (l->n < ALONE)
        merge_words((Thread){0, 1, NULL}, l);
    else
        team_run(l->job->team, merge_words, l);
    if (!l->renew) counts_update(l);
    sides_clear(l);
}

/* The best pair of this round, or NULL. */
static Pair *pair_best(Learn *l) {
    while (l->n_heap) {
        const struct Waiting w = heap_pop(l);
        Pair *p = pair_slot(&l->pairs, w.key);
        if (p->count == w.count) return p;
        if (p->count >= l->least) heap_push(l, p->count, w.key);
    }
    return NULL;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void learn_open(Learn *l, MergeJob *j) {
    Arena *a = l->arena;
    symbols_count(l);
    l->symbol = PUSH(a, uint16_t, l->n_symbols + 1);
    l->start = PUSH(a, uint32_t, l->n_words + 1);
    l->count = PUSH(a, int64_t, l->n_words + 1);
    symbols_fill(l);
    words_close(j->words);
    for (int64_t i = 0; i < l->threads; i++)
        for (int right = 0; right < 2; right++)
            l->thread[i].side[right] = (Side){.less = PUSH(a, int64_t, j->vocab),
                                              .more = PUSH(a, int64_t, j->vocab),
                                              .place = PUSH(a, int64_t, j->vocab),
                                              .noted = PUSH(a, uint32_t, j->vocab),
                                              .last = PUSH(a, uint32_t, j->vocab),
                                              .touched = PUSH(a, uint16_t, j->vocab)};
    CHECK(table_init(&l->spelled, a, j->vocab));
    for (int b = 0; b < 256; b++)
        table_put(&l->spelled, j->bytes[j->first[b]], j->first[b], same_bytes, j);
}

static bool learn(Learn *l, Err *err) {
    MergeJob *j = l->job;
    Progress bar;
    progress_start(&bar, "learning merges", "token", j->vocab);
    bool ok = true;
    l->renew = true;
    while (j->tokens < j->vocab && j->n_merges < j->most_merges) {
        if (l->renew) round_begin(l);
        Pair *p = pair_best(l);
        if (p)
            merge(l, p);
        else if (l->least <= 1)
            break;
        l->renew |= !p;
        progress_at(&bar, j->tokens, NULL);
        if (os_interrupted()) {
            ok = err_set(err, ERR_INTERRUPTED, "interrupted while learning merges");
            break;
        }
    }
    progress_end(&bar);
    return ok;
}

bool merges_learn(MergeJob *j, Err *err) {
    CHECK(j->vocab < NONE);
    Arena *a = arena_open("learning merges", ARENA_NO_LIMIT);
    Learn *l = PUSH(a, Learn, 1);
    *l = (Learn){.job = j, .arena = a, .threads = team_threads(j->team)};
    learn_open(l, j);
    const bool ok = learn(l, err);
    for (int64_t i = 0; i < l->threads; i++)
        if (l->thread[i].notes_arena) arena_close(l->thread[i].notes_arena);
    pairs_close(&l->pairs);
    if (l->round) arena_close(l->round);
    arena_close(a);
    return ok;
}
