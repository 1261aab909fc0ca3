/* prefix.c -- the prefix tree: pages by the tokens that they were computed from.
 *
 * A node is a page in the tree and has its number. It stands for the tokens of all pages above it
 * and its own; a full page may have children, one that a finished sequence stopped in may not.
 * Nodes carry a tenant. Contents of a page depend on the tokens up to its end and on the plan's
 * bits alone, so pages of live and finished sequences serve alike, and of two pages with the same
 * tokens either will do. A tree belongs to one engine, and so to one plan: its bits need not be in
 * the key.
 *
 * Invariants:
 * 1. The tree holds one reference to each of its pages.
 * 2. Siblings never stand for tokens of which one is the beginning of the other, so at most one
 *    child can be entered whole.
 * 3. A page that a sequence holds has all pages above it held too (parts.h).
 * The clock counts uses, and orders pages by the last one. */
#include "infer/parts.h"

enum { NONE = -1 };

typedef struct Node {
    bool used;                   /* in the tree */
    int64_t parent, child, next; /* numbers or NONE: first child, next sibling */
    int64_t tenant, clock;
    int64_t n;      /* tokens: 1..PAGE */
    int32_t *token; /* (PAGE) */
    char key[65];   /* of a full page, its name on disk, where there is one */
} Node;

struct Prefix {
    Pages *pages;
    Node *node;   /* one for each page */
    int64_t root; /* first of the roots */
    int64_t clock, age, n;
    Disk *disk; /* NULL: there is none */
};

Prefix *prefix_build(Space *s, Pages *pages, int64_t count) {
    Prefix *t = TAKE(s, Prefix, 1);
    Node *node = TAKE(s, Node, count);
    int32_t *tokens = TAKE(s, int32_t, count * PAGE);
    if (!t) return NULL;
    *t = (Prefix){.pages = pages, .node = node, .root = NONE};
    for (int64_t i = 0; i < count; i++) node[i].token = tokens + i * PAGE;
    return t;
}

int64_t prefix_pages(const Prefix *t) { return t->n; }
void prefix_keep(Prefix *t, Disk *d) { t->disk = d; }

/* The name on disk of PAGE tokens behind node `parent`. */
static void key_of(const Prefix *t, char key[65], int64_t parent, int64_t tenant,
                   const int32_t *token) {
    disk_key(t->disk, key, parent == NONE ? NULL : t->node[parent].key, tenant, token);
}

static void node_write(const Prefix *t, int64_t i) {
    const Node *d = &t->node[i];
    if (t->disk && d->n == PAGE) disk_put(t->disk, d->key, page_at(t->pages, i));
}

void prefix_write(Prefix *t) {
    for (int64_t i = 0; i < pages_count(t->pages); i++)
        if (t->node[i].used) node_write(t, i);
}

/* ---- links ----------------------------------------------------------------------------------- */

/* Where the first child of `parent` is noted; NONE: the first root. */
static int64_t *first_link(Prefix *t, int64_t parent) {
    return parent == NONE ? &t->root : &t->node[parent].child;
}

/* Page i enters the tree below `parent`, with n tokens. */
static void node_add(Prefix *t, int64_t i, int64_t parent, int64_t tenant, const int32_t *token,
                     int64_t n) {
    Node *d = &t->node[i];
    CHECK(!d->used);
    int64_t *link = first_link(t, parent);
    *d = (Node){true, parent, NONE, *link, tenant, ++t->clock, n, d->token, ""};
    memcpy(d->token, token, (size_t)n * sizeof *token);
    if (t->disk && n == PAGE) key_of(t, d->key, parent, tenant, token);
    *link = i;
    t->n++;
    page_hold(t->pages, i);
}

/* A leaf leaves the tree. Its page is free when no sequence holds it. */
static void node_remove(Prefix *t, int64_t i) {
    Node *d = &t->node[i];
    CHECK(d->used && d->child == NONE);
    int64_t *link = first_link(t, d->parent);
    while (*link != i) link = &t->node[*link].next;
    *link = d->next;
    d->used = false;
    t->n--;
    page_drop(t->pages, i);
}

/* ---- looking up ------------------------------------------------------------------------------ */

/* How many tokens a and b begin with alike. */
static int64_t common(const int32_t *a, const int32_t *b, int64_t n) {
    int64_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* The child of `parent` that has most of the n tokens in common; *length: how many. Or NONE. */
static int64_t child_find(Prefix *t, int64_t parent, int64_t tenant, const int32_t *token,
                          int64_t n, int64_t *length) {
    int64_t best = NONE;
    *length = 0;
    for (int64_t i = *first_link(t, parent); i != NONE; i = t->node[i].next) {
        const Node *d = &t->node[i];
        int64_t c = d->tenant == tenant ? common(d->token, token, MIN(n, d->n)) : 0;
        if (c > *length) best = i, *length = c;
    }
    return best;
}

Place prefix_begin(const Prefix *t) { return (Place){NONE, 0, t->age}; }

/* ---- growing --------------------------------------------------------------------------------- */

/* Page number at->depth of s holds n tokens, and goes into the tree, unless the tree has these
 * tokens already. Then s takes the tree's page for its own, which is free again: two sequences that
 * computed the same prompt at the same time keep it once. */
static void page_grow(Prefix *t, KvSeq *s, Place *at, int64_t tenant, const int32_t *token,
                      int64_t n) {
    int64_t length, mine = page_number(t->pages, s->page[at->depth]);
    int64_t i = child_find(t, at->node, tenant, token, n, &length);
    if (i != NONE && length == n) { /* known */
        t->node[i].clock = ++t->clock;
        if (n < PAGE) return;
        page_hold(t->pages, i);
        page_drop(t->pages, mine);
        s->page[at->depth] = page_at(t->pages, i);
        mine = i;
    } else {
        if (i != NONE && length == t->node[i].n) node_remove(t, i); /* we went on from there */
        node_add(t, mine, at->node, tenant, token, n);
    }
    if (n == PAGE) at->node = mine, at->depth++;
}

/* A place from before the tree was emptied is void, and such a sequence stays out of the tree: its
 * pages may come from weights that are no more. */
void prefix_grow(Prefix *t, KvSeq *s, Place *at, int64_t tenant, const int32_t *token, bool last) {
    if (at->age != t->age) return;
    while (at->depth * PAGE < s->length) {
        int64_t done = at->depth * PAGE, n = MIN(s->length - done, PAGE);
        if (n < PAGE && !last) return;
        page_grow(t, s, at, tenant, token + done, n);
        if (n < PAGE) return;
    }
}

/* ---- sharing --------------------------------------------------------------------------------- */

/* The page behind the last of s with the next PAGE of n tokens, from disk: it goes into the tree as
 * if s had computed it. false: it is not there, or no page is free. */
static bool page_load(Prefix *t, KvSeq *s, Place *at, int64_t tenant, const int32_t *token,
                      int64_t n) {
    char key[65];
    if (!t->disk || n < PAGE) return false;
    key_of(t, key, at->node, tenant, token);
    if (!disk_has(t->disk, key)) return false;
    while (!kv_reserve(t->pages, s, s->length + PAGE))
        if (!prefix_evict(t)) return false;
    if (!disk_get(t->disk, key, s->page[at->depth])) {
        page_drop(t->pages, page_number(t->pages, s->page[--s->n_pages]));
        return false;
    }
    s->length = s->dirty = s->length + PAGE;
    page_grow(t, s, at, tenant, token, PAGE);
    return true;
}

/* Walks down from the roots as far as the tokens agree, and holds each page on the way, so that
 * none of them can be evicted before it is read. A page that agrees only in part ends the walk: its
 * beginning is of use, what is behind it is another text. Full pages may be on disk, too. */
void prefix_share(Prefix *t, KvSeq *s, Place *at, int64_t tenant, const int32_t *token, int64_t n) {
    CHECK(s->n_pages == 0);
    *at = prefix_begin(t);
    while (s->length < n) {
        int64_t length, i = child_find(t, at->node, tenant, token + s->length,
                                       MIN(n - s->length, PAGE), &length);
        if (length < PAGE && page_load(t, s, at, tenant, token + s->length, n - s->length))
            continue;
        if (i == NONE) return;
        t->node[i].clock = ++t->clock;
        page_hold(t->pages, i);
        s->page[s->n_pages++] = page_at(t->pages, i);
        s->length += length;
        if (length < PAGE) s->dirty = s->n_pages * PAGE;
        if (kv_cut(s)) return;
        *at = (Place){i, at->depth + 1, t->age};
    }
}

/* ---- giving back ----------------------------------------------------------------------------- */

/* Whether only the tree holds the page. */
static bool node_idle(const Prefix *t, int64_t i) {
    return t->node[i].used && page_refs(t->pages, i) == 1;
}

int64_t prefix_idle(const Prefix *t) {
    int64_t n = 0;
    for (int64_t i = 0; i < pages_count(t->pages); i++) n += node_idle(t, i);
    return n;
}

/* Only leaves can go; what is above them then becomes a leaf. All pages are looked through: that
 * happens when pages are out, once for a page of 128 positions, whose forward costs far more. */
bool prefix_evict(Prefix *t) {
    int64_t oldest = NONE;
    for (int64_t i = 0; i < pages_count(t->pages); i++)
        if (node_idle(t, i) && t->node[i].child == NONE
            && (oldest == NONE || t->node[i].clock < t->node[oldest].clock))
            oldest = i;
    if (oldest == NONE) return false;
    node_write(t, oldest);
    node_remove(t, oldest);
    return true;
}

/* Removes all that stands below `parent`, leaves first. */
static void forget_below(Prefix *t, int64_t parent) {
    while (*first_link(t, parent) != NONE) {
        int64_t i = *first_link(t, parent);
        while (t->node[i].child != NONE) i = t->node[i].child;
        node_remove(t, i);
    }
}

void prefix_forget(Prefix *t) {
    forget_below(t, NONE);
    t->age++;
    t->disk = NULL; /* it has pages of the weights that are no more */
}

bool prefix_sound(const Prefix *t) {
    int64_t used = 0, linked = 0;
    for (int64_t i = 0; i < pages_count(t->pages); i++) {
        const Node *d = &t->node[i];
        if (!d->used) continue;
        used++;
        bool held = page_refs(t->pages, i) > 1, leaf = d->child == NONE;
        if (page_refs(t->pages, i) < 1 || d->n < 1 || d->n > PAGE || (d->n < PAGE && !leaf))
            return false;
        if (held && d->parent != NONE && page_refs(t->pages, d->parent) < 2) return false;
        for (int64_t c = d->child; c != NONE; c = t->node[c].next, linked++)
            if (t->node[c].parent != i || t->node[c].tenant != d->tenant) return false;
    }
    for (int64_t i = t->root; i != NONE; i = t->node[i].next) linked++;
    return used == linked && used == t->n;
}
