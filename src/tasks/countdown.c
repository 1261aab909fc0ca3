/* countdown.c -- make a number from others: each exactly once, with + - * / on exact rationals.
 *
 * Numbers are drawn from 1-99, the target uniformly from the integers 10-100 that they can make.
 * Problems that + and - alone solve, most of them, are the stratum "plain", all others "hard"; the
 * strata take turns.
 *
 * A thought is a search from both ends. It takes two of the numbers and writes down what they make,
 * "3&7:+10-4*21": their sum, difference, product and quotient. Then it writes what could make the
 * target with the other numbers, "25:-21" (46 with 25): the same four operations, since each of
 * them is undone by another. A number that stands on both sides is the end, "=", behind which the
 * steps come in the order in which they are computed. With four numbers the other two are joined
 * or undone one after the other, in both orders; before all that a thought tries all signs. Of the
 * problems that are not solved by whole numbers of moderate size, and of all with five numbers,
 * which are there to ask beyond what was trained, it writes the steps alone, behind "?". */
#include "tasks/parts.h"

#include <stdlib.h>

enum { NUMBERS = 5, LOW = 10, HIGH = 100, SHOWN = 100, MOST_OF_THREE = 9900, MOST_OF_FOUR = 999 };
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

/* ---- steps ----------------------------------------------------------------------------------- */

/* The larger before the smaller, and whole numbers only. */
static bool whole_step(Term *r, const Term *x, char op, const Term *y) {
    const bool swap = x->value.n < y->value.n;
    *r = (Term){.op = op, .x = swap ? y : x, .y = swap ? x : y};
    return rational_apply(&r->value, r->x->value, op, r->y->value) && r->value.d == 1;
}

static void step_print(Buf *b, const Term *r) {
    rational_print(b, r->x->value);
    buf_fmt(b, "%c", r->op);
    rational_print(b, r->y->value);
    buf_add(b, STR("="));
    rational_print(b, r->value);
}

static void steps_print(Buf *b, const Term *t) {
    if (!t->op) return;
    steps_print(b, t->x);
    steps_print(b, t->y);
    if (b->n) buf_add(b, STR(" "));
    step_print(b, t);
}

/* ---- the search that is written down --------------------------------------------------------- */

typedef struct Search {
    Buf *thought;
    int64_t largest;        /* number on the way to the target */
    Term made[COUNT(OPS)];  /* of two numbers ... */
    Term other[COUNT(OPS)]; /* ... and of the other two */
    int n, others;
    Term step[2]; /* (found) what follows the pair, the target last */
} Search;

/* What x and y make, none above `most`: the number of results. */
static int results(Term *to, const Term *x, const Term *y, int64_t most) {
    int n = 0;
    for (int k = 0; k < COUNT(OPS); k++)
        n += whole_step(&to[n], x, OPS[k], y) && to[n].value.n <= most;
    return n;
}

static void result_print(Buf *b, const Term *r) {
    buf_fmt(b, "%c%lld", r->op, (long long)r->value.n);
}

/* r: x joined to y so that it makes `to`. */
static bool joins(Term *r, const Term *x, const Term *y, const Term *to) {
    for (int k = 0; k < COUNT(OPS); k++)
        if (whole_step(r, x, OPS[k], y) && r->value.n == to->value.n) return true;
    return false;
}

/* "3&7:+10-4*21": what two numbers make. */
static void join(Search *s, const Term *x, const Term *y) {
    buf_fmt(s->thought, "%s%lld&%lld:", s->thought->n ? " " : "", (long long)x->value.n,
            (long long)y->value.n);
    s->n = results(s->made, x, y, s->largest);
    for (int i = 0; i < s->n; i++) result_print(s->thought, &s->made[i]);
}

/* "-21": what makes `to` with y, as far as the pair can be as large. True with the step, and
 * "=" behind it, when the pair makes one of them. */
static bool meets(Search *s, Term *step, const Term *to, const Term *y) {
    Term goal[COUNT(OPS)];
    int64_t most = 0;
    for (int k = 0; k < s->n; k++) most = MAX(most, s->made[k].value.n);
    const int n = results(goal, to, y, most);
    for (int i = 0; i < n; i++) {
        result_print(s->thought, &goal[i]);
        for (int k = 0; k < s->n; k++)
            if (is_whole(&s->made[k], goal[i].value.n) && joins(step, &s->made[k], y, to)) {
                buf_add(s->thought, STR("="));
                return true;
            }
    }
    return false;
}

/* "|50,25:+96(+121-71)-4(+29-21*100)": with the last number the target is made of 96 or 4, and
 * these with the third of what stands in brackets. */
static bool one_by_one(Search *s, const Term *target, const Term *last, const Term *third) {
    Term to[COUNT(OPS)];
    const int n = results(to, target, last, s->largest);
    buf_fmt(s->thought, "|%lld,%lld:", (long long)last->value.n, (long long)third->value.n);
    for (int i = 0; i < n; i++) {
        result_print(s->thought, &to[i]);
        buf_add(s->thought, STR("("));
        if (meets(s, &s->step[0], &to[i], third))
            return joins(&s->step[1], &s->step[0], last, target);
        buf_add(s->thought, STR(")"));
    }
    return false;
}

/* "|25&50:+75(+121-29)-25(+71-21)": the other two make 75 or 25, and the target is made with it of
 * what stands in brackets. */
static bool two_by_two(Search *s, const Term *target, const Term *x, const Term *y) {
    s->others = results(s->other, x, y, s->largest);
    buf_fmt(s->thought, "|%lld&%lld:", (long long)x->value.n, (long long)y->value.n);
    for (int i = 0; i < s->others; i++) {
        if (is_whole(&s->other[i], 0)) continue;
        result_print(s->thought, &s->other[i]);
        buf_add(s->thought, STR("("));
        if (meets(s, &s->step[1], target, &s->other[i])) return true;
        buf_add(s->thought, STR(")"));
    }
    return false;
}

/* The last step of a solution; NULL: whole numbers of moderate size have none. */
static const Term *search_three(Search *s, const Term *const *v, const Term *target) {
    static const int order[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 2, 0}};
    for (int i = 0; i < COUNT(order); i++) {
        const int *o = order[i];
        join(s, v[o[0]], v[o[1]]);
        buf_fmt(s->thought, "|%lld:", (long long)v[o[2]]->value.n);
        if (meets(s, &s->step[1], target, v[o[2]])) return &s->step[1];
    }
    return NULL;
}

static const Term *search_four(Search *s, const Term *const *v, const Term *target) {
    static const int order[][4] = {{0, 1, 2, 3}, {0, 2, 1, 3}, {0, 3, 1, 2},
                                   {2, 3, 0, 1}, {1, 3, 0, 2}, {1, 2, 0, 3}};
    for (int i = 0; i < COUNT(order); i++) {
        const Term *const third = v[order[i][2]], *const last = v[order[i][3]];
        join(s, v[order[i][0]], v[order[i][1]]);
        if ((i < 3 && two_by_two(s, target, third, last)) || one_by_one(s, target, last, third)
            || one_by_one(s, target, third, last))
            return &s->step[1];
    }
    return NULL;
}

/* The numbers in their order, joined by + and - alone: "[3+7=10] 10+25=35|85,15 25-10=15|65,35" and
 * so on. Differences are positive, so these four lines have all choices of signs. */
static const Term *search_signs(Search *s, const Term *const *v, const Term *target) {
    for (int i = 0; i < 4; i++) {
        CHECK(whole_step(&s->step[0], v[0], OPS[i / 2], v[1]));
        if (i % 2 == 0) {
            buf_add(s->thought, s->thought->n ? STR(" [") : STR("["));
            step_print(s->thought, &s->step[0]);
            buf_add(s->thought, STR("]"));
        }
        CHECK(whole_step(&s->step[1], &s->step[0], OPS[i % 2], v[2]));
        buf_add(s->thought, STR(" "));
        step_print(s->thought, &s->step[1]);
        s->n = results(s->made, &s->step[1], v[3], SHOWN);
        for (int k = 0; k < s->n; k++) {
            buf_fmt(s->thought, "%c%lld", k ? ',' : '|', (long long)s->made[k].value.n);
            if (is_whole(&s->made[k], target->value.n)) return &s->made[k];
        }
    }
    return NULL;
}

/* ---- fractions in between -------------------------------------------------------------------- */

typedef struct Wanted {
    int64_t target;
    Buf *thought, *answer;
} Wanted;

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

/* The search and the answer; for five numbers the answer alone. */
static void solve(Buf *thought, Buf *answer, const Term *const *v, int n, const Term *target) {
    Search s = {.thought = thought, .largest = n == 3 ? MOST_OF_THREE : MOST_OF_FOUR};
    const Term *found = n == 4 ? search_signs(&s, v, target) : NULL;
    if (!found && n < NUMBERS) {
        found = n == 3 ? search_three(&s, v, target) : search_four(&s, v, target);
        if (found)
            steps_print(thought, found);
        else
            buf_add(thought, STR(" ?"));
    }
    if (found)
        term_print(answer, found);
    else
        CHECK(walk(v, n, wanted, &(Wanted){target->value.n, thought, answer}));
}

static void draw(Problem *p, Arena *a, Draws *d, int n) {
    int64_t number[NUMBERS], target;
    Term term[NUMBERS];
    const Term *v[NUMBERS];
    const bool plain = d->index % 2 == 0;
    Buf thought = {.a = a}, answer = {.a = a};
    do target = drawn_target(d, number, term, v, n);
    while (!target || is_plain(number, n, target) != plain);
    solve(&thought, &answer, v, n, &(Term){.value = {target, 1}});
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
