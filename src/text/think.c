/* think.c -- a budget for the thought of a sequence, as a constraint on its tokens.
 *
 * It reads the tokens' spelling as the splitter does: a thought is opened by <think> at the very
 * beginning, or by the prompt, and ends at </think>, whether these are tokens or are spelled. The
 * budget counts the tokens behind the one that opened it. When it is used up, what may come is one
 * token after another of the template's own end of a thought; before and behind that all may come.
 * Where the thought has just ended a line, the first line break of that end is left out. */
#include "text/text.h"

/* Ordered: a sequence goes from one to the next, or on to FREE. */
typedef enum Phase { BEFORE, INSIDE, ENDING, FREE } Phase;

typedef struct State {
    uint8_t phase, matched; /* matched: bytes of the tag that is awaited */
    bool newline;           /* INSIDE: the thought ends with one; ENDING: it did */
    int64_t n;              /* INSIDE: tokens of the thought; ENDING: of its end, that came */
} State;

typedef struct Limit {
    const Tokenizer *t;
    int64_t budget;
    Ids end[2]; /* the second: behind a line break */
    Arena *a;
    State *past; /* (n), past[n - 1] is now; no further ones when it is FREE */
    int64_t n, room, free;
} Limit;

/* ---- one token further ----------------------------------------------------------------------- */

static void state_step(const Limit *l, State *s) {
    if (s->phase == INSIDE && s->n >= l->budget) *s = (State){ENDING, 0, s->newline, 0};
}

static void char_read(State *s, char c) {
    const Str tag = s->phase == BEFORE ? STR("<think>") : STR("</think>");
    if (s->phase == FREE) return;
    if (c != tag.p[s->matched]) {
        if (s->phase == BEFORE && !(c == '\n' && s->matched == 0)) s->phase = FREE;
        s->matched = s->phase == INSIDE && c == tag.p[0];
    } else if (++s->matched == tag.n) {
        *s = (State){.phase = s->phase == BEFORE ? INSIDE : FREE};
    }
}

static State state_after(const Limit *l, State s, int32_t token) {
    const Str bytes = token_bytes(l->t, token);
    if (s.phase == ENDING) {
        if (++s.n == l->end[s.newline].n) s.phase = FREE;
        return s;
    }
    const bool inside = s.phase == INSIDE;
    for (int64_t i = 0; i < bytes.n; i++) char_read(&s, bytes.p[i]);
    if (s.phase != INSIDE) return s;
    s.n += inside;
    if (bytes.n && inside) s.newline = bytes.p[bytes.n - 1] == '\n';
    state_step(l, &s);
    return s;
}

/* ---- the constraint -------------------------------------------------------------------------- */

static State now(const Limit *l) { return l->past[l->n - 1]; }

static int64_t limit_forced(void *self, int32_t *token, int64_t most) {
    const Limit *l = self;
    const State s = now(l);
    const Ids *end = &l->end[s.newline];
    if (s.phase != ENDING) return 0;
    const int64_t n = MIN(most, end->n - s.n);
    for (int64_t i = 0; i < n; i++) token[i] = end->v[s.n + i];
    return n;
}

static bool limit_mask(void *self, uint64_t *bits, int64_t V) {
    int32_t only;
    (void)V;
    if (limit_forced(self, &only, 1) == 0) return false;
    bits[only / 64] |= (uint64_t)1 << only % 64;
    return true;
}

static bool limit_accept(void *self, int32_t token) {
    Limit *l = self;
    if (now(l).phase == FREE) return l->free++, true;
    if (l->n == l->room) {
        State *more = PUSH(l->a, State, l->room *= 2);
        memcpy(more, l->past, (size_t)l->n * sizeof *more);
        l->past = more;
    }
    l->past[l->n] = state_after(l, now(l), token);
    l->n++;
    return true;
}

static void limit_rollback(void *self, int64_t n) {
    Limit *l = self;
    const int64_t free = MIN(n, l->free);
    l->free -= free;
    l->n -= n - free;
    CHECK(l->n > 0);
}

/* ---- making one ------------------------------------------------------------------------------ */

static bool end_encode(Limit *l, Str end, int64_t V, Err *err) {
    Arena *scratch = arena_open("the end of a thought", ARENA_NO_LIMIT);
    bool ok = true;
    for (int i = 0; ok && i < 2; i++) {
        l->end[i].a = l->a;
        if (i && str_starts(end, STR("\n"))) end.p++, end.n--;
        ok = text_encode(&l->end[i], l->t, end, TEXT_PARSED, scratch, err);
        for (int64_t k = 0; ok && k < l->end[i].n; k++)
            ok = l->end[i].v[k] < V
                 || err_set(err, ERR_FORMAT,
                            "the tokenizer ends thoughts with token %d, and the model has %lld",
                            l->end[i].v[k], (long long)V);
    }
    arena_close(scratch);
    return ok;
}

bool thought_budget(Constraint *out, Arena *a, const Chat *c, int64_t V, int64_t budget,
                    bool in_thought, Err *err) {
    enum { ROOM_FIRST = 64 };
    if (c->thought_end.n == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "a budget for thoughts: the model's chat template knows no thoughts");
    Limit *l = PUSH(a, Limit, 1);
    *l = (Limit){.t = c->t, .budget = budget, .a = a, .n = 1, .room = ROOM_FIRST};
    if (!end_encode(l, c->thought_end, V, err)) return false;
    l->past = PUSH(a, State, ROOM_FIRST);
    l->past[0].phase = in_thought ? INSIDE : BEFORE;
    state_step(l, &l->past[0]);
    *out = (Constraint){l, limit_mask, limit_forced, limit_accept, limit_rollback};
    return true;
}

bool thought_budget_read(int64_t *budget, Str s) {
    static const struct {
        const char *name;
        int64_t tokens;
    } efforts[] = {{"low", 512}, {"medium", 2048}, {"high", 8192}}; /* THOUGHT_EFFORTS */
    for (int64_t i = 0; i < COUNT(efforts); i++)
        if (str_eq(s, str_of(efforts[i].name))) return *budget = efforts[i].tokens, true;
    return str_i64(s, budget) && *budget >= 0;
}
