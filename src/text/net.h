/* net.h -- private to text/: what may be written, as a network that is walked byte by byte.
 *
 * A node stands for all that may come from there on. NODE_BYTES awaits one byte of a set and goes
 * on at `next`; NODE_SPLIT goes on at `next` or at `other`; NODE_CALL walks a rule and goes on at
 * `next` behind it; NODE_RETURN ends a rule, NODE_END the whole. So what is repeated inside itself
 * (JSON values in JSON values) is a rule, and everything else is a plain automaton.
 *
 * A net is built from its end: each function takes the node that follows and returns the node that
 * begins. When a net is full all of them return NET_NONE, from which nothing can come; net_check
 * tells. */
#pragma once
#include "text/text.h"

enum {
    NET_NONE,
    NET_RETURN,
    NET_END,
    NET_FIRST, /* the first node of one's own */
    NET_NODES = 100000,
    NET_WORK = 1000000, /* parts of expressions that are put, those that come to nothing too */
    NET_SETS = 1024,
    NET_RULES = 2048,
    NET_LOOPS = 12, /* kinds of characters whose repetitions have a table of tokens */
    NET_DEPTH = 48, /* rules in rules, while walking */
    NET_FOREVER = INT32_MAX
};

typedef enum NodeKind { NODE_BYTES, NODE_SPLIT, NODE_CALL, NODE_RETURN, NODE_END } NodeKind;

/* loop: any character of kind number loop - 1 may come here, and `left` of them in a row; 0: this
 * is not known. exact: and no more of them. It is a hint that adds nothing to what the node stands
 * for. */
typedef struct Node {
    uint8_t kind, loop;
    bool exact;
    int32_t left;
    int32_t other; /* BYTES: number of the set; SPLIT: the second node; CALL: number of the rule */
    int32_t next;
} Node;

typedef struct ByteSet {
    uint64_t w[4];
} ByteSet;
static inline bool set_has(const ByteSet *s, int b) { return s->w[b >> 6] >> (b & 63) & 1; }
static inline void set_add(ByteSet *s, int b) { s->w[b >> 6] |= (uint64_t)1 << (b & 63); }

/* Kinds of characters: some of ASCII, and beyond it none, all as valid UTF-8, or any bytes. */
typedef enum Beyond { BEYOND_NONE, BEYOND_UTF8, BEYOND_BYTES } Beyond;
typedef struct CharKind {
    uint64_t ascii[2];
    uint64_t beyond; /* a Beyond */
} CharKind;
static inline bool kind_has(const CharKind *k, int c) { return k->ascii[c >> 6] >> (c & 63) & 1; }

/* How a character is written. */
typedef enum Writing {
    WRITE_PLAIN, /* as it is */
    WRITE_JSON,  /* inside of a JSON text */
    WRITE_CALL,  /* inside of a JSON text between the tags of a call, which it must not close */
    WRITINGS
} Writing;

typedef struct Net {
    Arena *a;
    Node *node;
    ByteSet *set;
    int32_t *rule;   /* the first node of each */
    int32_t *height; /* (nodes) rules in rules that are needed to the end; NET_FOREVER: no end */
    CharKind loop[NET_LOOPS];
    int32_t n, n_sets, n_rules, n_loops;
    int32_t texts[WRITINGS], texts_open; /* rules of a character of any text (pattern.c), or -1 */
    int32_t work;
    bool full;
} Net;

void net_init(Net *n, Arena *a);
int32_t net_set(Net *n, ByteSet s, int32_t next);
int32_t net_text(Net *n, Str s, int32_t next);            /* these bytes */
int32_t net_any(Net *n, const char *bytes, int32_t next); /* one of them */
int32_t net_range(Net *n, int lo, int hi, int32_t next);  /* a byte of lo..hi */
/* A character U+lo..U+hi as UTF-8; no surrogates. */
int32_t net_chars(Net *n, int32_t lo, int32_t hi, int32_t next);
int32_t net_or(Net *n, int32_t a, int32_t b);
static inline int32_t net_maybe(Net *n, Str s, int32_t next) {
    return net_or(n, net_text(n, s, next), next);
}
/* A place that is walked to before it is known what stands there: net_put says that. */
int32_t net_place(Net *n);
void net_put(Net *n, int32_t place, int32_t a, int32_t b);
int32_t net_rule(Net *n); /* its number; n->rule[number] is to be set */
int32_t net_call(Net *n, int32_t rule, int32_t next);
/* The number + 1 of a kind of characters for Node.loop; 0 where there are too many. */
int net_loop(Net *n, CharKind k);
void net_mark(Net *n, int32_t node, int loop, int32_t left, bool exact);

/* Counts heights from `start` on. False where the net is full, where nothing can ever be complete,
 * and where a rule begins with itself. */
bool net_check(Net *n, int32_t start, Err *err) CHECKED;
