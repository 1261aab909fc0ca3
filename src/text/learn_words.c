/* learn_words.c -- the words of a corpus and how often each occurs, in bounded memory.
 *
 * Threads cut texts into words and list them by the part of the set that their hash says; then each
 * part takes its words from all lists. So no two threads meet in a part, and a part holds the same
 * words and counts whatever the number of threads; only their order differs, on which nothing
 * depends. A part that is over its limits at the end of a wave forgets the words that were seen
 * least. */
#include "text/learn.h"

enum { SLOTS_FIRST = 1 << 10, RECENT = 1 << 12, LIST_FIRST = 1 << 14 };

/* An array in an arena of its own becomes larger: it is copied, and the old arena goes. */
static void *array_grow(Arena **a, const void *old, int64_t used, int64_t bytes) {
    Arena *to = arena_open("words", ARENA_NO_LIMIT);
    void *p = arena_push(to, bytes);
    if (used) memcpy(p, old, (size_t)used);
    if (*a) arena_close(*a);
    *a = to;
    return p;
}

void words_init(WordSet *w, int64_t most_bytes, int64_t most_words) {
    *w = (WordSet){.most_bytes = most_bytes, .most_words = most_words};
}

static void part_close(WordPart *p) {
    if (p->slots_arena) arena_close(p->slots_arena);
    if (p->entries_arena) arena_close(p->entries_arena);
    if (p->pool_arena) arena_close(p->pool_arena);
    *p = (WordPart){.forgotten = p->forgotten};
}

void words_close(WordSet *w) {
    for (int64_t i = 0; i < WORD_PARTS; i++) part_close(&w->part[i]);
}

/* ---- a thread's list ------------------------------------------------------------------------- */

void word_list_init(WordList *l, Arena *a) {
    *l = (WordList){.recent = PUSH(a, WordFound, RECENT)};
    word_list_clear(l);
}

void word_list_clear(WordList *l) {
    l->n = 0;
    for (int64_t i = 0; i < WORD_PARTS; i++) l->first[i] = l->last[i] = -1;
}

static void list_push(WordList *l, const WordFound *f) {
    if (l->n == l->cap) {
        const int64_t cap = MAX(2 * l->cap, LIST_FIRST);
        CHECK(cap < INT32_MAX);
        l->found =
            array_grow(&l->arena, l->found, l->n * (int64_t)sizeof *f, cap * (int64_t)sizeof *f);
        l->cap = cap;
    }
    const int64_t part = f->hash % WORD_PARTS;
    const int32_t i = (int32_t)l->n++;
    l->found[i] = *f;
    l->found[i].next = -1;
    if (l->first[part] < 0)
        l->first[part] = i;
    else
        l->found[l->last[part]].next = i;
    l->last[part] = i;
}

/* Frequent words are counted where they were seen last, and come into the list when another one
 * takes their place. */
static void list_add_part(WordList *l, Str word) {
    const uint64_t h = checksum(word.p, word.n, 0);
    const uint32_t hash = (uint32_t)h;
    WordFound *r = &l->recent[h >> 32 & (RECENT - 1)];
    if (r->count && r->hash == hash && str_eq((Str){r->p, r->len}, word)) {
        r->count++;
        return;
    }
    if (r->count) list_push(l, r);
    *r = (WordFound){.p = word.p, .len = (uint32_t)word.n, .hash = hash, .count = 1};
}

void word_list_add(WordList *l, Str word) {
    while (word.n > WORD_BYTES) {
        int64_t n = WORD_BYTES; /* not inside of a character */
        while (n > WORD_BYTES - 4 && ((uint8_t)word.p[n] & 0xc0) == 0x80) n--;
        list_add_part(l, (Str){word.p, n});
        word = (Str){word.p + n, word.n - n};
    }
    if (word.n) list_add_part(l, word);
}

void word_list_end(WordList *l) {
    for (int64_t i = 0; i < RECENT; i++) {
        if (l->recent[i].count) list_push(l, &l->recent[i]);
        l->recent[i].count = 0;
    }
}

/* ---- a part of the set ----------------------------------------------------------------------- */

/* The slot of the word, or the free one where it belongs. */
static uint32_t *slot_of(const WordPart *p, uint32_t hash, Str word) {
    const int64_t mask = p->n_slots - 1;
    for (int64_t i = (int64_t)(hash / WORD_PARTS * 0x9e3779b1u >> 4) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &p->slot[i];
        if (*slot == 0) return slot;
        const WordEntry *e = &p->entry[*slot - 1];
        if (e->hash == hash && str_eq((Str){p->pool + e->at, e->len}, word)) return slot;
    }
}

/* All words into `slots` free slots. */
static void slots_fill(WordPart *p, int64_t slots) {
    p->slot = array_grow(&p->slots_arena, NULL, 0, slots * (int64_t)sizeof *p->slot);
    p->n_slots = slots;
    for (int64_t i = 0; i < p->n; i++) {
        const WordEntry *e = &p->entry[i];
        *slot_of(p, e->hash, (Str){p->pool + e->at, e->len}) = (uint32_t)(i + 1);
    }
}

static void room_make(WordPart *p, int64_t bytes) {
    if (3 * (p->n + 1) > 2 * p->n_slots) slots_fill(p, MAX(2 * p->n_slots, SLOTS_FIRST));
    if (p->n == p->cap) {
        p->cap = MAX(2 * p->cap, SLOTS_FIRST);
        p->entry = array_grow(&p->entries_arena, p->entry, p->n * (int64_t)sizeof *p->entry,
                              p->cap * (int64_t)sizeof *p->entry);
    }
    if (p->bytes + bytes > p->cap_bytes) {
        p->cap_bytes = MAX(2 * p->cap_bytes, (int64_t)WORD_BYTES * 16);
        p->pool = array_grow(&p->pool_arena, p->pool, p->bytes, p->cap_bytes);
    }
}

static void word_put(WordPart *p, const WordFound *f) {
    room_make(p, f->len);
    uint32_t *slot = slot_of(p, f->hash, (Str){f->p, f->len});
    if (*slot) {
        p->entry[*slot - 1].count += f->count;
        return;
    }
    memcpy(p->pool + p->bytes, f->p, f->len);
    p->entry[p->n++] =
        (WordEntry){.at = (uint32_t)p->bytes, .hash = f->hash, .len = f->len, .count = f->count};
    p->bytes += f->len;
    *slot = (uint32_t)p->n;
}

void words_add(WordSet *w, int64_t part, const WordList *l) {
    WordPart *p = &w->part[part];
    for (int32_t i = l->first[part]; i >= 0; i = l->found[i].next) word_put(p, &l->found[i]);
}

/* ---- forgetting ------------------------------------------------------------------------------ */

/* The least count above which at most half of the limits is in use. */
static uint64_t threshold(const WordSet *w, const WordPart *p) {
    for (uint64_t least = 1;; least *= 2) {
        int64_t n = 0, bytes = 0;
        for (int64_t i = 0; i < p->n; i++)
            if (p->entry[i].count > least) n++, bytes += p->entry[i].len;
        if (2 * n <= w->most_words && 2 * bytes <= w->most_bytes) return least;
    }
}

void words_prune(WordSet *w, int64_t part) {
    WordPart *p = &w->part[part];
    if (p->n <= w->most_words && p->bytes <= w->most_bytes) return;
    const uint64_t least = threshold(w, p);
    int64_t n = 0, bytes = 0;
    for (int64_t i = 0; i < p->n; i++) {
        WordEntry e = p->entry[i];
        if (e.count <= least) continue;
        memmove(p->pool + bytes, p->pool + e.at, e.len); /* words stand in the order of the pool */
        e.at = (uint32_t)bytes;
        bytes += e.len;
        p->entry[n++] = e;
    }
    p->forgotten += p->n - n;
    p->n = n, p->bytes = bytes;
    slots_fill(p, p->n_slots);
}
