/* walk.h -- private to text/: a net while it is walked.
 *
 * A state is the set of all places in the net where a text may have led to, each with the rules
 * that it is inside of. States are made when they are first met and kept in a cache of fixed size,
 * with where each byte leads to and with the tokens that may come. When the cache is full all of
 * it is forgotten: numbers of states hold for one `epoch` only. What is allowed never depends on
 * what the cache holds. */
#pragma once
#include "text/lexicon.h"

enum {
    WALK_STATES = 1 << 15,
    WALK_ITEMS = 1 << 20,
    WALK_FRAMES = 1 << 17,
    WALK_SET = 512, /* places of a state; further ones are left out, so that less may be written */
    WALK_MASK_BYTES = 32 << 20,
    STATE_DEAD = 0 /* nothing may come */
};

typedef struct Frame {
    int32_t back, parent; /* the node behind the call, and the frame around it */
    int32_t depth;
} Frame;
typedef struct Item {
    int32_t node, frame;
} Item;
typedef struct State {
    int32_t at, n; /* items */
    int32_t mask;  /* number, or -1 */
    int32_t left;  /* characters of kind `loop - 1` that may come in a row */
    uint8_t loop;
    bool exact;    /* and no more than these; whatever else may come is of another kind */
    bool complete; /* the text may end here */
} State;

/* A place on its own: the nodes that it goes back to, the innermost first. */
typedef struct Kept {
    int32_t node, n, back[NET_DEPTH + 1];
} Kept;

typedef struct Walk {
    const Net *net;
    uint8_t class_of[256]; /* bytes that no set of the net tells apart have one class */
    uint8_t byte_of[256];  /* one of each class */
    int64_t n_classes;
    uint32_t epoch;
    State *state;
    Item *item;
    Frame *frame;
    int32_t *row; /* (states, classes): the next state; -1: not known yet */
    HashTable states, frames;
    int32_t n_states, n_items, n_frames;
    bool full; /* a state found no room */
    Item work[WALK_SET];
    int32_t n_work;
    /* closure: what was visited, by stamps; and what is still to be visited */
    uint32_t *stamp, now;
    Item *seen;
    Item seeds[WALK_SET], stack[4 * WALK_SET];
    Kept *kept; /* (WALK_SET) of a state that is renewed */
} Walk;

void walk_init(Walk *w, Arena *a, const Net *net);
void walk_forget(Walk *w);
int32_t walk_begin(Walk *w, int32_t node);             /* the state of a walk that begins there */
int32_t walk_compute(Walk *w, int32_t state, int cls); /* of walk_step, what is not known yet */
static inline int32_t walk_step(Walk *w, int32_t state, uint8_t byte) {
    const int cls = w->class_of[byte];
    const int32_t next = w->row[state * w->n_classes + cls];
    return next >= 0 ? next : walk_compute(w, state, cls);
}
/* The only byte that may come, or -1 where there are several or the text may end. */
int walk_only(const Walk *w, int32_t state);
/* Forgets everything but one state; its new number. */
int32_t walk_renew(Walk *w, int32_t state);
