/* net.c -- building networks, and whether a network can be walked to its end. */
#include "text/net.h"

void net_init(Net *n, Arena *a) {
    *n = (Net){.a = a, .n = NET_FIRST, .texts = {-1, -1, -1}, .texts_open = -1};
    n->node = PUSH(a, Node, NET_NODES);
    n->height = PUSH(a, int32_t, NET_NODES);
    n->set = PUSH(a, ByteSet, NET_SETS);
    n->rule = PUSH(a, int32_t, NET_RULES);
    n->node[NET_NONE] = (Node){.kind = NODE_SPLIT};
    n->node[NET_RETURN] = (Node){.kind = NODE_RETURN};
    n->node[NET_END] = (Node){.kind = NODE_END};
}

static int32_t node_add(Net *n, Node node) {
    n->full |= n->n == NET_NODES;
    if (n->full) return NET_NONE;
    n->node[n->n] = node;
    return n->n++;
}

int32_t net_set(Net *n, ByteSet s, int32_t next) {
    int32_t i = 0;
    while (i < n->n_sets && memcmp(&n->set[i], &s, sizeof s) != 0) i++;
    n->full |= i == NET_SETS;
    if (n->full || next == NET_NONE) return NET_NONE;
    if (i == n->n_sets) n->set[n->n_sets++] = s;
    return node_add(n, (Node){.kind = NODE_BYTES, .other = i, .next = next});
}

int32_t net_range(Net *n, int lo, int hi, int32_t next) {
    ByteSet s = {0};
    for (int b = lo; b <= hi; b++) set_add(&s, b);
    return net_set(n, s, next);
}

int32_t net_any(Net *n, const char *bytes, int32_t next) {
    ByteSet s = {0};
    for (; *bytes; bytes++) set_add(&s, (uint8_t)*bytes);
    return net_set(n, s, next);
}

int32_t net_text(Net *n, Str s, int32_t next) {
    for (int64_t i = s.n; i > 0; i--)
        next = net_range(n, (uint8_t)s.p[i - 1], (uint8_t)s.p[i - 1], next);
    return next;
}

int32_t net_or(Net *n, int32_t a, int32_t b) {
    if (a == NET_NONE || b == NET_NONE || a == b) return a == NET_NONE ? b : a;
    return node_add(n, (Node){.kind = NODE_SPLIT, .next = a, .other = b});
}

int32_t net_place(Net *n) { return node_add(n, (Node){.kind = NODE_SPLIT}); }

void net_put(Net *n, int32_t place, int32_t a, int32_t b) {
    if (place != NET_NONE) n->node[place].next = a, n->node[place].other = b;
}

int32_t net_rule(Net *n) {
    n->full |= n->n_rules == NET_RULES;
    return n->full ? 0 : n->n_rules++;
}

int32_t net_call(Net *n, int32_t rule, int32_t next) {
    return node_add(n, (Node){.kind = NODE_CALL, .other = rule, .next = next});
}

/* ---- characters ------------------------------------------------------------------------------ */

/* U+lo..U+hi have encodings of one length that differ only in a last part, which takes all values.
 * So their bytes are ranges. */
static int32_t block_put(Net *n, int32_t lo, int32_t hi, int32_t next) {
    char first[4], last[4];
    const int bytes = utf8_put(first, lo);
    (void)utf8_put(last, hi);
    for (int i = bytes - 1; i >= 0; i--)
        next = net_range(n, (uint8_t)first[i], (uint8_t)last[i], next);
    return next;
}

int32_t net_chars(Net *n, int32_t lo, int32_t hi, int32_t next) {
    static const int32_t border[] = {0x7f, 0x7ff, 0xd7ff, 0xdfff, 0xffff};
    if (lo > hi) return NET_NONE;
    for (int64_t i = 0; i < COUNT(border); i++)
        if (lo <= border[i] && hi > border[i])
            return net_or(n, net_chars(n, lo, border[i], next),
                          net_chars(n, border[i] + 1, hi, next));
    if (lo >= 0xd800 && lo <= 0xdfff) return NET_NONE;
    for (int part = 6; lo > 0x7f && part <= 18; part += 6) {
        const int32_t mask = (1 << part) - 1;
        if ((lo & ~mask) == (hi & ~mask)) continue;
        if (lo & mask)
            return net_or(n, net_chars(n, lo, lo | mask, next),
                          net_chars(n, (lo | mask) + 1, hi, next));
        if ((hi & mask) != mask)
            return net_or(n, net_chars(n, lo, (hi & ~mask) - 1, next),
                          net_chars(n, hi & ~mask, hi, next));
    }
    return block_put(n, lo, hi, next);
}

int net_loop(Net *n, CharKind k) {
    int32_t i = 0;
    while (i < n->n_loops && memcmp(&n->loop[i], &k, sizeof k) != 0) i++;
    if (i == NET_LOOPS) return 0;
    if (i == n->n_loops) n->loop[n->n_loops++] = k;
    return i + 1;
}

void net_mark(Net *n, int32_t node, int loop, int32_t left, bool exact) {
    if (node < NET_FIRST) return;
    n->node[node].loop = (uint8_t)loop;
    n->node[node].left = left;
    n->node[node].exact = exact;
}

/* ---- whether it can be walked ---------------------------------------------------------------- */

static int32_t height_of(const Net *n, const Node *v) {
    const int32_t *h = n->height;
    if (v->kind == NODE_BYTES) return h[v->next];
    if (v->kind == NODE_SPLIT) return MIN(h[v->next], h[v->other]);
    if (v->kind != NODE_CALL) return 0;
    const int32_t rule = h[n->rule[v->other]];
    return rule == NET_FOREVER ? rule : MAX(rule + 1, h[v->next]);
}

/* Nodes mostly stand behind those that follow them, so few passes are needed; what takes many is
 * deeper than can be walked. */
static void heights_count(Net *n) {
    for (int32_t i = 0; i < n->n; i++) n->height[i] = NET_FOREVER;
    bool moved = true;
    for (int32_t pass = 0; moved && pass < 4 * NET_DEPTH; pass++) {
        moved = false;
        for (int32_t i = NET_RETURN; i < n->n; i++) {
            const int32_t h = height_of(n, &n->node[i]);
            if (h < n->height[i]) n->height[i] = h, moved = true;
        }
    }
}

/* Walks from `node` without a byte; true where that comes to a rule which is being walked. */
typedef struct Search {
    const Net *net;
    int32_t *stack; /* (2 nodes + 2) */
    uint8_t *seen;  /* (nodes) */
    uint8_t *rule;  /* (rules) 1: being walked, 2: was */
    int32_t top, depth;
} Search;

static bool begins_itself(Search *s, int32_t rule) {
    const int32_t floor = s->top;
    bool found = ++s->depth > NET_DEPTH;
    s->rule[rule] = 1;
    s->stack[s->top++] = s->net->rule[rule];
    while (s->top > floor && !found) {
        const int32_t i = s->stack[--s->top];
        const Node *v = &s->net->node[i];
        if (i == NET_NONE || s->seen[i]) continue;
        s->seen[i] = 1;
        if (v->kind == NODE_SPLIT) s->stack[s->top++] = v->other, s->stack[s->top++] = v->next;
        if (v->kind == NODE_CALL)
            found =
                s->rule[v->other] == 1 || (s->rule[v->other] == 0 && begins_itself(s, v->other));
    }
    s->top = floor;
    s->depth--;
    s->rule[rule] = 2;
    return found;
}

bool net_check(Net *n, int32_t start, Err *err) {
    if (n->full)
        return err_set(err, ERR_LIMIT, "it is too large: more than %d states, %d rules or %d sets",
                       NET_NODES, NET_RULES, NET_SETS);
    heights_count(n);
    if (n->height[start] > NET_DEPTH)
        return err_set(err, ERR_UNSUPPORTED, "nothing can be written that is complete");
    Search s = {.net = n, .stack = PUSH(n->a, int32_t, 2 * n->n + 2)};
    s.seen = PUSH(n->a, uint8_t, n->n);
    s.rule = PUSH(n->a, uint8_t, n->n_rules + 1);
    for (int32_t i = 0; i < n->n_rules; i++)
        if (s.rule[i] == 0 && begins_itself(&s, i))
            return err_set(err, ERR_UNSUPPORTED, "a $ref leads to itself with nothing before it");
    return true;
}
