/* lookup.c -- a drafter that looks the sequence itself up: where its last tokens stood before, what
 * followed them then may follow now (prompt lookup; Saxena 2023). Answers that quote their prompt,
 * code and tables are full of such places.
 *
 * Whether guessing pays is learnt as it goes: a run of right guesses makes the next one longer, a
 * wrong one makes it shorter and, from the second on, pauses for a time that doubles. */
#include "infer/infer.h"

enum { WORD = 3, LONGEST = 8, PAUSE_MOST = 64 };

typedef struct Lookup {
    int64_t length, pause, wait; /* of the next guess; steps to come without one; after a failure */
} Lookup;

/* The last place before the end where the sequence's last WORD tokens stood: what is behind it. */
static int64_t place_of(const int32_t *token, int64_t n) {
    const int32_t *end = token + n - WORD;
    for (int64_t at = n - WORD - 1; at >= 0; at--)
        if (token[at] == end[0] && token[at + 1] == end[1] && token[at + 2] == end[2])
            return at + WORD;
    return n;
}

static int64_t propose(void *self, const int32_t *token, int64_t n, int32_t *draft, int64_t most) {
    Lookup *l = self;
    if (l->pause > 0 || n < WORD + 1) {
        l->pause -= l->pause > 0;
        return 0;
    }
    const int64_t at = place_of(token, n), count = MIN(MIN(most, l->length), n - at);
    if (count > 0) memcpy(draft, token + at, (size_t)count * sizeof *draft);
    return count;
}

static void learn(void *self, const int32_t *token, int64_t n, int64_t proposed, int64_t accepted) {
    Lookup *l = self;
    (void)token, (void)n;
    if (proposed == 0) return;
    if (accepted == proposed) {
        l->length = MIN(2 * l->length, LONGEST), l->wait = 0;
    } else if (accepted > 0) {
        l->length = MAX(accepted, 1), l->wait = 0;
    } else {
        l->length = MAX(l->length / 2, 1), l->pause = l->wait;
        l->wait = MIN(MAX(2 * l->wait, 1), PAUSE_MOST);
    }
}

void lookup_drafter(Drafter *out, Arena *a) {
    Lookup *l = PUSH(a, Lookup, 1);
    l->length = 2;
    *out = (Drafter){l, propose, learn};
}
