/* page.c -- KV pages: one block of memory cut into pages, counted references, copy on write.
 *
 * Invariants:
 * 1. A page with no references is on the free list; one that is given out is zero.
 * 2. A page with more than one reference is never written. kv_reserve, which everyone calls before
 *    writing, copies the page that a sequence goes on in when others hold it too.
 * 3. After kv_reserve a sequence's last page is zero behind its length, as if it had just been
 *    filled that far. Attention multiplies masked positions by 0 (contract 5), so what another
 *    continuation left there must not be an infinity. */
#include "infer/parts.h"

struct Pages {
    KvLayout kv;
    int64_t count, page_bytes;
    uint8_t *base;         /* (count, page_bytes) */
    int32_t *refs;         /* (count) */
    int64_t *free, n_free; /* a stack: what was used last, and may be in a cache, is used next */
    void ***table;
    int64_t n_tables;   /* a stack of page tables for sequences, */
    int64_t table_size; /* each of so many pages */
    float *zero;        /* one row of the widest stream */
};

/* Pages that hold `length` positions. */
static int64_t pages_for(int64_t length) { return round_up(length, PAGE) / PAGE; }

/* The numbers that the widest stream of any layer keeps of a position. */
static int64_t widest_stream(const KvLayout *kv) {
    int64_t widest = 0;
    for (int64_t i = 0; i < kv->n_layers; i++)
        for (int64_t j = 0; j < kv->layer[i].n; j++)
            widest = MAX(widest, kv->layer[i].stream[j].heads * kv->layer[i].stream[j].width);
    return widest;
}

Pages *pages_build(Space *s, const KvLayout *kv, int64_t count, int64_t seqs, int64_t positions) {
    CHECK(count > 0 && seqs > 0 && positions > 0);
    Pages *p = TAKE(s, Pages, 1);
    Pages made = {.kv = *kv, .count = count, .page_bytes = round_up(kv->page_bytes, 64)};
    made.table_size = pages_for(positions);
    made.refs = TAKE(s, int32_t, count);
    made.free = TAKE(s, int64_t, count);
    made.table = TAKE(s, void **, seqs);
    made.zero = TAKE(s, float, widest_stream(kv));
    void **tables = TAKE(s, void *, seqs *made.table_size);
    if (!p) return NULL;
    made.base = arena_push(s->a, count * made.page_bytes);
    for (int64_t i = count; i-- > 0;) made.free[made.n_free++] = i;
    for (int64_t i = 0; i < seqs; i++) made.table[made.n_tables++] = tables + i * made.table_size;
    *p = made;
    return p;
}

Pages *pages_new(Arena *a, const KvLayout *kv, int64_t count, int64_t seqs, int64_t positions) {
    return pages_build(&(Space){.a = a}, kv, count, seqs, positions);
}

int64_t pages_free(const Pages *p) { return p->n_free; }
int64_t pages_count(const Pages *p) { return p->count; }

/* ---- one page -------------------------------------------------------------------------------- */

void *page_at(const Pages *p, int64_t i) { return p->base + i * p->page_bytes; }

/* The number of a page in use. What is no page of p is a mistake of the caller, and is caught
 * before it becomes an index. */
int64_t page_number(const Pages *p, const void *page) {
    int64_t i = ((const uint8_t *)page - p->base) / p->page_bytes;
    CHECK(i >= 0 && i < p->count && page_at(p, i) == page && p->refs[i] > 0);
    return i;
}

int64_t page_refs(const Pages *p, int64_t i) { return p->refs[i]; }
void page_hold(Pages *p, int64_t i) { p->refs[i]++; }

void page_drop(Pages *p, int64_t i) {
    CHECK(p->refs[i] > 0);
    if (--p->refs[i] == 0) p->free[p->n_free++] = i;
}

/* A page with one reference; NULL when they are out. It still has what its last owner wrote: who
 * takes it clears it, or copies another page over it. */
static void *page_take(Pages *p) {
    if (p->n_free == 0) return NULL;
    int64_t i = p->free[--p->n_free];
    p->refs[i] = 1;
    return page_at(p, i);
}

/* Zeros at positions from..to-1 of the page. They are written by kv_store, as the model writes keys
 * and values, because only it knows where a form puts the numbers of a position. */
static void page_clear(const Pages *p, void *page, int64_t from, int64_t to) {
    Span span = {.n = to - from, .pos = from, .pages = &page};
    for (int64_t i = 0; i < p->kv.n_layers; i++)
        for (int64_t j = 0; j < p->kv.layer[i].n; j++) {
            const KvStream *s = &p->kv.layer[i].stream[j];
            if (s->form != KV_PREFIX) kv_store((Thread){0, 1, NULL}, s, &span, 1, p->zero, 0);
        }
}

/* ---- sequences ------------------------------------------------------------------------------- */

bool kv_open(Pages *p, KvSeq *s) {
    if (p->n_tables == 0) return false;
    *s = (KvSeq){.page = p->table[--p->n_tables]};
    return true;
}

void kv_close(Pages *p, KvSeq *s) {
    kv_truncate(p, s, 0);
    p->table[p->n_tables++] = s->page;
    *s = (KvSeq){0};
}

/* Up to where something may stand in the page in which the first `length` positions of s end. A cut
 * costs nothing by this: cleaning is left to kv_reserve, which often need not do it, since a
 * truncated sequence may be closed, or be cut once more. */
static int64_t dirty_end(const KvSeq *s, int64_t length) {
    return MIN(MAX(s->length, s->dirty), round_up(length, PAGE));
}

void kv_truncate(Pages *p, KvSeq *s, int64_t length) {
    CHECK(length >= 0 && length <= s->length);
    while (s->n_pages > pages_for(length)) page_drop(p, page_number(p, s->page[--s->n_pages]));
    s->dirty = dirty_end(s, length);
    s->length = length;
}

/* Makes the page that s goes on in its own, and zero behind its length (invariants 2 and 3). False:
 * it would have to be copied, and pages are out; s is as it was. */
static bool last_page_own(Pages *p, KvSeq *s) {
    if (s->length % PAGE == 0) return true;
    void **at = &s->page[s->length / PAGE];
    int64_t i = page_number(p, *at);
    if (page_refs(p, i) > 1) {
        void *own = page_take(p);
        if (!own) return false;
        memcpy(own, *at, (size_t)p->page_bytes);
        page_drop(p, i);
        *at = own;
    }
    if (kv_cut(s)) page_clear(p, *at, s->length % PAGE, s->dirty - s->length / PAGE * PAGE);
    s->dirty = s->length;
    return true;
}

bool kv_reserve(Pages *p, KvSeq *s, int64_t length) {
    CHECK(pages_for(length) <= p->table_size);
    if (length > s->length && !last_page_own(p, s)) return false;
    while (s->n_pages < pages_for(length)) {
        void *page = page_take(p);
        if (!page) return false;
        s->page[s->n_pages++] = memset(page, 0, (size_t)p->page_bytes);
    }
    return true;
}

/* The fork holds all its pages, also the last one, which may be half full: whoever of the two goes
 * on first copies it. */
bool kv_fork(Pages *p, KvSeq *to, const KvSeq *from, int64_t length) {
    CHECK(length >= 0 && length <= from->length);
    if (!kv_open(p, to)) return false;
    for (; to->n_pages < pages_for(length); to->n_pages++) {
        to->page[to->n_pages] = from->page[to->n_pages];
        page_hold(p, page_number(p, to->page[to->n_pages]));
    }
    to->length = length;
    to->dirty = dirty_end(from, length);
    return true;
}
