/* number.c -- numbers between bounds, digit by digit.
 *
 * A number is compared with its bounds from the first digit on: as long as its digits are those of
 * a bound it is `tight` there, and the next digit must not pass the bound's. The whole part is
 * written with each possible count of digits apart, the fraction follows where the whole part is
 * tight or free. */
#include "text/number.h"

#include <math.h>
#include <stdio.h>

bool bound_read(Bound10 *b, double x, bool lowest) {
    char text[400];
    *b = (Bound10){.there = true, .negative = x < 0};
    if (fabs(x) >= 1e18) {
        b->there = false;
        return lowest ? x < 0 : x > 0; /* on the other side nothing is left */
    }
    int digits = 0;
    double read = 0;
    do snprintf(text, sizeof text, "%.*f", digits, fabs(x));
    while ((!str_f64(str_of(text), &read) || read != fabs(x)) && ++digits <= NUMBER_FRACTION);
    if (digits > NUMBER_FRACTION) return false;
    const char *point = strchr(text, '.');
    const int64_t whole = point ? point - text : (int64_t)strlen(text);
    if (whole > NUMBER_DIGITS) return false;
    memcpy(b->whole, text, (size_t)whole);
    if (point) memcpy(b->fraction, point + 1, strlen(point));
    return true;
}

/* ---- fractions ------------------------------------------------------------------------------- */

/* Digits of a fraction of which `at` are written; tight: they are those of lo, of hi. A fraction
 * that ends has zeros behind it. */
typedef struct Sides {
    const Bound10 *lo, *hi; /* NULL: free on that side */
} Sides;

static bool fraction_may_end(Sides s, int64_t at) {
    const int64_t lo = s.lo ? (int64_t)strlen(s.lo->fraction) : 0,
                  hi = s.hi ? (int64_t)strlen(s.hi->fraction) : 0;
    if (s.lo && (lo > at || s.lo->without)) return false;
    return !s.hi || !s.hi->without || hi > at;
}

static int digit_of(const Bound10 *b, int64_t at) {
    return at < (int64_t)strlen(b->fraction) ? b->fraction[at] - '0' : 0;
}

static int32_t digits_put(Net *n, int lo, int hi, int32_t next) {
    return lo > hi ? NET_NONE : net_range(n, '0' + lo, '0' + hi, next);
}

static int32_t fraction_put(Net *n, Sides s, int64_t at, int32_t next) {
    int32_t node = at > 0 && fraction_may_end(s, at) ? next : NET_NONE;
    if (at == NUMBER_FRACTION) return node;
    const int lo = s.lo ? digit_of(s.lo, at) : 0, hi = s.hi ? digit_of(s.hi, at) : 9;
    if (lo > hi) return node;
    const Sides low = {s.lo, NULL}, high = {NULL, s.hi}, none = {NULL, NULL};
    const int from = lo + (s.lo != NULL), to = hi - (s.hi != NULL);
    if (s.lo && s.hi && lo == hi)
        return net_or(n, node, digits_put(n, lo, lo, fraction_put(n, s, at + 1, next)));
    if (s.lo) node = net_or(n, node, digits_put(n, lo, lo, fraction_put(n, low, at + 1, next)));
    if (s.hi) node = net_or(n, node, digits_put(n, hi, hi, fraction_put(n, high, at + 1, next)));
    if (from <= to)
        node = net_or(n, node, digits_put(n, from, to, fraction_put(n, none, at + 1, next)));
    return node;
}

/* What follows a whole part: nothing, or a point and digits. */
static int32_t behind_whole(Net *n, Sides s, bool whole, int32_t next) {
    const int32_t end = fraction_may_end(s, 0) ? next : NET_NONE;
    if (whole) return end;
    return net_or(n, end, net_text(n, STR("."), fraction_put(n, s, 0, next)));
}

/* ---- whole parts ----------------------------------------------------------------------------- */

typedef struct Wholes {
    Net *n;
    bool whole;
    int64_t multiple;
    const Bound10 *lo, *hi;
    int64_t digits;
    int32_t next, free_end;
    /* (digits to come, what is left of the division so far): free on both sides, behind the first
     * digit; 0: not built yet, -1: nothing */
    int32_t (*memo)[MULTIPLE_MOST];
} Wholes;

static int32_t whole_put(Wholes *w, bool lo, bool hi, int64_t at, int64_t rest) {
    const Sides s = {lo ? w->lo : NULL, hi ? w->hi : NULL};
    int32_t *memo = lo || hi || at == 0 ? NULL : &w->memo[w->digits - at][rest], node = NET_NONE;
    if (memo && *memo) return MAX(*memo, NET_NONE);
    if (at == w->digits) {
        node = rest ? NET_NONE : lo || hi ? behind_whole(w->n, s, w->whole, w->next) : w->free_end;
    } else {
        const int from = lo ? w->lo->whole[at] - '0' : at == 0 && w->digits > 1;
        const int to = hi ? w->hi->whole[at] - '0' : 9;
        for (int d = from, last; d <= to && !w->n->full; d = last + 1) {
            const bool tight_lo = lo && d == from, tight_hi = hi && d == to;
            last = d; /* digits behind which the same follows are one set */
            while (w->multiple == 1 && !tight_lo && last < to - hi) last++;
            const int32_t then =
                whole_put(w, tight_lo, tight_hi, at + 1, (10 * rest + d) % w->multiple);
            node = net_or(w->n, node, digits_put(w->n, d, last, then));
        }
    }
    if (memo) *memo = node == NET_NONE ? -1 : node;
    return node;
}

/* Numbers without a sign from lo to hi, whose signs do not count. */
static int32_t size_put(Net *n, const NumberSpec *s, const Bound10 *lo, const Bound10 *hi,
                        int32_t next) {
    const int64_t fewest = lo->there ? (int64_t)strlen(lo->whole) : 1;
    const int64_t most = hi->there ? (int64_t)strlen(hi->whole) : NUMBER_DIGITS;
    Arena *a = arena_open("numbers", ARENA_NO_LIMIT);
    int32_t node = NET_NONE;
    int32_t(*memo)[MULTIPLE_MOST] = arena_push(a, (NUMBER_DIGITS + 1) * (int64_t)sizeof *memo);
    const int32_t free_end = behind_whole(n, (Sides){NULL, NULL}, s->whole, next);
    for (int64_t digits = most; digits >= fewest && !n->full; digits--) {
        Wholes w = {n, s->whole, s->multiple, lo, hi, digits, next, free_end, memo};
        node = net_or(
            n, whole_put(&w, lo->there && digits == fewest, hi->there && digits == most, 0, 0),
            node);
    }
    arena_close(a);
    return node;
}

/* ---- with signs ------------------------------------------------------------------------------ */

static bool is_zero(const Bound10 *b) { return !strcmp(b->whole, "0") && !*b->fraction; }

static Bound10 unsigned_of(Bound10 b) {
    b.negative = false;
    return b;
}

/* -x is between the bounds where x is between the bounds without their signs, in turn. */
static int32_t below_zero(Net *n, const NumberSpec *s, int32_t next) {
    Bound10 lo = {.there = false}, hi = {.there = false};
    if (s->lo.there && !s->lo.negative) return NET_NONE;
    if (s->lo.there) hi = unsigned_of(s->lo);
    if (s->hi.there && s->hi.negative) lo = unsigned_of(s->hi);
    /* no -0 */
    if (!lo.there) lo = (Bound10){.there = true, .without = true, .whole = "0"};
    return net_text(n, STR("-"), size_put(n, s, &lo, &hi, next));
}

static int32_t from_zero(Net *n, const NumberSpec *s, int32_t next) {
    const bool passed = s->hi.there && (s->hi.negative || (is_zero(&s->hi) && s->hi.without));
    Bound10 lo = {.there = false};
    if (passed) return NET_NONE;
    if (s->lo.there && !s->lo.negative) lo = s->lo;
    return size_put(n, s, &lo, &s->hi, next);
}

/* e, a sign perhaps, and two digits. */
static int32_t exponent_put(Net *n, int32_t next) {
    const int32_t digit = net_range(n, '0', '9', next);
    const int32_t digits = net_range(n, '0', '9', net_or(n, digit, next));
    return net_or(n, net_any(n, "eE", net_or(n, net_any(n, "+-", digits), digits)), next);
}

int32_t number_put(Net *n, const NumberSpec *s, int32_t next) {
    if (!s->whole && !s->lo.there && !s->hi.there) next = exponent_put(n, next);
    return net_or(n, from_zero(n, s, next), below_zero(n, s, next));
}
