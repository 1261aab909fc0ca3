/* expression.c -- + - * / on exact rationals: a reader that takes nothing else, and a printer.
 *
 * sum := product (('+' | '-') product)*    product := factor (('*' | '/') factor)*
 * factor := number | '(' sum ')'           number := [1-9] [0-9]?
 *
 * Length, depth and numbers are bounded, so an answer costs little however it is made to be long,
 * deep or large. */
#include "tasks/parts.h"

enum { LENGTH_MAX = 256, DEPTH_MAX = 16 };

/* ---- rationals ------------------------------------------------------------------------------- */

static int64_t divisor(int64_t x, int64_t y) {
    for (int64_t rest; y; x = y, y = rest) rest = x % y;
    return x < 0 ? -x : x;
}

static bool times(int64_t *r, int64_t x, int64_t y) { return !__builtin_mul_overflow(x, y, r); }

/* n / d in lowest terms; d is not 0, and no number the smallest of 64 bits. */
static bool reduced(Rational *r, int64_t n, int64_t d) {
    if (d == 0 || n == INT64_MIN || d == INT64_MIN) return false;
    const int64_t by = divisor(n, d);
    *r = d < 0 ? (Rational){-n / by, -d / by} : (Rational){n / by, d / by};
    return true;
}

bool rational_apply(Rational *r, Rational x, char op, Rational y) {
    int64_t n, m, d;
    if (op == '*') return times(&n, x.n, y.n) && times(&d, x.d, y.d) && reduced(r, n, d);
    if (op == '/') return times(&n, x.n, y.d) && times(&d, x.d, y.n) && reduced(r, n, d);
    CHECK(op == '+' || op == '-');
    if (!times(&n, x.n, y.d) || !times(&m, y.n, x.d) || !times(&d, x.d, y.d)) return false;
    const bool over =
        op == '+' ? __builtin_add_overflow(n, m, &n) : __builtin_sub_overflow(n, m, &n);
    return !over && reduced(r, n, d);
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct Reader {
    Str rest;
    int64_t *number, most, n;
    int depth;
} Reader;

static char next(Reader *r) {
    while (r->rest.n && r->rest.p[0] == ' ') r->rest.p++, r->rest.n--;
    return r->rest.n ? r->rest.p[0] : 0;
}

static char take(Reader *r) {
    const char c = next(r);
    r->rest.p++, r->rest.n--;
    return c;
}

static bool digit_at(Str s) { return s.n && s.p[0] >= '0' && s.p[0] <= '9'; }

static bool read_number(Reader *r, Rational *v) {
    const char first = next(r);
    if (first < '1' || first > '9' || r->n == r->most) return false;
    int64_t x = take(r) - '0';
    if (digit_at(r->rest)) x = 10 * x + (take(r) - '0');
    if (digit_at(r->rest)) return false;
    r->number[r->n++] = x;
    *v = (Rational){x, 1};
    return true;
}

static bool read_sum(Reader *r, Rational *v);

static bool read_factor(Reader *r, Rational *v) {
    if (next(r) != '(') return read_number(r, v);
    take(r);
    if (++r->depth > DEPTH_MAX || !read_sum(r, v) || next(r) != ')') return false;
    take(r);
    r->depth--;
    return true;
}

static bool read_product(Reader *r, Rational *v) {
    if (!read_factor(r, v)) return false;
    while (char_in(next(r), "*/")) {
        const char op = take(r);
        Rational y;
        if (!read_factor(r, &y) || !rational_apply(v, *v, op, y)) return false;
    }
    return true;
}

static bool read_sum(Reader *r, Rational *v) {
    if (!read_product(r, v)) return false;
    while (char_in(next(r), "+-")) {
        const char op = take(r);
        Rational y;
        if (!read_product(r, &y) || !rational_apply(v, *v, op, y)) return false;
    }
    return true;
}

bool expression_read(Str s, Rational *value, int64_t *number, int64_t most, int64_t *n) {
    Reader r = {.rest = s, .number = number, .most = most};
    if (s.n > LENGTH_MAX || !read_sum(&r, value) || next(&r) || r.rest.n) return false;
    *n = r.n;
    return true;
}

/* ---- printing -------------------------------------------------------------------------------- */

void rational_print(Buf *b, Rational r) {
    buf_fmt(b, "%lld", (long long)r.n);
    if (r.d != 1) buf_fmt(b, "/%lld", (long long)r.d);
}

static int rank(const Term *t) { return t->op == 0 ? 3 : t->op == '*' || t->op == '/' ? 2 : 1; }

static void side_print(Buf *b, const Term *side, bool brackets) {
    if (brackets) buf_add(b, STR("("));
    term_print(b, side);
    if (brackets) buf_add(b, STR(")"));
}

/* x - (y + z) and x / (y * z) need their brackets, x + (y - z) and x * (y / z) do not. */
void term_print(Buf *b, const Term *t) {
    if (!t->op) return rational_print(b, t->value);
    const bool ordered = t->op == '-' || t->op == '/';
    side_print(b, t->x, rank(t->x) < rank(t));
    buf_fmt(b, " %c ", t->op);
    side_print(b, t->y, rank(t->y) < rank(t) + ordered);
}
