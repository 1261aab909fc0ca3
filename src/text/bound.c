/* bound.c -- the tokens that a grammar allows, and a grammar as the constraint of a sequence.
 *
 * The mask of a state is made when it is first met, by walking the tree of the vocabulary's bytes
 * from there. Where any character of a kind may come, as inside of texts, most tokens are whole
 * characters of that kind: their bits are known, and their subtrees are not walked. */
#include "text/bound.h"

/* ---- masks ----------------------------------------------------------------------------------- */

static void bit_set(uint64_t *bits, int32_t id) { bits[id / 64] |= (uint64_t)1 << id % 64; }

/* Tokens of the kind of characters that may be repeated here; returns how many characters a token
 * of that kind may have. */
static int kind_mask(const Grammar *g, const State *s, uint64_t *bits) {
    const KindTokens *k = s->loop ? g->loop[s->loop - 1] : NULL;
    if (!k) return -1;
    const bool all = s->left >= k->longest;
    const int most = all ? LEXICON_UPTO : MIN(s->left, LEXICON_UPTO - 1);
    for (int64_t i = 0; i < g->l->words; i++) bits[i] |= k->upto[most][i];
    return all ? k->longest : most;
}

/* A subtree whose tokens all have their bits already, or can have none, is passed over. */
static void tree_walk(Grammar *g, int32_t state, uint64_t *bits) {
    const TokenNode *node = g->l->node;
    const int known = kind_mask(g, &g->walk.state[state], bits);
    const uint8_t *most = known > 0 ? g->loop[g->walk.state[state].loop - 1]->most : NULL;
    const bool exact = g->walk.state[state].exact;
    int32_t at[LEXICON_TOKEN + 2];
    at[0] = state;
    for (int64_t i = 0; i < g->l->n;) {
        const TokenNode v = node[i];
        if (most && (most[i] <= known || (exact && most[i] < 255))) {
            i = v.skip;
            continue;
        }
        const int32_t next = walk_step(&g->walk, at[v.depth], v.byte);
        if (next == STATE_DEAD) {
            i = v.skip;
            continue;
        }
        if (v.token >= 0) bit_set(bits, v.token);
        at[v.depth + 1] = next;
        i++;
    }
}

/* Nothing but the end may come. */
static bool is_over(const Grammar *g, int32_t state) {
    const State *s = &g->walk.state[state];
    return state == STATE_DEAD || (s->complete && s->n == 1);
}

static void mask_fill(Grammar *g, int32_t state, uint64_t *bits) {
    const Lexicon *l = g->l;
    if (is_over(g, state)) return bit_set(bits, l->end[0]);
    for (int32_t i = 0; g->walk.state[state].complete && i < l->n_end; i++)
        bit_set(bits, l->end[i]);
    tree_walk(g, state, bits);
}

static uint64_t *mask_room(Grammar *g, int32_t *number) {
    if (g->n_masks == g->most_masks) {
        for (int32_t i = 0; i < g->walk.n_states; i++) g->walk.state[i].mask = -1;
        g->n_masks = 0;
    }
    if (g->n_masks == g->made_masks) g->mask[g->made_masks++] = PUSH(g->a, uint64_t, g->l->words);
    *number = (int32_t)g->n_masks++;
    memset(g->mask[*number], 0, (size_t)g->l->words * sizeof(uint64_t));
    return g->mask[*number];
}

/* The mask of *state, which has another number where the cache had to be emptied for it. Where a
 * single mask does not fit into an empty cache, the tokens of states without room are left out. */
static const uint64_t *mask_of(Grammar *g, int32_t *state) {
    Walk *w = &g->walk;
    int32_t number = w->state[*state].mask;
    if (number >= 0) return g->mask[number];
    for (int tries = 0; tries < 2; tries++) {
        uint64_t *bits = mask_room(g, &number);
        mask_fill(g, *state, bits);
        if (!w->full) break;
        *state = walk_renew(w, *state);
        if (tries == 0) g->n_masks = 0;
    }
    w->state[*state].mask = number;
    return g->mask[number];
}

void bound_init(Grammar *g, Arena *a) {
    const Lexicon *l = g->l;
    g->a = a;
    walk_init(&g->walk, a, &g->net);
    g->most_masks = MIN(MAX(WALK_MASK_BYTES / (l->words * 8), 16), BOUND_MASKS);
    g->mask = PUSH(a, uint64_t *, g->most_masks);
    for (int32_t i = 0; i < g->net.n_loops; i++)
        g->loop[i] = lexicon_kind(g->l, a, &g->net.loop[i]);
}

/* ---- one sequence ---------------------------------------------------------------------------- */

typedef struct Step {
    int32_t token, state; /* the state behind the token */
    uint32_t epoch;       /* of the state's number */
} Step;

typedef struct Bound {
    Grammar *g;
    Arena *a;
    Step *past; /* (n), the first without a token */
    int64_t n, room;
    bool in_thought;
} Bound;

static bool is_end(const Grammar *g, int32_t token) {
    for (int32_t i = 0; i < g->l->n_end; i++)
        if (g->l->end[i] == token) return true;
    return false;
}

/* The state behind one more token. What does not fit leads into an empty cache. */
static int32_t state_after(Grammar *g, int32_t state, int32_t token) {
    const Str s = token_bytes(g->l->t, token);
    if (is_end(g, token)) return STATE_DEAD;
    for (int64_t i = 0; i < s.n && state != STATE_DEAD; i++) {
        int32_t next = walk_step(&g->walk, state, (uint8_t)s.p[i]);
        if (g->walk.full) {
            state = walk_renew(&g->walk, state);
            next = walk_step(&g->walk, state, (uint8_t)s.p[i]);
        }
        state = next;
    }
    return state;
}

/* The state now. Where the cache was emptied since, the tokens are walked once more. */
static int32_t bound_now(Bound *b) {
    Grammar *g = b->g;
    Step *last = &b->past[b->n - 1];
    if (last->epoch == g->walk.epoch) return last->state;
    int32_t state = walk_begin(&g->walk, g->start[b->in_thought]);
    if (g->walk.full) walk_forget(&g->walk), state = walk_begin(&g->walk, g->start[b->in_thought]);
    for (int64_t i = 0; i < b->n; i++) {
        Step *s = &b->past[i];
        if (i) state = state_after(g, state, s->token);
        s->state = state, s->epoch = g->walk.epoch;
    }
    return state;
}

static void now_put(Bound *b, int32_t state) {
    b->past[b->n - 1].state = state;
    b->past[b->n - 1].epoch = b->g->walk.epoch;
}

static bool bound_mask(void *self, uint64_t *bits, int64_t V) {
    Bound *b = self;
    int32_t state = bound_now(b);
    const uint64_t *mask = mask_of(b->g, &state);
    (void)V;
    now_put(b, state);
    memcpy(bits, mask, (size_t)b->g->l->words * sizeof *bits);
    return true;
}

static bool bound_accept(void *self, int32_t token) {
    Bound *b = self;
    const int32_t state = state_after(b->g, bound_now(b), token);
    if (b->n == b->room) {
        Step *more = PUSH(b->a, Step, b->room *= 2);
        memcpy(more, b->past, (size_t)b->n * sizeof *more);
        b->past = more;
    }
    b->past[b->n++] = (Step){token, state, b->g->walk.epoch};
    return !is_end(b->g, token);
}

static void bound_rollback(void *self, int64_t n) {
    Bound *b = self;
    b->n -= n;
    CHECK(b->n > 0);
}

/* The only token of a mask, or -1. */
static int32_t mask_only(const uint64_t *mask, int64_t words) {
    int32_t only = -1;
    for (int64_t i = 0; i < words; i++) {
        if (mask[i] == 0) continue;
        if (only >= 0 || (mask[i] & (mask[i] - 1))) return -1;
        only = (int32_t)(64 * i + __builtin_ctzll(mask[i]));
    }
    return only;
}

/* One look at the state tells in most cases that several bytes may come. */
static int64_t bound_forced(void *self, int32_t *token, int64_t most) {
    Bound *b = self;
    Grammar *g = b->g;
    int32_t state = bound_now(b);
    int64_t n = 0;
    while (n < most && (is_over(g, state) || walk_only(&g->walk, state) >= 0)) {
        const int32_t only = mask_only(mask_of(g, &state), g->l->words);
        if (n == 0) now_put(b, state);
        if (only < 0) break;
        token[n++] = only;
        if (is_end(g, only)) break;
        state = state_after(g, state, only);
    }
    return n;
}

void grammar_constraint(Constraint *out, Arena *a, Grammar *g, bool in_thought) {
    enum { ROOM_FIRST = 64 };
    Bound *b = PUSH(a, Bound, 1);
    *b = (Bound){.g = g, .a = a, .n = 1, .room = ROOM_FIRST, .in_thought = in_thought};
    b->past = PUSH(a, Step, ROOM_FIRST);
    b->past[0].epoch = g->walk.epoch - 1;
    *out = (Constraint){b, bound_mask, bound_forced, bound_accept, bound_rollback};
}

/* ---- two constraints ------------------------------------------------------------------------- */

typedef struct Both {
    const Constraint *first, *second;
} Both;

static bool both_mask(void *self, uint64_t *bits, int64_t V) {
    const Both *b = self;
    return b->first->mask(b->first->self, bits, V) || b->second->mask(b->second->self, bits, V);
}

static int64_t both_forced(void *self, int32_t *token, int64_t most) {
    const Both *b = self;
    const int64_t n = b->first->forced(b->first->self, token, most);
    return n ? n : b->second->forced(b->second->self, token, most);
}

static bool both_accept(void *self, int32_t token) {
    const Both *b = self;
    const bool first = b->first->accept(b->first->self, token);
    return b->second->accept(b->second->self, token) && first;
}

static void both_rollback(void *self, int64_t n) {
    const Both *b = self;
    b->first->rollback(b->first->self, n);
    b->second->rollback(b->second->self, n);
}

void constraint_both(Constraint *out, Arena *a, const Constraint *first, const Constraint *second) {
    Both *b = PUSH(a, Both, 1);
    *b = (Both){first, second};
    *out = (Constraint){b, both_mask, both_forced, both_accept, both_rollback};
}
