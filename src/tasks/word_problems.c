/* word_problems.c -- arithmetic in words, after iGSM (Ye et al. 2024, "Physics of Language Models:
 * Part 2.1"): quantities that depend on one another, told in any order, and some that are not
 * needed.
 *
 * A problem grows from its question back. While operations are left, one of the quantities that
 * nothing is known of yet becomes a sum of two others, or depends on one other, or on none; those
 * may be new ones or such that others depend on, too. What is unknown at the end is given. Numbers
 * come then, from what is given on, and with them the choice between more, fewer, times and a part:
 * all quantities lie in 2-99, so that what is hard is which step to take.
 *
 * A thought first says what the text says, sentence by sentence: "Bob Ann + 3" of Bob, "? Cat" of
 * the question. Then it starts from what is asked for: it says again what that is computed from,
 * does the same for each of these, or says its value where that is known, "Ann 7", and computes,
 * "Bob 7+3=10"; the last that was begun goes on. A name stands right before what is said of it, as
 * the same tokens wherever it begins a step: what is to be learned is one sentence at a time, and
 * then to find what followed a name before. */
#include "tasks/word_problems.h"

enum { OPERATIONS = 10, SUMS = 4, EXTRAS = 2, MOST = 1 + OPERATIONS + SUMS + EXTRAS, VALUE = 99 };

typedef struct Graph {
    Quantity q[MOST]; /* the first one is asked for */
    int n;
    int order[MOST]; /* each behind those that it is computed from */
} Graph;

static bool is_question(const Quantity *q) { return q->kind >= ASKED; }

/* Of each kind: its letter in the canonical form, and its operation. */
static const struct {
    char letter, op;
} how[KINDS] = {
    [GIVEN] = {'g', 0},   [PACKS] = {'p', '*'},    [LEFT] = {'l', '-'},      [MORE] = {'m', '+'},
    [FEWER] = {'f', '-'}, [TIMES] = {'t', '*'},    [PART] = {'q', '/'},      [SUM] = {'s', '+'},
    [ASKED] = {'a', 0},   [TOGETHER] = {'b', '+'}, [DIFFERENCE] = {'d', '-'}};

/* ---- growing --------------------------------------------------------------------------------- */

/* How many others a quantity depends on; one of so many is a sum. The last of those that are open
 * may not be closed while operations are left. */
static int deps_drawn(Draws *d, bool may_close, int64_t one_of) {
    if (may_close && draw_below(d, 5) == 0) return 0;
    return draw_below(d, one_of) == 0 ? 2 : 1;
}

/* The quantities and what they depend on, without kinds and numbers. */
static void graph_grow(Graph *g, Draws *d, int operations) {
    int open[MOST], n_open = 1, sums = 0, at = MOST;
    *g = (Graph){.n = 1};
    open[0] = 0;
    for (int left = operations; left; left--) {
        const int64_t taken = draw_below(d, n_open);
        Quantity *q = &g->q[open[taken]];
        g->order[--at] = open[taken];
        open[taken] = open[--n_open];
        q->deps = deps_drawn(d, n_open || left == 1, left == operations ? 2 : 4);
        if (q->deps == 2 && sums++ == SUMS) sums--, q->deps = 1;
        /* One that others wait for already moves behind those that a second one may be. */
        for (int i = 0, others = n_open; i < q->deps; i++)
            if (others && draw_below(d, 3) == 0) {
                const int64_t other = draw_below(d, others);
                q->of[i] = open[other];
                open[other] = open[--others];
                open[others] = q->of[i];
            } else
                q->of[i] = open[n_open++] = g->n++;
    }
    while (n_open) {
        const int i = open[--n_open];
        g->q[i].deps = -1; /* given */
        g->order[--at] = i;
    }
    memmove(g->order, g->order + at, (size_t)(MOST - at) * sizeof *g->order);
}

/* Quantities that nothing asked for depends on. */
static void extras_add(Graph *g, Draws *d) {
    const int first = is_question(&g->q[0]); /* it has no name to refer to */
    for (int64_t n = draw_below(d, EXTRAS + 1); n; n--) {
        Quantity *q = &g->q[g->n];
        const int named = g->n - first;
        q->deps = (int)draw_below(d, MIN(4, 2 + named)) - 1;
        if (q->deps > 0) draw_some(d, q->of, q->deps, named);
        for (int i = 0; i < q->deps; i++) q->of[i] += first;
        g->order[g->n] = g->n;
        g->n++;
    }
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int64_t draw_from(Draws *d, int64_t low, int64_t high) {
    return low + draw_below(d, high - low + 1);
}

static void leaf_fill(Quantity *q, Draws *d) {
    q->kind = q->deps < 0 ? GIVEN : draw_below(d, 2) ? PACKS : LEFT;
    q->n = q->kind == PACKS ? draw_from(d, 2, 9) : draw_from(d, 2, 20) + 2 * (q->kind == LEFT);
    q->m = q->kind == PACKS ? draw_from(d, 2, 9) : q->kind == LEFT ? draw_from(d, 2, q->n - 2) : 0;
    q->value = q->kind == GIVEN ? q->n : q->kind == PACKS ? q->n * q->m : q->n - q->m;
}

/* One of the kinds that keep the quantity within 2-99. */
static void step_fill(Quantity *q, Draws *d, int64_t x) {
    Kind fits[4 + 2];
    int64_t n = 0;
    if (x + 2 <= VALUE) fits[n++] = MORE;
    if (x - 2 >= 2) fits[n++] = FEWER;
    if (x * 2 <= VALUE) fits[n++] = TIMES;
    for (int64_t by = 2; by <= 4; by++)
        if (x % by == 0 && x / by >= 2) fits[n++] = PART;
    q->kind = fits[draw_below(d, n)];
    switch (q->kind) {
    case MORE: q->n = draw_from(d, 2, MIN(20, VALUE - x)), q->value = x + q->n; break;
    case FEWER: q->n = draw_from(d, 2, MIN(20, x - 2)), q->value = x - q->n; break;
    case TIMES: q->n = draw_from(d, 2, MIN(5, VALUE / x)), q->value = x * q->n; break;
    default:
        do q->n = draw_from(d, 2, 4);
        while (x % q->n || x / q->n < 2);
        q->value = x / q->n;
    }
}

/* A sum of two; or the question for it, or for their difference. */
static bool pair_fill(Quantity *q, Draws *d, const Quantity *all, bool may_ask) {
    const int64_t x = all[q->of[0]].value, y = all[q->of[1]].value;
    q->kind = may_ask && draw_below(d, 3) ? draw_below(d, 2) ? TOGETHER : DIFFERENCE : SUM;
    q->value = q->kind == DIFFERENCE ? MAX(x, y) - MIN(x, y) : x + y;
    if (q->kind == DIFFERENCE && x < y) {
        const int smaller = q->of[0];
        q->of[0] = q->of[1], q->of[1] = smaller;
    }
    return q->value > 0 && q->value <= VALUE;
}

/* Kinds and numbers of quantities from..n-1 of the order. false: a sum is too large. */
static bool graph_fill(Graph *g, Draws *d, int from) {
    for (int i = from; i < g->n; i++) {
        Quantity *q = &g->q[g->order[i]];
        for (int k = 0; k < q->deps; k++) q->level = MAX(q->level, g->q[q->of[k]].level + 1);
        if (q->deps < 1)
            leaf_fill(q, d);
        else if (q->deps == 1)
            step_fill(q, d, g->q[q->of[0]].value);
        else if (!pair_fill(q, d, g->q, q == g->q))
            return false;
    }
    return true;
}

static bool extras_fill(Graph *g, Draws *d) {
    const int needed = g->n;
    extras_add(g, d);
    return graph_fill(g, d, needed);
}

/* ---- the canonical form ---------------------------------------------------------------------- */

static int key(const Graph *g, const Quantity *q) {
    const int x = q->deps > 0 ? 1 + g->q[q->of[0]].group : 0;
    const int y = q->deps > 1 ? 1 + g->q[q->of[1]].group : 0;
    return ((int)q->kind * 32 + MAX(x, y)) * 32 + MIN(x, y);
}

/* The least key of a level above `last`; INT32_MAX: there is none. */
static int key_next(const Graph *g, int level, int last) {
    int least = INT32_MAX;
    for (int i = 0; i < g->n; i++) {
        const Quantity *q = &g->q[i];
        if (q->level == level && key(g, q) > last) least = MIN(least, key(g, q));
    }
    return least;
}

/* Level by level, what is computed in the same way from the same groups is of one group, and
 * groups are numbered in the order of how that is: names, numbers and the order of sentences say
 * nothing. "g p m0 s0,1 ?2": each quantity's kind and the groups that it needs. */
static Str canonical(Arena *a, Graph *g) {
    Buf b = {.a = a};
    buf_add(&b, STR("word-problems"));
    for (int level = 0, group = 0; key_next(g, level, -1) < INT32_MAX; level++)
        for (int k = key_next(g, level, -1); k < INT32_MAX; k = key_next(g, level, k), group++)
            for (int i = 0; i < g->n; i++) {
                Quantity *q = &g->q[i];
                if (q->level != level || key(g, q) != k) continue;
                q->group = group;
                buf_fmt(&b, " %c", how[q->kind].letter);
                if (q->deps > 0) buf_fmt(&b, "%d", k / 32 % 32 - 1);
                if (q->deps > 1) buf_fmt(&b, ",%d", k % 32 - 1);
            }
    buf_fmt(&b, " ?%d", g->q[0].group);
    return buf_str(&b);
}

/* ---- the thought ----------------------------------------------------------------------------- */

typedef struct Telling {
    const Language *l;
    const Theme *t;
    const char *thing;
    Graph *g;
    int order[MOST]; /* of the sentences */
} Telling;

/* Between two steps, and the name that a step is about: in English with a blank before it, as
 * names in a sentence have, so that they are the same tokens. */
static void step_begin(Buf *b, const Telling *s, const Quantity *q) {
    buf_add(b, str_of(b->n ? ";" : s->l->given));
    buf_add(b, str_of(s->l->blank));
    buf_add(b, is_question(q) ? STR("?") : str_of(s->t->name[q->name]));
}

/* "Bob Ann + 3": what the text says of a quantity; "? Bob" what is asked for. */
static void said_print(Buf *b, const Telling *s, const Quantity *q) {
    const Quantity *x = q->deps > 0 ? &s->g->q[q->of[0]] : NULL;
    const Quantity *y = q->deps > 1 ? &s->g->q[q->of[1]] : NULL;
    const char *blank = s->l->blank;
    const char op = how[q->kind].op;
    step_begin(b, s, q);
    if (!x) {
        buf_fmt(b, "%s%lld", blank, (long long)q->n);
        if (op) buf_fmt(b, "%c%lld", op, (long long)q->m);
        return;
    }
    buf_fmt(b, "%s%s", blank, s->t->name[x->name]);
    if (op) buf_fmt(b, "%s%c%s", blank, op, blank);
    if (y)
        buf_add(b, str_of(s->t->name[y->name]));
    else if (op)
        buf_fmt(b, "%lld", (long long)q->n);
}

static void solve(Buf *b, const Telling *s, Quantity *q) {
    const Quantity *all = s->g->q;
    q->known = true;
    if (!is_question(q)) said_print(b, s, q);
    for (int i = 0; i < q->deps; i++) {
        Quantity *x = &s->g->q[q->of[i]];
        if (x->known) {
            step_begin(b, s, x);
            buf_fmt(b, "%s%lld", s->l->blank, (long long)x->value);
        } else {
            solve(b, s, x);
        }
    }
    if (q->deps > 0) {
        step_begin(b, s, q);
        buf_fmt(b, "%s%lld%c%lld", s->l->blank, (long long)all[q->of[0]].value, how[q->kind].op,
                (long long)(q->deps > 1 ? all[q->of[1]].value : q->n));
    }
    if (q->kind != GIVEN) buf_fmt(b, "=%lld", (long long)q->value);
}

/* ---- problems -------------------------------------------------------------------------------- */

static void sentence_add(Buf *b, Draws *d, const Telling *s, const Quantity *q) {
    const char *const *say = s->t->say[q->kind];
    if (b->n) buf_add(b, str_of(s->l->joint));
    quantity_say(b, s->l, s->t, s->thing, s->g->q, q, say[say[1] ? draw_wording(d, 2) : 0]);
}

/* The sentences in any order, and the question; the thought says the same, and computes. */
static void tell(Problem *p, Arena *a, Draws *d, Telling *s) {
    Buf told = {.a = a}, thought = {.a = a};
    Quantity *first = s->g->q;
    const Quantity asked = {.kind = ASKED, .deps = 1};
    const Quantity *question = is_question(first) ? first : &asked;
    for (int i = 0; i < s->g->n; i++) {
        const Quantity *q = &first[s->order[i]];
        if (is_question(q)) continue;
        sentence_add(&told, d, s, q);
        said_print(&thought, s, q);
    }
    sentence_add(&told, d, s, question);
    said_print(&thought, s, question);
    solve(&thought, s, first);
    p->prompt = buf_str(&told), p->thought = buf_str(&thought);
}

static void draw(Problem *p, Arena *a, Draws *d, int operations) {
    const bool chinese = d->index % 2;
    const Language *l = chinese ? &language_chinese : &language_english;
    Graph g;
    Telling s = {.l = l, .t = &l->theme[draw_wording(d, l->themes)], .g = &g};
    int names[PEOPLE], things = 1;
    do graph_grow(&g, d, operations);
    while (!graph_fill(&g, d, 0) || !extras_fill(&g, d));
    draw_some(d, names, g.n, PEOPLE);
    for (int i = 0; i < g.n; i++) g.q[i].name = names[i];
    while (things < COUNT(s.t->thing) && s.t->thing[things]) things++;
    s.thing = s.t->thing[draw_below(d, things)];
    draw_some(d, s.order, g.n, g.n);
    tell(p, a, d, &s);
    p->answer = str_fmt(a, "%lld", (long long)g.q[0].value);
    p->canonical = canonical(a, &g);
    p->stratum = task_word_problems.stratum[chinese];
}

const Task task_word_problems = {.name = "word-problems",
                                 .help = "arithmetic in words, in English and Chinese",
                                 .easiest = 1,
                                 .hardest = OPERATIONS,
                                 .difficulty = "operations",
                                 .stratum = {"english", "chinese"},
                                 .draw = draw,
                                 .check = check_same};
