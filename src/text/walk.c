/* walk.c -- the states of a walk through a net. */
#include "text/walk.h"

enum { SEEN = 1 << 13 };

/* ---- classes of bytes ------------------------------------------------------------------------ */

static void classes_make(Walk *w) {
    w->n_classes = 1;
    for (int32_t i = 0; i < w->net->n_sets && w->n_classes < 256; i++) {
        int16_t in[256], out[256]; /* what a class becomes */
        memset(in, -1, sizeof in), memset(out, -1, sizeof out);
        int64_t n = 0;
        for (int b = 0; b < 256; b++) {
            int16_t *to = (set_has(&w->net->set[i], b) ? in : out) + w->class_of[b];
            if (*to < 0) *to = (int16_t)n++;
            w->class_of[b] = (uint8_t)*to;
        }
        w->n_classes = n;
    }
    for (int b = 255; b >= 0; b--) w->byte_of[w->class_of[b]] = (uint8_t)b;
}

/* ---- frames and states, each once ------------------------------------------------------------ */

static Str frame_key(const Frame *f) { return (Str){(const char *)f, 2 * sizeof(int32_t)}; }

static bool frame_same(const void *of, int64_t i, Str key) {
    return str_eq(frame_key((const Frame *)of + i), key);
}

static int32_t frame_of(Walk *w, int32_t back, int32_t parent) {
    const Frame f = {back, parent, w->frame[parent].depth + 1};
    w->full |= w->n_frames == WALK_FRAMES;
    if (w->full) return 0;
    const int64_t i = table_put(&w->frames, frame_key(&f), w->n_frames, frame_same, w->frame);
    if (i == w->n_frames) w->frame[w->n_frames++] = f;
    return (int32_t)i;
}

static Str items_key(const Item *v, int64_t n) {
    return (Str){(const char *)v, n * (int64_t)sizeof *v};
}

static bool state_same(const void *of, int64_t i, Str key) {
    const Walk *w = of;
    return str_eq(items_key(w->item + w->state[i].at, w->state[i].n), key);
}

static int32_t state_of(Walk *w, State s) {
    if (w->n_work == 0) return STATE_DEAD;
    w->full |= w->n_states == WALK_STATES || w->n_items + w->n_work > WALK_ITEMS;
    if (w->full) return STATE_DEAD;
    const int64_t i =
        table_put(&w->states, items_key(w->work, w->n_work), w->n_states, state_same, w);
    if (i < w->n_states) return (int32_t)i;
    s.at = w->n_items, s.n = w->n_work, s.mask = -1;
    memcpy(w->item + s.at, w->work, (size_t)s.n * sizeof *w->item);
    w->n_items += s.n;
    memset(w->row + i * w->n_classes, -1, (size_t)w->n_classes * sizeof *w->row);
    w->state[w->n_states++] = s;
    return (int32_t)i;
}

/* ---- where a byte leads to ------------------------------------------------------------------- */

/* Whether this place is new to the state that is being made. */
static bool is_new(Walk *w, Item v) {
    const uint64_t h = ((uint64_t)(uint32_t)v.node << 32 | (uint32_t)v.frame) * 0x9e3779b97f4a7c15u;
    int64_t i = (int64_t)(h >> 51);
    for (int64_t tries = 0; tries < SEEN / 2; tries++, i = (i + 1) % SEEN) {
        if (w->stamp[i] != w->now) {
            w->stamp[i] = w->now, w->seen[i] = v;
            return true;
        }
        if (w->seen[i].node == v.node && w->seen[i].frame == v.frame) return false;
    }
    return false;
}

static void later(Walk *w, int32_t *top, int32_t node, int32_t frame) {
    if (*top < COUNT(w->stack) && w->net->height[node] != NET_FOREVER)
        w->stack[(*top)++] = (Item){node, frame};
}

/* All places that `v` leads to without a byte: those that await one, and the end. The first node of
 * a split is visited first. */
static void closure_add(Walk *w, State *s, Item v, bool alone) {
    const Net *net = w->net;
    int32_t top = 0;
    later(w, &top, v.node, v.frame);
    while (top > 0) {
        v = w->stack[--top];
        const Node *node = &net->node[v.node];
        if (!is_new(w, v)) continue;
        /* exact, if all that the state has comes from this node */
        if (node->loop && (s->loop == 0 || node->left > s->left))
            *s = (State){.loop = node->loop,
                         .left = node->left,
                         .exact = node->exact && alone && top == 0 && w->n_work == 0,
                         .complete = s->complete};
        switch ((NodeKind)node->kind) {
        case NODE_SPLIT:
            later(w, &top, node->other, v.frame);
            later(w, &top, node->next, v.frame);
            break;
        case NODE_CALL:
            if (w->frame[v.frame].depth + net->height[net->rule[node->other]] < NET_DEPTH)
                later(w, &top, net->rule[node->other], frame_of(w, node->next, v.frame));
            break;
        case NODE_RETURN: later(w, &top, w->frame[v.frame].back, w->frame[v.frame].parent); break;
        case NODE_END: s->complete = true; /* fallthrough */
        case NODE_BYTES:
            if (w->n_work < WALK_SET) w->work[w->n_work++] = v;
            break;
        }
    }
}

static void closure_begin(Walk *w) {
    w->n_work = 0;
    if (++w->now == 0) memset(w->stamp, 0, SEEN * sizeof *w->stamp), w->now = 1;
}

int32_t walk_compute(Walk *w, int32_t state, int cls) {
    const State from = w->state[state];
    const int byte = w->byte_of[cls];
    State s = {0};
    closure_begin(w);
    Item *to = w->seeds;
    int32_t n = 0;
    for (int32_t i = 0; i < from.n; i++) {
        const Item v = w->item[from.at + i];
        const Node *node = &w->net->node[v.node];
        if (node->kind == NODE_BYTES && set_has(&w->net->set[node->other], byte))
            to[n++] = (Item){node->next, v.frame};
    }
    for (int32_t i = 0; i < n; i++) closure_add(w, &s, to[i], n == 1);
    const int32_t next = state_of(w, s);
    if (!w->full) w->row[state * w->n_classes + cls] = next;
    return next;
}

int32_t walk_begin(Walk *w, int32_t node) {
    State s = {0};
    closure_begin(w);
    closure_add(w, &s, (Item){node, 0}, true);
    return state_of(w, s);
}

int walk_only(const Walk *w, int32_t state) {
    const State *s = &w->state[state];
    int only = -1;
    for (int32_t i = 0; i < s->n; i++) {
        const Node *v = &w->net->node[w->item[s->at + i].node];
        if (v->kind != NODE_BYTES) return -1;
        const ByteSet *set = &w->net->set[v->other];
        int64_t n = 0;
        for (int k = 0; k < 4; k++) n += __builtin_popcountll(set->w[k]);
        if (n != 1) return -1;
        for (int k = 0; k < 4; k++)
            if (set->w[k]) {
                const int b = 64 * k + __builtin_ctzll(set->w[k]);
                if (only >= 0 && b != only) return -1;
                only = b;
            }
    }
    return only;
}

/* ---- the cache ------------------------------------------------------------------------------- */

void walk_forget(Walk *w) {
    memset(w->states.slot, 0, (size_t)w->states.slots * sizeof *w->states.slot);
    memset(w->frames.slot, 0, (size_t)w->frames.slots * sizeof *w->frames.slot);
    w->states.n = w->frames.n = 0;
    w->frame[0] = (Frame){NET_END, 0, 0};
    w->n_frames = w->n_states = 1;
    w->n_items = 0;
    w->state[STATE_DEAD] = (State){.mask = -1};
    memset(w->row, 0, (size_t)w->n_classes * sizeof *w->row); /* from the dead to the dead */
    w->full = false;
    w->epoch++;
}

int32_t walk_renew(Walk *w, int32_t state) {
    State s = w->state[state];
    for (int32_t i = 0; i < s.n; i++) {
        Kept *k = &w->kept[i];
        Item v = w->item[s.at + i];
        *k = (Kept){.node = v.node};
        for (; v.frame != 0; v.frame = w->frame[v.frame].parent)
            k->back[k->n++] = w->frame[v.frame].back;
    }
    walk_forget(w);
    w->n_work = 0;
    for (int32_t i = 0; i < s.n; i++) {
        const Kept *k = &w->kept[i];
        int32_t frame = 0;
        for (int32_t j = k->n; j > 0; j--) frame = frame_of(w, k->back[j - 1], frame);
        w->work[w->n_work++] = (Item){k->node, frame};
    }
    return state_of(w, s);
}

void walk_init(Walk *w, Arena *a, const Net *net) {
    *w = (Walk){.net = net};
    classes_make(w);
    w->state = PUSH(a, State, WALK_STATES);
    w->item = PUSH(a, Item, WALK_ITEMS);
    w->frame = PUSH(a, Frame, WALK_FRAMES);
    w->row = PUSH(a, int32_t, WALK_STATES * w->n_classes);
    w->stamp = PUSH(a, uint32_t, SEEN);
    w->seen = PUSH(a, Item, SEEN);
    w->kept = PUSH(a, Kept, WALK_SET);
    CHECK(table_init(&w->states, a, WALK_STATES) && table_init(&w->frames, a, WALK_FRAMES));
    walk_forget(w);
}
