/* countdown.c -- make a number from others: each exactly once, with + - * / on exact rationals.
 *
 * Numbers are drawn from 1-99, the target uniformly from the integers 10-100 that they can make.
 * Problems that + and - alone solve, most of them, are the stratum "plain", all others "hard"; the
 * strata take turns.
 *
 * A thought is a search. For three numbers it tries pairs and operations in a fixed order and
 * writes a line for each: "25+7=32|35,29,96" is a step, and behind it what the third number makes
 * of its result, as far as that lies in 0-100, until the target stands there. With three numbers
 * whole numbers are enough: where a quotient is needed it can be taken last. For four numbers a
 * thought tries all signs; then it chooses a first step, "[25-7=18]", and tries that as three
 * numbers; up to three first steps that lead nowhere come before one that does. Of the few problems
 * that need fractions in between, and of all with five numbers, which are there to ask beyond what
 * was trained, it writes the steps alone. */
#include "tasks/parts.h"

#include <stdlib.h>

enum { NUMBERS = 5, LOW = 10, HIGH = 100, SHOWN = 100, PRODUCT_MAX = 9900, FAILURES = 3 };
static const char OPS[] = {'+', '-', '*', '/'};

static bool is_whole(const Term *t, int64_t value) {
    return t->value.d == 1 && t->value.n == value;
}

/* ---- all that numbers can make --------------------------------------------------------------- */

typedef bool Visit(void *arg, const Term *t); /* true ends the walk */

/* The terms without two of them, and their result in front. */
static void joined(const Term **to, const Term *const *v, int n, int i, int j, const Term *r) {
    *to++ = r;
    for (int k = 0; k < n; k++)
        if (k != i && k != j) *to++ = v[k];
}

/* Visits every term that uses all of v (n): of any two both orders, of what commutes one. */
static bool walk(const Term *const *v, int n, Visit *visit, void *arg) {
    if (n == 1) return visit(arg, v[0]);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            for (int k = 0; k < COUNT(OPS); k++) {
                Term r = {.op = OPS[k], .x = v[i], .y = v[j]};
                const Term *rest[NUMBERS];
                if (i == j || (i > j && (OPS[k] == '+' || OPS[k] == '*'))) continue;
                if (!rational_apply(&r.value, v[i]->value, OPS[k], v[j]->value)) continue;
                joined(rest, v, n, i, j, &r);
                if (walk(rest, n - 1, visit, arg)) return true;
            }
    return false;
}

static bool reached(void *arg, const Term *t) {
    bool *can = arg; /* (HIGH + 1) */
    if (t->value.d == 1 && t->value.n >= LOW && t->value.n <= HIGH) can[t->value.n] = true;
    return false;
}

static bool is_plain(const int64_t *number, int n, int64_t target) {
    for (int signs = 0; signs < 1 << n; signs++) {
        int64_t sum = 0;
        for (int i = 0; i < n; i++) sum += signs >> i & 1 ? -number[i] : number[i];
        if (sum == target) return true;
    }
    return false;
}

/* ---- the search that is written down --------------------------------------------------------- */

/* The larger before the smaller; whole numbers only, and none that is too large to be of use. */
static bool whole_step(Term *r, const Term *x, char op, const Term *y) {
    const bool swap = x->value.n < y->value.n;
    *r = (Term){.op = op, .x = swap ? y : x, .y = swap ? x : y};
    return rational_apply(&r->value, r->x->value, op, r->y->value) && r->value.d == 1
           && r->value.n <= PRODUCT_MAX;
}

static void step_print(Buf *b, const Term *r) {
    rational_print(b, r->x->value);
    buf_fmt(b, "%c", r->op);
    rational_print(b, r->y->value);
    buf_add(b, STR("="));
    rational_print(b, r->value);
}

/* What the third number makes of r; true with the answer when that is the target. */
static bool last_step(Buf *thought, Buf *answer, const Term *r, const Term *third, int64_t target) {
    for (int64_t k = 0, shown = 0; k < COUNT(OPS); k++) {
        Term t;
        if (!whole_step(&t, r, OPS[k], third) || t.value.n > SHOWN) continue;
        buf_fmt(thought, "%s%lld", shown++ ? "," : "", (long long)t.value.n);
        if (!is_whole(&t, target)) continue;
        term_print(answer, &t);
        return true;
    }
    return false;
}

static bool search_three(Buf *thought, Buf *answer, const Term *const *v, int64_t target) {
    static const int pair[3][3] = {{0, 1, 2}, {0, 2, 1}, {1, 2, 0}};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < COUNT(OPS); k++) {
            Term r;
            if (!whole_step(&r, v[pair[i][0]], OPS[k], v[pair[i][1]])) continue;
            if (thought->n) buf_add(thought, STR(" "));
            step_print(thought, &r);
            buf_add(thought, STR("|"));
            if (last_step(thought, answer, &r, v[pair[i][2]], target)) return true;
        }
    return false;
}

/* A first step of four numbers, and the search that follows it. */
typedef struct Branch {
    Buf thought, answer;
    bool found;
} Branch;

static int64_t branches_search(Branch *branch, Arena *a, const Term *const *v, int64_t target) {
    int64_t n = 0;
    for (int i = 0; i < 4; i++)
        for (int j = i + 1; j < 4; j++)
            for (int k = 0; k < COUNT(OPS); k++) {
                Term r;
                const Term *rest[NUMBERS];
                Branch *b = &branch[n];
                if (!whole_step(&r, v[i], OPS[k], v[j])) continue;
                *b = (Branch){.thought.a = a, .answer.a = a};
                joined(rest, v, 4, i, j, &r);
                Buf lines = {.a = a};
                b->found = search_three(&lines, &b->answer, rest, target);
                buf_add(&b->thought, STR("["));
                step_print(&b->thought, &r);
                buf_add(&b->thought, STR("] "));
                buf_add(&b->thought, buf_str(&lines));
                n++;
            }
    return n;
}

/* The numbers in their order, joined by + and - alone: "[3+7=10] 10+25=35|85,15 25-10=15|65,35" and
 * so on. Differences are positive, so these four lines have all choices of signs. */
static bool search_signs(Buf *thought, Buf *answer, const Term *const *v, int64_t target) {
    for (int i = 0; i < 2; i++) {
        Term first, second;
        CHECK(whole_step(&first, v[0], OPS[i], v[1]));
        buf_add(thought, i ? STR(" [") : STR("["));
        step_print(thought, &first);
        buf_add(thought, STR("]"));
        for (int k = 0; k < 2; k++) {
            CHECK(whole_step(&second, &first, OPS[k], v[2]));
            buf_add(thought, STR(" "));
            step_print(thought, &second);
            buf_add(thought, STR("|"));
            if (last_step(thought, answer, &second, v[3], target)) return true;
        }
    }
    return false;
}

/* The signs; then branches, some that fail and the first that does not. false: there is none. */
static bool search_four(Buf *thought, Buf *answer, Arena *a, Draws *d, const Term *const *v,
                        int64_t target) {
    Branch branch[6 * COUNT(OPS)];
    const Branch *found = NULL, *failed[COUNT(branch)];
    if (search_signs(thought, answer, v, target)) return true;
    const int64_t n = branches_search(branch, a, v, target);
    int64_t fails = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!branch[i].found) failed[fails++] = &branch[i];
        if (branch[i].found && !found) found = &branch[i];
    }
    for (int64_t left = draw_below(d, FAILURES + 1); found && left > 0 && fails > 0; left--) {
        const int64_t i = draw_below(d, fails);
        buf_fmt(thought, " %.*s", STRF(buf_str(&failed[i]->thought)));
        failed[i] = failed[--fails];
    }
    if (!found) return false;
    buf_fmt(thought, " %.*s", STRF(buf_str(&found->thought)));
    buf_add(answer, buf_str(&found->answer));
    return true;
}

/* ---- fractions in between -------------------------------------------------------------------- */

typedef struct Wanted {
    int64_t target;
    Buf *thought, *answer;
} Wanted;

static void steps_print(Buf *b, const Term *t) {
    if (!t->op) return;
    steps_print(b, t->x);
    steps_print(b, t->y);
    if (b->n) buf_add(b, STR(" "));
    step_print(b, t);
}

static bool wanted(void *arg, const Term *t) {
    const Wanted *w = arg;
    if (!is_whole(t, w->target)) return false;
    steps_print(w->thought, t);
    term_print(w->answer, t);
    return true;
}

/* ---- problems -------------------------------------------------------------------------------- */

/* Numbers, and a target among those that they can make; 0: they make none. */
static int64_t drawn_target(Draws *d, int64_t *number, Term *term, const Term **v, int n) {
    bool can[HIGH + 1] = {false};
    int64_t target[HIGH + 1], targets = 0;
    for (int i = 0; i < n; i++) {
        number[i] = 1 + draw_below(d, 99);
        term[i] = (Term){.value = {number[i], 1}};
        v[i] = &term[i];
    }
    walk(v, n, reached, can);
    for (int64_t t = LOW; t <= HIGH; t++)
        if (can[t]) target[targets++] = t;
    return targets ? target[draw_below(d, targets)] : 0;
}

/* "3, 7 and 25", and with other joints; the last one as the others where it is NULL. */
static Str listed(Arena *a, const int64_t *number, int n, const char *joint, const char *last) {
    Buf b = {.a = a};
    for (int i = 0; i < n; i++)
        buf_fmt(&b, "%s%lld",
                i == 0               ? ""
                : i == n - 1 && last ? last
                                     : joint,
                (long long)number[i]);
    return buf_str(&b);
}

static Str worded(Arena *a, Draws *d, const int64_t *number, int n, int64_t target) {
    const Str in_order = listed(a, number, n, ", ", " and ");
    switch (draw_wording(d, 3)) {
    case 0:
        return str_fmt(a, "Use %.*s with + - * / to make %lld. Use each number exactly once.",
                       STRF(in_order), (long long)target);
    case 1:
        return str_fmt(a, "Make %lld from %.*s: each number once, with + - * /.", (long long)target,
                       STRF(in_order));
    default:
        return str_fmt(a, "用 %.*s 各一次，通过 + - * / 得到 %lld。",
                       STRF(listed(a, number, n, "、", NULL)), (long long)target);
    }
}

static int ascending(const void *x, const void *y) {
    const int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static Str canonical(Arena *a, const int64_t *number, int n, int64_t target) {
    int64_t sorted[NUMBERS];
    memcpy(sorted, number, (size_t)n * sizeof *number);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    return str_fmt(a, "countdown %lld %.*s", (long long)target,
                   STRF(listed(a, sorted, n, " ", NULL)));
}

/* false: there is no search of this kind that finds the target. */
static bool search(Buf *thought, Buf *answer, Arena *a, Draws *d, const Term *const *v, int n,
                   int64_t target) {
    return n == 3   ? search_three(thought, answer, v, target)
           : n == 4 ? search_four(thought, answer, a, d, v, target)
                    : false;
}

static void draw(Problem *p, Arena *a, Draws *d, int n) {
    int64_t number[NUMBERS], target;
    Term term[NUMBERS];
    const Term *v[NUMBERS];
    const bool plain = d->index % 2 == 0;
    Buf thought = {.a = a}, answer = {.a = a};
    do target = drawn_target(d, number, term, v, n);
    while (!target || is_plain(number, n, target) != plain);
    if (!search(&thought, &answer, a, d, v, n, target))
        CHECK(walk(v, n, wanted, &(Wanted){target, &thought, &answer}));
    *p = (Problem){.prompt = worded(a, d, number, n, target),
                   .thought = buf_str(&thought),
                   .answer = buf_str(&answer),
                   .canonical = canonical(a, number, n, target),
                   .stratum = task_countdown.stratum[!plain]};
}

/* ---- checking -------------------------------------------------------------------------------- */

/* The canonical form's numbers, of which the first is the target. */
static int64_t numbers_of(Str form, int64_t *number) {
    int64_t n = 0;
    for (int64_t i = STR("countdown").n; i < form.n; i++) {
        if (form.p[i] == ' ') {
            CHECK(n <= NUMBERS);
            number[n++] = 0;
        } else
            number[n - 1] = 10 * number[n - 1] + (form.p[i] - '0');
    }
    return n;
}

static bool check(const Problem *p, Str answer) {
    int64_t given[NUMBERS + 1], used[NUMBERS], n;
    const int64_t n_given = numbers_of(p->canonical, given) - 1;
    Rational value;
    if (!expression_read(answer, &value, used, n_given, &n) || n != n_given) return false;
    qsort(used, (size_t)n, sizeof *used, ascending);
    return value.d == 1 && value.n == given[0]
           && !memcmp(used, given + 1, (size_t)n * sizeof *used);
}

const Task task_countdown = {.name = "countdown",
                             .help = "make a number from three to five others with + - * /",
                             .easiest = 3,
                             .hardest = NUMBERS,
                             .difficulty = "numbers",
                             .stratum = {"plain", "hard"},
                             .draw = draw,
                             .check = check};
