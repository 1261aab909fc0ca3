/* sequence.h -- part of base.h: who has a say in how a sequence of tokens goes on. Those who make
 * them (text/ a grammar) and the engine that asks them (infer/) do not see each other, so the
 * interfaces stand here.
 *
 * Each belongs to one sequence. The engine calls it from its own thread, between forwards, from the
 * request's arrival to its last token; whoever made it keeps it alive for so long. Neither may
 * depend on anything but the tokens it was told: the answer must not depend on who else is in the
 * batch. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* What may be generated. Its state is the tokens that it has accepted since the prompt. */
typedef struct Constraint {
    void *self;
    /* Sets bit id % 64 of bits[id / 64] for each id < V that may come next, one at least. They are
     * clear before. false: every token may, and bits are not looked at. */
    bool (*mask)(void *self, uint64_t *bits, int64_t V);
    /* Writes what must come next, each token the only one that mask would allow in its place, as
     * far as that is easily known and `most` goes; returns how many. */
    int64_t (*forced)(void *self, int32_t *token, int64_t most);
    bool (*accept)(void *self, int32_t token); /* false: nothing may follow this token */
    void (*rollback)(void *self, int64_t n);   /* as if the last n had not been accepted */
} Constraint;

/* Guesses how a sequence goes on. A right guess saves a step, a wrong one costs a row; neither
 * changes a bit of the answer. */
typedef struct Drafter {
    void *self;
    /* Writes up to `most` tokens that may follow token[0..n-1]; returns how many. */
    int64_t (*propose)(void *self, const int32_t *token, int64_t n, int32_t *draft, int64_t most);
    /* After each step that gave the sequence tokens and not its end: it is token[0..n-1] now; of
     * the drafts `proposed` were tried (a constraint may forbid some), the first `accepted` were
     * right. */
    void (*learn)(void *self, const int32_t *token, int64_t n, int64_t proposed, int64_t accepted);
} Drafter;
